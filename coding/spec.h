/* spec.h - which gradient code a run uses. Flat; filled and range-checked by the run file's reader
 * and the wire's validation. */
#ifndef BRG_CODING_SPEC_H
#define BRG_CODING_SPEC_H

#include "base/base.h"

#define BRG_CODE_WORKERS_MAX 1024u /* positions a code is laid out for */
#define BRG_CODE_CHUNKS_MAX 1024u

enum brg_code_kind { BRG_CODE_NONE = 1, BRG_CODE_FRC = 2, BRG_CODE_CYCLIC = 3 };

/* When a round may end (papers: Krishnan et al. 2022 wait for (1+mu) times the fastest):
 * EARLY at the first instant at which the step is decodable;
 * MINWAIT not before (1+mu) times the fastest answer, then at the first decodable instant;
 * PAPER at (1+mu) times the fastest if decodable then, else when every worker has answered. */
enum brg_policy { BRG_POLICY_EARLY = 1, BRG_POLICY_MINWAIT = 2, BRG_POLICY_PAPER = 3 };

struct brg_code_spec {
    uint32_t kind;   /* enum brg_code_kind */
    uint32_t n;      /* positions, 1 .. BRG_CODE_WORKERS_MAX */
    uint32_t s;      /* stragglers tolerated, 0 .. n-1; 0 for NONE */
    uint32_t chunks; /* of the batch, at least one a unit, at most BRG_CODE_CHUNKS_MAX; a multiple
                        of n for CYCLIC */
    uint32_t policy; /* enum brg_policy */
    uint32_t mu_ppm; /* mu in millionths, so that the machines need no floating point */
    uint64_t seed;   /* of the random matrix of CYCLIC */
};

#endif
