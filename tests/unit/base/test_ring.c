#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "base/ring.h"

static int readable(const struct brg_ring *ring) {
    struct pollfd p = {.fd = brg_ring_fd(ring), .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

static struct brg_ring *make(uint32_t capacity) {
    struct brg_ring *ring;
    assert_int_equal(brg_ring_create(&ring, capacity, sizeof(uint32_t)), BRG_OK);
    return ring;
}

static void push(struct brg_ring *ring, uint32_t v) {
    assert_int_equal(brg_ring_push(ring, &v), BRG_OK);
}

static void pop(struct brg_ring *ring, uint32_t want) {
    uint32_t v = ~want;
    assert_int_equal(brg_ring_pop(ring, &v), BRG_OK);
    assert_int_equal(v, want);
}

static void ring_items__come_out_in_order_over_the_seam(void **state) {
    (void)state;
    struct brg_ring *ring = make(3);
    uint32_t next_in = 0, next_out = 0;
    for (int round = 0; round < 10; round++) {
        push(ring, next_in++);
        push(ring, next_in++);
        pop(ring, next_out++);
        pop(ring, next_out++);
    }
    assert_int_equal(brg_ring_count(ring), 0);
    brg_ring_destroy(&ring);
    assert_null(ring);
}

static void ring_full__is_said_and_loses_nothing(void **state) {
    (void)state;
    struct brg_ring *ring = make(2);
    uint32_t v = 9;
    push(ring, 1);
    push(ring, 2);
    assert_int_equal(brg_ring_push(ring, &v), BRG_EFULL);
    pop(ring, 1);
    push(ring, 3);
    pop(ring, 2);
    pop(ring, 3);
    assert_int_equal(brg_ring_pop(ring, &v), BRG_ENOENT);
    brg_ring_destroy(&ring);
}

static void ring_descriptor__is_readable_while_an_item_is_inside(void **state) {
    (void)state;
    struct brg_ring *ring = make(4);
    assert_false(readable(ring));
    push(ring, 1);
    push(ring, 2);
    assert_true(readable(ring));
    pop(ring, 1);
    assert_true(readable(ring));
    pop(ring, 2);
    assert_false(readable(ring));
    push(ring, 3);
    assert_true(readable(ring));
    brg_ring_destroy(&ring);
}

static void ring_closed__takes_no_more_and_gives_out_the_rest(void **state) {
    (void)state;
    struct brg_ring *ring = make(4);
    uint32_t v = 5;
    push(ring, 1);
    brg_ring_close(ring);
    assert_int_equal(brg_ring_push(ring, &v), BRG_ECANCELED);
    pop(ring, 1);
    assert_int_equal(brg_ring_pop(ring, &v), BRG_ECANCELED);
    assert_int_equal(brg_ring_pop_wait(ring, &v, BRG_NS_PER_S), BRG_ECANCELED);
    assert_true(readable(ring)); /* a reactor that polls learns of the end */
    brg_ring_close(ring);
    brg_ring_destroy(&ring);
}

static void ring_wait__ends_at_its_bound(void **state) {
    (void)state;
    struct brg_ring *ring = make(1);
    struct timespec a, b;
    uint32_t v;
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(brg_ring_pop_wait(ring, &v, 20 * BRG_NS_PER_MS), BRG_ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &b);
    int64_t ns = (b.tv_sec - a.tv_sec) * (int64_t)BRG_NS_PER_S + b.tv_nsec - a.tv_nsec;
    assert_true(ns >= 20 * (int64_t)BRG_NS_PER_MS);
    assert_true(ns < 10 * (int64_t)BRG_NS_PER_S);
    brg_ring_destroy(&ring);
}

#define PRODUCERS 4u
#define EACH 5000u

struct producer {
    struct brg_ring *ring;
    uint32_t id;
};

static void *produce(void *arg) {
    struct producer *p = arg;
    for (uint32_t i = 0; i < EACH; i++) {
        uint32_t v = p->id * EACH + i;
        int rc = BRG_EFULL;
        while (rc == BRG_EFULL) rc = brg_ring_push(p->ring, &v);
        if (rc != BRG_OK) return p;
    }
    return NULL;
}

/* One consumer sleeps on the descriptor as a reactor does; every item must come exactly once, and
 * those of one producer in its order. */
static void ring_many_producers__lose_and_double_nothing(void **state) {
    (void)state;
    struct brg_ring *ring = make(16);
    struct producer p[PRODUCERS];
    pthread_t threads[PRODUCERS];
    uint32_t next[PRODUCERS] = {0}, got = 0;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        p[i] = (struct producer){.ring = ring, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &p[i]), 0);
    }
    while (got < PRODUCERS * EACH) {
        struct pollfd fd = {.fd = brg_ring_fd(ring), .events = POLLIN};
        uint32_t v;
        assert_int_equal(poll(&fd, 1, 30000), 1);
        while (brg_ring_pop(ring, &v) == BRG_OK) {
            assert_true(v / EACH < PRODUCERS);
            assert_int_equal(v % EACH, next[v / EACH]);
            next[v / EACH]++;
            got++;
        }
    }
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_false(readable(ring));
    brg_ring_destroy(&ring);
}

static void *wait_for_one(void *arg) {
    uint32_t v = 0;
    int rc = brg_ring_pop_wait(arg, &v, 30 * BRG_NS_PER_S);
    return (void *)(intptr_t)(rc == BRG_OK ? (int)v : rc);
}

static void ring_sleeper__wakes_on_push_and_on_close(void **state) {
    (void)state;
    time_t start = time(NULL);
    for (int by_close = 0; by_close < 2; by_close++) {
        struct brg_ring *ring = make(1);
        pthread_t thread;
        void *result;
        assert_int_equal(pthread_create(&thread, NULL, wait_for_one, ring), 0);
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        if (by_close) {
            brg_ring_close(ring);
        } else {
            push(ring, 77);
        }
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_true((intptr_t)result == (by_close ? BRG_ECANCELED : 77));
        brg_ring_destroy(&ring);
    }
    assert_true(time(NULL) - start < 15); /* woken, not out of time */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_items__come_out_in_order_over_the_seam),
        cmocka_unit_test(ring_full__is_said_and_loses_nothing),
        cmocka_unit_test(ring_descriptor__is_readable_while_an_item_is_inside),
        cmocka_unit_test(ring_closed__takes_no_more_and_gives_out_the_rest),
        cmocka_unit_test(ring_wait__ends_at_its_bound),
        cmocka_unit_test(ring_many_producers__lose_and_double_nothing),
        cmocka_unit_test(ring_sleeper__wakes_on_push_and_on_close),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL) != 0;
}
