/* frc.c - fractional repetition with balanced groups; `none` and `speculative` are its case s = 0.
 *
 * G = floor(n / (s + 1)) groups. Positions and chunks are cut into G contiguous ranges whose sizes
 * differ by at most one, and the chunks of a group into p = parts units:
 *
 *   group          0                g                       G - 1
 *   positions   [0, n/G) ...  [g n/G, (g+1) n/G) ...  [(G-1) n/G, n)     floors; each >= s + 1
 *   chunks      [0, k/G) ...  [g k/G, (g+1) k/G) ...  [(G-1) k/G, k)
 *   units       0 .. p-1 ...  g p .. (g+1) p - 1 ...
 *
 * Every position of a group computes all units of the group, so any s positions may fail, and more
 * as long as each group keeps one. Member k of m starts at unit floor(k p / m) of the group and
 * goes round: what two slow members have done then adds up to more than either did.
 *
 *   p = 4, m = 2:   member 0:  0 1 2 3      after half the time of one member all 4 are done
 *                   member 1:  2 3 0 1
 *
 * With delay 1 a round ends although units of its own job are missing. In the next round half of
 * the members of such a group, rounded up, attempt those first; other ones each round, since who
 * was late is likely to be late again. The gradient is the sum of all units in their order: the
 * same bits whoever answered. Integers only. */
#include "coding/scheme_ops.h"

static uint32_t groups_of(const struct brg_code_spec *spec) {
    return spec->n / (spec->s + 1);
}

static uint32_t parts_of(const struct brg_code_spec *spec) {
    return spec->parts == 0 ? 1 : spec->parts;
}

uint32_t brg_cut(uint32_t total, uint32_t parts, uint32_t g) {
    BRG_ASSERT(g <= parts);
    return (uint32_t)((uint64_t)total * g / parts);
}

uint32_t brg_cut_of(uint32_t total, uint32_t parts, uint32_t element) {
    const uint32_t g = (uint32_t)((((uint64_t)element + 1) * parts - 1) / total);
    BRG_ASSERT(brg_cut(total, parts, g) <= element);
    BRG_ASSERT(element < brg_cut(total, parts, g + 1));
    return g;
}

uint32_t brg_cut_most(uint32_t total, uint32_t parts) {
    return total / parts + (total % parts != 0);
}

void brg_recipe_sum(struct brg_recipe *out, uint32_t first, uint32_t count) {
    BRG_ASSERT(count <= BRG_RECIPE_CHUNKS_MAX);
    out->count = count;
    for (uint32_t k = 0; k < count; k++) {
        out->chunk[k] = first + k;
        out->coefficient[k] = 1.0;
    }
}

static int check(const struct brg_code_spec *spec, struct brg_why *why) {
    const uint32_t groups = groups_of(spec), parts = parts_of(spec);
    if (spec->kind != BRG_CODE_FRC && spec->s != 0) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code %s has no redundancy, but s is %u: set s to 0 or use the code "
                           "frc",
                           spec->kind == BRG_CODE_NONE ? "none" : "speculative", spec->s);
    }
    if (spec->delay > 1) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code frc with delay %u: set delay to 0, or to 1 for late parts "
                           "attempted again in the next round",
                           spec->delay);
    }
    const uint32_t parts_max = BRG_CODE_PARTS_MAX / (spec->delay + 1); /* old ones and new ones */
    if (parts > parts_max) {
        return brg_why_set(why, BRG_EINVAL, "%u parts a share: set parts to 1 .. %u", parts,
                           parts_max);
    }
    if (groups * parts > BRG_SCHEME_UNITS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "%u groups of %u parts are more than %u shares: set parts to %u or less",
                           groups, parts, BRG_SCHEME_UNITS_MAX, BRG_SCHEME_UNITS_MAX / groups);
    }
    if (spec->chunks < groups * parts) {
        return brg_why_set(why, BRG_EINVAL,
                           "%u chunks cannot be dealt to %u groups of %u parts (n = %u, s = %u): "
                           "set chunks to %u or more",
                           spec->chunks, groups, parts, spec->n, spec->s, groups * parts);
    }
    return BRG_OK;
}

static size_t table_count(const struct brg_code_spec *spec) {
    (void)spec;
    return 0;
}

static void plan(struct brg_scheme *s) {
    s->groups = groups_of(&s->spec);
    s->parts = parts_of(&s->spec);
    s->units = s->groups * s->parts;
    s->load_chunks = brg_cut_most(s->spec.chunks, s->groups);
    BRG_ASSERT(s->spec.n / s->groups >= s->spec.s + 1);
}

static int init(struct brg_scheme *s, struct brg_why *why) {
    (void)why;
    BRG_ASSERT(s->units >= 1);
    return BRG_OK;
}

static uint32_t group_of(const struct brg_scheme *s, uint32_t position) {
    return brg_cut_of(s->spec.n, s->groups, position);
}

/* The first chunk of unit `part` of group g; that of the next group for part = parts. */
static uint32_t first_chunk(const struct brg_scheme *s, uint32_t g, uint32_t part) {
    const uint32_t first = brg_cut(s->spec.chunks, s->groups, g);
    const uint32_t count = brg_cut(s->spec.chunks, s->groups, g + 1) - first;
    return first + brg_cut(count, s->parts, part);
}

static uint32_t unit_chunks(const struct brg_scheme *s, uint32_t unit) {
    const uint32_t g = unit / s->parts, part = unit % s->parts;
    return first_chunk(s, g, part + 1) - first_chunk(s, g, part);
}

static void recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out) {
    brg_recipe_sum(out, first_chunk(s, unit / s->parts, unit % s->parts), unit_chunks(s, unit));
}

/* The units of group g that `have` lacks, from part `start` on and round; returns how many. */
static uint32_t rotated(const struct brg_scheme *s, const struct brg_bits *have, uint32_t g,
                        uint32_t start, uint32_t delta, struct brg_minitask *out) {
    uint32_t count = 0;
    for (uint32_t k = 0; k < s->parts; k++) {
        const uint32_t unit = g * s->parts + (start + k) % s->parts;
        if (brg_bits_has(have, unit)) continue;
        out[count++] = (struct brg_minitask){.delta = delta, .unit = unit};
    }
    return count;
}

static uint32_t assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                       uint32_t position, struct brg_minitask *out) {
    const uint32_t g = group_of(s, position);
    const uint32_t first = brg_cut(s->spec.n, s->groups, g);
    const uint32_t size = brg_cut(s->spec.n, s->groups, g + 1) - first, member = position - first;
    uint32_t count = 0;
    if (s->spec.delay == 1) {
        const uint32_t helpers = (size + 1) / 2;
        const uint32_t turn = (uint32_t)((member + round % size) % size);
        if (turn < helpers) {
            count = rotated(s, &have[1], g, brg_cut(s->parts, helpers, turn), 1, out);
        }
    }
    return count + rotated(s, &have[0], g, brg_cut(s->parts, size, member), 0, out + count);
}

static int may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have) {
    (void)round;
    return brg_bits_full(&have[s->spec.delay], s->units);
}

static uint32_t missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out) {
    (void)round;
    return brg_bits_lacking(&have[s->spec.delay], s->units, &out[s->spec.delay]);
}

const struct brg_scheme_ops brg_frc_ops = {
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
    .decode = brg_scheme_sum_all,
};
