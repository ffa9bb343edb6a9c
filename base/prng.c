#include "base/prng.h"

#include <math.h>

static uint64_t scramble(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t brg_prng_next(struct brg_prng *g) {
    g->state += UINT64_C(0x9E3779B97F4A7C15);
    return scramble(g->state);
}

uint64_t brg_prng_below(struct brg_prng *g, uint64_t n) {
    BRG_ASSERT(n > 0);
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)(((wide)brg_prng_next(g) * n) >> 64);
}

double brg_prng_unit(struct brg_prng *g) {
    return (double)(brg_prng_next(g) >> 11) * 0x1p-53;
}

double brg_prng_normal(struct brg_prng *g) {
    const double u = 1.0 - brg_prng_unit(g); /* in (0, 1]: the logarithm stays finite */
    const double v = brg_prng_unit(g);
    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}

uint64_t brg_prng_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t words[4] = {a, b, c, d};
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 0; i < 4; i++) h = scramble(h ^ words[i]) + UINT64_C(0x9E3779B97F4A7C15);
    return scramble(h);
}
