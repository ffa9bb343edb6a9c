/* stage_form.c - a stage's state as bytes and back, and put together from other stages. */
#include "worker/shell/stage_private.h"

#include <string.h>

struct brg_optimizer_spec brg_stage_optimizer(const struct brg_msg_optimizer *o) {
    return (struct brg_optimizer_spec){.type = o->type,
                                       .schedule = o->schedule,
                                       .warmup_steps = o->warmup_steps,
                                       .total_steps = o->total_steps,
                                       .lr = o->lr,
                                       .lr_min_ratio = o->lr_min_ratio,
                                       .beta1 = o->beta1,
                                       .beta2 = o->beta2,
                                       .eps = o->eps,
                                       .weight_decay = o->weight_decay,
                                       .momentum = o->momentum,
                                       .clip = o->clip};
}

uint64_t brg_stage_moments(const struct brg_msg_line *line, const struct brg_stage *cut) {
    const struct brg_optimizer_spec spec = brg_stage_optimizer(&line->optimizer);
    return brg_optimizer_state_count(&spec, cut->param_count);
}

uint64_t brg_stage_blob_bytes(const struct brg_msg_line *line, const struct brg_stage *cut,
                              uint32_t kinds) {
    return brg_state_bytes(cut->param_count, brg_stage_moments(line, cut), kinds);
}

uint64_t brg_stage_edges(const struct brg_stage *cut) {
    const struct brg_line_layers l = brg_line_layers_of(cut);
    return cut->param_count - l.size * l.count;
}

uint64_t brg_stage_version(const struct brg_stage_state *s) {
    return s->version;
}

void brg_stage_weights_digest(const struct brg_stage_state *s, struct brg_digest *out) {
    brg_digest_of(s->params, s->cut.param_count * sizeof(float), out);
}

/* The floats behind the header of a state of `cut`, or NULL where it is none. */
static const float *floats_of(const struct brg_msg_line *line, const struct brg_stage *cut,
                              const struct brg_buffer *blob, struct brg_state_header *h) {
    if (brg_state_read_header(blob->data, blob->size_bytes, h) != BRG_OK) return NULL;
    if (h->params != cut->param_count || !(h->kinds & BRG_STATE_WEIGHTS)) return NULL;
    if (blob->size_bytes < brg_stage_blob_bytes(line, cut, h->kinds)) return NULL;
    return (const float *)(const void *)((const uint8_t *)blob->data + BRG_STATE_HEADER_BYTES);
}

int brg_stage_load(struct brg_stage_state *s, const struct brg_buffer *blob, uint64_t version,
                   uint64_t lineage) {
    struct brg_state_header h;
    const uint64_t n = s->cut.param_count;
    const float *from = floats_of(&s->setup.line, &s->cut, blob, &h);
    if (from == NULL) return BRG_EPROTO;
    memcpy(s->params, from, n * sizeof(float));
    if (h.kinds & BRG_STATE_MOMENTS)
        memcpy(s->moments, from + n, s->moments_count * sizeof(float));
    else
        memset(s->moments, 0, s->moments_count * sizeof(float));
    s->own_step = h.kinds & BRG_STATE_MOMENTS ? h.own_step : 0;
    s->lr_factor = h.lr_factor;
    s->lr_version = h.lr_version;
    s->version = version == UINT64_MAX ? h.version : version;
    s->lineage = lineage;
    s->has_state = 1;
    s->has_gradient = 0;
    return BRG_OK;
}

int brg_stage_mix_in(struct brg_stage_state *s, const struct brg_stage_mix *mix) {
    const struct brg_line_layers own = brg_line_layers_of(&s->cut);
    const uint64_t tail = own.first + own.size * own.count;
    struct brg_line_layers theirs[BRG_STAGE_DONORS_MAX];
    const float *from[BRG_STAGE_DONORS_MAX], *layer[BRG_STAGE_DONORS_MAX];
    for (uint32_t i = 0; i < mix->count; i++) {
        struct brg_state_header h;
        struct brg_stage cut;
        if (brg_stage_cut(&s->cut.model, s->setup.line.stages, mix->stages[i], &cut, NULL) !=
            BRG_OK)
            return BRG_EPROTO;
        from[i] = floats_of(&s->setup.line, &cut, mix->blobs[i], &h);
        if (from[i] == NULL) return BRG_EPROTO;
        theirs[i] = brg_line_layers_of(&cut);
    }
    const uint64_t edges = brg_stage_edges(&s->cut);
    if (edges > 0) {
        if (mix->edges == NULL || mix->edges->size_bytes < edges * sizeof(float)) return BRG_EPROTO;
        const float *e = mix->edges->data;
        memcpy(s->params, e, own.first * sizeof(float));
        memcpy(s->params + tail, e + own.first, (edges - own.first) * sizeof(float));
    }
    for (uint32_t l = 0; l < own.count; l++) {
        for (uint32_t i = 0; i < mix->count; i++)
            layer[i] = from[i] + theirs[i].first +
                       theirs[i].size * brg_neighbours_layer(l, own.count, theirs[i].count);
        brg_combine(own.size, mix->count, mix->weights, layer,
                    s->params + own.first + own.size * l);
    }
    memset(s->moments, 0, s->moments_count * sizeof(float));
    s->own_step = 0;
    s->lr_factor = mix->raise ? brg_neighbours_raise(1.0) : 1.0;
    s->lr_version = s->version = mix->version;
    s->lineage = mix->lineage;
    s->has_state = 1;
    s->has_gradient = 0;
    return BRG_OK;
}

int brg_stage_freeze(const struct brg_stage_state *s, uint32_t kinds, struct brg_buffer **out) {
    const uint64_t n = s->cut.param_count;
    const struct brg_state_header h = {.version = s->version,
                                       .lineage = s->lineage,
                                       .own_step = s->own_step,
                                       .lr_factor = s->lr_factor,
                                       .lr_version = s->lr_version,
                                       .params = n,
                                       .kinds = kinds};
    *out = NULL;
    BRG_ASSERT(s->has_state);
    const int rc = brg_pool_get(s->pool, brg_stage_blob_bytes(&s->setup.line, &s->cut, kinds), out);
    if (rc != BRG_OK) return rc;
    uint8_t *to = (*out)->data;
    brg_state_write_header(&h, to);
    memcpy(to + BRG_STATE_HEADER_BYTES, s->params, n * sizeof(float));
    if (kinds & BRG_STATE_MOMENTS)
        memcpy(to + BRG_STATE_HEADER_BYTES + n * sizeof(float), s->moments,
               s->moments_count * sizeof(float));
    return BRG_OK;
}

int brg_stage_freeze_edges(const struct brg_stage_state *s, struct brg_buffer **out) {
    const struct brg_line_layers own = brg_line_layers_of(&s->cut);
    const uint64_t edges = brg_stage_edges(&s->cut), tail = own.first + own.size * own.count;
    *out = NULL;
    BRG_ASSERT(edges > 0);
    const int rc = brg_pool_get(s->pool, edges * sizeof(float), out);
    if (rc != BRG_OK) return rc;
    float *to = (*out)->data;
    memcpy(to, s->params, own.first * sizeof(float));
    memcpy(to + own.first, s->params + tail, (edges - own.first) * sizeof(float));
    return BRG_OK;
}

int brg_stage_gradient(const struct brg_stage_state *s, struct brg_buffer **out) {
    const uint64_t bytes = s->cut.param_count * sizeof(float);
    *out = NULL;
    const int rc = brg_pool_get(s->pool, bytes, out);
    if (rc == BRG_OK) memcpy((*out)->data, s->reduced, bytes);
    return rc;
}

int brg_stage_take_gradient(struct brg_stage_state *s, const struct brg_buffer *sum) {
    const uint64_t bytes = s->cut.param_count * sizeof(float);
    if (sum->size_bytes < bytes) return BRG_EPROTO;
    memcpy(s->reduced, sum->data, bytes);
    s->has_gradient = 1;
    return BRG_OK;
}
