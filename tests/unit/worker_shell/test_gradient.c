/* Shares of a real small model: the same bits as the plain sum, whatever computes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker_shell/run.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

struct fixture {
    struct test_run run;
    struct brg_pool *pool;
    struct brg_interrupt interrupt;
    struct brg_faults faults;
    _Atomic uint32_t chunks_done;
    struct brg_gradient *gradient;
    struct brg_job job;
    float *share, *expected;
    struct brg_chunk_loss losses[BRG_CHUNKS_MAX];
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    test_run_open(&f->run);
    assert_int_equal(brg_pool_create(&f->pool, 256u << 20), BRG_OK);
    assert_int_equal(brg_interrupt_init(&f->interrupt), BRG_OK);
    f->share = calloc(f->run.param_count, sizeof(float));
    f->expected = calloc(f->run.param_count, sizeof(float));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    brg_gradient_close(&f->gradient);
    struct brg_pool_stats stats;
    brg_pool_stats_read(f->pool, &stats);
    assert_int_equal(stats.held_bytes, 0);
    brg_pool_destroy(&f->pool);
    brg_interrupt_fini(&f->interrupt);
    test_run_close(&f->run);
    free(f->share);
    free(f->expected);
    free(f);
    return 0;
}

static int open_lanes(struct fixture *f, uint32_t lanes, struct brg_why *why) {
    const struct brg_gradient_config config = {.pool = f->pool,
                                               .data = &f->run.data,
                                               .faults = &f->faults,
                                               .interrupt = &f->interrupt,
                                               .chunks_done = &f->chunks_done,
                                               .lanes = lanes};
    brg_gradient_close(&f->gradient);
    return brg_gradient_open(&f->run.setup, &config, &f->gradient, why);
}

static int compute(struct fixture *f, const struct brg_msg_task *task, struct brg_why *why) {
    memset(f->share, 0xff, f->run.param_count * sizeof(float)); /* NaN: all must be written */
    f->job.task = *task;
    f->job.params = f->run.params;
    f->job.share = f->share;
    return brg_gradient_compute(f->gradient, &f->job, why);
}

static void expect_share(struct fixture *f, const struct brg_msg_task *task) {
    struct brg_digest digest;
    test_run_share(&f->run, task, f->expected, f->losses);
    assert_memory_equal(f->share, f->expected, f->run.param_count * sizeof(float));
    const struct brg_msg_done *done = &f->job.done;
    assert_int_equal(done->loss_count, task->chunk_count);
    for (uint32_t i = 0; i < task->chunk_count; i++) {
        assert_int_equal(done->losses[i].chunk, task->chunks[i]);
        assert_int_equal(done->losses[i].count, f->losses[i].count);
        assert_true(done->losses[i].loss == f->losses[i].loss);
        assert_true(isfinite(done->losses[i].loss) && done->losses[i].loss > 0);
    }
    brg_digest_of(f->share, f->run.param_count * sizeof(float), &digest);
    assert_true(brg_digest_equal(&digest, &done->digest));
    assert_int_equal(done->share_bytes, f->run.param_count * sizeof(float));
    assert_true(done->run == task->run && done->step == task->step && done->unit == task->unit);
    assert_int_equal(atomic_load(&f->chunks_done), task->chunk_count);
}

static void gradient_share__is_the_plain_sum_on_any_number_of_lanes(void **state) {
    struct fixture *f = *state;
    static const uint32_t lanes[] = {1, 2, 3, 4, 8};
    for (size_t l = 0; l < sizeof lanes / sizeof *lanes; l++) {
        struct brg_why why;
        assert_int_equal(open_lanes(f, lanes[l], &why), BRG_OK);
        for (uint32_t count = 1; count <= 8; count++) {
            const struct brg_msg_task task = test_run_task(&f->run, 1 + count, count, count);
            assert_int_equal(compute(f, &task, &why), BRG_OK);
            expect_share(f, &task);
        }
    }
}

static void gradient_coefficients__weigh_the_chunks(void **state) {
    struct fixture *f = *state;
    for (uint32_t lanes = 1; lanes <= 3; lanes++) {
        struct brg_why why;
        assert_int_equal(open_lanes(f, lanes, &why), BRG_OK);
        struct brg_msg_task task = test_run_task(&f->run, 9, 2, 5);
        task.coefficient_count = 5;
        for (uint32_t i = 0; i < 5; i++) task.coefficients[i] = 0.37 * i - 1.2345678901;
        assert_int_equal(compute(f, &task, &why), BRG_OK);
        expect_share(f, &task);
    }
}

static void gradient_steps_and_chunks__hold_different_samples(void **state) {
    struct fixture *f = *state;
    struct brg_why why;
    assert_int_equal(open_lanes(f, 1, &why), BRG_OK);
    struct brg_msg_task task = test_run_task(&f->run, 1, 0, 1);
    assert_int_equal(compute(f, &task, &why), BRG_OK);
    const struct brg_digest first = f->job.done.digest;
    task.step = 2;
    task.version = 1;
    assert_int_equal(compute(f, &task, &why), BRG_OK);
    assert_false(brg_digest_equal(&first, &f->job.done.digest));
    task = test_run_task(&f->run, 1, 1, 1);
    assert_int_equal(compute(f, &task, &why), BRG_OK);
    assert_false(brg_digest_equal(&first, &f->job.done.digest));
}

/* Three models in turn: the share of a step is that of its model's own step, alone in a run. */
static void gradient_models__take_turns_with_their_own_data(void **state) {
    struct fixture *f = *state;
    static const uint64_t seeds[3] = {5, 1000, 5};
    struct brg_why why;
    for (uint64_t step = 1; step <= 7; step++) {
        const uint64_t model = (step - 1) % 3, own = (step - 1) / 3 + 1;
        f->run.setup.models = 1;
        f->run.setup.data_seeds[0] = seeds[model];
        assert_int_equal(open_lanes(f, 1, &why), BRG_OK);
        struct brg_msg_task task = test_run_task(&f->run, own, 0, 5);
        assert_int_equal(compute(f, &task, &why), BRG_OK);
        const struct brg_digest alone = f->job.done.digest;
        f->run.setup.models = 3;
        memcpy(f->run.setup.data_seeds, seeds, sizeof seeds);
        assert_int_equal(open_lanes(f, 2, &why), BRG_OK);
        task = test_run_task(&f->run, step, 0, 5);
        assert_int_equal(compute(f, &task, &why), BRG_OK);
        assert_true(brg_digest_equal(&alone, &f->job.done.digest));
        expect_share(f, &task);
    }
}

static uint64_t now_ms(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void gradient_wait__is_sat_out_once_a_round(void **state) {
    struct fixture *f = *state;
    struct brg_why why;
    assert_int_equal(brg_faults_parse("ge:p=1,q=0,add=300ms", &f->faults, &why), BRG_OK);
    assert_int_equal(open_lanes(f, 1, &why), BRG_OK);
    for (uint64_t round = 1; round <= 2; round++) {
        const uint64_t began_ms = now_ms();
        for (uint64_t step = 1; step <= 8; step++) {
            struct brg_msg_task task = test_run_task(&f->run, step, 0, 1);
            task.round = round;
            assert_int_equal(compute(f, &task, &why), BRG_OK);
        }
        assert_in_range(now_ms() - began_ms, 299, 1500); /* eight waits would be 2400 */
    }
}

static void *raise_soon(void *argument) {
    struct fixture *f = argument;
    const struct timespec pause = {.tv_nsec = 30000000};
    (void)nanosleep(&pause, NULL);
    brg_interrupt_raise(&f->interrupt);
    return NULL;
}

static void gradient_cancelled__stops_early_and_starts_again_with_the_same_bits(void **state) {
    struct fixture *f = *state;
    struct brg_why why;
    /* Slow enough that it is cancelled in its middle on any machine. */
    assert_int_equal(brg_faults_parse("slow:factor=1000000", &f->faults, &why), BRG_OK);
    assert_int_equal(brg_faults_parse("stall:for=1h", &f->faults, &why), BRG_OK);
    for (uint32_t lanes = 1; lanes <= 3; lanes++) {
        pthread_t thread;
        const struct brg_msg_task task = test_run_task(&f->run, 3, 0, 8);
        assert_int_equal(open_lanes(f, lanes, &why), BRG_OK);
        assert_int_equal(pthread_create(&thread, NULL, raise_soon, f), 0);
        assert_int_equal(compute(f, &task, &why), BRG_ECANCELED);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(compute(f, &task, &why), BRG_ECANCELED); /* as long as it is raised */
        brg_interrupt_lower(&f->interrupt);

        f->faults.count = 1; /* slow only */
        assert_int_equal(pthread_create(&thread, NULL, raise_soon, f), 0);
        assert_int_equal(compute(f, &task, &why), BRG_ECANCELED);
        assert_int_equal(pthread_join(thread, NULL), 0);
        brg_interrupt_lower(&f->interrupt);

        f->faults.count = 0;
        assert_int_equal(compute(f, &task, &why), BRG_OK);
        expect_share(f, &task);
        f->faults.count = 2;
    }
}

static void gradient_lie__changes_the_share_under_its_right_digest(void **state) {
    struct fixture *f = *state;
    static const char *const lies[] = {"lie:scale=1.5", "lie:sign", "lie:random"};
    struct brg_why why;
    const struct brg_msg_task task = test_run_task(&f->run, 3, 0, 4);
    assert_int_equal(open_lanes(f, 1, &why), BRG_OK);
    test_run_share(&f->run, &task, f->expected, f->losses);
    for (size_t i = 0; i < 3; i++) {
        struct brg_digest digest;
        f->faults.count = 0;
        assert_int_equal(brg_faults_parse(lies[i], &f->faults, &why), BRG_OK);
        assert_int_equal(compute(f, &task, &why), BRG_OK);
        assert_memory_not_equal(f->share, f->expected, f->run.param_count * sizeof(float));
        brg_digest_of(f->share, f->run.param_count * sizeof(float), &digest);
        assert_true(brg_digest_equal(&digest, &f->job.done.digest));
        if (i == 1)
            for (uint64_t k = 0; k < f->run.param_count; k++)
                assert_true(f->share[k] == -f->expected[k]);
    }
}

static void gradient_task_that_does_not_fit__is_refused_with_a_sentence(void **state) {
    struct fixture *f = *state;
    struct brg_why why = {{0}};
    assert_int_equal(open_lanes(f, 2, &why), BRG_OK);
    struct brg_msg_task task = test_run_task(&f->run, 3, 0, 4);
    task.chunks[2] = 8;
    assert_int_equal(compute(f, &task, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "chunk 8"));
    task = test_run_task(&f->run, 3, 0, 4);
    task.params_bytes += 4;
    assert_int_equal(compute(f, &task, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "bytes"));
    task = test_run_task(&f->run, 3, 0, 4);
    task.version = 1;
    assert_int_equal(compute(f, &task, &why), BRG_EINVAL);
    task = test_run_task(&f->run, 3, 0, 4);
    task.run++;
    assert_int_equal(compute(f, &task, &why), BRG_EINVAL);
}

static void gradient_run_that_cannot_be_built__is_refused_with_a_sentence(void **state) {
    struct fixture *f = *state;
    const struct brg_run_setup good = f->run.setup;
    struct brg_why why = {{0}};
    f->run.setup.model.heads = 3;
    assert_int_equal(open_lanes(f, 1, &why), BRG_EINVAL);
    assert_null(f->gradient);
    assert_non_null(strstr(why.text, "heads"));
    f->run.setup = good;
    f->run.setup.model.vocab = 20; /* the text has bytes above */
    assert_int_equal(open_lanes(f, 1, &why), BRG_EINVAL);
    f->run.setup = good;
    f->run.setup.batch.chunks = 23;
    assert_int_equal(open_lanes(f, 1, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "23 chunks"));
    f->run.setup = good;
    brg_pool_destroy(&f->pool);
    assert_int_equal(brg_pool_create(&f->pool, 64u << 10), BRG_OK);
    assert_int_equal(open_lanes(f, 1, &why), BRG_ENOMEM);
    assert_non_null(strstr(why.text, "memory"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(gradient_share__is_the_plain_sum_on_any_number_of_lanes),
        TEST(gradient_coefficients__weigh_the_chunks),
        TEST(gradient_steps_and_chunks__hold_different_samples),
        TEST(gradient_models__take_turns_with_their_own_data),
        TEST(gradient_wait__is_sat_out_once_a_round),
        TEST(gradient_cancelled__stops_early_and_starts_again_with_the_same_bits),
        TEST(gradient_lie__changes_the_share_under_its_right_digest),
        TEST(gradient_task_that_does_not_fit__is_refused_with_a_sentence),
        TEST(gradient_run_that_cannot_be_built__is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests_name("gradient", tests, NULL, NULL) != 0;
}
