#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/sequence.h"

#define REP BRG_BASE_REPETITION
#define CYC BRG_BASE_CYCLIC

static struct brg_code_spec sr_sgc(uint32_t n, uint32_t b, uint32_t w, uint32_t lambda,
                                   uint32_t base) {
    return sequential_of(BRG_CODE_SR_SGC, n, b, w, lambda, base);
}

/* n = 4, b = 2, w = 3, lambda = 2, so s = 1; 3 jobs, late: round 0 {1, 2}, round 1 {1}. */
static void sr_sgc_worked_example__attempts_again_what_is_more_than_s(void **state) {
    (void)state;
    static const struct {
        uint32_t late, tasks, job[4], results;
    } rounds[] = {
        {0x6, 4, {0, 0, 0, 0}, 0}, /* results: of the job that is due */
        {0x2, 4, {1, 1, 1, 1}, 0},
        {0x0, 4, {2, 0, 2, 2}, 3}, /* worker 1 attempts job 0 again: 3 of 4, as many as it takes */
        {0x0, 0, {0, 0, 0, 0}, 3}, /* nothing to do: jobs 1 and 2 have 3 of 4 */
        {0x0, 0, {0, 0, 0, 0}, 3},
    };
    const struct brg_code_spec spec = sr_sgc(4, 2, 3, 2, CYC);
    struct brg_scheme *s = scheme_of(&spec);
    struct gradients g = gradients_of(s);
    struct sequence q = sequence_of(s, 3);
    assert_int_equal(brg_scheme_delay(s), 2);
    assert_int_equal(brg_code_s(&spec), 1);
    assert_int_equal(brg_scheme_load_chunks(s), 2); /* 1/2 of 4 */
    for (uint32_t r = 0; r < 5; r++) {
        const struct brg_bits late = bits_of_mask(rounds[r].late);
        uint32_t tasks = 0;
        for (uint32_t p = 0; p < 4; p++) {
            struct brg_minitask task[BRG_SCHEME_MINITASKS_MAX];
            const uint32_t count = brg_scheme_assign(s, q.round, q.have, p, task);
            tasks += count;
            if (count == 0) continue;
            assert_int_equal(q.round - task[0].delta, rounds[r].job[p]);
            assert_int_equal(task[0].unit, p);
        }
        assert_int_equal(tasks, rounds[r].tasks);
        play(&q, &late);
        assert_true(may_end(&q));
        if (r >= 2) assert_int_equal(brg_bits_count(due(&q)), rounds[r].results);
        assert_true(decode_error(s, due(&q), g.shares, g.g) < 1e-9);
        commit(&q);
    }
    gradients_free(&g);
    free(s);
}

static void sr_sgc_s_and_load__are_the_published_ones(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, s;
        double load;
    } c[] = {{4, 2, 3, 2, 1, 0.5},
             {256, 2, 3, 23, 12, 0.05078125},
             {256, 4, 9, 22, 8, 0.03515625},
             {256, 1, 2, 20, 10, 11.0 / 256.0}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = sr_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, CYC);
        struct brg_scheme *s = plan_of(&spec);
        assert_int_equal(brg_code_s(&spec), c[i].s);
        assert_int_equal(brg_code_delay(&spec), c[i].b);
        assert_true((double)brg_scheme_load_chunks(s) / c[i].n == c[i].load);
        free(s);
    }
}

struct setting {
    uint32_t n, b, w, lambda, jobs;
};
static const struct setting small[] = {{3, 1, 2, 2, 4}, {4, 1, 2, 2, 3}, {4, 2, 3, 2, 3},
                                       {4, 1, 3, 3, 3}, {4, 1, 2, 4, 3}, {3, 2, 5, 3, 4}};
#define SMALL_COUNT (sizeof small / sizeof *small)

static void sr_sgc_every_bursty_pattern__decodes_in_time(void **state) {
    (void)state;
    uint64_t total = 0;
    for (size_t i = 0; i < SMALL_COUNT; i++) {
        const struct setting c = small[i];
        const struct brg_code_spec spec = sr_sgc(c.n, c.b, c.w, c.lambda, CYC);
        const struct brg_code_spec groups = sr_sgc(c.n, c.b, c.w, c.lambda, REP);
        const struct brg_pattern_model bursty = brg_pattern_model_of(&spec);
        const uint64_t patterns = walk_model(&spec, c.jobs, bursty);
        assert_int_equal(walk_model(&groups, c.jobs, bursty), patterns);
        total += patterns;
    }
    assert_int_equal(total, 11913);
}

static void sr_sgc_s_stragglers_a_round__decode_in_time(void **state) {
    (void)state;
    const struct setting c[] = {{4, 1, 2, 2, 3}, {4, 2, 3, 2, 3}, {5, 1, 3, 5, 2}, {4, 1, 2, 4, 2}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        for (uint32_t base = REP; base <= CYC; base++) {
            const struct brg_code_spec spec = sr_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, base);
            const struct brg_pattern_model model = {.kind = BRG_PATTERN_PER_ROUND,
                                                    .lambda = brg_code_s(&spec)};
            assert_true(walk_model(&spec, c[i].jobs, model) >= 625);
        }
    }
}

/* Whether the last w rounds, `late` included, are bursty, or s a round at most. */
static int conforms_mixed(const struct walk *w, const struct sequence *q,
                          const struct brg_bits *late) {
    const struct brg_code_spec *spec = brg_scheme_spec(q->scheme);
    const struct brg_pattern *p = &q->pattern;
    const uint64_t before = p->rounds < spec->w - 1 ? p->rounds : spec->w - 1;
    struct brg_pattern window = {.rounds = 0};
    int bursty = 1, few = brg_bits_count(late) <= brg_code_s(spec);
    for (uint64_t k = p->rounds - before; k < p->rounds; k++) {
        const struct brg_bits *then = &p->late[k % BRG_PATTERN_WINDOW_MAX];
        bursty = bursty && brg_pattern_allows(&w->model, &window, then);
        few = few && brg_bits_count(then) <= brg_code_s(spec);
        brg_pattern_push(&window, then);
    }
    return few || (bursty && brg_pattern_allows(&w->model, &window, late));
}

static void sr_sgc_windows_bursty_or_with_few_stragglers__decode_in_time(void **state) {
    (void)state;
    uint64_t total = 0;
    for (size_t i = 1; i < SMALL_COUNT; i++) {
        const struct setting c = small[i];
        const struct brg_code_spec spec = sr_sgc(c.n, c.b, c.w, c.lambda, CYC);
        const struct walk w = {.conforms = conforms_mixed, .model = brg_pattern_model_of(&spec)};
        total += walk_of(&spec, c.jobs, w);
    }
    assert_int_equal(total, 30595);
}

/* The published rule: rounds with at most s late and no repeats count as if nobody was late. */
static void sr_sgc_every_pattern_of_the_published_rule__decodes_in_time(void **state) {
    (void)state;
    for (size_t i = 0; i < SMALL_COUNT; i++) {
        const struct setting c = small[i];
        for (uint32_t base = REP; base <= CYC; base++) {
            const struct brg_code_spec spec = sr_sgc(c.n, c.b, c.w, c.lambda, base);
            const struct walk w = {.conforms = conforms_published};
            const uint64_t patterns = walk_of(&spec, c.jobs, w);
            assert_true(patterns >= walk_model(&spec, c.jobs, brg_pattern_model_of(&spec)));
        }
    }
}

static void sr_sgc_may_end__is_the_weakest_safe_rule(void **state) {
    (void)state;
    const struct setting c[] = {{3, 1, 2, 2, 3}, {4, 2, 3, 2, 2}, {3, 2, 3, 3, 2}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        for (uint32_t base = REP; base <= CYC; base++) {
            const struct brg_code_spec spec = sr_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, base);
            struct brg_scheme *s = scheme_of(&spec);
            struct brg_prng r = {i + 1};
            for (uint32_t time = 0; time < 500; time++) {
                struct sequence q = sequence_of(s, c[i].jobs);
                while (q.round < rounds_of(&q)) {
                    double weights[BRG_SCHEME_UNITS_MAX];
                    const struct brg_bits late =
                        bits_of_mask((uint32_t)brg_prng_below(&r, 1u << spec.n));
                    play(&q, &late);
                    const int decodes = brg_scheme_decode(s, due(&q), weights) == BRG_OK;
                    assert_int_equal(may_end(&q), decodes);
                    check_missing(&q);
                    /* Nothing in flight is ever lost: all workers can attempt it when it is due. */
                    if (decodes) assert_true(finishes_alone(q));
                    shift(&q);
                }
            }
            free(s);
        }
    }
}

static void sr_sgc_random_patterns__decode_in_time(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs, times, base;
    } c[] = {{6, 2, 3, 4, 6, 400, CYC},    {8, 1, 4, 8, 8, 300, CYC},   {8, 2, 7, 8, 8, 300, CYC},
             {9, 3, 7, 7, 8, 300, CYC},    {9, 3, 7, 7, 8, 300, REP},   {64, 2, 5, 20, 12, 20, REP},
             {256, 2, 3, 23, 10, 8, REP},  {256, 4, 9, 22, 12, 8, REP}, {256, 1, 2, 128, 8, 8, REP},
             {100, 7, 29, 60, 40, 4, REP}, {32, 1, 2, 8, 12, 20, CYC}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = sr_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, c[i].base);
        const struct walk bursty = {.conforms = conforms_model,
                                    .model = brg_pattern_model_of(&spec)};
        const struct walk published = {.conforms = conforms_published};
        const struct walk mixed = {.conforms = conforms_mixed, .model = bursty.model};
        const uint64_t seldom = c[i].n > 16 && c[i].base == CYC ? 20 : 0;
        assert_true(walk_random(&spec, c[i].jobs, c[i].times, bursty) <= seldom);
        assert_true(walk_random(&spec, c[i].jobs, c[i].times, published) <= seldom);
        assert_true(walk_random(&spec, c[i].jobs, c[i].times, mixed) <= seldom);
    }
}

/* (2, 3, 23) of the published experiments. The guards may ask for a unit more, but seldom. */
static void sr_sgc_256_workers_over_a_random_matrix__decode_in_time(void **state) {
    (void)state;
    const struct brg_code_spec spec = sr_sgc(256, 2, 3, 23, CYC);
    const struct walk w = {.conforms = conforms_published};
    assert_true(walk_random(&spec, 10, 5, w) <= 5);
}

/* Patterns beyond the model: what a job lacks more than workers can make good is waited for. */
static void sr_sgc_everybody_late__asks_for_just_what_the_due_job_lacks(void **state) {
    (void)state;
    const struct brg_code_spec spec = sr_sgc(4, 1, 2, 2, CYC);
    const struct brg_bits all = bits_of_mask(0xf);
    struct brg_bits missing[BRG_SCHEME_JOBS_MAX];
    struct brg_scheme *s = scheme_of(&spec);
    struct sequence q = sequence_of(s, 4);
    play(&q, &all);
    assert_true(may_end(&q)); /* job 0 has another round */
    commit(&q);
    play(&q, &all);
    assert_false(may_end(&q));
    assert_int_equal(brg_scheme_missing(s, q.round, q.have, missing), 3);
    assert_int_equal(brg_bits_count(&missing[1]), 3);
    assert_int_equal(brg_bits_count(&missing[0]), 0);
    free(s);
}

/* Over groups another member attempts it each round: one dead worker cannot hold up its group. */
static void sr_sgc_groups__take_turns_to_attempt_again(void **state) {
    (void)state;
    const struct brg_code_spec spec = sr_sgc(9, 1, 2, 4, REP); /* s = 2: three groups of three */
    struct brg_scheme *s = scheme_of(&spec);
    struct brg_bits have[BRG_SCHEME_JOBS_MAX] = {{{0}}};
    uint32_t turns[3] = {0};
    for (uint64_t round = 0; round < 9; round++) {
        for (uint32_t p = 3; p < 6; p++) {
            struct brg_minitask task[BRG_SCHEME_MINITASKS_MAX];
            assert_int_equal(brg_scheme_assign(s, round, have, p, task), 1);
            assert_int_equal(task[0].unit, 1);
            turns[p - 3] += task[0].delta == 1;
        }
    }
    for (uint32_t k = 0; k < 3; k++) assert_int_equal(turns[k], 3);
    free(s);
}

static void sr_sgc_bad_spec__is_refused_with_a_sentence_that_proposes_another(void **state) {
    (void)state;
    static const struct sequence_refusal c[] = {
        {8, 0, 2, 2, REP, 8, "to 1 .. 7"},
        {8, 8, 9, 2, REP, 8, "to 1 .. 7"},
        {8, 2, 4, 2, REP, 8, "set w to a multiple of b = 2 and one more, 3 .. 32"},
        {8, 2, 1, 2, REP, 8, "set w to a multiple of b = 2 and one more, 3 .. 32"},
        {8, 1, 33, 2, REP, 8, "set w to a multiple of b = 1 and one more, 2 .. 32"},
        {8, 1, 2, 0, REP, 8, "set lambda to 1 .. 8"},
        {8, 1, 2, 9, REP, 8, "set lambda to 1 .. 8"},
        {8, 1, 2, 2, 0, 8, "set base to repetition or cyclic"},
        {1, 1, 2, 1, REP, 8, "set a smaller lambda"},
        {8, 1, 2, 2, REP, 3, "set chunks to 4 or more"},
        {8, 1, 2, 2, CYC, 12, "set chunks to a multiple of 8 or base to repetition"},
        {256, 1, 2, 140, CYC, 256, "or use the base repetition"},
    };
    sequence_expect_refusals(c, sizeof c / sizeof *c, sr_sgc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sr_sgc_worked_example__attempts_again_what_is_more_than_s),
        cmocka_unit_test(sr_sgc_s_and_load__are_the_published_ones),
        cmocka_unit_test(sr_sgc_every_bursty_pattern__decodes_in_time),
        cmocka_unit_test(sr_sgc_s_stragglers_a_round__decode_in_time),
        cmocka_unit_test(sr_sgc_windows_bursty_or_with_few_stragglers__decode_in_time),
        cmocka_unit_test(sr_sgc_every_pattern_of_the_published_rule__decodes_in_time),
        cmocka_unit_test(sr_sgc_may_end__is_the_weakest_safe_rule),
        cmocka_unit_test(sr_sgc_random_patterns__decode_in_time),
        cmocka_unit_test(sr_sgc_256_workers_over_a_random_matrix__decode_in_time),
        cmocka_unit_test(sr_sgc_everybody_late__asks_for_just_what_the_due_job_lacks),
        cmocka_unit_test(sr_sgc_groups__take_turns_to_attempt_again),
        cmocka_unit_test(sr_sgc_bad_spec__is_refused_with_a_sentence_that_proposes_another),
    };
    return cmocka_run_group_tests_name("sr_sgc", tests, NULL, NULL) != 0;
}
