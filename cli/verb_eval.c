#include "cli/cli.h"
#include "cli/model_load.h"

#include "model/infer.h"
#include "model/prepare_text.h"
#include "model/sample.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ROWS 256u

static const struct brg_cli_flag flags[] = {
    BRG_CLI_MODEL_FLAGS,
    BRG_CLI_STATE_FLAG,
    {.name = "context",
     .value = "N",
     .text = "Tokens of a chunk. Default: the model's context, at most 512."},
    {.name = "recipe",
     .value = "HOW",
     .fallback = "chunks",
     .text = "chunks: as llama-perplexity does, from the middle of each chunk on. windows: as a "
             "run's held-out loss, every position."},
    {.name = "chunks", .value = "N", .text = "Stop after that many chunks."},
    {.name = "held-out",
     .value = "SHARE",
     .text = "Look only at that share of the end of the text, as a run's held_out does."},
    {.name = "format",
     .value = "FORMAT",
     .text = "For a classifier: idx or csv; FILE is then data, not text."},
    {.name = "labels", .value = "FILE", .text = "The labels of an idx file."},
    {.name = "json", .text = "The figures as JSON."},
};

static const struct brg_cli_verb verb = {
    .name = "eval",
    .arguments = "FILE...",
    .summary = "how well a model foretells a text, or tells classes apart",
    .about = "For a llama: perplexity, nats a token and bits a byte of texts (folders stand for\n"
             "their *.txt and *.txt.gz). The chunks recipe cuts the tokens into chunks, puts the\n"
             "begin mark over the first of each where the tokenizer wants one, and counts from\n"
             "the middle of a chunk to its end. For a classifier: loss and accuracy.\n",
    .examples = "$ brigade eval --model kjv.gguf held-out.txt\n"
                "$ brigade eval --run 1 --held-out 5% --recipe windows kjv.txt\n"
                "$ brigade eval --run 2 --format csv digits.csv\n",
    .arguments_min = 1,
    .arguments_max = BRG_CLI_ARGUMENTS_MAX,
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

static uint32_t bytes_of(const void *context, uint32_t id) {
    struct brg_tokenizer_info info;
    brg_tokenizer_info_of(context, &info);
    if (id >= info.vocab) return 0;
    const struct brg_token t = brg_tokenizer_token(context, id);
    return t.type == BRG_TOKEN_CONTROL ? 0 : t.size;
}

static int read_settings(const struct brg_cli_args *args, const struct brg_cli_model *m,
                         struct brg_infer_eval *eval) {
    const char *recipe = brg_cli_value(args, "recipe");
    struct brg_tokenizer_info info;
    uint64_t context = m->spec.context < 512 ? m->spec.context : 512;
    brg_tokenizer_info_of(m->tokenizer, &info);
    *eval = (struct brg_infer_eval){.recipe = BRG_RECIPE_CHUNKS,
                                    .bos = info.add_bos ? info.bos : BRG_INFER_NO_TOKEN,
                                    .bytes_of = bytes_of,
                                    .context_of_bytes = m->tokenizer};
    if (strcmp(recipe, "windows") == 0)
        eval->recipe = BRG_RECIPE_WINDOWS;
    else if (strcmp(recipe, "chunks") != 0)
        return brg_cli_wrong(&verb, "--recipe is '%.40s'; it must be chunks or windows", recipe);
    int rc = brg_cli_number(args, "context", 2, m->spec.context, &context);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "chunks", 1, UINT64_MAX, &eval->chunks_max);
    eval->context = (uint32_t)context;
    return rc;
}

static int print_scores(const struct brg_cli_args *args, const struct brg_infer_scores *s,
                        uint32_t context) {
    const double nats = s->nll / (double)s->tokens;
    const double bits = s->bytes > 0 ? s->nll / log(2.0) / (double)s->bytes : 0;
    if (brg_cli_given(args, "json")) {
        printf("{\"perplexity\": %.6f, \"nats_per_token\": %.6f, \"bits_per_byte\": %.6f, "
               "\"tokens\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"correct\": %" PRIu64
               ", \"chunks\": %" PRIu64 ", \"context\": %" PRIu32 "}\n",
               exp(nats), nats, bits, s->tokens, s->bytes, s->correct, s->chunks, context);
        return BRG_EXIT_OK;
    }
    printf("perplexity     %.4f\nnats a token   %.4f\nbits a byte    %.4f\n"
           "tokens         %" PRIu64 " of %" PRIu64 " chunks of %" PRIu32
           "\nforetold       %.1f %%\n",
           exp(nats), nats, bits, s->tokens, s->chunks, context,
           100 * (double)s->correct / (double)s->tokens);
    return BRG_EXIT_OK;
}

/* The tokens of the part of the text that is asked for. */
static int encode(const struct brg_cli_args *args, const struct brg_cli_model *m,
                  struct brg_token_list *list) {
    struct brg_data_error error;
    struct brg_text text;
    struct brg_encoder *e = NULL;
    double share = 0;
    int rc = brg_cli_share(args, "held-out", &share);
    if (rc != BRG_CLI_GO) return rc;
    int err =
        brg_text_gather((const char *const *)args->arguments, args->argument_count, &text, &error);
    if (err != BRG_OK) return brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", error.text);
    const size_t held = share > 0 ? (size_t)((double)text.size_bytes * share) : text.size_bytes;
    err = brg_encoder_create(m->tokenizer, &e);
    if (err == BRG_OK)
        err = brg_encoder_add(e, text.bytes + text.size_bytes - held, held, BRG_ENCODE_PLAIN, list);
    brg_encoder_destroy(e);
    free(text.bytes);
    return err == BRG_OK ? BRG_CLI_GO
                         : brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", brg_strerror(err));
}

static int eval_text(const struct brg_cli_args *args, const struct brg_cli_model *m) {
    struct brg_infer_eval eval;
    struct brg_infer_scores scores;
    struct brg_infer *f = NULL;
    struct brg_token_list list = {.ids = NULL};
    struct brg_why why = {.text = ""};
    int rc = read_settings(args, m, &eval);
    if (rc == BRG_CLI_GO) rc = encode(args, m, &list);
    if (rc == BRG_CLI_GO) {
        struct brg_model_spec spec = m->spec;
        spec.context = eval.context; /* no more cache than is used */
        int err = brg_infer_create(&spec, m->params, eval.context, &f, &why);
        if (err == BRG_OK)
            err = brg_infer_perplexity(f, &eval, list.ids, list.count, &scores, &why);
        rc = err == BRG_OK ? print_scores(args, &scores, eval.context)
                           : brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", why.text);
    }
    brg_infer_destroy(f);
    free(list.ids);
    return rc;
}

/* All rows of the data set, train part and held-out part, as they stand. */
static int sum_rows(const struct brg_cli_model *m, const struct brg_data *d,
                    struct brg_model_sums *sums) {
    float *x = malloc(ROWS * (size_t)d->inputs * sizeof *x);
    uint32_t labels[ROWS];
    void *memory = aligned_alloc(BRG_MODEL_ALIGN, brg_model_workspace_bytes(&m->spec, ROWS));
    struct brg_data_error error;
    struct brg_sampler s;
    const struct brg_sample_buffer buffer = {.capacity = ROWS, .x = x, .labels = labels};
    const struct brg_batch_spec batch = {.samples = 1, .chunks = 1, .microbatch = 1};
    int rc = x == NULL || memory == NULL ? BRG_ENOMEM : BRG_OK;
    if (rc == BRG_OK) rc = brg_sampler_init(&s, d, &m->spec, &batch, 0, &error);
    if (rc == BRG_OK) {
        struct brg_model_workspace *w = brg_model_workspace_init(memory, &m->spec, ROWS, NULL);
        for (uint64_t at = 0; rc == BRG_OK && at < s.held_samples; at += ROWS) {
            const uint64_t left = s.held_samples - at;
            struct brg_batch out;
            brg_sample_held(&s, at, left < ROWS ? (uint32_t)left : ROWS, &buffer, &out);
            rc = brg_model_loss(w, m->params, &out, sums);
        }
    }
    free(x);
    free(memory);
    return rc;
}

static int eval_rows(const struct brg_cli_args *args, const struct brg_cli_model *m) {
    const char *format = brg_cli_value(args, "format"), *labels = brg_cli_value(args, "labels");
    struct brg_data_spec spec = {.held_out = 0.5};
    struct brg_model_sums sums = {.loss = 0};
    struct brg_data_error error;
    struct brg_data d;
    if (format == NULL || (strcmp(format, "idx") != 0 && strcmp(format, "csv") != 0))
        return brg_cli_wrong(&verb, "the model is a classifier: give --format idx or csv");
    spec.format = strcmp(format, "idx") == 0 ? BRG_DATA_IDX : BRG_DATA_CSV;
    if (strlen(args->arguments[0]) >= sizeof spec.train ||
        (labels != NULL && strlen(labels) >= sizeof spec.train_labels))
        return brg_cli_wrong(&verb, "a path is longer than %u bytes", BRG_PATH_BYTES - 1);
    (void)snprintf(spec.train, sizeof spec.train, "%s", args->arguments[0]);
    if (labels != NULL) (void)snprintf(spec.train_labels, sizeof spec.train_labels, "%s", labels);
    int rc = brg_cli_share(args, "held-out", &spec.held_out);
    if (rc != BRG_CLI_GO) return rc;
    int err = brg_data_open(&spec, &d, &error);
    if (err != BRG_OK) return brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", error.text);
    err = brg_data_fits(&d, &m->spec, &error);
    if (err == BRG_OK) {
        err = sum_rows(m, &d, &sums);
        (void)snprintf(error.text, sizeof error.text, "%s", brg_strerror(err));
    }
    brg_data_close(&d);
    if (err != BRG_OK) return brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", error.text);
    const double count = sums.count > 0 ? (double)sums.count : 1;
    printf(brg_cli_given(args, "json")
               ? "{\"accuracy\": %.6f, \"loss\": %.6f, \"rows\": %" PRIu64 "}\n"
               : "accuracy  %.4f\nloss      %.4f\nrows      %" PRIu64 " held out\n",
           (double)sums.correct / count, sums.loss / count, sums.count);
    return BRG_EXIT_OK;
}

int brg_cli_eval(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_cli_model model = {.params = NULL};
    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc != BRG_CLI_GO) return rc;
    rc = brg_cli_model_load(&args, &model);
    if (rc == BRG_CLI_GO)
        rc = model.spec.type == BRG_MODEL_LLAMA ? eval_text(&args, &model)
                                                : eval_rows(&args, &model);
    brg_cli_model_free(&model);
    return rc;
}
