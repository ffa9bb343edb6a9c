/* compute.h - the worker's compute thread: opens a run's data and model, computes shares.
 *
 *   reactor                                  compute thread (and its lanes, gradient.h)
 *     open(setup, file or blob) ──┐
 *     start(job) ─────────────────┼─ ring ──► one command after another
 *     close ──────────────────────┘            │
 *     cancel ────────────── interrupt ────────►│ between two microbatches
 *     answer ◄──────────────────────── ring ───┘ one for each open and each start
 *
 * Reading, checking and storing a data set take seconds for a large one, so they happen here too:
 * a heartbeat is never late because of them.
 *
 * All functions belong to one thread, the reactor. */
#ifndef BRG_WORKER_SHELL_COMPUTE_H
#define BRG_WORKER_SHELL_COMPUTE_H

#include "base/file.h"
#include "worker/shell/gradient.h"

struct brg_compute;

struct brg_compute_config {
    struct brg_pool *pool; /* outlives the compute thread */
    struct brg_faults faults;
    uint32_t threads; /* lanes, 1 .. BRG_LANES_MAX */
};

enum brg_compute_answer_type { BRG_ANSWER_OPENED = 1, BRG_ANSWER_COMPUTED = 2 };

struct brg_compute_answer {
    uint32_t type; /* enum brg_compute_answer_type */
    int32_t code;  /* OPENED: BRG_OK, BRG_ENOENT there is no such file yet and no blob was given,
                      BRG_ECORRUPT the blob is not the data set asked for, or why the run cannot be
                      worked on. COMPUTED: BRG_OK, BRG_ECANCELED or why not */
    uint64_t run;
    struct brg_job *job; /* COMPUTED: back to the caller */
    struct brg_why why;  /* where code is neither BRG_OK, BRG_ENOENT nor BRG_ECANCELED */
};

/* brg_compute_create - starts the thread. own: *out until brg_compute_destroy; NULL on error
 * errors: BRG_ENOMEM, BRG_EIO */
BRG_CHECK int brg_compute_create(struct brg_compute **out, const struct brg_compute_config *config,
                                 struct brg_why *why);

/* brg_compute_destroy - cancels, waits for the thread to end; *c may be NULL and is NULL then. Jobs
 * handed in and not answered are the caller's again. */
void brg_compute_destroy(struct brg_compute **c);

/* brg_compute_fd - readable while an answer waits. */
int brg_compute_fd(const struct brg_compute *c);

/* brg_compute_answer - the next answer. errors: BRG_ENOENT none now */
BRG_CHECK int brg_compute_answer(struct brg_compute *c, struct brg_compute_answer *out);

/* brg_compute_open - opens a run in place of the one open now.
 *
 * The data set is file `path`, its digest checked. Where `blob` is given it is checked first and
 * becomes that file; if it cannot be written (disk full), the blob itself serves until the run is
 * closed, and the log says so.
 * own:     takes over one hold on `blob`, which may be NULL
 * asserts: no other open is unanswered */
void brg_compute_open(struct brg_compute *c, const struct brg_run_setup *setup, const char *path,
                      struct brg_buffer *blob, uint64_t blob_bytes);

/* brg_compute_start - computes `job` of the run that is open.
 *
 * own:     job, its parameters and its share are the thread's until the answer
 * asserts: no other job is unanswered; a cancel of the job before ends with its answer */
void brg_compute_start(struct brg_compute *c, struct brg_job *job);

/* brg_compute_cancel - the job under way, if any, ends within a microbatch. */
void brg_compute_cancel(struct brg_compute *c);

/* brg_compute_close - gives back the memory of the run that is open, once it is its turn. */
void brg_compute_close(struct brg_compute *c);

/* brg_compute_chunks_done - chunks of the job under way that are in the share by now. */
uint32_t brg_compute_chunks_done(const struct brg_compute *c);

#endif
