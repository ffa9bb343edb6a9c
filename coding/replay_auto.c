#include "coding/replay_auto.h"

#include <string.h>

#define POINTS_A_CELL 4u
#define CHECK_EVERY 32u /* rounds of a choice; also after 8 and 16 */
/* After so many rounds of a choice, and four times as many, the tuner is asked again in any case:
 * more is known by then, for nothing. */
#define LOOK_AGAIN 32u
#define KEEP_PPM 20000u /* another choice has to be better by 2 % */

/* A point in a run of one code: rounds, and its clock. */
struct mark {
    uint64_t rounds, ns, busy_ns;
};

struct brg_auto {
    struct brg_auto_config config;
    const struct brg_profile *profile;
    struct brg_auto_result result;
    struct brg_code_spec spec;        /* in force */
    struct brg_tuner_row promise;     /* of it; deals 0: the probe */
    uint64_t before_ns, before_steps; /* what came before the code in force */
    struct mark now, checked, from;   /* of the code in force; what it did counts from `from` on */
    uint64_t rounds, steps_wanted;    /* of the run */
    uint32_t point_count, point_room;
    int outside; /* the last check found the time of a round outside its band */
    size_t tuner_bytes, replay_bytes;
    struct brg_point *points;
    struct brg_tuner *tuner;
    struct brg_replay *replay;
};

static uint32_t probe_rounds(const struct brg_auto_config *config) {
    const uint32_t rounds = config->probe_rounds;
    return rounds > 0 ? rounds : brg_tuner_probe_rounds(config->tuner.n);
}

static uint32_t point_room(const struct brg_auto_config *config) {
    return config->tuner.n * POINTS_A_CELL * BRG_TUNER_WINDOW_MAX;
}

static size_t replay_room(uint32_t n) {
    const struct brg_code_spec any = {
        .kind = BRG_CODE_NONE, .n = n, .chunks = n, .policy = BRG_POLICY_EARLY};
    return (brg_replay_size_bytes(&any) + 15) / 16 * 16;
}

size_t brg_auto_size_bytes(const struct brg_auto_config *config) {
    return sizeof(struct brg_auto) + point_room(config) * sizeof(struct brg_point) +
           replay_room(config->tuner.n) +
           brg_tuner_size_bytes(&config->tuner, BRG_TUNER_WINDOW_MAX) + 64;
}

static void forget_before(struct brg_auto *a, uint64_t round) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < a->point_count; i++) {
        if (a->points[i].round >= round) a->points[kept++] = a->points[i];
    }
    a->point_count = kept;
}

/* Forgets the older half of the rounds when there may be no room for another one. */
static void make_room(struct brg_auto *a) {
    const uint32_t n = a->config.tuner.n;
    if (a->point_room - a->point_count >= n * BRG_SCHEME_MINITASKS_MAX) return;
    forget_before(a, a->points[a->point_count / 2].round);
}

/* The code in force from the next round on. */
static int begin(struct brg_auto *a, const struct brg_code_spec *spec, struct brg_why *why) {
    struct brg_replay_options options = a->config.tuner.options;
    options.models = a->config.tuner.models;
    options.first_row = (uint32_t)(a->rounds % a->profile->rounds);
    options.order = NULL;
    a->spec = *spec;
    a->now = a->checked = a->from = (struct mark){.rounds = 0};
    return brg_replay_init(a->replay, a->replay_bytes, spec, &options, a->profile, why);
}

/* What the code in force came to, before another takes its place. */
static void leave(struct brg_auto *a) {
    const struct brg_replay_totals now = brg_replay_totals(a->replay);
    struct brg_replay_totals *all = &a->result.totals;
    a->before_ns += now.elapsed_ns > a->now.ns ? now.elapsed_ns : a->now.ns;
    all->busy_ns += now.busy_ns;
    all->rounds += now.rounds;
    all->waited += now.waited;
    all->late += now.late;
    all->reattempts += now.reattempts;
    all->shares += now.shares;
    a->before_steps += now.steps;
}

/* Keeps what the code in force did, for it and against it; the oldest record makes room. */
static void remember(struct brg_auto *a) {
    struct brg_tuner_config *c = &a->config.tuner;
    const uint64_t rounds = a->now.rounds - a->from.rounds;
    uint32_t at = 0;
    if (a->promise.deals == 0 || rounds == 0) return;
    while (at < c->tried_count && memcmp(&c->tried[at].spec, &a->spec, sizeof a->spec) != 0) at++;
    if (at == BRG_TUNER_TRIED_MAX) {
        memmove(c->tried, c->tried + 1, (BRG_TUNER_TRIED_MAX - 1) * sizeof *c->tried);
        at--;
    }
    if (at >= c->tried_count) c->tried_count = at + 1;
    c->tried[at] = (struct brg_tuner_tried){.spec = a->spec,
                                            .step_ns = (a->now.ns - a->from.ns) / rounds,
                                            .cost_ns = (a->now.busy_ns - a->from.busy_ns) / rounds,
                                            .rounds = (uint32_t)rounds};
}

/* All that is known is of another time, and the code in force does not show what load costs now. */
static int probe(struct brg_auto *a, struct brg_why *why) {
    const struct brg_code_spec spec =
        brg_tuner_probe_spec(a->config.tuner.n, a->config.tuner.chunks);
    leave(a);
    a->promise = (struct brg_tuner_row){.deals = 0};
    a->point_count = 0;
    a->outside = 0;
    return begin(a, &spec, why);
}

static int tune(struct brg_auto *a, struct brg_why *why) {
    remember(a);
    struct brg_tuner_config config = a->config.tuner;
    const uint64_t done = a->before_steps + brg_replay_totals(a->replay).steps;
    config.steps_left = a->steps_wanted - done;
    config.keep_ppm = KEEP_PPM;
    if (a->promise.deals > 0) config.current = a->spec;
    int rc = brg_tuner_init(a->tuner, a->tuner_bytes, &config, a->points, a->point_count, why);
    if (rc != BRG_OK) return rc;
    const struct brg_profile_summary *seen = brg_tuner_summary(a->tuner);
    if (seen->has_slope == 1) a->config.tuner.alpha_s = seen->alpha_s;
    if (a->outside && seen->has_slope != 1) return probe(a, why);
    while (brg_tuner_step(a->tuner)) continue;
    uint32_t count;
    const struct brg_tuner_row *row = brg_tuner_rows(a->tuner, &count) + brg_tuner_choice(a->tuner);
    const uint64_t measured = a->now.rounds - a->from.rounds;
    a->result.decisions[a->result.count++] = (struct brg_auto_decision){
        .round = a->rounds,
        .step_ns = row->step_ns,
        .before_step_ns = measured > 0 ? (a->now.ns - a->from.ns) / measured : 0,
        .spec = row->spec};
    const int same = a->promise.deals > 0 && memcmp(&row->spec, &a->spec, sizeof a->spec) == 0;
    a->promise = *row;
    if (same) return BRG_OK;
    leave(a);
    return begin(a, &row->spec, why);
}

/* Whether the tuner is asked now. Outside the band the workers are not what they were: only the
 * later half of what was measured since the last check is kept, and checks come closely again. */
static int is_time(struct brg_auto *a) {
    const uint64_t since = a->now.rounds - a->from.rounds;
    if (a->result.count == BRG_AUTO_DECISIONS_MAX) return 0;
    if (a->promise.deals == 0) return since >= probe_rounds(&a->config);
    if (since != 8 && since != 16 && since % CHECK_EVERY != 0) return 0;
    const struct mark last = a->checked;
    const uint64_t rounds = a->now.rounds - last.rounds;
    a->checked = a->now;
    a->outside = brg_tuner_outside(&a->promise, (a->now.ns - last.ns) / rounds, (uint32_t)rounds);
    if (a->outside) {
        forget_before(a, a->rounds - rounds / 2);
        a->config.tuner.tried_count = 0;
        a->from = a->now;
        return 1;
    }
    return since == LOOK_AGAIN || since == 4 * LOOK_AGAIN;
}

static void one_round(struct brg_auto *a, int new_step) {
    make_room(a);
    struct brg_replay_round round = {.points = a->points + a->point_count,
                                     .points_room = a->point_room - a->point_count};
    brg_replay_round(a->replay, new_step, &round);
    for (uint32_t i = 0; i < round.point_count; i++) round.points[i].round = (uint32_t)a->rounds;
    a->point_count += round.point_count;
    a->now.ns = round.ended_ns;
    a->now.busy_ns = brg_replay_totals(a->replay).busy_ns;
    a->now.rounds++;
    a->rounds++;
}

int brg_auto_run(struct brg_auto *a, size_t size_bytes, const struct brg_auto_config *config,
                 const struct brg_profile *profile, uint64_t steps, struct brg_auto_result *out,
                 struct brg_why *why) {
    BRG_ASSERT(size_bytes >= brg_auto_size_bytes(config));
    memset(a, 0, sizeof *a);
    a->config = *config;
    a->profile = profile;
    a->steps_wanted = steps;
    struct brg_arena arena;
    brg_arena_init(&arena, a + 1, size_bytes - sizeof *a);
    a->point_room = point_room(config);
    a->replay_bytes = replay_room(config->tuner.n);
    a->tuner_bytes = brg_tuner_size_bytes(&config->tuner, BRG_TUNER_WINDOW_MAX);
    a->points = brg_arena_alloc(&arena, a->point_room * sizeof *a->points, 16);
    a->replay = brg_arena_alloc(&arena, a->replay_bytes, 16);
    a->tuner = brg_arena_alloc(&arena, a->tuner_bytes, 16);
    BRG_ASSERT(a->points != NULL);
    BRG_ASSERT(a->replay != NULL);
    BRG_ASSERT(a->tuner != NULL);
    const struct brg_code_spec spec = brg_tuner_probe_spec(config->tuner.n, config->tuner.chunks);
    int rc = begin(a, &spec, why);
    if (rc != BRG_OK) return rc;
    uint64_t handed = 0;
    while (a->before_steps + handed < steps) {
        one_round(a, 1);
        handed++;
        if (a->before_steps + handed == steps || !is_time(a)) continue;
        rc = tune(a, why);
        if (rc != BRG_OK) return rc;
        handed = a->now.rounds == 0 ? 0 : handed;
    }
    const uint32_t delay = brg_code_delay(&a->spec);
    for (uint32_t i = 0; i < delay; i++) one_round(a, 0);
    leave(a);
    a->result.totals.elapsed_ns = a->before_ns;
    a->result.totals.steps = a->before_steps;
    BRG_ASSERT(a->before_steps == steps);
    *out = a->result;
    return BRG_OK;
}
