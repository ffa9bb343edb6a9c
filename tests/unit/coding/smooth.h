/* smooth.h - functions of continuous blocks on which coded computing is tried, and ways of lying.
 *
 *   TANH, SOFTMAX   20 x 20 numbers, elementwise or row by row
 *   GRAMIAN         X^T X / 30 of a 30 x 20 block: a polynomial, so an exact word for the
 * polynomial encoder LOGISTIC        gradient of logistic regression, 64 samples of 50 features and
 * a label MLP, MLP_RELU   gradient of a 16-24-4 perceptron, 32 samples with one-hot labels, both
 * encoded MLP_NEAR        MLP on blocks that are near each other
 *
 * For tests and benches: normal random data from a seed, results cast to float32 as workers send
 * them. */
#ifndef BRG_TEST_SMOOTH_H
#define BRG_TEST_SMOOTH_H

#include <math.h>
#include <string.h>

#include "base/prng.h"
#include "coding/berrut.h"
#include "coding/dct_gram.h"

enum smooth_kind { TANH, SOFTMAX, GRAMIAN, LOGISTIC, MLP, MLP_RELU, MLP_NEAR, SMOOTH_KINDS };
enum { SMOOTH_IN = 64 * 51, SMOOTH_OUT = 480, SMOOTH_BLOCKS = 16, SMOOTH_NODES = 64 };
enum { IN = 16, HIDDEN = 24, CLASSES = 4, ROW = IN + CLASSES, SAMPLES = 32, FEATURES = 50 };

static const char *const smooth_names[SMOOTH_KINDS] = {"tanh", "softmax",  "gramian", "logistic",
                                                       "mlp",  "mlp_relu", "mlp_near"};

struct smooth {
    uint32_t kind, in, out;
    double w[FEATURES], truth[FEATURES];
    double w1[IN * HIDDEN], w2[HIDDEN * CLASSES], teacher[IN * CLASSES];
};

static inline void smooth_fill(struct brg_prng *g, uint32_t count, double scale, double *x) {
    for (uint32_t i = 0; i < count; i++) x[i] = scale * brg_prng_normal(g);
}

static inline void smooth_init(struct smooth *s, uint32_t kind) {
    static const uint32_t in[] = {400,           400,           600,          64 * 51,
                                  SAMPLES * ROW, SAMPLES * ROW, SAMPLES * ROW};
    static const uint32_t out[] = {400, 400, 400, FEATURES, 480, 480, 480};
    struct brg_prng g = {1};
    *s = (struct smooth){.kind = kind, .in = in[kind], .out = out[kind]};
    smooth_fill(&g, FEATURES, 1.0 / sqrt(FEATURES), s->w);
    smooth_fill(&g, FEATURES, 2.0 / sqrt(FEATURES), s->truth);
    smooth_fill(&g, IN * HIDDEN, 1.0 / sqrt(IN), s->w1);
    smooth_fill(&g, HIDDEN * CLASSES, 1.0 / sqrt(HIDDEN), s->w2);
    smooth_fill(&g, IN * CLASSES, 1.0, s->teacher);
}

static inline void smooth_labelled(const struct smooth *s, struct brg_prng *g, double *x) {
    for (uint32_t b = 0; b < SAMPLES; b++) {
        double *row = x + (size_t)b * ROW, best = -HUGE_VAL;
        uint32_t label = 0;
        smooth_fill(g, IN, 1.0, row);
        for (uint32_t c = 0; c < CLASSES; c++) {
            double score = 0.3 * brg_prng_normal(g);
            for (uint32_t i = 0; i < IN; i++) score += row[i] * s->teacher[i * CLASSES + c];
            if (score > best) label = c;
            best = fmax(best, score);
            row[IN + c] = 0.0;
        }
        row[IN + label] = 1.0;
    }
}

/* Draws `blocks` blocks x [blocks, in]. */
static inline void smooth_draw(const struct smooth *s, struct brg_prng *g, uint32_t blocks,
                               double *x) {
    double common[SAMPLES * ROW];
    if (s->kind == MLP_NEAR) smooth_labelled(s, g, common);
    for (uint32_t j = 0; j < blocks; j++) {
        double *block = x + (size_t)j * s->in;
        if (s->kind == MLP_NEAR) {
            memcpy(block, common, sizeof common);
            for (uint32_t b = 0; b < SAMPLES; b++) {
                for (uint32_t i = 0; i < IN; i++) block[b * ROW + i] += 0.1 * brg_prng_normal(g);
            }
        } else if (s->kind == MLP || s->kind == MLP_RELU) {
            smooth_labelled(s, g, block);
        } else {
            smooth_fill(g, s->in, 1.0, block);
        }
        for (uint32_t b = 0; s->kind == LOGISTIC && b < 64; b++) {
            double score = 0.0;
            for (uint32_t i = 0; i < FEATURES; i++) score += block[b * 51 + i] * s->truth[i];
            block[b * 51 + FEATURES] = brg_prng_unit(g) < 1.0 / (1.0 + exp(-score)) ? 1.0 : 0.0;
        }
    }
}

static inline void smooth_softmax(uint32_t n, const double *x, double *p) {
    double top = -HUGE_VAL, sum = 0.0;
    for (uint32_t i = 0; i < n; i++) top = fmax(top, x[i]);
    for (uint32_t i = 0; i < n; i++) sum += p[i] = exp(x[i] - top);
    for (uint32_t i = 0; i < n; i++) p[i] /= sum;
}

static inline void smooth_gramian(const double *x, double *y) {
    memset(y, 0, 400 * sizeof *y);
    for (uint32_t r = 0; r < 30; r++) {
        for (uint32_t i = 0; i < 400; i++) y[i] += x[r * 20 + i / 20] * x[r * 20 + i % 20] / 30.0;
    }
}

static inline void smooth_logistic(const struct smooth *s, const double *x, double *y) {
    memset(y, 0, FEATURES * sizeof *y);
    for (uint32_t b = 0; b < 64; b++) {
        const double *row = x + (size_t)b * 51;
        double score = 0.0;
        for (uint32_t i = 0; i < FEATURES; i++) score += row[i] * s->w[i];
        const double off = (1.0 / (1.0 + exp(-score)) - row[FEATURES]) / 64.0;
        for (uint32_t i = 0; i < FEATURES; i++) y[i] += off * row[i];
    }
}

static inline void smooth_mlp(const struct smooth *s, const double *x, double *y) {
    double *dw2 = y + (size_t)IN * HIDDEN;
    memset(y, 0, SMOOTH_OUT * sizeof *y);
    for (uint32_t b = 0; b < SAMPLES; b++) {
        const double *row = x + (size_t)b * ROW;
        double h[HIDDEN] = {0.0}, slope[HIDDEN], o[CLASSES] = {0.0}, p[CLASSES], labels = 0.0;
        for (uint32_t i = 0; i < IN * HIDDEN; i++) h[i % HIDDEN] += row[i / HIDDEN] * s->w1[i];
        for (uint32_t k = 0; k < HIDDEN; k++) {
            slope[k] = h[k] > 0.0 ? 1.0 : 0.0;
            h[k] = s->kind == MLP_RELU ? fmax(h[k], 0.0) : tanh(h[k]);
            if (s->kind != MLP_RELU) slope[k] = 1.0 - h[k] * h[k];
            for (uint32_t c = 0; c < CLASSES; c++) o[c] += h[k] * s->w2[k * CLASSES + c];
        }
        smooth_softmax(CLASSES, o, p);
        for (uint32_t c = 0; c < CLASSES; c++) labels += row[IN + c];
        for (uint32_t c = 0; c < CLASSES; c++) p[c] = (p[c] * labels - row[IN + c]) / SAMPLES;
        for (uint32_t k = 0; k < HIDDEN; k++) {
            double back = 0.0;
            for (uint32_t c = 0; c < CLASSES; c++) {
                back += p[c] * s->w2[k * CLASSES + c];
                dw2[k * CLASSES + c] += h[k] * p[c];
            }
            for (uint32_t i = 0; i < IN; i++) y[i * HIDDEN + k] += row[i] * back * slope[k];
        }
    }
}

/* y [out] = f(x [in]). */
static inline void smooth_evaluate(const struct smooth *s, const double *x, double *y) {
    switch (s->kind) {
    case TANH:
        for (uint32_t i = 0; i < 400; i++) y[i] = tanh(x[i]);
        return;
    case SOFTMAX:
        for (uint32_t i = 0; i < 20; i++)
            smooth_softmax(20, x + (size_t)20 * i, y + (size_t)20 * i);
        return;
    case GRAMIAN: smooth_gramian(x, y); return;
    case LOGISTIC: smooth_logistic(s, x, y); return;
    default: smooth_mlp(s, x, y); return;
    }
}

/* A group as the coordinator sees it: blocks, their true values, and what the workers sent. */
struct smooth_group {
    double x[SMOOTH_BLOCKS * SMOOTH_IN];
    double truth[SMOOTH_BLOCKS * SMOOTH_OUT];
    float y[SMOOTH_NODES][SMOOTH_OUT];
};

/* rows [nodes, blocks] as brg_berrut_encode gives them. */
static inline void smooth_run(const struct smooth *s, const struct brg_berrut_spec *spec,
                              const double *rows, struct brg_prng *g, struct smooth_group *group) {
    static _Thread_local double u[SMOOTH_IN], value[SMOOTH_OUT];
    smooth_draw(s, g, spec->blocks, group->x);
    for (uint32_t j = 0; j < spec->blocks; j++) {
        smooth_evaluate(s, group->x + (size_t)j * s->in, group->truth + (size_t)j * s->out);
    }
    for (uint32_t i = 0; i < spec->nodes; i++) {
        memset(u, 0, s->in * sizeof *u);
        for (uint32_t j = 0; j < spec->blocks; j++) {
            const double weight = rows[(size_t)i * spec->blocks + j];
            for (uint32_t e = 0; e < s->in; e++) u[e] += weight * group->x[(size_t)j * s->in + e];
        }
        smooth_evaluate(s, u, value);
        for (uint32_t e = 0; e < s->out; e++) group->y[i][e] = (float)value[e];
    }
}

enum smooth_lie {
    LIE_LARGE,
    LIE_UNIT,
    LIE_SMALL,
    LIE_TINY,
    LIE_FLIP,
    LIE_SHIFT,
    LIE_COLLUDE,
    LIE_SPARSE,
    LIE_ZERO,
    LIE_SCALE,
    LIE_REPLAY,
    SMOOTH_LIES
};
static const char *const smooth_lie_names[SMOOTH_LIES] = {"large", "unit",  "small",   "tiny",
                                                          "flip",  "shift", "collude", "sparse",
                                                          "zero",  "scale", "replay"};

/* rms of the median result: what sizes of lies are relative to. */
static inline double smooth_scale(const struct smooth *s, uint32_t nodes,
                                  const struct smooth_group *group) {
    double sorted[SMOOTH_NODES];
    for (uint32_t i = 0; i < nodes; i++) {
        double sum = 0.0;
        for (uint32_t e = 0; e < s->out; e++)
            sum += (double)group->y[i][e] * (double)group->y[i][e];
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > sum; at--) sorted[at] = sorted[at - 1];
        sorted[at] = sum;
    }
    return sqrt(sorted[nodes / 2] / s->out);
}

/* Makes the results of the workers in `liars` wrong in one of the ways. */
static inline void smooth_lie(const struct smooth *s, uint32_t nodes, uint32_t lie, uint64_t liars,
                              struct brg_prng *g, struct smooth_group *group) {
    static const double size[SMOOTH_LIES] = {
        [LIE_LARGE] = 10.0, [LIE_UNIT] = 1.0, [LIE_SMALL] = 0.1, [LIE_TINY] = 0.01};
    const double scale = smooth_scale(s, nodes, group);
    const uint32_t few = s->out / 50 > 1 ? s->out / 50 : 1;
    double direction[SMOOTH_OUT];
    uint32_t chosen[SMOOTH_OUT];
    smooth_fill(g, s->out, scale, direction);
    for (uint32_t e = 0; e < few; e++) chosen[e] = (uint32_t)brg_prng_below(g, s->out);
    for (uint32_t i = 0; i < nodes; i++) {
        float *y = group->y[i];
        if ((liars >> i & 1) == 0) continue;
        for (uint32_t e = 0; e < s->out; e++) {
            if (size[lie] > 0.0)
                y[e] += (float)(size[lie] * scale * brg_prng_normal(g));
            else if (lie == LIE_FLIP)
                y[e] = -y[e];
            else if (lie == LIE_SHIFT)
                y[e] += (float)scale;
            else if (lie == LIE_COLLUDE)
                y[e] += (float)direction[e];
            else if (lie == LIE_ZERO)
                y[e] = 0.0f;
            else if (lie == LIE_SCALE)
                y[e] *= 1.3f;
            else if (lie == LIE_REPLAY)
                y[e] = group->y[(i + nodes / 2) % nodes][e];
        }
        for (uint32_t e = 0; lie == LIE_SPARSE && e < few; e++) {
            y[chosen[e]] += (float)(scale * sqrt(5.0) * brg_prng_normal(g));
        }
    }
}

/* `count` different numbers below n, as a mask. */
static inline uint64_t smooth_choose(struct brg_prng *g, uint32_t n, uint32_t count) {
    uint64_t mask = 0;
    while ((uint32_t)__builtin_popcountll(mask) < count) { /* count is far below n: ends soon */
        mask |= UINT64_C(1) << brg_prng_below(g, n);
    }
    return mask;
}

/* The rows of the results for the functions that take pointers. */
static inline void smooth_rows(const struct smooth_group *group, uint32_t nodes, const float **y) {
    for (uint32_t i = 0; i < nodes; i++) y[i] = group->y[i];
}

#endif
