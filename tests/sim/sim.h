/* sim.h - the coordinator's and the workers' pure machines on virtual time, under everything that
 * can go wrong, with integer gradients so that "exact" means equal.
 *
 *   brigade_sim SEED             one run, a line for each thing worth seeing; with SIM_MESSAGES in
 * the environment, one for each message too brigade_sim --runs N FROM    N runs from seed FROM on;
 * every 16th runs twice and must repeat brigade_sim --every-action K kills the coordinator, and
 * then a worker, at each action, K seeds brigade_sim --seeds FILE     the seeds of a file
 *
 *   sim_queue.c        clock, generator, event queue, trace digest, network
 *   sim_disk.c         what survives the coordinator: records, logs and checkpoints, torn or not
 *   sim_coordinator.c  what the coordinator's shell does: turns, one synced write, compute thread
 *   sim_operator.c     what its operator does: tokens, runs, pause, stop, drain, revoke, allow
 *   sim_worker.c       what the worker's shell does
 *   sim_model.c        the arithmetic that is being distributed, and what it must come to
 *   sim_main.c         one run: faults, then a healed world in which the run must finish
 *
 * Faults: messages lost, copied, reordered, delayed; nodes cut off in one direction or both, or for
 * bulk alone; workers that crash at any action, stall, hang, are replaced, drained, revoked, copied
 * with their key, send a broken share or cannot compute; runs that cannot be opened or go on;
 * tokens that are unknown, expired, used up or revoked; the coordinator dying at any action of a
 * turn, with its write under way landing or not, and files torn at any byte; a store that loses
 * what it had synced. Runs of up to four models, every code, and codes that are replaced in
 * mid-run. */
#ifndef BRG_SIM_H
#define BRG_SIM_H

#include "base/prng.h"
#include "coordinator/core/coord.h"
#include "worker/core/worker.h"

#define MS BRG_NS_PER_MS
enum {
    SIM_WORKERS_MAX = 10,
    SIM_NODES_MAX =
        2 + SIM_WORKERS_MAX, /* the coordinator, workers, one process with a stolen key */
    SIM_STEPS_MAX = 32,
    SIM_RUNS_MAX = 2,
    SIM_MODELS_MAX = 4,
    SIM_CODES_MAX = 3,   /* that a run may be switched between */
    SIM_UNITS_MAX = 256, /* of a step */
    SIM_DIM = 3,
    COORDINATOR = 0,
};

/* ---- sim_queue.c ---- */

enum sim_event_kind {
    SIM_DELIVER,  /* a message arrives */
    SIM_TIMER,    /* TICK of a node */
    SIM_TURN,     /* the coordinator works off all that has come in */
    SIM_JOB,      /* the coordinator's compute thread has finished its job */
    SIM_COMPUTED, /* a worker's compute thread has */
    SIM_RESTART,
    SIM_NEMESIS,
    SIM_OPERATOR,
};

/* Any message of either direction; `kind` says which fields count. Those from MSG_SHARE to MSG_DATA
 * travel by the bulk connection. */
enum sim_msg_kind {
    MSG_HELLO,
    MSG_BEAT,
    MSG_DONE,
    MSG_FAULT,
    MSG_DRAIN,
    MSG_BYE,
    MSG_WELCOME,
    MSG_REFUSED,
    MSG_REHELLO,
    MSG_RUN,
    MSG_TASK,
    MSG_COMMIT,
    MSG_RELEASE,
    MSG_DRAIN_ACK,
    MSG_SHARE,
    MSG_SHARE_GONE,
    MSG_WANT,
    MSG_GET_PARAMS,
    MSG_GET_DATA,
    MSG_PARAMS,
    MSG_DATA,
};

struct sim_msg {
    uint64_t epoch, run, step;
    uint64_t round, since; /* TASK; since: DONE too */
    uint64_t session;      /* of the worker's process at either end: a connection dies with it */
    uint32_t kind, from, to, unit, attempt, token, has_proof;
    uint32_t code; /* TASK: which code makes the unit what it is; stands for chunks, coefficients */
    int32_t error; /* what the protocol calls code */
    int64_t values[SIM_DIM];  /* PARAMS: the parameters */
    double share[SIM_DIM];    /* SHARE */
    struct brg_digest digest; /* DONE */
};

struct sim_event {
    uint64_t at_ns, seq, id;
    uint32_t kind, node, incarnation;
    struct sim_msg msg; /* DELIVER; COMPUTED: run, step, unit, code */
};

extern uint64_t sim_now_ns, sim_trace, sim_dispatched;
extern int sim_loud; /* 1: says what happens; 2: messages too */

void sim_queue_reset(uint64_t seed);
void sim_push(struct sim_event e);
int sim_pop(struct sim_event *e); /* 0 when empty; advances the clock */
uint64_t sim_rng(void);
uint64_t sim_below(uint64_t n);
int sim_chance(uint32_t per_mille);
void sim_say(const char *what, uint32_t node, uint64_t step);

/* Options of one run, drawn from its seed; each fault is off altogether in a third of the runs.
 * Rates are per mille of whatever is asked often. */
struct sim_options {
    uint32_t workers, runs, min_workers, delay_ms;
    uint32_t loss, copy, cut, bulk_cut, crash, worker_crash, worker_action_crash;
    uint32_t straggle, hang, drains, pauses, revokes, open_fails, run_fails;
    uint32_t bad_worker;  /* a worker that sends broken shares and faults, 0 for none */
    uint32_t mute_worker; /* one whose shares never arrive, healed or not, 0 for none */
    uint32_t twin_of;     /* one whose key is used by a second process, 0 for none */
    uint32_t broken_run;  /* a run that can never be opened, 0 for none */
    uint32_t forgets;     /* the store loses synced commits once */
    uint32_t durability_checkpoint;
    uint32_t models, code_count, switches;
    struct brg_code_spec codes[SIM_CODES_MAX]; /* a run begins with the first; all of one batch */
    uint64_t steps, checkpoint_every;
    /* For the exhaustive mode; 0: by chance. */
    uint64_t crash_at_action, crash_again_after, crash_outcome, worker_crash_at_action;
};
extern struct sim_options sim_opt;
extern int sim_cut[SIM_NODES_MAX][SIM_NODES_MAX], sim_bulk_cut[SIM_NODES_MAX];
extern int sim_healed; /* no fault happens any more */

/* Sends through the faulty network. */
void sim_transmit(struct sim_msg m);
/* Workers, and the process with the stolen key if there is one. */
uint32_t sim_node_count(void);
/* The node whose key `node` has. */
uint32_t sim_key_of(uint32_t node);

/* ---- sim_model.c ---- */

struct sim_params {
    int64_t values[SIM_DIM];
};

void sim_model_reset(void);
struct sim_params sim_initial(uint64_t run, uint32_t model);
void sim_share(const struct brg_scheme *scheme, uint64_t run, uint64_t step, uint32_t unit,
               const struct sim_params *p, double *share);
struct sim_params sim_apply(const struct sim_params *p, const int64_t *gradient);
/* What its model must be after `step`. */
struct sim_params sim_reference(uint64_t run, uint64_t step);
/* The parameters that step version + 1 must start from. */
struct sim_params sim_version(uint64_t run, uint64_t version);
const struct brg_scheme *sim_scheme(uint32_t code);
uint32_t sim_code_of(const struct brg_scheme *scheme);
struct brg_digest sim_share_digest(const double *share);

/* ---- tokens: what a worker comes with, and what the operator made ---- */

enum {
    TOKEN_GOOD = 1,    /* uses enough */
    TOKEN_EXPIRED = 2, /* ran out before the run began */
    TOKEN_REVOKED = 3, /* revoked in the turn that added it */
    TOKEN_SCARCE = 4,  /* one use, for which two workers race */
    TOKEN_KINDS = 4,
    TOKEN_UNKNOWN = 9, /* the operator never made it */
};
uint32_t sim_token_of(uint32_t node);
void sim_token_hash(uint32_t token, struct brg_digest *hash);

/* ---- sim_disk.c ---- */

struct sim_disk {
    uint64_t epoch;
    uint32_t member_count, token_count;
    struct {
        uint8_t key[BRG_KEY_BYTES];
        uint32_t state;
    } members[SIM_NODES_MAX];
    struct brg_token tokens[TOKEN_KINDS];
    struct {
        uint32_t exists, state, code, padding;
        uint64_t committed, checkpoint;
    } runs[SIM_RUNS_MAX + 1];
    uint64_t announced[SIM_RUNS_MAX + 1]; /* told to workers; not on disk, but in the world */
    uint64_t switched;                    /* codes replaced, all runs */
    uint32_t forgot;                      /* 1: synced commits were lost once */
};
extern struct sim_disk sim_disk;

void sim_disk_reset(void);
void sim_disk_load(struct brg_coord *machine); /* a start: a new epoch, and all that is stored */
/* Puts a PERSIST_* action into the batch of the turn, as the machine is now. */
void sim_disk_keep(const struct brg_coord *machine, const struct brg_coord_action *a);
int sim_disk_pending(void);
void sim_disk_write(void); /* the batch, all of it at once */
void sim_disk_drop(void);  /* the batch never reached the disk */
/* Loses some of the last commits of a run under way, although they were synced. */
void sim_disk_forget(void);
void sim_log_append(uint64_t run, uint64_t step, const int64_t *gradient, int torn);
void sim_log_truncate(uint64_t run, uint64_t step);
/* p, out: [models] */
void sim_checkpoint_write(uint64_t run, uint64_t step, const struct sim_params *p, int complete);
void sim_restore(uint64_t run, struct sim_params *out);
void sim_plan(uint64_t run, struct brg_run_plan *plan);
int sim_all_ended(void);       /* every run on disk has ended */
void sim_disk_check_end(void); /* what must hold once all is over */
uint64_t sim_steps_made(void); /* committed steps on disk, all runs */

/* ---- sim_coordinator.c, sim_operator.c ---- */

void sim_coordinator_reset(void);
void sim_coordinator_start(void);
void sim_coordinator_crash(void);
void sim_coordinator_deliver(const struct sim_msg *m);
void sim_coordinator_event(const struct sim_event *e); /* TIMER, TURN, JOB, OPERATOR */
int sim_coordinator_up(void);
int sim_coordinator_halted(void); /* it found out that the store forgot, and stays down */
uint64_t sim_actions_done(void);  /* actions carried out by the coordinator so far */
/* An event for the machine's next turn. */
void sim_coordinator_feed(struct brg_coord_event ev);
/* What the operator does now; calls sim_coordinator_feed. */
void sim_operate(const struct brg_coord *machine);

/* ---- sim_worker.c ---- */

void sim_workers_reset(void);
void sim_worker_start(uint32_t node);
void sim_worker_crash(uint32_t node);
void sim_worker_terminate(uint32_t node);
void sim_worker_deliver(const struct sim_msg *m);
void sim_worker_event(const struct sim_event *e); /* TIMER, COMPUTED */
int sim_worker_up(uint32_t node);
uint64_t sim_worker_actions_done(void);
/* At the end: of two processes with one key at most one is left. */
void sim_workers_check_end(void);

#endif
