/* The handler that decides which keys may connect: its table, and what it is asked. */
#include "net.h"

#include <stdlib.h>
#include <zmq.h>

#include "proto/transport_private.h"

static void *request_socket; /* closed by the teardown, since a failed test never gets to it */

static int zap_teardown(void **state) {
    if (request_socket != NULL) (void)zmq_close(request_socket);
    request_socket = NULL;
    return net_teardown(state);
}

static void zap_second_handler_of_a_context__is_refused(void **state) {
    struct net *n = *state;
    const struct brg_zap_config config = {.keys_max = 1};
    struct brg_zap *second = NULL;
    struct brg_why why;
    assert_int_equal(brg_zap_create(n->transport, &config, &second, &why), BRG_EEXIST);
    assert_null(second);
}

/* Asks the handler as libzmq does; returns the status it answers. */
static int zap_ask(void *request, const char *version, const char *mechanism, size_t key_bytes,
                   int frames) {
    static const uint8_t key[64] = {1};
    char reply[6][64];
    assert_int_equal(zmq_send(request, version, strlen(version), ZMQ_SNDMORE), strlen(version));
    assert_int_equal(zmq_send(request, "id-1", 4, ZMQ_SNDMORE), 4);
    for (int i = 2; i < 5; i++) (void)zmq_send(request, "", 0, ZMQ_SNDMORE);
    (void)zmq_send(request, mechanism, strlen(mechanism), frames > 6 ? ZMQ_SNDMORE : 0);
    if (frames > 6) (void)zmq_send(request, key, key_bytes, frames > 7 ? ZMQ_SNDMORE : 0);
    if (frames > 7) (void)zmq_send(request, "surplus", 7, 0);
    for (int i = 0; i < 6; i++) {
        memset(reply[i], 0, sizeof reply[i]);
        assert_true(zmq_recv(request, reply[i], sizeof reply[i] - 1, 0) >= 0);
    }
    assert_string_equal(reply[0], "1.0");
    assert_string_equal(reply[1], "id-1");
    assert_int_equal(strlen(reply[4]), strcmp(reply[2], "200") == 0 ? 40 : 0);
    return (int)strtol(reply[2], NULL, 10);
}

static void zap_request_that_is_not_about_a_curve_key__is_refused(void **state) {
    struct net *n = *state;
    struct brg_zap_stats stats;
    void *request = request_socket = zmq_socket(n->transport->context, ZMQ_REQ);
    assert_int_equal(zmq_connect(request, "inproc://zeromq.zap.01"), 0);
    assert_int_equal(zap_ask(request, "1.0", "CURVE", 32, 7), 200);
    assert_int_equal(zap_ask(request, "1.1", "CURVE", 32, 7), 400);
    assert_int_equal(zap_ask(request, "1.0", "NULL", 32, 6), 400);
    assert_int_equal(zap_ask(request, "1.0", "PLAIN", 32, 7), 400);
    assert_int_equal(zap_ask(request, "1.0", "CURVE", 31, 7), 400);
    assert_int_equal(zap_ask(request, "1.0", "CURVE", 64, 7), 400);
    assert_int_equal(zap_ask(request, "1.0", "CURVE", 32, 6), 400);
    assert_int_equal(zap_ask(request, "1.0", "CURVE", 32, 8), 400);
    assert_int_equal(zap_ask(request, "1.0", "CURVE", 32, 7), 200);
    brg_zap_stats_read(n->zap, &stats);
    assert_int_equal(stats.accepted, 2);
    assert_int_equal(stats.malformed, 7);
}

static void zap_full_table__refuses_new_rules_and_keeps_the_old(void **state) {
    struct net *n = *state;
    struct brg_key key;
    struct brg_zap_stats stats;
    for (uint32_t i = 0; i < 16; i++) {
        memset(&key, (int)((i * 7) % 16), sizeof key);
        assert_int_equal(brg_zap_deny(n->zap, &key), BRG_OK);
        assert_int_equal(brg_zap_deny(n->zap, &key), BRG_OK); /* twice is once */
    }
    memset(&key, 99, sizeof key);
    assert_int_equal(brg_zap_deny(n->zap, &key), BRG_EFULL);
    assert_true(brg_zap_permits(n->zap, &key));
    for (uint32_t i = 0; i < 16; i++) {
        memset(&key, (int)i, sizeof key);
        assert_false(brg_zap_permits(n->zap, &key));
    }
    memset(&key, 5, sizeof key);
    brg_zap_forget(n->zap, &key);
    assert_true(brg_zap_permits(n->zap, &key));
    brg_zap_stats_read(n->zap, &stats);
    assert_int_equal(stats.keys, 15);
}

static void zap_allow_only__lets_in_nobody_else(void **state) {
    struct net *n = *state;
    const struct brg_zap_config config = {.keys_max = 4, .allow_only = 1};
    struct brg_inbound in;
    struct brg_socket_event event;
    brg_zap_destroy(
        &n->zap); /* one handler a context, so the other one gets a context of its own */
    brg_transport_destroy(&n->transport);
    assert_int_equal(brg_transport_create(&n->transport, NULL), BRG_OK);
    assert_int_equal(brg_zap_create(n->transport, &config, &n->zap, NULL), BRG_OK);
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);
    assert_true(event_within(worker, BRG_SOCKET_KEY_REFUSED, &event, WAIT_MS));
    net_hang_up(n, &worker);

    assert_int_equal(brg_zap_allow(n->zap, &n->worker_key.public_key), BRG_OK);
    worker = net_dial(n);
    send_text(worker, NULL, "allowed");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);
    net_hang_up(n, &worker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        NET_TEST(zap_second_handler_of_a_context__is_refused),
        cmocka_unit_test_setup_teardown(zap_request_that_is_not_about_a_curve_key__is_refused,
                                        net_setup, zap_teardown),
        NET_TEST(zap_full_table__refuses_new_rules_and_keeps_the_old),
        NET_TEST(zap_allow_only__lets_in_nobody_else),
    };
    return cmocka_run_group_tests_name("zap", tests, NULL, NULL) != 0;
}
