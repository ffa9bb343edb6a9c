#include "cli/model_load.h"

#include "base/file.h"
#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/store.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define MANIFEST_BYTES_MAX 65536u

/* A checkpoint's place: FOLDER/ckpt-STEP of run `run`. */
struct place {
    char folder[BRG_FILE_PATH_BYTES];
    uint64_t run, step;
};

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

static int load_checkpoint(const struct brg_cli_args *args, const struct place *at,
                           struct brg_cli_model *out) {
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
    if (err != BRG_OK) rc = fail(args, err, why.text);
    if (rc == BRG_CLI_GO) rc = allocate(args, out);
    if (rc == BRG_CLI_GO) {
        err = brg_checkpoint_load(at->folder, c, out->params, NULL, &why);
        if (err != BRG_OK) rc = fail(args, err, why.text);
    }
    (void)snprintf(out->run, sizeof out->run, "%.63s", c->name);
    (void)brg_digest_hex(&c->data, out->data_digest);
    out->step = c->step;
    free(c);
    if (rc == BRG_CLI_GO && out->spec.type == BRG_MODEL_LLAMA) rc = load_tokenizer(args, NULL, out);
    return rc;
}

static int read_run_file(const struct brg_cli_args *args, const char *path,
                         struct brg_cli_model *out) {
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
    }
    free(config);
    free(faults);
    return rc;
}

/* FOLDER/ckpt-0000000050 -> FOLDER, 50, and the run's number from the manifest. */
static int split_checkpoint(const struct brg_cli_args *args, const char *path, struct place *at) {
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

/* The run's file, as the store has it, and the folder of its checkpoints. */
static int read_record(const struct brg_cli_args *args, const char *state, struct brg_store *store,
                       struct place *at, struct brg_cli_model *out) {
    struct brg_store_value value = {.data = NULL};
    struct brg_record_run run;
    uint8_t key[8];
    int rc = BRG_CLI_GO;
    struct brg_run_config *config = calloc(1, sizeof *config);
    struct brg_run_faults *faults = calloc(1, sizeof *faults);
    brg_record_key_u64(at->run, key);
    const int err = brg_store_get(store, BRG_STORE_RUNS, key, sizeof key, &value);
    if (config == NULL || faults == NULL) {
        rc = fail(args, BRG_ENOMEM, "out of memory");
    } else if (err != BRG_OK) {
        rc = brg_cli_fail(args->verb, brg_cli_exit_of(err), "there is no run %" PRIu64 " in %s",
                          at->run, state);
    } else if (brg_record_run_unpack(value.data, value.size_bytes, &run) != BRG_OK ||
               brg_runfile_parse(run.yaml, run.yaml_bytes, NULL, BRG_RUNFILE_OFFLINE, config,
                                 faults) != BRG_OK) {
        rc = fail(args, BRG_ECORRUPT, "the record of the run is damaged");
    } else {
        out->spec = config->model;
        const char *dir = config->checkpoint.dir;
        if (dir[0] != '\0')
            (void)snprintf(at->folder, sizeof at->folder, "%s/run-%" PRIu64, dir, at->run);
        else
            (void)snprintf(at->folder, sizeof at->folder, "%s/runs/%" PRIu64 "/checkpoints", state,
                           at->run);
    }
    brg_store_value_free(&value);
    free(config);
    free(faults);
    return rc;
}

/* The newest valid checkpoint, unless --step names one. */
static int choose_step(const struct brg_cli_args *args, struct place *at) {
    struct brg_checkpoint_item *items = calloc(BRG_CHECKPOINT_LIST_MAX, sizeof *items);
    struct brg_why why = {.text = ""};
    uint32_t count = 0;
    if (items == NULL) return fail(args, BRG_ENOMEM, "out of memory");
    const int err = brg_checkpoint_list(at->folder, at->run, items, &count, &why);
    for (uint32_t i = 0; err == BRG_OK && at->step == 0 && i < count; i++)
        if (items[count - 1 - i].state == BRG_CHECKPOINT_VALID)
            at->step = items[count - 1 - i].step;
    free(items);
    if (err != BRG_OK) return fail(args, err, why.text);
    if (at->step > 0) return BRG_CLI_GO;
    return brg_cli_fail(args->verb, BRG_EXIT_FAILED,
                        "run %" PRIu64 " has no checkpoint in %s yet; let it train on", at->run,
                        at->folder);
}

static int load_run(const struct brg_cli_args *args, struct brg_cli_model *out) {
    char state[BRG_CLI_PATH_BYTES], path[BRG_CLI_PATH_BYTES + 16];
    struct place at = {.run = 0};
    struct brg_store *store = NULL;
    struct brg_why why = {.text = ""};
    struct stat st;
    int rc = brg_cli_number(args, "run", 1, UINT64_MAX, &at.run);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "step", 1, UINT64_MAX, &at.step);
    if (rc == BRG_CLI_GO) rc = brg_cli_state_dir(args, state);
    if (rc != BRG_CLI_GO) return rc;
    (void)snprintf(path, sizeof path, "%s/store", state);
    if (stat(path, &st) != 0) /* opening would make one */
        return brg_cli_fail(args->verb, BRG_EXIT_CONFIG,
                            "%s: no coordinator has kept its state here; give --state", state);
    const int err = brg_store_open(path, &store, &why);
    if (err == BRG_EEXIST)
        return brg_cli_fail(args->verb, BRG_EXIT_TEMPORARY,
                            "the coordinator of %s is running; stop it, or give --checkpoint "
                            "%s/runs/%" PRIu64 "/checkpoints/ckpt-... and --run-file",
                            state, state, at.run);
    if (err != BRG_OK) return fail(args, err, why.text);
    rc = read_record(args, state, store, &at, out);
    brg_store_close(&store);
    if (rc == BRG_CLI_GO) rc = choose_step(args, &at);
    return rc == BRG_CLI_GO ? load_checkpoint(args, &at, out) : rc;
}

int brg_cli_model_load(const struct brg_cli_args *args, struct brg_cli_model *out) {
    const char *model = brg_cli_value(args, "model");
    const char *checkpoint = brg_cli_value(args, "checkpoint");
    const char *run_file = brg_cli_value(args, "run-file");
    const char *run = brg_cli_value(args, "run");
    struct place at = {.run = 0};
    memset(out, 0, sizeof *out);
    if ((model != NULL) + (checkpoint != NULL) + (run != NULL) != 1)
        return brg_cli_wrong(args->verb, "give one of --model, --checkpoint and --run");
    if ((checkpoint == NULL) != (run_file == NULL))
        return brg_cli_wrong(args->verb, "--checkpoint and --run-file go together");
    if (model != NULL) return load_import(args, model, out);
    if (run != NULL) return load_run(args, out);
    int rc = read_run_file(args, run_file, out);
    if (rc == BRG_CLI_GO) rc = split_checkpoint(args, checkpoint, &at);
    return rc == BRG_CLI_GO ? load_checkpoint(args, &at, out) : rc;
}

void brg_cli_model_free(struct brg_cli_model *m) {
    free(m->params);
    brg_tokenizer_destroy(m->tokenizer);
    memset(m, 0, sizeof *m);
}
