/* What workers took: kept in order over restarts, bounded, and never in the way of the run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/shell/delays.h"
#include "tests/unit/coordinator_shell/folder.h"

static char folder[FOLDER_PATH_BYTES];

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

static struct brg_delay delay_of(uint64_t round, uint32_t member) {
    return (struct brg_delay){.round = round,
                              .ns = round * 1000 + member,
                              .member = member,
                              .chunks = 1 + member,
                              .total = 16,
                              .censored = member == 3};
}

static void add_rounds(struct brg_delays *d, uint64_t first, uint64_t count) {
    for (uint64_t round = first; round < first + count; round++) {
        for (uint32_t member = 0; member < 4; member++) {
            const struct brg_delay delay = delay_of(round, member);
            brg_delays_add(d, &delay);
        }
    }
}

static void delays_of_several_starts__are_one_record_of_the_run(void **state) {
    (void)state;
    struct brg_delays *d = NULL;
    struct brg_delay got[64];
    uint32_t count = 0;
    uint64_t next = 0;
    brg_delays_open(folder, &d);
    add_rounds(d, 5, 3); /* the process's rounds begin anywhere */
    brg_delays_close(&d);
    brg_delays_open(folder, &d);
    add_rounds(d, 1, 2);
    brg_delays_flush(d);
    assert_int_equal(brg_delays_read(folder, 0, got, 64, &count, &next), BRG_OK);
    assert_int_equal(count, 20);
    assert_int_equal(next, 20);
    for (uint32_t i = 0; i < count; i++) {
        const struct brg_delay want = delay_of(i < 12 ? 5 + i / 4 : 1 + (i - 12) / 4, i % 4);
        assert_int_equal(got[i].round, 1 + i / 4);
        assert_int_equal(got[i].ns, want.ns);
        assert_int_equal(got[i].member, want.member);
        assert_int_equal(got[i].chunks, want.chunks);
        assert_int_equal(got[i].censored, want.censored);
    }
    assert_int_equal(brg_delays_read(folder, next, got, 64, &count, &next), BRG_OK);
    assert_int_equal(count, 0);
    brg_delays_close(&d);
    assert_null(d);
}

static void delays_torn_end__is_cut_off(void **state) {
    (void)state;
    struct brg_delays *d = NULL;
    struct brg_delay got[16];
    char path[FOLDER_PATH_BYTES + 16];
    uint32_t count = 0;
    uint64_t next = 0;
    brg_delays_open(folder, &d);
    add_rounds(d, 1, 2);
    brg_delays_close(&d);
    (void)snprintf(path, sizeof path, "%s/delays.bin", folder);
    assert_int_equal(truncate(path, 32 + 8 * 32 - 5), 0);
    brg_delays_open(folder, &d);
    add_rounds(d, 1, 1);
    brg_delays_close(&d);
    assert_int_equal(brg_delays_read(folder, 0, got, 16, &count, &next), BRG_OK);
    assert_int_equal(count, 11);
    assert_int_equal(got[6].round, 2);
    assert_int_equal(got[7].round, 3); /* of the next start */
}

static void delays_file_that_is_full__gives_way_and_numbers_go_on(void **state) {
    (void)state;
    struct brg_delays *d = NULL;
    static struct brg_delay got[4096];
    char path[FOLDER_PATH_BYTES + 32];
    struct stat st;
    uint32_t count = 0;
    uint64_t next = 0, seen = 0;
    const uint64_t rounds = 5 * BRG_DELAYS_FILE_RECORDS / 8; /* two and a half files of records */
    brg_delays_open(folder, &d);
    add_rounds(d, 1, rounds);
    brg_delays_close(&d);
    (void)snprintf(path, sizeof path, "%s/delays.bin", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size <= (off_t)(64 + BRG_DELAYS_FILE_RECORDS * 32));
    (void)snprintf(path, sizeof path, "%s/delays.old.bin", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(brg_delays_read(folder, 0, got, 4096, &count, &next), BRG_OK);
    assert_int_equal(next - count, BRG_DELAYS_FILE_RECORDS); /* the first file is given up */
    while (count > 0) {
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(got[i].round, 1 + (next - count + i) / 4);
        }
        seen += count;
        assert_int_equal(brg_delays_read(folder, next, got, 4096, &count, &next), BRG_OK);
    }
    assert_int_equal(next, 4 * rounds);
    assert_int_equal(seen, 4 * rounds - BRG_DELAYS_FILE_RECORDS);
}

static void delays_that_cannot_be_written__stop_nobody(void **state) {
    (void)state;
    struct brg_delays *d = NULL;
    struct brg_delay got[4];
    char gone[FOLDER_PATH_BYTES + 16];
    uint32_t count = 0;
    uint64_t next = 0;
    (void)snprintf(gone, sizeof gone, "%s/nowhere", folder);
    brg_delays_open(gone, &d);
    add_rounds(d, 1, BRG_DELAYS_PENDING_MAX);
    brg_delays_close(&d);
    assert_int_equal(brg_delays_read(gone, 0, got, 4, &count, &next), BRG_OK);
    assert_int_equal(count, 0);
}

static void delays_file_of_somebody_else__is_not_read(void **state) {
    (void)state;
    struct brg_delay got[4];
    char path[FOLDER_PATH_BYTES + 16];
    uint32_t count = 0;
    uint64_t next = 0;
    (void)snprintf(path, sizeof path, "%s/delays.bin", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 100; i++) fputs("not a recording ", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(brg_delays_read(folder, 0, got, 4, &count, &next), BRG_ECORRUPT);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(delays_of_several_starts__are_one_record_of_the_run),
        TEST(delays_torn_end__is_cut_off),
        TEST(delays_file_that_is_full__gives_way_and_numbers_go_on),
        TEST(delays_that_cannot_be_written__stop_nobody),
        TEST(delays_file_of_somebody_else__is_not_read),
    };
#undef TEST
    return cmocka_run_group_tests_name("delays", tests, NULL, NULL) != 0;
}
