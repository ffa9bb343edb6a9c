/* infer.h - a llama that reads tokens one after the other, with a cache of keys and values.
 *
 *   feed(tokens) ──► per layer: keys and values of the new positions join the cache
 *        │           [ k0 k1 ... k(p-1) | new ]   attention over all of them
 *        └──► logits of each new position, on demand
 *
 * The numbers are those of the training forward pass (model/llama.c) up to rounding: sums over the
 * cache run in another order. tests/unit/model/test_infer.c holds both to 1e-5 of the largest
 * logit.
 *
 * Thread rule: one of these belongs to one thread at a time; parameters may be shared. */
#ifndef BRG_MODEL_INFER_H
#define BRG_MODEL_INFER_H

#include "base/prng.h"
#include "base/why.h"
#include "model/model.h"

struct brg_infer;

/* brg_infer_create - an empty cache for spec->context positions, to be fed up to `rows_max` tokens
 * at once.
 *
 * own:     *out is the caller's, brg_infer_destroy; borrows params [param_count] until then
 * errors:  BRG_EINVAL no llama; BRG_ENOMEM
 * asserts: brg_model_check(spec, 1) passed, 1 <= rows_max */
BRG_CHECK int brg_infer_create(const struct brg_model_spec *spec, const float *params,
                               uint32_t rows_max, struct brg_infer **out, struct brg_why *why);
void brg_infer_destroy(struct brg_infer *f);

/* brg_infer_reset - forgets everything that was fed. */
void brg_infer_reset(struct brg_infer *f);

/* brg_infer_spec - what it computes. own: f's */
const struct brg_model_spec *brg_infer_spec(const struct brg_infer *f);

/* brg_infer_position - tokens fed since the last reset. */
uint32_t brg_infer_position(const struct brg_infer *f);

/* brg_infer_feed - reads `count` further tokens.
 *
 * errors:  BRG_EINVAL a token is not below vocab; BRG_EFULL they pass the context; nothing changed
 * asserts: 1 <= count <= rows_max */
BRG_CHECK int brg_infer_feed(struct brg_infer *f, const uint32_t *tokens, uint32_t count);

/* brg_infer_logits - what comes after each of tokens [first, first + count) of the last feed.
 * shape: out [count, vocab]. asserts: they were fed */
void brg_infer_logits(struct brg_infer *f, uint32_t first, uint32_t count, float *out);

/* How the next token is drawn. */
struct brg_infer_sampling {
    float temperature; /* 0: the most likely one, of equals the lowest number */
    float top_p;       /* keep the likeliest until they have this share; 1: all */
    uint32_t top_k;    /* keep that many of the likeliest; 0: all */
};

/* brg_infer_pick - one token: probabilities at `temperature`, then the top_k likeliest of them,
 * then of these as few as hold top_p of what is left, then by chance.
 *
 * shape:  logits [vocab]
 * errors: BRG_ENOMEM; BRG_EINVAL a logit is not finite
 * source: Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020, sec. 3.1 */
BRG_CHECK int brg_infer_pick(const struct brg_infer_sampling *how, struct brg_prng *g,
                             const float *logits, uint32_t vocab, uint32_t *out);

/* Which positions an evaluation counts. */
enum brg_infer_recipe {
    BRG_RECIPE_CHUNKS = 1,  /* llama.cpp's: chunks of `context` tokens, bos put over the first of
                             * each, counted from the middle of a chunk to its end */
    BRG_RECIPE_WINDOWS = 2, /* a run's held-out loss: windows of context + 1 tokens that share one,
                             * every position */
};

struct brg_infer_eval {
    uint32_t recipe;     /* enum brg_infer_recipe */
    uint32_t context;    /* tokens of a chunk, 2 .. spec->context */
    uint32_t bos;        /* put before the text and over each chunk's first token; NONE: not */
    uint64_t chunks_max; /* 0: all */
    /* bytes of token `id`, for bits per byte */
    uint32_t (*bytes_of)(const void *context_of_bytes, uint32_t id);
    const void *context_of_bytes;
};

struct brg_infer_scores {
    double nll;       /* sum of -ln p, nats */
    uint64_t tokens;  /* counted */
    uint64_t bytes;   /* that they stand for */
    uint64_t correct; /* of the tokens, those that had the highest logit */
    uint64_t chunks;
};

/* brg_infer_perplexity - how well the model foretells a text. Perplexity is exp(nll / tokens), bits
 * per byte are nll / ln 2 / bytes.
 *
 * shape:  ids [count], without marks before or behind
 * errors: BRG_EINVAL the text is shorter than one chunk, a token is not below vocab, or the context
 *         is out of range; BRG_ENOMEM
 * asserts: f was made with rows_max >= eval->context */
BRG_CHECK int brg_infer_perplexity(struct brg_infer *f, const struct brg_infer_eval *eval,
                                   const uint32_t *ids, size_t count, struct brg_infer_scores *out,
                                   struct brg_why *why);

#define BRG_INFER_NO_TOKEN UINT32_MAX

#endif
