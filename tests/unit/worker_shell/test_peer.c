/* test_peer - links between workers: fetched, parked, gone, late, interrupted. Real sockets. */
#include "tests/unit/worker_shell/links.h"

#define SIZE (2u * 1048576u + 12345u) /* three parts, the last one short */

/* Ends 0 .. count - 1 listen and know each other. */
static void open_placed(struct links *l, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) links_open(l, i, "tcp://127.0.0.1:*");
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(links_place(l, i, 1, (1u << count) - 1), BRG_OK);
}

static void peer_object_at_hand__comes_whole(void **state) {
    struct links *l = *state;
    open_placed(l, 2);
    for (uint32_t kind = BRG_OBJECT_ACT; kind <= BRG_OBJECT_STATE; kind++) {
        const struct brg_object o = links_object(kind, 1, 5, 3);
        assert_int_equal(links_offer(l, 0, &o, SIZE, kind), BRG_OK);
        assert_int_equal(links_offer(l, 0, &o, SIZE, kind), BRG_EEXIST);
        assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
        assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_EEXIST);
        assert_int_equal(links_next(l, 1), BRG_OK);
        links_must_be(l, SIZE, kind);
    }
    assert_int_equal(links_stats(l, 1).received_bytes, 4 * SIZE);
    assert_int_equal(links_stats(l, 0).faults + links_stats(l, 1).faults, 0);
}

static void peer_get_before_the_object__waits_and_is_answered_when_it_is_offered(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    open_placed(l, 2);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 500 * BRG_NS_PER_MS); /* asked again meanwhile: that parks nothing twice */
    assert_int_equal(brg_peers_next(l->ends[1].peers, &l->result), BRG_ENOENT);
    assert_int_equal(links_stats(l, 0).parked, 3);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 9), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, SIZE, 9);
}

static void peer_object_that_never_comes__is_gone_with_the_reason(void **state) {
    struct links *l = *state;
    open_placed(l, 2);
    const struct brg_object late = links_object(BRG_OBJECT_GRAD, 1, 5, 0);
    assert_int_equal(links_fetch(l, 1, 0, &late, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 300 * BRG_NS_PER_MS);
    brg_peers_floor(l->ends[0].peers, 6); /* it waits already */
    assert_int_equal(links_next(l, 1), BRG_ENOENT);
    assert_non_null(strstr(l->result.why.text, "that step is over"));
    assert_int_equal(links_fetch(l, 1, 0, &late, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_ENOENT); /* it comes too late */

    const struct brg_object state_of = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    assert_int_equal(links_fetch(l, 1, 0, &state_of, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 300 * BRG_NS_PER_MS);
    brg_peers_withdraw(l->ends[0].peers, &state_of, "this version was never made here");
    assert_int_equal(links_next(l, 1), BRG_ENOENT);
    assert_non_null(strstr(l->result.why.text, "never made here"));
}

static void peer_newer_placement__ends_what_belongs_to_the_older_one(void **state) {
    struct links *l = *state;
    const struct brg_object old = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    const struct brg_object next = links_object(BRG_OBJECT_ACT, 2, 5, 3);
    open_placed(l, 3);
    assert_int_equal(links_fetch(l, 1, 0, &old, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(links_fetch(l, 2, 0, &old, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 300 * BRG_NS_PER_MS);
    assert_int_equal(links_place(l, 1, 2, 7), BRG_OK); /* the consumer hears of it first */
    assert_int_equal(links_fetch(l, 1, 0, &next, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 100 * BRG_NS_PER_MS); /* parked: the producer cannot know of it yet */
    assert_int_equal(links_offer(l, 0, &next, SIZE, 4), BRG_ENOENT);
    assert_int_equal(links_place(l, 0, 2, 7), BRG_OK);
    assert_int_equal(links_place(l, 0, 1, 7), BRG_EBEHIND);
    assert_int_equal(links_next(l, 2), BRG_ENOENT); /* who has not heard of it is told */
    assert_non_null(strstr(l->result.why.text, "that placement is over"));
    assert_int_equal(links_offer(l, 0, &old, SIZE, 4), BRG_ENOENT);
    assert_int_equal(links_offer(l, 0, &next, SIZE, 4), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK); /* the one of the newer generation, and no other */
    assert_int_equal(l->result.object.generation, 2);
    links_must_be(l, SIZE, 4);
}

static void peer_state__outlives_a_placement_that_keeps_its_holder(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    open_placed(l, 2);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 200 * BRG_NS_PER_MS);
    assert_int_equal(links_place(l, 1, 2, 3), BRG_OK);
    assert_int_equal(links_place(l, 0, 2, 3), BRG_OK);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 8), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, SIZE, 8);
}

static void peer_key_outside_the_placement__is_refused_and_says_so(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    open_placed(l, 3);
    assert_int_equal(links_place(l, 0, 1, 2), BRG_OK); /* end 0 knows end 1 only */
    assert_int_equal(links_offer(l, 0, &o, SIZE, 1), BRG_OK);
    assert_int_equal(links_fetch(l, 2, 0, &o, SIZE, BRG_NS_PER_S), BRG_OK);
    assert_int_equal(links_next(l, 2), BRG_ETIMEDOUT);
    assert_non_null(strstr(l->result.why.text, "refuses this worker's key"));
    assert_int_equal(links_stats(l, 0).sent_bytes, 0);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, SIZE, 1);
}

static void peer_that_hears_of_the_placement_later__lets_in_who_was_refused(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    links_open(l, 0, "tcp://127.0.0.1:*");
    links_open(l, 1, "tcp://127.0.0.1:*");
    assert_int_equal(links_place(l, 1, 1, 3), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 500 * BRG_NS_PER_MS); /* nobody is placed at end 0 yet */
    assert_int_equal(links_place(l, 0, 1, 3), BRG_OK);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 6), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, SIZE, 6);
}

/* A connection to end 0 under end 1's key, for what brg_peers would never send. */
static struct brg_socket *dial_raw(struct links *l) {
    struct brg_socket_config config;
    struct brg_socket *s = NULL;
    brg_socket_config_init(&config);
    config.reconnect_min_ms = 20;
    assert_int_equal(brg_socket_dial(l->ends[1].transport, &config, &l->ends[1].key,
                                     &l->ends[0].key.public_key, l->ends[0].endpoint, &s, NULL),
                     BRG_OK);
    return s;
}

/* Sends l->msg, waiting for the connection where there is none yet. */
static void send_raw(struct links *l, struct brg_socket *s) {
    const uint64_t until_ns = links_now_ns() + LINKS_PATIENCE_NS;
    while (brg_socket_send_msg(s, NULL, &l->msg, NULL) == BRG_EFULL) {
        assert_true(links_now_ns() < until_ns);
        links_turn(l);
    }
}

static void peer_gets_over_the_bound__are_counted_and_not_kept(void **state) {
    struct links *l = *state;
    open_placed(l, 2);
    struct brg_socket *s = dial_raw(l);
    for (uint32_t i = 0; i < BRG_PEER_PARKED_EACH_MAX + 5; i++) {
        l->msg.type = BRG_MSG_GET;
        l->msg.get =
            (struct brg_msg_get){.object = links_object(BRG_OBJECT_ACT, 1, 5, i), .length = 100};
        send_raw(l, s);
    }
    links_turn_for(l, 300 * BRG_NS_PER_MS);
    assert_int_equal(links_stats(l, 0).parked, BRG_PEER_PARKED_EACH_MAX);
    assert_int_equal(links_stats(l, 0).parked_full, 5);
    assert_int_equal(links_stats(l, 0).faults, 0);
    brg_socket_close(&s);
}

static void peer_get_that_waits_in_vain__is_forgotten_in_time(void **state) {
    struct links *l = *state;
    l->config.park_ns = 200 * BRG_NS_PER_MS;
    open_placed(l, 2);
    struct brg_socket *s = dial_raw(l);
    l->msg.type = BRG_MSG_GET;
    l->msg.get =
        (struct brg_msg_get){.object = links_object(BRG_OBJECT_ACT, 1, 5, 0), .length = 100};
    send_raw(l, s);
    links_turn_for(l, 600 * BRG_NS_PER_MS);
    assert_int_equal(links_stats(l, 0).parked, 1);
    assert_int_equal(links_stats(l, 0).expired, 1);
    brg_socket_close(&s);
}

static void peer_that_sends_what_it_may_not__is_shut_out_until_the_next_placement(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    open_placed(l, 2);
    assert_int_equal(links_offer(l, 0, &o, SIZE, 6), BRG_OK);
    struct brg_socket *s = dial_raw(l);
    for (uint32_t i = 0; i < BRG_PEER_FAULTS_MAX; i++) {
        struct brg_frame frame;
        const uint64_t until_ns = links_now_ns() + LINKS_PATIENCE_NS;
        l->msg.type = BRG_MSG_GET; /* a Get of parameters, one past the end, no message at all */
        l->msg.get = (struct brg_msg_get){
            .object = {.kind = BRG_OBJECT_PARAMS, .run = LINKS_RUN, .step = 1}, .length = 100};
        if (i % 3 == 1) {
            l->msg.get.object = o;
            l->msg.get.offset = SIZE;
        }
        if (i % 3 != 2) {
            send_raw(l, s);
            continue;
        }
        assert_int_equal(brg_frame_copy(&frame, "garbage", 7), BRG_OK);
        while (brg_socket_send(s, NULL, &frame, 1) == BRG_EFULL) {
            assert_true(links_now_ns() < until_ns);
            links_turn(l);
        }
        brg_frame_close(&frame);
    }
    links_turn_for(l, 300 * BRG_NS_PER_MS);
    assert_int_equal(links_stats(l, 0).faults, BRG_PEER_FAULTS_MAX);
    assert_int_equal(links_stats(l, 0).shut_out, 1);
    brg_socket_close(&s);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    links_turn_for(l, 500 * BRG_NS_PER_MS);
    assert_int_equal(links_stats(l, 0).sent_bytes, 0);
    assert_int_equal(links_place(l, 0, 2, 3), BRG_OK); /* another chance */
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, SIZE, 6);
}

static void peer_key_that_leaves_the_placement__is_cut_off(void **state) {
    struct links *l = *state;
    const struct brg_object first = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    const struct brg_object second = links_object(BRG_OBJECT_STATE, 0, 6, 0);
    open_placed(l, 2);
    assert_int_equal(links_offer(l, 0, &first, SIZE, 1), BRG_OK);
    assert_int_equal(links_offer(l, 0, &second, SIZE, 2), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &first, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, SIZE, 1);
    const uint64_t sent_bytes = links_stats(l, 0).sent_bytes;
    assert_int_equal(links_place(l, 0, 2, 0), BRG_OK); /* nobody; its connection is up still */
    assert_int_equal(links_fetch(l, 1, 0, &second, SIZE, BRG_NS_PER_S), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_ETIMEDOUT);
    assert_int_equal(links_stats(l, 0).sent_bytes, sent_bytes);
}

static void peer_that_vanishes__is_waited_for_and_the_transfer_goes_on(void **state) {
    struct links *l = *state;
    const uint64_t size_bytes = UINT64_C(24) << 20;
    const struct brg_object o = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    char endpoint[BRG_ENDPOINT_BYTES];
    open_placed(l, 2);
    assert_int_equal(links_offer(l, 0, &o, size_bytes, 3), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &o, size_bytes, LINKS_PATIENCE_NS), BRG_OK);
    while (links_stats(l, 1).received_bytes < 4u << 20) links_turn(l);
    assert_true(links_stats(l, 1).received_bytes < size_bytes);
    memcpy(endpoint, l->ends[0].endpoint, sizeof endpoint);
    links_shut(l, 0);
    links_turn_for(l, 300 * BRG_NS_PER_MS);
    links_open(l, 0, endpoint); /* the same machine, started again */
    assert_int_equal(links_place(l, 0, 1, 3), BRG_OK);
    assert_int_equal(links_offer(l, 0, &o, size_bytes, 3), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_OK);
    links_must_be(l, size_bytes, 3);
    assert_int_equal(links_stats(l, 1).received_bytes, size_bytes);
    assert_true(links_stats(l, 0).sent_bytes < size_bytes); /* what had come did not come again */
}

static void peer_that_nobody_reaches__ends_in_time_with_a_sentence(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    open_placed(l, 2);
    links_shut(l, 0);
    const uint64_t begin_ns = links_now_ns();
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, 700 * BRG_NS_PER_MS), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_ETIMEDOUT);
    assert_true(links_now_ns() - begin_ns < 3 * BRG_NS_PER_S);
    assert_non_null(strstr(l->result.why.text, "nobody answers there"));
    assert_null(l->result.buffer);
}

static void peer_fetch_out_of_its_bounds__is_refused(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    const struct brg_object other = links_object(BRG_OBJECT_ACT, 2, 5, 3);
    open_placed(l, 2);
    assert_int_equal(links_fetch(l, 1, 2, &o, SIZE, BRG_NS_PER_S), BRG_ENOENT);
    assert_int_equal(links_fetch(l, 1, 0, &other, SIZE, BRG_NS_PER_S), BRG_ENOENT);
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) {
        const struct brg_object each = links_object(BRG_OBJECT_ACT, 1, 5, i);
        assert_int_equal(links_fetch(l, 1, 0, &each, 100, BRG_NS_PER_S), BRG_OK);
    }
    const struct brg_object more = links_object(BRG_OBJECT_ACT, 1, 6, 0);
    assert_int_equal(links_fetch(l, 1, 0, &more, 100, BRG_NS_PER_S), BRG_EFULL);
    const struct brg_object first = links_object(BRG_OBJECT_ACT, 1, 5, 0);
    brg_peers_cancel(l->ends[1].peers, &first);
    assert_int_equal(links_fetch(l, 1, 0, &more, 100, BRG_NS_PER_S), BRG_OK);
}

static void peer_offers_over_the_bound__are_refused(void **state) {
    struct links *l = *state;
    l->config.bytes_max = 3000;
    open_placed(l, 1);
    const struct brg_object a = links_object(BRG_OBJECT_ACT, 1, 5, 0);
    const struct brg_object b = links_object(BRG_OBJECT_ACT, 1, 6, 0);
    assert_int_equal(links_offer(l, 0, &a, 2000, 1), BRG_OK);
    assert_int_equal(links_offer(l, 0, &b, 2000, 1), BRG_EFULL);
    brg_peers_floor(l->ends[0].peers, 6); /* a's step is over */
    assert_int_equal(links_offer(l, 0, &b, 2000, 1), BRG_OK);
}

static void peer_without_an_address__needs_the_relay(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_ACT, 1, 5, 3);
    links_open(l, 0, NULL);
    links_open(l, 1, "tcp://127.0.0.1:*");
    assert_int_equal(brg_peers_endpoint(l->ends[0].peers, l->ends[0].endpoint), BRG_ENOENT);
    assert_int_equal(links_place(l, 1, 1, 3), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, BRG_NS_PER_S), BRG_EINVAL);
}

static void peer_with_another_size__ends_at_once(void **state) {
    struct links *l = *state;
    const struct brg_object o = links_object(BRG_OBJECT_STATE, 0, 5, 0);
    open_placed(l, 2);
    assert_int_equal(links_offer(l, 0, &o, SIZE + 4, 1), BRG_OK);
    assert_int_equal(links_fetch(l, 1, 0, &o, SIZE, LINKS_PATIENCE_NS), BRG_OK);
    assert_int_equal(links_next(l, 1), BRG_EPROTO);
    assert_non_null(strstr(l->result.why.text, "different models"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LINKS_TEST(peer_object_at_hand__comes_whole),
        LINKS_TEST(peer_get_before_the_object__waits_and_is_answered_when_it_is_offered),
        LINKS_TEST(peer_object_that_never_comes__is_gone_with_the_reason),
        LINKS_TEST(peer_newer_placement__ends_what_belongs_to_the_older_one),
        LINKS_TEST(peer_state__outlives_a_placement_that_keeps_its_holder),
        LINKS_TEST(peer_key_outside_the_placement__is_refused_and_says_so),
        LINKS_TEST(peer_that_hears_of_the_placement_later__lets_in_who_was_refused),
        LINKS_TEST(peer_gets_over_the_bound__are_counted_and_not_kept),
        LINKS_TEST(peer_get_that_waits_in_vain__is_forgotten_in_time),
        LINKS_TEST(peer_that_sends_what_it_may_not__is_shut_out_until_the_next_placement),
        LINKS_TEST(peer_key_that_leaves_the_placement__is_cut_off),
        LINKS_TEST(peer_that_vanishes__is_waited_for_and_the_transfer_goes_on),
        LINKS_TEST(peer_that_nobody_reaches__ends_in_time_with_a_sentence),
        LINKS_TEST(peer_fetch_out_of_its_bounds__is_refused),
        LINKS_TEST(peer_offers_over_the_bound__are_refused),
        LINKS_TEST(peer_without_an_address__needs_the_relay),
        LINKS_TEST(peer_with_another_size__ends_at_once),
    };
    return cmocka_run_group_tests_name("peer", tests, NULL, NULL) != 0;
}
