/* Who gets in, by which token, and who is turned away for which reason. */
#include "tests/unit/coordinator_core/machine.h"

static struct brg_coord_event with_token(struct brg_coord_event ev, uint8_t token) {
    ev.has_token = 1;
    memset(ev.token_hash.bytes, token, sizeof ev.token_hash.bytes);
    return ev;
}

static void add_token(uint64_t expires_s, uint32_t uses) {
    struct brg_coord_event ev = {.type = BRG_EV_TOKEN_ADD, .wall_s = expires_s, .uses = uses};
    must(with_token(ev, TOKEN_BYTE));
}

/* The last step refused the connection for this reason, and did nothing else. */
static void assert_refused(enum brg_refusal why) {
    assert_int_equal(count(BRG_ACT_SEND_REFUSED), 1);
    assert_int_equal(find(BRG_ACT_SEND_REFUSED, 0)->code, why);
    assert_int_equal(find(BRG_ACT_SEND_REFUSED, 0)->peer, 1);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 0);
    assert_int_equal(count(BRG_ACT_PERSIST_MEMBER), 0);
    assert_int_equal(count(BRG_ACT_PERSIST_TOKEN), 0);
}

static void members_unknown_key_without_token__is_refused(void **state) {
    (void)state;
    hello(1, 1);
    assert_refused(BRG_REFUSED_UNKNOWN_KEY);
    assert_int_equal(machine.c.members.count, 0);
}

static void members_token_that_nobody_made__is_refused(void **state) {
    (void)state;
    add_token(2000, 3);
    must(with_token(hello_event(1, 1), TOKEN_BYTE + 1));
    assert_refused(BRG_REFUSED_TOKEN_UNKNOWN);
}

static void members_token_at_the_end_of_its_time__is_refused(void **state) {
    (void)state;
    add_token(1000, 3); /* it is 1000 s now */
    must(with_token(hello_event(1, 1), TOKEN_BYTE));
    assert_refused(BRG_REFUSED_TOKEN_EXPIRED);
    assert_int_equal(machine.c.members.tokens[0].uses_left, 3);
}

static void members_token_that_is_used_up__is_refused(void **state) {
    (void)state;
    add_token(2000, 1);
    must(with_token(hello_event(1, 1), TOKEN_BYTE));
    must(with_token(hello_event(2, 2), TOKEN_BYTE));
    assert_refused(BRG_REFUSED_TOKEN_EXPIRED);
    assert_int_equal(machine.c.members.count, 1);
}

static void members_revoked_token__is_refused(void **state) {
    (void)state;
    add_token(2000, 3);
    must(with_token((struct brg_coord_event){.type = BRG_EV_TOKEN_REVOKE}, TOKEN_BYTE));
    assert_int_equal(count(BRG_ACT_PERSIST_TOKEN), 1);
    must(with_token(hello_event(1, 1), TOKEN_BYTE));
    assert_refused(BRG_REFUSED_TOKEN_REVOKED);
}

static void members_good_token__enrols_and_is_spent_in_one_write(void **state) {
    (void)state;
    add_token(2000, 3);
    must(with_token(hello_event(9, 1), TOKEN_BYTE));
    assert_int_equal(count(BRG_ACT_PERSIST_TOKEN), 1);
    assert_int_equal(count(BRG_ACT_PERSIST_MEMBER), 1);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 1);
    assert_int_equal(count_notes(BRG_NOTE_ENROLLED), 1);
    assert_int_equal(machine.c.members.tokens[0].uses_left, 2);
    assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE);
}

static void members_known_key__attaches_without_spending_a_token(void **state) {
    (void)state;
    add_token(2000, 3);
    must(with_token(hello_event(9, 1), TOKEN_BYTE));
    must(with_token(hello_event(9, 2), TOKEN_BYTE));
    assert_int_equal(machine.c.members.tokens[0].uses_left, 2);
    assert_int_equal(count(BRG_ACT_PERSIST_TOKEN), 0);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 1);
}

static void members_full_table__refuses_and_spends_no_token(void **state) {
    (void)state;
    add_token(2000, 3);
    for (uint32_t key = 1; key <= BRG_MEMBERS_MAX; key++) allow(key);
    must(with_token(hello_event(BRG_MEMBERS_MAX + 1, 1), TOKEN_BYTE));
    assert_refused(BRG_REFUSED_FULL);
    assert_int_equal(machine.c.members.tokens[0].uses_left, 3);
    struct brg_coord_event ev = hello_event(BRG_MEMBERS_MAX + 1, 1);
    ev.type = BRG_EV_ALLOW;
    assert_int_equal(step(ev), BRG_EFULL);
}

static void members_revoked_key__is_refused_even_with_a_good_token(void **state) {
    (void)state;
    add_token(2000, 3);
    attach(1);
    must((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = 0});
    must(with_token(hello_event(1, 2), TOKEN_BYTE));
    assert_refused(BRG_REFUSED_KEY_REVOKED);
    assert_int_equal(machine.c.members.tokens[0].uses_left, 3);
}

static void members_same_process_again__is_only_welcomed_again(void **state) {
    (void)state;
    attach(1);
    hello(1, 1);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 1);
    assert_int_equal(count(BRG_ACT_NOTE), 0);
    assert_int_equal(count(BRG_ACT_SEND_REFUSED), 0);
}

static void members_newer_process__takes_over_and_the_older_is_refused(void **state) {
    (void)state;
    attach(1);
    hello(1, 5);
    assert_int_equal(member(0)->session, 5);
    assert_int_equal(count(BRG_ACT_SEND_REFUSED), 1);
    const struct brg_coord_action *refused = find(BRG_ACT_SEND_REFUSED, 0);
    assert_int_equal(refused->code, BRG_REFUSED_SAME_KEY);
    assert_int_equal(refused->peer, 0);
    assert_int_equal(refused->member, 0);
    assert_true(refused < find(BRG_ACT_SEND_WELCOME, 0)); /* while the old connection is known */
    assert_int_equal(count_notes(BRG_NOTE_SAME_KEY), 1);
}

static void members_older_process__is_refused_and_the_newer_stays(void **state) {
    (void)state;
    allow(1);
    hello(1, 5);
    hello(1, 4);
    assert_refused(BRG_REFUSED_SAME_KEY);
    assert_int_equal(member(0)->session, 5);
}

static void members_lost_member__comes_back_whatever_its_session(void **state) {
    (void)state;
    allow(1);
    hello(1, 5);
    wait_ns(LEASE_NS);
    assert_int_equal(member(0)->state, BRG_MEMBER_LOST);
    hello(1, 4);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 1);
    assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE);
}

static void members_stored_key__cannot_be_added_twice(void **state) {
    (void)state;
    uint8_t key[BRG_KEY_BYTES] = {1};
    uint32_t slot = 0;
    assert_int_equal(brg_members_add(&machine.c.members, key, BRG_MEMBER_AWAY, &slot), BRG_OK);
    assert_int_equal(brg_members_add(&machine.c.members, key, BRG_MEMBER_AWAY, &slot), BRG_EEXIST);
}

static void members_stored_state__is_away_unless_revoked(void **state) {
    (void)state;
    uint8_t key[BRG_KEY_BYTES] = {1};
    uint32_t slot = 0;
    for (uint32_t s = BRG_MEMBER_AWAY; s <= BRG_MEMBER_REVOKED; s++) {
        key[0] = (uint8_t)s;
        assert_int_equal(brg_members_add(&machine.c.members, key, s, &slot), BRG_OK);
        assert_int_equal(member(slot)->state,
                         s == BRG_MEMBER_REVOKED ? BRG_MEMBER_REVOKED : BRG_MEMBER_AWAY);
    }
}

static void members_token_table__holds_each_token_once_and_only_so_many(void **state) {
    (void)state;
    struct brg_coord_event ev = {.type = BRG_EV_TOKEN_ADD, .wall_s = 2000, .uses = 1};
    for (uint32_t i = 0; i < BRG_TOKENS_MAX; i++) must(with_token(ev, (uint8_t)i));
    assert_int_equal(step(with_token(ev, 3)), BRG_EEXIST);
    memset(ev.token_hash.bytes, 0, sizeof ev.token_hash.bytes);
    ev.token_hash.bytes[0] = 1;
    assert_int_equal(step(ev), BRG_EFULL);
}

static void members_token_without_time_or_uses__is_refused(void **state) {
    (void)state;
    struct brg_coord_event ev = {.type = BRG_EV_TOKEN_ADD, .wall_s = 0, .uses = 1};
    assert_int_equal(step(ev), BRG_EINVAL);
    ev.wall_s = 2000;
    ev.uses = 0;
    assert_int_equal(step(ev), BRG_EINVAL);
}

static void members_revoking_a_token_that_is_not_there__is_an_error(void **state) {
    (void)state;
    assert_int_equal(step((struct brg_coord_event){.type = BRG_EV_TOKEN_REVOKE}), BRG_ENOENT);
}

static void members_allow__takes_a_revocation_back(void **state) {
    (void)state;
    attach(1);
    must((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = 0});
    allow(1);
    assert_int_equal(count(BRG_ACT_PERSIST_MEMBER), 1);
    assert_int_equal(member(0)->state, BRG_MEMBER_AWAY);
    hello(1, 2);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 1);
}

static void members_flapping_process__fills_no_log(void **state) {
    (void)state;
    uint32_t notes = 0;
    allow(1);
    for (uint64_t session = 1; session <= 2000; session++) {
        hello(1, session);
        notes += count(BRG_ACT_NOTE);
    }
    assert_int_equal(notes, BRG_MEMBER_NOTES_MAX);
    wait_ns(LEASE_NS / 2);
    hello(1, 3000);
    assert_int_equal(count(BRG_ACT_NOTE), 0);
    wait_ns(LEASE_NS / 2); /* a new window */
    hello(1, 3001);
    assert_int_equal(count(BRG_ACT_NOTE), 2); /* same key, joined */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(members_unknown_key_without_token__is_refused, setup),
        cmocka_unit_test_setup(members_token_that_nobody_made__is_refused, setup),
        cmocka_unit_test_setup(members_token_at_the_end_of_its_time__is_refused, setup),
        cmocka_unit_test_setup(members_token_that_is_used_up__is_refused, setup),
        cmocka_unit_test_setup(members_revoked_token__is_refused, setup),
        cmocka_unit_test_setup(members_good_token__enrols_and_is_spent_in_one_write, setup),
        cmocka_unit_test_setup(members_known_key__attaches_without_spending_a_token, setup),
        cmocka_unit_test_setup(members_full_table__refuses_and_spends_no_token, setup),
        cmocka_unit_test_setup(members_revoked_key__is_refused_even_with_a_good_token, setup),
        cmocka_unit_test_setup(members_same_process_again__is_only_welcomed_again, setup),
        cmocka_unit_test_setup(members_newer_process__takes_over_and_the_older_is_refused, setup),
        cmocka_unit_test_setup(members_older_process__is_refused_and_the_newer_stays, setup),
        cmocka_unit_test_setup(members_lost_member__comes_back_whatever_its_session, setup),
        cmocka_unit_test_setup(members_stored_key__cannot_be_added_twice, setup),
        cmocka_unit_test_setup(members_stored_state__is_away_unless_revoked, setup),
        cmocka_unit_test_setup(members_token_table__holds_each_token_once_and_only_so_many, setup),
        cmocka_unit_test_setup(members_token_without_time_or_uses__is_refused, setup),
        cmocka_unit_test_setup(members_revoking_a_token_that_is_not_there__is_an_error, setup),
        cmocka_unit_test_setup(members_allow__takes_a_revocation_back, setup),
        cmocka_unit_test_setup(members_flapping_process__fills_no_log, setup),
    };
    return cmocka_run_group_tests_name("members", tests, NULL, NULL) != 0;
}
