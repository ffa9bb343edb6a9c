/* answers.c - what the compute thread has done becomes events of the machine. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "coordinator/shell/line.h"
#include "coordinator/shell/service_private.h"

double brg_service_step_loss(const struct brg_service *s, uint64_t step) {
    double sum = 0;
    if (s->run == NULL) return NAN;
    for (uint32_t c = 0; c < s->run->config.run.batch.chunks; c++) {
        if (s->chunk_losses[step % BRG_JOBS_MAX][c].step != step) return NAN;
        sum += s->chunk_losses[step % BRG_JOBS_MAX][c].loss;
    }
    return sum / (double)s->run->targets;
}

/* Exit code for an error of the disk or of stored bytes. */
static int exit_code_of(int rc) {
    if (rc == BRG_ECORRUPT || rc == BRG_EBEHIND) return BRG_EXIT_DATA;
    if (rc == BRG_ENOSPC || rc == BRG_EIO || rc == BRG_EPERM) return BRG_EXIT_IO;
    return BRG_EXIT_TEMPORARY;
}

static void feed(struct brg_service *s, uint32_t type, const struct brg_shell_job *job) {
    struct brg_coord_event ev = {.type = type, .run = job->run_id, .step = job->step};
    const int rc = brg_service_feed(s, &ev);
    BRG_ASSERT(rc == BRG_OK);
}

/* Takes over the parameters that a job offers as those of `model`. */
static void take_params(struct brg_service *s, uint32_t model, struct brg_source *from) {
    brg_source_fini(&s->params[model]);
    s->params[model] = *from;
    memset(from, 0, sizeof *from);
}

/* What is kept of the open run begins anew. */
static void begin_run(struct brg_service *s, struct brg_shell_job *job, uint32_t index) {
    s->run = job->run;
    s->run_index = index;
    for (uint32_t m = 0; m < s->run->config.run.models; m++) take_params(s, m, &job->params[m]);
    const int is_line = s->run->config.run.kind == BRG_RUN_KIND_PIPELINE;
    memset(s->chunk_losses, 0, sizeof s->chunk_losses);
    memset(&s->link, 0, sizeof s->link);
    s->point_count = s->held_out_count = 0;
    s->unsaved_count = 0;
    free(s->unsaved);
    s->unsaved = NULL;
    if (!is_line && s->run->config.run.durability == BRG_DURABILITY_CHECKPOINT) {
        s->unsaved_capacity = 64;
        s->unsaved = calloc(s->unsaved_capacity, sizeof *s->unsaved);
        BRG_ASSERT(s->unsaved != NULL);
    }
    if (!is_line) brg_delays_open(s->run->config.folder, &s->delays);
    if (!is_line) brg_tuning_open(s);
    struct brg_store_head head;
    brg_store_head(s->store, job->run_id, &head);
    s->chain = head.digest;
}

static void on_opened(struct brg_service *s, struct brg_shell_job *job) {
    const uint32_t index = brg_coord_run(&s->core, job->run_id);
    BRG_ASSERT(index != BRG_NOBODY);
    if (job->rc == BRG_ECORRUPT || job->rc == BRG_EBEHIND || job->rc == BRG_ENOSPC ||
        job->rc == BRG_EIO) {
        brg_service_fail(s, exit_code_of(job->rc), "run %" PRIu64 " cannot be restored: %s",
                         job->run_id, job->why.text);
        return;
    }
    if (job->rc != BRG_OK) {
        (void)snprintf(s->runs[index].record.reason, sizeof s->runs[index].record.reason, "%.255s",
                       job->why.text);
        brg_log_error("run", BRG_FIELDS(BRG_U64("run", job->run_id)), "cannot be opened: %s",
                      job->why.text);
        feed(s, BRG_EV_OPEN_FAILED, job);
        return;
    }
    begin_run(s, job, index);
    brg_service_keep_start(s, index);
    if (brg_line_open(s, &job->why) != BRG_OK) {
        brg_service_fail(s, BRG_EXIT_DATA, "run %" PRIu64 " cannot be restored: %s", job->run_id,
                         job->why.text);
        return;
    }
    struct brg_coord_event ev = {.type = BRG_EV_OPENED,
                                 .run = job->run_id,
                                 .step = s->run->applied,
                                 .scheme = s->run->scheme};
    brg_log_info("run",
                 BRG_FIELDS(BRG_U64("run", job->run_id), BRG_STR("name", s->run->config.run.name),
                            BRG_U64("step", s->run->applied),
                            BRG_U64("checkpoint", s->run->checkpoint),
                            BRG_U64("parameters", s->run->param_count)),
                 "open");
    const int rc = brg_service_feed(s, &ev);
    BRG_ASSERT(rc == BRG_OK);
    brg_line_go(s);
}

static void on_verified(struct brg_service *s, struct brg_shell_job *job) {
    struct brg_service_share *share = brg_service_share(s, job->step, job->unit);
    struct brg_coord_event ev = {.type = BRG_EV_SHARE,
                                 .epoch = s->core.epoch,
                                 .session = s->members[job->member].session,
                                 .run = job->run_id,
                                 .step = job->step,
                                 .unit = job->unit,
                                 .member = job->member,
                                 .code = job->rc};
    (void)!brg_service_feed(s, &ev);
    if (s->run == NULL || s->run->config.id != job->run_id || job->rc != BRG_OK) return;
    const struct brg_job *step = brg_rounds_job(&s->core.rounds, job->step);
    if (step == NULL || job->step <= s->core.rounds.committed) return;
    const struct brg_progress *u = &step->units[job->unit];
    if (u->state != BRG_UNIT_HELD || u->puller != job->member) return;
    brg_buffer_release(share->here);  /* of a member that was revoked since */
    share->here = job->verify.buffer; /* with its hold */
    job->verify.buffer = NULL;
    share->member = job->member;
    share->step = job->step;
}

static void on_decoded(struct brg_service *s, struct brg_shell_job *job) {
    if (job->rc == BRG_EINVAL) { /* not finite: no step is made of it */
        (void)snprintf(s->runs[s->run_index].record.reason,
                       sizeof s->runs[s->run_index].record.reason, "%.255s", job->why.text);
        brg_log_error("run", BRG_FIELDS(BRG_U64("run", job->run_id)), "%s", job->why.text);
        feed(s, BRG_EV_RUN_FAILED, job);
        return;
    }
    if (job->rc != BRG_OK) {
        brg_service_fail(s, exit_code_of(job->rc), "%s", job->why.text);
        return;
    }
    s->decoded = job->decode.entry;
    s->decoded_norm = job->decode.norm;
    feed(s, BRG_EV_DECODED, job);
}

static void add_point(struct brg_service *s, const struct brg_shell_job *job) {
    const struct brg_service_run *run = &s->runs[s->run_index];
    const struct brg_job *step = brg_rounds_job(&s->core.rounds, job->step);
    const uint32_t model = brg_model_of_step(job->step, run->config.models);
    struct brg_service_point *p = &s->points[s->point_count++ % BRG_CURVE_POINTS_MAX];
    BRG_ASSERT(step != NULL);
    p->step = job->step;
    p->at_ns = s->now_ns;
    p->loss = run->models[model].loss;
    p->lr = s->report.lr;
    p->norm = s->report.grad_norm;
    p->seconds = (double)(s->now_ns - step->started_ns) / 1e9;
    p->waited = step->waited;
    s->runs[s->run_index].waited_steps += p->waited;
    brg_log_info("round",
                 BRG_FIELDS(BRG_U64("run", job->run_id), BRG_U64("step", job->step),
                            BRG_F64("loss", p->loss), BRG_F64("lr", p->lr),
                            BRG_F64("norm", p->norm), BRG_F64("seconds", p->seconds),
                            BRG_U64("waited", p->waited), BRG_U64("model", model)),
                 "step");
}

static void give_eval(struct brg_service *s, uint64_t step) {
    const struct brg_run_config *config = &s->run->config.run;
    if (config->eval.every_steps == 0 || s->run->sampler.held_samples == 0) return;
    const uint64_t own = brg_model_step(step, config->models);
    if (own % config->eval.every_steps != 0 && own != config->steps) return;
    struct brg_shell_job *job = brg_job_new(BRG_JOB_EVAL);
    job->run = s->run;
    job->run_id = s->run->config.id;
    job->step = step;
    job->eval.model = brg_model_of_step(step, config->models);
    job->eval.samples = config->eval.samples;
    brg_jobs_give(s->jobs, job);
}

static void on_applied(struct brg_service *s, struct brg_shell_job *job) {
    if (job->rc != BRG_OK) {
        brg_service_fail(s, exit_code_of(job->rc), "%s", job->why.text);
        return;
    }
    take_params(s, brg_model_of_step(job->step, s->run->config.run.models), &job->params[0]);
    s->report = job->apply.report;
    add_point(s, job);
    give_eval(s, job->step);
    feed(s, BRG_EV_APPLIED, job);
}

static void on_checkpointed(struct brg_service *s, struct brg_shell_job *job) {
    if (job->rc != BRG_OK) {
        brg_service_fail(s, exit_code_of(job->rc), "%s", job->why.text);
        return;
    }
    for (uint32_t m = 0; m < BRG_MODELS_MAX; m++) {
        s->runs[s->run_index].models[m].params = job->checkpoint.params[m];
    }
    feed(s, BRG_EV_CHECKPOINTED, job);
}

static void on_evaluated(struct brg_service *s, const struct brg_shell_job *job) {
    const uint32_t index = brg_coord_run(&s->core, job->run_id);
    if (job->rc != BRG_OK || index == BRG_NOBODY || job->eval.sums.count == 0) return;
    struct brg_service_model *model = &s->runs[index].models[job->eval.model];
    const double count = (double)job->eval.sums.count;
    struct brg_service_held_out *p = &s->held_out[s->held_out_count++ % BRG_HELD_OUT_POINTS_MAX];
    p->step = job->step;
    model->held_out_step = brg_model_step(job->step, s->runs[index].config.models);
    p->loss = model->held_out_loss = job->eval.sums.loss / count;
    p->accuracy = model->held_out_accuracy = (double)job->eval.sums.correct / count;
    brg_log_info("run",
                 BRG_FIELDS(BRG_U64("run", job->run_id), BRG_U64("step", job->step),
                            BRG_F64("loss", p->loss), BRG_F64("accuracy", p->accuracy),
                            BRG_U64("model", job->eval.model)),
                 "held-out samples");
}

void brg_service_answers(struct brg_service *s) {
    struct brg_shell_job *job;
    while (s->exit_code < 0 && (job = brg_jobs_take(s->jobs)) != NULL) {
        switch ((enum brg_job_type)job->type) {
        case BRG_JOB_OPEN: on_opened(s, job); break;
        case BRG_JOB_VERIFY: on_verified(s, job); break;
        case BRG_JOB_DECODE: on_decoded(s, job); break;
        case BRG_JOB_APPLY: on_applied(s, job); break;
        case BRG_JOB_CHECKPOINT: on_checkpointed(s, job); break;
        case BRG_JOB_TRUNCATE:
            if (job->rc != BRG_OK) {
                brg_service_fail(s, exit_code_of(job->rc), "%s", job->why.text);
            }
            break;
        case BRG_JOB_EVAL: on_evaluated(s, job); break;
        case BRG_JOB_TUNE: brg_tuning_answer(s, job); break;
        case BRG_JOB_LINE: brg_line_answer(s, job->rc, job->line, &job->why); break;
        case BRG_JOB_SNAPSHOT: brg_service_snapshot_answer(s, job); break;
        case BRG_JOB_CLOSE: s->closing--; break;
        }
        brg_job_free(job);
    }
}
