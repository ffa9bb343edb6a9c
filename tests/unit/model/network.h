/* network.h - a model with its workspace and a batch, for the tests of the networks. */
#ifndef BRG_TEST_NETWORK_H
#define BRG_TEST_NETWORK_H

#include "model/model.h"
#include "tests/unit/kernels/numbers.h"

struct network {
    struct brg_model_spec spec;
    uint64_t param_count;
    float *params;
    void *memory;
    struct brg_model_workspace *w;
};

static inline void *network_memory(size_t size_bytes, int filling) {
    void *memory = aligned_alloc(BRG_MODEL_ALIGN, size_bytes);
    assert_non_null(memory);
    memset(memory, filling, size_bytes); /* whatever lies there must not matter */
    return memory;
}

/* Parameters far from the usual start, so that every gradient is large enough to compare. */
static inline struct network network_new(const struct brg_model_spec *spec, uint32_t microbatch,
                                         const struct brg_kernels *kernels) {
    struct network n = {.spec = *spec};
    assert_int_equal(brg_model_check(spec, microbatch, NULL), BRG_OK);
    n.param_count = brg_model_param_count(spec);
    n.params = numbers_new(42, 0.4, n.param_count);
    n.memory = network_memory(brg_model_workspace_bytes(spec, microbatch), 0xff);
    n.w = brg_model_workspace_init(n.memory, spec, microbatch, kernels);
    return n;
}

static inline void network_drop(struct network *n) {
    free(n->params);
    free(n->memory);
}

static inline const struct brg_kernels *network_reference(void) {
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    (void)brg_kernels_list(tables);
    return tables[0];
}

/* The gradient of one batch in a new array, and its sums. */
static inline float *network_grad(const struct network *n, const struct brg_batch *batch,
                                  struct brg_model_sums *sums) {
    float *grad = calloc(n->param_count, sizeof *grad);
    assert_non_null(grad);
    *sums = (struct brg_model_sums){.loss = 0};
    assert_int_equal(brg_model_grad(n->w, n->params, batch, grad, sums), BRG_OK);
    return grad;
}

static inline double network_loss(const struct network *n, const struct brg_batch *batch) {
    struct brg_model_sums sums = {.loss = 0};
    assert_int_equal(brg_model_loss(n->w, n->params, batch, &sums), BRG_OK);
    return sums.loss;
}

/* Every parameter's gradient against (f(p + h) - f(p - h)) / 2h. */
static inline void network_compare_differences(const struct network *n,
                                               const struct brg_batch *batch, double tolerance) {
    const float h = 1.0f / 256.0f;
    struct brg_model_sums sums;
    float *got = network_grad(n, batch, &sums), *want = calloc(n->param_count, sizeof *want);
    assert_non_null(want);
    for (uint64_t i = 0; i < n->param_count; i++) {
        const float p = n->params[i], up = p + h, down = p - h;
        n->params[i] = up;
        const double high = network_loss(n, batch);
        n->params[i] = down;
        const double low = network_loss(n, batch);
        n->params[i] = p;
        want[i] = (float)((high - low) / ((double)up - (double)down));
    }
    numbers_must_be_near("finite differences", n->param_count, got, want, tolerance);
    free(got);
    free(want);
}

#endif
