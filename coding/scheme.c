#include "coding/scheme_ops.h"

#include <string.h>

_Static_assert(BRG_CODE_WORKERS_MAX <= BRG_SCHEME_UNITS_MAX, "a unit a position must fit the sets");
_Static_assert(BRG_CODE_PARTS_MAX <= BRG_SCHEME_MINITASKS_MAX, "all parts of a share in one round");

static const struct brg_scheme_ops *ops_of(uint32_t kind) {
    switch (kind) {
    case BRG_CODE_NONE:
    case BRG_CODE_SPECULATIVE:
    case BRG_CODE_FRC: return &brg_frc_ops;
    case BRG_CODE_CYCLIC:
    case BRG_CODE_DCT: return &brg_cyclic_ops;
    case BRG_CODE_SR_SGC: return &brg_sr_sgc_ops;
    case BRG_CODE_M_SGC: return &brg_m_sgc_ops;
    default: return NULL;
    }
}

static const char *name_of(uint32_t kind) {
    static const char *const names[] = {"",       "none",  "frc",         "cyclic",
                                        "sr-sgc", "m-sgc", "speculative", "dct"};
    BRG_ASSERT(kind < sizeof names / sizeof *names);
    return names[kind];
}

/* The ops of a scheme that init has built. */
static const struct brg_scheme_ops *ops(const struct brg_scheme *s) {
    const struct brg_scheme_ops *found = ops_of(s->spec.kind);
    BRG_ASSERT(found != NULL);
    return found;
}

/* Refuses what is set but means nothing to the code: the user expects it to do something. */
static int check_unused(const struct brg_code_spec *spec, struct brg_why *why) {
    const uint32_t kind = spec->kind;
    const int sequential = kind == BRG_CODE_SR_SGC || kind == BRG_CODE_M_SGC;
    const int has_parts =
        kind == BRG_CODE_NONE || kind == BRG_CODE_FRC || kind == BRG_CODE_SPECULATIVE;
    const struct {
        int means_something;
        uint32_t value;
        const char *name;
    } settings[] = {
        {sequential, spec->base, "base"},
        {sequential, spec->b, "b"},
        {sequential, spec->w, "w"},
        {sequential, spec->lambda, "lambda"},
        {!sequential, spec->s, "s"},
        {has_parts, spec->parts > 1 ? spec->parts : 0, "parts"},
        {kind == BRG_CODE_FRC, spec->delay, "delay"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (settings[i].means_something || settings[i].value == 0) continue;
        return brg_why_set(why, BRG_EINVAL,
                           "the code %s has no setting %s, but it is %u: leave %s out",
                           name_of(kind), settings[i].name, settings[i].value, settings[i].name);
    }
    return BRG_OK;
}

int brg_scheme_check(const struct brg_code_spec *spec, struct brg_why *why) {
    const struct brg_scheme_ops *code = ops_of(spec->kind);
    if (code == NULL) {
        return brg_why_set(why, BRG_EINVAL,
                           "the code has kind %u, which this version does not know: use none, frc, "
                           "cyclic, dct, sr-sgc, m-sgc or speculative",
                           spec->kind);
    }
    if (spec->n == 0 || spec->n > BRG_CODE_WORKERS_MAX) {
        return brg_why_set(why, BRG_EINVAL, "a code for %u workers: set n to 1 .. %u", spec->n,
                           BRG_CODE_WORKERS_MAX);
    }
    if (spec->s >= spec->n) {
        return brg_why_set(
            why, BRG_EINVAL,
            "s = %u stragglers of n = %u workers leave nobody to answer: set s to at "
            "most %u or use more workers",
            spec->s, spec->n, spec->n - 1);
    }
    if (spec->chunks == 0 || spec->chunks > BRG_CODE_CHUNKS_MAX) {
        return brg_why_set(why, BRG_EINVAL, "a batch of %u chunks: set chunks to 1 .. %u",
                           spec->chunks, BRG_CODE_CHUNKS_MAX);
    }
    int rc = check_unused(spec, why);
    if (rc == BRG_OK) rc = code->check(spec, why);
    if (rc != BRG_OK) return rc;

    struct brg_scheme planned = {.spec = *spec};
    code->plan(&planned);
    for (uint32_t unit = 0; unit < planned.units; unit++) {
        const uint32_t count = code->unit_chunks(&planned, unit);
        if (count <= BRG_RECIPE_CHUNKS_MAX) continue;
        return brg_why_set(why, BRG_EINVAL,
                           "a share of %u chunks is more than the %u that one may have: set chunks "
                           "to less than %u or use more workers",
                           count, BRG_RECIPE_CHUNKS_MAX, spec->chunks);
    }
    return BRG_OK;
}

size_t brg_scheme_size_bytes(const struct brg_code_spec *spec) {
    if (brg_scheme_check(spec, NULL) != BRG_OK) return 0;
    return sizeof(struct brg_scheme) + ops_of(spec->kind)->table_count(spec) * sizeof(double);
}

size_t brg_scheme_plan_size_bytes(const struct brg_code_spec *spec) {
    return brg_scheme_check(spec, NULL) == BRG_OK ? sizeof(struct brg_scheme) : 0;
}

/* Everything but the table. */
static void plan(struct brg_scheme *s, size_t size_bytes, const struct brg_code_spec *spec) {
    BRG_ASSERT((uintptr_t)s % _Alignof(struct brg_scheme) == 0);
    memset(s, 0, size_bytes); /* padding too, so that memcmp compares schemes */
    s->spec = *spec;
    ops(s)->plan(s);
    BRG_ASSERT(s->units >= 1);
    BRG_ASSERT(s->units <= BRG_SCHEME_UNITS_MAX);
    BRG_ASSERT(s->groups >= 1);
    BRG_ASSERT(s->parts >= 1);
}

int brg_scheme_init(struct brg_scheme *s, size_t size_bytes, const struct brg_code_spec *spec,
                    struct brg_why *why) {
    const int rc = brg_scheme_check(spec, why);
    if (rc != BRG_OK) return rc;
    const size_t need_bytes = brg_scheme_size_bytes(spec);
    BRG_ASSERT(size_bytes >= need_bytes);
    plan(s, need_bytes, spec);
    return ops(s)->init(s, why);
}

int brg_scheme_init_plan(struct brg_scheme *s, size_t size_bytes, const struct brg_code_spec *spec,
                         struct brg_why *why) {
    const int rc = brg_scheme_check(spec, why);
    if (rc != BRG_OK) return rc;
    BRG_ASSERT(size_bytes >= sizeof *s);
    plan(s, sizeof *s, spec);
    s->plan_only = 1;
    return BRG_OK;
}

const struct brg_code_spec *brg_scheme_spec(const struct brg_scheme *s) {
    return &s->spec;
}

uint32_t brg_scheme_delay(const struct brg_scheme *s) {
    const uint32_t delay = brg_code_delay(&s->spec);
    BRG_ASSERT(delay < BRG_SCHEME_JOBS_MAX);
    return delay;
}

uint32_t brg_scheme_jobs(const struct brg_scheme *s) {
    return brg_scheme_delay(s) + 1;
}

uint32_t brg_scheme_unit_count(const struct brg_scheme *s) {
    BRG_ASSERT(s->units >= 1);
    return s->units;
}

uint32_t brg_scheme_load_chunks(const struct brg_scheme *s) {
    BRG_ASSERT(s->load_chunks >= 1);
    return s->load_chunks;
}

uint32_t brg_scheme_unit_chunks(const struct brg_scheme *s, uint32_t unit) {
    BRG_ASSERT(unit < s->units);
    const uint32_t count = ops(s)->unit_chunks(s, unit);
    BRG_ASSERT(count >= 1);
    BRG_ASSERT(count <= BRG_RECIPE_CHUNKS_MAX);
    return count;
}

uint32_t brg_scheme_group_of(const struct brg_scheme *s, uint32_t position) {
    BRG_ASSERT(position < s->spec.n);
    const uint32_t group = ops(s)->group_of(s, position);
    BRG_ASSERT(group < s->groups);
    return group;
}

uint32_t brg_scheme_group_count(const struct brg_scheme *s) {
    BRG_ASSERT(s->groups >= 1);
    return s->groups;
}

void brg_scheme_recipe(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out) {
    BRG_ASSERT(unit < s->units);
    BRG_ASSERT(!s->plan_only);
    ops(s)->recipe(s, unit, out);
    BRG_ASSERT(out->count == brg_scheme_unit_chunks(s, unit));
}

uint32_t brg_scheme_assign(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                           uint32_t position, struct brg_minitask *out) {
    BRG_ASSERT(have != NULL);
    BRG_ASSERT(position < s->spec.n);
    const uint32_t count = ops(s)->assign(s, round, have, position, out);
    BRG_ASSERT(count <= BRG_SCHEME_MINITASKS_MAX);
    return count;
}

/* Units that do not exist would make counting them wrong. */
static void check_sets(const struct brg_scheme *s, const struct brg_bits *have, uint32_t jobs) {
    struct brg_bits all;
    brg_bits_fill(&all, s->units);
    for (uint32_t d = 0; d < jobs; d++) BRG_ASSERT(brg_bits_within(&have[d], &all));
}

int brg_scheme_may_end(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have) {
    check_sets(s, have, brg_scheme_jobs(s));
    return ops(s)->may_end(s, round, have);
}

uint32_t brg_scheme_missing(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                            struct brg_bits *out) {
    const uint32_t jobs = brg_scheme_jobs(s);
    BRG_ASSERT(out != have);
    check_sets(s, have, jobs);
    for (uint32_t d = 0; d < jobs; d++) brg_bits_clear(&out[d]);
    return ops(s)->missing(s, round, have, out);
}

int brg_scheme_sum_all(const struct brg_scheme *s, const struct brg_bits *available,
                       double *weights) {
    if (!brg_bits_full(available, s->units)) return BRG_ERANK;
    for (uint32_t u = 0; u < s->units; u++) weights[u] = 1.0;
    return BRG_OK;
}

int brg_scheme_decode(const struct brg_scheme *s, const struct brg_bits *available,
                      double *weights) {
    BRG_ASSERT(!s->plan_only);
    check_sets(s, available, 1);
    return ops(s)->decode(s, available, weights);
}

void brg_scheme_commit(const struct brg_scheme *s, uint64_t round, struct brg_bits *have) {
    BRG_ASSERT(brg_scheme_may_end(s, round, have));
    for (uint32_t d = brg_scheme_delay(s); d > 0; d--) have[d] = have[d - 1];
    brg_bits_clear(&have[0]);
}
