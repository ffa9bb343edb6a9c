/* export_private.h - what the writers of the formats share; nobody else includes it. */
#ifndef BRG_MODEL_EXPORT_PRIVATE_H
#define BRG_MODEL_EXPORT_PRIVATE_H

#include "base/file.h"
#include "model/dtype.h"
#include "model/export.h"
#include "model/import_layout.h"

/* An export under way, with buffers for the largest tensor. */
struct brg_export_job {
    const struct brg_export *e;
    struct brg_why *why;
    uint32_t count;    /* tensors of the layout */
    float *x, *turned; /* [largest tensor] */
    uint8_t *bytes;    /* [largest tensor * 4] */
    struct brg_file_writer writer;
};

/* brg_export_append - fetches tensor `index`, turns its rows into pairs where `to_pairs`, and
 * appends it as `dtype`. errors: of the source; BRG_EINVAL a number is too large or not finite; of
 * base/file.h */
BRG_CHECK int brg_export_append(struct brg_export_job *j, uint32_t index, uint32_t dtype,
                                int to_pairs);

/* brg_export_bytes - appends bytes. errors: of base/file.h, with the sentence */
BRG_CHECK int brg_export_bytes(struct brg_export_job *j, const void *bytes, size_t size_bytes);

/* brg_export_open, brg_export_commit - the writer of j, with the sentence. */
BRG_CHECK int brg_export_open(struct brg_export_job *j, const char *path);
BRG_CHECK int brg_export_commit(struct brg_export_job *j);

/* brg_export_file - a whole small file. */
BRG_CHECK int brg_export_file(struct brg_export_job *j, const char *path, const void *bytes,
                              size_t size_bytes);

BRG_CHECK int brg_export_hf(struct brg_export_job *j);
BRG_CHECK int brg_export_gguf(struct brg_export_job *j);
BRG_CHECK int brg_export_llama2c(struct brg_export_job *j);

/* The notes as pairs of texts. */
#define BRG_EXPORT_NOTES_MAX 8u

struct brg_export_note {
    const char *key;
    char text[160];
};

/* brg_export_notes_of - returns how many; shape: out [BRG_EXPORT_NOTES_MAX] */
uint32_t brg_export_notes_of(const struct brg_export *e, struct brg_export_note *out);

#endif
