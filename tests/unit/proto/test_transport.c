/* Real sockets on loopback, ports chosen by the system. Everything that must not happen is given a
 * time in which it could; everything that must, WAIT_MS. */
#include "net.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#define QUIET_MS 600u /* nothing may come in this time; a handshake on loopback takes a few ms */

static void transport_text__goes_there_and_back(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);

    send_text(worker, NULL, "over here");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_int_equal(in.frame_count, 1);
    assert_frame_is(&in.frames[0], "over here");
    assert_true(brg_key_equal(&in.key, &n->worker_key.public_key));
    assert_int_equal(in.peer.size_bytes, 5);
    const struct brg_peer peer = in.peer;
    brg_inbound_release(&in);

    send_text(n->server, &peer, "and back");
    assert_int_equal(receive_within(worker, &in, WAIT_MS), BRG_OK);
    assert_frame_is(&in.frames[0], "and back");
    assert_true(brg_key_equal(&in.key, &n->server_key.public_key));
    brg_inbound_release(&in);
    assert_int_equal(brg_socket_receive(worker, &in), BRG_ENOENT);
    net_hang_up(n, &worker);
}

static void transport_two_connections_of_one_key__share_the_key_and_not_the_peer(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_peer peers[2];
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *control = net_dial(n), *bulk = net_dial(n);

    send_text(control, NULL, "control");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_true(brg_key_equal(&in.key, &n->worker_key.public_key));
    peers[0] = in.peer;
    brg_inbound_release(&in);
    send_text(bulk, NULL, "bulk");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_true(brg_key_equal(&in.key, &n->worker_key.public_key));
    peers[1] = in.peer;
    brg_inbound_release(&in);

    assert_false(brg_peer_equal(&peers[0], &peers[1]));
    send_text(n->server, &peers[1], "for bulk");
    assert_int_equal(receive_within(bulk, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);
    assert_int_equal(brg_socket_receive(control, &in), BRG_ENOENT);
    net_hang_up(n, &control);
    net_hang_up(n, &bulk);
}

static void transport_wrong_server_key__never_gets_through(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_keypair other;
    struct brg_frame f;
    assert_int_equal(brg_keypair_create(&other, NULL), BRG_OK);
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial_as(n, &n->worker_key, &other.public_key);
    struct brg_socket_event event;

    assert_true(event_within(n->server, BRG_SOCKET_BAD_HANDSHAKE, &event, WAIT_MS));
    assert_int_equal(receive_within(n->server, &in, QUIET_MS), BRG_ENOENT);
    assert_int_equal(brg_frame_copy(&f, "x", 1), BRG_OK);
    assert_int_equal(brg_socket_send(worker, NULL, &f, 1), BRG_EFULL); /* never connected */
    brg_frame_close(&f);
    net_hang_up(n, &worker);
    brg_keypair_wipe(&other);
}

static void transport_denied_key__is_refused_and_told_so(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_socket_event event;
    struct brg_zap_stats stats;
    struct brg_why text;
    assert_int_equal(brg_zap_deny(n->zap, &n->worker_key.public_key), BRG_OK);
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);

    assert_true(event_within(worker, BRG_SOCKET_KEY_REFUSED, &event, WAIT_MS));
    assert_int_equal(event.value, 400);
    brg_socket_event_text(&event, &text);
    assert_non_null(strstr(text.text, "refused this key"));
    assert_int_equal(receive_within(n->server, &in, QUIET_MS), BRG_ENOENT);
    brg_zap_stats_read(n->zap, &stats);
    assert_true(stats.refused >= 1);
    assert_int_equal(stats.accepted, 0);
    net_hang_up(n, &worker);
}

static void transport_key_denied_while_connected__is_cut_off_at_once(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_socket_stats stats;
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);
    send_text(worker, NULL, "one");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);

    assert_int_equal(brg_zap_deny(n->zap, &n->worker_key.public_key), BRG_OK);
    send_text(worker, NULL, "two");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_EPERM);
    assert_int_equal(in.frame_count, 0);
    assert_true(brg_key_equal(&in.key, &n->worker_key.public_key));
    brg_socket_stats_read(n->server, &stats);
    assert_int_equal(stats.dropped_denied, 1);
    assert_int_equal(stats.received, 1);

    brg_zap_forget(n->zap, &n->worker_key.public_key);
    send_text(worker, NULL, "three");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_frame_is(&in.frames[0], "three");
    brg_inbound_release(&in);
    net_hang_up(n, &worker);
}

/* A client of plain libzmq, as an attacker would write it. */
struct plain {
    void *context;
    void *socket;
};

static struct plain plain_dial(const struct net *n, int type, const struct brg_keypair *key,
                               const char *claimed_id) {
    struct plain p;
    const int zero = 0;
    p.context = zmq_ctx_new();
    p.socket = zmq_socket(p.context, type);
    assert_non_null(p.socket);
    (void)zmq_setsockopt(p.socket, ZMQ_LINGER, &zero, sizeof zero);
    (void)zmq_setsockopt(p.socket, ZMQ_SNDHWM, &zero, sizeof zero);
    if (claimed_id != NULL) {
        (void)zmq_setsockopt(p.socket, ZMQ_ROUTING_ID, claimed_id, strlen(claimed_id));
    }
    if (key != NULL) {
        (void)zmq_setsockopt(p.socket, ZMQ_CURVE_SERVERKEY, n->server_key.public_key.bytes, 32);
        (void)zmq_setsockopt(p.socket, ZMQ_CURVE_PUBLICKEY, key->public_key.bytes, 32);
        (void)zmq_setsockopt(p.socket, ZMQ_CURVE_SECRETKEY, key->secret, 32);
    }
    assert_int_equal(zmq_connect(p.socket, n->endpoint), 0);
    return p;
}

static void plain_close(struct plain *p) {
    (void)zmq_close(p->socket);
    (void)zmq_ctx_term(p->context);
}

static void transport_client_without_curve__gets_nothing(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    char byte;
    net_listen(n, "tcp://127.0.0.1:*");
    struct plain p = plain_dial(n, ZMQ_DEALER, NULL, NULL);
    assert_int_equal(zmq_send(p.socket, "hello", 5, ZMQ_DONTWAIT), 5);

    assert_int_equal(receive_within(n->server, &in, QUIET_MS), BRG_ENOENT);
    assert_int_equal(zmq_recv(p.socket, &byte, 1, ZMQ_DONTWAIT), -1);
    plain_close(&p);
}

static void transport_claimed_routing_id__does_not_change_who_it_is(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_keypair liar;
    char claimed[BRG_KEY_TEXT_BYTES];
    assert_int_equal(brg_keypair_create(&liar, NULL), BRG_OK);
    net_listen(n, "tcp://127.0.0.1:*");

    struct plain p = plain_dial(n, ZMQ_DEALER, &liar, "worker-1");
    assert_int_equal(zmq_send(p.socket, "I am worker 1", 13, 0), 13);
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_int_equal(in.peer.size_bytes, 8);
    assert_true(brg_key_equal(&in.key, &liar.public_key));
    brg_inbound_release(&in);
    plain_close(&p);

    /* A name longer than any of ours, such as somebody's key: the message is dropped whole. */
    p = plain_dial(n, ZMQ_DEALER, &liar, brg_key_format(&n->worker_key.public_key, claimed));
    assert_int_equal(zmq_send(p.socket, "a", 1, ZMQ_SNDMORE), 1);
    assert_int_equal(zmq_send(p.socket, "b", 1, 0), 1);
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_EPROTO);
    assert_true(brg_key_equal(&in.key, &liar.public_key));
    assert_int_equal(brg_socket_receive(n->server, &in), BRG_ENOENT);
    plain_close(&p);
    brg_keypair_wipe(&liar);
}

/* Resident memory of this process. */
static uint64_t resident_bytes(void) {
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &pages, &resident), 2);
    (void)fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void transport_message_of_300000_frames__is_dropped_within_bounds(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_socket_stats stats;
    enum { FRAMES = 300000 };
    net_listen(n, "tcp://127.0.0.1:*");
    struct plain p = plain_dial(n, ZMQ_DEALER, &n->worker_key, NULL);
    const uint64_t before_bytes = resident_bytes();

    for (int i = 0; i < FRAMES; i++) {
        assert_int_equal(zmq_send(p.socket, "x", 1, i + 1 < FRAMES ? ZMQ_SNDMORE : 0), 1);
    }
    assert_int_equal(zmq_send(p.socket, "after", 5, 0), 5);
    assert_int_equal(receive_within(n->server, &in, 6 * WAIT_MS), BRG_EPROTO);
    assert_true(brg_key_equal(&in.key, &n->worker_key.public_key));
    uint32_t calls = 1;
    int rc;
    while ((rc = receive_within(n->server, &in, WAIT_MS)) == BRG_EPROTO) calls++;
    assert_int_equal(rc, BRG_OK); /* the next message is whole */
    assert_frame_is(&in.frames[0], "after");
    brg_inbound_release(&in);

    const uint64_t grown_bytes = resident_bytes() - before_bytes;
    print_message("300000 frames: %u calls, %llu KiB more memory, sender's side included\n", calls,
                  (unsigned long long)(grown_bytes / 1024));
    assert_true(calls > FRAMES / BRG_DRAIN_FRAMES_MAX / 2);
    assert_true(calls <= FRAMES / BRG_DRAIN_FRAMES_MAX + 2);
    brg_socket_stats_read(n->server, &stats);
    assert_int_equal(stats.dropped_oversized, 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(grown_bytes < 256u * 1024 * 1024);
#endif
    plain_close(&p);
}

static void transport_oversized_frame__never_arrives_and_others_go_on(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    const size_t size_bytes = BRG_FRAME_BYTES_MAX + 65536;
    uint8_t *bytes = calloc(1, size_bytes);
    net_listen(n, "tcp://127.0.0.1:*");
    struct plain p = plain_dial(n, ZMQ_DEALER, &n->worker_key, NULL);
    struct brg_socket *other = net_dial(n);
    struct brg_socket_event event;

    assert_int_equal(zmq_send(p.socket, bytes, size_bytes, 0), (int)size_bytes);
    assert_true(event_within(n->server, BRG_SOCKET_DISCONNECTED, &event, WAIT_MS));
    send_text(other, NULL, "still here");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_frame_is(&in.frames[0], "still here");
    brg_inbound_release(&in);
    assert_int_equal(receive_within(n->server, &in, 100), BRG_ENOENT);
    plain_close(&p);
    net_hang_up(n, &other);
    free(bytes);
}

static void transport_message_of_too_many_bytes__is_dropped(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    uint8_t *bytes = calloc(1, BRG_FRAME_BYTES_MAX);
    net_listen(n, "tcp://127.0.0.1:*");
    struct plain p = plain_dial(n, ZMQ_DEALER, &n->worker_key, NULL);

    /* Each frame is allowed, and two of them are not. */
    (void)zmq_send(p.socket, bytes, BRG_FRAME_BYTES_MAX, ZMQ_SNDMORE);
    (void)zmq_send(p.socket, bytes, BRG_FRAME_BYTES_MAX, 0);
    (void)zmq_send(p.socket, "ok", 2, 0);
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_EPROTO);
    assert_int_equal(in.frame_count, 0);
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    assert_frame_is(&in.frames[0], "ok");
    brg_inbound_release(&in);
    plain_close(&p);
    free(bytes);
}

static _Atomic int released;

static void count_release(void *data, void *hint) {
    assert_ptr_equal(data, hint);
    atomic_fetch_add(&released, 1);
}

static int released_within(int wanted, uint32_t timeout_ms) {
    const uint64_t end_ms = now_ms() + timeout_ms;
    const struct timespec pause = {.tv_nsec = 5000000};
    while (atomic_load(&released) != wanted && now_ms() < end_ms) (void)nanosleep(&pause, NULL);
    return atomic_load(&released);
}

static void transport_wrapped_buffer__is_released_exactly_once(void **state) {
    struct net *n = *state;
    static uint8_t big[1 << 20];
    struct brg_frame f[2];
    struct brg_inbound in;
    const struct brg_peer nobody = {.size_bytes = 5, .bytes = {0, 1, 2, 3, 4}};
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);
    send_text(worker, NULL, "first");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    const struct brg_peer peer = in.peer;
    brg_inbound_release(&in);
    memset(big, 7, sizeof big);
    atomic_store(&released, 0);

    /* Refused: the frame, and with it the buffer, stays ours. */
    assert_int_equal(brg_frame_copy(&f[0], "head", 4), BRG_OK);
    assert_int_equal(brg_frame_wrap(&f[1], big, sizeof big, count_release, big), BRG_OK);
    assert_int_equal(brg_socket_send(n->server, &nobody, f, 2), BRG_ENOENT);
    assert_int_equal(atomic_load(&released), 0);
    assert_int_equal(brg_frame_bytes(&f[1]).size_bytes, sizeof big);

    assert_int_equal(brg_socket_send(n->server, &peer, f, 2), BRG_OK);
    assert_int_equal(brg_frame_bytes(&f[1]).size_bytes, 0);
    brg_frame_close(&f[1]); /* of an empty frame, which changes nothing */
    assert_int_equal(receive_within(worker, &in, WAIT_MS), BRG_OK);
    assert_int_equal(in.frame_count, 2);
    assert_memory_equal(brg_frame_bytes(&in.frames[1]).data, big, sizeof big);
    brg_inbound_release(&in);
    assert_int_equal(released_within(1, WAIT_MS), 1);

    /* Closed without being sent. */
    assert_int_equal(brg_frame_wrap(&f[0], big, sizeof big, count_release, big), BRG_OK);
    brg_frame_close(&f[0]);
    assert_int_equal(atomic_load(&released), 2);

    /* Queued for a peer that goes away. */
    assert_int_equal(brg_frame_wrap(&f[0], big, sizeof big, count_release, big), BRG_OK);
    assert_int_equal(brg_socket_send(n->server, &peer, f, 1), BRG_OK);
    net_hang_up(n, &worker);
    brg_socket_close(&n->server);
    assert_int_equal(released_within(3, WAIT_MS), 3);
}

static void transport_full_queue__is_told_apart_from_nobody_there(void **state) {
    struct net *n = *state;
    static uint8_t big[1 << 20];
    struct brg_inbound in;
    struct brg_frame f;
    const struct brg_peer nobody = {.size_bytes = 5, .bytes = {0, 9, 9, 9, 9}};
    int rc = BRG_OK, sent = 0;
    n->config.send_queue = 4;
    n->config.recv_queue = 4;
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);
    send_text(worker, NULL, "first");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    const struct brg_peer peer = in.peer;
    brg_inbound_release(&in);

    /* The worker does not read: queues on both sides and the kernel's buffers fill. */
    for (int i = 0; i < 200 && rc == BRG_OK; i++) {
        assert_int_equal(brg_frame_copy(&f, big, sizeof big), BRG_OK);
        rc = brg_socket_send(n->server, &peer, &f, 1);
        if (rc == BRG_OK) sent++;
        wait_for(n->server, 5);
    }
    assert_int_equal(rc, BRG_EFULL);
    assert_int_equal(brg_socket_send(n->server, &nobody, &f, 1), BRG_ENOENT);

    /* Everything that was taken arrives, and then there is room again. */
    for (int i = 0; i < sent; i++) {
        assert_int_equal(receive_within(worker, &in, WAIT_MS), BRG_OK);
        brg_inbound_release(&in);
    }
    assert_int_equal(brg_socket_send(n->server, &peer, &f, 1), BRG_OK);

    net_hang_up(n, &worker);
    const uint64_t end_ms = now_ms() + WAIT_MS;
    do {
        wait_for(n->server, 5);
        assert_int_equal(brg_frame_copy(&f, "x", 1), BRG_OK);
        rc = brg_socket_send(n->server, &peer, &f, 1);
        brg_frame_close(&f);
    } while (rc != BRG_ENOENT && now_ms() < end_ms);
    assert_int_equal(rc, BRG_ENOENT); /* it left */
}

static void transport_dialling_nobody__is_full_and_says_unreachable(void **state) {
    struct net *n = *state;
    struct brg_socket_event event;
    struct brg_why text;
    struct brg_frame f;
    net_listen(n, "tcp://127.0.0.1:*");
    brg_socket_close(&n->server); /* the port is free again, and nobody listens */
    struct brg_socket *worker = net_dial(n);
    assert_int_equal(brg_frame_copy(&f, "x", 1), BRG_OK);
    assert_int_equal(brg_socket_send(worker, NULL, &f, 1), BRG_EFULL);
    brg_frame_close(&f);
    assert_true(event_within(worker, BRG_SOCKET_UNREACHABLE, &event, WAIT_MS));
    brg_socket_event_text(&event, &text);
    assert_non_null(strstr(text.text, "nobody answers at tcp://127.0.0.1:"));
    net_hang_up(n, &worker);
}

static void transport_server_restart__is_found_again_on_the_same_port_and_key(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);
    char endpoint[BRG_ENDPOINT_BYTES];
    memcpy(endpoint, n->endpoint, sizeof endpoint);

    for (int i = 0; i < 3; i++) {
        struct brg_frame f;
        int rc;
        const uint64_t end_ms = now_ms() + WAIT_MS;
        /* What is sent into a connection that just died is lost, so: again until one arrives. */
        do {
            assert_int_equal(brg_frame_copy(&f, "here again", 10), BRG_OK);
            (void)!brg_socket_send(worker, NULL, &f, 1);
            brg_frame_close(&f);
            rc = receive_within(n->server, &in, 50);
        } while (rc == BRG_ENOENT && now_ms() < end_ms);
        assert_int_equal(rc, BRG_OK);
        assert_true(brg_key_equal(&in.key, &n->worker_key.public_key));
        brg_inbound_release(&in);
        brg_socket_close(&n->server);
        /* libzmq closes the old listener in its own thread. */
        while ((rc = brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap, endpoint,
                                       &n->server, NULL)) == BRG_EEXIST &&
               now_ms() < end_ms) {
            const struct timespec pause = {.tv_nsec = 5000000};
            (void)nanosleep(&pause, NULL);
        }
        assert_int_equal(rc, BRG_OK);
    }
    net_hang_up(n, &worker);
}

static void transport_socket_closed_with_peers__leaves_the_others_working(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_socket *second = NULL;
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);
    send_text(worker, NULL, "first");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);
    char endpoint[BRG_ENDPOINT_BYTES];
    memcpy(endpoint, n->endpoint, sizeof endpoint);

    for (int i = 0; i < 25; i++) {
        assert_int_equal(brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap,
                                           "tcp://127.0.0.1:*", &second, NULL),
                         BRG_OK);
        assert_int_equal(brg_socket_endpoint(second, n->endpoint), BRG_OK);
        struct brg_socket *visitor = net_dial(n);
        send_text(visitor, NULL, "visit");
        assert_int_equal(receive_within(second, &in, WAIT_MS), BRG_OK);
        brg_inbound_release(&in);
        brg_socket_close(&second); /* while the visitor is connected */
        net_hang_up(n, &visitor);
        send_text(worker, NULL, "still here");
        assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
        brg_inbound_release(&in);
    }
    net_hang_up(n, &worker);
}

/* Carries bytes between one worker and the server, until it is told to freeze: the connections stay
 * open and nothing moves, as with a machine that lost power or a network that is cut. */
struct relay {
    int listen_fd, near_fd, far_fd;
    uint16_t server_port;
    _Atomic int is_frozen, is_over;
    pthread_t thread;
};

static int loopback(uint16_t port, int do_listen, uint16_t *bound_port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size_bytes = sizeof a;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!do_listen) {
        assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&a, sizeof a), 0);
        return fd;
    }
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&a, &size_bytes), 0);
    *bound_port = ntohs(a.sin_port);
    return fd;
}

static void carry(int from_fd, int to_fd) {
    char bytes[4096];
    const ssize_t n = recv(from_fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) (void)!send(to_fd, bytes, (size_t)n, MSG_NOSIGNAL);
}

static void *relay_run(void *arg) {
    struct relay *r = arg;
    r->near_fd = accept(r->listen_fd, NULL, NULL);
    r->far_fd = loopback(r->server_port, 0, NULL);
    while (!atomic_load(&r->is_over)) {
        struct pollfd fds[2] = {{.fd = r->near_fd, .events = POLLIN},
                                {.fd = r->far_fd, .events = POLLIN}};
        (void)poll(fds, 2, 5);
        if (atomic_load(&r->is_frozen)) continue;
        carry(r->near_fd, r->far_fd);
        carry(r->far_fd, r->near_fd);
    }
    return NULL;
}

static void transport_frozen_connection__is_noticed_by_both_sides(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    struct brg_socket_event event;
    uint16_t port = 0;
    static struct relay relay;
    n->config.heartbeat_ms = 100; /* gone after 400 ms */
    net_listen(n, "tcp://127.0.0.1:*");
    relay.server_port = (uint16_t)strtoul(strrchr(n->endpoint, ':') + 1, NULL, 10);
    relay.listen_fd = loopback(0, 1, &port);
    assert_int_equal(pthread_create(&relay.thread, NULL, relay_run, &relay), 0);
    (void)brg_endpoint_format("127.0.0.1", port, n->endpoint);
    struct brg_socket *worker = net_dial(n);
    send_text(worker, NULL, "first");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);

    /* Silence of the programs is no reason to part: the pings go on. */
    assert_false(event_within(n->server, BRG_SOCKET_DISCONNECTED, &event, 1500));
    atomic_store(&relay.is_frozen, 1);
    const uint64_t start_ms = now_ms();
    assert_true(event_within(n->server, BRG_SOCKET_DISCONNECTED, &event, WAIT_MS));
    const uint64_t took_ms = now_ms() - start_ms;
    assert_true(event_within(worker, BRG_SOCKET_DISCONNECTED, &event, WAIT_MS));
    print_message("a frozen connection was noticed after %u ms\n", (unsigned)took_ms);
    assert_true(took_ms >= 250);

    net_hang_up(n, &worker);
    atomic_store(&relay.is_over, 1);
    assert_int_equal(pthread_join(relay.thread, NULL), 0);
    (void)close(relay.near_fd);
    (void)close(relay.far_fd);
    (void)close(relay.listen_fd);
}

static void transport_port_in_use__is_one_sentence(void **state) {
    struct net *n = *state;
    struct brg_socket *second = (struct brg_socket *)n;
    struct brg_why why;
    net_listen(n, "tcp://127.0.0.1:*");
    assert_int_equal(brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap,
                                       n->endpoint, &second, &why),
                     BRG_EEXIST);
    assert_null(second);
    assert_non_null(strstr(why.text, "is in use by another program"));
    assert_non_null(strstr(why.text, "--listen"));
    assert_int_equal(brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap,
                                       "tcp://192.0.2.1:7420", &second, &why),
                     BRG_EINVAL);
    assert_int_equal(brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap,
                                       "tcp://nonsense", &second, &why),
                     BRG_EINVAL);
    assert_int_equal(brg_socket_dial(n->outside, &n->config, &n->worker_key,
                                     &n->server_key.public_key, "tcp://nonsense", &second, &why),
                     BRG_EINVAL);
}

static void transport_listening_on_all_addresses__reaches_ipv4_and_ipv6(void **state) {
    struct net *n = *state;
    struct brg_inbound in;
    net_listen(n, "tcp://0.0.0.0:*");
    const char *port = strrchr(n->endpoint, ':') + 1;
    char number[8];
    (void)snprintf(number, sizeof number, "%s", port);
    (void)brg_endpoint_format("127.0.0.1", (uint16_t)strtoul(number, NULL, 10), n->endpoint);
    struct brg_socket *worker = net_dial(n);
    send_text(worker, NULL, "v4");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);
    net_hang_up(n, &worker);
    brg_socket_close(&n->server);

    struct brg_why why;
    const int rc = brg_socket_listen(n->transport, &n->config, &n->server_key, n->zap,
                                     "tcp://[::1]:*", &n->server, &why);
    if (rc == BRG_EINVAL) { /* a machine without IPv6 */
        print_message("skipped the IPv6 half: %s\n", why.text);
        return;
    }
    assert_int_equal(rc, BRG_OK);
    assert_int_equal(brg_socket_endpoint(n->server, n->endpoint), BRG_OK);
    worker = net_dial(n);
    send_text(worker, NULL, "v6");
    assert_int_equal(receive_within(n->server, &in, WAIT_MS), BRG_OK);
    brg_inbound_release(&in);
    net_hang_up(n, &worker);
}

static void transport_messages__are_packed_sent_checked_and_unpacked(void **state) {
    struct net *n = *state;
    static struct brg_msg sent, got;
    static uint8_t data[100000];
    struct brg_inbound in;
    struct brg_frame frame;
    const char *why = NULL;
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_socket *worker = net_dial(n);

    randombytes_buf(data, sizeof data);
    sent = (struct brg_msg){.type = BRG_MSG_PART, .epoch = 3, .tensor_count = 1};
    sent.part.object =
        (struct brg_object){.kind = BRG_OBJECT_SHARE, .run = 1, .step = 2, .unit = 3};
    sent.part.offset = 5;
    sent.part.total = 200000;
    brg_wire_describe_tensor(BRG_DTYPE_BYTES, data, sizeof data, &sent.tensors[0]);
    int rc;
    assert_int_equal(brg_frame_copy(&frame, data, sizeof data), BRG_OK);
    const uint64_t end_ms = now_ms() + WAIT_MS;
    while ((rc = brg_socket_send_msg(worker, NULL, &sent, &frame)) == BRG_EFULL &&
           now_ms() < end_ms) {
        assert_int_equal(brg_frame_bytes(&frame).size_bytes, sizeof data); /* still ours */
        wait_for(worker, 10);
    }
    assert_int_equal(rc, BRG_OK);
    wait_for(n->server, WAIT_MS);
    assert_int_equal(brg_socket_receive_msg(n->server, &in, &got, &why), BRG_OK);
    assert_int_equal(got.type, BRG_MSG_PART);
    assert_int_equal(got.epoch, 3);
    assert_int_equal(in.frame_count, 2);
    const struct brg_bytes bytes = brg_frame_bytes(&in.frames[1]);
    assert_int_equal(brg_wire_verify_tensor(&got.tensors[0], bytes), BRG_OK);
    ((uint8_t *)(uintptr_t)bytes.data)[77] ^= 1;
    assert_int_equal(brg_wire_verify_tensor(&got.tensors[0], bytes), BRG_EPROTO);
    brg_inbound_release(&in);

    /* No message, and a message with a frame that it does not declare. */
    struct brg_socket_stats stats;
    send_text(worker, NULL, "no envelope");
    wait_for(n->server, WAIT_MS);
    assert_int_equal(brg_socket_receive_msg(n->server, &in, &got, &why), BRG_EPROTO);
    assert_non_null(why);
    struct brg_frame two[2];
    uint8_t packed[256];
    size_t packed_bytes = 0;
    sent = (struct brg_msg){.type = BRG_MSG_REHELLO};
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &packed_bytes), BRG_OK);
    assert_int_equal(brg_frame_copy(&two[0], packed, packed_bytes), BRG_OK);
    assert_int_equal(brg_frame_copy(&two[1], "surplus", 7), BRG_OK);
    assert_int_equal(brg_socket_send(worker, NULL, two, 2), BRG_OK);
    wait_for(n->server, WAIT_MS);
    assert_int_equal(brg_socket_receive_msg(n->server, &in, &got, &why), BRG_EPROTO);
    brg_socket_stats_read(n->server, &stats);
    assert_int_equal(stats.dropped_invalid, 2);
    net_hang_up(n, &worker);
}

static void transport_wait__wakes_for_a_descriptor_and_ends_in_time(void **state) {
    struct net *n = *state;
    const uint64_t one = 1;
    const int fd = eventfd(0, EFD_CLOEXEC);
    net_listen(n, "tcp://127.0.0.1:*");
    struct brg_wait items[2] = {{.socket = n->server}, {.fd = fd}};

    const uint64_t start_ms = now_ms();
    assert_int_equal(brg_transport_wait(items, 2, 50), BRG_OK);
    assert_int_equal(items[0].is_ready + items[1].is_ready, 0);
    assert_true(now_ms() - start_ms >= 45);
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
    assert_int_equal(brg_transport_wait(items, 2, WAIT_MS), BRG_OK);
    assert_int_equal(items[0].is_ready, 0);
    assert_int_equal(items[1].is_ready, 1);
    assert_int_equal(close(fd), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        NET_TEST(transport_text__goes_there_and_back),
        NET_TEST(transport_two_connections_of_one_key__share_the_key_and_not_the_peer),
        NET_TEST(transport_wrong_server_key__never_gets_through),
        NET_TEST(transport_denied_key__is_refused_and_told_so),
        NET_TEST(transport_key_denied_while_connected__is_cut_off_at_once),
        NET_TEST(transport_client_without_curve__gets_nothing),
        NET_TEST(transport_claimed_routing_id__does_not_change_who_it_is),
        NET_TEST(transport_message_of_300000_frames__is_dropped_within_bounds),
        NET_TEST(transport_oversized_frame__never_arrives_and_others_go_on),
        NET_TEST(transport_message_of_too_many_bytes__is_dropped),
        NET_TEST(transport_wrapped_buffer__is_released_exactly_once),
        NET_TEST(transport_full_queue__is_told_apart_from_nobody_there),
        NET_TEST(transport_dialling_nobody__is_full_and_says_unreachable),
        NET_TEST(transport_server_restart__is_found_again_on_the_same_port_and_key),
        NET_TEST(transport_socket_closed_with_peers__leaves_the_others_working),
        NET_TEST(transport_frozen_connection__is_noticed_by_both_sides),
        NET_TEST(transport_port_in_use__is_one_sentence),
        NET_TEST(transport_listening_on_all_addresses__reaches_ipv4_and_ipv6),
        NET_TEST(transport_messages__are_packed_sent_checked_and_unpacked),
        NET_TEST(transport_wait__wakes_for_a_descriptor_and_ends_in_time),
    };
    return cmocka_run_group_tests_name("transport", tests, NULL, NULL) != 0;
}
