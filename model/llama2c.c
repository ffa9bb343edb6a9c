#include "model/llama2c.h"

#include "model/import_layout.h"

#include <inttypes.h>
#include <string.h>

#define MAGIC_V1 0x616b3432u
#define HEADER_BYTES_V1 256u
#define END 255u /* closes an order of parts */
#define UNUSED 254u

/* The order of the parts in a file; those of layers come for all layers at once. */
static const uint8_t orders[2][15] = {
    {BRG_PART_EMBEDDING, BRG_PART_NORM1, BRG_PART_Q, BRG_PART_K, BRG_PART_V, BRG_PART_OUT,
     BRG_PART_NORM2, BRG_PART_GATE, BRG_PART_DOWN, BRG_PART_UP, BRG_PART_NORM, UNUSED,
     BRG_PART_HEAD, END},
    {BRG_PART_NORM1, BRG_PART_NORM2, BRG_PART_NORM, BRG_PART_EMBEDDING, BRG_PART_Q, BRG_PART_K,
     BRG_PART_V, BRG_PART_OUT, BRG_PART_GATE, BRG_PART_DOWN, BRG_PART_UP, BRG_PART_HEAD, END},
};

/* Floats of one tensor of a part. */
static uint64_t size_of(const struct brg_model_spec *s, uint32_t part) {
    const uint64_t dim = s->dim, kv = dim / s->heads * s->kv_heads;
    switch (part) {
    case BRG_PART_EMBEDDING:
    case BRG_PART_HEAD: return s->vocab * dim;
    case BRG_PART_Q:
    case BRG_PART_OUT: return dim * dim;
    case BRG_PART_K:
    case BRG_PART_V: return kv * dim;
    case BRG_PART_GATE:
    case BRG_PART_UP:
    case BRG_PART_DOWN: return s->hidden * dim;
    case UNUSED: return (uint64_t)s->context * (s->dim / s->heads);
    default: return dim;
    }
}

/* Floats of a part in all layers. */
static uint64_t total_of(const struct brg_model_spec *s, uint32_t part) {
    if (part == BRG_PART_HEAD && s->tied) return 0;
    return size_of(s, part) * (part < BRG_PART_LAYER_COUNT ? s->layers : 1);
}

uint64_t brg_llama2c_place(const struct brg_model_spec *spec, uint32_t version, uint32_t index) {
    const struct brg_llama_place p = brg_llama_place_of(spec, index);
    uint64_t at = 0;
    BRG_ASSERT(version <= 1);
    for (const uint8_t *part = orders[version]; *part != p.part; part++) {
        BRG_ASSERT(*part != END);
        at += total_of(spec, *part);
    }
    return at + p.layer * size_of(spec, p.part);
}

uint64_t brg_llama2c_float_count(const struct brg_model_spec *spec, uint32_t version) {
    uint64_t count = 0;
    BRG_ASSERT(version <= 1);
    for (const uint8_t *part = orders[version]; *part != END; part++)
        count += total_of(spec, *part);
    return count;
}

/* The seven numbers; *tied by the sign of vocab in version 0. */
static int read_numbers(const char *name, const uint8_t *bytes, uint32_t version,
                        struct brg_model_spec *s, struct brg_why *why) {
    int32_t v[7];
    memcpy(v, bytes, sizeof v);
    s->tied = v[5] > 0;
    if (version == 0 && v[5] < 0 && v[5] > INT32_MIN) v[5] = -v[5];
    for (uint32_t i = 0; i < 7; i++)
        if (v[i] <= 0)
            return brg_why_set(why, BRG_ECORRUPT,
                               "%s: number %u of its header is %" PRId32
                               "; this is no model of llama2.c",
                               name, i + 1, v[i]);
    s->type = BRG_MODEL_LLAMA;
    s->dim = (uint32_t)v[0];
    s->hidden = (uint32_t)v[1];
    s->layers = (uint32_t)v[2];
    s->heads = (uint32_t)v[3];
    s->kv_heads = (uint32_t)v[4];
    s->vocab = (uint32_t)v[5];
    s->context = (uint32_t)v[6];
    s->rope_theta = BRG_LLAMA2C_THETA;
    s->norm_eps = BRG_LLAMA2C_EPS;
    return BRG_OK;
}

static int is_zero(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return 0;
    return 1;
}

int brg_llama2c_parse(const char *name, const uint8_t *bytes, size_t size_bytes,
                      struct brg_llama2c *l, struct brg_why *why) {
    struct brg_why inner = {.text = ""};
    uint32_t magic = 0, header = BRG_LLAMA2C_HEADER_BYTES;
    memset(l, 0, sizeof *l);
    if (size_bytes < BRG_LLAMA2C_HEADER_BYTES)
        return brg_why_set(why, BRG_ECORRUPT, "%s: %zu bytes are too few for a model", name,
                           size_bytes);
    memcpy(&magic, bytes, sizeof magic);
    if (magic == MAGIC_V1) {
        header = HEADER_BYTES_V1;
        if (size_bytes < header)
            return brg_why_set(why, BRG_ECORRUPT, "%s: it ends inside its header", name);
        memcpy(&l->version, bytes + 4, sizeof l->version);
        if (l->version != 1)
            return brg_why_set(why, BRG_EINVAL,
                               "%s: version %u of llama2.c's format; only 0 and 1 (float32) can be "
                               "read, not quantized ones",
                               name, l->version);
    }
    int rc = read_numbers(name, bytes + (magic == MAGIC_V1 ? 8 : 0), l->version, &l->spec, why);
    if (rc != BRG_OK) return rc;
    if (magic == MAGIC_V1) l->spec.tied = bytes[36];
    if (magic == MAGIC_V1 && (bytes[36] > 1 || !is_zero(bytes + 37, header - 37)))
        return brg_why_set(why, BRG_ECORRUPT, "%s: its header has bytes that mean nothing", name);
    rc = brg_model_check(&l->spec, 1, &inner);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s: %s", name, inner.text);
    l->floats = bytes + header;
    l->float_count = brg_llama2c_float_count(&l->spec, l->version);
    if (size_bytes - header == l->float_count * sizeof(float)) return BRG_OK;
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: %zu bytes, but a model of these sizes has %" PRIu64
                       "; it was cut off, or is no model of llama2.c",
                       name, size_bytes, l->float_count * sizeof(float) + header);
}

int brg_llama2c_header(const struct brg_model_spec *spec, int32_t *out, struct brg_why *why) {
    if (spec->norm_eps != BRG_LLAMA2C_EPS || spec->rope_theta != BRG_LLAMA2C_THETA ||
        spec->rope_scaling.type != BRG_ROPE_PLAIN)
        return brg_why_set(why, BRG_EINVAL,
                           "the model has norm_eps %g, rope_theta %g%s, but llama2.c knows 1e-05 "
                           "and 10000 only; export as hf or gguf",
                           (double)spec->norm_eps, (double)spec->rope_theta,
                           spec->rope_scaling.type == BRG_ROPE_PLAIN ? "" : ", a rope scaling");
    const int32_t vocab = (int32_t)spec->vocab;
    const int32_t numbers[7] = {(int32_t)spec->dim,      (int32_t)spec->hidden,
                                (int32_t)spec->layers,   (int32_t)spec->heads,
                                (int32_t)spec->kv_heads, spec->tied ? vocab : -vocab,
                                (int32_t)spec->context};
    memcpy(out, numbers, sizeof numbers);
    return BRG_OK;
}
