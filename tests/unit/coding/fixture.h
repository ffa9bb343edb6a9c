/* fixture.h - schemes on the heap, and decoding of random gradients, for the tests of coding/. */
#ifndef BRG_TESTS_CODING_FIXTURE_H
#define BRG_TESTS_CODING_FIXTURE_H

#include "base/prng.h"
#include "coding/scheme.h"

#include <math.h>

static inline struct brg_code_spec spec_of(uint32_t kind, uint32_t n, uint32_t s, uint32_t chunks) {
    return (struct brg_code_spec){.kind = kind,
                                  .n = n,
                                  .s = s,
                                  .chunks = chunks,
                                  .policy = BRG_POLICY_EARLY,
                                  .mu_ppm = 1000000,
                                  .seed = 7};
}

/* The scheme of `spec`, to be freed; it must be one that init accepts. */
static inline struct brg_scheme *scheme_of(const struct brg_code_spec *spec) {
    struct brg_why why = {""};
    const size_t size_bytes = brg_scheme_size_bytes(spec);
    assert_true(size_bytes > 0);
    struct brg_scheme *s = malloc(size_bytes);
    assert_non_null(s);
    const int rc = brg_scheme_init(s, size_bytes, spec, &why);
    if (rc != BRG_OK) fail_msg("n %u s %u: %s", spec->n, spec->s, why.text);
    return s;
}

/* The share of `unit` when chunk k has the gradient g[k]. */
static inline double share_of(const struct brg_scheme *s, uint32_t unit, const double *g) {
    static struct brg_recipe recipe;
    double sum = 0.0;
    brg_scheme_recipe(s, unit, &recipe);
    for (uint32_t k = 0; k < recipe.count; k++) sum += recipe.coefficient[k] * g[recipe.chunk[k]];
    return sum;
}

/* How far the decode of `available` is from the sum of all g [chunks], whose shares are given. */
static inline double decode_error(const struct brg_scheme *s, const struct brg_bits *available,
                                  const double *shares, const double *g) {
    double weights[BRG_SCHEME_UNITS_MAX], sum = 0.0;
    assert_int_equal(brg_scheme_decode(s, available, weights), BRG_OK);
    for (uint32_t k = 0; k < brg_scheme_spec(s)->chunks; k++) sum -= g[k];
    for (uint32_t u = 0; u < brg_scheme_unit_count(s); u++) {
        if (!brg_bits_has(available, u)) assert_true(weights[u] == 0.0);
        sum += weights[u] * shares[u];
    }
    return fabs(sum);
}

/* `count` different random numbers below n leave the set. */
static inline void remove_random(struct brg_bits *b, uint32_t n, uint32_t count,
                                 struct brg_prng *g) {
    while (count > 0) {
        const uint32_t i = (uint32_t)brg_prng_below(g, n);
        if (!brg_bits_has(b, i)) continue;
        brg_bits_remove(b, i);
        count--;
    }
}

#endif
