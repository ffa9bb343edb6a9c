/* ngram.h - what a byte n-gram model loses on the held-out text: the bar a trained model has to
 * beat.
 *
 * Counts on the train part, additive smoothing of 0.05 over 256 symbols:
 *   order 0:  p(b)     = (n(b) + 0.05) / (n + 0.05 * 256)
 *   order 1:  p(b | a) = (n(a, b) + 0.05) / (n(a, .) + 0.05 * 256)
 * measured on held-out bytes 1, 2, ..., the targets that a language model has there. Thread-safe.
 */
#ifndef BRG_NGRAM_H
#define BRG_NGRAM_H

#include "model/data.h"

struct brg_ngram_losses {
    double order0, order1; /* mean -ln p over the held-out targets, nats */
    uint64_t targets;
};

/* brg_ngram_measure - both losses of `d`.
 *
 * errors: BRG_EINVAL rows, tokens over 255, or fewer than two held-out tokens; BRG_ENOMEM 1 MiB
 * cost:   one pass over the data, about 1 ns a byte */
BRG_CHECK int brg_ngram_measure(const struct brg_data *d, struct brg_ngram_losses *out);

#endif
