/* dtype.h - the number formats that weights are kept in on disk, and float32 in memory.
 *
 *   F32   1 sign  8 exponent  23 fraction       BF16  the upper half of an F32
 *   F16   1 sign  5 exponent  10 fraction       largest finite value 65504
 *
 * Narrowing rounds to nearest, ties to even; widening is exact, also of NaN payloads, so that a
 * file of any of the three goes through float32 and back without a changed bit. Bytes are
 * little-endian. Pure and thread-safe. */
#ifndef BRG_MODEL_DTYPE_H
#define BRG_MODEL_DTYPE_H

#include "base/base.h"

enum brg_weight {
    BRG_WEIGHT_OTHER = 0,
    BRG_WEIGHT_F32 = 1,
    BRG_WEIGHT_F16 = 2,
    BRG_WEIGHT_BF16 = 3
};

/* brg_weight_size - of one number. asserts: F32, F16 or BF16 */
uint32_t brg_weight_size(uint32_t dtype);

/* brg_weight_name - "F32", "F16" or "BF16"; "?" for others. */
const char *brg_weight_name(uint32_t dtype);

/* brg_weight_parse - by name, in either case. errors: BRG_EINVAL none of the three; untouched */
BRG_CHECK int brg_weight_parse(const char *name, uint32_t *out);

/* brg_weight_widen - out[i] = numbers at `bytes`, which may lie at any alignment.
 * shape: bytes [count * brg_weight_size], out [count] */
void brg_weight_widen(uint32_t dtype, size_t count, const void *bytes, float *out);

/* brg_weight_narrow - the other way; returns how many finite numbers became infinite.
 * shape: x [count], bytes [count * brg_weight_size] at any alignment */
size_t brg_weight_narrow(uint32_t dtype, size_t count, const float *x, void *bytes);

#endif
