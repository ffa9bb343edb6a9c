/* The worker's machine, one transition after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "worker/core/worker.h"

#include <string.h>

#define MS BRG_NS_PER_MS
#define RUN 9u

struct fixture {
    struct brg_worker w;
    struct brg_worker_actions out;
    uint64_t now_ns;
};

static const struct brg_worker_config config = {
    .hello_every_ns = 500 * MS, .fetch_retry_ns = 200 * MS, .session = 42};

static int step(struct fixture *f, struct brg_worker_event ev) {
    ev.now_ns = f->now_ns;
    const int rc = brg_worker_step(&f->w, &ev, &f->out);
    brg_worker_check(&f->w);
    return rc;
}

#define STEP(f, ...) assert_int_equal(step((f), (struct brg_worker_event){__VA_ARGS__}), BRG_OK)

/* The n-th action of `type`, or NULL. */
static const struct brg_worker_action *find(const struct fixture *f, uint32_t type) {
    for (uint32_t i = 0; i < f->out.count; i++)
        if (f->out.items[i].type == type) return &f->out.items[i];
    return NULL;
}

/* 1 where nothing but the timer came out. */
static int is_quiet(const struct fixture *f) {
    return f->out.count == 1 && f->out.items[0].type == BRG_WACT_ARM;
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(brg_worker_init(&f->w, &config), BRG_OK);
    f->now_ns = 1000 * MS;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static void attach(struct fixture *f, uint64_t epoch) {
    STEP(f, .type = BRG_WEV_START);
    assert_non_null(find(f, BRG_WACT_SEND_HELLO));
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = epoch, .beat_ns = 100 * MS);
    assert_int_equal(f->w.phase, BRG_WORKER_ATTACHED);
}

/* Attached, with the data of the run at hand. */
static void take_run(struct fixture *f, uint64_t epoch) {
    attach(f, epoch);
    STEP(f, .type = BRG_WEV_RUN, .epoch = epoch, .run = RUN, .models = 1);
    assert_non_null(find(f, BRG_WACT_FETCH_DATA));
    STEP(f, .type = BRG_WEV_DATA, .run = RUN);
}

/* In a run of one model a round is a step. */
static void task(struct fixture *f, uint64_t epoch, uint64_t step_number, uint32_t unit) {
    STEP(f, .type = BRG_WEV_TASK, .epoch = epoch, .run = RUN, .round = step_number, .since = 1,
         .step = step_number, .unit = unit, .attempt = 1);
}

/* Computes unit `unit` of `step_number` to its end. */
static void finish(struct fixture *f, uint64_t step_number, uint32_t unit) {
    task(f, 5, step_number, unit);
    if (find(f, BRG_WACT_COMPUTE) == NULL) {
        const struct brg_worker_action *a = find(f, BRG_WACT_FETCH_PARAMS);
        assert_non_null(a);
        assert_int_equal(a->step, step_number - 1);
        STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = step_number - 1);
    }
    assert_non_null(find(f, BRG_WACT_COMPUTE));
    STEP(f, .type = BRG_WEV_COMPUTED, .run = RUN, .step = step_number, .unit = unit);
    assert_non_null(find(f, BRG_WACT_SEND_DONE));
}

static void worker_config_out_of_range__is_refused(void **state) {
    (void)state;
    struct brg_worker w;
    struct brg_worker_config bad = config;
    bad.session = 0;
    assert_int_equal(brg_worker_init(&w, &bad), BRG_EINVAL);
    bad = config;
    bad.hello_every_ns = 0;
    assert_int_equal(brg_worker_init(&w, &bad), BRG_EINVAL);
    bad = config;
    bad.fetch_retry_ns = 0;
    assert_int_equal(brg_worker_init(&w, &bad), BRG_EINVAL);
}

static void worker_calling__repeats_hello_until_it_is_welcome(void **state) {
    struct fixture *f = *state;
    STEP(f, .type = BRG_WEV_START);
    assert_non_null(find(f, BRG_WACT_SEND_HELLO));
    assert_int_equal(find(f, BRG_WACT_ARM)->at_ns, f->now_ns + config.hello_every_ns);
    f->now_ns += config.hello_every_ns - 1;
    STEP(f, .type = BRG_WEV_TICK);
    assert_true(is_quiet(f));
    f->now_ns += 1;
    STEP(f, .type = BRG_WEV_TICK);
    assert_non_null(find(f, BRG_WACT_SEND_HELLO));
    STEP(f, .type = BRG_WEV_REFUSED, .retry = 1);
    assert_int_equal(f->w.phase, BRG_WORKER_CALLING);
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = 5, .beat_ns = 100 * MS);
    assert_true(is_quiet(f));
    assert_int_equal(find(f, BRG_WACT_ARM)->at_ns, f->now_ns + 100 * MS);
    f->now_ns += 100 * MS;
    STEP(f, .type = BRG_WEV_TICK);
    assert_non_null(find(f, BRG_WACT_SEND_BEAT));
    assert_int_equal(find(f, BRG_WACT_SEND_BEAT)->step, 0);
    assert_null(find(f, BRG_WACT_SEND_HELLO));
}

static void worker_welcome_that_makes_no_sense__is_the_coordinators_fault(void **state) {
    struct fixture *f = *state;
    STEP(f, .type = BRG_WEV_START);
    const struct brg_worker before = f->w;
    assert_int_equal(step(f, (struct brg_worker_event){.type = BRG_WEV_WELCOME, .epoch = 5}),
                     BRG_EPROTO);
    assert_int_equal(step(f, (struct brg_worker_event){.type = BRG_WEV_WELCOME, .beat_ns = MS}),
                     BRG_EPROTO);
    assert_memory_equal(&before, &f->w, sizeof before);
}

static void worker_refused_for_good__leaves(void **state) {
    struct fixture *f = *state;
    STEP(f, .type = BRG_WEV_START);
    STEP(f, .type = BRG_WEV_REFUSED);
    assert_int_equal(find(f, BRG_WACT_EXIT)->code, BRG_EPERM);
    assert_int_equal(f->w.phase, BRG_WORKER_GONE);
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = 5, .beat_ns = MS);
    assert_int_equal(f->out.count, 0);
}

static void worker_task__fetches_then_computes_then_says_so(void **state) {
    struct fixture *f = *state;
    attach(f, 5);
    STEP(f, .type = BRG_WEV_RUN, .epoch = 5, .run = RUN, .models = 1);
    task(f, 5, 1, 3);
    assert_non_null(find(f, BRG_WACT_FETCH_DATA));
    assert_int_equal(find(f, BRG_WACT_FETCH_PARAMS)->step, 0);
    assert_null(find(f, BRG_WACT_COMPUTE));
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 0);
    assert_null(find(f, BRG_WACT_COMPUTE));
    STEP(f, .type = BRG_WEV_DATA, .run = RUN);
    const struct brg_worker_action *compute = find(f, BRG_WACT_COMPUTE);
    assert_non_null(compute);
    assert_true(compute->run == RUN && compute->step == 1 && compute->unit == 3);
    STEP(f, .type = BRG_WEV_PROGRESS, .unit = 2);
    f->now_ns += 100 * MS;
    STEP(f, .type = BRG_WEV_TICK);
    const struct brg_worker_action *beat = find(f, BRG_WACT_SEND_BEAT);
    assert_true(beat->run == RUN && beat->step == 1 && beat->unit == 3 && beat->attempt == 2);
    STEP(f, .type = BRG_WEV_COMPUTED, .run = RUN, .step = 1, .unit = 3);
    const struct brg_worker_action *done = find(f, BRG_WACT_SEND_DONE);
    assert_true(done->run == RUN && done->step == 1 && done->unit == 3 && done->attempt == 1);
    assert_null(find(f, BRG_WACT_CANCEL));
}

static void worker_fetch__is_repeated_until_it_is_here(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    task(f, 5, 1, 3);
    assert_non_null(find(f, BRG_WACT_FETCH_PARAMS));
    f->now_ns += 50 * MS;
    STEP(f, .type = BRG_WEV_TICK);
    assert_null(find(f, BRG_WACT_FETCH_PARAMS));
    f->now_ns += 150 * MS;
    STEP(f, .type = BRG_WEV_TICK);
    assert_non_null(find(f, BRG_WACT_FETCH_PARAMS));
    assert_null(find(f, BRG_WACT_FETCH_DATA));
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 7); /* of another version: no use */
    assert_null(find(f, BRG_WACT_COMPUTE));
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN + 1, .step = 0);
    assert_null(find(f, BRG_WACT_COMPUTE));
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 0);
    assert_non_null(find(f, BRG_WACT_COMPUTE));
}

static void worker_same_task_again__is_computed_once_and_answered_each_time(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    task(f, 5, 1, 3);
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 0);
    task(f, 5, 1, 3);
    assert_true(is_quiet(f)); /* still at it */
    STEP(f, .type = BRG_WEV_COMPUTED, .run = RUN, .step = 1, .unit = 3);
    for (uint32_t i = 2; i < 5; i++) {
        STEP(f, .type = BRG_WEV_TASK, .epoch = 5, .run = RUN, .round = 1, .since = 1, .step = 1,
             .unit = 3, .attempt = i);
        assert_null(find(f, BRG_WACT_COMPUTE));
        assert_int_equal(find(f, BRG_WACT_SEND_DONE)->attempt, i);
    }
    STEP(f, .type = BRG_WEV_COMPUTED, .run = RUN, .step = 1, .unit = 3); /* a copy */
    assert_true(is_quiet(f));
    assert_int_equal(f->w.share_count, 1);
}

static void worker_newer_task__cancels_the_older_one(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    task(f, 5, 1, 3);
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 0);
    task(f, 5, 2, 3);
    assert_non_null(find(f, BRG_WACT_CANCEL));
    assert_int_equal(find(f, BRG_WACT_FETCH_PARAMS)->step, 1);
    STEP(f, .type = BRG_WEV_COMPUTED, .run = RUN, .step = 1, .unit = 3); /* it was on its way */
    assert_true(is_quiet(f));
    task(f, 5, 1, 3); /* late on the way */
    assert_true(is_quiet(f));
    assert_int_equal(f->w.tasks[0].step, 2);
}

static void worker_other_unit_of_the_step__keeps_the_share_it_holds(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    finish(f, 1, 3);
    finish(f, 1, 4);
    assert_int_equal(f->w.share_count, 2);
    STEP(f, .type = BRG_WEV_WANT, .epoch = 5, .run = RUN, .step = 1, .unit = 3);
    assert_non_null(find(f, BRG_WACT_SEND_SHARE));
    STEP(f, .type = BRG_WEV_WANT, .epoch = 5, .run = RUN, .step = 1, .unit = 4);
    assert_non_null(find(f, BRG_WACT_SEND_SHARE));
    STEP(f, .type = BRG_WEV_WANT, .epoch = 5, .run = RUN, .step = 1, .unit = 5);
    assert_null(find(f, BRG_WACT_SEND_SHARE));
    assert_non_null(find(f, BRG_WACT_SEND_GONE));
    for (uint32_t unit = 10; unit < 20; unit++) finish(f, 1, unit);
    assert_true(f->w.share_count <= BRG_WORKER_SHARES_MAX);
}

static void worker_commit__drops_what_it_supersedes_and_nothing_newer(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    finish(f, 1, 3);
    STEP(f, .type = BRG_WEV_COMMIT, .epoch = 5, .run = RUN, .step = 1);
    assert_non_null(find(f, BRG_WACT_DROP_SHARES));
    STEP(f, .type = BRG_WEV_WANT, .epoch = 5, .run = RUN, .step = 1, .unit = 3);
    assert_non_null(find(f, BRG_WACT_SEND_GONE));
    task(f, 5, 1, 3); /* late on the way */
    assert_true(is_quiet(f));
    task(f, 5, 2, 3);
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 1);
    STEP(f, .type = BRG_WEV_COMMIT, .epoch = 5, .run = RUN, .step = 1); /* twice */
    assert_true(is_quiet(f));
    STEP(f, .type = BRG_WEV_COMMIT, .epoch = 5, .run = RUN + 1, .step = 9);
    assert_true(is_quiet(f));
    assert_int_equal(f->w.task_state, BRG_WTASK_COMPUTING);
    STEP(f, .type = BRG_WEV_COMMIT, .epoch = 5, .run = RUN, .step = 2);
    assert_non_null(find(f, BRG_WACT_CANCEL));
    assert_int_equal(f->w.task_state, BRG_WTASK_NONE);
}

static void worker_release__drops_all_of_the_run(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    finish(f, 1, 3);
    task(f, 5, 1, 4);
    STEP(f, .type = BRG_WEV_RELEASE, .epoch = 5, .run = RUN + 1);
    assert_true(is_quiet(f));
    STEP(f, .type = BRG_WEV_RELEASE, .epoch = 5, .run = RUN);
    assert_non_null(find(f, BRG_WACT_CANCEL));
    assert_non_null(find(f, BRG_WACT_DROP_SHARES));
    assert_non_null(find(f, BRG_WACT_DROP_PARAMS));
    assert_int_equal(f->w.run, 0);
    task(f, 5, 2, 3); /* of a run that is not described any more */
    assert_int_equal(find(f, BRG_WACT_SEND_FAULT)->code, BRG_ENOENT);
}

static void worker_run_that_cannot_be_worked_on__answers_its_tasks(void **state) {
    struct fixture *f = *state;
    attach(f, 5);
    STEP(f, .type = BRG_WEV_RUN, .epoch = 5, .run = RUN, .models = 1);
    STEP(f, .type = BRG_WEV_DATA, .run = RUN, .code = BRG_EINVAL);
    assert_true(is_quiet(f)); /* nobody waits for anything yet */
    for (uint64_t n = 1; n < 3; n++) {
        task(f, 5, n, 3);
        assert_non_null(find(f, BRG_WACT_FETCH_DATA));
        STEP(f, .type = BRG_WEV_DATA, .run = RUN, .code = BRG_EINVAL);
        const struct brg_worker_action *fault = find(f, BRG_WACT_SEND_FAULT);
        assert_non_null(fault);
        assert_true(fault->code == BRG_EINVAL && fault->step == n && fault->unit == 3);
        assert_int_equal(f->w.task_state, BRG_WTASK_NONE);
    }
    task(f, 5, 3, 3); /* another try may come right */
    STEP(f, .type = BRG_WEV_DATA, .run = RUN + 1, .code = BRG_EINVAL);
    assert_true(is_quiet(f));
    STEP(f, .type = BRG_WEV_DATA, .run = RUN);
    STEP(f, .type = BRG_WEV_PARAMS, .run = RUN, .step = 2);
    assert_non_null(find(f, BRG_WACT_COMPUTE));
    STEP(f, .type = BRG_WEV_COMPUTED, .run = RUN, .step = 3, .unit = 3, .code = BRG_ENOMEM);
    assert_int_equal(find(f, BRG_WACT_SEND_FAULT)->code, BRG_ENOMEM);
    assert_int_equal(f->w.share_count, 0);
}

static void worker_older_epoch__is_not_obeyed(void **state) {
    struct fixture *f = *state;
    static const uint32_t types[] = {BRG_WEV_RUN,     BRG_WEV_TASK, BRG_WEV_COMMIT,
                                     BRG_WEV_RELEASE, BRG_WEV_WANT, BRG_WEV_DRAIN_ACK};
    take_run(f, 5);
    finish(f, 1, 3);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct brg_worker before = f->w;
        STEP(f, .type = types[i], .epoch = 4, .run = RUN, .step = 1, .unit = 3);
        assert_true(is_quiet(f));
        assert_memory_equal(&before, &f->w, sizeof before);
    }
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = 4, .beat_ns = MS);
    assert_true(is_quiet(f));
    assert_int_equal(f->w.epoch, 5);
}

static void worker_newer_epoch__starts_afresh_after_a_new_hello(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    finish(f, 1, 3);
    task(f, 6, 2, 3);
    assert_non_null(find(f, BRG_WACT_SEND_HELLO));
    assert_null(find(f, BRG_WACT_FETCH_PARAMS));
    assert_int_equal(f->w.phase, BRG_WORKER_CALLING);
    task(f, 6, 2, 3);
    assert_true(is_quiet(f)); /* it has called already */
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = 6, .beat_ns = 100 * MS);
    assert_non_null(find(f, BRG_WACT_DROP_SHARES));
    assert_non_null(find(f, BRG_WACT_DROP_PARAMS));
    assert_int_equal(f->w.run, 0);
    STEP(f, .type = BRG_WEV_RUN, .epoch = 6, .run = RUN, .has_data = 1, .models = 1);
    assert_true(is_quiet(f)); /* the data set is the same */
}

static void worker_rehello__calls_and_goes_on_where_the_epoch_is_the_same(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    finish(f, 1, 3);
    STEP(f, .type = BRG_WEV_REHELLO, .epoch = 5);
    assert_non_null(find(f, BRG_WACT_SEND_HELLO));
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = 5, .beat_ns = 100 * MS);
    STEP(f, .type = BRG_WEV_WANT, .epoch = 5, .run = RUN, .step = 1, .unit = 3);
    assert_non_null(find(f, BRG_WACT_SEND_SHARE));
}

static void worker_drain__hands_over_and_leaves_when_let_go(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    finish(f, 1, 3);
    task(f, 5, 1, 4);
    STEP(f, .type = BRG_WEV_TERMINATE, .at_ns = f->now_ns + 1000 * MS);
    assert_non_null(find(f, BRG_WACT_CANCEL));
    assert_int_equal(find(f, BRG_WACT_SEND_DRAIN)->at_ns, f->now_ns + 1000 * MS);
    task(f, 5, 1, 5);
    assert_true(is_quiet(f)); /* nothing new */
    STEP(f, .type = BRG_WEV_WANT, .epoch = 5, .run = RUN, .step = 1, .unit = 3);
    assert_non_null(find(f, BRG_WACT_SEND_SHARE));
    f->now_ns += 100 * MS;
    STEP(f, .type = BRG_WEV_TICK);
    assert_non_null(find(f, BRG_WACT_SEND_BEAT));
    assert_non_null(find(f, BRG_WACT_SEND_DRAIN)); /* its first word may be lost */
    STEP(f, .type = BRG_WEV_DRAIN_ACK, .epoch = 5);
    assert_non_null(find(f, BRG_WACT_SEND_BYE));
    assert_int_equal(find(f, BRG_WACT_EXIT)->code, BRG_OK);
}

static void worker_drain_nobody_answers__leaves_at_the_deadline(void **state) {
    struct fixture *f = *state;
    attach(f, 5);
    STEP(f, .type = BRG_WEV_TERMINATE, .at_ns = f->now_ns + 30 * MS);
    assert_int_equal(find(f, BRG_WACT_ARM)->at_ns, f->now_ns + 30 * MS);
    f->now_ns += 30 * MS;
    STEP(f, .type = BRG_WEV_TICK);
    assert_non_null(find(f, BRG_WACT_SEND_BYE));
    assert_int_equal(find(f, BRG_WACT_EXIT)->code, BRG_OK);
}

static void worker_second_signal__leaves_at_once(void **state) {
    struct fixture *f = *state;
    attach(f, 5);
    STEP(f, .type = BRG_WEV_TERMINATE, .at_ns = f->now_ns + 1000 * MS);
    STEP(f, .type = BRG_WEV_TERMINATE, .at_ns = f->now_ns + 1000 * MS);
    assert_non_null(find(f, BRG_WACT_EXIT));
}

static void worker_signal_before_the_first_welcome__leaves_at_once(void **state) {
    struct fixture *f = *state;
    STEP(f, .type = BRG_WEV_START);
    STEP(f, .type = BRG_WEV_TERMINATE, .at_ns = f->now_ns + 1000 * MS);
    assert_non_null(find(f, BRG_WACT_EXIT));
    assert_null(find(f, BRG_WACT_SEND_BYE));
}

static void worker_signal_while_the_coordinator_restarts__drains_once_it_is_back(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    STEP(f, .type = BRG_WEV_REHELLO, .epoch = 6);
    STEP(f, .type = BRG_WEV_TERMINATE, .at_ns = f->now_ns + 1000 * MS);
    assert_null(find(f, BRG_WACT_SEND_DRAIN));
    STEP(f, .type = BRG_WEV_WELCOME, .epoch = 6, .beat_ns = 100 * MS);
    assert_non_null(find(f, BRG_WACT_SEND_DRAIN));
    assert_int_equal(f->w.phase, BRG_WORKER_DRAINING);
}

static void worker_nonsense_task__is_the_coordinators_fault(void **state) {
    struct fixture *f = *state;
    take_run(f, 5);
    const struct brg_worker before = f->w;
    struct brg_worker_event ev = {.type = BRG_WEV_TASK, .epoch = 5, .run = RUN, .unit = 1};
    ev.round = ev.since = 1;
    assert_int_equal(step(f, ev), BRG_EPROTO);
    ev.step = 1;
    ev.unit = BRG_WORKER_NO_UNIT;
    assert_int_equal(step(f, ev), BRG_EPROTO);
    ev.unit = 1;
    ev.run = 0;
    assert_int_equal(step(f, ev), BRG_EPROTO);
    ev.run = RUN;
    ev.since = 0;
    assert_int_equal(step(f, ev), BRG_EPROTO);
    ev.since = 2; /* a round of before the code was in force */
    assert_int_equal(step(f, ev), BRG_EPROTO);
    assert_memory_equal(&before, &f->w, sizeof before);
}

/* Whatever comes, in whatever order: the invariants hold, the actions fit, COMPUTE and CANCEL
 * alternate, and a timer is always armed until the end. */
static void worker_any_events__keep_the_invariants(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct brg_prng g = {.state = seed};
        struct fixture f = {.now_ns = 1};
        uint32_t computing = 0;
        assert_int_equal(brg_worker_init(&f.w, &config), BRG_OK);
        STEP(&f, .type = BRG_WEV_START);
        for (uint32_t i = 0; i < 400 && f.w.phase != BRG_WORKER_GONE; i++) {
            struct brg_worker_event ev = {
                .type = BRG_WEV_TICK + (uint32_t)brg_prng_below(&g, BRG_WEV_COMPUTED - 1),
                .epoch = 1 + brg_prng_below(&g, 3),
                .run = 1 + brg_prng_below(&g, 2),
                .step = brg_prng_below(&g, 5),
                .unit = (uint32_t)brg_prng_below(&g, 3),
                .code = brg_prng_below(&g, 4) == 0 ? BRG_EINVAL : BRG_OK,
                .round = i / 20 + brg_prng_below(&g, 3),
                .since = 1 + i / 100,
                .models = 1 + (uint32_t)brg_prng_below(&g, 8),
                .beat_ns = 100 * MS,
                .retry = 1,
                .has_data = (uint32_t)brg_prng_below(&g, 2),
            };
            if (ev.type == BRG_WEV_DRAIN_ACK && brg_prng_below(&g, 50) > 0) continue;
            if (ev.type == BRG_WEV_COMPUTED && !computing) continue;
            f.now_ns += brg_prng_below(&g, 200 * MS);
            (void)!step(&f, ev);
            uint32_t armed = 0;
            for (uint32_t k = 0; k < f.out.count; k++) {
                const uint32_t type = f.out.items[k].type;
                if (type == BRG_WACT_COMPUTE) assert_int_equal(computing++, 0);
                if (type == BRG_WACT_CANCEL) assert_int_equal(computing--, 1);
                if (type == BRG_WACT_SEND_DONE && ev.type == BRG_WEV_COMPUTED) computing = 0;
                if (type == BRG_WACT_SEND_FAULT && ev.type == BRG_WEV_COMPUTED) computing = 0;
                armed += type == BRG_WACT_ARM;
            }
            assert_int_equal(computing, f.w.task_state == BRG_WTASK_COMPUTING);
            if (f.w.phase != BRG_WORKER_GONE && f.out.count > 0) assert_int_equal(armed, 1);
        }
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(worker_config_out_of_range__is_refused),
        TEST(worker_calling__repeats_hello_until_it_is_welcome),
        TEST(worker_welcome_that_makes_no_sense__is_the_coordinators_fault),
        TEST(worker_refused_for_good__leaves),
        TEST(worker_task__fetches_then_computes_then_says_so),
        TEST(worker_fetch__is_repeated_until_it_is_here),
        TEST(worker_same_task_again__is_computed_once_and_answered_each_time),
        TEST(worker_newer_task__cancels_the_older_one),
        TEST(worker_other_unit_of_the_step__keeps_the_share_it_holds),
        TEST(worker_commit__drops_what_it_supersedes_and_nothing_newer),
        TEST(worker_release__drops_all_of_the_run),
        TEST(worker_run_that_cannot_be_worked_on__answers_its_tasks),
        TEST(worker_older_epoch__is_not_obeyed),
        TEST(worker_newer_epoch__starts_afresh_after_a_new_hello),
        TEST(worker_rehello__calls_and_goes_on_where_the_epoch_is_the_same),
        TEST(worker_drain__hands_over_and_leaves_when_let_go),
        TEST(worker_drain_nobody_answers__leaves_at_the_deadline),
        TEST(worker_second_signal__leaves_at_once),
        TEST(worker_signal_before_the_first_welcome__leaves_at_once),
        TEST(worker_signal_while_the_coordinator_restarts__drains_once_it_is_back),
        TEST(worker_nonsense_task__is_the_coordinators_fault),
        TEST(worker_any_events__keep_the_invariants),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL) != 0;
}
