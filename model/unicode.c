#include "model/unicode.h"

uint32_t brg_unicode_put(uint32_t point, uint8_t *out) {
    BRG_ASSERT(point <= 0x10ffffu);
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xc0u | point >> 6);
        out[1] = (uint8_t)(0x80u | (point & 0x3fu));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xe0u | point >> 12);
        out[1] = (uint8_t)(0x80u | (point >> 6 & 0x3fu));
        out[2] = (uint8_t)(0x80u | (point & 0x3fu));
        return 3;
    }
    out[0] = (uint8_t)(0xf0u | point >> 18);
    out[1] = (uint8_t)(0x80u | (point >> 12 & 0x3fu));
    out[2] = (uint8_t)(0x80u | (point >> 6 & 0x3fu));
    out[3] = (uint8_t)(0x80u | (point & 0x3fu));
    return 4;
}
