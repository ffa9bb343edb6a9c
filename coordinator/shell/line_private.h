/* line_private.h - what the files of the line share; nobody else includes it. */
#ifndef BRG_COORDINATOR_SHELL_LINE_PRIVATE_H
#define BRG_COORDINATOR_SHELL_LINE_PRIVATE_H

#include "coordinator/shell/line.h"
#include "coordinator/shell/relay.h"
#include "coordinator/shell/service_private.h"

#define BRG_LINE_DEFERRED_MAX 32768u
#define BRG_LINE_PROBE (UINT64_C(1) << 63) /* in an eval's id: a look after a recovery */

/* What a member said of its stage and step, and where others reach it. */
struct brg_line_member {
    uint64_t session; /* of the process that joined the line; 0: it has not */
    uint64_t ready_step, ready_generation;
    struct brg_digest digest;
    double norm2;
    uint32_t lanes; /* of the losses */
    double loss_sums[BRG_LINE_LANES_MAX];
    uint64_t loss_counts[BRG_LINE_LANES_MAX];
    uint64_t compute_ns, wait_ns, sent_bytes, received_bytes;
    double wire_error;
    char address[BRG_LINE_ADDRESS_BYTES_MAX + 1];
    int is_draining;
};

/* A checkpoint on its way here. */
struct brg_line_save {
    uint64_t step, generation; /* step 0: none */
    uint32_t stage;            /* whose state is fetched or written now */
    uint32_t holders[BRG_PIPE_STAGES_MAX];
    int is_writing; /* a job of it is under way */
    struct brg_fetch fetch;
    struct brg_shards_writer *writer; /* NULL while a job has it */
    uint64_t began_ns, told_ns;       /* when Save was said last */
};

/* A stage's state out of the files, for who comes back by them. */
struct brg_line_file {
    struct brg_source source;
    uint64_t step, lineage; /* of the source, or of what is being loaded */
    int is_loading;
};

struct brg_line {
    struct brg_pipeline machine;
    struct brg_pipe_event open; /* as restored */
    struct brg_pipe_actions actions;
    struct brg_pipe_action *deferred; /* [BRG_LINE_DEFERRED_MAX] */
    uint32_t deferred_count;
    struct brg_relay *relay;
    struct brg_stage cut[BRG_PIPE_STAGES_MAX];
    struct brg_line_member members[BRG_MEMBERS_MAX];
    struct brg_line_save save;
    struct brg_line_file files[BRG_PIPE_STAGES_MAX];
    uint64_t timer_ns;
    uint64_t step_began_ns, step_ns; /* of the step under way; of the last one */
    uint64_t began_ns;
    uint64_t losses;   /* stages that nothing but files cured, for Young's formula */
    uint64_t save_ns;  /* what the last checkpoint took */
    double clip, norm; /* of the committed step */
    double norm2[BRG_PIPE_STAGES_MAX];
    uint32_t rung_last[BRG_PIPE_STAGES_MAX];
    uint64_t recoveries[BRG_LADDER_RUNGS_MAX + 1]; /* stages that came back, by enum brg_rung */
    uint64_t probe_generation;         /* whose START asks for a look at held-out samples */
    uint64_t eval_step;                /* that was asked for last; 0: none */
    uint32_t moments;                  /* vectors a parameter */
    int is_begun, is_failed, is_dirty; /* is_dirty: the record is to be written this turn */
};

/* line.c */
int brg_line_feed(struct brg_service *s, struct brg_pipe_event *ev);
void brg_line_fail(struct brg_service *s, const char *format, ...) BRG_PRINTF(2, 3);
void brg_line_ended(struct brg_service *s, int is_finished); /* else paused */

/* line_keep.c */
BRG_CHECK int brg_line_restore(struct brg_service *s, struct brg_why *why);
void brg_line_keep(struct brg_service *s, const struct brg_pipe_action *a);
void brg_line_keep_record(struct brg_service *s);

/* line_send.c */
void brg_line_send(struct brg_service *s, const struct brg_pipe_action *a);

/* line_save.c */
void brg_line_save_begin(struct brg_service *s, uint64_t step, uint64_t generation);
void brg_line_save_drop(struct brg_service *s);
void brg_line_save_lost(struct brg_service *s, uint32_t member); /* it is gone */
void brg_line_save_pump(struct brg_service *s);
BRG_CHECK int brg_line_save_part(struct brg_service *s, const struct brg_inbound *in,
                                 uint32_t member);
void brg_line_give(struct brg_service *s, struct brg_line_work *w);
struct brg_line_work *brg_line_work_new(struct brg_service *s, uint32_t type, uint64_t step);
struct brg_source *brg_line_file_source(struct brg_service *s, const struct brg_object *object);

/* line_show.c */
int brg_line_is_inexact(uint32_t rung); /* 1: the stage is not what it was */
void brg_line_note(struct brg_service *s, const struct brg_pipe_action *a);

#endif
