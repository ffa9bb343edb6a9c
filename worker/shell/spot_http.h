/* spot_http.h - one small HTTP request after another to a metadata service, each within a bound.
 *
 * Only http, no proxy, no redirect, no cookie: the service sits on the machine's own link, and
 * whoever is farther away is not it. A body larger than BRG_SPOT_BODY_BYTES is an error.
 *
 * One thread asks; brg_spot_http_stop may be called by any thread and ends what it is waiting for.
 */
#ifndef BRG_WORKER_SHELL_SPOT_HTTP_H
#define BRG_WORKER_SHELL_SPOT_HTTP_H

#include "base/why.h"

#define BRG_SPOT_BODY_BYTES 65536u
#define BRG_SPOT_HEADER_BYTES 512u /* of one header: a token, an etag */
#define BRG_SPOT_URL_BYTES 512u

struct brg_spot_http;

struct brg_spot_request {
    const char *url;
    const char *headers[2]; /* "Name: value"; NULL: none */
    uint32_t is_put;        /* 1: PUT with an empty body, else GET */
    uint32_t timeout_ms;    /* of the whole, > 0 */
};

struct brg_spot_answer {
    uint32_t status; /* of HTTP */
    int64_t date_s;  /* the server's clock, seconds since 1970; 0: it did not say */
    size_t body_bytes;
    char etag[BRG_SPOT_HEADER_BYTES];
    char flavor[BRG_SPOT_HEADER_BYTES]; /* Metadata-Flavor */
    char body[BRG_SPOT_BODY_BYTES + 1];
};

/* brg_spot_http_create - own: *out until brg_spot_http_destroy; errors: BRG_ENOMEM */
BRG_CHECK int brg_spot_http_create(struct brg_spot_http **out, struct brg_why *why);
void brg_spot_http_destroy(struct brg_spot_http **http);

/* brg_spot_http_ask - asks and waits for the whole answer.
 *
 * errors: BRG_ETIMEDOUT no answer in time; BRG_EIO no connection, or it broke; BRG_EPROTO not HTTP,
 *         or too much; BRG_ECANCELED stopped. *why in each but the last */
BRG_CHECK int brg_spot_http_ask(struct brg_spot_http *http, const struct brg_spot_request *request,
                                struct brg_spot_answer *out, struct brg_why *why);

/* brg_spot_http_sleep - waits. errors: BRG_ECANCELED stopped */
BRG_CHECK int brg_spot_http_sleep(struct brg_spot_http *http, uint64_t for_ns);

/* brg_spot_http_stop - from now on everything ends with BRG_ECANCELED. Any thread. */
void brg_spot_http_stop(struct brg_spot_http *http);

#endif
