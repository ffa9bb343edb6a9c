/* test_line_run - a pipeline run in the coordinator's queue: opened, told of, stopped and closed
 * without a round of coded work. */
#include "machine.h"

/* A pipeline of 10 steps as run `id`, with nothing in its plan that it does not need. */
static void submit_line(uint64_t id) {
    const struct brg_run_plan plan = {.run = id, .steps = 10, .kind = BRG_PLAN_PIPELINE};
    must((struct brg_coord_event){.type = BRG_EV_SUBMIT, .plan = &plan});
}

static void open_line(uint64_t id, uint64_t committed) {
    submit_line(id);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, id);
    must((struct brg_coord_event){.type = BRG_EV_OPENED, .run = id, .step = committed});
    assert_int_equal(run_state(id), BRG_RUN_ACTIVE);
}

static void line_is_done(uint64_t id, int32_t code) {
    must((struct brg_coord_event){.type = BRG_EV_LINE_DONE, .run = id, .code = code});
}

static void may_go(uint32_t member_slot) {
    must((struct brg_coord_event){.type = BRG_EV_MAY_GO, .member = member_slot});
}

static void drain(uint32_t slot) {
    assert_int_equal(say(slot, (struct brg_coord_event){.type = BRG_EV_DRAIN}), BRG_OK);
}

static void line_opened__is_told_to_all_and_to_every_newcomer(void **state) {
    (void)state;
    attach(3);
    open_line(1, 0);
    assert_int_equal(count(BRG_ACT_SEND_RUN), 3);
    assert_int_equal(count(BRG_ACT_ROUND), 0);
    allow(4);
    hello(4, 4);
    assert_int_equal(count(BRG_ACT_SEND_RUN), 1);
    assert_int_equal(find(BRG_ACT_SEND_RUN, 0)->member, 3);
    hello(4, 4); /* its connection was a new one: the word may have been lost with the old */
    assert_int_equal(count(BRG_ACT_SEND_RUN), 1);
    wait_ns(1);
    assert_int_equal(run_state(1), BRG_RUN_ACTIVE);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
}

static void line_committed__rises_and_falls_as_it_is_told(void **state) {
    (void)state;
    attach(1);
    open_line(1, 7);
    assert_int_equal(machine.c.runs[0].committed, 7);
    must((struct brg_coord_event){.type = BRG_EV_LINE, .run = 1, .step = 8});
    assert_int_equal(machine.c.runs[0].committed, 8);
    must((struct brg_coord_event){.type = BRG_EV_LINE, .run = 1, .step = 4}); /* rolled back */
    assert_int_equal(machine.c.runs[0].committed, 4);
    must((struct brg_coord_event){.type = BRG_EV_LINE, .run = 2, .step = 9}); /* not open */
    assert_int_equal(machine.c.runs[0].committed, 4);
}

static void line_finished__is_released_closed_and_the_next_one_opens(void **state) {
    (void)state;
    attach(1);
    open_line(1, 0);
    submit_line(2);
    assert_int_equal(count(BRG_ACT_OPEN), 0);
    line_is_done(1, 0);
    assert_int_equal(run_state(1), BRG_RUN_FINISHED);
    assert_int_equal(count(BRG_ACT_SEND_RELEASE), 1);
    assert_int_equal(count(BRG_ACT_CLOSE), 1);
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, 2);
    line_is_done(1, 0); /* late, and void */
    assert_int_equal(run_state(2), BRG_RUN_OPENING);
}

static void line_pause__is_asked_for_once_and_ends_when_the_line_stands(void **state) {
    (void)state;
    attach(1);
    open_line(1, 0);
    must((struct brg_coord_event){.type = BRG_EV_PAUSE, .run = 1});
    assert_int_equal(find(BRG_ACT_LINE_STOP, 0)->code, BRG_RUN_PAUSED);
    must((struct brg_coord_event){.type = BRG_EV_PAUSE, .run = 1});
    assert_int_equal(count(BRG_ACT_LINE_STOP), 0);
    assert_int_equal(run_state(1), BRG_RUN_ACTIVE);
    line_is_done(1, 1);
    assert_int_equal(run_state(1), BRG_RUN_PAUSED);
    must((struct brg_coord_event){.type = BRG_EV_RESUME, .run = 1});
    assert_int_equal(count(BRG_ACT_OPEN), 1);
}

static void line_stop_after_a_pause__wins_but_not_the_other_way_round(void **state) {
    (void)state;
    attach(1);
    open_line(1, 0);
    must((struct brg_coord_event){.type = BRG_EV_PAUSE, .run = 1});
    must((struct brg_coord_event){.type = BRG_EV_STOP, .run = 1});
    assert_int_equal(find(BRG_ACT_LINE_STOP, 0)->code, BRG_RUN_STOPPED);
    must((struct brg_coord_event){.type = BRG_EV_PAUSE, .run = 1});
    assert_int_equal(count(BRG_ACT_LINE_STOP), 0);
    line_is_done(1, 1);
    assert_int_equal(run_state(1), BRG_RUN_STOPPED);
}

static void line_pause_while_it_opens__is_asked_for_as_soon_as_it_is_open(void **state) {
    (void)state;
    submit_line(1);
    must((struct brg_coord_event){.type = BRG_EV_PAUSE, .run = 1});
    must((struct brg_coord_event){.type = BRG_EV_OPENED, .run = 1});
    assert_int_equal(find(BRG_ACT_LINE_STOP, 0)->code, BRG_RUN_PAUSED);
}

static void line_that_cannot_go_on__is_released_and_fails(void **state) {
    (void)state;
    attach(1);
    open_line(1, 0);
    must((struct brg_coord_event){.type = BRG_EV_RUN_FAILED, .run = 1});
    assert_int_equal(run_state(1), BRG_RUN_FAILED);
    assert_int_equal(count(BRG_ACT_SEND_RELEASE), 1);
    assert_int_equal(count(BRG_ACT_CLOSE), 1);
}

static void line_drained_member__goes_when_nothing_of_it_is_needed_and_not_before(void **state) {
    (void)state;
    attach(2);
    open_line(1, 0);
    drain(0);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 0);
    wait_ns(1);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 0);
    may_go(0);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
    assert_int_equal(find(BRG_ACT_SEND_DRAIN_ACK, 0)->member, 0);
    drain(0); /* the word was lost */
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
    hello(1, 9); /* a new process of that key may hold something */
    drain(0);
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 0);
    line_is_done(1, 0); /* nobody is held back any more */
    assert_int_equal(count(BRG_ACT_SEND_DRAIN_ACK), 1);
}

static void line_under_way_when_the_coordinator_died__opens_again(void **state) {
    (void)state;
    brg_coord_init(&machine.c, LEASE_NS);
    const struct brg_run_plan plan = {
        .run = 3, .steps = 10, .kind = BRG_PLAN_PIPELINE, .state = BRG_RUN_ACTIVE};
    assert_int_equal(brg_coord_add_run(&machine.c, &plan, 6, 0), BRG_OK);
    must((struct brg_coord_event){.type = BRG_EV_START, .epoch = 8});
    assert_int_equal(find(BRG_ACT_OPEN, 0)->run, 3);
    must((struct brg_coord_event){.type = BRG_EV_OPENED, .run = 3, .step = 6});
    assert_int_equal(run_state(3), BRG_RUN_ACTIVE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(line_opened__is_told_to_all_and_to_every_newcomer, setup),
        cmocka_unit_test_setup(line_committed__rises_and_falls_as_it_is_told, setup),
        cmocka_unit_test_setup(line_finished__is_released_closed_and_the_next_one_opens, setup),
        cmocka_unit_test_setup(line_pause__is_asked_for_once_and_ends_when_the_line_stands, setup),
        cmocka_unit_test_setup(line_stop_after_a_pause__wins_but_not_the_other_way_round, setup),
        cmocka_unit_test_setup(line_pause_while_it_opens__is_asked_for_as_soon_as_it_is_open,
                               setup),
        cmocka_unit_test_setup(line_that_cannot_go_on__is_released_and_fails, setup),
        cmocka_unit_test_setup(
            line_drained_member__goes_when_nothing_of_it_is_needed_and_not_before, setup),
        cmocka_unit_test_setup(line_under_way_when_the_coordinator_died__opens_again, setup),
    };
    return cmocka_run_group_tests_name("line_run", tests, NULL, NULL) != 0;
}
