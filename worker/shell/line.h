/* line.h - a worker's seat in a pipeline: the holder's machine on the reactor, with what it takes
 * to carry its actions out.
 *
 *   coordinator ── Place, Start, StepCommit, ... ──► worker/core/holder.h ──► engine (a thread)
 *        ▲                                             │        ▲                │
 *        └── Placed, Ready, Kept, ... ◄────────────────┘        └── peers ◄──────┘ matrices, sums,
 *                                                               (peer.h)           states, slices
 *
 *   line.c        messages of the coordinator, actions of the machine
 *   line_step.c   microbatches: what is fetched, computed and offered
 *   line_state.c  states: fetched by each rung, frozen, offered, saved
 *   line_keep.c   shadows and edges of others that are kept here, and one's own as they leave
 *
 * Everything belongs to the reactor thread; floats are the engine's. */
#ifndef BRG_WORKER_SHELL_LINE_H
#define BRG_WORKER_SHELL_LINE_H

#include "proto/bulk.h"
#include "proto/transport.h"
#include "recovery/ladder.h"
#include "worker/core/holder.h"
#include "worker/shell/peer.h"
#include "worker/shell/stage_engine.h"

#define BRG_SEAT_KEPT_MAX 8u    /* shadows of others */
#define BRG_SEAT_SLICES_MAX 16u /* versions of one's own slices and edges that are offered */
#define BRG_SEAT_CLIPS_MAX 64u  /* steps whose factor a learner may still need */
#define BRG_SEAT_WANTED_MAX 64u /* Gets of the coordinator that wait for a frozen state */
#define BRG_SEAT_GRADIENTS_MAX 64u
#define BRG_SEAT_SOCKETS_MAX (BRG_PEERS_MAX + 2u)

struct brg_shell;

/* A shadow, or edges, of another stage that is to be kept here. */
struct brg_seat_kept {
    uint32_t is_used, is_old; /* old: the last placement did not name it */
    uint32_t stage, from;
    uint64_t first;  /* version of the first slice of an unbroken row */
    uint64_t next;   /* version that is fetched */
    uint64_t oldest; /* of the whole copy; 0: not whole */
    struct brg_object object;
    uint64_t again_ns;           /* not before */
    uint32_t is_fetching, plain; /* plain: the packed slice did not fit */
};

/* What is on its way to become the stage's state. */
struct brg_seat_want {
    uint32_t is_used, is_loading;
    uint32_t rung, stage, source; /* source: which one is tried */
    uint64_t generation, version, lineage;
    uint32_t count;                                     /* blobs that are needed, of donors */
    struct brg_buffer *blobs[1 + BRG_STAGE_DONORS_MAX]; /* edges, then one or the donors' */
    uint32_t needs_edges;
};

struct brg_line_seat {
    struct brg_peers *peers;
    struct brg_engine *engine;
    char address[BRG_LINE_ADDRESS_BYTES_MAX + 1]; /* where peers dial; empty: cannot listen */

    /* the run */
    uint64_t run; /* 0: no pipeline */
    uint32_t has_data;
    struct brg_msg_line line;
    struct brg_run_setup setup;
    uint64_t steps;
    struct brg_holder core;
    uint64_t arm_ns;

    /* the placement */
    struct brg_msg_place place; /* run 0: none */
    struct brg_peer_place links;
    struct brg_stage cut;  /* of the stage that the engine has */
    uint32_t engine_stage; /* BRG_HOLDER_NONE: none */
    double clip;           /* of the step that is to be made */
    uint32_t changing;     /* commands that change the state, unanswered */
    uint32_t owes_placed;  /* PLACED as soon as there are none */
    struct brg_digest weights;

    /* the step */
    struct brg_buffer *acts[BRG_LINE_MICROBATCHES_MAX], *grads[BRG_LINE_MICROBATCHES_MAX];
    struct brg_stage_step sums;
    struct brg_buffer *gradient; /* reduced, of the step below; NULL: none yet */
    uint64_t gradient_step;
    uint32_t backwards; /* microbatches that came back */
    uint64_t began_ns, microbatch_ns;
    struct brg_peers_stats stats; /* when the step began */

    /* states */
    struct brg_seat_want want;
    struct brg_fetch files;  /* from the coordinator */
    uint64_t files_again_ns; /* asked for again where nothing has come yet */
    struct brg_source saved;
    uint64_t save_step, save_generation; /* 0: none is wanted */
    uint32_t wanted_count;
    struct brg_msg_get wanted[BRG_SEAT_WANTED_MAX];
    struct brg_msg_learn learn; /* run 0: it learns nothing */
    uint32_t teaches;
    double clips[BRG_SEAT_CLIPS_MAX];             /* by step */
    struct brg_buffer *tails[BRG_SEAT_CLIPS_MAX]; /* gradients that came before their turn */
    uint64_t tail_steps[BRG_SEAT_CLIPS_MAX];
    struct brg_object shown[2]; /* the whole state and the weights, as offered; kind 0: none */
    uint64_t shown_version, shown_lineage;
    uint64_t moved_bytes; /* received when the machine was told last */

    /* shadows */
    struct brg_seat_kept kept[BRG_SEAT_KEPT_MAX];
    struct brg_seat_kept edges[2]; /* of the first stage and the last, where they lie beside */
    uint32_t offered_count;        /* own slices, edges and gradients, the oldest first */
    struct brg_object offered[4 * BRG_SEAT_SLICES_MAX];
};

/* brg_seat_open, _close - links and the engine. listen NULL: this worker cannot listen.
 * errors: as brg_peers_create, brg_engine_create */
BRG_CHECK int brg_seat_open(struct brg_shell *s, struct brg_why *why);
void brg_seat_close(struct brg_shell *s);

/* brg_seat_take_run - a Run is in s->in; one without a line ends what was. */
void brg_seat_take_run(struct brg_shell *s, const struct brg_msg_run *run);

/* brg_seat_on_data - the data set of the run is here: says HOLDING. Also after a new Welcome. */
void brg_seat_on_data(struct brg_shell *s);

/* brg_seat_on_message - a message of the control connection. return: 1 it was one of a pipeline */
int brg_seat_on_message(struct brg_shell *s);

/* brg_seat_on_bulk - a Get, Part or Gone of the bulk connection. return: 1 it was one of ours */
int brg_seat_on_bulk(struct brg_shell *s, struct brg_bytes bytes);

/* brg_seat_release - the run ended. */
void brg_seat_release(struct brg_shell *s, uint64_t run);

/* brg_seat_turn - answers of the engine, what came over the links, timers, Gets. */
void brg_seat_turn(struct brg_shell *s);

uint64_t brg_seat_wake_ns(const struct brg_shell *s);
uint32_t brg_seat_sockets(struct brg_shell *s, struct brg_wait *items, uint32_t max);

/* ---- shared by the files of the seat ---- */

/* A step of the machine, its actions carried out. */
void brg_seat_feed(struct brg_shell *s, struct brg_holder_event event);

/* s->out begun, and sent over control. */
struct brg_msg *brg_seat_begin(struct brg_shell *s, uint32_t type);
void brg_seat_send(struct brg_shell *s);

/* Who holds `lane` of `stage` in the placement, or BRG_HOLDER_NONE. */
uint32_t brg_seat_holder(const struct brg_line_seat *seat, uint32_t stage, uint32_t lane);

/* Offers a buffer, whose hold moves. */
void brg_seat_offer(struct brg_shell *s, const struct brg_object *object, struct brg_buffer *bytes);

/* Fetches `bytes` of `object`; nothing happens where it is on its way. return: 0 or an error */
BRG_CHECK int brg_seat_fetch(struct brg_shell *s, uint32_t member, const struct brg_object *object,
                             uint64_t bytes);

/* line_step.c */
void brg_seat_begin_step(struct brg_shell *s, const struct brg_holder_action *a);
void brg_seat_get(struct brg_shell *s, const struct brg_holder_action *a);
void brg_seat_compute(struct brg_shell *s, const struct brg_holder_action *a);
void brg_seat_apply(struct brg_shell *s, uint64_t step);
void brg_seat_drop_matrices(struct brg_line_seat *seat);
void brg_seat_step_arrived(struct brg_shell *s, struct brg_peer_result *r);
void brg_seat_step_answer(struct brg_shell *s, struct brg_engine_answer *a);
void brg_seat_send_ready(struct brg_shell *s);
void brg_seat_show_gradient(struct brg_shell *s);

/* line_state.c */
void brg_seat_want(struct brg_shell *s, const struct brg_holder_action *a);
void brg_seat_want_drop(struct brg_line_seat *seat);
void brg_seat_state_arrived(struct brg_shell *s, struct brg_peer_result *r);
void brg_seat_state_answer(struct brg_shell *s, struct brg_engine_answer *a);
void brg_seat_show_state(struct brg_shell *s); /* freezes and offers what is held */
void brg_seat_save(struct brg_shell *s);       /* freezes for the coordinator, if that is due */
void brg_seat_teach(struct brg_shell *s);
void brg_seat_tail(struct brg_shell *s, uint64_t step);
int brg_seat_files_part(struct brg_shell *s, struct brg_bytes bytes); /* 1 */
int brg_seat_files_gone(struct brg_shell *s);
void brg_seat_serve(struct brg_shell *s);
void brg_seat_files_gets(struct brg_shell *s);

/* line_keep.c */
void brg_seat_keep_placed(struct brg_shell *s); /* after a Place: what is to be kept */
void brg_seat_keep_next(struct brg_shell *s);   /* fetches what is due */
void brg_seat_keep_leave(struct brg_shell *s);  /* one's own slice and edges, after a step */
void brg_seat_keep_arrived(struct brg_shell *s, struct brg_peer_result *r);
void brg_seat_keep_answer(struct brg_shell *s, struct brg_engine_answer *a);
void brg_seat_keep_end(struct brg_line_seat *seat);

/* What a command is for: its tag. */
enum brg_seat_tag {
    BRG_SEAT_FOR_NOTHING = 0,
    BRG_SEAT_FOR_WHOLE = 1,   /* FREEZE: offered at its version */
    BRG_SEAT_FOR_WEIGHTS = 2, /* likewise */
    BRG_SEAT_FOR_SAVE = 3,
    BRG_SEAT_FOR_LEARNER = 4,
    BRG_SEAT_FOR_EDGES = 5,
};

#endif
