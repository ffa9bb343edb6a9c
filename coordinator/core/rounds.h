/* rounds.h - the steps of one coded run: who computes what, when a round may end, what comes next.
 *
 *                    enough workers, the        code and policy satisfied
 *   IDLE --open--> WAITING -----------> COLLECTING --------.
 *                    ^   new step's parameters ready       |      last step, pause or stop
 *                    '-------------------------------------'----> FINISHING --CHECKPOINTED--> IDLE
 *
 * A code with delay T has the jobs of T + 1 steps in flight. Round k since the code came into force
 * (after step `base`) starts step base + k, and step base + k - T is due at its end:
 *
 *   step     base+1 base+2 base+3 ...      wait for      and then      answered by
 *   round 1    X                           DECODE(d)     (d is due)    DECODED -> commit record,
 *         2    x      X                    APPLY(d)                    commit told, APPLY
 *         3    due    x      X      T = 2  CHECKPOINT(d) (now and then)
 *
 * Decoding and the optimizer work off what is due in a queue of their own, one DECODE at a time, in
 * the order of the steps:   applied <= committed <= ended < open steps <= newest.
 * The next round starts as soon as the one before has ended and the parameters its new step needs
 * are there: with M models, those after step newest + 1 - M. So with models to spare, decoding is
 * hidden behind the next round.
 *
 * The code is laid out for n positions (coding/scheme.h). A position is filled by a member or
 * vacant; members beyond n are spares. What a position computes is *units*: chunks and coefficients
 * that the scheme fixes for as long as it is in force, so that a unit has the same bits whoever
 * computes it. Within a step in flight:
 *
 *   unit OPEN --DONE of a member--> its share is pulled --SHARE--> HELD
 *          ^----- pull failed, holder gone -----'
 *
 * A DONE counts in whichever round it comes, as long as its step is in flight. A unit is *expected*
 * while somebody works on it and is not late, or its share is on the way from somebody who keeps
 * promises (a member that says DONE and beats, but whose shares do not come, must not hold up a
 * step). As soon as the units held, ready or expected would not do for the code, the missing ones
 * go to idle members, fastest first. So a round never waits for whom it need not, and no step is
 * ever made of less than the full batch.
 *
 * A code is replaced (switch) only when no step is in flight, so every step is of one code; answers
 * to tasks of the code before, or of the run before it was opened again, are told by `since`.
 *
 * Files: rounds.c rounds and their ends; progress.c units, pulls, re-attempts; positions.c who sits
 * where, hand-out; answers.c what members say; steps.c decode, commit, apply, checkpoint, switch.
 *
 * Pure and flat but for the borrowed, immutable schemes. One thread. Part of struct brg_coord. */
#ifndef BRG_COORDINATOR_CORE_ROUNDS_H
#define BRG_COORDINATOR_CORE_ROUNDS_H

#include "coding/pattern.h"
#include "coding/policy.h"
#include "coding/scheme.h"
#include "coordinator/core/members.h"
#include "coordinator/core/types.h"

#define BRG_HOLDERS_MAX 4u          /* members remembered as holding one unit's share */
#define BRG_JOBS_MAX BRG_MODELS_MAX /* steps that were started and are not applied yet */

enum brg_phase {
    BRG_PHASE_IDLE = 0,
    BRG_PHASE_WAITING,
    BRG_PHASE_COLLECTING,
    BRG_PHASE_FINISHING,
};

enum brg_progress_state { BRG_UNIT_OPEN = 0, BRG_UNIT_PULLING = 1, BRG_UNIT_HELD = 2 };

/* How far one unit of a step has come. */
struct brg_progress {
    uint64_t assigned_ns;      /* when it was last handed out, 0: not yet */
    uint64_t pull_deadline_ns; /* PULLING: when to ask again */
    uint32_t state;            /* enum brg_progress_state */
    uint32_t attempts;         /* times it was handed out because it was late or its worker gone */
    uint32_t puller;           /* PULLING, HELD: the member it comes from */
    uint32_t holder_count;     /* PULLING: >= 1 */
    uint32_t holders[BRG_HOLDERS_MAX];
    struct brg_digest digests[BRG_HOLDERS_MAX]; /* what each holder said */
};

/* A step from its start until the step BRG_JOBS_MAX after it starts. What is HELD when its round
 * has ended stays so, and is what DECODE decodes. */
struct brg_job {
    uint64_t step;       /* 0: none was here yet */
    uint64_t started_ns; /* when its first round began */
    uint64_t ended_ns;   /* when the round ended at whose end it was due; 0: not yet */
    uint32_t waited;     /* 1: a unit of it was attempted again, beyond what the code plans */
    uint32_t padding;
    struct brg_bits held;    /* units in state HELD ... */
    struct brg_bits pulling; /* ... and PULLING */
    struct brg_progress units[BRG_SCHEME_UNITS_MAX];
};

/* What one position was given in a round, and when it was done. */
struct brg_round_entry {
    uint32_t member;                           /* BRG_NOBODY: the position was vacant */
    uint32_t count;                            /* tasks */
    uint32_t chunks[BRG_SCHEME_MINITASKS_MAX]; /* of each, as a measure of its load */
    uint64_t
        done_ns[BRG_SCHEME_MINITASKS_MAX]; /* since started_ns; 0: not before the round ended */
};

struct brg_round_log {
    uint64_t round; /* 0: none yet */
    uint64_t step;  /* the newest in flight */
    uint64_t due;   /* the step that was due at its end, 0 for none */
    uint64_t started_ns, ended_ns;
    uint32_t n;      /* entries */
    uint32_t waited; /* units attempted again beyond what the code plans */
    struct brg_round_entry entries[BRG_CODE_WORKERS_MAX];
};

struct brg_rounds {
    struct brg_run_plan plan;
    const struct brg_scheme *scheme; /* in force; NULL when IDLE */
    const struct brg_scheme *next;   /* what a switch waits to bring, NULL for none */
    uint64_t round;                  /* the last one begun, of any run of this incarnation */
    uint64_t since;                  /* the first round of the code in force */
    uint64_t base;                   /* the code in force computes the steps after this */
    uint64_t newest;                 /* the highest step that was started */
    uint64_t ended;                  /* steps up to this are complete: decoded or being decoded */
    uint64_t committed;              /* the highest durable step; its record was persisted */
    uint64_t applied;                /* the highest step whose optimizer is through */
    uint64_t decoding;               /* the step that is being decoded, 0 for none */
    uint64_t checkpoint_step;        /* of the checkpoint being written, 0 for none */
    uint64_t started_ns;             /* COLLECTING: of the round under way */
    uint64_t first_ns;     /* when the first position had done all of it, or BRG_POLICY_NEVER */
    uint64_t decodable_ns; /* what is held does for the code; BRG_POLICY_NEVER: not yet */
    uint64_t look_ns;      /* before this nothing is late: no pull, no unit; 0: look now */
    uint64_t waited_steps; /* steps with a unit attempted again beyond the plan, since open */
    uint32_t phase;        /* enum brg_phase */
    uint32_t unit_count;
    uint32_t seated;      /* positions that are not vacant */
    uint32_t answered;    /* positions that have done all that the round gave them */
    uint32_t outstanding; /* positions that have not and may yet: members with in_wave */
    uint32_t satisfied;   /* 1: what is here does for the code by its weakest rule */
    uint32_t recheck;     /* 1: something was lost since that was found out */
    uint32_t short_by;   /* not satisfied: at least so many more units must come before it can be */
    uint32_t handed_out; /* tasks of the round's first hand-out */
    uint32_t reattempts; /* positions that the code gave units of older steps in this round */
    uint32_t hungry;     /* 1: something was missing and nobody idle to attempt it */
    uint32_t starved;    /* 1: it was said that nobody is there to go on */
    uint32_t target;     /* FINISHING or asked for: enum brg_run_state to end in, else 0 */
    uint32_t begun;      /* 1: min_workers have been here once since the run was opened */
    uint32_t position[BRG_CODE_WORKERS_MAX]; /* member there, BRG_NOBODY for vacant */
    struct brg_bits unfinished;   /* positions that were given something in this round and have not
                                   * done   all of it, whoever sits there by now */
    struct brg_pattern pattern;   /* of late positions, for the published rule */
    struct brg_round_log log;     /* of the round that ended last: BRG_ACT_ROUND */
    struct brg_round_log running; /* of the round under way */
    struct brg_job jobs[BRG_JOBS_MAX]; /* step s in jobs[s % BRG_JOBS_MAX] */
};

/* brg_rounds_job - how far `step` has come, or NULL where nothing is known of it (any more). A step
 * is known from its start until APPLIED of it and yet longer; only one above r->ended changes. */
const struct brg_job *brg_rounds_job(const struct brg_rounds *r, uint64_t step);

/* brg_rounds_is_open - 1 where the shares of `step` are still collected. */
int brg_rounds_is_open(const struct brg_rounds *r, uint64_t step);

/* brg_rounds_open - the run goes on after `committed`; steps start when workers are there.
 * asserts: IDLE; the scheme's delay is below plan->models.
 * own:     borrows scheme until the CLOSE action that ends the run, or SWITCHED */
void brg_rounds_open(struct brg_rounds *r, const struct brg_run_plan *plan,
                     const struct brg_scheme *scheme, uint64_t committed);

/* brg_rounds_close - leaves nothing of the run, in the members neither. asserts: IDLE */
void brg_rounds_close(struct brg_rounds *r, struct brg_members *m);

/* brg_rounds_switch - the code to use as soon as nothing is in flight.
 * own:    borrows scheme as open does
 * errors: BRG_EINVAL the run is about to end, or has too few models for the code's delay;
 * BRG_EEXIST another switch has not happened yet */
BRG_CHECK int brg_rounds_switch(struct brg_rounds *r, const struct brg_scheme *scheme);

/* brg_rounds_member_ready - a member attached or may work again: it gets a position if one is
 * vacant, the run's description and, in mid-round, work. */
void brg_rounds_member_ready(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                             struct brg_coord_actions *out);

/* What becomes of the shares of a member that gets no more work. */
enum brg_gone {
    BRG_GONE_STILL_HERE = 0, /* it drains: they can be pulled yet */
    BRG_GONE_AWAY = 1,       /* those that are not here yet are lost */
    BRG_GONE_REVOKED = 2,    /* those that are here are not used either, but for steps whose round
                              * has ended */
};

/* brg_rounds_member_gone - forgets its tasks, its position and of its shares what `how` says. */
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
void brg_rounds_decoded(struct brg_rounds *r, const struct brg_coord_event *ev,
                        struct brg_coord_actions *out);
void brg_rounds_applied(struct brg_rounds *r, const struct brg_coord_event *ev,
                        struct brg_coord_actions *out);
void brg_rounds_checkpointed(struct brg_rounds *r, const struct brg_coord_event *ev,
                             struct brg_coord_actions *out);

/* brg_rounds_end - pause or stop: ends after the step whose gradient is being decoded or applied,
 * at once otherwise, and drops the other steps in flight; the run closes in `target` (enum
 * brg_run_state) once it is checkpointed. */
void brg_rounds_end(struct brg_rounds *r, struct brg_members *m, uint32_t target,
                    struct brg_coord_actions *out);

/* brg_rounds_advance - does all that is due at `now_ns`: pulls, re-attempts, the end of the round,
 * the next. Called once at the end of every step of the machine. Returns when it wants to be called
 * next (UINT64_MAX: only after another event).
 * cost: O(1) and a look at the code where nothing is late; O(members + units) at a round's start
 *       and end, and when something is late */
uint64_t brg_rounds_advance(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                            struct brg_coord_actions *out);

/* brg_rounds_let_go - tells draining members that no share is needed any more which is on its way
 * from them, that they may go; m->leaving is 0 when all have been told. */
void brg_rounds_let_go(const struct brg_rounds *r, struct brg_members *m,
                       struct brg_coord_actions *out);

/* brg_rounds_check - the invariants; asserts. */
void brg_rounds_check(const struct brg_rounds *r, const struct brg_members *m);

#endif
