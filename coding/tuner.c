#include "coding/tuner.h"

#include "base/prng.h"

#include <math.h>
#include <string.h>

#define SALT_FUTURE 11u
#define SALT_ORDER 12u
#define BLOCK_ROUNDS 8u  /* rounds of the past that stay together: most bursts are shorter */
#define KEEP_PPM 150000u /* what is so much worse than the best after one deal is dropped */
#define OUTSIDE_ERRORS 4u

/* Over the deals of one row. */
struct sums {
    double step_s, cost_s, scatter, waited;
};

struct brg_tuner {
    struct brg_tuner_config config;
    struct brg_profile_summary summary;
    struct brg_profile future;
    struct brg_tuner_row rows[BRG_TUNER_ROWS_MAX];
    struct sums sums[BRG_TUNER_ROWS_MAX];
    uint64_t drop_above; /* score after the first deal */
    uint32_t order[BRG_TUNER_DEALS][BRG_CODE_WORKERS_MAX], scratch[BRG_CODE_WORKERS_MAX];
    uint32_t count, next, pass, choice, current; /* current: its row, or count */
    uint32_t deal_rounds;
    size_t replay_bytes;
    struct brg_arena arena; /* behind this struct */
    struct brg_replay *replay;
};

static uint32_t future_rounds(const struct brg_tuner_config *config) {
    const uint32_t rounds = config->rounds > 0 ? config->rounds : BRG_TUNER_ROUNDS_DEFAULT;
    return (rounds + BRG_TUNER_DEALS - 1) / BRG_TUNER_DEALS * BRG_TUNER_DEALS;
}

/* A spec of n workers whose replay takes as much as any. */
static size_t replay_bytes(uint32_t n) {
    const struct brg_code_spec any = {
        .kind = BRG_CODE_NONE, .n = n, .chunks = n, .policy = BRG_POLICY_EARLY};
    return brg_replay_size_bytes(&any);
}

size_t brg_tuner_size_bytes(const struct brg_tuner_config *config, uint32_t point_rounds) {
    const uint32_t window =
        point_rounds < BRG_TUNER_WINDOW_MAX ? point_rounds : BRG_TUNER_WINDOW_MAX;
    const size_t cells = (size_t)config->n * ((size_t)window + future_rounds(config));
    return sizeof(struct brg_tuner) + cells * sizeof(struct brg_profile_cell) +
           brg_profile_fit_bytes(config->n, window) + replay_bytes(config->n) + 1024;
}

static int check(const struct brg_tuner_config *config, struct brg_why *why) {
    if (config->n < 1 || config->n > BRG_CODE_WORKERS_MAX) {
        return brg_why_set(why, BRG_EINVAL, "the tuner takes 1 to %u workers, not %u",
                           BRG_CODE_WORKERS_MAX, config->n);
    }
    if (config->models < 1 || config->models > BRG_MODELS_MAX) {
        return brg_why_set(why, BRG_EINVAL, "the tuner takes 1 to %u models, not %u",
                           BRG_MODELS_MAX, config->models);
    }
    if (config->minimise < BRG_MINIMISE_TIME || config->minimise > BRG_MINIMISE_COST) {
        return brg_why_set(why, BRG_EINVAL, "minimise is %u: use time (1) or cost (2)",
                           config->minimise);
    }
    if (config->tried_count > BRG_TUNER_TRIED_MAX) {
        return brg_why_set(why, BRG_EINVAL, "the tuner takes %u codes that were tried, not %u",
                           BRG_TUNER_TRIED_MAX, config->tried_count);
    }
    if ((uint64_t)config->n * future_rounds(config) > BRG_PROFILE_CELLS_MAX) {
        return brg_why_set(why, BRG_EINVAL, "%u rounds of %u workers are too many for the tuner",
                           config->rounds, config->n);
    }
    return BRG_OK;
}

/* The rounds that the points span, the last BRG_TUNER_WINDOW_MAX of them. */
static uint32_t window_of(const struct brg_point *points, uint32_t count, uint32_t *first) {
    uint32_t low = UINT32_MAX, high = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (points[i].round < low) low = points[i].round;
        if (points[i].round > high) high = points[i].round;
    }
    if (high - low >= BRG_TUNER_WINDOW_MAX) low = high - BRG_TUNER_WINDOW_MAX + 1;
    *first = low;
    return high - low + 1;
}

/* What a cell takes uncoded, without what is so rare that it would hide everything else. */
static double usual_s(const struct brg_tuner *t, const struct brg_profile_cell *cell) {
    const double most_s = 4.0 * (t->summary.fixed_s + t->summary.alpha_s / t->config.n);
    const double s = ((double)cell->fixed_ns + (double)cell->rate_ns / t->config.n) * 1e-9;
    return s < most_s ? s : most_s;
}

/* How much of a worker's record is its own, and how much luck: 1 - (scatter within workers) /
 * (scatter between them), the credibility of Buehlmann ("Experience rating and credibility", 1967).
 * With few rounds and workers alike, who was late once would otherwise be late all the time. */
static double credibility(const struct brg_tuner *t, const struct brg_profile *past) {
    const uint32_t n = past->n, rounds = past->rounds;
    double all = 0.0, between = 0.0, within = 0.0;
    if (n < 2 || rounds < 2) return 1.0;
    for (uint64_t i = 0; i < (uint64_t)n * rounds; i++) all += usual_s(t, &past->cells[i]);
    all /= (double)n * rounds;
    for (uint32_t i = 0; i < n; i++) {
        double sum = 0.0, squares = 0.0;
        for (uint32_t r = 0; r < rounds; r++) {
            const double s = usual_s(t, brg_profile_cell(past, r, i));
            sum += s;
            squares += s * s;
        }
        within += squares - sum * sum / rounds;
        between += (sum / rounds - all) * (sum / rounds - all) * rounds;
    }
    within /= (double)n * (rounds - 1);
    between /= n - 1.0;
    return between > within ? 1.0 - within / between : 0.0;
}

/* Whose past each worker takes for a block: its own, or, by what its record is worth, anybody's. */
static void deal_records(struct brg_tuner *t, struct brg_prng *g, double own, uint32_t *from) {
    const uint32_t n = t->config.n;
    uint32_t movers = 0, *const who = t->scratch;
    for (uint32_t i = 0; i < n; i++) {
        from[i] = i;
        if (brg_prng_unit(g) >= own) who[movers++] = i;
    }
    for (uint32_t k = movers; k > 1; k--) {
        const uint32_t other = (uint32_t)brg_prng_below(g, k), keep = from[who[k - 1]];
        from[who[k - 1]] = from[who[other]];
        from[who[other]] = keep;
    }
}

/* Blocks of the past in random order, and now and then a stall that the past did not show. */
static void draw_future(struct brg_tuner *t, const struct brg_profile *past) {
    const uint32_t n = past->n;
    struct brg_prng g = {brg_prng_mix(t->config.seed, SALT_FUTURE, n, past->rounds)};
    const uint64_t stall_ns =
        BRG_TUNER_STALL_TIMES * (uint64_t)((t->summary.fixed_s + t->summary.alpha_s / n) * 1e9);
    const double chance = 0.5 / t->summary.cells, own = credibility(t, past);
    uint32_t first = 0, *const from = t->order[0]; /* the orders are drawn afterwards */
    for (uint32_t round = 0; round < t->future.rounds; round++) {
        if (round % BLOCK_ROUNDS == 0) {
            first = (uint32_t)brg_prng_below(&g, past->rounds);
            deal_records(t, &g, own, from);
        }
        struct brg_profile_cell *row = t->future.cells + (size_t)round * n;
        for (uint32_t i = 0; i < n; i++) {
            row[i] = *brg_profile_cell(past, (uint64_t)first + round % BLOCK_ROUNDS, from[i]);
            if (brg_prng_unit(&g) >= chance) continue;
            row[i].fixed_ns += stall_ns;
            if (row[i].fixed_ns > BRG_PROFILE_NS_MAX) row[i].fixed_ns = BRG_PROFILE_NS_MAX;
        }
    }
    for (uint32_t deal = 0; deal < BRG_TUNER_DEALS; deal++) {
        struct brg_prng o = {brg_prng_mix(t->config.seed, SALT_ORDER, deal, n)};
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t j = (uint32_t)brg_prng_below(&o, (uint64_t)i + 1);
            t->order[deal][i] = t->order[deal][j];
            t->order[deal][j] = i;
        }
    }
}

/* Candidates, and the code in force where it is none of them. */
static void list_rows(struct brg_tuner *t) {
    struct brg_code_spec specs[BRG_TUNER_ROWS_MAX];
    const struct brg_tuner_config *c = &t->config;
    t->count = brg_tuner_candidates(c->n, c->models, c->chunks, specs, BRG_TUNER_ROWS_MAX - 1);
    t->current = t->count;
    for (uint32_t i = 0; i < t->count; i++) {
        if (c->current.kind != 0 && memcmp(&specs[i], &c->current, sizeof *specs) == 0) {
            t->current = i;
        }
    }
    if (c->current.kind != 0 && t->current == t->count) specs[t->count++] = c->current;
    for (uint32_t i = 0; i < t->count; i++) {
        t->rows[i] = (struct brg_tuner_row){.spec = specs[i], .step_ns = UINT64_MAX};
    }
}

int brg_tuner_init(struct brg_tuner *t, size_t size_bytes, const struct brg_tuner_config *config,
                   const struct brg_point *points, uint32_t count, struct brg_why *why) {
    int rc = check(config, why);
    if (rc != BRG_OK) return rc;
    if (count == 0) return brg_why_set(why, BRG_ENOENT, "there is no measurement to tune from");
    BRG_ASSERT(size_bytes >= sizeof *t);
    memset(t, 0, sizeof *t);
    t->config = *config;
    brg_arena_init(&t->arena, t + 1, size_bytes - sizeof *t);
    struct brg_profile_fit fit = {.points = points,
                                  .count = count,
                                  .n = config->n,
                                  .alpha_s = config->alpha_s,
                                  .resolution_s = config->resolution_s,
                                  .seed = config->seed};
    fit.rounds = window_of(points, count, &fit.first_round);
    t->replay_bytes = replay_bytes(config->n);
    t->replay = brg_arena_alloc(&t->arena, t->replay_bytes, 16);
    t->future.n = config->n;
    t->future.rounds = future_rounds(config);
    t->deal_rounds = t->future.rounds / BRG_TUNER_DEALS;
    t->future.cells =
        brg_arena_array(&t->arena, (size_t)config->n * t->future.rounds, sizeof *t->future.cells);
    struct brg_profile past;
    struct brg_profile_cell *cells =
        brg_arena_array(&t->arena, (size_t)config->n * fit.rounds, sizeof *cells);
    if (t->replay == NULL || t->future.cells == NULL || cells == NULL) {
        return brg_why_set(why, BRG_ENOMEM, "the tuner's block of %zu bytes is too small",
                           size_bytes);
    }
    rc = brg_profile_fit(&fit, &t->arena, cells, &past, &t->summary);
    if (rc == BRG_ENOENT) {
        return brg_why_set(why, rc, "no worker has answered in the %u rounds measured", fit.rounds);
    }
    if (rc != BRG_OK) {
        return brg_why_set(why, rc, "the tuner's block of %zu bytes is too small", size_bytes);
    }
    draw_future(t, &past);
    list_rows(t);
    return BRG_OK;
}

/* One deal of one candidate: time and worker-time a step in the settled part; the first T rounds,
 * in which nothing is due yet, are left out. */
static void replay_deal(struct brg_tuner *t, uint32_t index, uint32_t deal) {
    struct sums *sums = &t->sums[index];
    const struct brg_code_spec *spec = &t->rows[index].spec;
    struct brg_replay_options options = t->config.options;
    struct brg_replay_totals settled = {0};
    struct brg_why why;
    double sum_s = 0.0, square_s = 0.0;
    uint64_t last_ns = 0;

    options.models = t->config.models;
    options.order = t->order[deal];
    options.first_row = deal * t->deal_rounds;
    const int rc = brg_replay_init(t->replay, t->replay_bytes, spec, &options, &t->future, &why);
    BRG_ASSERT(rc == BRG_OK); /* candidates were checked */
    const uint32_t delay = brg_code_delay(spec), rounds = t->deal_rounds - delay;
    for (uint32_t k = 0; k < t->deal_rounds; k++) {
        struct brg_replay_round round = {.points_room = 0};
        brg_replay_round(t->replay, 1, &round);
        const struct brg_replay_totals now = brg_replay_totals(t->replay);
        if (k < delay) {
            settled = now;
            last_ns = settled.elapsed_ns = round.ended_ns;
            continue;
        }
        const double took_s = (double)(now.elapsed_ns - last_ns) * 1e-9;
        last_ns = now.elapsed_ns;
        sum_s += took_s;
        square_s += took_s * took_s;
    }
    const struct brg_replay_totals all = brg_replay_totals(t->replay);
    const double step_s = sum_s / rounds, scatter = square_s / rounds - step_s * step_s;
    sums->step_s += step_s;
    if (t->config.steps_left > 0) sums->step_s += step_s * delay / (double)t->config.steps_left;
    sums->cost_s += (double)(all.busy_ns - settled.busy_ns) * 1e-9 / rounds;
    sums->scatter += scatter > 0.0 ? scatter : 0.0;
    sums->waited += (double)(all.waited - settled.waited) / rounds;

    struct brg_tuner_row *row = &t->rows[index];
    const double deals = ++row->deals;
    row->step_ns = (uint64_t)(sums->step_s / deals * 1e9);
    row->cost_ns = (uint64_t)(sums->cost_s / deals * 1e9);
    row->spread_ns = (uint64_t)(sqrt(sums->scatter / deals) * 1e9);
    row->waited_ppm = (uint32_t)(sums->waited / deals * 1e6);
}

static uint64_t score(const struct brg_tuner *t, const struct brg_tuner_row *row) {
    return t->config.minimise == BRG_MINIMISE_COST ? row->cost_ns : row->step_ns;
}

/* The best of the rows with so many deals; of equal scores the faster, then the first. */
static uint32_t best_of(const struct brg_tuner *t, uint32_t deals) {
    uint32_t best = t->count;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct brg_tuner_row *row = &t->rows[i];
        if (row->deals < deals) continue;
        if (best == t->count || score(t, row) < score(t, &t->rows[best]) ||
            (score(t, row) == score(t, &t->rows[best]) && row->step_ns < t->rows[best].step_ns)) {
            best = i;
        }
    }
    return best;
}

/* What was really run corrects its replay. */
static void correct(struct brg_tuner *t) {
    for (uint32_t k = 0; k < t->config.tried_count; k++) {
        const struct brg_tuner_tried *tried = &t->config.tried[k];
        for (uint32_t i = 0; i < t->count; i++) {
            struct brg_tuner_row *row = &t->rows[i];
            if (row->deals == 0 || memcmp(&row->spec, &tried->spec, sizeof row->spec) != 0)
                continue;
            const double worth = (double)tried->rounds / (tried->rounds + BRG_TUNER_REPLAY_WORTH);
            const double step = (double)tried->step_ns - (double)row->step_ns;
            const double cost = (double)tried->cost_ns - (double)row->cost_ns;
            row->step_ns = (uint64_t)((double)row->step_ns + worth * step);
            row->cost_ns = (uint64_t)((double)row->cost_ns + worth * cost);
            row->measured = tried->rounds;
        }
    }
}

/* The code in force stays unless another one is better by keep_ppm. */
static void choose(struct brg_tuner *t) {
    correct(t);
    t->choice = best_of(t, BRG_TUNER_DEALS);
    BRG_ASSERT(t->choice < t->count);
    if (t->current == t->count) return;
    const double best = (double)score(t, &t->rows[t->choice]);
    const double now = (double)score(t, &t->rows[t->current]);
    if (now <= best * (1.0 + 1e-6 * t->config.keep_ppm)) t->choice = t->current;
}

int brg_tuner_step(struct brg_tuner *t) {
    if (t->count == 0 || t->pass == 2) return 0;
    const uint32_t index = t->next++;
    if (t->pass == 0) {
        replay_deal(t, index, 0);
    } else if (index == t->current || score(t, &t->rows[index]) <= t->drop_above) {
        for (uint32_t deal = 1; deal < BRG_TUNER_DEALS; deal++) replay_deal(t, index, deal);
    }
    if (t->next < t->count) return 1;
    t->next = 0;
    t->pass++;
    if (t->pass == 1) {
        const uint64_t best = score(t, &t->rows[best_of(t, 1)]);
        t->drop_above = best + best / 1000000 * KEEP_PPM;
        return 1;
    }
    choose(t);
    return 0;
}

const struct brg_tuner_row *brg_tuner_rows(const struct brg_tuner *t, uint32_t *count) {
    *count = t->count;
    return t->rows;
}

uint32_t brg_tuner_choice(const struct brg_tuner *t) {
    BRG_ASSERT(t->pass == 2);
    return t->choice;
}

const struct brg_profile_summary *brg_tuner_summary(const struct brg_tuner *t) {
    return &t->summary;
}

int brg_tuner_outside(const struct brg_tuner_row *row, uint64_t mean_ns, uint32_t rounds) {
    if (rounds == 0) return 0;
    const double off = fabs((double)mean_ns - (double)row->step_ns);
    const double error = OUTSIDE_ERRORS * (double)row->spread_ns / sqrt(rounds);
    return off > 0.1 * (double)row->step_ns && off > error;
}
