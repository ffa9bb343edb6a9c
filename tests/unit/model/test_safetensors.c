/* test_safetensors - what is written reads back, and each broken rule is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/safetensors.h"

#include <string.h>

static struct brg_why why;

/* A file in memory: a header text and `data_bytes` bytes of data. */
static uint8_t *file_of(const char *header, size_t data_bytes, size_t *size) {
    const uint64_t n = strlen(header);
    *size = 8 + n + data_bytes;
    uint8_t *bytes = calloc(1, *size);
    assert_non_null(bytes);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, n);
    return bytes;
}

static int parse(const char *header, size_t data_bytes) {
    struct brg_safetensors s;
    size_t size = 0;
    uint8_t *bytes = file_of(header, data_bytes, &size);
    why.text[0] = '\0';
    const int rc = brg_safetensors_parse("x", bytes, size, &s, &why);
    if (rc == BRG_OK) brg_safetensors_close(&s);
    assert_null(s.tensors);
    assert_true((rc == BRG_OK) == (why.text[0] == '\0'));
    free(bytes);
    return rc;
}

static void must_say(const char *header, size_t data_bytes, const char *words) {
    assert_int_equal(parse(header, data_bytes), BRG_ECORRUPT);
    if (strstr(why.text, words) == NULL) fail_msg("'%s' lacks '%s'", why.text, words);
}

static void safetensors_written__read_back_with_every_byte_in_a_tensor(void **state) {
    (void)state;
    const struct brg_safetensors_entry entries[] = {
        {.name = "a.weight", .dtype = BRG_WEIGHT_F32, .dims = 2, .shape = {2, 3}},
        {.name = "b \"quoted\"", .dtype = BRG_WEIGHT_BF16, .dims = 1, .shape = {5}},
    };
    const struct brg_safetensors_note note = {"format", "pt"};
    char *header = NULL;
    size_t size = 0;
    assert_int_equal(brg_safetensors_header(entries, 2, &note, 1, &header, &size), BRG_OK);
    assert_int_equal(size % 8, 0);
    uint8_t *bytes = malloc(size + 34);
    assert_non_null(bytes);
    memcpy(bytes, header, size);
    for (uint8_t i = 0; i < 34; i++) bytes[size + i] = i;
    struct brg_safetensors s;
    assert_int_equal(brg_safetensors_parse("x", bytes, size + 34, &s, &why), BRG_OK);
    assert_int_equal(s.count, 2);
    const struct brg_safetensor *a = brg_safetensors_find(&s, "a.weight");
    const struct brg_safetensor *b = brg_safetensors_find(&s, "b \"quoted\"");
    assert_true(a != NULL && b != NULL);
    assert_null(brg_safetensors_find(&s, "c"));
    assert_int_equal(a->dims, 2);
    assert_int_equal(a->shape[1], 3);
    assert_int_equal(a->size_bytes, 24);
    assert_int_equal(b->dtype, BRG_WEIGHT_BF16);
    assert_int_equal(b->data[0], 24);
    assert_ptr_equal(b->data + b->size_bytes, bytes + size + 34);
    brg_safetensors_close(&s);
    free(bytes);
    free(header);
}

static void safetensors_broken_rule__is_named(void **state) {
    (void)state;
    const char *good = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ";
    assert_int_equal(parse(good, 8), BRG_OK);
    must_say(good, 7, "outside of the file");
    must_say(good, 9, "belong to none");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "hole");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
             8, "overlaps");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "another size");
    must_say("{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8,
             "whole number");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[4000000000000,4000000000000],"
             "\"data_offsets\":[0,8]}}",
             8, "larger than any file");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
             "more than 8");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
             "not described");
    must_say("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
             "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
             8, "twice");
    must_say("{\"__metadata__\":{\"n\":1}}", 0, "not a text");
    must_say("{\"a\":", 0, "no JSON");
    must_say("{} x", 0, "more follows");
    must_say("[]", 0, "pointer to it");
}

static void safetensors_length_beyond_the_file__is_refused(void **state) {
    (void)state;
    struct brg_safetensors s;
    uint8_t bytes[32] = {0};
    const uint64_t lengths[] = {0, 1, 25, 100000001, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memcpy(bytes, &lengths[i], 8);
        bytes[8] = '{';
        assert_int_equal(brg_safetensors_parse("x", bytes, sizeof bytes, &s, &why), BRG_ECORRUPT);
    }
    assert_int_equal(brg_safetensors_parse("x", bytes, 9, &s, &why), BRG_ECORRUPT);
    assert_int_equal(brg_safetensors_open("/nowhere/x.safetensors", &s, &why), BRG_ENOENT);
    brg_safetensors_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_written__read_back_with_every_byte_in_a_tensor),
        cmocka_unit_test(safetensors_broken_rule__is_named),
        cmocka_unit_test(safetensors_length_beyond_the_file__is_refused),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL) != 0;
}
