/* gguf.c - reading: a cursor that never passes the end of the file. */
#include "model/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define VERSION 3u
#define FILE_MAX (UINT64_C(1) << 42)
#define KEY_NAME_MAX 65535u
#define ALIGNMENT_MAX 65536u

/* What is left of the file. */
struct cursor {
    const uint8_t *bytes;
    uint64_t size, at;
    const char *name;
    struct brg_why *why;
};

static int damaged(const struct cursor *c, const char *what) {
    return brg_why_set(c->why, BRG_ECORRUPT, "%s: %s at byte %" PRIu64 "; fetch the file again",
                       c->name, what, c->at);
}

static int take(struct cursor *c, uint64_t size, const uint8_t **out) {
    if (size > c->size - c->at) return damaged(c, "the file ends too early");
    *out = c->bytes + c->at;
    c->at += size;
    return BRG_OK;
}

static int take_u32(struct cursor *c, uint32_t *out) {
    const uint8_t *p = NULL;
    const int rc = take(c, sizeof *out, &p);
    if (rc == BRG_OK) memcpy(out, p, sizeof *out);
    return rc;
}

static int take_u64(struct cursor *c, uint64_t *out) {
    const uint8_t *p = NULL;
    const int rc = take(c, sizeof *out, &p);
    if (rc == BRG_OK) memcpy(out, p, sizeof *out);
    return rc;
}

static int take_text(struct cursor *c, struct brg_gguf_text *out) {
    const int rc = take_u64(c, &out->size);
    return rc == BRG_OK ? take(c, out->size, &out->bytes) : rc;
}

static uint32_t bytes_of(uint32_t type) {
    switch (type) {
    case BRG_GGUF_U8:
    case BRG_GGUF_I8:
    case BRG_GGUF_BOOL: return 1;
    case BRG_GGUF_U16:
    case BRG_GGUF_I16: return 2;
    case BRG_GGUF_U32:
    case BRG_GGUF_I32:
    case BRG_GGUF_F32: return 4;
    case BRG_GGUF_U64:
    case BRG_GGUF_I64:
    case BRG_GGUF_F64: return 8;
    default: return 0;
    }
}

/* `count` items of a type that is no list. */
static int take_items(struct cursor *c, uint32_t type, uint64_t count, struct brg_gguf_key *k) {
    const uint64_t start = c->at;
    const uint8_t *p = NULL;
    k->data = c->bytes + c->at;
    int rc = BRG_OK;
    if (type == BRG_GGUF_TEXT) {
        struct brg_gguf_text text;
        /* Each takes 8 bytes at least, so that the file bounds the loop. */
        if (count > (c->size - c->at) / 8) return damaged(c, "a list is longer than the file");
        for (uint64_t i = 0; i < count && rc == BRG_OK; i++) rc = take_text(c, &text);
    } else {
        const uint32_t bytes = bytes_of(type);
        if (bytes == 0) return damaged(c, "a value has an unknown type");
        if (count > (c->size - c->at) / bytes) return damaged(c, "a list is longer than the file");
        rc = take(c, count * bytes, &p);
    }
    k->size_bytes = c->at - start;
    return rc;
}

static int take_key(struct cursor *c, struct brg_gguf_key *k) {
    int rc = take_text(c, &k->name);
    if (rc == BRG_OK && (k->name.size == 0 || k->name.size > KEY_NAME_MAX))
        rc = damaged(c, "a key has no name, or a very long one");
    if (rc == BRG_OK) rc = take_u32(c, &k->type);
    if (rc != BRG_OK) return rc;
    k->count = 1;
    if (k->type != BRG_GGUF_LIST) return take_items(c, k->type, 1, k);
    rc = take_u32(c, &k->item_type);
    if (rc == BRG_OK) rc = take_u64(c, &k->count);
    if (rc == BRG_OK && k->item_type == BRG_GGUF_LIST) rc = damaged(c, "a list holds lists");
    return rc == BRG_OK ? take_items(c, k->item_type, k->count, k) : rc;
}

static uint32_t dtype_of(uint32_t type) {
    return type == 0    ? BRG_WEIGHT_F32
           : type == 1  ? BRG_WEIGHT_F16
           : type == 30 ? BRG_WEIGHT_BF16
                        : BRG_WEIGHT_OTHER;
}

static int take_tensor(struct cursor *c, struct brg_gguf_tensor *t) {
    uint64_t elements = 1;
    int rc = take_text(c, &t->name);
    if (rc == BRG_OK && (t->name.size == 0 || t->name.size > BRG_GGUF_NAME_MAX))
        rc = damaged(c, "a tensor has no name, or one of more than 64 bytes");
    if (rc == BRG_OK) rc = take_u32(c, &t->dims);
    if (rc == BRG_OK && (t->dims == 0 || t->dims > BRG_GGUF_DIMS_MAX))
        rc = damaged(c, "a tensor has not 1 to 4 dimensions");
    for (uint32_t i = 0; rc == BRG_OK && i < t->dims; i++) {
        rc = take_u64(c, &t->shape[i]);
        if (rc == BRG_OK && (t->shape[i] == 0 || t->shape[i] > FILE_MAX / elements))
            rc = damaged(c, "a tensor is empty, or larger than any file");
        if (rc == BRG_OK) elements *= t->shape[i];
    }
    if (rc == BRG_OK) rc = take_u32(c, &t->type);
    if (rc == BRG_OK) rc = take_u64(c, &t->offset);
    if (rc != BRG_OK) return rc;
    t->dtype = dtype_of(t->type);
    if (t->dtype != BRG_WEIGHT_OTHER) t->size_bytes = elements * brg_weight_size(t->dtype);
    return BRG_OK;
}

static int is_zero(const uint8_t *bytes, uint64_t size) {
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != 0) return 0;
    return 1;
}

static int compare_text(const struct brg_gguf_text *a, const struct brg_gguf_text *b) {
    const uint64_t n = a->size < b->size ? a->size : b->size;
    const int order = memcmp(a->bytes, b->bytes, n);
    if (order != 0) return order;
    return a->size < b->size ? -1 : a->size > b->size;
}

static int by_text(const void *a, const void *b) {
    return compare_text(*(const struct brg_gguf_text *const *)a,
                        *(const struct brg_gguf_text *const *)b);
}

/* No key and no tensor twice. names [count] */
static int check_unique(const struct cursor *c, const struct brg_gguf_text **names,
                        uint32_t count) {
    qsort(names, count, sizeof *names, by_text);
    for (uint32_t i = 1; i < count; i++)
        if (compare_text(names[i - 1], names[i]) == 0)
            return brg_why_set(c->why, BRG_ECORRUPT, "%s: '%.*s' stands in it twice", c->name,
                               (int)(names[i]->size < 80 ? names[i]->size : 80), names[i]->bytes);
    return BRG_OK;
}

static int check_names(const struct cursor *c, const struct brg_gguf *g) {
    const uint32_t most = g->key_count > g->tensor_count ? g->key_count : g->tensor_count;
    const struct brg_gguf_text **names = malloc(((size_t)most + 1) * sizeof *names);
    if (names == NULL) return brg_why_set(c->why, BRG_ENOMEM, "%s: out of memory", c->name);
    for (uint32_t i = 0; i < g->key_count; i++) names[i] = &g->keys[i].name;
    int rc = check_unique(c, names, g->key_count);
    for (uint32_t i = 0; i < g->tensor_count; i++) names[i] = &g->tensors[i].name;
    if (rc == BRG_OK) rc = check_unique(c, names, g->tensor_count);
    free(names);
    return rc;
}

/* Tensors lie in order; quantized ones, whose size is not known here, up to the next. */
static int check_cover(struct cursor *c, struct brg_gguf *g) {
    uint64_t end = 0; /* of the tensor before, from data_at */
    const uint64_t size = c->size - g->data_at;
    int is_open = 0; /* the one before ends somewhere */
    for (uint32_t i = 0; i < g->tensor_count; i++) {
        struct brg_gguf_tensor *t = &g->tensors[i];
        c->at = g->data_at + end;
        if (t->offset % g->alignment != 0 || t->offset < end)
            return damaged(c, "a tensor overlaps with another, or is not aligned");
        if (t->offset > size || t->size_bytes > size - t->offset)
            return damaged(c, "a tensor lies outside of the file, which may have been cut off");
        if (!is_open && t->offset - end >= g->alignment) return damaged(c, "there is a hole");
        if (!is_open && !is_zero(c->bytes + g->data_at + end, t->offset - end))
            return damaged(c, "there are bytes that belong to no tensor");
        t->data = c->bytes + g->data_at + t->offset;
        end = t->offset + t->size_bytes;
        is_open = t->dtype == BRG_WEIGHT_OTHER;
    }
    c->at = g->data_at + end;
    if (!is_open && (size - end >= g->alignment || !is_zero(c->bytes + c->at, size - end)))
        return damaged(c, "there are bytes behind the last tensor");
    return BRG_OK;
}

static int read_head(struct cursor *c, struct brg_gguf *g) {
    const uint8_t *magic = NULL;
    uint32_t version = 0;
    uint64_t tensors = 0, keys = 0;
    int rc = take(c, 4, &magic);
    if (rc != BRG_OK || memcmp(magic, "GGUF", 4) != 0)
        return brg_why_set(c->why, BRG_ECORRUPT, "%s: it does not begin with 'GGUF'", c->name);
    rc = take_u32(c, &version);
    if (rc == BRG_OK && version != VERSION)
        return brg_why_set(c->why, BRG_EINVAL,
                           "%s: GGUF of version %u, but 3 is needed; convert the model again",
                           c->name, version);
    if (rc == BRG_OK) rc = take_u64(c, &tensors);
    if (rc == BRG_OK) rc = take_u64(c, &keys);
    if (rc != BRG_OK) return rc;
    if (tensors > BRG_GGUF_TENSORS_MAX || keys > BRG_GGUF_KEYS_MAX)
        return brg_why_set(c->why, BRG_ENOMEM,
                           "%s: %" PRIu64 " tensors and %" PRIu64
                           " keys, at most %u and %u are read",
                           c->name, tensors, keys, BRG_GGUF_TENSORS_MAX, BRG_GGUF_KEYS_MAX);
    g->keys = calloc(keys + 1, sizeof *g->keys);
    g->tensors = calloc(tensors + 1, sizeof *g->tensors);
    if (g->keys == NULL || g->tensors == NULL)
        return brg_why_set(c->why, BRG_ENOMEM, "%s: out of memory", c->name);
    for (; rc == BRG_OK && g->key_count < keys; g->key_count++)
        rc = take_key(c, &g->keys[g->key_count]);
    for (; rc == BRG_OK && g->tensor_count < tensors; g->tensor_count++)
        rc = take_tensor(c, &g->tensors[g->tensor_count]);
    return rc;
}

static int read_all(struct cursor *c, struct brg_gguf *g) {
    uint32_t alignment = BRG_GGUF_ALIGNMENT;
    int rc = read_head(c, g);
    if (rc == BRG_OK) rc = check_names(c, g);
    if (rc == BRG_OK) rc = brg_gguf_u32(g, "general.alignment", &alignment, c->why);
    if (rc != BRG_OK) return rc;
    if (alignment == 0 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
        return damaged(c, "general.alignment is no power of two");
    g->alignment = alignment;
    const uint64_t padding = (alignment - c->at % alignment) % alignment;
    const uint8_t *zeroes = NULL;
    if (g->tensor_count > 0) {
        rc = take(c, padding, &zeroes);
        if (rc == BRG_OK && !is_zero(zeroes, padding)) rc = damaged(c, "there is a hole");
    }
    g->data_at = c->at;
    return rc == BRG_OK ? check_cover(c, g) : rc;
}

int brg_gguf_parse(const char *name, const uint8_t *bytes, size_t size_bytes, struct brg_gguf *g,
                   struct brg_why *why) {
    struct cursor c = {.bytes = bytes, .size = size_bytes, .name = name, .why = why};
    memset(g, 0, sizeof *g);
    g->name = name;
    const int rc = read_all(&c, g);
    if (rc != BRG_OK) brg_gguf_close(g);
    return rc;
}

int brg_gguf_open(const char *path, struct brg_gguf *g, struct brg_why *why) {
    struct brg_file_map map;
    memset(g, 0, sizeof *g);
    int rc = brg_file_map_open(path, FILE_MAX, &map);
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: cannot be read (%s); check the path", path,
                           strerror(errno));
    rc = brg_gguf_parse(path, map.data, map.size_bytes, g, why);
    if (rc == BRG_OK)
        g->map = map;
    else
        brg_file_map_close(&map);
    return rc;
}

void brg_gguf_close(struct brg_gguf *g) {
    free(g->keys);
    free(g->tensors);
    brg_file_map_close(&g->map);
    memset(g, 0, sizeof *g);
}

static int is_named(const struct brg_gguf_text *text, const char *name) {
    return text->size == strlen(name) && memcmp(text->bytes, name, text->size) == 0;
}

const struct brg_gguf_key *brg_gguf_find(const struct brg_gguf *g, const char *key) {
    for (uint32_t i = 0; i < g->key_count; i++)
        if (is_named(&g->keys[i].name, key)) return &g->keys[i];
    return NULL;
}

const struct brg_gguf_tensor *brg_gguf_tensor_find(const struct brg_gguf *g, const char *name) {
    for (uint32_t i = 0; i < g->tensor_count; i++)
        if (is_named(&g->tensors[i].name, name)) return &g->tensors[i];
    return NULL;
}

static int wrong_type(const struct brg_gguf *g, const char *key, struct brg_why *why) {
    return brg_why_set(why, BRG_ECORRUPT, "%s: %s has a type or value that it cannot have", g->name,
                       key);
}

int brg_gguf_u32(const struct brg_gguf *g, const char *key, uint32_t *out, struct brg_why *why) {
    const struct brg_gguf_key *k = brg_gguf_find(g, key);
    uint64_t value = 0;
    if (k == NULL) return BRG_OK;
    const int is_signed = k->type == BRG_GGUF_I32 || k->type == BRG_GGUF_I64;
    if (!is_signed && k->type != BRG_GGUF_U32 && k->type != BRG_GGUF_U64 &&
        k->type != BRG_GGUF_BOOL)
        return wrong_type(g, key, why);
    memcpy(&value, k->data, k->size_bytes);
    const uint64_t sign_bit = k->type == BRG_GGUF_I32 ? UINT64_C(1) << 31 : UINT64_C(1) << 63;
    if (value > UINT32_MAX || (is_signed && (value & sign_bit) != 0))
        return wrong_type(g, key, why);
    *out = (uint32_t)value;
    return BRG_OK;
}

int brg_gguf_f32(const struct brg_gguf *g, const char *key, float *out, struct brg_why *why) {
    const struct brg_gguf_key *k = brg_gguf_find(g, key);
    if (k == NULL) return BRG_OK;
    if (k->type != BRG_GGUF_F32) return wrong_type(g, key, why);
    memcpy(out, k->data, sizeof *out);
    return BRG_OK;
}

struct brg_gguf_text brg_gguf_next(const struct brg_gguf_key *list, uint64_t *at) {
    struct brg_gguf_text text;
    BRG_ASSERT(list->item_type == BRG_GGUF_TEXT && *at + 8 <= list->size_bytes);
    memcpy(&text.size, list->data + *at, sizeof text.size);
    text.bytes = list->data + *at + 8;
    *at += 8 + text.size;
    BRG_ASSERT(*at <= list->size_bytes);
    return text;
}
