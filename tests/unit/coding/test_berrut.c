/* test_berrut.c - encoding, layouts, decoding from what survived, the estimate, the order of
 * blocks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coding/berrut.h"
#include "tests/unit/coding/berrut_oracle.h"
#include "tests/unit/coding/smooth.h"

static struct brg_berrut_decode decode;
static double memory[2 * 64 * 64];
static struct smooth_group group;

static struct brg_berrut_spec spec_of(uint32_t k, uint32_t n, uint32_t encoder, uint32_t decoder) {
    return (struct brg_berrut_spec){k, n, BRG_BERRUT_FIRST_KIND, encoder, decoder};
}

static double furthest(uint32_t count, const double *x, const double *want) {
    double worst = 0.0;
    for (uint32_t i = 0; i < count; i++) worst = fmax(worst, fabs(x[i] - want[i]));
    return worst;
}

static void berrut_encode_rows__are_those_of_the_oracle(void **state) {
    (void)state;
    static const uint32_t picked[] = {0, 3, 7};
    double rows[10 * 4];
    for (uint32_t e = 1; e <= 2; e++) {
        const struct brg_berrut_spec spec = spec_of(4, 10, e, BRG_BERRUT_AUTO);
        const double *want = e == BRG_BERRUT_RATIONAL ? encode_rational : encode_polynomial;
        brg_berrut_encode(&spec, rows);
        for (uint32_t i = 0; i < 3; i++) {
            assert_true(furthest(4, rows + picked[i] * 4, want + i * 4) < 1e-13);
        }
    }
}

/* Cosine transform of the K blocks, N - K zeros behind it, and back on N points. */
static void berrut_polynomial_encoder__is_a_padded_cosine_transform(void **state) {
    (void)state;
    enum { K = 8, N = 24 };
    const struct brg_berrut_spec spec = spec_of(K, N, BRG_BERRUT_POLYNOMIAL, BRG_BERRUT_AUTO);
    double rows[N * K];
    brg_berrut_encode(&spec, rows);
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t j = 0; j < K; j++) {
            double sum = 0.0;
            for (uint32_t t = 0; t < K; t++) {
                sum += (t == 0 ? 1.0 : 2.0) / K * cos(t * (2.0 * j + 1.0) * acos(-1.0) / (2 * K)) *
                       cos(t * (2.0 * i + 1.0) * acos(-1.0) / (2 * N));
            }
            assert_true(fabs(rows[i * K + j] - sum) < 1e-12);
        }
    }
}

static void berrut_decode_weights__are_those_of_the_oracle(void **state) {
    (void)state;
    const uint8_t have[10] = {1, 0, 1, 1, 1, 0, 0, 1, 0, 1};
    const double *want[] = {NULL, decode_berrut, decode_half, decode_spline, decode_chebyshev};
    for (uint32_t d = BRG_BERRUT_BERRUT; d <= BRG_BERRUT_CHEBYSHEV; d++) {
        const struct brg_berrut_spec spec = spec_of(4, 10, BRG_BERRUT_RATIONAL, d);
        assert_int_equal(brg_berrut_decode_init(&decode, &spec, have, memory), BRG_OK);
        assert_int_equal(decode.count, 6);
        assert_int_equal(decode.degree, d == BRG_BERRUT_CHEBYSHEV ? 4 : 0);
        assert_true(furthest(24, decode.weights, want[d]) < 1e-11);
    }
}

static void berrut_systematic_layout__is_exact_while_its_workers_answer(void **state) {
    (void)state;
    uint8_t have[64];
    uint32_t node[BRG_BERRUT_BLOCKS_MAX];
    double error[64];
    for (uint32_t points = 1; points <= 2; points++) {
        for (uint32_t d = BRG_BERRUT_BERRUT; d <= BRG_BERRUT_AUTO; d++) {
            struct brg_berrut_spec spec = {4, 0, points, BRG_BERRUT_POLYNOMIAL, d};
            spec.nodes = brg_berrut_systematic(&spec, 9);
            assert_int_equal(spec.nodes, points == BRG_BERRUT_FIRST_KIND ? 12 : 9);
            assert_int_equal(brg_berrut_direct(&spec, node), 4);
            memset(have, 0, sizeof have);
            for (uint32_t j = 0; j < 4; j++) have[node[j]] = 1;
            have[0] = have[1] = 1;
            assert_int_equal(brg_berrut_decode_init(&decode, &spec, have, memory), BRG_OK);
            assert_int_equal(decode.exact, 4);
            for (uint32_t j = 0; j < 4; j++) {
                for (uint32_t r = 0; r < decode.count; r++) {
                    const double want = decode.node[r] == node[j] ? 1.0 : 0.0;
                    assert_true(decode.weights[j * decode.count + r] == want);
                }
            }
            double grams[36];
            for (uint32_t i = 0; i < 36; i++) grams[i] = i % 7 == 0 ? 1.0 : 0.5;
            assert_true(brg_berrut_estimate(&decode, grams, error) == 0.0);
        }
    }
}

static void berrut_layout_that_is_not_systematic__is_told_from_one_that_is(void **state) {
    (void)state;
    uint32_t node[BRG_BERRUT_BLOCKS_MAX];
    for (uint32_t n = 5; n <= 64; n++) {
        struct brg_berrut_spec spec = spec_of(4, n, BRG_BERRUT_RATIONAL, BRG_BERRUT_AUTO);
        assert_int_equal(brg_berrut_direct(&spec, node) == 4, n % 8 == 4);
        spec.points = BRG_BERRUT_SECOND_KIND;
        assert_int_equal(brg_berrut_direct(&spec, node) == 4, (n - 1) % 8 == 0);
    }
    const struct brg_berrut_spec big = spec_of(60, 0, BRG_BERRUT_RATIONAL, BRG_BERRUT_AUTO);
    assert_int_equal(brg_berrut_systematic(&big, 200), 0); /* 300 would be the next */
}

/* Signs by the original number would leave poles between the nodes. */
static void berrut_rational_weights__have_no_pole_whoever_is_missing(void **state) {
    (void)state;
    struct brg_prng g = {5};
    for (uint32_t trial = 0; trial < 50; trial++) {
        uint8_t have[64];
        const struct brg_berrut_spec spec = spec_of(16, 64, BRG_BERRUT_RATIONAL, BRG_BERRUT_BERRUT);
        const uint64_t gone = smooth_choose(&g, 64, 16);
        for (uint32_t i = 0; i < 64; i++) have[i] = (gone >> i & 1) == 0;
        assert_int_equal(brg_berrut_decode_init(&decode, &spec, have, memory), BRG_OK);
        assert_true(decode.gain < 3.0);
    }
}

/* Runs the workers, decodes from `have`; the estimate too. */
static double decoded_error(const struct smooth *f, const struct brg_berrut_spec *spec,
                            const uint8_t *have, double *estimate) {
    static double gram[64 * 64];
    const float *y[64];
    float out[SMOOTH_OUT];
    double error[64], wrong = 0.0, whole = 0.0;
    assert_int_equal(brg_berrut_decode_init(&decode, spec, have, memory), BRG_OK);
    for (uint32_t r = 0; r < decode.count; r++) y[r] = group.y[decode.node[r]];
    memset(gram, 0, sizeof gram);
    brg_dct_gram(decode.count, y, (struct brg_dct_span){0, f->out}, gram);
    *estimate = brg_berrut_estimate(&decode, gram, error);
    for (uint32_t j = 0; j < spec->blocks; j++) {
        brg_berrut_apply(f->out, decode.count, decode.weights + j * decode.count, y, out);
        for (uint32_t e = 0; e < f->out; e++) {
            const double truth = group.truth[j * f->out + e];
            wrong += ((double)out[e] - truth) * ((double)out[e] - truth);
            whole += truth * truth;
        }
    }
    return sqrt(wrong / whole);
}

static void berrut_estimate__is_within_a_factor_of_the_true_error(void **state) {
    (void)state;
    static const uint32_t kinds[] = {TANH, LOGISTIC, MLP};
    for (uint32_t k = 0; k < 3; k++) {
        for (uint32_t d = BRG_BERRUT_BERRUT; d <= BRG_BERRUT_AUTO; d++) {
            const struct brg_berrut_spec spec = spec_of(4, 32, BRG_BERRUT_POLYNOMIAL, d);
            double rows[32 * 4], ratio = 0.0, least = HUGE_VAL;
            struct smooth f;
            struct brg_prng g = {9 + k};
            smooth_init(&f, kinds[k]);
            brg_berrut_encode(&spec, rows);
            for (uint32_t t = 0; t < 20; t++) {
                uint8_t have[32];
                double estimate;
                smooth_run(&f, &spec, rows, &g, &group);
                const uint64_t gone = smooth_choose(&g, 32, 4);
                for (uint32_t i = 0; i < 32; i++) have[i] = (gone >> i & 1) == 0;
                const double error = decoded_error(&f, &spec, have, &estimate);
                ratio += log(estimate / error) / 20;
                least = fmin(least, estimate / error);
            }
            assert_true(exp(ratio) > 1.0 && exp(ratio) < 12.0);
            assert_true(least > 0.4);
        }
    }
}

static void berrut_estimate_without_redundancy__is_not_a_number_to_rely_on(void **state) {
    (void)state;
    const struct brg_berrut_spec spec = spec_of(4, 8, BRG_BERRUT_RATIONAL, BRG_BERRUT_CHEBYSHEV);
    const uint8_t have[8] = {1, 1, 0, 1, 0, 0, 0, 1}, few[8] = {1, 0, 0, 1, 0, 0, 0, 1};
    double gram[16] = {1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0}, error[4];
    assert_int_equal(brg_berrut_decode_init(&decode, &spec, have, memory), BRG_OK);
    assert_true(isinf(brg_berrut_estimate(&decode, gram, error)));
    assert_int_equal(brg_berrut_decode_init(&decode, &spec, few, memory), BRG_ERANK);
}

/* A gap of neighbours makes least squares multiply noise: auto sees it and takes the spline. */
static void berrut_auto__leaves_least_squares_where_its_weights_grow(void **state) {
    (void)state;
    uint8_t have[64];
    const struct brg_berrut_spec spec = spec_of(8, 64, BRG_BERRUT_POLYNOMIAL, BRG_BERRUT_AUTO);
    memset(have, 1, sizeof have);
    assert_int_equal(brg_berrut_decode_init(&decode, &spec, have, memory), BRG_OK);
    assert_int_equal(decode.decoder, BRG_BERRUT_CHEBYSHEV);
    assert_int_equal(decode.degree, 48);
    memset(have + 28, 0, 8);
    assert_int_equal(brg_berrut_decode_init(&decode, &spec, have, memory), BRG_OK);
    assert_int_equal(decode.decoder, BRG_BERRUT_SPLINE);
    assert_true(decode.gain <= BRG_BERRUT_GAIN_MAX);
}

/* f = X^T X is a polynomial of degree 2: exact from any 2 K - 1 results and more. */
static void berrut_polynomial_function__is_decoded_exactly(void **state) {
    (void)state;
    struct smooth f;
    struct brg_prng g = {4};
    const struct brg_berrut_spec spec = spec_of(4, 20, BRG_BERRUT_POLYNOMIAL, BRG_BERRUT_CHEBYSHEV);
    double rows[20 * 4], estimate;
    uint8_t have[20];
    smooth_init(&f, GRAMIAN);
    brg_berrut_encode(&spec, rows);
    smooth_run(&f, &spec, rows, &g, &group);
    for (uint32_t i = 0; i < 20; i++) have[i] = i % 3 != 0;
    assert_true(decoded_error(&f, &spec, have, &estimate) < 1e-6);
    assert_true(estimate < 1e-5);
}

static void berrut_halved_ends__are_better_than_berrut_on_a_smooth_function(void **state) {
    (void)state;
    struct smooth f;
    struct brg_prng g = {4};
    struct brg_berrut_spec spec = spec_of(4, 32, BRG_BERRUT_RATIONAL, BRG_BERRUT_BERRUT);
    double rows[32 * 4], error[5], estimate;
    uint8_t have[32];
    memset(have, 1, sizeof have);
    smooth_init(&f, LOGISTIC);
    brg_berrut_encode(&spec, rows);
    smooth_run(&f, &spec, rows, &g, &group);
    for (spec.decoder = 1; spec.decoder <= 4; spec.decoder++) {
        error[spec.decoder] = decoded_error(&f, &spec, have, &estimate);
    }
    assert_true(error[BRG_BERRUT_BERRUT] > 1e-2 && error[BRG_BERRUT_BERRUT] < 0.1);
    assert_true(error[BRG_BERRUT_HALF] < 1e-3);
    assert_true(error[BRG_BERRUT_SPLINE] < 1e-3);
    assert_true(error[BRG_BERRUT_CHEBYSHEV] < 1e-3);
}

static void berrut_order__finds_the_curve_that_shuffled_blocks_lie_on(void **state) {
    (void)state;
    enum { K = 16 };
    static const uint32_t place[K] = {5, 11, 0, 14, 7, 2, 9, 12, 3, 15, 8, 1, 6, 13, 10, 4};
    double gram[K * K];
    uint32_t order[K];
    for (uint32_t a = 0; a < K; a++) { /* points of a spiral in three dimensions */
        for (uint32_t b = 0; b < K; b++) {
            const double s = place[a] * 0.3, t = place[b] * 0.3;
            gram[a * K + b] = s * t * (cos(s) * cos(t) + sin(s) * sin(t)) + s * t;
        }
    }
    brg_berrut_order(K, gram, order);
    const int rising = place[order[0]] == 0;
    for (uint32_t j = 0; j < K; j++) {
        assert_int_equal(place[order[j]], rising ? j : K - 1 - j);
    }
}

static void berrut_apply__skips_what_has_no_weight(void **state) {
    (void)state;
    float x[300], broken[300], out[300];
    const float *rows[] = {x, broken, x};
    const double w[] = {0.25, 0.0, 0.5};
    for (uint32_t i = 0; i < 300; i++) {
        x[i] = (float)i;
        broken[i] = NAN;
    }
    brg_berrut_apply(300, 3, w, rows, out);
    for (uint32_t i = 0; i < 300; i++) assert_true(out[i] == 0.75f * (float)i);
}

static void berrut_spec_out_of_range__is_refused_with_a_sentence(void **state) {
    (void)state;
    const struct brg_berrut_spec good = spec_of(4, 12, 1, 1);
    struct brg_berrut_spec bad[8] = {good, good, good, good, good, good, good, good};
    bad[0].blocks = 1;
    bad[1].blocks = 65;
    bad[2].nodes = 4;
    bad[3].nodes = 257;
    bad[4].points = 3;
    bad[5].encoder = 0;
    bad[6].decoder = 6;
    bad[7].decoder = 0;
    assert_int_equal(brg_berrut_check(&good, NULL), BRG_OK);
    for (uint32_t i = 0; i < 8; i++) {
        struct brg_why why = {""};
        assert_int_equal(brg_berrut_check(&bad[i], &why), BRG_EINVAL);
        assert_true(strlen(why.text) > 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(berrut_encode_rows__are_those_of_the_oracle),
        cmocka_unit_test(berrut_polynomial_encoder__is_a_padded_cosine_transform),
        cmocka_unit_test(berrut_decode_weights__are_those_of_the_oracle),
        cmocka_unit_test(berrut_systematic_layout__is_exact_while_its_workers_answer),
        cmocka_unit_test(berrut_layout_that_is_not_systematic__is_told_from_one_that_is),
        cmocka_unit_test(berrut_rational_weights__have_no_pole_whoever_is_missing),
        cmocka_unit_test(berrut_estimate__is_within_a_factor_of_the_true_error),
        cmocka_unit_test(berrut_estimate_without_redundancy__is_not_a_number_to_rely_on),
        cmocka_unit_test(berrut_auto__leaves_least_squares_where_its_weights_grow),
        cmocka_unit_test(berrut_polynomial_function__is_decoded_exactly),
        cmocka_unit_test(berrut_halved_ends__are_better_than_berrut_on_a_smooth_function),
        cmocka_unit_test(berrut_order__finds_the_curve_that_shuffled_blocks_lie_on),
        cmocka_unit_test(berrut_apply__skips_what_has_no_weight),
        cmocka_unit_test(berrut_spec_out_of_range__is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests_name("berrut", tests, NULL, NULL) != 0;
}
