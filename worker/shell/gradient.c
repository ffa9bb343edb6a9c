#include "worker/shell/gradient.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"
#include "model/model.h"

/* One lane: what a thread needs to compute the gradient of one chunk. */
struct lane {
    struct brg_gradient *owner;
    pthread_t thread; /* not of lane 0 */
    struct brg_buffer *workspace_memory, *sample_memory, *gradient;
    struct brg_model_workspace *workspace;
    struct brg_sample_buffer samples;
    struct brg_model_sums sums; /* out: of its chunk */
    int rc;                     /* out */
};

struct brg_gradient {
    struct brg_run_setup setup;
    struct brg_gradient_config config;
    struct brg_sampler samplers[BRG_RUN_MODELS_MAX]; /* [setup.models]; they differ in the seed */
    uint64_t param_count;
    struct brg_buffer *spare; /* the share's other half while summing */
    uint32_t microbatch;      /* samples computed at once, at most a chunk */

    /* The wave: chunks task.chunks[first + i] for lane i < count. Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t wave; /* rises with each */
    uint32_t first, count, left;
    uint32_t lane_count, thread_count;
    int stop;
    const struct brg_job *job;
    struct brg_fault_plan plan;
    uint64_t wait_round, wait_until_ns; /* a wait made to order is sat out once a round */
    struct lane lanes[BRG_LANES_MAX];
};

static uint64_t clock_ns(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- one chunk on one lane ---- */

/* As long again as it took, times factor - 1. */
static int drag(const struct brg_gradient *g, uint64_t began_ns) {
    if (g->plan.slow_factor <= 1) return BRG_OK;
    const double spent_ns = (double)(clock_ns() - began_ns);
    return brg_interrupt_sleep(g->config.interrupt,
                               (uint64_t)(spent_ns * (g->plan.slow_factor - 1)));
}

static int compute_chunk(const struct brg_gradient *g, struct lane *lane, uint32_t chunk) {
    /* Run-wide step 1 is the first step of model 0, which its sampler calls 0. */
    const uint64_t turn = g->job->task.step - 1;
    const struct brg_sampler *sampler = &g->samplers[turn % g->setup.models];
    const uint32_t samples = brg_sample_chunk_count(sampler, chunk);
    float *gradient = lane->gradient->data;
    memset(gradient, 0, g->param_count * sizeof(float));
    lane->sums = (struct brg_model_sums){0};
    for (uint32_t first = 0; first < samples; first += g->microbatch) {
        if (brg_interrupt_is_raised(g->config.interrupt)) return BRG_ECANCELED;
        const uint64_t began_ns = clock_ns();
        const uint32_t left = samples - first;
        const struct brg_sample_at at = {.step = turn / g->setup.models,
                                         .chunk = chunk,
                                         .first = first,
                                         .count = left < g->microbatch ? left : g->microbatch};
        struct brg_batch batch;
        brg_sample_chunk(sampler, at, &lane->samples, &batch);
        int rc = brg_model_grad(lane->workspace, g->job->params, &batch, gradient, &lane->sums);
        if (rc == BRG_OK) rc = drag(g, began_ns);
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

/* ---- the lanes ---- */

static void lock(struct brg_gradient *g) {
    const int rc = pthread_mutex_lock(&g->lock);
    BRG_ASSERT(rc == 0);
}

static void unlock(struct brg_gradient *g) {
    const int rc = pthread_mutex_unlock(&g->lock);
    BRG_ASSERT(rc == 0);
}

static void wait_changed(struct brg_gradient *g) {
    const int rc = pthread_cond_wait(&g->changed, &g->lock);
    BRG_ASSERT(rc == 0);
}

static void tell_changed(struct brg_gradient *g) {
    const int rc = pthread_cond_broadcast(&g->changed);
    BRG_ASSERT(rc == 0);
}

static void *lane_main(void *argument) {
    struct lane *lane = argument;
    struct brg_gradient *g = lane->owner;
    const uint32_t index = (uint32_t)(lane - g->lanes);
    uint64_t seen = 0;
    lock(g);
    for (;;) {
        while (g->wave == seen && !g->stop) wait_changed(g);
        if (g->stop) break;
        seen = g->wave;
        if (index >= g->count) continue;
        const uint32_t chunk = g->job->task.chunks[g->first + index];
        unlock(g);
        lane->rc = compute_chunk(g, lane, chunk);
        lock(g);
        g->left--;
        tell_changed(g);
    }
    unlock(g);
    return NULL;
}

/* Computes chunks [first, first + count) of the task, one a lane, and waits for all of them. */
static int run_wave(struct brg_gradient *g, uint32_t first, uint32_t count) {
    BRG_ASSERT(count >= 1 && count <= g->lane_count);
    if (count > 1) {
        lock(g);
        g->wave++;
        g->first = first;
        g->count = count;
        g->left = count - 1;
        tell_changed(g);
        unlock(g);
    }
    g->lanes[0].rc = compute_chunk(g, &g->lanes[0], g->job->task.chunks[first]);
    if (count > 1) {
        lock(g);
        while (g->left > 0) wait_changed(g);
        unlock(g);
    }
    for (uint32_t i = 0; i < count; i++)
        if (g->lanes[i].rc != BRG_OK) return g->lanes[i].rc;
    return BRG_OK;
}

/* ---- the share ---- */

/* share = share + coefficient * the lane's gradient, by way of the other half: the operation must
 * not write what it reads. The first one overwrites. */
static void add_chunk(struct brg_gradient *g, const struct lane *lane, double coefficient,
                      uint32_t is_first, float **share, float **other) {
    const float *gradient = lane->gradient->data;
    if (is_first) {
        brg_combine(g->param_count, 1, &coefficient, &gradient, *share);
        return;
    }
    const double weights[2] = {1, coefficient};
    const float *terms[2] = {*share, gradient};
    float *sum = *other;
    brg_combine(g->param_count, 2, weights, terms, sum);
    *other = *share;
    *share = sum;
}

static int sum_chunks(struct brg_gradient *g, struct brg_job *job) {
    const struct brg_msg_task *task = &job->task;
    float *share = job->share, *other = g->spare->data;
    /* Each chunk but the first swaps the halves: begin so that the sum ends in the share. */
    if (task->chunk_count % 2 == 0) {
        share = g->spare->data;
        other = job->share;
    }
    atomic_store(g->config.chunks_done, 0);
    for (uint32_t first = 0; first < task->chunk_count; first += g->lane_count) {
        const uint32_t left = task->chunk_count - first;
        const uint32_t count = left < g->lane_count ? left : g->lane_count;
        const int rc = run_wave(g, first, count);
        if (rc != BRG_OK) return rc;
        for (uint32_t i = 0; i < count; i++) {
            const struct lane *lane = &g->lanes[i];
            const uint32_t k = first + i;
            add_chunk(g, lane, task->coefficient_count == 0 ? 1 : task->coefficients[k], k == 0,
                      &share, &other);
            job->done.losses[k] = (struct brg_chunk_loss){
                .chunk = task->chunks[k], .loss = lane->sums.loss, .count = lane->sums.count};
            atomic_store(g->config.chunks_done, k + 1);
        }
    }
    BRG_ASSERT(share == job->share);
    return BRG_OK;
}

static int check_task(const struct brg_gradient *g, const struct brg_msg_task *task,
                      struct brg_why *why) {
    if (task->run != g->setup.run || task->step == 0 || task->version != task->step - 1)
        return brg_why_set(why, BRG_EINVAL,
                           "the task is of run %llu, step %llu with parameters of version %llu; "
                           "version step - 1 of run %llu was expected",
                           (unsigned long long)task->run, (unsigned long long)task->step,
                           (unsigned long long)task->version, (unsigned long long)g->setup.run);
    if (task->params_bytes != g->param_count * sizeof(float))
        return brg_why_set(why, BRG_EINVAL,
                           "the task's parameters have %llu bytes, but this model has %llu",
                           (unsigned long long)task->params_bytes,
                           (unsigned long long)(g->param_count * sizeof(float)));
    BRG_ASSERT(task->chunk_count >= 1 && task->chunk_count <= BRG_CHUNKS_MAX);
    for (uint32_t i = 0; i < task->chunk_count; i++)
        if (task->chunks[i] >= g->setup.batch.chunks)
            return brg_why_set(why, BRG_EINVAL, "the task has chunk %u, but the batch only %u",
                               task->chunks[i], g->setup.batch.chunks);
    return BRG_OK;
}

/* A wait made to order begins with the first task of a round; the others of that round find it
 * under way or over. */
static int sit_out(struct brg_gradient *g, uint64_t round) {
    const uint64_t now_ns = clock_ns();
    if (g->plan.stall_ns == 0) return BRG_OK;
    if (g->wait_until_ns == 0 || round != g->wait_round) {
        g->wait_round = round;
        g->wait_until_ns = now_ns + g->plan.stall_ns;
    }
    if (now_ns >= g->wait_until_ns) return BRG_OK;
    return brg_interrupt_sleep(g->config.interrupt, g->wait_until_ns - now_ns);
}

int brg_gradient_compute(struct brg_gradient *g, struct brg_job *job, struct brg_why *why) {
    const struct brg_msg_task *task = &job->task;
    const uint64_t began_ns = clock_ns();
    int rc = check_task(g, task, why);
    if (rc != BRG_OK) return rc;
    brg_faults_plan(g->config.faults,
                    (struct brg_fault_at){.step = task->step, .round = task->round}, &g->plan);
    if (g->plan.die) (void)raise(SIGKILL);
    rc = sit_out(g, task->round);
    if (rc != BRG_OK) return rc;
    g->job = job;
    rc = sum_chunks(g, job);
    g->job = NULL;
    if (rc == BRG_EINVAL)
        return brg_why_set(why, rc,
                           "a sample of step %llu does not fit the model: a token or label "
                           "is too large; check the vocabulary or the classes",
                           (unsigned long long)task->step);
    if (rc != BRG_OK) return rc;
    brg_fault_lie(&g->plan, job->share, g->param_count);
    job->done.run = task->run;
    job->done.step = task->step;
    job->done.unit = task->unit;
    job->done.attempt = task->attempt;
    job->done.since = task->since;
    job->done.share_bytes = g->param_count * sizeof(float);
    job->done.loss_count = task->chunk_count;
    brg_digest_of(job->share, job->done.share_bytes, &job->done.digest);
    job->done.compute_ns = clock_ns() - began_ns;
    return BRG_OK;
}

/* ---- open and close ---- */

int brg_gradient_check(const struct brg_run_setup *setup, struct brg_why *why) {
    const struct brg_batch_spec *batch = &setup->batch;
    if (setup->models == 0 || setup->models > BRG_RUN_MODELS_MAX)
        return brg_why_set(why, BRG_EINVAL, "the run has %u models; 1 to %u are possible",
                           setup->models, BRG_RUN_MODELS_MAX);
    if (batch->chunks == 0 || batch->chunks > BRG_CHUNKS_MAX || batch->samples < batch->chunks ||
        batch->microbatch == 0)
        return brg_why_set(
            why, BRG_EINVAL,
            "batch: %u samples in %u chunks, %u at once; 1 to %u chunks, at least one "
            "sample a chunk and one at once are needed",
            batch->samples, batch->chunks, batch->microbatch, BRG_CHUNKS_MAX);
    const uint32_t chunk = brg_sample_chunk_range(batch, 0).count; /* the longest */
    return brg_model_check(&setup->model, chunk < batch->microbatch ? chunk : batch->microbatch,
                           why);
}

static size_t padded(size_t bytes) {
    return (bytes + BRG_MODEL_ALIGN - 1) / BRG_MODEL_ALIGN * BRG_MODEL_ALIGN;
}

/* Memory for one microbatch of samples, tokens or rows. */
static int open_samples(struct brg_gradient *g, struct lane *lane) {
    const struct brg_data *data = g->config.data;
    const size_t n = g->microbatch;
    const int tokens = data->kind == BRG_DATA_TOKENS;
    const size_t values = tokens ? padded(n * (g->setup.model.context + 1) * sizeof(uint16_t))
                                 : padded(n * data->inputs * sizeof(float));
    const int rc =
        brg_pool_get(g->config.pool, values + n * sizeof(uint32_t), &lane->sample_memory);
    if (rc != BRG_OK) return rc;
    uint8_t *base = lane->sample_memory->data;
    lane->samples = (struct brg_sample_buffer){
        .capacity = g->microbatch,
        .tokens = tokens ? (uint16_t *)(void *)base : NULL,
        .x = tokens ? NULL : (float *)(void *)base,
        .labels = tokens ? NULL : (uint32_t *)(void *)(base + values),
    };
    return BRG_OK;
}

static int open_lane(struct brg_gradient *g, struct lane *lane) {
    struct brg_pool *pool = g->config.pool;
    lane->owner = g;
    int rc = brg_pool_get(pool, brg_model_workspace_bytes(&g->setup.model, g->microbatch),
                          &lane->workspace_memory);
    if (rc == BRG_OK) rc = brg_pool_get(pool, g->param_count * sizeof(float), &lane->gradient);
    if (rc == BRG_OK) rc = open_samples(g, lane);
    if (rc != BRG_OK) return rc;
    lane->workspace = brg_model_workspace_init(lane->workspace_memory->data, &g->setup.model,
                                               g->microbatch, brg_kernels_pick());
    return BRG_OK;
}

static int open_lanes(struct brg_gradient *g) {
    const uint32_t lanes =
        g->config.lanes < g->setup.batch.chunks ? g->config.lanes : g->setup.batch.chunks;
    for (uint32_t i = 0; i < lanes; i++) {
        g->lane_count = i + 1; /* what close has to give back */
        const int rc = open_lane(g, &g->lanes[i]);
        if (rc != BRG_OK) return rc;
    }
    for (uint32_t i = 1; i < lanes; i++) {
        if (pthread_create(&g->lanes[i].thread, NULL, lane_main, &g->lanes[i]) != 0)
            return BRG_ENOMEM;
        g->thread_count++;
    }
    return BRG_OK;
}

int brg_gradient_open(const struct brg_run_setup *setup, const struct brg_gradient_config *config,
                      struct brg_gradient **out, struct brg_why *why) {
    struct brg_data_error error;
    BRG_ASSERT(config->lanes >= 1 && config->lanes <= BRG_LANES_MAX);
    *out = NULL;
    int rc = brg_gradient_check(setup, why);
    if (rc != BRG_OK) return rc;
    struct brg_gradient *g = calloc(1, sizeof *g);
    if (g == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    g->setup = *setup;
    g->config = *config;
    g->param_count = brg_model_param_count(&setup->model);
    const uint32_t chunk = brg_sample_chunk_range(&setup->batch, 0).count;
    g->microbatch = chunk < setup->batch.microbatch ? chunk : setup->batch.microbatch;
    if (pthread_mutex_init(&g->lock, NULL) != 0 || pthread_cond_init(&g->changed, NULL) != 0) {
        free(g);
        return brg_why_set(why, BRG_ENOMEM, "out of memory");
    }
    for (uint32_t m = 0; m < setup->models && rc == BRG_OK; m++)
        rc = brg_sampler_init(&g->samplers[m], config->data, &setup->model, &setup->batch,
                              setup->data_seeds[m], &error);
    if (rc != BRG_OK) {
        (void)brg_why_set(why, rc, "%s", error.text);
        goto out;
    }
    rc = brg_pool_get(config->pool, g->param_count * sizeof(float), &g->spare);
    if (rc == BRG_OK) rc = open_lanes(g);
    if (rc != BRG_OK)
        (void)brg_why_set(why, rc,
                          "this run does not fit into the memory of this worker: %llu parameters "
                          "and %u at once on %u threads; use fewer threads or a smaller microbatch",
                          (unsigned long long)g->param_count, g->microbatch, config->lanes);
out:
    if (rc != BRG_OK) brg_gradient_close(&g);
    *out = g;
    return rc;
}

void brg_gradient_close(struct brg_gradient **gradient) {
    struct brg_gradient *g = *gradient;
    if (g == NULL) return;
    lock(g);
    g->stop = 1;
    tell_changed(g);
    unlock(g);
    for (uint32_t i = 1; i <= g->thread_count; i++) {
        const int rc = pthread_join(g->lanes[i].thread, NULL);
        BRG_ASSERT(rc == 0);
    }
    for (uint32_t i = 0; i < g->lane_count; i++) {
        brg_buffer_release(g->lanes[i].workspace_memory);
        brg_buffer_release(g->lanes[i].sample_memory);
        brg_buffer_release(g->lanes[i].gradient);
    }
    brg_buffer_release(g->spare);
    (void)pthread_cond_destroy(&g->changed);
    (void)pthread_mutex_destroy(&g->lock);
    free(g);
    *gradient = NULL;
}
