/* jobs.h - the coordinator's compute thread and the jobs that the reactor gives it.
 *
 *   reactor --job--> queue --> compute thread: open verify decode apply checkpoint ...
 *           <--job-- answers, a ring with a descriptor for the reactor's poll
 *
 * A job is a struct that travels there and back; whoever holds the pointer owns it. Jobs are
 * carried out in the order in which they were given, one at a time: what a job finds is what the
 * one before it left, and nothing of a run needs a lock. */
#ifndef BRG_JOBS_H
#define BRG_JOBS_H

#include "coordinator/shell/line.h"
#include "coordinator/shell/openrun.h"
#include "coordinator/shell/tune_work.h"
#include "proto/transport.h"

#define BRG_JOB_QUEUE_MAX 4096u /* queued, and answers waiting */

enum brg_job_type {
    BRG_JOB_OPEN = 1,
    BRG_JOB_VERIFY, /* a share against the digest its worker gave */
    BRG_JOB_DECODE,
    BRG_JOB_APPLY,
    BRG_JOB_CHECKPOINT,
    BRG_JOB_TRUNCATE,
    BRG_JOB_CLOSE,
    BRG_JOB_EVAL,
    BRG_JOB_SNAPSHOT,
    BRG_JOB_TUNE, /* a slice of the choice of a code */
    BRG_JOB_LINE, /* files of a pipeline */
};

struct brg_shell_job {
    uint32_t type; /* enum brg_job_type */
    uint32_t member, unit;
    int32_t rc; /* out: of the job */
    uint64_t run_id, step;
    uint64_t cpu_ns;         /* out: CPU time that it took */
    struct brg_openrun *run; /* OPEN: out; the others: in; CLOSE: consumed */
    /* Out, for workers to fetch: the parameters of each model (OPEN), of the step's (APPLY, [0]).
     */
    struct brg_source params[BRG_MODELS_MAX];
    struct brg_why why; /* out: the sentence where rc is an error */
    union {
        struct brg_openrun_config open; /* in */
        struct {
            struct brg_buffer *buffer; /* one hold is the job's, there and back */
            uint64_t size_bytes;
            struct brg_digest digest; /* expected */
        } verify;
        struct {
            const struct brg_scheme *scheme;  /* in: borrowed until the answer */
            struct brg_openrun_shares shares; /* in: one hold on each buffer is the job's */
            struct brg_gradlog_entry entry;   /* out */
            double norm;                      /* out: of the mean gradient, before clipping */
        } decode;
        struct {
            struct brg_optimizer_report report; /* out */
        } apply;
        struct {
            struct brg_digest params[BRG_MODELS_MAX]; /* out */
        } checkpoint;
        struct {
            uint32_t model;             /* in */
            uint64_t samples;           /* in */
            struct brg_model_sums sums; /* out */
        } eval;
        struct {
            uint32_t model;            /* in */
            uint64_t step;             /* out: of the run, that changed the model last */
            struct brg_peer to;        /* in: who asked, */
            uint64_t request;          /* in: and by which request */
            char path[BRG_PATH_BYTES]; /* in: what to write */
        } snapshot;
        struct brg_line_work *line; /* there and back; the job's */
        struct brg_tune_work *tune; /* there and back; the job's while it has it */
    };
};

struct brg_jobs;

/* brg_jobs_create - starts the thread. own: brg_jobs_destroy. errors: BRG_ENOMEM, BRG_EIO */
BRG_CHECK int brg_jobs_create(struct brg_jobs **out);

/* brg_jobs_destroy - waits for the job in hand, drops the rest, ends the thread. A run that is
 * still open is the caller's to close. */
void brg_jobs_destroy(struct brg_jobs **jobs);

/* brg_job_new - an empty job. asserts: there is memory (a coordinator without any must stop) */
struct brg_shell_job *brg_job_new(uint32_t type);

/* brg_job_free - with the holds that it still has. */
void brg_job_free(struct brg_shell_job *job);

/* brg_jobs_give - queues `job`, which is not the caller's any more.
 * asserts: the queue is not full (the machine never has more than a few jobs out) */
void brg_jobs_give(struct brg_jobs *jobs, struct brg_shell_job *job);

/* brg_jobs_take - the next answer, or NULL. */
struct brg_shell_job *brg_jobs_take(struct brg_jobs *jobs);

/* brg_jobs_fd - readable while answers wait. */
int brg_jobs_fd(const struct brg_jobs *jobs);

#endif
