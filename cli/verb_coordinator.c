#include "cli/cli.h"
#include <string.h>

#include "coordinator/shell/http.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/service.h"
#include "proto/keys.h"

static const struct brg_cli_flag flags[] = {
    BRG_CLI_STATE_FLAG,
    {.name = "listen",
     .value = "HOST:PORT",
     .fallback = "0.0.0.0:7420",
     .traits = BRG_CLI_ENV,
     .text = "Where workers and operators connect. [::]:7420 for IPv6."},
    {.name = "announce",
     .value = "HOST:PORT",
     .traits = BRG_CLI_ENV,
     .text = "What workers are told to dial, where that is not the address listened on: behind a "
             "NAT, in a container, on a machine with several networks."},
    {.name = "config",
     .value = "RUN.yaml",
     .text = "Submit this run at the start, unless a run of its name is there already."},
    {.name = "token-out",
     .value = "FILE",
     .text = "Make a join token at the start and write it to FILE (mode 0600)."},
    {.name = "http",
     .value = "HOST:PORT|none",
     .traits = BRG_CLI_ENV,
     .text = "Where dashboard, metrics, health and API are served: for whoever can reach it, "
             "without a password to look. Default: 127.0.0.1:7421 unless that is taken."},
    {.name = "lease",
     .value = "DURATION",
     .fallback = "10s",
     .traits = BRG_CLI_ENV,
     .text = "A worker that is silent for so long is lost, and its work goes to others."},
    {.name = "beat",
     .value = "DURATION",
     .fallback = "1s",
     .traits = BRG_CLI_ENV,
     .text = "How often a worker says that it lives; at least 3 times in a lease."},
    {.name = "memory",
     .value = "SIZE",
     .fallback = "2GiB",
     .traits = BRG_CLI_ENV,
     .text = "Bound of the memory for parameters, gradients and shares."},
    {.name = "exit-when-done",
     .text = "Leave with 0 once no run is queued or under way, and at least one was."},
    BRG_CLI_LOG_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "coordinator",
    .arguments = "",
    .summary = "start the coordinator: one process, in the foreground",
    .about =
        "Keeps parameters, optimizer and record of the runs, deals the work out and decodes\n"
        "what comes back. Its first lines say how workers join. It runs in the foreground\n"
        "until SIGTERM or SIGINT.\n"
        "\n"
        "Everything it knows is in its state folder. It may be killed at any instant: started\n"
        "again on the same folder, it goes on with the same step, and workers come back by\n"
        "themselves. Its key is in the folder, too; keep a copy of it.\n"
        "\n"
        "Leaves with 0 in order, 64 or 78 where the command line or a file must be put right,\n"
        "65 where the store is damaged, 74 where the disk is full or fails, 75 to be\n"
        "restarted.\n",
    .examples = "$ brigade coordinator --config run.yaml --token-out token\n"
                "$ brigade coordinator --listen 127.0.0.1:7420 --state /srv/brigade\n"
                "$ brigade coordinator --announce train.example.org:7420 --log-format json\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

static int check_address(const struct brg_cli_args *args, const char *flag) {
    char host[BRG_HOST_BYTES];
    uint16_t port = 0;
    struct brg_why why;
    const char *value = brg_cli_value(args, flag);
    if (value == NULL || brg_address_parse(value, host, &port, &why) == BRG_OK) return BRG_CLI_GO;
    return brg_cli_wrong(&verb, "--%s: %s", flag, why.text);
}

static int check_http(const struct brg_cli_args *args) {
    const char *value = brg_cli_value(args, "http");
    return value != NULL && strcmp(value, "none") == 0 ? BRG_CLI_GO : check_address(args, "http");
}

/* The service would refuse the file as well, but only after it took the store. */
static int check_config(const char *path) {
    struct brg_run_config config;
    struct brg_run_faults faults;
    if (path == NULL) return BRG_CLI_GO;
    if (brg_runfile_read(path, BRG_RUNFILE_CHECK_FILES, &config, &faults) == BRG_OK) {
        return BRG_CLI_GO;
    }
    brg_run_faults_print(&faults, path, stderr);
    return BRG_EXIT_CONFIG;
}

int brg_cli_coordinator(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_service_options o = {.state_dir = NULL};
    char state_dir[BRG_CLI_PATH_BYTES];

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = brg_cli_log(&args);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(&args, "lease", &o.lease_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(&args, "beat", &o.beat_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_size(&args, "memory", &o.memory_bytes);
    if (rc == BRG_CLI_GO) rc = check_address(&args, "listen");
    if (rc == BRG_CLI_GO) rc = check_address(&args, "announce");
    if (rc == BRG_CLI_GO) rc = check_http(&args);
    if (rc == BRG_CLI_GO) rc = brg_cli_state_dir(&args, state_dir);
    if (rc != BRG_CLI_GO) return rc;
    if (o.beat_ns < BRG_NS_PER_MS || o.lease_ns / 3 < o.beat_ns) {
        return brg_cli_wrong(&verb,
                             "--lease must be at least 3 times --beat, and --beat at least 1ms");
    }
    if (o.lease_ns > UINT64_C(3600) * BRG_NS_PER_S) {
        return brg_cli_wrong(&verb, "--lease must be an hour at most");
    }
    o.state_dir = state_dir;
    o.listen = brg_cli_value(&args, "listen");
    o.announce = brg_cli_value(&args, "announce");
    o.http = brg_cli_value(&args, "http");
    o.http_is_optional = o.http == NULL; /* several coordinators on one machine */
    if (o.http == NULL) o.http = BRG_HTTP_LISTEN_DEFAULT;
    if (strcmp(o.http, "none") == 0) o.http = NULL;
    o.config_path = brg_cli_value(&args, "config");
    o.token_out = brg_cli_value(&args, "token-out");
    o.exit_when_done = brg_cli_given(&args, "exit-when-done");
    rc = check_config(o.config_path);
    return rc == BRG_CLI_GO ? brg_service_run(&o) : rc;
}
