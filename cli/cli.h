/* cli.h - what the verbs of the program share: flags, help, sentences to the terminal.
 *
 *   main ──► one function a verb: int brg_cli_NAME(int argc, char **argv), argv[0] = the verb
 *                │
 *                ├─ brg_cli_parse: flags and arguments by the verb's table, --help, did-you-mean
 *                └─ returns an exit code of base/exit.h
 *
 * One thread. What a verb was asked for goes to standard output; what went wrong, as one sentence,
 * to standard error. A table of flags is all a verb has to say about its command line: reading,
 * help and environment follow from it. */
#ifndef BRG_CLI_H
#define BRG_CLI_H

#include "base/exit.h"
#include "base/option.h"
#include "base/why.h"

#define BRG_CLI_FLAGS_MAX 32u
#define BRG_CLI_VALUES_MAX 64u       /* flags given on one command line */
#define BRG_CLI_ARGUMENTS_MAX 65536u /* a shell may expand a pattern to very many files */

enum brg_cli_trait {
    BRG_CLI_ENV = 1,  /* BRIGADE_<NAME> stands in where the flag is missing */
    BRG_CLI_MANY = 2, /* may be given more than once */
};

struct brg_cli_flag {
    const char *name;     /* "log-format" for --log-format */
    const char *value;    /* what the help shows for its value, "FILE"; NULL: a switch */
    const char *fallback; /* the value where nothing else is given; NULL: none */
    uint32_t traits;      /* enum brg_cli_trait, or-ed */
    const char *text;     /* for the help: one sentence or two, without line ends */
};

struct brg_cli_verb {
    const char *name;      /* "submit", "token create" */
    const char *arguments; /* "RUN.yaml", as in the synopsis; "" for none */
    const char *summary;   /* half a sentence without a full stop */
    const char *about;     /* paragraphs for the help, broken at 80 columns, ending in \n */
    const char *examples;  /* lines for the help, each ending in \n */
    uint32_t arguments_min, arguments_max;
    uint32_t takes_key; /* 1: an argument may be a public key, which may begin with a dash */
    uint32_t flag_count;
    const struct brg_cli_flag *flags; /* [flag_count] */
};

/* A command line that was understood. Strings are argv's, the environment's or the table's. */
struct brg_cli_args {
    const struct brg_cli_verb *verb;
    uint32_t value_count;
    struct {
        uint32_t flag; /* index in verb->flags */
        const char *value;
    } values[BRG_CLI_VALUES_MAX];
    uint32_t argument_count;
    char **arguments; /* [argument_count], gathered in argv */
};

#define BRG_CLI_GO (-1) /* not an exit code: carry on */

/* brg_cli_parse - reads the command line by the verb's table. --flag VALUE, --flag=VALUE, -h and
 * --help are understood, and -- ends the flags.
 *
 * shape:   argv [argc]; argv[0] is not looked at. argv is put into another order
 * returns: BRG_CLI_GO, or the exit code to leave with: 0 after --help, 64 after one sentence */
BRG_CHECK int brg_cli_parse(const struct brg_cli_verb *verb, int argc, char **argv,
                            struct brg_cli_args *out);

/* brg_cli_value - the value of a flag: command line, else environment (where the table says so),
 * else the table's fallback; NULL where there is none. For a switch "" means given.
 * asserts: the table has the flag */
const char *brg_cli_value(const struct brg_cli_args *args, const char *name);

/* brg_cli_value_at - the index-th value of a flag that may be given many times; NULL beyond. */
const char *brg_cli_value_at(const struct brg_cli_args *args, const char *name, uint32_t index);

/* brg_cli_given - 1 where the flag stands on the command line. */
int brg_cli_given(const struct brg_cli_args *args, const char *name);

/* Values with a form. Each returns BRG_CLI_GO, or 64 after a sentence that names the flag, or the
 * variable it came from, and says what it should look like. *out is untouched where the flag has
 * no value at all. */
BRG_CHECK int brg_cli_duration(const struct brg_cli_args *args, const char *name, uint64_t *out_ns);
BRG_CHECK int brg_cli_size(const struct brg_cli_args *args, const char *name, uint64_t *out_bytes);
BRG_CHECK int brg_cli_share(const struct brg_cli_args *args, const char *name, double *out);
BRG_CHECK int brg_cli_number(const struct brg_cli_args *args, const char *name, uint64_t low,
                             uint64_t high, uint64_t *out);

/* brg_cli_log - sets the log up from the flags log-level and log-format; see BRG_CLI_LOG_FLAGS.
 * returns: BRG_CLI_GO or 64 */
BRG_CHECK int brg_cli_log(const struct brg_cli_args *args);

#define BRG_CLI_LOG_FLAGS                                                                          \
    {.name = "log-level",                                                                          \
     .value = "LEVEL",                                                                             \
     .fallback = "info",                                                                           \
     .traits = BRG_CLI_ENV,                                                                        \
     .text = "error, warn, info or debug."},                                                       \
    {                                                                                              \
        .name = "log-format", .value = "FORMAT", .fallback = "text", .traits = BRG_CLI_ENV,        \
        .text = "text or json: how each line of the log looks on standard error."                  \
    }

/* brg_cli_wrong - "brigade VERB: sentence." and where the help is, to standard error; returns 64.
 * Both functions add the full stop where there is none, and make control characters harmless. */
BRG_PRINTF(2, 3) int brg_cli_wrong(const struct brg_cli_verb *verb, const char *format, ...);

/* brg_cli_fail - "brigade VERB: sentence." to standard error; returns `exit_code`. */
BRG_PRINTF(3, 4)
int brg_cli_fail(const struct brg_cli_verb *verb, int exit_code, const char *format, ...);

/* brg_cli_exit_of - the exit code that goes with an error of base.h. */
int brg_cli_exit_of(int err);

/* brg_cli_help - the page of a verb. */
void brg_cli_help(const struct brg_cli_verb *verb, FILE *out);

/* A word that is followed by more: a verb, or the second word of one. */
struct brg_cli_word {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

/* brg_cli_words - runs the word that argv[1] names, with argv from there on. `parent` is "token"
 * or the like; without a word, or with --help, the list is printed.
 * returns: the exit code */
int brg_cli_words(const char *parent, const char *about, const struct brg_cli_word *words,
                  uint32_t count, int argc, char **argv);

/* brg_cli_closest - the one of `names` that `typed` was probably meant to be; NULL if none is near.
 * shape: names [count], no NULL in it */
const char *brg_cli_closest(const char *typed, const char *const *names, uint32_t count);

/* brg_cli_put - writes text from outside: control characters become '?', so that nobody's name
 * can move the cursor. */
void brg_cli_put(FILE *out, const char *text);

#define BRG_CLI_PATH_BYTES 3840u /* of a folder: names of files fit behind it in 4096 */

/* brg_cli_state_dir - the coordinator's state folder: --state, BRIGADE_STATE,
 * $XDG_STATE_HOME/brigade-coordinator, ~/.local/state/brigade-coordinator.
 *
 * shape:   out [BRG_CLI_PATH_BYTES], absolute unless --state was relative
 * returns: BRG_CLI_GO, or 78 after a sentence where no home is known */
BRG_CHECK int brg_cli_state_dir(const struct brg_cli_args *args, char *out);

#define BRG_CLI_STATE_FLAG                                                                         \
    {                                                                                              \
        .name = "state", .value = "DIR", .traits = BRG_CLI_ENV,                                    \
        .text = "State folder of the coordinator. Default: $XDG_STATE_HOME/brigade-coordinator, "  \
                "else ~/.local/state/brigade-coordinator."                                         \
    }

/* The verbs, each in a file verb_*.c; brg_cli_main lists them. */
int brg_cli_check(int argc, char **argv);
int brg_cli_coordinator(int argc, char **argv);
int brg_cli_curve(int argc, char **argv);
int brg_cli_data(int argc, char **argv);
int brg_cli_eval(int argc, char **argv);
int brg_cli_events(int argc, char **argv);
int brg_cli_export(int argc, char **argv);
int brg_cli_export_metrics(int argc, char **argv);
int brg_cli_generate(int argc, char **argv);
int brg_cli_keygen(int argc, char **argv);
int brg_cli_pause(int argc, char **argv);
int brg_cli_resume(int argc, char **argv);
int brg_cli_run(int argc, char **argv);
int brg_cli_runs(int argc, char **argv);
int brg_cli_sim(int argc, char **argv);
int brg_cli_status(int argc, char **argv);
int brg_cli_stop(int argc, char **argv);
int brg_cli_submit(int argc, char **argv);
int brg_cli_token(int argc, char **argv);
int brg_cli_tokenizer(int argc, char **argv);
int brg_cli_validate(int argc, char **argv);
int brg_cli_version(int argc, char **argv);
int brg_cli_worker(int argc, char **argv);
int brg_cli_workers(int argc, char **argv);

#endif
