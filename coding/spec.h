/* spec.h - which gradient code a run uses, and in which order its steps belong to its models. Flat;
 * filled and range-checked by the run file's reader and the wire's validation, checked against
 * itself by brg_scheme_check.
 *
 *   field      none  frc  cyclic  sr-sgc  m-sgc  speculative    dct is as cyclic, without a seed
 *   n, chunks   x     x     x       x       x        x
 *   s           0     x     x       -       -        0         - and 0: must be 0
 *   base                            x       x                  m-sgc: only with lambda < n
 *   b, w, lambda                    x       x
 *   parts       x     x                              x
 *   delay             x
 *   rule              x     x       x       x                                              */
#ifndef BRG_CODING_SPEC_H
#define BRG_CODING_SPEC_H

#include "base/base.h"

#define BRG_CODE_WORKERS_MAX 1024u /* positions a code is laid out for */
/* Chunks of a batch; whoever stores or sends them may allow fewer. */
#define BRG_CODE_CHUNKS_MAX 65536u
#define BRG_RECIPE_CHUNKS_MAX 1024u /* chunks of one share */
#define BRG_CODE_PARTS_MAX 8u
#define BRG_CODE_WINDOW_MAX 32u /* w, in rounds */
#define BRG_MODELS_MAX 8u       /* of one run; so T, which is below it, is at most 7 */

enum brg_code_kind {
    BRG_CODE_NONE = 1,
    BRG_CODE_FRC = 2,
    BRG_CODE_CYCLIC = 3,
    BRG_CODE_SR_SGC = 4,
    BRG_CODE_M_SGC = 5,
    BRG_CODE_SPECULATIVE = 6,
    BRG_CODE_DCT = 7,
};

/* The gradient code inside a sequential one. */
enum brg_code_base { BRG_BASE_REPETITION = 1, BRG_BASE_CYCLIC = 2 };

/* When a round may end (papers: Krishnan et al. 2022 wait for (1+mu) times the fastest):
 * EARLY at the first instant at which the step is decodable; not for codes with a delay;
 * MINWAIT not before (1+mu) times the fastest answer, then at the first decodable instant;
 * PAPER at (1+mu) times the fastest if decodable then, else when every worker has answered. */
enum brg_policy { BRG_POLICY_EARLY = 1, BRG_POLICY_MINWAIT = 2, BRG_POLICY_PAPER = 3 };

/* What `decodable` means in the lines above. WEAKEST: nothing due or in flight is lost. MODEL:
 * that, and the stragglers so far conform to the model that the code was made for
 * (coding/pattern.h), as published. 0 stands for WEAKEST. */
enum brg_rule { BRG_RULE_WEAKEST = 1, BRG_RULE_MODEL = 2 };

struct brg_code_spec {
    uint32_t kind;   /* enum brg_code_kind */
    uint32_t n;      /* positions, 1 .. BRG_CODE_WORKERS_MAX */
    uint32_t s;      /* stragglers tolerated, 0 .. n-1 */
    uint32_t chunks; /* of the batch, at least one a unit, at most BRG_CODE_CHUNKS_MAX; a multiple
                        of n for CYCLIC, DCT and SR_SGC over cyclic, of n (b + (w-1)(lambda+1)) for
                        M_SGC with lambda < n */
    uint32_t policy; /* enum brg_policy */
    uint32_t mu_ppm; /* mu in millionths, so that the machines need no floating point */
    uint64_t seed;   /* of the random matrix of cyclic codes */
    uint32_t base;   /* enum brg_code_base */
    uint32_t b;      /* longest burst of one straggler, in rounds: SR_SGC >= 1, M_SGC 1 .. w-1 */
    uint32_t w;      /* window in rounds: SR_SGC x b + 1 with x >= 1, M_SGC >= 2 */
    uint32_t lambda; /* different stragglers in a window, 1 .. n */
    uint32_t parts;  /* units that the share of a position is cut into, 1 .. BRG_CODE_PARTS_MAX; 0
                        stands for 1 */
    uint32_t delay;  /* FRC: 0, or 1 for late units attempted again in the next round */
    uint32_t rule;   /* enum brg_rule */
    uint32_t padding;
};

/* The model, 0 .. models-1, that a step of a run with so many models belongs to. */
static inline uint32_t brg_model_of_step(uint64_t step, uint32_t models) {
    BRG_ASSERT(step >= 1);
    BRG_ASSERT(models >= 1);
    return (uint32_t)((step - 1) % models);
}

/* Which step of its model that is, from 1 on. */
static inline uint64_t brg_model_step(uint64_t step, uint32_t models) {
    BRG_ASSERT(step >= 1);
    BRG_ASSERT(models >= 1);
    return (step - 1) / models + 1;
}

/* T of a spec that brg_scheme_check accepts: job j is due at the end of round j + T, so the run
 * needs T + 1 models. */
static inline uint32_t brg_code_delay(const struct brg_code_spec *spec) {
    if (spec->kind == BRG_CODE_FRC) return spec->delay;
    if (spec->kind == BRG_CODE_SR_SGC) return spec->b;
    if (spec->kind == BRG_CODE_M_SGC) return spec->w - 2 + spec->b;
    return 0;
}

/* The s of the gradient code that a spec which brg_scheme_check accepts is made of. M_SGC: lambda;
 * there is no such code inside it where lambda is n. */
static inline uint32_t brg_code_s(const struct brg_code_spec *spec) {
    if (spec->kind == BRG_CODE_M_SGC) return spec->lambda;
    if (spec->kind != BRG_CODE_SR_SGC) return spec->s;
    const uint64_t hit = (uint64_t)spec->b * spec->lambda; /* ceil(b lambda / (w - 1 + b)) */
    const uint64_t span = (uint64_t)spec->w - 1 + spec->b;
    return (uint32_t)((hit + span - 1) / span);
}

#endif
