/* tuning.c - `code: auto`: what the rounds show goes into the book (coding/retune.h), the tuner's
 * choice to the machine.
 *
 *   LISTENING --due--> CHOOSING --another code, or the probe--> SWITCHING --SWITCHED--> LISTENING
 *       ^                  '------------- the same ------------------------------------------^
 *
 * Where the tuner stays with a code although its rounds take longer than it predicted (what it does
 * not model, such as the optimizer's time, is in them), the measured time is the promise from then
 * on. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "coding/retune.h"
#include "coordinator/shell/service_private.h"

#define POINTS_MAX (1u << 19) /* 16 MiB */
#define RESOLUTION_S 0.0005   /* how exactly the reactor sees an answer come */
#define TABLE_ROWS 12u        /* of the tuner's table that are shown */

enum state { LISTENING = 1, CHOOSING, SWITCHING };

struct brg_tuning {
    uint32_t state; /* enum state */
    uint32_t decisions;
    struct brg_retune book;
    uint64_t last_round, last_started_ns;
    uint64_t busy_ns;          /* workers' time in the last round */
    uint64_t first_round;      /* points count rounds from here */
    struct brg_scheme *next;   /* SWITCHING: built, the machine has it */
    struct brg_tuner_row wish; /* CHOOSING, SWITCHING: what was chosen; deals 0: the probe */
    uint32_t row_count, candidates;
    struct brg_tuner_row rows[TABLE_ROWS];  /* the best of the last table, best first */
    uint32_t members[BRG_CODE_WORKERS_MAX]; /* worker of a point -> member */
    uint64_t seen[BRG_CODE_WORKERS_MAX];    /* the round it was last seen in; 0: free */
};

/* ---- what rounds show ---- */

/* The worker number of a member: as many as the code has positions; of more members those that
 * were not seen for longest give way. */
static uint32_t worker_of(struct brg_tuning *t, uint32_t n, uint32_t member, uint64_t round) {
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (t->seen[i] != 0 && t->members[i] == member) {
            t->seen[i] = round;
            return i;
        }
        if (t->seen[i] < t->seen[oldest]) oldest = i;
    }
    t->members[oldest] = member;
    t->seen[oldest] = round;
    return oldest;
}

static void add_point(struct brg_tuning *t, uint32_t n, const struct brg_delay *delay) {
    struct brg_retune *book = &t->book;
    if (book->point_count == book->point_room) return;
    book->points[book->point_count++] =
        (struct brg_point){.round = (uint32_t)(delay->round - t->first_round),
                           .worker = worker_of(t, n, delay->member, delay->round),
                           .load = (double)delay->chunks / delay->total,
                           .seconds = (double)delay->ns / 1e9,
                           .censored = delay->censored};
}

/* What one position did in the round: a record for each task it finished, and one for the first
 * that it did not. */
static void take_entry(struct brg_service *s, const struct brg_round_log *log,
                       const struct brg_round_entry *e) {
    struct brg_delay delay = {
        .round = log->round, .member = e->member, .total = s->run->config.run.batch.chunks};
    for (uint32_t k = 0; k < e->count && k < BRG_SCHEME_MINITASKS_MAX && !delay.censored; k++) {
        delay.chunks += e->chunks[k];
        delay.censored = e->done_ns[k] == 0;
        delay.ns = delay.censored ? log->ended_ns - log->started_ns : e->done_ns[k];
        brg_delays_add(s->delays, &delay);
        if (s->tuning != NULL) add_point(s->tuning, log->n, &delay);
    }
    if (s->tuning != NULL) s->tuning->busy_ns += delay.ns;
}

static void give(struct brg_service *s, struct brg_tune_work *work) {
    struct brg_shell_job *job = brg_job_new(BRG_JOB_TUNE);
    job->run_id = s->run->config.id;
    job->tune = work;
    brg_jobs_give(s->jobs, job);
}

static void choose(struct brg_service *s) {
    struct brg_tuning *t = s->tuning;
    const struct brg_rounds *r = &s->core.rounds;
    struct brg_tuner_config *config = &t->book.config;
    brg_retune_prepare(&t->book, r->plan.steps > r->newest ? r->plan.steps - r->newest : 1);
    if (s->link.shares > 0) config->options.vector_ns = s->link.busy_ns / s->link.shares;
    struct brg_tune_work *work = brg_tune_work_new(config, t->book.points, t->book.point_count);
    if (work == NULL) {
        brg_log_warn("run", NULL, "no memory to choose a code now; the one in force goes on");
        brg_retune_failed(&t->book);
        return;
    }
    t->state = CHOOSING;
    give(s, work);
}

void brg_service_round(struct brg_service *s, const struct brg_round_log *log) {
    struct brg_tuning *t = s->tuning;
    if (s->run == NULL) return;
    if (t != NULL) {
        if (t->first_round == 0) t->first_round = log->round;
        brg_retune_make_room(&t->book, log->n * (BRG_SCHEME_MINITASKS_MAX + 1));
        t->busy_ns = 0;
    }
    for (uint32_t p = 0; p < log->n; p++) {
        if (log->entries[p].member != BRG_NOBODY) take_entry(s, log, &log->entries[p]);
    }
    if (t == NULL) return;
    t->book.round = log->round - t->first_round + 1;
    if (t->last_round != 0 && t->last_round + 1 == log->round) {
        brg_retune_round(&t->book, log->started_ns - t->last_started_ns, t->busy_ns);
    }
    t->last_round = log->round;
    t->last_started_ns = log->started_ns;
    if (t->state == LISTENING && brg_retune_is_due(&t->book)) choose(s);
}

/* ---- what the tuner says ---- */

static uint64_t worth(const struct brg_service *s, const struct brg_tuner_row *row) {
    return s->runs[s->run_index].config.minimise == BRG_MINIMISE_COST ? row->cost_ns : row->step_ns;
}

/* The best rows of the table that were replayed in full, best first, by insertion. */
static void keep_table(struct brg_service *s, const struct brg_tuner_row *rows, uint32_t count) {
    struct brg_tuning *t = s->tuning;
    t->row_count = 0;
    t->candidates = count;
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].step_ns == UINT64_MAX || rows[i].deals < BRG_TUNER_DEALS) continue;
        uint32_t at = t->row_count < TABLE_ROWS ? t->row_count++ : TABLE_ROWS;
        if (at == TABLE_ROWS && worth(s, &rows[i]) >= worth(s, &t->rows[TABLE_ROWS - 1])) continue;
        if (at == TABLE_ROWS) at--;
        for (; at > 0 && worth(s, &rows[i]) < worth(s, &t->rows[at - 1]); at--) {
            t->rows[at] = t->rows[at - 1];
        }
        t->rows[at] = rows[i];
    }
}

static void tell(struct brg_service *s, const struct brg_tuner_row *row, const char *what) {
    const struct brg_tuning *t = s->tuning;
    const struct brg_service_run *run = &s->runs[s->run_index];
    char before[BRG_TUNER_TEXT_BYTES], after[BRG_TUNER_TEXT_BYTES];
    brg_service_event(
        s, BRG_EVENT_CODE, run->record.id, BRG_NOBODY,
        "auto %s %s: %.4g s a step predicted, %.4g worker-seconds, the best of %u "
        "candidates; %s took %.4g s a round over %" PRIu64 " rounds",
        what, brg_tuner_spec_text(&row->spec, after), (double)row->step_ns / 1e9,
        (double)row->cost_ns / 1e9, t->candidates, brg_tuner_spec_text(&run->code, before),
        (double)brg_retune_mean_ns(&t->book) / 1e9, t->book.now.rounds - t->book.from.rounds);
}

static void build(struct brg_service *s, struct brg_shell_job *job) {
    job->tune->code = s->tuning->wish.spec;
    job->tune->stage = BRG_TUNE_BUILD;
    give(s, job->tune);
    job->tune = NULL;
}

static void take_choice(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_tuning *t = s->tuning;
    const struct brg_run_config *config = &s->runs[s->run_index].config;
    uint32_t count = 0;
    if (brg_retune_must_probe(&t->book, brg_tuner_summary(job->tune->tuner))) {
        t->wish = (struct brg_tuner_row){
            .spec = brg_tuner_probe_spec(config->workers, config->batch.chunks)};
        build(s, job);
        return;
    }
    const struct brg_tuner_row *rows = brg_tuner_rows(job->tune->tuner, &count);
    t->wish = rows[brg_tuner_choice(job->tune->tuner)];
    keep_table(s, rows, count);
    if (memcmp(&t->wish.spec, &t->book.spec, sizeof t->book.spec) != 0) {
        build(s, job);
        return;
    }
    if (t->decisions++ == 0) tell(s, &t->wish, "stays with");
    const uint64_t measured_ns = brg_retune_mean_ns(&t->book);
    if (measured_ns > 0) t->wish.step_ns = measured_ns;
    brg_retune_stay(&t->book, &t->wish);
    t->state = LISTENING;
}

static void take_scheme(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_tuning *t = s->tuning;
    struct brg_coord_event ev = {
        .type = BRG_EV_SWITCH, .run = job->run_id, .scheme = job->tune->scheme};
    const int rc = brg_service_feed(s, &ev);
    if (rc != BRG_OK) { /* the run is about to end: the scheme goes with the job */
        brg_retune_failed(&t->book);
        t->state = LISTENING;
        return;
    }
    t->next = job->tune->scheme;
    job->tune->scheme = NULL;
    t->state = SWITCHING;
    if (t->wish.deals == 0) {
        brg_service_event(s, BRG_EVENT_CODE, job->run_id, BRG_NOBODY,
                          "auto probes again: the rounds are not what they were, and the code in "
                          "force does not show what load costs");
        return;
    }
    t->decisions++;
    tell(s, &t->wish, "takes");
}

void brg_tuning_answer(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_tuning *t = s->tuning;
    if (t == NULL || s->run == NULL || s->run->config.id != job->run_id || t->state != CHOOSING) {
        return; /* the run was closed in between */
    }
    if (job->rc != BRG_OK) {
        brg_log_warn("run", BRG_FIELDS(BRG_U64("run", job->run_id)),
                     "no code could be chosen, the one in force goes on: %s", job->why.text);
        brg_retune_failed(&t->book);
        t->state = LISTENING;
        return;
    }
    switch ((enum brg_tune_stage)job->tune->stage) {
    case BRG_TUNE_CHOSEN: take_choice(s, job); break;
    case BRG_TUNE_BUILT: take_scheme(s, job); break;
    case BRG_TUNE_FIT:
    case BRG_TUNE_REPLAY:
    case BRG_TUNE_BUILD:
        give(s, job->tune); /* behind what was queued meanwhile */
        job->tune = NULL;
        break;
    }
}

void brg_tuning_switched(struct brg_service *s) {
    struct brg_tuning *t = s->tuning;
    BRG_ASSERT(s->run != NULL && t != NULL && t->next != NULL);
    free(s->run->scheme); /* all its steps are decoded */
    s->run->scheme = t->next;
    t->next = NULL;
    brg_retune_begin(&t->book, &t->wish.spec, t->wish.deals > 0 ? &t->wish : NULL);
    t->last_round = 0;
    t->state = LISTENING;
}

/* ---- open, close, show ---- */

void brg_tuning_open(struct brg_service *s) {
    const struct brg_service_run *run = &s->runs[s->run_index];
    const struct brg_run_config *config = &s->run->config.run;
    BRG_ASSERT(s->tuning == NULL);
    if (config->scheme != BRG_RUN_SCHEME_AUTO) return;
    struct brg_tuning *t = calloc(1, sizeof *t);
    BRG_ASSERT(t != NULL);
    const uint32_t wanted = brg_retune_point_room(config->workers);
    const uint32_t room = wanted < POINTS_MAX ? wanted : POINTS_MAX;
    struct brg_point *points = calloc(room, sizeof *points);
    BRG_ASSERT(points != NULL);
    struct brg_tuner_config tuner = {
        .n = config->workers,
        .models = config->models,
        .chunks = config->batch.chunks,
        .minimise = config->minimise,
        .seed = config->seed,
        .resolution_s = RESOLUTION_S,
        .options = {.reattempt = 1,
                    .regroup = 1,
                    .models = config->models,
                    .patience_ns = config->timeouts.round_patience_ns}};
    if (run->code_base > 0) tuner.current = run->code; /* chosen before a restart */
    brg_retune_init(&t->book, &tuner, points, room);
    brg_retune_begin(&t->book, &run->code, NULL);
    t->state = LISTENING;
    s->tuning = t;
}

void brg_tuning_close(struct brg_service *s) {
    if (s->tuning == NULL) return;
    free(s->tuning->next); /* it never came into force */
    free(s->tuning->book.points);
    free(s->tuning);
    s->tuning = NULL;
}

static void add_seconds(cJSON *to, const char *key, uint64_t ns) {
    (void)cJSON_AddNumberToObject(to, key, (double)ns / 1e9);
}

static void add_row(cJSON *table, const struct brg_tuner_row *row) {
    char text[BRG_TUNER_TEXT_BYTES];
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "code", brg_tuner_spec_text(&row->spec, text));
    add_seconds(o, "step_s", row->step_ns);
    add_seconds(o, "worker_s", row->cost_ns);
    add_seconds(o, "spread_s", row->spread_ns);
    (void)cJSON_AddNumberToObject(o, "waited", row->waited_ppm / 1e6);
    (void)cJSON_AddItemToArray(table, o);
}

static const char *state_name(const struct brg_tuning *t) {
    if (t->state == CHOOSING) return "choosing";
    if (t->state == SWITCHING) return "switching";
    return t->book.promise.deals > 0 ? "settled" : "probing";
}

cJSON *brg_tuning_show(const struct brg_service *s) {
    const struct brg_tuning *t = s->tuning;
    if (t == NULL) return cJSON_CreateNull();
    const struct brg_run_config *config = &s->run->config.run;
    char text[BRG_TUNER_TEXT_BYTES] = "";
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "state", state_name(t));
    (void)cJSON_AddStringToObject(o, "minimise",
                                  config->minimise == BRG_MINIMISE_COST ? "cost" : "time");
    const struct brg_retune *book = &t->book;
    const uint64_t measured_ns = brg_retune_mean_ns(book);
    (void)cJSON_AddNumberToObject(o, "probe_rounds", book->probe_rounds);
    (void)cJSON_AddNumberToObject(o, "rounds", (double)(book->now.rounds - book->from.rounds));
    (void)cJSON_AddNumberToObject(o, "decisions", t->decisions);
    if (book->promise.deals > 0) (void)brg_tuner_spec_text(&book->promise.spec, text);
    (void)cJSON_AddStringToObject(o, "choice", text);
    if (book->promise.deals > 0) add_seconds(o, "predicted_step_s", book->promise.step_ns);
    if (measured_ns > 0) add_seconds(o, "measured_round_s", measured_ns);
    (void)cJSON_AddNumberToObject(o, "candidates", t->candidates);
    cJSON *table = cJSON_AddArrayToObject(o, "table");
    for (uint32_t i = 0; i < t->row_count; i++) add_row(table, &t->rows[i]);
    return o;
}
