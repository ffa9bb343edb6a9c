/* batch.h - the samples of one microbatch, as the model reads them. Borrowed memory only. */
#ifndef BRG_MODEL_BATCH_H
#define BRG_MODEL_BATCH_H

#include "base/base.h"

/* One microbatch. A llama reads `tokens`, a classifier `x` and `labels`; the others are NULL.
 *
 * shape: tokens [samples, context + 1] row-major; inputs are the first `context` of a row, targets
 *        the last `context`: target t is token t + 1. x [samples, inputs]; labels [samples]. */
struct brg_batch {
    uint32_t samples; /* 1 .. the workspace's microbatch */
    const uint16_t *tokens;
    const float *x;
    const uint32_t *labels; /* 0 .. classes - 1 */
};

/* Sums over everything fed so far; start from zeroes. A mean is loss / count. */
struct brg_model_sums {
    double loss;      /* sum of -ln p(target), nats */
    uint64_t count;   /* targets: tokens of a llama, rows of a classifier */
    uint64_t correct; /* targets that had the highest score */
};

#endif
