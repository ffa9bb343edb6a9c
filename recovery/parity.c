#include "recovery/parity.h"

#include <string.h>

uint32_t brg_parity_groups(uint32_t stages, uint32_t size) {
    BRG_ASSERT(stages > 0 && stages <= BRG_PARITY_STAGES_MAX);
    BRG_ASSERT(size > 0);
    return stages / size + (stages % size > 0);
}

uint32_t brg_parity_holder(uint32_t stages, uint32_t size, uint32_t group) {
    const uint32_t groups = brg_parity_groups(stages, size);
    BRG_ASSERT(group < groups);
    if (groups == 1) return stages;
    const uint32_t last = group + (stages - 1 - group) / groups * groups;
    const uint32_t next = (last + 1) % stages;
    /* Round the end, stage 0 may be of the same group; the stage behind it is not. */
    return next % groups != group ? next : next + 1;
}

void brg_parity_delta(const uint8_t *before, const uint8_t *after, uint64_t size_bytes,
                      uint8_t *out) {
    uint64_t at = 0;
    for (; at + 8 <= size_bytes; at += 8) { /* words through memcpy: any alignment */
        uint64_t a, b;
        memcpy(&a, before + at, 8);
        memcpy(&b, after + at, 8);
        a ^= b;
        memcpy(out + at, &a, 8);
    }
    for (; at < size_bytes; at++) out[at] = (uint8_t)(before[at] ^ after[at]);
}

void brg_parity_add(uint8_t *parity, uint64_t parity_bytes, const uint8_t *part,
                    uint64_t part_bytes) {
    BRG_ASSERT(part_bytes <= parity_bytes);
    brg_parity_delta(parity, part, part_bytes, parity);
}

int brg_parity_rebuild(const struct brg_parity_part *parity, const struct brg_parity_part *parts,
                       uint32_t count, uint8_t *out) {
    uint32_t lost = count, missing = 0;
    BRG_ASSERT(parity->bytes != NULL);
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].size_bytes > parity->size_bytes) return BRG_EINVAL;
        if (parts[i].bytes == NULL) {
            missing++;
            lost = i;
        } else if (parts[i].version != parity->version) {
            return BRG_EINVAL;
        }
    }
    if (missing != 1) return BRG_ERANK;
    const uint64_t size_bytes = parts[lost].size_bytes;
    memcpy(out, parity->bytes, size_bytes);
    for (uint32_t i = 0; i < count; i++) {
        if (i == lost) continue;
        const uint64_t n = parts[i].size_bytes < size_bytes ? parts[i].size_bytes : size_bytes;
        brg_parity_add(out, size_bytes, parts[i].bytes, n);
    }
    return BRG_OK;
}
