#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* A line of log through a real pipe. */
struct fixture {
    int fds[2];
    char line[BRG_LOG_LINE_BYTES * 4];
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL || pipe(f->fds) != 0) return -1;
    brg_log_configure(BRG_LOG_INFO, BRG_LOG_TEXT);
    brg_log_to(f->fds[1]);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    brg_log_to(STDERR_FILENO);
    close(f->fds[0]);
    close(f->fds[1]);
    free(f);
    return 0;
}

static const char *read_line(struct fixture *f) {
    ssize_t n = read(f->fds[0], f->line, sizeof f->line - 1);
    assert_true(n > 0);
    f->line[n] = 0;
    return f->line;
}

/* What follows the time. */
static const char *after_time(struct fixture *f) {
    const char *line = read_line(f);
    assert_int_equal(strlen("2026-01-31T12:00:00.123456Z"), 27);
    assert_true(strlen(line) > 28);
    assert_int_equal(line[27], ' ');
    return line + 28;
}

static void log_text__has_time_level_component_message_and_fields(void **state) {
    struct fixture *f = *state;
    time_t before = time(NULL);
    brg_log_info("round",
                 BRG_FIELDS(BRG_U64("step", UINT64_MAX), BRG_I64("delta", -3), BRG_F64("loss", 1.5),
                            BRG_STR("worker", "w1"), BRG_STR("why", "too late = lost")),
                 "step %d committed", 7);
    const char *line = read_line(f);
    struct tm tm = {0};
    const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%S", &tm);
    assert_non_null(rest);
    time_t said = timegm(&tm);
    assert_true(said >= before && said <= time(NULL));
    assert_int_equal(rest[0], '.');
    assert_int_equal(rest[7], 'Z');
    assert_string_equal(line + 27,
                        " info round: step 7 committed step=18446744073709551615 delta=-3"
                        " loss=1.5 worker=w1 why=\"too late = lost\"\n");
}

static void log_json__is_one_object_a_line(void **state) {
    struct fixture *f = *state;
    brg_log_configure(BRG_LOG_INFO, BRG_LOG_JSON);
    brg_log_warn("wire",
                 BRG_FIELDS(BRG_U64("n", 1), BRG_F64("bad", (double)NAN), BRG_STR("s", NULL)),
                 "say \"%s\"", "a\\b\n\x01");
    const char *line = strstr(read_line(f), "\"level\"");
    assert_non_null(line);
    assert_string_equal(line,
                        "\"level\":\"warn\",\"component\":\"wire\",\"message\":"
                        "\"say \\\"a\\\\b\\u000a\\u0001\\\"\",\"n\":1,\"bad\":null,\"s\":\"\"}\n");
}

static void log_hostile_text__cannot_start_a_line_of_its_own(void **state) {
    struct fixture *f = *state;
    brg_log_error("wire", BRG_FIELDS(BRG_STR("name", "x\n2026 fake\x1b[2J\xc2\x9b\xff\xc3")),
                  "peer %s said", "evil\r\n");
    assert_string_equal(after_time(f), "error wire: peer evil\\x0d\\x0a said"
                                       " name=\"x\\x0a2026 fake\\x1b[2J\\x9b\\xff\\xc3\"\n");
    brg_log_configure(BRG_LOG_INFO, BRG_LOG_JSON);
    brg_log_error("wire", BRG_FIELDS(BRG_STR("name", "\xed\xa0\x80\xc0\xaf\xf5 \xe2\x82\xac")),
                  "m");
    assert_non_null(strstr(read_line(f), "\"name\":\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd "
                                         "\xe2\x82\xac\"}\n"));
}

static void log_level__leaves_out_what_is_above_it(void **state) {
    struct fixture *f = *state;
    brg_log_debug("x", NULL, "not written");
    assert_false(brg_log_enabled(BRG_LOG_DEBUG));
    brg_log_info("x", NULL, "written");
    assert_string_equal(after_time(f), "info x: written\n");
    brg_log_configure(BRG_LOG_DEBUG, BRG_LOG_TEXT);
    brg_log_debug("x", NULL, "now");
    assert_string_equal(after_time(f), "debug x: now\n");
}

static void log_long_line__is_cut_and_stays_well_formed(void **state) {
    struct fixture *f = *state;
    static char big[3 * BRG_LOG_LINE_BYTES];
    memset(big, '\x01', sizeof big - 1); /* each byte takes six in JSON */
    for (int json = 0; json < 2; json++) {
        brg_log_configure(BRG_LOG_INFO, json ? BRG_LOG_JSON : BRG_LOG_TEXT);
        brg_log_info("x", BRG_FIELDS(BRG_STR("a", big), BRG_U64("b", 1)), "%s", big);
        const char *line = read_line(f);
        size_t n = strlen(line);
        assert_true(n <= BRG_LOG_LINE_BYTES);
        assert_int_equal(line[n - 1], '\n');
        const char *end = json ? "\",\"cut\":true}\n" : " cut=true\n";
        assert_string_equal(line + n - strlen(end), end);
    }
}

static void log_nobody_reads__drops_lines_and_says_how_many(void **state) {
    struct fixture *f = *state;
    struct timespec a, b;
    uint64_t before = brg_log_dropped();
    char fill[4096] = {0};
    assert_int_equal(fcntl(f->fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(f->fds[1], fill, sizeof fill) > 0) {
    }
    assert_int_equal(fcntl(f->fds[1], F_SETFL, 0), 0); /* blocking, as standard error is */
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 50; i++) {
        errno = 1234;
        brg_log_info("x", NULL, "lost %d", i);
        assert_int_equal(errno, 1234);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true(b.tv_sec - a.tv_sec < 3); /* one wait of 100 ms, not fifty */
    assert_int_equal(brg_log_dropped() - before, 50);

    assert_int_equal(fcntl(f->fds[0], F_SETFL, O_NONBLOCK), 0);
    while (read(f->fds[0], fill, sizeof fill) > 0) {
    }
    brg_log_info("x", NULL, "back");
    assert_string_equal(after_time(f), "info x: back lines_dropped=50\n");
    brg_log_info("x", NULL, "again");
    assert_string_equal(after_time(f), "info x: again\n");
}

static void log_full_disk__is_counted_and_errno_kept(void **state) {
    uint64_t before = brg_log_dropped();
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    brg_log_to(fd);
    errno = 1234;
    brg_log_error("x", NULL, "no room");
    assert_int_equal(errno, 1234);
    assert_int_equal(brg_log_dropped() - before, 1);
    struct fixture *f = *state;
    brg_log_to(f->fds[1]);
    brg_log_error("x", NULL, "room");
    assert_string_equal(after_time(f), "error x: room lines_dropped=1\n");
    close(fd);
}

#define THREADS 4
#define EACH 200

static void *chatter(void *arg) {
    static const char text[] = "abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < EACH; i++) {
        brg_log_info("t", BRG_FIELDS(BRG_U64("i", (uint64_t)i)), "%s", text);
        brg_log_configure(BRG_LOG_INFO, BRG_LOG_TEXT);
    }
    return arg;
}

static void log_threads__never_mix_their_lines(void **state) {
    struct fixture *f = *state;
    pthread_t threads[THREADS];
    char line[256];
    FILE *in = fdopen(dup(f->fds[0]), "r");
    assert_non_null(in);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, NULL), 0);
    }
    for (int i = 0; i < THREADS * EACH; i++) {
        assert_non_null(fgets(line, sizeof line, in));
        int at = 0;
        unsigned number;
        assert_int_equal(sscanf(line + 27,
                                " info t: abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz"
                                " i=%u%n",
                                &number, &at),
                         1);
        assert_int_equal(line[27 + at], '\n');
    }
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    fclose(in);
}

static void log_words__are_parsed_or_refused(void **state) {
    (void)state;
    enum brg_log_level level;
    enum brg_log_format format;
    assert_int_equal(brg_log_level_parse("debug", &level), BRG_OK);
    assert_int_equal(level, BRG_LOG_DEBUG);
    assert_int_equal(brg_log_level_parse("error", &level), BRG_OK);
    assert_int_equal(level, BRG_LOG_ERROR);
    assert_int_equal(brg_log_level_parse("loud", &level), BRG_EINVAL);
    assert_int_equal(brg_log_format_parse("json", &format), BRG_OK);
    assert_int_equal(format, BRG_LOG_JSON);
    assert_int_equal(brg_log_format_parse("xml", &format), BRG_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(log_text__has_time_level_component_message_and_fields,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(log_json__is_one_object_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(log_hostile_text__cannot_start_a_line_of_its_own, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(log_level__leaves_out_what_is_above_it, setup, teardown),
        cmocka_unit_test_setup_teardown(log_long_line__is_cut_and_stays_well_formed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(log_nobody_reads__drops_lines_and_says_how_many, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(log_full_disk__is_counted_and_errno_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(log_threads__never_mix_their_lines, setup, teardown),
        cmocka_unit_test(log_words__are_parsed_or_refused),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL) != 0;
}
