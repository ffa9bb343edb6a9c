/* Run files of pipelines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "coordinator/shell/runfile_private.h"
#include "model/model.h"
#include "tests/unit/coordinator_shell/runfile_texts.h"

static const char line_text[] =
    /* 1 */ "run: kjv-line\n"
            /* 2 */ "kind: pipeline\n"
            /* 3 */ "model: {type: llama, dim: 64, layers: 6, heads: 4, hidden: 128, context: 32}\n"
            /* 4 */ "data: {train: kjv.txt}\n"
            /* 5 */ "batch: {sequences: 48}\n"
            /* 6 */ "optimizer: {lr: 3e-3}\n"
            /* 7 */ "steps: 400\n"
            /* 8 */ "seed: 7\n"
            /* 9 */ "pipeline: {stages: 6, wire: f32}\n"
            /* 10 */ "recovery: {ladder: [replica, shadow, parity, neighbours, checkpoint]}\n";

#define CHANGED(from, to) changed(line_text, from, to)

static void line_file__has_the_best_choice_as_default(void **state) {
    (void)state;
    int rc = parse(line_text);
    brg_run_faults_print(&faults, "line", stdout);
    assert_int_equal(rc, BRG_OK);
    assert_int_equal(config.kind, BRG_RUN_KIND_PIPELINE);
    assert_int_equal(config.pipeline.stages, 6);
    assert_int_equal(config.pipeline.lanes, 1);
    assert_int_equal(config.pipeline.microbatches, 24); /* four a stage, and 48 is cut evenly */
    assert_int_equal(config.batch.chunks, 24);
    assert_int_equal(config.batch.microbatch, 2);
    assert_int_equal(config.pipeline.wire, BRG_RUN_WIRE_F32);
    assert_true(config.pipeline.step_timeout_ns == 0);
    assert_int_equal(config.workers, 6);
    assert_int_equal(config.min_workers, 6);
    assert_int_equal(config.model.tied, 0); /* six stages cannot tie head and embedding */
    assert_int_equal(config.durability, BRG_DURABILITY_STEP);
    assert_true(config.checkpoint.every_steps == 0); /* Young's */
    assert_int_equal(config.recovery.ladder.count, 5);
    assert_int_equal(config.recovery.ladder.rungs[1], BRG_RUNG_SHADOW);
    assert_int_equal(config.recovery.shadow_every, 10);
    assert_int_equal(config.recovery.shadow_int8, 1);
    assert_int_equal(config.recovery.shadow_moments, 0);
    assert_int_equal(config.recovery.parity_group, 0); /* shadows are kept */
    assert_int_equal(config.recovery.exponent, 2);
    assert_int_equal(config.recovery.probe, 0);
    assert_true(config.eval.samples == 128); /* 64 microbatches of 2 */
    assert_int_equal(config.code.kind, 0);
    assert_true(brg_run_config_keeps_shadows(&config));
    assert_false(brg_run_config_keeps_parity(&config));
    const struct brg_run_config with = config;
    assert_int_equal(parse(CHANGED("recovery: {ladder: [replica, shadow, parity, neighbours, "
                                   "checkpoint]}\n",
                                   "")),
                     BRG_OK);
    assert_memory_equal(&with, &config, sizeof config);
}

static void line_microbatches__fit_batch_and_lanes(void **state) {
    (void)state;
    assert_int_equal(parse(CHANGED("stages: 6", "stages: 6, replicas: 5")), BRG_OK);
    assert_int_equal(config.pipeline.microbatches, 20); /* no divisor of 48 is a multiple of 5 */
    assert_int_equal(config.workers, 30);
    assert_int_equal(parse(CHANGED("sequences: 48", "sequences: 4")), BRG_OK);
    assert_int_equal(config.pipeline.microbatches, 4);
    assert_int_equal(parse(CHANGED("sequences: 48", "sequences: 48, chunks: 12")), BRG_OK);
    assert_int_equal(config.pipeline.microbatches, 12);
    assert_int_equal(parse(changed(CHANGED("sequences: 48", "sequences: 48, chunks: 12"),
                                   "stages: 6", "stages: 6, microbatches: 12")),
                     BRG_OK);
    assert_true(one_fault(changed(CHANGED("sequences: 48", "sequences: 48, chunks: 12"),
                                  "stages: 6", "stages: 6, microbatches: 6"),
                          9, "pipeline.microbatches", "6 contradicts batch.chunks 12"));
    assert_true(one_fault(CHANGED("stages: 6", "stages: 6, microbatches: 2, replicas: 3"), 9,
                          "pipeline.microbatches", "dealt to 3 replicas"));
    assert_true(one_fault(CHANGED("sequences: 48", "sequences: 600, chunks: 300"), 5,
                          "pipeline.microbatches", "more than the 256"));
    assert_true(one_fault(CHANGED("sequences: 48", "sequences: 4, chunks: 8"), 5, "batch.sequences",
                          "cannot fill 8"));
    assert_true(one_fault(CHANGED("steps: 400", "steps: 400\neval: {samples: 129}"), 8,
                          "eval.samples", "at most 128"));
}

static void line_settings__come_from_the_file(void **state) {
    (void)state;
    const char *text = CHANGED("wire: f32", "wire: int8, step_timeout: auto, replicas: 2");
    assert_int_equal(parse(changed(text, "[replica, shadow, parity, neighbours, checkpoint]",
                                   "[parity, checkpoint], shadow_every: 5, "
                                   "stale_max: 12")),
                     BRG_OK);
    assert_int_equal(config.pipeline.wire, BRG_RUN_WIRE_INT8);
    assert_true(config.pipeline.step_timeout_ns == 0);
    assert_int_equal(config.recovery.ladder.count, 2);
    assert_int_equal(config.recovery.parity_group, 0);
    assert_int_equal(config.recovery.shadow_every, 5);
    assert_true(config.recovery.ladder.stale_max == 12);
    assert_false(brg_run_config_keeps_shadows(&config));
    assert_false(brg_run_config_keeps_parity(&config));
    assert_int_equal(parse(CHANGED("wire: f32", "step_timeout: auto")), BRG_OK);
    assert_int_equal(parse(CHANGED("neighbours, checkpoint]", "random], shadow_moments: true")),
                     BRG_OK);
    assert_int_equal(config.recovery.shadow_int8, 0);
}

struct broken {
    const char *from, *to;
    uint32_t line;
    const char *key, *part;
};

static void line_that_cannot_be__is_refused_with_one_sentence(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {"stages: 6", "stages: 7", 9, "pipeline.stages", "6 layers cannot be cut into 7"},
        {"stages: 6", "stages: 65", 9, "pipeline.stages", "from 1 to 64"},
        {"stages: 6, ", "", 9, "pipeline.stages", "is missing"},
        {"context: 32", "context: 32, tied: true", 3, "model.tied", "set it to false"},
        {"steps: 400", "steps: 400\nmodels: 2", 8, "models", "cannot share a line"},
        {"seed: 7", "workers: 8", 8, "workers", "no effect where kind is pipeline"},
        {"seed: 7", "code: auto", 8, "code.scheme", "no effect where kind is pipeline"},
        {"seed: 7", "code: {mu: 2}", 8, "code.mu", "no effect where kind is pipeline"},
        {"seed: 7", "durability: step", 8, "durability", "no effect where kind is pipeline"},
        {"seed: 7", "timeouts: {task: 9s}", 8, "timeouts.task", "no effect where kind is"},
        {"seed: 7", "batch.x: 1", 8, "batch.x", "is not a key"},
        {"wire: f32", "wires: f32", 9, "pipeline.wires", "did you mean wire?"},
        {"wire: f32", "wire: fp8", 9, "pipeline.wire", "f32, bf16 or int8"},
        {"wire: f32", "step_timeout: 20", 9, "pipeline.step_timeout", "auto, or a duration"},
        {"shadow, parity", "shadows, parity", 10, "recovery.ladder", "did you mean shadow?"},
        {"shadow, parity", "shadow, shadow", 10, "recovery.ladder", "names shadow twice"},
        {"neighbours", "neighbors", 10, "recovery.ladder", "spelled neighbours"},
        {"checkpoint]}", "checkpoint], swap: 10%}", 10, "recovery.swap", "set it to 0%"},
        {"checkpoint]}", "checkpoint], stale_max: 8}", 10, "recovery.stale_max", "less than the 9"},
        {"checkpoint]}", "checkpoint], parity_group: 3}", 10, "recovery.parity_group",
         "set it to 0"},
        {"checkpoint]}", "checkpoint], probe: true}", 10, "recovery.probe", "set it to false"},
        {"checkpoint]}", "checkpoint], distil: 5}", 10, "recovery.distil", "set it to 0"},
        {"wire: f32", "step_timeout: 90s", 9, "pipeline.step_timeout", "set it to auto"},
        {"[replica, shadow, parity, neighbours, checkpoint]", "parity", 10, "recovery.ladder",
         "no rung that could bring a stage back"},
        {"checkpoint]}", "checkpoint], shadow_int8: true, shadow_moments: true}", 10,
         "recovery.shadow_int8", "cannot carry moments"},
        {"[replica, shadow, parity, neighbours, checkpoint]", "[replica]", 10, "recovery.ladder",
         "no rung that could bring a stage back"},
        {"[replica, shadow, parity, neighbours, checkpoint]", "[checkpoint], probe: true", 10,
         "recovery.probe", "no effect where recovery.ladder is [checkpoint]"},
        {"[replica, shadow, parity, neighbours, checkpoint]", "[]", 10, "recovery.ladder",
         "a list of"},
        {"kind: pipeline", "kind: coded", 9, "pipeline.stages", "write  kind: pipeline"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct broken *b = &rows[i];
        const char *text = CHANGED(b->from, b->to);
        if (strcmp(b->to, "kind: coded") != 0) {
            assert_true(
                one_fault(text, strcmp(b->part, "is missing") == 0 ? 9 : b->line, b->key, b->part));
            continue;
        }
        assert_int_equal(parse(text), BRG_EINVAL); /* each key of both sections is one */
        assert_true(has_fault(b->line, b->key, b->part));
    }
    assert_int_equal(parse(CHANGED("type: llama, dim: 64, layers: 6, heads: 4, hidden: 128, "
                                   "context: 32",
                                   "type: softmax, inputs: 4, classes: 2")),
                     BRG_EINVAL);
    assert_true(has_fault(3, "model.type", "only a llama can be cut"));
}

static void line_faults__are_all_listed_at_once(void **state) {
    (void)state;
    const char *text = CHANGED("stages: 6", "stages: 9, replicas: 4, microbatches: 2");
    text = changed(text, "checkpoint]}", "checkpoint], swap: 5%, exponent: 3}");
    assert_int_equal(parse(changed(text, "seed: 7", "code: {s: 1}")), BRG_EINVAL);
    assert_int_equal(faults.count, 5);
    assert_true(has_fault(8, "code.s", "no effect"));
    assert_true(has_fault(9, "pipeline.stages", "cannot be cut"));
    assert_true(has_fault(9, "pipeline.microbatches", "4 replicas"));
    assert_true(has_fault(10, "recovery.swap", "0%"));
    assert_true(has_fault(10, "recovery.exponent", "from 0 to 2"));
}

static void check_round_trip(const char *text) {
    char *written = NULL;
    struct brg_why why = {{0}};
    assert_int_equal(parse(text), BRG_OK);
    const struct brg_run_config first = config;
    assert_int_equal(brg_run_config_text(&first, &written), BRG_OK);
    int rc = brg_runfile_parse(written, strlen(written), NULL, 0, &config, &faults);
    brg_run_faults_print(&faults, "written", stdout);
    assert_int_equal(rc, BRG_OK);
    assert_memory_equal(&config, &first, sizeof first);
    assert_int_equal(brg_run_config_check(&first, &why), BRG_OK);
    free(written);
}

static void line_written__reads_back_to_the_same_struct(void **state) {
    (void)state;
    check_round_trip(line_text);
    check_round_trip(CHANGED("stages: 6", "stages: 1"));
    check_round_trip(CHANGED("stages: 6", "stages: 2, replicas: 16, microbatches: 48"));
    check_round_trip(CHANGED("stages: 6", "stages: 3, step_timeout: auto"));
    check_round_trip(CHANGED("checkpoint]}", "random, checkpoint], parity_group: 0, exponent: 0, "
                                             "probe: false, distil: 0, stale_max: 30}"));
    check_round_trip(CHANGED("[replica, shadow, parity, neighbours, checkpoint]", "checkpoint"));
    check_round_trip(CHANGED("steps: 400", "steps: 400\ncheckpoint: {every: 20, keep: 1}"));
}

static void line_cut_anew__keeps_all_but_the_number_of_stages(void **state) {
    (void)state;
    struct brg_why why;
    assert_int_equal(parse(CHANGED("checkpoint]}", "checkpoint], stale_max: 20}")), BRG_OK);
    struct brg_run_config c = config;
    assert_int_equal(brg_run_config_restage(&c, 3, &why), BRG_OK);
    assert_int_equal(c.pipeline.stages, 3);
    assert_int_equal(c.workers, 3);
    assert_int_equal(c.min_workers, 3);
    assert_int_equal(c.pipeline.microbatches, 24);
    assert_true(c.recovery.ladder.stale_max == 20);
    assert_int_equal(brg_run_config_restage(&c, 1, &why), BRG_OK);
    assert_int_equal(c.model.tied, 0);
    const struct brg_run_config before = c;
    assert_int_equal(brg_run_config_restage(&c, 7, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "6 layers cannot be cut into 7"));
    assert_int_equal(brg_run_config_restage(&c, 0, &why), BRG_EINVAL);
    assert_int_equal(brg_run_config_restage(&c, 65, &why), BRG_EINVAL);
    assert_memory_equal(&before, &c, sizeof c);
    assert_int_equal(parse(design_text), BRG_OK);
    assert_int_equal(brg_run_config_restage(&config, 2, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "no pipeline"));
}

static void line_prediction__adds_up_to_the_model(void **state) {
    (void)state;
    struct brg_stage_prediction p;
    struct brg_run_prediction all;
    uint64_t parameters = 0, checkpoint = 0, layers = 0;
    assert_int_equal(parse(line_text), BRG_OK);
    brg_run_config_predict(&config, &all);
    for (uint32_t i = 0; i < 6; i++) {
        brg_run_config_predict_stage(&config, i, &p);
        parameters += p.parameters;
        checkpoint += p.checkpoint_bytes;
        layers += p.layers;
        assert_true(p.memory_bytes > 4 * p.parameters);
        assert_true(p.memory_bytes <= all.worker_memory_bytes);
        /* A tenth of the weights, a byte each and a scale for 64 of them. */
        assert_true(p.shadow_bytes >= p.parameters / 10);
        assert_true(p.shadow_bytes <= p.parameters / 10 * 68 / 64 + 72);
        assert_true(p.parity_bytes == 0);
        /* By hand: 2 sequences of 32 tokens, 64 floats each. */
        assert_true(p.boundary_bytes == (i < 5 ? 4 * 2 * 32 * 64 : 0));
        assert_true(p.link_bytes == 2 * 24 * p.boundary_bytes);
        assert_true(p.bytes_per_token == (i < 5 ? 2 * 4 * 64 : 0));
    }
    assert_true(parameters == brg_model_param_count(&config.model));
    assert_true(all.parameters == parameters);
    assert_true(checkpoint == 12 * parameters); /* weights and both moments of AdamW */
    assert_true(all.checkpoint_bytes == checkpoint);
    assert_int_equal(layers, 6);
    assert_int_equal(parse(CHANGED("wire: f32", "wire: bf16")), BRG_OK);
    brg_run_config_predict_stage(&config, 0, &p);
    assert_true(p.bytes_per_token == 2 * 2 * 64);
    assert_int_equal(parse(CHANGED("wire: f32", "wire: int8")), BRG_OK);
    brg_run_config_predict_stage(&config, 0, &p);
    assert_true(p.bytes_per_token == 2 * 68); /* 64 floats are one block */
    assert_int_equal(
        parse(CHANGED("[replica, shadow, parity, neighbours, checkpoint]", "[parity, checkpoint]")),
        BRG_OK);
    config.recovery.parity_group = 3; /* as files may say once workers keep parities */
    brg_run_config_predict_stage(&config, 1, &p);
    assert_true(p.shadow_bytes == 0);
    assert_true(p.parity_bytes == (64 + 12 * p.parameters) / 10);
}

static void line_explained__shows_every_stage(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(parse(line_text), BRG_OK);
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(brg_run_config_explain(&config, out), BRG_OK);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "\n  shadow_every: 10\n"));
    assert_non_null(
        strstr(text, "\n  ladder: [replica, shadow, parity, neighbours, checkpoint]\n"));
    assert_non_null(strstr(text, "512.0 bytes a token as f32"));
    assert_null(strstr(text, "scheme"));
    for (const char *p = text; *p != 0; p += strcspn(p, "\n") + 1) {
        assert_true(strcspn(p, "\n") <= 100);
        if (*(p + strcspn(p, "\n")) == 0) break;
    }
    if (getenv("BRG_TEST_SHOW") != NULL) fputs(text, stdout);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_file__has_the_best_choice_as_default),
        cmocka_unit_test(line_microbatches__fit_batch_and_lanes),
        cmocka_unit_test(line_settings__come_from_the_file),
        cmocka_unit_test(line_that_cannot_be__is_refused_with_one_sentence),
        cmocka_unit_test(line_faults__are_all_listed_at_once),
        cmocka_unit_test(line_written__reads_back_to_the_same_struct),
        cmocka_unit_test(line_cut_anew__keeps_all_but_the_number_of_stages),
        cmocka_unit_test(line_prediction__adds_up_to_the_model),
        cmocka_unit_test(line_explained__shows_every_stage),
    };
    return cmocka_run_group_tests_name("runfile_line", tests, NULL, NULL) != 0;
}
