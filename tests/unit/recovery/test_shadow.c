/* test_shadow - slices, what a holder has of a stage, and how old it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "recovery/shadow.h"

static void shadow_slices__cover_the_stage_once_in_every_k_steps(void **state) {
    (void)state;
    const uint64_t sizes[] = {0, 1, 15, 16, 17, 1000, 47233};
    const uint32_t everies[] = {1, 2, 7, 50, BRG_SHADOW_EVERY_MAX};
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (uint32_t k = 0; k < sizeof everies / sizeof *everies; k++) {
            const uint32_t every = everies[k];
            uint64_t at = 0, most = 0;
            for (uint32_t step = 1; step <= every; step++) {
                const struct brg_shadow_slice s = brg_shadow_due(sizes[i], every, step);
                assert_int_equal(s.index, step - 1);
                assert_int_equal(s.begin, at);
                if (s.end < sizes[i]) assert_int_equal(s.end % BRG_SHADOW_ALIGN, 0);
                if (s.end - s.begin > most) most = s.end - s.begin;
                at = s.end;
            }
            assert_int_equal(at, sizes[i]);
            assert_true(most <= sizes[i] / every + 2 * BRG_SHADOW_ALIGN); /* constant traffic */
            assert_int_equal(brg_shadow_due(sizes[i], every, every + 1).index, 0);
        }
    }
}

static void shadow_copy__is_whole_after_k_steps_and_never_older_than_that(void **state) {
    (void)state;
    struct brg_shadow_copy c;
    brg_shadow_begin(&c, 10);
    assert_false(brg_shadow_complete(&c));
    assert_true(brg_shadow_staleness(&c, 5) == UINT64_MAX);
    for (uint64_t v = 4; v < 60; v++) { /* begun in mid-run */
        assert_int_equal(brg_shadow_take(&c, brg_shadow_due(1000, 10, v).index, v), 1);
        assert_int_equal(brg_shadow_complete(&c), v >= 13);
        if (v < 13) continue;
        assert_int_equal(brg_shadow_oldest(&c), v - 9);
        assert_int_equal(brg_shadow_staleness(&c, v), 9);
    }
}

static void shadow_slice_again_late_or_wrong__changes_nothing(void **state) {
    (void)state;
    struct brg_shadow_copy c;
    brg_shadow_begin(&c, 2);
    assert_int_equal(brg_shadow_take(&c, 0, 7), 1);
    assert_int_equal(brg_shadow_take(&c, 0, 7), 0);
    assert_int_equal(brg_shadow_take(&c, 0, 5), 0);
    assert_int_equal(c.version[0], 7);
    assert_int_equal(brg_shadow_take(&c, 2, 8), BRG_EPROTO);
    assert_int_equal(brg_shadow_take(&c, 1, 0), BRG_EPROTO);
    assert_int_equal(brg_shadow_take(&c, 1, 8), 1);
    assert_int_equal(brg_shadow_staleness(&c, 8), 1);
    assert_true(brg_shadow_staleness(&c, 7) == UINT64_MAX); /* of a step that was undone */
}

static void shadow_holder__is_not_adjacent_from_four_stages_on(void **state) {
    (void)state;
    for (uint32_t stages = 1; stages <= 64; stages++) {
        for (uint32_t s = 0; s < stages; s++) {
            const uint32_t h = brg_shadow_holder(stages, s);
            assert_true(h < stages);
            if (stages > 1) assert_int_not_equal(h, s);
            if (stages >= 4) assert_true(h > s + 1 || h + 1 < s);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shadow_slices__cover_the_stage_once_in_every_k_steps),
        cmocka_unit_test(shadow_copy__is_whole_after_k_steps_and_never_older_than_that),
        cmocka_unit_test(shadow_slice_again_late_or_wrong__changes_nothing),
        cmocka_unit_test(shadow_holder__is_not_adjacent_from_four_stages_on),
    };
    return cmocka_run_group_tests_name("shadow", tests, NULL, NULL) != 0;
}
