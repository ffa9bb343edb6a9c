/* sim.h - the coordinator's and the workers' pure machines on virtual time, under everything that
 * can go wrong, with integer gradients so that "exact" means equal.
 *
 *   brigade_sim SEED             one run, a line for each thing worth seeing
 *   brigade_sim --runs N FROM    N runs from seed FROM on; every 16th runs twice and must repeat
 *   brigade_sim --every-action K one run for each action at which the coordinator can die, K seeds
 *   brigade_sim --seeds FILE     the seeds of a file
 *
 *   sim_queue.c        clock, generator, event queue, trace digest, network
 *   sim_coordinator.c  what the coordinator's shell does: turns, one synced write, files, compute
 *   sim_worker.c       what the worker's shell does
 *   sim_model.c        the arithmetic that is being distributed, and what it must come to
 *   sim_main.c         one run: faults, then a healed world in which the run must finish
 *
 * Faults: messages lost, copied, reordered, delayed; nodes cut off in one direction or both;
 * workers that crash, stall, are replaced, send a broken share or cannot compute; the coordinator
 * dying at any action of a turn, with its write under way landing or not, and files torn at any
 * byte. */
#ifndef BRG_SIM_H
#define BRG_SIM_H

#include "base/prng.h"
#include "coordinator/core/coord.h"
#include "worker/core/worker.h"

#define MS BRG_NS_PER_MS
enum {
    SIM_WORKERS_MAX = 10,
    SIM_NODES_MAX = 1 + SIM_WORKERS_MAX,
    SIM_STEPS_MAX = 24,
    SIM_RUNS_MAX = 2,
    SIM_DIM = 3,
    COORDINATOR = 0,
};

/* ---- sim_queue.c ---- */

enum sim_event_kind {
    SIM_DELIVER,  /* a message arrives */
    SIM_TIMER,    /* TICK of a node */
    SIM_TURN,     /* the coordinator works off its inbox */
    SIM_JOB,      /* the coordinator's compute thread has finished its job */
    SIM_COMPUTED, /* a worker's compute thread has */
    SIM_RESTART,
    SIM_NEMESIS,
    SIM_OPERATOR,
};

/* Any message of either direction; `kind` says which fields count. */
enum sim_msg_kind {
    MSG_HELLO,
    MSG_BEAT,
    MSG_DONE,
    MSG_FAULT,
    MSG_DRAIN,
    MSG_BYE,
    MSG_SHARE,
    MSG_SHARE_GONE,
    MSG_GET_PARAMS,
    MSG_GET_DATA,
    MSG_WELCOME,
    MSG_REFUSED,
    MSG_REHELLO,
    MSG_RUN,
    MSG_TASK,
    MSG_COMMIT,
    MSG_RELEASE,
    MSG_DRAIN_ACK,
    MSG_WANT,
    MSG_PARAMS,
    MSG_DATA,
};

struct sim_msg {
    uint64_t epoch, session, run, step;
    uint32_t kind, from, to, unit, attempt, retry, token, has_proof;
    int32_t code;
    int64_t values[SIM_DIM];  /* PARAMS: the parameters */
    double share[SIM_DIM];    /* SHARE */
    struct brg_digest digest; /* DONE */
};

struct sim_event {
    uint64_t at_ns, seq, id;
    uint32_t kind, node, incarnation;
    struct sim_msg msg; /* DELIVER; COMPUTED: run, step, unit */
};

extern uint64_t sim_now_ns, sim_trace, sim_dispatched;
extern int sim_loud;

void sim_queue_reset(uint64_t seed);
void sim_push(struct sim_event e);
int sim_pop(struct sim_event *e); /* 0 when empty; advances the clock */
uint64_t sim_rng(void);
uint64_t sim_below(uint64_t n);
int sim_chance(uint32_t per_mille);
void sim_say(const char *what, uint32_t node, uint64_t step);

/* Options of one run, drawn from its seed; each fault is off altogether in a third of the runs. */
struct sim_options {
    uint32_t workers, loss, copy, delay_ms, cut, crash, worker_crash, straggle, bad_worker;
    uint32_t drains, operator_acts, runs, durability_checkpoint;
    struct brg_code_spec code;
    uint64_t steps, checkpoint_every;
    uint32_t min_workers;
    uint64_t crash_at_action; /* 0: by chance; else exactly there and nowhere else */
};
extern struct sim_options sim_opt;
extern int sim_cut[SIM_NODES_MAX][SIM_NODES_MAX], sim_healed;

/* Sends through the faulty network. */
void sim_transmit(struct sim_msg m);

/* ---- sim_model.c ---- */

struct sim_params {
    int64_t values[SIM_DIM];
};

void sim_model_reset(void);
struct sim_params sim_initial(uint64_t run);
/* The gradient sum of one chunk at these parameters. */
void sim_chunk_gradient(uint64_t run, uint64_t step, uint32_t chunk, const struct sim_params *p,
                        double *g);
void sim_share(const struct brg_scheme *scheme, uint64_t run, uint64_t step, uint32_t unit,
               const struct sim_params *p, double *share);
struct sim_params sim_apply(const struct sim_params *p, const int64_t *gradient);
/* What the parameters of version `step` must be. */
struct sim_params sim_reference(uint64_t run, uint64_t step);
const struct brg_scheme *sim_scheme(void);
struct brg_digest sim_share_digest(const double *share);

/* ---- sim_coordinator.c ---- */

void sim_coordinator_reset(void);
void sim_coordinator_start(void);
void sim_coordinator_crash(void);
void sim_coordinator_deliver(const struct sim_msg *m);
void sim_coordinator_event(const struct sim_event *e); /* TIMER, TURN, JOB, OPERATOR */
int sim_coordinator_up(void);
uint32_t sim_coordinator_incarnation(void);
uint64_t sim_committed(uint64_t run); /* on disk */
int sim_all_ended(void);              /* every run on disk is finished or stopped */
uint64_t sim_actions_done(void);      /* actions carried out by the coordinator so far */
void sim_coordinator_end_check(void); /* what must hold once all is over */

/* ---- sim_worker.c ---- */

void sim_workers_reset(void);
void sim_worker_start(uint32_t node);
void sim_worker_crash(uint32_t node);
void sim_worker_terminate(uint32_t node);
void sim_worker_deliver(const struct sim_msg *m);
void sim_worker_event(const struct sim_event *e); /* TIMER, COMPUTED */
int sim_worker_up(uint32_t node);
int sim_worker_refused(uint32_t node); /* 1: it was sent away for good */
uint32_t sim_worker_incarnation(uint32_t node);

/* Tokens a worker comes with. */
enum { TOKEN_GOOD = 1, TOKEN_UNKNOWN = 2, TOKEN_EXPIRED = 3 };
uint32_t sim_token_of(uint32_t node);

#endif
