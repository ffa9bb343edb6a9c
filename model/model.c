/* model.c - workspaces, and the choice of the network by its type. */
#include "model/model.h"

#include <string.h>

#include "model/network.h"

void *brg_carve_take(struct brg_carve *c, size_t count, size_t size_bytes) {
    const size_t bytes = (count * size_bytes + BRG_MODEL_ALIGN - 1) / BRG_MODEL_ALIGN;
    const size_t at = c->used_bytes;
    c->used_bytes += bytes * BRG_MODEL_ALIGN;
    return c->base == NULL ? NULL : c->base + at;
}

/* Lays out everything behind the struct itself; `w` needs its spec and microbatch. */
static void layout(struct brg_model_workspace *w, struct brg_carve *c) {
    (void)brg_carve_take(c, 1, sizeof *w);
    if (w->spec.type == BRG_MODEL_LLAMA) {
        brg_llama_layout(w, c);
    } else {
        brg_mlp_layout(w, c);
    }
}

size_t brg_model_workspace_bytes(const struct brg_model_spec *spec, uint32_t microbatch) {
    BRG_ASSERT(brg_model_check(spec, microbatch, NULL) == BRG_OK);
    struct brg_model_workspace w = {.spec = *spec, .microbatch = microbatch};
    struct brg_carve c = {.base = NULL, .used_bytes = 0};
    layout(&w, &c);
    return c.used_bytes;
}

struct brg_model_workspace *brg_model_workspace_init(void *memory,
                                                     const struct brg_model_spec *spec,
                                                     uint32_t microbatch,
                                                     const struct brg_kernels *kernels) {
    BRG_ASSERT(memory != NULL && (uintptr_t)memory % BRG_MODEL_ALIGN == 0);
    BRG_ASSERT(brg_model_check(spec, microbatch, NULL) == BRG_OK);
    struct brg_model_workspace *w = memory;
    memset(w, 0, sizeof *w);
    w->spec = *spec;
    w->microbatch = microbatch;
    w->k = kernels != NULL ? kernels : brg_kernels_pick();
    struct brg_carve c = {.base = memory, .used_bytes = 0};
    layout(w, &c);
    if (spec->type == BRG_MODEL_LLAMA) brg_llama_fill(w);
    return w;
}

static int run(struct brg_model_workspace *w, const float *params, const struct brg_batch *batch,
               float *grad, struct brg_model_sums *sums) {
    BRG_ASSERT(w != NULL && params != NULL && batch != NULL && sums != NULL);
    BRG_ASSERT(batch->samples > 0 && batch->samples <= w->microbatch);
    if (w->spec.type == BRG_MODEL_LLAMA) return brg_llama_run(w, params, batch, grad, sums);
    return brg_mlp_run(w, params, batch, grad, sums);
}

int brg_model_grad(struct brg_model_workspace *w, const float *params,
                   const struct brg_batch *batch, float *grad, struct brg_model_sums *sums) {
    BRG_ASSERT(grad != NULL);
    return run(w, params, batch, grad, sums);
}

int brg_model_loss(struct brg_model_workspace *w, const float *params,
                   const struct brg_batch *batch, struct brg_model_sums *sums) {
    return run(w, params, batch, NULL, sums);
}

void brg_linear_forward(const struct brg_kernels *k, struct brg_linear l, const float *x,
                        const float *w, float *y) {
    k->sgemm(&(struct brg_gemm){.m = l.rows,
                                .n = l.outputs,
                                .k = l.inputs,
                                .transpose_b = 1,
                                .lda = l.inputs,
                                .ldb = l.inputs,
                                .ldc = l.outputs,
                                .alpha = 1},
             x, w, y);
}

void brg_linear_grad_weight(const struct brg_kernels *k, struct brg_linear l, const float *x,
                            const float *dy, float *dw) {
    k->sgemm(&(struct brg_gemm){.m = l.outputs,
                                .n = l.inputs,
                                .k = l.rows,
                                .transpose_a = 1,
                                .lda = l.outputs,
                                .ldb = l.inputs,
                                .ldc = l.inputs,
                                .alpha = 1,
                                .beta = 1},
             dy, x, dw);
}

void brg_linear_grad_input(const struct brg_kernels *k, struct brg_linear l, const float *w,
                           const float *dy, float *dx) {
    k->sgemm(&(struct brg_gemm){.m = l.rows,
                                .n = l.inputs,
                                .k = l.outputs,
                                .lda = l.outputs,
                                .ldb = l.inputs,
                                .ldc = l.inputs,
                                .alpha = 1},
             dy, w, dx);
}
