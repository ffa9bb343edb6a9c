/* combine.c - out[i] = (float) sum over j of w[j] * x_j[i], in double, in the order of j.
 *
 * shapes: w [k]; x [k] pointers to `count` floats; out [count].
 * ladder: 1. one vector after the other reads and writes `out` k times: half the speed of memory.
 *         2. fused: a block of the output stays in registers while all k streams pass; every
 *            float is read once and written once.
 *         3. the block leaves by non-temporal stores, so that `out` is not read first.
 *         4. what each stream needs in the next block is asked for now: the hardware follows few
 *            streams at a time and stops at every page. A quarter faster at any k.
 * The order of the sum does not depend on the block, so all widths give the same bits. */
#include "kernels/cpu/fast.h"

/* One register of doubles: STEP floats widened, and STEP results past the caches (out is aligned to
 * 64 bytes). Written out per instruction set, since compilers split this conversion in pieces. */
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define STEP 8u
#define PARTS 16u
typedef __m512d doubles;
static inline doubles widen(const float *x) {
    return _mm512_cvtps_pd(_mm256_loadu_ps(x));
}
static inline void store_past(float *out, doubles v) {
    _mm256_stream_ps(out, _mm512_cvtpd_ps(v));
}
#elif defined(__AVX__)
#define STEP 4u
#define PARTS 8u
typedef __m256d doubles;
static inline doubles widen(const float *x) {
    return _mm256_cvtps_pd(_mm_loadu_ps(x));
}
static inline void store_past(float *out, doubles v) {
    _mm_stream_ps(out, _mm256_cvtpd_ps(v));
}
#elif defined(__SSE2__)
#define STEP 4u
#define PARTS 4u
typedef double doubles __attribute__((vector_size(32)));
static inline doubles widen(const float *x) {
    const __m128 f = _mm_loadu_ps(x);
    const __m128d pair[2] = {_mm_cvtps_pd(f), _mm_cvtps_pd(_mm_movehl_ps(f, f))};
    doubles v;
    memcpy(&v, pair, sizeof v);
    return v;
}
static inline void store_past(float *out, doubles v) {
    __m128d pair[2];
    memcpy(pair, &v, sizeof v);
    _mm_stream_ps(out, _mm_movelh_ps(_mm_cvtpd_ps(pair[0]), _mm_cvtpd_ps(pair[1])));
}
#else
#define STEP 8u
#define PARTS 2u
typedef wide doubles;
static inline doubles widen(const float *x) {
    return __builtin_convertvector(*(const half_in_memory *)x, wide);
}
static inline void store_past(float *out, doubles v) {
    const half_lanes f = __builtin_convertvector(v, half_lanes);
    memcpy(out, &f, sizeof f);
}
#endif

#define BLOCK (PARTS * STEP)
#define AHEAD_BYTES 512u /* measured best of 256 to 4096 for k = 8 to 32 */
#define LINE_BYTES 64u

/* Integer arithmetic, since the address may lie behind the vector's end; a prefetch never faults.
 */
static inline void prefetch_block(const float *x) {
    const uintptr_t ahead = (uintptr_t)x + AHEAD_BYTES;
    for (uint32_t at = 0; at < BLOCK * sizeof *x; at += LINE_BYTES)
        __builtin_prefetch((const void *)(ahead + at), 0, 2);
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
    doubles sum[PARTS];
    prefetch_block(x[0] + at);
    for (uint32_t p = 0; p < PARTS; p++) sum[p] = widen(x[0] + at + p * STEP) * w[0];
    for (uint32_t j = 1; j < k; j++) {
        const float *in = x[j] + at;
        const double f = w[j];
        prefetch_block(in);
        for (uint32_t p = 0; p < PARTS; p++) sum[p] += widen(in + p * STEP) * f;
    }
    for (uint32_t p = 0; p < PARTS; p++) store_past(out + at + p * STEP, sum[p]);
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
