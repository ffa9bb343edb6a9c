/* samples_line.h - valid messages of pipelines; part of samples.h. */
#ifndef TEST_PROTO_SAMPLES_LINE_H
#define TEST_PROTO_SAMPLES_LINE_H

#include <string.h>

#include "proto/wire.h"

/* What makes the Run of samples.h one of a pipeline. */
static inline void sample_run_line(struct brg_msg_run *r) {
    r->models = 1;
    memset(r->data_seeds + 1, 0, sizeof r->data_seeds - sizeof r->data_seeds[0]);
    r->model.tied = 0;
    r->has_line = 1;
    r->line = (struct brg_msg_line){.stages = 4,
                                    .lanes = 2,
                                    .microbatches = r->batch.chunks,
                                    .wire = 2,
                                    .optimizer = {.type = 2,
                                                  .schedule = 2,
                                                  .warmup_steps = 10,
                                                  .total_steps = 400,
                                                  .lr = 1e-3f,
                                                  .lr_min_ratio = 0.1f,
                                                  .beta1 = 0.9f,
                                                  .beta2 = 0.95f,
                                                  .eps = 1e-8f,
                                                  .weight_decay = 0.1f,
                                                  .momentum = 0.5f,
                                                  .clip = 1.0f},
                                    .shadow_every = 10,
                                    .shadow_moments = 1,
                                    .shadow_int8 = 1,
                                    .parity_group = 3,
                                    .exponent = 2,
                                    .distil_steps = 5,
                                    .eval_samples = 64};
}

static inline void sample_peer(struct brg_msg_peer *p, uint32_t member) {
    p->member = member;
    memset(p->key, (int)member + 1, sizeof p->key);
    memcpy(p->address, "[2001:db8::7]:7421", 19);
}

static inline void sample_place(struct brg_msg_place *m) {
    *m = (struct brg_msg_place){.run = 7,
                                .generation = 9,
                                .version = 12,
                                .commit_generation = 8,
                                .lineage = 9,
                                .clip = 0.25,
                                .stage = 1,
                                .lanes = 2,
                                .rung = 4,
                                .source_version = 10,
                                .source_count = 2,
                                .sources = {3, 5},
                                .source_stages = {0, 2},
                                .weights = {0.75, 1.0 / 3.0},
                                .lr_raise = 1,
                                .seat_count = 3,
                                .seat_members = {3, 4, 65535},
                                .seat_stages = {0, 1, 1},
                                .seat_lanes = {3, 1, 2},
                                .peer_count = 2,
                                .shadow_count = 1,
                                .shadow_stages = {2},
                                .shadow_members = {5},
                                .parity = 64,
                                .parity_count = 2,
                                .parity_members = {3, 4}};
    sample_peer(&m->peers[0], 3);
    sample_peer(&m->peers[1], 5);
    memset(m->peers[1].address, 0, sizeof m->peers[1].address); /* it cannot listen */
}

static inline void sample_holder(struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_HOLDING:
        m->holding = (struct brg_msg_holding){.run = 7,
                                              .has = 1,
                                              .stage = 63,
                                              .lineage = 3,
                                              .version = 12,
                                              .pending_step = 13,
                                              .pending_generation = 9,
                                              .memory_bytes = UINT64_C(25769803776),
                                              .microbatch_ns = 40000000,
                                              .address = "worker-3.example:7421"};
        break;
    case BRG_MSG_PLACED:
        m->placed.run = 7;
        m->placed.generation = 9;
        for (uint32_t i = 0; i < BRG_DIGEST_BYTES; i++) m->placed.digest.bytes[i] = (uint8_t)i;
        break;
    case BRG_MSG_READY:
        m->ready = (struct brg_msg_ready){.run = 7,
                                          .generation = 9,
                                          .step = 13,
                                          .norm2 = 2.5,
                                          .lanes = 0x8001,
                                          .loss_sums = {1e300, -0.0},
                                          .loss_counts = {512, 0},
                                          .compute_ns = 1,
                                          .wait_ns = 2,
                                          .sent_bytes = 3,
                                          .received_bytes = 4,
                                          .wire_error = 0.004};
        memset(m->ready.digest.bytes, 77, BRG_DIGEST_BYTES);
        break;
    case BRG_MSG_KEPT:
        m->kept = (struct brg_msg_kept){
            .run = 7, .lineage = 3, .version = 12, .bytes = 4000000, .what = 2, .stage = 1};
        break;
    case BRG_MSG_EVALUATED:
        m->evaluated = (struct brg_msg_evaluated){.run = 7,
                                                  .generation = 9,
                                                  .version = 12,
                                                  .id = 4,
                                                  .candidate = 3,
                                                  .loss_sum = 812.5,
                                                  .count = 256};
        break;
    default:
        m->learned.run = 7;
        m->learned.lineage = 3;
        m->learned.version = 12;
        m->learned.stage = 5;
        break;
    }
}

/* Those that are a few numbers: set one by one, since padding is compared, too. */
static inline void sample_line_small(struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_LOST_PEER:
        m->lost_peer.run = 7;
        m->lost_peer.generation = 9;
        m->lost_peer.peer = 65535;
        break;
    case BRG_MSG_FETCH_FAILED:
        m->fetch_failed.run = 7;
        m->fetch_failed.generation = 9;
        m->fetch_failed.rung = 6;
        break;
    case BRG_MSG_RELAY_TO:
        m->relay_to.run = 7;
        m->relay_to.peer = 5;
        break;
    case BRG_MSG_CHOOSE:
        m->choose.run = 7;
        m->choose.generation = 9;
        m->choose.candidate = 3;
        break;
    default:
        m->save.run = 7;
        m->save.step = 13;
        m->save.generation = 9;
        break;
    }
}

static inline void sample_line(struct brg_msg *m) {
    const struct brg_msg_eval eval = {.id = 4, .count = 64, .candidates = 4, .stage = 2};
    switch (m->type) {
    case BRG_MSG_PLACE: sample_place(&m->place); break;
    case BRG_MSG_START:
        m->start.run = 7;
        m->start.generation = 9;
        m->start.step = 13;
        m->start.eval = eval;
        break;
    case BRG_MSG_STEP_COMMIT:
        m->step_commit.proof.run = m->step_commit.run = 7;
        m->step_commit.proof.step = m->step_commit.step = 13;
        memset(m->step_commit.proof.chain.bytes, 1, BRG_DIGEST_BYTES);
        memset(m->step_commit.proof.mac.bytes, 2, BRG_DIGEST_BYTES);
        m->step_commit.generation = 9;
        m->step_commit.clip = 1.0 / 3.0;
        m->step_commit.eval = eval;
        break;
    case BRG_MSG_UNSEAT:
        m->unseat.run = 7;
        m->unseat.generation = 9;
        m->unseat.version = 12;
        m->unseat.commit_generation = 8;
        m->unseat.clip = 0.5;
        m->unseat.peer_count = 1;
        sample_peer(&m->unseat.peers[0], 4);
        break;
    case BRG_MSG_LEARN:
        m->learn.run = 7;
        m->learn.generation = 9;
        m->learn.lineage = 3;
        m->learn.stage = 5;
        m->learn.teach = 1;
        sample_peer(&m->learn.source, 6);
        break;
    case BRG_MSG_HOLDING:
    case BRG_MSG_PLACED:
    case BRG_MSG_READY:
    case BRG_MSG_LEARNED:
    case BRG_MSG_KEPT:
    case BRG_MSG_EVALUATED: sample_holder(m); break;
    default: sample_line_small(m); break;
    }
}

#endif
