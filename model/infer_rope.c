#include "model/infer_rope.h"

#include "kernels/kernels.h"

#include <math.h>

#define PI 3.14159265358979323846

static double frequency_of(const struct brg_model_spec *spec, uint32_t pair) {
    const uint32_t head_dim = spec->dim / spec->heads;
    return pow((double)spec->rope_theta, -2.0 * pair / head_dim);
}

double brg_infer_rope_divisor(const struct brg_model_spec *spec, uint32_t pair) {
    const struct brg_rope_scaling *r = &spec->rope_scaling;
    BRG_ASSERT(pair < spec->dim / spec->heads / 2);
    if (r->type == BRG_ROPE_PLAIN) return 1;
    const double factor = (double)r->factor;
    if (r->type == BRG_ROPE_LINEAR) return factor;
    const double low = (double)r->low_freq, high = (double)r->high_freq;
    const double turns = r->original_context * frequency_of(spec, pair) / (2 * PI);
    if (turns < low) return factor;
    if (turns > high) return 1;
    const double weight = (turns - low) / (high - low);
    return 1 / ((1 - weight) / factor + weight);
}

void brg_infer_rope_table(const struct brg_model_spec *spec, float *cosines, float *sines) {
    const uint32_t half = spec->dim / spec->heads / 2;
    if (spec->rope_scaling.type == BRG_ROPE_PLAIN) {
        brg_rope_table(spec->context, 2 * half, (double)spec->rope_theta, cosines, sines);
        return;
    }
    for (uint32_t i = 0; i < half; i++) {
        const double step = frequency_of(spec, i) / brg_infer_rope_divisor(spec, i);
        for (uint32_t t = 0; t < spec->context; t++) {
            cosines[(size_t)t * half + i] = (float)cos(t * step);
            sines[(size_t)t * half + i] = (float)sin(t * step);
        }
    }
}
