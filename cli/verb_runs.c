#include "cli/client.h"
#include "cli/view.h"

static const struct brg_cli_flag flags[] = {
    {.name = "json", .text = "The list as JSON, with the digest of each run's parameters."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "runs",
    .arguments = "",
    .summary = "list the runs",
    .about = "Lists all runs that were ever submitted, with their state:\n"
             "\n"
             "queued    waits for its turn            opening   reads data and checkpoint\n"
             "active    steps are being taken         paused    rests until 'brigade resume'\n"
             "finished  took all its steps            stopped   ended by 'brigade stop'\n"
             "failed    cannot go on; see its reason\n",
    .examples =
        "$ brigade runs\n"
        "$ brigade runs --json | jq -r '.runs[] | select(.state == \"finished\") | .name'\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

int brg_cli_runs(int argc, char **argv) {
    struct brg_cli_args args;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    rc = brg_client_ask(&args, "runs", NULL, &reply);
    if (rc != BRG_CLI_GO) return rc;
    rc = BRG_EXIT_OK;
    if (!brg_cli_given(&args, "json")) {
        brg_view_runs(reply, 0, stdout);
    } else if (brg_json_print(reply, stdout) != BRG_OK) {
        rc = BRG_EXIT_FAILED;
    }
    cJSON_Delete(reply);
    return rc;
}
