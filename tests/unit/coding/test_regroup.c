#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/fixture.h"

#include "coding/regroup.h"

#include <string.h>

#define N_MAX 256u

static struct brg_scheme *frc_of(uint32_t n, uint32_t s) {
    const struct brg_code_spec spec = spec_of(BRG_CODE_FRC, n, s, n);
    return scheme_of(&spec);
}

static void fill(struct brg_regroup_seat *seats, uint32_t n) {
    for (uint32_t p = 0; p < n; p++) seats[p] = (struct brg_regroup_seat){.chunk_ns = 1000000};
}

static void deal(const struct brg_scheme *s, const struct brg_regroup_seat *seats, uint32_t *out) {
    uint8_t seen[N_MAX] = {0};
    brg_regroup_deal(s, seats, out);
    for (uint32_t p = 0; p < brg_scheme_spec(s)->n; p++) {
        assert_in_range(out[p], 0, brg_scheme_spec(s)->n - 1);
        assert_false(seen[out[p]]);
        seen[out[p]] = 1;
    }
}

static uint32_t in_group(const struct brg_scheme *s, const uint32_t *out, uint32_t g,
                         const uint8_t *bad) {
    uint32_t count = 0;
    for (uint32_t p = 0; p < brg_scheme_spec(s)->n; p++) {
        count += brg_scheme_group_of(s, p) == g && bad[out[p]];
    }
    return count;
}

static int is_identity(const uint32_t *out, uint32_t n) {
    for (uint32_t p = 0; p < n; p++) {
        if (out[p] != p) return 0;
    }
    return 1;
}

static void regroup_nobody_bad__everybody_stays(void **state) {
    (void)state;
    struct brg_scheme *s = frc_of(12, 2);
    struct brg_regroup_seat seats[N_MAX];
    uint32_t out[N_MAX];
    fill(seats, 12);
    for (uint32_t p = 0; p < 12; p++) { /* noise: less than an eighth */
        seats[p].chunk_ns += 10000 * p;
        seats[p].late_ppm = 10000 * p;
    }
    seats[7].chunk_ns = 0; /* not known */
    deal(s, seats, out);
    assert_true(is_identity(out, 12));
    free(s);
}

static void regroup_stragglers_of_one_group__are_spread_over_groups(void **state) {
    (void)state;
    for (uint32_t n = 6; n <= N_MAX; n += 25) {
        struct brg_scheme *s = frc_of(n, 2);
        const uint32_t groups = brg_scheme_group_count(s), bad_count = groups + groups / 2;
        struct brg_regroup_seat seats[N_MAX];
        uint32_t out[N_MAX];
        uint8_t bad[N_MAX] = {0};
        fill(seats, n);
        for (uint32_t p = 0; p < bad_count; p++) {
            seats[p].late_ppm = 500000;
            bad[p] = 1;
        }
        deal(s, seats, out);
        for (uint32_t g = 0; g < groups; g++) assert_in_range(in_group(s, out, g, bad), 1, 2);
        free(s);
    }
}

/* Of equals as many as there are groups stay apart; in the next round nobody moves again. */
static void regroup_twice__changes_nothing_more(void **state) {
    (void)state;
    struct brg_prng r = {4};
    for (uint32_t time = 0; time < 200; time++) {
        const uint32_t n = 4 + (uint32_t)brg_prng_below(&r, N_MAX - 3);
        struct brg_scheme *s = frc_of(n, 1 + (uint32_t)brg_prng_below(&r, n - 1));
        struct brg_regroup_seat seats[N_MAX], moved[N_MAX];
        uint32_t out[N_MAX], again[N_MAX], changed = 0;
        fill(seats, n);
        for (uint32_t p = 0; p < n; p++) {
            if (brg_prng_below(&r, 4) == 0) seats[p].late_ppm = 250000;
        }
        deal(s, seats, out);
        for (uint32_t p = 0; p < n; p++) moved[p] = seats[out[p]];
        deal(s, moved, again);
        for (uint32_t p = 0; p < n; p++) {
            changed += brg_scheme_group_of(s, again[p]) != brg_scheme_group_of(s, p);
        }
        assert_int_equal(changed, 0);
        free(s);
    }
}

static void regroup_few_move__the_others_keep_their_seats(void **state) {
    (void)state;
    struct brg_scheme *s = frc_of(16, 3); /* 4 groups of 4 */
    struct brg_regroup_seat seats[N_MAX];
    uint32_t out[N_MAX], moves = 0;
    fill(seats, 16);
    seats[0].late_ppm = seats[1].late_ppm = 600000;
    deal(s, seats, out);
    for (uint32_t p = 0; p < 16; p++) moves += out[p] != p;
    assert_int_equal(moves, 2); /* one of the two changes places with one of another group */
    fill(seats, 16);
    seats[4].late_ppm = seats[12].late_ppm = seats[13].late_ppm = 600000;
    deal(s, seats, out);
    assert_int_equal(out[4], 4); /* alone in its group */
    assert_int_equal(out[12], 12);
    assert_int_equal(out[3], 13);
    assert_int_equal(out[13], 3);
    free(s);
}

static void regroup_slow_workers__get_fast_ones_beside_them(void **state) {
    (void)state;
    struct brg_scheme *s = frc_of(16, 1); /* 8 groups of 2 */
    struct brg_regroup_seat seats[N_MAX];
    uint32_t out[N_MAX];
    uint8_t slow[N_MAX] = {0};
    fill(seats, 16);
    for (uint32_t p = 0; p < 8; p++) {
        seats[p].chunk_ns = 2000000 + 300000 * p;
        slow[p] = 1;
    }
    deal(s, seats, out);
    for (uint32_t g = 0; g < 8; g++) assert_int_equal(in_group(s, out, g, slow), 1);
    free(s);
}

/* Times go up and down with whatever else the machines do; who was late must not be put beside
 * another such one because a third is slow just now. */
static void regroup_two_stragglers__are_apart_whatever_the_times(void **state) {
    (void)state;
    struct brg_prng r = {11};
    for (uint32_t time = 0; time < 2000; time++) {
        const uint32_t size = 2 + (uint32_t)brg_prng_below(&r, 3);
        const uint32_t n = size * (2 + (uint32_t)brg_prng_below(&r, 5));
        struct brg_scheme *s = frc_of(n, size - 1);
        struct brg_regroup_seat seats[N_MAX];
        uint32_t out[N_MAX];
        uint8_t late[N_MAX] = {0};
        for (uint32_t p = 0; p < n; p++) { /* up to nine times the fastest, or not known */
            seats[p] = (struct brg_regroup_seat){.chunk_ns = brg_prng_below(&r, 9) * 1000000};
        }
        const uint32_t a = (uint32_t)brg_prng_below(&r, n);
        const uint32_t b = (a + 1 + (uint32_t)brg_prng_below(&r, n - 1)) % n;
        seats[a].late_ppm = 125000 + (uint32_t)brg_prng_below(&r, 875001);
        seats[b].late_ppm = 125000 + (uint32_t)brg_prng_below(&r, 875001);
        late[a] = late[b] = 1;
        deal(s, seats, out);
        for (uint32_t g = 0; g < n / size; g++) assert_in_range(in_group(s, out, g, late), 0, 1);
        free(s);
    }
}

/* The sum over the groups of the squares of their late scores, in eighths. */
static uint64_t late_together(const struct brg_scheme *s, const struct brg_regroup_seat *seats,
                              const uint32_t *out) {
    uint64_t late[N_MAX] = {0}, sum = 0;
    for (uint32_t p = 0; p < brg_scheme_spec(s)->n; p++) {
        late[brg_scheme_group_of(s, p)] += seats[out == NULL ? p : out[p]].late_ppm / 125000;
    }
    for (uint32_t g = 0; g < N_MAX; g++) sum += late[g] * late[g];
    return sum;
}

static void regroup_any_scores__are_never_dealt_worse_than_they_were(void **state) {
    (void)state;
    struct brg_prng r = {12};
    uint32_t better = 0;
    for (uint32_t time = 0; time < 2000; time++) {
        const uint32_t n = 4 + (uint32_t)brg_prng_below(&r, 60);
        struct brg_scheme *s = frc_of(n, 1 + (uint32_t)brg_prng_below(&r, n - 2));
        struct brg_regroup_seat seats[N_MAX];
        uint32_t out[N_MAX];
        for (uint32_t p = 0; p < n; p++) {
            seats[p] = (struct brg_regroup_seat){
                .chunk_ns = 1000000 + brg_prng_below(&r, 9000000),
                .late_ppm = (uint32_t)brg_prng_below(&r, BRG_REGROUP_PPM + 1)};
        }
        deal(s, seats, out);
        const uint64_t before = late_together(s, seats, NULL), after = late_together(s, seats, out);
        assert_true(after <= before);
        better += after < before;
        free(s);
    }
    assert_in_range(better, 500, 2000);
}

static void regroup_vacant_seats__are_spread_before_anybody_else(void **state) {
    (void)state;
    struct brg_scheme *s = frc_of(12, 2);
    struct brg_regroup_seat seats[N_MAX];
    uint32_t out[N_MAX];
    uint8_t vacant[N_MAX] = {0}, late[N_MAX] = {0};
    fill(seats, 12);
    for (uint32_t p = 0; p < 3; p++) seats[p].vacant = vacant[p] = 1;
    seats[3].late_ppm = BRG_REGROUP_PPM;
    seats[3].chunk_ns = UINT64_MAX;
    late[3] = 1;
    deal(s, seats, out);
    for (uint32_t g = 0; g < 4; g++) {
        assert_int_equal(in_group(s, out, g, vacant) + in_group(s, out, g, late), 1);
    }
    free(s);
}

static void regroup_codes_without_groups__keep_their_seats(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {
        spec_of(BRG_CODE_NONE, 8, 0, 8),
        spec_of(BRG_CODE_CYCLIC, 8, 2, 8),
        spec_of(BRG_CODE_FRC, 8, 7, 8),
        {.kind = BRG_CODE_SR_SGC,
         .n = 8,
         .chunks = 8,
         .b = 1,
         .w = 2,
         .lambda = 2,
         .base = BRG_BASE_REPETITION},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct brg_scheme *s = scheme_of(&specs[i]);
        struct brg_regroup_seat seats[N_MAX];
        uint32_t out[N_MAX];
        fill(seats, 8);
        seats[0].late_ppm = seats[1].late_ppm = BRG_REGROUP_PPM;
        deal(s, seats, out);
        assert_true(is_identity(out, 8));
        free(s);
    }
}

static void regroup_late_score__rises_fast_and_is_forgiven(void **state) {
    (void)state;
    uint32_t score = 0;
    for (uint32_t k = 0; k < 2; k++) score = brg_regroup_decay_ppm(score, 1);
    assert_int_equal(score, 437500);
    uint32_t rounds = 0;
    for (; score >= BRG_REGROUP_PPM / 8; rounds++) score = brg_regroup_decay_ppm(score, 0);
    assert_int_equal(rounds, 5);
    for (uint32_t k = 0; k < 100; k++) {
        score = brg_regroup_decay_ppm(score, 1);
        assert_in_range(score, 0, BRG_REGROUP_PPM);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regroup_nobody_bad__everybody_stays),
        cmocka_unit_test(regroup_stragglers_of_one_group__are_spread_over_groups),
        cmocka_unit_test(regroup_twice__changes_nothing_more),
        cmocka_unit_test(regroup_few_move__the_others_keep_their_seats),
        cmocka_unit_test(regroup_slow_workers__get_fast_ones_beside_them),
        cmocka_unit_test(regroup_two_stragglers__are_apart_whatever_the_times),
        cmocka_unit_test(regroup_any_scores__are_never_dealt_worse_than_they_were),
        cmocka_unit_test(regroup_vacant_seats__are_spread_before_anybody_else),
        cmocka_unit_test(regroup_codes_without_groups__keep_their_seats),
        cmocka_unit_test(regroup_late_score__rises_fast_and_is_forgiven),
    };
    return cmocka_run_group_tests_name("regroup", tests, NULL, NULL) != 0;
}
