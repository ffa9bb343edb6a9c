/* members.h - who may work, who is here, and for how long we believe it.
 *
 * A member is a CURVE key. It is enrolled by a join token or by the operator, and attaches with
 * HELLO in each epoch; anything it sends renews its lease.
 *
 *   NONE --token, allow--> AWAY --HELLO--> ACTIVE --half a lease of silence--> SUSPECT
 *                           ^               | ^--------------any message-----------'  |
 *                           |             DRAIN                                  lease over
 *                      restart of the       v                                         v
 *                       coordinator      DRAINING --BYE--> LEFT                      LOST
 *   any --revoke--> REVOKED             (LEFT and LOST come back by HELLO)
 *
 * Pure and flat; no pointers. One thread. Part of struct brg_coord. */
#ifndef BRG_COORDINATOR_CORE_MEMBERS_H
#define BRG_COORDINATOR_CORE_MEMBERS_H

#include "coordinator/core/types.h"

#define BRG_TASKS_MAX 8u /* of one member in one round; what a scheme assigns at most */

/* A task of a member. `index` is its place among what the round gave its position, or BRG_NO_UNIT
 * for one that is attempted again. */
struct brg_task {
    uint64_t step;
    uint32_t unit, index;
};

struct brg_member {
    uint8_t key[BRG_KEY_BYTES];
    uint64_t session;     /* of the process that attached last; 0 for none in this epoch */
    uint64_t deadline_ns; /* end of its lease while ACTIVE, SUSPECT or DRAINING */
    /* What it was given in this round and has not answered, in the order in which it is to do it.
     * Empty: it is idle. All are of steps in flight; none twice. A round's end empties it. */
    struct brg_task tasks[BRG_TASKS_MAX];
    uint64_t sent_ns;  /* when it last was given something, or answered */
    uint64_t chunk_ns; /* its time for a chunk, a moving average; 0 until something is finished */
    uint32_t task_count;
    uint32_t position;     /* of the run under way, BRG_NOBODY for none (a spare) */
    uint32_t state;        /* enum brg_member_state */
    uint32_t unfit;        /* 1: cannot do tasks of the run under way */
    uint32_t in_wave;      /* 1: not all is answered that the round gave its position; counted in
                            * rounds.outstanding; then task_count > 0 */
    uint32_t late_ppm;     /* decaying share of its last rounds in which it was late */
    uint32_t drain_acked;  /* 1: was told that it may go */
    uint32_t broken;       /* shares promised and not delivered in time since the last that was */
    uint64_t hold_ns;      /* gets nothing to attempt again before: it broke a promise just now */
    uint64_t notes_end_ns; /* of the window in which notes about it are counted */
    uint32_t notes;        /* about it in this window */
    uint32_t padding;
};

struct brg_token {
    struct brg_digest hash;
    uint64_t expires_s; /* Unix time, 0 = the slot is free */
    uint32_t uses_left;
    uint32_t revoked;
};

struct brg_members {
    uint64_t lease_ns; /* > 0 */
    uint64_t look_ns;  /* before this no lease runs out and nobody becomes a SUSPECT */
    uint32_t count;    /* slots in use are below this */
    uint32_t token_count;
    uint32_t leaving; /* 1: somebody may be DRAINING who was not told that it may go */
    uint32_t padding;
    struct brg_member items[BRG_MEMBERS_MAX];
    struct brg_token tokens[BRG_TOKENS_MAX];
};

/* brg_members_init - an empty table. asserts: lease_ns > 0 */
void brg_members_init(struct brg_members *m, uint64_t lease_ns);

/* brg_members_add - a stored member, before START; out *slot.
 * errors: BRG_EFULL; BRG_EEXIST the key is in the table already */
BRG_CHECK int brg_members_add(struct brg_members *m, const uint8_t *key, uint32_t state,
                              uint32_t *slot);

/* brg_members_add_token - a stored or new token. errors: BRG_EFULL, BRG_EEXIST */
BRG_CHECK int brg_members_add_token(struct brg_members *m, const struct brg_token *token,
                                    uint32_t *index);

/* brg_members_find - the slot of `key`, or BRG_NOBODY. cost: O(count) */
uint32_t brg_members_find(const struct brg_members *m, const uint8_t *key);

/* What a HELLO came to. */
enum brg_hello_result {
    BRG_HELLO_REFUSED = 0,  /* an action says why */
    BRG_HELLO_AGAIN = 1,    /* attached already, same process: the welcome had been lost */
    BRG_HELLO_ATTACHED = 2, /* a new or returning process */
};

/* brg_members_hello - enrols and attaches; `*slot` is set unless refused. A process that takes over
 * a key which is attached already gets it; the older one is refused and must not come back.
 * Which is newer is told by `session`: a worker takes the time of its start, in nanoseconds. */
enum brg_hello_result brg_members_hello(struct brg_members *m, const struct brg_coord_event *ev,
                                        uint32_t *slot, struct brg_coord_actions *out);

/* brg_members_is_here - 1 while its lease runs (ACTIVE, SUSPECT, DRAINING). */
int brg_members_is_here(const struct brg_member *member);

/* brg_members_heard - renews the lease of a member that is here; a SUSPECT is ACTIVE again. */
void brg_members_heard(struct brg_members *m, uint32_t slot, uint64_t now_ns);

/* brg_members_may_note - 1, and counted, where one more note about this member is wanted. */
int brg_members_may_note(struct brg_members *m, uint32_t slot, uint64_t now_ns);

/* brg_members_check - the invariants; asserts. */
void brg_members_check(const struct brg_members *m);

#endif
