#include "coordinator/core/rounds.h"

#include <string.h>

/* Late answers and late shares are given this many doublings of patience. */
#define DOUBLINGS_MAX 6u
/* With patience by measurement, never less than this: scheduling noise is not straggling. */
#define PATIENCE_MIN_NS (50 * BRG_NS_PER_MS)
/* Shares that one member may have on the way before it gets one more unit to attempt: it can hold
 * only so many, and a slow line must not make it drop what is being pulled. */
#define PULLS_PENDING_MAX 4u
/* A worker that does not know of its task by its next beats gets it once more. */
#define RESEND_AFTER_NS (500 * BRG_NS_PER_MS)
/* ... and after so long with the run's description: it may not have heard that the run was closed
 * and opened again at an earlier step, and take the task for an old one. */
#define DESCRIBE_AFTER_NS (4 * RESEND_AFTER_NS)

static int works(const struct brg_member *member) { /* may be given something to do */
    return member->state == BRG_MEMBER_ACTIVE && !member->unfit;
}

static struct brg_progress *unit_at(struct brg_rounds *r, uint32_t unit) {
    BRG_ASSERT(unit < r->unit_count);
    return &r->units[unit];
}

static void forget_task(struct brg_member *member) {
    member->task_step = 0;
    member->task_unit = BRG_NO_UNIT;
}

/* ---- positions ---- */

static uint32_t unit_of(const struct brg_rounds *r, uint32_t position) {
    struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
    static const struct brg_bits nothing[BRG_SCHEME_JOBS_MAX]; /* of a round that just begins */
    const uint32_t count = brg_scheme_assign(r->scheme, r->step, nothing, position, tasks);
    BRG_ASSERT(count == 1);
    return tasks[0].unit;
}

/* The vacant position whose unit has the fewest workers; the lowest of equals. */
static uint32_t best_vacancy(const struct brg_rounds *r) {
    uint32_t filled[BRG_CODE_WORKERS_MAX] = {0};
    uint32_t best = BRG_NOBODY, best_filled = UINT32_MAX;
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        if (r->position[p] != BRG_NOBODY) filled[unit_of(r, p)]++;
    }
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        if (r->position[p] != BRG_NOBODY || filled[unit_of(r, p)] >= best_filled) continue;
        best = p;
        best_filled = filled[unit_of(r, p)];
    }
    return best;
}

static void fill_vacancies(struct brg_rounds *r, struct brg_members *m) {
    for (uint32_t i = 0; i < m->count; i++) {
        if (!works(&m->items[i]) || m->items[i].position != BRG_NOBODY) continue;
        const uint32_t p = best_vacancy(r);
        if (p == BRG_NOBODY) return;
        r->position[p] = i;
        m->items[i].position = p;
    }
}

/* ---- handing out ---- */

static void assign(struct brg_rounds *r, struct brg_members *m, uint32_t slot, uint32_t unit,
                   uint64_t now_ns, struct brg_coord_actions *out) {
    struct brg_progress *u = unit_at(r, unit);
    struct brg_member *member = &m->items[slot];
    BRG_ASSERT(works(member));
    member->task_step = r->step;
    member->task_unit = unit;
    member->assigned_ns = now_ns;
    u->assigned_ns = now_ns;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_TASK,
                                                 .run = r->plan.run,
                                                 .step = r->step,
                                                 .member = slot,
                                                 .unit = unit,
                                                 .attempt = u->attempts + 1});
}

static void start_step(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                       struct brg_coord_actions *out) {
    r->step = r->committed + 1;
    r->phase = BRG_PHASE_COLLECTING;
    r->started_ns = now_ns;
    r->first_done_ns = BRG_POLICY_NEVER;
    r->decodable_ns = BRG_POLICY_NEVER;
    r->waited = r->starved = 0;
    memset(r->units, 0, r->unit_count * sizeof r->units[0]);
    for (uint32_t u = 0; u < r->unit_count; u++) r->units[u].puller = BRG_NOBODY;
    for (uint32_t i = 0; i < m->count; i++) forget_task(&m->items[i]);
    fill_vacancies(r, m);
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        const uint32_t slot = r->position[p];
        if (slot != BRG_NOBODY && works(&m->items[slot])) {
            assign(r, m, slot, unit_of(r, p), now_ns, out);
        }
    }
}

/* How long after its last hand-out a unit counts as late. */
static uint64_t patience_ns(const struct brg_rounds *r, const struct brg_progress *u) {
    uint64_t patience = r->plan.patience_ns;
    if (r->plan.code.policy == BRG_POLICY_PAPER) return r->plan.task_timeout_ns;
    if (patience == 0) { /* by measurement */
        if (r->first_done_ns == BRG_POLICY_NEVER) return r->plan.task_timeout_ns;
        patience = 2 * (r->first_done_ns - r->started_ns);
        if (patience < PATIENCE_MIN_NS) patience = PATIENCE_MIN_NS;
    }
    const uint32_t doublings = u->attempts < DOUBLINGS_MAX ? u->attempts : DOUBLINGS_MAX;
    if (patience >= r->plan.task_timeout_ns >> doublings) return r->plan.task_timeout_ns;
    return patience << doublings;
}

static uint32_t holder_index(const struct brg_progress *u, uint32_t member) {
    uint32_t k = 0;
    while (k < u->holder_count && u->holders[k] != member) k++;
    return k;
}

/* The idle member that keeps its promises best, then the one whose last task was the quickest, then
 * the lowest slot. Not one that says it has the unit already: it would say so again at once. */
static uint32_t fastest_idle(const struct brg_members *m, const struct brg_progress *u,
                             const uint8_t *pending, uint64_t now_ns, uint64_t *next_ns) {
    uint32_t best = BRG_NOBODY;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        if (!works(member) || member->task_unit != BRG_NO_UNIT) continue;
        if (holder_index(u, i) < u->holder_count || pending[i] >= PULLS_PENDING_MAX) continue;
        if (now_ns < member->hold_ns) {
            if (member->hold_ns < *next_ns) *next_ns = member->hold_ns;
            continue;
        }
        if (best != BRG_NOBODY) {
            const struct brg_member *so_far = &m->items[best];
            if (member->broken > so_far->broken) continue;
            if (member->broken == so_far->broken && member->last_task_ns >= so_far->last_task_ns)
                continue;
        }
        best = i;
    }
    return best;
}

/* The units that are ready or will be if nobody turns out late; *next_ns: when the first of those
 * under way is late. */
static struct brg_bits expected_units(const struct brg_rounds *r, const struct brg_members *m,
                                      uint64_t now_ns, uint64_t *next_ns) {
    struct brg_bits expected;
    brg_bits_clear(&expected);
    for (uint32_t u = 0; u < r->unit_count; u++) {
        const struct brg_progress *unit = &r->units[u];
        const int held = unit->state == BRG_UNIT_HELD;
        const int coming = unit->state == BRG_UNIT_PULLING && m->items[unit->puller].broken == 0;
        if (held || coming) brg_bits_add(&expected, u);
    }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        if (member->task_step != r->step || member->task_unit == BRG_NO_UNIT) continue;
        if (brg_bits_has(&expected, member->task_unit)) continue;
        const struct brg_progress *u = &r->units[member->task_unit];
        const uint64_t late_ns = u->assigned_ns + patience_ns(r, u);
        if (now_ns >= late_ns) continue;
        brg_bits_add(&expected, member->task_unit);
        if (late_ns < *next_ns) *next_ns = late_ns;
    }
    return expected;
}

/* Says once a step that nobody is left to do a unit; whoever is busy will be idle in a while. */
static void starve(struct brg_rounds *r, const struct brg_members *m, uint32_t unit,
                   struct brg_coord_actions *out) {
    for (uint32_t i = 0; i < m->count; i++) {
        if (works(&m->items[i])) return;
    }
    if (r->starved) return;
    r->starved = 1;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                 .code = BRG_NOTE_STARVED,
                                                 .run = r->plan.run,
                                                 .step = r->step,
                                                 .unit = unit,
                                                 .member = BRG_NOBODY});
}

/* Gives what the code would miss to whoever is idle. */
static void reattempt(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                      uint64_t *next_ns, struct brg_coord_actions *out) {
    struct brg_bits missing;
    const struct brg_bits expected = expected_units(r, m, now_ns, next_ns);
    if (brg_scheme_missing(r->scheme, r->step, &expected, &missing) == 0) return;
    uint8_t pending[BRG_MEMBERS_MAX] = {0};
    for (uint32_t u = 0; u < r->unit_count; u++) {
        const struct brg_progress *unit = &r->units[u];
        if (unit->state == BRG_UNIT_PULLING && pending[unit->puller] < PULLS_PENDING_MAX)
            pending[unit->puller]++;
    }
    for (uint32_t u = brg_bits_next(&missing, 0); u < BRG_BITS_MAX;
         u = brg_bits_next(&missing, u + 1)) {
        const uint32_t slot = fastest_idle(m, &r->units[u], pending, now_ns, next_ns);
        if (slot == BRG_NOBODY) {
            starve(r, m, u, out);
            continue; /* whoever holds this one in vain may do the next */
        }
        r->units[u].attempts++;
        if (!r->waited) r->waited_steps++;
        r->waited = 1;
        assign(r, m, slot, u, now_ns, out);
        if (now_ns + patience_ns(r, &r->units[u]) < *next_ns) {
            *next_ns = now_ns + patience_ns(r, &r->units[u]);
        }
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                     .code = BRG_NOTE_REATTEMPT,
                                                     .run = r->plan.run,
                                                     .step = r->step,
                                                     .unit = u,
                                                     .member = slot,
                                                     .attempt = r->units[u].attempts + 1});
    }
}

/* ---- shares ---- */

/* Takes holder k off the unit; a pull from it is off as well. */
static void drop_holder(struct brg_progress *u, uint32_t k) {
    BRG_ASSERT(k < u->holder_count);
    if (u->state == BRG_UNIT_PULLING && u->puller == u->holders[k]) {
        u->state = BRG_UNIT_OPEN;
        u->puller = BRG_NOBODY;
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
    const uint32_t doublings = puller->broken < DOUBLINGS_MAX ? puller->broken : DOUBLINGS_MAX;
    if (r->plan.pull_timeout_ns > (UINT64_MAX - now_ns) >> doublings) return UINT64_MAX;
    return now_ns + (r->plan.pull_timeout_ns << doublings);
}

/* Asks the best holder of every open unit for its share. Where none came in time, or where the one
 * asked has failed before and a better one has turned up, asks whoever is the best by now. */
static void pull(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns, uint64_t *next_ns,
                 struct brg_coord_actions *out) {
    for (uint32_t i = 0; i < r->unit_count; i++) {
        struct brg_progress *u = &r->units[i];
        if (u->state == BRG_UNIT_PULLING) {
            const int late = now_ns >= u->pull_deadline_ns;
            struct brg_member *puller = &m->items[u->puller];
            if (late && puller->broken < UINT32_MAX) puller->broken++;
            if (late || m->items[best_holder(u, m)].broken < puller->broken) {
                u->state = BRG_UNIT_OPEN;
            }
        }
        if (u->state == BRG_UNIT_OPEN && u->holder_count > 0) {
            u->state = BRG_UNIT_PULLING;
            u->puller = best_holder(u, m);
            u->pull_deadline_ns = pull_deadline_ns(r, &m->items[u->puller], now_ns);
            brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_PULL,
                                                         .run = r->plan.run,
                                                         .step = r->step,
                                                         .unit = i,
                                                         .member = u->puller});
        }
        if (u->state == BRG_UNIT_PULLING && u->pull_deadline_ns < *next_ns) {
            *next_ns = u->pull_deadline_ns;
        }
    }
}

/* ---- the end of a step ---- */

/* Whom the policy waits for; nobody longer than the bound of a task: a worker may hang and beat. */
static void count_answers(const struct brg_rounds *r, const struct brg_members *m,
                          struct brg_policy_round *round, uint64_t *next_ns) {
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        const uint32_t slot = r->position[p];
        if (slot == BRG_NOBODY || !works(&m->items[slot])) continue;
        const struct brg_member *member = &m->items[slot];
        if (member->task_unit != BRG_NO_UNIT) {
            const uint64_t bound_ns = member->assigned_ns + r->plan.task_timeout_ns;
            if (round->now_ns >= bound_ns) continue;
            if (bound_ns < *next_ns) *next_ns = bound_ns;
        } else {
            round->answered++;
        }
        round->expected++;
    }
}

/* 1 where the held units do and the policy does not want to wait; *next_ns: when to look again. */
static int may_end(struct brg_rounds *r, const struct brg_members *m, uint64_t now_ns,
                   uint64_t *next_ns) {
    struct brg_bits held;
    brg_bits_clear(&held);
    for (uint32_t u = 0; u < r->unit_count; u++) {
        if (r->units[u].state == BRG_UNIT_HELD) brg_bits_add(&held, u);
    }
    if (r->decodable_ns == BRG_POLICY_NEVER) {
        if (!brg_scheme_may_end(r->scheme, r->step, &held)) return 0;
        r->decodable_ns = now_ns;
    }
    struct brg_policy_round round = {.now_ns = now_ns,
                                     .started_ns = r->started_ns,
                                     .first_ns = r->first_done_ns,
                                     .decodable_ns = r->decodable_ns};
    count_answers(r, m, &round, next_ns);
    uint64_t wake_ns = BRG_POLICY_NEVER;
    const int end = brg_policy_may_end(&r->plan.code, &round, &wake_ns);
    if (wake_ns < *next_ns) *next_ns = wake_ns;
    if (end) brg_scheme_commit(r->scheme, r->step, &held); /* T = 0: nothing is left over */
    return end;
}

static void finish(struct brg_rounds *r, uint32_t target, struct brg_coord_actions *out) {
    r->phase = BRG_PHASE_FINISHING;
    r->target = target;
    r->step = r->committed;
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_SEND_RELEASE, .member = BRG_NOBODY, .run = r->plan.run});
    if (r->checkpoint_step == r->committed && r->committed > 0) return; /* it is on its way */
    r->checkpoint_step = r->committed;
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_CHECKPOINT, .run = r->plan.run, .step = r->committed});
}

/* ---- public ---- */

void brg_rounds_open(struct brg_rounds *r, const struct brg_run_plan *plan,
                     const struct brg_scheme *scheme, uint64_t committed) {
    BRG_ASSERT(r->phase == BRG_PHASE_IDLE);
    BRG_ASSERT(committed <= plan->steps);
    memset(r, 0, sizeof *r);
    r->plan = *plan;
    r->scheme = scheme;
    r->committed = r->step = committed;
    r->unit_count = brg_scheme_unit_count(scheme);
    r->phase = BRG_PHASE_WAITING;
    for (uint32_t p = 0; p < BRG_CODE_WORKERS_MAX; p++) r->position[p] = BRG_NOBODY;
}

void brg_rounds_member_ready(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                             struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || r->phase == BRG_PHASE_FINISHING) return;
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_SEND_RUN, .run = r->plan.run, .member = slot});
    fill_vacancies(r, m);
}

/* What was pulled from `slot` counts no more; unless it is in the hands of the decoder. */
static void discard(struct brg_rounds *r, uint32_t slot) {
    if (r->phase != BRG_PHASE_COLLECTING) return;
    for (uint32_t i = 0; i < r->unit_count; i++) {
        struct brg_progress *u = &r->units[i];
        if (u->state != BRG_UNIT_HELD || u->puller != slot) continue;
        u->state = BRG_UNIT_OPEN;
        u->puller = BRG_NOBODY;
        r->decodable_ns = BRG_POLICY_NEVER; /* to be found out anew */
    }
}

void brg_rounds_member_gone(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                            enum brg_gone how) {
    struct brg_member *member = &m->items[slot];
    forget_task(member);
    if (member->position != BRG_NOBODY) {
        BRG_ASSERT(r->position[member->position] == slot);
        r->position[member->position] = BRG_NOBODY;
        member->position = BRG_NOBODY;
    }
    if (r->phase == BRG_PHASE_IDLE) return;
    fill_vacancies(r, m);
    if (how == BRG_GONE_STILL_HERE) return;
    for (uint32_t u = 0; u < r->unit_count; u++) {
        const uint32_t k = holder_index(&r->units[u], slot);
        if (k < r->units[u].holder_count) drop_holder(&r->units[u], k);
    }
    if (how == BRG_GONE_REVOKED) discard(r, slot);
}

int brg_rounds_done(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                    struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run) return BRG_OK; /* of a closed run */
    if (ev->unit >= r->unit_count || ev->step == 0) return BRG_EPROTO;
    if (ev->step <= r->committed) { /* it missed the announcement */
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_COMMIT,
                                                     .run = r->plan.run,
                                                     .step = r->committed,
                                                     .member = ev->member});
        return BRG_OK;
    }
    if (ev->step > r->committed + 1) return BRG_EPROTO;
    if (r->phase != BRG_PHASE_COLLECTING) return BRG_OK; /* enough are here already */

    struct brg_member *member = &m->items[ev->member];
    if (member->unfit) return BRG_OK; /* it has sent a broken share in this run */
    if (member->task_step == ev->step && member->task_unit == ev->unit) {
        member->last_task_ns = ev->now_ns - member->assigned_ns;
        member->task_unit = BRG_NO_UNIT;
    }
    if (r->first_done_ns == BRG_POLICY_NEVER) r->first_done_ns = ev->now_ns;
    struct brg_progress *u = unit_at(r, ev->unit);
    if (holder_index(u, ev->member) < u->holder_count) return BRG_OK; /* a second copy */
    if (u->state == BRG_UNIT_HELD || u->holder_count == BRG_HOLDERS_MAX) return BRG_OK;
    if (u->holder_count > 0 && !brg_digest_equal(&u->digests[0], &ev->digest)) {
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                     .code = BRG_NOTE_DIGESTS_DIFFER,
                                                     .run = ev->run,
                                                     .step = ev->step,
                                                     .unit = ev->unit,
                                                     .member = ev->member});
    }
    u->holders[u->holder_count] = ev->member;
    u->digests[u->holder_count++] = ev->digest;
    return BRG_OK;
}

int brg_rounds_share(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out) {
    if (r->phase != BRG_PHASE_COLLECTING || ev->run != r->plan.run || ev->step != r->step) {
        return BRG_OK;
    }
    if (ev->unit >= r->unit_count) return BRG_EPROTO;
    struct brg_progress *u = unit_at(r, ev->unit);
    struct brg_member *member = &m->items[ev->member];
    if (u->state != BRG_UNIT_PULLING || u->puller != ev->member) return BRG_OK; /* not asked now */
    if (ev->code == BRG_OK) {
        u->state = BRG_UNIT_HELD;
        member->broken = 0;
        return BRG_OK;
    }
    if (ev->code == BRG_ECORRUPT) {
        /* It would only send the same again: somebody else has to compute this. */
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                     .code = BRG_NOTE_BAD_SHARE,
                                                     .run = ev->run,
                                                     .step = ev->step,
                                                     .unit = ev->unit,
                                                     .member = ev->member});
        member->unfit = 1;
        brg_rounds_member_gone(r, m, ev->member, BRG_GONE_AWAY);
        return BRG_OK;
    }
    /* Without a pause a member that says DONE, GONE, DONE, GONE ... would keep us busy with it. */
    if (member->broken < UINT32_MAX) member->broken++;
    member->hold_ns = ev->now_ns + RESEND_AFTER_NS;
    drop_holder(u, holder_index(u, ev->member));
    return BRG_OK;
}

/* The task that `slot` has, once more. */
static void send_task_again(const struct brg_rounds *r, const struct brg_members *m, uint32_t slot,
                            struct brg_coord_actions *out) {
    const uint32_t unit = m->items[slot].task_unit;
    if (r->phase != BRG_PHASE_COLLECTING || unit == BRG_NO_UNIT) return;
    BRG_ASSERT(m->items[slot].task_step == r->step);
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_TASK,
                                                 .run = r->plan.run,
                                                 .step = r->step,
                                                 .member = slot,
                                                 .unit = unit,
                                                 .attempt = r->units[unit].attempts + 1});
}

void brg_rounds_fault(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                      struct brg_coord_actions *out) {
    struct brg_member *member = &m->items[ev->member];
    if (r->phase == BRG_PHASE_IDLE || r->phase == BRG_PHASE_FINISHING) return;
    if (ev->run != r->plan.run) return;
    if (ev->code == BRG_ENOENT) { /* it has not heard of the run, or has lost it */
        brg_coord_act(out, (struct brg_coord_action){
                               .type = BRG_ACT_SEND_RUN, .run = r->plan.run, .member = ev->member});
        send_task_again(r, m, ev->member, out);
        return;
    }
    if (member->task_unit == BRG_NO_UNIT) return;
    if (member->task_step != ev->step || member->task_unit != ev->unit) return;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                 .code = BRG_NOTE_UNFIT,
                                                 .run = ev->run,
                                                 .step = ev->step,
                                                 .unit = ev->unit,
                                                 .member = ev->member,
                                                 .attempt = (uint32_t)ev->code});
    member->unfit = 1;
    brg_rounds_member_gone(r, m, ev->member, BRG_GONE_STILL_HERE);
}

void brg_rounds_beat(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out) {
    const struct brg_member *member = &m->items[ev->member];
    if (r->phase != BRG_PHASE_COLLECTING || member->task_step != r->step) return;
    if (member->task_unit == BRG_NO_UNIT) return;
    if (ev->run == r->plan.run && ev->step == r->step && ev->unit == member->task_unit) return;
    const uint64_t since_ns = ev->now_ns - member->assigned_ns;
    if (since_ns < RESEND_AFTER_NS) return; /* still on its way */
    if (since_ns >= DESCRIBE_AFTER_NS) {
        brg_coord_act(out, (struct brg_coord_action){
                               .type = BRG_ACT_SEND_RUN, .run = r->plan.run, .member = ev->member});
    }
    send_task_again(r, m, ev->member, out);
}

void brg_rounds_decoded(struct brg_rounds *r, struct brg_members *m,
                        const struct brg_coord_event *ev, struct brg_coord_actions *out) {
    if (r->phase != BRG_PHASE_DECODING || ev->run != r->plan.run) return;
    BRG_ASSERT(ev->step == r->committed + 1); /* never twice, never out of order */
    r->committed = ev->step;
    r->phase = BRG_PHASE_APPLYING;
    for (uint32_t i = 0; i < m->count; i++) forget_task(&m->items[i]);
    const struct brg_coord_action act = {
        .run = r->plan.run, .step = r->committed, .member = BRG_NOBODY};
    struct brg_coord_action persist = act, commit = act, apply = act;
    persist.type = BRG_ACT_PERSIST_COMMIT;
    commit.type = BRG_ACT_SEND_COMMIT;
    apply.type = BRG_ACT_APPLY;
    brg_coord_act(out, persist);
    brg_coord_act(out, commit);
    brg_coord_act(out, apply);
}

void brg_rounds_applied(struct brg_rounds *r, struct brg_members *m,
                        const struct brg_coord_event *ev, struct brg_coord_actions *out) {
    if (r->phase != BRG_PHASE_APPLYING || ev->run != r->plan.run) return;
    BRG_ASSERT(ev->step == r->committed);
    if (r->committed == r->plan.steps || r->target != 0) {
        finish(r, r->committed == r->plan.steps ? BRG_RUN_FINISHED : r->target, out);
        return;
    }
    if (r->committed % r->plan.checkpoint_every == 0 && r->checkpoint_step == 0) {
        r->checkpoint_step = r->committed;
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_CHECKPOINT,
                                                     .run = r->plan.run,
                                                     .step = r->committed});
    }
    start_step(r, m, ev->now_ns, out);
}

void brg_rounds_checkpointed(struct brg_rounds *r, const struct brg_coord_event *ev,
                             struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run) return;
    struct brg_coord_action act = {.run = ev->run, .step = ev->step, .member = BRG_NOBODY};
    act.type = BRG_ACT_PERSIST_CHECKPOINT;
    brg_coord_act(out, act);
    act.type = BRG_ACT_TRUNCATE_LOG;
    brg_coord_act(out, act);
    act.type = BRG_ACT_NOTE;
    act.code = BRG_NOTE_CHECKPOINT;
    brg_coord_act(out, act);
    if (r->checkpoint_step == ev->step) r->checkpoint_step = 0;
    if (r->phase != BRG_PHASE_FINISHING || ev->step != r->committed) return;
    r->phase = BRG_PHASE_IDLE; /* brg_coord sees the target and closes the run */
}

void brg_rounds_end(struct brg_rounds *r, uint32_t target, struct brg_coord_actions *out) {
    BRG_ASSERT(target == BRG_RUN_PAUSED || target == BRG_RUN_STOPPED);
    if (r->phase == BRG_PHASE_FINISHING) { /* a stop is stronger than a pause */
        if (r->target == BRG_RUN_PAUSED) r->target = target;
        return;
    }
    if (r->target != BRG_RUN_STOPPED) r->target = target;
    if (r->phase == BRG_PHASE_WAITING || r->phase == BRG_PHASE_COLLECTING) finish(r, target, out);
}

/* A draining member may go once no share is needed that it alone holds. */
static void let_go(const struct brg_rounds *r, struct brg_members *m,
                   struct brg_coord_actions *out) {
    for (uint32_t i = 0; i < m->count; i++) {
        struct brg_member *member = &m->items[i];
        if (member->state != BRG_MEMBER_DRAINING || member->drain_acked) continue;
        int needed = 0;
        for (uint32_t u = 0; u < r->unit_count && r->phase == BRG_PHASE_COLLECTING; u++) {
            needed |= r->units[u].state == BRG_UNIT_PULLING && r->units[u].puller == i;
        }
        if (needed) continue;
        member->drain_acked = 1;
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_DRAIN_ACK, .member = i});
    }
}

uint64_t brg_rounds_advance(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                            struct brg_coord_actions *out) {
    uint64_t next_ns = UINT64_MAX;
    if (r->phase == BRG_PHASE_WAITING) {
        uint32_t here = 0;
        for (uint32_t i = 0; i < m->count; i++) here += (uint32_t)works(&m->items[i]);
        if (r->committed == r->plan.steps) {
            finish(r, BRG_RUN_FINISHED, out);
        } else if (here >= r->plan.min_workers) {
            start_step(r, m, now_ns, out);
        }
    }
    if (r->phase == BRG_PHASE_COLLECTING) {
        pull(r, m, now_ns, &next_ns, out);
        if (may_end(r, m, now_ns, &next_ns)) {
            r->phase = BRG_PHASE_DECODING;
            next_ns = UINT64_MAX;
            brg_coord_act(out, (struct brg_coord_action){
                                   .type = BRG_ACT_DECODE, .run = r->plan.run, .step = r->step});
        } else {
            reattempt(r, m, now_ns, &next_ns, out);
        }
    }
    let_go(r, m, out);
    return next_ns;
}

void brg_rounds_check(const struct brg_rounds *r, const struct brg_members *m) {
    BRG_ASSERT(r->phase <= BRG_PHASE_FINISHING);
    if (r->phase == BRG_PHASE_IDLE) return;
    BRG_ASSERT(r->scheme != NULL);
    BRG_ASSERT(r->committed <= r->plan.steps);
    const int under_way = r->phase == BRG_PHASE_COLLECTING || r->phase == BRG_PHASE_DECODING;
    BRG_ASSERT(r->step == r->committed + (under_way ? 1 : 0));
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        if (r->position[p] == BRG_NOBODY) continue;
        BRG_ASSERT(r->position[p] < m->count);
        BRG_ASSERT(m->items[r->position[p]].position == p);
    }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        if (member->position != BRG_NOBODY) BRG_ASSERT(r->position[member->position] == i);
        if (member->task_unit == BRG_NO_UNIT) continue;
        BRG_ASSERT(member->task_unit < r->unit_count);
        BRG_ASSERT(member->task_step <= r->committed + 1);
    }
    for (uint32_t u = 0; u < r->unit_count; u++) {
        BRG_ASSERT(r->units[u].holder_count <= BRG_HOLDERS_MAX);
        if (r->units[u].state == BRG_UNIT_PULLING) {
            BRG_ASSERT(holder_index(&r->units[u], r->units[u].puller) < r->units[u].holder_count);
        }
    }
}
