/* openrun.h - the heavy half of a run that is under way: parameters, moments, gradient log,
 * checkpoints, data. What the machine in coordinator/core decides, this carries out.
 *
 *   shares of the units --decode--> gradient --log, fdatasync--> [commit record, by the reactor]
 *                                      '--apply--> parameters of the next version
 *   checkpoint: parameters, moments -> files         open: checkpoint + replay of the log
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
#include "model/data.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/sample.h"
#include "proto/bulk.h"

/* What the reactor knows of the run when it asks for it to be opened. */
struct brg_openrun_config {
    struct brg_run_config run;
    uint64_t id;
    const char *folder; /* of the run in the coordinator's state; borrowed until close */
    struct brg_pool *pool;
    uint64_t committed; /* last step in the store */
    /* Commit records first_record .. committed, from the third last checkpoint interval on or from
     * step 1. own: the run's after open, free() */
    struct brg_record_step *records;
    uint64_t first_record;
};

struct brg_openrun {
    struct brg_openrun_config config;    /* shared */
    struct brg_scheme *scheme;           /* shared; NULL until open */
    struct brg_data data;                /* shared */
    struct brg_source blob;              /* shared: the packed data set, for workers to fetch */
    uint64_t param_count;                /* shared */
    uint64_t targets;                    /* shared: samples or tokens that a step's gradient sums */
    char checkpoint_dir[BRG_PATH_BYTES]; /* shared */
    struct brg_sampler sampler;          /* shared */
    struct brg_gradlog *log;             /* NULL with durability checkpoint */
    struct brg_buffer *params;           /* of `version`; replaced, never written, by apply */
    float *moments;
    float *gradient; /* of the step decoded last */
    double norm;     /* of the mean gradient decoded last, before clipping */
    uint64_t version;
    uint64_t checkpoint;                /* that the run was restored from, 0 for none */
    struct brg_optimizer_report report; /* of the step applied last */
};

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

/* brg_openrun_decode - the full gradient sum of `step` from its shares, durable on return (with
 * durability step).
 *
 * out:    *entry: where it is in the log; its digest and count in any case
 * errors: BRG_EINVAL the sum is not finite: the run has diverged; BRG_EIO, BRG_ENOSPC: stop */
BRG_CHECK int brg_openrun_decode(struct brg_openrun *run, uint64_t step,
                                 const struct brg_openrun_shares *shares,
                                 struct brg_gradlog_entry *entry, struct brg_why *why);

/* brg_openrun_apply - one optimizer step with the gradient decoded last: version becomes `step`.
 * asserts: version == step - 1. errors: BRG_ENOMEM */
BRG_CHECK int brg_openrun_apply(struct brg_openrun *run, uint64_t step, struct brg_why *why);

/* brg_openrun_params_source - the present parameters as an object that workers can fetch.
 * own: *out is the caller's, brg_source_fini. errors: BRG_ENOMEM */
BRG_CHECK int brg_openrun_params_source(struct brg_openrun *run, struct brg_source *out);

/* brg_openrun_checkpoint - parameters and moments of the present version as files, durable on
 * return; out *digest of the parameters. errors: BRG_EIO, BRG_ENOSPC: stop */
BRG_CHECK int brg_openrun_checkpoint(struct brg_openrun *run, struct brg_digest *digest,
                                     struct brg_why *why);

/* brg_openrun_truncate - the log up to `step`, whose checkpoint is on record, may go; so may old
 * checkpoints beyond those to keep. errors: BRG_EIO */
BRG_CHECK int brg_openrun_truncate(struct brg_openrun *run, uint64_t step, struct brg_why *why);

/* brg_openrun_eval - the held-out loss of the present version, on at most `samples` samples.
 * errors: BRG_ENOMEM, BRG_EINVAL */
BRG_CHECK int brg_openrun_eval(const struct brg_openrun *run, uint64_t samples,
                               struct brg_model_sums *sums);

/* brg_openrun_task_chunks - samples or tokens that `chunk` holds. shared. */
uint64_t brg_openrun_chunk_targets(const struct brg_openrun *run, uint32_t chunk);

#endif
