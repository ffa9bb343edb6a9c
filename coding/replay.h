/* replay.h - a run in virtual time: the code's own plan (brg_scheme_init_plan) and its policy on a
 * profile of delays, without gradients.
 *
 *   profile ─► workers' answers in order of time ─► may_end? ─ policy ─► end of the round
 *                  │                                  │ no, and patience is over
 *                  │                                  └─► missing units to idle workers, fastest
 * first └─► link: a share after the other, vector_ns each ─► the step is applied, which the same
 * model's next step waits for
 *
 * What is counted how:
 *   seconds          from the first round's start to the last step's application
 *   worker-seconds   each worker from its hand-out to its answer, or to the end of the round if
 * that comes first and cancels it; idle workers are not paid for a hand-out       pays the cell's
 * fixed time before its first chunk: the first of a round, and every attempt on another worker
 * again; minitasks of one hand-out follow each other without it Not modelled: the way of the
 * parameters to the workers (the same for every code), decoding, a late answer that comes in a
 * later round but in time for its job (it is not counted).
 *
 * Pure: integers, no allocation; the block is the caller's. One thread a block; the profile is only
 * read. The same input gives the same result on every machine. */
#ifndef BRG_CODING_REPLAY_H
#define BRG_CODING_REPLAY_H

#include "coding/profile.h"
#include "coding/scheme.h"

/* What becomes of a worker that has not answered when the round ends. */
enum brg_replay_late {
    BRG_LATE_CANCELLED = 1, /* at once and free of charge */
    BRG_LATE_STARTS = 2,    /* finishes the minitask in hand, then begins the next round */
};

struct brg_replay_options {
    uint32_t late;      /* enum brg_replay_late; 0 stands for CANCELLED */
    uint32_t whole;     /* 1: a position's answers of a round count together or, if it is late, not
                           at all, as published; 0: each counts when it is there */
    uint32_t reattempt; /* 1: units that are late go to idle workers after the patience */
    uint32_t regroup;   /* 1: dynamic clustering at the start of each round */
    uint32_t models;    /* of the run; 0: as few as the code allows, T + 1 */
    uint32_t first_row; /* of the profile, for the first round */
    uint64_t vector_ns; /* one share over the coordinator's link */
    uint64_t patience_ns;  /* 0: by measurement, see brg_policy_patience_ns */
    const uint32_t *order; /* [n] who sits where at first, a permutation; NULL: worker p at p */
};

struct brg_replay_totals {
    uint64_t elapsed_ns, busy_ns; /* busy: all workers together */
    uint64_t rounds, steps;       /* steps: committed */
    uint64_t waited;     /* rounds that went on past what the policy would have waited at least */
    uint64_t late;       /* positions that had not answered at the end of their round, all rounds */
    uint64_t reattempts; /* units given to a second worker */
    uint64_t shares;     /* fetched */
};

struct brg_replay;

/* brg_replay_size_bytes - the block of a replay of `spec`; 0 where brg_scheme_check refuses it. */
size_t brg_replay_size_bytes(const struct brg_code_spec *spec);

/* brg_replay_init - at the start of the first round.
 *
 * shape:   profile->n workers fill spec->n positions
 * own:     borrows profile and options->order (copied) until the last call
 * errors:  BRG_EINVAL the spec is refused, the profile has another number of workers, or too few
 *          models; the sentence is in why (may be NULL)
 * asserts: size_bytes is at least brg_replay_size_bytes(spec); r is aligned for uint64_t */
BRG_CHECK int brg_replay_init(struct brg_replay *r, size_t size_bytes,
                              const struct brg_code_spec *spec,
                              const struct brg_replay_options *options,
                              const struct brg_profile *profile, struct brg_why *why);

/* What a round showed, as a coordinator could have measured it. */
struct brg_replay_round {
    uint64_t started_ns, ended_ns;
    uint32_t point_count; /* 0 .. points_room */
    uint32_t points_room;
    struct brg_point *points; /* the caller's: parts of each worker's first hand-out; round is 0 */
};

/* brg_replay_round - one round; `new_step` 0 after the last one, for the T rounds that finish what
 * is in flight.
 *
 * shape: out may be NULL; points beyond the room are left out
 * cost:  n = 256: about 20 us, n log n in the number of minitasks */
void brg_replay_round(struct brg_replay *r, int new_step, struct brg_replay_round *out);

/* What the rounds so far came to. */
struct brg_replay_totals brg_replay_totals(const struct brg_replay *r);

/* brg_replay_run - `steps` steps and the rounds that finish them.
 * errors, asserts: as brg_replay_init */
BRG_CHECK int brg_replay_run(struct brg_replay *r, size_t size_bytes,
                             const struct brg_code_spec *spec,
                             const struct brg_replay_options *options,
                             const struct brg_profile *profile, uint64_t steps,
                             struct brg_replay_totals *out, struct brg_why *why);

#endif
