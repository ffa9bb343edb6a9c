#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define PAGE_BYTES ((size_t)4096)
#define HUGE_BYTES ((size_t)2 << 20)

/* The public part comes first, so that a pointer to it is a pointer to the whole. */
struct held {
    struct brg_buffer public;
    _Atomic uint32_t holders;
    uint32_t class;
    size_t mapped_bytes;
    struct brg_pool *pool;
    struct held *next; /* in the free list of its class, under the pool's lock */
};

struct brg_pool {
    pthread_mutex_t lock; /* guards everything below */
    struct held *free[BRG_POOL_CLASSES];
    struct brg_pool_stats stats;
    uint64_t out; /* buffers in somebody's hands */
    int closing;  /* destroyed: the last release frees the pool */
};

static void lock(struct brg_pool *pool) {
    int rc = pthread_mutex_lock(&pool->lock);
    BRG_ASSERT(rc == 0);
}

static void unlock(struct brg_pool *pool) {
    int rc = pthread_mutex_unlock(&pool->lock);
    BRG_ASSERT(rc == 0);
}

/* The class of a size and the bytes of that class: four to a power of two, so that a run's vectors
 * of nearly one size share buffers and less than a quarter is wasted. */
static uint32_t class_of(size_t size_bytes, size_t *class_bytes) {
    size_t pages = (size_bytes + PAGE_BYTES - 1) / PAGE_BYTES;
    if (pages <= 4) {
        *class_bytes = pages * PAGE_BYTES;
        return (uint32_t)pages - 1;
    }
    uint32_t log2 = 63u - (uint32_t)__builtin_clzll((unsigned long long)(pages - 1));
    size_t quarter = (size_t)1 << (log2 - 2);                   /* 2^log2 < pages <= 2^(log2+1) */
    size_t steps = (pages - 1 - ((size_t)1 << log2)) / quarter; /* 0 .. 3 */
    *class_bytes = (((size_t)1 << log2) + (steps + 1) * quarter) * PAGE_BYTES;
    return 4 + (log2 - 2) * 4 + (uint32_t)steps;
}

/* Maps bytes; large blocks start on a huge page, or the advice would be lost on their ends. */
static void *map_bytes(size_t bytes) {
    size_t extra = bytes >= HUGE_BYTES ? HUGE_BYTES : 0;
    uint8_t *p =
        mmap(NULL, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (extra == 0) return p;
    size_t head = (size_t)(-(uintptr_t)p & (HUGE_BYTES - 1));
    if (head > 0) (void)munmap(p, head);
    if (extra - head > 0) (void)munmap(p + head + bytes, extra - head);
    /* Only advice: without huge pages everything still works, slower. */
    (void)madvise(p + head, bytes, MADV_HUGEPAGE);
    return p + head;
}

static void free_held(struct held *h) {
    int rc = munmap(h->public.data, h->mapped_bytes);
    BRG_ASSERT(rc == 0);
    free(h);
}

/* Under the lock. */
static void trim(struct brg_pool *pool) {
    for (uint32_t c = 0; c < BRG_POOL_CLASSES; c++) {
        while (pool->free[c] != NULL) {
            struct held *h = pool->free[c];
            pool->free[c] = h->next;
            pool->stats.mapped_bytes -= h->mapped_bytes;
            free_held(h);
        }
    }
}

static void free_pool(struct brg_pool *pool) {
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int brg_pool_create(struct brg_pool **pool, uint64_t max_bytes) {
    *pool = NULL;
    struct brg_pool *p = calloc(1, sizeof *p);
    if (p == NULL) return BRG_ENOMEM;
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p);
        return BRG_ENOMEM;
    }
    p->stats.max_bytes = max_bytes;
    *pool = p;
    return BRG_OK;
}

void brg_pool_destroy(struct brg_pool **pool) {
    struct brg_pool *p = *pool;
    if (p == NULL) return;
    *pool = NULL;
    lock(p);
    BRG_ASSERT(!p->closing);
    trim(p);
    p->closing = 1;
    int last = p->out == 0;
    unlock(p);
    if (last) free_pool(p);
}

/* Under the lock: a fresh buffer within the bound, or NULL. */
static struct held *make_held(struct brg_pool *pool, uint32_t class, size_t bytes) {
    if (bytes > pool->stats.max_bytes) return NULL;
    if (pool->stats.mapped_bytes > pool->stats.max_bytes - bytes) trim(pool);
    if (pool->stats.mapped_bytes > pool->stats.max_bytes - bytes) return NULL;
    struct held *h = calloc(1, sizeof *h);
    if (h == NULL) return NULL;
    h->public.data = map_bytes(bytes);
    if (h->public.data == NULL) {
        free(h);
        return NULL;
    }
    h->class = class;
    h->mapped_bytes = bytes;
    h->pool = pool;
    pool->stats.mapped_bytes += bytes;
    if (pool->stats.mapped_bytes > pool->stats.peak_bytes) {
        pool->stats.peak_bytes = pool->stats.mapped_bytes;
    }
    return h;
}

int brg_pool_get(struct brg_pool *pool, size_t size_bytes, struct brg_buffer **buffer) {
    size_t bytes;
    BRG_ASSERT(size_bytes > 0);
    *buffer = NULL;
    if (size_bytes > BRG_POOL_BUFFER_BYTES_MAX) return BRG_ENOMEM;
    uint32_t class = class_of(size_bytes, &bytes);
    BRG_ASSERT(class < BRG_POOL_CLASSES && bytes >= size_bytes);

    lock(pool);
    struct held *h = pool->free[class];
    if (h != NULL) {
        pool->free[class] = h->next;
        pool->stats.reuses++;
    } else {
        h = make_held(pool, class, bytes);
    }
    if (h != NULL) {
        pool->out++;
        pool->stats.gets++;
        pool->stats.held_bytes += h->mapped_bytes;
    }
    unlock(pool);
    if (h == NULL) return BRG_ENOMEM;
    h->next = NULL;
    h->public.size_bytes = size_bytes;
    atomic_store_explicit(&h->holders, 1, memory_order_relaxed);
    *buffer = &h->public;
    return BRG_OK;
}

void brg_pool_trim(struct brg_pool *pool) {
    lock(pool);
    trim(pool);
    unlock(pool);
}

void brg_pool_stats_read(struct brg_pool *pool, struct brg_pool_stats *out) {
    lock(pool);
    *out = pool->stats;
    unlock(pool);
}

struct brg_buffer *brg_buffer_hold(struct brg_buffer *buffer) {
    struct held *h = (struct held *)buffer;
    uint32_t before = atomic_fetch_add_explicit(&h->holders, 1, memory_order_relaxed);
    BRG_ASSERT(before > 0 && before < UINT32_MAX);
    return buffer;
}

void brg_buffer_release(struct brg_buffer *buffer) {
    struct held *h = (struct held *)buffer;
    if (h == NULL) return;
    /* Acquire and release: the next user must see all that former holders did, and after it. */
    uint32_t before = atomic_fetch_sub_explicit(&h->holders, 1, memory_order_acq_rel);
    BRG_ASSERT(before > 0);
    if (before > 1) return;

    struct brg_pool *pool = h->pool;
    lock(pool);
    pool->out--;
    pool->stats.held_bytes -= h->mapped_bytes;
    int closing = pool->closing;
    int last = closing && pool->out == 0;
    if (closing) {
        pool->stats.mapped_bytes -= h->mapped_bytes;
    } else {
        h->next = pool->free[h->class];
        pool->free[h->class] = h;
    }
    unlock(pool);
    if (closing) free_held(h);
    if (last) free_pool(pool);
}

void brg_buffer_release_sent(void *data, void *buffer) {
    struct brg_buffer *b = buffer;
    BRG_ASSERT(b != NULL && b->data != NULL);
    (void)data; /* may point into the buffer: a message can carry a part of it */
    brg_buffer_release(b);
}
