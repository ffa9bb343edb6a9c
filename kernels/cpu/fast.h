/* fast.h - what the fast operations share. Private to kernels/cpu.
 *
 * The fast sources are compiled once per instruction set with BRG_ISA naming it, so that one
 * source gives one order of arithmetic and the CPU decides only how many lanes run at once.
 * Elementwise loops are left to the compiler. Sums are written with 16 explicit lanes, which
 * narrower units run in several pieces: the order, and so the bits, stay the same. */
#ifndef BRG_KERNELS_CPU_FAST_H
#define BRG_KERNELS_CPU_FAST_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/sgemm.h"

#define BRG_PASTE2(a, b) a##_##b
#define BRG_PASTE(a, b) BRG_PASTE2(a, b)
#define BRG_FAST(name) BRG_PASTE(brg_fast_##name, BRG_ISA)

#define LANES 16u

typedef float lanes __attribute__((vector_size(64)));
typedef float lanes_in_memory __attribute__((vector_size(64), aligned(4), may_alias));
typedef double wide __attribute__((vector_size(64)));
typedef float half_lanes __attribute__((vector_size(32)));
typedef float half_in_memory __attribute__((vector_size(32), aligned(4), may_alias));

static inline lanes load(const float *x) {
    return *(const lanes_in_memory *)x;
}

/* The last, incomplete lanes: `count` < 16 floats and `fill` behind them. */
static inline lanes load_part(const float *x, size_t count, float fill) {
    float part[LANES];
    for (size_t i = 0; i < LANES; i++) part[i] = i < count ? x[i] : fill;
    return load(part);
}

/* Sum of 16 lanes: 0+8, 1+9, ...; then 0+4, ...; a tree of fixed shape. */
static inline float fold(lanes v) {
    float s[LANES];
    memcpy(s, &v, sizeof s);
    for (uint32_t width = LANES / 2; width > 0; width /= 2)
        for (uint32_t i = 0; i < width; i++) s[i] += s[i + width];
    return s[0];
}

static inline float dot(size_t count, const float *a, const float *b) {
    lanes sum = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) sum += load(a + i) * load(b + i);
    if (i < count) sum += load_part(a + i, count - i, 0) * load_part(b + i, count - i, 0);
    return fold(sum);
}

static inline float highest(size_t count, const float *x) {
    float top[LANES];
    for (size_t l = 0; l < LANES; l++) top[l] = -INFINITY;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t l = 0; l < LANES; l++) top[l] = x[i + l] > top[l] ? x[i + l] : top[l];
    for (size_t l = 0; i + l < count; l++) top[l] = x[i + l] > top[l] ? x[i + l] : top[l];
    float high = top[0];
    for (size_t l = 1; l < LANES; l++) high = top[l] > high ? top[l] : high;
    return high;
}

/* Sum in double of partial sums in float over 256 elements: the error stays near 1e-7 relative
 * for rows of any length, at the speed of the float sum. */
static inline double sum_blocks(size_t count, const float *x) {
    double total = 0;
    for (size_t begin = 0; begin < count; begin += 256) {
        const size_t end = begin + 256 < count ? begin + 256 : count;
        lanes sum = {0};
        size_t i = begin;
        for (; i + LANES <= end; i += LANES) sum += load(x + i);
        if (i < end) sum += load_part(x + i, end - i, 0);
        total += (double)fold(sum);
    }
    return total;
}

/* exp(x) without a branch, so that the compiler can run it in lanes.
 *
 * x = n ln 2 + r, |r| <= ln 2 / 2, with ln 2 in two parts of which the first times n is exact
 * (Cody, Waite, "Software Manual for the Elementary Functions", 1980, ch. 6); exp(r) by its Taylor
 * sum to degree 7 (the rest is below 6e-9); 2^n by its exponent bits, which adding 1.5 * 2^23 has
 * put at the low end of the sum. Relative error <= 2e-7 on [-87.3, 88.3] (the unit test measures
 * it); 0 below, 2.2e38 above; NaN stays NaN. */
static inline float fast_exp(float x) {
    float c = x < -87.3f ? -87.3f : x;
    c = c > 88.3f ? 88.3f : c;
    const float shifted = c * 1.44269504088896341f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (c - n * 0.693359375f) - n * -2.12194440054690583e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    const float y = p * power;
    return x < -87.3f ? 0.0f : y;
}

/* The operations, as struct brg_kernels describes them. */
void BRG_FAST(rmsnorm)(struct brg_shape s, float eps, const float *x, const float *gain, float *y,
                       float *inv);
void BRG_FAST(rmsnorm_grad)(struct brg_shape s, const float *x, const float *gain, const float *inv,
                            const float *dy, float *dx, float *dgain);
void BRG_FAST(rope)(const struct brg_rope *r, const float *cosines, const float *sines, float *x);
void BRG_FAST(attention)(const struct brg_attention *a, const float *qkv, float *out, float *stats,
                         float *scratch);
void BRG_FAST(attention_grad)(const struct brg_attention *a, const float *qkv, const float *out,
                              const float *stats, const float *dout, float *dqkv, float *scratch);
void BRG_FAST(swiglu)(struct brg_shape s, const float *gate_up, float *h);
void BRG_FAST(swiglu_grad)(struct brg_shape s, const float *gate_up, const float *dh,
                           float *dgate_up);
void BRG_FAST(embed)(struct brg_shape s, const uint32_t *id, const float *table, float *y);
void BRG_FAST(embed_grad)(struct brg_shape s, const uint32_t *id, const float *dy, float *dtable);
void BRG_FAST(cross_entropy)(struct brg_shape s, const uint32_t *target, uint32_t want_grad,
                             float *logits, struct brg_cross_entropy *sums);
void BRG_FAST(bias)(struct brg_shape s, const float *bias, float *y);
void BRG_FAST(bias_grad)(struct brg_shape s, const float *dy, float *dbias);
void BRG_FAST(relu)(size_t count, float *y);
void BRG_FAST(relu_grad)(size_t count, const float *y, float *dy);
void BRG_FAST(add)(size_t count, const float *x, float *y);
void BRG_FAST(scale)(size_t count, float factor, float *y);
double BRG_FAST(norm2)(size_t count, const float *x);
void BRG_FAST(adamw)(size_t count, const struct brg_adamw *a, const float *grad, float *m, float *v,
                     float *p);
void BRG_FAST(sgd)(size_t count, const struct brg_sgd *a, const float *grad, float *m, float *p);
void BRG_FAST(combine)(size_t count, uint32_t k, const double *w, const float *const *x,
                       float *out);
void BRG_FAST(to_bf16)(size_t count, const float *x, uint16_t *y);
void BRG_FAST(from_bf16)(size_t count, const uint16_t *x, float *y);
void BRG_FAST(to_int8)(size_t count, uint32_t block, const float *x, int8_t *q, float *scales);
void BRG_FAST(from_int8)(size_t count, uint32_t block, const int8_t *q, const float *scales,
                         float *y);

#endif
