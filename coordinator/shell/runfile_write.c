/* runfile_write.c - the way back: run file, explanation and reference, all from the table. */
#include "coordinator/shell/runfile_private.h"

#include "base/units.h"
#include "coding/scheme.h"
#include "model/model.h"
#include "model/optimizer.h"

#include <inttypes.h>
#include <string.h>

#define TEXT_COLUMNS 92u

/* An empty path means the key is left out. */
static int is_empty(const struct key *key, const struct brg_run_config *config) {
    return key->type == KEY_PATH && ((const char *)config)[key->offset] == 0;
}

static int finish(FILE *out) {
    return fflush(out) == 0 && !ferror(out) ? BRG_OK : BRG_EIO;
}

int brg_run_config_write(const struct brg_run_config *config, FILE *out) {
    char value[VALUE_BYTES];
    const char *section = "";
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        const struct key *key = &brg_runfile_keys[i];
        if (!brg_key_applies(config, key) || is_empty(key, config)) continue;
        if (strcmp(key->section, section) != 0) fprintf(out, "%s:\n", key->section);
        section = key->section;
        fprintf(out, "%s%s: %s\n", *section != 0 ? "  " : "", key->name,
                brg_value_text(key, config, value));
    }
    return finish(out);
}

int brg_run_config_text(const struct brg_run_config *config, char **text) {
    size_t size_bytes = 0;
    *text = NULL;
    FILE *out = open_memstream(text, &size_bytes);
    if (out == NULL) return BRG_ENOMEM;
    int rc = brg_run_config_write(config, out);
    if (fclose(out) != 0 || rc != BRG_OK) {
        free(*text);
        *text = NULL;
        return BRG_ENOMEM; /* the only thing that a write to memory can lack */
    }
    return BRG_OK;
}

/* --- prediction ----------------------------------------------------------------------------- */

static uint64_t add(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t multiply(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* What the code does, from a plan of it: no matrix is drawn for that. */
static void predict_code(const struct brg_code_spec *code, struct brg_run_prediction *out) {
    struct brg_bits have[BRG_SCHEME_JOBS_MAX] = {0};
    struct brg_minitask tasks[BRG_SCHEME_MINITASKS_MAX];
    const size_t size = brg_scheme_plan_size_bytes(code);
    struct brg_scheme *plan = size > 0 ? calloc(1, size) : NULL;
    if (plan == NULL || brg_scheme_init_plan(plan, size, code, NULL) != BRG_OK) {
        free(plan);
        return;
    }
    /* Cyclic codes do without the shares of s stragglers. */
    const int cyclic = code->kind == BRG_CODE_CYCLIC ||
                       (code->kind == BRG_CODE_SR_SGC && code->base == BRG_BASE_CYCLIC);
    out->units = brg_scheme_unit_count(plan) - (cyclic ? brg_code_s(code) : 0);
    out->chunks_each = brg_scheme_load_chunks(plan);
    out->delay = brg_scheme_delay(plan);
    out->shares_each = brg_scheme_assign(plan, 1, have, 0, tasks);
    free(plan);
}

/* Of a pipeline: the worker is the one with most to keep; the coordinator has no parameters but
 * those of one stage on their way to a file. */
static void predict_line(const struct brg_run_config *config, struct brg_run_prediction *out) {
    struct brg_stage_prediction p;
    memset(out, 0, sizeof *out);
    out->parameters = brg_model_param_count(&config->model);
    out->parameter_bytes = multiply(out->parameters, sizeof(float));
    for (uint32_t i = 0; i < config->pipeline.stages; i++) {
        brg_run_config_predict_stage(config, i, &p);
        if (p.memory_bytes > out->worker_memory_bytes) out->worker_memory_bytes = p.memory_bytes;
        if (p.checkpoint_bytes > out->coordinator_memory_bytes)
            out->coordinator_memory_bytes = p.checkpoint_bytes;
        out->checkpoint_bytes = add(out->checkpoint_bytes, p.checkpoint_bytes);
    }
}

void brg_run_config_predict(const struct brg_run_config *config, struct brg_run_prediction *out) {
    const struct brg_code_spec *code = &config->code;
    if (brg_run_is_line(config)) {
        predict_line(config, out);
        return;
    }
    uint64_t params = brg_model_param_count(&config->model);
    uint64_t bytes = multiply(params, sizeof(float));
    uint64_t state = multiply(brg_optimizer_state_count(&config->optimizer, params), sizeof(float));
    memset(out, 0, sizeof *out);
    out->parameters = params;
    out->parameter_bytes = bytes;
    predict_code(code, out);
    /* Parameters of all steps in hand and of the next, the gradient being summed, the shares. */
    out->worker_memory_bytes =
        add(multiply(bytes, 3 + (uint64_t)out->shares_each + out->delay),
            brg_model_workspace_bytes(&config->model, config->batch.microbatch));
    /* Parameters and moments of each model, one version on its way out and one sum, and the shares
     * of the steps in flight. */
    out->coordinator_memory_bytes =
        add(multiply(bytes, 1 + (uint64_t)config->models + (1 + (uint64_t)out->delay) * out->units),
            add(multiply(state, config->models), bytes));
    out->sent_bytes = multiply(bytes, config->workers);
    out->received_bytes = multiply(bytes, out->units);
    out->log_bytes = config->durability == BRG_DURABILITY_STEP ? bytes : 0;
    out->checkpoint_bytes = multiply(add(bytes, state), config->models);
}

static void print_prediction(const struct brg_run_config *config, FILE *out) {
    struct brg_run_prediction p;
    char a[BRG_UNITS_TEXT_BYTES], b[BRG_UNITS_TEXT_BYTES];
    if (brg_run_is_line(config)) {
        brg_run_line_print(config, out);
        return;
    }
    brg_run_config_predict(config, &p);
    fprintf(out, "What this run takes (estimates; data not counted)\n");
    fprintf(out, "  parameters             %" PRIu64 " (%s)\n", p.parameters,
            brg_size_about(p.parameter_bytes, a));
    fprintf(out, "  memory of a worker     about %s\n", brg_size_about(p.worker_memory_bytes, a));
    fprintf(out, "  memory of coordinator  about %s\n",
            brg_size_about(p.coordinator_memory_bytes, a));
    fprintf(out, "  sent each step         %s to %" PRIu32 " workers, %s each\n",
            brg_size_about(p.sent_bytes, a), config->workers, brg_size_about(p.parameter_bytes, b));
    fprintf(out, "  received each step     %s, %" PRIu32 " shares\n",
            brg_size_about(p.received_bytes, a), p.units);
    fprintf(out, "  work of a worker       at most %" PRIu32 " of %" PRIu32 " chunks a %s\n",
            p.chunks_each, config->batch.chunks, p.delay > 0 ? "round" : "step");
    if (p.delay > 0) {
        fprintf(out, "  a step is finished     at most %" PRIu32 " round%s after its own\n",
                p.delay, p.delay == 1 ? "" : "s");
    }
    if (config->models > 1) {
        fprintf(out, "  models                 %" PRIu32 ", %" PRIu64 " steps in all\n",
                config->models, brg_run_config_steps(config));
    }
    if (config->scheme == BRG_RUN_SCHEME_AUTO) {
        fprintf(out, "  code: auto             the figures are those of the probing rounds; the "
                     "code it takes then\n                         may do more work or less\n");
    }
    if (p.log_bytes > 0) {
        fprintf(out, "  written each step      %s, until the next checkpoint\n",
                brg_size_about(p.log_bytes, a));
    }
    fprintf(out, "  checkpoints on disk    %" PRIu32 " of %s\n", config->checkpoint.keep,
            brg_size_about(p.checkpoint_bytes, a));
}

/* --- explanation and reference -------------------------------------------------------------- */

/* Prints `label` and `text`, broken between words, each line indented by `indent`. */
static void print_wrapped(FILE *out, const char *label, const char *text, uint32_t indent) {
    uint32_t column = indent + (uint32_t)strlen(label);
    int starts = 1; /* no word stands on this line yet */
    fprintf(out, "%*s%s", (int)indent, "", label);
    while (*text != 0) {
        size_t n = strcspn(text, " ");
        if (!starts && column + n + 1 > TEXT_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            starts = 1;
        }
        fprintf(out, "%s%.*s", starts ? "" : " ", (int)n, text);
        column += (uint32_t)n + !starts;
        starts = 0;
        text += n;
        while (*text == ' ') text++;
    }
    fputc('\n', out);
}

static const char *default_text(const struct key *key) {
    if (key->fallback != NULL) return key->fallback;
    return key->derived != NULL ? key->derived : "none: it must be given";
}

int brg_run_config_explain(const struct brg_run_config *config, FILE *out) {
    char value[VALUE_BYTES], kind[VALUE_BYTES];
    const char *section = "";
    for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
        const struct key *key = &brg_runfile_keys[i];
        if (!brg_key_applies(config, key)) continue;
        if (strcmp(key->section, section) != 0) {
            section = key->section;
            fprintf(out, "%s:\n", section);
        }
        fprintf(out, "%s%s: %s\n", *section != 0 ? "  " : "", key->name,
                is_empty(key, config) ? "(not set)" : brg_value_text(key, config, value));
        print_wrapped(out, "", key->help, 6);
        print_wrapped(out, "Must be ", brg_value_kind(key, kind), 6);
        print_wrapped(out, "Default: ", default_text(key), 6);
    }
    fputc('\n', out);
    print_prediction(config, out);
    return finish(out);
}

static const char reference_head[] =
    "# Run files\n"
    "\n"
    "A run file is YAML: keys with values, some of them in sections. Submit one with\n"
    "`brigade submit FILE`; `brigade validate FILE` checks it, explains each key with its value "
    "and\n"
    "predicts memory and traffic, and starts nothing.\n"
    "\n"
    "- Every fault of a file is listed at once, each as `FILE:LINE: KEY: what is wrong, what to "
    "do`.\n"
    "- A key that is unknown, given twice, or without effect where it stands is a fault.\n"
    "- Durations and percentages carry their unit: `30s`, `5%`. Durations: ns, "
    "us,\n"
    "  ms, s, min, h, d.\n"
    "- Paths that do not begin with `/` are seen from the folder of the run file.\n"
    "- Aliases (`*name`), tags (`!name`) and a second document are refused; a file has at most 1 "
    "MiB.\n"
    "- Rules between keys are checked, too: `code.s` less than `workers`, chunks enough for the\n"
    "  code, models enough for one that finishes steps late, `timeouts.task` not below\n"
    "  `timeouts.round_patience`, stages that the model has layers for, and so on; the fault says\n"
    "  the rule.\n"
    "\n"
    "An example:\n"
    "```yaml\n"
    "run: kjv-tiny\n"
    "model: {type: llama, dim: 128, layers: 4, heads: 4, kv_heads: 2, hidden: 352, context: 128}\n"
    "data: {train: kjv.txt, held_out: 5%}\n"
    "batch: {sequences: 64, chunks: 16}\n"
    "optimizer: {type: adamw, lr: 3e-3, warmup: 50, schedule: cosine, clip: 1.0}\n"
    "steps: 400\n"
    "seed: 7\n"
    "workers: 8\n"
    "code: {scheme: frc, s: 1, policy: early}\n"
    "checkpoint: {every: 50, keep: 3, dir: ckpt/}\n"
    "durability: step\n"
    "```\n"
    "\n"
    "A pipeline, with everything that need not be said left out; more in "
    "[PIPELINE.md](PIPELINE.md):"
    "\n"
    "```yaml\n"
    "run: kjv-line\n"
    "kind: pipeline\n"
    "model: {type: llama, dim: 128, layers: 6, heads: 4, context: 128}\n"
    "data: {train: kjv.txt}\n"
    "batch: {sequences: 16}\n"
    "optimizer: {lr: 3e-3}\n"
    "steps: 400\n"
    "pipeline: {stages: 6}\n"
    "```\n"
    "\n"
    "This page is made from the table that the program reads by, and a test keeps the two equal.\n";

static void print_words(const struct key *other, uint32_t mask, FILE *out) {
    const char *between = " ";
    for (const struct choice *c = other->choices; c->word != NULL; c++) {
        if (c->reason != NULL || (mask >> c->number & 1u) == 0) continue;
        fprintf(out, "%s%s", between, c->word);
        between = " or ";
    }
}

/* The words of a condition: "model.type: mlp or softmax". */
static void print_condition(const struct key *key, FILE *out) {
    const struct key *other = &brg_runfile_keys[brg_key_find(NULL, key->when)];
    if (other->type == KEY_LADDER) {
        fprintf(out, "Only where %s has", key->when);
        print_words(other, key->when_mask, out);
        fprintf(out, ". ");
        return;
    }
    if (other->choices == NULL) { /* a count, and the condition is that it is not 1 */
        fprintf(out, "Only where %s is above 1. ", key->when);
        return;
    }
    fprintf(out, "Only where %s is", key->when);
    print_words(other, key->when_mask, out);
    for (const struct key_also *also = brg_runfile_also; also->path != NULL; also++) {
        if (&brg_runfile_keys[brg_key_find(NULL, also->path)] != key) continue;
        fprintf(out, ", or %s is", also->when);
        print_words(&brg_runfile_keys[brg_key_find(NULL, also->when)], also->mask, out);
    }
    fprintf(out, ". ");
}

/* A cell of a Markdown table cannot hold a bar. */
static void print_cell(const char *text, FILE *out) {
    for (; *text != 0; text++) {
        if (*text == '|') fputc('\\', out);
        fputc(*text, out);
    }
}

int brg_runfile_reference(FILE *out) {
    char kind[VALUE_BYTES];
    fputs(reference_head, out);
    for (uint32_t s = 0; brg_runfile_sections[s].name != NULL; s++) {
        const struct section *section = &brg_runfile_sections[s];
        if (section->reason != NULL) continue;
        fprintf(out, "\n## %s%s\n\n%s\n\n", *section->name != 0 ? "Section " : "Top of the file",
                section->name, section->help);
        fprintf(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
        for (uint32_t i = 0; i < brg_runfile_key_count; i++) {
            const struct key *key = &brg_runfile_keys[i];
            if (strcmp(key->section, section->name) != 0) continue;
            fprintf(out, "| `%s` | ", key->name);
            print_cell(brg_value_kind(key, kind), out);
            fprintf(out, " | ");
            print_cell(key->fallback == NULL && key->derived == NULL ? "*required*"
                                                                     : default_text(key),
                       out);
            fprintf(out, " | ");
            if (key->when != NULL) print_condition(key, out);
            print_cell(key->help, out);
            fprintf(out, " |\n");
        }
    }
    fprintf(out, "\n## Not in this version\n\n");
    fprintf(out, "`kind: berrut` and `grid`; the sections");
    for (uint32_t s = 0; brg_runfile_sections[s].name != NULL; s++) {
        if (brg_runfile_sections[s].reason == NULL) continue;
        fprintf(out, " `%s`", brg_runfile_sections[s].name);
    }
    fprintf(out,
            ";\nthe code `dct`; the model `cnn`. They are refused with a sentence that says so.\n");
    return finish(out);
}
