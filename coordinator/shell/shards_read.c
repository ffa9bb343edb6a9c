/* Reading a sharded checkpoint: by ranges of the whole vector, whatever the cut is. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "coordinator/shell/shards_private.h"
#include "model/export.h"
#include "recovery/neighbours.h"
#include "recovery/state.h"

struct brg_shards {
    struct brg_model_spec model;
    struct brg_shards_manifest manifest;
    struct brg_file_map maps[BRG_STAGES_MAX];
    const uint8_t *data[BRG_STAGES_MAX]; /* the first vector in each */
};

#define LOOKS_MAX 8u /* for the newest, while others delete */

/* What is looked for. */
struct search {
    const char *folder;
    const struct brg_model_spec *model;
    uint64_t run, at_most;
    uint32_t looks_left; /* after this one */
};

/* ---- opening ---- */

int brg_shards_open(const char *folder, const struct brg_model_spec *model, uint64_t run,
                    uint64_t step, struct brg_shards **out, struct brg_why *why) {
    *out = NULL;
    struct brg_shards *s = calloc(1, sizeof *s);
    if (s == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    s->model = *model;
    int rc = brg_shards_manifest_read(folder, run, step, &s->manifest, why);
    if (rc == BRG_OK) {
        const struct brg_shards_stage *last = &s->manifest.stages[s->manifest.about.stages - 1];
        if (last->offset + last->params != brg_model_param_count(model)) {
            rc = brg_why_set(why, BRG_EINVAL,
                             "%s: the checkpoint of step %llu has %llu parameters, the run's model "
                             "has %llu: it belongs to another run",
                             folder, (unsigned long long)step,
                             (unsigned long long)(last->offset + last->params),
                             (unsigned long long)brg_model_param_count(model));
        }
    }
    for (uint32_t i = 0; rc == BRG_OK && i < s->manifest.about.stages; i++)
        rc = brg_shards_file_map(folder, model, &s->manifest, i, &s->maps[i], &s->data[i], why);
    if (rc == BRG_OK)
        *out = s;
    else
        brg_shards_close(&s);
    return rc;
}

/* 1 where the checkpoint of `step` was deleted after it was listed: by the coordinator, while
 * another program looks for the newest. */
static int is_gone(const char *folder, uint64_t step) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    return access(brg_checkpoint_path(folder, step, BRG_SHARDS_MANIFEST, path), F_OK) != 0 &&
           errno == ENOENT;
}

/* One look through the folder. errors: BRG_ECANCELED look again: one of the list is gone, or all
 * had no manifest, as it is where one was finished and the one before it deleted while the folder
 * was read; BRG_ENOENT; others of brg_shards_open; with the sentence */
static int look(const struct search *f, struct brg_checkpoint_item *items, struct brg_shards **out,
                struct brg_why *why) {
    struct brg_why last = {.text = "none was written yet"};
    uint32_t count = 0, whole = 0;
    int rc = brg_shards_list(f->folder, f->run, items, &count, why);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < count; i++) whole += items[i].state != BRG_CHECKPOINT_UNFINISHED;
    if (count > 0 && whole == 0 && f->looks_left > 0) return BRG_ECANCELED;
    for (uint32_t i = 0; i <= count; i++) {
        const struct brg_checkpoint_item start = {.step = 0, .state = BRG_CHECKPOINT_VALID};
        const struct brg_checkpoint_item item = i < count ? items[count - 1 - i] : start;
        if (item.step > f->at_most || item.state == BRG_CHECKPOINT_UNFINISHED) continue;
        struct brg_why local;
        rc = brg_shards_open(f->folder, f->model, f->run, item.step, out, &local);
        if (rc == BRG_OK) return rc;
        if (rc != BRG_ECORRUPT && rc != BRG_ENOENT) return brg_why_set(why, rc, "%s", local.text);
        if (item.step > 0 && is_gone(f->folder, item.step)) return BRG_ECANCELED;
        if (rc == BRG_ENOENT) continue; /* step 0 */
        last = local;
        brg_log_warn("run", BRG_FIELDS(BRG_U64("run", f->run), BRG_U64("step", item.step)),
                     "a checkpoint is damaged, the one before it is taken: %s", local.text);
    }
    return brg_why_set(why, BRG_ENOENT, "%s: no whole checkpoint is there: %.400s", f->folder,
                       last.text);
}

int brg_shards_newest(const char *folder, const struct brg_model_spec *model, uint64_t run,
                      uint64_t at_most, struct brg_shards **out, struct brg_why *why) {
    struct search search = {folder, model, run, at_most, LOOKS_MAX};
    struct brg_checkpoint_item *items = calloc(BRG_CHECKPOINT_LIST_MAX, sizeof *items);
    int rc = BRG_ECANCELED;
    *out = NULL;
    if (items == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    while (rc == BRG_ECANCELED && search.looks_left-- > 0) rc = look(&search, items, out, why);
    free(items);
    if (rc != BRG_ECANCELED) return rc;
    return brg_why_set(why, BRG_ENOENT,
                       "%s: checkpoints were deleted faster than they could be read: try again",
                       folder);
}

void brg_shards_close(struct brg_shards **s) {
    if (*s == NULL) return;
    for (uint32_t i = 0; i < BRG_STAGES_MAX; i++) brg_file_map_close(&(*s)->maps[i]);
    free(*s);
    *s = NULL;
}

const struct brg_shards_about *brg_shards_about_of(const struct brg_shards *s) {
    return &s->manifest.about;
}

const struct brg_shards_stage *brg_shards_stage_of(const struct brg_shards *s, uint32_t stage) {
    BRG_ASSERT(stage < s->manifest.about.stages);
    return &s->manifest.stages[stage];
}

/* ---- ranges ---- */

/* The part of `stage` that lies in the range [at, at + count) of the whole vector. */
struct overlap {
    uint64_t begin, count; /* of the whole vector; count 0: none */
};

static struct overlap overlap_of(const struct brg_shards_stage *stage, uint64_t at,
                                 uint64_t count) {
    const uint64_t begin = stage->offset > at ? stage->offset : at;
    const uint64_t stage_end = stage->offset + stage->params;
    const uint64_t end = stage_end < at + count ? stage_end : at + count;
    return (struct overlap){begin, end > begin ? end - begin : 0};
}

/* Floats [at, at + count) of vector `vector`, which is 0 for the weights. */
static void copy_range(const struct brg_shards *s, uint32_t vector, uint64_t at, uint64_t count,
                       float *out) {
    uint64_t copied = 0;
    for (uint32_t i = 0; i < s->manifest.about.stages; i++) {
        const struct brg_shards_stage *stage = &s->manifest.stages[i];
        const struct overlap o = overlap_of(stage, at, count);
        if (o.count == 0) continue;
        const uint64_t from = vector * stage->params + (o.begin - stage->offset);
        memcpy(out + (o.begin - at), s->data[i] + from * sizeof *out, o.count * sizeof *out);
        copied += o.count;
    }
    BRG_ASSERT(copied == count);
}

void brg_shards_params(const struct brg_shards *s, float *params) {
    copy_range(s, 0, 0, brg_model_param_count(&s->model), params);
}

static int read_tensor(void *context, uint32_t index, const struct brg_model_tensor *t, float *out,
                       struct brg_why *why) {
    (void)index, (void)why;
    copy_range(context, 0, t->offset, (uint64_t)t->rows * t->cols, out);
    return BRG_OK;
}

struct brg_export_source brg_shards_source(const struct brg_shards *s) {
    return (struct brg_export_source){.context = (void *)(uintptr_t)s, .read = read_tensor};
}

/* ---- the state of a stage ---- */

uint64_t brg_shards_state_bytes(const struct brg_shards_wish *wish) {
    const uint64_t params = wish->stage->param_count;
    return brg_state_bytes(params, wish->moments * params, wish->kinds);
}

/* What the stages of the file that `stage` lies in have in common, or the most careful of them. */
static void merge(const struct brg_shards *s, const struct brg_stage *stage,
                  struct brg_state_header *h) {
    double least = INFINITY;
    h->own_step = UINT64_MAX;
    for (uint32_t i = 0; i < s->manifest.about.stages; i++) {
        const struct brg_shards_stage *from = &s->manifest.stages[i];
        if (overlap_of(from, stage->offset, stage->param_count).count == 0) continue;
        const double now = brg_neighbours_lr(from->lr_factor, h->version - from->lr_version);
        if (from->own_step < h->own_step) h->own_step = from->own_step;
        if (now >= least) continue;
        least = now;
        h->lr_factor = from->lr_factor;
        h->lr_version = from->lr_version;
    }
}

/* Moments made in `from_step` steps as such of `to_step`, so that m / (1 - beta^t) stays. */
static void rescale(float *moments, uint64_t count, double beta, uint64_t from_step,
                    uint64_t to_step) {
    const double factor = (1 - pow(beta, (double)to_step)) / (1 - pow(beta, (double)from_step));
    for (uint64_t i = 0; i < count; i++) moments[i] = (float)(factor * (double)moments[i]);
}

/* Only Adam's moments depend on how many steps they were made in. */
static void rescale_vector(const struct brg_shards *s, const struct brg_stage *stage,
                           uint64_t own_step, double beta, float *moments) {
    for (uint32_t i = 0; beta > 0 && i < s->manifest.about.stages; i++) {
        const struct brg_shards_stage *from = &s->manifest.stages[i];
        const struct overlap o = overlap_of(from, stage->offset, stage->param_count);
        if (o.count == 0 || from->own_step == own_step) continue;
        rescale(moments + (o.begin - stage->offset), o.count, beta, from->own_step, own_step);
    }
}

int brg_shards_state(const struct brg_shards *s, const struct brg_shards_wish *wish, void *blob,
                     struct brg_why *why) {
    const struct brg_shards_about *a = &s->manifest.about;
    const struct brg_stage *stage = wish->stage;
    const uint64_t params = stage->param_count;
    BRG_ASSERT((wish->kinds & BRG_STATE_WEIGHTS) != 0);
    BRG_ASSERT((uintptr_t)blob % sizeof(float) == 0);
    BRG_ASSERT(stage->offset + params <= brg_model_param_count(&s->model));
    const int with_moments = (wish->kinds & BRG_STATE_MOMENTS) != 0;
    if (with_moments && wish->moments != a->moments && a->step > 0) {
        return brg_why_set(why, BRG_EINVAL,
                           "the checkpoint of step %llu has %u moments a parameter, the run's "
                           "optimizer has %u: it was written by another run",
                           (unsigned long long)a->step, a->moments, wish->moments);
    }
    struct brg_state_header h = {.version = a->step,
                                 .lineage = wish->lineage,
                                 .lr_factor = 1,
                                 .params = params,
                                 .kinds = wish->kinds};
    merge(s, stage, &h);
    brg_state_write_header(&h, blob);
    float *at = (float *)(void *)((uint8_t *)blob + BRG_STATE_HEADER_BYTES);
    copy_range(s, 0, stage->offset, params, at);
    for (uint32_t v = 0; with_moments && v < wish->moments; v++) {
        at += params;
        if (v < a->moments) {
            copy_range(s, 1 + v, stage->offset, params, at);
            rescale_vector(s, stage, h.own_step, v == 0 ? a->beta1 : a->beta2, at);
        } else {
            memset(at, 0, params * sizeof *at);
        }
    }
    return BRG_OK;
}
