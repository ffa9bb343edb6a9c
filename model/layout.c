/* layout.c - which tensors a model has, where they lie, and what they hold at the start. */
#include <math.h>

#include "base/prng.h"
#include "model/network.h"

enum llama_part { NORM1, Q, K, V, OUT, NORM2, GATE, UP, DOWN, LAYER_PARTS };

static const char *const part_names[LAYER_PARTS] = {
    "input_layernorm",  "self_attn.q_proj", "self_attn.k_proj",
    "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

struct brg_llama_parts brg_llama_parts_of(const struct brg_model_spec *spec) {
    BRG_ASSERT(spec->type == BRG_MODEL_LLAMA);
    const uint64_t dim = spec->dim, hidden = spec->hidden;
    struct brg_llama_parts o = {.head_dim = spec->dim / spec->heads};
    o.qkv_cols = (spec->heads + 2 * spec->kv_heads) * o.head_dim;
    o.qkv = dim;
    o.out = o.qkv + o.qkv_cols * dim;
    o.norm2 = o.out + dim * dim;
    o.gate_up = o.norm2 + dim;
    o.down = o.gate_up + 2 * hidden * dim;
    o.size = o.down + hidden * dim;
    return o;
}

static uint64_t layer_size(const struct brg_model_spec *s) {
    return brg_llama_parts_of(s).size;
}

struct brg_llama_offsets brg_llama_offsets_of(const struct brg_model_spec *spec, uint32_t layer) {
    BRG_ASSERT(layer < spec->layers);
    const uint64_t first = (uint64_t)spec->vocab * spec->dim, size = layer_size(spec);
    struct brg_llama_offsets o = {.embedding = 0, .norm1 = first + layer * size};
    o.norm = first + spec->layers * size;
    o.head = spec->tied ? o.embedding : o.norm + spec->dim;
    return o;
}

struct brg_mlp_layer brg_mlp_layer_of(const struct brg_model_spec *spec, uint32_t index) {
    BRG_ASSERT(spec->type == BRG_MODEL_MLP || spec->type == BRG_MODEL_SOFTMAX);
    BRG_ASSERT(index <= spec->width_count);
    struct brg_mlp_layer l = {.offset = 0, .inputs = spec->inputs};
    for (uint32_t i = 0;; i++) {
        l.outputs = i < spec->width_count ? spec->widths[i] : spec->classes;
        if (i == index) return l;
        l.offset += ((uint64_t)l.inputs + 1) * l.outputs;
        l.inputs = l.outputs;
    }
}

uint64_t brg_model_param_count(const struct brg_model_spec *spec) {
    if (spec->type == BRG_MODEL_LLAMA) {
        const uint64_t table = (uint64_t)spec->vocab * spec->dim;
        return table + spec->layers * layer_size(spec) + spec->dim + (spec->tied ? 0 : table);
    }
    const struct brg_mlp_layer last = brg_mlp_layer_of(spec, spec->width_count);
    return last.offset + ((uint64_t)last.inputs + 1) * last.outputs;
}

uint32_t brg_model_tensor_count(const struct brg_model_spec *spec) {
    if (spec->type == BRG_MODEL_LLAMA) return 2 + LAYER_PARTS * spec->layers + (spec->tied ? 0 : 1);
    return 2 * (spec->width_count + 1);
}

static void set(struct brg_model_tensor *t, uint64_t offset, uint32_t dims, uint32_t rows,
                uint32_t cols) {
    t->offset = offset;
    t->dims = dims;
    t->rows = rows;
    t->cols = cols;
}

static void layer_tensor(const struct brg_model_spec *s, uint32_t layer, uint32_t part,
                         struct brg_model_tensor *t) {
    const struct brg_llama_parts o = brg_llama_parts_of(s);
    const uint64_t at = brg_llama_offsets_of(s, layer).norm1;
    const uint32_t dim = s->dim, kv = s->kv_heads * o.head_dim;
    snprintf(t->name, sizeof t->name, "model.layers.%u.%s.weight", layer, part_names[part]);
    switch (part) {
    case NORM1: set(t, at, 1, 1, dim); break;
    case Q: set(t, at + o.qkv, 2, dim, dim); break;
    case K: set(t, at + o.qkv + (uint64_t)dim * dim, 2, kv, dim); break;
    case V: set(t, at + o.qkv + (uint64_t)(dim + kv) * dim, 2, kv, dim); break;
    case OUT: set(t, at + o.out, 2, dim, dim); break;
    case NORM2: set(t, at + o.norm2, 1, 1, dim); break;
    case GATE: set(t, at + o.gate_up, 2, s->hidden, dim); break;
    case UP: set(t, at + o.gate_up + (uint64_t)s->hidden * dim, 2, s->hidden, dim); break;
    default: set(t, at + o.down, 2, dim, s->hidden); break;
    }
}

static void llama_tensor(const struct brg_model_spec *s, uint32_t index,
                         struct brg_model_tensor *t) {
    const uint32_t last = 1 + LAYER_PARTS * s->layers; /* the final norm */
    if (index > 0 && index < last) {
        layer_tensor(s, (index - 1) / LAYER_PARTS, (index - 1) % LAYER_PARTS, t);
        return;
    }
    const struct brg_llama_offsets o = brg_llama_offsets_of(s, 0);
    const char *name = index == 0      ? "model.embed_tokens.weight"
                       : index == last ? "model.norm.weight"
                                       : "lm_head.weight";
    snprintf(t->name, sizeof t->name, "%s", name);
    if (index == last) {
        set(t, o.norm, 1, 1, s->dim);
    } else {
        set(t, index == 0 ? o.embedding : o.head, 2, s->vocab, s->dim);
    }
}

void brg_model_tensor(const struct brg_model_spec *spec, uint32_t index,
                      struct brg_model_tensor *out) {
    BRG_ASSERT(index < brg_model_tensor_count(spec));
    if (spec->type == BRG_MODEL_LLAMA) {
        llama_tensor(spec, index, out);
        return;
    }
    const struct brg_mlp_layer l = brg_mlp_layer_of(spec, index / 2);
    const int is_bias = index % 2 == 1;
    snprintf(out->name, sizeof out->name, "layers.%u.%s", index / 2, is_bias ? "bias" : "weight");
    if (is_bias) {
        set(out, l.offset + (uint64_t)l.inputs * l.outputs, 1, 1, l.outputs);
    } else {
        set(out, l.offset, 2, l.outputs, l.inputs);
    }
}

/* Deviation of a matrix's entries at the start. */
static double deviation(const struct brg_model_spec *s, uint32_t index,
                        const struct brg_model_tensor *t) {
    if (s->type != BRG_MODEL_LLAMA)
        return sqrt((index / 2 < s->width_count ? 2.0 : 1.0) / (double)t->cols);
    const uint32_t part = (index - 1) % LAYER_PARTS;
    const int in_layer = index > 0 && index < 1 + LAYER_PARTS * s->layers;
    const int to_residual = in_layer && (part == OUT || part == DOWN);
    return to_residual ? 0.02 / sqrt(2.0 * s->layers) : 0.02;
}

void brg_model_init_tensor(const struct brg_model_spec *spec, uint32_t index, uint64_t seed,
                           float *out) {
    BRG_ASSERT(out != NULL);
    const float vector = spec->type == BRG_MODEL_LLAMA ? 1.0f : 0.0f; /* gains, or biases */
    struct brg_model_tensor t;
    brg_model_tensor(spec, index, &t);
    struct brg_prng g = {.state = brg_prng_mix(seed, index, 0, 0)};
    const double d = t.dims == 2 ? deviation(spec, index, &t) : 0;
    for (uint64_t j = 0; j < (uint64_t)t.rows * t.cols; j++)
        out[j] = t.dims == 1 ? vector : (float)(d * brg_prng_normal(&g));
}

void brg_model_init(const struct brg_model_spec *spec, uint64_t seed, float *params) {
    BRG_ASSERT(params != NULL);
    const uint32_t count = brg_model_tensor_count(spec);
    for (uint32_t i = 0; i < count; i++) {
        struct brg_model_tensor t;
        brg_model_tensor(spec, i, &t);
        brg_model_init_tensor(spec, i, seed, params + t.offset);
    }
}
