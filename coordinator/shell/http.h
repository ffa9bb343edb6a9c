/* http.h - the coordinator's window: a page, metrics, health and a small API over HTTP.
 *
 *   browser, Prometheus ──HTTP──► http thread ──asks──► ring ──► reactor
 *                                 (owns all of   ◄─news── ring ◄── (owns the state)
 *                                  libmicrohttpd)
 *
 * The thread of its own polls libmicrohttpd's epoll descriptor and the ring of news. It never
 * touches the reactor's state and the reactor never waits for it: what is shown is a snapshot that
 * the reactor gave away, what is asked for waits in a bounded ring, and a full ring means that the
 * asker is told to come back later.
 *
 * Bounds: connections, streams, requests waiting, bytes of headers and bodies, seconds until a
 * request is complete, requests a second that reach the reactor. Functions say whose they are. */
#ifndef BRG_HTTP_H
#define BRG_HTTP_H

#include <cjson/cJSON.h>

#include "base/why.h"
#include "coordinator/shell/metrics.h"

#define BRG_HTTP_CONNECTIONS_MAX 256u
#define BRG_HTTP_STREAMS_MAX 32u
#define BRG_HTTP_WAITING_MAX 64u      /* requests that wait for the reactor */
#define BRG_HTTP_BODY_BYTES_MAX 4096u /* of a POST */
#define BRG_HTTP_MEMORY_BYTES 16384u  /* of one connection: its request line and headers */
#define BRG_HTTP_REQUEST_NS (UINT64_C(10) * BRG_NS_PER_S)  /* from connecting to a whole request */
#define BRG_HTTP_RESPONSE_NS (UINT64_C(60) * BRG_NS_PER_S) /* until it was taken */
#define BRG_HTTP_LISTEN_DEFAULT "127.0.0.1:7421"
#define BRG_HTTP_SECRET_FILE "http.secret"

struct brg_http;

enum brg_http_phase {
    BRG_HTTP_STARTING = 1, /* the store is being read */
    BRG_HTTP_SERVING,
    BRG_HTTP_STOPPING,
};

struct brg_http_config {
    const char *listen;    /* host:port */
    const char *name;      /* a host name that requests may be for, beside addresses; or NULL */
    const char *state_dir; /* where http.secret is, or is made, 0600 */
};

/* What the reactor shows at one instant; belongs to whoever holds the pointer, and nobody changes
 * it once it was given away. */
struct brg_http_snapshot {
    uint64_t made_ns; /* monotonic */
    uint32_t refs;    /* http thread only */
    cJSON *status;    /* as `brigade status --json` */
    cJSON *points;    /* of the curve, made since the snapshot before */
    cJSON *strips;    /* round times: an array for each worker of status, in order */
    struct brg_metrics metrics;
    char *stream_text; /* http thread only: what each stream sends, made once */
    size_t stream_bytes;
};

#define BRG_HTTP_LOOK "" /* the verb that only wants a fresh snapshot */

/* A wish that the reactor carries out. */
struct brg_http_ask {
    uint64_t id;   /* 0: nobody waits for an answer */
    char verb[24]; /* of the operator (docs/OPERATOR.md), or BRG_HTTP_LOOK */
    char *body;    /* JSON; free() */
};

/* brg_http_start - binds, reads or makes the secret, starts the thread. STARTING.
 *
 * own:    *out is the caller's, brg_http_stop; NULL on error
 * errors: BRG_EEXIST the address is taken; BRG_EPERM, BRG_EINVAL, BRG_EIO, BRG_ENOMEM, with the
 *         sentence */
BRG_CHECK int brg_http_start(const struct brg_http_config *config, struct brg_http **out,
                             struct brg_why *why);

/* brg_http_stop - ends the thread and all connections; NULL is allowed. Bounded by one loop. */
void brg_http_stop(struct brg_http **http);

/* brg_http_port - the port that was bound. */
uint16_t brg_http_port(const struct brg_http *http);

/* The reactor's side. None of these waits. */
void brg_http_phase(struct brg_http *http, enum brg_http_phase phase);
void brg_http_alive(struct brg_http *http, uint64_t now_ns); /* a turn was made */
uint32_t brg_http_streams(const struct brg_http *http);      /* pages that are open */
int brg_http_fd(const struct brg_http *http);                /* readable while asks wait */

/* brg_http_take - the next ask; 0 where there is none. own: ask->body is the caller's */
int brg_http_take(struct brg_http *http, struct brg_http_ask *ask);

/* brg_http_answer - code 0 or BRG_E*, body JSON. own: takes body over */
void brg_http_answer(struct brg_http *http, uint64_t id, int code, char *body);

/* brg_http_publish - own: takes the snapshot over; where the thread is behind, it is dropped. */
void brg_http_publish(struct brg_http *http, struct brg_http_snapshot *snapshot);

/* brg_http_snapshot_free - with all that it holds; NULL is allowed. */
void brg_http_snapshot_free(struct brg_http_snapshot *snapshot);

#endif
