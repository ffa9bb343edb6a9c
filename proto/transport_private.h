/* transport_private.h - what transport*.c and zap.c know of each other. */
#ifndef BRG_PROTO_TRANSPORT_PRIVATE_H
#define BRG_PROTO_TRANSPORT_PRIVATE_H

#include "proto/transport.h"

#include <zmq.h>

#define BRG_MONITOR_EVENTS_MAX 64u /* kept for brg_socket_event */
#define BRG_MONITOR_DRAIN_MAX 256u /* taken from libzmq at once */

struct brg_transport {
    void *context;
    _Atomic uint32_t users; /* sockets and ZAP; ending the context would wait for them for ever */
};

struct brg_socket {
    void *zmq;     /* ROUTER or DEALER */
    void *monitor; /* PAIR, diagnostics only */
    void *scratch; /* BRG_WIRE_SCRATCH_BYTES, for unpacking; touched as far as messages need */
    void *packed;  /* BRG_ENVELOPE_BYTES_MAX, for packing */
    struct brg_transport *transport;
    struct brg_zap *zap;              /* listening sockets; NULL: this one dials */
    struct brg_key server;            /* dialling sockets */
    char dialled[BRG_ENDPOINT_BYTES]; /* as the user wrote it; empty on listening sockets */
    struct brg_socket_stats stats;
    /* The newest events that nobody has asked for yet: a ring. */
    struct brg_socket_event events[BRG_MONITOR_EVENTS_MAX];
    uint32_t event_first, event_count;
    /* Of the message that is being thrown away over several calls. */
    int drain_rc; /* BRG_OK: none; else why, for each of the calls */
    struct brg_peer drain_peer;
    struct brg_key drain_key;
};

/* The ZeroMQ message inside a frame. */
static inline zmq_msg_t *brg_frame_zmq(struct brg_frame *f) {
    _Static_assert(sizeof(struct brg_frame) == sizeof(zmq_msg_t), "a frame is a zmq_msg_t");
    return (zmq_msg_t *)(void *)f->opaque;
}

/* brg_monitor_open - attaches the monitor of s->zmq. errors: BRG_EIO */
BRG_CHECK int brg_monitor_open(struct brg_transport *t, struct brg_socket *s);

/* brg_monitor_drain - moves what libzmq has to tell into the ring. */
void brg_monitor_drain(struct brg_socket *s);

#endif
