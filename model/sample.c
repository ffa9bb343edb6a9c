#include "model/sample.h"

#include "base/prng.h"

#include <inttypes.h>
#include <string.h>

#define FEISTEL_ROUNDS 6u

/* Apart, so that two uses of one seed have nothing to do with each other. */
enum stream { STREAM_PERMUTATION = 1, STREAM_PHASE = 2 };

/* The smallest h with 2^(2h) >= n. */
static uint32_t half_bits_for(uint64_t n) {
    uint32_t h = 1;
    while (h < 31 && (UINT64_C(1) << (2 * h)) < n) h++;
    BRG_ASSERT((UINT64_C(1) << (2 * h)) >= n);
    return h;
}

int brg_sampler_init(struct brg_sampler *s, const struct brg_data *data,
                     const struct brg_model_spec *model, const struct brg_batch_spec *batch,
                     uint64_t seed, struct brg_data_error *error) {
    memset(s, 0, sizeof *s);
    const int rc = brg_data_fits(data, model, error);
    if (rc != BRG_OK) return rc;
    if (batch->samples == 0 || batch->samples > BRG_SAMPLE_BATCH_MAX || batch->chunks == 0 ||
        batch->chunks > batch->samples) {
        (void)snprintf(error->text, sizeof error->text,
                       "batch: %" PRIu32 " samples in %" PRIu32
                       " chunks; 1 to %u samples and no more chunks than samples are needed",
                       batch->samples, batch->chunks, BRG_SAMPLE_BATCH_MAX);
        return BRG_EINVAL;
    }
    *s = (struct brg_sampler){
        .data = data,
        .seed = seed,
        .samples_per_pass = data->train.count,
        .held_samples = data->held.count,
        .batch = batch->samples,
        .chunks = batch->chunks,
    };
    if (data->kind == BRG_DATA_TOKENS) {
        /* As many windows as fit at every phase below `context`, or one where only one fits. */
        const uint64_t context = model->context, n = data->train.count;
        s->context = model->context;
        s->samples_per_pass = n >= 2 * context ? (n - context) / context : 1;
        s->phase_max = n - 1 - s->samples_per_pass * context;
        s->held_samples = data->held.count > 0 ? (data->held.count - 1) / context : 0;
    }
    s->half_bits = half_bits_for(s->samples_per_pass);
    return BRG_OK;
}

struct brg_sample_range brg_sample_chunk_range(const struct brg_batch_spec *batch, uint32_t chunk) {
    BRG_ASSERT(batch->chunks > 0 && batch->chunks <= batch->samples);
    BRG_ASSERT(chunk < batch->chunks);
    const uint32_t even = batch->samples / batch->chunks, longer = batch->samples % batch->chunks;
    return (struct brg_sample_range){
        .first = chunk * even + (chunk < longer ? chunk : longer),
        .count = even + (chunk < longer ? 1 : 0),
    };
}

static struct brg_sample_range range_of(const struct brg_sampler *s, uint32_t chunk) {
    const struct brg_batch_spec batch = {.samples = s->batch, .chunks = s->chunks};
    return brg_sample_chunk_range(&batch, chunk);
}

uint32_t brg_sample_chunk_count(const struct brg_sampler *s, uint32_t chunk) {
    return range_of(s, chunk).count;
}

/* One application of the Feistel network: a permutation of [0, 2^(2 half_bits)). */
static uint64_t feistel(uint64_t v, uint32_t half_bits, uint64_t key) {
    const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    uint64_t left = v >> half_bits, right = v & mask;
    for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
        const uint64_t mixed = left ^ (brg_prng_mix(key, round, right, 0) & mask);
        left = right;
        right = mixed;
    }
    return left << half_bits | right;
}

/* The permutation of [0, samples_per_pass) for one pass. The walk returns to its start, which lies
 * below n, after at most all the values above n, so it ends. */
static uint64_t permute(const struct brg_sampler *s, uint64_t pass, uint64_t v) {
    const uint64_t n = s->samples_per_pass;
    const uint64_t key = brg_prng_mix(s->seed, STREAM_PERMUTATION, pass, n);
    const uint64_t walk_max = (UINT64_C(1) << (2 * s->half_bits)) - n + 1;
    BRG_ASSERT(v < n);
    uint64_t walked = 0;
    do {
        BRG_ASSERT(walked < walk_max);
        walked++;
        v = feistel(v, s->half_bits, key);
    } while (v >= n);
    return v;
}

uint64_t brg_sample_index(const struct brg_sampler *s, uint64_t step, uint32_t offset,
                          uint64_t *pass) {
    BRG_ASSERT(step < BRG_SAMPLE_STEP_MAX);
    BRG_ASSERT(offset < s->batch);
    const uint64_t k = step * s->batch + offset; /* below 2^62 + 2^22 */
    *pass = k / s->samples_per_pass;
    return permute(s, *pass, k % s->samples_per_pass);
}

/* Token at which the windows of a pass begin. */
static uint64_t phase_of(const struct brg_sampler *s, uint64_t pass) {
    struct brg_prng g = {.state = brg_prng_mix(s->seed, STREAM_PHASE, pass, s->samples_per_pass)};
    return brg_prng_below(&g, s->phase_max + 1);
}

/* Tokens [first, first + n) of a part as uint16. */
static void copy_tokens(const struct brg_data *d, const struct brg_data_part *part, uint64_t first,
                        uint32_t n, uint16_t *out) {
    BRG_ASSERT(first + n <= part->count);
    if (d->element == BRG_DATA_U16) {
        memcpy(out, part->values + 2 * first, (size_t)n * 2);
        return;
    }
    for (uint32_t i = 0; i < n; i++) out[i] = part->values[first + i];
}

/* Row `row` of a part as floats, and its label. */
static void copy_row(const struct brg_data *d, const struct brg_data_part *part, uint64_t row,
                     float *x, uint32_t *label) {
    const size_t inputs = d->inputs;
    BRG_ASSERT(row < part->count);
    if (d->element == BRG_DATA_F32) {
        memcpy(x, part->values + row * inputs * 4, inputs * 4);
    } else {
        const uint8_t *bytes = part->values + row * inputs;
        for (size_t i = 0; i < inputs; i++) x[i] = (float)bytes[i] / 255.0f;
    }
    memcpy(label, part->labels + 4 * row, sizeof *label);
}

/* Puts one sample into place `slot`; `at` is its row, or its first token. */
static void fill(const struct brg_sampler *s, const struct brg_data_part *part, uint64_t at,
                 uint32_t slot, const struct brg_sample_buffer *b) {
    if (s->data->kind == BRG_DATA_TOKENS) {
        const uint32_t n = s->context + 1;
        copy_tokens(s->data, part, at, n, b->tokens + (size_t)slot * n);
    } else {
        copy_row(s->data, part, at, b->x + (size_t)slot * s->data->inputs, b->labels + slot);
    }
}

static struct brg_batch batch_of(const struct brg_sampler *s, uint32_t count,
                                 const struct brg_sample_buffer *b) {
    const int tokens = s->data->kind == BRG_DATA_TOKENS;
    BRG_ASSERT(count >= 1 && count <= b->capacity);
    BRG_ASSERT(tokens ? b->tokens != NULL : b->x != NULL && b->labels != NULL);
    return (struct brg_batch){
        .samples = count,
        .tokens = tokens ? b->tokens : NULL,
        .x = tokens ? NULL : b->x,
        .labels = tokens ? NULL : b->labels,
    };
}

void brg_sample_chunk(const struct brg_sampler *s, struct brg_sample_at at,
                      const struct brg_sample_buffer *buffer, struct brg_batch *out) {
    const struct brg_sample_range range = range_of(s, at.chunk);
    BRG_ASSERT(at.first <= range.count && at.count <= range.count - at.first);
    *out = batch_of(s, at.count, buffer);
    for (uint32_t i = 0; i < at.count; i++) {
        uint64_t pass = 0;
        uint64_t index = brg_sample_index(s, at.step, range.first + at.first + i, &pass);
        if (s->context > 0) index = phase_of(s, pass) + index * s->context;
        fill(s, &s->data->train, index, i, buffer);
    }
}

void brg_sample_held(const struct brg_sampler *s, uint64_t first, uint32_t count,
                     const struct brg_sample_buffer *buffer, struct brg_batch *out) {
    BRG_ASSERT(first <= s->held_samples && count <= s->held_samples - first);
    *out = batch_of(s, count, buffer);
    const uint64_t stride = s->context > 0 ? s->context : 1;
    for (uint32_t i = 0; i < count; i++) fill(s, &s->data->held, (first + i) * stride, i, buffer);
}
