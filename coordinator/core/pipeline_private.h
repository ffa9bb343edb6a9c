/* pipeline_private.h - what the files of the pipeline's machine share. One thread. */
#ifndef BRG_COORDINATOR_CORE_PIPELINE_PRIVATE_H
#define BRG_COORDINATOR_CORE_PIPELINE_PRIVATE_H

#include "coordinator/core/pipeline.h"

void brg_pipe_act(struct brg_pipe_actions *out, struct brg_pipe_action action);

/* brg_pipe_note - note, and about whom; step is the staleness or what the note says. */
void brg_pipe_note(struct brg_pipe_actions *out, struct brg_pipe_action action);

/* brg_pipe_is_exact - 1 where the member is here and holds `stage` as it is after the last commit,
 * or can bring it there with the gradient it has in hand. */
int brg_pipe_is_exact(const struct brg_pipeline *p, uint32_t member, uint32_t stage);

/* brg_pipe_mark - the member gets no seat for a while. */
void brg_pipe_mark(struct brg_pipeline *p, uint32_t member);

/* brg_pipe_unseat - takes the member's seat; SEND_UNSEAT if it is here. */
void brg_pipe_unseat(struct brg_pipeline *p, uint32_t member, struct brg_pipe_actions *out);
void brg_pipe_seat(struct brg_pipeline *p, uint32_t member, uint32_t stage);

/* brg_pipe_may_sit - 1 where a spare could take a seat in the stage. */
int brg_pipe_may_sit(const struct brg_pipeline *p, uint32_t member, uint32_t stage);

/* brg_pipe_best - the spare that is best for the stage, BRG_NOBODY for none. */
uint32_t brg_pipe_best(const struct brg_pipeline *p, uint32_t stage);

/* brg_pipe_seats - fills seats. return: BRG_PIPE_STAGES_MAX, or a stage with nobody for it */
uint32_t brg_pipe_seats(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_place - seats, sources and a new generation, or WAITING. */
void brg_pipe_place(struct brg_pipeline *p, struct brg_pipe_actions *out);
void brg_pipe_send_place(const struct brg_pipeline *p, uint32_t member,
                         struct brg_pipe_actions *out);

/* brg_pipe_files_serve - 1 where the files of the last commit may be loaded instead of anything
 * else: as exact as a replica, and nobody goes back. */
int brg_pipe_files_serve(const struct brg_pipeline *p);

/* brg_pipe_sources - how every holder gets its state, for generation + 1.
 * return: BRG_PIPE_STAGES_MAX, or a stage that no rung cures; nothing durable changed then */
uint32_t brg_pipe_sources(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_started - all have PLACED. */
void brg_pipe_start(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_save - SAVING, or FINISHED where the files are there. */
void brg_pipe_save(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_say_checkpoint - CHECKPOINT of the last commit. */
void brg_pipe_say_checkpoint(const struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_finish - FINISHED: with the last step, or paused. */
void brg_pipe_finish(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_commit_if_ready - the step is made where everybody is READY. */
void brg_pipe_commit_if_ready(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_same_digests - 1, or 0 and the newer holder of a pair that differs has lost its state */
int brg_pipe_same_digests(struct brg_pipeline *p, struct brg_pipe_actions *out);

/* brg_pipe_handover - picks a learner, if somebody should learn a stage. */
void brg_pipe_handover(struct brg_pipeline *p, struct brg_pipe_actions *out);
void brg_pipe_learned(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                      struct brg_pipe_actions *out);

/* brg_pipe_relay - 1 where the pair is newly relayed, 0 where it was or may not be. */
int brg_pipe_relay(struct brg_pipeline *p, uint32_t member, uint32_t peer,
                   struct brg_pipe_actions *out);
#endif
