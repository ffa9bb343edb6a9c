/* line.h - the reactor's half of a pipeline run: the machine of coordinator/core/pipeline.h, fed
 * with what members say, and its actions carried out in the reactor's turns.
 *
 *   line.c          the machine's turn: events in, records into the turn's batch, the rest after it
 *   line_receive.c  messages of members -> events         line_send.c  actions -> messages
 *   line_keep.c     the record in the store, commits, rollbacks
 *   line_save.c     checkpoints: states fetched from holders -> files; files -> states for members
 *   line_work.c     the heavy half of that, on the compute thread
 *   line_show.c     status and events
 *
 * Everything but line_work.c belongs to the reactor thread. */
#ifndef BRG_COORDINATOR_SHELL_LINE_H
#define BRG_COORDINATOR_SHELL_LINE_H

#include "coordinator/core/pipeline.h"
#include "coordinator/shell/shards.h"
#include "proto/bulk.h"

struct brg_service;
struct brg_inbound;
struct brg_line;
struct brg_coord_event;
struct cJSON;

#define BRG_EVENT_RECOVERED 65u /* events of ours beside enum brg_note */
#define BRG_EVENT_LINE 66u      /* anything else about the line */

/* ---- work on the compute thread ---- */

enum brg_line_work_type {
    BRG_LINE_WORK_PUT = 1, /* one stage's state into its file; the first one begins */
    BRG_LINE_WORK_FINISH,  /* the manifest; then old checkpoints go */
    BRG_LINE_WORK_LOAD,    /* the state of a stage out of the files, as a source */
    BRG_LINE_WORK_DROP,    /* checkpoints of later steps, whose history was rolled back */
    BRG_LINE_WORK_ABORT,   /* lets go of a writer */
};

struct brg_line_work {
    uint32_t type; /* enum brg_line_work_type */
    uint32_t stage, stages, keep, moments;
    uint64_t run, step, lineage, committed, size_bytes;
    const char *folder; /* borrowed from the open run */
    struct brg_model_spec model;
    struct brg_shards_about about;
    struct brg_shards_writer *writer; /* there and back */
    struct brg_buffer *blob;          /* one hold */
    struct brg_pool *pool;
    struct brg_source source; /* LOAD: out */
    int is_there;             /* PUT: out: a whole one of this generation was there before */
};

/* brg_line_work_run - carries it out. errors: of shards.h, with the sentence */
BRG_CHECK int brg_line_work_run(struct brg_line_work *w, struct brg_why *why);
void brg_line_work_free(struct brg_line_work *w); /* NULL allowed */

/* ---- the reactor ---- */

/* brg_line_recorded - the step of the newest checkpoint on record of a run; 0: none. */
uint64_t brg_line_recorded(struct brg_service *s, uint64_t run);

/* brg_line_open - for the run that was just opened, if it is a pipeline; s->line is NULL else.
 * s->run->applied is then the step it goes on from, which is before the committed one where what is
 * on record is of no use any more: another number of stages, or an end that is in no file.
 * errors: BRG_ECORRUPT the record cannot be read */
BRG_CHECK int brg_line_open(struct brg_service *s, struct brg_why *why);
void brg_line_go(struct brg_service *s); /* once the coordinator's machine has it open */
void brg_line_close(struct brg_service *s);

/* brg_line_control - what a member said on its control connection. errors: BRG_EPROTO */
BRG_CHECK int brg_line_control(struct brg_service *s, uint32_t member);

/* brg_line_bulk - a Get, Part or Gone that concerns a pipeline; 0 in *is_mine: none of ours.
 * errors: BRG_EPROTO */
BRG_CHECK int brg_line_bulk(struct brg_service *s, const struct brg_inbound *in, uint32_t member,
                            int *is_mine);

void brg_line_stop(struct brg_service *s);    /* after the step in flight, all in files */
void brg_line_watch(struct brg_service *s);   /* before the turn's write: who left, timers */
void brg_line_perform(struct brg_service *s); /* after it */
uint64_t brg_line_wake_ns(const struct brg_service *s);
void brg_line_answer(struct brg_service *s, int rc, struct brg_line_work *w,
                     const struct brg_why *why);
void brg_line_reconnected(struct brg_service *s, uint32_t member);
const char *brg_line_phase(const struct brg_service *s);  /* in words. asserts: s->line */
struct cJSON *brg_line_show(const struct brg_service *s); /* null: no pipeline is open */

#endif
