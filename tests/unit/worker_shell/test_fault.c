/* Faults to order: what is understood, what is refused, and that each is decided by (seed, step),
 * or (seed, round). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "worker/shell/fault.h"

#include <math.h>
#include <string.h>

#define STEPS 10000u

static struct brg_faults parse(const char *text) {
    struct brg_faults faults = {0};
    struct brg_why why = {{0}};
    if (brg_faults_parse(text, &faults, &why) != BRG_OK) fail_msg("%s: %s", text, why.text);
    return faults;
}

static struct brg_fault_plan plan_of(const struct brg_faults *faults, uint64_t step) {
    struct brg_fault_plan plan;
    brg_faults_plan(faults, (struct brg_fault_at){.step = step, .round = 1}, &plan);
    return plan;
}

static struct brg_fault_plan plan_of_round(const struct brg_faults *faults, uint64_t round) {
    struct brg_fault_plan plan;
    brg_faults_plan(faults, (struct brg_fault_at){.step = 1, .round = round}, &plan);
    return plan;
}

static void fault_texts__are_understood_as_written(void **state) {
    (void)state;
    struct brg_faults f = parse("slow:factor=3");
    assert_int_equal(f.count, 1);
    assert_int_equal(f.items[0].kind, BRG_FAULT_SLOW);
    assert_true(f.items[0].factor == 3);
    assert_int_equal(f.items[0].share_ppm, 1000000);
    f = parse("slow:factor=1.5,share=0.5,seed=18446744073709551615");
    assert_int_equal(f.items[0].share_ppm, 500000);
    assert_true(f.items[0].seed == UINT64_MAX);
    f = parse("stall:for=300ms,share=20%,seed=7");
    assert_true(f.items[0].for_ns == 300 * BRG_NS_PER_MS);
    assert_int_equal(f.items[0].share_ppm, 200000);
    f = parse("stall:pick=2/8,index=3,for=2s,seed=7");
    assert_int_equal(f.items[0].pick, 2);
    assert_int_equal(f.items[0].among, 8);
    assert_int_equal(f.items[0].position, 3);
    f = parse("die:step=17");
    assert_true(f.items[0].kind == BRG_FAULT_DIE && f.items[0].step == 17);
    f = parse("lie:scale=-1.5,share=0.1");
    assert_true(f.items[0].lie == BRG_LIE_SCALE && f.items[0].factor == -1.5);
    f = parse("lie:random;lie:sign;die:share=1%");
    assert_int_equal(f.count, 3);
    assert_int_equal(f.items[0].lie, BRG_LIE_RANDOM);
    assert_int_equal(f.items[1].lie, BRG_LIE_SIGN);
    assert_int_equal(f.items[2].share_ppm, 10000);
    f = parse("ge:p=0.0416,q=0.845,factor=3,seed=11");
    assert_int_equal(f.items[0].kind, BRG_FAULT_GE);
    assert_true(f.items[0].p == 0.0416 && f.items[0].q == 0.845 && f.items[0].factor == 3);
    assert_true(f.items[0].for_ns == 0 && f.items[0].seed == 11);
    f = parse("ge:add=500ms,q=1,p=0");
    assert_true(f.items[0].for_ns == 500 * BRG_NS_PER_MS && f.items[0].factor == 1);
}

static void fault_nonsense__is_refused_with_a_sentence_and_changes_nothing(void **state) {
    (void)state;
    static const struct {
        const char *text, *word; /* a word that its sentence must have */
    } bad[] = {
        {"", "empty"},
        {";", "empty"},
        {"explode", "explode"},
        {"explode:now", "no fault"},
        {"slow", "factor"},
        {"slow:", "factor"},
        {"slow:factor", "needs a value"},
        {"slow:factor=", "factor="},
        {"slow:factor=0.5", "from 1"},
        {"slow:factor=nan", "from 1"},
        {"slow:factor=2x", "2x"},
        {"slow:factor=2,for=2s", "does not know \"for\""},
        {"slow:factor=2,factor=3", "twice"},
        {"slow:factor=2,share=1.5", "from 0 to 1"},
        {"slow:factor=2,share=-1", "from 0 to 1"},
        {"slow:factor=2,seed=-1", "whole number"},
        {"slow:factor=2,seed=18446744073709551616", "whole number"},
        {"stall:share=0.2", "for=DURATION"},
        {"stall:for=2", "duration"},
        {"stall:for=2d", "duration"},
        {"stall:for=2s,pick=2/8", "rota needs both"},
        {"stall:for=2s,index=2", "rota needs both"},
        {"stall:for=2s,pick=9/8,index=1", "K/N"},
        {"stall:for=2s,pick=2,index=1", "K/N"},
        {"stall:for=2s,pick=0/0,index=0", "K/N"},
        {"stall:for=2s,pick=2/8,index=8", "0 to 7"},
        {"stall:for=2s,pick=2/8,index=1,share=0.5", "leave share"},
        {"die", "step=NUMBER"},
        {"die:seed=3", "step=NUMBER"},
        {"die:step=0", "first step is 1"},
        {"lie", "scale"},
        {"lie:sign,random", "one of"},
        {"lie:sign=3", "takes no value"},
        {"lie:scale=inf", "from -1000000"},
        {"die:step=1;nothing", "nothing"},
        {"ge", "p=NUMBER"},
        {"ge:p=0.1,q=0.5", "factor=NUMBER"},
        {"ge:p=0.1,factor=3", "q=NUMBER"},
        {"ge:q=0.1,add=1s", "p=NUMBER"},
        {"ge:p=1.1,q=0.5,factor=3", "probability"},
        {"ge:p=0.1,q=-0.5,factor=3", "probability"},
        {"ge:p=0.1,q=nan,factor=3", "probability"},
        {"ge:p=0.1,q=0.5,factor=3,add=1s", "one of factor and add"},
        {"ge:p=0.1,q=0.5,factor=3,share=0.5", "does not know \"share\""},
        {"ge:p=0.1,q=0.5,add=5", "duration"},
        {"slow:factor=3,p=0.1", "does not know \"p\""},
        {"die:step=1;die:step=2;die:step=3;die:step=4;die:step=5;die:step=6;die:step=7;die:step=8;"
         "die:step=9",
         "more than 8"},
    };
    const struct brg_faults before = parse("die:step=4");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct brg_faults faults = before;
        struct brg_why why = {{0}};
        assert_int_not_equal(brg_faults_parse(bad[i].text, &faults, &why), BRG_OK);
        if (strstr(why.text, bad[i].word) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].text, why.text, bad[i].word);
        assert_memory_equal(&faults, &before, sizeof faults);
    }
    char longer[400];
    struct brg_faults faults = before;
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(brg_faults_parse(longer, &faults, NULL), BRG_EINVAL);
}

static void fault_share__is_met_and_is_a_function_of_seed_and_step(void **state) {
    (void)state;
    const struct brg_faults a = parse("stall:for=2s,share=0.2,seed=7");
    const struct brg_faults b = parse("stall:for=2s,share=0.2,seed=8");
    uint32_t hits = 0, both = 0;
    for (uint64_t step = 1; step <= STEPS; step++) {
        const struct brg_fault_plan once = plan_of(&a, step), again = plan_of(&a, step);
        assert_memory_equal(&once, &again, sizeof once);
        hits += once.stall_ns > 0;
        both += once.stall_ns > 0 && plan_of(&b, step).stall_ns > 0;
    }
    /* 0.2 and 0.04 of 10000, six deviations wide */
    assert_in_range(hits, 2000 - 240, 2000 + 240);
    assert_in_range(both, 400 - 118, 400 + 118);
    const struct brg_faults never = parse("lie:sign,share=0");
    const struct brg_faults always = parse("lie:sign,share=1");
    for (uint64_t step = 1; step <= 1000; step++) {
        assert_int_equal(plan_of(&never, step).lie, BRG_LIE_NONE);
        assert_int_equal(plan_of(&always, step).lie, BRG_LIE_SIGN);
    }
}

static void fault_rota__chooses_exactly_as_many_in_every_step(void **state) {
    (void)state;
    struct brg_faults workers[8];
    uint32_t hits[8] = {0};
    for (uint32_t i = 0; i < 8; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "stall:pick=2/8,index=%u,for=2s,seed=7", i);
        workers[i] = parse(text);
    }
    for (uint64_t step = 1; step <= STEPS; step++) {
        uint32_t chosen = 0;
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t is_chosen = plan_of(&workers[i], step).stall_ns > 0;
            chosen += is_chosen;
            hits[i] += is_chosen;
        }
        assert_int_equal(chosen, 2);
    }
    for (uint32_t i = 0; i < 8; i++) assert_in_range(hits[i], 2500 - 260, 2500 + 260);
}

/* The chain walked from the first round on, as its head comment defines it. */
static void ge_round__is_the_walked_chain_whoever_asks_and_in_any_order(void **state) {
    (void)state;
    static const char *const texts[] = {
        "ge:p=0.0416,q=0.845,factor=3,seed=1", "ge:p=0.9,q=0.8,factor=3,seed=2",
        "ge:p=0.001,q=0.002,factor=3,seed=3",  "ge:p=1,q=1,factor=3,seed=4",
        "ge:p=0,q=0,factor=3,seed=5",
    };
    static uint8_t slow[STEPS];
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        const struct brg_faults f = parse(texts[t]);
        const double p = f.items[0].p, stay = 1 - f.items[0].q;
        for (uint32_t r = STEPS; r-- > 0;) /* backwards: no memory can help */
            slow[r] = plan_of_round(&f, r).slow_factor == 3;
        for (uint32_t r = 1; r < STEPS; r++) {
            struct brg_prng g = {.state = brg_prng_mix(f.items[0].seed, r, 0x6765, 0)};
            const double u = brg_prng_unit(&g);
            assert_int_equal(slow[r], u < (slow[r - 1] ? stay : p));
        }
    }
    const struct brg_faults well = parse("ge:p=0,q=0.5,factor=3");
    const struct brg_faults ill = parse("ge:p=0.5,q=0,factor=3,seed=1");
    for (uint64_t r = 0; r < 1000; r++) {
        assert_true(plan_of_round(&well, r).slow_factor == 1);
        assert_true(plan_of_round(&ill, r).slow_factor == 3);
    }
}

static void ge_statistics__are_those_of_the_chain(void **state) {
    (void)state;
    uint32_t slow = 0, begun = 0, both = 0;
    const struct brg_faults a = parse("ge:p=0.05,q=0.4,add=20ms,seed=1");
    const struct brg_faults b = parse("ge:p=0.05,q=0.4,add=20ms,seed=2");
    uint32_t before = 0;
    for (uint64_t r = BRG_FAULT_WALK_MAX - 30000; r < BRG_FAULT_WALK_MAX + 30000; r++) {
        const uint32_t now = plan_of_round(&a, r).stall_ns == 20 * BRG_NS_PER_MS;
        slow += now;
        begun += now && !before;
        both += now && plan_of_round(&b, r).stall_ns > 0;
        before = now;
    }
    /* share p / (p + q) = 1/9; bursts of 1 / q = 2.5 rounds; other seeds have nothing to do with it
     */
    assert_in_range(slow, 60000 / 9 - 500, 60000 / 9 + 500);
    assert_true(fabs((double)slow / begun - 2.5) < 0.2);
    assert_in_range(both, 60000 / 81 - 180, 60000 / 81 + 180);
}

static void ge_step__is_all_the_same_to_it(void **state) {
    (void)state;
    const struct brg_faults f = parse("ge:p=0.3,q=0.3,factor=2;stall:for=1s,share=0.5");
    for (uint64_t round = 1; round <= 100; round++)
        for (uint64_t step = 1; step <= 10; step++) {
            struct brg_fault_plan plan;
            const struct brg_fault_at at = {.step = step, .round = round};
            brg_faults_plan(&f, at, &plan);
            assert_true(plan.slow_factor == plan_of_round(&f, round).slow_factor);
            assert_true(plan.stall_ns == plan_of(&f, step).stall_ns);
        }
}

static void fault_death__comes_in_its_step_only(void **state) {
    (void)state;
    const struct brg_faults f = parse("die:step=17");
    for (uint64_t step = 1; step <= 100; step++)
        assert_int_equal(plan_of(&f, step).die, step == 17);
}

static void fault_several__add_up(void **state) {
    (void)state;
    const struct brg_faults f =
        parse("slow:factor=2;slow:factor=3;stall:for=1s;stall:for=3s;lie:sign;lie:scale=5");
    const struct brg_fault_plan plan = plan_of(&f, 1);
    assert_true(plan.slow_factor == 6);
    assert_true(plan.stall_ns == 3 * BRG_NS_PER_S);
    assert_int_equal(plan.lie, BRG_LIE_SIGN);
    assert_true(plan.lie_factor == -1);
    assert_int_equal(plan.die, 0);
}

static void fault_random_lie__is_as_long_as_the_truth_and_repeats(void **state) {
    (void)state;
    static float truth[STEPS], lie[STEPS], again[STEPS];
    const struct brg_faults f = parse("lie:random,seed=3");
    const struct brg_fault_plan plan = plan_of(&f, 9);
    double before = 0, after = 0;
    for (uint32_t i = 0; i < STEPS; i++) truth[i] = lie[i] = again[i] = (float)(i % 7) - 2;
    brg_fault_lie(&plan, lie, STEPS);
    brg_fault_lie(&plan, again, STEPS);
    assert_memory_equal(lie, again, sizeof lie);
    for (uint32_t i = 0; i < STEPS; i++) {
        before += (double)truth[i] * truth[i];
        after += (double)lie[i] * lie[i];
    }
    assert_true(fabs(after / before - 1) < 0.1);
    const struct brg_fault_plan none = {.slow_factor = 1};
    brg_fault_lie(&none, again, STEPS);
    assert_memory_equal(lie, again, sizeof lie);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault_texts__are_understood_as_written),
        cmocka_unit_test(fault_nonsense__is_refused_with_a_sentence_and_changes_nothing),
        cmocka_unit_test(fault_share__is_met_and_is_a_function_of_seed_and_step),
        cmocka_unit_test(fault_rota__chooses_exactly_as_many_in_every_step),
        cmocka_unit_test(ge_round__is_the_walked_chain_whoever_asks_and_in_any_order),
        cmocka_unit_test(ge_statistics__are_those_of_the_chain),
        cmocka_unit_test(ge_step__is_all_the_same_to_it),
        cmocka_unit_test(fault_death__comes_in_its_step_only),
        cmocka_unit_test(fault_several__add_up),
        cmocka_unit_test(fault_random_lie__is_as_long_as_the_truth_and_repeats),
    };
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL) != 0;
}
