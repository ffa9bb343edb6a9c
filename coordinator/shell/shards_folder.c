/* Which checkpoints a folder holds, and which of them go. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "coordinator/shell/shards_private.h"

#define FOLDER_ENTRIES_MAX 100000u

/* One entry of the folder; a name that is not a checkpoint's is none of our business. */
static int examine(const char *folder, uint64_t run, const char *name,
                   struct brg_shards_manifest *m, struct brg_checkpoint_item *items,
                   uint32_t *count, struct brg_why *why) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    unsigned long long step = 0;
    if (sscanf(name, "ckpt-%20llu", &step) != 1 || step == 0) return BRG_OK;
    if (strcmp(strrchr(brg_checkpoint_path(folder, step, "", path), '/') + 1, name) != 0)
        return BRG_OK;

    struct brg_why local;
    const int rc = brg_shards_manifest_read(folder, run, step, m, &local);
    if (rc == BRG_OK) return brg_checkpoint_insert(items, count, step, BRG_CHECKPOINT_VALID, why);
    if (rc == BRG_ENOENT)
        return brg_checkpoint_insert(items, count, step, BRG_CHECKPOINT_UNFINISHED, why);
    if (rc == BRG_ECORRUPT)
        return brg_checkpoint_insert(items, count, step, BRG_CHECKPOINT_DAMAGED, why);
    return brg_why_set(why, rc, "%s", local.text);
}

int brg_shards_list(const char *folder, uint64_t run, struct brg_checkpoint_item *items,
                    uint32_t *count, struct brg_why *why) {
    int rc = BRG_OK;
    *count = 0;
    DIR *d = opendir(folder);
    if (d == NULL && errno == ENOENT) return BRG_OK;
    if (d == NULL) return brg_checkpoint_disk_error(folder, "listing it", why);
    struct brg_shards_manifest *m = malloc(sizeof *m);
    if (m == NULL) rc = brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    for (uint32_t i = 0; rc == BRG_OK && i < FOLDER_ENTRIES_MAX; i++) {
        const struct dirent *entry = readdir(d);
        if (entry == NULL) break;
        rc = examine(folder, run, entry->d_name, m, items, count, why);
    }
    free(m);
    (void)closedir(d);
    return rc;
}

/* Deletes those that are marked, the oldest first. */
static int delete_marked(const char *folder, const struct brg_checkpoint_item *items,
                         const uint8_t *delete_it, uint32_t count, struct brg_why *why) {
    int rc = BRG_OK;
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++)
        if (delete_it[i]) rc = brg_checkpoint_delete(folder, items[i].step, why);
    return rc;
}

int brg_shards_tidy(const char *folder, uint64_t run, uint32_t keep, uint64_t committed,
                    uint64_t writing, struct brg_why *why) {
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint8_t delete_it[BRG_CHECKPOINT_LIST_MAX] = {0};
    uint64_t unused = 0;
    uint32_t count = 0;
    const struct brg_checkpoint_policy policy = {.every = 1, .keep = keep, .log_reach = 1};
    const struct brg_checkpoint_standing standing = {.committed = committed, .writing = writing};
    const int rc = brg_shards_list(folder, run, items, &count, why);
    if (rc != BRG_OK) return rc;
    brg_checkpoint_plan_tidy(&policy, &standing, items, count, delete_it, &unused);
    return delete_marked(folder, items, delete_it, count, why);
}

int brg_shards_drop_after(const char *folder, uint64_t run, uint64_t step, struct brg_why *why) {
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint8_t delete_it[BRG_CHECKPOINT_LIST_MAX] = {0};
    uint32_t count = 0;
    const int rc = brg_shards_list(folder, run, items, &count, why);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < count; i++) delete_it[i] = items[i].step > step;
    return delete_marked(folder, items, delete_it, count, why);
}
