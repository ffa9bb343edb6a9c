/* pattern.h - who was late in the last rounds, and the models of stragglers that the published rule
 * of each code is made for.  Pure; flat; the caller guards shared histories.
 *
 *            window of w rounds, b = 2
 *   round   .. r-4 r-3 r-2 r-1 [r]
 *   worker 0    .   X   X   .   .     bursty: first to last of its late rounds spans <= b rounds
 *   worker 1    .   .   X   .   X     not bursty (3 rounds), but arbitrary with b = 2
 *
 * The weakest rule (brg_scheme_may_end) needs none of this. With spec.rule = BRG_RULE_MODEL a round
 * ends only when brg_scheme_may_end holds and brg_pattern_conforms does too: each code promises
 * that what conforms can be decoded in time.
 *
 *   (b, w, lambda) bursty     every window of w rounds: at most lambda different workers are late,
 *                             each within b rounds in a row of it
 *   (b, w, lambda) arbitrary  the same, each at most b times
 *   lambda a round            at most lambda late in a round (w = 1)
 *
 * source: Krishnan, Ebrahimi, Khisti, "Sequential Gradient Coding for Straggler Mitigation", ICLR
 *         2023, the straggler models and the test of SR-SGC; m-sgc tolerates arbitrary patterns
 *         with b and w + b - 1 as well (own derivation, tested) */
#ifndef BRG_CODING_PATTERN_H
#define BRG_CODING_PATTERN_H

#include "base/bits.h"
#include "coding/spec.h"

/* Rounds remembered, the one at hand included. */
#define BRG_PATTERN_WINDOW_MAX BRG_CODE_WINDOW_MAX

enum brg_pattern_kind {
    BRG_PATTERN_BURSTY = 1,
    BRG_PATTERN_ARBITRARY = 2,
    BRG_PATTERN_PER_ROUND = 3,
};

struct brg_pattern_model {
    uint32_t kind;   /* enum brg_pattern_kind */
    uint32_t b;      /* 1 .. w; not used by PER_ROUND */
    uint32_t w;      /* 1 .. BRG_PATTERN_WINDOW_MAX; not used by PER_ROUND */
    uint32_t lambda; /* 0 .. positions */
};

/* The late positions of the last rounds. All zero before the first round. */
struct brg_pattern {
    uint64_t rounds;                              /* pushed so far */
    struct brg_bits late[BRG_PATTERN_WINDOW_MAX]; /* of round number k in entry k % WINDOW_MAX */
};

/* brg_pattern_allows - 1 where the rounds so far and one more with `late` fit the model, given that
 * the rounds so far do; else 0.
 * cost: O(w n / 64) */
int brg_pattern_allows(const struct brg_pattern_model *model, const struct brg_pattern *p,
                       const struct brg_bits *late);

/* brg_pattern_push - one more round is over. */
void brg_pattern_push(struct brg_pattern *p, const struct brg_bits *late);

/* brg_pattern_model_of - what the published rule of a code asks of stragglers.
 *
 * shape:   frc, cyclic: s a round; none, speculative: 0 a round; sr-sgc, m-sgc: (b, w, lambda)
 *          bursty
 * asserts: spec is one that brg_scheme_check accepts */
struct brg_pattern_model brg_pattern_model_of(const struct brg_code_spec *spec);

/* brg_pattern_conforms - 1 where a round may end by the published rule if `late` did not finish.
 *
 * shape: late: positions that were given something and have not finished all of it
 * notes: sr-sgc: rounds pushed as clean (see commit) count as if nobody had been late in them
 * cost:  as allows; fewer late positions never turn 1 into 0 */
int brg_pattern_conforms(const struct brg_code_spec *spec, const struct brg_pattern *p,
                         const struct brg_bits *late);

/* brg_pattern_commit - the round has ended with `late`; `reattempts` is how many positions were
 * given units of an older job in it. sr-sgc: a round with at most s late positions and no
 * re-attempt is pushed as clean, with nobody late: its own job is decodable already, so that it
 * leaves nothing for later rounds to make good. */
void brg_pattern_commit(const struct brg_code_spec *spec, struct brg_pattern *p,
                        const struct brg_bits *late, uint32_t reattempts);

#endif
