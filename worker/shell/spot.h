/* spot.h - hears of preemption: a thread that asks the cloud, and advice for the reactor.
 *
 *   metadata service ──spot_source──► observations ──spot_notice──► advice ──ring, fd──► reactor
 *   or a file             (its own thread; every wait has a bound)
 *
 * The reactor owns the handle. What is found out on the way is logged by the thread itself. */
#ifndef BRG_WORKER_SHELL_SPOT_H
#define BRG_WORKER_SHELL_SPOT_H

#include "base/why.h"
#include "worker/shell/spot_notice.h"

enum brg_spot_kind {
    BRG_SPOT_KIND_NONE = 0, /* no thread: only signals are heard */
    BRG_SPOT_KIND_AUTO = 1,
    BRG_SPOT_KIND_AWS = 2,
    BRG_SPOT_KIND_GCP = 3,
    BRG_SPOT_KIND_AZURE = 4,
    BRG_SPOT_KIND_FILE = 5,
};

struct brg_spot_config {
    uint32_t kind;     /* enum brg_spot_kind */
    const char *path;  /* FILE: the notice file, in the text that was parsed */
    const char *url;   /* of the metadata service, for tests and proxies; NULL: the cloud's own */
    uint64_t drain_ns; /* the most that leaving takes, > 0 */
};

struct brg_spot;

/* brg_spot_parse - auto, aws, gcp, azure, file:PATH or none into kind and path.
 * own: path points into `text`. errors: BRG_EINVAL */
BRG_CHECK int brg_spot_parse(const char *text, struct brg_spot_config *out, struct brg_why *why);

/* brg_spot_kind_name - "aws" ...; static. */
const char *brg_spot_kind_name(uint32_t kind);

/* brg_spot_start - starts listening; with NONE there is no thread, and never any advice.
 *
 * own:    *out until brg_spot_stop; the strings of `config` must stay until then; NULL on error
 * errors: BRG_ENOMEM, BRG_EIO no descriptor; BRG_EINVAL the URL is too long */
BRG_CHECK int brg_spot_start(struct brg_spot **out, const struct brg_spot_config *config,
                             struct brg_why *why);

/* brg_spot_stop - ends the thread, whatever it waits for; NULL is fine. cost: milliseconds */
void brg_spot_stop(struct brg_spot **spot);

/* brg_spot_fd - readable while there is advice. */
int brg_spot_fd(const struct brg_spot *spot);

/* brg_spot_take - the next advice of the kinds DRAIN, LEAVE_NOW and CANCELLED; the others are said
 * in the log. errors: BRG_ENOENT none now */
BRG_CHECK int brg_spot_take(struct brg_spot *spot, struct brg_spot_advice *out);

#endif
