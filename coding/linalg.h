/* linalg.h - inside coding/ only: the factorisations that DCT codes over the reals need, in double.
 *
 * Beside dense.h, which has the solves of gradient codes. Orders are at most BRG_LINALG_ORDER_MAX,
 * every sum has a fixed order, every iteration a bound. Pure; no allocation; row-major. */
#ifndef BRG_LINALG_H
#define BRG_LINALG_H

#include "base/base.h"

#define BRG_LINALG_ORDER_MAX 256u
#define BRG_LINALG_SWEEPS_MAX 64u /* Jacobi converges in about ten */

/* brg_linalg_orthogonal - an orthonormal basis, row by row: the first k rows of q span what the
 * first k rows of a span, for every k. Never fails: where rows of a depend on each other, q goes on
 * with whatever is orthogonal to the rows before.
 *
 * shape:  a [n, n] in, destroyed: a[k][j], j < k, becomes the coefficient of row k along q row j;
 *         out q [n, n]; out diagonal [n], the coefficient of row k along q row k
 * cost:   8/3 n^3 operations
 * source: Householder, "Unitary triangularization of a nonsymmetric matrix", 1958 */
void brg_linalg_orthogonal(uint32_t n, double *a, double *q, double *diagonal);

/* brg_linalg_cholesky - A = L L^T, L over the lower triangle of a; the upper one becomes 0.
 * shape: a [n, n]. errors: BRG_ERANK not positive definite to rounding; a is unspecified */
BRG_CHECK int brg_linalg_cholesky(uint32_t n, double *a);

/* brg_linalg_forward - x = L^-1 x for every column. shape: l [n, n] lower; x [n, columns] */
void brg_linalg_forward(uint32_t n, const double *l, uint32_t columns, double *x);

/* brg_linalg_product - c = a b. shape: a [m, k], b [k, n], c [m, n], which overlaps neither */
struct brg_linalg_product {
    uint32_t m, k, n;
};
void brg_linalg_product(struct brg_linalg_product s, const double *a, const double *b, double *c);

/* brg_linalg_congruence - c = t a t^T for a symmetric a.
 * shape: t [m, n], a [n, n], c [m, m]; scratch [m, n]; nothing overlaps */
struct brg_linalg_congruence {
    uint32_t m, n;
};
void brg_linalg_congruence(struct brg_linalg_congruence s, const double *t, const double *a,
                           double *c, double *scratch);

/* brg_linalg_jacobi - turns `count` vectors until they are orthogonal to each other: a singular
 * value decomposition, small singular values to high relative accuracy.
 *
 * shape:  x [count, length], rows in, out: row i = singular value i times its left vector;
 *         out v [count, count]: x_out = v x_in, v orthogonal; out sigma [count], largest first
 * errors: BRG_ERANK a number is not finite, or BRG_LINALG_SWEEPS_MAX sweeps did not do
 * source: Hestenes, "Inversion of matrices by biorthogonalization", 1958 */
struct brg_linalg_vectors {
    uint32_t count, length;
};
BRG_CHECK int brg_linalg_jacobi(struct brg_linalg_vectors s, double *x, double *v, double *sigma);

#endif
