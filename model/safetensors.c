/* safetensors.c - sizes are checked before any arithmetic on them, offsets before any pointer. */
#include "model/safetensors.h"

#include "model/import_json.h"
#include "model/prepare_json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define LENGTH_BYTES 8u
#define FORMAT_HEADER_MAX 100000000u
#define FILE_MAX (UINT64_C(1) << 42)

/* The format's types and their sizes; ours know more than that about three of them. */
static const struct kind {
    const char *name;
    uint32_t bytes, dtype;
} kinds[] = {
    {"F32", 4, BRG_WEIGHT_F32},       {"F16", 2, BRG_WEIGHT_F16},
    {"BF16", 2, BRG_WEIGHT_BF16},     {"F64", 8, BRG_WEIGHT_OTHER},
    {"I64", 8, BRG_WEIGHT_OTHER},     {"U64", 8, BRG_WEIGHT_OTHER},
    {"I32", 4, BRG_WEIGHT_OTHER},     {"U32", 4, BRG_WEIGHT_OTHER},
    {"I16", 2, BRG_WEIGHT_OTHER},     {"U16", 2, BRG_WEIGHT_OTHER},
    {"I8", 1, BRG_WEIGHT_OTHER},      {"U8", 1, BRG_WEIGHT_OTHER},
    {"BOOL", 1, BRG_WEIGHT_OTHER},    {"F8_E4M3", 1, BRG_WEIGHT_OTHER},
    {"F8_E5M2", 1, BRG_WEIGHT_OTHER},
};

static int damaged(const struct brg_import_json *j, const char *tensor, const char *what) {
    return brg_why_set(j->why, BRG_ECORRUPT, "%s: tensor '%.80s' %s; fetch the file again", j->name,
                       tensor, what);
}

/* "dtype": sets the type, returns its size through *bytes. */
static int read_kind(const struct brg_import_json *j, const cJSON *item, struct brg_safetensor *t,
                     uint32_t *bytes) {
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    for (size_t i = 0; cJSON_IsString(dtype) && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(dtype->valuestring, kinds[i].name) != 0) continue;
        t->dtype = kinds[i].dtype;
        *bytes = kinds[i].bytes;
        return BRG_OK;
    }
    return damaged(j, t->name, "has no dtype, or one that is not known");
}

/* "shape": the dims, and the bytes they make. */
static int read_shape(const struct brg_import_json *j, const cJSON *item, uint64_t bytes,
                      struct brg_safetensor *t) {
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    if (!cJSON_IsArray(shape)) return damaged(j, t->name, "has no shape");
    t->size_bytes = bytes;
    for (const cJSON *d = shape->child; d != NULL; d = d->next) {
        uint64_t size = 0;
        if (t->dims == BRG_SAFETENSORS_DIMS_MAX)
            return damaged(j, t->name, "has more than 8 dimensions");
        if (!brg_import_json_whole(d, &size) || size > FILE_MAX)
            return damaged(j, t->name, "has a dimension that is not a whole number in range");
        if (size > 0 && t->size_bytes > FILE_MAX / size)
            return damaged(j, t->name, "is larger than any file");
        t->size_bytes *= size;
        t->shape[t->dims++] = size;
    }
    return BRG_OK;
}

/* One entry of the header; its bytes are [begin, end) of data of `data_bytes`. */
static int read_entry(const struct brg_import_json *j, const cJSON *item, uint64_t data_bytes,
                      struct brg_safetensor *t) {
    uint32_t bytes = 0;
    uint64_t begin = 0, end = 0;
    *t = (struct brg_safetensor){.name = item->string};
    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 3)
        return damaged(j, t->name, "is not described by dtype, shape and data_offsets");
    int rc = read_kind(j, item, t, &bytes);
    if (rc == BRG_OK) rc = read_shape(j, item, bytes, t);
    if (rc != BRG_OK) return rc;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !brg_import_json_whole(offsets->child, &begin) ||
        !brg_import_json_whole(offsets->child->next, &end))
        return damaged(j, t->name, "has no data_offsets [begin, end]");
    if (begin > end || end > data_bytes)
        return damaged(j, t->name, "lies outside of the file, which may have been cut off");
    if (end - begin != t->size_bytes)
        return damaged(j, t->name, "has another size than its shape asks for");
    t->begin = begin;
    return BRG_OK;
}

static int check_notes(const struct brg_import_json *j, const cJSON *notes) {
    if (!cJSON_IsObject(notes))
        return brg_why_set(j->why, BRG_ECORRUPT, "%s: __metadata__ is not an object", j->name);
    for (const cJSON *c = notes->child; c != NULL; c = c->next)
        if (!cJSON_IsString(c))
            return brg_why_set(j->why, BRG_ECORRUPT, "%s: __metadata__ '%.80s' is not a text",
                               j->name, c->string);
    return brg_import_json_unique(j, notes);
}

static int by_offset(const void *a, const void *b) {
    const struct brg_safetensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->size_bytes != y->size_bytes) return x->size_bytes < y->size_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* No hole, no overlap, nothing behind the last one. */
static int check_cover(const struct brg_import_json *j, struct brg_safetensors *s,
                       const uint8_t *data, uint64_t data_bytes) {
    uint64_t at = 0;
    qsort(s->tensors, s->count, sizeof *s->tensors, by_offset);
    for (uint32_t i = 0; i < s->count; i++) {
        struct brg_safetensor *t = &s->tensors[i];
        if (t->begin != at)
            return damaged(j, t->name,
                           t->begin < at ? "overlaps with another" : "leaves a hole before it");
        t->data = data + at;
        at += t->size_bytes;
    }
    if (at == data_bytes) return BRG_OK;
    return brg_why_set(j->why, BRG_ECORRUPT,
                       "%s: %" PRIu64 " bytes behind the last tensor belong to none; fetch the "
                       "file again",
                       j->name, data_bytes - at);
}

static int read_header(const struct brg_import_json *j, const cJSON *root, uint64_t data_bytes,
                       struct brg_safetensors *s) {
    size_t entries = 0;
    for (const cJSON *c = root->child; c != NULL; c = c->next) entries++;
    if (entries > BRG_SAFETENSORS_TENSORS_MAX)
        return brg_why_set(j->why, BRG_ENOMEM, "%s: %zu tensors, at most %u are read", j->name,
                           entries, BRG_SAFETENSORS_TENSORS_MAX);
    int rc = brg_import_json_unique(j, root);
    if (rc != BRG_OK) return rc;
    s->tensors = calloc(entries + 1, sizeof *s->tensors);
    if (s->tensors == NULL) return brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", j->name);
    for (const cJSON *c = root->child; c != NULL && rc == BRG_OK; c = c->next) {
        if (strcmp(c->string, "__metadata__") == 0)
            rc = check_notes(j, c);
        else
            rc = read_entry(j, c, data_bytes, &s->tensors[s->count++]);
    }
    return rc;
}

int brg_safetensors_parse(const char *name, const uint8_t *bytes, size_t size_bytes,
                          struct brg_safetensors *s, struct brg_why *why) {
    const struct brg_import_json j = {name, why};
    uint64_t header = 0;
    cJSON *root = NULL;
    memset(s, 0, sizeof *s);
    if (size_bytes < LENGTH_BYTES + 2)
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: %zu bytes are too few for a safetensors file; fetch it again", name,
                           size_bytes);
    memcpy(&header, bytes, sizeof header);
    if (header < 2 || header > FORMAT_HEADER_MAX || header > size_bytes - LENGTH_BYTES ||
        bytes[LENGTH_BYTES] != '{')
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: it does not begin as a safetensors file does (a length, then '{'); "
                           "is it the file itself, or a pointer to it (git lfs pull)?",
                           name);
    int rc = brg_import_json_parse(&j, bytes + LENGTH_BYTES, (size_t)header,
                                   BRG_SAFETENSORS_HEADER_MAX, &root);
    if (rc != BRG_OK) return rc;
    s->header = root;
    const uint64_t data_bytes = size_bytes - LENGTH_BYTES - header;
    rc = read_header(&j, root, data_bytes, s);
    if (rc == BRG_OK) rc = check_cover(&j, s, bytes + LENGTH_BYTES + header, data_bytes);
    if (rc != BRG_OK) brg_safetensors_close(s);
    return rc;
}

int brg_safetensors_open(const char *path, struct brg_safetensors *s, struct brg_why *why) {
    struct brg_file_map map;
    memset(s, 0, sizeof *s);
    int rc = brg_file_map_open(path, FILE_MAX, &map);
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: cannot be read (%s); check the path", path,
                           strerror(errno));
    rc = brg_safetensors_parse(path, map.data, map.size_bytes, s, why);
    if (rc == BRG_OK)
        s->map = map;
    else
        brg_file_map_close(&map);
    return rc;
}

const struct brg_safetensor *brg_safetensors_find(const struct brg_safetensors *s,
                                                  const char *name) {
    for (uint32_t i = 0; i < s->count; i++)
        if (strcmp(s->tensors[i].name, name) == 0) return &s->tensors[i];
    return NULL;
}

void brg_safetensors_close(struct brg_safetensors *s) {
    free(s->tensors);
    cJSON_Delete(s->header);
    brg_file_map_close(&s->map);
    memset(s, 0, sizeof *s);
}

/* The JSON without its padding. */
static void print_header(FILE *out, const struct brg_safetensors_entry *entries, uint32_t count,
                         const struct brg_safetensors_note *notes, uint32_t note_count) {
    uint64_t at = 0;
    (void)fputs("{\"__metadata__\":{", out);
    for (uint32_t i = 0; i < note_count; i++) {
        if (i > 0) (void)fputc(',', out);
        brg_prepare_json_string(out, notes[i].key);
        (void)fputc(':', out);
        brg_prepare_json_string(out, notes[i].text);
    }
    (void)fputc('}', out);
    for (uint32_t i = 0; i < count; i++) {
        const struct brg_safetensors_entry *e = &entries[i];
        const uint64_t elements = e->shape[0] * (e->dims == 2 ? e->shape[1] : 1);
        const uint64_t end = at + elements * brg_weight_size(e->dtype);
        (void)fputc(',', out);
        brg_prepare_json_string(out, e->name);
        (void)fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[%" PRIu64, brg_weight_name(e->dtype),
                      e->shape[0]);
        if (e->dims == 2) (void)fprintf(out, ",%" PRIu64, e->shape[1]);
        (void)fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, end);
        at = end;
    }
    (void)fputc('}', out);
}

int brg_safetensors_header(const struct brg_safetensors_entry *entries, uint32_t count,
                           const struct brg_safetensors_note *notes, uint32_t note_count,
                           char **out, size_t *size_bytes) {
    uint64_t length = 0;
    *out = NULL;
    FILE *f = open_memstream(out, size_bytes);
    if (f == NULL) return BRG_ENOMEM;
    (void)fwrite(&length, sizeof length, 1, f);
    print_header(f, entries, count, notes, note_count);
    for (long at = ftell(f); at > 0 && at % 8 != 0; at++) (void)fputc(' ', f);
    const int lost = ferror(f);
    if (fclose(f) != 0 || lost || *out == NULL) {
        free(*out);
        *out = NULL;
        return BRG_ENOMEM;
    }
    length = *size_bytes - LENGTH_BYTES;
    memcpy(*out, &length, sizeof length);
    return BRG_OK;
}
