/* test_line_optimizer - a step taken part by part has the bits of the step of the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/model.h"
#include "model/optimizer.h"
#include "tests/unit/kernels/numbers.h"

/* 9 * 5 weights, which decay, and 5 biases, which do not. */
static const struct brg_model_spec model = {.type = BRG_MODEL_SOFTMAX, .inputs = 9, .classes = 5};
#define PARAMS 50u
#define WEIGHTS 45u
#define STEPS 12u

static struct brg_optimizer_spec rule(uint32_t type, float momentum) {
    return (struct brg_optimizer_spec){.type = type,
                                       .schedule = BRG_SCHEDULE_CONSTANT,
                                       .lr = 0.01f,
                                       .beta1 = 0.9f,
                                       .beta2 = 0.95f,
                                       .eps = 1e-8f,
                                       .weight_decay = 0.1f,
                                       .momentum = momentum,
                                       .clip = 1.0f};
}

/* Steps both ways; moments of a part are its own. */
static void compare(const struct brg_optimizer_spec *s) {
    const uint64_t cuts[3] = {0, WEIGHTS, PARAMS};
    float whole[PARAMS], parts[PARAMS], grad[PARAMS], moments[2 * PARAMS] = {0};
    float own[2][2 * PARAMS] = {{0}};
    numbers_fill(1, 1, PARAMS, whole);
    memcpy(parts, whole, sizeof parts);
    for (uint64_t step = 1; step <= STEPS; step++) {
        struct brg_optimizer_report report;
        numbers_fill(step + 10, step % 2 ? 0.1 : 100, PARAMS, grad); /* below the clip, above it */
        assert_int_equal(brg_optimizer_step(s, &model, step, 16, grad, moments, whole, &report),
                         BRG_OK);
        assert_true((report.clip < 1) == (step % 2 == 0));
        const double norm = sqrt(brg_optimizer_norm2(PARAMS, grad)) / 16;
        assert_true(norm == report.grad_norm);
        for (uint32_t i = 0; i < 2; i++) {
            const struct brg_optimizer_part part = {.offset = cuts[i],
                                                    .count = cuts[i + 1] - cuts[i],
                                                    .step = step,
                                                    .own_step = step,
                                                    .targets = 16,
                                                    .clip = brg_optimizer_clip(s, norm),
                                                    .lr_factor = 1};
            brg_optimizer_step_part(s, &model, &part, grad + cuts[i], own[i], parts + cuts[i]);
        }
        assert_memory_equal(parts, whole, sizeof whole);
    }
}

static void optimizer_parts__have_the_bits_of_the_whole(void **state) {
    (void)state;
    const struct brg_optimizer_spec rules[] = {
        rule(BRG_OPTIMIZER_ADAMW, 0), rule(BRG_OPTIMIZER_SGD, 0.9f), rule(BRG_OPTIMIZER_SGD, 0)};
    for (uint32_t i = 0; i < 3; i++) compare(&rules[i]);
}

static void optimizer_part_factor__scales_the_learning_rate_only(void **state) {
    (void)state;
    struct brg_optimizer_spec s = rule(BRG_OPTIMIZER_SGD, 0);
    float params[WEIGHTS] = {0}, grad[WEIGHTS];
    s.weight_decay = 0;
    for (uint32_t i = 0; i < WEIGHTS; i++) grad[i] = 4.0f;
    const struct brg_optimizer_part part = {
        .count = WEIGHTS, .step = 3, .own_step = 1, .targets = 2, .clip = 0.5, .lr_factor = 1.2};
    brg_optimizer_step_part(&s, &model, &part, grad, NULL, params);
    for (uint32_t i = 0; i < WEIGHTS; i++) assert_true(params[i] == -0.012f);
}

static void optimizer_clip__leaves_small_gradients_alone(void **state) {
    (void)state;
    struct brg_optimizer_spec s = rule(BRG_OPTIMIZER_ADAMW, 0);
    assert_true(brg_optimizer_clip(&s, 1.0) == 1.0);
    assert_true(brg_optimizer_clip(&s, 4.0) == 0.25);
    s.clip = 0;
    assert_true(brg_optimizer_clip(&s, 1e9) == 1.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimizer_parts__have_the_bits_of_the_whole),
        cmocka_unit_test(optimizer_part_factor__scales_the_learning_rate_only),
        cmocka_unit_test(optimizer_clip__leaves_small_gradients_alone),
    };
    return cmocka_run_group_tests_name("line_optimizer", tests, NULL, NULL) != 0;
}
