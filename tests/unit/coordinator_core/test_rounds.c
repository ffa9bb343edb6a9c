/* The steps of a run: what is handed out, what may end a step, and what becomes of whoever is late,
 * broken, hostile or gone. test_rounds_faults.c has the second half. */
#include "tests/unit/coordinator_core/machine.h"

static void rounds_step__is_handed_out_once_enough_workers_are_here(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 3, 0);
    plan.min_workers = 2;
    open_run(&plan);
    attach(1);
    assert_int_equal(count(BRG_ACT_SEND_RUN), 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    allow(2);
    hello(2, 2);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 2);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->unit, 0);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 1)->unit, 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 1)->step, 1);
}

static void rounds_done__asks_for_the_share_and_the_whole_batch_ends_the_step(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    done(0, 1, 0);
    assert_int_equal(find(BRG_ACT_PULL, 0)->member, 0);
    share(0, 1, 0, BRG_OK);
    assert_int_equal(count(BRG_ACT_DECODE), 0); /* half a batch is no batch */
    done(1, 1, 1);
    share(1, 1, 1, BRG_OK);
    assert_int_equal(find(BRG_ACT_DECODE, 0)->step, 1);
}

static void rounds_decoded__is_recorded_announced_and_applied(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    assert_int_equal(count(BRG_ACT_SEND_COMMIT), 0); /* not on disk yet */
    answer(BRG_EV_DECODED, 1);
    assert_int_equal(find(BRG_ACT_PERSIST_COMMIT, 0)->step, 1);
    assert_int_equal(find(BRG_ACT_SEND_COMMIT, 0)->member, BRG_NOBODY);
    assert_int_equal(find(BRG_ACT_APPLY, 0)->step, 1);
    assert_int_equal(count(BRG_ACT_APPLY), 1);
    assert_int_equal(count(BRG_ACT_PERSIST_COMMIT), 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0); /* nobody computes with stale parameters */
    answer(BRG_EV_APPLIED, 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->step, 2);
}

static void rounds_second_copy_of_done__changes_nothing(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    done(0, 1, 0);
    done(0, 1, 0);
    assert_int_equal(count(BRG_ACT_PULL), 0);
    assert_int_equal(unit_of(1, 0)->holder_count, 1);
}

static void rounds_second_copy_of_a_share__does_not_count(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    deliver(0, 1, 0);
    share(0, 1, 0, BRG_OK);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    assert_int_equal(unit_of(1, 1)->state, BRG_UNIT_OPEN);
}

static void rounds_share_nobody_asked_for__does_not_count(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    share(0, 1, 0, BRG_OK); /* before its DONE */
    assert_int_equal(unit_of(1, 0)->state, BRG_UNIT_OPEN);
    done(0, 1, 0);
    share(1, 1, 0, BRG_OK); /* by somebody else */
    share(0, 2, 0, BRG_OK); /* of another step */
    assert_int_equal(unit_of(1, 0)->state, BRG_UNIT_PULLING);
}

static void rounds_done_out_of_range__is_a_protocol_error(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    static struct brg_coord before;
    before = machine.c;
    assert_int_equal(say(0, about(BRG_EV_DONE, 1, 2)), BRG_EPROTO);
    assert_int_equal(say(0, about(BRG_EV_DONE, 1, BRG_NO_UNIT)), BRG_EPROTO);
    assert_int_equal(say(0, about(BRG_EV_DONE, 0, 0)), BRG_EPROTO);
    assert_int_equal(say(0, about(BRG_EV_DONE, 2, 0)), BRG_EPROTO);
    assert_int_equal(say(0, about(BRG_EV_DONE, UINT64_MAX, 0)), BRG_EPROTO);
    assert_memory_equal(&before, &machine.c, sizeof before);
}

static void rounds_share_out_of_range__is_a_protocol_error(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    static struct brg_coord before;
    before = machine.c;
    assert_int_equal(say(0, about(BRG_EV_SHARE, 1, 2)), BRG_EPROTO);
    assert_int_equal(say(0, about(BRG_EV_SHARE, 1, BRG_NO_UNIT)), BRG_EPROTO);
    assert_memory_equal(&before, &machine.c, sizeof before);
}

static void rounds_done_of_a_committed_step__is_answered_with_the_commit(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 2, 1);
    attach(2);
    open_run(&plan);
    deliver(0, 1, 0);
    commit(1);
    done(1, 1, 0);
    assert_int_equal(find(BRG_ACT_SEND_COMMIT, 0)->member, 1);
    assert_int_equal(find(BRG_ACT_SEND_COMMIT, 0)->step, 1);
    assert_int_equal(count(BRG_ACT_PULL), 0);
}

static void rounds_done_of_another_run__changes_nothing(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    struct brg_coord_event ev = about(BRG_EV_DONE, 1, 0);
    ev.run = 2;
    assert_int_equal(say(0, ev), BRG_OK);
    assert_int_equal(count(BRG_ACT_PULL), 0);
}

static void rounds_frc__ends_with_one_share_of_each_group(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 4, 1);
    attach(4);
    open_run(&plan);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 4);
    assert_int_equal(machine.c.rounds.unit_count, 2);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(task_of(i), i % 2);
    deliver(0, 1, 0);
    done(2, 1, 0);
    assert_int_equal(count(BRG_ACT_PULL), 0); /* the group's share is here: no second transfer */
    deliver(3, 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_different_digests_for_one_unit__are_told(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 2, 1);
    attach(2);
    open_run(&plan);
    done(0, 1, 0);
    struct brg_coord_event ev = about(BRG_EV_DONE, 1, 0);
    ev.digest.bytes[0] ^= 1;
    assert_int_equal(say(1, ev), BRG_OK);
    assert_int_equal(count_notes(BRG_NOTE_DIGESTS_DIFFER), 1);
}

static void rounds_minwait__waits_for_the_bound_although_it_could_decode(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 2, 1);
    plan.code.policy = BRG_POLICY_MINWAIT; /* mu 1: twice the time of the first answer */
    attach(2);
    open_run(&plan);
    wait_ns(100);
    deliver(0, 1, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    assert_int_equal(find(BRG_ACT_ARM, 0)->at_ns, machine.now_ns + 100);
    wait_ns(100);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_paper__waits_for_all_once_the_bound_has_passed(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 4, 1);
    plan.code.policy = BRG_POLICY_PAPER;
    attach(4);
    open_run(&plan);
    wait_ns(100);
    deliver(0, 1, 0);
    wait_ns(200); /* the bound was at 200: not decodable by then */
    deliver(1, 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    done(2, 1, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    done(3, 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_paper__does_not_wait_for_a_worker_that_hangs_and_beats(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 4, 1);
    plan.code.policy = BRG_POLICY_PAPER;
    attach(4);
    open_run(&plan);
    wait_ns(100);
    deliver(0, 1, 0);
    done(2, 1, 0);
    wait_ns(200);
    deliver(1, 1, 1); /* member 3 hangs */
    for (uint32_t i = 0; i < 4; i++) beat(i);
    wait_ns(TASK_TIMEOUT_NS / 2);
    for (uint32_t i = 0; i < 4; i++) beat(i);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    wait_ns(TASK_TIMEOUT_NS / 2 - 300);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_checkpoint__is_made_every_so_many_steps_and_then_cuts_the_log(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    for (uint64_t s = 1; s <= 4; s++) {
        assert_int_equal(count(BRG_ACT_CHECKPOINT), 0);
        deliver(0, s, 0);
        commit(s);
    }
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 4);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->step, 5); /* the run goes on meanwhile */
    answer(BRG_EV_CHECKPOINTED, 4);
    assert_int_equal(find(BRG_ACT_PERSIST_CHECKPOINT, 0)->step, 4);
    assert_int_equal(find(BRG_ACT_TRUNCATE_LOG, 0)->step, 4);
    assert_int_equal(count_notes(BRG_NOTE_CHECKPOINT), 1);
}

static void rounds_checkpoint_under_way__is_not_started_twice(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    plan.checkpoint_every = 1;
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    commit(1);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 1);
    deliver(0, 2, 0);
    commit(2);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 0);
    answer(BRG_EV_CHECKPOINTED, 1);
    deliver(0, 3, 0);
    commit(3);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 3);
}

static void rounds_last_step__finishes_the_run_with_a_checkpoint(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    plan.steps = 2;
    attach(1);
    open_run(&plan);
    for (uint64_t s = 1; s <= 2; s++) {
        deliver(0, s, 0);
        commit(s);
    }
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    assert_int_equal(count(BRG_ACT_SEND_RELEASE), 1);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 2);
    answer(BRG_EV_CHECKPOINTED, 2);
    assert_int_equal(run_state(1), BRG_RUN_FINISHED);
    assert_int_equal(count(BRG_ACT_CLOSE), 1);
    assert_int_equal(member(0)->position, BRG_NOBODY);
}

static void rounds_largest_table__stays_within_the_actions_of_one_step(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, BRG_CODE_WORKERS_MAX, 0);
    for (uint32_t key = 1; key <= BRG_MEMBERS_MAX; key++) {
        uint32_t slot = 0;
        const struct brg_coord_event ev = hello_event(key, key);
        assert_int_equal(brg_members_add(&machine.c.members, ev.key, BRG_MEMBER_AWAY, &slot),
                         BRG_OK);
        hello(key, key);
    }
    open_run(&plan); /* describes the run to all and hands out every position */
    assert_int_equal(count(BRG_ACT_SEND_RUN), BRG_MEMBERS_MAX);
    assert_int_equal(count(BRG_ACT_SEND_TASK), BRG_CODE_WORKERS_MAX);
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) beat(i);
    wait_ns(LEASE_NS / 2 - 1); /* all late at once, with all spares idle */
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) beat(i);
    wait_ns(TASK_TIMEOUT_NS - LEASE_NS / 2 + 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), BRG_MEMBERS_MAX - BRG_CODE_WORKERS_MAX);
    wait_ns(LEASE_NS);
    assert_int_equal(count_notes(BRG_NOTE_LOST), BRG_MEMBERS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rounds_step__is_handed_out_once_enough_workers_are_here, setup),
        cmocka_unit_test_setup(rounds_done__asks_for_the_share_and_the_whole_batch_ends_the_step,
                               setup),
        cmocka_unit_test_setup(rounds_decoded__is_recorded_announced_and_applied, setup),
        cmocka_unit_test_setup(rounds_second_copy_of_done__changes_nothing, setup),
        cmocka_unit_test_setup(rounds_second_copy_of_a_share__does_not_count, setup),
        cmocka_unit_test_setup(rounds_share_nobody_asked_for__does_not_count, setup),
        cmocka_unit_test_setup(rounds_done_out_of_range__is_a_protocol_error, setup),
        cmocka_unit_test_setup(rounds_share_out_of_range__is_a_protocol_error, setup),
        cmocka_unit_test_setup(rounds_done_of_a_committed_step__is_answered_with_the_commit, setup),
        cmocka_unit_test_setup(rounds_done_of_another_run__changes_nothing, setup),
        cmocka_unit_test_setup(rounds_frc__ends_with_one_share_of_each_group, setup),
        cmocka_unit_test_setup(rounds_different_digests_for_one_unit__are_told, setup),
        cmocka_unit_test_setup(rounds_minwait__waits_for_the_bound_although_it_could_decode, setup),
        cmocka_unit_test_setup(rounds_paper__waits_for_all_once_the_bound_has_passed, setup),
        cmocka_unit_test_setup(rounds_paper__does_not_wait_for_a_worker_that_hangs_and_beats,
                               setup),
        cmocka_unit_test_setup(rounds_checkpoint__is_made_every_so_many_steps_and_then_cuts_the_log,
                               setup),
        cmocka_unit_test_setup(rounds_checkpoint_under_way__is_not_started_twice, setup),
        cmocka_unit_test_setup(rounds_last_step__finishes_the_run_with_a_checkpoint, setup),
        cmocka_unit_test_setup(rounds_largest_table__stays_within_the_actions_of_one_step, setup),
    };
    return cmocka_run_group_tests_name("rounds", tests, NULL, NULL) != 0;
}
