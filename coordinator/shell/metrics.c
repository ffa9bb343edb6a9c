#include "coordinator/shell/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define FDS_MAX 1000000u

/* Bounds of the histogram of steps, seconds. */
static const double bounds_s[BRG_METRICS_BUCKETS] = {0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 0.5,
                                                     1,     2.5,    5,    10,    30,  60,   300};

void brg_metrics_step(struct brg_metrics *m, double seconds) {
    uint32_t i = 0;
    if (!(seconds >= 0)) return;
    while (i < BRG_METRICS_BUCKETS && seconds > bounds_s[i]) i++;
    m->steps.buckets[i]++;
    m->steps.sum_s += seconds;
}

/* ---- the text format ---- */

static void family(FILE *out, const char *name, const char *type, const char *help) {
    (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value(FILE *out, double v) {
    if (isnan(v))
        (void)fputs(" NaN\n", out);
    else if (isinf(v))
        (void)fputs(v > 0 ? " +Inf\n" : " -Inf\n", out);
    else
        (void)fprintf(out, " %.15g\n", v);
}

static void sample(FILE *out, const char *name, double v) {
    (void)fputs(name, out);
    value(out, v);
}

/* A label's value: what would end it is escaped; other control characters are left out. */
static void label(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fprintf(out, "\\%c", *text);
        else if (*text == '\n')
            (void)fputs("\\n", out);
        else if ((unsigned char)*text >= 0x20 && *text != 0x7f)
            (void)fputc(*text, out);
    }
}

static void labelled(FILE *out, const char *name, const char *key, const char *text, double v) {
    (void)fprintf(out, "%s{%s=\"", name, key);
    label(out, text);
    (void)fputs("\"}", out);
    value(out, v);
}

static void single(FILE *out, const char *name, const char *type, const char *help, double v) {
    family(out, name, type, help);
    sample(out, name, v);
}

/* ---- reading the status ---- */

static double number(const cJSON *o, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static const char *text_of(const cJSON *o, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(item) && item->valuestring != NULL ? item->valuestring : "";
}

static const cJSON *list(const cJSON *o, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* How many items are in each state. */
static void by_state(FILE *out, const char *name, const char *help, const cJSON *items,
                     const char *const *states, size_t count) {
    const cJSON *item = NULL;
    family(out, name, "gauge", help);
    for (size_t i = 0; i < count; i++) {
        uint32_t n = 0;
        cJSON_ArrayForEach(item, items) n += strcmp(text_of(item, "state"), states[i]) == 0;
        labelled(out, name, "state", states[i], n);
    }
}

static void put_members(FILE *out, const cJSON *status) {
    static const char *const workers[] = {"away", "active", "suspect",     "draining",
                                          "left", "lost",   "quarantined", "revoked"};
    static const char *const runs[] = {"queued",   "opening", "active", "paused",
                                       "finished", "stopped", "failed"};
    by_state(out, "brigade_workers", "Enrolled workers by state.", list(status, "workers"), workers,
             sizeof workers / sizeof workers[0]);
    by_state(out, "brigade_runs", "Runs by state.", list(status, "runs"), runs,
             sizeof runs / sizeof runs[0]);
}

/* ---- the open run ---- */

static void put_models(FILE *out, const cJSON *open, const char *name, const char *key,
                       const char *help) {
    const cJSON *model = NULL;
    char text[16];
    family(out, name, "gauge", help);
    cJSON_ArrayForEach(model, list(open, "models")) {
        (void)snprintf(text, sizeof text, "%.0f", number(model, "model"));
        labelled(out, name, "model", text, number(model, key));
    }
}

static void put_open_run(FILE *out, const cJSON *open, const struct brg_metrics *m) {
    static const struct {
        const char *name, *type, *key, *help;
    } rows[] = {
        {"brigade_run_steps_committed", "gauge", "step", "Steps of the open run that are durable."},
        {"brigade_run_steps_planned", "gauge", "steps", "Steps that the open run is to make."},
        {"brigade_run_steps_waited", "gauge", "waited_steps",
         "Steps since the run was opened in which more was late than the code tolerates."},
        {"brigade_run_steps_in_flight", "gauge", "steps_in_flight", "Steps being computed."},
        {"brigade_run_step_seconds", "gauge", "seconds_per_step",
         "Mean duration of the last 16 steps."},
        {"brigade_run_targets_per_second", "gauge", "targets_per_second",
         "Tokens or rows trained a second."},
        {"brigade_run_remaining_seconds", "gauge", "eta_s", "Time to the last step at this pace."},
        {"brigade_run_loss", "gauge", "loss", "Mean loss of the last step, over the models."},
        {"brigade_run_held_out_loss", "gauge", "held_out_loss",
         "Mean loss on the held-out data when last looked at, over the models."},
        {"brigade_run_learning_rate", "gauge", "lr", "Learning rate of the last step."},
        {"brigade_run_gradient_norm", "gauge", "grad_norm",
         "Norm of the last step's gradient before clipping."},
    };
    const int is_open = cJSON_IsObject(open);
    single(out, "brigade_run_open", "gauge", "1 while a run is open.", is_open);
    if (!is_open) return;
    family(out, "brigade_run_info", "gauge", "The open run; always 1.");
    (void)fprintf(out, "brigade_run_info{run=\"%.0f\",name=\"", number(open, "run"));
    label(out, text_of(open, "name"));
    (void)fputs("\",code=\"", out);
    label(out, text_of(open, "code"));
    (void)fputs("\"} 1\n", out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        single(out, rows[i].name, rows[i].type, rows[i].help, number(open, rows[i].key));
    }
    single(out, "brigade_run_commit_age_seconds", "gauge",
           "Time since the last step was made; NaN before the first.", m->commit_age_s);
    put_models(out, open, "brigade_model_loss", "loss", "Loss of the last step of each model.");
    put_models(out, open, "brigade_model_held_out_loss", "held_out_loss",
               "Loss of each model on the held-out data.");
    put_models(out, open, "brigade_model_steps_committed", "step", "Steps of each model.");
}

/* ---- the stages of an open pipeline ---- */

static double kept_age(const cJSON *line, const cJSON *stage, const char *key) {
    const double version = number(list(stage, key), "version"); /* NaN: none is kept */
    const double age = number(line, "committed") - version;
    return age < 0 ? 0 : age;
}

/* Seconds of the newest step, bytes, and how far behind what others keep of a stage is. */
static void put_stages(FILE *out, const cJSON *line) {
    static const struct {
        const char *name, *key, *help;
    } rows[] = {
        {"brigade_stage_compute_seconds", "compute_s", "Computing of the slowest holder, a step."},
        {"brigade_stage_wait_seconds", "wait_s", "Waiting of the holder that waits most, a step."},
        {"brigade_stage_sent_bytes_per_token", "bytes_per_token",
         "What the holders sent in the last step, over its tokens."},
    };
    const cJSON *stages = list(line, "stages"), *s = NULL, *rung = NULL;
    char text[16];
    if (!cJSON_IsObject(line)) return;
    single(out, "brigade_line_generation", "gauge", "Number of the placement in force.",
           number(line, "generation"));
    single(out, "brigade_line_checkpoint_step", "gauge", "Step of the newest checkpoint.",
           number(line, "checkpoint"));
    family(out, "brigade_recoveries_total", "counter",
           "Stages that came back, by rung, since the run was opened.");
    cJSON_ArrayForEach(rung, list(line, "recoveries")) {
        labelled(out, "brigade_recoveries_total", "rung", rung->string, rung->valuedouble);
    }
    family(out, "brigade_stage_holders", "gauge", "Workers that hold the stage.");
    cJSON_ArrayForEach(s, stages) {
        (void)snprintf(text, sizeof text, "%.0f", number(s, "stage"));
        labelled(out, "brigade_stage_holders", "stage", text,
                 cJSON_GetArraySize(list(s, "holders")));
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        family(out, rows[i].name, "gauge", rows[i].help);
        cJSON_ArrayForEach(s, stages) {
            (void)snprintf(text, sizeof text, "%.0f", number(s, "stage"));
            labelled(out, rows[i].name, "stage", text, number(s, rows[i].key));
        }
    }
    family(out, "brigade_stage_shadow_age_steps", "gauge",
           "Steps that the stage's shadow is behind; NaN: none is kept, or not all of it yet.");
    cJSON_ArrayForEach(s, stages) {
        (void)snprintf(text, sizeof text, "%.0f", number(s, "stage"));
        labelled(out, "brigade_stage_shadow_age_steps", "stage", text, kept_age(line, s, "shadow"));
    }
    family(out, "brigade_stage_parity_age_steps", "gauge",
           "Steps that the parity of the stage's group is behind; NaN: none is kept yet.");
    cJSON_ArrayForEach(s, stages) {
        (void)snprintf(text, sizeof text, "%.0f", number(s, "stage"));
        labelled(out, "brigade_stage_parity_age_steps", "stage", text, kept_age(line, s, "parity"));
    }
}

/* ---- workers ---- */

static void put_workers(FILE *out, const cJSON *status) {
    static const struct {
        const char *name, *type, *key, *help;
    } rows[] = {
        {"brigade_worker_chunk_seconds", "gauge", "chunk_s", "Time the worker takes for a chunk."},
        {"brigade_worker_late_ratio", "gauge", "late_share",
         "Share of its last rounds in which the worker was late, decaying."},
        {"brigade_worker_silence_seconds", "gauge", "last_seen_s",
         "Time since the worker was heard of."},
        {"brigade_worker_tasks_total", "counter", "tasks_done", "Tasks that the worker has done."},
        {"brigade_worker_shares_used_total", "counter", "shares_used",
         "Shares of the worker that went into a step."},
    };
    const cJSON *workers = list(status, "workers"), *w = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t count = 0;
        family(out, rows[i].name, rows[i].type, rows[i].help);
        cJSON_ArrayForEach(w, workers) {
            if (count == BRG_METRICS_WORKERS_MAX) break;
            if (strcmp(text_of(w, "state"), "revoked") == 0) continue;
            count++;
            (void)fprintf(out, "%s{worker=\"", rows[i].name);
            label(out, text_of(w, "worker"));
            (void)fprintf(out, "\",key=\"%.8s\"}", text_of(w, "key")); /* two may share a name */
            value(out, number(w, rows[i].key));
        }
    }
    const int count = cJSON_GetArraySize(workers), max = (int)BRG_METRICS_WORKERS_MAX;
    single(out, "brigade_worker_series_omitted", "gauge",
           "Workers beyond the first 128, which have no series of their own.",
           count > max ? count - max : 0);
}

/* ---- the coordinator ---- */

const char *brg_metrics_kind(uint32_t kind) {
    static const char *const names[] = {"",          "enrolled",  "joined",         "lost",
                                        "left",      "draining",  "same-key",       "re-attempt",
                                        "starved",   "bad-share", "digests-differ", "unfit",
                                        "run-state", "checkpoint"};
    if (kind == 64) return "code";
    if (kind == 65) return "recovered";
    if (kind == 66) return "line";
    return kind < sizeof names / sizeof names[0] ? names[kind] : "";
}

static void put_steps(FILE *out, const struct brg_metrics *m) {
    static const char name[] = "brigade_step_duration_seconds";
    uint64_t sum = 0;
    family(out, name, "histogram", "How long steps took, since the process began.");
    for (uint32_t i = 0; i < BRG_METRICS_BUCKETS; i++) {
        sum += m->steps.buckets[i];
        (void)fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds_s[i], sum);
    }
    sum += m->steps.buckets[BRG_METRICS_BUCKETS];
    (void)fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n",
                  name, sum, name, m->steps.sum_s, name, sum);
}

static void put_counts(FILE *out, const struct brg_metrics *m) {
    family(out, "brigade_events_total", "counter", "Events by kind, since the process began.");
    for (uint32_t i = 0; i < BRG_METRICS_KINDS_MAX; i++) {
        const char *kind = brg_metrics_kind(i);
        if (kind[0] == '\0') continue;
        labelled(out, "brigade_events_total", "kind", kind, (double)m->events[i]);
    }
    put_steps(out, m);
    single(out, "brigade_rounds_total", "counter", "Rounds that ended, since the process began.",
           (double)m->rounds);
    single(out, "brigade_reactor_turns_total", "counter", "Turns of the reactor.",
           (double)m->turns);
    single(out, "brigade_share_transfer_seconds_total", "counter",
           "Time in which shares of the open run were under way to the coordinator.",
           m->share_seconds);
    single(out, "brigade_shares_received_total", "counter",
           "Shares of the open run that were received.", (double)m->shares);
    single(out, "brigade_tensor_memory_bytes", "gauge", "Tensor buffers in use.",
           (double)m->memory_held_bytes);
    single(out, "brigade_tensor_memory_limit_bytes", "gauge", "The bound of tensor buffers.",
           (double)m->memory_limit_bytes);
}

static void put_http(FILE *out, const struct brg_metrics_http *http) {
    char text[8];
    family(out, "brigade_http_responses_total", "counter", "HTTP answers by class of status.");
    for (uint32_t i = 2; i < 6; i++) {
        (void)snprintf(text, sizeof text, "%uxx", i);
        labelled(out, "brigade_http_responses_total", "code", text, (double)http->answers[i]);
    }
    single(out, "brigade_http_connections", "gauge", "Open HTTP connections.", http->connections);
    single(out, "brigade_http_streams", "gauge", "Pages that listen.", http->streams);
    single(out, "brigade_http_cut_off_total", "counter", "Connections that were too slow.",
           (double)http->cut_off);
    single(out, "brigade_snapshot_age_seconds", "gauge",
           "Age of what these figures were taken from; NaN: there is nothing yet.",
           http->snapshot_age_s);
}

/* What every process shows, by the names that are usual for it. */
static void put_process(FILE *out) {
    unsigned long pages = 0, resident = 0;
    struct rusage usage;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%lu %lu", &pages, &resident) != 2) resident = 0;
        (void)fclose(statm);
    }
    if (resident > 0) {
        single(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
               (double)resident * (double)sysconf(_SC_PAGESIZE));
    }
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        single(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time.",
               (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    }
    DIR *fds = opendir("/proc/self/fd");
    if (fds == NULL) return;
    uint32_t count = 0;
    while (count < FDS_MAX && readdir(fds) != NULL) count++;
    (void)closedir(fds);
    single(out, "process_open_fds", "gauge", "Number of open file descriptors.",
           count > 3 ? count - 3 : 0); /* the folder itself, "." and ".." */
}

int brg_metrics_text(const cJSON *status, const struct brg_metrics *m,
                     const struct brg_metrics_http *http, char **text, size_t *size_bytes) {
    FILE *out = open_memstream(text, size_bytes);
    if (out == NULL) return BRG_ENOMEM;
    family(out, "brigade_build_info", "gauge", "The program; always 1.");
    (void)fprintf(out, "brigade_build_info{version=\"%s\",compiler=\"%s\"} 1\n", BRG_VERSION,
                  __VERSION__);
    if (status != NULL) {
        single(out, "brigade_coordinator_epoch", "gauge",
               "Number of this start of the coordinator.", number(status, "epoch"));
        single(out, "brigade_coordinator_uptime_seconds", "gauge",
               "Time since the coordinator started.", number(status, "uptime_s"));
        put_members(out, status);
        if (m != NULL) put_open_run(out, list(status, "open"), m);
        put_stages(out, list(list(status, "open"), "line"));
        put_workers(out, status);
    }
    if (m != NULL) put_counts(out, m);
    put_http(out, http);
    single(out, "brigade_log_lines_dropped_total", "counter", "Lines of the log that nobody took.",
           (double)brg_log_dropped());
    put_process(out);
    if (fclose(out) == 0) return BRG_OK;
    free(*text);
    *text = NULL;
    return BRG_ENOMEM;
}
