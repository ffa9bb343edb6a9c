/* narrow.c - floats in 16 and 8 bits, for what goes over the wire: bf16, and int8 in blocks.
 *
 * Elementwise but for the largest of a block, which is found among the bits: without its sign a
 * float's bits, as a number, order as its values do, and NaN and infinity lie above all others. So
 * the maximum has no order of evaluation to keep and runs in lanes. */
#include "kernels/cpu/fast.h"

#define SIGN_LESS 0x7fffffffu
#define INFINITE 0x7f800000u

void BRG_FAST(to_bf16)(size_t count, const float *x, uint16_t *y) {
    const float *restrict in = x;
    uint16_t *restrict out = y;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], sizeof bits);
        /* Half of the last place that stays, less one where it is even: a tie goes up to even only,
         * and a carry into the exponent is the next binade, or infinity. */
        const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
        const uint32_t quiet = bits >> 16 | 0x40u;
        out[i] = (uint16_t)((bits & SIGN_LESS) > INFINITE ? quiet : rounded);
    }
}

void BRG_FAST(from_bf16)(size_t count, const uint16_t *x, float *y) {
    const uint16_t *restrict in = x;
    float *restrict out = y;
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)in[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

/* One block. The sum with 1.5 * 2^23 leaves no room for a fraction and so rounds, ties to even. */
static void block_to_int8(size_t count, const float *restrict x, int8_t *restrict q,
                          float *restrict scale) {
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= SIGN_LESS;
        most = bits > most ? bits : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    *scale = most < INFINITE ? largest / 127.0f : NAN;
    if (!(*scale > 0)) {
        memset(q, 0, count);
        return;
    }
    const float s = *scale;
    for (size_t i = 0; i < count; i++) {
        float v = x[i] / s;
        v = v < -127.0f ? -127.0f : v; /* a scale that is rounded down by much, near 0 */
        v = v > 127.0f ? 127.0f : v;
        q[i] = (int8_t)(int32_t)((v + 12582912.0f) - 12582912.0f);
    }
}

void BRG_FAST(to_int8)(size_t count, uint32_t block, const float *x, int8_t *q, float *scales) {
    BRG_ASSERT(block >= BRG_NARROW_BLOCK_MIN && block <= BRG_NARROW_BLOCK_MAX);
    for (size_t begin = 0; begin < count; begin += block) {
        const size_t left = count - begin;
        block_to_int8(left < block ? left : block, x + begin, q + begin, &scales[begin / block]);
    }
}

void BRG_FAST(from_int8)(size_t count, uint32_t block, const int8_t *q, const float *scales,
                         float *y) {
    BRG_ASSERT(block >= BRG_NARROW_BLOCK_MIN && block <= BRG_NARROW_BLOCK_MAX);
    for (size_t begin = 0; begin < count; begin += block) {
        const size_t end = begin + block < count ? begin + block : count;
        const int8_t *restrict in = q;
        float *restrict out = y;
        const float scale = scales[begin / block];
        for (size_t i = begin; i < end; i++) out[i] = (float)in[i] * scale;
    }
}
