/* work.c - what a run needs on this machine: its data set, parameters, the job, the shares.
 *
 *   data set:   NONE --open file--> OPENING --> READY
 *                                     |  '----> UNFIT (the model cannot be built here, ...)
 *                                     '- no file -> FETCHING --all parts--> OPENING
 *   job:        wanted --thread free--> busy --answer--> share held, or dropped if cancelled */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

#define RETRY_NS (2 * BRG_NS_PER_S)
#define STUCK_NS (30 * BRG_NS_PER_S)

static const struct brg_fetch_config fetch_config = {
    .retry_ns = RETRY_NS,
    .idle_ns = STUCK_NS,
    .part_bytes = BRG_BULK_PART_BYTES,
    .window = BRG_BULK_WINDOW,
    .verify_parts = 0, /* a data set is checked as a whole */
};

/* ---- the run ---- */

static struct brg_model_spec model_of(const struct brg_msg_model *m) {
    struct brg_model_spec spec = {
        .type = m->type,
        .dim = m->dim,
        .layers = m->layers,
        .heads = m->heads,
        .kv_heads = m->kv_heads,
        .hidden = m->hidden,
        .context = m->context,
        .vocab = m->vocab,
        .tied = m->tied,
        .rope_theta = m->rope_theta,
        .norm_eps = m->norm_eps,
        .inputs = m->inputs,
        .classes = m->classes,
        .width_count = m->width_count,
    };
    _Static_assert(sizeof spec.widths == sizeof m->widths, "as many hidden layers as the wire has");
    memcpy(spec.widths, m->widths, sizeof spec.widths);
    return spec;
}

uint32_t brg_shell_take_run(struct brg_shell *s, const struct brg_msg_run *run) {
    struct brg_shell_run *mine = &s->run;
    struct brg_run_setup setup = {
        .run = run->run,
        .models = run->models,
        .model = model_of(&run->model),
        .batch = {.samples = run->batch.samples,
                  .chunks = run->batch.chunks,
                  .microbatch = run->batch.microbatch},
        .data_digest = run->data.digest,
    };
    memcpy(setup.data_seeds, run->data_seeds, sizeof setup.data_seeds);
    if (setup.models == 0) { /* one, with the run's own seed */
        setup.models = 1;
        setup.data_seeds[0] = run->seed;
    }
    if (mine->setup.run == setup.run && mine->stage != BRG_RUN_STAGE_UNFIT)
        return mine->stage == BRG_RUN_STAGE_READY; /* said again */
    brg_fetch_drop(&s->data_fetch);
    memset(mine, 0, sizeof *mine);
    mine->setup = setup;
    mine->data_bytes = run->data.size_bytes;
    memcpy(mine->name, run->name, sizeof mine->name);
    return 0;
}

void brg_shell_close_run(struct brg_shell *s) {
    if (s->run.stage != BRG_RUN_STAGE_READY) return; /* an open under way is closed by its answer */
    brg_compute_close(s->compute);
    s->run.stage = BRG_RUN_STAGE_NONE;
}

static void tell_data(struct brg_shell *s) {
    brg_shell_defer(s, (struct brg_worker_event){
                           .type = BRG_WEV_DATA, .run = s->run.setup.run, .code = s->run.code});
}

static void become_unfit(struct brg_shell *s, int code, const struct brg_why *why) {
    s->run.stage = BRG_RUN_STAGE_UNFIT;
    s->run.code = code;
    s->run.why = *why;
    brg_log_error("run", BRG_FIELDS(BRG_STR("run", s->run.name)),
                  "this worker cannot work on the run: %s", why->text);
    tell_data(s);
}

/* ---- its data set ---- */

static void open_run(struct brg_shell *s, struct brg_buffer *blob) {
    char path[BRG_FILE_PATH_BYTES];
    BRG_ASSERT(!s->opening);
    s->opening = 1;
    s->run.stage = BRG_RUN_STAGE_OPENING;
    brg_compute_open(s->compute, &s->run.setup,
                     brg_statedir_data_path(&s->state, &s->run.setup.data_digest, path), blob,
                     s->run.data_bytes);
}

static void start_data_fetch(struct brg_shell *s) {
    struct brg_why why;
    struct brg_buffer *buffer = NULL;
    const struct brg_object object = {.kind = BRG_OBJECT_DATA, .digest = s->run.setup.data_digest};
    const int rc = brg_pool_get(s->pool, s->run.data_bytes, &buffer);
    if (rc != BRG_OK) {
        become_unfit(s,
                     brg_why_set(&why, rc,
                                 "its data set has %llu bytes, more than this worker may hold "
                                 "in memory",
                                 (unsigned long long)s->run.data_bytes),
                     &why);
        return;
    }
    s->run.stage = BRG_RUN_STAGE_FETCHING;
    brg_fetch_start(&s->data_fetch, &object, buffer, s->run.data_bytes, &fetch_config, s->now_ns);
}

void brg_shell_fetch_data(struct brg_shell *s) {
    switch ((enum brg_run_stage)s->run.stage) {
    case BRG_RUN_STAGE_NONE:
        if (!s->opening) open_run(s, NULL); /* else the answer to the other run comes first */
        break;
    case BRG_RUN_STAGE_READY:
    case BRG_RUN_STAGE_UNFIT: tell_data(s); break;
    case BRG_RUN_STAGE_OPENING:
    case BRG_RUN_STAGE_FETCHING: break; /* under way */
    default: BRG_ASSERT(0 && "a stage that does not exist");
    }
}

static void on_opened(struct brg_shell *s, const struct brg_compute_answer *a) {
    struct brg_shell_run *run = &s->run;
    s->opening = 0;
    if (a->run != run->setup.run || run->stage != BRG_RUN_STAGE_OPENING) {
        brg_compute_close(s->compute); /* another run was described meanwhile */
        if (s->core.run != 0 && s->core.run == run->setup.run) brg_shell_fetch_data(s);
        return;
    }
    switch (a->code) {
    case BRG_OK:
        run->stage = BRG_RUN_STAGE_READY;
        run->code = BRG_OK;
        brg_statedir_prune(&s->state, &run->setup.data_digest);
        if (s->core.run != run->setup.run) { /* released meanwhile */
            brg_shell_close_run(s);
            break;
        }
        tell_data(s);
        break;
    case BRG_ENOENT: start_data_fetch(s); break;
    case BRG_ECORRUPT:
        if (++run->data_tries < BRG_SHELL_DATA_TRIES_MAX) {
            brg_log_warn("data", NULL, "%s; fetching it again", a->why.text);
            start_data_fetch(s);
            break;
        }
        become_unfit(s, a->code, &a->why);
        break;
    default: become_unfit(s, a->code, &a->why); break;
    }
}

/* ---- parameters ---- */

void brg_shell_drop_params(struct brg_shell *s) {
    brg_buffer_release(s->params);
    s->params = NULL;
}

static const struct brg_msg_task *task_of_version(const struct brg_shell *s, uint64_t version) {
    if (s->offered.run == s->core.run && s->offered.version == version) return &s->offered;
    BRG_ASSERT(s->task.run == s->core.run); /* the core asks for what its task needs */
    return &s->task;
}

void brg_shell_fetch_params(struct brg_shell *s, uint64_t version) {
    const struct brg_object object = {
        .kind = BRG_OBJECT_PARAMS, .run = s->core.run, .step = version};
    const struct brg_msg_task *task = task_of_version(s, version);
    struct brg_fetch_config config = fetch_config;
    struct brg_buffer *buffer = NULL;
    if (brg_fetch_is_about(&s->params_fetch, &object)) return; /* it asks again by itself */
    brg_fetch_drop(&s->params_fetch);
    const int rc = brg_pool_get(s->pool, task->params_bytes, &buffer);
    if (rc != BRG_OK) {
        struct brg_why why;
        become_unfit(s,
                     brg_why_set(&why, rc,
                                 "its parameters have %llu bytes, more than this worker may "
                                 "hold in memory",
                                 (unsigned long long)task->params_bytes),
                     &why);
        return;
    }
    config.verify_parts = 1; /* no digest of the whole is known beforehand */
    brg_fetch_start(&s->params_fetch, &object, buffer, task->params_bytes, &config, s->now_ns);
}

static void on_params(struct brg_shell *s) {
    const struct brg_object object = s->params_fetch.object;
    brg_shell_drop_params(s);
    s->params = brg_fetch_take(&s->params_fetch);
    brg_shell_feed(s, (struct brg_worker_event){
                          .type = BRG_WEV_PARAMS, .run = object.run, .step = object.step});
}

void brg_shell_on_part(struct brg_shell *s, struct brg_bytes bytes) {
    struct brg_fetch *fetch = &s->params_fetch;
    if (brg_fetch_is_about(&s->data_fetch, &s->in.part.object)) fetch = &s->data_fetch;
    const int rc = brg_fetch_on_part(fetch, &s->in, bytes, s->now_ns);
    if (rc == BRG_ENOENT) return; /* of a fetch given up */
    if (rc != BRG_OK) {
        brg_log_warn("fetch", BRG_FIELDS(BRG_U64("offset", s->in.part.offset)),
                     "dropped a part that was not asked for like this, or came damaged");
        return;
    }
    if (!brg_fetch_is_done(fetch)) return;
    if (fetch == &s->params_fetch)
        on_params(s);
    else
        open_run(s, brg_fetch_take(fetch));
}

/* ---- the job and its share ---- */

/* The reason of a Fault that the core is about to send. */
static void fail_task(struct brg_shell *s, int code) {
    s->job_wanted = 0;
    brg_shell_defer(s, (struct brg_worker_event){.type = BRG_WEV_COMPUTED,
                                                 .run = s->task.run,
                                                 .step = s->task.step,
                                                 .unit = s->task.unit,
                                                 .code = code});
}

/* Hands the wanted task over, if the thread is free. */
static void start_job(struct brg_shell *s) {
    if (!s->job_wanted || s->job_busy) return;
    BRG_ASSERT(s->params != NULL);
    BRG_ASSERT(s->core.params_version == s->task.step - 1);
    if (s->params->size_bytes != s->task.params_bytes) {
        fail_task(s, brg_why_set(&s->fault_why, BRG_EINVAL,
                                 "the task's parameters have another size than those of its "
                                 "version"));
        return;
    }
    const int rc = brg_pool_get(s->pool, s->params->size_bytes, &s->job_share);
    if (rc != BRG_OK) {
        fail_task(s, brg_why_set(&s->fault_why, rc,
                                 "this worker has no memory left for a share of %zu bytes",
                                 s->params->size_bytes));
        return;
    }
    s->job_params = brg_buffer_hold(s->params);
    s->job.task = s->task;
    s->job.params = s->job_params->data;
    s->job.share = s->job_share->data;
    s->job_busy = 1;
    s->job_wanted = s->job_cancelled = 0;
    brg_compute_start(s->compute, &s->job);
}

void brg_shell_compute(struct brg_shell *s) {
    if (s->offered.run != 0 && s->offered.step == s->core.task_step &&
        s->offered.unit == s->core.task_unit)
        s->task = s->offered;
    BRG_ASSERT(s->task.step == s->core.task_step && s->task.unit == s->core.task_unit);
    s->job_wanted = 1;
    start_job(s);
}

void brg_shell_cancel(struct brg_shell *s) {
    s->job_wanted = 0;
    if (!s->job_busy) return;
    s->job_cancelled = 1;
    brg_compute_cancel(s->compute);
}

struct brg_shell_share *brg_shell_share_find(struct brg_shell *s, uint64_t run, uint64_t step,
                                             uint32_t unit) {
    for (uint32_t i = 0; i < BRG_WORKER_SHARES_MAX; i++) {
        const struct brg_object *object = &s->shares[i].source.object;
        if (s->shares[i].source.buffer == NULL) continue;
        if (object->run == run && object->step == step && object->unit == unit)
            return &s->shares[i];
    }
    return NULL;
}

void brg_shell_drop_shares(struct brg_shell *s) {
    for (uint32_t i = 0; i < BRG_WORKER_SHARES_MAX; i++) brg_source_fini(&s->shares[i].source);
}

/* Puts the finished share where SEND_DONE and SEND_SHARE find it. */
static int hold_share(struct brg_shell *s) {
    const struct brg_msg_done *done = &s->job.done;
    const struct brg_object object = {
        .kind = BRG_OBJECT_SHARE, .run = done->run, .step = done->step, .unit = done->unit};
    struct brg_shell_share *place = NULL;
    for (uint32_t i = 0; i < BRG_WORKER_SHARES_MAX; i++)
        if (s->shares[i].source.buffer == NULL) place = &s->shares[i];
    BRG_ASSERT(place != NULL); /* the core drops them all before it takes one more */
    const int rc =
        brg_source_init(&place->source, s->pool, &object, s->job_share, done->share_bytes);
    if (rc == BRG_OK) place->done = *done;
    return rc;
}

static void on_computed(struct brg_shell *s, const struct brg_compute_answer *a) {
    const struct brg_msg_task *task = &s->job.task;
    int code = a->code;
    s->job_busy = 0;
    if (!s->job_cancelled) {
        if (code == BRG_OK) code = hold_share(s);
        if (code != BRG_OK)
            (void)brg_why_set(&s->fault_why, code, "%s",
                              a->why.text[0] != '\0' ? a->why.text : brg_strerror(code));
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_COMPUTED,
                                                    .run = task->run,
                                                    .step = task->step,
                                                    .unit = task->unit,
                                                    .code = code});
    }
    brg_buffer_release(s->job_share);
    brg_buffer_release(s->job_params);
    s->job_share = s->job_params = NULL;
    start_job(s); /* what was wanted meanwhile */
}

void brg_shell_on_answers(struct brg_shell *s) {
    struct brg_compute_answer a;
    while (!s->is_over && brg_compute_answer(s->compute, &a) == BRG_OK) {
        if (a.type == BRG_ANSWER_OPENED)
            on_opened(s, &a);
        else
            on_computed(s, &a);
    }
}

void brg_shell_follow(struct brg_shell *s) {
    if (s->offered.run != 0 && s->core.task_step == s->offered.step &&
        s->core.task_unit == s->offered.unit && s->core.run == s->offered.run)
        s->task = s->offered;
    if (brg_fetch_is_active(&s->params_fetch) && s->params_fetch.object.run != s->core.run)
        brg_fetch_drop(&s->params_fetch);
    if (brg_fetch_is_active(&s->params_fetch) &&
        s->params_fetch.object.step < s->core.committed) /* nobody computes with them any more */
        brg_fetch_drop(&s->params_fetch);
}
