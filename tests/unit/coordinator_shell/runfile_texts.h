/* runfile_texts.h - run files for the tests of runfile.h, and what must be found in them. */
#ifndef BRG_TEST_RUNFILE_TEXTS_H
#define BRG_TEST_RUNFILE_TEXTS_H

#include <string.h>

#include "coordinator/shell/runfile.h"

/* The run file of the design, less the sections of later versions. Line numbers matter. */
static const char design_text[] =
    /* 1 */ "run: kjv-tiny\n"
            /* 2 */ "kind: coded                      # one of four\n"
            /* 3 */ "model: {type: llama, dim: 128, layers: 4, heads: 4, "
            "kv_heads: 2, hidden: 352, context: 128, vocab: bytes}\n"
            /* 4 */ "data: {train: kjv.txt, held_out: 5%}\n"
            /* 5 */ "batch: {sequences: 64, chunks: 16}\n"
            /* 6 */ "optimizer: {type: adamw, lr: 3e-3, warmup: 50, "
            "schedule: cosine, clip: 1.0}\n"
            /* 7 */ "steps: 400\n"
            /* 8 */ "seed: 7\n"
            /* 9 */ "code: {scheme: frc, s: 1, policy: early}\n"
            /* 10 */ "checkpoint: {every: 50, keep: 3, dir: ckpt/}\n"
            /* 11 */ "durability: step\n";

static const char digits_text[] = /* 1 */ "run: digits\n"
                                          /* 2 */ "model:\n"
                                          /* 3 */ "  type: mlp\n"
                                          /* 4 */ "  inputs: 784\n"
                                          /* 5 */ "  classes: 10\n"
                                          /* 6 */ "  hidden: [128, 64]\n"
                                          /* 7 */ "data:\n"
                                          /* 8 */ "  train: train-images-idx3-ubyte.gz\n"
                                          /* 9 */ "  train_labels: train-labels-idx1-ubyte.gz\n"
                                          /* 10 */ "  test: t10k-images-idx3-ubyte.gz\n"
                                          /* 11 */ "  test_labels: t10k-labels-idx1-ubyte.gz\n"
                                          /* 12 */ "batch:\n"
                                          /* 13 */ "  samples: 240\n"
                                          /* 14 */ "  chunks: 12\n"
                                          /* 15 */ "optimizer:\n"
                                          /* 16 */ "  type: sgd\n"
                                          /* 17 */ "  lr: 0.1\n"
                                          /* 18 */ "steps: 100\n"
                                          /* 19 */ "workers: 6\n"
                                          /* 20 */ "code:\n"
                                          /* 21 */ "  scheme: cyclic\n"
                                          /* 22 */ "  s: 2\n"
                                          /* 23 */ "  policy: paper\n";

static struct brg_run_config config;
static struct brg_run_faults faults;

#define TEXT_BYTES 8192u

/* `text` with the first `from` replaced by `to`; the place must exist. The result lasts until the
 * call after the next, so that calls can be nested. */
static inline const char *changed(const char *text, const char *from, const char *to) {
    static char buffers[2][TEXT_BYTES];
    static int turn;
    const char *at = strstr(text, from);
    if (at == NULL || strlen(text) + strlen(to) >= TEXT_BYTES) abort();
    size_t before = (size_t)(at - text);
    char *out = buffers[turn ^= 1];
    memcpy(out, text, before);
    memcpy(out + before, to, strlen(to));
    memcpy(out + before + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    return out;
}

/* A copy of `text` that lasts until the next call. */
static inline const char *keep(const char *text) {
    static char kept[TEXT_BYTES];
    if (strlen(text) >= TEXT_BYTES) abort();
    memmove(kept, text, strlen(text) + 1);
    return kept;
}

static inline int parse(const char *text) {
    return brg_runfile_parse(text, strlen(text), "/runs", BRG_RUNFILE_OFFLINE, &config, &faults);
}

/* 1 where exactly one fault was found: on `line`, of `key`, with `part` in its sentence. */
static inline int one_fault(const char *text, uint32_t line, const char *key, const char *part) {
    int rc = parse(text);
    const struct brg_run_fault *f = &faults.items[0];
    if (rc == BRG_EINVAL && faults.count == 1 && f->line == line && strcmp(f->key, key) == 0 &&
        strstr(f->text, part) != NULL) {
        return 1;
    }
    printf("wanted %u: %s: ...%s..., got %d and %u faults\n", line, key, part, rc, faults.count);
    brg_run_faults_print(&faults, "got", stdout);
    return 0;
}

/* 1 where this is among the faults of the last parse. */
static inline int has_fault(uint32_t line, const char *key, const char *part) {
    for (uint32_t i = 0; i < faults.count; i++) {
        const struct brg_run_fault *f = &faults.items[i];
        if (f->line == line && strcmp(f->key, key) == 0 && strstr(f->text, part) != NULL) return 1;
    }
    printf("wanted %u: %s: ...%s..., got\n", line, key, part);
    brg_run_faults_print(&faults, "got", stdout);
    return 0;
}

#endif
