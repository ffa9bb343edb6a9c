/* holder_private.h - what stage.c (words of the coordinator) and stage_work.c (microbatches) share.
 */
#ifndef BRG_WORKER_CORE_HOLDER_PRIVATE_H
#define BRG_WORKER_CORE_HOLDER_PRIVATE_H

#include "worker/core/holder.h"

void brg_holder_act(struct brg_holder_actions *out, struct brg_holder_action action);

/* brg_holder_work - asks for what is needed next, and computes what can be computed. */
void brg_holder_work(struct brg_holder *s, struct brg_holder_actions *out);

/* brg_holder_computed - FORWARD or BACKWARD (object GRAD) of a microbatch is done. */
void brg_holder_computed(struct brg_holder *s, uint32_t microbatch, uint32_t object);
void brg_holder_arrived(struct brg_holder *s, const struct brg_holder_event *ev,
                        struct brg_holder_actions *out);

/* brg_holder_ask_again - everything that was asked for and has not come; and a complaint, if
 * nothing came for long. */
void brg_holder_ask_again(struct brg_holder *s, struct brg_holder_actions *out);

/* brg_holder_in_flight - microbatches that went forward and not yet back. */
uint32_t brg_holder_in_flight(const struct brg_holder *s);

#endif
