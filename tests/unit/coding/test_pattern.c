#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/fixture.h"

#include "coding/pattern.h"

#define N 2u
#define ROUNDS 6u

/* The definition of the models on a whole pattern, late[r] the workers of round r. */
static int fits(const struct brg_pattern_model *m, const uint32_t *late, uint32_t rounds) {
    const uint32_t w = m->kind == BRG_PATTERN_PER_ROUND ? 1 : m->w;
    for (uint32_t first = 0; first < rounds; first++) {
        const uint32_t end = first + w < rounds ? first + w : rounds;
        uint32_t some = 0;
        for (uint32_t r = first; r < end; r++) some |= late[r];
        if ((uint32_t)__builtin_popcount(some) > m->lambda) return 0;
        if (m->kind == BRG_PATTERN_PER_ROUND) continue;
        for (uint32_t i = 0; i < N; i++) {
            uint32_t times = 0, from = end, to = first;
            for (uint32_t r = first; r < end; r++) {
                if ((late[r] >> i & 1u) == 0) continue;
                times++;
                if (from == end) from = r;
                to = r;
            }
            if (times == 0) continue;
            if (m->kind == BRG_PATTERN_ARBITRARY && times > m->b) return 0;
            if (m->kind == BRG_PATTERN_BURSTY && to - from + 1 > m->b) return 0;
        }
    }
    return 1;
}

/* Round by round the same answer as on the whole, for every pattern of two workers in 6 rounds. */
static void pattern_round_by_round__is_the_definition(void **state) {
    (void)state;
    for (uint32_t kind = BRG_PATTERN_BURSTY; kind <= BRG_PATTERN_PER_ROUND; kind++) {
        for (uint32_t setting = 0; setting < 4 * 4 * 3; setting++) {
            const struct brg_pattern_model m = {.kind = kind,
                                                .w = 1 + setting % 4,
                                                .b = 1 + setting / 4 % 4,
                                                .lambda = setting / 16};
            if (m.b > m.w) continue;
            for (uint32_t code = 0; code < 1u << N * ROUNDS; code++) {
                struct brg_pattern p = {.rounds = 0};
                uint32_t late[ROUNDS];
                int allowed = 1;
                for (uint32_t r = 0; r < ROUNDS && allowed; r++) {
                    late[r] = code >> N * r & ((1u << N) - 1);
                    const struct brg_bits set = {{late[r]}};
                    allowed = brg_pattern_allows(&m, &p, &set);
                    assert_int_equal(allowed, fits(&m, late, r + 1));
                    brg_pattern_push(&p, &set);
                }
            }
        }
    }
}

static void pattern_long_history__only_the_window_counts(void **state) {
    (void)state;
    const struct brg_pattern_model m = {
        .kind = BRG_PATTERN_BURSTY, .b = 1, .w = BRG_PATTERN_WINDOW_MAX, .lambda = 1};
    const struct brg_bits one = {{1}}, other = {{2}}, nobody = {{0}};
    struct brg_pattern p = {.rounds = 0};
    for (uint32_t turn = 0; turn < 5; turn++) {
        const struct brg_bits *late = turn % 2 == 0 ? &one : &other;
        assert_true(brg_pattern_allows(&m, &p, late));
        brg_pattern_push(&p, late);
        for (uint32_t r = 1; r < BRG_PATTERN_WINDOW_MAX; r++) {
            assert_false(brg_pattern_allows(&m, &p, &one));
            assert_false(brg_pattern_allows(&m, &p, &other));
            brg_pattern_push(&p, &nobody);
        }
    }
}

static void pattern_of_each_code__is_the_published_one(void **state) {
    (void)state;
    const struct brg_code_spec frc = spec_of(BRG_CODE_FRC, 9, 2, 9);
    const struct brg_code_spec none = spec_of(BRG_CODE_NONE, 9, 0, 9);
    const struct brg_pattern fresh = {.rounds = 0};
    const struct brg_bits two = {{3}}, three = {{7}}, nobody = {{0}};
    assert_true(brg_pattern_conforms(&frc, &fresh, &two));
    assert_false(brg_pattern_conforms(&frc, &fresh, &three));
    assert_true(brg_pattern_conforms(&none, &fresh, &nobody));
    assert_false(brg_pattern_conforms(&none, &fresh, &two));
    const struct brg_code_spec m_sgc = {
        .kind = BRG_CODE_M_SGC, .n = 4, .b = 1, .w = 2, .lambda = 2, .chunks = 16};
    struct brg_pattern p = fresh;
    assert_true(brg_pattern_conforms(&m_sgc, &p, &two));
    brg_pattern_commit(&m_sgc, &p, &two, 0);
    assert_false(brg_pattern_conforms(&m_sgc, &p, &two));
    assert_true(brg_pattern_conforms(&m_sgc, &p, &nobody));
    brg_pattern_commit(&m_sgc, &p, &nobody, 0);
    assert_true(brg_pattern_conforms(&m_sgc, &p, &two));
}

/* sr-sgc, s = 1: a round with one late worker and no repeats leaves no trace; with repeats, or with
 * two late workers, it does. */
static void pattern_sr_sgc_clean_rounds__are_forgotten(void **state) {
    (void)state;
    const struct brg_code_spec spec = {
        .kind = BRG_CODE_SR_SGC, .n = 4, .b = 1, .w = 2, .lambda = 2, .chunks = 4};
    const struct brg_bits one = {{1}}, two = {{3}}, others = {{12}};
    struct brg_pattern p = {.rounds = 0};
    brg_pattern_commit(&spec, &p, &one, 0);
    assert_true(brg_pattern_conforms(&spec, &p, &one));
    assert_true(brg_pattern_conforms(&spec, &p, &others));
    brg_pattern_commit(&spec, &p, &one, 1);
    assert_false(brg_pattern_conforms(&spec, &p, &one));
    assert_false(brg_pattern_conforms(&spec, &p, &others)); /* three workers in the window */
    brg_pattern_commit(&spec, &p, &two, 0);
    assert_false(brg_pattern_conforms(&spec, &p, &one));
    assert_int_equal(p.rounds, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_round_by_round__is_the_definition),
        cmocka_unit_test(pattern_long_history__only_the_window_counts),
        cmocka_unit_test(pattern_of_each_code__is_the_published_one),
        cmocka_unit_test(pattern_sr_sgc_clean_rounds__are_forgotten),
    };
    return cmocka_run_group_tests_name("pattern", tests, NULL, NULL) != 0;
}
