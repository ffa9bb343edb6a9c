/* prepare_text.h - all texts that files and folders stand for, joined in memory.
 *
 * Joined as prepare.h does: one line end between two texts unless the first ends in one; gzip files
 * unpacked. For what looks at a whole text at once: training a tokenizer, evaluating. */
#ifndef BRG_PREPARE_TEXT_H
#define BRG_PREPARE_TEXT_H

#include "model/data.h"

#define BRG_TEXT_BYTES_MAX (UINT64_C(1) << 30)

struct brg_text {
    uint8_t *bytes; /* one NUL behind the end */
    size_t size_bytes;
};

/* brg_text_gather - reads and joins.
 *
 * own:    out->bytes is the caller's: free(); NULL after an error
 * errors: those of brg_prepare_list_add and of base/file.h; BRG_EINVAL over BRG_TEXT_BYTES_MAX or
 *         empty; error->text says which */
BRG_CHECK int brg_text_gather(const char *const *inputs, uint32_t count, struct brg_text *out,
                              struct brg_data_error *error);

#endif
