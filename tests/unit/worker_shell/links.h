/* links.h - a few workers' links on loopback, each with a context and a key of its own, turned by
 * one thread. For the tests of worker/shell/peer.h. Every wait has a bound. */
#ifndef TESTS_WORKER_SHELL_LINKS_H
#define TESTS_WORKER_SHELL_LINKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "worker/shell/peer.h"

#define LINKS_MAX 3u
#define LINKS_RUN 7u
#define LINKS_PATIENCE_NS (10 * BRG_NS_PER_S)

struct links_end {
    struct brg_keypair key;
    struct brg_transport *transport;
    struct brg_peers *peers;
    struct brg_socket *bulk; /* to the coordinator that a test plays; NULL: none */
    char endpoint[BRG_ENDPOINT_BYTES];
};

struct links {
    struct brg_pool *pool;
    struct brg_peers_config config;
    struct links_end ends[LINKS_MAX];
    struct brg_peer_result result;
    struct brg_msg msg;
};

static inline uint64_t links_now_ns(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Opens end `i`, listening at `listen` (NULL: not at all). */
static inline void links_open(struct links *l, uint32_t i, const char *listen) {
    struct links_end *e = &l->ends[i];
    struct brg_why why = {{0}};
    assert_int_equal(brg_transport_create(&e->transport, &why), BRG_OK);
    const int rc = brg_peers_create(e->transport, &l->config, &e->key, listen, &e->peers, &why);
    if (rc != BRG_OK) print_message("%s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    if (listen != NULL) assert_int_equal(brg_peers_endpoint(e->peers, e->endpoint), BRG_OK);
}

static inline void links_shut(struct links *l, uint32_t i) {
    struct links_end *e = &l->ends[i];
    brg_peers_destroy(&e->peers);
    brg_socket_close(&e->bulk);
    brg_transport_destroy(&e->transport);
}

/* Tells end `i` about the ends of the bit set `others`. */
static inline int links_place(struct links *l, uint32_t i, uint64_t generation, uint32_t others) {
    struct brg_peer_place place = {.epoch = 3, .run = LINKS_RUN, .generation = generation};
    for (uint32_t k = 0; k < LINKS_MAX; k++) {
        if (k == i || (others >> k & 1) == 0) continue;
        struct brg_peer_member *m = &place.members[place.count++];
        m->member = k;
        m->key = l->ends[k].key.public_key;
        memcpy(m->endpoint, l->ends[k].endpoint, sizeof m->endpoint);
    }
    return brg_peers_place(l->ends[i].peers, &place, links_now_ns());
}

static inline struct brg_object links_object(uint32_t kind, uint64_t generation, uint64_t step,
                                             uint32_t microbatch) {
    return (struct brg_object){.kind = kind,
                               .run = LINKS_RUN,
                               .generation = kind == BRG_OBJECT_STATE ? 0 : generation,
                               .step = step,
                               .unit = 1,
                               .microbatch = microbatch};
}

static inline uint8_t links_byte(uint64_t i, uint32_t salt) {
    return (uint8_t)(i * 31 + i / 4099 + salt);
}

/* Offers `size_bytes` bytes made from `salt` at end `i`. */
static inline int links_offer(struct links *l, uint32_t i, const struct brg_object *object,
                              uint64_t size_bytes, uint32_t salt) {
    struct brg_buffer *buffer = NULL;
    struct brg_source source;
    assert_int_equal(brg_pool_get(l->pool, size_bytes, &buffer), BRG_OK);
    for (uint64_t k = 0; k < size_bytes; k++) ((uint8_t *)buffer->data)[k] = links_byte(k, salt);
    assert_int_equal(brg_source_init(&source, l->pool, object, buffer, size_bytes), BRG_OK);
    brg_buffer_release(buffer);
    const int rc = brg_peers_offer(l->ends[i].peers, &source, links_now_ns());
    brg_source_fini(&source);
    return rc;
}

/* End `i` begins to fetch from end `from`. */
static inline int links_fetch(struct links *l, uint32_t i, uint32_t from,
                              const struct brg_object *object, uint64_t size_bytes,
                              uint64_t timeout_ns) {
    struct brg_buffer *buffer = NULL;
    struct brg_why why = {{0}};
    assert_int_equal(brg_pool_get(l->pool, size_bytes, &buffer), BRG_OK);
    memset(buffer->data, 0, size_bytes);
    const int rc = brg_peers_fetch(l->ends[i].peers, from, object, buffer, size_bytes, timeout_ns,
                                   links_now_ns(), &why);
    if (rc != BRG_OK) brg_buffer_release(buffer);
    return rc;
}

/* One turn of every end, and a short sleep until something comes. */
static inline void links_turn(struct links *l) {
    struct brg_wait items[BRG_WAIT_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < LINKS_MAX; i++)
        if (l->ends[i].peers != NULL)
            count += brg_peers_sockets(l->ends[i].peers, items + count, BRG_WAIT_MAX - count);
    assert_int_equal(brg_transport_wait(items, count, 2), BRG_OK);
    for (uint32_t i = 0; i < LINKS_MAX; i++)
        if (l->ends[i].peers != NULL) brg_peers_turn(l->ends[i].peers, links_now_ns());
}

static inline void links_turn_for(struct links *l, uint64_t ns) {
    const uint64_t until_ns = links_now_ns() + ns;
    while (links_now_ns() < until_ns) links_turn(l);
}

/* Turns until a fetch of end `i` has ended; its code, with the rest in l->result. */
static inline int links_next(struct links *l, uint32_t i) {
    const uint64_t until_ns = links_now_ns() + LINKS_PATIENCE_NS;
    while (links_now_ns() < until_ns) {
        links_turn(l);
        if (brg_peers_next(l->ends[i].peers, &l->result) == BRG_OK) return l->result.code;
    }
    fail_msg("no fetch of worker %u ended", i);
    return BRG_EIO;
}

/* The result is the bytes made from `salt`; gives them back. */
static inline void links_must_be(struct links *l, uint64_t size_bytes, uint32_t salt) {
    assert_non_null(l->result.buffer);
    const uint8_t *bytes = l->result.buffer->data;
    for (uint64_t k = 0; k < size_bytes; k++)
        if (bytes[k] != links_byte(k, salt)) fail_msg("byte %llu differs", (unsigned long long)k);
    brg_buffer_release(l->result.buffer);
    l->result.buffer = NULL;
}

static inline struct brg_peers_stats links_stats(struct links *l, uint32_t i) {
    struct brg_peers_stats s;
    brg_peers_stats_read(l->ends[i].peers, &s);
    return s;
}

static inline int links_setup(void **state) {
    struct links *l = calloc(1, sizeof *l);
    if (l == NULL || sodium_init() < 0) return -1;
    if (getenv("BRG_TEST_LOG") == NULL) brg_log_configure(BRG_LOG_ERROR, BRG_LOG_TEXT);
    if (brg_pool_create(&l->pool, 256u << 20) != BRG_OK) return -1;
    brg_peers_config_init(&l->config);
    l->config.retry_ns = 200 * BRG_NS_PER_MS;
    l->config.direct_ns = 300 * BRG_NS_PER_MS;
    for (uint32_t i = 0; i < LINKS_MAX; i++)
        if (brg_keypair_create(&l->ends[i].key, NULL) != BRG_OK) return -1;
    *state = l;
    return 0;
}

static inline int links_teardown(void **state) {
    struct links *l = *state;
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        links_shut(l, i);
        brg_keypair_wipe(&l->ends[i].key);
    }
    struct brg_pool_stats stats;
    brg_pool_stats_read(l->pool, &stats);
    brg_pool_destroy(&l->pool);
    free(l);
    return stats.held_bytes == 0 ? 0 : -1; /* every buffer has come back */
}

#define LINKS_TEST(name) cmocka_unit_test_setup_teardown(name, links_setup, links_teardown)

#endif
