#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void arena_alloc__aligns_the_address_of_an_odd_block(void **state) {
    (void)state;
    _Alignas(64) uint8_t block[256];
    struct brg_arena a;
    brg_arena_init(&a, block + 1, sizeof block - 1);
    for (size_t align = 1; align <= 64; align *= 2) {
        brg_arena_reset(&a, 0);
        void *p = brg_arena_alloc(&a, 8, align);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
    }
}

static void arena_full__gives_null_and_stays_as_it_was(void **state) {
    (void)state;
    _Alignas(16) uint8_t block[64];
    struct brg_arena a;
    brg_arena_init(&a, block, sizeof block);
    assert_non_null(brg_arena_alloc(&a, 60, 1));
    assert_null(brg_arena_alloc(&a, 5, 1));
    assert_null(brg_arena_alloc(&a, 1, 64)); /* the padding alone is too much */
    assert_null(brg_arena_alloc(&a, SIZE_MAX, 1));
    assert_int_equal(brg_arena_mark(&a), 60);
    assert_non_null(brg_arena_alloc(&a, 4, 1));
    assert_null(brg_arena_alloc(&a, 1, 1));
}

static void arena_array__refuses_a_product_that_overflows(void **state) {
    (void)state;
    _Alignas(16) uint8_t block[64];
    struct brg_arena a;
    brg_arena_init(&a, block, sizeof block);
    assert_null(brg_arena_array(&a, SIZE_MAX / 2, 4));
    memset(block, 0xff, sizeof block);
    uint32_t *v = brg_arena_array(&a, 16, sizeof *v);
    assert_non_null(v);
    for (int i = 0; i < 16; i++) assert_int_equal(v[i], 0);
}

static void arena_reset__gives_back_to_the_mark_and_keeps_the_peak(void **state) {
    (void)state;
    uint8_t block[64];
    struct brg_arena a;
    brg_arena_init(&a, block, sizeof block);
    void *first = brg_arena_alloc(&a, 10, 1);
    size_t mark = brg_arena_mark(&a);
    void *second = brg_arena_alloc(&a, 20, 1);
    brg_arena_reset(&a, mark);
    assert_ptr_equal(brg_arena_alloc(&a, 20, 1), second);
    brg_arena_reset(&a, 0);
    assert_ptr_equal(brg_arena_alloc(&a, 1, 1), first);
    assert_int_equal(a.peak_bytes, 30);
}

static void arena_of_nothing__gives_nothing(void **state) {
    (void)state;
    struct brg_arena a;
    brg_arena_init(&a, NULL, 0);
    assert_null(brg_arena_alloc(&a, 1, 1));
    assert_null(brg_arena_alloc(&a, 0, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_alloc__aligns_the_address_of_an_odd_block),
        cmocka_unit_test(arena_full__gives_null_and_stays_as_it_was),
        cmocka_unit_test(arena_array__refuses_a_product_that_overflows),
        cmocka_unit_test(arena_reset__gives_back_to_the_mark_and_keeps_the_peak),
        cmocka_unit_test(arena_of_nothing__gives_nothing),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL) != 0;
}
