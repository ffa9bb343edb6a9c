#include "model/ngram.h"

#include <math.h>

#define SYMBOLS 256u
#define SMOOTHING 0.05

struct counts {
    uint64_t one[SYMBOLS];  /* n(b), all bytes */
    uint64_t from[SYMBOLS]; /* n(a, .), all bytes but the last */
    uint64_t two[SYMBOLS][SYMBOLS];
};

/* Byte i of a part; uint16 tokens below 256 have it in front. */
static uint8_t byte_at(const struct brg_data_part *part, uint64_t step_bytes, uint64_t i) {
    return part->values[i * step_bytes];
}

static double smoothed_loss(uint64_t seen, uint64_t all) {
    return -log(((double)seen + SMOOTHING) / ((double)all + SMOOTHING * SYMBOLS));
}

int brg_ngram_measure(const struct brg_data *d, struct brg_ngram_losses *out) {
    *out = (struct brg_ngram_losses){0};
    if (d->kind != BRG_DATA_TOKENS || d->token_max >= SYMBOLS || d->held.count < 2)
        return BRG_EINVAL;
    struct counts *c = calloc(1, sizeof *c);
    if (c == NULL) return BRG_ENOMEM;
    const uint64_t step_bytes = d->element == BRG_DATA_U16 ? 2 : 1;
    uint8_t last = byte_at(&d->train, step_bytes, 0);
    c->one[last] = 1;
    for (uint64_t i = 1; i < d->train.count; i++) {
        const uint8_t b = byte_at(&d->train, step_bytes, i);
        c->one[b]++;
        c->from[last]++;
        c->two[last][b]++;
        last = b;
    }
    last = byte_at(&d->held, step_bytes, 0);
    for (uint64_t i = 1; i < d->held.count; i++) {
        const uint8_t b = byte_at(&d->held, step_bytes, i);
        out->order0 += smoothed_loss(c->one[b], d->train.count);
        out->order1 += smoothed_loss(c->two[last][b], c->from[last]);
        last = b;
    }
    out->targets = d->held.count - 1;
    out->order0 /= (double)out->targets;
    out->order1 /= (double)out->targets;
    free(c);
    return BRG_OK;
}
