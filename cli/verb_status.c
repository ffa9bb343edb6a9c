#include "cli/client.h"
#include "cli/view.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* A coordinator may be restarted while somebody watches: so long it may be away. */
#define AWAY_MAX_NS (UINT64_C(600) * BRG_NS_PER_S)
#define EVERY_MIN_NS (BRG_NS_PER_S / 10)
#define FRAME_LINES_MAX 1000u

static const struct brg_cli_flag flags[] = {
    {.name = "watch",
     .text =
         "Follow the run to its end: drawn anew in place on a terminal, else one line a change."},
    {.name = "run",
     .value = "RUN",
     .text = "The run to watch, by number or name. Default: the one under way, or the next one."},
    {.name = "every", .value = "DURATION", .fallback = "1s", .text = "How often --watch looks."},
    {.name = "json", .text = "The whole status as JSON; with --watch one line a look."},
    BRG_CLI_CLIENT_FLAGS,
};

static const struct brg_cli_verb verb = {
    .name = "status",
    .arguments = "",
    .summary = "who is in, which step, which loss; --watch follows",
    .about = "Shows the run under way with its progress, loss and speed; every worker with what\n"
             "it is at and whether it is late; all runs; and what happened lately.\n"
             "\n"
             "A worker is late if it is silent, still at a step that is over, at work whose\n"
             "result came from somebody else, or at it for more than twice a step's time.\n"
             "\n"
             "--watch stops by itself at the end of the run: with 0, or with 1 if the run\n"
             "failed. It survives a restart of the coordinator of up to 10 minutes.\n",
    .examples = "$ brigade status\n"
                "$ brigade status --watch --run kjv-tiny\n"
                "$ brigade status --json | jq .open.loss\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

struct watch {
    struct brg_client *client;
    const char *wanted; /* run to watch, or NULL */
    char run[32];       /* its number, once known */
    uint64_t every_ns;
    int as_json, in_place;
    uint32_t drawn_lines; /* of the last frame, to go back over */
    char last[128];       /* what the last line was about, so that only changes are printed */
};

/* Sends one frame over the one before. Lines are cut at the terminal's width, since a wrapped line
 * would break the count; lines beyond its height are left out. */
static void draw(struct watch *w, const char *frame) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    uint32_t columns = size.ws_col > 1 ? size.ws_col - 1u : 79;
    uint32_t rows = size.ws_row > 2 ? size.ws_row - 1u : 23, lines = 0;

    if (w->drawn_lines > 0) printf("\033[%uA", (unsigned)w->drawn_lines);
    while (*frame != 0 && lines < rows && lines < FRAME_LINES_MAX) {
        uint32_t column = 0;
        fputs("\r\033[K", stdout);
        for (; *frame != 0 && *frame != '\n'; frame++) {
            if (((unsigned char)*frame & 0xc0) != 0x80) column++;
            if (column <= columns) putchar(*frame);
        }
        putchar('\n');
        lines++;
        if (*frame == '\n') frame++;
    }
    fputs("\033[J", stdout);
    w->drawn_lines = lines;
    (void)fflush(stdout);
}

/* A line that is about something else than the last one. */
static void print_line(struct watch *w, const char *about, const char *line) {
    struct tm tm;
    time_t now = time(NULL);
    char text[32];
    if (strncmp(about, w->last, sizeof w->last - 1) == 0) return;
    (void)snprintf(w->last, sizeof w->last, "%s", about);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    printf("%s %s\n", text, line);
    (void)fflush(stdout);
}

/* What a line is about: the run's state and step; the open run's phase where nothing moves. */
static void about_run(const cJSON *status, const cJSON *run, char *out, size_t size) {
    const cJSON *open = brg_json_object(status, "open");
    const char *phase = brg_json_text(open, "phase", "");
    (void)snprintf(out, size, "%s %" PRIu64 " %.40s", brg_json_text(run, "state", ""),
                   brg_json_u64(run, "step"), strncmp(phase, "waiting", 7) == 0 ? phase : "");
}

static int render(struct watch *w, const cJSON *status, const cJSON *run) {
    char *text = NULL, about[sizeof w->last];
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (memory == NULL) return brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
    if (w->in_place) brg_view_status(status, memory);
    if (!w->in_place) brg_view_line(status, run, memory);
    if (fclose(memory) == 0 && w->in_place) draw(w, text);
    if (text != NULL && !w->in_place) {
        about_run(status, run, about, sizeof about);
        print_line(w, about, text);
    }
    free(text);
    return BRG_CLI_GO;
}

/* Shows one status. *is_over: 1 once the run watched has ended, or there is none to watch. */
static int show(struct watch *w, const cJSON *status, int *is_over, int *exit_code) {
    const cJSON *run = brg_view_find_run(status, w->run[0] != 0 ? w->run : w->wanted);

    if (run == NULL && w->wanted != NULL) {
        return brg_cli_fail(&verb, BRG_EXIT_FAILED,
                            "there is no run '%.64s'; 'brigade runs' lists them", w->wanted);
    }
    if (run != NULL) (void)snprintf(w->run, sizeof w->run, "%" PRIu64, brg_json_u64(run, "run"));
    *is_over = run == NULL || brg_view_run_ended(run);
    *exit_code = run != NULL && strcmp(brg_json_text(run, "state", ""), "failed") == 0
                     ? BRG_EXIT_FAILED
                     : BRG_EXIT_OK;
    if (w->as_json) return brg_json_print(status, stdout) == BRG_OK ? BRG_CLI_GO : BRG_EXIT_FAILED;
    if (*is_over && !w->in_place) return BRG_CLI_GO; /* say_end has the line */
    return render(w, status, run);
}

static void say_end(const cJSON *status, const char *id) {
    const cJSON *run = brg_view_find_run(status, id);
    if (run == NULL) {
        printf("no run is queued or under way: nothing to watch\n");
        return;
    }
    printf("run %s '%s' %s at step %" PRIu64 " of %" PRIu64, id, brg_json_text(run, "name", ""),
           brg_json_text(run, "state", ""), brg_json_u64(run, "step"), brg_json_u64(run, "steps"));
    double loss = brg_json_number(run, "loss"), held = brg_json_number(run, "held_out_loss");
    if (loss == loss) printf(", loss %.4f", loss);
    if (held == held) printf(", held out %.4f", held);
    const char *reason = brg_json_text(run, "reason", "");
    if (reason[0] != 0) {
        fputs(": ", stdout);
        brg_cli_put(stdout, reason);
    }
    putchar('\n');
}

static void rest(uint64_t ns) {
    struct timespec pause = {.tv_sec = (time_t)(ns / BRG_NS_PER_S),
                             .tv_nsec = (long)(ns % BRG_NS_PER_S)};
    (void)nanosleep(&pause, NULL);
}

static int watch(struct watch *w) {
    uint64_t seen_ns = brg_client_now_ns();
    int is_over = 0, exit_code = BRG_EXIT_OK, rc;
    cJSON *status = NULL;

    while (!is_over) {
        struct brg_why why;
        rc = brg_client_call(w->client, "status", NULL, &status, &why);
        if (rc == BRG_EXIT_TEMPORARY && brg_client_now_ns() - seen_ns < AWAY_MAX_NS) {
            char line[sizeof why.text + 32];
            (void)snprintf(line, sizeof line, "waiting: %s", why.text);
            if (!w->as_json && w->in_place) draw(w, line);
            if (!w->as_json && !w->in_place) print_line(w, line, line);
            rest(w->every_ns);
            continue;
        }
        if (rc != BRG_CLI_GO) return brg_cli_fail(&verb, rc, "%s", why.text);
        seen_ns = brg_client_now_ns();
        rc = show(w, status, &is_over, &exit_code);
        if (is_over && rc == BRG_CLI_GO && !w->as_json) say_end(status, w->run);
        cJSON_Delete(status);
        if (rc != BRG_CLI_GO) return rc;
        if (fflush(stdout) != 0) break; /* whoever read this has left */
        if (!is_over) rest(w->every_ns);
    }
    return exit_code;
}

int brg_cli_status(int argc, char **argv) {
    struct brg_cli_args args;
    struct watch w = {.client = NULL};
    cJSON *reply = NULL;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(&args, "every", &w.every_ns);
    if (rc != BRG_CLI_GO) return rc;
    w.as_json = brg_cli_given(&args, "json");
    if (brg_cli_given(&args, "watch")) {
        const char *term = getenv("TERM");
        if (w.every_ns < EVERY_MIN_NS) {
            return brg_cli_wrong(&verb, "--every must be 100ms at least");
        }
        w.wanted = brg_cli_value(&args, "run");
        w.in_place = isatty(STDOUT_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
        rc = brg_client_open(&args, &w.client);
        if (rc == BRG_CLI_GO) rc = watch(&w);
        brg_client_close(&w.client);
        return rc;
    }
    if (brg_cli_given(&args, "run")) {
        return brg_cli_wrong(&verb, "--run goes with --watch; 'brigade runs' lists all");
    }
    rc = brg_client_ask(&args, "status", NULL, &reply);
    if (rc != BRG_CLI_GO) return rc;
    rc = BRG_EXIT_OK;
    if (!w.as_json) {
        brg_view_status(reply, stdout);
    } else if (brg_json_print(reply, stdout) != BRG_OK) {
        rc = BRG_EXIT_FAILED;
    }
    cJSON_Delete(reply);
    return rc;
}
