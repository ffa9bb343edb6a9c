/* spot_parse.h - what clouds write into their notices, read into struct brg_spot_seen.
 *
 * Everything here comes from outside the program: a text that is not understood is BRG_EPROTO with
 * a sentence, never a guess. Times of the cloud are compared with the cloud's own clock (the Date
 * header of the same answer) where there is one, so that a machine whose clock is wrong still knows
 * how long it has. Pure, thread-safe. */
#ifndef BRG_WORKER_SHELL_SPOT_PARSE_H
#define BRG_WORKER_SHELL_SPOT_PARSE_H

#include "base/why.h"
#include "worker/shell/spot_notice.h"

/* The two clocks at the moment of an answer. */
struct brg_spot_clocks {
    uint64_t now_ns; /* monotonic */
    int64_t wall_s;  /* of the cloud if it told, else of this machine: seconds since 1970, UTC */
};

/* brg_spot_parse_time - RFC 3339 ("2026-01-31T12:00:00Z", fractions and offsets allowed) or RFC
 * 1123
 * ("Sat, 31 Jan 2026 12:00:00 GMT") as seconds since 1970. errors: BRG_EINVAL another form */
BRG_CHECK int brg_spot_parse_time(const char *text, int64_t *out_s);

/* brg_spot_parse_aws - the body of spot/instance-action. errors: BRG_EPROTO */
BRG_CHECK int brg_spot_parse_aws(const char *body, const struct brg_spot_clocks *clocks,
                                 struct brg_spot_seen *out, struct brg_why *why);

/* brg_spot_parse_aws_risk - the body of events/recommendations/rebalance. errors: BRG_EPROTO */
BRG_CHECK int brg_spot_parse_aws_risk(const char *body, struct brg_spot_seen *out,
                                      struct brg_why *why);

/* brg_spot_parse_gcp - the texts of instance/preempted and instance/maintenance-event; NULL: that
 * one was not read. errors: BRG_EPROTO */
BRG_CHECK int brg_spot_parse_gcp(const char *preempted, const char *maintenance,
                                 const struct brg_spot_clocks *clocks, struct brg_spot_seen *out,
                                 struct brg_why *why);

/* brg_spot_parse_azure - the document of scheduled events. Only events that name the virtual
 * machine `own_name` count; without a name (empty) every event counts, since leaving without need
 * costs less than not leaving. The earliest event that takes the machine away wins. errors:
 * BRG_EPROTO */
BRG_CHECK int brg_spot_parse_azure(const char *body, const char *own_name,
                                   const struct brg_spot_clocks *clocks, struct brg_spot_seen *out,
                                   struct brg_why *why);

/* brg_spot_parse_file - the content of a notice file: empty (leave now), JSON as AWS writes it, or
 * lines "key: value" of which `action` (risk or anything else) and `time`, `end_time` or
 * `deadline` are looked at. errors: BRG_EPROTO a time that is none */
BRG_CHECK int brg_spot_parse_file(const char *body, const struct brg_spot_clocks *clocks,
                                  struct brg_spot_seen *out, struct brg_why *why);

#endif
