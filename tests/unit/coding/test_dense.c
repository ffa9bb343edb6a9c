#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "coding/dense.h"

#include <math.h>
#include <string.h>

static void fill_normal(size_t count, double *x, struct brg_prng *g) {
    for (size_t i = 0; i < count; i++) x[i] = brg_prng_normal(g);
}

static double worst_product(uint32_t rows, uint32_t n, const double *m, const double *x,
                            const double *want) {
    double worst = 0.0;
    for (uint32_t r = 0; r < rows; r++) {
        const double error = fabs(brg_dense_dot(n, m + (size_t)r * n, x) - want[r]);
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

static void dense_dot__adds_every_element_whatever_the_length(void **state) {
    (void)state;
    double x[13], ones[13];
    for (uint32_t i = 0; i < 13; i++) {
        x[i] = (double)(1u << i);
        ones[i] = 1.0;
    }
    for (uint32_t n = 0; n <= 13; n++) {
        assert_true(brg_dense_dot(n, x, ones) == (double)((1u << n) - 1u));
    }
}

static void dense_solve__finds_the_solution_with_zero_pivots_in_the_way(void **state) {
    (void)state;
    struct brg_prng g = {1};
    double swap[4] = {0.0, 1.0, 1.0, 0.0}, two[2] = {3.0, 4.0};
    assert_int_equal(brg_dense_solve(2, swap, two), BRG_OK);
    assert_true(two[0] == 4.0 && two[1] == 3.0);
    for (uint32_t k = 1; k <= BRG_DENSE_SOLVE_MAX; k++) {
        static double a[64 * 64], copy[64 * 64];
        double b[64], x[64];
        fill_normal((size_t)k * k, a, &g);
        fill_normal(k, b, &g);
        a[0] = 0.0;
        if (k == 1) a[0] = 2.0;
        memcpy(copy, a, sizeof a);
        memcpy(x, b, sizeof b);
        assert_int_equal(brg_dense_solve(k, a, x), BRG_OK);
        assert_true(worst_product(k, k, copy, x, b) < 1e-9);
    }
}

static void dense_singular__is_refused(void **state) {
    (void)state;
    double square[4] = {1.0, 2.0, 2.0, 4.0}, b[2] = {1.0, 1.0}, x[3];
    assert_int_equal(brg_dense_solve(2, square, b), BRG_ERANK);
    double parallel[6] = {1.0, 2.0, 3.0, 2.0, 4.0, 6.0};
    assert_int_equal(brg_dense_least_norm(2, 3, parallel, b, x), BRG_ERANK);
    double zero[3] = {0.0, 0.0, 0.0};
    assert_int_equal(brg_dense_least_norm(1, 3, zero, b, x), BRG_ERANK);
    double broken[3] = {NAN, 0.0, 1.0};
    assert_int_equal(brg_dense_least_norm(1, 3, broken, b, x), BRG_ERANK);
}

static void dense_least_norm__solves_and_is_orthogonal_to_the_null_space(void **state) {
    (void)state;
    struct brg_prng g = {2};
    double m[2 * 3] = {1.0, 1.0, 0.0, 0.0, 0.0, 2.0}, x[64];
    const double b[2] = {2.0, 6.0};
    assert_int_equal(brg_dense_least_norm(2, 3, m, b, x), BRG_OK); /* (1, 1, 3), not (2, 0, 3) */
    assert_true(fabs(x[0] - 1.0) + fabs(x[1] - 1.0) + fabs(x[2] - 3.0) < 1e-14);
    for (uint32_t d = 0; d <= 20; d++) {
        double rows[20 * 24], copy[20 * 24], want[20];
        fill_normal((size_t)d * 24, rows, &g);
        fill_normal(d, want, &g);
        memcpy(copy, rows, (size_t)d * 24 * sizeof *rows);
        assert_int_equal(brg_dense_least_norm(d, 24, rows, want, x), BRG_OK);
        assert_true(worst_product(d, 24, copy, x, want) < 1e-11);
        for (uint32_t k = 0; k < d; k++) { /* rows are an orthonormal basis now: x lies in it */
            brg_dense_axpy(24, -brg_dense_dot(24, x, rows + k * 24), rows + k * 24, x);
        }
        assert_true(brg_dense_dot(24, x, x) < 1e-20);
    }
}

/* A matrix of known rank: n - s random rows, one of them such that the sum of all is 1, and s
 * random combinations of them. */
static void dense_left_null__finds_all_of_it_and_the_shortest_solution(void **state) {
    (void)state;
    enum { N = 12, S = 4, R = N - S };
    struct brg_prng g = {3};
    double b[N * N], copy[N * N], null[(S + 1) * N], a[N], scratch[2 * N], column[N];
    fill_normal((size_t)R * N, b, &g);
    for (uint32_t j = 0; j < N; j++) {
        double sum = 0.0;
        for (uint32_t i = 0; i + 1 < R; i++) sum += b[i * N + j];
        b[(R - 1) * N + j] = 1.0 - sum;
    }
    for (uint32_t i = R; i < N; i++) {
        memset(b + i * N, 0, N * sizeof *b);
        for (uint32_t k = 0; k < R; k++) {
            brg_dense_axpy(N, brg_prng_normal(&g), b + k * N, b + i * N);
        }
    }
    memcpy(copy, b, sizeof b);
    assert_int_equal(brg_dense_left_null(N, S, b, null, a, scratch, scratch + N), BRG_OK);
    for (uint32_t j = 0; j < N; j++) {
        for (uint32_t i = 0; i < N; i++) column[i] = copy[i * N + j];
        assert_true(fabs(brg_dense_dot(N, a, column) - 1.0) < 1e-11);
        for (uint32_t f = 0; f < S; f++) {
            assert_true(fabs(brg_dense_dot(N, null + f * N, column)) < 1e-11);
        }
    }
    for (uint32_t f = 0; f < S; f++) {
        assert_true(fabs(brg_dense_dot(N, null + f * N, a)) < 1e-12);
        for (uint32_t e = 0; e <= f; e++) {
            const double want = e == f ? 1.0 : 0.0;
            assert_true(fabs(brg_dense_dot(N, null + f * N, null + e * N) - want) < 1e-13);
        }
    }
    memcpy(b, copy, sizeof b); /* neither more nor less than the rank it has */
    assert_int_equal(brg_dense_left_null(N, S - 1, b, null, a, scratch, scratch + N), BRG_ERANK);
    memcpy(b, copy, sizeof b);
    assert_int_equal(brg_dense_left_null(N, S + 1, b, null, a, scratch, scratch + N), BRG_ERANK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_dot__adds_every_element_whatever_the_length),
        cmocka_unit_test(dense_solve__finds_the_solution_with_zero_pivots_in_the_way),
        cmocka_unit_test(dense_singular__is_refused),
        cmocka_unit_test(dense_least_norm__solves_and_is_orthogonal_to_the_null_space),
        cmocka_unit_test(dense_left_null__finds_all_of_it_and_the_shortest_solution),
    };
    return cmocka_run_group_tests_name("dense", tests, NULL, NULL) != 0;
}
