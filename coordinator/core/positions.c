/* positions.c - who sits where, and what each is given. */
#include <string.h>

#include "coding/regroup.h"
#include "coordinator/core/rounds_private.h"

_Static_assert(BRG_TASKS_MAX == BRG_SCHEME_MINITASKS_MAX, "a member holds what a scheme assigns");

int brg_rounds_works(const struct brg_member *member) {
    return member->state == BRG_MEMBER_ACTIVE && !member->unfit;
}

/* ---- seats ---- */

void brg_rounds_unseat(struct brg_rounds *r, struct brg_member *member) {
    if (member->position == BRG_NOBODY) return;
    BRG_ASSERT(r->position[member->position] != BRG_NOBODY && r->seated > 0);
    r->position[member->position] = BRG_NOBODY;
    r->seated--;
    member->position = BRG_NOBODY;
}

/* The vacant position whose group has the fewest members; the lowest of equals. */
static uint32_t best_vacancy(const struct brg_rounds *r, const uint32_t *filled) {
    uint32_t best = BRG_NOBODY, best_filled = UINT32_MAX;
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        if (r->position[p] != BRG_NOBODY) continue;
        const uint32_t here = filled[brg_scheme_group_of(r->scheme, p)];
        if (here >= best_filled) continue;
        best = p;
        best_filled = here;
    }
    return best;
}

void brg_rounds_fill(struct brg_rounds *r, struct brg_members *m) {
    uint32_t filled[BRG_CODE_WORKERS_MAX];
    int counted = 0;
    for (uint32_t i = 0; i < m->count && r->seated < r->plan.code.n; i++) {
        struct brg_member *member = &m->items[i];
        if (!brg_rounds_works(member) || member->position != BRG_NOBODY) continue;
        if (!counted) { /* only where somebody is free */
            memset(filled, 0, sizeof filled);
            for (uint32_t p = 0; p < r->plan.code.n; p++) {
                if (r->position[p] != BRG_NOBODY) filled[brg_scheme_group_of(r->scheme, p)]++;
            }
            counted = 1;
        }
        const uint32_t p = best_vacancy(r, filled);
        BRG_ASSERT(p != BRG_NOBODY);
        r->position[p] = i;
        r->seated++;
        filled[brg_scheme_group_of(r->scheme, p)]++;
        member->position = p;
    }
}

void brg_rounds_regroup(struct brg_rounds *r, struct brg_members *m) {
    static const struct brg_regroup_seat nobody = {.vacant = 1};
    struct brg_regroup_seat seats[BRG_CODE_WORKERS_MAX];
    uint32_t deal[BRG_CODE_WORKERS_MAX], before[BRG_CODE_WORKERS_MAX];
    const uint32_t n = r->plan.code.n;
    if (brg_scheme_group_count(r->scheme) == n) return; /* nobody shares a group */
    for (uint32_t p = 0; p < n; p++) {
        before[p] = r->position[p];
        seats[p] = nobody;
        if (before[p] == BRG_NOBODY || !brg_rounds_works(&m->items[before[p]])) continue;
        const struct brg_member *member = &m->items[before[p]];
        seats[p] =
            (struct brg_regroup_seat){.chunk_ns = member->chunk_ns, .late_ppm = member->late_ppm};
    }
    brg_regroup_deal(r->scheme, seats, deal);
    for (uint32_t p = 0; p < n; p++) {
        BRG_ASSERT(deal[p] < n);
        r->position[p] = before[deal[p]];
        if (r->position[p] != BRG_NOBODY) m->items[r->position[p]].position = p;
    }
}

/* ---- tasks ---- */

void brg_rounds_forget_tasks(struct brg_rounds *r, struct brg_member *member) {
    memset(member->tasks, 0, sizeof member->tasks);
    member->task_count = 0;
    if (!member->in_wave) return;
    BRG_ASSERT(r->outstanding > 0);
    r->outstanding--;
    member->in_wave = 0;
}

void brg_rounds_send_task(const struct brg_rounds *r, uint32_t slot, const struct brg_task *task,
                          struct brg_coord_actions *out) {
    const struct brg_job *job = brg_rounds_job(r, task->step);
    BRG_ASSERT(job != NULL && task->unit < r->unit_count);
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_TASK,
                                                 .run = r->plan.run,
                                                 .round = r->round,
                                                 .since = r->since,
                                                 .step = task->step,
                                                 .member = slot,
                                                 .unit = task->unit,
                                                 .attempt = job->units[task->unit].attempts + 1});
}

void brg_rounds_give(struct brg_rounds *r, struct brg_members *m, uint32_t slot,
                     struct brg_task task, uint64_t now_ns, struct brg_coord_actions *out) {
    struct brg_member *member = &m->items[slot];
    BRG_ASSERT(brg_rounds_works(member) && member->task_count < BRG_TASKS_MAX);
    BRG_ASSERT(task.unit < r->unit_count);
    member->tasks[member->task_count++] = task;
    member->sent_ns = now_ns;
    brg_rounds_open_job(r, task.step)->units[task.unit].assigned_ns = now_ns;
    brg_rounds_send_task(r, slot, &task, out);
}

/* What the code wants of one position; `have` as it was when the round began. */
static void give_position(struct brg_rounds *r, struct brg_members *m, uint32_t p,
                          const struct brg_bits *have, uint64_t now_ns,
                          struct brg_coord_actions *out) {
    const uint64_t k = brg_rounds_count(r);
    struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
    struct brg_round_entry *entry = &r->running.entries[p];
    const uint32_t slot = r->position[p];
    const uint32_t count = brg_scheme_assign(r->scheme, k, have, p, tasks);
    uint32_t again = 0;
    entry->member = slot;
    entry->count = count;
    if (count == 0) return;
    for (uint32_t i = 0; i < count; i++) {
        BRG_ASSERT(tasks[i].delta < k);
        again |= tasks[i].delta > 0;
        entry->chunks[i] = brg_scheme_unit_chunks(r->scheme, tasks[i].unit);
        const struct brg_task task = {
            .step = r->base + k - tasks[i].delta, .unit = tasks[i].unit, .index = i};
        brg_rounds_give(r, m, slot, task, now_ns, out);
    }
    m->items[slot].in_wave = 1;
    brg_bits_add(&r->unfinished, p);
    r->outstanding++;
    r->handed_out += count;
    r->reattempts += again;
}

void brg_rounds_hand_out(struct brg_rounds *r, struct brg_members *m, uint64_t now_ns,
                         struct brg_coord_actions *out) {
    struct brg_bits have[BRG_SCHEME_JOBS_MAX];
    brg_rounds_have(r, m, BRG_TRUST_PROMISED, have);
    for (uint32_t p = 0; p < r->plan.code.n; p++) {
        memset(&r->running.entries[p], 0, sizeof r->running.entries[p]);
        r->running.entries[p].member = BRG_NOBODY;
        const uint32_t slot = r->position[p];
        if (slot == BRG_NOBODY || !brg_rounds_works(&m->items[slot])) continue;
        give_position(r, m, p, have, now_ns, out);
    }
}
