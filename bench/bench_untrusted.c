/* bench_untrusted.c - workers that lie: what Berrut and DCT coding see of them, and what it costs.
 *
 *   bench_untrusted [--json] [--trials N] [--only TABLE]
 *
 *   decode      error of decoding when all are honest and there: layouts, encoders, decoders
 *   stragglers  the same with results missing, and what the estimate says against the truth
 *   locators    share of rounds in which exactly the liars are named, their number known
 *   liars       the whole verdict: located, innocents accused, error before and after correction
 *   capacity    share located against the number of liars, independent and colluding
 *   floors      the smallest lie of one worker that is found and located in 95 % of rounds
 *   damage      the most that lies under the threshold can do to the decoded blocks
 *   sparse      lies in a few coordinates of many: the test on all against the test a block
 *   time        location of a group of 64 results of 1e6 floats against one reading of them
 *
 * Results travel as float32. Numbers are drawn from fixed seeds: two runs give the same figures,
 * but for time. Errors are rms over all blocks, relative; medians over the trials. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "coding/dct_locate.h"
#include "coding/dct_parity.h"
#include "coding/dct_pgz.h"
#include "tests/unit/coding/smooth.h"

#define TRIALS_MAX 1000u
#define GROUPS 20u /* of a calibration */
#define EVERYBODY(n) ((n) == 64 ? UINT64_MAX : (UINT64_C(1) << (n)) - 1)

static struct {
    int json;
    uint32_t trials, columns;
} options;

/* ---- output: one row at a time, names and values, as JSON or as a line of name=value ---- */

static void row_begin(const char *table) {
    options.columns = 0;
    if (options.json)
        printf("{\"table\":\"%s\"", table);
    else
        printf("%-10s", table);
}

static void row_text(const char *name, const char *value) {
    if (options.json)
        printf(",\"%s\":\"%s\"", name, value);
    else
        printf(" %s=%s", name, value);
}

static void row_number(const char *name, double value) {
    const int known = isfinite(value);
    if (options.json && !known)
        printf(",\"%s\":null", name);
    else if (options.json)
        printf(",\"%s\":%.4g", name, value);
    else
        printf(" %s=%.3g", name, value);
}

static void row_end(void) {
    puts(options.json ? "}" : "");
    (void)fflush(stdout);
}

/* ---- a function, a code, and a detector that has seen honest groups of it ---- */

struct lab {
    struct smooth f;
    struct brg_berrut_spec code;
    double rows[SMOOTH_NODES * SMOOTH_BLOCKS];
    struct brg_prng g;
    struct smooth_group group;
    struct brg_dct_calibration *cal;
    struct brg_dct_work *work;
    struct brg_dct_set set;
    struct brg_berrut_decode decode;
    double memory[2 * BRG_DCT_SQUARE];
    double honest; /* largest r_0 of a calibration group: the absolute threshold's base */
};
static struct lab lab; /* one at a time; megabytes */

static void must(int rc) {
    BRG_ASSERT(rc == BRG_OK);
}

static void *allocate(size_t bytes) {
    void *p = malloc(bytes);
    BRG_ASSERT(p != NULL);
    return p;
}

static void open_code(uint32_t kind, struct brg_berrut_spec code, uint64_t seed) {
    smooth_init(&lab.f, kind);
    lab.code = code;
    lab.g = (struct brg_prng){seed};
    must(brg_berrut_check(&code, NULL));
    brg_berrut_encode(&code, lab.rows);
}

static void run_group(void) {
    smooth_run(&lab.f, &lab.code, lab.rows, &lab.g, &lab.group);
}

/* Inner products of the results that sent, normalised; what of them is not in `nodes` stays out. */
static void gram_of(uint64_t nodes, double *gram) {
    const float *y[SMOOTH_NODES];
    uint32_t n = 0;
    double energy;
    uint64_t broken;
    for (uint32_t i = 0; i < lab.code.nodes; i++) {
        if ((nodes >> i & 1) != 0) y[n++] = lab.group.y[i];
    }
    memset(gram, 0, (size_t)n * n * sizeof *gram);
    brg_dct_gram(n, y, (struct brg_dct_span){0, lab.f.out}, gram);
    must(brg_dct_normalise(n, gram, &energy, &broken));
}

static void calibrate(uint32_t levels, uint32_t groups) {
    const struct brg_dct_spec spec = {lab.code.nodes, lab.code.blocks, levels, groups,
                                      BRG_DCT_PRECISION_F32};
    double x[BRG_BERRUT_NODES_MAX];
    static double gram[BRG_DCT_SQUARE];
    free(lab.cal);
    free(lab.work);
    lab.cal = allocate(brg_dct_calibration_bytes(&spec));
    lab.work = allocate(brg_dct_work_bytes(levels));
    brg_dct_work_init(lab.work, brg_dct_work_bytes(levels), levels);
    brg_berrut_nodes(&lab.code, x);
    must(brg_dct_check(&spec, NULL));
    brg_dct_calibration_init(lab.cal, brg_dct_calibration_bytes(&spec), &spec, x);
    for (uint32_t k = 0; k < groups; k++) {
        run_group();
        gram_of(EVERYBODY(spec.nodes), gram);
        brg_dct_calibration_add(lab.cal, gram);
    }
    must(brg_dct_calibration_finish(lab.cal, lab.work));
    must(brg_dct_set_build(&lab.set, lab.cal, EVERYBODY(spec.nodes), lab.work));
    lab.honest = 0.0;
    for (uint32_t k = 0; k < groups; k++) {
        double trace = 0.0;
        const double *group = lab.cal->ring + (size_t)k * spec.nodes * spec.nodes;
        for (uint32_t i = 0; i < spec.nodes * spec.nodes; i++) trace += lab.set.a[i] * group[i];
        lab.honest = fmax(lab.honest, trace / lab.set.parity);
    }
}

/* Relative error of decoding from `have`; the estimate beside it, unless NULL. */
static double decode_error(uint32_t decoder, uint64_t have, double *estimate) {
    struct brg_berrut_spec spec = lab.code;
    uint8_t present[BRG_BERRUT_NODES_MAX] = {0};
    static double gram[BRG_DCT_SQUARE];
    double wrong = 0.0, whole = 0.0, block[BRG_BERRUT_BLOCKS_MAX];
    spec.decoder = decoder;
    for (uint32_t i = 0; i < spec.nodes; i++) present[i] = (uint8_t)(have >> i & 1);
    must(brg_berrut_decode_init(&lab.decode, &spec, present, lab.memory));
    for (uint32_t j = 0; j < spec.blocks; j++) {
        const double *weights = lab.decode.weights + (size_t)j * lab.decode.count;
        for (uint32_t e = 0; e < lab.f.out; e++) {
            const double truth = lab.group.truth[(size_t)j * lab.f.out + e];
            double value = 0.0;
            for (uint32_t r = 0; r < lab.decode.count; r++) {
                value += weights[r] * (double)lab.group.y[lab.decode.node[r]][e];
            }
            wrong += (value - truth) * (value - truth);
            whole += truth * truth;
        }
    }
    if (estimate != NULL) {
        gram_of(have, gram);
        *estimate = brg_berrut_estimate(&lab.decode, gram, block);
    }
    return sqrt(wrong / whole);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *x, uint32_t count, double q) {
    qsort(x, count, sizeof *x, by_size);
    const uint32_t at = (uint32_t)(q * (count - 1) + 0.5);
    return x[at];
}

static double median(double *x, uint32_t count) {
    return quantile(x, count, 0.5);
}

static void name_case(const char *table) {
    row_begin(table);
    row_text("f", smooth_names[lab.f.kind]);
    row_text("encoder", lab.code.encoder == BRG_BERRUT_RATIONAL ? "berrut" : "poly");
    row_number("k", lab.code.blocks);
    row_number("n", lab.code.nodes);
}

static struct brg_berrut_spec code_of(uint32_t k, uint32_t n, uint32_t encoder) {
    return (struct brg_berrut_spec){k, n, BRG_BERRUT_FIRST_KIND, encoder, BRG_BERRUT_AUTO};
}

/* ---- decode and stragglers ---- */

static double typical_error(uint32_t kind, struct brg_berrut_spec code, uint32_t decoder) {
    double error[TRIALS_MAX];
    const uint32_t trials = options.trials / 4 + 4;
    open_code(kind, code, 5);
    for (uint32_t t = 0; t < trials; t++) {
        run_group();
        error[t] = decode_error(decoder, EVERYBODY(code.nodes), NULL);
    }
    return median(error, trials);
}

static void table_decode(void) {
    static const uint32_t cases[][3] = {
        {TANH, 2, 16},     {TANH, 4, 16},     {TANH, 8, 32},     {TANH, 16, 64},
        {SOFTMAX, 4, 32},  {GRAMIAN, 8, 32},  {LOGISTIC, 4, 16}, {LOGISTIC, 4, 32},
        {LOGISTIC, 8, 64}, {MLP, 4, 32},      {MLP, 8, 64},      {MLP_RELU, 4, 32},
        {MLP_RELU, 8, 64}, {MLP_NEAR, 8, 32}, {TANH, 8, 24},     {MLP_RELU, 16, 48}};
    for (uint32_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const uint32_t kind = cases[c][0];
        struct brg_berrut_spec rational = code_of(cases[c][1], cases[c][2], BRG_BERRUT_RATIONAL);
        struct brg_berrut_spec poly = code_of(cases[c][1], cases[c][2], BRG_BERRUT_POLYNOMIAL);
        struct brg_berrut_spec bacc = rational;
        bacc.points = BRG_BERRUT_SECOND_KIND;
        const double figures[] = {typical_error(kind, bacc, BRG_BERRUT_BERRUT),
                                  typical_error(kind, rational, BRG_BERRUT_BERRUT),
                                  typical_error(kind, rational, BRG_BERRUT_HALF),
                                  typical_error(kind, bacc, BRG_BERRUT_HALF),
                                  typical_error(kind, rational, BRG_BERRUT_SPLINE),
                                  typical_error(kind, rational, BRG_BERRUT_CHEBYSHEV),
                                  typical_error(kind, poly, BRG_BERRUT_CHEBYSHEV)};
        static const char *const names[] = {"bacc",         "sbacc",    "sbacc_half", "bacc_half",
                                            "sbacc_spline", "sbacc_ls", "poly_ls"};
        row_begin("decode");
        row_text("f", smooth_names[kind]);
        row_number("k", rational.blocks);
        row_number("n", rational.nodes);
        for (uint32_t i = 0; i < sizeof figures / sizeof *figures; i++) {
            row_number(names[i], figures[i]);
        }
        row_end();
    }
}

static void table_stragglers(void) {
    static const uint32_t cases[][4] = {{LOGISTIC, 8, 64, 6}, {LOGISTIC, 8, 64, 16},
                                        {MLP, 8, 64, 6},      {MLP, 8, 64, 16},
                                        {TANH, 4, 16, 2},     {TANH, 4, 16, 8}};
    static const uint32_t decoders[] = {BRG_BERRUT_BERRUT, BRG_BERRUT_HALF, BRG_BERRUT_SPLINE,
                                        BRG_BERRUT_CHEBYSHEV};
    static const char *const names[] = {"berrut", "half", "spline", "ls"};
    for (uint32_t c = 0; c < 2 * sizeof cases / sizeof *cases; c++) {
        const uint32_t *at = cases[c / 2];
        const uint32_t trials = options.trials;
        open_code(at[0], code_of(at[1], at[2], c % 2 + 1), 11);
        double error[4][TRIALS_MAX], ratio[4][TRIALS_MAX];
        for (uint32_t t = 0; t < trials; t++) {
            run_group();
            const uint64_t have = EVERYBODY(at[2]) & ~smooth_choose(&lab.g, at[2], at[3]);
            for (uint32_t d = 0; d < 4; d++) {
                double estimate;
                error[d][t] = decode_error(decoders[d], have, &estimate);
                ratio[d][t] = estimate / error[d][t];
            }
        }
        name_case("stragglers");
        row_number("missing", at[3]);
        for (uint32_t d = 0; d < 4; d++) {
            char name[32];
            row_number(names[d], median(error[d], trials));
            (void)snprintf(name, sizeof name, "%s_estimate", names[d]);
            row_number(name, median(ratio[d], trials));
            (void)snprintf(name, sizeof name, "%s_estimate_5", names[d]);
            row_number(name, quantile(ratio[d], trials, 0.05));
        }
        row_end();
    }
}

/* ---- locators, with the number of liars known: ours and the classic ones ---- */

enum { PGZ, SMOOTH_MUSIC, MUSIC, WHITE_MUSIC, GREEDY, BEAM, LOCATORS };
static const char *const locator_names[LOCATORS] = {"pgz",         "smooth_music", "music",
                                                    "white_music", "greedy",       "beam"};

static uint64_t mask_of(uint32_t count, const uint32_t *at) {
    uint64_t mask = 0;
    for (uint32_t i = 0; i < count; i++) mask |= UINT64_C(1) << at[i];
    return mask;
}

/* The checks that the classic locators use: rows from `first` on, as they are or whitened. */
static void classic(uint32_t v, const double *gram, uint64_t *found) {
    const uint32_t n = lab.code.nodes, hard = n / 2 > lab.code.blocks ? n / 2 : lab.code.blocks;
    static double h[BRG_DCT_SQUARE], scratch[BRG_DCT_SQUARE], p[BRG_DCT_SQUARE], hw[BRG_DCT_SQUARE];
    static double projected[BRG_DCT_NODES_MAX * BRG_DCT_COLUMNS];
    static double *memory;
    const float *y[SMOOTH_NODES];
    uint32_t at[BRG_DCT_NODES_MAX];
    if (memory == NULL)
        memory = allocate(sizeof(double) * brg_dct_pgz_doubles(64, BRG_DCT_COLUMNS));
    smooth_rows(&lab.group, n, y);
    memset(projected, 0, sizeof projected);
    brg_dct_sketch(n, y, (struct brg_dct_span){0, lab.f.out}, brg_prng_next(&lab.g), projected);
    struct brg_dct_word word = {n, hard, BRG_DCT_COLUMNS, lab.set.x, projected};
    for (uint32_t l = 0; l < LOCATORS; l++) found[l] = 0;
    if (brg_dct_pgz_locate(word, v, memory, at) == BRG_OK) found[PGZ] = mask_of(v, at);
    if (brg_dct_music_smooth(word, v, memory, at) == BRG_OK) found[SMOOTH_MUSIC] = mask_of(v, at);
    brg_dct_parity(n, lab.set.x, h, scratch);
    if (brg_dct_music((struct brg_dct_music){n - hard, n, v}, h + (size_t)hard * n, gram, memory,
                      at) == BRG_OK) {
        found[MUSIC] = mask_of(v, at);
    }
    const struct brg_dct_whiten size = {n, lab.code.blocks, BRG_DCT_PRECISION_F32};
    must(brg_dct_whiten(size, lab.set.x, lab.cal->cn, hw, h, p, scratch));
    if (brg_dct_music((struct brg_dct_music){n - size.blocks, n, v}, hw, gram, memory, at) ==
        BRG_OK) {
        found[WHITE_MUSIC] = mask_of(v, at);
    }
}

static void locators_round(uint32_t v, uint32_t lie, double *right) {
    static double gram[BRG_DCT_SQUARE];
    const uint32_t n = lab.code.nodes;
    uint64_t found[LOCATORS];
    struct brg_dct_problem p;
    struct brg_dct_path path;
    run_group();
    const uint64_t liars = smooth_choose(&lab.g, n, v);
    smooth_lie(&lab.f, n, lie, liars, &lab.g, &lab.group);
    gram_of(EVERYBODY(n), gram);
    classic(v, gram, found);
    brg_dct_pose(brg_dct_set_checks(&lab.set), gram, lab.work, &p);
    brg_dct_search(&p, (struct brg_dct_reach){v, 1}, lab.work, &path);
    found[GREEDY] = path.support[v];
    brg_dct_search(&p, (struct brg_dct_reach){v, BRG_DCT_WIDE}, lab.work, &path);
    found[BEAM] = path.support[v];
    for (uint32_t l = 0; l < LOCATORS; l++) right[l] += found[l] == liars;
}

static void table_locators(void) {
    static const uint32_t cases[][4] = {
        {GRAMIAN, BRG_BERRUT_POLYNOMIAL, 4, 24},  {TANH, BRG_BERRUT_RATIONAL, 4, 16},
        {MLP, BRG_BERRUT_RATIONAL, 4, 32},        {LOGISTIC, BRG_BERRUT_RATIONAL, 8, 32},
        {LOGISTIC, BRG_BERRUT_POLYNOMIAL, 8, 32}, {MLP, BRG_BERRUT_POLYNOMIAL, 8, 64}};
    static const struct {
        const char *name;
        uint32_t count, lie[4];
    } kinds[] = {{"full", 4, {LIE_UNIT, LIE_FLIP, LIE_ZERO, LIE_SCALE}},
                 {"rank1", 2, {LIE_COLLUDE, LIE_SHIFT, 0, 0}},
                 {"small", 1, {LIE_SMALL, 0, 0, 0}}};
    for (uint32_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        open_code(cases[c][0], code_of(cases[c][2], cases[c][3], cases[c][1]), 77);
        calibrate(4, GROUPS + 4);
        for (uint32_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            double right[LOCATORS] = {0.0};
            uint32_t rounds = 0;
            for (uint32_t v = 1; v <= 4; v++) {
                for (uint32_t l = 0; l < kinds[k].count; l++) {
                    for (uint32_t t = 0; t < options.trials / 4 + 1; t++, rounds++) {
                        locators_round(v, kinds[k].lie[l], right);
                    }
                }
            }
            name_case("locators");
            row_text("lies", kinds[k].name);
            for (uint32_t l = 0; l < LOCATORS; l++) row_number(locator_names[l], right[l] / rounds);
            row_end();
        }
    }
}

/* ---- the whole verdict ---- */

struct tally {
    double detected, exact, innocent, failed, alarm;
    double clean[TRIALS_MAX], raw[TRIALS_MAX], corrected[TRIALS_MAX];
};

static void verdict_round(uint32_t v, uint32_t lie, uint32_t decoder, uint32_t t,
                          struct tally *sum) {
    static double gram[BRG_DCT_SQUARE];
    const uint32_t n = lab.code.nodes;
    struct brg_dct_verdict verdict;
    run_group();
    sum->clean[t] = decode_error(decoder, EVERYBODY(n), NULL);
    const uint64_t liars = smooth_choose(&lab.g, n, v);
    smooth_lie(&lab.f, n, lie, liars, &lab.g, &lab.group);
    gram_of(EVERYBODY(n), gram);
    brg_dct_locate(&lab.set, gram, lab.work, &verdict);
    sum->detected += verdict.status != BRG_DCT_CLEAN;
    sum->exact += verdict.accused == liars &&
                  (verdict.status == BRG_DCT_CLEAN || verdict.status == BRG_DCT_CORRECTED);
    sum->innocent += (verdict.accused & ~liars) != 0;
    sum->failed += verdict.status == BRG_DCT_FAIL;
    sum->alarm += verdict.status == BRG_DCT_ALARM_LEVEL;
    sum->raw[t] = decode_error(decoder, EVERYBODY(n), NULL);
    sum->corrected[t] = decode_error(decoder, EVERYBODY(n) & ~verdict.accused, NULL);
}

static void verdict_row(const char *table, uint32_t v, uint32_t lie, uint32_t decoder,
                        uint32_t trials) {
    static struct tally sum;
    memset(&sum, 0, sizeof sum);
    for (uint32_t t = 0; t < trials; t++) verdict_round(v, lie, decoder, t, &sum);
    name_case(table);
    row_number("liars", v);
    row_text("lie", v == 0 ? "none" : smooth_lie_names[lie]);
    row_number("rounds", trials);
    row_number("detected", sum.detected / trials);
    row_number("exact", sum.exact / trials);
    row_number("innocent", sum.innocent / trials);
    row_number("failed", sum.failed / trials);
    row_number("alarm", sum.alarm / trials);
    row_number("error_clean", median(sum.clean, trials));
    row_number("error_raw", median(sum.raw, trials));
    row_number("error_corrected", median(sum.corrected, trials));
    row_end();
}

static void table_liars(void) {
    static const uint32_t cases[][5] = {
        {LOGISTIC, BRG_BERRUT_POLYNOMIAL, 4, 24, 4}, {MLP, BRG_BERRUT_POLYNOMIAL, 4, 32, 5},
        {MLP, BRG_BERRUT_RATIONAL, 4, 32, 5},        {LOGISTIC, BRG_BERRUT_RATIONAL, 4, 24, 4},
        {TANH, BRG_BERRUT_RATIONAL, 4, 16, 3},       {MLP_RELU, BRG_BERRUT_POLYNOMIAL, 4, 32, 5},
        {SOFTMAX, BRG_BERRUT_POLYNOMIAL, 8, 64, 5}};
    for (uint32_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const uint32_t decoder =
            cases[c][1] == BRG_BERRUT_RATIONAL ? BRG_BERRUT_BERRUT : BRG_BERRUT_CHEBYSHEV;
        open_code(cases[c][0], code_of(cases[c][2], cases[c][3], cases[c][1]), 500);
        calibrate(cases[c][4], GROUPS);
        verdict_row("liars", 0, 0, decoder,
                    4 * options.trials < TRIALS_MAX ? 4 * options.trials : TRIALS_MAX);
        for (uint32_t v = 1; v < cases[c][4]; v++) {
            for (uint32_t lie = 0; lie < SMOOTH_LIES; lie++) {
                verdict_row("liars", v, lie, decoder, options.trials / 2 + 1);
            }
        }
    }
}

static void table_capacity(void) {
    static const uint32_t cases[][4] = {{LOGISTIC, 4, 24, 10}, {MLP, 4, 32, 12}, {MLP, 8, 64, 12}};
    static const uint32_t lies[] = {LIE_UNIT, LIE_FLIP, LIE_COLLUDE};
    for (uint32_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (uint32_t v = 3; v + 2 <= cases[c][3]; v += v < 6 ? 1 : 2) {
            open_code(cases[c][0], code_of(cases[c][1], cases[c][2], BRG_BERRUT_POLYNOMIAL), v);
            calibrate(v + 2, GROUPS);
            for (uint32_t l = 0; l < 3; l++) {
                verdict_row("capacity", v, lies[l], BRG_BERRUT_CHEBYSHEV, options.trials / 2 + 1);
            }
        }
    }
}

/* ---- floors ---- */

enum { FLOOR_TRIALS = 40 };

/* Counts, over the trials, whether a lie of that size by one worker is found, and located. */
static void floor_at(double amplitude, uint32_t *found, uint32_t *located) {
    static double gram[BRG_DCT_SQUARE];
    const uint32_t n = lab.code.nodes;
    struct brg_dct_verdict verdict;
    lab.g = (struct brg_prng){6};
    *found = *located = 0;
    for (uint32_t t = 0; t < FLOOR_TRIALS; t++) {
        run_group();
        const uint32_t liar = (uint32_t)brg_prng_below(&lab.g, n);
        const double size = amplitude * smooth_scale(&lab.f, n, &lab.group);
        for (uint32_t e = 0; e < lab.f.out; e++) {
            lab.group.y[liar][e] += (float)(size * brg_prng_normal(&lab.g));
        }
        gram_of(EVERYBODY(n), gram);
        brg_dct_locate(&lab.set, gram, lab.work, &verdict);
        *found += verdict.status != BRG_DCT_CLEAN;
        *located += verdict.accused == UINT64_C(1) << liar;
    }
}

static void table_floors(void) {
    static const uint32_t kinds[] = {MLP_NEAR, LOGISTIC, SOFTMAX, TANH, MLP, MLP_RELU};
    static const uint32_t sizes[][3] = {
        {4, 12, BRG_BERRUT_POLYNOMIAL}, {4, 20, BRG_BERRUT_POLYNOMIAL},
        {4, 20, BRG_BERRUT_RATIONAL},   {4, 32, BRG_BERRUT_POLYNOMIAL},
        {8, 24, BRG_BERRUT_POLYNOMIAL}, {8, 40, BRG_BERRUT_POLYNOMIAL},
        {8, 64, BRG_BERRUT_POLYNOMIAL}};
    for (uint32_t c = 0; c < sizeof kinds / sizeof *kinds * 7; c++) {
        const uint32_t *size = sizes[c % 7];
        double seen = HUGE_VAL, named = HUGE_VAL;
        open_code(kinds[c / 7], code_of(size[0], size[1], size[2]), 77);
        calibrate(4, GROUPS);
        for (int quarter = 4; quarter >= -24; quarter--) { /* down to where it is no longer seen */
            uint32_t found, located;
            const double amplitude = pow(10.0, quarter / 4.0);
            floor_at(amplitude, &found, &located);
            if (20 * found >= 19 * FLOOR_TRIALS) seen = amplitude;
            if (20 * located >= 19 * FLOOR_TRIALS) named = amplitude;
            if (10 * found < 5 * FLOOR_TRIALS) break;
        }
        name_case("floors");
        row_number("detected", seen);
        row_number("located", named);
        row_end();
    }
}

/* ---- damage under the threshold ---- */

static void table_damage(void) {
    static const uint32_t cases[][4] = {{LOGISTIC, BRG_BERRUT_POLYNOMIAL, 8, 32},
                                        {MLP, BRG_BERRUT_POLYNOMIAL, 4, 32},
                                        {MLP, BRG_BERRUT_RATIONAL, 4, 32},
                                        {TANH, BRG_BERRUT_RATIONAL, 4, 16}};
    for (uint32_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const uint32_t n = cases[c][3];
        const uint32_t decoder =
            cases[c][1] == BRG_BERRUT_RATIONAL ? BRG_BERRUT_BERRUT : BRG_BERRUT_CHEBYSHEV;
        open_code(cases[c][0], code_of(cases[c][2], n, cases[c][1]), 77);
        calibrate(4, 40);
        double honest[20], random[400];
        for (uint32_t t = 0; t < 20; t++) {
            run_group();
            honest[t] = decode_error(decoder, EVERYBODY(n), NULL);
        }
        const double error = median(honest, 20);
        for (uint32_t v = 1; v <= 4; v++) {
            struct brg_dct_damage s = {lab.code.blocks, 0, 1.6 * lab.honest * lab.set.parity};
            double worst = 0.0;
            for (uint32_t t = 0; t < 400; t++) {
                s.support = smooth_choose(&lab.g, n, v);
                random[t] = brg_dct_damage(&lab.set, s, lab.decode.weights, NULL);
            }
            for (uint32_t i = 0; i + v <= n; i++) {
                s.support = ((UINT64_C(1) << v) - 1) << i;
                worst = fmax(worst, brg_dct_damage(&lab.set, s, lab.decode.weights, NULL));
            }
            name_case("damage");
            row_number("liars", v);
            row_number("honest_error", error);
            row_number("median", median(random, 400));
            row_number("q95", quantile(random, 400, 0.95));
            row_number("adjacent", worst);
            row_end();
        }
    }
}

/* ---- lies in few coordinates ---- */

enum { SPARSE_FLOATS = 16 * BRG_DCT_BLOCK, SPARSE_NODES = 32, SPARSE_BLOCKS = 4 };

/* tanh of 65 536 numbers a worker, y [SPARSE_NODES, SPARSE_FLOATS]. */
static void sparse_run(float *y) {
    for (uint32_t e = 0; e < SPARSE_FLOATS; e++) {
        double x[SPARSE_BLOCKS];
        smooth_fill(&lab.g, SPARSE_BLOCKS, 1.0, x);
        for (uint32_t i = 0; i < SPARSE_NODES; i++) {
            double u = 0.0;
            for (uint32_t j = 0; j < SPARSE_BLOCKS; j++)
                u += lab.rows[i * SPARSE_BLOCKS + j] * x[j];
            y[(size_t)i * SPARSE_FLOATS + e] = (float)tanh(u);
        }
    }
}

/* Sketches every block of coordinates by itself into z, and their sum into total. */
static void sparse_sketch(const float *y, double *z, double *total) {
    const size_t size = SPARSE_NODES * BRG_DCT_COLUMNS;
    const uint64_t seed = brg_prng_next(&lab.g);
    const float *rows[SPARSE_NODES];
    for (uint32_t i = 0; i < SPARSE_NODES; i++) rows[i] = y + (size_t)i * SPARSE_FLOATS;
    memset(z, 0, 16 * size * sizeof *z);
    memset(total, 0, size * sizeof *total);
    for (uint32_t b = 0; b < 16; b++) {
        const struct brg_dct_span span = {(size_t)b * BRG_DCT_BLOCK, (b + 1ul) * BRG_DCT_BLOCK};
        brg_dct_sketch(SPARSE_NODES, rows, span, seed, z + b * size);
        for (size_t i = 0; i < size; i++) total[i] += z[b * size + i];
    }
}

static void sparse_gram(const double *total, double *gram) {
    double energy;
    uint64_t broken;
    brg_dct_sketch_gram(SPARSE_NODES, total, gram);
    must(brg_dct_normalise(SPARSE_NODES, gram, &energy, &broken));
}

static void sparse_calibrate(float *y, double *z, double *total, double *gram) {
    const struct brg_dct_spec spec = {SPARSE_NODES, SPARSE_BLOCKS, 4, GROUPS,
                                      BRG_DCT_PRECISION_F32};
    const size_t size = SPARSE_NODES * BRG_DCT_COLUMNS;
    brg_dct_calibration_init(lab.cal, brg_dct_calibration_bytes(&spec), &spec, lab.set.x);
    for (uint32_t pass = 0; pass < 2; pass++) { /* the second one for single blocks */
        for (uint32_t t = 0; t < (pass == 0 ? GROUPS : GROUPS / 2); t++) {
            sparse_run(y);
            sparse_sketch(y, z, total);
            sparse_gram(total, gram);
            if (pass == 0) brg_dct_calibration_add(lab.cal, gram);
            for (uint32_t b = 0; pass == 1 && b < 16; b++) {
                brg_dct_sparse_calibrate(lab.cal, &lab.set, z + b * size, lab.work);
            }
        }
        if (pass == 1) return;
        must(brg_dct_calibration_finish(lab.cal, lab.work));
        must(brg_dct_set_build(&lab.set, lab.cal, EVERYBODY(SPARSE_NODES), lab.work));
    }
}

static void table_sparse(void) {
    const size_t size = SPARSE_NODES * BRG_DCT_COLUMNS;
    float *y = allocate(sizeof *y * SPARSE_NODES * SPARSE_FLOATS);
    double *z = allocate(16 * size * sizeof *z), *total = allocate(size * sizeof *total);
    static double gram[BRG_DCT_SQUARE];
    open_code(TANH, code_of(SPARSE_BLOCKS, SPARSE_NODES, BRG_BERRUT_POLYNOMIAL), 77);
    calibrate(4, GROUPS); /* for the nodes and the memory */
    sparse_calibrate(y, z, total, gram);
    for (uint32_t v = 0; v <= 2; v++) {
        double whole = 0.0, blocks = 0.0, innocent = 0.0;
        const uint32_t trials = options.trials / 2 + 1;
        for (uint32_t t = 0; t < trials; t++) {
            struct brg_dct_verdict verdict;
            struct brg_dct_sparse sparse;
            sparse_run(y);
            const uint64_t liars = smooth_choose(&lab.g, SPARSE_NODES, v);
            for (uint32_t i = 0; i < SPARSE_NODES; i++) { /* two numbers of 65 536, off by 1 */
                if ((liars >> i & 1) == 0) continue;
                y[(size_t)i * SPARSE_FLOATS + 20000] += 1.0f;
                y[(size_t)i * SPARSE_FLOATS + 20001] -= 1.0f;
            }
            sparse_sketch(y, z, total);
            sparse_gram(total, gram);
            brg_dct_locate(&lab.set, gram, lab.work, &verdict);
            brg_dct_sparse_locate(lab.cal, &lab.set, 16, z, lab.work, &sparse);
            whole += verdict.accused == liars;
            blocks += sparse.accused == liars;
            innocent += (sparse.accused & ~liars) != 0;
        }
        row_begin("sparse");
        row_number("liars", v);
        row_number("rounds", trials);
        row_number("whole_exact", whole / trials);
        row_number("blocks_exact", blocks / trials);
        row_number("blocks_innocent", innocent / trials);
        row_end();
    }
    free(y);
    free(z);
    free(total);
}

/* ---- time ---- */

enum { TIME_NODES = 64, TIME_BLOCKS = 8, TIME_FLOATS = 1000000, TIME_REPEATS = 9 };
typedef uint32_t words __attribute__((vector_size(64), aligned(4), may_alias));

static double cpu_seconds(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    BRG_ASSERT(rc == 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Reads every float once with as little arithmetic as keeps the compiler from leaving it out. */
static uint32_t read_pass(const float *y) {
    words sum[4] = {{0}};
    const size_t count = (size_t)TIME_NODES * TIME_FLOATS / 64 * 64;
    for (size_t i = 0; i < count; i += 64) {
        for (uint32_t l = 0; l < 4; l++) sum[l] += *(const words *)(y + i + (size_t)l * 16);
    }
    sum[0] += sum[1] + sum[2] + sum[3];
    return sum[0][0];
}

/* Honest results: polynomials of low degree with a little noise; then three who collude. */
static float *time_results(void) {
    const size_t bytes = sizeof(float) * TIME_NODES * TIME_FLOATS;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BRG_ASSERT(p != MAP_FAILED);
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* as the buffers of a run are */
    float *y = p;
    struct brg_prng g = {3};
    for (size_t e = 0; e < TIME_FLOATS; e++) {
        double c[TIME_BLOCKS];
        for (uint32_t j = 0; j < TIME_BLOCKS; j++) c[j] = 2.0 * brg_prng_unit(&g) - 1.0;
        for (uint32_t i = 0; i < TIME_NODES; i++) {
            double value = 1e-4 * brg_prng_unit(&g);
            for (uint32_t j = 0; j < TIME_BLOCKS; j++)
                value += lab.rows[i * TIME_BLOCKS + j] * c[j];
            if (i == 5 || i == 20 || i == 21) value += 0.3 * c[0];
            y[i * (size_t)TIME_FLOATS + e] = (float)value;
        }
    }
    return y;
}

static void table_time(void) {
    double pass[TIME_REPEATS], sketch[TIME_REPEATS], decide[TIME_REPEATS], ratio[TIME_REPEATS];
    static double z[TIME_NODES * BRG_DCT_COLUMNS], gram[BRG_DCT_SQUARE];
    const float *rows[TIME_NODES];
    struct brg_dct_verdict verdict;
    volatile uint32_t sink = 0; /* somebody has to want the sum */
    open_code(MLP, code_of(TIME_BLOCKS, TIME_NODES, BRG_BERRUT_POLYNOMIAL), 77);
    const double t_begin = cpu_seconds();
    calibrate(5, GROUPS);
    const double built = cpu_seconds();
    must(brg_dct_set_build(&lab.set, lab.cal, UINT64_MAX, lab.work));
    const double set_s = cpu_seconds() - built;
    const float *y = time_results();
    for (uint32_t i = 0; i < TIME_NODES; i++) rows[i] = y + (size_t)i * TIME_FLOATS;
    for (uint32_t r = 0; r < TIME_REPEATS; r++) {
        double energy;
        uint64_t broken;
        const double t0 = cpu_seconds();
        sink = sink + read_pass(y);
        const double t1 = cpu_seconds();
        memset(z, 0, sizeof z);
        brg_dct_sketch(TIME_NODES, rows, (struct brg_dct_span){0, TIME_FLOATS}, r + 1, z);
        const double t2 = cpu_seconds();
        brg_dct_sketch_gram(TIME_NODES, z, gram);
        must(brg_dct_normalise(TIME_NODES, gram, &energy, &broken));
        brg_dct_locate(&lab.set, gram, lab.work, &verdict);
        const double t3 = cpu_seconds();
        pass[r] = t1 - t0;
        sketch[r] = t2 - t1;
        decide[r] = t3 - t2;
        ratio[r] = (t3 - t1) / (t1 - t0);
    }
    row_begin("time");
    row_number("n", TIME_NODES);
    row_number("floats", TIME_FLOATS);
    row_number("pass_ms", 1e3 * median(pass, TIME_REPEATS));
    row_number("sketch_ms", 1e3 * median(sketch, TIME_REPEATS));
    row_number("decide_ms", 1e3 * median(decide, TIME_REPEATS));
    row_number("of_pass", median(ratio, TIME_REPEATS));
    row_number("located", verdict.accused == (UINT64_C(1) << 5 | UINT64_C(3) << 20));
    row_number("wide", verdict.wide);
    row_number("set_build_ms", 1e3 * set_s);
    row_number("calibration_s", built - t_begin);
    row_end();
    (void)munmap((void *)(uintptr_t)y, sizeof(float) * TIME_NODES * TIME_FLOATS);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } tables[] = {
        {"decode", table_decode}, {"stragglers", table_stragglers}, {"locators", table_locators},
        {"liars", table_liars},   {"capacity", table_capacity},     {"floors", table_floors},
        {"damage", table_damage}, {"sparse", table_sparse},         {"time", table_time}};
    const char *only = NULL;
    int bad = 0, found = 0;
    options.trials = 40;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            options.json = 1;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--trials") == 0 && i + 1 < argc) {
            char *end = NULL;
            const unsigned long value = strtoul(argv[++i], &end, 10);
            bad |= *end != '\0' || value < 4 || value > TRIALS_MAX;
            options.trials = (uint32_t)value;
        } else {
            bad = 1;
        }
    }
    for (uint32_t t = 0; !bad && t < sizeof tables / sizeof *tables; t++) {
        if (only != NULL && strcmp(only, tables[t].name) != 0) continue;
        found = 1;
        tables[t].run();
    }
    free(lab.cal);
    free(lab.work);
    if (!bad && found) return 0;
    (void)fprintf(stderr,
                  "usage: bench_untrusted [--json] [--trials N, 4 to %u] [--only decode|stragglers|"
                  "locators|liars|capacity|floors|damage|sparse|time]\n",
                  TRIALS_MAX);
    return 2;
}
