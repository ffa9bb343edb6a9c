/* relay.h - the second path between the workers of a pipeline: through the coordinator.
 *
 *   consumer 3 ── Get{peer 5+1} ──► relay ── Get{peer 3+1} ──► holder 5
 *   consumer 3 ◄── Part{peer 5+1} ── relay ◄── Part{peer 3+1} ── holder 5
 *
 * `peer` always names the worker at the other end of the line from the one who reads it, as 1 + its
 * member number. The relay decides and rewrites; the caller moves the frames, unread, between its
 * bulk connections. Nothing is stored but who asked for what: a Part goes through only once, to the
 * one who asked, from the one who was asked, for no more bytes than were asked for. So nobody can
 * send what nobody wants, and what waits for one member is bounded by what it asked for itself.
 * What is dropped (a full queue, a restart) is asked for again by the consumer.
 *
 * Only members of the present placement of the run pass. No sockets, no clock; one thread. */
#ifndef BRG_COORDINATOR_SHELL_RELAY_H
#define BRG_COORDINATOR_SHELL_RELAY_H

#include "base/base.h"
#include "proto/messages.h"

#define BRG_RELAY_MEMBERS_MAX 256u      /* placed at once */
#define BRG_RELAY_GETS_MAX 64u          /* of one member, not answered yet */
#define BRG_RELAY_BYTES_MAX (32u << 20) /* that one member may have asked for and not got */

struct brg_relay;

struct brg_relay_stats {
    uint64_t gets, parts, gones; /* let through */
    uint64_t bytes;              /* of Parts */
    uint64_t refused_outside;    /* from or to who is not placed, or about another run */
    uint64_t refused_full;       /* over a member's bounds */
    uint64_t refused_unasked;    /* a Part or Gone that nobody waits for */
};

/* brg_relay_create - nobody is placed yet.
 *
 * expire_ns: a Get without an answer is forgotten after this, > 0; longer than holders park it
 * own:       *out is the caller's; NULL on error. errors: BRG_ENOMEM */
BRG_CHECK int brg_relay_create(uint64_t expire_ns, struct brg_relay **out);

/* brg_relay_destroy - *r may be NULL and is NULL then. */
void brg_relay_destroy(struct brg_relay **r);

/* brg_relay_place - from now on exactly these members pass, for objects of `run`; what others had
 * asked for is forgotten. run 0 and count 0: nobody. asserts: no member twice
 * errors: BRG_EFULL more than BRG_RELAY_MEMBERS_MAX; nothing has changed */
BRG_CHECK int brg_relay_place(struct brg_relay *r, uint64_t run, const uint32_t *members,
                              uint32_t count);

/* brg_relay_pass - the member `from` sent a Get, Part or Gone with peer != 0.
 *
 * out:    msg is readdressed for the member *to: send it there with its frames
 * errors: BRG_EPERM  it may not: not placed, another run, or an answer nobody asked for. Dropped
 *         BRG_EFULL  over the bounds of who asks: dropped, it will ask again
 * asserts: the message is one of the three */
BRG_CHECK int brg_relay_pass(struct brg_relay *r, uint32_t from, struct brg_msg *msg,
                             uint64_t now_ns, uint32_t *to);

/* brg_relay_stats_read - figures so far. */
void brg_relay_stats_read(const struct brg_relay *r, struct brg_relay_stats *out);

#endif
