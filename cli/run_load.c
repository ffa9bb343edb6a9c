#include "cli/run_load.h"

#include "model/data.h"

#include <string.h>

/* The faults so far had lines; this one is of what the keys point to. */
static void add_fault(struct brg_run_faults *faults, const char *key, const char *text) {
    if (faults->count == BRG_FAULTS_MAX) {
        faults->left_out++;
        return;
    }
    struct brg_run_fault *f = &faults->items[faults->count++];
    memset(f, 0, sizeof *f);
    (void)snprintf(f->key, sizeof f->key, "%s", key);
    (void)snprintf(f->text, sizeof f->text, "%s", text);
}

static int look_at_data(const struct brg_run_config *config, struct brg_run_data *out,
                        struct brg_run_faults *faults) {
    struct brg_data data;
    struct brg_data_error error;
    int rc = brg_data_open(&config->data, &data, &error);
    if (rc != BRG_OK) {
        add_fault(faults, "data", error.text);
        return rc;
    }
    rc = brg_data_fits(&data, &config->model, &error);
    if (rc != BRG_OK) add_fault(faults, "data", error.text);
    out->is_known = 1;
    out->kind = data.kind;
    out->train_count = data.train.count;
    out->held_count = data.held.count;
    out->digest = data.digest;
    if (rc == BRG_OK && data.kind == BRG_DATA_TOKENS && data.token_max < 256 &&
        data.held.count >= 2) {
        out->has_bar = brg_ngram_measure(&data, &out->bar) == BRG_OK;
    }
    brg_data_close(&data);
    return rc;
}

int brg_run_load(const char *path, int is_offline, struct brg_run_config *config,
                 struct brg_run_data *data, struct brg_run_faults *faults) {
    memset(data, 0, sizeof *data);
    int rc = brg_runfile_read(path, is_offline ? BRG_RUNFILE_OFFLINE : BRG_RUNFILE_CHECK_FILES,
                              config, faults);
    if (rc == BRG_OK && !is_offline) rc = look_at_data(config, data, faults);
    return rc;
}
