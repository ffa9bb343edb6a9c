/* kernels.h - the arithmetic of training as one table of operations, chosen once at start.
 *
 *      model/, coordinator, worker
 *                 |
 *          struct brg_kernels ------- brg_kernels_pick()
 *            |            |
 *        reference      fast, compiled once per instruction set (base, v3, v4)
 *        plain loops    same source, same order of every sum
 *        in double
 *
 * Thread rule: every function may be called from any thread at the same time on different output
 * memory. None starts a thread, none keeps state.
 *
 * Bits: an operation's result depends on its arguments only, never on the alignment of a buffer,
 * on the thread that runs it or on how many run. All operations but sgemm (and attention, which
 * uses it) give the same bits on every instruction set: they are built without contraction into
 * fused multiply-add, and every sum has a fixed order of 16 lanes. sgemm is oneDNN's and keeps
 * its bits as long as the instruction set is the same.
 *
 * All matrices are row-major. "adds to" means that the output is accumulated, not overwritten.
 * Arguments are asserted; numbers are not: NaN and infinity go through as IEEE 754 has it. */
#ifndef BRG_KERNELS_H
#define BRG_KERNELS_H

#include "base/base.h"

#define BRG_COMBINE_MAX 1024u  /* vectors of one combination */
#define BRG_HEAD_DIM_MAX 1024u /* floats of one attention head */
#define BRG_ATTENTION_BLOCK 64u
#define BRG_NARROW_BLOCK_MIN 64u
#define BRG_NARROW_BLOCK_MAX 256u
#define BRG_KERNELS_MAX 4u /* tables in one binary */

/* A row-major matrix [rows, cols] without gaps. */
struct brg_shape {
    uint32_t rows, cols;
};

/* C [m, n] = alpha * op(A) [m, k] * op(B) [k, n] + beta * C; ld* = floats from row to row as
 * stored. */
struct brg_gemm {
    uint32_t m, n, k;
    uint32_t transpose_a, transpose_b; /* 1: A is stored [k, m], B is stored [n, k] */
    uint32_t lda, ldb, ldc;
    float alpha, beta; /* beta == 0: C may hold anything before */
};

/* The rows of q and k inside the projection's output [samples * context, stride]. */
struct brg_rope {
    uint32_t rows, context; /* position = row % context */
    uint32_t heads;         /* neighbouring heads to turn, q and k together */
    uint32_t head_dim;      /* even */
    uint32_t stride;        /* floats from row to row */
    uint32_t inverse;       /* 0: forward, 1: the backward pass (turn the other way) */
};

/* Causal attention over a fused projection: a row of qkv holds `heads` queries, then `kv_heads`
 * keys, then `kv_heads` values, each of head_dim floats. Query head h reads k/v head
 * h / (heads / kv_heads). */
struct brg_attention {
    uint32_t samples, context, heads, kv_heads, head_dim;
};

/* One AdamW step: g = grad * grad_scale; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2)
 * g^2; p -= lr * (m * correct1 / (sqrt(v * correct2) + eps) + decay * p). */
struct brg_adamw {
    float lr, beta1, beta2, eps, decay, grad_scale;
    float correct1, correct2; /* 1 / (1 - beta^step) */
};

/* One step of SGD: g = grad * grad_scale + decay * p; m = momentum m + g; p -= lr * m. */
struct brg_sgd {
    float lr, momentum, decay, grad_scale;
};

/* What brg_kernels.cross_entropy adds up. */
struct brg_cross_entropy {
    double loss;      /* sum of -ln p(target) */
    uint64_t correct; /* rows whose target has the highest score; the first of equals wins */
};

struct brg_kernels {
    const char *name; /* "reference", "base", "v3", "v4" */

    /* C = alpha op(A) op(B) + beta C. Single-threaded. asserts: m, n, k > 0, ld* cover a row */
    void (*sgemm)(const struct brg_gemm *g, const float *a, const float *b, float *c);

    /* y = x * inv * gain, inv[row] = 1 / sqrt(mean(x^2) + eps).
     * shape:  x, y [rows, cols]; gain [cols]; inv [rows], kept for the backward pass
     * source: Zhang, Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, eq. 4 */
    void (*rmsnorm)(struct brg_shape s, float eps, const float *x, const float *gain, float *y,
                    float *inv);
    /* adds to dx [rows, cols] and dgain [cols] what dy [rows, cols] brings. */
    void (*rmsnorm_grad)(struct brg_shape s, const float *x, const float *gain, const float *inv,
                         const float *dy, float *dx, float *dgain);

    /* Turns the pair (x[i], x[i + head_dim / 2]) of each head by the angle of its position, in
     * place.
     * shape:  cosines, sines [context, head_dim / 2]; x rows as `r` says
     * source: Su et al., "RoFormer", 2021, eq. 34, pairs in two halves as Hugging Face stores
     *         them; backward is the inverse turn */
    void (*rope)(const struct brg_rope *r, const float *cosines, const float *sines, float *x);

    /* out = softmax(q k^T / sqrt(head_dim), causal) v.
     * shape:  qkv [samples * context, (heads + 2 kv_heads) head_dim]; out [samples * context,
     *         heads head_dim]; stats [samples * heads * context, 2]: per row the highest score and
     *         1 / sum of exponentials, for the backward pass
     * own:    scratch of brg_attention_scratch() floats
     * source: Vaswani et al., 2017, eq. 1; rows in blocks, probabilities recomputed in the
     *         backward pass as in Dao et al., "FlashAttention", 2022, sec. 3 */
    void (*attention)(const struct brg_attention *a, const float *qkv, float *out, float *stats,
                      float *scratch);
    /* overwrites dqkv, shaped as qkv, from dout, shaped as out. */
    void (*attention_grad)(const struct brg_attention *a, const float *qkv, const float *out,
                           const float *stats, const float *dout, float *dqkv, float *scratch);

    /* h = silu(gate) * up, silu(x) = x / (1 + exp(-x)).
     * shape:  gate_up [rows, 2 cols]: `cols` of gate, then `cols` of up; h [rows, cols]
     * source: Shazeer, "GLU Variants Improve Transformer", 2020, eq. 6 */
    void (*swiglu)(struct brg_shape s, const float *gate_up, float *h);
    /* overwrites dgate_up [rows, 2 cols] from dh [rows, cols]. */
    void (*swiglu_grad)(struct brg_shape s, const float *gate_up, const float *dh, float *dgate_up);

    /* y[row] = table[id[row]]. shape: y [rows, cols]; every id below the table's rows */
    void (*embed)(struct brg_shape s, const uint32_t *id, const float *table, float *y);
    /* adds row i of dy to row id[i] of dtable, in the order of the rows. */
    void (*embed_grad)(struct brg_shape s, const uint32_t *id, const float *dy, float *dtable);

    /* Adds to `sums` the loss of every row; then logits hold, if `want_grad`, the gradient of the
     * summed loss, softmax(row) - onehot(target), and else nothing of use.
     * shape:  logits [rows, cols]; target [rows], each < cols */
    void (*cross_entropy)(struct brg_shape s, const uint32_t *target, uint32_t want_grad,
                          float *logits, struct brg_cross_entropy *sums);

    /* y [rows, cols] += bias [cols] in every row. */
    void (*bias)(struct brg_shape s, const float *bias, float *y);
    /* adds to dbias [cols] the sum of the rows of dy. */
    void (*bias_grad)(struct brg_shape s, const float *dy, float *dbias);
    /* y = max(y, 0), in place; NaN stays. */
    void (*relu)(size_t count, float *y);
    /* dy = 0 where y, the output of relu, is 0. */
    void (*relu_grad)(size_t count, const float *y, float *dy);

    void (*add)(size_t count, const float *x, float *y); /* y += x */
    void (*scale)(size_t count, float factor, float *y); /* y *= factor */
    double (*norm2)(size_t count, const float *x);       /* sum of x^2, in double */
    void (*adamw)(size_t count, const struct brg_adamw *a, const float *grad, float *m, float *v,
                  float *p);
    /* m may be NULL where momentum is 0. */
    void (*sgd)(size_t count, const struct brg_sgd *a, const float *grad, float *m, float *p);

    /* out[i] = (float)(w[0] x_0[i] + w[1] x_1[i] + ...), summed in double in the order of j.
     * shape:  w [k], x [k] pointers to `count` floats each; k in 1 .. BRG_COMBINE_MAX
     * own:    out must not overlap any x
     * cost:   every x is read once, out is written once past the caches: the speed of memory.
     *         k == 1 with w == 1 copies bit for bit; a weight of 0 still reads its vector */
    void (*combine)(size_t count, uint32_t k, const double *w, const float *const *x, float *out);

    /* y = x in bf16, the upper half of a float, rounded to nearest, ties to even; relative error
     * <= 2^-8. NaN stays NaN, what is beyond the largest becomes infinite. */
    void (*to_bf16)(size_t count, const float *x, uint16_t *y);
    void (*from_bf16)(size_t count, const uint16_t *x, float *y); /* exact */
    /* q = round(x / scale), ties to even, with one scale for each `block` neighbours, their largest
     * |x| / 127: the error is at most half a scale. A block with NaN or infinity in it gets the
     * scale NaN and comes back as NaN.
     * shape:   scales [(count + block - 1) / block]
     * asserts: BRG_NARROW_BLOCK_MIN <= block <= BRG_NARROW_BLOCK_MAX
     * source:  Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022, sec. 2,
     *          with linear steps */
    void (*to_int8)(size_t count, uint32_t block, const float *x, int8_t *q, float *scales);
    /* y = q * scale */
    void (*from_int8)(size_t count, uint32_t block, const int8_t *q, const float *scales, float *y);
};

/* What a narrow form has cost. */
struct brg_narrow_error {
    double max_relative; /* largest |y - x| over the largest |x| */
    double rms_relative; /* sqrt(sum (y - x)^2 / sum x^2); NaN where y or x holds one */
};

/* brg_narrow_error_of - how far y [count] is from x [count]; 0 and 0 where x is all 0 and y too,
 * infinite where only x is. */
struct brg_narrow_error brg_narrow_error_of(size_t count, const float *x, const float *y);

/* brg_kernels_pick - the fastest table that this CPU can run. The same on every call. */
const struct brg_kernels *brg_kernels_pick(void);

/* brg_kernels_list - every table that this CPU can run, the reference first, into out
 * [BRG_KERNELS_MAX]; returns how many. For tests and benches. */
uint32_t brg_kernels_list(const struct brg_kernels **out);

/* brg_attention_scratch - floats that attention and attention_grad need, for both. */
size_t brg_attention_scratch(const struct brg_attention *a);

/* brg_rope_table - cosines and sines [context, head_dim / 2] of the angles position *
 * theta^(-2 i / head_dim), computed in double. asserts: head_dim even, theta > 0 */
void brg_rope_table(uint32_t context, uint32_t head_dim, double theta, float *cosines,
                    float *sines);

/* brg_combine - `combine` of the picked table. */
void brg_combine(size_t count, uint32_t k, const double *w, const float *const *x, float *out);

struct brg_range {
    size_t begin, end; /* begin <= end */
};

/* brg_range_split - part `index` of `parts` neighbouring ranges of [0, count), cut at multiples of
 * 64 so that no two threads write one cache line. Elementwise operations over the parts give the
 * bits of one call over all. asserts: index < parts */
struct brg_range brg_range_split(size_t count, uint32_t parts, uint32_t index);

#endif
