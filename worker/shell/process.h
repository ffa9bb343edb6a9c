/* process.h - a worker from its start to its exit code.
 *
 *   options ──► brg_worker_process_run ──► enum brg_exit (base/exit.h)
 *
 * One reactor thread (the caller's), ZeroMQ's I/O thread, one compute thread and its lanes. Returns
 * when the worker has left: told to by SIGTERM or SIGINT, refused for good, or tired of waiting. */
#ifndef BRG_WORKER_SHELL_PROCESS_H
#define BRG_WORKER_SHELL_PROCESS_H

#include "base/exit.h"
#include "base/why.h"
#include "proto/keys.h"
#include "proto/token.h"
#include "worker/shell/fault.h"
#include "worker/shell/spot.h"

struct brg_worker_options {
    struct brg_join join;             /* whom to work for */
    char token[BRG_TOKEN_TEXT_BYTES]; /* empty: none; needed once, by a key that is not enrolled */
    const char *state_dir;            /* NULL: the default, see statedir.h */
    const char *name;                 /* what people call this worker; NULL: the host's name */
    const char *version;              /* of the program */
    struct brg_faults faults;
    struct brg_spot_config spot; /* where preemption is announced; spot.drain_ns is not looked at */
    uint64_t drain_timeout_ns;   /* after SIGTERM, leave by then, > 0 */
    uint64_t give_up_ns;         /* not attached for this long: leave; 0: never */
    uint64_t memory_bytes;       /* for tensors and data; 0: three quarters of the machine's */
    uint32_t threads;            /* that compute, 1 .. BRG_LANES_MAX */
    const char *listen;   /* HOST:PORT for other workers of a pipeline; NULL: none may dial */
    const char *announce; /* HOST:PORT as they dial it; NULL: as listened on */
};

/* brg_worker_process_run - works until there is a reason to leave.
 *
 * Blocks SIGTERM and SIGINT in the calling thread for good, and takes them by descriptor: call it
 * from a process of its own or from the only thread there is.
 * out: the exit code; *why the sentence that goes with any but BRG_EXIT_OK */
BRG_CHECK enum brg_exit brg_worker_process_run(const struct brg_worker_options *options,
                                               struct brg_why *why);

#endif
