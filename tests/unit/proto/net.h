/* net.h - a listening coordinator and dialling workers on loopback, for the tests of sockets. */
#ifndef TEST_PROTO_NET_H
#define TEST_PROTO_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>
#include <time.h>

#include "proto/transport.h"

#define WAIT_MS 10000u /* the bound on everything that ought to happen */

struct net {
    struct brg_transport *transport; /* the coordinator's */
    struct brg_transport *outside;   /* the workers' */
    struct brg_zap *zap;
    struct brg_keypair server_key, worker_key;
    struct brg_socket_config config;
    struct brg_socket *server;
    char endpoint[BRG_ENDPOINT_BYTES];
    struct brg_socket
        *dialled[4]; /* closed by the teardown, since a failed test never gets to it */
    uint32_t dialled_count;
};

static inline uint64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void net_listen(struct net *n, const char *endpoint) {
    struct brg_why why = {{0}};
    const int rc = brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap, endpoint,
                                     &n->server, &why);
    if (rc != BRG_OK) print_message("%s\n", why.text);
    assert_int_equal(rc, BRG_OK);
    assert_int_equal(brg_socket_endpoint(n->server, n->endpoint), BRG_OK);
}

static inline struct brg_socket *net_dial_as(struct net *n, const struct brg_keypair *key,
                                             const struct brg_key *server) {
    struct brg_socket *s = NULL;
    const int rc = brg_socket_dial(n->outside, &n->config, key, server, n->endpoint, &s, NULL);
    assert_int_equal(rc, BRG_OK);
    assert_true(n->dialled_count < sizeof n->dialled / sizeof n->dialled[0]);
    n->dialled[n->dialled_count++] = s;
    return s;
}

static inline struct brg_socket *net_dial(struct net *n) {
    return net_dial_as(n, &n->worker_key, &n->server_key.public_key);
}

static inline void net_hang_up(struct net *n, struct brg_socket **s) {
    for (uint32_t i = 0; i < n->dialled_count; i++) {
        if (n->dialled[i] == *s) n->dialled[i] = n->dialled[--n->dialled_count];
    }
    brg_socket_close(s);
}

static inline int net_setup(void **state) {
    const struct brg_zap_config zap_config = {.keys_max = 16, .allow_only = 0};
    struct net *n = calloc(1, sizeof *n);
    if (n == NULL || sodium_init() < 0) return -1;
    brg_socket_config_init(&n->config);
    n->config.reconnect_min_ms = 20; /* tests need not be kind to a coordinator */
    n->config.reconnect_max_ms = 100;
    if (brg_transport_create(&n->transport, NULL) != BRG_OK) return -1;
    if (brg_transport_create(&n->outside, NULL) != BRG_OK) return -1;
    if (brg_zap_create(n->transport, &zap_config, &n->zap, NULL) != BRG_OK) return -1;
    if (brg_keypair_create(&n->server_key, NULL) != BRG_OK) return -1;
    if (brg_keypair_create(&n->worker_key, NULL) != BRG_OK) return -1;
    *state = n;
    return 0;
}

static inline int net_teardown(void **state) {
    struct net *n = *state;
    for (uint32_t i = 0; i < n->dialled_count; i++) brg_socket_close(&n->dialled[i]);
    brg_socket_close(&n->server);
    brg_zap_destroy(&n->zap);
    brg_transport_destroy(&n->transport);
    brg_transport_destroy(&n->outside);
    brg_keypair_wipe(&n->server_key);
    brg_keypair_wipe(&n->worker_key);
    free(n);
    return 0;
}

static inline void wait_for(struct brg_socket *s, uint32_t timeout_ms) {
    struct brg_wait item = {.socket = s};
    assert_int_equal(brg_transport_wait(&item, 1, timeout_ms), BRG_OK);
}

/* The result of the first receive that finds something within `timeout_ms`, else BRG_ENOENT. */
static inline int receive_within(struct brg_socket *s, struct brg_inbound *in,
                                 uint32_t timeout_ms) {
    const uint64_t end_ms = now_ms() + timeout_ms;
    for (;;) {
        const int rc = brg_socket_receive(s, in);
        if (rc != BRG_ENOENT || now_ms() >= end_ms) return rc;
        wait_for(s, 10);
    }
}

/* Waits for an event of this type; 0 where none came. */
static inline int event_within(struct brg_socket *s, uint32_t type, struct brg_socket_event *out,
                               uint32_t timeout_ms) {
    const uint64_t end_ms = now_ms() + timeout_ms;
    do {
        while (brg_socket_event(s, out) == BRG_OK) {
            if (out->type == type) return 1;
        }
        wait_for(s, 10);
    } while (now_ms() < end_ms);
    return 0;
}

/* Sends one frame of text, again and again until it is taken. */
static inline void send_text(struct brg_socket *s, const struct brg_peer *to, const char *text) {
    const uint64_t end_ms = now_ms() + WAIT_MS;
    struct brg_frame f;
    int rc;
    assert_int_equal(brg_frame_copy(&f, text, strlen(text)), BRG_OK);
    do {
        rc = brg_socket_send(s, to, &f, 1);
        if (rc == BRG_EFULL) wait_for(s, 10);
    } while (rc == BRG_EFULL && now_ms() < end_ms);
    assert_int_equal(rc, BRG_OK);
}

static inline void assert_frame_is(const struct brg_frame *f, const char *text) {
    const struct brg_bytes b = brg_frame_bytes(f);
    assert_int_equal(b.size_bytes, strlen(text));
    assert_memory_equal(b.data, text, strlen(text));
}

#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, net_setup, net_teardown)

#endif
