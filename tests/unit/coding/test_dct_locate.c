/* test_dct_locate.c - who lied, from inner products of the results: the detector against an oracle,
 * against every kind of lie, with results missing, overloaded, misled and drifting. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coding/dct_locate.h"
#include "coding/dense.h"
#include "tests/unit/coding/berrut_oracle.h"
#include "tests/unit/coding/smooth.h"

#define ALL(n) ((n) == 64 ? UINT64_MAX : (UINT64_C(1) << (n)) - 1)

/* A function, a code, and a detector calibrated on honest groups of it. */
struct bed {
    struct smooth f;
    struct brg_berrut_spec code;
    double rows[64 * 16];
    struct brg_prng g;
    struct smooth_group group;
    struct brg_dct_calibration *cal;
    struct brg_dct_work *work;
    struct brg_dct_set set;
    struct brg_dct_verdict verdict;
    double gram[BRG_DCT_SQUARE];
};
static struct bed bed;

static void bed_close(void) {
    free(bed.cal);
    free(bed.work);
    bed.cal = NULL;
    bed.work = NULL;
}

static void bed_allocate(const struct brg_dct_spec *spec, const double *x) {
    bed_close();
    bed.cal = malloc(brg_dct_calibration_bytes(spec));
    bed.work = malloc(brg_dct_work_bytes(spec->levels));
    assert_non_null(bed.cal);
    assert_non_null(bed.work);
    assert_int_equal(brg_dct_check(spec, NULL), BRG_OK);
    brg_dct_work_init(bed.work, brg_dct_work_bytes(spec->levels), spec->levels);
    brg_dct_calibration_init(bed.cal, brg_dct_calibration_bytes(spec), spec, x);
}

static void bed_run(void) {
    smooth_run(&bed.f, &bed.code, bed.rows, &bed.g, &bed.group);
}

static void bed_gram(uint64_t have) {
    const float *y[64];
    uint32_t n = 0;
    double energy;
    uint64_t broken;
    for (uint32_t i = 0; i < bed.code.nodes; i++) {
        if ((have >> i & 1) != 0) y[n++] = bed.group.y[i];
    }
    memset(bed.gram, 0, sizeof bed.gram);
    brg_dct_gram(n, y, (struct brg_dct_span){0, bed.f.out}, bed.gram);
    assert_int_equal(brg_dct_normalise(n, bed.gram, &energy, &broken), BRG_OK);
}

static void bed_open(uint32_t kind, uint32_t k, uint32_t n, uint32_t levels) {
    const struct brg_dct_spec spec = {n, k, levels, 24, BRG_DCT_PRECISION_F32};
    double x[BRG_BERRUT_NODES_MAX];
    bed.code = (struct brg_berrut_spec){k, n, BRG_BERRUT_FIRST_KIND, BRG_BERRUT_POLYNOMIAL,
                                        BRG_BERRUT_AUTO};
    bed.g = (struct brg_prng){77};
    smooth_init(&bed.f, kind);
    brg_berrut_encode(&bed.code, bed.rows);
    brg_berrut_nodes(&bed.code, x);
    bed_allocate(&spec, x);
    for (uint32_t t = 0; t < 24; t++) {
        bed_run();
        bed_gram(ALL(n));
        brg_dct_calibration_add(bed.cal, bed.gram);
    }
    assert_int_equal(brg_dct_calibration_finish(bed.cal, bed.work), BRG_OK);
    assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, ALL(n), bed.work), BRG_OK);
}

/* One round in which `liars` lie; the verdict of the present set. */
static void bed_judge(uint32_t lie, uint64_t liars) {
    bed_run();
    smooth_lie(&bed.f, bed.code.nodes, lie, liars, &bed.g, &bed.group);
    bed_gram(bed.set.have);
    brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
}

/* ---- the oracle ---- */

enum { CORE_N = 16, CORE_D = 40 };

static void core_honest(uint32_t group, const double *x, double *y) {
    for (uint32_t i = 0; i < CORE_N; i++) {
        for (uint32_t e = 0; e < CORE_D; e++) {
            y[i * CORE_D + e] = exp(x[i] * (0.5 + 0.9 * sin(1.3 * group + 0.7 * e))) +
                                0.05 * cos(5.0 * x[i] + e + group) +
                                1e-3 * sin(12.9898 * (i + 1.0) * (e + 1.0) + 78.233 * group);
        }
    }
}

static void core_gram(const double *y, const uint32_t *node, uint32_t n) {
    double energy;
    uint64_t broken;
    for (uint32_t i = 0; i < n * n; i++) {
        bed.gram[i] = brg_dense_dot(CORE_D, y + node[i / n] * CORE_D, y + node[i % n] * CORE_D);
    }
    assert_int_equal(brg_dct_normalise(n, bed.gram, &energy, &broken), BRG_OK);
}

/* The whole chain - checks, covariance, whitening, beam, thresholds, damage - in other hands. */
static void core_open(double *y) {
    const struct brg_dct_spec spec = {CORE_N, 3, 5, 20, BRG_DCT_PRECISION_F32};
    uint32_t every[CORE_N];
    double x[CORE_N];
    for (uint32_t i = 0; i < CORE_N; i++) {
        every[i] = i;
        x[i] = cos((2.0 * i + 1.0) * acos(-1.0) / (2.0 * CORE_N));
    }
    bed_allocate(&spec, x);
    for (uint32_t t = 0; t < 20; t++) {
        core_honest(t, x, y);
        core_gram(y, every, CORE_N);
        brg_dct_calibration_add(bed.cal, bed.gram);
    }
    assert_int_equal(brg_dct_calibration_finish(bed.cal, bed.work), BRG_OK);
    assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, 0xFFFF & ~(1u << 4 | 1u << 11), bed.work),
                     BRG_OK);
    core_honest(33, x, y);
}

static double near(double x, double want) {
    return fabs(x / want - 1.0);
}

static void dct_core__agrees_with_the_oracle_to_many_digits(void **state) {
    (void)state;
    double y[CORE_N * CORE_D], scale = 0.0, energy[CORE_N];
    struct brg_dct_problem p;
    struct brg_dct_path path;
    core_open(y);
    for (uint32_t i = 0; i < CORE_N; i++) { /* lies are relative to the median over all nodes */
        const double own = brg_dense_dot(CORE_D, y + i * CORE_D, y + i * CORE_D) / CORE_D;
        uint32_t at = i;
        for (; at > 0 && energy[at - 1] > own; at--) energy[at] = energy[at - 1];
        energy[at] = own;
    }
    scale = sqrt(0.5 * (energy[7] + energy[8]));
    for (uint32_t e = 0; e < CORE_D; e++) { /* survivors 2 and 7 are nodes 2 and 8 */
        y[2 * CORE_D + e] += 0.3 * scale * cos(1.1 * e);
        y[8 * CORE_D + e] -= 0.4 * scale * cos(1.1 * e);
    }
    core_gram(y, bed.set.node, bed.set.count);
    for (uint32_t i = 0; i < bed.set.count; i++) {
        assert_true(near(bed.set.a[i * bed.set.count + i], core_a_diagonal[i]) < 1e-8);
    }
    for (uint32_t v = 0; v < 5; v++) {
        assert_true(near(fmax(1.0, bed.set.limits.tau[0][v]), core_tau[v]) < 1e-6);
    }
    brg_dct_pose(brg_dct_set_checks(&bed.set), bed.gram, bed.work, &p);
    brg_dct_search(&p, (struct brg_dct_reach){5, 16}, bed.work, &path);
    for (uint32_t v = 0; v <= 5; v++) {
        assert_true(near(path.residual[v], core_residual[v]) < 1e-6);
        if (v > 0) assert_true((double)path.support[v] == core_support[v - 1]);
    }
    assert_true(near(brg_dct_residual(&p, path.support[4], bed.work), path.residual[4]) < 1e-6);
    brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
    assert_int_equal(bed.verdict.status, BRG_DCT_CORRECTED);
    assert_int_equal(bed.verdict.accused, 1u << 2 | 1u << 8);
    assert_int_equal(bed.verdict.count, 2);
    assert_true(bed.verdict.evidence[0] > 3.0 && bed.verdict.evidence[1] > 3.0);
    bed_close();
}

static void dct_damage__is_the_oracle_s_and_is_reached_by_its_direction(void **state) {
    (void)state;
    double y[CORE_N * CORE_D], direction[CORE_N], memory[2 * CORE_N * CORE_N];
    static struct brg_berrut_decode decode;
    const struct brg_berrut_spec code = {3, CORE_N, 1, 1, BRG_BERRUT_CHEBYSHEV};
    uint8_t have[CORE_N];
    core_open(y);
    for (uint32_t i = 0; i < CORE_N; i++) have[i] = i != 4 && i != 11;
    assert_int_equal(brg_berrut_decode_init(&decode, &code, have, memory), BRG_OK);
    const struct brg_dct_damage s = {3, 1u << 2 | 1u << 3, 7.0};
    const double damage = brg_dct_damage(&bed.set, s, decode.weights, direction);
    assert_true(near(damage, core_damage[0]) < 1e-6);
    double energy = 0.0, effect = 0.0;
    for (uint32_t i = 0; i < 14; i++) {
        energy += direction[i] * brg_dense_dot(14, bed.set.a + i * 14, direction);
    }
    for (uint32_t j = 0; j < 3; j++) {
        const double change = brg_dense_dot(14, decode.weights + j * 14, direction);
        effect += change * change / 3.0;
    }
    assert_true(near(energy, 7.0) < 1e-8);
    assert_true(near(sqrt(effect), damage) < 1e-8);
    bed_close();
}

/* Honest groups that are exact words leave rounding of either sign: without a floor under it the
 * ratios would be without bound, and everybody clean. */
static void dct_locate_after_exact_words__has_thresholds_and_sees_a_lie(void **state) {
    (void)state;
    const struct brg_dct_spec spec = {CORE_N, 3, 5, 20, BRG_DCT_PRECISION_F32};
    uint32_t every[CORE_N];
    double x[CORE_N], y[CORE_N * CORE_D];
    for (uint32_t i = 0; i < CORE_N; i++) {
        every[i] = i;
        x[i] = cos((2.0 * i + 1.0) * acos(-1.0) / (2.0 * CORE_N));
    }
    bed_allocate(&spec, x);
    for (uint32_t t = 0; t < 21; t++) {
        for (uint32_t i = 0; i < CORE_N * CORE_D; i++) {
            const uint32_t e = i % CORE_D;
            const double z = x[i / CORE_D];
            y[i] = sin(1.3 * t + e) + z * cos(0.7 * e + t) + z * z * sin(2.1 * e - t);
            if (t == 20 && i / CORE_D == 6) y[i] += 0.5 * cos(3.0 * i);
        }
        core_gram(y, every, CORE_N);
        if (t < 20) brg_dct_calibration_add(bed.cal, bed.gram);
    }
    assert_int_equal(brg_dct_calibration_finish(bed.cal, bed.work), BRG_OK);
    assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, ALL(CORE_N), bed.work), BRG_OK);
    brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
    for (uint32_t v = 0; v < 5; v++) assert_true(bed.set.limits.tau[0][v] < 3.0);
    assert_int_equal(bed.verdict.status, BRG_DCT_CORRECTED);
    assert_int_equal(bed.verdict.accused, 1u << 6);
    bed_close();
}

/* ---- inner products ---- */

static void dct_sketch__keeps_inner_products_and_adds_up_over_spans(void **state) {
    (void)state;
    enum { N = 5, D = 3 * BRG_DCT_BLOCK + 777 };
    float *data = malloc(sizeof(float) * N * D);
    const float *y[N];
    double whole[N * BRG_DCT_COLUMNS] = {0}, parts[N * BRG_DCT_COLUMNS] = {0};
    double other[N * BRG_DCT_COLUMNS] = {0}, exact[N * N] = {0}, near_exact[N * N];
    struct brg_prng g = {1};
    assert_non_null(data);
    for (uint32_t i = 0; i < N; i++) {
        y[i] = data + i * D;
        for (uint32_t e = 0; e < D; e++) {
            const double common = i > 0 ? (double)data[e] : 0.0;
            data[i * D + e] = (float)(common + brg_prng_normal(&g));
        }
    }
    brg_dct_gram(N, y, (struct brg_dct_span){0, 1000}, exact);
    brg_dct_gram(N, y, (struct brg_dct_span){1000, D}, exact);
    brg_dct_sketch(N, y, (struct brg_dct_span){0, D}, 9, whole);
    brg_dct_sketch(N, y, (struct brg_dct_span){2 * BRG_DCT_BLOCK, D}, 9, parts);
    brg_dct_sketch(N, y, (struct brg_dct_span){0, 2 * BRG_DCT_BLOCK}, 9, parts);
    brg_dct_sketch(N, y, (struct brg_dct_span){0, D}, 10, other);
    for (uint32_t i = 0; i < N * BRG_DCT_COLUMNS; i++) {
        assert_true(fabs(whole[i] - parts[i]) < 1e-9);
    }
    assert_true(memcmp(whole, other, sizeof whole) != 0); /* the seed decides */
    brg_dct_sketch_gram(N, whole, near_exact);
    for (uint32_t i = 0; i < N; i++) {
        double sum = 0.0;
        for (uint32_t e = 0; e < D; e++) sum += (double)y[i][e] * (double)y[0][e];
        assert_true(fabs(exact[i] - sum) < 1e-6 * D);
        for (uint32_t j = 0; j < N; j++) { /* 64 columns: about sqrt(2 / 64) off */
            const double size = sqrt(exact[i * N + i] * exact[j * N + j]);
            assert_true(fabs(near_exact[i * N + j] - exact[i * N + j]) < 0.8 * size);
        }
    }
    free(data);
}

static void dct_normalise__names_broken_results_and_tames_huge_ones(void **state) {
    (void)state;
    double gram[9] = {2.0, 1.0, 0, 1.0, 4.0, 0, 0, 0, NAN}, energy;
    uint64_t broken;
    assert_int_equal(brg_dct_normalise(3, gram, &energy, &broken), BRG_EPROTO);
    assert_int_equal(broken, 4);
    gram[8] = 1e40;
    assert_int_equal(brg_dct_normalise(3, gram, &energy, &broken), BRG_OK);
    assert_true(energy == 4.0 && gram[4] == 1.0);
    assert_true(near(gram[8], BRG_DCT_CAP) < 1e-12);
    double zero[4] = {0.0, 0.0, 0.0, 0.0};
    assert_int_equal(brg_dct_normalise(2, zero, &energy, &broken), BRG_ERANK);
}

/* ---- verdicts ---- */

static void dct_locate__names_exactly_the_liars_of_every_gross_kind(void **state) {
    (void)state;
    static const uint32_t lies[] = {LIE_LARGE,   LIE_UNIT, LIE_SMALL, LIE_FLIP,  LIE_SHIFT,
                                    LIE_COLLUDE, LIE_ZERO, LIE_SCALE, LIE_REPLAY};
    bed_open(MLP, 4, 32, 5);
    for (uint32_t l = 0; l < sizeof lies / sizeof *lies; l++) {
        uint32_t exact = 0;
        for (uint32_t t = 0; t < 20; t++) {
            const uint64_t liars = smooth_choose(&bed.g, 32, 1 + t % 4);
            bed_judge(lies[l], liars);
            exact += bed.verdict.status == BRG_DCT_CORRECTED && bed.verdict.accused == liars;
        }
        assert_true(exact >= 18);
    }
    bed_close();
}

static void dct_locate_of_honest_rounds__accuses_hardly_anybody(void **state) {
    (void)state;
    uint32_t accused = 0;
    bed_open(MLP, 4, 32, 5);
    for (uint32_t t = 0; t < 200; t++) {
        bed_judge(LIE_UNIT, 0);
        accused += bed.verdict.status != BRG_DCT_CLEAN;
    }
    assert_true(accused <= 4);
    bed_close();
}

/* A lie of 1e-4, told from float32 results: 5 decades below the values it hides in. */
static void dct_locate_on_near_blocks__sees_what_float32_can_show(void **state) {
    (void)state;
    uint32_t exact = 0;
    bed_open(MLP_NEAR, 4, 32, 3);
    for (uint32_t t = 0; t < 20; t++) {
        bed_run();
        const uint32_t liar = (uint32_t)brg_prng_below(&bed.g, 32);
        const double size = 1e-5 * smooth_scale(&bed.f, 32, &bed.group);
        for (uint32_t e = 0; e < bed.f.out; e++) {
            bed.group.y[liar][e] += (float)(size * brg_prng_normal(&bed.g));
        }
        bed_gram(ALL(32));
        brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
        exact += bed.verdict.accused == UINT64_C(1) << liar;
    }
    assert_true(exact >= 19);
    bed_close();
}

static void dct_locate_of_colluders__needs_the_wide_search(void **state) {
    (void)state;
    uint32_t narrow = 0, exact = 0;
    bed_open(LOGISTIC, 4, 24, 6);
    for (uint32_t t = 0; t < 30; t++) {
        struct brg_dct_problem p;
        struct brg_dct_path path;
        const uint64_t liars = smooth_choose(&bed.g, 24, 5);
        bed_judge(LIE_COLLUDE, liars);
        exact += bed.verdict.accused == liars && bed.verdict.wide;
        brg_dct_pose(brg_dct_set_checks(&bed.set), bed.gram, bed.work, &p);
        brg_dct_search(&p, (struct brg_dct_reach){5, BRG_DCT_NARROW}, bed.work, &path);
        narrow += path.support[5] == liars;
    }
    assert_true(exact >= 26);
    assert_true(narrow < exact);
    bed_close();
}

static void dct_locate_with_results_missing__names_the_liars_by_their_node(void **state) {
    (void)state;
    uint32_t exact = 0;
    bed_open(MLP, 4, 32, 4);
    for (uint32_t t = 0; t < 20; t++) {
        const uint64_t gone = smooth_choose(&bed.g, 32, 8);
        assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, ALL(32) & ~gone, bed.work), BRG_OK);
        uint64_t liars = smooth_choose(&bed.g, 32, 3) & ~gone;
        bed_judge(t % 2 == 0 ? LIE_FLIP : LIE_COLLUDE, liars);
        exact += bed.verdict.accused == liars;
    }
    assert_true(exact >= 18);
    const uint64_t few = 0x1F;
    assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, few, bed.work), BRG_ERANK);
    bed_close();
}

static void dct_locate_of_too_many_liars__names_nobody_and_says_so(void **state) {
    (void)state;
    uint32_t caught = 0, innocent = 0;
    bed_open(MLP, 4, 32, 5);
    for (uint32_t t = 0; t < 40; t++) {
        const uint64_t liars = smooth_choose(&bed.g, 32, t % 2 == 0 ? 6 : 12);
        bed_judge(t % 4 < 2 ? LIE_UNIT : LIE_FLIP, liars);
        caught += bed.verdict.status >= BRG_DCT_FAIL && bed.verdict.count == 0;
        innocent += (bed.verdict.accused & ~liars) != 0;
        assert_int_not_equal(bed.verdict.status, BRG_DCT_CLEAN);
    }
    assert_true(caught >= 38);
    assert_true(innocent <= 1);
    bed_close();
}

/* Results of 1e30 may not drown a second, small lie in their rounding. */
static void dct_locate_beside_a_huge_liar__still_sees_the_small_one(void **state) {
    (void)state;
    bed_open(LOGISTIC, 4, 24, 4);
    bed_run();
    smooth_lie(&bed.f, 24, LIE_SMALL, UINT64_C(1) << 9, &bed.g, &bed.group);
    for (uint32_t e = 0; e < bed.f.out; e++) bed.group.y[17][e] *= 1e15f;
    bed_gram(ALL(24));
    brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
    assert_int_equal(bed.verdict.accused, 1u << 9 | 1u << 17);
    bed_close();
}

static void dct_search__gives_the_same_path_every_time(void **state) {
    (void)state;
    static struct brg_dct_verdict first;
    bed_open(LOGISTIC, 4, 24, 5);
    bed_judge(LIE_COLLUDE, 0x1110);
    first = bed.verdict;
    memset(bed.work->square, 7, sizeof bed.work->square); /* scratch has no meaning between calls */
    brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
    assert_memory_equal(&first, &bed.verdict, sizeof first);
    bed_close();
}

/* ---- learning ---- */

/* A round with noise of that relative size, more on some nodes than on others. */
static void drift_round(double noise, uint64_t liars) {
    bed_run();
    const double scale = smooth_scale(&bed.f, 24, &bed.group);
    for (uint32_t i = 0; i < 24; i++) {
        for (uint32_t e = 0; e < bed.f.out; e++) {
            bed.group.y[i][e] += (float)(noise * scale * (1 + i % 5) * brg_prng_normal(&bed.g));
        }
    }
    smooth_lie(&bed.f, 24, LIE_FLIP, liars, &bed.g, &bed.group);
    bed_gram(ALL(24));
}

/* Noise that grows by a hundredth a round, as while a loss falls: a detector that follows it stays
 * quiet, one that does not ends in alarms. */
static void dct_learn__follows_noise_that_drifts(void **state) {
    (void)state;
    for (uint32_t learns = 0; learns < 2; learns++) {
        uint32_t wrong = 0, found = 0;
        double noise = 1e-3;
        bed_open(LOGISTIC, 4, 24, 3);
        for (uint32_t t = 0; t < 24; t++) {
            drift_round(noise, 0);
            brg_dct_calibration_add(bed.cal, bed.gram);
        }
        bed.cal->version = 0; /* a calibration of its own, not an update of the one on open */
        memset(&bed.cal->limits, 0, sizeof bed.cal->limits);
        assert_int_equal(brg_dct_calibration_finish(bed.cal, bed.work), BRG_OK);
        assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, ALL(24), bed.work), BRG_OK);
        for (uint32_t t = 0; t < 150; t++, noise *= 1.01) {
            const uint64_t liars = t % 3 == 0 ? UINT64_C(1) << brg_prng_below(&bed.g, 24) : 0;
            drift_round(noise, liars);
            brg_dct_locate(&bed.set, bed.gram, bed.work, &bed.verdict);
            found += liars != 0 && bed.verdict.accused == liars;
            wrong += (bed.verdict.accused & ~liars) != 0 || bed.verdict.status >= BRG_DCT_FAIL;
            if (!learns || bed.verdict.status >= BRG_DCT_FAIL) continue;
            const uint64_t out = bed.verdict.accused;
            assert_int_equal(brg_dct_learn(bed.cal, &bed.set, bed.gram, out, bed.work), BRG_OK);
            if (bed.set.version == bed.cal->version) continue;
            assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, ALL(24), bed.work), BRG_OK);
        }
        if (learns)
            assert_true(found >= 45 && wrong <= 8);
        else
            assert_true(wrong >= 40);
    }
    bed_close();
}

/* Colluders who add, round by round, what passes: Cn may grow by a tenth an update in no direction
 * more, however many rounds they have. */
static void dct_learn__cannot_be_taught_fast_that_lies_are_noise(void **state) {
    (void)state;
    static double before[BRG_DCT_SQUARE];
    bed_open(LOGISTIC, 4, 24, 3);
    const double tau = bed.cal->limits.tau[0][0], level = bed.cal->limits.level[0];
    memcpy(before, bed.cal->cn, sizeof before);
    const uint32_t version = bed.cal->version;
    for (uint32_t t = 0; t < 5; t++) { /* whatever the verdict was: the ring is theirs */
        bed_run();
        smooth_lie(&bed.f, 24, LIE_COLLUDE, 0x00F000, &bed.g, &bed.group);
        bed_gram(ALL(24));
        assert_int_equal(brg_dct_learn(bed.cal, &bed.set, bed.gram, 0, bed.work), BRG_OK);
    }
    assert_int_equal(bed.cal->version, version + 5); /* the first rounds each make an update */
    const double most = pow(BRG_DCT_GROWTH_MAX, 5) * 1.0001;
    assert_true(bed.cal->limits.tau[0][0] <= tau * most);
    assert_true(bed.cal->limits.level[0] <= level * most);
    double now = 0.0, then = 0.0; /* the energy outside the code, as the first set weighs it */
    for (uint32_t i = 0; i < 24 * 24; i++) {
        now += bed.set.a[i] * before[i];
        then += bed.set.a[i] * bed.cal->cn[i];
    }
    assert_true(then <= now * 1.25 * most);
    bed_close();
}

static void dct_learn__predicts_what_is_flagged_instead_of_learning_it(void **state) {
    (void)state;
    bed_open(MLP, 4, 32, 3);
    const double honest = bed.cal->cn[3 * 32 + 3];
    const uint64_t gone = UINT64_C(1) << 20;
    assert_int_equal(brg_dct_set_build(&bed.set, bed.cal, ALL(32) & ~gone, bed.work), BRG_OK);
    for (uint32_t t = 0; t < 5; t++) {
        bed_judge(LIE_LARGE, 8);
        assert_int_equal(bed.verdict.accused, 8);
        assert_int_equal(brg_dct_learn(bed.cal, &bed.set, bed.gram, 8, bed.work), BRG_OK);
    }
    assert_true(fabs(bed.cal->cn[3 * 32 + 3] / honest - 1.0) < 0.5);
    assert_int_equal(brg_dct_learn(bed.cal, &bed.set, bed.gram, ALL(28), bed.work), BRG_ERANK);
    bed_close();
}

/* ---- few coordinates ---- */

enum { FEW_N = 24, FEW_BLOCKS = 8, FEW_D = FEW_BLOCKS * BRG_DCT_BLOCK };

static void few_run(float *y, double *z) {
    const size_t size = FEW_N * BRG_DCT_COLUMNS;
    const float *rows[FEW_N];
    for (uint32_t e = 0; e < FEW_D; e++) {
        double x[4];
        smooth_fill(&bed.g, 4, 1.0, x);
        for (uint32_t i = 0; i < FEW_N; i++) {
            rows[i] = y + (size_t)i * FEW_D;
            y[(size_t)i * FEW_D + e] = (float)tanh(brg_dense_dot(4, bed.rows + i * 4, x));
        }
    }
    if (z == NULL) return;
    memset(z, 0, FEW_BLOCKS * size * sizeof *z);
    const uint64_t seed = brg_prng_next(&bed.g);
    for (size_t b = 0; b < FEW_BLOCKS; b++) {
        const struct brg_dct_span span = {b * BRG_DCT_BLOCK, (b + 1) * BRG_DCT_BLOCK};
        brg_dct_sketch(FEW_N, rows, span, seed, z + b * size);
    }
}

static void dct_sparse__finds_in_its_block_what_the_whole_dilutes(void **state) {
    (void)state;
    const size_t size = FEW_N * BRG_DCT_COLUMNS;
    float *y = malloc(sizeof(float) * FEW_N * FEW_D);
    double *z = malloc(sizeof(double) * FEW_BLOCKS * size);
    assert_non_null(y);
    assert_non_null(z);
    bed_open(TANH, 4, FEW_N, 3);
    uint32_t exact = 0, quiet = 0;
    for (uint32_t t = 0; t < 16; t++) {
        struct brg_dct_sparse sparse;
        const uint32_t liar = (uint32_t)brg_prng_below(&bed.g, FEW_N);
        few_run(y, z);
        if (t < 6) {
            for (uint32_t b = 0; b < FEW_BLOCKS; b++) {
                brg_dct_sparse_calibrate(bed.cal, &bed.set, z + b * size, bed.work);
            }
            continue;
        }
        brg_dct_sparse_locate(bed.cal, &bed.set, FEW_BLOCKS, z, bed.work, &sparse);
        quiet += sparse.found == 0 && sparse.accused == 0;
        /* 3 added to 8 of the 4096 coordinates of block 5, all in columns of their own */
        for (uint32_t k = 0; k < 8; k++) {
            z[5 * size + liar * BRG_DCT_COLUMNS + 8 * k] += k % 2 == 0 ? 6.0 : -6.0;
        }
        brg_dct_sparse_locate(bed.cal, &bed.set, FEW_BLOCKS, z, bed.work, &sparse);
        exact += sparse.accused == UINT64_C(1) << liar && sparse.found == 1 && sparse.block[0] == 5;
    }
    assert_true(quiet >= 9);
    assert_true(exact >= 9);
    free(y);
    free(z);
    bed_close();
}

static void dct_spec_out_of_range__is_refused_with_a_sentence(void **state) {
    (void)state;
    const struct brg_dct_spec good = {16, 4, 3, 20, 1e-7};
    struct brg_dct_spec bad[8] = {good, good, good, good, good, good, good, good};
    bad[0].nodes = 65;
    bad[1].nodes = 5;
    bad[2].blocks = 0;
    bad[3].levels = 0;
    bad[4].levels = 12;
    bad[5].groups = 1;
    bad[6].precision = 0.0;
    bad[7].precision = NAN;
    assert_int_equal(brg_dct_check(&good, NULL), BRG_OK);
    for (uint32_t i = 0; i < 8; i++) {
        struct brg_why why = {""};
        assert_int_equal(brg_dct_check(&bad[i], &why), BRG_EINVAL);
        assert_true(strlen(why.text) > 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dct_core__agrees_with_the_oracle_to_many_digits),
        cmocka_unit_test(dct_damage__is_the_oracle_s_and_is_reached_by_its_direction),
        cmocka_unit_test(dct_locate_after_exact_words__has_thresholds_and_sees_a_lie),
        cmocka_unit_test(dct_sketch__keeps_inner_products_and_adds_up_over_spans),
        cmocka_unit_test(dct_normalise__names_broken_results_and_tames_huge_ones),
        cmocka_unit_test(dct_locate__names_exactly_the_liars_of_every_gross_kind),
        cmocka_unit_test(dct_locate_of_honest_rounds__accuses_hardly_anybody),
        cmocka_unit_test(dct_locate_on_near_blocks__sees_what_float32_can_show),
        cmocka_unit_test(dct_locate_of_colluders__needs_the_wide_search),
        cmocka_unit_test(dct_locate_with_results_missing__names_the_liars_by_their_node),
        cmocka_unit_test(dct_locate_of_too_many_liars__names_nobody_and_says_so),
        cmocka_unit_test(dct_locate_beside_a_huge_liar__still_sees_the_small_one),
        cmocka_unit_test(dct_search__gives_the_same_path_every_time),
        cmocka_unit_test(dct_learn__follows_noise_that_drifts),
        cmocka_unit_test(dct_learn__cannot_be_taught_fast_that_lies_are_noise),
        cmocka_unit_test(dct_learn__predicts_what_is_flagged_instead_of_learning_it),
        cmocka_unit_test(dct_sparse__finds_in_its_block_what_the_whole_dilutes),
        cmocka_unit_test(dct_spec_out_of_range__is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests_name("dct_locate", tests, NULL, NULL) != 0;
}
