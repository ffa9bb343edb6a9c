/* What a run begins with: model.from in the run file, and its copy in the run's folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "coordinator/shell/runfile.h"
#include "coordinator/shell/start.h"
#include "model/dtype.h"
#include "model/export.h"
#include "model/model.h"
#include "tests/unit/coordinator_shell/folder.h"

#define PARAMS_MAX 8192u

static char folder[FOLDER_PATH_BYTES];
static struct brg_run_config config;
static struct brg_run_faults faults;

static const struct brg_model_spec spec = {
    .type = BRG_MODEL_LLAMA,
    .dim = 8,
    .layers = 1,
    .heads = 2,
    .kv_heads = 1,
    .hidden = 12, /* no multiple of 8: allowed in a model that exists */
    .context = 32,
    .vocab = 256,
    .tied = 0,
    .rope_theta = 5e5f,
    .norm_eps = 1e-6f,
    .rope_scaling = {.type = BRG_ROPE_LLAMA3,
                     .factor = 8,
                     .low_freq = 1,
                     .high_freq = 4,
                     .original_context = 16},
};

/* A Hugging Face folder FOLDER/NAME with the parameters that `seed` gives. */
static void write_model(const char *name, uint64_t seed, float *params) {
    char path[FOLDER_PATH_BYTES + 32];
    struct brg_tokenizer *bytes = NULL;
    struct brg_why why;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(brg_tokenizer_bytes(&bytes, &why), BRG_OK);
    brg_model_init(&spec, seed, params);
    const struct brg_export e = {.path = path,
                                 .format = BRG_FILE_HF,
                                 .dtype = BRG_WEIGHT_F32,
                                 .spec = &spec,
                                 .tokenizer = bytes,
                                 .source = brg_export_params(params)};
    assert_int_equal(brg_export_write(&e, &why), BRG_OK);
    brg_tokenizer_destroy(bytes);
}

static int parse(const char *model, uint32_t flags) {
    char text[2048];
    (void)snprintf(text, sizeof text,
                   "run: tune\nmodel: {%s}\ndata: {train: text.txt, held_out: 0%%}\n"
                   "batch: {sequences: 4, chunks: 4}\noptimizer: {lr: 1e-3}\nsteps: 5\n"
                   "workers: 4\n",
                   model);
    return brg_runfile_parse(text, strlen(text), folder, flags, &config, &faults);
}

static int setup(void **state) {
    static float params[PARAMS_MAX];
    char path[FOLDER_PATH_BYTES + 32];
    folder_make(folder);
    assert_true(brg_model_param_count(&spec) <= sizeof params / sizeof params[0]);
    write_model("model", 1, params);
    (void)snprintf(path, sizeof path, "%s/text.txt", folder);
    assert_int_equal(brg_file_write_atomic(path, 0600, "0123456789", 10), BRG_OK);
    *state = params;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    folder_remove(folder);
    return 0;
}

static void says(const char *key, const char *words) {
    assert_true(faults.count > 0);
    if (strcmp(faults.items[0].key, key) != 0 || strstr(faults.items[0].text, words) == NULL) {
        brg_run_faults_print(&faults, "run", stderr);
        fail();
    }
}

static void from_alone__takes_every_size_of_the_model(void **state) {
    (void)state;
    assert_int_equal(parse("from: model", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    assert_memory_equal(&config.model, &spec, sizeof spec);
    assert_int_equal(parse("from: model, context: 16", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    assert_int_equal(config.model.context, 16);
}

static void from_written_out__is_read_again_without_the_model(void **state) {
    (void)state;
    char *text = NULL, path[FOLDER_PATH_BYTES + 32];
    assert_int_equal(parse("from: model, context: 16", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    const struct brg_run_config first = config;
    assert_int_equal(brg_run_config_text(&first, &text), BRG_OK);
    (void)snprintf(path, sizeof path, "%s/model/config.json", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(
        brg_runfile_parse(text, strlen(text), NULL, BRG_RUNFILE_OFFLINE, &config, &faults), BRG_OK);
    assert_memory_equal(&config, &first, sizeof first);
    assert_int_equal(
        brg_runfile_parse(text, strlen(text), NULL, BRG_RUNFILE_CHECK_FILES, &config, &faults),
        BRG_EINVAL);
    says("model.from", "config.json");
    free(text);
}

static void from_contradicted__is_one_fault_at_that_key(void **state) {
    (void)state;
    assert_int_equal(parse("from: model, dim: 16", BRG_RUNFILE_OFFLINE), BRG_EINVAL);
    says("model.dim", "contradicts model.from, whose model has 8");
    assert_int_equal(parse("from: model, context: 64", BRG_RUNFILE_OFFLINE), BRG_EINVAL);
    says("model.context", "is more than the 32");
    assert_int_equal(parse("from: model, rope_factor: 2", BRG_RUNFILE_OFFLINE), BRG_EINVAL);
    says("model.rope_factor", "contradicts");
    assert_int_equal(parse("from: nothing", BRG_RUNFILE_OFFLINE), BRG_EINVAL);
    says("model.from", "nothing");
    assert_int_equal(faults.count, 1);
}

static void scaling_by_hand__needs_its_numbers(void **state) {
    (void)state;
    const char *sizes = "type: llama, dim: 8, layers: 1, heads: 2, context: 8";
    char text[256];
    (void)snprintf(text, sizeof text, "%s, rope_scaling: linear, rope_factor: 4", sizes);
    assert_int_equal(parse(text, BRG_RUNFILE_OFFLINE), BRG_OK);
    assert_int_equal(config.model.rope_scaling.type, BRG_ROPE_LINEAR);
    (void)snprintf(text, sizeof text, "%s, rope_scaling: llama3, rope_factor: 4", sizes);
    assert_int_equal(parse(text, BRG_RUNFILE_OFFLINE), BRG_EINVAL);
    says("model.rope_low_freq", "is missing");
    (void)snprintf(text, sizeof text, "%s, rope_factor: 4", sizes);
    assert_int_equal(parse(text, BRG_RUNFILE_OFFLINE), BRG_EINVAL);
    says("model.rope_factor", "no effect where model.rope_scaling is none");
}

static void start_copied__does_not_need_the_model_any_more(void **state) {
    const float *want = *state;
    const struct brg_start_place place = {.folder = folder, .run = 3};
    const size_t size = brg_model_param_count(&spec) * sizeof *want;
    static float got[PARAMS_MAX];
    char path[FOLDER_PATH_BYTES + 48];
    struct brg_why why;
    struct brg_start start = {.params = {{0}}}, none = start;
    assert_int_equal(parse("from: model", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    assert_int_equal(brg_start_params(&place, &config, &start, got, &why), BRG_OK);
    assert_memory_equal(got, want, size);
    assert_false(brg_digest_equal(&start.params, &none.params));

    (void)snprintf(path, sizeof path, "%s/model/model.safetensors", folder);
    assert_int_equal(unlink(path), 0);
    memset(got, 0, sizeof got);
    assert_int_equal(brg_start_params(&place, &config, &start, got, &why), BRG_OK);
    assert_memory_equal(got, want, size);
}

/* The copy is damaged: the model mends it while it is the same, and only then. */
static void start_damaged__is_refused_unless_the_model_is_the_same(void **state) {
    const float *want = *state;
    const struct brg_start_place place = {.folder = folder, .run = 3};
    static float got[PARAMS_MAX], other[PARAMS_MAX];
    char path[FOLDER_PATH_BYTES + 48];
    struct brg_why why;
    struct brg_start start = {.params = {{0}}};
    assert_int_equal(parse("from: model", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    assert_int_equal(brg_start_params(&place, &config, &start, got, &why), BRG_OK);
    (void)snprintf(path, sizeof path, "%s/start.bin", folder);
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(brg_start_params(&place, &config, &start, got, &why), BRG_OK);
    assert_memory_equal(got, want, brg_model_param_count(&spec) * sizeof *want);

    assert_int_equal(unlink(path), 0);
    write_model("other", 2, other);
    (void)snprintf(config.model_from, sizeof config.model_from, "%.400s/other", folder);
    assert_int_equal(brg_start_params(&place, &config, &start, got, &why), BRG_ECORRUPT);
    assert_non_null(strstr(why.text, "does not hold the parameters that the run began with"));
}

static void start_of_another_model__is_refused(void **state) {
    (void)state;
    const struct brg_start_place place = {.folder = folder, .run = 3};
    static float got[PARAMS_MAX];
    struct brg_why why;
    struct brg_start start = {.params = {{0}}};
    assert_int_equal(parse("from: model", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    config.model.rope_theta = 1e4f;
    assert_int_equal(brg_start_params(&place, &config, &start, got, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "is another model than when the run was submitted"));
}

static void tokenizer_of_the_model__is_copied_and_held_to(void **state) {
    (void)state;
    const struct brg_start_place place = {.folder = folder, .run = 3};
    struct brg_tokenizer *t = NULL;
    struct brg_why why;
    struct brg_digest got;
    struct brg_start start = {.params = {{0}}};
    assert_int_equal(parse("from: model", BRG_RUNFILE_CHECK_FILES), BRG_OK);
    assert_int_equal(brg_start_tokenizer_open(folder, &t, &why), BRG_ENOENT);
    assert_int_equal(brg_start_tokenizer(&place, &config, &start, &why), BRG_OK);
    assert_int_equal(brg_start_tokenizer_open(folder, &t, &why), BRG_OK);
    brg_tokenizer_digest(t, &got);
    brg_tokenizer_destroy(t);
    assert_true(brg_digest_equal(&got, &start.tokenizer));
    start.tokenizer.bytes[0] ^= 1;
    assert_int_equal(brg_start_tokenizer(&place, &config, &start, &why), BRG_ECORRUPT);
    assert_non_null(strstr(why.text, "is not the one that the run began with"));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(from_alone__takes_every_size_of_the_model),
        CASE(from_written_out__is_read_again_without_the_model),
        CASE(from_contradicted__is_one_fault_at_that_key),
        CASE(scaling_by_hand__needs_its_numbers),
        CASE(start_copied__does_not_need_the_model_any_more),
        CASE(start_damaged__is_refused_unless_the_model_is_the_same),
        CASE(start_of_another_model__is_refused),
        CASE(tokenizer_of_the_model__is_copied_and_held_to),
    };
    return cmocka_run_group_tests_name("start", tests, NULL, NULL) != 0;
}
