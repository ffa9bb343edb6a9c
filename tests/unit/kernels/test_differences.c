/* test_differences - the gradient of every operation against finite differences of the operation.
 *
 * For each input number x: (f(x + h) - f(x - h)) / 2h with f the sum of the outputs times fixed
 * weights; the weights are then the gradient that comes in from behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/kernels/numbers.h"

#define FLOATS_MAX 512u

/* An operation with its inputs in one array, its outputs in another. */
struct subject {
    const char *name;
    size_t in_count, out_count;
    void (*forward)(const struct brg_kernels *k, const float *in, float *out);
    void (*backward)(const struct brg_kernels *k, const float *in, const float *dout, float *din);
};

#define R 3u
#define C 10u
static const struct brg_shape small = {R, C};

/* rmsnorm: in = x [R, C], gain [C] */
static void rmsnorm_forward(const struct brg_kernels *k, const float *in, float *out) {
    float inv[R];
    k->rmsnorm(small, 1e-5f, in, in + R * C, out, inv);
}

static void rmsnorm_backward(const struct brg_kernels *k, const float *in, const float *dout,
                             float *din) {
    float y[R * C], inv[R];
    k->rmsnorm(small, 1e-5f, in, in + R * C, y, inv);
    k->rmsnorm_grad(small, in, in + R * C, inv, dout, din, din + R * C);
}

/* rope: in = x [R, C], two heads of 4, two floats that stay */
static void rope_with(const struct brg_kernels *k, uint32_t inverse, float *x) {
    float cosines[R * 2], sines[R * 2];
    brg_rope_table(R, 4, 100.0, cosines, sines);
    k->rope(
        &(struct brg_rope){
            .rows = R, .context = R, .heads = 2, .head_dim = 4, .stride = C, .inverse = inverse},
        cosines, sines, x);
}

static void rope_forward(const struct brg_kernels *k, const float *in, float *out) {
    memcpy(out, in, R * C * sizeof *out);
    rope_with(k, 0, out);
}

static void rope_backward(const struct brg_kernels *k, const float *in, const float *dout,
                          float *din) {
    (void)in;
    memcpy(din, dout, R * C * sizeof *din);
    rope_with(k, 1, din);
}

/* attention: 2 samples of 5 positions, 4 heads of 2 over 2 key/value heads */
static const struct brg_attention heads = {
    .samples = 2, .context = 5, .heads = 4, .kv_heads = 2, .head_dim = 2};
#define QKV (2u * 5u * 8u * 2u)
#define OUT (2u * 5u * 4u * 2u)

static void attention_forward(const struct brg_kernels *k, const float *in, float *out) {
    float stats[2 * 5 * 4 * 2];
    float *scratch = numbers_new(1, 1, brg_attention_scratch(&heads));
    k->attention(&heads, in, out, stats, scratch);
    free(scratch);
}

static void attention_backward(const struct brg_kernels *k, const float *in, const float *dout,
                               float *din) {
    float stats[2 * 5 * 4 * 2], out[OUT];
    float *scratch = numbers_new(1, 1, brg_attention_scratch(&heads));
    k->attention(&heads, in, out, stats, scratch);
    k->attention_grad(&heads, in, out, stats, dout, din, scratch);
    free(scratch);
}

static void swiglu_forward(const struct brg_kernels *k, const float *in, float *out) {
    k->swiglu(small, in, out);
}

static void swiglu_backward(const struct brg_kernels *k, const float *in, const float *dout,
                            float *din) {
    k->swiglu_grad(small, in, dout, din);
}

static const uint32_t ids[R] = {2, 0, 2};

static void embed_forward(const struct brg_kernels *k, const float *in, float *out) {
    k->embed(small, ids, in, out);
}

static void embed_backward(const struct brg_kernels *k, const float *in, const float *dout,
                           float *din) {
    (void)in;
    k->embed_grad(small, ids, dout, din);
}

/* cross_entropy: the output is the loss in parts, so that float keeps its digits */
static void entropy_forward(const struct brg_kernels *k, const float *in, float *out) {
    float logits[R * C];
    struct brg_cross_entropy sums = {.loss = 0, .correct = 0};
    memcpy(logits, in, sizeof logits);
    k->cross_entropy(small, ids, 0, logits, &sums);
    out[0] = (float)sums.loss;
    out[1] = (float)(sums.loss - (double)out[0]);
}

static void entropy_backward(const struct brg_kernels *k, const float *in, const float *dout,
                             float *din) {
    struct brg_cross_entropy sums = {.loss = 0, .correct = 0};
    memcpy(din, in, R * C * sizeof *din);
    k->cross_entropy(small, ids, 1, din, &sums);
    k->scale(R * C, dout[0], din);
}

/* bias, then relu: in = y [R, C], bias [C] */
static void dense_forward(const struct brg_kernels *k, const float *in, float *out) {
    memcpy(out, in, R * C * sizeof *out);
    k->bias(small, in + R * C, out);
    k->relu(R * C, out);
}

static void dense_backward(const struct brg_kernels *k, const float *in, const float *dout,
                           float *din) {
    float y[R * C];
    dense_forward(k, in, y);
    memcpy(din, dout, R * C * sizeof *din);
    k->relu_grad(R * C, y, din);
    k->bias_grad(small, din, din + R * C);
}

static const struct subject subjects[] = {
    {"rmsnorm", R *C + C, R *C, rmsnorm_forward, rmsnorm_backward},
    {"rope", R *C, R *C, rope_forward, rope_backward},
    {"attention", QKV, OUT, attention_forward, attention_backward},
    {"swiglu", 2 * R *C, R *C, swiglu_forward, swiglu_backward},
    {"embed", R *C, R *C, embed_forward, embed_backward},
    {"cross_entropy", R *C, 2, entropy_forward, entropy_backward},
    {"bias and relu", R *C + C, R *C, dense_forward, dense_backward},
};

static double objective(const struct subject *s, const struct brg_kernels *k, const float *in,
                        const float *weight) {
    float out[FLOATS_MAX];
    s->forward(k, in, out);
    return numbers_weighted_sum(s->out_count, out, weight);
}

static void compare(const struct subject *s, const struct brg_kernels *k) {
    const float h = 1.0f / 256.0f;
    float in[FLOATS_MAX], weight[FLOATS_MAX], got[FLOATS_MAX], want[FLOATS_MAX];
    assert_true(s->in_count <= FLOATS_MAX && s->out_count <= FLOATS_MAX);
    numbers_fill(7, 1, s->in_count, in);
    numbers_fill(8, 1, s->out_count, weight);
    if (s->forward == entropy_forward) weight[0] = weight[1] = 1.5f;
    memset(got, 0, sizeof got);
    s->backward(k, in, weight, got);
    for (size_t i = 0; i < s->in_count; i++) {
        const float x = in[i], up = x + h, down = x - h;
        in[i] = up;
        const double high = objective(s, k, in, weight);
        in[i] = down;
        const double low = objective(s, k, in, weight);
        in[i] = x;
        want[i] = (float)((high - low) / ((double)up - (double)down));
    }
    numbers_must_be_near(s->name, s->in_count, got, want, 5e-4);
}

static void gradients_of_every_table__match_finite_differences(void **state) {
    (void)state;
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
            compare(&subjects[i], tables[t]);
}

/* "adds to": what the array held before must still be in it. */
static void gradients_that_add__keep_what_was_there(void **state) {
    (void)state;
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    float in[R * C + C], dy[R * C];
    numbers_fill(1, 1, R * C + C, in);
    numbers_fill(2, 1, R * C, dy);
    for (uint32_t t = 0; t < count; t++) {
        float once[R * C + C] = {0}, twice[R * C + C] = {0};
        rmsnorm_backward(tables[t], in, dy, once);
        rmsnorm_backward(tables[t], in, dy, twice);
        rmsnorm_backward(tables[t], in, dy, twice);
        for (uint32_t i = 0; i < R * C + C; i++) once[i] *= 2;
        numbers_must_be_near("rmsnorm_grad", R * C + C, twice, once, 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_every_table__match_finite_differences),
        cmocka_unit_test(gradients_that_add__keep_what_was_there),
    };
    return cmocka_run_group_tests_name("differences", tests, NULL, NULL) != 0;
}
