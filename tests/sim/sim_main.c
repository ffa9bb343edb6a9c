#include "tests/sim/sim.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* A run has this much virtual time for faults, and this much to finish in a healed world. */
#define FAULTS_NS (20000 * MS)
#define HEALED_NS (60000 * MS)

static uint64_t seed, steps_done;

static uint32_t rate(uint32_t max) {
    return sim_below(3) == 0 ? 0 : 1 + (uint32_t)sim_below(max);
}

static void draw_code(struct brg_code_spec *code) {
    static const uint32_t kinds[] = {BRG_CODE_NONE, BRG_CODE_FRC, BRG_CODE_FRC, BRG_CODE_CYCLIC};
    static const uint32_t policies[] = {BRG_POLICY_EARLY, BRG_POLICY_EARLY, BRG_POLICY_MINWAIT,
                                        BRG_POLICY_PAPER};
    memset(code, 0, sizeof *code);
    code->kind = kinds[sim_below(4)];
    code->policy = policies[sim_below(4)];
    code->mu_ppm = 1000000;
    code->n = 1 + (uint32_t)sim_below(6);
    code->s = code->kind == BRG_CODE_NONE ? 0 : (uint32_t)sim_below(code->n);
    code->chunks = code->n * (1 + (uint32_t)sim_below(3));
    code->seed = sim_rng();
}

static void draw_options(void) {
    memset(&sim_opt, 0, sizeof sim_opt);
    draw_code(&sim_opt.code);
    sim_opt.workers = 1 + (uint32_t)sim_below(SIM_WORKERS_MAX);
    sim_opt.runs = 1 + (uint32_t)sim_below(SIM_RUNS_MAX);
    sim_opt.steps = 3 + sim_below(SIM_STEPS_MAX - 3);
    sim_opt.checkpoint_every = 1 + sim_below(8);
    sim_opt.min_workers = 1;
    sim_opt.durability_checkpoint = sim_below(5) == 0;
    sim_opt.loss = rate(250);
    sim_opt.copy = rate(250);
    sim_opt.cut = rate(30);
    sim_opt.crash = rate(8);
    sim_opt.worker_crash = rate(15);
    sim_opt.straggle = rate(200);
    sim_opt.drains = rate(10);
    sim_opt.operator_acts = rate(60);
    sim_opt.bad_worker = sim_opt.workers > 2 && sim_below(3) == 0 ? 1 : 0;
    sim_opt.delay_ms = 1 + (uint32_t)sim_below(100);
}

/* A calm world in which only the coordinator dies, once, at the action that the caller sets. */
static void draw_calm(void) {
    draw_options();
    sim_opt.workers = 3 + (uint32_t)sim_below(3);
    sim_opt.runs = 1;
    sim_opt.steps = 4;
    sim_opt.checkpoint_every = 2;
    sim_opt.loss = sim_opt.copy = sim_opt.cut = sim_opt.worker_crash = sim_opt.drains = 0;
    sim_opt.operator_acts = sim_opt.bad_worker = sim_opt.straggle = 0;
    sim_opt.delay_ms = 3;
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
    const uint32_t w = 1 + (uint32_t)sim_below(sim_opt.workers);
    if (sim_worker_up(w) && sim_chance(sim_opt.worker_crash)) sim_worker_crash(w);
    if (sim_worker_up(w) && sim_chance(sim_opt.drains)) sim_worker_terminate(w);
    if (sim_chance(sim_opt.cut)) partition(w);
    if (sim_coordinator_up() && sim_opt.crash_at_action == 0 && sim_chance(sim_opt.crash)) {
        sim_coordinator_crash();
    }
}

static void restart(uint32_t node) {
    if (node == COORDINATOR) {
        if (!sim_coordinator_up()) sim_coordinator_start();
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
    default: BRG_ASSERT(!"an event that does not exist");
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
    sim_opt.loss = sim_opt.copy = sim_opt.straggle = 0;
    sim_opt.delay_ms = 5;
    sim_say("healed", 0, 0);
}

static uint64_t run(void) {
    sim_model_reset();
    sim_coordinator_reset();
    sim_workers_reset();
    sim_coordinator_start();
    for (uint32_t w = 1; w <= sim_opt.workers; w++) sim_worker_start(w);
    nemesis();
    while (sim_now_ns < FAULTS_NS && !sim_all_ended()) advance(); /* safety */
    heal();
    const uint64_t end_ns = sim_now_ns + HEALED_NS;
    while (!sim_all_ended()) { /* liveness */
        BRG_ASSERT(sim_now_ns < end_ns);
        advance();
    }
    sim_coordinator_end_check();
    for (uint64_t r = 1; r <= sim_opt.runs; r++) steps_done += sim_committed(r);
    return sim_trace;
}

static uint64_t random_run(uint64_t s) {
    seed = s;
    sim_queue_reset(s);
    draw_options();
    return run();
}

static uint64_t calm_run(uint64_t s, uint64_t crash_at_action) {
    seed = s;
    sim_queue_reset(s);
    draw_calm();
    sim_opt.crash_at_action = crash_at_action;
    return run();
}

/* Counts the actions of an undisturbed run, then dies at each of them in turn. */
static uint64_t every_action(uint64_t s) {
    (void)calm_run(s, UINT64_MAX);
    const uint64_t count = sim_actions_done();
    for (uint64_t k = 1; k <= count; k++) (void)calm_run(s, k);
    return count;
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
        const uint64_t before = steps_done;
        const uint64_t again = random_run(from + i);
        BRG_ASSERT(again == h);
        steps_done = before;
    }
    printf("%" PRIu64 " passed, 0 failed\n%" PRIu64 " events, %" PRIu64
           " steps committed, digest of all traces %016" PRIx64 "\n",
           n, events, steps_done, all);
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
        sim_loud = 1;
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
        printf("died at each of %" PRIu64 " actions; %" PRIu64 " passed, 0 failed\n", actions,
               seeds);
        return 0;
    }
    return fprintf(stderr, "usage: brigade_sim SEED | --runs N FROM | --every-action K | "
                           "--seeds FILE (see tests/sim/sim.h)\n"),
           2;
}
