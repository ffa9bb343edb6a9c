/* model_load.h - a model for the verbs that use one: from an export, or from a run's checkpoint.
 *
 *   --model PATH                                  a Hugging Face folder, .gguf, .bin
 *   --checkpoint DIR --run-file RUN.yaml          one checkpoint, with the run file for its sizes
 *   --run RUN [--state DIR] [--step N]            a run as it is now, while its coordinator works
 *                                                 or not (cli/model_run.h), or that checkpoint
 * With the last two, --model K is one model of several.
 * One thread. */
#ifndef BRG_CLI_MODEL_LOAD_H
#define BRG_CLI_MODEL_LOAD_H

#include "cli/cli.h"
#include "model/export.h"

#define BRG_CLI_RUN_NAME_BYTES 64u

struct brg_cli_model {
    struct brg_model_spec spec;
    float *params; /* [brg_model_param_count] */
    struct brg_tokenizer *tokenizer;
    char run[BRG_CLI_RUN_NAME_BYTES]; /* "" for an export */
    uint64_t step;
    char folder[BRG_CLI_PATH_BYTES + 64];   /* where a run's tokenizer may lie; "": nowhere */
    char data_digest[BRG_DIGEST_HEX_BYTES]; /* "" where it is not known */
};

#define BRG_CLI_MODEL_FLAGS                                                                        \
    {.name = "model",                                                                              \
     .value = "PATH",                                                                              \
     .text = "A model: a Hugging Face folder, a GGUF file (f32, f16, bf16) or a .bin of "          \
             "llama2.c. With --run or --checkpoint: which model of several, from 0."},             \
        {.name = "checkpoint",                                                                     \
         .value = "DIR",                                                                           \
         .text = "A checkpoint folder of a run (ckpt-0000000050), with --run-file."},              \
        {.name = "run-file", .value = "RUN.yaml", .text = "The run file of --checkpoint."},        \
        {.name = "run",                                                                            \
         .value = "RUN",                                                                           \
         .text =                                                                                   \
             "A run of the coordinator in --state, by number or name: as it is at this moment "    \
             "if it is being trained, else its newest checkpoint."},                               \
        {.name = "step", .value = "N", .text = "With --run: the checkpoint of that step."}, {      \
        .name = "tokenizer", .value = "FILE",                                                      \
        .text =                                                                                    \
            "tokenizer.json, tokenizer.bin, or 'bytes'. Default: what came with the model, or "    \
            "with the run's data; bytes for a vocabulary of 256."                                  \
    }
#define BRG_CLI_MODEL_FLAG_COUNT 6u

/* brg_cli_model_load - the model that the flags name, with its tokenizer (NULL for a classifier).
 *
 * own:     give it back with brg_cli_model_free, also after a failure
 * returns: BRG_CLI_GO, or the exit code to leave with, after a sentence */
BRG_CHECK int brg_cli_model_load(const struct brg_cli_args *args, struct brg_cli_model *out);

void brg_cli_model_free(struct brg_cli_model *m);

#endif
