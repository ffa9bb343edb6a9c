/* stage_state.h - one stage on the compute thread: its weights and moments, the microbatches of a
 * step, the sums of its lanes, the optimizer; and the forms in which all that travels.
 *
 *   open -> load | mix -> begin -> { forward, backward } of each microbatch -> reduce -> apply
 *                            '------------------- the next step -------------------'
 *
 * Sums are made microbatch after microbatch within a lane, then lane after lane: with one lane that
 * is the order of brg_model_grad, and the bits are those of one process.
 *
 * Everything large is from the pool and taken when the stage is opened, but for what is given away.
 * Thread rule: one thread. */
#ifndef BRG_WORKER_SHELL_STAGE_STATE_H
#define BRG_WORKER_SHELL_STAGE_STATE_H

#include "base/file.h"
#include "base/pool.h"
#include "model/optimizer.h"
#include "model/sample.h"
#include "model/stage.h"
#include "recovery/shadow.h"
#include "recovery/state.h"
#include "worker/shell/gradient.h"

#define BRG_STAGE_NONE UINT32_MAX
#define BRG_STAGE_DONORS_MAX 2u

/* What a stage is opened with, flat. */
struct brg_stage_setup {
    struct brg_run_setup run;
    struct brg_msg_line line;
    uint32_t stage;
};

/* What a step came to. */
struct brg_stage_step {
    struct brg_digest digest; /* of the reduced gradient */
    double norm2;
    double loss_sums[BRG_LINE_LANES_MAX]; /* by lane, of own lanes; the last stage's only */
    uint64_t loss_counts[BRG_LINE_LANES_MAX];
    uint64_t compute_ns;
    double wire_error;
};

/* A copy of another stage that is kept here (recovery/shadow.h). */
struct brg_stage_shadow {
    struct brg_buffer *floats; /* [slice][weights, moments...], NULL: a free place */
    struct brg_shadow_copy copy;
    struct brg_stage cut;
};

struct brg_stage_state;

/* brg_stage_wire_bytes - what a matrix of `samples` samples takes on the wire. */
uint64_t brg_stage_wire_bytes(const struct brg_stage *cut, uint32_t wire, uint32_t samples);

/* Floats of moments of a stage, and bytes of its whole state. */
uint64_t brg_stage_moments(const struct brg_msg_line *line, const struct brg_stage *cut);
uint64_t brg_stage_blob_bytes(const struct brg_msg_line *line, const struct brg_stage *cut,
                              uint32_t kinds);

/* Floats of embedding, norm and head: all but the layers. */
uint64_t brg_stage_edges(const struct brg_stage *cut);

/* Vectors that a shadow has: weights, and moments if kept; and bytes of slice `index`. */
uint32_t brg_stage_shadow_vectors(const struct brg_msg_line *line);
uint64_t brg_stage_slice_bytes(const struct brg_msg_line *line, const struct brg_stage *cut,
                               uint32_t index, int packed);

/* brg_stage_optimizer - the settings as the optimizer takes them. */
struct brg_optimizer_spec brg_stage_optimizer(const struct brg_msg_optimizer *o);

/* brg_stage_open - memory for the stage; no state yet.
 *
 * own:    borrows pool and the mapped file at `path`; *out is the caller's, NULL on error
 * errors: BRG_ENOMEM, BRG_EINVAL it cannot be cut or the data does not fit; BRG_EIO the file */
BRG_CHECK int brg_stage_open(const struct brg_stage_setup *setup, struct brg_pool *pool,
                             const char *path, struct brg_stage_state **out, struct brg_why *why);
void brg_stage_close(struct brg_stage_state **s);

/* brg_stage_load - a whole state, or weights only: moments are zero then.
 * errors: BRG_EPROTO it is no state of this stage */
BRG_CHECK int brg_stage_load(struct brg_stage_state *s, const struct brg_buffer *blob,
                             uint64_t version, uint64_t lineage);

/* A stage put together from others. */
struct brg_stage_mix {
    uint32_t count;
    uint32_t stages[BRG_STAGE_DONORS_MAX];
    double weights[BRG_STAGE_DONORS_MAX];
    const struct brg_buffer *blobs[BRG_STAGE_DONORS_MAX]; /* weights only */
    const struct brg_buffer *edges;                       /* NULL where the stage has none */
    uint64_t version, lineage;
    uint32_t raise;
};

/* brg_stage_mix_in - errors: BRG_EPROTO a blob is no state of its stage
 * source: Blagoev et al., "All is Not Lost", 2025, Alg. 1 */
BRG_CHECK int brg_stage_mix_in(struct brg_stage_state *s, const struct brg_stage_mix *mix);

/* brg_stage_weights_digest - of what is held. */
void brg_stage_weights_digest(const struct brg_stage_state *s, struct brg_digest *out);
uint64_t brg_stage_version(const struct brg_stage_state *s);

/* brg_stage_freeze - a copy as bytes. errors: BRG_ENOMEM. own: *out is the caller's */
BRG_CHECK int brg_stage_freeze(const struct brg_stage_state *s, uint32_t kinds,
                               struct brg_buffer **out);
BRG_CHECK int brg_stage_freeze_edges(const struct brg_stage_state *s, struct brg_buffer **out);

/* ---- a step ---- */

/* brg_stage_begin - sums are zero. lanes: bits of its own */
void brg_stage_begin(struct brg_stage_state *s, uint64_t step, uint32_t lanes);

/* brg_stage_pass_forward - microbatch `index`; x NULL for stage 0.
 * out:    *y as the wire has it, NULL for the last stage, whose loss it adds instead
 * errors: BRG_EPROTO x has another size; BRG_EINVAL a token is not of the vocabulary; BRG_ENOMEM */
BRG_CHECK int brg_stage_pass_forward(struct brg_stage_state *s, uint32_t index,
                                     const struct brg_buffer *x, struct brg_buffer **y);

/* brg_stage_pass_backward - dy NULL for the last stage. out: *dx, NULL for stage 0 */
BRG_CHECK int brg_stage_pass_backward(struct brg_stage_state *s, uint32_t index,
                                      const struct brg_buffer *dy, struct brg_buffer **dx);

/* brg_stage_lane - the sum of an own lane, to give away; brg_stage_take_lane - a sibling's. */
BRG_CHECK int brg_stage_lane(struct brg_stage_state *s, uint32_t lane, struct brg_buffer **out);
BRG_CHECK int brg_stage_take_lane(struct brg_stage_state *s, uint32_t lane,
                                  const struct brg_buffer *sum);

/* brg_stage_reduce - all lanes in their order; the gradient is kept for apply. */
void brg_stage_reduce(struct brg_stage_state *s, struct brg_stage_step *out);

/* brg_stage_gradient - a copy of the reduced gradient; brg_stage_take_gradient - a source's. */
BRG_CHECK int brg_stage_gradient(const struct brg_stage_state *s, struct brg_buffer **out);
BRG_CHECK int brg_stage_take_gradient(struct brg_stage_state *s, const struct brg_buffer *sum);

/* brg_stage_apply - makes step version + 1 by the reduced gradient. asserts: step == version + 1 */
void brg_stage_apply(struct brg_stage_state *s, uint64_t step, double clip);

/* ---- shadows: stage_keep.c ---- */

/* brg_stage_slice - the slice that is due after the present version, as the keeper is to have it.
 * out:    *plain floats; *packed an int8 change with 8 bytes before it, or NULL the first time
 *         round: both lead to the same bits
 * errors: BRG_ENOMEM */
BRG_CHECK int brg_stage_slice(struct brg_stage_state *s, uint32_t *index, struct brg_buffer **plain,
                              struct brg_buffer **packed);

/* brg_stage_keep - takes in slice `index` of `stage` at `version`. out: the oldest slice's version,
 * 0 while one is missing
 * errors: BRG_EPROTO size, number or base do not fit: ask for the plain one */
BRG_CHECK int brg_stage_keep(struct brg_stage_state *s, uint32_t stage, uint32_t index, int packed,
                             uint64_t version, const struct brg_buffer *bytes, uint64_t *oldest);

/* brg_stage_shadow_blob - the copy of `stage` as a state. errors: BRG_ENOENT not whole */
BRG_CHECK int brg_stage_shadow_blob(const struct brg_stage_state *s, uint32_t stage,
                                    struct brg_buffer **out, uint64_t *version);

/* brg_stage_forget_shadow - what is kept of `stage`. */
void brg_stage_forget_shadow(struct brg_stage_state *s, uint32_t stage);

#endif
