/* young.h - how often to write a checkpoint, from what one costs and how often the run is lost.
 *
 *   period = sqrt(2 * cost of a checkpoint * mean time between losses)
 *
 * too often: the cost is paid for nothing; too rarely: half a period is lost each time. Only losses
 * that no other rung cures count. The rate is measured: (1 + losses) / (prior + time), which is the
 * prior guess at the start and the measured rate once there are some.
 *
 * Pure, integers only. Source: Young, "A first order approximation to the optimum checkpoint
 * interval", CACM 17(9), 1974. */
#ifndef BRG_YOUNG_H
#define BRG_YOUNG_H

#include "base/base.h"

#define BRG_YOUNG_PRIOR_MS (UINT64_C(24) * 3600 * 1000) /* one loss a day before any was seen */
#define BRG_YOUNG_COST_MAX_MS (UINT64_C(1) << 26)       /* 18 hours */
#define BRG_YOUNG_TIME_MAX_MS (UINT64_C(1) << 36)       /* two years */

/* What was measured; longer times count as the maxima. */
struct brg_young {
    uint64_t run_ms;  /* that the run has lasted */
    uint64_t losses;  /* in that time */
    uint64_t cost_ms; /* of writing one checkpoint, as far as the run stands still for it */
    uint64_t step_ms; /* of one step; 0 counts as 1 */
};

/* brg_young_between_ms - mean time between losses, with the prior. */
uint64_t brg_young_between_ms(const struct brg_young *y);

/* brg_young_every - steps between checkpoints, within [least, most].
 * asserts: 0 < least <= most */
uint64_t brg_young_every(const struct brg_young *y, uint64_t least, uint64_t most);

#endif
