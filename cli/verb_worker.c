/* verb_worker.c - brigade worker: one machine of a run, from its command line to its exit code. */
#include "cli/cli.h"
#include "worker/shell/gradient.h"
#include "worker/shell/process.h"

#include <sodium.h>
#include <string.h>
#include <unistd.h>

static const struct brg_cli_flag flags[] = {
    {.name = "join",
     .value = "URL",
     .traits = BRG_CLI_ENV,
     .text =
         "Whom to work for: brigade://KEY@HOST:PORT, as the coordinator prints it at its start. "
         "Put it in single quotes, since keys hold characters that a shell reads."},
    {.name = "token-file",
     .value = "FILE",
     .traits = BRG_CLI_ENV,
     .text = "File with a join token of 'brigade token create'. Needed the first time only, by a "
             "key the coordinator does not know. BRIGADE_TOKEN may hold the token itself."},
    {.name = "state",
     .value = "DIR",
     .traits = BRG_CLI_ENV,
     .text = "Folder for this worker's key and data sets. Two workers on one machine need two. "
             "Default: $XDG_STATE_HOME/brigade, else ~/.local/state/brigade."},
    {.name = "name",
     .value = "NAME",
     .traits = BRG_CLI_ENV,
     .text = "What people call this worker in status and logs. Default: the name of the host."},
    {.name = "device",
     .value = "DEVICE",
     .fallback = "auto",
     .traits = BRG_CLI_ENV,
     .text = "auto or cpu. This build computes on the CPU."},
    {.name = "threads",
     .value = "N",
     .fallback = "1",
     .traits = BRG_CLI_ENV,
     .text = "Threads that compute. The results have the same bits whatever the number; threads "
             "above the chunks of a task stay idle."},
    {.name = "memory",
     .value = "SIZE",
     .traits = BRG_CLI_ENV,
     .text = "The most memory for parameters, gradients and data, such as 8GiB. Default: three "
             "quarters of the machine's."},
    {.name = "listen",
     .value = "HOST:PORT",
     .traits = BRG_CLI_ENV,
     .text = "Where the other workers of a pipeline may dial this one. Without it what they send "
             "each other goes through the coordinator. Only those of the same pipeline get in."},
    {.name = "announce",
     .value = "HOST:PORT",
     .traits = BRG_CLI_ENV,
     .text = "The address by which others reach --listen, where it is another one: behind NAT or "
             "in a container."},
    {.name = "drain-timeout",
     .value = "DURATION",
     .fallback = "25s",
     .traits = BRG_CLI_ENV,
     .text = "After SIGTERM or SIGINT the worker hands over what is needed of it and leaves, at "
             "the latest after this time. A second signal leaves at once."},
    {.name = "spot",
     .value = "SOURCE",
     .fallback = "auto",
     .traits = BRG_CLI_ENV,
     .text = "Where this machine hears that it will be taken away: auto, aws, gcp, azure, "
             "file:PATH or none. auto asks only where the firmware names one of these clouds."},
    {.name = "spot-url",
     .value = "URL",
     .traits = BRG_CLI_ENV,
     .text = "The metadata service, for tests and proxies. Default: the cloud's own, "
             "http://169.254.169.254."},
    {.name = "give-up",
     .value = "DURATION",
     .fallback = "0s",
     .traits = BRG_CLI_ENV,
     .text = "Leave with exit code 75 after this long without a coordinator; 0s: never, keep "
             "calling."},
    {.name = "fault",
     .value = "FAULT",
     .traits = BRG_CLI_ENV | BRG_CLI_MANY,
     .text = "Misbehave on purpose, to see what a run does about it; see below. Several in one "
             "value are joined by ';'."},
    BRG_CLI_LOG_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "worker",
    .arguments = "",
    .summary = "work for a coordinator on this machine",
    .about =
        "Joins the coordinator at URL and computes what it is given, until it is told to\n"
        "stop. It only dials out and needs no open port (but see --listen). If the\n"
        "coordinator goes away it keeps calling, and says every 10 seconds what it tried.\n"
        "It may be killed at any time: started again with the same --state it is the same\n"
        "worker.\n"
        "\n"
        "A notice of preemption (--spot) is obeyed as SIGTERM is: the coordinator is told\n"
        "first, what is held is handed over, and the worker leaves before the machine goes.\n"
        "Where the notice is withdrawn meanwhile it leaves with 75, to be started again.\n"
        "\n"
        "Faults. Each is decided by (seed, step) alone, ge by (seed, round), so that a\n"
        "trial can be repeated:\n"
        "\n"
        "  slow:factor=3              computing takes three times as long\n"
        "  stall:for=2s               waits 2 seconds before it computes\n"
        "  die:step=17                SIGKILL to itself in step 17\n"
        "  die:share=0.01,seed=3      the same in about 1 of 100 steps\n"
        "  lie:scale=1.5  lie:sign  lie:random\n"
        "                             a wrong share under its right digest\n"
        "  ...,share=0.2,seed=7       only in about a fifth of the steps\n"
        "  ...,pick=2/8,index=3,seed=7\n"
        "                             a rota: of 8 workers with this seed exactly 2 in\n"
        "                             each step; this one is number 3, counted from 0\n"
        "  ge:p=0.04,q=0.8,factor=3,seed=7\n"
        "                             from round to round well -> slow with probability p,\n"
        "                             slow -> well with q; add=500ms in place of factor: late\n"
        "                             by that much\n"
        "\n"
        "Exit codes: 0 left in order; 64 wrong command line; 69 refused for good, do not\n"
        "restart; 74 disk full or broken; 75 no coordinator for now, restart; 78 key, token\n"
        "or folder is not usable, do not restart.\n",
    .examples = "$ brigade worker --join 'brigade://KEY@10.0.0.1:7420' --token-file token\n"
                "  # a second worker on this machine, that stalls in a tenth of the steps:\n"
                "$ brigade worker --join 'brigade://KEY@10.0.0.1:7420' --token-file token \\\n"
                "      --state ~/second --name second --fault stall:for=2s,share=0.1,seed=7\n",
    .flag_count = sizeof flags / sizeof *flags,
    .flags = flags,
};

/* auto or cpu; anything else is a device this build cannot use. */
static int check_device(const struct brg_cli_args *args) {
    const char *device = brg_cli_value(args, "device");
    if (strcmp(device, "auto") == 0 || strcmp(device, "cpu") == 0) return BRG_CLI_GO;
    if (strncmp(device, "cuda", 4) == 0)
        return brg_cli_fail(&verb, BRG_EXIT_CONFIG,
                            "--device %.40s: this build has no CUDA; use --device cpu.", device);
    return brg_cli_wrong(&verb, "--device is '%.40s'; it must be auto or cpu.", device);
}

/* The token's own variable, else the file; none is fine for a key that is enrolled already. */
static int read_token(const struct brg_cli_args *args, struct brg_worker_options *options) {
    const char *text = getenv("BRIGADE_TOKEN");
    const char *path = brg_cli_value(args, "token-file");
    struct brg_why why;
    int others = 0;
    if (text != NULL && *text != '\0' && !brg_cli_given(args, "token-file")) {
        const size_t size = strlen(text);
        if (brg_token_parse(text, size) != BRG_OK)
            return brg_cli_fail(&verb, BRG_EXIT_CONFIG,
                                "BRIGADE_TOKEN holds no join token; make one with 'brigade token "
                                "create' on the coordinator.");
        memcpy(options->token, text, size + 1);
        return BRG_CLI_GO;
    }
    if (path == NULL) return BRG_CLI_GO;
    if (brg_token_read(path, options->token, &others, &why) != BRG_OK)
        return brg_cli_fail(&verb, BRG_EXIT_CONFIG, "%s", why.text);
    if (others)
        fprintf(stderr, "brigade worker: others can read %s; make it yours alone with chmod 600.\n",
                path);
    return BRG_CLI_GO;
}

static int read_join(const struct brg_cli_args *args, struct brg_worker_options *options) {
    const char *url = brg_cli_value(args, "join");
    struct brg_why why;
    if (url == NULL)
        return brg_cli_wrong(&verb, "--join is missing: the URL that the coordinator prints at its "
                                    "start.");
    if (brg_join_parse(url, &options->join, &why) != BRG_OK)
        return brg_cli_wrong(&verb, "%s", why.text);
    return BRG_CLI_GO;
}

static int read_faults(const struct brg_cli_args *args, struct brg_worker_options *options) {
    struct brg_why why;
    if (!brg_cli_given(args, "fault")) {
        const char *text = brg_cli_value(args, "fault"); /* from the environment */
        if (text != NULL && brg_faults_parse(text, &options->faults, &why) != BRG_OK)
            return brg_cli_wrong(&verb, "%s.", why.text);
        return BRG_CLI_GO;
    }
    for (uint32_t i = 0; i < BRG_CLI_VALUES_MAX; i++) {
        const char *text = brg_cli_value_at(args, "fault", i);
        if (text == NULL) break;
        if (brg_faults_parse(text, &options->faults, &why) != BRG_OK)
            return brg_cli_wrong(&verb, "%s.", why.text);
    }
    return BRG_CLI_GO;
}

static int read_spot(const struct brg_cli_args *args, struct brg_worker_options *options) {
    struct brg_why why;
    if (brg_spot_parse(brg_cli_value(args, "spot"), &options->spot, &why) != BRG_OK)
        return brg_cli_wrong(&verb, "--spot: %s", why.text);
    options->spot.url = brg_cli_value(args, "spot-url");
    if (options->spot.url != NULL && strncmp(options->spot.url, "http://", 7) != 0)
        return brg_cli_wrong(&verb, "--spot-url is '%.60s'; it must begin with http://",
                             options->spot.url);
    return BRG_CLI_GO;
}

static int read_options(const struct brg_cli_args *args, struct brg_worker_options *options) {
    uint64_t threads = 1;
    int rc = brg_cli_log(args);
    if (rc == BRG_CLI_GO) rc = check_device(args);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "threads", 1, BRG_LANES_MAX, &threads);
    if (rc == BRG_CLI_GO) rc = brg_cli_size(args, "memory", &options->memory_bytes);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(args, "drain-timeout", &options->drain_timeout_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(args, "give-up", &options->give_up_ns);
    if (rc == BRG_CLI_GO) rc = read_faults(args, options);
    if (rc == BRG_CLI_GO) rc = read_spot(args, options);
    if (rc == BRG_CLI_GO) rc = read_join(args, options);
    if (rc == BRG_CLI_GO) rc = read_token(args, options);
    if (options->drain_timeout_ns == 0) options->drain_timeout_ns = 1; /* at once */
    options->threads = (uint32_t)threads;
    options->state_dir = brg_cli_value(args, "state");
    options->name = brg_cli_value(args, "name");
    options->listen = brg_cli_value(args, "listen");
    options->announce = brg_cli_value(args, "announce");
    if (options->announce != NULL && options->listen == NULL && rc == BRG_CLI_GO)
        rc = brg_cli_wrong(&verb, "--announce is of no use without --listen HOST:PORT");
    options->version = BRG_VERSION;
    return rc;
}

int brg_cli_worker(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_worker_options options = {0};
    struct brg_why why = {{0}};

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    if (sodium_init() < 0) return brg_cli_fail(&verb, BRG_EXIT_IO, "libsodium cannot start.");
    rc = read_options(&args, &options);
    if (rc != BRG_CLI_GO) return rc;
    const enum brg_exit code = brg_worker_process_run(&options, &why);
    sodium_memzero(options.token, sizeof options.token);
    if (code == BRG_EXIT_OK) return BRG_EXIT_OK;
    return brg_cli_fail(&verb, (int)code, "%s", why.text);
}
