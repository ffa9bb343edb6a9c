/* dense.c - bias and ReLU of the classifiers, forward and backward. Elementwise, one pass each. */
#include "kernels/cpu/fast.h"

void BRG_FAST(bias)(struct brg_shape s, const float *bias, float *y) {
    for (size_t row = 0; row < s.rows; row++) BRG_FAST(add)(s.cols, bias, y + row * s.cols);
}

void BRG_FAST(bias_grad)(struct brg_shape s, const float *dy, float *dbias) {
    for (size_t row = 0; row < s.rows; row++) BRG_FAST(add)(s.cols, dy + row * s.cols, dbias);
}

void BRG_FAST(relu)(size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] = y[i] < 0.0f ? 0.0f : y[i];
}

void BRG_FAST(relu_grad)(size_t count, const float *y, float *dy) {
    const float *restrict out = y;
    float *restrict d = dy;
    for (size_t i = 0; i < count; i++) d[i] = out[i] <= 0.0f ? 0.0f : d[i];
}
