/* test_peer_relay - links without an address, and links that break, go through the coordinator.
 *
 *   end 0 ── bulk ──► hub (ROUTER, played by the test) ◄── bulk ── end 1 */
#include "tests/unit/worker_shell/links.h"

#define SIZE (2u * 1048576u + 12345u)

struct hub {
    struct links l; /* first, so that a test may use its functions */
    struct brg_keypair key;
    struct brg_transport *transport;
    struct brg_zap *zap;
    struct brg_socket *server;
    struct brg_peer peers[2]; /* connections of ends 0 and 1 */
    struct brg_msg msg;
    uint32_t passed;
    uint32_t is_deaf; /* it throws everything away */
};

static uint32_t *peer_of(struct brg_msg *msg) {
    if (msg->type == BRG_MSG_GET) return &msg->get.peer;
    if (msg->type == BRG_MSG_PART) return &msg->part.peer;
    return &msg->gone.peer;
}

/* What the coordinator does: the message goes to the other end, which is told from whom. */
static void pass_all(struct hub *h) {
    struct brg_inbound in;
    while (brg_socket_receive_msg(h->server, &in, &h->msg, NULL) == BRG_OK) {
        const uint32_t from = brg_key_equal(&in.key, &h->l.ends[0].key.public_key) ? 0 : 1;
        h->peers[from] = in.peer;
        if (h->msg.type != BRG_MSG_ATTACH && !h->is_deaf) {
            assert_int_equal(*peer_of(&h->msg), 2 - from); /* 1 + the number of the other one */
            *peer_of(&h->msg) = from + 1;
            h->passed++;
            const int rc =
                brg_socket_send_msg(h->server, &h->peers[1 - from], &h->msg, &in.frames[1]);
            assert_true(rc == BRG_OK || rc == BRG_EFULL);
        }
        brg_inbound_release(&in);
    }
}

/* What a worker's inbox does with messages of its bulk connection. */
static void hear_bulk(struct hub *h, uint32_t i) {
    struct brg_inbound in;
    while (brg_socket_receive_msg(h->l.ends[i].bulk, &in, &h->msg, NULL) == BRG_OK) {
        const struct brg_bytes bytes =
            in.frame_count > 1 ? brg_frame_bytes(&in.frames[1]) : (struct brg_bytes){NULL, 0};
        brg_peers_on_relayed(h->l.ends[i].peers, &h->msg, bytes, links_now_ns());
        brg_inbound_release(&in);
    }
}

static void turn_hub(struct hub *h) {
    links_turn(&h->l);
    for (uint32_t i = 0; i < 2; i++) hear_bulk(h, i);
    pass_all(h);
}

/* As links_next, with the hub at work. */
static int next_through(struct hub *h, uint32_t i) {
    const uint64_t until_ns = links_now_ns() + LINKS_PATIENCE_NS;
    while (links_now_ns() < until_ns) {
        turn_hub(h);
        if (brg_peers_next(h->l.ends[i].peers, &h->l.result) == BRG_OK) return h->l.result.code;
    }
    fail_msg("no fetch of worker %u ended", i);
    return BRG_EIO;
}

/* Gives end `i` its connection to the hub, which learns of it. */
static void connect_bulk(struct hub *h, uint32_t i) {
    struct brg_socket_config config;
    char endpoint[BRG_ENDPOINT_BYTES];
    struct links_end *e = &h->l.ends[i];
    brg_socket_config_init(&config);
    assert_int_equal(brg_socket_endpoint(h->server, endpoint), BRG_OK);
    assert_int_equal(brg_socket_dial(e->transport, &config, &e->key, &h->key.public_key, endpoint,
                                     &e->bulk, NULL),
                     BRG_OK);
    brg_peers_relay(e->peers, e->bulk);
    h->msg.type = BRG_MSG_ATTACH;
    h->msg.tensor_count = 0;
    h->msg.attach.session = 1;
    const uint64_t until_ns = links_now_ns() + LINKS_PATIENCE_NS;
    while (brg_socket_send_msg(e->bulk, NULL, &h->msg, NULL) == BRG_EFULL) {
        assert_true(links_now_ns() < until_ns);
        struct brg_wait item = {.socket = e->bulk};
        assert_int_equal(brg_transport_wait(&item, 1, 5), BRG_OK);
    }
    while (h->peers[i].size_bytes == 0) {
        assert_true(links_now_ns() < until_ns);
        struct brg_wait item = {.socket = h->server};
        assert_int_equal(brg_transport_wait(&item, 1, 5), BRG_OK);
        pass_all(h);
    }
}

static int hub_setup(void **state) {
    const struct brg_zap_config zap = {.keys_max = 4};
    struct brg_socket_config config;
    struct hub *h = calloc(1, sizeof *h);
    void *links = NULL;
    if (h == NULL || links_setup(&links) != 0) return -1;
    h->l = *(struct links *)links;
    free(links);
    brg_socket_config_init(&config);
    assert_int_equal(brg_keypair_create(&h->key, NULL), BRG_OK);
    assert_int_equal(brg_transport_create(&h->transport, NULL), BRG_OK);
    assert_int_equal(brg_zap_create(h->transport, &zap, &h->zap, NULL), BRG_OK);
    assert_int_equal(brg_socket_listen(h->transport, &config, &h->key, h->zap, "tcp://127.0.0.1:*",
                                       &h->server, NULL),
                     BRG_OK);
    *state = h;
    return 0;
}

static int hub_teardown(void **state) {
    struct hub *h = *state;
    brg_socket_close(&h->server);
    brg_zap_destroy(&h->zap);
    brg_transport_destroy(&h->transport);
    brg_keypair_wipe(&h->key);
    return links_teardown(state); /* frees h, whose first member it is */
}

static void peer_that_cannot_listen__is_reached_through_the_coordinator(void **state) {
    struct hub *h = *state;
    struct links *l = &h->l;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    const struct brg_object never = links_object(BRG_OBJECT_ACT, 1, 6, 3);
    for (uint32_t i = 0; i < 2; i++) {
        links_open(l, i, NULL);
        connect_bulk(h, i);
        assert_int_equal(links_place(l, i, 1, 3), BRG_OK);
    }
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    const uint64_t until_ns = links_now_ns() + 400 * BRG_NS_PER_MS;
    while (links_now_ns() < until_ns) turn_hub(h); /* parked at the other end */
    assert_int_equal(links_stats(l, 0).parked, 3);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 2), BRG_OK);
    assert_int_equal(next_through(h, 1), BRG_OK);
    links_must_be(l, SIZE, 2);
    brg_peers_withdraw(l->ends[0].peers, &o, "it is over");
    assert_int_equal(links_fetch(l, 1, 0, &never, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    brg_peers_floor(l->ends[0].peers, 7);
    assert_int_equal(next_through(h, 1), BRG_ENOENT);
    assert_int_equal(links_stats(l, 0).faults + links_stats(l, 1).faults, 0);
}

static void peer_whose_address_leads_nowhere__is_reached_through_the_coordinator(void **state) {
    struct hub *h = *state;
    struct links *l = &h->l;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    links_open(l, 0, NULL);
    links_open(l, 1, NULL);
    connect_bulk(h, 0);
    connect_bulk(h, 1);
    (void)snprintf(l->ends[0].endpoint, BRG_ENDPOINT_BYTES, "tcp://127.0.0.1:1");
    assert_int_equal(links_place(l, 0, 1, 3), BRG_OK);
    assert_int_equal(links_place(l, 1, 1, 3), BRG_OK);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 2), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(next_through(h, 1), BRG_OK);
    links_must_be(l, SIZE, 2);
    assert_true(h->passed >= 6); /* three Gets, three Parts */
}

static void peer_that_both_ways_lead_to__is_asked_itself(void **state) {
    struct hub *h = *state;
    struct links *l = &h->l;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    links_open(l, 0, "tcp://127.0.0.1:*");
    links_open(l, 1, NULL);
    connect_bulk(h, 0);
    connect_bulk(h, 1);
    assert_int_equal(links_place(l, 0, 1, 3), BRG_OK);
    assert_int_equal(links_place(l, 1, 1, 3), BRG_OK);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 2), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(next_through(h, 1), BRG_OK);
    links_must_be(l, SIZE, 2);
    assert_int_equal(h->passed, 0);
}

static void peer_relay_that_loses_messages__is_asked_again_and_ends_in_time(void **state) {
    struct hub *h = *state;
    struct links *l = &h->l;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    for (uint32_t i = 0; i < 2; i++) {
        links_open(l, i, NULL);
        connect_bulk(h, i);
        assert_int_equal(links_place(l, i, 1, 3), BRG_OK);
    }
    assert_int_equal(links_offer(l, 0, &o, SIZE, 2), BRG_OK);
    h->is_deaf = 1;
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    const uint64_t until_ns = links_now_ns() + 400 * BRG_NS_PER_MS;
    while (links_now_ns() < until_ns) turn_hub(h);
    h->is_deaf = 0;
    assert_int_equal(next_through(h, 1), BRG_OK);
    links_must_be(l, SIZE, 2);
    h->is_deaf = 1;
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, 500 * BRG_NS_PER_MS), BRG_OK);
    assert_int_equal(next_through(h, 1), BRG_ETIMEDOUT);
    assert_non_null(strstr(l->result.why.text, "through the coordinator only"));
}

static void peer_relayed_message_of_a_stranger__changes_nothing(void **state) {
    struct hub *h = *state;
    struct links *l = &h->l;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    links_open(l, 0, NULL);
    connect_bulk(h, 0);
    assert_int_equal(links_place(l, 0, 1, 2), BRG_OK);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 2), BRG_OK);
    h->msg.type = BRG_MSG_GET;
    h->msg.get = (struct brg_msg_get){.object = o, .length = 100, .peer = 9 + 1};
    brg_peers_on_relayed(l->ends[0].peers, &h->msg, (struct brg_bytes){NULL, 0}, links_now_ns());
    assert_int_equal(links_stats(l, 0).faults, 1);
    assert_int_equal(links_stats(l, 0).sent_bytes, 0);
}

static void peer_answer_of_another_than_was_asked__changes_nothing(void **state) {
    struct hub *h = *state;
    struct links *l = &h->l;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    links_open(l, 1, NULL);
    connect_bulk(h, 1);
    assert_int_equal(links_place(l, 1, 1, 5), BRG_OK); /* members 0 and 2 */
    assert_int_equal(links_fetch(l, 1, 0, &o, 4, LINKS_PATIENCE_NS), BRG_OK);
    h->msg.type = BRG_MSG_PART;
    h->msg.tensor_count = 1;
    h->msg.tensors[0] = (struct brg_tensor){.dtype = BRG_DTYPE_BYTES, .elements = 4};
    h->msg.part = (struct brg_msg_part){.object = o, .total = 4, .peer = 2 + 1};
    const struct brg_bytes bytes = {"liar", 4};
    brg_peers_on_relayed(l->ends[1].peers, &h->msg, bytes, links_now_ns());
    assert_int_equal(links_stats(l, 1).faults, 1);
    assert_int_equal(brg_peers_next(l->ends[1].peers, &l->result), BRG_ENOENT);
    h->msg.part.peer = 0 + 1;
    brg_peers_on_relayed(l->ends[1].peers, &h->msg, bytes, links_now_ns());
    assert_int_equal(brg_peers_next(l->ends[1].peers, &l->result), BRG_OK);
    brg_buffer_release(l->result.buffer);
}

#define HUB_TEST(name) cmocka_unit_test_setup_teardown(name, hub_setup, hub_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        HUB_TEST(peer_that_cannot_listen__is_reached_through_the_coordinator),
        HUB_TEST(peer_whose_address_leads_nowhere__is_reached_through_the_coordinator),
        HUB_TEST(peer_that_both_ways_lead_to__is_asked_itself),
        HUB_TEST(peer_relay_that_loses_messages__is_asked_again_and_ends_in_time),
        HUB_TEST(peer_relayed_message_of_a_stranger__changes_nothing),
        HUB_TEST(peer_answer_of_another_than_was_asked__changes_nothing),
    };
    return cmocka_run_group_tests_name("peer_relay", tests, NULL, NULL) != 0;
}
