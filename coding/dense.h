/* dense.h - inside coding/ only: the few dense solves that codes need, in double.
 *
 * Why not LAPACK: Debian's OpenBLAS starts its thread pool when it is merely loaded, and picks its
 * kernels by CPU, which changes the last bits. The sizes here (s <= 64 in a round, n <= 1024 once
 * at start) do not need it. Every sum has a fixed order: the same bits on every machine.
 *
 * Pure; no allocation; matrices are row-major. */
#ifndef BRG_DENSE_H
#define BRG_DENSE_H

#include "base/base.h"

#define BRG_DENSE_SOLVE_MAX 64u   /* unknowns of a solve */
#define BRG_DENSE_ORDER_MAX 1024u /* rows and columns of the matrix of left_null */

/* brg_dense_dot - sum of x[i] * y[i], i < n. */
double brg_dense_dot(uint32_t n, const double *x, const double *y);

/* brg_dense_axpy - y += alpha x, n elements. */
void brg_dense_axpy(uint32_t n, double alpha, const double *x, double *y);

/* brg_dense_solve - A x = b by elimination with partial pivoting.
 *
 * shape:  a [k, k], destroyed; b [k] in, x out
 * errors: BRG_ERANK a pivot is 0 or not finite; a and b are then unspecified */
BRG_CHECK int brg_dense_solve(uint32_t k, double *a, double *b);

/* brg_dense_least_norm - the shortest x with M x = b, for rows of M that are independent.
 *
 * shape:  m [d, s], d <= s, destroyed (its rows become orthonormal); b [d], d <= 64; out x [s]
 * errors: BRG_ERANK a row depends on those before it to within rounding
 * cost:   4 d^2 s operations
 * source: M = L Q by Gram-Schmidt, each row orthogonalised twice (Giraud et al., "The loss of
 *         orthogonality in the Gram-Schmidt process", 2005: twice is enough); x = Q^T L^-1 b */
BRG_CHECK int brg_dense_least_norm(uint32_t d, uint32_t s, double *m, const double *b, double *x);

/* brg_dense_orthonormalise - the rows of m become an orthonormal basis of what they span.
 * shape: m [rows, n]. errors: BRG_ERANK as above */
BRG_CHECK int brg_dense_orthonormalise(uint32_t rows, uint32_t n, double *m);

/* brg_dense_left_null - for a B of rank n - s: its left null space and one solution of a B = 1.
 *
 * shape:  b [n, n], n <= BRG_DENSE_ORDER_MAX, destroyed; out null [s, n], orthonormal rows y with
 *         y B = 0; out a [n], the shortest a with a B = (1, .., 1); scratch ones [n], t [n]
 * errors: BRG_ERANK the rank is not n - s; residuals are for the caller to check
 * cost:   4/3 n^3 operations
 * source: QR of B^T by Householder reflections with column pivoting (Businger, Golub, 1965) */
BRG_CHECK int brg_dense_left_null(uint32_t n, uint32_t s, double *b, double *null, double *a,
                                  double *ones, double *t);

#endif
