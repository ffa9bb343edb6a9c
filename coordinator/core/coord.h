/* coord.h - the coordinator's whole machine: members, tokens, the queue of runs and the steps of
 * the run under way.
 *
 *   events (types.h) --> brg_coord_step --> actions (types.h), carried out as one turn
 *
 *   run: QUEUED --OPEN--> OPENING --OPENED--> ACTIVE --last step--> FINISHED
 *           ^                | OPEN_FAILED      |  '---stop-------> STOPPED
 *           |                '---> FAILED       '-----pause-------> PAUSED
 *           '---- resume ------------'------------- resume -----------'
 *
 * A pause or stop is a wish until the run's state says so: while the run opens, or while a step is
 * decoded and applied, it waits its turn, and a coordinator that dies before has forgotten it.
 * One run is open at a time, the first queued first. Everything a member sends is believed only in
 * the epoch of this incarnation, and only from the process (session) that attached last.
 *
 * Whatever a message of a member or a stranger holds, the machine neither asserts nor loses more
 * than that member; only answers of the shell itself are trusted to fit the actions.
 *
 * Pure; no pointers in the state but the open run's borrowed schemes; one thread. */
#ifndef BRG_COORDINATOR_CORE_COORD_H
#define BRG_COORDINATOR_CORE_COORD_H

#include "coordinator/core/line_run.h"
#include "coordinator/core/members.h"
#include "coordinator/core/rounds.h"
#include "coordinator/core/types.h"

struct brg_run_slot {
    struct brg_run_plan plan; /* plan.state is the run's state */
    uint64_t committed;       /* its highest durable step */
    uint32_t restarted;       /* 1: it was under way when the coordinator died */
    uint32_t fenced; /* 1: a worker's proof of a higher step is an alarm (durability step) */
    uint32_t wish;   /* OPENING: the state to end in as soon as it is open, else 0 */
    uint32_t padding;
};

struct brg_coord {
    uint64_t epoch;  /* > 0 after START; rises with every start of the process */
    uint64_t now_ns; /* time of the last event, never goes back */
    uint32_t run_count;
    uint32_t open_run; /* index of the run that is OPENING or ACTIVE, BRG_NOBODY for none */
    uint32_t halted;   /* 1: HALT was given; nothing is done any more */
    uint32_t padding;
    struct brg_run_slot runs[BRG_RUNS_MAX];
    struct brg_members members;
    struct brg_rounds rounds; /* IDLE while a pipeline is open */
    struct brg_line_run line; /* IDLE while a coded run is open */
};

/* brg_coord_init - before START. asserts: lease_ns > 0 */
void brg_coord_init(struct brg_coord *c, uint64_t lease_ns);

/* brg_coord_add_run - a stored run, before START; one that was OPENING or ACTIVE goes on by itself.
 * errors: BRG_EFULL */
BRG_CHECK int brg_coord_add_run(struct brg_coord *c, const struct brg_run_plan *plan,
                                uint64_t committed, int fenced);

/* brg_coord_run - index of run `id`, or BRG_NOBODY. */
uint32_t brg_coord_run(const struct brg_coord *c, uint64_t id);

/* brg_coord_step - the one way in which the state changes.
 *
 * out:     what the caller must now do (types.h has the order); empty where nothing changed
 * errors:  BRG_EPROTO a member said what it may not: state as before, the peer is to be counted
 *          BRG_ENOENT, BRG_EINVAL, BRG_EFULL, BRG_EEXIST an operator's wish that cannot be met
 * asserts: time that goes back; START twice; answers that no action asked for
 * cost:    of most messages O(units / 64); O(members + units in flight) where a round starts or
 * ends or something is late; no allocation */
BRG_CHECK int brg_coord_step(struct brg_coord *c, const struct brg_coord_event *ev,
                             struct brg_coord_actions *out);

/* brg_coord_check - the invariants, for tests and the simulator after every step. Asserts. */
void brg_coord_check(const struct brg_coord *c);

#endif
