/* service.h - the coordinator as a service: one process, in the foreground, until it is told to go.
 *
 * What lies in its state folder (0700):
 *   coordinator.key  who it is          operator.key  who may operate it
 *   http.secret      what changes over HTTP need (http.h)
 *   endpoint         a join URL         store/        RocksDB: the small records (store.h)
 *   runs/ID/         data.brgdata, log/ (gradlog.h), checkpoints/ (checkpoint.h)
 *
 * It may be killed at any instruction: started again on the same folder it goes on with the same
 * step. One coordinator a folder; the store's lock sees to it. */
#ifndef BRG_SERVICE_H
#define BRG_SERVICE_H

#include "base/base.h"

struct brg_service_options {
    const char *state_dir; /* created where it is missing */
    const char *listen;    /* "host:port" as brg_address_parse reads it */
    const char *announce;  /* host:port that workers are told to dial, or NULL */
    const char
        *config_path;      /* a run file that is submitted unless a run of its name exists; NULL */
    const char *token_out; /* a join token is made at start and written there, 0600; or NULL */
    const char *http;      /* "host:port" of dashboard, metrics and API; NULL: none of them */
    int http_is_optional;  /* 1: go on without them where the address is taken */
    uint64_t lease_ns;     /* a worker that is silent for so long is lost */
    uint64_t beat_ns;      /* workers say this often that they live; 3 of them fit in a lease */
    uint64_t memory_bytes; /* bound of tensor buffers */
    int exit_when_done;    /* 1: leave once runs were there and none is queued or under way */
};

/* brg_service_run - serves until SIGTERM or SIGINT, the end of all runs (exit_when_done) or an
 * error that must end it. sodium_init() must have succeeded; call it once, from the main thread.
 *
 * returns: an exit code of base/exit.h; the sentence has been logged */
int brg_service_run(const struct brg_service_options *options);

#endif
