/* line_step.c - the microbatches of a step: fetched, computed, offered; READY and the commit. */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

static uint32_t samples_of(const struct brg_line_seat *seat, uint32_t index) {
    return brg_sample_chunk_range(&seat->setup.batch, index).count;
}

static struct brg_object object_of(const struct brg_line_seat *seat, uint32_t kind, uint32_t stage,
                                   uint32_t index, uint64_t step) {
    return (struct brg_object){.kind = kind,
                               .run = seat->run,
                               .step = step,
                               .unit = stage,
                               .microbatch = index,
                               .generation = seat->core.generation};
}

void brg_seat_drop_matrices(struct brg_line_seat *seat) {
    for (uint32_t i = 0; i < BRG_LINE_MICROBATCHES_MAX; i++) {
        brg_buffer_release(seat->acts[i]);
        brg_buffer_release(seat->grads[i]);
        seat->acts[i] = seat->grads[i] = NULL;
    }
    seat->backwards = 0;
}

void brg_seat_begin_step(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_line_seat *seat = &s->seat;
    brg_seat_drop_matrices(seat);
    brg_peers_floor(seat->peers, a->step);
    seat->began_ns = s->now_ns;
    brg_peers_stats_read(seat->peers, &seat->stats);
    brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_BEGIN,
                                                             .generation = a->generation,
                                                             .step = a->step,
                                                             .lanes = seat->core.lanes});
}

void brg_seat_get(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_line_seat *seat = &s->seat;
    const int is_lane = a->object == BRG_TENSOR_LANE;
    const uint32_t lane = is_lane ? a->index : a->index % seat->line.lanes;
    const uint32_t kind = is_lane                        ? BRG_OBJECT_LANE
                          : a->object == BRG_TENSOR_GRAD ? BRG_OBJECT_GRAD
                                                         : BRG_OBJECT_ACT;
    const struct brg_object object = object_of(seat, kind, a->stage, a->index, a->step);
    const uint64_t bytes =
        is_lane ? seat->cut.param_count * sizeof(float)
                : brg_stage_wire_bytes(&seat->cut, seat->line.wire, samples_of(seat, a->index));
    const uint32_t member = brg_seat_holder(seat, a->stage, lane);
    if (member == BRG_HOLDER_NONE) return; /* the machine asks again, and complains */
    const int rc = brg_seat_fetch(s, member, &object, bytes);
    if (rc != BRG_OK)
        brg_log_warn("line", BRG_FIELDS(BRG_U64("stage", a->stage), BRG_U64("member", member)),
                     "what another worker has cannot be fetched: %s", brg_strerror(rc));
}

void brg_seat_compute(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_engine_command c = {.generation = a->generation, .step = a->step, .index = a->index};
    if (a->type == BRG_HACT_FORWARD) {
        c.what = BRG_ENGINE_FORWARD;
        c.in[0] = seat->acts[a->index];
        seat->acts[a->index] = NULL;
    } else if (a->type == BRG_HACT_BACKWARD) {
        c.what = BRG_ENGINE_BACKWARD;
        c.in[0] = seat->grads[a->index];
        seat->grads[a->index] = NULL;
    } else {
        c.what = BRG_ENGINE_REDUCE;
    }
    brg_engine_do(seat->engine, &c);
}

void brg_seat_apply(struct brg_shell *s, uint64_t step) {
    struct brg_line_seat *seat = &s->seat;
    seat->changing++;
    brg_engine_do(seat->engine, &(struct brg_engine_command){
                                    .what = BRG_ENGINE_APPLY, .step = step, .clip = seat->clip});
    brg_seat_save(s);
}

void brg_seat_step_arrived(struct brg_shell *s, struct brg_peer_result *r) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_object *o = &r->object;
    uint32_t object = BRG_TENSOR_LANE;
    if (r->code != BRG_OK) return; /* the machine asks again */
    if (o->run != seat->run || o->generation != seat->core.generation) return;
    if (o->kind == BRG_OBJECT_LANE) {
        brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_TAKE_LANE,
                                                                 .generation = o->generation,
                                                                 .step = o->step,
                                                                 .index = o->microbatch,
                                                                 .in = {r->buffer}});
        r->buffer = NULL;
    } else {
        if (o->microbatch >= BRG_LINE_MICROBATCHES_MAX) return;
        const int is_act = o->kind == BRG_OBJECT_ACT;
        struct brg_buffer **place =
            is_act ? &seat->acts[o->microbatch] : &seat->grads[o->microbatch];
        object = is_act ? BRG_TENSOR_ACT : BRG_TENSOR_GRAD;
        brg_buffer_release(*place);
        *place = r->buffer;
        r->buffer = NULL;
    }
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_ARRIVED,
                                               .generation = o->generation,
                                               .step = o->step,
                                               .object = object,
                                               .index = o->microbatch});
}

/* How many microbatches are this holder's. */
static uint32_t own_count(const struct brg_line_seat *seat) {
    uint32_t count = 0;
    for (uint32_t b = 0; b < seat->line.microbatches; b++)
        count += seat->core.lanes >> (b % seat->line.lanes) & 1u;
    return count;
}

/* All microbatches are back: siblings may fetch the sums of the lanes. */
static void show_lanes(struct brg_line_seat *seat, const struct brg_engine_answer *a) {
    if (seat->line.lanes == 1 || ++seat->backwards < own_count(seat)) return;
    for (uint32_t l = 0; l < seat->line.lanes; l++)
        if (seat->core.lanes >> l & 1u)
            brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_LANE,
                                                                     .generation = a->generation,
                                                                     .step = a->step,
                                                                     .index = l});
}

static void offer(struct brg_shell *s, uint32_t kind, struct brg_engine_answer *a) {
    const struct brg_line_seat *seat = &s->seat;
    const struct brg_object object = object_of(seat, kind, seat->core.stage, a->index, a->step);
    if (a->out[0] == NULL) return;
    brg_seat_offer(s, &object, a->out[0]);
    a->out[0] = NULL;
}

static void computed(struct brg_shell *s, const struct brg_engine_answer *a, uint32_t object) {
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_COMPUTED,
                                               .generation = a->generation,
                                               .step = a->step,
                                               .index = a->index,
                                               .object = object});
}

/* The gradient of a step that a learner is to make, too. */
void brg_seat_show_gradient(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const uint64_t step = seat->gradient_step;
    const struct brg_object object = {.kind = BRG_OBJECT_STATE,
                                      .run = seat->run,
                                      .step = step,
                                      .unit = seat->core.stage,
                                      .microbatch = BRG_STATE_PART_GRADIENT};
    if (!seat->teaches || seat->gradient == NULL) return;
    if (step > BRG_SEAT_GRADIENTS_MAX) {
        struct brg_object old = object;
        old.step = step - BRG_SEAT_GRADIENTS_MAX;
        brg_peers_withdraw(seat->peers, &old, "that step is over");
    }
    brg_peers_retract(seat->peers, &object); /* of the step before it was aborted */
    brg_seat_offer(s, &object, brg_buffer_hold(seat->gradient));
}

static void keep_gradient(struct brg_line_seat *seat, struct brg_engine_answer *a) {
    brg_buffer_release(seat->gradient);
    seat->gradient = a->out[0];
    seat->gradient_step = a->step;
    a->out[0] = NULL;
}

void brg_seat_step_answer(struct brg_shell *s, struct brg_engine_answer *a) {
    struct brg_line_seat *seat = &s->seat;
    if (a->what == BRG_ENGINE_APPLY) {
        BRG_ASSERT(seat->changing > 0);
        seat->changing--;
        if (a->code == BRG_OK) seat->weights = a->digest;
        return;
    }
    const int is_now = a->generation == seat->core.generation && seat->run != 0 &&
                       seat->core.phase == BRG_HOLDER_WORKING && a->step == seat->core.version + 1;
    if (!is_now) return;
    if (a->code != BRG_OK) {
        /* Nothing comes of this step here: the coordinator gives the seat to somebody else. */
        brg_log_error("line", BRG_FIELDS(BRG_U64("step", a->step), BRG_U64("index", a->index)),
                      "a microbatch cannot be computed: %s", brg_strerror(a->code));
        return;
    }
    switch ((enum brg_engine_what)a->what) {
    case BRG_ENGINE_FORWARD:
        offer(s, BRG_OBJECT_ACT, a);
        computed(s, a, BRG_TENSOR_ACT);
        break;
    case BRG_ENGINE_BACKWARD:
        offer(s, BRG_OBJECT_GRAD, a);
        show_lanes(seat, a);
        computed(s, a, BRG_TENSOR_GRAD);
        break;
    case BRG_ENGINE_LANE: offer(s, BRG_OBJECT_LANE, a); break;
    case BRG_ENGINE_REDUCE:
        seat->sums = a->sums;
        seat->microbatch_ns = a->sums.compute_ns / (own_count(seat) > 0 ? own_count(seat) : 1);
        keep_gradient(seat, a);
        brg_seat_show_gradient(s);
        computed(s, a, BRG_TENSOR_LANE);
        break;
    default: break;
    }
}

void brg_seat_send_ready(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_msg_ready *m = &brg_seat_begin(s, BRG_MSG_READY)->ready;
    struct brg_peers_stats now;
    brg_peers_stats_read(seat->peers, &now);
    m->run = seat->run;
    m->generation = seat->core.generation;
    m->step = seat->core.pending_step;
    m->digest = seat->sums.digest;
    m->norm2 = seat->sums.norm2;
    if (seat->core.stage + 1 == seat->line.stages) {
        uint32_t n = 0;
        m->lanes = seat->core.lanes;
        for (uint32_t l = 0; l < seat->line.lanes; l++) {
            if (!(m->lanes >> l & 1u)) continue;
            m->loss_sums[n] = seat->sums.loss_sums[l];
            m->loss_counts[n++] = seat->sums.loss_counts[l];
        }
    }
    m->compute_ns = seat->sums.compute_ns;
    const uint64_t spent_ns = s->now_ns - seat->began_ns;
    m->wait_ns = spent_ns > m->compute_ns ? spent_ns - m->compute_ns : 0;
    m->sent_bytes = now.sent_bytes - seat->stats.sent_bytes;
    m->received_bytes = now.received_bytes - seat->stats.received_bytes;
    m->wire_error = seat->sums.wire_error;
    brg_seat_send(s);
}
