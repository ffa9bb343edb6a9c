/* start.h - what a run begins with, copied into its folder when it is opened first: from then on
 * it does not depend on the operator's files any more.
 *
 *   model.from ──► start.bin                         parameters of version 0, of all models
 *   PREFIX.json beside data.train, model.from ──► tokenizer.json, or tokenizer.bin for pieces with
 *                                                 scores, which the other cannot say
 *
 * The digests of both are kept in the store: a restart refuses other bytes. start.bin is laid out
 * as the params.bin of a checkpoint (checkpoint.h) with step 0.
 * Thread rule: the compute thread's; brg_start_read and brg_start_tokenizer_open anybody's. */
#ifndef BRG_START_H
#define BRG_START_H

#include "base/digest.h"
#include "coordinator/shell/runfile.h"
struct brg_tokenizer; /* its header has a struct brg_token, and so has the core */

/* Zeros: there is none, or it is not known yet. */
struct brg_start {
    struct brg_digest params;    /* of the float32 data of start.bin */
    struct brg_digest tokenizer; /* brg_tokenizer_digest */
};

/* A run's folder, and whose it is. */
struct brg_start_place {
    const char *folder;
    uint64_t run;
};

/* brg_start_params - version 0 of a run with model.from: out of start.bin, or out of the model,
 * which is then copied there.
 *
 * shape:  params [brg_model_param_count(&config->model)]
 *         start: in: as the store knows it; out: params is filled in
 * errors: with a sentence: BRG_EINVAL the model cannot be read, or is not the one that was
 *         submitted; BRG_ECORRUPT neither start.bin nor the model holds the bytes that the run
 *         began with; BRG_ENOSPC, BRG_EIO start.bin cannot be written */
BRG_CHECK int brg_start_params(const struct brg_start_place *at,
                               const struct brg_run_config *config, struct brg_start *start,
                               float *params, struct brg_why *why);

/* brg_start_tokenizer - finds the run's tokenizer and copies it into the folder; start->tokenizer
 * stays as it is where there is none.
 *
 * errors: BRG_EINVAL data and model were made with different ones, or it has more tokens than the
 *         model; BRG_ECORRUPT the copy is not the one that the store knows; BRG_ENOSPC, BRG_EIO */
BRG_CHECK int brg_start_tokenizer(const struct brg_start_place *at,
                                  const struct brg_run_config *config, struct brg_start *start,
                                  struct brg_why *why);

/* brg_start_tokenizer_open - the tokenizer in a run's folder.
 * own: *out is the caller's. errors: BRG_ENOENT there is none; else as brg_tokenizer_open */
BRG_CHECK int brg_start_tokenizer_open(const char *folder, struct brg_tokenizer **out,
                                       struct brg_why *why);

/* brg_start_read - the parameters in start.bin or in a snapshot.
 *
 * shape:  params [elements]; NULL: only the header is read
 *         *step: out
 * errors: BRG_ENOENT; BRG_ECORRUPT damaged, or of another run or size; BRG_EIO */
BRG_CHECK int brg_start_read(const char *path, uint64_t run, uint64_t elements, float *params,
                             uint64_t *step, struct brg_why *why);

#endif
