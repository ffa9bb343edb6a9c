/* A worker that meets again what it took for settled: a run that goes back, a coordinator that has
 * lost its last start, an operator who wants it to leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/core/worker.h"

#define EPOCH 5u
#define MS BRG_NS_PER_MS

static struct brg_worker worker;
static struct brg_worker_actions out;
static uint64_t now_ns;

static void step(struct brg_worker_event ev) {
    ev.now_ns = ++now_ns;
    if (ev.epoch == 0) ev.epoch = EPOCH;
    ev.run = ev.models = 1;
    if (ev.since == 0) ev.since = 1;
    if (ev.type == BRG_WEV_TASK && ev.round == 0)
        ev.round = ev.step; /* one model: a round a step */
    assert_int_equal(brg_worker_step(&worker, &ev, &out), BRG_OK);
    brg_worker_check(&worker);
}

static uint32_t count(uint32_t type) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < out.count; i++) n += out.items[i].type == type;
    return n;
}

/* Attached, with run 1 described and its data at hand. */
static int setup(void **state) {
    const struct brg_worker_config config = {
        .hello_every_ns = 100 * MS, .fetch_retry_ns = 100 * MS, .session = 9};
    (void)state;
    now_ns = 0;
    assert_int_equal(brg_worker_init(&worker, &config), BRG_OK);
    step((struct brg_worker_event){.type = BRG_WEV_START});
    step((struct brg_worker_event){.type = BRG_WEV_WELCOME, .beat_ns = 100 * MS});
    step((struct brg_worker_event){.type = BRG_WEV_RUN, .has_data = 1});
    return 0;
}

static void task(uint64_t step_number) {
    step((struct brg_worker_event){.type = BRG_WEV_TASK, .step = step_number, .unit = 0});
}

static void finish(uint64_t step_number) {
    task(step_number);
    step((struct brg_worker_event){.type = BRG_WEV_PARAMS, .step = step_number - 1});
    step((struct brg_worker_event){.type = BRG_WEV_COMPUTED, .step = step_number, .unit = 0});
    assert_int_equal(count(BRG_WACT_SEND_DONE), 1);
}

static void worker_task_of_an_earlier_round__is_taken_for_late(void **state) {
    (void)state;
    finish(12);
    task(9);
    assert_int_equal(worker.task_count, 0);
    step((struct brg_worker_event){.type = BRG_WEV_COMMIT, .step = 12});
    task(12);
    assert_int_equal(worker.task_count, 0);
}

static void worker_task_of_another_code__voids_all_of_the_one_before(void **state) {
    (void)state;
    finish(12); /* its share is never used: the run fails, and is opened again at step 8 */
    step((struct brg_worker_event){.type = BRG_WEV_COMMIT, .step = 11});
    step((struct brg_worker_event){
        .type = BRG_WEV_TASK, .round = 13, .since = 13, .step = 9, .unit = 0});
    assert_int_equal(count(BRG_WACT_DROP_SHARES), 1);
    assert_int_equal(count(BRG_WACT_DROP_PARAMS), 1);
    assert_int_equal(worker.tasks[0].step, 9);
    assert_int_equal(worker.share_count, 0);
    step((struct brg_worker_event){
        .type = BRG_WEV_TASK, .round = 14, .since = 12, .step = 10, .unit = 0});
    assert_int_equal(worker.tasks[0].step, 9); /* that code is not in force any more */
    step((struct brg_worker_event){.type = BRG_WEV_PARAMS, .step = 8});
    step((struct brg_worker_event){.type = BRG_WEV_COMPUTED, .step = 9, .unit = 0});
    assert_int_equal(out.items[0].since, 13);
}

static void worker_share_of_another_code__is_not_said_to_be_ready(void **state) {
    (void)state;
    finish(3);
    step((struct brg_worker_event){
        .type = BRG_WEV_TASK, .round = 4, .since = 4, .step = 3, .unit = 0});
    assert_int_equal(count(BRG_WACT_SEND_DONE), 0); /* other chunks under the same number */
    assert_int_equal(worker.task_count, 1);
    step((struct brg_worker_event){.type = BRG_WEV_WANT, .step = 3, .unit = 0});
    assert_int_equal(count(BRG_WACT_SEND_GONE), 1);
}

static void worker_commit_of_before_the_run_went_back__is_forgotten_with_it(void **state) {
    (void)state;
    step((struct brg_worker_event){
        .type = BRG_WEV_TASK, .round = 13, .since = 13, .step = 9, .unit = 0});
    step((struct brg_worker_event){.type = BRG_WEV_COMMIT, .step = 12}); /* late on the way */
    assert_int_equal(worker.task_count, 0);
    step((struct brg_worker_event){.type = BRG_WEV_RUN}); /* nobody heard of the task: once more */
    step((struct brg_worker_event){
        .type = BRG_WEV_TASK, .round = 13, .since = 13, .step = 9, .unit = 0});
    assert_int_equal(worker.task_count, 1);
}

static void worker_run_described_again__keeps_the_task_under_way(void **state) {
    (void)state;
    task(3);
    step((struct brg_worker_event){.type = BRG_WEV_PARAMS, .step = 2});
    assert_int_equal(count(BRG_WACT_COMPUTE), 1);
    step((struct brg_worker_event){.type = BRG_WEV_RUN});
    assert_int_equal(count(BRG_WACT_CANCEL), 0);
    task(3);
    assert_int_equal(count(BRG_WACT_COMPUTE), 0);
    assert_int_equal(worker.task_state, BRG_WTASK_COMPUTING);
}

static void worker_drained_by_the_operator__says_goodbye_and_leaves(void **state) {
    (void)state;
    step((struct brg_worker_event){.type = BRG_WEV_DRAIN_ACK});
    assert_int_equal(count(BRG_WACT_SEND_BYE), 1);
    assert_int_equal(count(BRG_WACT_EXIT), 1);
    assert_int_equal(worker.phase, BRG_WORKER_GONE);
}

static void worker_coordinator_that_lost_its_start__is_shown_proof_and_not_obeyed(void **state) {
    (void)state;
    step((struct brg_worker_event){.type = BRG_WEV_REHELLO, .epoch = EPOCH - 1});
    assert_int_equal(count(BRG_WACT_SEND_HELLO), 1); /* the shell adds the proof */
    step((struct brg_worker_event){
        .type = BRG_WEV_WELCOME, .epoch = EPOCH - 1, .beat_ns = 100 * MS});
    assert_int_equal(worker.phase, BRG_WORKER_CALLING);
    assert_int_equal(worker.epoch, EPOCH);
}

static void worker_full_of_shares__makes_room_for_the_next(void **state) {
    (void)state;
    for (uint32_t unit = 0; unit < BRG_WORKER_SHARES_MAX + 1; unit++) {
        step((struct brg_worker_event){.type = BRG_WEV_TASK, .step = 1, .unit = unit});
        if (unit == 0) step((struct brg_worker_event){.type = BRG_WEV_PARAMS, .step = 0});
        step((struct brg_worker_event){.type = BRG_WEV_COMPUTED, .step = 1, .unit = unit});
        assert_int_equal(count(BRG_WACT_DROP_SHARE), unit == BRG_WORKER_SHARES_MAX);
    }
    assert_int_equal(worker.share_count, BRG_WORKER_SHARES_MAX);
    step((struct brg_worker_event){.type = BRG_WEV_WANT, .step = 1, .unit = 1});
    assert_int_equal(count(BRG_WACT_SEND_SHARE), 1);
    step((struct brg_worker_event){.type = BRG_WEV_WANT, .step = 1, .unit = 0});
    assert_int_equal(count(BRG_WACT_SEND_GONE), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(worker_task_of_an_earlier_round__is_taken_for_late, setup),
        cmocka_unit_test_setup(worker_task_of_another_code__voids_all_of_the_one_before, setup),
        cmocka_unit_test_setup(worker_share_of_another_code__is_not_said_to_be_ready, setup),
        cmocka_unit_test_setup(worker_commit_of_before_the_run_went_back__is_forgotten_with_it,
                               setup),
        cmocka_unit_test_setup(worker_run_described_again__keeps_the_task_under_way, setup),
        cmocka_unit_test_setup(worker_drained_by_the_operator__says_goodbye_and_leaves, setup),
        cmocka_unit_test_setup(
            worker_coordinator_that_lost_its_start__is_shown_proof_and_not_obeyed, setup),
        cmocka_unit_test_setup(worker_full_of_shares__makes_room_for_the_next, setup),
    };
    return cmocka_run_group_tests_name("worker_again", tests, NULL, NULL) != 0;
}
