/* line_state.c - states of a stage: fetched by each rung, frozen and offered, saved, learned. */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

#define FIRST_RETRY_NS (200 * BRG_NS_PER_MS)

static struct brg_object state_of(const struct brg_line_seat *seat, uint32_t stage,
                                  uint64_t version, uint32_t part) {
    return (struct brg_object){.kind = BRG_OBJECT_STATE,
                               .run = seat->run,
                               .step = version,
                               .unit = stage,
                               .microbatch = part};
}

/* ---- the engine has the right stage ---- */

static int open_stage(struct brg_shell *s, uint32_t stage) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_stage_setup setup = {.run = seat->setup, .line = seat->line, .stage = stage};
    char path[BRG_FILE_PATH_BYTES];
    struct brg_why why;
    if (seat->engine_stage == stage) return BRG_OK;
    if (brg_stage_cut(&seat->setup.model, seat->line.stages, stage, &seat->cut, &why) != BRG_OK) {
        brg_log_error("line", NULL, "%s", why.text);
        return BRG_EINVAL;
    }
    brg_engine_open(seat->engine, &setup,
                    brg_statedir_data_path(&s->state, &seat->setup.data_digest, path));
    brg_seat_keep_end(seat); /* the engine's copies of others went with the stage before */
    seat->engine_stage = stage;
    return BRG_OK;
}

/* ---- what is on its way ---- */

void brg_seat_want_drop(struct brg_line_seat *seat) {
    struct brg_seat_want *w = &seat->want;
    for (uint32_t i = 0; i <= BRG_STAGE_DONORS_MAX; i++) brg_buffer_release(w->blobs[i]);
    memset(w, 0, sizeof *w);
    brg_fetch_drop(&seat->files);
}

static void fail(struct brg_shell *s) {
    const uint64_t generation = s->seat.want.generation;
    brg_seat_want_drop(&s->seat);
    brg_seat_feed(
        s, (struct brg_holder_event){.type = BRG_HEV_STATE_FAILED, .generation = generation});
}

static int fetch_files(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_seat_want *w = &seat->want;
    const struct brg_object object = state_of(seat, w->stage, w->version, BRG_STATE_PART_WHOLE);
    const uint64_t bytes = brg_stage_blob_bytes(&seat->line, &seat->cut, 3);
    struct brg_buffer *buffer = NULL;
    if (brg_fetch_is_active(&seat->files)) return BRG_OK;
    const int rc = brg_pool_get(s->pool, bytes, &buffer);
    if (rc != BRG_OK) return rc;
    brg_fetch_start(&seat->files, &object, buffer, bytes, &brg_shell_fetch_config, s->now_ns);
    return BRG_OK;
}

static int fetch_shadow(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const uint32_t kinds = brg_stage_shadow_vectors(&seat->line) > 1 ? 3 : BRG_STATE_WEIGHTS;
    const struct brg_object object =
        state_of(seat, seat->want.stage, BRG_VERSION_ANY, BRG_STATE_PART_SHADOW);
    return brg_seat_fetch(s, seat->place.sources[0], &object,
                          brg_stage_blob_bytes(&seat->line, &seat->cut, kinds));
}

/* Weights of the donors, and embedding or head from the first of them, who lies beside. */
static int fetch_donors(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_seat_want *w = &seat->want;
    const struct brg_msg_place *p = &seat->place;
    int rc = BRG_OK;
    w->count = p->source_count < BRG_STAGE_DONORS_MAX ? p->source_count : BRG_STAGE_DONORS_MAX;
    w->needs_edges = brg_stage_edges(&seat->cut) > 0;
    for (uint32_t i = 0; i < w->count && rc == BRG_OK; i++) {
        struct brg_stage cut;
        if (w->blobs[1 + i] != NULL) continue;
        rc = brg_stage_cut(&seat->setup.model, seat->line.stages, p->source_stages[i], &cut, NULL);
        const struct brg_object object =
            state_of(seat, p->source_stages[i], w->version, BRG_STATE_PART_WEIGHTS);
        if (rc == BRG_OK)
            rc = brg_seat_fetch(s, p->sources[i], &object,
                                brg_stage_blob_bytes(&seat->line, &cut, BRG_STATE_WEIGHTS));
    }
    if (rc != BRG_OK || !w->needs_edges || w->blobs[0] != NULL) return rc;
    const struct brg_object edges = state_of(seat, w->stage, BRG_VERSION_ANY, BRG_STATE_PART_EDGES);
    return brg_seat_fetch(s, p->sources[0], &edges, brg_stage_edges(&seat->cut) * sizeof(float));
}

static int fetch_whole(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_seat_want *w = &seat->want;
    const int learns = seat->learn.run != 0;
    if (!learns && w->source >= seat->place.source_count) return BRG_ENOENT;
    const uint32_t member = learns ? seat->learn.source.member : seat->place.sources[w->source];
    const struct brg_object object =
        state_of(seat, w->stage, learns ? BRG_VERSION_ANY : w->version, BRG_STATE_PART_WHOLE);
    return brg_seat_fetch(s, member, &object, brg_stage_blob_bytes(&seat->line, &seat->cut, 3));
}

static int fetch_by_rung(struct brg_shell *s) {
    switch (s->seat.want.rung) {
    case BRG_RUNG_CHECKPOINT: return fetch_files(s);
    case BRG_RUNG_SHADOW: return fetch_shadow(s);
    case BRG_RUNG_NEIGHBOURS: return fetch_donors(s);
    case 0:
    case BRG_RUNG_REPLICA: return fetch_whole(s);
    default: return BRG_ENOENT; /* this worker cannot */
    }
}

void brg_seat_want(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_seat_want *w = &seat->want;
    if (w->is_loading) return;
    if (!w->is_used || w->generation != a->generation || w->stage != a->stage) {
        brg_seat_want_drop(seat);
        *w = (struct brg_seat_want){.is_used = 1,
                                    .rung = a->rung,
                                    .stage = a->stage,
                                    .generation = a->generation,
                                    .version = a->version,
                                    .lineage = a->lineage,
                                    .count = 1};
        if (open_stage(s, a->stage) != BRG_OK) return; /* the machine gives up when it has waited */
    }
    if (fetch_by_rung(s) != BRG_OK)
        brg_log_debug("line", BRG_FIELDS(BRG_U64("stage", a->stage)),
                      "a state cannot be asked for");
}

/* All that is needed is here: it becomes the stage's state. */
static void load_if_whole(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_seat_want *w = &seat->want;
    struct brg_engine_command c = {.what = BRG_ENGINE_LOAD,
                                   .generation = w->generation,
                                   .stage = w->stage,
                                   .version = w->version,
                                   .lineage = w->lineage};
    for (uint32_t i = 1; i <= w->count; i++)
        if (w->blobs[i] == NULL) return;
    if (w->needs_edges && w->blobs[0] == NULL) return;
    if (w->rung == BRG_RUNG_NEIGHBOURS) {
        c.what = BRG_ENGINE_MIX;
        c.donor_count = w->count;
        c.raise = seat->place.lr_raise;
        for (uint32_t i = 0; i <= w->count; i++) c.in[i] = w->blobs[i];
        for (uint32_t i = 0; i < w->count; i++) {
            c.donors[i] = seat->place.source_stages[i];
            c.weights[i] = seat->place.weights[i];
        }
    } else {
        c.in[0] = w->blobs[1];
    }
    memset(w->blobs, 0, sizeof w->blobs);
    w->is_loading = 1;
    seat->changing++;
    brg_engine_do(seat->engine, &c);
}

static void gradient_arrived(struct brg_shell *s, struct brg_peer_result *r);

void brg_seat_state_arrived(struct brg_shell *s, struct brg_peer_result *r) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_seat_want *w = &seat->want;
    const struct brg_object *o = &r->object;
    uint32_t place = 1;
    if (o->microbatch == BRG_STATE_PART_GRADIENT) {
        gradient_arrived(s, r);
        return;
    }
    if (!w->is_used || w->is_loading || o->run != seat->run) return;
    if (r->code != BRG_OK) {
        brg_log_warn("line", BRG_FIELDS(BRG_U64("stage", w->stage)), "%s", r->why.text);
        w->source++;
        if (w->rung != BRG_RUNG_REPLICA || fetch_whole(s) != BRG_OK) fail(s);
        return;
    }
    if (o->microbatch == BRG_STATE_PART_EDGES) place = 0;
    if (o->microbatch == BRG_STATE_PART_WEIGHTS)
        while (place < w->count && seat->place.source_stages[place - 1] != o->unit) place++;
    brg_buffer_release(w->blobs[place]);
    w->blobs[place] = r->buffer;
    r->buffer = NULL;
    load_if_whole(s);
}

/* ---- files, from the coordinator ---- */

int brg_seat_files_part(struct brg_shell *s, struct brg_bytes bytes) {
    struct brg_line_seat *seat = &s->seat;
    if (s->in.tensor_count != 1 || !brg_fetch_is_about(&seat->files, &s->in.part.object)) return 1;
    if (brg_fetch_on_part(&seat->files, &s->in, bytes, s->now_ns) != BRG_OK) {
        brg_log_warn("fetch", NULL, "dropped a part that was not asked for like this");
        return 1;
    }
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_STATE_MOVED});
    if (!brg_fetch_is_done(&seat->files)) return 1;
    brg_buffer_release(seat->want.blobs[1]);
    seat->want.blobs[1] = brg_fetch_take(&seat->files);
    load_if_whole(s);
    return 1;
}

int brg_seat_files_gone(struct brg_shell *s) {
    if (brg_fetch_is_about(&s->seat.files, &s->in.gone.object)) {
        brg_log_warn("line", NULL, "the coordinator has no such checkpoint: %s", s->in.gone.text);
        fail(s);
    }
    return 1;
}

void brg_seat_files_gets(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_peers_stats stats;
    struct brg_msg_get get;
    if (seat->want.is_used && !seat->want.is_loading) {
        brg_peers_stats_read(seat->peers, &stats);
        if (stats.received_bytes != seat->moved_bytes)
            brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_STATE_MOVED});
        seat->moved_bytes = stats.received_bytes;
    }
    if (s->core.phase == BRG_WORKER_CALLING) return;
    /* The first Get makes the coordinator read its files, and is not answered while it does. */
    if (brg_fetch_is_active(&seat->files) && seat->files.here_bytes == 0 &&
        s->now_ns >= seat->files_again_ns) {
        seat->files_again_ns = s->now_ns + FIRST_RETRY_NS;
        brg_fetch_reconnected(&seat->files, s->now_ns);
    }
    while (brg_fetch_next_get(&seat->files, s->now_ns, &get)) {
        brg_seat_begin(s, BRG_MSG_GET)->get = get;
        if (brg_socket_send_msg(s->bulk, NULL, &s->out, NULL) != BRG_OK) return;
    }
}

/* ---- what is held, for others ---- */

static void freeze(struct brg_line_seat *seat, uint32_t kinds, uint32_t tag) {
    brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_FREEZE,
                                                             .kinds = kinds,
                                                             .tag = tag,
                                                             .stage = seat->core.held});
}

void brg_seat_show_state(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_holder *core = &seat->core;
    if (core->held == BRG_HOLDER_NONE || core->held != seat->engine_stage) return;
    if (seat->shown[0].run == seat->run && seat->shown[0].unit == core->held &&
        seat->shown_version == core->version && seat->shown_lineage == core->lineage)
        return;
    for (uint32_t i = 0; i < 2; i++)
        if (seat->shown[i].kind != 0)
            brg_peers_withdraw(seat->peers, &seat->shown[i], "a newer version is held");
    seat->shown_version = core->version;
    seat->shown_lineage = core->lineage;
    seat->shown[0] = state_of(seat, core->held, core->version, BRG_STATE_PART_WHOLE);
    seat->shown[1] = state_of(seat, core->held, core->version, BRG_STATE_PART_WEIGHTS);
    freeze(seat, BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS, BRG_SEAT_FOR_WHOLE);
    freeze(seat, BRG_STATE_WEIGHTS, BRG_SEAT_FOR_WEIGHTS);
    if (brg_stage_edges(&seat->cut) > 0) freeze(seat, 0, BRG_SEAT_FOR_EDGES);
}

void brg_seat_save(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    if (seat->save_step == 0 || seat->core.held == BRG_HOLDER_NONE) return;
    if (seat->core.version != seat->save_step || seat->core.held != seat->engine_stage) return;
    seat->save_step = 0;
    freeze(seat, BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS, BRG_SEAT_FOR_SAVE);
}

void brg_seat_teach(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    if (seat->core.held == BRG_HOLDER_NONE || seat->core.held != seat->engine_stage) return;
    seat->teaches = 1;
    freeze(seat, BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS, BRG_SEAT_FOR_LEARNER);
    /* The step that is READY is not in that state, and its gradient was made before this. */
    if (seat->core.pending_step == seat->core.version + 1 &&
        seat->gradient_step == seat->core.pending_step)
        brg_seat_show_gradient(s);
}

/* Answers what the coordinator wants of the frozen state; what is not frozen yet waits. */
void brg_seat_serve(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    uint32_t left = 0;
    for (uint32_t i = 0; i < seat->wanted_count; i++) {
        struct brg_msg_get get = seat->wanted[i];
        struct brg_bytes bytes;
        struct brg_frame frame;
        if (seat->saved.buffer == NULL || !brg_object_equal(&get.object, &seat->saved.object)) {
            if (get.object.step > seat->core.version || seat->saved.buffer == NULL ||
                get.object.step > seat->saved.object.step)
                seat->wanted[left++] = get;
            continue;
        }
        memset(&s->out, 0, sizeof s->out);
        if (brg_source_part(&seat->saved, &get, &s->out, &bytes) != BRG_OK) continue;
        s->out.epoch = s->core.epoch;
        struct brg_buffer *held = brg_buffer_hold(seat->saved.buffer);
        if (brg_frame_wrap(&frame, (uint8_t *)held->data + get.offset, bytes.size_bytes,
                           brg_buffer_release_sent, held) != BRG_OK) {
            brg_buffer_release(held);
            continue;
        }
        if (brg_socket_send_msg(s->bulk, NULL, &s->out, &frame) != BRG_OK)
            brg_log_debug("line", NULL, "a part is lost; it is asked for again");
        brg_frame_close(&frame);
    }
    seat->wanted_count = left;
}

static void frozen(struct brg_shell *s, struct brg_engine_answer *a) {
    struct brg_line_seat *seat = &s->seat;
    uint32_t part = BRG_STATE_PART_WHOLE;
    uint64_t version = a->version;
    if (a->code != BRG_OK || a->out[0] == NULL || seat->run == 0) return;
    if (a->tag == BRG_SEAT_FOR_SAVE) {
        const struct brg_object object = state_of(seat, a->stage, version, part);
        brg_source_fini(&seat->saved);
        if (brg_source_init(&seat->saved, s->pool, &object, a->out[0], a->out[0]->size_bytes) !=
            BRG_OK)
            brg_log_error("line", NULL, "no memory to save the stage");
        brg_seat_serve(s);
        return;
    }
    if (a->tag == BRG_SEAT_FOR_WEIGHTS) part = BRG_STATE_PART_WEIGHTS;
    if (a->tag == BRG_SEAT_FOR_EDGES) part = BRG_STATE_PART_EDGES;
    if (a->tag == BRG_SEAT_FOR_LEARNER) version = BRG_VERSION_ANY;
    const struct brg_object object = state_of(seat, a->stage, version, part);
    brg_peers_retract(seat->peers, &object);
    if (part == BRG_STATE_PART_EDGES) {
        brg_seat_keep_answer(s, a);
        return;
    }
    brg_seat_offer(s, &object, a->out[0]);
    a->out[0] = NULL;
}

void brg_seat_state_answer(struct brg_shell *s, struct brg_engine_answer *a) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_seat_want *w = &seat->want;
    if (a->what == BRG_ENGINE_FREEZE) {
        frozen(s, a);
        return;
    }
    BRG_ASSERT(seat->changing > 0);
    seat->changing--;
    if (a->code == BRG_OK) seat->weights = a->digest;
    if (!w->is_used || !w->is_loading || w->generation != a->generation) return;
    if (a->code != BRG_OK) {
        brg_log_warn("line", BRG_FIELDS(BRG_U64("stage", w->stage)),
                     "what came is no state of the stage: %s", brg_strerror(a->code));
        fail(s);
        return;
    }
    brg_seat_want_drop(seat);
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_STATE,
                                               .generation = a->generation,
                                               .version = a->version});
}

/* ---- learning: the gradients of the source, each in its turn ---- */

void brg_seat_tail(struct brg_shell *s, uint64_t step) {
    struct brg_line_seat *seat = &s->seat;
    if (seat->learn.run == 0 || seat->engine_stage != seat->learn.stage) return;
    const struct brg_object object =
        state_of(seat, seat->learn.stage, step, BRG_STATE_PART_GRADIENT);
    if (brg_seat_fetch(s, seat->learn.source.member, &object,
                       seat->cut.param_count * sizeof(float)) != BRG_OK)
        brg_log_debug("line", NULL, "a gradient cannot be asked for");
}

static void make_tails(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_holder *core = &seat->core;
    for (uint32_t i = 0; i < BRG_SEAT_CLIPS_MAX; i++) {
        const uint64_t step = core->version + 1;
        const uint32_t at = (uint32_t)(step % BRG_SEAT_CLIPS_MAX);
        if (core->phase != BRG_HOLDER_LEARNING || core->held == BRG_HOLDER_NONE) return;
        if (seat->tails[at] == NULL || seat->tail_steps[at] != step) return;
        brg_engine_do(seat->engine, &(struct brg_engine_command){.what = BRG_ENGINE_TAIL,
                                                                 .step = step,
                                                                 .in = {seat->tails[at]}});
        seat->tails[at] = NULL;
        seat->clip = seat->clips[at];
        brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_TAIL, .step = step});
    }
}

static void gradient_arrived(struct brg_shell *s, struct brg_peer_result *r) {
    struct brg_line_seat *seat = &s->seat;
    const uint32_t at = (uint32_t)(r->object.step % BRG_SEAT_CLIPS_MAX);
    if (r->code != BRG_OK || r->object.run != seat->run) return;
    brg_buffer_release(seat->tails[at]);
    seat->tails[at] = r->buffer;
    seat->tail_steps[at] = r->object.step;
    r->buffer = NULL;
    make_tails(s);
}
