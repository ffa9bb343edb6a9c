#include "coding/replay_state.h"

#include <string.h>

#define TIMEOUT_NS (UINT64_C(1) << 50) /* of a task: 13 days, so that only patience counts */

size_t brg_replay_size_bytes(const struct brg_code_spec *spec) {
    if (brg_scheme_check(spec, NULL) != BRG_OK) return 0;
    return sizeof(struct brg_replay) +
           2 * sizeof(struct brg_replay_event) * (size_t)spec->n * BRG_SCHEME_MINITASKS_MAX;
}

static int check(const struct brg_code_spec *spec, const struct brg_replay_options *options,
                 const struct brg_profile *profile, struct brg_why *why) {
    const int rc = brg_policy_check(spec, why);
    if (rc != BRG_OK) return rc;
    if (profile->n != spec->n) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code is laid out for %u workers, the profile has %u", spec->n,
                           profile->n);
    }
    if (options->models > BRG_MODELS_MAX ||
        (options->models > 0 && options->models <= brg_code_delay(spec))) {
        return brg_why_set(why, BRG_EINVAL,
                           "%u models cannot run this code: it decodes %u rounds late and needs "
                           "%u to %u models",
                           options->models, brg_code_delay(spec), brg_code_delay(spec) + 1,
                           BRG_MODELS_MAX);
    }
    if (options->late > BRG_LATE_STARTS) {
        return brg_why_set(why, BRG_EINVAL,
                           "late workers are cancelled (1) or start late (2), not %u",
                           options->late);
    }
    return BRG_OK;
}

int brg_replay_init(struct brg_replay *r, size_t size_bytes, const struct brg_code_spec *spec,
                    const struct brg_replay_options *options, const struct brg_profile *profile,
                    struct brg_why *why) {
    int rc = check(spec, options, profile, why);
    if (rc != BRG_OK) return rc;
    if (brg_scheme_plan_size_bytes(spec) == 0) return brg_scheme_check(spec, why);
    BRG_ASSERT(size_bytes >= brg_replay_size_bytes(spec));
    BRG_ASSERT(brg_scheme_plan_size_bytes(spec) <= sizeof r->plan);
    memset(r, 0, sizeof *r);
    rc = brg_scheme_init_plan((struct brg_scheme *)(void *)r->plan, sizeof r->plan, spec, why);
    if (rc != BRG_OK) return rc;
    r->spec = *spec;
    r->options = *options;
    if (r->options.late == 0) r->options.late = BRG_LATE_CANCELLED;
    if (r->options.models == 0) r->options.models = brg_code_delay(spec) + 1;
    r->profile = profile;
    r->events = (struct brg_replay_event *)(r + 1);
    r->spare = r->events + (size_t)spec->n * BRG_SCHEME_MINITASKS_MAX;
    r->jobs = brg_scheme_jobs(brg_replay_scheme(r));
    r->units = brg_scheme_unit_count(brg_replay_scheme(r));
    brg_bits_fill(&r->fill, r->units);
    for (uint32_t d = 1; d < r->jobs; d++) r->have[d] = r->fill; /* absent: before the first step */
    for (uint32_t p = 0; p < spec->n; p++) {
        r->seats[p].worker = options->order == NULL ? p : options->order[p];
        BRG_ASSERT(r->seats[p].worker < spec->n);
    }
    r->options.order = NULL;
    return BRG_OK;
}

static const struct brg_profile_cell *cell_of(const struct brg_replay *r, uint32_t worker) {
    return brg_profile_cell(r->profile, r->options.first_row + r->round - 1, worker);
}

/* Groups are dealt anew by what the last rounds have shown. */
static void regroup(struct brg_replay *r) {
    struct brg_regroup_seat *const known = r->known;
    const uint32_t n = r->spec.n;
    for (uint32_t p = 0; p < n; p++) {
        known[p] = (struct brg_regroup_seat){.chunk_ns = r->seats[p].chunk_ns,
                                             .late_ppm = r->seats[p].late_ppm};
    }
    brg_regroup_deal(brg_replay_scheme(r), known, r->index);
    struct brg_replay_seat *const moved = (struct brg_replay_seat *)(void *)r->spare;
    _Static_assert(sizeof *moved <= 2 * BRG_SCHEME_MINITASKS_MAX * sizeof *r->spare, "room");
    for (uint32_t p = 0; p < n; p++) moved[p] = r->seats[r->index[p]];
    memcpy(r->seats, moved, n * sizeof *moved);
}

/* Gives `position` its minitasks; their ends become events. */
static void hand_out(struct brg_replay *r, uint32_t position) {
    const struct brg_scheme *s = brg_replay_scheme(r);
    struct brg_replay_seat *seat = &r->seats[position];
    struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
    const uint32_t count = brg_scheme_assign(s, r->round, r->have, position, tasks);
    const struct brg_profile_cell *cell = cell_of(r, seat->worker);
    const uint64_t free_ns = r->free_ns[seat->worker];

    seat->start_ns = free_ns > r->started_ns ? free_ns : r->started_ns;
    seat->done_ns = seat->start_ns;
    seat->again_ns = 0;
    seat->chunks = 0;
    seat->minitasks = count;
    if (count == 0) return;
    brg_bits_add(&r->late, position);
    r->expected++;
    int again = 0;
    for (uint32_t k = 0; k < count; k++) {
        seat->chunks += brg_scheme_unit_chunks(s, tasks[k].unit);
        seat->done_ns = seat->start_ns + brg_profile_cell_ns(cell, seat->chunks, r->spec.chunks);
        r->events[r->event_count++] = (struct brg_replay_event){.at_ns = seat->done_ns,
                                                                .unit = tasks[k].unit,
                                                                .position = (uint16_t)position,
                                                                .delta = (uint8_t)tasks[k].delta,
                                                                .last = k + 1 == count};
        again |= tasks[k].delta > 0;
    }
    r->reattempts += (uint32_t)again;
    if (!r->options.whole) return;
    for (uint32_t k = 1; k <= count; k++) r->events[r->event_count - k].at_ns = seat->done_ns;
}

void brg_replay_take(struct brg_replay *r, uint32_t until) {
    BRG_ASSERT(until >= r->used);
    for (; r->used < until; r->used++) {
        const struct brg_replay_event *e = &r->events[r->used];
        brg_bits_add(&r->work[e->delta], e->unit);
        if (e->last) brg_bits_remove(&r->late, e->position);
    }
}

int brg_replay_decodable(const struct brg_replay *r) {
    if (!brg_scheme_may_end(brg_replay_scheme(r), r->round, r->work)) return 0;
    if (r->spec.rule != BRG_RULE_MODEL) return 1;
    return brg_pattern_conforms(&r->spec, &r->pattern, &r->late);
}

/* The fewest of the first `high` events with which the round is decodable, by bisection, since more
 * of them never make it worse; they are in afterwards. asserts: it is with `high` */
static uint32_t first_decodable(struct brg_replay *r, uint32_t high) {
    struct brg_bits work[BRG_SCHEME_JOBS_MAX], late = r->late;
    uint32_t low = 0;
    if (brg_replay_decodable(r)) return 0;
    memcpy(work, r->work, r->jobs * sizeof *work);
    while (high - low > 1) { /* not decodable with `low`, which work and late hold; with `high` */
        const uint32_t middle = low + (high - low) / 2;
        brg_replay_take(r, middle);
        if (brg_replay_decodable(r)) {
            high = middle;
            memcpy(r->work, work, r->jobs * sizeof *work);
            r->late = late;
            r->used = low;
        } else {
            low = middle;
            memcpy(work, r->work, r->jobs * sizeof *work);
            late = r->late;
        }
    }
    brg_replay_take(r, high);
    return high;
}

/* How many events there are up to an instant. */
static uint32_t events_until(const struct brg_replay *r, uint64_t at_ns) {
    uint32_t low = 0, high = r->event_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (r->events[middle].at_ns <= at_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The first instant at which the round is decodable; the events up to it are in. */
static uint64_t decodable_at(struct brg_replay *r) {
    const struct brg_policy_round seen = {.now_ns = r->first_ns,
                                          .started_ns = r->started_ns,
                                          .first_ns = r->first_ns,
                                          .decodable_ns = BRG_POLICY_NEVER};
    const struct brg_policy_patience says = {.given_ns = r->options.patience_ns,
                                             .timeout_ns = TIMEOUT_NS};
    uint64_t patience_ns = TIMEOUT_NS;
    if (r->options.reattempt) patience_ns = brg_policy_patience_ns(&r->spec, &seen, &says, 0);
    const uint32_t in_time = events_until(r, r->started_ns + patience_ns);
    if (in_time < r->event_count) {
        struct brg_bits work[BRG_SCHEME_JOBS_MAX];
        const struct brg_bits late = r->late;
        memcpy(work, r->work, r->jobs * sizeof *work);
        brg_replay_take(r, in_time);
        if (!brg_replay_decodable(r)) return brg_replay_late(r, patience_ns);
        memcpy(r->work, work, r->jobs * sizeof *work);
        r->late = late;
        r->used = 0;
    }
    const uint32_t count = first_decodable(r, in_time);
    return count == 0 ? r->started_ns : r->events[count - 1].at_ns;
}

/* When the policy ends a round that is decodable from `decodable_ns` on, and of which everybody has
 * answered at `all_ns`: brg_policy_may_end, solved for the instant. */
static uint64_t end_of(const struct brg_replay *r, uint64_t decodable_ns, uint64_t all_ns,
                       uint64_t bound_ns) {
    if (r->spec.policy == BRG_POLICY_EARLY) return decodable_ns;
    const uint64_t least_ns = bound_ns < all_ns ? bound_ns : all_ns;
    if (decodable_ns <= least_ns) return least_ns;
    if (r->spec.policy == BRG_POLICY_MINWAIT) return decodable_ns;
    return decodable_ns <= bound_ns || decodable_ns > all_ns ? decodable_ns : all_ns;
}

/* Shares go over the link in the order in which they came; second attempts' after them. */
static void fetch(struct brg_replay *r, uint64_t end_ns) {
    struct brg_bits seen[BRG_SCHEME_JOBS_MAX];
    uint64_t fetched = 0, left = 0;
    for (uint32_t d = 0; d < r->jobs; d++) {
        left += brg_bits_count(&r->work[d]) - brg_bits_count(&r->have[d]);
    }
    r->totals.shares += left;
    if (r->options.vector_ns == 0) return;
    memcpy(seen, r->have, r->jobs * sizeof *seen);
    for (uint32_t i = 0; i < r->used; i++) {
        const struct brg_replay_event *e = &r->events[i];
        if (brg_bits_has(&seen[e->delta], e->unit)) continue;
        brg_bits_add(&seen[e->delta], e->unit);
        if (r->link_free_ns < e->at_ns) r->link_free_ns = e->at_ns;
        r->link_free_ns += r->options.vector_ns;
        fetched++;
    }
    BRG_ASSERT(fetched <= left);
    if (fetched == left) return;
    if (r->link_free_ns < end_ns) r->link_free_ns = end_ns;
    r->link_free_ns += (left - fetched) * r->options.vector_ns;
}

/* What each worker is paid for, when it is free again, and what is known of it from now on. */
static void settle(struct brg_replay *r, uint64_t end_ns) {
    for (uint32_t i = r->used; i < r->event_count && r->options.late == BRG_LATE_STARTS; i++) {
        const struct brg_replay_event *e = &r->events[i]; /* the first one is what is in hand */
        struct brg_replay_seat *seat = &r->seats[e->position];
        if (seat->start_ns < end_ns && r->free_ns[seat->worker] <= end_ns) {
            r->free_ns[seat->worker] = e->at_ns;
        }
    }
    for (uint32_t p = 0; p < r->spec.n; p++) {
        struct brg_replay_seat *seat = &r->seats[p];
        const int late = brg_bits_has(&r->late, p);
        uint64_t until_ns = seat->done_ns;
        if (r->options.late == BRG_LATE_STARTS && seat->again_ns > 0 && seat->done_ns > end_ns) {
            r->free_ns[seat->worker] = seat->done_ns; /* a second attempt is finished too */
        }
        if (late || until_ns > end_ns) {
            const uint64_t free_ns = r->free_ns[seat->worker];
            until_ns = free_ns > end_ns && seat->start_ns < end_ns ? free_ns : end_ns;
        }
        const uint64_t begun_ns = seat->again_ns > 0 ? seat->again_ns : seat->start_ns;
        if (until_ns > begun_ns) r->totals.busy_ns += until_ns - begun_ns;
        r->totals.late += (uint64_t)late;
        if (seat->minitasks == 0) continue;
        seat->late_ppm = brg_regroup_decay_ppm(seat->late_ppm, late);
        if (late || seat->again_ns > 0 || seat->chunks == 0) continue;
        const uint64_t chunk_ns = (seat->done_ns - seat->start_ns) / seat->chunks;
        seat->chunk_ns = seat->chunk_ns == 0 ? chunk_ns : (3 * seat->chunk_ns + chunk_ns) / 4;
    }
}

/* Writes down what a coordinator would know: parts that came, and who was cut off. */
static void note_points(struct brg_replay *r, uint64_t end_ns, struct brg_replay_round *out) {
    const struct brg_scheme *s = brg_replay_scheme(r);
    const struct brg_bits late = r->late;
    struct brg_bits cut = {{0}};
    memset(r->index, 0, r->spec.n * sizeof *r->index); /* chunks so far */
    for (uint32_t i = 0; i < r->event_count; i++) {
        const struct brg_replay_event *e = &r->events[i];
        const struct brg_replay_seat *seat = &r->seats[e->position];
        r->index[e->position] += brg_scheme_unit_chunks(s, e->unit);
        if (r->options.whole && !e->last) continue;
        const int in = i < r->used;
        if (!in && (!brg_bits_has(&late, e->position) || brg_bits_has(&cut, e->position))) continue;
        const uint64_t until_ns = in ? e->at_ns : end_ns;
        if (until_ns <= seat->start_ns || out->point_count == out->points_room) continue;
        if (!in) brg_bits_add(&cut, e->position);
        out->points[out->point_count++] =
            (struct brg_point){.worker = seat->worker,
                               .load = (double)r->index[e->position] / r->spec.chunks,
                               .seconds = (double)(until_ns - seat->start_ns) * 1e-9,
                               .censored = !in};
    }
}

/* When the round starts: after the one before, and not before its step's model has the gradient of
 * its step before. */
static void start(struct brg_replay *r, int new_step) {
    r->round++;
    r->totals.rounds++;
    r->started_ns = r->now_ns;
    if (new_step) {
        r->steps++;
        if (r->steps > r->options.models) {
            const uint64_t ready_ns =
                r->applied_ns[(r->steps - r->options.models) % BRG_MODELS_MAX];
            if (ready_ns > r->started_ns) r->started_ns = ready_ns;
        }
    } else {
        r->have[0] = r->fill;
    }
    memcpy(r->work, r->have, r->jobs * sizeof *r->work);
    brg_bits_clear(&r->late);
    r->event_count = r->used = r->expected = r->reattempts = 0;
    r->first_ns = BRG_POLICY_NEVER;
}

/* The round is over: the due step is applied once its shares are here. */
static void finish(struct brg_replay *r, uint64_t end_ns) {
    const struct brg_scheme *s = brg_replay_scheme(r);
    const uint64_t due = r->round > r->jobs - 1 ? r->round - (r->jobs - 1) : 0;
    fetch(r, end_ns);
    settle(r, end_ns);
    if (r->spec.rule == BRG_RULE_MODEL) {
        brg_pattern_commit(&r->spec, &r->pattern, &r->late, r->reattempts);
    }
    memcpy(r->have, r->work, r->jobs * sizeof *r->have);
    brg_scheme_commit(s, r->round, r->have);
    r->now_ns = end_ns;
    if (due >= 1 && due <= r->steps) {
        const uint64_t applied_ns = r->link_free_ns > end_ns ? r->link_free_ns : end_ns;
        r->applied_ns[due % BRG_MODELS_MAX] = applied_ns;
        r->totals.steps = due;
        r->totals.elapsed_ns = applied_ns;
    }
}

void brg_replay_round(struct brg_replay *r, int new_step, struct brg_replay_round *out) {
    start(r, new_step);
    if (r->options.regroup) regroup(r);
    for (uint32_t p = 0; p < r->spec.n; p++) {
        hand_out(r, p);
        if (r->seats[p].minitasks > 0 && r->seats[p].done_ns < r->first_ns) {
            r->first_ns = r->seats[p].done_ns;
        }
    }
    uint64_t end_ns = r->started_ns;
    if (r->expected > 0) {
        brg_replay_sort(r->events, r->spare, r->event_count);
        const uint64_t all_ns = r->events[r->event_count - 1].at_ns;
        const struct brg_policy_round seen = {.started_ns = r->started_ns, .first_ns = r->first_ns};
        const uint64_t bound_ns = brg_policy_bound_ns(&r->spec, &seen);
        end_ns = end_of(r, decodable_at(r), all_ns, bound_ns);
        const uint32_t in = events_until(r, end_ns);
        if (in > r->used) brg_replay_take(r, in);
        r->totals.waited += end_ns > bound_ns;
    }
    if (out != NULL) {
        out->started_ns = r->started_ns;
        out->ended_ns = end_ns;
        out->point_count = 0;
        if (out->points_room > 0) note_points(r, end_ns, out);
    }
    finish(r, end_ns);
}

struct brg_replay_totals brg_replay_totals(const struct brg_replay *r) {
    return r->totals;
}

int brg_replay_run(struct brg_replay *r, size_t size_bytes, const struct brg_code_spec *spec,
                   const struct brg_replay_options *options, const struct brg_profile *profile,
                   uint64_t steps, struct brg_replay_totals *out, struct brg_why *why) {
    const int rc = brg_replay_init(r, size_bytes, spec, options, profile, why);
    if (rc != BRG_OK) return rc;
    for (uint64_t step = 0; step < steps; step++) brg_replay_round(r, 1, NULL);
    for (uint32_t extra = 1; extra < r->jobs; extra++) brg_replay_round(r, 0, NULL);
    BRG_ASSERT(r->totals.steps == steps);
    *out = r->totals;
    return BRG_OK;
}
