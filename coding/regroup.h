/* regroup.h - dynamic clustering: who sits where, so that each group of a repetition code has as
 * few bad members as can be.  Pure; integers only; one thread a call.
 *
 *   members, worst first   A B C D | e f g h i j ...      groups of 3
 *   dealt to the group with the least badness so far      [A ..] [B ..] [C ..] [D ..]
 *   the good ones keep their seats where they can         [A e f] [B g h] ..
 *
 * A group is as fast as its fastest member, and stragglers come in bursts: whoever was late in the
 * last round is likely to be late in the next. Two such members in one group of two cost the round;
 * in two groups they cost nothing. Who was late goes before who is slow: a time a chunk is noisy.
 * source: Buyukates, Ozfatura, Ulukus, Gunduz, "Gradient Coding with Dynamic Clustering for
 *         Straggler Mitigation", arXiv 2103.01206, the idea; the deal is our own */
#ifndef BRG_CODING_REGROUP_H
#define BRG_CODING_REGROUP_H

#include "coding/scheme.h"

#define BRG_REGROUP_PPM 1000000u

/* What is known of whoever sits at a position. */
struct brg_regroup_seat {
    uint64_t chunk_ns; /* measured time a chunk; 0: not known, taken for the fastest */
    uint32_t late_ppm; /* decaying share of its last rounds in which it was late, 0 .. 1e6 */
    uint32_t vacant;   /* 1: nobody sits there, or who does is gone; worse than anybody */
};

/* brg_regroup_decay_ppm - the late score after one more round: it keeps 3/4 of the old one.
 * A worker that was late twice in a row stands at 437500, and is below 1/8 again 5 rounds later. */
uint32_t brg_regroup_decay_ppm(uint32_t late_ppm, int was_late);

/* brg_regroup_deal - who is to sit at each position from now on.
 *
 * shape: seats [spec.n] by present position; out [spec.n]: out[p] is the position whose member, or
 *        vacancy, comes to p: a permutation of 0 .. n-1
 * notes: who stays in its group keeps its position. The identity where nobody is bad (late in the
 *        last rounds, or slower than the fastest by an eighth or more), and where a new deal would
 *        spread the bad ones no more evenly than they are: the sum over the groups of the squares
 *        of late scores, a vacancy being worse than anybody, and where that is equal of all
 *        badness. The identity too for every code but frc: the others have no groups, or rules and
 *        histories that are about positions
 * cost:  O(n + bad members times groups) operations, 40 KiB of stack
 * source: see the head of this file */
void brg_regroup_deal(const struct brg_scheme *s, const struct brg_regroup_seat *seats,
                      uint32_t *out);

#endif
