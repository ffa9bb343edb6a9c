#include "base/ring.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* A wait longer than this is cut, so that the deadline cannot overflow a timespec. */
#define WAIT_MAX_NS (UINT64_C(86400) * BRG_NS_PER_S)

struct brg_ring {
    pthread_mutex_t lock; /* guards everything below but fd */
    pthread_cond_t filled;
    uint32_t capacity, count, first; /* count <= capacity, first < capacity */
    int closed;
    int signalled; /* the eventfd's counter is 1, not 0 */
    int fd;
    size_t item_bytes;
    uint8_t items[]; /* [capacity, item_bytes] */
};

static void lock(struct brg_ring *ring) {
    int rc = pthread_mutex_lock(&ring->lock);
    BRG_ASSERT(rc == 0);
}

static void unlock(struct brg_ring *ring) {
    int rc = pthread_mutex_unlock(&ring->lock);
    BRG_ASSERT(rc == 0);
}

/* Brings the descriptor in line with the state; called under the lock after every change, so that
 * neither a wake-up is lost nor a reactor spins on an empty ring. */
static void update_fd(struct brg_ring *ring) {
    int want = ring->count > 0 || ring->closed;
    uint64_t one = 1;
    ssize_t n = (ssize_t)sizeof one;
    if (want == ring->signalled) return;
    do {
        n = want ? write(ring->fd, &one, sizeof one) : read(ring->fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
    BRG_ASSERT(n == (ssize_t)sizeof one);
    ring->signalled = want;
}

static int init_sync(struct brg_ring *ring) {
    pthread_condattr_t attr;
    if (pthread_mutex_init(&ring->lock, NULL) != 0) return BRG_ENOMEM;
    if (pthread_condattr_init(&attr) != 0) goto out_lock;
    /* Monotonic: a wait must not stretch when somebody sets the wall clock. */
    int rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (rc == 0) rc = pthread_cond_init(&ring->filled, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (rc == 0) return BRG_OK;
out_lock:
    (void)pthread_mutex_destroy(&ring->lock);
    return BRG_ENOMEM;
}

int brg_ring_create(struct brg_ring **ring, uint32_t capacity, size_t item_bytes) {
    BRG_ASSERT(capacity >= 1 && capacity <= BRG_RING_ITEMS_MAX);
    BRG_ASSERT(item_bytes >= 1 && item_bytes <= BRG_RING_ITEM_BYTES_MAX);
    *ring = NULL;
    struct brg_ring *r = calloc(1, sizeof *r + capacity * item_bytes);
    if (r == NULL) return BRG_ENOMEM;
    r->capacity = capacity;
    r->item_bytes = item_bytes;
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd < 0) {
        free(r);
        return BRG_EIO;
    }
    int rc = init_sync(r);
    if (rc != BRG_OK) {
        (void)close(r->fd);
        free(r);
        return rc;
    }
    *ring = r;
    return BRG_OK;
}

void brg_ring_destroy(struct brg_ring **ring) {
    struct brg_ring *r = *ring;
    if (r == NULL) return;
    (void)pthread_cond_destroy(&r->filled);
    (void)pthread_mutex_destroy(&r->lock);
    (void)close(r->fd);
    free(r);
    *ring = NULL;
}

int brg_ring_push(struct brg_ring *ring, const void *item) {
    int rc = BRG_OK;
    lock(ring);
    if (ring->closed) {
        rc = BRG_ECANCELED;
    } else if (ring->count == ring->capacity) {
        rc = BRG_EFULL;
    } else {
        size_t at = ((size_t)ring->first + ring->count) % ring->capacity;
        memcpy(ring->items + at * ring->item_bytes, item, ring->item_bytes);
        ring->count++;
        update_fd(ring);
        (void)pthread_cond_signal(&ring->filled);
    }
    unlock(ring);
    return rc;
}

/* Under the lock. */
static int take(struct brg_ring *ring, void *item) {
    if (ring->count == 0) return ring->closed ? BRG_ECANCELED : BRG_ENOENT;
    memcpy(item, ring->items + ring->first * ring->item_bytes, ring->item_bytes);
    ring->first = (ring->first + 1) % ring->capacity;
    ring->count--;
    update_fd(ring);
    return BRG_OK;
}

int brg_ring_pop(struct brg_ring *ring, void *item) {
    lock(ring);
    int rc = take(ring, item);
    unlock(ring);
    return rc;
}

static struct timespec deadline_after(uint64_t timeout_ns) {
    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    BRG_ASSERT(rc == 0);
    if (timeout_ns > WAIT_MAX_NS) timeout_ns = WAIT_MAX_NS;
    uint64_t ns = (uint64_t)now.tv_nsec + timeout_ns;
    now.tv_sec += (time_t)(ns / BRG_NS_PER_S);
    now.tv_nsec = (long)(ns % BRG_NS_PER_S);
    return now;
}

int brg_ring_pop_wait(struct brg_ring *ring, void *item, uint64_t timeout_ns) {
    struct timespec deadline = deadline_after(timeout_ns);
    int waited = 0;
    lock(ring);
    int rc = take(ring, item);
    /* Ends at the deadline at the latest: then timedwait returns ETIMEDOUT. */
    while (rc == BRG_ENOENT && waited == 0) {
        waited = pthread_cond_timedwait(&ring->filled, &ring->lock, &deadline);
        rc = take(ring, item);
    }
    unlock(ring);
    return rc == BRG_ENOENT ? BRG_ETIMEDOUT : rc;
}

void brg_ring_close(struct brg_ring *ring) {
    lock(ring);
    ring->closed = 1;
    update_fd(ring);
    (void)pthread_cond_broadcast(&ring->filled);
    unlock(ring);
}

int brg_ring_fd(const struct brg_ring *ring) {
    return ring->fd;
}

uint32_t brg_ring_count(struct brg_ring *ring) {
    lock(ring);
    uint32_t count = ring->count;
    unlock(ring);
    return count;
}
