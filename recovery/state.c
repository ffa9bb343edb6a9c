#include "recovery/state.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "states are sent as they lie in memory, which has to be little-endian"
#endif

static const char magic[8] = {'B', 'R', 'G', 'S', 'T', 'A', 'T', '1'};

/* As it lies in the blob. */
struct wire {
    char magic[8];
    uint64_t version, lineage, own_step;
    double lr_factor;
    uint64_t lr_version, params;
    uint32_t kinds, zero;
};

_Static_assert(sizeof(struct wire) == BRG_STATE_HEADER_BYTES, "no padding on the wire");

uint64_t brg_state_bytes(uint64_t params, uint64_t moments, uint32_t kinds) {
    BRG_ASSERT(params <= 4 * BRG_STATE_PARAMS_MAX);
    BRG_ASSERT(moments <= 4 * BRG_STATE_PARAMS_MAX);
    uint64_t floats = 0;
    if ((kinds & BRG_STATE_WEIGHTS) != 0) floats += params;
    if ((kinds & BRG_STATE_MOMENTS) != 0) floats += moments;
    return BRG_STATE_HEADER_BYTES + floats * sizeof(float);
}

void brg_state_write_header(const struct brg_state_header *h, void *out) {
    struct wire w = {.version = h->version,
                     .lineage = h->lineage,
                     .own_step = h->own_step,
                     .lr_factor = h->lr_factor,
                     .lr_version = h->lr_version,
                     .params = h->params,
                     .kinds = h->kinds};
    memcpy(w.magic, magic, sizeof magic);
    memcpy(out, &w, sizeof w);
}

int brg_state_read_header(const void *blob, uint64_t size_bytes, struct brg_state_header *h) {
    struct wire w;
    if (size_bytes < sizeof w) return BRG_EPROTO;
    memcpy(&w, blob, sizeof w);
    const uint32_t all = BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS;
    if (memcmp(w.magic, magic, sizeof magic) != 0 || w.zero != 0 || w.kinds == 0 ||
        (w.kinds & ~all) != 0 || w.params == 0 || w.params > BRG_STATE_PARAMS_MAX ||
        w.lr_version > w.version || !(w.lr_factor > 0) || !(w.lr_factor <= BRG_STATE_FACTOR_MAX)) {
        return BRG_EPROTO;
    }
    *h = (struct brg_state_header){.version = w.version,
                                   .lineage = w.lineage,
                                   .own_step = w.own_step,
                                   .lr_factor = w.lr_factor,
                                   .lr_version = w.lr_version,
                                   .params = w.params,
                                   .kinds = w.kinds};
    return BRG_OK;
}
