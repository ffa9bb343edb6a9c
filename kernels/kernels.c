#include "kernels/kernels.h"

#include <math.h>

#include "kernels/cpu/tables.h"

uint32_t brg_kernels_list(const struct brg_kernels **out) {
    BRG_ASSERT(out != NULL);
    uint32_t count = 0;
    out[count++] = &brg_kernels_reference;
    out[count++] = &brg_kernels_base;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                   __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    if (v3) out[count++] = &brg_kernels_v3;
    if (v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        out[count++] = &brg_kernels_v4;
#endif
    BRG_ASSERT(count <= BRG_KERNELS_MAX);
    return count;
}

const struct brg_kernels *brg_kernels_pick(void) {
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    return tables[brg_kernels_list(tables) - 1];
}

size_t brg_attention_scratch(const struct brg_attention *a) {
    const size_t width = ((size_t)a->context + 15) / 16 * 16;
    return 2 * BRG_ATTENTION_BLOCK * width; /* scores, and their gradient */
}

void brg_rope_table(uint32_t context, uint32_t head_dim, double theta, float *cosines,
                    float *sines) {
    BRG_ASSERT(head_dim % 2 == 0 && head_dim > 0);
    BRG_ASSERT(theta > 0);
    const uint32_t half = head_dim / 2;
    for (uint32_t t = 0; t < context; t++)
        for (uint32_t i = 0; i < half; i++) {
            const double angle = t * pow(theta, -2.0 * i / head_dim);
            cosines[(size_t)t * half + i] = (float)cos(angle);
            sines[(size_t)t * half + i] = (float)sin(angle);
        }
}

void brg_combine(size_t count, uint32_t k, const double *w, const float *const *x, float *out) {
    brg_kernels_pick()->combine(count, k, w, x, out);
}

struct brg_narrow_error brg_narrow_error_of(size_t count, const float *x, const float *y) {
    double far = 0, largest = 0, square = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = fabs((double)y[i] - (double)x[i]), a = fabs((double)x[i]);
        far = d > far ? d : far;
        largest = a > largest ? a : largest;
        square += d * d;
        all += a * a;
    }
    if (square == 0 && all == 0) return (struct brg_narrow_error){0, 0};
    return (struct brg_narrow_error){far / largest, sqrt(square / all)};
}

struct brg_range brg_range_split(size_t count, uint32_t parts, uint32_t index) {
    BRG_ASSERT(parts > 0);
    BRG_ASSERT(index < parts);
    const size_t lines = (count + 63) / 64;
    const size_t each = lines / parts, extra = lines % parts;
    const size_t first = each * index + (index < extra ? index : extra);
    const size_t last = first + each + (index < extra ? 1 : 0);
    struct brg_range r = {.begin = first * 64, .end = last * 64};
    if (r.begin > count) r.begin = count;
    if (r.end > count) r.end = count;
    return r;
}
