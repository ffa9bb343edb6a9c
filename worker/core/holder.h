/* holder.h - the machine of one holder of a stage: its microbatches in 1F1B order, what it asks of
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
#ifndef BRG_WORKER_CORE_HOLDER_H
#define BRG_WORKER_CORE_HOLDER_H

#include "base/digest.h"

#define BRG_HOLDER_MICROBATCHES_MAX 256u
#define BRG_HOLDER_LANES_MAX 16u
#define BRG_HOLDER_ACTIONS_MAX 96u
#define BRG_HOLDER_AHEAD 2u /* activations and gradients asked for before they are needed */
#define BRG_HOLDER_NONE UINT32_MAX

enum brg_holder_phase {
    BRG_HOLDER_IDLE = 0,
    BRG_HOLDER_FETCHING,
    BRG_HOLDER_PLACED,
    BRG_HOLDER_WORKING,
    BRG_HOLDER_READY,
    BRG_HOLDER_LEARNING,
};

/* What one holder asks of another. */
enum brg_holder_object {
    BRG_TENSOR_ACT = 1, /* index = microbatch: of the stage before */
    BRG_TENSOR_GRAD,    /* index = microbatch: of the stage after */
    BRG_TENSOR_LANE,    /* index = lane: the sum of a sibling */
};

struct brg_holder_config {
    uint64_t retry_ns; /* > 0 */
    uint64_t fetch_ns; /* a state of which nothing came for so long has failed, > 0 */
    uint64_t peer_ns;  /* who waits and hears nothing of any peer for so long complains, > 0 */
};

/* Where a microbatch is: bits. */
enum brg_holder_mark {
    BRG_MARK_ACT_ASKED = 1,
    BRG_MARK_ACT = 2,
    BRG_MARK_FORWARD = 4,
    BRG_MARK_GRAD_ASKED = 8,
    BRG_MARK_GRAD = 16,
    BRG_MARK_BACKWARD = 32,
};

struct brg_holder {
    struct brg_holder_config config;
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
    uint32_t phase;    /* enum brg_holder_phase */
    uint32_t held;     /* the stage whose state is at hand, BRG_HOLDER_NONE */
    uint32_t stage;    /* its seat, or what it learns; BRG_HOLDER_NONE */
    uint32_t stages, lane_count, microbatches;
    uint32_t lanes;      /* bit set of its own */
    uint32_t lanes_here; /* sums that are complete, own and siblings' */
    uint32_t rung;       /* FETCHING: by which rung */
    uint32_t computing;  /* 1: FORWARD, BACKWARD or REDUCE is under way */
    uint32_t reducing;   /* 1: it is REDUCE */
    uint32_t padding;
    uint8_t marks[BRG_HOLDER_MICROBATCHES_MAX]; /* enum brg_holder_mark, of the step under way */
};

enum brg_holder_event_type {
    BRG_HEV_WELCOME = 1, /* epoch, run: of a coordinator; a new epoch ends what is under way */
    BRG_HEV_PLACE,  /* epoch, generation, stage, stages, lanes, lane_count, microbatches, steps,
                     * version, commit_generation, lineage, rung (0: it should have the state) */
    BRG_HEV_START,  /* epoch, generation */
    BRG_HEV_COMMIT, /* epoch, generation, step */
    BRG_HEV_UNSEAT, /* epoch, generation, version, commit_generation */
    BRG_HEV_LEARN,  /* epoch, generation, stage, lineage */
    BRG_HEV_STATE,  /* generation (LEARNING: of the fetch), version: the state is here */
    BRG_HEV_STATE_MOVED,  /* some of it came */
    BRG_HEV_STATE_FAILED, /* generation: all sources said that they have it not */
    BRG_HEV_TAIL,         /* step: the sum of gradients of a committed step is here (LEARNING) */
    BRG_HEV_ARRIVED,      /* generation, step, object, index */
    BRG_HEV_PARKED,       /* generation: a peer that was asked is there and will answer later */
    BRG_HEV_COMPUTED, /* generation, step, index; object: ACT after FORWARD, GRAD after BACKWARD,
                       * LANE after REDUCE */
    BRG_HEV_TICK,
};

struct brg_holder_event {
    uint64_t now_ns;
    uint64_t epoch, run, generation, step, steps, version, commit_generation, lineage;
    uint32_t type, stage, stages, lanes, lane_count, microbatches, rung, object, index;
};

enum brg_holder_action_type {
    BRG_HACT_SEND_PLACED = 1,   /* generation; the shell adds the digest of the weights */
    BRG_HACT_SEND_READY,        /* generation, step; with digest, loss, count, squared norm */
    BRG_HACT_SEND_FETCH_FAILED, /* generation */
    BRG_HACT_SEND_LOST_PEER, /* generation, stage, index = microbatch or lane that it waits for */
    BRG_HACT_SEND_LEARNED,   /* stage, lineage, version */
    BRG_HACT_FETCH_STATE,    /* generation, stage, lineage, version (UINT64_MAX: any), rung */
    BRG_HACT_FETCH_TAIL,     /* step: the sum of gradients, from the source of LEARN */
    BRG_HACT_DROP_STATE,     /* what is held is of no use any more */
    BRG_HACT_CANCEL,         /* what is computed and asked for; no answer is wanted */
    BRG_HACT_BEGIN,          /* generation, step: sums are zero, tensors of before are dropped */
    BRG_HACT_GET,            /* object, index, stage: whom to ask */
    BRG_HACT_FORWARD,        /* index; answered by COMPUTED */
    BRG_HACT_BACKWARD,       /* index: and into the sum of its lane; COMPUTED */
    BRG_HACT_REDUCE,         /* sums in lane order; COMPUTED */
    BRG_HACT_APPLY,          /* step: the optimizer, with the reduced gradient and clip factor */
    BRG_HACT_DROP_GRADIENT,  /* the reduced one: its step was not committed */
    BRG_HACT_SHADOW,         /* version: the slice that is due leaves */
    BRG_HACT_ARM,            /* at_ns */
};

struct brg_holder_action {
    uint64_t generation, step, version, lineage, at_ns;
    uint32_t type, stage, object, index, rung, padding;
};

struct brg_holder_actions {
    uint32_t count;
    struct brg_holder_action items[BRG_HOLDER_ACTIONS_MAX];
};

/* brg_holder_init - errors: BRG_EINVAL config out of range */
BRG_CHECK int brg_holder_init(struct brg_holder *s, const struct brg_holder_config *config);

/* brg_holder_step - the one way in which the state changes.
 *
 * errors: BRG_EPROTO a PLACE that makes no sense; state as before
 * cost:   O(microbatches), no allocation */
BRG_CHECK int brg_holder_step(struct brg_holder *s, const struct brg_holder_event *ev,
                              struct brg_holder_actions *out);

enum brg_holder_answer { BRG_HOLDER_HAS = 1, BRG_HOLDER_LATER = 2, BRG_HOLDER_GONE = 3 };

/* What another holder asks for. STATE: stage, lineage, version; else generation and step. */
struct brg_holder_get {
    uint64_t generation, step;
    uint32_t object, index;
};

/* brg_holder_serve - what to answer to a Get: send it, park it (bounded), or Gone. */
enum brg_holder_answer brg_holder_serve(const struct brg_holder *s,
                                        const struct brg_holder_get *get);

/* brg_holder_serve_state - the same for a state; version UINT64_MAX: whatever it holds. */
enum brg_holder_answer brg_holder_serve_state(const struct brg_holder *s, uint32_t stage,
                                              uint64_t lineage, uint64_t version);

/* brg_holder_check - the invariants. Asserts. */
void brg_holder_check(const struct brg_holder *s);

#endif
