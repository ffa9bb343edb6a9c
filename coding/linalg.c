#include "coding/linalg.h"

#include <math.h>
#include <string.h>

#include "coding/dense.h"

/* Two rows of a turned matrix count as orthogonal from here on. */
#define ORTHOGONAL 1e-14

/* Makes the reflection that leaves only element r of `row` of its elements r .. n-1, in place, and
 * returns what that element becomes; *beta is 0 where there is nothing to reflect. */
static double reflector(uint32_t n, uint32_t r, double *row, double *beta) {
    const double length = sqrt(brg_dense_dot(n - r, row + r, row + r));
    *beta = 0.0;
    if (!(length > 0.0)) return 0.0;
    const double diagonal = row[r] > 0.0 ? -length : length; /* away from it: no cancellation */
    row[r] -= diagonal;
    *beta = 2.0 / brg_dense_dot(n - r, row + r, row + r);
    return diagonal;
}

static void reflect(uint32_t n, uint32_t r, const double *v, double beta, double *x) {
    const double along = beta * brg_dense_dot(n - r, v + r, x + r);
    if (along != 0.0) brg_dense_axpy(n - r, -along, v + r, x + r);
}

void brg_linalg_orthogonal(uint32_t n, double *a, double *q, double *diagonal) {
    double beta[BRG_LINALG_ORDER_MAX];
    BRG_ASSERT(n > 0 && n <= BRG_LINALG_ORDER_MAX);
    for (uint32_t r = 0; r < n; r++) {
        double *v = a + (size_t)r * n;
        diagonal[r] = reflector(n, r, v, beta + r);
        for (uint32_t k = r + 1; k < n; k++) reflect(n, r, v, beta[r], a + (size_t)k * n);
    }
    memset(q, 0, (size_t)n * n * sizeof *q);
    for (uint32_t k = 0; k < n; k++) {
        double *row = q + (size_t)k * n;
        row[k] = 1.0;
        for (uint32_t r = k + 1; r-- > 0;) reflect(n, r, a + (size_t)r * n, beta[r], row);
    }
}

int brg_linalg_cholesky(uint32_t n, double *a) {
    BRG_ASSERT(n <= BRG_LINALG_ORDER_MAX);
    for (uint32_t i = 0; i < n; i++) {
        double *row = a + (size_t)i * n;
        for (uint32_t j = 0; j < i; j++) {
            const double *above = a + (size_t)j * n;
            row[j] = (row[j] - brg_dense_dot(j, row, above)) / above[j];
        }
        const double left = row[i] - brg_dense_dot(i, row, row);
        if (!(left > 0.0) || !isfinite(left)) return BRG_ERANK;
        row[i] = sqrt(left);
        for (uint32_t j = i + 1; j < n; j++) row[j] = 0.0;
    }
    return BRG_OK;
}

void brg_linalg_forward(uint32_t n, const double *l, uint32_t columns, double *x) {
    for (uint32_t i = 0; i < n; i++) {
        double *row = x + (size_t)i * columns;
        for (uint32_t j = 0; j < i; j++) {
            brg_dense_axpy(columns, -l[(size_t)i * n + j], x + (size_t)j * columns, row);
        }
        for (uint32_t c = 0; c < columns; c++) row[c] /= l[(size_t)i * n + i];
    }
}

void brg_linalg_product(struct brg_linalg_product s, const double *a, const double *b, double *c) {
    memset(c, 0, (size_t)s.m * s.n * sizeof *c);
    for (uint32_t i = 0; i < s.m; i++) {
        for (uint32_t j = 0; j < s.k; j++) {
            const double factor = a[(size_t)i * s.k + j];
            if (factor != 0.0) {
                brg_dense_axpy(s.n, factor, b + (size_t)j * s.n, c + (size_t)i * s.n);
            }
        }
    }
}

void brg_linalg_congruence(struct brg_linalg_congruence s, const double *t, const double *a,
                           double *c, double *scratch) {
    brg_linalg_product((struct brg_linalg_product){s.m, s.n, s.n}, t, a, scratch);
    for (uint32_t i = 0; i < s.m; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            c[(size_t)i * s.m + j] = c[(size_t)j * s.m + i] =
                brg_dense_dot(s.n, scratch + (size_t)i * s.n, t + (size_t)j * s.n);
        }
    }
}

static void turn(uint32_t n, double cosine, double sine, double *x, double *y) {
    for (uint32_t i = 0; i < n; i++) {
        const double held = x[i];
        x[i] = cosine * held - sine * y[i];
        y[i] = sine * held + cosine * y[i];
    }
}

/* Makes rows i and j orthogonal; 1 where they were not, 0 where they were, -1 where not finite. */
static int turn_pair(struct brg_linalg_vectors s, uint32_t i, uint32_t j, double *x, double *v) {
    double *xi = x + (size_t)i * s.length, *xj = x + (size_t)j * s.length;
    const double ii = brg_dense_dot(s.length, xi, xi), jj = brg_dense_dot(s.length, xj, xj);
    const double ij = brg_dense_dot(s.length, xi, xj);
    if (!isfinite(ii) || !isfinite(jj)) return -1;
    if (fabs(ij) <= ORTHOGONAL * sqrt(ii) * sqrt(jj)) return 0;
    const double zeta = (jj - ii) / (2.0 * ij);
    const double tangent = (zeta >= 0.0 ? 1.0 : -1.0) / (fabs(zeta) + hypot(1.0, zeta));
    const double cosine = 1.0 / hypot(1.0, tangent);
    turn(s.length, cosine, cosine * tangent, xi, xj);
    turn(s.count, cosine, cosine * tangent, v + (size_t)i * s.count, v + (size_t)j * s.count);
    return 1;
}

static void swap(uint32_t n, double *x, double *y) {
    for (uint32_t i = 0; i < n; i++) {
        const double held = x[i];
        x[i] = y[i];
        y[i] = held;
    }
}

int brg_linalg_jacobi(struct brg_linalg_vectors s, double *x, double *v, double *sigma) {
    int turned = 1;
    memset(v, 0, (size_t)s.count * s.count * sizeof *v);
    for (uint32_t i = 0; i < s.count; i++) v[(size_t)i * s.count + i] = 1.0;
    for (uint32_t sweep = 0; turned != 0; sweep++) {
        if (sweep == BRG_LINALG_SWEEPS_MAX) return BRG_ERANK;
        turned = 0;
        for (uint32_t i = 0; i < s.count; i++) {
            for (uint32_t j = i + 1; j < s.count; j++) {
                const int pair = turn_pair(s, i, j, x, v);
                if (pair < 0) return BRG_ERANK;
                turned |= pair;
            }
        }
    }
    for (uint32_t i = 0; i < s.count; i++) {
        const double *row = x + (size_t)i * s.length;
        sigma[i] = sqrt(brg_dense_dot(s.length, row, row));
    }
    for (uint32_t i = 0; i < s.count; i++) { /* largest first; counts are small */
        uint32_t best = i;
        for (uint32_t j = i + 1; j < s.count; j++) {
            if (sigma[j] > sigma[best]) best = j;
        }
        if (best == i) continue;
        swap(1, sigma + i, sigma + best);
        swap(s.length, x + (size_t)i * s.length, x + (size_t)best * s.length);
        swap(s.count, v + (size_t)i * s.count, v + (size_t)best * s.count);
    }
    return BRG_OK;
}
