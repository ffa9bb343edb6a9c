/* http_reactor.c - the reactor's end of the window (http.h): it counts, carries out what was asked
 * for within its turn, and gives snapshots away. Reactor thread. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/file.h"
#include "coordinator/shell/http.h"
#include "coordinator/shell/notify.h"
#include "coordinator/shell/service_private.h"

#define EVERY_NS (250 * BRG_NS_PER_MS) /* snapshots while somebody listens */
#define ASKS_A_TURN 4u                 /* each reads at most 1000 records */
#define STRIP_ROUNDS 48u
#define STRIP_WORKERS_MAX 128u
#define STREAM_POINTS_MAX 256u

/* One worker in one round. */
struct mark {
    float seconds; /* until it had done all that it got; 0: it was not in it */
    int is_late;   /* the round ended before */
};

struct brg_service_http {
    struct brg_http *http; /* NULL: none was wanted, or its port was taken */
    struct brg_metrics metrics;
    uint64_t watchdog_ns, watched_ns;
    uint64_t published_ns, seen_points, shown_points, seen_round;
    uint64_t strip_count; /* rounds ever marked; the ring holds the newest */
    struct mark strips[STRIP_ROUNDS][STRIP_WORKERS_MAX];
    struct brg_http_ask asks[ASKS_A_TURN]; /* carried out in this turn, answered at its end */
    int32_t codes[ASKS_A_TURN];
    char *answers[ASKS_A_TURN];
    uint32_t ask_count;
    int is_wanted; /* a fresh snapshot was asked for */
};

/* ---- start and stop ---- */

int brg_service_http_start(struct brg_service *s, struct brg_why *why) {
    char name[BRG_HOST_BYTES] = "";
    uint16_t port = 0;
    struct brg_http_config config = {.listen = s->options->http,
                                     .state_dir = s->options->state_dir};
    s->window = calloc(1, sizeof *s->window);
    if (s->window == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory to start");
    s->window->watchdog_ns = brg_notify_watchdog_ns();
    if (config.listen == NULL) return BRG_OK;
    const char *announce = s->options->announce;
    if (announce != NULL && brg_address_parse(announce, name, &port, NULL) == BRG_OK) {
        config.name = name;
    }
    int rc = brg_dir_make(s->options->state_dir, 0700);
    if (rc != BRG_OK) return BRG_OK; /* prepare_state says so, and ends the start */
    rc = brg_http_start(&config, &s->window->http, why);
    if (rc != BRG_OK && s->options->http_is_optional) {
        brg_log_warn("http", NULL, "no dashboard and no metrics: %s", why->text);
        return BRG_OK;
    }
    if (rc != BRG_OK) return rc;
    brg_log_info("http", BRG_FIELDS(BRG_U64("port", brg_http_port(s->window->http))),
                 "dashboard, metrics and API at http://%s/", config.listen);
    return BRG_OK;
}

void brg_service_http_serving(struct brg_service *s) {
    (void)brg_notify("READY=1\nSTATUS=serving");
    if (s->window->http != NULL) brg_http_phase(s->window->http, BRG_HTTP_SERVING);
}

void brg_service_http_stopping(struct brg_service *s) {
    (void)brg_notify("STOPPING=1");
    if (s->window != NULL && s->window->http != NULL) {
        brg_http_phase(s->window->http, BRG_HTTP_STOPPING);
    }
}

void brg_service_http_stop(struct brg_service *s) {
    struct brg_service_http *w = s->window;
    if (w == NULL) return;
    for (uint32_t i = 0; i < w->ask_count; i++) {
        free(w->asks[i].body);
        free(w->answers[i]);
    }
    brg_http_stop(&w->http);
    free(w);
    s->window = NULL;
}

int brg_service_http_fd(const struct brg_service *s) {
    return s->window->http != NULL ? brg_http_fd(s->window->http) : -1;
}

/* ---- counting ---- */

void brg_service_http_event(struct brg_service *s, uint32_t kind) {
    if (s->window != NULL && kind < BRG_METRICS_KINDS_MAX) s->window->metrics.events[kind]++;
}

static void count_points(const struct brg_service *s, struct brg_service_http *w) {
    if (s->point_count < w->seen_points) w->seen_points = w->shown_points = 0; /* another run */
    if (s->point_count - w->seen_points > BRG_CURVE_POINTS_MAX) {
        w->seen_points = s->point_count - BRG_CURVE_POINTS_MAX;
    }
    for (; w->seen_points < s->point_count; w->seen_points++) {
        brg_metrics_step(&w->metrics, s->points[w->seen_points % BRG_CURVE_POINTS_MAX].seconds);
    }
}

/* Marks the round that ended last. Of several in one turn the last is seen: a strip is to look at.
 */
static void mark_round(const struct brg_service *s, struct brg_service_http *w) {
    const struct brg_round_log *log = &s->core.rounds.log;
    if (log->round == 0 || log->round == w->seen_round) return;
    w->metrics.rounds +=
        log->round > w->seen_round && w->seen_round > 0 ? log->round - w->seen_round : 1;
    w->seen_round = log->round;
    struct mark *row = w->strips[w->strip_count++ % STRIP_ROUNDS];
    memset(row, 0, sizeof w->strips[0]);
    for (uint32_t p = 0; p < log->n; p++) {
        const struct brg_round_entry *e = &log->entries[p];
        if (e->member >= STRIP_WORKERS_MAX || e->count == 0) continue;
        uint64_t ns = 0;
        for (uint32_t i = 0; i < e->count; i++) {
            if (e->done_ns[i] == 0) row[e->member].is_late = 1;
            if (e->done_ns[i] > ns) ns = e->done_ns[i];
        }
        if (row[e->member].is_late) ns = log->ended_ns - log->started_ns;
        row[e->member].seconds = (float)((double)ns / 1e9);
    }
}

static void watch(const struct brg_service *s, struct brg_service_http *w) {
    if (w->watchdog_ns == 0 || s->now_ns - w->watched_ns < w->watchdog_ns) return;
    w->watched_ns = s->now_ns;
    (void)brg_notify("WATCHDOG=1");
}

/* ---- snapshots ---- */

static void add_finite(cJSON *o, const char *key, double v) {
    if (isfinite(v))
        (void)cJSON_AddNumberToObject(o, key, v);
    else
        (void)cJSON_AddNullToObject(o, key);
}

/* The points made since the snapshot before. A page that missed some asks for them. */
static cJSON *new_points(const struct brg_service *s, struct brg_service_http *w) {
    cJSON *list = cJSON_CreateArray();
    if (s->run == NULL) return list;
    if (s->point_count - w->shown_points > STREAM_POINTS_MAX) {
        w->shown_points = s->point_count - STREAM_POINTS_MAX;
    }
    for (; w->shown_points < s->point_count; w->shown_points++) {
        const struct brg_service_point *p = &s->points[w->shown_points % BRG_CURVE_POINTS_MAX];
        cJSON *o = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(o, "step", (double)p->step);
        (void)cJSON_AddNumberToObject(
            o, "model", brg_model_of_step(p->step, s->runs[s->run_index].config.models));
        add_finite(o, "loss", p->loss);
        add_finite(o, "lr", p->lr);
        add_finite(o, "grad_norm", p->norm);
        add_finite(o, "seconds", p->seconds);
        (void)cJSON_AddBoolToObject(o, "waited", p->waited != 0);
        (void)cJSON_AddItemToArray(list, o);
    }
    return list;
}

/* For each worker its round times, oldest first: seconds, negative where the round ended before it
 * was through, 0 where it was not in it. */
static cJSON *strips_of(const struct brg_service *s, const struct brg_service_http *w) {
    cJSON *list = cJSON_CreateArray();
    const uint64_t count = w->strip_count < STRIP_ROUNDS ? w->strip_count : STRIP_ROUNDS;
    for (uint32_t m = 0; m < s->core.members.count && m < STRIP_WORKERS_MAX; m++) {
        double seconds[STRIP_ROUNDS];
        for (uint64_t i = 0; i < count; i++) {
            const struct mark *mark = &w->strips[(w->strip_count - count + i) % STRIP_ROUNDS][m];
            const double rounded = floor((double)mark->seconds * 1e6 + 0.5) / 1e6;
            seconds[i] = mark->is_late ? -rounded : rounded;
        }
        (void)cJSON_AddItemToArray(list, cJSON_CreateDoubleArray(seconds, (int)count));
    }
    return list;
}

static void measure(struct brg_service *s, struct brg_service_http *w) {
    struct brg_metrics *m = &w->metrics;
    struct brg_pool_stats pool;
    brg_pool_stats_read(s->pool, &pool);
    m->memory_held_bytes = pool.held_bytes;
    m->memory_limit_bytes = pool.max_bytes;
    m->share_seconds = (double)s->link.busy_ns / 1e9;
    m->shares = s->link.shares;
    m->commit_age_s = NAN;
    if (s->run != NULL && s->point_count > 0) {
        const uint64_t last = (s->point_count - 1) % BRG_CURVE_POINTS_MAX;
        m->commit_age_s = (double)(s->now_ns - s->points[last].at_ns) / 1e9;
    }
}

static void publish(struct brg_service *s, struct brg_service_http *w) {
    struct brg_http_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) return; /* a window may stay dark; a run may not stop for it */
    measure(s, w);
    w->published_ns = s->now_ns;
    snapshot->made_ns = s->now_ns;
    snapshot->metrics = w->metrics;
    snapshot->status = brg_service_status(s);
    snapshot->points = new_points(s, w);
    snapshot->strips = strips_of(s, w);
    brg_http_publish(w->http, snapshot);
}

/* ---- the hooks in a turn ---- */

void brg_service_http_take(struct brg_service *s) {
    struct brg_service_http *w = s->window;
    struct brg_http_ask ask;
    w->metrics.turns++;
    count_points(s, w);
    mark_round(s, w);
    watch(s, w);
    if (w->http == NULL) return;
    brg_http_alive(w->http, s->now_ns);
    while (w->ask_count < ASKS_A_TURN && brg_http_take(w->http, &ask)) {
        if (ask.id == 0) {
            w->is_wanted = 1;
            continue;
        }
        struct brg_why why = {{0}};
        cJSON *reply = cJSON_CreateObject(), *body = cJSON_Parse(ask.body);
        const int rc = brg_service_carry_out(s, ask.verb, body, &reply, &why);
        cJSON_Delete(body);
        if (rc != BRG_OK) {
            cJSON_Delete(reply);
            reply = cJSON_CreateObject();
            (void)cJSON_AddStringToObject(reply, "error",
                                          why.text[0] != '\0' ? why.text : brg_strerror(rc));
        }
        w->asks[w->ask_count] = ask;
        w->codes[w->ask_count] = rc;
        w->answers[w->ask_count++] = cJSON_PrintUnformatted(reply);
        cJSON_Delete(reply);
    }
}

void brg_service_http_give(struct brg_service *s) {
    struct brg_service_http *w = s->window;
    for (uint32_t i = 0; i < w->ask_count; i++) {
        free(w->asks[i].body);
        brg_http_answer(w->http, w->asks[i].id, w->codes[i], w->answers[i]);
    }
    w->ask_count = 0;
    if (w->http == NULL) return;
    /* Only now: what is shown is on disk. */
    const int is_due = s->now_ns - w->published_ns >= EVERY_NS;
    if (w->is_wanted || (is_due && brg_http_streams(w->http) > 0)) publish(s, w);
    w->is_wanted = 0;
}
