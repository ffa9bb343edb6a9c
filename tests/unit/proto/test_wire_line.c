/* test_wire_line - the messages of pipelines over the wire: the largest ones, and every value out
 * of its range. That each comes back as it was is shown with all others in test_wire.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdalign.h>

#include "proto/wire_private.h"
#include "samples.h"

/* Large, so not on the stack. */
static struct brg_msg sent, got, before;
static uint8_t packed[BRG_ENVELOPE_BYTES_MAX];
static alignas(16) uint8_t scratch[BRG_WIRE_SCRATCH_BYTES];

static int through(void) {
    size_t size_bytes = 0;
    const int rc = brg_wire_pack(&sent, packed, sizeof packed, &size_bytes);
    if (rc != BRG_OK) return rc;
    return brg_wire_unpack(packed, size_bytes, scratch, sizeof scratch, &got, NULL);
}

static void assert_through(void) {
    assert_int_equal(through(), BRG_OK);
    assert_memory_equal(&sent, &got, sizeof sent);
}

static void wire_run_of_a_pipeline__comes_back_as_it_was(void **state) {
    (void)state;
    sample(BRG_MSG_RUN, &sent);
    sample_run_line(&sent.run);
    assert_through();
    sent.run.line.optimizer.type = 1; /* SGD needs no eps, a constant rate no steps */
    sent.run.line.optimizer.schedule = 1;
    sent.run.line.optimizer.eps = 0;
    sent.run.line.optimizer.total_steps = 0;
    assert_through();
    sent.run.line.stages = 1;
    sent.run.line.parity_group = 0;
    sent.run.model.tied = 1; /* one stage holds both ends */
    assert_through();
}

static void wire_largest_place__fits_its_budget(void **state) {
    (void)state;
    sample(BRG_MSG_PLACE, &sent);
    struct brg_msg_place *m = &sent.place;
    m->seat_count = BRG_LINE_SEATS_MAX;
    for (uint32_t i = 0; i < BRG_LINE_SEATS_MAX; i++) {
        m->seat_members[i] = 64000 + i;
        m->seat_stages[i] = i / BRG_LINE_LANES_MAX;
        m->seat_lanes[i] = 1u << i % BRG_LINE_LANES_MAX;
    }
    m->lanes = 1;
    m->peer_count = BRG_LINE_PEERS_MAX;
    for (uint32_t i = 0; i < BRG_LINE_PEERS_MAX; i++) {
        sample_peer(&m->peers[i], i);
        memset(m->peers[i].address, 'h', 250);
        memcpy(m->peers[i].address + 250, ":65535", 7);
    }
    m->shadow_count = BRG_LINE_SHADOWS_MAX;
    for (uint32_t i = 0; i < BRG_LINE_SHADOWS_MAX; i++) {
        m->shadow_stages[i] = i;
        m->shadow_members[i] = i;
    }
    m->parity_count = BRG_LINE_STAGES_MAX;
    for (uint32_t i = 0; i < BRG_LINE_STAGES_MAX; i++) m->parity_members[i] = i;
    m->source_count = BRG_LINE_SOURCES_MAX;
    assert_through();
}

static void wire_not_finite_sums__come_through_since_a_diverged_model_has_them(void **state) {
    (void)state;
    sample(BRG_MSG_READY, &sent);
    sent.ready.norm2 = NAN;
    sent.ready.loss_sums[0] = INFINITY;
    assert_int_equal(through(), BRG_OK);
    assert_true(isnan(got.ready.norm2) && isinf(got.ready.loss_sums[0]));
    sample(BRG_MSG_EVALUATED, &sent);
    sent.evaluated.loss_sum = NAN;
    assert_int_equal(through(), BRG_OK);
    assert_true(isnan(got.evaluated.loss_sum));
}

static void wire_ready_of_an_inner_stage__has_no_losses(void **state) {
    (void)state;
    sample(BRG_MSG_READY, &sent);
    sent.ready.lanes = 0;
    memset(sent.ready.loss_sums, 0, sizeof sent.ready.loss_sums);
    memset(sent.ready.loss_counts, 0, sizeof sent.ready.loss_counts);
    assert_through();
}

static void wire_step_without_eval__has_none(void **state) {
    (void)state;
    sample(BRG_MSG_START, &sent);
    sent.start.eval = (struct brg_msg_eval){.id = 0};
    assert_through();
    sample(BRG_MSG_STEP_COMMIT, &sent);
    sent.step_commit.eval = (struct brg_msg_eval){.id = 0};
    assert_through();
}

/* One way to spoil a valid message of `type`, in the generated structs that an attacker fills. */
struct spoiler {
    const char *what;
    uint32_t type;
    void (*spoil)(Brg__Pb__Envelope *e);
};

static uint32_t many_u32[1026];   /* 1 .. 1026 */
static double many_doubles[1026]; /* all 1 */
static uint64_t many_u64[1026];   /* all 1 */
static char long_text[300];       /* host:port that is too long */

static ProtobufCBinaryData text(const char *s) {
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

/* The empty declaration at the end takes the semicolon. */
#define SPOIL(name, statement)                                                                     \
    static void name(Brg__Pb__Envelope *e) {                                                       \
        statement;                                                                                 \
    }                                                                                              \
    struct spoil_end

SPOIL(line_no_optimizer, e->run->line->optimizer = NULL);
SPOIL(line_stages_0, e->run->line->stages = 0);
SPOIL(line_stages_over_layers, e->run->line->stages = 5);
SPOIL(line_stages_many, (e->run->line->stages = 65, e->run->model->layers = 100));
SPOIL(line_lanes_0, e->run->line->lanes = 0);
SPOIL(line_lanes_many, (e->run->line->lanes = 17, e->run->line->microbatches = 17,
                        e->run->batch->chunks = 17, e->run->batch->samples = 17));
SPOIL(line_microbatches_few, (e->run->line->microbatches = 1, e->run->batch->chunks = 1));
SPOIL(line_microbatches_many, (e->run->line->microbatches = 257, e->run->batch->chunks = 257,
                               e->run->batch->samples = 1000));
SPOIL(line_microbatches_not_chunks, e->run->batch->chunks = 8);
SPOIL(line_wire, e->run->line->wire = 3);
SPOIL(line_two_models, (e->run->n_data_seeds = 2, e->run->data_seeds = many_u64));
SPOIL(line_tied, e->run->model->tied = 1);
SPOIL(line_shadow_every, e->run->line->shadow_every = 1025);
SPOIL(line_shadow_moments, e->run->line->shadow_moments = 2);
SPOIL(line_shadow_int8, e->run->line->shadow_int8 = 2);
SPOIL(line_parity_group, e->run->line->parity_group = 5);
SPOIL(line_exponent, e->run->line->exponent = 3);
SPOIL(line_distil, e->run->line->distil_steps = 10001);
SPOIL(opt_type, e->run->line->optimizer->type = 3);
SPOIL(opt_schedule, e->run->line->optimizer->schedule = 0);
SPOIL(opt_steps, e->run->line->optimizer->total_steps = BRG_STEPS_MAX + 1);
SPOIL(opt_lr_nan, e->run->line->optimizer->lr = NAN);
SPOIL(opt_lr_high, e->run->line->optimizer->lr = 1001);
SPOIL(opt_ratio, e->run->line->optimizer->lr_min_ratio = -0.5f);
SPOIL(opt_beta1, e->run->line->optimizer->beta1 = 1);
SPOIL(opt_beta2, e->run->line->optimizer->beta2 = 1);
SPOIL(opt_momentum, e->run->line->optimizer->momentum = 1);
SPOIL(opt_eps_0, e->run->line->optimizer->eps = 0);
SPOIL(opt_decay, e->run->line->optimizer->weight_decay = INFINITY);
SPOIL(opt_clip, e->run->line->optimizer->clip = 2e9f);
SPOIL(opt_warmup, e->run->line->optimizer->warmup_steps = 400);

SPOIL(holding_run, e->holding->run = 0);
SPOIL(holding_has, e->holding->has = 2);
SPOIL(holding_stage, e->holding->stage = 64);
SPOIL(holding_version, e->holding->version = UINT64_MAX);
SPOIL(holding_lineage, e->holding->lineage = BRG_GENERATIONS_MAX + 1);
SPOIL(holding_nothing_described, e->holding->has = 0);
SPOIL(holding_pending_far, e->holding->pending_step = 14);
SPOIL(holding_pending_old, e->holding->pending_step = 11);
SPOIL(holding_pending_without_generation, e->holding->pending_generation = 0);
SPOIL(holding_generation_without_pending, e->holding->pending_step = 0);
SPOIL(holding_address_scheme, e->holding->address = text("ipc:///tmp/x"));
SPOIL(holding_address_space, e->holding->address = text("a b:1"));
SPOIL(holding_address_no_port, e->holding->address = text("host"));
SPOIL(holding_address_port, e->holding->address = text("host:65536"));
SPOIL(holding_address_nul,
      (e->holding->address.data = (uint8_t *)(uintptr_t) "a\0:1", e->holding->address.len = 4));
SPOIL(holding_address_long, e->holding->address = text(long_text));
SPOIL(placed_run, e->placed->run = 0);
SPOIL(placed_generation_0, e->placed->generation = 0);
SPOIL(placed_generation_high, e->placed->generation = BRG_GENERATIONS_MAX + 1);
SPOIL(placed_digest, e->placed->digest.len = 31);
SPOIL(ready_step_0, e->ready->step = 0);
SPOIL(ready_step_high, e->ready->step = BRG_STEPS_MAX + 1);
SPOIL(ready_digest_none, e->ready->digest.len = 0);
SPOIL(ready_norm2, e->ready->norm2 = -1);
SPOIL(ready_lanes_many, e->ready->lanes = 0x18000);
SPOIL(ready_lanes_other, e->ready->lanes = 1);
SPOIL(ready_lists_differ, e->ready->n_loss_counts = 1);
SPOIL(ready_losses_many,
      (e->ready->n_loss_sums = e->ready->n_loss_counts = 17, e->ready->loss_sums = many_doubles,
       e->ready->loss_counts = many_u64, e->ready->lanes = 0x1ffff));
SPOIL(ready_wire_error, e->ready->wire_error = NAN);
SPOIL(lost_peer_generation, e->lost_peer->generation = 0);
SPOIL(lost_peer_peer, e->lost_peer->peer = 65536);
SPOIL(fetch_failed_run, e->fetch_failed->run = 0);
SPOIL(fetch_failed_rung, e->fetch_failed->rung = 7);
SPOIL(learned_stage, e->learned->stage = 64);
SPOIL(learned_version, e->learned->version = BRG_STEPS_MAX + 1);
SPOIL(kept_what_0, e->kept->what = 0);
SPOIL(kept_what_3, e->kept->what = 3);
SPOIL(kept_stage, e->kept->stage = 64);
SPOIL(kept_bytes, e->kept->bytes = BRG_OBJECT_BYTES_MAX + 1);
SPOIL(evaluated_id, e->evaluated->id = 0);
SPOIL(evaluated_candidate, e->evaluated->candidate = 4);
SPOIL(evaluated_version, e->evaluated->version = BRG_STEPS_MAX + 1);

SPOIL(place_run, e->place->run = 0);
SPOIL(place_generation, e->place->generation = 0);
SPOIL(place_version, e->place->version = BRG_STEPS_MAX + 1);
SPOIL(place_commit_newer, e->place->commit_generation = 10);
SPOIL(place_lineage_newer, e->place->lineage = 10);
SPOIL(place_clip_nan, e->place->clip = NAN);
SPOIL(place_clip_high, e->place->clip = 1.5);
SPOIL(place_stage, e->place->stage = 64);
SPOIL(place_stage_of_no_seat, e->place->stage = 2);
SPOIL(place_lanes_0, e->place->lanes = 0);
SPOIL(place_lanes_other, e->place->lanes = 3);
SPOIL(place_rung, e->place->rung = 7);
SPOIL(place_lr_raise, e->place->lr_raise = 2);
SPOIL(place_source_version, e->place->source_version = 13);
SPOIL(place_sources_many,
      (e->place->n_sources = e->place->n_source_stages = e->place->n_weights = 5,
       e->place->sources = e->place->source_stages = many_u32, e->place->weights = many_doubles));
SPOIL(place_sources_differ, e->place->n_weights = 1);
SPOIL(place_source_nobody, e->place->sources[0] = 65536);
SPOIL(place_source_stage, e->place->source_stages[1] = 64);
SPOIL(place_weight, e->place->weights[0] = -1);
SPOIL(place_no_seats,
      e->place->n_seat_members = e->place->n_seat_stages = e->place->n_seat_lanes = 0);
SPOIL(place_seats_many,
      (e->place->n_seat_members = e->place->n_seat_stages = e->place->n_seat_lanes = 1025,
       e->place->seat_members = e->place->seat_stages = e->place->seat_lanes = many_u32));
SPOIL(place_seats_differ, e->place->n_seat_lanes = 2);
SPOIL(place_seat_nobody, e->place->seat_members[0] = 65536);
SPOIL(place_seat_stage, e->place->seat_stages[0] = 64);
SPOIL(place_seat_no_lanes, e->place->seat_lanes[0] = 0);
SPOIL(place_seat_twice, e->place->seat_members[0] = 4);
SPOIL(place_lane_twice, e->place->seat_lanes[1] = 3);
SPOIL(place_peer_twice, e->place->peers[1]->member = 3);
SPOIL(place_peer_key_twice, e->place->peers[1]->key = e->place->peers[0]->key);
SPOIL(place_peer_key, e->place->peers[0]->key.len = 31);
SPOIL(place_peer_nobody, e->place->peers[0]->member = 65536);
SPOIL(place_peer_address, e->place->peers[0]->address = text("tcp://a:1"));
SPOIL(place_shadow_stage, e->place->shadow_stages[0] = 64);
SPOIL(place_shadow_nobody, e->place->shadow_members[0] = 65536);
SPOIL(place_shadows_differ, e->place->n_shadow_members = 0);
SPOIL(place_shadows_many, (e->place->n_shadow_stages = e->place->n_shadow_members = 65,
                           e->place->shadow_stages = e->place->shadow_members = many_u32));
SPOIL(place_parity, e->place->parity = 65);
SPOIL(place_parity_of_none, e->place->parity = 0);
SPOIL(place_parity_nobody, e->place->parity_members[0] = 65536);
SPOIL(place_parity_many, (e->place->n_parity_members = 65, e->place->parity_members = many_u32));

SPOIL(start_step, e->start->step = 0);
SPOIL(start_generation, e->start->generation = 0);
SPOIL(eval_id, e->start->eval->id = 0);
SPOIL(eval_count_0, e->start->eval->count = 0);
SPOIL(eval_count_many, e->start->eval->count = 65);
SPOIL(eval_candidates_0, e->start->eval->candidates = 0);
SPOIL(eval_candidates_many, e->start->eval->candidates = 5);
SPOIL(eval_stage, e->start->eval->stage = 64);
SPOIL(commit_no_proof, e->step_commit->proof = NULL);
SPOIL(commit_other_run, e->step_commit->proof->run = 8);
SPOIL(commit_other_step, e->step_commit->proof->step = 12);
SPOIL(commit_step_0, e->step_commit->step = e->step_commit->proof->step = 0);
SPOIL(commit_clip, e->step_commit->clip = -0.5);
SPOIL(commit_eval, e->step_commit->eval->count = 65);
SPOIL(unseat_run, e->unseat->run = 0);
SPOIL(unseat_generation, e->unseat->generation = BRG_GENERATIONS_MAX + 1);
SPOIL(unseat_clip, e->unseat->clip = INFINITY);
SPOIL(unseat_peer, e->unseat->peers[0]->key.len = 0);
SPOIL(learn_no_source, e->learn->source = NULL);
SPOIL(learn_stage, e->learn->stage = 64);
SPOIL(learn_teach, e->learn->teach = 2);
SPOIL(learn_lineage, e->learn->lineage = BRG_GENERATIONS_MAX + 1);
SPOIL(relay_to_run, e->relay_to->run = 0);
SPOIL(relay_to_peer, e->relay_to->peer = 65536);
SPOIL(choose_generation, e->choose->generation = 0);
SPOIL(choose_candidate, e->choose->candidate = 4);
SPOIL(save_generation, e->save->generation = 0);
SPOIL(save_step, e->save->step = BRG_STEPS_MAX + 1);
SPOIL(at_risk_text, e->at_risk->text = text("\x1b[2J"));

#define CASE(type, name)                                                                           \
    { #name, BRG_MSG_##type, name }

static const struct spoiler spoilers[] = {
    CASE(RUN, line_no_optimizer),
    CASE(RUN, line_stages_0),
    CASE(RUN, line_stages_over_layers),
    CASE(RUN, line_stages_many),
    CASE(RUN, line_lanes_0),
    CASE(RUN, line_lanes_many),
    CASE(RUN, line_microbatches_few),
    CASE(RUN, line_microbatches_many),
    CASE(RUN, line_microbatches_not_chunks),
    CASE(RUN, line_wire),
    CASE(RUN, line_two_models),
    CASE(RUN, line_tied),
    CASE(RUN, line_shadow_every),
    CASE(RUN, line_shadow_moments),
    CASE(RUN, line_shadow_int8),
    CASE(RUN, line_parity_group),
    CASE(RUN, line_exponent),
    CASE(RUN, line_distil),
    CASE(RUN, opt_type),
    CASE(RUN, opt_schedule),
    CASE(RUN, opt_steps),
    CASE(RUN, opt_lr_nan),
    CASE(RUN, opt_lr_high),
    CASE(RUN, opt_ratio),
    CASE(RUN, opt_beta1),
    CASE(RUN, opt_beta2),
    CASE(RUN, opt_momentum),
    CASE(RUN, opt_eps_0),
    CASE(RUN, opt_decay),
    CASE(RUN, opt_clip),
    CASE(RUN, opt_warmup),
    CASE(HOLDING, holding_run),
    CASE(HOLDING, holding_has),
    CASE(HOLDING, holding_stage),
    CASE(HOLDING, holding_version),
    CASE(HOLDING, holding_lineage),
    CASE(HOLDING, holding_nothing_described),
    CASE(HOLDING, holding_pending_far),
    CASE(HOLDING, holding_pending_old),
    CASE(HOLDING, holding_pending_without_generation),
    CASE(HOLDING, holding_generation_without_pending),
    CASE(HOLDING, holding_address_scheme),
    CASE(HOLDING, holding_address_space),
    CASE(HOLDING, holding_address_no_port),
    CASE(HOLDING, holding_address_port),
    CASE(HOLDING, holding_address_nul),
    CASE(HOLDING, holding_address_long),
    CASE(PLACED, placed_run),
    CASE(PLACED, placed_generation_0),
    CASE(PLACED, placed_generation_high),
    CASE(PLACED, placed_digest),
    CASE(READY, ready_step_0),
    CASE(READY, ready_step_high),
    CASE(READY, ready_digest_none),
    CASE(READY, ready_norm2),
    CASE(READY, ready_lanes_many),
    CASE(READY, ready_lanes_other),
    CASE(READY, ready_lists_differ),
    CASE(READY, ready_losses_many),
    CASE(READY, ready_wire_error),
    CASE(LOST_PEER, lost_peer_generation),
    CASE(LOST_PEER, lost_peer_peer),
    CASE(FETCH_FAILED, fetch_failed_run),
    CASE(FETCH_FAILED, fetch_failed_rung),
    CASE(LEARNED, learned_stage),
    CASE(LEARNED, learned_version),
    CASE(KEPT, kept_what_0),
    CASE(KEPT, kept_what_3),
    CASE(KEPT, kept_stage),
    CASE(KEPT, kept_bytes),
    CASE(EVALUATED, evaluated_id),
    CASE(EVALUATED, evaluated_candidate),
    CASE(EVALUATED, evaluated_version),
    CASE(PLACE, place_run),
    CASE(PLACE, place_generation),
    CASE(PLACE, place_version),
    CASE(PLACE, place_commit_newer),
    CASE(PLACE, place_lineage_newer),
    CASE(PLACE, place_clip_nan),
    CASE(PLACE, place_clip_high),
    CASE(PLACE, place_stage),
    CASE(PLACE, place_stage_of_no_seat),
    CASE(PLACE, place_lanes_0),
    CASE(PLACE, place_lanes_other),
    CASE(PLACE, place_rung),
    CASE(PLACE, place_lr_raise),
    CASE(PLACE, place_source_version),
    CASE(PLACE, place_sources_many),
    CASE(PLACE, place_sources_differ),
    CASE(PLACE, place_source_nobody),
    CASE(PLACE, place_source_stage),
    CASE(PLACE, place_weight),
    CASE(PLACE, place_no_seats),
    CASE(PLACE, place_seats_many),
    CASE(PLACE, place_seats_differ),
    CASE(PLACE, place_seat_nobody),
    CASE(PLACE, place_seat_stage),
    CASE(PLACE, place_seat_no_lanes),
    CASE(PLACE, place_seat_twice),
    CASE(PLACE, place_lane_twice),
    CASE(PLACE, place_peer_twice),
    CASE(PLACE, place_peer_key_twice),
    CASE(PLACE, place_peer_key),
    CASE(PLACE, place_peer_nobody),
    CASE(PLACE, place_peer_address),
    CASE(PLACE, place_shadow_stage),
    CASE(PLACE, place_shadow_nobody),
    CASE(PLACE, place_shadows_differ),
    CASE(PLACE, place_shadows_many),
    CASE(PLACE, place_parity),
    CASE(PLACE, place_parity_of_none),
    CASE(PLACE, place_parity_nobody),
    CASE(PLACE, place_parity_many),
    CASE(START, start_step),
    CASE(START, start_generation),
    CASE(START, eval_id),
    CASE(START, eval_count_0),
    CASE(START, eval_count_many),
    CASE(START, eval_candidates_0),
    CASE(START, eval_candidates_many),
    CASE(START, eval_stage),
    CASE(STEP_COMMIT, commit_no_proof),
    CASE(STEP_COMMIT, commit_other_run),
    CASE(STEP_COMMIT, commit_other_step),
    CASE(STEP_COMMIT, commit_step_0),
    CASE(STEP_COMMIT, commit_clip),
    CASE(STEP_COMMIT, commit_eval),
    CASE(UNSEAT, unseat_run),
    CASE(UNSEAT, unseat_generation),
    CASE(UNSEAT, unseat_clip),
    CASE(UNSEAT, unseat_peer),
    CASE(LEARN, learn_no_source),
    CASE(LEARN, learn_stage),
    CASE(LEARN, learn_teach),
    CASE(LEARN, learn_lineage),
    CASE(RELAY_TO, relay_to_run),
    CASE(RELAY_TO, relay_to_peer),
    CASE(CHOOSE, choose_generation),
    CASE(CHOOSE, choose_candidate),
    CASE(SAVE, save_generation),
    CASE(SAVE, save_step),
    CASE(AT_RISK, at_risk_text),
};

/* What unpack allocates for a copy that is going to be spoilt: never freed, used again. */
static alignas(16) uint8_t copy_memory[1 << 18];
static size_t copy_used;

static void *copy_alloc(void *data, size_t size_bytes) {
    (void)data;
    uint8_t *p = copy_memory + copy_used;
    copy_used += (size_bytes + 15) / 16 * 16;
    assert_true(copy_used <= sizeof copy_memory);
    return p;
}

static void copy_free(void *data, void *p) {
    (void)data;
    (void)p;
}

static void wire_each_invalid_value__is_refused_and_out_untouched(void **state) {
    (void)state;
    static ProtobufCAllocator allocator = {copy_alloc, copy_free, NULL};
    memset(long_text, 'h', sizeof long_text);
    memcpy(long_text + sizeof long_text - 6, ":7421", 6);
    for (uint32_t i = 0; i < 1026; i++) {
        many_u32[i] = i + 1;
        many_doubles[i] = 1;
        many_u64[i] = 1;
    }
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
        const struct spoiler *s = &spoilers[i];
        size_t size_bytes = 0;
        const char *why = NULL;
        sample(s->type, &sent);
        if (s->type == BRG_MSG_RUN) sample_run_line(&sent.run);
        assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
        copy_used = 0;
        Brg__Pb__Envelope *e = brg__pb__envelope__unpack(&allocator, size_bytes, packed);
        assert_non_null(e);
        s->spoil(e);
        size_bytes = brg__pb__envelope__pack(e, packed);
        memset(&got, 0xa5, sizeof got);
        before = got;
        const int rc = brg_wire_unpack(packed, size_bytes, scratch, sizeof scratch, &got, &why);
        if (rc != BRG_EPROTO || memcmp(&got, &before, sizeof got) != 0) {
            fail_msg("%s: rc %d, out %s", s->what, rc,
                     memcmp(&got, &before, sizeof got) == 0 ? "untouched" : "changed");
        }
        assert_non_null(why);
    }
    print_message("%zu invalid values refused\n", sizeof spoilers / sizeof spoilers[0]);
}

/* A Place of nothing but empty peers: each costs two bytes to send and many to unpack. */
static void wire_amplifying_place__stops_at_the_budget(void **state) {
    (void)state;
    const size_t peers = 200000, body_bytes = 3 * peers;
    size_t at = 0;
    packed[at++] = 0x08;
    packed[at++] = BRG_PROTOCOL;
    packed[at++] = 0xe2; /* field 60, a message of body_bytes */
    packed[at++] = 0x03;
    packed[at++] = (uint8_t)(body_bytes | 0x80);
    packed[at++] = (uint8_t)(body_bytes >> 7 | 0x80);
    packed[at++] = (uint8_t)(body_bytes >> 14);
    for (size_t i = 0; i < peers; i++) {
        packed[at++] = 0x8a; /* field 17, an empty message */
        packed[at++] = 0x01;
        packed[at++] = 0x00;
    }
    memset(&got, 0xa5, sizeof got);
    before = got;
    const char *why = NULL;
    assert_int_equal(brg_wire_unpack(packed, at, scratch, sizeof scratch, &got, &why), BRG_ENOMEM);
    assert_non_null(strstr(why, "budget"));
    assert_memory_equal(&got, &before, sizeof got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_run_of_a_pipeline__comes_back_as_it_was),
        cmocka_unit_test(wire_largest_place__fits_its_budget),
        cmocka_unit_test(wire_not_finite_sums__come_through_since_a_diverged_model_has_them),
        cmocka_unit_test(wire_ready_of_an_inner_stage__has_no_losses),
        cmocka_unit_test(wire_step_without_eval__has_none),
        cmocka_unit_test(wire_each_invalid_value__is_refused_and_out_untouched),
        cmocka_unit_test(wire_amplifying_place__stops_at_the_budget),
    };
    return cmocka_run_group_tests_name("wire_line", tests, NULL, NULL) != 0;
}
