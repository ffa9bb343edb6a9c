/* test_tokenizer - splitting, merging, learning; files in and out; hostile files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/tokenizer.h"
#include "model/unicode.h"
#include "tests/unit/model/tokenizer_vectors.h"

#include <string.h>

static struct brg_why why;

static struct brg_tokenizer *train(uint32_t kind, uint32_t vocab, const void *text, size_t size) {
    const struct brg_tokenizer_train how = {.vocab = vocab, .kind = kind};
    struct brg_tokenizer *t = NULL;
    assert_int_equal(brg_tokenizer_train_on(&how, text, size, &t, &why), BRG_OK);
    return t;
}

static struct brg_token_list encode(const struct brg_tokenizer *t, const void *text, size_t size,
                                    uint32_t flags) {
    struct brg_token_list list = {.ids = NULL};
    struct brg_encoder *e = NULL;
    assert_int_equal(brg_encoder_create(t, &e), BRG_OK);
    assert_int_equal(brg_encoder_add(e, text, size, flags, &list), BRG_OK);
    brg_encoder_destroy(e);
    return list;
}

static void must_decode_to(const struct brg_tokenizer *t, const struct brg_token_list *list,
                           const uint8_t *text, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct brg_token token = brg_tokenizer_token(t, list->ids[i]);
        assert_true(token.size <= size - at);
        assert_memory_equal(token.bytes, text + at, token.size);
        at += token.size;
    }
    assert_int_equal(at, size);
}

static void compare_with_vector(uint32_t kind, const uint16_t *want, size_t count) {
    struct brg_tokenizer *t = train(kind, 400, vector_text, sizeof vector_text);
    struct brg_token_list got = encode(t, vector_text, sizeof vector_text, BRG_ENCODE_MARKS);
    for (size_t i = 0; i < got.count && i < count; i++)
        if (got.ids[i] != want[i]) fail_msg("token %zu is %u, not %u", i, got.ids[i], want[i]);
    assert_int_equal(got.count, count);
    must_decode_to(t, &got, vector_text, sizeof vector_text);
    free(got.ids);
    brg_tokenizer_destroy(t);
}

static void tokenizer_text_of_many_scripts__gives_the_ids_of_hugging_face(void **state) {
    (void)state;
    compare_with_vector(BRG_TOKENIZER_GPT2, vector_gpt2, sizeof vector_gpt2 / 2);
    compare_with_vector(BRG_TOKENIZER_LLAMA3, vector_llama3, sizeof vector_llama3 / 2);
    compare_with_vector(BRG_TOKENIZER_QWEN2, vector_qwen2, sizeof vector_qwen2 / 2);
}

/* `words`: the text with '|' where one word ends and the next begins. */
static void must_split(uint32_t kind, const char *words) {
    uint8_t text[256];
    size_t size = 0, at = 0;
    for (const char *w = words; *w != '\0'; w++)
        if (*w != '|') text[size++] = (uint8_t)*w;
    for (const char *w = words; *w != '\0'; w++) {
        const size_t want = strcspn(w, "|");
        assert_true(at < size);
        const size_t got = brg_tokenizer_split(kind, text + at, size - at);
        if (got != want) fail_msg("in '%s' a word of %zu bytes, not %zu", words, got, want);
        at += got;
        w += want;
        if (*w == '\0') break;
    }
    assert_int_equal(at, size);
}

static void tokenizer_words__end_where_the_pattern_says(void **state) {
    (void)state;
    must_split(BRG_TOKENIZER_GPT2, "It|'s| 12345|,| don|'t|!?|\n\n| x|  ");
    must_split(BRG_TOKENIZER_GPT2, "IT|'|S|   | y|'ll|'|LL|\t|z");
    must_split(BRG_TOKENIZER_LLAMA3, "IT|'S| |123|45|'lL| (|x|)\n\n|  \n|  | .\r\n|\ta");
    must_split(BRG_TOKENIZER_QWEN2, "a|1|2| |3|\n \n"); /* the last line end takes what is before */
}

static void tokenizer_bytes_that_are_no_text__come_back(void **state) {
    (void)state;
    uint8_t noise[5000];
    struct brg_prng g = {.state = 9};
    for (uint32_t kind = BRG_TOKENIZER_GPT2; kind <= BRG_TOKENIZER_QWEN2; kind++) {
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)(brg_prng_below(&g, 3) == 0 ? brg_prng_next(&g) : ' ' + i % 40);
        struct brg_tokenizer *t = train(kind, 300, noise, sizeof noise);
        struct brg_token_list list = encode(t, noise, sizeof noise, BRG_ENCODE_PLAIN);
        must_decode_to(t, &list, noise, sizeof noise);
        free(list.ids);
        brg_tokenizer_destroy(t);
    }
}

/* Long words go by the heap, short ones by looking: both merge in one order. */
static void tokenizer_long_word__merges_as_short_ones_do(void **state) {
    (void)state;
    char text[4096];
    struct brg_prng g = {.state = 4};
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + brg_prng_below(&g, 3));
    struct brg_tokenizer *t = train(BRG_TOKENIZER_GPT2, 400, text, sizeof text);
    struct brg_tokenizer_info info;
    brg_tokenizer_info_of(t, &info);
    assert_int_equal(info.vocab, 400);
    struct brg_token_list got = encode(t, text, sizeof text, BRG_ENCODE_PLAIN);
    /* By the definition: each merge in order of rank, from left to right, over the whole word. */
    uint32_t ids[sizeof text];
    size_t n = sizeof text;
    for (size_t i = 0; i < n; i++) ids[i] = brg_tokenizer_byte(t, (uint8_t)text[i]);
    const struct brg_merge *merges = brg_tokenizer_merges(t);
    for (uint32_t m = 0; m < info.merge_count; m++) {
        size_t out = 0;
        for (size_t i = 0; i < n; i++) {
            const int fits = i + 1 < n && ids[i] == merges[m].left && ids[i + 1] == merges[m].right;
            ids[out++] = fits ? merges[m].result : ids[i];
            i += (size_t)fits;
        }
        n = out;
    }
    assert_int_equal(got.count, n);
    assert_memory_equal(got.ids, ids, n * sizeof ids[0]);
    free(got.ids);
    brg_tokenizer_destroy(t);
}

static void tokenizer_training__takes_the_most_frequent_pair_first(void **state) {
    (void)state;
    const char *text = "abab abab xy xy xy xy aaaa"; /* ab 4, " x" 4, xy 4: lower numbers first */
    struct brg_tokenizer *t = train(BRG_TOKENIZER_GPT2, 262, text, strlen(text));
    const struct brg_merge *m = brg_tokenizer_merges(t);
    struct brg_tokenizer_info info;
    brg_tokenizer_info_of(t, &info);
    assert_int_equal(info.merge_count, 3);
    assert_int_equal(m[0].left, 3 + ' ');
    assert_int_equal(m[0].right, 3 + 'x');
    assert_int_equal(m[1].left, 3 + 'a');
    assert_int_equal(m[1].right, 3 + 'b');
    assert_int_equal(m[2].left, 259);
    assert_int_equal(m[2].right, 3 + 'y');
    brg_tokenizer_destroy(t);
    t = train(BRG_TOKENIZER_GPT2, 65536, text, strlen(text));
    brg_tokenizer_info_of(t, &info);
    assert_true(info.vocab < 280); /* no pair occurs twice any more */
    brg_tokenizer_destroy(t);
}

static void must_be_equal(const struct brg_tokenizer *a, const struct brg_tokenizer *b) {
    struct brg_digest x, y;
    brg_tokenizer_digest(a, &x);
    brg_tokenizer_digest(b, &y);
    assert_true(brg_digest_equal(&x, &y));
}

static void tokenizer_json__reads_back_the_same(void **state) {
    (void)state;
    for (uint32_t kind = BRG_TOKENIZER_GPT2; kind <= BRG_TOKENIZER_QWEN2; kind++) {
        struct brg_tokenizer *t = train(kind, 400, vector_text, sizeof vector_text), *again = NULL;
        char *json = NULL, *twice = NULL;
        size_t size = 0, size2 = 0;
        assert_int_equal(brg_tokenizer_json(t, &json, &size, &why), BRG_OK);
        assert_int_equal(brg_tokenizer_parse_json("t", (const uint8_t *)json, size, &again, &why),
                         BRG_OK);
        must_be_equal(t, again);
        assert_int_equal(brg_tokenizer_json(again, &twice, &size2, &why), BRG_OK);
        assert_string_equal(json, twice);
        free(json);
        free(twice);
        brg_tokenizer_destroy(t);
        brg_tokenizer_destroy(again);
    }
}

#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"

static void must_refuse(const char *json, int err, const char *words) {
    struct brg_tokenizer *t = NULL;
    const int rc = brg_tokenizer_parse_json("t", (const uint8_t *)json, strlen(json), &t, &why);
    assert_int_equal(rc, err);
    assert_null(t);
    if (strstr(why.text, words) == NULL) fail_msg("'%s' lacks '%s'", why.text, words);
}

static void tokenizer_json_of_another_kind__is_named(void **state) {
    (void)state;
    must_refuse("{}", BRG_ECORRUPT, "model");
    must_refuse("{\"model\":{\"type\":\"Unigram\"}}", BRG_EINVAL, "type BPE");
    must_refuse("{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"type\":\"BPE\"}}", BRG_EINVAL,
                "normalizer");
    must_refuse("{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true}}", BRG_EINVAL,
                "SentencePiece");
    must_refuse("{\"model\":{\"type\":\"BPE\"},\"pre_tokenizer\":{\"type\":\"Metaspace\"}}",
                BRG_EINVAL, "ByteLevel");
    must_refuse("{\"model\":{\"type\":\"BPE\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                "\"add_prefix_space\":true}}",
                BRG_EINVAL, "add_prefix_space");
    must_refuse("{\"model\":{\"type\":\"BPE\"}," LEVEL "}", BRG_ECORRUPT, "vocab");
    must_refuse("{\"model\":{\"type\":\"BPE\"," VOCAB "}," LEVEL "}", BRG_ECORRUPT, "merges");
    must_refuse("{\"model\":{" VOCAB ",\"merges\":[\"a c\"]}," LEVEL "}", BRG_ECORRUPT, "a c");
    must_refuse("{\"model\":{" VOCAB ",\"merges\":[\"ab\"]}," LEVEL "}", BRG_ECORRUPT, "no pair");
    must_refuse("{\"model\":{" VOCAB ",\"merges\":[\"a b\"]}," LEVEL "}", BRG_ECORRUPT,
                "byte 0x00");
    must_refuse("{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}," LEVEL "}", BRG_ECORRUPT,
                "no number in range");
    must_refuse("{\"model\":{\"vocab\":{\"a\":9999999999},\"merges\":[]}," LEVEL "}", BRG_ECORRUPT,
                "no number in range");
    must_refuse("{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}," LEVEL "}", BRG_ECORRUPT,
                "another, too");
}

static void tokenizer_marks_in_a_text__are_text_unless_asked_for(void **state) {
    (void)state;
    const char *text = "a<|endoftext|>b";
    struct brg_tokenizer *t = train(BRG_TOKENIZER_GPT2, 259, text, strlen(text));
    struct brg_token_list plain = encode(t, text, strlen(text), BRG_ENCODE_PLAIN);
    struct brg_token_list marks = encode(t, text, strlen(text), BRG_ENCODE_MARKS);
    assert_int_equal(plain.count, strlen(text));
    assert_int_equal(marks.count, 3);
    assert_int_equal(marks.ids[1], 2);
    free(plain.ids);
    free(marks.ids);
    brg_tokenizer_destroy(t);
}

static void tokenizer_bin__reads_back_pieces_and_scores(void **state) {
    (void)state;
    struct brg_tokenizer *t = train(BRG_TOKENIZER_GPT2, 300, vector_text, 2000), *again = NULL;
    uint8_t *bin = NULL, *twice = NULL;
    size_t size = 0, size2 = 0;
    assert_int_equal(brg_tokenizer_bin(t, 320, &bin, &size, &why), BRG_OK);
    assert_int_equal(brg_tokenizer_bin(t, 299, &twice, &size2, &why), BRG_EINVAL);
    if (brg_tokenizer_parse_bin("t", bin, size, &again, &why) != BRG_OK) fail_msg("%s", why.text);
    struct brg_tokenizer_info info;
    brg_tokenizer_info_of(again, &info);
    assert_int_equal(info.vocab, 320);
    assert_int_equal(brg_tokenizer_byte(again, 0xe4), 3 + 0xe4); /* what run.c falls back to */
    assert_true(brg_tokenizer_token(again, 259).score == -1.0f);
    assert_int_equal(brg_tokenizer_bin(again, 320, &twice, &size2, &why), BRG_OK);
    assert_int_equal(size, size2);
    assert_memory_equal(bin, twice, size);
    const char *text = "the darkness";
    struct brg_token_list list = encode(again, text, strlen(text), BRG_ENCODE_PLAIN);
    must_decode_to(again, &list, (const uint8_t *)" the darkness", strlen(text) + 1);
    free(list.ids);
    for (size_t cut = 0; cut < size; cut += 7) {
        struct brg_tokenizer *part = NULL;
        const int rc = brg_tokenizer_parse_bin("t", bin, cut, &part, &why);
        assert_true(rc == BRG_OK || rc == BRG_ECORRUPT);
        brg_tokenizer_destroy(part);
    }
    free(bin);
    free(twice);
    brg_tokenizer_destroy(t);
    brg_tokenizer_destroy(again);
}

static void tokenizer_bin_of_bytes__is_bytes_again(void **state) {
    (void)state;
    struct brg_tokenizer *t = NULL, *again = NULL;
    uint8_t *bin = NULL;
    size_t size = 0;
    assert_int_equal(brg_tokenizer_bytes(&t, &why), BRG_OK);
    assert_int_equal(brg_tokenizer_bin(t, 256, &bin, &size, &why), BRG_OK);
    assert_int_equal(brg_tokenizer_parse_bin("t", bin, size, &again, &why), BRG_OK);
    must_be_equal(t, again);
    free(bin);
    brg_tokenizer_destroy(t);
    brg_tokenizer_destroy(again);
}

static void unicode_classes__are_those_of_the_standard(void **state) {
    (void)state;
    const struct {
        uint32_t point, class_of;
    } known[] = {
        {'a', 1},     {'5', 2},    {' ', 3},      {'_', 0},        {0x85, 3},    {0xa0, 3},
        {0xaa, 1},    {0xb2, 2},   {0xbc, 2},     {0x301, 0},      {0x3b1, 1},   {0x660, 2},
        {0x2003, 3},  {0x200b, 0}, {0x2160, 2},   {0x3000, 3},     {0x4e00, 1},  {0x9fff, 1},
        {0xac00, 1},  {0xd7a3, 1}, {0xfeff, 0},   {0x1f600, 0},    {0x20000, 1}, {0x2a6df, 1},
        {0x2a6e0, 0}, {0xe000, 0}, {0x10ffff, 0}, {UINT32_MAX, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (brg_unicode_class_of(known[i].point) != known[i].class_of)
            fail_msg("U+%04X is of another class", known[i].point);
}

static void unicode_sequences__are_taken_as_the_standard_says(void **state) {
    (void)state;
    const struct {
        const char *text;
        uint32_t point, bytes;
    } known[] = {
        {"\xc3\xa9", 0xe9, 2},
        {"\xe2\x82\xac", 0x20ac, 3},
        {"\xf0\x9f\x98\x80", 0x1f600, 4},
        {"\xc0\x80", 0xfffd, 1},
        {"\xe0\x80\x80", 0xfffd, 1},
        {"\xed\xa0\x80", 0xfffd, 1},
        {"\xf4\x90\x80\x80", 0xfffd, 1},
        {"\xe2\x82", 0xfffd, 1},
        {"\x80", 0xfffd, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t bytes = 0;
        const uint8_t *text = (const uint8_t *)known[i].text;
        assert_int_equal(brg_unicode_take(text, strlen(known[i].text), &bytes), known[i].point);
        assert_int_equal(bytes, known[i].bytes);
    }
    for (uint32_t p = 0; p <= 0x10ffff; p += p < 0x900 ? 1 : 97) {
        uint8_t out[4];
        uint32_t bytes = 0;
        if (p >= 0xd800 && p < 0xe000) continue;
        const uint32_t n = brg_unicode_put(p, out);
        assert_int_equal(brg_unicode_take(out, n, &bytes), p);
        assert_int_equal(bytes, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_text_of_many_scripts__gives_the_ids_of_hugging_face),
        cmocka_unit_test(tokenizer_words__end_where_the_pattern_says),
        cmocka_unit_test(tokenizer_bytes_that_are_no_text__come_back),
        cmocka_unit_test(tokenizer_long_word__merges_as_short_ones_do),
        cmocka_unit_test(tokenizer_training__takes_the_most_frequent_pair_first),
        cmocka_unit_test(tokenizer_json__reads_back_the_same),
        cmocka_unit_test(tokenizer_json_of_another_kind__is_named),
        cmocka_unit_test(tokenizer_marks_in_a_text__are_text_unless_asked_for),
        cmocka_unit_test(tokenizer_bin__reads_back_pieces_and_scores),
        cmocka_unit_test(tokenizer_bin_of_bytes__is_bytes_again),
        cmocka_unit_test(unicode_classes__are_those_of_the_standard),
        cmocka_unit_test(unicode_sequences__are_taken_as_the_standard_says),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL) != 0;
}
