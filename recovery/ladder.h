/* ladder.h - which way a lost stage comes back: the first rung, in the configured order, that what
 * is alive allows; and why each rung before it was passed over.
 *
 *   replica      copy from a sibling of the same stage             exact, no step lost
 *   shadow       the stage's own stale copy (shadow.h)             nobody rolls back
 *   parity       out of the XOR of its group (parity.h)            nobody rolls back
 *   neighbours   mix or copy of other stages (neighbours.h)        nobody rolls back
 *   checkpoint   the whole run goes back to a checkpoint           steps are lost
 *   random       a fresh start of the stage                        for comparison only
 *
 * All lost stages of one event are decided together, since they are each other's donors: what is on
 * a worker that is gone cannot be used, and where one stage takes the checkpoint, all do.
 *
 * Pure and flat: numbers in, numbers out; the same view gives the same choice. */
#ifndef BRG_LADDER_H
#define BRG_LADDER_H

#include "base/base.h"

#define BRG_LADDER_STAGES_MAX 64u
#define BRG_LADDER_RUNGS_MAX 6u

/* Numbers are stored. */
enum brg_rung {
    BRG_RUNG_REPLICA = 1,
    BRG_RUNG_SHADOW = 2,
    BRG_RUNG_PARITY = 3,
    BRG_RUNG_NEIGHBOURS = 4,
    BRG_RUNG_CHECKPOINT = 5,
    BRG_RUNG_RANDOM = 6,
};

/* Why a rung was passed over; numbers are stored. */
enum brg_ladder_reason {
    BRG_LADDER_TAKEN = 0,
    BRG_LADDER_NO_SIBLING = 1,
    BRG_LADDER_NO_SHADOW = 2,         /* none is kept */
    BRG_LADDER_SHADOW_LOST = 3,       /* its holder is gone, too */
    BRG_LADDER_SHADOW_INCOMPLETE = 4, /* not every slice has arrived yet */
    BRG_LADDER_SHADOW_STALE = 5,      /* older than allowed */
    BRG_LADDER_NO_PARITY = 6,
    BRG_LADDER_PARITY_LOST = 7, /* its holder is gone, too */
    BRG_LADDER_PARITY_TWO = 8,  /* another member of the group is gone, too */
    BRG_LADDER_PARITY_STALE = 9,
    BRG_LADDER_NO_NEIGHBOUR = 10,
    BRG_LADDER_NEIGHBOUR_UNEVEN = 11, /* embedding or head lost, and no copy of them kept */
    BRG_LADDER_NO_CHECKPOINT = 12,
    BRG_LADDER_ALL_ROLL_BACK = 13, /* another stage of the event needs the checkpoint */
};

struct brg_ladder_config {
    uint32_t count;
    uint32_t rungs[BRG_LADDER_RUNGS_MAX]; /* enum brg_rung, in the order they are tried */
    uint64_t stale_max;                   /* steps a shadow or parity may be behind; 0: any */
};

/* The default: replica, shadow, parity, neighbours, checkpoint; any staleness. */
struct brg_ladder_config brg_ladder_default(void);

/* One stage, as things stand after the loss. Versions: 0 is none. */
struct brg_ladder_stage {
    uint32_t lost;           /* 1: it has to be recovered */
    uint32_t siblings;       /* live holders of this stage at the version of the run */
    uint32_t shadow_kept;    /* 1: a shadow of it is kept somewhere */
    uint32_t shadow_alive;   /* 1: its holder is alive */
    uint64_t shadow_version; /* oldest slice; 0: incomplete */
    uint32_t parity_kept;    /* 1: it is a member of group parity_group */
    uint32_t parity_alive;   /* 1: the parity's holder is alive */
    uint32_t parity_group;
    uint64_t parity_version;
    uint32_t edges;        /* 1: it holds embedding or head */
    uint32_t edges_copied; /* 1: a live worker keeps an exact copy of these */
};

struct brg_ladder_view {
    uint32_t stages;
    uint64_t version;      /* of the run: the last committed step */
    uint32_t checkpointed; /* 1: a valid checkpoint, or the seed, can be gone back to */
    uint64_t checkpoint;   /* its step; 0: the seed */
    struct brg_ladder_stage stage[BRG_LADDER_STAGES_MAX];
};

struct brg_ladder_tried {
    uint32_t rung, reason;
};

struct brg_ladder_choice {
    uint32_t rung;      /* enum brg_rung */
    uint64_t staleness; /* steps that the state is behind; 0 for replica, neighbours, random */
    uint32_t tried_count;
    struct brg_ladder_tried tried[BRG_LADDER_RUNGS_MAX + 1]; /* the last one is the one taken */
};

/* brg_ladder_check - errors: BRG_EINVAL no rung, an unknown one, or one named twice */
BRG_CHECK int brg_ladder_check(const struct brg_ladder_config *config);

/* brg_ladder_choose - a rung for every lost stage.
 *
 * shape:   choices [view->stages]; those of stages that are not lost have rung 0
 * errors:  BRG_ENOENT no rung cures stage *stuck: its choice holds the reasons; all other choices
 *          are filled as well
 * asserts: a checked config, stages <= BRG_LADDER_STAGES_MAX
 * cost:    O(stages^2) */
BRG_CHECK int brg_ladder_choose(const struct brg_ladder_config *config,
                                const struct brg_ladder_view *view,
                                struct brg_ladder_choice *choices, uint32_t *stuck);

/* "shadow"; "unknown" for anything else. */
const char *brg_rung_name(uint32_t rung);

/* brg_rung_parse - the rung of a name; 0: there is none of that name. */
uint32_t brg_rung_parse(const char *name);

/* Words for logs: "its holder is lost, too". */
const char *brg_ladder_reason_text(uint32_t reason);

#endif
