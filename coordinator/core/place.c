/* place.c - who sits where, and what a new generation is told. */
#include "coordinator/core/pipeline_private.h"

#include "recovery/parity.h"

#include <string.h>

void brg_pipe_seat(struct brg_pipeline *p, uint32_t member, uint32_t stage) {
    struct brg_pipe_stage *s = &p->stages[stage];
    BRG_ASSERT(s->count < BRG_PIPE_LANES_MAX);
    BRG_ASSERT(p->members[member].stage == BRG_NOBODY);
    s->holders[s->count++] = member;
    p->members[member].stage = stage;
    p->members[member].since = p->generation + 1;
}

void brg_pipe_unseat(struct brg_pipeline *p, uint32_t member, struct brg_pipe_actions *out) {
    struct brg_pipe_member *m = &p->members[member];
    BRG_ASSERT(m->stage != BRG_NOBODY);
    struct brg_pipe_stage *s = &p->stages[m->stage];
    uint32_t at = 0;
    while (at < s->count && s->holders[at] != member) at++;
    BRG_ASSERT(at < s->count);
    for (; at + 1 < s->count; at++) s->holders[at] = s->holders[at + 1];
    s->count--;
    m->stage = BRG_NOBODY;
    m->lanes = m->placed = m->ready = 0;
    m->since = 0;
    m->source_rung = m->source_count = 0;
    if (m->here)
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_UNSEAT,
                                                   .member = member,
                                                   .generation = p->generation,
                                                   .version = p->committed,
                                                   .commit_generation = p->committed_generation});
}

int brg_pipe_may_sit(const struct brg_pipeline *p, uint32_t member, uint32_t stage) {
    const struct brg_pipe_member *m = &p->members[member];
    return m->here && !m->draining && m->stage == BRG_NOBODY && p->now_ns >= m->hold_ns &&
           m->memory_bytes >= p->plan.stage_bytes[stage];
}

/* Who has the state needs no download, who has the shadow none for a loss; then speed counts. */
static int is_better(const struct brg_pipeline *p, uint32_t stage, uint32_t a, uint32_t b) {
    const int exact_a = brg_pipe_is_exact(p, a, stage), exact_b = brg_pipe_is_exact(p, b, stage);
    if (exact_a != exact_b) return exact_a;
    const uint32_t shadow = p->stages[stage].shadow_member;
    if (shadow == a || shadow == b) return shadow == a;
    const uint64_t ns_a = p->members[a].microbatch_ns, ns_b = p->members[b].microbatch_ns;
    return (ns_a == 0 ? UINT64_MAX : ns_a) < (ns_b == 0 ? UINT64_MAX : ns_b);
}

uint32_t brg_pipe_best(const struct brg_pipeline *p, uint32_t stage) {
    uint32_t best = BRG_NOBODY;
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
        if (!brg_pipe_may_sit(p, i, stage)) continue;
        if (best == BRG_NOBODY || is_better(p, stage, i, best)) best = i;
    }
    return best;
}

static uint32_t exact_holders(const struct brg_pipeline *p, uint32_t stage, int staying) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->stages[stage].count; i++) {
        const uint32_t holder = p->stages[stage].holders[i];
        if (staying && p->members[holder].draining) continue;
        count += brg_pipe_is_exact(p, holder, stage) != 0;
    }
    return count;
}

/* A holder of another stage that can be done without: of the stage with most, the slowest. */
static uint32_t borrow(const struct brg_pipeline *p, uint32_t stage) {
    uint32_t from = BRG_NOBODY, found = BRG_NOBODY;
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        if (p->stages[s].count < 2) continue;
        if (from == BRG_NOBODY || p->stages[s].count > p->stages[from].count) from = s;
    }
    if (from == BRG_NOBODY) return BRG_NOBODY;
    for (uint32_t i = 0; i < p->stages[from].count; i++) {
        const uint32_t m = p->stages[from].holders[i];
        if (p->members[m].memory_bytes < p->plan.stage_bytes[stage]) continue;
        if (brg_pipe_is_exact(p, m, from) && exact_holders(p, from, 0) < 2) continue;
        if (found == BRG_NOBODY || p->members[m].microbatch_ns > p->members[found].microbatch_ns)
            found = m;
    }
    return found;
}

/* Somebody who is on its way out is better than nobody. */
static uint32_t last_resort(const struct brg_pipeline *p, uint32_t stage) {
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
        const struct brg_pipe_member *m = &p->members[i];
        if (m->here && !m->acked && m->stage == BRG_NOBODY &&
            m->memory_bytes >= p->plan.stage_bytes[stage] && brg_pipe_is_exact(p, i, stage))
            return i;
    }
    return BRG_NOBODY;
}

static void leave_seats(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        uint32_t i = 0;
        while (i < p->stages[s].count) {
            const uint32_t member = p->stages[s].holders[i];
            const struct brg_pipe_member *m = &p->members[member];
            const int spare = m->draining && exact_holders(p, s, 1) > 0;
            if (!m->here || spare)
                brg_pipe_unseat(p, member, out);
            else
                i++;
        }
    }
}

/* The empty stage that needs most memory: who is there first, has the choice. */
static uint32_t next_empty(const struct brg_pipeline *p) {
    uint32_t found = BRG_PIPE_STAGES_MAX;
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        if (p->stages[s].count > 0) continue;
        if (found == BRG_PIPE_STAGES_MAX || p->plan.stage_bytes[s] > p->plan.stage_bytes[found])
            found = s;
    }
    return found;
}

/* Replicas cost nobody a wait where they load the same files as the first, or have the state. */
static void fill(struct brg_pipeline *p) {
    for (uint32_t seat = 1; seat < p->plan.lanes; seat++) {
        for (uint32_t s = 0; s < p->plan.stages; s++) {
            if (p->stages[s].count != seat) continue;
            const uint32_t m = brg_pipe_best(p, s);
            if (m == BRG_NOBODY) continue;
            const int files = brg_pipe_files_serve(p) && exact_holders(p, s, 0) == 0;
            if (files || brg_pipe_is_exact(p, m, s)) brg_pipe_seat(p, m, s);
        }
    }
}

/* Whoever has a stage's state sits there before seats are given to those who would download it. */
static void seat_exact(struct brg_pipeline *p) {
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
        const uint32_t stage = p->members[i].held;
        if (stage == BRG_NOBODY || !brg_pipe_is_exact(p, i, stage)) continue;
        if (p->stages[stage].count == 0 && brg_pipe_may_sit(p, i, stage))
            brg_pipe_seat(p, i, stage);
    }
}

uint32_t brg_pipe_seats(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    leave_seats(p, out);
    seat_exact(p);
    for (uint32_t turn = 0; turn < p->plan.stages; turn++) {
        const uint32_t stage = next_empty(p);
        if (stage == BRG_PIPE_STAGES_MAX) break;
        uint32_t m = brg_pipe_best(p, stage);
        if (m == BRG_NOBODY) m = last_resort(p, stage);
        if (m == BRG_NOBODY) {
            m = borrow(p, stage);
            if (m != BRG_NOBODY) brg_pipe_unseat(p, m, out);
        }
        if (m == BRG_NOBODY) return stage;
        brg_pipe_seat(p, m, stage);
    }
    fill(p);
    return BRG_PIPE_STAGES_MAX;
}

/* Who keeps the parity of the stage's group: a holder of the group after it, which is another. */
static uint32_t parity_keeper(const struct brg_pipeline *p, uint32_t stage) {
    if (p->plan.parity_group == 0) return BRG_NOBODY;
    const uint32_t groups = brg_parity_groups(p->plan.stages, p->plan.parity_group);
    if (groups < 2) return BRG_NOBODY; /* whoever kept it would be lost with what it is for */
    return p->stages[(stage % groups + 1) % groups].holders[0];
}

/* Lane l goes to holder l % count, so nobody has none while there are no more holders than lanes.
 * The shadow is kept two stages on, at the first holder there: not by a neighbour. */
static void give_lanes(struct brg_pipeline *p) {
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        struct brg_pipe_stage *stage = &p->stages[s];
        for (uint32_t i = 0; i < stage->count; i++) {
            struct brg_pipe_member *m = &p->members[stage->holders[i]];
            m->lanes = m->placed = m->ready = 0;
            for (uint32_t l = i; l < p->plan.lanes; l += stage->count) m->lanes |= 1u << l;
            BRG_ASSERT(m->lanes != 0);
        }
        const uint32_t keeper = (s + 2) % p->plan.stages;
        stage->shadow_to = BRG_NOBODY;
        if (p->plan.shadow_every > 0 && keeper != s)
            stage->shadow_to = p->stages[keeper].holders[0];
        stage->parity_to = parity_keeper(p, s);
    }
}

static int is_exact_somewhere(const struct brg_pipeline *p, uint32_t stage) {
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++)
        if (brg_pipe_is_exact(p, i, stage)) return 1;
    return 0;
}

/* 1 while it pays to wait: a stored holder may yet come back, or replicas at the very start. */
static int should_wait(const struct brg_pipeline *p) {
    if (p->now_ns >= p->grace_until_ns) return 0;
    uint32_t here = 0;
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++)
        here += p->members[i].here && !p->members[i].draining;
    if (p->generation == 0) return here < p->plan.stages * p->plan.lanes;
    for (uint32_t s = 0; s < p->plan.stages; s++)
        if (p->stages[s].stored && !is_exact_somewhere(p, s)) return 1;
    return 0;
}

static void wait_with(struct brg_pipeline *p, uint32_t note, uint32_t stage,
                      struct brg_pipe_actions *out) {
    p->phase = BRG_PIPE_WAITING;
    p->again_ns = p->now_ns + p->plan.retry_ns;
    if (p->starved == note) return;
    p->starved = note;
    brg_pipe_note(out, (struct brg_pipe_action){.note = note, .stage = stage});
}

void brg_pipe_send_place(const struct brg_pipeline *p, uint32_t member,
                         struct brg_pipe_actions *out) {
    const struct brg_pipe_member *m = &p->members[member];
    const struct brg_pipe_stage *s = &p->stages[m->stage];
    const int cut = s->rung != 0 && s->rung != BRG_RUNG_CHECKPOINT && s->rung != BRG_RUNG_REPLICA;
    brg_pipe_act(
        out, (struct brg_pipe_action){.type = BRG_PACT_SEND_PLACE,
                                      .member = member,
                                      .generation = p->generation,
                                      .stage = m->stage,
                                      .lanes = m->lanes,
                                      .version = p->committed,
                                      .commit_generation = p->committed_generation,
                                      .lineage = cut ? p->generation : s->lineage,
                                      .rung = m->source_rung,
                                      .source = m->source_count > 0 ? m->sources[0] : BRG_NOBODY});
    if (m->source_rung != BRG_RUNG_REPLICA) return;
    for (uint32_t i = 0; i < m->source_count; i++) {
        /* One without a seat may have missed the last commit, and hears of it here. */
        if (p->members[m->sources[i]].stage != BRG_NOBODY) continue;
        brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_SEND_UNSEAT,
                                                   .member = m->sources[i],
                                                   .generation = p->generation,
                                                   .version = p->committed,
                                                   .commit_generation = p->committed_generation});
    }
}

void brg_pipe_place(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    p->learner = BRG_NOBODY;
    if (should_wait(p)) {
        p->phase = BRG_PIPE_WAITING;
        p->again_ns = p->now_ns + p->plan.retry_ns;
        return;
    }
    uint32_t stage = brg_pipe_seats(p, out);
    if (stage != BRG_PIPE_STAGES_MAX) {
        wait_with(p, BRG_PNOTE_STARVED, stage, out);
        return;
    }
    stage = brg_pipe_sources(p, out);
    if (stage != BRG_PIPE_STAGES_MAX) {
        wait_with(p, BRG_PNOTE_STUCK, stage, out);
        return;
    }
    p->starved = 0;
    p->generation++;
    p->phase = BRG_PIPE_PLACING;
    p->again_ns = p->now_ns + p->plan.retry_ns;
    give_lanes(p);
    brg_pipe_act(
        out, (struct brg_pipe_action){.type = BRG_PACT_PERSIST_PLACE, .generation = p->generation});
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        p->stages[s].stored = 1;
        for (uint32_t i = 0; i < p->stages[s].count; i++)
            brg_pipe_send_place(p, p->stages[s].holders[i], out);
    }
}
