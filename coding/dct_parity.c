#include "coding/dct_parity.h"

#include <math.h>
#include <string.h>

#include "coding/dense.h"
#include "coding/linalg.h"

static double clamped_angle(double x) {
    return acos(fmax(-1.0, fmin(1.0, x)));
}

void brg_dct_parity(uint32_t n, const double *x, double *h, double *scratch) {
    double diagonal[BRG_DCT_PARITY_NODES_MAX];
    BRG_ASSERT(n > 0 && n <= BRG_DCT_PARITY_NODES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        const double angle = clamped_angle(x[i]);
        for (uint32_t k = 0; k < n; k++) scratch[(size_t)k * n + i] = cos(k * angle);
    }
    brg_linalg_orthogonal(n, scratch, h, diagonal);
}

void brg_dct_multipliers(uint32_t n, const double *x, double *w) {
    double largest = -HUGE_VAL;
    for (uint32_t i = 0; i < n; i++) {
        w[i] = 0.0; /* the logarithm: the products themselves leave the range of a double */
        for (uint32_t j = 0; j < n; j++) {
            if (j != i) w[i] -= log(fabs(x[i] - x[j]));
        }
        largest = fmax(largest, w[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t negative = 0;
        for (uint32_t j = 0; j < n; j++) negative += x[i] < x[j];
        w[i] = exp(w[i] - largest) * (negative % 2 == 0 ? 1.0 : -1.0);
    }
}

void brg_dct_syndromes(struct brg_dct_syndromes s, const double *x, const double *y, double *out) {
    double w[BRG_DCT_PARITY_NODES_MAX];
    BRG_ASSERT(s.m <= s.n && s.n <= BRG_DCT_PARITY_NODES_MAX);
    brg_dct_multipliers(s.n, x, w);
    memset(out, 0, (size_t)s.m * s.q * sizeof *out);
    for (uint32_t i = 0; i < s.n; i++) {
        const double angle = clamped_angle(x[i]);
        for (uint32_t l = 0; l < s.m; l++) {
            brg_dense_axpy(s.q, w[i] * cos(l * angle), y + (size_t)i * s.q, out + (size_t)l * s.q);
        }
    }
}

int brg_dct_values(struct brg_dct_values s, const double *h, const double *y, const uint32_t *at,
                   double *e) {
    double gram[BRG_DENSE_SOLVE_MAX * BRG_DENSE_SOLVE_MAX];
    double syndrome[BRG_DCT_PARITY_NODES_MAX];
    BRG_ASSERT(s.v <= s.m && s.m <= s.n && s.n <= BRG_DCT_PARITY_NODES_MAX);
    if (s.v > BRG_DENSE_SOLVE_MAX) return BRG_ENOMEM;
    for (uint32_t a = 0; a < s.v; a++) {
        for (uint32_t b = 0; b < s.v; b++) {
            double sum = 0.0;
            for (uint32_t k = 0; k < s.m; k++) {
                sum += h[(size_t)k * s.n + at[a]] * h[(size_t)k * s.n + at[b]];
            }
            gram[(size_t)a * s.v + b] = sum;
        }
    }
    const int rc = brg_linalg_cholesky(s.v, gram);
    if (rc != BRG_OK) return rc;
    for (uint32_t c = 0; c < s.q; c++) {
        double right[BRG_DENSE_SOLVE_MAX];
        for (uint32_t k = 0; k < s.m; k++) {
            syndrome[k] = 0.0;
            for (uint32_t i = 0; i < s.n; i++) {
                syndrome[k] += h[(size_t)k * s.n + i] * y[(size_t)i * s.q + c];
            }
        }
        for (uint32_t a = 0; a < s.v; a++) {
            right[a] = 0.0;
            for (uint32_t k = 0; k < s.m; k++) {
                right[a] += h[(size_t)k * s.n + at[a]] * syndrome[k];
            }
        }
        brg_linalg_forward(s.v, gram, 1, right);
        for (uint32_t a = s.v; a-- > 0;) { /* and back, with L^T */
            for (uint32_t b = a + 1; b < s.v; b++) right[a] -= gram[(size_t)b * s.v + a] * right[b];
            right[a] /= gram[(size_t)a * s.v + a];
            e[(size_t)a * s.q + c] = right[a];
        }
    }
    return BRG_OK;
}
