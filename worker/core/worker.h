/* worker.h - the worker's machine: attach, fetch, compute, say so, hand over, leave.
 *
 *            WELCOME                 SIGTERM                DRAIN_ACK or deadline
 *   CALLING --------> ATTACHED ----------------> DRAINING ----------------> GONE
 *      ^  '- REFUSED for good -> GONE                                        ^
 *      '------- REHELLO, newer epoch ----'            (a second SIGTERM) ----'
 *
 *   tasks of one round, in order:  [ 0 ][ 1 ] ... [ 7 ]      TASK of the same round: appended
 *                                    |                       TASK of a newer round: all but the
 * same FETCHING (data, parameters) <--'                       task are dropped, what is computed is
 *          '--> COMPUTING --COMPUTED--> share held, DONE     cancelled between microbatches
 *                                       next task            COMMIT: tasks of its step are dropped
 *
 * While one task is computed, the parameters of the next are fetched. A worker only ever answers: a
 * task it has finished already is answered with DONE again, a share that is asked for again is sent
 * again. What it holds is valid in one epoch, one run and one `since` only (the round with which
 * the code in force began: another code makes other shares of the same numbers); a new incarnation
 * of the coordinator starts it afresh, but for the data set, which a digest names.
 *
 * Pure: a step reads the state and one event, and nothing else. Flat, no pointers. One thread. */
#ifndef BRG_WORKER_CORE_WORKER_H
#define BRG_WORKER_CORE_WORKER_H

#include "base/digest.h"

#define BRG_WORKER_TASKS_MAX 8u   /* of one round */
#define BRG_WORKER_SHARES_MAX 64u /* held, of steps that are not committed yet */
#define BRG_WORKER_MODELS_MAX 8u
#define BRG_WORKER_ACTIONS_MAX 32u
#define BRG_WORKER_NO_UNIT UINT32_MAX
#define BRG_WORKER_NO_PARAMS UINT64_MAX

enum brg_worker_phase {
    BRG_WORKER_CALLING = 1,
    BRG_WORKER_ATTACHED,
    BRG_WORKER_DRAINING,
    BRG_WORKER_GONE,
};

enum brg_worker_task_state {
    BRG_WTASK_NONE = 0, /* no task at all */
    BRG_WTASK_FETCHING = 1,
    BRG_WTASK_COMPUTING = 2,
};

struct brg_worker_config {
    uint64_t hello_every_ns; /* while CALLING, > 0 */
    uint64_t fetch_retry_ns; /* a fetch that has not come is asked for again, > 0 */
    uint64_t session;        /* of this process: rises with every start */
    uint32_t shares_max; /* held at once, 1 .. BRG_WORKER_SHARES_MAX, as memory allows; 0: all */
    uint32_t padding;
};

struct brg_worker_task {
    uint64_t step;
    uint32_t unit, attempt;
};

struct brg_worker_share {
    uint64_t step;
    uint32_t unit, padding;
};

struct brg_worker {
    struct brg_worker_config config;
    uint64_t now_ns;
    uint64_t epoch;         /* of the coordinator that welcomed us, 0 before the first */
    uint64_t beat_every_ns; /* from WELCOME */
    uint64_t next_hello_ns, next_beat_ns, drain_deadline_ns;
    uint64_t run;            /* the run described to us, 0 for none */
    uint64_t committed;      /* the highest step of `run` known to be committed */
    uint64_t round;          /* of the tasks; never goes back within one epoch */
    uint64_t since;          /* of the tasks and shares; never goes back within one epoch */
    uint64_t fetching;       /* the version on its way, BRG_WORKER_NO_PARAMS for none */
    uint64_t fetch_again_ns; /* when to ask for that once more, UINT64_MAX where none is */
    uint64_t data_again_ns;  /* the same for the data set */
    uint64_t params[BRG_WORKER_MODELS_MAX]; /* [models]: the version at hand of each model, or
                                             * BRG_WORKER_NO_PARAMS. Version v is of model
                                             * v % models */
    struct brg_worker_task tasks[BRG_WORKER_TASKS_MAX]; /* in order; [0] is the one under way. All
                                                         * of steps above committed, none twice */
    struct brg_worker_share shares[BRG_WORKER_SHARES_MAX]; /* held, the oldest first */
    uint32_t phase;                                        /* enum brg_worker_phase */
    uint32_t task_state; /* of tasks[0]; NONE exactly where task_count is 0 */
    uint32_t task_count, share_count;
    uint32_t models;      /* that `run` trains, 1 .. BRG_WORKER_MODELS_MAX; 0 where run is 0 */
    uint32_t chunks_done; /* of the task under way, as the compute thread says */
    uint32_t data_ready;  /* 1: the data of `run` is at hand */
    uint32_t padding;
};

enum brg_worker_event_type {
    BRG_WEV_START = 1,
    BRG_WEV_TICK,
    BRG_WEV_WELCOME,   /* epoch, beat_ns */
    BRG_WEV_REFUSED,   /* retry */
    BRG_WEV_REHELLO,   /* epoch */
    BRG_WEV_RUN,       /* epoch, run, models; has_data: its data set is at hand already */
    BRG_WEV_TASK,      /* epoch, run, round, since, step, unit, attempt */
    BRG_WEV_COMMIT,    /* epoch, run, step */
    BRG_WEV_RELEASE,   /* epoch, run */
    BRG_WEV_WANT,      /* epoch, run, step, unit: the coordinator fetches a share */
    BRG_WEV_DRAIN_ACK, /* epoch; also unasked for: the operator wants it to leave */
    BRG_WEV_DATA,      /* run; code 0: it is here and its digest right; else the run cannot be
                        * worked on here, which is what its task is answered with */
    BRG_WEV_PARAMS,    /* run, step = version: they are here */
    BRG_WEV_PROGRESS,  /* unit = chunks done */
    BRG_WEV_COMPUTED,  /* run, step, unit; code 0: the share is ready; else it failed */
    BRG_WEV_TERMINATE, /* at_ns: leave by then */
};

struct brg_worker_event {
    uint64_t now_ns; /* monotonic */
    uint64_t epoch, run, step, beat_ns, at_ns;
    uint64_t round, since; /* TASK */
    uint32_t type;         /* enum brg_worker_event_type */
    uint32_t unit, attempt, retry, has_data, models;
    int32_t code;
};

enum brg_worker_action_type {
    BRG_WACT_SEND_HELLO = 1,
    BRG_WACT_SEND_BEAT,  /* run; step, unit of the task under way (or 0, NO_UNIT), attempt = chunks
                          * done */
    BRG_WACT_SEND_DONE,  /* run, since, step, unit, attempt */
    BRG_WACT_SEND_FAULT, /* run, step, unit, code */
    BRG_WACT_SEND_SHARE, /* run, step, unit: it is held, send what is wanted of it */
    BRG_WACT_SEND_GONE,  /* run, step, unit: it is not held */
    BRG_WACT_SEND_DRAIN, /* at_ns: the deadline */
    BRG_WACT_SEND_BYE,
    BRG_WACT_FETCH_DATA,   /* run */
    BRG_WACT_FETCH_PARAMS, /* run, step = version; replaces a fetch of another version; the same
                            * once more: ask again */
    BRG_WACT_COMPUTE, /* run, round, since, step, unit, with the parameters of version step - 1 */
    BRG_WACT_CANCEL,  /* what is being computed; no COMPUTED is wanted of it */
    BRG_WACT_DROP_SHARES, /* those held of steps up to `step`; UINT64_MAX: all */
    BRG_WACT_DROP_SHARE,  /* step, unit: this one */
    BRG_WACT_DROP_PARAMS, /* step: the version at hand; UINT64_MAX: all, and the fetch under way.
                           * One that is computed with stays until that ends */
    BRG_WACT_EXIT,        /* code: 0 left in order, else enum brg_err */
    BRG_WACT_ARM,         /* TICK is wanted at at_ns; replaces the timer before it */
};

struct brg_worker_action {
    uint64_t run, step, at_ns;
    uint64_t round, since;
    uint32_t type, unit, attempt;
    int32_t code;
};

struct brg_worker_actions {
    uint32_t count; /* carried out in order; reset by each step */
    struct brg_worker_action items[BRG_WORKER_ACTIONS_MAX];
};

/* brg_worker_init - before START. errors: BRG_EINVAL config out of range */
BRG_CHECK int brg_worker_init(struct brg_worker *w, const struct brg_worker_config *config);

/* brg_worker_step - the one way in which the state changes.
 *
 * out:     what the caller must now do, in order
 * errors:  BRG_EPROTO the coordinator said what makes no sense; state as before
 * asserts: time that goes back
 * cost:    O(tasks + shares), no allocation */
BRG_CHECK int brg_worker_step(struct brg_worker *w, const struct brg_worker_event *ev,
                              struct brg_worker_actions *out);

/* brg_worker_check - the invariants, for tests and the simulator after every step. Asserts. */
void brg_worker_check(const struct brg_worker *w);

#endif
