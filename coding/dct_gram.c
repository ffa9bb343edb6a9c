/* dct_gram.c - inner products of results, exactly or from one pass with random signs.
 *
 * Sketch: coordinates go by in runs of RUN. Run r starts at column shift(r) of a ring of 64, so
 * that no choice of coordinates stays in one column; signs are bits of the generator, expanded
 * once per strip and used for all n results while the strip is in the nearest cache. */
#include "coding/dct_gram.h"

#include <math.h>
#include <string.h>

#include "base/prng.h"
#include "coding/dense.h"

#define STRIP 1024u /* floats of one result converted at a time by brg_dct_gram */
#define RUN 256u    /* coordinates between two changes of the shift: 4 a column */
#define AHEAD 2048u /* bytes asked for before they are needed; past the end is no fault */

void brg_dct_gram(uint32_t n, const float *const *y, struct brg_dct_span span, double *gram) {
    double strip[BRG_DCT_NODES_MAX][STRIP / 16]; /* all results of a strip: 32 KiB */
    BRG_ASSERT(n > 0 && n <= BRG_DCT_NODES_MAX);
    BRG_ASSERT(span.begin <= span.end);
    for (size_t begin = span.begin; begin < span.end; begin += STRIP / 16) {
        const size_t left = span.end - begin;
        const uint32_t length = left < STRIP / 16 ? (uint32_t)left : STRIP / 16;
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t c = 0; c < length; c++) strip[i][c] = (double)y[i][begin + c];
        }
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j <= i; j++) {
                gram[(size_t)i * n + j] += brg_dense_dot(length, strip[i], strip[j]);
            }
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < i; j++) gram[(size_t)j * n + i] = gram[(size_t)i * n + j];
    }
}

/* The signs of a block as floats, and the columns at which its runs begin. */
struct draw {
    float sign[BRG_DCT_BLOCK];
    uint32_t shift[BRG_DCT_BLOCK / RUN];
};

static void draw_block(uint64_t seed, size_t block, struct draw *d) {
    struct brg_prng g = {brg_prng_mix(seed, block, 0, 0)};
    for (uint32_t c = 0; c < BRG_DCT_BLOCK; c += 64) {
        const uint64_t bits = brg_prng_next(&g);
        for (uint32_t b = 0; b < 64; b++) d->sign[c + b] = (bits >> b & 1) != 0 ? 1.0f : -1.0f;
    }
    for (uint32_t r = 0; r < BRG_DCT_BLOCK / RUN; r++) {
        d->shift[r] = (uint32_t)(brg_prng_next(&g) % BRG_DCT_COLUMNS);
    }
}

/* Four at a time; the compiler makes of it what the machine has. Memory need not be aligned. */
typedef float floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(32), aligned(8), may_alias));

/* Adds `count` <= RUN floats to the ring that starts at z; the ring is 128 long, folded later.
 * A full run is four numbers a column: those are added in float32, which costs about as much
 * precision again as float32 results have lost already, and halves the time. */
static void add_run(uint32_t count, const float *y, const float *sign, double *z) {
    if (count < RUN) {
        for (uint32_t c = 0; c < count; c++) z[c % BRG_DCT_COLUMNS] += (double)(y[c] * sign[c]);
        return;
    }
    for (uint32_t l = 0; l < BRG_DCT_COLUMNS; l += 4) {
        floats part[4];
        for (uint32_t k = 0; k < 4; k++) {
            const uint32_t c = l + k * BRG_DCT_COLUMNS;
            part[k] = *(const floats *)(y + c) * *(const floats *)(sign + c);
        }
        const floats sum = (part[0] + part[1]) + (part[2] + part[3]);
        *(doubles *)(z + l) += __builtin_convertvector(sum, doubles);
    }
    for (uint32_t line = 0; line < RUN; line += 16)
        __builtin_prefetch((const void *)((uintptr_t)(y + line) + AHEAD));
}

void brg_dct_sketch(uint32_t n, const float *const *y, struct brg_dct_span span, uint64_t seed,
                    double *z) {
    struct draw d;
    BRG_ASSERT(n > 0 && n <= BRG_DCT_NODES_MAX);
    BRG_ASSERT(span.begin <= span.end && span.begin % BRG_DCT_BLOCK == 0);
    for (size_t begin = span.begin; begin < span.end; begin += BRG_DCT_BLOCK) {
        const size_t left = span.end - begin;
        const uint32_t length = left < BRG_DCT_BLOCK ? (uint32_t)left : BRG_DCT_BLOCK;
        draw_block(seed, begin / BRG_DCT_BLOCK, &d);
        for (uint32_t i = 0; i < n; i++) {
            double ring[2 * BRG_DCT_COLUMNS] = {0.0};
            const float *from = y[i] + begin;
            for (uint32_t c = 0; c < length; c += RUN) {
                const uint32_t count = length - c < RUN ? length - c : RUN;
                add_run(count, from + c, d.sign + c, ring + d.shift[c / RUN]);
            }
            double *row = z + (size_t)i * BRG_DCT_COLUMNS;
            for (uint32_t l = 0; l < BRG_DCT_COLUMNS; l++) {
                row[l] += ring[l] + ring[l + BRG_DCT_COLUMNS];
            }
        }
    }
}

void brg_dct_sketch_gram(uint32_t n, const double *z, double *gram) {
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            gram[(size_t)i * n + j] = gram[(size_t)j * n + i] = brg_dense_dot(
                BRG_DCT_COLUMNS, z + (size_t)i * BRG_DCT_COLUMNS, z + (size_t)j * BRG_DCT_COLUMNS);
        }
    }
}

static double median_diagonal(uint32_t n, const double *gram) {
    double sorted[BRG_DCT_NODES_MAX];
    for (uint32_t i = 0; i < n; i++) {
        const double value = gram[(size_t)i * n + i];
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > value; at--) sorted[at] = sorted[at - 1];
        sorted[at] = value;
    }
    return n % 2 == 1 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

int brg_dct_normalise(uint32_t n, double *gram, double *energy, uint64_t *broken) {
    BRG_ASSERT(n > 0 && n <= BRG_DCT_NODES_MAX);
    *broken = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(gram[(size_t)i * n + i])) *broken |= UINT64_C(1) << i;
    }
    if (*broken != 0) return BRG_EPROTO;
    *energy = median_diagonal(n, gram);
    if (!(*energy > 0.0)) return BRG_ERANK;
    for (uint32_t i = 0; i < n; i++) {
        const double own = gram[(size_t)i * n + i] / *energy;
        const double scale = own > BRG_DCT_CAP ? sqrt(BRG_DCT_CAP / own) : 1.0;
        for (uint32_t j = 0; j < n && scale < 1.0; j++) {
            gram[(size_t)i * n + j] *= scale;
            gram[(size_t)j * n + i] *= scale;
        }
    }
    for (uint32_t i = 0; i < n * n; i++) gram[i] /= *energy;
    return BRG_OK;
}

void brg_dct_subgram(uint32_t n, const double *gram, uint32_t count, const uint32_t *index,
                     double *out) {
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            out[(size_t)a * count + b] = gram[(size_t)index[a] * n + index[b]];
        }
    }
}
