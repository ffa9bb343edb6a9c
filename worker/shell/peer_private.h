/* peer_private.h - what peer.c (placement, turn), peer_serve.c (answers) and peer_fetch.c (asks)
 * share. */
#ifndef BRG_WORKER_SHELL_PEER_PRIVATE_H
#define BRG_WORKER_SHELL_PEER_PRIVATE_H

#include "worker/shell/peer.h"

#define BRG_PEER_NONE UINT32_MAX /* no such link */

/* The way to one member of the placement. */
struct brg_peer_link {
    struct brg_peer_member at;
    struct brg_socket *socket; /* NULL: not dialled (yet), or it cannot listen */
    uint32_t is_up;            /* both keys are proved, as far as we know */
    uint32_t is_shut_out;      /* it broke the protocol: nothing more in this placement */
    uint32_t faults;
    uint32_t trouble; /* enum brg_socket_event_type: the last thing that went wrong; 0: none */
    uint64_t down_ns; /* not up since */
    uint64_t dial_ns; /* not dialled before */
};

/* A Get that waits. */
struct brg_peer_parked {
    uint32_t is_used;
    uint32_t link; /* who asked */
    uint32_t is_relayed;
    uint32_t padding;
    struct brg_peer to; /* over which connection, unless relayed */
    struct brg_msg_get get;
    uint64_t until_ns;
};

struct brg_peer_fetch {
    struct brg_fetch fetch; /* empty once it has ended in another way than done */
    struct brg_object object;
    uint32_t is_used, is_over;
    uint32_t member;
    int code;
    uint64_t until_ns;
    struct brg_why why;
};

struct brg_peers {
    struct brg_peers_config config;
    struct brg_transport *transport;
    const struct brg_keypair *own_key;
    struct brg_zap *zap;
    struct brg_socket *server; /* NULL: cannot listen */
    struct brg_socket *relay;  /* NULL: none */
    uint64_t epoch, run, generation, floor;
    uint32_t link_count;
    struct brg_peer_link links[BRG_PEERS_MAX];
    struct brg_source objects[BRG_PEER_OBJECTS_MAX]; /* buffer NULL: a free place */
    uint64_t object_bytes;
    struct brg_peer_parked parked[BRG_PEER_PARKED_MAX];
    uint32_t is_blocked; /* a parked Get could be answered if its peer's queue were not full */
    uint64_t now_ns;     /* of the turn */
    struct brg_peer_fetch fetches[BRG_PEER_FETCHES_MAX];
    struct brg_peers_stats stats;
    struct brg_msg in, out;
};

/* brg_peer_link_of - the link to member `member` of the placement, or BRG_PEER_NONE. */
uint32_t brg_peer_link_of(const struct brg_peers *p, uint32_t member);

/* brg_peer_fault - `link` did what nobody may; once too often and it is shut out. */
void brg_peer_fault(struct brg_peers *p, uint32_t link, const char *what);

/* brg_peer_is_ours - 1 where `object` is of the present run and, unless a state, generation. */
int brg_peer_is_ours(const struct brg_peers *p, const struct brg_object *object);

/* peer_serve.c */

/* brg_peer_on_get - p->in is a Get of `link`, over connection `to` or (NULL) over the relay. */
void brg_peer_on_get(struct brg_peers *p, uint32_t link, const struct brg_peer *to,
                     const struct brg_msg_get *get);

/* brg_peer_serve_parked - answers what can be answered, forgets what has waited too long. */
void brg_peer_serve_parked(struct brg_peers *p);

/* brg_peer_sweep - after a placement or a new floor: drops objects and answers Gets that are over.
 */
void brg_peer_sweep(struct brg_peers *p);

/* peer_fetch.c */

/* brg_peer_dial - opens the link's socket if it has none and its worker listens. */
void brg_peer_dial(struct brg_peers *p, struct brg_peer_link *link);

/* brg_peer_on_answer - p->in (or what came by relay) is a Part or Gone of `link`. */
void brg_peer_on_answer(struct brg_peers *p, uint32_t link, const struct brg_msg *msg,
                        struct brg_bytes bytes);

/* brg_peer_ask - sends the Gets that are due, ends what has taken too long. */
void brg_peer_ask(struct brg_peers *p);

/* brg_peer_reconnected - what was under way over `link` is asked for again at once. */
void brg_peer_reconnected(struct brg_peers *p, uint32_t link);

/* brg_peer_fail - the fetch ends with `code`; its why is set already. */
void brg_peer_fail(struct brg_peer_fetch *f, int code);

/* brg_peer_forget - the fetch leaves no trace. */
void brg_peer_forget(struct brg_peer_fetch *f);

#endif
