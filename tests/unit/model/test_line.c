/* test_line - a pipeline in one process: the same curve for every cut, and stages of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/line.h"
#include "tests/unit/model/network.h"

#define SAMPLES 2u
#define CONTEXT 8u
#define VOCAB 19u
#define LAYERS 6u
#define MICROBATCHES 3u
#define STEPS 40u

static struct brg_model_spec six_layers(void) {
    return (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                   .dim = 16,
                                   .layers = LAYERS,
                                   .heads = 4,
                                   .kv_heads = 4,
                                   .hidden = 24,
                                   .context = CONTEXT,
                                   .vocab = VOCAB,
                                   .rope_theta = 10000.0f,
                                   .norm_eps = 1e-5f};
}

static struct brg_optimizer_spec adamw(void) {
    return (struct brg_optimizer_spec){.type = BRG_OPTIMIZER_ADAMW,
                                       .schedule = BRG_SCHEDULE_COSINE,
                                       .warmup_steps = 5,
                                       .total_steps = STEPS,
                                       .lr = 0.01f,
                                       .lr_min_ratio = 0.1f,
                                       .beta1 = 0.9f,
                                       .beta2 = 0.99f,
                                       .eps = 1e-8f,
                                       .weight_decay = 0.1f,
                                       .clip = 0.5f};
}

static struct brg_line *line_new(uint32_t stages) {
    const struct brg_line_settings set = {
        .model = six_layers(), .optimizer = adamw(), .stages = stages, .microbatch = SAMPLES};
    struct brg_line *l = NULL;
    assert_int_equal(brg_line_create(&set, 7, &l, NULL), BRG_OK);
    return l;
}

/* Tokens with something to learn: each follows from the one before, but for some noise. */
static struct brg_batch batch_of(uint64_t step, uint32_t microbatch, uint16_t *tokens) {
    struct brg_prng g = {.state = brg_prng_mix(step, microbatch, 1, 2)};
    for (uint32_t i = 0; i < SAMPLES * (CONTEXT + 1); i++)
        tokens[i] = (uint16_t)(i % (CONTEXT + 1) == 0 || brg_prng_below(&g, 8) == 0
                                   ? brg_prng_below(&g, VOCAB)
                                   : (tokens[i - 1] * 3u + 1) % VOCAB);
    return (struct brg_batch){.samples = SAMPLES, .tokens = tokens};
}

static double step_of(struct brg_line *l, uint64_t step, struct brg_line_path path,
                      struct brg_optimizer_report *report) {
    uint16_t tokens[SAMPLES * (CONTEXT + 1)];
    struct brg_model_sums sums = {.loss = 0};
    brg_line_begin(l);
    for (uint32_t m = 0; m < MICROBATCHES; m++) {
        const struct brg_batch batch = batch_of(step, m, tokens);
        assert_int_equal(brg_line_microbatch(l, &batch, path, &sums), BRG_OK);
    }
    assert_int_equal(brg_line_apply(l, step, sums.count, report), BRG_OK);
    return sums.loss / (double)sums.count;
}

static const struct brg_line_path all = {0, NULL};

/* The whole model and optimizer, without any stage. */
static void whole_curve(double *loss, double *norm, float *params) {
    const struct brg_model_spec spec = six_layers();
    const struct brg_optimizer_spec optimizer = adamw();
    struct network n = network_new(&spec, SAMPLES, NULL);
    float *moments = calloc(2 * n.param_count, sizeof *moments);
    float *grad = calloc(n.param_count, sizeof *grad);
    assert_non_null(moments);
    assert_non_null(grad);
    brg_model_init(&spec, 7, params);
    for (uint64_t step = 1; step <= STEPS; step++) {
        uint16_t tokens[SAMPLES * (CONTEXT + 1)];
        struct brg_model_sums sums = {.loss = 0};
        struct brg_optimizer_report report;
        memset(grad, 0, n.param_count * sizeof *grad);
        for (uint32_t m = 0; m < MICROBATCHES; m++) {
            const struct brg_batch batch = batch_of(step, m, tokens);
            assert_int_equal(brg_model_grad(n.w, params, &batch, grad, &sums), BRG_OK);
        }
        assert_int_equal(
            brg_optimizer_step(&optimizer, &spec, step, sums.count, grad, moments, params, &report),
            BRG_OK);
        loss[step - 1] = sums.loss / (double)sums.count;
        norm[step - 1] = report.grad_norm;
    }
    free(moments);
    free(grad);
    network_drop(&n);
}

static void line_curve__is_the_same_to_the_bit_for_1_2_4_and_6_stages(void **state) {
    (void)state;
    const struct brg_model_spec spec = six_layers();
    const uint32_t cuts[] = {1, 2, 4, 6};
    const uint64_t n = brg_model_param_count(&spec);
    double loss[STEPS], norm[STEPS];
    float *params = malloc(n * sizeof *params);
    uint32_t clipped = 0;
    assert_non_null(params);
    whole_curve(loss, norm, params);
    assert_true(loss[STEPS - 1] < 0.8 * loss[0]); /* it learns, so there is something to compare */
    for (uint32_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        struct brg_line *l = line_new(cuts[c]);
        for (uint64_t step = 1; step <= STEPS; step++) {
            struct brg_optimizer_report report;
            const double found = step_of(l, step, all, &report);
            assert_true(found == loss[step - 1]);
            assert_true(fabs(report.grad_norm - norm[step - 1]) <= 1e-15 * 8 * norm[step - 1]);
            clipped += report.clip < 1.0;
        }
        assert_memory_equal(brg_line_params(l), params, n * sizeof *params);
        brg_line_destroy(&l);
        assert_null(l);
    }
    assert_in_range(clipped, 4, 4 * STEPS); /* the clip factor is part of what is compared */
    free(params);
}

static double loss_of(struct brg_line *l, struct brg_line_path path) {
    uint16_t tokens[SAMPLES * (CONTEXT + 1)];
    const struct brg_batch batch = batch_of(1000, 0, tokens);
    struct brg_model_sums sums = {.loss = 0};
    assert_int_equal(brg_line_loss(l, &batch, path, &sums), BRG_OK);
    return sums.loss;
}

static void line_path__may_swap_stages_and_leave_them_out(void **state) {
    (void)state;
    struct brg_line *l = line_new(LAYERS);
    struct brg_optimizer_report report;
    const uint32_t swapped[LAYERS] = {1, 0, 2, 3, 5, 4}, without[LAYERS - 1] = {0, 1, 3, 4, 5};
    for (uint64_t step = 1; step <= 10; step++) (void)step_of(l, step, all, &report);
    const double plain = loss_of(l, all);
    assert_true(loss_of(l, (struct brg_line_path){LAYERS, swapped}) != plain);
    const double skipped = loss_of(l, (struct brg_line_path){LAYERS - 1, without});
    assert_true(skipped != plain);

    /* A swapped path is the plain one of a line whose stages' layers have changed places. */
    struct brg_line *other = line_new(LAYERS);
    for (uint32_t i = 0; i < LAYERS; i++) {
        const struct brg_line_layers to = brg_line_layers_of(&brg_line_at(other, i)->stage);
        const struct brg_line_layers from = brg_line_layers_of(&brg_line_at(l, swapped[i])->stage);
        assert_int_equal(to.count, 1);
        memcpy(brg_line_at(other, i)->params, brg_line_at(l, i)->params,
               brg_line_at(l, i)->stage.param_count * sizeof(float));
        memcpy(brg_line_at(other, i)->params + to.first,
               brg_line_at(l, swapped[i])->params + from.first, to.size * sizeof(float));
    }
    assert_true(loss_of(other, all) == loss_of(l, (struct brg_line_path){LAYERS, swapped}));
    brg_line_destroy(&other);

    /* Leaving a stage out is its being the identity, and gives it no gradient. */
    struct brg_line_stage *s = brg_line_at(l, 2);
    (void)step_of(l, 11, (struct brg_line_path){LAYERS - 1, without}, &report);
    assert_true(s->norm2 == 0);
    assert_true(brg_line_at(l, 3)->norm2 > 0);
    brg_line_destroy(&l);
}

static void line_stage_that_forgets__steps_as_one_begun_anew(void **state) {
    (void)state;
    struct brg_line *l = line_new(3);
    struct brg_optimizer_report report;
    const struct brg_optimizer_spec optimizer = adamw();
    for (uint64_t step = 1; step <= 9; step++) (void)step_of(l, step, all, &report);
    struct brg_line_stage *s = brg_line_at(l, 1);
    const uint64_t n = s->stage.param_count;
    float *before = malloc(n * sizeof *before);
    assert_non_null(before);
    memcpy(before, s->params, n * sizeof *before);
    brg_line_forget(l, 1);
    s->lr_factor = 1.1;
    (void)step_of(l, 10, all, &report);
    assert_int_equal(s->own_step, 1);
    assert_int_equal(brg_line_at(l, 0)->own_step, 10);
    /* The first step of AdamW with zero moments is the learning rate, whatever the gradient. */
    const double lr = 1.1 * brg_optimizer_lr(&optimizer, 10);
    uint64_t full = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double moved = fabs((double)s->params[i] - (double)before[i]);
        assert_true(moved <= lr * (1.001 + 0.1 * fabs((double)before[i])));
        full += moved > 0.95 * lr; /* 1 / 1.1 would not do */
    }
    assert_true(full > n * 8 / 10);
    free(before);
    brg_line_destroy(&l);
}

static void line_distil__brings_a_fresh_stage_near_the_lost_one(void **state) {
    (void)state;
    struct brg_line *l = line_new(LAYERS);
    struct brg_optimizer_report report;
    uint16_t tokens[SAMPLES * (CONTEXT + 1)];
    for (uint64_t step = 1; step <= STEPS; step++) (void)step_of(l, step, all, &report);
    const struct brg_batch batch = batch_of(STEPS, MICROBATCHES - 1, tokens);
    const uint64_t n = brg_stage_boundary_count(&brg_line_at(l, 0)->stage, SAMPLES);
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    assert_non_null(x);
    assert_non_null(y);
    memcpy(x, brg_line_boundary(l, 2), n * sizeof *x);
    memcpy(y, brg_line_boundary(l, 3), n * sizeof *y);
    struct brg_line_stage *s = brg_line_at(l, 2);
    memcpy(s->params, brg_line_at(l, 3)->params, s->stage.param_count * sizeof(float));
    struct brg_model_sums lost = {.loss = 0}, mended = {.loss = 0};
    assert_int_equal(brg_line_loss(l, &batch, all, &lost), BRG_OK);
    double error[2];
    brg_line_distil(l, 2, SAMPLES, x, y, (struct brg_line_fit){.steps = 60, .lr = 3e-3f}, error);
    assert_int_equal(brg_line_loss(l, &batch, all, &mended), BRG_OK);
    assert_true(error[1] < 0.5 * error[0]);
    assert_true(mended.loss < lost.loss);
    assert_int_equal(s->own_step, 0);
    for (uint64_t i = 0; i < 2 * s->stage.param_count; i++) assert_true(s->moments[i] == 0.0f);
    free(x);
    free(y);
    brg_line_destroy(&l);
}

static void line_that_cannot_be_cut__is_refused_with_a_sentence(void **state) {
    (void)state;
    struct brg_line_settings set = {
        .model = six_layers(), .optimizer = adamw(), .stages = 7, .microbatch = SAMPLES};
    struct brg_line *l = NULL;
    struct brg_why why;
    assert_int_equal(brg_line_create(&set, 1, &l, &why), BRG_EINVAL);
    assert_null(l);
    assert_non_null(strstr(why.text, "at most 6"));
    set.stages = 0;
    assert_int_equal(brg_line_create(&set, 1, &l, &why), BRG_EINVAL);
    set.stages = 2;
    set.model.tied = 1;
    assert_int_equal(brg_line_create(&set, 1, &l, &why), BRG_EINVAL);
}

static void line_bad_token_or_gradient__changes_no_parameter(void **state) {
    (void)state;
    struct brg_line *l = line_new(2);
    const struct brg_model_spec spec = six_layers();
    const uint64_t n = brg_model_param_count(&spec);
    uint16_t tokens[SAMPLES * (CONTEXT + 1)];
    struct brg_batch batch = batch_of(1, 0, tokens);
    struct brg_model_sums sums = {.loss = 0};
    struct brg_optimizer_report report;
    float *before = malloc(n * sizeof *before);
    assert_non_null(before);
    memcpy(before, brg_line_params(l), n * sizeof *before);
    tokens[3] = VOCAB;
    brg_line_begin(l);
    assert_int_equal(brg_line_microbatch(l, &batch, all, &sums), BRG_EINVAL);
    assert_int_equal(brg_line_loss(l, &batch, all, &sums), BRG_EINVAL);
    brg_line_at(l, 1)->grad[5] = NAN;
    assert_int_equal(brg_line_apply(l, 1, 1, &report), BRG_EINVAL);
    assert_true(isnan(report.grad_norm));
    assert_int_equal(brg_line_at(l, 0)->own_step, 0);
    assert_memory_equal(brg_line_params(l), before, n * sizeof *before);
    free(before);
    brg_line_destroy(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_curve__is_the_same_to_the_bit_for_1_2_4_and_6_stages),
        cmocka_unit_test(line_path__may_swap_stages_and_leave_them_out),
        cmocka_unit_test(line_stage_that_forgets__steps_as_one_begun_anew),
        cmocka_unit_test(line_distil__brings_a_fresh_stage_near_the_lost_one),
        cmocka_unit_test(line_that_cannot_be_cut__is_refused_with_a_sentence),
        cmocka_unit_test(line_bad_token_or_gradient__changes_no_parameter),
    };
    return cmocka_run_group_tests_name("line", tests, NULL, NULL) != 0;
}
