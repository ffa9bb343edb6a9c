/* combine.c - out[i] = (float) sum over j of w[j] * x_j[i], in double, in the order of j.
 *
 * shapes: w [k]; x [k] pointers to `count` floats; out [count].
 * ladder: 1. one vector after the other reads and writes `out` k times: half the speed of memory.
 *         2. fused: a block of the output stays in registers while all k streams pass; every
 *            float is read once and written once.
 *         3. the block leaves by non-temporal stores, so that `out` is not read first.
 * The order of the sum does not depend on the block, so all widths give the same bits. */
#include "kernels/cpu/fast.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define PARTS 8u /* of 8 doubles: half of the 32 registers */
#else
#define PARTS 2u
#endif
#define BLOCK (PARTS * 8u)

/* One line of 8 doubles past the caches; `out` is aligned to 32 bytes. */
static inline void store_past(float *out, wide v) {
    const half_lanes f = __builtin_convertvector(v, half_lanes);
#if defined(__AVX__)
    __m256 m;
    memcpy(&m, &f, sizeof m);
    _mm256_stream_ps(out, m);
#elif defined(__SSE2__)
    __m128 m[2];
    memcpy(m, &f, sizeof m);
    _mm_stream_ps(out, m[0]);
    _mm_stream_ps(out + 4, m[1]);
#else
    memcpy(out, &f, sizeof f);
#endif
}

static void combine_some(size_t begin, size_t end, uint32_t k, const double *w,
                         const float *const *x, float *out) {
    for (size_t i = begin; i < end; i++) {
        double sum = w[0] * (double)x[0][i];
        for (uint32_t j = 1; j < k; j++) sum += w[j] * (double)x[j][i];
        out[i] = (float)sum;
    }
}

static void combine_block(size_t at, uint32_t k, const double *w, const float *const *x,
                          float *out) {
    wide sum[PARTS];
    for (uint32_t p = 0; p < PARTS; p++)
        sum[p] = __builtin_convertvector(*(const half_in_memory *)(x[0] + at + p * 8), wide) * w[0];
    for (uint32_t j = 1; j < k; j++) {
        const float *in = x[j] + at;
        const double f = w[j];
        for (uint32_t p = 0; p < PARTS; p++)
            sum[p] += __builtin_convertvector(*(const half_in_memory *)(in + p * 8), wide) * f;
    }
    for (uint32_t p = 0; p < PARTS; p++) store_past(out + at + p * 8, sum[p]);
}

void BRG_FAST(combine)(size_t count, uint32_t k, const double *w, const float *const *x,
                       float *out) {
    BRG_ASSERT(k > 0 && k <= BRG_COMBINE_MAX);
    BRG_ASSERT(w != NULL && x != NULL && (out != NULL || count == 0));
    /* Non-temporal stores need alignment; a tensor may begin anywhere. */
    const size_t skew = ((uintptr_t)out / sizeof *out) % 16;
    size_t head = skew == 0 ? 0 : 16 - skew;
    if (head > count) head = count;
    combine_some(0, head, k, w, x, out);
    size_t i = head;
    for (; i + BLOCK <= count; i += BLOCK) combine_block(i, k, w, x, out);
#if defined(__SSE2__)
    _mm_sfence(); /* the stores are weakly ordered: finish them before anyone is told */
#endif
    combine_some(i, count, k, w, x, out);
}
