/* rounds_private.h - what the files behind rounds.h share. Inside coordinator/core only. */
#ifndef BRG_COORDINATOR_CORE_ROUNDS_PRIVATE_H
#define BRG_COORDINATOR_CORE_ROUNDS_PRIVATE_H

#include "coordinator/core/rounds.h"

/* Late shares are given this many doublings of their time. */
#define BRG_PULL_DOUBLINGS_MAX 6u

/* ---- rounds.c ---- */

/* Which round this is of the code in force, 1 for its first; step base + this is its newest. */
uint64_t brg_rounds_count(const struct brg_rounds *r);

/* The job of an open step. asserts: brg_rounds_is_open */
struct brg_job *brg_rounds_open_job(struct brg_rounds *r, uint64_t step);

/* What a set of finished units may hold. */
enum brg_trust {
    BRG_TRUST_PROMISED = 0,    /* units held, and those on the way from who keeps promises */
    BRG_TRUST_HELD_IF_DUE = 1, /* the same, but of the step that is due only what is held */
};

/* brg_rounds_have - the sets that the scheme asks for in the round under way.
 * shape: have [BRG_SCHEME_JOBS_MAX], of which the code's jobs are written */
void brg_rounds_have(const struct brg_rounds *r, const struct brg_members *m, enum brg_trust trust,
                     struct brg_bits *have);

/* ---- positions.c ---- */

/* 1 where the member may be given something to do. */
int brg_rounds_works(const struct brg_member *member);
/* Spares onto vacant positions, first where a group has the fewest. */
void brg_rounds_fill(struct brg_rounds *r, struct brg_members *m);
/* Takes a member off its position, if it has one. */
void brg_rounds_unseat(struct brg_rounds *r, struct brg_member *member);
/* Spreads late and slow members over the groups, where the code lets positions change. */
void brg_rounds_regroup(struct brg_rounds *r, struct brg_members *m);
/* Gives every position what the code wants of it in the round that begins. */
void brg_rounds_hand_out(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                         struct brg_coord_actions *out);
/* Gives a unit of an open step to a member; index as in struct brg_task. */
void brg_rounds_give(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                     struct brg_task task, uint64_t now_ns, struct brg_coord_actions *out);
/* The task once more, if a word of it was lost. */
void brg_rounds_send_task(const struct brg_rounds *r, uint32_t slot, const struct brg_task *task,
                          struct brg_coord_actions *out);
/* Takes all tasks from a member. */
void brg_rounds_forget_tasks(struct brg_rounds *r, struct brg_member *member);

/* ---- progress.c ---- */

/* Place of `member` among the unit's holders, or holder_count. */
uint32_t brg_rounds_holder(const struct brg_progress *u, uint32_t member);
/* Takes holder k off the unit; a pull from it is off as well. */
void brg_rounds_drop_holder(struct brg_rounds *r, struct brg_job *job, uint32_t unit, uint32_t k);
/* Asks for the share of an open unit that somebody holds; or somebody better than who is asked. */
void brg_rounds_pull(struct brg_rounds *r, struct brg_members *m, struct brg_job *job,
                     uint32_t unit, uint64_t now_ns, struct brg_coord_actions *out);
void brg_rounds_hold(struct brg_rounds *r, struct brg_job *job, uint32_t unit);
/* What a member holds is not used: back to open, where its step is. */
void brg_rounds_discard(struct brg_rounds *r, uint32_t slot);
/* Pulls that are late; *next_ns: when the next one will be. */
void brg_rounds_look_at_pulls(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                              uint64_t *next_ns, struct brg_coord_actions *out);
/* Gives what the code would miss to whoever is idle; *next_ns: when more may be late. */
void brg_rounds_look_at_units(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                              uint64_t *next_ns, struct brg_coord_actions *out);

/* ---- steps.c ---- */

/* DECODE of the next complete step, if none is out. */
void brg_rounds_decode_next(struct brg_rounds *r, struct brg_coord_actions *out);
/* The end of the run, if it is to end and nothing is with the compute thread any more. */
void brg_rounds_finish_if_through(struct brg_rounds *r, struct brg_coord_actions *out);
/* The code that waits, if nothing is in flight or being decoded. 1: it is in force now. */
int brg_rounds_switch_if_empty(struct brg_rounds *r, struct brg_members *m,
                               struct brg_coord_actions *out);

#endif
