#include "recovery/young.h"

static uint64_t at_most(uint64_t x, uint64_t limit) {
    return x < limit ? x : limit;
}

/* The largest r with r * r <= x, bit by bit. */
static uint64_t root(uint64_t x) {
    uint64_t r = 0;
    for (uint32_t bit = 32; bit-- > 0;) {
        const uint64_t higher = r | (UINT64_C(1) << bit);
        if (higher <= x / higher) r = higher;
    }
    return r;
}

uint64_t brg_young_between_ms(const struct brg_young *y) {
    const uint64_t time = BRG_YOUNG_PRIOR_MS + at_most(y->run_ms, BRG_YOUNG_TIME_MAX_MS);
    const uint64_t losses = at_most(y->losses, time);
    /* The prior stands for the one loss that is always counted. */
    return time / (1 + losses);
}

uint64_t brg_young_every(const struct brg_young *y, uint64_t least, uint64_t most) {
    BRG_ASSERT(least > 0);
    BRG_ASSERT(least <= most);
    const uint64_t cost = at_most(y->cost_ms, BRG_YOUNG_COST_MAX_MS);
    const uint64_t period_ms = root(2 * cost * brg_young_between_ms(y)); /* below 2^64 */
    const uint64_t every = period_ms / (y->step_ms == 0 ? 1 : y->step_ms);
    if (every < least) return least;
    return at_most(every, most);
}
