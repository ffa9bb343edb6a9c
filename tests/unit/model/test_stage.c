/* test_stage - a llama cut into stages: the same vector, the same bits, whatever the cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/stage.h"
#include "tests/unit/model/network.h"

#define SAMPLES 3u
#define CONTEXT 7u
#define VOCAB 11u
#define LAYERS 7u
#define MICROBATCHES 3u

static struct brg_model_spec seven_layers(void) {
    return (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                   .dim = 16,
                                   .layers = LAYERS,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .hidden = 12,
                                   .context = CONTEXT,
                                   .vocab = VOCAB,
                                   .rope_theta = 10000.0f,
                                   .norm_eps = 1e-5f};
}

static void stage_cut__covers_the_vector_without_holes(void **state) {
    (void)state;
    const struct brg_model_spec spec = seven_layers();
    for (uint32_t count = 1; count <= LAYERS; count++) {
        uint64_t offset = 0;
        uint32_t layer = 0, fewest = LAYERS, most = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct brg_stage s;
            assert_int_equal(brg_stage_cut(&spec, count, i, &s, NULL), BRG_OK);
            assert_int_equal(s.offset, offset);
            assert_int_equal(s.first_layer, layer);
            offset += s.param_count;
            layer += s.layers;
            if (s.layers < fewest) fewest = s.layers;
            if (s.layers > most) most = s.layers;
        }
        assert_int_equal(offset, brg_model_param_count(&spec));
        assert_int_equal(layer, LAYERS);
        assert_true(most - fewest <= 1);
    }
}

static void stage_cut__refuses_what_cannot_be_cut(void **state) {
    (void)state;
    struct brg_model_spec spec = seven_layers();
    struct brg_stage s;
    struct brg_why why;
    assert_int_equal(brg_stage_cut(&spec, LAYERS + 1, 0, &s, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "at most 7"));
    assert_int_equal(brg_stage_cut(&spec, 2, 2, &s, &why), BRG_EINVAL);
    spec.tied = 1;
    assert_int_equal(brg_stage_cut(&spec, 2, 0, &s, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "tied"));
    assert_int_equal(brg_stage_cut(&spec, 1, 0, &s, &why), BRG_OK);
    spec.type = BRG_MODEL_MLP;
    assert_int_equal(brg_stage_cut(&spec, 1, 0, &s, &why), BRG_EINVAL);
}

/* A line of stages, each with memory of its own. */
struct line {
    uint32_t count;
    struct brg_stage stages[LAYERS];
    void *memory[LAYERS];
    struct brg_stage_workspace *w[LAYERS];
};

static struct line line_new(const struct brg_model_spec *spec, uint32_t count) {
    struct line l = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(brg_stage_cut(spec, count, i, &l.stages[i], NULL), BRG_OK);
        const size_t bytes = brg_stage_workspace_bytes(&l.stages[i], SAMPLES, MICROBATCHES);
        l.memory[i] = network_memory(bytes, 0xff);
        l.w[i] = brg_stage_workspace_init(l.memory[i], &l.stages[i], SAMPLES, MICROBATCHES, NULL);
    }
    return l;
}

static void line_drop(struct line *l) {
    for (uint32_t i = 0; i < l->count; i++) free(l->memory[i]);
}

/* All microbatches forward, then all backward in the same order: as many slots in use as can be. */
static void line_grad(const struct line *l, const float *params, const struct brg_batch *batches,
                      float *grad, struct brg_model_sums *sums) {
    const uint64_t n = brg_stage_boundary_count(&l->stages[0], SAMPLES);
    const uint32_t last = l->count - 1;
    float *x = malloc(n * sizeof *x), *d[MICROBATCHES];
    assert_non_null(x);
    for (uint32_t m = 0; m < MICROBATCHES; m++) {
        d[m] = malloc(n * sizeof *x);
        assert_non_null(d[m]);
        assert_int_equal(brg_stage_embed(l->w[0], params, &batches[m], x), BRG_OK);
        for (uint32_t i = 0; i < l->count; i++)
            brg_stage_forward(l->w[i], m, params + l->stages[i].offset, SAMPLES, x, x);
        assert_int_equal(brg_stage_head(l->w[last], params + l->stages[last].offset, &batches[m], x,
                                        grad + l->stages[last].offset, d[m], sums),
                         BRG_OK);
    }
    for (uint32_t m = 0; m < MICROBATCHES; m++) {
        for (uint32_t i = l->count; i-- > 0;)
            brg_stage_backward(l->w[i], m, params + l->stages[i].offset, SAMPLES, d[m],
                               grad + l->stages[i].offset);
        assert_int_equal(brg_stage_embed_grad(l->w[0], &batches[m], d[m], grad), BRG_OK);
        free(d[m]);
    }
    free(x);
}

static void stage_gradient__has_the_bits_of_the_whole_model_for_every_cut(void **state) {
    (void)state;
    const struct brg_model_spec spec = seven_layers();
    struct network whole = network_new(&spec, SAMPLES, NULL);
    uint16_t tokens[MICROBATCHES][SAMPLES * (CONTEXT + 1)];
    struct brg_batch batches[MICROBATCHES];
    struct brg_prng g = {.state = 3};
    for (uint32_t m = 0; m < MICROBATCHES; m++) {
        for (uint32_t i = 0; i < SAMPLES * (CONTEXT + 1); i++)
            tokens[m][i] = (uint16_t)brg_prng_below(&g, VOCAB);
        batches[m] = (struct brg_batch){.samples = SAMPLES, .tokens = tokens[m]};
    }
    float *expected = calloc(whole.param_count, sizeof *expected);
    assert_non_null(expected);
    struct brg_model_sums sums = {.loss = 0};
    for (uint32_t m = 0; m < MICROBATCHES; m++)
        assert_int_equal(brg_model_grad(whole.w, whole.params, &batches[m], expected, &sums),
                         BRG_OK);
    for (uint32_t count = 1; count <= LAYERS; count++) {
        struct line l = line_new(&spec, count);
        float *grad = calloc(whole.param_count, sizeof *grad);
        struct brg_model_sums found = {.loss = 0};
        assert_non_null(grad);
        line_grad(&l, whole.params, batches, grad, &found);
        assert_memory_equal(grad, expected, whole.param_count * sizeof *grad);
        assert_memory_equal(&found, &sums, sizeof sums);
        free(grad);
        line_drop(&l);
    }
    free(expected);
    network_drop(&whole);
}

static void stage_tokens__beyond_the_vocabulary_are_refused(void **state) {
    (void)state;
    const struct brg_model_spec spec = seven_layers();
    struct network whole = network_new(&spec, SAMPLES, NULL);
    struct line l = line_new(&spec, 3);
    uint16_t tokens[CONTEXT + 1] = {VOCAB};
    float x[CONTEXT * 16];
    const struct brg_batch batch = {.samples = 1, .tokens = tokens};
    assert_int_equal(brg_stage_embed(l.w[0], whole.params, &batch, x), BRG_EINVAL);
    line_drop(&l);
    network_drop(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stage_cut__covers_the_vector_without_holes),
        cmocka_unit_test(stage_cut__refuses_what_cannot_be_cut),
        cmocka_unit_test(stage_gradient__has_the_bits_of_the_whole_model_for_every_cut),
        cmocka_unit_test(stage_tokens__beyond_the_vocabulary_are_refused),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL) != 0;
}
