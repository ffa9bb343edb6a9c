/* prng.h - a small counter-based generator: the same numbers on every platform, seekable.
 *
 * splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
 * Not for secrets. State is the caller's; nothing here allocates or locks. */
#ifndef BRG_PRNG_H
#define BRG_PRNG_H

#include "base/base.h"

struct brg_prng {
    uint64_t state;
};

/* brg_prng_next - the next 64 random bits. */
uint64_t brg_prng_next(struct brg_prng *g);

/* brg_prng_below - a number in [0, n), by multiplication (bias below n / 2^64). asserts: n > 0 */
uint64_t brg_prng_below(struct brg_prng *g, uint64_t n);

/* brg_prng_unit - a double in [0, 1) with 53 random bits. */
double brg_prng_unit(struct brg_prng *g);

/* brg_prng_normal - a standard normal number (Box-Muller, two draws, libm). */
double brg_prng_normal(struct brg_prng *g);

/* brg_prng_mix - one number from up to four, for seeds such as (run seed, step, chunk). */
uint64_t brg_prng_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#endif
