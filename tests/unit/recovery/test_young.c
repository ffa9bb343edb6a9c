/* test_young - the period between checkpoints, from what was measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "recovery/young.h"

#define DAY_MS BRG_YOUNG_PRIOR_MS

static void young_every__is_the_root_of_twice_cost_times_time_between_losses(void **state) {
    (void)state;
    /* One loss a day, 2 s a checkpoint: sqrt(2 * 2 * 86400) = 587.9 s. */
    struct brg_young y = {.cost_ms = 2000, .step_ms = 1000};
    assert_int_equal(brg_young_every(&y, 1, 100000), 587);
    y.step_ms = 10;
    assert_int_equal(brg_young_every(&y, 1, 100000), 58787);
    y.run_ms = 9 * DAY_MS; /* 10 days with 39 losses and the prior's: 6 h between them */
    y.losses = 39;
    y.step_ms = 1000;
    assert_int_equal(brg_young_between_ms(&y), DAY_MS / 4);
    assert_int_equal(brg_young_every(&y, 1, 100000), 293); /* half of the first */
}

static void young_every__stays_within_its_bounds(void **state) {
    (void)state;
    struct brg_young y = {.run_ms = UINT64_MAX, .cost_ms = UINT64_MAX, .step_ms = 0};
    assert_int_equal(brg_young_every(&y, 10, 1000), 1000);
    y.losses = UINT64_MAX;
    y.step_ms = UINT64_MAX;
    assert_int_equal(brg_young_every(&y, 10, 1000), 10);
    y = (struct brg_young){.cost_ms = 0, .step_ms = 1};
    assert_int_equal(brg_young_every(&y, 10, 1000), 10);
    y = (struct brg_young){.run_ms = UINT64_MAX, .cost_ms = UINT64_MAX, .step_ms = 1};
    assert_true(brg_young_every(&y, 1, UINT64_MAX) > UINT64_C(3000000000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(young_every__is_the_root_of_twice_cost_times_time_between_losses),
        cmocka_unit_test(young_every__stays_within_its_bounds),
    };
    return cmocka_run_group_tests_name("young", tests, NULL, NULL) != 0;
}
