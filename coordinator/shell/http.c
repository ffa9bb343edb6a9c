#include "coordinator/shell/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <sodium/randombytes.h>
#include <sodium/utils.h>

#include "base/file.h"
#include "base/log.h"
#include "coordinator/shell/http_private.h"
#include "proto/keys.h"

#define LOOP_MS 250 /* deadlines are looked at this often */
#define BACKLOG 128
#define NEWS_MAX 128u /* answers wait for at most BRG_HTTP_WAITING_MAX, snapshots beside */
#define ASKS_MAX BRG_HTTP_WAITING_MAX
#define CROWD (BRG_HTTP_CONNECTIONS_MAX / 4 * 3)
#define CROWD_NS (BRG_NS_PER_S / 2) /* in a crowd who says nothing for so long has to go */

static uint64_t clock_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

void brg_http_snapshot_free(struct brg_http_snapshot *s) {
    if (s == NULL) return;
    cJSON_Delete(s->status);
    cJSON_Delete(s->points);
    cJSON_Delete(s->strips);
    free(s->stream_text);
    free(s);
}

void brg_http_release(struct brg_http_snapshot **s) {
    if (*s != NULL && --(*s)->refs == 0) brg_http_snapshot_free(*s);
    *s = NULL;
}

/* ---- connections and their deadlines ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code) {
    struct brg_http *h = context;
    struct brg_http_connection *c = *slot;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (c == NULL) return;
        c->fd = -1;
        h->counts.connections--;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (uint32_t i = 0; i < BRG_HTTP_CONNECTIONS_MAX && info != NULL; i++) {
        c = &h->connections[i];
        if (c->fd >= 0) continue;
        *c = (struct brg_http_connection){.fd = info->connect_fd, .since_ns = h->now_ns};
        c->due_ns = h->now_ns + BRG_HTTP_REQUEST_NS;
        *slot = c;
        h->counts.connections++;
        return;
    }
}

/* libmicrohttpd's own time-out begins anew with each byte, so a byte now and then would hold a
 * connection for ever. This one does not: a request is whole in time, or its line is cut. */
static void cut_off_slow_ones(struct brg_http *h) {
    const int is_crowd = h->counts.connections >= CROWD;
    for (uint32_t i = 0; i < BRG_HTTP_CONNECTIONS_MAX; i++) {
        struct brg_http_connection *c = &h->connections[i];
        if (c->fd < 0 || c->is_stream) continue;
        const int is_idle = c->since_ns != 0 && h->now_ns - c->since_ns > CROWD_NS;
        if (h->now_ns < c->due_ns && !(is_crowd && is_idle)) continue;
        (void)shutdown(c->fd, SHUT_RDWR); /* the daemon sees it, and closes */
        c->due_ns = UINT64_MAX;
        c->since_ns = 0;
        h->counts.cut_off++;
    }
}

static void wake_late_ones(struct brg_http *h) {
    for (uint32_t i = 0; i < BRG_HTTP_WAITING_MAX; i++) {
        const struct brg_http_request *r = h->waiting[i];
        if (r != NULL && h->now_ns >= r->due_ns) {
            if (r->waiting == BRG_HTTP_FOR_SNAPSHOT) h->has_looked = 0; /* it may have been lost */
            brg_http_wake(h, i);
        }
    }
}

/* ---- news from the reactor ---- */

static void take_answer(struct brg_http *h, struct brg_http_news *news) {
    for (uint32_t i = 0; i < BRG_HTTP_WAITING_MAX; i++) {
        struct brg_http_request *r = h->waiting[i];
        if (r == NULL || r->waiting != BRG_HTTP_FOR_ANSWER || r->id != news->id) continue;
        r->code = news->code;
        r->answer = news->body;
        brg_http_wake(h, i);
        return;
    }
    free(news->body); /* whoever asked has left */
}

static void take_snapshot(struct brg_http *h, struct brg_http_snapshot *snapshot) {
    brg_http_release(&h->latest);
    h->latest = snapshot;
    snapshot->refs = 1;
    h->has_looked = 0;
    for (uint32_t i = 0; i < BRG_HTTP_WAITING_MAX; i++) {
        const struct brg_http_request *r = h->waiting[i];
        if (r != NULL && r->waiting == BRG_HTTP_FOR_SNAPSHOT) brg_http_wake(h, i);
    }
    brg_http_resume_streams(h);
}

static void take_news(struct brg_http *h) {
    struct brg_http_news news;
    for (uint32_t i = 0; i < NEWS_MAX && brg_ring_pop(h->news, &news) == BRG_OK; i++) {
        if (news.snapshot != NULL)
            take_snapshot(h, news.snapshot);
        else
            take_answer(h, &news);
    }
}

/* ---- the thread ---- */

static int epoll_fd(struct brg_http *h) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info != NULL ? info->epoll_fd : -1;
}

static void *serve(void *context) {
    struct brg_http *h = context;
    uint64_t swept_ns = 0;
    while (!atomic_load(&h->is_ending)) { /* each turn ends within LOOP_MS */
        MHD_UNSIGNED_LONG_LONG wait_ms = LOOP_MS;
        struct pollfd fds[] = {{.fd = epoll_fd(h), .events = POLLIN},
                               {.fd = brg_ring_fd(h->news), .events = POLLIN}};
        if (MHD_get_timeout(h->daemon, &wait_ms) != MHD_YES || wait_ms > LOOP_MS) wait_ms = LOOP_MS;
        (void)poll(fds, 2, (int)wait_ms);
        h->now_ns = clock_ns();
        take_news(h);
        if (h->now_ns - swept_ns >= LOOP_MS * BRG_NS_PER_MS) {
            swept_ns = h->now_ns;
            wake_late_ones(h);
            cut_off_slow_ones(h);
        }
        (void)MHD_run(h->daemon);
    }
    /* A daemon with connections that sleep cannot be stopped. */
    for (uint32_t i = 0; i < BRG_HTTP_WAITING_MAX; i++) {
        if (h->waiting[i] != NULL) brg_http_wake(h, i);
    }
    brg_http_resume_streams(h);
    (void)MHD_run(h->daemon);
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
    return NULL;
}

/* ---- start and stop ---- */

static int bind_to(const struct addrinfo *a, int *out) {
    const int on = 1;
    const int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        const int reason = errno;
        (void)close(fd);
        return reason;
    }
    *out = fd;
    return 0;
}

static uint16_t port_of(int fd) {
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0) return 0;
    if (bound.ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)(const void *)&bound)->sin6_port);
    }
    return ntohs(((const struct sockaddr_in *)(const void *)&bound)->sin_port);
}

static int open_listener(struct brg_http *h, const char *listen_text, struct brg_why *why) {
    char host[BRG_HOST_BYTES], service[8];
    uint16_t port = 0;
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    int rc = brg_address_parse(listen_text, host, &port, why);
    if (rc != BRG_OK) return rc;
    (void)snprintf(service, sizeof service, "%u", port);
    const int is_any = host[0] == '\0' || strcmp(host, "*") == 0;
    if (getaddrinfo(is_any ? NULL : host, service, &hints, &found) != 0 || found == NULL) {
        return brg_why_set(why, BRG_EINVAL, "--http %s: this host is not known here", listen_text);
    }
    const int reason = bind_to(found, &h->listen_fd);
    freeaddrinfo(found);
    if (reason == 0) {
        h->port = port_of(h->listen_fd);
        return BRG_OK;
    }
    rc = reason == EADDRINUSE ? BRG_EEXIST : brg_file_error(reason);
    return brg_why_set(why, rc, "--http %s cannot be listened on (%s): choose another, or none",
                       listen_text, strerror(reason));
}

/* The secret that changes need: made once, kept with the other keys. */
static int load_secret(struct brg_http *h, const char *state_dir, struct brg_why *why) {
    char path[BRG_FILE_PATH_BYTES], line[BRG_HTTP_SECRET_BYTES + 1];
    uint8_t bytes[(BRG_HTTP_SECRET_BYTES - 1) / 2], *old = NULL;
    size_t size = 0;
    int rc = BRG_OK;
    const int n = snprintf(path, sizeof path, "%s/%s", state_dir, BRG_HTTP_SECRET_FILE);
    if (n < 0 || (size_t)n >= sizeof path) {
        return brg_why_set(why, BRG_EINVAL, "%s: the path is too long", state_dir);
    }
    if (brg_file_read(path, BRG_HTTP_SECRET_BYTES, &old, &size) == BRG_OK) {
        const size_t hex = strspn((const char *)old, "0123456789abcdef");
        const int is_good = hex == BRG_HTTP_SECRET_BYTES - 1 && (size == hex || old[hex] == '\n');
        if (is_good) memcpy(h->secret, old, hex);
        sodium_memzero(old, size);
        free(old);
        if (is_good) return BRG_OK;
        return brg_why_set(why, BRG_EINVAL,
                           "%s does not hold 64 hexadecimal digits: remove it, and a new one is "
                           "made at the next start",
                           path);
    }
    if (errno != ENOENT) {
        return brg_why_set(why, BRG_EIO, "%s cannot be read: %s", path, strerror(errno));
    }
    randombytes_buf(bytes, sizeof bytes);
    (void)sodium_bin2hex(h->secret, sizeof h->secret, bytes, sizeof bytes);
    (void)snprintf(line, sizeof line, "%s\n", h->secret);
    rc = brg_file_write_atomic(path, 0600, line, strlen(line));
    sodium_memzero(bytes, sizeof bytes);
    sodium_memzero(line, sizeof line);
    if (rc == BRG_OK) return rc;
    return brg_why_set(why, rc, "%s cannot be written: %s", path, strerror(errno));
}

static int start_daemon(struct brg_http *h, struct brg_why *why) {
    h->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, h->port, NULL, NULL,
                         brg_http_handle, h, MHD_OPTION_LISTEN_SOCKET, h->listen_fd,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)BRG_HTTP_CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, 15u, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)BRG_HTTP_MEMORY_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
                         h, MHD_OPTION_NOTIFY_COMPLETED, brg_http_completed, h, MHD_OPTION_END);
    if (h->daemon == NULL) return brg_why_set(why, BRG_EIO, "the HTTP server does not start");
    h->listen_fd = -1; /* the daemon closes it */
    if (pthread_create(&h->thread, NULL, serve, h) != 0) {
        MHD_stop_daemon(h->daemon);
        return brg_why_set(why, BRG_EIO, "no thread for the HTTP server");
    }
    h->has_thread = 1;
    return BRG_OK;
}

int brg_http_start(const struct brg_http_config *config, struct brg_http **out,
                   struct brg_why *why) {
    struct brg_http *h = calloc(1, sizeof *h);
    int rc = BRG_OK;
    *out = NULL;
    if (h == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory for the HTTP server");
    h->listen_fd = -1;
    h->now_ns = clock_ns();
    atomic_store(&h->phase, (uint32_t)BRG_HTTP_STARTING);
    for (uint32_t i = 0; i < BRG_HTTP_CONNECTIONS_MAX; i++) h->connections[i].fd = -1;
    if (config->name != NULL) (void)snprintf(h->name, sizeof h->name, "%s", config->name);
    if (gethostname(h->own_name, sizeof h->own_name - 1) != 0) h->own_name[0] = '\0';
    rc = brg_ring_create(&h->asks, ASKS_MAX, sizeof(struct brg_http_ask));
    if (rc == BRG_OK) rc = brg_ring_create(&h->news, NEWS_MAX, sizeof(struct brg_http_news));
    if (rc == BRG_OK) rc = open_listener(h, config->listen, why);
    if (rc == BRG_OK) rc = load_secret(h, config->state_dir, why);
    if (rc == BRG_OK) rc = start_daemon(h, why);
    if (rc != BRG_OK) {
        brg_http_stop(&h);
        return rc;
    }
    *out = h;
    return BRG_OK;
}

void brg_http_stop(struct brg_http **http) {
    struct brg_http *h = *http;
    struct brg_http_ask ask;
    struct brg_http_news news;
    *http = NULL;
    if (h == NULL) return;
    atomic_store(&h->is_ending, 1u);
    if (h->has_thread) (void)pthread_join(h->thread, NULL);
    while (h->asks != NULL && brg_ring_pop(h->asks, &ask) == BRG_OK) free(ask.body);
    while (h->news != NULL && brg_ring_pop(h->news, &news) == BRG_OK) {
        free(news.body);
        brg_http_snapshot_free(news.snapshot);
    }
    brg_http_release(&h->latest);
    brg_ring_destroy(&h->asks);
    brg_ring_destroy(&h->news);
    if (h->listen_fd >= 0) (void)close(h->listen_fd);
    sodium_memzero(h->secret, sizeof h->secret);
    free(h);
}

uint16_t brg_http_port(const struct brg_http *h) {
    return h->port;
}

/* ---- the reactor's side ---- */

void brg_http_phase(struct brg_http *h, enum brg_http_phase phase) {
    atomic_store(&h->phase, (uint32_t)phase);
}

void brg_http_alive(struct brg_http *h, uint64_t now_ns) {
    atomic_store_explicit(&h->alive_ns, now_ns, memory_order_relaxed);
}

uint32_t brg_http_streams(const struct brg_http *h) {
    return atomic_load_explicit(&h->streams_open, memory_order_relaxed);
}

int brg_http_fd(const struct brg_http *h) {
    return brg_ring_fd(h->asks);
}

int brg_http_take(struct brg_http *h, struct brg_http_ask *ask) {
    return brg_ring_pop(h->asks, ask) == BRG_OK;
}

void brg_http_answer(struct brg_http *h, uint64_t id, int code, char *body) {
    const struct brg_http_news news = {.id = id, .code = code, .body = body};
    if (brg_ring_push(h->news, &news) != BRG_OK) free(body); /* its request runs out of time */
}

void brg_http_publish(struct brg_http *h, struct brg_http_snapshot *snapshot) {
    const struct brg_http_news news = {.snapshot = snapshot};
    if (brg_ring_push(h->news, &news) != BRG_OK) brg_http_snapshot_free(snapshot);
}
