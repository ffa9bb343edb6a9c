#include "model/export_private.h"

#include "model/llama2c.h"
#include "model/prepare_json.h"

#include <string.h>

/* The layout's index of a tensor by its place in the file: all of a part, layer by layer. */
static uint32_t at_place(const struct brg_export_job *j, uint64_t place) {
    for (uint32_t i = 0; i < j->count; i++)
        if (brg_llama2c_place(j->e->spec, 0, i) == place &&
            !(j->e->spec->tied && brg_llama_place_of(j->e->spec, i).part == BRG_PART_HEAD))
            return i;
    return UINT32_MAX;
}

/* Cosines and sines that the format keeps room for and run.c does not read. */
static int append_unused(struct brg_export_job *j, uint64_t floats) {
    static const float zeroes[1024];
    int rc = BRG_OK;
    while (floats > 0 && rc == BRG_OK) {
        const uint64_t n = floats < 1024 ? floats : 1024;
        rc = brg_export_bytes(j, zeroes, n * sizeof zeroes[0]);
        floats -= n;
    }
    return rc;
}

static int append_all(struct brg_export_job *j) {
    const struct brg_model_spec *s = j->e->spec;
    const uint64_t unused = (uint64_t)s->context * (s->dim / s->heads);
    const uint64_t total = brg_llama2c_float_count(s, 0);
    int rc = BRG_OK;
    for (uint64_t place = 0; place < total && rc == BRG_OK;) {
        const uint32_t index = at_place(j, place);
        if (index == UINT32_MAX) {
            rc = append_unused(j, unused);
            place += unused;
            continue;
        }
        struct brg_model_tensor t;
        brg_model_tensor(s, index, &t);
        rc = brg_export_append(j, index, BRG_WEIGHT_F32, 1);
        place += (uint64_t)t.rows * t.cols;
    }
    return rc;
}

static int name_beside(const struct brg_export_job *j, const char *suffix, char *out) {
    size_t stem = strlen(j->e->path);
    if (stem > 4 && strcmp(j->e->path + stem - 4, ".bin") == 0) stem -= 4;
    const int n = snprintf(out, BRG_FILE_PATH_BYTES, "%.*s%s", (int)stem, j->e->path, suffix);
    if (n > 0 && (size_t)n < BRG_FILE_PATH_BYTES) return BRG_OK;
    return brg_why_set(j->why, BRG_EINVAL, "%s: the path is too long", j->e->path);
}

static int write_tokenizer(struct brg_export_job *j) {
    char path[BRG_FILE_PATH_BYTES];
    uint8_t *bytes = NULL;
    size_t size = 0;
    int rc = name_beside(j, ".tokenizer.bin", path);
    if (rc == BRG_OK)
        rc = brg_tokenizer_bin(j->e->tokenizer, j->e->spec->vocab, &bytes, &size, j->why);
    if (rc == BRG_OK) rc = brg_export_file(j, path, bytes, size);
    free(bytes);
    return rc;
}

static int write_notes(struct brg_export_job *j) {
    struct brg_export_note notes[BRG_EXPORT_NOTES_MAX];
    const uint32_t count = brg_export_notes_of(j->e, notes);
    char path[BRG_FILE_PATH_BYTES], *text = NULL;
    size_t size = 0;
    int rc = name_beside(j, ".json", path);
    if (rc != BRG_OK) return rc;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL) return brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", path);
    for (uint32_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? "{\n  " : ",\n  ", f);
        brg_prepare_json_string(f, notes[i].key);
        (void)fputs(": ", f);
        brg_prepare_json_string(f, notes[i].text);
    }
    (void)fputs("\n}\n", f);
    const int lost = ferror(f);
    if (fclose(f) != 0 || lost || text == NULL)
        rc = brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", path);
    if (rc == BRG_OK) rc = brg_export_file(j, path, text, size);
    free(text);
    return rc;
}

int brg_export_llama2c(struct brg_export_job *j) {
    int32_t header[7];
    int rc = brg_llama2c_header(j->e->spec, header, j->why);
    if (rc == BRG_OK) rc = brg_export_open(j, j->e->path);
    if (rc == BRG_OK) rc = brg_export_bytes(j, header, sizeof header);
    if (rc == BRG_OK) rc = append_all(j);
    if (rc == BRG_OK) rc = write_tokenizer(j);
    if (rc == BRG_OK) rc = write_notes(j);
    return rc == BRG_OK ? brg_export_commit(j) : rc;
}
