/* stage.h - the machine of one holder of a stage: its microbatches in 1F1B order, what it asks of
 * its neighbours and siblings, READY, the commit, and the state it holds.
 *
 *          PLACE                    STATE here, or held        START        all reduced
 *   IDLE ---------> FETCHING ------------------------> PLACED -----> WORKING ---------> READY
 *    ^                 | (it has it: at once)            ^              ^                 |
 *    |  UNSEAT         '- time over: FETCH_FAILED        |              '--- COMMIT ------'
 *    '-- from any -------------- a newer PLACE, from any '
 *
 *   IDLE --LEARN--> LEARNING: downloads a stage, then makes the commits it hears of by the sums of
 *                   gradients of its source, and says LEARNED for each version it reaches
 *
 * A state is named (stage, lineage, version), as coordinator/core/pipeline.h says. A step is made
 * only on COMMIT(step, generation) or on PLACE or UNSEAT of that version, and only with the reduced
 * gradient of that step *and* generation. It is kept until the next step's is there or until a
 * PLACE says that the step was not committed. An older generation changes nothing at all.
 *
 * Within a step, per microbatch of its lanes, in rising order:
 *
 *   Get ACT -> FORWARD ... Get GRAD -> BACKWARD (into the sum of its lane); at most stages - stage
 *   are in flight, and a backward that can be done goes first, so memory is bounded and the oldest
 *   microbatch of all always moves. Then Get LANE of the siblings' lanes, REDUCE in lane order.
 *
 * Whatever is asked for is asked again after retry_ns; messages are harmless twice. Pure and flat;
 * no pointers; one thread. */
#ifndef BRG_WORKER_CORE_STAGE_H
#define BRG_WORKER_CORE_STAGE_H

#include "base/digest.h"

#define BRG_STAGE_MICROBATCHES_MAX 256u
#define BRG_STAGE_LANES_MAX 16u
#define BRG_STAGE_ACTIONS_MAX 96u
#define BRG_STAGE_AHEAD 2u /* activations and gradients asked for before they are needed */
#define BRG_STAGE_NONE UINT32_MAX

enum brg_stage_phase {
    BRG_STAGE_IDLE = 0,
    BRG_STAGE_FETCHING,
    BRG_STAGE_PLACED,
    BRG_STAGE_WORKING,
    BRG_STAGE_READY,
    BRG_STAGE_LEARNING,
};

/* What one holder asks of another. */
enum brg_stage_object {
    BRG_OBJECT_ACT = 1, /* index = microbatch: of the stage before */
    BRG_OBJECT_GRAD,    /* index = microbatch: of the stage after */
    BRG_OBJECT_LANE,    /* index = lane: the sum of a sibling */
};

struct brg_stage_config {
    uint64_t retry_ns; /* > 0 */
    uint64_t fetch_ns; /* a state of which nothing came for so long has failed, > 0 */
    uint64_t peer_ns;  /* who waits and hears nothing of any peer for so long complains, > 0 */
};

/* Where a microbatch is: bits. */
enum brg_stage_mark {
    BRG_MARK_ACT_ASKED = 1,
    BRG_MARK_ACT = 2,
    BRG_MARK_FORWARD = 4,
    BRG_MARK_GRAD_ASKED = 8,
    BRG_MARK_GRAD = 16,
    BRG_MARK_BACKWARD = 32,
};

struct brg_stage {
    struct brg_stage_config config;
    uint64_t now_ns;
    uint64_t epoch, run;
    uint64_t generation;       /* of the last PLACE or UNSEAT of this epoch */
    uint64_t steps;            /* of the run */
    uint64_t lineage, version; /* of what is held ... */
    uint64_t pending_step; /* the reduced gradient in hand, 0 for none: version or version + 1 */
    uint64_t pending_generation;           /* ... of which generation */
    uint64_t place_version, place_lineage; /* FETCHING, LEARNING: what is fetched */
    uint64_t tail;     /* LEARNING: sums of gradients up to this step are here without a hole */
    uint64_t asked_ns; /* when Gets or words were said last */
    uint64_t moved_ns; /* when something came last */
    uint32_t phase;    /* enum brg_stage_phase */
    uint32_t held;     /* the stage whose state is at hand, BRG_STAGE_NONE */
    uint32_t stage;    /* its seat, or what it learns; BRG_STAGE_NONE */
    uint32_t stages, lane_count, microbatches;
    uint32_t lanes;      /* bit set of its own */
    uint32_t lanes_here; /* sums that are complete, own and siblings' */
    uint32_t rung;       /* FETCHING: by which rung */
    uint32_t computing;  /* 1: FORWARD, BACKWARD or REDUCE is under way */
    uint32_t reducing;   /* 1: it is REDUCE */
    uint32_t padding;
    uint8_t marks[BRG_STAGE_MICROBATCHES_MAX]; /* enum brg_stage_mark, of the step under way */
};

enum brg_stage_event_type {
    BRG_SEV_WELCOME = 1, /* epoch, run: of a coordinator; a new epoch ends what is under way */
    BRG_SEV_PLACE,  /* epoch, generation, stage, stages, lanes, lane_count, microbatches, steps,
                     * version, commit_generation, lineage, rung (0: it should have the state) */
    BRG_SEV_START,  /* epoch, generation */
    BRG_SEV_COMMIT, /* epoch, generation, step */
    BRG_SEV_UNSEAT, /* epoch, generation, version, commit_generation */
    BRG_SEV_LEARN,  /* epoch, generation, stage, lineage */
    BRG_SEV_STATE,  /* generation (LEARNING: of the fetch), version: the state is here */
    BRG_SEV_STATE_MOVED,  /* some of it came */
    BRG_SEV_STATE_FAILED, /* generation: all sources said that they have it not */
    BRG_SEV_TAIL,         /* step: the sum of gradients of a committed step is here (LEARNING) */
    BRG_SEV_ARRIVED,      /* generation, step, object, index */
    BRG_SEV_PARKED,       /* generation: a peer that was asked is there and will answer later */
    BRG_SEV_COMPUTED, /* generation, step, index; object: ACT after FORWARD, GRAD after BACKWARD,
                       * LANE after REDUCE */
    BRG_SEV_TICK,
};

struct brg_stage_event {
    uint64_t now_ns;
    uint64_t epoch, run, generation, step, steps, version, commit_generation, lineage;
    uint32_t type, stage, stages, lanes, lane_count, microbatches, rung, object, index;
};

enum brg_stage_action_type {
    BRG_SACT_SEND_PLACED = 1,   /* generation; the shell adds the digest of the weights */
    BRG_SACT_SEND_READY,        /* generation, step; with digest, loss, count, squared norm */
    BRG_SACT_SEND_FETCH_FAILED, /* generation */
    BRG_SACT_SEND_LOST_PEER, /* generation, stage, index = microbatch or lane that it waits for */
    BRG_SACT_SEND_LEARNED,   /* stage, lineage, version */
    BRG_SACT_FETCH_STATE,    /* generation, stage, lineage, version (UINT64_MAX: any), rung */
    BRG_SACT_FETCH_TAIL,     /* step: the sum of gradients, from the source of LEARN */
    BRG_SACT_DROP_STATE,     /* what is held is of no use any more */
    BRG_SACT_CANCEL,         /* what is computed and asked for; no answer is wanted */
    BRG_SACT_BEGIN,          /* generation, step: sums are zero, tensors of before are dropped */
    BRG_SACT_GET,            /* object, index, stage: whom to ask */
    BRG_SACT_FORWARD,        /* index; answered by COMPUTED */
    BRG_SACT_BACKWARD,       /* index: and into the sum of its lane; COMPUTED */
    BRG_SACT_REDUCE,         /* sums in lane order; COMPUTED */
    BRG_SACT_APPLY,          /* step: the optimizer, with the reduced gradient and clip factor */
    BRG_SACT_DROP_GRADIENT,  /* the reduced one: its step was not committed */
    BRG_SACT_SHADOW,         /* version: the slice that is due leaves */
    BRG_SACT_ARM,            /* at_ns */
};

struct brg_stage_action {
    uint64_t generation, step, version, lineage, at_ns;
    uint32_t type, stage, object, index, rung, padding;
};

struct brg_stage_actions {
    uint32_t count;
    struct brg_stage_action items[BRG_STAGE_ACTIONS_MAX];
};

/* brg_stage_init - errors: BRG_EINVAL config out of range */
BRG_CHECK int brg_stage_init(struct brg_stage *s, const struct brg_stage_config *config);

/* brg_stage_step - the one way in which the state changes.
 *
 * errors: BRG_EPROTO a PLACE that makes no sense; state as before
 * cost:   O(microbatches), no allocation */
BRG_CHECK int brg_stage_step(struct brg_stage *s, const struct brg_stage_event *ev,
                             struct brg_stage_actions *out);

enum brg_stage_answer { BRG_STAGE_HAS = 1, BRG_STAGE_LATER = 2, BRG_STAGE_GONE = 3 };

/* What another holder asks for. STATE: stage, lineage, version; else generation and step. */
struct brg_stage_get {
    uint64_t generation, step;
    uint32_t object, index;
};

/* brg_stage_serve - what to answer to a Get: send it, park it (bounded), or Gone. */
enum brg_stage_answer brg_stage_serve(const struct brg_stage *s, const struct brg_stage_get *get);

/* brg_stage_serve_state - the same for a state; version UINT64_MAX: whatever it holds. */
enum brg_stage_answer brg_stage_serve_state(const struct brg_stage *s, uint32_t stage,
                                            uint64_t lineage, uint64_t version);

/* brg_stage_check - the invariants. Asserts. */
void brg_stage_check(const struct brg_stage *s);

#endif
