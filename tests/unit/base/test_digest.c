#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/digest.h"

#include <string.h>

/* Numbers of another implementation (b2sum -l 256). */
static void digest_of__is_blake2b_256(void **state) {
    (void)state;
    struct brg_digest d;
    char hex[BRG_DIGEST_HEX_BYTES];
    brg_digest_of("abc", 3, &d);
    assert_string_equal(brg_digest_hex(&d, hex),
                        "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    brg_digest_of(NULL, 0, &d);
    assert_string_equal(brg_digest_hex(&d, hex),
                        "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}

static void digest_in_pieces__is_the_digest_of_the_whole(void **state) {
    (void)state;
    uint8_t data[1000];
    char hex[BRG_DIGEST_HEX_BYTES];
    struct brg_digest whole, pieces;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i % 251);
    brg_digest_of(data, sizeof data, &whole);
    assert_string_equal(brg_digest_hex(&whole, hex),
                        "b372d0608f720c8c3dd41e9c8eecb10143b41abe520b616607e754bf79c08331");
    for (size_t piece = 1; piece <= 300; piece += 37) {
        struct brg_hasher h;
        brg_hasher_init(&h);
        for (size_t at = 0; at < sizeof data; at += piece)
            brg_hasher_update(&h, data + at, sizeof data - at < piece ? sizeof data - at : piece);
        brg_hasher_update(&h, NULL, 0);
        brg_hasher_final(&h, &pieces);
        assert_true(brg_digest_equal(&whole, &pieces));
    }
}

static void digest_of_any_other_bytes__differs(void **state) {
    (void)state;
    uint8_t data[64] = {0};
    struct brg_digest a, b;
    brg_digest_of(data, sizeof data, &a);
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        brg_digest_of(data, sizeof data, &b);
        assert_false(brg_digest_equal(&a, &b));
        data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    brg_digest_of(data, sizeof data - 1, &b);
    assert_false(brg_digest_equal(&a, &b));
    b = a;
    b.bytes[BRG_DIGEST_BYTES - 1] ^= 1; /* the last byte counts too */
    assert_false(brg_digest_equal(&a, &b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_of__is_blake2b_256),
        cmocka_unit_test(digest_in_pieces__is_the_digest_of_the_whole),
        cmocka_unit_test(digest_of_any_other_bytes__differs),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL) != 0;
}
