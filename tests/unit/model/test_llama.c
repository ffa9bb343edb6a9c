/* test_llama - the whole gradient of small llamas, what it adds up to, and its bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "tests/unit/model/network.h"

#define SAMPLES 3u
#define CONTEXT 7u
#define VOCAB 11u

/* Grouped heads: 4 queries share 2 keys and values. */
static struct brg_model_spec small(uint32_t tied) {
    return (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                   .dim = 16,
                                   .layers = 2,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .hidden = 12,
                                   .context = CONTEXT,
                                   .vocab = VOCAB,
                                   .tied = tied,
                                   .rope_theta = 10000.0f,
                                   .norm_eps = 1e-5f};
}

static uint16_t *tokens_new(uint32_t samples, uint32_t context, uint32_t vocab) {
    const size_t count = (size_t)samples * (context + 1);
    uint16_t *t = malloc(count * sizeof *t);
    struct brg_prng g = {.state = 3};
    assert_non_null(t);
    for (size_t i = 0; i < count; i++) t[i] = (uint16_t)brg_prng_below(&g, vocab);
    return t;
}

static void llama_gradient__matches_finite_differences(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(SAMPLES, CONTEXT, VOCAB);
    const struct brg_batch batch = {.samples = SAMPLES, .tokens = tokens};
    for (uint32_t tied = 0; tied < 2; tied++) {
        const struct brg_model_spec spec = small(tied);
        struct network n = network_new(&spec, SAMPLES, NULL);
        network_compare_differences(&n, &batch, 1e-3);
        network_drop(&n);
    }
    free(tokens);
}

static void llama_gradient__matches_the_reference_in_double(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(SAMPLES, CONTEXT, VOCAB);
    const struct brg_batch batch = {.samples = SAMPLES, .tokens = tokens};
    for (uint32_t tied = 0; tied < 2; tied++) {
        const struct brg_model_spec spec = small(tied);
        struct network fast = network_new(&spec, SAMPLES, NULL);
        struct network plain = network_new(&spec, SAMPLES, network_reference());
        struct brg_model_sums got, want;
        float *a = network_grad(&fast, &batch, &got), *b = network_grad(&plain, &batch, &want);
        numbers_must_be_near("gradient", fast.param_count, a, b, 1e-5);
        assert_true(fabs(got.loss - want.loss) <= 1e-5 * want.loss);
        assert_int_equal(got.count, SAMPLES * CONTEXT);
        assert_int_equal(got.correct, want.correct);
        free(a);
        free(b);
        network_drop(&fast);
        network_drop(&plain);
    }
    free(tokens);
}

/* Adds the gradients of the samples one by one and compares with the batch's. */
static void compare_with_samples(const struct brg_model_spec *spec, uint32_t samples) {
    uint16_t *tokens = tokens_new(samples, spec->context, spec->vocab);
    const struct brg_batch batch = {.samples = samples, .tokens = tokens};
    struct network n = network_new(spec, samples, NULL);
    struct brg_model_sums whole, sums = {.loss = 0};
    float *want = network_grad(&n, &batch, &whole), *got = calloc(n.param_count, sizeof *got);
    assert_non_null(got);
    for (uint32_t s = 0; s < samples; s++) {
        const struct brg_batch one = {.samples = 1,
                                      .tokens = tokens + (size_t)s * (spec->context + 1)};
        assert_int_equal(brg_model_grad(n.w, n.params, &one, got, &sums), BRG_OK);
    }
    numbers_must_be_near("sum of samples", n.param_count, got, want, 1e-5);
    assert_true(fabs(sums.loss - whole.loss) <= 1e-6 * whole.loss);
    assert_int_equal(sums.count, whole.count);
    assert_int_equal(sums.correct, whole.correct);
    free(want);
    free(got);
    free(tokens);
    network_drop(&n);
}

static void llama_batch__is_the_sum_of_its_samples(void **state) {
    (void)state;
    const struct brg_model_spec spec = small(1);
    compare_with_samples(&spec, SAMPLES);
}

/* 65536 tokens: the logits of two samples do not fit at once. */
static void llama_largest_vocabulary__is_computed_in_blocks_of_rows(void **state) {
    (void)state;
    struct brg_model_spec spec = small(0);
    spec.dim = 4;
    spec.heads = 2;
    spec.kv_heads = 1;
    spec.vocab = BRG_MODEL_DIM_MAX;
    spec.context = 50;
    compare_with_samples(&spec, 2);
}

static void llama_evaluation__finds_the_loss_of_training(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(SAMPLES, CONTEXT, VOCAB);
    const struct brg_batch batch = {.samples = SAMPLES, .tokens = tokens};
    const struct brg_model_spec spec = small(1);
    struct network n = network_new(&spec, SAMPLES, NULL);
    struct brg_model_sums trained, tested = {.loss = 1000, .count = 5, .correct = 2};
    free(network_grad(&n, &batch, &trained));
    assert_int_equal(brg_model_loss(n.w, n.params, &batch, &tested), BRG_OK);
    assert_true(tested.loss == 1000 + trained.loss);
    assert_int_equal(tested.count, 5 + trained.count);
    assert_int_equal(tested.correct, 2 + trained.correct);
    network_drop(&n);
    free(tokens);
}

/* Targets lie one token ahead: the last token of a row is only ever asked for, never shown. */
static void llama_last_token__is_a_target(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(1, CONTEXT, VOCAB);
    const struct brg_batch batch = {.samples = 1, .tokens = tokens};
    const struct brg_model_spec spec = small(1);
    struct network n = network_new(&spec, 1, NULL);
    double total = 0;
    for (uint16_t last = 0; last < VOCAB; last++) {
        const double before = network_loss(&n, &batch);
        tokens[CONTEXT] = last;
        const double after = network_loss(&n, &batch);
        if (last > 0) assert_true(before != after);
        total += exp(-after);
    }
    /* Over all last tokens p(row) adds up to p(row without it). */
    struct brg_model_spec shorter = spec;
    shorter.context = CONTEXT - 1;
    struct network m = network_new(&shorter, 1, NULL);
    const double rest = exp(-network_loss(&m, &batch));
    assert_true(fabs(total - rest) <= 1e-4 * rest);
    network_drop(&n);
    network_drop(&m);
    free(tokens);
}

static void llama_token_beyond_the_vocabulary__is_refused_and_changes_nothing(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(SAMPLES, CONTEXT, VOCAB);
    const struct brg_batch batch = {.samples = SAMPLES, .tokens = tokens};
    const struct brg_model_spec spec = small(1);
    struct network n = network_new(&spec, SAMPLES, NULL);
    float *grad = calloc(n.param_count, sizeof *grad), *zero = calloc(n.param_count, sizeof *zero);
    struct brg_model_sums sums = {.loss = 0};
    assert_true(grad != NULL && zero != NULL);
    tokens[SAMPLES * (CONTEXT + 1) - 1] = VOCAB;
    assert_int_equal(brg_model_grad(n.w, n.params, &batch, grad, &sums), BRG_EINVAL);
    assert_int_equal(brg_model_loss(n.w, n.params, &batch, &sums), BRG_EINVAL);
    assert_memory_equal(grad, zero, n.param_count * sizeof *grad);
    assert_int_equal(sums.count, 0);
    free(grad);
    free(zero);
    free(tokens);
    network_drop(&n);
}

/* A model of the size that is trained, so that products take all their paths. */
static const struct brg_model_spec usual = {.type = BRG_MODEL_LLAMA,
                                            .dim = 128,
                                            .layers = 2,
                                            .heads = 4,
                                            .kv_heads = 2,
                                            .hidden = 352,
                                            .context = 64,
                                            .vocab = 256,
                                            .tied = 1,
                                            .rope_theta = 10000.0f,
                                            .norm_eps = 1e-5f};

static void llama_other_workspace__gives_the_same_bits(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(2, usual.context, usual.vocab);
    const struct brg_batch batch = {.samples = 2, .tokens = tokens};
    struct network n = network_new(&usual, 2, NULL);
    struct brg_model_sums first, again;
    float *want = network_grad(&n, &batch, &first);
    void *memory = network_memory(brg_model_workspace_bytes(&usual, 5), 0x00);
    n.w = brg_model_workspace_init(memory, &usual, 5, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        float *got = network_grad(&n, &batch, &again);
        assert_memory_equal(got, want, n.param_count * sizeof *got);
        assert_memory_equal(&first.loss, &again.loss, sizeof first.loss);
        free(got);
    }
    free(memory);
    free(want);
    free(tokens);
    network_drop(&n);
}

struct job {
    const struct brg_batch *batch;
    const float *want;
    uint32_t differences;
};

static void *train(void *arg) {
    struct job *j = arg;
    struct network n = network_new(&usual, 2, NULL);
    float *grad = calloc(n.param_count, sizeof *grad);
    BRG_ASSERT(grad != NULL);
    for (uint32_t i = 0; i < 6; i++) {
        struct brg_model_sums sums = {.loss = 0};
        memset(grad, 0, n.param_count * sizeof *grad);
        const int rc = brg_model_grad(n.w, n.params, j->batch, grad, &sums);
        BRG_ASSERT(rc == BRG_OK);
        j->differences += memcmp(grad, j->want, n.param_count * sizeof *grad) != 0;
    }
    free(grad);
    network_drop(&n);
    return NULL;
}

static void llama_beside_other_threads__gives_the_same_bits(void **state) {
    (void)state;
    uint16_t *tokens = tokens_new(2, usual.context, usual.vocab);
    const struct brg_batch batch = {.samples = 2, .tokens = tokens};
    struct network n = network_new(&usual, 2, NULL);
    struct brg_model_sums sums;
    float *want = network_grad(&n, &batch, &sums);
    struct job jobs[3];
    pthread_t threads[3];
    for (uint32_t i = 0; i < 3; i++) {
        jobs[i] = (struct job){.batch = &batch, .want = want};
        assert_int_equal(pthread_create(&threads[i], NULL, train, &jobs[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].differences, 0);
    }
    free(want);
    free(tokens);
    network_drop(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_gradient__matches_finite_differences),
        cmocka_unit_test(llama_gradient__matches_the_reference_in_double),
        cmocka_unit_test(llama_batch__is_the_sum_of_its_samples),
        cmocka_unit_test(llama_largest_vocabulary__is_computed_in_blocks_of_rows),
        cmocka_unit_test(llama_evaluation__finds_the_loss_of_training),
        cmocka_unit_test(llama_last_token__is_a_target),
        cmocka_unit_test(llama_token_beyond_the_vocabulary__is_refused_and_changes_nothing),
        cmocka_unit_test(llama_other_workspace__gives_the_same_bits),
        cmocka_unit_test(llama_beside_other_threads__gives_the_same_bits),
    };
    return cmocka_run_group_tests_name("llama", tests, NULL, NULL) != 0;
}
