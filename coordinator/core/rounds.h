/* rounds.h - the steps of one coded run: who computes what, when a step may end, what comes next.
 *
 *                    enough workers          code satisfied            DECODED
 *   IDLE --open--> WAITING --------> COLLECTING ----------> DECODING ----------> APPLYING --.
 *                                      ^                          (commit is durable) |     |
 *                                      '--------------------- next step --------------'     |
 *   FINISHING <--- last step, pause or stop ------------------------------------------------'
 *       '--CHECKPOINTED--> IDLE
 *
 * The code is laid out for n positions (coding/scheme.h). A position is filled by a member or
 * vacant; members beyond n are spares. What a position computes is a *unit*: chunks and
 * coefficients that the scheme fixes for the whole run, so that a unit has the same bits whoever
 * computes it. Within a step:
 *
 *   unit OPEN --DONE of a member--> its share is pulled --SHARE--> HELD
 *          ^----- pull failed, holder gone -----'
 *
 * A unit is *expected* while somebody works on it and is not late, or its share is on the way from
 * somebody who keeps promises (a member that says DONE and beats, but whose shares do not come,
 * must not hold up a step). As soon as the units held, ready or expected would not do for the code,
 * the missing ones go to idle members, fastest first. So a round never waits for whom it need not,
 * and never ends with less than the full batch.
 *
 * Pure and flat but for the borrowed, immutable scheme. One thread. Part of struct brg_coord. */
#ifndef BRG_COORDINATOR_CORE_ROUNDS_H
#define BRG_COORDINATOR_CORE_ROUNDS_H

#include "coding/policy.h"
#include "coding/scheme.h"
#include "coordinator/core/members.h"
#include "coordinator/core/types.h"

#define BRG_HOLDERS_MAX 4u /* members remembered as holding one unit's share */

enum brg_phase {
    BRG_PHASE_IDLE = 0,
    BRG_PHASE_WAITING,
    BRG_PHASE_COLLECTING,
    BRG_PHASE_DECODING,
    BRG_PHASE_APPLYING,
    BRG_PHASE_FINISHING,
};

enum brg_progress_state { BRG_UNIT_OPEN = 0, BRG_UNIT_PULLING = 1, BRG_UNIT_HELD = 2 };

/* How far one unit of the step has come. */
struct brg_progress {
    uint64_t assigned_ns;      /* when it was last handed out, 0: not yet in this step */
    uint64_t pull_deadline_ns; /* PULLING: when to ask again */
    uint32_t state;            /* enum brg_progress_state */
    uint32_t attempts;         /* times it was handed out beyond the first wave */
    uint32_t puller;           /* PULLING, HELD: the member it comes from */
    uint32_t holder_count;     /* PULLING: >= 1 */
    uint32_t holders[BRG_HOLDERS_MAX];
    struct brg_digest digests[BRG_HOLDERS_MAX]; /* what each holder said */
};

struct brg_rounds {
    struct brg_run_plan plan;
    const struct brg_scheme *scheme; /* NULL when IDLE */
    uint64_t step;                   /* under way: committed + 1; committed when not */
    uint64_t committed;              /* the highest durable step; its record was persisted */
    uint64_t started_ns;             /* when `step` was handed out */
    uint64_t first_done_ns;          /* of the step's first answer, or BRG_POLICY_NEVER */
    uint64_t decodable_ns;    /* the held units did for the code; BRG_POLICY_NEVER: not yet */
    uint64_t checkpoint_step; /* of the checkpoint being written, 0 for none */
    uint64_t waited_steps;    /* steps in which a unit had to be re-attempted, since open */
    uint32_t phase;           /* enum brg_phase */
    uint32_t unit_count;
    uint32_t waited;  /* 1: a unit of this step was re-attempted */
    uint32_t starved; /* 1: it was said that nobody is there to go on */
    uint32_t target;  /* FINISHING or asked for: enum brg_run_state to end in, else 0 */
    uint32_t position[BRG_CODE_WORKERS_MAX]; /* member there, BRG_NOBODY for vacant */
    uint32_t padding;
    struct brg_progress units[BRG_CODE_WORKERS_MAX];
};

/* brg_rounds_open - the run goes on after `committed`; steps start when workers are there.
 * asserts: IDLE. own: borrows scheme until the CLOSE action that ends the run. */
void brg_rounds_open(struct brg_rounds *r, const struct brg_run_plan *plan,
                     const struct brg_scheme *scheme, uint64_t committed);

/* brg_rounds_member_ready - a member attached or may work again: it gets a position if one is
 * vacant, the run's description and, in mid-step, work. */
void brg_rounds_member_ready(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                             struct brg_coord_actions *out);

/* What becomes of the shares of a member that gets no more work. */
enum brg_gone {
    BRG_GONE_STILL_HERE = 0, /* it drains: they can be pulled yet */
    BRG_GONE_AWAY = 1,       /* those that are not here yet are lost */
    BRG_GONE_REVOKED = 2,    /* those that are here are not used either, but for a step that is
                              * being decoded already */
};

/* brg_rounds_member_gone - forgets its task, its position and of its shares what `how` says. */
void brg_rounds_member_gone(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                            enum brg_gone how);

/* brg_rounds_done / _share / _fault / _beat - what members say about units; any field may lie.
 * errors: BRG_EPROTO a unit or step that was never handed out; nothing changed */
BRG_CHECK int brg_rounds_done(struct brg_rounds *r, struct brg_members *m,
                              const struct brg_coord_event *ev, struct brg_coord_actions *out);
BRG_CHECK int brg_rounds_share(struct brg_rounds *r, struct brg_members *m,
                               const struct brg_coord_event *ev, struct brg_coord_actions *out);
void brg_rounds_fault(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                      struct brg_coord_actions *out);
void brg_rounds_beat(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out);

/* brg_rounds_decoded / _applied / _checkpointed - the compute thread's answers, in the order of
 * the actions. A stale one (the run was closed in between) changes nothing. */
void brg_rounds_decoded(struct brg_rounds *r, struct brg_members *m,
                        const struct brg_coord_event *ev, struct brg_coord_actions *out);
void brg_rounds_applied(struct brg_rounds *r, struct brg_members *m,
                        const struct brg_coord_event *ev, struct brg_coord_actions *out);
void brg_rounds_checkpointed(struct brg_rounds *r, const struct brg_coord_event *ev,
                             struct brg_coord_actions *out);

/* brg_rounds_end - pause or stop: ends after the step whose gradient is being decoded or applied,
 * at once otherwise; the run closes in `target` (enum brg_run_state) once it is checkpointed. */
void brg_rounds_end(struct brg_rounds *r, uint32_t target, struct brg_coord_actions *out);

/* brg_rounds_advance - does all that is due at `now_ns`: pulls, re-attempts, the end of the step.
 * Called once at the end of every step of the machine. Returns when it wants to be called next
 * (UINT64_MAX: only after another event). cost: O(members + n) */
uint64_t brg_rounds_advance(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                            struct brg_coord_actions *out);

/* brg_rounds_check - the invariants; asserts. */
void brg_rounds_check(const struct brg_rounds *r, const struct brg_members *m);

#endif
