/* Epochs and sessions, leases, the queue of runs, and what the operator wishes. */
#include "tests/unit/coordinator_core/machine.h"

/* ---- whom to believe ---- */

static void coord_member_of_another_epoch__is_asked_for_a_hello(void **state) {
    (void)state;
    const uint64_t epochs[] = {0, 6, 8, UINT64_MAX};
    attach(1);
    for (size_t i = 0; i < sizeof epochs / sizeof epochs[0]; i++) {
        must((struct brg_coord_event){
            .type = BRG_EV_DRAIN, .member = 0, .session = 1, .epoch = epochs[i]});
        assert_int_equal(count(BRG_ACT_SEND_REHELLO), 1);
        assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE); /* not believed */
    }
}

static void coord_member_of_another_session__is_asked_for_a_hello(void **state) {
    (void)state;
    const uint64_t sessions[] = {0, 2, UINT64_MAX};
    attach(1);
    for (size_t i = 0; i < sizeof sessions / sizeof sessions[0]; i++) {
        must((struct brg_coord_event){
            .type = BRG_EV_DRAIN, .member = 0, .session = sessions[i], .epoch = 7});
        assert_int_equal(count(BRG_ACT_SEND_REHELLO), 1);
        assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE);
    }
}

static void coord_word_of_another_epoch__does_not_renew_the_lease(void **state) {
    (void)state;
    attach(1);
    machine.now_ns += LEASE_NS - 1;
    must((struct brg_coord_event){.type = BRG_EV_BEAT, .session = 1, .epoch = 6});
    wait_ns(1);
    assert_int_equal(member(0)->state, BRG_MEMBER_LOST);
}

static void coord_member_that_does_not_exist__is_a_protocol_error(void **state) {
    (void)state;
    attach(1);
    const uint32_t members[] = {1, BRG_MEMBERS_MAX, BRG_NOBODY};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(step((struct brg_coord_event){
                             .type = BRG_EV_BEAT, .member = members[i], .epoch = 7, .session = 1}),
                         BRG_EPROTO);
    }
}

static void coord_hello_without_a_session__is_a_protocol_error(void **state) {
    (void)state;
    allow(1);
    assert_int_equal(step(hello_event(1, 0)), BRG_EPROTO);
    assert_int_equal(member(0)->state, BRG_MEMBER_AWAY);
}

static void coord_goodbye_of_a_stranger__is_not_answered(void **state) {
    (void)state;
    attach(1);
    must((struct brg_coord_event){.type = BRG_EV_BYE, .member = 0, .session = 9, .epoch = 7});
    assert_int_equal(count(BRG_ACT_SEND_REHELLO), 0);
    assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE);
}

static void coord_goodbye__is_believed_at_once(void **state) {
    (void)state;
    attach(1);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_BYE}), BRG_OK);
    assert_int_equal(member(0)->state, BRG_MEMBER_LEFT);
    assert_int_equal(count_notes(BRG_NOTE_LEFT), 1);
}

static void coord_revoked_member__is_not_answered_at_all(void **state) {
    (void)state;
    attach(1);
    must((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = 0});
    assert_int_equal(find(BRG_ACT_SEND_REFUSED, 0)->code, BRG_REFUSED_KEY_REVOKED);
    assert_int_equal(count(BRG_ACT_PERSIST_MEMBER), 1);
    must((struct brg_coord_event){.type = BRG_EV_BEAT, .member = 0, .session = 1, .epoch = 7});
    assert_int_equal(machine.out.count, 0);
}

/* ---- leases ---- */

static void coord_half_a_lease_of_silence__makes_a_suspect_and_a_word_ends_it(void **state) {
    (void)state;
    attach(1);
    wait_ns(LEASE_NS / 2 - 1);
    assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE);
    assert_int_equal(find(BRG_ACT_ARM, 0)->at_ns, machine.now_ns + 1);
    wait_ns(1);
    assert_int_equal(member(0)->state, BRG_MEMBER_SUSPECT);
    assert_int_equal(find(BRG_ACT_ARM, 0)->at_ns, machine.now_ns + LEASE_NS / 2);
    beat(0);
    assert_int_equal(member(0)->state, BRG_MEMBER_ACTIVE);
}

static void coord_a_lease_of_silence__loses_the_member(void **state) {
    (void)state;
    attach(1);
    wait_ns(LEASE_NS - 1);
    assert_int_equal(member(0)->state, BRG_MEMBER_SUSPECT);
    wait_ns(1);
    assert_int_equal(member(0)->state, BRG_MEMBER_LOST);
    assert_int_equal(count_notes(BRG_NOTE_LOST), 1);
    assert_int_equal(count(BRG_ACT_ARM), 0); /* nothing is due any more */
}

/* ---- proof of what the store has lost ---- */

static struct brg_coord_event proof_of(uint64_t run, uint64_t step_number) {
    struct brg_coord_event ev = hello_event(1, 2);
    ev.has_proof = 1;
    ev.run = run;
    ev.step = step_number;
    return ev;
}

static void stored_run(uint64_t committed, int fenced) {
    struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    plan.state = BRG_RUN_PAUSED;
    assert_int_equal(brg_coord_add_run(&machine.c, &plan, committed, fenced), BRG_OK);
}

static void coord_proof_of_a_lost_step__halts_and_stays_halted(void **state) {
    (void)state;
    stored_run(5, 1);
    allow(1);
    must(proof_of(1, 6));
    assert_int_equal(machine.out.count, 1);
    assert_int_equal(find(BRG_ACT_HALT, 0)->step, 6);
    hello(1, 3);
    assert_int_equal(machine.out.count, 0);
    wish(BRG_EV_RESUME, 1, BRG_OK);
    assert_int_equal(machine.out.count, 0);
}

static void coord_proof_of_a_lost_run__halts(void **state) {
    (void)state;
    stored_run(5, 1);
    must(proof_of(2, 1)); /* and it need not be enrolled: the store may have lost that too */
    assert_int_equal(count(BRG_ACT_HALT), 1);
}

static void coord_proof_of_the_last_step__is_no_alarm(void **state) {
    (void)state;
    stored_run(5, 1);
    allow(1);
    must(proof_of(1, 5));
    assert_int_equal(count(BRG_ACT_HALT), 0);
    assert_int_equal(count(BRG_ACT_SEND_WELCOME), 1);
}

static void coord_proof_where_only_checkpoints_are_durable__is_no_alarm(void **state) {
    (void)state;
    stored_run(5, 0);
    allow(1);
    must(proof_of(1, 9));
    assert_int_equal(count(BRG_ACT_HALT), 0);
}

static void coord_proof_in_a_run_under_way__is_compared_with_its_present_step(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    commit(1);
    must(proof_of(1, 1));
    assert_int_equal(count(BRG_ACT_HALT), 0);
    must(proof_of(1, 2));
    assert_int_equal(count(BRG_ACT_HALT), 1);
}

/* ---- the queue of runs ---- */

static void coord_submitted_run__is_stored_and_opened(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    assert_int_equal(submit(&plan), BRG_OK);
    assert_int_equal(count(BRG_ACT_PERSIST_RUN), 2); /* queued, opening: the last one counts */
    assert_int_equal(count(BRG_ACT_OPEN), 1);
    assert_int_equal(run_state(1), BRG_RUN_OPENING);
}

static void coord_run_submitted_twice__is_an_error(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    assert_int_equal(submit(&plan), BRG_OK);
    assert_int_equal(submit(&plan), BRG_EEXIST);
}

static void coord_full_table_of_runs__is_an_error(void **state) {
    (void)state;
    for (uint64_t run = 1; run <= BRG_RUNS_MAX; run++) {
        const struct brg_run_plan plan = plan_of(run, BRG_CODE_NONE, 1, 0);
        assert_int_equal(submit(&plan), BRG_OK);
    }
    const struct brg_run_plan plan = plan_of(BRG_RUNS_MAX + 1, BRG_CODE_NONE, 1, 0);
    assert_int_equal(submit(&plan), BRG_EFULL);
}

static void coord_second_run__waits_until_the_first_has_ended(void **state) {
    (void)state;
    const struct brg_run_plan first = plan_of(1, BRG_CODE_NONE, 1, 0),
                              second = plan_of(2, BRG_CODE_NONE, 1, 0);
    open_run(&first);
    assert_int_equal(submit(&second), BRG_OK);
    assert_int_equal(run_state(2), BRG_RUN_QUEUED);
    wish(BRG_EV_STOP, 1, BRG_OK);
    assert_int_equal(count(BRG_ACT_OPEN), 0);
    answer(BRG_EV_CHECKPOINTED, 0);
    assert_int_equal(run_state(1), BRG_RUN_STOPPED);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, 2);
    assert_true(find(BRG_ACT_CLOSE, 0) < find(BRG_ACT_OPEN, 0));
}

static void coord_run_that_was_under_way__goes_on_first_after_a_restart(void **state) {
    (void)state;
    brg_coord_init(&machine.c, LEASE_NS);
    struct brg_run_plan queued = plan_of(1, BRG_CODE_NONE, 1, 0),
                        active = plan_of(2, BRG_CODE_NONE, 1, 0);
    queued.state = BRG_RUN_QUEUED;
    active.state = BRG_RUN_ACTIVE;
    assert_int_equal(brg_coord_add_run(&machine.c, &queued, 0, 1), BRG_OK);
    assert_int_equal(brg_coord_add_run(&machine.c, &active, 6, 1), BRG_OK);
    must((struct brg_coord_event){.type = BRG_EV_START, .epoch = 8});
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, 2);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->step, 6);
}

static void coord_run_that_cannot_be_opened__fails_and_the_next_is_opened(void **state) {
    (void)state;
    const struct brg_run_plan first = plan_of(1, BRG_CODE_NONE, 1, 0),
                              second = plan_of(2, BRG_CODE_NONE, 1, 0);
    assert_int_equal(submit(&first), BRG_OK);
    assert_int_equal(submit(&second), BRG_OK);
    must((struct brg_coord_event){.type = BRG_EV_OPEN_FAILED, .run = 1});
    assert_int_equal(run_state(1), BRG_RUN_FAILED);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, 2);
}

static void coord_failed_run__can_be_resumed_once_its_cause_is_mended(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    assert_int_equal(submit(&plan), BRG_OK);
    must((struct brg_coord_event){.type = BRG_EV_OPEN_FAILED, .run = 1});
    wish(BRG_EV_RESUME, 1, BRG_OK);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, 1);
}

static void coord_run_that_cannot_go_on__is_released_and_fails(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    answer(BRG_EV_RUN_FAILED, 1);
    assert_int_equal(run_state(1), BRG_RUN_FAILED);
    assert_int_equal(count(BRG_ACT_SEND_RELEASE), 1);
    assert_int_equal(count(BRG_ACT_CLOSE), 1);
    assert_int_equal(count(BRG_ACT_PERSIST_RUN), 1);
}

static void coord_run_restored_to_a_checkpoint_behind_its_failure__goes_on_there(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    must((struct brg_coord_event){.type = BRG_EV_SUBMIT, .plan = &plan, .has_proof = 0});
    opened(1, 0, &plan.code);
    deliver(0, 1, 0);
    commit(1);
    answer(BRG_EV_RUN_FAILED, 2);
    wish(BRG_EV_RESUME, 1, BRG_OK);
    opened(1, 0, &plan.code);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->step, 1);
}

/* ---- pause, resume, stop ---- */

static void coord_wish_about_an_unknown_run__is_an_error(void **state) {
    (void)state;
    wish(BRG_EV_PAUSE, 3, BRG_ENOENT);
    wish(BRG_EV_RESUME, 3, BRG_ENOENT);
    wish(BRG_EV_STOP, 3, BRG_ENOENT);
}

static void coord_queued_run__is_paused_resumed_and_stopped_at_once(void **state) {
    (void)state;
    const struct brg_run_plan first = plan_of(1, BRG_CODE_NONE, 1, 0),
                              second = plan_of(2, BRG_CODE_NONE, 1, 0);
    assert_int_equal(submit(&first), BRG_OK);
    assert_int_equal(submit(&second), BRG_OK);
    wish(BRG_EV_RESUME, 2, BRG_EINVAL);
    wish(BRG_EV_PAUSE, 2, BRG_OK);
    assert_int_equal(count(BRG_ACT_PERSIST_RUN), 1);
    assert_int_equal(run_state(2), BRG_RUN_PAUSED);
    wish(BRG_EV_PAUSE, 2, BRG_EINVAL);
    wish(BRG_EV_RESUME, 2, BRG_OK);
    assert_int_equal(run_state(2), BRG_RUN_QUEUED);
    wish(BRG_EV_PAUSE, 2, BRG_OK);
    wish(BRG_EV_STOP, 2, BRG_OK);
    assert_int_equal(run_state(2), BRG_RUN_STOPPED);
    wish(BRG_EV_RESUME, 2, BRG_EINVAL);
    wish(BRG_EV_STOP, 2, BRG_EINVAL);
}

static void coord_stop_while_a_run_opens__ends_it_once_it_is_open(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    assert_int_equal(submit(&plan), BRG_OK);
    wish(BRG_EV_STOP, 1, BRG_OK);
    wish(BRG_EV_PAUSE, 1, BRG_OK); /* weaker */
    opened(1, 0, &plan.code);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 1);
    answer(BRG_EV_CHECKPOINTED, 0);
    assert_int_equal(run_state(1), BRG_RUN_STOPPED);
}

static void coord_pause_in_mid_step__ends_at_the_last_committed_step(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    commit(1);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_RELEASE), 1);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 1);
    assert_int_equal(run_state(1), BRG_RUN_ACTIVE); /* not before it is checkpointed */
    done(0, 2, 0);
    assert_int_equal(count(BRG_ACT_PULL), 0);
    answer(BRG_EV_CHECKPOINTED, 1);
    assert_int_equal(count(BRG_ACT_PERSIST_CHECKPOINT), 1);
    assert_int_equal(run_state(1), BRG_RUN_PAUSED);
    wish(BRG_EV_RESUME, 1, BRG_OK);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->step, 1);
}

static void coord_pause_while_a_step_is_decoded__commits_it_first(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 0);
    answer(BRG_EV_DECODED, 1);
    assert_int_equal(count(BRG_ACT_PERSIST_COMMIT), 1);
    answer(BRG_EV_APPLIED, 1);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
}

static void coord_pause_after_a_stop__does_not_take_it_back(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    wish(BRG_EV_STOP, 1, BRG_OK);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    commit(1);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    answer(BRG_EV_CHECKPOINTED, 1);
    assert_int_equal(run_state(1), BRG_RUN_STOPPED);
}

static void coord_stop_after_a_pause__wins(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    wish(BRG_EV_STOP, 1, BRG_OK);
    answer(BRG_EV_CHECKPOINTED, 0);
    assert_int_equal(run_state(1), BRG_RUN_STOPPED);
}

/* ---- members, by the operator ---- */

static void coord_revoking_or_draining_nobody__is_an_error(void **state) {
    (void)state;
    allow(1);
    assert_int_equal(step((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = 1}),
                     BRG_ENOENT);
    assert_int_equal(step((struct brg_coord_event){.type = BRG_EV_ASK_DRAIN, .member = 1}),
                     BRG_ENOENT);
    assert_int_equal(step((struct brg_coord_event){.type = BRG_EV_ASK_DRAIN, .member = 0}),
                     BRG_EINVAL); /* it is away */
}

static void coord_member_drained_by_the_operator__is_told_until_it_goes(void **state) {
    (void)state;
    attach(1);
    must((struct brg_coord_event){.type = BRG_EV_ASK_DRAIN, .member = 0});
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
    assert_int_equal(count_notes(BRG_NOTE_DRAINING), 1);
    wait_ns(1);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 0);
    beat(0); /* still here: the word was lost */
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(coord_member_of_another_epoch__is_asked_for_a_hello, setup),
        cmocka_unit_test_setup(coord_member_of_another_session__is_asked_for_a_hello, setup),
        cmocka_unit_test_setup(coord_word_of_another_epoch__does_not_renew_the_lease, setup),
        cmocka_unit_test_setup(coord_member_that_does_not_exist__is_a_protocol_error, setup),
        cmocka_unit_test_setup(coord_hello_without_a_session__is_a_protocol_error, setup),
        cmocka_unit_test_setup(coord_goodbye_of_a_stranger__is_not_answered, setup),
        cmocka_unit_test_setup(coord_goodbye__is_believed_at_once, setup),
        cmocka_unit_test_setup(coord_revoked_member__is_not_answered_at_all, setup),
        cmocka_unit_test_setup(coord_half_a_lease_of_silence__makes_a_suspect_and_a_word_ends_it,
                               setup),
        cmocka_unit_test_setup(coord_a_lease_of_silence__loses_the_member, setup),
        cmocka_unit_test_setup(coord_proof_of_a_lost_step__halts_and_stays_halted, setup),
        cmocka_unit_test_setup(coord_proof_of_a_lost_run__halts, setup),
        cmocka_unit_test_setup(coord_proof_of_the_last_step__is_no_alarm, setup),
        cmocka_unit_test_setup(coord_proof_where_only_checkpoints_are_durable__is_no_alarm, setup),
        cmocka_unit_test_setup(coord_proof_in_a_run_under_way__is_compared_with_its_present_step,
                               setup),
        cmocka_unit_test_setup(coord_submitted_run__is_stored_and_opened, setup),
        cmocka_unit_test_setup(coord_run_submitted_twice__is_an_error, setup),
        cmocka_unit_test_setup(coord_full_table_of_runs__is_an_error, setup),
        cmocka_unit_test_setup(coord_second_run__waits_until_the_first_has_ended, setup),
        cmocka_unit_test_setup(coord_run_that_was_under_way__goes_on_first_after_a_restart, setup),
        cmocka_unit_test_setup(coord_run_that_cannot_be_opened__fails_and_the_next_is_opened,
                               setup),
        cmocka_unit_test_setup(coord_failed_run__can_be_resumed_once_its_cause_is_mended, setup),
        cmocka_unit_test_setup(coord_run_that_cannot_go_on__is_released_and_fails, setup),
        cmocka_unit_test_setup(coord_run_restored_to_a_checkpoint_behind_its_failure__goes_on_there,
                               setup),
        cmocka_unit_test_setup(coord_wish_about_an_unknown_run__is_an_error, setup),
        cmocka_unit_test_setup(coord_queued_run__is_paused_resumed_and_stopped_at_once, setup),
        cmocka_unit_test_setup(coord_stop_while_a_run_opens__ends_it_once_it_is_open, setup),
        cmocka_unit_test_setup(coord_pause_in_mid_step__ends_at_the_last_committed_step, setup),
        cmocka_unit_test_setup(coord_pause_while_a_step_is_decoded__commits_it_first, setup),
        cmocka_unit_test_setup(coord_pause_after_a_stop__does_not_take_it_back, setup),
        cmocka_unit_test_setup(coord_stop_after_a_pause__wins, setup),
        cmocka_unit_test_setup(coord_revoking_or_draining_nobody__is_an_error, setup),
        cmocka_unit_test_setup(coord_member_drained_by_the_operator__is_told_until_it_goes, setup),
    };
    return cmocka_run_group_tests_name("coord", tests, NULL, NULL) != 0;
}
