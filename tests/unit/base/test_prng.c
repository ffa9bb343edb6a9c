#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"

#include <math.h>

#define DRAWS 200000u

/* The generator's published numbers for seed 1234567: stored runs depend on them. */
static void prng_next__gives_the_published_sequence(void **state) {
    (void)state;
    struct brg_prng g = {.state = 1234567};
    assert_true(brg_prng_next(&g) == UINT64_C(6457827717110365317));
    assert_true(brg_prng_next(&g) == UINT64_C(3203168211198807973));
    assert_true(brg_prng_next(&g) == UINT64_C(9817491932198370423));
    assert_true(brg_prng_next(&g) == UINT64_C(4593380528125082431));
    assert_true(brg_prng_next(&g) == UINT64_C(16408922859458223821));
}

static void prng_below__stays_below_and_reaches_all_evenly(void **state) {
    (void)state;
    struct brg_prng g = {.state = 5};
    uint32_t seen[7] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        const uint64_t v = brg_prng_below(&g, 7);
        assert_true(v < 7);
        seen[v]++;
    }
    for (size_t i = 0; i < 7; i++) /* six standard deviations */
        assert_true(fabs((double)seen[i] - DRAWS / 7.0) < 6 * sqrt(DRAWS * 6.0 / 49.0));
    for (uint32_t i = 0; i < 100; i++) assert_int_equal(brg_prng_below(&g, 1), 0);
    uint64_t most = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        const uint64_t v = brg_prng_below(&g, UINT64_MAX);
        if (v > most) most = v;
    }
    assert_true(most > UINT64_MAX - UINT64_MAX / 50); /* the high bits are in use */
}

static void prng_unit__is_uniform_in_zero_to_one(void **state) {
    (void)state;
    struct brg_prng g = {.state = 6};
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        const double u = brg_prng_unit(&g);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    assert_true(fabs(sum / DRAWS - 0.5) < 6 * sqrt(1.0 / 12 / DRAWS));
    assert_true(fabs(squares / DRAWS - 1.0 / 3) < 6 * sqrt(4.0 / 45 / DRAWS));
}

static void prng_normal__has_the_moments_of_a_standard_normal(void **state) {
    (void)state;
    struct brg_prng g = {.state = 7};
    double sum = 0, squares = 0, fourths = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        const double z = brg_prng_normal(&g);
        assert_true(isfinite(z));
        sum += z;
        squares += z * z;
        fourths += z * z * z * z;
    }
    assert_true(fabs(sum / DRAWS) < 6 / sqrt(DRAWS));
    assert_true(fabs(squares / DRAWS - 1) < 6 * sqrt(2.0 / DRAWS));
    assert_true(fabs(fourths / DRAWS - 3) < 6 * sqrt(96.0 / DRAWS));
}

static void prng_mix__depends_on_every_word_and_its_place(void **state) {
    (void)state;
    const uint64_t base = brg_prng_mix(1, 2, 3, 4);
    assert_true(base == brg_prng_mix(1, 2, 3, 4));
    assert_true(base != brg_prng_mix(2, 1, 3, 4));
    assert_true(base != brg_prng_mix(1, 3, 2, 4));
    assert_true(base != brg_prng_mix(1, 2, 4, 3));
    assert_true(brg_prng_mix(0, 0, 0, 0) != 0);
    /* One flipped bit of any word changes about half of the result. */
    for (uint32_t bit = 0; bit < 256; bit++) {
        uint64_t w[4] = {1, 2, 3, 4};
        w[bit / 64] ^= UINT64_C(1) << (bit % 64);
        const uint64_t changed = base ^ brg_prng_mix(w[0], w[1], w[2], w[3]);
        const int flipped = __builtin_popcountll(changed);
        assert_in_range(flipped, 10, 54);
    }
}

static void prng_of_equal_state__gives_equal_numbers(void **state) {
    (void)state;
    struct brg_prng a = {.state = 8}, b = {.state = 8};
    for (uint32_t i = 0; i < 100; i++) assert_true(brg_prng_normal(&a) == brg_prng_normal(&b));
    assert_true(a.state == b.state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prng_next__gives_the_published_sequence),
        cmocka_unit_test(prng_below__stays_below_and_reaches_all_evenly),
        cmocka_unit_test(prng_unit__is_uniform_in_zero_to_one),
        cmocka_unit_test(prng_normal__has_the_moments_of_a_standard_normal),
        cmocka_unit_test(prng_mix__depends_on_every_word_and_its_place),
        cmocka_unit_test(prng_of_equal_state__gives_equal_numbers),
    };
    return cmocka_run_group_tests_name("prng", tests, NULL, NULL) != 0;
}
