/* job.c - the tasks of the queue, the job that the compute thread has, and the shares it made.
 *
 *   queue:  offered by a Task --the core takes it--> in a place --done, void, committed--> free
 *   job:    wanted --thread free--> busy --answer--> share held, or dropped if cancelled
 *
 * The core says what is queued, wanted and held. What it says nothing about is let go of after its
 * step: a share of a task that it gave up while the answer was on its way, for one. */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

/* ---- the queue ---- */

static struct brg_msg_task *task_find(struct brg_shell *s, uint64_t step, uint32_t unit) {
    for (uint32_t i = 0; i < BRG_WORKER_TASKS_MAX; i++) {
        struct brg_msg_task *t = &s->tasks[i];
        if (t->run != 0 && t->step == step && t->unit == unit) return t;
    }
    return NULL;
}

/* 1 where the core's queue has this task, 0 also where the task is of another run. */
static int is_queued(const struct brg_worker *core, const struct brg_msg_task *task) {
    if (task->run == 0 || task->run != core->run) return 0;
    for (uint32_t i = 0; i < core->task_count; i++)
        if (core->tasks[i].step == task->step && core->tasks[i].unit == task->unit) return 1;
    return 0;
}

void brg_shell_admit(struct brg_shell *s) {
    const struct brg_msg_task *offered = &s->offered;
    for (uint32_t i = 0; i < BRG_WORKER_TASKS_MAX; i++)
        if (!is_queued(&s->core, &s->tasks[i])) s->tasks[i].run = 0;
    if (!is_queued(&s->core, offered)) return;
    if (offered->round != s->core.round || offered->since != s->core.since) return; /* of before */
    struct brg_msg_task *place = task_find(s, offered->step, offered->unit);
    for (uint32_t i = 0; i < BRG_WORKER_TASKS_MAX && place == NULL; i++)
        if (s->tasks[i].run == 0) place = &s->tasks[i];
    BRG_ASSERT(place != NULL); /* the core's queue has no more places than this one */
    *place = *offered;
}

/* ---- the job ---- */

/* The reason of a Fault that the core is about to send. */
static void fail_task(struct brg_shell *s, const struct brg_msg_task *task, int code) {
    brg_shell_defer(s, (struct brg_worker_event){.type = BRG_WEV_COMPUTED,
                                                 .run = task->run,
                                                 .step = task->step,
                                                 .unit = task->unit,
                                                 .code = code});
}

/* Hands the wanted task over, if the thread is free. */
static void start_job(struct brg_shell *s) {
    if (!s->job_wanted || s->job_busy) return;
    const struct brg_msg_task *task = task_find(s, s->wanted_step, s->wanted_unit);
    BRG_ASSERT(task != NULL);
    const struct brg_shell_params *params = brg_shell_params_find(s, task->version);
    BRG_ASSERT(params != NULL && params->state == BRG_SHELL_PARAMS_HERE);
    s->job_wanted = 0;
    if (params->buffer->size_bytes != task->params_bytes) {
        fail_task(s, task,
                  brg_why_set(&s->fault_why, BRG_EINVAL,
                              "the task's parameters have another size than those of its version"));
        return;
    }
    const int rc = brg_pool_get(s->pool, params->buffer->size_bytes, &s->job_share);
    if (rc != BRG_OK) {
        fail_task(s, task,
                  brg_why_set(&s->fault_why, rc,
                              "this worker has no memory left for a share of %zu bytes",
                              params->buffer->size_bytes));
        return;
    }
    s->job_params = brg_buffer_hold(params->buffer);
    s->job.task = *task;
    s->job.params = s->job_params->data;
    s->job.share = s->job_share->data;
    s->job_busy = 1;
    s->job_cancelled = 0;
    brg_compute_start(s->compute, &s->job);
}

void brg_shell_compute(struct brg_shell *s, uint64_t step, uint32_t unit) {
    s->job_wanted = 1;
    s->wanted_step = step;
    s->wanted_unit = unit;
    start_job(s);
}

void brg_shell_cancel(struct brg_shell *s) {
    s->job_wanted = 0;
    if (!s->job_busy) return;
    s->job_cancelled = 1;
    brg_compute_cancel(s->compute);
}

/* ---- shares ---- */

struct brg_shell_share *brg_shell_share_find(struct brg_shell *s, uint64_t run, uint64_t step,
                                             uint32_t unit) {
    for (uint32_t i = 0; i < BRG_SHELL_SHARES_MAX; i++) {
        const struct brg_object *object = &s->shares[i].source.object;
        if (s->shares[i].source.buffer == NULL) continue;
        if (object->run == run && object->step == step && object->unit == unit)
            return &s->shares[i];
    }
    return NULL;
}

int brg_shell_holds_shares(const struct brg_shell *s) {
    for (uint32_t i = 0; i < BRG_SHELL_SHARES_MAX; i++)
        if (s->shares[i].source.buffer != NULL) return 1;
    return 0;
}

void brg_shell_drop_share(struct brg_shell *s, uint64_t step, uint32_t unit) {
    struct brg_shell_share *share = brg_shell_share_find(s, s->core.run, step, unit);
    if (share != NULL) brg_source_fini(&share->source);
}

void brg_shell_drop_shares(struct brg_shell *s, uint64_t step) {
    for (uint32_t i = 0; i < BRG_SHELL_SHARES_MAX; i++)
        if (s->shares[i].source.object.step <= step) brg_source_fini(&s->shares[i].source);
}

/* Puts the finished share where SEND_DONE and SEND_SHARE find it. */
static int hold_share(struct brg_shell *s, struct brg_buffer *buffer) {
    const struct brg_msg_done *done = &s->job.done;
    const struct brg_object object = {
        .kind = BRG_OBJECT_SHARE, .run = done->run, .step = done->step, .unit = done->unit};
    struct brg_shell_share *place = brg_shell_share_find(s, done->run, done->step, done->unit);
    if (place != NULL) brg_source_fini(&place->source);
    for (uint32_t i = 0; i < BRG_SHELL_SHARES_MAX && place == NULL; i++)
        if (s->shares[i].source.buffer == NULL) place = &s->shares[i];
    BRG_ASSERT(place != NULL); /* one more than the core holds */
    const int rc = brg_source_init(&place->source, s->pool, &object, buffer, done->share_bytes);
    if (rc == BRG_OK) place->done = *done;
    return rc;
}

void brg_shell_on_computed(struct brg_shell *s, const struct brg_compute_answer *a) {
    /* The thread is free from here on: what follows may start the next job at once. */
    const struct brg_msg_task *task = &s->job.task;
    struct brg_buffer *share = s->job_share, *params = s->job_params;
    int code = a->code;
    s->job_share = s->job_params = NULL;
    s->job_busy = 0;
    if (!s->job_cancelled) {
        if (code == BRG_OK) code = hold_share(s, share);
        if (code != BRG_OK)
            (void)brg_why_set(&s->fault_why, code, "%s",
                              a->why.text[0] != '\0' ? a->why.text : brg_strerror(code));
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_COMPUTED,
                                                    .run = task->run,
                                                    .step = task->step,
                                                    .unit = task->unit,
                                                    .code = code});
    }
    brg_buffer_release(share);
    brg_buffer_release(params);
    start_job(s); /* what was wanted meanwhile */
}

static int is_held(const struct brg_worker *core, const struct brg_object *share) {
    if (share->run != core->run) return 0;
    for (uint32_t i = 0; i < core->share_count; i++)
        if (core->shares[i].step == share->step && core->shares[i].unit == share->unit) return 1;
    return 0;
}

void brg_shell_follow(struct brg_shell *s) {
    for (uint32_t i = 0; i < BRG_SHELL_SHARES_MAX; i++) {
        struct brg_source *source = &s->shares[i].source;
        if (source->buffer != NULL && !is_held(&s->core, &source->object)) brg_source_fini(source);
    }
    brg_shell_follow_params(s);
}
