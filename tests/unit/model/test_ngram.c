#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/ngram.h"

#include <math.h>
#include <string.h>

static struct brg_data_error error;

static void open_bytes(uint32_t format, double held_out, const void *data, size_t size,
                       struct brg_data *d) {
    const struct brg_data_spec spec = {.format = format, .held_out = held_out};
    const struct brg_data_files f = {.train = {"f", data, size}};
    if (brg_data_open_memory(&spec, &f, 1, d, &error) != BRG_OK) fail_msg("%s", error.text);
}

/* "abab" trains, "abc" is measured on targets b and c; figured out by hand. */
static void ngram_losses__are_those_of_the_formula(void **state) {
    (void)state;
    struct brg_data d;
    struct brg_ngram_losses l;
    open_bytes(BRG_DATA_TEXT, 0.43, "abababc", 7, &d);
    assert_int_equal(d.train.count, 4);
    assert_int_equal(brg_ngram_measure(&d, &l), BRG_OK);
    assert_int_equal(l.targets, 2);
    const double order0 = -log(2.05 / 16.8) - log(0.05 / 16.8);
    const double order1 = -log(2.05 / 14.8) - log(0.05 / 13.8); /* a->b twice of 2, b->c never */
    assert_true(fabs(l.order0 - order0 / 2) < 1e-12);
    assert_true(fabs(l.order1 - order1 / 2) < 1e-12);
    brg_data_close(&d);
}

static void ngram_of_a_shard_of_bytes__is_that_of_the_text(void **state) {
    (void)state;
    static const char text[] =
        "the fox and the dog and the fox and the dog and the fox and the dog";
    uint16_t shard[sizeof text];
    struct brg_data a, b;
    struct brg_ngram_losses x, y;
    for (size_t i = 0; i < sizeof text; i++) shard[i] = (uint8_t)text[i];
    open_bytes(BRG_DATA_TEXT, 0.3, text, sizeof text, &a);
    open_bytes(BRG_DATA_SHARD, 0.3, shard, sizeof shard, &b);
    assert_int_equal(brg_ngram_measure(&a, &x), BRG_OK);
    assert_int_equal(brg_ngram_measure(&b, &y), BRG_OK);
    assert_memory_equal(&x, &y, sizeof x);
    assert_true(x.order1 < x.order0); /* it has seen these pairs */
    brg_data_close(&a);
    brg_data_close(&b);
}

static void ngram_of_what_is_no_text__is_refused(void **state) {
    (void)state;
    static const uint16_t wide[] = {1, 2, 256, 4, 5, 6};
    struct brg_data d;
    struct brg_ngram_losses l;
    open_bytes(BRG_DATA_SHARD, 0.5, wide, sizeof wide, &d);
    assert_int_equal(brg_ngram_measure(&d, &l), BRG_EINVAL);
    brg_data_close(&d);
    open_bytes(BRG_DATA_TEXT, 0, "abcdef", 6, &d);
    assert_int_equal(brg_ngram_measure(&d, &l), BRG_EINVAL); /* nothing held out */
    brg_data_close(&d);
    open_bytes(BRG_DATA_CSV, 0, "1,0\n2,1\n", 8, &d);
    assert_int_equal(brg_ngram_measure(&d, &l), BRG_EINVAL);
    brg_data_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ngram_losses__are_those_of_the_formula),
        cmocka_unit_test(ngram_of_a_shard_of_bytes__is_that_of_the_text),
        cmocka_unit_test(ngram_of_what_is_no_text__is_refused),
    };
    return cmocka_run_group_tests_name("ngram", tests, NULL, NULL) != 0;
}
