/* test_combine - linear combinations against a plain double sum, and ranges for threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/kernels/numbers.h"

#define FLOATS 700u

/* k vectors of FLOATS floats that all begin `shift` floats after an aligned address. */
struct vectors {
    float *memory;
    const float *x[BRG_COMBINE_MAX];
    double w[BRG_COMBINE_MAX];
};

static void make(struct vectors *v, uint32_t k) {
    v->memory = numbers_new(k, 1, (size_t)k * (FLOATS + 5));
    struct brg_prng g = {.state = k};
    for (uint32_t j = 0; j < k; j++) {
        v->x[j] = v->memory + (size_t)j * (FLOATS + 5);
        v->w[j] = brg_prng_normal(&g);
    }
}

/* The definition, in the order that the promise names: the same bits are required. */
static void combine_plainly(size_t count, uint32_t k, const struct vectors *v, float *out) {
    for (size_t i = 0; i < count; i++) {
        double sum = v->w[0] * (double)v->x[0][i];
        for (uint32_t j = 1; j < k; j++) sum += v->w[j] * (double)v->x[j][i];
        out[i] = (float)sum;
    }
}

static void combine_and_compare(const struct brg_kernels *kernels, const struct vectors *v,
                                uint32_t k, size_t count, size_t shift) {
    static float want[FLOATS];
    static float memory[FLOATS + 64];
    float *got = memory + shift;
    combine_plainly(count, k, v, want);
    for (size_t i = 0; i < FLOATS + 64; i++) memory[i] = 12345.0f;
    kernels->combine(count, k, v->w, v->x, got);
    assert_memory_equal(got, want, count * sizeof *want);
    for (size_t i = 0; i < shift; i++) assert_true(memory[i] == 12345.0f);
    for (size_t i = shift + count; i < FLOATS + 64; i++) assert_true(memory[i] == 12345.0f);
}

static void combine_any_length_and_alignment__is_the_double_sum_and_writes_nothing_else(void **st) {
    (void)st;
    const size_t counts[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 129, 500, 643, 700};
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t table_count = brg_kernels_list(tables);
    for (uint32_t k = 1; k <= 33; k++) {
        struct vectors v;
        make(&v, k);
        for (uint32_t t = 0; t < table_count; t++)
            for (uint32_t c = 0; c < sizeof counts / sizeof *counts; c++)
                for (size_t shift = 0; shift < 18; shift += 1 + k % 4)
                    combine_and_compare(tables[t], &v, k, counts[c], shift);
        free(v.memory);
    }
}

static void combine_most_vectors__is_the_double_sum(void **state) {
    (void)state;
    static struct vectors v;
    make(&v, BRG_COMBINE_MAX);
    combine_and_compare(brg_kernels_pick(), &v, BRG_COMBINE_MAX, FLOATS, 3);
    free(v.memory);
}

static void combine_one_vector_with_weight_one__copies_every_bit(void **state) {
    (void)state;
    float x[100], out[100];
    const float *list[1] = {x};
    const double one = 1.0;
    numbers_fill(5, 1e20, 100, x);
    x[0] = -0.0f;
    x[50] = -0.0f;
    x[51] = INFINITY;
    x[52] = 1e-45f;
    brg_combine(100, 1, &one, list, out);
    assert_memory_equal(x, out, sizeof x);
}

static void combine_large_terms_that_cancel__keeps_the_small_one(void **state) {
    (void)state;
    float big[70], small[70], out[70];
    const float *list[3] = {big, small, big};
    const double w[3] = {1.0, 1.0, -1.0};
    for (uint32_t i = 0; i < 70; i++) {
        big[i] = 16777216.0f;
        small[i] = 0.25f;
    }
    brg_combine(70, 3, w, list, out);
    for (uint32_t i = 0; i < 70; i++) assert_true(out[i] == 0.25f);
}

static void range_split__covers_everything_once_at_whole_cache_lines(void **state) {
    (void)state;
    const size_t counts[] = {0, 1, 63, 64, 65, 1000, 100000};
    for (uint32_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (uint32_t parts = 1; parts < 20; parts++) {
            size_t at = 0;
            for (uint32_t i = 0; i < parts; i++) {
                const struct brg_range r = brg_range_split(counts[c], parts, i);
                assert_int_equal(r.begin, at);
                assert_true(r.end >= r.begin);
                if (r.end < counts[c]) assert_int_equal(r.end % 64, 0);
                at = r.end;
            }
            assert_int_equal(at, counts[c]);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            combine_any_length_and_alignment__is_the_double_sum_and_writes_nothing_else),
        cmocka_unit_test(combine_most_vectors__is_the_double_sum),
        cmocka_unit_test(combine_one_vector_with_weight_one__copies_every_bit),
        cmocka_unit_test(combine_large_terms_that_cancel__keeps_the_small_one),
        cmocka_unit_test(range_split__covers_everything_once_at_whole_cache_lines),
    };
    return cmocka_run_group_tests_name("combine", tests, NULL, NULL) != 0;
}
