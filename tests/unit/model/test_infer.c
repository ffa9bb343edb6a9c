/* test_infer - the cached forward pass against the training one; perplexity; drawing tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/infer.h"
#include "tests/unit/model/network.h"

#define CONTEXT 24u
#define VOCAB 37u

static struct brg_why why;

static struct brg_model_spec small(uint32_t tied) {
    return (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                   .dim = 32,
                                   .layers = 3,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .hidden = 40,
                                   .context = CONTEXT,
                                   .vocab = VOCAB,
                                   .tied = tied,
                                   .rope_theta = 10000.0f,
                                   .norm_eps = 1e-5f};
}

static void draw(uint32_t *ids, uint16_t *tokens, uint32_t count) {
    struct brg_prng g = {.state = 11};
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (uint32_t)brg_prng_below(&g, VOCAB);
        if (tokens != NULL) tokens[i] = (uint16_t)ids[i];
    }
}

/* Logits of all positions, fed in pieces of `piece` tokens. */
static void feed_in_pieces(const struct network *n, const uint32_t *ids, uint32_t piece,
                           float *logits) {
    struct brg_infer *f = NULL;
    assert_int_equal(brg_infer_create(&n->spec, n->params, CONTEXT, &f, &why), BRG_OK);
    for (uint32_t at = 0; at < CONTEXT; at += piece) {
        const uint32_t rows = CONTEXT - at < piece ? CONTEXT - at : piece;
        assert_int_equal(brg_infer_feed(f, ids + at, rows), BRG_OK);
        brg_infer_logits(f, 0, rows, logits + (size_t)at * VOCAB);
    }
    assert_int_equal(brg_infer_position(f), CONTEXT);
    assert_int_equal(brg_infer_feed(f, ids, 1), BRG_EFULL);
    brg_infer_destroy(f);
}

static double nll_of(const float *logits, uint32_t target) {
    double total = 0;
    for (uint32_t i = 0; i < VOCAB; i++) total += exp((double)logits[i] - (double)logits[target]);
    return log(total);
}

/* Each position's loss: what the training pass loses with one target more. */
static void infer_logits__are_those_of_the_training_pass(void **state) {
    (void)state;
    for (uint32_t tied = 0; tied < 2; tied++) {
        uint32_t ids[CONTEXT + 1];
        uint16_t tokens[CONTEXT + 1];
        float logits[CONTEXT * VOCAB];
        const struct brg_model_spec spec = small(tied);
        struct network n = network_new(&spec, 1, NULL);
        draw(ids, tokens, CONTEXT + 1);
        feed_in_pieces(&n, ids, 1, logits);
        double before = 0;
        for (uint32_t length = 1; length <= CONTEXT; length++) {
            struct brg_model_spec shorter = spec;
            shorter.context = length;
            struct network m = network_new(&shorter, 1, NULL);
            const struct brg_batch batch = {.samples = 1, .tokens = tokens};
            const double loss = network_loss(&m, &batch);
            const double got = nll_of(logits + (length - 1) * VOCAB, ids[length]);
            if (fabs(loss - before - got) > 1e-5 * (1 + loss))
                fail_msg("position %u loses %g, the training pass %g", length, got, loss - before);
            before = loss;
            network_drop(&m);
        }
        network_drop(&n);
    }
}

static void infer_in_any_pieces__gives_the_same_logits(void **state) {
    (void)state;
    uint32_t ids[CONTEXT];
    float whole[CONTEXT * VOCAB], parts[CONTEXT * VOCAB];
    struct brg_model_spec spec = small(1);
    spec.rope_scaling = (struct brg_rope_scaling){.type = BRG_ROPE_LLAMA3,
                                                  .factor = 4,
                                                  .low_freq = 1,
                                                  .high_freq = 4,
                                                  .original_context = 16};
    struct network n = network_new(&spec, 1, NULL);
    draw(ids, NULL, CONTEXT);
    feed_in_pieces(&n, ids, CONTEXT, whole);
    const uint32_t pieces[] = {1, 2, 7, CONTEXT - 1};
    for (uint32_t p = 0; p < 4; p++) {
        feed_in_pieces(&n, ids, pieces[p], parts);
        numbers_must_be_near("logits", CONTEXT * VOCAB, parts, whole, 1e-5);
    }
    network_drop(&n);
}

static void infer_token_beyond_the_vocabulary__changes_nothing(void **state) {
    (void)state;
    const uint32_t good[] = {1, 2, 3}, bad[] = {4, VOCAB};
    float want[VOCAB], got[VOCAB];
    const struct brg_model_spec spec = small(0);
    struct network n = network_new(&spec, 1, NULL);
    struct brg_infer *f = NULL;
    assert_int_equal(brg_infer_create(&spec, n.params, 8, &f, &why), BRG_OK);
    assert_int_equal(brg_infer_feed(f, good, 3), BRG_OK);
    brg_infer_logits(f, 2, 1, want);
    assert_int_equal(brg_infer_feed(f, bad, 2), BRG_EINVAL);
    brg_infer_logits(f, 2, 1, got);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(brg_infer_position(f), 3);
    brg_infer_destroy(f);
    network_drop(&n);
}

static uint32_t two_bytes(const void *context, uint32_t id) {
    (void)context;
    return id > 0 ? 2 : 0;
}

/* By the definition, chunk by chunk. */
static void perplexity_of_chunks__counts_the_second_half_of_each(void **state) {
    (void)state;
    uint32_t ids[100];
    const struct brg_model_spec spec = small(1);
    struct network n = network_new(&spec, 1, NULL);
    struct brg_infer *f = NULL;
    struct brg_infer_scores got;
    struct brg_infer_eval eval = {
        .recipe = BRG_RECIPE_CHUNKS, .context = 10, .bos = 5, .bytes_of = two_bytes};
    draw(ids, NULL, 100);
    assert_int_equal(brg_infer_create(&spec, n.params, CONTEXT, &f, &why), BRG_OK);
    assert_int_equal(brg_infer_perplexity(f, &eval, ids, 100, &got, &why), BRG_OK);
    double nll = 0;
    float logits[CONTEXT * VOCAB];
    for (uint32_t c = 0; c < 10; c++) { /* 101 tokens with the mark: the last is left over */
        uint32_t chunk[10] = {5};
        for (uint32_t i = 1; i < 10; i++) chunk[i] = ids[c * 10 + i - 1];
        brg_infer_reset(f);
        assert_int_equal(brg_infer_feed(f, chunk, 10), BRG_OK);
        brg_infer_logits(f, 0, 10, logits);
        for (uint32_t i = 5; i + 1 < 10; i++) nll += nll_of(logits + i * VOCAB, chunk[i + 1]);
    }
    assert_int_equal(got.tokens, 40);
    assert_int_equal(got.chunks, 10);
    assert_true(got.bytes <= 80 && got.bytes >= 70);
    assert_true(fabs(got.nll - nll) < 1e-5 * nll);
    eval.context = 102;
    assert_int_equal(brg_infer_perplexity(f, &eval, ids, 100, &got, &why), BRG_EINVAL);
    eval.context = CONTEXT;
    assert_int_equal(brg_infer_perplexity(f, &eval, ids, 20, &got, &why), BRG_EINVAL);
    brg_infer_destroy(f);
    network_drop(&n);
}

static void perplexity_of_windows__is_the_held_out_loss_of_training(void **state) {
    (void)state;
    uint32_t ids[3 * CONTEXT + 1];
    uint16_t tokens[3 * CONTEXT + 1], rows[3][CONTEXT + 1];
    const struct brg_model_spec spec = small(0);
    struct network n = network_new(&spec, 3, NULL);
    struct brg_infer *f = NULL;
    struct brg_infer_scores got;
    draw(ids, tokens, 3 * CONTEXT + 1);
    for (uint32_t r = 0; r < 3; r++) memcpy(rows[r], tokens + (size_t)r * CONTEXT, sizeof rows[r]);
    const struct brg_batch batch = {.samples = 3, .tokens = rows[0]};
    struct brg_model_sums want = {.loss = 0};
    assert_int_equal(brg_model_loss(n.w, n.params, &batch, &want), BRG_OK);
    const struct brg_infer_eval eval = {
        .recipe = BRG_RECIPE_WINDOWS, .context = CONTEXT, .bos = BRG_INFER_NO_TOKEN};
    assert_int_equal(brg_infer_create(&spec, n.params, CONTEXT, &f, &why), BRG_OK);
    assert_int_equal(brg_infer_perplexity(f, &eval, ids, 3 * CONTEXT + 1, &got, &why), BRG_OK);
    assert_int_equal(got.tokens, want.count);
    assert_int_equal(got.correct, want.correct);
    assert_true(fabs(got.nll - want.loss) < 1e-6 * want.loss);
    brg_infer_destroy(f);
    network_drop(&n);
}

/* How often each of four tokens is drawn of 4000. */
static void count_draws(const struct brg_infer_sampling *how, const float *logits, uint32_t *hits) {
    struct brg_prng g = {.state = 2};
    memset(hits, 0, 4 * sizeof *hits);
    for (uint32_t i = 0; i < 4000; i++) {
        uint32_t id = 99;
        assert_int_equal(brg_infer_pick(how, &g, logits, 4, &id), BRG_OK);
        assert_true(id < 4);
        hits[id]++;
    }
}

static void sampling_settings__keep_what_they_say(void **state) {
    (void)state;
    /* probabilities .1 .4 .2 .3 */
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    uint32_t hits[4];
    count_draws(&(struct brg_infer_sampling){.temperature = 0, .top_p = 1}, logits, hits);
    assert_int_equal(hits[1], 4000);
    count_draws(&(struct brg_infer_sampling){.temperature = 1, .top_p = 1}, logits, hits);
    assert_true(hits[0] > 320 && hits[0] < 480 && hits[1] > 1480 && hits[1] < 1720);
    count_draws(&(struct brg_infer_sampling){.temperature = 1, .top_p = 1, .top_k = 2}, logits,
                hits);
    assert_true(hits[0] == 0 && hits[2] == 0 && hits[3] > 1550 && hits[3] < 1880);
    count_draws(&(struct brg_infer_sampling){.temperature = 1, .top_p = 0.75f}, logits, hits);
    assert_true(hits[0] == 0 && hits[2] > 780 && hits[2] < 1000);
    count_draws(&(struct brg_infer_sampling){.temperature = 0.01f, .top_p = 1}, logits, hits);
    assert_int_equal(hits[1], 4000);
    const float broken[] = {0, NAN, 0, 0};
    uint32_t id = 0;
    struct brg_prng g = {.state = 2};
    assert_int_equal(brg_infer_pick(&(struct brg_infer_sampling){.temperature = 1, .top_p = 1}, &g,
                                    broken, 4, &id),
                     BRG_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(infer_logits__are_those_of_the_training_pass),
        cmocka_unit_test(infer_in_any_pieces__gives_the_same_logits),
        cmocka_unit_test(infer_token_beyond_the_vocabulary__changes_nothing),
        cmocka_unit_test(perplexity_of_chunks__counts_the_second_half_of_each),
        cmocka_unit_test(perplexity_of_windows__is_the_held_out_loss_of_training),
        cmocka_unit_test(sampling_settings__keep_what_they_say),
    };
    return cmocka_run_group_tests_name("infer", tests, NULL, NULL) != 0;
}
