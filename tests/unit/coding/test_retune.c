/* test_retune - when a run that chooses its code asks the tuner, and what it tells it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "coding/retune.h"

#define N 4u
#define ROOM 64u
#define ROUND_NS 1000000u

static struct brg_point points[ROOM];

static struct brg_retune book_new(void) {
    const struct brg_tuner_config config = {.n = N, .models = 1, .minimise = BRG_MINIMISE_TIME};
    struct brg_retune r;
    brg_retune_init(&r, &config, points, ROOM);
    return r;
}

static struct brg_code_spec frc(uint32_t parts) {
    return (struct brg_code_spec){
        .kind = BRG_CODE_FRC, .n = N, .s = 1, .parts = parts, .policy = BRG_POLICY_EARLY};
}

static struct brg_tuner_row row_of(const struct brg_code_spec *spec, uint64_t step_ns) {
    return (struct brg_tuner_row){
        .spec = *spec, .step_ns = step_ns, .spread_ns = step_ns / 100, .deals = BRG_TUNER_DEALS};
}

/* One round with a point of each worker; returns whether the tuner is to be asked. */
static int round_of(struct brg_retune *r, uint64_t ns) {
    brg_retune_make_room(r, N);
    for (uint32_t i = 0; i < N; i++)
        r->points[r->point_count++] =
            (struct brg_point){.round = (uint32_t)r->round, .worker = i, .load = 0.5, .seconds = 1};
    r->round++;
    brg_retune_round(r, ns, N * ns);
    return brg_retune_is_due(r);
}

static void retune_probe__is_long_enough_before_the_tuner_is_asked(void **state) {
    (void)state;
    struct brg_retune r = book_new();
    const struct brg_code_spec probe = frc(2);
    brg_retune_begin(&r, &probe, NULL);
    for (uint32_t i = 1; i < brg_tuner_probe_rounds(N); i++) assert_false(round_of(&r, ROUND_NS));
    assert_true(round_of(&r, ROUND_NS));
    brg_retune_prepare(&r, 100);
    assert_int_equal(r.config.steps_left, 100);
    assert_int_equal(r.config.tried_count, 0); /* a probe is no choice */
    assert_int_equal(r.config.current.kind, 0);
    brg_retune_failed(&r);
    assert_false(round_of(&r, ROUND_NS)); /* not at every round from here */
}

static void retune_kept_promise__is_looked_at_after_32_and_128_rounds(void **state) {
    (void)state;
    struct brg_retune r = book_new();
    const struct brg_code_spec spec = frc(1);
    const struct brg_tuner_row promise = row_of(&spec, ROUND_NS);
    brg_retune_begin(&r, &spec, &promise);
    for (uint32_t i = 1; i <= 200; i++) {
        const int due = round_of(&r, ROUND_NS);
        assert_int_equal(due, i == 32 || i == 128);
        assert_int_equal(r.outside, 0);
    }
    brg_retune_prepare(&r, 1);
    assert_int_equal(r.config.tried_count, 1);
    assert_int_equal(r.config.tried[0].rounds, 200);
    assert_int_equal(r.config.tried[0].step_ns, ROUND_NS);
    assert_int_equal(r.config.tried[0].cost_ns, N * ROUND_NS);
    assert_memory_equal(&r.config.current, &spec, sizeof spec);
}

static void retune_broken_promise__forgets_what_is_of_another_time(void **state) {
    (void)state;
    struct brg_retune r = book_new();
    const struct brg_code_spec spec = frc(1), other = frc(3);
    const struct brg_tuner_row promise = row_of(&spec, ROUND_NS);
    r.config.tried_count = 1;
    r.config.tried[0] = (struct brg_tuner_tried){.spec = other, .step_ns = 1, .rounds = 9};
    brg_retune_begin(&r, &spec, &promise);
    for (uint32_t i = 1; i < 8; i++) assert_false(round_of(&r, 3 * ROUND_NS));
    assert_true(round_of(&r, 3 * ROUND_NS));
    assert_int_equal(r.outside, 1);
    assert_int_equal(r.point_count, 4 * N); /* the later half of eight rounds */
    for (uint32_t i = 0; i < r.point_count; i++) assert_true(r.points[i].round >= 4);
    brg_retune_prepare(&r, 10);
    assert_int_equal(r.config.tried_count, 0);
}

static void retune_unknown_slope__is_probed_for_where_the_old_one_may_be_wrong(void **state) {
    (void)state;
    struct brg_retune r = book_new();
    const struct brg_code_spec spec = frc(1), probe = frc(2);
    const struct brg_tuner_row promise = row_of(&spec, ROUND_NS);
    struct brg_profile_summary seen = {.has_slope = 1, .alpha_s = 7.0};
    brg_retune_begin(&r, &spec, &promise);
    assert_false(brg_retune_must_probe(&r, &seen));
    seen = (struct brg_profile_summary){.has_slope = 0, .alpha_s = 0.0};
    assert_false(brg_retune_must_probe(&r, &seen)); /* nothing says that it changed */
    assert_true(r.config.alpha_s > 6.9 && r.config.alpha_s < 7.1);
    for (uint32_t i = 0; i < 8; i++) (void)round_of(&r, 3 * ROUND_NS);
    assert_true(brg_retune_must_probe(&r, &seen));
    brg_retune_begin(&r, &probe, NULL);
    assert_int_equal(r.point_count, 0);
    assert_int_equal(r.promise.deals, 0);
    assert_int_equal(r.outside, 0);
}

static void retune_tried_codes__are_kept_once_each_and_the_oldest_goes(void **state) {
    (void)state;
    struct brg_retune r = book_new();
    for (uint32_t turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < BRG_TUNER_TRIED_MAX + 1; i++) {
            struct brg_code_spec spec = frc(1);
            spec.mu_ppm = i;
            const struct brg_tuner_row promise = row_of(&spec, ROUND_NS);
            brg_retune_begin(&r, &spec, &promise);
            (void)round_of(&r, ROUND_NS + i);
            brg_retune_prepare(&r, 1);
            brg_retune_prepare(&r, 1); /* asked twice: still one record */
        }
    }
    assert_int_equal(r.config.tried_count, BRG_TUNER_TRIED_MAX);
    for (uint32_t i = 0; i < BRG_TUNER_TRIED_MAX; i++)
        assert_int_equal(r.config.tried[i].spec.mu_ppm, i + 1);
}

static void retune_points__never_outgrow_their_room(void **state) {
    (void)state;
    struct brg_retune r = book_new();
    const struct brg_code_spec spec = frc(1);
    const struct brg_tuner_row promise = row_of(&spec, ROUND_NS);
    brg_retune_begin(&r, &spec, &promise);
    for (uint32_t i = 0; i < 100; i++) {
        (void)round_of(&r, ROUND_NS);
        assert_true(r.point_count <= ROOM);
        assert_int_equal(r.points[r.point_count - 1].round, i);
    }
    brg_retune_make_room(&r, ROOM); /* all of it, though one round fills the rest */
    assert_int_equal(r.point_count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retune_probe__is_long_enough_before_the_tuner_is_asked),
        cmocka_unit_test(retune_kept_promise__is_looked_at_after_32_and_128_rounds),
        cmocka_unit_test(retune_broken_promise__forgets_what_is_of_another_time),
        cmocka_unit_test(retune_unknown_slope__is_probed_for_where_the_old_one_may_be_wrong),
        cmocka_unit_test(retune_tried_codes__are_kept_once_each_and_the_oldest_goes),
        cmocka_unit_test(retune_points__never_outgrow_their_room),
    };
    return cmocka_run_group_tests_name("retune", tests, NULL, NULL) != 0;
}
