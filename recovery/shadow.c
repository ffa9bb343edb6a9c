#include "recovery/shadow.h"

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
