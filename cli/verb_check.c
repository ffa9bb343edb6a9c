/* verb_check.c - the pre-flight: one line a thing, in the order in which joining needs them. */
#include "base/file.h"
#include "base/units.h"
#include "cli/check_net.h"
#include "cli/client.h"
#include "kernels/kernels.h"
#include "proto/token.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX 16u
#define DISK_LOW_BYTES (UINT64_C(1) << 30)
#define MEMORY_LOW_BYTES (UINT64_C(512) << 20)
#define DISK_SLOW_NS (BRG_NS_PER_S / 5)
#define CLOCK_MIN_S 1700000000 /* November 2023: this program is younger */

static const struct brg_cli_flag flags[] = {
    {.name = "join",
     .value = "URL",
     .text = "The join URL that the coordinator prints; the same as the argument."},
    {.name = "state",
     .value = "DIR",
     .traits = BRG_CLI_ENV,
     .text = "State folder whose disk is looked at. Default: the one of a worker, "
             "$XDG_STATE_HOME/brigade, else ~/.local/state/brigade."},
    {.name = "key-file",
     .value = "FILE",
     .text = "Prove this key in the handshake. Default: one made for the occasion."},
    {.name = "token-file", .value = "FILE", .text = "Look at this file with a join token, too."},
    {.name = "json", .text = "As JSON."},
};

static const struct brg_cli_verb verb = {
    .name = "check",
    .arguments = "[URL]",
    .summary = "see whether this machine is ready, and what a join URL leads to",
    .about = "Looks at this machine: instruction set, memory, disk, clock. With a join URL, also\n"
             "at the way to the coordinator, in the order in which joining needs it: the URL\n"
             "itself, the host's name, the TCP port, the keys, the version of the protocol. Each\n"
             "of these takes 5 s at most.\n"
             "Nothing is joined, and no token is used up.\n"
             "\n"
             "One line a thing: ok, warn (works, but ...), FAIL with what to do, or - where an\n"
             "earlier failure leaves nothing to try. Leaves with 1 if anything failed.\n",
    .examples =
        "$ brigade check\n"
        "$ brigade check --join 'brigade://KEY@train.example.org:7420' --token-file token\n",
    .arguments_max = 1,
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

enum outcome { OUTCOME_OK = 0, OUTCOME_WARN = 1, OUTCOME_FAIL = 2, OUTCOME_SKIPPED = 3 };

static const char *const outcome_names[] = {"ok", "warn", "FAIL", "-"};

struct line {
    const char *name;
    enum outcome outcome;
    struct brg_why text;
};

struct report {
    uint32_t count, failed;
    int as_json;
    struct line lines[LINES_MAX];
};

BRG_PRINTF(4, 5)
static void tell(struct report *r, const char *name, enum outcome outcome, const char *format,
                 ...) {
    va_list list;
    BRG_ASSERT(r->count < LINES_MAX);
    struct line *line = &r->lines[r->count++];
    line->name = name;
    line->outcome = outcome;
    va_start(list, format);
    (void)vsnprintf(line->text.text, sizeof line->text.text, format, list);
    va_end(list);
    if (outcome == OUTCOME_FAIL) r->failed++;
    if (r->as_json) return;
    printf("%-5s %-10s ", outcome_names[outcome], name);
    brg_cli_put(stdout, line->text.text);
    putchar('\n');
    (void)fflush(stdout); /* the next one may take seconds */
}

static void check_processor(struct report *r) {
    const char *name = brg_kernels_pick()->name;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int is_slow = strcmp(name, "base") == 0 || strcmp(name, "reference") == 0;
    tell(r, "processor", is_slow ? OUTCOME_WARN : OUTCOME_OK, "%ld core%s, kernels %s%s", cores,
         cores == 1 ? "" : "s", name,
         is_slow ? ": no AVX2 here, so it computes several times slower than others" : "");
}

static void check_memory(struct report *r) {
    char total[BRG_UNITS_TEXT_BYTES], free_text[BRG_UNITS_TEXT_BYTES];
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);
    long free_pages = sysconf(_SC_AVPHYS_PAGES);
    if (page <= 0 || pages <= 0 || free_pages < 0) {
        tell(r, "memory", OUTCOME_WARN, "the system does not say how much there is");
        return;
    }
    uint64_t bytes = (uint64_t)pages * (uint64_t)page;
    tell(r, "memory", bytes < MEMORY_LOW_BYTES ? OUTCOME_WARN : OUTCOME_OK,
         "%s, of which %s are free right now", brg_size_about(bytes, total),
         brg_size_about((uint64_t)free_pages * (uint64_t)page, free_text));
}

/* Turns `path` into the nearest folder above it that is there. */
static void existing_parent(char *path) {
    for (uint32_t i = 0; i < BRG_CLI_PATH_BYTES && access(path, F_OK) != 0; i++) {
        char copy[BRG_CLI_PATH_BYTES];
        (void)snprintf(copy, sizeof copy, "%s", path);
        const char *parent = dirname(copy);
        if (strcmp(parent, path) == 0) return;
        (void)snprintf(path, BRG_CLI_PATH_BYTES, "%s", parent);
    }
}

static void find_folder(const struct brg_cli_args *args, char *out) {
    const char *given = brg_cli_value(args, "state"), *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (given != NULL) {
        (void)snprintf(out, BRG_CLI_PATH_BYTES, "%s", given);
    } else if (xdg != NULL && xdg[0] == '/') {
        (void)snprintf(out, BRG_CLI_PATH_BYTES, "%s/brigade", xdg);
    } else {
        (void)snprintf(out, BRG_CLI_PATH_BYTES, "%s/.local/state/brigade",
                       home != NULL ? home : ".");
    }
}

static void check_disk(struct report *r, const struct brg_cli_args *args) {
    char folder[BRG_CLI_PATH_BYTES], probe[BRG_CLI_PATH_BYTES + 64], size[BRG_UNITS_TEXT_BYTES];
    const uint8_t block[4096] = {0};
    struct statvfs fs;

    find_folder(args, folder);
    existing_parent(folder);
    (void)snprintf(probe, sizeof probe, "%s/.brigade-check-%ld", folder, (long)getpid());
    uint64_t begin_ns = brg_client_now_ns();
    int rc = brg_file_write_atomic(probe, 0600, block, sizeof block);
    uint64_t took_ns = brg_client_now_ns() - begin_ns;
    if (rc != BRG_OK) {
        tell(r, "disk", OUTCOME_FAIL,
             "%s cannot be written to: %s. Name another folder with --state DIR, or make room",
             folder, strerror(errno));
        (void)unlink(probe);
        return;
    }
    (void)unlink(probe);
    if (statvfs(folder, &fs) != 0) {
        tell(r, "disk", OUTCOME_WARN, "%s can be written to; how much room there is is unknown: %s",
             folder, strerror(errno));
        return;
    }
    uint64_t room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    int is_warning = room < DISK_LOW_BYTES || took_ns > DISK_SLOW_NS;
    tell(r, "disk", is_warning ? OUTCOME_WARN : OUTCOME_OK,
         "%s: %s free, a synced file takes %.1f ms%s%s", folder, brg_size_about(room, size),
         (double)took_ns / 1e6, room < DISK_LOW_BYTES ? "; that is little room" : "",
         took_ns > DISK_SLOW_NS ? "; that is slow for a coordinator" : "");
}

static void check_clock(struct report *r) {
    struct timex state = {.modes = 0};
    struct tm tm;
    char text[32] = "";
    time_t now = time(NULL);
    if (gmtime_r(&now, &tm) != NULL) (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (now < CLOCK_MIN_S) {
        tell(r, "clock", OUTCOME_FAIL,
             "it is not %s: set the clock, tokens and logs go by it (timedatectl set-ntp true)",
             text);
        return;
    }
    int is_loose = adjtimex(&state) < 0 || (state.status & STA_UNSYNC) != 0;
    tell(r, "clock", is_loose ? OUTCOME_WARN : OUTCOME_OK, "%s%s", text,
         is_loose ? ", not kept right by NTP: times in logs may not agree with other machines'"
                  : ", kept right by NTP");
}

static void check_token(struct report *r, const char *path) {
    char token[BRG_TOKEN_TEXT_BYTES];
    struct brg_why why;
    int others = 0;
    int rc = brg_token_read(path, token, &others, &why);
    memset(token, 0, sizeof token);
    if (rc != BRG_OK) {
        tell(r, "token", OUTCOME_FAIL, "%s", why.text);
    } else if (others) {
        tell(r, "token", OUTCOME_WARN, "%s holds one, and others can read it: chmod 600 %s", path,
             path);
    } else {
        tell(r, "token", OUTCOME_OK, "%s holds one; whether it is still good shows on joining",
             path);
    }
}

static void skip(struct report *r, uint32_t from) {
    static const char *const names[] = {"name", "tcp", "keys", "version"};
    for (; from < sizeof names / sizeof names[0]; from++)
        tell(r, names[from], OUTCOME_SKIPPED, "not tried");
}

static void check_keys(struct report *r, const struct brg_join *join, const char *key_file) {
    struct brg_keypair own = {.secret = NULL};
    struct brg_why why;
    if (key_file != NULL && brg_keyfile_load(key_file, &own, &why) != BRG_OK) {
        tell(r, "keys", OUTCOME_FAIL, "%s", why.text);
        return;
    }
    uint64_t begin_ns = brg_client_now_ns();
    struct brg_check_said said;
    int rc = brg_check_handshake(join, key_file != NULL ? &own : NULL, &said, &why);
    uint64_t took_ns = brg_client_now_ns() - begin_ns;
    if (rc == BRG_OK) {
        tell(r, "keys", OUTCOME_OK, "it is the coordinator of the URL; proved within %.0f ms",
             (double)took_ns / 1e6);
    } else {
        tell(r, "keys", OUTCOME_FAIL, "%s", why.text);
    }
    if (rc != BRG_OK) {
        tell(r, "version", OUTCOME_SKIPPED, "not tried");
    } else if (said.is_asked) {
        char took[BRG_UNITS_TEXT_BYTES];
        (void)snprintf(took, sizeof took, "%.1f ms", (double)said.took_ns / 1e6);
        tell(r, "version", said.is_other ? OUTCOME_FAIL : OUTCOME_OK, "%s%s",
             said.is_other ? said.text.text : "both speak the same protocol; it answers within ",
             said.is_other ? "" : took);
    }
    brg_keypair_wipe(&own);
}

static void check_way(struct report *r, const char *url, const char *key_file) {
    struct brg_check_address addresses[BRG_CHECK_ADDRESSES_MAX];
    struct brg_join join;
    struct brg_why why;
    uint32_t count = 0, reached = 0;

    if (brg_join_parse(url, &join, &why) != BRG_OK) {
        tell(r, "url", OUTCOME_FAIL, "%s", why.text);
        skip(r, 0);
        return;
    }
    tell(r, "url", OUTCOME_OK, "host %s, port %u", join.host, (unsigned)join.port);
    if (brg_check_name(&join, addresses, &count, &why) != BRG_OK) {
        tell(r, "name", OUTCOME_FAIL, "%s", why.text);
        skip(r, 1);
        return;
    }
    tell(r, "name", OUTCOME_OK, "%s%s", addresses[0].text, count > 1 ? " and others" : "");
    uint64_t begin_ns = brg_client_now_ns();
    if (brg_check_tcp(addresses, count, &reached, &why) != BRG_OK) {
        tell(r, "tcp", OUTCOME_FAIL, "%s", why.text);
        skip(r, 2);
        return;
    }
    tell(r, "tcp", OUTCOME_OK, "%s answers within %.1f ms", addresses[reached].text,
         (double)(brg_client_now_ns() - begin_ns) / 1e6);
    check_keys(r, &join, key_file);
}

static int print_json(const struct report *r) {
    cJSON *root = cJSON_CreateObject();
    (void)cJSON_AddBoolToObject(root, "ready", r->failed == 0);
    cJSON *list = cJSON_AddArrayToObject(root, "checks");
    for (uint32_t i = 0; i < r->count; i++) {
        const struct line *line = &r->lines[i];
        static const char *const words[] = {"ok", "warning", "failed", "skipped"};
        cJSON *item = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(item, "check", line->name);
        (void)cJSON_AddStringToObject(item, "outcome", words[line->outcome]);
        (void)cJSON_AddStringToObject(item, "text", line->text.text);
        (void)cJSON_AddItemToArray(list, item);
    }
    int rc = brg_json_print(root, stdout);
    cJSON_Delete(root);
    return rc;
}

int brg_cli_check(int argc, char **argv) {
    struct brg_cli_args args;
    struct report r;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    memset(&r, 0, sizeof r);
    r.as_json = brg_cli_given(&args, "json");
    check_processor(&r);
    check_memory(&r);
    check_disk(&r, &args);
    check_clock(&r);
    const char *token = brg_cli_value(&args, "token-file");
    const char *url = args.argument_count == 1 ? args.arguments[0] : brg_cli_value(&args, "join");
    if (token != NULL) check_token(&r, token);
    if (url != NULL) check_way(&r, url, brg_cli_value(&args, "key-file"));
    if (r.as_json) {
        if (print_json(&r) != BRG_OK) return BRG_EXIT_FAILED;
    } else if (r.failed == 0) {
        printf("\nready%s\n", url != NULL ? " to join" : "");
    } else {
        printf("\nnot ready: %u thing%s to put right, see FAIL above\n", r.failed,
               r.failed == 1 ? "" : "s");
    }
    return r.failed == 0 ? BRG_EXIT_OK : BRG_EXIT_FAILED;
}
