/* pool.h - large buffers for tensors, used again instead of mapped afresh, under one bound.
 *
 *   get ──► buffer, 1 holder ──hold──► 2 holders ──release──► 1 ──release──► free list of its class
 *                                                                                  └──► next get
 *
 * Fresh pages cost several times what filling them costs, so a run that moves the same vectors each
 * step must not map them each step. Sizes are rounded up to classes of four to a power of two, at
 * most a quarter too large. Buffers of 2 MiB and more start on 2 MiB and are advised as huge pages.
 * Every function may be called from any thread: the I/O thread of a zero-copy send releases. */
#ifndef BRG_POOL_H
#define BRG_POOL_H

#include "base/base.h"

#define BRG_POOL_ALIGN 64u
#define BRG_POOL_CLASSES 160u                         /* 4 KiB .. 2^44 bytes */
#define BRG_POOL_BUFFER_BYTES_MAX (UINT64_C(1) << 43) /* 8 TiB: guards the arithmetic */

struct brg_pool;

/* One buffer. `data` and `size_bytes` are constant while somebody holds it; what is in the bytes is
 * whatever the last user left. */
struct brg_buffer {
    void *data;        /* aligned to BRG_POOL_ALIGN at least */
    size_t size_bytes; /* as asked for; the mapping may be longer */
};

struct brg_pool_stats {
    uint64_t max_bytes;    /* the bound */
    uint64_t mapped_bytes; /* held and free together, <= max_bytes */
    uint64_t held_bytes;   /* in somebody's hands */
    uint64_t peak_bytes;   /* highest mapped_bytes so far */
    uint64_t gets, reuses; /* reuses: gets that needed no fresh pages */
};

/* brg_pool_create - a pool that never maps more than `max_bytes` bytes.
 *
 * own:     *pool is the caller's until brg_pool_destroy; NULL on error
 * errors:  BRG_ENOMEM */
BRG_CHECK int brg_pool_create(struct brg_pool **pool, uint64_t max_bytes);

/* brg_pool_destroy - frees what is free and sets *pool to NULL (NULL is fine). Buffers that are
 * still held stay valid; the last release frees them and the rest of the pool. */
void brg_pool_destroy(struct brg_pool **pool);

/* brg_pool_get - a buffer of at least `size_bytes` bytes with one holder, contents undefined.
 *
 * own:     the caller's until brg_buffer_release
 * errors:  BRG_ENOMEM over the pool's bound, over BRG_POOL_BUFFER_BYTES_MAX, or the system has no
 *          more; *buffer is NULL. Free buffers of other classes are given back before that is said
 * asserts: size_bytes > 0 */
BRG_CHECK int brg_pool_get(struct brg_pool *pool, size_t size_bytes, struct brg_buffer **buffer);

/* brg_pool_trim - gives the free buffers back to the system. */
void brg_pool_trim(struct brg_pool *pool);

/* brg_pool_stats_read - figures of one instant. */
void brg_pool_stats_read(struct brg_pool *pool, struct brg_pool_stats *out);

/* brg_buffer_hold - one more holder; returns `buffer`. asserts: it has one already */
struct brg_buffer *brg_buffer_hold(struct brg_buffer *buffer);

/* brg_buffer_release - one holder less; the last one's call gives it to the pool. NULL is fine. */
void brg_buffer_release(struct brg_buffer *buffer);

/* brg_buffer_release_sent - brg_buffer_release in the shape of ZeroMQ's free function: pass the
 * buffer as hint to zmq_msg_init_data and hold it once for the message. */
void brg_buffer_release_sent(void *data, void *buffer);

#endif
