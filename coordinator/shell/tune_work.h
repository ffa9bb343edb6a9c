/* tune_work.h - one choice of a code, on the compute thread, in slices that let decoding through.
 *
 *   FIT --> REPLAY --> REPLAY --> ... --> chosen --> BUILD --> the scheme
 *
 * Whoever holds the pointer owns it: the reactor between slices, a job while it is out. */
#ifndef BRG_TUNE_WORK_H
#define BRG_TUNE_WORK_H

#include "coding/tuner.h"

#define BRG_TUNE_SLICE_NS (BRG_NS_PER_S / 50) /* what a step may wait for a slice */
#define BRG_TUNE_NS_MAX (30 * BRG_NS_PER_S)   /* all slices together; then no choice is made */

enum brg_tune_stage {
    BRG_TUNE_FIT = 1,
    BRG_TUNE_REPLAY,
    BRG_TUNE_CHOSEN, /* the table is complete */
    BRG_TUNE_BUILD,  /* asked for by the reactor: `code` is to be built */
    BRG_TUNE_BUILT,
};

struct brg_tune_work {
    uint32_t stage; /* enum brg_tune_stage */
    uint32_t count;
    struct brg_tuner_config config;
    struct brg_point *points; /* [count], own */
    struct brg_tuner *tuner;  /* own */
    size_t size_bytes;
    uint64_t spent_ns;
    struct brg_code_spec code;
    struct brg_scheme *scheme; /* BUILT: own until it is taken */
};

/* brg_tune_work_new - a copy of the points and room to think. own: brg_tune_work_free.
 * returns: NULL where there is no memory for it */
struct brg_tune_work *brg_tune_work_new(const struct brg_tuner_config *config,
                                        const struct brg_point *points, uint32_t count);
void brg_tune_work_free(struct brg_tune_work *w);

/* brg_tune_work_run - one slice; the stage says what is next.
 * errors: BRG_EINVAL, BRG_ENOENT nothing to learn from the points, BRG_ERANK, BRG_ENOMEM the code
 *         cannot be built, BRG_ETIMEDOUT over BRG_TUNE_NS_MAX; with the sentence */
BRG_CHECK int brg_tune_work_run(struct brg_tune_work *w, struct brg_why *why);

#endif
