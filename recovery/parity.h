/* parity.h - one XOR over the snapshots of g stages: any one of them can be rebuilt, to the bit.
 *
 *   stage 0  [ a a a a a . ]   shorter ones count as if zeroes followed
 *   stage 2  [ b b b b b b ]
 *   stage 4  [ c c c c . . ]
 *   parity   [ a^b^c ...   ]   at a holder outside the group; storage 1/g of a shadow's
 *
 * All snapshots and the parity are of one version. When a member's snapshot moves on, old ^ new is
 * all that the holder needs (the XOR is linear); while some members have moved and others have not
 * the parity is of no version, so a holder keeps the last whole one until all deltas are in.
 * Groups are every n-th stage, so that adjacent stages lie in different groups.
 *
 * Pure. Source: Patterson, Gibson, Katz, "A Case for Redundant Arrays of Inexpensive Disks (RAID)",
 * SIGMOD 1988, sec. 9-11. */
#ifndef BRG_PARITY_H
#define BRG_PARITY_H

#include "base/base.h"

#define BRG_PARITY_STAGES_MAX 64u

/* A member's snapshot; bytes NULL: lost. */
struct brg_parity_part {
    const uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t version;
};

/* brg_parity_groups - how many groups `stages` stages make in groups of at most `size`; stage s is
 * in group s % groups. asserts: size > 0 */
uint32_t brg_parity_groups(uint32_t stages, uint32_t size);

/* brg_parity_holder - the stage whose worker keeps the parity of `group`: the first one outside it,
 * counted from the group's last member on. With one group there is none: returns `stages`, and a
 * spare has to keep it. */
uint32_t brg_parity_holder(uint32_t stages, uint32_t size, uint32_t group);

/* brg_parity_add - parity [size_bytes of the longest member] ^= part; twice takes it out again.
 * asserts: part_bytes <= parity_bytes */
void brg_parity_add(uint8_t *parity, uint64_t parity_bytes, const uint8_t *part,
                    uint64_t part_bytes);

/* brg_parity_delta - out = before ^ after, what a member sends when its snapshot moves on.
 * shape: all [size_bytes]; out may be one of the others */
void brg_parity_delta(const uint8_t *before, const uint8_t *after, uint64_t size_bytes,
                      uint8_t *out);

/* brg_parity_rebuild - the lost member out of the parity and the others.
 *
 * shape:  parts [count]; exactly one has bytes NULL, its size_bytes are written to out
 * errors: BRG_ERANK  none or more than one is lost: one XOR gives one stage
 *         BRG_EINVAL a snapshot is of another version than the parity, or longer than it; out is
 *                    not touched */
BRG_CHECK int brg_parity_rebuild(const struct brg_parity_part *parity,
                                 const struct brg_parity_part *parts, uint32_t count, uint8_t *out);

#endif
