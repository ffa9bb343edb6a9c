/* With --write as its only argument, the program makes docs/CONFIG.md anew instead of testing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "coordinator/shell/runfile_private.h"
#include "model/model.h"
#include "tests/unit/coordinator_shell/runfile_texts.h"

static void check_round_trip(const char *text) {
    char *written = NULL, *again = NULL;
    struct brg_why why;
    int rc = parse(text);
    brg_run_faults_print(&faults, "first", stdout);
    assert_int_equal(rc, BRG_OK);
    struct brg_run_config first = config;
    assert_int_equal(brg_run_config_text(&first, &written), BRG_OK);
    rc = brg_runfile_parse(written, strlen(written), "/elsewhere", 0, &config, &faults);
    brg_run_faults_print(&faults, "written", stdout);
    assert_int_equal(rc, BRG_OK);
    assert_memory_equal(&config, &first, sizeof first);
    assert_int_equal(brg_run_config_text(&config, &again), BRG_OK);
    assert_string_equal(written, again);
    assert_int_equal(brg_run_config_check(&first, &why), BRG_OK);
    free(written);
    free(again);
}

static void runfile_written__reads_back_to_the_same_struct(void **state) {
    (void)state;
    check_round_trip(design_text);
    check_round_trip(digits_text);
    check_round_trip(
        changed(design_text, "kjv.txt", "\"a \\\"b\\\" \\\\ # \xc3\xbc\\u2028\\ufeff: c\""));
    check_round_trip(changed(design_text, "lr: 3e-3", "lr: 0.0033333333"));
    check_round_trip(changed(design_text, "5%", "0%"));
    check_round_trip(changed(design_text, "5%", "0.1234%"));
    check_round_trip(changed(design_text, "seed: 7", "seed: 18446744073709551615"));
    check_round_trip(changed(design_text, "policy: early", "policy: minwait, mu: 0.25"));
    check_round_trip(changed(design_text, "seed: 7", "timeouts: {pull: 1.5s, task: 4500ms}"));
    check_round_trip(changed(digits_text, "[128, 64]", "7"));
    static const char *const codes[] = {
        "auto",
        "{scheme: auto, minimise: cost}",
        "{scheme: speculative, parts: 2, mu: 0.25}",
        "{scheme: none, parts: 2}",
        "{scheme: frc, s: 1, parts: 4, delay: 1, policy: minwait, mu: 0.5, rule: model}",
        "{scheme: sr-sgc, b: 2, w: 5, lambda: 4, base: cyclic, policy: paper, rule: model}",
        "{scheme: m-sgc, b: 1, w: 3}",
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        const char *text = changed(design_text, "{scheme: frc, s: 1, policy: early}", codes[i]);
        check_round_trip(changed(text, "seed: 7", "models: 4"));
    }
    check_round_trip(changed(design_text, "seed: 7",
                             "models: 2\nsweep: {lr: [0.0033333333, 1e-2], "
                             "seed: [18446744073709551615, 0], data_seed: [5, 5]}"));
}

static void runfile_softmax__has_no_hidden_layers(void **state) {
    (void)state;
    const char *text;
    text = keep(changed(digits_text, "type: mlp", "type: softmax"));
    assert_true(one_fault(text, 6, "model.hidden", "no effect where model.type is softmax"));
    check_round_trip(changed(text, "  hidden: [128, 64]\n", ""));
}

static void runfile_struct_from_elsewhere__is_held_to_the_same_rules(void **state) {
    (void)state;
    struct brg_why why;
    assert_int_equal(parse(design_text), BRG_OK);
    struct brg_run_config good = config, c = good;
    c.code.s = 8;
    assert_int_equal(brg_run_config_check(&c, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "code.s: 8 stragglers"));
    c = good;
    c.model.type = 77;
    assert_int_equal(brg_run_config_check(&c, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "model.type"));
    c = good;
    c.code.n = 9; /* not what workers says */
    assert_int_equal(brg_run_config_check(&c, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "contradicts itself"));
    c = good;
    memset(c.name, 'a', sizeof c.name - 1);
    c.name[3] = '\n';
    assert_int_equal(brg_run_config_check(&c, NULL), BRG_EINVAL);
    c = good;
    c.optimizer.lr = -1.0f;
    assert_int_equal(brg_run_config_check(&c, &why), BRG_EINVAL);
    assert_int_equal(brg_run_config_check(&good, &why), BRG_OK);
}

static void runfile_prediction__follows_the_parameter_count(void **state) {
    (void)state;
    struct brg_run_prediction p;
    assert_int_equal(parse(design_text), BRG_OK);
    brg_run_config_predict(&config, &p);
    /* By hand: embedding 256*128; a layer 2*128^2 + 2*128*64 + 3*128*352 + 2*128; last gain 128. */
    uint64_t want = 256 * 128 + 4 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 352 + 2 * 128) + 128;
    assert_true(p.parameters == want);
    assert_true(p.parameter_bytes == 4 * want);
    assert_true(p.sent_bytes == 8 * 4 * want);
    assert_true(p.received_bytes == 4 * 4 * want); /* one share a group */
    assert_int_equal(p.units, 4);
    assert_int_equal(p.chunks_each, 4);
    assert_true(p.log_bytes == 4 * want);
    assert_true(p.checkpoint_bytes == 3 * 4 * want); /* with both moments of AdamW */
    assert_true(p.worker_memory_bytes > p.parameter_bytes);

    assert_int_equal(parse(digits_text), BRG_OK);
    brg_run_config_predict(&config, &p);
    assert_true(p.parameters == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10);
    assert_int_equal(p.units, 4);       /* 6 workers less 2 */
    assert_int_equal(p.chunks_each, 6); /* 2 chunks, three times */
}

static char *text_of(int (*print)(FILE *)) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(print(out), BRG_OK);
    assert_int_equal(fclose(out), 0);
    return text;
}

static int explain(FILE *out) {
    return brg_run_config_explain(&config, out);
}

static void runfile_explained__shows_every_key_that_applies(void **state) {
    (void)state;
    assert_int_equal(parse(design_text), BRG_OK);
    char *text = text_of(explain);
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        const struct key *key = &brg_runfile_keys[i];
        char line[128];
        (void)snprintf(line, sizeof line, "\n%s%s: ", *key->section != 0 ? "  " : "", key->name);
        if (i == 0) continue; /* nothing stands before the first */
        if (brg_key_applies(&config, key)) assert_non_null(strstr(text, line));
    }
    assert_null(strstr(text, "\n  classes"));
    assert_non_null(strstr(text, "memory of a worker     about "));
    for (const char *p = text; *p != 0; p += strcspn(p, "\n") + 1) {
        assert_true(strcspn(p, "\n") <= 100);
    }
    free(text);
}

static void runfile_write_that_fails__is_said(void **state) {
    (void)state;
    assert_int_equal(parse(design_text), BRG_OK);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(brg_run_config_write(&config, full), BRG_EIO);
    assert_int_equal(brg_run_config_explain(&config, full), BRG_EIO);
    assert_int_equal(brg_runfile_reference(full), BRG_EIO);
    (void)fclose(full);
}

static void docs_path(const char *name, char *out, size_t size) {
    const char *here = __FILE__; /* ROOT/tests/unit/coordinator_shell/test_runfile_write.c */
    const char *end = strstr(here, "tests/unit/");
    assert_non_null(end);
    (void)snprintf(out, size, "%.*sdocs/%s", (int)(end - here), here, name);
}

static void runfile_reference__is_what_the_document_says(void **state) {
    (void)state;
    char path[1024];
    docs_path("CONFIG.md", path, sizeof path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char *want = text_of(brg_runfile_reference);
    char *got = calloc(1, strlen(want) + 2);
    assert_non_null(got);
    (void)fread(got, 1, strlen(want) + 1, in);
    (void)fclose(in);
    if (strcmp(got, want) != 0) printf("docs/CONFIG.md is old: run this program with --write\n");
    assert_string_equal(got, want);
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        char cell[80];
        (void)snprintf(cell, sizeof cell, "\n| `%s` |", brg_runfile_keys[i].name);
        assert_non_null(strstr(got, cell));
    }
    free(got);
    free(want);
}

/* A reader of the manual tries its example first. */
static void runfile_example_of_the_document__is_valid(void **state) {
    (void)state;
    char *text = text_of(brg_runfile_reference);
    char *start = strstr(text, "```yaml\n");
    assert_non_null(start);
    start += strlen("```yaml\n");
    char *end = strstr(start, "```");
    assert_non_null(end);
    *end = 0;
    assert_int_equal(parse(start), BRG_OK);
    free(text);
}

static void runfile_examples__are_valid(void **state) {
    (void)state;
    static const char *const names[] = {"digits", "kjv", "sweep", "auto", "pipeline"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[1024], name[64];
        (void)snprintf(name, sizeof name, "examples/%s.yaml", names[i]);
        docs_path(name, path, sizeof path);
        const int rc = brg_runfile_read(path, BRG_RUNFILE_OFFLINE, &config, &faults);
        if (rc != BRG_OK) brg_run_faults_print(&faults, path, stdout);
        assert_int_equal(rc, BRG_OK);
        assert_string_equal(config.name, names[i]);
    }
}

static int write_document(void) {
    char path[1024];
    docs_path("CONFIG.md", path, sizeof path);
    FILE *out = fopen(path, "w");
    if (out == NULL) return 1;
    int rc = brg_runfile_reference(out);
    return fclose(out) != 0 || rc != BRG_OK;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runfile_written__reads_back_to_the_same_struct),
        cmocka_unit_test(runfile_softmax__has_no_hidden_layers),
        cmocka_unit_test(runfile_struct_from_elsewhere__is_held_to_the_same_rules),
        cmocka_unit_test(runfile_prediction__follows_the_parameter_count),
        cmocka_unit_test(runfile_explained__shows_every_key_that_applies),
        cmocka_unit_test(runfile_write_that_fails__is_said),
        cmocka_unit_test(runfile_reference__is_what_the_document_says),
        cmocka_unit_test(runfile_example_of_the_document__is_valid),
        cmocka_unit_test(runfile_examples__are_valid),
    };
    if (argc == 2 && strcmp(argv[1], "--write") == 0) return write_document();
    return cmocka_run_group_tests_name("runfile_write", tests, NULL, NULL) != 0;
}
