/* main.c - the program: finds the verb and leaves with its exit code. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <sodium/core.h>
#include <string.h>

struct group {
    const char *title;
    uint32_t count;
    struct brg_cli_word words[12];
};

static const struct group groups[] = {
    {"Take part",
     3,
     {{"coordinator", "start the coordinator: one process, in the foreground", brg_cli_coordinator},
      {"worker", "join a coordinator and compute for it", brg_cli_worker},
      {"check", "see whether this machine is ready, and what a join URL leads to", brg_cli_check}}},
    {"Runs",
     10,
     {{"validate", "check a run file, explain its keys, predict memory and traffic",
       brg_cli_validate},
      {"submit", "hand a run to the coordinator", brg_cli_submit},
      {"runs", "list the runs", brg_cli_runs},
      {"status", "who is in, which step, which loss; --watch follows", brg_cli_status},
      {"pause", "let a run rest after the step in flight", brg_cli_pause},
      {"resume", "let a paused run go on", brg_cli_resume},
      {"stop", "end a run for good", brg_cli_stop},
      {"curve", "the losses of a run, step by step", brg_cli_curve},
      {"export-metrics", "a run's curves as a file for notebooks: CSV or JSON",
       brg_cli_export_metrics},
      {"run", "export what is known of one run: how long its workers took", brg_cli_run}}},
    {"Who may join",
     3,
     {{"token", "create, list and revoke join tokens", brg_cli_token},
      {"workers", "list, allow, revoke and drain workers", brg_cli_workers},
      {"keygen", "make a key file, or show a key", brg_cli_keygen}}},
    {"Models in and out",
     4,
     {{"export", "write a model as a file that other programs open", brg_cli_export},
      {"eval", "how well a model foretells a text, or tells classes apart", brg_cli_eval},
      {"generate", "let a model write", brg_cli_generate},
      {"tokenizer", "train a tokenizer, encode, decode", brg_cli_tokenizer}}},
    {"Data and diagnosis",
     4,
     {{"data", "turn texts, images and tables into data sets", brg_cli_data},
      {"events", "what happened: joins, losses of workers, waits, checkpoints", brg_cli_events},
      {"sim", "what codes and policies would take, in virtual time", brg_cli_sim},
      {"version", "versions of this program and its libraries", brg_cli_version}}},
};
#define GROUPS (sizeof groups / sizeof groups[0])
#define VERBS_MAX 32u

static void print_verbs(FILE *out) {
    fputs("brigade trains neural networks on machines that are slow, vanish or lie.\n"
          "\nusage: brigade VERB [flags] [arguments]\n",
          out);
    for (size_t g = 0; g < GROUPS; g++) {
        fprintf(out, "\n%s\n", groups[g].title);
        for (uint32_t i = 0; i < groups[g].count; i++) {
            fprintf(out, "    %-14s %s\n", groups[g].words[i].name, groups[g].words[i].summary);
        }
    }
    fputs("\nTo begin with, on this machine:\n"
          "    $ brigade coordinator --config run.yaml --token-out token\n"
          "    $ brigade worker --join 'URL that the coordinator printed' --token-file token\n"
          "    $ brigade status --watch\n"
          "\n'brigade VERB --help' has flags and examples of a verb. More to read:\n"
          "'brigade help exit-codes', 'brigade help environment', 'brigade help files'.\n",
          out);
}

static const char exit_codes[] =
    "EXIT CODES\n"
    "    A service manager restarts on 75 and on no other code of this list.\n\n"
    "     0  done, or left in order\n"
    "     1  the answer is no: a check failed, or what was asked for does not exist\n"
    "    64  the command line is wrong: verb, flag, argument or a flag's value\n"
    "    65  stored bytes are damaged: store, log, checkpoint or data file\n"
    "    69  refused for good by the other side: revoked or foreign key, expired token\n"
    "    74  disk full or a disk error: make room, then start again\n"
    "    75  the other side is away, or asked to try later: restart me\n"
    "    78  configuration: run file, key file, data file, state folder\n"
    "\nEXAMPLES\n"
    "    In a unit of systemd:\n"
    "        Restart=on-failure\n"
    "        RestartPreventExitStatus=1 64 65 69 74 78\n";

static const char environment[] =
    "ENVIRONMENT\n"
    "    A flag counts before its variable, and that before the default. A variable that\n"
    "    is set and empty counts as not set. Each flag's help names its variable.\n\n"
    "    BRIGADE_STATE         state folder of the coordinator\n"
    "    BRIGADE_COORDINATOR   join URL that operator verbs talk to\n"
    "    BRIGADE_OPERATOR_KEY  key file that they use there\n"
    "    BRIGADE_LISTEN        where the coordinator listens\n"
    "    BRIGADE_ANNOUNCE      host:port that workers are told to dial\n"
    "    BRIGADE_HTTP          where dashboard, metrics and API are served, or none\n"
    "    BRIGADE_LOG_LEVEL     error, warn, info or debug\n"
    "    BRIGADE_LOG_FORMAT    text or json\n"
    "    XDG_STATE_HOME        where state folders are made; ~/.local/state if missing\n"
    "\nEXAMPLES\n"
    "    $ BRIGADE_STATE=/srv/brigade brigade status\n";

static const char files[] =
    "FILES\n"
    "    In the coordinator's state folder (--state):\n"
    "    endpoint         its join URL; operator verbs on this machine read it\n"
    "    coordinator.key  who it is. Keep a copy: workers know it by this key\n"
    "    operator.key     who may operate it; copy it to operate from elsewhere\n"
    "    http.secret      what changes over HTTP need\n"
    "    store/           members, tokens, runs, commits and events\n"
    "    runs/ID/         data, gradient log and checkpoints of a run\n"
    "\nEXAMPLES\n"
    "    $ ls ~/.local/state/brigade-coordinator\n";

static const struct topic {
    const char *name, *text;
} topics[] = {{"exit-codes", exit_codes}, {"environment", environment}, {"files", files}};
#define TOPICS (sizeof topics / sizeof topics[0])

static const struct brg_cli_word *find_word(const char *name) {
    for (size_t g = 0; g < GROUPS; g++) {
        for (uint32_t i = 0; i < groups[g].count; i++) {
            if (strcmp(groups[g].words[i].name, name) == 0) return &groups[g].words[i];
        }
    }
    return NULL;
}

static int unknown_word(const char *typed) {
    const char *names[VERBS_MAX];
    uint32_t count = 0;
    for (size_t g = 0; g < GROUPS; g++) {
        for (uint32_t i = 0; i < groups[g].count; i++) names[count++] = groups[g].words[i].name;
    }
    for (size_t i = 0; i < TOPICS; i++) names[count++] = topics[i].name;
    names[count++] = "help";
    BRG_ASSERT(count <= VERBS_MAX);
    const char *near = brg_cli_closest(typed, names, count);
    fputs("brigade: there is no '", stderr);
    brg_cli_put(stderr, typed);
    if (near != NULL) fprintf(stderr, "'; did you mean '%s'?", near);
    if (near == NULL) fputs("'.", stderr);
    fputs(" 'brigade help' lists the verbs.\n", stderr);
    return BRG_EXIT_USAGE;
}

/* brigade help [VERB [WORD] | TOPIC] */
static int help(int argc, char **argv) {
    static char flag[] = "--help";
    if (argc < 2) {
        print_verbs(stdout);
        return BRG_EXIT_OK;
    }
    for (size_t i = 0; i < TOPICS; i++) {
        if (strcmp(argv[1], topics[i].name) != 0) continue;
        fputs(topics[i].text, stdout);
        return BRG_EXIT_OK;
    }
    const struct brg_cli_word *word = find_word(argv[1]);
    if (word == NULL) return unknown_word(argv[1]);
    char *ask[4] = {argv[1], argc > 2 ? argv[2] : flag, flag, NULL};
    return word->run(argc > 2 ? 3 : 2, ask);
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_verbs(stdout);
        return BRG_EXIT_OK;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0) return help(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help(1, argv);
    if (strcmp(name, "--version") == 0) return brg_cli_version(1, argv + 1);
    const struct brg_cli_word *word = find_word(name);
    return word != NULL ? word->run(argc - 1, argv + 1) : unknown_word(name);
}

int main(int argc, char **argv) {
    if (sodium_init() < 0) {
        fputs("brigade: this system gives no random numbers, so no keys can be made.\n", stderr);
        return BRG_EXIT_FAILED;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a peer or a pager that leaves is an error code, no death */
    int rc = run(argc, argv);
    /* What was asked for and could not be written was not done; a reader who left is no fault. */
    if (fflush(stdout) != 0 && errno != EPIPE && rc == BRG_EXIT_OK) {
        fprintf(stderr, "brigade: standard output cannot be written: %s.\n", strerror(errno));
        rc = BRG_EXIT_IO;
    }
    return rc;
}
