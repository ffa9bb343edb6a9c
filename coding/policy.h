/* policy.h - when a round ends, given that the code could decode.  Pure; integers only.
 *
 *   time   started ----- first answer ------- bound = started + (1 + mu) (first - started) ---->
 *   early      ends as soon as the round is decodable
 *   minwait    waits for the bound, then as early; sooner when everybody has answered
 *   paper      at the bound if decodable by then, else when everybody has answered
 *
 * No policy ends a round that cannot be decoded. */
#ifndef BRG_POLICY_H
#define BRG_POLICY_H

#include "base/why.h"
#include "coding/spec.h"

#define BRG_POLICY_NEVER UINT64_MAX /* an instant that has not come yet */

/* What a policy looks at; instants of one monotonic clock. */
struct brg_policy_round {
    uint64_t now_ns;
    uint64_t started_ns;   /* the round was handed out */
    uint64_t first_ns;     /* the first answer came in, or BRG_POLICY_NEVER */
    uint64_t decodable_ns; /* the first instant of this round at which may_end held, or _NEVER */
    uint32_t answered;     /* positions that finished what assign gave them in this round */
    uint32_t expected;     /* positions that are filled by a worker believed alive */
};

/* brg_policy_check - whether spec->policy and mu_ppm mean something.
 * own:    why, which may be NULL, gets the sentence
 * errors: BRG_EINVAL */
BRG_CHECK int brg_policy_check(const struct brg_code_spec *spec, struct brg_why *why);

/* brg_policy_bound_ns - the instant (1 + mu) times as far from the start as the first answer,
 * rounded down, at most BRG_POLICY_NEVER; BRG_POLICY_NEVER before the first answer. */
uint64_t brg_policy_bound_ns(const struct brg_code_spec *spec,
                             const struct brg_policy_round *round);

/* brg_policy_may_end - 1 where the round ends now, else 0.
 *
 * shape:   *wake_ns: when to ask again although nothing arrived, BRG_POLICY_NEVER for not at all
 * asserts: instants that are not NEVER lie in started .. now; spec passed brg_policy_check
 * source:  paper: Krishnan, Ebrahimi, Khisti, "Sequential Gradient Coding for Straggler
 *          Mitigation", ICLR 2023, whose rule waits for every worker where the pattern of
 *          stragglers is more than the code was made for */
int brg_policy_may_end(const struct brg_code_spec *spec, const struct brg_policy_round *round,
                       uint64_t *wake_ns);

#endif
