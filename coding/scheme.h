/* scheme.h - the one interface of every gradient code: who computes what, when a round may end,
 * what to attempt again, and how the shares add up to the full gradient.
 *
 * Words. A code is laid out for n *positions*; workers fill them, some may be vacant, and which
 * worker sits where is the caller's business. A *unit* is one share of one job: an ordered list of
 * (chunk, coefficient). Whoever computes a unit returns the same sum, so a late unit can be
 * attempted again by any worker. A *job* is one optimizer step of one model. In round r the jobs
 * r - T .. r are in flight, T being the delay; job r - d has `delta` d.
 *
 *                T        units of a job                        decodes when
 *   none         0        n p                                   every unit is there
 *   speculative  0        as none
 *   frc          0 or 1   G p; G groups of >= s+1 positions     every unit is there
 *   cyclic, dct  0        n                                     n - s units, and the guards hold
 *   sr-sgc       b        as frc (p = 1) or cyclic              as frc or cyclic
 *   m-sgc        w-2+b    D1: n (w-1), then D2: b n or b G      all of D1, each of the b parts of
 * D2
 *
 * p = spec.parts: the share of a position is cut into p units, so that what a late worker has done
 * counts and only the rest is attempted again. The members of a frc group start at different units
 * of it. docs/CODES.md tells what each code is for.
 *
 * A round, as the caller runs it. have[d] is the caller's set of the units, finished by whomever,
 * of the job with delta d, d = 0 .. T. A job that does not exist (before the first, after the last)
 * is *absent*: its set is full, so that nothing of it is assigned, missing or waited for.
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
#define BRG_SCHEME_MINITASKS_MAX 8u        /* of one position in one round */
#define BRG_SCHEME_JOBS_MAX BRG_MODELS_MAX /* in flight, T + 1 */

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
    uint32_t count; /* 1 .. BRG_RECIPE_CHUNKS_MAX */
    uint32_t chunk[BRG_RECIPE_CHUNKS_MAX];
    double coefficient[BRG_RECIPE_CHUNKS_MAX]; /* 1.0 each but for cyclic codes */
};

/* brg_scheme_check - whether `spec` can be built, but for the draw of a cyclic matrix.
 *
 * own:    why, which may be NULL, gets the sentence: what is wrong, what to set instead
 * errors: BRG_EINVAL */
BRG_CHECK int brg_scheme_check(const struct brg_code_spec *spec, struct brg_why *why);

/* brg_scheme_size_bytes - the memory that a scheme of `spec` takes; 0 where check refuses it.
 * cost: some 150 bytes; cyclic codes about 8 n (n + 3 s) bytes more */
size_t brg_scheme_size_bytes(const struct brg_code_spec *spec);

/* brg_scheme_plan_size_bytes - the same for init_plan: some 150 bytes for every code. */
size_t brg_scheme_plan_size_bytes(const struct brg_code_spec *spec);

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
 *          not divide n; cyclic: Tandon et al., Alg. 2; sr-sgc and m-sgc: Krishnan, Ebrahimi,
 *          Khisti, "Sequential Gradient Coding for Straggler Mitigation", ICLR 2023 */
BRG_CHECK int brg_scheme_init(struct brg_scheme *s, size_t size_bytes,
                              const struct brg_code_spec *spec, struct brg_why *why);

/* brg_scheme_init_plan - a scheme that plans rounds but holds no matrices, for replays in virtual
 * time: everything but recipe and decode may be called. Codes over cyclic take any n - s units for
 * decodable, as if the guards always held; all else is as after init.
 *
 * own:     borrows spec and why; `s` is plan_size_bytes(spec) bytes, aligned for double
 * errors:  BRG_EINVAL check refuses the spec
 * asserts: size_bytes is at least brg_scheme_plan_size_bytes(spec); decode and recipe assert
 * cost:    next to nothing */
BRG_CHECK int brg_scheme_init_plan(struct brg_scheme *s, size_t size_bytes,
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
 * spec.chunks. What frc with delay 1 attempts again before its own work is not counted, since a
 * round without stragglers has none; the other sequential codes attempt again instead of working.
 */
uint32_t brg_scheme_load_chunks(const struct brg_scheme *s);
/* Chunks of one unit, without its recipe. asserts: unit < unit_count */
uint32_t brg_scheme_unit_chunks(const struct brg_scheme *s, uint32_t unit);

/* brg_scheme_group_of - the group of `position`, below group_count; positions of one group compute
 * the same units. For codes without groups every position is one of its own.
 * asserts: position < spec.n */
uint32_t brg_scheme_group_of(const struct brg_scheme *s, uint32_t position);
uint32_t brg_scheme_group_count(const struct brg_scheme *s);

/* brg_scheme_recipe - what `unit` is made of. asserts: unit < unit_count; not init_plan's */
void brg_scheme_recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out);

/* brg_scheme_assign - what `position` is to compute in `round`.
 *
 * shape:   have [jobs] as it was when the round began; out [BRG_SCHEME_MINITASKS_MAX]; returns how
 *          many were written, 0 .. BRG_SCHEME_MINITASKS_MAX, in the order in which they are to be
 *          computed: older jobs before newer. No (delta, unit) comes twice, and none whose unit is
 *          in have[delta]. With have[0] empty and T = 0: exactly parts of them
 * notes:   the answer depends on `have` as a whole: call it for all positions with the same sets
 * cost:    a few hundred operations
 * asserts: position < spec.n */
uint32_t brg_scheme_assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                           uint32_t position, struct brg_minitask *out);

/* brg_scheme_may_end - 1 where everything due at the end of `round` can be decoded exactly, and
 * nothing in flight is lost, if no more unit arrives; else 0. The weakest safe rule: it asks for no
 * more than later rounds without stragglers could not make good by what assign gives them.
 *
 * shape: have [jobs], have[d] the finished units of job round - d
 * notes: more units never turn 1 into 0, so the first instant at which a round may end can be
 *        searched by bisection over the order of arrivals
 * cost:  O(units / 64) and, for m-sgc, the units that failed. Codes over cyclic: the same below
 *        n - s units, else a decode; 1 promises that decode succeeds, guards included */
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
 * asserts: not init_plan's
 * cost:    without cyclic: O(units), every weight is 1 whoever answered. cyclic: O(d^2 s + n s)
 *          operations for d missing units (30 us at n = 256, d = s = 27), 50 KiB of stack
 * source:  cyclic: w = a0 - N^T c, where a0 B = 1 and N B = 0 are kept from init and c is the
 *          least-norm solution of N[:,D]^T c = a0[D] on the missing units D, which makes w the
 *          least-norm combination of all shares at hand */
BRG_CHECK int brg_scheme_decode(const struct brg_scheme *s, const struct brg_bits *available,
                                double *weights);

/* brg_scheme_commit - round `round` has ended: its due job leaves, have[d] moves to have[d + 1] and
 * have[0] is empty, ready for round + 1; the caller fills it where that round has no new job.
 *
 * shape:   have [jobs]
 * asserts: may_end(round, have) */
void brg_scheme_commit(const struct brg_scheme *s, uint64_t round, struct brg_bits *have);

#endif
