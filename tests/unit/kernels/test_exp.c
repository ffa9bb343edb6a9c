/* test_exp - the exponential that the fast operations share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/kernels/numbers.h"

#pragma GCC diagnostic ignored "-Wpsabi" /* the header's lane functions are inlined here */
#define BRG_ISA base
#include "kernels/cpu/fast.h"

static void exp_everywhere__is_within_the_stated_error(void **state) {
    (void)state;
    double worst = 0;
    for (uint32_t i = 0; i <= 4000000; i++) {
        const float x = -87.3f + (float)i * (175.6f / 4000000.0f);
        if (x > 88.3f) break;
        const double want = exp((double)x);
        worst = fmax(worst, fabs((double)fast_exp(x) - want) / want);
    }
    print_message("largest relative error %.3g\n", worst);
    assert_true(worst <= 2e-7);
}

static void exp_edges__are_exact_where_it_matters(void **state) {
    (void)state;
    assert_true(fast_exp(0.0f) == 1.0f);
    assert_true(fast_exp(-88.0f) == 0.0f);
    assert_true(fast_exp(-INFINITY) == 0.0f);
    assert_true(isfinite(fast_exp(INFINITY)) && fast_exp(INFINITY) > 2e38f);
    assert_true(isnan(fast_exp(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_everywhere__is_within_the_stated_error),
        cmocka_unit_test(exp_edges__are_exact_where_it_matters),
    };
    return cmocka_run_group_tests_name("exp", tests, NULL, NULL) != 0;
}
