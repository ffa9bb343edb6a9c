/* One object moved from a source to a fetch in one process, over a link that does what links do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "proto/bulk.h"

#include <string.h>

#define PART 1000u
#define SIZE 10500u /* 10 parts and a half */
#define RETRY_NS 100u
#define IDLE_NS 1000u

static const struct brg_object what = {.kind = BRG_OBJECT_SHARE, .run = 3, .step = 7, .unit = 2};
static const struct brg_fetch_config config = {
    .retry_ns = RETRY_NS, .idle_ns = IDLE_NS, .part_bytes = PART, .window = 4, .verify_parts = 1};

struct fixture {
    struct brg_pool *pool;
    struct brg_buffer *original;
    struct brg_source source;
    struct brg_fetch fetch;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(brg_pool_create(&f->pool, 64u << 20), BRG_OK);
    assert_int_equal(brg_pool_get(f->pool, SIZE, &f->original), BRG_OK);
    struct brg_prng g = {.state = 5};
    for (uint32_t i = 0; i < SIZE; i++)
        ((uint8_t *)f->original->data)[i] = (uint8_t)brg_prng_next(&g);
    assert_int_equal(brg_source_init(&f->source, f->pool, &what, f->original, SIZE), BRG_OK);
    struct brg_buffer *buffer = NULL;
    assert_int_equal(brg_pool_get(f->pool, SIZE, &buffer), BRG_OK);
    memset(buffer->data, 0, SIZE);
    brg_fetch_start(&f->fetch, &what, buffer, SIZE, &config, 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    brg_fetch_drop(&f->fetch);
    brg_source_fini(&f->source);
    brg_buffer_release(f->original);
    struct brg_pool_stats stats;
    brg_pool_stats_read(f->pool, &stats);
    assert_int_equal(stats.held_bytes, 0); /* every hold was given back */
    brg_pool_destroy(&f->pool);
    free(f);
    return 0;
}

static struct brg_msg answer(struct fixture *f, const struct brg_msg_get *get,
                             struct brg_bytes *bytes) {
    struct brg_msg msg = {0};
    assert_int_equal(brg_source_part(&f->source, get, &msg, bytes), BRG_OK);
    return msg;
}

/* Asks, answers and takes in `get`'s part. */
static int deliver(struct fixture *f, const struct brg_msg_get *get, uint64_t now_ns) {
    struct brg_bytes bytes;
    const struct brg_msg msg = answer(f, get, &bytes);
    return brg_fetch_on_part(&f->fetch, &msg, bytes, now_ns);
}

static void expect_whole(struct fixture *f) {
    assert_true(brg_fetch_is_done(&f->fetch));
    assert_int_equal(brg_fetch_wake_ns(&f->fetch), UINT64_MAX);
    struct brg_buffer *got = brg_fetch_take(&f->fetch);
    assert_memory_equal(got->data, f->original->data, SIZE);
    assert_false(brg_fetch_is_active(&f->fetch));
    brg_buffer_release(got);
}

static void bulk_quiet_link__brings_the_object_with_one_get_a_part(void **state) {
    struct fixture *f = *state;
    struct brg_msg_get get;
    uint32_t gets = 0;
    while (brg_fetch_next_get(&f->fetch, 1, &get)) {
        assert_int_equal(deliver(f, &get, 1), BRG_OK);
        assert_true(++gets <= 11);
    }
    assert_int_equal(gets, 11);
    assert_int_equal(f->source.part_count, 1);
    expect_whole(f);
}

static void bulk_window__bounds_what_is_asked_for_at_once(void **state) {
    struct fixture *f = *state;
    struct brg_msg_get get;
    for (uint32_t i = 0; i < config.window; i++) {
        assert_true(brg_fetch_next_get(&f->fetch, 5, &get));
        assert_int_equal(get.offset, i * PART);
        assert_int_equal(get.length, PART);
    }
    assert_false(brg_fetch_next_get(&f->fetch, 5, &get));
    assert_int_equal(brg_fetch_wake_ns(&f->fetch), 5 + RETRY_NS);
    /* The second part does not move the window, the first one moves it over both. */
    get.offset = PART;
    assert_int_equal(deliver(f, &get, 6), BRG_OK);
    assert_false(brg_fetch_next_get(&f->fetch, 6, &get));
    get = (struct brg_msg_get){.object = what, .offset = 0, .length = PART};
    assert_int_equal(deliver(f, &get, 6), BRG_OK);
    assert_true(brg_fetch_next_get(&f->fetch, 6, &get));
    assert_int_equal(get.offset, 4 * PART);
    assert_true(brg_fetch_next_get(&f->fetch, 6, &get));
    assert_int_equal(get.offset, 5 * PART);
    assert_false(brg_fetch_next_get(&f->fetch, 6, &get));
}

static void bulk_bad_link__loses_repeats_and_reorders_without_harm(void **state) {
    struct fixture *f = *state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct brg_prng g = {.state = seed};
        struct brg_msg_get flying[64];
        uint32_t count = 0, turns = 0;
        uint64_t now_ns = 0;
        if (!brg_fetch_is_active(&f->fetch)) {
            struct brg_buffer *buffer = NULL;
            assert_int_equal(brg_pool_get(f->pool, SIZE, &buffer), BRG_OK);
            memset(buffer->data, 0, SIZE);
            brg_fetch_start(&f->fetch, &what, buffer, SIZE, &config, 0);
        }
        while (!brg_fetch_is_done(&f->fetch)) {
            assert_true(++turns < 10000); /* it comes to an end */
            struct brg_msg_get get;
            now_ns += brg_prng_below(&g, RETRY_NS);
            while (count < 60 && brg_fetch_next_get(&f->fetch, now_ns, &get)) {
                const uint64_t fate = brg_prng_below(&g, 10);
                if (fate < 3) continue; /* lost */
                flying[count++] = get;
                if (fate == 9) flying[count++] = get; /* twice */
            }
            if (brg_prng_below(&g, 20) == 0) {
                brg_fetch_reconnected(&f->fetch, now_ns);
                count = 0; /* what was under way is gone */
            }
            if (count == 0) continue;
            const uint32_t pick = (uint32_t)brg_prng_below(&g, count);
            assert_int_equal(deliver(f, &flying[pick], now_ns), BRG_OK);
            flying[pick] = flying[--count];
        }
        expect_whole(f);
    }
}

static void bulk_lost_part__is_asked_for_again_only_when_nothing_new_comes(void **state) {
    struct fixture *f = *state;
    struct brg_msg_get get;
    for (uint32_t i = 0; i < config.window; i++)
        assert_true(brg_fetch_next_get(&f->fetch, 0, &get));
    get = (struct brg_msg_get){.object = what, .offset = PART, .length = PART};
    assert_int_equal(deliver(f, &get, RETRY_NS - 1), BRG_OK);
    assert_false(brg_fetch_next_get(&f->fetch, RETRY_NS, &get)); /* slow, not lost */
    assert_int_equal(brg_fetch_wake_ns(&f->fetch), 2 * RETRY_NS - 1);
    assert_true(brg_fetch_next_get(&f->fetch, 2 * RETRY_NS - 1, &get));
    assert_int_equal(get.offset, 0);
}

static void bulk_reconnect__keeps_what_came_and_asks_for_the_rest_at_once(void **state) {
    struct fixture *f = *state;
    struct brg_msg_get get;
    assert_true(brg_fetch_next_get(&f->fetch, 1, &get));
    assert_int_equal(deliver(f, &get, 1), BRG_OK);
    while (brg_fetch_next_get(&f->fetch, 1, &get)) {
    }
    brg_fetch_reconnected(&f->fetch, 2);
    assert_int_equal(brg_fetch_wake_ns(&f->fetch), 0);
    assert_int_equal(f->fetch.here_bytes, PART);
    assert_true(brg_fetch_next_get(&f->fetch, 2, &get));
    assert_int_equal(get.offset, PART);
}

static void bulk_silence__is_stuck_after_the_idle_time_and_not_before(void **state) {
    struct fixture *f = *state;
    struct brg_msg_get get;
    assert_false(brg_fetch_is_stuck(&f->fetch, IDLE_NS - 1));
    assert_true(brg_fetch_is_stuck(&f->fetch, IDLE_NS));
    assert_true(brg_fetch_next_get(&f->fetch, 500, &get));
    assert_int_equal(deliver(f, &get, 500), BRG_OK);
    assert_false(brg_fetch_is_stuck(&f->fetch, IDLE_NS));
    assert_true(brg_fetch_is_stuck(&f->fetch, 500 + IDLE_NS));
}

static void bulk_hostile_part__is_refused_and_changes_nothing(void **state) {
    struct fixture *f = *state;
    struct brg_bytes bytes, shorter;
    const struct brg_msg_get get = {.object = what, .offset = 0, .length = PART};
    const struct brg_msg good = answer(f, &get, &bytes);
    const struct brg_fetch before = f->fetch;
    struct brg_msg bad = good;

    bad.part.total = SIZE + 1;
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    bad = good;
    bad.part.total = UINT64_MAX;
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    static const uint64_t offsets[] = {1, PART - 1, SIZE, 11 * PART, UINT64_MAX, UINT64_MAX - 999};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        bad = good;
        bad.part.offset = offsets[i];
        assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    }
    bad = good;
    bad.part.offset = 4 * PART; /* behind the window */
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    shorter = bytes;
    shorter.size_bytes--;
    assert_int_equal(brg_fetch_on_part(&f->fetch, &good, shorter, 1), BRG_EPROTO);
    bad = good;
    bad.part.offset = 10 * PART; /* the last part is half as long */
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    bad = good;
    bad.tensor_count = 0;
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    bad = good;
    bad.tensors[0].digest.bytes[3] ^= 1;
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_EPROTO);
    bad = good;
    bad.part.object.step++;
    assert_int_equal(brg_fetch_on_part(&f->fetch, &bad, bytes, 1), BRG_ENOENT);
    assert_memory_equal(&before, &f->fetch, sizeof before);
    assert_int_equal(((uint8_t *)f->fetch.buffer->data)[0], 0);
    assert_int_equal(brg_fetch_on_part(&f->fetch, &good, bytes, 1), BRG_OK);
}

static void bulk_source__answers_any_range_inside_and_nothing_else(void **state) {
    struct fixture *f = *state;
    struct brg_msg msg = {0};
    struct brg_bytes bytes;
    struct brg_msg_get get = {.object = what, .offset = SIZE - 10, .length = BRG_PART_BYTES_MAX};
    assert_int_equal(brg_source_part(&f->source, &get, &msg, &bytes), BRG_OK);
    assert_int_equal(bytes.size_bytes, 10);
    assert_int_equal(msg.tensors[0].elements, 10);
    assert_int_equal(msg.part.total, SIZE);
    assert_ptr_equal(bytes.data, (uint8_t *)f->original->data + SIZE - 10); /* not copied */
    assert_int_equal(brg_wire_verify_tensor(&msg.tensors[0], bytes), BRG_OK);
    get.offset = SIZE;
    assert_int_equal(brg_source_part(&f->source, &get, &msg, &bytes), BRG_EPROTO);
    get.offset = BRG_OBJECT_BYTES_MAX - 1;
    assert_int_equal(brg_source_part(&f->source, &get, &msg, &bytes), BRG_EPROTO);
    get.offset = 0;
    get.object.unit++;
    assert_int_equal(brg_source_part(&f->source, &get, &msg, &bytes), BRG_ENOENT);
    get.object = what;
    struct brg_source none = {0};
    assert_int_equal(brg_source_part(&none, &get, &msg, &bytes), BRG_ENOENT);
}

static void bulk_source_of_many_parts__keeps_the_right_digest_for_each(void **state) {
    struct fixture *f = *state;
    const uint64_t size = 2 * BRG_BULK_PART_BYTES + 77;
    struct brg_buffer *big = NULL;
    struct brg_source s;
    assert_int_equal(brg_pool_get(f->pool, size, &big), BRG_OK);
    for (uint64_t i = 0; i < size; i++) ((uint8_t *)big->data)[i] = (uint8_t)(i * 7 + i / 4096);
    assert_int_equal(brg_source_init(&s, f->pool, &what, big, size), BRG_OK);
    brg_source_digest(&s);
    uint64_t seen = 0;
    for (uint64_t offset = 0; offset < size; offset += BRG_BULK_PART_BYTES) {
        const struct brg_msg_get get = {
            .object = what, .offset = offset, .length = BRG_BULK_PART_BYTES};
        struct brg_msg msg = {0};
        struct brg_bytes bytes;
        assert_int_equal(brg_source_part(&s, &get, &msg, &bytes), BRG_OK);
        assert_int_equal(brg_wire_verify_tensor(&msg.tensors[0], bytes), BRG_OK);
        seen += bytes.size_bytes;
    }
    assert_int_equal(seen, size);
    brg_source_fini(&s);
    brg_buffer_release(big);
}

static void bulk_drop__gives_the_buffer_back_and_is_harmless_twice(void **state) {
    struct fixture *f = *state;
    struct brg_msg_get get;
    brg_fetch_drop(&f->fetch);
    brg_fetch_drop(&f->fetch);
    assert_false(brg_fetch_is_active(&f->fetch));
    assert_false(brg_fetch_next_get(&f->fetch, 1, &get));
    assert_int_equal(brg_fetch_wake_ns(&f->fetch), UINT64_MAX);
    assert_false(brg_fetch_is_about(&f->fetch, &what));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(bulk_quiet_link__brings_the_object_with_one_get_a_part),
        TEST(bulk_window__bounds_what_is_asked_for_at_once),
        TEST(bulk_bad_link__loses_repeats_and_reorders_without_harm),
        TEST(bulk_lost_part__is_asked_for_again_only_when_nothing_new_comes),
        TEST(bulk_reconnect__keeps_what_came_and_asks_for_the_rest_at_once),
        TEST(bulk_silence__is_stuck_after_the_idle_time_and_not_before),
        TEST(bulk_hostile_part__is_refused_and_changes_nothing),
        TEST(bulk_source__answers_any_range_inside_and_nothing_else),
        TEST(bulk_source_of_many_parts__keeps_the_right_digest_for_each),
        TEST(bulk_drop__gives_the_buffer_back_and_is_harmless_twice),
    };
    return cmocka_run_group_tests_name("bulk", tests, NULL, NULL) != 0;
}
