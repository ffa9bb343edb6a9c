/* line.h - all stages of a pipeline in one process: the code of model/stage.h, without a network.
 *
 *   tokens -> embedding -> order[0] -> order[1] -> ... -> norm, head -> loss
 *
 * A microbatch may pass the stages in any order, or leave some out: embedding and head stay at the
 * ends. Each stage has its own moments, step count and learning-rate factor, so that one can be
 * lost and begun anew while the others go on. For benches and tests: what is seen here with real
 * gradients is what workers of a pipeline see.
 *
 * Bits: for every number of stages the same gradient as brg_model_grad's, and the same curve as
 * long as the clip factor, as a float, is the same: the squared norm is summed stage by stage, and
 * where a gradient is clipped such a sum may differ in the last of 53 bits.
 *
 * Thread rule: one line, one thread. Only create and destroy allocate. */
#ifndef BRG_LINE_H
#define BRG_LINE_H

#include "model/optimizer.h"
#include "model/stage.h"

struct brg_line_settings {
    struct brg_model_spec model; /* checked */
    struct brg_optimizer_spec optimizer;
    uint32_t stages, microbatch; /* samples at once */
};

/* One stage; the caller may write everything but `stage` between steps. */
struct brg_line_stage {
    struct brg_stage stage;
    float *params;     /* [stage.param_count], its part of the whole vector */
    float *grad;       /* [stage.param_count], of the step under way */
    float *moments;    /* [brg_optimizer_state_count of stage.param_count] */
    uint64_t own_step; /* steps since the moments were zero */
    double lr_factor;  /* 1 */
    double norm2;      /* squared norm of the last mean gradient, before clipping */
};

struct brg_line;

/* brg_line_create - a line with parameters from `seed` and zero moments.
 * own:    *out is the caller's; give it back with brg_line_destroy
 * errors: BRG_EINVAL with a sentence (why may be NULL) if the model cannot be cut; BRG_ENOMEM */
BRG_CHECK int brg_line_create(const struct brg_line_settings *settings, uint64_t seed,
                              struct brg_line **out, struct brg_why *why);
void brg_line_destroy(struct brg_line **line);

/* The whole parameter vector [brg_model_param_count], and one stage. Borrowed. */
float *brg_line_params(struct brg_line *l);
struct brg_line_stage *brg_line_at(struct brg_line *l, uint32_t stage);

/* Where layers lie in a stage's parameters: `count` of `size` floats from `first` on. */
struct brg_line_layers {
    uint64_t first, size;
    uint32_t count;
};
struct brg_line_layers brg_line_layers_of(const struct brg_stage *stage);

/* A path through the stages. shape: stage [count], each at most once; NULL: all in order */
struct brg_line_path {
    uint32_t count;
    const uint32_t *stage;
};

/* brg_line_begin - zeroes the gradients. */
void brg_line_begin(struct brg_line *l);

/* brg_line_microbatch - forward and backward of one microbatch; adds to gradients and sums.
 * errors: BRG_EINVAL a token is not below vocab: begin the step anew */
BRG_CHECK int brg_line_microbatch(struct brg_line *l, const struct brg_batch *batch,
                                  struct brg_line_path path, struct brg_model_sums *sums);

/* brg_line_loss - the figures of a batch without gradients: a probe, or an evaluation. */
BRG_CHECK int brg_line_loss(struct brg_line *l, const struct brg_batch *batch,
                            struct brg_line_path path, struct brg_model_sums *sums);

/* brg_line_boundary - input of stage `stage` in the last microbatch that passed all in order; that
 * of stage s + 1 is the output of s. shape: [microbatch * context, dim]; own: borrowed until the
 * next call. asserts: stage <= stages, such a microbatch was the last call's */
const float *brg_line_boundary(const struct brg_line *l, uint32_t stage);

/* brg_line_apply - one optimizer step of every stage with the global clip factor.
 * targets: the gradients are the sum over so many
 * errors:  BRG_EINVAL the norm is not finite: nothing changed but report->grad_norm */
BRG_CHECK int brg_line_apply(struct brg_line *l, uint64_t step, uint64_t targets,
                             struct brg_optimizer_report *report);

/* brg_line_forget - zero moments and step count of a stage, as a newcomer has them. */
void brg_line_forget(struct brg_line *l, uint32_t stage);

struct brg_line_fit {
    uint32_t steps;
    float lr;
};

/* brg_line_distil - fits the layers of `stage` to map x to y by AdamW steps on the mean squared
 * error, with moments of their own; then brg_line_forget. x and y are what the
 * predecessor sent and the successor got in the last microbatches before the loss.
 * shape:  x, y [samples * context, dim]; error [2] before the first and before the last step
 * source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, eq. 3 */
void brg_line_distil(struct brg_line *l, uint32_t stage, uint32_t samples, const float *x,
                     const float *y, struct brg_line_fit fit, double *error);

#endif
