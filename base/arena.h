/* arena.h - hands out pieces of one block of the caller's memory, and takes them back all at once.
 *
 *   base                 used                   size
 *    |#####|..|########|--- free ---------------|      mark = used; reset(mark) gives back what
 *      a    pad   b                                     was taken since
 *
 * For what lives as long as one message or one call. No locks: one thread at a time. Never calls
 * malloc, so a hostile message cannot cost more than the block. */
#ifndef BRG_ARENA_H
#define BRG_ARENA_H

#include "base/base.h"

#define BRG_ARENA_ALIGN_MAX 4096u

struct brg_arena {
    uint8_t *base;
    size_t size_bytes;
    size_t used_bytes; /* <= size_bytes */
    size_t peak_bytes; /* the most that was ever used: tells how large the block has to be */
};

/* brg_arena_init - an empty arena on `size_bytes` bytes at `memory`.
 *
 * own:     borrows memory until the caller stops using the arena; there is nothing to free
 * asserts: memory != NULL unless size_bytes == 0 */
void brg_arena_init(struct brg_arena *a, void *memory, size_t size_bytes);

/* brg_arena_alloc - `size_bytes` bytes, not zeroed, at an address that `align` divides.
 *
 * own:     the piece is valid until the arena is reset below it
 * errors:  NULL where the rest of the block is too small; the arena is as before
 * asserts: align is a power of two, at most BRG_ARENA_ALIGN_MAX
 * cost:    O(1) */
BRG_CHECK void *brg_arena_alloc(struct brg_arena *a, size_t size_bytes, size_t align);

/* brg_arena_array - `count` zeroed items of `item_bytes` bytes, aligned for any type.
 *
 * errors: NULL where they do not fit, also where count * item_bytes overflows; arena as before */
BRG_CHECK void *brg_arena_array(struct brg_arena *a, size_t count, size_t item_bytes);

/* brg_arena_mark - the present fill, for brg_arena_reset. */
size_t brg_arena_mark(const struct brg_arena *a);

/* brg_arena_reset - gives back everything taken since `mark` (0: everything).
 * asserts: mark is not above the present fill */
void brg_arena_reset(struct brg_arena *a, size_t mark);

#endif
