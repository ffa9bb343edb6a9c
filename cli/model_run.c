#include "cli/model_run.h"

#include "cli/client.h"
#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/start.h"
#include "coordinator/shell/store.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNAPSHOT_WAIT_NS (120 * BRG_NS_PER_S) /* it waits for the step in hand, and for a disk */

/* What is known of the run before its parameters are read. */
struct run {
    char state[BRG_CLI_PATH_BYTES];
    char folder[BRG_CLI_PATH_BYTES + 32];    /* of the run in the state folder */
    char snapshot[BRG_CLI_PATH_BYTES + 160]; /* "": none was written */
    struct brg_cli_place at;
    uint64_t model; /* of several */
    struct brg_run_config config;
};

static int fail(const struct brg_cli_args *args, int err, const char *text) {
    return brg_cli_fail(args->verb, brg_cli_exit_of(err), "%s", text);
}

/* The run's file, as the store and the coordinator keep it, says the rest. */
static int take_run(const struct brg_cli_args *args, uint64_t id, const char *yaml, size_t size,
                    struct run *r) {
    struct brg_run_faults *faults = calloc(1, sizeof *faults);
    if (faults == NULL) return fail(args, BRG_ENOMEM, "out of memory");
    const int err = brg_runfile_parse(yaml, size, NULL, BRG_RUNFILE_OFFLINE, &r->config, faults);
    free(faults);
    if (err != BRG_OK) return fail(args, BRG_ECORRUPT, "the record of the run is damaged");
    const char *dir = r->config.checkpoint.dir;
    r->at.run = id;
    r->at.kind = r->config.kind;
    (void)snprintf(r->folder, sizeof r->folder, "%s/runs/%" PRIu64, r->state, id);
    if (dir[0] != '\0')
        (void)snprintf(r->at.folder, sizeof r->at.folder, "%s/run-%" PRIu64, dir, id);
    else
        (void)snprintf(r->at.folder, sizeof r->at.folder, "%s/checkpoints", r->folder);
    if (r->model < r->config.models) return BRG_CLI_GO;
    return brg_cli_wrong(args->verb, "--model is %" PRIu64 ", but the run's models are 0 to %u",
                         r->model, r->config.models - 1);
}

/* ---- from the store ---- */

/* The record looked for: by number, or the newest of a name. */
struct search {
    uint64_t id;
    const char *name;
    uint8_t *found; /* free() */
    size_t size;
};

static int visit(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                 size_t value_bytes) {
    struct search *search = context;
    struct brg_record_run run;
    (void)key;
    (void)key_bytes;
    const int rc = brg_record_run_unpack(value, value_bytes, &run);
    if (rc != BRG_OK) return rc;
    if (search->id != 0 ? run.id != search->id : strcmp(run.name, search->name) != 0) return BRG_OK;
    free(search->found);
    search->found = malloc(value_bytes);
    search->size = value_bytes;
    if (search->found == NULL) return BRG_ENOMEM;
    memcpy(search->found, value, value_bytes);
    return BRG_OK;
}

static int read_store(const struct brg_cli_args *args, struct brg_store *store, struct run *r) {
    const char *wish = brg_cli_value(args, "run");
    const size_t digits = strspn(wish, "0123456789");
    const int is_number = digits > 0 && digits < 16 && wish[digits] == '\0';
    struct search search = {.id = is_number ? strtoull(wish, NULL, 10) : 0, .name = wish};
    const struct brg_store_range range = {.family = BRG_STORE_RUNS, .limit = UINT64_MAX};
    struct brg_record_run run;
    int rc = BRG_CLI_GO;
    int err = brg_store_scan(store, &range, visit, &search);
    if (err == BRG_OK && search.found == NULL) {
        rc = brg_cli_fail(args->verb, BRG_EXIT_FAILED, "there is no run %.64s in %s", wish,
                          r->state);
    } else {
        if (err == BRG_OK) err = brg_record_run_unpack(search.found, search.size, &run);
        rc = err == BRG_OK ? take_run(args, run.id, run.yaml, run.yaml_bytes, r)
                           : fail(args, err, "the record of the run is damaged");
    }
    free(search.found);
    return rc;
}

/* ---- from the coordinator ---- */

static int ask(const struct brg_cli_args *args, struct run *r, struct brg_cli_model *out) {
    cJSON *request = brg_client_run(brg_cli_value(args, "run")), *reply = NULL;
    (void)cJSON_AddNumberToObject(request, "model", (double)r->model);
    (void)cJSON_AddBoolToObject(request, "write", r->at.step == 0);
    struct brg_client *c = NULL;
    struct brg_why why = {.text = ""};
    int rc = brg_client_open_state(args, r->state, SNAPSHOT_WAIT_NS, &c);
    if (rc != BRG_CLI_GO) {
        cJSON_Delete(request);
        return rc;
    }
    rc = brg_client_call(c, "snapshot", request, &reply, &why);
    brg_client_close(&c);
    if (rc != BRG_CLI_GO) return brg_cli_fail(args->verb, rc, "%s", why.text);
    const char *yaml = brg_json_text(reply, "yaml", "");
    const char *file = brg_json_text(reply, "file", "");
    rc = take_run(args, brg_json_u64(reply, "run"), yaml, strlen(yaml), r);
    if (file[0] != '\0' && strchr(file, '/') == NULL)
        (void)snprintf(r->snapshot, sizeof r->snapshot, "%s/%.100s", r->folder, file);
    (void)snprintf(out->data_digest, sizeof out->data_digest, "%.64s",
                   brg_json_text(reply, "data_digest", ""));
    cJSON_Delete(reply);
    return rc;
}

/* ---- parameters ---- */

/* Snapshot or start.bin: one file with the parameters alone. */
static int load_file(const struct brg_cli_args *args, const char *path, struct run *r,
                     struct brg_cli_model *out) {
    struct brg_why why = {.text = ""};
    const uint64_t count = brg_model_param_count(&out->spec);
    out->params = malloc(count * sizeof *out->params);
    if (out->params == NULL) return fail(args, BRG_ENOMEM, "out of memory for the parameters");
    const int err = brg_start_read(path, r->at.run, count, out->params, &out->step, &why);
    if (err != BRG_OK) return fail(args, err, why.text);
    (void)snprintf(out->run, sizeof out->run, "%s", r->config.name);
    return BRG_CLI_GO;
}

/* The newest valid checkpoint, unless --step names one; 0: there is none. */
static int choose_step(const struct brg_cli_args *args, struct brg_cli_place *at) {
    struct brg_checkpoint_item *items = calloc(BRG_CHECKPOINT_LIST_MAX, sizeof *items);
    struct brg_why why = {.text = ""};
    uint32_t count = 0;
    if (items == NULL) return fail(args, BRG_ENOMEM, "out of memory");
    const int err = brg_checkpoint_list(at->folder, at->run, items, &count, &why);
    for (uint32_t i = 0; err == BRG_OK && at->step == 0 && i < count; i++)
        if (items[count - 1 - i].state == BRG_CHECKPOINT_VALID)
            at->step = items[count - 1 - i].step;
    free(items);
    return err == BRG_OK ? BRG_CLI_GO : fail(args, err, why.text);
}

static int load(const struct brg_cli_args *args, struct run *r, struct brg_cli_model *out) {
    char path[sizeof r->folder + 16];
    struct stat st;
    out->spec = r->config.model;
    if (r->snapshot[0] != '\0') {
        const int rc = load_file(args, r->snapshot, r, out);
        (void)unlink(r->snapshot); /* it was written for us */
        return rc;
    }
    if (r->at.kind == BRG_RUN_KIND_PIPELINE) {
        r->at.newest = r->at.step == 0;
        return brg_cli_model_shards(args, &r->at, out);
    }
    int rc = choose_step(args, &r->at);
    if (rc != BRG_CLI_GO) return rc;
    if (r->at.step > 0) return brg_cli_model_checkpoint(args, &r->at, (uint32_t)r->model, out);
    (void)snprintf(path, sizeof path, "%s/start.bin", r->folder);
    if (stat(path, &st) == 0) return load_file(args, path, r, out);
    return brg_cli_fail(args->verb, BRG_EXIT_FAILED,
                        "run %" PRIu64 " has no checkpoint in %s yet; let it train on", r->at.run,
                        r->at.folder);
}

/* The store, or who has it open. */
static int find(const struct brg_cli_args *args, struct run *r, struct brg_cli_model *out) {
    char path[BRG_CLI_PATH_BYTES + 16];
    struct brg_store *store = NULL;
    struct brg_why why = {.text = ""};
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/store", r->state);
    if (stat(path, &st) != 0) /* opening would make one */
        return brg_cli_fail(args->verb, BRG_EXIT_CONFIG,
                            "%s: no coordinator has kept its state here; give --state", r->state);
    const int err = brg_store_open(path, &store, &why);
    if (err == BRG_EEXIST) return ask(args, r, out);
    if (err != BRG_OK) return fail(args, err, why.text);
    const int rc = read_store(args, store, r);
    brg_store_close(&store);
    return rc;
}

int brg_cli_model_run(const struct brg_cli_args *args, struct brg_cli_model *out) {
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL) return fail(args, BRG_ENOMEM, "out of memory");
    int rc = brg_cli_number(args, "step", 1, UINT64_MAX, &r->at.step);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "model", 0, BRG_MODELS_MAX - 1, &r->model);
    if (rc == BRG_CLI_GO) rc = brg_cli_state_dir(args, r->state);
    if (rc == BRG_CLI_GO) rc = find(args, r, out);
    if (rc == BRG_CLI_GO) rc = load(args, r, out);
    (void)snprintf(out->folder, sizeof out->folder, "%s", r->folder);
    free(r);
    return rc;
}
