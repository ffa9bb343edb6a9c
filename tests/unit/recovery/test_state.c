#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "recovery/state.h"

static const struct brg_state_header good = {.version = UINT64_C(0x0102030405060708),
                                             .lineage = 5,
                                             .own_step = 77,
                                             .lr_factor = 1.1,
                                             .lr_version = 9,
                                             .params = 1000,
                                             .kinds = BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS};

static void state_header__comes_back_as_it_was_written(void **state) {
    (void)state;
    uint8_t blob[BRG_STATE_HEADER_BYTES + 8];
    struct brg_state_header h;
    memset(blob, 0xee, sizeof blob);
    brg_state_write_header(&good, blob);
    assert_int_equal(brg_state_read_header(blob, sizeof blob, &h), BRG_OK);
    assert_memory_equal(&h, &good, sizeof h);
    assert_memory_equal(blob, "BRGSTAT1\x08\x07\x06\x05\x04\x03\x02\x01\x05", 17);
    assert_int_equal(blob[BRG_STATE_HEADER_BYTES], 0xee);
}

static void state_bytes__count_what_the_kinds_say(void **state) {
    (void)state;
    assert_int_equal(brg_state_bytes(10, 20, BRG_STATE_WEIGHTS), 64 + 40);
    assert_int_equal(brg_state_bytes(10, 20, BRG_STATE_MOMENTS), 64 + 80);
    assert_int_equal(brg_state_bytes(10, 20, BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS), 64 + 120);
    assert_int_equal(brg_state_bytes(BRG_STATE_PARAMS_MAX, 2 * BRG_STATE_PARAMS_MAX, 3),
                     64 + 12 * BRG_STATE_PARAMS_MAX);
}

static void must_refuse(const struct brg_state_header *h) {
    uint8_t blob[BRG_STATE_HEADER_BYTES];
    struct brg_state_header out = good;
    brg_state_write_header(h, blob);
    assert_int_equal(brg_state_read_header(blob, sizeof blob, &out), BRG_EPROTO);
    assert_memory_equal(&out, &good, sizeof out);
}

static void state_header_out_of_range__is_refused(void **state) {
    (void)state;
    struct brg_state_header h = good;
    h.kinds = 0;
    must_refuse(&h);
    h.kinds = 4;
    must_refuse(&h);
    h = good;
    h.params = 0;
    must_refuse(&h);
    h.params = BRG_STATE_PARAMS_MAX + 1;
    must_refuse(&h);
    h = good;
    h.lr_version = h.version + 1;
    must_refuse(&h);
    h = good;
    h.lr_factor = (double)NAN;
    must_refuse(&h);
    h.lr_factor = 0;
    must_refuse(&h);
    h.lr_factor = (double)INFINITY;
    must_refuse(&h);
}

static void state_header_that_is_damaged__is_refused(void **state) {
    (void)state;
    uint8_t blob[BRG_STATE_HEADER_BYTES];
    struct brg_state_header h;
    brg_state_write_header(&good, blob);
    for (uint32_t size = 0; size < sizeof blob; size++)
        assert_int_equal(brg_state_read_header(blob, size, &h), BRG_EPROTO);
    blob[7] = '2';
    assert_int_equal(brg_state_read_header(blob, sizeof blob, &h), BRG_EPROTO);
    blob[7] = '1';
    blob[63] = 1;
    assert_int_equal(brg_state_read_header(blob, sizeof blob, &h), BRG_EPROTO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_header__comes_back_as_it_was_written),
        cmocka_unit_test(state_bytes__count_what_the_kinds_say),
        cmocka_unit_test(state_header_out_of_range__is_refused),
        cmocka_unit_test(state_header_that_is_damaged__is_refused),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL) != 0;
}
