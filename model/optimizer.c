#include "model/optimizer.h"

#include <math.h>

#include "model/model.h"

#define NORM_BLOCK 65536u /* the norm is summed block by block, in order */

int brg_optimizer_check(const struct brg_optimizer_spec *spec, struct brg_why *why) {
    const struct {
        const char *name;
        float value, low, high;
        int open; /* `high` itself is not allowed */
    } ranges[] = {
        {"lr", spec->lr, 0, 1000, 0},          {"lr_min_ratio", spec->lr_min_ratio, 0, 1, 0},
        {"beta1", spec->beta1, 0, 1, 1},       {"beta2", spec->beta2, 0, 1, 1},
        {"eps", spec->eps, 0, 1, 0},           {"weight_decay", spec->weight_decay, 0, 1000, 0},
        {"momentum", spec->momentum, 0, 1, 1}, {"clip", spec->clip, 0, 1e9f, 0},
    };
    BRG_ASSERT(spec != NULL);
    if (spec->type != BRG_OPTIMIZER_SGD && spec->type != BRG_OPTIMIZER_ADAMW)
        return brg_why_set(why, BRG_EINVAL, "optimizer: type %u is neither sgd nor adamw",
                           spec->type);
    if (spec->schedule != BRG_SCHEDULE_CONSTANT && spec->schedule != BRG_SCHEDULE_COSINE)
        return brg_why_set(why, BRG_EINVAL, "optimizer: schedule %u is neither constant nor cosine",
                           spec->schedule);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const float v = ranges[i].value; /* NaN fails every comparison */
        if (!(v >= ranges[i].low) || !(v <= ranges[i].high) ||
            (ranges[i].open && !(v < ranges[i].high)))
            return brg_why_set(why, BRG_EINVAL, "optimizer: %s is %g; it must be from %g %s %g",
                               ranges[i].name, (double)v, (double)ranges[i].low,
                               ranges[i].open ? "up to below" : "to", (double)ranges[i].high);
    }
    if (spec->type == BRG_OPTIMIZER_ADAMW && !(spec->eps > 0))
        return brg_why_set(why, BRG_EINVAL,
                           "optimizer: eps is 0, which divides by zero where a gradient is 0; "
                           "1e-8 is usual");
    if (spec->schedule == BRG_SCHEDULE_COSINE && spec->total_steps <= spec->warmup_steps)
        return brg_why_set(why, BRG_EINVAL,
                           "optimizer: warmup (%llu steps) leaves nothing of %llu steps for the "
                           "cosine; shorten warmup or use schedule: constant",
                           (unsigned long long)spec->warmup_steps,
                           (unsigned long long)spec->total_steps);
    return BRG_OK;
}

uint64_t brg_optimizer_state_count(const struct brg_optimizer_spec *spec, uint64_t param_count) {
    if (spec->type == BRG_OPTIMIZER_ADAMW) return 2 * param_count;
    return spec->momentum > 0 ? param_count : 0;
}

double brg_optimizer_lr(const struct brg_optimizer_spec *spec, uint64_t step) {
    BRG_ASSERT(step > 0);
    const double lr = (double)spec->lr, low = (double)spec->lr_min_ratio;
    if (step <= spec->warmup_steps) return lr * (double)step / (double)spec->warmup_steps;
    if (spec->schedule == BRG_SCHEDULE_CONSTANT) return lr;
    BRG_ASSERT(spec->total_steps > spec->warmup_steps);
    if (step >= spec->total_steps) return lr * low;
    const double done =
        (double)(step - spec->warmup_steps) / (double)(spec->total_steps - spec->warmup_steps);
    return lr * (low + (1.0 - low) * 0.5 * (1.0 + cos(3.14159265358979323846 * done)));
}

/* base^n by squaring: multiplications only, so the bits do not depend on the C library. */
static double power(double base, uint64_t n) {
    double result = 1.0;
    for (; n > 0; n >>= 1) {
        if (n & 1) result *= base;
        base *= base;
    }
    return result;
}

/* The same update for parameters [begin, end). */
struct update {
    const struct brg_kernels *k;
    const struct brg_optimizer_spec *spec;
    uint64_t param_count;
    struct brg_adamw adamw;
    struct brg_sgd sgd;
};

static void apply(const struct update *u, uint64_t begin, uint64_t end, int decays,
                  const float *grad, float *moments, float *params) {
    const uint64_t n = end - begin;
    if (u->spec->type == BRG_OPTIMIZER_ADAMW) {
        struct brg_adamw a = u->adamw;
        if (!decays) a.decay = 0;
        u->k->adamw(n, &a, grad + begin, moments + begin, moments + u->param_count + begin,
                    params + begin);
        return;
    }
    struct brg_sgd s = u->sgd;
    if (!decays) s.decay = 0;
    u->k->sgd(n, &s, grad + begin, s.momentum > 0 ? moments + begin : NULL, params + begin);
}

static struct update update_of(const struct brg_optimizer_spec *spec,
                               const struct brg_optimizer_part *part) {
    const float lr = (float)(brg_optimizer_lr(spec, part->step) * part->lr_factor);
    const float grad_scale = (float)(part->clip / (double)part->targets);
    struct update u = {.k = brg_kernels_pick(), .spec = spec, .param_count = part->count};
    u.adamw = (struct brg_adamw){
        .lr = lr,
        .beta1 = spec->beta1,
        .beta2 = spec->beta2,
        .eps = spec->eps,
        .decay = spec->weight_decay,
        .grad_scale = grad_scale,
        .correct1 = (float)(1.0 / (1.0 - power((double)spec->beta1, part->own_step))),
        .correct2 = (float)(1.0 / (1.0 - power((double)spec->beta2, part->own_step))),
    };
    u.sgd = (struct brg_sgd){.lr = lr,
                             .momentum = spec->momentum,
                             .decay = spec->weight_decay,
                             .grad_scale = grad_scale};
    return u;
}

void brg_optimizer_step_part(const struct brg_optimizer_spec *spec,
                             const struct brg_model_spec *model,
                             const struct brg_optimizer_part *part, const float *grad_sum,
                             float *moments, float *params) {
    BRG_ASSERT(part->step > 0 && part->own_step > 0 && part->targets > 0);
    BRG_ASSERT(moments != NULL || brg_optimizer_state_count(spec, part->count) == 0);
    const struct update u = update_of(spec, part);
    const uint32_t tensors = brg_model_tensor_count(model);
    uint64_t done = 0;
    for (uint32_t i = 0; i < tensors; i++) {
        struct brg_model_tensor t;
        brg_model_tensor(model, i, &t);
        if (t.offset < part->offset || t.offset >= part->offset + part->count) continue;
        const uint64_t begin = t.offset - part->offset, n = (uint64_t)t.rows * t.cols;
        apply(&u, begin, begin + n, t.dims == 2, grad_sum, moments, params);
        done += n;
    }
    BRG_ASSERT(done == part->count);
}

double brg_optimizer_norm2(uint64_t count, const float *grad_sum) {
    const struct brg_kernels *k = brg_kernels_pick();
    double sum = 0;
    for (uint64_t at = 0; at < count; at += NORM_BLOCK)
        sum += k->norm2(count - at < NORM_BLOCK ? count - at : NORM_BLOCK, grad_sum + at);
    return sum;
}

double brg_optimizer_clip(const struct brg_optimizer_spec *spec, double grad_norm) {
    if (!(spec->clip > 0) || !(grad_norm > (double)spec->clip)) return 1.0;
    return (double)spec->clip / grad_norm;
}

int brg_optimizer_step(const struct brg_optimizer_spec *spec, const struct brg_model_spec *model,
                       uint64_t step, uint64_t count, const float *grad_sum, float *moments,
                       float *params, struct brg_optimizer_report *report) {
    BRG_ASSERT(step > 0 && count > 0);
    BRG_ASSERT(grad_sum != NULL && params != NULL && report != NULL);
    const uint64_t n = brg_model_param_count(model);
    report->lr = brg_optimizer_lr(spec, step);
    report->grad_norm = sqrt(brg_optimizer_norm2(n, grad_sum)) / (double)count;
    report->clip = 1.0;
    if (!isfinite(report->grad_norm)) return BRG_EINVAL;
    report->clip = brg_optimizer_clip(spec, report->grad_norm);
    const struct brg_optimizer_part whole = {.offset = 0,
                                             .count = n,
                                             .step = step,
                                             .own_step = step,
                                             .targets = count,
                                             .clip = report->clip,
                                             .lr_factor = 1.0};
    brg_optimizer_step_part(spec, model, &whole, grad_sum, moments, params);
    return BRG_OK;
}
