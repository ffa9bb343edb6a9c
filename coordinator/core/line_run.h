/* line_run.h - a pipeline run as the queue of runs sees it: open or not, who was told of it, who
 * may leave. Its steps and holders are the business of pipeline.h, which the shell runs beside.
 *
 *   IDLE --OPENED--> OPEN --LINE_STOP carried out, LINE_DONE--> DONE --(coord.c closes it)--> IDLE
 *
 *   shell:  what pipeline.h says           machine
 *           a commit or rollback  --LINE------> committed
 *           PACT_SEND_MAY_GO      --MAY_GO----> SEND_DRAIN_ACK
 *           finished, or paused   --LINE_DONE-> the run's state, SEND_RELEASE, CLOSE
 *
 * Pure and flat; one thread. */
#ifndef BRG_COORDINATOR_CORE_LINE_RUN_H
#define BRG_COORDINATOR_CORE_LINE_RUN_H

#include "coordinator/core/members.h"
#include "coordinator/core/types.h"

enum brg_line_run_phase { BRG_LINE_RUN_IDLE = 0, BRG_LINE_RUN_OPEN = 1, BRG_LINE_RUN_DONE = 2 };

struct brg_line_run {
    uint64_t run;
    uint32_t phase;                        /* enum brg_line_run_phase */
    uint32_t target;                       /* the state to end in, once it was asked for or known */
    uint64_t may_go[BRG_MEMBERS_MAX / 64]; /* bits: those who were told that they may leave */
};

/* brg_line_run_open - SEND_RUN to all who are here. asserts: IDLE */
void brg_line_run_open(struct brg_line_run *l, const struct brg_members *members, uint64_t run,
                       struct brg_coord_actions *out);

/* brg_line_run_attached - the member has just said HELLO, of a new process or again. */
void brg_line_run_attached(struct brg_line_run *l, uint32_t member, struct brg_coord_actions *out);

/* brg_line_run_wish - the operator wants it to end in `target` (BRG_RUN_PAUSED or _STOPPED); a stop
 * is stronger than a pause. */
void brg_line_run_wish(struct brg_line_run *l, uint32_t target, struct brg_coord_actions *out);

/* brg_line_run_done - it has ended: code 0 with its last step, else because it was asked to. */
void brg_line_run_done(struct brg_line_run *l, int32_t code, struct brg_coord_actions *out);

/* brg_line_run_fail - it cannot go on. */
void brg_line_run_fail(struct brg_line_run *l, struct brg_coord_actions *out);

/* brg_line_run_let_go - DRAIN_ACK to the draining members that may leave, and no others. */
void brg_line_run_let_go(const struct brg_line_run *l, struct brg_members *members,
                         struct brg_coord_actions *out);

/* brg_line_run_may_go - nothing of the member is needed, until it attaches anew. */
void brg_line_run_may_go(struct brg_line_run *l, uint32_t member);

/* brg_line_run_close - IDLE again. */
void brg_line_run_close(struct brg_line_run *l);

#endif
