/* replay_state.h - inside coding/ only: what the parts of a replay share.
 *
 *   replay.c         the rounds: hand out, when does it end, what is counted
 *   replay_sort.c    answers in order of time
 *   replay_late.c    the part of a round after the patience, when late units go to idle workers */
#ifndef BRG_REPLAY_STATE_H
#define BRG_REPLAY_STATE_H

#include "coding/pattern.h"
#include "coding/policy.h"
#include "coding/regroup.h"
#include "coding/replay.h"

#define BRG_REPLAY_PLAN_WORDS 64u /* doubles; init checks that the plan of every code fits */

/* One minitask's end. */
struct brg_replay_event {
    uint64_t at_ns;
    uint32_t unit;
    uint16_t position;
    uint8_t delta;
    uint8_t last; /* of what its position was given */
};

struct brg_replay_seat {
    uint64_t start_ns, done_ns; /* of the hand-out; done of all it was given, cancelled or not */
    uint64_t chunk_ns;          /* running mean of time a chunk */
    uint64_t again_ns; /* start of a second attempt under way, or 0; done_ns is then its end */
    uint32_t worker, chunks, minitasks, late_ppm;
};

struct brg_replay {
    struct brg_code_spec spec;
    struct brg_replay_options options;
    const struct brg_profile *profile;
    struct brg_replay_totals totals;
    uint64_t round, steps;               /* begun */
    uint64_t now_ns, link_free_ns;       /* now: end of the round before */
    uint64_t applied_ns[BRG_MODELS_MAX]; /* of step k in entry k % MODELS_MAX */
    struct brg_bits have[BRG_SCHEME_JOBS_MAX];
    struct brg_bits work[BRG_SCHEME_JOBS_MAX]; /* have, as it grows in a round */
    struct brg_bits late, fill;                /* positions not finished; unit_count numbers */
    struct brg_pattern pattern;
    uint64_t free_ns[BRG_CODE_WORKERS_MAX]; /* by worker: when it can take something new */
    struct brg_replay_seat seats[BRG_CODE_WORKERS_MAX];
    uint64_t started_ns, first_ns; /* of the round at hand */
    uint32_t expected, reattempts, jobs, units;
    uint32_t event_count, used; /* used: events that `work` and `late` hold */
    struct brg_regroup_seat known[BRG_CODE_WORKERS_MAX]; /* scratch */
    double plan[BRG_REPLAY_PLAN_WORDS];                  /* the scheme */
    uint32_t index[BRG_CODE_WORKERS_MAX];                /* scratch: seats, idle workers */
    struct brg_replay_event *events, *spare; /* [n * MINITASKS_MAX] each, behind this struct */
};

static inline const struct brg_scheme *brg_replay_scheme(const struct brg_replay *r) {
    return (const struct brg_scheme *)(const void *)r->plan;
}

/* brg_replay_sort - events in order of time, equal ones as they were; `spare` is as large. */
void brg_replay_sort(struct brg_replay_event *events, struct brg_replay_event *spare,
                     uint32_t count);

/* brg_replay_take - events up to `until` (an index) are in. asserts: until >= used */
void brg_replay_take(struct brg_replay *r, uint32_t until);

/* Whether the round could end with what is in. */
int brg_replay_decodable(const struct brg_replay *r);

/* brg_replay_late - from the patience on: events and second attempts in order of time, until the
 * round is decodable.
 * shape: `used` events, those up to the patience, are in; returns the instant */
uint64_t brg_replay_late(struct brg_replay *r, uint64_t patience_ns);

#endif
