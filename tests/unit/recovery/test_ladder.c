/* test_ladder - the first rung that what is alive allows, and why others were passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "recovery/ladder.h"

#define S 6u

/* Everything is kept and alive; stage 2 is lost. */
static struct brg_ladder_view everything(void) {
    struct brg_ladder_view v = {.stages = S, .version = 100, .checkpointed = 1, .checkpoint = 80};
    for (uint32_t i = 0; i < S; i++)
        v.stage[i] = (struct brg_ladder_stage){.siblings = 1,
                                               .shadow_kept = 1,
                                               .shadow_alive = 1,
                                               .shadow_version = 60,
                                               .parity_kept = 1,
                                               .parity_alive = 1,
                                               .parity_group = i % 2,
                                               .parity_version = 90,
                                               .edges = i == 0 || i == S - 1};
    v.stage[2].lost = 1;
    return v;
}

static struct brg_ladder_choice choose(const struct brg_ladder_view *v, uint32_t stage) {
    const struct brg_ladder_config c = brg_ladder_default();
    struct brg_ladder_choice choices[S];
    uint32_t stuck;
    assert_int_equal(brg_ladder_choose(&c, v, choices, &stuck), BRG_OK);
    for (uint32_t i = 0; i < S; i++)
        if (!v->stage[i].lost) assert_int_equal(choices[i].rung, 0);
    return choices[stage];
}

static void expect(const struct brg_ladder_view *v, uint32_t rung, uint64_t staleness,
                   uint32_t reason_before) {
    const struct brg_ladder_choice c = choose(v, 2);
    assert_int_equal(c.rung, rung);
    assert_int_equal(c.staleness, staleness);
    assert_int_equal(c.tried[c.tried_count - 1].rung, rung);
    assert_int_equal(c.tried[c.tried_count - 1].reason, BRG_LADDER_TAKEN);
    if (c.tried_count > 1) assert_int_equal(c.tried[c.tried_count - 2].reason, reason_before);
}

static void ladder_rungs__are_taken_in_order_as_less_and_less_is_alive(void **state) {
    (void)state;
    struct brg_ladder_view v = everything();
    expect(&v, BRG_RUNG_REPLICA, 0, 0);
    v.stage[2].siblings = 0;
    expect(&v, BRG_RUNG_SHADOW, 40, BRG_LADDER_NO_SIBLING);
    v.stage[2].shadow_version = 0;
    expect(&v, BRG_RUNG_PARITY, 10, BRG_LADDER_SHADOW_INCOMPLETE);
    v.stage[2].shadow_version = 101; /* of steps that were undone */
    expect(&v, BRG_RUNG_PARITY, 10, BRG_LADDER_SHADOW_STALE);
    v.stage[2].shadow_alive = 0;
    expect(&v, BRG_RUNG_PARITY, 10, BRG_LADDER_SHADOW_LOST);
    v.stage[2].shadow_kept = 0;
    expect(&v, BRG_RUNG_PARITY, 10, BRG_LADDER_NO_SHADOW);
    v.stage[2].parity_version = 0;
    expect(&v, BRG_RUNG_NEIGHBOURS, 0, BRG_LADDER_PARITY_STALE);
    v.stage[2].parity_alive = 0;
    expect(&v, BRG_RUNG_NEIGHBOURS, 0, BRG_LADDER_PARITY_LOST);
    v.stage[2].parity_kept = 0;
    expect(&v, BRG_RUNG_NEIGHBOURS, 0, BRG_LADDER_NO_PARITY);
    v.stage[2].edges = 1;
    expect(&v, BRG_RUNG_CHECKPOINT, 20, BRG_LADDER_NEIGHBOUR_UNEVEN);
    v.stage[2].edges_copied = 1;
    expect(&v, BRG_RUNG_NEIGHBOURS, 0, BRG_LADDER_NO_PARITY);
}

static void ladder_two_of_a_parity_group__cannot_use_it_unless_one_has_a_sibling(void **state) {
    (void)state;
    struct brg_ladder_view v = everything();
    v.stage[2].siblings = v.stage[4].siblings = 0;
    v.stage[2].shadow_kept = v.stage[4].shadow_kept = 0;
    v.stage[4].lost = 1;
    expect(&v, BRG_RUNG_NEIGHBOURS, 0, BRG_LADDER_PARITY_TWO);
    assert_int_equal(choose(&v, 4).rung, BRG_RUNG_NEIGHBOURS);
    v.stage[4].siblings = 1;
    expect(&v, BRG_RUNG_PARITY, 10, BRG_LADDER_NO_SHADOW);
    assert_int_equal(choose(&v, 4).rung, BRG_RUNG_REPLICA);
    v.stage[4].siblings = 0; /* adjacent ones lie in different groups */
    v.stage[4].lost = 0;
    v.stage[3].lost = 1;
    v.stage[3].siblings = 0;
    expect(&v, BRG_RUNG_PARITY, 10, BRG_LADDER_NO_SHADOW);
}

static void ladder_one_checkpoint__takes_all_stages_back(void **state) {
    (void)state;
    struct brg_ladder_view v = everything();
    v.stage[0] = (struct brg_ladder_stage){.lost = 1, .edges = 1};
    const struct brg_ladder_choice c = choose(&v, 2);
    assert_int_equal(choose(&v, 0).rung, BRG_RUNG_CHECKPOINT);
    assert_int_equal(c.rung, BRG_RUNG_CHECKPOINT);
    assert_int_equal(c.staleness, 20);
    assert_int_equal(c.tried_count, 2);
    assert_int_equal(c.tried[0].rung, BRG_RUNG_REPLICA);
    assert_int_equal(c.tried[0].reason, BRG_LADDER_ALL_ROLL_BACK);
}

static void ladder_nothing_left__is_said_with_every_reason(void **state) {
    (void)state;
    const struct brg_ladder_config c = brg_ladder_default();
    struct brg_ladder_view v = {.stages = S, .version = 100};
    struct brg_ladder_choice choices[S];
    uint32_t stuck = 99;
    for (uint32_t i = 0; i < S; i++) v.stage[i].lost = i > 0;
    v.stage[1].edges = 1;
    assert_int_equal(brg_ladder_choose(&c, &v, choices, &stuck), BRG_ENOENT);
    assert_int_equal(stuck, 1);
    assert_int_equal(choices[1].rung, 0);
    assert_int_equal(choices[1].tried_count, 5);
    assert_int_equal(choices[1].tried[4].reason, BRG_LADDER_NO_CHECKPOINT);
    assert_int_equal(choices[2].rung, BRG_RUNG_NEIGHBOURS);
    v.stage[0].lost = 1; /* and nobody is left at all */
    assert_int_equal(brg_ladder_choose(&c, &v, choices, &stuck), BRG_ENOENT);
    assert_int_equal(choices[2].tried[3].reason, BRG_LADDER_NO_NEIGHBOUR);
}

static void ladder_staleness_allowed__is_a_bound(void **state) {
    (void)state;
    struct brg_ladder_config c = brg_ladder_default();
    struct brg_ladder_view v = everything();
    struct brg_ladder_choice choices[S];
    uint32_t stuck;
    v.stage[2].siblings = 0;
    c.stale_max = 40;
    assert_int_equal(brg_ladder_choose(&c, &v, choices, &stuck), BRG_OK);
    assert_int_equal(choices[2].rung, BRG_RUNG_SHADOW);
    c.stale_max = 39;
    assert_int_equal(brg_ladder_choose(&c, &v, choices, &stuck), BRG_OK);
    assert_int_equal(choices[2].rung, BRG_RUNG_PARITY);
    assert_int_equal(choices[2].tried[1].reason, BRG_LADDER_SHADOW_STALE);
    c.stale_max = 9;
    assert_int_equal(brg_ladder_choose(&c, &v, choices, &stuck), BRG_OK);
    assert_int_equal(choices[2].rung, BRG_RUNG_NEIGHBOURS);
}

static void ladder_config__wants_known_rungs_once(void **state) {
    (void)state;
    struct brg_ladder_config c = brg_ladder_default();
    assert_int_equal(brg_ladder_check(&c), BRG_OK);
    c.rungs[1] = BRG_RUNG_REPLICA;
    assert_int_equal(brg_ladder_check(&c), BRG_EINVAL);
    c.rungs[1] = 7;
    assert_int_equal(brg_ladder_check(&c), BRG_EINVAL);
    c.count = 0;
    assert_int_equal(brg_ladder_check(&c), BRG_EINVAL);
    for (uint32_t i = BRG_RUNG_REPLICA; i <= BRG_RUNG_RANDOM; i++)
        assert_int_equal(brg_rung_parse(brg_rung_name(i)), i);
    assert_int_equal(brg_rung_parse("magic"), 0);
    assert_string_equal(brg_rung_name(0), "unknown");
    assert_string_equal(brg_ladder_reason_text(99), "unknown");
}

/* Whatever is alive: no rung is skipped without a reason, and the order is the configured one. */
static void ladder_random_views__respect_the_order(void **state) {
    (void)state;
    struct brg_prng g = {.state = 5};
    for (uint32_t round = 0; round < 20000; round++) {
        struct brg_ladder_config c = brg_ladder_default();
        struct brg_ladder_view v = everything();
        struct brg_ladder_choice choices[S], again[S];
        uint32_t stuck;
        for (uint32_t i = c.count; i-- > 1;) { /* any order of the rungs */
            const uint32_t j = (uint32_t)brg_prng_below(&g, i + 1), t = c.rungs[i];
            c.rungs[i] = c.rungs[j];
            c.rungs[j] = t;
        }
        v.checkpointed = brg_prng_below(&g, 4) > 0;
        for (uint32_t i = 0; i < S; i++) {
            v.stage[i].lost = brg_prng_below(&g, 3) == 0;
            v.stage[i].siblings = (uint32_t)brg_prng_below(&g, 2);
            v.stage[i].shadow_alive = (uint32_t)brg_prng_below(&g, 2);
            v.stage[i].parity_alive = (uint32_t)brg_prng_below(&g, 2);
            v.stage[i].edges_copied = (uint32_t)brg_prng_below(&g, 2);
        }
        memset(choices, 0, sizeof choices);
        memset(again, 0xff, sizeof again);
        const int rc = brg_ladder_choose(&c, &v, choices, &stuck);
        assert_int_equal(brg_ladder_choose(&c, &v, again, &stuck), rc);
        uint32_t back = 0, lost = 0;
        for (uint32_t i = 0; i < S; i++) {
            const struct brg_ladder_choice *x = &choices[i];
            lost += v.stage[i].lost;
            back += x->rung == BRG_RUNG_CHECKPOINT;
            assert_int_equal(x->rung, again[i].rung);
            for (uint32_t t = 0; t + 1 < x->tried_count; t++) {
                assert_int_equal(x->tried[t].rung, c.rungs[t]);
                assert_int_not_equal(x->tried[t].reason, BRG_LADDER_TAKEN);
            }
        }
        if (rc == BRG_OK) assert_true(back == 0 || back == lost);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ladder_rungs__are_taken_in_order_as_less_and_less_is_alive),
        cmocka_unit_test(ladder_two_of_a_parity_group__cannot_use_it_unless_one_has_a_sibling),
        cmocka_unit_test(ladder_one_checkpoint__takes_all_stages_back),
        cmocka_unit_test(ladder_nothing_left__is_said_with_every_reason),
        cmocka_unit_test(ladder_staleness_allowed__is_a_bound),
        cmocka_unit_test(ladder_config__wants_known_rungs_once),
        cmocka_unit_test(ladder_random_views__respect_the_order),
    };
    return cmocka_run_group_tests_name("ladder", tests, NULL, NULL) != 0;
}
