#include "coordinator/shell/jobs.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/ring.h"

#define WAIT_NS (BRG_NS_PER_S)

struct brg_jobs {
    struct brg_ring *queue, *answers; /* of struct brg_shell_job * */
    pthread_t thread;
    int started;
};

struct brg_shell_job *brg_job_new(uint32_t type) {
    struct brg_shell_job *job = calloc(1, sizeof *job);
    BRG_ASSERT(job != NULL);
    job->type = type;
    return job;
}

void brg_job_free(struct brg_shell_job *job) {
    if (job == NULL) return;
    switch ((enum brg_job_type)job->type) {
    case BRG_JOB_VERIFY: brg_buffer_release(job->verify.buffer); break;
    case BRG_JOB_DECODE:
        for (uint32_t u = 0; u < BRG_SCHEME_UNITS_MAX; u++) {
            brg_buffer_release(job->decode.shares.buffers[u]);
        }
        break;
    case BRG_JOB_TUNE: brg_tune_work_free(job->tune); break;
    case BRG_JOB_LINE: brg_line_work_free(job->line); break;
    case BRG_JOB_APPLY:
    case BRG_JOB_EVAL:
    case BRG_JOB_SNAPSHOT:
    case BRG_JOB_OPEN:
    case BRG_JOB_CHECKPOINT:
    case BRG_JOB_TRUNCATE:
    case BRG_JOB_CLOSE: break;
    }
    for (uint32_t m = 0; m < BRG_MODELS_MAX; m++) brg_source_fini(&job->params[m]);
    free(job);
}

static uint64_t cpu_now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

static int verify(const struct brg_shell_job *job) {
    struct brg_digest got;
    brg_digest_of(job->verify.buffer->data, job->verify.size_bytes, &got);
    return brg_digest_equal(&got, &job->verify.digest) ? BRG_OK : BRG_ECORRUPT;
}

static int offer_params(struct brg_shell_job *job, uint64_t version, struct brg_source *out) {
    const int rc = brg_openrun_params_source(job->run, version, out);
    return rc == BRG_OK ? rc : brg_why_set(&job->why, rc, "no memory for a step's parameters");
}

static int apply(struct brg_shell_job *job) {
    const int rc = brg_openrun_apply(job->run, job->step, &job->why);
    if (rc != BRG_OK) return rc;
    job->apply.report = job->run->report;
    return offer_params(job, job->step + job->run->config.run.models - 1, &job->params[0]);
}

static int open_run(struct brg_shell_job *job) {
    const struct brg_openrun_config config = job->open;
    int rc = brg_openrun_open(&config, &job->run, &job->why);
    if (config.run.kind == BRG_RUN_KIND_PIPELINE) return rc; /* nobody here has its parameters */
    for (uint32_t i = 0; rc == BRG_OK && i < config.run.models; i++) {
        const uint64_t version = config.committed + i;
        rc = offer_params(job, version, &job->params[version % config.run.models]);
    }
    if (rc != BRG_OK) brg_openrun_close(&job->run);
    return rc;
}

static int eval(struct brg_shell_job *job) {
    if (job->run->config.run.kind == BRG_RUN_KIND_PIPELINE)
        return brg_openrun_eval_files(job->run, job->step, job->eval.samples, &job->eval.sums);
    return brg_openrun_eval(job->run, job->eval.model, job->eval.samples, &job->eval.sums);
}

static void carry_out(struct brg_shell_job *job) {
    const uint64_t from_ns = cpu_now_ns();
    switch ((enum brg_job_type)job->type) {
    case BRG_JOB_OPEN: job->rc = open_run(job); break;
    case BRG_JOB_VERIFY: job->rc = verify(job); break;
    case BRG_JOB_DECODE:
        job->rc = brg_openrun_decode(job->run, job->decode.scheme, job->step, &job->decode.shares,
                                     &job->decode.entry, &job->why);
        job->decode.norm = job->run->norm;
        break;
    case BRG_JOB_APPLY: job->rc = apply(job); break;
    case BRG_JOB_CHECKPOINT:
        job->rc = brg_openrun_checkpoint(job->run, job->checkpoint.params, &job->why);
        break;
    case BRG_JOB_TRUNCATE: job->rc = brg_openrun_truncate(job->run, job->step, &job->why); break;
    case BRG_JOB_CLOSE: brg_openrun_close(&job->run); break;
    case BRG_JOB_EVAL: job->rc = eval(job); break;
    case BRG_JOB_SNAPSHOT:
        job->rc = brg_openrun_snapshot(job->run, job->snapshot.model, job->snapshot.path,
                                       &job->snapshot.step, &job->why);
        break;
    case BRG_JOB_TUNE: job->rc = brg_tune_work_run(job->tune, &job->why); break;
    case BRG_JOB_LINE: job->rc = brg_line_work_run(job->line, &job->why); break;
    }
    job->cpu_ns = cpu_now_ns() - from_ns;
}

static void *work(void *argument) {
    struct brg_jobs *jobs = argument;
    for (;;) {
        struct brg_shell_job *job = NULL;
        const int rc = brg_ring_pop_wait(jobs->queue, &job, WAIT_NS);
        if (rc == BRG_ECANCELED) return NULL;
        if (rc == BRG_ETIMEDOUT) continue;
        carry_out(job);
        if (brg_ring_push(jobs->answers, &job) != BRG_OK) brg_job_free(job);
    }
}

int brg_jobs_create(struct brg_jobs **out) {
    struct brg_jobs *jobs = calloc(1, sizeof *jobs);
    *out = NULL;
    if (jobs == NULL) return BRG_ENOMEM;
    int rc = brg_ring_create(&jobs->answers, BRG_JOB_QUEUE_MAX, sizeof(struct brg_shell_job *));
    if (rc == BRG_OK)
        rc = brg_ring_create(&jobs->queue, BRG_JOB_QUEUE_MAX, sizeof(struct brg_shell_job *));
    if (rc == BRG_OK && pthread_create(&jobs->thread, NULL, work, jobs) != 0) rc = BRG_EIO;
    jobs->started = rc == BRG_OK;
    if (rc != BRG_OK) {
        brg_jobs_destroy(&jobs);
        return rc;
    }
    *out = jobs;
    return BRG_OK;
}

static void empty(struct brg_ring *ring) {
    struct brg_shell_job *job = NULL;
    while (ring != NULL && brg_ring_pop(ring, &job) == BRG_OK) brg_job_free(job);
}

void brg_jobs_destroy(struct brg_jobs **jobs) {
    struct brg_jobs *j = *jobs;
    if (j == NULL) return;
    empty(j->queue); /* at most the job in hand is waited for */
    if (j->queue != NULL) brg_ring_close(j->queue);
    if (j->started) (void)pthread_join(j->thread, NULL);
    empty(j->answers);
    brg_ring_destroy(&j->queue);
    brg_ring_destroy(&j->answers);
    free(j);
    *jobs = NULL;
}

void brg_jobs_give(struct brg_jobs *jobs, struct brg_shell_job *job) {
    const int rc = brg_ring_push(jobs->queue, &job);
    BRG_ASSERT(rc == BRG_OK);
}

struct brg_shell_job *brg_jobs_take(struct brg_jobs *jobs) {
    struct brg_shell_job *job = NULL;
    return brg_ring_pop(jobs->answers, &job) == BRG_OK ? job : NULL;
}

int brg_jobs_fd(const struct brg_jobs *jobs) {
    return brg_ring_fd(jobs->answers);
}
