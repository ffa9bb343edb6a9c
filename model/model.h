/* model.h - the networks: where each tensor lies in the parameter vector, how it is filled at the
 * start, and the sum of the gradients of a microbatch.
 *
 *   params [param_count] ---+
 *   batch ------------------+--> brg_model_grad --> grad += sum over targets, sums += loss, count
 *   workspace (reused) -----+
 *
 * Everything is a sum, never a mean: shares of different workers can be added, and whoever holds
 * the whole divides once. The targets of a batch are the tokens (llama) or the rows (classifier).
 *
 * Thread rule: one workspace belongs to one thread at a time; parameters may be shared for reading.
 * Nothing here starts a thread, and nothing but brg_model_grad's products (see kernels/sgemm.c)
 * allocates after brg_model_workspace_init.
 *
 * Bits: the same spec, parameters, microbatch and batch give the same bits on the same instruction
 * set, on any thread and whatever else the machine does. */
#ifndef BRG_MODEL_MODEL_H
#define BRG_MODEL_MODEL_H

#include "base/why.h"
#include "kernels/kernels.h"
#include "model/batch.h"
#include "model/spec.h"

#define BRG_TENSOR_NAME_BYTES 64u
#define BRG_MODEL_DIM_MAX 65536u     /* dim, context, vocab, classes */
#define BRG_MODEL_WIDTH_MAX 1048576u /* hidden, inputs, widths */
#define BRG_MODEL_LAYERS_MAX 1024u
#define BRG_MODEL_PARAMS_MAX (UINT64_C(1) << 34)
#define BRG_MODEL_ROWS_MAX 1048576u /* microbatch * context, or microbatch of a classifier */
#define BRG_MODEL_ALIGN 64u         /* of a workspace's memory */

/* One tensor inside the parameter vector. Names are Hugging Face's for a llama
 * (model.layers.0.self_attn.q_proj.weight), layers.0.weight and layers.0.bias for a classifier. A
 * matrix is [outputs, inputs] row-major; rotary pairs lie in two halves of a head, also as there.
 */
struct brg_model_tensor {
    char name[BRG_TENSOR_NAME_BYTES];
    uint64_t offset;     /* first float in the parameter vector */
    uint32_t dims;       /* 1: a vector of `cols`; 2: a matrix [rows, cols] */
    uint32_t rows, cols; /* rows == 1 for a vector */
};

/* brg_model_check - may this model be built, and computed `microbatch` samples at once?
 *
 * errors: BRG_EINVAL a setting is out of range or contradicts another; *why (may be NULL) names it
 */
BRG_CHECK int brg_model_check(const struct brg_model_spec *spec, uint32_t microbatch,
                              struct brg_why *why);

/* brg_model_param_count - floats in the parameter vector. All functions from here on assert a spec
 * that brg_model_check has passed. */
uint64_t brg_model_param_count(const struct brg_model_spec *spec);

/* brg_model_tensor_count - how many tensors the vector holds; they lie one behind the other. */
uint32_t brg_model_tensor_count(const struct brg_model_spec *spec);

/* brg_model_tensor - describes tensor `index`, in the order of their offsets.
 * asserts: index < brg_model_tensor_count(spec) */
void brg_model_tensor(const struct brg_model_spec *spec, uint32_t index,
                      struct brg_model_tensor *out);

/* brg_model_init - the parameters that `seed` gives; each tensor has a stream of its own.
 *
 * llama: matrices normal with deviation 0.02, those that write into the residual stream 0.02 /
 * sqrt(2 layers), gains 1. Classifiers: normal with deviation sqrt(2 / inputs) before a ReLU,
 * sqrt(1 / inputs) in the last layer, biases 0.
 * shape:  params [param_count]
 * source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, sec. 2.3;
 *         He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 10 */
void brg_model_init(const struct brg_model_spec *spec, uint64_t seed, float *params);

/* brg_model_init_tensor - the same of tensor `index` alone: for who does not hold the whole.
 * shape: out [rows * cols of that tensor] */
void brg_model_init_tensor(const struct brg_model_spec *spec, uint32_t index, uint64_t seed,
                           float *out);

struct brg_model_workspace; /* activations and scratch of one microbatch */

/* brg_model_workspace_bytes - memory that a workspace for `microbatch` samples needs. */
size_t brg_model_workspace_bytes(const struct brg_model_spec *spec, uint32_t microbatch);

/* brg_model_workspace_init - lays a workspace out in `memory`, to be used for any number of
 * batches of up to `microbatch` samples.
 *
 * own:     borrows `memory`, brg_model_workspace_bytes long and aligned to BRG_MODEL_ALIGN, until
 *          the caller stops using the result; there is nothing to free. The spec is copied.
 *          kernels NULL: brg_kernels_pick() */
struct brg_model_workspace *brg_model_workspace_init(void *memory,
                                                     const struct brg_model_spec *spec,
                                                     uint32_t microbatch,
                                                     const struct brg_kernels *kernels);

/* brg_model_grad - adds the gradient of the summed loss to `grad` and the figures to `sums`.
 *
 * shape:  params, grad [param_count]; batch as batch.h says
 * errors: BRG_EINVAL a token is not below vocab or a label not below classes: nothing changed
 * cost:   6 * params * targets operations and the attention's */
BRG_CHECK int brg_model_grad(struct brg_model_workspace *w, const float *params,
                             const struct brg_batch *batch, float *grad,
                             struct brg_model_sums *sums);

/* brg_model_loss - the same figures without the gradient, for evaluation. Errors as above. */
BRG_CHECK int brg_model_loss(struct brg_model_workspace *w, const float *params,
                             const struct brg_batch *batch, struct brg_model_sums *sums);

#endif
