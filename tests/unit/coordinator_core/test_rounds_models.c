/* Several steps in flight: models in turn, codes with a delay, parts of a share, another code in
 * mid-run. */
#include "tests/unit/coordinator_core/machine.h"

static struct brg_run_plan models_plan(uint32_t models, struct brg_code_spec code) {
    struct brg_run_plan plan = plan_of(1, code.kind, code.n, code.s);
    plan.models = models;
    plan.code = code;
    return plan;
}

static struct brg_code_spec none_of(uint32_t n) {
    return (struct brg_code_spec){
        .kind = BRG_CODE_NONE, .n = n, .chunks = n, .policy = BRG_POLICY_EARLY};
}

/* Two groups of two; late units are attempted once more in the next round. */
static struct brg_code_spec frc_with_delay(void) {
    return (struct brg_code_spec){.kind = BRG_CODE_FRC,
                                  .n = 4,
                                  .s = 1,
                                  .chunks = 4,
                                  .delay = 1,
                                  .policy = BRG_POLICY_MINWAIT,
                                  .mu_ppm = 1000000};
}

/* n = 4, lambda = n: units i and nothing coded, T = 1. */
static struct brg_code_spec m_sgc(void) {
    return (struct brg_code_spec){.kind = BRG_CODE_M_SGC,
                                  .n = 4,
                                  .b = 1,
                                  .w = 2,
                                  .lambda = 4,
                                  .chunks = 4,
                                  .policy = BRG_POLICY_MINWAIT,
                                  .mu_ppm = 1000000};
}

/* What a member was given in the last step, in order: "step/unit step/unit". */
static void assert_tasks(uint32_t slot, const char *want) {
    char got[160] = "";
    for (uint32_t i = 0; i < machine.out.count; i++) {
        const struct brg_coord_action *a = &machine.out.items[i];
        if (a->type != BRG_ACT_SEND_TASK || a->member != slot) continue;
        const size_t used = strlen(got);
        (void)snprintf(got + used, sizeof got - used, "%s%u/%u", used > 0 ? " " : "",
                       (unsigned)a->step, (unsigned)a->unit);
    }
    assert_string_equal(got, want);
}

/* All four positions do their unit of the step, which takes them a while. The round ends with the
 * last word, since it needs no share of a step that is not due. */
static void whole_round(uint64_t step_number) {
    wait_ns(100);
    for (uint32_t i = 0; i < 4; i++) {
        share(i, step_number - 1, i, BRG_OK); /* if it is still wanted */
        done(i, step_number, i);
    }
}

/* ---- models ---- */

static void rounds_next_round__begins_before_the_step_before_it_is_decoded(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(2, none_of(1));
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    assert_int_equal(find(BRG_ACT_DECODE, 0)->step, 1);
    assert_tasks(0, "2/0"); /* of the other model, whose parameters are there */
    deliver(0, 2, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 0);    /* one at a time */
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0); /* step 3 starts from what step 1 comes to */
    answer(BRG_EV_DECODED, 1);
    assert_true(find(BRG_ACT_APPLY, 0) < find(BRG_ACT_DECODE, 0));
    assert_int_equal(find(BRG_ACT_DECODE, 0)->step, 2);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    answer(BRG_EV_APPLIED, 1);
    assert_tasks(0, "3/0");
}

static void rounds_checkpoint_of_models__comes_before_the_next_optimizer_step(void **state) {
    (void)state;
    struct brg_run_plan plan = models_plan(2, none_of(1));
    plan.checkpoint_every = 1;
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    deliver(0, 2, 0);
    answer(BRG_EV_DECODED, 1);
    answer(BRG_EV_APPLIED, 1);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 1);
    assert_int_equal(count(BRG_ACT_APPLY), 0); /* of step 2: its gradient is on the way */
    answer(BRG_EV_DECODED, 2);
    assert_int_equal(find(BRG_ACT_APPLY, 0)->step, 2);
}

static void rounds_last_step_of_models__is_followed_by_the_steps_still_being_decoded(void **state) {
    (void)state;
    struct brg_run_plan plan = models_plan(3, none_of(1));
    plan.steps = 3;
    attach(1);
    open_run(&plan);
    for (uint64_t s = 1; s <= 3; s++) deliver(0, s, 0);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 0);
    for (uint64_t s = 1; s <= 3; s++) commit(s);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 3);
    answer(BRG_EV_CHECKPOINTED, 3);
    assert_int_equal(run_state(1), BRG_RUN_FINISHED);
}

static void rounds_pause__drops_all_in_flight_but_what_is_being_decoded(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(4, none_of(1));
    attach(1);
    open_run(&plan);
    for (uint64_t s = 1; s <= 3; s++) deliver(0, s, 0);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 0);
    assert_int_equal(member(0)->task_count, 0);
    answer(BRG_EV_DECODED, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    done(0, 4, 0); /* an honest worker that has not heard of it */
    answer(BRG_EV_APPLIED, 1);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 1);
    answer(BRG_EV_CHECKPOINTED, 1);
    assert_int_equal(run_state(1), BRG_RUN_PAUSED);
    wish(BRG_EV_RESUME, 1, BRG_OK);
    opened(1, 1, &plan.code);
    assert_tasks(0, "2/0");
}

static void rounds_run_opened_again__takes_no_answers_to_tasks_of_before(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(2, none_of(1));
    attach(1);
    open_run(&plan);
    const struct brg_coord_action before = *find(BRG_ACT_SEND_TASK, 0);
    wish(BRG_EV_PAUSE, 1, BRG_OK);
    answer(BRG_EV_CHECKPOINTED, 0);
    wish(BRG_EV_RESUME, 1, BRG_OK);
    opened(1, 0, &plan.code);
    const struct brg_coord_action *after = find(BRG_ACT_SEND_TASK, 0);
    assert_true(after->round > before.round && after->since > before.since);
    struct brg_coord_event ev = about(BRG_EV_DONE, 1, 0);
    ev.since = before.since;
    assert_int_equal(say(0, ev), BRG_OK);
    assert_int_equal(count(BRG_ACT_PULL), 0);
    ev.since = machine.c.rounds.since + 1;
    assert_int_equal(say(0, ev), BRG_EPROTO);
    done(0, 1, 0);
    assert_int_equal(count(BRG_ACT_PULL), 1);
}

/* ---- delay ---- */

static void rounds_m_sgc__attempts_again_in_the_next_round_and_then_decodes(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(2, m_sgc());
    attach(4);
    open_run(&plan);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(task_of(i), i);
    wait_ns(100);
    for (uint32_t i = 1; i < 4; i++) deliver(i, 1, i); /* member 0 is late */
    assert_int_equal(count(BRG_ACT_ROUND), 0);
    wait_ns(100); /* twice the fastest: nothing is lost yet, the round may end without it */
    assert_int_equal(count(BRG_ACT_ROUND), 1);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    assert_int_equal(count_notes(BRG_NOTE_REATTEMPT), 0);
    assert_tasks(0, "1/0 2/0"); /* the older step first */
    assert_tasks(1, "2/1");
    wait_ns(100);
    deliver(0, 1, 0);
    for (uint32_t i = 0; i < 4; i++) done(i, 2, i);
    assert_int_equal(find(BRG_ACT_DECODE, 0)->step, 1);
    assert_int_equal(machine.c.rounds.waited_steps, 0);
}

static void rounds_late_answer_of_an_earlier_round__counts(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(2, m_sgc());
    attach(4);
    open_run(&plan);
    wait_ns(100);
    for (uint32_t i = 1; i < 4; i++) deliver(i, 1, i);
    wait_ns(100);
    wait_ns(100);
    for (uint32_t i = 1; i < 4; i++) deliver(i, 2, i);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    deliver(0, 1, 0); /* as if it had not heard of this round */
    wait_ns(100);
    assert_int_equal(find(BRG_ACT_DECODE, 0)->step, 1);
}

static void rounds_last_steps_of_a_delay__need_no_round_of_their_own(void **state) {
    (void)state;
    struct brg_run_plan plan = models_plan(2, m_sgc());
    plan.steps = 2;
    attach(4);
    open_run(&plan);
    whole_round(1);
    const uint64_t round = machine.c.rounds.round;
    whole_round(2);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
    assert_int_equal(machine.c.rounds.round, round + 1); /* for what is still on its way */
    for (uint32_t i = 0; i < 4; i++) share(i, 2, i, BRG_OK);
    assert_int_equal(count(BRG_ACT_ROUND), 0); /* there was nothing to do in it */
    assert_int_equal(machine.c.rounds.ended, 2);
    commit(1);
    commit(2);
    assert_int_equal(find(BRG_ACT_CHECKPOINT, 0)->step, 2);
}

static void rounds_code_with_a_delay__is_refused_to_too_few_models(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(1, none_of(1));
    const struct brg_code_spec code = m_sgc();
    attach(1);
    open_run(&plan);
    assert_int_equal(switch_to(&code), BRG_EINVAL);
    assert_null(machine.c.rounds.next);
}

static void rounds_published_rule__waits_for_a_pattern_that_conforms(void **state) {
    (void)state;
    struct brg_code_spec code = {.kind = BRG_CODE_FRC,
                                 .n = 6,
                                 .s = 1,
                                 .chunks = 6,
                                 .policy = BRG_POLICY_EARLY,
                                 .rule = BRG_RULE_MODEL};
    const struct brg_run_plan plan = models_plan(1, code);
    attach(6);
    open_run(&plan);
    uint32_t first[3] = {BRG_NOBODY, BRG_NOBODY, BRG_NOBODY}, late[3] = {0};
    for (uint32_t i = 0; i < 6; i++) {
        const uint32_t unit = task_of(i);
        if (first[unit] == BRG_NOBODY)
            first[unit] = i;
        else
            late[unit] = i;
    }
    wait_ns(100);
    for (uint32_t u = 0; u < 3; u++) deliver(first[u], 1, u);
    assert_int_equal(count(BRG_ACT_DECODE), 0); /* decodable, but three are late and s is one */
    done(late[0], 1, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 0);
    done(late[1], 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_published_rule__does_not_wait_for_whoever_is_gone(void **state) {
    (void)state;
    struct brg_code_spec code = none_of(2);
    code.rule = BRG_RULE_MODEL;
    const struct brg_run_plan plan = models_plan(1, code);
    attach(2);
    open_run(&plan);
    deliver(0, 1, 0);
    assert_int_equal(say(1, (struct brg_coord_event){.type = BRG_EV_BYE}), BRG_OK);
    assert_tasks(0, "1/1");
    deliver(0, 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

/* ---- parts ---- */

static void rounds_parts_of_a_group__add_up_whoever_did_them(void **state) {
    (void)state;
    struct brg_code_spec code = {
        .kind = BRG_CODE_FRC, .n = 2, .s = 1, .chunks = 2, .parts = 2, .policy = BRG_POLICY_EARLY};
    const struct brg_run_plan plan = models_plan(1, code);
    attach(2);
    open_run(&plan);
    assert_tasks(0, "1/0 1/1");
    assert_tasks(1, "1/1 1/0");
    deliver(0, 1, 0);
    deliver(1, 1, 1);
    assert_int_equal(count(BRG_ACT_DECODE), 1); /* after half the time */
}

static void rounds_late_member__keeps_what_it_has_done_and_the_rest_goes_to_others(void **state) {
    (void)state;
    struct brg_code_spec code = none_of(2);
    code.chunks = 8;
    code.parts = 4;
    const struct brg_run_plan plan = models_plan(1, code);
    attach(2);
    open_run(&plan);
    wait_ns(50 * BRG_NS_PER_MS);
    for (uint32_t u = 0; u < 4; u++) deliver(0, 1, u);
    for (uint32_t u = 4; u < 7; u++) deliver(1, 1, u);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    wait_ns(50 * BRG_NS_PER_MS); /* twice the fastest */
    assert_tasks(0, "1/7");
    assert_int_equal(count(BRG_ACT_SEND_TASK), 1);
    deliver(0, 1, 7);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_first_of_several_parts__is_not_the_first_answer(void **state) {
    (void)state;
    struct brg_code_spec code = none_of(2);
    code.chunks = 8;
    code.parts = 4;
    const struct brg_run_plan plan = models_plan(1, code);
    attach(2);
    open_run(&plan);
    wait_ns(100);
    deliver(0, 1, 0);
    assert_true(machine.c.rounds.first_ns == BRG_POLICY_NEVER);
    for (uint32_t u = 1; u < 4; u++) deliver(0, 1, u);
    assert_true(machine.c.rounds.first_ns == machine.now_ns);
}

static void rounds_worker_that_lost_some_of_its_tasks__gets_all_of_them_again(void **state) {
    (void)state;
    struct brg_code_spec code = none_of(1);
    code.chunks = code.parts = 3;
    const struct brg_run_plan plan = models_plan(1, code);
    const struct brg_coord_event idle = {.type = BRG_EV_BEAT, .run = 1, .unit = BRG_NO_UNIT};
    attach(1);
    open_run(&plan);
    deliver(0, 1, 0);
    deliver(0, 1, 2); /* the word of unit 1 was lost on the way */
    wait_ns(LEASE_NS / 4);
    beat(0); /* works on unit 1, or so it says */
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0);
    wait_ns(LEASE_NS / 4);
    assert_int_equal(say(0, idle), BRG_OK);
    assert_tasks(0, "1/1");
}

/* ---- clusters and the log ---- */

/* Gives everything but what `slow` has to do, and lets the round end. */
static void round_without(const uint32_t *slow, uint32_t slow_count, uint64_t step_number) {
    wait_ns(100 * BRG_NS_PER_MS);
    for (uint32_t i = 0; i < 4; i++) {
        int is_slow = 0;
        for (uint32_t k = 0; k < slow_count; k++) is_slow |= slow[k] == i;
        if (!is_slow) deliver(i, step_number, task_of(i));
    }
}

static void rounds_members_that_were_late__are_spread_over_the_groups(void **state) {
    (void)state;
    struct brg_code_spec code = frc_with_delay();
    code.delay = 0;
    code.policy = BRG_POLICY_EARLY;
    const struct brg_run_plan plan = models_plan(1, code);
    attach(4);
    open_run(&plan);
    /* Two that share a group are late; others attempt their unit once they are idle. */
    const uint32_t unit = task_of(0);
    const uint32_t slow[2] = {0, task_of(1) == unit ? 1u : task_of(2) == unit ? 2u : 3u};
    round_without(slow, 2, 1);
    wait_ns(100 * BRG_NS_PER_MS);
    const struct brg_coord_action again = *find(BRG_ACT_SEND_TASK, 0);
    assert_int_equal(again.unit, unit);
    wait_ns(100 * BRG_NS_PER_MS); /* as quick as before */
    deliver(again.member, 1, unit);
    assert_true(member(slow[0])->late_ppm > 0);
    commit(1);
    assert_int_not_equal(task_of(slow[0]), task_of(slow[1]));
}

static void rounds_log__tells_who_was_done_when(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(2, m_sgc());
    attach(4);
    open_run(&plan);
    wait_ns(100);
    for (uint32_t i = 1; i < 4; i++) deliver(i, 1, i);
    wait_ns(100);
    const struct brg_round_log *log = &machine.c.rounds.log;
    assert_int_equal(find(BRG_ACT_ROUND, 0)->round, log->round);
    assert_int_equal(log->n, 4);
    assert_int_equal(log->step, 1);
    assert_int_equal(log->due, 0); /* the first step is due a round later */
    assert_int_equal(log->ended_ns - log->started_ns, 200);
    assert_int_equal(log->entries[0].done_ns[0], 0); /* late */
    assert_int_equal(log->entries[2].done_ns[0], 100);
    assert_int_equal(log->entries[2].member, 2);
    assert_int_equal(log->entries[2].count, 1);
    assert_int_equal(log->entries[2].chunks[0], 1);
}

/* ---- another code ---- */

static void rounds_switch__waits_until_nothing_is_in_flight(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(2, m_sgc());
    const struct brg_code_spec code = none_of(2);
    attach(4);
    open_run(&plan);
    const uint64_t since = machine.c.rounds.since;
    whole_round(1);
    assert_int_equal(switch_to(&code), BRG_OK);
    assert_int_equal(switch_to(&code), BRG_EEXIST);
    whole_round(2);
    assert_int_equal(find(BRG_ACT_DECODE, 0)->step, 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 0); /* no new step before */
    for (uint32_t i = 0; i < 4; i++) share(i, 2, i, BRG_OK);
    assert_int_equal(machine.c.rounds.ended, 2);
    commit(1);
    assert_int_equal(count(BRG_ACT_SWITCHED), 0);
    answer(BRG_EV_DECODED, 2);
    assert_int_equal(find(BRG_ACT_PERSIST_CODE, 0)->step, 2);
    assert_int_equal(count(BRG_ACT_SWITCHED), 1);
    assert_tasks(0, "3/0"); /* its model is the other one, which has been applied */
    assert_true(find(BRG_ACT_SWITCHED, 0) < find(BRG_ACT_SEND_TASK, 0));
    assert_true(find(BRG_ACT_SEND_TASK, 0)->since > since);
    assert_int_equal(find(BRG_ACT_SEND_TASK, 0)->since, find(BRG_ACT_SEND_TASK, 0)->round);
    assert_int_equal(member(3)->position, BRG_NOBODY); /* the code has two positions */
}

static void rounds_answer_to_a_task_of_the_code_before__does_not_count(void **state) {
    (void)state;
    const struct brg_run_plan plan = models_plan(1, none_of(2));
    struct brg_code_spec code = none_of(1);
    code.chunks = 2;
    attach(2);
    open_run(&plan);
    deliver(0, 1, 0);
    assert_int_equal(switch_to(&code), BRG_OK);
    struct brg_coord_event late = about(BRG_EV_DONE, 2, 0);
    deliver(1, 1, 1);
    commit(1);
    assert_tasks(0, "2/0");
    assert_int_equal(say(1, late), BRG_OK); /* of half the batch, under the number of all of it */
    assert_int_equal(count(BRG_ACT_PULL), 0);
    deliver(0, 2, 0);
    assert_int_equal(count(BRG_ACT_DECODE), 1);
}

static void rounds_switch_of_a_run_that_ends__is_refused_or_never_happens(void **state) {
    (void)state;
    struct brg_run_plan plan = models_plan(1, none_of(1));
    plan.steps = 1;
    const struct brg_code_spec code = none_of(1);
    assert_int_equal(switch_to(&code), BRG_ENOENT);
    attach(1);
    open_run(&plan);
    assert_int_equal(switch_to(&code), BRG_OK);
    deliver(0, 1, 0);
    commit(1);
    assert_int_equal(count(BRG_ACT_SWITCHED), 0);
    assert_int_equal(count(BRG_ACT_CHECKPOINT), 1);
    assert_int_equal(switch_to(&code), BRG_EINVAL);
}

static void rounds_largest_code__stays_within_the_actions_of_one_step(void **state) {
    (void)state;
    const struct brg_code_spec code = {.kind = BRG_CODE_FRC,
                                       .n = BRG_CODE_WORKERS_MAX,
                                       .s = 7,
                                       .chunks = 1024,
                                       .parts = 8,
                                       .policy = BRG_POLICY_EARLY};
    const struct brg_run_plan plan = models_plan(1, code);
    for (uint32_t key = 1; key <= BRG_MEMBERS_MAX; key++) {
        uint32_t slot = 0;
        const struct brg_coord_event ev = hello_event(key, key);
        assert_int_equal(brg_members_add(&machine.c.members, ev.key, BRG_MEMBER_AWAY, &slot),
                         BRG_OK);
        hello(key, key);
    }
    open_run(&plan);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 8 * BRG_CODE_WORKERS_MAX);
    wait_ns(LEASE_NS / 2 - 1);
    for (uint32_t i = 0; i < BRG_MEMBERS_MAX; i++) beat(i);
    wait_ns(TASK_TIMEOUT_NS - LEASE_NS / 2 + 1);
    assert_int_equal(count(BRG_ACT_SEND_TASK), 1024); /* a unit each of the spares */
    wait_ns(LEASE_NS);
    assert_int_equal(count_notes(BRG_NOTE_LOST), BRG_MEMBERS_MAX);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(rounds_next_round__begins_before_the_step_before_it_is_decoded),
        TEST(rounds_checkpoint_of_models__comes_before_the_next_optimizer_step),
        TEST(rounds_last_step_of_models__is_followed_by_the_steps_still_being_decoded),
        TEST(rounds_pause__drops_all_in_flight_but_what_is_being_decoded),
        TEST(rounds_run_opened_again__takes_no_answers_to_tasks_of_before),
        TEST(rounds_m_sgc__attempts_again_in_the_next_round_and_then_decodes),
        TEST(rounds_late_answer_of_an_earlier_round__counts),
        TEST(rounds_last_steps_of_a_delay__need_no_round_of_their_own),
        TEST(rounds_code_with_a_delay__is_refused_to_too_few_models),
        TEST(rounds_published_rule__waits_for_a_pattern_that_conforms),
        TEST(rounds_published_rule__does_not_wait_for_whoever_is_gone),
        TEST(rounds_parts_of_a_group__add_up_whoever_did_them),
        TEST(rounds_late_member__keeps_what_it_has_done_and_the_rest_goes_to_others),
        TEST(rounds_first_of_several_parts__is_not_the_first_answer),
        TEST(rounds_worker_that_lost_some_of_its_tasks__gets_all_of_them_again),
        TEST(rounds_members_that_were_late__are_spread_over_the_groups),
        TEST(rounds_log__tells_who_was_done_when),
        TEST(rounds_switch__waits_until_nothing_is_in_flight),
        TEST(rounds_answer_to_a_task_of_the_code_before__does_not_count),
        TEST(rounds_switch_of_a_run_that_ends__is_refused_or_never_happens),
        TEST(rounds_largest_code__stays_within_the_actions_of_one_step),
    };
    return cmocka_run_group_tests_name("rounds_models", tests, NULL, NULL) != 0;
}
