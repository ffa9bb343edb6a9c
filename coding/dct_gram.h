/* dct_gram.h - n results of d floats reduced to the n x n inner products that the locator works on.
 *
 *   exactly      Gamma = Y Y^T / d                              n^2 d / 2 multiplications
 *   sketched     Gamma ~ Z Z^T / d,  Z = Y S [n, q]             n d additions: one pass over Y
 *
 * S has one +1 or -1 in every row, its column and sign drawn from `seed`: E[S S^T] = 1, and S never
 * has to be stored. Whoever knows S can hide an error in its null space: seed must be drawn after
 * all results of the group are committed, and kept secret until then.
 *
 * Products of floats are exact in double and sums are in double (a sketch adds four at a time in
 * float32 first, in a fixed order), so decisions see the results' own rounding and no more. Pure;
 * no allocation; any thread, on different output. */
#ifndef BRG_DCT_GRAM_H
#define BRG_DCT_GRAM_H

#include "base/base.h"

#define BRG_DCT_NODES_MAX 64u /* survivors of a group: a set of them is a 64-bit mask */
#define BRG_DCT_COLUMNS 64u   /* q of a sketch; 8 dense projections decide as well as all of Y */
#define BRG_DCT_BLOCK 4096u   /* coordinates that share a test against sparse errors */
#define BRG_DCT_CAP 1e4       /* a result this far above the median energy is scaled down to it */

/* brg_dct_gram - adds to gram [n, n] the inner products of coordinates begin .. end-1.
 * shape: y [n] pointers to floats. cost: n^2 (end - begin) / 2 multiplications */
struct brg_dct_span {
    size_t begin, end;
};
void brg_dct_gram(uint32_t n, const float *const *y, struct brg_dct_span span, double *gram);

/* brg_dct_sketch - adds to z [n, BRG_DCT_COLUMNS] the coordinates of a span, each to the column and
 * with the sign that `seed` and its number give: spans may be sketched in any order, by any thread
 * into a z of its own, and added up.
 *
 * asserts: span.begin is a multiple of BRG_DCT_BLOCK, so that a span's randomness is its own
 * cost:    n (end - begin) additions; reads every result once
 * source:  Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", 2002, as a
 *          projection that keeps inner products: Weinberger et al., "Feature hashing", 2009 */
void brg_dct_sketch(uint32_t n, const float *const *y, struct brg_dct_span span, uint64_t seed,
                    double *z);

/* brg_dct_sketch_gram - gram [n, n] = z z^T. */
void brg_dct_sketch_gram(uint32_t n, const double *z, double *gram);

/* brg_dct_normalise - divides by the median energy, the scale that no minority of liars sets.
 *
 * shape:  gram [n, n] in place; out *energy the median of its diagonal
 * errors: BRG_EPROTO some diagonal is not finite: *broken has a bit for each such result, which is
 *         to be treated as missing; BRG_ERANK the median is 0: most results are all zero
 * notes:  a result with more than BRG_DCT_CAP times the median is scaled down to it: it stays as
 *         wrong as it is, and does not drown the others in its rounding */
BRG_CHECK int brg_dct_normalise(uint32_t n, double *gram, double *energy, uint64_t *broken);

/* brg_dct_subgram - out [count, count] = the rows and columns `index` of gram [n, n]. */
void brg_dct_subgram(uint32_t n, const double *gram, uint32_t count, const uint32_t *index,
                     double *out);

#endif
