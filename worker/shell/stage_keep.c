/* stage_keep.c - the shadow of this stage as it leaves, and those of others that are kept here.
 *
 *   sender   mirror: what the keeper will have    now - mirror -> int8 -> mirror moves
 *   keeper   plain slice: replaces                packed slice: added to what is there
 *
 * The plain form of a slice is what the packed one leads to. So a keeper may take either, and both
 * ends hold the same bits in any case. */
#include "worker/shell/stage_private.h"

#include <string.h>

uint32_t brg_stage_shadow_vectors(const struct brg_msg_line *line) {
    const struct brg_optimizer_spec spec = brg_stage_optimizer(&line->optimizer);
    return 1 + (line->shadow_moments ? (uint32_t)brg_optimizer_state_count(&spec, 1) : 0);
}

/* Second moments must not become negative: only weights are rounded. */
static int is_packed(const struct brg_msg_line *line) {
    return line->shadow_int8 && !line->shadow_moments;
}

uint64_t brg_stage_slice_bytes(const struct brg_msg_line *line, const struct brg_stage *cut,
                               uint32_t index, int packed) {
    const struct brg_shadow_slice slice =
        brg_shadow_slice_at(cut->param_count, line->shadow_every, index);
    const uint64_t n = (slice.end - slice.begin) * brg_stage_shadow_vectors(line);
    return packed ? 8 + brg_shadow_packed_bytes(n) : n * sizeof(float);
}

/* Slices lie one behind the other, each with all its vectors. */
static float *slice_in(const struct brg_buffer *floats, const struct brg_msg_line *line,
                       struct brg_shadow_slice slice) {
    return (float *)floats->data + slice.begin * brg_stage_shadow_vectors(line);
}

/* This stage's slice as it is now. shape: out [slice * vectors] */
static void gather(const struct brg_stage_state *s, struct brg_shadow_slice slice, float *out) {
    const uint32_t vectors = brg_stage_shadow_vectors(&s->setup.line);
    const uint64_t count = slice.end - slice.begin, n = s->cut.param_count;
    memcpy(out, s->params + slice.begin, count * sizeof(float));
    for (uint32_t v = 1; v < vectors; v++)
        memcpy(out + v * count, s->moments + (v - 1) * n + slice.begin, count * sizeof(float));
}

static int open_mirror(struct brg_stage_state *s) {
    const uint64_t bytes = s->cut.param_count * brg_stage_shadow_vectors(&s->setup.line);
    if (s->mirror != NULL && s->mirror_lineage == s->lineage) return BRG_OK;
    memset(s->mirror_version, 0, sizeof s->mirror_version);
    s->mirror_lineage = s->lineage;
    return s->mirror != NULL ? BRG_OK : brg_pool_get(s->pool, bytes * sizeof(float), &s->mirror);
}

/* own: *out is the caller's. errors: BRG_EINVAL it cannot be packed: the plain one only */
static int pack(struct brg_stage_state *s, const float *now, float *mirror, uint64_t count,
                uint64_t base, struct brg_buffer **out) {
    int rc = brg_pool_get(s->pool, 8 + brg_shadow_packed_bytes(count), out);
    if (rc != BRG_OK) return rc;
    uint8_t *to = (*out)->data;
    for (uint32_t i = 0; i < 8; i++) to[i] = (uint8_t)(base >> (8 * i));
    rc = brg_shadow_pack(now, mirror, count, to + 8);
    if (rc == BRG_OK) return rc;
    brg_buffer_release(*out);
    *out = NULL;
    return rc;
}

int brg_stage_slice(struct brg_stage_state *s, uint32_t *index, struct brg_buffer **plain,
                    struct brg_buffer **packed) {
    const struct brg_msg_line *line = &s->setup.line;
    *plain = *packed = NULL;
    BRG_ASSERT(s->has_state && line->shadow_every > 0 && s->version > 0);
    const struct brg_shadow_slice slice =
        brg_shadow_due(s->cut.param_count, line->shadow_every, s->version);
    const uint64_t count = (slice.end - slice.begin) * brg_stage_shadow_vectors(line);
    *index = slice.index;
    if (count == 0) return BRG_OK;
    int rc = open_mirror(s);
    if (rc == BRG_OK) rc = brg_pool_get(s->pool, count * sizeof(float), plain);
    if (rc != BRG_OK) return rc;
    float *now = (*plain)->data, *mirror = slice_in(s->mirror, line, slice);
    const uint64_t base = s->mirror_version[slice.index];
    gather(s, slice, now);
    if (base == 0 || !is_packed(line) || pack(s, now, mirror, count, base, packed) != BRG_OK)
        memcpy(mirror, now, count * sizeof(float));
    memcpy(now, mirror, count * sizeof(float));
    s->mirror_version[slice.index] = s->version;
    return BRG_OK;
}

static int open_shadow(struct brg_stage_state *s, uint32_t stage) {
    struct brg_stage_shadow *k = &s->shadows[stage];
    if (k->floats != NULL) return BRG_OK;
    int rc = brg_stage_cut(&s->cut.model, s->setup.line.stages, stage, &k->cut, NULL);
    if (rc != BRG_OK) return BRG_EPROTO;
    const uint64_t floats = k->cut.param_count * brg_stage_shadow_vectors(&s->setup.line);
    rc = brg_pool_get(s->pool, floats * sizeof(float), &k->floats);
    if (rc == BRG_OK) brg_shadow_begin(&k->copy, s->setup.line.shadow_every);
    return rc;
}

/* A change to what is here at the version that it is a change of. */
static int keep_packed(struct brg_stage_shadow *k, uint32_t index, const struct brg_buffer *bytes,
                       float *to, uint64_t count) {
    const uint8_t *from = bytes->data;
    uint64_t base = 0;
    if (bytes->size_bytes < 8 + brg_shadow_packed_bytes(count)) return BRG_EPROTO;
    for (uint32_t i = 0; i < 8; i++) base |= (uint64_t)from[i] << (8 * i);
    if (k->copy.version[index] != base) return BRG_EPROTO;
    return brg_shadow_unpack(from + 8, brg_shadow_packed_bytes(count), to, count);
}

int brg_stage_keep(struct brg_stage_state *s, uint32_t stage, uint32_t index, int packed,
                   uint64_t version, const struct brg_buffer *bytes, uint64_t *oldest) {
    const struct brg_msg_line *line = &s->setup.line;
    *oldest = 0;
    if (stage >= line->stages || index >= line->shadow_every) return BRG_EPROTO;
    int rc = open_shadow(s, stage);
    if (rc != BRG_OK) return rc;
    struct brg_stage_shadow *k = &s->shadows[stage];
    const struct brg_shadow_slice slice =
        brg_shadow_slice_at(k->cut.param_count, line->shadow_every, index);
    const uint64_t count = (slice.end - slice.begin) * brg_stage_shadow_vectors(line);
    float *to = slice_in(k->floats, line, slice);
    if (packed) {
        rc = keep_packed(k, index, bytes, to, count);
        if (rc != BRG_OK) return rc;
    } else if (count > 0) {
        if (bytes->size_bytes < count * sizeof(float)) return BRG_EPROTO;
        memcpy(to, bytes->data, count * sizeof(float));
    }
    const int taken = brg_shadow_take(&k->copy, index, version);
    if (taken < 0) return taken;
    *oldest = brg_shadow_oldest(&k->copy);
    return BRG_OK;
}

int brg_stage_shadow_blob(const struct brg_stage_state *s, uint32_t stage, struct brg_buffer **out,
                          uint64_t *version) {
    const struct brg_msg_line *line = &s->setup.line;
    const struct brg_stage_shadow *k = &s->shadows[stage];
    const uint32_t vectors = brg_stage_shadow_vectors(line);
    *out = NULL;
    BRG_ASSERT(stage < BRG_LINE_STAGES_MAX);
    if (k->floats == NULL || !brg_shadow_complete(&k->copy)) return BRG_ENOENT;
    *version = brg_shadow_oldest(&k->copy);
    const uint64_t n = k->cut.param_count;
    struct brg_state_header h = {.version = *version,
                                 .own_step = vectors > 1 ? *version : 0,
                                 .lr_factor = 1,
                                 .params = n,
                                 .kinds = BRG_STATE_WEIGHTS};
    if (vectors > 1) h.kinds |= BRG_STATE_MOMENTS;
    const int rc = brg_pool_get(s->pool, brg_stage_blob_bytes(line, &k->cut, h.kinds), out);
    if (rc != BRG_OK) return rc;
    brg_state_write_header(&h, (*out)->data);
    float *to = (float *)(void *)((uint8_t *)(*out)->data + BRG_STATE_HEADER_BYTES);
    for (uint32_t i = 0; i < line->shadow_every; i++) {
        const struct brg_shadow_slice slice = brg_shadow_slice_at(n, line->shadow_every, i);
        const uint64_t count = slice.end - slice.begin;
        const float *from = slice_in(k->floats, line, slice);
        for (uint32_t v = 0; v < vectors; v++)
            memcpy(to + v * n + slice.begin, from + v * count, count * sizeof(float));
    }
    return BRG_OK;
}

void brg_stage_forget_shadow(struct brg_stage_state *s, uint32_t stage) {
    brg_buffer_release(s->shadows[stage].floats);
    memset(&s->shadows[stage], 0, sizeof s->shadows[stage]);
}
