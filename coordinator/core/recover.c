/* recover.c - where every holder of a new generation gets its state from. */
#include "coordinator/core/pipeline_private.h"

#include "recovery/parity.h"

#include <string.h>

static int ladder_has(const struct brg_pipeline *p, uint32_t rung) {
    for (uint32_t i = 0; i < p->plan.ladder.count; i++)
        if (p->plan.ladder.rungs[i] == rung) return 1;
    return 0;
}

static int has_failed(const struct brg_pipeline *p, uint32_t rung) {
    for (uint32_t s = 0; s < p->plan.stages; s++)
        if (p->stages[s].failed & (1u << rung)) return 1;
    return 0;
}

int brg_pipe_files_serve(const struct brg_pipeline *p) {
    if (p->checkpoint != p->committed || has_failed(p, BRG_RUNG_CHECKPOINT)) return 0;
    /* Files hold what a stage was before it was recovered by a rung that is not exact. */
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        const uint64_t lineage = p->stages[s].lineage;
        if (lineage > p->checkpoint_generation && lineage != p->rolled) return 0;
    }
    return p->committed == 0 || ladder_has(p, BRG_RUNG_CHECKPOINT);
}

static int is_source(const struct brg_pipeline *p, uint32_t member, uint32_t stage) {
    return brg_pipe_is_exact(p, member, stage) && !p->members[member].bad_source;
}

/* Siblings that have the state: those with a seat first, then those that lost theirs. */
static void copy_from_siblings(struct brg_pipeline *p, uint32_t member, uint32_t stage) {
    struct brg_pipe_member *m = &p->members[member];
    m->source_rung = BRG_RUNG_REPLICA;
    m->source_count = 0;
    for (uint32_t seated = 2; seated-- > 0;) {
        for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
            if (m->source_count == BRG_PIPE_SOURCES_MAX) return;
            if (i == member || (p->members[i].stage == stage) != seated) continue;
            if (is_source(p, i, stage)) m->sources[m->source_count++] = i;
        }
    }
}

static int is_member_here(const struct brg_pipeline *p, uint32_t member) {
    return member != BRG_NOBODY && p->members[member].here && !p->members[member].bad_source;
}

static void look(const struct brg_pipeline *p, const uint8_t *lost, struct brg_ladder_view *view) {
    const uint32_t stages = p->plan.stages;
    const uint32_t groups =
        p->plan.parity_group > 0 ? brg_parity_groups(stages, p->plan.parity_group) : 0;
    memset(view, 0, sizeof *view);
    view->stages = stages;
    view->version = p->committed;
    view->checkpointed = 1; /* the seed at least */
    view->checkpoint = p->checkpoint;
    for (uint32_t s = 0; s < stages; s++) {
        const struct brg_pipe_stage *stage = &p->stages[s];
        struct brg_ladder_stage *v = &view->stage[s];
        v->lost = lost[s];
        v->shadow_kept = p->plan.shadow_every > 0;
        v->shadow_alive = (uint32_t)is_member_here(p, stage->shadow_member);
        if (!(stage->failed & (1u << BRG_RUNG_SHADOW))) v->shadow_version = stage->shadow_version;
        v->parity_kept = groups > 0;
        v->parity_group = groups > 0 ? s % groups : 0;
        v->parity_alive = (uint32_t)is_member_here(p, stage->parity_member);
        if (!(stage->failed & (1u << BRG_RUNG_PARITY))) v->parity_version = stage->parity_version;
        v->edges = s == 0 || s + 1 == stages;
        v->edges_copied = p->plan.edges_copied;
    }
}

static struct brg_ladder_config rungs_left(const struct brg_pipeline *p) {
    struct brg_ladder_config left = p->plan.ladder;
    left.count = 0;
    for (uint32_t i = 0; i < p->plan.ladder.count; i++) {
        const uint32_t rung = p->plan.ladder.rungs[i];
        const int of_all = rung >= BRG_RUNG_NEIGHBOURS;
        if (!(of_all && has_failed(p, rung))) left.rungs[left.count++] = rung;
    }
    return left;
}

static void add_donor(const struct brg_pipeline *p, struct brg_pipe_member *m, uint32_t stage) {
    const uint32_t donor = p->stages[stage].holders[0];
    if (brg_pipe_is_exact(p, donor, stage)) m->sources[m->source_count++] = donor;
}

/* The nearest stage on each side that is not lost itself. */
static void take_donors(const struct brg_pipeline *p, struct brg_pipe_member *m, uint32_t stage) {
    for (uint32_t s = stage; s-- > 0 && m->source_count < 1;) add_donor(p, m, s);
    const uint32_t before = m->source_count;
    for (uint32_t s = stage + 1; s < p->plan.stages && m->source_count == before; s++)
        add_donor(p, m, s);
}

static void recover_stage(struct brg_pipeline *p, uint32_t stage,
                          const struct brg_ladder_choice *choice, struct brg_pipe_actions *out) {
    struct brg_pipe_stage *s = &p->stages[stage];
    struct brg_pipe_member *m = &p->members[s->holders[0]];
    s->rung = choice->rung;
    s->staleness = choice->staleness;
    m->source_rung = choice->rung;
    m->source_count = 0;
    if (choice->rung == BRG_RUNG_SHADOW) m->sources[m->source_count++] = s->shadow_member;
    if (choice->rung == BRG_RUNG_PARITY) m->sources[m->source_count++] = s->parity_member;
    if (choice->rung == BRG_RUNG_NEIGHBOURS) take_donors(p, m, stage);
    for (uint32_t i = 1; i < s->count; i++) { /* they copy what the first one comes to */
        struct brg_pipe_member *other = &p->members[s->holders[i]];
        other->source_rung = BRG_RUNG_REPLICA;
        other->source_count = 1;
        other->sources[0] = s->holders[0];
    }
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_RECOVERING,
                                                .member = s->holders[0],
                                                .stage = stage,
                                                .rung = choice->rung,
                                                .step = choice->staleness});
}

static void load_files(struct brg_pipeline *p, uint32_t stage) {
    for (uint32_t i = 0; i < p->stages[stage].count; i++) {
        struct brg_pipe_member *m = &p->members[p->stages[stage].holders[i]];
        m->source_rung = BRG_RUNG_CHECKPOINT;
        m->source_count = 0;
    }
}

/* Every stage goes back; what was kept of later steps is of no history any more. */
static void roll_back(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    BRG_ASSERT(p->checkpoint <= p->committed);
    const uint64_t steps_lost = p->committed - p->checkpoint;
    p->committed = p->checkpoint;
    p->committed_generation = 0;
    p->rolled = p->generation + 1;
    brg_pipe_act(out, (struct brg_pipe_action){.type = BRG_PACT_PERSIST_ROLLBACK,
                                               .step = p->committed,
                                               .generation = p->rolled});
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        struct brg_pipe_stage *stage = &p->stages[s];
        stage->lineage = p->rolled;
        stage->rung = BRG_RUNG_CHECKPOINT;
        stage->staleness = steps_lost;
        stage->shadow_member = stage->parity_member = BRG_NOBODY;
        stage->shadow_version = stage->parity_version = 0;
        load_files(p, s);
    }
    brg_pipe_note(out, (struct brg_pipe_action){.note = BRG_PNOTE_ROLLBACK,
                                                .stage = BRG_NOBODY,
                                                .rung = BRG_RUNG_CHECKPOINT,
                                                .step = p->committed});
}

/* Sources of those that need none of the ladder. return: 1 where the stage is lost */
static uint8_t serve_stage(struct brg_pipeline *p, uint32_t stage, struct brg_pipe_actions *out) {
    struct brg_pipe_stage *s = &p->stages[stage];
    uint32_t seated = 0, sources = 0;
    s->rung = 0;
    s->staleness = 0;
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) {
        sources += is_source(p, i, stage) != 0;
        seated += p->members[i].stage == stage && brg_pipe_is_exact(p, i, stage);
    }
    for (uint32_t i = 0; i < s->count;) {
        const uint32_t member = s->holders[i];
        struct brg_pipe_member *m = &p->members[member];
        m->source_rung = m->source_count = 0;
        if (brg_pipe_is_exact(p, member, stage)) {
            i++;
        } else if (sources > 0) {
            copy_from_siblings(p, member, stage);
            s->rung = seated > 0 ? 0 : BRG_RUNG_REPLICA;
            i++;
        } else if (seated > 0) { /* it cannot copy, and its siblings do without it */
            brg_pipe_mark(p, member);
            brg_pipe_unseat(p, member, out);
        } else {
            i++;
        }
    }
    return sources == 0 && seated == 0;
}

uint32_t brg_pipe_sources(struct brg_pipeline *p, struct brg_pipe_actions *out) {
    static const struct brg_ladder_choice none = {.rung = 0};
    struct brg_ladder_choice choices[BRG_PIPE_STAGES_MAX];
    struct brg_ladder_view view;
    uint8_t lost[BRG_PIPE_STAGES_MAX] = {0};
    uint32_t lost_count = 0, stuck = 0;
    int back = 0;
    for (uint32_t s = 0; s < p->plan.stages; s++) {
        choices[s] = none;
        lost[s] = serve_stage(p, s, out);
        lost_count += lost[s];
    }
    if (lost_count == 0) return BRG_PIPE_STAGES_MAX;
    if (brg_pipe_files_serve(p)) {
        for (uint32_t s = 0; s < p->plan.stages; s++) {
            if (!lost[s]) continue;
            load_files(p, s);
            p->stages[s].rung = p->committed > 0 ? BRG_RUNG_CHECKPOINT : 0;
        }
        return BRG_PIPE_STAGES_MAX;
    }
    const struct brg_ladder_config left = rungs_left(p);
    look(p, lost, &view);
    for (uint32_t s = 0; s < p->plan.stages; s++)
        if (lost[s]) stuck = s;
    if (left.count == 0 || brg_ladder_choose(&left, &view, choices, &stuck) != BRG_OK) return stuck;
    for (uint32_t s = 0; s < p->plan.stages; s++) back |= choices[s].rung == BRG_RUNG_CHECKPOINT;
    if (back) {
        roll_back(p, out);
        return BRG_PIPE_STAGES_MAX;
    }
    for (uint32_t s = 0; s < p->plan.stages; s++)
        if (lost[s]) recover_stage(p, s, &choices[s], out);
    return BRG_PIPE_STAGES_MAX;
}
