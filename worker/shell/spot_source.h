/* spot_source.h - one look after another at where notices of preemption come from.
 *
 *   aws    PUT /latest/api/token, then GET spot/instance-action and recommendations/rebalance
 *   gcp    GET instance/preempted, hanging until it changes, and instance/maintenance-event
 *   azure  GET /metadata/scheduledevents, for the virtual machine of this name
 *   file   a file that is there: notice; gone again: withdrawn
 *
 * Only looks: nothing is ever acknowledged or changed at the cloud. One thread. */
#ifndef BRG_WORKER_SHELL_SPOT_SOURCE_H
#define BRG_WORKER_SHELL_SPOT_SOURCE_H

#include "worker/shell/spot.h"
#include "worker/shell/spot_http.h"
#include "worker/shell/spot_notice.h"

#define BRG_SPOT_TOKEN_BYTES 256u

struct brg_spot_source {
    uint32_t kind;   /* enum brg_spot_kind, no longer AUTO */
    uint32_t looked; /* 1: a look has succeeded */
    struct brg_spot_http *http;
    const char *url;  /* of the service, without a slash at its end */
    const char *path; /* FILE */
    uint64_t token_until_ns;
    uint64_t pause_ns;                    /* out of brg_spot_source_look: until the next one */
    char token[BRG_SPOT_TOKEN_BYTES];     /* AWS: as a header; empty: none */
    char etag[BRG_SPOT_HEADER_BYTES];     /* GCP: of instance/preempted */
    char own_name[BRG_SPOT_HEADER_BYTES]; /* Azure: of this virtual machine; empty: not known */
    struct brg_spot_answer answer;
};

/* brg_spot_source_init - own: borrows http and the strings of `config` */
void brg_spot_source_init(struct brg_spot_source *s, const struct brg_spot_config *config,
                          struct brg_spot_http *http);

/* brg_spot_source_find - for AUTO: which cloud this machine is in; first by what its firmware says,
 * and where that says nothing (or a URL was given) by asking each one's metadata service.
 *
 * out:    s->kind, BRG_SPOT_KIND_NONE where there is no cloud
 * errors: BRG_ETIMEDOUT the firmware names a cloud, but its service does not answer (*why);
 *         BRG_ECANCELED stopped */
BRG_CHECK int brg_spot_source_find(struct brg_spot_source *s, struct brg_why *why);

/* brg_spot_source_look - all that stands there now; sets s->pause_ns.
 *
 * errors: any of brg_spot_http_ask; BRG_EPROTO an answer that is not understood; BRG_EPERM it wants
 *         a token and does not take ours. *out is then nothing to go by */
BRG_CHECK int brg_spot_source_look(struct brg_spot_source *s, struct brg_spot_seen *out,
                                   struct brg_why *why);

#endif
