/* messages_line.h - the messages of pipeline runs, as flat structs of our own; part of messages.h.
 *
 *   Run{line} ─► Holding ─► Place ─► Placed ─► Start ─► Ready ─► StepCommit ─► Ready ─► ...
 *
 * Who says what and when is in coordinator/core/pipeline.h and worker/core/holder.h; ranges stand
 * beside the fields and are enforced by wire.h in both directions. A number that is not used is 0;
 * BRG_MSG_NONE stands for no stage and no member where 0 is one. */
#ifndef BRG_PROTO_MESSAGES_LINE_H
#define BRG_PROTO_MESSAGES_LINE_H

#include "base/base.h"
#include "base/digest.h"

#define BRG_MSG_NONE UINT32_MAX
#define BRG_LINE_STAGES_MAX 64u        /* stages of a run */
#define BRG_LINE_LANES_MAX 16u         /* lanes of a stage; sets of lanes are 16 bits */
#define BRG_LINE_MICROBATCHES_MAX 256u /* of a step */
#define BRG_LINE_SEATS_MAX 1024u       /* holders of all stages */
#define BRG_LINE_SOURCES_MAX 4u
#define BRG_LINE_PEERS_MAX 16u /* other workers that one talks to */
#define BRG_LINE_SHADOWS_MAX 64u
#define BRG_LINE_MEMBERS_MAX 65536u /* member numbers are below it */
#define BRG_LINE_EVAL_MAX 64u       /* held-out microbatches of one look */
#define BRG_LINE_CANDIDATES_MAX 4u  /* as it is or mixed, previous, next, skip */
#define BRG_LINE_RUNG_MAX 6u        /* recovery/ladder.h */
#define BRG_LINE_KEY_BYTES 32u
#define BRG_LINE_ADDRESS_BYTES_MAX 263u /* host:port */
#define BRG_LINE_EVERY_MAX 1024u        /* slices of a shadow */
#define BRG_LINE_DISTIL_MAX 10000u      /* steps of a distillation */
#define BRG_VERSION_ANY UINT64_MAX      /* a STATE's step: whatever version the holder has */

/* Indices of an ACT: a step's own microbatches, then the held-out ones of each candidate. */
#define BRG_LINE_ACTS_MAX (BRG_LINE_MICROBATCHES_MAX + BRG_LINE_CANDIDATES_MAX * BRG_LINE_EVAL_MAX)

static inline uint32_t brg_line_eval_index(uint32_t candidate, uint32_t e) {
    return BRG_LINE_MICROBATCHES_MAX + candidate * BRG_LINE_EVAL_MAX + e;
}

/* Parts of a STATE, in object.microbatch; what the bytes of a blob are says recovery/state.h.
 * `unit` is the stage, of a parity its group; `step` the version. */
enum brg_state_part {
    BRG_STATE_PART_WHOLE = 0,    /* weights and moments */
    BRG_STATE_PART_WEIGHTS = 1,  /* weights alone */
    BRG_STATE_PART_SNAPSHOT = 2, /* what a parity is made of: as WHOLE, of the parity's version */
    BRG_STATE_PART_SHADOW = 3,   /* the copy that is kept here, of its oldest slice's version */
    BRG_STATE_PART_PARITY = 4,   /* of the group, as long as its longest member */
    BRG_STATE_PART_PARITY_DELTA = 5,  /* the stage's old snapshot XOR its new one */
    BRG_STATE_PART_EDGES = 6,         /* embedding, or norm and head */
    BRG_STATE_PART_GRADIENT = 7,      /* `step` is a step: its reduced gradient, f32 [params] */
    BRG_STATE_PART_SLICE = 16,        /* + i: slice i of a shadow (recovery/shadow.h), f32 */
    BRG_STATE_PART_SLICE_INT8 = 1040, /* + i: the same as a difference, packed; 8 bytes before it:
                                       * version of the slice it is a difference to */
};
#define BRG_STATE_PARTS_MAX 2064u

/* The fields of brg_optimizer_spec. */
struct brg_msg_optimizer {
    uint32_t type;                      /* 1 SGD, 2 AdamW */
    uint32_t schedule;                  /* 1 constant, 2 cosine */
    uint64_t warmup_steps, total_steps; /* cosine: warmup below total */
    float lr, lr_min_ratio;             /* 0 .. 1000, 0 .. 1 */
    float beta1, beta2;                 /* [0, 1) */
    float eps;                          /* 0 .. 1, AdamW > 0 */
    float weight_decay;                 /* 0 .. 1000 */
    float momentum;                     /* [0, 1) */
    float clip;                         /* 0 .. 1e9 */
};

/* What makes a Run a pipeline. */
struct brg_msg_line {
    uint32_t stages;       /* 1 .. BRG_LINE_STAGES_MAX */
    uint32_t lanes;        /* 1 .. BRG_LINE_LANES_MAX */
    uint32_t microbatches; /* lanes .. BRG_LINE_MICROBATCHES_MAX */
    uint32_t wire;         /* activations travel as 0 f32, 1 bf16, 2 int8 */
    struct brg_msg_optimizer optimizer;
    uint32_t shadow_every;   /* 0 .. BRG_LINE_EVERY_MAX; 0: none is kept */
    uint32_t shadow_moments; /* 0 or 1 */
    uint32_t shadow_int8;    /* 0 or 1 */
    uint32_t parity_group;   /* stages of a group, 0 .. stages; 0: none */
    uint32_t exponent;       /* of the neighbours' norms, 0 .. 2 */
    uint32_t distil_steps;   /* 0 .. BRG_LINE_DISTIL_MAX */
    uint32_t eval_samples;   /* held-out samples of one look */
};

/* ---- worker -> coordinator ---- */

/* Once the data set is here, and after every Welcome with a run that is known. */
struct brg_msg_holding {
    uint64_t run;
    uint32_t has;   /* 0 or 1: it holds the state of a stage */
    uint32_t stage; /* 0 without one, as are the next four */
    uint64_t lineage, version;
    uint64_t pending_step; /* whose reduced gradient is in hand: version, or 1 more; 0: none */
    uint64_t pending_generation; /* in which that was made; 0: none */
    uint64_t memory_bytes;
    uint64_t microbatch_ns;                       /* measured; 0: not yet */
    char address[BRG_LINE_ADDRESS_BYTES_MAX + 1]; /* host:port where peers dial; empty: it cannot
                                                   * listen */
};

struct brg_msg_placed {
    uint64_t run, generation;
    struct brg_digest digest; /* of the weights */
};

struct brg_msg_ready {
    uint64_t run, generation, step;
    struct brg_digest digest; /* of the reduced gradient */
    double norm2;   /* squared norm of the summed gradient, not below 0; may be not finite */
    uint32_t lanes; /* of the last stage: whose losses follow, rising; else 0 */
    double loss_sums[BRG_LINE_LANES_MAX];
    uint64_t loss_counts[BRG_LINE_LANES_MAX];
    uint64_t compute_ns, wait_ns, sent_bytes, received_bytes;
    double wire_error; /* largest relative rounding of the step, >= 0 */
};

struct brg_msg_lost_peer {
    uint64_t run, generation;
    uint32_t peer; /* member that does not answer */
};

struct brg_msg_fetch_failed {
    uint64_t run, generation;
    uint32_t rung; /* 0 .. BRG_LINE_RUNG_MAX */
};

struct brg_msg_learned {
    uint64_t run, lineage, version;
    uint32_t stage;
};

struct brg_msg_kept {
    uint64_t run, lineage, version;
    uint64_t bytes; /* <= BRG_OBJECT_BYTES_MAX */
    uint32_t what;  /* 1 shadow, 2 parity */
    uint32_t stage; /* of a parity: its group */
};

struct brg_msg_evaluated {
    uint64_t run, generation, version, id;
    uint32_t candidate; /* < BRG_LINE_CANDIDATES_MAX */
    double loss_sum;    /* may be not finite */
    uint64_t count;
};

/* ---- coordinator -> worker ---- */

/* Another worker of the placement. */
struct brg_msg_peer {
    uint32_t member;
    uint8_t key[BRG_LINE_KEY_BYTES];
    char address[BRG_LINE_ADDRESS_BYTES_MAX + 1]; /* empty: relayed only */
};

/* Held-out microbatches that go down the line before the step's own. */
struct brg_msg_eval {
    uint64_t id;         /* 0: none, then all are 0 */
    uint32_t count;      /* 1 .. BRG_LINE_EVAL_MAX */
    uint32_t candidates; /* 1 .. BRG_LINE_CANDIDATES_MAX: each passes all of them down once. One
                          * that a stage cannot be, having no stage before it, passes as 0 */
    uint32_t stage;      /* whose candidates they are; with 1 candidate 0 */
};

struct brg_msg_place {
    uint64_t run, generation;            /* generation: 1 .. BRG_GENERATIONS_MAX */
    uint64_t version;                    /* of the weights that the next step begins with */
    uint64_t commit_generation, lineage; /* <= generation */
    double clip;             /* factor of step `version`, for who has still to make it; 0 .. 1 */
    uint32_t stage;          /* < BRG_LINE_STAGES_MAX */
    uint32_t lanes;          /* bits, not 0 */
    uint32_t rung;           /* how the state comes; 0: it is there */
    uint64_t source_version; /* of a shadow or parity that it comes from, <= version; else 0 */
    uint32_t source_count;
    uint32_t sources[BRG_LINE_SOURCES_MAX];       /* members */
    uint32_t source_stages[BRG_LINE_SOURCES_MAX]; /* whose state each gives; a parity: the group */
    double weights[BRG_LINE_SOURCES_MAX];         /* of a mix, finite, >= 0; else 0 */
    uint32_t lr_raise;                            /* 1: the learning rate's factor is raised */
    /* All holders, by stage and then seat; the receiver's own, too. No member and no lane of a
     * stage twice. */
    uint32_t seat_count;
    uint32_t seat_members[BRG_LINE_SEATS_MAX];
    uint32_t seat_stages[BRG_LINE_SEATS_MAX];
    uint32_t seat_lanes[BRG_LINE_SEATS_MAX];
    uint32_t peer_count;
    struct brg_msg_peer peers[BRG_LINE_PEERS_MAX]; /* no member, no key twice */
    uint32_t shadow_count;                         /* whose slices this member is to keep */
    uint32_t shadow_stages[BRG_LINE_SHADOWS_MAX];
    uint32_t shadow_members[BRG_LINE_SHADOWS_MAX];
    uint32_t parity; /* 1 + the group whose parity it keeps; 0: none */
    uint32_t parity_count;
    uint32_t parity_members[BRG_LINE_STAGES_MAX]; /* holders of the group's stages, in order */
};

struct brg_msg_start {
    uint64_t run, generation, step;
    struct brg_msg_eval eval;
};

/* It has no seat, makes the step `version` where it has the gradient of commit_generation, and
 * serves its state to the peers. */
struct brg_msg_unseat {
    uint64_t run, generation, version, commit_generation;
    double clip;
    uint32_t peer_count;
    struct brg_msg_peer peers[BRG_LINE_PEERS_MAX]; /* who may fetch from it; none twice */
};

/* Download a stage and follow its commits; the source is told, too, so that it lets the learner in.
 */
struct brg_msg_learn {
    uint64_t run, generation, lineage;
    uint32_t stage;
    uint32_t teach;             /* 0: to the learner; 1: to the source */
    struct brg_msg_peer source; /* teach 1: the learner */
};

/* From now on the coordinator carries what goes between the receiver and the peer. */
struct brg_msg_relay_to {
    uint64_t run;
    uint32_t peer;
};

/* What the stage of the last eval goes on as. */
struct brg_msg_choose {
    uint64_t run, generation;
    uint32_t candidate;
};

/* Freeze part WHOLE of version `step` and keep it until the next Save or Release: the coordinator
 * fetches it. */
struct brg_msg_save {
    uint64_t run, step, generation;
};

#endif
