#include "cli/client.h"
#include "cli/view.h"

#include <inttypes.h>
#include <time.h>

#define FOLLOW_EVERY_S 1
#define LIMIT_MAX 1000u /* what one answer has room for */

static const struct brg_cli_flag flags[] = {
    {.name = "after",
     .value = "NUMBER",
     .fallback = "0",
     .text = "Only events with a larger number than this."},
    {.name = "limit",
     .value = "COUNT",
     .fallback = "200",
     .text = "The newest so many of them, 1000 at most."},
    {.name = "follow", .text = "Go on and print what happens, until interrupted."},
    {.name = "json", .text = "One JSON object a line."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "events",
    .arguments = "",
    .summary = "what happened: joins, losses of workers, waits, checkpoints",
    .about = "Prints what the coordinator recorded, oldest first: a number, the time (UTC), the\n"
             "kind, and a sentence. Events are kept in the store and survive restarts.\n",
    .examples = "$ brigade events --after 120\n"
                "$ brigade events --follow\n"
                "$ brigade events --json | jq -r 'select(.kind == \"lost\") | .worker'\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

static void print_event(const cJSON *e, int as_json) {
    if (as_json) {
        (void)!brg_json_print(e, stdout);
        return;
    }
    printf("%6" PRIu64 "  %s  ", brg_json_u64(e, "sequence"), brg_json_text(e, "time", "-"));
    brg_cli_put(stdout, brg_json_text(e, "kind", "-"));
    fputs("  ", stdout);
    brg_view_event(e, stdout);
    fputc('\n', stdout);
}

/* Asks for the newest `limit` events behind *after and prints them; *after moves on. */
static int one_look(struct brg_client *c, uint64_t *after, uint64_t limit, int as_json) {
    struct brg_why why;
    cJSON *reply = NULL, *request = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(request, "after", (double)*after);
    (void)cJSON_AddNumberToObject(request, "limit", (double)limit);
    int rc = brg_client_call(c, "events", request, &reply, &why);
    if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
    for (const cJSON *e = brg_json_first(reply, "events"); e != NULL; e = e->next) {
        print_event(e, as_json);
        if (brg_json_u64(e, "sequence") > *after) *after = brg_json_u64(e, "sequence");
    }
    cJSON_Delete(reply);
    return BRG_CLI_GO;
}

int brg_cli_events(int argc, char **argv) {
    const struct timespec pause = {.tv_sec = FOLLOW_EVERY_S};
    struct brg_cli_args args;
    struct brg_client *c = NULL;
    uint64_t after = 0, limit = 0;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(&args, "after", 0, UINT64_C(1) << 53, &after);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(&args, "limit", 1, LIMIT_MAX, &limit);
    if (rc == BRG_CLI_GO) rc = brg_client_open(&args, &c);
    if (rc != BRG_CLI_GO) return rc;
    int as_json = brg_cli_given(&args, "json"), follows = brg_cli_given(&args, "follow");
    rc = one_look(c, &after, limit, as_json);
    /* Until interrupted, or until whoever reads this has left. */
    while (follows && rc == BRG_CLI_GO && fflush(stdout) == 0) {
        (void)nanosleep(&pause, NULL);
        rc = one_look(c, &after, LIMIT_MAX, as_json);
    }
    brg_client_close(&c);
    return rc == BRG_CLI_GO ? BRG_EXIT_OK : rc;
}
