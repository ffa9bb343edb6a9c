#include "cli/client.h"
#include "cli/run_load.h"

static const struct brg_cli_flag flags[] = {
    {.name = "offline",
     .text = "Do not look at the data files here: for a coordinator on another machine, which has "
             "them at the same paths and looks itself."},
    {.name = "json", .text = "The answer as JSON."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "submit",
    .arguments = "RUN.yaml",
    .summary = "hand a run to the coordinator",
    .about = "Checks the run file and its data set as 'brigade validate' does, then hands the run\n"
             "to the coordinator, complete with all defaults and absolute paths. Runs are worked\n"
             "on one after the other, in the order in which they were submitted.\n"
             "\n"
             "The coordinator reads the data set and gives it to the workers: they need no\n"
             "copy of it.\n",
    .examples = "$ brigade submit run.yaml\n"
                "$ brigade submit run.yaml && brigade status --watch\n"
                "$ brigade submit --coordinator 'brigade://KEY@host:7420' \\\n"
                "      --operator-key operator.key --offline run.yaml\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

int brg_cli_submit(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_run_config config;
    struct brg_run_data data;
    struct brg_run_faults faults;
    char *yaml = NULL;
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    const char *path = args.arguments[0];
    if (brg_run_load(path, brg_cli_given(&args, "offline"), &config, &data, &faults) != BRG_OK) {
        brg_run_faults_print(&faults, path, stderr);
        return BRG_EXIT_CONFIG;
    }
    if (brg_run_config_text(&config, &yaml) != BRG_OK) {
        return brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
    }
    cJSON *request = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(request, "yaml", yaml);
    free(yaml);
    rc = brg_client_ask(&args, "submit", request, &reply);
    if (rc != BRG_CLI_GO) return rc;
    rc = BRG_EXIT_OK;
    if (brg_cli_given(&args, "json")) {
        if (brg_json_print(reply, stdout) != BRG_OK) rc = BRG_EXIT_FAILED;
    } else {
        unsigned long long id = brg_json_u64(reply, "run");
        printf("run %llu '%s' is submitted; follow it with: brigade status --watch --run %llu\n",
               id, brg_json_text(reply, "name", config.name), id);
    }
    cJSON_Delete(reply);
    return rc;
}
