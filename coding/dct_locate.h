/* dct_locate.h - the verdict on a round: nobody lied, these did, too many did, or nothing fits.
 *
 *   r_0 .. r_V  from a narrow search
 *     v = the smallest with r_v <= tau_v r_V     0: CLEAN     1 .. V-1: CORRECTED     none: FAIL
 *     then whoever may be let back in without r rising above tau r_V was accused for nothing
 *     3 or more accused, FAIL or ALARM: the same again from a wide search, which decides
 *     r_V > 3 times an honest round's: ALARM: more liars than V - 1, or the noise has moved
 *
 * A verdict is evidence, never proof: about 1 honest round in 100 accuses somebody. Recompute what
 * is accused before anything is held against its owner. Pure; no allocation. */
#ifndef BRG_DCT_LOCATE_H
#define BRG_DCT_LOCATE_H

#include "coding/dct_calibrate.h"

#define BRG_DCT_ALARM 3.0         /* times the largest honest r_V */
#define BRG_DCT_WIDE_FROM 3u      /* accused from which the wide search decides */
#define BRG_DCT_SPARSE_MAX 8u     /* blocks of coordinates searched in one round */
#define BRG_DCT_SPARSE_FACTOR 1.5 /* block tests are many: their thresholds lie higher by this */

enum brg_dct_status {
    BRG_DCT_CLEAN = 1,
    BRG_DCT_CORRECTED = 2,   /* leave the accused out and decode from the rest */
    BRG_DCT_FAIL = 3,        /* V or more liars: nobody can be named; audit */
    BRG_DCT_ALARM_LEVEL = 4, /* no verdict; audit, and calibrate anew if they find nothing */
};

struct brg_dct_verdict {
    uint32_t status;                     /* enum brg_dct_status */
    uint32_t count;                      /* accused: 0 unless CORRECTED */
    uint32_t wide;                       /* 1: the wide search decided */
    uint64_t accused;                    /* mask of node numbers */
    uint32_t node[BRG_DCT_LEVELS_MAX];   /* of the accused, rising */
    double evidence[BRG_DCT_LEVELS_MAX]; /* ln(r without him among the accused / r), per accused */
    double level;                        /* r_V over the largest honest one */
    struct brg_dct_path path;            /* supports are of survivor numbers */
};

/* brg_dct_locate - judges one round of exactly the survivors of `set`.
 *
 * shape:   gram [count, count] of the set, normalised
 * asserts: work has the levels of the set
 * cost:    4 n^3 and a narrow search: 1 ms at n = 64, V = 5; a wide one 5 ms more
 * source:  sequential test on ratios of residuals, backward elimination */
void brg_dct_locate(const struct brg_dct_set *set, const double *gram, struct brg_dct_work *work,
                    struct brg_dct_verdict *verdict);

/* brg_dct_sparse_calibrate - one block of coordinates of a trusted round: its ratios become honest.
 * shape: z [count, BRG_DCT_COLUMNS], the sketch of the block alone */
void brg_dct_sparse_calibrate(struct brg_dct_calibration *cal, const struct brg_dct_set *set,
                              const double *z, struct brg_dct_work *work);

struct brg_dct_sparse {
    uint32_t searched; /* blocks, of those that stood out most */
    uint32_t found;    /* of them, where somebody is accused, or too many are wrong */
    uint64_t accused;  /* by any block, mask of node numbers */
    uint32_t failed;   /* blocks that ended in FAIL */
    uint32_t block[BRG_DCT_SPARSE_MAX]; /* the found ones */
};

/* brg_dct_sparse_locate - the same test on every block of coordinates by itself: errors in a few
 * coordinates, which all the others dilute, stand out in theirs.
 *
 * shape:  z [blocks][count, BRG_DCT_COLUMNS], sketches of one block each
 * cost:   per block n^2 BRG_DCT_COLUMNS / 2; 1 ms for each of the BRG_DCT_SPARSE_MAX searched */
void brg_dct_sparse_locate(const struct brg_dct_calibration *cal, const struct brg_dct_set *set,
                           uint32_t blocks, const double *z, struct brg_dct_work *work,
                           struct brg_dct_sparse *out);

/* brg_dct_damage - the most that errors at `support` can do to the decoded blocks while the
 * whitened energy of the syndromes stays at `budget`.
 *
 * shape:  weights [blocks, count] of the decode; support: mask of survivor numbers; budget = r M;
 *         out direction [count] or NULL: the worst errors, at that energy; returns their rms effect
 *         over the blocks, relative to the results' rms; HUGE_VAL where they can hide altogether
 * notes:  put workers of little reputation on nodes where it is small; never two of one owner next
 *         to each other
 * source: largest eigenvalue of A_EE^-1/2 D_E^T D_E A_EE^-1/2 */
struct brg_dct_damage {
    uint32_t blocks;
    uint64_t support;
    double budget;
};
double brg_dct_damage(const struct brg_dct_set *set, struct brg_dct_damage s, const double *weights,
                      double *direction);

#endif
