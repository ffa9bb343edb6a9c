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

#endif
