/* The checkpoint of step 0: what a pipeline run begins with, tensor by tensor. */
#include <string.h>

#include "base/log.h"
#include "coordinator/shell/shards_private.h"
#include "model/export.h"
#include "model/import.h"

/* Where the first parameters come from, and the digest of those that were read. */
struct origin {
    const struct brg_run_config *config;
    struct brg_import *import; /* NULL: the seed draws them */
    struct brg_hasher hasher;
};

static int is_known(const struct brg_digest *d) {
    static const struct brg_digest none = {{0}};
    return !brg_digest_equal(d, &none);
}

/* The model, if it is the one whose sizes the run has. */
static int open_import(const struct brg_run_config *config, struct brg_import **out,
                       struct brg_why *why) {
    struct brg_import_info info;
    int rc = brg_import_open(config->model_from, out, why);
    if (rc == BRG_ENOMEM) return rc;
    if (rc != BRG_OK) return BRG_EINVAL; /* the operator's file, not ours */
    brg_import_info_of(*out, &info);
    if (info.spec.context >= config->model.context) info.spec.context = config->model.context;
    if (memcmp(&info.spec, &config->model, sizeof info.spec) == 0) return BRG_OK;
    brg_import_close(*out);
    *out = NULL;
    return brg_why_set(why, BRG_EINVAL,
                       "model.from: %s is another model than when the run was submitted: put the "
                       "first one back, or submit the run again",
                       config->model_from);
}

static int read_tensor(struct origin *o, uint32_t index, const struct brg_model_tensor *t,
                       float *out, struct brg_why *why) {
    int rc = BRG_OK;
    if (o->import != NULL)
        rc = brg_import_tensor(o->import, index, out, why);
    else
        brg_model_init_tensor(&o->config->model, index, o->config->sweep.seed[0], out);
    if (rc == BRG_OK) brg_hasher_update(&o->hasher, out, (size_t)t->rows * t->cols * sizeof *out);
    return rc;
}

/* The file of `stage`; floats: room for the largest tensor. */
static int put_stage(struct brg_shards_writer *w, uint32_t stage, struct origin *o, float *floats,
                     struct brg_why *why) {
    struct brg_shards_stage *s = &w->manifest.stages[stage];
    struct brg_shards_file f;
    struct brg_model_tensor t;
    s->lr_factor = 1;
    int rc = brg_shards_file_begin(w->folder, &w->model, &w->manifest, stage, &f, why);
    for (uint32_t i = 0; rc == BRG_OK && i < brg_model_tensor_count(&w->model); i++) {
        brg_model_tensor(&w->model, i, &t);
        if (t.offset < s->offset || t.offset >= s->offset + s->params) continue;
        rc = read_tensor(o, i, &t, floats, why);
        if (rc == BRG_OK) {
            const uint64_t bytes = (uint64_t)t.rows * t.cols * sizeof *floats;
            rc = brg_shards_file_add(&f, floats, bytes, why);
        }
    }
    if (rc == BRG_OK) rc = brg_shards_file_end(&f, s, why);
    brg_file_writer_abort(&f.writer);
    if (rc == BRG_OK) w->has[stage] = 1;
    return rc;
}

static uint64_t largest_tensor(const struct brg_model_spec *model) {
    uint64_t largest = 0;
    for (uint32_t i = 0; i < brg_model_tensor_count(model); i++) {
        struct brg_model_tensor t;
        brg_model_tensor(model, i, &t);
        const uint64_t floats = (uint64_t)t.rows * t.cols;
        if (floats > largest) largest = floats;
    }
    return largest;
}

/* Writes all stages; nothing is readable before the digest was compared. */
static int write_all(const char *folder, const struct brg_shards_about *about, struct origin *o,
                     struct brg_start *start, struct brg_why *why) {
    struct brg_shards_writer *w = NULL;
    struct brg_digest digest;
    float *floats = malloc(largest_tensor(&o->config->model) * sizeof *floats);
    int rc = floats == NULL ? brg_why_set(why, BRG_ENOMEM, "no memory left for the largest tensor")
                            : brg_shards_begin(folder, &o->config->model, about, &w, why);
    for (uint32_t i = 0; rc == BRG_OK && i < about->stages; i++)
        rc = put_stage(w, i, o, floats, why);
    if (rc == BRG_OK) {
        brg_hasher_final(&o->hasher, &digest);
        if (is_known(&start->params) && !brg_digest_equal(&digest, &start->params)) {
            rc = brg_why_set(why, BRG_ECORRUPT,
                             "%s: the checkpoint of step 0 is missing or damaged, and %s does not "
                             "hold the parameters that the run began with any more: put one of "
                             "them back",
                             folder, o->import != NULL ? o->config->model_from : "the seed");
        }
    }
    if (rc == BRG_OK) rc = brg_shards_finish(w, NULL, why);
    if (rc == BRG_OK) start->params = digest;
    brg_shards_abort(&w);
    free(floats);
    return rc;
}

/* The digest of the parameters in a checkpoint that was opened. */
static int digest_of(const struct brg_shards *s, const struct brg_model_spec *model,
                     struct brg_digest *out, struct brg_why *why) {
    const struct brg_export_source source = brg_shards_source(s);
    struct brg_hasher hasher;
    struct brg_model_tensor t;
    int rc = BRG_OK;
    float *floats = malloc(largest_tensor(model) * sizeof *floats);
    if (floats == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a tensor");
    brg_hasher_init(&hasher);
    for (uint32_t i = 0; rc == BRG_OK && i < brg_model_tensor_count(model); i++) {
        brg_model_tensor(model, i, &t);
        rc = source.read(source.context, i, &t, floats, why);
        brg_hasher_update(&hasher, floats, (size_t)t.rows * t.cols * sizeof *floats);
    }
    brg_hasher_final(&hasher, out);
    free(floats);
    return rc;
}

int brg_shards_start(const char *folder, const struct brg_run_config *config,
                     const struct brg_shards_about *about, struct brg_start *start,
                     struct brg_why *why) {
    BRG_ASSERT(about->step == 0);
    struct brg_why local;
    struct brg_digest digest;
    struct brg_shards *there = NULL;
    struct origin origin = {.config = config};
    int rc = brg_shards_open(folder, &config->model, about->run, 0, &there, &local);
    if (rc == BRG_OK) {
        rc = digest_of(there, &config->model, &digest, why);
        brg_shards_close(&there);
        if (rc != BRG_OK) return rc;
        if (!is_known(&start->params) || brg_digest_equal(&digest, &start->params)) {
            start->params = digest;
            return BRG_OK;
        }
        rc = brg_checkpoint_delete(folder, 0, why); /* whole, but not what the run began with */
        if (rc != BRG_OK) return rc;
    } else if (rc != BRG_ENOENT && rc != BRG_ECORRUPT) {
        return brg_why_set(why, rc, "%s", local.text);
    } else if (rc == BRG_ECORRUPT) {
        brg_log_warn("run", BRG_FIELDS(BRG_U64("run", about->run)),
                     "the checkpoint of step 0 is damaged and made again: %s", local.text);
    }
    if (config->model_from[0] != '\0') {
        rc = open_import(config, &origin.import, why);
        if (rc != BRG_OK) return rc;
    }
    brg_hasher_init(&origin.hasher);
    rc = write_all(folder, about, &origin, start, why);
    brg_import_close(origin.import);
    return rc;
}
