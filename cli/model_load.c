#include "cli/model_run.h"

#include "base/file.h"
#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/shards.h"
#include "coordinator/shell/start.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define MANIFEST_BYTES_MAX 65536u

static int fail(const struct brg_cli_args *args, int err, const char *text) {
    return brg_cli_fail(args->verb, brg_cli_exit_of(err), "%s", text);
}

static int load_tokenizer(const struct brg_cli_args *args, const struct brg_import *import,
                          struct brg_cli_model *out) {
    const char *path = brg_cli_value(args, "tokenizer");
    struct brg_why why = {.text = ""};
    int rc = BRG_ENOENT;
    if (path != NULL && strcmp(path, "bytes") == 0) {
        rc = brg_tokenizer_bytes(&out->tokenizer, &why);
    } else if (path != NULL) {
        rc = brg_tokenizer_open(path, &out->tokenizer, &why);
    } else {
        if (import != NULL) rc = brg_import_tokenizer(import, &out->tokenizer, &why);
        if (import == NULL && out->folder[0] != '\0')
            rc = brg_start_tokenizer_open(out->folder, &out->tokenizer, &why);
        if (rc == BRG_ENOENT && out->spec.vocab == 256)
            rc = brg_tokenizer_bytes(&out->tokenizer, &why);
        if (rc == BRG_ENOENT)
            return brg_cli_wrong(args->verb,
                                 "no tokenizer came with the model, which has %u tokens; name the "
                                 "one it was trained with by --tokenizer",
                                 out->spec.vocab);
    }
    return rc == BRG_OK ? BRG_CLI_GO : fail(args, rc, why.text);
}

static int allocate(const struct brg_cli_args *args, struct brg_cli_model *out) {
    out->params = malloc(brg_model_param_count(&out->spec) * sizeof *out->params);
    return out->params != NULL ? BRG_CLI_GO
                               : fail(args, BRG_ENOMEM, "out of memory for the parameters");
}

static int load_import(const struct brg_cli_args *args, const char *path,
                       struct brg_cli_model *out) {
    struct brg_import *import = NULL;
    struct brg_import_info info;
    struct brg_why why = {.text = ""};
    int err = brg_import_open(path, &import, &why);
    if (err != BRG_OK) return fail(args, err, why.text);
    brg_import_info_of(import, &info);
    out->spec = info.spec;
    int rc = allocate(args, out);
    if (rc == BRG_CLI_GO) {
        err = brg_import_load(import, out->params, &why);
        if (err != BRG_OK) rc = fail(args, err, why.text);
    }
    if (rc == BRG_CLI_GO) rc = load_tokenizer(args, import, out);
    brg_import_close(import);
    return rc;
}

int brg_cli_model_checkpoint(const struct brg_cli_args *args, const struct brg_cli_place *at,
                             uint32_t model, struct brg_cli_model *out) {
    struct brg_checkpoint *c = calloc(1, sizeof *c);
    struct brg_why why = {.text = ""};
    if (c == NULL) return fail(args, BRG_ENOMEM, "out of memory");
    int rc = BRG_CLI_GO, err = brg_checkpoint_read(at->folder, at->run, at->step, c, &why);
    if (err == BRG_ENOENT && why.text[0] == '\0')
        (void)brg_why_set(&why, err, "%s: no checkpoint of step %" PRIu64 " is there", at->folder,
                          at->step);
    if (err == BRG_OK && c->params_elements != brg_model_param_count(&out->spec))
        err = brg_why_set(&why, BRG_EINVAL,
                          "%s: the checkpoint has %" PRIu64
                          " parameters, but the run file makes %" PRIu64
                          "; it belongs to another run",
                          at->folder, c->params_elements, brg_model_param_count(&out->spec));
    if (err == BRG_OK && model >= c->models)
        err = brg_why_set(&why, BRG_EINVAL, "%s: the checkpoint has %u models, numbered from 0",
                          at->folder, c->models);
    if (err != BRG_OK) rc = fail(args, err, why.text);
    if (rc == BRG_CLI_GO) rc = allocate(args, out);
    if (rc == BRG_CLI_GO) {
        err = brg_checkpoint_load_model(at->folder, c, model, out->params, NULL, &why);
        if (err != BRG_OK) rc = fail(args, err, why.text);
    }
    (void)snprintf(out->run, sizeof out->run, "%.63s", c->name);
    (void)brg_digest_hex(&c->data, out->data_digest);
    out->step = c->step;
    free(c);
    return rc;
}

int brg_cli_model_shards(const struct brg_cli_args *args, const struct brg_cli_place *at,
                         struct brg_cli_model *out) {
    struct brg_shards *s = NULL;
    struct brg_why why = {.text = ""};
    const int err = at->newest
                        ? brg_shards_newest(at->folder, &out->spec, at->run, UINT64_MAX, &s, &why)
                        : brg_shards_open(at->folder, &out->spec, at->run, at->step, &s, &why);
    if (err != BRG_OK) return fail(args, err, why.text);
    const int rc = allocate(args, out);
    if (rc == BRG_CLI_GO) brg_shards_params(s, out->params);
    const struct brg_shards_about *about = brg_shards_about_of(s);
    out->step = about->step;
    (void)snprintf(out->run, sizeof out->run, "%.63s", about->name);
    (void)brg_digest_hex(&about->data, out->data_digest);
    brg_shards_close(&s);
    return rc;
}

static int read_run_file(const struct brg_cli_args *args, const char *path,
                         struct brg_cli_place *at, struct brg_cli_model *out) {
    struct brg_run_config *config = calloc(1, sizeof *config);
    struct brg_run_faults *faults = calloc(1, sizeof *faults);
    int rc = BRG_CLI_GO;
    if (config == NULL || faults == NULL) {
        rc = fail(args, BRG_ENOMEM, "out of memory");
    } else if (brg_runfile_read(path, BRG_RUNFILE_OFFLINE, config, faults) != BRG_OK) {
        brg_run_faults_print(faults, path, stderr);
        rc = BRG_EXIT_CONFIG;
    } else {
        out->spec = config->model;
        at->kind = config->kind;
    }
    free(config);
    free(faults);
    return rc;
}

/* FOLDER/ckpt-0000000050 -> FOLDER, 50, and the run's number from the manifest. */
static int split_checkpoint(const struct brg_cli_args *args, const char *path,
                            struct brg_cli_place *at) {
    char inner[BRG_FILE_PATH_BYTES + 16];
    uint8_t *text = NULL;
    size_t size = 0, n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    if (n >= sizeof at->folder) return brg_cli_wrong(args->verb, "--checkpoint is too long");
    (void)snprintf(inner, sizeof inner, "%.*s/manifest.json", (int)n, path);
    int rc = brg_file_read(inner, MANIFEST_BYTES_MAX, &text, &size);
    if (rc != BRG_OK)
        return brg_cli_fail(args->verb, brg_cli_exit_of(rc), "%s: cannot be read (%s)", inner,
                            strerror(errno));
    cJSON *o = cJSON_ParseWithLength((const char *)text, size);
    const cJSON *run = cJSON_GetObjectItemCaseSensitive(o, "run");
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(o, "step");
    const int is_whole = cJSON_IsString(run) && cJSON_IsString(step);
    if (is_whole) {
        at->run = strtoull(run->valuestring, NULL, 10);
        at->step = strtoull(step->valuestring, NULL, 10);
    }
    cJSON_Delete(o);
    free(text);
    if (!is_whole) return fail(args, BRG_ECORRUPT, "the checkpoint's manifest is damaged");
    (void)snprintf(at->folder, sizeof at->folder, "%.*s", (int)n, path);
    char *slash = strrchr(at->folder, '/');
    if (slash == NULL)
        (void)snprintf(at->folder, sizeof at->folder, ".");
    else
        *(slash == at->folder ? slash + 1 : slash) = '\0';
    return BRG_CLI_GO;
}

/* RUNS/3/checkpoints/ckpt-...: the run's tokenizer lies two folders up. */
static void find_run_folder(const struct brg_cli_place *at, struct brg_cli_model *out) {
    static const char ending[] = "/checkpoints";
    const size_t n = strlen(at->folder), e = sizeof ending - 1;
    if (n > e && strcmp(at->folder + n - e, ending) == 0)
        (void)snprintf(out->folder, sizeof out->folder, "%.*s", (int)(n - e), at->folder);
}

static int load_named(const struct brg_cli_args *args, const char *path, const char *run_file,
                      struct brg_cli_model *out) {
    struct brg_cli_place at = {.run = 0};
    uint64_t model = 0;
    int rc = brg_cli_number(args, "model", 0, BRG_MODELS_MAX - 1, &model);
    if (rc == BRG_CLI_GO) rc = read_run_file(args, run_file, &at, out);
    if (rc == BRG_CLI_GO) rc = split_checkpoint(args, path, &at);
    find_run_folder(&at, out);
    if (rc == BRG_CLI_GO && at.kind == BRG_RUN_KIND_PIPELINE)
        return brg_cli_model_shards(args, &at, out);
    return rc == BRG_CLI_GO ? brg_cli_model_checkpoint(args, &at, (uint32_t)model, out) : rc;
}

int brg_cli_model_load(const struct brg_cli_args *args, struct brg_cli_model *out) {
    const char *model = brg_cli_value(args, "model");
    const char *checkpoint = brg_cli_value(args, "checkpoint");
    const char *run_file = brg_cli_value(args, "run-file");
    const char *run = brg_cli_value(args, "run");
    memset(out, 0, sizeof *out);
    if ((checkpoint != NULL) + (run != NULL) + (model != NULL && !checkpoint && !run) != 1)
        return brg_cli_wrong(args->verb, "give one of --model, --checkpoint and --run");
    if ((checkpoint == NULL) != (run_file == NULL))
        return brg_cli_wrong(args->verb, "--checkpoint and --run-file go together");
    if (checkpoint == NULL && run == NULL) return load_import(args, model, out);
    const int rc =
        run != NULL ? brg_cli_model_run(args, out) : load_named(args, checkpoint, run_file, out);
    if (rc != BRG_CLI_GO || out->spec.type != BRG_MODEL_LLAMA) return rc;
    return load_tokenizer(args, NULL, out);
}

void brg_cli_model_free(struct brg_cli_model *m) {
    free(m->params);
    brg_tokenizer_destroy(m->tokenizer);
    memset(m, 0, sizeof *m);
}
