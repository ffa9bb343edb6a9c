#include "model/data.h"

#include "model/data_parse.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

int brg_data_fail(struct brg_data_error *error, int rc, const char *name, const char *format, ...) {
    va_list args;
    const size_t size = sizeof error->text;
    BRG_ASSERT(rc < 0);
    int n =
        snprintf(error->text, size, "%.*s: ", (int)BRG_PATH_BYTES, name == NULL ? "data" : name);
    BRG_ASSERT(n > 0 && (size_t)n < size);
    va_start(args, format);
    (void)vsnprintf(error->text + n, size - (size_t)n, format, args);
    va_end(args);
    /* A name or a quoted field may hold anything: keep the terminal and the log clean. */
    for (char *c = error->text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c == 0x7f) *c = '?';
    return rc;
}

void *brg_data_alloc(struct brg_data *d, size_t size_bytes) {
    if (d->heap_count == BRG_DATA_HEAPS_MAX) return NULL;
    void *p = malloc(size_bytes > 0 ? size_bytes : 1);
    if (p != NULL) d->heaps[d->heap_count++] = p;
    return p;
}

void brg_data_close(struct brg_data *d) {
    for (uint32_t i = 0; i < d->heap_count; i++) free(d->heaps[i]);
    for (size_t i = 0; i < sizeof d->maps / sizeof d->maps[0]; i++) brg_file_map_close(&d->maps[i]);
    memset(d, 0, sizeof *d);
}

/* The largest token of a part. */
static uint32_t part_token_max(const struct brg_data_part *part, uint32_t element) {
    uint32_t most = 0;
    for (uint64_t i = 0; i < part->count; i++) {
        uint32_t token = 0;
        if (element == BRG_DATA_U8) {
            token = part->values[i];
        } else {
            token = (uint32_t)part->values[2 * i] | (uint32_t)part->values[2 * i + 1] << 8;
        }
        if (token > most) most = token;
    }
    return most;
}

/* All values finite; IDX bytes always are. */
static int check_finite(const struct brg_data *d, const struct brg_data_part *part,
                        const char *name, struct brg_data_error *error) {
    if (d->element != BRG_DATA_F32) return BRG_OK;
    const uint64_t values = part->count * d->inputs;
    for (uint64_t i = 0; i < values; i++) {
        float v;
        memcpy(&v, part->values + 4 * i, sizeof v);
        if (!isfinite(v))
            return brg_data_fail(error, BRG_ECORRUPT, name,
                                 "the value in row %" PRIu64 ", column %" PRIu64
                                 " is not finite once scaled; correct it or leave the row out",
                                 i / d->inputs + 1, i % d->inputs + 1);
    }
    return BRG_OK;
}

/* Labels in range; marks those that occur. */
static int check_labels(const struct brg_data_part *part, uint8_t *seen, uint32_t *classes,
                        const char *name, struct brg_data_error *error) {
    for (uint64_t i = 0; i < part->count; i++) {
        const uint32_t label = brg_data_load_u32(part->labels + 4 * i);
        if (label >= BRG_DATA_CLASSES_MAX)
            return brg_data_fail(error, BRG_ECORRUPT, name,
                                 "the label of row %" PRIu64 " is %" PRIu32
                                 ", but classes go from 0 to %u",
                                 i + 1, label, BRG_DATA_CLASSES_MAX - 1);
        seen[label] = 1;
        if (label >= *classes) *classes = label + 1;
    }
    return BRG_OK;
}

/* Rows whose classes were never trained say nothing about the training: mostly a file sorted by
 * class was cut at its end. */
static int check_classes(struct brg_data *d, const char *name, struct brg_data_error *error) {
    static const size_t bytes = BRG_DATA_CLASSES_MAX;
    uint32_t train_classes = 0, held_classes = 0;
    uint8_t *seen = calloc(2, bytes);
    int rc = BRG_OK;
    if (seen == NULL) return brg_data_fail(error, BRG_ENOMEM, name, "out of memory");
    rc = check_labels(&d->train, seen, &train_classes, name, error);
    if (rc == BRG_OK) rc = check_labels(&d->held, seen + bytes, &held_classes, name, error);
    for (uint32_t c = 0; rc == BRG_OK && c < held_classes; c++) {
        if (seen[bytes + c] && !seen[c])
            rc = brg_data_fail(error, BRG_EINVAL, name,
                               "held-out rows have class %" PRIu32 ", which no training row has; "
                               "if the file is sorted by class, shuffle its rows first (shuf)",
                               c);
    }
    d->classes = train_classes > held_classes ? train_classes : held_classes;
    free(seen);
    return rc;
}

int brg_data_check_values(struct brg_data *d, const char *name, struct brg_data_error *error) {
    if (d->kind == BRG_DATA_TOKENS) {
        const uint32_t a = part_token_max(&d->train, d->element);
        const uint32_t b = part_token_max(&d->held, d->element);
        d->token_max = a > b ? a : b;
        return BRG_OK;
    }
    int rc = check_finite(d, &d->train, name, error);
    if (rc == BRG_OK) rc = check_finite(d, &d->held, name, error);
    if (rc == BRG_OK) rc = check_classes(d, name, error);
    return rc;
}

/* Divides each column of rows [0, rows) and of the held-out rows by the train part's largest. */
static int scale_columns(const struct brg_data_table *train, uint64_t train_rows,
                         const struct brg_data_table *held, struct brg_data *d, const char *name,
                         struct brg_data_error *error) {
    const uint32_t inputs = train->inputs;
    float *most = brg_data_alloc(d, (size_t)inputs * sizeof *most);
    if (most == NULL) return brg_data_fail(error, BRG_ENOMEM, name, "out of memory");
    for (uint32_t j = 0; j < inputs; j++) most[j] = 0;
    for (uint64_t i = 0; i < train_rows; i++)
        for (uint32_t j = 0; j < inputs; j++) {
            const float v = fabsf(train->csv_values[i * inputs + j]);
            if (v > most[j]) most[j] = v;
        }
    for (uint32_t j = 0; j < inputs; j++)
        if (most[j] == 0) most[j] = 1; /* a column of zeroes stays zero */
    for (uint64_t i = 0; i < train->part.count; i++)
        for (uint32_t j = 0; j < inputs; j++) train->csv_values[i * inputs + j] /= most[j];
    for (uint64_t i = 0; i < held->part.count; i++)
        for (uint32_t j = 0; j < inputs; j++) held->csv_values[i * inputs + j] /= most[j];
    return BRG_OK;
}

/* Cuts `share` off the end of d->train into d->held. */
static int cut_held_out(struct brg_data *d, double share, const char *name,
                        struct brg_data_error *error) {
    if (!(share >= 0.0 && share <= 0.5))
        return brg_data_fail(error, BRG_EINVAL, name,
                             "held_out is %g, but has to lie between 0 and 0.5 (50%%)", share);
    const char *unit = d->kind == BRG_DATA_TOKENS ? "tokens" : "rows";
    if (d->train.count > BRG_DATA_COUNT_MAX)
        return brg_data_fail(error, BRG_ENOMEM, name, "over 2^40 %s; give a part of it", unit);
    const uint64_t held = (uint64_t)((double)d->train.count * share);
    if (share > 0 && held == 0)
        return brg_data_fail(error, BRG_EINVAL, name,
                             "held_out %g of %" PRIu64 " %s is less than one; hold out more, or 0",
                             share, d->train.count, unit);
    const uint64_t left = d->train.count - held;
    const uint64_t value_bytes = d->element == BRG_DATA_U8 ? 1 : d->element == BRG_DATA_U16 ? 2 : 4;
    const uint64_t row = d->kind == BRG_DATA_TOKENS ? 1 : d->inputs;
    d->held.count = held;
    d->held.values = d->train.values + left * row * value_bytes;
    if (d->train.labels != NULL) d->held.labels = d->train.labels + left * 4;
    d->train.count = left;
    return BRG_OK;
}

static int parse(uint32_t format, struct brg_data *d, struct brg_data_bytes *file,
                 struct brg_data_bytes *labels, uint64_t expanded_max, struct brg_data_table *out,
                 struct brg_data_error *error) {
    int rc = BRG_OK;
    if (format == BRG_DATA_SHARD) return brg_data_parse_shard(file, out, error);
    rc = brg_data_gunzip(d, file, expanded_max, error);
    if (rc != BRG_OK) return rc;
    if (format == BRG_DATA_TEXT) return brg_data_parse_text(file, out, error);
    if (format == BRG_DATA_CSV) return brg_data_parse_csv(d, file, out, error);
    rc = brg_data_gunzip(d, labels, expanded_max, error);
    if (rc != BRG_OK) return rc;
    return brg_data_parse_idx(d, file, labels, out, error);
}

static int check_given(const struct brg_data_spec *spec, const struct brg_data_files *files,
                       struct brg_data_error *error) {
    const char *name = files->train.name;
    if (spec->format < BRG_DATA_TEXT || spec->format > BRG_DATA_CSV)
        return brg_data_fail(error, BRG_EINVAL, name, "the data format %" PRIu32 " is unknown",
                             spec->format);
    if (files->train.data == NULL)
        return brg_data_fail(error, BRG_EINVAL, name, "no training data is given; set data.train");
    if (spec->format != BRG_DATA_IDX) {
        if (files->train_labels.data != NULL || files->test_labels.data != NULL)
            return brg_data_fail(error, BRG_EINVAL, name,
                                 "label files belong to IDX images only; remove them");
        return BRG_OK;
    }
    if (files->train_labels.data == NULL)
        return brg_data_fail(error, BRG_EINVAL, name,
                             "IDX images need their labels; set data.train_labels");
    if ((files->test.data == NULL) != (files->test_labels.data == NULL))
        return brg_data_fail(error, BRG_EINVAL, name,
                             "test images and test labels go together; set both or none");
    return BRG_OK;
}

static int open_parts(const struct brg_data_spec *spec, struct brg_data_files *files,
                      uint64_t expanded_max, struct brg_data *d, struct brg_data_error *error) {
    const char *name = files->train.name;
    struct brg_data_table train = {0}, held = {0};
    int rc = check_given(spec, files, error);
    if (rc != BRG_OK) return rc;
    rc = parse(spec->format, d, &files->train, &files->train_labels, expanded_max, &train, error);
    if (rc != BRG_OK) return rc;
    d->kind = spec->format == BRG_DATA_TEXT || spec->format == BRG_DATA_SHARD ? BRG_DATA_TOKENS
                                                                              : BRG_DATA_ROWS;
    d->element = train.element;
    d->inputs = train.inputs;
    d->train = train.part;
    if (files->test.data != NULL) {
        rc = parse(spec->format, d, &files->test, &files->test_labels, expanded_max, &held, error);
        if (rc != BRG_OK) return rc;
        if (held.inputs != train.inputs)
            return brg_data_fail(error, BRG_EINVAL, files->test.name,
                                 "%" PRIu32 " features a row, but %s has %" PRIu32
                                 "; give files that belong together",
                                 held.inputs, name, train.inputs);
        d->held = held.part;
    } else {
        rc = cut_held_out(d, spec->held_out, name, error);
        if (rc != BRG_OK) return rc;
    }
    if (d->train.count > BRG_DATA_COUNT_MAX || d->held.count > BRG_DATA_COUNT_MAX)
        return brg_data_fail(error, BRG_ENOMEM, name, "over 2^40 tokens or rows");
    if (train.csv_values != NULL) {
        rc = scale_columns(&train, d->train.count, &held, d, name, error);
        if (rc != BRG_OK) return rc;
    }
    rc = brg_data_check_values(d, name, error);
    if (rc == BRG_OK) brg_data_digest(d, &d->digest);
    return rc;
}

int brg_data_open_memory(const struct brg_data_spec *spec, const struct brg_data_files *files,
                         uint64_t expanded_max, struct brg_data *d, struct brg_data_error *error) {
    struct brg_data_files mine = *files; /* unpacking replaces entries */
    const struct brg_data_bytes *train = &files->train;
    int rc = BRG_OK;
    memset(d, 0, sizeof *d);
    error->text[0] = '\0';
    if (train->data == NULL || !brg_data_is_blob(train->data, train->size_bytes))
        rc = open_parts(spec, &mine, expanded_max, d, error);
    else if (files->test.data != NULL)
        rc = brg_data_fail(error, BRG_EINVAL, train->name,
                           "a packed data set has its own held-out part; remove data.test");
    else
        rc = brg_data_open_blob(train->name, train->data, train->size_bytes, d, error);
    if (rc != BRG_OK) brg_data_close(d);
    return rc;
}

/* Maps one file of the spec; an empty path is a file not given. */
static int map_file(const char *path, const char *key, struct brg_file_map *map,
                    struct brg_data_bytes *out, struct brg_data_error *error) {
    *out = (struct brg_data_bytes){.name = path};
    if (memchr(path, '\0', BRG_PATH_BYTES) == NULL)
        return brg_data_fail(error, BRG_EINVAL, key, "the path has over %u bytes",
                             BRG_PATH_BYTES - 1);
    if (path[0] == '\0') return BRG_OK;
    const int rc = brg_file_map_open(path, BRG_DATA_FILE_MAX, map);
    if (rc != BRG_OK)
        return brg_data_fail(error, rc, path, "cannot be read (%s); check %s", strerror(errno),
                             key);
    out->data = map->data;
    out->size_bytes = map->size_bytes;
    return BRG_OK;
}

int brg_data_open(const struct brg_data_spec *spec, struct brg_data *d,
                  struct brg_data_error *error) {
    struct brg_file_map maps[4] = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    struct brg_data_files f;
    int rc = BRG_OK;

    memset(d, 0, sizeof *d);
    error->text[0] = '\0';
    rc = map_file(spec->train, "data.train", &maps[0], &f.train, error);
    if (rc != BRG_OK) goto out;
    rc = map_file(spec->train_labels, "data.train_labels", &maps[1], &f.train_labels, error);
    if (rc != BRG_OK) goto out;
    rc = map_file(spec->test, "data.test", &maps[2], &f.test, error);
    if (rc != BRG_OK) goto out;
    rc = map_file(spec->test_labels, "data.test_labels", &maps[3], &f.test_labels, error);
    if (rc != BRG_OK) goto out;
    if (f.train.data == NULL) f.train.name = "data.train";
    rc = brg_data_open_memory(spec, &f, BRG_DATA_EXPANDED_MAX, d, error);
    if (rc != BRG_OK) goto out;
    memcpy(d->maps, maps, sizeof d->maps); /* the parts may point into them */
    memset(maps, 0, sizeof maps);
out:
    for (size_t i = 0; i < 4; i++) brg_file_map_close(&maps[i]);
    return rc;
}

static int fits_tokens(const struct brg_data *d, const struct brg_model_spec *model,
                       struct brg_data_error *error) {
    if (model->type != BRG_MODEL_LLAMA)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "it holds tokens, but the model is a classifier; give IDX or CSV "
                             "data, or a model of type llama");
    if (model->vocab <= d->token_max)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "token %" PRIu32 " occurs, but the model's vocabulary has %" PRIu32
                             " entries; set model.vocab to %" PRIu32 " or more",
                             d->token_max, model->vocab, d->token_max + 1);
    if (d->train.count <= model->context)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "a context of %" PRIu32 " tokens needs %" PRIu64
                             " tokens to train on, but there are %" PRIu64
                             "; give more text or set a shorter model.context",
                             model->context, (uint64_t)model->context + 1, d->train.count);
    if (d->held.count > 0 && d->held.count <= model->context)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "a context of %" PRIu32 " tokens needs %" PRIu64
                             " held-out tokens, but there are %" PRIu64
                             "; hold out more (data.held_out), or set a shorter model.context",
                             model->context, (uint64_t)model->context + 1, d->held.count);
    return BRG_OK;
}

int brg_data_fits(const struct brg_data *d, const struct brg_model_spec *model,
                  struct brg_data_error *error) {
    BRG_ASSERT(d->train.count > 0);
    error->text[0] = '\0';
    if (d->kind == BRG_DATA_TOKENS) return fits_tokens(d, model, error);
    if (model->type == BRG_MODEL_LLAMA)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "it holds rows with classes, but a llama needs tokens; give text or "
                             "token shards, or a model of type mlp or softmax");
    if (model->inputs != d->inputs)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "a row has %" PRIu32 " features, but the model takes %" PRIu32
                             "; set model.inputs to %" PRIu32,
                             d->inputs, model->inputs, d->inputs);
    if (model->classes < d->classes)
        return brg_data_fail(error, BRG_EINVAL, "data",
                             "class %" PRIu32 " occurs, but the model tells %" PRIu32
                             " classes apart; set model.classes to %" PRIu32 " or more",
                             d->classes - 1, model->classes, d->classes);
    return BRG_OK;
}
