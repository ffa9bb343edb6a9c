#include "recovery/neighbours.h"

#include <float.h>
#include <string.h>

static int is_finite(double x) {
    return x >= -DBL_MAX && x <= DBL_MAX; /* NaN fails both */
}

/* The square root of a finite x > 0 by Newton's rule from a guess that halves the exponent: within
 * two units in the last place, and the same bits everywhere. */
static double root(double x) {
    uint64_t bits;
    double r;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits >> 1) + (UINT64_C(1023) << 51);
    memcpy(&r, &bits, sizeof r);
    for (uint32_t i = 0; i < 6; i++) r = 0.5 * (r + x / r);
    return r;
}

static double omega(double norm2, uint32_t exponent) {
    if (!is_finite(norm2) || norm2 < 0) return -1;
    if (norm2 < DBL_MIN) return 0;
    return exponent == 1 ? root(norm2) : norm2;
}

/* Shares of two donors right beside the lost stage. */
static void weigh(const struct brg_neighbours_line *line, struct brg_neighbours_mix *mix) {
    mix->weight[0] = mix->weight[1] = 0.5;
    if (line->exponent == 0 || line->norm2 == NULL) return;
    const double a = omega(line->norm2[mix->stage[0]], line->exponent);
    const double b = omega(line->norm2[mix->stage[1]], line->exponent);
    if (a < 0 || b < 0 || !is_finite(a + b) || !(a + b > 0)) return;
    mix->weight[0] = a / (a + b);
    mix->weight[1] = 1.0 - mix->weight[0];
}

static void copy_of(uint32_t stage, struct brg_neighbours_mix *mix) {
    *mix = (struct brg_neighbours_mix){.count = 1, .stage = {stage, 0}, .weight = {1.0, 0.0}};
}

/* The stage that changes places with `stage` in swapped microbatches; itself where none does. */
static uint32_t partner_of(uint32_t stages, uint32_t stage) {
    if (stages < 4) return stage;
    if (stage < 2) return 1 - stage;
    if (stage + 2 >= stages) return 2 * stages - 3 - stage;
    return stage;
}

int brg_neighbours_plan(const struct brg_neighbours_line *line, uint32_t lost,
                        struct brg_neighbours_mix *out) {
    uint32_t below = lost, above = lost;
    BRG_ASSERT(line->stages > 0 && line->stages <= BRG_NEIGHBOURS_STAGES_MAX);
    BRG_ASSERT(lost < line->stages);
    BRG_ASSERT(line->exponent <= BRG_NEIGHBOURS_EXPONENT_MAX);
    const uint32_t partner = partner_of(line->stages, lost);
    if (line->plus && partner != lost && line->have[partner]) {
        copy_of(partner, out);
        return BRG_OK;
    }
    for (uint32_t i = lost; i-- > 0 && below == lost;)
        if (line->have[i]) below = i;
    for (uint32_t i = lost + 1; i < line->stages && above == lost; i++)
        if (line->have[i]) above = i;
    if (below == lost && above == lost) return BRG_ENOENT;
    if (below == lost || above == lost) {
        copy_of(below == lost ? above : below, out);
        return BRG_OK;
    }
    *out = (struct brg_neighbours_mix){.count = 2, .stage = {below, above}};
    if (above - below == 2) {
        weigh(line, out);
    } else {
        out->weight[0] = (double)(above - lost) / (double)(above - below);
        out->weight[1] = 1.0 - out->weight[0];
    }
    return BRG_OK;
}

uint32_t brg_neighbours_layer(uint32_t layer, uint32_t layers, uint32_t donor_layers) {
    BRG_ASSERT(layer < layers);
    BRG_ASSERT(donor_layers > 0);
    return (uint32_t)((uint64_t)layer * donor_layers / layers);
}

int brg_neighbours_order(uint32_t stages, uint64_t microbatch, uint32_t swapped_percent,
                         uint32_t *order) {
    BRG_ASSERT(stages > 0 && stages <= BRG_NEIGHBOURS_STAGES_MAX);
    BRG_ASSERT(swapped_percent <= 100);
    const uint64_t at = microbatch % 100;
    /* Swapped where the running share passes the next whole number: odd microbatches at 50 %. */
    const int swaps = stages >= 4 && (at + 1) * swapped_percent / 100 > at * swapped_percent / 100;
    for (uint32_t i = 0; i < stages; i++) order[i] = swaps ? partner_of(stages, i) : i;
    return swaps;
}

double brg_neighbours_raise(double factor) {
    const double raised = factor * BRG_NEIGHBOURS_LR_RAISE;
    return raised < BRG_NEIGHBOURS_LR_CAP ? raised : BRG_NEIGHBOURS_LR_CAP;
}

double brg_neighbours_lr(double factor, uint64_t steps) {
    if (steps >= BRG_NEIGHBOURS_LR_STEPS) return 1.0;
    return 1.0 + (factor - 1.0) * (1.0 - (double)steps / BRG_NEIGHBOURS_LR_STEPS);
}

int brg_neighbours_pick(const double *loss, uint32_t count, uint32_t *best) {
    uint32_t found = count;
    for (uint32_t i = 0; i < count; i++)
        if (is_finite(loss[i]) && (found == count || loss[i] < loss[found])) found = i;
    if (found == count) return BRG_ENOENT;
    *best = found;
    return BRG_OK;
}
