/* rope.c - rotary positions: each pair (x[i], x[i + half]) of a head turns by position * angle_i.
 *
 * shapes: x [rows, stride], the first heads * head_dim floats of a row are turned; cosines, sines
 *         [context, head_dim / 2].
 * ladder: 1. one pass in place, the pair's halves in two runs so that both load whole lanes. */
#include "kernels/cpu/fast.h"

static void turn(size_t half, const float *restrict cosine, const float *restrict sine, float sign,
                 float *restrict low, float *restrict high) {
    for (size_t i = 0; i < half; i++) {
        const float a = low[i], b = high[i], s = sign * sine[i];
        low[i] = a * cosine[i] - b * s;
        high[i] = a * s + b * cosine[i];
    }
}

void BRG_FAST(rope)(const struct brg_rope *r, const float *cosines, const float *sines, float *x) {
    BRG_ASSERT(r->head_dim % 2 == 0 && r->context > 0);
    BRG_ASSERT((size_t)r->heads * r->head_dim <= r->stride);
    const size_t half = r->head_dim / 2;
    const float sign = r->inverse ? -1.0f : 1.0f;
    for (size_t row = 0; row < r->rows; row++) {
        const size_t t = row % r->context;
        for (size_t h = 0; h < r->heads; h++) {
            float *head = x + row * r->stride + h * r->head_dim;
            turn(half, cosines + t * half, sines + t * half, sign, head, head + half);
        }
    }
}
