/* state.h - the state of a stage as bytes: what travels between holders, lies in a shadow or under
 * a parity, and is cut into files.
 *
 *    0  "BRGSTAT1"          24  own_step   u64        48  params  u64
 *    8  version    u64      32  lr_factor  f64        56  kinds   u32
 *   16  lineage    u64      40  lr_version u64        60  zero    u32
 *   64  weights  f32 [params], if in kinds
 *    +  moments  f32 [moments], if in kinds: as brg_optimizer_state_count says, m before v
 *
 * All little-endian. The learning rate's factor in force at version v is
 * brg_neighbours_lr(lr_factor, v - lr_version).
 *
 * Pure, no allocation; any thread. */
#ifndef BRG_STATE_H
#define BRG_STATE_H

#include "base/base.h"

#define BRG_STATE_HEADER_BYTES 64u
#define BRG_STATE_PARAMS_MAX (UINT64_C(1) << 34)
#define BRG_STATE_FACTOR_MAX 1e6

enum brg_state_kind { BRG_STATE_WEIGHTS = 1u, BRG_STATE_MOMENTS = 2u }; /* bits of kinds */

struct brg_state_header {
    uint64_t version; /* after this step; of a shadow, its oldest slice's */
    uint64_t lineage;
    uint64_t own_step;   /* steps since the moments were zero */
    double lr_factor;    /* > 0, at most BRG_STATE_FACTOR_MAX */
    uint64_t lr_version; /* when it was in force, <= version */
    uint64_t params;     /* of the stage, 1 .. BRG_STATE_PARAMS_MAX */
    uint32_t kinds;      /* bits of enum brg_state_kind, not 0 */
    uint32_t padding;
};

/* brg_state_bytes - size of a blob of a stage with `params` parameters and `moments` floats of
 * optimizer state. asserts: both <= 4 * BRG_STATE_PARAMS_MAX */
uint64_t brg_state_bytes(uint64_t params, uint64_t moments, uint32_t kinds);

/* brg_state_write_header - shape: out [BRG_STATE_HEADER_BYTES] */
void brg_state_write_header(const struct brg_state_header *h, void *out);

/* brg_state_read_header - the header of a blob of `size_bytes`, every field in its range. That the
 * rest has the size that it should have is for the caller, who knows the optimizer.
 * errors: BRG_EPROTO; *h untouched */
BRG_CHECK int brg_state_read_header(const void *blob, uint64_t size_bytes,
                                    struct brg_state_header *h);

#endif
