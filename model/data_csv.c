#include "model/data_parse.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Numbers are read by strtod in the C locale, which a program has that never calls setlocale. */
#define FIELD_BYTES 64u /* the longest number with its NUL; 17 digits suffice for any double */
#define QUOTED_BYTES 40 /* of a bad field, as much as an error sentence shows */

struct text {
    const char *at;
    size_t size_bytes;
};

/* Hands out the lines of a file; empty ones are counted and skipped. */
struct reader {
    const struct brg_data_bytes *file;
    struct brg_data_error *error;
    size_t next;   /* byte where the next line begins */
    uint64_t line; /* number of the line handed out last, from 1 */
};

/* What the first line turned out to be. */
struct heading {
    int present;
    int announces; /* scikit-learn's form: rows and features below are promised */
    uint64_t rows, features;
};

static int is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static struct text trim(struct text t) {
    while (t.size_bytes > 0 && is_blank(t.at[0])) {
        t.at++;
        t.size_bytes--;
    }
    while (t.size_bytes > 0 && is_blank(t.at[t.size_bytes - 1])) t.size_bytes--;
    return t;
}

/* The next line that is not empty, trimmed; 0 at the end of the file. */
static int next_line(struct reader *r, struct text *line) {
    const char *bytes = (const char *)r->file->data;
    while (r->next < r->file->size_bytes) {
        const char *begin = bytes + r->next;
        const size_t left = r->file->size_bytes - r->next;
        const char *end = memchr(begin, '\n', left);
        const size_t n = end == NULL ? left : (size_t)(end - begin);
        r->next += end == NULL ? n : n + 1;
        r->line++;
        *line = trim((struct text){begin, n});
        if (line->size_bytes > 0) return 1;
    }
    return 0;
}

/* Takes the next field off `rest`; 0 when there is none. */
static int next_field(struct text *rest, struct text *field) {
    size_t n = 0;
    if (rest->at == NULL) return 0;
    while (n < rest->size_bytes && rest->at[n] != ',') n++;
    *field = trim((struct text){rest->at, n});
    if (n == rest->size_bytes)
        *rest = (struct text){NULL, 0};
    else
        *rest = (struct text){rest->at + n + 1, rest->size_bytes - n - 1};
    return 1;
}

static uint64_t count_fields(struct text line) {
    struct text field;
    uint64_t n = 0;
    while (next_field(&line, &field)) n++;
    return n;
}

/* A decimal number, not hexadecimal, NaN or infinity; 0 where it is none. 1e999 gives infinity. */
static int to_number(struct text field, double *out) {
    char copy[FIELD_BYTES];
    char *end = NULL;
    if (field.size_bytes == 0 || field.size_bytes >= sizeof copy) return 0;
    for (size_t i = 0; i < field.size_bytes; i++) {
        const char c = field.at[i];
        if (c == '\0' || strchr("0123456789+-.eE", c) == NULL) return 0;
    }
    memcpy(copy, field.at, field.size_bytes);
    copy[field.size_bytes] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0';
}

static int to_count(struct text field, uint64_t *out) {
    double v = 0;
    if (!to_number(field, &v) || v < 0 || v > (double)BRG_DATA_COUNT_MAX || v != floor(v)) return 0;
    *out = (uint64_t)v;
    return 1;
}

/* Decides what the first line is, by itself and the number of fields in the second. */
static struct heading read_heading(struct text first, uint64_t second_fields) {
    struct heading h = {0};
    struct text rest = first, field;
    uint64_t fields = 0;
    int first_is_number = 0, second_is_count = 0, third_is_number = 0, last_is_number = 0;
    double v = 0;
    while (next_field(&rest, &field)) {
        last_is_number = to_number(field, &v);
        if (fields == 0) {
            first_is_number = last_is_number;
            if (!to_count(field, &h.rows)) h.rows = 0;
        }
        if (fields == 1) second_is_count = to_count(field, &h.features);
        if (fields == 2) third_is_number = last_is_number;
        fields++;
    }
    const int counts = h.rows > 0 && second_is_count && fields > 2;
    h.announces = counts && (!third_is_number || (fields != second_fields && second_fields > 0 &&
                                                  h.features == second_fields - 1));
    h.present = h.announces || !first_is_number || !last_is_number;
    return h;
}

static int fail_at(const struct reader *r, uint64_t column, struct text field, const char *what) {
    const int shown = field.size_bytes < QUOTED_BYTES ? (int)field.size_bytes : QUOTED_BYTES;
    return brg_data_fail(r->error, BRG_ECORRUPT, r->file->name,
                         "line %" PRIu64 ", column %" PRIu64 ": '%.*s' %s", r->line, column + 1,
                         shown, field.at == NULL ? "" : field.at, what);
}

static int read_value(const struct reader *r, uint64_t column, struct text field, uint8_t *out) {
    double v = 0;
    if (field.size_bytes == 0)
        return fail_at(r, column, field, "is an empty field; give every row all its numbers");
    if (!to_number(field, &v))
        return fail_at(r, column, field,
                       "is no finite decimal number; correct it or leave the row out");
    const float f = (float)v;
    if (!isfinite(f))
        return fail_at(r, column, field, "is too large for a 32-bit float; rescale the column");
    memcpy(out, &f, sizeof f);
    return BRG_OK;
}

static int read_label(const struct reader *r, uint64_t column, struct text field, uint8_t *out) {
    uint64_t n = 0;
    if (!to_count(field, &n) || n >= BRG_DATA_CLASSES_MAX)
        return fail_at(r, column, field,
                       "is no class number (0 to 65535); the last column has to be the class, as "
                       "0, 1, 2 ...");
    const uint32_t label = (uint32_t)n;
    memcpy(out, &label, sizeof label);
    return BRG_OK;
}

/* One row: `inputs` values and the label. */
static int read_row(const struct reader *r, struct text line, uint32_t inputs, uint8_t *values,
                    uint8_t *label) {
    struct text rest = line, field;
    for (uint64_t i = 0; next_field(&rest, &field); i++) {
        int rc = BRG_OK;
        if (i < inputs)
            rc = read_value(r, i, field, values + 4 * i);
        else if (i == inputs)
            rc = read_label(r, i, field, label);
        else
            return brg_data_fail(r->error, BRG_ECORRUPT, r->file->name,
                                 "line %" PRIu64 " has %" PRIu64 " columns, but the first row has "
                                 "%" PRIu64 "; correct it or leave the row out",
                                 r->line, count_fields(line), (uint64_t)inputs + 1);
        if (rc != BRG_OK) return rc;
        if (i < inputs && rest.at == NULL)
            return brg_data_fail(r->error, BRG_ECORRUPT, r->file->name,
                                 "line %" PRIu64 " has %" PRIu64 " columns, but the first row has "
                                 "%" PRIu64 "; the file may be cut off",
                                 r->line, i + 1, (uint64_t)inputs + 1);
    }
    return BRG_OK;
}

static int read_rows(struct brg_data *d, struct reader *r, struct text line,
                     const struct heading *h, struct brg_data_table *out) {
    const char *name = r->file->name;
    const uint64_t fields = count_fields(line);
    if (fields < 2 || fields - 1 > BRG_DATA_INPUTS_MAX)
        return brg_data_fail(r->error, BRG_ECORRUPT, name,
                             "line %" PRIu64 " has %" PRIu64
                             " columns; features separated by commas and then the class are needed",
                             r->line, fields);
    if (h->announces && h->features != fields - 1)
        return brg_data_fail(r->error, BRG_ECORRUPT, name,
                             "line 1 announces %" PRIu64 " features, but line %" PRIu64
                             " has %" PRIu64 " and the class; correct line 1 or remove it",
                             h->features, r->line, fields - 1);
    const uint32_t inputs = (uint32_t)(fields - 1);
    /* A row of f fields is at least 2 f bytes with its line end, which the last may lack. */
    const uint64_t bytes =
        (uint64_t)r->file->size_bytes - (uint64_t)(line.at - (const char *)r->file->data);
    const uint64_t rows_max = (bytes + 1) / (2 * fields) + 1;
    float *values = brg_data_alloc(d, (size_t)(rows_max * inputs * 4));
    uint8_t *labels = brg_data_alloc(d, (size_t)(rows_max * 4));
    if (values == NULL || labels == NULL)
        return brg_data_fail(r->error, BRG_ENOMEM, name,
                             "out of memory for %" PRIu64 " values; give a part of the file",
                             rows_max * inputs);
    uint64_t rows = 0;
    do {
        BRG_ASSERT(rows < rows_max);
        const int rc =
            read_row(r, line, inputs, (uint8_t *)(values + rows * inputs), labels + 4 * rows);
        if (rc != BRG_OK) return rc;
        rows++;
    } while (next_line(r, &line));
    if (h->announces && h->rows != rows)
        return brg_data_fail(r->error, BRG_ECORRUPT, name,
                             "line 1 announces %" PRIu64 " rows, but there are %" PRIu64
                             "; the file was cut off, or line 1 is wrong",
                             h->rows, rows);
    *out = (struct brg_data_table){
        .element = BRG_DATA_F32,
        .inputs = inputs,
        .part = {.count = rows, .values = (const uint8_t *)values, .labels = labels},
        .csv_values = values,
    };
    return BRG_OK;
}

int brg_data_parse_csv(struct brg_data *d, const struct brg_data_bytes *file,
                       struct brg_data_table *out, struct brg_data_error *error) {
    struct reader r = {.file = file, .error = error};
    struct text line, second;
    if (file->size_bytes >= 3 && memcmp(file->data, "\xef\xbb\xbf", 3) == 0) r.next = 3;
    if (!next_line(&r, &line))
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the file has no rows; give a CSV file with features and the class");
    struct reader ahead = r;
    const uint64_t second_fields = next_line(&ahead, &second) ? count_fields(second) : 0;
    const struct heading h = read_heading(line, second_fields);
    if (h.present && !next_line(&r, &line))
        return brg_data_fail(error, BRG_ECORRUPT, file->name,
                             "the file has a heading but no rows; give features and the class");
    return read_rows(d, &r, line, &h, out);
}
