/* export_hf.c - a Hugging Face folder, filled beside its name and renamed once it is whole. */
#include "model/export_private.h"

#include "model/hf_config.h"
#include "model/prepare_json.h"
#include "model/safetensors.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INNER_BYTES (BRG_FILE_PATH_BYTES + 64u)

static const char *const file_names[] = {"config.json", "generation_config.json", "tokenizer.json",
                                         "tokenizer_config.json", "model.safetensors"};

/* Removes a folder that did not become whole. */
static void remove_folder(const char *folder) {
    char path[INNER_BYTES];
    for (size_t i = 0; i < sizeof file_names / sizeof file_names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, file_names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static int put_file(struct brg_export_job *j, const char *folder, const char *name,
                    const char *text, size_t size) {
    char path[INNER_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return brg_export_file(j, path, text, size);
}

static uint32_t known(uint32_t id) {
    return id == BRG_TOKEN_NONE ? BRG_HF_NO_TOKEN : id;
}

static int put_config(struct brg_export_job *j, const char *folder,
                      const struct brg_tokenizer_info *info) {
    const struct brg_hf_config config = {.spec = *j->e->spec,
                                         .bos = known(info->bos),
                                         .eos = known(info->eos),
                                         .dtype = j->e->dtype};
    char *text = NULL;
    int rc = brg_hf_config_text(&config, &text);
    if (rc != BRG_OK) return brg_why_set(j->why, rc, "%s: out of memory", j->e->path);
    rc = put_file(j, folder, "config.json", text, strlen(text));
    free(text);
    return rc;
}

static void print_token(FILE *f, const char *key, const struct brg_tokenizer *t, uint32_t id) {
    char *text = id == BRG_TOKEN_NONE ? NULL : brg_tokenizer_symbols(t, id);
    (void)fprintf(f, "  \"%s\": ", key);
    if (text == NULL)
        (void)fputs("null", f);
    else
        brg_prepare_json_string(f, text);
    (void)fputs(",\n", f);
    free(text);
}

static void print_id(FILE *f, const char *key, uint32_t id, const char *end) {
    if (id == BRG_TOKEN_NONE)
        (void)fprintf(f, "  \"%s\": null%s", key, end);
    else
        (void)fprintf(f, "  \"%s\": %u%s", key, id, end);
}

/* Both small files: generation_config.json, then tokenizer_config.json. */
static void print_small(FILE *f, int is_tokenizer, const struct brg_export *e,
                        const struct brg_tokenizer_info *info) {
    (void)fputs("{\n", f);
    if (is_tokenizer) {
        (void)fprintf(f, "  \"add_bos_token\": %s,\n  \"add_prefix_space\": false,\n",
                      info->add_bos ? "true" : "false");
        print_token(f, "bos_token", e->tokenizer, info->bos);
        print_token(f, "eos_token", e->tokenizer, info->eos);
        print_token(f, "unk_token", e->tokenizer, info->unk);
        (void)fprintf(f,
                      "  \"clean_up_tokenization_spaces\": false,\n"
                      "  \"model_max_length\": %u,\n"
                      "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n",
                      e->spec->context);
    } else {
        print_id(f, "bos_token_id", info->bos, ",\n");
        print_id(f, "eos_token_id", info->eos, "\n}\n");
    }
}

static int put_small(struct brg_export_job *j, const char *folder, int is_tokenizer,
                     const struct brg_tokenizer_info *info) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    int rc = BRG_OK;
    if (f == NULL) return brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", j->e->path);
    print_small(f, is_tokenizer, j->e, info);
    const int lost = ferror(f);
    if (fclose(f) != 0 || lost || text == NULL)
        rc = brg_why_set(j->why, BRG_ENOMEM, "%s: out of memory", j->e->path);
    if (rc == BRG_OK)
        rc = put_file(j, folder, is_tokenizer ? "tokenizer_config.json" : "generation_config.json",
                      text, size);
    free(text);
    return rc;
}

static int put_tokenizer(struct brg_export_job *j, const char *folder) {
    char *text = NULL;
    size_t size = 0;
    int rc = brg_tokenizer_json(j->e->tokenizer, &text, &size, j->why);
    if (rc == BRG_OK) rc = put_file(j, folder, "tokenizer.json", text, size);
    free(text);
    return rc;
}

/* The header of model.safetensors for all tensors, in the order of the layout. */
static int make_header(struct brg_export_job *j, char **header, size_t *size) {
    struct brg_export_note texts[BRG_EXPORT_NOTES_MAX];
    struct brg_safetensors_note notes[BRG_EXPORT_NOTES_MAX + 1] = {{"format", "pt"}};
    const uint32_t note_count = brg_export_notes_of(j->e, texts);
    struct brg_model_tensor *tensors = calloc(j->count, sizeof *tensors);
    struct brg_safetensors_entry *entries = calloc(j->count, sizeof *entries);
    int rc = BRG_ENOMEM;
    for (uint32_t i = 0; i < note_count; i++)
        notes[i + 1] = (struct brg_safetensors_note){texts[i].key, texts[i].text};
    if (tensors != NULL && entries != NULL) {
        for (uint32_t i = 0; i < j->count; i++) {
            struct brg_model_tensor *t = &tensors[i];
            brg_model_tensor(j->e->spec, i, t);
            entries[i] = (struct brg_safetensors_entry){
                .name = t->name, .dtype = j->e->dtype, .dims = t->dims};
            entries[i].shape[0] = t->dims == 1 ? t->cols : t->rows;
            entries[i].shape[1] = t->dims == 1 ? 0 : t->cols;
        }
        rc = brg_safetensors_header(entries, j->count, notes, note_count + 1, header, size);
    }
    free(tensors);
    free(entries);
    return rc == BRG_OK ? BRG_OK : brg_why_set(j->why, rc, "%s: out of memory", j->e->path);
}

static int put_weights(struct brg_export_job *j, const char *folder) {
    char path[INNER_BYTES], *header = NULL;
    size_t size = 0;
    int rc = make_header(j, &header, &size);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (rc == BRG_OK) rc = brg_export_open(j, path);
    if (rc == BRG_OK) rc = brg_export_bytes(j, header, size);
    free(header);
    for (uint32_t i = 0; rc == BRG_OK && i < j->count; i++)
        rc = brg_export_append(j, i, j->e->dtype, 0);
    return rc == BRG_OK ? brg_export_commit(j) : rc;
}

static int failed(struct brg_export_job *j, const char *path) {
    const int rc = brg_file_error(errno);
    return brg_why_set(j->why, rc, "%s: the folder cannot be made (%s)", path, strerror(errno));
}

int brg_export_hf(struct brg_export_job *j) {
    char folder[BRG_FILE_PATH_BYTES];
    struct brg_tokenizer_info info;
    struct stat st;
    brg_tokenizer_info_of(j->e->tokenizer, &info);
    if (lstat(j->e->path, &st) == 0)
        return brg_why_set(j->why, BRG_EEXIST,
                           "%s: it is there already; remove it, or choose another name",
                           j->e->path);
    const int n = snprintf(folder, sizeof folder, "%s.tmpXXXXXX", j->e->path);
    if (n < 0 || (size_t)n >= sizeof folder)
        return brg_why_set(j->why, BRG_EINVAL, "%s: the path is too long", j->e->path);
    if (mkdtemp(folder) == NULL) return failed(j, folder);
    int rc = put_config(j, folder, &info);
    if (rc == BRG_OK) rc = put_small(j, folder, 0, &info);
    if (rc == BRG_OK) rc = put_small(j, folder, 1, &info);
    if (rc == BRG_OK) rc = put_tokenizer(j, folder);
    if (rc == BRG_OK) rc = put_weights(j, folder);
    if (rc == BRG_OK && (chmod(folder, 0755) != 0 || rename(folder, j->e->path) != 0))
        rc = failed(j, j->e->path);
    if (rc != BRG_OK) {
        brg_file_writer_abort(&j->writer);
        remove_folder(folder);
        return rc;
    }
    rc = brg_dir_sync_parent(j->e->path);
    return rc == BRG_OK ? BRG_OK : failed(j, j->e->path);
}
