/* neighbours.h - a lost stage put together from the stages beside it: who gives, and how much.
 *
 *   weights of the lost stage  <-  a W_j + b W_k      j < lost < k, the nearest stages alive
 *
 *   lost  j, k         a : b
 *   2     1, 3         by the squared gradient norms to the power exponent / 2 (CheckFree)
 *   2, 3  1, 4         linear in depth: stage 2 takes 2/3 of 1 and 1/3 of 4
 *   0     -, 1         a copy of 1; with `plus`, 1 is also a copy of 0, and so at the other end
 *
 * Pure: numbers in, numbers out; the caller combines the vectors (brg_combine). A stage made so has
 * no optimizer state: moments and own step count start from 0, and its learning rate is raised for
 * a while. Only layers are mixed; an embedding, last norm or head has no neighbour: it comes from
 * whoever keeps a copy.
 *
 * Source: Blagoev et al., "All is Not Lost: LLM Recovery without Checkpoints", 2025, Alg. 1 (the
 * mix), sec. 4.3 (copies at the ends). Interpolation in depth and the decay are ours. */
#ifndef BRG_NEIGHBOURS_H
#define BRG_NEIGHBOURS_H

#include "base/base.h"

#define BRG_NEIGHBOURS_DONORS 2u
#define BRG_NEIGHBOURS_EXPONENT_MAX 2u
#define BRG_NEIGHBOURS_STAGES_MAX 64u
#define BRG_NEIGHBOURS_LR_RAISE 1.1
#define BRG_NEIGHBOURS_LR_CAP 1.2
#define BRG_NEIGHBOURS_LR_STEPS 200u /* until the factor is 1 again */

/* What is known of the line. */
struct brg_neighbours_line {
    uint32_t stages;     /* 1 .. BRG_NEIGHBOURS_STAGES_MAX */
    const uint8_t *have; /* [stages] 1: its weights of the version asked for are at hand */
    /* [stages] squared gradient norms of the last step; NULL: not known, as exponent 0 */
    const double *norm2;
    /* 0 equal shares, 1 by the norm (the authors' code), 2 by its square (the paper) */
    uint32_t exponent;
    uint32_t plus; /* 1: trained with swapped ends (CheckFree+), so the partner is the donor */
};

struct brg_neighbours_mix {
    uint32_t count;                        /* 1: a copy; 2: a mix */
    uint32_t stage[BRG_NEIGHBOURS_DONORS]; /* rising */
    double weight[BRG_NEIGHBOURS_DONORS];  /* sum 1 */
};

/* brg_neighbours_plan - who gives to stage `lost`.
 *
 * Norms that are not finite, negative or sum up to 0 give equal shares.
 * errors:  BRG_ENOENT no other stage is at hand
 * asserts: lost < stages, exponent <= BRG_NEIGHBOURS_EXPONENT_MAX */
BRG_CHECK int brg_neighbours_plan(const struct brg_neighbours_line *line, uint32_t lost,
                                  struct brg_neighbours_mix *out);

/* brg_neighbours_layer - the donor's layer that stands for layer `layer` of `layers` where stages
 * differ in depth: the one at the same place in proportion. asserts: layer < layers */
uint32_t brg_neighbours_layer(uint32_t layer, uint32_t layers, uint32_t donor_layers);

/* brg_neighbours_order - the order in which microbatch `microbatch` passes the stages.
 *
 * The first `swapped_percent` of each hundred microbatches, spread evenly, swap both ends: stages
 * 1, 0, 2, ..., S-3, S-1, S-2. Fewer than 4 stages have no two ends to swap.
 * shape:  order [stages]
 * return: 1 where the ends are swapped */
int brg_neighbours_order(uint32_t stages, uint64_t microbatch, uint32_t swapped_percent,
                         uint32_t *order);

/* brg_neighbours_raise - the factor of a stage recovered now whose factor is `factor`: 1.1 times
 * it, at most 1.2, so that losses in a row do not compound. */
double brg_neighbours_raise(double factor);

/* brg_neighbours_lr - the factor `steps` steps after it was `factor`: falls linearly to 1 within
 * BRG_NEIGHBOURS_LR_STEPS. */
double brg_neighbours_lr(double factor, uint64_t steps);

/* brg_neighbours_pick - which of `count` candidates the probe prefers: the least finite loss, the
 * first of equals. errors: BRG_ENOENT none is finite */
BRG_CHECK int brg_neighbours_pick(const double *loss, uint32_t count, uint32_t *best);

#endif
