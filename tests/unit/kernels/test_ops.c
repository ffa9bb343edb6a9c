/* test_ops - every operation of every table against the reference in double, and the bits of the
 * fast tables against each other. Shapes are odd on purpose: lanes have tails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/kernels/numbers.h"

#define ROWS 37u
#define COLS 53u
#define CELLS (ROWS * COLS)
#define TOLERANCE 2e-6

/* One operation: reads in[0..3], reads and writes out[0..2]. Buffers hold 2 * CELLS floats. */
struct operation {
    const char *name;
    void (*run)(const struct brg_kernels *k, float *const *in, float *const *out);
    double tolerance;
    int uses_sgemm; /* its bits may depend on the instruction set */
};

static const struct brg_shape shape = {ROWS, COLS};
static const struct brg_attention attention_shape = {
    .samples = 2, .context = 13, .heads = 4, .kv_heads = 2, .head_dim = 6};

static void some_ids(uint32_t below, uint32_t *id) {
    struct brg_prng g = {.state = 99};
    for (uint32_t i = 0; i < ROWS; i++) id[i] = (uint32_t)brg_prng_below(&g, below);
}

static void rmsnorm(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->rmsnorm(shape, 1e-5f, in[0], in[1], out[0], out[1]);
}

static void rmsnorm_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    float inv[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) inv[i] = 0.5f + 0.01f * (float)i;
    k->rmsnorm_grad(shape, in[0], in[1], inv, in[2], out[0], out[1]);
}

static void rope_with(const struct brg_kernels *k, uint32_t inverse, float *x) {
    float cosines[5 * 3], sines[5 * 3];
    brg_rope_table(5, 6, 10000.0, cosines, sines);
    k->rope(&(struct brg_rope){.rows = ROWS,
                               .context = 5,
                               .heads = 7,
                               .head_dim = 6,
                               .stride = COLS,
                               .inverse = inverse},
            cosines, sines, x);
}

static void rope(const struct brg_kernels *k, float *const *in, float *const *out) {
    (void)in;
    rope_with(k, 0, out[0]);
}

static void rope_inverse(const struct brg_kernels *k, float *const *in, float *const *out) {
    (void)in;
    rope_with(k, 1, out[0]);
}

static void attention(const struct brg_kernels *k, float *const *in, float *const *out) {
    float *scratch = numbers_new(1, 1, brg_attention_scratch(&attention_shape));
    k->attention(&attention_shape, in[0], out[0], out[1], scratch);
    free(scratch);
}

static void attention_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    float *scratch = numbers_new(1, 1, brg_attention_scratch(&attention_shape));
    k->attention(&attention_shape, in[0], out[0], out[1], scratch);
    k->attention_grad(&attention_shape, in[0], out[0], out[1], in[2], out[2], scratch);
    free(scratch);
}

static void swiglu(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->swiglu(shape, in[0], out[0]);
}

static void swiglu_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->swiglu_grad(shape, in[0], in[1], out[0]);
}

static void embed(const struct brg_kernels *k, float *const *in, float *const *out) {
    uint32_t id[ROWS];
    some_ids(11, id);
    k->embed(shape, id, in[0], out[0]);
}

static void embed_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    uint32_t id[ROWS];
    some_ids(11, id);
    k->embed_grad(shape, id, in[0], out[0]);
}

static void entropy_with(const struct brg_kernels *k, uint32_t want_grad, float *const *out) {
    uint32_t target[ROWS];
    struct brg_cross_entropy sums = {.loss = 0, .correct = 0};
    some_ids(COLS, target);
    out[0][target[3] + 3 * COLS] = 40.0f; /* one row is right for certain */
    k->cross_entropy(shape, target, want_grad, out[0], &sums);
    out[1][0] = (float)sums.loss;
    out[1][1] = (float)sums.correct;
    if (!want_grad) memset(out[0], 0, CELLS * sizeof(float)); /* of no use, says the contract */
}

static void cross_entropy(const struct brg_kernels *k, float *const *in, float *const *out) {
    (void)in;
    entropy_with(k, 0, out);
}

static void cross_entropy_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    (void)in;
    entropy_with(k, 1, out);
}

static void bias(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->bias(shape, in[0], out[0]);
}

static void bias_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->bias_grad(shape, in[0], out[0]);
}

static void relu(const struct brg_kernels *k, float *const *in, float *const *out) {
    (void)in;
    k->relu(CELLS, out[0]);
}

static void relu_grad(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->relu(CELLS, in[0]);
    k->relu_grad(CELLS, in[0], out[0]);
}

static void add(const struct brg_kernels *k, float *const *in, float *const *out) {
    k->add(CELLS, in[0], out[0]);
}

static void scale(const struct brg_kernels *k, float *const *in, float *const *out) {
    (void)in;
    k->scale(CELLS, 0.3f, out[0]);
}

static void norm2(const struct brg_kernels *k, float *const *in, float *const *out) {
    for (uint32_t n = 0; n < 60; n++) out[0][n] = (float)k->norm2(n, in[0]);
}

static void adamw(const struct brg_kernels *k, float *const *in, float *const *out) {
    const struct brg_adamw a = {.lr = 0.01f,
                                .beta1 = 0.9f,
                                .beta2 = 0.95f,
                                .eps = 1e-8f,
                                .decay = 0.1f,
                                .grad_scale = 0.125f,
                                .correct1 = 2.0f,
                                .correct2 = 4.0f};
    k->relu(CELLS, out[1]); /* second moments are never negative */
    k->adamw(CELLS, &a, in[0], out[0], out[1], out[2]);
}

static void sgd(const struct brg_kernels *k, float *const *in, float *const *out) {
    const struct brg_sgd a = {.lr = 0.01f, .momentum = 0.9f, .decay = 0.1f, .grad_scale = 0.125f};
    k->sgd(CELLS, &a, in[0], out[0], out[1]);
}

static void sgd_plain(const struct brg_kernels *k, float *const *in, float *const *out) {
    const struct brg_sgd a = {.lr = 0.01f, .momentum = 0, .decay = 0.1f, .grad_scale = 0.125f};
    k->sgd(CELLS, &a, in[0], NULL, out[1]);
}

static const struct operation operations[] = {
    {"rmsnorm", rmsnorm, TOLERANCE, 0},
    {"rmsnorm_grad", rmsnorm_grad, TOLERANCE, 0},
    {"rope", rope, TOLERANCE, 0},
    {"rope inverse", rope_inverse, TOLERANCE, 0},
    {"attention", attention, TOLERANCE, 1},
    {"attention_grad", attention_grad, TOLERANCE, 1},
    {"swiglu", swiglu, TOLERANCE, 0},
    {"swiglu_grad", swiglu_grad, TOLERANCE, 0},
    {"embed", embed, 0, 0},
    {"embed_grad", embed_grad, 0, 0},
    {"cross_entropy", cross_entropy, TOLERANCE, 0},
    {"cross_entropy_grad", cross_entropy_grad, TOLERANCE, 0},
    {"bias", bias, 0, 0},
    {"bias_grad", bias_grad, TOLERANCE, 0},
    {"relu", relu, 0, 0},
    {"relu_grad", relu_grad, 0, 0},
    {"add", add, 0, 0},
    {"scale", scale, 0, 0},
    {"norm2", norm2, 1e-7, 0},
    {"adamw", adamw, TOLERANCE, 0},
    {"sgd", sgd, TOLERANCE, 0},
    {"sgd without momentum", sgd_plain, TOLERANCE, 0},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* Buffers of one run. */
struct buffers {
    float *in[3], *out[3];
};

static struct buffers run(const struct operation *o, const struct brg_kernels *k) {
    struct buffers b;
    for (uint32_t i = 0; i < 3; i++) {
        b.in[i] = numbers_new(10 + i, 1, 2 * CELLS);
        b.out[i] = numbers_new(20 + i, 1, 2 * CELLS);
    }
    o->run(k, b.in, b.out);
    return b;
}

static void drop(struct buffers *b) {
    for (uint32_t i = 0; i < 3; i++) {
        free(b->in[i]);
        free(b->out[i]);
    }
}

static void operations_of_every_table__match_the_reference_in_double(void **state) {
    (void)state;
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    assert_true(count >= 2);
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        struct buffers want = run(&operations[i], tables[0]);
        for (uint32_t t = 1; t < count; t++) {
            struct buffers got = run(&operations[i], tables[t]);
            for (uint32_t j = 0; j < 3; j++)
                numbers_must_be_near(operations[i].name, 2 * CELLS, got.out[j], want.out[j],
                                     operations[i].tolerance);
            drop(&got);
        }
        drop(&want);
    }
}

static void operations_without_products__give_the_same_bits_on_every_instruction_set(void **st) {
    (void)st;
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        if (operations[i].uses_sgemm) continue;
        struct buffers want = run(&operations[i], tables[1]);
        for (uint32_t t = 2; t < count; t++) {
            struct buffers got = run(&operations[i], tables[t]);
            for (uint32_t j = 0; j < 3; j++)
                if (memcmp(want.out[j], got.out[j], 2 * CELLS * sizeof(float)) != 0)
                    fail_msg("%s: %s differs from %s", operations[i].name, tables[t]->name,
                             tables[1]->name);
            drop(&got);
        }
        drop(&want);
    }
}

/* Longer than one block of query rows, so that blocks meet. */
static void attention_over_several_blocks__matches_the_reference(void **state) {
    (void)state;
    const struct brg_attention a = {.samples = 1,
                                    .context = 2 * BRG_ATTENTION_BLOCK + 9,
                                    .heads = 2,
                                    .kv_heads = 1,
                                    .head_dim = 8};
    const size_t qkv_count = (size_t)a.context * 4 * 8, out_count = (size_t)a.context * 2 * 8;
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    float *qkv = numbers_new(1, 2, qkv_count), *dout = numbers_new(2, 1, out_count);
    float *out[2], *dqkv[2];
    for (uint32_t i = 0; i < 2; i++) {
        const struct brg_kernels *k = tables[i == 0 ? 0 : count - 1];
        float *stats = numbers_new(3, 1, (size_t)a.context * 2 * 2);
        float *scratch = numbers_new(4, 1, brg_attention_scratch(&a));
        out[i] = numbers_new(5, 1, out_count);
        dqkv[i] = numbers_new(6, 1, qkv_count);
        k->attention(&a, qkv, out[i], stats, scratch);
        k->attention_grad(&a, qkv, out[i], stats, dout, dqkv[i], scratch);
        free(stats);
        free(scratch);
    }
    numbers_must_be_near("attention", out_count, out[1], out[0], TOLERANCE);
    numbers_must_be_near("attention_grad", qkv_count, dqkv[1], dqkv[0], 5e-6);
    for (uint32_t i = 0; i < 2; i++) {
        free(out[i]);
        free(dqkv[i]);
    }
    free(qkv);
    free(dout);
}

static void cross_entropy_of_equal_scores__counts_the_first_as_found(void **state) {
    (void)state;
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    for (uint32_t t = 0; t < count; t++) {
        float logits[2][3] = {{1, 2, 2}, {1, 2, 2}};
        const uint32_t target[2] = {1, 2};
        struct brg_cross_entropy sums = {.loss = 0, .correct = 0};
        tables[t]->cross_entropy((struct brg_shape){2, 3}, target, 0, logits[0], &sums);
        assert_int_equal(sums.correct, 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_of_every_table__match_the_reference_in_double),
        cmocka_unit_test(operations_without_products__give_the_same_bits_on_every_instruction_set),
        cmocka_unit_test(attention_over_several_blocks__matches_the_reference),
        cmocka_unit_test(cross_entropy_of_equal_scores__counts_the_first_as_found),
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL) != 0;
}
