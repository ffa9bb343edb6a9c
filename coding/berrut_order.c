#include <math.h>
#include <string.h>

#include "coding/berrut.h"

struct plane {
    uint32_t blocks;
    const double *gram;
};

static double distance(struct plane p, uint32_t a, uint32_t b) {
    const double *g = p.gram;
    const size_t k = p.blocks;
    const double square = g[a * k + a] + g[b * k + b] - 2.0 * g[a * k + b];
    return square > 0.0 ? sqrt(square) : 0.0;
}

/* The chain from `start` that always goes on to the nearest block; returns its length. */
static double chain(struct plane p, uint32_t start, uint32_t *order) {
    uint64_t used = UINT64_C(1) << start;
    double length = 0.0;
    order[0] = start;
    for (uint32_t at = 1; at < p.blocks; at++) {
        uint32_t best = p.blocks;
        double nearest = HUGE_VAL;
        for (uint32_t b = 0; b < p.blocks; b++) {
            const double d = distance(p, order[at - 1], b);
            if ((used >> b & 1) != 0 || (best < p.blocks && !(d < nearest))) continue;
            best = b;
            nearest = d;
        }
        order[at] = best;
        used |= UINT64_C(1) << best;
        length += nearest;
    }
    return length;
}

/* What reversing order[from .. to] takes off the length of the path, whose ends are free. */
static double saved(struct plane p, const uint32_t *order, uint32_t from, uint32_t to) {
    double gain = 0.0;
    if (from > 0) {
        gain += distance(p, order[from - 1], order[from]) - distance(p, order[from - 1], order[to]);
    }
    if (to + 1 < p.blocks) {
        gain += distance(p, order[to], order[to + 1]) - distance(p, order[from], order[to + 1]);
    }
    return gain;
}

static void reverse(uint32_t *order, uint32_t from, uint32_t to) {
    for (; from < to; from++, to--) {
        const uint32_t held = order[from];
        order[from] = order[to];
        order[to] = held;
    }
}

void brg_berrut_order(uint32_t blocks, const double *gram, uint32_t *order) {
    const struct plane p = {blocks, gram};
    uint32_t trial[BRG_BERRUT_BLOCKS_MAX];
    double shortest = 0.0;
    BRG_ASSERT(blocks > 0 && blocks <= BRG_BERRUT_BLOCKS_MAX);
    for (uint32_t start = 0; start < blocks; start++) {
        const double length = chain(p, start, trial);
        if (start > 0 && !(length < shortest)) continue;
        shortest = length;
        memcpy(order, trial, blocks * sizeof *order);
    }
    int changed = 1;
    for (uint32_t pass = 0; changed && pass < BRG_BERRUT_ORDER_PASSES; pass++) {
        changed = 0;
        for (uint32_t from = 0; from < blocks; from++) {
            for (uint32_t to = from + 1; to < blocks; to++) {
                if (!(saved(p, order, from, to) > 1e-12 * shortest)) continue;
                reverse(order, from, to);
                changed = 1;
            }
        }
    }
}
