#include "model/infer.h"

#include "model/import_layout.h"
#include "model/infer_rope.h"
#include "model/network.h"

#include <math.h>
#include <string.h>

#define LANES 16u

struct brg_infer {
    struct brg_model_spec spec;
    const struct brg_kernels *k;
    const float *params;
    uint32_t rows_max, position, fed; /* fed: tokens of the last feed */
    uint32_t kv_cols;
    uint8_t *memory;
    float *keys, *values; /* [layers, context, kv_cols] */
    float *x, *norm, *inv, *qkv, *out, *gate_up, *h;
    float *cosines, *sines; /* [context, head_dim / 2] */
    float *scores;          /* [context] */
    float *scratch, *stats; /* of the attention over a fresh cache */
};

static struct brg_attention attention_of(const struct brg_model_spec *s, uint32_t rows) {
    return (struct brg_attention){.samples = 1,
                                  .context = rows,
                                  .heads = s->heads,
                                  .kv_heads = s->kv_heads,
                                  .head_dim = s->dim / s->heads};
}

static void layout(struct brg_infer *f, struct brg_carve *c) {
    const struct brg_model_spec *s = &f->spec;
    const struct brg_attention a = attention_of(s, f->rows_max);
    const size_t n = f->rows_max, size = sizeof(float), half = a.head_dim / 2;
    const size_t cache = (size_t)s->layers * s->context, cols = s->dim + 2 * (size_t)f->kv_cols;
    f->keys = brg_carve_take(c, cache * f->kv_cols, size);
    f->values = brg_carve_take(c, cache * f->kv_cols, size);
    f->x = brg_carve_take(c, n * s->dim, size);
    f->norm = brg_carve_take(c, n * s->dim, size);
    f->inv = brg_carve_take(c, n, size);
    f->qkv = brg_carve_take(c, n * cols, size);
    f->out = brg_carve_take(c, n * s->dim, size);
    f->gate_up = brg_carve_take(c, n * 2 * s->hidden, size);
    f->h = brg_carve_take(c, n * s->hidden, size);
    f->cosines = brg_carve_take(c, s->context * half, size);
    f->sines = brg_carve_take(c, s->context * half, size);
    f->scores = brg_carve_take(c, s->context, size);
    f->stats = brg_carve_take(c, n * s->heads * 2, size);
    f->scratch = brg_carve_take(c, brg_attention_scratch(&a), size);
}

int brg_infer_create(const struct brg_model_spec *spec, const float *params, uint32_t rows_max,
                     struct brg_infer **out, struct brg_why *why) {
    struct brg_carve c = {.base = NULL};
    *out = NULL;
    if (spec->type != BRG_MODEL_LLAMA)
        return brg_why_set(why, BRG_EINVAL, "only a model of type llama reads and writes tokens");
    BRG_ASSERT(rows_max > 0 && params != NULL && brg_model_check(spec, 1, NULL) == BRG_OK);
    struct brg_infer *f = calloc(1, sizeof *f);
    if (f == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    f->spec = *spec;
    f->k = brg_kernels_pick();
    f->params = params;
    f->rows_max = rows_max < spec->context ? rows_max : spec->context;
    f->kv_cols = spec->dim / spec->heads * spec->kv_heads;
    layout(f, &c);
    f->memory = aligned_alloc(BRG_MODEL_ALIGN, c.used_bytes);
    if (f->memory == NULL) {
        const size_t mebibytes = c.used_bytes >> 20;
        free(f);
        return brg_why_set(why, BRG_ENOMEM,
                           "out of memory: the cache takes %zu MiB; lower the context", mebibytes);
    }
    c = (struct brg_carve){.base = f->memory};
    layout(f, &c);
    brg_infer_rope_table(spec, f->cosines, f->sines);
    *out = f;
    return BRG_OK;
}

void brg_infer_destroy(struct brg_infer *f) {
    if (f == NULL) return;
    free(f->memory);
    free(f);
}

void brg_infer_reset(struct brg_infer *f) {
    f->position = 0;
    f->fed = 0;
}

const struct brg_model_spec *brg_infer_spec(const struct brg_infer *f) {
    return &f->spec;
}

uint32_t brg_infer_position(const struct brg_infer *f) {
    return f->position;
}

/* Sixteen sums in a fixed order, so that the compiler may use wide registers. */
static float dot(const float *a, const float *b, uint32_t n) {
    float sums[LANES] = {0}, total = 0;
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t l = 0; l < LANES; l++) sums[l] += a[i + l] * b[i + l];
    for (; i < n; i++) sums[i % LANES] += a[i] * b[i];
    for (uint32_t l = 0; l < LANES; l++) total += sums[l];
    return total;
}

/* One query head against the first `count` positions of the cache. */
static void attend(struct brg_infer *f, const float *keys, const float *values, uint32_t count,
                   const float *query, float *out) {
    const uint32_t head_dim = f->spec.dim / f->spec.heads;
    const float scale = 1.0f / sqrtf((float)head_dim);
    float highest = -INFINITY, total = 0;
    for (uint32_t i = 0; i < count; i++) {
        f->scores[i] = dot(query, keys + (size_t)i * f->kv_cols, head_dim) * scale;
        if (f->scores[i] > highest) highest = f->scores[i];
    }
    memset(out, 0, head_dim * sizeof *out);
    for (uint32_t i = 0; i < count; i++) {
        const float weight = expf(f->scores[i] - highest);
        const float *value = values + (size_t)i * f->kv_cols;
        total += weight;
        for (uint32_t d = 0; d < head_dim; d++) out[d] += weight * value[d];
    }
    for (uint32_t d = 0; d < head_dim; d++) out[d] /= total;
}

/* Turns q and k, moves k and v into the cache, and fills f->out. */
static void attention(struct brg_infer *f, uint32_t layer, uint32_t rows) {
    const struct brg_model_spec *s = &f->spec;
    const uint32_t head_dim = s->dim / s->heads, cols = s->dim + 2 * f->kv_cols;
    const size_t first = (size_t)layer * s->context, half = head_dim / 2;
    const struct brg_rope turn = {.rows = rows,
                                  .context = rows,
                                  .heads = s->heads + s->kv_heads,
                                  .head_dim = head_dim,
                                  .stride = cols};
    f->k->rope(&turn, f->cosines + f->position * half, f->sines + f->position * half, f->qkv);
    for (uint32_t r = 0; r < rows; r++) {
        const size_t at = (first + f->position + r) * f->kv_cols;
        const float *row = f->qkv + (size_t)r * cols;
        memcpy(f->keys + at, row + s->dim, f->kv_cols * sizeof *row);
        memcpy(f->values + at, row + s->dim + f->kv_cols, f->kv_cols * sizeof *row);
    }
    if (f->position == 0 && rows > 1) { /* as in training: nothing came before */
        const struct brg_attention a = attention_of(s, rows);
        f->k->attention(&a, f->qkv, f->out, f->stats, f->scratch);
        return;
    }
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t h = 0; h < s->heads; h++) {
            const size_t shift = (size_t)(h / (s->heads / s->kv_heads)) * head_dim;
            const size_t at = first * f->kv_cols + shift;
            attend(f, f->keys + at, f->values + at, f->position + r + 1,
                   f->qkv + (size_t)r * cols + (size_t)h * head_dim,
                   f->out + (size_t)r * s->dim + (size_t)h * head_dim);
        }
    }
}

/* The first float of a part of a layer; q, k and v lie one behind the other, as gate and up do. */
static const float *part_of(const struct brg_infer *f, uint32_t layer, uint32_t part) {
    struct brg_model_tensor t;
    brg_model_tensor(&f->spec, 1 + layer * BRG_PART_LAYER_COUNT + part, &t);
    return f->params + t.offset;
}

/* The final norm, or the head, which is the embedding where they are tied. */
static const float *end_of(const struct brg_infer *f, int is_head) {
    struct brg_model_tensor t;
    const uint32_t norm = 1 + f->spec.layers * BRG_PART_LAYER_COUNT;
    if (is_head && f->spec.tied) return f->params;
    brg_model_tensor(&f->spec, norm + (uint32_t)is_head, &t);
    return f->params + t.offset;
}

/* One layer over f->x, in place. */
static void layer_forward(struct brg_infer *f, uint32_t index, uint32_t rows) {
    const struct brg_model_spec *s = &f->spec;
    const struct brg_shape stream = {rows, s->dim};
    const uint32_t dim = s->dim, hidden = s->hidden;
    f->k->rmsnorm(stream, s->norm_eps, f->x, part_of(f, index, BRG_PART_NORM1), f->norm, f->inv);
    brg_linear_forward(f->k, (struct brg_linear){rows, dim, dim + 2 * f->kv_cols}, f->norm,
                       part_of(f, index, BRG_PART_Q), f->qkv);
    attention(f, index, rows);
    brg_linear_forward(f->k, (struct brg_linear){rows, dim, dim}, f->out,
                       part_of(f, index, BRG_PART_OUT), f->norm);
    f->k->add((size_t)rows * dim, f->norm, f->x);
    f->k->rmsnorm(stream, s->norm_eps, f->x, part_of(f, index, BRG_PART_NORM2), f->norm, f->inv);
    brg_linear_forward(f->k, (struct brg_linear){rows, dim, 2 * hidden}, f->norm,
                       part_of(f, index, BRG_PART_GATE), f->gate_up);
    f->k->swiglu((struct brg_shape){rows, hidden}, f->gate_up, f->h);
    brg_linear_forward(f->k, (struct brg_linear){rows, hidden, dim}, f->h,
                       part_of(f, index, BRG_PART_DOWN), f->norm);
    f->k->add((size_t)rows * dim, f->norm, f->x);
}

int brg_infer_feed(struct brg_infer *f, const uint32_t *tokens, uint32_t count) {
    const struct brg_model_spec *s = &f->spec;
    const struct brg_shape stream = {count, s->dim};
    BRG_ASSERT(count > 0 && count <= f->rows_max);
    if (count > s->context - f->position) return BRG_EFULL;
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] >= s->vocab) return BRG_EINVAL;
    f->k->embed(stream, tokens, f->params, f->x);
    for (uint32_t i = 0; i < s->layers; i++) layer_forward(f, i, count);
    f->k->rmsnorm(stream, s->norm_eps, f->x, end_of(f, 0), f->norm, f->inv);
    f->position += count;
    f->fed = count;
    return BRG_OK;
}

void brg_infer_logits(struct brg_infer *f, uint32_t first, uint32_t count, float *out) {
    BRG_ASSERT(count > 0 && first < f->fed && count <= f->fed - first);
    brg_linear_forward(f->k, (struct brg_linear){count, f->spec.dim, f->spec.vocab},
                       f->norm + (size_t)first * f->spec.dim, end_of(f, 1), out);
}
