/* test_dct_parity.c - parity checks on any node set, algebraic and subspace locators, linalg.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coding/berrut.h"
#include "coding/dct_parity.h"
#include "coding/dct_pgz.h"
#include "coding/dense.h"
#include "coding/linalg.h"
#include "tests/unit/coding/berrut_oracle.h"
#include "tests/unit/coding/smooth.h"

#define PI 3.14159265358979323846
enum { N = 24, K = 6, Q = 8 };
static double h[64 * 64], scratch[64 * 64], memory[40000];

static void first_kind(uint32_t n, double *x) {
    for (uint32_t i = 0; i < n; i++) x[i] = cos((2.0 * i + 1.0) * PI / (2.0 * n));
}

static void dct_parity_on_all_nodes__is_the_cosine_transform(void **state) {
    (void)state;
    double x[64];
    for (uint32_t n = 4; n <= 64; n *= 2) {
        first_kind(n, x);
        brg_dct_parity(n, x, h, scratch);
        for (uint32_t k = 0; k < n; k++) {
            double same = 0.0;
            for (uint32_t i = 0; i < n; i++) {
                same += h[k * n + i] * sqrt((k == 0 ? 1.0 : 2.0) / n) *
                        cos(k * (2.0 * i + 1.0) * PI / (2.0 * n));
            }
            assert_true(fabs(fabs(same) - 1.0) < 1e-12);
        }
    }
}

/* Also with a gap that makes the polynomials all but dependent. */
static void dct_parity_on_survivors__is_orthonormal_and_blind_to_the_code(void **state) {
    (void)state;
    double all[64], x[56];
    uint32_t n = 0;
    first_kind(64, all);
    for (uint32_t i = 0; i < 64; i++) {
        if (i < 20 || i >= 28) x[n++] = all[i];
    }
    brg_dct_parity(n, x, h, scratch);
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t l = 0; l <= k; l++) {
            const double want = k == l ? 1.0 : 0.0;
            assert_true(fabs(brg_dense_dot(n, h + k * n, h + l * n) - want) < 1e-13);
        }
        for (uint32_t t = 0; t < 8 && k >= 8; t++) {
            double sum = 0.0;
            for (uint32_t i = 0; i < n; i++) sum += h[k * n + i] * cos(t * acos(x[i]));
            assert_true(fabs(sum) < 1e-12);
        }
    }
}

static void dct_multipliers__are_those_of_the_oracle(void **state) {
    (void)state;
    static const uint32_t keep[] = {0, 2, 3, 4, 7, 9};
    double all[10], x[6], w[6];
    first_kind(10, all);
    for (uint32_t i = 0; i < 6; i++) x[i] = all[keep[i]];
    brg_dct_multipliers(6, x, w);
    for (uint32_t i = 0; i < 6; i++) assert_true(fabs(w[i] - multipliers[i]) < 1e-13);
}

/* A word of the code of dimension K on n nodes, plus errors at `liars`, all in one direction if
 * rank_one. */
static void word_with(uint32_t n, const double *x, uint64_t liars, int rank_one, double size,
                      double *y) {
    struct brg_prng g = {liars + 1};
    double c[K * Q], direction[Q];
    smooth_fill(&g, K * Q, 1.0, c);
    smooth_fill(&g, Q, size, direction);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t q = 0; q < Q; q++) {
            y[i * Q + q] = 0.0;
            for (uint32_t k = 0; k < K; k++) y[i * Q + q] += c[k * Q + q] * cos(k * acos(x[i]));
            if ((liars >> i & 1) == 0) continue;
            y[i * Q + q] += rank_one ? direction[q] : size * brg_prng_normal(&g);
        }
    }
}

static void dct_syndromes__are_zero_for_words_and_only_for_them(void **state) {
    (void)state;
    double x[N], y[N * Q], s[N * Q], worst = 0.0, seen = 0.0;
    first_kind(N, x);
    for (uint32_t pass = 0; pass < 2; pass++) {
        word_with(N, x, pass << 7, 0, 1e-6, y);
        brg_dct_syndromes((struct brg_dct_syndromes){N, N - K, Q}, x, y, s);
        for (uint32_t i = 0; i < (N - K) * Q; i++) {
            if (pass == 0)
                worst = fmax(worst, fabs(s[i]));
            else
                seen = fmax(seen, fabs(s[i]));
        }
    }
    assert_true(worst < 1e-12);
    assert_true(seen > 1e-8);
}

static uint64_t mask_of(uint32_t count, const uint32_t *at) {
    uint64_t mask = 0;
    for (uint32_t i = 0; i < count; i++) mask |= UINT64_C(1) << at[i];
    return mask;
}

/* Erasures and errors together: 2 v + missing <= N - K. */
static void dct_pgz__locates_every_liar_of_exact_words_on_any_survivors(void **state) {
    (void)state;
    struct brg_prng g = {12};
    assert_true(brg_dct_pgz_doubles(N, Q) <= sizeof memory / sizeof *memory);
    for (uint32_t trial = 0; trial < 60; trial++) {
        const uint32_t missing = trial % 7, v = 1 + trial % ((N - K - missing) / 2);
        const uint64_t gone = smooth_choose(&g, N, missing);
        double all[N], x[N], y[N * Q];
        uint32_t at[N], n = 0, count;
        first_kind(N, all);
        for (uint32_t i = 0; i < N; i++) {
            if ((gone >> i & 1) == 0) x[n++] = all[i];
        }
        const uint64_t liars = smooth_choose(&g, n, v);
        word_with(n, x, liars, trial % 2 == 0, 1.0, y);
        const struct brg_dct_word word = {n, K, Q, x, y};
        assert_int_equal(brg_dct_pgz_count(word, (n - K) / 2, 1e-10, memory, &count), BRG_OK);
        assert_int_equal(count, v);
        assert_int_equal(brg_dct_pgz_locate(word, v, memory, at), BRG_OK);
        assert_true(mask_of(v, at) == liars);
        if (v > 5) continue;
        assert_int_equal(brg_dct_music_smooth(word, v, memory, at), BRG_OK);
        assert_true(mask_of(v, at) == liars);
    }
}

static void dct_pgz_of_an_honest_word__counts_nobody(void **state) {
    (void)state;
    double x[N], y[N * Q];
    uint32_t count;
    first_kind(N, x);
    word_with(N, x, 0, 0, 0.0, y);
    const struct brg_dct_word word = {N, K, Q, x, y};
    assert_int_equal(brg_dct_pgz_count(word, 9, 1e-10, memory, &count), BRG_OK);
    assert_int_equal(count, 0);
    y[5] = NAN;
    assert_int_equal(brg_dct_pgz_count(word, 9, 1e-10, memory, &count), BRG_ERANK);
}

static void dct_music__locates_independent_liars_but_not_one_direction(void **state) {
    (void)state;
    double x[N], y[N * Q], gram[N * N];
    uint32_t at[N], right[2] = {0, 0};
    struct brg_prng g = {3};
    first_kind(N, x);
    brg_dct_parity(N, x, h, scratch);
    for (uint32_t trial = 0; trial < 40; trial++) {
        const uint64_t liars = smooth_choose(&g, N, 4);
        word_with(N, x, liars, trial % 2 == 1, 1.0, y);
        for (uint32_t i = 0; i < N * N; i++) {
            gram[i] = brg_dense_dot(Q, y + i / N * Q, y + i % N * Q);
        }
        assert_int_equal(
            brg_dct_music((struct brg_dct_music){N - K, N, 4}, h + K * N, gram, memory, at),
            BRG_OK);
        right[trial % 2] += mask_of(4, at) == liars;
    }
    assert_int_equal(right[0], 20);
    assert_true(right[1] < 10);
}

static void dct_values__are_what_the_liars_added(void **state) {
    (void)state;
    double x[N], y[N * Q], honest[N * Q], e[3 * Q];
    const uint32_t at[3] = {2, 9, 10};
    const uint64_t liars = mask_of(3, at);
    first_kind(N, x);
    word_with(N, x, liars, 0, 0.5, y);
    word_with(N, x, liars, 0, 0.0, honest);
    brg_dct_parity(N, x, h, scratch);
    const struct brg_dct_values size = {N - K, N, Q, 3};
    assert_int_equal(brg_dct_values(size, h + K * N, y, at, e), BRG_OK);
    for (uint32_t a = 0; a < 3; a++) {
        for (uint32_t q = 0; q < Q; q++) {
            const double want = y[at[a] * Q + q] - honest[at[a] * Q + q];
            assert_true(fabs(e[a * Q + q] - want) < 1e-11);
        }
    }
    const uint32_t twice[3] = {2, 2, 9};
    assert_int_equal(brg_dct_values(size, h + K * N, y, twice, e), BRG_ERANK);
}

static void dct_linalg_jacobi__gives_small_singular_values_to_many_digits(void **state) {
    (void)state;
    double x[3 * 3] = {1.0, 1e-9, 0.0, 1.0, 0.0, 1e-9, 1.0, 0.0, 0.0}, v[9], sigma[3];
    assert_int_equal(brg_linalg_jacobi((struct brg_linalg_vectors){3, 3}, x, v, sigma), BRG_OK);
    assert_true(fabs(sigma[0] - sqrt(3.0)) < 1e-14);
    assert_true(fabs(sigma[1] / 1e-9 - 1.0) < 1e-6); /* eigenvalues of [[1, 0], [0, 1]] less mean */
    assert_true(fabs(sigma[2] / (1e-9 / sqrt(3.0)) - 1.0) < 1e-6);
    x[4] = INFINITY;
    assert_int_equal(brg_linalg_jacobi((struct brg_linalg_vectors){3, 3}, x, v, sigma), BRG_ERANK);
}

static void dct_linalg_cholesky__refuses_what_is_not_definite(void **state) {
    (void)state;
    double good[4] = {4.0, 2.0, 2.0, 3.0}, bad[4] = {1.0, 2.0, 2.0, 1.0}, right[2] = {2.0, 5.0};
    assert_int_equal(brg_linalg_cholesky(2, good), BRG_OK);
    assert_true(good[0] == 2.0 && good[1] == 0.0 && good[2] == 1.0);
    assert_true(fabs(good[3] - sqrt(2.0)) < 1e-15);
    brg_linalg_forward(2, good, 1, right);
    assert_true(right[0] == 1.0 && fabs(right[1] - 4.0 / sqrt(2.0)) < 1e-14);
    assert_int_equal(brg_linalg_cholesky(2, bad), BRG_ERANK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dct_parity_on_all_nodes__is_the_cosine_transform),
        cmocka_unit_test(dct_parity_on_survivors__is_orthonormal_and_blind_to_the_code),
        cmocka_unit_test(dct_multipliers__are_those_of_the_oracle),
        cmocka_unit_test(dct_syndromes__are_zero_for_words_and_only_for_them),
        cmocka_unit_test(dct_pgz__locates_every_liar_of_exact_words_on_any_survivors),
        cmocka_unit_test(dct_pgz_of_an_honest_word__counts_nobody),
        cmocka_unit_test(dct_music__locates_independent_liars_but_not_one_direction),
        cmocka_unit_test(dct_values__are_what_the_liars_added),
        cmocka_unit_test(dct_linalg_jacobi__gives_small_singular_values_to_many_digits),
        cmocka_unit_test(dct_linalg_cholesky__refuses_what_is_not_definite),
    };
    return cmocka_run_group_tests_name("dct_parity", tests, NULL, NULL) != 0;
}
