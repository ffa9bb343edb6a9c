#include "proto/transport_private.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <sodium.h>

#define IO_THREADS 1
#define SOCKETS_MAX 64    /* of one process: its own, their monitors, ZAP; not connections */
#define HEARTBEATS_LOST 4 /* pings without an answer until the peer counts as gone */
#define CONNECT_MS 5000   /* the system's own bound on dialling is minutes */
/* MAXMSGSIZE also counts what CURVE puts around a frame (33 bytes), and handshake commands. */
#define CURVE_OVERHEAD_BYTES 1024
#define RECONNECT_LOW_MS 200u
#define RECONNECT_HIGH_MS 1200u

_Static_assert(BRG_FRAME_BYTES_MAX >= BRG_ENVELOPE_BYTES_MAX, "one limit holds for all frames");

int brg_transport_create(struct brg_transport **out, struct brg_why *why) {
    int major, minor, patch;
    struct brg_transport *t = calloc(1, sizeof *t);

    *out = NULL;
    if (t == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory for the network");
    zmq_version(&major, &minor, &patch);
    if (ZMQ_MAKE_VERSION(major, minor, patch) < ZMQ_MAKE_VERSION(4, 3, 4) || !zmq_has("curve")) {
        free(t);
        return brg_why_set(why, BRG_EIO,
                           "libzmq %d.%d.%d is older than 4.3.4 or lacks CURVE: install Debian's "
                           "libzmq5",
                           major, minor, patch);
    }
    t->context = zmq_ctx_new();
    if (t->context == NULL) {
        free(t);
        return brg_why_set(why, BRG_EIO, "cannot start the network: %s", zmq_strerror(errno));
    }
    (void)zmq_ctx_set(t->context, ZMQ_IO_THREADS, IO_THREADS);
    (void)zmq_ctx_set(t->context, ZMQ_MAX_SOCKETS, SOCKETS_MAX);
    *out = t;
    return BRG_OK;
}

void brg_transport_destroy(struct brg_transport **t) {
    if (*t == NULL) return;
    BRG_ASSERT(atomic_load(&(*t)->users) == 0);
    while (zmq_ctx_term((*t)->context) != 0 && errno == EINTR) {
    }
    free(*t);
    *t = NULL;
}

void brg_socket_config_init(struct brg_socket_config *config) {
    *config = (struct brg_socket_config){
        .send_queue = 64,
        .recv_queue = 64,
        .heartbeat_ms = 1000,
        .handshake_ms = 5000,
        .reconnect_min_ms = 0,
        .reconnect_max_ms = 5000,
        .backlog = 4096,
    };
}

struct option {
    int name;
    int value;
};

/* Everything but keys: limits, queues, heartbeats. */
static int set_options(void *zmq, const struct brg_socket_config *c) {
    const uint32_t drawn =
        RECONNECT_LOW_MS + randombytes_uniform(RECONNECT_HIGH_MS - RECONNECT_LOW_MS + 1);
    const uint32_t first_ms = c->reconnect_min_ms != 0 ? c->reconnect_min_ms : drawn;
    const int heartbeat_ms = (int)c->heartbeat_ms;
    const struct option options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_IPV6, 1},
        {ZMQ_SNDHWM, (int)c->send_queue},
        {ZMQ_RCVHWM, (int)c->recv_queue},
        {ZMQ_HANDSHAKE_IVL, (int)c->handshake_ms},
        {ZMQ_HEARTBEAT_IVL, heartbeat_ms},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEATS_LOST * heartbeat_ms},
        {ZMQ_HEARTBEAT_TTL, (HEARTBEATS_LOST + 1) * heartbeat_ms},
        {ZMQ_RECONNECT_IVL, (int)first_ms},
        {ZMQ_RECONNECT_IVL_MAX, (int)c->reconnect_max_ms},
        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
        {ZMQ_BACKLOG, (int)c->backlog},
    };
    const int64_t frame_bytes = BRG_FRAME_BYTES_MAX + CURVE_OVERHEAD_BYTES;

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const int value = options[i].value;
        if (zmq_setsockopt(zmq, options[i].name, &value, sizeof value) != 0) return BRG_EIO;
    }
    if (zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &frame_bytes, sizeof frame_bytes) != 0) return BRG_EIO;
    return BRG_OK;
}

static int set_flag(void *zmq, int name) {
    const int one = 1;
    return zmq_setsockopt(zmq, name, &one, sizeof one) == 0 ? BRG_OK : BRG_EIO;
}

static int set_key(void *zmq, int name, const uint8_t *key) {
    return zmq_setsockopt(zmq, name, key, BRG_CURVE_KEY_BYTES) == 0 ? BRG_OK : BRG_EIO;
}

/* The listening side proves its key and asks ZAP about everybody else's. */
static int set_server(void *zmq, const struct brg_keypair *own_key) {
    static const char domain[] = "brigade";
    if (set_flag(zmq, ZMQ_CURVE_SERVER) != BRG_OK) return BRG_EIO;
    if (set_key(zmq, ZMQ_CURVE_SECRETKEY, own_key->secret) != BRG_OK) return BRG_EIO;
    if (zmq_setsockopt(zmq, ZMQ_ZAP_DOMAIN, domain, sizeof domain - 1) != 0) return BRG_EIO;
    return set_flag(zmq, ZMQ_ROUTER_MANDATORY);
}

static int set_client(void *zmq, const struct brg_keypair *own_key, const struct brg_key *server) {
    if (set_key(zmq, ZMQ_CURVE_SERVERKEY, server->bytes) != BRG_OK) return BRG_EIO;
    if (set_key(zmq, ZMQ_CURVE_PUBLICKEY, own_key->public_key.bytes) != BRG_OK) return BRG_EIO;
    if (set_key(zmq, ZMQ_CURVE_SECRETKEY, own_key->secret) != BRG_OK) return BRG_EIO;
    return set_flag(zmq, ZMQ_IMMEDIATE); /* nothing is queued for a connection not there yet */
}

/* A socket with everything but its address. own: *out is the caller's, NULL on error */
static int socket_create(struct brg_transport *t, int type, const struct brg_socket_config *config,
                         struct brg_socket **out, struct brg_why *why) {
    struct brg_socket *s = calloc(1, sizeof *s);

    *out = NULL;
    BRG_ASSERT(config->send_queue >= 1 && config->recv_queue >= 1);
    if (s == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory for a socket");
    s->transport = t;
    atomic_fetch_add(&t->users, 1);
    /* Pages of these two are touched only as far as messages need them. */
    s->scratch = malloc(BRG_WIRE_SCRATCH_BYTES);
    s->packed = malloc(BRG_ENVELOPE_BYTES_MAX);
    s->zmq = zmq_socket(t->context, type);
    if (s->scratch == NULL || s->packed == NULL || s->zmq == NULL) {
        brg_socket_close(&s);
        return brg_why_set(why, BRG_ENOMEM, "out of memory or descriptors for a socket");
    }
    if (set_options(s->zmq, config) != BRG_OK || brg_monitor_open(t, s) != BRG_OK) {
        const int failed = errno;
        brg_socket_close(&s);
        return brg_why_set(why, BRG_EIO, "cannot set up a socket: %s", zmq_strerror(failed));
    }
    *out = s;
    return BRG_OK;
}

/* Why a bind failed, for the operator. */
static int bind_failed(int failed, const char *endpoint, struct brg_why *why) {
    switch (failed) {
    case EADDRINUSE:
        return brg_why_set(why, BRG_EEXIST,
                           "%s is in use by another program: stop that one, or choose another port "
                           "by --listen",
                           endpoint);
    case EACCES:
        return brg_why_set(why, BRG_EPERM,
                           "%s: this user may not listen there (ports below 1024 are the "
                           "system's): choose another port by --listen",
                           endpoint);
    case EADDRNOTAVAIL:
    case ENODEV:
        return brg_why_set(why, BRG_EINVAL,
                           "%s: this machine has no such address: choose one of its own by "
                           "--listen, or 0.0.0.0 for all",
                           endpoint);
    case EINVAL:
        return brg_why_set(why, BRG_EINVAL, "%s is no address to listen on: write host:port",
                           endpoint);
    default:
        return brg_why_set(why, BRG_EIO, "cannot listen on %s: %s", endpoint, zmq_strerror(failed));
    }
}

int brg_socket_listen(struct brg_transport *t, const struct brg_socket_config *config,
                      const struct brg_keypair *own_key, struct brg_zap *zap, const char *endpoint,
                      struct brg_socket **out, struct brg_why *why) {
    BRG_ASSERT(zap != NULL);
    BRG_ASSERT(own_key->secret != NULL);
    int rc = socket_create(t, ZMQ_ROUTER, config, out, why);
    if (rc != BRG_OK) return rc;
    (*out)->zap = zap;
    if (set_server((*out)->zmq, own_key) != BRG_OK) {
        rc = brg_why_set(why, BRG_EIO, "cannot use the key: %s", zmq_strerror(errno));
    } else if (zmq_bind((*out)->zmq, endpoint) != 0) {
        rc = bind_failed(errno, endpoint, why);
    }
    if (rc != BRG_OK) brg_socket_close(out);
    return rc;
}

int brg_socket_dial(struct brg_transport *t, const struct brg_socket_config *config,
                    const struct brg_keypair *own_key, const struct brg_key *server,
                    const char *endpoint, struct brg_socket **out, struct brg_why *why) {
    BRG_ASSERT(own_key->secret != NULL);
    int rc = socket_create(t, ZMQ_DEALER, config, out, why);
    if (rc != BRG_OK) return rc;
    (*out)->server = *server;
    (void)snprintf((*out)->dialled, sizeof(*out)->dialled, "%s", endpoint);
    if (set_client((*out)->zmq, own_key, server) != BRG_OK) {
        rc = brg_why_set(why, BRG_EIO, "cannot use the key: %s", zmq_strerror(errno));
    } else if (zmq_connect((*out)->zmq, endpoint) != 0) {
        rc = brg_why_set(why, errno == EINVAL ? BRG_EINVAL : BRG_EIO,
                         "cannot dial %s: %s; a coordinator's address is host:port", endpoint,
                         zmq_strerror(errno));
    }
    if (rc != BRG_OK) brg_socket_close(out);
    return rc;
}

void brg_socket_close(struct brg_socket **socket) {
    struct brg_socket *s = *socket;
    if (s == NULL) return;
    /* First of all, since libzmq's I/O thread would wait for ever to tell a closed monitor of
     * connections that end, and all connections of the process with it. */
    if (s->zmq != NULL) (void)zmq_socket_monitor(s->zmq, NULL, 0);
    if (s->zmq != NULL) (void)zmq_close(s->zmq);
    if (s->monitor != NULL) (void)zmq_close(s->monitor);
    free(s->scratch);
    free(s->packed);
    atomic_fetch_sub(&s->transport->users, 1);
    free(s);
    *socket = NULL;
}

int brg_socket_endpoint(struct brg_socket *s, char *out) {
    static const char mapped[] = "tcp://[::ffff:"; /* how an IPv6 socket writes an IPv4 address */
    static const char plain[] = "tcp://";
    char raw[BRG_ENDPOINT_BYTES];
    size_t size_bytes = sizeof raw;

    if (zmq_getsockopt(s->zmq, ZMQ_LAST_ENDPOINT, raw, &size_bytes) != 0) return BRG_EIO;
    if (strncmp(raw, mapped, sizeof mapped - 1) == 0) {
        const char *address = raw + sizeof mapped - 1;
        const int address_bytes = (int)strcspn(address, "]");
        const char *port = address[address_bytes] == ']' ? address + address_bytes + 1 : "";
        (void)snprintf(out, BRG_ENDPOINT_BYTES, "%s%.*s%s", plain, address_bytes, address, port);
    } else {
        memcpy(out, raw, size_bytes);
    }
    return BRG_OK;
}

void brg_socket_stats_read(const struct brg_socket *s, struct brg_socket_stats *out) {
    *out = s->stats;
}

int brg_transport_wait(struct brg_wait *items, uint32_t count, uint32_t timeout_ms) {
    zmq_pollitem_t polled[BRG_WAIT_MAX];

    BRG_ASSERT(count <= BRG_WAIT_MAX);
    memset(polled, 0, sizeof polled);
    for (uint32_t i = 0; i < count; i++) {
        polled[i].socket = items[i].socket != NULL ? items[i].socket->zmq : NULL;
        polled[i].fd = items[i].fd;
        polled[i].events = ZMQ_POLLIN;
        items[i].is_ready = 0;
    }
    /* A signal ends the wait early, which its handler's flag wants. */
    const int ready = zmq_poll(polled, (int)count, (long)timeout_ms);
    if (ready < 0) return errno == EINTR ? BRG_OK : BRG_EIO;
    for (uint32_t i = 0; i < count; i++) {
        if (polled[i].revents != 0) items[i].is_ready = 1;
    }
    return BRG_OK;
}
