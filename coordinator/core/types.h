/* types.h - the events that go into the coordinator's machine and the actions that come out.
 *
 * The machine is `brg_coord_step(state, event) -> actions` (coord.h). It has no I/O, clock,
 * allocation, thread or floating point; the reactor and the simulator feed the same code.
 *
 * One turn of whoever runs it, in this order, is the contract that makes a crash harmless:
 *
 *   events of the turn -> step, step, ... -> all PERSIST_* actions in ONE synced write
 *                                         -> only then every other action, in order
 *
 * So nothing leaves, and no file is dropped, that depends on a record not yet on disk. A write that
 * fails stops the process. An action is never repeated after a restart; all of them are idempotent
 * for their receiver, and the machine asks again where no answer comes. */
#ifndef BRG_COORDINATOR_CORE_TYPES_H
#define BRG_COORDINATOR_CORE_TYPES_H

#include "base/digest.h"
#include "coding/spec.h"

#define BRG_MEMBERS_MAX 2048u
#define BRG_TOKENS_MAX 256u
#define BRG_RUNS_MAX 64u
#define BRG_KEY_BYTES 32u
#define BRG_NOBODY UINT32_MAX
#define BRG_NO_UNIT UINT32_MAX
/* A round of the largest code hands out 8 tasks to each of 1024 positions; as many again are room
 * for what a timer may find late in all steps in flight at once. */
#define BRG_COORD_ACTIONS_MAX 24576u
#define BRG_MEMBER_NOTES_MAX 256u

/* On disk: numbers never change. */
enum brg_member_state {
    BRG_MEMBER_NONE = 0,     /* the slot is free */
    BRG_MEMBER_AWAY = 1,     /* enrolled, not heard of in this epoch */
    BRG_MEMBER_ACTIVE = 2,   /* its lease runs */
    BRG_MEMBER_SUSPECT = 3,  /* half its lease went by in silence: gets nothing new */
    BRG_MEMBER_DRAINING = 4, /* it is leaving: gets nothing new, what it holds is pulled first */
    BRG_MEMBER_LEFT = 5,     /* it said goodbye */
    BRG_MEMBER_LOST = 6,     /* its lease ran out */
    BRG_MEMBER_REVOKED = 7,  /* the operator took its key away; for good */
};

/* On disk: numbers never change. */
enum brg_run_state {
    BRG_RUN_NONE = 0,
    BRG_RUN_QUEUED = 1,   /* waits for the run before it */
    BRG_RUN_OPENING = 2,  /* the shell reads its data, checkpoint and log */
    BRG_RUN_ACTIVE = 3,   /* steps are made */
    BRG_RUN_PAUSED = 4,   /* by the operator; resume queues it again */
    BRG_RUN_FINISHED = 5, /* all steps made */
    BRG_RUN_STOPPED = 6,  /* ended by the operator before its last step */
    BRG_RUN_FAILED = 7,   /* the shell could not open it, why is an event; resume tries again */
};

/* Why a HELLO is turned away; travels in Refused.code. */
enum brg_refusal {
    BRG_REFUSED_UNKNOWN_KEY = 1,   /* not enrolled and no token given */
    BRG_REFUSED_TOKEN_UNKNOWN = 2, /* no such token */
    BRG_REFUSED_TOKEN_EXPIRED = 3, /* its time or its uses ran out */
    BRG_REFUSED_TOKEN_REVOKED = 4, /* the operator revoked it */
    BRG_REFUSED_KEY_REVOKED = 5,   /* the operator revoked the worker's key */
    BRG_REFUSED_FULL = 6,          /* the table of members is full */
    BRG_REFUSED_SAME_KEY = 7,      /* a newer process joined with the same key */
};

enum brg_coord_event_type {
    BRG_EV_START = 1,    /* everything stored was added; `epoch` is this incarnation's */
    BRG_EV_TICK,         /* a timer fired; early or stale ones change nothing */
    BRG_EV_HELLO,        /* key, session, peer; token_hash + wall_s if has_token; run + step if
                          * has_proof: the worker holds our own mark on that commit */
    BRG_EV_BEAT,         /* member; run, step, unit it works on (unit BRG_NO_UNIT: idle) */
    BRG_EV_DONE,         /* member; run, step, unit, digest, bytes: a share is ready there; since:
                          * that of the task which it answers */
    BRG_EV_FAULT,        /* member; run, step, unit; code: it cannot do this task */
    BRG_EV_DRAIN,        /* member is leaving */
    BRG_EV_BYE,          /* member has left */
    BRG_EV_SHARE,        /* member; run, step, unit; code 0: the share is here, digest verified;
                          * BRG_ECORRUPT: digest wrong; BRG_ENOENT: the member does not hold it.
                          * epoch and session: of the connection that brought it */
    BRG_EV_DECODED,      /* run, step: decoded, appended to the log and synced */
    BRG_EV_APPLIED,      /* run, step: its model has made the step, so that parameters of version
                          * step + models - 1 are ready */
    BRG_EV_CHECKPOINTED, /* run, step: all files of it are durable */
    BRG_EV_OPENED,       /* run, step: restored up to this committed step; scheme: the code in force
                          * (of the last PERSIST_CODE, else the run file's); pipelines: NULL */
    BRG_EV_OPEN_FAILED,  /* run: it cannot be opened */
    BRG_EV_RUN_FAILED,   /* run: it is open and cannot go on (its gradient is not finite) */
    BRG_EV_SUBMIT,       /* plan: a new run, queued; has_proof: steps are durable one by one, so
                          * that a worker's proof of a step the store lacks is an alarm */
    BRG_EV_PAUSE,        /* run */
    BRG_EV_RESUME,       /* run */
    BRG_EV_STOP,         /* run */
    BRG_EV_TOKEN_ADD,    /* token_hash, wall_s = expiry, uses */
    BRG_EV_TOKEN_REVOKE, /* token_hash */
    BRG_EV_ALLOW,        /* key: enrol without a token, or take a revocation back */
    BRG_EV_REVOKE,       /* member */
    BRG_EV_ASK_DRAIN,    /* member: the operator wants it to leave */
    BRG_EV_SWITCH,       /* run; scheme: the code to use as soon as no step is in flight; no new one
                          * starts until then. One switch at a time: the next one is best given when
                          * SWITCHED of this one has been carried out */
    /* of the shell, about an open pipeline run (line_run.h) */
    BRG_EV_LINE,      /* run, step: committed now, which a rollback lowers */
    BRG_EV_LINE_DONE, /* run; code 0: it has finished; 1: it stands still, as LINE_STOP asked. What
                       * is to be kept of it is in files */
    BRG_EV_MAY_GO,    /* member: nothing of it is needed, so it is told so if it drains */
};

struct brg_scheme; /* coding/scheme.h */

/* Who makes a run's steps. */
enum brg_plan_kind {
    BRG_PLAN_CODED = 0,    /* rounds.h */
    BRG_PLAN_PIPELINE = 1, /* pipeline.h, beside this machine: this one opens and ends the run */
};

/* What the machine must know of a run; the shell keeps the rest. A pipeline: run, steps, state and
 * kind; the rest is not looked at. */
struct brg_run_plan {
    uint64_t run;
    uint64_t steps;            /* of all models together, > 0 */
    uint64_t checkpoint_every; /* steps, > 0 */
    uint64_t patience_ns;     /* 0: twice the fastest answer; then missing units are re-attempted */
    uint64_t task_timeout_ns; /* a task is handed to somebody else after this, > 0 */
    uint64_t pull_timeout_ns; /* a share not here after this is late and asked for again, > 0 */
    uint32_t min_workers;     /* steps start when this many are active, > 0 */
    uint32_t state;           /* enum brg_run_state */
    uint32_t models; /* trained in turn: step s is one of model (s - 1) % models; 1 .. 8. A code
                      * with delay T needs models > T */
    uint32_t kind;   /* enum brg_plan_kind */
    struct brg_code_spec code; /* the one in force: of the scheme, once the run was opened */
};

struct brg_coord_event {
    uint64_t now_ns; /* monotonic, never below that of the event before */
    uint64_t epoch;  /* START; and of the message, for what a member sent */
    uint64_t run, step, bytes;
    uint64_t session; /* of the process that said HELLO on this connection, 0 where none did */
    uint64_t wall_s;  /* Unix time, for tokens only */
    uint64_t peer;    /* HELLO: the shell's handle of the connection, > 0, for the answer */
    uint64_t since;   /* DONE: as in the task */
    uint32_t type;    /* enum brg_coord_event_type */
    uint32_t member, unit, uses;
    int32_t code;
    uint32_t has_token, has_proof;
    uint8_t key[BRG_KEY_BYTES];
    struct brg_digest digest;        /* DONE */
    struct brg_digest token_hash;    /* HELLO, TOKEN_* */
    const struct brg_run_plan *plan; /* SUBMIT; borrowed for the call */
    const struct brg_scheme *scheme; /* OPENED, SWITCH; borrowed until SWITCHED or CLOSE of the run
                                      * is carried out; not at all where SWITCH returned an error */
};

enum brg_coord_action_type {
    /* written together, synced, before anything else of the turn happens */
    BRG_ACT_PERSIST_MEMBER = 1, /* member */
    BRG_ACT_PERSIST_TOKEN,      /* token */
    BRG_ACT_PERSIST_RUN,        /* run: its state */
    BRG_ACT_PERSIST_COMMIT,     /* run, step */
    BRG_ACT_PERSIST_CODE,       /* run, step: those after it are computed by the code that the last
                                 * SWITCH brought; comes before any task of that code */
    BRG_ACT_PERSIST_CHECKPOINT, /* run, step; the last of these: `type <= it` are the records */
    /* messages */
    BRG_ACT_SEND_WELCOME,   /* member; peer: the connection it attached by, from now on its own */
    BRG_ACT_SEND_REFUSED,   /* to peer, or (peer 0) to the connection that member has before this
                             * turn's WELCOME; code = enum brg_refusal */
    BRG_ACT_SEND_REHELLO,   /* member: what it said belongs to no attached session */
    BRG_ACT_SEND_RUN,       /* member: describe the run to it */
    BRG_ACT_SEND_TASK,      /* member: run, round, since, step, unit, attempt; parameters of version
                             * step - 1. What one member gets in a round, it is to do in order */
    BRG_ACT_SEND_COMMIT,    /* member or BRG_NOBODY for all: run, step is committed */
    BRG_ACT_SEND_RELEASE,   /* BRG_NOBODY (all): run is not worked on any more */
    BRG_ACT_SEND_DRAIN_ACK, /* member: nothing of it is needed any more */
    BRG_ACT_PULL,           /* member: fetch its share of run, step, unit; answered by SHARE; once
                             * more for the same: go on where it stopped; of another member for the
                             * same step and unit: leave the one before */
    /* compute and files; one queue, in order */
    BRG_ACT_OPEN,       /* run: restore it; answered by OPENED or OPEN_FAILED */
    BRG_ACT_CLOSE,      /* run: let its memory and files go */
    BRG_ACT_DECODE,     /* run, step: the units it holds (brg_rounds_job); answered by DECODED. One
                         * at a time, in the order of the steps, after APPLY of the step before */
    BRG_ACT_APPLY,      /* run, step: the optimizer of its model; answered by APPLIED */
    BRG_ACT_CHECKPOINT, /* run, step: all models as they are after it, which they are at this place
                         * of the queue; answered by CHECKPOINTED */
    BRG_ACT_TRUNCATE_LOG, /* run, step: the log up to this step is not needed any more */
    /* the rest */
    BRG_ACT_LINE_STOP, /* run; code: BRG_RUN_PAUSED or _STOPPED; a pipeline is to stand still after
                        * the step in flight; answered by LINE_DONE */
    BRG_ACT_ROUND,     /* run, round: it has ended; rounds.log tells of it until the machine's next
                        * step, so whoever wants it takes it before, not at the turn's end */
    BRG_ACT_SWITCHED,  /* run: the code that SWITCH brought is in force; what comes before this in
                        * the turn is of the one before, which is not used after this any more */
    BRG_ACT_ARM,       /* TICK is wanted at at_ns; replaces the timer before it */
    BRG_ACT_HALT, /* a worker has proof of run, step, which the store has lost: stop the process,
                   * and carry out nothing of this turn, its write neither */
    BRG_ACT_NOTE, /* something worth telling the operator: code = enum brg_note */
};

/* What a NOTE tells; member (else BRG_NOBODY), run, step and unit where they apply. About one
 * member there are at most BRG_MEMBER_NOTES_MAX in the time of a lease; the rest are left out. */
enum brg_note {
    BRG_NOTE_ENROLLED = 1, /* a new key was enrolled by a token */
    BRG_NOTE_JOINED,       /* a member attached */
    BRG_NOTE_LOST,         /* its lease ran out */
    BRG_NOTE_LEFT,         /* it said goodbye */
    BRG_NOTE_DRAINING,
    BRG_NOTE_SAME_KEY,       /* a newer process took over the key */
    BRG_NOTE_REATTEMPT,      /* unit went to member: whoever had it is late or gone */
    BRG_NOTE_STARVED,        /* nobody is left who could do the missing units; the step waits */
    BRG_NOTE_BAD_SHARE,      /* the share did not match its digest */
    BRG_NOTE_DIGESTS_DIFFER, /* two members report different digests for one unit */
    BRG_NOTE_UNFIT,          /* the member cannot do tasks of this run; code in `attempt` */
    BRG_NOTE_RUN_STATE,      /* the run changed its state */
    BRG_NOTE_CHECKPOINT,     /* run, step */
};

struct brg_coord_action {
    uint64_t run, step, peer, at_ns;
    uint64_t round; /* rises with every round that any run begins, over the whole incarnation */
    uint64_t since; /* the round with which the code in force began; shares of tasks with another
                     * `since` are of other chunks under the same unit number, and do not count */
    uint32_t type;  /* enum brg_coord_action_type */
    uint32_t member, unit, token, attempt;
    int32_t code;
};

struct brg_coord_actions {
    uint32_t count; /* carried out in order; reset by each step */
    struct brg_coord_action items[BRG_COORD_ACTIONS_MAX];
};

/* brg_coord_act - appends one action. asserts: there is room (the bound holds by construction). */
void brg_coord_act(struct brg_coord_actions *out, struct brg_coord_action action);

#endif
