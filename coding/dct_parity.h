/* dct_parity.h - the DCT code over the reals on any surviving set: what honest results cannot hold.
 *
 *   results Y [n, d] of a smooth function  =  polynomials of low degree (K of them)  +  little
 *   H [n - K, n], H V = 0:  syndromes H Y  =  what liars added, seen through H         +  little
 *
 * On all N first-kind points the rows of H are DCT-II rows K .. N-1. Missing results change nothing
 * but the node set, so erasures need no decoding of their own: 2 liars + missing <= N - K.
 * Pure; no allocation. */
#ifndef BRG_DCT_PARITY_H
#define BRG_DCT_PARITY_H

#include "base/base.h"

/* brg_dct_parity - the orthonormal polynomials on the nodes, by degree; rows K .. n-1 are parity
 * checks of the code of dimension K.
 *
 * shape:  x [n], in [-1, 1], all different; out h [n, n]; scratch [n, n]
 * cost:   8/3 n^3 operations: 1 ms at n = 64; cache per surviving set
 * source: QR of the Chebyshev-Vandermonde matrix; H V = 0 holds to rounding for any node set */
#define BRG_DCT_PARITY_NODES_MAX 256u
void brg_dct_parity(uint32_t n, const double *x, double *h, double *scratch);

/* brg_dct_multipliers - w_i = 1 / prod_{j != i} (x_i - x_j), scaled to a largest of 1.
 * shape: x [n], out w [n]. notes: their spread is 1e8 and more for n = 256 or contiguous gaps: for
 * algebra on exact words only. source: dual code of a generalised Reed-Solomon code */
void brg_dct_multipliers(uint32_t n, const double *x, double *w);

/* brg_dct_syndromes - s_l = sum_i w_i T_l(x_i) Y_i, l < m: 0 for words of degree < n - m + 1 - 1.
 * shape: x [n], y [n, q], out s [m, q]; m <= n - K for a code of dimension K */
struct brg_dct_syndromes {
    uint32_t n, m, q;
};
void brg_dct_syndromes(struct brg_dct_syndromes s, const double *x, const double *y, double *out);

/* brg_dct_values - what the results at `at` are off by, if those are the wrong ones.
 *
 * shape:  h [m, n] parity rows; y [n, q]; at [v], v <= m, rising; out e [v, q]
 * errors: BRG_ERANK the columns of h at `at` depend on each other; BRG_ENOMEM v is above 64
 * source: least squares (H_E^T H_E) e = H_E^T H Y, in place of Forney's formula; subtracting e is
 *         the same as erasing `at` */
struct brg_dct_values {
    uint32_t m, n, q, v;
};
BRG_CHECK int brg_dct_values(struct brg_dct_values s, const double *h, const double *y,
                             const uint32_t *at, double *e);

#endif
