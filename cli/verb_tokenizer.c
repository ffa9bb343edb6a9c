#include "cli/cli.h"

#include "base/file.h"
#include "model/prepare_text.h"
#include "model/tokenizer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX (UINT64_C(1) << 30)
#define TOKENIZER_FLAG                                                                             \
    {                                                                                              \
        .name = "tokenizer", .value = "FILE",                                                      \
        .text = "A tokenizer.json, a tokenizer.bin of llama2.c, the folder that holds one, or "    \
                "'bytes'. Always needed."                                                          \
    }

static const struct brg_cli_flag train_flags[] = {
    {.name = "out", .value = "FILE", .text = "The tokenizer.json to write. Always needed."},
    {.name = "vocab",
     .value = "N",
     .fallback = "4096",
     .text = "Tokens: 256 bytes, 3 marks (unless --no-marks), all else learned. At most 65536."},
    {.name = "split",
     .value = "HOW",
     .fallback = "gpt2",
     .text = "How words are cut before learning: gpt2, llama3 (at most 3 digits a word) or qwen2 "
             "(one digit)."},
    {.name = "no-marks",
     .text = "Bytes are tokens 0 to 255 and there is no begin or end mark. Without this flag "
             "tokens 0, 1 and 2 are unknown, begin and end, as llama2.c wants them."},
};

static const struct brg_cli_verb train_verb = {
    .name = "tokenizer train",
    .arguments = "FILE...",
    .summary = "learn a byte-level BPE from texts",
    .about =
        "Learns which byte sequences occur together, and writes them as tokenizer.json, which\n"
        "Hugging Face's programs open as well. Folders stand for the *.txt and *.txt.gz in\n"
        "them. The same texts give the same tokenizer, byte for byte.\n",
    .examples = "$ brigade tokenizer train --vocab 4096 --out tokenizer.json kjv.txt\n",
    .arguments_min = 1,
    .arguments_max = BRG_CLI_ARGUMENTS_MAX,
    .flag_count = sizeof train_flags / sizeof train_flags[0],
    .flags = train_flags,
};

static const struct brg_cli_flag encode_flags[] = {
    TOKENIZER_FLAG,
    {.name = "marks",
     .text = "The text's '<|endoftext|>' and the like become those tokens, as in Hugging Face's "
             "programs; else they are text."},
    {.name = "count", .text = "Only say how many tokens there are, and how fast it was."},
};

static const struct brg_cli_verb encode_verb = {
    .name = "tokenizer encode",
    .arguments = "FILE",
    .summary = "texts to token numbers, one a line",
    .about = "Prints the tokens of a text. Nothing is put before or behind it.\n",
    .examples = "$ brigade tokenizer encode --tokenizer tokenizer.json kjv.txt | head\n"
                "$ brigade tokenizer encode --tokenizer tokenizer.json --count kjv.txt\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = sizeof encode_flags / sizeof encode_flags[0],
    .flags = encode_flags,
};

static const struct brg_cli_flag decode_flags[] = {TOKENIZER_FLAG};

static const struct brg_cli_verb decode_verb = {
    .name = "tokenizer decode",
    .arguments = "FILE",
    .summary = "token numbers to the text they stand for",
    .about = "Reads numbers with blanks or line ends between them and writes the bytes.\n",
    .examples = "$ brigade tokenizer decode --tokenizer tokenizer.json ids.txt\n",
    .arguments_min = 1,
    .arguments_max = 1,
    .flag_count = sizeof decode_flags / sizeof decode_flags[0],
    .flags = decode_flags,
};

static const struct brg_cli_flag show_flags[] = {TOKENIZER_FLAG};

static const struct brg_cli_verb show_verb = {
    .name = "tokenizer show",
    .arguments = "",
    .summary = "what a tokenizer is: kind, size, marks, digest",
    .about = "Reads and checks a tokenizer.\n",
    .examples = "$ brigade tokenizer show --tokenizer tokenizer.json\n",
    .flag_count = sizeof show_flags / sizeof show_flags[0],
    .flags = show_flags,
};

static int open_tokenizer(const struct brg_cli_args *args, struct brg_tokenizer **out) {
    const char *path = brg_cli_value(args, "tokenizer");
    struct brg_why why = {.text = ""};
    if (path == NULL) return brg_cli_wrong(args->verb, "--tokenizer FILE is missing");
    const int rc = strcmp(path, "bytes") == 0 ? brg_tokenizer_bytes(out, &why)
                                              : brg_tokenizer_open(path, out, &why);
    if (rc == BRG_OK) return BRG_CLI_GO;
    return brg_cli_fail(args->verb, brg_cli_exit_of(rc), "%s", why.text);
}

static int read_text(const struct brg_cli_verb *verb, const char *path, uint8_t **text,
                     size_t *size) {
    const int rc = brg_file_read(path, TEXT_MAX, text, size);
    if (rc == BRG_OK) return BRG_CLI_GO;
    return brg_cli_fail(verb, brg_cli_exit_of(rc), "%s: cannot be read (%s); check the path", path,
                        strerror(errno));
}

static int parse_split(const char *name, uint32_t *kind) {
    static const char *const names[] = {"gpt2", "llama3", "qwen2"};
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *kind = BRG_TOKENIZER_GPT2 + i;
        return BRG_CLI_GO;
    }
    return brg_cli_wrong(&train_verb, "--split is '%.40s'; it must be gpt2, llama3 or qwen2", name);
}

static int write_json(const struct brg_tokenizer *t, const char *path) {
    struct brg_why why = {.text = ""};
    char *json = NULL;
    size_t size = 0;
    int rc = brg_tokenizer_json(t, &json, &size, &why);
    if (rc != BRG_OK) return brg_cli_fail(&train_verb, brg_cli_exit_of(rc), "%s", why.text);
    rc = brg_file_write_atomic(path, 0644, json, size);
    free(json);
    if (rc == BRG_OK) return BRG_EXIT_OK;
    return brg_cli_fail(&train_verb, brg_cli_exit_of(rc), "%s: cannot be written (%s)", path,
                        strerror(errno));
}

static int train_and_write(const struct brg_tokenizer_train *how, const struct brg_text *text,
                           const char *path) {
    struct brg_tokenizer *t = NULL;
    struct brg_tokenizer_info info;
    struct brg_why why = {.text = ""};
    int rc = brg_tokenizer_train_on(how, text->bytes, text->size_bytes, &t, &why);
    if (rc != BRG_OK) return brg_cli_fail(&train_verb, brg_cli_exit_of(rc), "%s", why.text);
    rc = write_json(t, path);
    brg_tokenizer_info_of(t, &info);
    brg_tokenizer_destroy(t);
    if (rc != BRG_EXIT_OK) return rc;
    printf("%s: %" PRIu32 " tokens, %" PRIu32 " of them learned from %zu bytes\n", path, info.vocab,
           info.merge_count, text->size_bytes);
    if (info.vocab < how->vocab)
        printf("fewer than the %" PRIu32 " asked for: no further pair occurs twice in the text\n",
               how->vocab);
    return BRG_EXIT_OK;
}

static int tokenizer_train(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_tokenizer_train how = {.vocab = 0};
    struct brg_data_error error;
    struct brg_text text;
    uint64_t vocab = 4096;

    int rc = brg_cli_parse(&train_verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(&args, "vocab", 256, 65536, &vocab);
    if (rc == BRG_CLI_GO) rc = parse_split(brg_cli_value(&args, "split"), &how.kind);
    if (rc != BRG_CLI_GO) return rc;
    const char *path = brg_cli_value(&args, "out");
    if (path == NULL) return brg_cli_wrong(&train_verb, "--out FILE is missing");
    how.vocab = (uint32_t)vocab;
    how.is_without_marks = (uint32_t)brg_cli_given(&args, "no-marks");
    rc = brg_text_gather((const char *const *)args.arguments, args.argument_count, &text, &error);
    if (rc != BRG_OK) return brg_cli_fail(&train_verb, brg_cli_exit_of(rc), "%s", error.text);
    rc = train_and_write(&how, &text, path);
    free(text.bytes);
    return rc;
}

static double seconds_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_ids(const struct brg_token_list *list) {
    for (size_t i = 0; i < list->count; i++) printf("%" PRIu32 "\n", list->ids[i]);
}

static int tokenizer_encode(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_tokenizer *t = NULL;
    struct brg_encoder *e = NULL;
    struct brg_token_list list = {.ids = NULL};
    uint8_t *text = NULL;
    size_t size = 0;

    int rc = brg_cli_parse(&encode_verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = open_tokenizer(&args, &t);
    if (rc == BRG_CLI_GO) rc = read_text(&encode_verb, args.arguments[0], &text, &size);
    if (rc != BRG_CLI_GO) goto out;
    const double start = seconds_now();
    int err = brg_encoder_create(t, &e);
    if (err == BRG_OK)
        err = brg_encoder_add(e, text, size,
                              brg_cli_given(&args, "marks") ? BRG_ENCODE_MARKS : BRG_ENCODE_PLAIN,
                              &list);
    const double seconds = seconds_now() - start;
    if (err != BRG_OK) {
        rc = brg_cli_fail(&encode_verb, brg_cli_exit_of(err), "%s: %s", args.arguments[0],
                          brg_strerror(err));
        goto out;
    }
    if (brg_cli_given(&args, "count"))
        printf("%zu tokens of %zu bytes in %.3f s: %.1f MB/s\n", list.count, size, seconds,
               (double)size / 1e6 / (seconds > 0 ? seconds : 1e-9));
    else
        print_ids(&list);
    rc = BRG_EXIT_OK;
out:
    free(list.ids);
    free(text);
    brg_encoder_destroy(e);
    brg_tokenizer_destroy(t);
    return rc;
}

/* Writes the bytes of the numbers in `text`; returns the first word that is no token, or NULL. */
static const char *decode(const struct brg_tokenizer *t, const char *text) {
    struct brg_tokenizer_info info;
    brg_tokenizer_info_of(t, &info);
    for (;;) {
        char *end = NULL;
        text += strspn(text, " \t\r\n,[]");
        if (*text == '\0') return NULL;
        const unsigned long long id = strtoull(text, &end, 10);
        if (end == text || *text == '-' || id >= info.vocab) return text;
        const struct brg_token token = brg_tokenizer_token(t, (uint32_t)id);
        if (token.size > 0) (void)fwrite(token.bytes, 1, token.size, stdout);
        text = end;
    }
}

static int tokenizer_decode(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_tokenizer *t = NULL;
    uint8_t *text = NULL;
    size_t size = 0;

    int rc = brg_cli_parse(&decode_verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = open_tokenizer(&args, &t);
    if (rc == BRG_CLI_GO) rc = read_text(&decode_verb, args.arguments[0], &text, &size);
    if (rc == BRG_CLI_GO) {
        const char *wrong = decode(t, (const char *)text);
        rc = wrong == NULL ? BRG_EXIT_OK
                           : brg_cli_fail(&decode_verb, BRG_EXIT_FAILED,
                                          "%s: '%.20s' at byte %td is no token of this tokenizer",
                                          args.arguments[0], wrong, wrong - (const char *)text);
    }
    free(text);
    brg_tokenizer_destroy(t);
    return rc;
}

static void print_mark(const struct brg_tokenizer *t, const char *name, uint32_t id) {
    if (id == BRG_TOKEN_NONE) return;
    char *text = brg_tokenizer_symbols(t, id);
    printf("%-9s %" PRIu32 " ", name, id);
    brg_cli_put(stdout, text == NULL ? "" : text);
    printf("\n");
    free(text);
}

static int tokenizer_show(int argc, char **argv) {
    static const char *const kinds[] = {"?", "bytes", "gpt2", "llama3", "qwen2", "scores"};
    struct brg_cli_args args;
    struct brg_tokenizer *t = NULL;
    struct brg_tokenizer_info info;
    struct brg_digest digest;
    char hex[BRG_DIGEST_HEX_BYTES];

    int rc = brg_cli_parse(&show_verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = open_tokenizer(&args, &t);
    if (rc != BRG_CLI_GO) return rc;
    brg_tokenizer_info_of(t, &info);
    brg_tokenizer_digest(t, &digest);
    printf("kind      %s\ntokens    %" PRIu32 "\nmerges    %" PRIu32 "\nlongest   %" PRIu32
           " bytes\n",
           kinds[info.kind], info.vocab, info.merge_count, info.longest);
    print_mark(t, "unknown", info.unk);
    print_mark(t, "begin", info.bos);
    print_mark(t, "end", info.eos);
    printf("digest    %s\n", brg_digest_hex(&digest, hex));
    brg_tokenizer_destroy(t);
    return BRG_EXIT_OK;
}

int brg_cli_tokenizer(int argc, char **argv) {
    static const struct brg_cli_word words[] = {
        {"train", "learn a byte-level BPE from texts", tokenizer_train},
        {"encode", "texts to token numbers", tokenizer_encode},
        {"decode", "token numbers to the text they stand for", tokenizer_decode},
        {"show", "what a tokenizer is", tokenizer_show},
    };
    return brg_cli_words("tokenizer", "Tokenizers: texts to token numbers and back.\n", words, 4,
                         argc, argv);
}
