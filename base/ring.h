/* ring.h - a bounded queue of fixed-size items between threads, with a descriptor to wait on.
 *
 *   producer ──push──┐  ┌─[ item | item | item |      |      ]─┐
 *   producer ──push──┴─►┘  oldest               newest          └─► pop ── reactor (polls the fd)
 *                          full: BRG_EFULL                          or pop_wait ── compute thread
 *
 * The descriptor is readable exactly while the ring holds an item or is closed: poll it
 * level-triggered, pop as much as the turn allows, and never read from it.
 * Any number of threads may push, pop and close at once; create and destroy are one thread's.
 * Items are copied in and out; of a pointer item the ownership moves with it. */
#ifndef BRG_RING_H
#define BRG_RING_H

#include "base/base.h"

#define BRG_RING_ITEMS_MAX 65536u
#define BRG_RING_ITEM_BYTES_MAX 65536u

struct brg_ring;

/* brg_ring_create - a ring for at most `capacity` items of `item_bytes` bytes each.
 *
 * own:     *ring is the caller's until brg_ring_destroy; NULL on error
 * errors:  BRG_ENOMEM no memory; BRG_EIO no descriptor left (see RLIMIT_NOFILE)
 * asserts: 1 <= capacity <= BRG_RING_ITEMS_MAX, 1 <= item_bytes <= BRG_RING_ITEM_BYTES_MAX */
BRG_CHECK int brg_ring_create(struct brg_ring **ring, uint32_t capacity, size_t item_bytes);

/* brg_ring_destroy - frees the ring and sets *ring to NULL (NULL is fine). No thread may be inside
 * or come later; items still in it are dropped, so pop them first where they own something. */
void brg_ring_destroy(struct brg_ring **ring);

/* brg_ring_push - copies one item in, never waits.
 * errors: BRG_EFULL full, BRG_ECANCELED closed; in both cases the item stays the caller's */
BRG_CHECK int brg_ring_push(struct brg_ring *ring, const void *item);

/* brg_ring_pop - copies the oldest item out, never waits.
 * errors: BRG_ENOENT empty now; BRG_ECANCELED empty and closed: nothing will come any more */
BRG_CHECK int brg_ring_pop(struct brg_ring *ring, void *item);

/* brg_ring_pop_wait - as brg_ring_pop, but waits up to `timeout_ns` for an item.
 * errors: BRG_ETIMEDOUT none came; BRG_ECANCELED empty and closed */
BRG_CHECK int brg_ring_pop_wait(struct brg_ring *ring, void *item, uint64_t timeout_ns);

/* brg_ring_close - no more pushes; who waits wakes up; what is inside can still be popped. */
void brg_ring_close(struct brg_ring *ring);

/* brg_ring_fd - the descriptor to poll for reading; belongs to the ring. */
int brg_ring_fd(const struct brg_ring *ring);

/* brg_ring_count - items inside at this moment; a figure for metrics, stale at once. */
uint32_t brg_ring_count(struct brg_ring *ring);

#endif
