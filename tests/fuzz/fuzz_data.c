/* fuzz_data.c - arbitrary bytes into every parser of data files and into the packed form.
 *
 * The first byte picks the parser and how the rest is cut; then the data set, if it opens, is
 * packed, opened again and sampled: whatever opens has to work to the end. */
#include "model/data.h"
#include "model/data_parse.h"
#include "model/ngram.h"
#include "model/sample.h"

#include <string.h>

#define EXPANDED_MAX (UINT64_C(1) << 20)
#define CONTEXT 4u
#define VALUES_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct brg_data_error error;

/* Packs and opens again: the same digest, or there is a fault. */
static void round_trip(const struct brg_data *d) {
    struct brg_data again;
    const size_t size = (size_t)brg_data_pack_bytes(d);
    uint8_t *packed = malloc(size);
    if (packed == NULL) return;
    BRG_ASSERT(brg_data_pack(d, packed, size) == BRG_OK);
    BRG_ASSERT(brg_data_open_blob("again", packed, size, &again, &error) == BRG_OK);
    BRG_ASSERT(brg_digest_equal(&again.digest, &d->digest));
    brg_data_close(&again);
    free(packed);
}

static void sample(const struct brg_data *d) {
    static uint16_t tokens[CONTEXT + 1];
    static float x[VALUES_MAX];
    uint32_t label = 0;
    const struct brg_model_spec model = {
        .type = d->kind == BRG_DATA_TOKENS ? BRG_MODEL_LLAMA : BRG_MODEL_SOFTMAX,
        .vocab = 65536,
        .context = CONTEXT,
        .inputs = d->inputs,
        .classes = d->classes,
    };
    const struct brg_batch_spec batch = {.samples = 7, .chunks = 2, .microbatch = 1};
    const struct brg_sample_buffer buffer = {
        .capacity = 1, .tokens = tokens, .x = x, .labels = &label};
    struct brg_sampler s;
    struct brg_batch out;
    if (d->inputs > VALUES_MAX) return;
    if (brg_sampler_init(&s, d, &model, &batch, 1, &error) != BRG_OK) return;
    for (uint64_t step = 0; step < 3; step++)
        for (uint32_t chunk = 0; chunk < 2; chunk++) {
            const struct brg_sample_at at = {.step = step, .chunk = chunk, .first = 2, .count = 1};
            brg_sample_chunk(&s, at, &buffer, &out);
            if (d->kind == BRG_DATA_ROWS) BRG_ASSERT(label < d->classes);
        }
    if (s.held_samples > 0) brg_sample_held(&s, s.held_samples - 1, 1, &buffer, &out);
}

/* Makes the digest fit, so that the checks behind it are reached. */
static void forge_digest(uint8_t *blob, size_t size) {
    struct brg_hasher h;
    struct brg_digest digest;
    if (size < BRG_DATA_BLOB_HEADER_BYTES) return;
    brg_hasher_init(&h);
    brg_hasher_update(&h, blob, 64);
    brg_hasher_update(&h, blob + BRG_DATA_BLOB_HEADER_BYTES, size - BRG_DATA_BLOB_HEADER_BYTES);
    brg_hasher_final(&h, &digest);
    memcpy(blob + 64, digest.bytes, sizeof digest.bytes);
}

static int open_any(uint8_t choice, uint8_t *rest, size_t size, struct brg_data *d) {
    static const double shares[] = {0, 0.05, 0.25, 0.5};
    const uint32_t format = choice & 7;
    const struct brg_data_spec spec = {.format = format, .held_out = shares[choice >> 6]};
    struct brg_data_files f = {.train = {"a", rest, size}};
    if (format == 0 || brg_data_is_blob(rest, size)) {
        if ((choice & 8) == 0) forge_digest(rest, size);
        return brg_data_open_blob("blob", rest, size, d, &error);
    }
    /* Further files are cut off the end; its last byte says how much. */
    const size_t tail = size > 1 ? rest[size - 1] % size : 0;
    if (format == BRG_DATA_IDX) {
        f.train.size_bytes = size - tail;
        f.train_labels = (struct brg_data_bytes){"b", rest + size - tail, tail};
    } else if ((choice & 8) != 0) {
        f.train.size_bytes = size - tail;
        f.test = (struct brg_data_bytes){"b", rest + size - tail, tail};
    }
    return brg_data_open_memory(&spec, &f, EXPANDED_MAX, d, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct brg_data d;
    struct brg_ngram_losses losses;
    if (size < 2) return 0;
    uint8_t *rest = malloc(size - 1); /* its own block: a byte too far is seen */
    if (rest == NULL) return 0;
    memcpy(rest, data + 1, size - 1);
    const int rc = open_any(data[0], rest, size - 1, &d);
    if (rc == BRG_OK) {
        round_trip(&d);
        sample(&d);
        if (brg_ngram_measure(&d, &losses) == BRG_OK) BRG_ASSERT(losses.order1 >= 0);
        brg_data_close(&d);
    } else {
        BRG_ASSERT(error.text[0] != '\0');
        BRG_ASSERT(d.heap_count == 0);
    }
    free(rest);
    return 0;
}
