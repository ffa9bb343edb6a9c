/* stages.h - all holders of a small pipeline in one process, driven through their engines as seats
 * of a worker drive them: one forward, one backward, with no wire between them. */
#ifndef TESTS_WORKER_SHELL_STAGES_H
#define TESTS_WORKER_SHELL_STAGES_H

#include "tests/unit/worker_shell/run.h"
#include "worker/shell/stage_engine.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define STAGES_MICROBATCHES 8u
#define STAGES_LANES_MAX 2u
#define STAGES_MAX 4u
#define STAGES_WAIT_MS 20000

struct holder {
    struct brg_engine *engine;
    struct brg_stage cut;
    uint32_t stage, lane, lanes; /* its first own lane, its own as bits */
};

struct stages {
    struct test_run run;
    struct brg_pool *pool;
    char path[64];
    struct brg_msg_line line;
    uint32_t holders_a_stage;
    uint64_t generation;
    struct holder holders[STAGES_MAX][STAGES_LANES_MAX];
    struct brg_stage_step sums[STAGES_MAX][STAGES_LANES_MAX]; /* of the last step */
    double wire_error;                                        /* largest so far */
};

static inline struct brg_msg_line stages_line(uint32_t stages, uint32_t lanes) {
    return (struct brg_msg_line){.stages = stages,
                                 .lanes = lanes,
                                 .microbatches = STAGES_MICROBATCHES,
                                 .optimizer = {.type = BRG_OPTIMIZER_ADAMW,
                                               .schedule = BRG_SCHEDULE_COSINE,
                                               .warmup_steps = 2,
                                               .total_steps = 20,
                                               .lr = 0.02f,
                                               .lr_min_ratio = 0.1f,
                                               .beta1 = 0.9f,
                                               .beta2 = 0.99f,
                                               .eps = 1e-8f,
                                               .weight_decay = 0.1f},
                                 .shadow_every = 3,
                                 .shadow_int8 = 1};
}

static inline void stages_run_open(struct stages *t) {
    memset(t, 0, sizeof *t);
    test_run_open(&t->run);
    t->run.setup.model.layers = 5;
    t->run.setup.batch =
        (struct brg_batch_spec){.samples = 22, .chunks = STAGES_MICROBATCHES, .microbatch = 3};
    free(t->run.params);
    t->run.param_count = brg_model_param_count(&t->run.setup.model);
    t->run.params = malloc(t->run.param_count * sizeof(float));
    assert_non_null(t->run.params);
    brg_model_init(&t->run.setup.model, 3, t->run.params);
    assert_int_equal(brg_pool_create(&t->pool, 1u << 30), BRG_OK);
    (void)snprintf(t->path, sizeof t->path, "/tmp/brg-stages-XXXXXX");
    const int fd = mkstemp(t->path);
    assert_true(fd >= 0);
    assert_true(write(fd, t->run.blob, t->run.blob_bytes) == (ssize_t)t->run.blob_bytes);
    (void)close(fd);
}

static inline void stages_run_close(struct stages *t) {
    struct brg_pool_stats stats;
    brg_pool_stats_read(t->pool, &stats);
    assert_int_equal(stats.held_bytes, 0); /* every buffer was given back */
    brg_pool_destroy(&t->pool);
    (void)unlink(t->path);
    test_run_close(&t->run);
}

static inline struct brg_engine_answer engine_wait(struct brg_engine *e) {
    struct brg_engine_answer a;
    struct pollfd p = {.fd = brg_engine_fd(e), .events = POLLIN};
    assert_int_equal(poll(&p, 1, STAGES_WAIT_MS), 1);
    assert_int_equal(brg_engine_next(e, &a), BRG_OK);
    return a;
}

static inline struct brg_engine_answer engine_call(struct brg_engine *e,
                                                   struct brg_engine_command c) {
    brg_engine_do(e, &c);
    const struct brg_engine_answer a = engine_wait(e);
    assert_int_equal(a.what, c.what);
    assert_true(a.generation == c.generation && a.step == c.step && a.tag == c.tag);
    return a;
}

static inline void engine_must(struct brg_engine *e, struct brg_engine_command c) {
    const struct brg_engine_answer a = engine_call(e, c);
    assert_int_equal(a.code, BRG_OK);
    assert_null(a.out[0]);
    assert_null(a.out[1]);
}

/* A whole state out of floats. shape: moments [moments] or NULL: weights only */
static inline struct brg_buffer *state_new(struct stages *t, const struct brg_stage *cut,
                                           const float *weights, const float *moments,
                                           uint64_t version) {
    struct brg_buffer *b = NULL;
    const uint32_t kinds = BRG_STATE_WEIGHTS | (moments != NULL ? BRG_STATE_MOMENTS : 0);
    const struct brg_state_header h = {.version = version,
                                       .own_step = version,
                                       .lr_factor = 1,
                                       .params = cut->param_count,
                                       .kinds = kinds};
    assert_int_equal(brg_pool_get(t->pool, brg_stage_blob_bytes(&t->line, cut, kinds), &b), BRG_OK);
    uint8_t *to = b->data;
    brg_state_write_header(&h, to);
    memcpy(to + BRG_STATE_HEADER_BYTES, weights, cut->param_count * sizeof(float));
    if (moments != NULL)
        memcpy(to + BRG_STATE_HEADER_BYTES + cut->param_count * sizeof(float), moments,
               brg_stage_moments(&t->line, cut) * sizeof(float));
    return b;
}

static inline void holder_open(struct stages *t, struct holder *h, uint32_t stage, uint32_t lanes) {
    struct brg_why why;
    h->stage = stage;
    h->lanes = lanes;
    h->lane = lanes & 1u ? 0 : 1;
    assert_int_equal(brg_engine_create(t->pool, &h->engine, &why), BRG_OK);
    const struct brg_stage_setup setup = {.run = t->run.setup, .line = t->line, .stage = stage};
    assert_int_equal(brg_stage_cut(&t->run.setup.model, t->line.stages, stage, &h->cut, &why),
                     BRG_OK);
    brg_engine_open(h->engine, &setup, t->path);
    assert_int_equal(engine_wait(h->engine).code, BRG_OK);
}

/* Everybody with the run's first weights, version 0. */
static inline void stages_open(struct stages *t, const struct brg_msg_line *line) {
    t->line = *line;
    t->holders_a_stage = line->lanes;
    for (uint32_t s = 0; s < line->stages; s++) {
        for (uint32_t l = 0; l < t->holders_a_stage; l++) {
            struct holder *h = &t->holders[s][l];
            holder_open(t, h, s, 1u << l);
            struct brg_buffer *b = state_new(t, &h->cut, t->run.params + h->cut.offset, NULL, 0);
            engine_must(h->engine, (struct brg_engine_command){
                                       .what = BRG_ENGINE_LOAD, .lineage = 1 + s, .in = {b}});
        }
    }
}

static inline void stages_close(struct stages *t) {
    for (uint32_t s = 0; s < STAGES_MAX; s++)
        for (uint32_t l = 0; l < STAGES_LANES_MAX; l++)
            brg_engine_destroy(&t->holders[s][l].engine);
}

/* What has been computed and not been used yet. */
struct under_way {
    struct brg_buffer *act[STAGES_MAX][STAGES_MICROBATCHES]; /* out of stage s */
    struct brg_buffer *grad[STAGES_MAX][STAGES_MICROBATCHES];
    uint8_t forward[STAGES_MAX][STAGES_MICROBATCHES], backward[STAGES_MAX][STAGES_MICROBATCHES];
};

static inline struct brg_engine_command step_command(const struct stages *t, uint32_t what,
                                                     uint64_t step, uint32_t index) {
    return (struct brg_engine_command){
        .what = what, .generation = t->generation, .step = step, .index = index};
}

static inline int try_backward(struct stages *t, struct under_way *u, uint64_t step, uint32_t s,
                               uint32_t b) {
    const int is_last = s + 1 == t->line.stages;
    if (u->backward[s][b] || !u->forward[s][b]) return 0;
    if (!is_last && !u->backward[s + 1][b]) return 0;
    struct brg_engine_command c = step_command(t, BRG_ENGINE_BACKWARD, step, b);
    if (!is_last) c.in[0] = u->grad[s + 1][b];
    const struct brg_engine_answer a = engine_call(t->holders[s][b % t->line.lanes].engine, c);
    assert_int_equal(a.code, BRG_OK);
    assert_true((a.out[0] == NULL) == (s == 0));
    u->grad[s][b] = a.out[0];
    u->backward[s][b] = 1;
    return 1;
}

static inline int try_forward(struct stages *t, struct under_way *u, uint64_t step, uint32_t s,
                              uint32_t b) {
    uint32_t in_flight = 0;
    if (u->forward[s][b] || (s > 0 && !u->forward[s - 1][b])) return 0;
    for (uint32_t i = b % t->line.lanes; i < b; i += t->line.lanes) {
        if (!u->forward[s][i]) return 0;
        in_flight += !u->backward[s][i];
    }
    if (in_flight >= t->line.stages - s) return 0;
    struct brg_engine_command c = step_command(t, BRG_ENGINE_FORWARD, step, b);
    if (s > 0) c.in[0] = u->act[s - 1][b];
    const struct brg_engine_answer a = engine_call(t->holders[s][b % t->line.lanes].engine, c);
    assert_int_equal(a.code, BRG_OK);
    assert_true((a.out[0] == NULL) == (s + 1 == t->line.stages));
    u->act[s][b] = a.out[0];
    u->forward[s][b] = 1;
    return 1;
}

/* Own lanes go to the siblings, then all lanes are added. */
static inline void stages_reduce(struct stages *t, uint64_t step) {
    for (uint32_t s = 0; s < t->line.stages; s++) {
        for (uint32_t l = 0; l < t->line.lanes; l++) {
            for (uint32_t o = 0; t->line.lanes > 1 && o < t->line.lanes; o++) {
                if (o == l) continue;
                struct brg_engine_answer a =
                    engine_call(t->holders[s][l].engine, step_command(t, BRG_ENGINE_LANE, step, l));
                assert_int_equal(a.code, BRG_OK);
                struct brg_engine_command c = step_command(t, BRG_ENGINE_TAKE_LANE, step, l);
                c.in[0] = a.out[0];
                engine_must(t->holders[s][o].engine, c);
            }
        }
        for (uint32_t l = 0; l < t->line.lanes; l++) {
            const struct brg_engine_answer a =
                engine_call(t->holders[s][l].engine, step_command(t, BRG_ENGINE_REDUCE, step, 0));
            assert_int_equal(a.code, BRG_OK);
            t->sums[s][l] = a.sums;
            if (a.sums.wire_error > t->wire_error) t->wire_error = a.sums.wire_error;
            brg_buffer_release(a.out[0]);
            assert_true(brg_digest_equal(&a.sums.digest, &t->sums[s][0].digest));
        }
    }
}

/* The gradient of step `step`, not applied. Backwards go first, as in 1F1B. */
static inline void stages_compute(struct stages *t, uint64_t step) {
    struct under_way u;
    uint32_t moved = 1;
    memset(&u, 0, sizeof u);
    t->generation++;
    for (uint32_t s = 0; s < t->line.stages; s++)
        for (uint32_t l = 0; l < t->line.lanes; l++) {
            struct brg_engine_command c = step_command(t, BRG_ENGINE_BEGIN, step, 0);
            c.lanes = 1u << l;
            engine_must(t->holders[s][l].engine, c);
        }
    while (moved > 0) {
        moved = 0;
        for (uint32_t s = 0; s < t->line.stages; s++)
            for (uint32_t l = 0; l < t->line.lanes; l++) {
                uint32_t did = 0;
                for (uint32_t b = l; !did && b < STAGES_MICROBATCHES; b += t->line.lanes)
                    did = (uint32_t)try_backward(t, &u, step, s, b);
                for (uint32_t b = l; !did && b < STAGES_MICROBATCHES; b += t->line.lanes)
                    did = (uint32_t)try_forward(t, &u, step, s, b);
                moved += did;
            }
    }
    for (uint32_t b = 0; b < STAGES_MICROBATCHES; b++) assert_int_equal(u.backward[0][b], 1);
    stages_reduce(t, step);
}

static inline void stages_apply(struct stages *t, uint64_t step) {
    for (uint32_t s = 0; s < t->line.stages; s++) {
        struct brg_digest first = {{0}};
        for (uint32_t l = 0; l < t->line.lanes; l++) {
            struct brg_engine_command c = step_command(t, BRG_ENGINE_APPLY, step, 0);
            c.clip = 1;
            const struct brg_engine_answer a = engine_call(t->holders[s][l].engine, c);
            assert_int_equal(a.code, BRG_OK);
            assert_true(a.version == step);
            if (l == 0) first = a.digest;
            assert_true(brg_digest_equal(&a.digest, &first)); /* siblings are the same */
        }
    }
}

static inline void stages_step(struct stages *t, uint64_t step) {
    stages_compute(t, step);
    stages_apply(t, step);
}

/* A frozen state; the caller's. */
static inline struct brg_buffer *holder_freeze(struct holder *h, uint32_t kinds) {
    const struct brg_engine_answer a = engine_call(
        h->engine, (struct brg_engine_command){.what = BRG_ENGINE_FREEZE, .kinds = kinds});
    assert_int_equal(a.code, BRG_OK);
    assert_non_null(a.out[0]);
    return a.out[0];
}

static inline const float *state_floats(const struct brg_buffer *b) {
    return (const float *)(const void *)((const uint8_t *)b->data + BRG_STATE_HEADER_BYTES);
}

#endif
