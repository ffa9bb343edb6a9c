#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bits.h"

static const uint32_t edges[] = {0, 1, 63, 64, 65, 127, 128, 511, 960, 1022, 1023};
#define EDGES (sizeof edges / sizeof *edges)

static void bits_filled__hold_exactly_the_first_n(void **state) {
    (void)state;
    for (uint32_t n = 0; n <= BRG_BITS_MAX; n++) {
        struct brg_bits b;
        brg_bits_fill(&b, n);
        assert_int_equal(brg_bits_count(&b), n);
        if (n > 0) assert_true(brg_bits_has(&b, n - 1));
        if (n < BRG_BITS_MAX) assert_false(brg_bits_has(&b, n));
    }
}

static void bits_walk__meets_every_member_in_rising_order(void **state) {
    (void)state;
    struct brg_bits b;
    uint32_t met = 0;
    brg_bits_clear(&b);
    assert_int_equal(brg_bits_next(&b, 0), BRG_BITS_MAX);
    for (uint32_t k = EDGES; k-- > 0;) brg_bits_add(&b, edges[k]);
    for (uint32_t i = brg_bits_next(&b, 0); i < BRG_BITS_MAX; i = brg_bits_next(&b, i + 1)) {
        assert_true(met < EDGES);
        assert_int_equal(i, edges[met++]);
    }
    assert_int_equal(met, EDGES);
    assert_int_equal(brg_bits_next(&b, BRG_BITS_MAX), BRG_BITS_MAX);
}

static void bits_add_and_remove__touch_one_member(void **state) {
    (void)state;
    for (uint32_t k = 0; k < EDGES; k++) {
        struct brg_bits b;
        brg_bits_clear(&b);
        brg_bits_add(&b, edges[k]);
        brg_bits_add(&b, edges[k]);
        assert_int_equal(brg_bits_count(&b), 1);
        brg_bits_fill(&b, BRG_BITS_MAX);
        brg_bits_remove(&b, edges[k]);
        assert_int_equal(brg_bits_count(&b), BRG_BITS_MAX - 1);
        assert_false(brg_bits_has(&b, edges[k]));
    }
}

static void bits_set_algebra__agrees_with_member_by_member(void **state) {
    (void)state;
    struct brg_bits thirds, fifths, both, only;
    brg_bits_clear(&thirds);
    brg_bits_clear(&fifths);
    for (uint32_t i = 0; i < BRG_BITS_MAX; i += 3) brg_bits_add(&thirds, i);
    for (uint32_t i = 0; i < BRG_BITS_MAX; i += 5) brg_bits_add(&fifths, i);
    both = thirds;
    brg_bits_join(&both, &fifths);
    only = thirds;
    brg_bits_subtract(&only, &fifths);
    for (uint32_t i = 0; i < BRG_BITS_MAX; i++) {
        assert_int_equal(brg_bits_has(&both, i), i % 3 == 0 || i % 5 == 0);
        assert_int_equal(brg_bits_has(&only, i), i % 3 == 0 && i % 5 != 0);
    }
    assert_true(brg_bits_within(&thirds, &both));
    assert_true(brg_bits_within(&only, &thirds));
    assert_false(brg_bits_within(&both, &thirds));
    assert_false(brg_bits_within(&thirds, &only));
}

static void bits_slice_and_count_below__are_what_a_walk_finds(void **state) {
    (void)state;
    struct brg_bits b = {{0}};
    for (uint32_t i = 0; i < BRG_BITS_MAX; i++) {
        if (i * i % 7 < 3 || i % 64 == 63) brg_bits_add(&b, i);
    }
    for (uint32_t first = 0; first <= BRG_BITS_MAX; first += 13) {
        const uint32_t left = BRG_BITS_MAX - first;
        const uint32_t counts[] = {0, 1, 63, 64, 65, 200, left};
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            const uint32_t count = counts[k] < left ? counts[k] : left;
            struct brg_bits slice, want = {{0}};
            for (uint32_t i = 0; i < count; i++) {
                if (brg_bits_has(&b, first + i)) brg_bits_add(&want, i);
            }
            brg_bits_slice(&b, first, count, &slice);
            assert_memory_equal(&slice, &want, sizeof want);
        }
        uint32_t below = 0;
        for (uint32_t i = 0; i < first; i++) below += (uint32_t)brg_bits_has(&b, i);
        assert_int_equal(brg_bits_count_below(&b, first), below);
    }
    assert_int_equal(brg_bits_count_below(&b, BRG_BITS_MAX), brg_bits_count(&b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_slice_and_count_below__are_what_a_walk_finds),
        cmocka_unit_test(bits_filled__hold_exactly_the_first_n),
        cmocka_unit_test(bits_walk__meets_every_member_in_rising_order),
        cmocka_unit_test(bits_add_and_remove__touch_one_member),
        cmocka_unit_test(bits_set_algebra__agrees_with_member_by_member),
    };
    return cmocka_run_group_tests_name("bits", tests, NULL, NULL) != 0;
}
