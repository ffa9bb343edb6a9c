/* test_prepare_tokens - documents, end marks and lines of JSON become shards that a run opens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/prepare_tokens.h"

#include <string.h>
#include <unistd.h>

static struct brg_data_error error;
static struct brg_prepare_report report;

static const char *const names[] = {"a.txt",       "b.jsonl",  "out_train.bin",
                                    "out_val.bin", "out.json", "out.tokenizer.json"};

struct fixture {
    char dir[48], a[64], b[64], prefix[64];
    struct brg_tokenizer *tokenizer;
};

static struct fixture fixture_new(const char *a, const char *b) {
    const struct brg_tokenizer_train how = {.vocab = 259, .kind = BRG_TOKENIZER_GPT2};
    struct fixture f = {.dir = "/tmp/brg_tokensXXXXXX"};
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.a, sizeof f.a, "%s/a.txt", f.dir);
    (void)snprintf(f.b, sizeof f.b, "%s/b.jsonl", f.dir);
    (void)snprintf(f.prefix, sizeof f.prefix, "%s/out", f.dir);
    assert_int_equal(brg_file_write_atomic(f.a, 0644, a, strlen(a)), BRG_OK);
    assert_int_equal(brg_file_write_atomic(f.b, 0644, b, strlen(b)), BRG_OK);
    assert_int_equal(brg_tokenizer_train_on(&how, (const uint8_t *)"x", 1, &f.tokenizer, NULL),
                     BRG_OK);
    return f;
}

static void fixture_drop(struct fixture *f) {
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    brg_tokenizer_destroy(f->tokenizer);
}

static int prepare(const struct fixture *f, double held_out) {
    const char *inputs[] = {f->a, f->b};
    const struct brg_prepare_texts texts = {
        .inputs = inputs, .input_count = 2, .prefix = f->prefix, .held_out = held_out};
    return brg_prepare_tokens(&texts, f->tokenizer, &report, &error);
}

static void prepare_documents__are_joined_with_end_marks_and_split(void **state) {
    (void)state;
    struct fixture f = fixture_new("ab", "{\"text\": \"c\\n<|endoftext|>\"}\n\n{\"text\":\"d\"}");
    struct brg_data_spec spec = {.format = BRG_DATA_SHARD};
    struct brg_data d;
    if (prepare(&f, 0.25) != BRG_OK) fail_msg("%s", error.text);
    memcpy(spec.train, report.train, sizeof spec.train);
    memcpy(spec.test, report.held, sizeof spec.test);
    assert_int_equal(brg_data_open(&spec, &d, &error), BRG_OK);
    const char *want = "ab\1c\n<|endoftext|>\1d\1"; /* \1: the end mark, token 2 */
    assert_int_equal(d.train.count + d.held.count, strlen(want));
    assert_int_equal(d.held.count, 5);
    for (uint64_t i = 0; i < strlen(want); i++) {
        const int is_held = i >= d.train.count;
        const uint8_t *at =
            is_held ? d.held.values + 2 * (i - d.train.count) : d.train.values + 2 * i;
        const uint32_t token = (uint32_t)(at[0] | at[1] << 8);
        assert_int_equal(token, want[i] == 1 ? 2 : 3 + (uint8_t)want[i]);
    }
    brg_data_close(&d);
    fixture_drop(&f);
}

static void prepare_line_that_is_no_document__is_named(void **state) {
    (void)state;
    const char *const lines[] = {"{\"text\":\"a\"}\n{\"txt\":\"b\"}", "{\"text\":\"a\"}\nnone",
                                 "\n{\"text\": 5}"};
    for (size_t i = 0; i < 3; i++) {
        struct fixture f = fixture_new("ab", lines[i]);
        assert_int_equal(prepare(&f, 0), BRG_ECORRUPT);
        assert_non_null(strstr(error.text, "line 2 "));
        fixture_drop(&f);
    }
}

static void prepare_tokens_too_few_to_hold_out__is_refused(void **state) {
    (void)state;
    struct fixture f = fixture_new("ab", "");
    assert_int_equal(prepare(&f, 0.01), BRG_EINVAL);
    assert_int_equal(prepare(&f, 0.6), BRG_EINVAL);
    fixture_drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepare_documents__are_joined_with_end_marks_and_split),
        cmocka_unit_test(prepare_line_that_is_no_document__is_named),
        cmocka_unit_test(prepare_tokens_too_few_to_hold_out__is_refused),
    };
    return cmocka_run_group_tests_name("prepare_tokens", tests, NULL, NULL) != 0;
}
