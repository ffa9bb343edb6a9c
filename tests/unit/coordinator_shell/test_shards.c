#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "model/export.h"
#include "model/safetensors.h"
#include "recovery/neighbours.h"
#include "tests/unit/coordinator_shell/shards_fixture.h"

static struct brg_shards *must_open(const struct brg_model_spec *model, uint64_t step) {
    struct brg_shards *s = NULL;
    struct brg_why why = {""};
    const int rc = brg_shards_open(folder, model, RUN, step, &s, &why);
    if (rc != BRG_OK) print_message("says: %s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    return s;
}

/* The state of stage `index` of `count` has every bit that was written, and the step's header. */
static void must_give(const struct brg_shards *s, const struct brg_model_spec *model,
                      uint32_t count, uint32_t index) {
    struct brg_stage stage;
    struct brg_shards_about a = *brg_shards_about_of(s);
    uint64_t size = 0;
    assert_int_equal(brg_stage_cut(model, count, index, &stage, NULL), BRG_OK);
    const struct brg_shards_wish wish = {.stage = &stage,
                                         .lineage = plain.lineage,
                                         .kinds = BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS,
                                         .moments = 2};
    uint8_t *expected = make_blob(&stage, &a, &plain, &size);
    assert_int_equal(brg_shards_state_bytes(&wish), size);
    uint8_t *blob = malloc(size);
    assert_non_null(blob);
    assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_OK);
    assert_memory_equal(blob, expected, size);
    free(blob);
    free(expected);
}

static void shards_read_with_any_cut__give_every_bit_back(void **state) {
    (void)state;
    static const uint32_t cuts[] = {1, 2, 3, 4, 6, 7};
    const struct brg_model_spec model = llama(0);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        const uint64_t step = 50 + i;
        assert_int_equal(save(step, cuts[i]), BRG_OK);
        struct brg_shards *s = must_open(&model, step);
        for (size_t j = 0; j < sizeof cuts / sizeof cuts[0]; j++)
            for (uint32_t stage = 0; stage < cuts[j]; stage++) must_give(s, &model, cuts[j], stage);
        brg_shards_close(&s);
    }
}

static void shards_about__comes_back_as_it_was_given(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    struct brg_shards_about wanted = describe(50, 3), stored;
    struct brg_shards_writer *w = NULL;
    wanted.created_ns = UINT64_C(1700000000123456789);
    assert_int_equal(brg_shards_begin(folder, &model, &wanted, &w, NULL), BRG_OK);
    for (uint32_t i = 0; i < 3; i++) {
        const struct brg_state_header h = {
            .lineage = 10 + i, .own_step = 20 + i, .lr_factor = 1.1 + i, .lr_version = 30 + i};
        assert_int_equal(brg_shards_has(w, i), 0);
        assert_int_equal(put_stage(w, &model, &wanted, i, &h, NULL), BRG_OK);
        assert_int_equal(brg_shards_has(w, i), 1);
    }
    assert_int_equal(brg_shards_finish(w, &stored, NULL), BRG_OK);
    brg_shards_abort(&w);
    assert_null(w);
    struct brg_shards *s = must_open(&model, 50);
    assert_memory_equal(brg_shards_about_of(s), &stored, sizeof stored);
    wanted.manifest = stored.manifest;
    assert_memory_equal(&wanted, &stored, sizeof stored);
    for (uint32_t i = 0; i < 3; i++) {
        const struct brg_shards_stage *stage = brg_shards_stage_of(s, i);
        assert_int_equal(stage->lineage, 10 + i);
        assert_int_equal(stage->own_step, 20 + i);
        assert_true(stage->lr_factor == 1.1 + i);
        assert_int_equal(stage->lr_version, 30 + i);
    }
    brg_shards_close(&s);
}

static void shards_file__is_a_safetensors_file_with_the_usual_names(void **state) {
    (void)state;
    char path[2 * FOLDER_PATH_BYTES];
    struct brg_safetensors f;
    struct brg_why why = {""};
    assert_int_equal(save(50, 3), BRG_OK);
    assert_int_equal(
        brg_safetensors_open(path_of(50, "stage-002-of-003.safetensors", path), &f, &why), BRG_OK);
    const struct brg_model_spec model = llama(0);
    const uint32_t all = brg_model_tensor_count(&model);
    uint32_t found = 0;
    for (uint32_t i = 0; i < all; i++) {
        struct brg_model_tensor t;
        brg_model_tensor(&model, i, &t);
        static const char *const before[] = {"", "optimizer.m.", "optimizer.v."};
        for (uint32_t v = 0; v < 3; v++) {
            char name[128];
            (void)snprintf(name, sizeof name, "%s%s", before[v], t.name);
            const struct brg_safetensor *have = brg_safetensors_find(&f, name);
            if (have == NULL) continue;
            assert_int_equal(have->size_bytes, (uint64_t)t.rows * t.cols * sizeof(float));
            float first = 0;
            memcpy(&first, have->data, sizeof first);
            assert_true(first == value_at(50, v, t.offset));
            found++;
        }
    }
    assert_int_equal(found, f.count);
    assert_non_null(brg_safetensors_find(&f, "lm_head.weight"));
    assert_non_null(brg_safetensors_find(&f, "optimizer.v.model.norm.weight"));
    assert_null(brg_safetensors_find(&f, "model.embed_tokens.weight"));
    brg_safetensors_close(&f);
}

static void shards_params__are_the_whole_vector(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    const uint64_t count = brg_model_param_count(&model);
    float *params = malloc(count * sizeof *params), *tensor = malloc(count * sizeof *tensor);
    assert_non_null(params);
    assert_non_null(tensor);
    assert_int_equal(save(50, 6), BRG_OK);
    struct brg_shards *s = must_open(&model, 50);
    brg_shards_params(s, params);
    for (uint64_t i = 0; i < count; i++) assert_true(params[i] == value_at(50, 0, i));
    const struct brg_export_source source = brg_shards_source(s);
    for (uint32_t i = 0; i < brg_model_tensor_count(&model); i++) {
        struct brg_model_tensor t;
        brg_model_tensor(&model, i, &t);
        assert_int_equal(source.read(source.context, i, &t, tensor, NULL), BRG_OK);
        assert_memory_equal(tensor, params + t.offset, (size_t)t.rows * t.cols * sizeof *tensor);
    }
    brg_shards_close(&s);
    free(params);
    free(tensor);
}

static void shards_exported__are_the_model_in_every_format(void **state) {
    (void)state;
    static const char *const names[] = {"hf", "model.gguf", "model.bin"};
    const struct brg_model_spec model = llama(0);
    const uint64_t count = brg_model_param_count(&model);
    float *back = malloc(count * sizeof *back);
    struct brg_tokenizer *bytes = NULL;
    struct brg_why why = {""};
    assert_non_null(back);
    assert_int_equal(brg_tokenizer_bytes(&bytes, &why), BRG_OK);
    assert_int_equal(save(50, 4), BRG_OK);
    struct brg_shards *s = must_open(&model, 50);
    for (uint32_t i = 0; i < 3; i++) {
        char path[FOLDER_PATH_BYTES + 16];
        struct brg_import *import = NULL;
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        const struct brg_export e = {.path = path,
                                     .format = BRG_FILE_HF + i,
                                     .dtype = BRG_WEIGHT_F32,
                                     .spec = &model,
                                     .tokenizer = bytes,
                                     .source = brg_shards_source(s)};
        assert_int_equal(brg_export_write(&e, &why), BRG_OK);
        assert_int_equal(brg_import_open(path, &import, &why), BRG_OK);
        assert_int_equal(brg_import_load(import, back, &why), BRG_OK);
        for (uint64_t j = 0; j < count; j++) assert_true(back[j] == value_at(50, 0, j));
        brg_import_close(import);
    }
    brg_tokenizer_destroy(bytes);
    brg_shards_close(&s);
    free(back);
}

static void shards_of_a_tied_model__have_one_stage(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(1);
    struct brg_shards_about a = describe(50, 1);
    struct brg_why why = {""};
    struct brg_shards_writer *w = NULL;
    assert_int_equal(save_about(&model, &a, &why), BRG_OK);
    struct brg_shards *s = must_open(&model, 50);
    must_give(s, &model, 1, 0);
    brg_shards_close(&s);
    a.stages = 2;
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, &why), BRG_EINVAL);
    assert_null(w);
    assert_non_null(strstr(why.text, "tied"));
}

static void shards_with_sgd__have_as_many_moments_as_it_keeps(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    for (uint32_t moments = 0; moments < 2; moments++) {
        struct brg_shards_about a = describe(50 + moments, 2);
        struct brg_stage stage;
        uint64_t size = 0;
        a.moments = moments;
        a.beta1 = a.beta2 = 0;
        assert_int_equal(save_about(&model, &a, NULL), BRG_OK);
        struct brg_shards *s = must_open(&model, 50 + moments);
        assert_int_equal(brg_stage_cut(&model, 3, 1, &stage, NULL), BRG_OK);
        struct brg_shards_wish wish = {.stage = &stage, .lineage = 2, .moments = moments};
        wish.kinds = BRG_STATE_WEIGHTS | (moments > 0 ? BRG_STATE_MOMENTS : 0u);
        uint8_t *expected = make_blob(&stage, &a, &plain, &size), *blob = malloc(3 * size);
        assert_non_null(blob);
        assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_OK);
        assert_memory_equal(blob, expected, size);
        wish.kinds = BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS;
        wish.moments = 2;
        assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_EINVAL);
        free(blob);
        free(expected);
        brg_shards_close(&s);
    }
}

static void shards_weights_alone__are_given_where_no_moments_are_wanted(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    struct brg_shards_about a = describe(50, 3);
    struct brg_stage stage;
    uint64_t size = 0;
    assert_int_equal(save(50, 3), BRG_OK);
    struct brg_shards *s = must_open(&model, 50);
    assert_int_equal(brg_stage_cut(&model, 2, 1, &stage, NULL), BRG_OK);
    const struct brg_shards_wish wish = {
        .stage = &stage, .lineage = 2, .kinds = BRG_STATE_WEIGHTS, .moments = 2};
    a.moments = 0;
    uint8_t *expected = make_blob(&stage, &a, &plain, &size), *blob = malloc(size);
    assert_non_null(blob);
    assert_int_equal(brg_shards_state_bytes(&wish), size);
    assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_OK);
    assert_memory_equal(blob, expected, size);
    free(blob);
    free(expected);
    brg_shards_close(&s);
}

/* Three stages, the middle one recovered lately, read as one. */
static void shards_of_different_ages__keep_what_adam_makes_of_them(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    const struct brg_shards_about a = describe(50, 3);
    const struct brg_state_header ages[] = {
        {.own_step = 50, .lr_factor = 1.0},
        {.own_step = 5, .lr_factor = 1.1, .lr_version = 45},
        {.own_step = 50, .lr_factor = 1.2, .lr_version = 10},
    };
    struct brg_shards_writer *w = NULL;
    struct brg_stage whole, middle;
    struct brg_state_header h;
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, NULL), BRG_OK);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(put_stage(w, &model, &a, i, &ages[i], NULL), BRG_OK);
    assert_int_equal(brg_shards_finish(w, NULL, NULL), BRG_OK);
    brg_shards_abort(&w);
    struct brg_shards *s = must_open(&model, 50);
    assert_int_equal(brg_stage_cut(&model, 1, 0, &whole, NULL), BRG_OK);
    assert_int_equal(brg_stage_cut(&model, 3, 1, &middle, NULL), BRG_OK);
    struct brg_shards_wish wish = {.stage = &whole,
                                   .lineage = 9,
                                   .kinds = BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS,
                                   .moments = 2};
    const uint64_t size = brg_shards_state_bytes(&wish), n = whole.param_count;
    uint8_t *blob = malloc(size);
    assert_non_null(blob);
    assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_OK);
    assert_int_equal(brg_state_read_header(blob, size, &h), BRG_OK);
    assert_int_equal(h.own_step, 5);
    assert_int_equal(h.lineage, 9);
    assert_true(brg_neighbours_lr(h.lr_factor, 50 - h.lr_version) == 1.0);
    const float *at = (const float *)(const void *)(blob + BRG_STATE_HEADER_BYTES);
    for (uint64_t i = 0; i < n; i++) assert_true(at[i] == value_at(50, 0, i));
    for (uint32_t v = 1; v < 3; v++) {
        const double beta = v == 1 ? a.beta1 : a.beta2;
        for (uint64_t i = 0; i < n; i++) {
            const int young = i >= middle.offset && i < middle.offset + middle.param_count;
            const double was = (double)value_at(50, v, i) / (1 - pow(beta, young ? 5 : 50));
            const double is = (double)at[v * n + i] / (1 - pow(beta, 5));
            assert_true(fabs(is - was) <= 1e-6 * fabs(was));
        }
    }
    /* Cut as it was, the young stage is what it was: bits, own step, factor. */
    wish.stage = &middle;
    assert_int_equal(brg_shards_state(s, &wish, blob, NULL), BRG_OK);
    assert_int_equal(brg_state_read_header(blob, brg_shards_state_bytes(&wish), &h), BRG_OK);
    assert_int_equal(h.own_step, 5);
    assert_true(h.lr_factor == 1.1);
    assert_int_equal(h.lr_version, 45);
    for (uint64_t i = 0; i < middle.param_count; i++)
        assert_true(at[middle.param_count + i] == value_at(50, 1, middle.offset + i));
    free(blob);
    brg_shards_close(&s);
}

static void shards_put_of_a_wrong_state__is_refused(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    const struct brg_shards_about a = describe(50, 2);
    struct brg_shards_about other = describe(49, 2);
    struct brg_shards_writer *w = NULL;
    struct brg_why why = {""};
    struct brg_stage stage;
    uint64_t size = 0;
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, NULL), BRG_OK);
    assert_int_equal(put_stage(w, &model, &other, 0, &plain, &why), BRG_EPROTO); /* step */
    assert_non_null(strstr(why.text, "version 49"));
    other = a;
    other.moments = 1;
    assert_int_equal(put_stage(w, &model, &other, 0, &plain, &why), BRG_EPROTO); /* size */
    const struct brg_state_header bad[] = {
        {.lr_factor = 0}, {.lr_factor = (double)NAN}, {.lr_factor = 1, .lr_version = 51}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(put_stage(w, &model, &a, 0, &bad[i], &why), BRG_EPROTO);
    assert_int_equal(brg_stage_cut(&model, 2, 0, &stage, NULL), BRG_OK);
    uint8_t *blob = make_blob(&stage, &a, &plain, &size);
    assert_int_equal(brg_shards_put(w, 0, blob, size - 4, &why), BRG_EPROTO);
    assert_int_equal(brg_shards_put(w, 0, blob, 10, &why), BRG_EPROTO);
    assert_int_equal(brg_shards_has(w, 0), 0);
    assert_int_equal(brg_shards_put(w, 0, blob, size, &why), BRG_OK);
    blob[0] ^= 1;
    assert_int_equal(brg_shards_put(w, 0, blob, size, &why), BRG_EPROTO);
    free(blob);
    brg_shards_abort(&w);
}

static void shards_begin_of_what_cannot_be__says_why(void **state) {
    (void)state;
    const struct brg_model_spec model = llama(0);
    struct brg_shards_writer *w = NULL;
    struct brg_why why = {""};
    struct brg_shards_about a = describe(50, 8); /* of 7 layers */
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "8 stages"));
    a = describe(50, 0);
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, &why), BRG_EINVAL);
    a = describe(50, 2);
    a.run = 0;
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, &why), BRG_EINVAL);
    a = describe(50, 2);
    assert_int_equal(brg_shards_begin("", &model, &a, &w, &why), BRG_EINVAL);
    memset(a.name, 'x', sizeof a.name);
    assert_int_equal(brg_shards_begin(folder, &model, &a, &w, &why), BRG_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
        TEST(shards_read_with_any_cut__give_every_bit_back),
        TEST(shards_about__comes_back_as_it_was_given),
        TEST(shards_file__is_a_safetensors_file_with_the_usual_names),
        TEST(shards_params__are_the_whole_vector),
        TEST(shards_exported__are_the_model_in_every_format),
        TEST(shards_of_a_tied_model__have_one_stage),
        TEST(shards_with_sgd__have_as_many_moments_as_it_keeps),
        TEST(shards_weights_alone__are_given_where_no_moments_are_wanted),
        TEST(shards_of_different_ages__keep_what_adam_makes_of_them),
        TEST(shards_put_of_a_wrong_state__is_refused),
        TEST(shards_begin_of_what_cannot_be__says_why),
    };
    return cmocka_run_group_tests_name("shards", tests, NULL, NULL) != 0;
}
