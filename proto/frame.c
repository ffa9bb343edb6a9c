/* frame.c - frames on ZeroMQ's reference-counted messages; part of transport.h. */
#include "proto/transport_private.h"

#include <string.h>

void brg_frame_init(struct brg_frame *f) {
    (void)zmq_msg_init(brg_frame_zmq(f)); /* cannot fail */
}

int brg_frame_copy(struct brg_frame *f, const void *data, size_t size_bytes) {
    if (zmq_msg_init_size(brg_frame_zmq(f), size_bytes) != 0) {
        brg_frame_init(f);
        return BRG_ENOMEM;
    }
    if (size_bytes != 0) memcpy(zmq_msg_data(brg_frame_zmq(f)), data, size_bytes);
    return BRG_OK;
}

int brg_frame_wrap(struct brg_frame *f, void *data, size_t size_bytes,
                   void (*release)(void *data, void *hint), void *hint) {
    BRG_ASSERT(release != NULL);
    if (zmq_msg_init_data(brg_frame_zmq(f), data, size_bytes, release, hint) != 0) {
        brg_frame_init(f);
        return BRG_ENOMEM;
    }
    return BRG_OK;
}

struct brg_bytes brg_frame_bytes(const struct brg_frame *f) {
    /* zmq_msg_data takes a mutable message and only reads it. */
    struct brg_frame *mutable_frame = (struct brg_frame *)(uintptr_t)f;
    zmq_msg_t *m = brg_frame_zmq(mutable_frame);
    return (struct brg_bytes){zmq_msg_data(m), zmq_msg_size(m)};
}

void brg_frame_move(struct brg_frame *to, struct brg_frame *from) {
    const int rc = zmq_msg_move(brg_frame_zmq(to), brg_frame_zmq(from));
    BRG_ASSERT(rc == 0);
}

void brg_frame_close(struct brg_frame *f) {
    const int rc = zmq_msg_close(brg_frame_zmq(f));
    BRG_ASSERT(rc == 0);
    brg_frame_init(f);
}

void brg_inbound_release(struct brg_inbound *in) {
    for (uint32_t i = 0; i < in->frame_count; i++) brg_frame_close(&in->frames[i]);
    in->frame_count = 0;
}

int brg_peer_equal(const struct brg_peer *a, const struct brg_peer *b) {
    return a->size_bytes == b->size_bytes && memcmp(a->bytes, b->bytes, a->size_bytes) == 0;
}
