/* The machine's turn: what it decides goes into the turn's batch, or waits until that is written.
 */
#include "coordinator/shell/line.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "coordinator/shell/line_private.h"
#include "recovery/young.h"

#define GRACE_LEASES 2u
#define RETRY_NS (2 * BRG_NS_PER_S)
#define HOLD_NS (5 * BRG_NS_PER_S)
#define LEARN_NS (600 * BRG_NS_PER_S)
#define RELAY_EXPIRE_NS (60 * BRG_NS_PER_S)
#define SWAP_PERCENT 50u
#define CHECKPOINT_LEAST 10u /* steps between two, where the file leaves it to us */
#define CHECKPOINT_MOST 10000u
#define CHECKPOINT_FIRST 50u

static void make_plan(const struct brg_service *s, struct brg_pipe_plan *plan) {
    const struct brg_run_config *c = &s->run->config.run;
    *plan = (struct brg_pipe_plan){.run = s->run->config.id,
                                   .steps = c->steps,
                                   .checkpoint_every = c->checkpoint.every_steps,
                                   .grace_ns = GRACE_LEASES * s->options->lease_ns,
                                   .retry_ns = RETRY_NS,
                                   .hold_ns = HOLD_NS,
                                   .learn_ns = LEARN_NS,
                                   .stages = c->pipeline.stages,
                                   .lanes = c->pipeline.lanes,
                                   .microbatches = c->pipeline.microbatches,
                                   .relay = 1,
                                   .edges_copied = c->pipeline.stages > 1,
                                   .swap_percent = SWAP_PERCENT,
                                   .ladder = c->recovery.ladder};
    if (plan->checkpoint_every == 0) plan->checkpoint_every = CHECKPOINT_FIRST;
    if (brg_run_config_keeps_shadows(c)) plan->shadow_every = c->recovery.shadow_every;
    if (brg_run_config_keeps_parity(c)) plan->parity_group = c->recovery.parity_group;
    for (uint32_t i = 0; i < plan->stages; i++) {
        struct brg_stage_prediction predicted;
        brg_run_config_predict_stage(c, i, &predicted);
        plan->stage_bytes[i] = predicted.memory_bytes;
    }
}

int brg_line_open(struct brg_service *s, struct brg_why *why) {
    const struct brg_run_config *c = &s->run->config.run;
    struct brg_pipe_plan plan;
    if (c->kind != BRG_RUN_KIND_PIPELINE) return BRG_OK;
    struct brg_line *line = calloc(1, sizeof *line);
    BRG_ASSERT(line != NULL); /* a coordinator without memory must stop */
    s->line = line;
    line->deferred = calloc(BRG_LINE_DEFERRED_MAX, sizeof *line->deferred);
    BRG_ASSERT(line->deferred != NULL);
    line->timer_ns = UINT64_MAX;
    line->began_ns = s->now_ns;
    line->moments = (uint32_t)brg_optimizer_state_count(&c->optimizer, 1);
    int rc = brg_relay_create(RELAY_EXPIRE_NS, &line->relay);
    for (uint32_t i = 0; rc == BRG_OK && i < c->pipeline.stages; i++)
        rc = brg_stage_cut(&c->model, c->pipeline.stages, i, &line->cut[i], why);
    if (rc != BRG_OK) return rc;
    make_plan(s, &plan);
    rc = brg_pipeline_plan_check(&plan);
    if (rc != BRG_OK) return brg_why_set(why, rc, "the settings of the pipeline cannot be used");
    brg_pipeline_init(&line->machine, &plan);
    return brg_line_restore(s, why);
}

void brg_line_go(struct brg_service *s) {
    if (s->line == NULL || s->line->is_begun) return;
    s->line->is_begun = 1;
    (void)!brg_line_feed(s, &s->line->open);
}

void brg_line_close(struct brg_service *s) {
    struct brg_line *line = s->line;
    if (line == NULL) return;
    brg_line_save_drop(s);
    for (uint32_t i = 0; i < BRG_PIPE_STAGES_MAX; i++) brg_source_fini(&line->files[i].source);
    brg_relay_destroy(&line->relay);
    free(line->deferred);
    free(line);
    s->line = NULL;
}

/* The record of what was decided is written in the same batch; the rest waits for it. */
static void take_actions(struct brg_service *s) {
    struct brg_line *line = s->line;
    for (uint32_t i = 0; i < line->actions.count; i++) {
        const struct brg_pipe_action *a = &line->actions.items[i];
        if (a->type <= BRG_PACT_PERSIST_CHECKPOINT) {
            brg_line_keep(s, a);
        } else if (a->type == BRG_PACT_ARM) {
            line->timer_ns = a->at_ns;
        } else {
            const int is_back = a->type == BRG_PACT_NOTE && a->note == BRG_PNOTE_RECOVERED;
            if (is_back && brg_line_is_inexact(a->rung))
                line->probe_generation = line->machine.generation;
            BRG_ASSERT(line->deferred_count < BRG_LINE_DEFERRED_MAX);
            line->deferred[line->deferred_count++] = *a;
        }
    }
    line->actions.count = 0;
}

int brg_line_feed(struct brg_service *s, struct brg_pipe_event *ev) {
    struct brg_line *line = s->line;
    if (line->is_failed || !line->is_begun) return BRG_OK;
    ev->now_ns = s->now_ns;
    ev->epoch = s->core.epoch;
    const int rc = brg_pipeline_step(&line->machine, ev, &line->actions);
    if (rc == BRG_OK) take_actions(s);
    return rc;
}

void brg_line_fail(struct brg_service *s, const char *format, ...) {
    struct brg_service_run *run = &s->runs[s->run_index];
    va_list arguments;
    if (s->line->is_failed) return;
    s->line->is_failed = 1;
    va_start(arguments, format);
    (void)vsnprintf(run->record.reason, sizeof run->record.reason, format, arguments);
    va_end(arguments);
    brg_log_error("run", BRG_FIELDS(BRG_U64("run", run->record.id)), "%s", run->record.reason);
    struct brg_coord_event ev = {.type = BRG_EV_RUN_FAILED, .run = run->record.id};
    (void)!brg_service_feed(s, &ev);
}

/* ---- ends ---- */

void brg_line_ended(struct brg_service *s, int is_finished) {
    struct brg_coord_event ev = {.type = BRG_EV_LINE_DONE,
                                 .run = s->run->config.id,
                                 .step = s->line->machine.committed,
                                 .code = is_finished ? 0 : 1};
    if (s->line->is_failed) return;
    s->line->is_failed = 1; /* nothing more is fed */
    (void)!brg_service_feed(s, &ev);
}

void brg_line_stop(struct brg_service *s) {
    struct brg_pipe_event ev = {.type = BRG_PEV_PAUSE};
    if (s->line != NULL) (void)!brg_line_feed(s, &ev);
}

/* ---- the turn ---- */

/* How often files are written, from what they cost and how often they were needed. */
static void set_period(struct brg_service *s) {
    struct brg_line *line = s->line;
    if (s->run->config.run.checkpoint.every_steps > 0 || line->save_ns == 0) return;
    const struct brg_young young = {.run_ms = (s->now_ns - line->began_ns) / BRG_NS_PER_MS,
                                    .losses = line->losses,
                                    .cost_ms = line->save_ns / BRG_NS_PER_MS + 1,
                                    .step_ms = line->step_ns / BRG_NS_PER_MS};
    line->machine.plan.checkpoint_every =
        brg_young_every(&young, CHECKPOINT_LEAST, CHECKPOINT_MOST);
}

static void watch_member(struct brg_service *s, uint32_t i) {
    struct brg_line_member *m = &s->line->members[i];
    const struct brg_member *core = &s->core.members.items[i];
    struct brg_pipe_event ev = {.member = i};
    if (m->session == 0) return;
    if (!brg_members_is_here(core) || s->members[i].session != m->session) {
        m->session = 0;
        m->is_draining = 0;
        ev.type = BRG_PEV_GONE;
        (void)!brg_line_feed(s, &ev);
        brg_line_save_lost(s, i);
    } else if (core->state == BRG_MEMBER_DRAINING && !m->is_draining) {
        m->is_draining = 1;
        ev.type = BRG_PEV_DRAINING;
        (void)!brg_line_feed(s, &ev);
    }
}

void brg_line_watch(struct brg_service *s) {
    if (s->line == NULL) return;
    for (uint32_t i = 0; s->line != NULL && i < s->core.members.count; i++) watch_member(s, i);
    if (s->now_ns >= s->line->timer_ns) {
        struct brg_pipe_event tick = {.type = BRG_PEV_TICK};
        s->line->timer_ns = UINT64_MAX;
        (void)!brg_line_feed(s, &tick);
    }
    set_period(s);
    if (s->line->is_dirty) brg_line_keep_record(s);
}

static void perform(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_coord_event ev = {.type = BRG_EV_MAY_GO, .member = a->member};
    switch (a->type) {
    case BRG_PACT_CHECKPOINT: brg_line_save_begin(s, a->step, a->generation); break;
    case BRG_PACT_SEND_MAY_GO: (void)!brg_service_feed(s, &ev); break;
    case BRG_PACT_NOTE: brg_line_note(s, a); break;
    default: brg_line_send(s, a); break;
    }
}

void brg_line_perform(struct brg_service *s) {
    struct brg_line *line = s->line;
    if (line == NULL) return;
    for (uint32_t i = 0; i < line->deferred_count && s->exit_code < 0; i++)
        perform(s, &line->deferred[i]);
    line->deferred_count = 0;
    brg_line_save_pump(s);
}

uint64_t brg_line_wake_ns(const struct brg_service *s) {
    if (s->line == NULL) return UINT64_MAX;
    if (s->deferred_count > 0) return 0; /* what the line has asked for waits for the next write */
    const uint64_t fetch_ns = brg_fetch_wake_ns(&s->line->save.fetch);
    return fetch_ns < s->line->timer_ns ? fetch_ns : s->line->timer_ns;
}
