/* shadow.h - a stage's own stale copy at another worker, kept fresh by a constant small stream.
 *
 *   parameters  [ slice 0 | slice 1 | ... | slice K-1 ]     after step v, slice (v-1) % K leaves
 *   copy         v=21      v=22           v=20              staleness at version 22: 2
 *
 * A slice carries the weights and, if moments are kept, both moments of the same parameters, all of
 * one version. After K steps the copy is whole; from then on no part is older than K steps. On a
 * loss the copy is taken as it is: slices of neighbouring versions side by side, and nobody else
 * rolls back. That this costs next to nothing is measured, not proved: bench/bench_recovery.c.
 *
 * Pure: plans and bookkeeping; the bytes are the caller's. Source for keeping partial, stale state:
 * Maeng et al., "CPR: Understanding and Improving Failure Tolerant Training for Deep Learning
 * Recommendation with Partial Recovery", MLSys 2021, sec. 4. */
#ifndef BRG_SHADOW_H
#define BRG_SHADOW_H

#include "base/base.h"

#define BRG_SHADOW_EVERY_MAX 1024u
#define BRG_SHADOW_ALIGN 16u /* floats: slices are cut at cache lines */

/* Parameters [begin, end) of the stage; empty where the stage is smaller than its slices. */
struct brg_shadow_slice {
    uint32_t index;
    uint64_t begin, end;
};

/* brg_shadow_slice_at - slice `index` of a stage of `param_count` parameters in `every` slices.
 * asserts: index < every <= BRG_SHADOW_EVERY_MAX */
struct brg_shadow_slice brg_shadow_slice_at(uint64_t param_count, uint32_t every, uint32_t index);

/* brg_shadow_due - the slice that leaves after step `version` (1 is the first). */
struct brg_shadow_slice brg_shadow_due(uint64_t param_count, uint32_t every, uint64_t version);

/* What a holder has of one stage: the version of each slice; 0: nothing yet. */
struct brg_shadow_copy {
    uint32_t every;
    uint64_t version[BRG_SHADOW_EVERY_MAX];
};

/* brg_shadow_begin - an empty copy in `every` slices. */
void brg_shadow_begin(struct brg_shadow_copy *copy, uint32_t every);

/* brg_shadow_take - slice `index` of `version` has arrived.
 * return: 1 keep its bytes; 0 it is not newer than what is there: drop them
 * errors: BRG_EPROTO no such slice, or version 0 */
BRG_CHECK int brg_shadow_take(struct brg_shadow_copy *copy, uint32_t index, uint64_t version);

/* brg_shadow_complete - 1 where every slice has arrived. */
int brg_shadow_complete(const struct brg_shadow_copy *copy);

/* brg_shadow_oldest - version of the oldest slice; 0 where one is missing. */
uint64_t brg_shadow_oldest(const struct brg_shadow_copy *copy);

/* brg_shadow_staleness - steps that the oldest slice is behind `version`; UINT64_MAX where one is
 * missing. A copy ahead of `version`, which a rollback leaves behind, counts as missing, too. */
uint64_t brg_shadow_staleness(const struct brg_shadow_copy *copy, uint64_t version);

/* A slice of float32 as int8: the change since the holder's copy, in blocks with a scale of their
 * own, a quarter of the traffic. The sender keeps a mirror of the copy, so what one packing rounds
 * away is in the next one: errors do not add up, and both ends hold the same bits.
 *
 *   per block of BRG_SHADOW_BLOCK floats: scale f32 little-endian, then one int8 a float;
 *   copy[i] += scale * q[i]; |error| <= scale / 2 = largest change in the block / 254
 *
 * source: Seide et al., "1-Bit Stochastic Gradient Descent", INTERSPEECH 2014, sec. 3 (what
 * rounding leaves over goes into the next message) */
#define BRG_SHADOW_BLOCK 64u

/* brg_shadow_packed_bytes - size of `count` floats when packed. */
uint64_t brg_shadow_packed_bytes(uint64_t count);

/* brg_shadow_pack - packs `now` against `mirror`, and moves the mirror to what the holder will
 * have. shape:  now, mirror [count]; out [brg_shadow_packed_bytes] errors: BRG_EINVAL a number is
 * not finite, or changed by more than a float holds: mirror and out are of no use, send the slice
 * plain */
BRG_CHECK int brg_shadow_pack(const float *now, float *mirror, uint64_t count, uint8_t *out);

/* brg_shadow_unpack - moves the holder's copy [count] on.
 * errors: BRG_EPROTO size_bytes does not fit, or a scale is not finite or negative: copy untouched
 */
BRG_CHECK int brg_shadow_unpack(const uint8_t *in, uint64_t size_bytes, float *copy,
                                uint64_t count);

/* brg_shadow_holder - the stage whose worker keeps the shadow of `stage`: two further on, round the
 * end, so that it is not adjacent and two neighbours lost together are both recovered. With 3
 * stages or fewer some holder is adjacent; with 1 there is none: returns `stage`. */
uint32_t brg_shadow_holder(uint32_t stages, uint32_t stage);

#endif
