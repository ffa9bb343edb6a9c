/* The .bin files of a checkpoint. */
#include <errno.h>
#include <string.h>

#include "coordinator/shell/checkpoint_private.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "headers and data are written as they lie in memory, which has to be little-endian"
#endif

#define TENSOR_VERSION 1u

static const char tensor_magic[8] = {'B', 'R', 'G', 'C', 'K', 'P', 'T', '1'};

struct tensor_header {
    char magic[8];
    uint32_t version, kind;
    uint64_t run, step, elements;
    struct brg_digest data;
    uint32_t model; /* 0 where there is one */
    uint8_t zero[20];
    struct brg_digest digest; /* of the fields above */
};

_Static_assert(sizeof(struct tensor_header) == BRG_CHECKPOINT_TENSOR_BYTES, "no padding on disk");

struct brg_checkpoint_tensor brg_checkpoint_tensor_of(const struct brg_checkpoint *c, uint32_t kind,
                                                      uint32_t model) {
    const int params = kind == BRG_CHECKPOINT_PARAMS;
    BRG_ASSERT(model < c->models && c->models <= BRG_MODELS_MAX);
    return (struct brg_checkpoint_tensor){
        .kind = kind,
        .model = model,
        .models = c->models,
        .run = c->run,
        .step = c->step,
        .elements = params ? c->params_elements : c->optimizer_elements,
        .digest = params ? c->params[model] : c->optimizer[model]};
}

const char *brg_checkpoint_tensor_name(const struct brg_checkpoint_tensor *t, char *out) {
    const char *name = t->kind == BRG_CHECKPOINT_PARAMS ? "params" : "optimizer";
    if (t->models > 1) {
        (void)snprintf(out, BRG_CHECKPOINT_FILE_BYTES, "%s-%u.bin", name, t->model);
    } else {
        (void)snprintf(out, BRG_CHECKPOINT_FILE_BYTES, "%s.bin", name);
    }
    return out;
}

/* The header that a file described by `t` has, to the byte. */
static void make_header(const struct brg_checkpoint_tensor *t, struct tensor_header *h) {
    memset(h, 0, sizeof *h);
    memcpy(h->magic, tensor_magic, sizeof h->magic);
    h->version = TENSOR_VERSION;
    h->kind = t->kind;
    h->run = t->run;
    h->step = t->step;
    h->elements = t->elements;
    h->model = t->model;
    h->data = t->digest;
    brg_digest_of(h, offsetof(struct tensor_header, digest), &h->digest);
}

int brg_checkpoint_tensor_write(const char *path, struct brg_checkpoint_tensor *t,
                                const float *data, struct brg_why *why) {
    struct brg_file_writer w;
    struct tensor_header h;
    const size_t data_bytes = t->elements * sizeof *data;

    brg_digest_of(data, data_bytes, &t->digest);
    make_header(t, &h);
    int rc = brg_file_writer_open(&w, path, 0600);
    if (rc != BRG_OK) return brg_checkpoint_disk_error(path, "creating it", why);
    rc = brg_file_writer_append(&w, &h, sizeof h);
    if (rc == BRG_OK && data_bytes > 0) rc = brg_file_writer_append(&w, data, data_bytes);
    if (rc == BRG_OK) rc = brg_file_writer_commit(&w);
    if (rc == BRG_OK) return BRG_OK;
    rc = brg_checkpoint_disk_error(path, "writing it", why);
    brg_file_writer_abort(&w);
    return rc;
}

int brg_checkpoint_tensor_peek(const char *path, struct brg_checkpoint_tensor *t,
                               struct brg_why *why) {
    struct tensor_header h, again;
    int rc = BRG_ECORRUPT;
    FILE *f = fopen(path, "rbe");
    if (f == NULL && errno == ENOENT) return brg_why_set(why, BRG_ENOENT, "%s is missing", path);
    if (f == NULL) return brg_checkpoint_disk_error(path, "opening it", why);
    if (fread(&h, sizeof h, 1, f) == 1) {
        *t = (struct brg_checkpoint_tensor){.kind = h.kind,
                                            .model = h.model,
                                            .models = 1,
                                            .run = h.run,
                                            .step = h.step,
                                            .elements = h.elements,
                                            .digest = h.data};
        make_header(t, &again);
        if (memcmp(&h, &again, sizeof h) == 0) rc = BRG_OK;
    }
    (void)fclose(f);
    return rc == BRG_OK ? rc : brg_why_set(why, rc, "%s: its header is damaged", path);
}

int brg_checkpoint_tensor_read(const char *path, const struct brg_checkpoint_tensor *t, float *data,
                               struct brg_why *why) {
    struct brg_file_map map;
    struct tensor_header h;
    struct brg_digest own;
    const char *what = NULL;
    const size_t data_bytes = t->elements * sizeof *data;

    int rc = brg_file_map_open(path, sizeof h + data_bytes, &map);
    if (rc == BRG_ENOENT)
        what = "is missing";
    else if (rc == BRG_ENOMEM && errno == EFBIG)
        what = "is longer than the manifest says";
    else if (rc != BRG_OK)
        return brg_checkpoint_disk_error(path, "opening it", why);

    make_header(t, &h);
    if (what == NULL && map.size_bytes < sizeof h + data_bytes) {
        what = "is shorter than the manifest says";
    } else if (what == NULL && memcmp(map.data, &h, sizeof h) != 0) {
        what = "does not have the header that the manifest describes";
    } else if (what == NULL && data != NULL) {
        memcpy(data, map.data + sizeof h, data_bytes);
        brg_digest_of(data, data_bytes, &own); /* of what is used, not of what was mapped */
        if (!brg_digest_equal(&own, &t->digest)) what = "does not have its digest";
    }
    brg_file_map_close(&map);
    if (what == NULL) return BRG_OK;
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: %s: this checkpoint cannot be used; restore the file from a backup, or "
                       "delete its folder so that an older checkpoint is taken",
                       path, what);
}
