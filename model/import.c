#include "model/import_private.h"

#include "model/llama2c.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define MODEL_FILE_MAX (UINT64_C(1) << 42)

int brg_import_size(struct brg_import *m, struct brg_why *why) {
    m->info.param_count = brg_model_param_count(&m->info.spec);
    m->count = brg_model_tensor_count(&m->info.spec);
    m->places = calloc(m->count, sizeof *m->places);
    if (m->places != NULL) return BRG_OK;
    return brg_why_set(why, BRG_ENOMEM, "%s: out of memory", m->path);
}

int brg_import_open_llama2c(struct brg_import *m, struct brg_why *why) {
    struct brg_llama2c l;
    int rc = brg_file_map_open(m->path, MODEL_FILE_MAX, &m->map);
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: cannot be read (%s); check the path", m->path,
                           strerror(errno));
    rc = brg_llama2c_parse(m->path, m->map.data, m->map.size_bytes, &l, why);
    if (rc != BRG_OK) return rc;
    m->info.format = BRG_FILE_LLAMA2C;
    m->info.spec = l.spec;
    m->info.dtype = BRG_WEIGHT_F32;
    m->info.bos = 1; /* as run.c has them */
    m->info.eos = 2;
    rc = brg_import_size(m, why);
    for (uint32_t i = 0; rc == BRG_OK && i < m->count; i++)
        m->places[i] = (struct brg_import_place){
            .data = l.floats + brg_llama2c_place(&l.spec, l.version, i) * sizeof(float),
            .dtype = BRG_WEIGHT_F32,
            .turning = brg_llama_place_of(&l.spec, i).heads};
    return rc;
}

/* The format by the first bytes, a folder being Hugging Face's. */
static int open_any(struct brg_import *m, struct brg_why *why) {
    uint8_t magic[4] = {0};
    struct stat st;
    if (stat(m->path, &st) != 0)
        return brg_why_set(why, brg_file_error(errno), "%s: cannot be read (%s); check the path",
                           m->path, strerror(errno));
    if (S_ISDIR(st.st_mode)) return brg_import_open_hf(m, why);
    FILE *f = fopen(m->path, "rbe");
    if (f == NULL)
        return brg_why_set(why, brg_file_error(errno), "%s: cannot be read (%s); check the path",
                           m->path, strerror(errno));
    const size_t got = fread(magic, 1, sizeof magic, f);
    (void)fclose(f);
    if (got == 4 && memcmp(magic, "GGUF", 4) == 0) return brg_import_open_gguf(m, why);
    const size_t n = strlen(m->path);
    if (n > 12 && strcmp(m->path + n - 12, ".safetensors") == 0)
        return brg_why_set(why, BRG_EINVAL,
                           "%s: its sizes stand in the config.json beside it; give the folder",
                           m->path);
    return brg_import_open_llama2c(m, why);
}

int brg_import_open(const char *path, struct brg_import **out, struct brg_why *why) {
    struct brg_import *m = calloc(1, sizeof *m);
    *out = NULL;
    if (m == NULL) return brg_why_set(why, BRG_ENOMEM, "%s: out of memory", path);
    int rc = BRG_OK;
    if (strlen(path) >= sizeof m->path)
        rc = brg_why_set(why, BRG_EINVAL, "the path has over %zu bytes", sizeof m->path - 1);
    if (rc == BRG_OK) {
        memcpy(m->path, path, strlen(path) + 1);
        m->info.bos = m->info.eos = BRG_TOKEN_NONE;
        rc = open_any(m, why);
    }
    if (rc != BRG_OK) {
        brg_import_close(m);
        return rc;
    }
    *out = m;
    return BRG_OK;
}

void brg_import_close(struct brg_import *m) {
    if (m == NULL) return;
    for (uint32_t i = 0; i < m->file_count; i++) brg_safetensors_close(&m->files[i]);
    free(m->files);
    brg_gguf_close(&m->gguf);
    brg_file_map_close(&m->map);
    free(m->places);
    free(m);
}

void brg_import_info_of(const struct brg_import *m, struct brg_import_info *out) {
    *out = m->info;
}

static int are_finite(const float *x, uint64_t count) {
    float sum = 0; /* of x - x: 0 for finite numbers, NaN for all else */
    for (uint64_t i = 0; i < count; i++) sum += x[i] - x[i];
    return sum == 0;
}

int brg_import_tensor(const struct brg_import *m, uint32_t index, float *out, struct brg_why *why) {
    const struct brg_model_spec *s = &m->info.spec;
    const struct brg_import_place *p = &m->places[index];
    struct brg_model_tensor t;
    brg_model_tensor(s, index, &t);
    const uint64_t count = (uint64_t)t.rows * t.cols;
    if (p->turning == 0) {
        brg_weight_widen(p->dtype, count, p->data, out);
    } else {
        float *pairs = malloc(count * sizeof *pairs);
        if (pairs == NULL) return brg_why_set(why, BRG_ENOMEM, "%s: out of memory", m->path);
        brg_weight_widen(p->dtype, count, p->data, pairs);
        brg_rows_to_halves(p->turning, s->dim / s->heads, t.cols, pairs, out);
        free(pairs);
    }
    if (are_finite(out, count)) return BRG_OK;
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: tensor %s holds a number that is not finite; fetch the model again",
                       m->path, t.name);
}

int brg_import_load(const struct brg_import *m, float *params, struct brg_why *why) {
    int rc = BRG_OK;
    for (uint32_t i = 0; rc == BRG_OK && i < m->count; i++) {
        struct brg_model_tensor t;
        brg_model_tensor(&m->info.spec, i, &t);
        rc = brg_import_tensor(m, i, params + t.offset, why);
    }
    return rc;
}

/* NAME.tokenizer.bin beside NAME.bin, else tokenizer.bin in its folder. */
static int open_beside(const struct brg_import *m, struct brg_tokenizer **out,
                       struct brg_why *why) {
    char path[BRG_FILE_PATH_BYTES + 32];
    struct stat st;
    const char *slash = strrchr(m->path, '/');
    size_t stem = strlen(m->path);
    if (stem > 4 && strcmp(m->path + stem - 4, ".bin") == 0) stem -= 4;
    (void)snprintf(path, sizeof path, "%.*s.tokenizer.bin", (int)stem, m->path);
    if (stat(path, &st) != 0) {
        const int folder = slash == NULL ? 0 : (int)(slash - m->path + 1);
        (void)snprintf(path, sizeof path, "%.*stokenizer.bin", folder, m->path);
    }
    return brg_tokenizer_open(path, out, why);
}

int brg_import_tokenizer(const struct brg_import *m, struct brg_tokenizer **out,
                         struct brg_why *why) {
    switch (m->info.format) {
    case BRG_FILE_HF: return brg_tokenizer_open(m->path, out, why);
    case BRG_FILE_GGUF: return brg_import_gguf_tokenizer(&m->gguf, out, why);
    default: return open_beside(m, out, why);
    }
}
