/* runfile_check.c - what follows from other keys, and the rules between keys. A rule looks only at
 * keys that have a value of their own, so that one slip is one fault. */
#include "coordinator/shell/runfile_private.h"

#include "base/file.h"
#include "base/units.h"
#include "coding/policy.h"
#include "coding/scheme.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "proto/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HELD_OUT_DEFAULT 0.05
#define EVAL_EVERY_DEFAULT 50u
#define AUTO_CHUNKS_EACH 4u /* chunks a worker that auto asks for by default */

/* --- small questions ------------------------------------------------------------------------ */

const struct key_state *brg_key_state(const struct reader *r, const char *path) {
    uint32_t row = brg_key_find(r, path);
    BRG_ASSERT(row < KEYS_MAX);
    return &r->states[row];
}

int brg_key_valid(const struct reader *r, const char *path) {
    return brg_key_state(r, path)->valid;
}

int brg_key_given(const struct reader *r, const char *path) {
    return brg_key_state(r, path)->line != 0;
}

uint32_t brg_key_line(const struct reader *r, const char *path, const char *other) {
    uint32_t line = brg_key_state(r, path)->line;
    if (line == 0 && other != NULL) line = brg_key_state(r, other)->line;
    if (line == 0) {
        uint32_t row = brg_key_find(r, path);
        line = r->section_lines[brg_runfile_section_find(brg_runfile_keys[row].section)];
    }
    return line;
}

void brg_key_derived(struct reader *r, const char *path) {
    uint32_t row = brg_key_find(r, path);
    BRG_ASSERT(row < KEYS_MAX);
    r->states[row].valid = 1;
}

int brg_key_wants(const struct reader *r, const char *path, const char *needs) {
    const struct key_state *state = brg_key_state(r, path);
    return state->line == 0 && state->applies && !state->valid &&
           (needs == NULL || brg_key_valid(r, needs));
}

static int is_llama(const struct reader *r) {
    return r->config->model.type == BRG_MODEL_LLAMA;
}

static const char *samples_key(const struct reader *r) {
    return is_llama(r) ? "batch.sequences" : "batch.samples";
}

static int is_auto(const struct reader *r) {
    return r->config->scheme == BRG_RUN_SCHEME_AUTO;
}

/* Workers without which a step cannot be finished before somebody does another's work. asserts: the
 * code's s is below workers */
static uint32_t workers_needed(const struct brg_run_config *c) {
    const struct brg_code_spec *code = &c->code;
    const int grouped = code->kind == BRG_CODE_FRC ||
                        (code->kind == BRG_CODE_SR_SGC && code->base == BRG_BASE_REPETITION);
    const int coded = grouped || code->kind == BRG_CODE_CYCLIC || code->kind == BRG_CODE_SR_SGC;
    const uint32_t s = coded ? brg_code_s(code) : 0;
    BRG_ASSERT(s < c->workers);
    return grouped ? c->workers / (s + 1) : c->workers - s;
}

/* --- defaults that follow from other keys --------------------------------------------------- */

static int has_ending(const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n >= e && strcmp(name + n - e, ending) == 0;
}

static void derive_data(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (brg_key_wants(r, "data.format", "data.train") && brg_key_valid(r, "model.type")) {
        const char *name = c->data.train;
        if (is_llama(r)) {
            c->data.format = c->model.vocab == 256 ? BRG_DATA_TEXT : BRG_DATA_SHARD;
            if (has_ending(name, ".bin")) c->data.format = BRG_DATA_SHARD;
        } else {
            int idx = has_ending(name, "ubyte") || has_ending(name, "ubyte.gz");
            c->data.format = idx ? BRG_DATA_IDX : BRG_DATA_CSV;
        }
        brg_key_derived(r, "data.format");
    }
    if (brg_key_wants(r, "data.held_out", NULL)) {
        c->data.held_out = brg_key_given(r, "data.test") ? 0 : HELD_OUT_DEFAULT;
        brg_key_derived(r, "data.held_out");
    }
    if (brg_key_wants(r, "eval.every", "data.held_out")) {
        int none = c->data.held_out == 0 && !brg_key_given(r, "data.test");
        c->eval.every_steps = none ? 0 : EVAL_EVERY_DEFAULT;
        brg_key_derived(r, "eval.every");
    }
}

static void derive_model(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (!brg_key_valid(r, "model.type") || !is_llama(r)) return;
    if (brg_key_wants(r, "model.kv_heads", "model.heads")) {
        c->model.kv_heads = c->model.heads;
        brg_key_derived(r, "model.kv_heads");
    }
    if (brg_key_wants(r, "model.hidden", "model.dim")) {
        c->model.hidden = (c->model.dim * 8 / 3 + 31) / 32 * 32;
        brg_key_derived(r, "model.hidden");
    }
    if (brg_key_wants(r, "model.tied", "kind")) {
        c->model.tied = !brg_run_is_line(c) || c->pipeline.stages <= 1;
        brg_key_derived(r, "model.tied");
    }
}

/* The fewest chunks that the code can deal; for auto as many as give it something to choose from.
 * All keys of the code have their values, but maybe out of range of each other. */
static uint64_t chunks_wanted(const struct reader *r) {
    const struct brg_run_config *c = r->config;
    const struct brg_code_spec *code = &c->code;
    const uint64_t n = c->workers;
    if (is_auto(r)) {
        const int known = brg_key_valid(r, "model.type") && brg_key_valid(r, samples_key(r));
        uint64_t each = known ? c->batch.samples / n : 1;
        if (each > AUTO_CHUNKS_EACH) each = AUTO_CHUNKS_EACH;
        return n * each > n ? n * each : n;
    }
    if (code->kind == BRG_CODE_M_SGC && code->lambda >= n) return n * (code->w - 1);
    if (code->kind == BRG_CODE_M_SGC) {
        return n * (code->b + (uint64_t)(code->w - 1) * (code->lambda + 1));
    }
    return n * (code->parts > 0 ? code->parts : 1);
}

/* b and lambda of a sequential code are in range by themselves. */
static void derive_sequential(struct reader *r) {
    struct brg_code_spec *code = &r->config->code;
    if (brg_key_wants(r, "code.w", "code.b")) {
        code->w = code->b + 1;
        brg_key_derived(r, "code.w");
    }
    if (!brg_key_wants(r, "code.lambda", "workers") || !brg_key_valid(r, "code.w") ||
        !brg_key_valid(r, "code.b"))
        return;
    code->lambda = r->config->workers;
    if (code->kind == BRG_CODE_SR_SGC && (code->w - 1) / code->b + 1 < code->lambda) {
        code->lambda = (code->w - 1) / code->b + 1; /* makes s 1 */
    }
    brg_key_derived(r, "code.lambda");
}

/* 1 where the numbers of the code fit together as far as brg_code_s needs it. */
static int sane_code(const struct brg_run_config *c) {
    const struct brg_code_spec *code = &c->code;
    if (code->kind != BRG_CODE_SR_SGC && code->kind != BRG_CODE_M_SGC) return code->s < c->workers;
    return code->w > code->b && code->lambda <= c->workers && brg_code_s(code) <= c->workers &&
           (code->kind == BRG_CODE_M_SGC || brg_code_s(code) < c->workers);
}

static int code_known(const struct reader *r) {
    static const char *const keys[] = {"code.s", "code.b", "code.w", "code.lambda", "code.parts"};
    if (!brg_key_valid(r, "code.scheme") || !brg_key_valid(r, "workers")) return 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct key_state *state = brg_key_state(r, keys[i]);
        if (state->applies && !state->valid) return 0;
    }
    return 1;
}

static void derive_code(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (!brg_key_valid(r, "kind") || brg_run_is_line(c)) return;
    if (!is_auto(r)) c->code.kind = c->scheme;
    if (brg_key_wants(r, "workers", NULL)) {
        int few = brg_key_valid(r, "batch.chunks") && c->batch.chunks < 8;
        c->workers = few ? c->batch.chunks : 8;
        brg_key_derived(r, "workers");
    }
    if (brg_key_wants(r, "code.s", "workers")) {
        c->code.s = c->workers > 1 ? 1 : 0;
        brg_key_derived(r, "code.s");
    }
    derive_sequential(r);
    if (brg_key_wants(r, "batch.chunks", NULL) && code_known(r)) {
        const uint64_t chunks = chunks_wanted(r);
        c->batch.chunks = chunks < BRG_CHUNKS_MAX ? (uint32_t)chunks : BRG_CHUNKS_MAX;
        brg_key_derived(r, "batch.chunks");
    }
    if (brg_key_wants(r, "code.seed", "seed")) {
        c->code.seed = c->seed;
        brg_key_derived(r, "code.seed");
    }
    c->code.n = c->workers;
    c->code.chunks = c->batch.chunks;
    if (is_auto(r) && c->workers > 1) {
        c->code = brg_tuner_probe_spec(c->workers, c->batch.chunks);
        c->code.seed = c->seed;
    }
    const int knows_s = code_known(r) && (is_auto(r) ? c->workers > 1 : 1);
    if (brg_key_wants(r, "min_workers", "workers") && knows_s && sane_code(c)) {
        c->min_workers = workers_needed(c);
        brg_key_derived(r, "min_workers");
    }
}

/* The models differ in their seeds unless the file says in what else. */
static void derive_sweep(struct reader *r) {
    struct brg_run_config *c = r->config;
    struct brg_run_sweep *sweep = &c->sweep;
    if (!brg_key_valid(r, "models")) return;
    const int rises = !brg_key_given(r, "sweep.data_seed") && !brg_key_given(r, "sweep.lr");
    for (uint32_t m = 0; m < c->models; m++) {
        if (!brg_key_given(r, "sweep.seed")) sweep->seed[m] = c->seed + (rises ? m : 0);
        if (!brg_key_given(r, "sweep.data_seed")) sweep->data_seed[m] = sweep->seed[m];
        if (!brg_key_given(r, "sweep.lr")) sweep->lr[m] = c->optimizer.lr;
    }
    if (brg_key_wants(r, "sweep.seed", NULL)) brg_key_derived(r, "sweep.seed");
    if (brg_key_wants(r, "sweep.data_seed", NULL)) brg_key_derived(r, "sweep.data_seed");
    if (brg_key_wants(r, "sweep.lr", NULL)) brg_key_derived(r, "sweep.lr");
}

int brg_run_derive_early(struct reader *r, const struct key *key) {
    struct brg_code_spec *code = &r->config->code;
    const uint32_t scheme = r->config->scheme;
    if (key->type == KEY_LADDER) {
        const struct brg_ladder_config ladder = brg_ladder_default();
        r->config->recovery.ladder.count = ladder.count;
        memcpy(r->config->recovery.ladder.rungs, ladder.rungs, sizeof ladder.rungs);
        return 1;
    }
    if (strcmp(key->section, "code") != 0 || strcmp(key->name, "policy") != 0) return 0;
    const int waits = scheme == BRG_CODE_SR_SGC || scheme == BRG_CODE_M_SGC ||
                      (scheme == BRG_CODE_FRC && code->delay > 0);
    code->policy = waits ? BRG_POLICY_MINWAIT : BRG_POLICY_EARLY;
    return 1;
}

struct brg_optimizer_spec brg_run_config_optimizer(const struct brg_run_config *config,
                                                   uint32_t model) {
    struct brg_optimizer_spec spec = config->optimizer;
    BRG_ASSERT(model < config->models);
    spec.lr = config->sweep.lr[model];
    return spec;
}

static void derive_batch(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (!brg_key_valid(r, "model.type") || !brg_key_valid(r, samples_key(r)) ||
        !brg_key_valid(r, "batch.chunks"))
        return;
    if (!brg_key_wants(r, "batch.microbatch", NULL)) return;
    uint32_t chunk = (c->batch.samples + c->batch.chunks - 1) / c->batch.chunks;
    uint32_t most = is_llama(r) ? 8 : 256;
    c->batch.microbatch = chunk < most ? chunk : most;
    brg_key_derived(r, "batch.microbatch");
}

void brg_run_derive(struct reader *r) {
    derive_model(r);
    derive_data(r);
    derive_code(r);
    brg_run_line_derive(r);
    derive_batch(r);
    derive_sweep(r);
    r->config->optimizer.total_steps = r->config->steps;
}

/* --- rules ---------------------------------------------------------------------------------- */

static void check_model(struct reader *r) {
    const struct brg_model_spec *m = &r->config->model;
    if (!brg_key_valid(r, "model.type") || !is_llama(r)) return;
    if (brg_key_valid(r, "model.dim") && brg_key_valid(r, "model.heads")) {
        if (m->dim % m->heads != 0) {
            brg_fault_add(r->faults, brg_key_line(r, "model.heads", "model.dim"), "model", "heads",
                          "%" PRIu32 " heads do not divide dim %" PRIu32
                          ": make dim a multiple of heads, such as %" PRIu32,
                          m->heads, m->dim, (m->dim / m->heads + 1) * m->heads);
        } else if (m->dim / m->heads % 2 != 0 || m->dim / m->heads > BRG_HEAD_DIM_MAX) {
            brg_fault_add(r->faults, brg_key_line(r, "model.heads", "model.dim"), "model", "heads",
                          "dim / heads is %" PRIu32 ", but the rotary embedding turns pairs: it "
                          "must be even and at most %u; change dim or heads",
                          m->dim / m->heads, BRG_HEAD_DIM_MAX);
        }
    }
    if (brg_key_valid(r, "model.heads") && brg_key_valid(r, "model.kv_heads") &&
        m->heads % m->kv_heads != 0) {
        brg_fault_add(r->faults, brg_key_line(r, "model.kv_heads", "model.heads"), "model",
                      "kv_heads",
                      "%" PRIu32 " does not divide heads %" PRIu32
                      ": use a divisor, or leave it out for one each",
                      m->kv_heads, m->heads);
    }
    if (brg_key_valid(r, "model.hidden") && m->hidden % 8 != 0 && r->config->model_from[0] == 0) {
        brg_fault_add(r->faults, brg_key_line(r, "model.hidden", NULL), "model", "hidden",
                      "%" PRIu32 " is not a multiple of 8: use %" PRIu32 " or %" PRIu32, m->hidden,
                      m->hidden / 8 * 8, (m->hidden / 8 + 1) * 8);
    }
}

static void check_format(struct reader *r) {
    const struct brg_run_config *c = r->config;
    uint32_t line = brg_key_line(r, "data.format", "data.train");
    uint32_t format = c->data.format;
    if (!brg_key_valid(r, "data.format") || !brg_key_valid(r, "model.type")) return;
    int tokens = format == BRG_DATA_TEXT || format == BRG_DATA_SHARD;
    if (is_llama(r) != tokens) {
        brg_fault_add(r->faults, line, "data", "format",
                      is_llama(r)
                          ? "holds no tokens, which a llama needs: use text or shard data"
                          : "holds tokens, which a classifier cannot use: use idx or csv data");
    } else if (format == BRG_DATA_TEXT && brg_key_valid(r, "model.vocab") &&
               c->model.vocab != 256) {
        brg_fault_add(r->faults, brg_key_line(r, "model.vocab", NULL), "model", "vocab",
                      "%" PRIu32 " does not fit text, whose tokens are the 256 byte values: write "
                      "vocab: bytes, or use format: shard",
                      c->model.vocab);
    }
    int idx = format == BRG_DATA_IDX && !is_llama(r);
    if (idx && !brg_key_given(r, "data.train_labels")) {
        brg_fault_add(r->faults, line, "data", "train_labels",
                      "is missing: idx keeps labels in a file of their own; name it");
    }
    if (idx && brg_key_given(r, "data.test") && !brg_key_given(r, "data.test_labels")) {
        brg_fault_add(r->faults, brg_key_line(r, "data.test", NULL), "data", "test_labels",
                      "is missing: idx keeps labels in a file of their own; name it");
    }
    static const char *const labels[] = {"data.train_labels", "data.test_labels"};
    for (int i = 0; i < 2 && format == BRG_DATA_CSV && !is_llama(r); i++) {
        if (!brg_key_given(r, labels[i])) continue;
        brg_fault_add(r->faults, brg_key_line(r, labels[i], NULL), "data", labels[i] + 5,
                      "has no effect with csv, whose last column is the label: remove it");
    }
}

static void check_data(struct reader *r) {
    const struct brg_run_config *c = r->config;
    check_format(r);
    int classifier = brg_key_valid(r, "model.type") && !is_llama(r);
    if (classifier && brg_key_given(r, "data.test_labels") && !brg_key_given(r, "data.test")) {
        brg_fault_add(r->faults, brg_key_line(r, "data.test_labels", NULL), "data", "test_labels",
                      "has no effect without test: name the test file or remove it");
    }
    if (brg_key_valid(r, "data.held_out") && c->data.held_out > 0 &&
        brg_key_given(r, "data.test")) {
        brg_fault_add(r->faults, brg_key_line(r, "data.held_out", "data.test"), "data", "held_out",
                      "contradicts test: keep test and remove held_out, or the other way round");
    }
    if (brg_key_valid(r, "data.held_out") && c->data.held_out == 0 &&
        !brg_key_given(r, "data.test") && brg_key_valid(r, "eval.every") &&
        c->eval.every_steps > 0) {
        brg_fault_add(r->faults, brg_key_line(r, "eval.every", "data.held_out"), "eval", "every",
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
        brg_fault_add(r->faults, brg_key_line(r, key, NULL), "data", key + 5,
                      "%.250s: %s: check the path", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        brg_fault_add(r->faults, brg_key_line(r, key, NULL), "data", key + 5,
                      "%.250s is no file: name a file", path);
    } else if (st.st_size == 0) {
        brg_fault_add(r->faults, brg_key_line(r, key, NULL), "data", key + 5,
                      "%.250s is empty: check it", path);
    }
    if (fd >= 0) (void)close(fd);
}

static void check_files(struct reader *r) {
    const struct brg_data_spec *d = &r->config->data;
    if ((r->flags & BRG_RUNFILE_CHECK_FILES) == 0) return;
    if (brg_key_valid(r, "data.train")) check_file(r, "data.train", d->train);
    if (brg_key_valid(r, "data.test")) check_file(r, "data.test", d->test);
    if (brg_key_valid(r, "data.train_labels")) check_file(r, "data.train_labels", d->train_labels);
    if (brg_key_valid(r, "data.test_labels")) check_file(r, "data.test_labels", d->test_labels);
}

static void check_batch(struct reader *r) {
    const struct brg_run_config *c = r->config;
    if (!brg_key_valid(r, "model.type") || !brg_key_valid(r, samples_key(r)) ||
        !brg_key_valid(r, "batch.chunks"))
        return;
    const char *key = samples_key(r);
    if (c->batch.samples < c->batch.chunks) {
        brg_fault_add(r->faults, brg_key_line(r, key, "batch.chunks"), "batch", key + 6,
                      "%" PRIu32 " cannot fill %" PRIu32 " chunks: set it to %" PRIu32
                      " or more, or chunks to %" PRIu32 " or less",
                      c->batch.samples, c->batch.chunks, c->batch.chunks, c->batch.samples);
        return;
    }
    uint32_t chunk = (c->batch.samples + c->batch.chunks - 1) / c->batch.chunks;
    if (brg_key_given(r, "batch.microbatch") && brg_key_valid(r, "batch.microbatch") &&
        c->batch.microbatch > chunk) {
        brg_fault_add(r->faults, brg_key_line(r, "batch.microbatch", NULL), "batch", "microbatch",
                      "%" PRIu32 " is more than a chunk has, %" PRIu32 ": set it to at most that",
                      c->batch.microbatch, chunk);
    }
}

/* A step that is due T rounds after its own needs T other models to fill that time. */
static void check_models(struct reader *r) {
    const struct brg_run_config *c = r->config;
    const uint32_t delay = brg_code_delay(&c->code);
    if (!brg_key_valid(r, "models") || c->models > delay) return;
    if (delay >= BRG_MODELS_MAX) {
        brg_fault_add(r->faults, brg_key_line(r, "code.w", "code.b"), "code", "w",
                      "a step would be finished T = %" PRIu32
                      " rounds late, which takes T + 1 models, and a run has at most %u: make b "
                      "or w smaller",
                      delay, BRG_MODELS_MAX);
        return;
    }
    brg_fault_add(r->faults, brg_key_line(r, "models", "code.scheme"), "", "models",
                  "%" PRIu32 " is too few for this code, which finishes a step T = %" PRIu32
                  " round%s late and fills that time with other models: set it to T + 1 = %" PRIu32
                  " or more, or take code.scheme: frc, which needs one",
                  c->models, delay, delay == 1 ? "" : "s", delay + 1);
}

static const char *shares_word(const struct brg_code_spec *code) {
    if (code->parts > 1) return "shares of a step";
    return code->kind == BRG_CODE_FRC ? "groups" : "workers";
}

static void check_code_counts(struct reader *r) {
    const struct brg_run_config *c = r->config;
    const struct brg_code_spec *code = &c->code;
    const uint32_t line = brg_key_line(r, "batch.chunks", "workers");
    const uint32_t n = c->workers, chunks = c->batch.chunks;
    const uint32_t parts = code->parts > 0 ? code->parts : 1;
    const int plain = code->kind != BRG_CODE_SR_SGC && code->kind != BRG_CODE_M_SGC;
    const uint32_t units = plain ? workers_needed(c) * parts : 1;
    struct brg_why why;
    if (code->kind == BRG_CODE_CYCLIC && chunks % n != 0) {
        brg_fault_add(r->faults, line, "batch", "chunks",
                      "%" PRIu32 " is not a multiple of workers %" PRIu32
                      ", which cyclic needs: use %" PRIu32,
                      chunks, n, (chunks / n + 1) * n);
    } else if (chunks < units) {
        brg_fault_add(r->faults, line, "batch", "chunks",
                      "%" PRIu32 " cannot be dealt to %" PRIu32 " %s: use %" PRIu32
                      " or more, or fewer workers",
                      chunks, units, shares_word(code), units);
    } else if (brg_scheme_check(code, &why) != BRG_OK) {
        brg_fault_add(r->faults, brg_key_line(r, "code.scheme", "code.s"), "code", "scheme", "%s",
                      why.text);
    } else if (r->faults->count == 0 && brg_policy_check(code, &why) != BRG_OK) {
        brg_fault_add(r->faults, brg_key_line(r, "code.policy", "code.scheme"), "code", "policy",
                      "%s", why.text);
    }
}

static void check_auto(struct reader *r) {
    const struct brg_run_config *c = r->config;
    if (c->workers < 2) {
        brg_fault_add(r->faults, brg_key_line(r, "code.scheme", "workers"), "code", "scheme",
                      "auto has nothing to choose with 1 worker: write  code: {scheme: none}");
    } else if (brg_key_valid(r, "batch.chunks")) {
        check_code_counts(r);
    }
}

static void check_code(struct reader *r) {
    const struct brg_run_config *c = r->config;
    if (brg_key_valid(r, "workers") && brg_key_valid(r, "min_workers") &&
        c->min_workers > c->workers) {
        brg_fault_add(r->faults, brg_key_line(r, "min_workers", "workers"), "", "min_workers",
                      "%" PRIu32 " is more than workers %" PRIu32 ": set it to at most that",
                      c->min_workers, c->workers);
    }
    if (!code_known(r)) return;
    if (is_auto(r)) {
        check_auto(r);
        return;
    }
    if (brg_key_valid(r, "code.s") && c->code.s >= c->workers) {
        brg_fault_add(r->faults, brg_key_line(r, "code.s", "workers"), "code", "s",
                      "%" PRIu32 " stragglers of %" PRIu32 " workers leave nobody to answer: "
                      "set s to at most %" PRIu32 ", or workers to more than %" PRIu32,
                      c->code.s, c->workers, c->workers - 1, c->code.s);
        return;
    }
    check_models(r);
    if (brg_key_valid(r, "batch.chunks") && brg_key_valid(r, "code.policy")) check_code_counts(r);
}

/* `key` must be at least `factor` times `least`. */
static void check_not_below(struct reader *r, const char *key, uint64_t value_ns, const char *least,
                            uint64_t least_ns, uint64_t factor, const char *reason) {
    char value[BRG_UNITS_TEXT_BYTES], other[BRG_UNITS_TEXT_BYTES], want[BRG_UNITS_TEXT_BYTES];
    if (!brg_key_valid(r, key) || !brg_key_valid(r, least) || value_ns >= least_ns * factor) return;
    brg_fault_add(r->faults, brg_key_line(r, key, least), "timeouts", strchr(key, '.') + 1,
                  "%s is too short for %s %s: %s; set it to %s or more",
                  brg_duration_text(value_ns, value), least, brg_duration_text(least_ns, other),
                  reason, brg_duration_text(least_ns * factor, want));
}

static void check_timeouts(struct reader *r) {
    const struct brg_run_timeouts *t = &r->config->timeouts;
    if (t->round_patience_ns > 0 && brg_key_valid(r, "timeouts.round_patience")) {
        check_not_below(r, "timeouts.task", t->task_ns, "timeouts.round_patience",
                        t->round_patience_ns, 1, "patience beyond it has no effect");
    }
}

static void check_steps(struct reader *r) {
    const struct brg_run_config *c = r->config;
    if (!brg_key_valid(r, "steps")) return;
    if (brg_key_valid(r, "optimizer.warmup") && c->optimizer.warmup_steps >= c->steps) {
        brg_fault_add(
            r->faults, brg_key_line(r, "optimizer.warmup", "steps"), "optimizer", "warmup",
            "%" PRIu64 " steps are not over before the run's %" PRIu64 " steps are: set it to less",
            c->optimizer.warmup_steps, c->steps);
    }
    if (c->durability == BRG_DURABILITY_CHECKPOINT && brg_key_valid(r, "checkpoint.every") &&
        c->checkpoint.every_steps > c->steps) {
        brg_fault_add(r->faults, brg_key_line(r, "checkpoint.every", "durability"), "checkpoint",
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
        brg_fault_add(r->faults, brg_key_line(r, "model.type", NULL), "model", NULL, "%s",
                      why.text);
        return;
    }
    if (brg_optimizer_check(&c->optimizer, &why) != BRG_OK) {
        brg_fault_add(r->faults, brg_key_line(r, "optimizer.type", NULL), "optimizer", NULL, "%s",
                      why.text);
    }
    brg_run_line_whole(r);
}

void brg_run_cross_check(struct reader *r) {
    check_model(r);
    check_data(r);
    check_files(r);
    check_batch(r);
    check_code(r);
    check_timeouts(r);
    check_steps(r);
    brg_run_line_check(r);
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
