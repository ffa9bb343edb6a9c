/* swiglu.c - h = silu(gate) * up and its gradient.
 *
 * shapes: gate_up, dgate_up [rows, 2 cols]; h, dh [rows, cols].
 * ladder: 1. elementwise with the branch-free exponential, which the compiler runs in lanes.
 *
 * With s = 1 / (1 + exp(-g)): d up = dh * g * s, d gate = dh * up * s * (1 + g * (1 - s)). */
#include "kernels/cpu/fast.h"

static void row_forward(size_t cols, const float *restrict gate, const float *restrict up,
                        float *restrict h) {
    for (size_t i = 0; i < cols; i++) h[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
}

static void row_backward(size_t cols, const float *restrict gate, const float *restrict up,
                         const float *restrict dh, float *restrict dgate, float *restrict dup) {
    for (size_t i = 0; i < cols; i++) {
        const float s = 1.0f / (1.0f + fast_exp(-gate[i]));
        dup[i] = dh[i] * gate[i] * s;
        dgate[i] = dh[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
    }
}

void BRG_FAST(swiglu)(struct brg_shape s, const float *gate_up, float *h) {
    const size_t cols = s.cols;
    for (size_t row = 0; row < s.rows; row++) {
        const float *in = gate_up + row * 2 * cols;
        row_forward(cols, in, in + cols, h + row * cols);
    }
}

void BRG_FAST(swiglu_grad)(struct brg_shape s, const float *gate_up, const float *dh,
                           float *dgate_up) {
    const size_t cols = s.cols;
    for (size_t row = 0; row < s.rows; row++) {
        const float *in = gate_up + row * 2 * cols;
        float *out = dgate_up + row * 2 * cols;
        row_backward(cols, in, in + cols, dh + row * cols, out, out + cols);
    }
}
