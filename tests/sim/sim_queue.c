#include "tests/sim/sim.h"

#include <inttypes.h>
#include <string.h>

enum { EVENTS_MAX = 16384, IN_FLIGHT_MAX = 6000 };

uint64_t sim_now_ns, sim_trace, sim_dispatched;
int sim_loud, sim_healed, sim_cut[SIM_NODES_MAX][SIM_NODES_MAX], sim_bulk_cut[SIM_NODES_MAX];
struct sim_options sim_opt;

static struct sim_event heap[EVENTS_MAX];
static uint32_t heap_count;
static uint64_t next_seq;
static struct brg_prng prng;

uint64_t sim_rng(void) {
    return brg_prng_next(&prng);
}
uint64_t sim_below(uint64_t n) {
    return brg_prng_below(&prng, n);
}
int sim_chance(uint32_t per_mille) {
    return sim_below(1000) < per_mille;
}

void sim_say(const char *what, uint32_t node, uint64_t step) {
    if (!sim_loud) return;
    printf("%8" PRIu64 ".%03" PRIu64 " ms  %-34s node %u step %" PRIu64 "\n", sim_now_ns / MS,
           sim_now_ns / 1000 % 1000, what, node, step);
}

void sim_queue_reset(uint64_t seed) {
    heap_count = 0;
    next_seq = sim_now_ns = sim_dispatched = 0;
    sim_trace = UINT64_C(14695981039346656037);
    sim_healed = 0;
    memset(sim_cut, 0, sizeof sim_cut);
    memset(sim_bulk_cut, 0, sizeof sim_bulk_cut);
    prng.state = seed;
}

static int before(const struct sim_event *a, const struct sim_event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

void sim_push(struct sim_event e) {
    BRG_ASSERT(heap_count < EVENTS_MAX);
    BRG_ASSERT(e.at_ns >= sim_now_ns);
    e.seq = next_seq++;
    uint32_t i = heap_count++;
    for (; i > 0 && before(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = e;
}

int sim_pop(struct sim_event *e) {
    if (heap_count == 0) return 0;
    *e = heap[0];
    const struct sim_event last = heap[--heap_count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= heap_count) break;
        if (child + 1 < heap_count && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    sim_now_ns = e->at_ns;
    sim_dispatched++;
    const uint64_t words[] = {e->at_ns,   e->kind,     e->node,     e->incarnation, e->msg.kind,
                              e->msg.run, e->msg.step, e->msg.unit, e->msg.epoch};
    for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) {
        sim_trace = (sim_trace ^ words[k]) * UINT64_C(1099511628211);
    }
    return 1;
}

uint32_t sim_node_count(void) {
    return sim_opt.workers + (sim_opt.twin_of != 0);
}

uint32_t sim_key_of(uint32_t node) {
    return node == sim_opt.workers + 1 ? sim_opt.twin_of : node;
}

/* 1 where the bulk connection of the worker at one end does not carry this. */
static int is_stuck(const struct sim_msg *m) {
    const uint32_t worker = m->from == COORDINATOR ? m->to : m->from;
    if (m->kind < MSG_SHARE) return 0;
    return sim_bulk_cut[worker] || (m->kind == MSG_SHARE && worker == sim_opt.mute_worker);
}

void sim_transmit(struct sim_msg m) {
    static const char *names[] = {
        "> hello",    "> beat",      "> done",    "> fault",      "> drain", "> bye",
        "< welcome",  "< refused",   "< rehello", "< run",        "< task",  "< commit",
        "< release",  "< drain ack", "> share",   "> share gone", "< want",  "> get params",
        "> get data", "< params",    "< data"};
    if (sim_loud > 1) sim_say(names[m.kind], m.from == COORDINATOR ? m.to : m.from, m.step);
    if (is_stuck(&m)) return;
    const int copies = sim_chance(sim_opt.copy) ? 2 : 1;
    for (int i = 0; i < copies; i++) {
        if (sim_cut[m.from][m.to] || sim_chance(sim_opt.loss)) continue;
        if (heap_count >= IN_FLIGHT_MAX) continue;
        uint64_t delay_ns = MS / 10 + sim_below(sim_opt.delay_ms * MS + 1);
        if (sim_chance(10)) delay_ns *= 20; /* a long tail reorders across steps */
        sim_push((struct sim_event){
            .at_ns = sim_now_ns + delay_ns, .kind = SIM_DELIVER, .node = m.to, .msg = m});
    }
}
