#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/fixture.h"

#include <string.h>

static void scheme_bad_spec__is_refused_with_a_sentence_that_proposes_another(void **state) {
    (void)state;
    const struct {
        uint32_t kind, n, s, chunks;
        const char *proposal;
    } cases[] = {
        {0, 8, 1, 16, "use none, frc, cyclic, sr-sgc, m-sgc or speculative"},
        {9, 8, 1, 16, "use none, frc, cyclic, sr-sgc, m-sgc or speculative"},
        {BRG_CODE_FRC, 0, 0, 16, "set n to 1 .. 1024"},
        {BRG_CODE_FRC, 1025, 1, 1024, "set n to 1 .. 1024"},
        {BRG_CODE_FRC, 4, 4, 16, "set s to at most 3"},
        {BRG_CODE_CYCLIC, 4, UINT32_MAX, 16, "set s to at most 3"},
        {BRG_CODE_FRC, 4, 1, 0, "set chunks to 1 .. 65536"},
        {BRG_CODE_FRC, 4, 1, 65537, "set chunks to 1 .. 65536"},
        {BRG_CODE_FRC, 4, 1, 2050, "set chunks to less than 2050 or use more workers"},
        {BRG_CODE_NONE, 8, 1, 16, "set s to 0 or use the code frc"},
        {BRG_CODE_NONE, 8, 0, 7, "set chunks to 8 or more"},
        {BRG_CODE_FRC, 8, 1, 3, "set chunks to 4 or more"},
        {BRG_CODE_CYCLIC, 6, 1, 16, "set chunks to 18"},
        {BRG_CODE_CYCLIC, 6, 1, 5, "set chunks to 6"},
        {BRG_CODE_CYCLIC, 1000, 1, 1001, "set chunks to 2000"},
        {BRG_CODE_CYCLIC, 1000, 1, 65001, "set chunks to 65000"},
        {BRG_CODE_CYCLIC, 128, 65, 128, "s is at most 64, or use the code frc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct brg_code_spec spec =
            spec_of(cases[i].kind, cases[i].n, cases[i].s, cases[i].chunks);
        struct brg_why why = {""};
        struct brg_scheme *nowhere = NULL; /* refused before it is touched */
        assert_int_equal(brg_scheme_check(&spec, &why), BRG_EINVAL);
        if (strstr(why.text, cases[i].proposal) == NULL) fail_msg("case %zu: %s", i, why.text);
        assert_int_equal(brg_scheme_check(&spec, NULL), BRG_EINVAL);
        assert_int_equal(brg_scheme_size_bytes(&spec), 0);
        assert_int_equal(brg_scheme_init(nowhere, 0, &spec, NULL), BRG_EINVAL);
    }
}

/* Loads that the papers' formulas give: (s + 1) / n, of gradient coding and of the codes inside
 * SR-SGC with (B, W, lambda) = (2, 3, 23) and (4, 9, 22). */
static void scheme_load__is_s_plus_one_over_n(void **state) {
    (void)state;
    const struct {
        uint32_t kind, n, s;
        double load;
    } cases[] = {
        {BRG_CODE_CYCLIC, 4, 2, 0.75},
        {BRG_CODE_CYCLIC, 4, 1, 0.5},
        {BRG_CODE_CYCLIC, 256, 15, 0.0625},
        {BRG_CODE_FRC, 256, 15, 0.0625},
        {BRG_CODE_CYCLIC, 256, 12, 0.05078125},
        {BRG_CODE_CYCLIC, 256, 8, 0.03515625},
        {BRG_CODE_NONE, 256, 0, 0.00390625},
        {BRG_CODE_FRC, 4, 1, 0.5},
        {BRG_CODE_FRC, 5, 1, 0.6}, /* two groups share five chunks: 3 and 2 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint32_t n = cases[i].n;
        const struct brg_code_spec spec = spec_of(cases[i].kind, n, cases[i].s, n);
        struct brg_scheme *s = scheme_of(&spec);
        assert_true((double)brg_scheme_load_chunks(s) / n == cases[i].load);
        free(s);
    }
}

static void scheme_without_delay__gives_each_position_the_unit_of_its_group(void **state) {
    (void)state;
    for (uint32_t kind = BRG_CODE_NONE; kind <= BRG_CODE_CYCLIC; kind++) {
        const struct brg_code_spec spec = spec_of(kind, 11, kind == BRG_CODE_NONE ? 0 : 2, 11);
        struct brg_scheme *s = scheme_of(&spec);
        const struct brg_bits none = {{0}};
        assert_int_equal(brg_scheme_delay(s), 0);
        assert_int_equal(brg_scheme_jobs(s), 1);
        assert_memory_equal(brg_scheme_spec(s), &spec, sizeof spec);
        for (uint32_t p = 0; p < 11; p++) {
            struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
            assert_int_equal(brg_scheme_assign(s, p, &none, p, tasks), 1);
            assert_int_equal(tasks[0].delta, 0);
            assert_int_equal(tasks[0].unit, brg_scheme_group_of(s, p));
            if (kind == BRG_CODE_CYCLIC) assert_int_equal(tasks[0].unit, p);
        }
        free(s);
    }
}

static void scheme_commit__leaves_an_empty_set_for_the_next_round(void **state) {
    (void)state;
    for (uint32_t kind = BRG_CODE_NONE; kind <= BRG_CODE_CYCLIC; kind++) {
        const struct brg_code_spec spec = spec_of(kind, 6, kind == BRG_CODE_NONE ? 0 : 1, 6);
        struct brg_scheme *s = scheme_of(&spec);
        struct brg_bits have;
        brg_bits_fill(&have, brg_scheme_unit_count(s));
        for (uint64_t round = 5; round < 8; round++) {
            brg_bits_fill(&have, brg_scheme_unit_count(s));
            brg_scheme_commit(s, round, &have);
            assert_int_equal(brg_bits_count(&have), 0);
        }
        free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scheme_bad_spec__is_refused_with_a_sentence_that_proposes_another),
        cmocka_unit_test(scheme_load__is_s_plus_one_over_n),
        cmocka_unit_test(scheme_without_delay__gives_each_position_the_unit_of_its_group),
        cmocka_unit_test(scheme_commit__leaves_an_empty_set_for_the_next_round),
    };
    return cmocka_run_group_tests_name("scheme", tests, NULL, NULL) != 0;
}
