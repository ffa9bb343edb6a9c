/* transport.h - ZeroMQ sockets under CURVE: a ROUTER that listens, DEALERs that dial out.
 *
 *   worker                                                     coordinator
 *   control DEALER ──┐ same key, other connection   ┌──► ROUTER ──► receive: peer, key, frames
 *   bulk    DEALER ──┴──────── one TCP port ────────┘        └──── ZAP (zap.h): which keys
 *
 * A transport may be shared by threads; a socket belongs to one thread. A frame may be read, moved
 * and closed by any one thread at a time, also after its socket is gone. Nothing blocks but
 * brg_transport_wait and the two destroys, and these have bounds.
 *
 * Identity is brg_inbound.key, which the CURVE handshake proved; brg_peer only says over which
 * connection to answer, and is good until that connection ends. */
#ifndef BRG_PROTO_TRANSPORT_H
#define BRG_PROTO_TRANSPORT_H

#include "proto/keys.h"
#include "proto/wire.h"
#include "proto/zap.h"

#define BRG_FRAMES_MAX (1u + BRG_TENSORS_MAX)
#define BRG_FRAME_BYTES_MAX BRG_PART_BYTES_MAX
/* All frames of a message together: an envelope and one full part. */
#define BRG_MESSAGE_BYTES_MAX (BRG_ENVELOPE_BYTES_MAX + BRG_PART_BYTES_MAX)
#define BRG_PEER_BYTES_MAX 16u
#define BRG_WAIT_MAX 32u

struct brg_transport;
struct brg_socket;

/* Bytes in ZeroMQ's hands, counted by reference. Never copied with =: use brg_frame_move. */
struct brg_frame {
    _Alignas(void *) uint8_t opaque[64];
};

/* A connection of a listening socket, as the socket names it. Not who it is. */
struct brg_peer {
    uint32_t size_bytes; /* 0: none */
    uint8_t bytes[BRG_PEER_BYTES_MAX];
};

/* One received message; frames [frame_count], frames[0] is the envelope. */
struct brg_inbound {
    struct brg_peer peer; /* listening sockets only */
    struct brg_key key;   /* who sent it, proved; dialling sockets: the server's key */
    uint32_t frame_count;
    struct brg_frame frames[BRG_FRAMES_MAX];
};

struct brg_socket_config {
    uint32_t send_queue;       /* messages queued for one peer, >= 1 */
    uint32_t recv_queue;       /* messages queued from one peer, >= 1 */
    uint32_t heartbeat_ms;     /* a ping this often; the peer is gone after 4 without answer */
    uint32_t handshake_ms;     /* longest handshake */
    uint32_t reconnect_min_ms; /* first wait before dialling again; 0: drawn from 200 .. 1200 */
    uint32_t reconnect_max_ms; /* waits double up to this */
    uint32_t backlog;          /* connections the system may hold for us, > workers */
};

struct brg_socket_stats {
    uint64_t sent, sent_bytes;
    uint64_t received, received_bytes;
    uint64_t dropped_unknown;   /* messages without a proved key */
    uint64_t dropped_denied;    /* of keys that ZAP's table refuses by now */
    uint64_t dropped_oversized; /* too many frames or bytes */
    uint64_t dropped_invalid;   /* no valid message: brg_socket_receive_msg */
    uint64_t events_lost;       /* nobody asked for them in time */
};

enum brg_socket_event_type {
    BRG_SOCKET_CONNECTED = 1,     /* TCP only: the handshake follows */
    BRG_SOCKET_READY = 2,         /* both sides proved their keys */
    BRG_SOCKET_UNREACHABLE = 3,   /* nobody answers there; value: ms until the next try */
    BRG_SOCKET_KEY_REFUSED = 4,   /* this key may not connect; value: ZAP's status */
    BRG_SOCKET_BAD_HANDSHAKE = 5, /* not our protocol, or the other side's key is another one */
    BRG_SOCKET_DISCONNECTED = 6,
};

/* Diagnostics only: may come late, and never decides anything. */
struct brg_socket_event {
    uint32_t type;         /* enum brg_socket_event_type */
    uint32_t is_listening; /* 1: the socket listens, so the other side dialled */
    uint32_t value;
    char address[BRG_ENDPOINT_BYTES];
};

/* What brg_transport_wait waits for: a socket with messages, or else a readable descriptor. */
struct brg_wait {
    struct brg_socket *socket; /* NULL: fd counts */
    int fd;
    uint32_t is_ready; /* out: 0 or 1 */
};

/* brg_transport_create - a ZeroMQ context with one I/O thread. Not before a fork.
 * own: *out is the caller's; NULL on error. errors: BRG_ENOMEM, BRG_EIO */
BRG_CHECK int brg_transport_create(struct brg_transport **out, struct brg_why *why);

/* brg_transport_destroy - *t may be NULL and is NULL then.
 * asserts: its sockets and its ZAP are gone */
void brg_transport_destroy(struct brg_transport **t);

/* brg_socket_config_init - 64 messages a queue, heartbeat 1 s, handshake 5 s, waits of 200 ms drawn
 * up to 5 s, backlog 4096. */
void brg_socket_config_init(struct brg_socket_config *config);

/* brg_socket_listen - a ROUTER with CURVE, bound to `endpoint` (tcp://host:port; port * or 0: any).
 *
 * own:    borrows zap until the socket's end, copies the key; *out is the caller's, NULL on error
 * errors: BRG_EEXIST the port is in use; BRG_EPERM a port below 1024; BRG_EINVAL no such address;
 *         BRG_EIO, BRG_ENOMEM. *why is a sentence for the operator
 * asserts: zap != NULL: CURVE without a ZAP handler authenticates nobody */
BRG_CHECK int brg_socket_listen(struct brg_transport *t, const struct brg_socket_config *config,
                                const struct brg_keypair *own_key, struct brg_zap *zap,
                                const char *endpoint, struct brg_socket **out, struct brg_why *why);

/* brg_socket_dial - a DEALER with CURVE that connects to `endpoint`, and again whenever it must.
 *
 * Nobody being there is no error: see events. A server without the secret half of `server` never
 * gets a message through, in either direction.
 * own:    copies the keys; *out is the caller's, NULL on error
 * errors: BRG_EINVAL not an address; BRG_EIO, BRG_ENOMEM */
BRG_CHECK int brg_socket_dial(struct brg_transport *t, const struct brg_socket_config *config,
                              const struct brg_keypair *own_key, const struct brg_key *server,
                              const char *endpoint, struct brg_socket **out, struct brg_why *why);

/* brg_socket_close - drops what is queued; *s may be NULL and is NULL then. */
void brg_socket_close(struct brg_socket **s);

/* brg_socket_endpoint - the bound address with the real port into out [BRG_ENDPOINT_BYTES]. */
BRG_CHECK int brg_socket_endpoint(struct brg_socket *s, char *out);

#define BRG_DRAIN_FRAMES_MAX 1024u /* looked at in one call of brg_socket_receive */

/* brg_socket_receive - the next message, without waiting.
 *
 * own:    on success the frames are the caller's: brg_inbound_release
 * errors: BRG_ENOENT none is waiting
 *         BRG_EPERM  one was dropped: no proved key, or a denied one
 *         BRG_EPROTO one was dropped: more frames or bytes than a message may have; in->peer and
 *                    in->key say whose, for the caller to drop (brg_zap_deny). Very many frames
 *                    are thrown away over several calls, each with the same error
 *         BRG_EIO    the socket is broken
 * cost:   at most BRG_DRAIN_FRAMES_MAX frames are looked at */
BRG_CHECK int brg_socket_receive(struct brg_socket *s, struct brg_inbound *in);

/* brg_socket_receive_msg - brg_socket_receive, then unpacked, validated, frames counted and
 * measured; digests are left to brg_wire_verify_tensor, on any thread.
 *
 * own:    on success in->frames[1 ..] are the caller's (brg_inbound_release), and bodies of
 *         operator messages last until the next call on this socket; after an error nothing is
 * out:    *why (may be NULL) is a static sentence after BRG_EPROTO, BRG_ENOMEM and BRG_EPERM
 * errors: as brg_socket_receive; BRG_EPROTO, or BRG_ENOMEM over the budget, also where the bytes
 *         are no valid message */
BRG_CHECK int brg_socket_receive_msg(struct brg_socket *s, struct brg_inbound *in,
                                     struct brg_msg *msg, const char **why);

/* brg_socket_send - one message of `count` frames, without waiting; all or nothing.
 *
 * own:    on success the frames are taken over and empty; after an error they are as before
 * out:    success means queued: a peer that dies has not got it. Messages acknowledge, not this
 * errors: BRG_EFULL  the peer's queue is full, or (dialling) nobody is connected: later again
 *         BRG_ENOENT (listening) there is no such connection any more
 *         BRG_EIO    the socket is broken
 * asserts: to != NULL exactly on a listening socket; 1 <= count <= BRG_FRAMES_MAX */
BRG_CHECK int brg_socket_send(struct brg_socket *s, const struct brg_peer *to,
                              struct brg_frame *frames, uint32_t count);

/* brg_socket_send_msg - packs `msg` and sends it with `tensors` [msg->tensor_count].
 *
 * own:    tensors as the frames of brg_socket_send; NULL where there are none
 * errors: those of brg_socket_send; BRG_EINVAL msg is out of its ranges; BRG_ENOMEM */
BRG_CHECK int brg_socket_send_msg(struct brg_socket *s, const struct brg_peer *to,
                                  const struct brg_msg *msg, struct brg_frame *tensors);

/* brg_socket_event - the next diagnostic event. errors: BRG_ENOENT none.
 * The newest 64 are kept. */
BRG_CHECK int brg_socket_event(struct brg_socket *s, struct brg_socket_event *out);

/* brg_socket_event_text - the sentence for it: what, where, what to do. */
void brg_socket_event_text(const struct brg_socket_event *event, struct brg_why *out);

/* brg_socket_stats_read - figures so far. */
void brg_socket_stats_read(const struct brg_socket *s, struct brg_socket_stats *out);

/* brg_transport_wait - sleeps until one of the items is ready, a signal came, or time is up.
 *
 * out:    is_ready of each; all 0 after a time-out or a signal
 * errors: BRG_EIO a descriptor or socket is broken
 * asserts: count <= BRG_WAIT_MAX */
BRG_CHECK int brg_transport_wait(struct brg_wait *items, uint32_t count, uint32_t timeout_ms);

/* brg_inbound_release - closes the frames that are left. */
void brg_inbound_release(struct brg_inbound *in);

/* brg_peer_equal - 1 where both name the same connection, else 0. */
int brg_peer_equal(const struct brg_peer *a, const struct brg_peer *b);

/* brg_frame_init - an empty frame, which needs no close but may have one. */
void brg_frame_init(struct brg_frame *f);

/* brg_frame_copy - a frame with its own copy of the bytes. errors: BRG_ENOMEM, f is empty */
BRG_CHECK int brg_frame_copy(struct brg_frame *f, const void *data, size_t size_bytes);

/* brg_frame_wrap - a frame on the caller's bytes, which are not copied and must not change until
 * `release(data, hint)` is called: exactly once, from any thread, when sent or dropped.
 * errors: BRG_ENOMEM; release is not called and f is empty */
BRG_CHECK int brg_frame_wrap(struct brg_frame *f, void *data, size_t size_bytes,
                             void (*release)(void *data, void *hint), void *hint);

/* brg_frame_bytes - what is in it; valid while the frame is open and in its place. */
struct brg_bytes brg_frame_bytes(const struct brg_frame *f);

/* brg_frame_move - `to` (initialised) gets what `from` held; `from` is empty then. */
void brg_frame_move(struct brg_frame *to, struct brg_frame *from);

/* brg_frame_close - gives the bytes back; the frame is empty then. */
void brg_frame_close(struct brg_frame *f);

#endif
