#include "cli/view.h"

#include "cli/cli.h"
#include "cli/table.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *brg_view_seconds(double s, char *out) {
    if (isnan(s) || s < 0 || s > 1e9) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "-");
    } else if (s > 0 && s < 0.1) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%.1f ms", s * 1e3);
    } else if (s < 10) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%.2f s", s);
    } else if (s < 60) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%.0f s", s);
    } else {
        uint64_t whole = (uint64_t)s, minutes = whole / 60, hours = minutes / 60;
        if (minutes < 60) {
            (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%" PRIu64 " min %" PRIu64 " s", minutes,
                           whole % 60);
        } else if (hours < 48) {
            (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%" PRIu64 " h %" PRIu64 " min", hours,
                           minutes % 60);
        } else {
            (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%" PRIu64 " d %" PRIu64 " h", hours / 24,
                           hours % 24);
        }
    }
    return out;
}

const char *brg_view_count(double count, char *out) {
    if (isnan(count)) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "-");
    } else if (count < 1000) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%.0f", count);
    } else if (count < 1e6) {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%.1f k", count / 1e3);
    } else {
        (void)snprintf(out, BRG_VIEW_TEXT_BYTES, "%.2f M", count / 1e6);
    }
    return out;
}

static const char *loss_text(double loss, char *out) {
    (void)snprintf(out, BRG_VIEW_TEXT_BYTES, isnan(loss) ? "-" : "%.4f", loss);
    return out;
}

static const char *rate_text(double rate, char *out) {
    (void)snprintf(out, BRG_VIEW_TEXT_BYTES, isnan(rate) ? "-" : "%.3g", rate);
    return out;
}

int brg_view_is_late(const cJSON *status, const cJSON *worker) {
    const cJSON *open = brg_json_object(status, "open"), *task = brg_json_object(worker, "task");
    if (strcmp(brg_json_text(worker, "state", ""), "suspect") == 0) return 1;
    if (open == NULL || task == NULL) return 0;
    /* open.step is the last one committed: whoever is still at it was not waited for. */
    if (brg_json_u64(task, "step") <= brg_json_u64(open, "step")) return 1;
    uint64_t unit = brg_json_u64(task, "unit");
    int is_newest = brg_json_u64(task, "step") == brg_json_u64(open, "units_step");
    for (const cJSON *u = brg_json_first(open, "units"); u != NULL && is_newest; u = u->next) {
        if (brg_json_u64(u, "unit") != unit) continue;
        if (strcmp(brg_json_text(u, "state", ""), "held") == 0) return 1;
    }
    double step_s = brg_json_number(open, "seconds_per_step");
    return step_s > 0 && brg_json_number(task, "seconds") > 2 * step_s;
}

int brg_view_run_ended(const cJSON *run) {
    const char *state = brg_json_text(run, "state", "");
    return strcmp(state, "finished") == 0 || strcmp(state, "stopped") == 0 ||
           strcmp(state, "failed") == 0;
}

static int is_run(const cJSON *run, const char *wanted) {
    char id[32];
    (void)snprintf(id, sizeof id, "%" PRIu64, brg_json_u64(run, "run"));
    return strcmp(wanted, id) == 0 || strcmp(wanted, brg_json_text(run, "name", "")) == 0;
}

const cJSON *brg_view_find_run(const cJSON *status, const char *wanted) {
    const cJSON *open = brg_json_object(status, "open"), *found = NULL;
    char id[32] = "";
    if (wanted == NULL && open != NULL) {
        (void)snprintf(id, sizeof id, "%" PRIu64, brg_json_u64(open, "run"));
        wanted = id;
    }
    for (const cJSON *r = brg_json_first(status, "runs"); r != NULL; r = r->next) {
        if (wanted == NULL && found == NULL && !brg_view_run_ended(r)) found = r;
        if (wanted != NULL && is_run(r, wanted) &&
            (found == NULL || brg_json_u64(r, "run") > brg_json_u64(found, "run"))) {
            found = r;
        }
    }
    return found;
}

void brg_view_runs(const cJSON *reply, uint32_t indent, FILE *out) {
    static const char *const headings[] = {">RUN",      "NAME",    "STATE",     ">STEP", ">LOSS",
                                           ">HELD-OUT", ">WAITED", "SUBMITTED", "REASON"};
    struct brg_table t;
    char text[BRG_VIEW_TEXT_BYTES];
    brg_table_init(&t, headings, 9);
    for (const cJSON *r = brg_json_first(reply, "runs"); r != NULL; r = r->next) {
        brg_table_cell(&t, "%" PRIu64, brg_json_u64(r, "run"));
        brg_table_cell(&t, "%s", brg_json_text(r, "name", "-"));
        brg_table_cell(&t, "%s", brg_json_text(r, "state", "-"));
        brg_table_cell(&t, "%" PRIu64 "/%" PRIu64, brg_json_u64(r, "step"),
                       brg_json_u64(r, "steps"));
        brg_table_cell(&t, "%s", loss_text(brg_json_number(r, "loss"), text));
        brg_table_cell(&t, "%s", loss_text(brg_json_number(r, "held_out_loss"), text));
        brg_table_cell(&t, "%" PRIu64, brg_json_u64(r, "waited_steps"));
        brg_table_cell(&t, "%s", brg_json_text(r, "submitted", "-"));
        brg_table_cell(&t, "%s", brg_json_text(r, "reason", ""));
    }
    brg_table_print(&t, indent, out);
    brg_table_fini(&t);
}

static void put_bar(double step, double steps, FILE *out) {
    double part = steps > 0 && step >= 0 ? (step < steps ? step / steps : 1) : 0;
    uint32_t full = (uint32_t)(part * BRG_VIEW_BAR_CELLS);
    fputc('[', out);
    for (uint32_t i = 0; i < BRG_VIEW_BAR_CELLS; i++) fputc(i < full ? '#' : '.', out);
    fprintf(out, "] %3.0f %%", 100 * part);
}

/* A line on what auto is at, and the best of what it chose from. */
static void put_tuning(const cJSON *tuning, FILE *out) {
    static const char *const headings[] = {"  CODE", ">A STEP", ">SPREAD", ">WORKERS' TIME",
                                           ">WAITED"};
    char a[BRG_VIEW_TEXT_BYTES], b[BRG_VIEW_TEXT_BYTES];
    if (tuning == NULL) return;
    const char *state = brg_json_text(tuning, "state", "");
    fprintf(out, "auto: %s for least %s", state, brg_json_text(tuning, "minimise", "time"));
    if (strcmp(state, "probing") == 0) {
        fprintf(out, ", %" PRIu64 " of %" PRIu64 " rounds measured", brg_json_u64(tuning, "rounds"),
                brg_json_u64(tuning, "probe_rounds"));
    } else if (!isnan(brg_json_number(tuning, "predicted_step_s"))) {
        fprintf(out, ", %s a round expected, %s measured over %" PRIu64,
                brg_view_seconds(brg_json_number(tuning, "predicted_step_s"), a),
                brg_view_seconds(brg_json_number(tuning, "measured_round_s"), b),
                brg_json_u64(tuning, "rounds"));
    }
    fputc('\n', out);
    if (brg_json_first(tuning, "table") == NULL) return;
    fprintf(out, "  the best of %" PRIu64 " codes replayed on what was measured:\n",
            brg_json_u64(tuning, "candidates"));
    struct brg_table t;
    brg_table_init(&t, headings, 5);
    for (const cJSON *r = brg_json_first(tuning, "table"); r != NULL; r = r->next) {
        const char *code = brg_json_text(r, "code", "-");
        const int is_choice = strcmp(code, brg_json_text(tuning, "choice", "")) == 0;
        brg_table_cell(&t, "%s %s", is_choice ? "*" : " ", code);
        brg_table_cell(&t, "%s", brg_view_seconds(brg_json_number(r, "step_s"), a));
        brg_table_cell(&t, "%s", brg_view_seconds(brg_json_number(r, "spread_s"), a));
        brg_table_cell(&t, "%s", brg_view_seconds(brg_json_number(r, "worker_s"), a));
        brg_table_cell(&t, "%.0f %%", 100 * brg_json_number(r, "waited"));
    }
    brg_table_print(&t, 2, out);
    brg_table_fini(&t);
}

/* One line a model where there are several. */
static void put_models(const cJSON *open, FILE *out) {
    static const char *const headings[] = {">MODEL", ">STEP", ">LOSS",    ">HELD-OUT",
                                           ">RATE",  "SEED",  "DATA SEED"};
    const cJSON *first = brg_json_first(open, "models");
    char text[BRG_VIEW_TEXT_BYTES];
    struct brg_table t;
    if (first == NULL || first->next == NULL) return;
    fputc('\n', out);
    brg_table_init(&t, headings, 7);
    for (const cJSON *m = first; m != NULL; m = m->next) {
        brg_table_cell(&t, "%" PRIu64, brg_json_u64(m, "model"));
        brg_table_cell(&t, "%" PRIu64 "/%" PRIu64, brg_json_u64(m, "step"),
                       brg_json_u64(m, "steps"));
        brg_table_cell(&t, "%s", loss_text(brg_json_number(m, "loss"), text));
        brg_table_cell(&t, "%s", loss_text(brg_json_number(m, "held_out_loss"), text));
        brg_table_cell(&t, "%s", rate_text(brg_json_number(m, "lr"), text));
        brg_table_cell(&t, "%s", brg_json_text(m, "seed", "-"));
        brg_table_cell(&t, "%s", brg_json_text(m, "data_seed", "-"));
    }
    brg_table_print(&t, 2, out);
    brg_table_fini(&t);
}

static void put_open(const cJSON *status, FILE *out) {
    const cJSON *open = brg_json_object(status, "open");
    char a[BRG_VIEW_TEXT_BYTES], b[BRG_VIEW_TEXT_BYTES], c[BRG_VIEW_TEXT_BYTES];
    if (open == NULL) {
        fputs("no run is under way\n", out);
        return;
    }
    fprintf(out, "run %" PRIu64 " '", brg_json_u64(open, "run"));
    brg_cli_put(out, brg_json_text(open, "name", ""));
    fprintf(out, "'  %s\n", brg_json_text(open, "phase", ""));
    put_bar(brg_json_number(open, "step"), brg_json_number(open, "steps"), out);
    fprintf(out, "  step %" PRIu64 " of %" PRIu64 "  %s left\n", brg_json_u64(open, "step"),
            brg_json_u64(open, "steps"), brg_view_seconds(brg_json_number(open, "eta_s"), a));
    fprintf(out, "loss %s  held out %s  learning rate %s  ",
            loss_text(brg_json_number(open, "loss"), a),
            loss_text(brg_json_number(open, "held_out_loss"), b),
            rate_text(brg_json_number(open, "lr"), c));
    fprintf(out, "gradient %s\n", rate_text(brg_json_number(open, "grad_norm"), a));
    fprintf(out, "%s a step  %s %s/s",
            brg_view_seconds(brg_json_number(open, "seconds_per_step"), a),
            brg_view_count(brg_json_number(open, "targets_per_second"), b),
            brg_json_text(open, "targets", "targets"));
    if (brg_json_object(open, "line") != NULL) { /* which waits for everybody, always */
        fputc('\n', out);
        brg_view_stages(open, out);
        return;
    }
    fprintf(out, "  %" PRIu64 " steps waited for stragglers\n", brg_json_u64(open, "waited_steps"));
    fprintf(out, "code %s%s", brg_json_text(open, "code", "-"),
            brg_json_is_true(open, "code_auto") ? " (auto)" : "");
    if (brg_json_u64(open, "code_since") > 0) {
        fprintf(out, " since step %" PRIu64, brg_json_u64(open, "code_since") + 1);
    }
    fputc('\n', out);
    put_tuning(brg_json_object(open, "tuning"), out);
    put_models(open, out);
}

struct crew {
    uint32_t in, late, away; /* connected; of these late; not connected */
};

static int is_in(const cJSON *worker) {
    const char *state = brg_json_text(worker, "state", "");
    return strcmp(state, "active") == 0 || strcmp(state, "suspect") == 0 ||
           strcmp(state, "draining") == 0;
}

static struct crew count_crew(const cJSON *status) {
    struct crew crew = {0, 0, 0};
    for (const cJSON *w = brg_json_first(status, "workers"); w != NULL; w = w->next) {
        if (!is_in(w)) {
            crew.away++;
            continue;
        }
        crew.in++;
        crew.late += brg_view_is_late(status, w) ? 1 : 0;
    }
    return crew;
}

static void add_worker(const cJSON *status, const cJSON *w, struct brg_table *t) {
    const cJSON *task = brg_json_object(w, "task"), *open = brg_json_object(status, "open");
    char text[BRG_VIEW_TEXT_BYTES];
    int is_late = is_in(w) && brg_view_is_late(status, w);
    brg_table_cell(t, "%s", brg_json_text(w, "worker", "-"));
    brg_table_cell(t, "%s%s", brg_json_text(w, "state", "-"), is_late ? ", late" : "");
    brg_table_number(t, brg_json_number(w, "position"), 0);
    if (task != NULL) {
        brg_table_cell(t, "step %" PRIu64 " unit %" PRIu64, brg_json_u64(task, "step"),
                       brg_json_u64(task, "unit"));
        brg_table_cell(t, "%s", brg_view_seconds(brg_json_number(task, "seconds"), text));
    } else {
        const uint64_t stage = brg_view_stage_of(open, brg_json_text(w, "worker", ""));
        const int is_spare = brg_json_object(open, "line") != NULL && is_in(w);
        if (stage != UINT64_MAX)
            brg_table_cell(t, "stage %" PRIu64, stage);
        else
            brg_table_cell(t, is_spare ? "spare" : "-");
        brg_table_cell(t, "-");
    }
    brg_table_cell(t, "%" PRIu64, brg_json_u64(w, "tasks_done"));
    brg_table_cell(t, "%" PRIu64, brg_json_u64(w, "shares_used"));
    brg_table_cell(t, "%s", brg_view_seconds(brg_json_number(w, "chunk_s"), text));
    brg_table_cell(t, "%s", brg_view_seconds(brg_json_number(w, "last_seen_s"), text));
}

static void put_workers(const cJSON *status, FILE *out) {
    static const char *const headings[] = {"WORKER", "STATE", ">POSITION", "AT",       ">FOR",
                                           ">DONE",  ">USED", ">A CHUNK",  ">SEEN AGO"};
    struct crew crew = count_crew(status);
    struct brg_table t;
    fprintf(out, "\nworkers: %u in, %u of them late, %u away\n", crew.in, crew.late, crew.away);
    if (crew.in + crew.away == 0) return;
    brg_table_init(&t, headings, 9);
    for (const cJSON *w = brg_json_first(status, "workers"); w != NULL; w = w->next) {
        add_worker(status, w, &t);
    }
    brg_table_print(&t, 2, out);
    brg_table_fini(&t);
}

void brg_view_event(const cJSON *event, FILE *out) {
    const char *worker = brg_json_text(event, "worker", "");
    brg_cli_put(out, worker);
    if (worker[0] != 0) fputs(": ", out);
    brg_cli_put(out, brg_json_text(event, "text", ""));
}

static void put_events(const cJSON *status, FILE *out) {
    const cJSON *e = brg_json_first(status, "events");
    if (e == NULL) return;
    fputs("\nlately\n", out);
    for (; e != NULL; e = e->next) {
        const char *time = brg_json_text(e, "time", "");
        /* The time of day of an RFC 3339 time; 'brigade events' has it in full. */
        fprintf(out, "  %.8s  ", strlen(time) >= 19 ? time + 11 : "");
        brg_view_event(e, out);
        fputc('\n', out);
    }
}

void brg_view_status(const cJSON *status, FILE *out) {
    char text[BRG_VIEW_TEXT_BYTES];
    const char *version = brg_json_text(status, "version", NULL);
    fputs("coordinator", out);
    if (version != NULL) fputc(' ', out);
    if (version != NULL) brg_cli_put(out, version);
    fprintf(out, ", up %s, epoch %" PRIu64 "\njoin: ",
            brg_view_seconds(brg_json_number(status, "uptime_s"), text),
            brg_json_u64(status, "epoch"));
    brg_cli_put(out, brg_json_text(status, "join", "-"));
    fputs("\n\n", out);
    put_open(status, out);
    put_workers(status, out);
    if (brg_json_first(status, "runs") != NULL) {
        fputs("\nruns\n", out);
        brg_view_runs(status, 2, out);
    }
    put_events(status, out);
}

void brg_view_line(const cJSON *status, const cJSON *run, FILE *out) {
    const cJSON *open = brg_json_object(status, "open");
    char a[BRG_VIEW_TEXT_BYTES], b[BRG_VIEW_TEXT_BYTES];
    if (open == NULL || brg_json_u64(open, "run") != brg_json_u64(run, "run")) {
        fprintf(out, "run %" PRIu64 " %s step %" PRIu64 "/%" PRIu64, brg_json_u64(run, "run"),
                brg_json_text(run, "state", ""), brg_json_u64(run, "step"),
                brg_json_u64(run, "steps"));
        return;
    }
    struct crew crew = count_crew(status);
    fprintf(out, "run %" PRIu64 " %s step %" PRIu64 "/%" PRIu64, brg_json_u64(open, "run"),
            brg_json_text(open, "phase", ""), brg_json_u64(open, "step"),
            brg_json_u64(open, "steps"));
    fprintf(out, " loss %s held-out %s", loss_text(brg_json_number(open, "loss"), a),
            loss_text(brg_json_number(open, "held_out_loss"), b));
    if (!isnan(brg_json_number(open, "seconds_per_step"))) {
        fprintf(out, " %s/step %s %s/s",
                brg_view_seconds(brg_json_number(open, "seconds_per_step"), a),
                brg_view_count(brg_json_number(open, "targets_per_second"), b),
                brg_json_text(open, "targets", "targets"));
    }
    fprintf(out, " workers %u in, %u late, %u away", crew.in, crew.late, crew.away);
}
