#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coding/dct_code.h"
#include "coding/scheme_ops.h"
#include "tests/unit/coding/fixture.h"

#include <stdlib.h>
#include <string.h>

#define D 12u /* coordinates of a gradient */
#define N_MAX 16u

/* Shares [n][D] as workers send them: sums in float32, of random gradients. */
struct round {
    struct brg_scheme *s;
    uint32_t n;
    double g[N_MAX][D];
    float share[N_MAX][D];
};

static void make_round(struct round *r, uint32_t n, uint32_t stragglers, uint64_t seed) {
    const struct brg_code_spec spec = spec_of(BRG_CODE_DCT, n, stragglers, n);
    struct brg_prng p = {seed};
    static struct brg_recipe recipe;
    r->s = scheme_of(&spec);
    r->n = n;
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t d = 0; d < D; d++) r->g[j][d] = brg_prng_normal(&p);
    for (uint32_t i = 0; i < n; i++) {
        brg_scheme_recipe(r->s, i, &recipe);
        for (uint32_t d = 0; d < D; d++) {
            float sum = 0.0f;
            for (uint32_t k = 0; k < recipe.count; k++)
                sum += (float)recipe.coefficient[k] * (float)r->g[recipe.chunk[k]][d];
            r->share[i][d] = sum;
        }
    }
}

static struct brg_dct_code_verdict locate(const struct round *r, const struct brg_bits *have) {
    double gram[N_MAX * N_MAX] = {0};
    struct brg_dct_code_verdict verdict;
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t j = 0; j < r->n; j++)
            for (uint32_t d = 0; d < D; d++)
                gram[i * r->n + j] += (double)r->share[i][d] * (double)r->share[j][d];
    brg_dct_code_locate(r->s, have, gram, 1e-6, &verdict);
    return verdict;
}

/* The largest error of the decoded gradient. */
static double decoded_error(const struct round *r, const struct brg_bits *have) {
    double weights[BRG_SCHEME_UNITS_MAX], worst = 0.0;
    assert_int_equal(brg_scheme_decode(r->s, have, weights), BRG_OK);
    for (uint32_t d = 0; d < D; d++) {
        double sum = 0.0;
        for (uint32_t j = 0; j < r->n; j++) sum += weights[j] * (double)r->share[j][d] - r->g[j][d];
        if (fabs(sum) > worst) worst = fabs(sum);
    }
    return worst;
}

static void dct_code_any_s_gone__decodes_the_full_sum(void **state) {
    (void)state;
    const uint32_t sizes[][2] = {{2, 1}, {4, 1}, {5, 2}, {8, 1}, {8, 3}, {12, 2}, {12, 3}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct round r;
        make_round(&r, sizes[k][0], sizes[k][1], 11 + k);
        for (uint32_t alive = 0; alive < 1u << r.n; alive++) {
            const struct brg_bits have = {{alive}};
            const int enough = (uint32_t)__builtin_popcount(alive) >= r.n - sizes[k][1];
            assert_int_equal(brg_scheme_may_end(r.s, 0, &have), enough);
            if (enough) assert_true(decoded_error(&r, &have) < 5e-3);
        }
        free(r.s);
    }
}

/* cos(k theta) for the s highest k is orthogonal to every honest column, row lengths undone. */
static void dct_code_matrix__is_a_word_of_the_lower_bands(void **state) {
    (void)state;
    const uint32_t n = 12, s = 3;
    struct round r;
    make_round(&r, n, s, 5);
    const struct brg_cyclic c = {.n = n, .s = s, .table = r.s->table};
    const double *null = brg_cyclic_null(&c);
    for (uint32_t j = 0; j < n; j++) {
        double column[16] = {0};
        static struct brg_recipe recipe;
        for (uint32_t i = 0; i < n; i++) {
            brg_scheme_recipe(r.s, i, &recipe);
            for (uint32_t k = 0; k < recipe.count; k++)
                if (recipe.chunk[k] == j) column[i] = recipe.coefficient[k];
        }
        for (uint32_t k = 0; k < s; k++) {
            double syndrome = 0.0;
            for (uint32_t i = 0; i < n; i++) syndrome += null[i * s + k] * column[i];
            assert_true(fabs(syndrome) < 1e-12);
        }
    }
    free(r.s);
}

static void dct_code_honest_round__is_clean_whoever_is_missing(void **state) {
    (void)state;
    struct round r;
    struct brg_bits have;
    make_round(&r, 12, 3, 3);
    brg_bits_fill(&have, 12);
    assert_int_equal(locate(&r, &have).status, BRG_DCT_CODE_CLEAN);
    brg_bits_remove(&have, 4);
    assert_int_equal(locate(&r, &have).status, BRG_DCT_CODE_CLEAN);
    brg_bits_remove(&have, 11);
    assert_int_equal(locate(&r, &have).status, BRG_DCT_CODE_CLEAN);
    brg_bits_remove(&have, 0);
    assert_int_equal(locate(&r, &have).status, BRG_DCT_CODE_BLIND);
    free(r.s);
}

static void dct_code_liar__is_located_beside_a_straggler_and_left_out_exactly(void **state) {
    (void)state;
    for (uint32_t liar = 0; liar < 12; liar++) {
        for (uint32_t gone = 0; gone <= 12; gone++) { /* 12: nobody is */
            struct round r;
            struct brg_bits have;
            if (gone == liar) continue;
            make_round(&r, 12, 3, 100 + liar);
            brg_bits_fill(&have, 12);
            if (gone < 12) brg_bits_remove(&have, gone);
            for (uint32_t d = 0; d < D; d++) r.share[liar][d] *= -1.0f; /* the sign flipped */
            const struct brg_dct_code_verdict v = locate(&r, &have);
            assert_int_equal(v.status, BRG_DCT_CODE_FOUND);
            assert_int_equal(v.count, 1);
            assert_int_equal(v.unit[0], liar);
            brg_bits_remove(&have, liar);
            assert_true(decoded_error(&r, &have) < 5e-3);
            free(r.s);
        }
    }
}

static void dct_code_small_lie__is_found_far_below_the_gradients_noise(void **state) {
    (void)state;
    struct round r;
    struct brg_bits have;
    make_round(&r, 8, 3, 9);
    brg_bits_fill(&have, 8);
    r.share[5][3] *= 1.01f; /* one coordinate of one share */
    const struct brg_dct_code_verdict v = locate(&r, &have);
    assert_int_equal(v.status, BRG_DCT_CODE_FOUND);
    assert_int_equal(v.unit[0], 5);
    free(r.s);
}

static void dct_code_more_liars_than_can_be_told__names_nobody(void **state) {
    (void)state;
    struct round r;
    struct brg_bits have;
    make_round(&r, 12, 3, 21);
    brg_bits_fill(&have, 12);
    for (uint32_t d = 0; d < D; d++) {
        r.share[2][d] += 1.0f + (float)d;
        r.share[7][d] -= 2.0f - (float)d;
    }
    struct brg_dct_code_verdict v = locate(&r, &have);
    assert_int_equal(v.status, BRG_DCT_CODE_TOO_MANY);
    assert_int_equal(v.count, 0);
    free(r.s);
    make_round(&r, 8, 1, 22); /* s = 1 tells that somebody lied, and not who */
    brg_bits_fill(&have, 8);
    r.share[3][0] += 1.0f;
    assert_int_equal(locate(&r, &have).status, BRG_DCT_CODE_TOO_MANY);
    free(r.s);
}

static void dct_code_beyond_float32__is_refused_with_the_way_out(void **state) {
    (void)state;
    const struct brg_code_spec spec = spec_of(BRG_CODE_DCT, 32, 7, 32);
    struct brg_why why;
    struct brg_scheme *s = malloc(brg_scheme_size_bytes(&spec));
    assert_non_null(s);
    assert_int_equal(brg_scheme_init(s, brg_scheme_size_bytes(&spec), &spec, &why), BRG_ERANK);
    assert_non_null(strstr(why.text, "or use the code frc"));
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dct_code_any_s_gone__decodes_the_full_sum),
        cmocka_unit_test(dct_code_matrix__is_a_word_of_the_lower_bands),
        cmocka_unit_test(dct_code_honest_round__is_clean_whoever_is_missing),
        cmocka_unit_test(dct_code_liar__is_located_beside_a_straggler_and_left_out_exactly),
        cmocka_unit_test(dct_code_small_lie__is_found_far_below_the_gradients_noise),
        cmocka_unit_test(dct_code_more_liars_than_can_be_told__names_nobody),
        cmocka_unit_test(dct_code_beyond_float32__is_refused_with_the_way_out),
    };
    return cmocka_run_group_tests_name("dct_code", tests, NULL, NULL) != 0;
}
