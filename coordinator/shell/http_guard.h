/* http_guard.h - what a request must look like before anything is done for it.
 *
 * A page of somebody else, open in the operator's browser, must be able neither to read what the
 * coordinator shows nor to change it: the Host header keeps out names that were bent to our
 * address (DNS rebinding), the Origin header pages of other sites, the bearer secret everybody who
 * cannot read the state folder. Pure and thread-safe. */
#ifndef BRG_HTTP_GUARD_H
#define BRG_HTTP_GUARD_H

#include "base/base.h"

#define BRG_HTTP_NAME_BYTES 256u
#define BRG_HTTP_SECRET_BYTES 65u /* 32 random bytes in hex and the closing NUL */

/* brg_http_host_ok - 1 where `host` (a Host header, NULL: none was sent) is a name that nobody
 * outside can point at us: an IP address, localhost, a name without a dot, or `name` or `other`,
 * which may be NULL. A port behind it does not count. */
int brg_http_host_ok(const char *host, const char *name, const char *other);

/* brg_http_origin_ok - 1 where `origin` (NULL: none was sent, as by curl) is http:// or https://
 * and exactly the `host` that the request is for. */
int brg_http_origin_ok(const char *origin, const char *host);

/* brg_http_bearer_ok - 1 where `authorization` is "Bearer SECRET".
 *
 * shape: secret [BRG_HTTP_SECRET_BYTES]
 * cost:  the same time whatever was sent */
int brg_http_bearer_ok(const char *authorization, const char *secret);

/* A bucket that lets `rate` things a second pass, and `burst` at once. Zeroed: full at first. */
struct brg_http_bucket {
    double tokens;
    uint64_t at_ns;
};

/* brg_http_bucket_take - 1 where one more may pass now. now_ns never goes back. */
int brg_http_bucket_take(struct brg_http_bucket *b, uint64_t now_ns, double rate, double burst);

#endif
