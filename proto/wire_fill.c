/* wire_fill.c - our structs into the generated ones, which then point at ours. Ranges are checked
 * before, so nothing can fail here. */
#include "proto/wire_private.h"

#include <string.h>

ProtobufCBinaryData brg_wire_bytes_of(const void *data, size_t size_bytes) {
    union {
        const void *from;
        uint8_t *to;
    } constless = {.from = data};
    return (ProtobufCBinaryData){.len = size_bytes, .data = constless.to};
}

static ProtobufCBinaryData text_of(const char *text) {
    return brg_wire_bytes_of(text, strlen(text));
}

/* An all-zero digest means "none" and travels as nothing. */
static ProtobufCBinaryData digest_of(const struct brg_digest *d) {
    static const struct brg_digest zero;
    return brg_wire_bytes_of(d->bytes, brg_digest_equal(d, &zero) ? 0 : sizeof d->bytes);
}

Brg__Pb__Proof *brg_wire_fill_proof(const struct brg_proof *p, Brg__Pb__Proof *out) {
    brg__pb__proof__init(out);
    out->run = p->run;
    out->step = p->step;
    out->chain = brg_wire_bytes_of(p->chain.bytes, sizeof p->chain.bytes);
    out->mac = brg_wire_bytes_of(p->mac.bytes, sizeof p->mac.bytes);
    return out;
}

static Brg__Pb__Object *fill_object(const struct brg_object *o, Brg__Pb__Object *out) {
    brg__pb__object__init(out);
    out->kind = o->kind;
    out->run = o->run;
    out->step = o->step;
    out->unit = o->unit;
    out->digest = digest_of(&o->digest);
    out->microbatch = o->microbatch;
    out->generation = o->generation;
    return out;
}

static void fill_hello(const struct brg_msg_hello *m, struct brg_wire_filled *out) {
    Brg__Pb__Hello *p = &out->body.hello;
    brg__pb__hello__init(p);
    p->protocol = m->protocol;
    p->session = m->session;
    p->name = text_of(m->name);
    p->version = text_of(m->version);
    p->isa = text_of(m->isa);
    p->cores = m->cores;
    p->memory_bytes = m->memory_bytes;
    p->token = brg_wire_bytes_of(m->token, m->token_bytes);
    if (m->has_seen == 1) p->seen = brg_wire_fill_proof(&m->seen, &out->proof);
    out->envelope.hello = p;
}

static void fill_beat(const struct brg_msg_beat *m, struct brg_wire_filled *out) {
    Brg__Pb__Beat *p = &out->body.beat;
    brg__pb__beat__init(p);
    p->seq = m->seq;
    p->run = m->run;
    p->step = m->step;
    p->unit = m->unit;
    p->chunks_done = m->chunks_done;
    out->envelope.beat = p;
}

static void fill_done(const struct brg_msg_done *m, struct brg_wire_filled *out) {
    Brg__Pb__Done *p = &out->body.done;
    brg__pb__done__init(p);
    p->run = m->run;
    p->step = m->step;
    p->unit = m->unit;
    p->attempt = m->attempt;
    p->since = m->since;
    p->digest = brg_wire_bytes_of(m->digest.bytes, sizeof m->digest.bytes);
    p->share_bytes = m->share_bytes;
    p->compute_ns = m->compute_ns;
    for (uint32_t i = 0; i < m->loss_count; i++) {
        out->loss_chunks[i] = m->losses[i].chunk;
        out->loss_sums[i] = m->losses[i].loss;
        out->loss_counts[i] = m->losses[i].count;
    }
    p->n_loss_chunks = p->n_loss_sums = p->n_loss_counts = m->loss_count;
    p->loss_chunks = out->loss_chunks;
    p->loss_sums = out->loss_sums;
    p->loss_counts = out->loss_counts;
    out->envelope.done = p;
}

static void fill_fault(const struct brg_msg_fault *m, struct brg_wire_filled *out) {
    Brg__Pb__Fault *p = &out->body.fault;
    brg__pb__fault__init(p);
    p->run = m->run;
    p->step = m->step;
    p->unit = m->unit;
    p->code = m->code;
    p->text = text_of(m->text);
    out->envelope.fault = p;
}

static void fill_leaving(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_DRAIN) {
        brg__pb__drain__init(&out->body.drain);
        out->body.drain.reason = text_of(msg->drain.reason);
        out->body.drain.deadline_ms = msg->drain.deadline_ms;
        out->envelope.drain = &out->body.drain;
    } else if (msg->type == BRG_MSG_AT_RISK) {
        brg__pb__at_risk__init(&out->body.at_risk);
        out->body.at_risk.text = text_of(msg->at_risk.text);
        out->body.at_risk.until_ms = msg->at_risk.until_ms;
        out->envelope.at_risk = &out->body.at_risk;
    } else if (msg->type == BRG_MSG_DRAIN_CANCEL) {
        brg__pb__drain_cancel__init(&out->body.drain_cancel);
        out->envelope.drain_cancel = &out->body.drain_cancel;
    } else if (msg->type == BRG_MSG_BYE) {
        brg__pb__bye__init(&out->body.bye);
        out->body.bye.reason = text_of(msg->bye.reason);
        out->envelope.bye = &out->body.bye;
    } else {
        brg__pb__drain_ack__init(&out->body.drain_ack);
        out->envelope.drain_ack = &out->body.drain_ack;
    }
}

static void fill_bulk(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_ATTACH) {
        brg__pb__attach__init(&out->body.attach);
        out->body.attach.session = msg->attach.session;
        out->envelope.attach = &out->body.attach;
    } else if (msg->type == BRG_MSG_GET) {
        brg__pb__get__init(&out->body.get);
        out->body.get.object = fill_object(&msg->get.object, &out->object);
        out->body.get.offset = msg->get.offset;
        out->body.get.length = msg->get.length;
        out->body.get.peer = msg->get.peer;
        out->envelope.get = &out->body.get;
    } else if (msg->type == BRG_MSG_PART) {
        brg__pb__part__init(&out->body.part);
        out->body.part.object = fill_object(&msg->part.object, &out->object);
        out->body.part.offset = msg->part.offset;
        out->body.part.total = msg->part.total;
        out->body.part.peer = msg->part.peer;
        out->envelope.part = &out->body.part;
    } else {
        brg__pb__gone__init(&out->body.gone);
        out->body.gone.object = fill_object(&msg->gone.object, &out->object);
        out->body.gone.text = text_of(msg->gone.text);
        out->body.gone.peer = msg->gone.peer;
        out->envelope.gone = &out->body.gone;
    }
}

static void fill_attached(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_WELCOME) {
        brg__pb__welcome__init(&out->body.welcome);
        out->body.welcome.member = msg->welcome.member;
        out->body.welcome.lease_ms = msg->welcome.lease_ms;
        out->body.welcome.beat_ms = msg->welcome.beat_ms;
        out->body.welcome.name = text_of(msg->welcome.name);
        out->envelope.welcome = &out->body.welcome;
    } else if (msg->type == BRG_MSG_REFUSED) {
        brg__pb__refused__init(&out->body.refused);
        out->body.refused.code = msg->refused.code;
        out->body.refused.text = text_of(msg->refused.text);
        out->body.refused.retry = msg->refused.retry;
        out->envelope.refused = &out->body.refused;
    } else {
        brg__pb__rehello__init(&out->body.rehello);
        out->envelope.rehello = &out->body.rehello;
    }
}

/* The widths are borrowed from `m` like every other list. */
static void fill_model(const struct brg_msg_model *m, Brg__Pb__Model *p) {
    brg__pb__model__init(p);
    p->type = m->type;
    p->dim = m->dim;
    p->layers = m->layers;
    p->heads = m->heads;
    p->kv_heads = m->kv_heads;
    p->hidden = m->hidden;
    p->context = m->context;
    p->vocab = m->vocab;
    p->tied = m->tied;
    p->rope_theta = m->rope_theta;
    p->norm_eps = m->norm_eps;
    p->rope_type = m->rope_type;
    p->rope_factor = m->rope_factor;
    p->rope_low_freq = m->rope_low_freq;
    p->rope_high_freq = m->rope_high_freq;
    p->rope_original_context = m->rope_original_context;
    p->inputs = m->inputs;
    p->classes = m->classes;
    p->n_widths = m->width_count;
    p->widths = (uint32_t *)(void *)brg_wire_bytes_of(m->widths, sizeof m->widths).data;
}

static void fill_run(const struct brg_msg_run *m, struct brg_wire_filled *out) {
    Brg__Pb__Run *p = &out->body.run;
    brg__pb__run__init(p);
    p->run = m->run;
    p->name = text_of(m->name);
    p->seed = m->seed;
    p->steps = m->steps;
    fill_model(&m->model, &out->model);
    p->model = &out->model;
    brg__pb__data__init(&out->data);
    out->data.format = m->data.format;
    out->data.digest = brg_wire_bytes_of(m->data.digest.bytes, sizeof m->data.digest.bytes);
    out->data.size_bytes = m->data.size_bytes;
    out->data.split = m->data.split;
    p->data = &out->data;
    brg__pb__batch__init(&out->batch);
    out->batch.samples = m->batch.samples;
    out->batch.chunks = m->batch.chunks;
    out->batch.microbatch = m->batch.microbatch;
    p->batch = &out->batch;
    p->n_data_seeds = m->models;
    p->data_seeds = (uint64_t *)(void *)brg_wire_bytes_of(m->data_seeds, sizeof m->data_seeds).data;
    if (m->has_line == 1) p->line = brg_wire_fill_run_line(&m->line, out);
    out->envelope.run = p;
}

static void fill_task(const struct brg_msg_task *m, struct brg_wire_filled *out) {
    Brg__Pb__Task *p = &out->body.task;
    brg__pb__task__init(p);
    p->run = m->run;
    p->step = m->step;
    p->attempt = m->attempt;
    p->unit = m->unit;
    p->version = m->version;
    p->params_bytes = m->params_bytes;
    p->round = m->round;
    p->since = m->since;
    p->n_chunks = m->chunk_count;
    p->chunks = (uint32_t *)(void *)brg_wire_bytes_of(m->chunks, sizeof m->chunks).data;
    p->n_coefficients = m->coefficient_count;
    p->coefficients =
        (double *)(void *)brg_wire_bytes_of(m->coefficients, sizeof m->coefficients).data;
    out->envelope.task = p;
}

static void fill_progress(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_COMMIT) {
        brg__pb__commit__init(&out->body.commit);
        out->body.commit.proof = brg_wire_fill_proof(&msg->commit.proof, &out->proof);
        out->envelope.commit = &out->body.commit;
    } else {
        brg__pb__release__init(&out->body.release);
        out->body.release.run = msg->release.run;
        out->envelope.release = &out->body.release;
    }
}

static void fill_operator(const struct brg_msg *msg, struct brg_wire_filled *out) {
    if (msg->type == BRG_MSG_OPERATE) {
        brg__pb__operate__init(&out->body.operate);
        out->body.operate.id = msg->operate.id;
        out->body.operate.verb = text_of(msg->operate.verb);
        out->body.operate.body = brg_wire_bytes_of(msg->operate.body, msg->operate.body_bytes);
        out->envelope.operate = &out->body.operate;
    } else {
        Brg__Pb__OperateReply *p = &out->body.operate_reply;
        brg__pb__operate_reply__init(p);
        p->id = msg->operate_reply.id;
        p->code = msg->operate_reply.code;
        p->body = brg_wire_bytes_of(msg->operate_reply.body, msg->operate_reply.body_bytes);
        out->envelope.operate_reply = p;
    }
}

void brg_wire_fill(const struct brg_msg *msg, struct brg_wire_filled *out) {
    Brg__Pb__Envelope *e = &out->envelope;
    brg__pb__envelope__init(e);
    e->protocol = BRG_PROTOCOL;
    e->epoch = msg->epoch;
    e->body_case = (Brg__Pb__Envelope__BodyCase)msg->type; /* both are the field's number */
    for (uint32_t i = 0; i < msg->tensor_count; i++) {
        brg__pb__tensor__init(&out->tensors[i]);
        out->tensors[i].dtype = msg->tensors[i].dtype;
        out->tensors[i].elements = msg->tensors[i].elements;
        out->tensors[i].digest = brg_wire_bytes_of(msg->tensors[i].digest.bytes, BRG_DIGEST_BYTES);
        out->tensor_list[i] = &out->tensors[i];
    }
    e->n_tensors = msg->tensor_count;
    e->tensors = out->tensor_list;
    switch (msg->type) {
    case BRG_MSG_HELLO: fill_hello(&msg->hello, out); break;
    case BRG_MSG_BEAT: fill_beat(&msg->beat, out); break;
    case BRG_MSG_DONE: fill_done(&msg->done, out); break;
    case BRG_MSG_FAULT: fill_fault(&msg->fault, out); break;
    case BRG_MSG_DRAIN:
    case BRG_MSG_AT_RISK:
    case BRG_MSG_DRAIN_CANCEL:
    case BRG_MSG_BYE:
    case BRG_MSG_DRAIN_ACK: fill_leaving(msg, out); break;
    case BRG_MSG_ATTACH:
    case BRG_MSG_GET:
    case BRG_MSG_PART:
    case BRG_MSG_GONE: fill_bulk(msg, out); break;
    case BRG_MSG_WELCOME:
    case BRG_MSG_REFUSED:
    case BRG_MSG_REHELLO: fill_attached(msg, out); break;
    case BRG_MSG_RUN: fill_run(&msg->run, out); break;
    case BRG_MSG_TASK: fill_task(&msg->task, out); break;
    case BRG_MSG_COMMIT:
    case BRG_MSG_RELEASE: fill_progress(msg, out); break;
    case BRG_MSG_OPERATE:
    case BRG_MSG_OPERATE_REPLY: fill_operator(msg, out); break;
    default: brg_wire_fill_line(msg, out); break;
    }
}
