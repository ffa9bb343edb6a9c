#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coding/replay.h"
#include "coding/replay_state.h"

#include <stdlib.h>
#include <string.h>

#define S BRG_NS_PER_S
#define MS BRG_NS_PER_MS

/* Four workers, each 1 s of fixed time and 8 s a batch; round 1 has a late one (worker 3, 10 s). */
static struct brg_profile_cell plain[4 * 4];

static struct brg_profile four_workers(void) {
    for (uint32_t i = 0; i < 16; i++) {
        plain[i] = (struct brg_profile_cell){.fixed_ns = 1 * S + i % 4 * MS, .rate_ns = 8 * S};
    }
    plain[4 + 3].fixed_ns = 10 * S;
    return (struct brg_profile){.n = 4, .rounds = 4, .cells = plain};
}

static struct brg_code_spec code(uint32_t kind, uint32_t s, uint32_t policy) {
    return (struct brg_code_spec){
        .kind = kind, .n = 4, .s = s, .chunks = 8, .policy = policy, .mu_ppm = 1000000, .seed = 1};
}

static struct brg_replay_totals run(const struct brg_code_spec *spec,
                                    const struct brg_replay_options *options,
                                    const struct brg_profile *profile, uint64_t steps) {
    struct brg_replay_totals out;
    struct brg_why why;
    const size_t bytes = brg_replay_size_bytes(spec);
    assert_true(bytes > 0);
    struct brg_replay *r = malloc(bytes);
    assert_non_null(r);
    if (brg_replay_run(r, bytes, spec, options, profile, steps, &out, &why) != BRG_OK) {
        fail_msg("%s", why.text);
    }
    free(r);
    return out;
}

static void replay_none__waits_for_everybody(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    const struct brg_code_spec spec = code(BRG_CODE_NONE, 0, BRG_POLICY_EARLY);
    const struct brg_replay_options options = {.late = 0};
    const struct brg_replay_totals t = run(&spec, &options, &p, 2);
    /* 2 of 8 chunks are 2 s: round 0 ends with worker 3 after 3.003 s, round 1 after 12 s. */
    assert_int_equal(t.elapsed_ns, 3003 * MS + 12 * S);
    assert_int_equal(t.busy_ns,
                     (3000 + 3001 + 3002 + 3003) * MS + (3000 + 3001 + 3002) * MS + 12 * S);
    assert_int_equal(t.shares, 8);
    assert_int_equal(t.waited, 1);
    assert_int_equal(t.late, 0);
}

static void replay_speculative__gives_the_late_share_to_the_fastest_idle_worker(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    const struct brg_code_spec spec = code(BRG_CODE_SPECULATIVE, 0, BRG_POLICY_EARLY);
    const struct brg_replay_options options = {.reattempt = 1};
    const struct brg_replay_totals t = run(&spec, &options, &p, 2);
    /* Round 1: late at 2 x 3 s, worker 0 takes 3 s more. */
    assert_int_equal(t.elapsed_ns, 3003 * MS + 9 * S);
    assert_int_equal(t.reattempts, 1);
    assert_int_equal(t.late, 1);
    assert_int_equal(t.busy_ns, 12006 * MS + 9003 * MS + 9 * S + 3 * S);
}

static void replay_parts__only_what_is_missing_is_attempted_again(void **state) {
    (void)state;
    struct brg_profile p = four_workers();
    /* Worker 3 is slow, not late: its first half is there after 1 + 5 s, before 2 x 3 s. */
    plain[4 + 3] = (struct brg_profile_cell){.fixed_ns = 1 * S - 1, .rate_ns = 40 * S};
    struct brg_code_spec spec = code(BRG_CODE_SPECULATIVE, 0, BRG_POLICY_EARLY);
    const struct brg_replay_options options = {.reattempt = 1};
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 3003 * MS + 9 * S);
    spec.parts = 2;
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 3003 * MS + 8 * S);
}

static void replay_frc_early__ends_with_the_first_of_each_group(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    const struct brg_code_spec spec = code(BRG_CODE_FRC, 1, BRG_POLICY_EARLY);
    const struct brg_replay_options options = {.late = 0};
    const struct brg_replay_totals t = run(&spec, &options, &p, 2);
    assert_int_equal(t.elapsed_ns, 2 * 5002 * MS); /* 4 chunks; worker 2 ends each round */
    assert_int_equal(t.late, 2);
    assert_int_equal(t.busy_ns, 2 * (5000 + 5001 + 5002 + 5002) * MS);
}

static void replay_policies__end_where_policy_h_says(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    const struct brg_replay_options options = {.late = 0};
    struct brg_code_spec spec = code(BRG_CODE_CYCLIC, 1, BRG_POLICY_MINWAIT);
    /* Round 0: everybody is there at 5.003 s. Round 1: 3 of 4 at 5.002 s, the bound is 10 s. */
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 5003 * MS + 10 * S);
    spec.policy = BRG_POLICY_PAPER;
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 5003 * MS + 10 * S);
    spec.policy = BRG_POLICY_EARLY;
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 2 * 5002 * MS);
    plain[4 + 2].fixed_ns = 8 * S; /* two late ones: not decodable at the bound */
    spec.policy = BRG_POLICY_PAPER;
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 5003 * MS + 14 * S); /* everybody */
    spec.policy = BRG_POLICY_MINWAIT;
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 5003 * MS + 12 * S); /* the third */
}

static void replay_late_start__a_worker_that_is_not_cancelled_begins_late(void **state) {
    (void)state;
    struct brg_profile p = four_workers();
    const struct brg_code_spec spec = code(BRG_CODE_FRC, 1, BRG_POLICY_EARLY);
    struct brg_replay_options options = {.late = BRG_LATE_STARTS};
    plain[8 + 2].fixed_ns = 3 * S; /* round 2 needs worker 3, who is busy with round 1 until 19 s */
    const uint64_t late_ns = run(&spec, &options, &p, 3).elapsed_ns;
    options.late = BRG_LATE_CANCELLED;
    const uint64_t free_ns = run(&spec, &options, &p, 3).elapsed_ns;
    assert_int_equal(free_ns, 2 * 5002 * MS + 5003 * MS);
    /* Worker 3 ends round 0's share 1 ms late, then takes 14 s; worker 2 is there after 7 s. */
    assert_int_equal(late_ns, 2 * 5002 * MS + 7 * S);
}

static void replay_link__shares_take_turns_and_hold_up_the_next_step_of_a_model(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    const struct brg_code_spec spec = code(BRG_CODE_FRC, 1, BRG_POLICY_EARLY);
    struct brg_replay_options options = {.vector_ns = 1 * S};
    /* Worker 0 brings its share at 5 s, worker 2 at 5.002 s, when the link is still busy: 7 s. */
    const struct brg_replay_totals one = run(&spec, &options, &p, 2);
    assert_int_equal(one.shares, 4);
    assert_int_equal(one.elapsed_ns, 2 * 7 * S);
    options.models = 2; /* the fetch overlaps with the other model's round */
    assert_int_equal(run(&spec, &options, &p, 2).elapsed_ns, 5002 * MS + 7 * S);
}

static void replay_m_sgc__pays_for_lateness_in_the_next_round_only(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    struct brg_code_spec spec = code(BRG_CODE_M_SGC, 0, BRG_POLICY_MINWAIT);
    spec.b = 1, spec.w = 2, spec.lambda = 4, spec.chunks = 4;
    const struct brg_replay_options options = {.whole = 1};
    struct brg_replay_totals t = run(&spec, &options, &p, 2);
    /* Rounds: all there 3.003; bound 6 s with worker 3 late; it alone makes good: 3.003. */
    assert_int_equal(t.rounds, 3);
    assert_int_equal(t.elapsed_ns, 3003 * MS + 6 * S + 3003 * MS);
    assert_int_equal(t.late, 1);
    spec.rule = BRG_RULE_MODEL;
    spec.policy = BRG_POLICY_PAPER;
    t = run(&spec, &options, &p, 2);
    assert_int_equal(t.elapsed_ns, 3003 * MS + 6 * S + 3003 * MS); /* conforms: the same */
}

static void replay_model_rule__waits_for_all_where_the_pattern_does_not_conform(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    struct brg_code_spec spec = code(BRG_CODE_M_SGC, 0, BRG_POLICY_PAPER);
    spec.b = 1, spec.w = 2, spec.lambda = 4, spec.chunks = 4, spec.rule = BRG_RULE_MODEL;
    plain[8 + 3].fixed_ns = 10 * S; /* late twice running: more than b = 1 */
    const struct brg_replay_options options = {.whole = 1};
    const struct brg_replay_totals t = run(&spec, &options, &p, 3);
    /* In round 2 worker 3 has two minitasks of 2 s: 10 + 4 s. */
    assert_int_equal(t.elapsed_ns, 3003 * MS + 6 * S + 14 * S + 0);
    assert_int_equal(t.rounds, 4);
}

/* Late in rounds 1 and 3: more than a burst of two, yet nothing is lost. */
static void replay_weakest_rule__ends_rounds_that_the_model_rule_waits_for(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    struct brg_code_spec spec = code(BRG_CODE_M_SGC, 0, BRG_POLICY_PAPER);
    spec.b = 2, spec.w = 3, spec.lambda = 4;
    plain[12 + 3].fixed_ns = 20 * S;
    const struct brg_replay_options options = {.whole = 1};
    const struct brg_replay_totals weakest = run(&spec, &options, &p, 4);
    spec.rule = BRG_RULE_MODEL;
    const struct brg_replay_totals model = run(&spec, &options, &p, 4);
    assert_int_equal(weakest.late, 2);
    assert_int_equal(model.late, 1);
    assert_true(model.elapsed_ns > weakest.elapsed_ns);
}

static void replay_every_kind__commits_all_steps_and_repeats_itself(void **state) {
    (void)state;
    static struct brg_profile_cell cells[16 * 64];
    struct brg_profile_ge ge = brg_profile_ge_default();
    struct brg_profile p;
    ge.enter = 0.3;
    ge.shape = 0.5;
    assert_int_equal(brg_profile_make(&ge, 16, 64, cells, &p, NULL), BRG_OK);
    const struct brg_code_spec specs[] = {
        {.kind = BRG_CODE_NONE, .policy = BRG_POLICY_EARLY},
        {.kind = BRG_CODE_SPECULATIVE, .policy = BRG_POLICY_EARLY, .parts = 4},
        {.kind = BRG_CODE_FRC, .s = 2, .parts = 3, .policy = BRG_POLICY_EARLY},
        {.kind = BRG_CODE_FRC, .s = 3, .delay = 1, .policy = BRG_POLICY_MINWAIT},
        {.kind = BRG_CODE_CYCLIC, .s = 3, .policy = BRG_POLICY_PAPER},
        {.kind = BRG_CODE_SR_SGC,
         .base = BRG_BASE_CYCLIC,
         .b = 2,
         .w = 3,
         .lambda = 5,
         .policy = BRG_POLICY_PAPER,
         .rule = BRG_RULE_MODEL},
        {.kind = BRG_CODE_SR_SGC,
         .base = BRG_BASE_REPETITION,
         .b = 1,
         .w = 2,
         .lambda = 6,
         .policy = BRG_POLICY_MINWAIT},
        {.kind = BRG_CODE_M_SGC, .b = 2, .w = 3, .lambda = 16, .policy = BRG_POLICY_MINWAIT},
        {.kind = BRG_CODE_M_SGC,
         .b = 1,
         .w = 2,
         .lambda = 3,
         .base = BRG_BASE_CYCLIC,
         .policy = BRG_POLICY_PAPER,
         .rule = BRG_RULE_MODEL},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        for (uint32_t variant = 0; variant < 16; variant++) {
            struct brg_code_spec spec = specs[i];
            spec.n = 16, spec.chunks = 16 * 5 * 12, spec.mu_ppm = 500000, spec.seed = 1;
            const struct brg_replay_options options = {.late = 1 + variant % 2,
                                                       .whole = variant / 2 % 2,
                                                       .reattempt = variant / 4 % 2,
                                                       .regroup = variant / 8,
                                                       .vector_ns = variant * MS};
            const struct brg_replay_totals a = run(&spec, &options, &p, 64);
            const struct brg_replay_totals b = run(&spec, &options, &p, 64);
            assert_memory_equal(&a, &b, sizeof a);
            assert_int_equal(a.steps, 64);
            assert_int_equal(a.rounds, 64 + brg_code_delay(&spec));
            assert_true(a.busy_ns <= 16 * a.elapsed_ns + 16 * 60 * S);
        }
    }
}

static void replay_points__say_what_came_and_who_was_cut_off(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    struct brg_code_spec spec = code(BRG_CODE_FRC, 1, BRG_POLICY_EARLY);
    spec.parts = 2;
    const struct brg_replay_options options = {.late = 0};
    const size_t bytes = brg_replay_size_bytes(&spec);
    struct brg_replay *r = malloc(bytes);
    struct brg_point points[16];
    struct brg_replay_round round = {.points = points, .points_room = 16};
    assert_int_equal(brg_replay_init(r, bytes, &spec, &options, &p, NULL), BRG_OK);
    brg_replay_round(r, 1, &round);
    /* Rotated halves: both members' first ones, after 3 s, are a whole. Nobody's second came. */
    uint32_t came = 0, cut = 0;
    for (uint32_t i = 0; i < round.point_count; i++) {
        came += !points[i].censored;
        cut += points[i].censored;
        assert_true(points[i].load == (points[i].censored ? 0.5 : 0.25));
    }
    assert_int_equal(came, 4);
    assert_int_equal(cut, 4);
    assert_int_equal(round.ended_ns, 3003 * MS);
    free(r);
}

static void replay_refusals__have_their_sentence(void **state) {
    (void)state;
    const struct brg_profile p = four_workers();
    struct brg_code_spec spec = code(BRG_CODE_M_SGC, 0, BRG_POLICY_MINWAIT);
    spec.b = 1, spec.w = 2, spec.lambda = 4, spec.chunks = 4;
    const size_t bytes = brg_replay_size_bytes(&spec);
    struct brg_replay *r = malloc(bytes);
    struct brg_why why;
    struct brg_replay_options options = {.models = 1};
    assert_int_equal(brg_replay_init(r, bytes, &spec, &options, &p, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "models"));
    options = (struct brg_replay_options){.late = 3};
    assert_int_equal(brg_replay_init(r, bytes, &spec, &options, &p, &why), BRG_EINVAL);
    options.late = 0;
    spec.policy = BRG_POLICY_EARLY;
    assert_int_equal(brg_replay_init(r, bytes, &spec, &options, &p, &why), BRG_EINVAL);
    spec = code(BRG_CODE_NONE, 0, BRG_POLICY_EARLY);
    spec.n = 3;
    assert_int_equal(brg_replay_init(r, bytes, &spec, &options, &p, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "3 workers"));
    free(r);
    spec.n = 0;
    assert_int_equal(brg_replay_size_bytes(&spec), 0);
}

static void replay_sort__is_stable_for_few_and_for_many(void **state) {
    (void)state;
    static struct brg_replay_event events[5000], spare[5000];
    const uint32_t counts[] = {0, 1, 20, 47, 48, 300, 5000};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        uint64_t x = 1;
        for (uint32_t i = 0; i < counts[c]; i++) {
            x = x * UINT64_C(6364136223846793005) + 1;
            events[i] = (struct brg_replay_event){
                .at_ns = (UINT64_C(1) << 40) + (x >> 33) % 1000 * S, .unit = i};
        }
        brg_replay_sort(events, spare, counts[c]);
        for (uint32_t i = 1; i < counts[c]; i++) {
            assert_true(
                events[i - 1].at_ns < events[i].at_ns ||
                (events[i - 1].at_ns == events[i].at_ns && events[i - 1].unit < events[i].unit));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_none__waits_for_everybody),
        cmocka_unit_test(replay_speculative__gives_the_late_share_to_the_fastest_idle_worker),
        cmocka_unit_test(replay_parts__only_what_is_missing_is_attempted_again),
        cmocka_unit_test(replay_frc_early__ends_with_the_first_of_each_group),
        cmocka_unit_test(replay_policies__end_where_policy_h_says),
        cmocka_unit_test(replay_late_start__a_worker_that_is_not_cancelled_begins_late),
        cmocka_unit_test(replay_link__shares_take_turns_and_hold_up_the_next_step_of_a_model),
        cmocka_unit_test(replay_m_sgc__pays_for_lateness_in_the_next_round_only),
        cmocka_unit_test(replay_model_rule__waits_for_all_where_the_pattern_does_not_conform),
        cmocka_unit_test(replay_weakest_rule__ends_rounds_that_the_model_rule_waits_for),
        cmocka_unit_test(replay_every_kind__commits_all_steps_and_repeats_itself),
        cmocka_unit_test(replay_points__say_what_came_and_who_was_cut_off),
        cmocka_unit_test(replay_refusals__have_their_sentence),
        cmocka_unit_test(replay_sort__is_stable_for_few_and_for_many),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL) != 0;
}
