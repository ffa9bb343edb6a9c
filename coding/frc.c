/* frc.c - fractional repetition with balanced groups, and `none`, which is its case s = 0.
 *
 * G = floor(n / (s + 1)) groups. Positions and chunks are cut into G contiguous ranges whose sizes
 * differ by at most one:
 *
 *   group          0                g                       G - 1
 *   positions   [0, n/G) ...  [g n/G, (g+1) n/G) ...  [(G-1) n/G, n)     floors; each >= s + 1
 *   chunks      [0, k/G) ...  [g k/G, (g+1) k/G) ...  [(G-1) k/G, k)
 *
 * Every position of a group computes the plain sum of the group's chunks, so any s positions may
 * fail, and more as long as each group keeps one. The gradient is the sum of one share a group in
 * group order: the same bits whoever answered. Integers only. */
#include "coding/scheme_ops.h"

static uint32_t groups_of(const struct brg_code_spec *spec) {
    return spec->n / (spec->s + 1);
}

/* First element of range g where `total` elements are cut into `parts`. */
static uint32_t cut(uint32_t total, uint32_t parts, uint32_t g) {
    BRG_ASSERT(g <= parts);
    return (uint32_t)((uint64_t)total * g / parts);
}

static int check(const struct brg_code_spec *spec, struct brg_why *why) {
    const uint32_t groups = groups_of(spec);
    if (spec->kind == BRG_CODE_NONE && spec->s != 0) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code none tolerates no straggler, but s is %u: set s to 0 or use "
                           "the code frc",
                           spec->s);
    }
    if (spec->chunks < groups) {
        return brg_why_set(why, BRG_EINVAL,
                           "%u chunks cannot be dealt to %u groups (n = %u, s = %u): set chunks to "
                           "%u or more",
                           spec->chunks, groups, spec->n, spec->s, groups);
    }
    return BRG_OK;
}

static size_t table_count(const struct brg_code_spec *spec) {
    (void)spec;
    return 0;
}

static int init(struct brg_scheme *s, struct brg_why *why) {
    (void)why;
    s->units = groups_of(&s->spec);
    s->load_chunks = (s->spec.chunks + s->units - 1) / s->units;
    BRG_ASSERT(s->units >= 1);
    BRG_ASSERT(s->spec.n / s->units >= s->spec.s + 1);
    return BRG_OK;
}

/* The g with cut(g) <= position < cut(g + 1). */
static uint32_t group_of(const struct brg_scheme *s, uint32_t position) {
    const uint32_t n = s->spec.n, groups = s->units;
    const uint32_t g = (uint32_t)((((uint64_t)position + 1) * groups - 1) / n);
    BRG_ASSERT(cut(n, groups, g) <= position);
    BRG_ASSERT(position < cut(n, groups, g + 1));
    return g;
}

static void recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out) {
    const uint32_t first = cut(s->spec.chunks, s->units, unit);
    out->count = cut(s->spec.chunks, s->units, unit + 1) - first;
    for (uint32_t k = 0; k < out->count; k++) {
        out->chunk[k] = first + k;
        out->coefficient[k] = 1.0;
    }
}

static uint32_t missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out) {
    (void)round;
    brg_bits_fill(out, s->units);
    brg_bits_subtract(out, have);
    return brg_bits_count(out);
}

static int may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have) {
    (void)round;
    return brg_bits_count(have) == s->units;
}

static int decode(const struct brg_scheme *s, const struct brg_bits *available, double *weights) {
    if (brg_bits_count(available) < s->units) return BRG_ERANK;
    for (uint32_t g = 0; g < s->units; g++) weights[g] = 1.0;
    return BRG_OK;
}

const struct brg_scheme_ops brg_frc_ops = {
    .check = check,
    .table_count = table_count,
    .init = init,
    .group_of = group_of,
    .recipe = recipe,
    .assign = brg_scheme_assign_own,
    .may_end = may_end,
    .missing = missing,
    .decode = decode,
};
