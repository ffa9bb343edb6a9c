/* The compute half of a run: shares in, parameters out, and the same bits after any restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "coordinator/shell/jobs.h"
#include "coordinator/shell/openrun.h"
#include "tests/unit/coordinator_shell/folder.h"

#define ROWS 40
#define STEPS 12u
#define MODELS 3u

static char folder[FOLDER_PATH_BYTES];

struct fixture {
    struct brg_pool *pool;
    struct brg_run_config config;
    struct brg_record_step records[STEPS + 1]; /* [step]: what the store would hold */
    struct brg_openrun *run;
    uint64_t committed;
    struct brg_why why;
};

/* A run file on a small table, written here: two features and their sum's sign as the label. */
static void write_run(struct fixture *f, const char *durability, const char *more) {
    static char text[2048], csv[ROWS * 32];
    struct brg_run_faults faults;
    size_t used = 0;
    for (int i = 0; i < ROWS; i++) {
        const int a = i * 7 % 19 - 9, b = i * 5 % 17 - 8;
        used += (size_t)snprintf(csv + used, sizeof csv - used, "%d,%d,%d\n", a, b, a + b > 0);
    }
    char path[FOLDER_PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/table.csv", folder);
    assert_int_equal(brg_file_write_atomic(path, 0600, csv, used), BRG_OK);
    (void)snprintf(text, sizeof text,
                   "run: small\nkind: coded\nmodel: {type: softmax, inputs: 2, classes: 2}\n"
                   "data: {train: %s, held_out: 20%%}\nbatch: {samples: 8, chunks: 4}\n"
                   "optimizer: {type: adamw, lr: 1e-2}\nsteps: %u\nseed: 3\nworkers: 4\n"
                   "code: {scheme: frc, s: 1}\ncheckpoint: {every: 4, keep: 2}\ndurability: %s\n"
                   "%s",
                   path, STEPS, durability, more);
    const int rc =
        brg_runfile_parse(text, strlen(text), NULL, BRG_RUNFILE_CHECK_FILES, &f->config, &faults);
    if (rc != BRG_OK) brg_run_faults_print(&faults, "run", stderr);
    assert_int_equal(rc, BRG_OK);
}

static int open_at(struct fixture *f, uint64_t committed) {
    struct brg_openrun_config config = {.run = f->config,
                                        .code = f->config.code,
                                        .id = 1,
                                        .folder = folder,
                                        .pool = f->pool,
                                        .committed = committed,
                                        .first_record = 1};
    config.records = calloc(committed + 1, sizeof *config.records);
    assert_non_null(config.records);
    memcpy(config.records, f->records + 1, committed * sizeof *config.records);
    f->committed = committed;
    return brg_openrun_open(&config, &f->run, &f->why);
}

static int setup_with(void **state, const char *durability, const char *more) {
    static struct fixture f;
    memset(&f, 0, sizeof f);
    folder_make(folder);
    assert_int_equal(brg_pool_create(&f.pool, UINT64_C(64) << 20), BRG_OK);
    write_run(&f, durability, more);
    assert_int_equal(open_at(&f, 0), BRG_OK);
    *state = &f;
    return 0;
}

static int setup(void **state) {
    return setup_with(state, "step", "");
}
static int setup_checkpoint(void **state) {
    return setup_with(state, "checkpoint", "");
}
static int setup_models(void **state) {
    return setup_with(state, "step", "models: 3\nsweep: {lr: [1e-2, 2e-2, 1e-2]}\n");
}

static int teardown(void **state) {
    struct fixture *f = *state;
    brg_openrun_close(&f->run);
    brg_pool_destroy(&f->pool);
    folder_remove(folder);
    return 0;
}

/* The shares of a step: unit u's i-th number depends on both and on the step. */
static void make_shares(struct fixture *f, uint64_t step, struct brg_openrun_shares *shares) {
    memset(shares, 0, sizeof *shares);
    for (uint32_t u = 0; u < brg_scheme_unit_count(f->run->scheme); u++) {
        const size_t bytes = f->run->param_count * sizeof(float);
        assert_int_equal(brg_pool_get(f->pool, bytes, &shares->buffers[u]), BRG_OK);
        float *x = shares->buffers[u]->data;
        for (uint64_t i = 0; i < f->run->param_count; i++) {
            x[i] = sinf((float)(step * 31 + u * 7 + i));
        }
        brg_bits_add(&shares->held, u);
    }
}

static void drop(struct brg_openrun_shares *shares) {
    for (uint32_t u = 0; u < BRG_SCHEME_UNITS_MAX; u++) brg_buffer_release(shares->buffers[u]);
}

static void make_step(struct fixture *f, uint64_t step) {
    static struct brg_openrun_shares shares;
    struct brg_gradlog_entry entry;
    make_shares(f, step, &shares);
    assert_int_equal(brg_openrun_decode(f->run, f->run->scheme, step, &shares, &entry, &f->why),
                     BRG_OK);
    drop(&shares);
    f->records[step] = (struct brg_record_step){.run = 1,
                                                .step = step,
                                                .log_segment = entry.place.segment,
                                                .log_offset = entry.place.offset,
                                                .log_bytes = entry.place.size_bytes,
                                                .gradient = entry.gradient,
                                                .count = entry.count};
    assert_int_equal(brg_openrun_apply(f->run, step, &f->why), BRG_OK);
    f->committed = step;
}

static struct brg_digest digest_of_model(const struct fixture *f, uint32_t model) {
    struct brg_digest d;
    brg_digest_of(f->run->models[model].params->data, f->run->param_count * sizeof(float), &d);
    return d;
}

static struct brg_digest digest_of(const struct fixture *f) {
    return digest_of_model(f, 0);
}

/* All steps, with a checkpoint after every fourth. */
static struct brg_digest make_all(struct fixture *f) {
    for (uint64_t step = f->committed + 1; step <= STEPS; step++) {
        struct brg_digest saved;
        make_step(f, step);
        if (step % 4 != 0) continue;
        assert_int_equal(brg_openrun_checkpoint(f->run, &saved, &f->why), BRG_OK);
        assert_int_equal(brg_openrun_truncate(f->run, step, &f->why), BRG_OK);
    }
    return digest_of(f);
}

static void openrun_restart__after_any_step_ends_in_the_same_bits(void **state) {
    struct fixture *f = *state;
    const struct brg_digest start = digest_of(f);
    struct brg_digest at[STEPS + 1] = {start};
    for (uint64_t step = 1; step <= STEPS; step++) {
        struct brg_digest saved;
        make_step(f, step);
        at[step] = digest_of(f);
        assert_false(brg_digest_equal(&at[step], &at[step - 1]));
        if (step % 4 == 0) {
            assert_int_equal(brg_openrun_checkpoint(f->run, &saved, &f->why), BRG_OK);
            assert_true(brg_digest_equal(&saved, &at[step]));
            assert_int_equal(brg_openrun_truncate(f->run, step, &f->why), BRG_OK);
        }
        brg_openrun_close(&f->run);
        assert_int_equal(open_at(f, step), BRG_OK);
        assert_int_equal(f->run->applied, step);
        const struct brg_digest again = digest_of(f);
        assert_true(brg_digest_equal(&again, &at[step]));
    }
}

static void openrun_restart__without_the_last_record_forgets_that_step(void **state) {
    struct fixture *f = *state;
    make_step(f, 1);
    const struct brg_digest one = digest_of(f);
    make_step(f, 2); /* logged, but the process dies before its record is in the store */
    const struct brg_digest two = digest_of(f);
    brg_openrun_close(&f->run);
    assert_int_equal(open_at(f, 1), BRG_OK);
    const struct brg_digest again = digest_of(f);
    assert_true(brg_digest_equal(&again, &one));
    make_step(f, 2);
    const struct brg_digest twice = digest_of(f);
    assert_true(brg_digest_equal(&twice, &two));
}

static void openrun_damaged_newest_checkpoint__costs_no_step(void **state) {
    struct fixture *f = *state;
    char path[FOLDER_PATH_BYTES + 64];
    const struct brg_digest end = make_all(f);
    brg_openrun_close(&f->run);
    (void)snprintf(path, sizeof path, "%s/checkpoints/ckpt-%010u/params.bin", folder, STEPS);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 130, SEEK_SET), 0);
    assert_int_equal(fputc(0x55, file), 0x55);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(open_at(f, STEPS), BRG_OK);
    assert_int_equal(f->run->checkpoint, STEPS - 4);
    const struct brg_digest again = digest_of(f);
    assert_true(brg_digest_equal(&again, &end));
}

/* Each model makes its own steps with its own rate, and nobody else's gradient touches it. */
static void openrun_models__take_turns_and_restart_in_the_same_bits(void **state) {
    struct fixture *f = *state;
    struct brg_digest at[MODELS], saved[BRG_MODELS_MAX];
    for (uint32_t m = 0; m < MODELS; m++) at[m] = digest_of_model(f, m);
    assert_true(brg_digest_equal(&at[0], &at[2])); /* the rates are swept: the same start */
    for (uint64_t step = 1; step <= STEPS; step++) {
        make_step(f, step);
        for (uint32_t m = 0; m < MODELS; m++) {
            const struct brg_digest now = digest_of_model(f, m);
            assert_int_equal(brg_digest_equal(&now, &at[m]), m != (step - 1) % MODELS);
            at[m] = now;
        }
        if (step % 5 == 0) {
            assert_int_equal(brg_openrun_checkpoint(f->run, saved, &f->why), BRG_OK);
            assert_memory_equal(saved, at, sizeof at);
            assert_int_equal(brg_openrun_truncate(f->run, step, &f->why), BRG_OK);
        }
        brg_openrun_close(&f->run);
        assert_int_equal(open_at(f, step), BRG_OK);
        assert_int_equal(f->run->checkpoint, step / 5 * 5);
        for (uint32_t m = 0; m < MODELS; m++) {
            const struct brg_digest again = digest_of_model(f, m);
            assert_true(brg_digest_equal(&again, &at[m]));
        }
    }
    assert_false(brg_digest_equal(&at[0], &at[2]));
}

/* A version is the parameters that the step after it starts from, of whichever model that is. */
static void openrun_versions__have_one_name_in_the_whole_run(void **state) {
    struct fixture *f = *state;
    for (uint64_t step = 1; step <= 4; step++) make_step(f, step);
    for (uint64_t version = 4; version < 4 + MODELS; version++) {
        struct brg_source source;
        assert_int_equal(brg_openrun_params_source(f->run, version, &source), BRG_OK);
        assert_int_equal(source.object.step, version);
        assert_ptr_equal(source.buffer, f->run->models[version % MODELS].params);
        brg_source_fini(&source);
    }
}

static void openrun_gradient_that_is_not_finite__makes_no_step(void **state) {
    struct fixture *f = *state;
    static struct brg_openrun_shares shares;
    struct brg_gradlog_entry entry;
    make_shares(f, 1, &shares);
    ((float *)shares.buffers[1]->data)[0] = INFINITY;
    assert_int_equal(brg_openrun_decode(f->run, f->run->scheme, 1, &shares, &entry, &f->why),
                     BRG_EINVAL);
    assert_non_null(strstr(f->why.text, "not finite"));
    drop(&shares);
    make_step(f, 1); /* nothing was logged: the step can still be made */
}

static void openrun_data_that_is_gone__does_not_matter_after_the_first_opening(void **state) {
    struct fixture *f = *state;
    char path[FOLDER_PATH_BYTES + 16];
    make_step(f, 1);
    brg_openrun_close(&f->run);
    (void)snprintf(path, sizeof path, "%s/table.csv", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_at(f, 1), BRG_OK);
}

static void openrun_durability_checkpoint__restarts_from_the_checkpoint(void **state) {
    struct fixture *f = *state;
    const struct brg_digest end = make_all(f);
    brg_openrun_close(&f->run);
    assert_int_equal(open_at(f, STEPS), BRG_OK);
    const struct brg_digest again = digest_of(f);
    assert_true(brg_digest_equal(&again, &end));
}

static void openrun_eval__looks_at_the_held_out_rows_only(void **state) {
    struct fixture *f = *state;
    struct brg_model_sums sums;
    assert_int_equal(brg_openrun_eval(f->run, 0, 1000, &sums), BRG_OK);
    assert_int_equal(sums.count, ROWS / 5);
    assert_true(isfinite(sums.loss) && sums.loss > 0);
    assert_int_equal(brg_openrun_eval(f->run, 0, 3, &sums), BRG_OK);
    assert_int_equal(sums.count, 3);
}

static void jobs_queue__carries_out_in_order_and_answers(void **state) {
    struct fixture *f = *state;
    struct brg_jobs *jobs = NULL;
    assert_int_equal(brg_jobs_create(&jobs), BRG_OK);
    for (uint64_t i = 1; i <= 3; i++) {
        struct brg_shell_job *job = brg_job_new(BRG_JOB_EVAL);
        job->run = f->run;
        job->step = i;
        job->eval.samples = 2;
        brg_jobs_give(jobs, job);
    }
    for (uint64_t i = 1; i <= 3;) {
        struct brg_shell_job *job = brg_jobs_take(jobs);
        if (job == NULL) {
            (void)usleep(1000); /* bounded by the test's own time limit */
            continue;
        }
        assert_int_equal(job->step, i++);
        assert_int_equal(job->rc, BRG_OK);
        assert_int_equal(job->eval.sums.count, 2);
        brg_job_free(job);
    }
    brg_jobs_destroy(&jobs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(openrun_restart__after_any_step_ends_in_the_same_bits,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(openrun_restart__without_the_last_record_forgets_that_step,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(openrun_damaged_newest_checkpoint__costs_no_step, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(openrun_models__take_turns_and_restart_in_the_same_bits,
                                        setup_models, teardown),
        cmocka_unit_test_setup_teardown(openrun_versions__have_one_name_in_the_whole_run,
                                        setup_models, teardown),
        cmocka_unit_test_setup_teardown(openrun_gradient_that_is_not_finite__makes_no_step, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            openrun_data_that_is_gone__does_not_matter_after_the_first_opening, setup, teardown),
        cmocka_unit_test_setup_teardown(openrun_durability_checkpoint__restarts_from_the_checkpoint,
                                        setup_checkpoint, teardown),
        cmocka_unit_test_setup_teardown(openrun_eval__looks_at_the_held_out_rows_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(jobs_queue__carries_out_in_order_and_answers, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("openrun", tests, NULL, NULL) != 0;
}
