#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/unit/coordinator_shell/runfile_texts.h"

/* The design's file with one change that breaks one rule. */
struct broken {
    const char *from, *to;
    uint32_t line;
    const char *key, *part;
};

static void check_all(const char *text, const struct broken *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct broken *b = &rows[i];
        assert_true(one_fault(changed(text, b->from, b->to), b->line, b->key, b->part));
    }
}

#define CHECK_ALL(text, rows) check_all(text, rows, sizeof(rows) / sizeof((rows)[0]))

static void runfile_model__must_fit_together(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {"dim: 128", "dim: 130", 3, "model.heads", "do not divide dim 130"},
        {"dim: 128", "dim: 12", 3, "model.heads", "must be even"},
        {"kv_heads: 2", "kv_heads: 3", 3, "model.kv_heads", "3 does not divide heads 4"},
        {"hidden: 352", "hidden: 350", 3, "model.hidden", "use 344 or 352"},
        {"layers: 4", "layers: 1025", 3, "model.layers", "from 1 to 1024"},
        {"dim: 128, layers: 4, heads: 4", "dim: 32768, layers: 1000, heads: 32", 3, "model",
         "parameters"},
        {"type: llama", "type: cnn", 3, "model.type", "not available in this version"},
        {"type: llama", "type: lama", 3, "model.type", "did you mean llama?"},
    };
    CHECK_ALL(design_text, rows);
}

static void runfile_data__must_fit_the_model(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {"held_out: 5%", "format: csv", 4, "data.format", "a llama needs"},
        {"held_out: 5%", "held_out: 5%, test: b.txt", 4, "data.held_out", "contradicts test"},
    };
    CHECK_ALL(design_text, rows);
    /* A number of tokens means shards, unless the file says that it is text. */
    assert_int_equal(parse(changed(design_text, "vocab: bytes", "vocab: 1000")), BRG_OK);
    assert_int_equal(config.data.format, BRG_DATA_SHARD);
    const char *text;
    text = keep(changed(design_text, "vocab: bytes", "vocab: 1000"));
    assert_true(one_fault(changed(text, "held_out: 5%", "format: text"), 3, "model.vocab",
                          "does not fit text"));
    text = keep(changed(design_text, "5%", "0%"));
    assert_int_equal(parse(text), BRG_OK);
    assert_int_equal(config.eval.every_steps, 0);
    assert_true(one_fault(changed(text, "seed: 7", "eval: {every: 5}"), 8, "eval.every",
                          "nothing to look at"));

    static const struct broken digits[] = {
        {"  train_labels: train-labels-idx1-ubyte.gz\n", "", 8, "data.train_labels", "missing"},
        {"  test_labels: t10k-labels-idx1-ubyte.gz\n", "", 10, "data.test_labels", "missing"},
        {"  test: t10k-images-idx3-ubyte.gz\n", "", 10, "data.test_labels", "without test"},
        {"train: train-images-idx3-ubyte.gz\n", "train: a.txt\n  format: text\n", 9, "data.format",
         "a classifier cannot use"},
    };
    CHECK_ALL(digits_text, digits);
    assert_int_equal(parse(changed(digits_text, "train-images-idx3-ubyte.gz", "a.csv")),
                     BRG_EINVAL);
    assert_int_equal(faults.count, 2);
    assert_true(has_fault(9, "data.train_labels", "last column"));
    assert_true(has_fault(11, "data.test_labels", "last column"));
}

static void runfile_batch__must_fill_its_chunks(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {"sequences: 64", "sequences: 15", 5, "batch.sequences", "cannot fill 16 chunks"},
        {"chunks: 16", "chunks: 16, microbatch: 5", 5, "batch.microbatch", "more than a chunk"},
        {"chunks: 16", "chunks: 2000", 5, "batch.chunks", "from 1 to 1024"},
    };
    CHECK_ALL(design_text, rows);
}

static void runfile_code__must_fit_workers_and_chunks(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {", s: 1", ", s: 8", 9, "code.s", "leave nobody to answer: set s to at most 7"},
        {"seed: 7", "workers: 1025", 8, "workers", "from 1 to 1024"},
        {"seed: 7", "workers: 64", 5, "batch.chunks", "cannot be dealt to 32 groups"},
        {"seed: 7", "min_workers: 9", 8, "min_workers", "more than workers 8"},
        {"seed: 7", "models: 2", 8, "models", "sequential code"},
        {"{scheme: frc, s: 1, policy: early}", "auto", 9, "code", "not available"},
        {"{scheme: frc, s: 1, policy: early}", "{scheme: dct}", 9, "code.scheme", "not available"},
    };
    CHECK_ALL(design_text, rows);
    const char *text;
    text = keep(changed(design_text, "seed: 7", "workers: 17"));
    assert_true(one_fault(changed(text, "scheme: frc, s: 1", "scheme: none"), 5, "batch.chunks",
                          "cannot be dealt to 17 workers"));
    assert_true(one_fault(changed(text, "scheme: frc", "scheme: cyclic"), 5, "batch.chunks",
                          "is not a multiple of workers 17, which cyclic needs: use 17"));
    assert_int_equal(parse(text), BRG_OK); /* 8 groups of 2 or 3 */
    assert_int_equal(config.min_workers, 8);
    text = keep(changed(design_text, "chunks: 16", "chunks: 128"));
    text = keep(changed(text, "sequences: 64", "sequences: 128"));
    text = keep(changed(text, "seed: 7", "workers: 128"));
    assert_true(one_fault(changed(text, "scheme: frc, s: 1", "scheme: cyclic, s: 65"), 9,
                          "code.scheme", "64"));
}

static void runfile_one_worker__needs_no_code_settings(void **state) {
    (void)state;
    const char *text;
    text = keep(changed(design_text, "seed: 7", "workers: 1"));
    assert_true(one_fault(text, 9, "code.s", "1 stragglers of 1 workers"));
    assert_int_equal(parse(changed(text, ", s: 1", "")), BRG_OK);
    assert_int_equal(config.code.s, 0);
}

static void runfile_sequential_code__says_how_many_models_it_needs(void **state) {
    (void)state;
    static const char line[] = "{scheme: frc, s: 1, policy: early}";
    assert_int_equal(parse(changed(design_text, line, "{scheme: sr-sgc}")), BRG_EINVAL);
    assert_int_equal(faults.count, 2);
    assert_true(has_fault(9, "code.scheme", "sr-sgc is not available in this version: use frc"));
    assert_true(has_fault(9, "models", "it needs T + 1 = 2; use code.scheme: frc"));
    /* M-SGC: T = W - 2 + B */
    assert_int_equal(parse(changed(design_text, line,
                                   "{scheme: m-sgc, burst: 2, window: 4, lambda: 3}\nmodels: 4")),
                     BRG_EINVAL);
    assert_int_equal(faults.count, 2);
    assert_true(has_fault(10, "models", "T = 4 rounds late"));
    assert_true(has_fault(10, "models", "T + 1 = 5"));
    assert_int_equal(parse(changed(design_text, line, "{scheme: m-sgc}\nmodels: 4")), BRG_EINVAL);
    assert_int_equal(faults.count, 1);
}

static void runfile_timeouts__must_not_contradict(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {"seed: 7", "timeouts: {task: 500ms, round_patience: 1s}", 8, "timeouts.task",
         "set it to 1s or more"},
        {"seed: 7", "timeouts: {round_patience: 2min}", 8, "timeouts.task",
         "patience beyond it has no effect"},
        {"seed: 7", "timeouts: {pull: 0s}", 8, "timeouts.pull", "from 10ms"},
    };
    CHECK_ALL(design_text, rows);
    assert_int_equal(parse(changed(design_text, "seed: 7",
                                   "timeouts: {task: 2s, pull: 1s, round_patience: 2s}")),
                     BRG_OK);
}

static void runfile_steps__must_outlast_warmup_and_first_checkpoint(void **state) {
    (void)state;
    assert_true(one_fault(changed(design_text, "warmup: 50", "warmup: 400"), 6, "optimizer.warmup",
                          "not over before"));
    const char *text;
    text = keep(changed(design_text, "durability: step", "durability: checkpoint"));
    assert_int_equal(parse(text), BRG_OK);
    assert_true(
        one_fault(changed(text, "every: 50", "every: 401"), 10, "checkpoint.every", "begin anew"));
}

static void runfile_of_a_later_version__is_refused_with_a_sentence(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {"kind: coded", "kind: pipeline", 2, "kind", "pipeline is not available in this version"},
        {"kind: coded", "kind: berrut", 2, "kind", "not available"},
        {"kind: coded", "kind: grid", 2, "kind", "not available"},
        {"seed: 7", "pipeline: {stages: 6, replicas: 1}", 8, "pipeline", "not available"},
        {"seed: 7", "recovery: {ladder: [replica]}", 8, "recovery", "not available"},
        {"seed: 7", "limits: {memory: 1GiB}", 8, "limits", "is not a key"},
        {"seed: 7", "timeouts: {lease: 9s}", 8, "timeouts.lease", "is not a key"},
        {"seed: 7", "verify: {mode: digests, audit: 2%}", 8, "verify", "not available"},
    };
    CHECK_ALL(design_text, rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runfile_model__must_fit_together),
        cmocka_unit_test(runfile_data__must_fit_the_model),
        cmocka_unit_test(runfile_batch__must_fill_its_chunks),
        cmocka_unit_test(runfile_code__must_fit_workers_and_chunks),
        cmocka_unit_test(runfile_one_worker__needs_no_code_settings),
        cmocka_unit_test(runfile_sequential_code__says_how_many_models_it_needs),
        cmocka_unit_test(runfile_timeouts__must_not_contradict),
        cmocka_unit_test(runfile_steps__must_outlast_warmup_and_first_checkpoint),
        cmocka_unit_test(runfile_of_a_later_version__is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests_name("runfile_rules", tests, NULL, NULL) != 0;
}
