#include "worker/shell/spot_http.h"

#include "worker/shell/spot_parse.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS 1000L
#define POLL_MAX_MS 1000

struct brg_spot_http {
    CURLM *multi;
    CURL *easy;
    atomic_int is_stopped;
};

static uint64_t now_ns(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

int brg_spot_http_create(struct brg_spot_http **out, struct brg_why *why) {
    *out = NULL;
    struct brg_spot_http *h = calloc(1, sizeof *h);
    if (h == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK) {
        free(h);
        return brg_why_set(why, BRG_ENOMEM, "libcurl cannot start");
    }
    h->multi = curl_multi_init();
    h->easy = curl_easy_init();
    *out = h;
    if (h->multi != NULL && h->easy != NULL) return BRG_OK;
    brg_spot_http_destroy(out);
    return brg_why_set(why, BRG_ENOMEM, "out of memory");
}

void brg_spot_http_destroy(struct brg_spot_http **http) {
    struct brg_spot_http *h = *http;
    if (h == NULL) return;
    if (h->easy != NULL) curl_easy_cleanup(h->easy);
    if (h->multi != NULL) (void)curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    free(h);
    *http = NULL;
}

void brg_spot_http_stop(struct brg_spot_http *h) {
    atomic_store(&h->is_stopped, 1);
    (void)curl_multi_wakeup(h->multi);
}

/* ---- what comes in ---- */

static size_t take_body(char *data, size_t one, size_t count, void *context) {
    struct brg_spot_answer *answer = context;
    const size_t size = one * count;
    if (size > BRG_SPOT_BODY_BYTES - answer->body_bytes) return 0; /* ends the transfer */
    memcpy(answer->body + answer->body_bytes, data, size);
    answer->body_bytes += size;
    answer->body[answer->body_bytes] = '\0';
    return size;
}

/* The value of "Name: value" where the line is that header, into out [BRG_SPOT_HEADER_BYTES]. */
static void take_value(const char *line, size_t size, const char *name, char *out) {
    const size_t length = strlen(name);
    if (size <= length || strncasecmp(line, name, length) != 0 || line[length] != ':') return;
    line += length + 1;
    size -= length + 1;
    while (size > 0 && *line == ' ') line++, size--;
    while (size > 0 && (unsigned char)line[size - 1] <= ' ') size--;
    if (size >= BRG_SPOT_HEADER_BYTES) return;
    memcpy(out, line, size);
    out[size] = '\0';
}

static size_t take_header(char *data, size_t one, size_t count, void *context) {
    struct brg_spot_answer *answer = context;
    const size_t size = one * count;
    char date[BRG_SPOT_HEADER_BYTES] = "";
    take_value(data, size, "ETag", answer->etag);
    take_value(data, size, "Metadata-Flavor", answer->flavor);
    take_value(data, size, "Date", date);
    if (date[0] != '\0' && brg_spot_parse_time(date, &answer->date_s) != BRG_OK) answer->date_s = 0;
    return size;
}

/* ---- asking ---- */

#define SET(easy, option, value)                                                                   \
    do {                                                                                           \
        if (rc == CURLE_OK) rc = curl_easy_setopt(easy, option, value);                            \
    } while (0)

static int prepare(struct brg_spot_http *h, const struct brg_spot_request *request,
                   struct curl_slist *headers, struct brg_spot_answer *out) {
    CURLcode rc = CURLE_OK;
    curl_easy_reset(h->easy);
    SET(h->easy, CURLOPT_URL, request->url);
    SET(h->easy, CURLOPT_PROTOCOLS_STR, "http");
    SET(h->easy, CURLOPT_NOPROXY, "*");
    SET(h->easy, CURLOPT_NOSIGNAL, 1L);
    SET(h->easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(h->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    SET(h->easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    SET(h->easy, CURLOPT_HTTPHEADER, headers);
    SET(h->easy, CURLOPT_WRITEFUNCTION, take_body);
    SET(h->easy, CURLOPT_WRITEDATA, out);
    SET(h->easy, CURLOPT_HEADERFUNCTION, take_header);
    SET(h->easy, CURLOPT_HEADERDATA, out);
    if (request->is_put) {
        SET(h->easy, CURLOPT_CUSTOMREQUEST, "PUT");
        SET(h->easy, CURLOPT_POSTFIELDS, "");
    }
    return rc == CURLE_OK ? BRG_OK : BRG_ENOMEM;
}

/* Lets the transfer go on until it has ended, its own time-out at the latest. */
static int finish(struct brg_spot_http *h, CURLcode *result) {
    int running = 1, left = 0;
    while (running > 0) {
        if (atomic_load(&h->is_stopped)) return BRG_ECANCELED;
        if (curl_multi_perform(h->multi, &running) != CURLM_OK) return BRG_EIO;
        if (running > 0 && curl_multi_poll(h->multi, NULL, 0, POLL_MAX_MS, NULL) != CURLM_OK)
            return BRG_EIO;
    }
    const CURLMsg *message = curl_multi_info_read(h->multi, &left);
    if (message == NULL || message->msg != CURLMSG_DONE) return BRG_EIO;
    *result = message->data.result;
    return BRG_OK;
}

static int outcome(const struct brg_spot_request *request, CURLcode result, struct brg_why *why) {
    switch (result) {
    case CURLE_OK: return BRG_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return brg_why_set(why, BRG_ETIMEDOUT, "%s does not answer", request->url);
    case CURLE_WRITE_ERROR:
        return brg_why_set(why, BRG_EPROTO, "%s answers more than %u bytes", request->url,
                           BRG_SPOT_BODY_BYTES);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return brg_why_set(why, BRG_EPROTO, "%s is no http URL", request->url);
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
        return brg_why_set(why, BRG_EPROTO, "%s does not answer as a web server does (%s)",
                           request->url, curl_easy_strerror(result));
    default:
        return brg_why_set(why, BRG_EIO, "%s cannot be reached (%s)", request->url,
                           curl_easy_strerror(result));
    }
}

int brg_spot_http_ask(struct brg_spot_http *h, const struct brg_spot_request *request,
                      struct brg_spot_answer *out, struct brg_why *why) {
    int rc = BRG_OK, is_added = 0;
    long status = 0;
    CURLcode result = CURLE_OK;
    struct curl_slist *headers = NULL;

    BRG_ASSERT(request->timeout_ms > 0);
    out->status = 0;
    out->date_s = 0;
    out->body_bytes = 0;
    out->body[0] = out->etag[0] = out->flavor[0] = '\0';
    for (uint32_t i = 0; i < 2 && request->headers[i] != NULL; i++) {
        struct curl_slist *longer = curl_slist_append(headers, request->headers[i]);
        if (longer == NULL) rc = BRG_ENOMEM;
        if (longer != NULL) headers = longer;
    }
    if (rc == BRG_OK) rc = prepare(h, request, headers, out);
    if (rc == BRG_OK && curl_multi_add_handle(h->multi, h->easy) != CURLM_OK) rc = BRG_ENOMEM;
    if (rc != BRG_OK) {
        (void)brg_why_set(why, rc, "out of memory");
        goto out;
    }
    is_added = 1;
    rc = finish(h, &result);
    if (rc == BRG_EIO) (void)brg_why_set(why, rc, "libcurl failed on %s", request->url);
    if (rc != BRG_OK) goto out;
    rc = outcome(request, result, why);
    if (rc == BRG_OK) (void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    out->status = (uint32_t)status;
out:
    if (is_added) (void)curl_multi_remove_handle(h->multi, h->easy);
    curl_slist_free_all(headers);
    return rc;
}

int brg_spot_http_sleep(struct brg_spot_http *h, uint64_t for_ns) {
    const uint64_t begin_ns = now_ns();
    for (;;) {
        if (atomic_load(&h->is_stopped)) return BRG_ECANCELED;
        const uint64_t past_ns = now_ns() - begin_ns;
        if (past_ns >= for_ns) return BRG_OK;
        const uint64_t left_ms = (for_ns - past_ns + BRG_NS_PER_MS - 1) / BRG_NS_PER_MS;
        const int wait_ms = left_ms < POLL_MAX_MS ? (int)left_ms : POLL_MAX_MS;
        if (curl_multi_poll(h->multi, NULL, 0, wait_ms, NULL) != CURLM_OK) return BRG_ECANCELED;
    }
}
