/* m_sgc.c - multiplexed sequential gradient coding, M-SGC (Krishnan, Ebrahimi, Khisti, "Sequential
 * Gradient Coding for Straggler Mitigation", ICLR 2023).
 *
 * The batch of a job is cut in two. D1, most of it, is cut into n (w-1) units of which position i
 * owns w-1, uncoded. D2 is cut into b parts, each coded with tolerance lambda over all positions by
 * a gradient code (cyclic, or repetition in groups). T = w-2+b, and a position has w-1+b slots a
 * round, one for each job in flight: slot m is for the job with delta m.
 *
 *   delta of the job      0 .. w-2                      w-1 .. w-2+b
 *   minitask of i         D1 unit (i, delta)            D1 unit of i that is missing, lowest first;
 *                                                       none: D2 part delta-(w-1), unit of i
 *   w = 3, b = 2:  round  t     t+1   t+2     t+3
 *                  job t  d1,0  d1,1  d2,0    d2,1      a position without faults
 *                  job t  lost  d1,1  d1,0    d2,1      .. late in round t: D2 part 0 goes on
 *                                                       without it, as for lambda positions it may
 *
 * lambda = n: there is no D2, nothing is coded, and the last b slots are for repeats alone.
 *
 *   units   D1: i (w-1) + c, c = 0 .. w-2      D2: n (w-1) + part * per + j, per = n (cyclic) or G
 *   chunks  D1: (lambda+1) k a unit, in the order of units; then D2: n k a part, block by block
 *           lambda = n: all chunks cut evenly into the D1 units
 *
 * Weakest rule: after this round, if nobody straggles any more, every job must finish by what
 * assign gives out: position i misses at most as many attempted units of D1 as the job has slots
 * for repeats left; parts of D2 whose slot is over decode; and for those to come enough positions
 * miss nothing, n - lambda, or one in each group. Positions that miss something are clean for later
 * parts sooner than for the next one, so the next one decides. */
#include "coding/scheme_ops.h"

#include <string.h>

static uint32_t coded(const struct brg_code_spec *spec) { /* has a D2 */
    return spec->lambda < spec->n;
}

static uint32_t repetition(const struct brg_code_spec *spec) {
    return spec->base == BRG_BASE_REPETITION;
}

static uint32_t groups_of(const struct brg_code_spec *spec) {
    return spec->n / (spec->lambda + 1);
}

/* Units of one part of D2. */
static uint32_t part_units(const struct brg_code_spec *spec) {
    if (!coded(spec)) return 0;
    return repetition(spec) ? groups_of(spec) : spec->n;
}

/* Where the units of D2 begin. */
static uint32_t d1_units(const struct brg_code_spec *spec) {
    return spec->n * (spec->w - 1);
}

/* Chunks of a block of D2, where there is one. */
static uint32_t block_chunks(const struct brg_code_spec *spec) {
    return spec->chunks / (spec->n * (spec->b + (spec->w - 1) * (spec->lambda + 1)));
}

static struct brg_cyclic cyclic_of(const struct brg_scheme *s) {
    return (struct brg_cyclic){
        .n = s->spec.n, .s = s->spec.lambda, .table = s->plan_only ? NULL : s->table};
}

static int check_window(const struct brg_code_spec *spec, struct brg_why *why) {
    if (spec->w < 2 || spec->w > BRG_SCHEME_MINITASKS_MAX) {
        return brg_why_set(why, BRG_EINVAL, "the code m-sgc with w = %u: set w to 2 .. %u", spec->w,
                           BRG_SCHEME_MINITASKS_MAX);
    }
    if (spec->b == 0 || spec->b >= spec->w) {
        return brg_why_set(why, BRG_EINVAL, "the code m-sgc with b = %u, w = %u: set b to 1 .. %u",
                           spec->b, spec->w, spec->w - 1);
    }
    if (spec->w - 1 + spec->b > BRG_SCHEME_MINITASKS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code m-sgc with b = %u, w = %u has steps that take %u rounds, at "
                           "most %u are possible: set a smaller w or b",
                           spec->b, spec->w, spec->w - 1 + spec->b, BRG_SCHEME_MINITASKS_MAX);
    }
    if (spec->lambda == 0 || spec->lambda > spec->n) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code m-sgc with lambda = %u stragglers of n = %u in a window: set "
                           "lambda to 1 .. %u",
                           spec->lambda, spec->n, spec->n);
    }
    return BRG_OK;
}

static int check_chunks(const struct brg_code_spec *spec, struct brg_why *why) {
    if (!coded(spec)) {
        if (spec->chunks >= d1_units(spec)) return BRG_OK;
        return brg_why_set(why, BRG_EINVAL,
                           "%u chunks cannot be dealt to n (w-1) = %u shares: set chunks to %u or "
                           "more",
                           spec->chunks, d1_units(spec), d1_units(spec));
    }
    const uint64_t cells =
        (uint64_t)spec->n * (spec->b + (uint64_t)(spec->w - 1) * (spec->lambda + 1));
    if (cells > BRG_CODE_CHUNKS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code m-sgc with lambda = %u needs more than %u chunks: set a "
                           "smaller lambda, or lambda to n = %u, which needs %u",
                           spec->lambda, BRG_CODE_CHUNKS_MAX, spec->n, d1_units(spec));
    }
    if (spec->chunks % cells == 0) return BRG_OK;
    return brg_why_set(
        why, BRG_EINVAL,
        "the code m-sgc with n = %u, b = %u, w = %u, lambda = %u cuts the batch into "
        "%u equal parts, which %u chunks do not allow: set chunks to a multiple of "
        "%u, or lambda to n, which needs %u or more",
        spec->n, spec->b, spec->w, spec->lambda, (uint32_t)cells, spec->chunks, (uint32_t)cells,
        d1_units(spec));
}

static int check(const struct brg_code_spec *spec, struct brg_why *why) {
    int rc = check_window(spec, why);
    if (rc != BRG_OK) return rc;
    if (coded(spec) && !repetition(spec)) {
        if (spec->base != BRG_BASE_CYCLIC) {
            return brg_why_set(why, BRG_EINVAL,
                               "the code m-sgc over base %u: set base to repetition or cyclic",
                               spec->base);
        }
        rc = brg_cyclic_check(spec->lambda, "m-sgc", "lambda", why);
        if (rc != BRG_OK) return rc;
    }
    const uint32_t units = d1_units(spec) + spec->b * part_units(spec);
    if (units > BRG_SCHEME_UNITS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code m-sgc with n = %u, b = %u, w = %u makes %u shares, at most %u "
                           "are possible: set a smaller w or b, or lambda to n",
                           spec->n, spec->b, spec->w, units, BRG_SCHEME_UNITS_MAX);
    }
    return check_chunks(spec, why);
}

static size_t table_count(const struct brg_code_spec *spec) {
    if (!coded(spec) || repetition(spec)) return 0;
    return brg_cyclic_table_count(spec->n, spec->lambda);
}

static void plan(struct brg_scheme *s) {
    const struct brg_code_spec *spec = &s->spec;
    s->groups = spec->n; /* D1 belongs to positions */
    s->parts = 1;
    s->units = d1_units(spec) + spec->b * part_units(spec);
    uint32_t d1, d2; /* the most chunks of a unit */
    if (!coded(spec)) {
        d1 = d2 = brg_cut_most(spec->chunks, d1_units(spec));
    } else {
        const uint32_t blocks =
            repetition(spec) ? brg_cut_most(spec->n, groups_of(spec)) : spec->lambda + 1;
        d1 = (spec->lambda + 1) * block_chunks(spec);
        d2 = blocks * block_chunks(spec);
    }
    s->load_chunks = (spec->w - 1) * d1 + spec->b * (d1 > d2 ? d1 : d2);
}

static int init(struct brg_scheme *s, struct brg_why *why) {
    if (table_count(&s->spec) == 0) return BRG_OK;
    return brg_cyclic_build(s->spec.n, s->spec.lambda, s->table, s->spec.seed,
                            BRG_CYCLIC_AMPLIFICATION_MAX, why);
}

static uint32_t group_of(const struct brg_scheme *s, uint32_t position) {
    (void)s;
    return position;
}

static uint32_t unit_chunks(const struct brg_scheme *s, uint32_t unit) {
    const struct brg_code_spec *spec = &s->spec;
    const uint32_t all = d1_units(spec);
    if (!coded(spec))
        return brg_cut(spec->chunks, all, unit + 1) - brg_cut(spec->chunks, all, unit);
    if (unit < all || !repetition(spec)) return (spec->lambda + 1) * block_chunks(spec);
    const uint32_t groups = groups_of(spec), g = (unit - all) % groups;
    return (brg_cut(spec->n, groups, g + 1) - brg_cut(spec->n, groups, g)) * block_chunks(spec);
}

static void recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out) {
    const struct brg_code_spec *spec = &s->spec;
    const uint32_t all = d1_units(spec), count = unit_chunks(s, unit);
    if (!coded(spec)) {
        brg_recipe_sum(out, brg_cut(spec->chunks, all, unit), count);
        return;
    }
    const uint32_t block = block_chunks(spec), d1 = (spec->lambda + 1) * block;
    if (unit < all) {
        brg_recipe_sum(out, unit * d1, count);
        return;
    }
    const uint32_t part = (unit - all) / part_units(spec), j = (unit - all) % part_units(spec);
    const uint32_t first = all * d1 + part * spec->n * block;
    if (repetition(spec)) {
        brg_recipe_sum(out, first + brg_cut(spec->n, groups_of(spec), j) * block, count);
    } else {
        const struct brg_cyclic cyclic = cyclic_of(s);
        brg_cyclic_recipe(&cyclic, j, first, block, out);
    }
}

/* ---- who does what ---- */

/* The lowest unit of D1 of `position` that `have` lacks, or BRG_BITS_MAX. */
static uint32_t lowest_lacking(const struct brg_code_spec *spec, const struct brg_bits *have,
                               uint32_t position) {
    const uint32_t first = position * (spec->w - 1);
    for (uint32_t c = 0; c < spec->w - 1; c++) {
        if (!brg_bits_has(have, first + c)) return first + c;
    }
    return BRG_BITS_MAX;
}

/* What slot m of `position` is for, or BRG_BITS_MAX for nothing. */
static uint32_t slot_unit(const struct brg_code_spec *spec, const struct brg_bits *have,
                          uint32_t position, uint32_t m) {
    if (m < spec->w - 1) return position * (spec->w - 1) + m;
    const uint32_t again = lowest_lacking(spec, have, position);
    if (again != BRG_BITS_MAX || !coded(spec)) return again;
    const uint32_t j = repetition(spec) ? brg_cut_of(spec->n, groups_of(spec), position) : position;
    return d1_units(spec) + (m - (spec->w - 1)) * part_units(spec) + j;
}

static uint32_t assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                       uint32_t position, struct brg_minitask *out) {
    uint32_t count = 0;
    (void)round;
    for (uint32_t m = brg_code_delay(&s->spec) + 1; m-- > 0;) {
        const uint32_t unit = slot_unit(&s->spec, &have[m], position, m);
        if (unit == BRG_BITS_MAX || brg_bits_has(&have[m], unit)) continue;
        out[count++] = (struct brg_minitask){.delta = m, .unit = unit};
    }
    return count;
}

/* ---- when a round may end ---- */

/* How D1 of the job with delta m stands. */
struct standing {
    uint32_t attempted; /* units of each position whose first slot has come: c < attempted */
    uint32_t slots;     /* left for repeats after this round */
    uint32_t worst;     /* the most that one position misses */
    uint32_t failed;    /* positions that miss something */
    uint8_t fails[BRG_CODE_WORKERS_MAX]; /* attempted units that a position misses */
};

static void stand(const struct brg_code_spec *spec, const struct brg_bits *have, uint32_t m,
                  struct standing *out) {
    const uint32_t each = spec->w - 1, delay = brg_code_delay(spec);
    struct brg_bits lacking;
    out->attempted = m < each ? m + 1 : each;
    out->slots = delay - (m < each ? each - 1 : m);
    out->worst = out->failed = 0;
    memset(out->fails, 0, spec->n);
    (void)brg_bits_lacking(have, d1_units(spec), &lacking);
    for (uint32_t u = brg_bits_next(&lacking, 0); u < BRG_BITS_MAX;
         u = brg_bits_next(&lacking, u + 1)) {
        const uint32_t i = u / each;
        if (u % each >= out->attempted) continue;
        out->failed += out->fails[i] == 0;
        out->fails[i]++;
        if (out->fails[i] > out->worst) out->worst = out->fails[i];
    }
}

/* Parts of D2 whose slot is over for the job with delta m. */
static uint32_t parts_over(const struct brg_code_spec *spec, uint32_t m) {
    return coded(spec) && m >= spec->w - 1 ? m - (spec->w - 1) + 1 : 0;
}

/* 1 where parts of D2 are still to come for the job with delta m. */
static int parts_to_come(const struct brg_code_spec *spec, uint32_t m) {
    return coded(spec) && m < brg_code_delay(spec);
}

static struct brg_bits part_of(const struct brg_code_spec *spec, const struct brg_bits *have,
                               uint32_t part) {
    const uint32_t per = part_units(spec);
    struct brg_bits out;
    brg_bits_slice(have, d1_units(spec) + part * per, per, &out);
    return out;
}

/* The guards of the matrix are asked only for the job that is due: what they refuse can be made
 * good in its last round as well as now. */
static struct brg_cyclic judge_of(const struct brg_scheme *s, uint32_t m) {
    struct brg_cyclic cyclic = cyclic_of(s);
    if (m < brg_code_delay(&s->spec)) cyclic.table = NULL;
    return cyclic;
}

/* The member of group g that misses the least; the first of equals. */
static uint32_t cleanest(const struct brg_code_spec *spec, const struct standing *d1, uint32_t g) {
    const uint32_t groups = groups_of(spec);
    uint32_t best = brg_cut(spec->n, groups, g);
    for (uint32_t i = best; i < brg_cut(spec->n, groups, g + 1); i++) {
        if (d1->fails[i] < d1->fails[best]) best = i;
    }
    return best;
}

static int enough_are_clean(const struct brg_code_spec *spec, const struct standing *d1) {
    if (d1->failed <= spec->lambda) return 1; /* every group has more members */
    if (!repetition(spec)) return 0;
    for (uint32_t g = 0; g < groups_of(spec); g++) {
        if (d1->fails[cleanest(spec, d1, g)] > 0) return 0;
    }
    return 1;
}

static int job_may_rest(const struct brg_scheme *s, const struct brg_bits *have, uint32_t m) {
    const struct brg_code_spec *spec = &s->spec;
    struct standing d1;
    if (brg_bits_full(have, s->units)) return 1;
    if (m == brg_code_delay(spec) && !brg_bits_full(have, d1_units(spec))) return 0;
    stand(spec, have, m, &d1);
    if (d1.worst > d1.slots) return 0;
    if (parts_to_come(spec, m) && !enough_are_clean(spec, &d1)) return 0;
    const struct brg_cyclic judge = judge_of(s, m);
    for (uint32_t part = 0; part < parts_over(spec, m); part++) {
        const struct brg_bits held = part_of(spec, have, part);
        const int enough = repetition(spec) ? brg_bits_full(&held, part_units(spec))
                                            : brg_cyclic_enough(&judge, &held);
        if (!enough) return 0;
    }
    return 1;
}

static int may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have) {
    (void)round;
    for (uint32_t m = brg_code_delay(&s->spec) + 1; m-- > 0;) { /* the due one fails most often */
        if (!job_may_rest(s, &have[m], m)) return 0;
    }
    return 1;
}

/* ---- what is missing ---- */

/* Adds to `out` attempted units of `position`, lowest first, until it misses only `most`. */
static void make_good(const struct brg_code_spec *spec, struct standing *d1,
                      const struct brg_bits *have, uint32_t position, uint32_t most,
                      struct brg_bits *out) {
    const uint32_t first = position * (spec->w - 1);
    for (uint32_t c = 0; c < d1->attempted && d1->fails[position] > most; c++) {
        if (brg_bits_has(have, first + c) || brg_bits_has(out, first + c)) continue;
        brg_bits_add(out, first + c);
        d1->failed -= d1->fails[position] == 1;
        d1->fails[position]--;
    }
    BRG_ASSERT(d1->fails[position] <= most);
}

/* Cleans the positions that miss the least until those to come of D2 will decode. */
static void make_clean(const struct brg_code_spec *spec, struct standing *d1,
                       const struct brg_bits *have, struct brg_bits *out) {
    if (repetition(spec)) {
        for (uint32_t g = 0; g < groups_of(spec); g++) {
            make_good(spec, d1, have, cleanest(spec, d1, g), 0, out);
        }
        return;
    }
    for (uint32_t fails = 1; d1->failed > spec->lambda; fails++) {
        BRG_ASSERT(fails < spec->w);
        for (uint32_t i = 0; i < spec->n && d1->failed > spec->lambda; i++) {
            if (d1->fails[i] == fails) make_good(spec, d1, have, i, 0, out);
        }
    }
}

static void job_missing(const struct brg_scheme *s, const struct brg_bits *have, uint32_t m,
                        struct brg_bits *out) {
    const struct brg_code_spec *spec = &s->spec;
    const uint32_t per = part_units(spec);
    struct standing d1;
    stand(spec, have, m, &d1);
    if (d1.worst > d1.slots) {
        for (uint32_t i = 0; i < spec->n; i++) make_good(spec, &d1, have, i, d1.slots, out);
    }
    if (parts_to_come(spec, m)) make_clean(spec, &d1, have, out);
    const struct brg_cyclic judge = judge_of(s, m);
    for (uint32_t part = 0; part < parts_over(spec, m); part++) {
        const struct brg_bits held = part_of(spec, have, part);
        struct brg_bits lacking;
        if (repetition(spec)) {
            (void)brg_bits_lacking(&held, per, &lacking);
        } else {
            (void)brg_cyclic_missing(&judge, &held, &lacking);
        }
        for (uint32_t j = brg_bits_next(&lacking, 0); j < BRG_BITS_MAX;
             j = brg_bits_next(&lacking, j + 1)) {
            brg_bits_add(out, d1_units(spec) + part * per + j);
        }
    }
}

static uint32_t missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out) {
    uint32_t count = 0;
    (void)round;
    for (uint32_t m = 0; m <= brg_code_delay(&s->spec); m++) {
        if (brg_bits_full(&have[m], s->units)) continue;
        job_missing(s, &have[m], m, &out[m]);
        count += brg_bits_count(&out[m]);
    }
    return count;
}

static int decode(const struct brg_scheme *s, const struct brg_bits *available, double *weights) {
    const struct brg_code_spec *spec = &s->spec;
    const uint32_t all = d1_units(spec), per = part_units(spec);
    const struct brg_cyclic cyclic = cyclic_of(s);
    double w[BRG_SCHEME_UNITS_MAX];
    if (!brg_bits_full(available, all)) return BRG_ERANK;
    if (!coded(spec) || repetition(spec)) return brg_scheme_sum_all(s, available, weights);
    for (uint32_t u = 0; u < all; u++) w[u] = 1.0;
    for (uint32_t part = 0; part < spec->b; part++) {
        const struct brg_bits held = part_of(spec, available, part);
        const int rc = brg_cyclic_decode(&cyclic, &held, w + all + (size_t)part * per);
        if (rc != BRG_OK) return rc;
    }
    memcpy(weights, w, s->units * sizeof *w);
    return BRG_OK;
}

const struct brg_scheme_ops brg_m_sgc_ops = {
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
