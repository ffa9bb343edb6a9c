/* test_dtype - every f16 and bf16 goes through float32 and back; rounding is to even. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/dtype.h"

#include <math.h>
#include <string.h>

static void dtype_every_16_bit_number__comes_back_as_it_was(void **state) {
    (void)state;
    const uint32_t dtypes[] = {BRG_WEIGHT_F16, BRG_WEIGHT_BF16};
    for (uint32_t d = 0; d < 2; d++) {
        for (uint32_t i = 0; i < 65536; i++) {
            const uint16_t h = (uint16_t)i;
            uint16_t again = 0;
            float x = 0;
            brg_weight_widen(dtypes[d], 1, &h, &x);
            assert_int_equal(brg_weight_narrow(dtypes[d], 1, &x, &again), 0);
            assert_int_equal(again, h);
        }
    }
}

static void dtype_known_numbers__have_their_bits(void **state) {
    (void)state;
    const struct {
        float x;
        uint16_t f16, bf16;
    } known[] = {
        {1.0f, 0x3c00, 0x3f80},         {-2.0f, 0xc000, 0xc000},
        {65504.0f, 0x7bff, 0x4780},     {65519.0f, 0x7bff, 0x4780},
        {0x1p-24f, 0x0001, 0x3380},     {0x1p-25f, 0x0000, 0x3300}, /* a tie: to even */
        {0x1.8p-25f, 0x0001, 0x3340},   {0x1p-14f, 0x0400, 0x3880},
        {1 + 0x1p-11f, 0x3c00, 0x3f80}, {1 + 0x3p-11f, 0x3c02, 0x3f80},
        {1 + 0x1p-8f, 0x3c04, 0x3f80},  {1 + 0x3p-8f, 0x3c0c, 0x3f82},
        {0x1.ffep-15f, 0x0400, 0x3880}, /* rounds up from a subnormal to a normal number */
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint16_t h = 0, b = 0;
        assert_int_equal(brg_weight_narrow(BRG_WEIGHT_F16, 1, &known[i].x, &h), 0);
        assert_int_equal(brg_weight_narrow(BRG_WEIGHT_BF16, 1, &known[i].x, &b), 0);
        assert_int_equal(h, known[i].f16);
        assert_int_equal(b, known[i].bf16);
    }
}

static void dtype_too_large_for_f16__is_counted(void **state) {
    (void)state;
    const float x[] = {65520.0f, INFINITY, -1e9f, 1.0f, NAN};
    uint16_t h[5];
    float back[5];
    assert_int_equal(brg_weight_narrow(BRG_WEIGHT_F16, 5, x, h), 2);
    brg_weight_widen(BRG_WEIGHT_F16, 5, h, back);
    assert_true(isinf(back[0]) && isinf(back[1]) && back[2] < 0 && isinf(back[2]));
    assert_true(back[3] == 1.0f && isnan(back[4]));
}

static void dtype_names__are_read_in_either_case(void **state) {
    (void)state;
    uint32_t d = 0;
    assert_int_equal(brg_weight_parse("bf16", &d), BRG_OK);
    assert_int_equal(d, BRG_WEIGHT_BF16);
    assert_int_equal(brg_weight_parse("F32", &d), BRG_OK);
    assert_int_equal(d, BRG_WEIGHT_F32);
    assert_int_equal(brg_weight_parse("q8_0", &d), BRG_EINVAL);
    assert_int_equal(d, BRG_WEIGHT_F32);
    assert_string_equal(brg_weight_name(BRG_WEIGHT_F16), "F16");
    assert_string_equal(brg_weight_name(99), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtype_every_16_bit_number__comes_back_as_it_was),
        cmocka_unit_test(dtype_known_numbers__have_their_bits),
        cmocka_unit_test(dtype_too_large_for_f16__is_counted),
        cmocka_unit_test(dtype_names__are_read_in_either_case),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL) != 0;
}
