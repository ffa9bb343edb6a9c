/* tuning.c - `code: auto`: what the rounds show goes to the tuner, and its choice to the machine.
 *
 *   PROBING --enough rounds--> CHOOSING --another code--> SWITCHING --SWITCHED--> SETTLED
 *      ^                          ^  '------ the same -------------------------------^  |
 *      |                          '------ rounds are not what was predicted ------------'
 *      '-- the same, and the code in force does not show what load costs now
 *
 * Rounds of a choice are looked at after 8 of them, then 16, 32 and so on. Where the tuner stays
 * with a code although its rounds take longer than it predicted (what it does not model, such as
 * the optimizer's time, is in them), the measured time is the prediction from then on. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "coordinator/shell/service_private.h"

#define FIRST_CHECK 8u
#define KEEP_PPM 20000u       /* another code must be better by 2 % */
#define POINTS_A_CELL 4u      /* room for points: so many for each worker and round looked at */
#define POINTS_MAX (1u << 19) /* 16 MiB */
#define RESOLUTION_S 0.0005   /* how exactly the reactor sees an answer come */
#define TABLE_ROWS 12u        /* of the tuner's table that are shown */

enum state { PROBING = 1, CHOOSING, SWITCHING, SETTLED };

struct brg_tuning {
    uint32_t state; /* enum state */
    uint32_t decisions;
    uint64_t rounds, total_ns; /* of the code in force, and from start to start of them */
    uint64_t busy_ns;          /* workers' time in these rounds */
    uint32_t outside;          /* the last look found the rounds outside the promise */
    uint32_t tried_count;
    struct brg_tuner_tried tried[BRG_TUNER_TRIED_MAX]; /* what codes in force really took */
    double alpha_s; /* time against load, as it was seen last; a code without parts shows none */
    uint64_t last_round, last_started_ns;
    uint64_t first_round; /* points count rounds from here */
    uint64_t check_at;
    struct brg_scheme *next;      /* SWITCHING: built, the machine has it */
    struct brg_tuner_row wish;    /* CHOOSING, SWITCHING: what was chosen */
    struct brg_tuner_row promise; /* of the code in force; deals 0: none */
    uint32_t row_count, candidates;
    struct brg_tuner_row rows[TABLE_ROWS]; /* the best of the last table, best first */
    uint32_t point_count, point_room;
    struct brg_point *points;
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

/* Forgets the older half of the rounds where there may be no room for another one. */
static void make_room(struct brg_tuning *t, uint32_t n) {
    uint32_t kept = 0;
    if (t->point_room - t->point_count >= n * (BRG_SCHEME_MINITASKS_MAX + 1)) return;
    const uint32_t middle = t->points[t->point_count / 2].round;
    for (uint32_t i = 0; i < t->point_count; i++) {
        if (t->points[i].round > middle) t->points[kept++] = t->points[i];
    }
    t->point_count = kept;
}

static void add_point(struct brg_tuning *t, uint32_t n, const struct brg_delay *delay) {
    if (t->point_count == t->point_room) return;
    t->points[t->point_count++] =
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

static uint64_t mean_ns(const struct brg_tuning *t) {
    return t->rounds > 0 ? t->total_ns / t->rounds : 0;
}

/* Keeps what the code in force did, for it and against it; the oldest record makes room. */
static void remember(struct brg_tuning *t, const struct brg_code_spec *code) {
    uint32_t at = 0;
    if (t->promise.deals == 0 || t->rounds == 0) return;
    while (at < t->tried_count && memcmp(&t->tried[at].spec, code, sizeof *code) != 0) at++;
    if (at == BRG_TUNER_TRIED_MAX) {
        memmove(t->tried, t->tried + 1, (BRG_TUNER_TRIED_MAX - 1) * sizeof *t->tried);
        at--;
    }
    if (at >= t->tried_count) t->tried_count = at + 1;
    t->tried[at] = (struct brg_tuner_tried){.spec = *code,
                                            .step_ns = mean_ns(t),
                                            .cost_ns = t->busy_ns / t->rounds,
                                            .rounds = (uint32_t)t->rounds};
}

/* The workers are not what they were: what is older than half of these rounds says nothing. */
static void forget_old(struct brg_tuning *t) {
    const uint64_t half = t->last_round - t->first_round - t->rounds / 2;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->point_count; i++) {
        if (t->points[i].round >= half) t->points[kept++] = t->points[i];
    }
    t->point_count = kept;
    t->tried_count = 0;
}

static void choose(struct brg_service *s) {
    struct brg_tuning *t = s->tuning;
    const struct brg_service_run *run = &s->runs[s->run_index];
    const struct brg_rounds *r = &s->core.rounds;
    const uint64_t left = r->plan.steps > r->newest ? r->plan.steps - r->newest : 1;
    struct brg_tuner_config config = {
        .n = run->config.workers,
        .models = run->config.models,
        .chunks = run->config.batch.chunks,
        .minimise = run->config.minimise,
        .keep_ppm = KEEP_PPM,
        .steps_left = left,
        .seed = run->config.seed,
        .alpha_s = t->alpha_s,
        .resolution_s = RESOLUTION_S,
        .options = {.reattempt = 1,
                    .regroup = 1,
                    .models = run->config.models,
                    .patience_ns = run->config.timeouts.round_patience_ns}};
    if (t->outside) {
        forget_old(t);
    } else {
        remember(t, &run->code);
    }
    config.tried_count = t->tried_count;
    memcpy(config.tried, t->tried, sizeof t->tried);
    if (s->link.shares > 0) config.options.vector_ns = s->link.busy_ns / s->link.shares;
    if (t->promise.deals > 0 || run->code_base > 0) config.current = run->code;
    struct brg_tune_work *work = brg_tune_work_new(&config, t->points, t->point_count);
    if (work == NULL) {
        brg_log_warn("run", NULL, "no memory to choose a code now; the one in force goes on");
        t->state = SETTLED;
        return;
    }
    t->state = CHOOSING;
    give(s, work);
}

/* 1 where it is time to ask the tuner. */
static int is_time(struct brg_tuning *t, uint32_t n) {
    if (t->state == PROBING) return t->rounds >= brg_tuner_probe_rounds(n);
    if (t->state != SETTLED || t->rounds < t->check_at) return 0;
    t->check_at *= 2;
    if (t->promise.deals == 0) return 1; /* the last choice came to nothing */
    t->outside = (uint32_t)brg_tuner_outside(&t->promise, mean_ns(t), (uint32_t)t->rounds);
    return t->outside != 0;
}

void brg_service_round(struct brg_service *s, const struct brg_round_log *log) {
    struct brg_tuning *t = s->tuning;
    if (s->run == NULL) return;
    if (t != NULL && t->first_round == 0) t->first_round = log->round;
    if (t != NULL) make_room(t, log->n);
    for (uint32_t p = 0; p < log->n; p++) {
        if (log->entries[p].member != BRG_NOBODY) take_entry(s, log, &log->entries[p]);
    }
    if (t == NULL) return;
    if (t->last_round != 0 && t->last_round + 1 == log->round) {
        t->rounds++;
        t->total_ns += log->started_ns - t->last_started_ns;
    }
    t->last_round = log->round;
    t->last_started_ns = log->started_ns;
    if (is_time(t, log->n)) choose(s);
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

static void settle(struct brg_tuning *t) {
    t->state = SETTLED;
    t->rounds = t->total_ns = t->busy_ns = 0;
    t->outside = 0;
    t->check_at = FIRST_CHECK;
}

static void tell(struct brg_service *s, const struct brg_tuner_row *row, const char *what) {
    const struct brg_tuning *t = s->tuning;
    const struct brg_service_run *run = &s->runs[s->run_index];
    char before[BRG_TUNER_TEXT_BYTES], after[BRG_TUNER_TEXT_BYTES];
    brg_service_event(s, BRG_EVENT_CODE, run->record.id, BRG_NOBODY,
                      "auto %s %s: %.4g s a step predicted, %.4g worker-seconds, the best of %u "
                      "candidates; %s took %.4g s a round over %" PRIu64 " rounds",
                      what, brg_tuner_spec_text(&row->spec, after), (double)row->step_ns / 1e9,
                      (double)row->cost_ns / 1e9, t->candidates,
                      brg_tuner_spec_text(&run->code, before), (double)mean_ns(t) / 1e9, t->rounds);
}

static void take_choice(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_tuning *t = s->tuning;
    const struct brg_service_run *run = &s->runs[s->run_index];
    uint32_t count = 0;
    const struct brg_tuner_row *rows = brg_tuner_rows(job->tune->tuner, &count);
    const struct brg_profile_summary *seen = brg_tuner_summary(job->tune->tuner);
    t->wish = rows[brg_tuner_choice(job->tune->tuner)];
    keep_table(s, rows, count);
    if (seen->has_slope == 1) t->alpha_s = seen->alpha_s;
    if (t->outside && seen->has_slope != 1) {
        t->wish = (struct brg_tuner_row){
            .spec = brg_tuner_probe_spec(run->config.workers, run->config.batch.chunks)};
    }
    if (memcmp(&t->wish.spec, &run->code, sizeof run->code) == 0) {
        if (t->decisions++ == 0) tell(s, &t->wish, "stays with");
        t->promise = t->wish;
        if (mean_ns(t) > 0) t->promise.step_ns = mean_ns(t);
        settle(t);
        return;
    }
    job->tune->code = t->wish.spec;
    job->tune->stage = BRG_TUNE_BUILD;
    give(s, job->tune);
    job->tune = NULL;
}

static void take_scheme(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_tuning *t = s->tuning;
    struct brg_coord_event ev = {
        .type = BRG_EV_SWITCH, .run = job->run_id, .scheme = job->tune->scheme};
    const int rc = brg_service_feed(s, &ev);
    if (rc != BRG_OK) { /* the run is about to end: the scheme goes with the job */
        settle(t);
        return;
    }
    t->next = job->tune->scheme;
    job->tune->scheme = NULL;
    t->state = SWITCHING;
    t->decisions++;
    if (t->wish.deals > 0) tell(s, &t->wish, "takes");
}

void brg_tuning_answer(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_tuning *t = s->tuning;
    if (t == NULL || s->run == NULL || s->run->config.id != job->run_id || t->state != CHOOSING) {
        return; /* the run was closed in between */
    }
    if (job->rc != BRG_OK) {
        brg_log_warn("run", BRG_FIELDS(BRG_U64("run", job->run_id)),
                     "no code could be chosen, the one in force goes on: %s", job->why.text);
        settle(t);
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
    t->promise = t->wish;
    t->last_round = 0;
    settle(t);
    if (t->promise.deals > 0) return;
    t->state = PROBING; /* anew: all that was seen is of another time */
    t->point_count = 0;
    brg_service_event(s, BRG_EVENT_CODE, s->run->config.id, BRG_NOBODY,
                      "auto probes again: the rounds are not what they were, and the code in force "
                      "does not show what load costs");
}

/* ---- open, close, show ---- */

void brg_tuning_open(struct brg_service *s) {
    const struct brg_run_config *config = &s->run->config.run;
    BRG_ASSERT(s->tuning == NULL);
    if (config->scheme != BRG_RUN_SCHEME_AUTO) return;
    struct brg_tuning *t = calloc(1, sizeof *t);
    BRG_ASSERT(t != NULL);
    const uint64_t room = (uint64_t)config->workers * POINTS_A_CELL * BRG_TUNER_WINDOW_MAX;
    t->state = PROBING;
    t->point_room = room < POINTS_MAX ? (uint32_t)room : POINTS_MAX;
    t->points = calloc(t->point_room, sizeof *t->points);
    BRG_ASSERT(t->points != NULL);
    s->tuning = t;
}

void brg_tuning_close(struct brg_service *s) {
    if (s->tuning == NULL) return;
    free(s->tuning->next); /* it never came into force */
    free(s->tuning->points);
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

cJSON *brg_tuning_show(const struct brg_service *s) {
    static const char *const names[] = {"", "probing", "choosing", "switching", "settled"};
    const struct brg_tuning *t = s->tuning;
    if (t == NULL) return cJSON_CreateNull();
    const struct brg_run_config *config = &s->run->config.run;
    char text[BRG_TUNER_TEXT_BYTES] = "";
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "state", names[t->state]);
    (void)cJSON_AddStringToObject(o, "minimise",
                                  config->minimise == BRG_MINIMISE_COST ? "cost" : "time");
    (void)cJSON_AddNumberToObject(o, "probe_rounds", brg_tuner_probe_rounds(config->workers));
    (void)cJSON_AddNumberToObject(o, "rounds", (double)t->rounds);
    (void)cJSON_AddNumberToObject(o, "decisions", t->decisions);
    if (t->promise.deals > 0) (void)brg_tuner_spec_text(&t->promise.spec, text);
    (void)cJSON_AddStringToObject(o, "choice", text);
    if (t->promise.deals > 0) add_seconds(o, "predicted_step_s", t->promise.step_ns);
    if (t->rounds > 0) add_seconds(o, "measured_round_s", mean_ns(t));
    (void)cJSON_AddNumberToObject(o, "candidates", t->candidates);
    cJSON *table = cJSON_AddArrayToObject(o, "table");
    for (uint32_t i = 0; i < t->row_count; i++) add_row(table, &t->rows[i]);
    return o;
}
