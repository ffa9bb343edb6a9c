/* reference.c - every operation as its equation: plain loops, sums and functions in double.
 *
 * This is the table that the fast ones are compared with, and a table to run a model on when a
 * fast one is under suspicion. Slow on purpose: nothing here is clever. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/tables.h"
#include "kernels/sgemm.h"

static void sgemm(const struct brg_gemm *g, const float *a, const float *b, float *c) {
    brg_sgemm_check(g, a, b, c);
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            double sum = 0;
            for (size_t l = 0; l < g->k; l++) {
                const float x = g->transpose_a ? a[l * g->lda + i] : a[i * g->lda + l];
                const float y = g->transpose_b ? b[j * g->ldb + l] : b[l * g->ldb + j];
                sum += (double)x * (double)y;
            }
            float *out = c + i * g->ldc + j;
            const double old = g->beta == 0.0f ? 0.0 : (double)g->beta * (double)*out;
            *out = (float)((double)g->alpha * sum + old);
        }
}

static void rmsnorm(struct brg_shape s, float eps, const float *x, const float *gain, float *y,
                    float *inv) {
    for (size_t r = 0; r < s.rows; r++) {
        double sum = 0;
        for (size_t i = 0; i < s.cols; i++) sum += (double)x[r * s.cols + i] * x[r * s.cols + i];
        inv[r] = (float)(1.0 / sqrt(sum / s.cols + (double)eps));
        for (size_t i = 0; i < s.cols; i++)
            y[r * s.cols + i] = (float)((double)x[r * s.cols + i] * inv[r] * gain[i]);
    }
}

static void rmsnorm_grad(struct brg_shape s, const float *x, const float *gain, const float *inv,
                         const float *dy, float *dx, float *dgain) {
    for (size_t r = 0; r < s.rows; r++) {
        const float *in = x + r * s.cols, *d = dy + r * s.cols;
        const double f = inv[r];
        double pull = 0;
        for (size_t i = 0; i < s.cols; i++) pull += (double)gain[i] * d[i] * in[i];
        pull *= f * f * f / s.cols;
        for (size_t i = 0; i < s.cols; i++) {
            float *out = dx + r * s.cols + i;
            *out = (float)(*out + ((double)gain[i] * d[i] * f - in[i] * pull));
            dgain[i] = (float)(dgain[i] + (double)d[i] * in[i] * f);
        }
    }
}

static void rope(const struct brg_rope *r, const float *cosines, const float *sines, float *x) {
    const size_t half = r->head_dim / 2;
    for (size_t row = 0; row < r->rows; row++)
        for (size_t h = 0; h < r->heads; h++)
            for (size_t i = 0; i < half; i++) {
                float *low = x + row * r->stride + h * r->head_dim + i, *high = low + half;
                const double c = cosines[row % r->context * half + i];
                const double s = (r->inverse ? -1.0 : 1.0) * sines[row % r->context * half + i];
                const double a = *low, b = *high;
                *low = (float)(a * c - b * s);
                *high = (float)(a * s + b * c);
            }
}

/* One query's place: q, the first key and value of its sample, and its row of `out`. */
struct query {
    size_t q, k, v, out, stats, stride;
    double scale;
};

static struct query query_of(const struct brg_attention *a, size_t sample, size_t h, size_t t) {
    const size_t d = a->head_dim, row = sample * a->context;
    const size_t stride = (a->heads + 2 * (size_t)a->kv_heads) * d;
    const size_t shared = h / (a->heads / a->kv_heads);
    return (struct query){
        .q = (row + t) * stride + h * d,
        .k = row * stride + (a->heads + shared) * d,
        .v = row * stride + (a->heads + a->kv_heads + shared) * d,
        .out = ((row + t) * a->heads + h) * d,
        .stats = ((sample * a->heads + h) * a->context + t) * 2,
        .stride = stride,
        .scale = 1.0 / sqrt((double)d),
    };
}

static double score(const struct brg_attention *a, const struct query *q, const float *qkv,
                    size_t u) {
    double sum = 0;
    for (size_t i = 0; i < a->head_dim; i++)
        sum += (double)qkv[q->q + i] * qkv[q->k + u * q->stride + i];
    return sum * q->scale;
}

static void attend(const struct brg_attention *a, const struct query *q, size_t t, const float *qkv,
                   float *out, float *stats) {
    double top = -INFINITY, sum = 0;
    for (size_t u = 0; u <= t; u++) top = fmax(top, score(a, q, qkv, u));
    for (size_t u = 0; u <= t; u++) sum += exp(score(a, q, qkv, u) - top);
    for (size_t i = 0; i < a->head_dim; i++) {
        double o = 0;
        for (size_t u = 0; u <= t; u++)
            o += exp(score(a, q, qkv, u) - top) / sum * qkv[q->v + u * q->stride + i];
        out[q->out + i] = (float)o;
    }
    stats[q->stats] = (float)top;
    stats[q->stats + 1] = (float)(1.0 / sum);
}

static void attention(const struct brg_attention *a, const float *qkv, float *out, float *stats,
                      float *scratch) {
    (void)scratch;
    for (size_t s = 0; s < a->samples; s++)
        for (size_t h = 0; h < a->heads; h++)
            for (size_t t = 0; t < a->context; t++) {
                const struct query q = query_of(a, s, h, t);
                attend(a, &q, t, qkv, out, stats);
            }
}

static void attend_grad(const struct brg_attention *a, const struct query *q, size_t t,
                        const float *qkv, const float *out, const float *stats, const float *dout,
                        float *dqkv) {
    double delta = 0;
    for (size_t i = 0; i < a->head_dim; i++) delta += (double)out[q->out + i] * dout[q->out + i];
    for (size_t u = 0; u <= t; u++) {
        const size_t at = u * q->stride;
        const double p = exp(score(a, q, qkv, u) - (double)stats[q->stats]) * stats[q->stats + 1];
        double dp = 0;
        for (size_t i = 0; i < a->head_dim; i++)
            dp += (double)dout[q->out + i] * qkv[q->v + at + i];
        const double ds = p * (dp - delta) * q->scale;
        for (size_t i = 0; i < a->head_dim; i++) {
            dqkv[q->v + at + i] += (float)(p * dout[q->out + i]);
            dqkv[q->q + i] += (float)(ds * qkv[q->k + at + i]);
            dqkv[q->k + at + i] += (float)(ds * qkv[q->q + i]);
        }
    }
}

static void attention_grad(const struct brg_attention *a, const float *qkv, const float *out,
                           const float *stats, const float *dout, float *dqkv, float *scratch) {
    (void)scratch;
    const size_t stride = (a->heads + 2 * (size_t)a->kv_heads) * a->head_dim;
    memset(dqkv, 0, (size_t)a->samples * a->context * stride * sizeof *dqkv);
    for (size_t s = 0; s < a->samples; s++)
        for (size_t h = 0; h < a->heads; h++)
            for (size_t t = 0; t < a->context; t++) {
                const struct query q = query_of(a, s, h, t);
                attend_grad(a, &q, t, qkv, out, stats, dout, dqkv);
            }
}

static void swiglu(struct brg_shape s, const float *gate_up, float *h) {
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.cols; i++) {
            const double g = gate_up[r * 2 * s.cols + i], u = gate_up[(r * 2 + 1) * s.cols + i];
            h[r * s.cols + i] = (float)(g / (1.0 + exp(-g)) * u);
        }
}

static void swiglu_grad(struct brg_shape s, const float *gate_up, const float *dh,
                        float *dgate_up) {
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.cols; i++) {
            const size_t gate = r * 2 * s.cols + i, up = gate + s.cols;
            const double g = gate_up[gate], u = gate_up[up], d = dh[r * s.cols + i];
            const double sigma = 1.0 / (1.0 + exp(-g));
            dgate_up[up] = (float)(d * g * sigma);
            dgate_up[gate] = (float)(d * u * sigma * (1.0 + g * (1.0 - sigma)));
        }
}

static void embed(struct brg_shape s, const uint32_t *id, const float *table, float *y) {
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.cols; i++) y[r * s.cols + i] = table[(size_t)id[r] * s.cols + i];
}

static void embed_grad(struct brg_shape s, const uint32_t *id, const float *dy, float *dtable) {
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.cols; i++)
            dtable[(size_t)id[r] * s.cols + i] += dy[r * s.cols + i];
}

static void cross_entropy(struct brg_shape s, const uint32_t *target, uint32_t want_grad,
                          float *logits, struct brg_cross_entropy *sums) {
    for (size_t r = 0; r < s.rows; r++) {
        float *row = logits + r * s.cols;
        BRG_ASSERT(target[r] < s.cols);
        size_t best = 0;
        for (size_t i = 1; i < s.cols; i++)
            if (row[i] > row[best]) best = i;
        const double top = row[best];
        double sum = 0;
        for (size_t i = 0; i < s.cols; i++) sum += exp(row[i] - top);
        sums->loss += log(sum) + top - row[target[r]];
        sums->correct += best == target[r];
        for (size_t i = 0; want_grad && i < s.cols; i++)
            row[i] = (float)(exp(row[i] - top) / sum - (i == target[r] ? 1.0 : 0.0));
    }
}

static void bias(struct brg_shape s, const float *b, float *y) {
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.cols; i++) y[r * s.cols + i] += b[i];
}

static void bias_grad(struct brg_shape s, const float *dy, float *dbias) {
    for (size_t i = 0; i < s.cols; i++) {
        double sum = dbias[i];
        for (size_t r = 0; r < s.rows; r++) sum += dy[r * s.cols + i];
        dbias[i] = (float)sum;
    }
}

static void relu(size_t count, float *y) {
    for (size_t i = 0; i < count; i++) y[i] = y[i] < 0.0f ? 0.0f : y[i];
}

static void relu_grad(size_t count, const float *y, float *dy) {
    for (size_t i = 0; i < count; i++) dy[i] = y[i] <= 0.0f ? 0.0f : dy[i];
}

static void add(size_t count, const float *x, float *y) {
    for (size_t i = 0; i < count; i++) y[i] += x[i];
}

static void scale(size_t count, float factor, float *y) {
    for (size_t i = 0; i < count; i++) y[i] *= factor;
}

static double norm2(size_t count, const float *x) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sum;
}

static void adamw(size_t count, const struct brg_adamw *a, const float *grad, float *m, float *v,
                  float *p) {
    for (size_t i = 0; i < count; i++) {
        const double g = (double)grad[i] * a->grad_scale;
        const double mi = (double)a->beta1 * m[i] + (1.0 - (double)a->beta1) * g;
        const double vi = (double)a->beta2 * v[i] + (1.0 - (double)a->beta2) * g * g;
        const double change = mi * a->correct1 / (sqrt(vi * a->correct2) + (double)a->eps);
        m[i] = (float)mi;
        v[i] = (float)vi;
        p[i] = (float)(p[i] - a->lr * (change + (double)a->decay * p[i]));
    }
}

static void sgd(size_t count, const struct brg_sgd *a, const float *grad, float *m, float *p) {
    BRG_ASSERT(m != NULL || !(a->momentum > 0.0f));
    for (size_t i = 0; i < count; i++) {
        double g = (double)grad[i] * a->grad_scale + (double)a->decay * p[i];
        if (m != NULL) {
            g += (double)a->momentum * m[i];
            m[i] = (float)g;
        }
        p[i] = (float)(p[i] - a->lr * g);
    }
}

static void combine(size_t count, uint32_t k, const double *w, const float *const *x, float *out) {
    BRG_ASSERT(k > 0 && k <= BRG_COMBINE_MAX);
    for (size_t i = 0; i < count; i++) {
        double sum = w[0] * x[0][i];
        for (uint32_t j = 1; j < k; j++) sum += w[j] * x[j][i];
        out[i] = (float)sum;
    }
}

/* The nearer of the two neighbours that a float's upper half can name; of two as near the one whose
 * last bit is 0. In double, where the neighbours and their distances are exact. */
static void to_bf16(size_t count, const float *x, uint16_t *y) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        const uint32_t low = bits & 0xffff0000u, high = low + 0x10000u;
        float below, above;
        memcpy(&below, &low, sizeof below);
        memcpy(&above, &high, sizeof above);
        uint32_t chosen = low;
        if (isnan(x[i])) {
            chosen = low | 0x400000u; /* quiet, so that some bit of its payload is left */
        } else if (isfinite(x[i])) {
            /* Infinity stands where the next number would be. */
            const double next = isinf(above) ? copysign(0x1p128, x[i]) : (double)above;
            const double down = fabs((double)x[i] - below), up = fabs(next - (double)x[i]);
            if (up < down || (up == down && (low & 0x10000u) != 0)) chosen = high;
        }
        y[i] = (uint16_t)(chosen >> 16);
    }
}

static void from_bf16(size_t count, const uint16_t *x, float *y) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(&y[i], &bits, sizeof bits);
    }
}

static void to_int8(size_t count, uint32_t block, const float *x, int8_t *q, float *scales) {
    BRG_ASSERT(block >= BRG_NARROW_BLOCK_MIN && block <= BRG_NARROW_BLOCK_MAX);
    for (size_t begin = 0; begin < count; begin += block) {
        const size_t end = begin + block < count ? begin + block : count;
        float largest = 0;
        int is_finite = 1;
        for (size_t i = begin; i < end; i++) {
            is_finite = is_finite && isfinite(x[i]);
            largest = fmaxf(largest, fabsf(x[i]));
        }
        const float scale = is_finite ? largest / 127.0f : NAN;
        scales[begin / block] = scale;
        for (size_t i = begin; i < end; i++) {
            const float v = scale > 0 ? fmaxf(-127.0f, fminf(127.0f, x[i] / scale)) : 0.0f;
            q[i] = (int8_t)lrintf(v);
        }
    }
}

static void from_int8(size_t count, uint32_t block, const int8_t *q, const float *scales,
                      float *y) {
    BRG_ASSERT(block >= BRG_NARROW_BLOCK_MIN && block <= BRG_NARROW_BLOCK_MAX);
    for (size_t i = 0; i < count; i++) y[i] = (float)q[i] * scales[i / block];
}

const struct brg_kernels brg_kernels_reference = {
    .name = "reference",
    .sgemm = sgemm,
    .rmsnorm = rmsnorm,
    .rmsnorm_grad = rmsnorm_grad,
    .rope = rope,
    .attention = attention,
    .attention_grad = attention_grad,
    .swiglu = swiglu,
    .swiglu_grad = swiglu_grad,
    .embed = embed,
    .embed_grad = embed_grad,
    .cross_entropy = cross_entropy,
    .bias = bias,
    .bias_grad = bias_grad,
    .relu = relu,
    .relu_grad = relu_grad,
    .add = add,
    .scale = scale,
    .norm2 = norm2,
    .adamw = adamw,
    .sgd = sgd,
    .combine = combine,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
    .to_int8 = to_int8,
    .from_int8 = from_int8,
};
