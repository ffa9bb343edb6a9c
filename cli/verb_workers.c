#include "base/units.h"
#include "cli/client.h"
#include "cli/table.h"
#include "cli/view.h"
#include "proto/keys.h"

#include <inttypes.h>
#include <math.h>

static const struct brg_cli_flag list_flags[] = {
    {.name = "json", .text = "The list as JSON."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb list_verb = {
    .name = "workers list",
    .arguments = "",
    .summary = "list the workers that may take part",
    .about = "Lists every worker the coordinator knows, connected or not: its key, its state, its\n"
             "place in the code, what it did and when it was last heard.\n"
             "\n"
             "States: active; suspect (silent, but within its lease); draining (leaves in\n"
             "order); away (allowed, not connected); left; lost (silent beyond its lease);\n"
             "revoked.\n",
    .examples = "$ brigade workers list\n"
                "$ brigade workers list --json | jq -r '.workers[].worker'\n",
    .flag_count = sizeof list_flags / sizeof list_flags[0],
    .flags = list_flags,
};

static void add_worker(struct brg_table *table, const cJSON *w) {
    char text[BRG_VIEW_TEXT_BYTES];
    double position = brg_json_number(w, "position"), memory = brg_json_number(w, "memory_bytes");
    brg_table_cell(table, "%s", brg_json_text(w, "worker", "-"));
    brg_table_cell(table, "%s", brg_json_text(w, "state", "-"));
    brg_table_number(table, position, 0);
    brg_table_cell(table, "%" PRIu64, brg_json_u64(w, "tasks_done"));
    brg_table_cell(table, "%" PRIu64, brg_json_u64(w, "shares_used"));
    brg_table_cell(table, "%s", brg_view_seconds(brg_json_number(w, "last_task_s"), text));
    brg_table_cell(table, "%s", brg_json_text(w, "isa", "-"));
    brg_table_number(table, brg_json_number(w, "cores"), 0);
    brg_table_cell(table, "%s",
                   isnan(memory) ? "-" : brg_size_about(brg_json_u64(w, "memory_bytes"), text));
    brg_table_cell(table, "%s", brg_view_seconds(brg_json_number(w, "last_seen_s"), text));
    brg_table_cell(table, "%s", brg_json_text(w, "key", "-"));
}

static int workers_list(int argc, char **argv) {
    static const char *const headings[] = {"WORKER",  "STATE",     ">POSITION", ">DONE",
                                           ">USED",   ">LAST",     "ISA",       ">CORES",
                                           ">MEMORY", ">SEEN AGO", "KEY"};
    struct brg_cli_args args;
    struct brg_table table;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&list_verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    rc = brg_client_ask(&args, "workers.list", NULL, &reply);
    if (rc != BRG_CLI_GO) return rc;
    rc = BRG_EXIT_OK;
    if (brg_cli_given(&args, "json")) {
        if (brg_json_print(reply, stdout) != BRG_OK) rc = BRG_EXIT_FAILED;
    } else {
        brg_table_init(&table, headings, 11);
        for (const cJSON *w = brg_json_first(reply, "workers"); w != NULL; w = w->next) {
            add_worker(&table, w);
        }
        brg_table_print(&table, 0, stdout);
        brg_table_fini(&table);
    }
    cJSON_Delete(reply);
    return rc;
}

static const struct brg_cli_flag allow_flags[] = {
    {.name = "name", .value = "NAME", .text = "What the worker is called from now on."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb allow_verb = {
    .name = "workers allow",
    .arguments = "KEY",
    .summary = "let a key join without a token",
    .about = "From now on a worker with this key may join without a token. Also lets one in again\n"
             "that was revoked. KEY is what 'brigade keygen' printed on its machine, in single\n"
             "quotes.\n",
    .examples = "$ brigade workers allow 'KEY' --name lab-7\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .takes_key = 1,
    .flag_count = sizeof allow_flags / sizeof allow_flags[0],
    .flags = allow_flags,
};

static int workers_allow(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_key key;
    struct brg_why why;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&allow_verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    if (brg_key_parse(args.arguments[0], &key, &why) != BRG_OK) {
        return brg_cli_wrong(&allow_verb, "%s.", why.text);
    }
    const char *name = brg_cli_value(&args, "name");
    cJSON *request = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(request, "key", args.arguments[0]);
    (void)cJSON_AddStringToObject(request, "name", name != NULL ? name : "");
    rc = brg_client_ask(&args, "workers.allow", request, &reply);
    if (rc != BRG_CLI_GO) return rc;
    printf("%s may join\n", args.arguments[0]);
    cJSON_Delete(reply);
    return BRG_EXIT_OK;
}

static const struct brg_cli_flag one_flags[] = {BRG_CLI_CLIENT_FLAGS};

static const struct brg_cli_verb revoke_verb = {
    .name = "workers revoke",
    .arguments = "WORKER",
    .summary = "shut a worker out for good",
    .about = "Cuts the worker off at once and refuses its key from now on, also with a token. Its\n"
             "work in hand goes to others. WORKER is its name or its key. 'brigade workers\n"
             "allow' undoes it.\n",
    .examples = "$ brigade workers revoke lab-7\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .takes_key = 1,
    .flag_count = sizeof one_flags / sizeof one_flags[0],
    .flags = one_flags,
};

static const struct brg_cli_verb drain_verb = {
    .name = "workers drain",
    .arguments = "WORKER",
    .summary = "let a worker finish and leave in order",
    .about = "Gives the worker nothing new to do; it finishes what it has in hand and leaves. It\n"
             "may join again later. WORKER is its name or its key.\n",
    .examples = "$ brigade workers drain lab-7\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .takes_key = 1,
    .flag_count = sizeof one_flags / sizeof one_flags[0],
    .flags = one_flags,
};

static int one_worker(const struct brg_cli_verb *verb, const char *operation, const char *outcome,
                      int argc, char **argv) {
    struct brg_cli_args args;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    cJSON *request = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(request, "worker", args.arguments[0]);
    rc = brg_client_ask(&args, operation, request, &reply);
    if (rc != BRG_CLI_GO) return rc;
    printf("%s %s\n", args.arguments[0], outcome);
    cJSON_Delete(reply);
    return BRG_EXIT_OK;
}

static int workers_revoke(int argc, char **argv) {
    return one_worker(&revoke_verb, "workers.revoke", "is shut out", argc, argv);
}

static int workers_drain(int argc, char **argv) {
    return one_worker(&drain_verb, "workers.drain", "finishes its work and leaves", argc, argv);
}

int brg_cli_workers(int argc, char **argv) {
    static const struct brg_cli_word words[] = {
        {"list", "list the workers that may take part", workers_list},
        {"allow", "let a key join without a token", workers_allow},
        {"revoke", "shut a worker out for good", workers_revoke},
        {"drain", "let a worker finish and leave in order", workers_drain},
    };
    return brg_cli_words("workers",
                         "A worker is known by its key. Those who joined with a token, and those\n"
                         "allowed here, may take part.\n",
                         words, 4, argc, argv);
}
