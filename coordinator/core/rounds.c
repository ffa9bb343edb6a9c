/* rounds.c - rounds: when one starts, when it may end, what is left of it. */
#include "coordinator/core/rounds.h"

#include <string.h>

#include "coding/regroup.h"
#include "coordinator/core/rounds_private.h"

/* Rounds that end at once, since no work is left in them, come T in a row at most, and then a
 * switch and a round that does not; with some to spare. */
#define ROUNDS_A_STEP_MAX (2u * BRG_SCHEME_JOBS_MAX + 4u)

/* ---- steps in flight ---- */

const struct brg_job *brg_rounds_job(const struct brg_rounds *r, uint64_t step) {
    const struct brg_job *job = &r->jobs[step % BRG_JOBS_MAX];
    return step != 0 && job->step == step ? job : NULL;
}

int brg_rounds_is_open(const struct brg_rounds *r, uint64_t step) {
    if (r->phase != BRG_PHASE_WAITING && r->phase != BRG_PHASE_COLLECTING) return 0;
    return r->target == 0 && step > r->ended && step <= r->newest;
}

struct brg_job *brg_rounds_open_job(struct brg_rounds *r, uint64_t step) {
    BRG_ASSERT(step > r->ended && step <= r->newest);
    struct brg_job *job = &r->jobs[step % BRG_JOBS_MAX];
    BRG_ASSERT(job->step == step);
    return job;
}

uint64_t brg_rounds_count(const struct brg_rounds *r) {
    BRG_ASSERT(r->round >= r->since);
    return r->round - r->since + 1;
}

void brg_rounds_have(const struct brg_rounds *r, const struct brg_members *m, enum brg_trust trust,
                     struct brg_bits *have) {
    const uint64_t count = brg_rounds_count(r);
    const uint32_t jobs = brg_scheme_jobs(r->scheme);
    for (uint32_t d = 0; d < jobs; d++) {
        const uint64_t step = r->base + count - d;
        if (d >= count || step > r->newest) { /* absent: before the first, after the last */
            brg_bits_fill(&have[d], r->unit_count);
            continue;
        }
        const struct brg_job *job = brg_rounds_job(r, step);
        BRG_ASSERT(job != NULL && step > r->ended);
        have[d] = job->held;
        if (trust == BRG_TRUST_HELD_IF_DUE && d + 1 == jobs) continue;
        for (uint32_t u = brg_bits_next(&job->pulling, 0); u < BRG_BITS_MAX;
             u = brg_bits_next(&job->pulling, u + 1)) {
            if (m->items[job->units[u].puller].broken == 0) brg_bits_add(&have[d], u);
        }
    }
}

/* ---- the start of a round ---- */

static void start_job(struct brg_rounds *r, uint64_t now_ns) {
    r->newest++;
    struct brg_job *job = &r->jobs[r->newest % BRG_JOBS_MAX];
    BRG_ASSERT(job->step <= r->applied); /* nobody needs what was here before */
    memset(job, 0, sizeof *job);
    job->step = r->newest;
    job->started_ns = now_ns;
    for (uint32_t u = 0; u < r->unit_count; u++) job->units[u].puller = BRG_NOBODY;
}

/* 1 where the round starts no step and nothing in flight needs it: it ends as it begins. */
static int is_needless(const struct brg_rounds *r, const struct brg_members *m) {
    struct brg_bits have[BRG_SCHEME_JOBS_MAX];
    const uint64_t count = brg_rounds_count(r);
    if (r->newest == r->base + count) return 0;
    brg_rounds_have(r, m, BRG_TRUST_HELD_IF_DUE, have);
    return brg_scheme_may_end(r->scheme, count, have);
}

static void start_round(struct brg_rounds *r, struct brg_members *m, int with_step, uint64_t now_ns,
                        struct brg_coord_actions *out) {
    r->round++;
    if (with_step) start_job(r, now_ns);
    BRG_ASSERT(r->newest <= r->base + brg_rounds_count(r));
    r->phase = BRG_PHASE_COLLECTING;
    r->started_ns = now_ns;
    r->first_ns = r->decodable_ns = BRG_POLICY_NEVER;
    r->look_ns = 0; /* the units of vacant positions are missing at once */
    r->answered = r->satisfied = r->recheck = r->short_by = r->handed_out = r->reattempts = 0;
    r->hungry = r->starved = 0;
    brg_bits_clear(&r->unfinished);
    BRG_ASSERT(r->outstanding == 0);
    r->running.round = r->round;
    r->running.step = r->newest;
    r->running.n = r->plan.code.n;
    r->running.waited = 0;
    r->running.started_ns = now_ns;
    if (is_needless(r, m)) {
        r->running.n = 0;
        return;
    }
    if (brg_scheme_delay(r->scheme) == 0) brg_rounds_regroup(r, m);
    brg_rounds_fill(r, m);
    brg_rounds_hand_out(r, m, now_ns, out);
}

/* 1 and a round is started, or another code is in force: there is more to do now. */
static int go_on(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                 struct brg_coord_actions *out) {
    if (r->target != 0) return 0;
    const uint64_t last = r->next != NULL ? r->newest : r->plan.steps;
    const int with_step = r->newest < last;
    if (!with_step && r->ended == r->newest) return brg_rounds_switch_if_empty(r, m, out);
    if (!r->begun) {
        uint32_t here = 0;
        for (uint32_t i = 0; i < m->count; i++) here += (uint32_t)brg_rounds_works(&m->items[i]);
        if (here < r->plan.min_workers) return 0;
        r->begun = 1;
    }
    /* The new step starts from what its model came to in the step before of it. */
    if (with_step && r->newest + 1 > r->applied + r->plan.models) return 0;
    start_round(r, m, with_step, now_ns, out);
    return 1;
}

/* ---- the end of a round ---- */

/* 1 where what is here does for the code by its weakest rule. */
static int is_satisfied(struct brg_rounds *r, const struct brg_members *m) {
    struct brg_bits have[BRG_SCHEME_JOBS_MAX], missing[BRG_SCHEME_JOBS_MAX];
    if (!r->recheck && (r->satisfied || r->short_by > 0)) return (int)r->satisfied;
    const uint64_t count = brg_rounds_count(r);
    r->recheck = r->short_by = 0;
    brg_rounds_have(r, m, BRG_TRUST_HELD_IF_DUE, have);
    r->satisfied = (uint32_t)brg_scheme_may_end(r->scheme, count, have);
    if (!r->satisfied) {
        r->short_by = brg_scheme_missing(r->scheme, count, have, missing);
        r->decodable_ns = BRG_POLICY_NEVER;
    }
    return (int)r->satisfied;
}

/* 1 where the code is satisfied and the policy does not want to wait; *next_ns: when to look again.
 * Nobody is waited for longer than the bound of a task: a worker may hang and beat. */
static int may_end(struct brg_rounds *r, const struct brg_members *m, uint64_t now_ns,
                   uint64_t *next_ns) {
    if (!is_satisfied(r, m)) return 0;
    const struct brg_code_spec *code = &r->plan.code;
    const uint64_t bound_ns = r->started_ns + r->plan.task_timeout_ns;
    const uint32_t waited_for = now_ns < bound_ns ? r->outstanding : 0;
    if (waited_for > 0 && bound_ns < *next_ns) *next_ns = bound_ns;
    if (r->decodable_ns == BRG_POLICY_NEVER) {
        /* By the published rule who is late counts too, unless nobody is left to wait for. */
        if (code->rule == BRG_RULE_MODEL && waited_for > 0 &&
            !brg_pattern_conforms(code, &r->pattern, &r->unfinished)) {
            return 0;
        }
        r->decodable_ns = now_ns;
    }
    const struct brg_policy_round round = {.now_ns = now_ns,
                                           .started_ns = r->started_ns,
                                           .first_ns = r->first_ns,
                                           .decodable_ns = r->decodable_ns,
                                           .answered = r->answered,
                                           .expected = r->answered + waited_for};
    uint64_t wake_ns = BRG_POLICY_NEVER;
    const int end = brg_policy_may_end(code, &round, &wake_ns);
    if (wake_ns < *next_ns) *next_ns = wake_ns;
    return end;
}

/* Who was late in this round is likely to be late in the next. */
static void score(const struct brg_rounds *r, struct brg_members *m) {
    for (uint32_t p = 0; p < r->running.n; p++) {
        const struct brg_round_entry *entry = &r->running.entries[p];
        if (entry->member == BRG_NOBODY || entry->count == 0) continue;
        struct brg_member *member = &m->items[entry->member];
        member->late_ppm = brg_regroup_decay_ppm(member->late_ppm, brg_bits_has(&r->unfinished, p));
    }
}

static void keep_log(struct brg_rounds *r, uint64_t now_ns, uint64_t due,
                     struct brg_coord_actions *out) {
    r->running.ended_ns = now_ns;
    r->running.due = due;
    memcpy(&r->log, &r->running,
           offsetof(struct brg_round_log, entries) + r->running.n * sizeof r->log.entries[0]);
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_ROUND, .run = r->plan.run, .round = r->round});
}

static void end_round(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                      struct brg_coord_actions *out) {
    const uint64_t count = brg_rounds_count(r), delay = brg_scheme_delay(r->scheme);
    const uint64_t due = count > delay ? r->base + count - delay : 0;
    if (r->handed_out > 0) {
        score(r, m);
        keep_log(r, now_ns, due, out);
    }
    brg_pattern_commit(&r->plan.code, &r->pattern, &r->unfinished, r->reattempts);
    for (uint32_t i = 0; i < m->count; i++) brg_rounds_forget_tasks(r, &m->items[i]);
    r->phase = BRG_PHASE_WAITING;
    if (due == 0) return;
    BRG_ASSERT(due == r->ended + 1);
    brg_rounds_open_job(r, due)->ended_ns = now_ns;
    r->ended = due;
    brg_rounds_decode_next(r, out);
}

/* ---- all of it ---- */

uint64_t brg_rounds_advance(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                            struct brg_coord_actions *out) {
    uint64_t wake_ns = UINT64_MAX;
    for (uint32_t i = 0; i < ROUNDS_A_STEP_MAX; i++) {
        wake_ns = UINT64_MAX;
        brg_rounds_finish_if_through(r, out);
        if (r->phase == BRG_PHASE_IDLE || r->phase == BRG_PHASE_FINISHING) return wake_ns;
        if (r->target != 0) return wake_ns; /* only what is being decoded counts any more */
        const int look = now_ns >= r->look_ns;
        uint64_t look_ns = UINT64_MAX;
        if (look) brg_rounds_look_at_pulls(r, m, now_ns, &look_ns, out);
        if (r->phase == BRG_PHASE_COLLECTING) {
            if (may_end(r, m, now_ns, &wake_ns)) {
                end_round(r, m, now_ns, out);
                continue; /* look_ns as it was: what is open still has its pulls */
            }
            if (look) brg_rounds_look_at_units(r, m, now_ns, &look_ns, out);
        }
        if (look) r->look_ns = look_ns;
        if (r->phase == BRG_PHASE_WAITING && go_on(r, m, now_ns, out)) continue;
        return r->look_ns < wake_ns ? r->look_ns : wake_ns;
    }
    BRG_ASSERT(0 && "rounds that end at once, without end");
    return wake_ns;
}

void brg_rounds_open(struct brg_rounds *r, const struct brg_run_plan *plan,
                     const struct brg_scheme *scheme, uint64_t committed) {
    BRG_ASSERT(r->phase == BRG_PHASE_IDLE);
    BRG_ASSERT(committed <= plan->steps);
    BRG_ASSERT(plan->models > brg_scheme_delay(scheme));
    BRG_ASSERT(plan->models <= BRG_MODELS_MAX);
    const uint64_t round = r->round;
    memset(r, 0, sizeof *r);
    r->plan = *plan;
    r->plan.code = *brg_scheme_spec(scheme);
    r->scheme = scheme;
    r->round = round;
    r->since = round + 1;
    r->base = r->newest = r->ended = r->committed = r->applied = committed;
    r->first_ns = r->decodable_ns = BRG_POLICY_NEVER;
    r->unit_count = brg_scheme_unit_count(scheme);
    r->phase = BRG_PHASE_WAITING;
    for (uint32_t p = 0; p < BRG_CODE_WORKERS_MAX; p++) r->position[p] = BRG_NOBODY;
}

void brg_rounds_close(struct brg_rounds *r, struct brg_members *m) {
    BRG_ASSERT(r->phase == BRG_PHASE_IDLE);
    for (uint32_t i = 0; i < m->count; i++) {
        brg_rounds_forget_tasks(r, &m->items[i]);
        m->items[i].position = BRG_NOBODY;
    }
    const uint64_t round = r->round;
    memset(r, 0, sizeof *r);
    r->round = round; /* rises over all runs, so that no task of one looks new in another */
}

/* ---- the invariants ---- */

static void check_job(const struct brg_rounds *r, const struct brg_members *m, uint64_t step) {
    const struct brg_job *job = brg_rounds_job(r, step);
    BRG_ASSERT(job != NULL);
    for (uint32_t u = 0; u < r->unit_count; u++) {
        const struct brg_progress *unit = &job->units[u];
        BRG_ASSERT(unit->holder_count <= BRG_HOLDERS_MAX);
        BRG_ASSERT(brg_bits_has(&job->held, u) == (unit->state == BRG_UNIT_HELD));
        BRG_ASSERT(brg_bits_has(&job->pulling, u) == (unit->state == BRG_UNIT_PULLING));
        if (unit->state == BRG_UNIT_OPEN) continue;
        BRG_ASSERT(unit->puller < m->count);
        if (unit->state == BRG_UNIT_HELD) continue;
        BRG_ASSERT(brg_rounds_holder(unit, unit->puller) < unit->holder_count);
        BRG_ASSERT(r->target != 0 || r->look_ns <= unit->pull_deadline_ns);
    }
}

static void check_members(const struct brg_rounds *r, const struct brg_members *m) {
    uint32_t seated = 0, in_wave = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        if (member->position != BRG_NOBODY) BRG_ASSERT(r->position[member->position] == i);
        seated += member->position != BRG_NOBODY;
        in_wave += member->in_wave;
        if (member->in_wave) BRG_ASSERT(member->task_count > 0 && member->position != BRG_NOBODY);
        for (uint32_t k = 0; k < member->task_count; k++) {
            BRG_ASSERT(r->phase == BRG_PHASE_COLLECTING);
            BRG_ASSERT(brg_rounds_is_open(r, member->tasks[k].step));
            BRG_ASSERT(member->tasks[k].unit < r->unit_count);
        }
    }
    BRG_ASSERT(seated == r->seated);
    BRG_ASSERT(in_wave == r->outstanding);
}

void brg_rounds_check(const struct brg_rounds *r, const struct brg_members *m) {
    BRG_ASSERT(r->phase <= BRG_PHASE_FINISHING);
    if (r->phase == BRG_PHASE_IDLE) return;
    BRG_ASSERT(r->scheme != NULL);
    BRG_ASSERT(r->applied <= r->committed && r->committed <= r->ended);
    BRG_ASSERT(r->ended <= r->newest && r->newest <= r->plan.steps);
    BRG_ASSERT(r->newest <= r->applied + r->plan.models);
    BRG_ASSERT(r->base <= r->ended);
    BRG_ASSERT(r->decoding == 0 || r->decoding == r->committed + 1);
    BRG_ASSERT(r->since <= r->round + 1);
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        if (r->position[p] == BRG_NOBODY) continue;
        BRG_ASSERT(r->position[p] < m->count);
        BRG_ASSERT(m->items[r->position[p]].position == p);
    }
    check_members(r, m);
    for (uint64_t step = r->ended + 1; step <= r->newest; step++) check_job(r, m, step);
}
