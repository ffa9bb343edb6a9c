/* Which checkpoints a folder holds, and which of them go. */
#include <stdlib.h>

#include "coordinator/shell/shards_private.h"

static int read_step(const struct brg_checkpoint_look *look, uint64_t step, struct brg_why *why) {
    return brg_shards_manifest_read(look->folder, look->run, step, look->manifest, why);
}

int brg_shards_list(const char *folder, uint64_t run, struct brg_checkpoint_item *items,
                    uint32_t *count, struct brg_why *why) {
    struct brg_shards_manifest *m = malloc(sizeof *m);
    *count = 0;
    if (m == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a checkpoint");
    const struct brg_checkpoint_look look = {folder, run, m, read_step};
    const int rc = brg_checkpoint_look(&look, items, count, why);
    free(m);
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
