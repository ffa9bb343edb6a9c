#include "bench/bench_recovery/bench_recovery.h"

#include <string.h>

#include "recovery/ladder.h"
#include "recovery/neighbours.h"
#include "recovery/parity.h"

/* Weights of a stage in megabytes, embedding and head included where they can be lost. */
double bench_stage_mb(const struct bench *b, uint32_t stage) {
    const int edge = !b->set.interior && (stage == 0 || stage == S - 1);
    return STAGE_MB + (edge ? EDGE_MB : 0);
}

static double state_mb(const struct run *r, uint32_t stage) {
    return bench_stage_mb(r->b, stage) * (r->how->moments ? MOMENTS : 1.0);
}

/* What a strategy's streams add to every step: the slowest link, that of the largest stage. */
double bench_stream_s(const struct run *r) {
    const double edges_s = r->b->set.interior ? 0 : 2 * EDGE_MB / LINK_MB_S;
    switch (r->how->kind) {
    case REPLICA:
        return bench_stage_mb(r->b, 0) / LINK_MB_S; /* siblings exchange their gradients */
    case SHADOW:
    case PARITY: return state_mb(r, 0) / r->how->every / LINK_MB_S * (r->how->packed ? PACKED : 1);
    case ROLLBACK: return bench_stage_mb(r->b, 0) * MOMENTS / r->how->every / LINK_MB_S;
    case MIX:
    case COPY:
    case PROBE:
    case RANDOM: return edges_s; /* copies of embedding and head at neighbours */
    default: return 0;
    }
}

double bench_held_out(struct run *r, uint32_t count) {
    struct bench *b = r->b;
    uint16_t tokens[MICROBATCH * (CONTEXT + 1)];
    const struct brg_sample_buffer buffer = {.capacity = MICROBATCH, .tokens = tokens};
    struct brg_model_sums sums = {.loss = 0};
    if (count > b->sampler.held_samples) count = (uint32_t)b->sampler.held_samples;
    const uint64_t apart = b->sampler.held_samples / count;
    for (uint32_t i = 0; i < count; i++) { /* spread over the whole held-out part */
        struct brg_batch batch;
        brg_sample_held(&b->sampler, i * apart, 1, &buffer, &batch);
        if (brg_line_loss(r->line, &batch, (struct brg_line_path){0, NULL}, &sums) != BRG_OK)
            bench_fail("the corpus holds a token that the model does not know");
    }
    return sums.loss / (double)sums.count;
}

/* Squared gradient norms of the last step, of the layers alone. */
static void norms_of(struct run *r, double *norm2) {
    for (uint32_t i = 0; i < S; i++) {
        const struct brg_line_stage *s = brg_line_at(r->line, i);
        const struct brg_line_layers at = brg_line_layers_of(&s->stage);
        norm2[i] = brg_optimizer_norm2(at.size * at.count, s->grad + at.first);
    }
}

static void combine(struct run *r, uint32_t lost, const struct brg_neighbours_mix *mix) {
    struct brg_line_stage *to = brg_line_at(r->line, lost);
    const struct brg_line_layers at = brg_line_layers_of(&to->stage);
    for (uint32_t layer = 0; layer < at.count; layer++) {
        const float *x[BRG_NEIGHBOURS_DONORS];
        for (uint32_t i = 0; i < mix->count; i++) {
            const struct brg_line_stage *s = brg_line_at(r->line, mix->stage[i]);
            const struct brg_line_layers from = brg_line_layers_of(&s->stage);
            const uint32_t twin = brg_neighbours_layer(layer, at.count, from.count);
            x[i] = s->params + from.first + twin * from.size;
        }
        brg_combine(at.size, mix->count, mix->weight, x, to->params + at.first + layer * at.size);
    }
}

/* A fresh start of the layers. Embedding and head come from their copies, that is, stay. */
static void begin_anew(struct run *r, uint32_t lost) {
    struct brg_line_stage *s = brg_line_at(r->line, lost);
    const struct brg_line_layers at = brg_line_layers_of(&s->stage);
    memcpy(s->params + at.first, r->b->fresh + s->stage.offset + at.first,
           at.size * at.count * sizeof(float));
}

/* Makes the stage the identity, from where it can learn: zero is written into the stream. */
static void skip(struct run *r, uint32_t lost) {
    struct brg_line_stage *s = brg_line_at(r->line, lost);
    begin_anew(r, lost);
    for (uint32_t i = 0; i < brg_model_tensor_count(&r->b->model); i++) {
        struct brg_model_tensor t;
        brg_model_tensor(&r->b->model, i, &t);
        if (t.offset < s->stage.offset || t.offset >= s->stage.offset + s->stage.param_count)
            continue;
        if (strstr(t.name, "o_proj") == NULL && strstr(t.name, "down_proj") == NULL) continue;
        memset(s->params + (t.offset - s->stage.offset), 0,
               (size_t)t.rows * t.cols * sizeof(float));
    }
}

/* The nearest stage before `stage` that is there, else the nearest behind it. */
static int previous_of(const uint8_t *have, uint32_t stage, struct brg_neighbours_mix *plan) {
    for (uint32_t i = 0; i + 1 < S; i++) {
        const uint32_t donor = i < stage ? stage - 1 - i : i + 1;
        if (!have[donor]) continue;
        *plan = (struct brg_neighbours_mix){.count = 1, .stage = {donor}, .weight = {1.0}};
        return BRG_OK;
    }
    return BRG_ENOENT;
}

static void mix(struct run *r, const uint8_t *lost, uint32_t stage, int copies) {
    struct brg_neighbours_mix plan;
    uint8_t have[S];
    double norm2[S];
    norms_of(r, norm2);
    for (uint32_t i = 0; i < S; i++) have[i] = !lost[i];
    const struct brg_neighbours_line line = {.stages = S,
                                             .have = have,
                                             .norm2 = norm2,
                                             .exponent = r->how->exponent,
                                             .plus = r->how->plus};
    const int rc =
        copies ? previous_of(have, stage, &plan) : brg_neighbours_plan(&line, stage, &plan);
    if (rc == BRG_OK)
        combine(r, stage, &plan);
    else
        begin_anew(r, stage);
}

/* Mix, copy or skip: what loses least on one held-out microbatch. */
static void probe(struct run *r, const uint8_t *lost, uint32_t stage) {
    double loss[3];
    uint32_t best = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t candidate = i < 3 ? i : best;
        if (candidate == 2)
            skip(r, stage);
        else
            mix(r, lost, stage, candidate == 1);
        if (i == 3) break;
        loss[i] = bench_held_out(r, MICROBATCH);
        if (i == 2 && brg_neighbours_pick(loss, 3, &best) != BRG_OK) best = 2;
    }
    r->recover_s += (3 + S - 1) * MICROBATCH_S / 3; /* three forward passes in a row */
}

/* Neighbours and their kin: new optimizer state, the rate raised for a while. */
static void take_neighbours(struct run *r, const uint8_t *lost, uint32_t stage, uint64_t step) {
    const struct strategy *how = r->how;
    double error[2];
    double downloads = 1;
    if (how->kind == RANDOM) {
        begin_anew(r, stage);
        downloads = 0;
    } else if (how->kind == COPY) {
        mix(r, lost, stage, 1);
    } else if (how->kind == MIX) {
        mix(r, lost, stage, 0);
        downloads = 2;
    } else {
        probe(r, lost, stage);
        downloads = 2;
    }
    r->recover_s +=
        RESTART_S + (downloads * STAGE_MB + bench_stage_mb(r->b, stage) - STAGE_MB) / LINK_MB_S;
    brg_line_forget(r->line, stage);
    if (how->distil && step > 1) {
        brg_line_distil(r->line, stage, MICROBATCH, r->boundary[stage], r->boundary[stage + 1],
                        (struct brg_line_fit){DISTIL_STEPS, DISTIL_LR}, error);
        r->recover_s += DISTIL_STEPS * MICROBATCH_S;
    }
    if (how->kind == RANDOM) return;
    r->raised[stage] = brg_neighbours_raise(brg_line_at(r->line, stage)->lr_factor);
    r->raised_at[stage] = step;
}

/* --- shadows --- */

/* Copies parameters [begin, end) of the stage to its shadow, or back. */
static void shadow_copy(struct run *r, uint32_t stage, struct brg_shadow_slice at, int back) {
    const struct brg_line_stage *s = brg_line_at(r->line, stage);
    const uint64_t n = s->stage.param_count;
    float *kept = r->b->shadow + 3 * s->stage.offset; /* weights, first, second moments */
    float *const live[3] = {s->params, s->moments, s->moments + n};
    for (uint32_t i = 0; i < (r->how->moments ? 3u : 1u); i++) {
        float *from = back ? kept + i * n : live[i], *to = back ? live[i] : kept + i * n;
        memcpy(to + at.begin, from + at.begin, (at.end - at.begin) * sizeof(float));
    }
}

static void shadow_take(struct run *r, uint32_t stage, struct brg_shadow_slice at,
                        uint64_t version) {
    const struct brg_line_stage *s = brg_line_at(r->line, stage);
    float *kept = r->b->shadow + 3 * s->stage.offset;
    const int first = r->copies[stage].version[at.index] == 0; /* nothing to be a change of */
    if (brg_shadow_take(&r->copies[stage], at.index, version) != 1) return;
    if (!r->how->packed || first)
        shadow_copy(r, stage, at, 0);
    else if (brg_shadow_pack(s->params + at.begin, kept + at.begin, at.end - at.begin,
                             r->b->snapshot) != BRG_OK)
        bench_fail("a weight is not finite; give --learning-rate a smaller number");
}

static void shadow_fill(struct run *r, uint32_t stage, uint64_t version) {
    const uint64_t n = brg_line_at(r->line, stage)->stage.param_count;
    brg_shadow_begin(&r->copies[stage], r->how->every);
    for (uint32_t i = 0; i < r->how->every; i++)
        shadow_take(r, stage, brg_shadow_slice_at(n, r->how->every, i), version);
}

static void take_shadow(struct run *r, uint32_t stage, uint64_t version) {
    struct brg_line_stage *s = brg_line_at(r->line, stage);
    const struct brg_shadow_slice all = {.begin = 0, .end = s->stage.param_count};
    const uint64_t own_step = s->own_step, stale = brg_shadow_staleness(&r->copies[stage], version);
    BRG_ASSERT(stale <= version);
    brg_line_forget(r->line, stage);
    shadow_copy(r, stage, all, 1);
    if (r->how->moments) s->own_step = own_step > stale ? own_step - stale : 0;
    r->b->now.stale += (double)stale;
    r->recover_s += RESTART_S + state_mb(r, stage) / LINK_MB_S;
}

/* --- parity --- */

static size_t state_bytes(const struct run *r, uint32_t stage) {
    return 3 * brg_line_at(r->line, stage)->stage.param_count * sizeof(float);
}

static size_t state_bytes_max(const struct run *r) {
    size_t most = 0;
    for (uint32_t i = 0; i < S; i++)
        if (state_bytes(r, i) > most) most = state_bytes(r, i);
    return most;
}

/* The whole snapshot, or the one whose deltas are under way. Behind the stages' lie the parities
 * of the groups. */
static uint8_t *snapshot_of(const struct run *r, uint32_t half, uint32_t index) {
    return r->b->snapshot + (half * PARITY_PARTS + index) * state_bytes_max(r);
}

/* Every so many steps: what was under way is whole by now, and the next one begins. */
static void parity_turn(struct run *r, uint64_t version) {
    const size_t most = state_bytes_max(r);
    const uint32_t groups = brg_parity_groups(S, PARITY_GROUP);
    if (r->parity_version[1] > 0) {
        memcpy(snapshot_of(r, 0, 0), snapshot_of(r, 1, 0), PARITY_PARTS * most);
        r->parity_version[0] = r->parity_version[1];
    }
    memset(snapshot_of(r, 1, S), 0, groups * most);
    for (uint32_t i = 0; i < S; i++) {
        const struct brg_line_stage *s = brg_line_at(r->line, i);
        const size_t n = s->stage.param_count * sizeof(float);
        uint8_t *to = snapshot_of(r, 1, i);
        memcpy(to, s->params, n);
        memcpy(to + n, s->moments, 2 * n);
        brg_parity_add(snapshot_of(r, 1, S + i % groups), most, to, state_bytes(r, i));
    }
    r->parity_version[1] = version;
}

static void take_parity(struct run *r, const uint8_t *lost, uint32_t stage, uint64_t version) {
    const uint32_t groups = brg_parity_groups(S, PARITY_GROUP), group = stage % groups;
    const uint64_t stale = version - r->parity_version[0];
    const struct brg_parity_part whole = {snapshot_of(r, 0, S + group), state_bytes_max(r),
                                          r->parity_version[0]};
    struct brg_line_stage *s = brg_line_at(r->line, stage);
    const size_t n = s->stage.param_count * sizeof(float);
    struct brg_parity_part parts[S];
    uint8_t *rebuilt = bench_alloc(state_bytes_max(r));
    uint32_t count = 0;
    for (uint32_t i = group; i < S; i += groups)
        parts[count++] = (struct brg_parity_part){lost[i] ? NULL : snapshot_of(r, 0, i),
                                                  state_bytes(r, i), r->parity_version[0]};
    if (brg_parity_rebuild(&whole, parts, count, rebuilt) != BRG_OK)
        bench_fail("the ladder chose a parity that cannot rebuild the stage");
    memcpy(s->params, rebuilt, n);
    memcpy(s->moments, rebuilt + n, 2 * n);
    s->own_step = s->own_step > stale ? s->own_step - stale : 0;
    free(rebuilt);
    r->b->now.stale += (double)stale;
    r->recover_s += RESTART_S + PARITY_GROUP * state_mb(r, stage) / LINK_MB_S;
}

/* --- losses --- */

static struct brg_ladder_config ladder_of(const struct strategy *how) {
    if (how->kind == SHADOW || how->kind == PARITY) {
        struct brg_ladder_config c = brg_ladder_default();
        c.rungs[c.count - 1] =
            BRG_RUNG_RANDOM; /* no checkpoint: it would hide what the rest does */
        return c;
    }
    return (struct brg_ladder_config){.count = 2, .rungs = {BRG_RUNG_NEIGHBOURS, BRG_RUNG_RANDOM}};
}

static struct brg_ladder_view view_of(const struct run *r, const uint8_t *lost, uint64_t version) {
    struct brg_ladder_view v = {.stages = S, .version = version};
    const uint32_t groups = brg_parity_groups(S, PARITY_GROUP);
    for (uint32_t i = 0; i < S; i++) {
        v.stage[i] = (struct brg_ladder_stage){
            .lost = lost[i],
            .edges = i == 0 || i == S - 1,
            .edges_copied = 1,
            .shadow_kept = r->how->kind == SHADOW,
            .shadow_alive = !lost[brg_shadow_holder(S, i)],
            .shadow_version = r->how->kind == SHADOW ? brg_shadow_oldest(&r->copies[i]) : 0,
            .parity_kept = r->how->kind == PARITY,
            .parity_alive = !lost[brg_parity_holder(S, PARITY_GROUP, i % groups)],
            .parity_group = i % groups,
            .parity_version = r->parity_version[0],
        };
    }
    return v;
}

/* What lost workers kept of others is sent again, whole. */
static void refill(struct run *r, const uint8_t *lost, uint64_t version) {
    const uint32_t groups = brg_parity_groups(S, PARITY_GROUP);
    for (uint32_t i = 0; i < S && r->how->kind == SHADOW; i++) {
        if (!lost[brg_shadow_holder(S, i)]) continue;
        shadow_fill(r, i, version);
        r->recover_s += state_mb(r, i) / LINK_MB_S;
    }
    if (r->how->kind != PARITY) return;
    r->parity_version[1] = 0; /* the lost member's new snapshot went with it */
    for (uint32_t g = 0; g < groups; g++)
        if (lost[brg_parity_holder(S, PARITY_GROUP, g)]) r->recover_s += state_mb(r, g) / LINK_MB_S;
}

/* To the nearest bfloat16: half a percent of a weight at most, which does no harm by itself. */
static void round_stage(struct run *r, const uint8_t *lost) {
    for (uint32_t i = 0; i < S; i++) {
        const struct brg_line_stage *s = brg_line_at(r->line, i);
        if (!lost[i]) continue;
        for (uint64_t k = 0; k < s->stage.param_count; k++) {
            uint32_t bits;
            memcpy(&bits, &s->params[k], sizeof bits);
            bits = (bits + 0x8000u) & 0xffff0000u;
            memcpy(&s->params[k], &bits, sizeof bits);
        }
        r->b->now.losses++;
    }
}

void bench_recover(struct run *r, const uint8_t *lost, uint64_t step) {
    const struct brg_ladder_config config = ladder_of(r->how);
    const struct brg_ladder_view view = view_of(r, lost, step - 1);
    struct brg_ladder_choice choices[S];
    struct curve *now = &r->b->now;
    uint32_t stuck;
    if (memchr(lost, 1, S) == NULL) return;
    if (r->how->kind == CONTROL) {
        round_stage(r, lost);
        return;
    }
    const double before = bench_held_out(r, 16);
    if (brg_ladder_choose(&config, &view, choices, &stuck) != BRG_OK)
        bench_fail("no rung cures a stage, though 'random' always does");
    for (uint32_t i = 0; i < S; i++) {
        if (!lost[i]) continue;
        now->losses++;
        now->fallen += choices[i].tried_count > 1 && choices[i].rung >= BRG_RUNG_NEIGHBOURS;
        if (choices[i].rung == BRG_RUNG_SHADOW)
            take_shadow(r, i, step - 1);
        else if (choices[i].rung == BRG_RUNG_PARITY)
            take_parity(r, lost, i, step - 1);
        else
            take_neighbours(r, lost, i, step);
    }
    refill(r, lost, step - 1);
    now->jump += bench_held_out(r, 16) - before;
}

/* After step `version`: streams, and what distillation wants. */
void bench_keep(struct run *r, uint64_t version) {
    for (uint32_t i = 0; i < S && r->how->kind == SHADOW; i++) {
        const uint64_t n = brg_line_at(r->line, i)->stage.param_count;
        shadow_take(r, i, brg_shadow_due(n, r->how->every, version), version);
    }
    if (r->how->kind == PARITY && version % r->how->every == 0) parity_turn(r, version);
    for (uint32_t i = 0; i <= S && r->how->distil; i++)
        memcpy(r->boundary[i], brg_line_boundary(r->line, i), BOUNDARY * sizeof(float));
}
