#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "recovery/checkpoint_plan.h"

#define V BRG_CHECKPOINT_VALID
#define U BRG_CHECKPOINT_UNFINISHED
#define D BRG_CHECKPOINT_DAMAGED

static const struct brg_checkpoint_policy keep2 = {.every = 50, .keep = 2, .log_reach = 1};

static void plan_policy_out_of_range__is_refused(void **state) {
    (void)state;
    struct brg_checkpoint_policy p = keep2;
    assert_int_equal(brg_checkpoint_policy_check(&p), BRG_OK);
    p.every = 0;
    assert_int_equal(brg_checkpoint_policy_check(&p), BRG_EINVAL);
    p = keep2;
    p.keep = 0;
    assert_int_equal(brg_checkpoint_policy_check(&p), BRG_EINVAL);
    p.keep = BRG_CHECKPOINT_KEEP_MAX + 1;
    assert_int_equal(brg_checkpoint_policy_check(&p), BRG_EINVAL);
    p = keep2;
    p.log_reach = 0;
    assert_int_equal(brg_checkpoint_policy_check(&p), BRG_EINVAL);
    p.log_reach = 3; /* the log cannot reach back to a checkpoint that is deleted */
    assert_int_equal(brg_checkpoint_policy_check(&p), BRG_EINVAL);
}

static void plan_due__comes_every_so_many_steps_and_at_the_end(void **state) {
    (void)state;
    assert_false(brg_checkpoint_due(&keep2, 0, 0, 1));
    assert_false(brg_checkpoint_due(&keep2, 49, 0, 0));
    assert_true(brg_checkpoint_due(&keep2, 50, 0, 0));
    assert_false(brg_checkpoint_due(&keep2, 50, 50, 0));
    assert_false(brg_checkpoint_due(&keep2, 50, 50, 1));
    assert_true(brg_checkpoint_due(&keep2, 63, 50, 1));
    assert_true(brg_checkpoint_due(&keep2, 100, 63, 0));
    assert_true(brg_checkpoint_due(&keep2, 103, 50, 0));  /* the one of 100 was missed */
    assert_false(brg_checkpoint_due(&keep2, 50, 100, 0)); /* a step that is replayed */
}

static void tidy(const struct brg_checkpoint_policy *policy,
                 const struct brg_checkpoint_standing *standing,
                 const struct brg_checkpoint_item *items, uint32_t count, const char *expected,
                 uint64_t drop_expected) {
    uint8_t delete_it[16];
    uint64_t drop = 99;
    brg_checkpoint_plan_tidy(policy, standing, items, count, delete_it, &drop);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(delete_it[i], expected[i] == 'x');
    assert_int_equal(drop, drop_expected);
}

static void plan_tidy__keeps_the_newest_and_what_the_log_needs(void **state) {
    (void)state;
    const struct brg_checkpoint_item items[] = {{40, V}, {50, V}, {100, V}, {150, V}};
    struct brg_checkpoint_standing at = {.committed = 163, .log_first = 151};
    tidy(&keep2, &at, items, 4, "xx..", 150);
    at.log_first = 51; /* the log was not dropped yet: it starts from 50 */
    tidy(&keep2, &at, items, 4, "x...", 150);
    at.log_first = 0; /* no log */
    tidy(&keep2, &at, items, 4, "xx..", 0);
    at.log_first = 151;
    const struct brg_checkpoint_policy reach2 = {.every = 50, .keep = 3, .log_reach = 2};
    tidy(&reach2, &at, items, 4, "x...", 100);
    const struct brg_checkpoint_policy keep1 = {.every = 50, .keep = 1, .log_reach = 1};
    tidy(&keep1, &at, items, 4, "xxx.", 150);
    tidy(&keep1, &at, items, 0, "", 0);
    const struct brg_checkpoint_policy reach5 = {.every = 50, .keep = 5, .log_reach = 5};
    tidy(&reach5, &at, items, 4, "....", 0);
}

static void plan_tidy__counts_only_valid_ones(void **state) {
    (void)state;
    const struct brg_checkpoint_item items[] = {{30, D}, {40, V}, {50, U}, {60, V},
                                                {70, V}, {80, D}, {90, U}};
    struct brg_checkpoint_standing at = {.committed = 95, .log_first = 71};
    tidy(&keep2, &at, items, 7, "xxx....", 70);
    at.writing = 50;
    tidy(&keep2, &at, items, 7, "xx.....", 70);
    const struct brg_checkpoint_item none[] = {{30, D}, {40, U}};
    at = (struct brg_checkpoint_standing){.committed = 95, .log_first = 1};
    tidy(&keep2, &at, none, 2, "..", 0);
}

static void plan_tidy_behind_a_checkpoint__deletes_nothing(void **state) {
    (void)state;
    const struct brg_checkpoint_item items[] = {{40, V}, {50, V}, {100, V}, {150, V}};
    const struct brg_checkpoint_standing at = {.committed = 149, .log_first = 101};
    tidy(&keep2, &at, items, 4, "....", 0);
}

static int load(uint64_t committed, uint64_t log_first, const struct brg_checkpoint_item *items,
                uint32_t count, uint64_t *step) {
    const struct brg_checkpoint_standing at = {.committed = committed, .log_first = log_first};
    struct brg_checkpoint_choice choice = {99, 99};
    const int rc = brg_checkpoint_plan_load(&at, items, count, &choice);
    *step = choice.step;
    if (choice.step > 0) assert_int_equal(items[choice.index].step, choice.step);
    return rc;
}

static void plan_load__takes_the_newest_valid_one_or_says_what_is_lost(void **state) {
    (void)state;
    uint64_t step = 0;
    struct brg_checkpoint_item items[] = {{100, V}, {50, V}, {150, U}};
    assert_int_equal(load(120, 101, items, 3, &step), BRG_OK);
    assert_int_equal(step, 100);
    assert_int_equal(load(120, 51, items, 3, &step), BRG_OK);
    assert_int_equal(step, 100);
    assert_int_equal(load(100, 101, items, 3, &step), BRG_OK);
    assert_int_equal(step, 100);
    assert_int_equal(load(120, 102, items, 3, &step), BRG_ECORRUPT); /* step 101 is nowhere */
    assert_int_equal(load(99, 51, items, 3, &step), BRG_EBEHIND);
    assert_int_equal(step, 100);

    items[0].state = D; /* found when it was loaded */
    assert_int_equal(load(120, 51, items, 3, &step), BRG_OK);
    assert_int_equal(step, 50);
    assert_int_equal(load(120, 101, items, 3, &step), BRG_ECORRUPT);
    assert_int_equal(load(120, 0, items, 3, &step), BRG_OK); /* no log: the steps are given up */
    assert_int_equal(step, 50);

    items[1].state = D;
    assert_int_equal(load(120, 1, items, 3, &step), BRG_OK); /* the whole log, from the seed */
    assert_int_equal(step, 0);
    assert_int_equal(load(120, 2, items, 3, &step), BRG_ECORRUPT);
    assert_int_equal(load(0, 1, items, 0, &step), BRG_OK);
    assert_int_equal(step, 0);
}

/* Any history of steps, checkpoints that fail or rot, and starts: whatever tidying deletes and
 * drops, as long as at most log_reach - 1 of the newest checkpoints rot, a start loses no step. */
static void plan_any_history__never_loses_a_step(void **state) {
    (void)state;
    struct brg_prng g = {.state = 11};
    for (uint32_t history = 0; history < 300; history++) {
        struct brg_checkpoint_item items[64];
        uint8_t delete_it[64];
        uint32_t count = 0;
        uint64_t log_first = 1, drop = 0, saved = 0;
        struct brg_checkpoint_policy p = {.every = 1 + brg_prng_below(&g, 7)};
        p.keep = 1 + (uint32_t)brg_prng_below(&g, 4);
        p.log_reach = 1 + (uint32_t)brg_prng_below(&g, p.keep);
        for (uint64_t step = 1; step < 100; step++) {
            if (brg_checkpoint_due(&p, step, saved, 0) && brg_prng_below(&g, 4) > 0) {
                const int cut_off = brg_prng_below(&g, 5) == 0;
                items[count++] = (struct brg_checkpoint_item){step, cut_off ? U : V};
                if (!cut_off) saved = step;
            }
            const struct brg_checkpoint_standing at = {step, log_first, 0};
            brg_checkpoint_plan_tidy(&p, &at, items, count, delete_it, &drop);
            /* A crash may come between the two: the log is dropped at some of the turns only. */
            if (brg_prng_below(&g, 2) == 0 && drop >= log_first) log_first = drop + 1;
            uint32_t left = 0;
            for (uint32_t i = 0; i < count; i++) {
                if (!delete_it[i]) items[left++] = items[i];
            }
            count = left;
            assert_true(count < 32);

            struct brg_checkpoint_item after[64];
            struct brg_checkpoint_choice choice;
            memcpy(after, items, sizeof after);
            uint32_t rotten = 0;
            for (uint32_t i = count; i > 0 && rotten + 1 < p.log_reach; i--) {
                if (after[i - 1].state == V) rotten++;
                after[i - 1].state = D;
            }
            assert_int_equal(brg_checkpoint_plan_load(&at, items, count, &choice), BRG_OK);
            assert_int_equal(choice.step, saved);
            const struct brg_checkpoint_standing now = {step, log_first, 0};
            assert_int_equal(brg_checkpoint_plan_load(&now, after, count, &choice), BRG_OK);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_policy_out_of_range__is_refused),
        cmocka_unit_test(plan_due__comes_every_so_many_steps_and_at_the_end),
        cmocka_unit_test(plan_tidy__keeps_the_newest_and_what_the_log_needs),
        cmocka_unit_test(plan_tidy__counts_only_valid_ones),
        cmocka_unit_test(plan_tidy_behind_a_checkpoint__deletes_nothing),
        cmocka_unit_test(plan_load__takes_the_newest_valid_one_or_says_what_is_lost),
        cmocka_unit_test(plan_any_history__never_loses_a_step),
    };
    return cmocka_run_group_tests_name("checkpoint_plan", tests, NULL, NULL) != 0;
}
