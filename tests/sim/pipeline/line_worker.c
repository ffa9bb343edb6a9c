#include "tests/sim/pipeline/line.h"

#include <string.h>

enum { PARKED_MAX = 64 };

/* One process. */
static struct worker {
    struct brg_holder machine;
    uint64_t session, fetch, slow_ns, armed_ns, leave_ns;
    uint32_t up, draining, mute, spoiled, relayed[NODES_MAX], donors, donor_count;
    struct map map;
    struct weights w, mixed;
    struct event parked[PARKED_MAX]; /* Gets that come too early */
    uint32_t parked_count;
    uint64_t in[MICROBATCHES_MAX], out[MICROBATCHES_MAX];   /* forward */
    uint64_t gin[MICROBATCHES_MAX], gout[MICROBATCHES_MAX]; /* backward */
    uint64_t lanes[BRG_PIPE_LANES_MAX], reduced, last_reduced, last_step;
    struct {
        struct weights w;
        uint64_t version[SLICES], lineage;
    } shadows[STAGES_MAX];
} workers[NODES_MAX];

static uint64_t next_session;

static void feed(uint32_t n, struct brg_holder_event ev);
static void answer_parked(uint32_t n);

int worker_up(uint32_t n) {
    return (int)workers[n].up;
}

uint64_t worker_session(uint32_t n) {
    return workers[n].session;
}

void workers_reset(void) {
    memset(workers, 0, sizeof workers);
    next_session = 0;
}

int worker_has(uint32_t n, uint32_t stage, uint64_t lineage, uint64_t version, struct weights *w) {
    const struct worker *k = &workers[n];
    if (!k->up || k->machine.held != stage || k->machine.lineage != lineage) return 0;
    if (k->machine.version != version) return 0;
    if (w != NULL) *w = k->w;
    return 1;
}

void worker_spoil(uint32_t n) {
    workers[n].spoiled = 1;
}

static void to_coordinator(uint32_t n, struct brg_pipe_event ev) {
    struct msg m = {.ev = ev, .session = workers[n].session};
    m.ev.epoch = workers[n].machine.epoch;
    m.ev.member = n - 1;
    transmit(TO_COORDINATOR, n, 0, &m);
}

static struct brg_digest digest_of(uint64_t value) {
    struct brg_digest d = {{0}};
    memcpy(d.bytes, &value, sizeof value);
    return d;
}

static void ask(uint32_t n, uint32_t kind, uint32_t to, struct msg m) {
    if (to == 0) return;
    m.session = workers[n].session;
    m.relayed = workers[n].relayed[to];
    transmit(kind, n, to, &m);
}

/* Files, or nothing to wait for: the time of a download. */
static void load(uint32_t n, const struct brg_holder_action *a, struct weights w) {
    push((struct event){.at_ns = now_ns + 20 * MS + below(80 * MS),
                        .kind = LOADED,
                        .node = n,
                        .session = workers[n].session,
                        .msg = {.fetch = workers[n].fetch,
                                .w = w,
                                .version = a->version,
                                .sev = {.generation = a->generation}}});
}

static void fetch_state(uint32_t n, const struct brg_holder_action *a) {
    struct worker *w = &workers[n];
    struct msg m = {.fetch = ++w->fetch,
                    .stage = a->stage,
                    .lineage = a->lineage,
                    .version = a->version,
                    .rung = a->rung,
                    .sev = {.generation = a->generation}};
    w->donors = w->donor_count = 0;
    memset(&w->mixed, 0, sizeof w->mixed);
    if (a->rung == BRG_RUNG_CHECKPOINT) {
        load(n, a, files[a->version][a->stage]);
        return;
    }
    w->donor_count = a->rung == BRG_RUNG_NEIGHBOURS ? w->map.source_count : 1;
    for (uint32_t i = 0; i < w->map.source_count; i++) {
        if (a->rung == BRG_RUNG_NEIGHBOURS) m.version = a->version;
        ask(n, GET_STATE, w->map.sources[i], m);
    }
}

static void get(uint32_t n, const struct brg_holder_action *a) {
    struct worker *w = &workers[n];
    const uint32_t lane = a->object == BRG_TENSOR_LANE ? a->index : a->index % opt.lanes;
    const struct msg m = {
        .get = {
            .generation = a->generation, .step = a->step, .object = a->object, .index = a->index}};
    ask(n, GET, w->map.holder[a->stage][lane], m);
}

static void compute(uint32_t n, const struct brg_holder_action *a) {
    const uint32_t object = a->type == BRG_HACT_FORWARD    ? BRG_TENSOR_ACT
                            : a->type == BRG_HACT_BACKWARD ? BRG_TENSOR_GRAD
                                                           : BRG_TENSOR_LANE;
    push((struct event){.at_ns = now_ns + workers[n].slow_ns + below(MS),
                        .kind = COMPUTED,
                        .node = n,
                        .session = workers[n].session,
                        .msg = {.sev = {.type = BRG_HEV_COMPUTED,
                                        .generation = a->generation,
                                        .step = a->step,
                                        .index = a->index,
                                        .object = object}}});
}

static void send_slice(uint32_t n, uint64_t version) {
    struct worker *w = &workers[n];
    const uint32_t stage = w->machine.held, to = w->map.shadow_to[stage];
    if (to == 0 || opt.shadow == 0) return;
    for (uint32_t i = 0; i < SLICES; i++) {
        if (i % opt.shadow != (version - 1) % opt.shadow) continue;
        const struct msg m = {.stage = stage,
                              .slice = i,
                              .version = version,
                              .lineage = w->machine.lineage,
                              .value = w->w.v[i]};
        ask(n, SLICE, to, m);
    }
}

static void apply(uint32_t n, uint64_t step) {
    struct worker *w = &workers[n];
    apply_gradient(&w->w, w->reduced, step);
    w->last_reduced = w->reduced;
    w->last_step = step;
    /* The serial run has made this step, unless another history has begun since. */
    const struct brg_pipeline *p = coordinator_machine();
    const uint32_t s = w->machine.held;
    if (s == BRG_HOLDER_NONE) return; /* what comes next in the list drops it again */
    if (coordinator_up() && step == truth_version && w->machine.lineage == p->stages[s].lineage)
        BRG_ASSERT(memcmp(&truth[s], &w->w, sizeof w->w) == 0);
}

static void act(uint32_t n, const struct brg_holder_action *a) {
    struct worker *w = &workers[n];
    struct brg_pipe_event ev = {.generation = a->generation, .stage = a->stage};
    switch (a->type) {
    case BRG_HACT_SEND_PLACED:
        ev.type = BRG_PEV_PLACED;
        ev.digest = digest_of(weigh(&w->w));
        to_coordinator(n, ev);
        break;
    case BRG_HACT_SEND_READY:
        ev.type = BRG_PEV_READY;
        ev.step = a->step;
        ev.digest = digest_of(w->reduced);
        to_coordinator(n, ev);
        break;
    case BRG_HACT_SEND_FETCH_FAILED:
        ev.type = BRG_PEV_FETCH_FAILED;
        to_coordinator(n, ev);
        break;
    case BRG_HACT_SEND_LOST_PEER:
        ev.type = BRG_PEV_LOST_PEER;
        ev.peer = w->map.holder[a->stage][a->index % opt.lanes] - 1;
        to_coordinator(n, ev);
        break;
    case BRG_HACT_SEND_LEARNED:
        ev.type = BRG_PEV_LEARNED;
        ev.version = a->version;
        ev.lineage = a->lineage;
        to_coordinator(n, ev);
        break;
    case BRG_HACT_FETCH_STATE: fetch_state(n, a); break;
    case BRG_HACT_FETCH_TAIL: {
        const struct msg m = {.get = {.step = a->step, .object = 9}};
        ask(n, GET, w->map.sources[0], m);
        break;
    }
    case BRG_HACT_CANCEL: w->fetch++; break;
    case BRG_HACT_BEGIN: memset(w->lanes, 0, sizeof w->lanes); break;
    case BRG_HACT_GET: get(n, a); break;
    case BRG_HACT_FORWARD:
    case BRG_HACT_BACKWARD:
    case BRG_HACT_REDUCE: compute(n, a); break;
    case BRG_HACT_APPLY: apply(n, a->step); break;
    case BRG_HACT_SHADOW: send_slice(n, a->version); break;
    case BRG_HACT_ARM:
        if (w->armed_ns > now_ns && w->armed_ns <= a->at_ns) break; /* an earlier one does */
        w->armed_ns = a->at_ns > now_ns ? a->at_ns : now_ns;
        push((struct event){.at_ns = w->armed_ns, .kind = TIMER, .node = n, .session = w->session});
        break;
    default: break; /* memory that is dropped */
    }
}

static void feed(uint32_t n, struct brg_holder_event ev) {
    static struct brg_holder_actions stack[8]; /* an answer may come within an action */
    static uint32_t depth;
    BRG_ASSERT(depth < 8);
    struct brg_holder_actions *out = &stack[depth++];
    ev.now_ns = now_ns;
    if (brg_holder_step(&workers[n].machine, &ev, out) == BRG_OK) {
        brg_holder_check(&workers[n].machine);
        for (uint32_t i = 0; i < out->count; i++) act(n, &out->items[i]);
    }
    if (--depth == 0) answer_parked(n);
}

void worker_start(uint32_t n) {
    static const struct brg_holder_config config = {
        .retry_ns = 60 * MS, .fetch_ns = 500 * MS, .peer_ns = 300 * MS};
    struct worker *w = &workers[n];
    memset(w, 0, sizeof *w);
    BRG_ASSERT(brg_holder_init(&w->machine, &config) == BRG_OK);
    w->up = 1;
    w->session = ++next_session;
    w->slow_ns = MS / 4 + below(3 * MS);
    w->mute = !healed && chance(opt.mute);
    w->machine.now_ns = now_ns;
    tell("worker starts", n, w->session);
    push((struct event){
        .at_ns = now_ns, .kind = TIMER, .node = n, .session = w->session, .from = 1});
}

void worker_kill(uint32_t n) {
    workers[n].up = 0;
    tell("worker killed", n, workers[n].machine.version);
    push((struct event){.at_ns = now_ns + 50 * MS + below(2500 * MS), .kind = RESTART, .node = n});
}

void worker_drain(uint32_t n) {
    tell("worker drains", n, workers[n].machine.version);
    workers[n].draining = 1;
    workers[n].leave_ns = now_ns + 3000 * MS; /* whatever is said */
}

static void hello(uint32_t n) {
    struct worker *w = &workers[n];
    const struct brg_holder *s = &w->machine;
    if (w->draining && now_ns >= w->leave_ns) {
        worker_kill(n);
        return;
    }
    push((struct event){
        .at_ns = now_ns + 100 * MS, .kind = TIMER, .node = n, .session = w->session, .from = 1});
    struct msg m = {.session = w->session,
                    .ev = {.member = n - 1,
                           .epoch = s->epoch,
                           .memory_bytes = 1,
                           .microbatch_ns = w->slow_ns,
                           .stage = s->held,
                           .lineage = s->lineage,
                           .version = s->version,
                           .step = s->pending_step,
                           .commit_generation = s->pending_generation}};
    transmit(HELLO, n, 0, &m);
    if (w->draining) to_coordinator(n, (struct brg_pipe_event){.type = BRG_PEV_DRAINING});
}

/* return: 0 where it has to wait */
static int answer(uint32_t n, const struct event *e) {
    const struct worker *w = &workers[n];
    const struct brg_holder_get *g = &e->msg.get;
    struct msg m = {.get = *g, .session = e->msg.session, .relayed = e->msg.relayed, .has = 1};
    if (g->object == 9) { /* the sum of gradients of a step that was made */
        if (w->last_step < g->step) return 0;
        if (w->last_step > g->step) return 1;
        m.value = w->last_reduced;
    } else {
        const enum brg_holder_answer answer = brg_holder_serve(&w->machine, g);
        if (answer != BRG_HOLDER_HAS) return answer == BRG_HOLDER_GONE;
        m.value = g->object == BRG_TENSOR_ACT    ? w->out[g->index]
                  : g->object == BRG_TENSOR_GRAD ? w->gout[g->index]
                                                 : w->lanes[g->index];
    }
    transmit(GIVE, n, e->from, &m);
    return 1;
}

static void answer_parked(uint32_t n) {
    struct worker *w = &workers[n];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->parked_count; i++)
        if (!answer(n, &w->parked[i])) w->parked[kept++] = w->parked[i];
    w->parked_count = kept;
}

static void on_get(uint32_t n, const struct event *e) {
    struct worker *w = &workers[n];
    if (answer(n, e)) return;
    const struct msg m = {.get = e->msg.get, .session = e->msg.session, .relayed = e->msg.relayed};
    transmit(GIVE, n, e->from, &m);
    for (uint32_t i = 0; i < w->parked_count; i++)
        if (w->parked[i].from == e->from &&
            memcmp(&w->parked[i].msg.get, &e->msg.get, sizeof e->msg.get) == 0)
            return;
    if (w->parked_count < PARKED_MAX) w->parked[w->parked_count++] = *e;
}

static void on_give(uint32_t n, const struct msg *m) {
    struct worker *w = &workers[n];
    const struct brg_holder *s = &w->machine;
    if (!m->has) {
        feed(n, (struct brg_holder_event){.type = BRG_HEV_PARKED, .generation = m->get.generation});
        return;
    }
    if (m->get.object == 9) {
        if (s->phase != BRG_HOLDER_LEARNING || m->get.step != s->version + 1) return;
        w->reduced = m->value;
        feed(n, (struct brg_holder_event){.type = BRG_HEV_TAIL, .step = m->get.step});
        return;
    }
    if (s->phase != BRG_HOLDER_WORKING || m->get.generation != s->generation) return;
    if (m->get.step != s->version + 1) return;
    if (m->get.object == BRG_TENSOR_ACT) w->in[m->get.index] = m->value;
    if (m->get.object == BRG_TENSOR_GRAD) w->gin[m->get.index] = m->value;
    if (m->get.object == BRG_TENSOR_LANE) w->lanes[m->get.index] = m->value;
    feed(n, (struct brg_holder_event){.type = BRG_HEV_ARRIVED,
                                      .generation = m->get.generation,
                                      .step = m->get.step,
                                      .object = m->get.object,
                                      .index = m->get.index});
}

static uint64_t oldest_slice(const struct worker *w, uint32_t stage) {
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < SLICES; i++)
        if (w->shadows[stage].version[i] < oldest) oldest = w->shadows[stage].version[i];
    return oldest;
}

static void on_get_state(uint32_t n, const struct event *e) {
    const struct worker *w = &workers[n];
    struct msg m = e->msg;
    m.has = 0;
    if (w->mute) return;
    if (m.rung == BRG_RUNG_SHADOW) {
        m.has = oldest_slice(w, m.stage) > 0;
        m.w = w->shadows[m.stage].w;
    } else if (m.rung == BRG_RUNG_NEIGHBOURS) {
        m.has = w->machine.held != BRG_HOLDER_NONE && w->machine.version == m.version;
        m.w = w->w;
    } else {
        const enum brg_holder_answer answer =
            brg_holder_serve_state(&w->machine, m.stage, m.lineage, m.version);
        if (answer == BRG_HOLDER_LATER) return;
        m.has = answer == BRG_HOLDER_HAS;
        m.w = w->w;
        m.version = w->machine.version;
    }
    transmit(GIVE_STATE, n, e->from, &m);
}

static void on_give_state(uint32_t n, const struct msg *m) {
    struct worker *w = &workers[n];
    if (m->fetch != w->fetch) return;
    if (!m->has) {
        if (w->map.source_count > 1) return; /* another may have it */
        feed(n, (struct brg_holder_event){.type = BRG_HEV_STATE_FAILED,
                                          .generation = m->sev.generation});
        return;
    }
    for (uint32_t i = 0; i < SLICES; i++) w->mixed.v[i] += m->w.v[i];
    if (++w->donors != w->donor_count) return;
    load(n, &(struct brg_holder_action){.version = m->version, .generation = m->sev.generation},
         w->donor_count == 1 ? m->w : w->mixed);
}

static void on_slice(uint32_t n, const struct msg *m) {
    struct worker *w = &workers[n];
    if (m->lineage < w->shadows[m->stage].lineage) return;
    w->shadows[m->stage].lineage = m->lineage;
    if (m->version < w->shadows[m->stage].version[m->slice]) {
        /* The run went back: what is here is of steps that were undone. */
        memset(w->shadows[m->stage].version, 0, sizeof w->shadows[m->stage].version);
    }
    w->shadows[m->stage].version[m->slice] = m->version;
    w->shadows[m->stage].w.v[m->slice] = m->value;
    const uint64_t oldest = oldest_slice(w, m->stage);
    if (oldest == 0) return;
    to_coordinator(n, (struct brg_pipe_event){.type = BRG_PEV_SHADOW_AT,
                                              .stage = m->stage,
                                              .lineage = m->lineage,
                                              .version = oldest});
}

static void on_word(uint32_t n, const struct msg *m) {
    struct worker *w = &workers[n];
    if (m->sev.type == 0) {
        w->relayed[m->map.sources[0]] = 1;
        return;
    }
    if (m->sev.epoch == w->machine.epoch && m->sev.generation >= w->machine.generation) {
        if (m->sev.type == BRG_HEV_PLACE) w->map = m->map;
        if (m->sev.type == BRG_HEV_LEARN) {
            w->map.sources[0] = m->map.sources[0];
            w->map.source_count = 1;
        }
    }
    feed(n, m->sev);
}

static void on_computed(uint32_t n, const struct msg *m) {
    struct worker *w = &workers[n];
    const struct brg_holder *s = &w->machine;
    const uint32_t b = m->sev.index;
    if (s->phase != BRG_HOLDER_WORKING || m->sev.generation != s->generation) return;
    if (m->sev.step != s->version + 1) return;
    if (m->sev.object == BRG_TENSOR_LANE) {
        w->reduced = 0;
        for (uint32_t l = 0; l < opt.lanes; l++) w->reduced = mix(w->reduced, w->lanes[l], l);
        /* A bit that flips in memory after the siblings were served; alone, nobody could tell. */
        for (uint32_t l = 0; l < opt.lanes && w->spoiled; l++)
            if (w->map.holder[s->stage][l] != n) w->reduced ^= n;
        w->spoiled = 0;
    } else if (m->sev.object == BRG_TENSOR_ACT) {
        if (s->stage == 0) w->in[b] = token(m->sev.step, b);
        w->out[b] = forward_of(&w->w, w->in[b]);
    } else {
        if (s->stage + 1 == s->stages) w->gin[b] = w->out[b];
        w->gout[b] = backward_of(&w->w, w->in[b], w->gin[b]);
        w->lanes[b % opt.lanes] = mix(w->lanes[b % opt.lanes], w->gout[b], b);
    }
    feed(n, m->sev);
}

static void on_loaded(uint32_t n, const struct msg *m) {
    struct worker *w = &workers[n];
    if (m->fetch != w->fetch) return;
    w->fetch++;
    w->w = m->w;
    feed(n, (struct brg_holder_event){
                .type = BRG_HEV_STATE, .generation = m->sev.generation, .version = m->version});
}

void worker_event(const struct event *e) {
    const uint32_t n = e->node;
    const struct worker *w = &workers[n];
    if (!w->up) return;
    const int own = e->kind == TIMER || e->kind == COMPUTED || e->kind == LOADED;
    if (own && e->session != w->session) return;
    if ((e->kind == GIVE || e->kind == GIVE_STATE) && e->msg.session != w->session) return;
    switch (e->kind) {
    case TIMER:
        if (e->from == 1)
            hello(n);
        else
            feed(n, (struct brg_holder_event){.type = BRG_HEV_TICK});
        break;
    case TO_WORKER: on_word(n, &e->msg); break;
    case GET: on_get(n, e); break;
    case GIVE: on_give(n, &e->msg); break;
    case GET_STATE: on_get_state(n, e); break;
    case GIVE_STATE: on_give_state(n, &e->msg); break;
    case SLICE: on_slice(n, &e->msg); break;
    case COMPUTED: on_computed(n, &e->msg); break;
    case LOADED: on_loaded(n, &e->msg); break;
    default: BRG_ASSERT(0 && "an event that does not exist");
    }
}
