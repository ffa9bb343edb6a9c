/* berrut_rows.c - the rows of interpolation matrices: what a curve through values at nodes is at z.
 *
 *   rational    w_r / (z - x_r), w alternating by rank                      O(n)
 *   spline      transposed tridiagonal solve for the second derivatives      O(n)
 *   chebyshev   T_k(z) expressed in polynomials orthonormal on the nodes     O(terms n), basis
 * O(n^3)
 */
#include <math.h>
#include <string.h>

#include "coding/berrut.h"
#include "coding/dense.h"
#include "coding/linalg.h"

/* Nearer to a node than this, 1 / (z - x) would be all rounding. */
#define AT_NODE 1e-13

/* 1 and a unit row where z is a node. */
static int at_node(uint32_t n, const double *x, double z, double *row) {
    for (uint32_t r = 0; r < n; r++) {
        if (fabs(z - x[r]) >= AT_NODE) continue;
        memset(row, 0, n * sizeof *row);
        row[r] = 1.0;
        return 1;
    }
    return 0;
}

static void divide(uint32_t n, double by, double *row) {
    for (uint32_t r = 0; r < n; r++) row[r] /= by;
}

void brg_berrut_row_rational(uint32_t n, const double *x, int half, double z, double *row) {
    BRG_ASSERT(n > 0);
    if (at_node(n, x, z, row)) return;
    double sum = 0.0;
    for (uint32_t r = 0; r < n; r++) {
        const double end = half && (r == 0 || r + 1 == n) ? 0.5 : 1.0;
        row[r] = (r % 2 == 0 ? end : -end) / (z - x[r]);
        sum += row[r];
    }
    divide(n, sum, row);
}

/* The polynomial through first-kind points, in barycentric form. */
static void row_polynomial(uint32_t k, const double *alpha, double z, double *row) {
    if (at_node(k, alpha, z, row)) return;
    double sum = 0.0;
    for (uint32_t j = 0; j < k; j++) {
        const double weight = sqrt((1.0 - alpha[j]) * (1.0 + alpha[j])); /* sin of its angle */
        row[j] = (j % 2 == 0 ? weight : -weight) / (z - alpha[j]);
        sum += row[j];
    }
    divide(k, sum, row);
}

void brg_berrut_encode(const struct brg_berrut_spec *spec, double *rows) {
    double alpha[BRG_BERRUT_BLOCKS_MAX], z[BRG_BERRUT_NODES_MAX];
    const uint32_t k = spec->blocks;
    brg_berrut_alphas(k, alpha);
    brg_berrut_nodes(spec, z);
    for (uint32_t i = 0; i < spec->nodes; i++) {
        double *row = rows + (size_t)i * k;
        if (spec->encoder == BRG_BERRUT_RATIONAL)
            brg_berrut_row_rational(k, alpha, 0, z[i], row);
        else
            row_polynomial(k, alpha, z[i], row);
    }
}

/* Natural cubic spline: values y, second derivatives m with m_0 = m_n-1 = 0 and, inside,
 * h_i-1 m_i-1 + 2 (h_i-1 + h_i) m_i + h_i m_i+1 = 6 (slope_i - slope_i-1). The matrix is symmetric,
 * so a row c . m = c . A^-1 R y needs one solve for A^-1 c, whatever the number of values. */
void brg_berrut_row_spline(uint32_t n, const double *x, double z, double *row) {
    double h[BRG_BERRUT_NODES_MAX], c[BRG_BERRUT_NODES_MAX] = {0.0}, pivot[BRG_BERRUT_NODES_MAX];
    BRG_ASSERT(n > 0 && n <= BRG_BERRUT_NODES_MAX);
    if (n < 3) {
        brg_berrut_row_rational(n, x, 0, z, row);
        return;
    }
    if (at_node(n, x, z, row)) return;
    for (uint32_t i = 0; i + 1 < n; i++) h[i] = x[i] - x[i + 1]; /* nodes fall, lengths are > 0 */
    uint32_t i = 0;
    while (i + 2 < n && z < x[i + 1]) i++; /* outside the nodes: the first or last piece goes on */
    const double a = (z - x[i + 1]) / h[i], b = 1.0 - a;
    memset(row, 0, n * sizeof *row);
    row[i] = a;
    row[i + 1] = b;
    c[i] = (a * a * a - a) * h[i] * h[i] / 6.0;
    c[i + 1] = (b * b * b - b) * h[i] * h[i] / 6.0;
    c[0] = c[n - 1] = 0.0;
    for (uint32_t r = 1; r + 1 < n; r++) {
        pivot[r] = 2.0 * (h[r - 1] + h[r]);
        if (r == 1) continue;
        const double factor = h[r - 1] / pivot[r - 1];
        pivot[r] -= factor * h[r - 1];
        c[r] -= factor * c[r - 1];
    }
    for (uint32_t r = n - 1; r-- > 1;) {
        c[r] = (c[r] - h[r] * c[r + 1]) / pivot[r];
        row[r - 1] += 6.0 * c[r] / h[r - 1];
        row[r] -= 6.0 * c[r] / h[r - 1] + 6.0 * c[r] / h[r];
        row[r + 1] += 6.0 * c[r] / h[r];
    }
}

/* T_0 .. T_terms-1 at z by the recurrence; |z| <= 1, where it is stable. */
static void chebyshev(uint32_t terms, double z, double *t) {
    for (uint32_t k = 0; k < terms; k++) {
        t[k] = k == 0 ? 1.0 : k == 1 ? z : 2.0 * z * t[k - 1] - t[k - 2];
    }
}

void brg_berrut_basis_init(struct brg_berrut_basis *b, uint32_t n, const double *x,
                           double *memory) {
    double t[BRG_BERRUT_NODES_MAX];
    BRG_ASSERT(n > 0 && n <= BRG_BERRUT_NODES_MAX);
    b->n = n;
    b->r = memory;
    b->q = memory + (size_t)n * n;
    for (uint32_t i = 0; i < n; i++) {
        chebyshev(n, x[i], t);
        for (uint32_t k = 0; k < n; k++) b->r[(size_t)k * n + i] = t[k];
    }
    brg_linalg_orthogonal(n, b->r, b->q, b->diagonal);
}

void brg_berrut_row_chebyshev(const struct brg_berrut_basis *b, uint32_t terms, double z,
                              double *row) {
    double t[BRG_BERRUT_NODES_MAX];
    BRG_ASSERT(terms > 0 && terms <= b->n);
    chebyshev(terms, z, t);
    memset(row, 0, b->n * sizeof *row);
    for (uint32_t k = 0; k < terms; k++) { /* t becomes the values of the orthonormal ones */
        const double *r = b->r + (size_t)k * b->n;
        t[k] = (t[k] - brg_dense_dot(k, r, t)) / b->diagonal[k];
        brg_dense_axpy(b->n, t[k], b->q + (size_t)k * b->n, row);
    }
}
