/* dct_search.h - which few results, if wrong, explain the syndromes best: a beam over sets of them.
 *
 *   level 0   {}                      r_0   every set keeps its W best continuations; equal sets
 *   level 1   {3} {7} {1} ...         r_1   reached on different ways are one; the W best of all
 *   level 2   {3,7} {1,3} ...         r_2   go on to the next level
 *   level V                           r_V   r_v: what the best set of v leaves, per degree of
 * freedom
 *
 * Works on n x n matrices only, whatever the results' length: A = Hw^T Hw of the whitened checks
 * and B = A Gamma A. Taking index i into a set is a rank-one update of both, kept as two vectors.
 * Pure; all memory is the caller's brg_dct_work. */
#ifndef BRG_DCT_SEARCH_H
#define BRG_DCT_SEARCH_H

#include "coding/dct_gram.h"

#define BRG_DCT_LEVELS_MAX 16u
#define BRG_DCT_WIDTH_MAX 256u
#define BRG_DCT_NARROW 16u /* enough for one or two liars, and for independent ones */
#define BRG_DCT_WIDE 256u  /* finds rank-one colluders too */
#define BRG_DCT_SLOTS (4u * BRG_DCT_WIDTH_MAX * BRG_DCT_NODES_MAX / 2u)
#define BRG_DCT_SQUARE (BRG_DCT_NODES_MAX * BRG_DCT_NODES_MAX)

/* The best set of each size and what it leaves. */
struct brg_dct_path {
    uint32_t levels;
    double residual[BRG_DCT_LEVELS_MAX + 1];  /* r_v, at least problem.smallest */
    uint64_t support[BRG_DCT_LEVELS_MAX + 1]; /* bit i: survivor i */
};

/* One set of the beam: its last index, and how A and B change by taking it in:
 * A - g g^T inverse, B - g c^T - c g^T. */
struct brg_dct_node {
    uint64_t support;
    double residual, inverse;
    uint32_t parent, index;
    double g[BRG_DCT_NODES_MAX], c[BRG_DCT_NODES_MAX];
    double a[BRG_DCT_NODES_MAX], b[BRG_DCT_NODES_MAX]; /* the diagonals of what is left of A, B */
};

struct brg_dct_candidate {
    uint64_t support; /* 0: the slot is empty */
    double residual;
    uint32_t parent, index;
};

/* Scratch of everything in dct_*.c, about 1.2 MiB and 0.5 MiB a level; of no meaning between calls.
 */
struct brg_dct_work {
    uint32_t levels;
    double square[6][BRG_DCT_SQUARE];
    double columns[2 * BRG_DCT_SQUARE];
    struct brg_dct_candidate slot[BRG_DCT_SLOTS];
    uint32_t used[BRG_DCT_SLOTS / 2];
    struct brg_dct_node node[]; /* [1 + levels * BRG_DCT_WIDTH_MAX] */
};

/* brg_dct_work_bytes - the memory that brg_dct_work_init wants. asserts: levels in range */
size_t brg_dct_work_bytes(uint32_t levels);
void brg_dct_work_init(struct brg_dct_work *work, size_t size_bytes, uint32_t levels);

/* The checks of a set of survivors, whitened: hw [m, n], and a [n, n] = hw^T hw. */
struct brg_dct_checks {
    uint32_t n, m; /* survivors; parity dimensions */
    const double *a, *hw;
    double smallest; /* residuals are not told apart below it */
};

/* A round's results as the search sees them. */
struct brg_dct_problem {
    uint32_t n, m;
    const double *a;
    const double *b; /* [n, n] = A Gamma A */
    double trace;    /* of Hw Gamma Hw^T: the whitened energy of the syndromes */
    double diagonal; /* the largest of A's diagonal */
    double smallest; /* of residuals, per degree of freedom, above 0 */
};

/* brg_dct_pose - the problem of normalised inner products.
 *
 * shape: gram [n, n], not in work->square[0, 1, 2, 4]
 * own:   p borrows checks.a and work->square[4]
 * notes: by way of Hw Gamma Hw^T, whose cancellation costs the square of the noise once; A Gamma A
 *        directly would cost its fourth power, all of a double where noise is float32's rounding
 * cost:  3 n^3 operations */
void brg_dct_pose(struct brg_dct_checks checks, const double *gram, struct brg_dct_work *work,
                  struct brg_dct_problem *p);

/* brg_dct_search - the path of best sets.
 *
 * asserts: levels < m, levels <= work->levels, width in 1 .. BRG_DCT_WIDTH_MAX
 * cost:    about levels * width * n * (4 levels + 20) operations: 0.2 ms (n = 64, V = 5, W = 16)
 * notes:   ties go to the smaller mask: the same path on every machine with the same libm
 * source:  weighted joint least squares over supports; simultaneous orthogonal matching pursuit
 *          (Tropp, Gilbert, Strauss, 2006) is width 1 */
struct brg_dct_reach {
    uint32_t levels, width;
};
void brg_dct_search(const struct brg_dct_problem *p, struct brg_dct_reach reach,
                    struct brg_dct_work *work, struct brg_dct_path *path);

/* brg_dct_residual - what is left, per degree of freedom, with the results of `support` out. */
double brg_dct_residual(const struct brg_dct_problem *p, uint64_t support,
                        struct brg_dct_work *work);

#endif
