/* unicode.h - what a tokenizer has to know of Unicode: code points in bytes, and four classes.
 *
 *   LETTER  general category L      NUMBER  general category N      SPACE  White_Space
 *
 * The table is made by unicode_table.py from Debian's package unicode-data, version 15.0; code
 * points assigned later are OTHER. Pure, thread-safe. */
#ifndef BRG_MODEL_UNICODE_H
#define BRG_MODEL_UNICODE_H

#include "base/base.h"

enum brg_unicode_class {
    BRG_UNICODE_OTHER = 0,
    BRG_UNICODE_LETTER = 1,
    BRG_UNICODE_NUMBER = 2,
    BRG_UNICODE_SPACE = 3,
};

/* Blocks of 128 code points: which one, and four classes a byte. For the functions below. */
extern const uint32_t brg_unicode_stage_count;
extern const uint8_t brg_unicode_stage[];
extern const uint8_t brg_unicode_blocks[];

/* brg_unicode_class_of - of any number; OTHER beyond U+10FFFF. */
static inline uint32_t brg_unicode_class_of(uint32_t point) {
    const uint32_t block = point >> 7;
    if (block >= brg_unicode_stage_count) return BRG_UNICODE_OTHER;
    const uint32_t at = (uint32_t)brg_unicode_stage[block] * 32 + (point >> 2 & 31u);
    return brg_unicode_blocks[at] >> (point & 3u) * 2 & 3u;
}

/* brg_unicode_take - the code point at text [0, size), size >= 1, and the bytes it takes.
 *
 * A byte that does not begin a well-formed sequence (Unicode 15, table 3-7) is taken alone and
 * comes back as U+FFFD: class OTHER, one byte. */
static inline uint32_t brg_unicode_take(const uint8_t *text, size_t size, uint32_t *bytes) {
    const uint32_t b = text[0];
    uint32_t count = 2, point = b & 0x1fu, low = 0x80;
    *bytes = 1;
    if (b < 0x80) return b;
    if (b < 0xc2 || b > 0xf4) return 0xfffd;
    if (b >= 0xf0) {
        count = 4;
        point = b & 0x07u;
        low = b == 0xf0 ? 0x90 : 0x80;
    } else if (b >= 0xe0) {
        count = 3;
        point = b & 0x0fu;
        low = b == 0xe0 ? 0xa0 : 0x80;
    }
    if (size < count || text[1] < low) return 0xfffd;
    if ((b == 0xed && text[1] > 0x9f) || (b == 0xf4 && text[1] > 0x8f)) return 0xfffd;
    for (uint32_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0u) != 0x80) return 0xfffd;
        point = point << 6 | (text[i] & 0x3fu);
    }
    *bytes = count;
    return point;
}

/* brg_unicode_put - UTF-8 of a code point up to U+10FFFF; returns its bytes. shape: out [4] */
uint32_t brg_unicode_put(uint32_t point, uint8_t *out);

#endif
