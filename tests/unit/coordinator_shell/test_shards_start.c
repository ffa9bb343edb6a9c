/* The checkpoint of step 0: from the seed, or from a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/dtype.h"
#include "model/export.h"
#include "tests/unit/coordinator_shell/shards_fixture.h"

static struct brg_run_config config;

static int setup(void **state) {
    memset(&config, 0, sizeof config);
    (void)snprintf(config.name, sizeof config.name, "line");
    config.models = 1;
    config.seed = 5;
    config.sweep.seed[0] = 77;
    config.model = llama(0);
    config.optimizer.type = BRG_OPTIMIZER_ADAMW;
    config.optimizer.beta1 = 0.9f;
    config.optimizer.beta2 = 0.95f;
    return make_folder(state);
}

static int start(uint32_t stages, struct brg_start *known, struct brg_why *why) {
    const struct brg_shards_about a = brg_shards_describe(&config, RUN, 0, stages);
    return brg_shards_start(folder, &config, &a, known, why);
}

static float *must_read(struct brg_shards **out) {
    float *params = malloc(brg_model_param_count(&config.model) * sizeof *params);
    assert_non_null(params);
    assert_int_equal(brg_shards_newest(folder, &config.model, RUN, 0, out, NULL), BRG_OK);
    brg_shards_params(*out, params);
    return params;
}

static void shards_start_from_seed__is_what_the_seed_draws(void **state) {
    (void)state;
    const uint64_t count = brg_model_param_count(&config.model);
    struct brg_start known = {.params = {{0}}};
    struct brg_digest digest;
    struct brg_shards *s = NULL;
    struct brg_stage stage;
    struct brg_state_header h;
    float *expected = malloc(count * sizeof *expected);
    assert_non_null(expected);
    brg_model_init(&config.model, 77, expected);
    assert_int_equal(start(3, &known, NULL), BRG_OK);
    brg_digest_of(expected, count * sizeof *expected, &digest);
    assert_memory_equal(&digest, &known.params, sizeof digest);
    float *params = must_read(&s);
    assert_memory_equal(params, expected, count * sizeof *params);

    /* Moments that are not in the files are wanted all the same: they are zero. */
    assert_int_equal(brg_stage_cut(&config.model, 2, 1, &stage, NULL), BRG_OK);
    const struct brg_shards_wish wish = {
        .stage = &stage, .kinds = BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS, .moments = 2};
    const uint64_t size = brg_shards_state_bytes(&wish);
    uint8_t *blob = malloc(size);
    assert_non_null(blob);
    assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_OK);
    assert_int_equal(brg_state_read_header(blob, size, &h), BRG_OK);
    assert_int_equal(h.version, 0);
    assert_int_equal(h.own_step, 0);
    assert_true(h.lr_factor == 1.0);
    const float *at = (const float *)(const void *)(blob + BRG_STATE_HEADER_BYTES);
    assert_memory_equal(at, expected + stage.offset, stage.param_count * sizeof *at);
    for (uint64_t i = 0; i < 2 * stage.param_count; i++)
        assert_true(at[stage.param_count + i] == 0.0f);
    free(blob);
    free(params);
    free(expected);
    brg_shards_close(&s);
}

static void shards_start_with_another_cut__takes_what_is_there(void **state) {
    (void)state;
    struct brg_start known = {.params = {{0}}}, first;
    struct brg_shards *s = NULL;
    assert_int_equal(start(3, &known, NULL), BRG_OK);
    first = known;
    assert_int_equal(start(6, &known, NULL), BRG_OK);
    assert_memory_equal(&first, &known, sizeof known);
    free(must_read(&s));
    assert_int_equal(brg_shards_about_of(s)->stages, 3);
    brg_shards_close(&s);
}

static void shards_start_that_is_damaged__is_made_again(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    struct brg_start known = {.params = {{0}}};
    struct brg_shards *s = NULL;
    assert_int_equal(start(3, &known, NULL), BRG_OK);
    folder_flip_bit(path_of(0, "stage-001-of-003.safetensors", path), 5000);
    assert_int_equal(brg_shards_open(folder, &config.model, RUN, 0, &s, NULL), BRG_ECORRUPT);
    assert_int_equal(start(3, &known, NULL), BRG_OK);
    free(must_read(&s));
    brg_shards_close(&s);
}

static void shards_start_that_differs_from_the_first__is_refused(void **state) {
    (void)state;
    struct brg_start known = {.params = {{0}}};
    struct brg_why why = {""};
    assert_int_equal(start(3, &known, NULL), BRG_OK);
    known.params.bytes[3] ^= 1; /* the run began with something else */
    assert_int_equal(start(3, &known, &why), BRG_ECORRUPT);
    assert_non_null(strstr(why.text, "began with"));
    struct brg_shards *s = NULL;
    assert_int_equal(brg_shards_newest(folder, &config.model, RUN, 0, &s, NULL), BRG_ENOENT);
}

static void shards_start_from_a_model__is_that_model(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES - 64];
    struct brg_tokenizer *bytes = NULL;
    struct brg_why why = {""};
    struct brg_shards *s = NULL;
    struct brg_start known = {.params = {{0}}};
    const uint64_t count = brg_model_param_count(&config.model);
    float *expected = malloc(count * sizeof *expected);
    assert_non_null(expected);
    brg_model_init(&config.model, 1234, expected);
    (void)snprintf(path, sizeof path, "%.400s/model", folder);
    assert_int_equal(brg_tokenizer_bytes(&bytes, &why), BRG_OK);
    const struct brg_export e = {.path = path,
                                 .format = BRG_FILE_HF,
                                 .dtype = BRG_WEIGHT_F32,
                                 .spec = &config.model,
                                 .tokenizer = bytes,
                                 .source = brg_export_params(expected)};
    assert_int_equal(brg_export_write(&e, &why), BRG_OK);
    brg_tokenizer_destroy(bytes);
    (void)snprintf(config.model_from, sizeof config.model_from, "%.440s", path);
    assert_int_equal(start(3, &known, &why), BRG_OK);
    float *params = must_read(&s);
    assert_memory_equal(params, expected, count * sizeof *params);
    free(params);
    free(expected);
    brg_shards_close(&s);

    /* Once there, the operator's files are not needed any more. */
    folder_remove(path);
    assert_int_equal(start(3, &known, &why), BRG_OK);
    assert_int_equal(brg_checkpoint_delete(folder, 0, &why), BRG_OK);
    assert_int_equal(start(3, &known, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "model"));
}

static void shards_start_from_another_model__is_refused(void **state) {
    (void)state;
    char path[FOLDER_PATH_BYTES - 64];
    struct brg_tokenizer *bytes = NULL;
    struct brg_why why = {""};
    struct brg_start known = {.params = {{0}}};
    struct brg_model_spec other = config.model;
    other.hidden = 16;
    float *params = malloc(brg_model_param_count(&other) * sizeof *params);
    assert_non_null(params);
    brg_model_init(&other, 1234, params);
    (void)snprintf(path, sizeof path, "%.400s/model", folder);
    assert_int_equal(brg_tokenizer_bytes(&bytes, &why), BRG_OK);
    const struct brg_export e = {.path = path,
                                 .format = BRG_FILE_HF,
                                 .dtype = BRG_WEIGHT_F32,
                                 .spec = &other,
                                 .tokenizer = bytes,
                                 .source = brg_export_params(params)};
    assert_int_equal(brg_export_write(&e, &why), BRG_OK);
    brg_tokenizer_destroy(bytes);
    free(params);
    (void)snprintf(config.model_from, sizeof config.model_from, "%.440s", path);
    assert_int_equal(start(3, &known, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "another model"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, remove_folder)
        TEST(shards_start_from_seed__is_what_the_seed_draws),
        TEST(shards_start_with_another_cut__takes_what_is_there),
        TEST(shards_start_that_is_damaged__is_made_again),
        TEST(shards_start_that_differs_from_the_first__is_refused),
        TEST(shards_start_from_a_model__is_that_model),
        TEST(shards_start_from_another_model__is_refused),
    };
    return cmocka_run_group_tests_name("shards_start", tests, NULL, NULL) != 0;
}
