/* cyclic.c - cyclic repetition with a random matrix (Tandon, Lei, Dimakis, Karampatziakis,
 * "Gradient Coding", ICML 2017, Alg. 2), and with that of a DCT code (dct_code.h).
 *
 * The chunks are cut into n blocks. Unit i mixes the blocks i, i+1, .. i+s (mod n) by row i of B:
 *
 *        block  0  1  2  3  4            s = 1, n = 5
 *   unit 0     [x  x         ]
 *   unit 1     [   x  x      ]     H [s, n] random with H 1 = 0; row i of B is the vector of the
 *   unit 2     [      x  x   ]     null space of H with that support, scaled to length 1. So all
 *   unit 3     [         x  x]     rows and 1 lie in a space of dimension n - s, and any n - s
 *   unit 4     [x           x]     rows of B span it, 1 included.
 *
 * Numbers: random matrices are exact in double but can amplify the rounding of the shares. Hence
 * the guards of scheme.h on every decode; a matrix is kept only where they hold with all units
 * there and with any s neighbours gone, and is drawn again, a bounded number of times, where not.
 * A decode is a pure function of (matrix, units at hand): the same set gives the same bits, other
 * sets give the gradient with other last bits. Use frc where bits must not depend on who answers.
 */
#include "base/prng.h"
#include "coding/dct_code.h"
#include "coding/dense.h"
#include "coding/scheme_ops.h"

#include <math.h>
#include <string.h>

_Static_assert(BRG_CYCLIC_S_MAX <= BRG_DENSE_SOLVE_MAX, "a decode must fit the solver");

#define PROBES 64u      /* random sets of s missing units that rate a matrix, .. */
#define ALL_SETS 16384u /* .. or all of them where there are no more than this */

/* Where the parts of the table begin. `work` is all 0 once init is through. */
struct parts {
    size_t bound; /* [1], the amplification that decode still accepts */
    size_t mix;   /* [n, s+1], mix[i][j]: coefficient of block (i + j) mod n in unit i */
    size_t a0;    /* [n], the shortest a with a B = 1 */
    size_t null;  /* [n, s], column k is row k of N: N B = 0, rows orthonormal */
    size_t work;  /* [n, n] B in full; [n, s] H, later N by rows; [2 n] vectors */
    size_t end;
};

static struct parts parts_of(const struct brg_cyclic *cyclic) {
    const size_t n = cyclic->n, s = cyclic->s;
    struct parts p = {.bound = 0, .mix = 1};
    p.a0 = p.mix + n * (s + 1);
    p.null = p.a0 + n;
    p.work = p.null + n * s;
    p.end = p.work + n * n + n * s + 2 * n;
    return p;
}

size_t brg_cyclic_table_count(uint32_t n, uint32_t s) {
    const struct brg_cyclic cyclic = {.n = n, .s = s};
    return parts_of(&cyclic).end;
}

int brg_cyclic_check(uint32_t s, const char *code, const char *setting, struct brg_why *why) {
    if (s <= BRG_CYCLIC_S_MAX) return BRG_OK;
    return brg_why_set(
        why, BRG_EINVAL,
        "the code %s with s = %u would lose the gradient in rounding: set %s so that "
        "s is at most %u, or use %s",
        code, s, setting, BRG_CYCLIC_S_MAX,
        strcmp(code, "cyclic") == 0 ? "the code frc" : "the base repetition");
}

/* H by columns, h [n, s]: normal numbers, the last column minus the sum of the others. */
static void draw(uint32_t n, uint32_t s, struct brg_prng *g, double *h) {
    double *last = h + (size_t)(n - 1) * s;
    memset(last, 0, s * sizeof *last);
    for (uint32_t column = 0; column + 1 < n; column++) {
        double *c = h + (size_t)column * s;
        for (uint32_t r = 0; r < s; r++) c[r] = brg_prng_normal(g);
        brg_dense_axpy(s, -1.0, c, last);
    }
}

/* Row i of B from H: 1 at i, and the solution of H[:, i+1 .. i+s] x = -H[:, i] behind it. */
static int mix_row(uint32_t n, uint32_t s, uint32_t i, const double *h, double *row) {
    double a[BRG_CYCLIC_S_MAX * BRG_CYCLIC_S_MAX];
    const double *own = h + (size_t)i * s;
    for (uint32_t r = 0; r < s; r++) {
        for (uint32_t j = 0; j < s; j++) a[r * s + j] = h[(size_t)((i + 1 + j) % n) * s + r];
        row[1 + r] = -own[r];
    }
    row[0] = 1.0;
    const int rc = brg_dense_solve(s, a, row + 1);
    if (rc != BRG_OK) return rc;
    const double length = sqrt(brg_dense_dot(s + 1, row, row));
    if (!isfinite(length)) return BRG_ERANK;
    for (uint32_t j = 0; j <= s; j++) row[j] /= length;
    return BRG_OK;
}

/* a0 and N from the coefficients. BRG_ERANK where anything is singular. */
static int solve(const struct brg_cyclic *cyclic, double *table) {
    const struct parts p = parts_of(cyclic);
    const uint32_t n = cyclic->n, s = cyclic->s;
    double *mix = table + p.mix, *null = table + p.null;
    double *full = table + p.work, *null_rows = full + (size_t)n * n;
    double *ones = null_rows + (size_t)n * s;

    memset(full, 0, (size_t)n * n * sizeof *full);
    for (uint32_t i = 0; i < n; i++) {
        const double *row = mix + (size_t)i * (s + 1);
        for (uint32_t j = 0; j <= s; j++) full[(size_t)i * n + (i + j) % n] = row[j];
    }
    const int rc = brg_dense_left_null(n, s, full, null_rows, table + p.a0, ones, ones + n);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < s; k++) null[(size_t)i * s + k] = null_rows[(size_t)k * n + i];
    }
    return BRG_OK;
}

/* One draw: B, then a0 and N from it. BRG_ERANK where anything is singular. */
static int build(const struct brg_cyclic *cyclic, double *table, struct brg_prng *g) {
    const struct parts p = parts_of(cyclic);
    const uint32_t n = cyclic->n, s = cyclic->s;
    double *h = table + p.work + (size_t)n * n; /* has done its work when a0 and N are made */

    draw(n, s, g, h);
    for (uint32_t i = 0; i < n; i++) {
        const int rc = mix_row(n, s, i, h, table + p.mix + (size_t)i * (s + 1));
        if (rc != BRG_OK) return rc;
    }
    return solve(cyclic, table);
}

/* The guards: 1 where w recovers the sum and does not blow rounding up. */
static int acceptable(const struct brg_cyclic *cyclic, const double *w) {
    const struct parts p = parts_of(cyclic);
    const double *mix = cyclic->table + p.mix;
    const uint32_t n = cyclic->n, s = cyclic->s;
    const double amplification = sqrt(brg_dense_dot(n, w, w) / n);
    if (!(amplification <= cyclic->table[p.bound])) return 0; /* also for NaN */
    double sum[BRG_CODE_WORKERS_MAX];
    for (uint32_t i = 0; i < n; i++) sum[i] = -1.0;
    for (uint32_t i = 0; i < n; i++) {
        if (w[i] == 0.0) continue;
        const double *row = mix + (size_t)i * (s + 1);
        for (uint32_t j = 0; j <= s; j++) sum[i + j < n ? i + j : i + j - n] += w[i] * row[j];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!(fabs(sum[i]) <= BRG_CYCLIC_RESIDUAL_MAX)) return 0;
    }
    return 1;
}

int brg_cyclic_decode(const struct brg_cyclic *cyclic, const struct brg_bits *available,
                      double *weights) {
    const struct parts p = parts_of(cyclic);
    const double *a0 = cyclic->table + p.a0, *null = cyclic->table + p.null;
    const uint32_t n = cyclic->n, s = cyclic->s;
    double m[BRG_CYCLIC_S_MAX * BRG_CYCLIC_S_MAX];
    double target[BRG_CYCLIC_S_MAX] = {0.0}, c[BRG_CYCLIC_S_MAX];
    double w[BRG_CODE_WORKERS_MAX];
    uint32_t gone = 0;

    if (brg_bits_count(available) < n - s) return BRG_ERANK;
    for (uint32_t i = 0; i < n; i++) {
        if (brg_bits_has(available, i)) continue;
        memcpy(m + (size_t)gone * s, null + (size_t)i * s, s * sizeof *m);
        target[gone++] = a0[i];
    }
    const int rc = brg_dense_least_norm(gone, s, m, target, c);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < n; i++) {
        const int here = brg_bits_has(available, i);
        w[i] = here ? a0[i] - brg_dense_dot(s, null + (size_t)i * s, c) : 0.0;
    }
    if (!acceptable(cyclic, w)) return BRG_ERANK;
    if (weights != NULL) memcpy(weights, w, n * sizeof *w);
    return BRG_OK;
}

/* Whether a decode works without the s units of `gone`. */
static int decodes_without(const struct brg_cyclic *cyclic, const uint32_t *gone) {
    struct brg_bits have;
    brg_bits_fill(&have, cyclic->n);
    for (uint32_t j = 0; j < cyclic->s; j++) brg_bits_remove(&have, gone[j]);
    return brg_cyclic_decode(cyclic, &have, NULL) == BRG_OK;
}

/* The s-subset of 0 .. n-1 after `set` (rising) in lexicographic order; 0 after the last. */
static int next_set(uint32_t n, uint32_t s, uint32_t *set) {
    for (uint32_t j = s; j-- > 0;) {
        if (set[j] == n - s + j) continue;
        set[j]++;
        for (uint32_t k = j + 1; k < s; k++) set[k] = set[k - 1] + 1;
        return 1;
    }
    return 0;
}

/* 1 where n things have at most ALL_SETS subsets of s. */
static int few_sets(uint32_t n, uint32_t s) {
    uint64_t sets = 1;
    const uint32_t smaller = s < n - s ? s : n - s;
    for (uint32_t j = 1; j <= smaller; j++) {
        sets = sets * (n - smaller + j) / j;
        if (sets > ALL_SETS) return 0; /* rises with every j */
    }
    return 1;
}

/* How good a drawn matrix is: UINT32_MAX where it may not be used, since a decode fails with all
 * units there or with s neighbours gone; else how many sets of s missing units the guards refuse,
 * which is how often a round will have to wait for one unit more. */
static uint32_t faults_of(const struct brg_cyclic *cyclic, struct brg_prng *g) {
    const uint32_t n = cyclic->n, s = cyclic->s;
    uint32_t gone[BRG_CYCLIC_S_MAX] = {0}, faults = 0;
    struct brg_bits all;

    brg_bits_fill(&all, n);
    if (brg_cyclic_decode(cyclic, &all, NULL) != BRG_OK) return UINT32_MAX;
    for (uint32_t first = 0; first < n; first++) {
        for (uint32_t j = 0; j < s; j++) gone[j] = (first + j) % n;
        if (!decodes_without(cyclic, gone)) return UINT32_MAX;
    }
    for (uint32_t j = 0; j < s; j++) gone[j] = j;
    if (few_sets(n, s)) {
        do {
            faults += !decodes_without(cyclic, gone);
        } while (next_set(n, s, gone));
        return faults;
    }
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        for (uint32_t left = n, drop = s; drop > 0; left--) { /* each set alike likely */
            if (brg_prng_below(g, left) < drop) gone[--drop] = left - 1;
        }
        faults += !decodes_without(cyclic, gone);
    }
    return faults;
}

/* Draw `number` of the seed, and how good it is. */
static uint32_t try_draw(const struct brg_cyclic *cyclic, double *table, uint64_t seed,
                         uint32_t number) {
    struct brg_prng g = {brg_prng_mix(seed, cyclic->n, cyclic->s, number)};
    return build(cyclic, table, &g) == BRG_OK ? faults_of(cyclic, &g) : UINT32_MAX;
}

int brg_cyclic_build(uint32_t n, uint32_t s, double *table, uint64_t seed, double amplification_max,
                     struct brg_why *why) {
    const struct brg_cyclic built = {.n = n, .s = s, .table = table}, *cyclic = &built;
    const uint32_t tries = n <= 256 ? BRG_CYCLIC_TRIES_MAX : BRG_CYCLIC_TRIES_MAX / 4;
    const struct parts p = parts_of(cyclic);
    uint32_t best = 0, best_faults = UINT32_MAX, last = 0;

    table[p.bound] = amplification_max;
    for (uint32_t number = 0; number < tries && best_faults > 0; number++) {
        const uint32_t faults = try_draw(cyclic, table, seed, number);
        last = number;
        if (faults >= best_faults) continue;
        best = number;
        best_faults = faults;
    }
    if (best_faults == UINT32_MAX) {
        return brg_why_set(why, BRG_ERANK,
                           "none of %u matrices for a cyclic code with n = %u, s = %u is accurate "
                           "enough: set a smaller s, another code seed, or use repetition (the "
                           "code frc, or the base repetition)",
                           tries, n, s);
    }
    if (best != last) {
        const uint32_t again = try_draw(cyclic, table, seed, best);
        BRG_ASSERT(again == best_faults);
    }
    memset(table + p.work, 0, (p.end - p.work) * sizeof(double));
    return BRG_OK;
}

/* The one matrix of the DCT code: there is nothing to draw, so it is good or it is refused. */
static int build_dct(const struct brg_cyclic *cyclic, double *table, struct brg_why *why) {
    const struct parts p = parts_of(cyclic);
    struct brg_prng g = {cyclic->n};
    table[p.bound] = BRG_CYCLIC_AMPLIFICATION_MAX;
    brg_dct_code_mix(cyclic->n, cyclic->s, table + p.mix);
    const int rc = solve(cyclic, table);
    if (rc != BRG_OK || faults_of(cyclic, &g) != 0) {
        return brg_why_set(why, BRG_ERANK,
                           "the code dct with n = %u, s = %u would lose the gradient in rounding: "
                           "set a smaller s, or an even and smaller n (s = 3 goes up to n = 12), "
                           "or use the code frc, whose groups compare digests",
                           cyclic->n, cyclic->s);
    }
    memset(table + p.work, 0, (p.end - p.work) * sizeof(double));
    return BRG_OK;
}

void brg_cyclic_recipe(const struct brg_cyclic *cyclic, uint32_t unit, uint32_t first,
                       uint32_t block, struct brg_recipe *out) {
    const uint32_t n = cyclic->n, s = cyclic->s;
    const double *row = cyclic->table + parts_of(cyclic).mix + (size_t)unit * (s + 1);
    BRG_ASSERT((s + 1) * block <= BRG_RECIPE_CHUNKS_MAX);
    out->count = 0;
    for (uint32_t j = 0; j <= s; j++) {
        for (uint32_t k = 0; k < block; k++) {
            out->chunk[out->count] = first + (unit + j) % n * block + k;
            out->coefficient[out->count++] = row[j];
        }
    }
}

const double *brg_cyclic_null(const struct brg_cyclic *cyclic) {
    return cyclic->table + parts_of(cyclic).null;
}

int brg_cyclic_enough(const struct brg_cyclic *cyclic, const struct brg_bits *have) {
    if (cyclic->table == NULL) return brg_bits_count(have) >= cyclic->n - cyclic->s;
    return brg_cyclic_decode(cyclic, have, NULL) == BRG_OK;
}

uint32_t brg_cyclic_missing(const struct brg_cyclic *cyclic, const struct brg_bits *have,
                            struct brg_bits *out) {
    const uint32_t n = cyclic->n, enough = n - cyclic->s;
    uint32_t held = brg_bits_count(have), count = 0;
    struct brg_bits with = *have;
    brg_bits_clear(out);
    for (uint32_t i = 0; i < n; i++) {
        if (held + count >= enough && brg_cyclic_enough(cyclic, &with)) return count;
        if (brg_bits_has(have, i)) continue;
        brg_bits_add(out, i);
        brg_bits_add(&with, i);
        count++;
    }
    BRG_ASSERT(brg_cyclic_enough(cyclic, &with)); /* build keeps no matrix without this */
    return count;
}

/* ---- the codes `cyclic` and `dct` ---- */

static struct brg_cyclic cyclic_of(const struct brg_scheme *s) {
    return (struct brg_cyclic){
        .n = s->spec.n, .s = s->spec.s, .table = s->plan_only ? NULL : s->table};
}

static int check(const struct brg_code_spec *spec, struct brg_why *why) {
    const char *name = spec->kind == BRG_CODE_DCT ? "dct" : "cyclic";
    const int rc = brg_cyclic_check(spec->s, name, "s", why);
    if (rc != BRG_OK || spec->chunks % spec->n == 0) return rc;
    const uint32_t most = BRG_CODE_CHUNKS_MAX / spec->n * spec->n;
    const uint32_t above = (spec->chunks / spec->n + 1) * spec->n;
    return brg_why_set(why, BRG_EINVAL,
                       "the code %s cuts the batch into n = %u equal blocks, which %u chunks do "
                       "not allow: set chunks to %u or use the code frc",
                       name, spec->n, spec->chunks, above < most ? above : most);
}

static size_t table_count(const struct brg_code_spec *spec) {
    return brg_cyclic_table_count(spec->n, spec->s);
}

static void plan(struct brg_scheme *s) {
    s->units = s->groups = s->spec.n;
    s->parts = 1;
    s->load_chunks = (s->spec.s + 1) * (s->spec.chunks / s->spec.n);
}

static int init(struct brg_scheme *s, struct brg_why *why) {
    const struct brg_cyclic cyclic = cyclic_of(s);
    if (s->spec.kind == BRG_CODE_DCT) return build_dct(&cyclic, s->table, why);
    return brg_cyclic_build(s->spec.n, s->spec.s, s->table, s->spec.seed,
                            BRG_CYCLIC_AMPLIFICATION_MAX, why);
}

static uint32_t group_of(const struct brg_scheme *s, uint32_t position) {
    (void)s;
    return position;
}

static uint32_t unit_chunks(const struct brg_scheme *s, uint32_t unit) {
    (void)unit;
    return s->load_chunks;
}

static void recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out) {
    const struct brg_cyclic cyclic = cyclic_of(s);
    brg_cyclic_recipe(&cyclic, unit, 0, s->spec.chunks / s->spec.n, out);
}

static uint32_t assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                       uint32_t position, struct brg_minitask *out) {
    (void)s;
    (void)round;
    if (brg_bits_has(&have[0], position)) return 0;
    out[0] = (struct brg_minitask){.delta = 0, .unit = position};
    return 1;
}

static int may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have) {
    const struct brg_cyclic cyclic = cyclic_of(s);
    (void)round;
    return brg_cyclic_enough(&cyclic, have);
}

static uint32_t missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out) {
    const struct brg_cyclic cyclic = cyclic_of(s);
    (void)round;
    return brg_cyclic_missing(&cyclic, have, out);
}

static int decode(const struct brg_scheme *s, const struct brg_bits *available, double *weights) {
    const struct brg_cyclic cyclic = cyclic_of(s);
    return brg_cyclic_decode(&cyclic, available, weights);
}

const struct brg_scheme_ops brg_cyclic_ops = {
    .check = check,
    .table_count = table_count,
    .plan = plan,
    .init = init,
    .group_of = group_of,
    .unit_chunks = unit_chunks,
    .recipe = recipe,
    .assign = assign,
    .may_end = may_end,
    .missing = missing,
    .decode = decode,
};
