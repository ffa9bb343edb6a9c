/* stage_state.c - opening a stage, and its part of a step; see stage_state.h. */
#include "worker/shell/stage_private.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static uint64_t clock_ns(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- open ---- */

static int get(struct brg_stage_state *s, struct brg_buffer **out, uint64_t bytes) {
    return brg_pool_get(s->pool, bytes > 0 ? bytes : 1, out);
}

static int open_data(struct brg_stage_state *s, const char *path, struct brg_why *why) {
    struct brg_data_error error;
    int rc = brg_file_map_open(path, BRG_DATA_FILE_MAX, &s->map);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s: %s", path, strerror(errno));
    rc = brg_data_open_blob(path, s->map.data, s->map.size_bytes, &s->data, &error);
    if (rc == BRG_OK)
        rc = brg_sampler_init(&s->sampler, &s->data, &s->setup.run.model, &s->setup.run.batch,
                              s->setup.run.data_seeds[0], &error);
    return rc == BRG_OK ? rc : brg_why_set(why, rc, "%s", error.text);
}

static int open_memory(struct brg_stage_state *s) {
    const struct brg_stage *cut = &s->cut;
    const uint64_t params = cut->param_count;
    const uint64_t matrix = brg_stage_boundary_count(cut, s->microbatch) * sizeof(float);
    const uint64_t tokens = (uint64_t)s->microbatch * (cut->model.context + 1) * sizeof(uint16_t);
    int rc = get(s, &s->memory, brg_stage_workspace_bytes(cut, s->microbatch, s->slots));
    if (rc == BRG_OK) rc = get(s, &s->sample_memory, tokens);
    if (rc == BRG_OK) rc = get(s, &s->params_buffer, params * sizeof(float));
    if (rc == BRG_OK) rc = get(s, &s->moments_buffer, s->moments_count * sizeof(float));
    if (rc == BRG_OK) rc = get(s, &s->reduced_buffer, params * sizeof(float));
    if (rc == BRG_OK) rc = get(s, &s->x_buffer, matrix);
    if (rc == BRG_OK) rc = get(s, &s->y_buffer, matrix);
    if (rc == BRG_OK) rc = get(s, &s->dy_buffer, matrix);
    if (rc != BRG_OK) return rc;
    s->params = s->params_buffer->data;
    s->moments = s->moments_buffer->data;
    s->reduced = s->reduced_buffer->data;
    s->x = s->x_buffer->data;
    s->y = s->y_buffer->data;
    s->samples.capacity = s->microbatch;
    s->samples.tokens = s->sample_memory->data;
    s->workspace =
        brg_stage_workspace_init(s->memory->data, cut, s->microbatch, s->slots, s->kernels);
    return BRG_OK;
}

int brg_stage_open(const struct brg_stage_setup *setup, struct brg_pool *pool, const char *path,
                   struct brg_stage_state **out, struct brg_why *why) {
    *out = NULL;
    struct brg_stage_state *s = calloc(1, sizeof *s);
    if (s == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    s->setup = *setup;
    s->pool = pool;
    s->kernels = brg_kernels_pick();
    s->optimizer = brg_stage_optimizer(&setup->line.optimizer);
    int rc = brg_stage_cut(&setup->run.model, setup->line.stages, setup->stage, &s->cut, why);
    if (rc != BRG_OK) goto out;
    s->moments_count = brg_optimizer_state_count(&s->optimizer, s->cut.param_count);
    s->microbatch = brg_sample_chunk_range(&setup->run.batch, 0).count;
    s->slots = setup->line.stages - setup->stage;
    if (s->slots > setup->line.microbatches) s->slots = setup->line.microbatches;
    rc = open_data(s, path, why);
    if (rc != BRG_OK) goto out;
    rc = open_memory(s);
    if (rc != BRG_OK)
        rc = brg_why_set(why, rc, "stage %u of %u does not fit into the memory of this worker",
                         setup->stage, setup->line.stages);
out:
    if (rc != BRG_OK) brg_stage_close(&s);
    *out = s;
    return rc;
}

void brg_stage_close(struct brg_stage_state **state) {
    struct brg_stage_state *s = *state;
    if (s == NULL) return;
    for (uint32_t i = 0; i < BRG_LINE_STAGES_MAX; i++) brg_stage_forget_shadow(s, i);
    for (uint32_t i = 0; i < BRG_LINE_LANES_MAX; i++) brg_buffer_release(s->lane_buffers[i]);
    brg_buffer_release(s->mirror);
    brg_buffer_release(s->memory);
    brg_buffer_release(s->sample_memory);
    brg_buffer_release(s->params_buffer);
    brg_buffer_release(s->moments_buffer);
    brg_buffer_release(s->reduced_buffer);
    brg_buffer_release(s->x_buffer);
    brg_buffer_release(s->y_buffer);
    brg_buffer_release(s->dy_buffer);
    brg_data_close(&s->data);
    brg_file_map_close(&s->map);
    free(s);
    *state = NULL;
}

/* ---- the wire's forms of a matrix ---- */

uint64_t brg_stage_wire_bytes(const struct brg_stage *cut, uint32_t wire, uint32_t samples) {
    const uint64_t n = brg_stage_boundary_count(cut, samples);
    const uint64_t blocks = (n + BRG_STAGE_WIRE_BLOCK - 1) / BRG_STAGE_WIRE_BLOCK;
    return wire == 0 ? n * sizeof(float) : wire == 1 ? n * 2 : blocks * sizeof(float) + n;
}

/* own: *out is the caller's */
static int encode(struct brg_stage_state *s, uint32_t samples, const float *x, float *scratch,
                  struct brg_buffer **out) {
    const uint64_t n = brg_stage_boundary_count(&s->cut, samples);
    const uint64_t blocks = (n + BRG_STAGE_WIRE_BLOCK - 1) / BRG_STAGE_WIRE_BLOCK;
    const uint32_t wire = s->setup.line.wire;
    const int rc = get(s, out, brg_stage_wire_bytes(&s->cut, wire, samples));
    if (rc != BRG_OK) return rc;
    if (wire == 0) {
        memcpy((*out)->data, x, n * sizeof(float));
        return BRG_OK;
    }
    float *scales = (*out)->data;
    if (wire == 1) {
        s->kernels->to_bf16(n, x, (*out)->data);
        s->kernels->from_bf16(n, (*out)->data, scratch);
    } else {
        s->kernels->to_int8(n, BRG_STAGE_WIRE_BLOCK, x, (int8_t *)(scales + blocks), scales);
        s->kernels->from_int8(n, BRG_STAGE_WIRE_BLOCK, (int8_t *)(scales + blocks), scales,
                              scratch);
    }
    const double error = brg_narrow_error_of(n, x, scratch).max_relative;
    if (error > s->sums.wire_error) s->sums.wire_error = error;
    return BRG_OK;
}

static int decode(struct brg_stage_state *s, uint32_t samples, const struct brg_buffer *from,
                  float *x) {
    const uint64_t n = brg_stage_boundary_count(&s->cut, samples);
    const uint64_t blocks = (n + BRG_STAGE_WIRE_BLOCK - 1) / BRG_STAGE_WIRE_BLOCK;
    const uint32_t wire = s->setup.line.wire;
    const float *scales = from->data;
    if (from->size_bytes < brg_stage_wire_bytes(&s->cut, wire, samples)) return BRG_EPROTO;
    if (wire == 0)
        memcpy(x, from->data, n * sizeof(float));
    else if (wire == 1)
        s->kernels->from_bf16(n, from->data, x);
    else
        s->kernels->from_int8(n, BRG_STAGE_WIRE_BLOCK, (const int8_t *)(scales + blocks), scales,
                              x);
    return BRG_OK;
}

/* ---- a step ---- */

static uint32_t lane_of(const struct brg_stage_state *s, uint32_t index) {
    return index % s->setup.line.lanes;
}

/* The lane's sum, zero the first time it is used in a step. */
static int lane_sum(struct brg_stage_state *s, uint32_t lane, float **out) {
    const uint64_t bytes = s->cut.param_count * sizeof(float);
    if (s->lane_buffers[lane] == NULL) {
        const int rc = get(s, &s->lane_buffers[lane], bytes);
        if (rc != BRG_OK) return rc;
        memset(s->lane_buffers[lane]->data, 0, bytes);
    }
    *out = s->lane_buffers[lane]->data;
    return BRG_OK;
}

void brg_stage_begin(struct brg_stage_state *s, uint64_t step, uint32_t lanes) {
    s->step = step;
    s->lanes = lanes;
    s->lanes_here = 0;
    memset(&s->sums, 0, sizeof s->sums);
    memset(s->slot_used, 0, sizeof s->slot_used);
    for (uint32_t i = 0; i < BRG_LINE_MICROBATCHES_MAX; i++) s->slot_of[i] = BRG_STAGE_NONE;
    for (uint32_t i = 0; i < BRG_LINE_LANES_MAX; i++) {
        brg_buffer_release(s->lane_buffers[i]);
        s->lane_buffers[i] = NULL;
    }
}

static void batch_of(struct brg_stage_state *s, uint32_t index, struct brg_batch *out) {
    const struct brg_sample_at at = {.step = s->step - 1,
                                     .chunk = index,
                                     .first = 0,
                                     .count = brg_sample_chunk_count(&s->sampler, index)};
    brg_sample_chunk(&s->sampler, at, &s->samples, out);
}

static uint32_t take_slot(struct brg_stage_state *s, uint32_t index) {
    uint32_t slot = 0;
    while (slot < s->slots && s->slot_used[slot]) slot++;
    BRG_ASSERT(slot < s->slots); /* the holder's machine bounds what is in flight */
    s->slot_used[slot] = 1;
    s->slot_of[index] = slot;
    return slot;
}

/* Behind the last layer: the loss, and what goes back, which waits in dy. */
static int head(struct brg_stage_state *s, uint32_t index, const struct brg_batch *batch) {
    const uint32_t lane = lane_of(s, index);
    struct brg_model_sums sums = {.loss = s->sums.loss_sums[lane],
                                  .count = s->sums.loss_counts[lane]};
    float *grad = NULL;
    int rc = lane_sum(s, lane, &grad);
    if (rc == BRG_OK)
        rc = brg_stage_head(s->workspace, s->params, batch, s->y, grad, s->dy_buffer->data, &sums);
    s->sums.loss_sums[lane] = sums.loss;
    s->sums.loss_counts[lane] = sums.count;
    return rc;
}

int brg_stage_pass_forward(struct brg_stage_state *s, uint32_t index, const struct brg_buffer *x,
                           struct brg_buffer **y) {
    const uint64_t began_ns = clock_ns();
    struct brg_batch batch;
    int rc = BRG_OK;
    *y = NULL;
    BRG_ASSERT(index < s->setup.line.microbatches);
    batch_of(s, index, &batch);
    if (brg_stage_embeds(&s->cut))
        rc = brg_stage_embed(s->workspace, s->params, &batch, s->x);
    else
        rc = decode(s, batch.samples, x, s->x);
    if (rc != BRG_OK) return rc;
    brg_stage_forward(s->workspace, take_slot(s, index), s->params, batch.samples, s->x, s->y);
    if (brg_stage_has_head(&s->cut))
        rc = head(s, index, &batch);
    else
        rc = encode(s, batch.samples, s->y, s->x, y);
    s->sums.compute_ns += clock_ns() - began_ns;
    return rc;
}

int brg_stage_pass_backward(struct brg_stage_state *s, uint32_t index, const struct brg_buffer *dy,
                            struct brg_buffer **dx) {
    const uint64_t began_ns = clock_ns();
    const uint32_t samples = brg_sample_chunk_count(&s->sampler, index);
    float *d = s->dy_buffer->data, *grad = NULL;
    struct brg_batch batch;
    *dx = NULL;
    BRG_ASSERT(s->slot_of[index] != BRG_STAGE_NONE);
    int rc = brg_stage_has_head(&s->cut) ? BRG_OK : decode(s, samples, dy, d);
    if (rc == BRG_OK) rc = lane_sum(s, lane_of(s, index), &grad);
    if (rc != BRG_OK) return rc;
    brg_stage_backward(s->workspace, s->slot_of[index], s->params, samples, d, grad);
    s->slot_used[s->slot_of[index]] = 0;
    s->slot_of[index] = BRG_STAGE_NONE;
    if (brg_stage_embeds(&s->cut)) {
        batch_of(s, index, &batch);
        rc = brg_stage_embed_grad(s->workspace, &batch, d, grad);
    } else {
        rc = encode(s, samples, d, s->x, dx);
    }
    s->sums.compute_ns += clock_ns() - began_ns;
    return rc;
}

int brg_stage_lane(struct brg_stage_state *s, uint32_t lane, struct brg_buffer **out) {
    float *sum = NULL;
    const int rc = lane_sum(s, lane, &sum);
    *out = rc == BRG_OK ? brg_buffer_hold(s->lane_buffers[lane]) : NULL;
    return rc;
}

int brg_stage_take_lane(struct brg_stage_state *s, uint32_t lane, const struct brg_buffer *sum) {
    float *to = NULL;
    if (sum->size_bytes < s->cut.param_count * sizeof(float)) return BRG_EPROTO;
    const int rc = lane_sum(s, lane, &to);
    if (rc == BRG_OK) memcpy(to, sum->data, s->cut.param_count * sizeof(float));
    return rc;
}

void brg_stage_reduce(struct brg_stage_state *s, struct brg_stage_step *out) {
    const uint64_t began_ns = clock_ns(), n = s->cut.param_count;
    int has = 0;
    for (uint32_t l = 0; l < s->setup.line.lanes; l++) {
        if (s->lane_buffers[l] == NULL) continue;
        if (has)
            s->kernels->add(n, s->lane_buffers[l]->data, s->reduced);
        else
            memcpy(s->reduced, s->lane_buffers[l]->data, n * sizeof(float));
        has = 1;
    }
    BRG_ASSERT(has);
    s->has_gradient = 1;
    s->sums.norm2 = brg_optimizer_norm2(n, s->reduced);
    brg_digest_of(s->reduced, n * sizeof(float), &s->sums.digest);
    s->sums.compute_ns += clock_ns() - began_ns;
    *out = s->sums;
}

void brg_stage_apply(struct brg_stage_state *s, uint64_t step, double clip) {
    BRG_ASSERT(s->has_state && s->has_gradient);
    BRG_ASSERT(step == s->version + 1);
    const uint64_t since = s->version - s->lr_version;
    s->own_step++;
    const struct brg_optimizer_part part = {.offset = s->cut.offset,
                                            .count = s->cut.param_count,
                                            .step = step,
                                            .own_step = s->own_step,
                                            .targets = (uint64_t)s->setup.run.batch.samples *
                                                       s->cut.model.context,
                                            .clip = clip,
                                            .lr_factor = brg_neighbours_lr(s->lr_factor, since)};
    brg_optimizer_step_part(&s->optimizer, &s->cut.model, &part, s->reduced, s->moments, s->params);
    s->version = step;
    s->has_gradient = 0;
}
