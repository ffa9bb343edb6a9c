/* Checkpoints of a pipeline run: from the holders into files, and out of the files again.
 *
 *   CHECKPOINT --Save to a holder of each stage--> it keeps the state of that step
 *      stage 0: Get, Part ... --> PUT on the compute thread; stage 1: ...; last: FINISH
 *      --> CHECKPOINTED: on record with the turn's batch
 *
 * One stage is under way at a time, so that no more than one state lies in memory here. What is
 * lost on the way, a holder or this process, ends the attempt; the next due step makes another. */
#include <string.h>

#include "coordinator/shell/line_private.h"
#include "recovery/state.h"

#define RETRY_NS (BRG_NS_PER_S)
#define IDLE_NS (60 * BRG_NS_PER_S)

/* ---- work ---- */

struct brg_line_work *brg_line_work_new(struct brg_service *s, uint32_t type, uint64_t step) {
    const struct brg_line *line = s->line;
    const struct brg_run_config *c = &s->run->config.run;
    struct brg_line_work *w = calloc(1, sizeof *w);
    BRG_ASSERT(w != NULL);
    w->type = type;
    w->step = step;
    w->run = s->run->config.id;
    w->stages = c->pipeline.stages;
    w->keep = c->checkpoint.keep;
    w->moments = line->moments;
    w->committed = line->machine.committed;
    w->folder = s->run->checkpoint_dir;
    w->model = c->model;
    w->pool = s->pool;
    w->about = brg_shards_describe(c, w->run, step, w->stages);
    w->about.generation = line->save.generation;
    w->about.data = s->run->data.digest;
    return w;
}

void brg_line_give(struct brg_service *s, struct brg_line_work *w) {
    struct brg_shell_job *job = brg_job_new(BRG_JOB_LINE);
    job->run_id = w->run;
    job->run = s->run;
    job->line = w;
    brg_jobs_give(s->jobs, job);
}

/* ---- holders -> files ---- */

void brg_line_save_drop(struct brg_service *s) {
    struct brg_line_save *save = &s->line->save;
    brg_fetch_drop(&save->fetch);
    brg_shards_abort(&save->writer);
    memset(save, 0, sizeof *save);
}

void brg_line_save_lost(struct brg_service *s, uint32_t member) {
    const struct brg_line_save *save = &s->line->save;
    if (save->step == 0) return;
    for (uint32_t i = save->stage; i < s->line->machine.plan.stages; i++) {
        if (save->holders[i] != member) continue;
        brg_line_save_drop(s);
        return;
    }
}

static void say_save(struct brg_service *s, uint32_t member) {
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_SAVE);
    m->save.run = s->run->config.id;
    m->save.step = s->line->save.step;
    m->save.generation = s->line->save.generation;
    brg_service_send(s, &s->members[member].control, m);
}

static uint64_t state_bytes(const struct brg_line *line, uint32_t stage) {
    const uint64_t params = line->cut[stage].param_count;
    return brg_state_bytes(params, line->moments * params,
                           BRG_STATE_WEIGHTS | (line->moments > 0 ? BRG_STATE_MOMENTS : 0u));
}

/* Asks for the next stage. */
static void fetch_stage(struct brg_service *s) {
    struct brg_line_save *save = &s->line->save;
    struct brg_buffer *buffer = NULL;
    const uint64_t size = state_bytes(s->line, save->stage);
    if (brg_pool_get(s->pool, size, &buffer) != BRG_OK) {
        brg_log_warn("coordinator", NULL, "no memory for a stage's state now; raise --memory");
        brg_line_save_drop(s);
        return;
    }
    const struct brg_object object = {.kind = BRG_OBJECT_STATE,
                                      .run = s->run->config.id,
                                      .step = save->step,
                                      .unit = save->stage,
                                      .microbatch = BRG_STATE_PART_WHOLE};
    const struct brg_fetch_config config = {.retry_ns = RETRY_NS,
                                            .idle_ns = IDLE_NS,
                                            .part_bytes = BRG_BULK_PART_BYTES,
                                            .window = BRG_BULK_WINDOW,
                                            .verify_parts = 1};
    brg_fetch_start(&save->fetch, &object, buffer, size, &config, s->now_ns);
}

/* A holder of each stage that is here. return: 0 where one has nobody */
static int choose_holders(struct brg_service *s) {
    const struct brg_pipeline *p = &s->line->machine;
    for (uint32_t t = 0; t < p->plan.stages; t++) {
        uint32_t i = 0;
        while (i < p->stages[t].count && s->line->members[p->stages[t].holders[i]].session == 0)
            i++;
        if (i == p->stages[t].count) return 0;
        s->line->save.holders[t] = p->stages[t].holders[i];
    }
    return 1;
}

void brg_line_save_begin(struct brg_service *s, uint64_t step, uint64_t generation) {
    struct brg_line *line = s->line;
    struct brg_line_save *save = &line->save;
    if (step != line->machine.committed) return;
    if (save->step == step && save->generation == generation) return; /* said again */
    if (save->step != 0 && line->machine.phase != BRG_PIPE_SAVING)
        return; /* the one before is
                 * still on its way */
    brg_line_save_drop(s);
    if (!choose_holders(s)) return; /* the machine finds out, too */
    save->step = step;
    save->generation = generation;
    save->began_ns = save->told_ns = s->now_ns;
    for (uint32_t t = 0; t < line->machine.plan.stages; t++) say_save(s, save->holders[t]);
    fetch_stage(s);
}

void brg_line_save_pump(struct brg_service *s) {
    struct brg_line_save *save = &s->line->save;
    if (save->step == 0 || save->is_writing || !brg_fetch_is_active(&save->fetch)) return;
    if (brg_fetch_is_stuck(&save->fetch, s->now_ns)) {
        brg_service_event(s, BRG_EVENT_LINE, s->run->config.id, save->holders[save->stage],
                          "the checkpoint of step %llu is given up: stage %u does not arrive",
                          (unsigned long long)save->step, save->stage);
        brg_line_save_drop(s);
        return;
    }
    if (save->fetch.here_bytes == 0 && s->now_ns >= save->told_ns + RETRY_NS) {
        save->told_ns = s->now_ns;
        say_save(s, save->holders[save->stage]);
    }
    const struct brg_peer *bulk = &s->members[save->holders[save->stage]].bulk;
    if (bulk->size_bytes == 0) return; /* Attach starts it */
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_GET);
    while (brg_fetch_next_get(&save->fetch, s->now_ns, &m->get)) brg_service_send(s, bulk, m);
}

void brg_line_reconnected(struct brg_service *s, uint32_t member) {
    if (s->line == NULL || s->line->save.step == 0) return;
    struct brg_line_save *save = &s->line->save;
    if (save->holders[save->stage] == member && brg_fetch_is_active(&save->fetch))
        brg_fetch_reconnected(&save->fetch, s->now_ns);
}

int brg_line_save_part(struct brg_service *s, const struct brg_inbound *in, uint32_t member) {
    struct brg_line_save *save = &s->line->save;
    if (save->step == 0 || save->is_writing || save->holders[save->stage] != member) return BRG_OK;
    if (s->msg.type == BRG_MSG_GONE) return BRG_OK; /* not frozen yet: it is asked again */
    const int rc =
        brg_fetch_on_part(&save->fetch, &s->msg, brg_frame_bytes(&in->frames[1]), s->now_ns);
    if (rc == BRG_ENOENT) return BRG_OK;
    if (rc != BRG_OK || !brg_fetch_is_done(&save->fetch)) return rc;
    struct brg_line_work *w = brg_line_work_new(s, BRG_LINE_WORK_PUT, save->step);
    w->stage = save->stage;
    w->size_bytes = save->fetch.size_bytes;
    w->blob = brg_fetch_take(&save->fetch);
    w->writer = save->writer;
    save->writer = NULL;
    save->is_writing = 1;
    brg_line_give(s, w);
    return BRG_OK;
}

/* A stage is in its file. */
static void on_put(struct brg_service *s, int rc, struct brg_line_work *w,
                   const struct brg_why *why) {
    struct brg_line_save *save = &s->line->save;
    if (save->step != w->step || !save->is_writing) return; /* given up meanwhile */
    save->is_writing = 0;
    if (rc == BRG_EPROTO) {
        brg_service_event(s, BRG_EVENT_LINE, w->run, save->holders[w->stage],
                          "the checkpoint of step %llu is given up: %s",
                          (unsigned long long)w->step, why->text);
        brg_line_save_drop(s);
        return;
    }
    save->writer = w->writer;
    w->writer = NULL;
    if (!w->is_there && ++save->stage < s->line->machine.plan.stages) {
        fetch_stage(s);
        return;
    }
    struct brg_line_work *next = brg_line_work_new(s, BRG_LINE_WORK_FINISH, save->step);
    next->writer = save->writer;
    save->writer = NULL;
    save->is_writing = 1;
    brg_line_give(s, next);
}

/* The held-out loss is that of files: nobody holds the whole model. */
static void give_eval(struct brg_service *s, uint64_t step) {
    const struct brg_run_eval *eval = &s->run->config.run.eval;
    if (eval->every_steps == 0 || s->run->sampler.held_samples == 0) return;
    struct brg_shell_job *job = brg_job_new(BRG_JOB_EVAL);
    job->run = s->run;
    job->run_id = s->run->config.id;
    job->step = step;
    job->eval.samples = eval->samples;
    brg_jobs_give(s->jobs, job);
}

static void on_finished(struct brg_service *s, const struct brg_line_work *w) {
    struct brg_line_save *save = &s->line->save;
    if (save->step != w->step) return;
    struct brg_pipe_event ev = {
        .type = BRG_PEV_CHECKPOINTED, .step = save->step, .generation = save->generation};
    s->line->save_ns = s->now_ns - save->began_ns;
    give_eval(s, w->step);
    brg_line_save_drop(s);
    (void)!brg_line_feed(s, &ev);
}

/* ---- files -> members ---- */

struct brg_source *brg_line_file_source(struct brg_service *s, const struct brg_object *object) {
    struct brg_line *line = s->line;
    if (object->unit >= line->machine.plan.stages) return NULL;
    struct brg_line_file *f = &line->files[object->unit];
    const uint64_t lineage = line->machine.stages[object->unit].lineage;
    const int is_same = f->step == object->step && f->lineage == lineage;
    if (f->source.buffer != NULL && is_same) return &f->source;
    if (f->is_loading) return NULL;
    brg_source_fini(&f->source);
    if (object->step != line->machine.checkpoint || object->microbatch != BRG_STATE_PART_WHOLE)
        return &f->source; /* empty: the answer is that it is gone */
    struct brg_line_work *w = brg_line_work_new(s, BRG_LINE_WORK_LOAD, object->step);
    w->stage = object->unit;
    w->lineage = lineage;
    f->step = object->step;
    f->lineage = lineage;
    f->is_loading = 1;
    brg_line_give(s, w);
    return NULL;
}

static void on_loaded(struct brg_service *s, int rc, struct brg_line_work *w,
                      const struct brg_why *why) {
    struct brg_line_file *f = &s->line->files[w->stage];
    f->is_loading = 0;
    if (rc == BRG_ENOMEM) return; /* asked for again */
    if (rc != BRG_OK) {
        brg_line_fail(s, "%.180s; resume the run, and it goes on from an older one", why->text);
        return;
    }
    f->source = w->source;
    memset(&w->source, 0, sizeof w->source);
}

void brg_line_answer(struct brg_service *s, int rc, struct brg_line_work *w,
                     const struct brg_why *why) {
    if (s->line == NULL || s->run->config.id != w->run) return; /* closed meanwhile */
    const int is_disk = rc == BRG_EIO || rc == BRG_ENOSPC || rc == BRG_EPERM;
    if (is_disk || (rc != BRG_OK && w->type == BRG_LINE_WORK_FINISH)) {
        brg_service_fail(s, BRG_EXIT_IO, "%s", why->text);
        return;
    }
    switch (w->type) {
    case BRG_LINE_WORK_PUT: on_put(s, rc, w, why); break;
    case BRG_LINE_WORK_FINISH: on_finished(s, w); break;
    case BRG_LINE_WORK_LOAD: on_loaded(s, rc, w, why); break;
    default: break;
    }
}
