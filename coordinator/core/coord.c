#include "coordinator/core/coord.h"

#include <string.h>

void brg_coord_init(struct brg_coord *c, uint64_t lease_ns) {
    memset(c, 0, sizeof *c);
    brg_members_init(&c->members, lease_ns);
    c->open_run = BRG_NOBODY;
}

int brg_coord_add_run(struct brg_coord *c, const struct brg_run_plan *plan, uint64_t committed,
                      int fenced) {
    if (c->run_count == BRG_RUNS_MAX) return BRG_EFULL;
    struct brg_run_slot *run = &c->runs[c->run_count++];
    memset(run, 0, sizeof *run);
    run->plan = *plan;
    run->committed = committed;
    run->fenced = fenced != 0;
    if (plan->state == BRG_RUN_OPENING || plan->state == BRG_RUN_ACTIVE) {
        run->plan.state = BRG_RUN_QUEUED;
        run->restarted = 1;
    }
    return BRG_OK;
}

uint32_t brg_coord_run(const struct brg_coord *c, uint64_t id) {
    for (uint32_t i = 0; i < c->run_count; i++) {
        if (c->runs[i].plan.run == id) return i;
    }
    return BRG_NOBODY;
}

static void note(struct brg_coord_actions *out, enum brg_note code, uint64_t run, uint32_t member) {
    brg_coord_act(out,
                  (struct brg_coord_action){
                      .type = BRG_ACT_NOTE, .code = (int32_t)code, .run = run, .member = member});
}

/* ---- runs ---- */

static void set_run_state(struct brg_coord *c, uint32_t index, uint32_t state,
                          struct brg_coord_actions *out) {
    BRG_ASSERT(index < c->run_count);
    struct brg_run_slot *run = &c->runs[index];
    run->plan.state = state;
    brg_coord_act(out,
                  (struct brg_coord_action){.type = BRG_ACT_PERSIST_RUN, .run = run->plan.run});
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_NOTE,
                                                 .code = BRG_NOTE_RUN_STATE,
                                                 .run = run->plan.run,
                                                 .member = BRG_NOBODY,
                                                 .attempt = state});
}

/* Opens the first run that waits, if none is open. One that was under way goes first. */
static void open_next(struct brg_coord *c, struct brg_coord_actions *out) {
    if (c->open_run != BRG_NOBODY) return;
    uint32_t next = BRG_NOBODY;
    for (uint32_t i = 0; i < c->run_count; i++) {
        const struct brg_run_slot *run = &c->runs[i];
        if (run->plan.state != BRG_RUN_QUEUED) continue;
        if (next == BRG_NOBODY || (run->restarted && !c->runs[next].restarted)) next = i;
    }
    if (next == BRG_NOBODY) return;
    c->open_run = next;
    set_run_state(c, next, BRG_RUN_OPENING, out);
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_OPEN,
                                                 .run = c->runs[next].plan.run,
                                                 .step = c->runs[next].committed});
}

/* Its steps go back with a rollback, so there is no promise here to hold `step` against. */
static void open_line(struct brg_coord *c, struct brg_run_slot *run,
                      const struct brg_coord_event *ev, struct brg_coord_actions *out) {
    run->committed = ev->step;
    set_run_state(c, c->open_run, BRG_RUN_ACTIVE, out);
    brg_line_run_open(&c->line, &c->members, ev->run, out);
    if (run->wish != 0) brg_line_run_wish(&c->line, run->wish, out);
    run->wish = 0;
}

static void on_opened(struct brg_coord *c, const struct brg_coord_event *ev,
                      struct brg_coord_actions *out) {
    BRG_ASSERT(c->open_run != BRG_NOBODY);
    struct brg_run_slot *run = &c->runs[c->open_run];
    BRG_ASSERT(run->plan.run == ev->run && run->plan.state == BRG_RUN_OPENING);
    if (run->plan.kind == BRG_PLAN_PIPELINE) {
        open_line(c, run, ev, out);
        return;
    }
    /* Restored to exactly what was promised: where only checkpoints are durable, a run that failed
     * between two of them goes back to the earlier. */
    BRG_ASSERT(run->fenced ? ev->step == run->committed : ev->step <= run->committed);
    run->committed = ev->step;
    brg_rounds_open(&c->rounds, &run->plan, ev->scheme, run->committed);
    run->plan.code = c->rounds.plan.code;
    set_run_state(c, c->open_run, BRG_RUN_ACTIVE, out);
    if (run->wish != 0) brg_rounds_end(&c->rounds, &c->members, run->wish, out);
    run->wish = 0;
    for (uint32_t i = 0; i < c->members.count; i++) {
        struct brg_member *member = &c->members.items[i];
        member->unfit = 0;
        if (member->state != BRG_MEMBER_ACTIVE) continue;
        brg_rounds_member_ready(&c->rounds, &c->members, i, out);
    }
}

static void on_open_failed(struct brg_coord *c, const struct brg_coord_event *ev,
                           struct brg_coord_actions *out) {
    BRG_ASSERT(c->open_run != BRG_NOBODY);
    struct brg_run_slot *run = &c->runs[c->open_run];
    BRG_ASSERT(run->plan.run == ev->run && run->plan.state == BRG_RUN_OPENING);
    run->restarted = run->wish = 0;
    set_run_state(c, c->open_run, BRG_RUN_FAILED, out);
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_CLOSE, .run = ev->run});
    c->open_run = BRG_NOBODY;
}

/* Its last checkpoint and log stay as they are, for the operator to look at. */
static void on_run_failed(struct brg_coord *c, const struct brg_coord_event *ev,
                          struct brg_coord_actions *out) {
    if (c->line.run == ev->run) brg_line_run_fail(&c->line, out);
    if (c->rounds.phase == BRG_PHASE_IDLE || c->rounds.plan.run != ev->run) return;
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_SEND_RELEASE, .member = BRG_NOBODY, .run = ev->run});
    c->rounds.target = BRG_RUN_FAILED;
    c->rounds.phase = BRG_PHASE_IDLE; /* close_if_finished does the rest */
}

/* What the machine beside this one has come to. Late words about a run that was closed are void. */
static void on_line(struct brg_coord *c, const struct brg_coord_event *ev,
                    struct brg_coord_actions *out) {
    if (c->line.phase != BRG_LINE_RUN_OPEN || c->line.run != ev->run) return;
    struct brg_run_slot *run = &c->runs[c->open_run];
    if (ev->type == BRG_EV_LINE) {
        BRG_ASSERT(ev->step <= run->plan.steps);
        run->committed = ev->step;
    } else {
        brg_line_run_done(&c->line, ev->code, out);
    }
}

/* The run's last checkpoint is durable: it ends in the state asked for. */
static void close_if_finished(struct brg_coord *c, struct brg_coord_actions *out) {
    if (c->open_run == BRG_NOBODY || c->rounds.phase != BRG_PHASE_IDLE) return;
    struct brg_run_slot *run = &c->runs[c->open_run];
    if (run->plan.state != BRG_RUN_ACTIVE) return; /* still opening */
    const int is_line = run->plan.kind == BRG_PLAN_PIPELINE;
    if (is_line && c->line.phase != BRG_LINE_RUN_DONE) return;
    if (!is_line) {
        run->committed = c->rounds.committed;
        run->plan.code = c->rounds.plan.code;
    }
    run->restarted = 0;
    set_run_state(c, c->open_run, is_line ? c->line.target : c->rounds.target, out);
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_CLOSE, .run = run->plan.run});
    if (is_line)
        brg_line_run_close(&c->line);
    else
        brg_rounds_close(&c->rounds, &c->members);
    c->open_run = BRG_NOBODY;
}

static int on_submit(struct brg_coord *c, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out) {
    if (brg_coord_run(c, ev->plan->run) != BRG_NOBODY) return BRG_EEXIST;
    struct brg_run_plan plan = *ev->plan;
    plan.state = BRG_RUN_QUEUED;
    BRG_ASSERT(plan.run != 0);
    BRG_ASSERT(plan.steps > 0);
    if (plan.kind == BRG_PLAN_CODED) {
        BRG_ASSERT(plan.checkpoint_every > 0 && plan.min_workers > 0);
        BRG_ASSERT(plan.task_timeout_ns > 0 && plan.pull_timeout_ns > 0);
        BRG_ASSERT(plan.models > 0 && plan.models <= BRG_MODELS_MAX);
    }
    const int rc = brg_coord_add_run(c, &plan, 0, ev->has_proof != 0);
    if (rc != BRG_OK) return rc;
    set_run_state(c, c->run_count - 1, BRG_RUN_QUEUED, out);
    return BRG_OK;
}

static int on_run_wish(struct brg_coord *c, const struct brg_coord_event *ev,
                       struct brg_coord_actions *out) {
    const uint32_t index = brg_coord_run(c, ev->run);
    if (index == BRG_NOBODY) return BRG_ENOENT;
    struct brg_run_slot *run = &c->runs[index];
    const uint32_t state = run->plan.state;
    if (ev->type == BRG_EV_RESUME) {
        if (state != BRG_RUN_PAUSED && state != BRG_RUN_FAILED) return BRG_EINVAL;
        set_run_state(c, index, BRG_RUN_QUEUED, out);
        return BRG_OK;
    }
    const uint32_t target = ev->type == BRG_EV_PAUSE ? BRG_RUN_PAUSED : BRG_RUN_STOPPED;
    switch (state) {
    case BRG_RUN_QUEUED: set_run_state(c, index, target, out); return BRG_OK;
    case BRG_RUN_PAUSED:
        if (target == BRG_RUN_PAUSED) return BRG_EINVAL;
        set_run_state(c, index, target, out);
        return BRG_OK;
    case BRG_RUN_OPENING: /* a stop is stronger than a pause */
        if (run->wish != BRG_RUN_STOPPED) run->wish = target;
        return BRG_OK;
    case BRG_RUN_ACTIVE:
        if (run->plan.kind == BRG_PLAN_PIPELINE)
            brg_line_run_wish(&c->line, target, out);
        else
            brg_rounds_end(&c->rounds, &c->members, target, out);
        return BRG_OK;
    default: return BRG_EINVAL; /* it has ended */
    }
}

/* ---- members ---- */

static void depart(struct brg_coord *c, uint32_t slot, uint32_t state, enum brg_note why,
                   struct brg_coord_actions *out) {
    struct brg_member *member = &c->members.items[slot];
    member->state = state; /* before its position is given away, so that it does not get it back */
    member->session = 0;
    member->deadline_ns = 0;
    c->members.look_ns = 0; /* the next lease to run out may have been its */
    brg_rounds_member_gone(&c->rounds, &c->members, slot,
                           state == BRG_MEMBER_REVOKED ? BRG_GONE_REVOKED : BRG_GONE_AWAY);
    note(out, why, 0, slot);
}

/* 1 where `ev` proves a step that the store does not have. */
static int is_behind(const struct brg_coord *c, const struct brg_coord_event *ev) {
    if (!ev->has_proof) return 0;
    const uint32_t index = brg_coord_run(c, ev->run);
    if (index == BRG_NOBODY) return 1;
    const struct brg_run_slot *run = &c->runs[index];
    const int under_way = index == c->open_run && c->rounds.phase != BRG_PHASE_IDLE;
    return run->fenced && ev->step > (under_way ? c->rounds.committed : run->committed);
}

static int on_hello(struct brg_coord *c, const struct brg_coord_event *ev,
                    struct brg_coord_actions *out) {
    uint32_t slot = BRG_NOBODY;
    if (ev->session == 0) return BRG_EPROTO; /* it would look like one that never attached */
    if (is_behind(c, ev)) {
        c->halted = 1; /* going on would repeat a step that the world has seen already */
        brg_coord_act(
            out, (struct brg_coord_action){
                     .type = BRG_ACT_HALT, .run = ev->run, .step = ev->step, .member = BRG_NOBODY});
        return BRG_OK;
    }
    const enum brg_hello_result result = brg_members_hello(&c->members, ev, &slot, out);
    if (result == BRG_HELLO_REFUSED) return BRG_OK;
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_SEND_WELCOME, .member = slot, .peer = ev->peer});
    /* Again, too: what was lost with the old connection may have been this. */
    if (result == BRG_HELLO_AGAIN) {
        brg_line_run_attached(&c->line, slot, out);
        return BRG_OK;
    }
    /* A new process knows nothing of what the one before it was doing. */
    brg_rounds_member_gone(&c->rounds, &c->members, slot, BRG_GONE_AWAY);
    note(out, BRG_NOTE_JOINED, 0, slot);
    brg_rounds_member_ready(&c->rounds, &c->members, slot, out);
    brg_line_run_attached(&c->line, slot, out);
    return BRG_OK;
}

static void on_drain(struct brg_coord *c, uint32_t slot, struct brg_coord_actions *out) {
    struct brg_member *member = &c->members.items[slot];
    c->members.leaving = 1;
    if (member->state == BRG_MEMBER_DRAINING) {
        member->drain_acked = 0; /* the answer was lost */
        return;
    }
    member->state = BRG_MEMBER_DRAINING;
    brg_rounds_member_gone(&c->rounds, &c->members, slot, BRG_GONE_STILL_HERE);
    note(out, BRG_NOTE_DRAINING, 0, slot);
}

/* 1 for what a member says about itself or its work. */
static int is_from_member(uint32_t type) {
    return type == BRG_EV_BEAT || type == BRG_EV_DONE || type == BRG_EV_FAULT ||
           type == BRG_EV_DRAIN || type == BRG_EV_BYE || type == BRG_EV_SHARE;
}

/* What is said in another epoch than ours, or by a process that is not the one attached, is not
 * believed, but answered with the wish for a HELLO. An older process of a key is refused by that,
 * and an epoch above ours comes from a store that has lost its last start: the HELLO brings the
 * proof of what else is lost. */
static void turn_away(const struct brg_member *member, const struct brg_coord_event *ev,
                      struct brg_coord_actions *out) {
    if (member->state == BRG_MEMBER_REVOKED || ev->type == BRG_EV_BYE) return;
    brg_coord_act(out,
                  (struct brg_coord_action){.type = BRG_ACT_SEND_REHELLO, .member = ev->member});
}

static int on_member(struct brg_coord *c, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out) {
    if (ev->member >= c->members.count) return BRG_EPROTO;
    const struct brg_member *member = &c->members.items[ev->member];
    if (!brg_members_is_here(member) || ev->epoch != c->epoch || ev->session != member->session) {
        turn_away(member, ev, out);
        return BRG_OK;
    }
    int rc = BRG_OK;
    if (ev->type == BRG_EV_DONE) rc = brg_rounds_done(&c->rounds, &c->members, ev, out);
    if (ev->type == BRG_EV_SHARE) rc = brg_rounds_share(&c->rounds, &c->members, ev, out);
    if (rc != BRG_OK) return rc;
    if (member->state == BRG_MEMBER_SUSPECT) c->rounds.look_ns = 0; /* it may be given work again */
    brg_members_heard(&c->members, ev->member, ev->now_ns);
    switch (ev->type) {
    case BRG_EV_BEAT:
        if (member->state == BRG_MEMBER_DRAINING) {
            /* It is still here: the word that it may go was lost. One that the operator drains
             * does not ask for it by itself. */
            c->members.items[ev->member].drain_acked = 0;
            c->members.leaving = 1;
        }
        brg_rounds_beat(&c->rounds, &c->members, ev, out);
        break;
    case BRG_EV_FAULT: brg_rounds_fault(&c->rounds, &c->members, ev, out); break;
    case BRG_EV_DRAIN: on_drain(c, ev->member, out); break;
    case BRG_EV_BYE: depart(c, ev->member, BRG_MEMBER_LEFT, BRG_NOTE_LEFT, out); break;
    default: break;
    }
    return BRG_OK;
}

/* Leases: who was silent for half of one gets nothing new, for all of one is gone. */
static uint64_t watch_leases(struct brg_coord *c, struct brg_coord_actions *out) {
    uint64_t next_ns = UINT64_MAX;
    if (c->now_ns < c->members.look_ns) return c->members.look_ns; /* leases only get longer */
    for (uint32_t i = 0; i < c->members.count; i++) {
        struct brg_member *member = &c->members.items[i];
        if (!brg_members_is_here(member)) continue;
        if (c->now_ns >= member->deadline_ns) {
            depart(c, i, BRG_MEMBER_LOST, BRG_NOTE_LOST, out);
            continue;
        }
        const uint64_t suspect_ns = member->deadline_ns - c->members.lease_ns / 2;
        uint64_t at_ns = member->deadline_ns;
        if (member->state == BRG_MEMBER_ACTIVE) {
            if (c->now_ns >= suspect_ns)
                member->state = BRG_MEMBER_SUSPECT;
            else
                at_ns = suspect_ns;
        }
        if (at_ns < next_ns) next_ns = at_ns;
    }
    c->members.look_ns = next_ns;
    return next_ns;
}

static int on_key_wish(struct brg_coord *c, const struct brg_coord_event *ev,
                       struct brg_coord_actions *out) {
    uint32_t slot = ev->member;
    if (ev->type == BRG_EV_ALLOW) {
        slot = brg_members_find(&c->members, ev->key);
        if (slot == BRG_NOBODY) {
            const int rc = brg_members_add(&c->members, ev->key, BRG_MEMBER_AWAY, &slot);
            if (rc != BRG_OK) return rc;
        } else if (c->members.items[slot].state == BRG_MEMBER_REVOKED) {
            c->members.items[slot].state = BRG_MEMBER_AWAY;
        }
    } else {
        if (slot >= c->members.count) return BRG_ENOENT;
        depart(c, slot, BRG_MEMBER_REVOKED, BRG_NOTE_LEFT, out);
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_REFUSED,
                                                     .member = slot,
                                                     .code = BRG_REFUSED_KEY_REVOKED});
    }
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_PERSIST_MEMBER, .member = slot});
    return BRG_OK;
}

static int on_token_wish(struct brg_coord *c, const struct brg_coord_event *ev,
                         struct brg_coord_actions *out) {
    uint32_t index = BRG_NOBODY;
    if (ev->type == BRG_EV_TOKEN_ADD) {
        const struct brg_token token = {
            .hash = ev->token_hash, .expires_s = ev->wall_s, .uses_left = ev->uses};
        if (token.expires_s == 0 || token.uses_left == 0) return BRG_EINVAL;
        const int rc = brg_members_add_token(&c->members, &token, &index);
        if (rc != BRG_OK) return rc;
    } else {
        for (uint32_t i = 0; i < c->members.token_count; i++) {
            if (brg_digest_equal(&c->members.tokens[i].hash, &ev->token_hash)) index = i;
        }
        if (index == BRG_NOBODY) return BRG_ENOENT;
        c->members.tokens[index].revoked = 1;
    }
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_PERSIST_TOKEN, .token = index});
    return BRG_OK;
}

/* ---- the step ---- */

static int dispatch(struct brg_coord *c, const struct brg_coord_event *ev,
                    struct brg_coord_actions *out) {
    if (is_from_member(ev->type)) return on_member(c, ev, out);
    switch ((enum brg_coord_event_type)ev->type) {
    case BRG_EV_START:
        BRG_ASSERT(c->epoch == 0 && ev->epoch > 0);
        c->epoch = ev->epoch;
        return BRG_OK;
    case BRG_EV_TICK: return BRG_OK;
    case BRG_EV_HELLO: return on_hello(c, ev, out);
    case BRG_EV_DECODED: brg_rounds_decoded(&c->rounds, ev, out); return BRG_OK;
    case BRG_EV_APPLIED: brg_rounds_applied(&c->rounds, ev, out); return BRG_OK;
    case BRG_EV_CHECKPOINTED: brg_rounds_checkpointed(&c->rounds, ev, out); return BRG_OK;
    case BRG_EV_OPENED: on_opened(c, ev, out); return BRG_OK;
    case BRG_EV_OPEN_FAILED: on_open_failed(c, ev, out); return BRG_OK;
    case BRG_EV_RUN_FAILED: on_run_failed(c, ev, out); return BRG_OK;
    case BRG_EV_LINE:
    case BRG_EV_LINE_DONE: on_line(c, ev, out); return BRG_OK;
    case BRG_EV_MAY_GO:
        if (c->line.phase != BRG_LINE_RUN_OPEN) return BRG_OK;
        brg_line_run_may_go(&c->line, ev->member);
        return BRG_OK;
    case BRG_EV_SUBMIT: return on_submit(c, ev, out);
    case BRG_EV_PAUSE:
    case BRG_EV_RESUME:
    case BRG_EV_STOP: return on_run_wish(c, ev, out);
    case BRG_EV_TOKEN_ADD:
    case BRG_EV_TOKEN_REVOKE: return on_token_wish(c, ev, out);
    case BRG_EV_ALLOW:
    case BRG_EV_REVOKE: return on_key_wish(c, ev, out);
    case BRG_EV_ASK_DRAIN:
        if (ev->member >= c->members.count) return BRG_ENOENT;
        if (!brg_members_is_here(&c->members.items[ev->member])) return BRG_EINVAL;
        on_drain(c, ev->member, out);
        return BRG_OK;
    case BRG_EV_SWITCH:
        if (c->rounds.phase == BRG_PHASE_IDLE || c->rounds.plan.run != ev->run) return BRG_ENOENT;
        return brg_rounds_switch(&c->rounds, ev->scheme);
    default: BRG_ASSERT(0 && "an event type that does not exist");
    }
    return BRG_EINVAL;
}

/* A member that comes and goes, or lies, must not fill the log. */
static void bound_notes(struct brg_coord *c, struct brg_coord_actions *out) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < out->count; i++) {
        const struct brg_coord_action *a = &out->items[i];
        if (a->type == BRG_ACT_NOTE && a->member < c->members.count &&
            !brg_members_may_note(&c->members, a->member, c->now_ns)) {
            continue;
        }
        if (kept != i) out->items[kept] = *a;
        kept++;
    }
    out->count = kept;
}

int brg_coord_step(struct brg_coord *c, const struct brg_coord_event *ev,
                   struct brg_coord_actions *out) {
    BRG_ASSERT(ev->now_ns >= c->now_ns);
    out->count = 0;
    if (c->halted) return BRG_OK;
    const int rc = dispatch(c, ev, out);
    if (rc != BRG_OK) {
        BRG_ASSERT(out->count == 0); /* what failed changed nothing */
        return rc;
    }
    c->now_ns = ev->now_ns;
    if (c->halted) return BRG_OK;
    uint64_t next_ns = watch_leases(c, out);
    const uint64_t round_ns = brg_rounds_advance(&c->rounds, &c->members, c->now_ns, out);
    if (round_ns < next_ns) next_ns = round_ns;
    if (c->members.leaving && c->line.phase == BRG_LINE_RUN_OPEN)
        brg_line_run_let_go(&c->line, &c->members, out);
    else if (c->members.leaving)
        brg_rounds_let_go(&c->rounds, &c->members, out);
    close_if_finished(c, out);
    if (c->epoch > 0) open_next(c, out);
    if (next_ns != UINT64_MAX) {
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_ARM, .at_ns = next_ns});
    }
    bound_notes(c, out);
    return BRG_OK;
}

void brg_coord_check(const struct brg_coord *c) {
    BRG_ASSERT(c->run_count <= BRG_RUNS_MAX);
    brg_members_check(&c->members);
    brg_rounds_check(&c->rounds, &c->members);
    uint32_t open = 0;
    for (uint32_t i = 0; i < c->run_count; i++) {
        const uint32_t state = c->runs[i].plan.state;
        BRG_ASSERT(state > BRG_RUN_NONE && state <= BRG_RUN_FAILED);
        BRG_ASSERT(c->runs[i].committed <= c->runs[i].plan.steps);
        open += state == BRG_RUN_OPENING || state == BRG_RUN_ACTIVE;
    }
    BRG_ASSERT(open == (c->open_run != BRG_NOBODY));
    if (c->rounds.phase != BRG_PHASE_IDLE) BRG_ASSERT(c->open_run != BRG_NOBODY);
    if (c->line.phase == BRG_LINE_RUN_IDLE) return;
    BRG_ASSERT(c->open_run != BRG_NOBODY && c->runs[c->open_run].plan.run == c->line.run);
    BRG_ASSERT(c->rounds.phase == BRG_PHASE_IDLE);
}
