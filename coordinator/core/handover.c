/* handover.c - a spare downloads a stage while the line goes on, and takes a seat when it follows.
 *
 *   spare --LEARN(stage, source)--> learner --LEARNED--> PLACE of a new generation: it sits there
 *                                      '-- gives up, or its time is over
 *
 * A learner says LEARNED for each version it reaches. Only that of the last commit counts: so it
 * has all it needs when it takes the seat, and nobody waits for its download.
 *
 * One learner at a time. Wanted, in this order: for a holder that drains; for a stage with fewer
 * holders than lanes; for the slowest holder, by a spare that is swap_percent faster. */
#include "coordinator/core/pipeline_private.h"

static uint32_t source_of(const struct brg_pipeline *p, uint32_t stage) {
    for (uint32_t i = 0; i < p->stages[stage].count; i++) {
        const uint32_t h = p->stages[stage].holders[i];
        if (brg_pipe_is_exact(p, h, stage) && !p->members[h].bad_source) return h;
    }
    return BRG_NOBODY;
}

static int teach(struct brg_pipeline *p, uint32_t stage, uint32_t replaces, uint32_t learner,
                 struct brg_pipe_actions *out) {
    const uint32_t source = source_of(p, stage);
    if (learner == BRG_NOBODY || source == BRG_NOBODY) return 0;
    p->learner = learner;
    p->learns = stage;
    p->replaces = replaces;
    p->learned_of = source;
    p->learn_until_ns = p->now_ns + p->plan.learn_ns;
    brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_LEARN,
                                               .member = learner,
                                               .stage = stage,
                                               .source = source,
                                               .generation = p->generation,
                                               .version = p->committed,
                                               .lineage = p->stages[stage].lineage});
    return 1;
}

static int for_drains(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        for (uint32_t i = 0; i < p->stages[s].count; i++) {
            const uint32_t h = p->stages[s].holders[i];
            if (p->members[h].draining && teach(p, s, h, brg_pipe_best(p, s), out)) return 1;
        }
    }
    return 0;
}

/* The stage with fewest holders gets one more, so that one loss costs none its last. */
static int for_replicas(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    for (uint32_t want = 1; want < p->plan.lanes; want++)
        for (uint32_t s = 0; s < p->plan.stages; s++)
            if (p->stages[s].count == want && teach(p, s, BRG_NOBODY, brg_pipe_best(p, s), out))
                return 1;
    return 0;
}

static void for_speed(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    uint32_t slow = BRG_NOBODY;
    if (p->plan.swap_percent == 0) return;
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
        const struct brg_pipe_member *m = &p->members[i];
        if (m->stage == BRG_NOBODY || m->microbatch_ns == 0) continue;
        if (slow == BRG_NOBODY || m->microbatch_ns > p->members[slow].microbatch_ns) slow = i;
    }
    if (slow == BRG_NOBODY) return;
    const uint32_t stage = p->members[slow].stage, best = brg_pipe_best(p, stage);
    if (best == BRG_NOBODY || p->members[best].microbatch_ns == 0) return;
    /* Hysteresis: who changes places for a little gets nothing but downloads. */
    if (p->members[slow].microbatch_ns / 100 * 100 >
        p->members[best].microbatch_ns / 100 * (100 + p->plan.swap_percent))
        (void)teach(p, stage, slow, best, out);
}

void brg_pipe_handover(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    if (p->phase != BRG_PIPE_STEPPING || p->learner != BRG_NOBODY) return;
    if (for_drains(p, out) || for_replicas(p, out)) return;
    for_speed(p, out);
}

void brg_pipe_learned(struct brg_pipeline *p, const struct brg_pipe_event *ev,
                      struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[ev->member];
    if (p->phase != BRG_PIPE_STEPPING || ev->member != p->learner || ev->stage != p->learns) return;
    if (ev->version != p->committed || ev->lineage != p->stages[ev->stage].lineage) return;
    const uint32_t replaces = p->replaces, stage = p->learns;
    p->learner = BRG_NOBODY;
    m->held = stage;
    m->lineage = ev->lineage;
    m->version = ev->version;
    m->pending_step = m->pending_generation = 0;
    if (replaces != BRG_NOBODY && p->members[replaces].stage == stage) {
        brg_pipe_unseat(p, replaces, out);
        p->members[replaces].hold_ns = p->now_ns + p->plan.hold_ns;
    } else if (p->stages[stage].count >= p->plan.lanes) {
        return;
    }
    brg_pipe_seat(p, ev->member, stage);
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_HANDED_OVER,
                                                .member = ev->member,
                                                .source = replaces,
                                                .stage = stage});
    p->dirty = 1;
}
