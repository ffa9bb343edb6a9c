/* service_private.h - the coordinator's one big struct, shared by the files of the reactor.
 *
 *   turn.c      one turn: receive, step, write, perform, wait      the fixed order, in one place
 *   inbox.c     messages -> events                                 outbox.c  actions -> messages
 *   answers.c   answers of the compute thread -> events            keep.c    records <-> machine
 *   shares.c    shares on their way here                           tuning.c  `code: auto`
 *   operator.c  verbs of the operator                              status.c  what they show
 *   snapshot.c  parameters of a run under way, for exports
 *   line*.c     pipeline runs (line.h)
 *   http_reactor.c  the page, metrics and API: this side of them
 *
 * Everything here belongs to the reactor thread. Arrays of members, tokens and runs are parallel to
 * the machine's: index i here is slot i there. */
#ifndef BRG_SERVICE_PRIVATE_H
#define BRG_SERVICE_PRIVATE_H

#include "base/exit.h"
#include "base/log.h"
#include "coordinator/core/coord.h"
#include "coordinator/shell/delays.h"
#include "coordinator/shell/jobs.h"
#include "coordinator/shell/service.h"
#include "coordinator/shell/store.h"
#include "proto/bulk.h"
#include "proto/token.h"
#include "proto/transport.h"

#define BRG_TURN_MESSAGES_MAX 256u
#define BRG_DEFERRED_MAX 65536u
#define BRG_CURVE_POINTS_MAX 4096u /* loss points kept in memory for the operator */
#define BRG_HELD_OUT_POINTS_MAX 512u
#define BRG_PENALTIES_MAX 256u
#define BRG_SNAPSHOTS_MAX 8u /* being written */
#define BRG_EVENT_CODE 64u   /* an event of ours beside enum brg_note: `code: auto` has decided */
#define BRG_PENALTY_NS (60 * BRG_NS_PER_S) /* a peer that broke the protocol stays out so long */

/* A worker, beyond what the machine must know. */
struct brg_service_member {
    struct brg_record_member record;
    struct brg_peer control, bulk; /* connections of its present process; size 0: none */
    uint64_t session;              /* of that process */
    uint64_t heard_ns;             /* monotonic */
    uint64_t tasks_done, shares_used;
    uint64_t memory_bytes;
    uint32_t cores;
    int has_task; /* it was sent a task since the last commit */
    char isa[32];
};

/* A HELLO of this turn, until its answer is sent; its handle in the machine is index + 1. */
struct brg_service_hello {
    struct brg_peer route;
    uint64_t session, memory_bytes;
    uint32_t cores;
    char isa[32];
    char name[BRG_RECORD_NAME_BYTES];
};

/* What is known of one model of a run; NaN: nothing yet. */
struct brg_service_model {
    struct brg_digest params; /* in the checkpoint on record */
    double loss;              /* mean of its last committed step */
    double held_out_loss, held_out_accuracy;
    uint64_t held_out_step; /* its own */
};

struct brg_service_run {
    struct brg_record_run record; /* yaml: own, free() */
    struct brg_run_config config;
    struct brg_code_spec code; /* in force, or to be when it is opened */
    uint64_t code_base;        /* it computes the steps after this; 0: all so far */
    uint64_t checkpoint;       /* step of the checkpoint on record */
    struct brg_start start;    /* what it began with, once it was opened */
    struct brg_service_model models[BRG_MODELS_MAX];
    uint64_t waited_steps;
};

/* One point of the loss curve. */
struct brg_service_point {
    uint64_t step, at_ns;
    double loss, lr, norm, seconds;
    uint32_t waited;
};
struct brg_service_held_out {
    uint64_t step;         /* of the run */
    double loss, accuracy; /* accuracy NaN for language models */
};

/* A share on its way from a worker, or here. One for each unit of each step in flight. */
struct brg_service_share {
    struct brg_fetch fetch;
    struct brg_digest digest; /* that the holder gave */
    struct brg_buffer *here;  /* verified and held by the machine */
    uint64_t step;
    uint32_t member;
};

/* An answer to the operator, sent once what it says is on disk. */
struct brg_service_reply {
    struct brg_peer to;
    uint64_t id;
    int32_t code;
    char *body; /* JSON; free() */
};

struct brg_service {
    const struct brg_service_options *options;
    char join_url[BRG_JOIN_URL_BYTES];
    struct brg_keypair key, operator_key;
    uint8_t mac_key[BRG_MAC_KEY_BYTES];
    struct brg_transport *transport;
    struct brg_zap *zap;
    struct brg_socket *socket;
    struct brg_pool *pool;
    struct brg_jobs *jobs;
    struct brg_store *store;
    struct brg_store_batch *batch;
    int signal_fd;
    struct brg_service_http *window; /* http_reactor.c */

    uint64_t started_ns, now_ns, timer_ns; /* monotonic */
    int exit_code;                         /* -1 while it runs */
    int had_runs;
    uint32_t closing; /* runs that the compute thread has still to tidy up and close */

    struct brg_coord core;
    struct brg_coord_actions actions;
    struct brg_coord_action *deferred; /* [BRG_DEFERRED_MAX] */
    uint32_t deferred_count;

    struct brg_msg msg, reply;
    struct brg_service_hello hellos[BRG_TURN_MESSAGES_MAX];
    uint32_t hello_count;
    struct brg_service_reply replies[BRG_TURN_MESSAGES_MAX + BRG_SNAPSHOTS_MAX];
    uint32_t reply_count;
    struct {
        uint64_t ever;
        uint32_t under_way;
    } snapshots;
    struct {
        struct brg_key key;
        uint64_t until_ns; /* 0: the slot is free */
    } penalties[BRG_PENALTIES_MAX];

    struct brg_service_member members[BRG_MEMBERS_MAX];
    struct brg_record_token tokens[BRG_TOKENS_MAX];
    struct brg_service_run runs[BRG_RUNS_MAX];

    /* The open run. */
    struct brg_openrun *run; /* NULL: none */
    uint32_t run_index;      /* of `run` */
    struct brg_line *line;   /* line.h: of a pipeline; NULL: none is open */
    /* The newest version of each model; nobody needs an older one, whose step is committed. */
    struct brg_source params[BRG_MODELS_MAX];
    struct brg_service_share shares[BRG_JOBS_MAX][BRG_SCHEME_UNITS_MAX]; /* shares.c */
    struct {
        double loss;
        uint64_t step;                            /* for which it was reported */
    } chunk_losses[BRG_JOBS_MAX][BRG_CHUNKS_MAX]; /* of step s: [s % BRG_JOBS_MAX] */
    struct {
        uint64_t since_ns; /* shares were under way at the last turn, then; 0: none were */
        uint64_t busy_ns, shares;
    } link;                             /* of shares to here, since the run was opened */
    struct brg_delays *delays;          /* what workers took; NULL: no run is open */
    struct brg_tuning *tuning;          /* NULL: the run's code is chosen by its file */
    struct brg_gradlog_entry decoded;   /* of the step decoded last */
    double decoded_norm;                /* of its mean gradient, before clipping */
    struct brg_optimizer_report report; /* of the step applied last */
    struct brg_digest chain;            /* digest of the last commit record */
    struct brg_record_step *unsaved;    /* durability checkpoint: commits since the last one */
    uint32_t unsaved_count, unsaved_capacity;
    struct brg_service_point *points; /* ring of BRG_CURVE_POINTS_MAX */
    uint64_t point_count;             /* ever made; the ring holds the newest */
    struct brg_service_held_out held_out[BRG_HELD_OUT_POINTS_MAX];
    uint64_t held_out_count;
};

/* turn.c */
uint64_t brg_service_clock_ns(void);
uint64_t brg_service_wall_ns(void);
void brg_service_turn(struct brg_service *s);
/* Steps the machine and files its actions; the result is brg_coord_step's. */
int brg_service_feed(struct brg_service *s, struct brg_coord_event *ev);
/* Ends the process after this turn, with the sentence that goes with the code. */
void brg_service_fail(struct brg_service *s, int exit_code, const char *format, ...)
    BRG_PRINTF(3, 4);

/* inbox.c */
void brg_service_receive(struct brg_service *s);
void brg_service_forgive(struct brg_service *s); /* penalties that are over */

/* shares.c */
struct brg_service_share *brg_service_share(struct brg_service *s, uint64_t step, uint32_t unit);
void brg_service_start_pull(struct brg_service *s, const struct brg_coord_action *a);
void brg_service_pump(struct brg_service *s); /* Gets of the shares under way */
uint64_t brg_service_fetch_wake_ns(struct brg_service *s);
/* The member's bulk line is a new one: what was asked for over the old one is asked for again. */
void brg_service_shares_reconnected(struct brg_service *s, uint32_t member);
/* All parts are here: whether they are what the worker announced is seen on the compute thread. */
void brg_service_verify_share(struct brg_service *s, struct brg_service_share *share);
void brg_service_drop_shares(struct brg_service *s, uint64_t step);
void brg_service_drop_all_shares(struct brg_service *s);

/* tuning.c: the machine's rounds are listened to, and a better code is offered to it */
void brg_service_round(struct brg_service *s, const struct brg_round_log *log);
void brg_tuning_open(struct brg_service *s); /* for the run that was opened, if it is auto */
void brg_tuning_close(struct brg_service *s);
void brg_tuning_switched(struct brg_service *s);
void brg_tuning_answer(struct brg_service *s, struct brg_shell_job *job);

/* outbox.c */
struct brg_msg *brg_service_blank(struct brg_service *s, uint32_t type); /* s->reply, emptied */
void brg_service_perform(struct brg_service *s, const struct brg_coord_action *a);
void brg_service_send(struct brg_service *s, const struct brg_peer *to, struct brg_msg *msg);
/* The Part in s->reply, with its bytes straight out of the source's buffer. */
void brg_service_send_part(struct brg_service *s, const struct brg_peer *to,
                           const struct brg_source *source, struct brg_bytes bytes);

/* answers.c */
void brg_service_answers(struct brg_service *s);
/* The mean loss of the step as its workers reported it, NaN where they did not. */
double brg_service_step_loss(const struct brg_service *s, uint64_t step);

/* keep.c */
void brg_service_keep(struct brg_service *s, const struct brg_coord_action *a);
BRG_CHECK int brg_service_restore(struct brg_service *s, struct brg_why *why);
void brg_service_event(struct brg_service *s, uint32_t kind, uint64_t run, uint32_t member,
                       const char *format, ...) BRG_PRINTF(5, 6);
/* 1 where a worker's proof of a step that the store lacks is an alarm. A pipeline may go back. */
int brg_service_is_fenced(const struct brg_run_config *config);
/* What follows from `config`, before anything is known of the run. */
void brg_service_run_init(struct brg_service_run *run);
/* What the run was opened with goes on record, where it is new. */
void brg_service_keep_start(struct brg_service *s, uint32_t run_index);
void brg_service_run_plan(const struct brg_service_run *run, struct brg_run_plan *plan);

/* snapshot.c */
struct cJSON;
struct brg_snapshot_wish {
    const struct brg_peer *to;
    uint64_t request;
    uint32_t run_index, model;
    int is_asked_to_write; /* 0: only to describe the run */
};
/* *reply NULL on success: the answer follows. errors: BRG_EINVAL, BRG_EFULL, with the sentence */
BRG_CHECK int brg_service_snapshot(struct brg_service *s, const struct brg_snapshot_wish *wish,
                                   struct cJSON **reply, struct brg_why *why);
void brg_service_snapshot_answer(struct brg_service *s, struct brg_shell_job *job);

/* operator.c, status.c */
void brg_service_operate(struct brg_service *s, const struct brg_inbound *in);
void brg_service_send_replies(struct brg_service *s);
/* An answer that was left open when it was asked for. own: takes `reply` */
void brg_service_reply_later(struct brg_service *s, const struct brg_peer *to, uint64_t request,
                             int code, struct cJSON *reply);
/* Makes a token; text [BRG_TOKEN_TEXT_BYTES]. errors: BRG_EFULL, BRG_EINVAL */
BRG_CHECK int brg_service_make_token(struct brg_service *s, uint64_t lifetime_s, uint32_t uses,
                                     const char *label, char *text, uint64_t *id);
/* Queues the run. errors: BRG_EINVAL, BRG_EFULL, with the sentence */
BRG_CHECK int brg_service_submit(struct brg_service *s, const struct brg_run_config *config,
                                 uint64_t *id, struct brg_why *why);
struct cJSON *brg_service_status(struct brg_service *s);
struct cJSON *brg_service_runs(struct brg_service *s);
struct cJSON *brg_service_workers(struct brg_service *s);
struct cJSON *brg_service_tokens(struct brg_service *s);
struct cJSON *brg_service_events(struct brg_service *s, uint64_t after, uint64_t limit);
struct cJSON *brg_service_curve(struct brg_service *s, uint32_t run_index, uint64_t from,
                                uint64_t limit);
/* Carries a verb out, whoever asked for it; *reply, an object, is added to or replaced. */
BRG_CHECK int brg_service_carry_out(struct brg_service *s, const char *verb,
                                    const struct cJSON *body, struct cJSON **reply,
                                    struct brg_why *why);
/* What `code: auto` is at, its last decision and the table it chose from; null: not auto. */
struct cJSON *brg_tuning_show(const struct brg_service *s);
const char *brg_service_run_state_name(uint32_t state);

/* http_reactor.c */
BRG_CHECK int brg_service_http_start(struct brg_service *s, struct brg_why *why);
void brg_service_http_serving(struct brg_service *s);
void brg_service_http_stopping(struct brg_service *s);
void brg_service_http_stop(struct brg_service *s);
int brg_service_http_fd(const struct brg_service *s); /* -1: there is no window */
void brg_service_http_event(struct brg_service *s, uint32_t kind);
void brg_service_http_take(struct brg_service *s); /* before the turn's write: what was asked for */
void brg_service_http_give(struct brg_service *s); /* after it: answers, and what is shown */

#endif
