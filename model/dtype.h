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

enum brg_dtype { BRG_DTYPE_OTHER = 0, BRG_DTYPE_F32 = 1, BRG_DTYPE_F16 = 2, BRG_DTYPE_BF16 = 3 };

/* brg_dtype_bytes - of one number. asserts: F32, F16 or BF16 */
uint32_t brg_dtype_bytes(uint32_t dtype);

/* brg_dtype_name - "F32", "F16" or "BF16"; "?" for others. */
const char *brg_dtype_name(uint32_t dtype);

/* brg_dtype_parse - by name, in either case. errors: BRG_EINVAL none of the three; untouched */
BRG_CHECK int brg_dtype_parse(const char *name, uint32_t *out);

/* brg_dtype_widen - out[i] = numbers at `bytes`, which may lie at any alignment.
 * shape: bytes [count * brg_dtype_bytes], out [count] */
void brg_dtype_widen(uint32_t dtype, size_t count, const void *bytes, float *out);

/* brg_dtype_narrow - the other way; returns how many finite numbers became infinite.
 * shape: x [count], bytes [count * brg_dtype_bytes] at any alignment */
size_t brg_dtype_narrow(uint32_t dtype, size_t count, const float *x, void *bytes);

#endif
