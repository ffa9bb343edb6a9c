#include "cli/cli.h"
#include "cli/model_load.h"

#include "model/infer.h"

#include <inttypes.h>
#include <string.h>

static const struct brg_cli_flag flags[] = {
    BRG_CLI_MODEL_FLAGS,
    BRG_CLI_STATE_FLAG,
    {.name = "prompt", .value = "TEXT", .fallback = "", .text = "What the text begins with."},
    {.name = "tokens", .value = "N", .fallback = "256", .text = "How many tokens to write."},
    {.name = "temperature",
     .value = "T",
     .fallback = "0.8",
     .text = "0: always the likeliest token. 1: as the model has it."},
    {.name = "top-k", .value = "K", .fallback = "0", .text = "Of the K likeliest only; 0: of all."},
    {.name = "top-p",
     .value = "SHARE",
     .fallback = "95%",
     .text = "Of the likeliest that have this share together; 100%: of all."},
    {.name = "seed", .value = "N", .fallback = "1", .text = "The same seed gives the same text."},
};

static const struct brg_cli_verb verb = {
    .name = "generate",
    .arguments = "",
    .summary = "let a model write",
    .about = "Writes text that goes on from the prompt, until the model ends it or --tokens are\n"
             "written. When the context is full, the older half of it is forgotten.\n",
    .examples = "$ brigade generate --run 1 --prompt 'In the beginning'\n"
                "$ brigade generate --model kjv.gguf --temperature 0 --tokens 100\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

struct settings {
    struct brg_infer_sampling sampling;
    uint64_t tokens, seed;
};

static int read_settings(const struct brg_cli_args *args, struct settings *out) {
    const char *text = brg_cli_value(args, "temperature");
    double top_p = 1;
    uint64_t top_k = 0;
    char *end = NULL;
    const double t = strtod(text, &end);
    if (end == text || *end != '\0' || !(t >= 0 && t <= 100))
        return brg_cli_wrong(&verb, "--temperature is '%.40s'; it must be a number from 0 to 100",
                             text);
    int rc = brg_cli_number(args, "tokens", 1, 1000000000, &out->tokens);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "seed", 0, UINT64_MAX, &out->seed);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "top-k", 0, 65536, &top_k);
    if (rc == BRG_CLI_GO) rc = brg_cli_share(args, "top-p", &top_p);
    out->sampling = (struct brg_infer_sampling){
        .temperature = (float)t, .top_p = (float)top_p, .top_k = (uint32_t)top_k};
    return rc;
}

/* The prompt's tokens, the begin mark before them; without either the line end stands in. */
static int encode(const struct brg_cli_args *args, const struct brg_cli_model *m,
                  struct brg_token_list *list) {
    const char *prompt = brg_cli_value(args, "prompt");
    struct brg_tokenizer_info info;
    struct brg_encoder *e = NULL;
    brg_tokenizer_info_of(m->tokenizer, &info);
    int rc = brg_encoder_create(m->tokenizer, &e);
    if (rc == BRG_OK && info.bos != BRG_TOKEN_NONE && (info.add_bos || prompt[0] == '\0'))
        rc = brg_token_list_add(list, info.bos);
    if (rc == BRG_OK)
        rc = brg_encoder_add(e, (const uint8_t *)prompt, strlen(prompt), BRG_ENCODE_PLAIN, list);
    if (rc == BRG_OK && list->count == 0)
        rc = brg_token_list_add(list, brg_tokenizer_byte(m->tokenizer, '\n'));
    brg_encoder_destroy(e);
    return rc;
}

/* Reads what is not read yet, *rows of it; the older half goes where it does not fit. */
static int read_on(struct brg_infer *f, const struct brg_token_list *list, size_t *read,
                   uint32_t *rows) {
    const uint32_t context = brg_infer_spec(f)->context;
    if (list->count - *read > context - brg_infer_position(f)) {
        const size_t keep = context > 1 ? context / 2 : 1;
        brg_infer_reset(f);
        *read = list->count > keep ? list->count - keep : 0;
    }
    *rows = (uint32_t)(list->count - *read);
    const int rc = brg_infer_feed(f, list->ids + *read, *rows);
    *read = list->count;
    return rc;
}

static void print_token(const struct brg_cli_model *m, uint32_t id) {
    struct brg_tokenizer_info info;
    brg_tokenizer_info_of(m->tokenizer, &info);
    if (id >= info.vocab) return;
    const struct brg_token t = brg_tokenizer_token(m->tokenizer, id);
    if (t.size > 0 && t.type != BRG_TOKEN_CONTROL) (void)fwrite(t.bytes, 1, t.size, stdout);
    (void)fflush(stdout);
}

static int write_on(const struct brg_cli_model *m, const struct settings *how, struct brg_infer *f,
                    struct brg_token_list *list, float *logits) {
    struct brg_prng g = {.state = how->seed};
    struct brg_tokenizer_info info;
    size_t read = 0;
    int rc = BRG_OK;
    brg_tokenizer_info_of(m->tokenizer, &info);
    for (uint64_t i = 0; rc == BRG_OK && i < how->tokens; i++) {
        uint32_t id = 0, rows = 0;
        rc = read_on(f, list, &read, &rows);
        if (rc != BRG_OK) break;
        brg_infer_logits(f, rows - 1, 1, logits);
        rc = brg_infer_pick(&how->sampling, &g, logits, m->spec.vocab, &id);
        if (rc == BRG_OK && id == info.eos) break;
        if (rc == BRG_OK) rc = brg_token_list_add(list, id);
        if (rc == BRG_OK) print_token(m, id);
    }
    (void)fputc('\n', stdout);
    return rc;
}

static int generate(const struct brg_cli_args *args, const struct brg_cli_model *m,
                    const struct settings *how) {
    struct brg_token_list list = {.ids = NULL};
    struct brg_infer *f = NULL;
    struct brg_why why = {.text = ""};
    float *logits = malloc(m->spec.vocab * sizeof *logits);
    int rc = logits == NULL ? BRG_ENOMEM : encode(args, m, &list);
    if (rc == BRG_OK) rc = brg_infer_create(&m->spec, m->params, m->spec.context, &f, &why);
    if (rc == BRG_OK) {
        (void)fputs(brg_cli_value(args, "prompt"), stdout);
        rc = write_on(m, how, f, &list, logits);
    }
    brg_infer_destroy(f);
    free(list.ids);
    free(logits);
    if (rc == BRG_OK) return BRG_EXIT_OK;
    return brg_cli_fail(&verb, brg_cli_exit_of(rc), "%s",
                        why.text[0] != '\0' ? why.text
                        : rc == BRG_EINVAL  ? "the tokenizer does not belong to this model"
                                            : brg_strerror(rc));
}

int brg_cli_generate(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_cli_model model = {.params = NULL};
    struct settings how = {.tokens = 256};
    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = read_settings(&args, &how);
    if (rc != BRG_CLI_GO) return rc;
    rc = brg_cli_model_load(&args, &model);
    if (rc == BRG_CLI_GO && model.spec.type != BRG_MODEL_LLAMA)
        rc = brg_cli_fail(&verb, BRG_EXIT_FAILED, "the model is a classifier: it does not write");
    if (rc == BRG_CLI_GO) rc = generate(&args, &model, &how);
    brg_cli_model_free(&model);
    return rc;
}
