#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/sequence.h"

#include <string.h>

static void scheme_bad_spec__is_refused_with_a_sentence_that_proposes_another(void **state) {
    (void)state;
    const struct {
        uint32_t kind, n, s, chunks;
        const char *proposal;
    } cases[] = {
        {0, 8, 1, 16, "use none, frc, cyclic, dct, sr-sgc, m-sgc or speculative"},
        {9, 8, 1, 16, "use none, frc, cyclic, dct, sr-sgc, m-sgc or speculative"},
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

/* A setting that a code does not have is a misunderstanding that only the user can clear up. */
static void scheme_setting_of_another_code__is_refused_with_its_name(void **state) {
    (void)state;
    const struct {
        struct brg_code_spec spec;
        const char *sentence;
    } cases[] = {
        {{.kind = BRG_CODE_FRC, .s = 1, .b = 1}, "the code frc has no setting b, but it is 1"},
        {{.kind = BRG_CODE_FRC, .s = 1, .w = 3}, "frc has no setting w"},
        {{.kind = BRG_CODE_NONE, .lambda = 3}, "none has no setting lambda"},
        {{.kind = BRG_CODE_NONE, .delay = 1}, "none has no setting delay"},
        {{.kind = BRG_CODE_CYCLIC, .s = 1, .base = 1}, "cyclic has no setting base"},
        {{.kind = BRG_CODE_CYCLIC, .s = 1, .parts = 2}, "cyclic has no setting parts"},
        {{.kind = BRG_CODE_SPECULATIVE, .delay = 1}, "speculative has no setting delay"},
        {{.kind = BRG_CODE_SPECULATIVE, .s = 1}, "speculative has no redundancy"},
        {{.kind = BRG_CODE_SR_SGC, .s = 1, .b = 1, .w = 2, .lambda = 2, .base = 1},
         "sr-sgc has no setting s"},
        {{.kind = BRG_CODE_M_SGC, .parts = 2, .b = 1, .w = 2, .lambda = 8}, "no setting parts"},
        {{.kind = BRG_CODE_FRC, .s = 1, .parts = 9}, "set parts to 1 .. 8"},
        {{.kind = BRG_CODE_FRC, .s = 1, .parts = 5, .delay = 1}, "set parts to 1 .. 4"},
        {{.kind = BRG_CODE_FRC, .s = 1, .delay = 2}, "set delay to 0, or to 1"},
        {{.kind = BRG_CODE_FRC, .s = 1, .parts = 5}, "set chunks to 20 or more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct brg_code_spec spec = cases[i].spec;
        struct brg_why why = {""};
        spec.n = 8;
        spec.chunks = 16;
        assert_int_equal(brg_scheme_check(&spec, &why), BRG_EINVAL);
        if (strstr(why.text, cases[i].sentence) == NULL) fail_msg("case %zu: %s", i, why.text);
        assert_int_equal(brg_scheme_plan_size_bytes(&spec), 0);
        assert_int_equal(brg_scheme_init_plan(NULL, 0, &spec, NULL), BRG_EINVAL);
    }
    struct brg_code_spec many = spec_of(BRG_CODE_NONE, 1000, 0, 8000);
    struct brg_why why = {""};
    many.parts = 2;
    assert_int_equal(brg_scheme_check(&many, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "set parts to 1 or less"));
}

/* A plan without matrices does in each round what the code itself does. */
static void scheme_plan__plans_as_the_code_itself(void **state) {
    (void)state;
    const uint32_t sr = BRG_CODE_SR_SGC, m = BRG_CODE_M_SGC;
    struct brg_code_spec specs[] = {
        spec_of(BRG_CODE_NONE, 6, 0, 40), spec_of(BRG_CODE_SPECULATIVE, 6, 0, 40),
        spec_of(BRG_CODE_FRC, 9, 2, 40),  spec_of(BRG_CODE_CYCLIC, 9, 3, 18),
        sequential_of(sr, 9, 2, 3, 4, 2), sequential_of(sr, 9, 2, 3, 4, 1),
        sequential_of(m, 9, 2, 3, 9, 0),  sequential_of(m, 9, 2, 3, 3, 2),
        sequential_of(m, 9, 1, 3, 2, 1),
    };
    specs[0].parts = 3;
    specs[1].parts = 6;
    specs[2].parts = 4;
    specs[2].delay = 1;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct brg_scheme *s = scheme_of(&specs[i]), *plan = plan_of(&specs[i]);
        struct brg_prng r = {i + 1};
        assert_true(brg_scheme_plan_size_bytes(&specs[i]) <= 256);
        assert_int_equal(brg_scheme_unit_count(s), brg_scheme_unit_count(plan));
        assert_int_equal(brg_scheme_load_chunks(s), brg_scheme_load_chunks(plan));
        for (uint32_t time = 0; time < 300; time++) {
            struct brg_bits have[BRG_SCHEME_JOBS_MAX] = {{{0}}}, a[BRG_SCHEME_JOBS_MAX],
                            b[BRG_SCHEME_JOBS_MAX];
            const uint64_t percent = brg_prng_below(&r, 101);
            const uint32_t jobs = brg_scheme_jobs(s);
            for (uint32_t k = 0; k < jobs * brg_scheme_unit_count(s); k++) {
                if (brg_prng_below(&r, 100) < percent) brg_bits_add(&have[k % jobs], k / jobs);
            }
            assert_int_equal(brg_scheme_may_end(s, time, have),
                             brg_scheme_may_end(plan, time, have));
            assert_int_equal(brg_scheme_missing(s, time, have, a),
                             brg_scheme_missing(plan, time, have, b));
            assert_memory_equal(a, b, jobs * sizeof *a);
            for (uint32_t p = 0; p < specs[i].n; p++) {
                struct brg_minitask of_s[BRG_SCHEME_MINITASKS_MAX], of_plan[8];
                const uint32_t count = brg_scheme_assign(s, time, have, p, of_s);
                assert_int_equal(brg_scheme_assign(plan, time, have, p, of_plan), count);
                assert_memory_equal(of_s, of_plan, count * sizeof *of_s);
                assert_int_equal(brg_scheme_group_of(s, p), brg_scheme_group_of(plan, p));
            }
        }
        free(s);
        free(plan);
    }
}

/* Jobs before the first and after the last are full sets: nobody works for them. */
static void scheme_absent_jobs__get_no_work_and_hold_nothing_up(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {sequential_of(BRG_CODE_SR_SGC, 9, 2, 3, 4, 1),
                                          sequential_of(BRG_CODE_SR_SGC, 9, 2, 3, 4, 2),
                                          sequential_of(BRG_CODE_M_SGC, 9, 2, 3, 9, 0),
                                          sequential_of(BRG_CODE_M_SGC, 9, 2, 3, 3, 2),
                                          spec_of(BRG_CODE_FRC, 9, 2, 9),
                                          spec_of(BRG_CODE_CYCLIC, 9, 2, 9)};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct brg_scheme *s = scheme_of(&specs[i]);
        struct sequence q = sequence_of(s, 0);
        absent(&q, 0);
        for (uint32_t p = 0; p < 9; p++) {
            struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
            assert_int_equal(brg_scheme_assign(s, 0, q.have, p, tasks), 0);
        }
        assert_true(may_end(&q));
        free(s);
    }
}

static void scheme_steps_of_models__take_turns(void **state) {
    (void)state;
    for (uint32_t models = 1; models <= BRG_MODELS_MAX; models++) {
        uint64_t step = 1;
        for (uint64_t own = 1; own <= 5; own++) {
            for (uint32_t model = 0; model < models; model++, step++) {
                assert_int_equal(brg_model_of_step(step, models), model);
                assert_int_equal(brg_model_step(step, models), own);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scheme_bad_spec__is_refused_with_a_sentence_that_proposes_another),
        cmocka_unit_test(scheme_load__is_s_plus_one_over_n),
        cmocka_unit_test(scheme_without_delay__gives_each_position_the_unit_of_its_group),
        cmocka_unit_test(scheme_commit__leaves_an_empty_set_for_the_next_round),
        cmocka_unit_test(scheme_setting_of_another_code__is_refused_with_its_name),
        cmocka_unit_test(scheme_plan__plans_as_the_code_itself),
        cmocka_unit_test(scheme_absent_jobs__get_no_work_and_hold_nothing_up),
        cmocka_unit_test(scheme_steps_of_models__take_turns),
    };
    return cmocka_run_group_tests_name("scheme", tests, NULL, NULL) != 0;
}
