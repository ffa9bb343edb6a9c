/* stage_private.h - what stage.c (words of the coordinator) and stage_work.c (microbatches) share.
 */
#ifndef BRG_WORKER_CORE_STAGE_PRIVATE_H
#define BRG_WORKER_CORE_STAGE_PRIVATE_H

#include "worker/core/stage.h"

void brg_stage_act(struct brg_stage_actions *out, struct brg_stage_action action);

/* brg_stage_work - asks for what is needed next, and computes what can be computed. */
void brg_stage_work(struct brg_stage *s, struct brg_stage_actions *out);

/* brg_stage_computed - FORWARD or BACKWARD (object GRAD) of a microbatch is done. */
void brg_stage_computed(struct brg_stage *s, uint32_t microbatch, uint32_t object);
void brg_stage_arrived(struct brg_stage *s, const struct brg_stage_event *ev,
                       struct brg_stage_actions *out);

/* brg_stage_ask_again - everything that was asked for and has not come; and a complaint, if nothing
 * came for long. */
void brg_stage_ask_again(struct brg_stage *s, struct brg_stage_actions *out);

/* brg_stage_in_flight - microbatches that went forward and not yet back. */
uint32_t brg_stage_in_flight(const struct brg_stage *s);

#endif
