#include "worker/core/holder_private.h"

#include <string.h>

void brg_holder_act(struct brg_holder_actions *out, struct brg_holder_action action) {
    BRG_ASSERT(out->count < BRG_HOLDER_ACTIONS_MAX);
    out->items[out->count++] = action;
}

int brg_holder_init(struct brg_holder *s, const struct brg_holder_config *config) {
    if (config->retry_ns == 0 || config->fetch_ns == 0 || config->peer_ns == 0) return BRG_EINVAL;
    memset(s, 0, sizeof *s);
    s->config = *config;
    s->held = s->stage = BRG_HOLDER_NONE;
    return BRG_OK;
}

static void say(const struct brg_holder *s, uint32_t type, struct brg_holder_actions *out) {
    brg_holder_act(out, (struct brg_holder_action){.type = type,
                                                   .generation = s->generation,
                                                   .stage = s->stage,
                                                   .lineage = s->lineage,
                                                   .step = s->version + 1,
                                                   .version = s->version});
}

/* Nothing that is under way is of use any more; the state and the gradient in hand stay. */
static void cancel(struct brg_holder *s, struct brg_holder_actions *out) {
    if (s->phase == BRG_HOLDER_IDLE) return;
    s->phase = BRG_HOLDER_IDLE;
    s->stage = BRG_HOLDER_NONE;
    s->computing = s->reducing = 0;
    s->lanes = s->lanes_here = 0;
    memset(s->marks, 0, sizeof s->marks);
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_CANCEL});
}

static void apply(struct brg_holder *s, struct brg_holder_actions *out) {
    BRG_ASSERT(s->pending_step == s->version + 1);
    s->version++;
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_APPLY, .step = s->version});
    if (s->stage == s->held && (s->lanes & 1u))
        brg_holder_act(out,
                       (struct brg_holder_action){.type = BRG_HACT_SHADOW, .version = s->version});
}

/* The coordinator says which version is committed, and by which generation. */
static void settle(struct brg_holder *s, uint64_t version, uint64_t generation,
                   struct brg_holder_actions *out) {
    if (s->held == BRG_HOLDER_NONE || s->pending_step != s->version + 1) return;
    if (s->pending_step == version && s->pending_generation == generation) {
        apply(s, out);
    } else {
        s->pending_step = s->pending_generation = 0;
        brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_DROP_GRADIENT});
    }
}

static void drop_state(struct brg_holder *s, struct brg_holder_actions *out) {
    if (s->held == BRG_HOLDER_NONE) return;
    s->held = BRG_HOLDER_NONE;
    s->version = s->lineage = s->pending_step = s->pending_generation = 0;
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_DROP_STATE});
}

static void on_welcome(struct brg_holder *s, const struct brg_holder_event *ev,
                       struct brg_holder_actions *out) {
    if (ev->epoch <= s->epoch) return;
    cancel(s, out);
    if (ev->run != s->run) drop_state(s, out);
    s->epoch = ev->epoch;
    s->run = ev->run;
    s->generation = 0;
}

static int is_place_valid(const struct brg_holder_event *ev) {
    return ev->stages > 0 && ev->stage < ev->stages && ev->lane_count > 0 &&
           ev->lane_count <= BRG_HOLDER_LANES_MAX && ev->lanes != 0 &&
           ev->lanes < (UINT64_C(1) << ev->lane_count) && ev->microbatches >= ev->lane_count &&
           ev->microbatches <= BRG_HOLDER_MICROBATCHES_MAX;
}

static void placed(struct brg_holder *s, struct brg_holder_actions *out) {
    s->phase = BRG_HOLDER_PLACED;
    s->asked_ns = s->moved_ns = s->now_ns;
    say(s, BRG_HACT_SEND_PLACED, out);
}

static void fetch(struct brg_holder *s, struct brg_holder_actions *out) {
    s->asked_ns = s->now_ns;
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_FETCH_STATE,
                                                   .generation = s->generation,
                                                   .stage = s->stage,
                                                   .lineage = s->place_lineage,
                                                   .version = s->place_version,
                                                   .rung = s->rung});
}

static int on_place(struct brg_holder *s, const struct brg_holder_event *ev,
                    struct brg_holder_actions *out) {
    if (!is_place_valid(ev)) return BRG_EPROTO;
    if (ev->generation == s->generation && s->phase == BRG_HOLDER_PLACED)
        say(s, BRG_HACT_SEND_PLACED, out);
    if (ev->generation <= s->generation) return BRG_OK;
    cancel(s, out);
    s->generation = ev->generation;
    settle(s, ev->version, ev->commit_generation, out);
    s->stage = ev->stage;
    s->stages = ev->stages;
    s->lanes = ev->lanes;
    s->lane_count = ev->lane_count;
    s->microbatches = ev->microbatches;
    s->steps = ev->steps;
    s->place_version = ev->version;
    s->place_lineage = ev->lineage;
    s->rung = ev->rung;
    s->moved_ns = s->now_ns;
    if (ev->rung == 0) {
        const int has =
            s->held == ev->stage && s->lineage == ev->lineage && s->version == ev->version;
        s->phase = BRG_HOLDER_FETCHING;
        s->asked_ns = s->now_ns;
        if (has)
            placed(s, out);
        else
            say(s, BRG_HACT_SEND_FETCH_FAILED, out);
        return BRG_OK;
    }
    drop_state(s, out);
    s->phase = BRG_HOLDER_FETCHING;
    fetch(s, out);
    return BRG_OK;
}

static void begin(struct brg_holder *s, struct brg_holder_actions *out) {
    memset(s->marks, 0, sizeof s->marks);
    s->lanes_here = 0;
    s->computing = s->reducing = 0;
    s->asked_ns = s->moved_ns = s->now_ns;
    if (s->version >= s->steps) {
        s->phase = BRG_HOLDER_PLACED; /* no step is left; what it holds, others may ask for */
        return;
    }
    s->phase = BRG_HOLDER_WORKING;
    say(s, BRG_HACT_BEGIN, out);
    brg_holder_work(s, out);
}

static void on_commit(struct brg_holder *s, const struct brg_holder_event *ev,
                      struct brg_holder_actions *out) {
    if (s->phase == BRG_HOLDER_LEARNING) {
        brg_holder_act(out,
                       (struct brg_holder_action){.type = BRG_HACT_FETCH_TAIL, .step = ev->step});
        return;
    }
    if (s->held == BRG_HOLDER_NONE || ev->step != s->version + 1) return;
    if (s->pending_step != ev->step || s->pending_generation != ev->generation) return;
    apply(s, out);
    if (s->phase == BRG_HOLDER_READY) begin(s, out);
}

static void on_unseat(struct brg_holder *s, const struct brg_holder_event *ev,
                      struct brg_holder_actions *out) {
    if (ev->generation < s->generation) return;
    if (ev->generation == s->generation && s->phase == BRG_HOLDER_IDLE) {
        settle(s, ev->version, ev->commit_generation, out);
        return;
    }
    cancel(s, out);
    s->generation = ev->generation;
    settle(s, ev->version, ev->commit_generation, out);
}

static void on_learn(struct brg_holder *s, const struct brg_holder_event *ev,
                     struct brg_holder_actions *out) {
    if (s->phase != BRG_HOLDER_IDLE && s->phase != BRG_HOLDER_LEARNING) return;
    if (ev->generation < s->generation) return;
    cancel(s, out);
    drop_state(s, out);
    s->phase = BRG_HOLDER_LEARNING;
    s->stage = ev->stage;
    s->place_lineage = ev->lineage;
    s->place_version = UINT64_MAX;
    s->rung = 0;
    s->tail = 0;
    s->moved_ns = s->now_ns;
    fetch(s, out);
}

static void learned(struct brg_holder *s, struct brg_holder_actions *out) {
    s->asked_ns = s->now_ns;
    say(s, BRG_HACT_SEND_LEARNED, out);
}

static void on_state(struct brg_holder *s, const struct brg_holder_event *ev,
                     struct brg_holder_actions *out) {
    if (s->phase == BRG_HOLDER_LEARNING && s->held == BRG_HOLDER_NONE) {
        s->held = s->stage;
        s->lineage = s->place_lineage;
        s->version = ev->version;
        s->moved_ns = s->now_ns;
        learned(s, out);
        return;
    }
    if (s->phase != BRG_HOLDER_FETCHING || ev->generation != s->generation || s->rung == 0) return;
    BRG_ASSERT(ev->version == s->place_version);
    s->held = s->stage;
    s->lineage = s->place_lineage;
    s->version = s->place_version;
    s->pending_step = s->pending_generation = 0;
    placed(s, out);
}

static void fail(struct brg_holder *s, struct brg_holder_actions *out) {
    say(s, BRG_HACT_SEND_FETCH_FAILED, out);
    s->asked_ns = s->moved_ns = s->now_ns;
    if (s->phase != BRG_HOLDER_LEARNING) return;
    cancel(s, out);
    drop_state(s, out);
}

static void on_tail(struct brg_holder *s, const struct brg_holder_event *ev,
                    struct brg_holder_actions *out) {
    if (s->phase != BRG_HOLDER_LEARNING || s->held == BRG_HOLDER_NONE) return;
    if (ev->step != s->version + 1) return;
    s->pending_step = ev->step;
    s->pending_generation = 0;
    apply(s, out);
    s->moved_ns = s->now_ns;
    learned(s, out);
}

static void on_computed(struct brg_holder *s, const struct brg_holder_event *ev,
                        struct brg_holder_actions *out) {
    if (s->phase != BRG_HOLDER_WORKING || !s->computing) return;
    if (ev->generation != s->generation || ev->step != s->version + 1) return;
    s->computing = 0;
    s->moved_ns = s->now_ns;
    if (!s->reducing) {
        brg_holder_computed(s, ev->index, ev->object);
        brg_holder_work(s, out);
        return;
    }
    s->reducing = 0;
    s->phase = BRG_HOLDER_READY;
    s->pending_step = s->version + 1;
    s->pending_generation = s->generation;
    s->asked_ns = s->now_ns;
    say(s, BRG_HACT_SEND_READY, out);
}

static void on_tick(struct brg_holder *s, struct brg_holder_actions *out) {
    if (s->phase == BRG_HOLDER_IDLE) return;
    const int again = s->now_ns >= s->asked_ns + s->config.retry_ns;
    if (!again) return;
    switch (s->phase) {
    case BRG_HOLDER_FETCHING:
    case BRG_HOLDER_LEARNING:
        if (s->phase == BRG_HOLDER_FETCHING && s->rung == 0)
            fail(s, out); /* it was lost, perhaps: say it again */
        else if (s->now_ns >= s->moved_ns + s->config.fetch_ns && s->held == BRG_HOLDER_NONE)
            fail(s, out);
        else if (s->held == BRG_HOLDER_NONE)
            fetch(s, out);
        else
            learned(s, out);
        break;
    case BRG_HOLDER_PLACED:
        say(s, BRG_HACT_SEND_PLACED, out);
        s->asked_ns = s->now_ns;
        break;
    case BRG_HOLDER_READY:
        say(s, BRG_HACT_SEND_READY, out);
        s->asked_ns = s->now_ns;
        break;
    default: brg_holder_ask_again(s, out);
    }
}

static void arm(const struct brg_holder *s, struct brg_holder_actions *out) {
    if (s->phase == BRG_HOLDER_IDLE) return;
    brg_holder_act(out, (struct brg_holder_action){.type = BRG_HACT_ARM,
                                                   .at_ns = s->asked_ns + s->config.retry_ns});
}

int brg_holder_step(struct brg_holder *s, const struct brg_holder_event *ev,
                    struct brg_holder_actions *out) {
    int rc = BRG_OK;
    BRG_ASSERT(ev->now_ns >= s->now_ns);
    out->count = 0;
    s->now_ns = ev->now_ns;
    const int is_word = ev->type >= BRG_HEV_PLACE && ev->type <= BRG_HEV_LEARN;
    if (is_word && ev->epoch != s->epoch) return BRG_OK;
    switch (ev->type) {
    case BRG_HEV_WELCOME: on_welcome(s, ev, out); break;
    case BRG_HEV_PLACE: rc = on_place(s, ev, out); break;
    case BRG_HEV_START:
        if (s->phase == BRG_HOLDER_PLACED && ev->generation == s->generation) begin(s, out);
        break;
    case BRG_HEV_COMMIT: on_commit(s, ev, out); break;
    case BRG_HEV_UNSEAT: on_unseat(s, ev, out); break;
    case BRG_HEV_LEARN: on_learn(s, ev, out); break;
    case BRG_HEV_STATE: on_state(s, ev, out); break;
    case BRG_HEV_STATE_MOVED: s->moved_ns = s->now_ns; break;
    case BRG_HEV_STATE_FAILED:
        if (s->phase == BRG_HOLDER_FETCHING && ev->generation == s->generation) fail(s, out);
        break;
    case BRG_HEV_TAIL: on_tail(s, ev, out); break;
    case BRG_HEV_ARRIVED: brg_holder_arrived(s, ev, out); break;
    case BRG_HEV_PARKED:
        if (ev->generation == s->generation) s->moved_ns = s->now_ns;
        break;
    case BRG_HEV_COMPUTED: on_computed(s, ev, out); break;
    case BRG_HEV_TICK: on_tick(s, out); break;
    default: BRG_ASSERT(0 && "an event that does not exist");
    }
    if (rc == BRG_OK) arm(s, out);
    return rc;
}

void brg_holder_check(const struct brg_holder *s) {
    BRG_ASSERT(s->held != BRG_HOLDER_NONE || s->pending_step == 0);
    if (s->pending_step != 0) {
        BRG_ASSERT(s->pending_step >= s->version);
        BRG_ASSERT(s->pending_step <= s->version + 1);
    }
    BRG_ASSERT((s->phase == BRG_HOLDER_IDLE) == (s->stage == BRG_HOLDER_NONE));
    if (s->phase != BRG_HOLDER_WORKING && s->phase != BRG_HOLDER_READY) return;
    BRG_ASSERT(s->held == s->stage);
    BRG_ASSERT(brg_holder_in_flight(s) <= s->stages - s->stage);
}
