#include "coordinator/shell/start.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "coordinator/shell/checkpoint_private.h"
#include "model/import.h"
#include "model/model.h"
#include "model/tokenizer.h"

#define MANIFEST_BYTES_MAX (UINT32_C(64) << 20) /* it names every source of the data */

static int is_known(const struct brg_digest *d) {
    static const struct brg_digest none = {{0}};
    return !brg_digest_equal(d, &none);
}

/* FOLDER/NAME; shape: out [BRG_CHECKPOINT_PATH_BYTES], returns out. */
static const char *path_in(const char *folder, const char *name, char *out) {
    (void)snprintf(out, BRG_CHECKPOINT_PATH_BYTES, "%s/%s", folder, name);
    return out;
}

/* ---- parameters ---- */

int brg_start_read(const char *path, uint64_t run, uint64_t elements, float *params, uint64_t *step,
                   struct brg_why *why) {
    struct brg_checkpoint_tensor t;
    int rc = brg_checkpoint_tensor_peek(path, &t, why);
    if (rc != BRG_OK) return rc;
    *step = t.step;
    if (t.kind != BRG_CHECKPOINT_PARAMS || t.run != run || t.elements != elements) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: holds the parameters of another run or model: put the newest "
                           "backup of its folder back",
                           path);
    }
    return brg_checkpoint_tensor_read(path, &t, params, why);
}

/* The model's numbers, if it is the one whose sizes the run has. */
static int import_params(const struct brg_run_config *config, float *params, struct brg_why *why) {
    struct brg_import *import = NULL;
    struct brg_import_info info;
    int rc = brg_import_open(config->model_from, &import, why);
    if (rc != BRG_OK) return rc;
    brg_import_info_of(import, &info);
    struct brg_model_spec spec = info.spec;
    if (spec.context >= config->model.context) spec.context = config->model.context;
    if (memcmp(&spec, &config->model, sizeof spec) != 0) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "model.from: %s is another model than when the run was submitted: put "
                         "the first one back, or submit the run again",
                         config->model_from);
    } else {
        rc = brg_import_load(import, params, why);
    }
    brg_import_close(import);
    return rc;
}

int brg_start_params(const struct brg_start_place *at, const struct brg_run_config *config,
                     struct brg_start *start, float *params, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    struct brg_digest digest;
    struct brg_why local = {.text = ""};
    uint64_t step = 0;
    const uint64_t count = brg_model_param_count(&config->model);
    (void)path_in(at->folder, "start.bin", path);
    int rc = brg_start_read(path, at->run, count, params, &step, &local);
    if (rc == BRG_OK) {
        brg_digest_of(params, count * sizeof *params, &digest);
        if (!is_known(&start->params) || brg_digest_equal(&digest, &start->params)) {
            start->params = digest;
            return BRG_OK;
        }
    }
    if (rc != BRG_ENOENT) {
        brg_log_warn("run", BRG_FIELDS(BRG_U64("run", at->run)),
                     "%s is damaged, the model is read again: %s", path, local.text);
    }
    rc = import_params(config, params, why);
    if (is_known(&start->params) && rc == BRG_OK) {
        brg_digest_of(params, count * sizeof *params, &digest);
        if (!brg_digest_equal(&digest, &start->params)) rc = BRG_EINVAL;
    }
    if (is_known(&start->params) && rc != BRG_OK && rc != BRG_ENOMEM) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s is missing or damaged, and %s does not hold the parameters that the "
                           "run began with any more: put one of them back",
                           path, config->model_from);
    }
    if (rc != BRG_OK) return rc == BRG_ENOMEM ? rc : BRG_EINVAL; /* the operator's file, not ours */
    struct brg_checkpoint_tensor t = {
        .kind = BRG_CHECKPOINT_PARAMS, .models = 1, .run = at->run, .elements = count};
    rc = brg_checkpoint_tensor_write(path, &t, params, why);
    if (rc == BRG_OK) start->params = t.digest;
    return rc;
}

/* ---- tokenizer ---- */

static int is_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

int brg_start_tokenizer_open(const char *folder, struct brg_tokenizer **out, struct brg_why *why) {
    static const char *const names[] = {"tokenizer.json", "tokenizer.bin"};
    char path[BRG_CHECKPOINT_PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_there(path_in(folder, names[i], path))) return brg_tokenizer_open(path, out, why);
    }
    *out = NULL;
    return BRG_ENOENT;
}

/* What `brigade data prepare --tokenizer` left beside PREFIX_train.bin. errors: BRG_ENOENT nothing;
 * BRG_EINVAL it does not belong to the data */
static int open_of_data(const char *train, struct brg_tokenizer **out, struct brg_why *why) {
    static const char ending[] = "_train.bin";
    char path[BRG_PATH_BYTES + 32];
    uint8_t *text = NULL;
    size_t size = 0;
    struct brg_digest digest;
    char hex[BRG_DIGEST_HEX_BYTES];
    const size_t n = strlen(train), e = sizeof ending - 1;
    if (n <= e || strcmp(train + n - e, ending) != 0) return BRG_ENOENT;
    (void)snprintf(path, sizeof path, "%.*s.json", (int)(n - e), train);
    if (brg_file_read(path, MANIFEST_BYTES_MAX, &text, &size) != BRG_OK) return BRG_ENOENT;
    cJSON *manifest = cJSON_ParseWithLength((const char *)text, size);
    free(text);
    const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(manifest, "tokenizer_digest");
    int rc = BRG_ENOENT;
    if (cJSON_IsString(wanted)) {
        (void)snprintf(path, sizeof path, "%.*s.tokenizer.json", (int)(n - e), train);
        rc = brg_tokenizer_open(path, out, why);
        if (rc != BRG_OK) rc = rc == BRG_ENOMEM ? rc : BRG_EINVAL;
    }
    if (rc == BRG_OK) {
        brg_tokenizer_digest(*out, &digest);
        (void)brg_digest_hex(&digest, hex);
        if (strcmp(hex, wanted->valuestring) != 0) {
            rc = brg_why_set(why, BRG_EINVAL,
                             "%s is not the tokenizer that the data was prepared with: run brigade "
                             "data prepare again",
                             path);
        }
    }
    cJSON_Delete(manifest);
    return rc;
}

static int open_of_model(const struct brg_run_config *config, struct brg_tokenizer **out) {
    struct brg_import *import = NULL;
    struct brg_why why = {.text = ""};
    if (config->model_from[0] == '\0') return BRG_ENOENT;
    int rc = brg_import_open(config->model_from, &import, &why);
    if (rc == BRG_OK) rc = brg_import_tokenizer(import, out, &why);
    brg_import_close(import);
    if (rc == BRG_OK || rc == BRG_ENOENT || rc == BRG_ENOMEM) return rc;
    brg_log_warn("run", NULL, "the tokenizer of %s is left out: %s", config->model_from, why.text);
    return BRG_ENOENT;
}

static int write_copy(const char *folder, const struct brg_tokenizer *t, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    struct brg_tokenizer_info info;
    uint8_t *bytes = NULL;
    char *json = NULL;
    size_t size = 0;
    brg_tokenizer_info_of(t, &info);
    (void)path_in(folder, info.kind == BRG_TOKENIZER_SCORES ? "tokenizer.bin" : "tokenizer.json",
                  path);
    int rc = info.kind == BRG_TOKENIZER_SCORES
                 ? brg_tokenizer_bin(t, info.vocab, &bytes, &size, why)
                 : brg_tokenizer_json(t, &json, &size, why);
    if (rc == BRG_OK) {
        rc = brg_file_write_atomic(path, 0600, bytes != NULL ? (const void *)bytes : json, size);
        if (rc != BRG_OK) rc = brg_checkpoint_disk_error(path, "writing it", why);
    }
    free(bytes);
    free(json);
    return rc;
}

/* Of those that data and model came with; *out NULL where there is none. */
static int find_tokenizer(const struct brg_run_config *config, struct brg_tokenizer **out,
                          struct brg_why *why) {
    struct brg_tokenizer *of_data = NULL, *of_model = NULL;
    struct brg_digest a, b;
    int rc = open_of_data(config->data.train, &of_data, why);
    if (rc == BRG_OK || rc == BRG_ENOENT) rc = open_of_model(config, &of_model);
    if (rc == BRG_OK && of_data != NULL) {
        brg_tokenizer_digest(of_data, &a);
        brg_tokenizer_digest(of_model, &b);
        if (!brg_digest_equal(&a, &b)) {
            rc = brg_why_set(why, BRG_EINVAL,
                             "data.train was prepared with another tokenizer than the one that "
                             "came with model.from: prepare it with --tokenizer %s",
                             config->model_from);
        }
    }
    if (rc == BRG_ENOENT) rc = BRG_OK;
    *out = of_data != NULL ? of_data : of_model;
    brg_tokenizer_destroy(of_data != NULL ? of_model : NULL);
    return rc;
}

static int check_copy(const struct brg_tokenizer *t, const char *folder, struct brg_start *start,
                      struct brg_why *why) {
    struct brg_digest digest;
    brg_tokenizer_digest(t, &digest);
    if (is_known(&start->tokenizer) && !brg_digest_equal(&digest, &start->tokenizer)) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: the tokenizer there is not the one that the run began with: put "
                           "the newest backup of this folder back",
                           folder);
    }
    start->tokenizer = digest;
    return BRG_OK;
}

int brg_start_tokenizer(const struct brg_start_place *at, const struct brg_run_config *config,
                        struct brg_start *start, struct brg_why *why) {
    struct brg_tokenizer *t = NULL;
    struct brg_tokenizer_info info;
    if (config->model.type != BRG_MODEL_LLAMA) return BRG_OK;
    int rc = brg_start_tokenizer_open(at->folder, &t, why);
    if (rc == BRG_ENOENT && is_known(&start->tokenizer)) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: the run's tokenizer is gone: put the newest backup of this folder "
                           "back",
                           at->folder);
    }
    if (rc == BRG_OK) {
        rc = check_copy(t, at->folder, start, why);
        goto out;
    }
    if (rc != BRG_ENOENT) return rc;
    rc = find_tokenizer(config, &t, why);
    if (rc != BRG_OK || t == NULL) goto out;
    brg_tokenizer_info_of(t, &info);
    if (info.vocab > config->model.vocab) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "the data's tokenizer has %u tokens, but model.vocab is %u: set it to "
                         "that or more",
                         info.vocab, config->model.vocab);
        goto out;
    }
    rc = write_copy(at->folder, t, why);
    if (rc == BRG_OK) brg_tokenizer_digest(t, &start->tokenizer);
out:
    brg_tokenizer_destroy(t);
    return rc;
}
