/* optimizer.h - one optimizer step on a whole parameter vector from a summed gradient.
 *
 *   grad_sum / count -> global norm, clip -> learning rate of the step -> AdamW or SGD -> params
 *
 * Thread rule: a step uses the calling thread only; steps on different memory may run at once.
 * Bits: the same arguments give the same bits on every instruction set (kernels.h). */
#ifndef BRG_MODEL_OPTIMIZER_H
#define BRG_MODEL_OPTIMIZER_H

#include "base/why.h"
#include "model/spec.h"

/* What a step did, for logs and records. */
struct brg_optimizer_report {
    double lr;        /* of this step */
    double grad_norm; /* of the mean gradient, before clipping */
    double clip;      /* factor applied to it, 1 where nothing was clipped */
};

/* brg_optimizer_check - may a run use these settings?
 * errors: BRG_EINVAL a setting is out of range; *why (may be NULL) names it */
BRG_CHECK int brg_optimizer_check(const struct brg_optimizer_spec *spec, struct brg_why *why);

/* brg_optimizer_state_count - floats of moments for `param_count` parameters: twice as many for
 * AdamW (first moments, then second), as many for SGD with momentum, none without. All zero before
 * the first step. */
uint64_t brg_optimizer_state_count(const struct brg_optimizer_spec *spec, uint64_t param_count);

/* brg_optimizer_lr - the learning rate of `step` (1 is the first).
 *
 * Rises linearly to lr at step warmup_steps; then stays, or falls along half a cosine to
 * lr * lr_min_ratio at total_steps and stays there. */
double brg_optimizer_lr(const struct brg_optimizer_spec *spec, uint64_t step);

/* brg_optimizer_step - applies the mean of a summed gradient as step `step` (1 is the first).
 *
 * Weight decay acts on matrices only: gains and biases have no reason to be small. For AdamW it is
 * decoupled, for SGD it is added to the gradient.
 * shape:  params, grad_sum [param_count of model]; moments [brg_optimizer_state_count] (NULL if 0)
 * errors: BRG_EINVAL the gradient's norm is not finite: parameters and moments are untouched and
 *         report->grad_norm says what it was
 * asserts: step > 0, count > 0
 * cost:   two passes over the gradient, one over the rest
 * source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Alg. 2; Pascanu
 * et al., "On the difficulty of training recurrent neural networks", ICML 2013, Alg. 1 */
BRG_CHECK int brg_optimizer_step(const struct brg_optimizer_spec *spec,
                                 const struct brg_model_spec *model, uint64_t step, uint64_t count,
                                 const float *grad_sum, float *moments, float *params,
                                 struct brg_optimizer_report *report);

/* Whole tensors that lie together in the vector, such as a stage's, and how to step them. */
struct brg_optimizer_part {
    uint64_t offset, count; /* floats of the whole vector, as in model/stage.h */
    uint64_t step;          /* of the run, which gives the learning rate; 1 is the first */
    uint64_t own_step;      /* since the part's moments were zero, which AdamW corrects by */
    uint64_t targets;       /* that the gradient is the sum over */
    double clip;            /* of the whole gradient: brg_optimizer_clip */
    double lr_factor;       /* on the schedule's learning rate, else 1 */
};

/* brg_optimizer_norm2 - squared norm of a summed gradient, or of a part. shape: grad_sum [count] */
double brg_optimizer_norm2(uint64_t count, const float *grad_sum);

/* brg_optimizer_clip - the factor for a mean gradient of this norm: 1 where nothing is clipped. */
double brg_optimizer_clip(const struct brg_optimizer_spec *spec, double grad_norm);

/* brg_optimizer_step_part - brg_optimizer_step for one part, with the clip factor given.
 *
 * With the same clip factor, own_step == step and lr_factor 1 the parts together get the bits that
 * the whole gets. The norm is whoever's who has all parts: sums of parts differ from the sum of the
 * whole by rounding, 1e-15 of it.
 * shape:   grad_sum, params [part->count]; moments [brg_optimizer_state_count of part->count]
 * asserts: steps and targets > 0; the part begins and ends with a tensor */
void brg_optimizer_step_part(const struct brg_optimizer_spec *spec,
                             const struct brg_model_spec *model,
                             const struct brg_optimizer_part *part, const float *grad_sum,
                             float *moments, float *params);

#endif
