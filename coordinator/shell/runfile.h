/* runfile.h - the file that describes a run: read, checked, explained and written.
 *
 *   run.yaml ──read──► struct brg_run_config ──write──► the same in full, every default spelled out
 *                │                └─predict──► memory and traffic
 *                └──► struct brg_run_faults: every fault of the file, with line, key and advice
 *
 * One table of keys (runfile_table.c) drives reading, writing, explaining and docs/CONFIG.md.
 * Thread-safe as long as each thread has its own structs; nothing is kept between calls.
 * What is read is bounded: file size, nesting, nodes, faults. Aliases and tags are refused. */
#ifndef BRG_RUNFILE_H
#define BRG_RUNFILE_H

#include "base/why.h"
#include "coding/tuner.h"
#include "model/spec.h"
#include "recovery/ladder.h"

#define BRG_RUNFILE_BYTES_MAX (UINT32_C(1) << 20)
#define BRG_RUNFILE_DEPTH_MAX 4u     /* file, section, list; one to spare */
#define BRG_RUNFILE_EVENTS_MAX 8192u /* of the YAML parser: bounds nodes and work */
#define BRG_FAULTS_MAX 64u
#define BRG_FAULT_KEY_BYTES 64u
#define BRG_FAULT_TEXT_BYTES 384u
#define BRG_RUN_NAME_BYTES 64u /* with the NUL */

/* Numbers are stored with the run and never reused. */
enum brg_run_kind { BRG_RUN_KIND_CODED = 1, BRG_RUN_KIND_PIPELINE = 2 };
enum brg_durability { BRG_DURABILITY_STEP = 1, BRG_DURABILITY_CHECKPOINT = 2 };

/* How activations and their gradients cross a boundary between stages. */
enum brg_run_wire { BRG_RUN_WIRE_F32 = 0, BRG_RUN_WIRE_BF16 = 1, BRG_RUN_WIRE_INT8 = 2 };

#define BRG_RUN_SCHEME_AUTO 15u /* in `scheme`, beside the numbers of enum brg_code_kind */

struct brg_run_timeouts {
    uint64_t task_ns;           /* a unit not done after this is attempted elsewhere, too */
    uint64_t pull_ns;           /* a share asked for and not here after this is asked for again */
    uint64_t round_patience_ns; /* units a step still needs are re-attempted after this although
                                 * their workers live; 0: twice the fastest answer of the step */
};

/* kind pipeline; zeros in other runs. */
struct brg_run_pipeline {
    uint32_t stages;          /* 1 .. 64, at most the model's layers */
    uint32_t lanes;           /* `replicas`: holders of each stage, 1 .. 16 */
    uint32_t microbatches;    /* of a step, lanes .. 256; batch.chunks is the same */
    uint32_t wire;            /* enum brg_run_wire */
    uint64_t step_timeout_ns; /* 0: by the measured time of a step */
};

/* How a lost stage comes back: docs/RECOVERY.md. kind pipeline; zeros in other runs. */
struct brg_run_recovery {
    struct brg_ladder_config ladder;
    uint32_t shadow_every; /* steps in which a shadow or a parity is renewed; whether one is kept
                            * is said by brg_run_config_keeps_* */
    uint32_t shadow_moments, shadow_int8; /* 0 or 1 */
    uint32_t parity_group;                /* stages of a group; 0: no parity is kept */
    uint32_t exponent;                    /* of the gradients' norms in a mix of neighbours, 0..2 */
    uint32_t probe;                       /* 1: held-out samples choose among mix, copy and skip */
    uint32_t distil_steps;                /* after a mix of neighbours */
    float swap;                           /* share of swapped microbatches; only 0 runs live */
};

struct brg_run_checkpoint {
    uint64_t every_steps; /* of each model, >= 1; pipelines: 0 is by Young's formula */
    uint32_t keep;        /* >= 1 */
    uint32_t padding;
    char dir[BRG_PATH_BYTES]; /* empty: a folder of the run in the coordinator's store */
};

struct brg_run_eval {
    uint64_t every_steps; /* of each model; 0: never */
    uint64_t samples;     /* held-out samples looked at each time */
};

/* What the models of a run differ in, by model; [models], zeros behind. */
struct brg_run_sweep {
    uint64_t seed[BRG_MODELS_MAX];      /* of the first parameters */
    uint64_t data_seed[BRG_MODELS_MAX]; /* of the order of the data */
    float lr[BRG_MODELS_MAX];
};

/* A run, complete: every default is filled in. Flat, zero-padded, comparable by memcmp. */
struct brg_run_config {
    char name[BRG_RUN_NAME_BYTES];
    uint32_t kind;        /* enum brg_run_kind */
    uint32_t models;      /* trained in turn, 1 .. BRG_MODELS_MAX */
    uint32_t workers;     /* positions the code is laid out for; code.n. Pipelines: seats */
    uint32_t min_workers; /* steps begin once that many are there. Pipelines: stages */
    uint32_t durability;  /* enum brg_durability */
    uint32_t scheme;      /* enum brg_code_kind, or BRG_RUN_SCHEME_AUTO */
    uint32_t minimise;    /* enum brg_tuner_minimise where the scheme is auto, else 0 */
    uint32_t padding;
    uint64_t steps; /* of each model; optimizer.total_steps is the same */
    uint64_t seed;
    struct brg_run_sweep sweep;
    char model_from[BRG_PATH_BYTES]; /* the model that all start from; empty: seeds draw them */
    struct brg_model_spec model;
    struct brg_data_spec data;
    struct brg_batch_spec batch;
    struct brg_optimizer_spec optimizer;
    struct brg_code_spec code; /* auto: the one that the probing rounds use; pipelines: zeros */
    struct brg_run_pipeline pipeline;
    struct brg_run_recovery recovery;
    struct brg_run_timeouts timeouts;
    struct brg_run_checkpoint checkpoint;
    struct brg_run_eval eval;
};

/* One fault: what is wrong with the key and what to do. The text is one line of plain characters,
 * whatever the file holds. */
struct brg_run_fault {
    uint32_t line; /* from 1; 0: the file as a whole */
    uint32_t padding;
    char key[BRG_FAULT_KEY_BYTES]; /* "code.s"; empty: not a key's */
    char text[BRG_FAULT_TEXT_BYTES];
};

struct brg_run_faults {
    uint32_t count;    /* in the order of lines */
    uint32_t left_out; /* further ones beyond BRG_FAULTS_MAX */
    struct brg_run_fault items[BRG_FAULTS_MAX];
};

enum brg_runfile_flags {
    BRG_RUNFILE_OFFLINE = 0,     /* data files are not looked at; model.from only where sizes of
                                  * the model are left out */
    BRG_RUNFILE_CHECK_FILES = 1, /* data files and model.from must be there and readable */
};

/* brg_runfile_read - reads the run file `path`; relative data and checkpoint paths in it become
 * absolute, seen from its folder.
 *
 * units:  flags: enum brg_runfile_flags
 * own:    *out and *faults are the caller's; *out holds zeroes after an error
 * errors: BRG_EINVAL the file has faults; BRG_ENOENT, BRG_EPERM, BRG_EIO, BRG_ENOMEM it cannot be
 *         read. After each of them faults->count >= 1 */
BRG_CHECK int brg_runfile_read(const char *path, uint32_t flags, struct brg_run_config *out,
                               struct brg_run_faults *faults);

/* brg_runfile_parse - as brg_runfile_read, from memory.
 *
 * folder: absolute, what relative paths are seen from; NULL leaves them as they are
 * errors: BRG_EINVAL, BRG_ENOMEM */
BRG_CHECK int brg_runfile_parse(const char *text, size_t size_bytes, const char *folder,
                                uint32_t flags, struct brg_run_config *out,
                                struct brg_run_faults *faults);

/* brg_run_faults_print - one line each: "FILE:LINE: KEY: what is wrong, what to do". */
void brg_run_faults_print(const struct brg_run_faults *faults, const char *file, FILE *out);

/* brg_run_config_check - the ranges and rules of the table on a struct from elsewhere (the store).
 * own:    why, which may be NULL, gets the first fault
 * errors: BRG_EINVAL */
BRG_CHECK int brg_run_config_check(const struct brg_run_config *config, struct brg_why *why);

/* brg_run_config_steps - steps of all models together, as the machine counts them. */
static inline uint64_t brg_run_config_steps(const struct brg_run_config *config) {
    return config->steps * config->models;
}

/* brg_run_config_optimizer - the optimizer of `model`, with its own learning rate. */
struct brg_optimizer_spec brg_run_config_optimizer(const struct brg_run_config *config,
                                                   uint32_t model);

/* brg_run_config_write - the run as a run file with every key in it; reading it back gives the same
 * struct. errors: BRG_EIO `out` does not take it */
BRG_CHECK int brg_run_config_write(const struct brg_run_config *config, FILE *out);

/* brg_run_config_text - brg_run_config_write into memory.
 * own: *text, NUL-terminated, is the caller's: free(). errors: BRG_ENOMEM; *text is NULL */
BRG_CHECK int brg_run_config_text(const struct brg_run_config *config, char **text);

/* What a run will take, from formulas on the parameter count; estimates but for the counts. */
struct brg_run_prediction {
    uint64_t parameters;               /* numbers in the model, exact */
    uint64_t parameter_bytes;          /* 4 each */
    uint64_t worker_memory_bytes;      /* tensors of one worker */
    uint64_t coordinator_memory_bytes; /* tensors of the coordinator */
    uint64_t sent_bytes;               /* coordinator to all workers, each step */
    uint64_t received_bytes;           /* shares the code needs, each step */
    uint64_t log_bytes;                /* written and synced each step; 0: durability checkpoint */
    uint64_t checkpoint_bytes;         /* one checkpoint on disk, of all models */
    uint32_t units;                    /* shares that a step needs */
    uint32_t chunks_each;              /* most chunks that one worker computes in a round */
    uint32_t shares_each;              /* most shares that it returns in a round */
    uint32_t delay;                    /* rounds after its own in which a step is due at the latest:
                                        * 0 but for sequential codes */
};

/* brg_run_config_predict - for a config that passed brg_runfile_*. Saturates at UINT64_MAX. */
void brg_run_config_predict(const struct brg_run_config *config, struct brg_run_prediction *out);

/* What one stage of a pipeline takes: its holder, the link to the next stage, its keepers. */
struct brg_stage_prediction {
    uint64_t parameters; /* exact */
    uint32_t first_layer, layers;
    uint64_t memory_bytes;     /* of a holder: tensors, and what it keeps for others */
    uint64_t boundary_bytes;   /* one microbatch to the next stage, one way; 0: the last stage */
    uint64_t link_bytes;       /* between it and the next, both ways, of a step */
    uint64_t shadow_bytes;     /* to the keeper of its shadow, each step; 0: none is kept */
    uint64_t parity_bytes;     /* to the keeper of its group's parity, on average each step */
    uint64_t checkpoint_bytes; /* of its file */
    double bytes_per_token;    /* link_bytes over the tokens of a step */
};

/* brg_run_config_predict_stage - for a pipeline that passed brg_runfile_*.
 * asserts: stage < config->pipeline.stages */
void brg_run_config_predict_stage(const struct brg_run_config *config, uint32_t stage,
                                  struct brg_stage_prediction *out);

/* 1 where other workers keep a stale copy of each stage; a parity of each group of stages. */
int brg_run_config_keeps_shadows(const struct brg_run_config *config);
int brg_run_config_keeps_parity(const struct brg_run_config *config);

/* brg_run_config_restage - the same pipeline cut into `stages`; what follows from that anew.
 *
 * The number of microbatches stays, and with it every bit of the run.
 * errors: BRG_EINVAL no pipeline, or one that cannot be cut so: why has the sentence, *config is as
 *         it was; BRG_ENOMEM */
BRG_CHECK int brg_run_config_restage(struct brg_run_config *config, uint32_t stages,
                                     struct brg_why *why);

/* brg_run_config_explain - every key that applies, with its value, default and meaning, and the
 * prediction. errors: BRG_EIO `out` does not take it */
BRG_CHECK int brg_run_config_explain(const struct brg_run_config *config, FILE *out);

/* brg_runfile_reference - docs/CONFIG.md: all keys, whatever the run. errors: BRG_EIO */
BRG_CHECK int brg_runfile_reference(FILE *out);

#endif
