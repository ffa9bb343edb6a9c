#include "model/prepare_tokens.h"

#include "model/data_parse.h"
#include "model/prepare_json.h"
#include "model/prepare_list.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SHARD_HEADER_INTS 256u
#define SHARD_MAGIC 20240520
#define TOKENS_MAX UINT64_C(2147483647)

/* All that brg_prepare_tokens holds on to. */
struct job {
    const struct brg_prepare_texts *texts;
    const struct brg_tokenizer *tokenizer;
    struct brg_tokenizer_info info;
    struct brg_encoder *encoder;
    struct brg_token_list tokens;
    struct brg_prepare_list list;
    struct brg_prepare_file *sources; /* [list.count] */
    struct brg_prepare_file files[3];
    uint32_t file_count;
    uint64_t documents;
    char tokenizer_path[BRG_PATH_BYTES];
    struct brg_prepare_report *report;
    struct brg_data_error *error;
};

static int unwritable(int rc, const char *path, struct brg_data_error *error) {
    return brg_data_fail(error, rc, path, "cannot be written (%s); %s", strerror(errno),
                         rc == BRG_ENOSPC ? "free some space, or write to another disk"
                                          : "check the folder and its permissions");
}

static int add_document(struct job *j, const char *path, const void *text, size_t size) {
    int rc = brg_encoder_add(j->encoder, text, size, BRG_ENCODE_PLAIN, &j->tokens);
    if (rc == BRG_OK && j->info.eos != BRG_TOKEN_NONE)
        rc = brg_token_list_add(&j->tokens, j->info.eos);
    j->documents++;
    if (rc == BRG_EINVAL)
        return brg_data_fail(j->error, rc, path, "a document has over %u MiB; cut it up",
                             BRG_TOKENIZER_TEXT_MAX >> 20);
    return rc == BRG_OK ? BRG_OK : brg_data_fail(j->error, rc, path, "out of memory");
}

static int add_line(struct job *j, const char *path, uint64_t number, const uint8_t *line,
                    size_t size) {
    cJSON *o =
        size <= BRG_PREPARE_LINE_MAX ? cJSON_ParseWithLength((const char *)line, size) : NULL;
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(o, "text");
    const int rc =
        cJSON_IsString(text)
            ? add_document(j, path, text->valuestring, strlen(text->valuestring))
            : brg_data_fail(j->error, BRG_ECORRUPT, path,
                            "line %" PRIu64 " is no JSON object with a text under \"text\"; each "
                            "line has to look like {\"text\": \"...\"}",
                            number);
    cJSON_Delete(o);
    return rc;
}

static int is_blank(const uint8_t *line, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (strchr(" \t\r", line[i]) == NULL || line[i] == '\0') return 0;
    return 1;
}

static int add_lines(struct job *j, const char *path, const uint8_t *bytes, size_t size) {
    uint64_t number = 1;
    int rc = BRG_OK;
    for (size_t at = 0; rc == BRG_OK && at < size; number++) {
        const uint8_t *end = memchr(bytes + at, '\n', size - at);
        const size_t length = end == NULL ? size - at : (size_t)(end - bytes) - at;
        if (!is_blank(bytes + at, length)) rc = add_line(j, path, number, bytes + at, length);
        at += length + 1;
    }
    return rc;
}

static int ends_with(const char *name, const char *suffix) {
    const size_t n = strlen(name), m = strlen(suffix);
    return n > m && memcmp(name + n - m, suffix, m) == 0;
}

static int add_source(struct job *j, uint32_t index) {
    const char *path = j->list.paths[index];
    struct brg_file_map map;
    struct brg_data unpacked;
    memset(&unpacked, 0, sizeof unpacked);
    int rc = brg_file_map_open(path, BRG_DATA_FILE_MAX, &map);
    if (rc != BRG_OK)
        return brg_data_fail(j->error, rc, path, "cannot be read (%s); check the path",
                             strerror(errno));
    j->sources[index] = (struct brg_prepare_file){.path = path, .bytes = map.size_bytes};
    brg_digest_of(map.data, map.size_bytes, &j->sources[index].digest);
    struct brg_data_bytes text = {path, map.data, map.size_bytes};
    rc = brg_data_gunzip(&unpacked, &text, BRG_DATA_EXPANDED_MAX, j->error);
    if (rc == BRG_OK)
        rc = ends_with(path, ".jsonl") || ends_with(path, ".jsonl.gz")
                 ? add_lines(j, path, text.data, text.size_bytes)
                 : add_document(j, path, text.data, text.size_bytes);
    brg_data_close(&unpacked);
    brg_file_map_close(&map);
    return rc;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static int put_file(struct job *j, const char *path, const char *role, const void *bytes,
                    size_t size) {
    const int rc = brg_file_write_atomic(path, 0644, bytes, size);
    if (rc != BRG_OK) return unwritable(rc, path, j->error);
    struct brg_prepare_file *f = &j->files[j->file_count++];
    *f = (struct brg_prepare_file){.path = base_name(path), .role = role, .bytes = size};
    brg_digest_of(bytes, size, &f->digest);
    j->report->bytes += size;
    return BRG_OK;
}

static int put_shard(struct job *j, const char *path, const char *role, uint64_t first,
                     uint64_t count) {
    const size_t head = SHARD_HEADER_INTS * sizeof(int32_t);
    uint8_t *bytes = calloc(1, head + 2 * count);
    const int32_t numbers[3] = {SHARD_MAGIC, 1, (int32_t)count};
    if (bytes == NULL) return brg_data_fail(j->error, BRG_ENOMEM, path, "out of memory");
    memcpy(bytes, numbers, sizeof numbers);
    for (uint64_t i = 0; i < count; i++) {
        const uint16_t token = (uint16_t)j->tokens.ids[first + i];
        memcpy(bytes + head + 2 * i, &token, sizeof token);
    }
    const int rc = put_file(j, path, role, bytes, head + 2 * count);
    free(bytes);
    return rc;
}

static int put_tokenizer(struct job *j) {
    struct brg_why why = {.text = ""};
    char *json = NULL;
    size_t size = 0;
    int rc = brg_tokenizer_json(j->tokenizer, &json, &size, &why);
    if (rc != BRG_OK) return brg_data_fail(j->error, rc, j->tokenizer_path, "%s", why.text);
    rc = put_file(j, j->tokenizer_path, "tokenizer", json, size);
    free(json);
    return rc;
}

static int name_output(struct job *j, char *out, const char *suffix) {
    const int n = snprintf(out, BRG_PATH_BYTES, "%s%s", j->texts->prefix, suffix);
    if (n >= 0 && (size_t)n < BRG_PATH_BYTES) return BRG_OK;
    return brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix, "the path has over %u bytes",
                         BRG_PATH_BYTES - 1);
}

static int check(struct job *j) {
    const double share = j->texts->held_out;
    struct brg_prepare_report *r = j->report;
    if (!(share >= 0.0 && share <= 0.5))
        return brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix,
                             "held_out is %g, but has to lie between 0 and 0.5 (50%%)", share);
    if (j->info.vocab > 65536)
        return brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix,
                             "the tokenizer has %u tokens, but shards hold numbers below 65536",
                             j->info.vocab);
    int rc = name_output(j, r->train, "_train.bin");
    if (rc == BRG_OK && share > 0) rc = name_output(j, r->held, "_val.bin");
    if (rc == BRG_OK) rc = name_output(j, r->manifest, ".json");
    if (rc == BRG_OK) rc = name_output(j, j->tokenizer_path, ".tokenizer.json");
    for (uint32_t i = 0; rc == BRG_OK && i < j->texts->input_count; i++)
        rc = brg_prepare_list_add(&j->list, j->texts->inputs[i], j->error);
    if (rc == BRG_OK && j->list.count == 0)
        rc = brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix,
                           "no text is given; name files or folders");
    return rc;
}

static int encode_all(struct job *j) {
    struct brg_prepare_report *r = j->report;
    int rc = BRG_OK;
    j->sources = calloc(j->list.count, sizeof *j->sources);
    if (j->sources == NULL || brg_encoder_create(j->tokenizer, &j->encoder) != BRG_OK)
        return brg_data_fail(j->error, BRG_ENOMEM, j->texts->prefix, "out of memory");
    for (uint32_t i = 0; rc == BRG_OK && i < j->list.count; i++) rc = add_source(j, i);
    if (rc != BRG_OK) return rc;
    r->sources = j->list.count;
    r->held_count = (uint64_t)((double)j->tokens.count * j->texts->held_out);
    r->train_count = j->tokens.count - r->held_count;
    if (j->tokens.count == 0 || (j->texts->held_out > 0 && r->held_count == 0))
        return brg_data_fail(j->error, BRG_EINVAL, j->list.paths[0],
                             "%zu tokens are too few to hold out %g of them", j->tokens.count,
                             j->texts->held_out);
    if (r->train_count > TOKENS_MAX)
        return brg_data_fail(j->error, BRG_EINVAL, r->train,
                             "%" PRIu64 " tokens, but a shard holds %" PRIu64
                             "; prepare the texts in several parts",
                             r->train_count, TOKENS_MAX);
    return BRG_OK;
}

/* Opens what was written, as a run would, for its digest and to see that it is good. */
static int read_back(struct job *j) {
    struct brg_prepare_report *r = j->report;
    struct brg_data_spec spec = {.format = BRG_DATA_SHARD};
    struct brg_data d;
    memcpy(spec.train, r->train, sizeof spec.train);
    memcpy(spec.test, r->held, sizeof spec.test);
    const int rc = brg_data_open(&spec, &d, j->error);
    if (rc != BRG_OK) return rc;
    r->digest = d.digest;
    const int as_meant = d.train.count == r->train_count && d.held.count == r->held_count;
    brg_data_close(&d);
    if (as_meant) return BRG_OK;
    return brg_data_fail(j->error, BRG_ECORRUPT, r->train,
                         "it does not read back as written; is somebody else writing it?");
}

static void print_manifest(FILE *f, const struct job *j) {
    char hex[BRG_DIGEST_HEX_BYTES];
    struct brg_digest digest;
    brg_tokenizer_digest(j->tokenizer, &digest);
    (void)fprintf(f, "{\n  \"format\": \"brigade-shards\",\n  \"version\": 1,\n"
                     "  \"kind\": \"tokens\",\n  \"dtype\": \"uint16\",\n  \"tokenizer\": ");
    brg_prepare_json_string(f, base_name(j->tokenizer_path));
    (void)fprintf(f,
                  ",\n  \"tokenizer_digest\": \"%s\",\n  \"vocab\": %" PRIu32
                  ",\n  \"documents\": %" PRIu64 ",\n",
                  brg_digest_hex(&digest, hex), j->info.vocab, j->documents);
    (void)fprintf(
        f, "  \"train\": %" PRIu64 ",\n  \"held_out\": %" PRIu64 ",\n  \"digest\": \"%s\",\n",
        j->report->train_count, j->report->held_count, brg_digest_hex(&j->report->digest, hex));
    brg_prepare_json_files(f, "files", j->files, j->file_count);
    (void)fputs(",\n", f);
    brg_prepare_json_files(f, "sources", j->sources, j->report->sources);
    (void)fputs("\n}\n", f);
}

static int write_manifest(struct job *j) {
    const char *path = j->report->manifest;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    int rc = BRG_OK;
    if (f == NULL) return brg_data_fail(j->error, BRG_ENOMEM, path, "out of memory");
    print_manifest(f, j);
    const int lost = ferror(f);
    if (fclose(f) != 0 || lost || text == NULL)
        rc = brg_data_fail(j->error, BRG_ENOMEM, path, "out of memory");
    if (rc == BRG_OK) {
        rc = brg_file_write_atomic(path, 0644, text, size);
        if (rc != BRG_OK) rc = unwritable(rc, path, j->error);
    }
    free(text);
    return rc;
}

static int make_parent(struct job *j) {
    char folder[BRG_PATH_BYTES];
    const char *slash = strrchr(j->report->train, '/');
    if (slash == NULL || slash == j->report->train) return BRG_OK;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - j->report->train),
                   j->report->train);
    const int rc = brg_dir_make(folder, 0777);
    return rc == BRG_OK ? BRG_OK : unwritable(rc, folder, j->error);
}

int brg_prepare_tokens(const struct brg_prepare_texts *texts, const struct brg_tokenizer *tokenizer,
                       struct brg_prepare_report *report, struct brg_data_error *error) {
    struct job j = {.texts = texts, .tokenizer = tokenizer, .report = report, .error = error};
    memset(report, 0, sizeof *report);
    error->text[0] = '\0';
    brg_tokenizer_info_of(tokenizer, &j.info);
    int rc = check(&j);
    if (rc == BRG_OK) rc = encode_all(&j);
    if (rc == BRG_OK) rc = make_parent(&j);
    if (rc == BRG_OK) rc = put_tokenizer(&j);
    if (rc == BRG_OK) rc = put_shard(&j, report->train, "train", 0, report->train_count);
    if (rc == BRG_OK && report->held_count > 0)
        rc = put_shard(&j, report->held, "held_out", report->train_count, report->held_count);
    if (rc == BRG_OK) rc = read_back(&j);
    if (rc == BRG_OK) rc = write_manifest(&j);
    brg_encoder_destroy(j.encoder);
    brg_prepare_list_clear(&j.list);
    free(j.tokens.ids);
    free(j.sources);
    return rc;
}
