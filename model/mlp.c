/* mlp.c - classifiers: layers of y = x w^T + b with ReLU between them, softmax at the end.
 *
 * Softmax regression is the case without hidden layers. */
#include "model/network.h"

void brg_mlp_layout(struct brg_model_workspace *w, struct brg_carve *c) {
    const size_t n = w->microbatch;
    size_t widest = 1;
    for (uint32_t i = 0; i <= w->spec.width_count; i++) {
        const struct brg_mlp_layer l = brg_mlp_layer_of(&w->spec, i);
        w->mlp.y[i] = brg_carve_take(c, n * l.outputs, sizeof(float));
        if (i > 0 && l.inputs > widest) widest = l.inputs;
    }
    w->mlp.d[0] = brg_carve_take(c, n * widest, sizeof(float));
    w->mlp.d[1] = brg_carve_take(c, n * widest, sizeof(float));
}

static void forward(const struct brg_model_workspace *w, const float *params,
                    const struct brg_batch *batch) {
    const uint32_t n = batch->samples;
    const float *x = batch->x;
    for (uint32_t i = 0; i <= w->spec.width_count; i++) {
        const struct brg_mlp_layer l = brg_mlp_layer_of(&w->spec, i);
        const float *weight = params + l.offset;
        float *y = w->mlp.y[i];
        brg_linear_forward(w->k, (struct brg_linear){n, l.inputs, l.outputs}, x, weight, y);
        w->k->bias((struct brg_shape){n, l.outputs}, weight + (size_t)l.inputs * l.outputs, y);
        if (i < w->spec.width_count) w->k->relu((size_t)n * l.outputs, y);
        x = y;
    }
}

/* The last layer's y holds the gradient of the scores. */
static void backward(const struct brg_model_workspace *w, const float *params,
                     const struct brg_batch *batch, float *grad) {
    const uint32_t n = batch->samples;
    const float *dy = w->mlp.y[w->spec.width_count];
    for (uint32_t i = w->spec.width_count + 1; i-- > 0;) {
        const struct brg_mlp_layer l = brg_mlp_layer_of(&w->spec, i);
        const struct brg_linear linear = {n, l.inputs, l.outputs};
        const float *x = i == 0 ? batch->x : w->mlp.y[i - 1];
        float *dw = grad + l.offset;
        brg_linear_grad_weight(w->k, linear, x, dy, dw);
        w->k->bias_grad((struct brg_shape){n, l.outputs}, dy, dw + (size_t)l.inputs * l.outputs);
        if (i == 0) return; /* nobody asks for the gradient of the data */
        float *dx = w->mlp.d[i % 2];
        brg_linear_grad_input(w->k, linear, params + l.offset, dy, dx);
        w->k->relu_grad((size_t)n * l.inputs, x, dx);
        dy = dx;
    }
}

int brg_mlp_run(struct brg_model_workspace *w, const float *params, const struct brg_batch *batch,
                float *grad, struct brg_model_sums *sums) {
    const uint32_t n = batch->samples;
    struct brg_cross_entropy found = {.loss = 0, .correct = 0};
    BRG_ASSERT(batch->x != NULL && batch->labels != NULL);
    for (uint32_t i = 0; i < n; i++)
        if (batch->labels[i] >= w->spec.classes) return BRG_EINVAL;
    forward(w, params, batch);
    w->k->cross_entropy((struct brg_shape){n, w->spec.classes}, batch->labels, grad != NULL,
                        w->mlp.y[w->spec.width_count], &found);
    if (grad != NULL) backward(w, params, batch, grad);
    sums->loss += found.loss;
    sums->correct += found.correct;
    sums->count += n;
    return BRG_OK;
}
