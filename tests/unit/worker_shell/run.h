/* run.h - a small real run for the tests of this folder: text, a llama of some thousand parameters,
 * and the share of a task computed the plain way, to compare with. */
#ifndef TESTS_WORKER_SHELL_RUN_H
#define TESTS_WORKER_SHELL_RUN_H

#include "kernels/kernels.h"
#include "model/model.h"
#include "worker/shell/gradient.h"

#include <string.h>

#define RUN_ID 77u
#define RUN_TEXT_BYTES 6000u

struct test_run {
    struct brg_run_setup setup;
    struct brg_data data;
    uint8_t text[RUN_TEXT_BYTES];
    uint8_t *blob;
    size_t blob_bytes;
    uint64_t param_count;
    float *params;
};

static inline void test_run_open(struct test_run *r) {
    static const char phrase[] = "a line of volunteers passes buckets along and closes the gap; ";
    memset(r, 0, sizeof *r);
    for (uint32_t i = 0; i < RUN_TEXT_BYTES; i++)
        r->text[i] = (uint8_t)(phrase[(i * i / 7 + i) % (sizeof phrase - 1)]);
    const struct brg_data_spec spec = {.format = BRG_DATA_TEXT, .held_out = 0.1};
    const struct brg_data_files files = {
        .train = {.name = "text", .data = r->text, .size_bytes = sizeof r->text}};
    struct brg_data_error error;
    assert_int_equal(brg_data_open_memory(&spec, &files, 1 << 20, &r->data, &error), BRG_OK);
    r->blob_bytes = brg_data_pack_bytes(&r->data);
    r->blob = malloc(r->blob_bytes);
    assert_non_null(r->blob);
    assert_int_equal(brg_data_pack(&r->data, r->blob, r->blob_bytes), BRG_OK);
    r->setup = (struct brg_run_setup){
        .run = RUN_ID,
        .models = 1,
        .data_seeds = {5},
        .model = {.type = BRG_MODEL_LLAMA,
                  .dim = 16,
                  .layers = 2,
                  .heads = 2,
                  .kv_heads = 1,
                  .hidden = 24,
                  .context = 16,
                  .vocab = 256,
                  .rope_theta = 10000,
                  .norm_eps = 1e-5f},
        .batch = {.samples = 22, .chunks = 8, .microbatch = 2}, /* chunks of 3 and of 2 samples */
        .data_digest = r->data.digest,
    };
    r->param_count = brg_model_param_count(&r->setup.model);
    r->params = malloc(r->param_count * sizeof(float));
    assert_non_null(r->params);
    brg_model_init(&r->setup.model, 3, r->params);
}

static inline void test_run_close(struct test_run *r) {
    brg_data_close(&r->data);
    free(r->blob);
    free(r->params);
}

/* A task of step `step` with `count` chunks from `first` on, going round. */
static inline struct brg_msg_task test_run_task(const struct test_run *r, uint64_t step,
                                                uint32_t first, uint32_t count) {
    struct brg_msg_task task = {.run = r->setup.run,
                                .step = step,
                                .attempt = 1,
                                .unit = 4,
                                .version = step - 1,
                                .round = step,
                                .since = 1,
                                .params_bytes = r->param_count * sizeof(float),
                                .chunk_count = count};
    for (uint32_t i = 0; i < count; i++) task.chunks[i] = (first + 3 * i) % r->setup.batch.chunks;
    return task;
}

/* The share of `task` the plain way: each chunk's gradient, then the weighted sum in double,
 * rounded after each chunk. shape: share [param_count]; losses [chunk_count] */
static inline void test_run_share(const struct test_run *r, const struct brg_msg_task *task,
                                  float *share, struct brg_chunk_loss *losses) {
    const struct brg_model_spec *model = &r->setup.model;
    const uint32_t micro = r->setup.batch.microbatch;
    const uint32_t models = r->setup.models;
    struct brg_sampler sampler;
    struct brg_data_error error;
    struct brg_batch batch;
    assert_int_equal(brg_sampler_init(&sampler, &r->data, model, &r->setup.batch,
                                      r->setup.data_seeds[(task->step - 1) % models], &error),
                     BRG_OK);
    void *memory = NULL;
    assert_int_equal(
        posix_memalign(&memory, BRG_MODEL_ALIGN, brg_model_workspace_bytes(model, micro)), 0);
    struct brg_model_workspace *w =
        brg_model_workspace_init(memory, model, micro, brg_kernels_pick());
    float *gradient = malloc(r->param_count * sizeof(float));
    uint16_t *tokens = malloc(micro * (model->context + 1) * sizeof(uint16_t));
    const struct brg_sample_buffer buffer = {.capacity = micro, .tokens = tokens};
    for (uint32_t k = 0; k < task->chunk_count; k++) {
        struct brg_model_sums sums = {0};
        const uint32_t samples = brg_sample_chunk_count(&sampler, task->chunks[k]);
        memset(gradient, 0, r->param_count * sizeof(float));
        for (uint32_t first = 0; first < samples; first += micro) {
            const struct brg_sample_at at = {.step = (task->step - 1) / models,
                                             .chunk = task->chunks[k],
                                             .first = first,
                                             .count =
                                                 samples - first < micro ? samples - first : micro};
            brg_sample_chunk(&sampler, at, &buffer, &batch);
            assert_int_equal(brg_model_grad(w, r->params, &batch, gradient, &sums), BRG_OK);
        }
        const double c = task->coefficient_count > 0 ? task->coefficients[k] : 1;
        for (uint64_t i = 0; i < r->param_count; i++)
            share[i] = (float)((k > 0 ? (double)share[i] : 0) + c * (double)gradient[i]);
        losses[k] = (struct brg_chunk_loss){
            .chunk = task->chunks[k], .loss = sums.loss, .count = sums.count};
    }
    free(tokens);
    free(gradient);
    free(memory);
}

#endif
