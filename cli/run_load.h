/* run_load.h - a run file with all that can be known about it beforehand: for submit and validate.
 * One thread. */
#ifndef BRG_CLI_RUN_LOAD_H
#define BRG_CLI_RUN_LOAD_H

#include "coordinator/shell/runfile.h"
#include "model/ngram.h"

/* The data set as it was found. */
struct brg_run_data {
    uint32_t is_known; /* 0: not looked at */
    uint32_t kind;     /* enum brg_data_kind */
    uint64_t train_count, held_count;
    struct brg_digest digest;
    uint32_t has_bar; /* 1: bytes with a held-out part */
    struct brg_ngram_losses bar;
};

/* brg_run_load - reads the run file, opens its data set and compares that with the model.
 *
 * is_offline: 1 does not look at data files
 * errors: BRG_EINVAL and whatever made the file or its data unreadable; faults->count >= 1 then */
BRG_CHECK int brg_run_load(const char *path, int is_offline, struct brg_run_config *config,
                           struct brg_run_data *data, struct brg_run_faults *faults);

#endif
