#include "bench/bench_recovery/bench_recovery.h"

#include <string.h>

#include "recovery/neighbours.h"
#include "recovery/young.h"

/* One step; returns its mean loss with the stages in order. */
static double train(struct run *r, uint64_t step) {
    struct bench *b = r->b;
    uint16_t tokens[MICROBATCH * (CONTEXT + 1)];
    const struct brg_sample_buffer buffer = {.capacity = MICROBATCH, .tokens = tokens};
    struct brg_model_sums plain = {.loss = 0}; /* in order, also where that is not trained */
    struct brg_optimizer_report report;
    brg_line_begin(r->line);
    for (uint32_t m = 0; m < MICROBATCHES; m++) {
        const struct brg_sample_at at = {step, m, 0, MICROBATCH};
        uint32_t order[S];
        struct brg_batch batch;
        struct brg_line_path path = {0, NULL};
        struct brg_model_sums swapped = {.loss = 0};
        brg_sample_chunk(&b->sampler, at, &buffer, &batch);
        const int swaps = r->how->plus && brg_neighbours_order(S, m, 50, order);
        if (swaps) path = (struct brg_line_path){S, order};
        if (swaps && brg_line_loss(r->line, &batch, (struct brg_line_path){0, NULL}, &plain) != 0)
            bench_fail("the corpus holds a token that the model does not know");
        if (brg_line_microbatch(r->line, &batch, path, swaps ? &swapped : &plain) != BRG_OK)
            bench_fail("the corpus holds a token that the model does not know");
    }
    if (brg_line_apply(r->line, step, plain.count, &report) != BRG_OK)
        bench_fail("the training diverged; give --learning-rate a smaller number");
    return plain.loss / (double)plain.count;
}

void bench_run_for_real(struct bench *b, const struct strategy *how) {
    const struct brg_line_settings set = {
        .model = b->model, .optimizer = b->optimizer, .stages = S, .microbatch = MICROBATCH};
    struct run r = {.b = b, .how = how};
    struct brg_why why;
    double spent_s = 0;
    if (brg_line_create(&set, b->seed, &r.line, &why) != BRG_OK) bench_fail(why.text);
    for (uint32_t i = 0; i <= S; i++) r.boundary[i] = bench_alloc(BOUNDARY * sizeof(float));
    for (uint32_t i = 0; i < S && how->kind == SHADOW; i++)
        brg_shadow_begin(&r.copies[i], how->every);
    for (uint32_t t = 0; t < b->set.steps; t++) {
        r.recover_s = 0;
        bench_recover(&r, b->lost[t], t + 1);
        for (uint32_t i = 0; i < S; i++)
            brg_line_at(r.line, i)->lr_factor =
                r.raised[i] > 0 ? brg_neighbours_lr(r.raised[i], t + 1 - r.raised_at[i]) : 1.0;
        b->now.loss[t] = train(&r, t + 1);
        bench_keep(&r, t + 1);
        spent_s += STEP_S + bench_stream_s(&r) + r.recover_s;
        b->now.spent_s[t] = spent_s;
    }
    b->now.held_out = bench_held_out(&r, 128);
    for (uint32_t i = 0; i <= S; i++) free(r.boundary[i]);
    brg_line_destroy(&r.line);
}

static uint32_t count_lost(const struct bench *b, uint32_t t) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < S; i++) count += b->lost[t][i];
    return count;
}

/* Exact recoveries repeat the no-failure run. */
void bench_run_exact(struct bench *b, const struct strategy *how) {
    const struct run r = {.b = b, .how = how};
    const double step_s = how->kind == REDUNDANT ? REDUNDANT_S : STEP_S + bench_stream_s(&r);
    /* Who computes redundantly has the weights; a replica's newcomer downloads everything. */
    const double download_s = how->kind == REPLICA ? bench_stage_mb(b, 0) * MOMENTS / LINK_MB_S : 0;
    double spent_s = 0;
    memcpy(b->now.loss, b->none.loss, sizeof b->now.loss);
    b->now.held_out = b->none.held_out;
    for (uint32_t t = 0; t < b->set.steps; t++) {
        const uint32_t lost = count_lost(b, t);
        spent_s += step_s + lost * (RESTART_S + download_s);
        b->now.spent_s[t] = spent_s;
        b->now.losses += lost;
    }
}

/* All go back to the last checkpoint: step t of the run is step `done` of the no-failure run. Its
 * curve is that of progress: losses of the same batches do not apply. */
void bench_run_rollback(struct bench *b, const struct strategy *how) {
    struct strategy fixed = *how;
    const double cost_s = bench_stage_mb(b, 0) * MOMENTS / LINK_MB_S;
    const uint32_t most = b->set.steps * BEHIND_MAX;
    uint32_t done = 0, losses = 0;
    double spent_s = 0;
    for (uint32_t t = 0; t < b->set.steps; t++) losses += count_lost(b, t) > 0;
    const struct brg_young young = {.run_ms = (uint64_t)(b->set.steps * STEP_S * 1e3),
                                    .losses = losses,
                                    .cost_ms = (uint64_t)(cost_s * 1e3),
                                    .step_ms = (uint64_t)(STEP_S * 1e3)};
    if (how->every == 0) fixed.every = (uint32_t)brg_young_every(&young, 1, b->set.steps);
    const struct run r = {.b = b, .how = &fixed};
    for (uint32_t t = 0; t < most && done < b->set.steps; t++) {
        const uint32_t lost = count_lost(b, t);
        if (t < b->set.steps) b->now.losses += lost;
        if (lost > 0) {
            done = done / fixed.every * fixed.every;
            spent_s += RESTART_S + cost_s;
        }
        spent_s += STEP_S + bench_stream_s(&r);
        if (t < b->set.steps) b->now.loss[t] = b->base[done];
        b->progress[t] = done++;
        b->now.spent_s[t] = spent_s;
    }
}

/* Mean of x over [t - half, t + half], as far as there are steps. */
static double around(const double *x, const double *minus, uint32_t steps, uint32_t t,
                     uint32_t half) {
    const uint32_t begin = t < half ? 0 : t - half, end = t + half < steps ? t + half : steps - 1;
    double sum = 0;
    for (uint32_t i = begin; i <= end; i++) sum += x[i] - (minus == NULL ? 0 : minus[i]);
    return sum / (double)(end - begin + 1);
}

/* Straight lines between the points where the mean is lower than ever before: falling throughout,
 * so that a small difference is a small delay. */
void bench_smooth(struct bench *b) {
    uint32_t last = 0;
    for (uint32_t t = 0; t < b->set.steps; t++) {
        const double mean = around(b->none.loss, NULL, b->set.steps, t, SMOOTH);
        b->base[t] = t == 0 ? mean : b->base[last];
        if (t == 0 || mean >= b->base[last]) continue;
        for (uint32_t i = last + 1; i <= t; i++)
            b->base[i] = b->base[last] + (mean - b->base[last]) * (i - last) / (t - last);
        last = t;
    }
}

/* Steps and seconds until the curve reaches `target`, between steps by interpolation; 0: never. */
static double reach(const struct bench *b, const double *smooth, double target, double *spent_s) {
    for (uint32_t t = 1; t < b->set.steps; t++) {
        if (smooth[t] > target) continue;
        const double drop = smooth[t - 1] - smooth[t];
        const double share = drop > 0 ? (smooth[t - 1] - target) / drop : 1.0;
        const double from = share > 0 ? share < 1 ? share : 1.0 : 0.0;
        *spent_s = b->now.spent_s[t - 1] + from * (b->now.spent_s[t] - b->now.spent_s[t - 1]);
        return (double)t + from; /* after t steps the loss is smooth[t - 1] */
    }
    return 0;
}

static double reach_rollback(const struct bench *b, uint32_t step, double *spent_s) {
    for (uint32_t t = 0; t < b->set.steps * BEHIND_MAX; t++) {
        if (b->progress[t] < step) continue;
        *spent_s = b->now.spent_s[t];
        return (double)t + 1;
    }
    return 0;
}

struct figures bench_figures_of(struct bench *b, const struct strategy *how) {
    static double smooth[STEPS_MAX];
    const uint32_t steps = b->set.steps, judged = steps - b->set.warm;
    const int back = how->kind == ROLLBACK;
    struct figures f = {.losses = b->now.losses,
                        .fallen = b->now.fallen,
                        .held_out = b->now.held_out,
                        .reached = 1};
    double none_s = 0, spent_s = 0;
    for (uint32_t t = 0; t < steps; t++) {
        smooth[t] = b->base[t] + around(b->now.loss, b->none.loss, steps, t, PAIRED);
        if (t < b->set.warm) continue;
        f.extra_loss += (b->now.loss[t] - (back ? b->base[t] : b->none.loss[t])) / judged;
    }
    for (uint32_t i = 0; i < TARGETS; i++) {
        const uint32_t at = steps / 2 + i * steps / 50;
        double own_s = 0, ignored_s = 0;
        const double none = reach(b, b->base, b->base[at], &ignored_s);
        const double own = back ? reach_rollback(b, (uint32_t)none, &own_s)
                                : reach(b, smooth, b->base[at], &own_s);
        if (own <= 0) f.reached = 0;
        none_s += none * STEP_S;
        spent_s += own_s;
        f.steps += own / TARGETS;
    }
    f.hours = spent_s / TARGETS / 3600;
    f.vs_none = spent_s / none_s;
    if (f.losses > 0) {
        f.jump = b->now.jump / f.losses;
        f.stale = b->now.stale / f.losses;
    }
    return f;
}
