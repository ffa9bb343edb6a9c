#include "coordinator/shell/http_private.h"

#include <string.h>

/* ---- a request's wait for the reactor ---- */

int brg_http_wait(struct brg_http_request *r, uint32_t for_what) {
    struct brg_http *h = r->http;
    for (uint32_t i = 0; i < BRG_HTTP_WAITING_MAX; i++) {
        if (h->waiting[i] != NULL) continue;
        h->waiting[i] = r;
        r->waiting = for_what;
        r->due_ns = h->now_ns + BRG_HTTP_PATIENCE_NS;
        MHD_suspend_connection(r->connection);
        return BRG_OK;
    }
    return BRG_EFULL;
}

void brg_http_wake(struct brg_http *h, uint32_t index) {
    struct brg_http_request *r = h->waiting[index];
    h->waiting[index] = NULL;
    r->waiting = BRG_HTTP_NOT_WAITING;
    r->has_waited = 1;
    MHD_resume_connection(r->connection);
}

/* ---- from the first header to the answer ---- */

static const char *header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static struct brg_http_connection *slot_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void find_page(const char *path, struct brg_api_call *call) {
    if (strcmp(path, "/") == 0) path = "/index.html";
    for (uint32_t i = 0; i < brg_http_page_count && call->kind == BRG_API_NONE; i++) {
        if (strcmp(path, brg_http_pages[i].path) != 0) continue;
        call->kind = BRG_API_PAGE;
        call->page = i;
    }
}

/* What is wrong with the request before its path counts. returns: 0, or the status */
static unsigned fault_of(struct brg_http_request *r, const char *method) {
    struct brg_http *h = r->http;
    const char *host = header(r->connection, MHD_HTTP_HEADER_HOST);
    const char *origin = header(r->connection, MHD_HTTP_HEADER_ORIGIN);
    const int is_read = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (!brg_http_host_ok(host, h->name, h->own_name)) return MHD_HTTP_MISDIRECTED_REQUEST;
    if (!brg_http_origin_ok(origin, host)) return MHD_HTTP_FORBIDDEN;
    if (!is_read && strcmp(method, "POST") != 0) return MHD_HTTP_METHOD_NOT_ALLOWED;
    if (r->call.kind == BRG_API_NONE) return MHD_HTTP_NOT_FOUND;
    if (is_read == (r->call.kind == BRG_API_CHANGE)) return MHD_HTTP_METHOD_NOT_ALLOWED;
    if (r->is_too_long) return MHD_HTTP_CONTENT_TOO_LARGE;
    if (is_read) return 0;
    const char *type = header(r->connection, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (type == NULL || strncmp(type, "application/json", 16) != 0) {
        return MHD_HTTP_UNSUPPORTED_MEDIA_TYPE;
    }
    /* Guesses are answered no faster than so. */
    if (brg_http_bearer_ok(header(r->connection, MHD_HTTP_HEADER_AUTHORIZATION), h->secret)) {
        return 0;
    }
    return brg_http_bucket_take(&h->secrets_bucket, h->now_ns, 5, 10) ? MHD_HTTP_UNAUTHORIZED
                                                                      : MHD_HTTP_TOO_MANY_REQUESTS;
}

static enum MHD_Result complain(struct brg_http_request *r, unsigned status) {
    switch (status) {
    case MHD_HTTP_MISDIRECTED_REQUEST:
        return brg_http_refuse(r, status,
                               "this host name is not ours: use an address, localhost, or the name "
                               "given by --announce");
    case MHD_HTTP_FORBIDDEN:
        return brg_http_refuse(r, status, "pages of other sites may not ask here");
    case MHD_HTTP_NOT_FOUND:
        return brg_http_refuse(r, status,
                               "there is nothing here: /api/v1/openapi.yaml lists what "
                               "there is");
    case MHD_HTTP_METHOD_NOT_ALLOWED:
        return brg_http_refuse(r, status, "GET reads, POST changes: this path wants the other one");
    case MHD_HTTP_CONTENT_TOO_LARGE:
        return brg_http_refuse(r, status, "a body has at most %u bytes", BRG_HTTP_BODY_BYTES_MAX);
    case MHD_HTTP_UNSUPPORTED_MEDIA_TYPE:
        return brg_http_refuse(r, status, "send JSON, and Content-Type: application/json");
    case MHD_HTTP_UNAUTHORIZED:
        return brg_http_refuse(r, status,
                               "changes need the operator's secret: Authorization: Bearer and what "
                               "is in the file %s of the coordinator's state folder",
                               BRG_HTTP_SECRET_FILE);
    default: return brg_http_refuse(r, status, "too many requests: wait a second, then try again");
    }
}

static struct brg_http_request *begin(struct brg_http *h, struct MHD_Connection *connection,
                                      const char *url, const char *method) {
    struct brg_http_request *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->http = h;
    r->connection = connection;
    r->slot = slot_of(connection);
    r->is_head = strcmp(method, "HEAD") == 0;
    brg_api_route(url, &r->call);
    find_page(url, &r->call);
    return r;
}

enum MHD_Result brg_http_handle(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_bytes, void **request) {
    struct brg_http_request *r = *request;
    (void)version;
    if (r == NULL) { /* the headers are here; the connection has no slot if too many have one */
        r = begin(context, connection, url, method);
        if (r == NULL || r->slot == NULL) {
            free(r);
            return MHD_NO;
        }
        r->slot->since_ns = 0;
        *request = r;
        return MHD_YES;
    }
    if (*upload_bytes > 0) {
        if (*upload_bytes > BRG_HTTP_BODY_BYTES_MAX - r->body_bytes) {
            r->is_too_long = 1; /* read to its end within its time, and kept nowhere */
        } else {
            memcpy(r->body + r->body_bytes, upload, *upload_bytes);
            r->body_bytes += *upload_bytes;
        }
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (r->is_sent) return MHD_YES;
    r->slot->due_ns = r->http->now_ns + BRG_HTTP_RESPONSE_NS;
    const unsigned status = r->has_waited ? 0 : fault_of(r, method);
    return status != 0 ? complain(r, status) : brg_http_respond(r);
}

void brg_http_completed(void *context, struct MHD_Connection *connection, void **request,
                        enum MHD_RequestTerminationCode why) {
    struct brg_http *h = context;
    struct brg_http_request *r = *request;
    (void)connection;
    (void)why;
    if (r == NULL) return;
    for (uint32_t i = 0; i < BRG_HTTP_WAITING_MAX; i++) {
        if (h->waiting[i] == r) h->waiting[i] = NULL;
    }
    r->slot->is_stream = 0;
    r->slot->since_ns = h->now_ns; /* another request may follow */
    r->slot->due_ns = h->now_ns + BRG_HTTP_REQUEST_NS;
    free(r->answer);
    free(r);
    *request = NULL;
}
