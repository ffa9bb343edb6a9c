/* shards_fixture.h - what the tests of sharded checkpoints share: a small llama, states of its
 * stages cut out of vectors that are known, and a folder. */
#ifndef BRG_TEST_SHARDS_FIXTURE_H
#define BRG_TEST_SHARDS_FIXTURE_H

#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/shards.h"
#include "recovery/state.h"
#include "tests/unit/coordinator_shell/folder.h"

#define RUN 7u

static char folder[FOLDER_PATH_BYTES];

static inline int make_folder(void **state) {
    (void)state;
    folder_make(folder);
    return 0;
}

static inline int remove_folder(void **state) {
    (void)state;
    folder_remove(folder);
    return 0;
}

static inline struct brg_model_spec llama(uint32_t tied) {
    return (struct brg_model_spec){.type = BRG_MODEL_LLAMA,
                                   .dim = 8,
                                   .layers = 7,
                                   .heads = 2,
                                   .kv_heads = 1,
                                   .hidden = 12,
                                   .context = 16,
                                   .vocab = 256,
                                   .tied = tied,
                                   .rope_theta = 10000.0f,
                                   .norm_eps = 1e-5f};
}

static inline struct brg_shards_about describe(uint64_t step, uint32_t stages) {
    struct brg_shards_about a = {.run = RUN,
                                 .step = step,
                                 .generation = 3,
                                 .seed = UINT64_C(0xfedcba9876543210), /* more than a double has */
                                 .stages = stages,
                                 .moments = 2,
                                 .beta1 = (double)0.9f,
                                 .beta2 = (double)0.999f};
    brg_digest_of("data", 4, &a.data);
    (void)snprintf(a.name, sizeof a.name, "kjv-tiny \"quoted\" \xc3\xa9");
    return a;
}

/* Vector `vector` of the run after `step`: numbers that differ from place to place. */
static inline float value_at(uint64_t step, uint32_t vector, uint64_t i) {
    return (float)step + 1000.0f * (float)vector - (float)i / 4096.0f;
}

/* The state of a stage: from vectors of the whole, as a worker would send it. free() */
static inline uint8_t *make_blob(const struct brg_stage *stage, const struct brg_shards_about *a,
                                 const struct brg_state_header *like, uint64_t *size) {
    struct brg_state_header h = *like;
    h.version = a->step;
    h.params = stage->param_count;
    h.kinds = BRG_STATE_WEIGHTS | (a->moments > 0 ? BRG_STATE_MOMENTS : 0u);
    *size = brg_state_bytes(h.params, a->moments * h.params, h.kinds);
    uint8_t *blob = malloc(*size);
    BRG_ASSERT(blob != NULL);
    brg_state_write_header(&h, blob);
    float *at = (float *)(void *)(blob + BRG_STATE_HEADER_BYTES);
    for (uint32_t v = 0; v <= a->moments; v++)
        for (uint64_t i = 0; i < h.params; i++) *at++ = value_at(a->step, v, stage->offset + i);
    return blob;
}

static const struct brg_state_header plain = {
    .lineage = 2, .own_step = 41, .lr_factor = 1.0, .lr_version = 0};

static inline int put_stage(struct brg_shards_writer *w, const struct brg_model_spec *model,
                            const struct brg_shards_about *a, uint32_t index,
                            const struct brg_state_header *like, struct brg_why *why) {
    struct brg_stage stage;
    uint64_t size = 0;
    BRG_ASSERT(brg_stage_cut(model, a->stages, index, &stage, NULL) == BRG_OK);
    uint8_t *blob = make_blob(&stage, a, like, &size);
    const int rc = brg_shards_put(w, index, blob, size, why);
    free(blob);
    return rc;
}

static inline int save_about(const struct brg_model_spec *model, const struct brg_shards_about *a,
                             struct brg_why *why) {
    struct brg_shards_writer *w = NULL;
    int rc = brg_shards_begin(folder, model, a, &w, why);
    for (uint32_t i = 0; rc == BRG_OK && i < a->stages; i++)
        rc = put_stage(w, model, a, i, &plain, why);
    if (rc == BRG_OK) rc = brg_shards_finish(w, NULL, why);
    brg_shards_abort(&w);
    return rc;
}

static inline int save(uint64_t step, uint32_t stages) {
    const struct brg_model_spec model = llama(0);
    const struct brg_shards_about a = describe(step, stages);
    struct brg_why why = {""};
    const int rc = save_about(&model, &a, &why);
    if (rc != BRG_OK) (void)fprintf(stderr, "says: %s\n", why.text);
    return rc;
}

/* Where the file of a stage lies. shape: out [2 * FOLDER_PATH_BYTES] */
static inline const char *path_of(uint64_t step, const char *file, char *out) {
    (void)snprintf(out, 2 * FOLDER_PATH_BYTES, "%s/ckpt-%010llu/%s", folder,
                   (unsigned long long)step, file);
    return out;
}

#endif
