/* commit.c - from PLACED of all to START, from READY of all to the commit. */
#include "coordinator/core/pipeline_private.h"

#define SAVE_AGAIN 5u /* CHECKPOINT is said again after so many times retry_ns */

static void differ(struct brg_pipeline *p, uint32_t older, uint32_t newer,
                   struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[newer];
    BRG_ASSERT(older != newer);
    m->held = BRG_NOBODY;
    p->dirty = 1;
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_DIGESTS_DIFFER,
                                                .member = newer,
                                                .source = older,
                                                .stage = m->stage});
}

int brg_pipe_same_digests(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    int same = 1;
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        const struct brg_pipe_stage *stage = &p->stages[s];
        uint32_t oldest = stage->holders[0];
        for (uint32_t i = 1; i < stage->count; i++)
            if (p->members[stage->holders[i]].since < p->members[oldest].since)
                oldest = stage->holders[i];
        for (uint32_t i = 0; i < stage->count; i++) {
            const uint32_t h = stage->holders[i];
            if (brg_digest_equal(&p->members[h].digest, &p->members[oldest].digest)) continue;
            differ(p, oldest, h, out);
            same = 0;
        }
    }
    return same;
}

static int all_holders(const struct brg_pipeline *p, int ready) {
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        for (uint32_t i = 0; i < p->stages[s].count; i++) {
            const struct brg_pipe_member *m = &p->members[p->stages[s].holders[i]];
            if (ready ? !m->ready : !m->placed) return 0;
        }
    }
    return 1;
}

static int is_cut(uint32_t rung) {
    return rung == BRG_RUNG_SHADOW || rung == BRG_RUNG_PARITY || rung == BRG_RUNG_NEIGHBOURS ||
           rung == BRG_RUNG_RANDOM;
}

/* `start`: what to say to each holder; type 0: nothing, since no step follows. */
static void start_stage(struct brg_pipeline *p, uint32_t stage, struct brg_pipe_action start,
                        struct brg_pipe_actions *out) {
    struct brg_pipe_stage *s = &p->stages[stage];
    if (is_cut(s->rung)) s->lineage = p->generation;
    for (uint32_t i = 0; i < s->count; i++) {
        struct brg_pipe_member *m = &p->members[s->holders[i]];
        m->held = stage;
        m->lineage = s->lineage;
        m->version = p->committed;
        m->pending_step = m->pending_generation = 0;
        m->source_rung = m->source_count = m->ready = 0;
        start.member = s->holders[i];
        if (start.type != 0) brg_pipe_act(out, start);
    }
    if (s->rung == 0) return;
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_RECOVERED,
                                                .member = s->holders[0],
                                                .stage = stage,
                                                .rung = s->rung,
                                                .step = s->staleness});
    s->rung = 0;
}

/* What every holder is told; of the first stage that came back otherwise than it was. */
static struct brg_pipe_action start_of(const struct brg_pipeline *p) {
    struct brg_pipe_action a = {.type = BRG_PACT_SEND_START,
                                .generation = p->generation,
                                .step = p->committed + 1,
                                .stage = BRG_NOBODY};
    for (uint32_t s = p->plan.stages; s-- > 0;) {
        if (!is_cut(p->stages[s].rung)) continue;
        a.stage = s;
        a.rung = p->stages[s].rung;
    }
    return a;
}

void brg_pipe_start(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    BRG_ASSERT(p->phase == BRG_PIPE_PLACING);
    if (!all_holders(p, 0) || !brg_pipe_same_digests(p, out)) return;
    const int saves = p->pausing || p->committed == p->plan.steps;
    struct brg_pipe_action start = start_of(p);
    if (saves) start.type = 0;
    p->phase = saves ? BRG_PIPE_SAVING : BRG_PIPE_STEPPING;
    p->again_ns = UINT64_MAX;
    p->grace_until_ns =
        p->now_ns; /* all have been here: who goes now is lost, and not yet to come */
    p->look = 1;
    brg_pipe_act(
        out, (struct brg_pipe_action){.type = BRG_PACT_PERSIST_PLACE, .generation = p->generation});
    for (uint32_t i = 0; i < p->relay_count; i++) {
        const struct brg_pipe_relay *r = &p->relays[i];
        if (p->members[r->a].stage == BRG_NOBODY) continue;
        brg_pipe_act(out, (struct brg_pipe_action){
                              .type = BRG_PACT_SEND_RELAY, .member = r->a, .source = r->b});
    }
    for (uint32_t s = 0; s < p->plan.stages; s++) start_stage(p, s, start, out);
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_PLACED});
    if (saves) brg_pipe_save(p, out);
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
        struct brg_pipe_member *m = &p->members[i];
        if (!m->here || !m->draining || m->acked || m->stage != BRG_NOBODY) continue;
        m->acked = 1;
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_MAY_GO, .member = i});
    }
}

/* A whole step is behind us: sources and rungs that failed get another chance. */
static void forgive(struct brg_pipeline *p) {
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++)
        p->members[i].bad_source = p->members[i].complaints = 0;
    for (uint32_t s = 0; s < p->plan.stages; s++) p->stages[s].failed = 0;
}

void brg_pipe_commit_if_ready(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    BRG_ASSERT(p->phase == BRG_PIPE_STEPPING);
    if (!all_holders(p, 1) || !brg_pipe_same_digests(p, out)) return;
    BRG_ASSERT(p->committed < p->plan.steps);
    p->committed++;
    p->committed_generation = p->generation;
    p->look = 1;
    forgive(p);
    const struct brg_pipe_action commit = {
        .type = BRG_PACT_SEND_COMMIT, .generation = p->generation, .step = p->committed};
    struct brg_pipe_action record = commit;
    record.type = BRG_PACT_PERSIST_COMMIT;
    brg_pipe_act(out, record);
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        for (uint32_t i = 0; i < p->stages[s].count; i++) {
            struct brg_pipe_action a = commit;
            a.member = p->stages[s].holders[i];
            p->members[a.member].version = p->committed;
            p->members[a.member].ready = 0;
            brg_pipe_act(out, a);
        }
    }
    if (p->learner != BRG_NOBODY) {
        struct brg_pipe_action a = commit;
        a.member = p->learner;
        brg_pipe_act(out, a);
    }
    const uint64_t every = p->plan.checkpoint_every;
    const int last = p->committed == p->plan.steps;
    if (last && every == 0)
        brg_pipe_finish(p, out); /* none of its steps has files */
    else if (last || p->pausing)
        brg_pipe_save(p, out);
    else if (every > 0 && p->committed % every == 0)
        brg_pipe_say_checkpoint(p, out);
}

void brg_pipe_say_checkpoint(const struct brg_pipeline *p, struct brg_pipe_actions *out) {
    brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_CHECKPOINT,
                                               .generation = p->generation,
                                               .step = p->committed});
}

void brg_pipe_save(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    if (p->checkpoint == p->committed) {
        brg_pipe_finish(p, out);
        return;
    }
    p->phase = BRG_PIPE_SAVING;
    p->learner = BRG_NOBODY;
    p->again_ns = p->now_ns + SAVE_AGAIN * p->plan.retry_ns;
    brg_pipe_say_checkpoint(p, out);
}

void brg_pipe_finish(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    const int last = p->committed == p->plan.steps;
    p->phase = BRG_PIPE_FINISHED;
    brg_pipe_note(out,
                  (struct brg_pipe_action){.note = last ? BRG_PNOTE_FINISHED : BRG_PNOTE_PAUSED,
                                           .step = p->committed});
}
