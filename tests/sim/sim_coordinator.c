/* The coordinator's shell, as far as decisions can tell: turns with one synced write, files that
 * may be torn, one compute thread that works off a queue. Dies at any action. */
#include "tests/sim/sim.h"

#include <math.h>
#include <string.h>

enum { LOG_MAX = 64, CKPT_MAX = 32, INBOX_MAX = 4096, BATCH_MAX = 4096, DEFER_MAX = 8192 };
enum { JOBS_MAX = 64, TOKEN_USES = SIM_WORKERS_MAX + 4 };

/* ---- what survives ---- */
struct log_entry {
    uint64_t step;
    int64_t gradient[SIM_DIM];
    int torn;
};
struct checkpoint {
    uint64_t step;
    struct sim_params params;
    int complete;
};
static struct {
    uint64_t epoch;
    uint32_t member_count, token_exists, token_uses, token_revoked;
    struct {
        uint8_t key[BRG_KEY_BYTES];
        uint32_t state;
    } members[SIM_NODES_MAX];
    struct {
        uint32_t exists, state;
        uint64_t committed, checkpoint;
    } runs[SIM_RUNS_MAX + 1];
} disk;
static struct {
    struct log_entry log[LOG_MAX];
    struct checkpoint checkpoints[CKPT_MAX];
    uint32_t log_count, checkpoint_count;
} files[SIM_RUNS_MAX + 1];

/* ---- what dies with the process ---- */
static struct brg_coord machine;
static struct brg_coord_actions acts;
static struct {
    struct sim_msg inbox[INBOX_MAX];
    uint32_t inbox_count, turn_due;
    uint64_t timer_id, run, version;
    struct sim_params params;
    struct {
        uint64_t step;
        uint32_t member, held;
        double values[SIM_DIM];
    } shares[BRG_CODE_WORKERS_MAX];
    int64_t gradient[SIM_DIM];
    struct brg_coord_action jobs[JOBS_MAX];
    uint32_t job_count, job_running;
} mem;
static int up;
static uint32_t incarnation;
static uint64_t actions_done, announced[SIM_RUNS_MAX + 1];

/* One record of a turn's batch, as it was when the machine asked for it. */
static struct record {
    struct brg_coord_action action;
    uint8_t key[BRG_KEY_BYTES];
    uint32_t state, uses, revoked;
} batch[BATCH_MAX];
static struct brg_coord_action deferred[DEFER_MAX];
static uint32_t batch_count, deferred_count;

int sim_coordinator_up(void) {
    return up;
}
uint32_t sim_coordinator_incarnation(void) {
    return incarnation;
}
uint64_t sim_committed(uint64_t run) {
    return disk.runs[run].committed;
}
uint64_t sim_actions_done(void) {
    return actions_done;
}
int sim_all_ended(void) {
    for (uint32_t r = 1; r <= sim_opt.runs; r++) {
        const uint32_t state = disk.runs[r].state;
        if (state != BRG_RUN_FINISHED && state != BRG_RUN_STOPPED) return 0;
    }
    return 1;
}

void sim_coordinator_reset(void) {
    memset(&disk, 0, sizeof disk);
    memset(files, 0, sizeof files);
    memset(announced, 0, sizeof announced);
    up = 0;
    incarnation = 0;
    actions_done = 0;
}

/* A place at which the process may die; 1: it just did. */
static int dies_here(void) {
    actions_done++;
    const int dies = sim_opt.crash_at_action != 0 ? actions_done == sim_opt.crash_at_action
                                                  : !sim_healed && sim_chance(sim_opt.crash);
    if (dies) sim_coordinator_crash();
    return dies;
}

static void wake(void) {
    if (mem.turn_due) return;
    mem.turn_due = 1;
    sim_push((struct sim_event){
        .at_ns = sim_now_ns + sim_below(MS / 2), .kind = SIM_TURN, .incarnation = incarnation});
}

/* ---- files ---- */

static void log_append(uint64_t run, uint64_t step, const int64_t *gradient, int torn) {
    BRG_ASSERT(files[run].log_count < LOG_MAX);
    struct log_entry *entry = &files[run].log[files[run].log_count++];
    entry->step = step;
    entry->torn = torn;
    memcpy(entry->gradient, gradient, sizeof entry->gradient);
}

static void log_truncate(uint64_t run, uint64_t step) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < files[run].log_count; i++) {
        if (files[run].log[i].step > step) files[run].log[kept++] = files[run].log[i];
    }
    files[run].log_count = kept;
}

static void checkpoint_write(uint64_t run, uint64_t step, const struct sim_params *p,
                             int complete) {
    BRG_ASSERT(files[run].checkpoint_count < CKPT_MAX);
    files[run].checkpoints[files[run].checkpoint_count++] =
        (struct checkpoint){.step = step, .params = *p, .complete = complete};
}

/* Restart: the last checkpoint that has a record, then the log; whatever lies behind the last
 * commit was under way when the process died. */
static struct sim_params restore(uint64_t run) {
    struct sim_params p = sim_initial(run);
    const uint64_t from = disk.runs[run].checkpoint, to = disk.runs[run].committed;
    int found = from == 0;
    for (uint32_t i = 0; i < files[run].checkpoint_count; i++) {
        const struct checkpoint *c = &files[run].checkpoints[i];
        if (c->step != from || !c->complete) continue;
        p = c->params;
        found = 1;
    }
    BRG_ASSERT(found);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < files[run].log_count; i++) {
        if (files[run].log[i].step <= to && !files[run].log[i].torn)
            files[run].log[kept++] = files[run].log[i];
    }
    files[run].log_count = kept;
    for (uint64_t step = from + 1; step <= to; step++) {
        uint32_t i = 0;
        while (i < kept && files[run].log[i].step != step) i++;
        BRG_ASSERT(i < kept); /* a committed step has its gradient */
        p = sim_apply(&p, files[run].log[i].gradient);
    }
    return p;
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

/* The shares that the machine holds, combined; must be the whole batch's gradient to the last bit.
 */
static void decode(const struct brg_coord_action *job) {
    static double weights[BRG_SCHEME_UNITS_MAX];
    struct brg_bits held;
    brg_bits_clear(&held);
    for (uint32_t u = 0; u < machine.rounds.unit_count; u++) {
        if (machine.rounds.units[u].state != BRG_UNIT_HELD) continue;
        BRG_ASSERT(mem.shares[u].held && mem.shares[u].step == job->step);
        BRG_ASSERT(mem.shares[u].member == machine.rounds.units[u].puller);
        brg_bits_add(&held, u);
    }
    const int rc = brg_scheme_decode(sim_scheme(), &held, weights);
    BRG_ASSERT(rc == BRG_OK);
    double sum[SIM_DIM] = {0};
    for (uint32_t u = brg_bits_next(&held, 0); u < BRG_BITS_MAX; u = brg_bits_next(&held, u + 1)) {
        for (uint32_t i = 0; i < SIM_DIM; i++) sum[i] += weights[u] * mem.shares[u].values[i];
    }
    for (uint32_t i = 0; i < SIM_DIM; i++) mem.gradient[i] = llround(sum[i]);
    const struct sim_params before = sim_reference(job->run, job->step - 1),
                            after = sim_reference(job->run, job->step);
    const struct sim_params got = sim_apply(&before, mem.gradient);
    BRG_ASSERT(memcmp(&got, &after, sizeof got) == 0); /* exact, never a smaller batch */
}

static void feed(struct brg_coord_event ev);

static void finish_job(void) {
    BRG_ASSERT(mem.job_running && mem.job_count > 0);
    const struct brg_coord_action job = mem.jobs[0];
    memmove(&mem.jobs[0], &mem.jobs[1], --mem.job_count * sizeof mem.jobs[0]);
    mem.job_running = 0;
    struct brg_coord_event answer = {.run = job.run, .step = job.step};
    switch (job.type) {
    case BRG_ACT_OPEN:
        mem.run = job.run;
        mem.params = restore(job.run);
        mem.version = disk.runs[job.run].committed;
        answer.type = BRG_EV_OPENED;
        answer.step = mem.version;
        answer.scheme = sim_scheme();
        break;
    case BRG_ACT_CLOSE: mem.run = 0; break;
    case BRG_ACT_DECODE:
        decode(&job);
        if (!sim_opt.durability_checkpoint) log_append(job.run, job.step, mem.gradient, 0);
        answer.type = BRG_EV_DECODED;
        break;
    case BRG_ACT_APPLY: {
        BRG_ASSERT(mem.version == job.step - 1); /* never twice, none left out */
        mem.params = sim_apply(&mem.params, mem.gradient);
        mem.version = job.step;
        const struct sim_params want = sim_reference(job.run, job.step);
        BRG_ASSERT(memcmp(&mem.params, &want, sizeof want) == 0);
        answer.type = BRG_EV_APPLIED;
        break;
    }
    case BRG_ACT_CHECKPOINT:
        BRG_ASSERT(mem.version == job.step);
        checkpoint_write(job.run, job.step, &mem.params, 1);
        answer.type = BRG_EV_CHECKPOINTED;
        break;
    case BRG_ACT_TRUNCATE_LOG:
        BRG_ASSERT(disk.runs[job.run].checkpoint >= job.step); /* its record came first */
        log_truncate(job.run, job.step);
        break;
    default: BRG_ASSERT(!"not a job");
    }
    run_jobs();
    if (answer.type != 0) feed(answer);
}

/* What the job under way leaves on disk when the process dies in the middle of it. */
static void tear_job(void) {
    if (!mem.job_running) return;
    const struct brg_coord_action *job = &mem.jobs[0];
    const uint64_t how = sim_below(3);
    if (job->type == BRG_ACT_DECODE && how > 0 && !sim_opt.durability_checkpoint) {
        static const int64_t garbage[SIM_DIM] = {-1, -1, -1};
        if (how == 2) decode(job);
        log_append(job->run, job->step, how == 1 ? garbage : mem.gradient, how == 1);
    }
    if (job->type == BRG_ACT_CHECKPOINT && how > 0) {
        checkpoint_write(job->run, job->step, &mem.params, how == 2);
    }
}

/* ---- the turn ---- */

static void keep(const struct brg_coord_action *a) {
    struct record r = {.action = *a};
    if (a->type == BRG_ACT_PERSIST_MEMBER) {
        memcpy(r.key, machine.members.items[a->member].key, BRG_KEY_BYTES);
        r.state = machine.members.items[a->member].state;
    } else if (a->type == BRG_ACT_PERSIST_TOKEN) {
        r.uses = machine.members.tokens[a->token].uses_left;
        r.revoked = machine.members.tokens[a->token].revoked;
    } else if (a->type == BRG_ACT_PERSIST_RUN) {
        r.state = machine.runs[brg_coord_run(&machine, a->run)].plan.state;
    }
    BRG_ASSERT(batch_count < BATCH_MAX);
    batch[batch_count++] = r;
}

static void step(struct brg_coord_event ev) {
    ev.now_ns = sim_now_ns;
    const int rc = brg_coord_step(&machine, &ev, &acts);
    brg_coord_check(&machine);
    if (rc != BRG_OK) return;
    for (uint32_t i = 0; i < acts.count; i++) {
        if (acts.items[i].type <= BRG_ACT_PERSIST_CHECKPOINT) {
            keep(&acts.items[i]);
        } else {
            BRG_ASSERT(deferred_count < DEFER_MAX);
            deferred[deferred_count++] = acts.items[i];
        }
    }
}

static void write_commit(uint64_t run, uint64_t step_number) {
    if (sim_opt.durability_checkpoint) return; /* its record comes with the checkpoint */
    BRG_ASSERT(step_number == disk.runs[run].committed + 1);
    uint32_t found = 0;
    for (uint32_t i = 0; i < files[run].log_count; i++) {
        found += files[run].log[i].step == step_number && !files[run].log[i].torn;
    }
    BRG_ASSERT(found >= 1); /* the gradient is durable before its record */
    disk.runs[run].committed = step_number;
    sim_say("committed", COORDINATOR, step_number);
}

static void write_batch(void) {
    for (uint32_t i = 0; i < batch_count; i++) {
        const struct record *r = &batch[i];
        const uint64_t run = r->action.run;
        switch (r->action.type) {
        case BRG_ACT_PERSIST_MEMBER: {
            const uint32_t slot = r->action.member;
            BRG_ASSERT(slot <= disk.member_count && slot < SIM_NODES_MAX);
            if (slot == disk.member_count) disk.member_count++;
            memcpy(disk.members[slot].key, r->key, BRG_KEY_BYTES);
            disk.members[slot].state = r->state;
            break;
        }
        case BRG_ACT_PERSIST_TOKEN:
            disk.token_exists = 1;
            disk.token_uses = r->uses;
            disk.token_revoked = r->revoked;
            break;
        case BRG_ACT_PERSIST_RUN:
            disk.runs[run].exists = 1;
            disk.runs[run].state = r->state;
            break;
        case BRG_ACT_PERSIST_COMMIT: write_commit(run, r->action.step); break;
        case BRG_ACT_PERSIST_CHECKPOINT:
            disk.runs[run].checkpoint = r->action.step;
            if (sim_opt.durability_checkpoint) disk.runs[run].committed = r->action.step;
            break;
        default: BRG_ASSERT(!"not a record");
        }
    }
}

static struct sim_msg to_member(const struct brg_coord_action *a, uint32_t kind) {
    return (struct sim_msg){.kind = kind,
                            .from = COORDINATOR,
                            .to = machine.members.items[a->member].key[0],
                            .epoch = machine.epoch,
                            .run = a->run,
                            .step = a->step,
                            .unit = a->unit,
                            .attempt = a->attempt,
                            .code = a->code};
}

static void broadcast(const struct brg_coord_action *a, uint32_t kind) {
    for (uint32_t i = 0; i < machine.members.count; i++) {
        if (!brg_members_is_here(&machine.members.items[i])) continue;
        struct brg_coord_action one = *a;
        one.member = i;
        if (a->member == BRG_NOBODY || a->member == i) sim_transmit(to_member(&one, kind));
    }
}

/* Goes to the connection that the HELLO came from. The older process of a key, which is told when a
 * newer one takes over (peer 0), is always dead here: a node runs one process at a time. */
static void send_refused(const struct brg_coord_action *a) {
    if (a->peer == 0) return;
    sim_transmit((struct sim_msg){.kind = MSG_REFUSED,
                                  .to = (uint32_t)(a->peer % 16),
                                  .epoch = machine.epoch,
                                  .session = a->peer,
                                  .code = a->code});
}

static void perform(const struct brg_coord_action *a) {
    switch (a->type) {
    case BRG_ACT_SEND_WELCOME: {
        uint32_t stored = 0;
        for (uint32_t i = 0; i < disk.member_count; i++) {
            stored |= memcmp(disk.members[i].key, machine.members.items[a->member].key,
                             BRG_KEY_BYTES) == 0;
        }
        BRG_ASSERT(stored); /* durable before it is welcome */
        sim_transmit(to_member(a, MSG_WELCOME));
        break;
    }
    case BRG_ACT_SEND_REFUSED: send_refused(a); break;
    case BRG_ACT_SEND_REHELLO: sim_transmit(to_member(a, MSG_REHELLO)); break;
    case BRG_ACT_SEND_RUN: sim_transmit(to_member(a, MSG_RUN)); break;
    case BRG_ACT_SEND_TASK:
        if (!sim_opt.durability_checkpoint) {
            BRG_ASSERT(a->step == disk.runs[a->run].committed + 1);
        }
        BRG_ASSERT(machine.members.items[a->member].state != BRG_MEMBER_REVOKED);
        sim_transmit(to_member(a, MSG_TASK));
        break;
    case BRG_ACT_SEND_COMMIT:
        if (!sim_opt.durability_checkpoint) {
            BRG_ASSERT(a->step <= disk.runs[a->run].committed); /* durable before visible */
            if (a->step > announced[a->run]) announced[a->run] = a->step;
        }
        broadcast(a, MSG_COMMIT);
        break;
    case BRG_ACT_SEND_RELEASE: broadcast(a, MSG_RELEASE); break;
    case BRG_ACT_SEND_DRAIN_ACK: sim_transmit(to_member(a, MSG_DRAIN_ACK)); break;
    case BRG_ACT_PULL: sim_transmit(to_member(a, MSG_WANT)); break;
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
    case BRG_ACT_HALT: BRG_ASSERT(!"halted although nothing durable was lost"); break;
    case BRG_ACT_NOTE: break;
    default: BRG_ASSERT(!"an action that does not exist");
    }
}

/* What the machine asked for in this turn: one write, then the rest. */
static void end_turn(void) {
    if (batch_count > 0) {
        if (dies_here()) {
            if (sim_chance(500)) write_batch(); /* it reached the disk, or it did not */
            batch_count = 0;
            return;
        }
        write_batch();
        batch_count = 0;
    }
    for (uint32_t i = 0; i < deferred_count; i++) {
        if (dies_here()) break;
        perform(&deferred[i]);
    }
    deferred_count = 0;
}

/* A message as an event; the machine is asked as it is at this moment of the turn. */
static void take(const struct sim_msg *m) {
    uint8_t key[BRG_KEY_BYTES];
    memset(key, (int)m->from, sizeof key);
    struct brg_coord_event ev = {.epoch = m->epoch,
                                 .session = m->session,
                                 .run = m->run,
                                 .step = m->step,
                                 .unit = m->unit,
                                 .code = m->code,
                                 .digest = m->digest};
    ev.member = brg_members_find(&machine.members, key);
    switch (m->kind) {
    case MSG_HELLO:
        ev.type = BRG_EV_HELLO;
        ev.peer = m->session; /* stands for the connection */
        memcpy(ev.key, key, sizeof key);
        ev.has_token = m->token != 0;
        memset(ev.token_hash.bytes, (int)m->token, sizeof ev.token_hash.bytes);
        ev.wall_s = 1000;
        ev.has_proof = m->has_proof;
        break;
    case MSG_BEAT: ev.type = BRG_EV_BEAT; break;
    case MSG_DONE: ev.type = BRG_EV_DONE; break;
    case MSG_FAULT: ev.type = BRG_EV_FAULT; break;
    case MSG_DRAIN: ev.type = BRG_EV_DRAIN; break;
    case MSG_BYE: ev.type = BRG_EV_BYE; break;
    case MSG_SHARE_GONE:
        ev.type = BRG_EV_SHARE;
        ev.code = BRG_ENOENT;
        break;
    case MSG_SHARE: {
        ev.type = BRG_EV_SHARE;
        if (machine.rounds.phase != BRG_PHASE_COLLECTING || m->step != machine.rounds.step) return;
        const struct brg_progress *u = &machine.rounds.units[m->unit];
        if (u->state != BRG_UNIT_PULLING || u->puller != ev.member) return;
        const struct brg_digest got = sim_share_digest(m->share);
        uint32_t k = 0;
        while (k < u->holder_count && u->holders[k] != ev.member) k++;
        ev.code = brg_digest_equal(&got, &u->digests[k]) ? BRG_OK : BRG_ECORRUPT;
        mem.shares[m->unit].step = m->step;
        mem.shares[m->unit].member = ev.member;
        mem.shares[m->unit].held = 1;
        memcpy(mem.shares[m->unit].values, m->share, sizeof m->share);
        break;
    }
    default: BRG_ASSERT(!"a message that workers do not send");
    }
    if (ev.type != BRG_EV_HELLO && ev.member == BRG_NOBODY) return; /* may say only HELLO */
    step(ev);
}

static void feed(struct brg_coord_event ev) {
    step(ev);
    end_turn();
}

static void serve(const struct sim_msg *m) {
    struct sim_msg answer = {
        .from = COORDINATOR, .to = m->from, .epoch = machine.epoch, .run = m->run, .step = m->step};
    if (m->epoch != machine.epoch || mem.run != m->run) return;
    if (m->kind == MSG_GET_DATA) {
        answer.kind = MSG_DATA;
    } else {
        if (mem.version != m->step) return;
        answer.kind = MSG_PARAMS;
        memcpy(answer.values, mem.params.values, sizeof answer.values);
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

/* ---- operator ---- */

static void submit(uint64_t run) {
    const struct brg_run_plan plan = {.run = run,
                                      .steps = sim_opt.steps,
                                      .checkpoint_every = sim_opt.checkpoint_every,
                                      .task_timeout_ns = 2000 * MS,
                                      .pull_timeout_ns = 400 * MS,
                                      .min_workers = sim_opt.min_workers,
                                      .code = sim_opt.code};
    feed((struct brg_coord_event){
        .type = BRG_EV_SUBMIT, .plan = &plan, .has_proof = !sim_opt.durability_checkpoint});
}

static void operate(void) {
    sim_push((struct sim_event){
        .at_ns = sim_now_ns + 300 * MS, .kind = SIM_OPERATOR, .incarnation = incarnation});
    if (!disk.token_exists) {
        struct brg_coord_event ev = {
            .type = BRG_EV_TOKEN_ADD, .wall_s = UINT64_MAX, .uses = TOKEN_USES};
        memset(ev.token_hash.bytes, TOKEN_GOOD, sizeof ev.token_hash.bytes);
        feed(ev);
        return;
    }
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        if (!disk.runs[run].exists) {
            submit(run);
            return;
        }
        if (disk.runs[run].state == BRG_RUN_PAUSED && (sim_healed || sim_chance(500))) {
            feed((struct brg_coord_event){.type = BRG_EV_RESUME, .run = run});
            return;
        }
    }
    if (sim_healed || !sim_chance(sim_opt.operator_acts)) return;
    const uint64_t run = 1 + sim_below(sim_opt.runs);
    const uint64_t what = sim_below(10);
    if (what < 5) feed((struct brg_coord_event){.type = BRG_EV_PAUSE, .run = run});
    if (what == 5) feed((struct brg_coord_event){.type = BRG_EV_STOP, .run = run});
    if (what > 6 && machine.members.count > 2) {
        const uint32_t member = (uint32_t)sim_below(machine.members.count);
        if (brg_members_is_here(&machine.members.items[member])) {
            feed((struct brg_coord_event){.type = BRG_EV_ASK_DRAIN, .member = member});
        }
    }
}

/* ---- life and death ---- */

void sim_coordinator_start(void) {
    BRG_ASSERT(!up);
    up = 1;
    incarnation++;
    memset(&mem, 0, sizeof mem);
    batch_count = deferred_count = 0;
    disk.epoch++; /* synced before anything else happens */
    brg_coord_init(&machine, 1000 * MS);
    machine.now_ns = sim_now_ns;
    for (uint32_t i = 0; i < disk.member_count; i++) {
        uint32_t slot = BRG_NOBODY;
        const int rc =
            brg_members_add(&machine.members, disk.members[i].key, disk.members[i].state, &slot);
        BRG_ASSERT(rc == BRG_OK && slot == i);
    }
    if (disk.token_exists) {
        struct brg_token token = {.expires_s = UINT64_MAX, .uses_left = disk.token_uses};
        memset(token.hash.bytes, TOKEN_GOOD, sizeof token.hash.bytes);
        uint32_t index = 0;
        const int rc = brg_members_add_token(&machine.members, &token, &index);
        BRG_ASSERT(rc == BRG_OK);
    }
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        if (!disk.runs[run].exists) continue;
        BRG_ASSERT(disk.runs[run].committed >= announced[run]); /* what was told, survives */
        const struct brg_run_plan plan = {.run = run,
                                          .steps = sim_opt.steps,
                                          .checkpoint_every = sim_opt.checkpoint_every,
                                          .task_timeout_ns = 2000 * MS,
                                          .pull_timeout_ns = 400 * MS,
                                          .min_workers = sim_opt.min_workers,
                                          .state = disk.runs[run].state,
                                          .code = sim_opt.code};
        const int rc = brg_coord_add_run(&machine, &plan, disk.runs[run].committed,
                                         !sim_opt.durability_checkpoint);
        BRG_ASSERT(rc == BRG_OK);
    }
    feed((struct brg_coord_event){.type = BRG_EV_START, .epoch = disk.epoch});
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
        if (e->id == mem.timer_id) feed((struct brg_coord_event){.type = BRG_EV_TICK});
        break;
    case SIM_TURN:
        mem.turn_due = 0;
        for (uint32_t i = 0; i < mem.inbox_count; i++) take(&mem.inbox[i]);
        mem.inbox_count = 0;
        end_turn();
        break;
    case SIM_JOB:
        if (!dies_here()) finish_job();
        break;
    case SIM_OPERATOR: operate(); break;
    default: BRG_ASSERT(!"not the coordinator's");
    }
}

void sim_coordinator_end_check(void) {
    uint32_t enrolled = 0;
    for (uint32_t i = 0; i < disk.member_count; i++) {
        BRG_ASSERT(sim_token_of(disk.members[i].key[0]) == TOKEN_GOOD);
        enrolled++;
    }
    /* No crash spends a token without enrolling, or enrols without spending. */
    BRG_ASSERT(enrolled + disk.token_uses == TOKEN_USES);
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        if (disk.runs[run].state != BRG_RUN_FINISHED) continue;
        BRG_ASSERT(disk.runs[run].committed == sim_opt.steps);
        const struct sim_params got = restore(run), want = sim_reference(run, sim_opt.steps);
        BRG_ASSERT(memcmp(&got, &want, sizeof got) == 0);
    }
}
