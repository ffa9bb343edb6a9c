/* cross_entropy.c - the loss of softmax(logits) against a target, and its gradient, in one visit.
 *
 * shapes: logits [rows, cols], overwritten; target [rows].
 * ladder: 1. highest score, exponentials in place, their sum, then the gradient in place: the row
 *            stays in the nearest cache that holds it. */
#include "kernels/cpu/fast.h"

/* 1 where no score before the target's reaches it. */
static int is_first_highest(const float *row, uint32_t target, float top) {
    if (!(row[target] >= top)) return 0;
    for (uint32_t i = 0; i < target; i++)
        if (row[i] >= top) return 0;
    return 1;
}

static void exponentials(size_t cols, float top, float *restrict row) {
    for (size_t i = 0; i < cols; i++) row[i] = fast_exp(row[i] - top);
}

void BRG_FAST(cross_entropy)(struct brg_shape s, const uint32_t *target, uint32_t want_grad,
                             float *logits, struct brg_cross_entropy *sums) {
    BRG_ASSERT(s.cols > 0 && sums != NULL);
    for (size_t i = 0; i < s.rows; i++) {
        float *row = logits + i * s.cols;
        const uint32_t t = target[i];
        BRG_ASSERT(t < s.cols);
        const float top = highest(s.cols, row), score = row[t];
        sums->correct += (uint64_t)is_first_highest(row, t, top);
        exponentials(s.cols, top, row);
        const double sum = sum_blocks(s.cols, row);
        sums->loss += log(sum) - ((double)score - (double)top);
        if (!want_grad) continue;
        BRG_FAST(scale)(s.cols, (float)(1.0 / sum), row);
        row[t] -= 1.0f;
    }
}
