/* model_run.h - the parameters of a run, wherever they are at the moment.
 *
 *   the store is free                     the newest (or that) checkpoint on disk, or start.bin
 *   a coordinator has it, the run open    it writes a snapshot of the present version: `snapshot`
 *   a coordinator has it, the run not     as above, as the coordinator describes the run
 *   a pipeline run, open or not           its newest (or that) checkpoint: nobody holds the whole
 * One thread. */
#ifndef BRG_CLI_MODEL_RUN_H
#define BRG_CLI_MODEL_RUN_H

#include "cli/model_load.h"

/* brg_cli_model_run - what --run names (a number or a name), with --model of several and --step:
 * spec, params, run, step, data_digest, and where its tokenizer lies.
 *
 * own:     as brg_cli_model_load, whose part this is
 * returns: BRG_CLI_GO, or the exit code to leave with, after a sentence */
BRG_CHECK int brg_cli_model_run(const struct brg_cli_args *args, struct brg_cli_model *out);

/* A checkpoint's place: FOLDER/ckpt-STEP of run `run`. */
struct brg_cli_place {
    char folder[BRG_CLI_PATH_BYTES + 64];
    uint64_t run, step;
    uint32_t kind;   /* enum brg_run_kind: which sort of checkpoint lies there */
    uint32_t newest; /* pipelines: 1: the newest whole one, whatever step says */
};

/* brg_cli_model_checkpoint - spec is there; params and the rest from the checkpoint.
 * returns: as above */
BRG_CHECK int brg_cli_model_checkpoint(const struct brg_cli_args *args,
                                       const struct brg_cli_place *at, uint32_t model,
                                       struct brg_cli_model *out);

/* brg_cli_model_shards - the same of a pipeline run; damaged ones are named and passed over where
 * the newest is asked for. */
BRG_CHECK int brg_cli_model_shards(const struct brg_cli_args *args, const struct brg_cli_place *at,
                                   struct brg_cli_model *out);

#endif
