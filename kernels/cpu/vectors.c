/* vectors.c - operations over whole parameter vectors: add, scale, norm, AdamW, SGD.
 *
 * All are elementwise but norm2, whose sum runs in 16 double lanes folded in a fixed order. */
#include "kernels/cpu/fast.h"

void BRG_FAST(add)(size_t count, const float *x, float *y) {
    const float *restrict in = x;
    float *restrict out = y;
    for (size_t i = 0; i < count; i++) out[i] += in[i];
}

void BRG_FAST(scale)(size_t count, float factor, float *y) {
    for (size_t i = 0; i < count; i++) y[i] *= factor;
}

double BRG_FAST(norm2)(size_t count, const float *x) {
    wide low = {0}, high = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const wide a = __builtin_convertvector(*(const half_in_memory *)(x + i), wide);
        const wide b = __builtin_convertvector(*(const half_in_memory *)(x + i + 8), wide);
        low += a * a;
        high += b * b;
    }
    low += high;
    double sum = 0;
    for (uint32_t l = 0; l < 8; l++) sum += low[l];
    for (; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

void BRG_FAST(adamw)(size_t count, const struct brg_adamw *a, const float *grad, float *m, float *v,
                     float *p) {
    const struct brg_adamw c = *a;
    const float *restrict g_in = grad;
    float *restrict mr = m, *restrict vr = v, *restrict pr = p;
    const float rest1 = 1.0f - c.beta1, rest2 = 1.0f - c.beta2;
    for (size_t i = 0; i < count; i++) {
        const float g = g_in[i] * c.grad_scale;
        const float mi = c.beta1 * mr[i] + rest1 * g;
        const float vi = c.beta2 * vr[i] + rest2 * (g * g);
        const float change = mi * c.correct1 / (sqrtf(vi * c.correct2) + c.eps);
        mr[i] = mi;
        vr[i] = vi;
        pr[i] -= c.lr * (change + c.decay * pr[i]);
    }
}

void BRG_FAST(sgd)(size_t count, const struct brg_sgd *a, const float *grad, float *m, float *p) {
    const struct brg_sgd c = *a;
    const float *restrict g_in = grad;
    float *restrict mr = m, *restrict pr = p;
    BRG_ASSERT(m != NULL || !(c.momentum > 0.0f));
    if (m == NULL) {
        for (size_t i = 0; i < count; i++)
            pr[i] -= c.lr * (g_in[i] * c.grad_scale + c.decay * pr[i]);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const float g = g_in[i] * c.grad_scale + c.decay * pr[i];
        mr[i] = c.momentum * mr[i] + g;
        pr[i] -= c.lr * mr[i];
    }
}
