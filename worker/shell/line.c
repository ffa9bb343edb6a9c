/* line.c - the seat's part of a turn: messages of the coordinator, actions of the holder's machine;
 * see line.h. */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

#define RETRY_NS (500 * BRG_NS_PER_MS)
#define FETCH_NS (20 * BRG_NS_PER_S)
#define PEER_NS (15 * BRG_NS_PER_S)
#define TRANSFER_NS (600 * BRG_NS_PER_S)
#define FEEDS_MAX 4096u /* in one turn: answers and arrivals are bounded by what is asked for */

/* ---- start and end ---- */

static void reset_core(struct brg_line_seat *seat) {
    const struct brg_holder_config config = {
        .retry_ns = RETRY_NS, .fetch_ns = FETCH_NS, .peer_ns = PEER_NS};
    const int rc = brg_holder_init(&seat->core, &config);
    BRG_ASSERT(rc == BRG_OK);
    seat->arm_ns = UINT64_MAX;
    seat->engine_stage = BRG_HOLDER_NONE;
}

/* The address as peers dial it: as announced, else as bound. */
static void find_address(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    char endpoint[BRG_ENDPOINT_BYTES];
    static const char scheme[] = "tcp://";
    const char *from = s->options->announce;
    if (brg_peers_endpoint(seat->peers, endpoint) != BRG_OK) return;
    if (from == NULL) from = endpoint;
    if (strncmp(from, scheme, sizeof scheme - 1) == 0) from += sizeof scheme - 1;
    (void)snprintf(seat->address, sizeof seat->address, "%.263s", from);
    brg_log_info("peer", BRG_FIELDS(BRG_STR("address", seat->address)),
                 "other workers may dial this one");
}

int brg_seat_open(struct brg_shell *s, struct brg_why *why) {
    struct brg_line_seat *seat = &s->seat;
    struct brg_peers_config config;
    char endpoint[BRG_ENDPOINT_BYTES], *listen = NULL;
    reset_core(seat);
    brg_peers_config_init(&config);
    config.bytes_max = UINT64_MAX; /* the pool has the bound */
    if (s->options->listen != NULL) {
        (void)snprintf(endpoint, sizeof endpoint, "tcp://%s", s->options->listen);
        listen = endpoint;
    }
    int rc = brg_peers_create(s->transport, &config, &s->state.key, listen, &seat->peers, why);
    if (rc == BRG_OK) rc = brg_engine_create(s->pool, &seat->engine, why);
    if (rc != BRG_OK) return rc;
    brg_peers_relay(seat->peers, s->bulk);
    find_address(s);
    return BRG_OK;
}

static void end_run(struct brg_line_seat *seat) {
    brg_seat_drop_matrices(seat);
    brg_seat_want_drop(seat);
    brg_seat_keep_end(seat);
    brg_source_fini(&seat->saved);
    brg_buffer_release(seat->gradient);
    seat->gradient = NULL;
    if (seat->engine != NULL && seat->run != 0) brg_engine_open(seat->engine, NULL, NULL);
    seat->run = seat->place.run = seat->learn.run = 0;
    seat->save_step = seat->save_generation = 0;
    seat->has_data = seat->wanted_count = seat->owes_placed = seat->teaches = 0;
    seat->offered_count = 0;
    reset_core(seat);
}

void brg_seat_close(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    end_run(seat);
    brg_engine_destroy(&seat->engine);
    brg_peers_destroy(&seat->peers);
}

/* ---- words to the coordinator ---- */

struct brg_msg *brg_seat_begin(struct brg_shell *s, uint32_t type) {
    memset(&s->out, 0, sizeof s->out);
    s->out.type = type;
    s->out.epoch = s->core.epoch;
    return &s->out;
}

void brg_seat_send(struct brg_shell *s) {
    const int rc = brg_socket_send_msg(s->control, NULL, &s->out, NULL);
    if (rc == BRG_OK || rc == BRG_EFULL) return; /* said again by the machine */
    brg_log_error("protocol", BRG_FIELDS(BRG_STR("message", brg_msg_name(s->out.type))),
                  "a message could not be sent: %s", brg_strerror(rc));
}

void brg_seat_on_data(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_holder *core = &seat->core;
    if (seat->run == 0 || s->run.setup.run != seat->run) return;
    if (s->run.stage != BRG_RUN_STAGE_READY || s->core.epoch == 0) return;
    seat->has_data = 1;
    brg_seat_feed(s, (struct brg_holder_event){
                         .type = BRG_HEV_WELCOME, .epoch = s->core.epoch, .run = seat->run});
    struct brg_msg_holding *m = &brg_seat_begin(s, BRG_MSG_HOLDING)->holding;
    m->run = seat->run;
    m->memory_bytes =
        s->options->memory_bytes != 0 ? s->options->memory_bytes : s->memory_bytes / 4 * 3;
    m->microbatch_ns = seat->microbatch_ns;
    memcpy(m->address, seat->address, sizeof m->address);
    if (core->held != BRG_HOLDER_NONE) {
        m->has = 1;
        m->stage = core->held;
        m->lineage = core->lineage;
        m->version = core->version;
        m->pending_step = core->pending_step;
        m->pending_generation = core->pending_step != 0 ? core->pending_generation : 0;
    }
    brg_seat_send(s);
}

static void send_placed(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    seat->owes_placed = seat->changing != 0;
    if (seat->owes_placed || seat->core.phase != BRG_HOLDER_PLACED) return;
    struct brg_msg_placed *m = &brg_seat_begin(s, BRG_MSG_PLACED)->placed;
    m->run = seat->run;
    m->generation = seat->core.generation;
    m->digest = seat->weights;
    brg_seat_send(s);
}

static void send_failed(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_msg_fetch_failed *m = &brg_seat_begin(s, BRG_MSG_FETCH_FAILED)->fetch_failed;
    m->run = s->seat.run;
    m->generation = a->generation;
    m->rung = s->seat.core.rung;
    brg_log_warn("line", BRG_FIELDS(BRG_U64("stage", a->stage), BRG_U64("rung", m->rung)),
                 "the state of the stage does not come from where it should");
    brg_seat_send(s);
}

static void send_lost_peer(struct brg_shell *s, const struct brg_holder_action *a) {
    const uint32_t lanes = s->seat.line.lanes;
    const uint32_t peer = brg_seat_holder(&s->seat, a->stage, a->index % lanes);
    if (peer == BRG_HOLDER_NONE) return;
    struct brg_msg_lost_peer *m = &brg_seat_begin(s, BRG_MSG_LOST_PEER)->lost_peer;
    m->run = s->seat.run;
    m->generation = a->generation;
    m->peer = peer;
    brg_log_warn("line", BRG_FIELDS(BRG_U64("stage", a->stage), BRG_U64("member", peer)),
                 "another worker does not answer");
    brg_seat_send(s);
}

static void send_learned(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_msg_learned *m = &brg_seat_begin(s, BRG_MSG_LEARNED)->learned;
    m->run = s->seat.run;
    m->lineage = a->lineage;
    m->version = a->version;
    m->stage = a->stage;
    brg_seat_send(s);
}

/* ---- the machine ---- */

static void act(struct brg_shell *s, const struct brg_holder_action *a) {
    struct brg_line_seat *seat = &s->seat;
    switch ((enum brg_holder_action_type)a->type) {
    case BRG_HACT_SEND_PLACED:
        if (!seat->owes_placed) brg_seat_show_state(s);
        send_placed(s);
        break;
    case BRG_HACT_SEND_READY: brg_seat_send_ready(s); break;
    case BRG_HACT_SEND_FETCH_FAILED: send_failed(s, a); break;
    case BRG_HACT_SEND_LOST_PEER: send_lost_peer(s, a); break;
    case BRG_HACT_SEND_LEARNED: send_learned(s, a); break;
    case BRG_HACT_FETCH_STATE: brg_seat_want(s, a); break;
    case BRG_HACT_FETCH_TAIL: brg_seat_tail(s, a->step); break;
    case BRG_HACT_DROP_STATE:
    case BRG_HACT_DROP_GRADIENT: break; /* the next one replaces it */
    case BRG_HACT_CANCEL:
        brg_seat_drop_matrices(seat);
        brg_seat_want_drop(seat);
        break;
    case BRG_HACT_BEGIN: brg_seat_begin_step(s, a); break;
    case BRG_HACT_GET: brg_seat_get(s, a); break;
    case BRG_HACT_FORWARD:
    case BRG_HACT_BACKWARD:
    case BRG_HACT_REDUCE: brg_seat_compute(s, a); break;
    case BRG_HACT_APPLY: brg_seat_apply(s, a->step); break;
    case BRG_HACT_SHADOW: brg_seat_keep_leave(s); break;
    case BRG_HACT_ARM: seat->arm_ns = a->at_ns; break;
    default: BRG_ASSERT(0 && "an action that does not exist");
    }
}

void brg_seat_feed(struct brg_shell *s, struct brg_holder_event event) {
    struct brg_holder_actions actions;
    event.now_ns = s->now_ns;
    s->seat.arm_ns = UINT64_MAX;
    if (brg_holder_step(&s->seat.core, &event, &actions) != BRG_OK) {
        brg_log_warn("protocol", NULL,
                     "the coordinator sent a placement that makes no sense; it is not looked at");
        return;
    }
    brg_holder_check(&s->seat.core);
    for (uint32_t i = 0; i < actions.count; i++) act(s, &actions.items[i]);
}

/* ---- the run ---- */

void brg_seat_take_run(struct brg_shell *s, const struct brg_msg_run *run) {
    struct brg_line_seat *seat = &s->seat;
    if (!run->has_line || run->run != seat->run) end_run(seat);
    if (!run->has_line) return;
    seat->run = run->run;
    seat->line = run->line;
    seat->steps = run->steps;
    seat->setup = s->run.setup;
    brg_seat_on_data(s);
}

void brg_seat_release(struct brg_shell *s, uint64_t run) {
    if (s->seat.run != 0 && s->seat.run == run) end_run(&s->seat);
}

/* ---- placements ---- */

static void link_to(struct brg_line_seat *seat, const struct brg_msg_peer *peer) {
    struct brg_peer_place *to = &seat->links;
    if (to->count == BRG_PEERS_MAX) return;
    for (uint32_t i = 0; i < to->count; i++)
        if (to->members[i].member == peer->member) return;
    struct brg_peer_member *m = &to->members[to->count++];
    memset(m, 0, sizeof *m);
    m->member = peer->member;
    memcpy(m->key.bytes, peer->key, sizeof m->key.bytes);
    if (peer->address[0] != '\0')
        (void)snprintf(m->endpoint, sizeof m->endpoint, "tcp://%s", peer->address);
}

/* The links of a placement, or one more of the same. */
static void place_links(struct brg_shell *s, uint64_t generation, const struct brg_msg_peer *peers,
                        uint32_t count) {
    struct brg_line_seat *seat = &s->seat;
    if (generation == 0) generation = 1; /* a spare that learns before any placement of its own */
    if (seat->links.run != seat->run || seat->links.generation != generation) seat->links.count = 0;
    seat->links.epoch = s->core.epoch;
    seat->links.run = seat->run;
    seat->links.generation = generation;
    for (uint32_t i = 0; i < count; i++) link_to(seat, &peers[i]);
    if (brg_peers_place(seat->peers, &seat->links, s->now_ns) != BRG_OK)
        brg_log_debug("line", NULL, "a placement that is over");
}

uint32_t brg_seat_holder(const struct brg_line_seat *seat, uint32_t stage, uint32_t lane) {
    const struct brg_msg_place *p = &seat->place;
    for (uint32_t i = 0; p->run != 0 && i < p->seat_count; i++)
        if (p->seat_stages[i] == stage && (p->seat_lanes[i] >> lane & 1u))
            return p->seat_members[i];
    return BRG_HOLDER_NONE;
}

static void on_place(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_msg_place *m = &s->in.place;
    if (m->run != seat->run || !seat->has_data) return;
    const int is_new = s->in.epoch == seat->core.epoch && m->generation > seat->core.generation;
    if (is_new) {
        seat->place = *m;
        seat->learn.run = 0;
        seat->teaches = 0;
        seat->clip = m->clip;
        place_links(s, m->generation, m->peers, m->peer_count);
        brg_log_info("line",
                     BRG_FIELDS(BRG_U64("generation", m->generation), BRG_U64("stage", m->stage),
                                BRG_U64("version", m->version), BRG_U64("rung", m->rung)),
                     "placed");
    }
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_PLACE,
                                               .epoch = s->in.epoch,
                                               .generation = m->generation,
                                               .stage = m->stage,
                                               .stages = seat->line.stages,
                                               .lanes = m->lanes,
                                               .lane_count = seat->line.lanes,
                                               .microbatches = seat->line.microbatches,
                                               .steps = seat->steps,
                                               .version = m->version,
                                               .commit_generation = m->commit_generation,
                                               .lineage = m->lineage,
                                               .rung = m->rung});
    if (is_new) brg_seat_keep_placed(s);
}

static void on_unseat(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_msg_unseat *m = &s->in.unseat;
    if (m->run != seat->run || s->in.epoch != seat->core.epoch) return;
    if (m->generation < seat->core.generation) return;
    seat->clip = m->clip;
    place_links(s, m->generation, m->peers, m->peer_count);
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_UNSEAT,
                                               .epoch = s->in.epoch,
                                               .generation = m->generation,
                                               .version = m->version,
                                               .commit_generation = m->commit_generation});
    if (m->peer_count > 0) brg_seat_show_state(s);
}

/* A commit is proof of what the coordinator has on disk, as in coded runs. */
static void on_commit(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_msg_step_commit *m = &s->in.step_commit;
    if (m->run != seat->run) return;
    s->has_seen = 1;
    s->seen = m->proof;
    seat->clip = seat->clips[m->step % BRG_SEAT_CLIPS_MAX] = m->clip;
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_COMMIT,
                                               .epoch = s->in.epoch,
                                               .generation = m->generation,
                                               .step = m->step});
}

static void on_learn(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    const struct brg_msg_learn *m = &s->in.learn;
    if (m->run != seat->run || !seat->has_data || s->in.epoch != seat->core.epoch) return;
    place_links(s, m->generation, &m->source, 1);
    if (m->teach) {
        brg_seat_teach(s);
        return;
    }
    seat->learn = *m;
    for (uint32_t i = 0; i < BRG_SEAT_CLIPS_MAX; i++) { /* of what it learned before */
        brg_buffer_release(seat->tails[i]);
        seat->tails[i] = NULL;
    }
    brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_LEARN,
                                               .epoch = s->in.epoch,
                                               .generation = m->generation,
                                               .stage = m->stage,
                                               .lineage = m->lineage});
}

static void on_save(struct brg_shell *s) {
    const struct brg_msg_save *m = &s->in.save;
    if (m->run != s->seat.run) return;
    s->seat.save_step = m->step;
    s->seat.save_generation = m->generation;
    brg_seat_save(s);
}

int brg_seat_on_message(struct brg_shell *s) {
    switch (s->in.type) {
    case BRG_MSG_PLACE: on_place(s); return 1;
    case BRG_MSG_START:
        if (s->in.start.run == s->seat.run)
            brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_START,
                                                       .epoch = s->in.epoch,
                                                       .generation = s->in.start.generation});
        return 1;
    case BRG_MSG_STEP_COMMIT: on_commit(s); return 1;
    case BRG_MSG_UNSEAT: on_unseat(s); return 1;
    case BRG_MSG_LEARN: on_learn(s); return 1;
    case BRG_MSG_RELAY_TO: return 1; /* a link that does not come up is relayed in any case */
    case BRG_MSG_CHOOSE: return 1;
    case BRG_MSG_SAVE: on_save(s); return 1;
    default: return 0;
    }
}

int brg_seat_on_bulk(struct brg_shell *s, struct brg_bytes bytes) {
    const struct brg_object *object;
    uint32_t peer;
    switch (s->in.type) {
    case BRG_MSG_GET: object = &s->in.get.object, peer = s->in.get.peer; break;
    case BRG_MSG_PART: object = &s->in.part.object, peer = s->in.part.peer; break;
    case BRG_MSG_GONE: object = &s->in.gone.object, peer = s->in.gone.peer; break;
    default: return 0;
    }
    if (peer != 0) {
        brg_peers_on_relayed(s->seat.peers, &s->in, bytes, s->now_ns);
        return 1;
    }
    if (object->kind != BRG_OBJECT_STATE) return 0;
    if (s->in.type == BRG_MSG_PART) return brg_seat_files_part(s, bytes);
    if (s->in.type == BRG_MSG_GONE) return brg_seat_files_gone(s);
    if (s->seat.wanted_count < BRG_SEAT_WANTED_MAX)
        s->seat.wanted[s->seat.wanted_count++] = s->in.get;
    brg_seat_serve(s);
    return 1;
}

/* ---- objects ---- */

void brg_seat_offer(struct brg_shell *s, const struct brg_object *object,
                    struct brg_buffer *bytes) {
    struct brg_source source;
    int rc = brg_source_init(&source, s->pool, object, bytes, bytes->size_bytes);
    brg_buffer_release(bytes); /* the source has its own hold */
    if (rc == BRG_OK) {
        rc = brg_peers_offer(s->seat.peers, &source, s->now_ns);
        brg_source_fini(&source);
    }
    if (rc != BRG_OK && rc != BRG_EEXIST && rc != BRG_ENOENT)
        brg_log_warn("line", BRG_FIELDS(BRG_U64("kind", object->kind)),
                     "what others may fetch cannot be offered: %s", brg_strerror(rc));
}

int brg_seat_fetch(struct brg_shell *s, uint32_t member, const struct brg_object *object,
                   uint64_t bytes) {
    struct brg_buffer *buffer = NULL;
    struct brg_why why;
    int rc = brg_pool_get(s->pool, bytes, &buffer);
    if (rc != BRG_OK) return rc;
    rc =
        brg_peers_fetch(s->seat.peers, member, object, buffer, bytes, TRANSFER_NS, s->now_ns, &why);
    if (rc != BRG_OK) brg_buffer_release(buffer);
    if (rc == BRG_EEXIST) return BRG_OK;
    if (rc != BRG_OK) brg_log_debug("line", NULL, "%s", why.text);
    return rc;
}

/* ---- the turn ---- */

static void take_answers(struct brg_shell *s) {
    struct brg_engine_answer a;
    for (uint32_t i = 0; i < FEEDS_MAX && brg_engine_next(s->seat.engine, &a) == BRG_OK; i++) {
        switch ((enum brg_engine_what)a.what) {
        case BRG_ENGINE_OPEN:
            if (a.code != BRG_OK) brg_log_error("line", NULL, "%s", a.why.text);
            break;
        case BRG_ENGINE_LOAD:
        case BRG_ENGINE_MIX:
        case BRG_ENGINE_FREEZE: brg_seat_state_answer(s, &a); break;
        case BRG_ENGINE_SLICE:
        case BRG_ENGINE_KEEP:
        case BRG_ENGINE_SHADOW:
        case BRG_ENGINE_FORGET: brg_seat_keep_answer(s, &a); break;
        default: brg_seat_step_answer(s, &a); break;
        }
        brg_buffer_release(a.out[0]);
        brg_buffer_release(a.out[1]);
    }
    if (s->seat.owes_placed && s->seat.changing == 0) send_placed(s);
}

static void take_arrivals(struct brg_shell *s) {
    struct brg_peer_result r;
    for (uint32_t i = 0; i < FEEDS_MAX && brg_peers_next(s->seat.peers, &r) == BRG_OK; i++) {
        if (r.code != BRG_OK) brg_log_debug("line", NULL, "%s", r.why.text);
        if (r.object.kind != BRG_OBJECT_STATE)
            brg_seat_step_arrived(s, &r);
        else if (r.object.microbatch == BRG_STATE_PART_EDGES ||
                 r.object.microbatch >= BRG_STATE_PART_SLICE)
            brg_seat_keep_arrived(s, &r);
        else
            brg_seat_state_arrived(s, &r);
        brg_buffer_release(r.buffer);
    }
}

void brg_seat_turn(struct brg_shell *s) {
    struct brg_line_seat *seat = &s->seat;
    if (seat->run != 0 && !seat->has_data) brg_seat_on_data(s);
    if (s->core.phase == BRG_WORKER_ATTACHED && seat->has_data && seat->run != 0 &&
        seat->core.epoch != s->core.epoch)
        brg_seat_on_data(s); /* another incarnation of the coordinator */
    take_answers(s);
    brg_peers_turn(seat->peers, s->now_ns);
    take_arrivals(s);
    take_answers(s);
    if (s->now_ns >= seat->arm_ns) {
        seat->arm_ns = UINT64_MAX;
        brg_seat_feed(s, (struct brg_holder_event){.type = BRG_HEV_TICK});
    }
    if (seat->run != 0) brg_seat_keep_next(s);
    brg_seat_files_gets(s);
}

uint64_t brg_seat_wake_ns(const struct brg_shell *s) {
    const struct brg_line_seat *seat = &s->seat;
    uint64_t at_ns = seat->arm_ns;
    const uint64_t peers_ns = brg_peers_wake_ns(seat->peers);
    const uint64_t files_ns = brg_fetch_wake_ns(&seat->files);
    if (peers_ns < at_ns) at_ns = peers_ns;
    if (files_ns > s->now_ns && files_ns < at_ns) at_ns = files_ns;
    if (brg_fetch_is_active(&seat->files) && seat->files.here_bytes == 0 &&
        seat->files_again_ns < at_ns)
        at_ns = seat->files_again_ns;
    return at_ns;
}

uint32_t brg_seat_sockets(struct brg_shell *s, struct brg_wait *items, uint32_t max) {
    BRG_ASSERT(max >= BRG_SEAT_SOCKETS_MAX);
    const uint32_t count = brg_peers_sockets(s->seat.peers, items, max - 1);
    items[count] = (struct brg_wait){.fd = brg_engine_fd(s->seat.engine)};
    return count + 1;
}
