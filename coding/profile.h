/* profile.h - how long each worker takes in each round: what a replay of a code runs on.
 *
 *   time of worker i in round r for a share `load` of the batch
 *       = fixed(i, r) + rate(i, r) * load
 *
 *   fixed   hand-out, start, the answer's way back, and whatever straggling adds; paid once for
 *           each hand-out, so that an attempt on another worker pays it again
 *   rate    seconds for the whole batch; straggling that slows the processor multiplies it
 *
 *           round 0   round 1                     a row of cells a round, so that a replay walks
 *         +---------+---------+----               memory forwards
 *   cells | 0 .. n-1| 0 .. n-1|
 *         +---------+---------+----
 *
 * A profile comes from the Gilbert-Elliott process below, from a recording (brg_points_parse and
 * brg_profile_fit), or from measurements of a live run (brg_profile_fit). Pure; memory is the
 * caller's; double arithmetic only where a profile is made, integers where it is used. */
#ifndef BRG_CODING_PROFILE_H
#define BRG_CODING_PROFILE_H

#include "base/arena.h"
#include "base/why.h"

#define BRG_PROFILE_WORKERS_MAX 1024u
#define BRG_PROFILE_ROUNDS_MAX 65536u
#define BRG_PROFILE_CELLS_MAX (1u << 22)       /* 64 MiB */
#define BRG_PROFILE_NS_MAX (UINT64_C(1) << 46) /* 19 h: fixed and rate; guards the arithmetic */

struct brg_profile_cell {
    uint64_t fixed_ns, rate_ns; /* each at most BRG_PROFILE_NS_MAX */
};

struct brg_profile {
    uint32_t n, rounds;
    struct brg_profile_cell *cells; /* [rounds][n] */
};

/* brg_profile_cell - worker's cell of a round; rounds beyond the last begin again at the first.
 * asserts: worker < n */
const struct brg_profile_cell *brg_profile_cell(const struct brg_profile *p, uint64_t round,
                                                uint32_t worker);

/* The time for `chunks` of the `total` chunks that a batch is cut into, rounded down.
 * asserts: chunks <= total <= 2^17, total > 0 */
uint64_t brg_profile_cell_ns(const struct brg_profile_cell *cell, uint32_t chunks, uint32_t total);

/* The two-state Markov chain that papers fit to the speed of cloud workers, and the times that go
 * with its states. A fast worker takes base + body, body = min(body * lognormal(sigma), 0.5 s or
 * base, whichever is larger); a slow one slow + Exp(tail) more, or (where `multiply`) that much in
 * proportion: factor 1 + (slow + Exp(tail)) / slow on everything. Seconds, probabilities. */
struct brg_profile_ge {
    double enter, leave; /* per round: fast -> slow, slow -> fast */
    double shape;        /* of the gamma distribution, mean 1, that multiplies each worker's
                            `enter`; 0: all workers alike */
    double base_s, body_s, body_sigma;
    double slow_s, tail_s;
    double jitter_s;       /* standard deviation of what all workers of a round share */
    double stall, stall_s; /* probability of a cell; its length is 0.8 to 1.2 of stall_s */
    double alpha_s;        /* of computing the whole batch on one worker */
    double speed_sigma;    /* machines differ: alpha * lognormal(sigma) each; 0: all alike */
    uint32_t multiply;     /* 1: a slow worker computes slowly; 0: it answers late */
    uint64_t seed;
};

/* brg_profile_ge_default - the statistics of the 256 workers in Canada of Krishnan, Ebrahimi,
 * Khisti (ICLR 2023): 4.7 % of the cells later than twice the fastest worker, bursts of 1.18
 * rounds, stalls of about 22 s in 1e-4 of the cells, 2.2 s a batch; workers alike, additive. The
 * shapes of the delays are chosen, not published. */
struct brg_profile_ge brg_profile_ge_default(void);

/* brg_profile_make - draws `rounds` rounds of n workers into out->cells.
 *
 * shape:  cells [rounds * n] of the caller's, kept in *out. The same seed gives the same cells, and
 *         a longer profile begins with a shorter one
 * errors: BRG_EINVAL a setting out of its range, with the sentence in why (may be NULL)
 * source: Yang, Pedarsani, Avestimehr, "Timely-throughput optimal coded computing over cloud
 *         networks", MobiHoc 2019, for the two states */
BRG_CHECK int brg_profile_make(const struct brg_profile_ge *ge, uint32_t n, uint32_t rounds,
                               struct brg_profile_cell *cells, struct brg_profile *out,
                               struct brg_why *why);

/* One thing measured: `worker` had finished `load` of the batch `seconds` after the start of
 * `round`, or (censored) had not when it was cut off. Of one worker and round there may be several,
 * one for each part it finished. */
struct brg_point {
    uint32_t round, worker; /* rounds count from any number on; gaps are left out */
    double load;            /* 0 .. 1, everything so far in this round */
    double seconds;
    uint32_t censored;
};

#define BRG_POINTS_MAX (1u << 22)

/* What brg_points_parse found. */
struct brg_points {
    uint32_t count, workers; /* workers: the largest number and one */
    uint32_t rounds;         /* between the first and the last, both counted */
    uint32_t has_load;
    struct brg_point *items;
};

/* brg_points_count_lines - an upper bound on the points of a text, to size `items`. */
uint32_t brg_points_count_lines(const char *text, size_t length);

/* brg_points_parse - reads a recording: a heading, then a line a point.
 *
 *     worker,round,seconds[,load[,censored]]         load 0 .. 1; without it 0; censored 0 or 1
 *     0,1,0.613,0.0078125,0
 *
 * shape:  items [room] of the caller's, in the order of the file
 * errors: BRG_EINVAL one sentence with the line's number; BRG_EFULL more points than `room`
 * bounds: workers, rounds, points and times as above; lines end with \n or \r\n */
BRG_CHECK int brg_points_parse(const char *text, size_t length, struct brg_point *items,
                               uint32_t room, struct brg_points *out, struct brg_why *why);

/* What brg_profile_fit found out beside the cells. */
struct brg_profile_summary {
    double alpha_s;     /* slope of time against load, for the whole batch */
    double fixed_s;     /* median over cells */
    double noise_s;     /* standard deviation of a part's time about its cell's line */
    double seconds_max; /* the longest cell seen, at its load */
    uint32_t has_slope; /* 1: from cells with two loads; 2: from one line through all; 0: neither,
                           alpha_s is what the caller gave */
    uint32_t cells, observed, censored, absent; /* observed + censored + absent = cells */
};

/* brg_profile_fit - the profile behind measured points.
 *
 * shape:  points [count]; first_round, rounds, n: the window that is fitted, others are left out;
 *         cells [rounds * n]; alpha_s: the slope to use where the points do not tell one, 0 if
 *         unknown; resolution_s: how exactly times were taken
 * method: a cell with two loads or more gives its own line by least squares, its slope drawn
 *         towards the slope of all cells (least squares with one intercept a cell) by the share of
 *         the scatter that `resolution_s` explains. A cell with one load takes the slope that cells
 *         of its time have (a straight line of slope on time, over the cells of the first kind).
 *         A censored cell is drawn from the cells that were seen to last longer, each censored
 *         one being redistributed to those beyond it, from the longest on; beyond the longest an
 *         exponential tail of the mean excess of the longest tenth continues. An absent cell takes
 * one of the same worker's, or of anybody's. Draws are fixed by `seed` errors: BRG_ENOMEM scratch
 * too small (brg_profile_fit_bytes); BRG_ENOENT no uncensored point in the window source:
 * redistribution to the right: Efron, "The two sample problem with censored data", 1967, which is
 * the Kaplan-Meier estimate */
struct brg_profile_fit {
    const struct brg_point *points;
    uint32_t count;
    uint32_t first_round, rounds, n;
    double alpha_s, resolution_s;
    uint64_t seed;
};
size_t brg_profile_fit_bytes(uint32_t n, uint32_t rounds);
BRG_CHECK int brg_profile_fit(const struct brg_profile_fit *fit, struct brg_arena *scratch,
                              struct brg_profile_cell *cells, struct brg_profile *out,
                              struct brg_profile_summary *summary);

/* brg_line_fit - the straight line through points by least squares: y = *at_zero + *slope x.
 * For the cost of a vector: x = shares fetched, y = seconds.
 * errors: BRG_ERANK fewer than two different x */
BRG_CHECK int brg_line_fit(uint32_t count, const double *x, const double *y, double *slope,
                           double *at_zero);

#endif
