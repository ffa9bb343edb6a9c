#include "proto/transport_private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_KEYS_MAX 1048576u
#define ZAP_FRAMES 7u /* version, request id, domain, address, identity, mechanism, key */
#define ZAP_REQUEST_ID_BYTES_MAX 255u

enum rule { RULE_DENY = 1, RULE_ALLOW = 2 };

struct entry {
    struct brg_key key;
    uint8_t rule; /* enum rule */
};

struct brg_zap {
    pthread_t thread;
    pthread_mutex_t mutex; /* guards entries, count and stats */
    struct entry *entries; /* [keys_max], sorted by key */
    uint32_t count;
    struct brg_zap_config config;
    struct brg_zap_stats stats;
    void *socket; /* REP, the thread's once it runs */
    int stop_fd;  /* readable: the thread ends */
    struct brg_transport *transport;
};

/* Where `key` is, or would be; `*found` says which. The caller holds the mutex. */
static uint32_t find(const struct brg_zap *zap, const struct brg_key *key, int *found) {
    uint32_t low = 0, high = zap->count;
    *found = 0;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = memcmp(zap->entries[middle].key.bytes, key->bytes, sizeof key->bytes);
        if (order == 0) {
            *found = 1;
            return middle;
        }
        if (order < 0) low = middle + 1;
        if (order > 0) high = middle;
    }
    return low;
}

static int set_rule(struct brg_zap *zap, const struct brg_key *key, enum rule rule) {
    int found, rc = BRG_OK;
    (void)pthread_mutex_lock(&zap->mutex);
    const uint32_t at = find(zap, key, &found);
    if (!found && zap->count == zap->config.keys_max) {
        rc = BRG_EFULL;
        goto out;
    }
    if (!found) {
        memmove(zap->entries + at + 1, zap->entries + at,
                (zap->count - at) * sizeof zap->entries[0]);
        zap->entries[at].key = *key;
        zap->count++;
    }
    zap->entries[at].rule = (uint8_t)rule;
out:
    (void)pthread_mutex_unlock(&zap->mutex);
    return rc;
}

int brg_zap_deny(struct brg_zap *zap, const struct brg_key *key) {
    return set_rule(zap, key, RULE_DENY);
}

int brg_zap_allow(struct brg_zap *zap, const struct brg_key *key) {
    return set_rule(zap, key, RULE_ALLOW);
}

void brg_zap_forget(struct brg_zap *zap, const struct brg_key *key) {
    int found;
    (void)pthread_mutex_lock(&zap->mutex);
    const uint32_t at = find(zap, key, &found);
    if (found) {
        zap->count--;
        memmove(zap->entries + at, zap->entries + at + 1,
                (zap->count - at) * sizeof zap->entries[0]);
    }
    (void)pthread_mutex_unlock(&zap->mutex);
}

static int by_key(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return memcmp(x->key.bytes, y->key.bytes, sizeof x->key.bytes);
}

int brg_zap_replace(struct brg_zap *zap, const struct brg_key *keys, uint32_t count) {
    if (count > zap->config.keys_max) return BRG_EFULL;
    (void)pthread_mutex_lock(&zap->mutex);
    for (uint32_t i = 0; i < count; i++)
        zap->entries[i] = (struct entry){.key = keys[i], .rule = RULE_ALLOW};
    qsort(zap->entries, count, sizeof zap->entries[0], by_key);
    zap->count = 0;
    for (uint32_t i = 0; i < count; i++) { /* a key that comes twice has one rule */
        if (i > 0 && by_key(&zap->entries[i], &zap->entries[zap->count - 1]) == 0) continue;
        zap->entries[zap->count++] = zap->entries[i];
    }
    (void)pthread_mutex_unlock(&zap->mutex);
    return BRG_OK;
}

/* The caller holds the mutex. */
static int permits(const struct brg_zap *zap, const struct brg_key *key) {
    int found;
    const uint32_t at = find(zap, key, &found);
    if (!found) return zap->config.allow_only == 0;
    return zap->entries[at].rule == RULE_ALLOW;
}

int brg_zap_permits(struct brg_zap *zap, const struct brg_key *key) {
    (void)pthread_mutex_lock(&zap->mutex);
    const int is_permitted = permits(zap, key);
    (void)pthread_mutex_unlock(&zap->mutex);
    return is_permitted;
}

void brg_zap_stats_read(struct brg_zap *zap, struct brg_zap_stats *out) {
    (void)pthread_mutex_lock(&zap->mutex);
    *out = zap->stats;
    out->keys = zap->count;
    (void)pthread_mutex_unlock(&zap->mutex);
}

/* One request as far as we need it. */
struct request {
    uint8_t id[ZAP_REQUEST_ID_BYTES_MAX];
    size_t id_bytes;
    struct brg_key key;
    uint32_t frame_count;
    int is_curve; /* version 1.0, mechanism CURVE, a key of 32 bytes */
};

static int is_text(zmq_msg_t *frame, const char *text) {
    return zmq_msg_size(frame) == strlen(text) &&
           memcmp(zmq_msg_data(frame), text, strlen(text)) == 0;
}

static void read_frame(struct request *r, zmq_msg_t *frame) {
    const size_t size_bytes = zmq_msg_size(frame);
    switch (r->frame_count) {
    case 0: r->is_curve = is_text(frame, "1.0"); break;
    case 1:
        r->id_bytes = size_bytes <= sizeof r->id ? size_bytes : 0;
        memcpy(r->id, zmq_msg_data(frame), r->id_bytes);
        break;
    case 5: r->is_curve = r->is_curve && is_text(frame, "CURVE"); break;
    case 6:
        if (size_bytes != sizeof r->key.bytes) {
            r->is_curve = 0;
        } else {
            memcpy(r->key.bytes, zmq_msg_data(frame), sizeof r->key.bytes);
        }
        break;
    default: break; /* domain, address, routing id: nothing is decided by them */
    }
    r->frame_count++;
}

/* To the end of the message: REP may not answer before. It is libzmq's own, so it has one.
 * errors: BRG_ENOENT none is waiting */
static int receive(void *socket, struct request *r) {
    int more = 1;
    memset(r, 0, sizeof *r);
    while (more) {
        zmq_msg_t frame;
        (void)zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&frame);
            return BRG_ENOENT;
        }
        read_frame(r, &frame);
        more = zmq_msg_more(&frame);
        (void)zmq_msg_close(&frame);
    }
    if (r->frame_count != ZAP_FRAMES) r->is_curve = 0;
    return BRG_OK;
}

/* The handler's answer; libzmq waits for it inside the handshake, so it is sent in any case. */
static void answer(void *socket, const struct request *r, int is_permitted) {
    char user[BRG_KEY_TEXT_BYTES] = "";
    if (is_permitted) (void)brg_key_format(&r->key, user);
    const char *status = is_permitted ? "200" : "400";
    const char *text = is_permitted ? "OK" : "this key may not connect";
    const int flags = ZMQ_DONTWAIT | ZMQ_SNDMORE;
    if (zmq_send(socket, "1.0", 3, flags) < 0) return;
    (void)zmq_send(socket, r->id, r->id_bytes, flags);
    (void)zmq_send(socket, status, 3, flags);
    (void)zmq_send(socket, text, strlen(text), flags);
    (void)zmq_send(socket, user, strlen(user), flags);
    (void)zmq_send(socket, "", 0, ZMQ_DONTWAIT);
}

static void *serve(void *arg) {
    struct brg_zap *zap = arg;
    for (;;) {
        zmq_pollitem_t items[] = {
            {.socket = zap->socket, .events = ZMQ_POLLIN},
            {.fd = zap->stop_fd, .events = ZMQ_POLLIN},
        };
        struct request r;
        if (zmq_poll(items, 2, -1) < 0 && errno != EINTR) break; /* the context is going */
        if ((items[1].revents & ZMQ_POLLIN) != 0) break;
        if (receive(zap->socket, &r) != BRG_OK) continue;
        (void)pthread_mutex_lock(&zap->mutex);
        const int is_permitted = r.is_curve && permits(zap, &r.key);
        if (!r.is_curve) {
            zap->stats.malformed++;
        } else if (is_permitted) {
            zap->stats.accepted++;
        } else {
            zap->stats.refused++;
        }
        (void)pthread_mutex_unlock(&zap->mutex);
        answer(zap->socket, &r, is_permitted);
    }
    return NULL;
}

/* Frees what create made; the thread is not running. */
static void zap_free(struct brg_zap *zap) {
    if (zap->socket != NULL) (void)zmq_close(zap->socket);
    if (zap->stop_fd >= 0) (void)close(zap->stop_fd);
    (void)pthread_mutex_destroy(&zap->mutex);
    free(zap->entries);
    atomic_fetch_sub(&zap->transport->users, 1);
    free(zap);
}

int brg_zap_create(struct brg_transport *t, const struct brg_zap_config *config,
                   struct brg_zap **out, struct brg_why *why) {
    int rc = BRG_OK;
    const int linger_ms = 0;
    struct brg_zap *zap = calloc(1, sizeof *zap);

    *out = NULL;
    BRG_ASSERT(config->keys_max >= 1 && config->keys_max <= ZAP_KEYS_MAX);
    if (zap == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory for the key check");
    zap->config = *config;
    zap->transport = t;
    atomic_fetch_add(&t->users, 1);
    zap->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    (void)pthread_mutex_init(&zap->mutex, NULL);
    zap->entries = calloc(config->keys_max, sizeof zap->entries[0]);
    zap->socket = zmq_socket(t->context, ZMQ_REP);
    if (zap->entries == NULL || zap->socket == NULL || zap->stop_fd < 0) {
        rc = brg_why_set(why, BRG_ENOMEM, "out of memory or descriptors for the key check");
        goto out;
    }
    (void)zmq_setsockopt(zap->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (zmq_bind(zap->socket, ZAP_ENDPOINT) != 0) {
        rc = brg_why_set(why, errno == EADDRINUSE ? BRG_EEXIST : BRG_EIO,
                         "cannot start the key check, so nobody may connect: %s",
                         zmq_strerror(errno));
        goto out;
    }
    /* Signals are for the process's own threads. */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&zap->thread, NULL, serve, zap);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        rc = brg_why_set(why, BRG_EIO, "cannot start the key check's thread: %s", strerror(failed));
        goto out;
    }
    *out = zap;
    zap = NULL;
out:
    if (zap != NULL) zap_free(zap);
    return rc;
}

void brg_zap_destroy(struct brg_zap **zap) {
    const uint64_t one = 1;
    if (*zap == NULL) return;
    const ssize_t written = write((*zap)->stop_fd, &one, sizeof one);
    BRG_ASSERT(written == (ssize_t)sizeof one);
    (void)pthread_join((*zap)->thread, NULL);
    zap_free(*zap);
    *zap = NULL;
}
