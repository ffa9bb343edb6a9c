#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char path[128];
};

static int set_up(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL) return -1;
    strcpy(f->dir, "/tmp/brg_test_file_XXXXXX");
    if (mkdtemp(f->dir) == NULL) return -1;
    (void)snprintf(f->path, sizeof f->path, "%s/a", f->dir);
    *state = f;
    return 0;
}

static int entries(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    if (d == NULL) return -1;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    char path[400];
    DIR *d = opendir(f->dir);
    if (d == NULL) return -1;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.') continue;
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
        if (unlink(path) != 0) (void)rmdir(path);
    }
    (void)closedir(d);
    const int rc = rmdir(f->dir);
    free(f);
    return rc;
}

static void file_written__is_read_back_with_its_mode(void **state) {
    struct fixture *f = *state;
    uint8_t *data = NULL;
    size_t size = 0;
    struct stat st;
    assert_int_equal(brg_file_write_atomic(f->path, 0600, "one", 3), BRG_OK);
    assert_int_equal(brg_file_write_atomic(f->path, 0640, "second", 6), BRG_OK);
    assert_int_equal(brg_file_read(f->path, 6, &data, &size), BRG_OK);
    assert_int_equal(size, 6);
    assert_string_equal((const char *)data, "second"); /* the NUL behind the end */
    free(data);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(entries(f->dir), 1); /* nothing left beside it */
}

static void file_empty__is_read_and_mapped(void **state) {
    struct fixture *f = *state;
    uint8_t *data = NULL;
    size_t size = 7;
    struct brg_file_map map;
    assert_int_equal(brg_file_write_atomic(f->path, 0600, NULL, 0), BRG_OK);
    assert_int_equal(brg_file_read(f->path, 0, &data, &size), BRG_OK);
    assert_int_equal(size, 0);
    assert_non_null(data);
    free(data);
    assert_int_equal(brg_file_map_open(f->path, 0, &map), BRG_OK);
    assert_non_null(map.data);
    assert_int_equal(map.size_bytes, 0);
    brg_file_map_close(&map);
    assert_null(map.data);
    brg_file_map_close(&map);
}

static void file_mapped__shows_its_bytes(void **state) {
    struct fixture *f = *state;
    struct brg_file_map map;
    assert_int_equal(brg_file_write_atomic(f->path, 0600, "abcd", 4), BRG_OK);
    assert_int_equal(brg_file_map_open(f->path, 100, &map), BRG_OK);
    assert_int_equal(map.size_bytes, 4);
    assert_memory_equal(map.data, "abcd", 4);
    brg_file_map_close(&map);
}

static void file_larger_than_the_limit__is_refused(void **state) {
    struct fixture *f = *state;
    uint8_t *data = NULL;
    size_t size = 0;
    struct brg_file_map map;
    assert_int_equal(brg_file_write_atomic(f->path, 0600, "abcd", 4), BRG_OK);
    assert_int_equal(brg_file_read(f->path, 3, &data, &size), BRG_ENOMEM);
    assert_int_equal(errno, EFBIG);
    assert_null(data);
    assert_int_equal(brg_file_map_open(f->path, 3, &map), BRG_ENOMEM);
    assert_null(map.data);
}

static void file_missing_or_no_file__says_which(void **state) {
    struct fixture *f = *state;
    uint8_t *data = NULL;
    size_t size = 0;
    assert_int_equal(brg_file_read(f->path, 10, &data, &size), BRG_ENOENT);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(brg_file_read(f->dir, 10, &data, &size), BRG_EINVAL);
    assert_int_equal(errno, EISDIR);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(brg_file_read(f->path, 10, &data, &size), BRG_EINVAL); /* and does not hang */
    assert_int_equal(brg_file_read("/dev/null", 10, &data, &size), BRG_EINVAL);
    assert_int_equal(errno, ENODEV);
    assert_null(data);
}

static void file_in_no_folder__is_not_written(void **state) {
    struct fixture *f = *state;
    char path[200];
    (void)snprintf(path, sizeof path, "%s/none/a", f->dir);
    assert_int_equal(brg_file_write_atomic(path, 0600, "x", 1), BRG_ENOENT);
    assert_int_equal(brg_file_write_atomic("", 0600, "x", 1), BRG_ENOENT);
    assert_int_equal(brg_file_write_atomic("/proc/brigade", 0600, "x", 1), BRG_ENOENT);
    char longest[BRG_FILE_PATH_BYTES + 1];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(brg_file_write_atomic(longest, 0600, "x", 1), BRG_EINVAL);
}

/* A size limit stands for the full disk: both make write() fail after some bytes. */
static void file_on_a_full_disk__keeps_the_old_bytes(void **state) {
    struct fixture *f = *state;
    struct rlimit old, tight;
    static uint8_t big[8192];
    uint8_t *data = NULL;
    size_t size = 0;
    assert_int_equal(brg_file_write_atomic(f->path, 0600, "old", 3), BRG_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const int rc = brg_file_write_atomic(f->path, 0600, big, sizeof big);
    const int reason = errno;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, BRG_ENOSPC);
    assert_int_equal(reason, EFBIG);
    assert_int_equal(entries(f->dir), 1);
    assert_int_equal(brg_file_read(f->path, 10, &data, &size), BRG_OK);
    assert_string_equal((const char *)data, "old");
    free(data);
}

static void file_writer__rewrites_its_header_and_shows_nothing_before_commit(void **state) {
    struct fixture *f = *state;
    struct brg_file_writer *w = calloc(1, sizeof *w);
    uint8_t *data = NULL;
    size_t size = 0;
    assert_non_null(w);
    assert_int_equal(brg_file_writer_open(w, f->path, 0600), BRG_OK);
    assert_int_equal(brg_file_writer_append(w, "????", 4), BRG_OK);
    assert_int_equal(brg_file_writer_append(w, "tail", 4), BRG_OK);
    assert_int_equal(brg_file_writer_rewrite(w, 1, "hea", 3), BRG_OK);
    assert_int_equal(brg_file_writer_append(w, "!", 1), BRG_OK);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(brg_file_writer_commit(w), BRG_OK);
    assert_int_equal(w->fd, -1);
    assert_int_equal(brg_file_read(f->path, 100, &data, &size), BRG_OK);
    assert_string_equal((const char *)data, "?heatail!");
    free(data);

    assert_int_equal(brg_file_writer_open(w, f->path, 0600), BRG_OK);
    assert_int_equal(brg_file_writer_append(w, "x", 1), BRG_OK);
    brg_file_writer_abort(w);
    brg_file_writer_abort(w);
    assert_int_equal(entries(f->dir), 1);
    free(w);
}

static void dir_make__makes_parents_and_is_idempotent(void **state) {
    struct fixture *f = *state;
    char path[200], inner[200];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/b//c/", f->dir);
    assert_int_equal(brg_dir_make(path, 0700), BRG_OK);
    assert_int_equal(brg_dir_make(path, 0700), BRG_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(brg_dir_sync(path), BRG_OK);
    assert_int_equal(rmdir(path), 0);

    assert_int_equal(brg_file_write_atomic(f->path, 0600, "x", 1), BRG_OK);
    assert_int_equal(brg_dir_make(f->path, 0700), BRG_EEXIST);
    (void)snprintf(inner, sizeof inner, "%s/d", f->path);
    assert_int_equal(brg_dir_make(inner, 0700), BRG_EEXIST);
    assert_int_equal(brg_dir_make("", 0700), BRG_ENOENT);
    assert_int_equal(brg_dir_sync(f->path), BRG_ENOENT); /* not a folder */
    assert_int_equal(brg_dir_sync_parent("no-slash"), BRG_OK);
    assert_int_equal(brg_dir_sync_parent("/tmp"), BRG_OK);
}

static void file_error__maps_every_documented_reason(void **state) {
    (void)state;
    assert_int_equal(brg_file_error(0), BRG_OK);
    assert_int_equal(brg_file_error(ENOTDIR), BRG_ENOENT);
    assert_int_equal(brg_file_error(EROFS), BRG_EPERM);
    assert_int_equal(brg_file_error(ENOSPC), BRG_ENOSPC);
    assert_int_equal(brg_file_error(EDQUOT), BRG_ENOSPC);
    assert_int_equal(brg_file_error(ENOMEM), BRG_ENOMEM);
    assert_int_equal(brg_file_error(EIO), BRG_EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(file_written__is_read_back_with_its_mode),
        T(file_empty__is_read_and_mapped),
        T(file_mapped__shows_its_bytes),
        T(file_larger_than_the_limit__is_refused),
        T(file_missing_or_no_file__says_which),
        T(file_in_no_folder__is_not_written),
        T(file_on_a_full_disk__keeps_the_old_bytes),
        T(file_writer__rewrites_its_header_and_shows_nothing_before_commit),
        T(dir_make__makes_parents_and_is_idempotent),
        T(file_error__maps_every_documented_reason),
#undef T
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL) != 0;
}
