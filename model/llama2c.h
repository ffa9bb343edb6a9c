/* llama2c.h - the .bin files of llama2.c: version 0, and version 1 to read.
 *
 *   v0  7 x i32 {dim, hidden, layers, heads, kv_heads, vocab, context}; vocab < 0: a head of its
 * own f32: embedding, all norm1, all q, all k, all v, all out, all norm2, all gate, all down, all
 *       up, norm, context * head_dim unused numbers, [head]
 *   v1  u32 0x616b3432, i32 1, the 7 numbers (vocab > 0), u8 tied, zeroes up to byte 256
 *       f32: all norm1, all norm2, norm, embedding, all q, k, v, out, gate, down, up, [head]
 *
 * q and k have their rotary pairs side by side (interleaved). The size of the file must be exactly
 * what the numbers say. norm_eps is 1e-5 and rope_theta 10000: the format has no place for others.
 */
#ifndef BRG_MODEL_LLAMA2C_H
#define BRG_MODEL_LLAMA2C_H

#include "base/why.h"
#include "model/spec.h"

#define BRG_LLAMA2C_HEADER_BYTES 28u /* of version 0 */
#define BRG_LLAMA2C_EPS 1e-5f
#define BRG_LLAMA2C_THETA 10000.0f

struct brg_llama2c {
    struct brg_model_spec spec;
    uint32_t version;      /* 0 or 1 */
    const uint8_t *floats; /* the first, at any alignment; inside the caller's bytes */
    uint64_t float_count;  /* up to the end of the file */
};

/* brg_llama2c_parse - checks the header and the size. The bytes must outlive `l`.
 * errors: BRG_ECORRUPT damaged, or another format; BRG_EINVAL a version or size that cannot be
 *         computed. *why says which */
BRG_CHECK int brg_llama2c_parse(const char *name, const uint8_t *bytes, size_t size_bytes,
                                struct brg_llama2c *l, struct brg_why *why);

/* brg_llama2c_place - where tensor `index` of Brigade's layout (model.h) begins, in floats.
 * version: 0 or 1 */
uint64_t brg_llama2c_place(const struct brg_model_spec *spec, uint32_t version, uint32_t index);

/* brg_llama2c_float_count - all floats of a file, the unused ones of version 0 among them. */
uint64_t brg_llama2c_float_count(const struct brg_model_spec *spec, uint32_t version);

/* brg_llama2c_header - of version 0. shape: out [7]
 * errors: BRG_EINVAL norm_eps, rope_theta or a rope scaling that the format cannot say */
BRG_CHECK int brg_llama2c_header(const struct brg_model_spec *spec, int32_t *out,
                                 struct brg_why *why);

#endif
