/* test_hf_config - config.json round trips, and what cannot be computed is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/dtype.h"
#include "model/hf_config.h"
#include "model/infer_rope.h"

#include <math.h>
#include <string.h>

static struct brg_why why;
static struct brg_hf_config config;

#define SIZES                                                                                      \
    "\"model_type\":\"llama\",\"hidden_size\":16,\"num_hidden_layers\":2,"                         \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":32,"                \
    "\"vocab_size\":300"

static int parse(const char *text) {
    why.text[0] = '\0';
    return brg_hf_config_parse("c", (const uint8_t *)text, strlen(text), &config, &why);
}

static void must_say(const char *text, int err, const char *words) {
    assert_int_equal(parse(text), err);
    if (strstr(why.text, words) == NULL) fail_msg("'%s' lacks '%s'", why.text, words);
}

static void hf_config_defaults__are_those_of_the_format(void **state) {
    (void)state;
    assert_int_equal(parse("{" SIZES "}"), BRG_OK);
    assert_true(config.spec.norm_eps == 1e-6f && config.spec.rope_theta == 10000.0f);
    assert_int_equal(config.spec.context, 2048);
    assert_int_equal(config.spec.tied, 0);
    assert_int_equal(config.bos, BRG_HF_NO_TOKEN);
}

static void hf_config_written__reads_back_to_the_bit(void **state) {
    (void)state;
    struct brg_hf_config c = {.bos = 1, .eos = BRG_HF_NO_TOKEN, .dtype = BRG_WEIGHT_BF16};
    c.spec = (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                     .dim = 64,
                                     .layers = 3,
                                     .heads = 4,
                                     .kv_heads = 1,
                                     .hidden = 96,
                                     .context = 128,
                                     .vocab = 512,
                                     .tied = 1,
                                     .rope_theta = 500000.1f,
                                     .norm_eps = 1.1e-5f,
                                     .rope_scaling = {.type = BRG_ROPE_LLAMA3,
                                                      .factor = 8.3f,
                                                      .low_freq = 1,
                                                      .high_freq = 4,
                                                      .original_context = 64}};
    for (uint32_t type = BRG_ROPE_PLAIN; type <= BRG_ROPE_LLAMA3; type++) {
        char *text = NULL;
        c.spec.rope_scaling.type = type;
        if (type == BRG_ROPE_PLAIN) c.spec.rope_scaling.factor = 0;
        struct brg_rope_scaling want = {.type = type, .factor = c.spec.rope_scaling.factor};
        if (type == BRG_ROPE_LLAMA3) want = c.spec.rope_scaling;
        assert_int_equal(brg_hf_config_text(&c, &text), BRG_OK);
        assert_int_equal(parse(text), BRG_OK);
        assert_memory_equal(&config.spec.rope_scaling, &want, sizeof want);
        config.spec.rope_scaling = c.spec.rope_scaling;
        assert_memory_equal(&config.spec, &c.spec, sizeof c.spec);
        assert_true(config.bos == 1 && config.eos == BRG_HF_NO_TOKEN &&
                    config.dtype == BRG_WEIGHT_BF16);
        free(text);
        c.spec.rope_scaling.factor = 8.3f;
    }
}

static void hf_config_that_cannot_be_computed__is_named(void **state) {
    (void)state;
    must_say("{\"model_type\":\"gemma\"}", BRG_EINVAL, "gemma");
    must_say("{}", BRG_EINVAL, "model_type");
    must_say("{" SIZES ",\"hidden_act\":\"gelu\"}", BRG_EINVAL, "hidden_act");
    must_say("{" SIZES ",\"attention_bias\":true}", BRG_EINVAL, "attention_bias");
    must_say("{" SIZES ",\"head_dim\":8}", BRG_EINVAL, "head_dim");
    must_say("{" SIZES ",\"quantization_config\":{}}", BRG_EINVAL, "quantized");
    must_say("{" SIZES ",\"rope_scaling\":{\"rope_type\":\"yarn\"}}", BRG_EINVAL, "yarn");
    must_say("{" SIZES ",\"rope_scaling\":{\"rope_type\":\"linear\"}}", BRG_EINVAL, "factor");
    must_say("{" SIZES ",\"rms_norm_eps\":\"x\"}", BRG_ECORRUPT, "rms_norm_eps");
    must_say("{" SIZES ",\"vocab_size\":300}", BRG_ECORRUPT, "twice");
    must_say("{" SIZES ",\"bos_token_id\":-1}", BRG_ECORRUPT, "bos_token_id");
    must_say("{\"model_type\":\"llama\"}", BRG_EINVAL, "hidden_size is missing");
    assert_int_equal(parse("{" SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}"),
                     BRG_OK);
    assert_int_equal(
        parse("{" SIZES ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7e4}}"),
        BRG_OK);
    assert_true(config.spec.rope_theta == 7e4f);
}

/* Against the formula of the paper, for angles on each side of the ramp. */
static void rope_llama3_scaling__keeps_fast_angles_and_divides_slow_ones(void **state) {
    (void)state;
    struct brg_model_spec s = {.type = BRG_MODEL_LLAMA,
                               .dim = 128,
                               .heads = 1,
                               .context = 3,
                               .rope_theta = 500000.0f,
                               .rope_scaling = {.type = BRG_ROPE_LLAMA3,
                                                .factor = 8,
                                                .low_freq = 1,
                                                .high_freq = 4,
                                                .original_context = 8192}};
    float cosines[3 * 64], sines[3 * 64];
    assert_true(brg_infer_rope_divisor(&s, 0) == 1.0);
    assert_true(brg_infer_rope_divisor(&s, 63) == 8.0);
    double before = 1;
    for (uint32_t i = 0; i < 64; i++) {
        const double d = brg_infer_rope_divisor(&s, i);
        assert_true(d >= before && d <= 8.0);
        before = d;
    }
    brg_infer_rope_table(&s, cosines, sines);
    const double angle = 2 * pow(500000.0, -2.0 * 63 / 128) / 8;
    assert_true(fabs((double)sines[2 * 64 + 63] - sin(angle)) < 1e-9);
    s.rope_scaling = (struct brg_rope_scaling){.type = BRG_ROPE_LINEAR, .factor = 4};
    brg_infer_rope_table(&s, cosines, sines);
    assert_true(fabs((double)cosines[2 * 64] - cos(0.5)) < 1e-7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hf_config_defaults__are_those_of_the_format),
        cmocka_unit_test(hf_config_written__reads_back_to_the_bit),
        cmocka_unit_test(hf_config_that_cannot_be_computed__is_named),
        cmocka_unit_test(rope_llama3_scaling__keeps_fast_angles_and_divides_slow_ones),
    };
    return cmocka_run_group_tests_name("hf_config", tests, NULL, NULL) != 0;
}
