/* progress.c - how units come along: pulls, what is late, what is attempted again and by whom. */
#include <string.h>

#include "coordinator/core/rounds_private.h"

/* With patience by measurement, never less than this: scheduling noise is not straggling. */
#define PATIENCE_MIN_NS (50 * BRG_NS_PER_MS)
/* Shares that one member may have on the way before it gets one more unit to attempt: it can hold
 * only so many, and a slow line must not make it drop what is being pulled. */
#define PULLS_PENDING_MAX 4u

/* ---- shares ---- */

/* Something that the code may have counted on is lost, or late. */
static void lost(struct brg_rounds *r) {
    r->look_ns = 0;
    r->recheck = 1;
}

/* The state of a unit, and the sets that follow it. */
static void set_state(struct brg_job *job, uint32_t unit, uint32_t state, uint32_t puller) {
    struct brg_progress *u = &job->units[unit];
    u->state = state;
    u->puller = puller;
    brg_bits_remove(&job->held, unit);
    brg_bits_remove(&job->pulling, unit);
    if (state == BRG_UNIT_HELD) brg_bits_add(&job->held, unit);
    if (state == BRG_UNIT_PULLING) brg_bits_add(&job->pulling, unit);
}

/* One more unit is here or promised: the code may be satisfied with so many less. */
static void came(struct brg_rounds *r) {
    if (r->short_by > 0) r->short_by--;
}

void brg_rounds_hold(struct brg_rounds *r, struct brg_job *job, uint32_t unit) {
    BRG_ASSERT(job->units[unit].state == BRG_UNIT_PULLING);
    set_state(job, unit, BRG_UNIT_HELD, job->units[unit].puller);
    came(r);
}

uint32_t brg_rounds_holder(const struct brg_progress *u, uint32_t member) {
    uint32_t k = 0;
    while (k < u->holder_count && u->holders[k] != member) k++;
    return k;
}

void brg_rounds_drop_holder(struct brg_rounds *r, struct brg_job *job, uint32_t unit, uint32_t k) {
    struct brg_progress *u = &job->units[unit];
    BRG_ASSERT(k < u->holder_count);
    if (u->state == BRG_UNIT_PULLING && u->puller == u->holders[k]) {
        set_state(job, unit, BRG_UNIT_OPEN, BRG_NOBODY);
        lost(r);
    }
    u->holder_count--;
    for (uint32_t i = k; i < u->holder_count; i++) {
        u->holders[i] = u->holders[i + 1];
        u->digests[i] = u->digests[i + 1];
    }
    u->holders[u->holder_count] = 0;
    memset(&u->digests[u->holder_count], 0, sizeof u->digests[0]);
}

/* The holder that keeps its promises best; the first of equals. */
static uint32_t best_holder(const struct brg_progress *u, const struct brg_members *m) {
    BRG_ASSERT(u->holder_count > 0);
    uint32_t best = u->holders[0];
    for (uint32_t k = 1; k < u->holder_count; k++) {
        if (m->items[u->holders[k]].broken < m->items[best].broken) best = u->holders[k];
    }
    return best;
}

/* Who was too late gets twice the time, since the line may be slow: two such holders must not take
 * turns for ever with neither ever done. */
static uint64_t pull_deadline_ns(const struct brg_rounds *r, const struct brg_member *puller,
                                 uint64_t now_ns) {
    const uint32_t doublings =
        puller->broken < BRG_PULL_DOUBLINGS_MAX ? puller->broken : BRG_PULL_DOUBLINGS_MAX;
    if (r->plan.pull_timeout_ns > (UINT64_MAX - now_ns) >> doublings) return UINT64_MAX;
    return now_ns + (r->plan.pull_timeout_ns << doublings);
}

void brg_rounds_pull(struct brg_rounds *r, struct brg_members *m, struct brg_job *job,
                     uint32_t unit, uint64_t now_ns, struct brg_coord_actions *out) {
    struct brg_progress *u = &job->units[unit];
    if (u->state == BRG_UNIT_PULLING) {
        const int late = now_ns >= u->pull_deadline_ns;
        struct brg_member *puller = &m->items[u->puller];
        if (late && puller->broken < UINT32_MAX) {
            puller->broken++;
            lost(r);
        }
        if (!late && m->items[best_holder(u, m)].broken >= puller->broken) return;
        r->recheck = 1; /* it is promised by somebody else now */
    } else if (u->state == BRG_UNIT_HELD || u->holder_count == 0) {
        return;
    } else {
        came(r);
    }
    set_state(job, unit, BRG_UNIT_PULLING, best_holder(u, m));
    u->pull_deadline_ns = pull_deadline_ns(r, &m->items[u->puller], now_ns);
    if (u->pull_deadline_ns < r->look_ns) r->look_ns = u->pull_deadline_ns;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_PULL,
                                                 .run = r->plan.run,
                                                 .step = job->step,
                                                 .unit = unit,
                                                 .member = u->puller});
}

void brg_rounds_discard(struct brg_rounds *r, uint32_t slot) {
    for (uint64_t step = r->ended + 1; step <= r->newest; step++) {
        struct brg_job *job = brg_rounds_open_job(r, step);
        for (uint32_t u = brg_bits_next(&job->held, 0); u < BRG_BITS_MAX;
             u = brg_bits_next(&job->held, u + 1)) {
            if (job->units[u].puller != slot) continue;
            set_state(job, u, BRG_UNIT_OPEN, BRG_NOBODY);
            lost(r);
        }
    }
}

void brg_rounds_look_at_pulls(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                              uint64_t *next_ns, struct brg_coord_actions *out) {
    for (uint64_t step = r->ended + 1; step <= r->newest; step++) {
        struct brg_job *job = brg_rounds_open_job(r, step);
        for (uint32_t u = 0; u < r->unit_count; u++) {
            brg_rounds_pull(r, m, job, u, now_ns, out);
            if (job->units[u].state != BRG_UNIT_PULLING) continue;
            if (job->units[u].pull_deadline_ns < *next_ns)
                *next_ns = job->units[u].pull_deadline_ns;
        }
    }
}

/* ---- what is late ---- */

/* How long after its last hand-out a unit counts as late. */
static uint64_t patience_ns(const struct brg_rounds *r, const struct brg_progress *u,
                            uint64_t now_ns) {
    const struct brg_policy_round round = {.now_ns = now_ns,
                                           .started_ns = r->started_ns,
                                           .first_ns = r->first_ns,
                                           .decodable_ns = r->decodable_ns};
    const struct brg_policy_patience patience = {.given_ns = r->plan.patience_ns,
                                                 .timeout_ns = r->plan.task_timeout_ns,
                                                 .least_ns = PATIENCE_MIN_NS};
    return brg_policy_patience_ns(&r->plan.code, &round, &patience, u->attempts);
}

/* Adds the units under way that are not late; *next_ns: when the first of them is. */
static void add_running(struct brg_rounds *r, const struct brg_members *m, uint64_t now_ns,
                        struct brg_bits *expected, uint64_t *next_ns) {
    const uint64_t top = r->base + brg_rounds_count(r);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        for (uint32_t k = 0; k < member->task_count; k++) {
            const struct brg_task *task = &member->tasks[k];
            struct brg_bits *set = &expected[top - task->step];
            if (brg_bits_has(set, task->unit)) continue;
            const struct brg_progress *u = &brg_rounds_open_job(r, task->step)->units[task->unit];
            const uint64_t late_ns = u->assigned_ns + patience_ns(r, u, now_ns);
            if (now_ns >= late_ns) continue;
            brg_bits_add(set, task->unit);
            if (late_ns < *next_ns) *next_ns = late_ns;
        }
    }
}

/* ---- who attempts it again ---- */

/* Idle members, the best first: who keeps its promises, then who is quick, then the lowest slot. */
struct idle {
    uint32_t count;
    uint32_t slots[BRG_MEMBERS_MAX];
};

static int is_better(const struct brg_members *m, uint32_t a, uint32_t b) {
    const struct brg_member *x = &m->items[a], *y = &m->items[b];
    if (x->broken != y->broken) return x->broken < y->broken;
    if (x->chunk_ns != y->chunk_ns) return x->chunk_ns < y->chunk_ns;
    return a < b;
}

/* Shell sort with gaps that shrink by 2.2: some n^1.3 steps, no recursion. */
static void sort(const struct brg_members *m, struct idle *idle) {
    uint32_t gap = idle->count;
    while (gap > 1) {
        gap = gap < 5 ? 1 : gap * 5 / 11;
        for (uint32_t i = gap; i < idle->count; i++) {
            const uint32_t slot = idle->slots[i];
            uint32_t k = i;
            for (; k >= gap && is_better(m, slot, idle->slots[k - gap]); k -= gap) {
                idle->slots[k] = idle->slots[k - gap];
            }
            idle->slots[k] = slot;
        }
    }
}

static void find_idle(const struct brg_rounds *r, const struct brg_members *m, uint64_t now_ns,
                      uint64_t *next_ns, struct idle *idle) {
    uint8_t pending[BRG_MEMBERS_MAX] = {0};
    for (uint64_t step = r->ended + 1; step <= r->newest; step++) {
        const struct brg_job *job = brg_rounds_job(r, step);
        for (uint32_t u = brg_bits_next(&job->pulling, 0); u < BRG_BITS_MAX;
             u = brg_bits_next(&job->pulling, u + 1)) {
            uint8_t *count = &pending[job->units[u].puller];
            if (*count < PULLS_PENDING_MAX) (*count)++;
        }
    }
    idle->count = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        if (!brg_rounds_works(member) || member->task_count > 0) continue;
        if (pending[i] >= PULLS_PENDING_MAX) continue;
        if (now_ns < member->hold_ns) {
            if (member->hold_ns < *next_ns) *next_ns = member->hold_ns;
            continue;
        }
        idle->slots[idle->count++] = i;
    }
    sort(m, idle);
}

/* Takes the best that does not say it has the unit already: it would say so again at once. */
static uint32_t take_idle(struct idle *idle, const struct brg_progress *u) {
    for (uint32_t i = 0; i < idle->count; i++) { /* at most BRG_HOLDERS_MAX are passed over */
        const uint32_t slot = idle->slots[i];
        if (brg_rounds_holder(u, slot) < u->holder_count) continue;
        /* The front is the next to go: those passed over keep their order. */
        idle->count--;
        memmove(&idle->slots[i], &idle->slots[i + 1], (idle->count - i) * sizeof idle->slots[0]);
        return slot;
    }
    return BRG_NOBODY;
}

/* Says once a round that nobody is left to do a unit; whoever is busy will be idle in a while. */
static void starve(struct brg_rounds *r, const struct brg_members *m, uint64_t step, uint32_t unit,
                   struct brg_coord_actions *out) {
    if (r->starved) return;
    for (uint32_t i = 0; i < m->count; i++) {
        if (brg_rounds_works(&m->items[i])) return;
    }
    r->starved = 1;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                 .code = BRG_NOTE_STARVED,
                                                 .run = r->plan.run,
                                                 .step = step,
                                                 .unit = unit,
                                                 .member = BRG_NOBODY});
}

static void attempt_again(struct brg_rounds *r, struct brg_members *m, struct brg_job *job,
                          uint32_t unit, uint32_t slot, uint64_t now_ns,
                          struct brg_coord_actions *out) {
    job->units[unit].attempts++;
    if (!job->waited) r->waited_steps++;
    job->waited = 1;
    r->running.waited++;
    const struct brg_task task = {.step = job->step, .unit = unit, .index = BRG_NO_UNIT};
    brg_rounds_give(r, m, slot, task, now_ns, out);
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                 .code = BRG_NOTE_REATTEMPT,
                                                 .run = r->plan.run,
                                                 .step = job->step,
                                                 .unit = unit,
                                                 .member = slot,
                                                 .attempt = job->units[unit].attempts + 1});
}

void brg_rounds_look_at_units(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                              uint64_t *next_ns, struct brg_coord_actions *out) {
    struct brg_bits expected[BRG_SCHEME_JOBS_MAX], missing[BRG_SCHEME_JOBS_MAX];
    const uint64_t count = brg_rounds_count(r);
    struct idle idle;
    r->hungry = 0;
    brg_rounds_have(r, m, BRG_TRUST_PROMISED, expected);
    add_running(r, m, now_ns, expected, next_ns);
    if (brg_scheme_missing(r->scheme, count, expected, missing) == 0) return;
    find_idle(r, m, now_ns, next_ns, &idle);
    for (uint32_t d = brg_scheme_jobs(r->scheme); d-- > 0;) { /* what is due first, first */
        for (uint32_t u = brg_bits_next(&missing[d], 0); u < BRG_BITS_MAX;
             u = brg_bits_next(&missing[d], u + 1)) {
            struct brg_job *job = brg_rounds_open_job(r, r->base + count - d);
            const uint32_t slot = take_idle(&idle, &job->units[u]);
            if (slot == BRG_NOBODY) {
                r->hungry = 1;
                starve(r, m, job->step, u, out);
                continue; /* whoever holds this one in vain may do the next */
            }
            attempt_again(r, m, job, u, slot, now_ns, out);
            const uint64_t late_ns = now_ns + patience_ns(r, &job->units[u], now_ns);
            if (late_ns < *next_ns) *next_ns = late_ns;
        }
    }
}
