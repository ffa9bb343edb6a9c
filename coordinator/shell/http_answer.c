#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "coordinator/shell/http_private.h"

#define ASKS_A_SECOND 50
#define STREAM_BLOCK_BYTES 65536u

/* ---- sending ---- */

static enum MHD_Result queue(struct brg_http_request *r, unsigned status, const char *type,
                             struct MHD_Response *response) {
    static const char *const always[][2] = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
         "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
    };
    if (response == NULL) return MHD_NO;
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        (void)MHD_add_response_header(response, always[i][0], always[i][1]);
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (r->call.kind != BRG_API_PAGE) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    }
    if (status == MHD_HTTP_UNAUTHORIZED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    }
    if (status == MHD_HTTP_TOO_MANY_REQUESTS || status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    }
    const enum MHD_Result rc = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    r->is_sent = 1;
    if (status / 100 < 6) r->http->counts.answers[status / 100]++;
    return rc;
}

enum MHD_Result brg_http_send(struct brg_http_request *r, unsigned status, const char *type,
                              char *text, size_t size_bytes) {
    struct MHD_Response *response =
        text == NULL ? NULL
                     : MHD_create_response_from_buffer(size_bytes, text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) free(text);
    return queue(r, status, type, response);
}

static enum MHD_Result send_text(struct brg_http_request *r, unsigned status, const char *text) {
    return queue(r, status, "text/plain; charset=utf-8",
                 MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                 MHD_RESPMEM_MUST_COPY));
}

static enum MHD_Result send_json(struct brg_http_request *r, unsigned status, char *text) {
    return brg_http_send(r, status, "application/json", text, text != NULL ? strlen(text) : 0);
}

enum MHD_Result brg_http_refuse(struct brg_http_request *r, unsigned status, const char *format,
                                ...) {
    char text[BRG_WHY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "error", text);
    char *body = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return send_json(r, status, body);
}

static enum MHD_Result send_page(struct brg_http_request *r) {
    const struct brg_http_page *page = &brg_http_pages[r->call.page];
    const char *known =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
    const int is_known = known != NULL && strcmp(known, page->etag) == 0;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        is_known ? 0 : page->size_bytes, (void *)(uintptr_t)page->bytes, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, page->etag);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    return queue(r, is_known ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, page->type, response);
}

/* ---- health ---- */

static enum MHD_Result send_health(struct brg_http_request *r) {
    struct brg_http *h = r->http;
    const uint64_t alive_ns = atomic_load(&h->alive_ns);
    const int is_late = alive_ns != 0 && h->now_ns > alive_ns + BRG_HTTP_ALIVE_NS;
    if (!is_late) return send_text(r, MHD_HTTP_OK, "ok\n");
    return send_text(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                     "the reactor has not turned for 30 s: see the log, restart the coordinator\n");
}

static enum MHD_Result send_ready(struct brg_http_request *r) {
    const uint32_t phase = atomic_load(&r->http->phase);
    if (phase == BRG_HTTP_SERVING) return send_text(r, MHD_HTTP_OK, "ready\n");
    return send_text(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                     phase == BRG_HTTP_STARTING ? "starting: the store is being read\n"
                                                : "stopping: it takes no new work\n");
}

/* ---- what the snapshot holds ---- */

/* The reactor is asked for a snapshot once, whoever else waits for it. */
static void look(struct brg_http *h) {
    const struct brg_http_ask ask = {.verb = BRG_HTTP_LOOK};
    if (h->has_looked) return;
    h->has_looked = brg_ring_push(h->asks, &ask) == BRG_OK;
}

static int is_fresh(const struct brg_http *h) {
    return h->latest != NULL && h->now_ns < h->latest->made_ns + BRG_HTTP_FRESH_NS;
}

static enum MHD_Result send_metrics(struct brg_http_request *r) {
    struct brg_http *h = r->http;
    const struct brg_http_snapshot *s = h->latest;
    char *text = NULL;
    size_t size = 0;
    h->counts.streams = atomic_load(&h->streams_open);
    h->counts.snapshot_age_s =
        s == NULL ? NAN : (double)(h->now_ns > s->made_ns ? h->now_ns - s->made_ns : 0) / 1e9;
    const int rc = brg_metrics_text(s != NULL ? s->status : NULL, s != NULL ? &s->metrics : NULL,
                                    &h->counts, &text, &size);
    if (rc != BRG_OK) return MHD_NO;
    return brg_http_send(r, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, size);
}

static enum MHD_Result send_status(struct brg_http_request *r) {
    const struct brg_http_snapshot *s = r->http->latest;
    if (s == NULL) {
        return brg_http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                               "the coordinator is busy or starting: try again in a moment");
    }
    if (r->call.part == NULL) return send_json(r, MHD_HTTP_OK, cJSON_PrintUnformatted(s->status));
    cJSON *o = cJSON_CreateObject(), *part = NULL;
    part = cJSON_GetObjectItemCaseSensitive(s->status, r->call.part);
    (void)cJSON_AddItemReferenceToObject(o, r->call.part, part);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return send_json(r, MHD_HTTP_OK, text);
}

/* ---- what the reactor answers ---- */

/* The arguments of a GET on their way into JSON. */
struct query {
    struct brg_api_call *call;
    cJSON *request;
    struct brg_why *why;
    int rc;
};

static enum MHD_Result take_query(void *context, enum MHD_ValueKind kind, const char *name,
                                  const char *value) {
    struct query *q = context;
    (void)kind;
    q->rc = brg_api_argument(q->call, name, value != NULL ? value : "", q->request, q->why);
    return q->rc == BRG_OK ? MHD_YES : MHD_NO;
}

/* The request's JSON: of a POST its body, of a GET its arguments. NULL, with the sentence. */
static cJSON *request_of(struct brg_http_request *r, struct brg_why *why) {
    struct query q = {.call = &r->call, .why = why, .rc = BRG_OK};
    if (r->call.kind == BRG_API_CHANGE) {
        cJSON *body = cJSON_ParseWithLength(r->body, r->body_bytes);
        if (cJSON_IsObject(body)) return body;
        cJSON_Delete(body);
        (void)brg_why_set(why, BRG_EINVAL, "the body is not a JSON object");
        return NULL;
    }
    q.request = cJSON_CreateObject();
    (void)MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_query, &q);
    if (q.rc == BRG_OK) return q.request;
    cJSON_Delete(q.request);
    return NULL;
}

static enum MHD_Result ask(struct brg_http_request *r) {
    struct brg_http *h = r->http;
    struct brg_why why = {{0}};
    struct brg_http_ask ask = {.id = ++h->next_id};
    if (!brg_http_bucket_take(&h->asks_bucket, h->now_ns, ASKS_A_SECOND, ASKS_A_SECOND)) {
        return brg_http_refuse(r, MHD_HTTP_TOO_MANY_REQUESTS,
                               "too many requests: wait a second, then try again");
    }
    cJSON *request = request_of(r, &why);
    if (request == NULL) return brg_http_refuse(r, MHD_HTTP_BAD_REQUEST, "%s", why.text);
    ask.body = cJSON_PrintUnformatted(request);
    cJSON_Delete(request);
    (void)snprintf(ask.verb, sizeof ask.verb, "%s", r->call.verb);
    r->id = ask.id;
    if (ask.body != NULL && brg_ring_push(h->asks, &ask) == BRG_OK) {
        if (brg_http_wait(r, BRG_HTTP_FOR_ANSWER) == BRG_OK) return MHD_YES;
    } else {
        free(ask.body);
    }
    return brg_http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "too many requests wait already");
}

static unsigned status_of(int code) {
    switch (code) {
    case BRG_OK: return MHD_HTTP_OK;
    case BRG_ENOENT: return MHD_HTTP_NOT_FOUND;
    case BRG_EPERM: return MHD_HTTP_FORBIDDEN;
    case BRG_EFULL:
    case BRG_EEXIST: return MHD_HTTP_CONFLICT;
    case BRG_EINVAL: return MHD_HTTP_BAD_REQUEST;
    default: return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
}

static enum MHD_Result send_answer(struct brg_http_request *r) {
    char *answer = r->answer, *csv = NULL;
    size_t size = 0;
    r->answer = NULL;
    if (answer == NULL) {
        return brg_http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                               "the coordinator is busy and did not answer in time: look at the "
                               "status before you try again");
    }
    if (r->code == BRG_OK && r->call.is_csv) {
        const int rc = brg_api_curve_csv(answer, &csv, &size);
        free(answer);
        return rc == BRG_OK ? brg_http_send(r, MHD_HTTP_OK, "text/csv; charset=utf-8", csv, size)
                            : MHD_NO;
    }
    return send_json(r, status_of(r->code), answer);
}

/* ---- streams ---- */

static int make_stream_text(struct brg_http_snapshot *s) {
    if (s->stream_text != NULL) return BRG_OK;
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddItemReferenceToObject(o, "status", s->status);
    (void)cJSON_AddItemReferenceToObject(o, "points", s->points);
    (void)cJSON_AddItemReferenceToObject(o, "strips", s->strips);
    char *json = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    if (json == NULL) return BRG_ENOMEM;
    const size_t room = strlen(json) + 64;
    s->stream_text = malloc(room);
    if (s->stream_text != NULL) {
        const int n = snprintf(s->stream_text, room, "retry: 1000\ndata: %s\n\n", json);
        s->stream_bytes = (size_t)n;
    }
    free(json);
    return s->stream_text != NULL ? BRG_OK : BRG_ENOMEM;
}

/* The next bytes of a stream. One that is behind skips the snapshots in between. */
static ssize_t read_stream(void *context, uint64_t offset, char *out, size_t room) {
    struct brg_http_stream *t = context;
    struct brg_http *h = t->http;
    (void)offset;
    if (atomic_load(&h->is_ending)) return MHD_CONTENT_READER_END_OF_STREAM;
    if (t->snapshot == NULL) {
        if (h->latest == NULL || h->latest->made_ns == t->seen_ns) {
            t->is_suspended = 1;
            MHD_suspend_connection(t->connection);
            return 0;
        }
        if (make_stream_text(h->latest) != BRG_OK) return MHD_CONTENT_READER_END_WITH_ERROR;
        t->snapshot = h->latest;
        t->snapshot->refs++;
        t->seen_ns = t->snapshot->made_ns;
        t->sent_bytes = 0;
    }
    size_t size = t->snapshot->stream_bytes - t->sent_bytes;
    if (size > room) size = room;
    memcpy(out, t->snapshot->stream_text + t->sent_bytes, size);
    t->sent_bytes += size;
    if (t->sent_bytes == t->snapshot->stream_bytes) brg_http_release(&t->snapshot);
    return (ssize_t)size;
}

static void end_stream(void *context) {
    struct brg_http_stream *t = context;
    for (uint32_t i = 0; i < BRG_HTTP_STREAMS_MAX; i++) {
        if (t->http->streams[i] == t) t->http->streams[i] = NULL;
    }
    atomic_fetch_sub(&t->http->streams_open, 1u);
    brg_http_release(&t->snapshot);
    free(t);
}

void brg_http_resume_streams(struct brg_http *h) {
    for (uint32_t i = 0; i < BRG_HTTP_STREAMS_MAX; i++) {
        if (h->streams[i] == NULL || !h->streams[i]->is_suspended) continue;
        h->streams[i]->is_suspended = 0;
        MHD_resume_connection(h->streams[i]->connection);
    }
}

static enum MHD_Result start_stream(struct brg_http_request *r) {
    struct brg_http *h = r->http;
    uint32_t i = 0;
    while (i < BRG_HTTP_STREAMS_MAX && h->streams[i] != NULL) i++;
    if (i == BRG_HTTP_STREAMS_MAX) {
        return brg_http_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                               "%u pages listen already: close one", BRG_HTTP_STREAMS_MAX);
    }
    struct brg_http_stream *t = calloc(1, sizeof *t);
    if (t == NULL) return MHD_NO;
    *t = (struct brg_http_stream){.http = h, .connection = r->connection, .slot = r->slot};
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, t, end_stream);
    if (response == NULL) {
        free(t);
        return MHD_NO;
    }
    h->streams[i] = t;
    r->slot->is_stream = 1;
    atomic_fetch_add(&h->streams_open, 1u);
    look(h);
    return queue(r, MHD_HTTP_OK, "text/event-stream", response);
}

enum MHD_Result brg_http_respond(struct brg_http_request *r) {
    struct brg_http *h = r->http;
    const uint32_t kind = r->call.kind;
    switch ((enum brg_api_kind)kind) {
    case BRG_API_PAGE: return send_page(r);
    case BRG_API_HEALTH: return send_health(r);
    case BRG_API_READY: return send_ready(r);
    case BRG_API_METRICS:
    case BRG_API_STATUS:
        if (!r->has_waited && !is_fresh(h) && atomic_load(&h->phase) == BRG_HTTP_SERVING) {
            look(h);
            if (brg_http_wait(r, BRG_HTTP_FOR_SNAPSHOT) == BRG_OK) return MHD_YES;
        }
        return kind == BRG_API_METRICS ? send_metrics(r) : send_status(r);
    case BRG_API_READ:
    case BRG_API_CHANGE: return r->has_waited ? send_answer(r) : ask(r);
    case BRG_API_STREAM:
        if (!r->is_head) return start_stream(r);
        return send_text(r, MHD_HTTP_OK, "");
    case BRG_API_NONE: break;
    }
    return MHD_NO;
}
