/* dct_code.h - the gradient code `dct`: one small code against stragglers and liars.
 *
 *   worker i sits at angle (2i+1) pi / 2n of the DCT     x_i = cos of it
 *   chunk j is held by units j-s .. j (mod n); its column of B is the word of the DCT code on them
 *
 *        shares  =  B * gradients     lie in the lower n - s bands of the DCT (but for the length
 * of N * shares = 0               each row, which is 1 here), whatever the gradients are
 *
 * So what s workers do not send is not missed (cyclic.c decodes, with this matrix in place of a
 * random one), and what honest workers send has no syndrome N * shares: a liar's is his column of N
 * times what he added. Any 2 v + missing <= s: v liars are located, without noise but float32's.
 *
 * The price is rounding: the matrix amplifies it by 10^4 at s = 3, n = 16, so init refuses what
 * float32 cannot bear; nor is there such a code for odd n and odd s, where the word on a block's
 * holders at both ends of the line sums up to 0. Within the bounds frc with compared digests finds
 * as many; this code does it where bits differ between honest workers.
 *
 * Pure; no allocation. Source: generalised Reed-Solomon code on Chebyshev nodes; its parity checks
 * are DCT rows (Roth, "Introduction to Coding Theory", 2006, ch. 5). */
#ifndef BRG_DCT_CODE_H
#define BRG_DCT_CODE_H

#include "coding/scheme.h"

#define BRG_DCT_CODE_S_MAX 8u /* searched through for liars; what init accepts is less */

/* brg_dct_code_mix - mix[i][k] is the coefficient of block (i + k) mod n in unit i.
 * shape: out mix [n, s + 1], rows of length 1; s < n */
void brg_dct_code_mix(uint32_t n, uint32_t s, double *mix);

enum brg_dct_code_status {
    BRG_DCT_CODE_CLEAN = 1,    /* nothing but rounding */
    BRG_DCT_CODE_FOUND = 2,    /* exactly the units named add up to what is seen */
    BRG_DCT_CODE_TOO_MANY = 3, /* somebody lied, and more than can be told: recompute */
    BRG_DCT_CODE_BLIND = 4,    /* s are missing: nothing is left to compare */
};

struct brg_dct_code_verdict {
    uint32_t status; /* enum brg_dct_code_status */
    uint32_t count;  /* FOUND: of units, else 0 */
    uint32_t unit[BRG_DCT_CODE_S_MAX / 2];
    double residual; /* energy that the verdict leaves unexplained, over that of the noise */
};

/* brg_dct_code_locate - who of `available` sent a share that is not the sum it should be.
 *
 * shape:   gram [n, n]: inner products of the shares, in double; rows of missing units are not read
 *          noise: largest relative error of an honest share, 1e-6 for float32 sums
 * out:     verdict; leave the named units out of `available` and decode
 * asserts: a scheme of kind dct or cyclic, not init_plan's, s <= BRG_DCT_CODE_S_MAX
 * cost:    (n choose s / 2) small projections: 10 us at n = 12, s = 3
 * source:  least squares over supports; unique for 2 v + missing <= s, since any s columns of N are
 *          independent */
void brg_dct_code_locate(const struct brg_scheme *s, const struct brg_bits *available,
                         const double *gram, double noise, struct brg_dct_code_verdict *verdict);

#endif
