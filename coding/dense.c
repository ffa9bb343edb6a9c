#include "coding/dense.h"

#include <math.h>
#include <string.h>

/* A row whose rest after orthogonalisation is this small against itself is noise. */
#define DEPENDENT 1e-13
/* Householder's diagonal falls off smoothly for random codes; below this the rank has ended. */
#define RANK_TOLERANCE 1e-11

double brg_dense_dot(uint32_t n, const double *x, const double *y) {
    /* Four running sums: the compiler may not reorder one, and one alone waits for every add. */
    double sum[4] = {0.0, 0.0, 0.0, 0.0};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (uint32_t lane = 0; lane < 4; lane++) sum[lane] += x[i + lane] * y[i + lane];
    }
    for (; i < n; i++) sum[0] += x[i] * y[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void brg_dense_axpy(uint32_t n, double alpha, const double *x, double *y) {
    for (uint32_t i = 0; i < n; i++) y[i] += alpha * x[i];
}

static void scale(uint32_t n, double factor, double *x) {
    for (uint32_t i = 0; i < n; i++) x[i] *= factor;
}

static void swap_rows(uint32_t n, double *x, double *y) {
    for (uint32_t i = 0; i < n; i++) {
        const double held = x[i];
        x[i] = y[i];
        y[i] = held;
    }
}

int brg_dense_solve(uint32_t k, double *a, double *b) {
    BRG_ASSERT(k <= BRG_DENSE_SOLVE_MAX);
    for (uint32_t p = 0; p < k; p++) {
        uint32_t best = p;
        for (uint32_t r = p + 1; r < k; r++) {
            if (fabs(a[(size_t)r * k + p]) > fabs(a[(size_t)best * k + p])) best = r;
        }
        if (best != p) {
            swap_rows(k, a + (size_t)best * k, a + (size_t)p * k);
            swap_rows(1, b + best, b + p);
        }
        const double *pivot = a + (size_t)p * k;
        if (pivot[p] == 0.0 || !isfinite(pivot[p])) return BRG_ERANK;
        for (uint32_t r = p + 1; r < k; r++) {
            double *row = a + (size_t)r * k;
            const double factor = row[p] / pivot[p];
            brg_dense_axpy(k - p, -factor, pivot + p, row + p);
            b[r] -= factor * b[p];
        }
    }
    for (uint32_t p = k; p-- > 0;) {
        const double *row = a + (size_t)p * k;
        b[p] = (b[p] - brg_dense_dot(k - p - 1, row + p + 1, b + p + 1)) / row[p];
    }
    return BRG_OK;
}

/* Takes out of `row` what lies along the `count` orthonormal rows of q, twice; the coefficients
 * are added up in l [count] unless NULL. Makes the rest a unit vector, its length in *length. */
static int orthogonalise(uint32_t count, uint32_t n, const double *q, double *row, double *l,
                         double *length) {
    const double before = sqrt(brg_dense_dot(n, row, row));
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t j = 0; j < count; j++) {
            const double *unit = q + (size_t)j * n;
            const double along = brg_dense_dot(n, row, unit);
            brg_dense_axpy(n, -along, unit, row);
            if (l != NULL) l[j] += along;
        }
    }
    *length = sqrt(brg_dense_dot(n, row, row));
    if (!(*length > DEPENDENT * before)) return BRG_ERANK; /* also for NaN */
    scale(n, 1.0 / *length, row);
    return BRG_OK;
}

int brg_dense_least_norm(uint32_t d, uint32_t s, double *m, const double *b, double *x) {
    BRG_ASSERT(d <= s);
    BRG_ASSERT(d <= BRG_DENSE_SOLVE_MAX);
    double l[BRG_DENSE_SOLVE_MAX], z[BRG_DENSE_SOLVE_MAX];
    memset(x, 0, s * sizeof *x);
    for (uint32_t k = 0; k < d; k++) {
        double *row = m + (size_t)k * s;
        double length;
        memset(l, 0, sizeof l);
        const int rc = orthogonalise(k, s, m, row, l, &length);
        if (rc != BRG_OK) return rc;
        z[k] = (b[k] - brg_dense_dot(k, l, z)) / length;
        brg_dense_axpy(s, z[k], row, x);
    }
    return BRG_OK;
}

int brg_dense_orthonormalise(uint32_t rows, uint32_t n, double *m) {
    for (uint32_t k = 0; k < rows; k++) {
        double length;
        const int rc = orthogonalise(k, n, m, m + (size_t)k * n, NULL, &length);
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

/* Reflects row r so that only its element r is left of r .. n-1, and rows r+1 .. n-1 and `ones`
 * with it: row k of b is column k of the matrix that is factored. v [n] is scratch. */
static void reflect(uint32_t n, uint32_t r, double *b, double *ones, double *v) {
    double *row = b + (size_t)r * n;
    const uint32_t rest = n - r;
    const double length = sqrt(brg_dense_dot(rest, row + r, row + r));
    const double diagonal = row[r] > 0.0 ? -length : length; /* away from it: no cancellation */
    memcpy(v + r, row + r, rest * sizeof *v);
    v[r] -= diagonal;
    const double beta = 2.0 / brg_dense_dot(rest, v + r, v + r);
    memset(row + r, 0, rest * sizeof *row);
    row[r] = diagonal;
    for (uint32_t k = r + 1; k < n; k++) {
        double *other = b + (size_t)k * n + r;
        brg_dense_axpy(rest, -beta * brg_dense_dot(rest, v + r, other), v + r, other);
    }
    brg_dense_axpy(rest, -beta * brg_dense_dot(rest, v + r, ones + r), v + r, ones + r);
}

/* Solves R x = t for the upper triangular R of the first `rank` rows of b; t becomes x. */
static void back_substitute(uint32_t n, uint32_t rank, const double *b, double *t) {
    for (uint32_t k = rank; k-- > 0;) {
        const double *column = b + (size_t)k * n;
        t[k] /= column[k];
        brg_dense_axpy(k, -t[k], column, t);
    }
}

/* QR with pivoting of the transpose of b; its rank must come out as n - s. */
static int factor(uint32_t n, uint32_t s, double *b, double *ones, double *v, uint32_t *order) {
    double largest = 0.0;
    for (uint32_t k = 0; k < n; k++) {
        order[k] = k;
        ones[k] = 1.0;
    }
    for (uint32_t r = 0; r < n; r++) {
        uint32_t best = r;
        double best_square = -1.0;
        for (uint32_t k = r; k < n; k++) {
            const double *rest = b + (size_t)k * n + r;
            const double square = brg_dense_dot(n - r, rest, rest);
            if (square > best_square) {
                best = k;
                best_square = square;
            }
        }
        const double diagonal = sqrt(best_square);
        if (r == 0) largest = diagonal;
        const int independent = diagonal > RANK_TOLERANCE * largest;
        if (independent != (r < n - s)) return BRG_ERANK;
        if (!independent) return BRG_OK;
        swap_rows(n, b + (size_t)best * n, b + (size_t)r * n);
        const uint32_t held = order[r];
        order[r] = order[best];
        order[best] = held;
        reflect(n, r, b, ones, v);
    }
    return BRG_OK;
}

int brg_dense_left_null(uint32_t n, uint32_t s, double *b, double *null, double *a, double *ones,
                        double *t) {
    uint32_t order[BRG_DENSE_ORDER_MAX];
    BRG_ASSERT(s < n);
    BRG_ASSERT(n <= BRG_DENSE_ORDER_MAX);
    const uint32_t rank = n - s;
    int rc = factor(n, s, b, ones, t, order);
    if (rc != BRG_OK) return rc;

    memset(null, 0, (size_t)s * n * sizeof *null);
    for (uint32_t f = 0; f < s; f++) {
        double *y = null + (size_t)f * n;
        memcpy(t, b + (size_t)(rank + f) * n, rank * sizeof *t);
        back_substitute(n, rank, b, t);
        for (uint32_t k = 0; k < rank; k++) y[order[k]] = -t[k];
        y[order[rank + f]] = 1.0;
    }
    rc = brg_dense_orthonormalise(s, n, null);
    if (rc != BRG_OK) return rc;

    back_substitute(n, rank, b, ones);
    memset(a, 0, n * sizeof *a);
    for (uint32_t k = 0; k < rank; k++) a[order[k]] = ones[k];
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t f = 0; f < s; f++) {
            const double *y = null + (size_t)f * n;
            brg_dense_axpy(n, -brg_dense_dot(n, a, y), y, a);
        }
    }
    return BRG_OK;
}
