#include "coordinator/core/pipeline_private.h"

#include <string.h>

void brg_pipe_act(struct brg_pipe_actions *out, struct brg_pipe_action action) {
    BRG_ASSERT(out->count < BRG_PIPE_ACTIONS_MAX);
    out->items[out->count++] = action;
}

void brg_pipe_note(struct brg_pipe_actions *out, struct brg_pipe_action action) {
    action.type = BRG_PACT_NOTE;
    brg_pipe_act(out, action);
}

int brg_pipe_is_exact(const struct brg_pipeline *p, uint32_t member, uint32_t stage) {
    const struct brg_pipe_member *m = &p->members[member];
    if (!m->here || m->held != stage || m->lineage != p->stages[stage].lineage) return 0;
    if (m->version == p->committed) return 1;
    return m->version + 1 == p->committed && m->pending_step == p->committed &&
           m->pending_generation == p->committed_generation;
}

static void wake_by(struct brg_pipeline *p) {
    p->forget_ns = p->now_ns + p->plan.hold_ns;
}

void brg_pipe_mark(struct brg_pipeline *p, uint32_t member) {
    p->members[member].hold_ns = p->now_ns + p->plan.hold_ns;
    wake_by(p);
}

int brg_pipeline_plan_check(const struct brg_pipe_plan *plan) {
    if (plan->steps == 0 || plan->retry_ns == 0 || plan->hold_ns == 0 || plan->learn_ns == 0)
        return BRG_EINVAL;
    if (plan->stages == 0 || plan->stages > BRG_PIPE_STAGES_MAX) return BRG_EINVAL;
    if (plan->lanes == 0 || plan->lanes > BRG_PIPE_LANES_MAX) return BRG_EINVAL;
    if (plan->microbatches < plan->lanes) return BRG_EINVAL;
    return brg_ladder_check(&plan->ladder);
}

void brg_pipeline_init(struct brg_pipeline *p, const struct brg_pipe_plan *plan) {
    BRG_ASSERT(brg_pipeline_plan_check(plan) == BRG_OK);
    memset(p, 0, sizeof *p);
    p->plan = *plan;
    p->again_ns = p->forget_ns = UINT64_MAX;
    p->learner = BRG_NOBODY;
    for (uint32_t s = 0; s < BRG_PIPE_STAGES_MAX; s++)
        p->stages[s].shadow_member = p->stages[s].shadow_to = p->stages[s].parity_member =
            p->stages[s].parity_to = BRG_NOBODY;
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++)
        p->members[i].held = p->members[i].stage = BRG_NOBODY;
}

void brg_pipeline_restore(struct brg_pipeline *p, uint32_t stage, uint64_t lineage, int was_held) {
    BRG_ASSERT(p->phase == BRG_PIPE_IDLE);
    BRG_ASSERT(stage < p->plan.stages);
    p->stages[stage].lineage = lineage;
    p->stages[stage].stored = was_held != 0;
}

static void on_open(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                    struct brg_pipe_actions *out) {
    BRG_ASSERT(p->phase == BRG_PIPE_IDLE);
    BRG_ASSERT(ev->checkpoint <= ev->step);
    p->epoch = ev->epoch;
    p->generation = ev->generation;
    p->committed = ev->step;
    p->committed_generation = ev->commit_generation;
    p->checkpoint = ev->checkpoint;
    p->checkpoint_generation = ev->checkpoint_generation;
    p->rolled = ev->rolled;
    p->grace_until_ns = ev->now_ns + p->plan.grace_ns;
    /* Files of the last step may still be missing: its holders have to come back for them. */
    const int has_files = p->checkpoint == p->committed || p->plan.checkpoint_every == 0;
    p->phase = BRG_PIPE_WAITING;
    p->again_ns = p->now_ns + p->plan.retry_ns;
    if (p->committed >= p->plan.steps && has_files) brg_pipe_finish(p, out);
}

static void on_joined(struct brg_pipeline *p, const struct brg_pipe_event *ev) {
    struct brg_pipe_member *m = &p->members[ev->member];
    m->here = m->reported = 1;
    m->draining = m->acked = m->bad_source = 0;
    m->memory_bytes = ev->memory_bytes;
    if (ev->microbatch_ns > 0) m->microbatch_ns = ev->microbatch_ns;
    m->held = ev->stage < p->plan.stages ? ev->stage : BRG_NOBODY;
    m->lineage = ev->lineage;
    m->version = ev->version;
    m->pending_step = ev->step;
    m->pending_generation = ev->commit_generation;
    if (ev->member == p->learner) p->learner = BRG_NOBODY;
    p->look = 1;
    if (p->phase == BRG_PIPE_WAITING) p->dirty = 1;
    if (m->stage != BRG_NOBODY) {
        /* A process that lost its state lost what it said, too. One that fetches starts anew. */
        const int exact = brg_pipe_is_exact(p, ev->member, m->stage);
        const int going = p->phase == BRG_PIPE_STEPPING || p->phase == BRG_PIPE_SAVING;
        if (!exact && going) p->dirty = 1;
        if (!exact && p->phase == BRG_PIPE_PLACING && m->source_rung == 0) p->dirty = 1;
        if (!exact && p->phase == BRG_PIPE_PLACING && m->placed) p->dirty = 1;
        return;
    }
    if (m->held == BRG_NOBODY || !brg_pipe_is_exact(p, ev->member, m->held)) return;
    const struct brg_pipe_stage *s = &p->stages[m->held];
    /* What it has is of use now, and after the next commit no more. */
    if (p->phase == BRG_PIPE_PLACING && s->rung != 0) p->dirty = 1;
    if (p->phase == BRG_PIPE_STEPPING && s->count < p->plan.lanes) p->dirty = 1;
}

static void on_gone(struct brg_pipeline *p, uint32_t member) {
    struct brg_pipe_member *m = &p->members[member];
    if (!m->here) return;
    m->here = 0;
    m->held = BRG_NOBODY;
    if (member == p->learner || member == p->learned_of) p->learner = BRG_NOBODY;
    p->look = 1;
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        struct brg_pipe_stage *stage = &p->stages[s];
        if (stage->shadow_member == member) {
            stage->shadow_member = BRG_NOBODY;
            stage->shadow_version = 0;
        }
        if (stage->parity_member == member) {
            stage->parity_member = BRG_NOBODY;
            stage->parity_version = 0;
        }
    }
    if (m->stage != BRG_NOBODY || p->phase == BRG_PIPE_PLACING) p->dirty = 1;
}

static void on_draining(struct brg_pipeline *p, uint32_t member, struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[member];
    if (m->draining && !m->acked) return;
    if (!m->here || m->acked) { /* it holds nothing; or the word was lost */
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_MAY_GO, .member = member});
        return;
    }
    m->draining = 1;
    p->look = 1;
    if (member == p->learner) p->learner = BRG_NOBODY;
    if (m->stage == BRG_NOBODY || p->phase == BRG_PIPE_FINISHED) {
        if (p->phase == BRG_PIPE_PLACING || p->phase == BRG_PIPE_WAITING) return; /* a source yet */
        m->acked = 1;
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_MAY_GO, .member = member});
        return;
    }
    if (p->stages[m->stage].count > 1) p->dirty = 1; /* its siblings cover its lanes at once */
}

/* 1 where the message is of this generation and from a holder. */
static int is_current(const struct brg_pipeline *p, const struct brg_pipe_event *ev) {
    return ev->epoch == p->epoch && ev->generation == p->generation &&
           p->members[ev->member].here && p->members[ev->member].stage != BRG_NOBODY;
}

static void on_placed(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                      struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[ev->member];
    if (!is_current(p, ev)) return;
    if (p->phase == BRG_PIPE_STEPPING && m->placed) {
        /* START was lost. */
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_START,
                                                   .member = ev->member,
                                                   .generation = p->generation,
                                                   .step = p->committed + 1});
    }
    if (p->phase != BRG_PIPE_PLACING) return;
    m->placed = 1;
    m->digest = ev->digest;
    brg_pipe_start(p, out);
}

static int on_ready(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                    struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[ev->member];
    if (ev->epoch != p->epoch || !m->here || m->stage == BRG_NOBODY) return BRG_OK;
    const int known = p->phase == BRG_PIPE_STEPPING || p->phase == BRG_PIPE_SAVING ||
                      p->phase == BRG_PIPE_FINISHED;
    if (known && ev->step == p->committed && ev->generation == p->committed_generation) {
        /* COMMIT was lost. */
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_COMMIT,
                                                   .member = ev->member,
                                                   .generation = p->committed_generation,
                                                   .step = p->committed});
        return BRG_OK;
    }
    if (p->phase != BRG_PIPE_STEPPING || ev->generation != p->generation) return BRG_OK;
    if (ev->step > p->committed + 1) return BRG_EPROTO;
    if (ev->step <= p->committed) return BRG_OK;
    m->ready = 1;
    m->digest = ev->digest;
    m->pending_step = ev->step;
    m->pending_generation = ev->generation;
    brg_pipe_commit_if_ready(p, out);
    return BRG_OK;
}

int brg_pipe_relay(struct brg_pipeline *p, uint32_t member, uint32_t peer,
                   struct brg_pipe_actions *out) {
    uint32_t i = 0;
    if (!p->plan.relay) return 0;
    while (i < p->relay_count && (p->relays[i].a != member || p->relays[i].b != peer)) i++;
    if (i == BRG_PIPE_RELAYS_MAX) return 0;
    const int is_new = i == p->relay_count;
    if (is_new) p->relays[p->relay_count++] = (struct brg_pipe_relay){member, peer};
    brg_pipe_act(out, (struct brg_pipe_action){
                          .type = BRG_PACT_SEND_RELAY, .member = member, .source = peer});
    return is_new;
}

/* 1 where somebody can take over: a sibling that has the state, or a spare. */
static int is_replaceable(const struct brg_pipeline *p, uint32_t member) {
    const uint32_t stage = p->members[member].stage;
    for (uint32_t i = 0; i < p->stages[stage].count; i++) {
        const uint32_t h = p->stages[stage].holders[i];
        if (h != member && brg_pipe_is_exact(p, h, stage)) return 1;
    }
    return brg_pipe_best(p, stage) != BRG_NOBODY;
}

static void on_lost_peer(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                         struct brg_pipe_actions *out) {
    if (!is_current(p, ev) || p->phase != BRG_PIPE_STEPPING) return;
    if (ev->peer >= BRG_MEMBERS_MAX || ev->peer == ev->member) return;
    if (p->members[ev->peer].stage == BRG_NOBODY || !p->members[ev->peer].here) return;
    if (brg_pipe_relay(p, ev->member, ev->peer, out)) return;
    struct brg_pipe_member *one = &p->members[ev->member], *other = &p->members[ev->peer];
    one->complaints++;
    other->complaints++;
    uint32_t victim = one->complaints > other->complaints ? ev->member : ev->peer;
    if (!is_replaceable(p, victim)) victim = victim == ev->peer ? ev->member : ev->peer;
    if (!is_replaceable(p, victim)) return; /* they go on asking each other */
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_CUT_OFF,
                                                .member = victim,
                                                .stage = p->members[victim].stage});
    brg_pipe_unseat(p, victim, out);
    brg_pipe_mark(p, victim);
    p->dirty = 1;
}

static void on_fetch_failed(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                            struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[ev->member];
    if (ev->epoch == p->epoch && ev->member == p->learner && p->phase == BRG_PIPE_STEPPING) {
        p->learner = BRG_NOBODY;
        brg_pipe_mark(p, ev->member);
        (void)brg_pipe_relay(p, ev->member, p->learned_of, out);
        return;
    }
    if (!is_current(p, ev) || p->phase != BRG_PIPE_PLACING || m->placed) return;
    p->dirty = 1;
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_FETCH_FAILED,
                                                .member = ev->member,
                                                .stage = m->stage,
                                                .rung = m->source_rung});
    if (m->source_rung == 0) { /* it has not what we thought */
        m->held = BRG_NOBODY;
        return;
    }
    int relayed = 0;
    for (uint32_t i = 0; i < m->source_count; i++)
        relayed |= brg_pipe_relay(p, ev->member, m->sources[i], out);
    if (relayed) return; /* the same again, by another way */
    wake_by(p);
    if (m->source_rung == BRG_RUNG_REPLICA) {
        for (uint32_t i = 0; i < m->source_count; i++) p->members[m->sources[i]].bad_source = 1;
    } else {
        p->stages[m->stage].failed |= 1u << m->source_rung;
    }
}

static void on_kept(struct brg_pipeline *p, const struct brg_pipe_event *ev) {
    const int parity = ev->type == BRG_PEV_PARITY_AT;
    if (!p->members[ev->member].here || ev->version > p->committed) return;
    if (ev->lineage < p->rolled) return; /* of steps that were undone */
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        struct brg_pipe_stage *stage = &p->stages[s];
        if (parity) {
            const uint32_t size = p->plan.parity_group;
            const uint32_t groups = (p->plan.stages + size - 1) / size;
            if (s % groups != ev->stage || ev->version < stage->parity_version) continue;
            stage->parity_member = ev->member;
            stage->parity_version = ev->version;
        } else if (s == ev->stage && ev->version >= stage->shadow_version) {
            stage->shadow_member = ev->member;
            stage->shadow_version = ev->version;
        }
    }
}

static void on_checkpointed(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                            struct brg_pipe_actions *out) {
    if (ev->generation < p->rolled || ev->step <= p->checkpoint || ev->step > p->committed) return;
    p->checkpoint = ev->step;
    p->checkpoint_generation = ev->generation;
    brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_PERSIST_CHECKPOINT,
                                               .step = ev->step,
                                               .generation = ev->generation});
    if (p->phase == BRG_PIPE_SAVING && p->checkpoint == p->committed) brg_pipe_finish(p, out);
}

static void on_tick(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    if (p->phase == BRG_PIPE_WAITING && p->now_ns >= p->again_ns) p->dirty = 1;
    if (p->now_ns >= p->forget_ns) {
        p->forget_ns = UINT64_MAX;
        p->look = 1;
        for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) p->members[i].bad_source = 0;
        for (uint32_t s = 0; s < p->plan.stages; s++) p->stages[s].failed = 0;
    }
    if (p->learner != BRG_NOBODY && p->now_ns >= p->learn_until_ns) {
        brg_pipe_mark(p, p->learner);
        p->learner = BRG_NOBODY;
        p->look = 1;
    }
    if (p->phase == BRG_PIPE_SAVING && p->now_ns >= p->again_ns) brg_pipe_save(p, out);
    if (p->phase != BRG_PIPE_PLACING || p->now_ns < p->again_ns) return;
    p->again_ns = p->now_ns + p->plan.retry_ns;
    for (uint32_t s = 0; s < p->plan.stages; s++)
        for (uint32_t i = 0; i < p->stages[s].count; i++)
            if (!p->members[p->stages[s].holders[i]].placed)
                brg_pipe_send_place(p, p->stages[s].holders[i], out);
}

/* When something is due next; a timer that is early does no harm. */
static void arm(const struct brg_pipeline *p, struct brg_pipe_actions *out) {
    uint64_t at_ns = p->again_ns < p->forget_ns ? p->again_ns : p->forget_ns;
    if (p->learner != BRG_NOBODY && p->learn_until_ns < at_ns) at_ns = p->learn_until_ns;
    if (at_ns == UINT64_MAX) return;
    brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_ARM, .at_ns = at_ns});
}

/* 1 where the event may be looked at. */
static int is_valid(const struct brg_pipeline *p, const struct brg_pipe_event *ev) {
    switch (ev->type) {
    case BRG_PEV_OPEN:
    case BRG_PEV_TICK:
    case BRG_PEV_PAUSE:
    case BRG_PEV_CHECKPOINTED: return 1;
    case BRG_PEV_SHADOW_AT:
    case BRG_PEV_LEARNED: return ev->member < BRG_MEMBERS_MAX && ev->stage < p->plan.stages;
    case BRG_PEV_PARITY_AT: return ev->member < BRG_MEMBERS_MAX && p->plan.parity_group > 0;
    default: return ev->member < BRG_MEMBERS_MAX;
    }
}

int brg_pipeline_step(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                      struct brg_pipe_actions *out) {
    int rc = BRG_OK;
    BRG_ASSERT(ev->now_ns >= p->now_ns);
    BRG_ASSERT(p->phase != BRG_PIPE_IDLE || ev->type == BRG_PEV_OPEN);
    out->count = 0;
    if (!is_valid(p, ev)) return BRG_EPROTO;
    p->now_ns = ev->now_ns;
    p->dirty = p->look = 0;
    switch (ev->type) {
    case BRG_PEV_OPEN: on_open(p, ev, out); break;
    case BRG_PEV_TICK: on_tick(p, out); break;
    case BRG_PEV_JOINED: on_joined(p, ev); break;
    case BRG_PEV_GONE: on_gone(p, ev->member); break;
    case BRG_PEV_DRAINING: on_draining(p, ev->member, out); break;
    case BRG_PEV_PLACED: on_placed(p, ev, out); break;
    case BRG_PEV_READY: rc = on_ready(p, ev, out); break;
    case BRG_PEV_LOST_PEER: on_lost_peer(p, ev, out); break;
    case BRG_PEV_FETCH_FAILED: on_fetch_failed(p, ev, out); break;
    case BRG_PEV_LEARNED:
        if (ev->epoch == p->epoch) brg_pipe_learned(p, ev, out);
        break;
    case BRG_PEV_SHADOW_AT:
    case BRG_PEV_PARITY_AT: on_kept(p, ev); break;
    case BRG_PEV_CHECKPOINTED: on_checkpointed(p, ev, out); break;
    case BRG_PEV_SPEED: p->members[ev->member].microbatch_ns = ev->microbatch_ns; break;
    case BRG_PEV_PAUSE: p->pausing = 1; break;
    default: BRG_ASSERT(0 && "an event that does not exist");
    }
    if (rc != BRG_OK) return rc;
    if (p->dirty && p->phase != BRG_PIPE_FINISHED) brg_pipe_place(p, out);
    /* Nobody is there to write files: what the members that are away hold may yet be of use. */
    if (p->pausing && p->phase == BRG_PIPE_WAITING) brg_pipe_finish(p, out);
    if (p->look && p->phase == BRG_PIPE_STEPPING) brg_pipe_handover(p, out);
    if (p->phase != BRG_PIPE_FINISHED) arm(p, out);
    return BRG_OK;
}

/* 1 where every lane has its holder. */
static int is_seated(const struct brg_pipeline *p) {
    return p->phase == BRG_PIPE_PLACING || p->phase == BRG_PIPE_STEPPING ||
           p->phase == BRG_PIPE_SAVING;
}

static void check_stage(const struct brg_pipeline *p, uint32_t stage) {
    const struct brg_pipe_stage *s = &p->stages[stage];
    uint32_t lanes = 0;
    BRG_ASSERT(s->count <= p->plan.lanes);
    BRG_ASSERT(s->lineage <= p->generation);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct brg_pipe_member *m = &p->members[s->holders[i]];
        BRG_ASSERT(m->stage == stage);
        if (!is_seated(p)) continue;
        BRG_ASSERT(m->here);
        BRG_ASSERT((lanes & m->lanes) == 0); /* nothing is counted twice ... */
        lanes |= m->lanes;
        if (p->phase == BRG_PIPE_PLACING) continue;
        BRG_ASSERT(brg_pipe_is_exact(p, s->holders[i], stage)); /* versions are equal */
    }
    if (!is_seated(p)) return;
    BRG_ASSERT(s->count > 0);
    BRG_ASSERT(lanes == (1u << p->plan.lanes) - 1); /* ... or dropped */
}

void brg_pipeline_check(const struct brg_pipeline *p) {
    uint32_t seats = 0, members = 0;
    if (p->phase == BRG_PIPE_IDLE) return;
    BRG_ASSERT(p->committed <= p->plan.steps);
    BRG_ASSERT(p->checkpoint <= p->committed);
    BRG_ASSERT(p->committed_generation <= p->generation);
    BRG_ASSERT(p->rolled <= p->generation);
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        seats += p->stages[s].count;
        check_stage(p, s);
    }
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) members += p->members[i].stage != BRG_NOBODY;
    BRG_ASSERT(seats == members);
}
