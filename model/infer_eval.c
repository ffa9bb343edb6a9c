/* infer_eval.c - perplexity, and drawing a token. */
#include "model/infer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ROWS_MAX 64u /* rows of logits at a time */

/* Adds -ln p(target) of one row. */
static void score(const struct brg_infer_eval *eval, const float *logits, uint32_t vocab,
                  uint32_t target, struct brg_infer_scores *out) {
    float highest = logits[0];
    uint32_t best = 0;
    double total = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        if (logits[i] <= highest) continue;
        highest = logits[i];
        best = i;
    }
    for (uint32_t i = 0; i < vocab; i++) total += exp((double)logits[i] - (double)highest);
    out->nll += log(total) - ((double)logits[target] - (double)highest);
    out->correct += best == target;
    out->tokens++;
    if (eval->bytes_of != NULL) out->bytes += eval->bytes_of(eval->context_of_bytes, target);
}

/* One chunk: tokens [inputs], of which those from `first` on are asked for their successor. */
static int score_chunk(struct brg_infer *f, const struct brg_infer_eval *eval, uint32_t vocab,
                       const uint32_t *tokens, uint32_t inputs, uint32_t first, float *logits,
                       struct brg_infer_scores *out) {
    brg_infer_reset(f);
    const int rc = brg_infer_feed(f, tokens, inputs);
    if (rc != BRG_OK) return rc;
    for (uint32_t at = first; at < inputs; at += ROWS_MAX) {
        const uint32_t rows = inputs - at < ROWS_MAX ? inputs - at : ROWS_MAX;
        brg_infer_logits(f, at, rows, logits);
        for (uint32_t r = 0; r < rows; r++)
            score(eval, logits + (size_t)r * vocab, vocab, tokens[at + r + 1], out);
    }
    out->chunks++;
    return BRG_OK;
}

int brg_infer_perplexity(struct brg_infer *f, const struct brg_infer_eval *eval,
                         const uint32_t *ids, size_t count, struct brg_infer_scores *out,
                         struct brg_why *why) {
    const struct brg_model_spec *s = brg_infer_spec(f);
    const uint32_t context = eval->context;
    const int is_windows = eval->recipe == BRG_RECIPE_WINDOWS;
    const size_t marks = !is_windows && eval->bos != BRG_INFER_NO_TOKEN;
    const size_t total = count + marks;
    int rc = BRG_OK;
    memset(out, 0, sizeof *out);
    if (context < 2 || context > s->context)
        return brg_why_set(why, BRG_EINVAL, "the context is %u; it must be between 2 and %u",
                           context, s->context);
    const uint64_t chunks = is_windows ? (total > 0 ? (total - 1) / context : 0) : total / context;
    if (chunks == 0)
        return brg_why_set(
            why, BRG_EINVAL,
            "the text has %zu tokens, fewer than one chunk of %u; give a longer one, "
            "or lower the context",
            count, context + (uint32_t)is_windows);
    uint32_t *chunk = malloc(((size_t)context + 1) * sizeof *chunk);
    float *logits = malloc((size_t)ROWS_MAX * s->vocab * sizeof *logits);
    if (chunk == NULL || logits == NULL) rc = BRG_ENOMEM;
    for (uint64_t c = 0; rc == BRG_OK && c < chunks; c++) {
        if (eval->chunks_max > 0 && c == eval->chunks_max) break;
        const uint32_t size = context + (uint32_t)is_windows;
        const size_t first = c * context; /* in the text with its mark */
        for (uint32_t i = 0; i < size; i++)
            chunk[i] = first + i < marks ? eval->bos : ids[first + i - marks];
        if (marks > 0) chunk[0] = eval->bos;
        rc = score_chunk(f, eval, s->vocab, chunk, size - 1, is_windows ? 0 : context / 2, logits,
                         out);
    }
    free(chunk);
    free(logits);
    if (rc == BRG_EINVAL)
        return brg_why_set(why, rc,
                           "a token is not below the model's %u; give the tokenizer that it was "
                           "trained with",
                           s->vocab);
    return rc == BRG_OK ? BRG_OK : brg_why_set(why, rc, "out of memory");
}

struct candidate {
    double p;
    uint32_t id;
};

static int by_probability(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t likeliest(const float *logits, uint32_t vocab) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Likeliest first: keeps as the sampling says; returns how many, and what they add up to. */
static uint32_t keep(const struct brg_infer_sampling *how, const struct candidate *c,
                     uint32_t count, double *total) {
    double all = 0;
    uint32_t kept = 0;
    if (how->top_k > 0 && how->top_k < count) count = how->top_k;
    for (uint32_t i = 0; i < count; i++) all += c[i].p;
    *total = 0;
    while (kept < count && (kept == 0 || *total < (double)how->top_p * all)) *total += c[kept++].p;
    return kept;
}

int brg_infer_pick(const struct brg_infer_sampling *how, struct brg_prng *g, const float *logits,
                   uint32_t vocab, uint32_t *out) {
    double total = 0, sum = 0;
    const uint32_t best = likeliest(logits, vocab);
    for (uint32_t i = 0; i < vocab; i++)
        if (!isfinite(logits[i])) return BRG_EINVAL;
    *out = best;
    if (!(how->temperature > 0)) return BRG_OK;
    struct candidate *c = malloc(vocab * sizeof *c);
    if (c == NULL) return BRG_ENOMEM;
    for (uint32_t i = 0; i < vocab; i++)
        c[i] = (struct candidate){
            exp(((double)logits[i] - (double)logits[best]) / (double)how->temperature), i};
    qsort(c, vocab, sizeof *c, by_probability);
    const uint32_t kept = keep(how, c, vocab, &total);
    const double at = brg_prng_unit(g) * total;
    *out = c[kept - 1].id;
    for (uint32_t i = 0; i < kept; i++) {
        sum += c[i].p;
        if (at < sum) {
            *out = c[i].id;
            break;
        }
    }
    free(c);
    return BRG_OK;
}
