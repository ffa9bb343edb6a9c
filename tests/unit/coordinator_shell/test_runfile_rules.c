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
        {"seed: 7", "models: 9", 8, "models", "from 1 to 8"},
        {"seed: 7", "sweep: {seed: [1, 2]}", 8, "sweep.seed", "no effect where models is 1"},
        {"seed: 7", "models: 3\nsweep: {seed: [1, 2]}", 9, "sweep.seed", "2 values for 3 models"},
        {"seed: 7", "models: 2\nsweep: {lr: [1e-3, x]}", 9, "sweep.lr", "a list of numbers"},
        {"seed: 7", "models: 2\nsweep: {lr: 3e-3}", 9, "sweep.lr", "one for each model"},
        {"s: 1, policy: early", "s: 1, delay: 1, policy: early", 9, "models", "T + 1 = 2"},
        {", s: 1, policy: early", ", s: 1, parts: 9", 9, "code.parts", "from 1 to 8"},
        {", s: 1, policy: early", ", s: 1, parts: 5", 5, "batch.chunks", "20 shares of a step"},
        {", s: 1, policy: early", ", s: 1, b: 2", 9, "code.b",
         "no effect where code.scheme is frc"},
        {"{scheme: frc, s: 1, policy: early}", "{scheme: auto, mu: 2}", 9, "code.mu",
         "no effect where code.scheme is auto"},
        {"{scheme: frc, s: 1, policy: early}", "auto\nworkers: 1", 9, "code.scheme",
         "nothing to choose with 1 worker"},
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

static const char code_line[] = "{scheme: frc, s: 1, policy: early}";

static void runfile_sequential_code__says_how_many_models_it_needs(void **state) {
    (void)state;
    static const struct broken rows[] = {
        {code_line, "{scheme: sr-sgc}", 9, "models", "T = 1 round late"},
        {code_line, "{scheme: sr-sgc, b: 3, w: 7}\nmodels: 3", 10, "models", "T + 1 = 4"},
        /* M-SGC: T = W - 2 + B */
        {code_line, "{scheme: m-sgc, b: 2, w: 3}\nmodels: 3", 10, "models", "T = 3 rounds late"},
    };
    CHECK_ALL(design_text, rows);
    const char *text;
    text = keep(changed(design_text, code_line, "{scheme: m-sgc, b: 2, w: 8}\nmodels: 8"));
    assert_int_equal(parse(text), BRG_EINVAL);
    assert_true(has_fault(9, "code.w", "make b or w smaller"));
    text = keep(changed(design_text, code_line, "{scheme: sr-sgc, policy: early}\nmodels: 2"));
    assert_true(one_fault(text, 9, "code.policy", "minwait"));
    text = keep(changed(design_text, code_line, "{scheme: m-sgc, b: 2, w: 2}\nmodels: 8"));
    assert_int_equal(parse(text), BRG_EINVAL); /* said by the code itself */
    assert_true(has_fault(9, "code.scheme", ""));
}

static void runfile_sequential_code__has_defaults_that_fit(void **state) {
    (void)state;
    const char *text;
    text = keep(changed(design_text, code_line, "{scheme: m-sgc, w: 3}\nmodels: 4"));
    assert_int_equal(parse(text), BRG_OK);
    assert_int_equal(config.code.kind, BRG_CODE_M_SGC);
    assert_int_equal(config.code.lambda, 8);
    assert_int_equal(config.code.policy, BRG_POLICY_MINWAIT);
    assert_int_equal(config.code.mu_ppm, 1000000);
    text = keep(changed(text, "64, chunks: 16", "96"));
    assert_int_equal(parse(text), BRG_OK);
    assert_int_equal(config.batch.chunks, 16); /* workers (w - 1) */
    assert_int_equal(parse(changed(text, "w: 3", "w: 2, lambda: 1")), BRG_OK);
    assert_int_equal(config.batch.chunks, 24); /* workers (b + (w - 1) (lambda + 1)) */
    assert_int_equal(parse(changed(text, "{scheme: m-sgc, w: 3}", "{scheme: sr-sgc, b: 2, w: 5}")),
                     BRG_OK);
    assert_int_equal(config.code.lambda, 3);
    assert_int_equal(brg_code_s(&config.code), 1);
    assert_int_equal(config.min_workers, 4); /* one of each group */
    text = keep(changed(design_text, code_line, "{scheme: speculative, parts: 2, mu: 0.5}"));
    assert_int_equal(parse(text), BRG_OK);
    assert_int_equal(config.code.policy, BRG_POLICY_EARLY);
    assert_int_equal(config.code.mu_ppm, 500000);
}

static void runfile_auto__is_a_probe_until_it_has_measured(void **state) {
    (void)state;
    const char *text;
    text = keep(changed(design_text, code_line, "auto"));
    assert_int_equal(parse(text), BRG_OK);
    assert_int_equal(config.scheme, BRG_RUN_SCHEME_AUTO);
    assert_int_equal(config.minimise, BRG_MINIMISE_TIME);
    assert_int_equal(config.code.kind, BRG_CODE_FRC);
    assert_int_equal(config.code.parts, 2);
    assert_int_equal(parse(changed(text, "auto", "{scheme: auto, minimise: cost}")), BRG_OK);
    assert_int_equal(config.minimise, BRG_MINIMISE_COST);
    assert_int_equal(parse(changed(text, ", chunks: 16", "")), BRG_OK);
    assert_int_equal(config.batch.chunks, 32); /* four each */
    assert_true(one_fault(changed(text, "auto", "{scheme: auto, minimise: coast}"), 9,
                          "code.minimise", "did you mean cost?"));
}

static void runfile_models__differ_in_what_the_file_says(void **state) {
    (void)state;
    assert_int_equal(parse(design_text), BRG_OK);
    assert_true(config.sweep.seed[0] == 7 && config.sweep.data_seed[0] == 7);
    const char *text;
    text = keep(changed(design_text, "seed: 7", "seed: 7\nmodels: 3"));
    assert_int_equal(parse(text), BRG_OK);
    assert_true(config.sweep.seed[2] == 9 && config.sweep.data_seed[2] == 9);
    assert_true(config.sweep.lr[2] == 3e-3f);
    assert_true(brg_run_config_steps(&config) == 1200);
    text = keep(changed(text, "models: 3", "models: 3\nsweep: {lr: [1e-3, 3e-3, 1e-2]}"));
    assert_int_equal(parse(text), BRG_OK); /* rates compared on the same start and data */
    assert_true(config.sweep.seed[2] == 7 && config.sweep.data_seed[2] == 7);
    assert_true(brg_run_config_optimizer(&config, 2).lr == 1e-2f);
    assert_true(brg_run_config_optimizer(&config, 2).warmup_steps == 50);
    text = keep(changed(text, "sweep: {", "sweep: {seed: [1, 2, 18446744073709551615], "));
    assert_int_equal(parse(text), BRG_OK);
    assert_true(config.sweep.seed[2] == UINT64_MAX && config.sweep.data_seed[1] == 2);
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
        {"kind: coded", "kind: berrut", 2, "kind", "not available"},
        {"kind: coded", "kind: grid", 2, "kind", "not available"},
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
        cmocka_unit_test(runfile_sequential_code__has_defaults_that_fit),
        cmocka_unit_test(runfile_auto__is_a_probe_until_it_has_measured),
        cmocka_unit_test(runfile_models__differ_in_what_the_file_says),
        cmocka_unit_test(runfile_timeouts__must_not_contradict),
        cmocka_unit_test(runfile_steps__must_outlast_warmup_and_first_checkpoint),
        cmocka_unit_test(runfile_of_a_later_version__is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests_name("runfile_rules", tests, NULL, NULL) != 0;
}
