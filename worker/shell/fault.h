/* fault.h - faults made to order, for trying out what a run does about them.
 *
 *   slow:factor=3[,share=0.5][,seed=1]       computing takes `factor` times as long
 *   stall:for=2s[,share=0.2][,seed=7]        waits that long before it computes
 *   die:step=17 | die:share=0.01[,seed=3]    SIGKILL to itself, as if the power went
 *   lie:scale=1.5 | lie:sign | lie:random    a wrong share under a right digest of it
 *
 *   slow, stall, die and lie share these:    share=0.2 or 20%: in about this part of the steps
 *                                            pick=2/8,index=3: a rota; of 8 workers with the same
 *                                            seed exactly 2 are chosen in each step; we are number
 * 3
 *
 * What happens in a step is a function of (seed, step) alone, so a trial can be repeated exactly,
 * and an attempt at the same step meets the same fault. Several faults: joined by ';'.
 *
 * Pure; any thread. */
#ifndef BRG_WORKER_SHELL_FAULT_H
#define BRG_WORKER_SHELL_FAULT_H

#include "base/why.h"

#define BRG_WORKER_FAULTS_MAX 8u

enum brg_fault_kind {
    BRG_FAULT_SLOW = 1,
    BRG_FAULT_STALL = 2,
    BRG_FAULT_DIE = 3,
    BRG_FAULT_LIE = 4,
};

enum brg_lie_kind { BRG_LIE_NONE = 0, BRG_LIE_SCALE = 1, BRG_LIE_SIGN = 2, BRG_LIE_RANDOM = 3 };

struct brg_fault {
    uint32_t kind; /* enum brg_fault_kind */
    uint32_t lie;  /* enum brg_lie_kind */
    double factor; /* SLOW: >= 1; LIE by scale */
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

/* What a step meets, all faults together. */
struct brg_fault_plan {
    uint64_t stall_ns;  /* the longest of the stalls */
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

/* brg_faults_plan - what happens in `step`. cost: O(faults * workers of a rota) */
void brg_faults_plan(const struct brg_faults *faults, uint64_t step, struct brg_fault_plan *out);

/* brg_fault_lie - makes share [count] wrong as the plan says; nothing where it does not. */
void brg_fault_lie(const struct brg_fault_plan *plan, float *share, uint64_t count);

#endif
