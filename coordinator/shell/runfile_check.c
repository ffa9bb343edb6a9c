/* runfile_check.c - what follows from other keys, and the rules between keys. A rule looks only at
 * keys that have a value of their own, so that one slip is one fault. */
#include "coordinator/shell/runfile_private.h"

#include "base/file.h"
#include "base/units.h"
#include "coding/policy.h"
#include "coding/scheme.h"
#include "model/model.h"
#include "model/optimizer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HELD_OUT_DEFAULT 0.05
#define EVAL_EVERY_DEFAULT 50u

/* --- small questions ------------------------------------------------------------------------ */

static const struct key_state *state_of(const struct reader *r, const char *path) {
    uint32_t row = brg_key_find(r, path);
    BRG_ASSERT(row < KEYS_MAX);
    return &r->states[row];
}

static int valid(const struct reader *r, const char *path) {
    return state_of(r, path)->valid;
}

static int given(const struct reader *r, const char *path) {
    return state_of(r, path)->line != 0;
}

/* Of the first of two keys that is in the file; else of its section. */
static uint32_t line_of(const struct reader *r, const char *path, const char *other) {
    uint32_t line = state_of(r, path)->line;
    if (line == 0 && other != NULL) line = state_of(r, other)->line;
    if (line == 0) {
        uint32_t row = brg_key_find(r, path);
        line = r->section_lines[brg_runfile_section_find(brg_runfile_keys[row].section)];
    }
    return line;
}

/* A derived value has been filled in. */
static void set_valid(struct reader *r, const char *path) {
    uint32_t row = brg_key_find(r, path);
    BRG_ASSERT(row < KEYS_MAX);
    r->states[row].valid = 1;
}

/* 1 where the key was left out and what its default follows from is known. */
static int wants(const struct reader *r, const char *path, const char *needs) {
    return !given(r, path) && state_of(r, path)->applies && (needs == NULL || valid(r, needs));
}

static int is_llama(const struct reader *r) {
    return r->config->model.type == BRG_MODEL_LLAMA;
}

static const char *samples_key(const struct reader *r) {
    return is_llama(r) ? "batch.sequences" : "batch.samples";
}

/* Shares that a step needs. asserts: code.s < workers */
static uint32_t units_of(const struct brg_run_config *c) {
    BRG_ASSERT(c->code.s < c->workers);
    if (c->code.kind == BRG_CODE_FRC) return c->workers / (c->code.s + 1);
    return c->workers - c->code.s; /* s is 0 for none */
}

/* --- defaults that follow from other keys --------------------------------------------------- */

static int has_ending(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

static void derive_data(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (wants(r, "data.format", "data.train") && valid(r, "model.type")) {
        const char *name = c->data.train;
        if (is_llama(r)) {
            c->data.format = c->model.vocab == 256 ? BRG_DATA_TEXT : BRG_DATA_SHARD;
            if (has_ending(name, ".bin")) c->data.format = BRG_DATA_SHARD;
        } else {
            int idx = has_ending(name, "ubyte") || has_ending(name, "ubyte.gz");
            c->data.format = idx ? BRG_DATA_IDX : BRG_DATA_CSV;
        }
        set_valid(r, "data.format");
    }
    if (wants(r, "data.held_out", NULL)) {
        c->data.held_out = given(r, "data.test") ? 0 : HELD_OUT_DEFAULT;
        set_valid(r, "data.held_out");
    }
    if (wants(r, "eval.every", "data.held_out")) {
        int none = c->data.held_out == 0 && !given(r, "data.test");
        c->eval.every_steps = none ? 0 : EVAL_EVERY_DEFAULT;
        set_valid(r, "eval.every");
    }
}

static void derive_model(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (!valid(r, "model.type") || !is_llama(r)) return;
    if (wants(r, "model.kv_heads", "model.heads")) {
        c->model.kv_heads = c->model.heads;
        set_valid(r, "model.kv_heads");
    }
    if (wants(r, "model.hidden", "model.dim")) {
        c->model.hidden = (c->model.dim * 8 / 3 + 31) / 32 * 32;
        set_valid(r, "model.hidden");
    }
}

static void derive_code(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (wants(r, "workers", NULL)) {
        int few = valid(r, "batch.chunks") && c->batch.chunks < 8;
        c->workers = few ? c->batch.chunks : 8;
        set_valid(r, "workers");
    }
    if (wants(r, "batch.chunks", "workers")) {
        c->batch.chunks = c->workers;
        set_valid(r, "batch.chunks");
    }
    if (wants(r, "code.s", "workers")) {
        c->code.s = c->workers > 1 ? 1 : 0;
        set_valid(r, "code.s");
    }
    if (wants(r, "code.seed", "seed")) {
        c->code.seed = c->seed;
        set_valid(r, "code.seed");
    }
    c->code.n = c->workers;
    c->code.chunks = c->batch.chunks;
    int s_known = valid(r, "code.s") || c->code.kind == BRG_CODE_NONE;
    if (wants(r, "min_workers", "workers") && valid(r, "code.scheme") && s_known &&
        c->code.s < c->workers) {
        c->min_workers = units_of(c);
        set_valid(r, "min_workers");
    }
}

static void derive_batch(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (!valid(r, "model.type") || !valid(r, samples_key(r)) || !valid(r, "batch.chunks")) return;
    if (!wants(r, "batch.microbatch", NULL)) return;
    uint32_t chunk = (c->batch.samples + c->batch.chunks - 1) / c->batch.chunks;
    uint32_t most = is_llama(r) ? 8 : 256;
    c->batch.microbatch = chunk < most ? chunk : most;
    set_valid(r, "batch.microbatch");
}

void brg_run_derive(struct reader *r) {
    derive_model(r);
    derive_data(r);
    derive_code(r);
    derive_batch(r);
    r->config->optimizer.total_steps = r->config->steps;
}

/* --- rules ---------------------------------------------------------------------------------- */

static void check_model(struct reader *r) {
    const struct brg_model_spec *m = &r->config->model;
    if (!valid(r, "model.type") || !is_llama(r)) return;
    if (valid(r, "model.dim") && valid(r, "model.heads")) {
        if (m->dim % m->heads != 0) {
            brg_fault_add(r->faults, line_of(r, "model.heads", "model.dim"), "model", "heads",
                          "%" PRIu32 " heads do not divide dim %" PRIu32
                          ": make dim a multiple of heads, such as %" PRIu32,
                          m->heads, m->dim, (m->dim / m->heads + 1) * m->heads);
        } else if (m->dim / m->heads % 2 != 0 || m->dim / m->heads > BRG_HEAD_DIM_MAX) {
            brg_fault_add(r->faults, line_of(r, "model.heads", "model.dim"), "model", "heads",
                          "dim / heads is %" PRIu32 ", but the rotary embedding turns pairs: it "
                          "must be even and at most %u; change dim or heads",
                          m->dim / m->heads, BRG_HEAD_DIM_MAX);
        }
    }
    if (valid(r, "model.heads") && valid(r, "model.kv_heads") && m->heads % m->kv_heads != 0) {
        brg_fault_add(r->faults, line_of(r, "model.kv_heads", "model.heads"), "model", "kv_heads",
                      "%" PRIu32 " does not divide heads %" PRIu32
                      ": use a divisor, or leave it out for one each",
                      m->kv_heads, m->heads);
    }
    if (valid(r, "model.hidden") && m->hidden % 8 != 0) {
        brg_fault_add(r->faults, line_of(r, "model.hidden", NULL), "model", "hidden",
                      "%" PRIu32 " is not a multiple of 8: use %" PRIu32 " or %" PRIu32, m->hidden,
                      m->hidden / 8 * 8, (m->hidden / 8 + 1) * 8);
    }
}

static void check_format(struct reader *r) {
    const struct brg_run_config *c = r->config;
    uint32_t line = line_of(r, "data.format", "data.train");
    uint32_t format = c->data.format;
    if (!valid(r, "data.format") || !valid(r, "model.type")) return;
    int tokens = format == BRG_DATA_TEXT || format == BRG_DATA_SHARD;
    if (is_llama(r) != tokens) {
        brg_fault_add(r->faults, line, "data", "format",
                      is_llama(r)
                          ? "holds no tokens, which a llama needs: use text or shard data"
                          : "holds tokens, which a classifier cannot use: use idx or csv data");
    } else if (format == BRG_DATA_TEXT && valid(r, "model.vocab") && c->model.vocab != 256) {
        brg_fault_add(r->faults, line_of(r, "model.vocab", NULL), "model", "vocab",
                      "%" PRIu32 " does not fit text, whose tokens are the 256 byte values: write "
                      "vocab: bytes, or use format: shard",
                      c->model.vocab);
    }
    int idx = format == BRG_DATA_IDX && !is_llama(r);
    if (idx && !given(r, "data.train_labels")) {
        brg_fault_add(r->faults, line, "data", "train_labels",
                      "is missing: idx keeps labels in a file of their own; name it");
    }
    if (idx && given(r, "data.test") && !given(r, "data.test_labels")) {
        brg_fault_add(r->faults, line_of(r, "data.test", NULL), "data", "test_labels",
                      "is missing: idx keeps labels in a file of their own; name it");
    }
    static const char *const labels[] = {"data.train_labels", "data.test_labels"};
    for (int i = 0; i < 2 && format == BRG_DATA_CSV && !is_llama(r); i++) {
        if (!given(r, labels[i])) continue;
        brg_fault_add(r->faults, line_of(r, labels[i], NULL), "data", labels[i] + 5,
                      "has no effect with csv, whose last column is the label: remove it");
    }
}

static void check_data(struct reader *r) {
    const struct brg_run_config *c = r->config;
    check_format(r);
    int classifier = valid(r, "model.type") && !is_llama(r);
    if (classifier && given(r, "data.test_labels") && !given(r, "data.test")) {
        brg_fault_add(r->faults, line_of(r, "data.test_labels", NULL), "data", "test_labels",
                      "has no effect without test: name the test file or remove it");
    }
    if (valid(r, "data.held_out") && c->data.held_out > 0 && given(r, "data.test")) {
        brg_fault_add(r->faults, line_of(r, "data.held_out", "data.test"), "data", "held_out",
                      "contradicts test: keep test and remove held_out, or the other way round");
    }
    if (valid(r, "data.held_out") && c->data.held_out == 0 && !given(r, "data.test") &&
        valid(r, "eval.every") && c->eval.every_steps > 0) {
        brg_fault_add(r->faults, line_of(r, "eval.every", "data.held_out"), "eval", "every",
                      "has nothing to look at: set data.held_out above 0%%, name data.test, or set "
                      "it to 0");
    }
}

/* Opens the file as the run would: the rights of this very user on this very file. */
static void check_file(struct reader *r, const char *key, const char *path) {
    struct stat st;
    if (path[0] == 0) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        brg_fault_add(r->faults, line_of(r, key, NULL), "data", key + 5,
                      "%.250s: %s: check the path", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        brg_fault_add(r->faults, line_of(r, key, NULL), "data", key + 5,
                      "%.250s is no file: name a file", path);
    } else if (st.st_size == 0) {
        brg_fault_add(r->faults, line_of(r, key, NULL), "data", key + 5,
                      "%.250s is empty: check it", path);
    }
    if (fd >= 0) (void)close(fd);
}

static void check_files(struct reader *r) {
    const struct brg_data_spec *d = &r->config->data;
    if ((r->flags & BRG_RUNFILE_CHECK_FILES) == 0) return;
    if (valid(r, "data.train")) check_file(r, "data.train", d->train);
    if (valid(r, "data.test")) check_file(r, "data.test", d->test);
    if (valid(r, "data.train_labels")) check_file(r, "data.train_labels", d->train_labels);
    if (valid(r, "data.test_labels")) check_file(r, "data.test_labels", d->test_labels);
}

static void check_batch(struct reader *r) {
    const struct brg_run_config *c = r->config;
    if (!valid(r, "model.type") || !valid(r, samples_key(r)) || !valid(r, "batch.chunks")) return;
    const char *key = samples_key(r);
    if (c->batch.samples < c->batch.chunks) {
        brg_fault_add(r->faults, line_of(r, key, "batch.chunks"), "batch", key + 6,
                      "%" PRIu32 " cannot fill %" PRIu32 " chunks: set it to %" PRIu32
                      " or more, or chunks to %" PRIu32 " or less",
                      c->batch.samples, c->batch.chunks, c->batch.chunks, c->batch.samples);
        return;
    }
    uint32_t chunk = (c->batch.samples + c->batch.chunks - 1) / c->batch.chunks;
    if (given(r, "batch.microbatch") && valid(r, "batch.microbatch") &&
        c->batch.microbatch > chunk) {
        brg_fault_add(r->faults, line_of(r, "batch.microbatch", NULL), "batch", "microbatch",
                      "%" PRIu32 " is more than a chunk has, %" PRIu32 ": set it to at most that",
                      c->batch.microbatch, chunk);
    }
}

static void check_sequential(struct reader *r) {
    const char *name = r->sequential == 1 ? "sr-sgc" : "m-sgc";
    uint32_t burst = r->burst > 0 ? r->burst : 1;
    uint32_t window = r->window > burst ? r->window : burst + 1;
    if (r->sequential == 0) return;
    /* SR-SGC finishes burst rounds late, M-SGC window - 2 + burst (Krishnan et al., ICLR 2023). */
    uint32_t delay = r->sequential == 1 ? burst : window - 2 + burst;
    if (!valid(r, "models") || r->config->models > delay) return;
    brg_fault_add(r->faults, line_of(r, "models", "code.scheme"), "", "models",
                  "%" PRIu32 " is too few for %s, which finishes a step T = %" PRIu32
                  " round%s late "
                  "and fills that time with other models: it needs T + 1 = %" PRIu32
                  "; use code.scheme: frc, which needs one",
                  r->config->models, name, delay, delay == 1 ? "" : "s", delay + 1);
}

static void check_code_counts(struct reader *r) {
    const struct brg_run_config *c = r->config;
    uint32_t line = line_of(r, "batch.chunks", "workers");
    uint32_t units = units_of(c), n = c->workers, chunks = c->batch.chunks;
    if (c->code.kind == BRG_CODE_CYCLIC && chunks % n != 0) {
        brg_fault_add(r->faults, line, "batch", "chunks",
                      "%" PRIu32 " is not a multiple of workers %" PRIu32
                      ", which cyclic needs: use %" PRIu32,
                      chunks, n, (chunks / n + 1) * n);
    } else if (chunks < units) {
        brg_fault_add(r->faults, line, "batch", "chunks",
                      "%" PRIu32 " cannot be dealt to %" PRIu32 " %s: use %" PRIu32
                      " or more, or fewer workers",
                      chunks, units, c->code.kind == BRG_CODE_FRC ? "groups" : "workers", units);
    } else {
        struct brg_why why;
        if (brg_scheme_check(&c->code, &why) != BRG_OK) {
            brg_fault_add(r->faults, line_of(r, "code.scheme", "code.s"), "code", "scheme", "%s",
                          why.text);
        }
    }
}

static void check_code(struct reader *r) {
    const struct brg_run_config *c = r->config;
    check_sequential(r);
    if (valid(r, "models") && c->models > 1 && r->sequential == 0) {
        brg_fault_add(r->faults, line_of(r, "models", NULL), "", "models",
                      "%" PRIu32 " models need a sequential code, which is not available in this "
                      "version: set it to 1 and submit a run each",
                      c->models);
    }
    if (valid(r, "workers") && valid(r, "min_workers") && c->min_workers > c->workers) {
        brg_fault_add(r->faults, line_of(r, "min_workers", "workers"), "", "min_workers",
                      "%" PRIu32 " is more than workers %" PRIu32 ": set it to at most that",
                      c->min_workers, c->workers);
    }
    if (!valid(r, "code.scheme") || !valid(r, "workers")) return;
    if (c->code.kind != BRG_CODE_NONE) {
        if (!valid(r, "code.s")) return;
        if (c->code.s >= c->workers) {
            brg_fault_add(r->faults, line_of(r, "code.s", "workers"), "code", "s",
                          "%" PRIu32 " stragglers of %" PRIu32 " workers leave nobody to answer: "
                          "set s to at most %" PRIu32 ", or workers to more than %" PRIu32,
                          c->code.s, c->workers, c->workers - 1, c->code.s);
            return;
        }
    }
    if (valid(r, "batch.chunks") && valid(r, "code.policy")) check_code_counts(r);
}

/* `key` must be at least `factor` times `least`. */
static void check_not_below(struct reader *r, const char *key, uint64_t value_ns, const char *least,
                            uint64_t least_ns, uint64_t factor, const char *reason) {
    char value[BRG_UNITS_TEXT_BYTES], other[BRG_UNITS_TEXT_BYTES], want[BRG_UNITS_TEXT_BYTES];
    if (!valid(r, key) || !valid(r, least) || value_ns >= least_ns * factor) return;
    brg_fault_add(r->faults, line_of(r, key, least), "timeouts", strchr(key, '.') + 1,
                  "%s is too short for %s %s: %s; set it to %s or more",
                  brg_duration_text(value_ns, value), least, brg_duration_text(least_ns, other),
                  reason, brg_duration_text(least_ns * factor, want));
}

static void check_timeouts(struct reader *r) {
    const struct brg_run_timeouts *t = &r->config->timeouts;
    if (t->round_patience_ns > 0 && valid(r, "timeouts.round_patience")) {
        check_not_below(r, "timeouts.task", t->task_ns, "timeouts.round_patience",
                        t->round_patience_ns, 1, "patience beyond it has no effect");
    }
}

static void check_steps(struct reader *r) {
    const struct brg_run_config *c = r->config;
    if (!valid(r, "steps")) return;
    if (valid(r, "optimizer.warmup") && c->optimizer.warmup_steps >= c->steps) {
        brg_fault_add(r->faults, line_of(r, "optimizer.warmup", "steps"), "optimizer", "warmup",
                      "%" PRIu64 " steps are not over before the run's %" PRIu64
                      " steps are: set it to less",
                      c->optimizer.warmup_steps, c->steps);
    }
    if (c->durability == BRG_DURABILITY_CHECKPOINT && valid(r, "checkpoint.every") &&
        c->checkpoint.every_steps > c->steps) {
        brg_fault_add(r->faults, line_of(r, "checkpoint.every", "durability"), "checkpoint",
                      "every",
                      "%" PRIu64 " is more than steps %" PRIu64 ": with durability: checkpoint a "
                      "restart would begin anew; set it to less",
                      c->checkpoint.every_steps, c->steps);
    }
}

/* The checks of the folders below stand behind ours: they know what the code that computes can do,
 * and need the whole rest to be right. */
static void check_whole(struct reader *r) {
    struct brg_run_config *c = r->config;
    struct brg_why why;
    if (r->faults->count > 0) return;
    if (brg_model_check(&c->model, c->batch.microbatch, &why) != BRG_OK) {
        brg_fault_add(r->faults, line_of(r, "model.type", NULL), "model", NULL, "%s", why.text);
        return;
    }
    if (brg_optimizer_check(&c->optimizer, &why) != BRG_OK) {
        brg_fault_add(r->faults, line_of(r, "optimizer.type", NULL), "optimizer", NULL, "%s",
                      why.text);
    }
    if (brg_policy_check(&c->code, &why) != BRG_OK) {
        brg_fault_add(r->faults, line_of(r, "code.policy", NULL), "code", "policy", "%s", why.text);
    }
}

void brg_run_cross_check(struct reader *r) {
    check_model(r);
    check_data(r);
    check_files(r);
    check_batch(r);
    check_code(r);
    check_timeouts(r);
    check_steps(r);
    check_whole(r);
}

/* A struct from elsewhere: each value is written as text and read again, which holds it to the
 * same ranges as one from a file. */
int brg_run_config_check(const struct brg_run_config *config, struct brg_why *why) {
    char *text = NULL;
    int rc = brg_run_config_text(config, &text);
    if (rc != BRG_OK) return brg_why_set(why, rc, "not enough memory to check the run");
    struct brg_run_config *again = calloc(1, sizeof *again);
    struct brg_run_faults *faults = calloc(1, sizeof *faults);
    if (again == NULL || faults == NULL) {
        rc = brg_why_set(why, BRG_ENOMEM, "not enough memory to check the run");
        goto out;
    }
    rc = brg_runfile_parse(text, strlen(text), NULL, BRG_RUNFILE_OFFLINE, again, faults);
    if (rc != BRG_OK) {
        rc = brg_why_set(why, rc, "%s: %s", faults->items[0].key, faults->items[0].text);
    } else if (memcmp(again, config, sizeof *again) != 0) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "the run contradicts itself: submit it again from its file");
    }
out:
    free(faults);
    free(again);
    free(text);
    return rc;
}
