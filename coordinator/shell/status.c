/* status.c - what the operator is shown, as JSON; docs/OPERATOR.md lists the fields. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "coordinator/shell/line.h"
#include "coordinator/shell/service_private.h"

#define EVENTS_IN_STATUS 10u

static void add_number(cJSON *to, const char *key, double value) {
    if (isfinite(value))
        (void)cJSON_AddNumberToObject(to, key, value);
    else
        (void)cJSON_AddNullToObject(to, key);
}

/* cJSON's numbers are doubles, which do not hold 64 bits. */
static void add_u64_text(cJSON *to, const char *key, uint64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    (void)cJSON_AddStringToObject(to, key, text);
}

static void add_time(cJSON *to, const char *key, uint64_t time_ns) {
    char text[32];
    struct tm utc;
    const time_t t = (time_t)(time_ns / BRG_NS_PER_S);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
    (void)cJSON_AddStringToObject(to, key, text);
}

static double since_s(const struct brg_service *s, uint64_t then_ns) {
    return then_ns == 0 ? NAN : (double)(s->now_ns - then_ns) / 1e9;
}

const char *brg_service_run_state_name(uint32_t state) {
    static const char *const names[] = {"none",   "queued",   "opening", "active",
                                        "paused", "finished", "stopped", "failed"};
    return state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static const char *member_state_name(uint32_t state) {
    static const char *const names[] = {"none",     "away", "active", "suspect",
                                        "draining", "left", "lost",   "revoked"};
    return state < sizeof names / sizeof names[0] ? names[state] : "unknown";
}

static const char *note_name(uint32_t kind) {
    static const char *const names[] = {"",          "enrolled",  "joined",         "lost",
                                        "left",      "draining",  "same-key",       "re-attempt",
                                        "starved",   "bad-share", "digests-differ", "unfit",
                                        "run-state", "checkpoint"};
    if (kind == BRG_EVENT_CODE) return "code";
    if (kind == BRG_EVENT_RECOVERED) return "recovered";
    if (kind == BRG_EVENT_LINE) return "line";
    return kind < sizeof names / sizeof names[0] ? names[kind] : "other";
}

/* 1 where the run is a pipeline, whose steps pipeline.h makes and not rounds.h. */
static int is_line(const struct brg_service *s, uint32_t index) {
    return s->runs[index].config.kind == BRG_RUN_KIND_PIPELINE;
}

static uint64_t committed(const struct brg_service *s, uint32_t index) {
    if (is_line(s, index)) return s->core.runs[index].committed;
    const int open = index == s->core.open_run && s->core.rounds.phase != BRG_PHASE_IDLE;
    return open ? s->core.rounds.committed : s->core.runs[index].committed;
}

/* The mean over the models that have a number; NaN where none has. */
static double mean_of(const struct brg_service_run *run,
                      double (*number)(const struct brg_service_model *)) {
    double sum = 0;
    uint32_t count = 0;
    for (uint32_t m = 0; m < run->config.models; m++) {
        const double value = number(&run->models[m]);
        if (isnan(value)) continue;
        sum += value;
        count++;
    }
    return count > 0 ? sum / count : NAN;
}
static double loss_of(const struct brg_service_model *m) {
    return m->loss;
}
static double held_out_loss_of(const struct brg_service_model *m) {
    return m->held_out_loss;
}
static double held_out_accuracy_of(const struct brg_service_model *m) {
    return m->held_out_accuracy;
}

/* Of one model its parameters' digest; of several that of all their digests, one after the other.
 */
static const char *params_hex(const struct brg_service_run *run, char *hex) {
    uint8_t all[BRG_MODELS_MAX * BRG_DIGEST_BYTES];
    struct brg_digest d = run->models[0].params;
    hex[0] = '\0';
    if (run->checkpoint == 0) return hex;
    for (uint32_t m = 0; m < run->config.models; m++) {
        memcpy(all + m * BRG_DIGEST_BYTES, run->models[m].params.bytes, BRG_DIGEST_BYTES);
    }
    const size_t size = run->config.models * (size_t)BRG_DIGEST_BYTES;
    if (run->config.models > 1) brg_digest_of(all, size, &d);
    return brg_digest_hex(&d, hex);
}

static cJSON *show_model(const struct brg_service_run *run, uint32_t model, uint64_t step) {
    const struct brg_service_model *m = &run->models[model];
    const int tokens = run->config.model.type == BRG_MODEL_LLAMA;
    char hex[BRG_DIGEST_HEX_BYTES] = "";
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "model", model);
    /* Steps of the run that were this model's. */
    const uint64_t own = (step + run->config.models - 1 - model) / run->config.models;
    (void)cJSON_AddNumberToObject(o, "step", (double)own);
    (void)cJSON_AddNumberToObject(o, "steps", (double)run->config.steps);
    (void)cJSON_AddNumberToObject(o, "lr", (double)run->config.sweep.lr[model]);
    add_u64_text(o, "seed", run->config.sweep.seed[model]);
    add_u64_text(o, "data_seed", run->config.sweep.data_seed[model]);
    add_number(o, "loss", m->loss);
    add_number(o, "held_out_loss", m->held_out_loss);
    add_number(o, "held_out_accuracy", tokens ? NAN : m->held_out_accuracy);
    (void)cJSON_AddNumberToObject(o, "held_out_step", (double)m->held_out_step);
    if (run->checkpoint > 0) (void)brg_digest_hex(&m->params, hex);
    (void)cJSON_AddStringToObject(o, "params_digest", hex);
    return o;
}

static void add_code(cJSON *o, const struct brg_service_run *run) {
    char text[BRG_TUNER_TEXT_BYTES];
    if (run->config.kind == BRG_RUN_KIND_PIPELINE) { /* which has no code: where it is cut */
        (void)snprintf(text, sizeof text, "pipeline, %" PRIu32 " stages x %" PRIu32,
                       run->config.pipeline.stages, run->config.pipeline.lanes);
        (void)cJSON_AddStringToObject(o, "code", text);
        (void)cJSON_AddBoolToObject(o, "code_auto", 0);
        (void)cJSON_AddNumberToObject(o, "code_since", 0);
        return;
    }
    (void)cJSON_AddStringToObject(o, "code", brg_tuner_spec_text(&run->code, text));
    (void)cJSON_AddBoolToObject(o, "code_auto", run->config.scheme == BRG_RUN_SCHEME_AUTO);
    (void)cJSON_AddNumberToObject(o, "code_since", (double)run->code_base);
}

static cJSON *show_run(const struct brg_service *s, uint32_t index) {
    const struct brg_service_run *run = &s->runs[index];
    char hex[BRG_DIGEST_HEX_BYTES];
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "run", (double)run->record.id);
    (void)cJSON_AddStringToObject(o, "name", run->config.name);
    (void)cJSON_AddStringToObject(o, "kind", is_line(s, index) ? "pipeline" : "coded");
    (void)cJSON_AddStringToObject(o, "state",
                                  brg_service_run_state_name(s->core.runs[index].plan.state));
    (void)cJSON_AddStringToObject(o, "reason", run->record.reason);
    (void)cJSON_AddNumberToObject(o, "step", (double)committed(s, index));
    (void)cJSON_AddNumberToObject(o, "steps", (double)brg_run_config_steps(&run->config));
    (void)cJSON_AddNumberToObject(o, "checkpoint_step", (double)run->checkpoint);
    (void)cJSON_AddStringToObject(o, "params_digest", params_hex(run, hex));
    add_time(o, "submitted", run->record.submitted_ns);
    (void)cJSON_AddNumberToObject(o, "waited_steps", (double)run->waited_steps);
    add_number(o, "loss", mean_of(run, loss_of));
    add_number(o, "held_out_loss", mean_of(run, held_out_loss_of));
    const int tokens = run->config.model.type == BRG_MODEL_LLAMA;
    add_number(o, "held_out_accuracy", tokens ? NAN : mean_of(run, held_out_accuracy_of));
    (void)cJSON_AddNumberToObject(o, "held_out_step", (double)run->models[0].held_out_step);
    add_code(o, run);
    cJSON *models = cJSON_AddArrayToObject(o, "models");
    for (uint32_t m = 0; m < run->config.models; m++) {
        (void)cJSON_AddItemToArray(models, show_model(run, m, committed(s, index)));
    }
    return o;
}

static cJSON *runs_array(const struct brg_service *s) {
    cJSON *runs = cJSON_CreateArray();
    for (uint32_t i = 0; i < s->core.run_count; i++) {
        (void)cJSON_AddItemToArray(runs, show_run(s, i));
    }
    return runs;
}

cJSON *brg_service_runs(struct brg_service *s) {
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddItemToObject(o, "runs", runs_array(s));
    return o;
}

static cJSON *show_worker(const struct brg_service *s, uint32_t slot) {
    const struct brg_member *core = &s->core.members.items[slot];
    const struct brg_service_member *member = &s->members[slot];
    char text[BRG_KEY_TEXT_BYTES];
    struct brg_key key;
    memcpy(key.bytes, core->key, sizeof key.bytes);
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "worker", member->record.name);
    (void)cJSON_AddStringToObject(o, "key", brg_key_format(&key, text));
    (void)cJSON_AddStringToObject(o, "state", member_state_name(core->state));
    add_number(o, "position", core->position == BRG_NOBODY ? NAN : (double)core->position);
    if (core->task_count > 0) { /* the first is the one it is at */
        cJSON *task = cJSON_AddObjectToObject(o, "task");
        (void)cJSON_AddNumberToObject(task, "step", (double)core->tasks[0].step);
        (void)cJSON_AddNumberToObject(task, "unit", core->tasks[0].unit);
        (void)cJSON_AddNumberToObject(task, "queued", core->task_count - 1);
        add_number(task, "seconds", since_s(s, core->sent_ns));
    } else {
        (void)cJSON_AddNullToObject(o, "task");
    }
    (void)cJSON_AddNumberToObject(o, "tasks_done", (double)member->tasks_done);
    (void)cJSON_AddNumberToObject(o, "shares_used", (double)member->shares_used);
    add_number(o, "chunk_s", core->chunk_ns == 0 ? NAN : (double)core->chunk_ns / 1e9);
    add_number(o, "late_share", core->late_ppm / 1e6);
    (void)cJSON_AddStringToObject(o, "isa", member->isa);
    (void)cJSON_AddNumberToObject(o, "cores", member->cores);
    (void)cJSON_AddNumberToObject(o, "memory_bytes", (double)member->memory_bytes);
    add_number(o, "last_seen_s", since_s(s, member->heard_ns));
    return o;
}

static cJSON *workers_array(const struct brg_service *s) {
    cJSON *workers = cJSON_CreateArray();
    for (uint32_t i = 0; i < s->core.members.count; i++) {
        (void)cJSON_AddItemToArray(workers, show_worker(s, i));
    }
    return workers;
}

cJSON *brg_service_workers(struct brg_service *s) {
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddItemToObject(o, "workers", workers_array(s));
    return o;
}

cJSON *brg_service_tokens(struct brg_service *s) {
    cJSON *o = cJSON_CreateObject();
    cJSON *tokens = cJSON_AddArrayToObject(o, "tokens");
    for (uint32_t i = 0; i < s->core.members.token_count; i++) {
        cJSON *t = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(t, "id", (double)s->tokens[i].id);
        (void)cJSON_AddStringToObject(t, "label", s->tokens[i].label);
        add_time(t, "expires", s->tokens[i].expires_ns);
        (void)cJSON_AddNumberToObject(t, "uses_left", s->core.members.tokens[i].uses_left);
        (void)cJSON_AddBoolToObject(t, "revoked", s->core.members.tokens[i].revoked != 0);
        (void)cJSON_AddItemToArray(tokens, t);
    }
    return o;
}

/* ---- events ---- */

struct event_visit {
    struct brg_service *service;
    cJSON *events;
    uint64_t after;
};

static int show_event(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                      size_t value_bytes) {
    struct event_visit *v = context;
    struct brg_record_event event;
    char text[BRG_RECORD_TEXT_BYTES_MAX + 1];
    (void)key;
    (void)key_bytes;
    if (brg_record_event_unpack(value, value_bytes, &event) != BRG_OK) return BRG_ECORRUPT;
    if (event.sequence <= v->after) return BRG_ECANCELED;
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "sequence", (double)event.sequence);
    add_time(o, "time", event.time_ns);
    (void)cJSON_AddStringToObject(o, "kind", note_name(event.kind));
    (void)cJSON_AddNumberToObject(o, "run", (double)event.run);
    const uint32_t slot = brg_members_find(&v->service->core.members, event.key);
    (void)cJSON_AddStringToObject(o, "worker",
                                  slot == BRG_NOBODY ? "" : v->service->members[slot].record.name);
    (void)snprintf(text, sizeof text, "%.*s", (int)event.text_bytes, event.text);
    (void)cJSON_AddStringToObject(o, "text", text);
    /* Visited from the newest backwards; shown from the oldest on. */
    (void)cJSON_InsertItemInArray(v->events, 0, o);
    return BRG_OK;
}

static cJSON *events_array(struct brg_service *s, uint64_t after, uint64_t limit) {
    struct event_visit v = {.service = s, .events = cJSON_CreateArray(), .after = after};
    const struct brg_store_range range = {
        .family = BRG_STORE_EVENTS, .limit = limit > 0 ? limit : 1, .newest = 1};
    const int rc = brg_store_scan(s->store, &range, show_event, &v);
    if (rc != BRG_OK)
        brg_log_warn("coordinator", NULL, "events cannot be read: %s", brg_strerror(rc));
    return v.events;
}

cJSON *brg_service_events(struct brg_service *s, uint64_t after, uint64_t limit) {
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddItemToObject(o, "events", events_array(s, after, limit));
    return o;
}

/* ---- the loss curve ---- */

cJSON *brg_service_curve(struct brg_service *s, uint32_t run_index, uint64_t from, uint64_t limit) {
    cJSON *o = cJSON_CreateObject();
    cJSON *points = cJSON_AddArrayToObject(o, "points");
    const uint32_t count_models = s->runs[run_index].config.models;
    const uint64_t run = s->runs[run_index].record.id, last = committed(s, run_index);
    struct brg_record_step r;
    for (uint64_t step = from > 0 ? from : 1; step <= last && limit > 0; step++, limit--) {
        if (brg_store_step(s->store, run, step, &r) != BRG_OK) break; /* not on disk yet */
        cJSON *p = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(p, "step", (double)step);
        (void)cJSON_AddNumberToObject(p, "model", brg_model_of_step(step, count_models));
        (void)cJSON_AddNumberToObject(p, "model_step", (double)brg_model_step(step, count_models));
        add_number(p, "loss", r.loss_sum / (double)r.count);
        add_number(p, "lr", r.lr);
        add_number(p, "grad_norm", r.norm);
        add_number(p, "seconds", (double)r.round_ns / 1e9);
        (void)cJSON_AddBoolToObject(p, "waited", r.waited != 0);
        (void)cJSON_AddItemToArray(points, p);
    }
    cJSON *held_out = cJSON_AddArrayToObject(o, "held_out");
    if (run_index != s->run_index) return o; /* points are kept until the next run is opened */
    const uint64_t count = s->held_out_count;
    const uint64_t first = count > BRG_HELD_OUT_POINTS_MAX ? count - BRG_HELD_OUT_POINTS_MAX : 0;
    for (uint64_t i = first; i < count; i++) {
        const struct brg_service_held_out *h = &s->held_out[i % BRG_HELD_OUT_POINTS_MAX];
        cJSON *p = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(p, "step", (double)h->step);
        (void)cJSON_AddNumberToObject(p, "model", brg_model_of_step(h->step, count_models));
        add_number(p, "loss", h->loss);
        add_number(p, "accuracy", h->accuracy);
        (void)cJSON_AddItemToArray(held_out, p);
    }
    return o;
}

/* ---- status ---- */

static const char *phase_name(uint32_t phase) {
    static const char *const names[] = {"idle", "waiting", "collecting", "finishing"};
    return phase < sizeof names / sizeof names[0] ? names[phase] : "unknown";
}

/* The phase as people see it: between rounds the machine waits for workers only if no step is being
 * decoded or applied. */
static const char *phase_of(const struct brg_rounds *r) {
    if (r->phase != BRG_PHASE_WAITING) return phase_name(r->phase);
    if (r->ended > r->committed) return "decoding";
    return r->committed > r->applied ? "applying" : "waiting for workers";
}

/* The units of one step. */
static void add_units(const struct brg_service *s, uint64_t step, cJSON *to) {
    static const char *const states[] = {"open", "pulling", "held"};
    (void)cJSON_AddNumberToObject(to, "units_step", (double)step);
    cJSON *units = cJSON_AddArrayToObject(to, "units");
    const struct brg_rounds *r = &s->core.rounds;
    const struct brg_job *job = brg_rounds_job(r, step);
    for (uint32_t u = 0; job != NULL && u < r->unit_count; u++) {
        const struct brg_progress *p = &job->units[u];
        cJSON *o = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(o, "unit", u);
        (void)cJSON_AddStringToObject(o, "state", states[p->state <= BRG_UNIT_HELD ? p->state : 0]);
        if (p->state != BRG_UNIT_OPEN && p->puller < s->core.members.count)
            (void)cJSON_AddStringToObject(o, "worker", s->members[p->puller].record.name);
        else
            (void)cJSON_AddNullToObject(o, "worker");
        (void)cJSON_AddNumberToObject(o, "attempts", p->attempts + 1);
        (void)cJSON_AddItemToArray(units, o);
    }
}

/* Seconds a step over the newest points, NaN before the first. */
static double seconds_per_step(const struct brg_service *s) {
    const uint64_t count = s->point_count < 16 ? s->point_count : 16;
    double sum = 0;
    if (s->run->config.run.models > 1 && count > 1) { /* steps overlap: from end to end of them */
        const struct brg_service_point *last =
            &s->points[(s->point_count - 1) % BRG_CURVE_POINTS_MAX];
        const struct brg_service_point *first =
            &s->points[(s->point_count - count) % BRG_CURVE_POINTS_MAX];
        return (double)(last->at_ns - first->at_ns) / 1e9 / (double)(count - 1);
    }
    for (uint64_t i = 1; i <= count; i++) {
        sum += s->points[(s->point_count - i) % BRG_CURVE_POINTS_MAX].seconds;
    }
    return count > 0 ? sum / (double)count : NAN;
}

/* What an open run shows whatever its kind. */
static cJSON *show_progress(const struct brg_service *s, const char *phase) {
    const struct brg_service_run *run = &s->runs[s->run_index];
    const double per_step = seconds_per_step(s);
    const uint64_t step = committed(s, s->run_index), steps = brg_run_config_steps(&run->config);
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "run", (double)run->record.id);
    (void)cJSON_AddStringToObject(o, "name", run->config.name);
    (void)cJSON_AddStringToObject(o, "phase", phase);
    (void)cJSON_AddNumberToObject(o, "step", (double)step);
    (void)cJSON_AddNumberToObject(o, "steps", (double)steps);
    add_number(o, "loss", mean_of(run, loss_of));
    add_number(o, "lr", s->point_count > 0 ? s->report.lr : NAN);
    add_number(o, "grad_norm", s->point_count > 0 ? s->report.grad_norm : NAN);
    add_number(o, "seconds_per_step", per_step);
    add_number(o, "targets_per_second", (double)s->run->targets / per_step);
    (void)cJSON_AddStringToObject(o, "targets",
                                  run->config.model.type == BRG_MODEL_LLAMA ? "tokens" : "rows");
    add_number(o, "eta_s", per_step * (double)(steps - step));
    add_number(o, "held_out_loss", mean_of(run, held_out_loss_of));
    (void)cJSON_AddNumberToObject(o, "waited_steps", (double)run->waited_steps);
    add_code(o, run);
    cJSON *models = cJSON_AddArrayToObject(o, "models");
    for (uint32_t m = 0; m < run->config.models; m++) {
        (void)cJSON_AddItemToArray(models, show_model(run, m, step));
    }
    return o;
}

/* Of a pipeline: no rounds and no units, and its stages instead. */
static cJSON *show_open_line(const struct brg_service *s) {
    cJSON *o = show_progress(s, brg_line_phase(s));
    (void)cJSON_AddNumberToObject(o, "round", 0);
    (void)cJSON_AddNumberToObject(o, "steps_in_flight", 1);
    (void)cJSON_AddNullToObject(o, "tuning");
    (void)cJSON_AddNumberToObject(o, "units_step", 0);
    (void)cJSON_AddArrayToObject(o, "units");
    (void)cJSON_AddItemToObject(o, "line", brg_line_show(s));
    return o;
}

static cJSON *show_open(const struct brg_service *s) {
    const struct brg_rounds *r = &s->core.rounds;
    if (s->run != NULL && s->line != NULL) return show_open_line(s);
    if (s->run == NULL || r->phase == BRG_PHASE_IDLE) return cJSON_CreateNull();
    cJSON *o = show_progress(s, phase_of(r));
    (void)cJSON_AddNumberToObject(o, "round", (double)r->round);
    (void)cJSON_AddNumberToObject(o, "steps_in_flight", (double)(r->newest - r->ended));
    (void)cJSON_AddItemToObject(o, "tuning", brg_tuning_show(s));
    (void)cJSON_AddNullToObject(o, "line");
    add_units(s, r->newest, o);
    return o;
}

cJSON *brg_service_status(struct brg_service *s) {
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "epoch", (double)s->core.epoch);
    (void)cJSON_AddNumberToObject(o, "uptime_s", (double)(s->now_ns - s->started_ns) / 1e9);
    (void)cJSON_AddStringToObject(o, "join", s->join_url);
    (void)cJSON_AddItemToObject(o, "runs", runs_array(s));
    (void)cJSON_AddItemToObject(o, "open", show_open(s));
    (void)cJSON_AddItemToObject(o, "workers", workers_array(s));
    (void)cJSON_AddItemToObject(o, "events", events_array(s, 0, EVENTS_IN_STATUS));
    return o;
}
