/* openrun.h - the heavy half of a run that is under way: parameters, moments, gradient log,
 * checkpoints, data. What the machine in coordinator/core decides, this carries out.
 *
 *   shares of the units --decode--> gradient --log, fdatasync--> [commit record, by the reactor]
 *                                      '--apply--> parameters of the next version
 *   checkpoint: parameters, moments -> files         open: checkpoint + replay of the log
 *
 * Models take turns: step s of the run is a step of model (s - 1) % models. *Version* v is the
 * parameters that step v + 1 starts from: of model v % models, after step v + 1 - models or, where
 * that is below 1, as they were drawn from the seed. So each version has one name in the whole run,
 * and with steps up to `applied` made, versions applied .. applied + models - 1 are at hand.
 *
 * Of a pipeline run this has the data and the files only: its parameters lie with its workers.
 *
 * Thread rule: everything here is the compute thread's, but for what is marked `shared`, which is
 * constant from open to close. Errors carry a sentence; where the disk failed the process stops. */
#ifndef BRG_OPENRUN_H
#define BRG_OPENRUN_H

#include "base/bits.h"
#include "base/pool.h"
#include "coding/scheme.h"
#include "coordinator/shell/gradlog.h"
#include "coordinator/shell/records.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/start.h"
#include "model/data.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/sample.h"
#include "proto/bulk.h"

/* What the reactor knows of the run when it asks for it to be opened. */
struct brg_openrun_config {
    struct brg_run_config run;
    uint64_t id;
    struct brg_code_spec code; /* in force after `committed`; run.code unless it was switched */
    const char *folder;        /* of the run in the coordinator's state; borrowed until close */
    struct brg_pool *pool;
    uint64_t committed; /* last step in the store */
    /* Commit records first_record .. committed, from the third last checkpoint interval on or from
     * step 1. own: the run's after open, free() */
    struct brg_record_step *records;
    uint64_t first_record;
    struct brg_start start; /* as the store knows it */
    uint64_t checkpoint;    /* pipelines: the newest on record; later ones are of no history */
};

/* What a run has for each of its models. */
struct brg_openrun_model {
    struct brg_buffer *params; /* replaced, never written, by apply */
    float *moments;
    struct brg_optimizer_spec optimizer; /* with the model's learning rate */
};

struct brg_openrun {
    struct brg_openrun_config config;    /* shared */
    struct brg_scheme *scheme;           /* shared: for config.code; whoever opened may take it */
    struct brg_data data;                /* shared */
    struct brg_source blob;              /* shared: the packed data set, for workers to fetch */
    uint64_t param_count;                /* shared */
    struct brg_start start;              /* shared: what the run began with */
    uint64_t targets;                    /* shared: samples or tokens that a step's gradient sums */
    char checkpoint_dir[BRG_PATH_BYTES]; /* shared */
    struct brg_sampler sampler;          /* shared */
    struct brg_gradlog *log;             /* NULL with durability checkpoint */
    struct brg_openrun_model models[BRG_MODELS_MAX]; /* [config.run.models] */
    float *gradient;                                 /* of the step decoded last */
    double norm;                        /* of the mean gradient decoded last, before clipping */
    uint64_t applied;                   /* the last step whose gradient is in its model */
    uint64_t checkpoint;                /* that the run was restored from, 0 for none */
    uint64_t checkpoint_generation;     /* pipelines: of its manifest */
    struct brg_optimizer_report report; /* of the step applied last */
};

/* brg_scheme_new - the code in memory of its own.
 * own: *out is the caller's, free(); NULL after an error. errors: those of brg_scheme_init, and
 * BRG_ENOMEM; with the sentence. cost: that of brg_scheme_init, up to seconds for cyclic codes */
BRG_CHECK int brg_scheme_new(const struct brg_code_spec *code, struct brg_scheme **out,
                             struct brg_why *why);

/* brg_openrun_open - restores the run up to config->committed: newest checkpoint, then the log.
 *
 * own:    *out is the caller's, brg_openrun_close; NULL after an error. Takes config->records
 * errors: with a sentence: the data set cannot be read or does not fit the model (BRG_EINVAL,
 *         BRG_ENOENT), a checkpoint or the log is damaged (BRG_ECORRUPT), the store is behind the
 *         log (BRG_EBEHIND), BRG_ENOMEM, BRG_EIO, BRG_ENOSPC
 * cost:   reads the checkpoint and replays committed - checkpoint optimizer steps */
BRG_CHECK int brg_openrun_open(const struct brg_openrun_config *config, struct brg_openrun **out,
                               struct brg_why *why);
void brg_openrun_close(struct brg_openrun **run);

/* The shares of the units in `held`, buffers [unit_count] with NULL where there is none. */
struct brg_openrun_shares {
    struct brg_bits held;
    struct brg_buffer *buffers[BRG_SCHEME_UNITS_MAX];
};

/* brg_openrun_decode - the full gradient sum of `step` from its shares by `scheme`, durable on
 * return (with durability step).
 *
 * out:    *entry: where it is in the log; its digest and count in any case
 * errors: BRG_EINVAL the sum is not finite: the run has diverged; BRG_EIO, BRG_ENOSPC: stop */
BRG_CHECK int brg_openrun_decode(struct brg_openrun *run, const struct brg_scheme *scheme,
                                 uint64_t step, const struct brg_openrun_shares *shares,
                                 struct brg_gradlog_entry *entry, struct brg_why *why);

/* brg_openrun_apply - one optimizer step of the model whose turn it is, with the gradient decoded
 * last: `applied` becomes `step`, and version step + models - 1 is at hand.
 * asserts: applied == step - 1. errors: BRG_ENOMEM */
BRG_CHECK int brg_openrun_apply(struct brg_openrun *run, uint64_t step, struct brg_why *why);

/* brg_openrun_params_source - a version of the parameters as an object that workers can fetch.
 * own: *out is the caller's, brg_source_fini. errors: BRG_ENOMEM
 * asserts: the version is at hand */
BRG_CHECK int brg_openrun_params_source(struct brg_openrun *run, uint64_t version,
                                        struct brg_source *out);

/* brg_openrun_checkpoint - parameters and moments of all models after step `applied` as files,
 * durable on return; out digests [models] of the parameters. errors: BRG_EIO, BRG_ENOSPC: stop */
BRG_CHECK int brg_openrun_checkpoint(struct brg_openrun *run, struct brg_digest *digests,
                                     struct brg_why *why);

/* brg_openrun_snapshot - the parameters of `model` as they are now in a file like start.bin,
 * durable on return; its step is that of the run which changed them last. Snapshots that nobody
 * fetched within an hour go.
 *
 * path:   in the run's folder, its name beginning with "snapshot-"
 * errors: BRG_ENOSPC, BRG_EIO; nothing is left at `path` then */
BRG_CHECK int brg_openrun_snapshot(struct brg_openrun *run, uint32_t model, const char *path,
                                   uint64_t *step, struct brg_why *why);

/* brg_openrun_truncate - the log up to `step`, whose checkpoint is on record, may go; so may old
 * checkpoints beyond those to keep. errors: BRG_EIO */
BRG_CHECK int brg_openrun_truncate(struct brg_openrun *run, uint64_t step, struct brg_why *why);

/* brg_openrun_eval - the held-out loss of `model` as it is now, on at most `samples` samples.
 * errors: BRG_ENOMEM, BRG_EINVAL. asserts: the run has such a model */
BRG_CHECK int brg_openrun_eval(const struct brg_openrun *run, uint32_t model, uint64_t samples,
                               struct brg_model_sums *sums);

/* brg_openrun_eval_files - the same of a pipeline, from its checkpoint of `step`: nobody here holds
 * its parameters. errors: as brg_shards_open; BRG_ENOMEM */
BRG_CHECK int brg_openrun_eval_files(const struct brg_openrun *run, uint64_t step, uint64_t samples,
                                     struct brg_model_sums *sums);

/* brg_openrun_task_chunks - samples or tokens that `chunk` holds. shared. */
uint64_t brg_openrun_chunk_targets(const struct brg_openrun *run, uint32_t chunk);

#endif
