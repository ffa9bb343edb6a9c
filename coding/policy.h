/* policy.h - when a round ends, given that the code could decode, and when an unfinished unit
 * counts as late.  Pure; integers only; shared by the live machine and the replay on virtual time.
 *
 *   time   started ----- first answer ------- bound = started + (1 + mu) (first - started) ---->
 *   early      ends as soon as the round is decodable
 *   minwait    waits for the bound, then as early; sooner when everybody has answered
 *   paper      at the bound if decodable by then, else when everybody has answered
 *
 * No policy ends a round that cannot be decoded. "First answer" is the first position that has
 * finished all that it was given in the round: the first of several parts says little about how
 * long a position takes. */
#ifndef BRG_POLICY_H
#define BRG_POLICY_H

#include "base/why.h"
#include "coding/spec.h"

#define BRG_POLICY_NEVER UINT64_MAX /* an instant that has not come yet */

/* What a policy looks at; instants of one monotonic clock. */
struct brg_policy_round {
    uint64_t now_ns;
    uint64_t started_ns;   /* the round was handed out */
    uint64_t first_ns;     /* the first answer came in (see the head), or BRG_POLICY_NEVER */
    uint64_t decodable_ns; /* the first instant of this round at which may_end held, or _NEVER */
    uint32_t answered;     /* positions that finished what assign gave them in this round */
    uint32_t expected;     /* positions that are filled by a worker believed alive */
};

/* What the run says about late units. */
struct brg_policy_patience {
    uint64_t given_ns;   /* the run's own patience; 0: by measurement */
    uint64_t timeout_ns; /* of a task: nobody is waited for longer than this */
    uint64_t least_ns;   /* never less than this by measurement: noise is not straggling */
};

/* Attempts at one unit are given this many doublings of patience. */
#define BRG_POLICY_DOUBLINGS_MAX 6u

/* brg_policy_check - whether spec->policy, mu_ppm and rule mean something, and fit the code: EARLY
 * is refused where jobs have time (T > 0), since the weakest rule lets such rounds end at once and
 * every job would fall due with most of its work missing.
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

/* brg_policy_patience_ns - for how long after it was handed out a unit that is not finished counts
 * as on its way; then it is late, and is attempted again by whoever is idle, if the code misses it.
 *
 * shape:   attempts: how often the unit was handed out beyond the first time: each doubles the
 *          patience, BRG_POLICY_DOUBLINGS_MAX times at most
 * returns: the patience given; else twice the time of the round's first answer, (1 + mu) times for
 *          speculative, whose mu is about nothing else. timeout_ns at most; timeout_ns for PAPER,
 *          which waits, and before the first answer where none is given */
uint64_t brg_policy_patience_ns(const struct brg_code_spec *spec,
                                const struct brg_policy_round *round,
                                const struct brg_policy_patience *patience, uint32_t attempts);

#endif
