/* What people see of a pipeline: events, and its part of the status. */
#include <inttypes.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "coordinator/shell/line_private.h"

static const char *const phases[] = {"idle",     "waiting for workers", "placing", "training",
                                     "finished", "writing files"};

int brg_line_is_inexact(uint32_t rung) {
    return rung == BRG_RUNG_SHADOW || rung == BRG_RUNG_PARITY || rung == BRG_RUNG_NEIGHBOURS ||
           rung == BRG_RUNG_RANDOM;
}

static void note_recovered(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_line *line = s->line;
    line->rung_last[a->stage] = a->rung;
    if (a->rung <= BRG_LADDER_RUNGS_MAX) line->recoveries[a->rung]++;
    brg_service_event(s, BRG_EVENT_RECOVERED, s->run->config.id, a->member,
                      "stage %u came back by %s, %" PRIu64 " step%s stale", a->stage,
                      brg_rung_name(a->rung), a->step, a->step == 1 ? "" : "s");
}

void brg_line_note(struct brg_service *s, const struct brg_pipe_action *a) {
    const uint64_t run = s->run->config.id;
    switch (a->note) {
    case BRG_PNOTE_RECOVERED: note_recovered(s, a); break;
    case BRG_PNOTE_RECOVERING:
        brg_service_event(s, BRG_EVENT_LINE, run, a->member,
                          "stage %u is lost and comes back by %s", a->stage,
                          brg_rung_name(a->rung));
        break;
    case BRG_PNOTE_PLACED:
        brg_log_info(
            "line",
            BRG_FIELDS(BRG_U64("run", run), BRG_U64("generation", s->line->machine.generation)),
            "placed");
        break;
    case BRG_PNOTE_STARVED:
        brg_service_event(s, BRG_EVENT_LINE, run, BRG_NOBODY,
                          "nobody is there for stage %u: the "
                          "run waits for workers",
                          a->stage);
        break;
    case BRG_PNOTE_STUCK:
        brg_service_event(
            s, BRG_EVENT_LINE, run, BRG_NOBODY,
            "stage %u is lost, and no rung of recovery.ladder brings it back: the run "
            "waits for a worker that has it",
            a->stage);
        break;
    case BRG_PNOTE_DIGESTS_DIFFER:
        brg_service_event(s, BRG_EVENT_LINE, run, a->member,
                          "has other bits of stage %u than its replica, and copies them", a->stage);
        break;
    case BRG_PNOTE_ROLLBACK:
        brg_service_event(s, BRG_EVENT_LINE, run, BRG_NOBODY,
                          "all stages go back to the checkpoint of step %" PRIu64, a->step);
        break;
    case BRG_PNOTE_HANDED_OVER:
        brg_service_event(s, BRG_EVENT_LINE, run, a->member, "took over stage %u", a->stage);
        break;
    case BRG_PNOTE_FETCH_FAILED:
        brg_service_event(s, BRG_EVENT_LINE, run, a->member, "could not fetch stage %u by %s",
                          a->stage, a->rung == 0 ? "its own state" : brg_rung_name(a->rung));
        break;
    case BRG_PNOTE_CUT_OFF:
        brg_service_event(s, BRG_EVENT_LINE, run, a->member,
                          "others cannot reach it: it gives stage %u up", a->stage);
        break;
    case BRG_PNOTE_FINISHED: brg_line_ended(s, 1); break;
    case BRG_PNOTE_PAUSED: brg_line_ended(s, 0); break;
    default: break;
    }
}

/* ---- status ---- */

static cJSON *show_holder(const struct brg_service *s, uint32_t member) {
    const struct brg_line_member *m = &s->line->members[member];
    const struct brg_pipe_member *p = &s->line->machine.members[member];
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "worker", s->members[member].record.name);
    (void)cJSON_AddNumberToObject(o, "lanes", (double)p->lanes);
    (void)cJSON_AddBoolToObject(o, "ready", p->ready != 0);
    (void)cJSON_AddNumberToObject(o, "compute_s", (double)m->compute_ns / 1e9);
    (void)cJSON_AddNumberToObject(o, "wait_s", (double)m->wait_ns / 1e9);
    return o;
}

static void add_kept(const struct brg_service *s, cJSON *o, const char *name, uint32_t member,
                     uint64_t version) {
    if (member == BRG_NOBODY || version == 0) {
        (void)cJSON_AddNullToObject(o, name);
        return;
    }
    cJSON *kept = cJSON_AddObjectToObject(o, name);
    (void)cJSON_AddStringToObject(kept, "worker", s->members[member].record.name);
    (void)cJSON_AddNumberToObject(kept, "version", (double)version);
}

static cJSON *show_stage(const struct brg_service *s, uint32_t index) {
    const struct brg_line *line = s->line;
    const struct brg_pipe_stage *stage = &line->machine.stages[index];
    const uint64_t tokens = s->run->targets;
    double compute_s = 0, wait_s = 0, bytes = 0;
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "stage", (double)index);
    (void)cJSON_AddNumberToObject(o, "lineage", (double)stage->lineage);
    if (line->rung_last[index] != 0)
        (void)cJSON_AddStringToObject(o, "rung_last", brg_rung_name(line->rung_last[index]));
    else
        (void)cJSON_AddNullToObject(o, "rung_last");
    cJSON *holders = cJSON_AddArrayToObject(o, "holders");
    for (uint32_t i = 0; i < stage->count; i++) {
        const struct brg_line_member *m = &line->members[stage->holders[i]];
        (void)cJSON_AddItemToArray(holders, show_holder(s, stage->holders[i]));
        if ((double)m->compute_ns / 1e9 > compute_s) compute_s = (double)m->compute_ns / 1e9;
        if ((double)m->wait_ns / 1e9 > wait_s) wait_s = (double)m->wait_ns / 1e9;
        bytes += (double)m->sent_bytes;
    }
    add_kept(s, o, "shadow", stage->shadow_member, stage->shadow_version);
    add_kept(s, o, "parity", stage->parity_member, stage->parity_version);
    (void)cJSON_AddNumberToObject(o, "compute_s", compute_s);
    (void)cJSON_AddNumberToObject(o, "wait_s", wait_s);
    (void)cJSON_AddNumberToObject(o, "bytes_per_token", tokens > 0 ? bytes / (double)tokens : 0);
    return o;
}

const char *brg_line_phase(const struct brg_service *s) {
    const uint32_t phase = s->line->machine.phase;
    return phase <= BRG_PIPE_SAVING ? phases[phase] : "";
}

struct cJSON *brg_line_show(const struct brg_service *s) {
    if (s->line == NULL) return cJSON_CreateNull();
    const struct brg_pipeline *p = &s->line->machine;
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(o, "generation", (double)p->generation);
    (void)cJSON_AddStringToObject(o, "phase", brg_line_phase(s));
    (void)cJSON_AddNumberToObject(o, "committed", (double)p->committed);
    (void)cJSON_AddNumberToObject(o, "checkpoint", (double)p->checkpoint);
    (void)cJSON_AddNumberToObject(o, "checkpoint_every", (double)p->plan.checkpoint_every);
    (void)cJSON_AddNumberToObject(o, "lanes", (double)p->plan.lanes);
    cJSON *recoveries = cJSON_AddObjectToObject(o, "recoveries");
    for (uint32_t r = 1; r <= BRG_LADDER_RUNGS_MAX; r++) {
        (void)cJSON_AddNumberToObject(recoveries, brg_rung_name(r), (double)s->line->recoveries[r]);
    }
    cJSON *stages = cJSON_AddArrayToObject(o, "stages");
    for (uint32_t i = 0; i < p->plan.stages; i++)
        (void)cJSON_AddItemToArray(stages, show_stage(s, i));
    return o;
}
