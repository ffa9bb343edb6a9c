#include "coordinator/core/line_run.h"

#include <string.h>

static void send_run(const struct brg_line_run *l, uint32_t member, struct brg_coord_actions *out) {
    brg_coord_act(
        out, (struct brg_coord_action){.type = BRG_ACT_SEND_RUN, .member = member, .run = l->run});
}

void brg_line_run_open(struct brg_line_run *l, const struct brg_members *members, uint64_t run,
                       struct brg_coord_actions *out) {
    BRG_ASSERT(l->phase == BRG_LINE_RUN_IDLE);
    memset(l, 0, sizeof *l);
    l->run = run;
    l->phase = BRG_LINE_RUN_OPEN;
    for (uint32_t i = 0; i < members->count; i++) {
        if (brg_members_is_here(&members->items[i])) send_run(l, i, out);
    }
}

void brg_line_run_attached(struct brg_line_run *l, uint32_t member, struct brg_coord_actions *out) {
    BRG_ASSERT(member < BRG_MEMBERS_MAX);
    if (l->phase != BRG_LINE_RUN_OPEN) return;
    l->may_go[member / 64] &= ~(UINT64_C(1) << (member % 64)); /* it may hold something again */
    send_run(l, member, out);
}

void brg_line_run_wish(struct brg_line_run *l, uint32_t target, struct brg_coord_actions *out) {
    if (l->phase != BRG_LINE_RUN_OPEN) return;
    if (l->target == target || l->target == BRG_RUN_STOPPED) return;
    l->target = target;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_LINE_STOP,
                                                 .member = BRG_NOBODY,
                                                 .run = l->run,
                                                 .code = (int32_t)target});
}

static void end(struct brg_line_run *l, uint32_t target, struct brg_coord_actions *out) {
    if (l->phase != BRG_LINE_RUN_OPEN) return;
    l->target = target;
    l->phase = BRG_LINE_RUN_DONE;
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_SEND_RELEASE, .member = BRG_NOBODY, .run = l->run});
}

void brg_line_run_done(struct brg_line_run *l, int32_t code, struct brg_coord_actions *out) {
    const uint32_t asked = l->target != 0 ? l->target : (uint32_t)BRG_RUN_PAUSED;
    end(l, code == 0 ? (uint32_t)BRG_RUN_FINISHED : asked, out);
}

void brg_line_run_fail(struct brg_line_run *l, struct brg_coord_actions *out) {
    end(l, BRG_RUN_FAILED, out);
}

void brg_line_run_let_go(const struct brg_line_run *l, struct brg_members *members,
                         struct brg_coord_actions *out) {
    members->leaving = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        struct brg_member *member = &members->items[i];
        if (member->state != BRG_MEMBER_DRAINING || member->drain_acked) continue;
        if ((l->may_go[i / 64] >> (i % 64) & 1) == 0) {
            members->leaving = 1;
            continue;
        }
        member->drain_acked = 1;
        brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_DRAIN_ACK, .member = i});
    }
}

void brg_line_run_may_go(struct brg_line_run *l, uint32_t member) {
    BRG_ASSERT(member < BRG_MEMBERS_MAX);
    l->may_go[member / 64] |= UINT64_C(1) << (member % 64);
}

void brg_line_run_close(struct brg_line_run *l) {
    memset(l, 0, sizeof *l);
}
