#include "coding/dct_pgz.h"

#include <math.h>
#include <string.h>

#include "coding/dct_parity.h"
#include "coding/dense.h"
#include "coding/linalg.h"

size_t brg_dct_pgz_doubles(uint32_t n, uint32_t q) {
    return (size_t)n * q + (size_t)n * n + (size_t)n * n * q;
}

/* The `count` indices of the largest scores, rising. */
static void largest(uint32_t n, const double *score, uint32_t count, uint32_t *at) {
    uint64_t taken = 0;
    BRG_ASSERT(count <= n && n <= BRG_DCT_NODES_MAX);
    for (uint32_t k = 0; k < count; k++) {
        uint32_t best = n;
        for (uint32_t i = 0; i < n; i++) {
            if ((taken >> i & 1) == 0 && (best == n || score[i] > score[best])) best = i;
        }
        taken |= UINT64_C(1) << best;
    }
    for (uint32_t i = 0, k = 0; i < n; i++) {
        if ((taken >> i & 1) != 0) at[k++] = i;
    }
}

/* Rows p < rows of length columns * q: element (l, c) is (s_l+p + s_|l-p|) / 2 of column c. */
struct smooth {
    uint32_t rows, columns, q;
};
static void smooth_matrix(struct smooth m, const double *s, double *out) {
    for (uint32_t p = 0; p < m.rows; p++) {
        for (uint32_t l = 0; l < m.columns; l++) {
            const double *up = s + (size_t)(l + p) * m.q;
            const double *down = s + (size_t)(l > p ? l - p : p - l) * m.q;
            double *to = out + ((size_t)p * m.columns + l) * m.q;
            for (uint32_t c = 0; c < m.q; c++) to[c] = 0.5 * (up[c] + down[c]);
        }
    }
}

/* Singular values and the turn of the matrix with `rows` rows; the pieces of `memory` it uses. */
static int decompose(struct brg_dct_word word, uint32_t rows, double *memory, double *sigma,
                     const double **turn) {
    const uint32_t m = word.n - word.blocks;
    double *s = memory, *v = s + (size_t)word.n * word.q, *a = v + (size_t)word.n * word.n;
    const struct smooth size = {rows, m - rows + 1, word.q};
    BRG_ASSERT(word.blocks < word.n && word.n <= BRG_DCT_NODES_MAX);
    BRG_ASSERT(rows > 0 && rows <= m);
    brg_dct_syndromes((struct brg_dct_syndromes){word.n, m, word.q}, word.x, word.y, s);
    smooth_matrix(size, s, a);
    *turn = v;
    return brg_linalg_jacobi((struct brg_linalg_vectors){rows, size.columns * size.q}, a, v, sigma);
}

int brg_dct_pgz_count(struct brg_dct_word word, uint32_t most, double tolerance, double *memory,
                      uint32_t *count) {
    double sigma[BRG_DCT_NODES_MAX];
    const double *turn;
    BRG_ASSERT(2 * most <= word.n - word.blocks);
    const double size = sqrt(brg_dense_dot(word.n * word.q, word.y, word.y));
    const int rc = decompose(word, most + 1, memory, sigma, &turn);
    if (rc != BRG_OK) return rc;
    *count = 0;
    while (*count < most && sigma[*count] > tolerance * size) ++*count;
    return BRG_OK;
}

int brg_dct_pgz_locate(struct brg_dct_word word, uint32_t count, double *memory, uint32_t *at) {
    double sigma[BRG_DCT_NODES_MAX], score[BRG_DCT_NODES_MAX];
    const double *turn;
    const int rc = decompose(word, count + 1, memory, sigma, &turn);
    if (rc != BRG_OK) return rc;
    const double *locator = turn + (size_t)count * (count + 1); /* of the smallest singular value */
    for (uint32_t i = 0; i < word.n; i++) {
        const double angle = acos(fmax(-1.0, fmin(1.0, word.x[i])));
        double value = 0.0;
        for (uint32_t p = 0; p <= count; p++) value += locator[p] * cos(p * angle);
        score[i] = -fabs(value);
    }
    largest(word.n, score, count, at);
    return BRG_OK;
}

int brg_dct_music_smooth(struct brg_dct_word word, uint32_t count, double *memory, uint32_t *at) {
    double sigma[BRG_DCT_NODES_MAX], score[BRG_DCT_NODES_MAX], steer[BRG_DCT_NODES_MAX];
    const double *turn;
    const uint32_t m = word.n - word.blocks;
    uint32_t rows = 2 * m / 3 + 1;
    if (rows > m - count + 1) rows = m - count + 1;
    if (rows < count + 1) rows = count + 1;
    const int rc = decompose(word, rows, memory, sigma, &turn);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < word.n; i++) {
        const double angle = acos(fmax(-1.0, fmin(1.0, word.x[i])));
        for (uint32_t l = 0; l < rows; l++) steer[l] = cos(l * angle);
        score[i] = 0.0;
        for (uint32_t k = 0; k < count; k++) {
            const double along = brg_dense_dot(rows, turn + (size_t)k * rows, steer);
            score[i] += along * along;
        }
        score[i] /= brg_dense_dot(rows, steer, steer);
    }
    largest(word.n, score, count, at);
    return BRG_OK;
}

int brg_dct_music(struct brg_dct_music s, const double *hw, const double *gram, double *memory,
                  uint32_t *at) {
    double sigma[BRG_DCT_NODES_MAX], score[BRG_DCT_NODES_MAX], column[BRG_DCT_NODES_MAX];
    double *r = memory, *turn = r + (size_t)s.m * s.m, *scratch = turn + (size_t)s.m * s.m;
    BRG_ASSERT(s.m <= s.n && s.n <= BRG_DCT_NODES_MAX);
    BRG_ASSERT(s.count <= s.m);
    brg_linalg_congruence((struct brg_linalg_congruence){s.m, s.n}, hw, gram, r, scratch);
    const int rc = brg_linalg_jacobi((struct brg_linalg_vectors){s.m, s.m}, r, turn, sigma);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < s.n; i++) {
        for (uint32_t k = 0; k < s.m; k++) column[k] = hw[(size_t)k * s.n + i];
        score[i] = 0.0;
        for (uint32_t k = 0; k < s.count; k++) {
            const double along = brg_dense_dot(s.m, turn + (size_t)k * s.m, column);
            score[i] += along * along;
        }
        score[i] /= brg_dense_dot(s.m, column, column);
    }
    largest(s.n, score, s.count, at);
    return BRG_OK;
}
