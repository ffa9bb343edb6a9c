#include "coding/dct_locate.h"

#include <math.h>
#include <string.h>

#include "coding/dense.h"
#include "coding/linalg.h"

/* Lets back in, one by one, who is not needed to explain the round. */
static uint64_t prune(const struct brg_dct_problem *p, const double *tau, double last,
                      uint64_t support, struct brg_dct_work *work) {
    uint32_t count = (uint32_t)__builtin_popcountll(support);
    while (count > 1) {
        double least = HUGE_VAL;
        uint64_t without = support;
        for (uint32_t i = 0; i < p->n; i++) {
            if ((support >> i & 1) == 0) continue;
            const uint64_t rest = support & ~(UINT64_C(1) << i);
            const double r = brg_dct_residual(p, rest, work);
            if (r >= least) continue;
            least = r;
            without = rest;
        }
        count--;
        if (!(least <= tau[count] * last)) break;
        support = without;
    }
    return support;
}

/* The sequential test with the thresholds given; returns the status, *support whom it names. */
static uint32_t decide(const struct brg_dct_problem *p, const double *tau,
                       const struct brg_dct_path *path, uint64_t *support,
                       struct brg_dct_work *work) {
    const double last = path->residual[path->levels];
    *support = 0;
    for (uint32_t v = 0; v < path->levels; v++) {
        if (!(path->residual[v] <= tau[v] * last)) continue;
        if (v > 0) *support = prune(p, tau, last, path->support[v], work);
        return v > 0 ? BRG_DCT_CORRECTED : BRG_DCT_CLEAN;
    }
    return BRG_DCT_FAIL;
}

static void name(const struct brg_dct_set *set, const struct brg_dct_problem *p, uint64_t support,
                 struct brg_dct_work *work, struct brg_dct_verdict *verdict) {
    const double with_all = support != 0 ? brg_dct_residual(p, support, work) : 1.0;
    verdict->count = 0;
    verdict->accused = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        if ((support >> i & 1) == 0) continue;
        const double r = brg_dct_residual(p, support & ~(UINT64_C(1) << i), work);
        verdict->accused |= UINT64_C(1) << set->node[i];
        verdict->evidence[verdict->count] = log(r / with_all);
        verdict->node[verdict->count++] = set->node[i];
    }
}

void brg_dct_locate(const struct brg_dct_set *set, const double *gram, struct brg_dct_work *work,
                    struct brg_dct_verdict *verdict) {
    static const uint32_t widths[2] = {BRG_DCT_NARROW, BRG_DCT_WIDE};
    struct brg_dct_problem p;
    memset(verdict, 0, sizeof *verdict);
    brg_dct_pose(brg_dct_set_checks(set), gram, work, &p);
    for (uint32_t w = 0; w < 2; w++) {
        uint64_t support;
        brg_dct_search(&p, (struct brg_dct_reach){set->levels, widths[w]}, work, &verdict->path);
        verdict->wide = w;
        verdict->level = verdict->path.residual[set->levels] / set->limits.level[w];
        verdict->status = decide(&p, set->limits.tau[w], &verdict->path, &support, work);
        if (verdict->level > BRG_DCT_ALARM) {
            verdict->status = BRG_DCT_ALARM_LEVEL;
            support = 0;
        }
        name(set, &p, support, work, verdict);
        if (verdict->status == BRG_DCT_CLEAN) return;
        if (verdict->status == BRG_DCT_CORRECTED && verdict->count < BRG_DCT_WIDE_FROM) return;
    }
}

/* Inner products of one block's sketch, normalised; 0 where the block says nothing. */
static int block_gram(uint32_t n, const double *z, double *gram) {
    double energy;
    uint64_t broken;
    brg_dct_sketch_gram(n, z, gram);
    return brg_dct_normalise(n, gram, &energy, &broken) == BRG_OK;
}

static double whitened(const struct brg_dct_set *set, const double *gram) {
    return brg_dense_dot(set->count * set->count, set->a, gram) / set->parity;
}

static void block_path(const struct brg_dct_set *set, const double *gram, struct brg_dct_work *work,
                       struct brg_dct_problem *p, struct brg_dct_path *path) {
    brg_dct_pose(brg_dct_set_checks(set), gram, work, p);
    brg_dct_search(p, (struct brg_dct_reach){set->levels, BRG_DCT_NARROW}, work, path);
}

void brg_dct_sparse_calibrate(struct brg_dct_calibration *cal, const struct brg_dct_set *set,
                              const double *z, struct brg_dct_work *work) {
    struct brg_dct_problem p;
    struct brg_dct_path path;
    if (!block_gram(set->count, z, work->square[5])) return;
    block_path(set, work->square[5], work, &p, &path);
    for (uint32_t v = 0; v <= set->levels; v++) {
        cal->sparse[v] = fmax(cal->sparse[v], path.residual[v] / path.residual[set->levels]);
    }
}

/* Keeps the blocks with the most whitened energy, largest first. */
static void rank(const struct brg_dct_set *set, uint32_t blocks, const double *z,
                 struct brg_dct_work *work, struct brg_dct_sparse *out) {
    double score[BRG_DCT_SPARSE_MAX];
    const size_t size = (size_t)set->count * BRG_DCT_COLUMNS;
    for (uint32_t b = 0; b < blocks; b++) {
        if (!block_gram(set->count, z + b * size, work->square[5])) continue;
        const double own = whitened(set, work->square[5]);
        if (out->searched == BRG_DCT_SPARSE_MAX && !(own > score[BRG_DCT_SPARSE_MAX - 1])) continue;
        uint32_t to = out->searched < BRG_DCT_SPARSE_MAX ? out->searched++ : BRG_DCT_SPARSE_MAX - 1;
        for (; to > 0 && score[to - 1] < own; to--) {
            score[to] = score[to - 1];
            out->block[to] = out->block[to - 1];
        }
        score[to] = own;
        out->block[to] = b;
    }
}

void brg_dct_sparse_locate(const struct brg_dct_calibration *cal, const struct brg_dct_set *set,
                           uint32_t blocks, const double *z, struct brg_dct_work *work,
                           struct brg_dct_sparse *out) {
    const size_t size = (size_t)set->count * BRG_DCT_COLUMNS;
    double tau[BRG_DCT_LEVELS_MAX + 1];
    memset(out, 0, sizeof *out);
    for (uint32_t v = 0; v <= set->levels; v++) {
        tau[v] = fmax(set->limits.tau[0][v], BRG_DCT_TAU_FACTOR * cal->sparse[v]) *
                 BRG_DCT_SPARSE_FACTOR;
    }
    rank(set, blocks, z, work, out);
    for (uint32_t b = 0; b < out->searched; b++) {
        struct brg_dct_problem p;
        struct brg_dct_path path;
        uint64_t support;
        if (!block_gram(set->count, z + out->block[b] * size, work->square[5])) continue;
        block_path(set, work->square[5], work, &p, &path);
        const uint32_t status = decide(&p, tau, &path, &support, work);
        if (status == BRG_DCT_CLEAN) continue;
        out->failed += status == BRG_DCT_FAIL;
        for (uint32_t i = 0; i < set->count; i++) {
            if ((support >> i & 1) != 0) out->accused |= UINT64_C(1) << set->node[i];
        }
        out->block[out->found++] = out->block[b];
    }
}

double brg_dct_damage(const struct brg_dct_set *set, struct brg_dct_damage s, const double *weights,
                      double *direction) {
    double l[BRG_DCT_LEVELS_MAX * BRG_DCT_LEVELS_MAX],
        reach[BRG_DCT_LEVELS_MAX * BRG_DCT_NODES_MAX];
    double v[BRG_DCT_LEVELS_MAX * BRG_DCT_LEVELS_MAX], sigma[BRG_DCT_LEVELS_MAX];
    double unit[BRG_DCT_LEVELS_MAX];
    uint32_t at[BRG_DCT_LEVELS_MAX], e = 0;
    const uint32_t n = set->count, k = s.blocks;
    BRG_ASSERT(k > 0 && k <= BRG_DCT_NODES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        if ((s.support >> i & 1) == 0) continue;
        BRG_ASSERT(e < BRG_DCT_LEVELS_MAX);
        at[e++] = i;
    }
    for (uint32_t a = 0; a < e; a++) {
        for (uint32_t b = 0; b < e; b++) l[a * e + b] = set->a[(size_t)at[a] * n + at[b]];
        for (uint32_t j = 0; j < k; j++) reach[a * k + j] = weights[(size_t)j * n + at[a]];
    }
    if (direction != NULL) memset(direction, 0, n * sizeof *direction);
    if (brg_linalg_cholesky(e, l) != BRG_OK) return HUGE_VAL;
    brg_linalg_forward(e, l, k, reach); /* rows: the blocks' change per unit of whitened error */
    if (brg_linalg_jacobi((struct brg_linalg_vectors){e, k}, reach, v, sigma) != BRG_OK) {
        return HUGE_VAL;
    }
    memcpy(unit, v, e * sizeof *unit); /* the worst whitened error; back through L^T */
    for (uint32_t a = e; a-- > 0 && direction != NULL;) {
        for (uint32_t b = a + 1; b < e; b++) unit[a] -= l[b * e + a] * unit[b];
        unit[a] /= l[a * e + a];
        direction[at[a]] = unit[a] * sqrt(s.budget);
    }
    return e > 0 ? sigma[0] * sqrt(s.budget / k) : 0.0;
}
