/* test_model - layout, start values and the limits of a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/model/network.h"

static const struct brg_model_spec llama = {.type = BRG_MODEL_LLAMA,
                                            .dim = 32,
                                            .layers = 3,
                                            .heads = 4,
                                            .kv_heads = 2,
                                            .hidden = 40,
                                            .context = 16,
                                            .vocab = 256,
                                            .tied = 0,
                                            .rope_theta = 10000.0f,
                                            .norm_eps = 1e-5f};
static const struct brg_model_spec mlp = {
    .type = BRG_MODEL_MLP, .inputs = 64, .classes = 10, .width_count = 2, .widths = {48, 24}};
static const struct brg_model_spec softmax = {
    .type = BRG_MODEL_SOFTMAX, .inputs = 64, .classes = 10};

static uint32_t find(const struct brg_model_spec *spec, const char *name,
                     struct brg_model_tensor *out) {
    for (uint32_t i = 0; i < brg_model_tensor_count(spec); i++) {
        brg_model_tensor(spec, i, out);
        if (strcmp(out->name, name) == 0) return i;
    }
    fail_msg("no tensor is called %s", name);
    return UINT32_MAX;
}

static void model_tensors__lie_one_behind_the_other_with_names_of_their_own(void **state) {
    (void)state;
    struct brg_model_spec tied = llama;
    tied.tied = 1;
    const struct brg_model_spec *const specs[] = {&llama, &tied, &mlp, &softmax};
    for (uint32_t s = 0; s < 4; s++) {
        uint64_t at = 0;
        const uint32_t count = brg_model_tensor_count(specs[s]);
        for (uint32_t i = 0; i < count; i++) {
            struct brg_model_tensor t, other;
            brg_model_tensor(specs[s], i, &t);
            assert_int_equal(t.offset, at);
            at += (uint64_t)t.rows * t.cols;
            for (uint32_t j = 0; j < i; j++) {
                brg_model_tensor(specs[s], j, &other);
                assert_string_not_equal(t.name, other.name);
            }
        }
        assert_int_equal(at, brg_model_param_count(specs[s]));
    }
}

static void model_tensors__have_the_names_and_shapes_that_exports_use(void **state) {
    (void)state;
    const struct {
        const char *name;
        uint32_t rows, cols;
    } want[] = {
        {"model.embed_tokens.weight", 256, 32},
        {"model.layers.0.input_layernorm.weight", 1, 32},
        {"model.layers.1.self_attn.q_proj.weight", 32, 32},
        {"model.layers.1.self_attn.k_proj.weight", 16, 32},
        {"model.layers.1.self_attn.v_proj.weight", 16, 32},
        {"model.layers.1.self_attn.o_proj.weight", 32, 32},
        {"model.layers.2.post_attention_layernorm.weight", 1, 32},
        {"model.layers.2.mlp.gate_proj.weight", 40, 32},
        {"model.layers.2.mlp.up_proj.weight", 40, 32},
        {"model.layers.2.mlp.down_proj.weight", 32, 40},
        {"model.norm.weight", 1, 32},
        {"lm_head.weight", 256, 32},
    };
    for (uint32_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct brg_model_tensor t;
        (void)find(&llama, want[i].name, &t);
        assert_int_equal(t.rows, want[i].rows);
        assert_int_equal(t.cols, want[i].cols);
    }
    struct brg_model_tensor t;
    (void)find(&mlp, "layers.1.weight", &t);
    assert_int_equal(t.rows, 24);
    assert_int_equal(t.cols, 48);
    (void)find(&softmax, "layers.0.bias", &t);
    assert_int_equal(t.cols, 10);
}

/* Root of the mean square of one tensor. */
static double deviation(const struct brg_model_spec *spec, const float *params, const char *name) {
    struct brg_model_tensor t;
    (void)find(spec, name, &t);
    double sum = 0;
    const uint64_t count = (uint64_t)t.rows * t.cols;
    for (uint64_t i = 0; i < count; i++)
        sum += (double)params[t.offset + i] * (double)params[t.offset + i];
    return sqrt(sum / (double)count);
}

static void model_start__has_the_deviations_promised(void **state) {
    (void)state;
    float *p = calloc(brg_model_param_count(&llama), sizeof *p);
    float *q = calloc(brg_model_param_count(&mlp), sizeof *q);
    assert_true(p != NULL && q != NULL);
    brg_model_init(&llama, 1, p);
    brg_model_init(&mlp, 1, q);
    assert_true(fabs(deviation(&llama, p, "model.embed_tokens.weight") - 0.02) < 0.001);
    assert_true(fabs(deviation(&llama, p, "lm_head.weight") - 0.02) < 0.001);
    const double residual = 0.02 / sqrt(6.0);
    assert_true(fabs(deviation(&llama, p, "model.layers.0.self_attn.o_proj.weight") - residual) <
                0.1 * residual);
    assert_true(fabs(deviation(&llama, p, "model.layers.2.mlp.down_proj.weight") - residual) <
                0.1 * residual);
    assert_true(deviation(&llama, p, "model.norm.weight") == 1.0);
    assert_true(fabs(deviation(&mlp, q, "layers.0.weight") - sqrt(2.0 / 64)) < 0.01);
    assert_true(fabs(deviation(&mlp, q, "layers.2.weight") - sqrt(1.0 / 24)) < 0.04);
    assert_true(deviation(&mlp, q, "layers.1.bias") == 0.0);
    free(p);
    free(q);
}

static void model_start__depends_on_the_seed_alone(void **state) {
    (void)state;
    const uint64_t count = brg_model_param_count(&llama);
    float *p[3];
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = calloc(count, sizeof **p);
        assert_non_null(p[i]);
        brg_model_init(&llama, i < 2 ? 7 : 8, p[i]);
    }
    assert_memory_equal(p[0], p[1], count * sizeof **p);
    assert_memory_not_equal(p[0], p[2], count * sizeof **p);
    for (uint32_t i = 0; i < 3; i++) free(p[i]);
}

/* A fresh model knows nothing: its loss is that of a guess among the vocabulary. */
static void model_start__guesses(void **state) {
    (void)state;
    struct network n = network_new(&llama, 1, NULL);
    uint16_t tokens[17];
    for (uint16_t i = 0; i < 17; i++) tokens[i] = (uint16_t)(i * 13 % 256);
    const struct brg_batch batch = {.samples = 1, .tokens = tokens};
    brg_model_init(&llama, 3, n.params);
    assert_true(fabs(network_loss(&n, &batch) / 16 - log(256.0)) < 0.1);
    network_drop(&n);
}

/* One faulty spec and the word that its sentence must hold. */
struct fault {
    struct brg_model_spec spec;
    uint32_t microbatch;
    const char *word;
};

static struct fault llama_fault(const char *word) {
    return (struct fault){.spec = llama, .microbatch = 4, .word = word};
}

static void model_faulty_settings__are_refused_by_name(void **state) {
    (void)state;
    struct fault f[16];
    for (uint32_t i = 0; i < 16; i++) f[i] = llama_fault("");
    f[0].spec.type = 9, f[0].word = "type";
    f[1].spec.dim = 0, f[1].word = "dim";
    f[2].spec.layers = BRG_MODEL_LAYERS_MAX + 1, f[2].word = "layers";
    f[3].spec.heads = 0, f[3].word = "heads";
    f[4].spec.kv_heads = 3, f[4].word = "kv_heads";
    f[5].spec.dim = 36, f[5].word = "even"; /* heads of 9 */
    f[6].spec.vocab = BRG_MODEL_DIM_MAX + 1, f[6].word = "vocab";
    f[7].spec.context = 0, f[7].word = "context";
    f[8].spec.rope_theta = NAN, f[8].word = "rope_theta";
    f[9].spec.norm_eps = 0, f[9].word = "norm_eps";
    f[10].microbatch = 0, f[10].word = "microbatch";
    f[11].microbatch = UINT32_MAX, f[11].word = "microbatch";
    f[12].spec = mlp, f[12].spec.widths[1] = 0, f[12].word = "width";
    f[13].spec = mlp, f[13].spec.width_count = BRG_MLP_HIDDEN_MAX + 1, f[13].word = "hidden layers";
    f[14].spec = softmax, f[14].spec.classes = 1, f[14].word = "classes";
    f[15].spec.dim = 65536, f[15].spec.layers = 1000, f[15].spec.heads = 1024,
    f[15].word = "parameters";
    for (uint32_t i = 0; i < 16; i++) {
        struct brg_why why = {.text = ""};
        assert_int_equal(brg_model_check(&f[i].spec, f[i].microbatch, &why), BRG_EINVAL);
        if (strstr(why.text, f[i].word) == NULL) fail_msg("%u: %s", i, why.text);
    }
    assert_int_equal(brg_model_check(&llama, 4, NULL), BRG_OK);
    assert_int_equal(brg_model_check(&mlp, 4, NULL), BRG_OK);
    assert_int_equal(brg_model_check(&softmax, 4, NULL), BRG_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_tensors__lie_one_behind_the_other_with_names_of_their_own),
        cmocka_unit_test(model_tensors__have_the_names_and_shapes_that_exports_use),
        cmocka_unit_test(model_start__has_the_deviations_promised),
        cmocka_unit_test(model_start__depends_on_the_seed_alone),
        cmocka_unit_test(model_start__guesses),
        cmocka_unit_test(model_faulty_settings__are_refused_by_name),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL) != 0;
}
