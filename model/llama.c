/* llama.c - the forward and backward pass of a llama over one microbatch.
 *
 *   tokens -> embedding -> x
 *   per layer:  x --norm1--> qkv --rope--> attention --out--> + x = mid
 *               mid --norm2--> gate, up --silu(gate) * up--> h --down--> + mid = next x
 *   x --norm--> head --> logits -> loss
 *
 * The backward pass walks the same way back with one running gradient `dx` of the residual stream:
 * what flows through a sum flows on unchanged, and each branch adds its part. Logits are made and
 * used up in blocks of rows, so that a large vocabulary does not need rows * vocab floats. */
#include <string.h>

#include "model/infer_rope.h"
#include "model/network.h"

#define LOGIT_FLOATS 4194304u /* 16 MiB of logits at a time, or one row of them */

static uint32_t rows_of(const struct brg_model_spec *s, uint32_t samples) {
    return samples * s->context;
}

static struct brg_attention attention_of(const struct brg_model_spec *s, uint32_t samples) {
    return (struct brg_attention){.samples = samples,
                                  .context = s->context,
                                  .heads = s->heads,
                                  .kv_heads = s->kv_heads,
                                  .head_dim = s->dim / s->heads};
}

void brg_llama_layout(struct brg_model_workspace *w, struct brg_carve *c) {
    const struct brg_model_spec *s = &w->spec;
    struct brg_llama_state *l = &w->llama;
    const struct brg_attention a = attention_of(s, w->microbatch);
    const size_t n = rows_of(s, w->microbatch), dim = s->dim, f = sizeof(float);
    const size_t qkv = brg_llama_parts_of(s).qkv_cols;

    l->layers = brg_carve_take(c, s->layers, sizeof *l->layers);
    for (uint32_t i = 0; i < s->layers; i++) {
        struct brg_llama_layer t;
        t.x = brg_carve_take(c, n * dim, f);
        t.inv1 = brg_carve_take(c, n, f);
        t.norm1 = brg_carve_take(c, n * dim, f);
        t.qkv = brg_carve_take(c, n * qkv, f);
        t.stats = brg_carve_take(c, n * s->heads * 2, f);
        t.out = brg_carve_take(c, n * dim, f);
        t.mid = brg_carve_take(c, n * dim, f);
        t.inv2 = brg_carve_take(c, n, f);
        t.norm2 = brg_carve_take(c, n * dim, f);
        t.gate_up = brg_carve_take(c, n * 2 * s->hidden, f);
        t.h = brg_carve_take(c, n * s->hidden, f);
        if (l->layers != NULL) l->layers[i] = t;
    }
    l->x = brg_carve_take(c, n * dim, f);
    l->inv = brg_carve_take(c, n, f);
    l->norm = brg_carve_take(c, n * dim, f);
    const size_t fit = LOGIT_FLOATS / s->vocab;
    l->logit_rows = (uint32_t)(fit < n ? fit : n);
    l->logits = brg_carve_take(c, (size_t)l->logit_rows * s->vocab, f);
    l->dx = brg_carve_take(c, n * dim, f);
    l->dnorm = brg_carve_take(c, n * dim, f);
    l->dqkv = brg_carve_take(c, n * qkv, f);
    l->dgate_up = brg_carve_take(c, n * 2 * s->hidden, f);
    l->dh = brg_carve_take(c, n * s->hidden, f);
    l->cosines = brg_carve_take(c, (size_t)s->context * a.head_dim / 2, f);
    l->sines = brg_carve_take(c, (size_t)s->context * a.head_dim / 2, f);
    l->scratch = brg_carve_take(c, brg_attention_scratch(&a), f);
    l->input = brg_carve_take(c, n, sizeof *l->input);
    l->target = brg_carve_take(c, n, sizeof *l->target);
}

void brg_llama_fill(struct brg_model_workspace *w) {
    brg_infer_rope_table(&w->spec, w->llama.cosines, w->llama.sines);
}

int brg_llama_read_tokens(struct brg_model_workspace *w, const struct brg_batch *batch) {
    const size_t context = w->spec.context;
    BRG_ASSERT(batch->tokens != NULL);
    for (size_t i = 0; i < batch->samples * (context + 1); i++)
        if (batch->tokens[i] >= w->spec.vocab) return BRG_EINVAL;
    for (size_t s = 0; s < batch->samples; s++) {
        const uint16_t *row = batch->tokens + s * (context + 1);
        for (size_t t = 0; t < context; t++) {
            w->llama.input[s * context + t] = row[t];
            w->llama.target[s * context + t] = row[t + 1];
        }
    }
    return BRG_OK;
}

static void turn(const struct brg_model_workspace *w, uint32_t rows, uint32_t inverse, float *qkv) {
    const struct brg_model_spec *s = &w->spec;
    const uint32_t head_dim = s->dim / s->heads;
    w->k->rope(&(struct brg_rope){.rows = rows,
                                  .context = s->context,
                                  .heads = s->heads + s->kv_heads,
                                  .head_dim = head_dim,
                                  .stride = (s->heads + 2 * s->kv_heads) * head_dim,
                                  .inverse = inverse},
               w->llama.cosines, w->llama.sines, qkv);
}

void brg_llama_layer_forward(const struct brg_model_workspace *w, const struct brg_llama_layer *l,
                             const float *params, uint32_t samples, float *next) {
    const struct brg_model_spec *s = &w->spec;
    const struct brg_kernels *k = w->k;
    const struct brg_llama_parts o = brg_llama_parts_of(s);
    const struct brg_attention a = attention_of(s, samples);
    const uint32_t n = rows_of(s, samples), dim = s->dim, hidden = s->hidden;
    const struct brg_shape stream = {n, dim};

    k->rmsnorm(stream, s->norm_eps, l->x, params, l->norm1, l->inv1);
    brg_linear_forward(k, (struct brg_linear){n, dim, o.qkv_cols}, l->norm1, params + o.qkv,
                       l->qkv);
    turn(w, n, 0, l->qkv);
    k->attention(&a, l->qkv, l->out, l->stats, w->llama.scratch);
    brg_linear_forward(k, (struct brg_linear){n, dim, dim}, l->out, params + o.out, l->mid);
    k->add((size_t)n * dim, l->x, l->mid);

    k->rmsnorm(stream, s->norm_eps, l->mid, params + o.norm2, l->norm2, l->inv2);
    brg_linear_forward(k, (struct brg_linear){n, dim, 2 * hidden}, l->norm2, params + o.gate_up,
                       l->gate_up);
    k->swiglu((struct brg_shape){n, hidden}, l->gate_up, l->h);
    brg_linear_forward(k, (struct brg_linear){n, hidden, dim}, l->h, params + o.down, next);
    k->add((size_t)n * dim, l->mid, next);
}

void brg_llama_layer_backward(const struct brg_model_workspace *w, const struct brg_llama_layer *l,
                              const float *params, uint32_t samples, float *grad) {
    const struct brg_model_spec *s = &w->spec;
    const struct brg_kernels *k = w->k;
    const struct brg_llama_state *st = &w->llama;
    const struct brg_llama_parts o = brg_llama_parts_of(s);
    const struct brg_attention a = attention_of(s, samples);
    const uint32_t n = rows_of(s, samples), dim = s->dim, hidden = s->hidden;
    const struct brg_shape stream = {n, dim};
    const struct brg_linear down = {n, hidden, dim}, gate_up = {n, dim, 2 * hidden};
    const struct brg_linear out = {n, dim, dim}, qkv = {n, dim, o.qkv_cols};

    brg_linear_grad_weight(k, down, l->h, st->dx, grad + o.down);
    brg_linear_grad_input(k, down, params + o.down, st->dx, st->dh);
    k->swiglu_grad((struct brg_shape){n, hidden}, l->gate_up, st->dh, st->dgate_up);
    brg_linear_grad_weight(k, gate_up, l->norm2, st->dgate_up, grad + o.gate_up);
    brg_linear_grad_input(k, gate_up, params + o.gate_up, st->dgate_up, st->dnorm);
    k->rmsnorm_grad(stream, l->mid, params + o.norm2, l->inv2, st->dnorm, st->dx, grad + o.norm2);

    brg_linear_grad_weight(k, out, l->out, st->dx, grad + o.out);
    brg_linear_grad_input(k, out, params + o.out, st->dx, st->dnorm);
    k->attention_grad(&a, l->qkv, l->out, l->stats, st->dnorm, st->dqkv, st->scratch);
    turn(w, n, 1, st->dqkv);
    brg_linear_grad_weight(k, qkv, l->norm1, st->dqkv, grad + o.qkv);
    brg_linear_grad_input(k, qkv, params + o.qkv, st->dqkv, st->dnorm);
    k->rmsnorm_grad(stream, l->x, params, l->inv1, st->dnorm, st->dx, grad);
}

void brg_llama_head(const struct brg_model_workspace *w, const float *params, uint32_t rows,
                    float *grad, struct brg_cross_entropy *sums) {
    const struct brg_llama_state *st = &w->llama;
    const uint32_t dim = w->spec.dim, vocab = w->spec.vocab;
    for (uint32_t at = 0; at < rows; at += st->logit_rows) {
        const uint32_t n = rows - at < st->logit_rows ? rows - at : st->logit_rows;
        const struct brg_linear l = {n, dim, vocab};
        const float *norm = st->norm + (size_t)at * dim;
        brg_linear_forward(w->k, l, norm, params, st->logits);
        w->k->cross_entropy((struct brg_shape){n, vocab}, st->target + at, grad != NULL, st->logits,
                            sums);
        if (grad == NULL) continue;
        brg_linear_grad_weight(w->k, l, norm, st->logits, grad);
        brg_linear_grad_input(w->k, l, params, st->logits, st->dnorm + (size_t)at * dim);
    }
}

/* The gradient of a layer's parameters, which are at `offset`; NULL stays NULL. */
static float *grad_at(float *grad, uint64_t offset) {
    return grad == NULL ? NULL : grad + offset;
}

int brg_llama_run(struct brg_model_workspace *w, const float *params, const struct brg_batch *batch,
                  float *grad, struct brg_model_sums *sums) {
    const struct brg_model_spec *s = &w->spec;
    const struct brg_llama_state *st = &w->llama;
    const struct brg_llama_offsets o = brg_llama_offsets_of(s, 0);
    const uint32_t n = rows_of(s, batch->samples);
    const struct brg_shape stream = {n, s->dim};
    struct brg_cross_entropy found = {.loss = 0, .correct = 0};

    const int rc = brg_llama_read_tokens(w, batch);
    if (rc != BRG_OK) return rc;
    w->k->embed(stream, st->input, params + o.embedding, st->layers[0].x);
    for (uint32_t i = 0; i < s->layers; i++)
        brg_llama_layer_forward(w, &st->layers[i], params + brg_llama_offsets_of(s, i).norm1,
                                batch->samples, i + 1 < s->layers ? st->layers[i + 1].x : st->x);
    w->k->rmsnorm(stream, s->norm_eps, st->x, params + o.norm, st->norm, st->inv);
    brg_llama_head(w, params + o.head, n, grad_at(grad, o.head), &found);
    if (grad != NULL) {
        memset(st->dx, 0, (size_t)n * s->dim * sizeof *st->dx);
        w->k->rmsnorm_grad(stream, st->x, params + o.norm, st->inv, st->dnorm, st->dx,
                           grad + o.norm);
        for (uint32_t i = s->layers; i-- > 0;) {
            const uint64_t at = brg_llama_offsets_of(s, i).norm1;
            brg_llama_layer_backward(w, &st->layers[i], params + at, batch->samples, grad + at);
        }
        w->k->embed_grad(stream, st->input, st->dx, grad + o.embedding);
    }
    sums->loss += found.loss;
    sums->correct += found.correct;
    sums->count += n;
    return BRG_OK;
}
