#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/sequence.h"

#define REP BRG_BASE_REPETITION
#define CYC BRG_BASE_CYCLIC

static struct brg_code_spec m_sgc(uint32_t n, uint32_t b, uint32_t w, uint32_t lambda,
                                  uint32_t base) {
    return sequential_of(BRG_CODE_M_SGC, n, b, w, lambda, base);
}

/* ---- the worked example: n = 4, b = 2, w = 3, lambda = 2, 3 jobs ---- */

/* Whether position p is given exactly the minitasks of `want`: "u1.0" D1 unit 1 of job 0, "c0.2"
 * part 0 of D2 of job 2, in any order; idle slots are left out. */
static void expect_tasks(const struct sequence *q, uint32_t p, const char *want) {
    struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
    const uint32_t count = brg_scheme_assign(q->scheme, q->round, q->have, p, tasks);
    uint32_t found = 0, wanted = 0;
    for (const char *w = want; *w != '\0'; w += w[4] == ' ' ? 5 : 4) {
        const uint32_t number = (uint32_t)(w[1] - '0'), job = (uint32_t)(w[3] - '0');
        const uint32_t unit = w[0] == 'u' ? p * 2 + number : 8 + number * 4 + p;
        wanted++;
        for (uint32_t k = 0; k < count; k++) {
            found += tasks[k].unit == unit && q->round - tasks[k].delta == job;
        }
    }
    if (count != wanted || found != wanted) {
        fail_msg("round %u position %u: %u tasks, %u of %u (%s) found", (unsigned)q->round, p,
                 count, found, wanted, want);
    }
}

static void m_sgc_worked_example__gives_the_published_tasks_round_by_round(void **state) {
    (void)state;
    static const struct {
        uint32_t late;
        const char *tasks[4];
    } rounds[] = {
        {0x1, {"u0.0", "u0.0", "u0.0", "u0.0"}},
        {0x3, {"u0.1 u1.0", "u0.1 u1.0", "u0.1 u1.0", "u0.1 u1.0"}},
        {0x0, {"u0.2 u1.1 u0.0", "u0.2 u1.1 u1.0", "u0.2 u1.1 c0.0", "u0.2 u1.1 c0.0"}},
        {0x0, {"u1.2 u0.1 u1.0", "u1.2 u0.1 c1.0", "u1.2 c0.1 c1.0", "u1.2 c0.1 c1.0"}},
        {0xc, {"c0.2 c1.1", "c0.2 c1.1", "c0.2 c1.1", "c0.2 c1.1"}},
        {0x0, {"c1.2", "c1.2", "c1.2", "c1.2"}},
    };
    /* Coded results of each part of D2 when the job of round - 3 is decoded. */
    static const uint32_t parts[6][2] = {{0}, {0}, {0}, {2, 3}, {2, 2}, {2, 4}};
    const struct brg_code_spec spec = m_sgc(4, 2, 3, 2, CYC);
    struct brg_scheme *s = scheme_of(&spec);
    struct gradients g = gradients_of(s);
    struct sequence q = sequence_of(s, 3);
    assert_int_equal(brg_scheme_delay(s), 3);
    assert_int_equal(brg_scheme_unit_count(s), 16);
    assert_int_equal(brg_scheme_load_chunks(s), 12); /* 3/8 of 32 */
    for (uint32_t u = 0; u < 16; u++) assert_int_equal(brg_scheme_unit_chunks(s, u), 3);
    for (uint32_t r = 0; r < 6; r++) {
        const struct brg_bits late = bits_of_mask(rounds[r].late);
        for (uint32_t p = 0; p < 4; p++) expect_tasks(&q, p, rounds[r].tasks[p]);
        play(&q, &late);
        assert_true(may_end(&q));
        for (uint32_t part = 0; r >= 3 && part < 2; part++) {
            struct brg_bits held;
            brg_bits_slice(due(&q), 8 + part * 4, 4, &held);
            assert_int_equal(brg_bits_count(&held), parts[r][part]);
        }
        assert_true(decode_error(s, due(&q), g.shares, g.g) < 1e-9);
        commit(&q);
    }
    gradients_free(&g);
    free(s);
}

static void m_sgc_load__is_the_published_one(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda;
        double load;
    } c[] = {
        {4, 2, 3, 2, 3.0 / 8.0},         {256, 1, 2, 27, 0.007543103448},
        {256, 1, 2, 52, 0.007667824074}, {256, 1, 2, 9, 0.007102272727},
        {256, 1, 2, 256, 0.0078125},     {256, 2, 3, 256, 4.0 / 512.0},
        {256, 1, 2, 31, 0.007575757576},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = m_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, CYC);
        struct brg_scheme *s = plan_of(&spec);
        const double load = (double)brg_scheme_load_chunks(s) / spec.chunks;
        const double n = c[i].n, bound = (c[i].w - 1.0 + c[i].b) /
                                         (n * (c[i].w - 1.0) + c[i].b * (n - c[i].lambda));
        assert_true(fabs(load - c[i].load) < 1e-11);
        assert_true(load >= bound - 1e-12);
        if (c[i].lambda == c[i].n) assert_true(fabs(load - bound) < 1e-12);
        assert_int_equal(brg_scheme_delay(s), c[i].w - 2 + c[i].b);
        free(s);
    }
}

/* Every chunk is in the recipes just once, counting a D2 chunk once for each part it is coded in.
 */
static void m_sgc_units__hold_every_chunk(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {
        m_sgc(4, 2, 3, 2, CYC), m_sgc(7, 1, 3, 2, REP), m_sgc(9, 2, 4, 2, REP),
        m_sgc(5, 3, 4, 5, 0),   m_sgc(6, 1, 2, 5, REP),
    };
    static struct brg_recipe recipe;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct brg_code_spec spec = specs[i];
        spec.chunks = spec.lambda == spec.n ? spec.chunks + 3 : spec.chunks * 2;
        struct brg_scheme *s = scheme_of(&spec);
        uint32_t *times = calloc(spec.chunks, sizeof *times), most = 0;
        assert_non_null(times);
        for (uint32_t u = 0; u < brg_scheme_unit_count(s); u++) {
            brg_scheme_recipe(s, u, &recipe);
            assert_int_equal(recipe.count, brg_scheme_unit_chunks(s, u));
            if (recipe.count > most) most = recipe.count;
            for (uint32_t k = 0; k < recipe.count; k++) times[recipe.chunk[k]]++;
        }
        const uint32_t d1 =
            spec.lambda == spec.n ? spec.chunks : spec.n * (spec.w - 1) * (spec.lambda + 1) * 2;
        for (uint32_t k = 0; k < spec.chunks; k++) {
            assert_int_equal(times[k], k < d1 || spec.base == REP ? 1 : spec.lambda + 1);
        }
        assert_true(brg_scheme_load_chunks(s) <= (spec.w - 1 + spec.b) * most);
        free(times);
        free(s);
    }
}

static void m_sgc_every_bursty_pattern__decodes_in_time(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs;
    } c[] = {{3, 1, 2, 1, 4}, {3, 1, 2, 2, 3}, {3, 1, 2, 3, 3}, {4, 1, 2, 2, 3}, {4, 2, 3, 2, 2},
             {3, 2, 3, 2, 3}, {3, 1, 3, 2, 3}, {3, 2, 4, 2, 2}, {3, 2, 3, 3, 2}};
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = m_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, CYC);
        const uint64_t patterns = walk_model(&spec, c[i].jobs, brg_pattern_model_of(&spec));
        if (i == 4) assert_int_equal(patterns, 2943);
        total += patterns;
    }
    assert_int_equal(total, 13158);
}

static void m_sgc_every_bursty_pattern_with_groups__decodes_in_time(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs;
    } c[] = {{4, 2, 3, 1, 2}, {4, 1, 2, 1, 3}, {5, 1, 2, 1, 2}, {5, 1, 2, 2, 2}, {3, 2, 4, 2, 2}};
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = m_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, REP);
        total += walk_model(&spec, c[i].jobs, brg_pattern_model_of(&spec));
    }
    assert_int_equal(total, 117 + 65 + 41 + 391 + 1255);
}

/* With every worker at most b times late in w + b - 1 rounds, in any order. */
static void m_sgc_every_arbitrary_pattern__decodes_in_time(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs, base;
    } c[] = {{3, 1, 2, 2, 3, CYC}, {3, 2, 3, 2, 2, CYC}, {4, 2, 3, 2, 1, CYC},
             {3, 1, 3, 2, 3, CYC}, {3, 2, 3, 3, 2, CYC}, {4, 1, 2, 4, 2, CYC},
             {4, 2, 3, 1, 2, REP}, {5, 1, 2, 2, 2, REP}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = m_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, c[i].base);
        const struct brg_pattern_model model = {.kind = BRG_PATTERN_ARBITRARY,
                                                .b = spec.b,
                                                .w = spec.w + spec.b - 1,
                                                .lambda = spec.lambda};
        assert_true(walk_model(&spec, c[i].jobs, model) > 50);
    }
}

/* b = 1, w = 2, n = 4, 4 rounds: 64,739 of 65,536 patterns are outside, and each loses a job. On
 * the way may_end is compared with what it means in every state. */
static void m_sgc_every_pattern_outside_the_model__loses_a_job(void **state) {
    (void)state;
    const struct brg_code_spec spec = m_sgc(4, 1, 2, 2, CYC);
    const struct control c = control_of(&spec, 3);
    assert_int_equal(c.outside, 64739);
    assert_int_equal(c.lost, 64739);
}

static void m_sgc_may_end__is_the_weakest_safe_rule(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs, base;
    } all[] = {{3, 1, 2, 1, 3, CYC}, {3, 1, 2, 3, 3, CYC}, {3, 2, 3, 1, 2, CYC},
               {3, 2, 3, 3, 2, 0},   {3, 1, 3, 2, 2, REP}, {4, 1, 2, 1, 2, REP}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct brg_code_spec spec =
            m_sgc(all[i].n, all[i].b, all[i].w, all[i].lambda, all[i].base);
        const struct control c = control_of(&spec, all[i].jobs);
        assert_true(c.outside > 0);
    }
}

static void m_sgc_missing__is_the_fewest_units_that_end_the_round(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {
        m_sgc(4, 2, 3, 2, CYC), m_sgc(6, 2, 3, 3, CYC), m_sgc(6, 3, 4, 6, 0),
        m_sgc(7, 2, 4, 2, REP), m_sgc(8, 1, 2, 3, REP), m_sgc(5, 4, 5, 2, CYC),
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) check_random_states(&specs[i], 8, 40);
}

static void m_sgc_random_patterns__decode_in_time(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs, times, base;
    } c[] = {{6, 2, 3, 3, 6, 400, CYC},   {6, 3, 4, 4, 6, 400, CYC},  {8, 2, 5, 4, 6, 300, CYC},
             {6, 4, 5, 3, 5, 300, CYC},   {7, 1, 2, 5, 8, 400, CYC},  {6, 2, 3, 2, 6, 400, REP},
             {8, 1, 2, 3, 6, 400, REP},   {32, 2, 3, 32, 8, 50, CYC}, {64, 2, 3, 15, 8, 10, REP},
             {256, 1, 2, 256, 6, 4, CYC}, {256, 1, 2, 31, 6, 4, REP}, {256, 2, 3, 256, 6, 4, CYC},
             {256, 1, 2, 100, 6, 3, REP}, {128, 1, 4, 12, 6, 3, REP}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = m_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, c[i].base);
        const struct walk bursty = {.conforms = conforms_published};
        const struct walk arbitrary = {.conforms = conforms_model,
                                       .model = {.kind = BRG_PATTERN_ARBITRARY,
                                                 .b = spec.b,
                                                 .w = spec.w + spec.b - 1,
                                                 .lambda = spec.lambda}};
        uint64_t refused = walk_random(&spec, c[i].jobs, c[i].times, bursty);
        refused += walk_random(&spec, c[i].jobs, c[i].times, arbitrary);
        assert_int_equal(refused, 0);
    }
}

/* The guards may ask for a unit more, but seldom. */
static void m_sgc_256_workers_over_a_random_matrix__decode_in_time(void **state) {
    (void)state;
    const struct brg_code_spec spec = m_sgc(256, 1, 2, 27, CYC);
    const struct walk w = {.conforms = conforms_published};
    assert_true(walk_random(&spec, 8, 4, w) <= 4);
}

/* Without a cyclic code the gradient has the same bits whoever was late. */
static void m_sgc_without_matrix__gives_the_same_bits_whoever_was_late(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {m_sgc(8, 2, 3, 8, 0), m_sgc(8, 2, 3, 3, REP)};
    for (size_t i = 0; i < 2; i++) {
        struct brg_scheme *s = scheme_of(&specs[i]);
        struct brg_prng r = {9};
        double first[BRG_SCHEME_UNITS_MAX] = {0}, weights[BRG_SCHEME_UNITS_MAX] = {0};
        const struct walk w = {.conforms = conforms_published};
        for (uint32_t time = 0; time < 50; time++) {
            struct sequence q = sequence_of(s, 6);
            while (q.round < rounds_of(&q)) {
                const struct brg_bits late = random_late(&w, &q, time * 2, &r);
                play(&q, &late);
                assert_int_equal(brg_scheme_decode(s, due(&q), weights), BRG_OK);
                if (time == 0 && q.round == 0) memcpy(first, weights, sizeof first);
                assert_memory_equal(first, weights, sizeof first);
                brg_pattern_commit(&specs[i], &q.pattern, &late, q.reattempts);
                commit(&q);
            }
        }
        for (uint32_t u = 0; u < brg_scheme_unit_count(s); u++) assert_true(first[u] == 1.0);
        free(s);
    }
}

static void m_sgc_bad_spec__is_refused_with_a_sentence_that_proposes_another(void **state) {
    (void)state;
    static const struct sequence_refusal c[] = {
        {8, 1, 1, 2, REP, 64, "set w to 2 .. 8"},
        {8, 1, 9, 2, REP, 64, "set w to 2 .. 8"},
        {8, 0, 2, 2, REP, 64, "set b to 1 .. 1"},
        {8, 3, 3, 2, REP, 64, "set b to 1 .. 2"},
        {8, 4, 7, 2, REP, 64, "set a smaller w or b"},
        {8, 1, 2, 0, REP, 64, "set lambda to 1 .. 8"},
        {8, 1, 2, 9, REP, 64, "set lambda to 1 .. 8"},
        {8, 1, 2, 2, 0, 64, "set base to repetition or cyclic"},
        {8, 1, 2, 2, 3, 64, "set base to repetition or cyclic"},
        {8, 1, 2, 2, REP, 65, "set chunks to a multiple of 32"},
        {8, 1, 2, 8, REP, 7, "set chunks to 8 or more"},
        {300, 2, 3, 9, CYC, 64, "set a smaller w or b, or lambda to n"},
        {256, 1, 2, 65, CYC, 64, "or use the base repetition"},
        {256, 1, 2, 255, REP, 64, "or lambda to n = 256, which needs 256"},
    };
    sequence_expect_refusals(c, sizeof c / sizeof *c, m_sgc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m_sgc_worked_example__gives_the_published_tasks_round_by_round),
        cmocka_unit_test(m_sgc_load__is_the_published_one),
        cmocka_unit_test(m_sgc_units__hold_every_chunk),
        cmocka_unit_test(m_sgc_every_bursty_pattern__decodes_in_time),
        cmocka_unit_test(m_sgc_every_bursty_pattern_with_groups__decodes_in_time),
        cmocka_unit_test(m_sgc_every_arbitrary_pattern__decodes_in_time),
        cmocka_unit_test(m_sgc_every_pattern_outside_the_model__loses_a_job),
        cmocka_unit_test(m_sgc_may_end__is_the_weakest_safe_rule),
        cmocka_unit_test(m_sgc_missing__is_the_fewest_units_that_end_the_round),
        cmocka_unit_test(m_sgc_random_patterns__decode_in_time),
        cmocka_unit_test(m_sgc_256_workers_over_a_random_matrix__decode_in_time),
        cmocka_unit_test(m_sgc_without_matrix__gives_the_same_bits_whoever_was_late),
        cmocka_unit_test(m_sgc_bad_spec__is_refused_with_a_sentence_that_proposes_another),
    };
    return cmocka_run_group_tests_name("m_sgc", tests, NULL, NULL) != 0;
}
