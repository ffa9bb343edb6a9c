/* bench_round_policies.c - every code with every policy on the same delays, in virtual time, and
 * what the tuner makes of them.
 *
 *   bench_round_policies [--json] [--seeds N] [--first-seed N] [--steps N] [--workers N]
 *                        [--profile WORD] [--vector-ms X] [--late-start] [--no-auto] [--decisions]
 *
 * Profiles: 256 workers alike or not (`same`, `mixed`: the probability of becoming slow is gamma
 * distributed, shape 0.45), straggling that adds time or slows the processor (`add`, `mul`), and
 * 2.2, 50 or 500 s of compute for the whole batch; brg_profile_ge_default has the rest. Fixed
 * choices are the tuner's whole grid and the published rules; none is fitted to the profile.
 *
 * --vector-ms: a share takes so long over the coordinator's link; --late-start: who is late
 * finishes the minitask in hand before the next round; --decisions: what auto chose and when, to
 * stderr.
 *
 *   seconds         for all steps, mean over seeds; spread: standard deviation over seeds
 *   worker_seconds  paid for: hand-out to answer or cancellation
 *   vs_cyclic_paper seconds against the best of `cyclic` with policy `paper` on this profile
 *   vs_best         seconds against the best fixed choice of this profile */
#include <math.h>
#include <string.h>

#include "coding/replay_auto.h"

#define ENTRIES_MAX 320u
#define SEEDS_MAX 32u
#define PROFILES 12u
#define STEPS_MAX 4096u

enum family { PUBLISHED = 1, GRID = 2, AUTO = 3 };

struct entry {
    struct brg_code_spec spec;
    struct brg_replay_options options;
    enum family family;
    const char *note; /* what sets it apart from the grid's way */
};

struct figure {
    double seconds, worker_seconds, spread, waited;
};

struct settings {
    uint32_t seeds, steps, n, json, decisions, with_auto, late, first_seed;
    uint64_t vector_ns;
    const char *profile;
};

struct bench {
    struct settings set;
    uint32_t count;
    struct entry entries[ENTRIES_MAX];
    struct figure figures[PROFILES][ENTRIES_MAX + 2]; /* behind `count`: auto, auto for cost */
    char choice[PROFILES][2][BRG_TUNER_TEXT_BYTES];   /* auto's last, first seed */
    char names[PROFILES][32];
    uint32_t profiles;
    struct brg_profile profile[SEEDS_MAX];
    struct brg_replay *replay;
    size_t replay_bytes, auto_bytes;
    struct brg_auto *tuned;
};

static void *must_alloc(size_t bytes) {
    void *p = malloc(bytes);
    if (p == NULL) {
        fprintf(stderr, "bench_round_policies: out of memory\n");
        exit(1);
    }
    return p;
}

static struct brg_profile_ge setting_of(uint32_t index, uint64_t seed, char *name) {
    static const double alphas[] = {2.2, 50.0, 500.0};
    struct brg_profile_ge ge = brg_profile_ge_default();
    const uint32_t mixed = index / 6, multiply = index / 3 % 2;
    ge.alpha_s = alphas[index % 3];
    ge.multiply = multiply;
    ge.shape = mixed ? 0.45 : 0.0;
    ge.seed = seed;
    (void)snprintf(name, 32, "%s-%s-%g", mixed ? "mixed" : "same", multiply ? "mul" : "add",
                   ge.alpha_s);
    return ge;
}

static void add(struct bench *b, struct brg_code_spec spec, enum family family, const char *note,
                struct brg_replay_options options) {
    BRG_ASSERT(b->count < ENTRIES_MAX);
    spec.n = b->set.n;
    spec.seed = 1;
    if (brg_scheme_check(&spec, NULL) != BRG_OK) return;
    options.vector_ns = b->set.vector_ns;
    options.models = 4;
    if (options.late == 0) options.late = b->set.late;
    b->entries[b->count++] =
        (struct entry){.spec = spec, .options = options, .family = family, .note = note};
}

/* As published: answers all or nothing, late workers cancelled, nothing attempted again within a
 * round, and everybody waited for where the pattern does not conform. */
static void add_published(struct bench *b) {
    static const uint32_t gc[] = {1, 2, 3, 5, 7, 9, 10, 11, 13, 15, 19, 23};
    static const uint32_t sr[][3] = {{1, 2, 20}, {1, 2, 22}, {2, 3, 23}, {4, 9, 22}};
    static const uint32_t m[][3] = {{1, 2, 27}, {1, 2, 52}, {2, 3, 36}, {1, 2, 256}};
    const struct brg_replay_options as = {.late = BRG_LATE_CANCELLED, .whole = 1};
    const uint32_t n = b->set.n;
    struct brg_code_spec paper = {
        .policy = BRG_POLICY_PAPER, .mu_ppm = 1000000, .rule = BRG_RULE_MODEL, .chunks = n};

    paper.kind = BRG_CODE_NONE;
    add(b, paper, PUBLISHED, "published", as);
    paper.kind = BRG_CODE_CYCLIC;
    for (uint32_t i = 0; i < sizeof gc / sizeof *gc; i++) {
        paper.s = gc[i];
        add(b, paper, PUBLISHED, "published", as);
    }
    paper.kind = BRG_CODE_SR_SGC;
    paper.s = 0;
    paper.base = BRG_BASE_CYCLIC;
    for (uint32_t i = 0; i < sizeof sr / sizeof *sr; i++) {
        paper.b = sr[i][0], paper.w = sr[i][1], paper.lambda = sr[i][2];
        if (paper.b < 4) add(b, paper, PUBLISHED, "published", as); /* T <= 3 with 4 models */
    }
    paper.kind = BRG_CODE_M_SGC;
    for (uint32_t i = 0; i < sizeof m / sizeof *m; i++) {
        paper.b = m[i][0], paper.w = m[i][1], paper.lambda = m[i][2];
        paper.base = paper.lambda < n ? BRG_BASE_CYCLIC : 0;
        paper.chunks = n * (paper.w - 1);
        if (paper.lambda < n) paper.chunks = n * (paper.b + (paper.w - 1) * (paper.lambda + 1));
        add(b, paper, PUBLISHED, "published", as);
        struct brg_code_spec loose = paper;
        loose.policy = BRG_POLICY_MINWAIT;
        add(b, loose, PUBLISHED, "waits only until it conforms", as);
        loose.rule = BRG_RULE_WEAKEST;
        add(b, loose, PUBLISHED, "weakest rule, all or nothing", as);
    }
}

static void add_grid(struct bench *b) {
    static struct brg_code_spec specs[BRG_TUNER_ROWS_MAX];
    const struct brg_replay_options ours = {.reattempt = 1, .regroup = 1};
    const uint32_t count = brg_tuner_candidates(b->set.n, 4, 0, specs, BRG_TUNER_ROWS_MAX);
    for (uint32_t i = 0; i < count; i++) add(b, specs[i], GRID, "", ours);
    for (uint32_t i = 0; i < count; i++) { /* what second attempts and grouping are worth */
        if (specs[i].kind != BRG_CODE_FRC || specs[i].delay || specs[i].parts > 1) continue;
        add(b, specs[i], PUBLISHED, "no second attempts", (struct brg_replay_options){.late = 0});
    }
}

static struct figure figure_of(const double *seconds, const double *paid, const double *waited,
                               uint32_t count) {
    struct figure f = {0};
    for (uint32_t i = 0; i < count; i++) {
        f.seconds += seconds[i] / count;
        f.worker_seconds += paid[i] / count;
        f.waited += waited[i] / count;
    }
    for (uint32_t i = 0; i < count; i++) {
        f.spread += (seconds[i] - f.seconds) * (seconds[i] - f.seconds) / count;
    }
    f.spread = sqrt(f.spread);
    return f;
}

static void fail(const struct brg_why *why) {
    fprintf(stderr, "bench_round_policies: %s\n", why->text);
    exit(1);
}

static struct figure measure(struct bench *b, const struct entry *e) {
    double seconds[SEEDS_MAX], paid[SEEDS_MAX], waited[SEEDS_MAX];
    struct brg_why why;
    for (uint32_t seed = 0; seed < b->set.seeds; seed++) {
        struct brg_replay_totals t;
        if (brg_replay_run(b->replay, b->replay_bytes, &e->spec, &e->options, &b->profile[seed],
                           b->set.steps, &t, &why) != BRG_OK) {
            fail(&why);
        }
        seconds[seed] = (double)t.elapsed_ns * 1e-9;
        paid[seed] = (double)t.busy_ns * 1e-9;
        waited[seed] = (double)t.waited;
    }
    return figure_of(seconds, paid, waited, b->set.seeds);
}

static struct brg_auto_config auto_config(const struct bench *b, uint32_t minimise) {
    return (struct brg_auto_config){.tuner = {.n = b->set.n,
                                              .models = 4,
                                              .minimise = minimise,
                                              .seed = 7,
                                              .options = {.reattempt = 1,
                                                          .regroup = 1,
                                                          .late = b->set.late,
                                                          .vector_ns = b->set.vector_ns}}};
}

static struct figure measure_auto(struct bench *b, uint32_t profile, uint32_t minimise) {
    double seconds[SEEDS_MAX], paid[SEEDS_MAX], waited[SEEDS_MAX];
    const struct brg_auto_config config = auto_config(b, minimise);
    struct brg_why why;
    for (uint32_t seed = 0; seed < b->set.seeds; seed++) {
        struct brg_auto_result r;
        if (brg_auto_run(b->tuned, b->auto_bytes, &config, &b->profile[seed], b->set.steps, &r,
                         &why) != BRG_OK) {
            fail(&why);
        }
        seconds[seed] = (double)r.totals.elapsed_ns * 1e-9;
        paid[seed] = (double)r.totals.busy_ns * 1e-9;
        waited[seed] = (double)r.totals.waited;
        if (b->set.decisions) {
            for (uint32_t i = 0; i < r.count; i++) {
                char text[BRG_TUNER_TEXT_BYTES];
                fprintf(stderr, "  %s seed %u round %llu: %s, %.3f s a step (had %.3f)\n",
                        b->names[profile], seed, (unsigned long long)r.decisions[i].round,
                        brg_tuner_spec_text(&r.decisions[i].spec, text),
                        (double)r.decisions[i].step_ns * 1e-9,
                        (double)r.decisions[i].before_step_ns * 1e-9);
            }
        }
        if (seed == 0) {
            brg_tuner_spec_text(&r.decisions[r.count - 1].spec,
                                b->choice[profile][minimise - BRG_MINIMISE_TIME]);
        }
    }
    return figure_of(seconds, paid, waited, b->set.seeds);
}

/* The best of a family on a profile, by seconds; `kind` and `policy` 0: any. ENTRIES_MAX: none. */
static uint32_t best_of(const struct bench *b, uint32_t profile, enum family family, uint32_t kind,
                        uint32_t policy) {
    uint32_t best = ENTRIES_MAX;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct entry *e = &b->entries[i];
        if (family != 0 && e->family != family) continue;
        if ((kind != 0 && e->spec.kind != kind) || (policy != 0 && e->spec.policy != policy)) {
            continue;
        }
        if (best == ENTRIES_MAX ||
            b->figures[profile][i].seconds < b->figures[profile][best].seconds) {
            best = i;
        }
    }
    return best;
}

static const char *kind_name(uint32_t kind) {
    static const char *const names[] = {"auto",   "none",  "frc",        "cyclic",
                                        "sr-sgc", "m-sgc", "speculative"};
    return kind < sizeof names / sizeof *names ? names[kind] : "?";
}

static void print_row(const struct bench *b, uint32_t profile, uint32_t i, double paper,
                      double best) {
    static const char *const policies[] = {"auto", "early", "minwait", "paper"};
    const struct figure *f = &b->figures[profile][i];
    const struct entry none = {.note =
                                   i == b->count ? "probe included" : "for cost, probe included"};
    const struct entry *e = i < b->count ? &b->entries[i] : &none;
    char text[BRG_TUNER_TEXT_BYTES];
    if (i < b->count) {
        brg_tuner_spec_text(&e->spec, text);
    } else {
        (void)snprintf(text, sizeof text, "%s", b->choice[profile][i - b->count]);
    }
    if (b->set.json) {
        printf("{\"profile\":\"%s\",\"scheme\":\"%s\",\"params\":\"%s\",\"policy\":\"%s\","
               "\"note\":\"%s\",\"seconds\":%.2f,\"worker_seconds\":%.0f,\"spread\":%.2f,"
               "\"vs_cyclic_paper\":%.4f,\"vs_best\":%.4f,\"waited\":%.1f,\"n\":%u,\"steps\":%u,"
               "\"seeds\":%u}\n",
               b->names[profile], kind_name(e->spec.kind), text, policies[e->spec.policy], e->note,
               f->seconds, f->worker_seconds, f->spread, f->seconds / paper - 1.0,
               f->seconds / best - 1.0, f->waited, b->set.n, b->set.steps, b->set.seeds);
        return;
    }
    printf("%-15s %-11s %-46s %9.1f %6.1f %10.0f %+7.1f %% %+7.1f %% %6.0f %s\n", b->names[profile],
           kind_name(e->spec.kind), text, f->seconds, f->spread, f->worker_seconds,
           100.0 * (f->seconds / paper - 1.0), 100.0 * (f->seconds / best - 1.0), f->waited,
           e->note);
}

static void print_profile(const struct bench *b, uint32_t profile) {
    const struct figure *f = b->figures[profile];
    const double paper =
        f[best_of(b, profile, PUBLISHED, BRG_CODE_CYCLIC, BRG_POLICY_PAPER)].seconds;
    const double best = f[best_of(b, profile, 0, 0, 0)].seconds;
    if (b->set.json) {
        for (uint32_t i = 0; i < b->count; i++) print_row(b, profile, i, paper, best);
    } else {
        for (uint32_t kind = BRG_CODE_NONE; kind <= BRG_CODE_SPECULATIVE; kind++) {
            for (enum family family = PUBLISHED; family <= GRID; family++) {
                for (uint32_t policy = BRG_POLICY_EARLY; policy <= BRG_POLICY_PAPER; policy++) {
                    const uint32_t i = best_of(b, profile, family, kind, policy);
                    if (i < ENTRIES_MAX) print_row(b, profile, i, paper, best);
                }
            }
        }
    }
    for (uint32_t k = 0; k < 2 && b->set.with_auto; k++) {
        print_row(b, profile, b->count + k, paper, best);
    }
    if (!b->set.json) printf("\n");
    (void)fflush(stdout);
}

/* Over all profiles: the mean of seconds against the best fixed choice of each. */
static double overall(const struct bench *b, uint32_t i) {
    double sum = 0.0;
    for (uint32_t p = 0; p < b->profiles; p++) {
        sum += b->figures[p][i].seconds / b->figures[p][best_of(b, p, 0, 0, 0)].seconds;
    }
    return sum / b->profiles;
}

static void print_overall(const struct bench *b) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < b->count; i++) best = overall(b, i) < overall(b, best) ? i : best;
    char text[BRG_TUNER_TEXT_BYTES];
    brg_tuner_spec_text(&b->entries[best].spec, text);
    double worst = 0.0;
    for (uint32_t p = 0; p < b->profiles && b->set.with_auto; p++) {
        const double off =
            b->figures[p][b->count].seconds / b->figures[p][best_of(b, p, 0, 0, 0)].seconds - 1.0;
        if (p == 0 || off > worst) worst = off;
    }
    const double tuned = b->set.with_auto ? overall(b, b->count) : NAN;
    if (b->set.json) {
        printf("{\"profile\":\"all\",\"best_fixed\":\"%s\",\"best_fixed_vs_best\":%.4f", text,
               overall(b, best) - 1.0);
        if (b->set.with_auto) {
            printf(",\"auto_vs_best\":%.4f,\"auto_vs_best_worst\":%.4f", tuned - 1.0, worst);
        }
        printf("}\n");
        return;
    }
    printf("all profiles, mean of seconds against the best fixed choice of each:\n"
           "    best single fixed choice %s: %+.1f %%\n",
           text, 100.0 * (overall(b, best) - 1.0));
    if (b->set.with_auto) {
        printf("    auto: %+.1f %%, on its worst profile %+.1f %%\n", 100.0 * (tuned - 1.0),
               100.0 * worst);
    }
}

static void run(struct bench *b) {
    const uint32_t rounds = b->set.steps + 64;
    for (uint32_t seed = 0; seed < b->set.seeds; seed++) {
        b->profile[seed].cells =
            must_alloc((size_t)rounds * b->set.n * sizeof *b->profile[seed].cells);
    }
    for (uint32_t index = 0; index < PROFILES; index++) {
        char name[32];
        (void)setting_of(index, 0, name);
        if (b->set.profile != NULL && strstr(name, b->set.profile) == NULL) continue;
        const uint32_t p = b->profiles++;
        for (uint32_t seed = 0; seed < b->set.seeds; seed++) {
            struct brg_profile_ge ge = setting_of(index, b->set.first_seed + seed, b->names[p]);
            struct brg_why why;
            if (brg_profile_make(&ge, b->set.n, rounds, b->profile[seed].cells, &b->profile[seed],
                                 &why) != BRG_OK) {
                fail(&why);
            }
        }
        for (uint32_t i = 0; i < b->count; i++) b->figures[p][i] = measure(b, &b->entries[i]);
        if (b->set.with_auto) {
            b->figures[p][b->count] = measure_auto(b, p, BRG_MINIMISE_TIME);
            b->figures[p][b->count + 1] = measure_auto(b, p, BRG_MINIMISE_COST);
        }
        print_profile(b, p);
    }
    if (b->profiles > 0) print_overall(b);
    for (uint32_t seed = 0; seed < b->set.seeds; seed++) free(b->profile[seed].cells);
}

static int parse(int argc, char **argv, struct settings *set) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end = NULL;
        const double number = strtod(value, &end);
        const int whole = end != value && *end == '\0' && number >= 1.0 && number <= STEPS_MAX;
        if (strcmp(argv[i], "--json") == 0) {
            set->json = 1;
            continue;
        }
        if (strcmp(argv[i], "--decisions") == 0) {
            set->decisions = 1;
            continue;
        }
        if (strcmp(argv[i], "--late-start") == 0) {
            set->late = BRG_LATE_STARTS;
            continue;
        }
        if (strcmp(argv[i], "--no-auto") == 0) {
            set->with_auto = 0;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--seeds") == 0 && whole && number <= SEEDS_MAX) {
            set->seeds = (uint32_t)number;
        } else if (strcmp(argv[i - 1], "--first-seed") == 0 && number >= 0.0 && number < 1e9) {
            set->first_seed = (uint32_t)number;
        } else if (strcmp(argv[i - 1], "--steps") == 0 && whole) {
            set->steps = (uint32_t)number;
        } else if (strcmp(argv[i - 1], "--workers") == 0 && whole && number <= 256) {
            set->n = (uint32_t)number;
        } else if (strcmp(argv[i - 1], "--vector-ms") == 0 && *end == '\0' && number >= 0.0) {
            set->vector_ns = (uint64_t)(number * 1e6);
        } else if (strcmp(argv[i - 1], "--profile") == 0 && *value != '\0') {
            set->profile = value;
        } else {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    static struct bench b;
    b.set =
        (struct settings){.seeds = 10, .steps = 480, .n = 256, .with_auto = 1, .first_seed = 1000};
    if (parse(argc, argv, &b.set) != 0) {
        fprintf(
            stderr,
            "usage: bench_round_policies [--json] [--seeds N, to 32] [--first-seed N] [--steps N] "
            "[--workers N, to 256] [--profile WORD] [--vector-ms X] [--late-start] "
            "[--no-auto] [--decisions]\n");
        return 2;
    }
    add_published(&b);
    add_grid(&b);
    for (uint32_t i = 0; i < b.count; i++) {
        const size_t bytes = brg_replay_size_bytes(&b.entries[i].spec);
        if (bytes > b.replay_bytes) b.replay_bytes = bytes;
    }
    const struct brg_auto_config config = auto_config(&b, BRG_MINIMISE_TIME);
    b.auto_bytes = brg_auto_size_bytes(&config);
    b.replay = must_alloc(b.replay_bytes);
    b.tuned = must_alloc(b.auto_bytes);
    run(&b);
    free(b.replay);
    free(b.tuned);
    return 0;
}
