#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/shell/gradlog.h"
#include "tests/unit/coordinator_shell/folder.h"

#define ELEMENTS 1000u
#define HEADER 4096
#define RECORD (128 + 4 * (int64_t)ELEMENTS)

static char folder[FOLDER_PATH_BYTES];
static float data[ELEMENTS], read_back[ELEMENTS];

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

static struct brg_gradlog_config config_of(uint64_t checkpoint, uint64_t committed,
                                           const struct brg_gradlog_entry *last) {
    struct brg_gradlog_config c = {
        .folder = folder, .run = 7, .elements = ELEMENTS, .committed = committed};
    c.checkpoint = checkpoint;
    if (last != NULL) c.last = last->place;
    return c;
}

static struct brg_gradlog *open_log(uint64_t checkpoint, uint64_t committed,
                                    const struct brg_gradlog_entry *last) {
    const struct brg_gradlog_config c = config_of(checkpoint, committed, last);
    struct brg_gradlog *log = NULL;
    struct brg_why why = {""};
    const int rc = brg_gradlog_open(&c, &log, &why);
    if (rc != BRG_OK) print_message("%s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    return log;
}

static void refuse(uint64_t checkpoint, uint64_t committed, const struct brg_gradlog_entry *last,
                   int err, const char *part) {
    const struct brg_gradlog_config c = config_of(checkpoint, committed, last);
    struct brg_gradlog *log = NULL;
    struct brg_why why = {""};
    const int rc = brg_gradlog_open(&c, &log, &why);
    print_message("says: %s\n", why.text);
    assert_int_equal(rc, err);
    assert_null(log);
    assert_non_null(strstr(why.text, part));
}

static void fill(uint64_t step) {
    for (uint32_t i = 0; i < ELEMENTS; i++) data[i] = (float)step + (float)i / 1024.0f;
}

static struct brg_gradlog_entry append(struct brg_gradlog *log, uint64_t step) {
    struct brg_gradlog_entry e = {0};
    struct brg_why why = {""};
    fill(step);
    const int rc = brg_gradlog_append(log, step, 10 * step, data, &e, &why);
    if (rc != BRG_OK) print_message("%s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    return e;
}

static void must_read(struct brg_gradlog *log, const struct brg_gradlog_entry *e) {
    assert_int_equal(brg_gradlog_read(log, e, read_back, NULL), BRG_OK);
    fill(e->step);
    assert_memory_equal(read_back, data, sizeof data);
}

static void gradlog_restart__reads_back_every_bit(void **state) {
    (void)state;
    struct brg_gradlog_entry e[41];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    for (uint64_t i = 1; i <= 30; i++) e[i] = append(log, i);
    brg_gradlog_close(&log);
    assert_null(log);
    log = open_log(0, 30, &e[30]);
    for (uint64_t i = 1; i <= 30; i++) must_read(log, &e[i]);
    for (uint64_t i = 31; i <= 40; i++) e[i] = append(log, i);
    for (uint64_t i = 1; i <= 40; i++) must_read(log, &e[i]);
    assert_int_equal(brg_gradlog_first(log), 1);
    brg_gradlog_close(&log);
}

static void gradlog_step_out_of_turn__is_refused(void **state) {
    (void)state;
    struct brg_gradlog_entry e;
    struct brg_gradlog *log = open_log(0, 0, NULL);
    (void)append(log, 1);
    assert_int_equal(brg_gradlog_append(log, 1, 1, data, &e, NULL), BRG_EINVAL);
    assert_int_equal(brg_gradlog_append(log, 3, 1, data, &e, NULL), BRG_EINVAL);
    (void)append(log, 2);
    brg_gradlog_close(&log);
}

static void gradlog_uncommitted_record__is_cut_off(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    struct brg_gradlog_entry e1 = append(log, 1), e2 = append(log, 2);
    brg_gradlog_close(&log);
    log = open_log(0, 1, &e1);
    assert_true(folder_find(folder, ".grad", path) == HEADER + RECORD);
    assert_int_equal(brg_gradlog_read(log, &e2, read_back, NULL), BRG_ECORRUPT);
    e2 = append(log, 2);
    must_read(log, &e2);
    brg_gradlog_close(&log);
    log = open_log(0, 2, &e2);
    brg_gradlog_close(&log);

    log = open_log(2, 2, &e2); /* nothing is needed: the folder is empty */
    assert_true(folder_find(folder, ".grad", path) < 0);
    brg_gradlog_close(&log);
}

/* The file ends anywhere inside the record that was under way: the committed ones are kept. */
static void gradlog_torn_tail__keeps_what_was_committed(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES], saved[FOLDER_PATH_BYTES + 8];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    const struct brg_gradlog_entry e1 = append(log, 1), e2 = append(log, 2);
    brg_gradlog_close(&log);
    assert_true(folder_find(folder, ".grad", path) > 0);
    (void)snprintf(saved, sizeof saved, "%s/saved", folder);
    for (int64_t cut = HEADER + RECORD; cut <= HEADER + 2 * RECORD; cut += 61) {
        folder_copy(path, saved);
        assert_int_equal(truncate(path, cut), 0);
        log = open_log(0, 1, &e1);
        must_read(log, &e1);
        const struct brg_gradlog_entry again = append(log, 2);
        assert_memory_equal(&again, &e2, sizeof e2);
        must_read(log, &e2);
        brg_gradlog_close(&log);
        assert_int_equal(rename(saved, path), 0);
    }
}

/* The segment is torn anywhere while it is started, even inside its header. */
static void gradlog_torn_new_segment__is_made_again(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES + 64];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    const struct brg_gradlog_entry e1 = append(log, 1);
    brg_gradlog_roll(log);
    (void)append(log, 2);
    brg_gradlog_close(&log);
    (void)snprintf(path, sizeof path, "%s/segment-%010d.grad", folder, 2);
    for (int64_t cut = 0; cut < HEADER + RECORD; cut += 173) {
        assert_int_equal(truncate(path, cut), 0);
        log = open_log(0, 1, &e1);
        const struct brg_gradlog_entry e2 = append(log, 2);
        must_read(log, &e1);
        must_read(log, &e2);
        brg_gradlog_close(&log);
        log = open_log(0, 1, &e1); /* gone again, for the next turn */
        brg_gradlog_roll(log);
        (void)append(log, 2);
        brg_gradlog_close(&log);
    }
}

static void gradlog_flipped_bit__is_found_and_the_file_named(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES];
    struct brg_why why;
    struct brg_gradlog *log = open_log(0, 0, NULL);
    const struct brg_gradlog_entry e1 = append(log, 1), e2 = append(log, 2);
    assert_true(folder_find(folder, ".grad", path) > 0);
    for (int64_t at = HEADER; at < HEADER + RECORD; at += 7) {
        folder_flip_bit(path, at);
        why.text[0] = '\0';
        assert_int_equal(brg_gradlog_read(log, &e1, read_back, &why), BRG_ECORRUPT);
        assert_non_null(strstr(why.text, "segment-0000000001.grad"));
        assert_non_null(strstr(why.text, "step 1"));
        must_read(log, &e2);
        folder_flip_bit(path, at);
    }
    print_message("says: %s\n", why.text);
    must_read(log, &e1);
    brg_gradlog_close(&log);
    folder_flip_bit(path, HEADER + RECORD + 20); /* the last committed record's header */
    refuse(0, 2, &e2, BRG_ECORRUPT, "last committed record does not verify");
    folder_flip_bit(path, HEADER + RECORD + 20);
    folder_flip_bit(path, 20); /* the segment's header */
    refuse(0, 2, &e2, BRG_ECORRUPT, "segment-0000000001.grad: its header");
}

static void gradlog_short_or_missing_segment__is_refused(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    (void)append(log, 1);
    const struct brg_gradlog_entry e2 = append(log, 2);
    brg_gradlog_close(&log);
    assert_true(folder_find(folder, ".grad", path) > 0);
    assert_int_equal(truncate(path, HEADER + RECORD + 60), 0);
    refuse(0, 2, &e2, BRG_ECORRUPT, "last committed record");
    assert_int_equal(unlink(path), 0);
    refuse(0, 2, &e2, BRG_ECORRUPT, "segment is missing");
}

static void gradlog_entry_of_another_step__does_not_verify(void **state) {
    (void)state;
    struct brg_gradlog *log = open_log(0, 0, NULL);
    const struct brg_gradlog_entry e1 = append(log, 1), e2 = append(log, 2);
    struct brg_gradlog_entry wrong = e1;
    wrong.place = e2.place;
    assert_int_equal(brg_gradlog_read(log, &wrong, read_back, NULL), BRG_ECORRUPT);
    wrong = e1;
    wrong.count++;
    assert_int_equal(brg_gradlog_read(log, &wrong, read_back, NULL), BRG_ECORRUPT);
    wrong = e1;
    wrong.gradient = e2.gradient;
    assert_int_equal(brg_gradlog_read(log, &wrong, read_back, NULL), BRG_ECORRUPT);
    wrong = e1;
    wrong.place.segment = 5;
    assert_int_equal(brg_gradlog_read(log, &wrong, read_back, NULL), BRG_ECORRUPT);
    brg_gradlog_close(&log);
}

static void gradlog_of_another_run_or_size__is_refused(void **state) {
    (void)state;
    struct brg_gradlog *log = open_log(0, 0, NULL);
    const struct brg_gradlog_entry e1 = append(log, 1);
    brg_gradlog_close(&log);
    struct brg_gradlog_config c = config_of(0, 1, &e1);
    c.run = 8;
    assert_int_equal(brg_gradlog_open(&c, &log, NULL), BRG_ECORRUPT);
    c = config_of(0, 1, &e1);
    c.elements = ELEMENTS + 1;
    assert_int_equal(brg_gradlog_open(&c, &log, NULL), BRG_ECORRUPT);
    c.elements = 0;
    assert_int_equal(brg_gradlog_open(&c, &log, NULL), BRG_EINVAL);
    c.elements = BRG_GRADLOG_ELEMENTS_MAX + 1;
    assert_int_equal(brg_gradlog_open(&c, &log, NULL), BRG_EINVAL);
    c = config_of(2, 1, &e1);
    assert_int_equal(brg_gradlog_open(&c, &log, NULL), BRG_EINVAL);
    log = open_log(0, 1, &e1); /* none of them changed anything */
    must_read(log, &e1);
    brg_gradlog_close(&log);
}

static void gradlog_ahead_of_the_store__refuses_untouched(void **state) {
    (void)state;
    struct brg_gradlog *log = open_log(0, 0, NULL);
    const struct brg_gradlog_entry e1 = append(log, 1);
    (void)append(log, 2);
    const struct brg_gradlog_entry e3 = append(log, 3);
    brg_gradlog_close(&log);
    refuse(0, 1, &e1, BRG_EBEHIND, "proves that step 2 of run 7 was committed");
    refuse(0, 0, NULL, BRG_EBEHIND, "the store ends with step 0");
    refuse(1, 1, &e1, BRG_EBEHIND, "proves that step 2");
    log = open_log(0, 3, &e3);
    brg_gradlog_roll(log);
    const struct brg_gradlog_entry e4 = append(log, 4);
    brg_gradlog_close(&log);
    refuse(0, 1, &e1, BRG_EBEHIND, "proves that step 3");
    log = open_log(0, 4, &e4);
    must_read(log, &e1);
    brg_gradlog_close(&log);
}

static uint32_t segments(void) {
    uint32_t count = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strncmp(e->d_name, "segment-", 8) == 0) count++;
    }
    (void)closedir(d);
    return count;
}

static void gradlog_checkpoint__drops_what_is_needless_and_no_more(void **state) {
    (void)state;
    struct brg_gradlog_entry e[13];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    for (uint64_t i = 1; i <= 12; i++) { /* checkpoints of 4 and 8: segments 1-4, 5-8, 9-12 */
        e[i] = append(log, i);
        if (i % 4 == 0 && i < 12) brg_gradlog_roll(log);
    }
    assert_int_equal(segments(), 3);
    assert_int_equal(brg_gradlog_drop_through(log, 3, NULL), BRG_OK);
    assert_int_equal(segments(), 3);
    assert_int_equal(brg_gradlog_drop_through(log, 4, NULL), BRG_OK);
    assert_int_equal(segments(), 2);
    assert_int_equal(brg_gradlog_first(log), 5);
    for (uint64_t i = 5; i <= 12; i++) must_read(log, &e[i]);
    assert_int_equal(brg_gradlog_drop_through(log, 11, NULL), BRG_OK);
    assert_int_equal(segments(), 1); /* 12 is in there with 9, 10 and 11 */
    must_read(log, &e[9]);
    brg_gradlog_close(&log);

    refuse(4, 12, &e[12], BRG_ECORRUPT, "steps 5 to 12 have to be replayed");
    log = open_log(8, 12, &e[12]);
    must_read(log, &e[9]);
    assert_int_equal(brg_gradlog_drop_through(log, 12, NULL), BRG_OK);
    assert_int_equal(segments(), 0);
    assert_int_equal(brg_gradlog_first(log), 13);
    const struct brg_gradlog_entry e13 = append(log, 13);
    must_read(log, &e13);
    assert_int_equal(segments(), 1);
    brg_gradlog_close(&log);
}

static void gradlog_killed_before_dropping__drops_at_the_next_start(void **state) {
    (void)state;
    struct brg_gradlog_entry e[9];
    struct brg_gradlog *log = open_log(0, 0, NULL);
    for (uint64_t i = 1; i <= 8; i++) {
        e[i] = append(log, i);
        if (i == 4) brg_gradlog_roll(log);
    }
    brg_gradlog_close(&log);
    log = open_log(4, 8, &e[8]);
    assert_int_equal(segments(), 1);
    assert_int_equal(brg_gradlog_first(log), 5);
    for (uint64_t i = 5; i <= 8; i++) must_read(log, &e[i]);
    brg_gradlog_close(&log);
}

static void gradlog_too_many_segments__is_an_error_that_says_why(void **state) {
    (void)state;
    struct brg_why why = {""};
    struct brg_gradlog_entry e;
    struct brg_gradlog *log = open_log(0, 0, NULL);
    for (uint64_t i = 1; i <= BRG_GRADLOG_SEGMENTS_MAX; i++) {
        (void)append(log, i);
        brg_gradlog_roll(log);
    }
    const uint64_t next = BRG_GRADLOG_SEGMENTS_MAX + 1;
    assert_int_equal(brg_gradlog_append(log, next, 1, data, &e, &why), BRG_EFULL);
    assert_non_null(strstr(why.text, "wait for a checkpoint"));
    brg_gradlog_close(&log);
}

/* The child tells each durable entry; whatever it told must be there after its death. */
static void gradlog_killed_anywhere__has_every_record_it_told(void **state) {
    (void)state;
    struct brg_gradlog_entry last = {0}, e;
    for (uint64_t turn = 0; turn < 20; turn++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            const struct brg_gradlog_config c = config_of(0, last.step, &last);
            struct brg_gradlog *log = NULL;
            if (brg_gradlog_open(&c, &log, NULL) != BRG_OK) _exit(1);
            for (uint64_t step = last.step + 1; step < last.step + 1000; step++) {
                fill(step);
                if (step % 16 == 0) brg_gradlog_roll(log);
                if (brg_gradlog_append(log, step, 10 * step, data, &e, NULL) != BRG_OK) _exit(1);
                if (write(pipes[1], &e, sizeof e) != sizeof e) _exit(1);
            }
            _exit(1);
        }
        (void)close(pipes[1]);
        for (uint64_t i = 0; i < turn; i++) {
            if (read(pipes[0], &e, sizeof e) == sizeof e) last = e;
        }
        (void)usleep((useconds_t)(turn * 53 % 400));
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(pipes[0], &e, sizeof e) == sizeof e) last = e; /* all that it told */
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void)close(pipes[0]);

        struct brg_gradlog *log = open_log(0, last.step, &last);
        if (last.step > 0) must_read(log, &last);
        brg_gradlog_close(&log);
    }
    assert_true(last.step >= 190);
}

/* --- a disk that is full: in a child --- */

/* Appends until an error. 0 where that was told as promised. */
static int append_until_full(void) {
    const struct brg_gradlog_config c = config_of(0, 0, NULL);
    struct brg_gradlog *log = NULL;
    struct brg_gradlog_entry e = {0}, last = {0};
    struct brg_why why = {""};
    int rc = brg_gradlog_open(&c, &log, &why);
    uint64_t step = 1;
    for (; step < 10000 && rc == BRG_OK; step++) {
        last = e;
        fill(step);
        rc = brg_gradlog_append(log, step, 1, data, &e, &why);
    }
    (void)fprintf(stderr, "step %llu says: %s\n", (unsigned long long)step - 1, why.text);
    if (rc != BRG_ENOSPC || strstr(why.text, "make room") == NULL) return 2;
    if (brg_gradlog_append(log, step - 1, 1, data, &e, NULL) != BRG_ENOSPC) return 3;
    brg_gradlog_close(&log);

    /* Started again, it holds what was committed, and the step that failed left nothing. */
    last = e;
    const struct brg_gradlog_config again = config_of(0, last.step, &last);
    if (brg_gradlog_open(&again, &log, &why) != BRG_OK) return 4;
    if (brg_gradlog_read(log, &last, read_back, NULL) != BRG_OK) return 5;
    last.step++;
    last.place.offset += last.place.size_bytes;
    if (brg_gradlog_read(log, &last, read_back, NULL) != BRG_ECORRUPT) return 6;
    brg_gradlog_close(&log);
    return 0;
}

static int append_limited(const char *path) {
    (void)path;
    folder_limit_files(HEADER + 50 * RECORD + 100);
    return append_until_full();
}

static void gradlog_file_limit_reached__stops_and_keeps_what_was_synced(void **state) {
    (void)state;
    assert_int_equal(folder_in_child(append_limited, folder), 0);
}

static int append_on_small_disk(const char *path) {
    if (folder_small_disk(path, 1 << 20) != 0) return FOLDER_MAY_NOT;
    return append_until_full();
}

static void gradlog_disk_full__stops_and_keeps_what_was_synced(void **state) {
    (void)state;
    const int status = folder_in_child(append_on_small_disk, folder);
    if (status == FOLDER_MAY_NOT) skip();
    assert_int_equal(status, 0);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(gradlog_restart__reads_back_every_bit),
        TEST(gradlog_step_out_of_turn__is_refused),
        TEST(gradlog_uncommitted_record__is_cut_off),
        TEST(gradlog_torn_tail__keeps_what_was_committed),
        TEST(gradlog_torn_new_segment__is_made_again),
        TEST(gradlog_flipped_bit__is_found_and_the_file_named),
        TEST(gradlog_short_or_missing_segment__is_refused),
        TEST(gradlog_entry_of_another_step__does_not_verify),
        TEST(gradlog_of_another_run_or_size__is_refused),
        TEST(gradlog_ahead_of_the_store__refuses_untouched),
        TEST(gradlog_checkpoint__drops_what_is_needless_and_no_more),
        TEST(gradlog_killed_before_dropping__drops_at_the_next_start),
        TEST(gradlog_too_many_segments__is_an_error_that_says_why),
        TEST(gradlog_killed_anywhere__has_every_record_it_told),
        TEST(gradlog_file_limit_reached__stops_and_keeps_what_was_synced),
        TEST(gradlog_disk_full__stops_and_keeps_what_was_synced),
    };
#undef TEST
    return cmocka_run_group_tests_name("gradlog", tests, NULL, NULL) != 0;
}
