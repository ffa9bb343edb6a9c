#include "coding/replay_auto.h"

#include <string.h>

#include "coding/retune.h"

struct brg_auto {
    const struct brg_profile *profile;
    struct brg_auto_result result;
    struct brg_retune book;
    uint64_t before_ns, before_steps; /* what came before the code in force */
    uint64_t steps_wanted;            /* of the run */
    size_t tuner_bytes, replay_bytes;
    struct brg_tuner *tuner;
    struct brg_replay *replay;
};

static size_t replay_room(uint32_t n) {
    const struct brg_code_spec any = {
        .kind = BRG_CODE_NONE, .n = n, .chunks = n, .policy = BRG_POLICY_EARLY};
    return (brg_replay_size_bytes(&any) + 15) / 16 * 16;
}

size_t brg_auto_size_bytes(const struct brg_auto_config *config) {
    return sizeof(struct brg_auto) +
           brg_retune_point_room(config->tuner.n) * sizeof(struct brg_point) +
           replay_room(config->tuner.n) +
           brg_tuner_size_bytes(&config->tuner, BRG_TUNER_WINDOW_MAX) + 64;
}

/* The code in force from the next round on; promise NULL: the probe. */
static int begin(struct brg_auto *a, const struct brg_code_spec *spec,
                 const struct brg_tuner_row *promise, struct brg_why *why) {
    const struct brg_tuner_config *config = &a->book.config;
    struct brg_replay_options options = config->options;
    options.models = config->models;
    options.first_row = (uint32_t)(a->book.round % a->profile->rounds);
    options.order = NULL;
    brg_retune_begin(&a->book, spec, promise);
    return brg_replay_init(a->replay, a->replay_bytes, spec, &options, a->profile, why);
}

/* What the code in force came to, before another takes its place. */
static void leave(struct brg_auto *a) {
    const struct brg_replay_totals now = brg_replay_totals(a->replay);
    struct brg_replay_totals *all = &a->result.totals;
    a->before_ns += now.elapsed_ns > a->book.now.ns ? now.elapsed_ns : a->book.now.ns;
    all->busy_ns += now.busy_ns;
    all->rounds += now.rounds;
    all->waited += now.waited;
    all->late += now.late;
    all->reattempts += now.reattempts;
    all->shares += now.shares;
    a->before_steps += now.steps;
}

static int tune(struct brg_auto *a, struct brg_why *why) {
    struct brg_retune *book = &a->book;
    const uint64_t done = a->before_steps + brg_replay_totals(a->replay).steps;
    brg_retune_prepare(book, a->steps_wanted - done);
    int rc = brg_tuner_init(a->tuner, a->tuner_bytes, &book->config, book->points,
                            book->point_count, why);
    if (rc != BRG_OK) return rc;
    if (brg_retune_must_probe(book, brg_tuner_summary(a->tuner))) {
        const struct brg_code_spec probe =
            brg_tuner_probe_spec(book->config.n, book->config.chunks);
        leave(a);
        return begin(a, &probe, NULL, why);
    }
    while (brg_tuner_step(a->tuner)) continue;
    uint32_t count;
    const struct brg_tuner_row *row = brg_tuner_rows(a->tuner, &count) + brg_tuner_choice(a->tuner);
    a->result.decisions[a->result.count++] =
        (struct brg_auto_decision){.round = book->round,
                                   .step_ns = row->step_ns,
                                   .before_step_ns = brg_retune_mean_ns(book),
                                   .spec = row->spec};
    if (book->promise.deals > 0 && memcmp(&row->spec, &book->spec, sizeof row->spec) == 0) {
        brg_retune_stay(book, row);
        return BRG_OK;
    }
    leave(a);
    return begin(a, &row->spec, row, why);
}

static void one_round(struct brg_auto *a, int new_step) {
    struct brg_retune *book = &a->book;
    brg_retune_make_room(book, book->config.n * BRG_SCHEME_MINITASKS_MAX);
    struct brg_replay_round round = {.points = book->points + book->point_count,
                                     .points_room = book->point_room - book->point_count};
    brg_replay_round(a->replay, new_step, &round);
    for (uint32_t i = 0; i < round.point_count; i++) round.points[i].round = (uint32_t)book->round;
    book->point_count += round.point_count;
    brg_retune_round(book, round.ended_ns - book->now.ns,
                     brg_replay_totals(a->replay).busy_ns - book->now.busy_ns);
    book->round++;
}

int brg_auto_run(struct brg_auto *a, size_t size_bytes, const struct brg_auto_config *config,
                 const struct brg_profile *profile, uint64_t steps, struct brg_auto_result *out,
                 struct brg_why *why) {
    BRG_ASSERT(size_bytes >= brg_auto_size_bytes(config));
    memset(a, 0, sizeof *a);
    a->profile = profile;
    a->steps_wanted = steps;
    struct brg_arena arena;
    brg_arena_init(&arena, a + 1, size_bytes - sizeof *a);
    const uint32_t point_room = brg_retune_point_room(config->tuner.n);
    a->replay_bytes = replay_room(config->tuner.n);
    a->tuner_bytes = brg_tuner_size_bytes(&config->tuner, BRG_TUNER_WINDOW_MAX);
    struct brg_point *points = brg_arena_alloc(&arena, point_room * sizeof *points, 16);
    a->replay = brg_arena_alloc(&arena, a->replay_bytes, 16);
    a->tuner = brg_arena_alloc(&arena, a->tuner_bytes, 16);
    BRG_ASSERT(points != NULL);
    BRG_ASSERT(a->replay != NULL);
    BRG_ASSERT(a->tuner != NULL);
    brg_retune_init(&a->book, &config->tuner, points, point_room);
    if (config->probe_rounds > 0) a->book.probe_rounds = config->probe_rounds;
    const struct brg_code_spec spec = brg_tuner_probe_spec(config->tuner.n, config->tuner.chunks);
    int rc = begin(a, &spec, NULL, why);
    if (rc != BRG_OK) return rc;
    uint64_t handed = 0;
    while (a->before_steps + handed < steps) {
        one_round(a, 1);
        handed++;
        if (a->before_steps + handed == steps || a->result.count == BRG_AUTO_DECISIONS_MAX ||
            !brg_retune_is_due(&a->book)) {
            continue;
        }
        rc = tune(a, why);
        if (rc != BRG_OK) return rc;
        handed = a->book.now.rounds == 0 ? 0 : handed;
    }
    const uint32_t delay = brg_code_delay(&a->book.spec);
    for (uint32_t i = 0; i < delay; i++) one_round(a, 0);
    leave(a);
    a->result.totals.elapsed_ns = a->before_ns;
    a->result.totals.steps = a->before_steps;
    BRG_ASSERT(a->before_steps == steps);
    *out = a->result;
    return BRG_OK;
}
