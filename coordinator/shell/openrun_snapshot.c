/* openrun_snapshot.c - the parameters of a run under way as a file, for whoever wants to export,
 * evaluate or sample them without stopping it. */
#include <dirent.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/shell/checkpoint_private.h"
#include "coordinator/shell/openrun.h"

#define SNAPSHOT_PREFIX "snapshot-"
#define SNAPSHOT_AGE_S 3600 /* after this its reader has it, or has died */
#define SNAPSHOT_ENTRIES_MAX 100000u

/* What readers that died have left behind. What cannot be deleted now is tried again next time. */
static void delete_old(const char *folder) {
    char path[BRG_CHECKPOINT_PATH_BYTES];
    struct stat st;
    const time_t now = time(NULL);
    DIR *d = opendir(folder);
    for (uint32_t i = 0; d != NULL && i < SNAPSHOT_ENTRIES_MAX; i++) {
        const struct dirent *entry = readdir(d);
        if (entry == NULL) break;
        if (strncmp(entry->d_name, SNAPSHOT_PREFIX, sizeof SNAPSHOT_PREFIX - 1) != 0) continue;
        (void)snprintf(path, sizeof path, "%s/%.100s", folder, entry->d_name);
        if (stat(path, &st) == 0 && st.st_mtime < now - SNAPSHOT_AGE_S) (void)unlink(path);
    }
    if (d != NULL) (void)closedir(d);
}

int brg_openrun_snapshot(struct brg_openrun *run, uint32_t model, const char *path, uint64_t *step,
                         struct brg_why *why) {
    const uint32_t models = run->config.run.models;
    BRG_ASSERT(model < models);
    *step = 0;
    for (uint64_t s = run->applied; s > 0 && run->applied - s < models; s--) {
        if (brg_model_of_step(s, models) != model) continue;
        *step = s;
        break;
    }
    delete_old(run->config.folder);
    struct brg_checkpoint_tensor t = {.kind = BRG_CHECKPOINT_PARAMS,
                                      .models = 1,
                                      .run = run->config.id,
                                      .step = *step,
                                      .elements = run->param_count};
    return brg_checkpoint_tensor_write(path, &t, run->models[model].params->data, why);
}
