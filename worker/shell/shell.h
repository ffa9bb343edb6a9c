/* shell.h - the worker's reactor, shared by the files of this folder.
 *
 *   control ─┐                       ┌─► send (control, bulk)
 *   bulk ────┼─► event ─► core ─► actions ─► fetch (bulk.h), compute (compute.h)
 *   compute ─┤            ▲          └─► timer
 *   signals ─┘            └── deferred: answers that the shell itself knows at once
 *
 * process.c   start, the turn, end          inbox.c    messages -> events
 * actions.c   actions -> what is done       work.c     the run and its data set
 * params.c    parameters by version         job.c      queued tasks, the job, shares
 * notice.c    sentences for the person who watches
 * preempt.c   notices of preemption (spot.h) and what follows from them
 *
 * Everything here belongs to the reactor thread. */
#ifndef BRG_WORKER_SHELL_SHELL_H
#define BRG_WORKER_SHELL_SHELL_H

#include "proto/bulk.h"
#include "proto/transport.h"
#include "worker/core/worker.h"
#include "worker/shell/compute.h"
#include "worker/shell/line.h"
#include "worker/shell/process.h"
#include "worker/shell/statedir.h"

#define BRG_SHELL_RECEIVE_MAX 256u /* control messages a turn */
#define BRG_SHELL_PARTS_MAX 16u    /* bulk messages a turn: a part takes about a millisecond */
#define BRG_SHELL_DEFERRED_MAX 8u
#define BRG_SHELL_DATA_TRIES_MAX 3u /* a blob that comes damaged this often never comes right */
/* One version of each model, and one that has come or is on its way. */
#define BRG_SHELL_PARAMS_MAX (BRG_WORKER_MODELS_MAX + 1u)
/* A new share is put down before the core is asked which old one goes. */
#define BRG_SHELL_SHARES_MAX (BRG_WORKER_SHARES_MAX + 1u)

enum brg_run_stage {
    BRG_RUN_STAGE_NONE = 0,
    BRG_RUN_STAGE_OPENING = 1,  /* the compute thread looks at the file or the blob */
    BRG_RUN_STAGE_FETCHING = 2, /* the data set is on its way here */
    BRG_RUN_STAGE_READY = 3,
    BRG_RUN_STAGE_UNFIT = 4, /* it cannot be worked on here: code and why */
};

/* The run that was described to us last. */
struct brg_shell_run {
    struct brg_run_setup setup; /* setup.run == 0: none */
    uint64_t data_bytes;
    uint32_t stage; /* enum brg_run_stage */
    uint32_t data_tries;
    int32_t code;
    struct brg_why why;
    char name[BRG_TEXT_BYTES_MAX + 1];
};

enum brg_shell_params_state {
    BRG_SHELL_PARAMS_FREE = 0,
    BRG_SHELL_PARAMS_FETCHING = 1,
    BRG_SHELL_PARAMS_HERE = 2,
};

/* Parameters of one version. */
struct brg_shell_params {
    uint64_t version;
    struct brg_fetch fetch;    /* while FETCHING */
    struct brg_buffer *buffer; /* while HERE, else NULL */
    uint32_t state;            /* enum brg_shell_params_state */
};

/* A share that is ready; source.buffer NULL: a free place. */
struct brg_shell_share {
    struct brg_source source;
    struct brg_msg_done done;
};

/* What the person who watches was told last. */
struct brg_shell_notice {
    uint32_t state; /* see notice.c */
    uint32_t percent;
    uint64_t run;
    uint64_t since_ns, again_ns;
    struct brg_why trouble; /* the last thing that went wrong with the connection; empty: none */
};

struct brg_shell {
    const struct brg_worker_options *options;
    struct brg_worker core;
    uint64_t now_ns, arm_ns;

    struct brg_statedir state;
    struct brg_transport *transport;
    struct brg_socket *control, *bulk;
    struct brg_pool *pool;
    struct brg_compute *compute;
    int signal_fd;
    struct brg_spot *spot;
    uint32_t is_preempted;      /* it drains because of a notice, and no signal has come since */
    uint32_t is_spot_cancelled; /* the notice was withdrawn while it drained */
    char drain_reason[BRG_TEXT_BYTES_MAX + 1]; /* of the notice; empty: a signal */
    char endpoint[BRG_ENDPOINT_BYTES];

    uint64_t beat_seq;
    uint64_t hello_again_ns; /* the last HELLO could not even be queued: again then */
    uint64_t well_ns;        /* when it was attached and connected last */
    uint64_t alone_ns;       /* when it was not leaving without a coordinator last */
    uint32_t is_connected;
    uint32_t key_refused; /* the last thing heard was that our key may not connect */
    uint32_t is_over;
    enum brg_exit exit_code;
    struct brg_why *why; /* the caller's: why it ended */
    uint64_t memory_bytes;
    char own_name[BRG_TEXT_BYTES_MAX + 1];    /* as asked for */
    char member_name[BRG_TEXT_BYTES_MAX + 1]; /* as the coordinator calls us */

    uint32_t has_seen;
    struct brg_proof seen; /* the highest commit we hold proof of */

    struct brg_shell_run run;
    struct brg_line_seat seat;                       /* in a pipeline */
    struct brg_msg_task offered;                     /* the message just received; run 0: none */
    struct brg_msg_task tasks[BRG_WORKER_TASKS_MAX]; /* recipes of its queue; run 0: free place */
    struct brg_shell_params params[BRG_SHELL_PARAMS_MAX];
    struct brg_fetch data_fetch;
    struct brg_job job;
    struct brg_buffer *job_params, *job_share; /* held while the job is with the compute thread */
    uint32_t opening;                          /* the compute thread owes the answer to an open */
    uint32_t job_busy, job_cancelled;
    uint32_t job_wanted; /* the task below is to be computed as soon as the thread is free */
    uint32_t wanted_unit;
    uint64_t wanted_step;
    struct brg_shell_share shares[BRG_SHELL_SHARES_MAX];
    struct brg_msg_get want; /* what is being answered */

    uint32_t deferred_count;
    struct brg_worker_event deferred[BRG_SHELL_DEFERRED_MAX];
    struct brg_why fault_why; /* the sentence for the next Fault; empty: that of its code */
    struct brg_shell_notice notice;
    struct brg_msg in, out; /* used again for every message */
};

/* process.c */

/* brg_shell_feed - one step of the core, at s->now_ns, and its actions carried out; then what they
 * deferred. Not from within an action. */
void brg_shell_feed(struct brg_shell *s, struct brg_worker_event event);

/* brg_shell_defer - an event for the core that an action brought forth: fed later in this turn. */
void brg_shell_defer(struct brg_shell *s, struct brg_worker_event event);

/* brg_shell_leave - this was the last turn. */
void brg_shell_leave(struct brg_shell *s, enum brg_exit code);

/* inbox.c */

/* brg_shell_receive - all that has come, within the bounds of a turn. */
void brg_shell_receive(struct brg_shell *s);

/* actions.c */

/* brg_shell_act - carries one action of the core out. */
void brg_shell_act(struct brg_shell *s, const struct brg_worker_action *action);

/* brg_shell_send_hello - sends HELLO now; remembers to do it again where that is not possible. */
void brg_shell_send_hello(struct brg_shell *s);

/* brg_shell_send_gets - the Gets that are due. */
void brg_shell_send_gets(struct brg_shell *s);

/* work.c */

/* brg_shell_take_run - the run in s->in was described to us. out: 1 where its data is at hand */
uint32_t brg_shell_take_run(struct brg_shell *s, const struct brg_msg_run *run);

/* brg_shell_close_run - gives the memory of the run back; its description stays. */
void brg_shell_close_run(struct brg_shell *s);

/* brg_shell_fetch_data - the core wants it; may be repeated at will. */
void brg_shell_fetch_data(struct brg_shell *s);

/* brg_shell_become_unfit - the run cannot be worked on here, which its tasks are answered with. */
void brg_shell_become_unfit(struct brg_shell *s, int code, const struct brg_why *why);

/* brg_shell_on_part - a Part is in s->in, its bytes are `bytes`. */
void brg_shell_on_part(struct brg_shell *s, struct brg_bytes bytes);

/* brg_shell_on_answers - what the compute thread has finished. */
void brg_shell_on_answers(struct brg_shell *s);

extern const struct brg_fetch_config brg_shell_fetch_config; /* of a data set */

/* params.c */

/* brg_shell_fetch_params - the core wants this version; may be repeated at will. */
void brg_shell_fetch_params(struct brg_shell *s, uint64_t version);

/* brg_shell_params_find - at hand or on the way, or NULL. */
struct brg_shell_params *brg_shell_params_find(struct brg_shell *s, uint64_t version);

/* brg_shell_params_fetch - the fetch that is about `object`, or NULL. */
struct brg_fetch *brg_shell_params_fetch(struct brg_shell *s, const struct brg_object *object);

/* brg_shell_params_done - every byte of `fetch` is here. */
void brg_shell_params_done(struct brg_shell *s, struct brg_fetch *fetch);

/* brg_shell_params_gone - the coordinator does not have `object`. out: 1 where it was wanted */
int brg_shell_params_gone(struct brg_shell *s, const struct brg_object *object);

/* brg_shell_drop_params - gives the memory of one version back, or of all and of what is on its way
 * (UINT64_MAX); a job under way keeps its own. */
void brg_shell_drop_params(struct brg_shell *s, uint64_t version);

/* brg_shell_follow_params - lets go of what the core neither holds nor waits for. */
void brg_shell_follow_params(struct brg_shell *s);

/* job.c */

/* brg_shell_admit - the queue as the core has it now; after every step, before its actions. */
void brg_shell_admit(struct brg_shell *s);

/* brg_shell_follow - lets go of what the core has no use for any more; after the actions. */
void brg_shell_follow(struct brg_shell *s);

/* brg_shell_compute, _cancel - a task of the queue; the one that is computed or wanted. */
void brg_shell_compute(struct brg_shell *s, uint64_t step, uint32_t unit);
void brg_shell_cancel(struct brg_shell *s);

/* brg_shell_on_computed - the answer to the job. */
void brg_shell_on_computed(struct brg_shell *s, const struct brg_compute_answer *a);

/* brg_shell_share_find - the held share, or NULL. */
struct brg_shell_share *brg_shell_share_find(struct brg_shell *s, uint64_t run, uint64_t step,
                                             uint32_t unit);

/* brg_shell_holds_shares - 1 where one is held, else 0. */
int brg_shell_holds_shares(const struct brg_shell *s);

/* brg_shell_drop_share - this one, if it is held. */
void brg_shell_drop_share(struct brg_shell *s, uint64_t step, uint32_t unit);

/* brg_shell_drop_shares - those of steps up to `step`. */
void brg_shell_drop_shares(struct brg_shell *s, uint64_t step);

/* preempt.c */

/* brg_shell_spot_start - begins to listen for notices. errors: as brg_spot_start */
BRG_CHECK int brg_shell_spot_start(struct brg_shell *s, struct brg_why *why);

/* brg_shell_spot_take - obeys the notices that have come. */
void brg_shell_spot_take(struct brg_shell *s);

/* brg_shell_spot_took_signal - 1 for the first signal after a notice: the cloud shuts the machine
 * down and so tells to stop, which is no second order to hurry. */
int brg_shell_spot_took_signal(struct brg_shell *s);

/* brg_shell_spot_exit - the exit code in the light of the notices; sets *s->why where it changes.
 */
enum brg_exit brg_shell_spot_exit(struct brg_shell *s, enum brg_exit code);

/* notice.c */

/* brg_shell_watch_sockets - takes the events of both sockets in. */
void brg_shell_watch_sockets(struct brg_shell *s);

/* brg_shell_notice - says what changed; every 10 s why nothing does. out: when to look again */
uint64_t brg_shell_notice(struct brg_shell *s);

#endif
