/* sr_sgc.c - selective-repeat sequential gradient coding, SR-SGC (Krishnan, Ebrahimi, Khisti,
 * "Sequential Gradient Coding for Straggler Mitigation", ICLR 2023).
 *
 * Every job is coded by gradient coding of s = ceil(b lambda / (w - 1 + b)), which is less than a
 * burst of lambda stragglers would need. T = b. What a job then lacks is attempted again b rounds
 * later by as many workers as it takes, which skip the new job; that costs the new job as many
 * units, which it may lack:
 *
 *   round       0     1     2     3        b = 2, s = 1, n = 4
 *   position 0  j0    j1    j2    j3
 *   position 1  (j0)  j1    j0    j3       rounds 0 lost two units of j0, one more than s:
 *   position 2  (j0)  j1    j2    j3       one position makes it good in round 2,
 *   position 3  j0    j1    j2    j3       and j2 lacks one unit, as it may
 *
 * At most lambda of any w rounds' workers straggle, each within b rounds, so over the x + 1 rounds
 * t, t + b, .. t + x b of a window (w = x b + 1) what is left over dies out: it is at most
 * lambda - (x + 1) s <= 0 at the end. The weakest rule needs no window: the job that is due must
 * decode, and any number of workers can attempt it again in its last round.
 *
 * base cyclic: unit i is position i's; the missing units with the lowest numbers are attempted,
 * each by its position. base repetition: unit g is group g's; one member of a group without a
 * result attempts it, another one each round. */
#include "coding/scheme_ops.h"

static uint32_t repetition(const struct brg_scheme *s) {
    return s->spec.base == BRG_BASE_REPETITION;
}

static struct brg_cyclic cyclic_of(const struct brg_scheme *s) {
    return (struct brg_cyclic){
        .n = s->spec.n, .s = brg_code_s(&s->spec), .table = s->plan_only ? NULL : s->table};
}

static int check_window(const struct brg_code_spec *spec, struct brg_why *why) {
    if (spec->b == 0 || spec->b > BRG_MODELS_MAX - 1) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code sr-sgc with b = %u: set b, the rounds that a step may be late "
                           "by, to 1 .. %u",
                           spec->b, BRG_MODELS_MAX - 1);
    }
    if (spec->w <= spec->b || (spec->w - 1) % spec->b != 0 || spec->w > BRG_CODE_WINDOW_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code sr-sgc with w = %u: set w to a multiple of b = %u and one "
                           "more, %u .. %u",
                           spec->w, spec->b, spec->b + 1, BRG_CODE_WINDOW_MAX);
    }
    if (spec->lambda == 0 || spec->lambda > spec->n) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code sr-sgc with lambda = %u stragglers of n = %u in a window: set "
                           "lambda to 1 .. %u",
                           spec->lambda, spec->n, spec->n);
    }
    if (spec->base != BRG_BASE_REPETITION && spec->base != BRG_BASE_CYCLIC) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code sr-sgc over base %u: set base to repetition or cyclic",
                           spec->base);
    }
    return BRG_OK;
}

static int check(const struct brg_code_spec *spec, struct brg_why *why) {
    int rc = check_window(spec, why);
    if (rc != BRG_OK) return rc;
    const uint32_t s = brg_code_s(spec);
    if (s >= spec->n) {
        return brg_why_set(
            why, BRG_EINVAL,
            "the code sr-sgc with b = %u, w = %u, lambda = %u needs more than n = %u "
            "workers: set a smaller lambda",
            spec->b, spec->w, spec->lambda, spec->n);
    }
    if (spec->base == BRG_BASE_REPETITION) {
        const uint32_t groups = spec->n / (s + 1);
        if (spec->chunks >= groups) return BRG_OK;
        return brg_why_set(why, BRG_EINVAL,
                           "%u chunks cannot be dealt to %u groups (n = %u, s = %u): set chunks to "
                           "%u or more",
                           spec->chunks, groups, spec->n, s, groups);
    }
    rc = brg_cyclic_check(s, "sr-sgc", "lambda", why);
    if (rc != BRG_OK || spec->chunks % spec->n == 0) return rc;
    return brg_why_set(why, BRG_EINVAL,
                       "the code sr-sgc over base cyclic cuts the batch into n = %u equal blocks, "
                       "which %u chunks do not allow: set chunks to a multiple of %u or base to "
                       "repetition",
                       spec->n, spec->chunks, spec->n);
}

static size_t table_count(const struct brg_code_spec *spec) {
    if (spec->base == BRG_BASE_REPETITION) return 0;
    return brg_cyclic_table_count(spec->n, brg_code_s(spec));
}

static void plan(struct brg_scheme *s) {
    const uint32_t n = s->spec.n, redundancy = brg_code_s(&s->spec);
    s->parts = 1;
    if (repetition(s)) {
        s->units = s->groups = n / (redundancy + 1);
        s->load_chunks = brg_cut_most(s->spec.chunks, s->groups);
    } else {
        s->units = s->groups = n;
        s->load_chunks = (redundancy + 1) * (s->spec.chunks / n);
    }
}

static int init(struct brg_scheme *s, struct brg_why *why) {
    if (repetition(s)) return BRG_OK;
    return brg_cyclic_build(s->spec.n, brg_code_s(&s->spec), s->table, s->spec.seed,
                            BRG_CYCLIC_AMPLIFICATION_MAX, why);
}

static uint32_t group_of(const struct brg_scheme *s, uint32_t position) {
    return repetition(s) ? brg_cut_of(s->spec.n, s->groups, position) : position;
}

static uint32_t unit_chunks(const struct brg_scheme *s, uint32_t unit) {
    if (!repetition(s)) return s->load_chunks;
    return brg_cut(s->spec.chunks, s->groups, unit + 1) - brg_cut(s->spec.chunks, s->groups, unit);
}

static void recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out) {
    if (repetition(s)) {
        brg_recipe_sum(out, brg_cut(s->spec.chunks, s->groups, unit), unit_chunks(s, unit));
    } else {
        const struct brg_cyclic cyclic = cyclic_of(s);
        brg_cyclic_recipe(&cyclic, unit, 0, s->spec.chunks / s->spec.n, out);
    }
}

/* Whether `position` gives up its part of the new job for the one that is due. */
static int attempts_again(const struct brg_scheme *s, uint64_t round, const struct brg_bits *due,
                          uint32_t position) {
    const uint32_t n = s->spec.n, unit = group_of(s, position);
    if (brg_bits_has(due, unit)) return 0;
    if (repetition(s)) {
        const uint32_t first = brg_cut(n, s->groups, unit);
        const uint32_t size = brg_cut(n, s->groups, unit + 1) - first;
        return position - first == round % size;
    }
    const uint32_t enough = n - brg_code_s(&s->spec), held = brg_bits_count(due);
    if (held >= enough) return 0; /* where the guards refuse it, may_end will wait for one more */
    const uint32_t gone_below = position - brg_bits_count_below(due, position);
    return gone_below < enough - held;
}

static uint32_t assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                       uint32_t position, struct brg_minitask *out) {
    const uint32_t delta = attempts_again(s, round, &have[s->spec.b], position) ? s->spec.b : 0;
    const uint32_t unit = group_of(s, position);
    if (brg_bits_has(&have[delta], unit)) return 0;
    out[0] = (struct brg_minitask){.delta = delta, .unit = unit};
    return 1;
}

static int may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have) {
    (void)round;
    if (repetition(s)) return brg_bits_full(&have[s->spec.b], s->units);
    const struct brg_cyclic cyclic = cyclic_of(s);
    return brg_cyclic_enough(&cyclic, &have[s->spec.b]);
}

static uint32_t missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out) {
    const uint32_t due = s->spec.b;
    (void)round;
    if (repetition(s)) return brg_bits_lacking(&have[due], s->units, &out[due]);
    const struct brg_cyclic cyclic = cyclic_of(s);
    return brg_cyclic_missing(&cyclic, &have[due], &out[due]);
}

static int decode(const struct brg_scheme *s, const struct brg_bits *available, double *weights) {
    if (!repetition(s)) {
        const struct brg_cyclic cyclic = cyclic_of(s);
        return brg_cyclic_decode(&cyclic, available, weights);
    }
    return brg_scheme_sum_all(s, available, weights);
}

const struct brg_scheme_ops brg_sr_sgc_ops = {
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
