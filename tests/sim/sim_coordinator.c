/* The coordinator's shell, as far as decisions can tell: turns with one synced write, connections,
 * one compute thread that works off a queue. Dies at any action. */
#include "tests/sim/sim.h"

#include <math.h>
#include <string.h>

enum {
    INBOX_MAX = 4096,
    TURN_MESSAGES_MAX = 16,
    EVENTS_MAX = 64,
    DEFER_MAX = 16384,
    JOBS_MAX = 64
};

/* A worker's process at the other end; node 0 for none. */
struct route {
    uint32_t node;
    uint64_t session;
};

/* All of this dies with the process. */
static struct brg_coord machine;
static struct brg_coord_actions acts;
static struct {
    struct sim_msg inbox[INBOX_MAX];
    struct brg_coord_event events[EVENTS_MAX]; /* of the compute thread, the clock, the operator */
    struct route route[SIM_NODES_MAX];         /* by member: the connection it is attached by */
    struct route hello[TURN_MESSAGES_MAX];     /* of this turn; a peer is an index here, plus 1 */
    uint32_t inbox_count, event_count, hello_count, turn_due, tick_due;
    uint64_t timer_id, run, applied;
    uint32_t code; /* in force as far as actions are carried out */
    struct sim_params params[SIM_MODELS_MAX];
    struct share {
        uint64_t step;
        uint32_t member;
        int tainted; /* its member was revoked while the step was open */
        double values[SIM_DIM];
    } shares[BRG_JOBS_MAX][SIM_UNITS_MAX];
    int64_t gradient[SIM_DIM];
    struct brg_coord_action jobs[JOBS_MAX];
    uint32_t job_count, job_running;
    uint32_t stop_wanted[SIM_RUNS_MAX + 1];
} mem;
static struct brg_coord_action deferred[DEFER_MAX];
static uint32_t deferred_count;

static int up, halted;
static uint32_t incarnation;
static uint64_t actions_done;

int sim_coordinator_up(void) {
    return up;
}
int sim_coordinator_halted(void) {
    return halted;
}
uint64_t sim_actions_done(void) {
    return actions_done;
}

void sim_coordinator_reset(void) {
    up = halted = 0;
    incarnation = 0;
    actions_done = 0;
}

/* A place at which the process may die; 1: it just did. */
static int dies_here(void) {
    actions_done++;
    int dies = !sim_healed && sim_chance(sim_opt.crash);
    if (sim_opt.crash_at_action != 0) {
        const uint64_t again = sim_opt.crash_again_after;
        dies = actions_done == sim_opt.crash_at_action ||
               (again != 0 && actions_done == sim_opt.crash_at_action + again);
    }
    if (dies) sim_coordinator_crash();
    return dies;
}

/* What becomes of what was under way at death: nothing, half of it, all of it. */
static uint64_t outcome(void) {
    return sim_opt.crash_at_action != 0 ? sim_opt.crash_outcome : sim_below(3);
}

static void wake(void) {
    if (mem.turn_due) return;
    mem.turn_due = 1;
    sim_push((struct sim_event){
        .at_ns = sim_now_ns + sim_below(MS / 2), .kind = SIM_TURN, .incarnation = incarnation});
}

void sim_coordinator_feed(struct brg_coord_event ev) {
    BRG_ASSERT(mem.event_count < EVENTS_MAX);
    mem.events[mem.event_count++] = ev;
    wake();
}

/* ---- the compute thread ---- */

static void run_jobs(void) {
    if (mem.job_running || mem.job_count == 0) return;
    mem.job_running = 1;
    sim_push((struct sim_event){.at_ns = sim_now_ns + MS / 2 + sim_below(4 * MS),
                                .kind = SIM_JOB,
                                .incarnation = incarnation});
}

static void queue_job(const struct brg_coord_action *a) {
    BRG_ASSERT(mem.job_count < JOBS_MAX);
    mem.jobs[mem.job_count++] = *a;
    run_jobs();
}

/* The shares that the machine holds, combined: the whole batch's gradient, never a smaller one. */
static void decode(const struct brg_coord_action *job) {
    static double weights[BRG_SCHEME_UNITS_MAX];
    const struct brg_job *progress = brg_rounds_job(&machine.rounds, job->step);
    const struct share *shares = mem.shares[job->step % BRG_JOBS_MAX];
    BRG_ASSERT(progress != NULL && progress->ended_ns != 0);
    for (uint32_t u = brg_bits_next(&progress->held, 0); u < BRG_BITS_MAX;
         u = brg_bits_next(&progress->held, u + 1)) {
        BRG_ASSERT(shares[u].step == job->step && !shares[u].tainted);
        BRG_ASSERT(shares[u].member == progress->units[u].puller);
    }
    const int rc = brg_scheme_decode(sim_scheme(mem.code), &progress->held, weights);
    BRG_ASSERT(rc == BRG_OK);
    double sum[SIM_DIM] = {0};
    for (uint32_t u = brg_bits_next(&progress->held, 0); u < BRG_BITS_MAX;
         u = brg_bits_next(&progress->held, u + 1)) {
        for (uint32_t i = 0; i < SIM_DIM; i++) sum[i] += weights[u] * shares[u].values[i];
    }
    for (uint32_t i = 0; i < SIM_DIM; i++) {
        /* The weights of a cyclic code are not whole; what they add up to is. */
        BRG_ASSERT(fabs(sum[i] - (double)llround(sum[i])) < 1e-3);
        mem.gradient[i] = llround(sum[i]);
    }
    const struct sim_params before = sim_version(job->run, job->step - 1),
                            after = sim_reference(job->run, job->step);
    const struct sim_params got = sim_apply(&before, mem.gradient);
    BRG_ASSERT(memcmp(&got, &after, sizeof got) == 0);
}

static void open_run(const struct brg_coord_action *job, struct brg_coord_event *answer) {
    const int fails = !sim_healed && sim_chance(sim_opt.open_fails);
    if (fails || job->run == sim_opt.broken_run) {
        answer->type = BRG_EV_OPEN_FAILED;
        return;
    }
    mem.run = job->run;
    mem.code = sim_disk.runs[job->run].code;
    sim_restore(job->run, mem.params);
    mem.applied = sim_disk.runs[job->run].committed;
    answer->type = BRG_EV_OPENED;
    answer->step = mem.applied;
    answer->scheme = sim_scheme(mem.code);
}

static void do_decode(const struct brg_coord_action *job, struct brg_coord_event *answer) {
    decode(job);
    if (!sim_healed && sim_chance(sim_opt.run_fails)) { /* as if it were not finite */
        answer->type = BRG_EV_RUN_FAILED;
        return;
    }
    if (!sim_opt.durability_checkpoint) sim_log_append(job->run, job->step, mem.gradient, 0);
    answer->type = BRG_EV_DECODED;
}

static void apply(const struct brg_coord_action *job, struct brg_coord_event *answer) {
    BRG_ASSERT(mem.applied == job->step - 1); /* never twice, none left out */
    struct sim_params *params = &mem.params[brg_model_of_step(job->step, sim_opt.models)];
    *params = sim_apply(params, mem.gradient);
    mem.applied = job->step;
    const struct sim_params want = sim_reference(job->run, job->step);
    BRG_ASSERT(memcmp(params, &want, sizeof want) == 0);
    answer->type = BRG_EV_APPLIED;
}

static void finish_job(void) {
    BRG_ASSERT(mem.job_running && mem.job_count > 0);
    const struct brg_coord_action job = mem.jobs[0];
    memmove(&mem.jobs[0], &mem.jobs[1], --mem.job_count * sizeof mem.jobs[0]);
    mem.job_running = 0;
    struct brg_coord_event answer = {.run = job.run, .step = job.step};
    if (job.type != BRG_ACT_OPEN) BRG_ASSERT(mem.run == job.run || job.type == BRG_ACT_CLOSE);
    switch (job.type) {
    case BRG_ACT_OPEN: open_run(&job, &answer); break;
    case BRG_ACT_CLOSE: mem.run = 0; break;
    case BRG_ACT_DECODE: do_decode(&job, &answer); break;
    case BRG_ACT_APPLY: apply(&job, &answer); break;
    case BRG_ACT_CHECKPOINT:
        BRG_ASSERT(mem.applied == job.step);
        sim_checkpoint_write(job.run, job.step, mem.params, 1);
        answer.type = BRG_EV_CHECKPOINTED;
        break;
    case BRG_ACT_TRUNCATE_LOG: sim_log_truncate(job.run, job.step); break;
    default: BRG_ASSERT(0 && "not a job");
    }
    run_jobs();
    if (answer.type != 0) sim_coordinator_feed(answer);
}

/* What the job under way leaves on disk when the process dies in the middle of it. */
static void tear_job(void) {
    if (!mem.job_running) return;
    const struct brg_coord_action *job = &mem.jobs[0];
    const uint64_t how = outcome();
    if (how == 0) return;
    if (job->type == BRG_ACT_DECODE && !sim_opt.durability_checkpoint) {
        static const int64_t garbage[SIM_DIM] = {-1, -1, -1};
        if (how == 2) decode(job);
        sim_log_append(job->run, job->step, how == 1 ? garbage : mem.gradient, how == 1);
    }
    if (job->type == BRG_ACT_CHECKPOINT) {
        sim_checkpoint_write(job->run, job->step, mem.params, how == 2);
    }
}

/* ---- what goes out ---- */

static int is_revoked(uint32_t member) {
    return machine.members.items[member].state == BRG_MEMBER_REVOKED;
}

static void send_to(const struct route *to, const struct brg_coord_action *a, uint32_t kind) {
    if (to->node == 0) return;
    sim_transmit((struct sim_msg){.kind = kind,
                                  .from = COORDINATOR,
                                  .to = to->node,
                                  .session = to->session,
                                  .epoch = machine.epoch,
                                  .run = a->run,
                                  .step = a->step,
                                  .unit = a->unit,
                                  .round = a->round,
                                  .since = a->since,
                                  .attempt = a->attempt,
                                  .code = mem.code,
                                  .error = a->code});
}

static void send_member(const struct brg_coord_action *a, uint32_t kind) {
    if (is_revoked(a->member)) return; /* later in this turn */
    send_to(&mem.route[a->member], a, kind);
}

static void broadcast(const struct brg_coord_action *a, uint32_t kind) {
    for (uint32_t i = 0; i < machine.members.count; i++) {
        if (!brg_members_is_here(&machine.members.items[i])) continue;
        if (a->member == BRG_NOBODY || a->member == i) send_to(&mem.route[i], a, kind);
    }
}

static void send_welcome(const struct brg_coord_action *a) {
    if (is_revoked(a->member)) return;
    int stored = 0;
    for (uint32_t i = 0; i < sim_disk.member_count; i++) {
        const int same = memcmp(sim_disk.members[i].key, machine.members.items[a->member].key,
                                BRG_KEY_BYTES) == 0;
        stored |= same && sim_disk.members[i].state != BRG_MEMBER_REVOKED;
    }
    BRG_ASSERT(stored); /* durable before it is welcome */
    BRG_ASSERT(a->peer > 0 && a->peer <= mem.hello_count);
    mem.route[a->member] = mem.hello[a->peer - 1];
    send_to(&mem.route[a->member], a, MSG_WELCOME);
}

static void send_refused(const struct brg_coord_action *a) {
    BRG_ASSERT(a->code >= BRG_REFUSED_UNKNOWN_KEY && a->code <= BRG_REFUSED_SAME_KEY);
    BRG_ASSERT(a->peer <= mem.hello_count);
    const struct route *to = a->peer != 0 ? &mem.hello[a->peer - 1] : &mem.route[a->member];
    if (a->code == BRG_REFUSED_TOKEN_REVOKED && to->node != 0) {
        BRG_ASSERT(sim_token_of(to->node) == TOKEN_REVOKED);
    }
    send_to(to, a, MSG_REFUSED);
}

static void send_task(const struct brg_coord_action *a) {
    if (!sim_opt.durability_checkpoint) {
        BRG_ASSERT(a->step > sim_disk.runs[a->run].committed);
        BRG_ASSERT(a->step <= sim_disk.runs[a->run].committed + sim_opt.models);
    }
    BRG_ASSERT(a->step <= mem.applied + sim_opt.models); /* what it starts from is there */
    BRG_ASSERT(sim_disk.runs[a->run].code == mem.code);  /* durable before it is used */
    BRG_ASSERT(a->unit < brg_scheme_unit_count(sim_scheme(mem.code)));
    send_member(a, MSG_TASK);
}

static void send_commit(const struct brg_coord_action *a) {
    if (!sim_opt.durability_checkpoint) {
        BRG_ASSERT(a->step <= sim_disk.runs[a->run].committed); /* durable before visible */
        if (a->step > sim_disk.announced[a->run]) sim_disk.announced[a->run] = a->step;
    }
    broadcast(a, MSG_COMMIT);
}

static void perform(const struct brg_coord_action *a) {
    switch (a->type) {
    case BRG_ACT_SEND_WELCOME: send_welcome(a); break;
    case BRG_ACT_SEND_REFUSED: send_refused(a); break;
    case BRG_ACT_SEND_REHELLO: send_member(a, MSG_REHELLO); break;
    case BRG_ACT_SEND_RUN: send_member(a, MSG_RUN); break;
    case BRG_ACT_SEND_TASK: send_task(a); break;
    case BRG_ACT_SEND_COMMIT: send_commit(a); break;
    case BRG_ACT_SEND_RELEASE: broadcast(a, MSG_RELEASE); break;
    case BRG_ACT_SEND_DRAIN_ACK: send_member(a, MSG_DRAIN_ACK); break;
    case BRG_ACT_PULL: send_member(a, MSG_WANT); break;
    case BRG_ACT_OPEN:
    case BRG_ACT_CLOSE:
    case BRG_ACT_DECODE:
    case BRG_ACT_APPLY:
    case BRG_ACT_CHECKPOINT:
    case BRG_ACT_TRUNCATE_LOG: queue_job(a); break;
    case BRG_ACT_ARM:
        sim_push((struct sim_event){.at_ns = a->at_ns > sim_now_ns ? a->at_ns : sim_now_ns,
                                    .kind = SIM_TIMER,
                                    .incarnation = incarnation,
                                    .id = ++mem.timer_id});
        break;
    case BRG_ACT_SWITCHED: mem.code = a->unit; break; /* see step */
    case BRG_ACT_ROUND:
    case BRG_ACT_NOTE: break;
    default: BRG_ASSERT(0 && "an action that does not exist, or a HALT that is not the end");
    }
}

/* ---- the turn ---- */

/* The log of the round that has just ended. */
static void check_log(void) {
    const struct brg_round_log *log = &machine.rounds.log;
    uint32_t tasks = 0;
    BRG_ASSERT(log->round > 0 && log->round <= machine.rounds.round);
    BRG_ASSERT(log->ended_ns >= log->started_ns && log->n <= BRG_CODE_WORKERS_MAX);
    for (uint32_t p = 0; p < log->n; p++) {
        const struct brg_round_entry *entry = &log->entries[p];
        if (entry->member != BRG_NOBODY) BRG_ASSERT(entry->member < machine.members.count);
        tasks += entry->count;
        for (uint32_t i = 0; i < entry->count; i++) {
            BRG_ASSERT(entry->chunks[i] > 0 && entry->member != BRG_NOBODY);
            BRG_ASSERT(entry->done_ns[i] <= log->ended_ns - log->started_ns);
        }
    }
    BRG_ASSERT(tasks > 0);
}

/* What is true before a step of the machine and must be remembered for after it. */
struct before {
    uint64_t ended;
    int open;
};

/* What this simulator itself knows to be wrong, whatever the machine thinks. */
static void watch(const struct brg_coord_event *ev, struct before before) {
    if (ev->type == BRG_EV_REVOKE && before.open) {
        for (uint32_t j = 0; j < BRG_JOBS_MAX; j++) {
            for (uint32_t u = 0; u < SIM_UNITS_MAX; u++) {
                struct share *share = &mem.shares[j][u];
                if (share->member == ev->member && share->step > before.ended) share->tainted = 1;
            }
        }
    }
    if (ev->type == BRG_EV_STOP) mem.stop_wanted[ev->run] = 1;
    if (ev->type == BRG_EV_RESUME) mem.stop_wanted[ev->run] = 0;
    for (uint32_t i = 0; i < acts.count; i++) {
        const struct brg_coord_action *a = &acts.items[i];
        if (a->type == BRG_ACT_SEND_TASK) BRG_ASSERT(!is_revoked(a->member));
        if (a->type == BRG_ACT_ROUND) check_log();
        if (a->type != BRG_ACT_PERSIST_RUN) continue;
        const uint32_t state = machine.runs[brg_coord_run(&machine, a->run)].plan.state;
        if (mem.stop_wanted[a->run]) BRG_ASSERT(state != BRG_RUN_PAUSED);
    }
}

static void step(struct brg_coord_event ev) {
    ev.now_ns = sim_now_ns;
    const struct brg_rounds *r = &machine.rounds;
    const struct before before = {.ended = r->ended,
                                  .open = r->phase == BRG_PHASE_WAITING ||
                                          r->phase == BRG_PHASE_COLLECTING};
    const int rc = brg_coord_step(&machine, &ev, &acts);
    brg_coord_check(&machine);
    if (rc != BRG_OK) return;
    watch(&ev, before);
    for (uint32_t i = 0; i < acts.count; i++) {
        if (acts.items[i].type <= BRG_ACT_PERSIST_CHECKPOINT) {
            sim_disk_keep(&machine, &acts.items[i]);
        } else {
            BRG_ASSERT(deferred_count < DEFER_MAX);
            deferred[deferred_count] = acts.items[i];
            if (acts.items[i].type == BRG_ACT_SWITCHED) { /* the turn may bring another switch */
                deferred[deferred_count].unit = sim_code_of(machine.rounds.scheme);
            }
            deferred_count++;
        }
    }
}

/* A worker has shown a step that the store forgot: nothing of this turn happens. */
static void halt(void) {
    BRG_ASSERT(sim_disk.forgot);
    sim_say("halts: the store forgot", COORDINATOR, 0);
    sim_disk_drop();
    deferred_count = 0;
    up = 0;
    halted = 1;
}

/* What the machine asked for in this turn: one write, then the rest. */
static void end_turn(void) {
    if (machine.halted) {
        halt();
        return;
    }
    if (sim_disk_pending()) {
        if (dies_here()) {
            if (outcome() > 0) sim_disk_write(); /* it reached the disk, or it did not */
            sim_disk_drop();
            return;
        }
        sim_disk_write();
    }
    for (uint32_t i = 0; i < deferred_count; i++) {
        if (dies_here()) break;
        perform(&deferred[i]);
    }
    deferred_count = mem.hello_count = 0;
}

static void take_hello(const struct sim_msg *m, struct brg_coord_event *ev) {
    ev->type = BRG_EV_HELLO;
    BRG_ASSERT(mem.hello_count < TURN_MESSAGES_MAX);
    mem.hello[mem.hello_count++] = (struct route){.node = m->from, .session = m->session};
    ev->peer = mem.hello_count;
    memset(ev->key, (int)sim_key_of(m->from), sizeof ev->key);
    ev->has_token = m->token != 0;
    sim_token_hash(m->token, &ev->token_hash);
    ev->wall_s = 1000;
    ev->has_proof = m->has_proof;
    const int lost = m->has_proof && m->step > sim_disk.runs[m->run].committed;
    step(*ev);
    if (lost) BRG_ASSERT(machine.halted); /* at once, and for whomever */
}

static void take_share(const struct sim_msg *m, struct brg_coord_event *ev) {
    ev->type = BRG_EV_SHARE;
    const struct brg_rounds *r = &machine.rounds;
    if (m->run != r->plan.run || !brg_rounds_is_open(r, m->step) || m->unit >= r->unit_count)
        return;
    const struct brg_progress *u = &brg_rounds_job(r, m->step)->units[m->unit];
    if (u->state != BRG_UNIT_PULLING || u->puller != ev->member) return;
    const struct brg_digest got = sim_share_digest(m->share);
    uint32_t k = 0;
    while (k < u->holder_count && u->holders[k] != ev->member) k++;
    BRG_ASSERT(k < u->holder_count);
    ev->code = brg_digest_equal(&got, &u->digests[k]) ? BRG_OK : BRG_ECORRUPT;
    step(*ev);
    if (u->state != BRG_UNIT_HELD || u->puller != ev->member) return;
    struct share *share = &mem.shares[m->step % BRG_JOBS_MAX][m->unit];
    share->step = m->step;
    share->member = ev->member;
    share->tainted = 0;
    memcpy(share->values, m->share, sizeof m->share);
}

/* The member that this connection belongs to, or BRG_NOBODY. */
static uint32_t member_of(const struct sim_msg *m) {
    uint8_t key[BRG_KEY_BYTES];
    memset(key, (int)sim_key_of(m->from), sizeof key);
    const uint32_t slot = brg_members_find(&machine.members, key);
    if (slot == BRG_NOBODY || is_revoked(slot)) return BRG_NOBODY;
    const struct route *r = &mem.route[slot];
    if (r->node == m->from && r->session == m->session) return slot;
    /* Its line broke and came back, we are a new incarnation, or another process has its key. */
    const struct route back = {.node = m->from, .session = m->session};
    const struct brg_coord_action nothing = {0};
    if (m->kind < MSG_SHARE) send_to(&back, &nothing, MSG_REHELLO);
    return BRG_NOBODY;
}

/* A message as an event; the machine is asked as it is at this moment of the turn. */
static void take(const struct sim_msg *m) {
    struct brg_coord_event ev = {.epoch = m->epoch,
                                 .session = m->session,
                                 .run = m->run,
                                 .since = m->since,
                                 .step = m->step,
                                 .unit = m->unit,
                                 .code = m->error,
                                 .digest = m->digest};
    if (m->kind == MSG_HELLO) {
        take_hello(m, &ev);
        return;
    }
    ev.member = member_of(m);
    if (ev.member == BRG_NOBODY) return; /* may say only HELLO */
    switch (m->kind) {
    case MSG_BEAT: ev.type = BRG_EV_BEAT; break;
    case MSG_DONE: ev.type = BRG_EV_DONE; break;
    case MSG_FAULT: ev.type = BRG_EV_FAULT; break;
    case MSG_DRAIN: ev.type = BRG_EV_DRAIN; break;
    case MSG_BYE: ev.type = BRG_EV_BYE; break;
    case MSG_SHARE_GONE:
        ev.type = BRG_EV_SHARE;
        ev.code = BRG_ENOENT;
        break;
    case MSG_SHARE: take_share(m, &ev); return;
    default: BRG_ASSERT(0 && "a message that workers do not send");
    }
    step(ev);
}

static void turn(void) {
    mem.turn_due = 0;
    const uint32_t count =
        mem.inbox_count < TURN_MESSAGES_MAX ? mem.inbox_count : TURN_MESSAGES_MAX;
    for (uint32_t i = 0; i < count; i++) take(&mem.inbox[i]);
    mem.inbox_count -= count;
    memmove(&mem.inbox[0], &mem.inbox[count], mem.inbox_count * sizeof mem.inbox[0]);
    for (uint32_t i = 0; i < mem.event_count; i++) step(mem.events[i]);
    mem.event_count = 0;
    if (mem.tick_due) step((struct brg_coord_event){.type = BRG_EV_TICK});
    mem.tick_due = 0;
    end_turn();
    if (up && mem.inbox_count > 0) wake();
}

/* Parameters and data for whoever asks on an attached connection. */
static void serve(const struct sim_msg *m) {
    if (member_of(m) == BRG_NOBODY) return;
    struct sim_msg answer = {.from = COORDINATOR,
                             .to = m->from,
                             .session = m->session,
                             .epoch = machine.epoch,
                             .run = m->run,
                             .step = m->step};
    if (m->epoch != machine.epoch || mem.run != m->run) return;
    if (m->kind == MSG_GET_DATA) {
        answer.kind = MSG_DATA;
    } else {
        /* Of each model the newest. */
        if (m->step < mem.applied || m->step >= mem.applied + sim_opt.models) return;
        answer.kind = MSG_PARAMS;
        memcpy(answer.values, mem.params[m->step % sim_opt.models].values, sizeof answer.values);
    }
    sim_transmit(answer);
}

void sim_coordinator_deliver(const struct sim_msg *m) {
    BRG_ASSERT(up);
    if (m->kind == MSG_GET_DATA || m->kind == MSG_GET_PARAMS) {
        serve(m);
        return;
    }
    if (mem.inbox_count == INBOX_MAX) return;
    mem.inbox[mem.inbox_count++] = *m;
    wake();
}

/* ---- life and death ---- */

void sim_coordinator_start(void) {
    BRG_ASSERT(!up && !halted);
    if (sim_opt.forgets && !sim_disk.forgot && incarnation > 0) sim_disk_forget();
    up = 1;
    incarnation++;
    memset(&mem, 0, sizeof mem);
    deferred_count = 0;
    brg_coord_init(&machine, 1000 * MS);
    machine.now_ns = sim_now_ns;
    sim_disk_load(&machine);
    step((struct brg_coord_event){.type = BRG_EV_START, .epoch = sim_disk.epoch});
    end_turn();
    if (!up) return;
    sim_push((struct sim_event){
        .at_ns = sim_now_ns + MS, .kind = SIM_OPERATOR, .incarnation = incarnation});
}

void sim_coordinator_crash(void) {
    BRG_ASSERT(up);
    up = 0;
    sim_say("coordinator dies", COORDINATOR, actions_done);
    tear_job();
    deferred_count = 0;
    const uint64_t after_ns = (1 + sim_below(800)) * MS;
    sim_push((struct sim_event){
        .at_ns = sim_now_ns + after_ns, .kind = SIM_RESTART, .node = COORDINATOR});
}

void sim_coordinator_event(const struct sim_event *e) {
    if (!up || e->incarnation != incarnation) return;
    switch (e->kind) {
    case SIM_TIMER:
        if (e->id != mem.timer_id) break;
        mem.tick_due = 1;
        wake();
        break;
    case SIM_TURN: turn(); break;
    case SIM_JOB:
        if (!dies_here()) finish_job();
        break;
    case SIM_OPERATOR:
        sim_push((struct sim_event){
            .at_ns = sim_now_ns + 300 * MS, .kind = SIM_OPERATOR, .incarnation = incarnation});
        sim_operate(&machine);
        break;
    default: BRG_ASSERT(0 && "not the coordinator's");
    }
}
