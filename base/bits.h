/* bits.h - a flat set of up to BRG_BITS_MAX small numbers: no pointers, copied by assignment,
 * compared with memcmp, walked in rising order.  Pure; the caller guards shared sets.
 *
 * Numbers at or above BRG_BITS_MAX are programmer errors and assert. */
#ifndef BRG_BITS_H
#define BRG_BITS_H

#include "base/base.h"

#define BRG_BITS_MAX 1024u
#define BRG_BITS_WORDS (BRG_BITS_MAX / 64u)

/* Number i is in the set where bit i % 64 of word i / 64 is 1. */
struct brg_bits {
    uint64_t words[BRG_BITS_WORDS];
};

static inline void brg_bits_clear(struct brg_bits *b) {
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) b->words[i] = 0;
}

static inline void brg_bits_add(struct brg_bits *b, uint32_t i) {
    BRG_ASSERT(i < BRG_BITS_MAX);
    b->words[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void brg_bits_remove(struct brg_bits *b, uint32_t i) {
    BRG_ASSERT(i < BRG_BITS_MAX);
    b->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

static inline int brg_bits_has(const struct brg_bits *b, uint32_t i) {
    BRG_ASSERT(i < BRG_BITS_MAX);
    return (int)(b->words[i / 64] >> (i % 64) & 1u);
}

/* brg_bits_fill - exactly the numbers 0 .. n-1. asserts: n <= BRG_BITS_MAX */
static inline void brg_bits_fill(struct brg_bits *b, uint32_t n) {
    BRG_ASSERT(n <= BRG_BITS_MAX);
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) {
        const uint32_t first = i * 64;
        if (n >= first + 64) {
            b->words[i] = UINT64_MAX;
        } else {
            b->words[i] = n > first ? (UINT64_C(1) << (n - first)) - 1 : 0;
        }
    }
}

static inline uint32_t brg_bits_count(const struct brg_bits *b) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) {
        count += (uint32_t)__builtin_popcountll(b->words[i]);
    }
    return count;
}

/* brg_bits_count_below - how many numbers of the set are < n. asserts: n <= BRG_BITS_MAX */
static inline uint32_t brg_bits_count_below(const struct brg_bits *b, uint32_t n) {
    BRG_ASSERT(n <= BRG_BITS_MAX);
    uint32_t count = 0, word = 0;
    for (; word < n / 64; word++) count += (uint32_t)__builtin_popcountll(b->words[word]);
    if (n % 64 == 0) return count;
    return count + (uint32_t)__builtin_popcountll(b->words[word] & ((UINT64_C(1) << n % 64) - 1));
}

/* brg_bits_slice - the numbers first .. first + count - 1 of `from`, as 0 .. count - 1.
 * asserts: first + count <= BRG_BITS_MAX. own: out may not be from */
static inline void brg_bits_slice(const struct brg_bits *from, uint32_t first, uint32_t count,
                                  struct brg_bits *out) {
    BRG_ASSERT(first <= BRG_BITS_MAX);
    BRG_ASSERT(count <= BRG_BITS_MAX - first);
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) {
        const uint32_t begin = first + i * 64, word = begin / 64, shift = begin % 64;
        uint64_t bits = 0;
        if (i * 64 < count) {
            bits = from->words[word] >> shift;
            if (shift > 0 && word + 1 < BRG_BITS_WORDS) {
                bits |= from->words[word + 1] << (64 - shift);
            }
            if (count - i * 64 < 64) bits &= (UINT64_C(1) << (count - i * 64)) - 1;
        }
        out->words[i] = bits;
    }
}

/* brg_bits_next - the smallest number of the set that is >= from, or BRG_BITS_MAX where there is
 * none; `from` may be BRG_BITS_MAX.  for (i = next(b, 0); i < BRG_BITS_MAX; i = next(b, i + 1)) */
static inline uint32_t brg_bits_next(const struct brg_bits *b, uint32_t from) {
    BRG_ASSERT(from <= BRG_BITS_MAX);
    uint32_t word = from / 64;
    if (word >= BRG_BITS_WORDS) return BRG_BITS_MAX;
    uint64_t rest = b->words[word] & (UINT64_MAX << (from % 64));
    while (rest == 0) {
        if (++word == BRG_BITS_WORDS) return BRG_BITS_MAX;
        rest = b->words[word];
    }
    return word * 64 + (uint32_t)__builtin_ctzll(rest);
}

/* a becomes the union of a and b */
static inline void brg_bits_join(struct brg_bits *a, const struct brg_bits *b) {
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) a->words[i] |= b->words[i];
}

/* a loses what is in b */
static inline void brg_bits_subtract(struct brg_bits *a, const struct brg_bits *b) {
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) a->words[i] &= ~b->words[i];
}

/* brg_bits_within - 1 where every number of a is also in b, else 0. */
static inline int brg_bits_within(const struct brg_bits *a, const struct brg_bits *b) {
    uint64_t outside = 0;
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) outside |= a->words[i] & ~b->words[i];
    return outside == 0;
}

#endif
