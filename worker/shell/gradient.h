/* gradient.h - one share: the gradients of a task's chunks, weighted and summed, in one fixed
 * order.
 *
 *   lane 0 (the caller) ── chunk 0 ──┐        ┌── chunk 3 ──┐
 *   lane 1 (a thread)   ── chunk 1 ──┼─ sum ──┼── chunk 4 ──┼─ sum ── share, digest
 *   lane 2 (a thread)   ── chunk 2 ──┘        └── (none)  ──┘
 *
 * A chunk is one lane's alone, microbatch after microbatch; lane 0 adds the chunks in the order of
 * the task. So the bits of a share do not depend on how many lanes there are.
 *
 * Everything large is taken from the pool when a run is opened, nothing is allocated in a step.
 * Thread rule: open, compute and close belong to one thread, which is lane 0; the others are
 * inside. The cancel flag of struct brg_interrupt may be raised from any thread. */
#ifndef BRG_WORKER_SHELL_GRADIENT_H
#define BRG_WORKER_SHELL_GRADIENT_H

#include "base/pool.h"
#include "model/sample.h"
#include "proto/messages.h"
#include "worker/shell/fault.h"

#include <pthread.h>

#define BRG_LANES_MAX 64u

/* A flag that ends a computation between two microbatches, and a sleep at once. */
struct brg_interrupt {
    pthread_mutex_t lock;
    pthread_cond_t raised_cond;
    int raised; /* guarded by lock */
};

/* brg_interrupt_init - lowered. errors: BRG_ENOMEM */
BRG_CHECK int brg_interrupt_init(struct brg_interrupt *i);
void brg_interrupt_fini(struct brg_interrupt *i);
void brg_interrupt_raise(struct brg_interrupt *i);
void brg_interrupt_lower(struct brg_interrupt *i);
int brg_interrupt_is_raised(struct brg_interrupt *i);

/* brg_interrupt_sleep - sleeps `for_ns`. errors: BRG_ECANCELED raised before or meanwhile */
BRG_CHECK int brg_interrupt_sleep(struct brg_interrupt *i, uint64_t for_ns);

/* What a run needs on the worker, flat. */
struct brg_run_setup {
    uint64_t run;
    uint32_t models;                         /* 1 .. BRG_RUN_MODELS_MAX, trained in turn */
    uint64_t data_seeds[BRG_RUN_MODELS_MAX]; /* [models]: which samples a model's step holds */
    struct brg_model_spec model;
    struct brg_batch_spec batch;
    struct brg_digest data_digest;
};

/* A task and, once it is computed, what to say about it. */
struct brg_job {
    struct brg_msg_task task;
    const float *params;      /* [param_count], of version task.version: of the task's model */
    float *share;             /* out [param_count] */
    struct brg_msg_done done; /* out: all of it */
};

struct brg_gradient; /* lanes, workspaces, samplers of one run */

/* brg_gradient_check - can this run be computed here?
 * errors: BRG_EINVAL the model or the batch makes no sense; *why says what */
BRG_CHECK int brg_gradient_check(const struct brg_run_setup *setup, struct brg_why *why);

/* brg_gradient_open - lanes and workspaces for a run on `data`.
 *
 * own:    *out is the caller's until brg_gradient_close; NULL on error. Borrows data, pool, faults
 *         and interrupt until then
 * errors: BRG_EINVAL the model, the batch and the data do not fit each other; BRG_ENOMEM */
struct brg_gradient_config {
    struct brg_pool *pool;
    const struct brg_data *data;
    const struct brg_faults *faults;
    struct brg_interrupt *interrupt;
    _Atomic uint32_t *chunks_done; /* written as chunks are added; for progress */
    uint32_t lanes;                /* 1 .. BRG_LANES_MAX */
};
BRG_CHECK int brg_gradient_open(const struct brg_run_setup *setup,
                                const struct brg_gradient_config *config, struct brg_gradient **out,
                                struct brg_why *why);

/* brg_gradient_close - ends the lanes, gives the memory back; *g may be NULL and is NULL then. */
void brg_gradient_close(struct brg_gradient **g);

/* brg_gradient_compute - fills job->share and job->done.
 *
 * errors: BRG_ECANCELED the interrupt was raised; the share is undefined
 *         BRG_EINVAL the task does not fit the run (a chunk that is not in the batch, another size
 *         of parameters), or a sample does not fit the model; *why says which
 * cost:   6 * params * targets operations and some passes over the share */
BRG_CHECK int brg_gradient_compute(struct brg_gradient *g, struct brg_job *job,
                                   struct brg_why *why);

#endif
