/* shards.h - the whole state of a pipeline run after a step, one file for each stage.
 *
 *   FOLDER/ckpt-0000000050/stage-000-of-006.safetensors   ... stage-005-of-006.safetensors
 *                          manifest.json   last: without it the checkpoint does not exist
 *
 *   stage-*.safetensors: the stage's tensors under Hugging Face's names, float32, in the order of
 *       model.h; then optimizer.m.<name> of all, then optimizer.v.<name> of all, as many as the
 *       optimizer has. __metadata__ says run, step, stage and what belongs to the state of a stage
 *   manifest.json: the fields of struct brg_shards_about and of each stage, 64-bit numbers as
 *       decimal texts, each file with size and digest (b2sum -l 256), last the digest of all bytes
 *       before it. Its format is 3; 1 and 2 are those of checkpoint.h
 *
 *   writer:  begin -> put(stage) in any order, each durable -> finish: the manifest -> durable
 *   reader:  open or newest: every byte is verified -> the state of a stage of *any* cut, a tensor,
 *            or the whole vector. Cut anew, weights and moments are the same bits
 *
 * The workers make the states, the coordinator writes them: workers on strange machines share no
 * disk (docs/DECISIONS.md). A crash at any point leaves a whole checkpoint or one without a
 * manifest, which nobody reads. Step 0 is what the run begins with, without moments.
 *
 * Neither writing nor reading needs more memory than one stage; files are mapped.
 *
 * Thread rule: one thread at a time for one writer, one folder; the compute thread in the
 * coordinator. An open reader is read-only: any number of threads. Errors carry a sentence (`why`
 * may be NULL): BRG_ENOSPC, BRG_EIO, BRG_EPERM: the disk; BRG_ENOMEM. */
#ifndef BRG_SHARDS_H
#define BRG_SHARDS_H

#include "base/digest.h"
#include "base/why.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/start.h"
#include "model/stage.h"
#include "recovery/checkpoint_plan.h"

#define BRG_SHARDS_FORMAT 3u
#define BRG_SHARDS_NAME_BYTES 64u
#define BRG_SHARDS_MOMENTS_MAX 2u

/* What the manifest says of the whole. */
struct brg_shards_about {
    uint64_t run, step;         /* run from 1 */
    uint64_t generation;        /* in which the step was committed; 0 for step 0 */
    uint64_t created_ns;        /* since 1970, UTC; 0: begin asks the clock */
    uint64_t seed;              /* of the run */
    struct brg_digest data;     /* of the data set */
    struct brg_digest manifest; /* its own; filled by finish and open */
    uint32_t stages;
    uint32_t moments;    /* vectors a parameter: brg_optimizer_state_count(optimizer, 1);
                          * 0 for step 0 */
    double beta1, beta2; /* of AdamW, else 0 */
    char name[BRG_SHARDS_NAME_BYTES]; /* of the run */
};

/* brg_shards_describe - about of `step` of a run: all but generation, created_ns and data. */
struct brg_shards_about brg_shards_describe(const struct brg_run_config *config, uint64_t run,
                                            uint64_t step, uint32_t stages);

/* What belongs to a stage's state beside its vectors (recovery/state.h). */
struct brg_shards_stage {
    uint64_t lineage;
    uint64_t own_step;   /* of the optimizer, since the moments were zero */
    uint64_t lr_version; /* when lr_factor was in force */
    double lr_factor;
    uint64_t offset, params;  /* of the whole vector */
    uint64_t bytes;           /* of the file */
    struct brg_digest digest; /* of the file */
};

/* ---- writing ---- */

struct brg_shards_writer;

/* brg_shards_begin - starts the checkpoint of about->step. What a crash left of it goes, and a
 * whole one of another generation, whose history was rolled back, too.
 *
 * shape:  model: of the run, as brg_model_check passed it
 * own:    *out is the caller's, brg_shards_abort; NULL after an error
 * errors: BRG_EEXIST a whole one of this generation is there: nothing to do, untouched;
 *         BRG_EINVAL a number is out of range, or the model cannot be cut so */
BRG_CHECK int brg_shards_begin(const char *folder, const struct brg_model_spec *model,
                               const struct brg_shards_about *about, struct brg_shards_writer **out,
                               struct brg_why *why);

/* brg_shards_put - writes the file of `stage` from its state, durable on return. A stage that is
 * put once more is replaced.
 *
 * shape:  blob [size_bytes] as recovery/state.h says, weights and the run's moments
 * errors: BRG_EPROTO it is no such state, or of another step or size: the worker's fault
 * cost:   one BLAKE2b pass, one write, two fsyncs */
BRG_CHECK int brg_shards_put(struct brg_shards_writer *w, uint32_t stage, const void *blob,
                             uint64_t size_bytes, struct brg_why *why);

/* brg_shards_has - 1 where `stage` was put. */
int brg_shards_has(const struct brg_shards_writer *w, uint32_t stage);

/* brg_shards_finish - writes the manifest, durable on return; *about (may be NULL) as stored.
 * asserts: every stage was put */
BRG_CHECK int brg_shards_finish(struct brg_shards_writer *w, struct brg_shards_about *about,
                                struct brg_why *why);

/* brg_shards_abort - lets go of the writer, finished or not; NULL allowed. Files of a checkpoint
 * that has no manifest are removed by the next begin of the step, or by tidy. */
void brg_shards_abort(struct brg_shards_writer **w);

/* brg_shards_start - makes sure that the checkpoint of step 0 is there: from the seed, or from
 * model.from. Tensor by tensor.
 *
 * shape:  about: of step 0; start: in: as the store knows it; out: params is filled in, the
 *         digest of all parameters as float32
 * errors: BRG_EINVAL model.from cannot be read, or is another model than was submitted;
 *         BRG_ECORRUPT it does not hold the parameters that the run began with any more
 * cost:   where it is there: reads it once */
BRG_CHECK int brg_shards_start(const char *folder, const struct brg_run_config *config,
                               const struct brg_shards_about *about, struct brg_start *start,
                               struct brg_why *why);

/* ---- reading ---- */

struct brg_shards;

/* brg_shards_open - the checkpoint of `step`, every byte verified against its manifest.
 *
 * own:    *out is the caller's, brg_shards_close; NULL after an error. Its files stay mapped
 * errors: BRG_ENOENT no manifest; BRG_ECORRUPT a file is missing, torn or damaged, the sentence
 *         names it; BRG_EINVAL of another run or model, or of another format
 * cost:   one BLAKE2b pass */
BRG_CHECK int brg_shards_open(const char *folder, const struct brg_model_spec *model, uint64_t run,
                              uint64_t step, struct brg_shards **out, struct brg_why *why);

/* brg_shards_newest - the newest whole one of a step of at most `at_most`; damaged ones are named
 * in the log and passed over.
 * errors: BRG_ENOENT there is none, *why names the last one that was passed over; as
 *         brg_shards_open for what concerns all of them */
BRG_CHECK int brg_shards_newest(const char *folder, const struct brg_model_spec *model,
                                uint64_t run, uint64_t at_most, struct brg_shards **out,
                                struct brg_why *why);

void brg_shards_close(struct brg_shards **s);

const struct brg_shards_about *brg_shards_about_of(const struct brg_shards *s);

/* brg_shards_stage_of - what was stored of `stage`. asserts: stage < about.stages */
const struct brg_shards_stage *brg_shards_stage_of(const struct brg_shards *s, uint32_t stage);

/* The state that is wanted of a stage, cut as it may be. */
struct brg_shards_wish {
    const struct brg_stage *stage;
    uint64_t lineage; /* that the state is to be named by */
    uint32_t kinds;   /* of recovery/state.h: weights, or weights and moments */
    uint32_t moments; /* vectors a parameter of the run's optimizer */
};

/* brg_shards_state_bytes - size of the blob. */
uint64_t brg_shards_state_bytes(const struct brg_shards_wish *wish);

/* brg_shards_state - the state of a stage as of recovery/state.h, of version about.step.
 *
 * A stage that lies in one stage of the file has its own_step and lr_factor. One whose tensors were
 * in several gets their least own_step and the least of their factors in force; if the steps
 * differ (a stage came back inexactly, later the cut changed), moments are scaled so that what
 * AdamW makes of them, m / (1 - beta1^t) and v / (1 - beta2^t), stays as it was.
 * shape:  out blob [brg_shards_state_bytes]
 * errors: BRG_EINVAL the file has fewer moments than are wanted, and is not of step 0, where they
 *         are zero */
BRG_CHECK int brg_shards_state(const struct brg_shards *s, const struct brg_shards_wish *wish,
                               void *blob, struct brg_why *why);

/* brg_shards_params - the whole vector. shape: params [brg_model_param_count(model)] */
void brg_shards_params(const struct brg_shards *s, float *params);

/* brg_shards_source - an export source (model/export.h) that reads tensor by tensor.
 * own: borrows s */
struct brg_export_source;
struct brg_export_source brg_shards_source(const struct brg_shards *s);

/* ---- the folder ---- */

/* brg_shards_list - the checkpoints in `folder` but that of step 0, oldest first, as their
 * manifests and the sizes of their files say; no data is read. A folder that is not there holds
 * none.
 * shape:  items [BRG_CHECKPOINT_LIST_MAX], *count of them are filled
 * errors: BRG_EFULL more than that; BRG_EINVAL one is of another run or format */
BRG_CHECK int brg_shards_list(const char *folder, uint64_t run, struct brg_checkpoint_item *items,
                              uint32_t *count, struct brg_why *why);

/* brg_shards_tidy - deletes what brg_checkpoint_plan_tidy says where the `keep` newest whole ones
 * are kept; `writing` (0: none) and step 0 always stay. */
BRG_CHECK int brg_shards_tidy(const char *folder, uint64_t run, uint32_t keep, uint64_t committed,
                              uint64_t writing, struct brg_why *why);

/* brg_shards_drop_after - deletes all checkpoints of steps above `step`: their history was rolled
 * back. To be called once the rollback is durable, and at each open with the committed step. */
BRG_CHECK int brg_shards_drop_after(const char *folder, uint64_t run, uint64_t step,
                                    struct brg_why *why);

#endif
