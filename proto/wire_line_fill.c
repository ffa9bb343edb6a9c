/* wire_line_fill.c - the messages of pipelines into generated structs, as wire_fill.c. */
#include "proto/wire_private.h"

#include <string.h>

static ProtobufCBinaryData text_of(const char *text) {
    return brg_wire_bytes_of(text, strlen(text));
}

static uint32_t *words_of(const uint32_t *list) {
    return (uint32_t *)(void *)brg_wire_bytes_of(list, 0).data;
}

static Brg__Pb__Optimizer *fill_optimizer(const struct brg_msg_optimizer *m,
                                          Brg__Pb__Optimizer *p) {
    brg__pb__optimizer__init(p);
    p->type = m->type;
    p->schedule = m->schedule;
    p->warmup_steps = m->warmup_steps;
    p->total_steps = m->total_steps;
    p->lr = m->lr;
    p->lr_min_ratio = m->lr_min_ratio;
    p->beta1 = m->beta1;
    p->beta2 = m->beta2;
    p->eps = m->eps;
    p->weight_decay = m->weight_decay;
    p->momentum = m->momentum;
    p->clip = m->clip;
    return p;
}

Brg__Pb__Line *brg_wire_fill_run_line(const struct brg_msg_line *m, struct brg_wire_filled *out) {
    Brg__Pb__Line *p = &out->line;
    brg__pb__line__init(p);
    p->stages = m->stages;
    p->lanes = m->lanes;
    p->microbatches = m->microbatches;
    p->wire = m->wire;
    p->optimizer = fill_optimizer(&m->optimizer, &out->optimizer);
    p->shadow_every = m->shadow_every;
    p->shadow_moments = m->shadow_moments;
    p->shadow_int8 = m->shadow_int8;
    p->parity_group = m->parity_group;
    p->exponent = m->exponent;
    p->distil_steps = m->distil_steps;
    p->eval_samples = m->eval_samples;
    return p;
}

static void fill_holding(const struct brg_msg_holding *m, struct brg_wire_filled *out) {
    Brg__Pb__Holding *p = &out->body.holding;
    brg__pb__holding__init(p);
    p->run = m->run;
    p->has = m->has;
    p->stage = m->stage;
    p->lineage = m->lineage;
    p->version = m->version;
    p->pending_step = m->pending_step;
    p->pending_generation = m->pending_generation;
    p->memory_bytes = m->memory_bytes;
    p->microbatch_ns = m->microbatch_ns;
    p->address = text_of(m->address);
    out->envelope.holding = p;
}

static void fill_placed(const struct brg_msg_placed *m, struct brg_wire_filled *out) {
    Brg__Pb__Placed *p = &out->body.placed;
    brg__pb__placed__init(p);
    p->run = m->run;
    p->generation = m->generation;
    p->digest = brg_wire_bytes_of(m->digest.bytes, sizeof m->digest.bytes);
    out->envelope.placed = p;
}

static uint32_t bits(uint32_t set) {
    return (uint32_t)__builtin_popcount(set);
}

static void fill_ready(const struct brg_msg_ready *m, struct brg_wire_filled *out) {
    Brg__Pb__Ready *p = &out->body.ready;
    brg__pb__ready__init(p);
    p->run = m->run;
    p->generation = m->generation;
    p->step = m->step;
    p->digest = brg_wire_bytes_of(m->digest.bytes, sizeof m->digest.bytes);
    p->norm2 = m->norm2;
    p->lanes = m->lanes;
    p->n_loss_sums = p->n_loss_counts = bits(m->lanes);
    for (uint32_t i = 0; i < bits(m->lanes); i++) {
        out->loss_sums[i] = m->loss_sums[i];
        out->loss_counts[i] = m->loss_counts[i];
    }
    p->loss_sums = out->loss_sums;
    p->loss_counts = out->loss_counts;
    p->compute_ns = m->compute_ns;
    p->wait_ns = m->wait_ns;
    p->sent_bytes = m->sent_bytes;
    p->received_bytes = m->received_bytes;
    p->wire_error = m->wire_error;
    out->envelope.ready = p;
}

static void fill_kept(const struct brg_msg_kept *m, struct brg_wire_filled *out) {
    Brg__Pb__Kept *p = &out->body.kept;
    brg__pb__kept__init(p);
    p->run = m->run;
    p->lineage = m->lineage;
    p->version = m->version;
    p->bytes = m->bytes;
    p->what = m->what;
    p->stage = m->stage;
    out->envelope.kept = p;
}

static void fill_evaluated(const struct brg_msg_evaluated *m, struct brg_wire_filled *out) {
    Brg__Pb__Evaluated *p = &out->body.evaluated;
    brg__pb__evaluated__init(p);
    p->run = m->run;
    p->generation = m->generation;
    p->version = m->version;
    p->id = m->id;
    p->candidate = m->candidate;
    p->loss_sum = m->loss_sum;
    p->count = m->count;
    out->envelope.evaluated = p;
}

/* Those of a worker that are a few numbers. */
static void fill_worker(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_LOST_PEER) {
        brg__pb__lost_peer__init(&out->body.lost_peer);
        out->body.lost_peer.run = msg->lost_peer.run;
        out->body.lost_peer.generation = msg->lost_peer.generation;
        out->body.lost_peer.peer = msg->lost_peer.peer;
        out->envelope.lost_peer = &out->body.lost_peer;
    } else if (msg->type == BRG_MSG_FETCH_FAILED) {
        brg__pb__fetch_failed__init(&out->body.fetch_failed);
        out->body.fetch_failed.run = msg->fetch_failed.run;
        out->body.fetch_failed.generation = msg->fetch_failed.generation;
        out->body.fetch_failed.rung = msg->fetch_failed.rung;
        out->envelope.fetch_failed = &out->body.fetch_failed;
    } else {
        brg__pb__learned__init(&out->body.learned);
        out->body.learned.run = msg->learned.run;
        out->body.learned.lineage = msg->learned.lineage;
        out->body.learned.version = msg->learned.version;
        out->body.learned.stage = msg->learned.stage;
        out->envelope.learned = &out->body.learned;
    }
}

static Brg__Pb__Peer *fill_peer(const struct brg_msg_peer *m, Brg__Pb__Peer *p) {
    brg__pb__peer__init(p);
    p->member = m->member;
    p->key = brg_wire_bytes_of(m->key, sizeof m->key);
    p->address = text_of(m->address);
    return p;
}

static Brg__Pb__Peer **fill_peers(const struct brg_msg_peer *peers, uint32_t count,
                                  struct brg_wire_filled *out) {
    for (uint32_t i = 0; i < count; i++) {
        out->peer_list[i] = fill_peer(&peers[i], &out->peers[i]);
    }
    return out->peer_list;
}

static Brg__Pb__Eval *fill_eval(const struct brg_msg_eval *m, struct brg_wire_filled *out) {
    Brg__Pb__Eval *p = &out->eval;
    if (m->id == 0) return NULL;
    brg__pb__eval__init(p);
    p->id = m->id;
    p->count = m->count;
    p->candidates = m->candidates;
    p->stage = m->stage;
    return p;
}

static void fill_place(const struct brg_msg_place *m, struct brg_wire_filled *out) {
    Brg__Pb__Place *p = &out->body.place;
    brg__pb__place__init(p);
    p->run = m->run;
    p->generation = m->generation;
    p->version = m->version;
    p->commit_generation = m->commit_generation;
    p->lineage = m->lineage;
    p->clip = m->clip;
    p->stage = m->stage;
    p->lanes = m->lanes;
    p->rung = m->rung;
    p->n_sources = p->n_source_stages = p->n_weights = m->source_count;
    p->sources = words_of(m->sources);
    p->source_stages = words_of(m->source_stages);
    p->weights = (double *)(void *)brg_wire_bytes_of(m->weights, 0).data;
    p->lr_raise = m->lr_raise;
    p->source_version = m->source_version;
    p->n_seat_members = p->n_seat_stages = p->n_seat_lanes = m->seat_count;
    p->seat_members = words_of(m->seat_members);
    p->seat_stages = words_of(m->seat_stages);
    p->seat_lanes = words_of(m->seat_lanes);
    p->n_peers = m->peer_count;
    p->peers = fill_peers(m->peers, m->peer_count, out);
    p->n_shadow_stages = p->n_shadow_members = m->shadow_count;
    p->shadow_stages = words_of(m->shadow_stages);
    p->shadow_members = words_of(m->shadow_members);
    p->parity = m->parity;
    p->n_parity_members = m->parity_count;
    p->parity_members = words_of(m->parity_members);
    out->envelope.place = p;
}

static void fill_steps(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_START) {
        brg__pb__start__init(&out->body.start);
        out->body.start.run = msg->start.run;
        out->body.start.generation = msg->start.generation;
        out->body.start.step = msg->start.step;
        out->body.start.eval = fill_eval(&msg->start.eval, out);
        out->envelope.start = &out->body.start;
    } else if (msg->type == BRG_MSG_STEP_COMMIT) {
        Brg__Pb__StepCommit *p = &out->body.step_commit;
        brg__pb__step_commit__init(p);
        p->proof = brg_wire_fill_proof(&msg->step_commit.proof, &out->proof);
        p->run = msg->step_commit.run;
        p->generation = msg->step_commit.generation;
        p->step = msg->step_commit.step;
        p->clip = msg->step_commit.clip;
        p->eval = fill_eval(&msg->step_commit.eval, out);
        out->envelope.step_commit = p;
    } else {
        Brg__Pb__Unseat *p = &out->body.unseat;
        brg__pb__unseat__init(p);
        p->run = msg->unseat.run;
        p->generation = msg->unseat.generation;
        p->version = msg->unseat.version;
        p->commit_generation = msg->unseat.commit_generation;
        p->clip = msg->unseat.clip;
        p->n_peers = msg->unseat.peer_count;
        p->peers = fill_peers(msg->unseat.peers, msg->unseat.peer_count, out);
        out->envelope.unseat = p;
    }
}

static void fill_orders(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_LEARN) {
        brg__pb__learn__init(&out->body.learn);
        out->body.learn.run = msg->learn.run;
        out->body.learn.lineage = msg->learn.lineage;
        out->body.learn.stage = msg->learn.stage;
        out->body.learn.generation = msg->learn.generation;
        out->body.learn.teach = msg->learn.teach;
        out->body.learn.source = fill_peer(&msg->learn.source, &out->peers[0]);
        out->envelope.learn = &out->body.learn;
    } else if (msg->type == BRG_MSG_RELAY_TO) {
        brg__pb__relay_to__init(&out->body.relay_to);
        out->body.relay_to.run = msg->relay_to.run;
        out->body.relay_to.peer = msg->relay_to.peer;
        out->envelope.relay_to = &out->body.relay_to;
    } else if (msg->type == BRG_MSG_CHOOSE) {
        brg__pb__choose__init(&out->body.choose);
        out->body.choose.run = msg->choose.run;
        out->body.choose.generation = msg->choose.generation;
        out->body.choose.candidate = msg->choose.candidate;
        out->envelope.choose = &out->body.choose;
    } else {
        brg__pb__save__init(&out->body.save);
        out->body.save.run = msg->save.run;
        out->body.save.step = msg->save.step;
        out->body.save.generation = msg->save.generation;
        out->envelope.save = &out->body.save;
    }
}

void brg_wire_fill_line(const struct brg_msg *msg, struct brg_wire_filled *out) {
    switch (msg->type) {
    case BRG_MSG_HOLDING: fill_holding(&msg->holding, out); break;
    case BRG_MSG_PLACED: fill_placed(&msg->placed, out); break;
    case BRG_MSG_READY: fill_ready(&msg->ready, out); break;
    case BRG_MSG_LOST_PEER:
    case BRG_MSG_FETCH_FAILED:
    case BRG_MSG_LEARNED: fill_worker(msg, out); break;
    case BRG_MSG_KEPT: fill_kept(&msg->kept, out); break;
    case BRG_MSG_EVALUATED: fill_evaluated(&msg->evaluated, out); break;
    case BRG_MSG_PLACE: fill_place(&msg->place, out); break;
    case BRG_MSG_START:
    case BRG_MSG_STEP_COMMIT:
    case BRG_MSG_UNSEAT: fill_steps(msg, out); break;
    case BRG_MSG_LEARN:
    case BRG_MSG_RELAY_TO:
    case BRG_MSG_CHOOSE:
    case BRG_MSG_SAVE: fill_orders(msg, out); break;
    default: BRG_ASSERT(0 && "brg_wire_check lets no other type through");
    }
}
