/* test_optimizer - schedule, clipping and both rules against the same in plain double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/model.h"
#include "model/optimizer.h"
#include "tests/unit/kernels/numbers.h"

/* 9 * 5 weights and 5 biases. */
static const struct brg_model_spec model = {.type = BRG_MODEL_SOFTMAX, .inputs = 9, .classes = 5};
#define WEIGHTS 45u
#define PARAMS 50u

static struct brg_optimizer_spec adamw(void) {
    return (struct brg_optimizer_spec){.type = BRG_OPTIMIZER_ADAMW,
                                       .schedule = BRG_SCHEDULE_COSINE,
                                       .warmup_steps = 4,
                                       .total_steps = 20,
                                       .lr = 0.01f,
                                       .lr_min_ratio = 0.1f,
                                       .beta1 = 0.9f,
                                       .beta2 = 0.95f,
                                       .eps = 1e-8f,
                                       .weight_decay = 0.1f,
                                       .clip = 1.0f};
}

static struct brg_optimizer_spec sgd(void) {
    return (struct brg_optimizer_spec){.type = BRG_OPTIMIZER_SGD,
                                       .schedule = BRG_SCHEDULE_CONSTANT,
                                       .lr = 0.05f,
                                       .weight_decay = 0.01f,
                                       .momentum = 0.9f};
}

static void optimizer_schedule__warms_up_and_follows_the_cosine(void **state) {
    (void)state;
    struct brg_optimizer_spec s = adamw();
    s.lr = 1.0f;
    assert_true(fabs(brg_optimizer_lr(&s, 1) - 0.25) < 1e-12);
    assert_true(fabs(brg_optimizer_lr(&s, 4) - 1.0) < 1e-12);
    assert_true(fabs(brg_optimizer_lr(&s, 12) - 0.55) < 1e-7); /* half-way */
    assert_true(fabs(brg_optimizer_lr(&s, 20) - 0.1) < 1e-7);
    assert_true(fabs(brg_optimizer_lr(&s, 1000000) - 0.1) < 1e-7);
    for (uint64_t i = 5; i <= 20; i++)
        assert_true(brg_optimizer_lr(&s, i) < brg_optimizer_lr(&s, i - 1));
    s.schedule = BRG_SCHEDULE_CONSTANT;
    assert_true(brg_optimizer_lr(&s, 12) == 1.0);
    s.warmup_steps = 0;
    assert_true(brg_optimizer_lr(&s, 1) == 1.0);
}

/* The same rules in double, on their own state. */
struct plain {
    double p[PARAMS], m[PARAMS], v[PARAMS];
};

static void plain_step(const struct brg_optimizer_spec *s, struct plain *x, uint64_t step,
                       uint64_t count, const float *grad_sum) {
    double norm2 = 0, g[PARAMS];
    for (uint32_t i = 0; i < PARAMS; i++) g[i] = (double)grad_sum[i] / (double)count;
    for (uint32_t i = 0; i < PARAMS; i++) norm2 += g[i] * g[i];
    const double norm = sqrt(norm2), lr = brg_optimizer_lr(s, step);
    const double clip = s->clip > 0 && norm > (double)s->clip ? (double)s->clip / norm : 1;
    for (uint32_t i = 0; i < PARAMS; i++) {
        const double decay = i < WEIGHTS ? (double)s->weight_decay : 0;
        const double b1 = (double)s->beta1, b2 = (double)s->beta2, d = g[i] * clip;
        if (s->type == BRG_OPTIMIZER_SGD) {
            x->m[i] = (double)s->momentum * x->m[i] + d + decay * x->p[i];
            x->p[i] -= lr * x->m[i];
            continue;
        }
        x->m[i] = b1 * x->m[i] + (1 - b1) * d;
        x->v[i] = b2 * x->v[i] + (1 - b2) * d * d;
        const double m = x->m[i] / (1 - pow(b1, (double)step));
        const double v = x->v[i] / (1 - pow(b2, (double)step));
        x->p[i] -= lr * (m / (sqrt(v) + (double)s->eps) + decay * x->p[i]);
    }
}

static void compare_steps(const struct brg_optimizer_spec *s, double grad_deviation) {
    float params[PARAMS], moments[2 * PARAMS] = {0}, grad[PARAMS], want[PARAMS];
    struct plain plain = {.p = {0}};
    assert_int_equal(brg_optimizer_check(s, NULL), BRG_OK);
    assert_int_equal(brg_model_param_count(&model), PARAMS);
    numbers_fill(1, 1, PARAMS, params);
    for (uint32_t i = 0; i < PARAMS; i++) plain.p[i] = (double)params[i];
    for (uint64_t step = 1; step <= 30; step++) {
        struct brg_optimizer_report report;
        numbers_fill(step + 10, grad_deviation, PARAMS, grad);
        assert_int_equal(brg_optimizer_step(s, &model, step, 16, grad, moments, params, &report),
                         BRG_OK);
        plain_step(s, &plain, step, 16, grad);
        for (uint32_t i = 0; i < PARAMS; i++) want[i] = (float)plain.p[i];
        numbers_must_be_near("params", PARAMS, params, want, 2e-6);
    }
}

static void optimizer_steps__match_the_rules_in_double(void **state) {
    (void)state;
    struct brg_optimizer_spec s = adamw();
    compare_steps(&s, 1);   /* below the clip */
    compare_steps(&s, 100); /* above it */
    s = sgd();
    compare_steps(&s, 1);
    s.momentum = 0;
    compare_steps(&s, 1);
}

static void optimizer_report__tells_rate_norm_and_clipping(void **state) {
    (void)state;
    const struct brg_optimizer_spec s = adamw();
    float params[PARAMS] = {0}, moments[2 * PARAMS] = {0}, grad[PARAMS] = {0};
    struct brg_optimizer_report r;
    grad[3] = 30;
    grad[47] = -40;
    assert_int_equal(brg_optimizer_step(&s, &model, 2, 10, grad, moments, params, &r), BRG_OK);
    assert_true(fabs(r.grad_norm - 5.0) < 1e-12);
    assert_true(fabs(r.clip - 0.2) < 1e-12);
    assert_true(fabs(r.lr - 0.005) < 1e-9);
}

static void optimizer_state__is_as_large_as_the_rule_needs(void **state) {
    (void)state;
    struct brg_optimizer_spec s = adamw();
    assert_int_equal(brg_optimizer_state_count(&s, 7), 14);
    s = sgd();
    assert_int_equal(brg_optimizer_state_count(&s, 7), 7);
    s.momentum = 0;
    assert_int_equal(brg_optimizer_state_count(&s, 7), 0);
}

static void optimizer_gradient_that_is_not_finite__changes_nothing(void **state) {
    (void)state;
    const struct brg_optimizer_spec s = adamw();
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (uint32_t i = 0; i < 3; i++) {
        float params[PARAMS], before[PARAMS], moments[2 * PARAMS] = {0}, grad[PARAMS] = {0};
        struct brg_optimizer_report r;
        numbers_fill(1, 1, PARAMS, params);
        memcpy(before, params, sizeof before);
        grad[17] = bad[i];
        assert_int_equal(brg_optimizer_step(&s, &model, 1, 4, grad, moments, params, &r),
                         BRG_EINVAL);
        assert_true(!isfinite(r.grad_norm));
        assert_memory_equal(params, before, sizeof params);
        for (uint32_t j = 0; j < 2 * PARAMS; j++) assert_true(moments[j] == 0.0f);
    }
}

/* The same history gives the same bits: this is what a restart by replay rests on. */
static void optimizer_replay__gives_the_same_bits(void **state) {
    (void)state;
    const struct brg_optimizer_spec s = adamw();
    float params[2][PARAMS], moments[2][2 * PARAMS], grad[PARAMS];
    for (uint32_t run = 0; run < 2; run++) {
        numbers_fill(1, 1, PARAMS, params[run]);
        memset(moments[run], 0, sizeof moments[run]);
        for (uint64_t step = 1; step <= 20; step++) {
            struct brg_optimizer_report r;
            numbers_fill(step, 3, PARAMS, grad);
            assert_int_equal(
                brg_optimizer_step(&s, &model, step, 8, grad, moments[run], params[run], &r),
                BRG_OK);
        }
    }
    assert_memory_equal(params[0], params[1], sizeof params[0]);
    assert_memory_equal(moments[0], moments[1], sizeof moments[0]);
}

static void optimizer_faulty_settings__are_refused_by_name(void **state) {
    (void)state;
    struct brg_optimizer_spec s[9];
    const char *const words[9] = {"type",  "schedule", "lr",           "lr_min_ratio", "beta1",
                                  "beta2", "eps",      "weight_decay", "warmup"};
    for (uint32_t i = 0; i < 9; i++) s[i] = adamw();
    s[0].type = 7;
    s[1].schedule = 0;
    s[2].lr = -1;
    s[3].lr_min_ratio = 1.5f;
    s[4].beta1 = 1;
    s[5].beta2 = NAN;
    s[6].eps = 0;
    s[7].weight_decay = -0.1f;
    s[8].warmup_steps = 20;
    for (uint32_t i = 0; i < 9; i++) {
        struct brg_why why = {.text = ""};
        assert_int_equal(brg_optimizer_check(&s[i], &why), BRG_EINVAL);
        if (strstr(why.text, words[i]) == NULL) fail_msg("%u: %s", i, why.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimizer_schedule__warms_up_and_follows_the_cosine),
        cmocka_unit_test(optimizer_steps__match_the_rules_in_double),
        cmocka_unit_test(optimizer_report__tells_rate_norm_and_clipping),
        cmocka_unit_test(optimizer_state__is_as_large_as_the_rule_needs),
        cmocka_unit_test(optimizer_gradient_that_is_not_finite__changes_nothing),
        cmocka_unit_test(optimizer_replay__gives_the_same_bits),
        cmocka_unit_test(optimizer_faulty_settings__are_refused_by_name),
    };
    return cmocka_run_group_tests_name("optimizer", tests, NULL, NULL) != 0;
}
