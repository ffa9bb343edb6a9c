/* verb_run.c - `brigade run export-delays`: what the workers of a run took, as a recording that
 * codes can be replayed on. */
#include "cli/client.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PAGE_RECORDS 4000u
#define PAGES_MAX 1000000u
#define WORKERS_MAX 65536u /* different ones in a record; a coordinator keeps 2048 */

static const struct brg_cli_flag flags[] = {
    {.name = "run", .value = "RUN", .text = "The run, by number or name. Always needed."},
    {.name = "out", .value = "FILE", .text = "Where to write. Default: standard output."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "run export-delays",
    .arguments = "",
    .summary = "write down how long the workers of a run took, as CSV",
    .about = "Each line says that a worker had done a part of its work so long after its round\n"
             "began: worker,round,seconds,load,censored. load is what it had done in the round so\n"
             "far, as a share of the batch. censored 1: the round ended first, so it would have\n"
             "taken longer than that. Workers are numbered in the order in which they appear.\n"
             "\n"
             "The coordinator keeps the last million of such records or more, also over its own\n"
             "restarts. 'brigade sim rounds FILE' replays codes on them.\n",
    .examples = "$ brigade run export-delays --run kjv-tiny --out delays.csv\n"
                "$ brigade run export-delays --run 3 | head\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

struct export {
    FILE *out;
    uint32_t worker_count;
    uint32_t workers[WORKERS_MAX]; /* number in the file -> number at the coordinator */
};

/* The number of a worker in the file; WORKERS_MAX: there are too many. */
static uint32_t number_of(struct export *e, uint32_t member) {
    uint32_t i = 0;
    while (i < e->worker_count && e->workers[i] != member) i++;
    if (i == e->worker_count && i < WORKERS_MAX) e->workers[e->worker_count++] = member;
    return i;
}

static void put_record(struct export *e, const cJSON *row) {
    double field[6] = {0};
    uint32_t count = 0;
    for (const cJSON *item = row->child; item != NULL && count < 6; item = item->next) {
        field[count++] = cJSON_IsNumber(item) ? item->valuedouble : 0;
    }
    if (count < 6 || field[3] <= 0 || field[1] < 0 || field[1] > UINT32_MAX) return;
    const uint32_t worker = number_of(e, (uint32_t)field[1]);
    if (worker == WORKERS_MAX) return;
    fprintf(e->out, "%" PRIu32 ",%.0f,%.9f,%.9g,%d\n", worker, field[0], field[4] / 1e9,
            field[2] / field[3], field[5] != 0);
}

static int write_all(struct brg_client *c, const char *run, struct export *e) {
    struct brg_why why;
    uint64_t from = 0;
    fputs("worker,round,seconds,load,censored\n", e->out);
    for (uint32_t page = 0; page < PAGES_MAX; page++) {
        cJSON *reply = NULL, *request = brg_client_run(run);
        (void)cJSON_AddNumberToObject(request, "from", (double)from);
        (void)cJSON_AddNumberToObject(request, "limit", PAGE_RECORDS);
        const int rc = brg_client_call(c, "delays", request, &reply, &why);
        if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
        const uint64_t next = brg_json_u64(reply, "next");
        const int is_empty = brg_json_first(reply, "delays") == NULL;
        for (const cJSON *r = brg_json_first(reply, "delays"); r != NULL; r = r->next) {
            put_record(e, r);
        }
        cJSON_Delete(reply);
        if (is_empty || next <= from) break;
        from = next;
    }
    return BRG_CLI_GO;
}

static int export_delays(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_client *c = NULL;
    struct export *e = NULL;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    const char *run = brg_cli_value(&args, "run"), *path = brg_cli_value(&args, "out");
    if (run == NULL) return brg_cli_wrong(&verb, "--run RUN is missing");
    rc = brg_client_open(&args, &c);
    if (rc != BRG_CLI_GO) return rc;
    e = calloc(1, sizeof *e);
    if (e == NULL) {
        rc = brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
        goto out;
    }
    e->out = path != NULL ? fopen(path, "w") : stdout;
    if (e->out == NULL) {
        rc = brg_cli_fail(&verb, BRG_EXIT_IO, "%s cannot be written: %s", path, strerror(errno));
        goto out;
    }
    rc = write_all(c, run, e);
    const int is_bad = fflush(e->out) != 0 || ferror(e->out);
    const int is_open = path == NULL || fclose(e->out) == 0;
    if (rc == BRG_CLI_GO && (is_bad || !is_open)) {
        rc = brg_cli_fail(&verb, BRG_EXIT_IO, "%s cannot be written: make room there",
                          path != NULL ? path : "standard output");
    }
    if (rc == BRG_CLI_GO) rc = BRG_EXIT_OK;
out:
    free(e);
    brg_client_close(&c);
    return rc;
}

static const struct brg_cli_word words[] = {
    {"export-delays", "write down how long the workers of a run took, as CSV", export_delays},
};

int brg_cli_run(int argc, char **argv) {
    return brg_cli_words("run", "What a single run has left behind.\n", words,
                         sizeof words / sizeof words[0], argc, argv);
}
