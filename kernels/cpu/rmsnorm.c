/* rmsnorm.c - y = x * inv * gain with inv = 1 / sqrt(mean(x^2) + eps), and its gradient.
 *
 * shapes: x, y, dy, dx [rows, cols]; gain, dgain [cols]; inv [rows].
 * ladder: 1. one pass for the mean, one to write, the row staying in the first cache.
 *
 * With u = gain * dy: dx = inv * u - x * inv^3 / cols * sum(u * x), dgain = sum over rows of
 * dy * x * inv. */
#include "kernels/cpu/fast.h"

void BRG_FAST(rmsnorm)(struct brg_shape s, float eps, const float *x, const float *gain, float *y,
                       float *inv) {
    BRG_ASSERT(s.cols > 0);
    for (size_t row = 0; row < s.rows; row++) {
        const float *restrict in = x + row * s.cols;
        const float *restrict g = gain;
        float *restrict out = y + row * s.cols;
        const float mean = dot(s.cols, in, in) / (float)s.cols;
        const float factor = 1.0f / sqrtf(mean + eps);
        for (size_t i = 0; i < s.cols; i++) out[i] = in[i] * factor * g[i];
        inv[row] = factor;
    }
}

/* sum of gain * dy * x over one row. */
static float weighted_dot(size_t count, const float *gain, const float *dy, const float *x) {
    lanes sum = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) sum += load(gain + i) * load(dy + i) * load(x + i);
    if (i < count)
        sum += load_part(gain + i, count - i, 0) * load_part(dy + i, count - i, 0) *
               load_part(x + i, count - i, 0);
    return fold(sum);
}

void BRG_FAST(rmsnorm_grad)(struct brg_shape s, const float *x, const float *gain, const float *inv,
                            const float *dy, float *dx, float *dgain) {
    BRG_ASSERT(s.cols > 0);
    for (size_t row = 0; row < s.rows; row++) {
        const float *restrict in = x + row * s.cols;
        const float *restrict g = gain;
        const float *restrict d = dy + row * s.cols;
        float *restrict out = dx + row * s.cols;
        float *restrict dg = dgain;
        const float factor = inv[row];
        const float pull =
            weighted_dot(s.cols, g, d, in) * factor * factor * factor / (float)s.cols;
        for (size_t i = 0; i < s.cols; i++) {
            out[i] += g[i] * d[i] * factor - in[i] * pull;
            dg[i] += d[i] * in[i] * factor;
        }
    }
}
