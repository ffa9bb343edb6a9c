#include "tests/sim/sim.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* A run has this much virtual time for faults, and this much to finish in a healed world. */
#define FAULTS_NS (20000 * MS)
#define HEALED_NS (120000 * MS)
/* Two processes with one key have this long to find out which of them is the newer. */
#define SETTLE_NS (5000 * MS)

static uint64_t seed, steps_done, halts, switched;

/* A fault is off altogether in a third of the runs: what only shows without it, shows too. */
static uint32_t rate(uint32_t max) {
    return sim_below(3) == 0 ? 0 : 1 + (uint32_t)sim_below(max);
}

/* Any code; it may be one that does not exist. */
static void draw_any_code(struct brg_code_spec *code) {
    static const uint32_t kinds[] = {BRG_CODE_NONE,   BRG_CODE_FRC,    BRG_CODE_FRC,
                                     BRG_CODE_CYCLIC, BRG_CODE_SR_SGC, BRG_CODE_SR_SGC,
                                     BRG_CODE_M_SGC,  BRG_CODE_M_SGC,  BRG_CODE_SPECULATIVE};
    memset(code, 0, sizeof *code);
    code->kind = kinds[sim_below(sizeof kinds / sizeof kinds[0])];
    code->mu_ppm = (uint32_t)sim_below(3) * 500000;
    code->n = 1 + (uint32_t)sim_below(sim_below(8) == 0 ? 16 : 6);
    code->seed = sim_rng();
    const int is_sequential = code->kind == BRG_CODE_SR_SGC || code->kind == BRG_CODE_M_SGC;
    if (code->kind == BRG_CODE_FRC || code->kind == BRG_CODE_CYCLIC) {
        code->s = (uint32_t)sim_below(code->n);
    }
    if (is_sequential) {
        code->b = 1 + (uint32_t)sim_below(3);
        code->w = code->kind == BRG_CODE_SR_SGC ? code->b * (1 + (uint32_t)sim_below(2)) + 1
                                                : 2 + (uint32_t)sim_below(3);
        code->lambda = sim_below(3) == 0 ? code->n : 1 + (uint32_t)sim_below(code->n);
        if (code->kind == BRG_CODE_SR_SGC || code->lambda < code->n) {
            code->base = sim_below(2) == 0 ? BRG_BASE_REPETITION : BRG_BASE_CYCLIC;
        }
    } else if (code->kind != BRG_CODE_CYCLIC) {
        code->parts = (uint32_t)sim_below(4);
    }
    if (code->kind == BRG_CODE_FRC) code->delay = (uint32_t)sim_below(2);
    if (code->kind != BRG_CODE_SPECULATIVE) code->rule = (uint32_t)sim_below(3);
    code->policy = BRG_POLICY_EARLY + (uint32_t)sim_below(3);
}

/* 1 where `code` can be a run's of so many models and chunks. */
static int is_usable(const struct brg_code_spec *code) {
    return brg_scheme_check(code, NULL) == BRG_OK && brg_policy_check(code, NULL) == BRG_OK &&
           brg_code_delay(code) < sim_opt.models && brg_scheme_size_bytes(code) <= 65536;
}

/* The codes of the runs: all for the same batch, so that a run can be switched between them. */
static void draw_codes(void) {
    enum { TRIES = 400, CHUNKS_MAX = 96 };
    sim_opt.models = 1 + (uint32_t)sim_below(SIM_MODELS_MAX);
    const uint32_t wanted = 1 + (uint32_t)sim_below(SIM_CODES_MAX);
    uint32_t chunks = 0;
    for (uint32_t i = 0; i < TRIES && sim_opt.code_count < wanted; i++) {
        struct brg_code_spec code;
        draw_any_code(&code);
        code.chunks = chunks != 0 ? chunks : 1 + (uint32_t)sim_below(CHUNKS_MAX);
        if (!is_usable(&code)) continue;
        chunks = code.chunks;
        sim_opt.codes[sim_opt.code_count++] = code;
    }
    if (sim_opt.code_count > 0) return;
    sim_opt.codes[0] = (struct brg_code_spec){
        .kind = BRG_CODE_NONE, .n = 2, .chunks = 4, .policy = BRG_POLICY_EARLY};
    sim_opt.code_count = 1;
}

static void draw_options(void) {
    memset(&sim_opt, 0, sizeof sim_opt);
    draw_codes();
    sim_opt.switches = rate(400);
    sim_opt.workers = 1 + (uint32_t)sim_below(SIM_WORKERS_MAX);
    sim_opt.runs = 1 + (uint32_t)sim_below(SIM_RUNS_MAX);
    sim_opt.steps = 3 + sim_below(SIM_STEPS_MAX - 3);
    sim_opt.checkpoint_every = 1 + sim_below(8);
    sim_opt.min_workers = 1;
    sim_opt.durability_checkpoint = sim_below(3) == 0;
    sim_opt.loss = rate(250);
    sim_opt.copy = rate(250);
    sim_opt.cut = rate(30);
    sim_opt.crash = rate(8);
    sim_opt.worker_crash = rate(15);
    sim_opt.straggle = rate(200);
    sim_opt.worker_action_crash = rate(4);
    sim_opt.hang = rate(20);
    sim_opt.drains = rate(10);
    sim_opt.bulk_cut = rate(30);
    sim_opt.pauses = rate(100);
    sim_opt.revokes = rate(100);
    sim_opt.open_fails = sim_below(3) == 0 ? rate(500) : 0;
    sim_opt.run_fails = sim_below(3) == 0 ? rate(50) : 0;
    sim_opt.delay_ms = 1 + (uint32_t)sim_below(100);
    if (sim_opt.workers > 2) {
        sim_opt.bad_worker = sim_below(3) == 0 ? 1 : 0;
        sim_opt.mute_worker = sim_below(3) == 0 ? 2 : 0;
        sim_opt.twin_of = sim_below(3) == 0 ? 1 + (uint32_t)sim_below(sim_opt.workers) : 0;
    }
    sim_opt.broken_run = sim_opt.runs > 1 && sim_below(6) == 0 ? 1 : 0;
    sim_opt.forgets = !sim_opt.durability_checkpoint && sim_below(6) == 0;
}

/* A calm world in which only the coordinator or one worker dies, at the action the caller sets; in
 * every second one steps of several models are in flight. */
static void draw_calm(void) {
    uint32_t tries = 0;
    do {
        draw_options();
    } while (seed % 2 == 0 && brg_code_delay(&sim_opt.codes[0]) == 0 && ++tries < 100);
    sim_opt.durability_checkpoint = seed % 3 == 0;
    sim_opt.switches = 500;
    sim_opt.workers = 3 + (uint32_t)sim_below(3);
    sim_opt.runs = 1;
    sim_opt.steps = 4 + 2 * (sim_opt.models - 1);
    sim_opt.checkpoint_every = 2;
    sim_opt.delay_ms = 3;
    sim_opt.loss = sim_opt.copy = sim_opt.cut = sim_opt.bulk_cut = sim_opt.crash = 0;
    sim_opt.worker_crash = sim_opt.worker_action_crash = sim_opt.straggle = sim_opt.hang = 0;
    sim_opt.drains = sim_opt.pauses = sim_opt.revokes = sim_opt.open_fails = sim_opt.run_fails = 0;
    sim_opt.bad_worker = sim_opt.mute_worker = sim_opt.twin_of = sim_opt.broken_run = 0;
    sim_opt.forgets = 0;
}

/* One node, one direction or both; or everything mended. */
static void partition(uint32_t w) {
    const int mend = sim_chance(400), both = sim_chance(500);
    if (mend) {
        memset(sim_cut, 0, sizeof sim_cut);
    } else {
        sim_cut[w][COORDINATOR] = 1;
        sim_cut[COORDINATOR][w] = both;
    }
    sim_say(mend ? "partitions mended" : "partitioned", w, 0);
}

static void nemesis(void) {
    sim_push((struct sim_event){.at_ns = sim_now_ns + 20 * MS, .kind = SIM_NEMESIS});
    const uint32_t w = 1 + (uint32_t)sim_below(sim_node_count());
    if (sim_worker_up(w) && sim_chance(sim_opt.worker_crash)) sim_worker_crash(w);
    if (sim_worker_up(w) && sim_chance(sim_opt.drains)) sim_worker_terminate(w);
    if (sim_chance(sim_opt.cut)) partition(w);
    if (sim_chance(sim_opt.bulk_cut)) sim_bulk_cut[w] = !sim_bulk_cut[w];
    if (sim_coordinator_up() && sim_chance(sim_opt.crash)) sim_coordinator_crash();
}

static void restart(uint32_t node) {
    if (node == COORDINATOR) {
        if (!sim_coordinator_up() && !sim_coordinator_halted()) sim_coordinator_start();
    } else if (!sim_worker_up(node)) {
        sim_worker_start(node);
    }
    sim_say("restart", node, 0);
}

static void dispatch(const struct sim_event *e) {
    switch (e->kind) {
    case SIM_DELIVER:
        if (sim_cut[e->msg.from][e->msg.to]) break;
        if (e->node == COORDINATOR) {
            if (sim_coordinator_up()) sim_coordinator_deliver(&e->msg);
        } else if (sim_worker_up(e->node)) {
            sim_worker_deliver(&e->msg);
        }
        break;
    case SIM_TIMER:
    case SIM_COMPUTED:
        if (e->node != COORDINATOR)
            sim_worker_event(e);
        else
            sim_coordinator_event(e);
        break;
    case SIM_TURN:
    case SIM_JOB:
    case SIM_OPERATOR: sim_coordinator_event(e); break;
    case SIM_RESTART: restart(e->node); break;
    case SIM_NEMESIS:
        if (!sim_healed) nemesis();
        break;
    default: BRG_ASSERT(0 && "an event that does not exist");
    }
}

static void advance(void) {
    struct sim_event e;
    const int some = sim_pop(&e);
    BRG_ASSERT(some); /* a world in which nothing is due any more has hung */
    dispatch(&e);
}

static void heal(void) {
    sim_healed = 1;
    memset(sim_cut, 0, sizeof sim_cut);
    memset(sim_bulk_cut, 0, sizeof sim_bulk_cut);
    sim_opt.loss = sim_opt.copy = sim_opt.straggle = 0;
    sim_opt.delay_ms = 5;
    sim_say("healed", 0, 0);
}

static void describe_code(const struct brg_code_spec *c) {
    static const char *names[] = {"?", "none", "frc", "cyclic", "sr-sgc", "m-sgc", "speculative"};
    printf("%s n %u s %u chunks %u base %u b %u w %u lambda %u parts %u delay %u rule %u policy %u "
           "mu %u\n",
           names[c->kind], c->n, c->s, c->chunks, c->base, c->b, c->w, c->lambda, c->parts,
           c->delay, c->rule, c->policy, c->mu_ppm);
}

static void describe(void) {
    if (!sim_loud) return;
    printf("%u workers, %u runs of %" PRIu64 " steps of %u models, durability %s\n",
           sim_opt.workers, sim_opt.runs, sim_opt.steps, sim_opt.models,
           sim_opt.durability_checkpoint ? "checkpoint" : "step");
    for (uint32_t i = 0; i < sim_opt.code_count; i++) describe_code(&sim_opt.codes[i]);
    printf("loss %u copy %u delay %u ms, bad %u mute %u twin of %u, run that cannot open %u%s\n",
           sim_opt.loss, sim_opt.copy, sim_opt.delay_ms, sim_opt.bad_worker, sim_opt.mute_worker,
           sim_opt.twin_of, sim_opt.broken_run, sim_opt.forgets ? ", the store forgets" : "");
}

static int is_over(void) {
    return sim_all_ended() || sim_coordinator_halted();
}

static uint64_t run(void) {
    describe();
    sim_model_reset();
    sim_disk_reset();
    sim_coordinator_reset();
    sim_workers_reset();
    sim_coordinator_start();
    for (uint32_t w = 1; w <= sim_opt.workers; w++) sim_worker_start(w);
    if (sim_opt.twin_of != 0) {
        const uint64_t at_ns = sim_below(4000) * MS;
        sim_push(
            (struct sim_event){.at_ns = at_ns, .kind = SIM_RESTART, .node = sim_opt.workers + 1});
    }
    nemesis();
    while (sim_now_ns < FAULTS_NS && !is_over()) advance(); /* safety */
    heal();
    const uint64_t end_ns = sim_now_ns + HEALED_NS;
    while (!is_over()) { /* liveness */
        BRG_ASSERT(sim_now_ns < end_ns);
        advance();
    }
    if (sim_opt.twin_of != 0 && !sim_coordinator_halted()) {
        const uint64_t settled_ns = sim_now_ns + SETTLE_NS;
        while (sim_now_ns < settled_ns) advance();
        if (!sim_coordinator_halted()) sim_workers_check_end();
    }
    if (sim_coordinator_halted()) halts++;
    sim_disk_check_end();
    steps_done += sim_steps_made();
    switched += sim_disk.switched;
    return sim_trace;
}

static uint64_t random_run(uint64_t s) {
    seed = s;
    sim_queue_reset(s);
    draw_options();
    return run();
}

/* Where somebody dies in a calm run, and what becomes of what was under way; 0: nowhere. */
struct death {
    uint64_t coordinator_at, again_after, outcome, worker_at;
};

static void calm_run(uint64_t s, struct death death) {
    seed = s;
    sim_queue_reset(s);
    draw_calm();
    sim_opt.crash_at_action = death.coordinator_at;
    sim_opt.crash_again_after = death.again_after;
    sim_opt.crash_outcome = death.outcome;
    sim_opt.worker_crash_at_action = death.worker_at;
    (void)run();
}

/* Counts the actions of an undisturbed run, then dies at each of them in turn, with the write or
 * job under way lost, torn and landed; and again so many actions into what follows. */
static uint64_t every_action(uint64_t s) {
    static const uint64_t again[] = {0, 1, 2, 3, 4, 5, 6, 8, 11, 15, 20};
    calm_run(s, (struct death){0});
    const uint64_t count = sim_actions_done(), workers = sim_worker_actions_done();
    for (uint64_t k = 1; k <= count; k++) {
        for (uint64_t outcome = 0; outcome < 3; outcome++) {
            for (size_t i = 0; i < sizeof again / sizeof again[0]; i++) {
                calm_run(s, (struct death){k, again[i], outcome, 0});
            }
        }
    }
    for (uint64_t k = 1; k <= workers; k++) calm_run(s, (struct death){.worker_at = k});
    return count * 3 * (sizeof again / sizeof again[0]) + workers;
}

static void on_abort(int sig) {
    char line[64];
    (void)sig;
    const int n = snprintf(line, sizeof line, "reproduce: brigade_sim %" PRIu64 "\n", seed);
    if (n > 0) (void)!write(2, line, (size_t)n);
}

static int many(uint64_t n, uint64_t from) {
    uint64_t events = 0, all = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t h = random_run(from + i);
        events += sim_dispatched;
        all = brg_prng_mix(all, h, 0, 0);
        if (i % 16 != 0) continue;
        const uint64_t steps_before = steps_done, halts_before = halts;
        const uint64_t switched_before = switched;
        const uint64_t again = random_run(from + i);
        BRG_ASSERT(again == h);
        steps_done = steps_before;
        halts = halts_before;
        switched = switched_before;
    }
    printf("%" PRIu64 " passed, 0 failed\n%" PRIu64 " events, %" PRIu64 " steps committed, %" PRIu64
           " codes replaced, %" PRIu64
           " stopped for a store that forgot\ndigest of all traces %016" PRIx64 "\n",
           n, events, steps_done, switched, halts, all);
    return 0;
}

static int from_file(const char *path) {
    FILE *f = fopen(path, "r");
    if (f == NULL) return fprintf(stderr, "brigade_sim: cannot read %s\n", path), 2;
    char line[256];
    uint64_t n = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#' || line[0] == '\n') continue;
        (void)random_run(strtoull(line, NULL, 10));
        n++;
    }
    (void)fclose(f);
    printf("%" PRIu64 " passed, 0 failed\n", n);
    return 0;
}

int main(int argc, char **argv) {
    (void)signal(SIGABRT, on_abort);
    if (argc == 2) {
        sim_loud = getenv("SIM_MESSAGES") != NULL ? 2 : 1;
        (void)setvbuf(stdout, NULL, _IOLBF, 0); /* an abort must not swallow the last lines */
        const uint64_t h = random_run(strtoull(argv[1], NULL, 10));
        printf("passed: %" PRIu64 " events, %" PRIu64 " steps committed, trace digest %016" PRIx64
               "\n",
               sim_dispatched, steps_done, h);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "--runs") == 0)
        return many(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) return from_file(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--every-action") == 0) {
        const uint64_t seeds = strtoull(argv[2], NULL, 10);
        uint64_t actions = 0;
        for (uint64_t s = 1; s <= seeds; s++) actions += every_action(s);
        printf("%" PRIu64 " deaths at each action of %" PRIu64 " runs; all passed, 0 failed\n",
               actions, seeds);
        return 0;
    }
    return fprintf(stderr, "usage: brigade_sim SEED | --runs N FROM | --every-action K | "
                           "--seeds FILE (see tests/sim/sim.h)\n"),
           2;
}
