#include "tests/sim/pipeline/line.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define FAULTS_NS (12000 * MS)
#define HEALED_NS (60000 * MS)

static uint64_t seed;

/* A fault is off altogether in a third of the runs: what only shows without it, shows too. */
static uint32_t rate(uint32_t max) {
    return below(3) == 0 ? 0 : 1 + (uint32_t)below(max);
}

static void draw(void) {
    memset(&opt, 0, sizeof opt);
    opt.stages = 1 + (uint32_t)below(STAGES_MAX - 1);
    opt.lanes = 1 + (uint32_t)below(2);
    opt.microbatches = opt.lanes + (uint32_t)below(5);
    opt.workers = opt.stages + (uint32_t)below(NODES_MAX - opt.stages);
    opt.steps = 8 + below(STEPS_MAX - 8);
    opt.relay = (uint32_t)below(2);
    opt.shadow = below(3) == 0 ? 0 : 1 + (uint32_t)below(SLICES);
    opt.loss = rate(20);
    opt.kills = rate(12);
    opt.pairs = rate(6);
    opt.everybody = rate(2);
    opt.restarts = below(3) == 0;
    opt.cuts = rate(10);
    opt.peer_cuts = rate(15);
    opt.drains = rate(8);
    opt.wrong = rate(6);
    opt.mute = rate(150);
}

/* The holder of a seat, if there is one. */
static uint32_t holder_of(uint32_t stage) {
    const struct brg_pipe_stage *s = &coordinator_machine()->stages[stage];
    return s->count == 0 ? 0 : s->holders[below(s->count)] + 1;
}

static void kill_stage(uint32_t stage) {
    const struct brg_pipe_stage *s = &coordinator_machine()->stages[stage];
    for (uint32_t i = 0; i < s->count; i++)
        if (worker_up(s->holders[i] + 1)) worker_kill(s->holders[i] + 1);
}

static void nemesis(void) {
    push((struct event){.at_ns = now_ns + 20 * MS, .kind = NEMESIS});
    const uint32_t n = 1 + (uint32_t)below(opt.workers), m = 1 + (uint32_t)below(opt.workers);
    const uint32_t stage = (uint32_t)below(opt.stages), holder = holder_of(stage);
    if (chance(opt.kills) && worker_up(n)) worker_kill(n);
    if (chance(opt.kills)) kill_stage(stage);
    if (chance(opt.pairs)) {
        kill_stage(stage);
        kill_stage((stage + 1) % opt.stages);
    }
    if (chance(opt.everybody))
        for (uint32_t i = 1; i <= opt.workers; i++)
            if (worker_up(i)) worker_kill(i);
    if (chance(opt.cuts)) cut[n][0] = cut[0][n] = !cut[n][0];
    if (chance(opt.peer_cuts) && n != m) cut[n][m] = cut[m][n] = !cut[n][m];
    if (chance(opt.peer_cuts)) memset(cut, 0, sizeof cut);
    if (chance(opt.drains) && holder != 0 && worker_up(holder)) worker_drain(holder);
    if (chance(opt.wrong) && holder != 0 && coordinator_machine()->stages[stage].count > 1)
        worker_spoil(holder);
    if (opt.restarts && chance(6) && coordinator_up()) coordinator_kill();
}

static void dispatch(const struct event *e) {
    if (e->kind == NEMESIS) {
        if (!healed) nemesis();
    } else if (e->kind == RESTART) {
        if (e->node == 0 && !coordinator_up()) coordinator_start();
        if (e->node != 0 && !worker_up(e->node)) worker_start(e->node);
    } else if (e->node == 0) {
        if (e->kind == TO_COORDINATOR || e->kind == HELLO) {
            if (cut[e->from][0]) return;
        }
        coordinator_event(e);
    } else {
        worker_event(e);
    }
}

static void run(uint64_t s) {
    struct event e;
    seed = s;
    world_reset(s);
    draw();
    if (loud)
        printf("%u workers, %u stages, %u lanes, %u microbatches, shadow %u, relay %u\n",
               opt.workers, opt.stages, opt.lanes, opt.microbatches, opt.shadow, opt.relay);
    workers_reset();
    coordinator_reset();
    coordinator_start();
    for (uint32_t n = 1; n <= opt.workers; n++)
        push((struct event){.at_ns = below(1000 * MS), .kind = RESTART, .node = n});
    push((struct event){.at_ns = now_ns, .kind = NEMESIS});
    while (now_ns < FAULTS_NS && !coordinator_done()) {
        const int some = pop(&e);
        BRG_ASSERT(some);
        dispatch(&e);
    }
    healed = 1;
    memset(cut, 0, sizeof cut);
    opt.loss = opt.mute = opt.restarts = 0;
    for (uint32_t n = 1; n <= opt.workers; n++) /* whoever is mute stays so: others must do */
        if (!worker_up(n)) tell("down", n, 0);
    tell("healed", 0, 0);
    const uint64_t end_ns = now_ns + HEALED_NS;
    while (!coordinator_done()) { /* liveness */
        const int some = pop(&e);
        BRG_ASSERT(some);
        BRG_ASSERT(now_ns < end_ns);
        dispatch(&e);
    }
    BRG_ASSERT(truth_version == opt.steps);
}

static void on_abort(int sig) {
    char line[64];
    (void)sig;
    const int n = snprintf(line, sizeof line, "reproduce: brigade_sim_line %" PRIu64 "\n", seed);
    if (n > 0) (void)!write(2, line, (size_t)n);
}

static int many(uint64_t n, uint64_t from) {
    uint64_t events = 0, all = 0;
    for (uint64_t i = 0; i < n; i++) {
        run(from + i);
        const uint64_t once = trace;
        events += dispatched;
        all = brg_prng_mix(all, once, 0, 0);
        if (i % 16 != 0) continue;
        const uint64_t counts[] = {commits_count, placements_count, handovers_count,
                                   rollbacks_count};
        uint64_t rungs[8];
        memcpy(rungs, rung_counts, sizeof rungs);
        run(from + i);
        BRG_ASSERT(trace == once);
        commits_count = counts[0]; /* told once */
        placements_count = counts[1];
        handovers_count = counts[2];
        rollbacks_count = counts[3];
        memcpy(rung_counts, rungs, sizeof rungs);
    }
    printf("%" PRIu64 " passed, 0 failed\n%" PRIu64 " events, %" PRIu64 " steps committed, %" PRIu64
           " placements, %" PRIu64 " hand-overs, %" PRIu64 " rollbacks\n",
           n, events, commits_count, placements_count, handovers_count, rollbacks_count);
    printf("recovered by replica %" PRIu64 ", shadow %" PRIu64 ", parity %" PRIu64
           ", neighbours %" PRIu64 ", checkpoint %" PRIu64 "\n",
           rung_counts[1], rung_counts[2], rung_counts[3], rung_counts[4], rung_counts[5]);
    printf("digest of all traces %016" PRIx64 "\n", all);
    return 0;
}

int main(int argc, char **argv) {
    (void)signal(SIGABRT, on_abort);
    if (argc == 4 && strcmp(argv[1], "--runs") == 0)
        return many(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc != 2) return fprintf(stderr, "usage: brigade_sim_line SEED | --runs N FROM\n"), 2;
    loud = 1;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    run(strtoull(argv[1], NULL, 10));
    printf("passed: %" PRIu64 " events, trace digest %016" PRIx64 "\n", dispatched, trace);
    return 0;
}
