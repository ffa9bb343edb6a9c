#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/sequence.h"

#include <string.h>

#define EXHAUSTIVE_N 10u

/* The units that the positions in the set `alive` deliver. */
static struct brg_bits units_of(const struct brg_scheme *s, uint32_t alive) {
    const struct brg_bits none = {{0}};
    struct brg_bits have = {{0}};
    for (uint32_t p = 0; p < brg_scheme_spec(s)->n; p++) {
        struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
        if ((alive >> p & 1u) == 0) continue;
        assert_int_equal(brg_scheme_assign(s, 3, &none, p, tasks), 1);
        assert_int_equal(tasks[0].delta, 0);
        brg_bits_add(&have, tasks[0].unit);
    }
    return have;
}

static int every_group_lives(const struct brg_scheme *s, uint32_t alive) {
    uint32_t seen = 0;
    for (uint32_t p = 0; p < brg_scheme_spec(s)->n; p++) {
        if (alive >> p & 1u) seen |= 1u << brg_scheme_group_of(s, p);
    }
    return seen == (1u << brg_scheme_unit_count(s)) - 1u;
}

/* Every set of survivors of one code: decodes iff each group lives, always for n - s of them, to
 * the exact integer gradient with the same weights; and `missing` is minimal and suffices. */
static void check_all_sets(const struct brg_code_spec *spec) {
    struct brg_scheme *s = scheme_of(spec);
    const uint32_t n = spec->n, units = brg_scheme_unit_count(s);
    double g[64], shares[64], total = 0.0;
    for (uint32_t k = 0; k < spec->chunks; k++) {
        g[k] = (double)((int64_t)(brg_prng_mix(n, spec->s, k, 0) % 2000001) - 1000000);
        total += g[k];
    }
    for (uint32_t u = 0; u < units; u++) shares[u] = share_of(s, u, g);

    for (uint32_t alive = 0; alive < 1u << n; alive++) {
        struct brg_bits have = units_of(s, alive), missing;
        double weights[BRG_SCHEME_UNITS_MAX];
        const int want = every_group_lives(s, alive);
        const uint32_t dead = n - (uint32_t)__builtin_popcount(alive);
        if (dead <= spec->s) assert_true(want);
        assert_int_equal(brg_scheme_may_end(s, 3, &have), want);
        assert_int_equal(brg_scheme_decode(s, &have, weights), want ? BRG_OK : BRG_ERANK);
        if (want) {
            double sum = 0.0;
            for (uint32_t u = 0; u < units; u++) {
                assert_true(weights[u] == 1.0);
                sum += weights[u] * shares[u];
            }
            assert_true(sum == total);
        }
        const uint32_t count = brg_scheme_missing(s, 3, &have, &missing);
        assert_int_equal(count, units - brg_bits_count(&have));
        assert_int_equal(count, brg_bits_count(&missing));
        brg_bits_join(&have, &missing);
        assert_true(brg_scheme_may_end(s, 3, &have));
        for (uint32_t u = 0; u < units; u++) { /* without any one of them it is not enough */
            struct brg_bits less = have;
            if (!brg_bits_has(&missing, u)) continue;
            brg_bits_remove(&less, u);
            assert_false(brg_scheme_may_end(s, 3, &less));
        }
    }
    free(s);
}

static void frc_every_small_code__decodes_exactly_iff_every_group_has_a_survivor(void **state) {
    (void)state;
    for (uint32_t n = 1; n <= EXHAUSTIVE_N; n++) {
        for (uint32_t s = 0; s < n; s++) {
            const struct brg_code_spec exact = spec_of(BRG_CODE_FRC, n, s, n);
            const struct brg_code_spec fewest = spec_of(BRG_CODE_FRC, n, s, n / (s + 1));
            const struct brg_code_spec odd = spec_of(BRG_CODE_FRC, n, s, 2 * n + 3);
            check_all_sets(&exact);
            check_all_sets(&fewest);
            check_all_sets(&odd);
        }
    }
}

static void frc_none__needs_every_unit(void **state) {
    (void)state;
    for (uint32_t n = 1; n <= EXHAUSTIVE_N; n++) {
        const struct brg_code_spec spec = spec_of(BRG_CODE_NONE, n, 0, n + 1);
        struct brg_scheme *s = scheme_of(&spec);
        assert_int_equal(brg_scheme_unit_count(s), n);
        free(s);
        check_all_sets(&spec);
    }
}

/* Groups have s + 1 positions or more, sizes of groups and of chunk ranges differ by at most one,
 * and the ranges are contiguous and cover everything once. */
static void check_balance(const struct brg_code_spec *spec) {
    static struct brg_recipe recipe;
    struct brg_scheme *s = scheme_of(spec);
    const uint32_t units = brg_scheme_unit_count(s);
    uint32_t sizes[BRG_SCHEME_UNITS_MAX] = {0}, next_chunk = 0, last_group = 0, most = 0;
    assert_int_equal(units, spec->n / (spec->s + 1));
    for (uint32_t p = 0; p < spec->n; p++) {
        const uint32_t group = brg_scheme_group_of(s, p);
        assert_true(group == last_group || group == last_group + 1);
        last_group = group;
        sizes[group]++;
    }
    for (uint32_t u = 0; u < units; u++) {
        assert_true(sizes[u] >= spec->s + 1);
        assert_in_range(sizes[u], spec->n / units, (spec->n + units - 1) / units);
        brg_scheme_recipe(s, u, &recipe);
        assert_in_range(recipe.count, spec->chunks / units, (spec->chunks + units - 1) / units);
        if (recipe.count > most) most = recipe.count;
        for (uint32_t k = 0; k < recipe.count; k++) {
            assert_int_equal(recipe.chunk[k], next_chunk++);
            assert_true(recipe.coefficient[k] == 1.0);
        }
    }
    assert_int_equal(next_chunk, spec->chunks);
    assert_int_equal(brg_scheme_load_chunks(s), most);
    free(s);
}

static void frc_any_n_and_s__groups_and_chunks_are_balanced(void **state) {
    (void)state;
    struct brg_prng g = {11};
    for (uint32_t i = 0; i < 300; i++) {
        const uint32_t n = 1 + (uint32_t)brg_prng_below(&g, BRG_CODE_WORKERS_MAX);
        const uint32_t s = (uint32_t)brg_prng_below(&g, n), groups = n / (s + 1);
        const uint32_t chunks =
            groups + (uint32_t)brg_prng_below(&g, BRG_RECIPE_CHUNKS_MAX - groups + 1);
        const struct brg_code_spec spec = spec_of(BRG_CODE_FRC, n, s, chunks);
        check_balance(&spec);
    }
    const struct brg_code_spec most =
        spec_of(BRG_CODE_FRC, BRG_CODE_WORKERS_MAX, 0, BRG_RECIPE_CHUNKS_MAX);
    check_balance(&most);
}

static void frc_256_workers__survive_any_27_and_the_weights_never_change(void **state) {
    (void)state;
    const struct brg_code_spec spec = spec_of(BRG_CODE_FRC, 256, 27, 256);
    struct brg_scheme *s = scheme_of(&spec);
    const uint32_t units = brg_scheme_unit_count(s);
    struct brg_prng g = {3};
    double first[BRG_SCHEME_UNITS_MAX], weights[BRG_SCHEME_UNITS_MAX];
    for (uint32_t round = 0; round < 2000; round++) {
        struct brg_bits alive, have = {{0}};
        brg_bits_fill(&alive, 256);
        remove_random(&alive, 256, 27, &g);
        for (uint32_t p = brg_bits_next(&alive, 0); p < BRG_BITS_MAX;
             p = brg_bits_next(&alive, p + 1)) {
            brg_bits_add(&have, brg_scheme_group_of(s, p));
        }
        assert_int_equal(brg_scheme_decode(s, &have, weights), BRG_OK);
        if (round == 0) memcpy(first, weights, units * sizeof *first);
        assert_memory_equal(first, weights, units * sizeof *first);
    }
    free(s);
}

/* ---- parts and delay ---- */

static struct brg_code_spec parts_of(uint32_t n, uint32_t s, uint32_t parts, uint32_t delay) {
    struct brg_code_spec spec = spec_of(BRG_CODE_FRC, n, s, n / (s + 1) * parts + n);
    spec.parts = parts;
    spec.delay = delay;
    if (delay > 0) spec.policy = BRG_POLICY_MINWAIT;
    return spec;
}

/* The first `k` minitasks of each member: together they cover as much of the group as can be. */
static void frc_parts__members_start_at_different_ones(void **state) {
    (void)state;
    const struct brg_bits none[1] = {{{0}}};
    for (uint32_t size = 1; size <= 4; size++) {
        for (uint32_t parts = 1; parts <= BRG_CODE_PARTS_MAX; parts++) {
            const struct brg_code_spec spec = parts_of(2 * size, size - 1, parts, 0);
            struct brg_scheme *s = scheme_of(&spec);
            assert_int_equal(brg_scheme_group_count(s), 2);
            assert_int_equal(brg_scheme_unit_count(s), 2 * parts);
            const uint32_t each = (parts + size - 1) / size; /* in this many all are covered */
            struct brg_bits early = {{0}}, all = {{0}};
            for (uint32_t p = size; p < 2 * size; p++) {
                struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
                assert_int_equal(brg_scheme_assign(s, 7, none, p, tasks), parts);
                for (uint32_t k = 0; k < parts; k++) {
                    assert_int_equal(tasks[k].delta, 0);
                    assert_int_equal(tasks[k].unit / parts, 1);
                    if (k < each) brg_bits_add(&early, tasks[k].unit);
                    brg_bits_add(&all, tasks[k].unit);
                }
            }
            assert_int_equal(brg_bits_count(&early), parts);
            assert_int_equal(brg_bits_count(&all), parts);
            free(s);
        }
    }
}

/* Finished parts are not handed out again; the rest is, and only it is missing. */
static void frc_parts__only_what_is_missing_is_attempted_again(void **state) {
    (void)state;
    const struct brg_code_spec spec = parts_of(6, 1, 4, 0);
    struct brg_scheme *s = scheme_of(&spec);
    struct brg_prng r = {2};
    struct gradients g = gradients_of(s);
    for (uint32_t time = 0; time < 2000; time++) {
        struct brg_bits have = {{0}}, missing;
        double weights[BRG_SCHEME_UNITS_MAX];
        for (uint32_t u = 0; u < 12; u++) {
            if (brg_prng_below(&r, 3) > 0) brg_bits_add(&have, u);
        }
        const uint32_t count = brg_scheme_missing(s, 1, &have, &missing);
        assert_int_equal(count, 12 - brg_bits_count(&have));
        assert_int_equal(brg_scheme_may_end(s, 1, &have), count == 0);
        assert_int_equal(brg_scheme_decode(s, &have, weights), count == 0 ? BRG_OK : BRG_ERANK);
        for (uint32_t p = 0; p < 6; p++) {
            struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
            const uint32_t given = brg_scheme_assign(s, 1, &have, p, tasks);
            for (uint32_t k = 0; k < given; k++) brg_bits_add(&have, tasks[k].unit);
            for (uint32_t k = 0; k < given; k++) assert_true(brg_bits_has(&missing, tasks[k].unit));
        }
        assert_true(brg_scheme_may_end(s, 1, &have));
        assert_true(decode_error(s, &have, g.shares, g.g) < 1e-9);
    }
    gradients_free(&g);
    free(s);
}

static void frc_parts__share_the_chunks_of_the_group(void **state) {
    (void)state;
    static struct brg_recipe recipe;
    for (uint32_t parts = 1; parts <= BRG_CODE_PARTS_MAX; parts++) {
        const struct brg_code_spec spec = parts_of(7, 1, parts, 0);
        const struct brg_code_spec whole = spec_of(BRG_CODE_FRC, 7, 1, spec.chunks);
        struct brg_scheme *s = scheme_of(&spec), *w = scheme_of(&whole);
        uint32_t next = 0;
        for (uint32_t u = 0; u < brg_scheme_unit_count(s); u++) {
            brg_scheme_recipe(s, u, &recipe);
            for (uint32_t k = 0; k < recipe.count; k++) assert_int_equal(recipe.chunk[k], next++);
        }
        assert_int_equal(next, spec.chunks);
        assert_int_equal(brg_scheme_load_chunks(s), brg_scheme_load_chunks(w));
        free(s);
        free(w);
    }
}

/* With delay 1 a job may lack anything when its own round ends, and nothing one round later. */
static void frc_delay__half_of_the_group_attempts_the_old_part_first(void **state) {
    (void)state;
    const struct brg_code_spec spec = parts_of(6, 2, 1, 1); /* two groups of three */
    struct brg_scheme *s = scheme_of(&spec);
    const struct brg_bits group_0 = bits_of_mask(0x7), nobody = {{0}};
    struct sequence q = sequence_of(s, 4);
    uint32_t turns[3] = {0};
    assert_int_equal(brg_scheme_delay(s), 1);
    play(&q, &group_0);
    assert_true(may_end(&q));
    commit(&q);
    for (uint64_t round = q.round; round < q.round + 3; round++) {
        for (uint32_t p = 0; p < 6; p++) {
            struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
            const uint32_t count = brg_scheme_assign(s, round, q.have, p, tasks);
            assert_int_equal(tasks[count - 1].delta, 0);
            assert_int_equal(tasks[count - 1].unit, p / 3);
            if (p >= 3) assert_int_equal(count, 1);
            if (count == 1) continue;
            assert_int_equal(count, 2);
            assert_int_equal(tasks[0].delta, 1);
            assert_int_equal(tasks[0].unit, 0);
            turns[p]++;
        }
    }
    for (uint32_t k = 0; k < 3; k++) assert_int_equal(turns[k], 2); /* 2 of 3 in each round */
    struct sequence again = q;
    play(&again, &group_0);
    assert_false(may_end(&again)); /* job 0 is due now */
    play(&q, &nobody);
    assert_true(may_end(&q));
    free(s);
}

static void frc_delay__ends_rounds_by_the_weakest_safe_rule(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {parts_of(6, 2, 1, 1), parts_of(5, 1, 3, 1),
                                          parts_of(4, 0, 4, 1), parts_of(7, 6, 2, 1)};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        check_random_states(&specs[i], 6, 200);
    }
}

static void frc_speculative__is_none_by_another_name(void **state) {
    (void)state;
    struct brg_code_spec a = spec_of(BRG_CODE_SPECULATIVE, 5, 0, 23);
    struct brg_code_spec b = spec_of(BRG_CODE_NONE, 5, 0, 23);
    a.parts = b.parts = 4;
    struct brg_scheme *s = scheme_of(&a), *t = scheme_of(&b);
    const struct brg_bits none = {{0}};
    static struct brg_recipe of_a, of_b;
    assert_int_equal(brg_scheme_unit_count(s), 20);
    for (uint32_t u = 0; u < 20; u++) {
        brg_scheme_recipe(s, u, &of_a);
        brg_scheme_recipe(t, u, &of_b);
        assert_memory_equal(&of_a, &of_b, sizeof of_a);
    }
    for (uint32_t p = 0; p < 5; p++) {
        struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
        assert_int_equal(brg_scheme_assign(s, 1, &none, p, tasks), 4);
        for (uint32_t k = 0; k < 4; k++) assert_int_equal(tasks[k].unit, 4 * p + k);
    }
    free(s);
    free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frc_every_small_code__decodes_exactly_iff_every_group_has_a_survivor),
        cmocka_unit_test(frc_none__needs_every_unit),
        cmocka_unit_test(frc_any_n_and_s__groups_and_chunks_are_balanced),
        cmocka_unit_test(frc_256_workers__survive_any_27_and_the_weights_never_change),
        cmocka_unit_test(frc_parts__members_start_at_different_ones),
        cmocka_unit_test(frc_parts__only_what_is_missing_is_attempted_again),
        cmocka_unit_test(frc_parts__share_the_chunks_of_the_group),
        cmocka_unit_test(frc_delay__half_of_the_group_attempts_the_old_part_first),
        cmocka_unit_test(frc_delay__ends_rounds_by_the_weakest_safe_rule),
        cmocka_unit_test(frc_speculative__is_none_by_another_name),
    };
    return cmocka_run_group_tests_name("frc", tests, NULL, NULL) != 0;
}
