#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "worker/core/holder.h"

/* Stage 1 of 3, two lanes of four microbatches, epoch 1; all microbatches unless a test says so. */
static struct brg_holder s;
static struct brg_holder_actions out;
static uint64_t now_ns;

static int give(struct brg_holder_event ev) {
    ev.now_ns = ++now_ns;
    ev.epoch = ev.epoch == 0 ? 1 : ev.epoch;
    const int rc = brg_holder_step(&s, &ev, &out);
    brg_holder_check(&s);
    return rc;
}

static const struct brg_holder_action *find(uint32_t type) {
    for (uint32_t i = 0; i < out.count; i++)
        if (out.items[i].type == type) return &out.items[i];
    return NULL;
}

static struct brg_holder_event place(uint64_t generation, uint64_t version, uint32_t rung) {
    return (struct brg_holder_event){.type = BRG_HEV_PLACE,
                                     .generation = generation,
                                     .stage = 1,
                                     .stages = 3,
                                     .lanes = 3,
                                     .lane_count = 2,
                                     .microbatches = 4,
                                     .steps = 10,
                                     .version = version,
                                     .rung = rung};
}

/* Holds version 4 in generation 2, and works on step 5. */
static void start(uint32_t lanes) {
    const struct brg_holder_config config = {.retry_ns = 10, .fetch_ns = 1000, .peer_ns = 100};
    assert_int_equal(brg_holder_init(&s, &config), BRG_OK);
    now_ns = 0;
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_WELCOME, .run = 1}), BRG_OK);
    struct brg_holder_event ev = place(2, 4, 5);
    ev.lanes = lanes;
    assert_int_equal(give(ev), BRG_OK);
    assert_int_equal(find(BRG_HACT_FETCH_STATE)->version, 4);
    assert_int_equal(
        give((struct brg_holder_event){.type = BRG_HEV_STATE, .generation = 2, .version = 4}),
        BRG_OK);
    assert_non_null(find(BRG_HACT_SEND_PLACED));
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_START, .generation = 2}),
                     BRG_OK);
    assert_int_equal(s.phase, BRG_HOLDER_WORKING);
}

static void arrive(uint32_t object, uint32_t index) {
    assert_int_equal(
        give((struct brg_holder_event){
            .type = BRG_HEV_ARRIVED, .generation = 2, .step = 5, .object = object, .index = index}),
        BRG_OK);
}

static void computed(uint32_t object, uint32_t index) {
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_COMPUTED,
                                                    .generation = 2,
                                                    .step = 5,
                                                    .object = object,
                                                    .index = index}),
                     BRG_OK);
}

/* One microbatch after the other. */
static void finish(uint32_t lanes) {
    for (uint32_t b = 0; b < 4; b++) {
        if (!(lanes >> (b % 2) & 1u)) continue;
        arrive(BRG_TENSOR_ACT, b);
        computed(BRG_TENSOR_ACT, b);
        arrive(BRG_TENSOR_GRAD, b);
        computed(BRG_TENSOR_GRAD, b);
    }
}

static void be_ready(void) {
    start(3);
    finish(3);
    assert_non_null(find(BRG_HACT_REDUCE));
    computed(BRG_TENSOR_LANE, 0);
    assert_int_equal(find(BRG_HACT_SEND_READY)->step, 5);
}

static void stage_config_of_zeroes__is_refused(void **state) {
    (void)state;
    assert_int_equal(brg_holder_init(&s, &(struct brg_holder_config){.retry_ns = 1}), BRG_EINVAL);
}

static void stage_place_that_makes_no_sense__is_refused(void **state) {
    (void)state;
    start(3);
    struct brg_holder_event ev = place(3, 4, 0);
    ev.lanes = 4; /* there are two */
    assert_int_equal(give(ev), BRG_EPROTO);
    assert_int_equal(s.generation, 2);
}

static void stage_1f1b__keeps_at_most_stages_minus_stage_in_flight(void **state) {
    (void)state;
    start(3);
    arrive(BRG_TENSOR_ACT, 0);
    assert_int_equal(find(BRG_HACT_FORWARD)->index, 0);
    arrive(BRG_TENSOR_ACT, 1);
    computed(BRG_TENSOR_ACT, 0);
    assert_int_equal(find(BRG_HACT_FORWARD)->index, 1);
    arrive(BRG_TENSOR_ACT, 2);
    computed(BRG_TENSOR_ACT, 1);
    assert_null(find(BRG_HACT_FORWARD)); /* two are in flight: a backward must come first */
    arrive(BRG_TENSOR_GRAD, 1);
    assert_null(find(BRG_HACT_BACKWARD)); /* sums are made in rising order */
    arrive(BRG_TENSOR_GRAD, 0);
    assert_int_equal(find(BRG_HACT_BACKWARD)->index, 0);
    computed(BRG_TENSOR_GRAD, 0);
    assert_int_equal(find(BRG_HACT_BACKWARD)->index, 1);
}

static void stage_lanes_of_siblings__are_asked_for_and_needed(void **state) {
    (void)state;
    start(1);
    finish(1);
    assert_null(find(BRG_HACT_REDUCE));
    assert_int_equal(find(BRG_HACT_GET)->object, BRG_TENSOR_LANE);
    assert_int_equal(find(BRG_HACT_GET)->index, 1);
    const struct brg_holder_get mine = {
        .generation = 2, .step = 5, .object = BRG_TENSOR_LANE, .index = 0};
    assert_int_equal(brg_holder_serve(&s, &mine), BRG_HOLDER_HAS);
    arrive(BRG_TENSOR_LANE, 1);
    assert_non_null(find(BRG_HACT_REDUCE));
}

static void stage_step__is_made_only_on_the_commit_of_its_generation(void **state) {
    (void)state;
    be_ready();
    assert_int_equal(
        give((struct brg_holder_event){.type = BRG_HEV_COMMIT, .generation = 1, .step = 5}),
        BRG_OK);
    assert_null(find(BRG_HACT_APPLY));
    assert_int_equal(
        give((struct brg_holder_event){.type = BRG_HEV_COMMIT, .generation = 2, .step = 5}),
        BRG_OK);
    assert_int_equal(find(BRG_HACT_APPLY)->step, 5);
    assert_int_equal(s.phase, BRG_HOLDER_WORKING);
    assert_int_equal(
        give((struct brg_holder_event){.type = BRG_HEV_COMMIT, .generation = 2, .step = 5}),
        BRG_OK);
    assert_null(find(BRG_HACT_APPLY)); /* once */
}

static void stage_missed_commit__is_made_up_for_by_place(void **state) {
    (void)state;
    be_ready();
    struct brg_holder_event ev = place(3, 5, 0);
    ev.commit_generation = 2;
    assert_int_equal(give(ev), BRG_OK);
    assert_int_equal(find(BRG_HACT_APPLY)->step, 5);
    assert_int_equal(find(BRG_HACT_SEND_PLACED)->version, 5);
}

static void stage_gradient_of_another_generation__is_not_used(void **state) {
    (void)state;
    be_ready();
    struct brg_holder_event ev = place(9, 5, 0);
    ev.commit_generation = 8; /* the step was made again by others, after a loss */
    assert_int_equal(give(ev), BRG_OK);
    assert_null(find(BRG_HACT_APPLY));
    assert_non_null(find(BRG_HACT_DROP_GRADIENT));
    assert_non_null(find(BRG_HACT_SEND_FETCH_FAILED));
}

static void stage_older_generation__changes_nothing(void **state) {
    (void)state;
    start(3);
    struct brg_holder before = s;
    assert_int_equal(give(place(1, 4, 0)), BRG_OK);
    before.now_ns = s.now_ns;
    assert_memory_equal(&before, &s, sizeof s);
}

static void stage_silence__is_asked_again_and_then_complained_of(void **state) {
    (void)state;
    start(3);
    now_ns += 20;
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_TICK}), BRG_OK);
    assert_non_null(find(BRG_HACT_GET));
    assert_null(find(BRG_HACT_SEND_LOST_PEER));
    now_ns += 90;
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_PARKED, .generation = 2}),
                     BRG_OK);
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_TICK}), BRG_OK);
    assert_null(find(BRG_HACT_SEND_LOST_PEER)); /* it is there, and works */
    now_ns += 200;
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_TICK}), BRG_OK);
    assert_int_equal(find(BRG_HACT_SEND_LOST_PEER)->stage, 0);
}

static void stage_learner__follows_the_commits_it_hears_of(void **state) {
    (void)state;
    const struct brg_holder_config config = {.retry_ns = 10, .fetch_ns = 1000, .peer_ns = 100};
    assert_int_equal(brg_holder_init(&s, &config), BRG_OK);
    now_ns = 0;
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_WELCOME, .run = 1}), BRG_OK);
    assert_int_equal(
        give((struct brg_holder_event){.type = BRG_HEV_LEARN, .generation = 1, .stage = 2}),
        BRG_OK);
    assert_int_equal(find(BRG_HACT_FETCH_STATE)->version, UINT64_MAX);
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_STATE, .version = 7}), BRG_OK);
    assert_int_equal(find(BRG_HACT_SEND_LEARNED)->version, 7);
    assert_int_equal(
        give((struct brg_holder_event){.type = BRG_HEV_COMMIT, .generation = 1, .step = 8}),
        BRG_OK);
    assert_null(find(BRG_HACT_APPLY));
    assert_int_equal(find(BRG_HACT_FETCH_TAIL)->step, 8);
    assert_int_equal(give((struct brg_holder_event){.type = BRG_HEV_TAIL, .step = 8}), BRG_OK);
    assert_int_equal(find(BRG_HACT_APPLY)->step, 8);
    assert_int_equal(find(BRG_HACT_SEND_LEARNED)->version, 8);
}

static void stage_serve__tells_early_from_gone(void **state) {
    (void)state;
    start(3);
    struct brg_holder_get get = {.generation = 2, .step = 5, .object = BRG_TENSOR_ACT, .index = 0};
    assert_int_equal(brg_holder_serve(&s, &get), BRG_HOLDER_LATER);
    arrive(BRG_TENSOR_ACT, 0);
    computed(BRG_TENSOR_ACT, 0);
    assert_int_equal(brg_holder_serve(&s, &get), BRG_HOLDER_HAS);
    get.step = 6;
    assert_int_equal(brg_holder_serve(&s, &get), BRG_HOLDER_LATER);
    get.step = 4;
    assert_int_equal(brg_holder_serve(&s, &get), BRG_HOLDER_GONE);
    get.generation = 1;
    assert_int_equal(brg_holder_serve(&s, &get), BRG_HOLDER_GONE);
    assert_int_equal(brg_holder_serve_state(&s, 1, 0, 4), BRG_HOLDER_HAS);
    assert_int_equal(brg_holder_serve_state(&s, 1, 0, 5), BRG_HOLDER_GONE);
    assert_int_equal(brg_holder_serve_state(&s, 1, 1, 4), BRG_HOLDER_GONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stage_config_of_zeroes__is_refused),
        cmocka_unit_test(stage_place_that_makes_no_sense__is_refused),
        cmocka_unit_test(stage_1f1b__keeps_at_most_stages_minus_stage_in_flight),
        cmocka_unit_test(stage_lanes_of_siblings__are_asked_for_and_needed),
        cmocka_unit_test(stage_step__is_made_only_on_the_commit_of_its_generation),
        cmocka_unit_test(stage_missed_commit__is_made_up_for_by_place),
        cmocka_unit_test(stage_gradient_of_another_generation__is_not_used),
        cmocka_unit_test(stage_older_generation__changes_nothing),
        cmocka_unit_test(stage_silence__is_asked_again_and_then_complained_of),
        cmocka_unit_test(stage_learner__follows_the_commits_it_hears_of),
        cmocka_unit_test(stage_serve__tells_early_from_gone),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL) != 0;
}
