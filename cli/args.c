#include "cli/cli.h"

#include "base/log.h"
#include "base/units.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define SENTENCE_BYTES 8192u
#define KEY_CHARACTERS 40u /* of Z85, see proto/keys.h */

/* "brigade VERB: sentence." in one write, so that two processes on one terminal do not mix. */
static void say(const struct brg_cli_verb *verb, const char *format, va_list list,
                const char *tail) {
    char text[SENTENCE_BYTES];
    int size = vsnprintf(text, sizeof text, format, list);
    size_t end = size < 0 ? 0 : (size_t)size < sizeof text ? (size_t)size : sizeof text - 1;
    for (size_t i = 0; i < end; i++) text[i] = (unsigned char)text[i] < ' ' ? '?' : text[i];
    const char *stop = end > 0 && strchr(".?!", text[end - 1]) != NULL ? "" : ".";
    fprintf(stderr, "brigade %s: %s%s%s\n", verb->name, text, stop, tail);
}

int brg_cli_wrong(const struct brg_cli_verb *verb, const char *format, ...) {
    char tail[96];
    va_list list;
    (void)snprintf(tail, sizeof tail, " See 'brigade %s --help'.", verb->name);
    va_start(list, format);
    say(verb, format, list, tail);
    va_end(list);
    return BRG_EXIT_USAGE;
}

int brg_cli_fail(const struct brg_cli_verb *verb, int exit_code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    say(verb, format, list, "");
    va_end(list);
    return exit_code;
}

int brg_cli_exit_of(int err) {
    switch (err) {
    case BRG_OK: return BRG_EXIT_OK;
    case BRG_EIO:
    case BRG_ENOSPC: return BRG_EXIT_IO;
    case BRG_ECORRUPT: return BRG_EXIT_DATA;
    case BRG_EINVAL:
    case BRG_EPERM:
    case BRG_ENOENT:
    case BRG_EEXIST: return BRG_EXIT_CONFIG;
    case BRG_ETIMEDOUT: return BRG_EXIT_TEMPORARY;
    default: return BRG_EXIT_FAILED;
    }
}

/* The index of flag `name` [size] in the table, or flag_count. */
static uint32_t find(const struct brg_cli_verb *verb, const char *name, size_t size) {
    uint32_t i = 0;
    while (i < verb->flag_count &&
           (strlen(verb->flags[i].name) != size || memcmp(verb->flags[i].name, name, size) != 0)) {
        i++;
    }
    return i;
}

static uint32_t must_find(const struct brg_cli_args *args, const char *name) {
    uint32_t flag = find(args->verb, name, strlen(name));
    BRG_ASSERT(flag < args->verb->flag_count);
    return flag;
}

static int unknown_flag(const struct brg_cli_verb *verb, const char *typed, size_t size) {
    const char *names[BRG_CLI_FLAGS_MAX + 1];
    char copy[64];
    uint32_t count = 0;
    if (size >= sizeof copy) size = sizeof copy - 1;
    memcpy(copy, typed, size);
    copy[size] = 0;
    for (; count < verb->flag_count; count++) names[count] = verb->flags[count].name;
    names[count++] = "help";
    const char *near = brg_cli_closest(copy, names, count);
    for (char *c = copy; *c != 0; c++) *c = *c < ' ' ? '?' : *c;
    if (near == NULL) return brg_cli_wrong(verb, "there is no flag --%s.", copy);
    return brg_cli_wrong(verb, "there is no flag --%s; did you mean --%s?", copy, near);
}

/* Takes the flag at argv[at]; *at then is the last word that belongs to it. */
static int take_flag(struct brg_cli_args *out, int argc, char **argv, int *at) {
    const struct brg_cli_verb *verb = out->verb;
    const char *name = argv[*at] + 2, *equals = strchr(name, '='), *value = "";
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    uint32_t flag = find(verb, name, size);

    if (flag == verb->flag_count) return unknown_flag(verb, name, size);
    const struct brg_cli_flag *f = &verb->flags[flag];
    if (f->value == NULL && equals != NULL) {
        return brg_cli_wrong(verb, "--%s takes no value.", f->name);
    }
    if (f->value != NULL && equals != NULL) value = equals + 1;
    if (f->value != NULL && equals == NULL) {
        if (*at + 1 >= argc) return brg_cli_wrong(verb, "--%s needs a %s.", f->name, f->value);
        value = argv[++*at];
    }
    if (f->value != NULL && *value == 0) {
        return brg_cli_wrong(verb, "--%s has an empty %s.", f->name, f->value);
    }
    if ((f->traits & BRG_CLI_MANY) == 0 && brg_cli_given(out, f->name)) {
        return brg_cli_wrong(verb, "--%s is given twice.", f->name);
    }
    if (out->value_count == BRG_CLI_VALUES_MAX) {
        return brg_cli_wrong(verb, "more than %u flags.", BRG_CLI_VALUES_MAX);
    }
    out->values[out->value_count].flag = flag;
    out->values[out->value_count].value = value;
    out->value_count++;
    return BRG_CLI_GO;
}

static int check_arguments(const struct brg_cli_args *args, const char *first_extra) {
    const struct brg_cli_verb *verb = args->verb;
    if (args->argument_count < verb->arguments_min) {
        return brg_cli_wrong(verb, "%s is missing.",
                             args->argument_count == 0 ? verb->arguments : "an argument");
    }
    if (first_extra == NULL) return BRG_CLI_GO;
    if (verb->arguments_max == 0) {
        return brg_cli_wrong(verb, "takes no argument such as '%.80s'.", first_extra);
    }
    return brg_cli_wrong(verb, "'%.80s' is one argument too many.", first_extra);
}

/* 1 where the word is an argument although it begins with a dash: a public key may. A flag of the
 * table counts as such, even if it looks like a key together with its value. */
static int is_key(const struct brg_cli_verb *verb, const char *word) {
    if (verb->takes_key == 0 || strlen(word) != KEY_CHARACTERS) return 0;
    return word[1] != '-' || find(verb, word + 2, strcspn(word + 2, "=")) == verb->flag_count;
}

int brg_cli_parse(const struct brg_cli_verb *verb, int argc, char **argv,
                  struct brg_cli_args *out) {
    int only_arguments = 0, rc;
    const char *first_extra = NULL;

    BRG_ASSERT(verb->flag_count <= BRG_CLI_FLAGS_MAX);
    BRG_ASSERT(argc >= 1);
    memset(out, 0, sizeof *out);
    out->verb = verb;
    out->arguments = argv + 1;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        int is_argument = only_arguments || word[0] != '-' || word[1] == 0 || is_key(verb, word);
        if (!is_argument && strcmp(word, "--") == 0) {
            only_arguments = 1;
        } else if (!is_argument && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            brg_cli_help(verb, stdout);
            return BRG_EXIT_OK;
        } else if (!is_argument && word[1] == '-') {
            rc = take_flag(out, argc, argv, &i);
            if (rc != BRG_CLI_GO) return rc;
        } else if (!is_argument) {
            return brg_cli_wrong(verb, "there is no flag '%.40s'; flags have two dashes.", word);
        } else if (out->argument_count < verb->arguments_max) {
            out->arguments[out->argument_count++] = word; /* never behind what is read */
        } else if (first_extra == NULL) {
            first_extra = word;
        }
    }
    return check_arguments(out, first_extra);
}

int brg_cli_given(const struct brg_cli_args *args, const char *name) {
    uint32_t flag = must_find(args, name);
    for (uint32_t i = 0; i < args->value_count; i++) {
        if (args->values[i].flag == flag) return 1;
    }
    return 0;
}

/* As brg_cli_value; *source says where it came from. */
static const char *value_of(const struct brg_cli_args *args, const char *name,
                            enum brg_option_source *source) {
    const struct brg_cli_flag *f = &args->verb->flags[must_find(args, name)];
    const char *flag = brg_cli_value_at(args, name, 0);
    struct brg_option option = {.name = name, .flag = flag, .fallback = f->fallback};
    if ((f->traits & BRG_CLI_ENV) != 0) return brg_option_value(&option, source);
    *source = flag != NULL ? BRG_OPTION_FLAG : BRG_OPTION_DEFAULT;
    return flag != NULL ? flag : f->fallback;
}

const char *brg_cli_value(const struct brg_cli_args *args, const char *name) {
    enum brg_option_source source;
    return value_of(args, name, &source);
}

const char *brg_cli_value_at(const struct brg_cli_args *args, const char *name, uint32_t index) {
    uint32_t flag = must_find(args, name), seen = 0;
    for (uint32_t i = 0; i < args->value_count; i++) {
        if (args->values[i].flag == flag && seen++ == index) return args->values[i].value;
    }
    return NULL;
}

/* "--lease" or "BRIGADE_LEASE (environment)": what to change. */
static int bad_value(const struct brg_cli_args *args, const char *name, const char *hint) {
    enum brg_option_source source;
    char variable[BRG_OPTION_ENV_BYTES];
    const char *value = value_of(args, name, &source);
    if (source == BRG_OPTION_ENVIRONMENT) {
        return brg_cli_wrong(args->verb, "%s is '%.80s' in the environment; it must be %s.",
                             brg_option_env_name(name, variable), value, hint);
    }
    return brg_cli_wrong(args->verb, "--%s is '%.80s'; it must be %s.", name, value, hint);
}

int brg_cli_duration(const struct brg_cli_args *args, const char *name, uint64_t *out_ns) {
    const char *value = brg_cli_value(args, name);
    if (value == NULL || brg_duration_parse(value, out_ns) == BRG_OK) return BRG_CLI_GO;
    return bad_value(args, name, BRG_UNITS_DURATION_HINT);
}

int brg_cli_size(const struct brg_cli_args *args, const char *name, uint64_t *out_bytes) {
    const char *value = brg_cli_value(args, name);
    if (value == NULL || brg_size_parse(value, out_bytes) == BRG_OK) return BRG_CLI_GO;
    return bad_value(args, name, BRG_UNITS_SIZE_HINT);
}

int brg_cli_share(const struct brg_cli_args *args, const char *name, double *out) {
    const char *value = brg_cli_value(args, name);
    uint32_t ppm = 0;
    if (value == NULL) return BRG_CLI_GO;
    if (brg_share_parse(value, &ppm) != BRG_OK) return bad_value(args, name, BRG_UNITS_SHARE_HINT);
    *out = (double)ppm / BRG_SHARE_ONE_PPM;
    return BRG_CLI_GO;
}

int brg_cli_number(const struct brg_cli_args *args, const char *name, uint64_t low, uint64_t high,
                   uint64_t *out) {
    const char *value = brg_cli_value(args, name);
    char hint[96], *end = NULL;
    if (value == NULL) return BRG_CLI_GO;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != 0 || errno != 0 || number < low || number > high) {
        (void)snprintf(hint, sizeof hint, "a whole number from %llu to %llu",
                       (unsigned long long)low, (unsigned long long)high);
        return bad_value(args, name, hint);
    }
    *out = number;
    return BRG_CLI_GO;
}

int brg_cli_log(const struct brg_cli_args *args) {
    enum brg_log_level level = BRG_LOG_INFO;
    enum brg_log_format format = BRG_LOG_TEXT;
    if (brg_log_level_parse(brg_cli_value(args, "log-level"), &level) != BRG_OK) {
        return bad_value(args, "log-level", "error, warn, info or debug");
    }
    if (brg_log_format_parse(brg_cli_value(args, "log-format"), &format) != BRG_OK) {
        return bad_value(args, "log-format", "text or json");
    }
    brg_log_configure(level, format);
    return BRG_CLI_GO;
}
