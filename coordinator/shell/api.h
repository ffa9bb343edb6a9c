/* api.h - which path means what, and the forms of an answer. docs/openapi.yaml lists them.
 *
 * Pure functions on texts and JSON; thread-safe. */
#ifndef BRG_API_H
#define BRG_API_H

#include <cjson/cJSON.h>

#include "base/why.h"

enum brg_api_kind {
    BRG_API_NONE = 0, /* no such path */
    BRG_API_PAGE,     /* a packaged page; `page` is its number */
    BRG_API_HEALTH,
    BRG_API_READY,
    BRG_API_METRICS,
    BRG_API_STREAM,
    BRG_API_STATUS, /* out of the snapshot: all of it, or the list `part` */
    BRG_API_READ,   /* the reactor is asked, by `verb` */
    BRG_API_CHANGE, /* it is told to, by `verb`; needs the secret */
};

struct brg_api_call {
    uint32_t kind; /* enum brg_api_kind */
    uint32_t page;
    uint32_t is_csv;
    const char *verb; /* of docs/OPERATOR.md */
    const char *part; /* NULL: all */
};

/* brg_api_route - what a path is for; pages are the caller's to look up. */
void brg_api_route(const char *path, struct brg_api_call *out);

/* brg_api_argument - takes one argument of the query, name=value, into the request's JSON.
 *
 * errors: BRG_EINVAL this call knows no such argument, or it is out of its range; the sentence */
BRG_CHECK int brg_api_argument(struct brg_api_call *call, const char *name, const char *value,
                               cJSON *request, struct brg_why *why);

/* brg_api_curve_csv - the answer to `curve` with a heading, as `brigade curve --csv` prints it.
 * own: *out is the caller's, free(). errors: BRG_ENOMEM, BRG_EINVAL not such an answer */
BRG_CHECK int brg_api_curve_csv(const char *json, char **out, size_t *size_bytes);

#endif
