/* pipeline.h - the machine of one pipeline run: who holds which stage, when a step is committed,
 * how a lost stage comes back.
 *
 *            every stage has a member and a source        all PLACED
 *   WAITING ------------------------------> PLACING -----------> STEPPING ------> SAVING
 *    ^   ^      (generation + 1)            |    ^               |   ^  |  last      |
 *   OPEN '--- nobody for a stage, no rung --'    '--- a loss, ---'   '--'  step, or  | files are
 *                                             hand-over, digests  all READY: a PAUSE v durable
 *                                                    that differ  step + 1         FINISHED
 *
 * A stage has up to `lanes` holders. A lane is a fixed part of a step's microbatches (b belongs to
 * lane b % lanes); every lane of a stage has exactly one holder, so nothing is counted twice. All
 * work belongs to a generation, which rises with each placement: what another one says is ignored.
 *
 *   member      PLACE(g, version)    -> fetches what it lacks -> PLACED(g)
 *   machine     all placed           -> PERSIST_PLACE, START(g)
 *   member      step version + 1     -> READY(g, step, digest)
 *   machine     all (stage, holder)  -> PERSIST_COMMIT(step, g), COMMIT(step, g)
 *   member      applies the step only on COMMIT(step, g) or PLACE(version = step, of g)
 *
 * A state is named by (stage, lineage, version). The lineage is the generation in which the stage's
 * history was cut last: recovered by a rung that is not exact, or rolled back. Two states of one
 * name have the same bits; a member that comes back with another lineage has nothing of use. The
 * new lineage holds from START on, so that whoever has the exact state and comes back before is
 * still preferred; a rollback holds from its record on, since holders drop their states for it.
 *
 * READY means that the reduced gradient is kept until the next commit. So after a commit that a
 * holder missed, it can still make the step: `pending` below names step and generation.
 *
 * The turn of the caller is that of types.h: all PERSIST_* in one synced write, then the rest, in
 * order. A restarted coordinator feeds what was stored by OPEN and brg_pipeline_restore.
 *
 * Files: pipeline.c events; commit.c READY and commits; place.c who sits where; handover.c
 * learners; recover.c sources by the ladder. Pure and flat; one thread. */
#ifndef BRG_COORDINATOR_CORE_PIPELINE_H
#define BRG_COORDINATOR_CORE_PIPELINE_H

#include "coordinator/core/members.h"
#include "recovery/ladder.h"

#define BRG_PIPE_STAGES_MAX BRG_LADDER_STAGES_MAX
#define BRG_PIPE_LANES_MAX 16u
#define BRG_PIPE_SOURCES_MAX 4u
#define BRG_PIPE_ACTIONS_MAX 8192u /* 5 for each of 64 x 16 holders, 1 for each member */
#define BRG_PIPE_RELAYS_MAX 64u

enum brg_pipe_phase {
    BRG_PIPE_IDLE = 0,
    BRG_PIPE_WAITING,
    BRG_PIPE_PLACING,
    BRG_PIPE_STEPPING,
    BRG_PIPE_FINISHED, /* or paused: nothing happens any more */
    BRG_PIPE_SAVING,   /* no step is made; files of the last commit are, with holders as before */
};

struct brg_pipe_plan {
    uint64_t run;
    uint64_t steps;            /* > 0 */
    uint64_t checkpoint_every; /* steps; 0: never */
    uint64_t grace_ns;         /* after OPEN, stored holders have this long to come back */
    uint64_t retry_ns;         /* PLACE is said again to who has not answered, > 0 */
    uint64_t hold_ns;          /* a member that failed gets no seat and no lessons for so long, and
                                * marks against sources are forgotten after it, > 0 */
    uint64_t learn_ns;         /* longest time of a learner, > 0 */
    uint32_t stages;           /* 1 .. BRG_PIPE_STAGES_MAX */
    uint32_t lanes;            /* `replicas:`, 1 .. BRG_PIPE_LANES_MAX */
    uint32_t microbatches;     /* of a step, >= lanes */
    uint32_t parity_group;     /* stages of a group; 0: no parity is kept */
    uint32_t shadow_every;     /* 0: no shadow is kept */
    uint32_t relay;            /* 1: the coordinator may pass tensors on between two members */
    uint32_t edges_copied;     /* 1: neighbours keep copies of embedding and head */
    uint32_t swap_percent;     /* a spare replaces a holder that is slower by so much; 0: never */
    struct brg_ladder_config ladder;
    uint64_t stage_bytes[BRG_PIPE_STAGES_MAX]; /* memory that a holder needs */
};

/* What is known of one member beside the table of members. */
struct brg_pipe_member {
    uint64_t memory_bytes;
    uint64_t microbatch_ns;      /* measured; 0: not yet */
    uint64_t lineage, version;   /* of what it holds; version: after what it is known to apply */
    uint64_t pending_step;       /* the reduced gradient it has in hand, 0 for none ... */
    uint64_t pending_generation; /* ... and in which generation it was made */
    uint64_t since;              /* generation in which it took its seat; 0 for none */
    uint64_t hold_ns;            /* gets no seat before */
    uint32_t here;               /* 1: attached */
    uint32_t draining;
    uint32_t held;        /* the stage whose state it holds, BRG_NOBODY for none */
    uint32_t stage;       /* its seat, BRG_NOBODY: a spare */
    uint32_t lanes;       /* bit set; not empty exactly where it has a seat in a generation */
    uint32_t placed;      /* 1: said so in this generation */
    uint32_t ready;       /* 1: READY for step committed + 1 of this generation */
    uint32_t complaints;  /* of it and about it, since the last commit */
    uint32_t bad_source;  /* 1: a fetch from it failed; until the next commit or hold_ns */
    uint32_t acked;       /* 1: was told that it may leave */
    uint32_t reported;    /* 1: came since OPEN */
    uint32_t source_rung; /* how it gets its state: enum brg_rung; 0: it has it */
    uint32_t source_count;
    uint32_t sources[BRG_PIPE_SOURCES_MAX];
    struct brg_digest digest; /* of READY; before that of PLACED */
};

struct brg_pipe_stage {
    uint64_t lineage;
    uint64_t shadow_version; /* of the oldest slice, 0: not whole */
    uint64_t staleness;      /* of the recovery under way */
    uint64_t parity_version; /* of its group */
    uint32_t count;          /* holders, in the order of their seats */
    uint32_t holders[BRG_PIPE_LANES_MAX];
    uint32_t stored;        /* 1: somebody held it when the coordinator stopped */
    uint32_t shadow_member; /* who has a shadow, BRG_NOBODY */
    uint32_t shadow_to;     /* who is to keep one */
    uint32_t parity_member;
    uint32_t parity_to;
    uint32_t rung;   /* how it comes back in this generation, 0: it was not lost */
    uint32_t failed; /* bit r: rung r failed since the last commit */
    uint32_t padding;
};

/* Two members that cannot reach each other. */
struct brg_pipe_relay {
    uint32_t a, b;
};

struct brg_pipeline {
    struct brg_pipe_plan plan;
    uint64_t now_ns;
    uint64_t epoch;
    uint64_t generation;            /* never goes back; stored before it is told */
    uint64_t committed;             /* the highest durable step; rises by one but for a rollback */
    uint64_t committed_generation;  /* in which that was made; 0: by files */
    uint64_t checkpoint;            /* the newest step with files, 0: the seed */
    uint64_t checkpoint_generation; /* in which its step was committed */
    uint64_t rolled;                /* generation of the last rollback */
    uint64_t grace_until_ns;
    uint64_t again_ns;  /* PLACING: when PLACE is said again; UINT64_MAX */
    uint64_t forget_ns; /* when marks against sources are forgotten; UINT64_MAX */
    uint64_t learn_until_ns;
    uint32_t phase;      /* enum brg_pipe_phase */
    uint32_t dirty;      /* 1 within a step: seats must be given anew */
    uint32_t look;       /* 1 within a step: somebody may have to learn a stage */
    uint32_t pausing;    /* 1: PAUSE was asked for */
    uint32_t starved;    /* 1: it was said that nobody is there */
    uint32_t learner;    /* a member that downloads a stage before it gets a seat; BRG_NOBODY */
    uint32_t learns;     /* its stage */
    uint32_t replaces;   /* whose seat it gets, BRG_NOBODY: one more */
    uint32_t learned_of; /* from whom */
    uint32_t relay_count;
    struct brg_pipe_relay relays[BRG_PIPE_RELAYS_MAX];
    struct brg_pipe_stage stages[BRG_PIPE_STAGES_MAX];
    struct brg_pipe_member members[BRG_MEMBERS_MAX];
};

enum brg_pipe_event_type {
    BRG_PEV_OPEN = 1, /* epoch, generation, step = committed, commit_generation, checkpoint,
                       * checkpoint_generation, rolled: as stored; a new run: all 0 */
    BRG_PEV_TICK,
    BRG_PEV_JOINED,       /* member attached; memory_bytes, microbatch_ns (0: not measured); stage
                           * (BRG_NOBODY: holds nothing), lineage, version, pending step and
                           * commit_generation: what it holds */
    BRG_PEV_GONE,         /* member: lost, left, revoked */
    BRG_PEV_DRAINING,     /* member */
    BRG_PEV_PLACED,       /* member, epoch, generation; digest of its weights */
    BRG_PEV_READY,        /* member, epoch, generation, step; digest of the reduced gradient */
    BRG_PEV_LOST_PEER,    /* member, epoch, generation, stage; peer: whom it cannot reach */
    BRG_PEV_FETCH_FAILED, /* member, epoch, generation: the source does not deliver, or (rung 0) it
                           * has not what it should have; or a learner gives up */
    BRG_PEV_LEARNED,      /* member, epoch, stage, lineage, version: the learner follows */
    BRG_PEV_SHADOW_AT,    /* member, stage, lineage, version: it keeps a whole shadow so old */
    BRG_PEV_PARITY_AT,    /* member, stage = group, lineage, version */
    BRG_PEV_CHECKPOINTED, /* step, generation of the action: all files are durable */
    BRG_PEV_SPEED,        /* member, microbatch_ns: measured */
    BRG_PEV_PAUSE,        /* after the step in flight files, then NOTE_PAUSED; where the stages have
                           * not all a holder at once, and without files */
};

struct brg_pipe_event {
    uint64_t now_ns; /* monotonic */
    uint64_t epoch, generation, step, version, lineage, commit_generation, checkpoint, rolled;
    uint64_t checkpoint_generation; /* OPEN */
    uint64_t memory_bytes, microbatch_ns;
    uint32_t type, member, stage, peer;
    struct brg_digest digest;
};

enum brg_pipe_action_type {
    /* written together, synced, before anything else of the turn */
    BRG_PACT_PERSIST_PLACE = 1,  /* generation; the shell stores p->stages' holders and lineages */
    BRG_PACT_PERSIST_COMMIT,     /* step, generation; the shell adds clip factor, loss and chain */
    BRG_PACT_PERSIST_ROLLBACK,   /* step, generation: later steps are superseded */
    BRG_PACT_PERSIST_CHECKPOINT, /* step */
    /* messages */
    BRG_PACT_SEND_PLACE,  /* member: generation, stage, lanes, version, commit_generation, lineage
                           * (the name its state is to have), rung + sources (in p->members), and
                           * from p->stages all holders and shadow_to */
    BRG_PACT_SEND_START,  /* member: generation; step: the first one; stage, rung: the first that
                           * came  back by a rung that is not exact, whose candidates the shell may
                           * try  (BRG_NOBODY, 0: none) */
    BRG_PACT_SEND_COMMIT, /* member: generation, step */
    BRG_PACT_SEND_UNSEAT, /* member: generation, version, commit_generation: it has no seat (any
                           * more), makes the step `version` if that is the one it has in hand, and
                           * keeps its state for others */
    BRG_PACT_SEND_LEARN,  /* member: stage, source, lineage: download, then follow the commits */
    BRG_PACT_SEND_RELAY,  /* member: tensors of `source` go through the coordinator from now on */
    BRG_PACT_SEND_MAY_GO, /* member: nothing of it is needed any more */
    BRG_PACT_CHECKPOINT,  /* step, generation: holders write files of it; then CHECKPOINTED. SAVING:
                           * said again from time to time; of another generation than before:
                           * begin anew */
    BRG_PACT_ARM,         /* TICK is wanted at at_ns */
    BRG_PACT_NOTE,        /* note, member, stage, rung, step = staleness */
};

enum brg_pipe_note {
    BRG_PNOTE_PLACED = 1,     /* generation: START was said */
    BRG_PNOTE_RECOVERING,     /* stage, rung, step = versions it is stale */
    BRG_PNOTE_RECOVERED,      /* the same, done: the shell adds the probe losses */
    BRG_PNOTE_STARVED,        /* stage: nobody for it */
    BRG_PNOTE_STUCK,          /* stage: no rung cures it */
    BRG_PNOTE_DIGESTS_DIFFER, /* stage, member: the newer holder, which fetches again */
    BRG_PNOTE_ROLLBACK,       /* step */
    BRG_PNOTE_HANDED_OVER,    /* member took the seat of peer */
    BRG_PNOTE_FETCH_FAILED,   /* member, stage, rung */
    BRG_PNOTE_CUT_OFF,        /* member: re-placed, since others cannot reach it */
    BRG_PNOTE_FINISHED,       /* step: the last; its files are there if any are written */
    BRG_PNOTE_PAUSED,         /* step */
};

struct brg_pipe_action {
    uint64_t generation, step, version, commit_generation, lineage, at_ns;
    uint32_t type, member, stage, lanes, rung, source, note, padding;
};

struct brg_pipe_actions {
    uint32_t count; /* carried out in order; reset by each step */
    struct brg_pipe_action items[BRG_PIPE_ACTIONS_MAX];
};

/* brg_pipeline_plan_check - errors: BRG_EINVAL a number is out of its range */
BRG_CHECK int brg_pipeline_plan_check(const struct brg_pipe_plan *plan);

/* brg_pipeline_init - IDLE. asserts: a checked plan */
void brg_pipeline_init(struct brg_pipeline *p, const struct brg_pipe_plan *plan);

/* brg_pipeline_restore - before OPEN: `stage` had this lineage and a holder or not. */
void brg_pipeline_restore(struct brg_pipeline *p, uint32_t stage, uint64_t lineage, int was_held);

/* brg_pipeline_step - the one way in which the state changes.
 *
 * errors:  BRG_EPROTO a member said what it may not; state as before
 * asserts: time that goes back; events of a run that was not opened
 * cost:    O(holders) of most; O(members x stages) where seats are given; no allocation */
BRG_CHECK int brg_pipeline_step(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                                struct brg_pipe_actions *out);

/* brg_pipeline_check - the invariants, for tests and the simulator. Asserts. */
void brg_pipeline_check(const struct brg_pipeline *p);

#endif
