/* test_stage_exact - stages on their threads make the steps that the whole model makes, to the bit,
 * for every cut and with siblings; a state that moved goes on with the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker_shell/stages.h"

#include <math.h>

#define STEPS 3u

/* The whole model, without any stage: each lane's sum by itself, then lane after lane. */
struct whole {
    float *params, *moments, *lanes[STAGES_LANES_MAX];
    double loss[STEPS + 1];
};

static double whole_gradient(struct stages *t, struct whole *w, uint64_t step, uint32_t lanes,
                             uint64_t *count) {
    const struct brg_model_spec *model = &t->run.setup.model;
    struct brg_sampler sampler;
    struct brg_data_error error;
    struct brg_model_sums sums[STAGES_LANES_MAX] = {{0}};
    uint16_t tokens[3 * 17];
    void *memory = NULL;
    assert_int_equal(brg_sampler_init(&sampler, &t->run.data, model, &t->run.setup.batch,
                                      t->run.setup.data_seeds[0], &error),
                     BRG_OK);
    assert_int_equal(posix_memalign(&memory, BRG_MODEL_ALIGN, brg_model_workspace_bytes(model, 3)),
                     0);
    struct brg_model_workspace *space = brg_model_workspace_init(memory, model, 3, NULL);
    const struct brg_sample_buffer buffer = {.capacity = 3, .tokens = tokens};
    for (uint32_t l = 0; l < lanes; l++) memset(w->lanes[l], 0, t->run.param_count * sizeof(float));
    for (uint32_t b = 0; b < STAGES_MICROBATCHES; b++) {
        struct brg_batch batch;
        const struct brg_sample_at at = {
            .step = step - 1, .chunk = b, .count = brg_sample_chunk_count(&sampler, b)};
        brg_sample_chunk(&sampler, at, &buffer, &batch);
        assert_int_equal(
            brg_model_grad(space, w->params, &batch, w->lanes[b % lanes], &sums[b % lanes]),
            BRG_OK);
    }
    for (uint32_t l = 1; l < lanes; l++)
        brg_kernels_pick()->add(t->run.param_count, w->lanes[l], w->lanes[0]);
    free(memory);
    double loss = 0;
    *count = 0;
    for (uint32_t l = 0; l < lanes; l++) {
        loss += sums[l].loss;
        *count += sums[l].count;
    }
    return loss;
}

static void whole_curve(struct stages *t, const struct brg_msg_line *line, struct whole *w) {
    const struct brg_optimizer_spec spec = brg_stage_optimizer(&line->optimizer);
    const uint64_t n = t->run.param_count;
    w->params = malloc(n * sizeof(float));
    w->moments = calloc(2 * n, sizeof(float));
    for (uint32_t l = 0; l < STAGES_LANES_MAX; l++) w->lanes[l] = malloc(n * sizeof(float));
    memcpy(w->params, t->run.params, n * sizeof(float));
    for (uint64_t step = 1; step <= STEPS; step++) {
        struct brg_optimizer_report report;
        uint64_t count = 0;
        w->loss[step] = whole_gradient(t, w, step, line->lanes, &count);
        assert_int_equal(brg_optimizer_step(&spec, &t->run.setup.model, step, count, w->lanes[0],
                                            w->moments, w->params, &report),
                         BRG_OK);
        assert_true(report.clip == 1);
    }
}

static void whole_drop(struct whole *w) {
    free(w->params);
    free(w->moments);
    for (uint32_t l = 0; l < STAGES_LANES_MAX; l++) free(w->lanes[l]);
}

/* Every holder's weights and moments are those of the whole. */
static void expect_whole(struct stages *t, const struct whole *w) {
    for (uint32_t s = 0; s < t->line.stages; s++) {
        for (uint32_t l = 0; l < t->line.lanes; l++) {
            struct holder *h = &t->holders[s][l];
            struct brg_state_header header;
            const uint64_t n = h->cut.param_count;
            struct brg_buffer *b = holder_freeze(h, BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS);
            assert_int_equal(brg_state_read_header(b->data, b->size_bytes, &header), BRG_OK);
            assert_true(header.version == STEPS && header.own_step == STEPS);
            assert_memory_equal(state_floats(b), w->params + h->cut.offset, n * sizeof(float));
            for (uint32_t m = 0; m < 2; m++)
                assert_memory_equal(state_floats(b) + (1 + m) * n,
                                    w->moments + m * t->run.param_count + h->cut.offset,
                                    n * sizeof(float));
            brg_buffer_release(b);
        }
    }
}

static double last_loss(const struct stages *t) {
    double loss = 0;
    for (uint32_t l = 0; l < t->line.lanes; l++)
        loss += t->sums[t->line.stages - 1][l].loss_sums[l];
    return loss;
}

static void stages_f32__make_the_steps_of_the_whole_model_to_the_bit(void **state) {
    (void)state;
    static const uint32_t cuts[] = {1, 2, 4};
    struct stages t;
    stages_run_open(&t);
    for (uint32_t lanes = 1; lanes <= 2; lanes++) {
        struct whole w = {0};
        const struct brg_msg_line first = stages_line(1, lanes);
        whole_curve(&t, &first, &w);
        assert_true(w.loss[STEPS] < w.loss[1]); /* there is something to compare */
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            const struct brg_msg_line line = stages_line(cuts[c], lanes);
            stages_open(&t, &line);
            for (uint64_t step = 1; step <= STEPS; step++) {
                stages_step(&t, step);
                assert_true(last_loss(&t) == w.loss[step]);
                assert_true(t.sums[0][0].norm2 > 0 && t.sums[0][0].wire_error == 0);
            }
            expect_whole(&t, &w);
            stages_close(&t);
        }
        whole_drop(&w);
    }
    stages_run_close(&t);
}

static void stages_narrow_wire__tells_its_error_and_stays_close(void **state) {
    (void)state;
    /* bf16 keeps 8 bits; int8 half a step of 1/127 of a block's largest number. */
    static const double bound[] = {0, 1.0 / 256, 1};
    struct stages t;
    double exact = 0;
    stages_run_open(&t);
    for (uint32_t wire = 0; wire <= 2; wire++) {
        struct brg_msg_line line = stages_line(4, 1);
        line.wire = wire;
        t.wire_error = 0;
        stages_open(&t, &line);
        for (uint64_t step = 1; step <= STEPS; step++) stages_step(&t, step);
        if (wire == 0) exact = last_loss(&t);
        assert_true(t.wire_error <= bound[wire]);
        assert_true((t.wire_error > 0) == (wire != 0));
        assert_true(fabs(last_loss(&t) / exact - 1) < 0.02);
        assert_true((last_loss(&t) == exact) == (wire == 0));
        stages_close(&t);
    }
    stages_run_close(&t);
}

static void stages_moved__go_on_with_the_same_bits(void **state) {
    (void)state;
    struct stages t;
    struct brg_digest want[STAGES_MAX];
    const struct brg_msg_line line = stages_line(4, 1);
    stages_run_open(&t);
    for (uint32_t moved = 0; moved < 2; moved++) {
        stages_open(&t, &line);
        stages_step(&t, 1);
        stages_step(&t, 2);
        for (uint32_t s = 0; moved && s < line.stages; s++) {
            /* Another engine takes the state over, whole. */
            struct holder fresh = {0};
            struct brg_buffer *b =
                holder_freeze(&t.holders[s][0], BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS);
            holder_open(&t, &fresh, s, 1);
            engine_must(fresh.engine,
                        (struct brg_engine_command){
                            .what = BRG_ENGINE_LOAD, .version = 2, .lineage = 1 + s, .in = {b}});
            brg_engine_destroy(&t.holders[s][0].engine);
            t.holders[s][0] = fresh;
        }
        stages_step(&t, 3);
        for (uint32_t s = 0; s < line.stages; s++) {
            struct brg_digest found;
            struct brg_buffer *b =
                holder_freeze(&t.holders[s][0], BRG_STATE_WEIGHTS | BRG_STATE_MOMENTS);
            brg_digest_of(b->data, b->size_bytes, &found);
            brg_buffer_release(b);
            if (!moved) want[s] = found;
            assert_true(brg_digest_equal(&found, &want[s]));
        }
        stages_close(&t);
    }
    stages_run_close(&t);
}

static void stages_step_done_anew__ends_with_the_same_bits(void **state) {
    (void)state;
    struct stages t;
    const struct brg_msg_line line = stages_line(4, 2);
    struct brg_digest want[STAGES_MAX];
    stages_run_open(&t);
    stages_open(&t, &line);
    stages_compute(&t, 1);
    for (uint32_t s = 0; s < line.stages; s++) want[s] = t.sums[s][0].digest;
    stages_compute(&t, 1); /* aborted before the commit, in another generation again */
    for (uint32_t s = 0; s < line.stages; s++)
        assert_true(brg_digest_equal(&t.sums[s][1].digest, &want[s]));
    stages_apply(&t, 1);
    stages_close(&t);
    stages_run_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_f32__make_the_steps_of_the_whole_model_to_the_bit),
        cmocka_unit_test(stages_narrow_wire__tells_its_error_and_stays_close),
        cmocka_unit_test(stages_moved__go_on_with_the_same_bits),
        cmocka_unit_test(stages_step_done_anew__ends_with_the_same_bits),
    };
    return cmocka_run_group_tests_name("stage_exact", tests, NULL, NULL) != 0;
}
