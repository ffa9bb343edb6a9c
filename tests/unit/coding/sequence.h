/* sequence.h - rounds of a sequential code as published: a position delivers all that it was given
 * in a round, or nothing. Our minitasks come oldest job first and the published tables list slots
 * by age, so that traces are compared as sets of each round. */
#ifndef BRG_TESTS_CODING_SEQUENCE_H
#define BRG_TESTS_CODING_SEQUENCE_H

#include "coding/pattern.h"
#include "tests/unit/coding/fixture.h"

#include <stdlib.h>
#include <string.h>

/* Between two rounds; copied to try several ways to go on. */
struct sequence {
    const struct brg_scheme *scheme;
    uint64_t round;      /* the next one, from 0 on; job j starts in round j */
    uint64_t jobs;       /* of the run */
    uint32_t reattempts; /* positions that were given an older job in the last round */
    struct brg_bits have[BRG_SCHEME_JOBS_MAX];
    struct brg_pattern pattern;
};

static inline void absent(struct sequence *q, uint32_t delta) {
    brg_bits_fill(&q->have[delta], brg_scheme_unit_count(q->scheme));
}

static inline struct sequence sequence_of(const struct brg_scheme *s, uint64_t jobs) {
    struct sequence q = {.scheme = s, .jobs = jobs};
    for (uint32_t d = 1; d < brg_scheme_jobs(s); d++) absent(&q, d);
    return q;
}

/* Rounds of the run: the last job is due at the end of the last. */
static inline uint64_t rounds_of(const struct sequence *q) {
    return q->jobs + brg_scheme_delay(q->scheme);
}

/* All positions but those in `late` deliver. The round is not ended. */
static inline void play(struct sequence *q, const struct brg_bits *late) {
    struct brg_bits after[BRG_SCHEME_JOBS_MAX];
    memcpy(after, q->have, sizeof after);
    q->reattempts = 0;
    for (uint32_t p = 0; p < brg_scheme_spec(q->scheme)->n; p++) {
        struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
        const uint32_t count = brg_scheme_assign(q->scheme, q->round, q->have, p, tasks);
        uint32_t older = 0;
        for (uint32_t k = 0; k < count; k++) {
            assert_in_range(tasks[k].delta, 0, brg_scheme_delay(q->scheme));
            assert_false(brg_bits_has(&q->have[tasks[k].delta], tasks[k].unit));
            if (k > 0) assert_true(tasks[k].delta <= tasks[k - 1].delta);
            older += tasks[k].delta > 0;
            if (!brg_bits_has(late, p)) brg_bits_add(&after[tasks[k].delta], tasks[k].unit);
        }
        q->reattempts += older > 0;
    }
    memcpy(q->have, after, sizeof after);
}

/* What commit does, also where the round may not end: the published way, with no look ahead. */
static inline void shift(struct sequence *q) {
    for (uint32_t d = brg_scheme_delay(q->scheme); d > 0; d--) q->have[d] = q->have[d - 1];
    brg_bits_clear(&q->have[0]);
    if (++q->round >= q->jobs) absent(q, 0);
}

static inline int may_end(const struct sequence *q) {
    return brg_scheme_may_end(q->scheme, q->round, q->have);
}

/* The round ends, which it must be allowed to. */
static inline void commit(struct sequence *q) {
    struct brg_bits want[BRG_SCHEME_JOBS_MAX];
    memcpy(want, q->have, sizeof want);
    brg_scheme_commit(q->scheme, q->round, q->have);
    for (uint32_t d = 1; d < brg_scheme_jobs(q->scheme); d++) {
        assert_memory_equal(&q->have[d], &want[d - 1], sizeof want[0]);
    }
    assert_int_equal(brg_bits_count(&q->have[0]), 0);
    if (++q->round >= q->jobs) absent(q, 0);
}

static inline const struct brg_bits *due(const struct sequence *q) {
    return &q->have[brg_scheme_delay(q->scheme)];
}

/* Random gradients of the chunks, and the shares of all units. */
struct gradients {
    double *g, *shares;
};

static inline struct gradients gradients_of(const struct brg_scheme *s) {
    struct brg_prng r = {5};
    const uint32_t chunks = brg_scheme_spec(s)->chunks, units = brg_scheme_unit_count(s);
    struct gradients out = {malloc(chunks * sizeof(double)), malloc(units * sizeof(double))};
    assert_non_null(out.g);
    assert_non_null(out.shares);
    for (uint32_t k = 0; k < chunks; k++) out.g[k] = brg_prng_normal(&r);
    for (uint32_t u = 0; u < units; u++) out.shares[u] = share_of(s, u, out.g);
    return out;
}

static inline void gradients_free(struct gradients *g) {
    free(g->g);
    free(g->shares);
}

static inline struct brg_bits bits_of_mask(uint32_t mask) {
    return (struct brg_bits){{mask}};
}

/* The plan of the same spec, without matrices; to be freed. */
static inline struct brg_scheme *plan_of(const struct brg_code_spec *spec) {
    const size_t size_bytes = brg_scheme_plan_size_bytes(spec);
    struct brg_scheme *s = malloc(size_bytes);
    assert_non_null(s);
    assert_int_equal(brg_scheme_init_plan(s, size_bytes, spec, NULL), BRG_OK);
    return s;
}

static inline struct brg_code_spec sequential_of(uint32_t kind, uint32_t n, uint32_t b, uint32_t w,
                                                 uint32_t lambda, uint32_t base) {
    const uint32_t cells = n * (b + (w - 1) * (lambda + 1));
    return (struct brg_code_spec){.kind = kind,
                                  .n = n,
                                  .chunks = kind == BRG_CODE_SR_SGC ? n
                                            : lambda == n           ? n * (w - 1)
                                                                    : cells,
                                  .policy = BRG_POLICY_MINWAIT,
                                  .mu_ppm = 1000000,
                                  .seed = 7,
                                  .base = base,
                                  .b = b,
                                  .w = w,
                                  .lambda = lambda};
}

/* ---- all conforming patterns ---- */

/* What a walk over patterns does with each round, and what it found. */
struct walk {
    int (*conforms)(const struct walk *w, const struct sequence *q, const struct brg_bits *late);
    struct brg_pattern_model model;
    const struct gradients *g;
    const struct brg_scheme *plan; /* of the same spec */
    uint64_t patterns;             /* whole ones */
    uint64_t refused;              /* rounds in which the guards of a matrix wanted one more unit */
    double worst;                  /* error of a decoded gradient */
};

static inline int conforms_model(const struct walk *w, const struct sequence *q,
                                 const struct brg_bits *late) {
    return brg_pattern_allows(&w->model, &q->pattern, late);
}

static inline int conforms_published(const struct walk *w, const struct sequence *q,
                                     const struct brg_bits *late) {
    (void)w;
    return brg_pattern_conforms(brg_scheme_spec(q->scheme), &q->pattern, late);
}

/* One round with `late`, which conforms: it may end, and the job that is due decodes. */
static inline void check_round(struct walk *w, struct sequence *q, const struct brg_bits *late) {
    struct brg_bits missing[BRG_SCHEME_JOBS_MAX];
    play(q, late);
    const uint32_t short_of = brg_scheme_missing(q->scheme, q->round, q->have, missing);
    assert_int_equal(may_end(q), short_of == 0);
    if (short_of > 0) { /* enough by number, but the guards want more, as they may */
        assert_true(brg_scheme_may_end(w->plan, q->round, q->have));
        for (uint32_t d = 0; d < brg_scheme_jobs(q->scheme); d++) {
            brg_bits_join(&q->have[d], &missing[d]);
        }
        assert_true(may_end(q));
        w->refused++;
    }
    const double error = decode_error(q->scheme, due(q), w->g->shares, w->g->g);
    if (error > w->worst) w->worst = error;
    commit(q);
}

/* Every way to go on from `q`, which is left as it is. */
static inline void walk_all(struct walk *w, const struct sequence *q) {
    if (q->round == rounds_of(q)) {
        w->patterns++;
        return;
    }
    const uint32_t n = brg_scheme_spec(q->scheme)->n;
    for (uint32_t mask = 0; mask < 1u << n; mask++) {
        const struct brg_bits late = bits_of_mask(mask);
        if (!w->conforms(w, q, &late)) continue;
        struct sequence next = *q;
        check_round(w, &next, &late);
        if (w->conforms == conforms_published) {
            brg_pattern_commit(brg_scheme_spec(q->scheme), &next.pattern, &late, next.reattempts);
        } else {
            brg_pattern_push(&next.pattern, &late);
        }
        walk_all(w, &next);
    }
}

/* How many patterns conform; each decodes in time to better than 1e-6. */
static inline uint64_t walk_of(const struct brg_code_spec *spec, uint64_t jobs, struct walk w) {
    struct brg_scheme *s = scheme_of(spec), *plan = plan_of(spec);
    struct gradients g = gradients_of(s);
    const struct sequence q = sequence_of(s, jobs);
    w.g = &g;
    w.plan = plan;
    walk_all(&w, &q);
    assert_int_equal(w.refused, 0); /* small matrices are drawn until none is */
    if (w.worst > 1e-6) fail_msg("n %u: error %g", spec->n, w.worst);
    gradients_free(&g);
    free(plan);
    free(s);
    return w.patterns;
}

static inline uint64_t walk_model(const struct brg_code_spec *spec, uint64_t jobs,
                                  struct brg_pattern_model model) {
    return walk_of(spec, jobs, (struct walk){.conforms = conforms_model, .model = model});
}

/* Random positions are late in each round, `percent` of 100 of those that may be. */
static inline struct brg_bits random_late(const struct walk *w, const struct sequence *q,
                                          uint64_t percent, struct brg_prng *r) {
    const uint32_t n = brg_scheme_spec(q->scheme)->n, first = (uint32_t)brg_prng_below(r, n);
    struct brg_bits late = {{0}};
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t p = (first + k) % n;
        if (brg_prng_below(r, 100) >= percent) continue;
        brg_bits_add(&late, p);
        if (!w->conforms(w, q, &late)) brg_bits_remove(&late, p);
    }
    return late;
}

/* `times` random patterns that conform, from a few late positions to as many as may be. Returns the
 * rounds in which the guards of a matrix wanted one unit more. */
static inline uint64_t walk_random(const struct brg_code_spec *spec, uint64_t jobs, uint32_t times,
                                   struct walk w) {
    struct brg_scheme *s = scheme_of(spec), *plan = plan_of(spec);
    struct gradients g = gradients_of(s);
    struct brg_prng r = {spec->n * UINT64_C(1000) + spec->lambda};
    w.g = &g;
    w.plan = plan;
    for (uint32_t time = 0; time < times; time++) {
        struct sequence q = sequence_of(s, jobs);
        const uint64_t percent = 5 + brg_prng_below(&r, 96);
        while (q.round < rounds_of(&q)) {
            const struct brg_bits late = random_late(&w, &q, percent, &r);
            check_round(&w, &q, &late);
            if (w.conforms == conforms_published) {
                brg_pattern_commit(spec, &q.pattern, &late, q.reattempts);
            } else {
                brg_pattern_push(&q.pattern, &late);
            }
        }
    }
    if (w.worst > 1e-3) fail_msg("n %u: error %g", spec->n, w.worst);
    gradients_free(&g);
    free(plan);
    free(s);
    return w.refused;
}

/* ---- properties of any scheme, to be asked in any state between play and the end of a round ----
 */

/* Whether every job would be decoded in time if nobody straggled any more. */
static inline int finishes_alone(struct sequence q) {
    const struct brg_bits nobody = {{0}};
    double weights[BRG_SCHEME_UNITS_MAX];
    for (;;) {
        if (brg_scheme_decode(q.scheme, due(&q), weights) != BRG_OK) return 0;
        shift(&q);
        if (q.round == rounds_of(&q)) return 1;
        play(&q, &nobody);
    }
}

/* may_end is the weakest safe rule: it holds exactly where nothing would be lost. */
static inline void check_weakest(const struct sequence *q) {
    assert_int_equal(may_end(q), finishes_alone(*q));
}

/* What is missing makes the round end, and no part of it alone does; nor do fewer units, for which
 * all sets of one unit less are tried where they are few. */
static inline void check_missing(const struct sequence *q) {
    struct brg_bits missing[BRG_SCHEME_JOBS_MAX];
    struct sequence with = *q;
    const uint32_t jobs = brg_scheme_jobs(q->scheme), units = brg_scheme_unit_count(q->scheme);
    const uint32_t count = brg_scheme_missing(q->scheme, q->round, q->have, missing);
    uint32_t seen = 0;
    assert_int_equal(count == 0, may_end(q));
    for (uint32_t d = 0; d < jobs; d++) {
        seen += brg_bits_count(&missing[d]);
        brg_bits_join(&with.have[d], &missing[d]);
        assert_int_equal(brg_bits_count(&with.have[d]),
                         brg_bits_count(&q->have[d]) + brg_bits_count(&missing[d]));
    }
    assert_int_equal(seen, count);
    assert_true(may_end(&with));
    for (uint32_t d = 0; d < jobs; d++) {
        for (uint32_t u = 0; u < units; u++) {
            if (!brg_bits_has(&missing[d], u)) continue;
            struct sequence less = with;
            brg_bits_remove(&less.have[d], u);
            assert_false(may_end(&less));
        }
    }
    if (count != 2) return;
    for (uint32_t d = 0; d < jobs; d++) {
        for (uint32_t u = 0; u < units; u++) {
            struct sequence one = *q;
            brg_bits_add(&one.have[d], u);
            assert_false(may_end(&one));
        }
    }
}

/* All patterns, conforming or not, of a run without waiting: how many do not fit the model, and how
 * many of these lose a job; those that fit lose none. */
struct control {
    uint64_t outside, lost;
};

static inline void control_all(const struct sequence *q, const struct brg_pattern_model *model,
                               int outside, int lost, struct control *out) {
    const uint32_t n = brg_scheme_spec(q->scheme)->n;
    if (q->round == rounds_of(q)) {
        out->outside += (uint64_t)outside;
        out->lost += (uint64_t)(outside && lost);
        if (!outside) assert_false(lost);
        return;
    }
    for (uint32_t mask = 0; mask < 1u << n; mask++) {
        const struct brg_bits late = bits_of_mask(mask);
        double weights[BRG_SCHEME_UNITS_MAX];
        struct sequence next = *q;
        const int outside_now = outside || !brg_pattern_allows(model, &q->pattern, &late);
        play(&next, &late);
        if (!lost) check_weakest(&next);
        const int lost_now = lost || brg_scheme_decode(q->scheme, due(&next), weights) != BRG_OK;
        brg_pattern_push(&next.pattern, &late);
        shift(&next);
        control_all(&next, model, outside_now, lost_now, out);
    }
}

static inline struct control control_of(const struct brg_code_spec *spec, uint64_t jobs) {
    struct brg_scheme *s = scheme_of(spec);
    const struct brg_pattern_model model = brg_pattern_model_of(spec);
    const struct sequence q = sequence_of(s, jobs);
    struct control out = {0, 0};
    control_all(&q, &model, 0, 0, &out);
    free(s);
    return out;
}

/* Random states, conforming or not: each round ends by what is missing. */
static inline void check_random_states(const struct brg_code_spec *spec, uint64_t jobs,
                                       uint32_t times) {
    struct brg_scheme *s = scheme_of(spec);
    struct brg_prng r = {spec->n + 100 * spec->lambda};
    for (uint32_t time = 0; time < times; time++) {
        struct sequence q = sequence_of(s, jobs);
        while (q.round < rounds_of(&q)) {
            struct brg_bits missing[BRG_SCHEME_JOBS_MAX];
            const struct brg_bits late = bits_of_mask((uint32_t)brg_prng_below(&r, 1u << spec->n));
            play(&q, &late);
            check_weakest(&q);
            check_missing(&q);
            (void)brg_scheme_missing(s, q.round, q.have, missing);
            for (uint32_t d = 0; d < brg_scheme_jobs(s); d++) {
                brg_bits_join(&q.have[d], &missing[d]);
            }
            commit(&q);
        }
    }
    free(s);
}

/* Settings that a sequential code must refuse, with what the sentence must propose. */
struct sequence_refusal {
    uint32_t n, b, w, lambda, base, chunks;
    const char *proposal;
};

static inline void
sequence_expect_refusals(const struct sequence_refusal *c, size_t count,
                         struct brg_code_spec (*make)(uint32_t n, uint32_t b, uint32_t w,
                                                      uint32_t lambda, uint32_t base)) {
    for (size_t i = 0; i < count; i++) {
        struct brg_code_spec spec = make(c[i].n, c[i].b, c[i].w, c[i].lambda, c[i].base);
        struct brg_why why = {""};
        spec.chunks = c[i].chunks;
        assert_int_equal(brg_scheme_check(&spec, &why), BRG_EINVAL);
        if (strstr(why.text, c[i].proposal) == NULL) fail_msg("case %zu: %s", i, why.text);
    }
}

#endif
