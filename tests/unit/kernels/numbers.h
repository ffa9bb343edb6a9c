/* numbers.h - arrays of test numbers and how near two arrays must be. For tests of arithmetic. */
#ifndef BRG_TEST_NUMBERS_H
#define BRG_TEST_NUMBERS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "kernels/kernels.h"

/* Fills x with normal numbers of the given deviation, the same for the same seed. */
static inline void numbers_fill(uint64_t seed, double deviation, size_t count, float *x) {
    struct brg_prng g = {.state = seed};
    for (size_t i = 0; i < count; i++) x[i] = (float)(deviation * brg_prng_normal(&g));
}

/* A new array of them; the caller frees it. */
static inline float *numbers_new(uint64_t seed, double deviation, size_t count) {
    float *x = malloc((count > 0 ? count : 1) * sizeof *x);
    assert_non_null(x);
    numbers_fill(seed, deviation, count, x);
    return x;
}

/* The largest difference, as a part of the largest expected number; NaN where one is NaN. */
static inline double numbers_distance(size_t count, const float *got, const float *want) {
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)got[i] - (double)want[i]);
        if (isnan(difference)) return NAN;
        worst = fmax(worst, difference);
        largest = fmax(largest, fabs((double)want[i]));
    }
    return worst / largest;
}

static inline void numbers_must_be_near(const char *what, size_t count, const float *got,
                                        const float *want, double tolerance) {
    const double d = numbers_distance(count, got, want);
    if (!(d <= tolerance))
        fail_msg("%s: off by %.3g of the largest, %.3g allowed", what, d, tolerance);
}

/* A scalar made from an array: what finite differences look at. */
static inline double numbers_weighted_sum(size_t count, const float *x, const float *weight) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)weight[i];
    return sum;
}

#endif
