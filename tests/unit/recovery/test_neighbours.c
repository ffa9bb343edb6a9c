/* test_neighbours - who gives to a lost stage, and how much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "recovery/neighbours.h"

#define S 6u

static int near(double a, double b) {
    return a - b < 1e-15 && b - a < 1e-15;
}

static void neighbours_mix__weighs_by_the_gradient_norm_to_the_power_asked_for(void **state) {
    (void)state;
    const uint8_t have[S] = {1, 1, 0, 1, 1, 1};
    const double norm2[S] = {5, 9, 100, 4, 7, 7};
    struct brg_neighbours_line line = {.stages = S, .have = have, .norm2 = norm2};
    struct brg_neighbours_mix mix;
    const double expected[3] = {0.5, 3.0 / 5.0, 9.0 / 13.0};
    for (line.exponent = 0; line.exponent <= 2; line.exponent++) {
        assert_int_equal(brg_neighbours_plan(&line, 2, &mix), BRG_OK);
        assert_int_equal(mix.count, 2);
        assert_int_equal(mix.stage[0], 1);
        assert_int_equal(mix.stage[1], 3);
        assert_true(near(mix.weight[0], expected[line.exponent]));
        assert_true(near(mix.weight[0] + mix.weight[1], 1));
    }
    /* Far from 1 the root must hold as well. */
    const double tiny[S] = {0, 9e-20, 0, 4e-20, 0, 0}, huge[S] = {0, 9e200, 0, 4e200, 0, 0};
    line.exponent = 1;
    line.norm2 = tiny;
    assert_int_equal(brg_neighbours_plan(&line, 2, &mix), BRG_OK);
    assert_true(near(mix.weight[0], 0.6));
    line.norm2 = huge;
    assert_int_equal(brg_neighbours_plan(&line, 2, &mix), BRG_OK);
    assert_true(near(mix.weight[0], 0.6));
}

static void neighbours_mix__is_uniform_where_norms_say_nothing(void **state) {
    (void)state;
    const uint8_t have[S] = {1, 1, 0, 1, 1, 1};
    const double zero = 0, nan = zero / zero, inf = 1 / zero;
    const double bad[][2] = {{0, 0}, {nan, 1}, {1, nan}, {inf, 1}, {-1, 2}, {1.7e308, 1.7e308}};
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const double norm2[S] = {1, bad[i][0], 1, bad[i][1], 1, 1};
        const struct brg_neighbours_line line = {
            .stages = S, .have = have, .norm2 = norm2, .exponent = 2};
        struct brg_neighbours_mix mix;
        assert_int_equal(brg_neighbours_plan(&line, 2, &mix), BRG_OK);
        assert_true(mix.weight[0] == 0.5 && mix.weight[1] == 0.5);
    }
    const struct brg_neighbours_line unknown = {.stages = S, .have = have, .exponent = 2};
    struct brg_neighbours_mix mix;
    assert_int_equal(brg_neighbours_plan(&unknown, 2, &mix), BRG_OK);
    assert_true(mix.weight[0] == 0.5 && mix.weight[1] == 0.5);
}

static void neighbours_adjacent_losses__are_interpolated_in_depth(void **state) {
    (void)state;
    const uint8_t have[S] = {1, 1, 0, 0, 1, 1}, none[S] = {0};
    const double norm2[S] = {1, 100, 1, 1, 1, 1}; /* must not matter at a distance */
    struct brg_neighbours_line line = {.stages = S, .have = have, .norm2 = norm2, .exponent = 2};
    struct brg_neighbours_mix mix;
    assert_int_equal(brg_neighbours_plan(&line, 2, &mix), BRG_OK);
    assert_int_equal(mix.stage[0], 1);
    assert_int_equal(mix.stage[1], 4);
    assert_true(near(mix.weight[0], 2.0 / 3.0));
    assert_int_equal(brg_neighbours_plan(&line, 3, &mix), BRG_OK);
    assert_true(near(mix.weight[0], 1.0 / 3.0));
    line.have = none;
    assert_int_equal(brg_neighbours_plan(&line, 3, &mix), BRG_ENOENT);
}

static void neighbours_ends__are_copied_and_swap_partners_from_each_other(void **state) {
    (void)state;
    uint8_t have[S] = {0, 1, 1, 1, 1, 1};
    struct brg_neighbours_line line = {.stages = S, .have = have};
    struct brg_neighbours_mix mix;
    assert_int_equal(brg_neighbours_plan(&line, 0, &mix), BRG_OK);
    assert_int_equal(mix.count, 1);
    assert_int_equal(mix.stage[0], 1);
    assert_true(mix.weight[0] == 1);
    const uint32_t partner[S] = {1, 0, 0, 0, 5, 4};
    for (uint32_t lost = 0; lost < S; lost++) {
        for (uint32_t i = 0; i < S; i++) have[i] = i != lost;
        line.plus = 0;
        assert_int_equal(brg_neighbours_plan(&line, lost, &mix), BRG_OK);
        assert_int_equal(mix.count, lost == 0 || lost == S - 1 ? 1 : 2);
        line.plus = 1;
        assert_int_equal(brg_neighbours_plan(&line, lost, &mix), BRG_OK);
        assert_int_equal(mix.count, lost == 2 || lost == 3 ? 2 : 1);
        if (mix.count == 1) assert_int_equal(mix.stage[0], partner[lost]);
    }
    have[4] = 0; /* both of a pair are lost: the next one that lives */
    have[5] = 0;
    assert_int_equal(brg_neighbours_plan(&line, 5, &mix), BRG_OK);
    assert_int_equal(mix.stage[0], 3);
}

static void neighbours_order__swaps_the_share_asked_for(void **state) {
    (void)state;
    const uint32_t swapped[S] = {1, 0, 2, 3, 5, 4};
    for (uint32_t percent = 0; percent <= 100; percent++) {
        uint32_t count = 0, order[S];
        for (uint64_t m = 0; m < 100; m++) {
            const int swaps = brg_neighbours_order(S, m, percent, order);
            for (uint32_t i = 0; i < S; i++) assert_int_equal(order[i], swaps ? swapped[i] : i);
            if (percent == 50) assert_int_equal(swaps, m % 2); /* as the authors' code */
            count += swaps != 0;
        }
        assert_int_equal(count, percent);
    }
    uint32_t order[3];
    assert_int_equal(brg_neighbours_order(3, 1, 100, order), 0);
}

static void neighbours_rate__is_raised_capped_and_falls_back(void **state) {
    (void)state;
    const double once = brg_neighbours_raise(1.0);
    assert_true(near(once, 1.1));
    assert_true(near(brg_neighbours_raise(once), 1.2));
    assert_true(near(brg_neighbours_raise(1.2), 1.2));
    assert_true(near(brg_neighbours_lr(1.1, 0), 1.1));
    assert_true(near(brg_neighbours_lr(1.1, 100), 1.05));
    assert_true(brg_neighbours_lr(1.1, 200) == 1.0);
    assert_true(brg_neighbours_lr(1.1, UINT64_MAX) == 1.0);
}

static void neighbours_layers__keep_their_place_in_stages_of_other_depth(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(brg_neighbours_layer(i, 4, 4), i);
    assert_int_equal(brg_neighbours_layer(2, 3, 2), 1);
    assert_int_equal(brg_neighbours_layer(1, 2, 3), 1);
    assert_int_equal(brg_neighbours_layer(0, 1, 5), 0);
}

static void neighbours_probe__picks_the_least_finite_loss(void **state) {
    (void)state;
    const double zero = 0, nan = zero / zero;
    const double loss[] = {nan, 3, 2, 2, 1 / zero};
    uint32_t best = 9;
    assert_int_equal(brg_neighbours_pick(loss, 5, &best), BRG_OK);
    assert_int_equal(best, 2);
    assert_int_equal(brg_neighbours_pick(loss, 1, &best), BRG_ENOENT);
    assert_int_equal(brg_neighbours_pick(loss, 0, &best), BRG_ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_mix__weighs_by_the_gradient_norm_to_the_power_asked_for),
        cmocka_unit_test(neighbours_mix__is_uniform_where_norms_say_nothing),
        cmocka_unit_test(neighbours_adjacent_losses__are_interpolated_in_depth),
        cmocka_unit_test(neighbours_ends__are_copied_and_swap_partners_from_each_other),
        cmocka_unit_test(neighbours_order__swaps_the_share_asked_for),
        cmocka_unit_test(neighbours_rate__is_raised_capped_and_falls_back),
        cmocka_unit_test(neighbours_layers__keep_their_place_in_stages_of_other_depth),
        cmocka_unit_test(neighbours_probe__picks_the_least_finite_loss),
    };
    return cmocka_run_group_tests_name("neighbours", tests, NULL, NULL) != 0;
}
