/* What a power cut leaves. Killing a process proves little about syncing, since the kernel keeps
 * what was written; so this program stands between the libraries and fdatasync, and keeps beside
 * each file an image of it as it was when it was last synced. The images are the disk after the
 * power has come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "coordinator/shell/gradlog.h"
#include "coordinator/shell/store.h"
#include "tests/unit/coordinator_shell/folder.h"

#define ELEMENTS 1000u
#define STEPS 6u

int fdatasync(int fd);

static char folder[FOLDER_PATH_BYTES], image[FOLDER_PATH_BYTES];
static float data[ELEMENTS], read_back[ELEMENTS];
static uint64_t log_syncs; /* of files whose name ends in .log: RocksDB's write-ahead log */

/* Copies the file behind `from_fd` as it is now. */
static void keep_image(int from_fd, const char *name) {
    char path[2 * FOLDER_PATH_BYTES];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", image, name);
    const int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    BRG_ASSERT(to >= 0 && fstat(from_fd, &st) == 0);
    off_t at = 0;
    while (at < st.st_size) {
        BRG_ASSERT(sendfile(to, from_fd, &at, (size_t)(st.st_size - at)) > 0);
    }
    (void)close(to);
}

/* Takes the place of libc's for everything in this program. */
int fdatasync(int fd) {
    char link[64], path[FOLDER_PATH_BYTES] = "";
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    const char *name = n > 0 ? strrchr(path, '/') : NULL;
    if (name != NULL && image[0] != '\0' && strstr(path, folder) == path) {
        const char *end = strrchr(name, '.');
        if (end != NULL && strcmp(end, ".log") == 0) log_syncs++;
        if (end != NULL && strcmp(end, ".grad") == 0) keep_image(fd, name + 1);
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static int make_folders(void **state) {
    (void)state;
    folder_make(folder);
    folder_make(image);
    log_syncs = 0;
    return 0;
}

static int remove_folders(void **state) {
    (void)state;
    folder_remove(folder);
    folder_remove(image);
    return 0;
}

static void fill(uint64_t step) {
    for (uint32_t i = 0; i < ELEMENTS; i++) data[i] = (float)step + (float)i / 1024.0f;
}

/* The entry can be read from what the power cut left. */
static void assert_survives(const struct brg_gradlog_entry *e) {
    struct brg_gradlog *log = NULL;
    const struct brg_gradlog_config c = {
        .folder = image, .run = 7, .elements = ELEMENTS, .committed = e->step, .last = e->place};
    struct brg_why why = {""};
    const int rc = brg_gradlog_open(&c, &log, &why);
    if (rc != BRG_OK) print_message("%s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    assert_int_equal(brg_gradlog_read(log, e, read_back, NULL), BRG_OK);
    fill(e->step);
    assert_memory_equal(read_back, data, sizeof data);
    brg_gradlog_close(&log);
}

static void gradlog_power_cut__leaves_every_record_that_was_told(void **state) {
    (void)state;
    struct brg_gradlog *log = NULL;
    const struct brg_gradlog_config c = {.folder = folder, .run = 7, .elements = ELEMENTS};
    assert_int_equal(brg_gradlog_open(&c, &log, NULL), BRG_OK);
    for (uint64_t step = 1; step <= STEPS; step++) {
        struct brg_gradlog_entry e;
        fill(step);
        if (step == STEPS / 2) brg_gradlog_roll(log);
        assert_int_equal(brg_gradlog_append(log, step, 10 * step, data, &e, NULL), BRG_OK);
        assert_survives(&e);
    }
    brg_gradlog_close(&log);
}

static void store_synced_write__reaches_the_disk_before_it_returns(void **state) {
    (void)state;
    struct brg_store *store = NULL;
    struct brg_store_batch *batch = NULL;
    assert_int_equal(brg_store_open(folder, &store, NULL), BRG_OK);
    assert_int_equal(brg_store_batch_create(store, &batch), BRG_OK);
    const struct brg_record_run run = {.id = 1, .steps = STEPS, .state = BRG_RUN_RECORD_RUNNING};
    assert_int_equal(brg_store_put_run(batch, &run), BRG_OK);
    for (uint64_t step = 1; step <= STEPS; step++) {
        struct brg_record_step record = {.run = 1, .step = step, .epoch = 1, .attempt = 1};
        assert_int_equal(brg_store_put_step(batch, &record), BRG_OK);
        const uint64_t before = log_syncs;
        assert_int_equal(brg_store_write_synced(store, batch), BRG_OK);
        assert_true(log_syncs > before);
    }
    brg_store_batch_destroy(&batch);
    brg_store_close(&store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradlog_power_cut__leaves_every_record_that_was_told,
                                        make_folders, remove_folders),
        cmocka_unit_test_setup_teardown(store_synced_write__reaches_the_disk_before_it_returns,
                                        make_folders, remove_folders),
    };
    return cmocka_run_group_tests_name("synced", tests, NULL, NULL) != 0;
}
