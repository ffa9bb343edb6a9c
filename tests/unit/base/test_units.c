#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/option.h"
#include "base/prng.h"
#include "base/units.h"

static void units_durations__are_read_in_every_unit(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } rows[] = {
        {"0s", 0},
        {"7ns", 7},
        {"30s", 30 * BRG_NS_PER_S},
        {"1.5s", 1500 * BRG_NS_PER_MS},
        {"250 ms", 250 * BRG_NS_PER_MS},
        {"2min", 120 * BRG_NS_PER_S},
        {"0.5h", 1800 * BRG_NS_PER_S},
        {"1d", 86400 * BRG_NS_PER_S},
        {"0.000000001s", 1},
        {"18446744073709551615ns", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t ns = 99;
        assert_int_equal(brg_duration_parse(rows[i].text, &ns), BRG_OK);
        assert_true(ns == rows[i].ns);
    }
}

static void units_without_or_with_a_wrong_unit__are_refused(void **state) {
    (void)state;
    static const char *const durations[] = {"",       "30",    "s",     "30 ",  "30  s", " 30s",
                                            "30m",    "30S",   "-1s",   "1e3s", "1.s",   ".5s",
                                            "1.2.3s", "0.5ns", "30sec", "0x1s", "30s ",  "1,5s"};
    uint64_t v = 77;
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        assert_int_equal(brg_duration_parse(durations[i], &v), BRG_EINVAL);
    }
    assert_int_equal(brg_duration_parse("18446744073709551616ns", &v), BRG_EINVAL);
    assert_int_equal(brg_duration_parse("213504d", &v), BRG_EINVAL);
    assert_int_equal(brg_duration_parse("0.0000000000000000001s", &v), BRG_EINVAL);
    assert_int_equal(brg_size_parse("64", &v), BRG_EINVAL);
    assert_int_equal(brg_size_parse("64Mb", &v), BRG_EINVAL);
    assert_int_equal(brg_size_parse("0.3B", &v), BRG_EINVAL);
    assert_true(v == 77);
}

static void units_sizes__tell_1024_from_1000(void **state) {
    (void)state;
    uint64_t v;
    assert_int_equal(brg_size_parse("64MiB", &v), BRG_OK);
    assert_true(v == UINT64_C(64) << 20);
    assert_int_equal(brg_size_parse("64MB", &v), BRG_OK);
    assert_true(v == UINT64_C(64000000));
    assert_int_equal(brg_size_parse("0.5 KiB", &v), BRG_OK);
    assert_true(v == 512);
    assert_int_equal(brg_size_parse("16777216TiB", &v), BRG_EINVAL); /* 2^64 */
}

static void units_shares__are_millionths_up_to_the_whole(void **state) {
    (void)state;
    uint32_t v = 5;
    assert_int_equal(brg_share_parse("5%", &v), BRG_OK);
    assert_int_equal(v, 50000);
    assert_int_equal(brg_share_parse("0.0001%", &v), BRG_OK);
    assert_int_equal(v, 1);
    assert_int_equal(brg_share_parse("100%", &v), BRG_OK);
    assert_int_equal(v, BRG_SHARE_ONE_PPM);
    assert_int_equal(brg_share_parse("100.0001%", &v), BRG_EINVAL);
    assert_int_equal(brg_share_parse("0.05", &v), BRG_EINVAL);
    assert_int_equal(v, BRG_SHARE_ONE_PPM);
}

static void units_text__parses_back_to_the_same_number(void **state) {
    (void)state;
    struct brg_prng g = {3};
    char text[BRG_UNITS_TEXT_BYTES];
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t n = brg_prng_next(&g) >> (i % 64), v = ~n;
        if (i % 2) n -= n % BRG_NS_PER_MS;
        assert_int_equal(brg_duration_parse(brg_duration_text(n, text), &v), BRG_OK);
        assert_true(v == n);
        n &= ~UINT64_C(0) << (i % 50);
        assert_int_equal(brg_size_parse(brg_size_text(n, text), &v), BRG_OK);
        assert_true(v == n);
        uint32_t ppm = (uint32_t)(n % 1000001), back = ~ppm;
        assert_int_equal(brg_share_parse(brg_share_text(ppm, text), &back), BRG_OK);
        assert_int_equal(back, ppm);
    }
}

static void units_text__is_what_people_write(void **state) {
    (void)state;
    char text[BRG_UNITS_TEXT_BYTES];
    assert_string_equal(brg_duration_text(60 * BRG_NS_PER_S, text), "60s");
    assert_string_equal(brg_duration_text(BRG_NS_PER_S, text), "1s");
    assert_string_equal(brg_duration_text(500 * BRG_NS_PER_MS, text), "500ms");
    assert_string_equal(brg_duration_text(7200 * BRG_NS_PER_S, text), "2h");
    assert_string_equal(brg_size_text(UINT64_C(64) << 20, text), "64MiB");
    assert_string_equal(brg_size_text(1000, text), "1000B");
    assert_string_equal(brg_share_text(25000, text), "2.5%");
    assert_string_equal(brg_share_text(0, text), "0%");
    assert_string_equal(brg_size_about(3365929, text), "3.21 MiB");
    assert_string_equal(brg_size_about(100, text), "100 B");
}

static void option_sources__rank_flag_environment_file_default(void **state) {
    (void)state;
    struct brg_option o = {.name = "log-test-x", .flag = "a", .file = "c", .fallback = "d"};
    enum brg_option_source from;
    assert_int_equal(setenv("BRIGADE_LOG_TEST_X", "b", 1), 0);
    assert_string_equal(brg_option_value(&o, &from), "a");
    assert_int_equal(from, BRG_OPTION_FLAG);
    o.flag = NULL;
    assert_string_equal(brg_option_value(&o, &from), "b");
    assert_int_equal(from, BRG_OPTION_ENVIRONMENT);
    assert_int_equal(setenv("BRIGADE_LOG_TEST_X", "", 1), 0);
    assert_string_equal(brg_option_value(&o, &from), "c");
    assert_int_equal(from, BRG_OPTION_FILE);
    o.file = NULL;
    assert_string_equal(brg_option_value(&o, &from), "d");
    assert_int_equal(from, BRG_OPTION_DEFAULT);
    o.fallback = NULL;
    assert_null(brg_option_value(&o, NULL));
    assert_int_equal(unsetenv("BRIGADE_LOG_TEST_X"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_durations__are_read_in_every_unit),
        cmocka_unit_test(units_without_or_with_a_wrong_unit__are_refused),
        cmocka_unit_test(units_sizes__tell_1024_from_1000),
        cmocka_unit_test(units_shares__are_millionths_up_to_the_whole),
        cmocka_unit_test(units_text__parses_back_to_the_same_number),
        cmocka_unit_test(units_text__is_what_people_write),
        cmocka_unit_test(option_sources__rank_flag_environment_file_default),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL) != 0;
}
