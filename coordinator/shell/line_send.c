/* Actions of the machine as messages. What a Place says is read from the machine as it is now: an
 * action of an earlier generation of the same turn has been overtaken, and is left out. */
#include <string.h>

#include "coordinator/shell/line_private.h"
#include "recovery/neighbours.h"

#define EVAL_PROBE 4u /* held-out microbatches that are looked at after a recovery */

static void send_to(struct brg_service *s, uint32_t member, struct brg_msg *m) {
    brg_service_send(s, &s->members[member].control, m);
}

/* ---- peers ---- */

static void describe_peer(const struct brg_service *s, uint32_t member, struct brg_msg_peer *out) {
    out->member = member;
    memcpy(out->key, s->core.members.items[member].key, sizeof out->key);
    (void)snprintf(out->address, sizeof out->address, "%s", s->line->members[member].address);
}

static void add_peer(const struct brg_service *s, uint32_t of, uint32_t member,
                     struct brg_msg_peer *peers, uint32_t *count) {
    if (member == of || member == BRG_NOBODY || *count == BRG_LINE_PEERS_MAX) return;
    if (s->line->members[member].session == 0) return;
    for (uint32_t i = 0; i < *count; i++)
        if (peers[i].member == member) return;
    describe_peer(s, member, &peers[(*count)++]);
}

/* Whom `of` fetches from or is fetched from by: the other holders, nearest stages first, then those
 * who keep or give states. */
static void add_peers(const struct brg_service *s, uint32_t of, struct brg_msg_peer *peers,
                      uint32_t *count) {
    const struct brg_pipeline *p = &s->line->machine;
    const uint32_t own = p->members[of].stage != BRG_NOBODY ? p->members[of].stage : 0;
    for (uint32_t away = 0; away < p->plan.stages; away++) {
        for (uint32_t t = 0; t < p->plan.stages; t++) {
            if ((t > own ? t - own : own - t) != away) continue;
            for (uint32_t i = 0; i < p->stages[t].count; i++)
                add_peer(s, of, p->stages[t].holders[i], peers, count);
        }
    }
    for (uint32_t t = 0; t < p->plan.stages; t++) {
        for (uint32_t i = 0; i < p->stages[t].count; i++) {
            const struct brg_pipe_member *m = &p->members[p->stages[t].holders[i]];
            for (uint32_t k = 0; k < m->source_count; k++)
                add_peer(s, of, m->sources[k], peers, count);
        }
        add_peer(s, of, p->stages[t].shadow_to, peers, count);
        add_peer(s, of, p->stages[t].shadow_member, peers, count);
        add_peer(s, of, p->stages[t].parity_to, peers, count);
    }
    add_peer(s, of, p->learner, peers, count);
}

/* ---- Place ---- */

static void add_seats(const struct brg_pipeline *p, struct brg_msg_place *m) {
    for (uint32_t t = 0; t < p->plan.stages; t++) {
        for (uint32_t i = 0; i < p->stages[t].count; i++) {
            BRG_ASSERT(m->seat_count < BRG_LINE_SEATS_MAX);
            m->seat_members[m->seat_count] = p->stages[t].holders[i];
            m->seat_stages[m->seat_count] = t;
            m->seat_lanes[m->seat_count++] = p->members[p->stages[t].holders[i]].lanes;
        }
    }
}

/* How much each donor of a stage that is mixed gives. */
static void add_weights(const struct brg_service *s, struct brg_msg_place *m) {
    const struct brg_pipeline *p = &s->line->machine;
    uint8_t have[BRG_PIPE_STAGES_MAX];
    struct brg_neighbours_mix mix;
    for (uint32_t t = 0; t < p->plan.stages; t++) have[t] = p->stages[t].rung == 0;
    const struct brg_neighbours_line line = {.stages = p->plan.stages,
                                             .have = have,
                                             .norm2 = s->line->norm2,
                                             .exponent = s->run->config.run.recovery.exponent};
    m->lr_raise = 1;
    for (uint32_t i = 0; i < m->source_count; i++) m->weights[i] = 1.0 / m->source_count;
    if (brg_neighbours_plan(&line, m->stage, &mix) != BRG_OK || mix.count != m->source_count)
        return;
    for (uint32_t i = 0; i < m->source_count; i++)
        for (uint32_t k = 0; k < mix.count; k++)
            if (mix.stage[k] == m->source_stages[i]) m->weights[i] = mix.weight[k];
}

static void add_sources(const struct brg_service *s, uint32_t member, struct brg_msg_place *m) {
    const struct brg_pipeline *p = &s->line->machine;
    const struct brg_pipe_member *of = &p->members[member];
    m->rung = of->source_rung;
    m->source_count = of->source_count;
    for (uint32_t i = 0; i < of->source_count; i++) {
        const struct brg_pipe_member *from = &p->members[of->sources[i]];
        const int is_mix = m->rung == BRG_RUNG_NEIGHBOURS;
        m->sources[i] = of->sources[i];
        m->source_stages[i] = is_mix && from->stage != BRG_NOBODY ? from->stage : m->stage;
    }
    if (m->rung == BRG_RUNG_SHADOW) m->source_version = p->stages[m->stage].shadow_version;
    if (m->rung == BRG_RUNG_PARITY) m->source_version = p->stages[m->stage].parity_version;
    if (m->rung == BRG_RUNG_NEIGHBOURS) add_weights(s, m);
}

/* What this member keeps for others. */
static void add_keeping(const struct brg_pipeline *p, uint32_t member, struct brg_msg_place *m) {
    const uint32_t size = p->plan.parity_group;
    const uint32_t groups = size > 0 ? (p->plan.stages + size - 1) / size : 0;
    for (uint32_t t = 0; t < p->plan.stages; t++) {
        if (p->stages[t].shadow_to != member || p->stages[t].count == 0) continue;
        m->shadow_stages[m->shadow_count] = t;
        m->shadow_members[m->shadow_count++] = p->stages[t].holders[0];
    }
    for (uint32_t g = 0; g < groups; g++) {
        if (p->stages[g].parity_to != member) continue;
        m->parity = 1 + g;
        for (uint32_t t = g; t < p->plan.stages; t += groups)
            if (p->stages[t].count > 0)
                m->parity_members[m->parity_count++] = p->stages[t].holders[0];
        return;
    }
}

static void send_place(struct brg_service *s, const struct brg_pipe_action *a) {
    const struct brg_pipeline *p = &s->line->machine;
    const struct brg_pipe_member *of = &p->members[a->member];
    if (a->generation != p->generation || of->stage == BRG_NOBODY) return;
    struct brg_msg *msg = brg_service_blank(s, BRG_MSG_PLACE);
    struct brg_msg_place *m = &msg->place;
    m->run = p->plan.run;
    m->generation = a->generation;
    m->version = a->version;
    m->commit_generation = a->commit_generation;
    m->lineage = a->lineage;
    m->clip = s->line->clip;
    m->stage = of->stage;
    m->lanes = of->lanes;
    add_sources(s, a->member, m);
    add_seats(p, m);
    add_peers(s, a->member, m->peers, &m->peer_count);
    add_keeping(p, a->member, m);
    send_to(s, a->member, msg);
}

/* Who may pass tensors through the coordinator: everybody that is on the line. */
static void place_relay(struct brg_service *s) {
    uint32_t members[BRG_RELAY_MEMBERS_MAX], count = 0;
    for (uint32_t i = 0; i < s->core.members.count && count < BRG_RELAY_MEMBERS_MAX; i++)
        if (s->line->members[i].session != 0) members[count++] = i;
    (void)!brg_relay_place(s->line->relay, s->run->config.id, members, count);
}

/* ---- steps ---- */

static uint32_t eval_count(const struct brg_service *s, uint64_t samples) {
    const struct brg_run_config *c = &s->run->config.run;
    const uint64_t held = s->run->sampler.held_samples;
    const uint64_t each = c->batch.microbatch > 0 ? c->batch.microbatch : 1;
    const uint64_t wanted = (samples < held ? samples : held) / each;
    return wanted > BRG_LINE_EVAL_MAX ? BRG_LINE_EVAL_MAX : (uint32_t)wanted;
}

/* A look at held-out samples before the next step, where it is due. */
static struct brg_msg_eval eval_after(struct brg_service *s, uint64_t step) {
    const struct brg_run_config *c = &s->run->config.run;
    struct brg_msg_eval none = {.id = 0};
    if (c->eval.every_steps == 0 || step % c->eval.every_steps != 0 || step >= c->steps)
        return none;
    const uint32_t count = eval_count(s, c->eval.samples);
    if (count == 0) return none;
    s->line->eval_step = step;
    return (struct brg_msg_eval){.id = 1 + step, .count = count, .candidates = 1};
}

static void send_start(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_line *line = s->line;
    if (a->generation != line->machine.generation) return;
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_START);
    m->start.run = line->machine.plan.run;
    m->start.generation = a->generation;
    m->start.step = a->step;
    if (line->probe_generation == a->generation && s->run->config.run.recovery.probe) {
        const uint32_t count =
            eval_count(s, (uint64_t)EVAL_PROBE * s->run->config.run.batch.microbatch);
        if (count > 0)
            m->start.eval = (struct brg_msg_eval){
                .id = BRG_LINE_PROBE | a->generation, .count = count, .candidates = 1};
    }
    send_to(s, a->member, m);
}

static void send_commit(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_STEP_COMMIT);
    m->step_commit.run = m->step_commit.proof.run = s->line->machine.plan.run;
    m->step_commit.step = m->step_commit.proof.step = a->step;
    m->step_commit.proof.chain = s->chain; /* without a mark: a rollback may take it back */
    m->step_commit.generation = a->generation;
    m->step_commit.clip = s->line->clip;
    m->step_commit.eval = eval_after(s, a->step);
    send_to(s, a->member, m);
}

static void send_unseat(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_UNSEAT);
    m->unseat.run = s->line->machine.plan.run;
    m->unseat.generation = a->generation;
    m->unseat.version = a->version;
    m->unseat.commit_generation = a->commit_generation;
    m->unseat.clip = s->line->clip;
    add_peers(s, a->member, m->unseat.peers, &m->unseat.peer_count);
    send_to(s, a->member, m);
}

/* Both sides of a hand-over hear of each other. */
static void send_learn(struct brg_service *s, const struct brg_pipe_action *a) {
    for (uint32_t teach = 0; teach < 2; teach++) {
        struct brg_msg *m = brg_service_blank(s, BRG_MSG_LEARN);
        m->learn.run = s->line->machine.plan.run;
        m->learn.generation = s->line->machine.generation;
        m->learn.lineage = a->lineage;
        m->learn.stage = a->stage;
        m->learn.teach = teach;
        describe_peer(s, teach ? a->member : a->source, &m->learn.source);
        send_to(s, teach ? a->source : a->member, m);
    }
}

void brg_line_send(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_msg *m = NULL;
    switch (a->type) {
    case BRG_PACT_SEND_PLACE:
        place_relay(s);
        send_place(s, a);
        break;
    case BRG_PACT_SEND_START: send_start(s, a); break;
    case BRG_PACT_SEND_COMMIT: send_commit(s, a); break;
    case BRG_PACT_SEND_UNSEAT: send_unseat(s, a); break;
    case BRG_PACT_SEND_LEARN:
        place_relay(s);
        send_learn(s, a);
        break;
    case BRG_PACT_SEND_RELAY:
        m = brg_service_blank(s, BRG_MSG_RELAY_TO);
        m->relay_to.run = s->line->machine.plan.run;
        m->relay_to.peer = a->source;
        send_to(s, a->member, m);
        break;
    default: break; /* an action of a later version of the machine */
    }
}
