/* The worker's shell, as far as decisions can tell. */
#include "tests/sim/sim.h"

#include <string.h>

enum {
    PARAMS_MAX = 16,
    SHARES_MAX = BRG_WORKER_SHARES_MAX + 1, /* a new one comes before the machine says what goes */
    TASKS_MAX = 64,
};

static struct node {
    struct brg_worker machine;
    int up, replaced; /* replaced: a newer process has its key */
    uint32_t incarnation;
    uint64_t timer_id, job_id;
    struct {
        uint64_t version; /* BRG_WORKER_NO_PARAMS: a free place */
        struct sim_params params;
    } params[PARAMS_MAX];
    struct {
        uint64_t run, step;
        uint32_t unit, used;
        double values[SIM_DIM];
    } shares[SHARES_MAX];
    struct { /* what the last tasks were about, in a ring */
        uint64_t epoch, since, step;
        uint32_t unit, code;
    } tasks[TASKS_MAX];
    uint32_t task_count;
    uint64_t seen_run, seen_step; /* proof of the highest commit; dies with the process */
} nodes[SIM_NODES_MAX];
static uint64_t actions_done;

void sim_workers_reset(void) {
    memset(nodes, 0, sizeof nodes);
    actions_done = 0;
}
int sim_worker_up(uint32_t node) {
    return nodes[node].up;
}
uint64_t sim_worker_actions_done(void) {
    return actions_done;
}

static void perform(uint32_t id, const struct brg_worker_action *a);

/* A place at which a worker may die; 1: it just did. */
static int dies_here(uint32_t id) {
    actions_done++;
    const int dies = sim_opt.worker_crash_at_action != 0
                         ? actions_done == sim_opt.worker_crash_at_action
                         : !sim_healed && sim_chance(sim_opt.worker_action_crash);
    if (dies) sim_worker_crash(id);
    return dies;
}

static void feed(uint32_t id, struct brg_worker_event ev) {
    struct node *n = &nodes[id];
    struct brg_worker_actions out;
    ev.now_ns = sim_now_ns;
    const int rc = brg_worker_step(&n->machine, &ev, &out);
    BRG_ASSERT(rc == BRG_OK); /* the coordinator is trusted: it never says nonsense */
    brg_worker_check(&n->machine);
    const uint32_t incarnation = n->incarnation;
    for (uint32_t i = 0; i < out.count && n->up; i++) {
        if (dies_here(id)) return;
        perform(id, &out.items[i]);
    }
    BRG_ASSERT(n->incarnation == incarnation);
}

static struct sim_msg from(uint32_t id, uint32_t kind, const struct brg_worker_action *a) {
    return (struct sim_msg){.kind = kind,
                            .from = id,
                            .to = COORDINATOR,
                            .epoch = nodes[id].machine.epoch,
                            .session = nodes[id].machine.config.session,
                            .run = a->run,
                            .since = a->since,
                            .step = a->step,
                            .unit = a->unit,
                            .attempt = a->attempt,
                            .error = a->code};
}

static uint32_t find_share(const struct node *n, const struct brg_worker_action *a) {
    uint32_t i = 0;
    while (i < SHARES_MAX && !(n->shares[i].used && n->shares[i].run == a->run &&
                               n->shares[i].step == a->step && n->shares[i].unit == a->unit)) {
        i++;
    }
    return i;
}

static void send_about_share(uint32_t id, uint32_t kind, const struct brg_worker_action *a) {
    struct sim_msg m = from(id, kind, a);
    const uint32_t i = find_share(&nodes[id], a);
    BRG_ASSERT(i < SHARES_MAX); /* the machine says only what is held */
    m.digest = sim_share_digest(nodes[id].shares[i].values);
    memcpy(m.share, nodes[id].shares[i].values, sizeof m.share);
    const int broken = id == sim_opt.bad_worker && !sim_healed && sim_chance(300);
    if (kind == MSG_SHARE && broken) m.share[0] += 1;
    sim_transmit(m);
}

/* What is at hand of a version, or NULL. */
static const struct sim_params *find_params(const struct node *n, uint64_t version) {
    for (uint32_t i = 0; i < PARAMS_MAX; i++) {
        if (n->params[i].version == version) return &n->params[i].params;
    }
    return NULL;
}

static void drop_params(struct node *n, uint64_t version) {
    for (uint32_t i = 0; i < PARAMS_MAX; i++) {
        if (version == UINT64_MAX || n->params[i].version == version) {
            n->params[i].version = BRG_WORKER_NO_PARAMS;
        }
    }
}

static void keep_params(struct node *n, const struct sim_msg *m) {
    drop_params(n, m->step);
    uint32_t i = 0;
    while (i < PARAMS_MAX && n->params[i].version != BRG_WORKER_NO_PARAMS) i++;
    BRG_ASSERT(i < PARAMS_MAX);
    n->params[i].version = m->step;
    memcpy(n->params[i].params.values, m->values, sizeof m->values);
}

static void drop_shares(struct node *n, const struct brg_worker_action *a) {
    for (uint32_t i = 0; i < SHARES_MAX; i++) {
        const int goes = a->type == BRG_WACT_DROP_SHARES
                             ? n->shares[i].step <= a->step
                             : n->shares[i].step == a->step && n->shares[i].unit == a->unit;
        if (goes) memset(&n->shares[i], 0, sizeof n->shares[i]);
    }
}

/* What the task that the machine takes up now is made of. */
static uint32_t code_of(const struct node *n, const struct brg_worker_action *a) {
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        if (n->tasks[i].epoch == n->machine.epoch && n->tasks[i].since == a->since &&
            n->tasks[i].step == a->step && n->tasks[i].unit == a->unit)
            return n->tasks[i].code;
    }
    BRG_ASSERT(0 && "a task that never came");
    return 0;
}

static void compute(uint32_t id, const struct brg_worker_action *a) {
    struct node *n = &nodes[id];
    const struct sim_params want = sim_version(a->run, a->step - 1),
                            *have = find_params(n, a->step - 1);
    BRG_ASSERT(have != NULL && memcmp(have, &want, sizeof want) == 0); /* never stale ones */
    uint64_t work_ns = (5 + sim_below(40)) * MS;
    if (!sim_healed && sim_chance(sim_opt.straggle)) work_ns *= 50;
    if (!sim_healed && sim_chance(sim_opt.hang)) work_ns = 30000 * MS; /* it beats, and no more */
    n->job_id++;
    struct sim_msg m = from(id, 0, a);
    m.error = id == sim_opt.bad_worker && !sim_healed && sim_chance(100) ? BRG_ENOMEM : BRG_OK;
    m.code = code_of(n, a);
    sim_push((struct sim_event){.at_ns = sim_now_ns + work_ns,
                                .kind = SIM_COMPUTED,
                                .node = id,
                                .incarnation = n->incarnation,
                                .id = n->job_id,
                                .msg = m});
}

static void send_hello(uint32_t id, const struct brg_worker_action *a) {
    struct sim_msg m = from(id, MSG_HELLO, a);
    m.token = sim_token_of(id);
    if (nodes[id].seen_step > 0) {
        m.has_proof = 1;
        m.run = nodes[id].seen_run;
        m.step = nodes[id].seen_step;
    }
    sim_transmit(m);
}

static void perform(uint32_t id, const struct brg_worker_action *a) {
    struct node *n = &nodes[id];
    switch (a->type) {
    case BRG_WACT_SEND_HELLO: send_hello(id, a); break;
    case BRG_WACT_SEND_BEAT: sim_transmit(from(id, MSG_BEAT, a)); break;
    case BRG_WACT_SEND_DONE: send_about_share(id, MSG_DONE, a); break;
    case BRG_WACT_SEND_FAULT: sim_transmit(from(id, MSG_FAULT, a)); break;
    case BRG_WACT_SEND_SHARE: send_about_share(id, MSG_SHARE, a); break;
    case BRG_WACT_SEND_GONE: sim_transmit(from(id, MSG_SHARE_GONE, a)); break;
    case BRG_WACT_SEND_DRAIN: sim_transmit(from(id, MSG_DRAIN, a)); break;
    case BRG_WACT_SEND_BYE: sim_transmit(from(id, MSG_BYE, a)); break;
    case BRG_WACT_FETCH_DATA: sim_transmit(from(id, MSG_GET_DATA, a)); break;
    case BRG_WACT_FETCH_PARAMS: sim_transmit(from(id, MSG_GET_PARAMS, a)); break;
    case BRG_WACT_COMPUTE: compute(id, a); break;
    case BRG_WACT_CANCEL: n->job_id++; break;
    case BRG_WACT_DROP_SHARES:
    case BRG_WACT_DROP_SHARE: drop_shares(n, a); break;
    case BRG_WACT_DROP_PARAMS: drop_params(n, a->step); break;
    case BRG_WACT_EXIT: {
        n->up = 0;
        sim_say(a->code == BRG_EPERM ? "worker sent away" : "worker leaves", id, 0);
        if (n->replaced) break; /* as long as nobody starts it by hand, it does not come back */
        const uint64_t after_ns = (1 + sim_below(1500)) * MS; /* somebody tries once more */
        sim_push(
            (struct sim_event){.at_ns = sim_now_ns + after_ns, .kind = SIM_RESTART, .node = id});
        break;
    }
    case BRG_WACT_ARM:
        n->timer_id++;
        if (a->at_ns == UINT64_MAX) break;
        sim_push((struct sim_event){.at_ns = a->at_ns > sim_now_ns ? a->at_ns : sim_now_ns,
                                    .kind = SIM_TIMER,
                                    .node = id,
                                    .incarnation = n->incarnation,
                                    .id = n->timer_id});
        break;
    default: BRG_ASSERT(0 && "an action that does not exist");
    }
}

void sim_worker_start(uint32_t id) {
    struct node *n = &nodes[id];
    BRG_ASSERT(!n->up);
    const uint32_t incarnation = n->incarnation + 1;
    memset(n, 0, sizeof *n);
    n->incarnation = incarnation;
    n->up = 1;
    drop_params(n, UINT64_MAX);
    const struct brg_worker_config config = {.hello_every_ns = 150 * MS,
                                             .fetch_retry_ns = 250 * MS,
                                             .session = (sim_now_ns + 1) * 16 + id};
    const int rc = brg_worker_init(&n->machine, &config);
    BRG_ASSERT(rc == BRG_OK);
    feed(id, (struct brg_worker_event){.type = BRG_WEV_START});
}

void sim_worker_crash(uint32_t id) {
    BRG_ASSERT(nodes[id].up);
    nodes[id].up = 0;
    sim_say("worker dies", id, 0);
    const uint64_t after_ns = (1 + sim_below(2500)) * MS;
    sim_push((struct sim_event){.at_ns = sim_now_ns + after_ns, .kind = SIM_RESTART, .node = id});
}

void sim_worker_terminate(uint32_t id) {
    feed(id, (struct brg_worker_event){.type = BRG_WEV_TERMINATE, .at_ns = sim_now_ns + 900 * MS});
}

void sim_worker_deliver(const struct sim_msg *m) {
    struct node *n = &nodes[m->to];
    if (m->session != n->machine.config.session) return; /* that connection is gone */
    struct brg_worker_event ev = {
        .epoch = m->epoch, .run = m->run, .step = m->step, .unit = m->unit, .attempt = m->attempt};
    ev.round = m->round;
    ev.since = m->since;
    switch (m->kind) {
    case MSG_WELCOME:
        ev.type = BRG_WEV_WELCOME;
        ev.beat_ns = 200 * MS;
        break;
    case MSG_REFUSED:
        ev.type = BRG_WEV_REFUSED;
        n->replaced = m->error == BRG_REFUSED_SAME_KEY;
        break;
    case MSG_REHELLO: ev.type = BRG_WEV_REHELLO; break;
    case MSG_RUN:
        ev.type = BRG_WEV_RUN;
        ev.models = sim_opt.models;
        break;
    case MSG_TASK:
        ev.type = BRG_WEV_TASK;
        n->tasks[n->task_count % TASKS_MAX].epoch = m->epoch;
        n->tasks[n->task_count % TASKS_MAX].since = m->since;
        n->tasks[n->task_count % TASKS_MAX].step = m->step;
        n->tasks[n->task_count % TASKS_MAX].unit = m->unit;
        n->tasks[n->task_count++ % TASKS_MAX].code = m->code;
        break;
    case MSG_COMMIT:
        ev.type = BRG_WEV_COMMIT;
        if (!sim_opt.durability_checkpoint && (m->run != n->seen_run || m->step > n->seen_step)) {
            n->seen_run = m->run;
            n->seen_step = m->step;
        }
        break;
    case MSG_RELEASE: ev.type = BRG_WEV_RELEASE; break;
    case MSG_DRAIN_ACK: ev.type = BRG_WEV_DRAIN_ACK; break;
    case MSG_WANT: ev.type = BRG_WEV_WANT; break;
    case MSG_DATA:
        if (m->epoch != n->machine.epoch) return;
        ev.type = BRG_WEV_DATA;
        break;
    case MSG_PARAMS:
        /* The shell keeps only what it has asked for in this epoch and run. */
        if (m->epoch != n->machine.epoch || m->run != n->machine.run) return;
        keep_params(n, m);
        ev.type = BRG_WEV_PARAMS;
        break;
    default: BRG_ASSERT(0 && "a message that the coordinator does not send");
    }
    feed(m->to, ev);
}

static void computed(const struct sim_event *e) {
    struct node *n = &nodes[e->node];
    if (e->id != n->job_id) return; /* cancelled */
    const struct sim_msg *m = &e->msg;
    if (m->error == BRG_OK) {
        uint32_t i = 0;
        while (i < SHARES_MAX && n->shares[i].used) i++;
        BRG_ASSERT(i < SHARES_MAX);
        n->shares[i].run = m->run;
        n->shares[i].step = m->step;
        n->shares[i].unit = m->unit;
        n->shares[i].used = 1;
        const struct sim_params params = sim_version(m->run, m->step - 1); /* as COMPUTE checked */
        sim_share(sim_scheme(m->code), m->run, m->step, m->unit, &params, n->shares[i].values);
    }
    feed(e->node, (struct brg_worker_event){.type = BRG_WEV_COMPUTED,
                                            .run = m->run,
                                            .step = m->step,
                                            .unit = m->unit,
                                            .code = m->error});
}

void sim_worker_event(const struct sim_event *e) {
    struct node *n = &nodes[e->node];
    if (!n->up || e->incarnation != n->incarnation) return;
    if (e->kind == SIM_COMPUTED) {
        computed(e);
    } else if (e->id == n->timer_id) {
        feed(e->node, (struct brg_worker_event){.type = BRG_WEV_TICK});
    }
}

void sim_workers_check_end(void) {
    if (sim_opt.twin_of == 0) return;
    /* Whichever started last may have been refused nothing yet; the other must have been told. */
    const struct node *a = &nodes[sim_opt.twin_of], *b = &nodes[sim_opt.workers + 1];
    if (!a->up || !b->up) return;
    BRG_ASSERT(a->machine.phase == BRG_WORKER_CALLING || b->machine.phase == BRG_WORKER_CALLING);
}
