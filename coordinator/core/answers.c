/* answers.c - what members say about their tasks and shares, and what their going means. */
#include <string.h>

#include "coordinator/core/rounds_private.h"

/* A worker that does not know of its task by its next beats gets it once more. */
#define RESEND_AFTER_NS (500 * BRG_NS_PER_MS)
/* ... and after so long with the run's description: it may not have heard that the run was closed
 * and opened again at an earlier step, and take the task for an old one. */
#define DESCRIBE_AFTER_NS (4 * RESEND_AFTER_NS)

static struct brg_coord_action about(const struct brg_coord_event *ev,
                                     enum brg_coord_action_type type) {
    return (struct brg_coord_action){
        .type = type, .run = ev->run, .step = ev->step, .unit = ev->unit, .member = ev->member};
}

static void note(struct brg_coord_actions *out, const struct brg_coord_event *ev,
                 enum brg_note code) {
    struct brg_coord_action act = about(ev, BRG_ACT_NOTE);
    act.code = (int32_t)code;
    act.attempt = (uint32_t)ev->code;
    brg_coord_act(out, act);
}

static void send_run(const struct brg_rounds *r, uint32_t slot, struct brg_coord_actions *out) {
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_SEND_RUN, .run = r->plan.run, .member = slot});
}

/* ---- coming and going ---- */

void brg_rounds_member_ready(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                             struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || r->phase == BRG_PHASE_FINISHING) return;
    send_run(r, slot, out);
    brg_rounds_fill(r, m);
    r->look_ns = 0; /* it is idle, and something may be missing */
}

void brg_rounds_member_gone(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                            enum brg_gone how) {
    struct brg_member *member = &m->items[slot];
    if (r->phase == BRG_PHASE_IDLE) return; /* closing the run has emptied every member */
    brg_rounds_forget_tasks(r, member);
    brg_rounds_unseat(r, member);
    brg_rounds_fill(r, m);
    r->look_ns = 0;
    if (how == BRG_GONE_STILL_HERE) return;
    for (uint64_t step = r->ended + 1; step <= r->newest; step++) {
        struct brg_job *job = brg_rounds_open_job(r, step);
        for (uint32_t u = 0; u < r->unit_count; u++) {
            const uint32_t k = brg_rounds_holder(&job->units[u], slot);
            if (k < job->units[u].holder_count) brg_rounds_drop_holder(r, job, u, k);
        }
    }
    if (how == BRG_GONE_REVOKED) brg_rounds_discard(r, slot);
}

/* 1 where a share of an open step is on its way from `slot`. */
static int is_pulled_from(const struct brg_rounds *r, uint32_t slot) {
    for (uint64_t step = r->ended + 1; step <= r->newest; step++) {
        if (!brg_rounds_is_open(r, step)) return 0;
        const struct brg_job *job = brg_rounds_job(r, step);
        for (uint32_t u = brg_bits_next(&job->pulling, 0); u < BRG_BITS_MAX;
             u = brg_bits_next(&job->pulling, u + 1)) {
            if (job->units[u].puller == slot) return 1;
        }
    }
    return 0;
}

void brg_rounds_let_go(const struct brg_rounds *r, struct brg_members *m,
                       struct brg_coord_actions *out) {
    m->leaving = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        struct brg_member *member = &m->items[i];
        if (member->state != BRG_MEMBER_DRAINING || member->drain_acked) continue;
        if (is_pulled_from(r, i)) {
            m->leaving = 1;
            continue;
        }
        member->drain_acked = 1;
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_DRAIN_ACK, .member = i});
    }
}

/* ---- done ---- */

/* The first position that has done all of its work sets the patience with the others. */
static void finish_wave(struct brg_rounds *r, struct brg_member *member, uint64_t now_ns) {
    BRG_ASSERT(r->outstanding > 0 && member->position != BRG_NOBODY);
    member->in_wave = 0;
    r->outstanding--;
    r->answered++;
    brg_bits_remove(&r->unfinished, member->position);
    if (r->first_ns != BRG_POLICY_NEVER) return;
    r->first_ns = now_ns;
    r->look_ns = 0;
}

/* Takes the task off the member's list, if it is on it, and learns how quick the member is. */
static void take_off(struct brg_rounds *r, const struct brg_members *m, struct brg_member *member,
                     const struct brg_coord_event *ev) {
    uint32_t k = 0;
    while (k < member->task_count &&
           (member->tasks[k].step != ev->step || member->tasks[k].unit != ev->unit)) {
        k++;
    }
    if (k == member->task_count) return;
    const uint32_t index = member->tasks[k].index;
    const uint64_t chunk_ns =
        (ev->now_ns - member->sent_ns) / brg_scheme_unit_chunks(r->scheme, ev->unit);
    member->chunk_ns = member->chunk_ns == 0 ? chunk_ns : (3 * member->chunk_ns + chunk_ns) / 4;
    member->sent_ns = ev->now_ns;
    if (index != BRG_NO_UNIT && member->position != BRG_NOBODY) {
        struct brg_round_entry *entry = &r->running.entries[member->position];
        BRG_ASSERT(index < entry->count && &m->items[entry->member] == member);
        entry->done_ns[index] = ev->now_ns - r->started_ns;
    }
    member->task_count--;
    memmove(&member->tasks[k], &member->tasks[k + 1],
            (member->task_count - k) * sizeof member->tasks[0]);
    memset(&member->tasks[member->task_count], 0, sizeof member->tasks[0]);
    if (member->task_count > 0) return;
    if (member->in_wave) finish_wave(r, member, ev->now_ns);
    if (r->hungry) r->look_ns = 0;
}

/* One more who holds a unit of an open step. */
static void add_holder(struct brg_rounds *r, struct brg_members *m,
                       const struct brg_coord_event *ev, struct brg_coord_actions *out) {
    struct brg_job *job = brg_rounds_open_job(r, ev->step);
    struct brg_progress *u = &job->units[ev->unit];
    if (brg_rounds_holder(u, ev->member) < u->holder_count) return; /* a second copy */
    if (u->state == BRG_UNIT_HELD || u->holder_count == BRG_HOLDERS_MAX) return;
    if (u->holder_count > 0 && !brg_digest_equal(&u->digests[0], &ev->digest)) {
        note(out, ev, BRG_NOTE_DIGESTS_DIFFER);
    }
    u->holders[u->holder_count] = ev->member;
    u->digests[u->holder_count++] = ev->digest;
    brg_rounds_pull(r, m, job, ev->unit, ev->now_ns, out);
    if (m->items[ev->member].broken > 0) r->look_ns = 0; /* its promise alone does not count */
}

int brg_rounds_done(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                    struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run) return BRG_OK; /* of a closed run */
    if (ev->step == 0 || ev->since > r->since) return BRG_EPROTO;
    if (ev->step <= r->committed) { /* it missed the announcement */
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_COMMIT,
                                                     .run = r->plan.run,
                                                     .step = r->committed,
                                                     .member = ev->member});
        return BRG_OK;
    }
    if (ev->since < r->since) return BRG_OK; /* under this number the code has other chunks now */
    if (ev->unit >= r->unit_count || ev->step > r->newest) return BRG_EPROTO;
    if (!brg_rounds_is_open(r, ev->step)) return BRG_OK; /* enough are here already */
    struct brg_member *member = &m->items[ev->member];
    if (member->unfit) return BRG_OK; /* it has sent a broken share in this run */
    take_off(r, m, member, ev);
    add_holder(r, m, ev, out);
    return BRG_OK;
}

/* ---- share ---- */

int brg_rounds_share(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out) {
    if (r->phase == BRG_PHASE_IDLE || ev->run != r->plan.run) return BRG_OK;
    if (!brg_rounds_is_open(r, ev->step)) return BRG_OK;
    if (ev->unit >= r->unit_count) return BRG_EPROTO;
    struct brg_job *job = brg_rounds_open_job(r, ev->step);
    struct brg_progress *u = &job->units[ev->unit];
    struct brg_member *member = &m->items[ev->member];
    if (u->state != BRG_UNIT_PULLING || u->puller != ev->member) return BRG_OK; /* not asked now */
    if (ev->code == BRG_OK) {
        brg_rounds_hold(r, job, ev->unit);
        r->recheck |= member->broken > 0; /* what else it promised counts again */
        member->broken = 0;
        if (r->hungry) r->look_ns = 0; /* it may have had too many on the way for one more */
        return BRG_OK;
    }
    if (ev->code == BRG_ECORRUPT) {
        /* It would only send the same again: somebody else has to compute this. */
        note(out, ev, BRG_NOTE_BAD_SHARE);
        member->unfit = 1;
        brg_rounds_member_gone(r, m, ev->member, BRG_GONE_AWAY);
        return BRG_OK;
    }
    /* Without a pause a member that says DONE, GONE, DONE, GONE ... would keep us busy with it. */
    if (member->broken < UINT32_MAX) member->broken++;
    member->hold_ns = ev->now_ns + RESEND_AFTER_NS;
    brg_rounds_drop_holder(r, job, ev->unit, brg_rounds_holder(u, ev->member));
    brg_rounds_pull(r, m, job, ev->unit, ev->now_ns, out);
    return BRG_OK;
}

/* ---- fault, beat ---- */

/* All that `slot` has to do, once more. */
static void send_tasks_again(const struct brg_rounds *r, const struct brg_members *m, uint32_t slot,
                             struct brg_coord_actions *out) {
    const struct brg_member *member = &m->items[slot];
    for (uint32_t k = 0; k < member->task_count; k++) {
        brg_rounds_send_task(r, slot, &member->tasks[k], out);
    }
}

static int has_task(const struct brg_member *member, const struct brg_coord_event *ev) {
    for (uint32_t k = 0; k < member->task_count; k++) {
        if (member->tasks[k].step == ev->step && member->tasks[k].unit == ev->unit) return 1;
    }
    return 0;
}

void brg_rounds_fault(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                      struct brg_coord_actions *out) {
    struct brg_member *member = &m->items[ev->member];
    if (r->phase == BRG_PHASE_IDLE || r->phase == BRG_PHASE_FINISHING) return;
    if (ev->run != r->plan.run) return;
    if (ev->code == BRG_ENOENT) { /* it has not heard of the run, or has lost it */
        send_run(r, ev->member, out);
        send_tasks_again(r, m, ev->member, out);
        return;
    }
    if (!has_task(member, ev)) return;
    note(out, ev, BRG_NOTE_UNFIT);
    member->unfit = 1;
    brg_rounds_member_gone(r, m, ev->member, BRG_GONE_STILL_HERE);
}

void brg_rounds_beat(struct brg_rounds *r, struct brg_members *m, const struct brg_coord_event *ev,
                     struct brg_coord_actions *out) {
    const struct brg_member *member = &m->items[ev->member];
    if (r->phase != BRG_PHASE_COLLECTING || member->task_count == 0) return;
    if (ev->run == r->plan.run && has_task(member, ev)) return;
    const uint64_t since_ns = ev->now_ns - member->sent_ns;
    if (since_ns < RESEND_AFTER_NS) return; /* still on its way */
    if (since_ns >= DESCRIBE_AFTER_NS) send_run(r, ev->member, out);
    send_tasks_again(r, m, ev->member, out);
}
