#include "cli/client.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "coordinator/shell/api.h"

#define PAGE_POINTS 1000u
#define PAGES_MAX 100000u
#define EVENTS_MAX 1000u

static const struct brg_cli_flag flags[] = {
    {.name = "run",
     .value = "RUN",
     .text = "The run, by number or name, under way or ended. Always needed."},
    {.name = "out",
     .value = "FILE",
     .text = "Where to write it. A name that ends in .json is written as JSON, any other as CSV, "
             "unless --format says otherwise. Default: standard output, as CSV."},
    {.name = "format", .value = "FORMAT", .text = "csv or json."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "export-metrics",
    .arguments = "",
    .summary = "a run's curves as a file for notebooks: CSV or JSON",
    .about =
        "Writes one line for each step: loss, loss and accuracy on the held-out data where it\n"
        "was looked at, learning rate, norm of the gradient, duration, model, and whether the\n"
        "step waited for stragglers. JSON holds the same, and beside it what is known of the\n"
        "run and its last events. The file appears whole or not at all.\n",
    .examples = "$ brigade export-metrics --run kjv-tiny --out curve.csv\n"
                "$ brigade export-metrics --run 3 --out curve.json\n"
                "$ python3 -c 'import pandas; print(pandas.read_csv(\"curve.csv\").tail())'\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

/* The points from `from` on, behind those in `all`. *next: the step to go on with, 0: no more. */
static int take_page(struct brg_client *c, const char *run, uint64_t from, cJSON *all,
                     uint64_t *next) {
    struct brg_why why = {{0}};
    cJSON *reply = NULL, *request = brg_client_run(run);
    (void)cJSON_AddNumberToObject(request, "from", (double)from);
    (void)cJSON_AddNumberToObject(request, "limit", PAGE_POINTS);
    const int rc = brg_client_call(c, "curve", request, &reply, &why);
    if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
    cJSON *points = cJSON_GetObjectItemCaseSensitive(reply, "points");
    cJSON *held = cJSON_DetachItemFromObjectCaseSensitive(reply, "held_out");
    cJSON *to = cJSON_GetObjectItemCaseSensitive(all, "points");
    *next = 0;
    while (cJSON_IsArray(points) && points->child != NULL) { /* PAGE_POINTS at most */
        const uint64_t step = brg_json_u64(points->child, "step");
        if (step >= from) *next = step + 1;
        (void)cJSON_AddItemToArray(to, cJSON_DetachItemViaPointer(points, points->child));
    }
    if (held != NULL) (void)cJSON_ReplaceItemInObjectCaseSensitive(all, "held_out", held);
    cJSON_Delete(reply);
    return BRG_CLI_GO;
}

/* What is known of the run, and its events. */
static int add_context(struct brg_client *c, const char *run, cJSON *all) {
    struct brg_why why = {{0}};
    cJSON *reply = NULL, *item = NULL, *request = NULL;
    int rc = brg_client_call(c, "runs", NULL, &reply, &why);
    if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
    cJSON *runs = cJSON_GetObjectItemCaseSensitive(reply, "runs"), *found = NULL;
    char id[24];
    cJSON_ArrayForEach(item, runs) {
        (void)snprintf(id, sizeof id, "%" PRIu64, brg_json_u64(item, "run"));
        if (strcmp(run, id) == 0 || strcmp(run, brg_json_text(item, "name", "")) == 0) found = item;
    }
    const uint64_t number = brg_json_u64(found, "run");
    if (found != NULL) {
        (void)cJSON_AddItemToObject(all, "run", cJSON_DetachItemViaPointer(runs, found));
    }
    cJSON_Delete(reply);
    request = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(request, "limit", EVENTS_MAX);
    rc = brg_client_call(c, "events", request, &reply, &why);
    if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
    cJSON *events = cJSON_AddArrayToObject(all, "events");
    cJSON *from = cJSON_GetObjectItemCaseSensitive(reply, "events"), *next = NULL;
    for (item = from != NULL ? from->child : NULL; item != NULL; item = next) {
        next = item->next;
        if (brg_json_u64(item, "run") != number && brg_json_u64(item, "run") != 0) continue;
        (void)cJSON_AddItemToArray(events, cJSON_DetachItemViaPointer(from, item));
    }
    cJSON_Delete(reply);
    return BRG_CLI_GO;
}

static int fetch(const struct brg_cli_args *args, int as_json, cJSON *all) {
    struct brg_client *c = NULL;
    const char *run = brg_cli_value(args, "run");
    uint64_t from = 1, next = 1;
    (void)cJSON_AddArrayToObject(all, "points");
    (void)cJSON_AddArrayToObject(all, "held_out");
    int rc = brg_client_open(args, &c);
    for (uint32_t page = 0; rc == BRG_CLI_GO && next > 0 && page < PAGES_MAX; page++) {
        from = next;
        rc = take_page(c, run, from, all, &next);
    }
    if (rc == BRG_CLI_GO && as_json) rc = add_context(c, run, all);
    brg_client_close(&c);
    return rc;
}

static int write_out(const char *path, const char *text, size_t size) {
    if (path == NULL) {
        const size_t done = fwrite(text, 1, size, stdout);
        return done == size ? BRG_EXIT_OK : BRG_EXIT_IO;
    }
    const int rc = brg_file_write_atomic(path, 0644, text, size);
    if (rc == BRG_OK) return BRG_EXIT_OK;
    return brg_cli_fail(&verb, brg_cli_exit_of(rc), "%s cannot be written: %s", path,
                        strerror(errno));
}

static int is_json_name(const char *path) {
    const size_t size = path == NULL ? 0 : strlen(path);
    return size > 5 && strcmp(path + size - 5, ".json") == 0;
}

int brg_cli_export_metrics(int argc, char **argv) {
    struct brg_cli_args args;
    char *csv = NULL;
    size_t size = 0;
    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    const char *path = brg_cli_value(&args, "out"), *format = brg_cli_value(&args, "format");
    int as_json = is_json_name(path);
    if (brg_cli_value(&args, "run") == NULL) return brg_cli_wrong(&verb, "--run RUN is missing");
    if (format != NULL && strcmp(format, "csv") != 0 && strcmp(format, "json") != 0) {
        return brg_cli_wrong(&verb, "--format is csv or json");
    }
    if (format != NULL) as_json = strcmp(format, "json") == 0;
    cJSON *all = cJSON_CreateObject();
    rc = fetch(&args, as_json, all);
    char *json = rc == BRG_CLI_GO ? cJSON_PrintUnformatted(all) : NULL;
    cJSON_Delete(all);
    if (rc != BRG_CLI_GO) return rc;
    if (json == NULL) return brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
    if (as_json) {
        rc = write_out(path, json, strlen(json));
    } else if (brg_api_curve_csv(json, &csv, &size) == BRG_OK) {
        rc = write_out(path, csv, size);
    } else {
        rc = brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
    }
    free(csv);
    free(json);
    return rc;
}
