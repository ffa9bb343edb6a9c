/* The manifest of a sharded checkpoint, and the names of its files. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/shell/checkpoint_sealed.h"
#include "coordinator/shell/shards_private.h"

#define REAL_BYTES 32u

const char *brg_shards_file_name(uint32_t stage, uint32_t stages, char *out) {
    (void)snprintf(out, BRG_SHARDS_FILE_BYTES, "stage-%03u-of-%03u.safetensors", stage, stages);
    return out;
}

const char *brg_shards_file_path(const char *folder, const struct brg_shards_manifest *m,
                                 uint32_t stage, char *out) {
    char name[BRG_SHARDS_FILE_BYTES];
    (void)brg_shards_file_name(stage, m->about.stages, name);
    return brg_checkpoint_path(folder, m->about.step, name, out);
}

/* ---- writing ---- */

/* As a text with all its digits, since the same double must come back. */
static int put_real(cJSON *o, const char *name, double value) {
    char text[REAL_BYTES];
    (void)snprintf(text, sizeof text, "%.17g", value);
    return cJSON_AddStringToObject(o, name, text) != NULL;
}

static int put_stage(cJSON *files, const struct brg_shards_manifest *m, uint32_t stage) {
    const struct brg_shards_stage *s = &m->stages[stage];
    char name[BRG_SHARDS_FILE_BYTES];
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(files, o)) {
        cJSON_Delete(o);
        return 0;
    }
    (void)brg_shards_file_name(stage, m->about.stages, name);
    return cJSON_AddStringToObject(o, "name", name) != NULL &&
           brg_sealed_put_u64(o, "bytes", s->bytes) &&
           brg_sealed_put_digest(o, "digest", &s->digest) &&
           brg_sealed_put_u64(o, "offset", s->offset) &&
           brg_sealed_put_u64(o, "params", s->params) &&
           brg_sealed_put_u64(o, "lineage", s->lineage) &&
           brg_sealed_put_u64(o, "own_step", s->own_step) &&
           put_real(o, "lr_factor", s->lr_factor) &&
           brg_sealed_put_u64(o, "lr_version", s->lr_version);
}

static cJSON *make_object(const struct brg_shards_manifest *m) {
    const struct brg_shards_about *a = &m->about;
    cJSON *files = NULL, *o = cJSON_CreateObject();
    int ok = o != NULL && cJSON_AddNumberToObject(o, "format", BRG_SHARDS_FORMAT) != NULL &&
             brg_sealed_put_u64(o, "run", a->run) &&
             cJSON_AddStringToObject(o, "name", a->name) != NULL &&
             brg_sealed_put_u64(o, "step", a->step) &&
             brg_sealed_put_u64(o, "generation", a->generation) &&
             brg_sealed_put_u64(o, "created_ns", a->created_ns) &&
             brg_sealed_put_u64(o, "seed", a->seed) &&
             brg_sealed_put_digest(o, "data_digest", &a->data) &&
             brg_sealed_put_u64(o, "moments", a->moments) && put_real(o, "beta1", a->beta1) &&
             put_real(o, "beta2", a->beta2) &&
             (files = cJSON_AddArrayToObject(o, "stages")) != NULL;
    for (uint32_t i = 0; ok && i < a->stages; i++) ok = put_stage(files, m, i);
    if (ok) return o;
    cJSON_Delete(o);
    return NULL;
}

int brg_shards_manifest_write(const char *folder, struct brg_shards_manifest *m,
                              struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    cJSON *o = make_object(m);
    const int rc =
        brg_sealed_write(brg_checkpoint_path(folder, m->about.step, BRG_SHARDS_MANIFEST, path), o,
                         &m->about.manifest, why);
    cJSON_Delete(o);
    return rc;
}

/* ---- reading ---- */

static int get_real(const cJSON *o, const char *name, double *value) {
    char text[REAL_BYTES], *end = NULL;
    if (!brg_sealed_get_text(o, name, text, sizeof text) || text[0] == '\0') return 0;
    *value = strtod(text, &end);
    return *end == '\0' && isfinite(*value);
}

static int get_stage(const cJSON *o, uint32_t index, struct brg_shards_manifest *m) {
    char name[BRG_SHARDS_FILE_BYTES], own[BRG_SHARDS_FILE_BYTES];
    struct brg_shards_stage *s = &m->stages[index];
    return brg_sealed_get_text(o, "name", name, sizeof name) &&
           strcmp(name, brg_shards_file_name(index, m->about.stages, own)) == 0 &&
           brg_sealed_get_u64(o, "bytes", &s->bytes) &&
           brg_sealed_get_digest(o, "digest", &s->digest) &&
           brg_sealed_get_u64(o, "offset", &s->offset) &&
           brg_sealed_get_u64(o, "params", &s->params) &&
           brg_sealed_get_u64(o, "lineage", &s->lineage) &&
           brg_sealed_get_u64(o, "own_step", &s->own_step) &&
           get_real(o, "lr_factor", &s->lr_factor) &&
           brg_sealed_get_u64(o, "lr_version", &s->lr_version) && s->lr_version <= m->about.step &&
           s->lr_factor > 0 && s->params > 0;
}

static int get_fields(const cJSON *o, struct brg_shards_manifest *m) {
    struct brg_shards_about *a = &m->about;
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(o, "stages");
    const int count = cJSON_GetArraySize(files);
    uint64_t moments = 0, at = 0;
    if (!brg_sealed_get_u64(o, "run", &a->run) ||
        !brg_sealed_get_text(o, "name", a->name, sizeof a->name) ||
        !brg_sealed_get_u64(o, "step", &a->step) ||
        !brg_sealed_get_u64(o, "generation", &a->generation) ||
        !brg_sealed_get_u64(o, "created_ns", &a->created_ns) ||
        !brg_sealed_get_u64(o, "seed", &a->seed) ||
        !brg_sealed_get_digest(o, "data_digest", &a->data) ||
        !brg_sealed_get_u64(o, "moments", &moments) || moments > BRG_SHARDS_MOMENTS_MAX ||
        !get_real(o, "beta1", &a->beta1) || !get_real(o, "beta2", &a->beta2) || count < 1 ||
        count > (int)BRG_STAGES_MAX) {
        return 0;
    }
    a->moments = (uint32_t)moments;
    a->stages = (uint32_t)count;
    for (uint32_t i = 0; i < a->stages; i++) {
        if (!get_stage(cJSON_GetArrayItem(files, (int)i), i, m)) return 0;
        if (m->stages[i].offset != at || m->stages[i].params > BRG_MODEL_PARAMS_MAX) return 0;
        at += m->stages[i].params; /* one behind the other, without a hole */
    }
    return 1;
}

static int check_sizes(const char *folder, const struct brg_shards_manifest *m,
                       struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    struct stat st;
    for (uint32_t i = 0; i < m->about.stages; i++) {
        const char *what = NULL;
        (void)brg_shards_file_path(folder, m, i, path);
        if (stat(path, &st) != 0) {
            if (errno != ENOENT) return brg_checkpoint_disk_error(path, "looking at it", why);
            what = "is missing";
        } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != m->stages[i].bytes) {
            what = "does not have the size that the manifest says";
        }
        if (what == NULL) continue;
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: %s: this checkpoint cannot be used; restore the file from a "
                           "backup, or delete its folder so that an older checkpoint is taken",
                           path, what);
    }
    return BRG_OK;
}

int brg_shards_manifest_read(const char *folder, uint64_t run, uint64_t step,
                             struct brg_shards_manifest *m, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    struct brg_digest digest;
    cJSON *o = NULL;
    memset(m, 0, sizeof *m);
    (void)brg_checkpoint_path(folder, step, BRG_SHARDS_MANIFEST, path);
    int rc = brg_sealed_read(path, &o, &digest, why);
    if (rc == BRG_ENOENT) {
        return brg_why_set(why, rc, "%s: there is no checkpoint of step %llu here", folder,
                           (unsigned long long)step);
    }
    if (rc != BRG_OK) return rc;
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(o, "format");
    if (cJSON_IsNumber(format) && format->valueint != (int)BRG_SHARDS_FORMAT) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "%s: has format %d, where %u is read: it is of a run of another kind, or "
                         "use the version that wrote it",
                         path, format->valueint, BRG_SHARDS_FORMAT);
    } else if (!cJSON_IsNumber(format) || !get_fields(o, m) || m->about.step != step) {
        rc = brg_sealed_damaged(path, why);
    } else if (m->about.run != run) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "%s: is a checkpoint of run %llu, not of run %llu: give each run a folder "
                         "of its own",
                         path, (unsigned long long)m->about.run, (unsigned long long)run);
    }
    cJSON_Delete(o);
    if (rc != BRG_OK) return rc;
    m->about.manifest = digest;
    return check_sizes(folder, m, why);
}
