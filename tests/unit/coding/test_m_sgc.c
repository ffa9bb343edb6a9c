#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coding/sequence.h"

#define REP BRG_BASE_REPETITION
#define CYC BRG_BASE_CYCLIC

static struct brg_code_spec m_sgc(uint32_t n, uint32_t b, uint32_t w, uint32_t lambda,
                                  uint32_t base) {
    return sequential_of(BRG_CODE_M_SGC, n, b, w, lambda, base);
}

static void m_sgc_every_bursty_pattern__decodes_in_time(void **state) {
    (void)state;
    const struct {
        uint32_t n, b, w, lambda, jobs;
    } c[] = {{3, 1, 2, 1, 4}, {3, 1, 2, 2, 3}, {3, 1, 2, 3, 3}, {4, 1, 2, 2, 3}, {4, 2, 3, 2, 2},
             {3, 2, 3, 2, 3}, {3, 1, 3, 2, 3}, {3, 2, 4, 2, 2}, {3, 2, 3, 3, 2}};
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const struct brg_code_spec spec = m_sgc(c[i].n, c[i].b, c[i].w, c[i].lambda, CYC);
        const uint64_t patterns = walk_model(&spec, c[i].jobs, brg_pattern_model_of(&spec));
        if (i == 4) assert_int_equal(patterns, 2943);
        total += patterns;
    }
    assert_int_equal(total, 13158);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m_sgc_every_bursty_pattern__decodes_in_time),
    };
    return cmocka_run_group_tests_name("m_sgc", tests, NULL, NULL) != 0;
}
