/* checkpoint.h - the whole state of a run after a step, as files.
 *
 * Thread rule: stateless; one thread at a time for one folder, in the coordinator a compute thread.
 *
 *   FOLDER/ckpt-0000000050/params.bin     parameters
 *                          optimizer.bin  optimizer state, moments one after the other
 *                          manifest.json  last: without it the checkpoint does not exist
 *
 * A run of several models has both files of each model, params-0.bin, params-1.bin and so on.
 *
 *   *.bin:  128 bytes (magic, version, kind, run, step, elements, digest of the data, model, digest
 *           of these), then float32, little-endian:  b2sum -l 256 <(tail -c +129 params.bin)
 *   manifest.json: the fields of struct brg_checkpoint, 64-bit numbers as decimal texts, all files
 *           with size and digest, and as its last member the digest of all bytes before it. Its
 *           format is 1, or 2 where there are several models
 *
 * Each file: written beside its name, fdatasync, rename, fsync of the folder. Deleting starts with
 * the manifest. So a crash at any point leaves a whole checkpoint or one without a manifest. */
#ifndef BRG_CHECKPOINT_H
#define BRG_CHECKPOINT_H

#include "base/digest.h"
#include "base/why.h"
#include "coding/spec.h"
#include "recovery/checkpoint_plan.h"

#define BRG_CHECKPOINT_FORMAT 1u        /* one model */
#define BRG_CHECKPOINT_FORMAT_MODELS 2u /* several */
#define BRG_CHECKPOINT_ELEMENTS_MAX (UINT64_C(1) << 33)
#define BRG_CHECKPOINT_NAME_BYTES 64u    /* with the closing NUL */
#define BRG_CHECKPOINT_MODEL_BYTES 4096u /* with the closing NUL */

/* What the manifest says. */
struct brg_checkpoint {
    uint64_t run, step;      /* from 1 */
    uint64_t optimizer_step; /* updates that the optimizer has made, of all models together */
    uint64_t data_position;  /* samples used so far */
    uint64_t seed;           /* of the run */
    uint64_t generator;      /* state of the run's generator (struct brg_prng) */
    uint64_t created_ns;     /* since 1970, UTC */
    uint64_t params_elements, optimizer_elements; /* of one model; optimizer: 0: has no state */
    uint32_t models;                              /* 1 .. BRG_MODELS_MAX; save takes 0 for 1 */
    uint32_t padding;
    struct brg_digest data;     /* of the data set */
    struct brg_digest manifest; /* its own; filled by save and read */
    struct brg_digest params[BRG_MODELS_MAX], optimizer[BRG_MODELS_MAX]; /* of the float32 data;
                                                                          * filled by save */
    char name[BRG_CHECKPOINT_NAME_BYTES];                                /* of the run */
    char model[BRG_CHECKPOINT_MODEL_BYTES]; /* specification as text, UTF-8 */
};

/* What a checkpoint holds of one model. */
struct brg_checkpoint_set {
    const float *params;    /* [c->params_elements] */
    const float *optimizer; /* [c->optimizer_elements] */
};

/* brg_checkpoint_save_models - writes a checkpoint; durable on return.
 *
 * shape:  sets [c->models]
 *         c: the digests of files are filled in
 * errors: all with a sentence in `why` (NULL allowed)
 *         BRG_EEXIST a valid one of this step is there; untouched
 *         BRG_EINVAL run or step 0, elements or models out of range, a text without its NUL
 *         BRG_ENOSPC, BRG_EPERM, BRG_EIO, BRG_ENOMEM: what is left has no manifest
 * cost:   one BLAKE2b pass, one write, 2 * models + 1 fsyncs of files */
BRG_CHECK int brg_checkpoint_save_models(const char *folder, struct brg_checkpoint *c,
                                         const struct brg_checkpoint_set *sets,
                                         struct brg_why *why);

/* brg_checkpoint_save - the same for one model: c->models is set to 1. */
BRG_CHECK int brg_checkpoint_save(const char *folder, struct brg_checkpoint *c, const float *params,
                                  const float *optimizer, struct brg_why *why);

/* brg_checkpoint_read - the manifest of the checkpoint of `step`, verified, and all files' sizes
 * and headers; no data is read.
 *
 * errors: BRG_ENOENT no manifest; BRG_ECORRUPT a file does not verify, the sentence names it;
 *         BRG_EINVAL of another run, or of a newer format; BRG_EIO, BRG_EPERM, BRG_ENOMEM */
BRG_CHECK int brg_checkpoint_read(const char *folder, uint64_t run, uint64_t step,
                                  struct brg_checkpoint *c, struct brg_why *why);

/* brg_checkpoint_load_model - parameters and optimizer state of `model` in a checkpoint that was
 * read into `c`.
 *
 * shape:  out: params [c->params_elements], optimizer [c->optimizer_elements], NULL: not wanted;
 *         undefined after an error
 * errors: BRG_ECORRUPT a file does not verify, the sentence names it; BRG_EIO and others
 * asserts: model < c->models */
BRG_CHECK int brg_checkpoint_load_model(const char *folder, const struct brg_checkpoint *c,
                                        uint32_t model, float *params, float *optimizer,
                                        struct brg_why *why);

/* brg_checkpoint_load - the same of model 0: the only one there is in most runs. */
BRG_CHECK int brg_checkpoint_load(const char *folder, const struct brg_checkpoint *c, float *params,
                                  float *optimizer, struct brg_why *why);

/* brg_checkpoint_list - the checkpoints in `folder`, oldest first, each as brg_checkpoint_read
 * finds it. A folder that is not there holds none.
 *
 * shape:  items [BRG_CHECKPOINT_LIST_MAX], *count of them are filled
 * errors: BRG_EFULL more than that; BRG_EINVAL one is of another run or a newer format;
 *         BRG_EIO, BRG_EPERM, BRG_ENOMEM */
BRG_CHECK int brg_checkpoint_list(const char *folder, uint64_t run,
                                  struct brg_checkpoint_item *items, uint32_t *count,
                                  struct brg_why *why);

/* brg_checkpoint_delete - removes the checkpoint of `step`, its manifest first. One that is not
 * there is success. errors: BRG_EIO, BRG_EPERM */
BRG_CHECK int brg_checkpoint_delete(const char *folder, uint64_t step, struct brg_why *why);

#endif
