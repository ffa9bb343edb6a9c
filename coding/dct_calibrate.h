/* dct_calibrate.h - what honest results look like outside the code, learnt from honest rounds.
 *
 *   20 to 40 trusted groups  --add-->  ring of Gram matrices  --finish-->  Cn, tau, level
 *                                              ^                              |
 *   verdict on a round  --learn (flagged and missing rows predicted)-+        v   build, per set of
 *                                every 5 rounds Cn moves on, by at most      A, tau    survivors
 *                                1.1 in any direction
 *
 * Approximation noise falls by decades from row to row of the parity checks. Whitening by its
 * covariance Cn lets every row decide with the weight it deserves, at every amplitude at once. The
 * tests are ratios of residuals within one round, since in training the noise's scale moves.
 * Growth is clamped because colluders just under the threshold could otherwise teach the detector,
 * round by round, that they are noise.
 *
 * A calibration is one flat block of the caller's; a set is a flat struct, valid while its version
 * is the calibration's. Pure; no allocation. Not for two threads at once. */
#ifndef BRG_DCT_CALIBRATE_H
#define BRG_DCT_CALIBRATE_H

#include "base/why.h"
#include "coding/dct_search.h"

#define BRG_DCT_GROUPS_MAX 64u
#define BRG_DCT_SHRINK 0.2     /* of the correlations, towards none: few groups know them badly */
#define BRG_DCT_TAU_FACTOR 1.5 /* above the largest ratio of an honest group */
#define BRG_DCT_GROWTH_MAX 1.1 /* of noise, of a threshold, per update */
#define BRG_DCT_UPDATE_ROUNDS 5u
#define BRG_DCT_EAGER_ROUNDS 10u /* at first every round moves Cn */
#define BRG_DCT_PRECISION_F32 1e-7
/* Of what rounding at the precision leaves: residuals below it are taken for it. Without it honest
 * groups that are exact words would have ratios without bound, and thresholds that admit all. */
#define BRG_DCT_SMALLEST 0.03
#define BRG_DCT_PRECISION_BF16 2e-3

struct brg_dct_spec {
    uint32_t nodes;   /* N, at most BRG_DCT_NODES_MAX */
    uint32_t blocks;  /* K, the dimension of the code */
    uint32_t levels;  /* V = liars to be located + 1 */
    uint32_t groups;  /* kept in the ring, 2 .. BRG_DCT_GROUPS_MAX; 30 is good, 10 are too few */
    double precision; /* of the workers' arithmetic, relative: BRG_DCT_PRECISION_* */
};

/* Thresholds of the two beam widths: [0] BRG_DCT_NARROW, [1] BRG_DCT_WIDE. */
struct brg_dct_limits {
    double tau[2][BRG_DCT_LEVELS_MAX + 1]; /* r_v <= tau_v r_V: v liars explain the round */
    double level[2];                       /* the largest r_V of an honest group */
};

struct brg_dct_calibration {
    struct brg_dct_spec spec;
    uint32_t count, next;                  /* groups in the ring; where the next one goes */
    uint32_t learned;                      /* rounds since finish */
    uint32_t version;                      /* 0 before finish; grows with each change of Cn */
    struct brg_dct_limits limits;          /* on all nodes, what is believed */
    struct brg_dct_limits trust;           /* believed / measured, at most 1 */
    double sparse[BRG_DCT_LEVELS_MAX + 1]; /* largest r_v / r_V of single blocks, 0: none seen */
    double x[BRG_DCT_NODES_MAX];
    double cn[BRG_DCT_SQUARE]; /* [nodes, nodes] */
    double ring[];             /* [groups][nodes, nodes] */
};

/* A set of survivors, ready to judge rounds in which exactly they answered. */
struct brg_dct_set {
    uint32_t count, parity; /* n, n - K */
    uint32_t levels;        /* V, or less where few survived */
    uint32_t version;
    uint64_t have;
    double smallest; /* residual, see BRG_DCT_SMALLEST */
    struct brg_dct_limits limits;
    uint32_t node[BRG_DCT_NODES_MAX]; /* of survivor i, rising */
    double x[BRG_DCT_NODES_MAX];
    double hw[BRG_DCT_SQUARE]; /* [parity, count], the whitened checks */
    double a[BRG_DCT_SQUARE];  /* [count, count] = Hw^T Hw */
};

/* brg_dct_check - whether `spec` can be built. own: why may be NULL. errors: BRG_EINVAL */
BRG_CHECK int brg_dct_check(const struct brg_dct_spec *spec, struct brg_why *why);

/* What the search needs of a set; borrows it. */
struct brg_dct_checks brg_dct_set_checks(const struct brg_dct_set *set);

size_t brg_dct_calibration_bytes(const struct brg_dct_spec *spec);

/* brg_dct_calibration_init - an empty calibration in the caller's block.
 * shape: x [nodes], all different. asserts: size_bytes suffices; spec passed brg_dct_check */
void brg_dct_calibration_init(struct brg_dct_calibration *cal, size_t size_bytes,
                              const struct brg_dct_spec *spec, const double *x);

/* brg_dct_calibration_add - a group whose results are trusted, all nodes there, or which a verdict
 * completed. shape: gram [nodes, nodes], normalised */
void brg_dct_calibration_add(struct brg_dct_calibration *cal, const double *gram);

/* brg_dct_calibration_finish - takes over the ring: first time as it is, later clamped.
 *
 * errors: BRG_ERANK fewer than 2 groups, or checks that are not finite: as before
 * cost:   the ring's groups times a narrow and a wide search: 0.1 s at n = 64 */
BRG_CHECK int brg_dct_calibration_finish(struct brg_dct_calibration *cal,
                                         struct brg_dct_work *work);

/* brg_dct_set_build - A and the thresholds for the survivors in `have`.
 *
 * errors:  BRG_ERANK fewer than K + 2 survivors: nothing can be located
 * asserts: the calibration is finished
 * source:  H = parity rows on the survivors, C = H Cn H^T + precision^2, D = sqrt(diag C),
 *          P = (1 - shrink) D^-1 C D^-1 + shrink = L L^T, Hw = L^-1 D^-1 H */
BRG_CHECK int brg_dct_set_build(struct brg_dct_set *set, const struct brg_dct_calibration *cal,
                                uint64_t have, struct brg_dct_work *work);

/* brg_dct_learn - a round that was judged honest but for `flagged`: what is flagged or missing is
 * replaced by its prediction from the rest; Cn moves on when due.
 *
 * shape:  gram [count, count] of the set, normalised; flagged: mask of node numbers
 * errors: BRG_ERANK too few are left to predict the others; nothing learnt
 * notes:  not for rounds that ended in FAIL or ALARM, unless audits found them honest */
BRG_CHECK int brg_dct_learn(struct brg_dct_calibration *cal, const struct brg_dct_set *set,
                            const double *gram, uint64_t flagged, struct brg_dct_work *work);

/* brg_dct_whiten - Hw [m, n] for given noise.
 * shape: x [n]; cn [n, n]; out hw [n - blocks, n]; scratch 3 squares of n. errors: BRG_ERANK */
struct brg_dct_whiten {
    uint32_t n, blocks;
    double precision;
};
BRG_CHECK int brg_dct_whiten(struct brg_dct_whiten s, const double *x, const double *cn, double *hw,
                             double *h, double *p, double *scratch);

#endif
