/* metrics.h - what Prometheus reads: the status in numbers. docs/METRICS.md lists them.
 *
 *   reactor: counts, every turn ──► struct brg_metrics ──┐
 *   reactor: status (JSON)  ─────────────────────────────┴─► brg_metrics_text, on the http thread
 *
 * Names are brigade_<noun>_<unit> in base units, counters end in _total. Labels are bounded:
 * states, kinds, models (8), the open run, and at most BRG_METRICS_WORKERS_MAX workers. */
#ifndef BRG_METRICS_H
#define BRG_METRICS_H

#include <cjson/cJSON.h>

#include "base/base.h"

#define BRG_METRICS_WORKERS_MAX 128u
#define BRG_METRICS_BUCKETS 14u
#define BRG_METRICS_KINDS_MAX 128u /* of events */

/* What the status does not hold. */
struct brg_metrics {
    uint64_t turns;
    uint64_t events[BRG_METRICS_KINDS_MAX]; /* by kind, since the process began */
    struct {
        uint64_t buckets[BRG_METRICS_BUCKETS + 1]; /* not cumulative; the last is for the rest */
        double sum_s;
    } steps; /* how long they took, since the process began */
    uint64_t rounds;
    double commit_age_s; /* of the last step; NaN: none yet */
    double share_seconds;
    uint64_t shares; /* pulled for the open run */
    uint64_t memory_held_bytes, memory_limit_bytes;
};

/* What the http thread counts itself. */
struct brg_metrics_http {
    uint64_t answers[6]; /* by hundreds of the status: answers[2] is 2xx */
    uint64_t cut_off;    /* connections that were too slow */
    uint32_t connections, streams;
    double snapshot_age_s; /* NaN: there is none */
};

/* brg_metrics_step - counts one step's duration. */
void brg_metrics_step(struct brg_metrics *m, double seconds);

/* brg_metrics_kind - the name of an event's kind; "" where the number is not in use. */
const char *brg_metrics_kind(uint32_t kind);

/* brg_metrics_text - the text format, version 0.0.4.
 *
 * own:    status and m may be NULL (nothing is known yet); *out is the caller's, free()
 * errors: BRG_ENOMEM
 * source: prometheus.io, "Exposition formats", text-based format */
BRG_CHECK int brg_metrics_text(const cJSON *status, const struct brg_metrics *m,
                               const struct brg_metrics_http *http, char **out, size_t *size_bytes);

#endif
