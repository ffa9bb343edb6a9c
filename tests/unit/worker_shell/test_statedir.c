/* The folder that makes a worker the same worker: key, lock, session, data sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/shell/statedir.h"

#include <ftw.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int setup(void **state) {
    (void)state;
    assert_true(sodium_init() >= 0);
    (void)snprintf(folder, sizeof folder, "/tmp/brg-statedir-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void statedir_reopened__has_the_same_key_and_a_higher_session(void **state) {
    (void)state;
    struct brg_statedir d;
    struct brg_why why;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/a/b", folder);
    assert_int_equal(brg_statedir_open(&d, path, 1000, &why), BRG_OK);
    assert_int_equal(d.session, 1000);
    assert_true(d.is_new);
    const struct brg_key key = d.key.public_key;
    brg_statedir_close(&d);
    brg_statedir_close(&d); /* harmless */
    static const uint64_t walls[] = {2000, 2000, 5, 0, 3000};
    static const uint64_t sessions[] = {2000, 2001, 2002, 2003, 3000};
    for (size_t i = 0; i < sizeof walls / sizeof *walls; i++) { /* the clock may stand or go back */
        assert_int_equal(brg_statedir_open(&d, path, walls[i], &why), BRG_OK);
        assert_int_equal(d.session, sessions[i]);
        assert_false(d.is_new);
        assert_true(brg_key_equal(&key, &d.key.public_key));
        brg_statedir_close(&d);
    }
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/a/b/worker.key", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void statedir_in_use__is_refused_until_it_is_closed(void **state) {
    (void)state;
    struct brg_statedir a, b;
    struct brg_why why = {{0}};
    assert_int_equal(brg_statedir_open(&a, folder, 1, &why), BRG_OK);
    assert_int_equal(brg_statedir_open(&b, folder, 1, &why), BRG_EEXIST);
    assert_non_null(strstr(why.text, "--state"));
    brg_statedir_close(&a);
    assert_int_equal(brg_statedir_open(&b, folder, 1, &why), BRG_OK);
    brg_statedir_close(&b);
}

static void statedir_default__follows_the_environment(void **state) {
    (void)state;
    struct brg_statedir d;
    struct brg_why why = {{0}};
    char expected[128];
    assert_int_equal(setenv("XDG_STATE_HOME", folder, 1), 0);
    assert_int_equal(brg_statedir_open(&d, NULL, 1, &why), BRG_OK);
    (void)snprintf(expected, sizeof expected, "%s/brigade", folder);
    assert_string_equal(d.path, expected);
    brg_statedir_close(&d);
    assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    assert_int_equal(setenv("HOME", folder, 1), 0);
    assert_int_equal(brg_statedir_open(&d, "", 1, &why), BRG_OK);
    (void)snprintf(expected, sizeof expected, "%s/.local/state/brigade", folder);
    assert_string_equal(d.path, expected);
    brg_statedir_close(&d);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(brg_statedir_open(&d, NULL, 1, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "--state"));
}

static void statedir_that_cannot_be__is_refused_with_a_sentence(void **state) {
    (void)state;
    struct brg_statedir d;
    struct brg_why why = {{0}};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(brg_file_write_atomic(path, 0600, "x", 1), BRG_OK);
    assert_int_not_equal(brg_statedir_open(&d, path, 1, &why), BRG_OK);
    assert_non_null(strstr(why.text, path));
    char *longer = malloc(5000);
    memset(longer, 'a', 4999);
    longer[0] = '/';
    longer[4999] = '\0';
    assert_int_equal(brg_statedir_open(&d, longer, 1, &why), BRG_EINVAL);
    free(longer);
    (void)snprintf(path, sizeof path, "%s/worker.key", folder);
    assert_int_equal(brg_file_write_atomic(path, 0600, "not a key", 9), BRG_OK);
    assert_int_equal(brg_statedir_open(&d, folder, 1, &why), BRG_ECORRUPT);
    assert_int_equal(d.lock_fd, -1); /* let go of */
}

static void statedir_prune__keeps_the_data_sets_used_last_and_all_else(void **state) {
    (void)state;
    struct brg_statedir d;
    struct brg_why why;
    struct brg_digest digest[12];
    char path[BRG_FILE_PATH_BYTES];
    assert_int_equal(brg_statedir_open(&d, folder, 1, &why), BRG_OK);
    for (uint32_t i = 0; i < 12; i++) { /* number 11 was used longest ago */
        const struct timespec times[2] = {{.tv_sec = 1000 - i}, {.tv_sec = 1000 - i}};
        brg_digest_of(&i, sizeof i, &digest[i]);
        (void)brg_statedir_data_path(&d, &digest[i], path);
        assert_int_equal(brg_file_write_atomic(path, 0600, "x", 1), BRG_OK);
        assert_int_equal(utimensat(-1, path, times, 0), 0);
    }
    (void)snprintf(path, sizeof path, "%s/data-of-mine", folder);
    assert_int_equal(brg_file_write_atomic(path, 0600, "x", 1), BRG_OK);
    brg_statedir_prune(&d, &digest[11]);
    assert_int_equal(access(path, F_OK), 0);
    for (uint32_t i = 0; i < 12; i++) {
        const int stays = i < BRG_STATEDIR_DATA_MAX - 1 || i == 11;
        assert_int_equal(access(brg_statedir_data_path(&d, &digest[i], path), F_OK) == 0, stays);
    }
    brg_statedir_prune(&d, &digest[3]); /* nothing to do */
    assert_int_equal(access(brg_statedir_data_path(&d, &digest[11], path), F_OK), 0);
    brg_statedir_close(&d);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(statedir_reopened__has_the_same_key_and_a_higher_session),
        TEST(statedir_in_use__is_refused_until_it_is_closed),
        TEST(statedir_default__follows_the_environment),
        TEST(statedir_that_cannot_be__is_refused_with_a_sentence),
        TEST(statedir_prune__keeps_the_data_sets_used_last_and_all_else),
    };
    return cmocka_run_group_tests_name("statedir", tests, NULL, NULL) != 0;
}
