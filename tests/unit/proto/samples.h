/* samples.h - one valid message of every type, for the tests of the wire and the fuzzer's seeds. */
#ifndef TEST_PROTO_SAMPLES_H
#define TEST_PROTO_SAMPLES_H

#include <string.h>

#include "proto/wire.h"

static const uint32_t sample_types[] = {
    BRG_MSG_HELLO,       BRG_MSG_BEAT,         BRG_MSG_DONE,         BRG_MSG_DRAIN,
    BRG_MSG_BYE,         BRG_MSG_FAULT,        BRG_MSG_ATTACH,       BRG_MSG_GET,
    BRG_MSG_PART,        BRG_MSG_GONE,         BRG_MSG_WELCOME,      BRG_MSG_REFUSED,
    BRG_MSG_REHELLO,     BRG_MSG_RUN,          BRG_MSG_TASK,         BRG_MSG_COMMIT,
    BRG_MSG_RELEASE,     BRG_MSG_DRAIN_ACK,    BRG_MSG_OPERATE,      BRG_MSG_OPERATE_REPLY,
    BRG_MSG_AT_RISK,     BRG_MSG_DRAIN_CANCEL, BRG_MSG_HOLDING,      BRG_MSG_PLACED,
    BRG_MSG_READY,       BRG_MSG_LOST_PEER,    BRG_MSG_FETCH_FAILED, BRG_MSG_LEARNED,
    BRG_MSG_KEPT,        BRG_MSG_EVALUATED,    BRG_MSG_PLACE,        BRG_MSG_START,
    BRG_MSG_STEP_COMMIT, BRG_MSG_UNSEAT,       BRG_MSG_LEARN,        BRG_MSG_RELAY_TO,
    BRG_MSG_CHOOSE,      BRG_MSG_SAVE,
};
#define SAMPLE_COUNT ((uint32_t)(sizeof sample_types / sizeof sample_types[0]))

static const char sample_request[] = "{\"run\": \"kjv-tiny\"}";
static const char sample_data[] = "the bytes of one part";

static inline void sample_digest(struct brg_digest *d, uint8_t first) {
    for (uint32_t i = 0; i < BRG_DIGEST_BYTES; i++) d->bytes[i] = (uint8_t)(first + i);
}

static inline void sample_proof(struct brg_proof *p) {
    p->run = 7;
    p->step = UINT64_C(1) << 33;
    sample_digest(&p->chain, 1);
    sample_digest(&p->mac, 101);
}

static inline void sample_object(struct brg_object *o, uint32_t kind) {
    memset(o, 0, sizeof *o);
    o->kind = kind;
    if (kind == BRG_OBJECT_DATA) {
        sample_digest(&o->digest, 9);
    } else {
        o->run = 7;
        o->step = 12;
        o->unit = kind == BRG_OBJECT_SHARE ? 3 : 0;
    }
}

static inline void sample_run(struct brg_msg_run *r) {
    r->run = 7;
    brg_text_set(r->name, "kjv-tiny");
    r->seed = UINT64_MAX;
    r->steps = 400;
    r->model = (struct brg_msg_model){.type = 1,
                                      .dim = 128,
                                      .layers = 4,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .hidden = 352,
                                      .context = 128,
                                      .vocab = 256,
                                      .tied = 1,
                                      .rope_theta = 10000.0f,
                                      .norm_eps = 1e-5f,
                                      .rope_type = 2,
                                      .rope_factor = 8,
                                      .rope_low_freq = 1,
                                      .rope_high_freq = 4,
                                      .rope_original_context = 8192};
    r->data.format = 1;
    sample_digest(&r->data.digest, 33);
    r->data.size_bytes = 4400000;
    r->data.split = 4180000;
    r->batch = (struct brg_msg_batch){.samples = 64, .chunks = 16, .microbatch = 4};
    r->models = 3;
    r->data_seeds[0] = UINT64_MAX;
    r->data_seeds[2] = 9; /* 0 in between is a seed like any other */
}

#include "samples_line.h"

static inline void sample_worker(struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_HELLO:
        m->hello.protocol = BRG_PROTOCOL;
        m->hello.session = 1234567;
        brg_text_set(m->hello.name, "h\xc3\xb6tte-3");
        brg_text_set(m->hello.version, "0.1.0");
        brg_text_set(m->hello.isa, "avx512");
        m->hello.cores = 2;
        m->hello.memory_bytes = UINT64_C(25769803776);
        m->hello.token_bytes = 36;
        memcpy(m->hello.token, "brg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 36);
        m->hello.has_seen = 1;
        sample_proof(&m->hello.seen);
        break;
    case BRG_MSG_BEAT:
        m->beat =
            (struct brg_msg_beat){.seq = 5, .run = 7, .step = 12, .unit = 3, .chunks_done = 1};
        break;
    case BRG_MSG_DONE:
        m->done.run = 7;
        m->done.step = 12;
        m->done.unit = 3;
        m->done.attempt = 2;
        m->done.since = 40;
        sample_digest(&m->done.digest, 55);
        m->done.share_bytes = 4000000;
        m->done.compute_ns = 250000000;
        m->done.loss_count = 3;
        m->done.losses[0] = (struct brg_chunk_loss){.chunk = 0, .loss = 0, .count = 0};
        m->done.losses[1] = (struct brg_chunk_loss){.chunk = 1023, .loss = -1.25, .count = 512};
        m->done.losses[2] = (struct brg_chunk_loss){.chunk = 5, .loss = 1e300, .count = UINT64_MAX};
        break;
    case BRG_MSG_DRAIN:
        brg_text_set(m->drain.reason, "the instance is reclaimed");
        m->drain.deadline_ms = 25000;
        break;
    case BRG_MSG_AT_RISK:
        brg_text_set(m->at_risk.text, "the provider asks for the machine");
        m->at_risk.until_ms = 120000;
        break;
    case BRG_MSG_DRAIN_CANCEL: break; /* carries nothing */
    case BRG_MSG_BYE: brg_text_set(m->bye.reason, "drained"); break;
    default:
        m->fault.run = 7;
        m->fault.step = 12;
        m->fault.unit = 3;
        m->fault.code = BRG_EIO;
        brg_text_set(m->fault.text, "the data file went away");
        break;
    }
}

static inline void sample_bulk(struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_ATTACH: m->attach.session = 1234567; break;
    case BRG_MSG_GET:
        sample_object(&m->get.object, BRG_OBJECT_DATA);
        m->get.offset = 1048576;
        m->get.length = BRG_PART_BYTES_MAX;
        break;
    case BRG_MSG_PART:
        sample_object(&m->part.object, BRG_OBJECT_SHARE);
        m->part.offset = 100;
        m->part.total = 100 + sizeof sample_data;
        m->tensor_count = 1;
        brg_wire_describe_tensor(BRG_DTYPE_BYTES, sample_data, sizeof sample_data, &m->tensors[0]);
        break;
    default:
        sample_object(&m->gone.object, BRG_OBJECT_PARAMS);
        brg_text_set(m->gone.text, "a newer version is in use");
        break;
    }
}

static inline void sample_coordinator(struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_WELCOME:
        m->welcome.member = 0;
        m->welcome.lease_ms = 15000;
        m->welcome.beat_ms = 3000;
        brg_text_set(m->welcome.name, "worker-3");
        break;
    case BRG_MSG_REFUSED:
        m->refused.code = 3;
        brg_text_set(m->refused.text, "the token has expired: ask for a new one");
        m->refused.retry = 1;
        break;
    case BRG_MSG_RUN: sample_run(&m->run); break;
    case BRG_MSG_TASK:
        m->task.run = 7;
        m->task.step = 12;
        m->task.attempt = 1;
        m->task.unit = 3;
        m->task.version = 11;
        m->task.round = UINT64_C(1) << 41;
        m->task.since = 40;
        m->task.params_bytes = 4000000;
        m->task.chunk_count = 3;
        m->task.chunks[0] = 15;
        m->task.chunks[1] = 0;
        m->task.chunks[2] = 1023;
        m->task.coefficient_count = 3;
        m->task.coefficients[0] = 1;
        m->task.coefficients[1] = -0.0;
        m->task.coefficients[2] = 1.0 / 3.0;
        break;
    case BRG_MSG_COMMIT: sample_proof(&m->commit.proof); break;
    case BRG_MSG_RELEASE: m->release.run = 7; break;
    default: break; /* Rehello and DrainAck carry nothing */
    }
}

/* A valid message of `type`; every field differs from what a forgotten one would be. */
static inline void sample(uint32_t type, struct brg_msg *m) {
    memset(m, 0, sizeof *m);
    m->type = type;
    m->protocol = BRG_PROTOCOL;
    m->epoch = UINT64_C(0x0102030405060708);
    if (type >= BRG_MSG_HOLDING) {
        sample_line(m);
    } else if (type < BRG_MSG_ATTACH) {
        sample_worker(m);
    } else if (type < BRG_MSG_WELCOME) {
        sample_bulk(m);
    } else if (type < BRG_MSG_OPERATE) {
        sample_coordinator(m);
    } else if (type == BRG_MSG_OPERATE) {
        m->operate.id = 99;
        memcpy(m->operate.verb, "runs.pause", 11);
        m->operate.body = (const uint8_t *)sample_request;
        m->operate.body_bytes = sizeof sample_request - 1;
    } else {
        m->operate_reply.id = 99;
        m->operate_reply.code = BRG_ENOENT;
        m->operate_reply.body = (const uint8_t *)sample_request;
        m->operate_reply.body_bytes = sizeof sample_request - 1;
    }
}

#endif
