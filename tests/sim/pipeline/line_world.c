#include "tests/sim/pipeline/line.h"

#include <inttypes.h>
#include <string.h>

enum { EVENTS_MAX = 8192 };

struct options opt;
uint64_t now_ns, trace, dispatched, truth_version;
int loud, healed, cut[NODES_MAX][NODES_MAX];
struct weights truth[STAGES_MAX], files[STEPS_MAX + 1][STAGES_MAX];

static struct event heap[EVENTS_MAX];
static uint32_t heap_count;
static uint64_t next_seq, in_order_ns[NODES_MAX][NODES_MAX];
static struct brg_prng prng;

uint64_t below(uint64_t n) {
    return brg_prng_below(&prng, n);
}

int chance(uint32_t per_mille) {
    return below(1000) < per_mille;
}

uint64_t mix(uint64_t a, uint64_t b, uint64_t c) {
    return brg_prng_mix(a, b, c, 7);
}

void tell(const char *what, uint32_t node, uint64_t number) {
    if (!loud) return;
    printf("%6" PRIu64 ".%03" PRIu64 " ms  %-28s node %2u  %" PRIu64 "\n", now_ns / MS,
           now_ns / 1000 % 1000, what, node, number);
}

void world_reset(uint64_t seed) {
    prng.state = seed;
    now_ns = dispatched = truth_version = 0;
    trace = UINT64_C(14695981039346656037);
    heap_count = 0;
    next_seq = 0;
    healed = 0;
    memset(cut, 0, sizeof cut);
    memset(in_order_ns, 0, sizeof in_order_ns);
    for (uint32_t s = 0; s < STAGES_MAX; s++)
        for (uint32_t i = 0; i < SLICES; i++) truth[s].v[i] = mix(seed, s, i);
    memcpy(files[0], truth, sizeof truth);
}

static int is_before(const struct event *a, const struct event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

void push(struct event e) {
    BRG_ASSERT(heap_count < EVENTS_MAX);
    BRG_ASSERT(e.at_ns >= now_ns);
    e.seq = next_seq++;
    uint32_t i = heap_count++;
    for (; i > 0 && is_before(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = e;
}

int pop(struct event *e) {
    if (heap_count == 0) return 0;
    *e = heap[0];
    const struct event last = heap[--heap_count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= heap_count) break;
        if (child + 1 < heap_count && is_before(&heap[child + 1], &heap[child])) child++;
        if (!is_before(&heap[child], &last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    now_ns = e->at_ns;
    dispatched++;
    const uint64_t words[] = {e->at_ns, e->kind, e->node, e->from, e->msg.ev.type, e->msg.sev.type};
    for (size_t k = 0; k < sizeof words / sizeof words[0]; k++)
        trace = (trace ^ words[k]) * UINT64_C(1099511628211);
    return 1;
}

void transmit(uint32_t kind, uint32_t from, uint32_t to, const struct msg *m) {
    const int broken = m->relayed ? cut[from][0] || cut[0][to] || !coordinator_up() : cut[from][to];
    if (broken || chance(opt.loss)) return;
    uint64_t at_ns = now_ns + MS / 10 + below(3 * MS);
    if (chance(5)) at_ns += below(200 * MS);
    if (at_ns < in_order_ns[from][to]) at_ns = in_order_ns[from][to];
    in_order_ns[from][to] = at_ns;
    push((struct event){.at_ns = at_ns, .kind = kind, .node = to, .from = from, .msg = *m});
}

uint64_t token(uint64_t step, uint32_t microbatch) {
    return mix(step, microbatch, 99);
}

uint64_t weigh(const struct weights *w) {
    uint64_t h = 3;
    for (uint32_t i = 0; i < SLICES; i++) h = mix(h, w->v[i], i);
    return h;
}

uint64_t forward_of(const struct weights *w, uint64_t input) {
    return mix(weigh(w), input, 1);
}

uint64_t backward_of(const struct weights *w, uint64_t input, uint64_t gradient) {
    return mix(forward_of(w, input), gradient, 2);
}

void apply_gradient(struct weights *w, uint64_t gradient, uint64_t step) {
    for (uint32_t i = 0; i < SLICES; i++) w->v[i] = mix(w->v[i], gradient, step + i);
}

/* All stages in one place, lanes and microbatches in their order. */
void truth_step(void) {
    uint64_t sums[STAGES_MAX][BRG_PIPE_LANES_MAX] = {{0}};
    truth_version++;
    for (uint32_t b = 0; b < opt.microbatches; b++) {
        uint64_t in[STAGES_MAX + 1] = {token(truth_version, b)};
        for (uint32_t s = 0; s < opt.stages; s++) in[s + 1] = forward_of(&truth[s], in[s]);
        uint64_t gradient = in[opt.stages];
        for (uint32_t s = opt.stages; s-- > 0;) {
            gradient = backward_of(&truth[s], in[s], gradient);
            uint64_t *sum = &sums[s][b % opt.lanes];
            *sum = mix(*sum, gradient, b); /* depends on the order, and on each being there once */
        }
    }
    for (uint32_t s = 0; s < opt.stages; s++) {
        uint64_t reduced = 0;
        for (uint32_t l = 0; l < opt.lanes; l++) reduced = mix(reduced, sums[s][l], l);
        apply_gradient(&truth[s], reduced, truth_version);
    }
}
