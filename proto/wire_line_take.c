/* wire_line_take.c - the messages of pipelines out of generated structs, as wire_take.c. */
#include "proto/wire_private.h"

#include <string.h>

#define TAKE_TEXT(field, from) TRY(brg_wire_take_text((field), sizeof(field) - 1, (from)))

/* Of a list whose length was checked. */
static void take_words(uint32_t *out, const uint32_t *from, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = from[i];
}

const char *brg_wire_take_run_line(struct brg_msg_line *out, const Brg__Pb__Line *p) {
    const Brg__Pb__Optimizer *o = p->optimizer;
    REFUSE_UNKNOWN(p);
    REFUSE_IF(o == NULL, "Run.line.optimizer is missing");
    REFUSE_UNKNOWN(o);
    out->stages = p->stages;
    out->lanes = p->lanes;
    out->microbatches = p->microbatches;
    out->wire = p->wire;
    out->optimizer = (struct brg_msg_optimizer){
        .type = o->type,
        .schedule = o->schedule,
        .warmup_steps = o->warmup_steps,
        .total_steps = o->total_steps,
        .lr = o->lr + 0.0f, /* no -0, which packing would leave out as a 0; likewise below */
        .lr_min_ratio = o->lr_min_ratio + 0.0f,
        .beta1 = o->beta1 + 0.0f,
        .beta2 = o->beta2 + 0.0f,
        .eps = o->eps + 0.0f,
        .weight_decay = o->weight_decay + 0.0f,
        .momentum = o->momentum + 0.0f,
        .clip = o->clip + 0.0f};
    out->shadow_every = p->shadow_every;
    out->shadow_moments = p->shadow_moments;
    out->shadow_int8 = p->shadow_int8;
    out->parity_group = p->parity_group;
    out->exponent = p->exponent;
    out->distil_steps = p->distil_steps;
    out->eval_samples = p->eval_samples;
    return NULL;
}

static const char *take_holding(struct brg_msg_holding *out, const Brg__Pb__Holding *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->has = p->has;
    out->stage = p->stage;
    out->lineage = p->lineage;
    out->version = p->version;
    out->pending_step = p->pending_step;
    out->pending_generation = p->pending_generation;
    out->memory_bytes = p->memory_bytes;
    out->microbatch_ns = p->microbatch_ns;
    TAKE_TEXT(out->address, &p->address);
    return NULL;
}

static const char *take_placed(struct brg_msg_placed *out, const Brg__Pb__Placed *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->generation = p->generation;
    return brg_wire_take_digest(&out->digest, &p->digest);
}

static const char *take_ready(struct brg_msg_ready *out, const Brg__Pb__Ready *p) {
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->n_loss_sums > BRG_LINE_LANES_MAX, "Ready has more than 16 losses");
    REFUSE_IF(p->n_loss_counts != p->n_loss_sums, "Ready has lists of different lengths");
    REFUSE_IF(p->n_loss_sums != (size_t)__builtin_popcount(p->lanes),
              "Ready has another number of losses than of lanes");
    out->run = p->run;
    out->generation = p->generation;
    out->step = p->step;
    out->norm2 = p->norm2 + 0.0;
    out->lanes = p->lanes;
    for (size_t i = 0; i < p->n_loss_sums; i++) {
        out->loss_sums[i] = p->loss_sums[i];
        out->loss_counts[i] = p->loss_counts[i];
    }
    out->compute_ns = p->compute_ns;
    out->wait_ns = p->wait_ns;
    out->sent_bytes = p->sent_bytes;
    out->received_bytes = p->received_bytes;
    out->wire_error = p->wire_error + 0.0;
    return brg_wire_take_digest(&out->digest, &p->digest);
}

static const char *take_learned(struct brg_msg_learned *out, const Brg__Pb__Learned *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->lineage = p->lineage;
    out->version = p->version;
    out->stage = p->stage;
    return NULL;
}

static const char *take_kept(struct brg_msg_kept *out, const Brg__Pb__Kept *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->lineage = p->lineage;
    out->version = p->version;
    out->bytes = p->bytes;
    out->what = p->what;
    out->stage = p->stage;
    return NULL;
}

static const char *take_evaluated(struct brg_msg_evaluated *out, const Brg__Pb__Evaluated *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->generation = p->generation;
    out->version = p->version;
    out->id = p->id;
    out->candidate = p->candidate;
    out->loss_sum = p->loss_sum + 0.0;
    out->count = p->count;
    return NULL;
}

static const char *take_peer(struct brg_msg_peer *out, const Brg__Pb__Peer *p) {
    REFUSE_IF(p == NULL, "a peer is missing");
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->key.len != sizeof out->key, "a peer's key is not 32 bytes long");
    out->member = p->member;
    memcpy(out->key, p->key.data, sizeof out->key);
    TAKE_TEXT(out->address, &p->address);
    return NULL;
}

/* Into peers [BRG_LINE_PEERS_MAX]. */
static const char *take_peers(struct brg_msg_peer *peers, uint32_t *count,
                              Brg__Pb__Peer *const *from, size_t from_count) {
    REFUSE_IF(from_count > BRG_LINE_PEERS_MAX, "a message has more than 16 peers");
    *count = (uint32_t)from_count;
    for (size_t i = 0; i < from_count; i++) TRY(take_peer(&peers[i], from[i]));
    return NULL;
}

static const char *take_eval(struct brg_msg_eval *out, const Brg__Pb__Eval *p) {
    if (p == NULL) return NULL;
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->id == 0, "an eval has no number");
    out->id = p->id;
    out->count = p->count;
    out->candidates = p->candidates;
    out->stage = p->stage;
    return NULL;
}

static const char *take_place_lists(struct brg_msg_place *out, const Brg__Pb__Place *p) {
    REFUSE_IF(p->n_sources > BRG_LINE_SOURCES_MAX, "Place has more than 4 sources");
    REFUSE_IF(p->n_source_stages != p->n_sources || p->n_weights != p->n_sources,
              "Place has lists of sources of different lengths");
    REFUSE_IF(p->n_seat_members > BRG_LINE_SEATS_MAX, "Place has more than 1024 seats");
    REFUSE_IF(p->n_seat_stages != p->n_seat_members || p->n_seat_lanes != p->n_seat_members,
              "Place has lists of seats of different lengths");
    REFUSE_IF(p->n_shadow_stages > BRG_LINE_SHADOWS_MAX, "Place has more than 64 shadows");
    REFUSE_IF(p->n_shadow_members != p->n_shadow_stages,
              "Place has lists of shadows of different lengths");
    REFUSE_IF(p->n_parity_members > BRG_LINE_STAGES_MAX, "Place has a parity of too many stages");
    out->source_count = (uint32_t)p->n_sources;
    take_words(out->sources, p->sources, p->n_sources);
    take_words(out->source_stages, p->source_stages, p->n_sources);
    for (size_t i = 0; i < p->n_weights; i++) out->weights[i] = p->weights[i];
    out->seat_count = (uint32_t)p->n_seat_members;
    take_words(out->seat_members, p->seat_members, p->n_seat_members);
    take_words(out->seat_stages, p->seat_stages, p->n_seat_members);
    take_words(out->seat_lanes, p->seat_lanes, p->n_seat_members);
    out->shadow_count = (uint32_t)p->n_shadow_stages;
    take_words(out->shadow_stages, p->shadow_stages, p->n_shadow_stages);
    take_words(out->shadow_members, p->shadow_members, p->n_shadow_stages);
    out->parity_count = (uint32_t)p->n_parity_members;
    take_words(out->parity_members, p->parity_members, p->n_parity_members);
    return NULL;
}

static const char *take_place(struct brg_msg_place *out, const Brg__Pb__Place *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->generation = p->generation;
    out->version = p->version;
    out->commit_generation = p->commit_generation;
    out->lineage = p->lineage;
    out->clip = p->clip + 0.0;
    out->stage = p->stage;
    out->lanes = p->lanes;
    out->rung = p->rung;
    out->lr_raise = p->lr_raise;
    out->parity = p->parity;
    out->source_version = p->source_version;
    TRY(take_place_lists(out, p));
    return take_peers(out->peers, &out->peer_count, p->peers, p->n_peers);
}

static const char *take_step_commit(struct brg_msg_step_commit *out, const Brg__Pb__StepCommit *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->generation = p->generation;
    out->step = p->step;
    out->clip = p->clip + 0.0;
    TRY(take_eval(&out->eval, p->eval));
    return brg_wire_take_proof(&out->proof, p->proof);
}

static const char *take_unseat(struct brg_msg_unseat *out, const Brg__Pb__Unseat *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->generation = p->generation;
    out->version = p->version;
    out->commit_generation = p->commit_generation;
    out->clip = p->clip + 0.0;
    return take_peers(out->peers, &out->peer_count, p->peers, p->n_peers);
}

static const char *take_learn(struct brg_msg_learn *out, const Brg__Pb__Learn *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->lineage = p->lineage;
    out->stage = p->stage;
    out->generation = p->generation;
    out->teach = p->teach;
    return take_peer(&out->source, p->source);
}

/* Those that are three numbers: one by one, since a struct as a whole may bring padding along. */
static const char *take_small(struct brg_msg *out, const Brg__Pb__Envelope *e) {
    switch (out->type) {
    case BRG_MSG_LOST_PEER:
        REFUSE_UNKNOWN(e->lost_peer);
        out->lost_peer.run = e->lost_peer->run;
        out->lost_peer.generation = e->lost_peer->generation;
        out->lost_peer.peer = e->lost_peer->peer;
        return NULL;
    case BRG_MSG_FETCH_FAILED:
        REFUSE_UNKNOWN(e->fetch_failed);
        out->fetch_failed.run = e->fetch_failed->run;
        out->fetch_failed.generation = e->fetch_failed->generation;
        out->fetch_failed.rung = e->fetch_failed->rung;
        return NULL;
    case BRG_MSG_RELAY_TO:
        REFUSE_UNKNOWN(e->relay_to);
        out->relay_to.run = e->relay_to->run;
        out->relay_to.peer = e->relay_to->peer;
        return NULL;
    case BRG_MSG_CHOOSE:
        REFUSE_UNKNOWN(e->choose);
        out->choose.run = e->choose->run;
        out->choose.generation = e->choose->generation;
        out->choose.candidate = e->choose->candidate;
        return NULL;
    case BRG_MSG_SAVE:
        REFUSE_UNKNOWN(e->save);
        out->save.run = e->save->run;
        out->save.step = e->save->step;
        out->save.generation = e->save->generation;
        return NULL;
    default: return "the message is of a type that this version does not know";
    }
}

const char *brg_wire_take_line(const Brg__Pb__Envelope *e, struct brg_msg *out) {
    switch (out->type) {
    case BRG_MSG_HOLDING: return take_holding(&out->holding, e->holding);
    case BRG_MSG_PLACED: return take_placed(&out->placed, e->placed);
    case BRG_MSG_READY: return take_ready(&out->ready, e->ready);
    case BRG_MSG_LEARNED: return take_learned(&out->learned, e->learned);
    case BRG_MSG_KEPT: return take_kept(&out->kept, e->kept);
    case BRG_MSG_EVALUATED: return take_evaluated(&out->evaluated, e->evaluated);
    case BRG_MSG_PLACE: return take_place(&out->place, e->place);
    case BRG_MSG_START:
        REFUSE_UNKNOWN(e->start);
        out->start.run = e->start->run;
        out->start.generation = e->start->generation;
        out->start.step = e->start->step;
        return take_eval(&out->start.eval, e->start->eval);
    case BRG_MSG_STEP_COMMIT: return take_step_commit(&out->step_commit, e->step_commit);
    case BRG_MSG_UNSEAT: return take_unseat(&out->unseat, e->unseat);
    case BRG_MSG_LEARN: return take_learn(&out->learn, e->learn);
    default: return take_small(out, e);
    }
}
