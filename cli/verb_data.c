#include "cli/cli.h"
#include "cli/json.h"
#include "model/ngram.h"
#include "model/prepare.h"
#include "model/prepare_tokens.h"

#include <inttypes.h>
#include <string.h>

static const struct brg_cli_flag flags[] = {
    {.name = "out",
     .value = "NAME",
     .text = "Texts: NAME_train.bin, NAME_val.bin and NAME.json are written. Other formats: the "
             "file NAME, best ending in .brgdata, and NAME.json. Always needed."},
    {.name = "format",
     .value = "FORMAT",
     .fallback = "text",
     .text = "text: files and folders of *.txt and *.txt.gz, joined into token shards of one token "
             "a byte. shard, idx, csv: one file of that format, packed with its held-out part "
             "into one file."},
    {.name = "labels", .value = "FILE", .text = "The labels of an idx file."},
    {.name = "test", .value = "FILE", .text = "shard, idx, csv: a file with held-out data."},
    {.name = "test-labels", .value = "FILE", .text = "The labels of --test, for idx."},
    {.name = "held-out",
     .value = "SHARE",
     .text = "Share of the end that is kept for evaluation, 0% to 50%. Default: 5%, or 0% with "
             "--test."},
    {.name = "tokenizer",
     .value = "FILE",
     .text = "Texts: encode with this tokenizer.json instead of a token a byte, and put its end "
             "mark behind each document. *.jsonl files hold a document a line, under \"text\"."},
    {.name = "json", .text = "What was written as JSON."},
};

static const struct brg_cli_verb verb = {
    .name = "data prepare",
    .arguments = "FILE...",
    .summary = "turn texts, images and tables into data sets",
    .about = "Reads files as people have them, checks every byte of them once, and writes data\n"
             "sets that runs open quickly. gzip files are unpacked. For byte-level texts it says\n"
             "what a bigram model loses on the held-out part: the bar for a model to beat.\n"
             "\n"
             "Nothing needs to be prepared: a run can also name a text, shard, idx or csv file\n"
             "directly. Preparing joins many texts, and fixes what is held out.\n"
             "\n"
             "A manifest with the sizes and digests of all files is written last: where there is\n"
             "one, the files are whole.\n",
    .examples = "$ brigade data prepare --out kjv kjv.txt.gz\n"
                "$ brigade data prepare --out corpus --held-out 2% books/ letters/\n"
                "$ brigade data prepare --format idx --out digits.brgdata \\\n"
                "      --labels train-labels-idx1-ubyte.gz --test t10k-images-idx3-ubyte.gz \\\n"
                "      --test-labels t10k-labels-idx1-ubyte.gz train-images-idx3-ubyte.gz\n"
                "$ brigade data prepare --out kjv4k --tokenizer tokenizer.json kjv.txt\n"
                "$ brigade data prepare --format csv --out iris.brgdata --held-out 20% iris.csv\n",
    .arguments_min = 1,
    .arguments_max = BRG_CLI_ARGUMENTS_MAX,
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

static const char *const formats[] = {"text", "shard", "idx", "csv"};
static const uint32_t format_numbers[] = {BRG_DATA_TEXT, BRG_DATA_SHARD, BRG_DATA_IDX,
                                          BRG_DATA_CSV};

static int read_format(const struct brg_cli_args *args, uint32_t *out) {
    const char *format = brg_cli_value(args, "format");
    for (uint32_t i = 0; i < 4; i++) {
        if (strcmp(format, formats[i]) == 0) {
            *out = format_numbers[i];
            return BRG_CLI_GO;
        }
    }
    const char *near = brg_cli_closest(format, formats, 4);
    return brg_cli_wrong(&verb, "--format is '%.40s'; it must be text, shard, idx or csv%s%s%s",
                         format, near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                         near != NULL ? "?" : "");
}

static int copy_path(char *out, const struct brg_cli_args *args, const char *flag,
                     const char *value) {
    if (value == NULL) return BRG_CLI_GO;
    if (strlen(value) >= BRG_PATH_BYTES) {
        return brg_cli_wrong(args->verb, "%s%s is longer than %u bytes", flag[0] != 0 ? "--" : "",
                             flag[0] != 0 ? flag : "the path", BRG_PATH_BYTES - 1);
    }
    memcpy(out, value, strlen(value) + 1);
    return BRG_CLI_GO;
}

/* Flags that the format has no use for are refused: they would be dropped in silence. */
static int check_flags(const struct brg_cli_args *args, uint32_t format) {
    static const char *const row_flags[] = {"labels", "test-labels"};
    for (uint32_t i = 0; i < 2; i++) {
        if (format != BRG_DATA_IDX && brg_cli_given(args, row_flags[i])) {
            return brg_cli_wrong(&verb, "--%s goes with --format idx only", row_flags[i]);
        }
    }
    if (format == BRG_DATA_IDX && !brg_cli_given(args, "labels")) {
        return brg_cli_wrong(&verb, "--labels FILE is missing: idx images have theirs in a file of "
                                    "their own");
    }
    if (brg_cli_given(args, "test-labels") && !brg_cli_given(args, "test")) {
        return brg_cli_wrong(&verb, "--test-labels goes with --test");
    }
    if (format != BRG_DATA_TEXT && brg_cli_given(args, "tokenizer")) {
        return brg_cli_wrong(&verb, "--tokenizer goes with --format text");
    }
    if (format == BRG_DATA_TEXT && brg_cli_given(args, "test")) {
        return brg_cli_wrong(&verb, "--test does not go with --format text: its held-out part is "
                                    "cut from the end, see --held-out");
    }
    if (format != BRG_DATA_TEXT && args->argument_count > 1) {
        return brg_cli_wrong(&verb, "'%.80s' is one file too many: only texts are joined",
                             args->arguments[1]);
    }
    return BRG_CLI_GO;
}

static int prepare_packed(const struct brg_cli_args *args, uint32_t format, double held_out,
                          struct brg_prepare_report *report, struct brg_data_error *error) {
    struct brg_data_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.format = format;
    spec.held_out = held_out;
    int rc = copy_path(spec.train, args, "", args->arguments[0]);
    if (rc == BRG_CLI_GO) {
        rc = copy_path(spec.train_labels, args, "labels", brg_cli_value(args, "labels"));
    }
    if (rc == BRG_CLI_GO) rc = copy_path(spec.test, args, "test", brg_cli_value(args, "test"));
    if (rc == BRG_CLI_GO) {
        rc = copy_path(spec.test_labels, args, "test-labels", brg_cli_value(args, "test-labels"));
    }
    if (rc != BRG_CLI_GO) return rc;
    int err = brg_prepare_packed(&spec, brg_cli_value(args, "out"), report, error);
    if (err == BRG_OK) return BRG_CLI_GO;
    return brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", error->text);
}

static int prepare_texts(const struct brg_cli_args *args, double held_out,
                         struct brg_prepare_report *report, struct brg_data_error *error) {
    struct brg_prepare_texts texts = {.inputs = (const char *const *)args->arguments,
                                      .input_count = args->argument_count,
                                      .prefix = brg_cli_value(args, "out"),
                                      .held_out = held_out};
    const char *path = brg_cli_value(args, "tokenizer");
    struct brg_tokenizer *tokenizer = NULL;
    struct brg_why why = {.text = ""};
    int err = path == NULL ? BRG_OK : brg_tokenizer_open(path, &tokenizer, &why);
    if (err != BRG_OK) return brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", why.text);
    err = path == NULL ? brg_prepare_shards(&texts, report, error)
                       : brg_prepare_tokens(&texts, tokenizer, report, error);
    brg_tokenizer_destroy(tokenizer);
    if (err == BRG_OK) return BRG_CLI_GO;
    return brg_cli_fail(&verb, brg_cli_exit_of(err), "%s", error->text);
}

/* What byte n-grams lose on what was written; 1 where that makes sense. */
static int measure(const struct brg_prepare_report *r, uint32_t format,
                   struct brg_ngram_losses *out) {
    struct brg_data_spec spec;
    struct brg_data data;
    struct brg_data_error error;
    memset(&spec, 0, sizeof spec);
    spec.format = format == BRG_DATA_TEXT ? BRG_DATA_SHARD : format;
    memcpy(spec.train, r->train, sizeof spec.train);
    if (format == BRG_DATA_TEXT) memcpy(spec.test, r->held, sizeof spec.test);
    if (r->held_count < 2 || brg_data_open(&spec, &data, &error) != BRG_OK) return 0;
    int is_measured = brg_ngram_measure(&data, out) == BRG_OK;
    brg_data_close(&data);
    return is_measured;
}

static int print_json(const struct brg_prepare_report *r, const struct brg_ngram_losses *bar) {
    char hex[BRG_DIGEST_HEX_BYTES];
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "train", r->train);
    if (r->held[0] != 0) (void)cJSON_AddStringToObject(o, "test", r->held);
    (void)cJSON_AddStringToObject(o, "manifest", r->manifest);
    (void)cJSON_AddNumberToObject(o, "train_count", (double)r->train_count);
    (void)cJSON_AddNumberToObject(o, "held_out_count", (double)r->held_count);
    (void)cJSON_AddNumberToObject(o, "bytes", (double)r->bytes);
    (void)cJSON_AddNumberToObject(o, "sources", r->sources);
    (void)cJSON_AddStringToObject(o, "digest", brg_digest_hex(&r->digest, hex));
    if (bar != NULL) {
        (void)cJSON_AddNumberToObject(o, "unigram_loss", bar->order0);
        (void)cJSON_AddNumberToObject(o, "bigram_loss", bar->order1);
    }
    int rc = brg_json_print(o, stdout);
    cJSON_Delete(o);
    return rc == BRG_OK ? BRG_EXIT_OK : BRG_EXIT_FAILED;
}

static int print_text(const struct brg_prepare_report *r, uint32_t format,
                      const struct brg_ngram_losses *bar) {
    char hex[BRG_DIGEST_HEX_BYTES];
    printf("%" PRIu32 " file%s read; %" PRIu64 " to train on, %" PRIu64 " held out\n", r->sources,
           r->sources == 1 ? "" : "s", r->train_count, r->held_count);
    printf("written, %" PRIu64 " bytes:\n    %s\n", r->bytes, r->train);
    if (r->held[0] != 0) printf("    %s\n", r->held);
    printf("    %s\n", r->manifest);
    printf("digest %s\n", brg_digest_hex(&r->digest, hex));
    if (bar != NULL) {
        printf("a byte bigram model loses %.4f nats a byte on the held-out part, a unigram model "
               "%.4f\n",
               bar->order1, bar->order0);
    }
    printf("\nin a run file:\n    data: {%strain: %s",
           format == BRG_DATA_TEXT ? "format: shard, " : "", r->train);
    if (r->held[0] != 0) printf(", test: %s", r->held);
    printf("}\n");
    return BRG_EXIT_OK;
}

static int data_prepare(int argc, char **argv) {
    struct brg_cli_args args;
    struct brg_prepare_report report;
    struct brg_data_error error;
    struct brg_ngram_losses bar;
    uint32_t format = 0;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = read_format(&args, &format);
    if (rc == BRG_CLI_GO) rc = check_flags(&args, format);
    if (rc != BRG_CLI_GO) return rc;
    if (brg_cli_value(&args, "out") == NULL) return brg_cli_wrong(&verb, "--out NAME is missing");
    double held_out = brg_cli_given(&args, "test") ? 0 : 0.05;
    rc = brg_cli_share(&args, "held-out", &held_out);
    if (rc == BRG_CLI_GO && held_out > 0.5) {
        return brg_cli_wrong(&verb, "--held-out is over 50%%: more would be kept than trained on");
    }
    if (rc == BRG_CLI_GO && held_out > 0 && brg_cli_given(&args, "test")) {
        return brg_cli_wrong(&verb, "--held-out and --test exclude each other");
    }
    if (rc == BRG_CLI_GO) {
        rc = format == BRG_DATA_TEXT ? prepare_texts(&args, held_out, &report, &error)
                                     : prepare_packed(&args, format, held_out, &report, &error);
    }
    if (rc != BRG_CLI_GO) return rc;
    const int is_bytes = !brg_cli_given(&args, "tokenizer"); /* the bar is one for bytes */
    const struct brg_ngram_losses *found = is_bytes && measure(&report, format, &bar) ? &bar : NULL;
    return brg_cli_given(&args, "json") ? print_json(&report, found)
                                        : print_text(&report, format, found);
}

int brg_cli_data(int argc, char **argv) {
    static const struct brg_cli_word words[] = {
        {"prepare", "turn texts, images and tables into data sets", data_prepare},
    };
    return brg_cli_words("data", "Data sets: what a run trains on.\n", words, 1, argc, argv);
}
