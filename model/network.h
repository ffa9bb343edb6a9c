/* network.h - what llama.c, mlp.c and model.c share. Private to model/. */
#ifndef BRG_MODEL_NETWORK_H
#define BRG_MODEL_NETWORK_H

#include "model/model.h"

/* Hands out parts of the workspace's memory, each on its own cache lines. With base NULL it only
 * counts, so that size and layout cannot drift apart. */
struct brg_carve {
    uint8_t *base;
    size_t used_bytes;
};

void *brg_carve_take(struct brg_carve *c, size_t count, size_t size_bytes);

/* Activations that the backward pass of one llama layer needs; N = samples * context rows. */
struct brg_llama_layer {
    float *x;       /* [N, dim] residual stream at the layer's start */
    float *inv1;    /* [N] */
    float *norm1;   /* [N, dim] */
    float *qkv;     /* [N, (heads + 2 kv_heads) head_dim], q and k already turned */
    float *stats;   /* [samples * heads * context, 2] */
    float *out;     /* [N, dim] the heads' outputs */
    float *mid;     /* [N, dim] residual stream between attention and feed-forward */
    float *inv2;    /* [N] */
    float *norm2;   /* [N, dim] */
    float *gate_up; /* [N, 2 hidden] */
    float *h;       /* [N, hidden] */
};

struct brg_llama_state {
    struct brg_llama_layer *layers; /* [layers] */
    float *x, *inv, *norm;          /* the last residual stream, normed */
    float *logits;                  /* [logit_rows, vocab] */
    float *dx, *dnorm;              /* [N, dim] */
    float *dqkv, *dgate_up, *dh;    /* shaped as their activations */
    float *cosines, *sines;         /* [context, head_dim / 2] */
    float *scratch;                 /* of attention */
    uint32_t *input, *target;       /* [N] */
    uint32_t logit_rows;
};

struct brg_mlp_state {
    float *y[BRG_MLP_HIDDEN_MAX + 1]; /* [samples, outputs of the layer] */
    float *d[2];                      /* [samples, widest layer] gradients, in turns */
};

struct brg_model_workspace {
    struct brg_model_spec spec;
    const struct brg_kernels *k;
    uint32_t microbatch;
    union {
        struct brg_llama_state llama;
        struct brg_mlp_state mlp;
    };
};

/* Offsets in a llama's whole vector: of layer `layer` (its first norm) and of what stands around
 * the layers. */
struct brg_llama_offsets {
    uint64_t embedding, norm1, norm, head; /* head == embedding where they are tied */
};

struct brg_llama_offsets brg_llama_offsets_of(const struct brg_model_spec *spec, uint32_t layer);

/* Offsets inside one layer, from its first norm on; the same for every layer. */
struct brg_llama_parts {
    uint64_t qkv, out, norm2, gate_up, down, size;
    uint32_t qkv_cols, head_dim;
};

struct brg_llama_parts brg_llama_parts_of(const struct brg_model_spec *spec);

/* Layer `index` of a classifier, 0 .. width_count: its sizes; the weight lies at `offset`, the bias
 * behind it. */
struct brg_mlp_layer {
    uint64_t offset;
    uint32_t inputs, outputs;
};

struct brg_mlp_layer brg_mlp_layer_of(const struct brg_model_spec *spec, uint32_t index);

/* y [rows, outputs] = x [rows, inputs] w^T, w [outputs, inputs]. */
struct brg_linear {
    uint32_t rows, inputs, outputs;
};

void brg_linear_forward(const struct brg_kernels *k, struct brg_linear l, const float *x,
                        const float *w, float *y);
/* dw += dy^T x. */
void brg_linear_grad_weight(const struct brg_kernels *k, struct brg_linear l, const float *x,
                            const float *dy, float *dw);
/* dx = dy w. */
void brg_linear_grad_input(const struct brg_kernels *k, struct brg_linear l, const float *w,
                           const float *dy, float *dx);

/* brg_llama_read_tokens - splits the rows of tokens into inputs and targets.
 * errors: BRG_EINVAL a token is not below vocab */
int brg_llama_read_tokens(struct brg_model_workspace *w, const struct brg_batch *batch);

/* brg_llama_layer_forward - from l->x to `next` [N, dim], the residual stream behind the layer.
 * shape: params [parts.size] of this layer */
void brg_llama_layer_forward(const struct brg_model_workspace *w, const struct brg_llama_layer *l,
                             const float *params, uint32_t samples, float *next);
/* brg_llama_layer_backward - w->llama.dx holds the gradient behind the layer, and of its start on
 * return; adds to grad [parts.size]. */
void brg_llama_layer_backward(const struct brg_model_workspace *w, const struct brg_llama_layer *l,
                              const float *params, uint32_t samples, float *grad);
/* brg_llama_head - the loss of all rows of w->llama.norm; with grad, also adds the head's gradient
 * and sets dnorm, that of the normed stream. shape: params, grad [vocab, dim]; grad may be NULL */
void brg_llama_head(const struct brg_model_workspace *w, const float *params, uint32_t rows,
                    float *grad, struct brg_cross_entropy *sums);

void brg_llama_layout(struct brg_model_workspace *w, struct brg_carve *c);
void brg_llama_fill(struct brg_model_workspace *w);
/* grad NULL: the loss only. */
int brg_llama_run(struct brg_model_workspace *w, const float *params, const struct brg_batch *batch,
                  float *grad, struct brg_model_sums *sums);

void brg_mlp_layout(struct brg_model_workspace *w, struct brg_carve *c);
int brg_mlp_run(struct brg_model_workspace *w, const float *params, const struct brg_batch *batch,
                float *grad, struct brg_model_sums *sums);

#endif
