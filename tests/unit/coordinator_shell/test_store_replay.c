/* Store, gradient log and checkpoints together, as the coordinator uses them: a small run is
 * killed at system calls all over, started again each time, and must end with the same bits as a
 * run without kills, no announced step lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/gradlog.h"
#include "coordinator/shell/store.h"
#include "tests/unit/coordinator_shell/folder.h"

#define ELEMENTS 300u
#define RUN 1u
#define STEPS 30u
#define STARTS_MAX 400u
#define ROUNDS 5u

static const struct brg_checkpoint_policy policy = {.every = 4, .keep = 2, .log_reach = 1};

static char folder[FOLDER_PATH_BYTES];

/* The run in memory. */
struct run {
    char store_path[FOLDER_PATH_BYTES + 16], log_path[FOLDER_PATH_BYTES + 16],
        checkpoint_path[FOLDER_PATH_BYTES + 16];
    struct brg_store *store;
    struct brg_store_batch *batch;
    struct brg_gradlog *log;
    uint64_t saved;
    float params[ELEMENTS], gradient[ELEMENTS];
    struct brg_why why;
};

/* Order matters, so that a step applied twice or left out shows. */
static void apply(float *params, const float *gradient) {
    for (uint32_t i = 0; i < ELEMENTS; i++) params[i] = 0.9f * params[i] + gradient[i];
}

static void gradient_of(uint64_t step, float *out) {
    struct brg_prng g = {.state = step};
    for (uint32_t i = 0; i < ELEMENTS; i++) out[i] = (float)brg_prng_unit(&g);
}

static int entry_of(struct run *r, uint64_t step, struct brg_gradlog_entry *e) {
    struct brg_record_step record;
    const int rc = brg_store_step(r->store, RUN, step, &record);
    *e = (struct brg_gradlog_entry){.step = step,
                                    .count = record.count,
                                    .gradient = record.gradient,
                                    .place = {.segment = record.log_segment,
                                              .offset = record.log_offset,
                                              .size_bytes = record.log_bytes}};
    return rc;
}

static int open_run_record(struct run *r) {
    struct brg_record_run record = {.id = RUN, .steps = STEPS, .yaml = "run: x\n", .yaml_bytes = 7};
    int rc = brg_store_batch_create(r->store, &r->batch);
    if (rc == BRG_OK) rc = brg_store_put_run(r->batch, &record);
    return rc == BRG_OK ? brg_store_write_synced(r->store, r->batch) : rc;
}

/* Checkpoint, then replay up to the last committed step; *step is that one. */
static int start(struct run *r, uint64_t *step) {
    struct brg_store_head head;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    struct brg_checkpoint_choice choice;
    struct brg_checkpoint c;
    struct brg_gradlog_entry last = {0};
    uint32_t count = 0;
    uint64_t epoch = 0;

    int rc = brg_store_open(r->store_path, &r->store, &r->why);
    if (rc == BRG_OK) rc = brg_store_next_epoch(r->store, &epoch);
    if (rc == BRG_OK) rc = open_run_record(r);
    if (rc != BRG_OK) return rc;
    brg_store_head(r->store, RUN, &head);
    rc = brg_checkpoint_list(r->checkpoint_path, RUN, items, &count, &r->why);
    const struct brg_checkpoint_standing standing = {.committed = head.step, .log_first = 1};
    /* Whether the log reaches back that far, opening it says. */
    if (rc == BRG_OK) rc = brg_checkpoint_plan_load(&standing, items, count, &choice);
    if (rc == BRG_OK && choice.step > 0) {
        rc = brg_checkpoint_read(r->checkpoint_path, RUN, choice.step, &c, &r->why);
        if (rc == BRG_OK) {
            rc = brg_checkpoint_load(r->checkpoint_path, &c, r->params, NULL, &r->why);
        }
    }
    if (rc == BRG_OK && head.step > choice.step) rc = entry_of(r, head.step, &last);
    if (rc != BRG_OK) return rc;
    const struct brg_gradlog_config config = {.folder = r->log_path,
                                              .run = RUN,
                                              .elements = ELEMENTS,
                                              .committed = head.step,
                                              .checkpoint = choice.step,
                                              .last = last.place};
    rc = brg_gradlog_open(&config, &r->log, &r->why);
    for (uint64_t s = choice.step + 1; s <= head.step && rc == BRG_OK; s++) {
        struct brg_gradlog_entry e;
        rc = entry_of(r, s, &e);
        if (rc == BRG_OK) rc = brg_gradlog_read(r->log, &e, r->gradient, &r->why);
        if (rc == BRG_OK) apply(r->params, r->gradient);
    }
    r->saved = choice.step;
    *step = head.step;
    return rc;
}

static int write_checkpoint(struct run *r, uint64_t step) {
    struct brg_checkpoint c = {.run = RUN, .step = step, .params_elements = ELEMENTS};
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint8_t delete_it[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0;
    uint64_t drop = 0;

    brg_gradlog_roll(r->log);
    int rc = brg_checkpoint_save(r->checkpoint_path, &c, r->params, NULL, &r->why);
    if (rc == BRG_OK) rc = brg_checkpoint_list(r->checkpoint_path, RUN, items, &count, &r->why);
    if (rc != BRG_OK) return rc;
    const struct brg_checkpoint_standing standing = {.committed = step,
                                                     .log_first = brg_gradlog_first(r->log)};
    brg_checkpoint_plan_tidy(&policy, &standing, items, count, delete_it, &drop);
    rc = brg_gradlog_drop_through(r->log, drop, &r->why);
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++) {
        if (delete_it[i]) rc = brg_checkpoint_delete(r->checkpoint_path, items[i].step, &r->why);
    }
    r->saved = step;
    return rc;
}

static int take_step(struct run *r, uint64_t step) {
    struct brg_gradlog_entry e;
    struct brg_record_step record = {.run = RUN, .step = step, .count = 64};
    gradient_of(step, r->gradient);
    int rc = brg_gradlog_append(r->log, step, 64, r->gradient, &e, &r->why);
    if (rc != BRG_OK) return rc;
    record.gradient = e.gradient;
    record.log_segment = e.place.segment;
    record.log_offset = e.place.offset;
    record.log_bytes = e.place.size_bytes;
    rc = brg_store_put_step(r->batch, &record);
    if (rc == BRG_OK) rc = brg_store_write_synced(r->store, r->batch);
    if (rc == BRG_OK) apply(r->params, r->gradient);
    return rc;
}

struct announcement {
    uint64_t step;
    float params[ELEMENTS];
};

static const char *announcement_path(char *out) {
    (void)snprintf(out, FOLDER_PATH_BYTES + 16, "%s/announced", folder);
    return out;
}

/* What was told to the world, in one write and beside the run's own files. */
static void announce(uint64_t step, const float *params) {
    char path[FOLDER_PATH_BYTES + 16];
    struct announcement a = {.step = step};
    memcpy(a.params, params, sizeof a.params);
    const int fd = open(announcement_path(path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    BRG_ASSERT(pwrite(fd, &a, sizeof a, 0) == sizeof a);
    (void)close(fd);
}

/* The step told last, 0 for none, and the parameters after it. */
static uint64_t announced(float *params) {
    char path[FOLDER_PATH_BYTES + 16];
    struct announcement a;
    const int fd = open(announcement_path(path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t got = pread(fd, &a, sizeof a, 0);
    (void)close(fd);
    if (got == 0) return 0; /* killed before the first one was written */
    BRG_ASSERT(got == sizeof a);
    memcpy(params, a.params, sizeof a.params);
    return a.step;
}

/* A coordinator's life: 0 where the run came to its end. */
static int live(const char *path) {
    struct run *r = calloc(1, sizeof *r);
    uint64_t step = 0;
    (void)snprintf(r->store_path, sizeof r->store_path, "%s/store", path);
    (void)snprintf(r->log_path, sizeof r->log_path, "%s/log", path);
    (void)snprintf(r->checkpoint_path, sizeof r->checkpoint_path, "%s/ckpt", path);
    const uint64_t told = announced(r->gradient);
    int rc = start(r, &step);
    if (rc == BRG_OK && step < told) rc = BRG_EBEHIND;
    while (rc == BRG_OK && step < STEPS) {
        rc = take_step(r, step + 1);
        if (rc != BRG_OK) break;
        announce(++step, r->params);
        if (brg_checkpoint_due(&policy, step, r->saved, 0)) rc = write_checkpoint(r, step);
    }
    if (rc == BRG_OK)
        announce(step, r->params);
    else
        (void)fprintf(stderr, "error %d: %s %s\n", rc, r->why.text,
                      r->store != NULL ? brg_store_why(r->store) : "");
    brg_store_batch_destroy(&r->batch);
    brg_gradlog_close(&r->log);
    brg_store_close(&r->store);
    free(r);
    return rc == BRG_OK ? 0 : 1;
}

static int make_folder(void **state) {
    (void)state;
    folder_make(folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    folder_remove(folder);
    return 0;
}

/* The parameters after STEPS steps, by arithmetic alone. */
static void expected_params(float *params) {
    float gradient[ELEMENTS];
    memset(params, 0, ELEMENTS * sizeof *params);
    for (uint64_t step = 1; step <= STEPS; step++) {
        gradient_of(step, gradient);
        apply(params, gradient);
    }
}

static void replay_without_kills__is_the_arithmetic(void **state) {
    (void)state;
    float expected[ELEMENTS], found[ELEMENTS];
    expected_params(expected);
    assert_int_equal(folder_in_child(live, folder), 0);
    assert_int_equal(announced(found), STEPS);
    assert_memory_equal(found, expected, sizeof found);
    assert_int_equal(folder_in_child(live, folder), 0); /* started once more: nothing to do */
    assert_int_equal(announced(found), STEPS);
    assert_memory_equal(found, expected, sizeof found);
}

/* Lives get a random number of system calls each, the later ones more, so that the run ends however
 * many a start takes. The seed makes a failure repeatable. */
static void replay_killed_anywhere__ends_with_the_same_bits(void **state) {
    (void)state;
    float expected[ELEMENTS], found[ELEMENTS];
    struct brg_prng g = {.state = 5};
    uint32_t kills = 0;
    expected_params(expected);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        enum folder_fate fate = FOLDER_KILLED;
        uint64_t told = 0;
        for (uint32_t i = 0; i < STARTS_MAX && fate != FOLDER_FINISHED; i++) {
            const uint32_t calls = 1 + (uint32_t)brg_prng_below(&g, 1000 + 50 * i);
            fate = folder_kill_at_call(live, folder, calls);
            if (fate == FOLDER_NOT_ALLOWED) skip();
            assert_true(fate == FOLDER_KILLED || fate == FOLDER_FINISHED);
            assert_true(announced(found) >= told);
            told = announced(found);
            kills++;
        }
        assert_int_equal(fate, FOLDER_FINISHED);
        assert_int_equal(announced(found), STEPS);
        assert_memory_equal(found, expected, sizeof found);
        folder_remove(folder);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    print_message("%u starts for %u runs of %u steps\n", kills, ROUNDS, STEPS);
    assert_true(kills > 5 * ROUNDS);
}

/* The newest checkpoint rots: with a log that goes back no further, that is said and nothing runs.
 */
static void replay_with_a_damaged_checkpoint__refuses(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    float found[ELEMENTS];
    assert_int_equal(folder_in_child(live, folder), 0);
    (void)snprintf(path, sizeof path, "%s/ckpt/ckpt-0000000028/params.bin", folder);
    folder_flip_bit(path, 500);
    assert_int_equal(folder_in_child(live, folder), 1);
    assert_int_equal(announced(found), STEPS);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(replay_without_kills__is_the_arithmetic),
        TEST(replay_killed_anywhere__ends_with_the_same_bits),
        TEST(replay_with_a_damaged_checkpoint__refuses),
    };
#undef TEST
    return cmocka_run_group_tests_name("store_replay", tests, NULL, NULL) != 0;
}
