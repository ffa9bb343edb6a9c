/* checkpoint_plan.h - when a checkpoint is written, which ones go, and which one a start takes.
 *
 * Pure: numbers in, numbers out; no I/O, no clock, no allocation. Thread-safe.
 *
 *   checkpoints   40      50        100      150             committed 163
 *                  .       |         |        |                  |
 *   log            .       |         | 101 ........ 150 151 .. 163
 *   keep 2, log_reach 2:   goes      stays    stays; the log may go up to 100
 *
 * A start takes the newest valid checkpoint that the log reaches back to, and replays from there.
 * The log reaches back over `log_reach` checkpoints, so that with 2 one damaged checkpoint costs
 * time and no step. */
#ifndef BRG_CHECKPOINT_PLAN_H
#define BRG_CHECKPOINT_PLAN_H

#include "base/base.h"

#define BRG_CHECKPOINT_LIST_MAX 1024u
#define BRG_CHECKPOINT_KEEP_MAX 512u

enum brg_checkpoint_state {
    BRG_CHECKPOINT_VALID = 1,      /* as far as looked into; loading verifies every byte */
    BRG_CHECKPOINT_UNFINISHED = 2, /* no manifest: it was cut off while it was written */
    BRG_CHECKPOINT_DAMAGED = 3,
};

struct brg_checkpoint_item {
    uint64_t step;  /* from 1 */
    uint32_t state; /* enum brg_checkpoint_state */
};

struct brg_checkpoint_policy {
    uint64_t every;     /* steps between checkpoints, > 0 */
    uint32_t keep;      /* valid checkpoints to keep, 1 .. BRG_CHECKPOINT_KEEP_MAX */
    uint32_t log_reach; /* how many of them the log reaches back over, 1 .. keep */
};

/* Where a run stands. */
struct brg_checkpoint_standing {
    uint64_t committed; /* last committed step, 0: none */
    uint64_t log_first; /* first step that the log holds, or would hold next; 0: no log is kept */
    uint64_t writing;   /* step of the checkpoint that is being written now, 0: none */
};

struct brg_checkpoint_choice {
    uint64_t step;  /* to start from; 0: from the seed */
    uint32_t index; /* of the item, where step > 0 */
};

/* brg_checkpoint_policy_check - errors: BRG_EINVAL a number is out of its range */
BRG_CHECK int brg_checkpoint_policy_check(const struct brg_checkpoint_policy *policy);

/* brg_checkpoint_due - 1 where a checkpoint of the state after `step` is to be written.
 *
 * saved: step of the newest checkpoint written or being written, 0: none
 * last:  1 where the run ends or pauses with this step
 * A checkpoint that was missed, since the one before was still being written, is due at once. */
int brg_checkpoint_due(const struct brg_checkpoint_policy *policy, uint64_t step, uint64_t saved,
                       int last);

/* brg_checkpoint_plan_tidy - what may be deleted now.
 *
 * shape:   items [count] in any order; out: delete_it [count] 0/1, *log_drop_through the step up to
 *          which the log is not needed any more (0: keep all of it)
 * Never deleted: the newest valid one, the `keep` newest valid ones, the one that the log as it is
 * now starts from, the one being written. Unfinished and damaged ones go once a newer valid
 * one is there. Where a valid one is newer than the last committed step the store has lost steps:
 * nothing is deleted.
 * asserts: a checked policy; count <= BRG_CHECKPOINT_LIST_MAX */
void brg_checkpoint_plan_tidy(const struct brg_checkpoint_policy *policy,
                              const struct brg_checkpoint_standing *standing,
                              const struct brg_checkpoint_item *items, uint32_t count,
                              uint8_t *delete_it, uint64_t *log_drop_through);

/* brg_checkpoint_plan_load - which checkpoint a start takes.
 *
 * Where loading the choice finds it damaged, mark it so in `items` and ask again.
 * shape:  items [count] in any order
 * errors: BRG_EBEHIND  a valid checkpoint is newer than the last committed step: the store has lost
 *                      steps; choice->step tells the checkpoint's
 *         BRG_ECORRUPT no valid checkpoint that the log reaches back to, nor the whole log from
 *                      step 1: steps would be lost
 * Without a log (log_first 0) steps after the checkpoint are given up by intent: never ECORRUPT. */
BRG_CHECK int brg_checkpoint_plan_load(const struct brg_checkpoint_standing *standing,
                                       const struct brg_checkpoint_item *items, uint32_t count,
                                       struct brg_checkpoint_choice *choice);

#endif
