/* test_narrow - bf16 and int8 in blocks: every table gives the reference's bits, and the error is
 * within its bound, also for NaN, infinity, ties, zeros and the smallest numbers. */
#include "tests/unit/kernels/numbers.h"

#define COUNT 5003u /* the last block is a short one */
#define BLOCKS_MAX (COUNT / BRG_NARROW_BLOCK_MIN + 1)

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Numbers of all sizes, and the difficult ones. */
static float *difficult(void) {
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x7f7fffff, 0xff7fffff, 0x7f800000,
                                       0xff800000, 0x7f800001, 0xffc00000, 0x00000001, 0x80000001,
                                       0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7f8000,
                                       0x7f7f7fff, 0x007fffff, 0x00008000, 0x00018000, 0x7fffffff};
    float *x = numbers_new(3, 1, COUNT);
    struct brg_prng g = {.state = 5};
    for (uint32_t i = 0; i < 1000; i++) x[i] = of_bits((uint32_t)brg_prng_below(&g, 1ull << 32));
    for (uint32_t i = 0; i < sizeof special / sizeof special[0]; i++)
        x[1000 + i] = of_bits(special[i]);
    return x;
}

static void narrow_bf16__has_the_bits_of_the_reference_in_every_table(void **state) {
    (void)state;
    const struct brg_kernels *k[BRG_KERNELS_MAX];
    const uint32_t tables = brg_kernels_list(k);
    float *x = difficult();
    static uint16_t want[COUNT], got[COUNT];
    k[0]->to_bf16(COUNT, x, want);
    for (uint32_t t = 1; t < tables; t++) {
        memset(got, 0xa5, sizeof got);
        k[t]->to_bf16(COUNT, x, got);
        for (uint32_t i = 0; i < COUNT; i++)
            if (got[i] != want[i])
                fail_msg("%s: %08x becomes %04x, not %04x", k[t]->name, bits_of(x[i]), got[i],
                         want[i]);
    }
    free(x);
}

static void narrow_bf16__rounds_to_the_nearest_and_ties_to_even(void **state) {
    (void)state;
    const struct brg_kernels *k = brg_kernels_pick();
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {
        {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
        {0x3f807fff, 0x3f80}, {0xbf818000, 0xbf82}, {0x7f7fffff, 0x7f80}, {0x7f7f7fff, 0x7f7f},
        {0xff800000, 0xff80}, {0x80000000, 0x8000}, {0x00008000, 0x0000}, {0x00018000, 0x0002},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const float x = of_bits(cases[i].from);
        uint16_t y;
        k->to_bf16(1, &x, &y);
        assert_int_equal(y, cases[i].to);
    }
    const float nan = of_bits(0x7f800001); /* its payload lies in the half that goes */
    uint16_t y;
    float back;
    k->to_bf16(1, &nan, &y);
    k->from_bf16(1, &y, &back);
    assert_true(isnan(back));
}

static void narrow_bf16__comes_back_within_its_bound(void **state) {
    (void)state;
    const struct brg_kernels *k[BRG_KERNELS_MAX];
    const uint32_t tables = brg_kernels_list(k);
    float *x = numbers_new(4, 3, COUNT), *y = numbers_new(5, 3, COUNT);
    static uint16_t narrow[COUNT];
    for (uint32_t t = 0; t < tables; t++) {
        k[t]->to_bf16(COUNT, x, narrow);
        k[t]->from_bf16(COUNT, narrow, y);
        for (uint32_t i = 0; i < COUNT; i++)
            assert_true(fabs((double)y[i] - (double)x[i]) <= fabs((double)x[i]) / 256);
        const struct brg_narrow_error e = brg_narrow_error_of(COUNT, x, y);
        assert_true(e.rms_relative > 1e-3 && e.rms_relative < 2.5e-3);
        static uint16_t again[COUNT];
        k[t]->to_bf16(COUNT, y, again); /* what is bf16 already stays as it is */
        assert_memory_equal(again, narrow, sizeof narrow);
    }
    free(x);
    free(y);
}

static void narrow_int8__has_the_bits_of_the_reference_in_every_table(void **state) {
    (void)state;
    const struct brg_kernels *k[BRG_KERNELS_MAX];
    const uint32_t tables = brg_kernels_list(k);
    static const uint32_t blocks[] = {64, 100, 256};
    float *x = difficult();
    static int8_t want[COUNT], got[COUNT];
    static float want_scales[BLOCKS_MAX], got_scales[BLOCKS_MAX], want_y[COUNT], got_y[COUNT];
    for (uint32_t i = 3000; i < 3200; i++) x[i] = 0;
    for (uint32_t i = 3400; i < 3700; i++) x[i] = of_bits(i); /* subnormal, scale rounded by much */
    for (uint32_t i = 4000; i < 4300; i++) x[i] = of_bits(i % 60);
    for (uint32_t b = 0; b < 3; b++) {
        const size_t count = (COUNT + blocks[b] - 1) / blocks[b];
        k[0]->to_int8(COUNT, blocks[b], x, want, want_scales);
        k[0]->from_int8(COUNT, blocks[b], want, want_scales, want_y);
        for (uint32_t t = 1; t < tables; t++) {
            k[t]->to_int8(COUNT, blocks[b], x, got, got_scales);
            k[t]->from_int8(COUNT, blocks[b], got, got_scales, got_y);
            assert_memory_equal(got, want, sizeof want);
            assert_memory_equal(got_scales, want_scales, count * sizeof(float));
            for (uint32_t i = 0; i < COUNT; i++)
                assert_true(bits_of(got_y[i]) == bits_of(want_y[i]) ||
                            (isnan(got_y[i]) && isnan(want_y[i])));
        }
    }
    free(x);
}

static void narrow_int8__comes_back_within_half_a_scale(void **state) {
    (void)state;
    const struct brg_kernels *k[BRG_KERNELS_MAX];
    const uint32_t tables = brg_kernels_list(k);
    float *x = numbers_new(6, 3, COUNT), *y = numbers_new(7, 3, COUNT);
    static int8_t q[COUNT];
    static float scales[BLOCKS_MAX];
    for (uint32_t t = 0; t < tables; t++) {
        k[t]->to_int8(COUNT, 128, x, q, scales);
        k[t]->from_int8(COUNT, 128, q, scales, y);
        for (uint32_t i = 0; i < COUNT; i++)
            assert_true(fabs((double)y[i] - (double)x[i]) <= 0.500001 * (double)scales[i / 128]);
        const struct brg_narrow_error e = brg_narrow_error_of(COUNT, x, y);
        assert_true(e.rms_relative > 3e-3 && e.rms_relative < 9e-3);
        assert_true(e.max_relative < 0.5 / 127 + 1e-6);
    }
    free(x);
    free(y);
}

static void narrow_int8__shows_what_is_no_number_in_its_block_only(void **state) {
    (void)state;
    const struct brg_kernels *k[BRG_KERNELS_MAX];
    const uint32_t tables = brg_kernels_list(k);
    float x[192], y[192], scales[3];
    int8_t q[192];
    for (uint32_t t = 0; t < tables; t++) {
        numbers_fill(8, 1, 192, x);
        x[70] = INFINITY;
        k[t]->to_int8(192, 64, x, q, scales);
        k[t]->from_int8(192, 64, q, scales, y);
        for (uint32_t i = 0; i < 192; i++) assert_int_equal(isnan(y[i]) != 0, i / 64 == 1);
    }
}

static void narrow_error__is_relative_to_what_went_in(void **state) {
    (void)state;
    const float x[4] = {3, 0, -4, 0}, y[4] = {3, 0, -4, 1}, zero[4] = {0};
    const struct brg_narrow_error e = brg_narrow_error_of(4, x, y);
    assert_true(fabs(e.max_relative - 0.25) < 1e-12 && fabs(e.rms_relative - 0.2) < 1e-12);
    assert_true(brg_narrow_error_of(4, zero, zero).rms_relative == 0);
    assert_true(isinf(brg_narrow_error_of(4, zero, y).rms_relative));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_bf16__has_the_bits_of_the_reference_in_every_table),
        cmocka_unit_test(narrow_bf16__rounds_to_the_nearest_and_ties_to_even),
        cmocka_unit_test(narrow_bf16__comes_back_within_its_bound),
        cmocka_unit_test(narrow_int8__has_the_bits_of_the_reference_in_every_table),
        cmocka_unit_test(narrow_int8__comes_back_within_half_a_scale),
        cmocka_unit_test(narrow_int8__shows_what_is_no_number_in_its_block_only),
        cmocka_unit_test(narrow_error__is_relative_to_what_went_in),
    };
    return cmocka_run_group_tests_name("narrow", tests, NULL, NULL) != 0;
}
