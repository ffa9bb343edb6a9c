#include <math.h>
#include <string.h>

#include "coding/berrut.h"
#include "coding/dense.h"

/* Chebyshev polynomials for n survivors: a quarter of the results is left over to average noise. */
static uint32_t degree_for(uint32_t blocks, uint32_t n) {
    const uint32_t most = n - n / 4 - (n % 4 != 0);
    return most > blocks ? most : blocks;
}

/* Least squares does not go through the nodes: where a block's own worker survived, its result is
 * the better value. */
static int own_worker(uint32_t n, const double *x, double alpha, double *row) {
    for (uint32_t r = 0; r < n; r++) {
        if (x[r] != alpha) continue;
        memset(row, 0, n * sizeof *row);
        row[r] = 1.0;
        return 1;
    }
    return 0;
}

static void interpolate(uint32_t decoder, uint32_t n, const double *x, double z, double *row) {
    if (decoder == BRG_BERRUT_SPLINE)
        brg_berrut_row_spline(n, x, z, row);
    else
        brg_berrut_row_rational(n, x, decoder == BRG_BERRUT_HALF, z, row);
}

/* row = the weights at z less those without survivor `left_out`. */
static void without(const struct brg_berrut_decode *d, const double *x, uint32_t left_out, double z,
                    const double *weights, double *row) {
    double rest[BRG_BERRUT_NODES_MAX], other[BRG_BERRUT_NODES_MAX];
    uint32_t count = 0;
    for (uint32_t r = 0; r < d->count; r++) {
        if (r != left_out) rest[count++] = x[r];
    }
    interpolate(d->decoder, count, rest, z, other);
    count = 0;
    for (uint32_t r = 0; r < d->count; r++) {
        row[r] = weights[r] - (r == left_out ? 0.0 : other[count++]);
    }
}

static void spread_rows(struct brg_berrut_decode *d, const double *x, uint32_t j, double alpha) {
    const uint32_t n = d->count;
    const double *weights = d->weights + (size_t)j * n;
    double *row = d->spread + (size_t)2 * j * n;
    uint32_t below = 0; /* the first survivor below alpha; its neighbour above is the one before */
    memset(row, 0, (size_t)2 * n * sizeof *row);
    while (below < n && x[below] > alpha) below++;
    if (below > 0) without(d, x, below - 1, alpha, weights, row);
    if (below < n) without(d, x, below, alpha, weights, row + n);
}

static void weigh(struct brg_berrut_decode *d, const double *x,
                  const struct brg_berrut_basis *basis) {
    const uint32_t n = d->count;
    double alpha[BRG_BERRUT_BLOCKS_MAX];
    brg_berrut_alphas(d->blocks, alpha);
    d->gain = 0.0;
    d->exact = 0;
    for (uint32_t j = 0; j < d->blocks; j++) {
        double *row = d->weights + (size_t)j * n;
        if (own_worker(n, x, alpha[j], row)) {
            d->exact++;
            if (d->degree == 0) memset(d->spread + (size_t)2 * j * n, 0, 2 * n * sizeof(double));
        } else if (d->degree > 0) {
            brg_berrut_row_chebyshev(basis, d->degree, alpha[j], row);
        } else {
            interpolate(d->decoder, n, x, alpha[j], row);
            spread_rows(d, x, j, alpha[j]);
        }
        d->gain = fmax(d->gain, sqrt(brg_dense_dot(n, row, row)));
    }
    if (d->degree == 0) return;
    memcpy(d->spread, basis->q + (size_t)d->degree * n,
           (size_t)(n - d->degree) * n * sizeof *d->spread);
}

int brg_berrut_decode_init(struct brg_berrut_decode *d, const struct brg_berrut_spec *spec,
                           const uint8_t *have, double *memory) {
    struct brg_berrut_basis basis;
    double z[BRG_BERRUT_NODES_MAX], x[BRG_BERRUT_NODES_MAX];
    brg_berrut_nodes(spec, z);
    d->blocks = spec->blocks;
    d->decoder = spec->decoder;
    d->degree = 0;
    d->count = 0;
    for (uint32_t i = 0; i < spec->nodes; i++) {
        if (!have[i]) continue;
        d->node[d->count] = i;
        x[d->count++] = z[i];
    }
    if (d->count < d->blocks) return BRG_ERANK;
    if (spec->decoder == BRG_BERRUT_CHEBYSHEV || spec->decoder == BRG_BERRUT_AUTO) {
        brg_berrut_basis_init(&basis, d->count, x, memory);
        d->decoder = BRG_BERRUT_CHEBYSHEV;
        d->degree = degree_for(d->blocks, d->count);
    }
    weigh(d, x, &basis);
    if (spec->decoder == BRG_BERRUT_AUTO && !(d->gain <= BRG_BERRUT_GAIN_MAX)) {
        d->decoder = BRG_BERRUT_SPLINE;
        d->degree = 0;
        weigh(d, x, NULL);
    }
    return BRG_OK;
}

/* row . gram . row: the mean square of that combination of the results. */
static double energy(uint32_t n, const double *row, const double *gram) {
    double sum = 0.0;
    for (uint32_t r = 0; r < n; r++) {
        if (row[r] != 0.0) sum += row[r] * brg_dense_dot(n, row, gram + (size_t)r * n);
    }
    return fmax(sum, 0.0);
}

/* What polynomials do not explain, per degree of freedom, is how far the function is from its fit
 * at a point that took no part; the weights multiply the same once more. */
static double left_over(const struct brg_berrut_decode *d, const double *gram) {
    const uint32_t n = d->count, rows = n - d->degree;
    double sum = 0.0;
    if (rows == 0) return HUGE_VAL;
    for (uint32_t k = 0; k < rows; k++) sum += energy(n, d->spread + (size_t)k * n, gram);
    return sum / rows;
}

double brg_berrut_estimate(const struct brg_berrut_decode *d, const double *gram, double *error) {
    const uint32_t n = d->count;
    const double noise = d->degree > 0 ? left_over(d, gram) : 0.0;
    double wrong = 0.0, whole = 0.0;
    for (uint32_t j = 0; j < d->blocks; j++) {
        const double *row = d->weights + (size_t)j * n;
        const double square = brg_dense_dot(n, row, row), value = energy(n, row, gram);
        const double *spread = d->spread + (size_t)2 * j * n;
        double off = 0.0;
        uint32_t terms = 0;
        for (uint32_t r = 0; r < n; r++) terms += row[r] != 0.0;
        if (d->degree > 0 && terms > 1)
            off = noise * (1.0 + square);
        else if (terms > 1)
            off = fmax(energy(n, spread, gram), energy(n, spread + n, gram));
        error[j] = off > 0.0 ? sqrt(off / value) : 0.0;
        wrong += off;
        whole += value;
    }
    return wrong > 0.0 ? sqrt(wrong / whole) : 0.0;
}

void brg_berrut_apply(size_t floats, uint32_t count, const double *w, const float *const *x,
                      float *out) {
    double sum[256]; /* a strip: every x is read once, sums stay in the nearest cache */
    for (size_t begin = 0; begin < floats; begin += 256) {
        const size_t length = floats - begin < 256 ? floats - begin : 256;
        memset(sum, 0, sizeof sum);
        for (uint32_t j = 0; j < count; j++) {
            if (w[j] == 0.0) continue; /* also where its result is missing or not a number */
            const float *from = x[j] + begin;
            for (size_t i = 0; i < length; i++) sum[i] += w[j] * (double)from[i];
        }
        for (size_t i = 0; i < length; i++) out[begin + i] = (float)sum[i];
    }
}
