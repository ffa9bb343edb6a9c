/* stage.h - a llama cut into stages: consecutive layers that one worker holds, with the embedding
 * in the first and the last norm and the head in the last.
 *
 *   whole vector   [ embedding | layer 0 .. a-1 | layer a .. b-1 | ... | layer .. L-1 | norm | head
 * ] stages           `------ stage 0 ------'      `- stage 1 -'          `---- stage S-1
 * ----------'
 *
 *   tokens --embed--> x --forward(0)--> x --forward(1)--> ... --forward(S-1)--> y --head--> loss
 *           <-embed_grad- dx <-backward(0)- dx <-backward(1)- ... <-backward(S-1)- dy <--'
 *
 * The stages lie one behind the other and are the whole vector of model.h, tensor for tensor. What
 * crosses a boundary is one matrix [samples * context, dim] a microbatch and direction. The sum of
 * all is the gradient of brg_model_grad, with the same bits, in whichever order of workers.
 *
 * A *slot* keeps what the backward pass of one microbatch needs; a stage that has k microbatches
 * under way needs k slots. Between forward and backward of a slot anything may be done in others.
 *
 * Thread rule and memory as in model.h: one workspace, one thread; nothing is allocated. */
#ifndef BRG_STAGE_H
#define BRG_STAGE_H

#include "model/model.h"

#define BRG_STAGES_MAX 64u
#define BRG_STAGE_SLOTS_MAX 64u

/* One stage of a cut; flat. */
struct brg_stage {
    struct brg_model_spec model; /* the whole */
    uint32_t count, index;       /* it is stage `index` of `count` */
    uint32_t first_layer, layers;
    uint64_t offset, param_count; /* of its parameters in the whole vector */
};

/* brg_stage_cut - stage `index` of `model` cut into `count`. Layers are dealt evenly; what is over
 * goes to interior stages first, since the ends have more to do, then to the last ones.
 *
 * errors: BRG_EINVAL with a sentence (why may be NULL): no llama, more stages than layers, a tied
 *         head that would lie in another stage than the embedding, count or index out of range */
BRG_CHECK int brg_stage_cut(const struct brg_model_spec *model, uint32_t count, uint32_t index,
                            struct brg_stage *out, struct brg_why *why);

/* 1 for the stage that has the embedding; for the one that has norm and head. */
int brg_stage_embeds(const struct brg_stage *s);
int brg_stage_has_head(const struct brg_stage *s);

/* Floats that cross a boundary for `samples` samples. */
uint64_t brg_stage_boundary_count(const struct brg_stage *s, uint32_t samples);

struct brg_stage_workspace;

/* brg_stage_workspace_bytes - for microbatches of up to `microbatch` samples and `slots` slots.
 * asserts: slots * layers <= BRG_MODEL_LAYERS_MAX */
size_t brg_stage_workspace_bytes(const struct brg_stage *s, uint32_t microbatch, uint32_t slots);

/* brg_stage_workspace_init - in `memory`, aligned to BRG_MODEL_ALIGN; nothing to free.
 * own: borrows memory; the stage is copied. kernels NULL: brg_kernels_pick() */
struct brg_stage_workspace *brg_stage_workspace_init(void *memory, const struct brg_stage *s,
                                                     uint32_t microbatch, uint32_t slots,
                                                     const struct brg_kernels *kernels);

/* brg_stage_embed - x [samples * context, dim] of the batch's tokens.
 *
 * shape:   params [param_count] of this stage, here as everywhere below
 * errors:  BRG_EINVAL a token is not below vocab. asserts: brg_stage_embeds */
BRG_CHECK int brg_stage_embed(struct brg_stage_workspace *w, const float *params,
                              const struct brg_batch *batch, float *x);

/* brg_stage_forward - y = layers(x), keeping in `slot` what backward needs.
 * shape: x, y [samples * context, dim]. asserts: slot < slots */
void brg_stage_forward(struct brg_stage_workspace *w, uint32_t slot, const float *params,
                       uint32_t samples, const float *x, float *y);

/* brg_stage_head - the loss of y, behind the last layer; with grad also adds the gradient of norm
 * and head, and sets dy. grad and dy are both NULL or neither.
 * errors: BRG_EINVAL a token is not below vocab. asserts: brg_stage_has_head */
BRG_CHECK int brg_stage_head(struct brg_stage_workspace *w, const float *params,
                             const struct brg_batch *batch, const float *y, float *grad, float *dy,
                             struct brg_model_sums *sums);

/* brg_stage_backward - dx holds the gradient behind the layers, and before them on return; adds to
 * grad [param_count]. The slot is free afterwards. */
void brg_stage_backward(struct brg_stage_workspace *w, uint32_t slot, const float *params,
                        uint32_t samples, float *dx, float *grad);

/* brg_stage_embed_grad - adds the embedding's gradient for the batch's tokens to grad.
 * errors: BRG_EINVAL a token is not below vocab. asserts: brg_stage_embeds */
BRG_CHECK int brg_stage_embed_grad(struct brg_stage_workspace *w, const struct brg_batch *batch,
                                   const float *dx, float *grad);

#endif
