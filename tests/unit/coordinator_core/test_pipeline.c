#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/core/pipeline.h"

/* Three stages at members 0, 1, 2 and whatever a test adds; member m joins with m * 10 ns. */
static struct brg_pipeline p;
static struct brg_pipe_actions out;
static uint64_t now_ns;

static int give(struct brg_pipe_event ev) {
    ev.now_ns = ++now_ns;
    ev.epoch = ev.epoch == 0 ? 1 : ev.epoch;
    const int rc = brg_pipeline_step(&p, &ev, &out);
    if (rc == BRG_OK) brg_pipeline_check(&p);
    return rc;
}

static const struct brg_pipe_action *find(uint32_t type, uint32_t member) {
    for (uint32_t i = 0; i < out.count; i++)
        if (out.items[i].type == type && (member == BRG_NOBODY || out.items[i].member == member))
            return &out.items[i];
    return NULL;
}

static const struct brg_pipe_action *find_note(uint32_t note) {
    for (uint32_t i = 0; i < out.count; i++)
        if (out.items[i].type == BRG_PACT_NOTE && out.items[i].note == note) return &out.items[i];
    return NULL;
}

static void join(uint32_t member) {
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_JOINED,
                                                  .member = member,
                                                  .stage = BRG_NOBODY,
                                                  .memory_bytes = 100,
                                                  .microbatch_ns = 10 + member * 10}),
                     BRG_OK);
}

static int say(uint32_t type, uint32_t member, uint64_t step) {
    return give((struct brg_pipe_event){
        .type = type, .member = member, .generation = p.generation, .step = step});
}

/* Everybody with a seat says it. */
static void all_say(uint32_t type, uint64_t step) {
    const uint64_t generation = p.generation;
    for (uint32_t m = 0; m < 16; m++)
        if (p.members[m].stage != BRG_NOBODY && p.generation == generation)
            assert_int_equal(say(type, m, step), BRG_OK);
}

static void open_with(struct brg_pipe_plan plan, uint32_t members) {
    plan.run = 1;
    plan.steps = plan.steps > 0 ? plan.steps : 100;
    plan.retry_ns = plan.hold_ns = plan.learn_ns = 1000000;
    plan.edges_copied = 1;
    plan.microbatches = 8;
    if (plan.ladder.count == 0) plan.ladder = brg_ladder_default();
    assert_int_equal(brg_pipeline_plan_check(&plan), BRG_OK);
    now_ns = 0;
    brg_pipeline_init(&p, &plan);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_OPEN}), BRG_OK);
    for (uint32_t m = 0; m < members; m++) join(m);
}

static void run_steps(uint64_t count) {
    all_say(BRG_PEV_PLACED, 0);
    for (uint64_t i = 0; i < count; i++) all_say(BRG_PEV_READY, p.committed + 1);
}

static uint32_t holder(uint32_t stage) {
    assert_true(p.stages[stage].count > 0);
    return p.stages[stage].holders[0];
}

static void plan_out_of_range__is_refused(void **state) {
    (void)state;
    struct brg_pipe_plan plan = {.steps = 1,
                                 .retry_ns = 1,
                                 .hold_ns = 1,
                                 .learn_ns = 1,
                                 .stages = 2,
                                 .lanes = 2,
                                 .microbatches = 2,
                                 .ladder = brg_ladder_default()};
    assert_int_equal(brg_pipeline_plan_check(&plan), BRG_OK);
    plan.microbatches = 1;
    assert_int_equal(brg_pipeline_plan_check(&plan), BRG_EINVAL);
    plan.microbatches = 2;
    plan.stages = BRG_PIPE_STAGES_MAX + 1;
    assert_int_equal(brg_pipeline_plan_check(&plan), BRG_EINVAL);
}

static void pipeline_start__waits_for_a_member_a_stage_and_stores_before_it_speaks(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 3, .lanes = 1}, 2);
    assert_int_equal(p.phase, BRG_PIPE_WAITING);
    join(2);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(out.items[0].type, BRG_PACT_PERSIST_PLACE);
    assert_non_null(find(BRG_PACT_SEND_PLACE, 2));
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 2)->rung, BRG_RUNG_CHECKPOINT);
    run_steps(0);
    assert_int_equal(p.phase, BRG_PIPE_STEPPING);
}

static void pipeline_memory__a_member_that_is_too_small_gets_no_seat(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1, .stage_bytes = {101, 10}}, 3);
    assert_int_equal(p.phase, BRG_PIPE_WAITING);
    assert_int_equal(
        give((struct brg_pipe_event){
            .type = BRG_PEV_JOINED, .member = 3, .stage = BRG_NOBODY, .memory_bytes = 101}),
        BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(holder(0), 3);
    assert_int_equal(holder(1), 0); /* the fastest of the others */
}

static void pipeline_commit__needs_ready_of_all_in_this_generation(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 3, .lanes = 1}, 3);
    run_steps(0);
    assert_int_equal(say(BRG_PEV_READY, 0, 1), BRG_OK);
    assert_int_equal(say(BRG_PEV_READY, 1, 1), BRG_OK);
    assert_int_equal(say(BRG_PEV_READY, 1, 2), BRG_EPROTO);
    assert_int_equal(
        give((struct brg_pipe_event){
            .type = BRG_PEV_READY, .member = 2, .generation = p.generation - 1, .step = 1}),
        BRG_OK);
    assert_int_equal(p.committed, 0);
    assert_int_equal(say(BRG_PEV_READY, 2, 1), BRG_OK);
    assert_int_equal(p.committed, 1);
    assert_int_equal(out.items[0].type, BRG_PACT_PERSIST_COMMIT);
    assert_non_null(find(BRG_PACT_SEND_COMMIT, 0));
    /* Whoever missed it and says READY again, is told again. */
    assert_int_equal(say(BRG_PEV_READY, 0, 1), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_COMMIT, 0));
    assert_int_equal(p.committed, 1);
}

static void pipeline_loss_of_a_sibling__lanes_are_covered_at_once(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 2}, 2);
    run_steps(1);
    join(2); /* learns */
    assert_non_null(find(BRG_PACT_SEND_LEARN, 2));
    assert_int_equal(p.phase, BRG_PIPE_STEPPING); /* nobody waits for it */
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_LEARNED,
                                                  .member = 2,
                                                  .stage = p.learns,
                                                  .lineage = p.stages[p.learns].lineage,
                                                  .version = p.committed}),
                     BRG_OK);
    const uint32_t stage = p.members[2].stage;
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 2)->rung, 0);
    run_steps(1);
    assert_int_equal(p.committed, 2);
    assert_int_equal(p.members[2].lanes, 2);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = 2}), BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(p.members[holder(stage)].lanes, 3);
    assert_int_equal(find(BRG_PACT_SEND_PLACE, holder(stage))->rung, 0);
}

static void pipeline_digests__that_differ_abort_the_step(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 1, .lanes = 2, .shadow_every = 0}, 1);
    run_steps(1);
    join(1);
    assert_int_equal(
        give((struct brg_pipe_event){.type = BRG_PEV_LEARNED, .member = 1, .version = p.committed}),
        BRG_OK);
    run_steps(0);
    assert_int_equal(say(BRG_PEV_READY, 0, 2), BRG_OK);
    struct brg_pipe_event wrong = {
        .type = BRG_PEV_READY, .member = 1, .generation = p.generation, .step = 2};
    wrong.digest.bytes[0] = 1;
    assert_int_equal(give(wrong), BRG_OK);
    assert_int_equal(p.committed, 1);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(find_note(BRG_PNOTE_DIGESTS_DIFFER)->member, 1); /* the newer one */
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 1)->rung, BRG_RUNG_REPLICA);
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 0)->rung, 0);
}

static void pipeline_loss__takes_the_shadow_and_falls_to_the_next_rung(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 4, .lanes = 1, .shadow_every = 1}, 5);
    run_steps(3);
    const uint32_t lost = holder(1), keeper = holder(3);
    assert_int_equal(give((struct brg_pipe_event){
                         .type = BRG_PEV_SHADOW_AT, .member = keeper, .stage = 1, .version = 2}),
                     BRG_OK);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = lost}), BRG_OK);
    const struct brg_pipe_action *note = find_note(BRG_PNOTE_RECOVERING);
    assert_int_equal(note->rung, BRG_RUNG_SHADOW);
    assert_int_equal(note->step, 1); /* stale by a step */
    const struct brg_pipe_action *place = find(BRG_PACT_SEND_PLACE, 4);
    assert_int_equal(place->source, keeper);
    assert_int_equal(place->lineage, p.generation); /* a history of its own from here on */
    assert_int_equal(place->version, 3);
    assert_int_equal(say(BRG_PEV_FETCH_FAILED, 4, 0), BRG_OK);
    note = find_note(BRG_PNOTE_RECOVERING);
    assert_int_equal(note->rung, BRG_RUNG_NEIGHBOURS);
    assert_int_equal(p.members[4].source_count, 2);
    run_steps(1);
    assert_int_equal(p.committed, 4);
    assert_true(p.stages[1].lineage > 0);
}

static void pipeline_parity__is_taken_where_no_shadow_is_kept(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 4, .lanes = 1, .parity_group = 2}, 5);
    run_steps(2);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_PARITY_AT,
                                                  .member = holder(2),
                                                  .stage = 1, /* stages 1 and 3 */
                                                  .version = 2}),
                     BRG_OK);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = holder(1)}),
                     BRG_OK);
    assert_int_equal(find_note(BRG_PNOTE_RECOVERING)->rung, BRG_RUNG_PARITY);
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 4)->source, holder(2));
}

static void pipeline_all_lost__rolls_back_and_files_name_a_new_history(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1, .checkpoint_every = 2}, 2);
    run_steps(2);
    assert_non_null(find(BRG_PACT_CHECKPOINT, BRG_NOBODY));
    assert_int_equal(give((struct brg_pipe_event){
                         .type = BRG_PEV_CHECKPOINTED, .step = 2, .generation = p.generation}),
                     BRG_OK);
    all_say(BRG_PEV_READY, 3);
    assert_int_equal(p.committed, 3);
    for (uint32_t m = 0; m < 2; m++)
        assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = m}), BRG_OK);
    join(4);
    join(5);
    assert_int_equal(find(BRG_PACT_PERSIST_ROLLBACK, BRG_NOBODY)->step, 2);
    assert_int_equal(p.committed, 2);
    assert_int_equal(p.stages[0].lineage, p.generation);
    run_steps(1);
    assert_int_equal(p.committed, 3);
}

static void pipeline_restart__waits_for_stored_holders_and_uses_a_gradient_in_hand(void **state) {
    (void)state;
    struct brg_pipe_plan plan = {.stages = 2, .lanes = 1, .grace_ns = 1000};
    plan.steps = 10;
    plan.retry_ns = plan.hold_ns = plan.learn_ns = 1000000;
    plan.microbatches = 2;
    plan.ladder = brg_ladder_default();
    now_ns = 0;
    brg_pipeline_init(&p, &plan);
    for (uint32_t s = 0; s < 2; s++) brg_pipeline_restore(&p, s, 0, 1);
    assert_int_equal(
        give((struct brg_pipe_event){
            .type = BRG_PEV_OPEN, .epoch = 1, .generation = 7, .step = 5, .commit_generation = 6}),
        BRG_OK);
    join(3);
    join(4);
    assert_int_equal(p.phase, BRG_PIPE_WAITING); /* two would do, but none has the state */
    struct brg_pipe_event back = {
        .type = BRG_PEV_JOINED, .member = 0, .stage = 0, .version = 5, .memory_bytes = 1};
    assert_int_equal(give(back), BRG_OK);
    back.member = back.stage = 1;
    back.version = 4; /* it missed COMMIT(5), which was made in generation 6 */
    back.step = 5;
    back.commit_generation = 6;
    assert_int_equal(give(back), BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(p.generation, 8);
    const struct brg_pipe_action *place = find(BRG_PACT_SEND_PLACE, 1);
    assert_int_equal(place->rung, 0);
    assert_int_equal(place->version, 5);
    assert_int_equal(place->commit_generation, 6);
}

static void pipeline_drain__is_handed_over_before_it_may_go(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1}, 3);
    run_steps(1);
    assert_int_equal(say(BRG_PEV_DRAINING, 1, 0), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_LEARN, 2));
    assert_null(find(BRG_PACT_SEND_MAY_GO, 1));
    all_say(BRG_PEV_READY, 2); /* the line goes on */
    assert_int_equal(p.committed, 2);
    const uint32_t stage = p.members[1].stage;
    assert_int_equal(give((struct brg_pipe_event){
                         .type = BRG_PEV_LEARNED, .member = 2, .stage = stage, .version = 1}),
                     BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_STEPPING); /* behind: not yet */
    assert_int_equal(give((struct brg_pipe_event){
                         .type = BRG_PEV_LEARNED, .member = 2, .stage = stage, .version = 2}),
                     BRG_OK);
    assert_int_equal(holder(stage), 2);
    for (uint32_t s = 0; s < 2; s++) assert_int_equal(say(BRG_PEV_PLACED, holder(s), 0), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_MAY_GO, 1));
}

static void pipeline_lost_peer__is_relayed_first_and_then_re_placed(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1, .relay = 1}, 3);
    run_steps(1);
    struct brg_pipe_event lost = {.type = BRG_PEV_LOST_PEER,
                                  .member = holder(1),
                                  .generation = p.generation,
                                  .peer = holder(0)};
    assert_int_equal(give(lost), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_RELAY, holder(1)));
    assert_int_equal(p.phase, BRG_PIPE_STEPPING);
    assert_int_equal(give(lost), BRG_OK);
    assert_int_equal(find_note(BRG_PNOTE_CUT_OFF)->member, lost.peer);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 2)->rung, BRG_RUNG_REPLICA);
    assert_int_equal(find(BRG_PACT_SEND_PLACE, 2)->source, lost.peer);
}

static void pipeline_speed__changes_seats_only_for_much(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 1, .lanes = 1, .swap_percent = 50}, 1);
    run_steps(0);
    assert_int_equal(
        give((struct brg_pipe_event){.type = BRG_PEV_SPEED, .member = 0, .microbatch_ns = 3000}),
        BRG_OK);
    struct brg_pipe_event spare = {.type = BRG_PEV_JOINED,
                                   .member = 1,
                                   .stage = BRG_NOBODY,
                                   .memory_bytes = 1,
                                   .microbatch_ns = 2500};
    assert_int_equal(give(spare), BRG_OK);
    assert_null(find(BRG_PACT_SEND_LEARN, 1));
    spare.member = 2;
    spare.microbatch_ns = 1500;
    assert_int_equal(give(spare), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_LEARN, 2));
}

static void checkpointed(uint64_t step) {
    assert_int_equal(give((struct brg_pipe_event){
                         .type = BRG_PEV_CHECKPOINTED, .step = step, .generation = p.generation}),
                     BRG_OK);
}

static void pipeline_last_step__is_finished_when_its_files_are_there(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1, .steps = 2, .checkpoint_every = 50},
              3);
    run_steps(2);
    assert_int_equal(p.phase, BRG_PIPE_SAVING);
    assert_int_equal(find(BRG_PACT_CHECKPOINT, BRG_NOBODY)->step, 2);
    assert_null(find_note(BRG_PNOTE_FINISHED));
    now_ns += 10 * p.plan.retry_ns; /* the word may have been lost on the way to a holder */
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_TICK}), BRG_OK);
    assert_non_null(find(BRG_PACT_CHECKPOINT, BRG_NOBODY));
    checkpointed(2);
    assert_non_null(find_note(BRG_PNOTE_FINISHED));
    assert_int_equal(p.phase, BRG_PIPE_FINISHED);
}

static void
pipeline_stage_lost_while_it_saves__comes_back_and_is_saved_and_no_step_made(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 3, .lanes = 1, .steps = 2, .checkpoint_every = 50},
              4);
    run_steps(2);
    const uint64_t generation = p.generation;
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = holder(1)}),
                     BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    all_say(BRG_PEV_PLACED, 0);
    assert_int_equal(p.phase, BRG_PIPE_SAVING);
    assert_null(find(BRG_PACT_SEND_START, BRG_NOBODY));
    assert_non_null(find_note(BRG_PNOTE_RECOVERED));
    assert_true(find(BRG_PACT_CHECKPOINT, BRG_NOBODY)->generation > generation);
    assert_int_equal(p.committed, 2);
    checkpointed(2);
    assert_int_equal(p.phase, BRG_PIPE_FINISHED);
}

static void pipeline_restarted_between_last_step_and_files__waits_for_its_holders(void **state) {
    (void)state;
    struct brg_pipe_plan plan = {.steps = 2,
                                 .retry_ns = 1000,
                                 .hold_ns = 1000,
                                 .learn_ns = 1000,
                                 .stages = 1,
                                 .lanes = 1,
                                 .microbatches = 1,
                                 .checkpoint_every = 1,
                                 .ladder = brg_ladder_default()};
    now_ns = 0;
    brg_pipeline_init(&p, &plan);
    brg_pipeline_restore(&p, 0, 0, 1);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_OPEN,
                                                  .generation = 4,
                                                  .step = 2,
                                                  .commit_generation = 4,
                                                  .checkpoint = 1,
                                                  .checkpoint_generation = 4}),
                     BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_WAITING);
    assert_int_equal(give((struct brg_pipe_event){
                         .type = BRG_PEV_JOINED, .member = 3, .stage = 0, .version = 2}),
                     BRG_OK);
    assert_int_equal(say(BRG_PEV_PLACED, 3, 0), BRG_OK);
    assert_int_equal(find(BRG_PACT_CHECKPOINT, BRG_NOBODY)->step, 2);
    checkpointed(2);
    assert_int_equal(p.phase, BRG_PIPE_FINISHED);
}

static void pipeline_pause__ends_the_step_in_flight_and_saves_it(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1}, 2);
    run_steps(1);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_PAUSE}), BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_STEPPING);
    all_say(BRG_PEV_READY, 2);
    assert_int_equal(find(BRG_PACT_CHECKPOINT, BRG_NOBODY)->step, 2);
    all_say(BRG_PEV_READY, 3); /* begun before they could know */
    assert_int_equal(p.committed, 2);
    checkpointed(2);
    assert_int_equal(find_note(BRG_PNOTE_PAUSED)->step, 2);
}

static void pipeline_pause_with_nobody_there__is_at_once(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1}, 1);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_PAUSE}), BRG_OK);
    assert_non_null(find_note(BRG_PNOTE_PAUSED));
}

static void pipeline_start__names_the_stage_that_came_back_inexactly(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 3, .lanes = 1}, 4);
    run_steps(0);
    assert_int_equal(find(BRG_PACT_SEND_START, holder(0))->stage, BRG_NOBODY);
    run_steps(1);
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_GONE, .member = holder(1)}),
                     BRG_OK);
    all_say(BRG_PEV_PLACED, 0);
    const struct brg_pipe_action *start = find(BRG_PACT_SEND_START, holder(2));
    assert_int_equal(start->stage, 1);
    assert_int_equal(start->rung, BRG_RUNG_NEIGHBOURS);
}

static void pipeline_parity__is_kept_by_a_holder_of_another_group(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 4, .lanes = 1, .parity_group = 2}, 4);
    for (uint32_t s = 0; s < 4; s++) {
        const uint32_t keeper = p.stages[s].parity_to;
        assert_int_not_equal(keeper, BRG_NOBODY);
        assert_int_not_equal(p.members[keeper].stage % 2, s % 2);
    }
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1, .parity_group = 2}, 2);
    assert_int_equal(p.stages[0].parity_to, BRG_NOBODY);
}

static void pipeline_drain_of_who_holds_nothing__may_go_at_once_and_again(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 1, .lanes = 1}, 1);
    run_steps(1);
    const struct brg_pipe_event drain = {.type = BRG_PEV_DRAINING, .member = 7}; /* never joined */
    assert_int_equal(give(drain), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_MAY_GO, 7));
    join(7);
    assert_int_equal(give(drain), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_MAY_GO, 7));
    assert_int_equal(give(drain), BRG_OK);
    assert_non_null(find(BRG_PACT_SEND_MAY_GO, 7));
}

/* Seen live: holders that repeat what they said kept the look from ever coming. */
static void pipeline_waiting__looks_again_in_time_whatever_is_said_meanwhile(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 2, .lanes = 1}, 1);
    assert_int_equal(p.phase, BRG_PIPE_WAITING);
    const uint64_t at_ns = find(BRG_PACT_ARM, BRG_NOBODY)->at_ns;
    assert_int_equal(give((struct brg_pipe_event){.type = BRG_PEV_SPEED, .microbatch_ns = 7}),
                     BRG_OK);
    assert_int_equal(find(BRG_PACT_ARM, BRG_NOBODY)->at_ns, at_ns);
}

static void pipeline_loss_soon_after_the_start__is_not_waited_for(void **state) {
    (void)state;
    open_with((struct brg_pipe_plan){.stages = 3, .lanes = 1, .grace_ns = 1000000}, 4);
    run_steps(2);
    const uint64_t generation = p.generation;
    const struct brg_pipe_event gone = {.type = BRG_PEV_GONE, .member = holder(1)};
    assert_int_equal(give(gone), BRG_OK);
    assert_int_equal(p.phase, BRG_PIPE_PLACING);
    assert_int_equal(p.generation, generation + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_out_of_range__is_refused),
        cmocka_unit_test(pipeline_start__waits_for_a_member_a_stage_and_stores_before_it_speaks),
        cmocka_unit_test(pipeline_memory__a_member_that_is_too_small_gets_no_seat),
        cmocka_unit_test(pipeline_commit__needs_ready_of_all_in_this_generation),
        cmocka_unit_test(pipeline_loss_of_a_sibling__lanes_are_covered_at_once),
        cmocka_unit_test(pipeline_digests__that_differ_abort_the_step),
        cmocka_unit_test(pipeline_loss__takes_the_shadow_and_falls_to_the_next_rung),
        cmocka_unit_test(pipeline_parity__is_taken_where_no_shadow_is_kept),
        cmocka_unit_test(pipeline_all_lost__rolls_back_and_files_name_a_new_history),
        cmocka_unit_test(pipeline_restart__waits_for_stored_holders_and_uses_a_gradient_in_hand),
        cmocka_unit_test(pipeline_drain__is_handed_over_before_it_may_go),
        cmocka_unit_test(pipeline_lost_peer__is_relayed_first_and_then_re_placed),
        cmocka_unit_test(pipeline_speed__changes_seats_only_for_much),
        cmocka_unit_test(pipeline_start__waits_for_a_member_a_stage_and_stores_before_it_speaks),
        cmocka_unit_test(pipeline_last_step__is_finished_when_its_files_are_there),
        cmocka_unit_test(
            pipeline_stage_lost_while_it_saves__comes_back_and_is_saved_and_no_step_made),
        cmocka_unit_test(pipeline_restarted_between_last_step_and_files__waits_for_its_holders),
        cmocka_unit_test(pipeline_pause__ends_the_step_in_flight_and_saves_it),
        cmocka_unit_test(pipeline_pause_with_nobody_there__is_at_once),
        cmocka_unit_test(pipeline_start__names_the_stage_that_came_back_inexactly),
        cmocka_unit_test(pipeline_parity__is_kept_by_a_holder_of_another_group),
        cmocka_unit_test(pipeline_drain_of_who_holds_nothing__may_go_at_once_and_again),
        cmocka_unit_test(pipeline_waiting__looks_again_in_time_whatever_is_said_meanwhile),
        cmocka_unit_test(pipeline_loss_soon_after_the_start__is_not_waited_for),
    };
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL) != 0;
}
