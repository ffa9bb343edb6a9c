#include "model/export_private.h"

#include "model/llama2c.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

int brg_export_format_parse(const char *name, uint32_t *out) {
    static const char *const names[] = {"hf", "gguf", "llama2c"};
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = BRG_FILE_HF + i;
        return BRG_OK;
    }
    return BRG_EINVAL;
}

static int read_params(void *context, uint32_t index, const struct brg_model_tensor *t, float *out,
                       struct brg_why *why) {
    const float *params = context;
    (void)index;
    (void)why;
    memcpy(out, params + t->offset, (size_t)t->rows * t->cols * sizeof *out);
    return BRG_OK;
}

struct brg_export_source brg_export_params(const float *params) {
    return (struct brg_export_source){.context = (void *)(uintptr_t)params, .read = read_params};
}

uint32_t brg_export_notes_of(const struct brg_export *e, struct brg_export_note *out) {
    const struct brg_export_notes *n = &e->notes;
    struct brg_digest digest;
    char hex[BRG_DIGEST_HEX_BYTES];
    uint32_t count = 0;
    out[count].key = "brigade.format";
    (void)snprintf(out[count++].text, sizeof out->text, "1");
    if (n->run != NULL && n->run[0] != '\0') {
        out[count].key = "brigade.run";
        (void)snprintf(out[count++].text, sizeof out->text, "%s", n->run);
    }
    if (n->step > 0) {
        out[count].key = "brigade.step";
        (void)snprintf(out[count++].text, sizeof out->text, "%" PRIu64, n->step);
    }
    if (n->data_digest != NULL && n->data_digest[0] != '\0') {
        out[count].key = "brigade.data_digest";
        (void)snprintf(out[count++].text, sizeof out->text, "%s", n->data_digest);
    }
    brg_tokenizer_digest(e->tokenizer, &digest);
    out[count].key = "brigade.tokenizer_digest";
    (void)snprintf(out[count++].text, sizeof out->text, "%s", brg_digest_hex(&digest, hex));
    BRG_ASSERT(count <= BRG_EXPORT_NOTES_MAX);
    return count;
}

static int unwritable(struct brg_export_job *j, int rc, const char *path) {
    return brg_why_set(j->why, rc, "%s: cannot be written (%s); %s", path, strerror(errno),
                       rc == BRG_ENOSPC ? "free some space, or write to another disk"
                                        : "check the folder and its permissions");
}

int brg_export_open(struct brg_export_job *j, const char *path) {
    const int rc = brg_file_writer_open(&j->writer, path, 0644);
    return rc == BRG_OK ? BRG_OK : unwritable(j, rc, path);
}

int brg_export_bytes(struct brg_export_job *j, const void *bytes, size_t size_bytes) {
    const int rc = brg_file_writer_append(&j->writer, bytes, size_bytes);
    return rc == BRG_OK ? BRG_OK : unwritable(j, rc, j->writer.path);
}

int brg_export_commit(struct brg_export_job *j) {
    const int rc = brg_file_writer_commit(&j->writer);
    return rc == BRG_OK ? BRG_OK : unwritable(j, rc, j->writer.path);
}

int brg_export_file(struct brg_export_job *j, const char *path, const void *bytes,
                    size_t size_bytes) {
    const int rc = brg_file_write_atomic(path, 0644, bytes, size_bytes);
    return rc == BRG_OK ? BRG_OK : unwritable(j, rc, path);
}

static int are_finite(const float *x, uint64_t count) {
    float sum = 0; /* of x - x: 0 for finite numbers, NaN for all else */
    for (uint64_t i = 0; i < count; i++) sum += x[i] - x[i];
    return sum == 0;
}

int brg_export_append(struct brg_export_job *j, uint32_t index, uint32_t dtype, int to_pairs) {
    const struct brg_model_spec *s = j->e->spec;
    const struct brg_llama_place place = brg_llama_place_of(s, index);
    struct brg_model_tensor t;
    const float *x = j->x;
    brg_model_tensor(s, index, &t);
    const uint64_t count = (uint64_t)t.rows * t.cols;
    const int rc = j->e->source.read(j->e->source.context, index, &t, j->x, j->why);
    if (rc != BRG_OK) return rc;
    if (!are_finite(x, count))
        return brg_why_set(j->why, BRG_EINVAL,
                           "tensor %s holds a number that is not finite; export an earlier step",
                           t.name);
    if (to_pairs && place.heads > 0) {
        brg_rows_to_pairs(place.heads, s->dim / s->heads, t.cols, j->x, j->turned);
        x = j->turned;
    }
    const size_t lost = brg_weight_narrow(dtype, count, x, j->bytes);
    if (lost > 0)
        return brg_why_set(j->why, BRG_EINVAL,
                           "tensor %s holds %zu numbers too large for %s; export as bf16 or f32",
                           t.name, lost, brg_weight_name(dtype));
    return brg_export_bytes(j, j->bytes, count * brg_weight_size(dtype));
}

static int check(const struct brg_export *e, struct brg_why *why) {
    struct brg_tokenizer_info info;
    struct brg_why inner = {.text = ""};
    if (e->spec->type != BRG_MODEL_LLAMA)
        return brg_why_set(why, BRG_EINVAL,
                           "only models of type llama can be exported; other programs have no "
                           "format for this one");
    const int rc = brg_model_check(e->spec, 1, &inner);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s", inner.text);
    brg_tokenizer_info_of(e->tokenizer, &info);
    if (info.vocab > e->spec->vocab)
        return brg_why_set(why, BRG_EINVAL,
                           "the tokenizer has %u tokens, the model only %u; give the tokenizer "
                           "that the model was trained with",
                           info.vocab, e->spec->vocab);
    if (e->format == BRG_FILE_LLAMA2C && e->dtype != BRG_WEIGHT_F32)
        return brg_why_set(why, BRG_EINVAL,
                           "llama2c files hold f32 only; leave --dtype out, or export as hf or "
                           "gguf");
    return BRG_OK;
}

static int allocate(struct brg_export_job *j) {
    uint64_t largest = 0;
    j->count = brg_model_tensor_count(j->e->spec);
    for (uint32_t i = 0; i < j->count; i++) {
        struct brg_model_tensor t;
        brg_model_tensor(j->e->spec, i, &t);
        const uint64_t count = (uint64_t)t.rows * t.cols;
        if (count > largest) largest = count;
    }
    j->x = malloc(largest * sizeof *j->x);
    j->turned = malloc(largest * sizeof *j->turned);
    j->bytes = malloc(largest * sizeof(float));
    if (j->x != NULL && j->turned != NULL && j->bytes != NULL) return BRG_OK;
    return brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", j->e->path);
}

int brg_export_write(const struct brg_export *e, struct brg_why *why) {
    BRG_ASSERT(e->path != NULL && e->spec != NULL && e->tokenizer != NULL);
    BRG_ASSERT(e->source.read != NULL);
    int rc = check(e, why);
    if (rc != BRG_OK) return rc;
    struct brg_export_job j = {.e = e, .why = why, .writer = {.fd = -1}};
    rc = allocate(&j);
    if (rc == BRG_OK) {
        switch (e->format) {
        case BRG_FILE_HF: rc = brg_export_hf(&j); break;
        case BRG_FILE_GGUF: rc = brg_export_gguf(&j); break;
        default: rc = brg_export_llama2c(&j); break;
        }
    }
    brg_file_writer_abort(&j.writer);
    free(j.x);
    free(j.turned);
    free(j.bytes);
    return rc;
}
