#include "coding/dct_code.h"
#include "coding/dense.h"
#include "coding/scheme_ops.h"

#include <math.h>
#include <string.h>

#define S_MAX BRG_DCT_CODE_S_MAX
#define PI 3.14159265358979323846

/* The word of the code on units first .. first + s (mod n), scaled to sum 1: word[k] is at
 * first + k. c_i = (-1)^i / (sin(theta_i) prod_{m != i} (x_i - x_m)) */
static void word_of(uint32_t n, uint32_t s, uint32_t first, double *word) {
    double sum = 0.0;
    for (uint32_t k = 0; k <= s; k++) {
        const uint32_t i = (first + k) % n;
        const double theta = (2.0 * i + 1.0) * PI / (2.0 * n);
        double c = (i % 2 == 0 ? 1.0 : -1.0) / sin(theta);
        for (uint32_t l = 0; l <= s; l++) {
            const double other = (2.0 * ((first + l) % n) + 1.0) * PI / (2.0 * n);
            if (l != k) c /= cos(theta) - cos(other);
        }
        word[k] = c;
        sum += c;
    }
    for (uint32_t k = 0; k <= s; k++) word[k] /= sum;
}

void brg_dct_code_mix(uint32_t n, uint32_t s, double *mix) {
    double word[BRG_CYCLIC_S_MAX + 1];
    BRG_ASSERT(s < n && s <= BRG_CYCLIC_S_MAX);
    for (uint32_t j = 0; j < n; j++) {
        const uint32_t first = (j + n - s) % n;
        word_of(n, s, first, word);
        for (uint32_t k = 0; k <= s; k++)
            mix[(size_t)((first + k) % n) * (s + 1) + s - k] = word[k];
    }
    for (uint32_t i = 0; i < n; i++) {
        double *row = mix + (size_t)i * (s + 1);
        const double length = sqrt(brg_dense_dot(s + 1, row, row));
        for (uint32_t k = 0; k <= s; k++) row[k] /= length;
    }
}

/* Syndromes N shares of all coordinates at once, as their inner products. */
struct syndromes {
    uint32_t s;
    const double *null;          /* [n, s]: row i is what an error of unit i adds */
    double energy[S_MAX][S_MAX]; /* N gram N^T */
    double total;                /* its trace */
};

static void measure(const struct brg_cyclic *c, const struct brg_bits *available,
                    const double *gram, struct syndromes *y) {
    *y = (struct syndromes){.s = c->s, .null = brg_cyclic_null(c)};
    for (uint32_t i = 0; i < c->n; i++) {
        if (!brg_bits_has(available, i)) continue;
        for (uint32_t j = 0; j < c->n; j++) {
            if (!brg_bits_has(available, j)) continue;
            const double g = gram[(size_t)i * c->n + j];
            for (uint32_t k = 0; k < c->s; k++)
                brg_dense_axpy(c->s, g * y->null[(size_t)i * c->s + k], y->null + (size_t)j * c->s,
                               y->energy[k]);
        }
    }
    for (uint32_t k = 0; k < c->s; k++) y->total += y->energy[k][k];
}

/* What is left of the syndromes when anything may be wrong at the `count` units of `at`; what does
 * not span the space of their errors, to rounding, explains nothing: HUGE_VAL. */
static double unexplained(const struct syndromes *y, uint32_t count, const uint32_t *at) {
    double q[S_MAX * S_MAX], left = y->total;
    for (uint32_t k = 0; k < count; k++)
        memcpy(q + (size_t)k * y->s, y->null + (size_t)at[k] * y->s, y->s * sizeof *q);
    if (brg_dense_orthonormalise(count, y->s, q) != BRG_OK) return HUGE_VAL;
    for (uint32_t k = 0; k < count; k++) {
        const double *row = q + (size_t)k * y->s;
        for (uint32_t a = 0; a < y->s; a++) left -= row[a] * brg_dense_dot(y->s, y->energy[a], row);
    }
    return left;
}

/* The next rising choice of `count` of the `n` units; 0 after the last. */
static int next_choice(uint32_t n, uint32_t count, uint32_t *choice) {
    for (uint32_t j = count; j-- > 0;) {
        if (choice[j] == n - count + j) continue;
        choice[j]++;
        for (uint32_t k = j + 1; k < count; k++) choice[k] = choice[k - 1] + 1;
        return 1;
    }
    return 0;
}

/* The best support of `liars` units among the `here` present ones; at [gone] holds the missing. */
static double search(const struct syndromes *y, const uint32_t *present, uint32_t here,
                     uint32_t *at, uint32_t gone, uint32_t liars, uint32_t *best) {
    uint32_t choice[S_MAX];
    double least = HUGE_VAL;
    for (uint32_t j = 0; j < liars; j++) choice[j] = j;
    do {
        for (uint32_t j = 0; j < liars; j++) at[gone + j] = present[choice[j]];
        const double left = unexplained(y, gone + liars, at);
        if (!(left < least)) continue;
        least = left;
        memcpy(best, at + gone, liars * sizeof *best);
    } while (next_choice(here, liars, choice));
    return least;
}

void brg_dct_code_locate(const struct brg_scheme *s, const struct brg_bits *available,
                         const double *gram, double noise, struct brg_dct_code_verdict *verdict) {
    const uint32_t n = s->spec.n;
    const struct brg_cyclic c = {.n = n, .s = s->spec.s, .table = s->table};
    uint32_t present[BRG_CODE_WORKERS_MAX], at[S_MAX + 1], here = 0, gone = 0;
    double energy = 0.0;
    struct syndromes y;

    BRG_ASSERT(s->spec.kind == BRG_CODE_DCT || s->spec.kind == BRG_CODE_CYCLIC);
    BRG_ASSERT(!s->plan_only && c.s <= S_MAX);
    *verdict = (struct brg_dct_code_verdict){.status = BRG_DCT_CODE_BLIND};
    for (uint32_t i = 0; i < n; i++) {
        if (brg_bits_has(available, i)) {
            present[here++] = i;
            energy += gram[(size_t)i * n + i];
        } else if (gone++ < c.s) {
            at[gone - 1] = i;
        }
    }
    if (gone >= c.s) return;
    measure(&c, available, gram, &y);
    const double bound = noise * noise * energy; /* N is a projection: |N e| <= |e| */
    for (uint32_t liars = 0; 2 * liars + gone <= c.s; liars++) {
        const double left = search(&y, present, here, at, gone, liars, verdict->unit);
        verdict->residual = left / bound;
        if (!(left <= bound)) continue;
        verdict->status = liars == 0 ? BRG_DCT_CODE_CLEAN : BRG_DCT_CODE_FOUND;
        verdict->count = liars;
        return;
    }
    verdict->status = BRG_DCT_CODE_TOO_MANY;
}
