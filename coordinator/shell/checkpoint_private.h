/* checkpoint_private.h - what the files of the checkpoint share; nobody else includes it. */
#ifndef BRG_CHECKPOINT_PRIVATE_H
#define BRG_CHECKPOINT_PRIVATE_H

#include "base/file.h"
#include "coordinator/shell/checkpoint.h"

#define BRG_CHECKPOINT_TENSOR_BYTES 128u /* header of a .bin file */
#define BRG_CHECKPOINT_MANIFEST_BYTES_MAX 65536u
#define BRG_CHECKPOINT_PATH_BYTES (BRG_FILE_PATH_BYTES + 64u)

enum brg_checkpoint_kind { BRG_CHECKPOINT_PARAMS = 1, BRG_CHECKPOINT_OPTIMIZER = 2 };

/* One .bin file, as the manifest describes it. */
struct brg_checkpoint_tensor {
    uint32_t kind;          /* enum brg_checkpoint_kind */
    uint32_t model, models; /* whose it is, of how many; models >= 1 */
    uint64_t run, step, elements;
    struct brg_digest digest; /* of the data */
};

#define BRG_CHECKPOINT_FILE_BYTES 32u /* name of such a file, with its NUL */

/* brg_checkpoint_tensor_of - the part of `c` that describes the file of that kind and model. */
struct brg_checkpoint_tensor brg_checkpoint_tensor_of(const struct brg_checkpoint *c, uint32_t kind,
                                                      uint32_t model);

/* brg_checkpoint_tensor_name - "params.bin" or "optimizer.bin"; "params-2.bin" where there are
 * several models. shape: out [BRG_CHECKPOINT_FILE_BYTES]; returns out */
const char *brg_checkpoint_tensor_name(const struct brg_checkpoint_tensor *t, char *out);

/* brg_checkpoint_tensor_write - the file, durable; t->digest is filled in. errors: of base/file.h
 */
BRG_CHECK int brg_checkpoint_tensor_write(const char *path, struct brg_checkpoint_tensor *t,
                                          const float *data, struct brg_why *why);

/* brg_checkpoint_tensor_peek - what the file says of itself, its header verified; models is 1.
 * errors: BRG_ENOENT; BRG_ECORRUPT the header is damaged; of base/file.h */
BRG_CHECK int brg_checkpoint_tensor_peek(const char *path, struct brg_checkpoint_tensor *t,
                                         struct brg_why *why);

/* brg_checkpoint_tensor_read - verifies size and header, and where data is not NULL reads and
 * verifies it: data [t->elements]. errors: BRG_ECORRUPT; of base/file.h */
BRG_CHECK int brg_checkpoint_tensor_read(const char *path, const struct brg_checkpoint_tensor *t,
                                         float *data, struct brg_why *why);

/* brg_checkpoint_manifest_write - manifest.json, durable; c->manifest is filled in.
 * errors: BRG_ENOMEM; of base/file.h */
BRG_CHECK int brg_checkpoint_manifest_write(const char *path, struct brg_checkpoint *c,
                                            struct brg_why *why);

/* brg_checkpoint_manifest_read - verifies the digest and reads every field.
 * errors: BRG_ECORRUPT; BRG_EINVAL another format; of base/file.h, BRG_ENOENT without a sentence */
BRG_CHECK int brg_checkpoint_manifest_read(const char *path, struct brg_checkpoint *c,
                                           struct brg_why *why);

/* How the checkpoints of one format are looked through. */
struct brg_checkpoint_look {
    const char *folder;
    uint64_t run;
    void *manifest; /* scratch of `read` */
    /* The manifest of a step. errors: BRG_ENOENT none; BRG_ECORRUPT damaged; of base/file.h */
    int (*read)(const struct brg_checkpoint_look *look, uint64_t step, struct brg_why *why);
};

/* brg_checkpoint_look - all checkpoints of the folder, by rising step.
 * shape: out items [BRG_CHECKPOINT_LIST_MAX]; errors: those of `read` and of the folder */
BRG_CHECK int brg_checkpoint_look(const struct brg_checkpoint_look *look,
                                  struct brg_checkpoint_item *items, uint32_t *count,
                                  struct brg_why *why);

/* brg_checkpoint_path - the folder of a checkpoint (file ""), or a file in it.
 * shape: out [BRG_CHECKPOINT_PATH_BYTES]; returns out */
const char *brg_checkpoint_path(const char *folder, uint64_t step, const char *file, char *out);

/* brg_checkpoint_insert - puts a checkpoint in its place, oldest first.
 * errors: BRG_EFULL BRG_CHECKPOINT_LIST_MAX are there */
BRG_CHECK int brg_checkpoint_insert(struct brg_checkpoint_item *items, uint32_t *count,
                                    uint64_t step, uint32_t state, struct brg_why *why);

/* brg_checkpoint_disk_error - the sentence for errno: which file, what failed, what to do. */
int brg_checkpoint_disk_error(const char *path, const char *doing, struct brg_why *why);

#endif
