#include "recovery/shadow.h"

#include <float.h>
#include <string.h>

struct brg_shadow_slice brg_shadow_slice_at(uint64_t param_count, uint32_t every, uint32_t index) {
    BRG_ASSERT(every > 0 && every <= BRG_SHADOW_EVERY_MAX);
    BRG_ASSERT(index < every);
    const uint64_t lines = (param_count + BRG_SHADOW_ALIGN - 1) / BRG_SHADOW_ALIGN;
    const uint64_t begin = lines * index / every * BRG_SHADOW_ALIGN;
    const uint64_t end = lines * (index + UINT64_C(1)) / every * BRG_SHADOW_ALIGN;
    return (struct brg_shadow_slice){.index = index,
                                     .begin = begin < param_count ? begin : param_count,
                                     .end = end < param_count ? end : param_count};
}

struct brg_shadow_slice brg_shadow_due(uint64_t param_count, uint32_t every, uint64_t version) {
    BRG_ASSERT(version > 0);
    BRG_ASSERT(every > 0);
    return brg_shadow_slice_at(param_count, every, (uint32_t)((version - 1) % every));
}

void brg_shadow_begin(struct brg_shadow_copy *copy, uint32_t every) {
    BRG_ASSERT(every > 0 && every <= BRG_SHADOW_EVERY_MAX);
    *copy = (struct brg_shadow_copy){.every = every};
}

int brg_shadow_take(struct brg_shadow_copy *copy, uint32_t index, uint64_t version) {
    if (index >= copy->every || version == 0) return BRG_EPROTO;
    if (version <= copy->version[index]) return 0;
    copy->version[index] = version;
    return 1;
}

uint64_t brg_shadow_oldest(const struct brg_shadow_copy *copy) {
    uint64_t oldest = UINT64_MAX;
    BRG_ASSERT(copy->every > 0 && copy->every <= BRG_SHADOW_EVERY_MAX);
    for (uint32_t i = 0; i < copy->every; i++)
        if (copy->version[i] < oldest) oldest = copy->version[i];
    return oldest;
}

int brg_shadow_complete(const struct brg_shadow_copy *copy) {
    return brg_shadow_oldest(copy) > 0;
}

uint64_t brg_shadow_staleness(const struct brg_shadow_copy *copy, uint64_t version) {
    const uint64_t oldest = brg_shadow_oldest(copy);
    if (oldest == 0) return UINT64_MAX;
    for (uint32_t i = 0; i < copy->every; i++)
        if (copy->version[i] > version) return UINT64_MAX;
    return version - oldest;
}

uint32_t brg_shadow_holder(uint32_t stages, uint32_t stage) {
    BRG_ASSERT(stages > 0);
    BRG_ASSERT(stage < stages);
    if (stages == 2) return 1 - stage; /* two further on would be itself */
    return (uint32_t)(((uint64_t)stage + 2) % stages);
}

static uint64_t blocks_of(uint64_t count) {
    return count / BRG_SHADOW_BLOCK + (count % BRG_SHADOW_BLOCK > 0);
}

static uint64_t block_count(uint64_t count, uint64_t block) {
    const uint64_t left = count - block * BRG_SHADOW_BLOCK;
    return left < BRG_SHADOW_BLOCK ? left : BRG_SHADOW_BLOCK;
}

uint64_t brg_shadow_packed_bytes(uint64_t count) {
    return blocks_of(count) * sizeof(float) + count;
}

static void put_float(uint8_t *out, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    for (uint32_t i = 0; i < 4; i++) out[i] = (uint8_t)(bits >> (8 * i));
}

static float get_float(const uint8_t *in) {
    uint32_t bits = 0;
    float x;
    for (uint32_t i = 0; i < 4; i++) bits |= (uint32_t)in[i] << (8 * i);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* To the nearest whole number; |x| <= 127 but for rounding. */
static int8_t nearest(float x) {
    const int q = (int)(x < 0 ? x - 0.5f : x + 0.5f);
    return (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
}

static int pack_block(const float *now, float *mirror, uint64_t count, uint8_t *out) {
    float most = 0;
    for (uint64_t i = 0; i < count; i++) {
        const float change = now[i] - mirror[i], size = change < 0 ? -change : change;
        if (!(size <= FLT_MAX)) return BRG_EINVAL; /* NaN fails, too */
        if (size > most) most = size;
    }
    /* Changes too small to divide by are left for later. */
    const float scale = most >= 127 * FLT_MIN ? most / 127 : 0;
    put_float(out, scale);
    for (uint64_t i = 0; i < count; i++) {
        const int8_t q = scale > 0 ? nearest((now[i] - mirror[i]) / scale) : 0;
        memcpy(out + sizeof(float) + i, &q, 1);
        mirror[i] += scale * (float)q;
    }
    return BRG_OK;
}

int brg_shadow_pack(const float *now, float *mirror, uint64_t count, uint8_t *out) {
    for (uint64_t b = 0; b < blocks_of(count); b++) {
        const uint64_t at = b * BRG_SHADOW_BLOCK;
        const int rc = pack_block(now + at, mirror + at, block_count(count, b),
                                  out + b * (sizeof(float) + BRG_SHADOW_BLOCK));
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

int brg_shadow_unpack(const uint8_t *in, uint64_t size_bytes, float *copy, uint64_t count) {
    const uint64_t stride = sizeof(float) + BRG_SHADOW_BLOCK;
    if (size_bytes != brg_shadow_packed_bytes(count)) return BRG_EPROTO;
    for (uint64_t b = 0; b < blocks_of(count); b++) {
        const float scale = get_float(in + b * stride);
        if (!(scale >= 0) || !(scale <= FLT_MAX)) return BRG_EPROTO;
    }
    for (uint64_t b = 0; b < blocks_of(count); b++) {
        const float scale = get_float(in + b * stride);
        for (uint64_t i = 0; i < block_count(count, b); i++) {
            int8_t q;
            memcpy(&q, in + b * stride + sizeof(float) + i, 1);
            copy[b * BRG_SHADOW_BLOCK + i] += scale * (float)q;
        }
    }
    return BRG_OK;
}
