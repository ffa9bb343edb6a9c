/* dct_pgz.h - the algebraic and the subspace locators: exact for exact code words, and what
 * dct_locate.h is compared with. With approximation noise they fail early; docs/BERRUT.md has the
 * table.
 *
 *   syndromes s_l = sum_i e_i w_i T_l(x_i)
 *   T_p T_l = (T_l+p + T_|l-p|) / 2   =>   a locator sum_p lam_p T_p with its zeros at the liars
 * has sum_p lam_p (s_l+p + s_|l-p|) / 2 = 0 for every l: one null vector for all q columns of Y
 *
 * Pure; memory is the caller's. */
#ifndef BRG_DCT_PGZ_H
#define BRG_DCT_PGZ_H

#include "base/base.h"
#include "coding/dct_gram.h"

/* Results y [n, q] (coordinates, or projections of all of them) at nodes x [n] of a code of
 * dimension `blocks`. */
struct brg_dct_word {
    uint32_t n, blocks, q;
    const double *x, *y;
};

/* brg_dct_pgz_doubles - the scratch that the functions below want, in doubles. */
size_t brg_dct_pgz_doubles(uint32_t n, uint32_t q);

/* brg_dct_pgz_count - how many results are wrong: the rank of the matrix above for `most` liars.
 *
 * shape:   *count in 0 .. most; singular values count from `tolerance` times the largest
 *          size; 1e-9 for exact words in double
 * errors:  BRG_ERANK not finite
 * asserts: 2 most <= n - blocks
 * source:  Peterson 1960, Gorenstein, Zierler 1961, over the reals with the identity above */
BRG_CHECK int brg_dct_pgz_count(struct brg_dct_word word, uint32_t most, double tolerance,
                                double *memory, uint32_t *count);

/* brg_dct_pgz_locate - where `count` wrong results are: the nodes where the locator is smallest,
 * all of them tried, no root is looked for. shape: out at [count], rising. errors: BRG_ERANK */
BRG_CHECK int brg_dct_pgz_locate(struct brg_dct_word word, uint32_t count, double *memory,
                                 uint32_t *at);

/* brg_dct_music_smooth - the subspace form of the same matrix: nodes whose column lies nearest to
 * the span of its `count` largest singular vectors. Works for colluders in one direction too.
 * asserts: count < (2 (n - blocks)) / 3 */
BRG_CHECK int brg_dct_music_smooth(struct brg_dct_word word, uint32_t count, double *memory,
                                   uint32_t *at);

/* brg_dct_music - the subspace form on plain syndromes: columns of hw [m, n] (parity rows, whitened
 * or not) nearest to the span of the `count` largest eigenvectors of hw gram hw^T. Fails for
 * colluders in one direction. shape: gram [n, n]; memory 4 n^2 doubles
 * source: Schmidt, "Multiple emitter location and signal parameter estimation", 1986 */
struct brg_dct_music {
    uint32_t m, n, count;
};
BRG_CHECK int brg_dct_music(struct brg_dct_music s, const double *hw, const double *gram,
                            double *memory, uint32_t *at);

#endif
