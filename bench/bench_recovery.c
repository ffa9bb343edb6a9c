/* bench_recovery.c - what losing whole stages costs, for every way to bring one back.
 *
 *   bench_recovery [--json] [--quick] [--corpus PATH] [--seeds N] [--first-seed N] [--steps N]
 *                  [--stages all|interior] [--rate 5|10|16] [--only NAME] [--learning-rate X]
 *
 * Trains a LLaMA of 6 stages for real (model/line.h) once per strategy, rate and seed, with the
 * same data and the same losses for all; a stage is lost at the start of a step. What training
 * cannot tell is added as modelled time, with the seconds, sizes and link speed of Blagoev et al.,
 * "All is Not Lost: LLM Recovery without Checkpoints", 2025, sec. 5, for a model of 500 M:
 *
 *   hours = sum over steps of (step + streams) + sum over losses of (restart + downloads)
 *
 * Nothing overlaps: every byte that a strategy moves is charged as if the run stood still for it.
 *
 * extra_loss      mean over the steps of (training loss - the no-failure run's on the same batch)
 * steps_to_target steps until the loss is the one that the no-failure run has at 1/2 .. 7/10 of
 *                 its steps, mean of 11 targets; null: one of them was not reached
 * vs_none         hours to the same targets over those of the no-failure run
 * jump            rise of the held-out loss by a recovery, mean of the losses
 *
 * control         nothing is lost, but a stage is rounded to bfloat16 at each loss: how far runs
 *                 drift apart that differ by next to nothing. Less than that is noise.
 * ladder          the default ladder without replicas: shadow10-int8, neighbours where that fails
 *
 * Strategies that change nothing but time (replica, redundant) and those that replay the run
 * (rollback) are computed from the no-failure run's curve, which they repeat to the bit. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "bench/bench_recovery/bench_recovery.h"

static double rates[RATES] = {0, 0.05, 0.10, 0.16}; /* per stage and hour */

static const struct strategy strategies[] = {
    {.name = "none", .kind = NONE},
    {.name = "control", .kind = CONTROL},
    {.name = "replica", .kind = REPLICA},
    {.name = "shadow10", .kind = SHADOW, .every = 10},
    {.name = "shadow10-moments", .kind = SHADOW, .every = 10, .moments = 1},
    {.name = "shadow10-int8", .alias = "ladder", .kind = SHADOW, .every = 10, .packed = 1},
    {.name = "shadow50", .kind = SHADOW, .every = 50},
    {.name = "shadow50-moments", .kind = SHADOW, .every = 50, .moments = 1},
    {.name = "parity50", .kind = PARITY, .every = 50, .moments = 1},
    {.name = "checkfree-0", .kind = MIX, .exponent = 0},
    {.name = "checkfree-1", .kind = MIX, .exponent = 1},
    {.name = "checkfree-2", .kind = MIX, .exponent = 2},
    {.name = "checkfree-plus", .kind = MIX, .exponent = 2, .plus = 1},
    {.name = "mix-distil", .kind = MIX, .exponent = 0, .distil = 1},
    {.name = "probe", .kind = PROBE},
    {.name = "copy", .kind = COPY},
    {.name = "random", .kind = RANDOM},
    {.name = "rollback10", .kind = ROLLBACK, .every = 10},
    {.name = "rollback25", .kind = ROLLBACK, .every = 25},
    {.name = "rollback50", .kind = ROLLBACK, .every = 50},
    {.name = "rollback100", .kind = ROLLBACK, .every = 100},
    {.name = "rollback-young", .kind = ROLLBACK},
    {.name = "redundant", .kind = REDUNDANT},
};
#define STRATEGIES (sizeof strategies / sizeof *strategies)

_Noreturn void bench_fail(const char *sentence) {
    fprintf(stderr, "bench_recovery: %s\n", sentence);
    exit(2);
}

void *bench_alloc(size_t size_bytes) {
    void *p = aligned_alloc(BRG_MODEL_ALIGN, (size_bytes / BRG_MODEL_ALIGN + 1) * BRG_MODEL_ALIGN);
    if (p == NULL) bench_fail("no memory; close other programs, or give --steps a smaller number");
    memset(p, 0, size_bytes);
    return p;
}

static void print_row(const struct bench *b, const char *name, const struct strategy *how,
                      const struct figures *f) {
    if (!b->set.json) return;
    printf("{\"strategy\":\"%s\",\"stages\":\"%s\",\"rate\":%.2f,\"seed\":%llu,\"losses\":%u,"
           "\"fallen\":%u,\"extra_loss\":%.4f,",
           name, b->set.interior ? "interior" : "all", b->rate, (unsigned long long)b->seed,
           f->losses, f->fallen, f->extra_loss);
    if (f->reached)
        printf("\"steps_to_target\":%.1f,\"hours_to_target\":%.3f,\"vs_none\":%.4f,", f->steps,
               f->hours, f->vs_none);
    else
        printf("\"steps_to_target\":null,\"hours_to_target\":null,\"vs_none\":null,");
    if (how->kind == ROLLBACK)
        printf("\"held_out\":null,\"jump\":null,\"stale\":null}\n");
    else
        printf("\"held_out\":%.4f,\"jump\":%.4f,\"stale\":%.1f}\n", f->held_out, f->jump, f->stale);
    (void)fflush(stdout);
}

/* Losses of every stage and step; the same draws for all rates, so that a higher rate has the
 * losses of a lower one and some more. */
static void draw_losses(struct bench *b) {
    const double p = 1 - pow(1 - b->rate, STEP_S / 3600);
    for (uint32_t t = 0; t < b->set.steps * BEHIND_MAX; t++) {
        b->lost[t] = b->lost_memory[t];
        for (uint32_t i = 0; i < S; i++) {
            struct brg_prng g = {.state = brg_prng_mix(b->seed, t, i, 77)};
            const int may = t >= b->set.warm && (!b->set.interior || (i > 0 && i + 1 < S));
            b->lost[t][i] = may && brg_prng_unit(&g) < p;
        }
    }
}

static void run(struct bench *b, const struct strategy *how) {
    memset(&b->now, 0, sizeof b->now);
    switch (how->kind) {
    case REPLICA:
    case REDUNDANT: bench_run_exact(b, how); break;
    case ROLLBACK: bench_run_rollback(b, how); break;
    default: bench_run_for_real(b, how); break;
    }
}

static void open_corpus(struct bench *b) {
    struct brg_data_spec spec = {.format = BRG_DATA_TEXT, .held_out = 0.05};
    const struct brg_batch_spec batch = {
        .samples = BATCH, .chunks = MICROBATCHES, .microbatch = MICROBATCH};
    struct brg_data_error error;
    if (strlen(b->set.corpus) >= sizeof spec.train)
        bench_fail("the path of the corpus is too long");
    memcpy(spec.train, b->set.corpus, strlen(b->set.corpus) + 1);
    if (brg_data_open(&spec, &b->data, &error) != BRG_OK ||
        brg_sampler_init(&b->sampler, &b->data, &b->model, &batch, b->seed, &error) != BRG_OK)
        bench_fail(error.text);
    if (b->sampler.held_samples < MICROBATCH)
        bench_fail("the corpus is too short to hold anything out: give a text of 10 kB or more");
}

/* --- the whole --- */

struct table {
    struct figures at[STRATEGIES][RATES][SEEDS_MAX];
    uint32_t done[STRATEGIES][RATES];
};

static void print_table(const struct bench *b, const struct table *t) {
    if (b->set.json) return;
    printf(
        "losses of %s stages; extra loss (deviation over seeds), hours over those without loss\n",
        b->set.interior ? "interior" : "all");
    printf("%-18s", "strategy");
    for (uint32_t k = 0; k < RATES; k++) printf("   %14.0f %% an hour", 100 * rates[k]);
    printf("\n");
    for (uint32_t i = 0; i < STRATEGIES; i++) {
        printf("%-18s", strategies[i].name);
        for (uint32_t k = 0; k < RATES; k++) {
            const uint32_t n = t->done[i][k];
            double sum = 0, square = 0, hours = 0;
            int reached = n > 0;
            for (uint32_t s = 0; s < n; s++) {
                const struct figures *f = &t->at[i][k][s];
                sum += f->extra_loss / n;
                square += f->extra_loss * f->extra_loss / n;
                hours += f->vs_none / n;
                reached &= f->reached == 1;
            }
            const double deviation = square > sum * sum ? sqrt(square - sum * sum) : 0;
            if (n == 0)
                printf("%25s", "");
            else if (reached)
                printf("  %+7.4f (%.4f) %6.3f", sum, deviation, hours);
            else
                printf("  %+7.4f (%.4f)      -", sum, deviation);
        }
        printf("\n");
    }
}

static int wanted(const struct bench *b, const struct strategy *how, uint32_t k) {
    if (b->set.only != NULL && strstr(how->name, b->set.only) == NULL) return 0;
    if (b->set.percent != 0 && k > 0 && fabs(100 * rates[k] - b->set.percent) > 0.5) return 0;
    if (k == 0) return how->kind == NONE || how->plus; /* the others do nothing without losses */
    return how->kind != NONE;
}

static void run_seed(struct bench *b, struct table *table) {
    b->rate = 0;
    open_corpus(b);
    brg_model_init(&b->model, b->seed + 1000, b->fresh);
    draw_losses(b);
    run(b, &strategies[0]);
    b->none = b->now;
    bench_smooth(b);
    for (uint32_t k = 0; k < RATES; k++) {
        b->rate = rates[k];
        draw_losses(b);
        for (uint32_t i = 0; i < STRATEGIES; i++) {
            const struct strategy *how = &strategies[i];
            if (!wanted(b, how, k)) continue;
            if (how->kind != NONE) run(b, how);
            const struct figures f = bench_figures_of(b, how);
            table->at[i][k][table->done[i][k]++] = f;
            print_row(b, how->name, how, &f);
            if (how->alias != NULL) print_row(b, how->alias, how, &f);
        }
    }
    brg_data_close(&b->data);
}

static int whole_number(const char *text, uint32_t most, uint32_t *out) {
    char *end = NULL;
    errno = 0;
    const unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value == 0 || value > most) return BRG_EINVAL;
    *out = (uint32_t)value;
    return BRG_OK;
}

static int read_arguments(int argc, char **argv, struct settings *set) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        int rc = BRG_OK;
        if (strcmp(argv[i], "--json") == 0) {
            set->json = 1;
            continue;
        }
        if (strcmp(argv[i], "--quick") == 0) {
            set->quick = 1;
            set->percent = 90;
            set->seeds = 1;
            set->steps = 30;
            set->warm = 12;
            continue;
        }
        if (strcmp(argv[i], "--seeds") == 0)
            rc = whole_number(value, SEEDS_MAX, &set->seeds);
        else if (strcmp(argv[i], "--first-seed") == 0)
            rc = whole_number(value, UINT32_MAX / 2, &set->first_seed);
        else if (strcmp(argv[i], "--steps") == 0)
            rc = whole_number(value, STEPS_MAX, &set->steps);
        else if (strcmp(argv[i], "--rate") == 0)
            rc = whole_number(value, 16, &set->percent);
        else if (strcmp(argv[i], "--corpus") == 0)
            set->corpus = value;
        else if (strcmp(argv[i], "--only") == 0)
            set->only = value;
        else if (strcmp(argv[i], "--stages") == 0)
            set->interior = strcmp(value, "interior") == 0;
        else if (strcmp(argv[i], "--learning-rate") == 0)
            set->lr = strtof(value, NULL);
        else
            rc = BRG_EINVAL;
        if (rc != BRG_OK || *value == '\0') return BRG_EINVAL;
        i++;
    }
    const uint32_t p = set->percent;
    if (p != 0 && p != 5 && p != 10 && p != 16 && !set->quick) return BRG_EINVAL;
    return set->steps >= 30 && set->lr > 0 && set->lr <= 1 ? BRG_OK : BRG_EINVAL;
}

int main(int argc, char **argv) {
    static struct bench b = {.set = {.seeds = 3,
                                     .first_seed = 1,
                                     .steps = 500,
                                     .warm = 60,
                                     .lr = 2e-3f,
                                     .corpus = "build/data/kjv.txt"},
                             .model = {.type = BRG_MODEL_LLAMA,
                                       .dim = DIM,
                                       .layers = S,
                                       .heads = 4,
                                       .kv_heads = 4,
                                       .hidden = 128,
                                       .context = CONTEXT,
                                       .vocab = 256,
                                       .rope_theta = 10000.0f,
                                       .norm_eps = 1e-5f},
                             .optimizer = {.type = BRG_OPTIMIZER_ADAMW,
                                           .schedule = BRG_SCHEDULE_CONSTANT,
                                           .warmup_steps = 30,
                                           .beta1 = 0.9f,
                                           .beta2 = 0.999f,
                                           .eps = 1e-8f,
                                           .clip = 1.0f}};
    static struct table table;
    if (read_arguments(argc, argv, &b.set) != BRG_OK)
        bench_fail(
            "wrong arguments; the head of bench/bench_recovery.c lists them, --steps is 30 .. "
            "4000");
    if (b.set.quick) rates[RATES - 1] = 0.9; /* so that few steps see losses, too */
    b.optimizer.lr = b.set.lr;
    b.param_count = brg_model_param_count(&b.model);
    b.fresh = bench_alloc(b.param_count * sizeof(float));
    b.shadow = bench_alloc(3 * b.param_count * sizeof(float));
    /* No stage has more than a third of the parameters: embedding or head, and a layer. */
    b.snapshot = bench_alloc(2 * PARITY_PARTS * b.param_count * sizeof(float));
    for (uint32_t i = 0; i < b.set.seeds; i++) {
        b.seed = b.set.first_seed + i;
        run_seed(&b, &table);
    }
    print_table(&b, &table);
    free(b.fresh);
    free(b.shadow);
    free(b.snapshot);
    return 0;
}
