/* dtype.c - conversions by integer arithmetic on the bits: the same on every machine. */
#include "model/dtype.h"

#include <string.h>
#include <strings.h>

#define F32_INF 0x7f800000u
#define F16_INF 0x7c00u

static const char *const names[] = {"?", "F32", "F16", "BF16"};

uint32_t brg_weight_size(uint32_t dtype) {
    BRG_ASSERT(dtype >= BRG_WEIGHT_F32 && dtype <= BRG_WEIGHT_BF16);
    return dtype == BRG_WEIGHT_F32 ? 4 : 2;
}

const char *brg_weight_name(uint32_t dtype) {
    return names[dtype <= BRG_WEIGHT_BF16 ? dtype : BRG_WEIGHT_OTHER];
}

int brg_weight_parse(const char *name, uint32_t *out) {
    for (uint32_t d = BRG_WEIGHT_F32; d <= BRG_WEIGHT_BF16; d++) {
        if (strcasecmp(name, names[d]) != 0) continue;
        *out = d;
        return BRG_OK;
    }
    return BRG_EINVAL;
}

static uint32_t widen_f16(uint32_t h) {
    const uint32_t sign = (h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude >= F16_INF) return sign | F32_INF | (magnitude & 0x3ffu) << 13;
    if (magnitude >= 0x400u) return sign | ((magnitude << 13) + 0x38000000u);
    if (magnitude == 0) return sign;
    /* Subnormal: bring its highest bit to bit 10, lowering the exponent once a place. */
    uint32_t fraction = magnitude, exponent = 113;
    while ((fraction & 0x400u) == 0) {
        fraction <<= 1;
        exponent--;
    }
    return sign | exponent << 23 | (fraction & 0x3ffu) << 13;
}

static uint32_t narrow_f16(uint32_t x) {
    const uint32_t sign = (x >> 16) & 0x8000u;
    x &= 0x7fffffffu;
    if (x > F32_INF) { /* NaN: its payload, or one bit of it where only lower bits were set */
        const uint32_t payload = (x >> 13) & 0x3ffu;
        return sign | F16_INF | (payload != 0 ? payload : 0x200u);
    }
    if (x >= 0x477ff000u) return sign | F16_INF; /* from 65520 on */
    if (x >= 0x38800000u) {
        x -= 0x38000000u;
        return sign | (x + 0xfffu + ((x >> 13) & 1u)) >> 13;
    }
    const uint32_t shift = 126 - (x >> 23); /* subnormal: whole multiples of 2^-24 */
    if (shift > 24) return sign;
    const uint32_t fraction = (x & 0x7fffffu) | 0x800000u;
    const uint32_t whole = fraction >> shift, rest = fraction & ((1u << shift) - 1);
    const uint32_t half = 1u << (shift - 1);
    return sign | (whole + (uint32_t)(rest > half || (rest == half && (whole & 1u) != 0)));
}

static uint32_t narrow_bf16(uint32_t x) {
    if ((x & 0x7fffffffu) > F32_INF) return x >> 16 | ((x & 0x7f0000u) != 0 ? 0 : 0x40u);
    return (x + 0x7fffu + ((x >> 16) & 1u)) >> 16;
}

void brg_weight_widen(uint32_t dtype, size_t count, const void *bytes, float *out) {
    const uint8_t *from = bytes;
    const uint32_t size = brg_weight_size(dtype);
    if (dtype == BRG_WEIGHT_F32) {
        memcpy(out, bytes, count * size);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t h;
        memcpy(&h, from + i * size, size);
        const uint32_t bits = dtype == BRG_WEIGHT_BF16 ? (uint32_t)h << 16 : widen_f16(h);
        memcpy(&out[i], &bits, sizeof bits);
    }
}

size_t brg_weight_narrow(uint32_t dtype, size_t count, const float *x, void *bytes) {
    uint8_t *to = bytes;
    const uint32_t size = brg_weight_size(dtype);
    size_t overflows = 0;
    if (dtype == BRG_WEIGHT_F32) {
        memcpy(bytes, x, count * size);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        const uint16_t h =
            (uint16_t)(dtype == BRG_WEIGHT_BF16 ? narrow_bf16(bits) : narrow_f16(bits));
        const uint32_t infinity = dtype == BRG_WEIGHT_BF16 ? 0x7f80u : F16_INF;
        overflows += (h & 0x7fffu) == infinity && (bits & 0x7fffffffu) != F32_INF;
        memcpy(to + i * size, &h, size);
    }
    return overflows;
}
