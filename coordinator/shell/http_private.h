/* http_private.h - what the files of the http thread share.
 *
 *   http.c          the thread: its loop, deadlines, news from the reactor, start and stop
 *   http_request.c  a request from its first header to its answer
 *   http_answer.c   answers: pages, health, metrics, what the reactor said, streams
 *
 * Everything but the atomics belongs to the http thread. */
#ifndef BRG_HTTP_PRIVATE_H
#define BRG_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/ring.h"
#include "coordinator/shell/api.h"
#include "coordinator/shell/http.h"
#include "coordinator/shell/http_guard.h"

#define BRG_HTTP_FRESH_NS (BRG_NS_PER_S)        /* a snapshot this young is shown as it is */
#define BRG_HTTP_PATIENCE_NS (3 * BRG_NS_PER_S) /* a request waits so long for the reactor */
#define BRG_HTTP_ALIVE_NS (30 * BRG_NS_PER_S)   /* a reactor silent for longer is not healthy */

/* A page that was packaged into the program (web/pack.cmake). */
struct brg_http_page {
    const char *path, *type, *etag;
    const uint8_t *bytes;
    size_t size_bytes;
};
extern const struct brg_http_page brg_http_pages[];
extern const uint32_t brg_http_page_count;

/* A connection, from accept to close. */
struct brg_http_connection {
    int fd; /* -1: the slot is free */
    uint32_t is_stream;
    uint64_t due_ns;   /* it is cut off then */
    uint64_t since_ns; /* it has waited for a request since then; 0: it has one */
};

enum brg_http_waiting { BRG_HTTP_NOT_WAITING = 0, BRG_HTTP_FOR_SNAPSHOT, BRG_HTTP_FOR_ANSWER };

/* A request under way. */
struct brg_http_request {
    struct brg_http *http;
    struct MHD_Connection *connection;
    struct brg_http_connection *slot;
    struct brg_api_call call;
    char body[BRG_HTTP_BODY_BYTES_MAX + 1];
    size_t body_bytes;
    int is_too_long, is_head, is_sent;
    uint32_t waiting;    /* enum brg_http_waiting */
    uint64_t id, due_ns; /* of the wait */
    int has_waited;      /* it was resumed: no second wait */
    int code;            /* of the answer */
    char *answer;        /* JSON, or NULL: none came in time */
};

/* A page that listens. */
struct brg_http_stream {
    struct brg_http *http;
    struct MHD_Connection *connection;
    struct brg_http_connection *slot;
    struct brg_http_snapshot *snapshot; /* being sent; one reference */
    size_t sent_bytes;                  /* of it */
    uint64_t seen_ns;                   /* made_ns of the last one */
    int is_suspended;
};

/* What comes from the reactor. */
struct brg_http_news {
    uint64_t id;
    int32_t code;
    char *body;                         /* of an answer */
    struct brg_http_snapshot *snapshot; /* or a snapshot */
};

struct brg_http {
    _Atomic uint64_t alive_ns;
    _Atomic uint32_t streams_open, phase, is_ending;

    struct brg_ring *asks, *news;
    pthread_t thread;
    int has_thread, listen_fd;
    uint16_t port;
    char name[BRG_HTTP_NAME_BYTES], own_name[BRG_HTTP_NAME_BYTES];
    char secret[BRG_HTTP_SECRET_BYTES];

    struct MHD_Daemon *daemon;
    uint64_t now_ns, next_id;
    int has_looked; /* a fresh snapshot was asked for and has not come */
    struct brg_http_snapshot *latest;
    struct brg_http_connection connections[BRG_HTTP_CONNECTIONS_MAX];
    struct brg_http_request *waiting[BRG_HTTP_WAITING_MAX];
    struct brg_http_stream *streams[BRG_HTTP_STREAMS_MAX];
    struct brg_http_bucket asks_bucket, secrets_bucket;
    struct brg_metrics_http counts;
};

/* http_request.c */
enum MHD_Result brg_http_handle(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_bytes, void **request);
void brg_http_completed(void *context, struct MHD_Connection *connection, void **request,
                        enum MHD_RequestTerminationCode why);
/* The request sleeps until brg_http_wake; errors: BRG_EFULL too many do. */
BRG_CHECK int brg_http_wait(struct brg_http_request *r, uint32_t for_what);
void brg_http_wake(struct brg_http *h, uint32_t index);

/* http_answer.c */
enum MHD_Result brg_http_send(struct brg_http_request *r, unsigned status, const char *type,
                              char *text, size_t size_bytes); /* takes text over */
BRG_PRINTF(3, 4)
enum MHD_Result brg_http_refuse(struct brg_http_request *r, unsigned status, const char *format,
                                ...);
enum MHD_Result brg_http_respond(struct brg_http_request *r);
void brg_http_resume_streams(struct brg_http *h);
void brg_http_release(struct brg_http_snapshot **snapshot);

#endif
