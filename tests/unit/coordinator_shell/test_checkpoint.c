#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/shell/checkpoint.h"
#include "tests/unit/coordinator_shell/folder.h"

#define PARAMS 500u
#define OPTIMIZER 1000u

static char folder[FOLDER_PATH_BYTES];
static float params[PARAMS], optimizer[OPTIMIZER], params_back[PARAMS], optimizer_back[OPTIMIZER];

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

static struct brg_checkpoint describe(uint64_t step) {
    struct brg_checkpoint c = {.run = 7, .step = step, .optimizer_step = step};
    c.data_position = 64 * step;
    c.seed = UINT64_C(0xfedcba9876543210); /* more than a double holds */
    c.generator = UINT64_MAX;
    c.created_ns = UINT64_C(1700000000123456789);
    c.params_elements = PARAMS;
    c.optimizer_elements = OPTIMIZER;
    brg_digest_of("data", 4, &c.data);
    (void)snprintf(c.name, sizeof c.name, "kjv-tiny \"quoted\" \xc3\xa9");
    (void)snprintf(c.model, sizeof c.model, "{type: llama,\n\tdim: 128}");
    return c;
}

static void fill(uint64_t step) {
    for (uint32_t i = 0; i < PARAMS; i++) params[i] = (float)step - (float)i / 512.0f;
    for (uint32_t i = 0; i < OPTIMIZER; i++) optimizer[i] = (float)(step * i) / 512.0f;
}

static int save(uint64_t step) {
    struct brg_checkpoint c = describe(step);
    struct brg_why why = {""};
    fill(step);
    const int rc = brg_checkpoint_save(folder, &c, params, optimizer, &why);
    if (rc != BRG_OK) print_message("says: %s\n", why.text);
    return rc;
}

static int load(uint64_t step, struct brg_checkpoint *c, struct brg_why *why) {
    const int rc = brg_checkpoint_read(folder, 7, step, c, why);
    return rc != BRG_OK ? rc : brg_checkpoint_load(folder, c, params_back, optimizer_back, why);
}

static void must_load(uint64_t step) {
    struct brg_checkpoint c;
    struct brg_why why = {""};
    const int rc = load(step, &c, &why);
    if (rc != BRG_OK) print_message("%s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    fill(step);
    assert_memory_equal(params_back, params, sizeof params);
    assert_memory_equal(optimizer_back, optimizer, sizeof optimizer);
}

/* Lists and compares with `expected`: pairs of step and state. */
static void must_list(const struct brg_checkpoint_item *expected, uint32_t expected_count) {
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 99;
    assert_int_equal(brg_checkpoint_list(folder, 7, items, &count, NULL), BRG_OK);
    assert_int_equal(count, expected_count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(items[i].step, expected[i].step);
        assert_int_equal(items[i].state, expected[i].state);
    }
}

static const char *path_of(uint64_t step, const char *file, char *out) {
    (void)snprintf(out, 2 * FOLDER_PATH_BYTES, "%s/ckpt-%010llu/%s", folder,
                   (unsigned long long)step, file);
    return out;
}

static void checkpoint_load__gives_every_bit_and_field_back(void **state) {
    (void)state;
    struct brg_checkpoint saved = describe(50), c;
    fill(50);
    assert_int_equal(brg_checkpoint_save(folder, &saved, params, optimizer, NULL), BRG_OK);
    assert_int_equal(load(50, &c, NULL), BRG_OK);
    must_load(50);
    assert_int_equal(c.run, 7);
    assert_int_equal(c.step, 50);
    assert_int_equal(c.optimizer_step, 50);
    assert_int_equal(c.data_position, 3200);
    assert_true(c.seed == saved.seed);
    assert_true(c.generator == saved.generator);
    assert_true(c.created_ns == saved.created_ns);
    assert_int_equal(c.params_elements, PARAMS);
    assert_int_equal(c.optimizer_elements, OPTIMIZER);
    assert_string_equal(c.name, saved.name);
    assert_string_equal(c.model, saved.model);
    assert_memory_equal(&c.data, &saved.data, sizeof c.data);
    assert_memory_equal(c.params, saved.params, sizeof c.params);
    assert_int_equal(c.models, 1);
    assert_memory_equal(c.optimizer, saved.optimizer, sizeof c.optimizer);
    assert_memory_equal(&c.manifest, &saved.manifest, sizeof c.manifest);
}

static void checkpoint_without_optimizer_state__is_whole(void **state) {
    (void)state;
    struct brg_checkpoint saved = describe(5), c;
    saved.optimizer_elements = 0;
    fill(5);
    assert_int_equal(brg_checkpoint_save(folder, &saved, params, NULL, NULL), BRG_OK);
    assert_int_equal(brg_checkpoint_read(folder, 7, 5, &c, NULL), BRG_OK);
    assert_int_equal(brg_checkpoint_load(folder, &c, params_back, NULL, NULL), BRG_OK);
    assert_memory_equal(params_back, params, sizeof params);
}

static void checkpoint_of_several_models__has_a_file_set_of_each(void **state) {
    (void)state;
    float other_params[PARAMS], other_moments[OPTIMIZER];
    char path[2 * FOLDER_PATH_BYTES];
    struct brg_checkpoint saved = describe(6), c;
    struct brg_why why = {""};
    fill(6);
    for (uint32_t i = 0; i < PARAMS; i++) other_params[i] = 3.0f * params[i];
    for (uint32_t i = 0; i < OPTIMIZER; i++) other_moments[i] = 5.0f * optimizer[i];
    const struct brg_checkpoint_set sets[] = {{params, optimizer}, {other_params, other_moments}};
    saved.models = 2;
    assert_int_equal(brg_checkpoint_save_models(folder, &saved, sets, NULL), BRG_OK);
    assert_int_equal(brg_checkpoint_read(folder, 7, 6, &c, NULL), BRG_OK);
    assert_int_equal(c.models, 2);
    for (uint32_t m = 0; m < 2; m++) {
        const int rc = brg_checkpoint_load_model(folder, &c, m, params_back, optimizer_back, &why);
        assert_int_equal(rc, BRG_OK);
        assert_memory_equal(params_back, sets[m].params, sizeof params_back);
        assert_memory_equal(optimizer_back, sets[m].optimizer, sizeof optimizer_back);
    }
    assert_memory_not_equal(&c.params[0], &c.params[1], sizeof c.params[0]);
    /* The files of two models cannot change places: their headers say whose they are. */
    char other[2 * FOLDER_PATH_BYTES];
    (void)path_of(6, "params-0.bin", path);
    (void)path_of(6, "params-1.bin", other);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(brg_checkpoint_read(folder, 7, 6, &c, &why), BRG_ECORRUPT);
    saved.models = BRG_MODELS_MAX + 1;
    saved.step = 7;
    assert_int_equal(brg_checkpoint_save_models(folder, &saved, sets, NULL), BRG_EINVAL);
}

static void checkpoint_out_of_range__is_refused(void **state) {
    (void)state;
    struct brg_checkpoint c = describe(0);
    assert_int_equal(brg_checkpoint_save(folder, &c, params, optimizer, NULL), BRG_EINVAL);
    c = describe(1);
    c.params_elements = BRG_CHECKPOINT_ELEMENTS_MAX + 1;
    assert_int_equal(brg_checkpoint_save(folder, &c, params, optimizer, NULL), BRG_EINVAL);
    c = describe(1);
    memset(c.model, 'x', sizeof c.model);
    assert_int_equal(brg_checkpoint_save(folder, &c, params, optimizer, NULL), BRG_EINVAL);
    assert_int_equal(brg_checkpoint_read(folder, 7, 9, &c, NULL), BRG_ENOENT);
    must_list(NULL, 0);
}

static void checkpoint_of_a_step_that_is_there__is_left_alone(void **state) {
    (void)state;
    assert_int_equal(save(50), BRG_OK);
    struct brg_checkpoint c = describe(50);
    fill(51);
    assert_int_equal(brg_checkpoint_save(folder, &c, params, optimizer, NULL), BRG_EEXIST);
    must_load(50);
}

static void checkpoint_flipped_bit__is_found_and_the_file_named(void **state) {
    (void)state;
    static const char *const files[] = {"params.bin", "optimizer.bin", "manifest.json"};
    char path[2 * FOLDER_PATH_BYTES];
    assert_int_equal(save(50), BRG_OK);
    for (uint32_t i = 0; i < 3; i++) {
        struct brg_checkpoint c;
        struct brg_why why = {""};
        struct stat st;
        assert_int_equal(stat(path_of(50, files[i], path), &st), 0);
        for (int64_t at = 0; at < st.st_size; at += 1 + at / 64) {
            folder_flip_bit(path, at);
            assert_int_equal(load(50, &c, &why), BRG_ECORRUPT);
            assert_non_null(strstr(why.text, files[i]));
            folder_flip_bit(path, at);
        }
        print_message("says: %s\n", why.text);
        must_load(50);
    }
}

static void checkpoint_short_long_or_missing_file__is_damaged(void **state) {
    (void)state;
    static const char *const files[] = {"params.bin", "optimizer.bin"};
    char path[2 * FOLDER_PATH_BYTES], other[2 * FOLDER_PATH_BYTES];
    const struct brg_checkpoint_item damaged = {50, BRG_CHECKPOINT_DAMAGED};
    for (uint32_t i = 0; i < 2; i++) {
        struct stat st;
        assert_int_equal(save(50), BRG_OK); /* over the damaged one */
        assert_int_equal(stat(path_of(50, files[i], path), &st), 0);
        assert_int_equal(truncate(path, st.st_size - 4), 0);
        must_list(&damaged, 1);
        assert_int_equal(save(50), BRG_OK);
        assert_int_equal(truncate(path, st.st_size + 4), 0);
        must_list(&damaged, 1);
        assert_int_equal(save(50), BRG_OK);
        assert_int_equal(unlink(path), 0);
        must_list(&damaged, 1);
    }
    assert_int_equal(save(50), BRG_OK);
    assert_int_equal(save(60), BRG_OK);
    /* A file of another checkpoint is whole, but not the one that belongs here. */
    assert_int_equal(rename(path_of(60, "params.bin", other), path_of(50, "params.bin", path)), 0);
    const struct brg_checkpoint_item both[] = {{50, BRG_CHECKPOINT_DAMAGED},
                                               {60, BRG_CHECKPOINT_DAMAGED}};
    must_list(both, 2);
}

static void checkpoint_of_another_run_or_format__is_refused(void **state) {
    (void)state;
    struct brg_checkpoint c;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0;
    struct brg_why why = {""};
    assert_int_equal(save(50), BRG_OK);
    assert_int_equal(brg_checkpoint_read(folder, 8, 50, &c, &why), BRG_EINVAL);
    print_message("says: %s\n", why.text);
    assert_non_null(strstr(why.text, "not of run 8"));
    assert_int_equal(brg_checkpoint_list(folder, 8, items, &count, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "not of run 8"));
}

/* A manifest of ours with another format number, and with a digest that fits. */
static void checkpoint_of_a_newer_format__is_refused(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES], hex[BRG_DIGEST_HEX_BYTES], text[16384];
    struct brg_checkpoint c;
    struct brg_digest d;
    struct brg_why why = {""};
    assert_int_equal(save(50), BRG_OK);
    FILE *f = fopen(path_of(50, "manifest.json", path), "r+");
    assert_non_null(f);
    const size_t size = fread(text, 1, sizeof text - 1, f);
    text[size] = '\0';
    char *format = strstr(text, "\"format\":\t1"), *tail = strstr(text, ",\n\"manifest_digest\"");
    assert_non_null(format);
    assert_non_null(tail);
    format[strlen("\"format\":\t")] = '3';
    brg_digest_of(text, (size_t)(tail - text), &d);
    memcpy(strstr(tail, ": \"") + 3, brg_digest_hex(&d, hex), 64);
    rewind(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(brg_checkpoint_read(folder, 7, 50, &c, &why), BRG_EINVAL);
    print_message("says: %s\n", why.text);
    assert_non_null(strstr(why.text, "has format 3"));
}

static void checkpoint_list__is_in_order_and_ignores_what_is_not_ours(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    assert_int_equal(save(100), BRG_OK);
    assert_int_equal(save(9), BRG_OK);
    assert_int_equal(save(50), BRG_OK);
    (void)snprintf(path, sizeof path, "%s/ckpt-70", folder); /* not the name we would give */
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/notes.txt", folder);
    (void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(unlink(path_of(50, "manifest.json", path)), 0);
    const struct brg_checkpoint_item expected[] = {
        {9, BRG_CHECKPOINT_VALID}, {50, BRG_CHECKPOINT_UNFINISHED}, {100, BRG_CHECKPOINT_VALID}};
    must_list(expected, 3);
    assert_int_equal(brg_checkpoint_delete(folder, 50, NULL), BRG_OK);
    assert_int_equal(brg_checkpoint_delete(folder, 9, NULL), BRG_OK);
    assert_int_equal(brg_checkpoint_delete(folder, 9, NULL), BRG_OK); /* twice is success */
    must_list(expected + 2, 1);
    assert_int_equal(brg_checkpoint_delete(folder, 100, NULL), BRG_OK);
    folder_remove(folder);
    must_list(NULL, 0); /* a folder that is not there holds none */
}

/* --- killed at every system call --- */

static int save_60(const char *path) {
    (void)path;
    return save(60) == BRG_OK ? 0 : 1;
}

static void checkpoint_save_killed_anywhere__leaves_a_whole_one_or_none(void **state) {
    (void)state;
    uint32_t call = 1, whole = 0;
    enum folder_fate fate = FOLDER_KILLED;
    assert_int_equal(save(50), BRG_OK);
    for (; call < 2000 && fate == FOLDER_KILLED; call++) {
        struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
        uint32_t count = 0;
        fate = folder_kill_at_call(save_60, folder, call);
        if (fate == FOLDER_NOT_ALLOWED) skip();
        assert_true(fate == FOLDER_KILLED || fate == FOLDER_FINISHED);
        assert_int_equal(brg_checkpoint_list(folder, 7, items, &count, NULL), BRG_OK);
        assert_true(count == 1 || count == 2);
        assert_int_equal(items[0].step, 50);
        assert_int_equal(items[0].state, BRG_CHECKPOINT_VALID);
        if (count == 2 && items[1].state == BRG_CHECKPOINT_VALID) {
            must_load(60);
            assert_int_equal(save(60), BRG_EEXIST);
            whole++;
        } else {
            assert_true(count == 1 || items[1].state == BRG_CHECKPOINT_UNFINISHED);
            assert_int_equal(save(60), BRG_OK); /* over what was left */
            must_load(60);
        }
        must_load(50);
        assert_int_equal(brg_checkpoint_delete(folder, 60, NULL), BRG_OK);
    }
    print_message("killed at %u system calls, whole after %u\n", call - 2, whole);
    assert_int_equal(fate, FOLDER_FINISHED);
    assert_true(call > 20);
    assert_true(whole > 0);
}

static int delete_50(const char *path) {
    return brg_checkpoint_delete(path, 50, NULL) == BRG_OK ? 0 : 1;
}

static void checkpoint_delete_killed_anywhere__leaves_a_whole_one_or_none(void **state) {
    (void)state;
    uint32_t call = 1;
    enum folder_fate fate = FOLDER_KILLED;
    for (; call < 2000 && fate == FOLDER_KILLED; call++) {
        struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
        uint32_t count = 0;
        const int rc = save(50);
        assert_true(rc == BRG_OK || rc == BRG_EEXIST);
        fate = folder_kill_at_call(delete_50, folder, call);
        if (fate == FOLDER_NOT_ALLOWED) skip();
        assert_true(fate == FOLDER_KILLED || fate == FOLDER_FINISHED);
        assert_int_equal(brg_checkpoint_list(folder, 7, items, &count, NULL), BRG_OK);
        assert_true(count <= 1);
        if (count == 0) continue;
        assert_true(items[0].state != BRG_CHECKPOINT_DAMAGED);
        if (items[0].state == BRG_CHECKPOINT_VALID) must_load(50);
    }
    assert_int_equal(fate, FOLDER_FINISHED);
    assert_true(call > 10);
}

/* --- a disk that is full: in a child --- */

static int save_until_full(void) {
    int rc = BRG_OK;
    uint64_t step = 1;
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0;
    for (; step < 1000 && rc == BRG_OK; step++) rc = save(step);
    if (rc != BRG_ENOSPC) return 2;
    if (brg_checkpoint_list(folder, 7, items, &count, NULL) != BRG_OK) return 3;
    for (uint32_t i = 0; i < count; i++) {
        const int last = items[i].step + 1 == step;
        if (items[i].state != (last ? BRG_CHECKPOINT_UNFINISHED : BRG_CHECKPOINT_VALID)) return 4;
    }
    return count + 1 >= step - 1 ? 0 : 5;
}

static int save_limited(const char *path) {
    (void)path;
    folder_limit_files(3000); /* params.bin has 2128 bytes, optimizer.bin 4128 */
    return save_until_full();
}

static void checkpoint_file_limit_reached__leaves_none_and_says_why(void **state) {
    (void)state;
    assert_int_equal(folder_in_child(save_limited, folder), 0);
    assert_int_equal(save(1), BRG_OK);
    must_load(1);
}

static int save_on_small_disk(const char *path) {
    if (folder_small_disk(path, 512 << 10) != 0) return FOLDER_MAY_NOT;
    return save_until_full();
}

static void checkpoint_disk_full__keeps_the_older_ones(void **state) {
    (void)state;
    const int status = folder_in_child(save_on_small_disk, folder);
    if (status == FOLDER_MAY_NOT) skip();
    assert_int_equal(status, 0);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(checkpoint_load__gives_every_bit_and_field_back),
        TEST(checkpoint_without_optimizer_state__is_whole),
        TEST(checkpoint_of_several_models__has_a_file_set_of_each),
        TEST(checkpoint_out_of_range__is_refused),
        TEST(checkpoint_of_a_step_that_is_there__is_left_alone),
        TEST(checkpoint_flipped_bit__is_found_and_the_file_named),
        TEST(checkpoint_short_long_or_missing_file__is_damaged),
        TEST(checkpoint_of_another_run_or_format__is_refused),
        TEST(checkpoint_of_a_newer_format__is_refused),
        TEST(checkpoint_list__is_in_order_and_ignores_what_is_not_ours),
        TEST(checkpoint_save_killed_anywhere__leaves_a_whole_one_or_none),
        TEST(checkpoint_delete_killed_anywhere__leaves_a_whole_one_or_none),
        TEST(checkpoint_file_limit_reached__leaves_none_and_says_why),
        TEST(checkpoint_disk_full__keeps_the_older_ones),
    };
#undef TEST
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL) != 0;
}
