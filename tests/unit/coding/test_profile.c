#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coding/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 256u
#define ROUNDS 200u

static struct brg_profile_cell cells[N * ROUNDS], more[N * ROUNDS];

static struct brg_profile made(const struct brg_profile_ge *ge, uint32_t n, uint32_t rounds,
                               struct brg_profile_cell *into) {
    struct brg_profile p;
    struct brg_why why;
    assert_int_equal(brg_profile_make(ge, n, rounds, into, &p, &why), BRG_OK);
    return p;
}

/* The statistics that the default stands for: published shares of late cells and bursts. */
static void profile_default__has_the_published_statistics(void **state) {
    (void)state;
    const struct brg_profile_ge ge = brg_profile_ge_default();
    const struct brg_profile p = made(&ge, N, ROUNDS, cells);
    uint32_t late = 0, bursts = 0, stalls = 0;
    uint8_t before[N] = {0};
    for (uint32_t r = 0; r < ROUNDS; r++) {
        uint64_t first_ns = UINT64_MAX;
        for (uint32_t i = 0; i < N; i++) {
            const uint64_t ns = brg_profile_cell_ns(brg_profile_cell(&p, r, i), 0, N);
            if (ns < first_ns) first_ns = ns;
        }
        for (uint32_t i = 0; i < N; i++) {
            const uint64_t ns = brg_profile_cell_ns(brg_profile_cell(&p, r, i), 0, N);
            const uint8_t is_late = ns > 2 * first_ns;
            late += is_late;
            bursts += is_late && !before[i];
            stalls += ns > 10 * BRG_NS_PER_S;
            before[i] = is_late;
        }
    }
    const double share = late / (double)(N * ROUNDS), length = late / (double)bursts;
    assert_true(share > 0.042 && share < 0.052);
    assert_true(length > 1.12 && length < 1.25);
    assert_true(stalls >= 1 && stalls <= 15);
}

static void profile_same_seed__a_longer_one_begins_with_the_shorter(void **state) {
    (void)state;
    struct brg_profile_ge ge = brg_profile_ge_default();
    ge.shape = 0.45;
    ge.multiply = 1;
    (void)made(&ge, N, 50, cells);
    (void)made(&ge, N, 60, more);
    assert_memory_equal(cells, more, 50 * N * sizeof *cells);
    ge.seed++;
    (void)made(&ge, N, 60, more);
    assert_memory_not_equal(cells, more, 50 * N * sizeof *cells);
}

/* With the gamma distribution a few workers are late often; without it nobody is. */
static void profile_shape__makes_workers_differ(void **state) {
    (void)state;
    uint32_t most[2] = {0};
    for (uint32_t mixed = 0; mixed < 2; mixed++) {
        struct brg_profile_ge ge = brg_profile_ge_default();
        ge.shape = mixed ? 0.45 : 0.0;
        const struct brg_profile p = made(&ge, N, ROUNDS, cells);
        for (uint32_t i = 0; i < N; i++) {
            uint32_t late = 0;
            for (uint32_t r = 0; r < ROUNDS; r++) {
                late += brg_profile_cell(&p, r, i)->fixed_ns > BRG_NS_PER_S;
            }
            if (late > most[mixed]) most[mixed] = late;
        }
    }
    assert_true(most[0] < ROUNDS / 6);
    assert_true(most[1] > ROUNDS / 6);
}

static void profile_multiply__slows_computing_and_add_does_not(void **state) {
    (void)state;
    for (uint32_t multiply = 0; multiply < 2; multiply++) {
        struct brg_profile_ge ge = brg_profile_ge_default();
        ge.multiply = multiply;
        const struct brg_profile p = made(&ge, N, 20, cells);
        uint64_t most_ns = 0;
        for (uint32_t i = 0; i < N * 20; i++) {
            if (p.cells[i].rate_ns > most_ns) most_ns = p.cells[i].rate_ns;
        }
        const double factor = (double)most_ns * 1e-9 / ge.alpha_s;
        assert_true(multiply ? factor > 2.0 : fabs(factor - 1.0) < 1e-6);
    }
}

static void profile_settings_out_of_range__are_refused_with_their_name(void **state) {
    (void)state;
    struct brg_profile p;
    struct brg_why why;
    struct brg_profile_ge ge = brg_profile_ge_default();
    ge.leave = 0.0;
    assert_int_equal(brg_profile_make(&ge, 4, 4, cells, &p, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "slow to fast"));
    ge = brg_profile_ge_default();
    ge.alpha_s = NAN;
    assert_int_equal(brg_profile_make(&ge, 4, 4, cells, &p, &why), BRG_EINVAL);
    ge = brg_profile_ge_default();
    assert_int_equal(brg_profile_make(&ge, 0, 4, cells, &p, &why), BRG_EINVAL);
    assert_int_equal(brg_profile_make(&ge, 1024, 65536, cells, &p, &why), BRG_EINVAL);
}

static int parse(const char *text, struct brg_points *out, struct brg_why *why) {
    static struct brg_point items[8];
    return brg_points_parse(text, strlen(text), items, 8, out, why);
}

static void points_good_text__is_read(void **state) {
    (void)state;
    struct brg_points p;
    struct brg_why why;
    assert_int_equal(parse("worker,round,seconds\n1,7,0.25\r\n0,9,12", &p, &why), BRG_OK);
    assert_int_equal(p.count, 2);
    assert_int_equal(p.workers, 2);
    assert_int_equal(p.rounds, 3);
    assert_true(p.items[0].seconds == 0.25 && p.items[1].seconds == 12.0);
    assert_int_equal(parse("worker,round,seconds,load,censored\n3,0,1.5,0.0078125,1\n", &p, &why),
                     BRG_OK);
    assert_true(p.items[0].load == 0.0078125);
    assert_int_equal(p.items[0].censored, 1);
}

static void points_bad_text__is_refused_with_its_line(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"", "line 1"},
        {"worker,seconds\n", "line 1"},
        {"worker,round,seconds\n", "line 2"},
        {"worker,round,seconds\n1,2,3\n1,2\n", "line 3: column 3"},
        {"worker,round,seconds\n1,2,3,4\n", "line 2: there is more"},
        {"worker,round,seconds\n1024,2,3\n", "line 2: worker"},
        {"worker,round,seconds\n1.5,2,3\n", "line 2: column 1"},
        {"worker,round,seconds\n1,2,1e3\n", "line 2: column 3"},
        {"worker,round,seconds\n1,2,-1\n", "line 2: column 3"},
        {"worker,round,seconds\n1,2,0.0\n", "line 2: seconds"},
        {"worker,round,seconds\n1,2,3.\n", "line 2: column 3"},
        {"worker,round,seconds\n1,2, 3\n", "line 2: column 3"},
        {"worker,round,seconds\n1,2,99999\n", "line 2: seconds is above"},
        {"worker,round,seconds\n\n", "line 2"},
        {"worker,round,seconds,load\n1,2,3,1.01\n", "line 2: load"},
        {"worker,round,seconds,load,censored\n1,2,3,1,2\n", "line 2: censored"},
        {"worker,round,seconds\n1,2,3\n1,70000,3\n", "line 3: round"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct brg_points p;
        struct brg_why why = {.text = ""};
        assert_int_equal(parse(bad[i][0], &p, &why), BRG_EINVAL);
        if (strstr(why.text, bad[i][1]) == NULL) fail_msg("%s: %s", bad[i][0], why.text);
    }
}

static void points_more_than_room__are_refused(void **state) {
    (void)state;
    char text[256] = "worker,round,seconds\n";
    struct brg_points p;
    struct brg_why why;
    for (int i = 0; i < 9; i++) strcat(text, "1,2,3\n");
    assert_int_equal(parse(text, &p, &why), BRG_EFULL);
    assert_non_null(strstr(why.text, "line 10"));
    assert_int_equal(brg_points_count_lines(text, strlen(text)), 11);
}

/* Points of a known profile at two loads; who takes longer than cut_s is censored. */
static uint32_t observe(const struct brg_profile *p, double cut_s, struct brg_point *out) {
    uint32_t count = 0;
    for (uint32_t r = 0; r < p->rounds; r++) {
        for (uint32_t i = 0; i < p->n; i++) {
            for (uint32_t part = 1; part <= 2; part++) {
                const uint64_t ns = brg_profile_cell_ns(brg_profile_cell(p, r, i), part, p->n);
                const double s = (double)ns * 1e-9;
                out[count++] = (struct brg_point){.round = 5 + r,
                                                  .worker = i,
                                                  .load = (double)part / p->n,
                                                  .seconds = s > cut_s ? cut_s : s,
                                                  .censored = s > cut_s};
                if (s > cut_s) break;
            }
        }
    }
    return count;
}

static struct brg_profile_summary fitted(const struct brg_profile *p, double cut_s,
                                         struct brg_profile *out) {
    static struct brg_point points[2 * N * 40];
    struct brg_arena arena;
    struct brg_profile_summary summary;
    const size_t bytes = brg_profile_fit_bytes(p->n, p->rounds);
    void *block = malloc(bytes);
    assert_non_null(block);
    brg_arena_init(&arena, block, bytes);
    const struct brg_profile_fit fit = {.points = points,
                                        .count = observe(p, cut_s, points),
                                        .first_round = 5,
                                        .rounds = p->rounds,
                                        .n = p->n,
                                        .seed = 3};
    assert_int_equal(brg_profile_fit(&fit, &arena, more, out, &summary), BRG_OK);
    free(block);
    return summary;
}

static void fit_of_everything_seen__gives_the_cells_back(void **state) {
    (void)state;
    for (uint32_t multiply = 0; multiply < 2; multiply++) {
        struct brg_profile_ge ge = brg_profile_ge_default();
        ge.multiply = multiply;
        ge.alpha_s = 50.0;
        const struct brg_profile p = made(&ge, N, 20, cells);
        struct brg_profile out;
        const struct brg_profile_summary s = fitted(&p, 1e9, &out);
        assert_int_equal(s.observed, N * 20);
        assert_true(s.has_slope && s.alpha_s > 49.0 && s.alpha_s < (multiply ? 62.0 : 51.0));
        for (uint32_t i = 0; i < N * 20; i++) {
            const double true_s = (double)brg_profile_cell_ns(&cells[i], 16, N) * 1e-9;
            const double fit_s = (double)brg_profile_cell_ns(&more[i], 16, N) * 1e-9;
            assert_true(fabs(fit_s - true_s) < 1e-3 * true_s);
        }
    }
}

/* Cut off at 1.3 s in most rounds, not in some: the tail beyond is made of those that were seen. */
static void fit_of_censored_cells__keeps_the_share_and_the_length_of_the_tail(void **state) {
    (void)state;
    struct brg_profile_ge ge = brg_profile_ge_default();
    ge.stall = 0.0;
    const struct brg_profile p = made(&ge, N, 40, cells);
    static struct brg_point points[2 * N * 40];
    uint32_t count = 0;
    for (uint32_t r = 0; r < 40; r++) {
        const struct brg_profile row = {.n = N, .rounds = 1, .cells = cells + (size_t)r * N};
        const uint32_t there = observe(&row, r % 4 == 0 ? 1e9 : 1.15, points + count);
        for (uint32_t i = 0; i < there; i++) points[count + i].round = r;
        count += there;
    }
    struct brg_arena arena;
    struct brg_profile_summary summary;
    struct brg_profile out;
    const size_t bytes = brg_profile_fit_bytes(N, 40);
    void *block = malloc(bytes);
    brg_arena_init(&arena, block, bytes);
    const struct brg_profile_fit fit = {.points = points, .count = count, .rounds = 40, .n = N};
    assert_int_equal(brg_profile_fit(&fit, &arena, more, &out, &summary), BRG_OK);
    free(block);
    assert_true(summary.censored > 200);
    double true_s = 0.0, fit_s = 0.0;
    uint32_t true_late = 0, fit_late = 0;
    for (uint32_t i = 0; i < N * 40; i++) {
        const double a = (double)cells[i].fixed_ns * 1e-9, b = (double)more[i].fixed_ns * 1e-9;
        if (a > 1.15) true_late++, true_s += a;
        if (b > 1.15) fit_late++, fit_s += b;
    }
    assert_true(abs((int)fit_late - (int)true_late) < (int)true_late / 10);
    assert_true(fabs(fit_s / fit_late - true_s / true_late) < 0.06);
    assert_int_equal(p.n, out.n);
}

static void fit_of_nothing__says_so(void **state) {
    (void)state;
    struct brg_arena arena;
    struct brg_profile_summary summary;
    struct brg_profile out;
    static uint64_t block[4096];
    brg_arena_init(&arena, block, sizeof block);
    struct brg_profile_fit fit = {.rounds = 2, .n = 2};
    assert_int_equal(brg_profile_fit(&fit, &arena, more, &out, &summary), BRG_ENOENT);
    const struct brg_point cut = {.seconds = 1.0, .censored = 1};
    fit.points = &cut;
    fit.count = 1;
    assert_int_equal(brg_profile_fit(&fit, &arena, more, &out, &summary), BRG_ENOENT);
    brg_arena_init(&arena, block, 64);
    assert_int_equal(brg_profile_fit(&fit, &arena, more, &out, &summary), BRG_ENOMEM);
}

/* One answer of one worker: everybody else takes after it. */
static void fit_with_absent_cells__takes_others_for_them(void **state) {
    (void)state;
    struct brg_arena arena;
    struct brg_profile_summary summary;
    struct brg_profile out;
    static uint64_t block[4096];
    brg_arena_init(&arena, block, sizeof block);
    const struct brg_point one = {.round = 1, .worker = 1, .seconds = 2.0, .load = 0.5};
    const struct brg_profile_fit fit = {
        .points = &one, .count = 1, .first_round = 0, .rounds = 3, .n = 2, .alpha_s = 1.0};
    assert_int_equal(brg_profile_fit(&fit, &arena, more, &out, &summary), BRG_OK);
    assert_int_equal(summary.absent, 5);
    assert_int_equal(summary.has_slope, 0);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(more[i].fixed_ns / 1000, 1500000);
        assert_int_equal(more[i].rate_ns, BRG_NS_PER_S);
    }
}

static void line_fit__finds_the_line_or_says_that_there_is_none(void **state) {
    (void)state;
    const double x[] = {0.0, 1.0, 2.0, 3.0}, y[] = {1.0, 3.1, 4.9, 7.0};
    double slope = 0.0, zero = 0.0;
    assert_int_equal(brg_line_fit(4, x, y, &slope, &zero), BRG_OK);
    assert_true(fabs(slope - 1.98) < 1e-9 && fabs(zero - 1.03) < 1e-9);
    const double same[] = {2.0, 2.0};
    assert_int_equal(brg_line_fit(2, same, y, &slope, &zero), BRG_ERANK);
    assert_int_equal(brg_line_fit(1, x, y, &slope, &zero), BRG_ERANK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_default__has_the_published_statistics),
        cmocka_unit_test(profile_same_seed__a_longer_one_begins_with_the_shorter),
        cmocka_unit_test(profile_shape__makes_workers_differ),
        cmocka_unit_test(profile_multiply__slows_computing_and_add_does_not),
        cmocka_unit_test(profile_settings_out_of_range__are_refused_with_their_name),
        cmocka_unit_test(points_good_text__is_read),
        cmocka_unit_test(points_bad_text__is_refused_with_its_line),
        cmocka_unit_test(points_more_than_room__are_refused),
        cmocka_unit_test(fit_of_everything_seen__gives_the_cells_back),
        cmocka_unit_test(fit_of_censored_cells__keeps_the_share_and_the_length_of_the_tail),
        cmocka_unit_test(fit_of_nothing__says_so),
        cmocka_unit_test(fit_with_absent_cells__takes_others_for_them),
        cmocka_unit_test(line_fit__finds_the_line_or_says_that_there_is_none),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL) != 0;
}
