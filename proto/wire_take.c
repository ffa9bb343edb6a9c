/* wire_take.c - generated structs into our own: what must be present is, lists and texts fit, and
 * nothing is there that we do not know. Ranges of values come after this, in wire_check.c. */
#include "proto/wire_private.h"

#include <string.h>

/* Copies into a field of `cap_bytes` and its NUL; the field is zeroed already. */
const char *brg_wire_take_text(char *out, size_t cap_bytes, const ProtobufCBinaryData *from) {
    REFUSE_IF(from->len > cap_bytes, "a text is too long");
    REFUSE_IF(from->len != 0 && memchr(from->data, '\0', from->len) != NULL, "a text holds a NUL");
    if (from->len != 0) memcpy(out, from->data, from->len);
    return NULL;
}

#define TAKE_TEXT(field, from) TRY(brg_wire_take_text((field), sizeof(field) - 1, (from)))

const char *brg_wire_take_digest(struct brg_digest *out, const ProtobufCBinaryData *from) {
    REFUSE_IF(from->len != sizeof out->bytes, "a digest is not 32 bytes long");
    memcpy(out->bytes, from->data, sizeof out->bytes);
    return NULL;
}

/* Absent means none, which is all 0 with us. */
static const char *take_digest_if_any(struct brg_digest *out, const ProtobufCBinaryData *from) {
    return from->len == 0 ? NULL : brg_wire_take_digest(out, from);
}

const char *brg_wire_take_proof(struct brg_proof *out, const Brg__Pb__Proof *p) {
    REFUSE_IF(p == NULL, "a proof is missing");
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->step = p->step;
    TRY(brg_wire_take_digest(&out->chain, &p->chain));
    return brg_wire_take_digest(&out->mac, &p->mac);
}

static const char *take_object(struct brg_object *out, const Brg__Pb__Object *p) {
    REFUSE_IF(p == NULL, "the object is missing");
    REFUSE_UNKNOWN(p);
    out->kind = p->kind;
    out->run = p->run;
    out->step = p->step;
    out->unit = p->unit;
    out->microbatch = p->microbatch;
    out->generation = p->generation;
    return take_digest_if_any(&out->digest, &p->digest);
}

/* Readable from any version: fields that we do not know are passed over. */
static const char *take_hello(struct brg_msg_hello *out, const Brg__Pb__Hello *p) {
    out->protocol = p->protocol;
    out->session = p->session;
    TAKE_TEXT(out->name, &p->name);
    TAKE_TEXT(out->version, &p->version);
    TAKE_TEXT(out->isa, &p->isa);
    out->cores = p->cores;
    out->memory_bytes = p->memory_bytes;
    REFUSE_IF(p->token.len > sizeof out->token, "Hello.token is too long");
    if (p->token.len != 0) memcpy(out->token, p->token.data, p->token.len);
    out->token_bytes = (uint32_t)p->token.len;
    out->has_seen = p->seen != NULL;
    return p->seen != NULL ? brg_wire_take_proof(&out->seen, p->seen) : NULL;
}

/* Readable from any version, as take_hello. */
static const char *take_refused(struct brg_msg_refused *out, const Brg__Pb__Refused *p) {
    out->code = p->code;
    out->retry = p->retry;
    TAKE_TEXT(out->text, &p->text);
    return NULL;
}

static const char *take_beat(struct brg_msg_beat *out, const Brg__Pb__Beat *p) {
    REFUSE_UNKNOWN(p);
    out->seq = p->seq;
    out->run = p->run;
    out->step = p->step;
    out->unit = p->unit;
    out->chunks_done = p->chunks_done;
    return NULL;
}

static const char *take_done(struct brg_msg_done *out, const Brg__Pb__Done *p) {
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->n_loss_chunks > BRG_CHUNKS_MAX, "Done has more than 1024 losses");
    REFUSE_IF(p->n_loss_sums != p->n_loss_chunks || p->n_loss_counts != p->n_loss_chunks,
              "Done has lists of losses of different lengths");
    out->since = p->since;
    out->run = p->run;
    out->step = p->step;
    out->unit = p->unit;
    out->attempt = p->attempt;
    out->share_bytes = p->share_bytes;
    out->compute_ns = p->compute_ns;
    out->loss_count = (uint32_t)p->n_loss_chunks;
    for (uint32_t i = 0; i < out->loss_count; i++) {
        out->losses[i].chunk = p->loss_chunks[i];
        out->losses[i].loss = p->loss_sums[i];
        out->losses[i].count = p->loss_counts[i];
    }
    return brg_wire_take_digest(&out->digest, &p->digest);
}

static const char *take_drain(struct brg_msg_drain *out, const Brg__Pb__Drain *p) {
    REFUSE_UNKNOWN(p);
    out->deadline_ms = p->deadline_ms;
    TAKE_TEXT(out->reason, &p->reason);
    return NULL;
}

static const char *take_at_risk(struct brg_msg_at_risk *out, const Brg__Pb__AtRisk *p) {
    REFUSE_UNKNOWN(p);
    out->until_ms = p->until_ms;
    TAKE_TEXT(out->text, &p->text);
    return NULL;
}

static const char *take_bye(struct brg_msg_bye *out, const Brg__Pb__Bye *p) {
    REFUSE_UNKNOWN(p);
    TAKE_TEXT(out->reason, &p->reason);
    return NULL;
}

static const char *take_fault(struct brg_msg_fault *out, const Brg__Pb__Fault *p) {
    REFUSE_UNKNOWN(p);
    out->run = p->run;
    out->step = p->step;
    out->unit = p->unit;
    out->code = p->code;
    TAKE_TEXT(out->text, &p->text);
    return NULL;
}

static const char *take_get(struct brg_msg_get *out, const Brg__Pb__Get *p) {
    REFUSE_UNKNOWN(p);
    out->offset = p->offset;
    out->length = p->length;
    out->peer = p->peer;
    return take_object(&out->object, p->object);
}

static const char *take_part(struct brg_msg_part *out, const Brg__Pb__Part *p) {
    REFUSE_UNKNOWN(p);
    out->offset = p->offset;
    out->total = p->total;
    out->peer = p->peer;
    return take_object(&out->object, p->object);
}

static const char *take_gone(struct brg_msg_gone *out, const Brg__Pb__Gone *p) {
    REFUSE_UNKNOWN(p);
    out->peer = p->peer;
    TAKE_TEXT(out->text, &p->text);
    return take_object(&out->object, p->object);
}

static const char *take_welcome(struct brg_msg_welcome *out, const Brg__Pb__Welcome *p) {
    REFUSE_UNKNOWN(p);
    out->member = p->member;
    out->lease_ms = p->lease_ms;
    out->beat_ms = p->beat_ms;
    TAKE_TEXT(out->name, &p->name);
    return NULL;
}

static const char *take_model(struct brg_msg_model *out, const Brg__Pb__Model *p) {
    REFUSE_IF(p == NULL, "Run.model is missing");
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->n_widths > BRG_WIDTHS_MAX, "model.widths has more than 8 layers");
    out->type = p->type;
    out->dim = p->dim;
    out->layers = p->layers;
    out->heads = p->heads;
    out->kv_heads = p->kv_heads;
    out->hidden = p->hidden;
    out->context = p->context;
    out->vocab = p->vocab;
    out->tied = p->tied;
    out->rope_theta = p->rope_theta + 0.0f; /* no -0, which packing would leave out as a 0 */
    out->norm_eps = p->norm_eps + 0.0f;
    out->rope_type = p->rope_type;
    out->rope_factor = p->rope_factor + 0.0f;
    out->rope_low_freq = p->rope_low_freq + 0.0f;
    out->rope_high_freq = p->rope_high_freq + 0.0f;
    out->rope_original_context = p->rope_original_context;
    out->inputs = p->inputs;
    out->classes = p->classes;
    out->width_count = (uint32_t)p->n_widths;
    for (uint32_t i = 0; i < out->width_count; i++) out->widths[i] = p->widths[i];
    return NULL;
}

static const char *take_run(struct brg_msg_run *out, const Brg__Pb__Run *p) {
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->data == NULL, "Run.data is missing");
    REFUSE_IF(p->batch == NULL, "Run.batch is missing");
    REFUSE_UNKNOWN(p->data);
    REFUSE_UNKNOWN(p->batch);
    out->run = p->run;
    out->seed = p->seed;
    out->steps = p->steps;
    TAKE_TEXT(out->name, &p->name);
    out->data.format = p->data->format;
    out->data.size_bytes = p->data->size_bytes;
    out->data.split = p->data->split;
    TRY(brg_wire_take_digest(&out->data.digest, &p->data->digest));
    out->batch.samples = p->batch->samples;
    out->batch.chunks = p->batch->chunks;
    out->batch.microbatch = p->batch->microbatch;
    REFUSE_IF(p->n_data_seeds > BRG_RUN_MODELS_MAX, "Run has more than 8 models");
    out->models = (uint32_t)p->n_data_seeds;
    for (uint32_t i = 0; i < out->models; i++) out->data_seeds[i] = p->data_seeds[i];
    out->has_line = p->line != NULL;
    if (p->line != NULL) TRY(brg_wire_take_run_line(&out->line, p->line));
    return take_model(&out->model, p->model);
}

static const char *take_task(struct brg_msg_task *out, const Brg__Pb__Task *p) {
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->n_chunks > BRG_CHUNKS_MAX, "Task has more than 1024 chunks");
    REFUSE_IF(p->n_coefficients > BRG_CHUNKS_MAX, "Task has more than 1024 coefficients");
    out->run = p->run;
    out->step = p->step;
    out->attempt = p->attempt;
    out->unit = p->unit;
    out->version = p->version;
    out->params_bytes = p->params_bytes;
    out->round = p->round;
    out->since = p->since;
    out->chunk_count = (uint32_t)p->n_chunks;
    for (uint32_t i = 0; i < out->chunk_count; i++) out->chunks[i] = p->chunks[i];
    out->coefficient_count = (uint32_t)p->n_coefficients;
    for (uint32_t i = 0; i < out->coefficient_count; i++) {
        out->coefficients[i] = p->coefficients[i];
    }
    return NULL;
}

static const char *take_operate(struct brg_msg_operate *out, const Brg__Pb__Operate *p) {
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->body.len > BRG_OPERATE_BYTES_MAX, "Operate.body is more than 512 KiB");
    out->id = p->id;
    out->body_bytes = (uint32_t)p->body.len;
    out->body = p->body.len != 0 ? p->body.data : NULL;
    TAKE_TEXT(out->verb, &p->verb);
    return NULL;
}

static const char *take_operate_reply(struct brg_msg_operate_reply *out,
                                      const Brg__Pb__OperateReply *p) {
    REFUSE_UNKNOWN(p);
    REFUSE_IF(p->body.len > BRG_REPLY_BYTES_MAX, "OperateReply.body is more than 900 KiB");
    out->id = p->id;
    out->code = p->code;
    out->body_bytes = (uint32_t)p->body.len;
    out->body = p->body.len != 0 ? p->body.data : NULL;
    return NULL;
}

static const char *take_tensors(struct brg_msg *out, const Brg__Pb__Envelope *e) {
    REFUSE_IF(e->n_tensors > BRG_TENSORS_MAX, "the envelope declares more than 4 frames");
    out->tensor_count = (uint32_t)e->n_tensors;
    for (uint32_t i = 0; i < out->tensor_count; i++) {
        REFUSE_UNKNOWN(e->tensors[i]);
        out->tensors[i].dtype = e->tensors[i]->dtype;
        out->tensors[i].elements = e->tensors[i]->elements;
        TRY(brg_wire_take_digest(&out->tensors[i].digest, &e->tensors[i]->digest));
    }
    return NULL;
}

/* Those whose whole content is a number or nothing at all need no function of their own. */
static const char *take_body(struct brg_msg *out, const Brg__Pb__Envelope *e) {
    switch (out->type) {
    case BRG_MSG_HELLO: return take_hello(&out->hello, e->hello);
    case BRG_MSG_BEAT: return take_beat(&out->beat, e->beat);
    case BRG_MSG_DONE: return take_done(&out->done, e->done);
    case BRG_MSG_DRAIN: return take_drain(&out->drain, e->drain);
    case BRG_MSG_AT_RISK: return take_at_risk(&out->at_risk, e->at_risk);
    case BRG_MSG_DRAIN_CANCEL: REFUSE_UNKNOWN(e->drain_cancel); return NULL;
    case BRG_MSG_BYE: return take_bye(&out->bye, e->bye);
    case BRG_MSG_FAULT: return take_fault(&out->fault, e->fault);
    case BRG_MSG_ATTACH:
        REFUSE_UNKNOWN(e->attach);
        out->attach.session = e->attach->session;
        return NULL;
    case BRG_MSG_GET: return take_get(&out->get, e->get);
    case BRG_MSG_PART: return take_part(&out->part, e->part);
    case BRG_MSG_GONE: return take_gone(&out->gone, e->gone);
    case BRG_MSG_WELCOME: return take_welcome(&out->welcome, e->welcome);
    case BRG_MSG_REFUSED: return take_refused(&out->refused, e->refused);
    case BRG_MSG_REHELLO: REFUSE_UNKNOWN(e->rehello); return NULL;
    case BRG_MSG_RUN: return take_run(&out->run, e->run);
    case BRG_MSG_TASK: return take_task(&out->task, e->task);
    case BRG_MSG_COMMIT:
        REFUSE_UNKNOWN(e->commit);
        return brg_wire_take_proof(&out->commit.proof, e->commit->proof);
    case BRG_MSG_RELEASE:
        REFUSE_UNKNOWN(e->release);
        out->release.run = e->release->run;
        return NULL;
    case BRG_MSG_DRAIN_ACK: REFUSE_UNKNOWN(e->drain_ack); return NULL;
    case BRG_MSG_OPERATE: return take_operate(&out->operate, e->operate);
    case BRG_MSG_OPERATE_REPLY: return take_operate_reply(&out->operate_reply, e->operate_reply);
    default: return brg_wire_take_line(e, out);
    }
}

const char *brg_wire_take(const Brg__Pb__Envelope *e, struct brg_msg *out) {
    out->type = (uint32_t)e->body_case;
    out->protocol = e->protocol;
    out->epoch = e->epoch;
    /* These two let sides of different versions tell each other why they part. */
    const int any_version = out->type == BRG_MSG_HELLO || out->type == BRG_MSG_REFUSED;
    REFUSE_IF(!any_version && e->protocol != BRG_PROTOCOL,
              "the peer speaks another version of the protocol");
    if (!any_version) REFUSE_UNKNOWN(e);
    TRY(take_tensors(out, e));
    return take_body(out, e);
}
