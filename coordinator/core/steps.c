/* steps.c - what becomes of complete steps, and of the run: decode, commit, optimizer, checkpoint,
 * another code, the end. */
#include <string.h>

#include "coordinator/core/rounds_private.h"

static struct brg_coord_action about(const struct brg_rounds *r, enum brg_coord_action_type type,
                                     uint64_t step) {
    return (struct brg_coord_action){
        .type = type, .run = r->plan.run, .step = step, .member = BRG_NOBODY};
}

/* ---- the end of the run ---- */

static void finish(struct brg_rounds *r, uint32_t target, struct brg_coord_actions *out) {
    r->phase = BRG_PHASE_FINISHING;
    r->target = target;
    brg_coord_act(out, about(r, BRG_ACT_SEND_RELEASE, 0));
    if (r->checkpoint_step == r->committed && r->committed > 0) return; /* it is on its way */
    r->checkpoint_step = r->committed;
    brg_coord_act(out, about(r, BRG_ACT_CHECKPOINT, r->committed));
}

void brg_rounds_finish_if_through(struct brg_rounds *r, struct brg_coord_actions *out) {
    if (r->phase != BRG_PHASE_WAITING) return;
    const int all = r->committed == r->plan.steps;
    if (!all && r->target == 0) return;
    if (r->decoding != 0 || r->applied != r->committed) return;
    finish(r, all ? BRG_RUN_FINISHED : r->target, out);
}

void brg_rounds_end(struct brg_rounds *r, struct brg_members *m, uint32_t target,
                    struct brg_coord_actions *out) {
    BRG_ASSERT(target == BRG_RUN_PAUSED || target == BRG_RUN_STOPPED);
    if (r->phase == BRG_PHASE_FINISHING) { /* a stop is stronger than a pause */
        if (r->target == BRG_RUN_PAUSED) r->target = target;
        return;
    }
    if (r->target != BRG_RUN_STOPPED) r->target = target;
    /* The steps in flight are dropped, and those that wait to be decoded. */
    for (uint32_t i = 0; i < m->count; i++) brg_rounds_forget_tasks(r, &m->items[i]);
    r->phase = BRG_PHASE_WAITING;
    brg_rounds_finish_if_through(r, out);
}

/* ---- another code ---- */

int brg_rounds_switch(struct brg_rounds *r, const struct brg_scheme *scheme) {
    if (r->phase == BRG_PHASE_IDLE || r->phase == BRG_PHASE_FINISHING) return BRG_EINVAL;
    if (r->target != 0) return BRG_EINVAL;
    if (r->plan.models <= brg_scheme_delay(scheme)) return BRG_EINVAL;
    if (r->next != NULL) return BRG_EEXIST;
    r->next = scheme;
    return BRG_OK;
}

int brg_rounds_switch_if_empty(struct brg_rounds *r, struct brg_members *m,
                               struct brg_coord_actions *out) {
    BRG_ASSERT(r->phase == BRG_PHASE_WAITING && r->ended == r->newest);
    if (r->next == NULL || r->committed != r->ended) return 0;
    if (r->committed == r->plan.steps) return 0; /* nothing is left for it */
    r->scheme = r->next;
    r->next = NULL;
    r->plan.code = *brg_scheme_spec(r->scheme);
    r->unit_count = brg_scheme_unit_count(r->scheme);
    r->base = r->committed;
    r->since = r->round + 1;
    memset(&r->pattern, 0, sizeof r->pattern);
    for (uint32_t p = r->plan.code.n; p < BRG_CODE_WORKERS_MAX; p++) {
        if (r->position[p] != BRG_NOBODY) brg_rounds_unseat(r, &m->items[r->position[p]]);
    }
    brg_rounds_fill(r, m);
    brg_coord_act(out, about(r, BRG_ACT_PERSIST_CODE, r->base));
    brg_coord_act(out, about(r, BRG_ACT_SWITCHED, r->base));
    return 1;
}

/* ---- the compute thread ---- */

void brg_rounds_decode_next(struct brg_rounds *r, struct brg_coord_actions *out) {
    if (r->decoding != 0 || r->committed == r->ended || r->target != 0) return;
    r->decoding = r->committed + 1;
    brg_coord_act(out, about(r, BRG_ACT_DECODE, r->decoding));
}

void brg_rounds_decoded(struct brg_rounds *r, const struct brg_coord_event *ev,
                        struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run || r->decoding == 0) return;
    BRG_ASSERT(ev->step == r->decoding);
    BRG_ASSERT(ev->step == r->committed + 1); /* never twice, never out of order */
    r->committed = ev->step;
    r->decoding = 0;
    brg_coord_act(out, about(r, BRG_ACT_PERSIST_COMMIT, r->committed));
    brg_coord_act(out, about(r, BRG_ACT_SEND_COMMIT, r->committed));
    brg_coord_act(out, about(r, BRG_ACT_APPLY, r->committed));
    brg_rounds_decode_next(r, out);
}

void brg_rounds_applied(struct brg_rounds *r, const struct brg_coord_event *ev,
                        struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run) return;
    if (r->applied == r->committed) return;
    BRG_ASSERT(ev->step == r->applied + 1);
    r->applied = ev->step;
    brg_rounds_finish_if_through(r, out);
    if (r->phase == BRG_PHASE_FINISHING || r->target != 0) return;
    if (r->applied % r->plan.checkpoint_every != 0 || r->checkpoint_step != 0) return;
    r->checkpoint_step = r->applied;
    brg_coord_act(out, about(r, BRG_ACT_CHECKPOINT, r->applied));
}

void brg_rounds_checkpointed(struct brg_rounds *r, const struct brg_coord_event *ev,
                             struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run) return;
    struct brg_coord_action act = about(r, BRG_ACT_PERSIST_CHECKPOINT, ev->step);
    brg_coord_act(out, act);
    act.type = BRG_ACT_TRUNCATE_LOG;
    brg_coord_act(out, act);
    act.type = BRG_ACT_NOTE;
    act.code = BRG_NOTE_CHECKPOINT;
    brg_coord_act(out, act);
    if (r->checkpoint_step == ev->step) r->checkpoint_step = 0;
    if (r->phase != BRG_PHASE_FINISHING || ev->step != r->committed) return;
    r->phase = BRG_PHASE_IDLE; /* brg_coord sees the target and closes the run */
}
