/* peer.h - links between the workers of a pipeline: activations, gradients, sums and states.
 *
 *   consumer                                                   producer
 *     fetch ── Get{ACT, run, generation, step, ...} ─────────► held?  ── Part, Part, ...
 *              over a DEALER of its own to that worker,        not yet: parked until it is offered
 *              or through the coordinator (relay)              never:   Gone, with the reason
 *     next  ◄─ done | gone | time is up                        offer, withdraw, floor
 *
 * The consumer decides: what does not come is asked for again, so messages may be lost, late or
 * twice, and a transfer goes on where it was after a reconnect. Only keys of the present placement
 * get in: each placement replaces the list in one instant, and who is not on it any more is cut
 * off. A link whose worker cannot be reached is carried by the relay, if there is one, until it can
 * be.
 *
 * Bounds: all the numbers below, BRG_BULK_WINDOW parts asked for at once of each fetch, and
 * send_queue parts on their way to one peer. What is over a bound is not answered but counted, and
 * comes by the asker's repeat.
 *
 * Everything belongs to one thread, the reactor. */
#ifndef BRG_WORKER_SHELL_PEER_H
#define BRG_WORKER_SHELL_PEER_H

#include "base/why.h"
#include "proto/bulk.h"
#include "proto/transport.h"

#define BRG_PEERS_MAX 16u            /* other workers of a placement that this one talks to */
#define BRG_PEER_FETCHES_MAX 32u     /* objects on their way here, and those not taken yet */
#define BRG_PEER_OBJECTS_MAX 1024u   /* offered at once: two a microbatch, and what states take */
#define BRG_PEER_PARKED_MAX 256u     /* Gets that wait here, of all peers */
#define BRG_PEER_PARKED_EACH_MAX 64u /* of one */
#define BRG_PEER_RECEIVE_MAX 16u     /* messages taken from one socket a turn */
#define BRG_PEER_FAULTS_MAX 16u      /* of one peer, until it is shut out for this placement */
#define BRG_PEER_REDIAL_NS (250 * BRG_NS_PER_MS) /* after a refusal */
#define BRG_PEER_WATCH_NS (20 * BRG_NS_PER_MS)   /* a link that is to come up is looked at */
#define BRG_PEER_BLOCKED_NS (2 * BRG_NS_PER_MS)  /* a full queue is tried again after this */

struct brg_peers;

struct brg_peers_config {
    uint64_t park_ns;      /* a Get waits here no longer; the asker repeats it, > 0 */
    uint64_t retry_ns;     /* what did not come is asked for again, > 0 */
    uint64_t direct_ns;    /* a link not up for this long is carried by the relay, > 0 */
    uint64_t bytes_max;    /* of all objects offered */
    uint32_t send_queue;   /* messages on their way to one peer, >= 1 */
    uint32_t verify_parts; /* 1: check each part's digest, about 1 GB/s; 0: CURVE's own proof of
                              every frame is enough, or the whole is checked afterwards */
};

/* Another worker of the placement. */
struct brg_peer_member {
    uint32_t member; /* its number at the coordinator */
    struct brg_key key;
    char endpoint[BRG_ENDPOINT_BYTES]; /* tcp://host:port; empty: it cannot listen, relay only */
};

struct brg_peer_place {
    uint64_t epoch;      /* of the coordinator that sent it */
    uint64_t run;        /* never 0 */
    uint64_t generation; /* 1 .. BRG_GENERATIONS_MAX, rises with every placement of a run */
    uint32_t count;
    struct brg_peer_member members[BRG_PEERS_MAX]; /* [count], no number and no key twice */
};

/* How a fetch ended. */
struct brg_peer_result {
    struct brg_object object;
    uint32_t member;
    int code;                  /* BRG_OK; BRG_ENOENT the holder will never have it;
                                  BRG_ETIMEDOUT it did not come in time; BRG_EPROTO the holder broke
                                  the protocol */
    struct brg_buffer *buffer; /* BRG_OK: the caller's hold; else NULL */
    struct brg_why why;        /* the sentence, unless BRG_OK */
};

struct brg_peers_stats {
    uint64_t received_bytes, sent_bytes; /* of objects */
    uint64_t parked;                     /* Gets that had to wait */
    uint64_t parked_full;                /* not even that: over a bound */
    uint64_t expired;                    /* waited for park_ns in vain */
    uint64_t gone;                       /* answered with Gone */
    uint64_t faults;                     /* messages that nobody may send */
    uint64_t shut_out;                   /* peers, for the rest of their placement */
    uint64_t relayed;                    /* messages sent through the coordinator */
};

/* brg_peers_config_init - parked 10 s, asked again after 2 s, relayed after 3 s, 1 GiB, 8 parts. */
void brg_peers_config_init(struct brg_peers_config *config);

/* brg_peers_create - the links of one worker; nobody is let in before the first placement.
 *
 * own:    borrows t and own_key until the end; *out is the caller's, NULL on error
 * listen: tcp://host:port (port * any) where peers may dial; NULL: this worker cannot listen
 * errors: as brg_zap_create and brg_socket_listen, with *why for the operator */
BRG_CHECK int brg_peers_create(struct brg_transport *t, const struct brg_peers_config *config,
                               const struct brg_keypair *own_key, const char *listen,
                               struct brg_peers **out, struct brg_why *why);

/* brg_peers_destroy - drops everything under way; *p may be NULL and is NULL then. */
void brg_peers_destroy(struct brg_peers **p);

/* brg_peers_endpoint - where it listens, with the real port, into out [BRG_ENDPOINT_BYTES].
 * errors: BRG_ENOENT it does not listen */
BRG_CHECK int brg_peers_endpoint(struct brg_peers *p, char *out);

/* brg_peers_relay - from now on `bulk`, a connection to the coordinator, is the second path; NULL:
 * there is none. own: borrowed until the next call of this or the end */
void brg_peers_relay(struct brg_peers *p, struct brg_socket *bulk);

/* brg_peers_place - a new placement, which replaces the one before.
 *
 * What belongs to another run or an older generation ends: objects are dropped, Gets answered with
 * Gone, fetches forgotten with their buffers (no result comes). States live on where their holder
 * is still placed. Links to the same key and address stay up.
 * errors: BRG_EBEHIND older than the present one: nothing changes; the same again is fine */
BRG_CHECK int brg_peers_place(struct brg_peers *p, const struct brg_peer_place *place,
                              uint64_t now_ns);

/* brg_peers_offer - `source` may be fetched from now on; parked Gets for it are answered.
 *
 * own:     moves: *source is empty after success, and as before after an error
 * errors:  BRG_EFULL over BRG_PEER_OBJECTS_MAX or bytes_max
 *          BRG_EEXIST it is offered already
 *          BRG_ENOENT it is of another run or generation than the present placement
 * asserts: a kind of peers' objects
 * cost:    digests not made yet are made in the reactor when asked for: brg_source_digest before */
BRG_CHECK int brg_peers_offer(struct brg_peers *p, struct brg_source *source, uint64_t now_ns);

/* brg_peers_withdraw - it is not held any more; who asks for it is told Gone, with `text`. */
void brg_peers_withdraw(struct brg_peers *p, const struct brg_object *object, const char *text);

/* brg_peers_retract - the same before it is offered anew: Gets that wait for it go on waiting. */
void brg_peers_retract(struct brg_peers *p, const struct brg_object *object);

/* brg_peers_floor - objects of steps below `step` will not be wanted or made any more: dropped, and
 * Gone for who asks. States are not touched. asserts: it never falls within a generation */
void brg_peers_floor(struct brg_peers *p, uint64_t step);

/* brg_peers_fetch - begins to fetch `size_bytes` bytes of `object` from `member` into `buffer`.
 *
 * own:     takes over one hold on `buffer` on success
 * errors:  BRG_EFULL  BRG_PEER_FETCHES_MAX are under way
 *          BRG_EEXIST it is under way
 *          BRG_ENOENT the placement has no such member, or the object belongs to another one
 *          BRG_EINVAL no way to that member: it does not listen and there is no relay; why says it
 * asserts: timeout_ns > 0: the bound on the whole */
BRG_CHECK int brg_peers_fetch(struct brg_peers *p, uint32_t member, const struct brg_object *object,
                              struct brg_buffer *buffer, uint64_t size_bytes, uint64_t timeout_ns,
                              uint64_t now_ns, struct brg_why *why);

/* brg_peers_cancel - gives a fetch up, if there is one; no result comes. */
void brg_peers_cancel(struct brg_peers *p, const struct brg_object *object);

/* brg_peers_next - a fetch that has ended. errors: BRG_ENOENT none */
BRG_CHECK int brg_peers_next(struct brg_peers *p, struct brg_peer_result *out);

/* brg_peers_sockets - what brg_transport_wait should look at, into items [max]; returns how many,
 * at most BRG_PEERS_MAX + 1. */
uint32_t brg_peers_sockets(struct brg_peers *p, struct brg_wait *items, uint32_t max);

/* brg_peers_turn - receives, answers, asks; never waits. */
void brg_peers_turn(struct brg_peers *p, uint64_t now_ns);

/* brg_peers_on_relayed - a Get, Part or Gone with peer != 0 came over the relay; `bytes` is the
 * Part's frame. What is no business of ours is dropped and counted. */
void brg_peers_on_relayed(struct brg_peers *p, const struct brg_msg *msg, struct brg_bytes bytes,
                          uint64_t now_ns);

/* brg_peers_wake_ns - when brg_peers_turn has something to do without a message; UINT64_MAX never.
 */
uint64_t brg_peers_wake_ns(const struct brg_peers *p);

/* brg_peers_stats_read - figures so far. */
void brg_peers_stats_read(const struct brg_peers *p, struct brg_peers_stats *out);

#endif
