/* fault.h - faults made to order, for trying out what a run does about them.
 *
 *   slow:factor=3[,share=0.5][,seed=1]       computing takes `factor` times as long
 *   stall:for=2s[,share=0.2][,seed=7]        waits that long before it computes
 *   die:step=17 | die:share=0.01[,seed=3]    SIGKILL to itself, as if the power went
 *   lie:scale=1.5 | lie:sign | lie:random    a wrong share under a right digest of it
 *   ge:p=0.04,q=0.8,factor=3[,seed=1]        slow for some rounds on end, then well again
 *   ge:p=0.04,q=0.8,add=500ms[,seed=1]       late by that much for some rounds on end
 *
 *   slow, stall, die and lie share these:    share=0.2 or 20%: in about this part of the steps
 *                                            pick=2/8,index=3: a rota; of 8 workers with the same
 *                                            seed exactly 2 are chosen in each step; we are
 *                                            number 3
 *
 * What slow, stall, die and lie do is a function of (seed, step) alone, so a trial can be repeated
 * exactly, and an attempt at the same step meets the same fault. What ge does is a function of
 * (seed, round) alone: it is about the machine, and a round may hold tasks of several steps. A
 * wait (stall, ge with add) is sat out once a round, however many tasks the round has. Several
 * faults: joined by ';'.
 *
 * ge is the chain of Gilbert and Elliott: well -> slow with probability p from round to round, slow
 * -> well with q. It keeps no memory, so that a worker that starts in the middle of a run is in the
 * same state as one that was there from the first round on. Each round has a number u of its own,
 * drawn from (seed, round): a well machine is slow next where u < p, a slow one where u < 1 - q. A
 * u below both or above both leads to one state from either, and forgets what was before. So it
 * suffices to walk back to the last such round, and on from there; every BRG_FAULT_WALK_MAX rounds,
 * where the walk ends in any case, the state is drawn afresh with its long-run probability p/(p+q).
 * source: Gilbert, "Capacity of a burst-noise channel", BSTJ 1960; Propp and Wilson, "Exact
 * sampling with coupled Markov chains", Random Structures and Algorithms 1996, for the walk back
 *
 * Pure; any thread. */
#ifndef BRG_WORKER_SHELL_FAULT_H
#define BRG_WORKER_SHELL_FAULT_H

#include "base/why.h"

#define BRG_WORKER_FAULTS_MAX 8u
#define BRG_FAULT_WALK_MAX 65536u /* rounds that the state of `ge` is walked over at most */

enum brg_fault_kind {
    BRG_FAULT_SLOW = 1,
    BRG_FAULT_STALL = 2,
    BRG_FAULT_DIE = 3,
    BRG_FAULT_LIE = 4,
    BRG_FAULT_GE = 5,
};

enum brg_lie_kind { BRG_LIE_NONE = 0, BRG_LIE_SCALE = 1, BRG_LIE_SIGN = 2, BRG_LIE_RANDOM = 3 };

struct brg_fault {
    uint32_t kind; /* enum brg_fault_kind */
    uint32_t lie;  /* enum brg_lie_kind */
    double factor; /* SLOW, GE: >= 1; LIE by scale */
    double p, q;   /* GE: well -> slow and slow -> well from one round to the next */
    uint64_t for_ns;
    uint64_t step; /* DIE: in this step only; 0: any */
    uint64_t seed;
    uint32_t share_ppm;             /* steps it happens in, of a million */
    uint32_t pick, among, position; /* rota; among == 0: none */
};

struct brg_faults {
    uint32_t count;
    struct brg_fault items[BRG_WORKER_FAULTS_MAX];
};

/* Where a task stands. */
struct brg_fault_at {
    uint64_t step, round;
};

/* What a task meets, all faults together. */
struct brg_fault_plan {
    uint64_t stall_ns;  /* the longest of the waits, from the round's first task on */
    double slow_factor; /* product; 1: not slowed down */
    uint32_t die;       /* 1: now */
    uint32_t lie;       /* enum brg_lie_kind, of the first lie that applies */
    double lie_factor;
    uint64_t lie_seed; /* of RANDOM's numbers */
};

/* brg_faults_parse - adds the faults in `text` to `faults`.
 *
 * errors: BRG_EINVAL the text makes no sense; *why says which word, and what is possible.
 *         BRG_EFULL more than BRG_WORKER_FAULTS_MAX. `faults` is as before in both cases */
BRG_CHECK int brg_faults_parse(const char *text, struct brg_faults *faults, struct brg_why *why);

/* brg_faults_plan - what happens to a task of this step in this round.
 * cost: O(faults * workers of a rota); of ge, 1 / (p + q) draws on average, at most
 *       BRG_FAULT_WALK_MAX */
void brg_faults_plan(const struct brg_faults *faults, struct brg_fault_at at,
                     struct brg_fault_plan *out);

/* brg_fault_lie - makes share [count] wrong as the plan says; nothing where it does not. */
void brg_fault_lie(const struct brg_fault_plan *plan, float *share, uint64_t count);

#endif
