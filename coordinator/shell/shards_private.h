/* shards_private.h - what the files of the sharded checkpoint share; nobody else includes it.
 *
 * Data of a stage's file: 1 + moments vectors of `params` floats, one behind the other, each in the
 * order of the whole vector. So a float of the whole vector has one place in it, whatever tensor
 * it belongs to, and cutting anew is copying ranges. */
#ifndef BRG_SHARDS_PRIVATE_H
#define BRG_SHARDS_PRIVATE_H

#include "coordinator/shell/checkpoint_private.h"
#include "coordinator/shell/shards.h"

#define BRG_SHARDS_FILE_BYTES 48u /* name of a file, with its NUL */
#define BRG_SHARDS_MANIFEST "manifest.json"

/* All that the manifest says. */
struct brg_shards_manifest {
    struct brg_shards_about about;
    struct brg_shards_stage stages[BRG_STAGES_MAX]; /* [about.stages] */
};

/* brg_shards_file_path - where the file of `stage` lies.
 * shape: out [BRG_CHECKPOINT_PATH_BYTES]; returns out */
const char *brg_shards_file_path(const char *folder, const struct brg_shards_manifest *m,
                                 uint32_t stage, char *out);

/* brg_shards_file_name - shape: out [BRG_SHARDS_FILE_BYTES]; returns out */
const char *brg_shards_file_name(uint32_t stage, uint32_t stages, char *out);

/* ---- the manifest ---- */

/* brg_shards_manifest_write - durable; m->about.manifest is filled in. errors: BRG_ENOMEM; of
 * base/file.h */
BRG_CHECK int brg_shards_manifest_write(const char *folder, struct brg_shards_manifest *m,
                                        struct brg_why *why);

/* brg_shards_manifest_read - the manifest of `step`, verified, and the sizes of its files.
 * errors: BRG_ENOENT, BRG_ECORRUPT, BRG_EINVAL of another run or format; of base/file.h */
BRG_CHECK int brg_shards_manifest_read(const char *folder, uint64_t run, uint64_t step,
                                       struct brg_shards_manifest *m, struct brg_why *why);

/* ---- the file of a stage ---- */

/* One file under way. */
struct brg_shards_file {
    struct brg_file_writer writer;
    struct brg_hasher hasher;
};

/* brg_shards_file_begin - opens the file of `stage` beside its name and writes its header.
 * own: brg_shards_file_end or _abort, also after an error */
BRG_CHECK int brg_shards_file_begin(const char *folder, const struct brg_model_spec *model,
                                    const struct brg_shards_manifest *m, uint32_t stage,
                                    struct brg_shards_file *f, struct brg_why *why);

BRG_CHECK int brg_shards_file_add(struct brg_shards_file *f, const void *data, uint64_t size_bytes,
                                  struct brg_why *why);

/* brg_shards_file_end - durable; size and digest into *out. */
BRG_CHECK int brg_shards_file_end(struct brg_shards_file *f, struct brg_shards_stage *out,
                                  struct brg_why *why);

/* brg_shards_file_map - maps the file of `stage` and verifies every byte of it.
 *
 * out:    *data: the first vector in it
 * own:    *map is the caller's; empty after an error
 * errors: BRG_ECORRUPT; BRG_EINVAL its tensors are not the model's */
BRG_CHECK int brg_shards_file_map(const char *folder, const struct brg_model_spec *model,
                                  const struct brg_shards_manifest *m, uint32_t stage,
                                  struct brg_file_map *map, const uint8_t **data,
                                  struct brg_why *why);

/* ---- the writer ---- */

struct brg_shards_writer {
    char folder[BRG_FILE_PATH_BYTES];
    struct brg_model_spec model;
    struct brg_shards_manifest manifest;
    uint8_t has[BRG_STAGES_MAX];
};

#endif
