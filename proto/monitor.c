/* monitor.c - what happens to connections, as events that a person can read; part of transport.h.
 * Diagnostics only: libzmq does not promise their order against messages. */
#include "proto/transport_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#define MONITORED                                                                                  \
    (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED |                    \
     ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                        \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

int brg_monitor_open(struct brg_transport *t, struct brg_socket *s) {
    static _Atomic uint64_t next; /* endpoints are names in the context and must differ */
    char endpoint[64];
    const int linger_ms = 0;
    /* Without a bound, since at a bound libzmq's I/O thread would wait for us and all connections
     * with it; brg_monitor_drain empties it whenever the socket is read. */
    const int queue = 0;

    (void)snprintf(endpoint, sizeof endpoint, "inproc://brigade-monitor-%" PRIu64,
                   atomic_fetch_add(&next, 1));
    if (zmq_socket_monitor(s->zmq, endpoint, MONITORED) != 0) return BRG_EIO;
    s->monitor = zmq_socket(t->context, ZMQ_PAIR);
    if (s->monitor == NULL) return BRG_EIO;
    (void)zmq_setsockopt(s->monitor, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    (void)zmq_setsockopt(s->monitor, ZMQ_RCVHWM, &queue, sizeof queue);
    return zmq_connect(s->monitor, endpoint) == 0 ? BRG_OK : BRG_EIO;
}

static uint32_t type_of(uint16_t event) {
    switch (event) {
    case ZMQ_EVENT_CONNECTED: return BRG_SOCKET_CONNECTED;
    case ZMQ_EVENT_CONNECT_RETRIED: return BRG_SOCKET_UNREACHABLE;
    case ZMQ_EVENT_DISCONNECTED: return BRG_SOCKET_DISCONNECTED;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: return BRG_SOCKET_READY;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: return BRG_SOCKET_KEY_REFUSED;
    default: return BRG_SOCKET_BAD_HANDSHAKE;
    }
}

/* One event from the monitor. errors: BRG_ENOENT none */
static int read_event(struct brg_socket *s, struct brg_socket_event *out) {
    struct brg_frame head, address;
    int rc = BRG_ENOENT;

    brg_frame_init(&head);
    brg_frame_init(&address);
    if (zmq_msg_recv(brg_frame_zmq(&head), s->monitor, ZMQ_DONTWAIT) < 0) goto out;
    /* libzmq writes both frames at once: 16 bits of event, 32 of value; then the address. */
    const struct brg_bytes first = brg_frame_bytes(&head);
    uint16_t event = 0;
    if (first.size_bytes != sizeof event + sizeof out->value) goto out;
    if (zmq_msg_recv(brg_frame_zmq(&address), s->monitor, ZMQ_DONTWAIT) < 0) goto out;
    const struct brg_bytes second = brg_frame_bytes(&address);
    memset(out, 0, sizeof *out);
    memcpy(&event, first.data, sizeof event);
    memcpy(&out->value, (const uint8_t *)first.data + sizeof event, sizeof out->value);
    out->type = type_of(event);
    out->is_listening = s->zap != NULL;
    if (s->zap == NULL) { /* libzmq's own form of the address is not what the user wrote */
        memcpy(out->address, s->dialled, sizeof out->address);
    } else {
        const size_t fits_bytes = sizeof out->address - 1;
        memcpy(out->address, second.data,
               second.size_bytes < fits_bytes ? second.size_bytes : fits_bytes);
    }
    rc = BRG_OK;
out:
    brg_frame_close(&head);
    brg_frame_close(&address);
    return rc;
}

void brg_monitor_drain(struct brg_socket *s) {
    struct brg_socket_event event;
    for (uint32_t i = 0; i < BRG_MONITOR_DRAIN_MAX; i++) {
        if (read_event(s, &event) != BRG_OK) return;
        if (s->event_count == BRG_MONITOR_EVENTS_MAX) { /* the oldest makes room */
            s->event_first = (s->event_first + 1) % BRG_MONITOR_EVENTS_MAX;
            s->event_count--;
            s->stats.events_lost++;
        }
        s->events[(s->event_first + s->event_count) % BRG_MONITOR_EVENTS_MAX] = event;
        s->event_count++;
    }
}

int brg_socket_event(struct brg_socket *s, struct brg_socket_event *out) {
    brg_monitor_drain(s);
    if (s->event_count == 0) return BRG_ENOENT;
    *out = s->events[s->event_first];
    s->event_first = (s->event_first + 1) % BRG_MONITOR_EVENTS_MAX;
    s->event_count--;
    return BRG_OK;
}

/* For the operator of a coordinator, who sees many peers come and go. */
static void listening_text(const struct brg_socket_event *event, struct brg_why *out) {
    const char *at = event->address;
    switch (event->type) {
    case BRG_SOCKET_READY: (void)brg_why_set(out, 0, "a peer proved its key on %s", at); break;
    case BRG_SOCKET_KEY_REFUSED:
        (void)brg_why_set(out, 0, "a denied key tried to connect to %s", at);
        break;
    case BRG_SOCKET_BAD_HANDSHAKE:
        (void)brg_why_set(out, 0,
                          "a handshake on %s failed: no Brigade, or one with another join URL", at);
        break;
    default: (void)brg_why_set(out, 0, "a connection to %s ended", at); break;
    }
}

static void dialling_text(const struct brg_socket_event *event, struct brg_why *out) {
    const char *at = event->address;
    switch (event->type) {
    case BRG_SOCKET_CONNECTED:
        (void)brg_why_set(out, 0, "connected to %s, proving keys", at);
        break;
    case BRG_SOCKET_READY: (void)brg_why_set(out, 0, "the connection to %s is secure", at); break;
    case BRG_SOCKET_UNREACHABLE:
        (void)brg_why_set(out, 0,
                          "nobody answers at %s, next try in %" PRIu32
                          " ms: is the coordinator running, and may a firewall be in between?",
                          at, event->value);
        break;
    case BRG_SOCKET_KEY_REFUSED:
        (void)brg_why_set(out, 0,
                          "the coordinator at %s refused this key: ask its operator to run brigade "
                          "workers allow, or join with a new key",
                          at);
        break;
    case BRG_SOCKET_BAD_HANDSHAKE:
        (void)brg_why_set(out, 0,
                          "the handshake with %s failed: no Brigade there, or the key in the join "
                          "URL is not that coordinator's",
                          at);
        break;
    default: (void)brg_why_set(out, 0, "the connection to %s ended", at); break;
    }
}

void brg_socket_event_text(const struct brg_socket_event *event, struct brg_why *out) {
    if (event->is_listening) {
        listening_text(event, out);
    } else {
        dialling_text(event, out);
    }
}
