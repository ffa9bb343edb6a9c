/* wire_line_check.c - the ranges of messages_line.h, as wire_check.c. */
#include "proto/keys.h"
#include "proto/wire_private.h"

#include <math.h>
#include <string.h>

#define LANES_MASK ((UINT32_C(1) << BRG_LINE_LANES_MAX) - 1)

static int within(uint64_t value, uint64_t low, uint64_t high) {
    return value >= low && value <= high;
}

/* Every message of a placement names it. */
#define REFUSE_UNLESS_PLACED(m)                                                                    \
    do {                                                                                           \
        REFUSE_UNLESS_RUN((m)->run);                                                               \
        REFUSE_IF(!within((m)->generation, 1, BRG_GENERATIONS_MAX), "generation out of range");    \
    } while (0)

/* A share of the whole: not NaN either. */
static int is_share(double x) {
    return x >= 0 && x <= 1;
}

/* host:port as an address to dial, or nothing. Whether it can be dialled is seen when it is. */
static const char *check_address(const char *address) {
    char host[BRG_HOST_BYTES];
    uint16_t port;
    const size_t size_bytes = strnlen(address, BRG_LINE_ADDRESS_BYTES_MAX + 1);
    if (size_bytes == 0) return NULL;
    REFUSE_IF(size_bytes > BRG_LINE_ADDRESS_BYTES_MAX, "an address is too long");
    REFUSE_IF(strchr(address, ':') == NULL ||
                  brg_address_parse(address, host, &port, NULL) != BRG_OK,
              "an address is not host:port");
    return NULL;
}

/* As brg_optimizer_check in model/optimizer.h. */
static const char *check_optimizer(const struct brg_msg_optimizer *o) {
    const struct {
        float value, high;
    } ranges[] = {{o->lr, 1000}, {o->lr_min_ratio, 1},    {o->beta1, 1},    {o->beta2, 1},
                  {o->eps, 1},   {o->weight_decay, 1000}, {o->momentum, 1}, {o->clip, 1e9f}};
    REFUSE_IF(!within(o->type, 1, 2), "optimizer.type is unknown");
    REFUSE_IF(!within(o->schedule, 1, 2), "optimizer.schedule is unknown");
    REFUSE_IF(o->warmup_steps > BRG_STEPS_MAX || o->total_steps > BRG_STEPS_MAX,
              "optimizer has too many steps");
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        REFUSE_IF(!(ranges[i].value >= 0 && ranges[i].value <= ranges[i].high),
                  "optimizer has a number out of its range");
    }
    REFUSE_IF(o->beta1 >= 1 || o->beta2 >= 1 || o->momentum >= 1,
              "optimizer has a decay of 1 or more");
    REFUSE_IF(o->type == 2 && !(o->eps > 0), "optimizer.eps is 0");
    REFUSE_IF(o->schedule == 2 && o->total_steps <= o->warmup_steps,
              "optimizer's warmup leaves no steps for the cosine");
    return NULL;
}

const char *brg_wire_check_run_line(const struct brg_msg_run *m) {
    static const struct brg_msg_line none;
    const struct brg_msg_line *l = &m->line;
    REFUSE_IF(m->has_line > 1, "Run.has_line is not 0 or 1");
    if (m->has_line == 0) {
        REFUSE_IF(memcmp(l, &none, sizeof none) != 0, "Run.line is filled and not there");
        return NULL;
    }
    REFUSE_IF(m->models != 1 || m->model.type != 1, "Run.line is for one llama");
    REFUSE_IF(!within(l->stages, 1, BRG_LINE_STAGES_MAX), "line.stages is not 1 .. 64");
    REFUSE_IF(l->stages > m->model.layers, "line.stages are more than the model's layers");
    REFUSE_IF(l->stages > 1 && m->model.tied == 1, "line.stages are several for a tied model");
    REFUSE_IF(!within(l->lanes, 1, BRG_LINE_LANES_MAX), "line.lanes is not 1 .. 16");
    REFUSE_IF(!within(l->microbatches, l->lanes, BRG_LINE_MICROBATCHES_MAX),
              "line.microbatches is not lanes .. 256");
    REFUSE_IF(l->microbatches != m->batch.chunks, "line.microbatches are not the chunks");
    REFUSE_IF(l->wire > 2, "line.wire is unknown");
    REFUSE_IF(l->shadow_every > BRG_LINE_EVERY_MAX, "line.shadow_every is more than 1024");
    REFUSE_IF(l->shadow_moments > 1 || l->shadow_int8 > 1, "line.shadow_* is not 0 or 1");
    REFUSE_IF(l->parity_group > l->stages, "line.parity_group is more than the stages");
    REFUSE_IF(l->exponent > 2, "line.exponent is not 0 .. 2");
    REFUSE_IF(l->distil_steps > BRG_LINE_DISTIL_MAX, "line.distil_steps is more than 10000");
    return check_optimizer(&l->optimizer);
}

static const char *check_holding(const struct brg_msg_holding *m) {
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(m->has > 1, "Holding.has is not 0 or 1");
    REFUSE_IF(m->stage >= BRG_LINE_STAGES_MAX, "Holding.stage is no stage");
    REFUSE_IF(m->version > BRG_STEPS_MAX || m->pending_step > BRG_STEPS_MAX ||
                  m->lineage > BRG_GENERATIONS_MAX || m->pending_generation > BRG_GENERATIONS_MAX,
              "Holding has a number out of range");
    REFUSE_IF(m->has == 0 && (m->stage != 0 || m->lineage != 0 || m->version != 0 ||
                              m->pending_step != 0 || m->pending_generation != 0),
              "Holding describes a state it has not");
    REFUSE_IF((m->pending_step == 0) != (m->pending_generation == 0),
              "Holding has a gradient without its generation, or the other way round");
    REFUSE_IF(m->pending_step != 0 && !within(m->pending_step, m->version, m->version + 1),
              "Holding.pending_step is not the version or one more");
    return check_address(m->address);
}

static const char *check_ready(const struct brg_msg_ready *m) {
    REFUSE_UNLESS_PLACED(m);
    REFUSE_IF(!within(m->step, 1, BRG_STEPS_MAX), "Ready.step out of range");
    REFUSE_IF(m->lanes > LANES_MASK, "Ready.lanes has more than 16");
    REFUSE_IF(m->norm2 < 0, "Ready.norm2 is below 0"); /* no number at all is a diverged model's */
    for (uint32_t i = (uint32_t)__builtin_popcount(m->lanes); i < BRG_LINE_LANES_MAX; i++) {
        REFUSE_IF(m->loss_sums[i] != 0 || m->loss_counts[i] != 0, "Ready has a loss too many");
    }
    REFUSE_IF(!(m->wire_error >= 0), "Ready.wire_error is negative or no number");
    return NULL;
}

static const char *check_kept(const struct brg_msg_kept *m) {
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(!within(m->what, 1, 2), "Kept.what is unknown");
    REFUSE_IF(m->stage >= BRG_LINE_STAGES_MAX, "Kept.stage is no stage");
    REFUSE_IF(m->version > BRG_STEPS_MAX || m->lineage > BRG_GENERATIONS_MAX,
              "Kept has a number out of range");
    REFUSE_IF(m->bytes > BRG_OBJECT_BYTES_MAX, "Kept.bytes out of range");
    return NULL;
}

static const char *check_evaluated(const struct brg_msg_evaluated *m) {
    REFUSE_UNLESS_PLACED(m);
    REFUSE_IF(m->version > BRG_STEPS_MAX || m->id == 0, "Evaluated has a number out of range");
    REFUSE_IF(m->candidate >= BRG_LINE_CANDIDATES_MAX, "Evaluated.candidate is unknown");
    return NULL;
}

static const char *check_peer(const struct brg_msg_peer *m) {
    REFUSE_IF(m->member >= BRG_LINE_MEMBERS_MAX, "a peer's member is 65536 or more");
    return check_address(m->address);
}

static const char *check_peers(const struct brg_msg_peer *peers, uint32_t count) {
    REFUSE_IF(count > BRG_LINE_PEERS_MAX, "a message has more than 16 peers");
    for (uint32_t i = 0; i < count; i++) {
        TRY(check_peer(&peers[i]));
        for (uint32_t j = 0; j < i; j++) {
            REFUSE_IF(peers[j].member == peers[i].member ||
                          memcmp(peers[j].key, peers[i].key, sizeof peers[i].key) == 0,
                      "a message has a peer twice");
        }
    }
    return NULL;
}

static const char *check_eval(const struct brg_msg_eval *e) {
    if (e->id == 0) {
        REFUSE_IF(e->count != 0 || e->candidates != 0 || e->stage != 0, "an eval has no number");
        return NULL;
    }
    REFUSE_IF(!within(e->count, 1, BRG_LINE_EVAL_MAX), "eval.count is not 1 .. 64");
    REFUSE_IF(!within(e->candidates, 1, BRG_LINE_CANDIDATES_MAX), "eval.candidates is not 1 .. 4");
    REFUSE_IF(e->stage >= BRG_LINE_STAGES_MAX, "eval.stage is no stage");
    return NULL;
}

/* Each lane of a stage has one holder and each member one seat, so nothing is counted twice. */
static const char *check_seats(const struct brg_msg_place *m) {
    uint64_t seen[BRG_LINE_MEMBERS_MAX / 64] = {0};
    uint32_t lanes[BRG_LINE_STAGES_MAX] = {0};
    int has_own = 0;
    REFUSE_IF(!within(m->seat_count, 1, BRG_LINE_SEATS_MAX),
              "Place has no or more than 1024 seats");
    for (uint32_t i = 0; i < m->seat_count; i++) {
        const uint32_t member = m->seat_members[i], stage = m->seat_stages[i];
        REFUSE_IF(member >= BRG_LINE_MEMBERS_MAX, "Place has a seat of nobody");
        REFUSE_IF(stage >= BRG_LINE_STAGES_MAX, "Place has a seat of no stage");
        REFUSE_IF(!within(m->seat_lanes[i], 1, LANES_MASK), "Place has a seat without lanes");
        REFUSE_IF((seen[member / 64] >> (member % 64) & 1) != 0, "Place has a member twice");
        REFUSE_IF((lanes[stage] & m->seat_lanes[i]) != 0, "Place has a lane of a stage twice");
        seen[member / 64] |= UINT64_C(1) << (member % 64);
        lanes[stage] |= m->seat_lanes[i];
        has_own |= stage == m->stage && m->seat_lanes[i] == m->lanes;
    }
    REFUSE_IF(!has_own, "Place does not list its own seat");
    return NULL;
}

static const char *check_sources(const struct brg_msg_place *m) {
    REFUSE_IF(m->rung > BRG_LINE_RUNG_MAX, "Place.rung is unknown");
    REFUSE_IF(m->lr_raise > 1, "Place.lr_raise is not 0 or 1");
    REFUSE_IF(m->source_version > m->version, "Place.source_version is past the version");
    REFUSE_IF(m->source_count > BRG_LINE_SOURCES_MAX, "Place has more than 4 sources");
    for (uint32_t i = 0; i < m->source_count; i++) {
        REFUSE_IF(m->sources[i] >= BRG_LINE_MEMBERS_MAX, "Place has a source of nobody");
        REFUSE_IF(m->source_stages[i] >= BRG_LINE_STAGES_MAX, "Place has a source of no stage");
        REFUSE_IF(!isfinite(m->weights[i]) || m->weights[i] < 0,
                  "Place has a weight that is negative or no number");
    }
    return NULL;
}

/* What the receiver keeps for others. */
static const char *check_keeping(const struct brg_msg_place *m) {
    REFUSE_IF(m->shadow_count > BRG_LINE_SHADOWS_MAX, "Place has more than 64 shadows");
    for (uint32_t i = 0; i < m->shadow_count; i++) {
        REFUSE_IF(m->shadow_stages[i] >= BRG_LINE_STAGES_MAX ||
                      m->shadow_members[i] >= BRG_LINE_MEMBERS_MAX,
                  "Place has a shadow of nobody or of no stage");
    }
    REFUSE_IF(m->parity > BRG_LINE_STAGES_MAX, "Place.parity is no group");
    REFUSE_IF(m->parity_count > BRG_LINE_STAGES_MAX || (m->parity == 0 && m->parity_count != 0),
              "Place has a parity of too many stages, or of none");
    for (uint32_t i = 0; i < m->parity_count; i++) {
        REFUSE_IF(m->parity_members[i] >= BRG_LINE_MEMBERS_MAX, "Place has a parity of nobody");
    }
    return NULL;
}

static const char *check_place(const struct brg_msg_place *m) {
    REFUSE_UNLESS_PLACED(m);
    REFUSE_IF(m->version > BRG_STEPS_MAX, "Place.version out of range");
    REFUSE_IF(m->commit_generation > m->generation || m->lineage > m->generation,
              "Place is of a commit or a lineage that is newer than itself");
    REFUSE_IF(!is_share(m->clip), "Place.clip is not 0 .. 1");
    REFUSE_IF(m->stage >= BRG_LINE_STAGES_MAX, "Place.stage is no stage");
    REFUSE_IF(!within(m->lanes, 1, LANES_MASK), "Place.lanes is empty or more than 16");
    TRY(check_sources(m));
    TRY(check_peers(m->peers, m->peer_count));
    TRY(check_keeping(m));
    return check_seats(m);
}

static const char *check_step_commit(const struct brg_msg_step_commit *m) {
    REFUSE_UNLESS_PLACED(m);
    REFUSE_IF(!within(m->step, 1, BRG_STEPS_MAX), "StepCommit.step out of range");
    REFUSE_IF(m->proof.run != m->run || m->proof.step != m->step,
              "StepCommit.proof is of another step");
    REFUSE_IF(!is_share(m->clip), "StepCommit.clip is not 0 .. 1");
    return check_eval(&m->eval);
}

static const char *check_unseat(const struct brg_msg_unseat *m) {
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(m->generation > BRG_GENERATIONS_MAX || m->version > BRG_STEPS_MAX ||
                  m->commit_generation > BRG_GENERATIONS_MAX,
              "Unseat has a number out of range");
    REFUSE_IF(!is_share(m->clip), "Unseat.clip is not 0 .. 1");
    return check_peers(m->peers, m->peer_count);
}

/* Those that are three numbers. */
static const char *check_small(const struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_LOST_PEER:
        REFUSE_UNLESS_PLACED(&m->lost_peer);
        REFUSE_IF(m->lost_peer.peer >= BRG_LINE_MEMBERS_MAX, "LostPeer.peer is nobody");
        return NULL;
    case BRG_MSG_FETCH_FAILED:
        REFUSE_UNLESS_RUN(m->fetch_failed.run);
        REFUSE_IF(m->fetch_failed.generation > BRG_GENERATIONS_MAX ||
                      m->fetch_failed.rung > BRG_LINE_RUNG_MAX,
                  "FetchFailed has a number out of range");
        return NULL;
    case BRG_MSG_LEARNED:
        REFUSE_UNLESS_RUN(m->learned.run);
        REFUSE_IF(m->learned.stage >= BRG_LINE_STAGES_MAX, "Learned.stage is no stage");
        REFUSE_IF(m->learned.version > BRG_STEPS_MAX || m->learned.lineage > BRG_GENERATIONS_MAX,
                  "Learned has a number out of range");
        return NULL;
    case BRG_MSG_RELAY_TO:
        REFUSE_UNLESS_RUN(m->relay_to.run);
        REFUSE_IF(m->relay_to.peer >= BRG_LINE_MEMBERS_MAX, "RelayTo.peer is nobody");
        return NULL;
    case BRG_MSG_CHOOSE:
        REFUSE_UNLESS_PLACED(&m->choose);
        REFUSE_IF(m->choose.candidate >= BRG_LINE_CANDIDATES_MAX, "Choose.candidate is unknown");
        return NULL;
    case BRG_MSG_SAVE:
        REFUSE_UNLESS_PLACED(&m->save);
        REFUSE_IF(m->save.step > BRG_STEPS_MAX, "Save.step out of range");
        return NULL;
    default: return "the message is of a type that this version does not know";
    }
}

const char *brg_wire_check_line(const struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_HOLDING: return check_holding(&m->holding);
    case BRG_MSG_PLACED: REFUSE_UNLESS_PLACED(&m->placed); return NULL;
    case BRG_MSG_READY: return check_ready(&m->ready);
    case BRG_MSG_KEPT: return check_kept(&m->kept);
    case BRG_MSG_EVALUATED: return check_evaluated(&m->evaluated);
    case BRG_MSG_PLACE: return check_place(&m->place);
    case BRG_MSG_START:
        REFUSE_UNLESS_PLACED(&m->start);
        REFUSE_IF(!within(m->start.step, 1, BRG_STEPS_MAX), "Start.step out of range");
        return check_eval(&m->start.eval);
    case BRG_MSG_STEP_COMMIT: return check_step_commit(&m->step_commit);
    case BRG_MSG_UNSEAT: return check_unseat(&m->unseat);
    case BRG_MSG_LEARN:
        REFUSE_UNLESS_RUN(m->learn.run);
        REFUSE_IF(m->learn.stage >= BRG_LINE_STAGES_MAX, "Learn.stage is no stage");
        REFUSE_IF(m->learn.generation > BRG_GENERATIONS_MAX ||
                      m->learn.lineage > BRG_GENERATIONS_MAX,
                  "Learn has a number out of range");
        REFUSE_IF(m->learn.teach > 1, "Learn.teach is not 0 or 1");
        return check_peer(&m->learn.source);
    default: return check_small(m);
    }
}
