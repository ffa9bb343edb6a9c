#include "coding/dct_calibrate.h"

#include <math.h>
#include <string.h>

#include "coding/berrut.h"
#include "coding/dct_parity.h"
#include "coding/dense.h"
#include "coding/linalg.h"

static const uint32_t widths[2] = {BRG_DCT_NARROW, BRG_DCT_WIDE};

int brg_dct_check(const struct brg_dct_spec *spec, struct brg_why *why) {
    if (spec->nodes > BRG_DCT_NODES_MAX || spec->blocks < 1 || spec->nodes < spec->blocks + 2) {
        return brg_why_set(why, BRG_EINVAL,
                           "liars cannot be located among %u workers for %u blocks: choose %u to "
                           "%u workers",
                           spec->nodes, spec->blocks, spec->blocks + 2, BRG_DCT_NODES_MAX);
    }
    const uint32_t parity = spec->nodes - spec->blocks;
    const uint32_t most = parity - 1 < BRG_DCT_LEVELS_MAX ? parity - 1 : BRG_DCT_LEVELS_MAX;
    if (spec->levels < 1 || spec->levels > most) {
        return brg_why_set(why, BRG_EINVAL,
                           "%u workers for %u blocks cannot be searched %u deep: choose 1 to %u, "
                           "one more than the liars to be located",
                           spec->nodes, spec->blocks, spec->levels, most);
    }
    if (spec->groups < 2 || spec->groups > BRG_DCT_GROUPS_MAX) {
        return brg_why_set(
            why, BRG_EINVAL,
            "a calibration from %u groups is not offered: choose 2 to %u, 30 is good", spec->groups,
            BRG_DCT_GROUPS_MAX);
    }
    if (!(spec->precision > 0.0) || !(spec->precision < 1.0)) {
        return brg_why_set(why, BRG_EINVAL,
                           "the workers' relative precision is %g: give what their arithmetic has, "
                           "1e-7 for float32, 2e-3 for bfloat16",
                           spec->precision);
    }
    return BRG_OK;
}

struct brg_dct_checks brg_dct_set_checks(const struct brg_dct_set *set) {
    return (struct brg_dct_checks){set->count, set->parity, set->a, set->hw, set->smallest};
}

static size_t square(const struct brg_dct_spec *spec) {
    return (size_t)spec->nodes * spec->nodes;
}

size_t brg_dct_calibration_bytes(const struct brg_dct_spec *spec) {
    return sizeof(struct brg_dct_calibration) + spec->groups * square(spec) * sizeof(double);
}

void brg_dct_calibration_init(struct brg_dct_calibration *cal, size_t size_bytes,
                              const struct brg_dct_spec *spec, const double *x) {
    BRG_ASSERT(brg_dct_check(spec, NULL) == BRG_OK);
    BRG_ASSERT(size_bytes >= brg_dct_calibration_bytes(spec));
    memset(cal, 0, brg_dct_calibration_bytes(spec));
    cal->spec = *spec;
    memcpy(cal->x, x, spec->nodes * sizeof *x);
}

void brg_dct_calibration_add(struct brg_dct_calibration *cal, const double *gram) {
    const size_t size = square(&cal->spec);
    memcpy(cal->ring + cal->next * size, gram, size * sizeof *gram);
    cal->next = (cal->next + 1) % cal->spec.groups;
    if (cal->count < cal->spec.groups) cal->count++;
}

int brg_dct_whiten(struct brg_dct_whiten s, const double *x, const double *cn, double *hw,
                   double *h, double *p, double *scratch) {
    const uint32_t n = s.n, m = n - s.blocks;
    double deviation[BRG_DCT_NODES_MAX];
    BRG_ASSERT(n <= BRG_DCT_NODES_MAX && s.blocks < n);
    brg_dct_parity(n, x, h, scratch);
    memcpy(hw, h + (size_t)s.blocks * n, (size_t)m * n * sizeof *hw);
    brg_linalg_congruence((struct brg_linalg_congruence){m, n}, hw, cn, p, scratch);
    for (uint32_t k = 0; k < m; k++) {
        deviation[k] = sqrt(p[(size_t)k * m + k] + s.precision * s.precision);
    }
    for (uint32_t k = 0; k < m; k++) {
        for (uint32_t l = 0; l < m; l++) {
            p[(size_t)k * m + l] *= (1.0 - BRG_DCT_SHRINK) / (deviation[k] * deviation[l]);
        }
        /* The white part of C belongs to the diagonal, which is 1 by the choice of deviation. */
        p[(size_t)k * m + k] = 1.0;
        for (uint32_t i = 0; i < n; i++) hw[(size_t)k * n + i] /= deviation[k];
    }
    const int rc = brg_linalg_cholesky(m, p);
    if (rc != BRG_OK) return rc;
    brg_linalg_forward(m, p, n, hw);
    return BRG_OK;
}

/* Everything of a set but its thresholds. */
static int frame(struct brg_dct_set *set, const struct brg_dct_calibration *cal, const double *cn,
                 uint64_t have, struct brg_dct_work *work) {
    const uint32_t nodes = cal->spec.nodes, blocks = cal->spec.blocks;
    double *hw = set->hw, *part = work->square[1];
    memset(set, 0, sizeof *set);
    set->have = have;
    set->version = cal->version;
    for (uint32_t i = 0; i < nodes; i++) {
        if ((have >> i & 1) == 0) continue;
        set->x[set->count] = cal->x[i];
        set->node[set->count++] = i;
    }
    const uint32_t n = set->count;
    if (n < blocks + 2) return BRG_ERANK;
    set->parity = n - blocks;
    set->levels = cal->spec.levels < set->parity - 1 ? cal->spec.levels : set->parity - 1;
    brg_dct_subgram(nodes, cn, n, set->node, part);
    const int rc = brg_dct_whiten((struct brg_dct_whiten){n, blocks, cal->spec.precision}, set->x,
                                  part, hw, work->square[2], work->square[3], work->square[4]);
    if (rc != BRG_OK) return rc;
    for (uint32_t k = 0; k < set->parity; k++) {
        const double *row = hw + (size_t)k * n;
        for (uint32_t i = 0; i < n; i++) brg_dense_axpy(n, row[i], row, set->a + (size_t)i * n);
    }
    for (uint32_t i = 0; i < n; i++) set->smallest += set->a[(size_t)i * n + i];
    set->smallest *= BRG_DCT_SMALLEST * cal->spec.precision * cal->spec.precision / set->parity;
    return BRG_OK;
}

/* The thresholds that the ring's groups give for a set. */
static void measure(struct brg_dct_set *set, const struct brg_dct_calibration *cal,
                    struct brg_dct_limits *limits, struct brg_dct_work *work) {
    double *part = work->square[3];
    struct brg_dct_problem p;
    struct brg_dct_path path;
    memset(limits, 0, sizeof *limits);
    for (uint32_t group = 0; group < cal->count; group++) {
        brg_dct_subgram(cal->spec.nodes, cal->ring + group * square(&cal->spec), set->count,
                        set->node, part);
        brg_dct_pose(brg_dct_set_checks(set), part, work, &p);
        for (uint32_t w = 0; w < 2; w++) {
            brg_dct_search(&p, (struct brg_dct_reach){set->levels, widths[w]}, work, &path);
            const double last = path.residual[set->levels];
            limits->level[w] = fmax(limits->level[w], last);
            for (uint32_t v = 0; v <= set->levels; v++) {
                limits->tau[w][v] =
                    fmax(limits->tau[w][v], BRG_DCT_TAU_FACTOR * path.residual[v] / last);
            }
        }
    }
}

/* *believed follows `measured` down at once and up slowly; *trust is how much of it that is. */
static void follow(double measured, double *believed, double *trust) {
    const double most = *believed > 0.0 ? BRG_DCT_GROWTH_MAX * *believed : measured;
    *believed = fmin(measured, most);
    *trust = *believed / measured;
}

static void believe(struct brg_dct_calibration *cal, const struct brg_dct_limits *measured) {
    for (uint32_t w = 0; w < 2; w++) {
        follow(measured->level[w], &cal->limits.level[w], &cal->trust.level[w]);
        for (uint32_t v = 0; v <= cal->spec.levels; v++) {
            follow(measured->tau[w][v], &cal->limits.tau[w][v], &cal->trust.tau[w][v]);
        }
    }
}

/* The largest eigenvalue of hw cn hw^T: noise against what `hw` was whitened for. */
static int largest(const struct brg_dct_calibration *cal, const double *hw, const double *cn,
                   struct brg_dct_work *work, double *value) {
    const uint32_t n = cal->spec.nodes, m = n - cal->spec.blocks;
    double sigma[BRG_DCT_NODES_MAX];
    brg_linalg_congruence((struct brg_linalg_congruence){m, n}, hw, cn, work->square[2],
                          work->square[3]);
    const int rc = brg_linalg_jacobi((struct brg_linalg_vectors){m, m}, work->square[2],
                                     work->square[3], sigma);
    *value = rc == BRG_OK ? sigma[0] : 0.0;
    return rc;
}

/* Moves `mean`, the ring's, towards the present Cn until no direction outside the code grows by
 * more than BRG_DCT_GROWTH_MAX: the largest eigenvalue is convex along the way. */
static int clamp(const struct brg_dct_calibration *cal, double *mean, struct brg_dct_work *work) {
    const uint32_t n = cal->spec.nodes;
    double *hw = work->square[0];
    double now, then;
    int rc = brg_dct_whiten((struct brg_dct_whiten){n, cal->spec.blocks, cal->spec.precision},
                            cal->x, cal->cn, hw, work->square[1], work->square[2], work->square[3]);
    if (rc == BRG_OK) rc = largest(cal, hw, cal->cn, work, &now);
    if (rc == BRG_OK) rc = largest(cal, hw, mean, work, &then);
    if (rc != BRG_OK) return rc;
    const double most = BRG_DCT_GROWTH_MAX * fmax(now, 1.0);
    if (then <= most) return BRG_OK;
    const double step = (most - now) / (then - now);
    for (size_t i = 0; i < square(&cal->spec); i++) {
        mean[i] = cal->cn[i] + step * (mean[i] - cal->cn[i]);
    }
    return BRG_OK;
}

int brg_dct_calibration_finish(struct brg_dct_calibration *cal, struct brg_dct_work *work) {
    const size_t size = square(&cal->spec);
    double *mean = work->square[5];
    struct brg_dct_set set;
    struct brg_dct_limits measured;
    int rc = BRG_OK;
    if (cal->count < 2) return BRG_ERANK;
    memset(mean, 0, size * sizeof *mean);
    for (uint32_t group = 0; group < cal->count; group++) {
        const double *gram = cal->ring + group * size;
        for (size_t i = 0; i < size; i++) mean[i] += gram[i] / cal->count;
    }
    if (cal->version > 0) rc = clamp(cal, mean, work);
    const uint64_t all = cal->spec.nodes == 64 ? UINT64_MAX : (UINT64_C(1) << cal->spec.nodes) - 1;
    if (rc == BRG_OK) rc = frame(&set, cal, mean, all, work);
    if (rc != BRG_OK) return rc;
    memcpy(cal->cn, mean, size * sizeof *mean);
    measure(&set, cal, &measured, work);
    believe(cal, &measured);
    cal->version++;
    return BRG_OK;
}

int brg_dct_set_build(struct brg_dct_set *set, const struct brg_dct_calibration *cal, uint64_t have,
                      struct brg_dct_work *work) {
    BRG_ASSERT(cal->version > 0);
    BRG_ASSERT(work->levels >= cal->spec.levels);
    const int rc = frame(set, cal, cal->cn, have, work);
    if (rc != BRG_OK) return rc;
    measure(set, cal, &set->limits, work);
    for (uint32_t w = 0; w < 2; w++) {
        set->limits.level[w] *= cal->trust.level[w];
        for (uint32_t v = 0; v <= set->levels; v++) {
            set->limits.tau[w][v] = fmax(1.0, set->limits.tau[w][v] * cal->trust.tau[w][v]);
        }
    }
    return BRG_OK;
}

/* t [nodes, kept]: unit rows for what is kept, predictions from it for the rest. */
static void complete(const struct brg_dct_calibration *cal, uint32_t kept, const uint32_t *node,
                     double *memory, double *t) {
    double x[BRG_DCT_NODES_MAX];
    struct brg_berrut_basis basis;
    uint32_t terms = kept - kept / 4 - (kept % 4 != 0); /* as decoding has it */
    if (terms < cal->spec.blocks) terms = cal->spec.blocks;
    for (uint32_t i = 0; i < kept; i++) x[i] = cal->x[node[i]];
    brg_berrut_basis_init(&basis, kept, x, memory);
    uint32_t next = 0;
    for (uint32_t i = 0; i < cal->spec.nodes; i++) {
        double *row = t + (size_t)i * kept;
        if (next < kept && node[next] == i) {
            memset(row, 0, kept * sizeof *row);
            row[next++] = 1.0;
        } else {
            brg_berrut_row_chebyshev(&basis, terms, cal->x[i], row);
        }
    }
}

int brg_dct_learn(struct brg_dct_calibration *cal, const struct brg_dct_set *set,
                  const double *gram, uint64_t flagged, struct brg_dct_work *work) {
    uint32_t index[BRG_DCT_NODES_MAX], node[BRG_DCT_NODES_MAX], kept = 0;
    double *t = work->square[0], *part = work->square[1], *full = work->square[5];
    double energy;
    uint64_t broken;
    BRG_ASSERT(cal->version > 0);
    for (uint32_t i = 0; i < set->count; i++) {
        if ((flagged >> set->node[i] & 1) != 0) continue;
        index[kept] = i;
        node[kept++] = set->node[i];
    }
    if (kept < cal->spec.blocks + 2) return BRG_ERANK;
    complete(cal, kept, node, work->columns, t);
    brg_dct_subgram(set->count, gram, kept, index, part);
    brg_linalg_congruence((struct brg_linalg_congruence){cal->spec.nodes, kept}, t, part, full,
                          work->square[4]);
    if (brg_dct_normalise(cal->spec.nodes, full, &energy, &broken) != BRG_OK) return BRG_ERANK;
    brg_dct_calibration_add(cal, full);
    cal->learned++;
    const int due =
        cal->learned <= BRG_DCT_EAGER_ROUNDS || cal->learned % BRG_DCT_UPDATE_ROUNDS == 0;
    return due ? brg_dct_calibration_finish(cal, work) : BRG_OK;
}
