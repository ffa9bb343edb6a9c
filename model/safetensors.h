/* safetensors.h - the file format of tensors that Hugging Face's programs share.
 *
 *   0   u64  N, bytes of the header
 *   8   N    JSON {"name": {"dtype": "F32", "shape": [r, c], "data_offsets": [b, e]}, ...,
 *            "__metadata__": {"key": "text"}}, may end in blanks
 *   8+N      tensors, row-major, little-endian; offsets count from here
 *
 * A file is accepted only if its tensors, in the order of their offsets, cover the data from 0 to
 * the end of the file without a hole or an overlap, each with the bytes that its shape asks for; if
 * no name comes twice; and if the header begins with '{'. So every byte has one meaning.
 * A file once opened is read-only: any number of threads may read it. */
#ifndef BRG_MODEL_SAFETENSORS_H
#define BRG_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "base/why.h"
#include "model/dtype.h"

#define BRG_SAFETENSORS_DIMS_MAX 8u
#define BRG_SAFETENSORS_TENSORS_MAX 65536u
#define BRG_SAFETENSORS_HEADER_MAX (UINT32_C(16) << 20) /* the format allows 100 000 000 bytes */

struct brg_safetensor {
    const char *name;
    uint32_t dtype; /* enum brg_weight; OTHER: one of the format's that no model here uses */
    uint32_t dims;  /* 0: a single number */
    uint64_t shape[BRG_SAFETENSORS_DIMS_MAX];
    uint64_t begin; /* of its bytes, from the start of the data */
    uint64_t size_bytes;
    const uint8_t *data; /* at any alignment */
};

struct brg_safetensors {
    uint32_t count;
    struct brg_safetensor *tensors; /* [count], in the order of their bytes */
    void *header;                   /* what the names point into */
    struct brg_file_map map;        /* empty where the bytes are the caller's */
};

/* brg_safetensors_open - maps and checks the file `path`.
 *
 * own:    give it back with brg_safetensors_close; closed after an error
 * errors: BRG_ENOENT, BRG_EPERM, BRG_EIO, BRG_ENOMEM of the file; BRG_ECORRUPT it breaks a rule of
 *         the format; *why says which */
BRG_CHECK int brg_safetensors_open(const char *path, struct brg_safetensors *s,
                                   struct brg_why *why);

/* brg_safetensors_parse - the same on bytes that outlive `s`; name: for sentences. */
BRG_CHECK int brg_safetensors_parse(const char *name, const uint8_t *bytes, size_t size_bytes,
                                    struct brg_safetensors *s, struct brg_why *why);

/* brg_safetensors_find - the tensor of that name, or NULL. cost: O(count) */
const struct brg_safetensor *brg_safetensors_find(const struct brg_safetensors *s,
                                                  const char *name);

/* brg_safetensors_close - a zeroed or closed one is allowed. */
void brg_safetensors_close(struct brg_safetensors *s);

/* One tensor to be written; F32, F16 or BF16. */
struct brg_safetensors_entry {
    const char *name;
    uint32_t dtype, dims; /* dims 1 or 2 */
    uint64_t shape[2];
};

struct brg_safetensors_note {
    const char *key, *text; /* of __metadata__ */
};

/* brg_safetensors_header - the bytes before the data, for tensors that follow one behind the
 * other in this order. Blanks fill it up to a multiple of 8.
 *
 * own:    *out is the caller's: free()
 * errors: BRG_ENOMEM
 * asserts: no name comes twice is not asserted, but reading back finds it */
BRG_CHECK int brg_safetensors_header(const struct brg_safetensors_entry *entries, uint32_t count,
                                     const struct brg_safetensors_note *notes, uint32_t note_count,
                                     char **out, size_t *size_bytes);

#endif
