#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/coordinator_shell/runfile_texts.h"

static void runfile_of_the_design__is_read_as_it_stands(void **state) {
    (void)state;
    int rc = parse(design_text);
    brg_run_faults_print(&faults, "design", stdout);
    assert_int_equal(rc, BRG_OK);
    assert_string_equal(config.name, "kjv-tiny");
    assert_int_equal(config.kind, BRG_RUN_KIND_CODED);
    assert_int_equal(config.model.type, BRG_MODEL_LLAMA);
    assert_int_equal(config.model.dim, 128);
    assert_int_equal(config.model.kv_heads, 2);
    assert_int_equal(config.model.hidden, 352);
    assert_int_equal(config.model.vocab, 256);
    assert_int_equal(config.model.tied, 1);
    assert_string_equal(config.data.train, "/runs/kjv.txt");
    assert_int_equal(config.data.format, BRG_DATA_TEXT);
    assert_true(config.data.held_out == 0.05);
    assert_int_equal(config.batch.samples, 64);
    assert_int_equal(config.batch.chunks, 16);
    assert_int_equal(config.batch.microbatch, 4);
    assert_int_equal(config.optimizer.type, BRG_OPTIMIZER_ADAMW);
    assert_true(config.optimizer.lr == 3e-3f);
    assert_int_equal(config.optimizer.warmup_steps, 50);
    assert_int_equal(config.optimizer.total_steps, 400);
    assert_int_equal(config.optimizer.schedule, BRG_SCHEDULE_COSINE);
    assert_true(config.optimizer.lr_min_ratio == 0.1f);
    assert_int_equal(config.steps, 400);
    assert_int_equal(config.seed, 7);
    assert_int_equal(config.workers, 8);
    assert_int_equal(config.min_workers, 4); /* groups of frc with s = 1 */
    assert_int_equal(config.code.kind, BRG_CODE_FRC);
    assert_int_equal(config.code.n, 8);
    assert_int_equal(config.code.chunks, 16);
    assert_true(config.timeouts.task_ns == 60 * BRG_NS_PER_S);
    assert_true(config.timeouts.round_patience_ns == 0);
    assert_string_equal(config.checkpoint.dir, "/runs/ckpt/");
    assert_int_equal(config.durability, BRG_DURABILITY_STEP);
    assert_int_equal(config.eval.every_steps, 50);
    assert_int_equal(config.models, 1);
}

static void runfile_of_a_classifier__is_read_with_its_own_keys(void **state) {
    (void)state;
    assert_int_equal(parse(digits_text), BRG_OK);
    assert_int_equal(config.model.width_count, 2);
    assert_int_equal(config.model.widths[1], 64);
    assert_int_equal(config.data.format, BRG_DATA_IDX);
    assert_true(config.data.held_out == 0);
    assert_int_equal(config.code.mu_ppm, 1000000);
    assert_true(config.code.seed == 1);      /* the run's */
    assert_int_equal(config.min_workers, 4); /* 6 less s = 2 */
    assert_true(config.optimizer.momentum == 0.9f);
    assert_int_equal(parse(changed(digits_text, "[128, 64]", "32")), BRG_OK);
    assert_int_equal(config.model.width_count, 1);
    assert_int_equal(config.model.widths[0], 32);
}

static void runfile_values__are_held_to_type_range_and_unit(void **state) {
    (void)state;
    const char *d = design_text;
    assert_true(one_fault(changed(d, "run: kjv-tiny", "run: a/b"), 1, "run", "letters"));
    assert_true(one_fault(changed(d, "steps: 400", "steps: 4e2"), 7, "steps", "\"4e2\""));
    assert_true(one_fault(changed(d, "steps: 400", "steps: 0400"), 7, "steps", "whole number"));
    assert_true(one_fault(changed(d, "steps: 400", "steps: 0"), 7, "steps", "from 1 to"));
    assert_true(one_fault(changed(d, "steps: 400", "steps:"), 7, "steps", "no value"));
    assert_true(one_fault(changed(d, "steps: 400", "steps: [4]"), 7, "steps", "single value"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: 18446744073709551616"), 8, "seed", "whole"));
    assert_int_equal(parse(changed(d, "seed: 7", "seed: 18446744073709551615")), BRG_OK);
    assert_true(config.seed == UINT64_MAX);
    assert_true(one_fault(changed(d, "5%", "0.05"), 4, "data.held_out", "percentage"));
    assert_true(one_fault(changed(d, "5%", "51%"), 4, "data.held_out", "50%"));
    assert_true(one_fault(changed(d, "3e-3", "0x1p3"), 6, "optimizer.lr", "number"));
    assert_true(one_fault(changed(d, "3e-3", "1.2.3"), 6, "optimizer.lr", "number"));
    assert_true(one_fault(changed(d, "3e-3", "1e999"), 6, "optimizer.lr", "number"));
    assert_true(one_fault(changed(d, "3e-3", "nan"), 6, "optimizer.lr", "number"));
    assert_true(one_fault(changed(d, "3e-3", "3e-3x"), 6, "optimizer.lr", "number"));
    assert_true(one_fault(changed(d, "vocab: bytes", "vocab: byte"), 3, "model.vocab", "bytes or"));
    assert_true(
        one_fault(changed(d, "vocab: bytes", "tied: yes"), 3, "model.tied", "true or false"));
    assert_true(one_fault(changed(d, "durability: step", "timeouts: {task: 30}"), 11,
                          "timeouts.task", "with its unit"));
    assert_true(one_fault(changed(d, "durability: step", "durability: steps"), 11, "durability",
                          "did you mean step?"));
    assert_true(
        one_fault(changed(d, "train: kjv.txt", "train: \"a\\nb\""), 4, "data.train", "control"));
    assert_true(
        one_fault(changed(d, "train: kjv.txt", "train: \"a\\0b\""), 4, "data.train", "NUL"));
    assert_true(one_fault(changed(d, "train: kjv.txt", "train: ''"), 4, "data.train", "empty"));
    assert_true(one_fault(changed(digits_text, "[128, 64]", "[1,2,3,4,5,6,7,8,9]"), 6,
                          "model.hidden", "more than 8"));
    assert_true(one_fault(changed(digits_text, "[128, 64]", "[]"), 6, "model.hidden", "list"));
    assert_true(
        one_fault(changed(digits_text, "[128, 64]", "[128, [64]]"), 6, "model.hidden", "single"));
}

static void runfile_unknown_keys__get_a_proposal(void **state) {
    (void)state;
    const char *d = design_text;
    assert_true(one_fault(changed(d, "seed: 7", "sede: 7"), 8, "sede", "did you mean seed?"));
    assert_true(
        one_fault(changed(d, "clip: 1.0", "clp: 1"), 6, "optimizer.clp", "did you mean clip?"));
    assert_true(one_fault(changed(d, "durability: step", "checkpoints: {}"), 11, "checkpoints",
                          "did you mean checkpoint?"));
    assert_true(one_fault(changed(d, "clip: 1.0", "pull: 1s"), 6, "optimizer.pull",
                          "move it into section timeouts"));
    assert_true(one_fault(changed(d, "clip: 1.0", "workers: 8"), 6, "optimizer.workers",
                          "move it to the top"));
    assert_true(one_fault(changed(d, "seed: 7", "zebra: 7"), 8, "zebra", "is not a key"));
    assert_true(one_fault(changed(d, "seed: 7", "[a, b]: 7"), 8, "", "not a plain word"));
}

static void runfile_keys_without_effect__are_faults_that_say_so(void **state) {
    (void)state;
    const char *d = design_text;
    assert_true(one_fault(changed(d, "clip: 1.0", "momentum: 0.9"), 6, "optimizer.momentum",
                          "no effect where optimizer.type is adamw"));
    assert_true(one_fault(changed(d, "vocab: bytes", "classes: 3"), 3, "model.classes",
                          "no effect where model.type is llama"));
    assert_true(one_fault(changed(d, "sequences: 64", "sequences: 64, samples: 64"), 5,
                          "batch.samples", "use sequences"));
    assert_true(one_fault(changed(d, "scheme: frc", "scheme: none"), 9, "code.s",
                          "no effect where code.scheme is none"));
    assert_true(one_fault(changed(d, "policy: early", "mu: 2"), 9, "code.mu",
                          "no effect where code.policy is early"));
}

static void runfile_missing_keys__are_all_listed(void **state) {
    (void)state;
    assert_int_equal(parse("kind: coded\nmodel:\n  type: llama\nbatch: {chunks: 4}\n"), BRG_EINVAL);
    assert_int_equal(faults.count, 9);
    assert_true(has_fault(0, "run", "is missing"));
    assert_true(has_fault(0, "steps", "is missing"));
    assert_true(has_fault(2, "model.dim", "is missing"));
    assert_true(has_fault(2, "model.layers", "is missing"));
    assert_true(has_fault(2, "model.heads", "is missing"));
    assert_true(has_fault(2, "model.context", "is missing"));
    assert_true(has_fault(0, "data.train", "is missing"));
    assert_true(has_fault(4, "batch.sequences", "is missing"));
    assert_true(has_fault(0, "optimizer.lr", "is missing"));
}

static void runfile_faults__come_all_at_once_in_the_order_of_lines(void **state) {
    (void)state;
    const char *text;
    text = keep(changed(design_text, "steps: 400", "steps: many"));
    text = keep(changed(text, "dim: 128", "dim: wide"));
    text = keep(changed(text, ", s: 1", ", s: 8"));
    text = keep(changed(text, "durability", "zebra"));
    assert_int_equal(parse(text), BRG_EINVAL);
    assert_int_equal(faults.count, 4);
    assert_string_equal(faults.items[0].key, "model.dim");
    assert_string_equal(faults.items[1].key, "steps");
    assert_string_equal(faults.items[2].key, "code.s");
    assert_string_equal(faults.items[3].key, "zebra");
    static const struct brg_run_config zero;
    assert_memory_equal(&config, &zero, sizeof zero);

    char *printed = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&printed, &size);
    brg_run_faults_print(&faults, "run.yaml", out);
    fclose(out);
    assert_non_null(strstr(printed, "\nrun.yaml:7: steps: is \"many\", but must be"));
    free(printed);
}

static void runfile_faults__stop_at_their_bound_and_count_the_rest(void **state) {
    (void)state;
    char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", design_text);
    for (int i = 0; i < 100; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "qqqqqqq%d: 1\n", i);
    }
    assert_int_equal(parse(text), BRG_EINVAL);
    assert_int_equal(faults.count, BRG_FAULTS_MAX);
    assert_int_equal(faults.left_out, 100 - BRG_FAULTS_MAX);
}

static void runfile_hostile_text__stays_one_plain_line(void **state) {
    (void)state;
    assert_int_equal(parse(changed(design_text, "seed: 7", "\"a\\e[2J\\n%s\\xff\": 7")),
                     BRG_EINVAL);
    assert_int_equal(parse(changed(design_text, "seed: 7", "seed: \"\\e[2J\\n%s%n\"")), BRG_EINVAL);
    assert_int_equal(faults.count, 1);
    for (const char *p = faults.items[0].text; *p != 0; p++) assert_true(*p >= 0x20 && *p < 0x7f);
}

static void runfile_yaml__is_bounded_and_plain(void **state) {
    (void)state;
    const char *d = design_text;
    assert_true(one_fault(changed(d, "seed: 7", "seed: 7\nsteps: 8"), 9, "steps",
                          "given twice, first on line 7"));
    assert_true(one_fault(changed(d, "clip: 1.0", "lr: 1"), 6, "optimizer.lr", "given twice"));
    assert_true(one_fault(changed(d, "seed: 7", "data: {train: b}"), 8, "data", "first on line 4"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: *x"), 8, "", "aliases"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: !!int 7"), 8, "", "tags"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: [[[[[7]]]]]"), 8, "", "nested"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: 7\n---\nseed: 8"), 9, "", "second YAML"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: [7"), 9, "", "valid YAML"));
    assert_true(one_fault(changed(d, "seed: 7", "seed: \xff"), 0, "", "UTF-8"));
    assert_true(one_fault("", 0, "", "empty"));
    assert_true(one_fault("# nothing\n", 0, "", "empty"));
    assert_true(one_fault("- a\n- b\n", 1, "", "keys with values"));
    assert_true(one_fault(changed(d, "data: {train: kjv.txt, held_out: 5%}", "data: kjv.txt"), 4,
                          "data", "must hold keys, such as  data: {train: ...}"));
}

static void runfile_too_large__is_refused_unread(void **state) {
    (void)state;
    size_t size = BRG_RUNFILE_BYTES_MAX + 1;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, '#', size);
    assert_int_equal(brg_runfile_parse(text, size, NULL, 0, &config, &faults), BRG_EINVAL);
    assert_non_null(strstr(faults.items[0].text, "at most 1048576"));
    for (size_t i = 0; i + 1 < size; i += 2) memcpy(text + i, "a\n", 2);
    memcpy(text, "x: [", 4);
    for (size_t i = 4; i + 1 < size; i += 2) memcpy(text + i, "a,", 2);
    assert_int_equal(brg_runfile_parse(text, size - 1, NULL, 0, &config, &faults), BRG_EINVAL);
    assert_non_null(strstr(faults.items[0].text, "this is no run file"));
    for (size_t i = 0; i < size; i++) text[i] = '[';
    assert_int_equal(brg_runfile_parse(text, size - 1, NULL, 0, &config, &faults), BRG_EINVAL);
    assert_non_null(strstr(faults.items[0].text, "nested"));
    free(text);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void runfile_on_disk__sees_paths_from_its_folder_and_checks_them(void **state) {
    (void)state;
    char dir[] = "/tmp/brg-runfile-XXXXXX", path[64], data[64], want[64];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/run.yaml", dir);
    (void)snprintf(data, sizeof data, "%s/kjv.txt", dir);
    write_file(path, design_text);
    uint32_t check = BRG_RUNFILE_CHECK_FILES;
    assert_int_equal(brg_runfile_read(path, 0, &config, &faults), BRG_OK);
    assert_string_equal(config.data.train, data);
    (void)snprintf(want, sizeof want, "%s/ckpt/", dir);
    assert_string_equal(config.checkpoint.dir, want);

    assert_int_equal(brg_runfile_read(path, check, &config, &faults), BRG_EINVAL);
    assert_true(has_fault(4, "data.train", "No such file"));
    write_file(data, "");
    assert_int_equal(brg_runfile_read(path, check, &config, &faults), BRG_EINVAL);
    assert_true(has_fault(4, "data.train", "is empty"));
    write_file(data, "In the beginning");
    assert_int_equal(brg_runfile_read(path, check, &config, &faults), BRG_OK);
    assert_int_equal(unlink(data), 0);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(brg_runfile_read(path, check, &config, &faults), BRG_EINVAL);
    assert_true(has_fault(4, "data.train", "is no file"));

    assert_int_equal(unlink(path), 0);
    assert_int_equal(brg_runfile_read(path, check, &config, &faults), BRG_ENOENT);
    assert_true(has_fault(0, "", "cannot be read: No such file"));
    assert_int_equal(brg_runfile_read(dir, check, &config, &faults), BRG_EINVAL);
    assert_int_equal(faults.count, 1);
    rmdir(data);
    rmdir(dir);
}

static void runfile_path__that_gets_too_long_is_refused(void **state) {
    (void)state;
    char folder[BRG_PATH_BYTES];
    memset(folder, 'a', sizeof folder);
    folder[0] = '/';
    folder[sizeof folder - 5] = 0;
    assert_int_equal(
        brg_runfile_parse(design_text, strlen(design_text), folder, 0, &config, &faults),
        BRG_EINVAL);
    assert_true(has_fault(4, "data.train", "longer than 511"));
    assert_true(has_fault(10, "checkpoint.dir", "longer than 511"));
    assert_int_equal(parse(changed(design_text, "kjv.txt", "/else/kjv.txt")), BRG_OK);
    assert_string_equal(config.data.train, "/else/kjv.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runfile_of_the_design__is_read_as_it_stands),
        cmocka_unit_test(runfile_of_a_classifier__is_read_with_its_own_keys),
        cmocka_unit_test(runfile_values__are_held_to_type_range_and_unit),
        cmocka_unit_test(runfile_unknown_keys__get_a_proposal),
        cmocka_unit_test(runfile_keys_without_effect__are_faults_that_say_so),
        cmocka_unit_test(runfile_missing_keys__are_all_listed),
        cmocka_unit_test(runfile_faults__come_all_at_once_in_the_order_of_lines),
        cmocka_unit_test(runfile_faults__stop_at_their_bound_and_count_the_rest),
        cmocka_unit_test(runfile_hostile_text__stays_one_plain_line),
        cmocka_unit_test(runfile_yaml__is_bounded_and_plain),
        cmocka_unit_test(runfile_too_large__is_refused_unread),
        cmocka_unit_test(runfile_on_disk__sees_paths_from_its_folder_and_checks_them),
        cmocka_unit_test(runfile_path__that_gets_too_long_is_refused),
    };
    return cmocka_run_group_tests_name("runfile", tests, NULL, NULL) != 0;
}
