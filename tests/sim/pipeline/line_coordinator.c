#include "tests/sim/pipeline/line.h"

#include <string.h>

#define LEASE_NS (400 * MS)

static struct {
    uint64_t epoch, generation, committed, committed_generation, checkpoint, checkpoint_generation;
    uint64_t rolled, lineage[STAGES_MAX];
    uint32_t held[STAGES_MAX];
} disk;

static struct brg_pipeline machine;
static struct brg_pipe_actions actions;
static int up;
static uint64_t session, armed_ns, heard_ns[NODES_MAX], sessions[NODES_MAX], crash_in;
uint64_t rung_counts[8], commits_count, handovers_count, rollbacks_count, placements_count;

int coordinator_up(void) {
    return up;
}

const struct brg_pipeline *coordinator_machine(void) {
    return &machine;
}

int coordinator_done(void) {
    return disk.committed == opt.steps && disk.checkpoint == opt.steps;
}

void coordinator_reset(void) {
    memset(&disk, 0, sizeof disk);
    up = 0;
    session = crash_in = 0;
}

static void send(const struct brg_pipe_action *a, struct brg_holder_event sev) {
    struct msg m = {.sev = sev};
    m.sev.epoch = disk.epoch;
    m.sev.generation = a->generation;
    if (a->type == BRG_PACT_SEND_PLACE) {
        const struct brg_pipe_member *to = &machine.members[a->member];
        for (uint32_t s = 0; s < opt.stages; s++) {
            const struct brg_pipe_stage *stage = &machine.stages[s];
            m.map.shadow_to[s] = stage->shadow_to == BRG_NOBODY ? 0 : stage->shadow_to + 1;
            for (uint32_t i = 0; i < stage->count; i++)
                for (uint32_t l = 0; l < opt.lanes; l++)
                    if (machine.members[stage->holders[i]].lanes >> l & 1u)
                        m.map.holder[s][l] = stage->holders[i] + 1;
        }
        for (uint32_t i = 0; i < to->source_count; i++) m.map.sources[i] = to->sources[i] + 1;
        m.map.source_count = to->source_count;
    } else if (a->type == BRG_PACT_SEND_LEARN || a->type == BRG_PACT_SEND_RELAY) {
        m.map.sources[0] = a->source + 1;
        m.map.source_count = 1;
    }
    transmit(TO_WORKER, 0, a->member + 1, &m);
}

/* Whoever has the state of a stage exactly is not to be passed over, unless it failed to give it.
 */
static void check_need(const struct brg_pipe_action *a) {
    for (uint32_t i = 0; i < opt.workers; i++) {
        const struct brg_pipe_member *m = &machine.members[i];
        if (!m->here || m->bad_source || !worker_up(i + 1)) continue;
        if (sessions[i + 1] != worker_session(i + 1) || m->held != a->stage) continue;
        BRG_ASSERT(!worker_has(i + 1, a->stage, machine.stages[a->stage].lineage, machine.committed,
                               NULL));
    }
    const struct brg_pipe_stage *s = &machine.stages[a->stage];
    if (a->rung > BRG_RUNG_SHADOW && opt.shadow && !(s->failed & (1u << BRG_RUNG_SHADOW)))
        BRG_ASSERT(s->shadow_version == 0 || s->shadow_version > machine.committed ||
                   s->shadow_member == BRG_NOBODY || machine.members[s->shadow_member].bad_source);
}

static void note(const struct brg_pipe_action *a) {
    static const char *const names[] = {
        "?",           "placed",       "recovering",     "recovered",
        "starved",     "stuck",        "digests differ", "rolled back",
        "handed over", "fetch failed", "cut off",        "finished"};
    tell(names[a->note], a->member + 1,
         a->note == BRG_PNOTE_PLACED ? machine.generation : a->stage * 10 + a->rung);
    if (a->note == BRG_PNOTE_RECOVERING) check_need(a);
    if (a->note == BRG_PNOTE_RECOVERED) rung_counts[a->rung]++;
    if (a->note == BRG_PNOTE_HANDED_OVER) handovers_count++;
    if (a->note == BRG_PNOTE_PLACED) placements_count++;
}

/* START: the serial run goes on from what the stage came back as. */
static void take_truth(uint32_t stage, uint32_t member) {
    const struct brg_pipe_member *m = &machine.members[member];
    struct weights w;
    BRG_ASSERT(truth_version == machine.committed);
    if (!worker_has(member + 1, stage, m->lineage, m->version, &w)) return; /* it died */
    if (m->lineage == machine.generation && machine.rolled != machine.generation) truth[stage] = w;
    BRG_ASSERT(memcmp(&truth[stage], &w, sizeof w) == 0);
}

static void persist(const struct brg_pipe_action *a) {
    switch (a->type) {
    case BRG_PACT_PERSIST_PLACE:
        BRG_ASSERT(a->generation >= disk.generation);
        disk.generation = a->generation;
        for (uint32_t s = 0; s < opt.stages; s++) {
            disk.lineage[s] = machine.stages[s].lineage;
            disk.held[s] = machine.stages[s].count > 0;
            const int starts =
                machine.phase == BRG_PIPE_STEPPING || machine.phase == BRG_PIPE_SAVING;
            for (uint32_t i = 0; i < machine.stages[s].count && starts; i++)
                take_truth(s, machine.stages[s].holders[i]);
        }
        break;
    case BRG_PACT_PERSIST_COMMIT:
        BRG_ASSERT(a->step == disk.committed + 1);
        disk.committed = a->step;
        disk.committed_generation = a->generation;
        truth_step();
        BRG_ASSERT(truth_version == disk.committed);
        commits_count++;
        tell("committed", 0, a->step);
        break;
    case BRG_PACT_PERSIST_ROLLBACK:
        disk.committed = a->step;
        disk.committed_generation = 0;
        disk.rolled = a->generation;
        truth_version = a->step;
        memcpy(truth, files[a->step], sizeof truth);
        rollbacks_count++;
        break;
    default: disk.checkpoint = a->step; disk.checkpoint_generation = a->generation;
    }
}

static void act(const struct brg_pipe_action *a) {
    switch (a->type) {
    case BRG_PACT_SEND_PLACE:
        send(a, (struct brg_holder_event){.type = BRG_HEV_PLACE,
                                          .stage = a->stage,
                                          .stages = opt.stages,
                                          .lanes = a->lanes,
                                          .lane_count = opt.lanes,
                                          .microbatches = opt.microbatches,
                                          .steps = opt.steps,
                                          .version = a->version,
                                          .commit_generation = a->commit_generation,
                                          .lineage = a->lineage,
                                          .rung = a->rung});
        break;
    case BRG_PACT_SEND_START: send(a, (struct brg_holder_event){.type = BRG_HEV_START}); break;
    case BRG_PACT_SEND_COMMIT:
        BRG_ASSERT(a->step <= disk.committed);
        send(a, (struct brg_holder_event){.type = BRG_HEV_COMMIT, .step = a->step});
        break;
    case BRG_PACT_SEND_UNSEAT:
        send(a, (struct brg_holder_event){.type = BRG_HEV_UNSEAT,
                                          .version = a->version,
                                          .commit_generation = a->commit_generation});
        break;
    case BRG_PACT_SEND_LEARN:
        send(a, (struct brg_holder_event){
                    .type = BRG_HEV_LEARN, .stage = a->stage, .lineage = a->lineage});
        break;
    case BRG_PACT_SEND_RELAY: send(a, (struct brg_holder_event){.type = 0}); break;
    case BRG_PACT_SEND_MAY_GO:
        tell("may go", a->member + 1, 0);
        if (worker_up(a->member + 1)) worker_kill(a->member + 1);
        break;
    case BRG_PACT_CHECKPOINT:
        memcpy(files[a->step], truth, sizeof truth);
        push((struct event){.at_ns = now_ns + below(300 * MS),
                            .kind = FILES,
                            .session = session,
                            .msg.ev = {.type = BRG_PEV_CHECKPOINTED,
                                       .step = a->step,
                                       .generation = a->generation}});
        break;
    case BRG_PACT_ARM:
        if (armed_ns > now_ns && armed_ns <= a->at_ns) break; /* an earlier one does */
        armed_ns = a->at_ns > now_ns ? a->at_ns : now_ns;
        push((struct event){.at_ns = armed_ns, .kind = TIMER, .session = session});
        break;
    case BRG_PACT_NOTE: note(a); break;
    default: BRG_ASSERT(a->type <= BRG_PACT_PERSIST_CHECKPOINT);
    }
}

static void feed(struct brg_pipe_event ev) {
    ev.now_ns = now_ns;
    if (brg_pipeline_step(&machine, &ev, &actions) != BRG_OK) return;
    brg_pipeline_check(&machine);
    int stored = 0;
    for (uint32_t i = 0; i < actions.count; i++) {
        if (actions.items[i].type > BRG_PACT_PERSIST_CHECKPOINT) continue;
        if (!stored && crash_in > 0 && --crash_in == 0) { /* the write never lands */
            coordinator_kill();
            return;
        }
        stored = 1;
        persist(&actions.items[i]);
    }
    for (uint32_t i = 0; i < actions.count; i++) {
        if (actions.items[i].type <= BRG_PACT_PERSIST_CHECKPOINT) continue;
        if (crash_in > 0 && --crash_in == 0) {
            coordinator_kill();
            return;
        }
        act(&actions.items[i]);
    }
}

void coordinator_start(void) {
    struct brg_pipe_plan plan = {.run = 1,
                                 .steps = opt.steps,
                                 .checkpoint_every = 5,
                                 .grace_ns = 1500 * MS,
                                 .retry_ns = 100 * MS,
                                 .hold_ns = 700 * MS,
                                 .learn_ns = 3000 * MS,
                                 .stages = opt.stages,
                                 .lanes = opt.lanes,
                                 .microbatches = opt.microbatches,
                                 .shadow_every = opt.shadow,
                                 .relay = opt.relay,
                                 .edges_copied = 1,
                                 .swap_percent = 50,
                                 .ladder = brg_ladder_default()};
    up = 1;
    session = ++disk.epoch;
    armed_ns = 0;
    crash_in = !healed && opt.restarts > 0 ? 1 + below(400) : 0;
    memset(heard_ns, 0, sizeof heard_ns);
    memset(sessions, 0, sizeof sessions);
    tell("coordinator starts", 0, disk.epoch);
    brg_pipeline_init(&machine, &plan);
    for (uint32_t s = 0; s < opt.stages; s++)
        brg_pipeline_restore(&machine, s, disk.lineage[s], (int)disk.held[s]);
    push((struct event){.at_ns = now_ns + 50 * MS, .kind = TIMER, .session = session, .from = 1});
    feed((struct brg_pipe_event){.type = BRG_PEV_OPEN,
                                 .epoch = disk.epoch,
                                 .generation = disk.generation,
                                 .step = disk.committed,
                                 .commit_generation = disk.committed_generation,
                                 .checkpoint = disk.checkpoint,
                                 .checkpoint_generation = disk.checkpoint_generation,
                                 .rolled = disk.rolled});
}

void coordinator_kill(void) {
    tell("coordinator killed", 0, disk.committed);
    up = 0;
    push((struct event){.at_ns = now_ns + below(800 * MS), .kind = RESTART, .node = 0});
}

static void leases(void) {
    push((struct event){.at_ns = now_ns + 50 * MS, .kind = TIMER, .session = session, .from = 1});
    for (uint32_t n = 1; n <= opt.workers && up; n++) {
        if (sessions[n] == 0 || now_ns < heard_ns[n] + LEASE_NS) continue;
        sessions[n] = 0;
        tell("lost", n, 0);
        feed((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = n - 1});
    }
}

void coordinator_event(const struct event *e) {
    if (!up) return;
    if ((e->kind == TIMER || e->kind == FILES) && e->session != session) return;
    if (e->kind == TIMER && e->from == 1) {
        leases();
    } else if (e->kind == TIMER) {
        feed((struct brg_pipe_event){.type = BRG_PEV_TICK});
    } else if (e->kind == FILES) {
        feed(e->msg.ev);
    } else if (e->kind == HELLO) {
        const uint32_t n = e->from;
        heard_ns[n] = now_ns;
        if (e->msg.session == sessions[n] && e->msg.ev.epoch == disk.epoch) return;
        if (e->msg.session < sessions[n]) return;
        if (e->msg.ev.epoch != disk.epoch) { /* first it must leave what was under way */
            struct msg m = {.sev = {.type = BRG_HEV_WELCOME, .epoch = disk.epoch, .run = 1}};
            transmit(TO_WORKER, 0, n, &m);
            return;
        }
        struct brg_pipe_event ev = e->msg.ev;
        sessions[n] = e->msg.session;
        ev.type = BRG_PEV_JOINED;
        tell("joined", n, ev.stage);
        feed(ev);
    } else if (sessions[e->from] == e->msg.session) {
        heard_ns[e->from] = now_ns;
        feed(e->msg.ev);
    }
}
