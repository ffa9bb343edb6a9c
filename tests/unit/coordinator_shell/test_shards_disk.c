/* Sharded checkpoints on disks that fail, fill up, or belong to a coordinator that dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_shell/shards_fixture.h"

#define STAGES 3u

static int open_step(uint64_t step, struct brg_why *why) {
    const struct brg_model_spec model = llama(0);
    struct brg_shards *s = NULL;
    const int rc = brg_shards_open(folder, &model, RUN, step, &s, why);
    assert_int_equal(s == NULL, rc != BRG_OK);
    brg_shards_close(&s);
    return rc;
}

static int save_again(uint64_t step, uint64_t generation) {
    const struct brg_model_spec model = llama(0);
    struct brg_shards_about a = describe(step, STAGES);
    a.generation = generation;
    return save_about(&model, &a, NULL);
}

/* The step of the newest whole one that is at most `at_most`; UINT64_MAX: there is none. */
static uint64_t newest(uint64_t at_most, struct brg_why *why) {
    const struct brg_model_spec model = llama(0);
    struct brg_shards *s = NULL;
    const int rc = brg_shards_newest(folder, &model, RUN, at_most, &s, why);
    if (rc != BRG_OK) {
        assert_int_equal(rc, BRG_ENOENT);
        assert_null(s);
        return UINT64_MAX;
    }
    const uint64_t step = brg_shards_about_of(s)->step;
    brg_shards_close(&s);
    return step;
}

static void must_list(const struct brg_checkpoint_item *expected, uint32_t expected_count) {
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 99;
    assert_int_equal(brg_shards_list(folder, RUN, items, &count, NULL), BRG_OK);
    assert_int_equal(count, expected_count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(items[i].step, expected[i].step);
        assert_int_equal(items[i].state, expected[i].state);
    }
}

/* ---- damage ---- */

static void shards_with_a_bit_flipped_anywhere__are_named_and_passed_over(void **state) {
    (void)state;
    static const char *const files[] = {"manifest.json", "stage-000-of-003.safetensors",
                                        "stage-001-of-003.safetensors",
                                        "stage-002-of-003.safetensors"};
    char path[2 * FOLDER_PATH_BYTES];
    struct stat st;
    assert_int_equal(save(40, STAGES), BRG_OK);
    assert_int_equal(save(50, STAGES), BRG_OK);
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        assert_int_equal(stat(path_of(50, files[f], path), &st), 0);
        for (uint32_t i = 0; i < 9; i++) { /* first byte, last byte, and between */
            struct brg_why why = {""};
            const int64_t offset = i * (st.st_size - 1) / 8;
            folder_flip_bit(path, offset);
            assert_int_equal(open_step(50, &why), BRG_ECORRUPT);
            assert_non_null(strstr(why.text, files[f]));
            if (i == 4) assert_int_equal(newest(UINT64_MAX, NULL), 40);
            folder_flip_bit(path, offset);
        }
    }
    assert_int_equal(open_step(50, NULL), BRG_OK);
}

static void shards_with_a_torn_file__are_named_and_passed_over(void **state) {
    (void)state;
    static const char *const files[] = {"manifest.json", "stage-001-of-003.safetensors"};
    char path[2 * FOLDER_PATH_BYTES];
    struct stat st;
    assert_int_equal(save(40, STAGES), BRG_OK);
    for (size_t f = 0; f < 2; f++) {
        for (uint32_t i = 0; i < 4; i++) {
            struct brg_why why = {""};
            const struct brg_checkpoint_item expected[] = {{40, BRG_CHECKPOINT_VALID},
                                                           {50, BRG_CHECKPOINT_DAMAGED}};
            assert_int_equal(brg_shards_drop_after(folder, RUN, 40, NULL), BRG_OK);
            assert_int_equal(save(50, STAGES), BRG_OK);
            assert_int_equal(stat(path_of(50, files[f], path), &st), 0);
            assert_int_equal(truncate(path, i * (st.st_size - 1) / 3), 0);
            if (i == 3) assert_int_equal(truncate(path, st.st_size + 1), 0); /* or longer */
            assert_int_equal(open_step(50, &why), BRG_ECORRUPT);
            assert_non_null(strstr(why.text, files[f]));
            must_list(expected, 2);
            assert_int_equal(newest(UINT64_MAX, NULL), 40);
        }
    }
}

static void shards_with_a_file_missing__are_named_and_passed_over(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    struct brg_why why = {""};
    const struct brg_checkpoint_item expected[] = {{40, BRG_CHECKPOINT_UNFINISHED},
                                                   {50, BRG_CHECKPOINT_DAMAGED}};
    assert_int_equal(save(40, STAGES), BRG_OK);
    assert_int_equal(save(50, STAGES), BRG_OK);
    assert_int_equal(unlink(path_of(50, "stage-002-of-003.safetensors", path)), 0);
    assert_int_equal(unlink(path_of(40, "manifest.json", path)), 0);
    assert_int_equal(open_step(40, &why), BRG_ENOENT);
    assert_int_equal(open_step(50, &why), BRG_ECORRUPT);
    assert_non_null(strstr(why.text, "stage-002"));
    must_list(expected, 2);
    assert_int_equal(newest(UINT64_MAX, &why), UINT64_MAX);
    assert_non_null(strstr(why.text, "stage-002")); /* what kept it from being taken */
}

static void shards_that_are_exchanged__do_not_verify(void **state) {
    (void)state;
    char first[2 * FOLDER_PATH_BYTES], second[2 * FOLDER_PATH_BYTES];
    const struct brg_model_spec model = llama(0);
    struct brg_shards_about a = describe(50, 7); /* stages 1 .. 5 have the same sizes */
    assert_int_equal(save_about(&model, &a, NULL), BRG_OK);
    a.step = 51;
    assert_int_equal(save_about(&model, &a, NULL), BRG_OK);
    assert_int_equal(rename(path_of(50, "stage-003-of-007.safetensors", first),
                            path_of(51, "stage-003-of-007.safetensors", second)),
                     0);
    assert_int_equal(open_step(51, NULL), BRG_ECORRUPT);
}

static void shards_of_others__are_refused(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    struct brg_model_spec other = model;
    struct brg_shards *s = NULL;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0;
    struct brg_why why = {""};
    assert_int_equal(save(50, STAGES), BRG_OK);
    assert_int_equal(brg_shards_open(folder, &model, RUN + 1, 50, &s, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "run 7"));
    assert_int_equal(brg_shards_list(folder, RUN + 1, items, &count, &why), BRG_EINVAL);
    assert_int_equal(brg_shards_newest(folder, &model, RUN + 1, 50, &s, &why), BRG_EINVAL);
    other.hidden = 16;
    assert_int_equal(brg_shards_open(folder, &other, RUN, 50, &s, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "parameters"));
    other = model;
    other.kv_heads = 2; /* more in k and v, and as much less in the layers beside */
    other.hidden = 12;
    assert_int_equal(brg_shards_open(folder, &other, RUN, 50, &s, &why), BRG_EINVAL);
}

/* ---- what a rollback leaves ---- */

static void shards_of_the_same_step__are_kept_by_generation(void **state) {
    (void)state;
    assert_int_equal(save_again(50, 3), BRG_OK);
    assert_int_equal(save_again(50, 3), BRG_EEXIST);
    assert_int_equal(open_step(50, NULL), BRG_OK);
    assert_int_equal(save_again(50, 4), BRG_OK); /* of another history */
    assert_int_equal(save_again(50, 4), BRG_EEXIST);
}

static void shards_newer_than_asked_for__are_not_taken(void **state) {
    (void)state;
    const struct brg_checkpoint_item left[] = {{40, BRG_CHECKPOINT_VALID},
                                               {50, BRG_CHECKPOINT_VALID}};
    for (uint64_t step = 40; step <= 70; step += 10) assert_int_equal(save(step, 2), BRG_OK);
    assert_int_equal(newest(UINT64_MAX, NULL), 70);
    assert_int_equal(newest(69, NULL), 60);
    assert_int_equal(newest(39, NULL), UINT64_MAX);
    assert_int_equal(brg_shards_drop_after(folder, RUN, 55, NULL), BRG_OK);
    must_list(left, 2);
    assert_int_equal(newest(UINT64_MAX, NULL), 50);
}

static void shards_tidy__keeps_the_newest_and_the_one_being_written(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    for (uint64_t step = 10; step <= 50; step += 10) assert_int_equal(save(step, 2), BRG_OK);
    assert_int_equal(unlink(path_of(20, "manifest.json", path)), 0);
    assert_int_equal(mkdir(path_of(60, "", path), 0700), 0); /* being written */
    assert_int_equal(brg_shards_tidy(folder, RUN, 2, 55, 60, NULL), BRG_OK);
    const struct brg_checkpoint_item left[] = {
        {40, BRG_CHECKPOINT_VALID}, {50, BRG_CHECKPOINT_VALID}, {60, BRG_CHECKPOINT_UNFINISHED}};
    must_list(left, 3);
    assert_int_equal(save(60, 2), BRG_OK);
    assert_int_equal(brg_shards_tidy(folder, RUN, 2, 65, 0, NULL), BRG_OK);
    const struct brg_checkpoint_item then[] = {{50, BRG_CHECKPOINT_VALID},
                                               {60, BRG_CHECKPOINT_VALID}};
    must_list(then, 2);
}

/* Keeps one checkpoint, as a coordinator at work does, until it is killed. */
static int save_on_and_on(const char *where) {
    for (uint64_t step = 20; step < 100000; step += 10) {
        if (save(step, STAGES) != BRG_OK) return 2;
        if (brg_shards_tidy(where, RUN, 1, step, 0, NULL) != BRG_OK) return 3;
    }
    return 0;
}

static void shards_newest_while_others_delete__never_goes_back(void **state) {
    (void)state;
    int status = 0;
    uint64_t last = 10;
    assert_int_equal(save(10, STAGES), BRG_OK);
    (void)fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(save_on_and_on(folder));
    for (uint32_t i = 0; i < 400; i++) {
        const uint64_t step = newest(UINT64_MAX, NULL);
        if (step < last || step == UINT64_MAX) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            fail_msg("newest was %llu after %llu", (unsigned long long)step,
                     (unsigned long long)last);
        }
        last = step;
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it was still at work, without an error */
    print_message("400 looks, the last at step %llu\n", (unsigned long long)last);
    assert_true(last > 20);
}

/* ---- a coordinator that dies ---- */

static int save_60(const char *where) {
    (void)where;
    return save(60, STAGES) == BRG_OK ? 0 : 1;
}

static void shards_killed_at_any_system_call__are_whole_or_have_no_manifest(void **state) {
    (void)state;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0, whole = 0, call = 1;
    enum folder_fate fate = FOLDER_KILLED;
    assert_int_equal(save(50, STAGES), BRG_OK);
    for (; call < 200 && fate != FOLDER_FINISHED; call++) {
        fate = folder_kill_at_call(save_60, folder, call);
        if (fate == FOLDER_NOT_ALLOWED) skip();
        assert_true(fate == FOLDER_KILLED || fate == FOLDER_FINISHED);
        assert_int_equal(brg_shards_list(folder, RUN, items, &count, NULL), BRG_OK);
        assert_true(count == 1 || count == 2);
        if (count == 2 && items[1].state == BRG_CHECKPOINT_VALID) {
            assert_int_equal(newest(UINT64_MAX, NULL), 60);
            assert_int_equal(save_again(60, 3), BRG_EEXIST);
            whole++;
        } else {
            assert_true(count == 1 || items[1].state == BRG_CHECKPOINT_UNFINISHED);
            assert_int_equal(newest(UINT64_MAX, NULL), 50);
            assert_int_equal(save(60, STAGES), BRG_OK); /* over what was left */
            assert_int_equal(newest(UINT64_MAX, NULL), 60);
        }
        assert_int_equal(brg_shards_drop_after(folder, RUN, 50, NULL), BRG_OK);
    }
    print_message("killed at %u system calls, whole after %u\n", call - 2, whole);
    assert_int_equal(fate, FOLDER_FINISHED);
    assert_true(call > 25);
    assert_true(whole > 0);
}

static void shards_beside_leftovers__are_none_the_worse(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    assert_int_equal(mkdir(path_of(50, "", path), 0700), 0);
    FILE *f = fopen(path_of(50, "stage-000-of-009.safetensors.tmpAbCdEf", path), "w");
    assert_non_null(f);
    (void)fputs("half a file", f);
    assert_int_equal(fclose(f), 0);
    f = fopen(path_of(50, "stage-000-of-003.safetensors", path), "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    (void)snprintf(path, sizeof path, "%s/ckpt-notes", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(save(50, STAGES), BRG_OK);
    assert_int_equal(open_step(50, NULL), BRG_OK);
    assert_int_not_equal(access(path_of(50, "stage-000-of-009.safetensors.tmpAbCdEf", path), F_OK),
                         0);
}

/* ---- disks ---- */

static int save_on_small_disk(const char *where) {
    struct brg_why why = {""};
    const struct brg_model_spec model = llama(0);
    if (folder_small_disk(where, 256 * 1024) != 0) return FOLDER_MAY_NOT;
    uint64_t step = 10;
    int rc = BRG_OK;
    for (; step < 1000 && rc == BRG_OK; step += 10) {
        const struct brg_shards_about a = describe(step, STAGES);
        rc = save_about(&model, &a, &why);
    }
    if (rc != BRG_ENOSPC || strstr(why.text, "make room") == NULL) return 2;
    if (newest(UINT64_MAX, NULL) != step - 20) return 3; /* the one before */
    if (brg_shards_tidy(where, RUN, 1, step, 0, NULL) != BRG_OK) return 4;
    return save(step - 10, STAGES) == BRG_OK ? 0 : 5;
}

static void shards_disk_full__keeps_the_older_ones(void **state) {
    (void)state;
    const int status = folder_in_child(save_on_small_disk, folder);
    if (status == FOLDER_MAY_NOT) skip();
    assert_int_equal(status, 0);
}

static int save_with_a_limit(const char *where) {
    struct brg_why why = {""};
    const struct brg_model_spec model = llama(0);
    const struct brg_shards_about a = describe(50, STAGES);
    (void)where;
    folder_limit_files(4096); /* as a full disk answers, where none may be mounted */
    const int rc = save_about(&model, &a, &why);
    if (rc != BRG_ENOSPC || strstr(why.text, "make room") == NULL) return 2;
    return newest(UINT64_MAX, NULL) == UINT64_MAX ? 0 : 3;
}

static void shards_file_too_large__leaves_none_that_is_read(void **state) {
    (void)state;
    assert_int_equal(folder_in_child(save_with_a_limit, folder), 0);
    assert_int_equal(save(50, STAGES), BRG_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
        TEST(shards_with_a_bit_flipped_anywhere__are_named_and_passed_over),
        TEST(shards_with_a_torn_file__are_named_and_passed_over),
        TEST(shards_with_a_file_missing__are_named_and_passed_over),
        TEST(shards_that_are_exchanged__do_not_verify),
        TEST(shards_of_others__are_refused),
        TEST(shards_of_the_same_step__are_kept_by_generation),
        TEST(shards_newer_than_asked_for__are_not_taken),
        TEST(shards_newest_while_others_delete__never_goes_back),
        TEST(shards_tidy__keeps_the_newest_and_the_one_being_written),
        TEST(shards_killed_at_any_system_call__are_whole_or_have_no_manifest),
        TEST(shards_beside_leftovers__are_none_the_worse),
        TEST(shards_disk_full__keeps_the_older_ones),
        TEST(shards_file_too_large__leaves_none_that_is_read),
    };
    return cmocka_run_group_tests_name("shards_disk", tests, NULL, NULL) != 0;
}
