#include "coding/dct_search.h"

#include <math.h>
#include <string.h>

#include "coding/dense.h"
#include "coding/linalg.h"

/* A column of the checks with this little left, against the largest, is spanned by those taken. */
#define SPANNED 1e-11
#define ROOT UINT32_MAX

size_t brg_dct_work_bytes(uint32_t levels) {
    BRG_ASSERT(levels > 0 && levels <= BRG_DCT_LEVELS_MAX);
    return sizeof(struct brg_dct_work) +
           (1 + (size_t)levels * BRG_DCT_WIDTH_MAX) * sizeof(struct brg_dct_node);
}

void brg_dct_work_init(struct brg_dct_work *work, size_t size_bytes, uint32_t levels) {
    BRG_ASSERT(size_bytes >= brg_dct_work_bytes(levels));
    work->levels = levels;
    for (uint32_t s = 0; s < BRG_DCT_SLOTS; s++) work->slot[s].support = 0;
}

void brg_dct_pose(struct brg_dct_checks checks, const double *gram, struct brg_dct_work *work,
                  struct brg_dct_problem *p) {
    const uint32_t n = checks.n, m = checks.m;
    BRG_ASSERT(checks.smallest > 0.0);
    double *turned = work->square[0], *r = work->square[1], *b = work->square[4];
    *p = (struct brg_dct_problem){n, m, checks.a, b, 0.0, 0.0, checks.smallest};
    brg_linalg_congruence((struct brg_linalg_congruence){m, n}, checks.hw, gram, r,
                          work->square[2]);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < m; k++) turned[(size_t)i * m + k] = checks.hw[(size_t)k * n + i];
        p->diagonal = fmax(p->diagonal, checks.a[(size_t)i * n + i]);
    }
    for (uint32_t k = 0; k < m; k++) p->trace += r[(size_t)k * m + k];
    brg_linalg_congruence((struct brg_linalg_congruence){n, m}, turned, r, b, work->square[2]);
}

static void start(const struct brg_dct_problem *p, struct brg_dct_node *root) {
    root->support = 0;
    root->residual = p->trace;
    root->parent = root->index = ROOT;
    for (uint32_t i = 0; i < p->n; i++) {
        root->a[i] = p->a[(size_t)i * p->n + i];
        root->b[i] = p->b[(size_t)i * p->n + i];
    }
}

/* What taking in index i explains; below 0 where it may not be taken. */
static double gain(const struct brg_dct_problem *p, const struct brg_dct_node *at, uint32_t i) {
    if ((at->support >> i & 1) != 0 || !(at->a[i] > SPANNED * p->diagonal)) return -1.0;
    return at->b[i] / at->a[i];
}

/* Fills `child`, whose support, residual, parent and index are set: row `index` of what is left of
 * A and B after everything its ancestors took, and the diagonals after its own step. */
static void take(const struct brg_dct_problem *p, const struct brg_dct_node *nodes,
                 struct brg_dct_node *child) {
    const uint32_t n = p->n, i = child->index;
    const struct brg_dct_node *parent = nodes + child->parent;
    double *g = child->g, *c = child->c;
    memcpy(g, p->a + (size_t)i * n, n * sizeof *g);
    memcpy(c, p->b + (size_t)i * n, n * sizeof *c);
    for (const struct brg_dct_node *up = parent; up->index != ROOT; up = nodes + up->parent) {
        const double along_g = up->g[i], along_c = up->c[i];
        brg_dense_axpy(n, -along_g * up->inverse, up->g, g);
        for (uint32_t k = 0; k < n; k++) c[k] -= along_g * up->c[k] + along_c * up->g[k];
    }
    child->inverse = 1.0 / g[i];
    const double half = 0.5 * c[i] * child->inverse * child->inverse;
    for (uint32_t k = 0; k < n; k++) {
        c[k] = c[k] * child->inverse - half * g[k];
        child->a[k] = parent->a[k] - g[k] * g[k] * child->inverse;
        child->b[k] = parent->b[k] - 2.0 * g[k] * c[k];
    }
}

/* The order in which sets go on: smaller residual, then smaller mask. */
static int before(const struct brg_dct_candidate *x, const struct brg_dct_candidate *y) {
    if (x->residual != y->residual) return x->residual < y->residual;
    return x->support < y->support;
}

/* Puts a candidate into the table of open addresses; of two ways to one set the better stays. */
static void propose(struct brg_dct_work *work, uint32_t mask, uint32_t *count,
                    struct brg_dct_candidate c) {
    uint32_t at = (uint32_t)((c.support * UINT64_C(0x9E3779B97F4A7C15)) >> 40) & mask;
    while (work->slot[at].support != 0 && work->slot[at].support != c.support) at = (at + 1) & mask;
    if (work->slot[at].support == 0) {
        BRG_ASSERT(*count < BRG_DCT_SLOTS / 2);
        work->used[(*count)++] = at;
        work->slot[at] = c;
    } else if (c.residual < work->slot[at].residual) {
        work->slot[at] = c;
    }
}

/* The `width` best continuations of one set; all of them where width covers every index. */
static void expand(const struct brg_dct_problem *p, struct brg_dct_work *work, uint32_t at,
                   uint32_t width, uint32_t mask, uint32_t *count) {
    const struct brg_dct_node *node = work->node + at;
    double best[BRG_DCT_NODES_MAX];
    uint32_t index[BRG_DCT_NODES_MAX], kept = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const double value = gain(p, node, i);
        if (!(value > 0.0) || (kept == width && !(value > best[kept - 1]))) continue;
        uint32_t to = kept < width ? kept++ : kept - 1;
        for (; to > 0 && best[to - 1] < value; to--) {
            best[to] = best[to - 1];
            index[to] = index[to - 1];
        }
        best[to] = value;
        index[to] = i;
    }
    for (uint32_t k = 0; k < kept; k++) {
        propose(work, mask, count,
                (struct brg_dct_candidate){node->support | UINT64_C(1) << index[k],
                                           node->residual - best[k], at, index[k]});
    }
}

static void sift_down(struct brg_dct_work *work, uint32_t count, uint32_t at) {
    for (;;) { /* at doubles each time */
        uint32_t worst = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            if (before(&work->slot[work->used[worst]], &work->slot[work->used[child]])) {
                worst = child;
            }
        }
        if (worst == at) return;
        const uint32_t held = work->used[at];
        work->used[at] = work->used[worst];
        work->used[worst] = held;
        at = worst;
    }
}

/* Leaves the `width` best of `count` candidates in used[0 ..], best first; returns how many. A heap
 * of the best so far with the worst on top, then a heap sort. */
static uint32_t choose(struct brg_dct_work *work, uint32_t count, uint32_t width) {
    const uint32_t kept = count < width ? count : width;
    for (uint32_t at = kept / 2; at-- > 0;) sift_down(work, kept, at);
    for (uint32_t i = kept; i < count; i++) {
        if (!before(&work->slot[work->used[i]], &work->slot[work->used[0]])) continue;
        const uint32_t held = work->used[0];
        work->used[0] = work->used[i];
        work->used[i] = held;
        sift_down(work, kept, 0);
    }
    for (uint32_t last = kept; last-- > 1;) {
        const uint32_t held = work->used[0];
        work->used[0] = work->used[last];
        work->used[last] = held;
        sift_down(work, last, 0);
    }
    return kept;
}

/* Slots for a level: twice what it can propose, so that probing stays short. */
static uint32_t slot_mask(uint32_t n, uint32_t width) {
    uint32_t slots = 64;
    while (slots < 2 * width * (width < n ? width : n)) slots *= 2;
    BRG_ASSERT(slots <= BRG_DCT_SLOTS);
    return slots - 1;
}

void brg_dct_search(const struct brg_dct_problem *p, struct brg_dct_reach reach,
                    struct brg_dct_work *work, struct brg_dct_path *path) {
    const uint32_t mask = slot_mask(p->n, reach.width);
    uint32_t begin = 0, end = 1;
    BRG_ASSERT(reach.levels < p->m && reach.levels <= work->levels);
    BRG_ASSERT(reach.width > 0 && reach.width <= BRG_DCT_WIDTH_MAX);
    start(p, work->node);
    path->levels = reach.levels;
    path->support[0] = 0;
    path->residual[0] = fmax(p->trace / p->m, p->smallest);
    for (uint32_t level = 1; level <= reach.levels; level++) {
        uint32_t count = 0;
        for (uint32_t at = begin; at < end; at++) {
            expand(p, work, at, reach.width, mask, &count);
        }
        const uint32_t kept = choose(work, count, reach.width);
        for (uint32_t k = 0; k < kept; k++) {
            const struct brg_dct_candidate *c = &work->slot[work->used[k]];
            struct brg_dct_node *child = work->node + end + k;
            child->support = c->support;
            child->residual = c->residual;
            child->parent = c->parent;
            child->index = c->index;
            if (level < reach.levels) take(p, work->node, child);
        }
        /* Nothing explains any more: the best set stays what it is. */
        const struct brg_dct_node *best = work->node + (kept > 0 ? end : begin);
        path->support[level] = best->support;
        path->residual[level] = fmax(best->residual / (p->m - level), p->smallest);
        /* choose permutes used[] but keeps every entry: all slots of the level are found again. */
        for (uint32_t k = 0; k < count; k++) work->slot[work->used[k]].support = 0;
        if (kept == 0) continue;
        begin = end;
        end += kept;
    }
}

double brg_dct_residual(const struct brg_dct_problem *p, uint64_t support,
                        struct brg_dct_work *work) {
    uint32_t last = 0, taken = 0;
    start(p, work->node);
    for (uint32_t i = 0; i < p->n; i++) {
        if ((support >> i & 1) == 0) continue;
        const double value = gain(p, work->node + last, i);
        taken++;
        BRG_ASSERT(taken < p->m && taken <= work->levels);
        if (value < 0.0) continue; /* spanned by the others: taking it changes nothing */
        struct brg_dct_node *child = work->node + last + 1;
        child->support = work->node[last].support | UINT64_C(1) << i;
        child->residual = work->node[last].residual - value;
        child->parent = last;
        child->index = i;
        take(p, work->node, child);
        last++;
    }
    return fmax(work->node[last].residual / (p->m - taken), p->smallest);
}
