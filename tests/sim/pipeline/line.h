/* line.h - the pipeline's pure machines on virtual time, with stages made of integers, so that
 * "exact" means equal.
 *
 *   brigade_sim_line SEED            one run, told line by line
 *   brigade_sim_line --runs N FROM   N runs; every 16th runs twice and must repeat
 *
 *   line_world.c        clock, generator, events, network, the arithmetic and what it must come to
 *   line_coordinator.c  what the coordinator's shell does: leases, one synced write, words
 *   line_worker.c       what a worker's shell does: tensors, transfers, shadows, compute
 *   line_main.c         one run: faults, then a healed world in which the run must finish
 *
 * Faults: messages lost and delayed; workers killed at any point (one, neighbours, all holders of a
 * stage, everybody) and come back empty; the coordinator killed between the actions of a turn, its
 * write landed or not; workers cut off from the coordinator, and from each other alone; drains and
 * joins; sources that fall silent in mid-download; replicas whose bits go wrong.
 *
 * Held at every event: versions of all holders are equal after each commit, each step is the sum of
 * every microbatch exactly once (the serial run comes to the same integers), a stage that was
 * recovered without need does not exist, committed rises by one, and a healed run finishes. */
#ifndef BRG_SIM_LINE_H
#define BRG_SIM_LINE_H

#include "base/prng.h"
#include "coordinator/core/pipeline.h"
#include "worker/core/holder.h"

#define MS BRG_NS_PER_MS
enum {
    NODES_MAX = 16, /* workers are 1 .. ; 0 is the coordinator; member = node - 1 */
    STAGES_MAX = 6,
    SLICES = 4,
    STEPS_MAX = 64,
    MICROBATCHES_MAX = 8,
};

/* The weights of a stage. */
struct weights {
    uint64_t v[SLICES];
};

enum kind {
    TO_COORDINATOR = 1, /* msg.ev */
    TO_WORKER,          /* msg.place and msg.sev */
    HELLO,
    GET, /* one holder of another */
    GIVE,
    GET_STATE,
    GIVE_STATE, /* has: 1, or 0: not here */
    SLICE,      /* of a shadow */
    TIMER,
    COMPUTED,
    LOADED,
    FILES,
    RESTART,
    NEMESIS,
};

/* Who holds what, as PLACE tells it. */
struct map {
    uint32_t holder[STAGES_MAX][BRG_PIPE_LANES_MAX]; /* [stage][lane]: node */
    uint32_t shadow_to[STAGES_MAX];
    uint32_t sources[BRG_PIPE_SOURCES_MAX];
    uint32_t source_count;
};

struct msg {
    struct brg_pipe_event ev;
    struct brg_holder_event sev;
    struct brg_holder_get get;
    struct map map;
    struct weights w;
    uint64_t session, fetch, lineage, version, value;
    uint32_t stage, slice, has, relayed, rung;
};

struct event {
    uint64_t at_ns, seq;
    uint32_t kind, node, from;
    uint64_t session; /* of the process that a TIMER, COMPUTED, LOADED or FILES belongs to */
    struct msg msg;
};

struct options {
    uint32_t workers, stages, lanes, microbatches, relay, loss, kills, pairs, everybody, restarts;
    uint32_t cuts, peer_cuts, drains, wrong, mute, shadow;
    uint64_t steps;
};

extern struct options opt;
extern uint64_t now_ns, trace, dispatched;
extern int loud, healed, cut[NODES_MAX][NODES_MAX];

void world_reset(uint64_t seed);
uint64_t below(uint64_t n);
int chance(uint32_t per_mille);
void push(struct event e);
int pop(struct event *e);
void tell(const char *what, uint32_t node, uint64_t number);
/* Through the network: lost, delayed, in order between two nodes. */
void transmit(uint32_t kind, uint32_t from, uint32_t to, const struct msg *m);
uint64_t mix(uint64_t a, uint64_t b, uint64_t c);

/* The serial run. */
extern struct weights truth[STAGES_MAX]; /* after truth_version */
extern struct weights files[STEPS_MAX + 1][STAGES_MAX];
extern uint64_t truth_version;
void truth_step(void);
uint64_t token(uint64_t step, uint32_t microbatch);
void apply_gradient(struct weights *w, uint64_t gradient, uint64_t step);
uint64_t weigh(const struct weights *w);
uint64_t forward_of(const struct weights *w, uint64_t input);
uint64_t backward_of(const struct weights *w, uint64_t input, uint64_t gradient);

void coordinator_reset(void);
void coordinator_start(void);
void coordinator_kill(void);
int coordinator_up(void);
void coordinator_event(const struct event *e);
int coordinator_done(void);
const struct brg_pipeline *coordinator_machine(void);
extern uint64_t rung_counts[8], commits_count, handovers_count, rollbacks_count, placements_count;

void worker_start(uint32_t node);
void worker_kill(uint32_t node);
void worker_drain(uint32_t node);
int worker_up(uint32_t node);
void worker_event(const struct event *e);
uint64_t worker_session(uint32_t node);
/* 1 where a worker really has the state of this name. */
int worker_has(uint32_t node, uint32_t stage, uint64_t lineage, uint64_t version,
               struct weights *w);
void worker_spoil(uint32_t node);
void workers_reset(void);

#endif
