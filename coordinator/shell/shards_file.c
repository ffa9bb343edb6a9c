/* The file of one stage: a safetensors file as any reader of that format takes it. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "coordinator/shell/shards_private.h"
#include "model/safetensors.h"

#define NOTES_MAX 16u
#define NOTE_BYTES 96u
#define NAME_BYTES (BRG_TENSOR_NAME_BYTES + 16u)

static const char *const vector_names[1 + BRG_SHARDS_MOMENTS_MAX] = {"", "optimizer.m.",
                                                                     "optimizer.v."};

/* The tensors of a file, in their order: names [count] and entries [count]. */
struct table {
    uint32_t count;
    char (*names)[NAME_BYTES];
    struct brg_safetensors_entry *entries;
};

static void free_table(struct table *t) {
    free(t->names);
    free(t->entries);
    *t = (struct table){.count = 0};
}

static void add_entry(struct table *t, uint32_t vector, const struct brg_model_tensor *tensor) {
    char *name = t->names[t->count];
    struct brg_safetensors_entry *e = &t->entries[t->count++];
    (void)snprintf(name, NAME_BYTES, "%s%s", vector_names[vector], tensor->name);
    *e =
        (struct brg_safetensors_entry){.name = name, .dtype = BRG_WEIGHT_F32, .dims = tensor->dims};
    e->shape[0] = tensor->dims == 1 ? tensor->cols : tensor->rows;
    e->shape[1] = tensor->dims == 1 ? 0 : tensor->cols;
}

/* errors: BRG_ENOMEM; BRG_EINVAL the stage does not begin and end with tensors of the model. */
static int make_table(const struct brg_model_spec *model, const struct brg_shards_manifest *m,
                      uint32_t stage, struct table *out) {
    const struct brg_shards_stage *s = &m->stages[stage];
    const uint32_t all = brg_model_tensor_count(model), vectors = 1 + m->about.moments;
    struct brg_model_tensor tensor;
    uint32_t first = UINT32_MAX, end = 0;
    uint64_t floats = 0;
    *out = (struct table){.count = 0};
    for (uint32_t i = 0; i < all; i++) {
        brg_model_tensor(model, i, &tensor);
        if (tensor.offset < s->offset || tensor.offset >= s->offset + s->params) continue;
        if (first == UINT32_MAX) first = tensor.offset == s->offset ? i : all;
        end = i + 1;
        floats += (uint64_t)tensor.rows * tensor.cols;
    }
    if (first >= all || floats != s->params) return BRG_EINVAL;
    out->names = calloc((size_t)(end - first) * vectors, sizeof *out->names);
    out->entries = calloc((size_t)(end - first) * vectors, sizeof *out->entries);
    if (out->names == NULL || out->entries == NULL) {
        free_table(out);
        return BRG_ENOMEM;
    }
    for (uint32_t v = 0; v < vectors; v++) {
        for (uint32_t i = first; i < end; i++) {
            brg_model_tensor(model, i, &tensor);
            add_entry(out, v, &tensor);
        }
    }
    return BRG_OK;
}

/* ---- writing ---- */

struct notes {
    uint32_t count;
    char text[NOTES_MAX][NOTE_BYTES];
    struct brg_safetensors_note items[NOTES_MAX];
};

BRG_PRINTF(3, 4) static void note(struct notes *n, const char *key, const char *format, ...) {
    va_list args;
    BRG_ASSERT(n->count < NOTES_MAX);
    char *text = n->text[n->count];
    va_start(args, format);
    (void)vsnprintf(text, NOTE_BYTES, format, args);
    va_end(args);
    n->items[n->count++] = (struct brg_safetensors_note){key, text};
}

static void make_notes(const struct brg_shards_manifest *m, uint32_t stage, struct notes *n) {
    const struct brg_shards_about *a = &m->about;
    const struct brg_shards_stage *s = &m->stages[stage];
    char hex[BRG_DIGEST_HEX_BYTES];
    n->count = 0;
    note(n, "format", "pt"); /* what other programs look for */
    note(n, "brigade.format", "%u", BRG_SHARDS_FORMAT);
    note(n, "brigade.run", "%" PRIu64, a->run);
    note(n, "brigade.name", "%s", a->name);
    note(n, "brigade.step", "%" PRIu64, a->step);
    note(n, "brigade.generation", "%" PRIu64, a->generation);
    note(n, "brigade.seed", "%" PRIu64, a->seed);
    note(n, "brigade.data_digest", "%s", brg_digest_hex(&a->data, hex));
    note(n, "brigade.stage", "%u", stage);
    note(n, "brigade.stages", "%u", a->stages);
    note(n, "brigade.lineage", "%" PRIu64, s->lineage);
    note(n, "brigade.own_step", "%" PRIu64, s->own_step);
    note(n, "brigade.lr_factor", "%.17g", s->lr_factor);
    note(n, "brigade.lr_version", "%" PRIu64, s->lr_version);
}

static int make_header(const struct brg_model_spec *model, const struct brg_shards_manifest *m,
                       uint32_t stage, char **header, size_t *size) {
    struct table t;
    struct notes *n = calloc(1, sizeof *n);
    if (n == NULL) return BRG_ENOMEM;
    int rc = make_table(model, m, stage, &t);
    if (rc == BRG_OK) {
        make_notes(m, stage, n);
        rc = brg_safetensors_header(t.entries, t.count, n->items, n->count, header, size);
        free_table(&t);
    }
    free(n);
    return rc;
}

int brg_shards_file_begin(const char *folder, const struct brg_model_spec *model,
                          const struct brg_shards_manifest *m, uint32_t stage,
                          struct brg_shards_file *f, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES], *header = NULL;
    size_t size = 0;
    f->writer.fd = -1;
    brg_hasher_init(&f->hasher);
    (void)brg_shards_file_path(folder, m, stage, path);
    int rc = make_header(model, m, stage, &header, &size);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s: no memory left to write it", path);
    rc = brg_file_writer_open(&f->writer, path, 0600);
    if (rc == BRG_OK)
        rc = brg_shards_file_add(f, header, size, why);
    else
        rc = brg_checkpoint_disk_error(path, "creating it", why);
    free(header);
    return rc;
}

int brg_shards_file_add(struct brg_shards_file *f, const void *data, uint64_t size_bytes,
                        struct brg_why *why) {
    brg_hasher_update(&f->hasher, data, size_bytes);
    if (brg_file_writer_append(&f->writer, data, size_bytes) == BRG_OK) return BRG_OK;
    return brg_checkpoint_disk_error(f->writer.path, "writing it", why);
}

int brg_shards_file_end(struct brg_shards_file *f, struct brg_shards_stage *out,
                        struct brg_why *why) {
    out->bytes = f->writer.size_bytes;
    brg_hasher_final(&f->hasher, &out->digest);
    if (brg_file_writer_commit(&f->writer) == BRG_OK) return BRG_OK;
    return brg_checkpoint_disk_error(f->writer.path, "writing it", why);
}

/* ---- reading ---- */

/* The tensors in the file are those of the model, in their order. */
static int check_tensors(const struct brg_safetensors *s, const struct table *t) {
    if (s->count != t->count) return BRG_EINVAL;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct brg_safetensor *have = &s->tensors[i];
        const struct brg_safetensors_entry *want = &t->entries[i];
        if (strcmp(have->name, want->name) != 0 || have->dtype != BRG_WEIGHT_F32 ||
            have->dims != want->dims || have->shape[0] != want->shape[0] ||
            (want->dims == 2 && have->shape[1] != want->shape[1])) {
            return BRG_EINVAL;
        }
    }
    return BRG_OK;
}

static int verify(const struct brg_model_spec *model, const struct brg_shards_manifest *m,
                  uint32_t stage, const char *path, const struct brg_file_map *map,
                  const uint8_t **data, struct brg_why *why) {
    struct brg_digest digest;
    struct brg_safetensors s;
    struct table t;
    brg_digest_of(map->data, map->size_bytes, &digest);
    if (map->size_bytes != m->stages[stage].bytes ||
        !brg_digest_equal(&digest, &m->stages[stage].digest)) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: does not have its digest: this checkpoint cannot be used; restore "
                           "the file from a backup, or delete its folder so that an older "
                           "checkpoint is taken",
                           path);
    }
    int rc = make_table(model, m, stage, &t);
    if (rc == BRG_OK) {
        rc = brg_safetensors_parse(path, map->data, map->size_bytes, &s, why);
        if (rc == BRG_OK) {
            rc = check_tensors(&s, &t);
            *data = s.tensors[0].data;
            brg_safetensors_close(&s);
        }
        free_table(&t);
    }
    if (rc != BRG_EINVAL) return rc;
    return brg_why_set(why, rc, "%s: holds other tensors than the run's model has", path);
}

int brg_shards_file_map(const char *folder, const struct brg_model_spec *model,
                        const struct brg_shards_manifest *m, uint32_t stage,
                        struct brg_file_map *map, const uint8_t **data, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    (void)brg_shards_file_path(folder, m, stage, path);
    int rc = brg_file_map_open(path, m->stages[stage].bytes, map);
    if (rc == BRG_ENOENT || (rc == BRG_ENOMEM && errno == EFBIG)) {
        return brg_why_set(why, BRG_ECORRUPT, "%s: is missing, or longer than the manifest says",
                           path);
    }
    if (rc != BRG_OK) return brg_checkpoint_disk_error(path, "opening it", why);
    rc = verify(model, m, stage, path, map, data, why);
    if (rc != BRG_OK) brg_file_map_close(map);
    return rc;
}
