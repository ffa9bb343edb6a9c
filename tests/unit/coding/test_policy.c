#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coding/policy.h"

#include <string.h>

#define NEVER BRG_POLICY_NEVER

static struct brg_code_spec spec_of(uint32_t policy, uint32_t mu_ppm) {
    return (struct brg_code_spec){.policy = policy, .mu_ppm = mu_ppm};
}

/* Started at 1000, first answer at 1400: with mu = 0.5 the bound is 1600. 2 of 8 are late. */
static struct brg_policy_round round_at(uint64_t now_ns, uint64_t decodable_ns) {
    return (struct brg_policy_round){.now_ns = now_ns,
                                     .started_ns = 1000,
                                     .first_ns = 1400,
                                     .decodable_ns = decodable_ns,
                                     .answered = 6,
                                     .expected = 8};
}

static int ends(uint32_t policy, struct brg_policy_round round, uint64_t *wake_ns) {
    const struct brg_code_spec spec = spec_of(policy, 500000);
    return brg_policy_may_end(&spec, &round, wake_ns);
}

static void policy_any_undecodable__goes_on_even_if_everybody_answered(void **state) {
    (void)state;
    for (uint32_t policy = BRG_POLICY_EARLY; policy <= BRG_POLICY_PAPER; policy++) {
        struct brg_policy_round round = round_at(9000, NEVER);
        uint64_t wake_ns = 1;
        round.answered = round.expected;
        assert_false(ends(policy, round, &wake_ns));
        assert_true(wake_ns == NEVER);
    }
}

static void policy_early__ends_at_the_first_decodable_instant(void **state) {
    (void)state;
    uint64_t wake_ns;
    assert_false(ends(BRG_POLICY_EARLY, round_at(1449, NEVER), &wake_ns));
    assert_true(ends(BRG_POLICY_EARLY, round_at(1450, 1450), &wake_ns));
    struct brg_policy_round at_once = round_at(1400, 1400);
    at_once.answered = 1;
    assert_true(ends(BRG_POLICY_EARLY, at_once, &wake_ns));
}

static void policy_minwait__waits_for_the_bound_then_ends_when_decodable(void **state) {
    (void)state;
    uint64_t wake_ns;
    assert_false(ends(BRG_POLICY_MINWAIT, round_at(1450, 1450), &wake_ns));
    assert_int_equal(wake_ns, 1600);
    assert_false(ends(BRG_POLICY_MINWAIT, round_at(1599, 1450), &wake_ns));
    assert_int_equal(wake_ns, 1600);
    assert_true(ends(BRG_POLICY_MINWAIT, round_at(1600, 1450), &wake_ns));
    assert_false(ends(BRG_POLICY_MINWAIT, round_at(1700, NEVER), &wake_ns));
    assert_true(ends(BRG_POLICY_MINWAIT, round_at(1750, 1750), &wake_ns));
}

static void policy_minwait_everybody_answered__does_not_wait_for_nobody(void **state) {
    (void)state;
    uint64_t wake_ns;
    for (uint32_t policy = BRG_POLICY_MINWAIT; policy <= BRG_POLICY_PAPER; policy++) {
        struct brg_policy_round round = round_at(1500, 1500);
        round.answered = 8;
        assert_true(ends(policy, round, &wake_ns));
    }
}

static void policy_paper_decodable_in_time__ends_at_the_bound(void **state) {
    (void)state;
    uint64_t wake_ns;
    assert_false(ends(BRG_POLICY_PAPER, round_at(1450, 1450), &wake_ns));
    assert_int_equal(wake_ns, 1600);
    assert_true(ends(BRG_POLICY_PAPER, round_at(1600, 1600), &wake_ns));
    assert_true(ends(BRG_POLICY_PAPER, round_at(1630, 1450), &wake_ns)); /* woken late */
}

static void policy_paper_decodable_too_late__waits_for_everybody(void **state) {
    (void)state;
    uint64_t wake_ns;
    struct brg_policy_round round = round_at(1700, 1601);
    assert_false(ends(BRG_POLICY_PAPER, round, &wake_ns));
    assert_true(wake_ns == NEVER);
    round.answered = 7;
    assert_false(ends(BRG_POLICY_PAPER, round, &wake_ns));
    round.answered = 8;
    assert_true(ends(BRG_POLICY_PAPER, round, &wake_ns));
}

static void policy_bound__is_one_plus_mu_times_the_fastest_rounded_down(void **state) {
    (void)state;
    const struct {
        uint64_t started_ns, first_ns, want_ns;
        uint32_t mu_ppm;
    } cases[] = {
        {0, 1000, 1000, 0},
        {0, 1000, 2000, 1000000},
        {500, 1500, 2500, 1000000},
        {0, 3, 3, 333333},
        {0, 3000001, 3750001, 250000}, /* 750000.25 */
        {0, 0, 0, 1000000},
        {7, NEVER, NEVER, 1000000},
        {0, UINT64_C(1) << 62, UINT64_C(1) << 63, 1000000}, /* the product passes 64 bits */
        {0, UINT64_C(1) << 63, NEVER, 1000000},             /* and so does the bound */
        {0, UINT64_C(1) << 60, NEVER, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct brg_code_spec spec = spec_of(BRG_POLICY_PAPER, cases[i].mu_ppm);
        const struct brg_policy_round round = {.now_ns = cases[i].first_ns,
                                               .started_ns = cases[i].started_ns,
                                               .first_ns = cases[i].first_ns};
        assert_true(brg_policy_bound_ns(&spec, &round) == cases[i].want_ns);
    }
}

static void policy_unknown__is_refused_with_a_sentence(void **state) {
    (void)state;
    for (uint32_t policy = 0; policy < 6; policy++) {
        const struct brg_code_spec spec = spec_of(policy, 0);
        struct brg_why why = {""};
        const int known = policy >= BRG_POLICY_EARLY && policy <= BRG_POLICY_PAPER;
        assert_int_equal(brg_policy_check(&spec, &why), known ? BRG_OK : BRG_EINVAL);
        assert_int_equal(strstr(why.text, "use early, minwait or paper") != NULL, !known);
    }
}

static void policy_early_with_a_delay__is_refused_with_a_sentence(void **state) {
    (void)state;
    const struct brg_code_spec specs[] = {
        {.kind = BRG_CODE_SR_SGC, .b = 2, .w = 3, .policy = BRG_POLICY_EARLY},
        {.kind = BRG_CODE_M_SGC, .b = 1, .w = 2, .policy = BRG_POLICY_EARLY},
        {.kind = BRG_CODE_FRC, .delay = 1, .policy = BRG_POLICY_EARLY},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct brg_code_spec spec = specs[i];
        struct brg_why why = {""};
        assert_int_equal(brg_policy_check(&spec, &why), BRG_EINVAL);
        assert_non_null(strstr(why.text, "use minwait with a mu"));
        spec.policy = BRG_POLICY_MINWAIT;
        assert_int_equal(brg_policy_check(&spec, NULL), BRG_OK);
        spec.rule = BRG_RULE_MODEL;
        assert_int_equal(brg_policy_check(&spec, NULL), BRG_OK);
        spec.rule = BRG_RULE_MODEL + 1;
        assert_int_equal(brg_policy_check(&spec, &why), BRG_EINVAL);
        assert_non_null(strstr(why.text, "use weakest or model"));
    }
}

static void policy_patience__is_twice_the_fastest_and_doubles_with_attempts(void **state) {
    (void)state;
    struct brg_code_spec spec = {
        .kind = BRG_CODE_FRC, .policy = BRG_POLICY_MINWAIT, .mu_ppm = 250000};
    struct brg_policy_patience run = {.timeout_ns = 100000, .least_ns = 50};
    struct brg_policy_round round = {.now_ns = 1400, .started_ns = 1000, .first_ns = 1400};
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 0), 800);
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 3), 6400);
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 6), 51200);
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 60), 51200);
    run.timeout_ns = 5000;
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 3), 5000);
    run.least_ns = 3000; /* noise is not straggling */
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 0), 3000);
    run.given_ns = 300; /* the run knows better */
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 1), 600);
    round.first_ns = NEVER;
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 1), 600);
    run.given_ns = 0;
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 0), 5000);
    round.first_ns = 1400;
    run.least_ns = 50;
    spec.kind = BRG_CODE_SPECULATIVE; /* 1 + mu */
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 0), 500);
    round.first_ns = UINT64_MAX - 1; /* no overflow */
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 0), 5000);
    spec.policy = BRG_POLICY_PAPER; /* waits for everybody */
    round.first_ns = 1400;
    run.given_ns = 300;
    assert_int_equal(brg_policy_patience_ns(&spec, &round, &run, 0), 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_any_undecodable__goes_on_even_if_everybody_answered),
        cmocka_unit_test(policy_early__ends_at_the_first_decodable_instant),
        cmocka_unit_test(policy_minwait__waits_for_the_bound_then_ends_when_decodable),
        cmocka_unit_test(policy_minwait_everybody_answered__does_not_wait_for_nobody),
        cmocka_unit_test(policy_paper_decodable_in_time__ends_at_the_bound),
        cmocka_unit_test(policy_paper_decodable_too_late__waits_for_everybody),
        cmocka_unit_test(policy_bound__is_one_plus_mu_times_the_fastest_rounded_down),
        cmocka_unit_test(policy_unknown__is_refused_with_a_sentence),
        cmocka_unit_test(policy_early_with_a_delay__is_refused_with_a_sentence),
        cmocka_unit_test(policy_patience__is_twice_the_fastest_and_doubles_with_attempts),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL) != 0;
}
