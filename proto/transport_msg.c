/* transport_msg.c - receiving under limits and sending without waiting; part of transport.h. */
#include "proto/transport_private.h"

#include <errno.h>
#include <string.h>

/* What an errno of a send or receive that did not wait means to the caller. */
static int error_of(int failed) {
    switch (failed) {
    case EAGAIN: return BRG_EFULL;
    case EHOSTUNREACH: return BRG_ENOENT;
    default: return BRG_EIO;
    }
}

/* Throws frames away to the end of the message, but not more than one call may look at. */
static void drain(struct brg_socket *s) {
    struct brg_frame frame;
    brg_frame_init(&frame);
    for (uint32_t i = 0; i < BRG_DRAIN_FRAMES_MAX && s->drain_rc != BRG_OK; i++) {
        if (zmq_msg_recv(brg_frame_zmq(&frame), s->zmq, ZMQ_DONTWAIT) < 0) break;
        if (!zmq_msg_more(brg_frame_zmq(&frame))) s->drain_rc = BRG_OK;
        brg_frame_close(&frame);
    }
    brg_frame_close(&frame);
}

/* Drops the message for the reason `rc`. Where more of it is to come, every call returns `rc` until
 * it is gone. */
static int give_up(struct brg_socket *s, const struct brg_inbound *in, int more, int rc) {
    if (more) {
        s->drain_rc = rc;
        s->drain_peer = in->peer;
        s->drain_key = in->key;
        drain(s);
    }
    return rc;
}

/* Whose key CURVE proved for the connection that `frame` came over.
 * errors: BRG_EPERM nobody's, or a denied one's */
static int check_sender(struct brg_socket *s, struct brg_frame *frame, struct brg_key *out) {
    const char *user = zmq_msg_gets(brg_frame_zmq(frame), "User-Id");
    if (user == NULL || brg_key_parse(user, out, NULL) != BRG_OK) {
        s->stats.dropped_unknown++;
        return BRG_EPERM;
    }
    if (brg_zap_permits(s->zap, out)) return BRG_OK;
    s->stats.dropped_denied++;
    return BRG_EPERM;
}

/* The frame that a ROUTER puts before a message: over which connection it came. libzmq makes up 5
 * bytes; a name that a peer claims instead and that is longer than ours comes out as size 0. */
static int receive_peer(struct brg_socket *s, struct brg_peer *out) {
    struct brg_frame frame;
    int rc = BRG_OK;

    brg_frame_init(&frame);
    if (zmq_msg_recv(brg_frame_zmq(&frame), s->zmq, ZMQ_DONTWAIT) < 0) {
        rc = errno == EAGAIN ? BRG_ENOENT : BRG_EIO;
        goto out;
    }
    const struct brg_bytes id = brg_frame_bytes(&frame);
    if (id.size_bytes <= sizeof out->bytes) {
        memcpy(out->bytes, id.data, id.size_bytes);
        out->size_bytes = (uint32_t)id.size_bytes;
    }
out:
    brg_frame_close(&frame);
    return rc;
}

/* One more frame into `in`. errors: BRG_ENOENT none is waiting */
static int receive_frame(struct brg_socket *s, struct brg_inbound *in, int *more) {
    struct brg_frame *frame = &in->frames[in->frame_count];
    brg_frame_init(frame);
    if (zmq_msg_recv(brg_frame_zmq(frame), s->zmq, ZMQ_DONTWAIT) < 0) {
        return errno == EAGAIN && in->frame_count == 0 ? BRG_ENOENT : BRG_EIO;
    }
    in->frame_count++;
    *more = zmq_msg_more(brg_frame_zmq(frame));
    return BRG_OK;
}

/* A whole message into `in`: the sender first, then the limits. */
static int receive_frames(struct brg_socket *s, struct brg_inbound *in) {
    size_t size_bytes = 0;
    int more = 0;

    int rc = receive_frame(s, in, &more);
    if (rc != BRG_OK) return rc;
    if (s->zap != NULL) {
        /* The proof is attached to the payload only: libzmq may leave the first frame without. */
        rc = check_sender(s, &in->frames[0], &in->key);
        if (rc != BRG_OK) return give_up(s, in, more, rc);
    }
    int is_over = s->zap != NULL && in->peer.size_bytes == 0;
    while (!is_over) {
        size_bytes += brg_frame_bytes(&in->frames[in->frame_count - 1]).size_bytes;
        is_over = size_bytes > BRG_MESSAGE_BYTES_MAX || (more && in->frame_count == BRG_FRAMES_MAX);
        if (!more || is_over) break;
        rc = receive_frame(s, in, &more);
        if (rc != BRG_OK) return rc;
    }
    if (is_over) {
        s->stats.dropped_oversized++;
        return give_up(s, in, more, BRG_EPROTO);
    }
    s->stats.received++;
    s->stats.received_bytes += size_bytes;
    return BRG_OK;
}

int brg_socket_receive(struct brg_socket *s, struct brg_inbound *in) {
    memset(&in->peer, 0, sizeof in->peer);
    memset(&in->key, 0, sizeof in->key);
    in->frame_count = 0;
    if (s->drain_rc != BRG_OK) {
        const int rc = s->drain_rc;
        in->peer = s->drain_peer;
        in->key = s->drain_key;
        drain(s);
        return rc;
    }
    if (s->zap == NULL) in->key = s->server; /* dialling: the handshake proved it */
    int rc = s->zap != NULL ? receive_peer(s, &in->peer) : BRG_OK;
    if (rc == BRG_OK) rc = receive_frames(s, in);
    if (rc == BRG_ENOENT) brg_monitor_drain(s);
    if (rc != BRG_OK) brg_inbound_release(in);
    return rc;
}

int brg_socket_receive_msg(struct brg_socket *s, struct brg_inbound *in, struct brg_msg *msg,
                           const char **why) {
    struct brg_bytes views[BRG_FRAMES_MAX];
    const char *unused;
    const char **reason = why != NULL ? why : &unused;

    int rc = brg_socket_receive(s, in);
    if (rc == BRG_EPERM) *reason = "its key is not proved, or is denied";
    if (rc == BRG_EPROTO) *reason = "the message has too many frames or bytes";
    if (rc != BRG_OK) return rc;

    for (uint32_t i = 0; i < in->frame_count; i++) views[i] = brg_frame_bytes(&in->frames[i]);
    rc = brg_wire_unpack(views[0].data, views[0].size_bytes, s->scratch, BRG_WIRE_SCRATCH_BYTES,
                         msg, reason);
    if (rc == BRG_OK) {
        rc = brg_wire_check_frames(msg, views + 1, in->frame_count - 1);
        if (rc != BRG_OK) *reason = "the frames are not those that the envelope declares";
    }
    if (rc != BRG_OK) {
        s->stats.dropped_invalid++;
        brg_inbound_release(in);
    }
    return rc;
}

int brg_socket_send(struct brg_socket *s, const struct brg_peer *to, struct brg_frame *frames,
                    uint32_t count) {
    size_t size_bytes = 0;

    BRG_ASSERT((to != NULL) == (s->zap != NULL));
    BRG_ASSERT(count >= 1 && count <= BRG_FRAMES_MAX);
    if (to != NULL && zmq_send(s->zmq, to->bytes, to->size_bytes, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
        return error_of(errno);
    }
    for (uint32_t i = 0; i < count; i++) {
        const int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        const size_t frame_bytes = brg_frame_bytes(&frames[i]).size_bytes;
        if (zmq_msg_send(brg_frame_zmq(&frames[i]), s->zmq, flags) < 0) {
            if (i == 0) return error_of(errno);
            /* The connection died after a part of the message was taken: as good as sent and lost.
             * libzmq throws the rest away, and must be given it so that it sees the end. */
            brg_frame_close(&frames[i]);
        }
        size_bytes += frame_bytes;
    }
    s->stats.sent++;
    s->stats.sent_bytes += size_bytes;
    return BRG_OK;
}

int brg_socket_send_msg(struct brg_socket *s, const struct brg_peer *to, const struct brg_msg *msg,
                        struct brg_frame *tensors) {
    struct brg_frame frames[BRG_FRAMES_MAX];
    size_t size_bytes = 0;

    int rc = brg_wire_pack(msg, s->packed, BRG_ENVELOPE_BYTES_MAX, &size_bytes);
    if (rc != BRG_OK) return rc;
    rc = brg_frame_copy(&frames[0], s->packed, size_bytes);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < msg->tensor_count; i++) {
        brg_frame_init(&frames[i + 1]);
        brg_frame_move(&frames[i + 1], &tensors[i]);
    }
    rc = brg_socket_send(s, to, frames, 1 + msg->tensor_count);
    if (rc == BRG_OK) return rc;
    for (uint32_t i = 0; i < msg->tensor_count; i++) brg_frame_move(&tensors[i], &frames[i + 1]);
    brg_frame_close(&frames[0]);
    return rc;
}
