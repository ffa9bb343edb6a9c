#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "base/pool.h"
#include "base/prng.h"

#define MIB ((size_t)1 << 20)

static struct brg_buffer *get(struct brg_pool *pool, size_t size_bytes) {
    struct brg_buffer *b;
    assert_int_equal(brg_pool_get(pool, size_bytes, &b), BRG_OK);
    assert_int_equal(b->size_bytes, size_bytes);
    assert_int_equal((uintptr_t)b->data % BRG_POOL_ALIGN, 0);
    return b;
}

static struct brg_pool_stats stats(struct brg_pool *pool) {
    struct brg_pool_stats s;
    brg_pool_stats_read(pool, &s);
    return s;
}

static void pool_sizes__are_all_writable_and_waste_less_than_a_quarter(void **state) {
    (void)state;
    struct brg_pool *pool;
    struct brg_prng g = {1};
    assert_int_equal(brg_pool_create(&pool, 256 * MIB), BRG_OK);
    for (size_t i = 0; i < 300; i++) {
        size_t size = i < 100 ? i * 1024 + 1 : 1 + (size_t)brg_prng_below(&g, 24 * MIB);
        struct brg_buffer *b = get(pool, size);
        size_t mapped = stats(pool).held_bytes;
        assert_true(mapped >= size);
        assert_true(mapped <= size + size / 4 + 4096);
        ((uint8_t *)b->data)[0] = 1;
        ((uint8_t *)b->data)[size - 1] = 1;
        brg_buffer_release(b);
    }
    brg_pool_destroy(&pool);
    assert_null(pool);
}

static void pool_release__lets_the_next_get_use_the_same_pages(void **state) {
    (void)state;
    struct brg_pool *pool;
    assert_int_equal(brg_pool_create(&pool, 64 * MIB), BRG_OK);
    struct brg_buffer *a = get(pool, 4 * MIB);
    void *data = a->data;
    assert_int_equal((uintptr_t)data % (2 * MIB), 0);
    brg_buffer_release(a);
    struct brg_buffer *b = get(pool, 4 * MIB - 100);
    assert_ptr_equal(b->data, data);
    assert_int_equal(stats(pool).reuses, 1);
    assert_int_equal(stats(pool).mapped_bytes, 4 * MIB);
    brg_buffer_release(b);
    brg_pool_trim(pool);
    assert_int_equal(stats(pool).mapped_bytes, 0);
    brg_pool_destroy(&pool);
}

static void pool_bound__is_never_passed_and_free_buffers_make_room(void **state) {
    (void)state;
    struct brg_pool *pool;
    struct brg_buffer *none = (struct brg_buffer *)1;
    assert_int_equal(brg_pool_create(&pool, 8 * MIB), BRG_OK);
    struct brg_buffer *a = get(pool, 4 * MIB);
    struct brg_buffer *b = get(pool, 3 * MIB);
    assert_int_equal(brg_pool_get(pool, 2 * MIB, &none), BRG_ENOMEM);
    assert_null(none);
    assert_int_equal(brg_pool_get(pool, 9 * MIB, &none), BRG_ENOMEM);
    assert_int_equal(brg_pool_get(pool, SIZE_MAX, &none), BRG_ENOMEM);
    brg_buffer_release(b);
    /* 3 MiB lie free in another class: they must go, or 4 MiB would not fit. */
    struct brg_buffer *c = get(pool, 4 * MIB);
    assert_int_equal(stats(pool).mapped_bytes, 8 * MIB);
    assert_int_equal(stats(pool).peak_bytes, 8 * MIB);
    brg_buffer_release(a);
    brg_buffer_release(c);
    assert_int_equal(stats(pool).held_bytes, 0);
    brg_pool_destroy(&pool);
}

static void pool_buffer__stays_while_one_holder_is_left(void **state) {
    (void)state;
    struct brg_pool *pool;
    assert_int_equal(brg_pool_create(&pool, 64 * MIB), BRG_OK);
    struct brg_buffer *a = brg_buffer_hold(get(pool, 100));
    brg_buffer_release(a);
    assert_true(stats(pool).held_bytes > 0);
    struct brg_buffer *b = get(pool, 100);
    assert_ptr_not_equal(b->data, a->data);
    brg_buffer_release_sent(a->data, a);
    brg_buffer_release(b);
    assert_int_equal(stats(pool).held_bytes, 0);
    brg_buffer_release(NULL);
    brg_pool_destroy(&pool);
}

static void pool_destroyed__leaves_held_buffers_to_their_last_holder(void **state) {
    (void)state;
    struct brg_pool *pool;
    assert_int_equal(brg_pool_create(&pool, 64 * MIB), BRG_OK);
    struct brg_buffer *a = get(pool, 1000), *b = get(pool, MIB);
    brg_buffer_release(get(pool, 5000));
    brg_pool_destroy(&pool);
    memset(a->data, 1, a->size_bytes);
    memset(b->data, 1, b->size_bytes);
    brg_buffer_release(a);
    brg_buffer_release(b); /* LeakSanitizer sees it when this does not free the pool */
}

#define THREADS 4
#define TURNS 2000

/* Fills a buffer, checks that nobody else wrote to it, and passes it to the others' releases. */
static void *churn(void *arg) {
    struct brg_pool *pool = arg;
    for (uint32_t i = 0; i < TURNS; i++) {
        struct brg_buffer *b;
        if (brg_pool_get(pool, 64 + (i % 3) * 8000, &b) != BRG_OK) continue; /* bound: allowed */
        (void)brg_buffer_hold(b);
        memset(b->data, (int)(i & 0xff), 64);
        brg_buffer_release(b);
        for (int k = 0; k < 64; k++) {
            if (((uint8_t *)b->data)[k] != (i & 0xff)) return b;
        }
        brg_buffer_release(b);
    }
    return NULL;
}

static void pool_threads__never_share_a_buffer(void **state) {
    (void)state;
    struct brg_pool *pool;
    pthread_t threads[THREADS];
    assert_int_equal(brg_pool_create(&pool, 20 * 4096), BRG_OK);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, churn, pool), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(stats(pool).held_bytes, 0);
    assert_true(stats(pool).reuses > 0);
    brg_pool_destroy(&pool);
}

static void *release_elsewhere(void *arg) {
    brg_buffer_release(arg);
    return NULL;
}

static void pool_last_release__in_another_thread_frees_the_pool(void **state) {
    (void)state;
    struct brg_pool *pool;
    pthread_t thread;
    assert_int_equal(brg_pool_create(&pool, MIB), BRG_OK);
    struct brg_buffer *b = get(pool, 100);
    assert_int_equal(pthread_create(&thread, NULL, release_elsewhere, b), 0);
    brg_pool_destroy(&pool);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_sizes__are_all_writable_and_waste_less_than_a_quarter),
        cmocka_unit_test(pool_release__lets_the_next_get_use_the_same_pages),
        cmocka_unit_test(pool_bound__is_never_passed_and_free_buffers_make_room),
        cmocka_unit_test(pool_buffer__stays_while_one_holder_is_left),
        cmocka_unit_test(pool_destroyed__leaves_held_buffers_to_their_last_holder),
        cmocka_unit_test(pool_threads__never_share_a_buffer),
        cmocka_unit_test(pool_last_release__in_another_thread_frees_the_pool),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL) != 0;
}
