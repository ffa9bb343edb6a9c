/* line_keep.c - shadows and ends: one's own as they leave, those of others that are kept here.
 *
 *   after step v:  SLICE -> offered as slice i of v, plain and packed -> fetched by the keeper
 *   keeper:        fetches v + 1 next, whether it is there yet or not; the source parks the Get
 *
 * The ends of the line (embedding; norm and head) go to the stages beside them in the same way. */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

#define AGAIN_NS (300 * BRG_NS_PER_MS)

static struct brg_object state_of(const struct brg_line_seat *seat, uint32_t stage,
                                  uint64_t version, uint32_t part) {
    return (struct brg_object){.kind = BRG_OBJECT_STATE,
                               .run = seat->run,
                               .step = version,
                               .unit = stage,
                               .microbatch = part};
}

/* ---- one's own ---- */

/* Offers an object of one version, and withdraws the oldest where there are many. */
static void offer_passing(struct brg_shell *s, const struct brg_object *object,
                          struct brg_buffer **bytes) {
    struct brg_line_seat *seat = &s->seat;
    const uint32_t max = sizeof seat->offered / sizeof *seat->offered;
    if (*bytes == NULL) return;
    if (seat->offered_count == max) {
        brg_peers_withdraw(seat->peers, &seat->offered[0], "a newer version is held");
        seat->offered_count--;
        memmove(seat->offered, seat->offered + 1, seat->offered_count * sizeof *seat->offered);
    }
    seat->offered[seat->offered_count++] = *object;
    brg_peers_retract(seat->peers, object);
    brg_seat_offer(s, object, *bytes);
    *bytes = NULL;
}

void brg_seat_keep_leave(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    if (seat->line.shadow_every > 0 && seat->line.stages > 1)
        brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_SLICE,
                                                                 .stage = seat->core.held,
                                                                 .step = seat->core.version});
    if (brg_stage_edges(&seat->cut) > 0 && seat->line.stages > 1)
        brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_FREEZE,
                                                                 .stage = seat->core.held,
                                                                 .tag = BRG_SEAT_FOR_EDGES});
}

static void on_own(struct brg_shell *s, struct brg_engine_answer *a) {
    struct brg_line_seat *seat = &s->seat;
    if (a->what == BRG_ENGINE_FREEZE) {
        const struct brg_object object = state_of(seat, a->stage, a->version, BRG_STATE_PART_EDGES);
        offer_passing(s, &object, &a->out[0]);
        return;
    }
    struct brg_object object = state_of(seat, a->stage, a->step, BRG_STATE_PART_SLICE + a->index);
    offer_passing(s, &object, &a->out[0]);
    object.microbatch = BRG_STATE_PART_SLICE_INT8 + a->index;
    offer_passing(s, &object, &a->out[1]);
}

/* ---- those of others ---- */

static void stop(struct brg_line_seat *seat, struct brg_seat_kept *k) {
    if (k->is_fetching) brg_peers_cancel(seat->peers, &k->object);
    k->is_fetching = 0;
}

void brg_seat_keep_end(struct brg_line_seat *seat) {
    for (uint32_t i = 0; i < BRG_SEAT_KEPT_MAX; i++) {
        if (seat->peers != NULL) stop(seat, &seat->kept[i]);
        memset(&seat->kept[i], 0, sizeof seat->kept[i]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (seat->peers != NULL) stop(seat, &seat->edges[i]);
        memset(&seat->edges[i], 0, sizeof seat->edges[i]);
    }
    for (uint32_t i = 0; i < BRG_SEAT_CLIPS_MAX; i++) {
        brg_buffer_release(seat->tails[i]);
        seat->tails[i] = NULL;
    }
    memset(seat->shown, 0, sizeof seat->shown);
}

static void forget(struct brg_line_seat *seat, struct brg_seat_kept *k) {
    stop(seat, k);
    brg_engine_do(seat->engine,
                  &(struct brg_engine_command){.what = BRG_ENGINE_FORGET, .stage = k->stage});
    memset(k, 0, sizeof *k);
}

static struct brg_seat_kept *kept_of(struct brg_line_seat *seat, uint32_t stage) {
    struct brg_seat_kept *unused = NULL;
    for (uint32_t i = 0; i < BRG_SEAT_KEPT_MAX; i++) {
        if (seat->kept[i].is_used && seat->kept[i].stage == stage) return &seat->kept[i];
        if (!seat->kept[i].is_used && unused == NULL) unused = &seat->kept[i];
    }
    return unused;
}

static void place_edges(struct brg_line_seat *seat) {
    const uint32_t own = seat->core.stage, last = seat->line.stages - 1;
    for (uint32_t i = 0; i < 2; i++) {
        struct brg_seat_kept *k = &seat->edges[i];
        const uint32_t end = i == 0 ? 0 : last;
        const int beside = own != end && (own + 1 == end || end + 1 == own);
        stop(seat, k);
        *k = (struct brg_seat_kept){.is_used = (uint32_t)(beside && (seat->core.lanes & 1u) != 0),
                                    .stage = end,
                                    .from = brg_seat_holder(seat, end, 0),
                                    .next = seat->place.version};
    }
}

void brg_seat_keep_placed(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_msg_place *p = &seat->place;
    const int is_back = p->rung == BRG_RUNG_CHECKPOINT; /* all went back: what is kept is newer */
    for (uint32_t i = 0; i < BRG_SEAT_KEPT_MAX; i++) {
        struct brg_seat_kept *k = &seat->kept[i];
        if (!k->is_used) continue;
        stop(seat, k);
        if (k->is_old || is_back) {
            forget(seat, k);
            continue;
        }
        k->is_old = 1;
        if (k->oldest == 0) continue;
        brg_engine_do(seat->engine,
                      &(struct brg_engine_command){.what = BRG_ENGINE_SHADOW, .stage = k->stage});
    }
    for (uint32_t i = 0; i < p->shadow_count && seat->line.shadow_every > 0; i++) {
        struct brg_seat_kept *k = kept_of(seat, p->shadow_stages[i]);
        if (k == NULL) break; /* over the bound: the ladder sees that there is none */
        k->is_used = 1;
        k->is_old = 0;
        k->stage = p->shadow_stages[i];
        k->from = p->shadow_members[i];
        k->first = k->next = p->version + 1;
        k->plain = 0;
    }
    if (seat->core.stage != BRG_HOLDER_NONE && seat->line.stages > 1) place_edges(seat);
}

static void fetch_slice(struct brg_shell *s, struct brg_seat_kept *k) {
    struct brg_line_seat *seat = &s->seat;
    const uint32_t every = seat->line.shadow_every;
    const uint32_t index = (uint32_t)((k->next - 1) % every);
    const int packed = seat->line.shadow_int8 && !seat->line.shadow_moments && !k->plain &&
                       k->next >= k->first + every;
    struct brg_stage cut;
    if (brg_stage_cut(&seat->setup.model, seat->line.stages, k->stage, &cut, NULL) != BRG_OK)
        return;
    const uint64_t bytes = brg_stage_slice_bytes(&seat->line, &cut, index, packed);
    if (bytes == 0) { /* more slices than cache lines */
        k->is_fetching = 1;
        brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_KEEP,
                                                                 .stage = k->stage,
                                                                 .index = index,
                                                                 .step = k->next,
                                                                 .version = k->next});
        return;
    }
    const uint32_t part = packed ? BRG_STATE_PART_SLICE_INT8 : BRG_STATE_PART_SLICE;
    k->object = state_of(seat, k->stage, k->next, part + index);
    k->is_fetching = brg_seat_fetch(s, k->from, &k->object, bytes) == BRG_OK;
    if (!k->is_fetching) k->again_ns = s->now_ns + AGAIN_NS;
}

static void fetch_edges(struct brg_shell *s, struct brg_seat_kept *k) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_stage cut;
    if (brg_stage_cut(&seat->setup.model, seat->line.stages, k->stage, &cut, NULL) != BRG_OK)
        return;
    k->object = state_of(seat, k->stage, k->next, BRG_STATE_PART_EDGES);
    k->is_fetching =
        brg_seat_fetch(s, k->from, &k->object, brg_stage_edges(&cut) * sizeof(float)) == BRG_OK;
    if (!k->is_fetching) k->again_ns = s->now_ns + AGAIN_NS;
}

void brg_seat_keep_next(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const uint64_t version = seat->core.version;
    if (seat->core.phase != BRG_HOLDER_WORKING && seat->core.phase != BRG_HOLDER_READY) return;
    for (uint32_t i = 0; i < BRG_SEAT_KEPT_MAX; i++) {
        struct brg_seat_kept *k = &seat->kept[i];
        if (!k->is_used || k->is_old || k->is_fetching || s->now_ns < k->again_ns) continue;
        if (k->next + BRG_SEAT_SLICES_MAX / 2 < version) k->first = k->next = version;
        fetch_slice(s, k);
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct brg_seat_kept *k = &seat->edges[i];
        if (!k->is_used || k->is_fetching || s->now_ns < k->again_ns) continue;
        if (k->next + BRG_SEAT_SLICES_MAX / 2 < version) k->next = version;
        fetch_edges(s, k);
    }
}

static void edges_arrived(struct brg_shell *s, struct brg_peer_result *r) {
    struct brg_line_seat *seat = &s->seat;
    for (uint32_t i = 0; i < 2; i++) {
        struct brg_seat_kept *k = &seat->edges[i];
        if (!k->is_fetching || !brg_object_equal(&k->object, &r->object)) continue;
        k->is_fetching = 0;
        if (r->code != BRG_OK) {
            k->again_ns = s->now_ns + AGAIN_NS;
            return;
        }
        const struct brg_object any =
            state_of(seat, k->stage, BRG_VERSION_ANY, BRG_STATE_PART_EDGES);
        brg_peers_retract(seat->peers, &any);
        brg_seat_offer(s, &any, r->buffer);
        r->buffer = NULL;
        k->oldest = k->next++;
        return;
    }
}

void brg_seat_keep_arrived(struct brg_shell *s, struct brg_peer_result *r) {
    struct brg_line_seat *seat = &s->seat;
    if (r->object.microbatch == BRG_STATE_PART_EDGES) {
        if (r->object.step == BRG_VERSION_ANY)
            brg_seat_state_arrived(s, r);
        else
            edges_arrived(s, r);
        return;
    }
    for (uint32_t i = 0; i < BRG_SEAT_KEPT_MAX; i++) {
        struct brg_seat_kept *k = &seat->kept[i];
        if (!k->is_fetching || !brg_object_equal(&k->object, &r->object)) continue;
        if (r->code != BRG_OK) {
            k->is_fetching = 0;
            k->again_ns = s->now_ns + AGAIN_NS;
            return;
        }
        const int packed = r->object.microbatch >= BRG_STATE_PART_SLICE_INT8;
        brg_engine_do(seat->engine,
                      &(struct brg_engine_command){
                          .what = BRG_ENGINE_KEEP,
                          .stage = k->stage,
                          .index = r->object.microbatch -
                                   (packed ? BRG_STATE_PART_SLICE_INT8 : BRG_STATE_PART_SLICE),
                          .packed = (uint32_t)packed,
                          .step = k->next,
                          .version = k->next,
                          .in = {r->buffer}});
        r->buffer = NULL;
        return;
    }
}

static void tell_kept(struct brg_shell *s, const struct brg_seat_kept *k) {
    struct brg_msg_kept *m = &brg_seat_begin(s, BRG_MSG_KEPT)->kept;
    m->run = s->seat.run;
    m->lineage = s->seat.place.generation;
    m->version = k->oldest;
    m->what = 1;
    m->stage = k->stage;
    brg_seat_send(s);
}

static void on_kept(struct brg_shell *s, const struct brg_engine_answer *a) {
    struct brg_line_seat *seat = &s->seat;
    for (uint32_t i = 0; i < BRG_SEAT_KEPT_MAX; i++) {
        struct brg_seat_kept *k = &seat->kept[i];
        if (!k->is_used || k->stage != a->stage || !k->is_fetching || k->next != a->step) continue;
        k->is_fetching = 0;
        if (a->code != BRG_OK) { /* the change does not fit what is here: the whole slice */
            k->plain = 1;
            return;
        }
        k->plain = 0;
        k->next++;
        k->oldest = a->version;
        if (k->oldest != 0) tell_kept(s, k);
        return;
    }
}

void brg_seat_keep_answer(struct brg_shell *s, struct brg_engine_answer *a) {
    struct brg_line_seat *seat = &s->seat;
    if (seat->run == 0) return;
    if (a->what == BRG_ENGINE_KEEP) {
        on_kept(s, a);
        return;
    }
    if (a->code != BRG_OK || a->out[0] == NULL) return;
    if (a->what != BRG_ENGINE_SHADOW) {
        on_own(s, a);
        return;
    }
    const struct brg_object object =
        state_of(seat, a->stage, BRG_VERSION_ANY, BRG_STATE_PART_SHADOW);
    brg_peers_retract(seat->peers, &object);
    brg_seat_offer(s, &object, a->out[0]);
    a->out[0] = NULL;
}
