/* scheme.h - the one interface of every gradient code: who computes what, when a round may end,
 * what to attempt again, and how the shares add up to the full gradient.
 *
 * Words. A code is laid out for n *positions*; workers fill them, some may be vacant, and which
 * worker sits where is the caller's business. A *unit* is one share of one job: an ordered list of
 * (chunk, coefficient). Whoever computes a unit returns the same sum, so a late unit can be
 * attempted again by any worker. A *job* is one optimizer step of one model. In round r the jobs
 * r - T .. r are in flight, T being the delay; job r - d has `delta` d. T is 0 for the codes below.
 *
 *              n positions           units                 decodes when
 *   none       one a unit            n                     every unit is there
 *   frc        >= s+1 share a unit   floor(n / (s+1))      every unit is there: a survivor a group
 *   cyclic     position i, unit i    n                     n - s units are there and guards hold
 *
 * A round, as the caller runs it. have[d] is the caller's set of the units, finished by whomever,
 * of the job with delta d, d = 0 .. T; a caller that loops over d serves sequential schemes, whose
 * plan depends on it, unchanged:
 *
 *   assign(r, have, position) --> minitasks (delta, unit) --> recipe(unit) --> chunks, coefficients
 *   every answer: have[delta] += unit;  may_end(r, have)?  -- no --> missing(r, have): those to
 *                                               | yes                whoever is free
 *                     decode(have[T]) = weights of the job that is due;  commit(r, have)
 *
 * A scheme is one flat block of the caller's, without pointers, that only init writes to: it may be
 * copied, compared with memcmp, and used by any number of threads. What changes from round to
 * round is `have` alone. Nothing here allocates, reads a clock or does I/O. The same spec gives the
 * same bits wherever libm is the same. */
#ifndef BRG_SCHEME_H
#define BRG_SCHEME_H

#include "base/bits.h"
#include "base/why.h"
#include "coding/spec.h"

#define BRG_SCHEME_UNITS_MAX BRG_BITS_MAX
#define BRG_SCHEME_MINITASKS_MAX 8u /* of one position in one round; 1 where T is 0 */
#define BRG_SCHEME_JOBS_MAX 8u      /* in flight, T + 1; 1 where T is 0 */

/* A decode of `cyclic` must reproduce sum(1 * chunk) this exactly: max |w.B - 1|. Far below the
 * 6e-8 of float32 shares, so that decoding is never what limits the gradient. */
#define BRG_CYCLIC_RESIDUAL_MAX 1e-8
/* |w|_2 / sqrt(n), with rows of B of length 1: by how much more than in a plain sum of n chunks the
 * rounding of the shares shows in the gradient. 1e4 times float32's 6e-8 is 6e-4: the gradient
 * keeps three digits, well under its own sampling noise. */
#define BRG_CYCLIC_AMPLIFICATION_MAX 1e4
/* Matrices drawn before init gives up; a quarter of it above n = 256, where each takes longer. */
#define BRG_CYCLIC_TRIES_MAX 16u
/* Random cyclic codes lose 4 to 7 of float32's digits from here on (papers and own measurements
 * agree); it also bounds the scratch of a decode, which lives on the stack. */
#define BRG_CYCLIC_S_MAX 64u

struct brg_scheme;

/* What one position does for one job in a round. */
struct brg_minitask {
    uint32_t delta; /* of the job: it is job round - delta */
    uint32_t unit;
};

/* The share sum_k coefficient[k] * gradient_sum(chunk[k]), to be added up in this order. The sample
 * counts of the chunks are not part of it: a round always stands for the whole batch. */
struct brg_recipe {
    uint32_t count; /* 1 .. BRG_CODE_CHUNKS_MAX */
    uint32_t chunk[BRG_CODE_CHUNKS_MAX];
    double coefficient[BRG_CODE_CHUNKS_MAX]; /* 1.0 each for none and frc */
};

/* brg_scheme_check - whether `spec` can be built, but for the draw of a cyclic matrix.
 *
 * own:    why, which may be NULL, gets the sentence: what is wrong, what to set instead
 * errors: BRG_EINVAL */
BRG_CHECK int brg_scheme_check(const struct brg_code_spec *spec, struct brg_why *why);

/* brg_scheme_size_bytes - the memory that a scheme of `spec` takes; 0 where check refuses it.
 * cost: none and frc some 100 bytes; cyclic about 8 n (n + 3 s) bytes */
size_t brg_scheme_size_bytes(const struct brg_code_spec *spec);

/* brg_scheme_init - builds the code in the caller's block.
 *
 * own:     borrows spec and why; `s` is size_bytes(spec) bytes, aligned for double
 * errors:  BRG_EINVAL check refuses the spec; BRG_ERANK no matrix drawn from spec->seed passed the
 *          guards; both with the sentence in why (may be NULL); *s is then unspecified
 * asserts: size_bytes is at least brg_scheme_size_bytes(spec)
 * cost:    none and frc nothing; cyclic O(n^3) operations a draw. Measured on one core, all draws:
 *          0.2 s (n = 16, s = 8: every set is tried), 0.3 s (256, 27), 3 s (1024, 27). Build large
 *          cyclic codes where nobody waits.
 * source:  frc: Tandon et al., "Gradient Coding", ICML 2017, section on fractional repetition,
 *          with balanced groups as in Charalambides et al., arXiv 2109.10484, so that s + 1 need
 *          not divide n; cyclic: Tandon et al., Alg. 2 */
BRG_CHECK int brg_scheme_init(struct brg_scheme *s, size_t size_bytes,
                              const struct brg_code_spec *spec, struct brg_why *why);

/* The settings that `s` was built from. */
const struct brg_code_spec *brg_scheme_spec(const struct brg_scheme *s);
/* T: job j is due at the end of round j + T, so a run needs T + 1 models. */
uint32_t brg_scheme_delay(const struct brg_scheme *s);
/* Jobs in flight in a round, T + 1: the length of every `have`. */
uint32_t brg_scheme_jobs(const struct brg_scheme *s);
/* Units of one job, 1 .. BRG_SCHEME_UNITS_MAX. */
uint32_t brg_scheme_unit_count(const struct brg_scheme *s);
/* The most chunks that one position computes in a round; the load of the code is this over
 * spec.chunks. */
uint32_t brg_scheme_load_chunks(const struct brg_scheme *s);

/* brg_scheme_group_of - the group of `position`; positions of one group hold the same chunks. For
 * cyclic every position is a group of its own. asserts: position < spec.n */
uint32_t brg_scheme_group_of(const struct brg_scheme *s, uint32_t position);

/* brg_scheme_recipe - what `unit` is made of. asserts: unit < unit_count */
void brg_scheme_recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out);

/* brg_scheme_assign - what `position` is to compute in `round`.
 *
 * shape:   have [jobs] as it was when the round began; out [BRG_SCHEME_MINITASKS_MAX]; returns how
 *          many were written, in the order in which they are to be computed; exactly one, with
 *          delta 0, where T is 0
 * asserts: position < spec.n */
uint32_t brg_scheme_assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                           uint32_t position, struct brg_minitask *out);

/* brg_scheme_may_end - 1 where everything due at the end of `round` can be decoded exactly, and
 * nothing in flight is lost, if no more unit arrives; else 0.
 *
 * shape: have [jobs], have[d] the finished units of job round - d
 * cost:  none, frc: O(units / 64). cyclic: the same below n - s units, else a decode; 1 promises
 *        that decode succeeds, guards included */
int brg_scheme_may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have);

/* brg_scheme_missing - the fewest units that make the round end when attempted again.
 *
 * shape:  have, out [jobs]; returns the units in `out` over all jobs, 0 exactly where may_end
 * own:    out is overwritten; may not overlap have
 * notes:  for "what must be started now, given that these are still running" pass the union of the
 *         finished and the running units as have. Lowest units first, so the answer is the same
 *         everywhere. none, frc: minimal. cyclic: minimal in number; where the guards refuse a
 *         set, more are added one at a time until they hold
 * cost:   none, frc: O(units). cyclic: 1 decode, at most s + 1 of them after a refusal */
uint32_t brg_scheme_missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                            struct brg_bits *out);

/* brg_scheme_decode - how the shares at hand add up: gradient = sum_u weights[u] * share(u), in
 * rising order of u.
 *
 * shape:   available: finished units of the one job that is due; weights [unit_count], 0 for units
 *          that are not used (their shares need not be fetched)
 * errors:  BRG_ERANK too few units, or a guard tripped: go on waiting for one more; weights
 *          untouched. A set that contains a decodable one is decodable
 * checks:  cyclic: max |w.B - 1| <= BRG_CYCLIC_RESIDUAL_MAX and |w|_2 / sqrt(n) <=
 *          BRG_CYCLIC_AMPLIFICATION_MAX
 * cost:    none, frc: O(units), every weight is 1 whoever answered. cyclic: O(d^2 s + n s)
 *          operations for d missing units (30 us at n = 256, d = s = 27), 50 KiB of stack
 * source:  cyclic: w = a0 - N^T c, where a0 B = 1 and N B = 0 are kept from init and c is the
 *          least-norm solution of N[:,D]^T c = a0[D] on the missing units D, which makes w the
 *          least-norm combination of all shares at hand */
BRG_CHECK int brg_scheme_decode(const struct brg_scheme *s, const struct brg_bits *available,
                                double *weights);

/* brg_scheme_commit - round `round` has ended: its due job leaves, have[d] moves to have[d + 1] and
 * have[0] is empty, ready for round + 1.
 *
 * shape:   have [jobs]
 * asserts: may_end(round, have) */
void brg_scheme_commit(const struct brg_scheme *s, uint64_t round, struct brg_bits *have);

#endif
