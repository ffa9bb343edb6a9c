/* test_mlp - the classifiers: gradients, sums, and labels out of range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/model/network.h"

#define SAMPLES 9u
#define INPUTS 6u
#define CLASSES 4u

static const struct brg_model_spec softmax = {
    .type = BRG_MODEL_SOFTMAX, .inputs = INPUTS, .classes = CLASSES};
static const struct brg_model_spec one_layer = {
    .type = BRG_MODEL_MLP, .inputs = INPUTS, .classes = CLASSES, .width_count = 1, .widths = {7}};
static const struct brg_model_spec three_layers = {.type = BRG_MODEL_MLP,
                                                   .inputs = INPUTS,
                                                   .classes = CLASSES,
                                                   .width_count = 3,
                                                   .widths = {5, 19, 8}};
static const struct brg_model_spec *const specs[] = {&softmax, &one_layer, &three_layers};
#define SPECS (sizeof specs / sizeof *specs)

struct rows {
    float x[SAMPLES * INPUTS];
    uint32_t labels[SAMPLES];
};

static struct brg_batch some_rows(struct rows *r) {
    struct brg_prng g = {.state = 6};
    numbers_fill(5, 1, SAMPLES * INPUTS, r->x);
    for (uint32_t i = 0; i < SAMPLES; i++) r->labels[i] = (uint32_t)brg_prng_below(&g, CLASSES);
    return (struct brg_batch){.samples = SAMPLES, .x = r->x, .labels = r->labels};
}

static void classifier_gradient__matches_finite_differences(void **state) {
    (void)state;
    struct rows r;
    const struct brg_batch batch = some_rows(&r);
    for (uint32_t i = 0; i < SPECS; i++) {
        struct network n = network_new(specs[i], SAMPLES, NULL);
        network_compare_differences(&n, &batch, 2e-3);
        network_drop(&n);
    }
}

static void classifier_gradient__matches_the_reference_in_double(void **state) {
    (void)state;
    struct rows r;
    const struct brg_batch batch = some_rows(&r);
    for (uint32_t i = 0; i < SPECS; i++) {
        struct network fast = network_new(specs[i], SAMPLES, NULL);
        struct network plain = network_new(specs[i], SAMPLES, network_reference());
        struct brg_model_sums got, want;
        float *a = network_grad(&fast, &batch, &got), *b = network_grad(&plain, &batch, &want);
        numbers_must_be_near("gradient", fast.param_count, a, b, 5e-6);
        assert_true(fabs(got.loss - want.loss) <= 1e-6 * want.loss);
        assert_int_equal(got.correct, want.correct);
        free(a);
        free(b);
        network_drop(&fast);
        network_drop(&plain);
    }
}

static void classifier_batch__is_the_sum_of_its_samples(void **state) {
    (void)state;
    struct rows r;
    const struct brg_batch batch = some_rows(&r);
    struct network n = network_new(&three_layers, SAMPLES, NULL);
    struct brg_model_sums whole, sums = {.loss = 0};
    float *want = network_grad(&n, &batch, &whole), *got = calloc(n.param_count, sizeof *got);
    assert_non_null(got);
    for (uint32_t s = 0; s < SAMPLES; s++) {
        const struct brg_batch one = {
            .samples = 1, .x = r.x + (size_t)s * INPUTS, .labels = r.labels + s};
        assert_int_equal(brg_model_grad(n.w, n.params, &one, got, &sums), BRG_OK);
    }
    numbers_must_be_near("sum of samples", n.param_count, got, want, 1e-6);
    assert_int_equal(sums.count, SAMPLES);
    assert_int_equal(sums.correct, whole.correct);
    free(got);
    free(want);
    network_drop(&n);
}

/* A softmax whose biases prefer class 2: exactly the rows labelled 2 are right. */
static void classifier_evaluation__counts_the_rows_it_gets_right(void **state) {
    (void)state;
    struct rows r;
    const struct brg_batch batch = some_rows(&r);
    struct network n = network_new(&softmax, SAMPLES, NULL);
    struct brg_model_sums sums = {.loss = 0};
    uint64_t twos = 0;
    for (uint32_t i = 0; i < SAMPLES; i++) twos += r.labels[i] == 2;
    assert_true(twos > 0);
    n.params[INPUTS * CLASSES + 2] = 1000;
    assert_int_equal(brg_model_loss(n.w, n.params, &batch, &sums), BRG_OK);
    assert_int_equal(sums.correct, twos);
    assert_int_equal(sums.count, SAMPLES);
    network_drop(&n);
}

static void classifier_label_beyond_the_classes__is_refused_and_changes_nothing(void **state) {
    (void)state;
    struct rows r;
    const struct brg_batch batch = some_rows(&r);
    struct network n = network_new(&one_layer, SAMPLES, NULL);
    struct brg_model_sums sums = {.loss = 0};
    float *grad = calloc(n.param_count, sizeof *grad);
    assert_non_null(grad);
    r.labels[SAMPLES - 1] = CLASSES;
    assert_int_equal(brg_model_grad(n.w, n.params, &batch, grad, &sums), BRG_EINVAL);
    for (uint64_t i = 0; i < n.param_count; i++) assert_true(grad[i] == 0.0f);
    assert_int_equal(sums.count, 0);
    free(grad);
    network_drop(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classifier_gradient__matches_finite_differences),
        cmocka_unit_test(classifier_gradient__matches_the_reference_in_double),
        cmocka_unit_test(classifier_batch__is_the_sum_of_its_samples),
        cmocka_unit_test(classifier_evaluation__counts_the_rows_it_gets_right),
        cmocka_unit_test(classifier_label_beyond_the_classes__is_refused_and_changes_nothing),
    };
    return cmocka_run_group_tests_name("mlp", tests, NULL, NULL) != 0;
}
