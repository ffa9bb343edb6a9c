#include "model/prepare.h"

#include "model/data_parse.h"
#include "model/prepare_json.h"
#include "model/prepare_list.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SHARD_HEADER_INTS 256u
#define SHARD_MAGIC 20240520
#define CONVERT_BYTES 8192u /* bytes widened to tokens at a time */

/* A source opened for reading, unpacked if need be. */
struct source {
    struct brg_file_map map;
    struct brg_data unpacked; /* owns what gunzip made */
    struct brg_data_bytes text;
};

/* One shard being written. */
struct shard {
    struct brg_file_writer writer;
    struct brg_hasher hasher;
    uint64_t left; /* tokens still to come */
};

/* All that brg_prepare_shards holds on to. */
struct job {
    const struct brg_prepare_texts *texts;
    struct brg_prepare_report *report;
    struct brg_data_error *error;
    struct brg_prepare_list list;
    struct brg_prepare_file *sources; /* [list.count] */
    struct brg_prepare_file files[2];
    uint32_t file_count;
    struct shard train, held;
};

static int unwritable(int rc, const char *path, struct brg_data_error *error) {
    return brg_data_fail(error, rc, path, "cannot be written (%s); %s", strerror(errno),
                         rc == BRG_ENOSPC ? "free some space, or write to another disk"
                                          : "check the folder and its permissions");
}

static int source_open(struct source *s, const char *path, struct brg_data_error *error) {
    memset(s, 0, sizeof *s);
    int rc = brg_file_map_open(path, BRG_DATA_FILE_MAX, &s->map);
    if (rc != BRG_OK)
        return brg_data_fail(error, rc, path, "cannot be read (%s); check the path",
                             strerror(errno));
    s->text = (struct brg_data_bytes){path, s->map.data, s->map.size_bytes};
    return brg_data_gunzip(&s->unpacked, &s->text, BRG_DATA_EXPANDED_MAX, error);
}

static void source_close(struct source *s) {
    brg_data_close(&s->unpacked);
    brg_file_map_close(&s->map);
}

/* Whether a line end goes between text i and the next. */
static int needs_line_end(const struct source *s, uint32_t i, uint32_t count) {
    return i + 1 < count && s->text.size_bytes > 0 && s->text.data[s->text.size_bytes - 1] != '\n';
}

/* First reading: sizes and digests of all sources, and the tokens they make. */
static int measure(struct job *j, uint64_t *total) {
    *total = 0;
    for (uint32_t i = 0; i < j->list.count; i++) {
        struct source s;
        const int rc = source_open(&s, j->list.paths[i], j->error);
        if (rc == BRG_OK) {
            j->sources[i] =
                (struct brg_prepare_file){.path = j->list.paths[i], .bytes = s.map.size_bytes};
            brg_digest_of(s.map.data, s.map.size_bytes, &j->sources[i].digest);
            *total += s.text.size_bytes + (uint64_t)needs_line_end(&s, i, j->list.count);
        }
        source_close(&s);
        if (rc != BRG_OK) return rc;
    }
    return BRG_OK;
}

static int shard_append(struct shard *s, const void *data, size_t size, struct job *j) {
    brg_hasher_update(&s->hasher, data, size);
    const int rc = brg_file_writer_append(&s->writer, data, size);
    return rc == BRG_OK ? BRG_OK : unwritable(rc, s->writer.path, j->error);
}

static int shard_open(struct shard *s, const char *path, uint64_t tokens, struct job *j) {
    int32_t header[SHARD_HEADER_INTS] = {SHARD_MAGIC, 1};
    if (tokens > INT32_MAX)
        return brg_data_fail(j->error, BRG_EINVAL, path,
                             "%" PRIu64 " tokens, but a shard holds %" PRId32
                             "; prepare the texts in several parts",
                             tokens, INT32_MAX);
    header[2] = (int32_t)tokens;
    s->left = tokens;
    brg_hasher_init(&s->hasher);
    const int rc = brg_file_writer_open(&s->writer, path, 0644);
    if (rc != BRG_OK) return unwritable(rc, path, j->error);
    return shard_append(s, header, sizeof header, j);
}

/* `n` bytes of text as tokens of one shard. */
static int shard_tokens(struct shard *s, const uint8_t *text, size_t n, struct job *j) {
    uint16_t tokens[CONVERT_BYTES];
    BRG_ASSERT(n <= s->left);
    s->left -= n;
    for (size_t at = 0; at < n;) {
        const size_t m = n - at < CONVERT_BYTES ? n - at : CONVERT_BYTES;
        for (size_t i = 0; i < m; i++) tokens[i] = text[at + i];
        const int rc = shard_append(s, tokens, 2 * m, j);
        if (rc != BRG_OK) return rc;
        at += m;
    }
    return BRG_OK;
}

static int changed(struct job *j, const char *path) {
    return brg_data_fail(j->error, BRG_ECORRUPT, path,
                         "a source changed while it was read; prepare again when nobody writes it");
}

/* Bytes of the joined text: to the train shard until that is full, then to the held-out one. */
static int put_text(struct job *j, const uint8_t *text, size_t n, const char *path) {
    const size_t first = n < j->train.left ? n : (size_t)j->train.left;
    if (n - first > j->held.left) return changed(j, path);
    const int rc = first > 0 ? shard_tokens(&j->train, text, first, j) : BRG_OK;
    if (rc != BRG_OK || n == first) return rc;
    return shard_tokens(&j->held, text + first, n - first, j);
}

/* Second reading: all texts, joined, into the shards. */
static int convert(struct job *j) {
    for (uint32_t i = 0; i < j->list.count; i++) {
        struct source s;
        struct brg_digest now;
        const char *path = j->list.paths[i];
        int rc = source_open(&s, path, j->error);
        if (rc == BRG_OK) {
            brg_digest_of(s.map.data, s.map.size_bytes, &now);
            if (!brg_digest_equal(&now, &j->sources[i].digest)) rc = changed(j, path);
        }
        if (rc == BRG_OK) rc = put_text(j, s.text.data, s.text.size_bytes, path);
        if (rc == BRG_OK && needs_line_end(&s, i, j->list.count))
            rc = put_text(j, (const uint8_t *)"\n", 1, path);
        source_close(&s);
        if (rc != BRG_OK) return rc;
    }
    return j->train.left == 0 && j->held.left == 0 ? BRG_OK : changed(j, j->texts->prefix);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Gives a shard its name and lists it for the manifest. */
static int shard_commit(struct shard *s, const char *path, const char *role, struct job *j) {
    struct brg_prepare_file *f = &j->files[j->file_count++];
    *f = (struct brg_prepare_file){
        .path = base_name(path), .role = role, .bytes = s->writer.size_bytes};
    brg_hasher_final(&s->hasher, &f->digest);
    j->report->bytes += f->bytes;
    const int rc = brg_file_writer_commit(&s->writer);
    return rc == BRG_OK ? BRG_OK : unwritable(rc, path, j->error);
}

/* Makes the folder that `path` lies in. */
static int make_parent(const char *path, struct brg_data_error *error) {
    char folder[BRG_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) return BRG_OK;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    const int rc = brg_dir_make(folder, 0777);
    return rc == BRG_OK ? BRG_OK : unwritable(rc, folder, error);
}

static int name_output(char *out, const char *prefix, const char *suffix,
                       struct brg_data_error *error) {
    const int n = snprintf(out, BRG_PATH_BYTES, "%s%s", prefix, suffix);
    if (n >= 0 && (size_t)n < BRG_PATH_BYTES) return BRG_OK;
    return brg_data_fail(error, BRG_EINVAL, prefix, "the path has over %u bytes",
                         BRG_PATH_BYTES - 1);
}

static int not_as_written(const char *path, struct brg_data_error *error) {
    return brg_data_fail(error, BRG_ECORRUPT, path,
                         "it does not read back as written; is somebody else writing it?");
}

/* Opens what was written, as a run would, for its digest and to see that it is good. */
static int read_back(const struct brg_prepare_report *r, uint32_t format, struct brg_digest *digest,
                     struct brg_data_error *error) {
    struct brg_data_spec spec = {.format = format};
    struct brg_data d;
    memcpy(spec.train, r->train, sizeof spec.train);
    memcpy(spec.test, r->held, sizeof spec.test);
    const int rc = brg_data_open(&spec, &d, error);
    if (rc != BRG_OK) return rc;
    *digest = d.digest;
    const int as_meant = d.train.count == r->train_count && d.held.count == r->held_count;
    brg_data_close(&d);
    return as_meant ? BRG_OK : not_as_written(r->train, error);
}

/* Writes a manifest: `head` is its own lines, then the files. */
static int write_manifest(const struct brg_prepare_report *r, const char *head,
                          const struct brg_prepare_file *files, uint32_t file_count,
                          const struct brg_prepare_file *sources, struct brg_data_error *error) {
    char *text = NULL, hex[BRG_DIGEST_HEX_BYTES];
    size_t size = 0;
    int rc = BRG_OK;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return brg_data_fail(error, BRG_ENOMEM, r->manifest, "out of memory");
    (void)fprintf(out,
                  "{\n%s  \"train\": %" PRIu64 ",\n  \"held_out\": %" PRIu64
                  ",\n  \"digest\": \"%s\",\n",
                  head, r->train_count, r->held_count, brg_digest_hex(&r->digest, hex));
    brg_prepare_json_files(out, "files", files, file_count);
    (void)fputs(",\n", out);
    brg_prepare_json_files(out, "sources", sources, r->sources);
    (void)fputs("\n}\n", out);
    const int lost = ferror(out);
    if (fclose(out) != 0 || lost || text == NULL) {
        rc = brg_data_fail(error, BRG_ENOMEM, r->manifest, "out of memory");
        goto out;
    }
    rc = brg_file_write_atomic(r->manifest, 0644, text, size);
    if (rc != BRG_OK) rc = unwritable(rc, r->manifest, error);
out:
    free(text);
    return rc;
}

static int gather(struct job *j, uint64_t *total) {
    const double share = j->texts->held_out;
    struct brg_prepare_report *r = j->report;
    int rc = BRG_OK;
    if (!(share >= 0.0 && share <= 0.5))
        return brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix,
                             "held_out is %g, but has to lie between 0 and 0.5 (50%%)", share);
    if (j->texts->input_count == 0)
        return brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix,
                             "no text is given; name files or folders");
    for (uint32_t i = 0; rc == BRG_OK && i < j->texts->input_count; i++)
        rc = brg_prepare_list_add(&j->list, j->texts->inputs[i], j->error);
    if (rc == BRG_OK) rc = name_output(r->train, j->texts->prefix, "_train.bin", j->error);
    if (rc == BRG_OK && share > 0)
        rc = name_output(r->held, j->texts->prefix, "_val.bin", j->error);
    if (rc == BRG_OK) rc = name_output(r->manifest, j->texts->prefix, ".json", j->error);
    if (rc != BRG_OK) return rc;
    j->sources = calloc(j->list.count, sizeof *j->sources);
    if (j->sources == NULL)
        return brg_data_fail(j->error, BRG_ENOMEM, j->texts->prefix, "out of memory");
    rc = measure(j, total);
    if (rc != BRG_OK) return rc;
    r->sources = j->list.count;
    r->held_count = (uint64_t)((double)*total * share);
    r->train_count = *total - r->held_count;
    if (*total == 0)
        return brg_data_fail(j->error, BRG_EINVAL, j->list.paths[0], "there is no text in it");
    if (share > 0 && r->held_count == 0)
        return brg_data_fail(j->error, BRG_EINVAL, j->texts->prefix,
                             "held_out %g of %" PRIu64 " bytes is less than one; hold out more, "
                             "or 0",
                             share, *total);
    return BRG_OK;
}

int brg_prepare_shards(const struct brg_prepare_texts *texts, struct brg_prepare_report *report,
                       struct brg_data_error *error) {
    struct job *j = calloc(1, sizeof *j);
    uint64_t total = 0;
    int rc = BRG_OK;

    memset(report, 0, sizeof *report);
    error->text[0] = '\0';
    if (j == NULL) return brg_data_fail(error, BRG_ENOMEM, texts->prefix, "out of memory");
    *j = (struct job){.texts = texts, .report = report, .error = error};
    j->train.writer.fd = j->held.writer.fd = -1;
    rc = gather(j, &total);
    if (rc == BRG_OK) rc = make_parent(report->train, error);
    if (rc == BRG_OK) rc = shard_open(&j->train, report->train, report->train_count, j);
    if (rc == BRG_OK && report->held_count > 0)
        rc = shard_open(&j->held, report->held, report->held_count, j);
    if (rc == BRG_OK) rc = convert(j);
    if (rc == BRG_OK) rc = shard_commit(&j->train, report->train, "train", j);
    if (rc == BRG_OK && report->held_count > 0)
        rc = shard_commit(&j->held, report->held, "held_out", j);
    if (rc == BRG_OK) rc = read_back(report, BRG_DATA_SHARD, &report->digest, error);
    if (rc == BRG_OK)
        rc = write_manifest(report,
                            "  \"format\": \"brigade-shards\",\n  \"version\": 1,\n"
                            "  \"kind\": \"tokens\",\n  \"dtype\": \"uint16\",\n"
                            "  \"tokenizer\": \"bytes\",\n  \"vocab\": 256,\n",
                            j->files, j->file_count, j->sources, error);
    brg_file_writer_abort(&j->train.writer);
    brg_file_writer_abort(&j->held.writer);
    brg_prepare_list_clear(&j->list);
    free(j->sources);
    free(j);
    return rc;
}

/* The files of a spec as sources, with their sizes and digests. */
static int list_sources(const struct brg_data_spec *spec, struct brg_prepare_file *sources,
                        uint32_t *count, struct brg_data_error *error) {
    const char *paths[4] = {spec->train, spec->train_labels, spec->test, spec->test_labels};
    *count = 0;
    for (size_t i = 0; i < 4; i++) {
        struct brg_file_map map;
        if (paths[i][0] == '\0') continue;
        const int rc = brg_file_map_open(paths[i], BRG_DATA_FILE_MAX, &map);
        if (rc != BRG_OK)
            return brg_data_fail(error, rc, paths[i], "cannot be read (%s)", strerror(errno));
        struct brg_prepare_file *f = &sources[(*count)++];
        *f = (struct brg_prepare_file){.path = paths[i], .bytes = map.size_bytes};
        brg_digest_of(map.data, map.size_bytes, &f->digest);
        brg_file_map_close(&map);
    }
    return BRG_OK;
}

/* Size and digest of the packed file as it lies on the disk. */
static int list_packed(const char *path, struct brg_prepare_file *out,
                       struct brg_data_error *error) {
    struct brg_file_map map;
    const int rc = brg_file_map_open(path, UINT64_MAX, &map);
    if (rc != BRG_OK) return brg_data_fail(error, rc, path, "cannot be read (%s)", strerror(errno));
    *out = (struct brg_prepare_file){
        .path = base_name(path), .role = "packed", .bytes = map.size_bytes};
    brg_digest_of(map.data, map.size_bytes, &out->digest);
    brg_file_map_close(&map);
    return BRG_OK;
}

int brg_prepare_packed(const struct brg_data_spec *spec, const char *path,
                       struct brg_prepare_report *report, struct brg_data_error *error) {
    struct brg_prepare_file sources[4], file;
    struct brg_digest digest;
    struct brg_data d;
    char head[256];

    memset(report, 0, sizeof *report);
    int rc = brg_data_open(spec, &d, error);
    if (rc != BRG_OK) return rc;
    report->train_count = d.train.count;
    report->held_count = d.held.count;
    report->digest = d.digest;
    (void)snprintf(head, sizeof head,
                   "  \"format\": \"brigade-packed\",\n  \"version\": 1,\n  \"kind\": \"%s\",\n"
                   "  \"inputs\": %" PRIu32 ",\n  \"classes\": %" PRIu32 ",\n",
                   d.kind == BRG_DATA_TOKENS ? "tokens" : "rows", d.inputs, d.classes);
    rc = name_output(report->train, path, "", error);
    if (rc == BRG_OK) rc = name_output(report->manifest, path, ".json", error);
    if (rc == BRG_OK) rc = make_parent(path, error);
    if (rc != BRG_OK) goto out;
    rc = brg_data_pack_file(&d, path);
    if (rc == BRG_ECORRUPT) {
        rc = brg_data_fail(error, rc, spec->train,
                           "the data changed while it was packed; prepare "
                           "again when nobody writes it");
        goto out;
    }
    if (rc != BRG_OK) {
        rc = unwritable(rc, path, error);
        goto out;
    }
    rc = read_back(report, spec->format, &digest, error);
    if (rc == BRG_OK && !brg_digest_equal(&digest, &report->digest))
        rc = not_as_written(path, error);
    if (rc == BRG_OK) rc = list_packed(path, &file, error);
    if (rc == BRG_OK) rc = list_sources(spec, sources, &report->sources, error);
    if (rc != BRG_OK) goto out;
    report->bytes = file.bytes;
    rc = write_manifest(report, head, &file, 1, sources, error);
out:
    brg_data_close(&d);
    return rc;
}
