#include "coordinator/shell/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/shell/checkpoint_private.h"

#define MANIFEST "manifest.json"
#define FOLDER_ENTRIES_MAX 100000u

int brg_checkpoint_disk_error(const char *path, const char *doing, struct brg_why *why) {
    const int rc = brg_file_error(errno);
    return brg_why_set(why, rc, "%s: %s failed: %s; %s", path, doing, strerror(errno),
                       rc == BRG_ENOSPC
                           ? "make room on this disk, then start again: nothing committed is lost"
                           : "look at the disk and at the folder's owner, then start again");
}

const char *brg_checkpoint_path(const char *folder, uint64_t step, const char *file, char *out) {
    (void)snprintf(out, BRG_CHECKPOINT_PATH_BYTES, "%s/ckpt-%010llu%s%s", folder,
                   (unsigned long long)step, file[0] == '\0' ? "" : "/", file);
    return out;
}

static int check_folder_name(const char *folder, struct brg_why *why) {
    if (folder[0] != '\0' && strlen(folder) < BRG_FILE_PATH_BYTES - 64u) return BRG_OK;
    return brg_why_set(why, BRG_EINVAL, "the folder for checkpoints needs a name of 1 to %u bytes",
                       BRG_FILE_PATH_BYTES - 65u);
}

static int check_save(const char *folder, const struct brg_checkpoint *c, struct brg_why *why) {
    struct brg_checkpoint *there = NULL;
    const int rc = check_folder_name(folder, why);
    if (rc != BRG_OK) return rc;
    if (c->run == 0 || c->step == 0 || c->models > BRG_MODELS_MAX || c->params_elements == 0 ||
        c->params_elements > BRG_CHECKPOINT_ELEMENTS_MAX ||
        c->optimizer_elements > BRG_CHECKPOINT_ELEMENTS_MAX ||
        strnlen(c->name, sizeof c->name) == sizeof c->name ||
        strnlen(c->model, sizeof c->model) == sizeof c->model) {
        return brg_why_set(why, BRG_EINVAL,
                           "a checkpoint needs a run and a step from 1, 1 to 2^33 parameters, at "
                           "most %u models, and texts that end",
                           BRG_MODELS_MAX);
    }
    there = malloc(sizeof *there);
    if (there == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    const int found = brg_checkpoint_read(folder, c->run, c->step, there, why);
    free(there);
    if (found == BRG_OK) {
        return brg_why_set(why, BRG_EEXIST, "%s: the checkpoint of step %llu is there already",
                           folder, (unsigned long long)c->step);
    }
    return found == BRG_ENOENT || found == BRG_ECORRUPT ? BRG_OK : found;
}

static int write_tensor(const char *folder, struct brg_checkpoint *c,
                        struct brg_checkpoint_tensor t, const float *data, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES], name[BRG_CHECKPOINT_FILE_BYTES];
    (void)brg_checkpoint_path(folder, c->step, brg_checkpoint_tensor_name(&t, name), path);
    const int rc = brg_checkpoint_tensor_write(path, &t, data, why);
    *(t.kind == BRG_CHECKPOINT_PARAMS ? &c->params[t.model] : &c->optimizer[t.model]) = t.digest;
    return rc;
}

int brg_checkpoint_save_models(const char *folder, struct brg_checkpoint *c,
                               const struct brg_checkpoint_set *sets, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    if (c->models == 0) c->models = 1;
    int rc = check_save(folder, c, why);
    if (rc != BRG_OK) return rc;
    rc = brg_checkpoint_delete(folder, c->step, why); /* what a crash left of it */
    if (rc != BRG_OK) return rc;

    rc = brg_dir_make(brg_checkpoint_path(folder, c->step, "", path), 0700);
    if (rc == BRG_OK) rc = brg_dir_sync(folder);
    if (rc == BRG_OK) rc = brg_dir_sync_parent(folder);
    if (rc != BRG_OK) return brg_checkpoint_disk_error(path, "creating the folder", why);
    for (uint32_t m = 0; m < c->models && rc == BRG_OK; m++) {
        rc = write_tensor(folder, c, brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_PARAMS, m),
                          sets[m].params, why);
        if (rc != BRG_OK) break;
        rc = write_tensor(folder, c, brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_OPTIMIZER, m),
                          sets[m].optimizer, why);
    }
    if (rc != BRG_OK) return rc;
    return brg_checkpoint_manifest_write(brg_checkpoint_path(folder, c->step, MANIFEST, path), c,
                                         why);
}

int brg_checkpoint_save(const char *folder, struct brg_checkpoint *c, const float *params,
                        const float *optimizer, struct brg_why *why) {
    const struct brg_checkpoint_set set = {.params = params, .optimizer = optimizer};
    c->models = 1;
    return brg_checkpoint_save_models(folder, c, &set, why);
}

/* One file against the manifest; data NULL: header and size only. */
static int read_tensor(const char *folder, const struct brg_checkpoint *c,
                       struct brg_checkpoint_tensor t, float *data, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES], name[BRG_CHECKPOINT_FILE_BYTES];
    (void)brg_checkpoint_path(folder, c->step, brg_checkpoint_tensor_name(&t, name), path);
    return brg_checkpoint_tensor_read(path, &t, data, why);
}

int brg_checkpoint_read(const char *folder, uint64_t run, uint64_t step, struct brg_checkpoint *c,
                        struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    int rc = check_folder_name(folder, why);
    if (rc != BRG_OK) return rc;
    memset(c, 0, sizeof *c);
    rc = brg_checkpoint_manifest_read(brg_checkpoint_path(folder, step, MANIFEST, path), c, why);
    if (rc == BRG_ENOENT) {
        return brg_why_set(why, rc, "%s: there is no checkpoint of step %llu here", folder,
                           (unsigned long long)step);
    }
    if (rc != BRG_OK) return rc;
    if (c->run != run) {
        return brg_why_set(why, BRG_EINVAL,
                           "%s: is of run %llu (%s), not of run %llu: give each run a checkpoint "
                           "folder of its own",
                           path, (unsigned long long)c->run, c->name, (unsigned long long)run);
    }
    if (c->step != step) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: is of step %llu: its folder was renamed; give it its name back",
                           path, (unsigned long long)c->step);
    }
    for (uint32_t m = 0; m < c->models && rc == BRG_OK; m++) {
        rc = read_tensor(folder, c, brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_PARAMS, m), NULL,
                         why);
        if (rc != BRG_OK) break;
        rc = read_tensor(folder, c, brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_OPTIMIZER, m), NULL,
                         why);
    }
    return rc;
}

int brg_checkpoint_load_model(const char *folder, const struct brg_checkpoint *c, uint32_t model,
                              float *params, float *optimizer, struct brg_why *why) {
    const struct brg_checkpoint_tensor first =
        brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_PARAMS, model);
    const struct brg_checkpoint_tensor second =
        brg_checkpoint_tensor_of(c, BRG_CHECKPOINT_OPTIMIZER, model);
    int rc = check_folder_name(folder, why);
    if (rc == BRG_OK && params != NULL) rc = read_tensor(folder, c, first, params, why);
    if (rc == BRG_OK && optimizer != NULL && c->optimizer_elements > 0) {
        rc = read_tensor(folder, c, second, optimizer, why);
    }
    return rc;
}

int brg_checkpoint_load(const char *folder, const struct brg_checkpoint *c, float *params,
                        float *optimizer, struct brg_why *why) {
    return brg_checkpoint_load_model(folder, c, 0, params, optimizer, why);
}

int brg_checkpoint_insert(struct brg_checkpoint_item *items, uint32_t *count, uint64_t step,
                          uint32_t state, struct brg_why *why) {
    uint32_t at = *count;
    if (at == BRG_CHECKPOINT_LIST_MAX) {
        return brg_why_set(why, BRG_EFULL, "more than %u checkpoints: delete old ones",
                           BRG_CHECKPOINT_LIST_MAX);
    }
    for (; at > 0 && items[at - 1].step > step; at--) items[at] = items[at - 1];
    items[at] = (struct brg_checkpoint_item){.step = step, .state = state};
    (*count)++;
    return BRG_OK;
}

/* One entry of the folder; a name that is not a checkpoint's is none of our business. */
static int examine(const struct brg_checkpoint_look *look, const char *name,
                   struct brg_checkpoint_item *items, uint32_t *count, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    unsigned long long step = 0;
    if (sscanf(name, "ckpt-%20llu", &step) != 1 || step == 0) return BRG_OK;
    if (strcmp(strrchr(brg_checkpoint_path(look->folder, step, "", path), '/') + 1, name) != 0)
        return BRG_OK;

    struct brg_why local;
    const int rc = look->read(look, step, &local);
    if (rc == BRG_OK) return brg_checkpoint_insert(items, count, step, BRG_CHECKPOINT_VALID, why);
    if (rc == BRG_ENOENT)
        return brg_checkpoint_insert(items, count, step, BRG_CHECKPOINT_UNFINISHED, why);
    if (rc == BRG_ECORRUPT)
        return brg_checkpoint_insert(items, count, step, BRG_CHECKPOINT_DAMAGED, why);
    return brg_why_set(why, rc, "%s", local.text);
}

int brg_checkpoint_look(const struct brg_checkpoint_look *look, struct brg_checkpoint_item *items,
                        uint32_t *count, struct brg_why *why) {
    *count = 0;
    int rc = check_folder_name(look->folder, why);
    if (rc != BRG_OK) return rc;
    DIR *d = opendir(look->folder);
    if (d == NULL && errno == ENOENT) return BRG_OK;
    if (d == NULL) return brg_checkpoint_disk_error(look->folder, "listing it", why);
    for (uint32_t i = 0; rc == BRG_OK && i < FOLDER_ENTRIES_MAX; i++) {
        const struct dirent *entry = readdir(d);
        if (entry == NULL) break;
        rc = examine(look, entry->d_name, items, count, why);
    }
    (void)closedir(d);
    return rc;
}

static int read_step(const struct brg_checkpoint_look *look, uint64_t step, struct brg_why *why) {
    return brg_checkpoint_read(look->folder, look->run, step, look->manifest, why);
}

int brg_checkpoint_list(const char *folder, uint64_t run, struct brg_checkpoint_item *items,
                        uint32_t *count, struct brg_why *why) {
    struct brg_checkpoint *c = malloc(sizeof *c);
    *count = 0;
    if (c == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    const struct brg_checkpoint_look look = {folder, run, c, read_step};
    const int rc = brg_checkpoint_look(&look, items, count, why);
    free(c);
    return rc;
}

/* Removes all files in `path`, the manifest first, then the folder itself. */
static int remove_files(const char *path, struct brg_why *why) {
    char file[BRG_CHECKPOINT_PATH_BYTES + 256];
    (void)snprintf(file, sizeof file, "%s/%s", path, MANIFEST);
    if (unlink(file) == 0) {
        if (brg_dir_sync(path) != BRG_OK) return brg_checkpoint_disk_error(path, "syncing it", why);
    } else if (errno != ENOENT) {
        return brg_checkpoint_disk_error(file, "deleting it", why);
    }
    DIR *d = opendir(path);
    if (d == NULL) return brg_checkpoint_disk_error(path, "listing it", why);
    for (uint32_t i = 0; i < FOLDER_ENTRIES_MAX; i++) {
        const struct dirent *entry = readdir(d);
        if (entry == NULL) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        (void)unlink(file); /* what stays makes rmdir fail, which is told */
    }
    (void)closedir(d);
    return rmdir(path) == 0 ? BRG_OK : brg_checkpoint_disk_error(path, "deleting it", why);
}

int brg_checkpoint_delete(const char *folder, uint64_t step, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    struct stat st;
    int rc = check_folder_name(folder, why);
    if (rc != BRG_OK) return rc;
    if (lstat(brg_checkpoint_path(folder, step, "", path), &st) != 0) {
        return errno == ENOENT ? BRG_OK : brg_checkpoint_disk_error(path, "deleting it", why);
    }
    rc = remove_files(path, why);
    if (rc == BRG_OK && brg_dir_sync(folder) != BRG_OK) {
        rc = brg_checkpoint_disk_error(folder, "syncing it", why);
    }
    return rc;
}
