/* tuner.h - which code, parameters and policy a run should use, from what its workers were seen to
 * do.
 *
 *   points of the probe ──fit──► cells ──resample, add unseen stalls──► one future for all
 *                                                                          │
 *   candidates ──────────────────────────replay of each on it──────────────┴─► table ──► choice
 *
 *   init ──► step ──► step ── ... ──► 0: done ──► rows, choice, band
 *              one candidate each: between two of them the caller may give up or do something else
 *
 * A short probe invites two mistakes. It holds each group's luck, so the workers are dealt to
 * positions anew in each of BRG_TUNER_DEALS replays, and a worker keeps its own record only as far
 * as workers differ by more than luck; and it has not seen what is rare: each cell of the future
 * stalls for BRG_TUNER_STALL_TIMES times the usual time with the probability that half an event in
 * all the cells observed would have (Jeffreys' prior for a rate). All candidates meet the same
 * future, so that their differences are theirs.
 *
 * Pure: no allocation, no clock, no I/O; the same input gives the same choice. One thread a block.
 * docs/TUNER.md has the method and what it was measured to do. */
#ifndef BRG_CODING_TUNER_H
#define BRG_CODING_TUNER_H

#include "coding/replay.h"

#define BRG_TUNER_ROWS_MAX 256u
#define BRG_TUNER_DEALS 4u
#define BRG_TUNER_STALL_TIMES 16u
#define BRG_TUNER_ROUNDS_DEFAULT 160u /* of the future, all deals together */
#define BRG_TUNER_REPLAY_WORTH 16u
#define BRG_TUNER_WINDOW_MAX 128u /* rounds of points that are looked at, the last ones */

enum brg_tuner_minimise {
    BRG_MINIMISE_TIME = 1,
    BRG_MINIMISE_COST = 2, /* worker-seconds paid for; of equal ones the faster */
};

/* What a code did when it was in force: worth more than any replay of it. */
struct brg_tuner_tried {
    struct brg_code_spec spec;
    uint64_t step_ns, cost_ns; /* mean of `rounds` rounds: time, worker-time */
    uint32_t rounds;
};

#define BRG_TUNER_TRIED_MAX 8u

struct brg_tuner_config {
    uint32_t n;          /* workers */
    uint32_t models;     /* of the run: codes with T >= models are no candidates */
    uint32_t chunks;     /* of the batch: candidates that cannot be cut so are left out; 0: each
                            takes what suits it */
    uint32_t minimise;   /* enum brg_tuner_minimise */
    uint32_t rounds;     /* of the future; 0: BRG_TUNER_ROUNDS_DEFAULT */
    uint32_t keep_ppm;   /* how much better another choice has to be than `current` */
    uint64_t steps_left; /* of the run: T rounds at the end are spread over them; 0: many */
    uint64_t seed;
    double alpha_s, resolution_s;      /* as in brg_profile_fit; a code without parts shows no
                                          slope, so keep the last one that was seen */
    struct brg_replay_options options; /* order, models and first_row are not used */
    struct brg_code_spec current;      /* kind 0: none */
    uint32_t tried_count;
    struct brg_tuner_tried tried[BRG_TUNER_TRIED_MAX];
};

struct brg_tuner_row {
    struct brg_code_spec spec;
    uint64_t step_ns;   /* time a step; UINT64_MAX where it was not replayed */
    uint64_t cost_ns;   /* worker-time a step */
    uint64_t spread_ns; /* standard deviation of a round's time */
    uint32_t deals;     /* of BRG_TUNER_DEALS: bad ones are dropped after the first */
    uint32_t measured;  /* rounds of it that were really run and count in step_ns and cost_ns, each
                           as much as a BRG_TUNER_REPLAY_WORTH-th of the replay */
    uint32_t waited_ppm;
};

struct brg_tuner;

/* brg_tuner_probe_spec - the code to probe with: frc with s = 1 and two parts a share, minwait:
 * decodable like any, and most workers show two points of their line of time against load.
 * shape: chunks as in the config */
struct brg_code_spec brg_tuner_probe_spec(uint32_t n, uint32_t chunks);

/* brg_tuner_probe_rounds - how many rounds of it are enough: 2048 cells, 8 to 16 rounds. */
uint32_t brg_tuner_probe_rounds(uint32_t n);

/* brg_tuner_candidates - the grid, params and policies included.
 *
 * shape:  out [room]; returns how many were written, at most BRG_TUNER_ROWS_MAX; each passes
 *         brg_scheme_check and brg_policy_check; the same arguments give the same list
 * errors: none; what does not fit n, models or chunks is left out */
uint32_t brg_tuner_candidates(uint32_t n, uint32_t models, uint32_t chunks,
                              struct brg_code_spec *out, uint32_t room);

/* brg_tuner_chunks - the number of chunks that suits `spec` where the choice is free: its shares
 * and parts come out even; 0 where no number up to BRG_CODE_CHUNKS_MAX does. spec->chunks is not
 * used. */
uint32_t brg_tuner_chunks(const struct brg_code_spec *spec);

/* brg_tuner_size_bytes - the block for a config and points that span `point_rounds` rounds. */
size_t brg_tuner_size_bytes(const struct brg_tuner_config *config, uint32_t point_rounds);

/* brg_tuner_init - fits the points and draws the future.
 *
 * shape:  points [count], in any order; of rounds more than BRG_TUNER_WINDOW_MAX apart the last
 * own:    borrows points until it returns
 * errors: BRG_EINVAL a setting out of its range; BRG_ENOENT nothing to learn from: no worker has
 *         answered; BRG_ENOMEM the block is too small; the sentence is in why (may be NULL)
 * cost:   O(cells log cells): 10 ms at n = 256 */
BRG_CHECK int brg_tuner_init(struct brg_tuner *t, size_t size_bytes,
                             const struct brg_tuner_config *config, const struct brg_point *points,
                             uint32_t count, struct brg_why *why);

/* brg_tuner_step - replays one candidate; returns 1 while there is more to do, 0 when it is done.
 * cost: n = 256: 2 to 8 ms a call, some 200 calls */
int brg_tuner_step(struct brg_tuner *t);

/* The table, in the order of the candidates, and the index of the choice. Before step returned 0
 * the rows are incomplete and there is no choice. */
const struct brg_tuner_row *brg_tuner_rows(const struct brg_tuner *t, uint32_t *count);
uint32_t brg_tuner_choice(const struct brg_tuner *t);
const struct brg_profile_summary *brg_tuner_summary(const struct brg_tuner *t);

/* brg_tuner_outside - whether `rounds` rounds that took mean_ns on average say that the prediction
 * does not hold (any more): off by more than a tenth, and by more than four standard errors. */
int brg_tuner_outside(const struct brg_tuner_row *row, uint64_t mean_ns, uint32_t rounds);

/* brg_tuner_spec_text - "frc s=3 parts=2 early": kind, parameters, policy.
 * shape: out [BRG_TUNER_TEXT_BYTES]; returns out */
#define BRG_TUNER_TEXT_BYTES 160u
const char *brg_tuner_spec_text(const struct brg_code_spec *spec, char *out);

#endif
