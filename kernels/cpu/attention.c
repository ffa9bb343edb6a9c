/* attention.c - causal attention with grouped keys and values, forward and backward.
 *
 * shapes: qkv [samples * context, (heads + 2 kv_heads) d]; out [samples * context, heads d]; stats
 *         [samples * heads * context, 2]; scratch: scores and their gradient, each
 *         [BRG_ATTENTION_BLOCK, context rounded up to 16].
 * ladder: 1. a block of query rows at a time: one product for its scores up to the diagonal,
 *            softmax in the cache, one product with the values. What lies right of the block's
 *            last row is never computed; the block's own triangle is computed and zeroed.
 *         2. backward recomputes the probabilities from the saved highest score and sum instead
 *            of reading context^2 floats per head back from memory.
 *
 * With P the probabilities: dV = P^T dO, dP = dO V^T, dS = P * (dP - rowsum(dO * O)),
 * dQ = dS K / sqrt(d), dK = dS^T Q / sqrt(d). */
#include "kernels/cpu/fast.h"

/* Where one (sample, head) lives, and the blocks' geometry. */
struct head {
    size_t q, k, v;      /* offsets into qkv */
    size_t out;          /* offset into out */
    size_t stats;        /* offset into stats */
    uint32_t stride;     /* of qkv */
    uint32_t out_stride; /* of out */
    uint32_t width;      /* of scratch */
    float scale;
};

static struct head head_of(const struct brg_attention *a, size_t sample, size_t h) {
    const size_t d = a->head_dim, row = sample * a->context;
    const size_t shared = h / (a->heads / a->kv_heads);
    const size_t stride = (a->heads + 2 * (size_t)a->kv_heads) * d;
    return (struct head){
        .q = row * stride + h * d,
        .k = row * stride + (a->heads + shared) * d,
        .v = row * stride + (a->heads + a->kv_heads + shared) * d,
        .out = row * a->heads * d + h * d,
        .stats = (sample * a->heads + h) * a->context * 2,
        .stride = (uint32_t)stride,
        .out_stride = (uint32_t)(a->heads * d),
        .width = (a->context + LANES - 1) / LANES * LANES,
        .scale = 1.0f / sqrtf((float)d),
    };
}

static void check(const struct brg_attention *a) {
    BRG_ASSERT(a->samples > 0 && a->context > 0);
    BRG_ASSERT(a->kv_heads > 0 && a->heads % a->kv_heads == 0);
    BRG_ASSERT(a->head_dim > 0 && a->head_dim <= BRG_HEAD_DIM_MAX);
}

/* Scores of query rows [first, first + rows) against keys [0, first + rows), scaled. */
static void scores(const struct brg_attention *a, const struct head *h, const float *qkv,
                   uint32_t first, uint32_t rows, float *s) {
    brg_sgemm_dnnl(&(struct brg_gemm){.m = rows,
                                      .n = first + rows,
                                      .k = a->head_dim,
                                      .transpose_b = 1,
                                      .lda = h->stride,
                                      .ldb = h->stride,
                                      .ldc = h->width,
                                      .alpha = h->scale},
                   qkv + h->q + (size_t)first * h->stride, qkv + h->k, s);
}

static void row_exp(size_t count, float top, float factor, float *restrict s) {
    for (size_t i = 0; i < count; i++) s[i] = fast_exp(s[i] - top) * factor;
}

/* One row of scores to probabilities; `seen` keys are allowed, [seen, cols) become 0. */
static void row_softmax(size_t seen, size_t cols, float *s, float *stats) {
    const float top = highest(seen, s);
    row_exp(seen, top, 1.0f, s);
    const float factor = (float)(1.0 / sum_blocks(seen, s));
    BRG_FAST(scale)(seen, factor, s);
    memset(s + seen, 0, (cols - seen) * sizeof *s);
    stats[0] = top;
    stats[1] = factor;
}

void BRG_FAST(attention)(const struct brg_attention *a, const float *qkv, float *out, float *stats,
                         float *scratch) {
    check(a);
    for (size_t i = 0; i < (size_t)a->samples * a->heads; i++) {
        const struct head h = head_of(a, i / a->heads, i % a->heads);
        for (uint32_t first = 0; first < a->context; first += BRG_ATTENTION_BLOCK) {
            const uint32_t left = a->context - first;
            const uint32_t rows = left < BRG_ATTENTION_BLOCK ? left : BRG_ATTENTION_BLOCK;
            const uint32_t cols = first + rows;
            scores(a, &h, qkv, first, rows, scratch);
            for (uint32_t r = 0; r < rows; r++)
                row_softmax(first + r + 1, cols, scratch + (size_t)r * h.width,
                            stats + h.stats + (size_t)(first + r) * 2);
            brg_sgemm_dnnl(&(struct brg_gemm){.m = rows,
                                              .n = a->head_dim,
                                              .k = cols,
                                              .lda = h.width,
                                              .ldb = h.stride,
                                              .ldc = h.out_stride,
                                              .alpha = 1.0f},
                           scratch, qkv + h.v, out + h.out + (size_t)first * h.out_stride);
        }
    }
}

static void row_dscores(size_t count, float delta, const float *restrict p, float *restrict dp) {
    for (size_t i = 0; i < count; i++) dp[i] = p[i] * (dp[i] - delta);
}

/* One block of query rows of the backward pass; adds to the block's columns of dk and dv. */
static void block_grad(const struct brg_attention *a, const struct head *h, const float *qkv,
                       const float *out, const float *stats, const float *dout, float *dqkv,
                       uint32_t first, uint32_t rows, float *p) {
    const uint32_t cols = first + rows, d = a->head_dim;
    float *dp = p + (size_t)BRG_ATTENTION_BLOCK * h->width;
    const float *q = qkv + h->q + (size_t)first * h->stride;
    const float *o = out + h->out + (size_t)first * h->out_stride;
    const float *go = dout + h->out + (size_t)first * h->out_stride;

    scores(a, h, qkv, first, rows, p);
    for (uint32_t r = 0; r < rows; r++) {
        float *row = p + (size_t)r * h->width;
        const float *st = stats + h->stats + (size_t)(first + r) * 2;
        const size_t seen = first + r + 1;
        row_exp(seen, st[0], st[1], row);
        memset(row + seen, 0, (cols - seen) * sizeof *row);
    }
    struct brg_gemm g = {.m = cols, .n = d, .k = rows, .transpose_a = 1, .alpha = 1, .beta = 1};
    g.lda = h->width, g.ldb = h->out_stride, g.ldc = h->stride;
    brg_sgemm_dnnl(&g, p, go, dqkv + h->v);

    g = (struct brg_gemm){.m = rows, .n = cols, .k = d, .transpose_b = 1, .alpha = 1};
    g.lda = h->out_stride, g.ldb = h->stride, g.ldc = h->width;
    brg_sgemm_dnnl(&g, go, qkv + h->v, dp);

    for (uint32_t r = 0; r < rows; r++) {
        const size_t at = (size_t)r * h->out_stride;
        row_dscores(cols, dot(d, go + at, o + at), p + (size_t)r * h->width,
                    dp + (size_t)r * h->width);
    }
    g = (struct brg_gemm){.m = rows, .n = d, .k = cols, .alpha = h->scale};
    g.lda = h->width, g.ldb = h->stride, g.ldc = h->stride;
    brg_sgemm_dnnl(&g, dp, qkv + h->k, dqkv + h->q + (size_t)first * h->stride);

    g = (struct brg_gemm){.m = cols, .n = d, .k = rows, .transpose_a = 1, .beta = 1};
    g.alpha = h->scale, g.lda = h->width, g.ldb = h->stride, g.ldc = h->stride;
    brg_sgemm_dnnl(&g, dp, q, dqkv + h->k);
}

void BRG_FAST(attention_grad)(const struct brg_attention *a, const float *qkv, const float *out,
                              const float *stats, const float *dout, float *dqkv, float *scratch) {
    check(a);
    const size_t stride = (a->heads + 2 * (size_t)a->kv_heads) * a->head_dim;
    memset(dqkv, 0, a->samples * (size_t)a->context * stride * sizeof *dqkv);
    for (size_t i = 0; i < (size_t)a->samples * a->heads; i++) {
        const struct head h = head_of(a, i / a->heads, i % a->heads);
        for (uint32_t first = 0; first < a->context; first += BRG_ATTENTION_BLOCK) {
            const uint32_t left = a->context - first;
            const uint32_t rows = left < BRG_ATTENTION_BLOCK ? left : BRG_ATTENTION_BLOCK;
            block_grad(a, &h, qkv, out, stats, dout, dqkv, first, rows, scratch);
        }
    }
}
