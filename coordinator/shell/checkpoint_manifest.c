/* The manifest: written last, verified before it is parsed (checkpoint_sealed.h). */
#include <string.h>

#include "coordinator/shell/checkpoint_private.h"
#include "coordinator/shell/checkpoint_sealed.h"

static int put_file(cJSON *files, const struct brg_checkpoint_tensor *t) {
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(files, o)) {
        cJSON_Delete(o);
        return 0;
    }
    char name[BRG_CHECKPOINT_FILE_BYTES];
    return cJSON_AddStringToObject(o, "name", brg_checkpoint_tensor_name(t, name)) != NULL &&
           brg_sealed_put_u64(o, "bytes",
                              BRG_CHECKPOINT_TENSOR_BYTES + t->elements * sizeof(float)) &&
           brg_sealed_put_u64(o, "elements", t->elements) &&
           brg_sealed_put_digest(o, "digest", &t->digest);
}

static int put_files(cJSON *files, const struct brg_checkpoint *c) {
    for (uint32_t m = 0; m < c->models; m++) {
        const struct brg_checkpoint_tensor params =
            brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_PARAMS, m);
        const struct brg_checkpoint_tensor optimizer =
            brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_OPTIMIZER, m);
        if (!put_file(files, &params) || !put_file(files, &optimizer)) return 0;
    }
    return 1;
}

/* The object, or NULL where there is no memory left. */
static cJSON *make_object(const struct brg_checkpoint *c) {
    const uint32_t format = c->models > 1 ? BRG_CHECKPOINT_FORMAT_MODELS : BRG_CHECKPOINT_FORMAT;
    cJSON *files = NULL;
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && cJSON_AddNumberToObject(o, "format", format) != NULL &&
        brg_sealed_put_u64(o, "run", c->run) &&
        cJSON_AddStringToObject(o, "name", c->name) != NULL &&
        brg_sealed_put_u64(o, "step", c->step) &&
        brg_sealed_put_u64(o, "optimizer_step", c->optimizer_step) &&
        brg_sealed_put_u64(o, "data_position", c->data_position) &&
        brg_sealed_put_u64(o, "seed", c->seed) &&
        brg_sealed_put_u64(o, "generator", c->generator) &&
        brg_sealed_put_u64(o, "created_ns", c->created_ns) &&
        brg_sealed_put_digest(o, "data_digest", &c->data) &&
        cJSON_AddStringToObject(o, "model", c->model) != NULL &&
        (files = cJSON_AddArrayToObject(o, "files")) != NULL && put_files(files, c)) {
        return o;
    }
    cJSON_Delete(o);
    return NULL;
}

int brg_checkpoint_manifest_write(const char *path, struct brg_checkpoint *c, struct brg_why *why) {
    cJSON *o = make_object(c);
    const int rc = brg_sealed_write(path, o, &c->manifest, why);
    cJSON_Delete(o);
    return rc;
}

/* Both files of a model; all models have the same sizes. */
static int get_file(const cJSON *o, uint32_t kind, uint32_t model, struct brg_checkpoint *c) {
    char name[BRG_CHECKPOINT_FILE_BYTES], own[BRG_CHECKPOINT_FILE_BYTES];
    const int params = kind == BRG_CHECKPOINT_PARAMS;
    uint64_t bytes = 0, elements = 0;
    uint64_t *all = params ? &c->params_elements : &c->optimizer_elements;
    const struct brg_checkpoint_tensor t = brg_checkpoint_tensor_of(c, kind, model);
    if (!brg_sealed_get_text(o, "name", name, sizeof name) ||
        strcmp(name, brg_checkpoint_tensor_name(&t, own)) != 0 ||
        !brg_sealed_get_u64(o, "bytes", &bytes) || !brg_sealed_get_u64(o, "elements", &elements) ||
        !brg_sealed_get_digest(o, "digest", params ? &c->params[model] : &c->optimizer[model])) {
        return 0;
    }
    if (model == 0) *all = elements;
    return elements == *all && elements <= BRG_CHECKPOINT_ELEMENTS_MAX &&
           bytes == BRG_CHECKPOINT_TENSOR_BYTES + elements * sizeof(float);
}

static int get_files(const cJSON *o, uint32_t format, struct brg_checkpoint *c) {
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(o, "files");
    const int count = cJSON_GetArraySize(files);
    if (count < 2 || count > 2 * (int)BRG_MODELS_MAX || count % 2 != 0) return 0;
    c->models = (uint32_t)count / 2;
    if ((c->models > 1) != (format == BRG_CHECKPOINT_FORMAT_MODELS)) return 0;
    for (uint32_t m = 0; m < c->models; m++) {
        const int first = (int)(2 * m);
        if (!get_file(cJSON_GetArrayItem(files, first), BRG_CHECKPOINT_PARAMS, m, c) ||
            !get_file(cJSON_GetArrayItem(files, first + 1), BRG_CHECKPOINT_OPTIMIZER, m, c)) {
            return 0;
        }
    }
    return 1;
}

static int get_fields(const cJSON *o, uint32_t format, struct brg_checkpoint *c) {
    return brg_sealed_get_u64(o, "run", &c->run) &&
           brg_sealed_get_text(o, "name", c->name, sizeof c->name) &&
           brg_sealed_get_u64(o, "step", &c->step) &&
           brg_sealed_get_u64(o, "optimizer_step", &c->optimizer_step) &&
           brg_sealed_get_u64(o, "data_position", &c->data_position) &&
           brg_sealed_get_u64(o, "seed", &c->seed) &&
           brg_sealed_get_u64(o, "generator", &c->generator) &&
           brg_sealed_get_u64(o, "created_ns", &c->created_ns) &&
           brg_sealed_get_digest(o, "data_digest", &c->data) &&
           brg_sealed_get_text(o, "model", c->model, sizeof c->model) && get_files(o, format, c);
}

int brg_checkpoint_manifest_read(const char *path, struct brg_checkpoint *c, struct brg_why *why) {
    struct brg_digest digest;
    cJSON *o = NULL;
    int rc = brg_sealed_read(path, &o, &digest, why);
    if (rc != BRG_OK) return rc;
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(o, "format");
    const int number = cJSON_IsNumber(format) ? format->valueint : 0;
    if (cJSON_IsNumber(format) && number != (int)BRG_CHECKPOINT_FORMAT &&
        number != (int)BRG_CHECKPOINT_FORMAT_MODELS) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "%s: has format %d, where %u and %u are read: it is of a run of another "
                         "kind, or use the version that wrote it",
                         path, number, BRG_CHECKPOINT_FORMAT, BRG_CHECKPOINT_FORMAT_MODELS);
    } else if (number == 0 || !get_fields(o, (uint32_t)number, c)) {
        rc = brg_sealed_damaged(path, why);
    } else {
        c->manifest = digest;
    }
    cJSON_Delete(o);
    return rc;
}
