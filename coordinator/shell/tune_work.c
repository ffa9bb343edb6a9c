#include "coordinator/shell/tune_work.h"

#include <string.h>
#include <time.h>

#include "coordinator/shell/openrun.h"

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

struct brg_tune_work *brg_tune_work_new(const struct brg_tuner_config *config,
                                        const struct brg_point *points, uint32_t count) {
    struct brg_tune_work *w = calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->stage = BRG_TUNE_FIT;
    w->config = *config;
    w->count = count;
    w->size_bytes = brg_tuner_size_bytes(config, BRG_TUNER_WINDOW_MAX);
    w->points = calloc(count > 0 ? count : 1, sizeof *w->points);
    w->tuner = calloc(1, w->size_bytes > 0 ? w->size_bytes : 1);
    if (w->points == NULL || w->tuner == NULL) {
        brg_tune_work_free(w);
        return NULL;
    }
    memcpy(w->points, points, count * sizeof *points);
    return w;
}

void brg_tune_work_free(struct brg_tune_work *w) {
    if (w == NULL) return;
    free(w->points);
    free(w->tuner);
    free(w->scheme);
    free(w);
}

static void replay(struct brg_tune_work *w, uint64_t from_ns) {
    do {
        if (brg_tuner_step(w->tuner)) continue;
        w->stage = BRG_TUNE_CHOSEN;
        return;
    } while (now_ns() - from_ns < BRG_TUNE_SLICE_NS);
}

int brg_tune_work_run(struct brg_tune_work *w, struct brg_why *why) {
    const uint64_t from_ns = now_ns();
    int rc = BRG_OK;
    switch ((enum brg_tune_stage)w->stage) {
    case BRG_TUNE_FIT:
        rc = brg_tuner_init(w->tuner, w->size_bytes, &w->config, w->points, w->count, why);
        if (rc == BRG_OK) w->stage = BRG_TUNE_REPLAY;
        break;
    case BRG_TUNE_REPLAY: replay(w, from_ns); break;
    case BRG_TUNE_BUILD:
        rc = brg_scheme_new(&w->code, &w->scheme, why);
        if (rc == BRG_OK) w->stage = BRG_TUNE_BUILT;
        break;
    case BRG_TUNE_CHOSEN:
    case BRG_TUNE_BUILT: BRG_ASSERT(0 && "the reactor's turn");
    }
    w->spent_ns += now_ns() - from_ns;
    if (rc == BRG_OK && w->stage == BRG_TUNE_REPLAY && w->spent_ns > BRG_TUNE_NS_MAX) {
        return brg_why_set(why, BRG_ETIMEDOUT, "replaying the candidates took too long");
    }
    return rc;
}
