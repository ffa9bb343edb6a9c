#include "model/stage.h"

#include <string.h>

#include "model/network.h"

struct brg_stage_workspace {
    struct brg_stage stage;
    uint32_t slots;
    struct brg_model_workspace *network; /* its layers are those of all slots */
};

int brg_stage_embeds(const struct brg_stage *s) {
    return s->index == 0;
}

int brg_stage_has_head(const struct brg_stage *s) {
    return s->index + 1 == s->count;
}

/* First layer of stage `index`: the layers that do not divide go to the interior stages, one each;
 * where there are more of them than interior stages it is by one, the last stage's. */
static uint32_t first_layer(uint32_t layers, uint32_t count, uint32_t index) {
    const uint32_t even = layers / count, over = layers % count;
    uint32_t first = 0;
    for (uint32_t i = 0; i < index; i++) {
        const int interior = i > 0 && i + 1 < count;
        first += even + (interior && i <= over ? 1 : 0);
    }
    return first;
}

int brg_stage_cut(const struct brg_model_spec *model, uint32_t count, uint32_t index,
                  struct brg_stage *out, struct brg_why *why) {
    if (model->type != BRG_MODEL_LLAMA)
        return brg_why_set(why, BRG_EINVAL, "only a llama can be cut into stages: use kind coded");
    if (count == 0 || count > BRG_STAGES_MAX || index >= count || count > model->layers)
        return brg_why_set(why, BRG_EINVAL,
                           "a model of %u layers cannot be cut into %u stages: set stages to at "
                           "most %u",
                           model->layers, count,
                           model->layers < BRG_STAGES_MAX ? model->layers : BRG_STAGES_MAX);
    if (model->tied && count > 1)
        return brg_why_set(why, BRG_EINVAL,
                           "the head is tied to the embedding, which lies in another stage: set "
                           "tied to false or stages to 1");
    *out = (struct brg_stage){.model = *model, .count = count, .index = index};
    out->first_layer = first_layer(model->layers, count, index);
    const int last = index + 1 == count;
    const uint32_t next = last ? model->layers : first_layer(model->layers, count, index + 1);
    out->layers = next - out->first_layer;
    out->offset = index == 0 ? 0 : brg_llama_offsets_of(model, out->first_layer).norm1;
    const uint64_t end =
        last ? brg_model_param_count(model) : brg_llama_offsets_of(model, next).norm1;
    out->param_count = end - out->offset;
    BRG_ASSERT(out->layers > 0);
    return BRG_OK;
}

uint64_t brg_stage_boundary_count(const struct brg_stage *s, uint32_t samples) {
    return (uint64_t)samples * s->model.context * s->model.dim;
}

/* The network whose layers are the stage's, once for every slot. Logits take room where the head
 * is, only. */
static struct brg_model_spec network_spec(const struct brg_stage *s, uint32_t slots) {
    struct brg_model_spec spec = s->model;
    spec.layers = s->layers * slots;
    if (!brg_stage_has_head(s)) spec.vocab = 2;
    return spec;
}

size_t brg_stage_workspace_bytes(const struct brg_stage *s, uint32_t microbatch, uint32_t slots) {
    const struct brg_model_spec spec = network_spec(s, slots);
    struct brg_carve c = {.base = NULL};
    (void)brg_carve_take(&c, 1, sizeof(struct brg_stage_workspace));
    return c.used_bytes + brg_model_workspace_bytes(&spec, microbatch);
}

struct brg_stage_workspace *brg_stage_workspace_init(void *memory, const struct brg_stage *s,
                                                     uint32_t microbatch, uint32_t slots,
                                                     const struct brg_kernels *kernels) {
    BRG_ASSERT(slots > 0 && slots <= BRG_STAGE_SLOTS_MAX);
    const struct brg_model_spec spec = network_spec(s, slots);
    struct brg_carve c = {.base = memory};
    struct brg_stage_workspace *w = brg_carve_take(&c, 1, sizeof *w);
    w->stage = *s;
    w->slots = slots;
    w->network =
        brg_model_workspace_init((uint8_t *)memory + c.used_bytes, &spec, microbatch, kernels);
    w->network->spec.vocab = s->model.vocab; /* tokens are checked against the model's */
    return w;
}

static struct brg_shape stream_of(const struct brg_stage_workspace *w, uint32_t samples) {
    return (struct brg_shape){samples * w->stage.model.context, w->stage.model.dim};
}

/* Where the stage's first layer begins in its own parameters. */
static uint64_t layers_at(const struct brg_stage *s) {
    return brg_llama_offsets_of(&s->model, s->first_layer).norm1 - s->offset;
}

int brg_stage_embed(struct brg_stage_workspace *w, const float *params,
                    const struct brg_batch *batch, float *x) {
    BRG_ASSERT(brg_stage_embeds(&w->stage));
    const int rc = brg_llama_read_tokens(w->network, batch);
    if (rc != BRG_OK) return rc;
    w->network->k->embed(stream_of(w, batch->samples), w->network->llama.input, params, x);
    return BRG_OK;
}

void brg_stage_forward(struct brg_stage_workspace *w, uint32_t slot, const float *params,
                       uint32_t samples, const float *x, float *y) {
    BRG_ASSERT(slot < w->slots);
    BRG_ASSERT(samples > 0 && samples <= w->network->microbatch);
    const uint32_t layers = w->stage.layers;
    const uint64_t size = brg_llama_parts_of(&w->stage.model).size;
    const struct brg_llama_layer *l = w->network->llama.layers + (size_t)slot * layers;
    memcpy(l[0].x, x, brg_stage_boundary_count(&w->stage, samples) * sizeof *x);
    params += layers_at(&w->stage);
    for (uint32_t i = 0; i < layers; i++)
        brg_llama_layer_forward(w->network, &l[i], params + i * size, samples,
                                i + 1 < layers ? l[i + 1].x : y);
}

int brg_stage_head(struct brg_stage_workspace *w, const float *params,
                   const struct brg_batch *batch, const float *y, float *grad, float *dy,
                   struct brg_model_sums *sums) {
    BRG_ASSERT(brg_stage_has_head(&w->stage));
    BRG_ASSERT((grad == NULL) == (dy == NULL));
    const struct brg_llama_state *st = &w->network->llama;
    const struct brg_llama_offsets o = brg_llama_offsets_of(&w->stage.model, 0);
    const struct brg_shape stream = stream_of(w, batch->samples);
    const uint64_t norm = o.norm - w->stage.offset, head = o.head - w->stage.offset;
    struct brg_cross_entropy found = {.loss = 0, .correct = 0};
    const int rc = brg_llama_read_tokens(w->network, batch);
    if (rc != BRG_OK) return rc;
    w->network->k->rmsnorm(stream, w->stage.model.norm_eps, y, params + norm, st->norm, st->inv);
    brg_llama_head(w->network, params + head, stream.rows, grad == NULL ? NULL : grad + head,
                   &found);
    if (grad != NULL) {
        memset(dy, 0, (size_t)stream.rows * stream.cols * sizeof *dy);
        w->network->k->rmsnorm_grad(stream, y, params + norm, st->inv, st->dnorm, dy, grad + norm);
    }
    sums->loss += found.loss;
    sums->correct += found.correct;
    sums->count += stream.rows;
    return BRG_OK;
}

void brg_stage_backward(struct brg_stage_workspace *w, uint32_t slot, const float *params,
                        uint32_t samples, float *dx, float *grad) {
    BRG_ASSERT(slot < w->slots);
    const uint32_t layers = w->stage.layers;
    const uint64_t size = brg_llama_parts_of(&w->stage.model).size, at = layers_at(&w->stage);
    const size_t bytes = brg_stage_boundary_count(&w->stage, samples) * sizeof *dx;
    const struct brg_llama_layer *l = w->network->llama.layers + (size_t)slot * layers;
    float *running = w->network->llama.dx;
    memcpy(running, dx, bytes);
    for (uint32_t i = layers; i-- > 0;)
        brg_llama_layer_backward(w->network, &l[i], params + at + i * size, samples,
                                 grad + at + i * size);
    memcpy(dx, running, bytes);
}

int brg_stage_embed_grad(struct brg_stage_workspace *w, const struct brg_batch *batch,
                         const float *dx, float *grad) {
    BRG_ASSERT(brg_stage_embeds(&w->stage));
    const int rc = brg_llama_read_tokens(w->network, batch);
    if (rc != BRG_OK) return rc;
    w->network->k->embed_grad(stream_of(w, batch->samples), w->network->llama.input, dx, grad);
    return BRG_OK;
}
