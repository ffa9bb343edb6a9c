/* What becomes of whoever is late, broken, hostile, leaving or gone in mid-step. */
#include "tests/unit/coordinator_core/machine.h"

#define RESEND_NS                                                                                  \
    (500 * BRG_NS_PER_MS) /* a worker that does not know of its task gets it again                 \
                           */

static void beat_all(uint32_t n) {
    for (uint32_t i = 0; i < n; i++) beat(i);
}

/* n members, code none with n units, everybody but member 0 done and pulled. */
static void all_but_the_first(uint32_t n) {
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, n, 0);
    attach(n);
    open_run(&plan);
    wait_ns(1000);
    for (uint32_t i = 1; i < n; i++) deliver(i, 1, i);
}

static void rounds_late_unit__goes_to_the_fastest_idle_member(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 3, 0);
    attach(3);
    open_run(&plan);
    wait_ns(30 * BRG_NS_PER_MS);
    deliver(2, 1, 2);
    wait_ns(10 * BRG_NS_PER_MS);
    deliver(1, 1, 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    wait_ns(20 * BRG_NS_PER_MS); /* twice the fastest: unit 0 is late */
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 2);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->unit, 0);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->attempt, 2);
    assert_int_equal(count_notes(BRG_NOTE_REATTEMPT), 1);
    assert_int_equal(machine.c.rounds.waited_steps, 1);
}

static void rounds_late_unit__is_taken_from_whoever_answers_first(void **state) {
    (void)state;
    all_but_the_first(2);
    wait_ns(100 * BRG_NS_PER_MS);
    assert_int_equal(task_of(1), 0);
    deliver(0, 1, 0); /* late, and yet the first */
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_lost_members_unit__goes_to_somebody_else(void **state) {
    (void)state;
    all_but_the_first(2);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_BYE}), BRG_OK);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->unit, 0);
}

static void rounds_spare__takes_the_position_of_a_member_that_left(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(3);
    open_run(&plan);
    assert_int_equal(member(2)->position, BRG_NOBODY);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_BYE}), BRG_OK);
    assert_int_equal(member(2)->position, 0);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 2);
}

static void rounds_suspect__gets_nothing_new(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(2);
    open_run(&plan);
    wait_ns(LEASE_NS / 2 - 1);
    beat(0);
    wait_ns(1);
    assert_int_equal(member(1)->state, BRG_MEMBER_SUSPECT);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_BYE}), BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    beat(1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
}

static void rounds_broken_share__is_not_used_and_its_member_does_no_more_of_the_run(void **state) {
    (void)state;
    all_but_the_first(2);
    done(0, 1, 0);
    share(0, 1, 0, BRG_ECORRUPT);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    assert_int_equal(count_notes(BRG_NOTE_BAD_SHARE), 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
    done(0, 1, 0); /* it insists */
    assert_int_equal(count(BRG_ACT_PULL), 0);
    deliver(1, 1, 0);
    commit(1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
}

static void rounds_share_that_is_not_held__is_attempted_again_but_not_in_a_circle(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    uint32_t tasks = 0;
    for (uint32_t i = 0; i < 1000; i++) { /* says DONE and GONE without an end */
        done(0, 1, 0);
        share(0, 1, 0, BRG_ENOENT);
        tasks += count(BRG_ACT_SEND_TASK);
    }
    assert_int_equal(tasks, 0);
    wait_ns(RESEND_NS - 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    beat(0);
    wait_ns(1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 1);
}

static void rounds_share_that_does_not_come__is_asked_for_again(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    attach(1);
    open_run(&plan);
    done(0, 1, 0);
    assert_int_equal(count(BRG_ACT_PULL), 1);
    wait_ns(PULL_TIMEOUT_NS - 1);
    assert_int_equal(count(BRG_ACT_PULL), 0);
    beat(0);
    wait_ns(1);
    assert_int_equal(find(BRG_ACT_PULL, 0)->member, 0);
    share(0, 1, 0, BRG_OK);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_share_that_does_not_come__is_computed_by_somebody_else(void **state) {
    (void)state;
    all_but_the_first(2);
    done(0, 1, 0);
    wait_ns(PULL_TIMEOUT_NS);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->unit, 0);
    done(1, 1, 0);
    assert_int_equal(find(BRG_ACT_PULL, 0)->member, 1); /* at once: it has never failed */
    share(1, 1, 0, BRG_OK);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_two_slow_lines__each_get_time_enough_in_the_end(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 2, 1);
    attach(2);
    open_run(&plan);
    done(0, 1, 0);
    done(1, 1, 0);
    uint32_t asked = 0; /* how long the one that was asked last had, in pull timeouts */
    uint64_t had = 0, longest = 0;
    for (uint32_t i = 0; i < 30; i++) {
        had++;
        wait_ns(PULL_TIMEOUT_NS);
        beat_all(2);
        if (unit_of(1, 0)->puller != asked) had = 0;
        asked = unit_of(1, 0)->puller;
        if (had > longest) longest = had;
    }
    assert_true(longest >= 7);
}

static void rounds_member_with_shares_on_the_way__gets_only_so_many_units_more(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 8, 0);
    attach(1);
    open_run(&plan);
    for (uint32_t u = 0; u < 3; u++) {
        done(0, 1, u);
        assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->unit, u + 1);
    }
    done(0, 1, 3);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0); /* four are on the way */
    share(0, 1, 0, BRG_OK);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->unit, 4);
}

static void rounds_fault__gives_the_unit_to_somebody_else(void **state) {
    (void)state;
    all_but_the_first(2);
    struct brg_coord_event ev = about(BRG_EV_FAULT, 1, 0);
    ev.code = BRG_ENOMEM;
    assert_int_equal(say(0, ev), BRG_OK);
    assert_int_equal(count_notes(BRG_NOTE_UNFIT), 1);
    assert_int_equal((int32_t)find(BRG_ACT_NOTE, 0)->attempt, BRG_ENOMEM);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
    assert_int_equal(member(0)->position, BRG_NOBODY);
}

static void rounds_fault_about_a_task_it_does_not_have__changes_nothing(void **state) {
    (void)state;
    all_but_the_first(2);
    const uint32_t units[] = {1, 7, BRG_NO_UNIT};
    for (size_t i = 0; i < 3; i++) {
        struct brg_coord_event ev = about(BRG_EV_FAULT, 1, units[i]);
        ev.code = BRG_ENOMEM;
        assert_int_equal(say(0, ev), BRG_OK);
        assert_int_equal(say(1, ev), BRG_OK);
    }
    assert_int_equal(member(0)->unfit, 0);
    assert_int_equal(member(1)->unfit, 0);
}

static void rounds_worker_that_lacks_the_run__gets_it_and_its_task_again(void **state) {
    (void)state;
    all_but_the_first(2);
    struct brg_coord_event ev = about(BRG_EV_FAULT, 1, 0);
    ev.code = BRG_ENOENT;
    assert_int_equal(say(0, ev), BRG_OK);
    assert_int_equal(find(BRG_ACT_SEND_RUN, 0)->member, 0);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 0);
    assert_true(find(BRG_ACT_SEND_RUN, 0) < find(BRG_ACT_SEND_TASK, 0));
    assert_int_equal(member(0)->unfit, 0);
    assert_int_equal(say(1, ev), BRG_OK); /* one without a task */
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
}

static void rounds_worker_that_does_not_know_its_task__gets_it_again(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    const struct brg_coord_event idle = {.type = BRG_EV_BEAT, .run = 1, .unit = BRG_NO_UNIT};
    attach(1);
    open_run(&plan);
    wait_ns(LEASE_NS / 4);
    assert_int_equal(say(0, idle), BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0); /* it may be on its way */
    wait_ns(RESEND_NS - LEASE_NS / 4);
    assert_int_equal(say(0, idle), BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 1);
    beat(0); /* knows it */
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
}

static void rounds_worker_that_ignores_its_task__gets_the_run_described_again(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 1, 0);
    const struct brg_coord_event idle = {.type = BRG_EV_BEAT, .run = 1, .unit = BRG_NO_UNIT};
    attach(1);
    open_run(&plan);
    for (uint64_t t = 0; t < 4 * RESEND_NS; t += LEASE_NS / 4) {
        assert_int_equal(say(0, idle), BRG_OK);
        assert_int_equal(count(BRG_ACT_SEND_RUN), 0);
        wait_ns(LEASE_NS / 4);
    }
    assert_int_equal(say(0, idle), BRG_OK);
    assert_true(find(BRG_ACT_SEND_RUN, 0) < find(BRG_ACT_SEND_TASK, 0));
}

static void rounds_nobody_left__is_said_once_a_step(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(1);
    open_run(&plan);
    assert_int_equal(count_notes(BRG_NOTE_STARVED), 0); /* it is busy and will do both */
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_BYE}), BRG_OK);
    assert_int_equal(count_notes(BRG_NOTE_STARVED), 1);
    assert_int_equal(find(BRG_ACT_NOTE, 1)->member, BRG_NOBODY);
    wait_ns(1);
    assert_int_equal(count_notes(BRG_NOTE_STARVED), 0);
}

static void rounds_draining_member__goes_once_its_share_is_here(void **state) {
    (void)state;
    all_but_the_first(2);
    done(0, 1, 0);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_DRAIN}), BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 0);
    share(0, 1, 0, BRG_OK);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
}

static void
rounds_draining_member_with_a_task__goes_at_once_and_somebody_else_does_it(void **state) {
    (void)state;
    all_but_the_first(2);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_DRAIN}), BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->member, 1);
    assert_int_equal(say(0, (struct brg_coord_event){.type = BRG_EV_DRAIN}), BRG_OK);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1); /* the first answer was lost */
}

static void rounds_revoked_members_share__is_not_used(void **state) {
    (void)state;
    const struct brg_run_plan plan = plan_of(1, BRG_CODE_NONE, 2, 0);
    attach(2);
    open_run(&plan);
    deliver(0, 1, 0);
    must((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = 0});
    assert_int_equal(unit_of(1, 0)->state, BRG_UNIT_OPEN);
    deliver(1, 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    assert_int_equal(task_of(1), 0); /* computed once more, by one that is trusted */
    deliver(1, 1, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_revoked_members_share__makes_a_step_undecodable_again(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_FRC, 2, 1);
    plan.code.policy = BRG_POLICY_MINWAIT;
    attach(2);
    open_run(&plan);
    wait_ns(100);
    deliver(0, 1, 0); /* decodable, but the policy waits */
    must((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = 0});
    wait_ns(200);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    deliver(1, 1, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_new_process_of_a_member__holds_nothing_of_the_old_one(void **state) {
    (void)state;
    all_but_the_first(2);
    done(0, 1, 0);
    hello(1, 10);
    assert_int_equal(unit_of(1, 0)->holder_count, 0);
    assert_int_equal(count(BRG_ACT_SEND_RUN), 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 1); /* unit 0, to whoever is idle */
}

/* What an honest worker would do now. */
static void work_honestly(uint32_t slot) {
    const struct brg_rounds *r = &machine.c.rounds;
    if (!brg_members_is_here(member(slot))) return;
    if (task_of(slot) != BRG_NO_UNIT) done(slot, member(slot)->tasks[0].step, task_of(slot));
    for (uint32_t u = 0; u < r->unit_count && brg_rounds_is_open(r, r->newest); u++) {
        const struct brg_progress *unit = unit_of(r->newest, u);
        if (unit->state == BRG_UNIT_PULLING && unit->puller == slot)
            share(slot, r->newest, u, BRG_OK);
    }
}

static void rounds_any_message_of_a_member__is_survived(void **state) {
    (void)state;
    struct brg_run_plan plan = plan_of(1, BRG_CODE_CYCLIC, 4, 1);
    plan.steps = 1000000;
    const uint32_t types[] = {BRG_EV_BEAT,  BRG_EV_DONE,  BRG_EV_FAULT,
                              BRG_EV_DRAIN, BRG_EV_SHARE, BRG_EV_HELLO};
    const uint64_t values[] = {0, 1, 2, 3, 7, UINT32_MAX, UINT64_MAX};
    uint64_t x = 88172645463325252; /* xorshift: a fixed row of numbers */
    attach(4);
    open_run(&plan);
    for (uint32_t i = 0; i < 200000; i++) {
        uint64_t r[8];
        for (uint32_t k = 0; k < 8; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            r[k] = x >> 20;
        }
        /* Newer processes, or what drains and is unfit would never come back. */
        struct brg_coord_event ev = hello_event((uint32_t)(1 + r[0] % 4), i % 16 == 0 ? 0 : i);
        ev.type = types[r[2] % 6];
        ev.run = values[r[3] % 7];
        ev.step = r[3] % 2 == 0 ? machine.c.rounds.newest : values[r[4] % 7];
        ev.unit = (uint32_t)values[r[5] % 7];
        ev.code = (int32_t)(r[6] % 16) - 14;
        ev.since = machine.c.rounds.since + (r[5] % 32 == 0) - (r[5] % 32 == 1);
        ev.bytes = values[r[6] % 7];
        ev.digest.bytes[0] = (uint8_t)(r[7] % 2);
        ev.member = (uint32_t)(r[0] % 5);
        ev.epoch = 7 + (r[7] % 16 == 0);
        if (ev.member < 4 && r[7] % 8 != 0) ev.session = member(ev.member)->session;
        machine.now_ns += r[1] % (20 * BRG_NS_PER_MS);
        const int rc = step(ev);
        assert_true(rc == BRG_OK || rc == BRG_EPROTO);
        if (i % 4 == 0) work_honestly((uint32_t)(r[2] % 4));
        if (machine.c.rounds.decoding != 0) commit(machine.c.rounds.decoding);
    }
    assert_true(machine.c.rounds.committed > 100); /* and steps are made nonetheless */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rounds_late_unit__goes_to_the_fastest_idle_member, setup),
        cmocka_unit_test_setup(rounds_late_unit__is_taken_from_whoever_answers_first, setup),
        cmocka_unit_test_setup(rounds_lost_members_unit__goes_to_somebody_else, setup),
        cmocka_unit_test_setup(rounds_spare__takes_the_position_of_a_member_that_left, setup),
        cmocka_unit_test_setup(rounds_suspect__gets_nothing_new, setup),
        cmocka_unit_test_setup(
            rounds_broken_share__is_not_used_and_its_member_does_no_more_of_the_run, setup),
        cmocka_unit_test_setup(
            rounds_share_that_is_not_held__is_attempted_again_but_not_in_a_circle, setup),
        cmocka_unit_test_setup(rounds_share_that_does_not_come__is_asked_for_again, setup),
        cmocka_unit_test_setup(rounds_share_that_does_not_come__is_computed_by_somebody_else,
                               setup),
        cmocka_unit_test_setup(rounds_two_slow_lines__each_get_time_enough_in_the_end, setup),
        cmocka_unit_test_setup(rounds_member_with_shares_on_the_way__gets_only_so_many_units_more,
                               setup),
        cmocka_unit_test_setup(rounds_fault__gives_the_unit_to_somebody_else, setup),
        cmocka_unit_test_setup(rounds_fault_about_a_task_it_does_not_have__changes_nothing, setup),
        cmocka_unit_test_setup(rounds_worker_that_lacks_the_run__gets_it_and_its_task_again, setup),
        cmocka_unit_test_setup(rounds_worker_that_does_not_know_its_task__gets_it_again, setup),
        cmocka_unit_test_setup(rounds_worker_that_ignores_its_task__gets_the_run_described_again,
                               setup),
        cmocka_unit_test_setup(rounds_nobody_left__is_said_once_a_step, setup),
        cmocka_unit_test_setup(rounds_draining_member__goes_once_its_share_is_here, setup),
        cmocka_unit_test_setup(
            rounds_draining_member_with_a_task__goes_at_once_and_somebody_else_does_it, setup),
        cmocka_unit_test_setup(rounds_revoked_members_share__is_not_used, setup),
        cmocka_unit_test_setup(rounds_revoked_members_share__makes_a_step_undecodable_again, setup),
        cmocka_unit_test_setup(rounds_new_process_of_a_member__holds_nothing_of_the_old_one, setup),
        cmocka_unit_test_setup(rounds_any_message_of_a_member__is_survived, setup),
    };
    return cmocka_run_group_tests_name("rounds_faults", tests, NULL, NULL) != 0;
}
