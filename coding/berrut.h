/* berrut.h - coded computing with Berrut's interpolant: K blocks of data become N coded blocks,
 * every worker evaluates the same function on one, and any of the results give the K values back,
 * nearly.
 *
 *   X_0 .. X_K-1  at alpha_j          encode            u(z_i), i = 0 .. N-1    to N workers
 *   (first-kind Chebyshev points)  ------------>  a smooth curve through the blocks
 *                                                                  | f
 *   f(X_0) .. f(X_K-1), nearly  <--- decode from any survivors ---  Y_i = f(u(z_i))
 *        and an estimate of the error       (dct_locate.h tells first which of them are wrong)
 *
 * It serves functions of continuous inputs that are smooth along u. docs/BERRUT.md says in numbers
 * where that is so. A layout is systematic where every alpha_j is the node of some worker: that
 * worker computes f(X_j) itself and decoding is exact while none of those is missing.
 *
 * Nodes are numbered from +1 downwards. Pure: no allocation, clock or I/O; functions may run in any
 * thread on different output. Structures are flat and may be copied. */
#ifndef BRG_BERRUT_H
#define BRG_BERRUT_H

#include "base/base.h"
#include "base/why.h"

#define BRG_BERRUT_BLOCKS_MAX 64u /* K */
#define BRG_BERRUT_NODES_MAX 256u /* N; dct_locate.h takes 64 */
#define BRG_BERRUT_NOWHERE UINT32_MAX

/* Where the workers sit: z_i = cos((2 i + 1) pi / 2 N) as SBACC has it, so that results are nearly
 * words of a DCT code; or z_i = cos(i pi / (N - 1)) as BACC has it, with both ends. */
enum brg_berrut_points { BRG_BERRUT_FIRST_KIND = 1, BRG_BERRUT_SECOND_KIND = 2 };

/* The curve through the blocks: Berrut's rational interpolant, or the Chebyshev polynomial. On
 * first-kind points the latter is what padding a DCT with zeros gives: its results lie nearer to
 * the code, so more lies are seen. */
enum brg_berrut_encoder { BRG_BERRUT_RATIONAL = 1, BRG_BERRUT_POLYNOMIAL = 2 };

/* The curve through the results. CHEBYSHEV is best where f is smooth and little is missing, SPLINE
 * where much is missing; BERRUT is the published one. AUTO is CHEBYSHEV as long as its weights
 * stay below BRG_BERRUT_GAIN_MAX, else SPLINE. */
enum brg_berrut_decoder {
    BRG_BERRUT_BERRUT = 1,    /* signs alternate by rank among the survivors */
    BRG_BERRUT_HALF = 2,      /* the same, both end weights halved */
    BRG_BERRUT_SPLINE = 3,    /* natural cubic spline in z */
    BRG_BERRUT_CHEBYSHEV = 4, /* least squares with max(K, 3/4 n) Chebyshev polynomials */
    BRG_BERRUT_AUTO = 5,
};

/* AUTO: a row of weights longer than this multiplies noise, as happens with a gap of survivors. */
#define BRG_BERRUT_GAIN_MAX 2.0

struct brg_berrut_spec {
    uint32_t blocks;  /* K, 2 .. BRG_BERRUT_BLOCKS_MAX */
    uint32_t nodes;   /* N, more than K, at most BRG_BERRUT_NODES_MAX */
    uint32_t points;  /* enum brg_berrut_points */
    uint32_t encoder; /* enum brg_berrut_encoder */
    uint32_t decoder; /* enum brg_berrut_decoder */
};

/* brg_berrut_check - whether `spec` can be built.
 * own: why, which may be NULL, gets the sentence. errors: BRG_EINVAL */
BRG_CHECK int brg_berrut_check(const struct brg_berrut_spec *spec, struct brg_why *why);

/* brg_berrut_alphas - where the blocks sit. shape: out alpha [blocks], falling
 * source: Jahani-Nezhad, Maddah-Ali, "Berrut Approximated Coded Computing", 2020 */
void brg_berrut_alphas(uint32_t blocks, double *alpha);

/* brg_berrut_nodes - where the workers sit; a node that is some alpha_j has its very bits.
 * shape: out z [nodes], falling
 * source: as above; first kind: Borah, Harshan, "On Securing Berrut Approximated Coded Computing
 *         through Discrete Cosine Transforms", 2025 */
void brg_berrut_nodes(const struct brg_berrut_spec *spec, double *z);

/* brg_berrut_direct - which worker computes f(X_j) itself.
 * shape: out node [blocks], BRG_BERRUT_NOWHERE where none does; returns how many blocks have one;
 *        the layout is systematic where that is all of them
 * source: first kind, N = K * odd; second kind, N - 1 a multiple of 2 K */
uint32_t brg_berrut_direct(const struct brg_berrut_spec *spec, uint32_t *node);

/* brg_berrut_systematic - the fewest workers, at least `least`, that make the layout of `spec`
 * systematic; 0 where that is more than BRG_BERRUT_NODES_MAX. spec->nodes is not read. */
uint32_t brg_berrut_systematic(const struct brg_berrut_spec *spec, uint32_t least);

/* brg_berrut_encode - the combinations that the workers get: u(z_i) = sum_j rows[i][j] X_j.
 * shape: out rows [nodes, blocks]; every row sums to 1
 * cost:  O(N K)
 * source: Berrut, "Rational functions for guaranteed and experimentally well-conditioned global
 *         interpolation", 1988, eq. 3.1; polynomial: Berrut, Trefethen, "Barycentric Lagrange
 *         interpolation", SIAM Review 2004, eq. 5.3 */
void brg_berrut_encode(const struct brg_berrut_spec *spec, double *rows);

/* How the survivors' results add up to the blocks' values, and how wrong that is likely to be. */
struct brg_berrut_decode {
    uint32_t blocks, count; /* K; n survivors */
    uint32_t decoder;       /* the one that was used, never AUTO */
    uint32_t degree;        /* Chebyshev polynomials used, else 0 */
    uint32_t exact;         /* blocks whose own worker survived: computed, not interpolated */
    double gain;            /* the longest row of weights, its 2-norm: how errors are multiplied */
    uint32_t node[BRG_BERRUT_NODES_MAX];                          /* of survivor r, rising */
    double weights[BRG_BERRUT_BLOCKS_MAX * BRG_BERRUT_NODES_MAX]; /* [blocks, count] */
    /* What would change in block j if one of its two neighbouring survivors had been missing:
     * rows 2 j and 2 j + 1 of [2 blocks, count]. Least squares: [count - degree, count], an
     * orthonormal basis of what the polynomials leave over. */
    double spread[2 * BRG_BERRUT_BLOCKS_MAX * BRG_BERRUT_NODES_MAX];
};

/* brg_berrut_decode_init - the weights for the survivors in `have`, cached by the caller if it
 * likes.
 *
 * shape:  have [nodes] 0/1
 * own:    memory: 2 nodes^2 doubles of scratch
 * errors: BRG_ERANK fewer survivors than blocks
 * cost:   BERRUT, HALF, SPLINE O(K n); CHEBYSHEV O(n^3), 2 ms at n = 64
 * source: signs by rank: without it the interpolant has poles; halved ends: Berrut 1988, sec. 4;
 *         spline: Moradi et al., "LeTCC", 2024, with lambda = 0 */
BRG_CHECK int brg_berrut_decode_init(struct brg_berrut_decode *d,
                                     const struct brg_berrut_spec *spec, const uint8_t *have,
                                     double *memory);

/* brg_berrut_estimate - the error that a decode is likely to have.
 *
 * shape:  gram [count, count], inner products of the survivors' results in any unit (dct_gram.h);
 *         out error [blocks], rms error over rms of the decoded block, 0 for a computed one,
 *         HUGE_VAL where nothing is left to estimate from; returns the same over all blocks
 * notes:  an estimate, not a bound: it assumes that the survivors are honest and f as smooth
 *         between the nodes as at them. Calibrated on the functions of docs/BERRUT.md
 * source: leave-one-out of each neighbouring node; least squares: residual per degree of freedom */
double brg_berrut_estimate(const struct brg_berrut_decode *d, const double *gram, double *error);

/* brg_berrut_apply - out[i] = (float)(sum_j w[j] x_j[i]), in double, in the order of j.
 * shape: w [count], x [count] pointers to `floats` numbers; serves encoding and decoding alike */
void brg_berrut_apply(size_t floats, uint32_t count, const double *w, const float *const *x,
                      float *out);

/* brg_berrut_order - an order of the blocks along a curve, so that u is as smooth as they allow.
 *
 * shape: gram [blocks, blocks] inner products of the blocks; out order [blocks], order[j] = which
 *        block goes to alpha_j
 * notes: nearest-neighbour chain from every start, the shortest kept, then reversals of parts
 *        while they shorten it (at most BRG_BERRUT_ORDER_PASSES). Independent blocks gain nothing
 * cost:  O(K^3) */
#define BRG_BERRUT_ORDER_PASSES 16u
void brg_berrut_order(uint32_t blocks, const double *gram, uint32_t *order);

/* brg_berrut_row_* - one row of an interpolation matrix, for nodes of any kind.
 *
 * shape:   x [n], strictly falling; out row [n]: value at z = row . values at x
 * notes:   a z within 1e-13 of a node gets its unit row. chebyshev: `terms` polynomials fitted by
 *          least squares through `basis`, made once per node set
 * asserts: n >= 1; terms <= n */
void brg_berrut_row_rational(uint32_t n, const double *x, int half, double z, double *row);
void brg_berrut_row_spline(uint32_t n, const double *x, double z, double *row);

/* Orthonormal polynomials on a node set: row k of q holds the values of the one of degree k. */
struct brg_berrut_basis {
    uint32_t n;
    double *r; /* [n, n]: T_k = sum_j r[k][j] q_j for j < k, and diagonal[k] q_k */
    double *q; /* [n, n] */
    double diagonal[BRG_BERRUT_NODES_MAX];
};
/* own: r and q are pieces of memory, 2 n^2 doubles, which the caller keeps as long as b */
void brg_berrut_basis_init(struct brg_berrut_basis *b, uint32_t n, const double *x, double *memory);
void brg_berrut_row_chebyshev(const struct brg_berrut_basis *b, uint32_t terms, double z,
                              double *row);

#endif
