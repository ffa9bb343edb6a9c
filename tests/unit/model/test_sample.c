#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/sample.h"

#include <string.h>

#define TOKENS_MAX 5000u

static struct brg_data_error error;
static uint16_t stream[TOKENS_MAX]; /* token i is i: a window tells where it was cut */

/* A data set of uint16 tokens 0, 1, 2 ... with `held_out` of its end held out. */
static void open_stream(uint32_t tokens, double held_out, struct brg_data *d) {
    const struct brg_data_spec spec = {.format = BRG_DATA_SHARD, .held_out = held_out};
    for (uint32_t i = 0; i < tokens; i++) stream[i] = (uint16_t)(i + 1000);
    const struct brg_data_files f = {.train = {"stream", (uint8_t *)stream, tokens * 2}};
    if (brg_data_open_memory(&spec, &f, 1 << 20, d, &error) != BRG_OK) fail_msg("%s", error.text);
}

/* Rows i of one feature i and label i % 3. */
static void open_rows(uint32_t rows, struct brg_data *d, char *text, size_t size) {
    const struct brg_data_spec spec = {.format = BRG_DATA_CSV, .held_out = 0.1};
    size_t n = 0;
    for (uint32_t i = 0; i < rows; i++)
        n += (size_t)snprintf(text + n, size - n, "%u,1,%u\n", i, i % 3);
    const struct brg_data_files f = {.train = {"rows", (uint8_t *)text, n}};
    if (brg_data_open_memory(&spec, &f, 1 << 20, d, &error) != BRG_OK) fail_msg("%s", error.text);
}

static struct brg_sampler make(const struct brg_data *d, uint32_t context, uint32_t batch,
                               uint32_t chunks, uint64_t seed) {
    const struct brg_model_spec llama = {
        .type = BRG_MODEL_LLAMA, .vocab = 65536, .context = context};
    const struct brg_model_spec mlp = {.type = BRG_MODEL_MLP, .inputs = d->inputs, .classes = 3};
    const struct brg_batch_spec b = {.samples = batch, .chunks = chunks, .microbatch = 1};
    struct brg_sampler s;
    const int rc = brg_sampler_init(&s, d, context > 0 ? &llama : &mlp, &b, seed, &error);
    if (rc != BRG_OK) fail_msg("%s", error.text);
    return s;
}

static void sample_pass__uses_every_sample_exactly_once(void **state) {
    (void)state;
    static const uint32_t sizes[] = {10, 11, 63, 64, 65, 257, 1000, 4096, 4999};
    static uint8_t seen[TOKENS_MAX];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct brg_data d;
        open_stream(sizes[i], 0, &d);
        struct brg_sampler s = make(&d, 3, 7, 2, i);
        const uint64_t n = s.samples_per_pass;
        uint64_t k = 0;
        for (uint64_t pass = 0; pass < 3; pass++) {
            memset(seen, 0, sizeof seen);
            for (uint64_t j = 0; j < n; j++, k++) {
                uint64_t p = 99;
                const uint64_t index = brg_sample_index(&s, k / 7, (uint32_t)(k % 7), &p);
                assert_true(p == pass);
                assert_true(index < n);
                assert_int_equal(seen[index], 0);
                seen[index] = 1;
            }
        }
        brg_data_close(&d);
    }
}

static void sample_order__differs_between_passes_and_seeds_and_is_no_identity(void **state) {
    (void)state;
    struct brg_data d;
    open_stream(4000, 0, &d);
    struct brg_sampler a = make(&d, 1, 100, 1, 1), b = make(&d, 1, 100, 1, 2);
    const uint64_t n = a.samples_per_pass;
    uint32_t same_pass = 0, same_seed = 0, fixed = 0, neighbours = 0;
    uint64_t p = 0, before = 0;
    for (uint64_t j = 0; j < n; j++) {
        const uint64_t k = j + n; /* the same place one pass later */
        const uint64_t x = brg_sample_index(&a, j / 100, (uint32_t)(j % 100), &p);
        same_pass += x == brg_sample_index(&a, k / 100, (uint32_t)(k % 100), &p);
        same_seed += x == brg_sample_index(&b, j / 100, (uint32_t)(j % 100), &p);
        fixed += x == j;
        neighbours += j > 0 && (x == before + 1 || before == x + 1);
        before = x;
    }
    /* Of a random permutation, one place each and two neighbours are expected. */
    assert_true(same_pass < 10);
    assert_true(same_seed < 10);
    assert_true(fixed < 10);
    assert_true(neighbours < 15);
    brg_data_close(&d);
}

static void sample_chunks__partition_the_batch_whatever_their_number(void **state) {
    (void)state;
    for (uint32_t batch = 1; batch <= 40; batch++)
        for (uint32_t chunks = 1; chunks <= batch; chunks++) {
            const struct brg_batch_spec spec = {.samples = batch, .chunks = chunks};
            uint32_t next = 0, least = batch, most = 0;
            for (uint32_t c = 0; c < chunks; c++) {
                const struct brg_sample_range r = brg_sample_chunk_range(&spec, c);
                assert_int_equal(r.first, next);
                next += r.count;
                if (r.count < least) least = r.count;
                if (r.count > most) most = r.count;
            }
            assert_int_equal(next, batch);
            assert_true(least >= 1 && most - least <= 1);
        }
}

static void sample_windows__tile_the_text_so_that_no_target_comes_twice(void **state) {
    (void)state;
    struct brg_data d;
    static uint8_t target[TOKENS_MAX];
    uint16_t tokens[8 * 6];
    const struct brg_sample_buffer buffer = {.capacity = 8, .tokens = tokens};
    open_stream(1003, 0, &d);
    struct brg_sampler s = make(&d, 5, 8, 3, 7);
    assert_int_equal(s.samples_per_pass, 199); /* (1003 - 5) / 5 */
    uint32_t phases[2] = {0, 0};
    uint64_t k = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        memset(target, 0, sizeof target);
        uint32_t lowest = TOKENS_MAX;
        for (uint64_t j = 0; j < s.samples_per_pass; j++, k++) {
            struct brg_batch b;
            const uint32_t offset = (uint32_t)(k % 8); /* chunks hold 3, 3, 2 */
            const struct brg_sample_at at = {
                .step = k / 8, .chunk = offset / 3, .first = offset % 3, .count = 1};
            brg_sample_chunk(&s, at, &buffer, &b);
            const uint32_t first = b.tokens[0] - 1000u;
            if (first < lowest) lowest = first;
            for (uint32_t t = 0; t <= 5; t++) assert_int_equal(b.tokens[t], 1000 + first + t);
            for (uint32_t t = 1; t <= 5; t++) {
                assert_int_equal(target[first + t], 0);
                target[first + t] = 1;
            }
        }
        phases[pass] = lowest;
        assert_true(lowest <= s.phase_max);
    }
    assert_int_not_equal(phases[0], phases[1]);
    brg_data_close(&d);
}

static void sample_phase__reaches_the_first_and_the_last_token(void **state) {
    (void)state;
    struct brg_data d;
    uint16_t tokens[6];
    const struct brg_sample_buffer buffer = {.capacity = 1, .tokens = tokens};
    open_stream(23, 0, &d); /* context 5: 3 windows, phase 0 .. 7 */
    struct brg_sampler s = make(&d, 5, 1, 1, 3);
    assert_int_equal(s.samples_per_pass, 3);
    assert_int_equal(s.phase_max, 7);
    int first = 0, last = 0;
    for (uint64_t step = 0; step < 300; step++) {
        struct brg_batch b;
        brg_sample_chunk(&s, (struct brg_sample_at){.step = step, .count = 1}, &buffer, &b);
        first |= b.tokens[0] == 1000;
        last |= b.tokens[5] == 1022;
    }
    assert_true(first && last);
    brg_data_close(&d);
}

static void sample_text_of_one_window__is_that_window(void **state) {
    (void)state;
    struct brg_data d;
    uint16_t tokens[6];
    const struct brg_sample_buffer buffer = {.capacity = 1, .tokens = tokens};
    open_stream(6, 0, &d);
    struct brg_sampler s = make(&d, 5, 2, 2, 3);
    assert_int_equal(s.samples_per_pass, 1);
    for (uint32_t c = 0; c < 2; c++) {
        struct brg_batch b;
        const struct brg_sample_at at = {.step = 9, .chunk = c, .count = 1};
        brg_sample_chunk(&s, at, &buffer, &b);
        assert_int_equal(b.tokens[0], 1000);
        assert_int_equal(b.tokens[5], 1005);
    }
    brg_data_close(&d);
}

/* Whoever computes which part of a chunk, in whatever order: the same samples. */
static void sample_microbatches__are_the_chunk_cut_anywhere(void **state) {
    (void)state;
    struct brg_data d;
    static char text[1 << 16];
    float whole[20 * 2], part[20 * 2];
    uint32_t whole_labels[20], part_labels[20];
    const struct brg_sample_buffer a = {.capacity = 20, .x = whole, .labels = whole_labels};
    const struct brg_sample_buffer b = {.capacity = 20, .x = part, .labels = part_labels};
    open_rows(333, &d, text, sizeof text);
    struct brg_sampler s = make(&d, 0, 60, 3, 5), again = make(&d, 0, 60, 3, 5);
    struct brg_batch x, y;
    for (uint64_t step = 0; step < 20; step++)
        for (uint32_t chunk = 3; chunk-- > 0;) {
            struct brg_sample_at at = {.step = step, .chunk = chunk, .count = 20};
            brg_sample_chunk(&s, at, &a, &x);
            assert_int_equal(x.samples, 20);
            assert_null(x.tokens);
            for (uint32_t cut = 1; cut < 20; cut += 6) {
                at.first = cut;
                at.count = 20 - cut;
                brg_sample_chunk(&again, at, &b, &y);
                assert_memory_equal(y.x, x.x + (size_t)cut * 2, (20 - cut) * 2 * sizeof(float));
                assert_memory_equal(y.labels, x.labels + cut, (20 - cut) * sizeof(uint32_t));
            }
        }
    brg_data_close(&d);
}

static void sample_rows__carry_their_own_labels(void **state) {
    (void)state;
    struct brg_data d;
    static char text[1 << 16];
    float x[2];
    uint32_t label = 0;
    const struct brg_sample_buffer buffer = {.capacity = 1, .x = x, .labels = &label};
    struct brg_batch b;
    open_rows(100, &d, text, sizeof text); /* 90 train, scaled by 89 */
    struct brg_sampler s = make(&d, 0, 10, 1, 5);
    assert_int_equal(s.samples_per_pass, 90);
    assert_int_equal(s.held_samples, 10);
    for (uint32_t i = 0; i < 10; i++) {
        const struct brg_sample_at at = {.step = 3, .first = i, .count = 1};
        brg_sample_chunk(&s, at, &buffer, &b);
        const uint32_t row = (uint32_t)(b.x[0] * 89.0f + 0.5f);
        assert_int_equal(b.labels[0], row % 3);
        brg_sample_held(&s, i, 1, &buffer, &b);
        assert_float_equal(b.x[0], (float)(90 + i) / 89.0f, 1e-6);
        assert_int_equal(b.labels[0], (90 + i) % 3);
    }
    brg_data_close(&d);
}

static void sample_image_bytes__become_zero_to_one(void **state) {
    (void)state;
    static const uint8_t images[] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0, 51, 255};
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 1, 2};
    const struct brg_data_spec spec = {.format = BRG_DATA_IDX};
    const struct brg_data_files f = {.train = {"x", images, sizeof images},
                                     .train_labels = {"y", labels, sizeof labels}};
    struct brg_data d;
    float x[3];
    uint32_t label = 0;
    const struct brg_sample_buffer buffer = {.capacity = 1, .x = x, .labels = &label};
    struct brg_batch b;
    assert_int_equal(brg_data_open_memory(&spec, &f, 1, &d, &error), BRG_OK);
    struct brg_sampler s = make(&d, 0, 1, 1, 5);
    brg_sample_chunk(&s, (struct brg_sample_at){.count = 1}, &buffer, &b);
    assert_float_equal(x[0], 0, 0);
    assert_float_equal(x[1], 0.2f, 0);
    assert_float_equal(x[2], 1, 0);
    assert_int_equal(label, 2);
    assert_int_equal(s.held_samples, 0);
    brg_data_close(&d);
}

static void sample_held_windows__cover_each_target_once_in_order(void **state) {
    (void)state;
    struct brg_data d;
    uint16_t tokens[4 * 6];
    const struct brg_sample_buffer buffer = {.capacity = 4, .tokens = tokens};
    struct brg_batch b;
    open_stream(100, 0.22, &d); /* tokens 78 .. 99 */
    struct brg_sampler s = make(&d, 5, 1, 1, 5);
    assert_int_equal(s.held_samples, 4); /* targets 79 .. 98 */
    brg_sample_held(&s, 0, 4, &buffer, &b);
    for (uint32_t w = 0; w < 4; w++)
        for (uint32_t t = 0; t <= 5; t++)
            assert_int_equal(b.tokens[w * 6 + t], 1000 + 78 + 5 * w + t);
    brg_data_close(&d);
}

/* Packed bytes may lie at any address: a network buffer is not aligned. */
static void sample_from_an_unaligned_blob__is_the_same(void **state) {
    (void)state;
    struct brg_data d, packed;
    static char text[1 << 14];
    float x[2 * 8], y[2 * 8];
    uint32_t x_labels[8], y_labels[8];
    const struct brg_sample_buffer a = {.capacity = 8, .x = x, .labels = x_labels};
    const struct brg_sample_buffer c = {.capacity = 8, .x = y, .labels = y_labels};
    struct brg_batch b;
    open_rows(50, &d, text, sizeof text);
    const size_t size = (size_t)brg_data_pack_bytes(&d);
    uint8_t *blob = malloc(size + 1);
    assert_non_null(blob);
    assert_int_equal(brg_data_pack(&d, blob + 1, size), BRG_OK);
    assert_int_equal(brg_data_open_blob("b", blob + 1, size, &packed, &error), BRG_OK);
    struct brg_sampler s = make(&d, 0, 8, 1, 5), t = make(&packed, 0, 8, 1, 5);
    for (uint64_t step = 0; step < 20; step++) {
        brg_sample_chunk(&s, (struct brg_sample_at){.step = step, .count = 8}, &a, &b);
        brg_sample_chunk(&t, (struct brg_sample_at){.step = step, .count = 8}, &c, &b);
        assert_memory_equal(x, y, sizeof x);
        assert_memory_equal(x_labels, y_labels, sizeof x_labels);
    }
    brg_data_close(&d);
    brg_data_close(&packed);
    free(blob);
}

static void sampler_of_a_bad_batch__is_refused(void **state) {
    (void)state;
    struct brg_data d;
    struct brg_sampler s;
    open_stream(100, 0, &d);
    const struct brg_model_spec llama = {.type = BRG_MODEL_LLAMA, .vocab = 65536, .context = 5};
    static const struct brg_batch_spec bad[] = {
        {.samples = 0, .chunks = 1},
        {.samples = 4, .chunks = 0},
        {.samples = 4, .chunks = 5},
        {.samples = BRG_SAMPLE_BATCH_MAX + 1, .chunks = 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(brg_sampler_init(&s, &d, &llama, &bad[i], 1, &error), BRG_EINVAL);
        assert_non_null(strstr(error.text, "no more chunks than samples"));
    }
    const struct brg_model_spec wide = {.type = BRG_MODEL_LLAMA, .vocab = 65536, .context = 100};
    const struct brg_batch_spec good = {.samples = 4, .chunks = 4};
    assert_int_equal(brg_sampler_init(&s, &d, &wide, &good, 1, &error), BRG_EINVAL);
    brg_data_close(&d);
}

/* The order is part of every stored run: it may never change from one version to the next. */
static void sample_order__is_the_one_of_the_first_version(void **state) {
    (void)state;
    struct brg_data d;
    open_stream(4000, 0, &d);
    struct brg_sampler s = make(&d, 10, 8, 1, 42);
    static const uint16_t want[8] = {4599, 4989, 1149, 2259, 1429, 3759, 1909, 2599};
    uint16_t tokens[8 * 11];
    const struct brg_sample_buffer buffer = {.capacity = 8, .tokens = tokens};
    struct brg_batch b;
    brg_sample_chunk(&s, (struct brg_sample_at){.step = 3, .count = 8}, &buffer, &b);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(b.tokens[11 * i], want[i]);
    brg_data_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sample_pass__uses_every_sample_exactly_once),
        cmocka_unit_test(sample_order__differs_between_passes_and_seeds_and_is_no_identity),
        cmocka_unit_test(sample_chunks__partition_the_batch_whatever_their_number),
        cmocka_unit_test(sample_windows__tile_the_text_so_that_no_target_comes_twice),
        cmocka_unit_test(sample_phase__reaches_the_first_and_the_last_token),
        cmocka_unit_test(sample_text_of_one_window__is_that_window),
        cmocka_unit_test(sample_microbatches__are_the_chunk_cut_anywhere),
        cmocka_unit_test(sample_rows__carry_their_own_labels),
        cmocka_unit_test(sample_image_bytes__become_zero_to_one),
        cmocka_unit_test(sample_held_windows__cover_each_target_once_in_order),
        cmocka_unit_test(sample_from_an_unaligned_blob__is_the_same),
        cmocka_unit_test(sampler_of_a_bad_batch__is_refused),
        cmocka_unit_test(sample_order__is_the_one_of_the_first_version),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL) != 0;
}
