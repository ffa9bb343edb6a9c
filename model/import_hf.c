/* import_hf.c - a Hugging Face folder: config.json, one safetensors file or several and their
 * index. */
#include "model/import_private.h"

#include "model/hf_config.h"
#include "model/import_json.h"

#include <string.h>
#include <sys/stat.h>

#define INDEX_BYTES_MAX (UINT32_C(16) << 20)

static int path_in(const struct brg_import *m, const char *name, char *out, struct brg_why *why) {
    const int n = snprintf(out, BRG_FILE_PATH_BYTES, "%s/%s", m->path, name);
    if (n > 0 && (size_t)n < BRG_FILE_PATH_BYTES) return BRG_OK;
    return brg_why_set(why, BRG_EINVAL, "%s: the path is too long", m->path);
}

static int open_file(struct brg_import *m, const char *name, struct brg_why *why) {
    char path[BRG_FILE_PATH_BYTES];
    int rc = path_in(m, name, path, why);
    if (rc == BRG_OK) rc = brg_safetensors_open(path, &m->files[m->file_count], why);
    if (rc == BRG_OK) m->file_count++;
    return rc;
}

/* A name without folders, so that an index cannot point elsewhere. */
static int is_plain_name(const cJSON *item) {
    return cJSON_IsString(item) && item->valuestring[0] != '\0' && item->valuestring[0] != '.' &&
           strchr(item->valuestring, '/') == NULL;
}

/* Every file that the index names, once. */
static int open_indexed(struct brg_import *m, const char *path, struct brg_why *why) {
    const char *opened[BRG_IMPORT_FILES_MAX];
    cJSON *root = NULL;
    int rc = brg_import_json_file(path, INDEX_BYTES_MAX, why, &root);
    if (rc != BRG_OK) return rc;
    const cJSON *map = brg_import_json_get(root, "weight_map");
    if (!cJSON_IsObject(map)) rc = brg_why_set(why, BRG_ECORRUPT, "%s: it has no weight_map", path);
    for (const cJSON *c = rc == BRG_OK ? map->child : NULL; c != NULL && rc == BRG_OK;
         c = c->next) {
        uint32_t i = 0;
        if (!is_plain_name(c)) {
            rc = brg_why_set(why, BRG_ECORRUPT, "%s: '%.80s' is in no file of this folder", path,
                             c->string);
            break;
        }
        while (i < m->file_count && strcmp(opened[i], c->valuestring) != 0) i++;
        if (i < m->file_count) continue;
        if (i == BRG_IMPORT_FILES_MAX) {
            rc = brg_why_set(why, BRG_ENOMEM, "%s: over %u files", path, BRG_IMPORT_FILES_MAX);
            break;
        }
        opened[i] = c->valuestring;
        rc = open_file(m, c->valuestring, why);
    }
    cJSON_Delete(root);
    return rc;
}

static int open_files(struct brg_import *m, struct brg_why *why) {
    char path[BRG_FILE_PATH_BYTES];
    struct stat st;
    m->files = calloc(BRG_IMPORT_FILES_MAX, sizeof *m->files);
    if (m->files == NULL) return brg_why_set(why, BRG_ENOMEM, "%s: out of memory", m->path);
    int rc = path_in(m, "model.safetensors.index.json", path, why);
    if (rc != BRG_OK) return rc;
    if (stat(path, &st) == 0) return open_indexed(m, path, why);
    return open_file(m, "model.safetensors", why);
}

static const struct brg_safetensor *find(const struct brg_import *m, const char *name,
                                         uint32_t *hits) {
    const struct brg_safetensor *found = NULL;
    for (uint32_t i = 0; i < m->file_count; i++) {
        const struct brg_safetensor *t = brg_safetensors_find(&m->files[i], name);
        if (t == NULL) continue;
        found = t;
        (*hits)++;
    }
    return found;
}

static int place_tensor(struct brg_import *m, uint32_t index, struct brg_why *why) {
    struct brg_model_tensor want;
    uint32_t hits = 0;
    brg_model_tensor(&m->info.spec, index, &want);
    const struct brg_safetensor *t = find(m, want.name, &hits);
    if (hits != 1)
        return brg_why_set(why, BRG_ECORRUPT, "%s: tensor %s %s", m->path, want.name,
                           hits == 0 ? "is missing; fetch all files of the model"
                                     : "is in two files; fetch the model again");
    if (t->dtype == BRG_WEIGHT_OTHER)
        return brg_why_set(why, BRG_EINVAL,
                           "%s: tensor %s is not of F32, F16 or BF16; take a version that is not "
                           "quantized",
                           m->path, want.name);
    const int fits = t->dims == want.dims &&
                     (want.dims == 1 ? t->shape[0] == want.cols
                                     : t->shape[0] == want.rows && t->shape[1] == want.cols);
    if (!fits)
        return brg_why_set(
            why, BRG_ECORRUPT,
            "%s: tensor %s is not [%u, %u] as config.json makes it; the files are of "
            "different models",
            m->path, want.name, want.rows, want.cols);
    m->places[index] = (struct brg_import_place){.data = t->data, .dtype = t->dtype};
    return BRG_OK;
}

/* Left over may be: tables of angles in old files, and a head that is tied to the embedding. */
static int may_be_left(const struct brg_import *m, const char *name) {
    static const char angles[] = ".rotary_emb.inv_freq";
    const size_t n = strlen(name), k = sizeof angles - 1;
    if (n > k && strcmp(name + n - k, angles) == 0) return 1;
    return m->info.spec.tied && strcmp(name, "lm_head.weight") == 0;
}

static int is_known(const struct brg_import *m, const struct brg_safetensor *t) {
    for (uint32_t i = 0; i < m->count; i++)
        if (m->places[i].data == t->data && t->size_bytes > 0) return 1;
    return may_be_left(m, t->name);
}

static int check_rest(const struct brg_import *m, struct brg_why *why) {
    for (uint32_t f = 0; f < m->file_count; f++)
        for (uint32_t i = 0; i < m->files[f].count; i++)
            if (!is_known(m, &m->files[f].tensors[i]))
                return brg_why_set(why, BRG_EINVAL,
                                   "%s: tensor %.80s has no place in a LLaMA; only models without "
                                   "biases and further parts can be computed",
                                   m->path, m->files[f].tensors[i].name);
    return BRG_OK;
}

int brg_import_open_hf(struct brg_import *m, struct brg_why *why) {
    char path[BRG_FILE_PATH_BYTES];
    struct brg_hf_config config;
    int rc = path_in(m, "config.json", path, why);
    if (rc == BRG_OK) rc = brg_hf_config_read(path, &config, why);
    if (rc != BRG_OK) return rc;
    m->info.format = BRG_FILE_HF;
    m->info.spec = config.spec;
    m->info.bos = config.bos;
    m->info.eos = config.eos;
    rc = brg_import_size(m, why);
    if (rc == BRG_OK) rc = open_files(m, why);
    for (uint32_t i = 0; rc == BRG_OK && i < m->count; i++) rc = place_tensor(m, i, why);
    if (rc == BRG_OK) rc = check_rest(m, why);
    if (rc == BRG_OK) m->info.dtype = m->places[0].dtype;
    return rc;
}
