/* replay_late.c - what the live machine does when the patience is over: units that the code misses
 * go to idle workers, the fastest of the round first; a unit whose attempt is late in its turn is
 * given out again, with twice the patience. */
#include "coding/replay_state.h"

#define NEVER BRG_POLICY_NEVER

struct attempt {
    uint64_t end_ns, late_ns; /* late_ns: from then on the unit is missing again */
    uint32_t unit;
    uint16_t delta, position;
};

struct late_part {
    struct attempt under_way[BRG_CODE_WORKERS_MAX]; /* no position twice */
    uint32_t count;
    uint32_t idle_from, idle_count; /* in r->index, a ring of n positions */
    uint8_t tries[BRG_SCHEME_JOBS_MAX][BRG_SCHEME_UNITS_MAX];
};

static void push_idle(struct brg_replay *r, struct late_part *l, uint32_t position) {
    BRG_ASSERT(l->idle_count < r->spec.n);
    r->index[(l->idle_from + l->idle_count++) % r->spec.n] = position;
}

static uint64_t patience_of(const struct brg_replay *r, uint32_t tries) {
    const struct brg_policy_round seen = {.now_ns = r->first_ns,
                                          .started_ns = r->started_ns,
                                          .first_ns = r->first_ns,
                                          .decodable_ns = NEVER};
    const struct brg_policy_patience says = {.given_ns = r->options.patience_ns,
                                             .timeout_ns = UINT64_C(1) << 50};
    return brg_policy_patience_ns(&r->spec, &seen, &says, tries);
}

/* Gives one unit to the idle worker that was the quickest of the round. */
static void give(struct brg_replay *r, struct late_part *l, uint32_t delta, uint32_t unit,
                 uint64_t now_ns) {
    const uint32_t position = r->index[l->idle_from];
    l->idle_from = (l->idle_from + 1) % r->spec.n;
    l->idle_count--;
    struct brg_replay_seat *seat = &r->seats[position];
    const struct brg_profile_cell *cell =
        brg_profile_cell(r->profile, r->options.first_row + r->round - 1, seat->worker);
    const uint32_t chunks = brg_scheme_unit_chunks(brg_replay_scheme(r), unit);
    /* What the position was paid for so far is settled here, the rest at the end of the round. */
    const uint64_t begun_ns = seat->again_ns > 0 ? seat->again_ns : seat->start_ns;
    if (seat->done_ns > begun_ns) r->totals.busy_ns += seat->done_ns - begun_ns;
    seat->again_ns = now_ns;
    seat->done_ns = now_ns + brg_profile_cell_ns(cell, chunks, r->spec.chunks);
    const uint32_t tries = ++l->tries[delta][unit];
    l->under_way[l->count++] = (struct attempt){.end_ns = seat->done_ns,
                                                .late_ns = now_ns + patience_of(r, tries),
                                                .unit = unit,
                                                .delta = (uint16_t)delta,
                                                .position = (uint16_t)position};
    r->totals.reattempts++;
}

static void give_missing(struct brg_replay *r, struct late_part *l, uint64_t now_ns) {
    struct brg_bits expected[BRG_SCHEME_JOBS_MAX], missing[BRG_SCHEME_JOBS_MAX];
    if (l->idle_count == 0) return;
    for (uint32_t d = 0; d < r->jobs; d++) expected[d] = r->work[d];
    for (uint32_t i = 0; i < l->count; i++) {
        const struct attempt *a = &l->under_way[i];
        if (a->late_ns > now_ns) brg_bits_add(&expected[a->delta], a->unit);
    }
    if (brg_scheme_missing(brg_replay_scheme(r), r->round, expected, missing) == 0) return;
    for (uint32_t d = r->jobs; d-- > 0;) { /* the job that is due before the others */
        for (uint32_t u = brg_bits_next(&missing[d], 0); u < BRG_BITS_MAX;
             u = brg_bits_next(&missing[d], u + 1)) {
            if (l->idle_count == 0) return;
            if (l->tries[d][u] > BRG_POLICY_DOUBLINGS_MAX) continue;
            give(r, l, d, u, now_ns);
        }
    }
}

/* The next instant at which something comes in or turns out late. */
static uint64_t next_instant(const struct brg_replay *r, const struct late_part *l,
                             uint64_t now_ns) {
    uint64_t next_ns = r->used < r->event_count ? r->events[r->used].at_ns : NEVER;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct attempt *a = &l->under_way[i];
        if (a->end_ns < next_ns) next_ns = a->end_ns;
        if (l->idle_count > 0 && a->late_ns > now_ns && a->late_ns < next_ns) next_ns = a->late_ns;
    }
    return next_ns;
}

/* Everything that comes in up to `now_ns`. */
static void take_until(struct brg_replay *r, struct late_part *l, uint64_t now_ns) {
    while (r->used < r->event_count && r->events[r->used].at_ns <= now_ns) {
        const struct brg_replay_event *e = &r->events[r->used];
        brg_replay_take(r, r->used + 1);
        if (e->last) push_idle(r, l, e->position);
    }
    for (uint32_t i = 0; i < l->count;) {
        const struct attempt a = l->under_way[i];
        if (a.end_ns > now_ns) {
            i++;
            continue;
        }
        brg_bits_add(&r->work[a.delta], a.unit);
        push_idle(r, l, a.position);
        l->under_way[i] = l->under_way[--l->count];
    }
}

uint64_t brg_replay_late(struct brg_replay *r, uint64_t patience_ns) {
    struct late_part l = {.count = 0};
    uint64_t now_ns = r->started_ns + patience_ns;
    for (uint32_t i = 0; i < r->used; i++) {
        if (r->events[i].last) push_idle(r, &l, r->events[i].position);
    }
    for (uint32_t p = 0; p < r->spec.n; p++) {
        if (r->seats[p].minitasks == 0) {
            r->seats[p].done_ns = r->seats[p].start_ns;
            if (r->seats[p].start_ns <= now_ns) push_idle(r, &l, p);
        }
    }
    give_missing(r, &l, now_ns);
    while (!brg_replay_decodable(r)) {
        now_ns = next_instant(r, &l, now_ns);
        BRG_ASSERT(now_ns != NEVER); /* everybody answers in the end */
        take_until(r, &l, now_ns);
        give_missing(r, &l, now_ns);
    }
    return now_ns;
}
