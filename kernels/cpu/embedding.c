/* embedding.c - rows picked from a table, and their gradients added back in the order of the rows.
 *
 * shapes: id [rows]; y, dy [rows, cols]; table, dtable [vocabulary, cols]. */
#include "kernels/cpu/fast.h"

void BRG_FAST(embed)(struct brg_shape s, const uint32_t *id, const float *table, float *y) {
    const size_t cols = s.cols;
    for (size_t row = 0; row < s.rows; row++)
        memcpy(y + row * cols, table + id[row] * cols, cols * sizeof *y);
}

void BRG_FAST(embed_grad)(struct brg_shape s, const uint32_t *id, const float *dy, float *dtable) {
    const size_t cols = s.cols;
    for (size_t row = 0; row < s.rows; row++)
        BRG_FAST(add)(cols, dy + row * cols, dtable + id[row] * cols);
}
