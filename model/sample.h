/* sample.h - which samples a chunk holds, and how they get into a microbatch.
 *
 * (run seed, step, chunk index) alone decides: no state is kept from call to call, so any worker,
 * at any time, in any order, fills the same bytes.
 *
 *   sample number   k = step * batch + offset       offset in [0, batch)
 *   pass over data  p = k / samples_per_pass
 *   index in it     i = permutation(seed, p)(k % samples_per_pass)
 *   chunk c of C    offsets [first, first + count): as even as can be, the longer chunks first
 *
 * Rows:   sample i is row i of the train part.
 * Tokens: sample i is the window of context + 1 tokens from token phase(seed, p) + i * context on.
 *         Neighbouring windows share one token, which is the last target of one and the first input
 * of the next, so within a pass no target comes twice. The phase moves from pass to pass, so that
 *         the windows are cut elsewhere and no token is always left out at an end.
 * Every sample is used exactly once a pass, also where a pass ends inside a batch. A batch larger
 * than a pass holds some samples more than once.
 *
 * The permutation is a balanced Feistel network on the next even number of bits, walked until it
 * lands below samples_per_pass (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
 * 2002, methods "generalized Feistel" and "cycle walking").
 *
 * Thread-safe: all is read-only but the caller's buffers. Nothing is allocated. */
#ifndef BRG_SAMPLE_H
#define BRG_SAMPLE_H

#include "model/batch.h"
#include "model/data.h"
#include "model/spec.h"

#define BRG_SAMPLE_STEP_MAX (UINT64_C(1) << 40)  /* steps a run can have */
#define BRG_SAMPLE_BATCH_MAX (UINT32_C(1) << 22) /* samples a global batch can have */

struct brg_sampler {
    const struct brg_data *data;
    uint64_t seed;
    uint64_t samples_per_pass; /* >= 1 */
    uint64_t held_samples;     /* 0: nothing is held out */
    uint64_t phase_max;        /* tokens: the phase is in [0, phase_max] */
    uint32_t context;          /* tokens: of a window; rows: 0 */
    uint32_t batch, chunks;
    uint32_t half_bits; /* of the Feistel network: its domain has 2 * half_bits bits */
};

/* Offsets of a batch. */
struct brg_sample_range {
    uint32_t first, count;
};

/* Samples of one chunk: `first` counts from the chunk's own first. */
struct brg_sample_at {
    uint64_t step;
    uint32_t chunk;
    uint32_t first, count;
};

/* The caller's memory for `capacity` samples.
 *
 * shape: tokens [capacity, context + 1] for tokens, else NULL; x [capacity, inputs] and labels
 *        [capacity] for rows, else NULL */
struct brg_sample_buffer {
    uint32_t capacity;
    uint16_t *tokens;
    float *x;
    uint32_t *labels;
};

/* brg_sampler_init - prepares to sample `data` for runs of `model` and `batch`.
 *
 * own:    borrows data as long as the sampler is used; nothing to give back
 * errors: BRG_EINVAL brg_data_fits refuses, or the batch has no samples, more than
 *         BRG_SAMPLE_BATCH_MAX, or fewer than chunks; error->text says which */
BRG_CHECK int brg_sampler_init(struct brg_sampler *s, const struct brg_data *data,
                               const struct brg_model_spec *model,
                               const struct brg_batch_spec *batch, uint64_t seed,
                               struct brg_data_error *error);

/* brg_sample_chunk_range - the offsets that `chunk` of `chunks` holds in a batch of `batch`.
 * asserts: chunk < chunks <= batch */
struct brg_sample_range brg_sample_chunk_range(const struct brg_batch_spec *batch, uint32_t chunk);

/* brg_sample_chunk_count - samples in `chunk`. asserts: chunk < s->chunks */
uint32_t brg_sample_chunk_count(const struct brg_sampler *s, uint32_t chunk);

/* brg_sample_index - which sample of its pass stands at `offset` of step's batch, and which pass.
 * asserts: step < BRG_SAMPLE_STEP_MAX, offset < s->batch. cost: O(1) expected */
uint64_t brg_sample_index(const struct brg_sampler *s, uint64_t step, uint32_t offset,
                          uint64_t *pass);

/* brg_sample_chunk - fills samples [at.first, at.first + at.count) of a chunk; a microbatch.
 *
 * shape:   out points into `buffer`, samples = at.count
 * asserts: the chunk holds them, 1 <= at.count <= buffer->capacity
 * cost:    one copy of each token or value */
void brg_sample_chunk(const struct brg_sampler *s, struct brg_sample_at at,
                      const struct brg_sample_buffer *buffer, struct brg_batch *out);

/* brg_sample_held - fills held-out samples [first, first + count), in order of the data: rows, or
 * windows from token 0 on, `context` tokens apart, so that each target comes once.
 * asserts: first + count <= s->held_samples, 1 <= count <= buffer->capacity */
void brg_sample_held(const struct brg_sampler *s, uint64_t first, uint32_t count,
                     const struct brg_sample_buffer *buffer, struct brg_batch *out);

#endif
