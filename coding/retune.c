#include "coding/retune.h"

#include <string.h>

#define CHECK_EVERY 32u
#define LOOK_AGAIN 32u

uint32_t brg_retune_point_room(uint32_t n) {
    return n * BRG_RETUNE_POINTS_A_CELL * BRG_TUNER_WINDOW_MAX;
}

void brg_retune_init(struct brg_retune *r, const struct brg_tuner_config *config,
                     struct brg_point *points, uint32_t point_room) {
    BRG_ASSERT(points != NULL && point_room > 0);
    memset(r, 0, sizeof *r);
    r->config = *config;
    r->config.keep_ppm = BRG_RETUNE_KEEP_PPM;
    r->probe_rounds = brg_tuner_probe_rounds(config->n);
    r->points = points;
    r->point_room = point_room;
}

static void forget_before(struct brg_retune *r, uint64_t round) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->point_count; i++) {
        if (r->points[i].round >= round) r->points[kept++] = r->points[i];
    }
    r->point_count = kept;
}

void brg_retune_begin(struct brg_retune *r, const struct brg_code_spec *spec,
                      const struct brg_tuner_row *promise) {
    r->spec = *spec;
    r->promise = promise != NULL ? *promise : (struct brg_tuner_row){.deals = 0};
    r->now = r->checked = r->from = (struct brg_retune_mark){.rounds = 0};
    r->outside = 0;
    if (promise == NULL) r->point_count = 0;
}

void brg_retune_make_room(struct brg_retune *r, uint32_t count) {
    BRG_ASSERT(count <= r->point_room);
    /* One half may not be enough: a round can hold most of the points. */
    while (r->point_room - r->point_count < count) {
        const uint64_t middle = r->points[r->point_count / 2].round;
        const uint32_t before = r->point_count;
        forget_before(r, middle);
        if (r->point_count == before) forget_before(r, middle + 1);
    }
}

void brg_retune_round(struct brg_retune *r, uint64_t ns, uint64_t busy_ns) {
    r->now.rounds++;
    r->now.ns += ns;
    r->now.busy_ns += busy_ns;
}

uint64_t brg_retune_mean_ns(const struct brg_retune *r) {
    const uint64_t rounds = r->now.rounds - r->from.rounds;
    return rounds > 0 ? (r->now.ns - r->from.ns) / rounds : 0;
}

int brg_retune_is_due(struct brg_retune *r) {
    const uint64_t since = r->now.rounds - r->from.rounds;
    if (r->promise.deals == 0) return since >= r->probe_rounds;
    if (since != 8 && since != 16 && (since == 0 || since % CHECK_EVERY != 0)) return 0;
    const struct brg_retune_mark last = r->checked;
    const uint64_t rounds = r->now.rounds - last.rounds;
    if (rounds == 0) return 0;
    r->checked = r->now;
    r->outside =
        (uint32_t)brg_tuner_outside(&r->promise, (r->now.ns - last.ns) / rounds, (uint32_t)rounds);
    if (!r->outside) return since == LOOK_AGAIN || since == 4 * LOOK_AGAIN;
    forget_before(r, r->round > rounds / 2 ? r->round - rounds / 2 : 0);
    r->config.tried_count = 0;
    r->from = r->now;
    return 1;
}

/* Keeps what the code in force did, for it and against it; the oldest record makes room. */
static void remember(struct brg_retune *r) {
    struct brg_tuner_config *c = &r->config;
    const uint64_t rounds = r->now.rounds - r->from.rounds;
    uint32_t at = 0;
    if (r->promise.deals == 0 || rounds == 0) return;
    while (at < c->tried_count && memcmp(&c->tried[at].spec, &r->spec, sizeof r->spec) != 0) at++;
    if (at == BRG_TUNER_TRIED_MAX) {
        memmove(c->tried, c->tried + 1, (BRG_TUNER_TRIED_MAX - 1) * sizeof *c->tried);
        at--;
    }
    if (at >= c->tried_count) c->tried_count = at + 1;
    c->tried[at] = (struct brg_tuner_tried){.spec = r->spec,
                                            .step_ns = brg_retune_mean_ns(r),
                                            .cost_ns = (r->now.busy_ns - r->from.busy_ns) / rounds,
                                            .rounds = (uint32_t)rounds};
}

void brg_retune_prepare(struct brg_retune *r, uint64_t steps_left) {
    remember(r);
    r->config.steps_left = steps_left;
    if (r->promise.deals > 0) r->config.current = r->spec;
}

int brg_retune_must_probe(struct brg_retune *r, const struct brg_profile_summary *found) {
    if (found->has_slope == 1) r->config.alpha_s = found->alpha_s;
    return r->outside && found->has_slope != 1;
}

void brg_retune_stay(struct brg_retune *r, const struct brg_tuner_row *promise) {
    r->promise = *promise;
    r->outside = 0;
}

void brg_retune_failed(struct brg_retune *r) {
    r->promise = (struct brg_tuner_row){.deals = 0};
    r->from = r->checked = r->now;
    r->outside = 0;
}
