/* answers.c - what the compute thread has done becomes events of the machine. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "coordinator/shell/service_private.h"

void brg_service_drop_shares(struct brg_service *s) {
    for (uint32_t u = 0; u < BRG_CODE_WORKERS_MAX; u++) {
        brg_fetch_drop(&s->shares[u].fetch);
        brg_buffer_release(s->shares[u].here);
        s->shares[u].here = NULL;
    }
}

double brg_service_step_loss(const struct brg_service *s, uint64_t step) {
    double sum = 0;
    if (s->run == NULL) return NAN;
    for (uint32_t c = 0; c < s->run->config.run.batch.chunks; c++) {
        if (s->chunk_losses[c].step != step) return NAN;
        sum += s->chunk_losses[c].loss;
    }
    return sum / (double)s->run->targets;
}

/* Exit code for an error of the disk or of stored bytes. */
static int exit_code_of(int rc) {
    if (rc == BRG_ECORRUPT || rc == BRG_EBEHIND) return BRG_EXIT_DATA;
    if (rc == BRG_ENOSPC || rc == BRG_EIO || rc == BRG_EPERM) return BRG_EXIT_IO;
    return BRG_EXIT_TEMPORARY;
}

static void feed(struct brg_service *s, uint32_t type, const struct brg_job *job) {
    struct brg_coord_event ev = {.type = type, .run = job->run_id, .step = job->step};
    const int rc = brg_service_feed(s, &ev);
    BRG_ASSERT(rc == BRG_OK);
}

static void on_opened(struct brg_service *s, struct brg_job *job) {
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
    s->run = job->run;
    s->run_index = index;
    brg_source_fini(&s->params);
    s->params = job->params;
    memset(&job->params, 0, sizeof job->params);
    memset(s->chunk_losses, 0, sizeof s->chunk_losses);
    s->point_count = s->held_out_count = 0;
    s->unsaved_count = 0;
    free(s->unsaved);
    s->unsaved = NULL;
    if (s->run->config.run.durability == BRG_DURABILITY_CHECKPOINT) {
        s->unsaved_capacity = 64;
        s->unsaved = calloc(s->unsaved_capacity, sizeof *s->unsaved);
        BRG_ASSERT(s->unsaved != NULL);
    }
    struct brg_store_head head;
    brg_store_head(s->store, job->run_id, &head);
    s->chain = head.digest;
    struct brg_coord_event ev = {.type = BRG_EV_OPENED,
                                 .run = job->run_id,
                                 .step = s->run->version,
                                 .scheme = s->run->scheme};
    brg_log_info("run",
                 BRG_FIELDS(BRG_U64("run", job->run_id), BRG_STR("name", s->run->config.run.name),
                            BRG_U64("step", s->run->version),
                            BRG_U64("checkpoint", s->run->checkpoint),
                            BRG_U64("parameters", s->run->param_count)),
                 "open");
    const int rc = brg_service_feed(s, &ev);
    BRG_ASSERT(rc == BRG_OK);
}

static void on_verified(struct brg_service *s, struct brg_job *job) {
    struct brg_service_share *share = &s->shares[job->unit];
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
    const struct brg_rounds *r = &s->core.rounds;
    if (r->step != job->step || job->unit >= r->unit_count) return;
    const struct brg_progress *u = &r->units[job->unit];
    if (u->state != BRG_UNIT_HELD || u->puller != job->member) return;
    brg_buffer_release(share->here);  /* of a member that was revoked since */
    share->here = job->verify.buffer; /* with its hold */
    job->verify.buffer = NULL;
    share->member = job->member;
    share->step = job->step;
}

static void on_decoded(struct brg_service *s, struct brg_job *job) {
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

static void add_point(struct brg_service *s, const struct brg_job *job) {
    const struct brg_service_run *run = &s->runs[s->run_index];
    struct brg_service_point *p = &s->points[s->point_count++ % BRG_CURVE_POINTS_MAX];
    p->step = job->step;
    p->loss = run->loss;
    p->lr = s->report.lr;
    p->norm = s->report.grad_norm;
    p->seconds = (double)(s->now_ns - s->core.rounds.started_ns) / 1e9;
    p->waited = s->core.rounds.waited;
    brg_log_info("round",
                 BRG_FIELDS(BRG_U64("run", job->run_id), BRG_U64("step", job->step),
                            BRG_F64("loss", p->loss), BRG_F64("lr", p->lr),
                            BRG_F64("norm", p->norm), BRG_F64("seconds", p->seconds),
                            BRG_U64("waited", p->waited)),
                 "step");
}

static void give_eval(struct brg_service *s, uint64_t step) {
    const struct brg_run_config *config = &s->run->config.run;
    if (config->eval.every_steps == 0 || s->run->sampler.held_samples == 0) return;
    if (step % config->eval.every_steps != 0 && step != config->steps) return;
    struct brg_job *job = brg_job_new(BRG_JOB_EVAL);
    job->run = s->run;
    job->run_id = s->run->config.id;
    job->step = step;
    job->eval.samples = config->eval.samples;
    brg_jobs_give(s->jobs, job);
}

static void on_applied(struct brg_service *s, struct brg_job *job) {
    if (job->rc != BRG_OK) {
        brg_service_fail(s, exit_code_of(job->rc), "%s", job->why.text);
        return;
    }
    brg_source_fini(&s->params);
    s->params = job->params;
    memset(&job->params, 0, sizeof job->params);
    s->report = job->apply.report;
    s->runs[s->run_index].waited_steps += s->core.rounds.waited;
    add_point(s, job);
    give_eval(s, job->step);
    feed(s, BRG_EV_APPLIED, job);
}

static void on_checkpointed(struct brg_service *s, struct brg_job *job) {
    if (job->rc != BRG_OK) {
        brg_service_fail(s, exit_code_of(job->rc), "%s", job->why.text);
        return;
    }
    s->runs[s->run_index].params = job->checkpoint.params;
    feed(s, BRG_EV_CHECKPOINTED, job);
}

static void on_evaluated(struct brg_service *s, const struct brg_job *job) {
    const uint32_t index = brg_coord_run(&s->core, job->run_id);
    if (job->rc != BRG_OK || index == BRG_NOBODY || job->eval.sums.count == 0) return;
    struct brg_service_run *run = &s->runs[index];
    const double count = (double)job->eval.sums.count;
    struct brg_service_held_out *p = &s->held_out[s->held_out_count++ % BRG_HELD_OUT_POINTS_MAX];
    p->step = run->held_out_step = job->step;
    p->loss = run->held_out_loss = job->eval.sums.loss / count;
    p->accuracy = run->held_out_accuracy = (double)job->eval.sums.correct / count;
    brg_log_info("run",
                 BRG_FIELDS(BRG_U64("run", job->run_id), BRG_U64("step", job->step),
                            BRG_F64("loss", p->loss), BRG_F64("accuracy", p->accuracy)),
                 "held-out samples");
}

void brg_service_answers(struct brg_service *s) {
    struct brg_job *job;
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
        case BRG_JOB_CLOSE: s->closing--; break;
        }
        brg_job_free(job);
    }
}
