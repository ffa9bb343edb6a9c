#include "base/arena.h"

#include <string.h>

void brg_arena_init(struct brg_arena *a, void *memory, size_t size_bytes) {
    BRG_ASSERT(memory != NULL || size_bytes == 0);
    *a = (struct brg_arena){.base = memory, .size_bytes = size_bytes};
}

void *brg_arena_alloc(struct brg_arena *a, size_t size_bytes, size_t align) {
    BRG_ASSERT(align > 0 && (align & (align - 1)) == 0);
    BRG_ASSERT(align <= BRG_ARENA_ALIGN_MAX);
    BRG_ASSERT(a->used_bytes <= a->size_bytes);

    /* The address is aligned, not the offset: the block itself may start anywhere. */
    uintptr_t at = (uintptr_t)a->base + a->used_bytes;
    size_t pad = (size_t)(-at & (uintptr_t)(align - 1));
    size_t rest = a->size_bytes - a->used_bytes;
    if (a->base == NULL || pad > rest || size_bytes > rest - pad) return NULL;

    uint8_t *piece = a->base + a->used_bytes + pad;
    a->used_bytes += pad + size_bytes;
    if (a->used_bytes > a->peak_bytes) a->peak_bytes = a->used_bytes;
    return piece;
}

void *brg_arena_array(struct brg_arena *a, size_t count, size_t item_bytes) {
    size_t size_bytes;
    if (__builtin_mul_overflow(count, item_bytes, &size_bytes)) return NULL;
    void *piece = brg_arena_alloc(a, size_bytes, _Alignof(max_align_t));
    if (piece != NULL) memset(piece, 0, size_bytes);
    return piece;
}

size_t brg_arena_mark(const struct brg_arena *a) {
    return a->used_bytes;
}

void brg_arena_reset(struct brg_arena *a, size_t mark) {
    BRG_ASSERT(mark <= a->used_bytes);
    a->used_bytes = mark;
}
