/* stage_work.c - the microbatches of a step in 1F1B order, and what is served of them. */
#include "worker/core/holder_private.h"

static int is_mine(const struct brg_holder *s, uint32_t microbatch) {
    return (int)(s->lanes >> (microbatch % s->lane_count) & 1u);
}

static int is_last(const struct brg_holder *s) {
    return s->stage + 1 == s->stages;
}

static int has(const struct brg_holder *s, uint32_t microbatch, uint32_t mark) {
    return (s->marks[microbatch] & mark) != 0;
}

static void mark(struct brg_holder *s, uint32_t microbatch, uint32_t m) {
    s->marks[microbatch] = (uint8_t)(s->marks[microbatch] | m);
}

uint32_t brg_holder_in_flight(const struct brg_holder *s) {
    uint32_t count = 0;
    for (uint32_t b = 0; b < s->microbatches; b++)
        count += has(s, b, BRG_MARK_FORWARD) && !has(s, b, BRG_MARK_BACKWARD);
    return count;
}

static void get(const struct brg_holder *s, uint32_t object, uint32_t index,
                struct brg_holder_actions *out) {
    const uint32_t whom = object == BRG_TENSOR_ACT    ? s->stage - 1
                          : object == BRG_TENSOR_GRAD ? s->stage + 1
                                                      : s->stage;
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_GET,
                                                   .generation = s->generation,
                                                   .step = s->version + 1,
                                                   .object = object,
                                                   .index = index,
                                                   .stage = whom});
}

/* The next BRG_HOLDER_AHEAD of each kind, in the order in which they will be needed. */
static void ask(struct brg_holder *s, struct brg_holder_actions *out) {
    uint32_t acts = 0, grads = 0;
    for (uint32_t b = 0; b < s->microbatches; b++) {
        if (!is_mine(s, b)) continue;
        if (s->stage > 0 && !has(s, b, BRG_MARK_FORWARD) && acts++ < BRG_HOLDER_AHEAD &&
            !has(s, b, BRG_MARK_ACT_ASKED)) {
            mark(s, b, BRG_MARK_ACT_ASKED);
            get(s, BRG_TENSOR_ACT, b, out);
        }
        if (!is_last(s) && has(s, b, BRG_MARK_FORWARD) && !has(s, b, BRG_MARK_BACKWARD) &&
            grads++ < BRG_HOLDER_AHEAD && !has(s, b, BRG_MARK_GRAD_ASKED)) {
            mark(s, b, BRG_MARK_GRAD_ASKED);
            get(s, BRG_TENSOR_GRAD, b, out);
        }
    }
}

static void compute(struct brg_holder *s, uint32_t type, uint32_t index,
                    struct brg_holder_actions *out) {
    s->computing = 1;
    brg_holder_act(out, (struct brg_holder_action){.type = type,
                                                   .generation = s->generation,
                                                   .step = s->version + 1,
                                                   .index = index,
                                                   .stage = s->stage});
}

/* The oldest backward that can be done, else the next forward. return: 1 where there was one */
static int compute_next(struct brg_holder *s, struct brg_holder_actions *out) {
    const uint32_t in_flight = brg_holder_in_flight(s);
    for (uint32_t b = 0; b < s->microbatches; b++) {
        if (!has(s, b, BRG_MARK_FORWARD) || has(s, b, BRG_MARK_BACKWARD)) continue;
        if (!is_last(s) && !has(s, b, BRG_MARK_GRAD)) break; /* sums are in rising order */
        compute(s, BRG_HACT_BACKWARD, b, out);
        return 1;
    }
    if (in_flight >= s->stages - s->stage) return 0;
    for (uint32_t b = 0; b < s->microbatches; b++) {
        if (!is_mine(s, b) || has(s, b, BRG_MARK_FORWARD)) continue;
        if (s->stage > 0 && !has(s, b, BRG_MARK_ACT)) return 0;
        compute(s, BRG_HACT_FORWARD, b, out);
        return 1;
    }
    return 0;
}

static int is_through(const struct brg_holder *s) {
    for (uint32_t b = 0; b < s->microbatches; b++)
        if (is_mine(s, b) && !has(s, b, BRG_MARK_BACKWARD)) return 0;
    return 1;
}

void brg_holder_work(struct brg_holder *s, struct brg_holder_actions *out) {
    BRG_ASSERT(s->phase == BRG_HOLDER_WORKING);
    ask(s, out);
    if (s->computing || compute_next(s, out) || !is_through(s)) return;
    const uint32_t all = (1u << s->lane_count) - 1;
    if ((s->lanes_here & s->lanes) != s->lanes) {
        s->lanes_here |= s->lanes;
        for (uint32_t l = 0; l < s->lane_count; l++)
            if (!(s->lanes_here >> l & 1u)) get(s, BRG_TENSOR_LANE, l, out);
    }
    if (s->lanes_here != all) return;
    s->reducing = 1;
    compute(s, BRG_HACT_REDUCE, 0, out);
}

void brg_holder_computed(struct brg_holder *s, uint32_t microbatch, uint32_t object) {
    BRG_ASSERT(microbatch < s->microbatches);
    BRG_ASSERT(is_mine(s, microbatch));
    mark(s, microbatch, object == BRG_TENSOR_GRAD ? BRG_MARK_BACKWARD : BRG_MARK_FORWARD);
}

void brg_holder_arrived(struct brg_holder *s, const struct brg_holder_event *ev,
                        struct brg_holder_actions *out) {
    if (s->phase != BRG_HOLDER_WORKING || ev->generation != s->generation) return;
    if (ev->step != s->version + 1) return;
    s->moved_ns = s->now_ns;
    if (ev->object == BRG_TENSOR_LANE) {
        if (ev->index >= s->lane_count || (s->lanes_here & s->lanes) != s->lanes) return;
        s->lanes_here |= 1u << ev->index;
    } else {
        if (ev->index >= s->microbatches) return;
        const int act = ev->object == BRG_TENSOR_ACT;
        if (!has(s, ev->index, act ? BRG_MARK_ACT_ASKED : BRG_MARK_GRAD_ASKED)) return;
        mark(s, ev->index, act ? BRG_MARK_ACT : BRG_MARK_GRAD);
    }
    if (!s->reducing) brg_holder_work(s, out);
}

void brg_holder_ask_again(struct brg_holder *s, struct brg_holder_actions *out) {
    uint32_t whom = BRG_HOLDER_NONE, index = 0;
    s->asked_ns = s->now_ns;
    for (uint32_t b = 0; b < s->microbatches; b++) {
        const int act = has(s, b, BRG_MARK_ACT_ASKED) && !has(s, b, BRG_MARK_ACT);
        const int grad = has(s, b, BRG_MARK_GRAD_ASKED) && !has(s, b, BRG_MARK_GRAD);
        if (act) get(s, BRG_TENSOR_ACT, b, out);
        if (grad) get(s, BRG_TENSOR_GRAD, b, out);
        if (whom != BRG_HOLDER_NONE || (!act && !grad)) continue;
        whom = act ? s->stage - 1 : s->stage + 1;
        index = b;
    }
    for (uint32_t l = 0; l < s->lane_count && is_through(s); l++) {
        if (s->lanes_here >> l & 1u) continue;
        get(s, BRG_TENSOR_LANE, l, out);
        whom = s->stage;
        index = l;
    }
    if (s->computing || whom == BRG_HOLDER_NONE) return;
    if (s->now_ns < s->moved_ns + s->config.peer_ns) return;
    s->moved_ns = s->now_ns;
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_SEND_LOST_PEER,
                                                   .generation = s->generation,
                                                   .stage = whom,
                                                   .index = index});
}

enum brg_holder_answer brg_holder_serve(const struct brg_holder *s,
                                        const struct brg_holder_get *get_) {
    if (get_->generation > s->generation) return BRG_HOLDER_LATER;
    if (get_->generation < s->generation) return BRG_HOLDER_GONE;
    if (get_->step > s->version + 1) return BRG_HOLDER_LATER; /* a commit is on its way to us */
    if (get_->step <= s->version) return BRG_HOLDER_GONE;
    if (s->phase == BRG_HOLDER_FETCHING || s->phase == BRG_HOLDER_PLACED) return BRG_HOLDER_LATER;
    if (s->phase != BRG_HOLDER_WORKING && s->phase != BRG_HOLDER_READY) return BRG_HOLDER_GONE;
    if (get_->object == BRG_TENSOR_LANE) {
        if (get_->index >= s->lane_count || !(s->lanes >> get_->index & 1u)) return BRG_HOLDER_GONE;
        return is_through(s) ? BRG_HOLDER_HAS : BRG_HOLDER_LATER;
    }
    if (get_->index >= s->microbatches || !is_mine(s, get_->index)) return BRG_HOLDER_GONE;
    const uint32_t m = get_->object == BRG_TENSOR_ACT ? BRG_MARK_FORWARD : BRG_MARK_BACKWARD;
    return has(s, get_->index, m) ? BRG_HOLDER_HAS : BRG_HOLDER_LATER;
}

enum brg_holder_answer brg_holder_serve_state(const struct brg_holder *s, uint32_t stage,
                                              uint64_t lineage, uint64_t version) {
    const int fetching = s->phase == BRG_HOLDER_FETCHING && s->stage == stage;
    if (fetching && s->place_lineage == lineage && s->place_version == version)
        return BRG_HOLDER_LATER;
    if (s->held != stage || s->lineage != lineage) return BRG_HOLDER_GONE;
    if (version == UINT64_MAX || version == s->version) return BRG_HOLDER_HAS;
    return version == s->version + 1 && s->pending_step == version ? BRG_HOLDER_LATER
                                                                   : BRG_HOLDER_GONE;
}
