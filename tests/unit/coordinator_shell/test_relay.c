/* test_relay - Gets and Parts between workers through the coordinator, over real sockets.
 *
 *   worker 0 ── DEALER ──┐
 *   worker 1 ── DEALER ──┼──► ROUTER ── brg_relay_pass ── frames moved to the other connection
 *   worker 2 ── DEALER ──┘ */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>
#include <time.h>

#include "coordinator/shell/relay.h"
#include "proto/transport.h"

#define WORKERS 3u
#define RUN 7u
#define PATIENCE_NS (10 * BRG_NS_PER_S)
#define PART_BYTES 1000u

struct fixture {
    struct brg_transport *inside, *outside;
    struct brg_zap *zap;
    struct brg_keypair key, keys[WORKERS];
    struct brg_socket *server, *workers[WORKERS];
    struct brg_peer peers[WORKERS]; /* connections, learnt from the first message */
    struct brg_relay *relay;
    struct brg_msg msg;
    struct brg_inbound in;
    uint8_t bytes[PART_BYTES];
    int rc; /* of the last brg_relay_pass */
};

static uint64_t now_ns(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The next message at `s` into f->in and f->msg; 0 where none came in `ns`. */
static int hear(struct fixture *f, struct brg_socket *s, uint64_t ns) {
    const uint64_t until_ns = now_ns() + ns;
    do {
        struct brg_wait item = {.socket = s};
        brg_inbound_release(&f->in);
        const int rc = brg_socket_receive_msg(s, &f->in, &f->msg, NULL);
        if (rc == BRG_OK) return 1;
        assert_int_equal(rc, BRG_ENOENT);
        assert_int_equal(brg_transport_wait(&item, 1, 10), BRG_OK);
    } while (now_ns() < until_ns);
    return 0;
}

/* f->msg goes from `worker`, with f->bytes where it is a Part. */
static void say(struct fixture *f, uint32_t worker) {
    const uint64_t until_ns = now_ns() + PATIENCE_NS;
    struct brg_frame frame;
    int rc;
    brg_frame_init(&frame);
    f->msg.tensor_count = f->msg.type == BRG_MSG_PART;
    if (f->msg.tensor_count == 1) {
        brg_wire_describe_tensor(BRG_DTYPE_BYTES, f->bytes, PART_BYTES, &f->msg.tensors[0]);
        assert_int_equal(brg_frame_copy(&frame, f->bytes, PART_BYTES), BRG_OK);
    }
    do {
        struct brg_wait item = {.socket = f->workers[worker]};
        rc = brg_socket_send_msg(f->workers[worker], NULL, &f->msg, &frame);
        if (rc == BRG_EFULL) assert_int_equal(brg_transport_wait(&item, 1, 10), BRG_OK);
    } while (rc == BRG_EFULL && now_ns() < until_ns);
    assert_int_equal(rc, BRG_OK);
}

/* What the coordinator does with the next message; f->rc is the relay's verdict. */
static void relay_one(struct fixture *f) {
    uint32_t from = WORKERS, to = WORKERS;
    assert_true(hear(f, f->server, PATIENCE_NS));
    for (uint32_t i = 0; i < WORKERS; i++)
        if (brg_key_equal(&f->in.key, &f->keys[i].public_key)) from = i;
    assert_true(from < WORKERS);
    f->peers[from] = f->in.peer;
    f->rc = brg_relay_pass(f->relay, from, &f->msg, now_ns(), &to);
    if (f->rc != BRG_OK) return;
    assert_true(to < WORKERS);
    assert_int_equal(brg_socket_send_msg(f->server, &f->peers[to], &f->msg, &f->in.frames[1]),
                     BRG_OK);
}

static struct brg_object object_of(uint32_t microbatch) {
    return (struct brg_object){.kind = BRG_OBJECT_ACT,
                               .run = RUN,
                               .generation = 1,
                               .step = 5,
                               .unit = 1,
                               .microbatch = microbatch};
}

static void say_get(struct fixture *f, uint32_t worker, uint32_t holder, uint32_t microbatch) {
    f->msg.type = BRG_MSG_GET;
    f->msg.get = (struct brg_msg_get){
        .object = object_of(microbatch), .length = PART_BYTES, .peer = holder + 1};
    say(f, worker);
}

static void say_part(struct fixture *f, uint32_t worker, uint32_t asker, uint32_t microbatch) {
    f->msg.type = BRG_MSG_PART;
    f->msg.part = (struct brg_msg_part){
        .object = object_of(microbatch), .total = PART_BYTES, .peer = asker + 1};
    say(f, worker);
}

static int setup(void **state) {
    const struct brg_zap_config zap = {.keys_max = 4};
    const uint32_t members[WORKERS] = {0, 1, 2};
    char endpoint[BRG_ENDPOINT_BYTES];
    struct brg_socket_config config;
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL || sodium_init() < 0) return -1;
    brg_socket_config_init(&config);
    assert_int_equal(brg_transport_create(&f->inside, NULL), BRG_OK);
    assert_int_equal(brg_transport_create(&f->outside, NULL), BRG_OK);
    assert_int_equal(brg_zap_create(f->inside, &zap, &f->zap, NULL), BRG_OK);
    assert_int_equal(brg_keypair_create(&f->key, NULL), BRG_OK);
    assert_int_equal(brg_socket_listen(f->inside, &config, &f->key, f->zap, "tcp://127.0.0.1:*",
                                       &f->server, NULL),
                     BRG_OK);
    assert_int_equal(brg_socket_endpoint(f->server, endpoint), BRG_OK);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(brg_keypair_create(&f->keys[i], NULL), BRG_OK);
        assert_int_equal(brg_socket_dial(f->outside, &config, &f->keys[i], &f->key.public_key,
                                         endpoint, &f->workers[i], NULL),
                         BRG_OK);
    }
    assert_int_equal(brg_relay_create(BRG_NS_PER_S, &f->relay), BRG_OK);
    assert_int_equal(brg_relay_place(f->relay, RUN, members, WORKERS), BRG_OK);
    randombytes_buf(f->bytes, sizeof f->bytes);
    for (uint32_t i = 0; i < WORKERS; i++) { /* its connection gets known, as by Attach */
        f->msg.type = BRG_MSG_ATTACH;
        f->msg.attach.session = 1;
        say(f, i);
        assert_true(hear(f, f->server, PATIENCE_NS));
        f->peers[i] = f->in.peer;
    }
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    brg_inbound_release(&f->in);
    brg_relay_destroy(&f->relay);
    for (uint32_t i = 0; i < WORKERS; i++) {
        brg_socket_close(&f->workers[i]);
        brg_keypair_wipe(&f->keys[i]);
    }
    brg_socket_close(&f->server);
    brg_zap_destroy(&f->zap);
    brg_transport_destroy(&f->inside);
    brg_transport_destroy(&f->outside);
    brg_keypair_wipe(&f->key);
    free(f);
    return 0;
}

static void relay_get_and_part__reach_the_other_end_with_the_sender_named(void **state) {
    struct fixture *f = *state;
    say_get(f, 2, 0, 4);
    relay_one(f);
    assert_true(hear(f, f->workers[0], PATIENCE_NS));
    assert_int_equal(f->msg.type, BRG_MSG_GET);
    assert_int_equal(f->msg.get.peer, 2 + 1);
    assert_int_equal(f->msg.get.object.microbatch, 4);
    say_part(f, 0, 2, 4);
    relay_one(f);
    assert_true(hear(f, f->workers[2], PATIENCE_NS));
    assert_int_equal(f->msg.type, BRG_MSG_PART);
    assert_int_equal(f->msg.part.peer, 0 + 1);
    const struct brg_bytes bytes = brg_frame_bytes(&f->in.frames[1]);
    assert_int_equal(bytes.size_bytes, PART_BYTES);
    assert_memory_equal(bytes.data, f->bytes, PART_BYTES);
    struct brg_relay_stats s;
    brg_relay_stats_read(f->relay, &s);
    assert_int_equal(s.gets + s.parts, 2);
    assert_int_equal(s.bytes, PART_BYTES);
}

static void relay_answer_nobody_asked_for__is_dropped(void **state) {
    struct fixture *f = *state;
    say_part(f, 0, 2, 4);
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    say_get(f, 2, 0, 4);
    relay_one(f);
    say_part(f, 1, 2, 4); /* somebody else was asked */
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    say_part(f, 0, 2, 5); /* something else was asked for */
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    say_part(f, 0, 2, 4);
    relay_one(f);
    assert_int_equal(f->rc, BRG_OK);
    say_part(f, 0, 2, 4); /* once is enough */
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    struct brg_relay_stats s;
    brg_relay_stats_read(f->relay, &s);
    assert_int_equal(s.refused_unasked, 4);
}

static void relay_who_is_not_placed__does_not_pass(void **state) {
    struct fixture *f = *state;
    const uint32_t two[2] = {0, 1};
    say_get(f, 2, 0, 4);
    relay_one(f);
    assert_int_equal(brg_relay_place(f->relay, RUN, two, 2), BRG_OK);
    say_part(f, 0, 2, 4); /* it has left meanwhile */
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    say_get(f, 2, 0, 4);
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    say_get(f, 1, 2, 4);
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    assert_int_equal(brg_relay_place(f->relay, RUN + 1, two, 2), BRG_OK);
    say_get(f, 1, 0, 4); /* of a run that is over */
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
    struct brg_relay_stats s;
    brg_relay_stats_read(f->relay, &s);
    assert_int_equal(s.refused_outside, 4);
}

static void relay_gets_of_one_member__are_bounded_and_expire(void **state) {
    struct fixture *f = *state;
    uint32_t to = 0;
    const uint64_t begin_ns = now_ns();
    for (uint32_t i = 0; i < BRG_RELAY_GETS_MAX + 1; i++) {
        f->msg.type = BRG_MSG_GET;
        f->msg.get =
            (struct brg_msg_get){.object = object_of(i), .length = PART_BYTES, .peer = 0 + 1};
        const int rc = brg_relay_pass(f->relay, 2, &f->msg, begin_ns, &to);
        assert_int_equal(rc, i < BRG_RELAY_GETS_MAX ? BRG_OK : BRG_EFULL);
    }
    f->msg.get = (struct brg_msg_get){.object = object_of(0), .length = PART_BYTES, .peer = 0 + 1};
    assert_int_equal(brg_relay_pass(f->relay, 2, &f->msg, begin_ns, &to), BRG_OK); /* again */
    f->msg.get = (struct brg_msg_get){.object = object_of(99), .length = PART_BYTES, .peer = 0 + 1};
    assert_int_equal(brg_relay_pass(f->relay, 1, &f->msg, begin_ns, &to), BRG_OK); /* another's */
    f->msg.get = (struct brg_msg_get){.object = object_of(99), .length = PART_BYTES, .peer = 0 + 1};
    assert_int_equal(brg_relay_pass(f->relay, 2, &f->msg, begin_ns + BRG_NS_PER_S, &to), BRG_OK);
    for (uint32_t i = 0; i < BRG_RELAY_BYTES_MAX / BRG_PART_BYTES_MAX + 1; i++) {
        f->msg.get = (struct brg_msg_get){
            .object = object_of(200 + i), .length = BRG_PART_BYTES_MAX, .peer = 2 + 1};
        const int rc = brg_relay_pass(f->relay, 0, &f->msg, begin_ns, &to);
        assert_int_equal(rc, i < BRG_RELAY_BYTES_MAX / BRG_PART_BYTES_MAX ? BRG_OK : BRG_EFULL);
    }
}

static void relay_gone__settles_all_that_was_asked_of_the_object(void **state) {
    struct fixture *f = *state;
    say_get(f, 2, 0, 4);
    relay_one(f);
    f->msg.type = BRG_MSG_GONE;
    f->msg.gone = (struct brg_msg_gone){.object = object_of(4), .text = "over", .peer = 2 + 1};
    say(f, 0);
    relay_one(f);
    assert_true(hear(f, f->workers[2], PATIENCE_NS));
    assert_int_equal(f->msg.type, BRG_MSG_GONE);
    assert_int_equal(f->msg.gone.peer, 0 + 1);
    say_part(f, 0, 2, 4);
    relay_one(f);
    assert_int_equal(f->rc, BRG_EPERM);
}

#define RELAY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        RELAY_TEST(relay_get_and_part__reach_the_other_end_with_the_sender_named),
        RELAY_TEST(relay_answer_nobody_asked_for__is_dropped),
        RELAY_TEST(relay_who_is_not_placed__does_not_pass),
        RELAY_TEST(relay_gets_of_one_member__are_bounded_and_expire),
        RELAY_TEST(relay_gone__settles_all_that_was_asked_of_the_object),
    };
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL) != 0;
}
