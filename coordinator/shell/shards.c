/* Writing a sharded checkpoint; the files of its folder. */
#include "coordinator/shell/shards.h"

#include <string.h>
#include <time.h>

#include "coordinator/shell/shards_private.h"
#include "model/optimizer.h"
#include "recovery/state.h"

struct brg_shards_about brg_shards_describe(const struct brg_run_config *config, uint64_t run,
                                            uint64_t step, uint32_t stages) {
    const struct brg_optimizer_spec *o = &config->optimizer;
    const int adam = o->type == BRG_OPTIMIZER_ADAMW;
    struct brg_shards_about a = {.run = run, .step = step, .seed = config->seed, .stages = stages};
    a.moments = step == 0 ? 0 : (uint32_t)brg_optimizer_state_count(o, 1);
    a.beta1 = adam ? (double)o->beta1 : 0;
    a.beta2 = adam ? (double)o->beta2 : 0;
    (void)snprintf(a.name, sizeof a.name, "%s", config->name);
    return a;
}

static int check_about(const char *folder, const struct brg_shards_about *a, struct brg_why *why) {
    if (folder[0] == '\0' || strlen(folder) >= BRG_FILE_PATH_BYTES - 64u) {
        return brg_why_set(why, BRG_EINVAL,
                           "the folder for checkpoints needs a name of 1 to %u bytes",
                           BRG_FILE_PATH_BYTES - 65u);
    }
    if (a->run == 0 || a->stages == 0 || a->stages > BRG_STAGES_MAX ||
        a->moments > BRG_SHARDS_MOMENTS_MAX || strnlen(a->name, sizeof a->name) == sizeof a->name ||
        !(a->beta1 >= 0 && a->beta1 < 1) || !(a->beta2 >= 0 && a->beta2 < 1)) {
        return brg_why_set(why, BRG_EINVAL,
                           "a checkpoint needs a run from 1, 1 to %u stages, at most %u moments, "
                           "betas in [0, 1) and a name that ends",
                           BRG_STAGES_MAX, BRG_SHARDS_MOMENTS_MAX);
    }
    return BRG_OK;
}

/* A whole one of this generation is as good as what would be written; anything else goes. */
static int make_way(const struct brg_shards_writer *w, struct brg_why *why) {
    const struct brg_shards_about *a = &w->manifest.about;
    struct brg_shards *there = NULL;
    struct brg_why local;
    int rc = brg_shards_open(w->folder, &w->model, a->run, a->step, &there, &local);
    if (rc == BRG_OK) {
        const int same = brg_shards_about_of(there)->generation == a->generation;
        brg_shards_close(&there);
        if (same) {
            return brg_why_set(why, BRG_EEXIST, "%s: the checkpoint of step %llu is there already",
                               w->folder, (unsigned long long)a->step);
        }
    } else if (rc != BRG_ENOENT && rc != BRG_ECORRUPT) {
        return brg_why_set(why, rc, "%s", local.text);
    }
    return brg_checkpoint_delete(w->folder, a->step, why);
}

static int make_folder(const struct brg_shards_writer *w, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    int rc = brg_dir_make(brg_checkpoint_path(w->folder, w->manifest.about.step, "", path), 0700);
    if (rc == BRG_OK) rc = brg_dir_sync(w->folder);
    if (rc == BRG_OK) rc = brg_dir_sync_parent(w->folder);
    return rc == BRG_OK ? rc : brg_checkpoint_disk_error(path, "creating the folder", why);
}

int brg_shards_begin(const char *folder, const struct brg_model_spec *model,
                     const struct brg_shards_about *about, struct brg_shards_writer **out,
                     struct brg_why *why) {
    struct brg_stage stage;
    struct timespec now;
    *out = NULL;
    int rc = check_about(folder, about, why);
    if (rc != BRG_OK) return rc;
    struct brg_shards_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    (void)snprintf(w->folder, sizeof w->folder, "%s", folder);
    w->model = *model;
    w->manifest.about = *about;
    for (uint32_t i = 0; rc == BRG_OK && i < about->stages; i++) {
        rc = brg_stage_cut(model, about->stages, i, &stage, why);
        if (rc != BRG_OK) break;
        w->manifest.stages[i].offset = stage.offset;
        w->manifest.stages[i].params = stage.param_count;
    }
    if (about->created_ns == 0) {
        (void)clock_gettime(CLOCK_REALTIME, &now);
        w->manifest.about.created_ns = (uint64_t)now.tv_sec * BRG_NS_PER_S + (uint64_t)now.tv_nsec;
    }
    if (rc == BRG_OK) rc = make_way(w, why);
    if (rc == BRG_OK) rc = make_folder(w, why);
    if (rc == BRG_OK)
        *out = w;
    else
        free(w);
    return rc;
}

/* Takes what the header says of the stage over, if this is the state that is asked for. */
static int check_state(const struct brg_shards_writer *w, uint32_t stage, const void *blob,
                       uint64_t size_bytes, struct brg_shards_stage *out, struct brg_why *why) {
    const struct brg_shards_about *a = &w->manifest.about;
    const uint32_t kinds = BRG_STATE_WEIGHTS | (a->moments > 0 ? BRG_STATE_MOMENTS : 0u);
    struct brg_state_header h;
    const int rc = brg_state_read_header(blob, size_bytes, &h);
    if (rc != BRG_OK)
        return brg_why_set(why, BRG_EPROTO, "stage %u: what came is no state of a stage", stage);
    const uint64_t wanted = brg_state_bytes(out->params, a->moments * out->params, kinds);
    if (h.version != a->step || h.params != out->params || h.kinds != kinds ||
        size_bytes != wanted) {
        return brg_why_set(why, BRG_EPROTO,
                           "stage %u: %llu bytes of version %llu came, where %llu bytes of version "
                           "%llu were asked for",
                           stage, (unsigned long long)size_bytes, (unsigned long long)h.version,
                           (unsigned long long)wanted, (unsigned long long)a->step);
    }
    out->lineage = h.lineage;
    out->own_step = h.own_step;
    out->lr_factor = h.lr_factor;
    out->lr_version = h.lr_version;
    return BRG_OK;
}

int brg_shards_put(struct brg_shards_writer *w, uint32_t stage, const void *blob,
                   uint64_t size_bytes, struct brg_why *why) {
    BRG_ASSERT(stage < w->manifest.about.stages);
    struct brg_shards_stage *s = &w->manifest.stages[stage];
    struct brg_shards_file f;
    w->has[stage] = 0;
    int rc = check_state(w, stage, blob, size_bytes, s, why);
    if (rc != BRG_OK) return rc;
    rc = brg_shards_file_begin(w->folder, &w->model, &w->manifest, stage, &f, why);
    if (rc == BRG_OK) {
        rc = brg_shards_file_add(&f, (const uint8_t *)blob + BRG_STATE_HEADER_BYTES,
                                 size_bytes - BRG_STATE_HEADER_BYTES, why);
    }
    if (rc == BRG_OK) rc = brg_shards_file_end(&f, s, why);
    brg_file_writer_abort(&f.writer);
    if (rc == BRG_OK) w->has[stage] = 1;
    return rc;
}

int brg_shards_has(const struct brg_shards_writer *w, uint32_t stage) {
    BRG_ASSERT(stage < w->manifest.about.stages);
    return w->has[stage];
}

int brg_shards_finish(struct brg_shards_writer *w, struct brg_shards_about *about,
                      struct brg_why *why) {
    for (uint32_t i = 0; i < w->manifest.about.stages; i++) BRG_ASSERT(w->has[i]);
    const int rc = brg_shards_manifest_write(w->folder, &w->manifest, why);
    if (rc == BRG_OK && about != NULL) *about = w->manifest.about;
    return rc;
}

void brg_shards_abort(struct brg_shards_writer **w) {
    free(*w);
    *w = NULL;
}
