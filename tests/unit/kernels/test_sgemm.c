/* test_sgemm - oneDNN's product against a plain one, and the promises about its bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/unit/kernels/numbers.h"

#define ELEMENTS 65536u

static const struct brg_kernels *reference(void) {
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    (void)brg_kernels_list(tables);
    return tables[0];
}

static struct brg_gemm gemm(uint32_t m, uint32_t n, uint32_t k, uint32_t ta, uint32_t tb) {
    return (struct brg_gemm){.m = m,
                             .n = n,
                             .k = k,
                             .transpose_a = ta,
                             .transpose_b = tb,
                             .lda = (ta ? m : k) + 3,
                             .ldb = (tb ? k : n) + 1,
                             .ldc = n + 2,
                             .alpha = 1};
}

static void sgemm_every_transposition__matches_the_plain_product(void **state) {
    (void)state;
    const uint32_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {64, 33, 17}, {48, 96, 130}, {1, 80, 70}};
    float *a = numbers_new(1, 1, ELEMENTS), *b = numbers_new(2, 1, ELEMENTS);
    float *got = numbers_new(3, 1, ELEMENTS), *want = numbers_new(3, 1, ELEMENTS);
    for (uint32_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint32_t form = 0; form < 8; form++) {
            struct brg_gemm g =
                gemm(sizes[s][0], sizes[s][1], sizes[s][2], form & 1, form >> 1 & 1);
            g.alpha = 0.5f;
            g.beta = form & 4 ? 1.0f : 0.0f;
            brg_kernels_pick()->sgemm(&g, a, b, got);
            reference()->sgemm(&g, a, b, want);
            numbers_must_be_near("sgemm", ELEMENTS, got, want, 1e-5);
        }
    free(a);
    free(b);
    free(got);
    free(want);
}

static void sgemm_no_beta__ignores_what_the_output_held(void **state) {
    (void)state;
    const struct brg_gemm g = {.m = 4, .n = 4, .k = 4, .lda = 4, .ldb = 4, .ldc = 4, .alpha = 1};
    float a[16], b[16], c[16];
    numbers_fill(1, 1, 16, a);
    numbers_fill(2, 1, 16, b);
    for (uint32_t i = 0; i < 16; i++) c[i] = NAN;
    brg_kernels_pick()->sgemm(&g, a, b, c);
    for (uint32_t i = 0; i < 16; i++) assert_true(isfinite(c[i]));
}

/* Shares are compared by digest: the same numbers at another address must give the same bits. */
static void sgemm_any_alignment__gives_the_same_bits(void **state) {
    (void)state;
    const struct brg_gemm g = gemm(65, 48, 100, 0, 1);
    float *a = numbers_new(1, 1, ELEMENTS), *b = numbers_new(2, 1, ELEMENTS);
    float *first = calloc(ELEMENTS, sizeof *first), *other = calloc(ELEMENTS, sizeof *other);
    float *a2 = numbers_new(4, 1, ELEMENTS + 16), *b2 = numbers_new(4, 1, ELEMENTS + 16);
    assert_true(first != NULL && other != NULL);
    brg_kernels_pick()->sgemm(&g, a, b, first);
    for (uint32_t shift = 1; shift < 16; shift++) {
        memcpy(a2 + shift, a, ELEMENTS * sizeof *a);
        memcpy(b2 + shift * 3 % 16, b, ELEMENTS * sizeof *b);
        memset(other, 0, ELEMENTS * sizeof *other);
        brg_kernels_pick()->sgemm(&g, a2 + shift, b2 + shift * 3 % 16, other);
        assert_memory_equal(first, other, ELEMENTS * sizeof *first);
    }
    free(a);
    free(b);
    free(a2);
    free(b2);
    free(first);
    free(other);
}

static uint32_t thread_count(void) {
    uint32_t count = 0;
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    for (uint32_t bound = 0; bound < 100000 && readdir(d) != NULL; bound++) count++;
    closedir(d);
    return count;
}

/* A joined thread can stay listed for an instant; a pool would stay for good. */
static uint32_t settled_thread_count(uint32_t expected) {
    for (uint32_t i = 0; i < 200 && thread_count() != expected; i++) (void)usleep(10000);
    return thread_count();
}

/* What a thread computes over and over while others do the same. */
struct job {
    const float *a, *b;
    const float *want;
    uint32_t differences;
};

static void *multiply(void *arg) {
    struct job *j = arg;
    const struct brg_gemm g = gemm(240, 240, 250, 1, 0);
    float *c = calloc(ELEMENTS, sizeof *c);
    BRG_ASSERT(c != NULL);
    for (uint32_t round = 0; round < 60; round++) {
        brg_kernels_pick()->sgemm(&g, j->a, j->b, c);
        j->differences += memcmp(c, j->want, ELEMENTS * sizeof *c) != 0;
    }
    free(c);
    return NULL;
}

static void *nothing(void *arg) {
    return arg;
}

static void sgemm_beside_other_threads__gives_the_same_bits_and_starts_no_pool(void **state) {
    (void)state;
    const struct brg_gemm g = gemm(240, 240, 250, 1, 0);
    float *a = numbers_new(1, 1, ELEMENTS), *b = numbers_new(2, 1, ELEMENTS);
    float *want = calloc(ELEMENTS, sizeof *want);
    assert_non_null(want);
    struct job jobs[3] = {{.a = a, .b = b, .want = want}};
    pthread_t threads[3];
    /* The first thread of a process may bring one of the sanitizer's own along. */
    assert_int_equal(pthread_create(&threads[0], NULL, nothing, NULL), 0);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    (void)usleep(50000);
    const uint32_t before = thread_count();
    brg_kernels_pick()->sgemm(&g, a, b, want);
    for (uint32_t i = 0; i < 3; i++) {
        jobs[i] = (struct job){.a = a, .b = b, .want = want};
        assert_int_equal(pthread_create(&threads[i], NULL, multiply, &jobs[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(jobs[i].differences, 0);
    }
    assert_int_equal(settled_thread_count(before), before);
    free(a);
    free(b);
    free(want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        /* First, since it counts the threads that the first product starts. */
        cmocka_unit_test(sgemm_beside_other_threads__gives_the_same_bits_and_starts_no_pool),
        cmocka_unit_test(sgemm_every_transposition__matches_the_plain_product),
        cmocka_unit_test(sgemm_no_beta__ignores_what_the_output_held),
        cmocka_unit_test(sgemm_any_alignment__gives_the_same_bits),
    };
    return cmocka_run_group_tests_name("sgemm", tests, NULL, NULL) != 0;
}
