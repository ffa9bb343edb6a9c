/* wire_check.c - the ranges of messages.h, one function a message; used for both directions. */
#include "proto/wire_private.h"

#include <math.h>
#include <string.h>

/* 1 where `text` ends within its field and is clean. */
static int is_text(const char *text) {
    const size_t size_bytes = strnlen(text, BRG_TEXT_BYTES_MAX + 1);
    return size_bytes <= BRG_TEXT_BYTES_MAX && brg_text_valid((const uint8_t *)text, size_bytes);
}

static int is_name(const char *text) {
    return text[0] != '\0' && is_text(text);
}

static int within(uint64_t value, uint64_t low, uint64_t high) {
    return value >= low && value <= high;
}

static int is_zero(const struct brg_digest *d) {
    static const struct brg_digest zero;
    return brg_digest_equal(d, &zero);
}

static const char *check_hello(const struct brg_msg_hello *m) {
    REFUSE_IF(m->session == 0, "Hello.session is 0");
    REFUSE_IF(!is_name(m->name), "Hello.name is empty or not a clean text");
    REFUSE_IF(!is_text(m->version), "Hello.version is not a clean text");
    REFUSE_IF(!is_text(m->isa), "Hello.isa is not a clean text");
    REFUSE_IF(!within(m->cores, 1, 65536), "Hello.cores is not 1 .. 65536");
    REFUSE_IF(m->token_bytes > BRG_TOKEN_BYTES_MAX, "Hello.token is too long");
    REFUSE_IF(m->has_seen > 1, "Hello.has_seen is not 0 or 1");
    REFUSE_IF(m->has_seen == 1 && m->seen.run == 0, "Hello.seen.run is 0: runs count from 1");
    return NULL;
}

static const char *check_beat(const struct brg_msg_beat *m) {
    REFUSE_IF(m->chunks_done > BRG_CHUNKS_MAX, "Beat.chunks_done is more than 1024");
    REFUSE_IF(m->run == 0 && m->step != 0, "Beat.step without a run");
    REFUSE_IF(m->run == 0 && m->chunks_done != 0, "Beat.chunks_done without a run");
    return NULL;
}

/* 1 where every chunk is below BRG_CHUNKS_MAX and none comes twice. */
static int are_chunks(const uint32_t *chunks, size_t stride_words, uint32_t count) {
    uint64_t seen[BRG_CHUNKS_MAX / 64] = {0};
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t chunk = chunks[i * stride_words];
        if (chunk >= BRG_CHUNKS_MAX) return 0;
        const uint64_t bit = UINT64_C(1) << (chunk % 64);
        if ((seen[chunk / 64] & bit) != 0) return 0;
        seen[chunk / 64] |= bit;
    }
    return 1;
}

static const char *check_done(const struct brg_msg_done *m) {
    _Static_assert(sizeof(struct brg_chunk_loss) % sizeof(uint32_t) == 0, "stride in words");
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(!within(m->share_bytes, 1, BRG_OBJECT_BYTES_MAX), "Done.share_bytes out of range");
    REFUSE_IF(!within(m->since, 1, BRG_ROUNDS_MAX), "Done.since out of range");
    REFUSE_IF(m->loss_count > BRG_CHUNKS_MAX, "Done has more than 1024 losses");
    REFUSE_IF(
        !are_chunks(&m->losses[0].chunk, sizeof m->losses[0] / sizeof(uint32_t), m->loss_count),
        "Done has a chunk twice, or one of 1024 and above");
    return NULL;
}

static const char *check_fault(const struct brg_msg_fault *m) {
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(m->code == 0, "Fault.code is 0, which is success");
    REFUSE_IF(!is_text(m->text), "Fault.text is not a clean text");
    return NULL;
}

/* What the workers of a pipeline fetch from each other. */
static const char *check_peer_object(const struct brg_object *o) {
    static const uint32_t index_max[] = {[BRG_OBJECT_ACT] = BRG_LINE_ACTS_MAX,
                                         [BRG_OBJECT_GRAD] = BRG_LINE_MICROBATCHES_MAX,
                                         [BRG_OBJECT_LANE] = BRG_LINE_LANES_MAX,
                                         [BRG_OBJECT_STATE] = BRG_STATE_PARTS_MAX};
    const int is_state = o->kind == BRG_OBJECT_STATE;
    REFUSE_UNLESS_RUN(o->run);
    REFUSE_IF(o->step > BRG_STEPS_MAX && !(is_state && o->step == BRG_VERSION_ANY),
              "object.step out of range");
    REFUSE_IF(o->unit >= BRG_OBJECT_STAGES_MAX, "object.unit is no stage: 1024 or more");
    REFUSE_IF(o->microbatch >= index_max[o->kind], "object.microbatch is more than its kind has");
    REFUSE_IF(is_state && o->generation != 0,
              "object.generation is not for a state, which has a version");
    REFUSE_IF(!is_state && !within(o->generation, 1, BRG_GENERATIONS_MAX),
              "object.generation out of range");
    return NULL;
}

static const char *check_object(const struct brg_object *o) {
    REFUSE_IF(!within(o->kind, BRG_OBJECT_PARAMS, BRG_OBJECT_STATE), "object.kind is unknown");
    if (o->kind >= BRG_OBJECT_ACT) return check_peer_object(o);
    REFUSE_IF(o->generation != 0 || o->microbatch != 0,
              "object.generation and .microbatch are for pipelines only");
    if (o->kind == BRG_OBJECT_DATA) {
        REFUSE_IF(is_zero(&o->digest), "object.digest is missing: data is asked for by digest");
        REFUSE_IF(o->run != 0 || o->step != 0, "object.run and .step are not for data");
    } else {
        REFUSE_UNLESS_RUN(o->run);
    }
    REFUSE_IF(o->kind != BRG_OBJECT_SHARE && o->unit != 0, "object.unit is for shares only");
    return NULL;
}

static const char *check_get(const struct brg_msg_get *m) {
    REFUSE_IF(m->offset >= BRG_OBJECT_BYTES_MAX, "Get.offset out of range");
    REFUSE_IF(!within(m->length, 1, BRG_PART_BYTES_MAX), "Get.length is not 1 .. 4 MiB");
    return check_object(&m->object);
}

static const char *check_part(const struct brg_msg_part *m, const struct brg_tensor *tensor) {
    REFUSE_IF(tensor->dtype != BRG_DTYPE_BYTES, "Part's frame is not declared as bytes");
    REFUSE_IF(!within(m->total, 1, BRG_OBJECT_BYTES_MAX), "Part.total out of range");
    REFUSE_IF(m->offset >= m->total, "Part.offset is past the end of the object");
    REFUSE_IF(tensor->elements > m->total - m->offset, "Part reaches past the end of the object");
    return check_object(&m->object);
}

static const char *check_gone(const struct brg_msg_gone *m) {
    REFUSE_IF(!is_text(m->text), "Gone.text is not a clean text");
    return check_object(&m->object);
}

static const char *check_welcome(const struct brg_msg_welcome *m) {
    REFUSE_IF(!within(m->lease_ms, 1, BRG_LEASE_MS_MAX), "Welcome.lease_ms is not 1 ms .. 1 h");
    REFUSE_IF(!within(m->beat_ms, 1, m->lease_ms - 1), "Welcome.beat_ms is not below the lease");
    REFUSE_IF(!is_name(m->name), "Welcome.name is empty or not a clean text");
    return NULL;
}

static const char *check_refused(const struct brg_msg_refused *m) {
    REFUSE_IF(m->code == 0, "Refused.code is 0, which is success");
    REFUSE_IF(!is_text(m->text), "Refused.text is not a clean text");
    REFUSE_IF(m->retry > 1, "Refused.retry is not 0 or 1");
    return NULL;
}

/* What a type of scaling does not use must be 0: one meaning has one form. */
static const char *check_rope(const struct brg_msg_model *m) {
    const int is_scaled = m->rope_type != 0, is_llama3 = m->rope_type == 2;
    REFUSE_IF(m->rope_type > 2, "model.rope_type is unknown");
    REFUSE_IF(is_scaled && !(m->rope_factor >= 1 && m->rope_factor <= 1e6f),
              "model.rope_factor is not 1 .. 1e6");
    REFUSE_IF(!is_scaled && m->rope_factor != 0, "model.rope_factor is without a scaling");
    REFUSE_IF(is_llama3 && !(m->rope_low_freq > 0 && m->rope_high_freq > m->rope_low_freq &&
                             m->rope_high_freq <= 1e6f),
              "model.rope_low_freq and .rope_high_freq are not rising and above 0");
    REFUSE_IF(is_llama3 && !within(m->rope_original_context, 1, 16777216),
              "model.rope_original_context is not 1 .. 16777216");
    REFUSE_IF(!is_llama3 && (m->rope_low_freq != 0 || m->rope_high_freq != 0 ||
                             m->rope_original_context != 0),
              "model has fields of the llama3 scaling without it");
    return NULL;
}

static const char *check_llama(const struct brg_msg_model *m) {
    REFUSE_IF(!within(m->dim, 1, 65536), "model.dim is not 1 .. 65536");
    REFUSE_IF(!within(m->layers, 1, 1024), "model.layers is not 1 .. 1024");
    REFUSE_IF(!within(m->heads, 1, 1024), "model.heads is not 1 .. 1024");
    REFUSE_IF(!within(m->kv_heads, 1, m->heads), "model.kv_heads is not 1 .. heads");
    REFUSE_IF(m->heads % m->kv_heads != 0, "model.heads is no multiple of kv_heads");
    REFUSE_IF(m->dim % m->heads != 0, "model.dim is no multiple of heads");
    REFUSE_IF(m->dim / m->heads % 2 != 0, "model.dim / heads is odd: rotation needs pairs");
    REFUSE_IF(!within(m->hidden, 1, 1048576), "model.hidden is not 1 .. 1048576");
    REFUSE_IF(!within(m->context, 1, 1048576), "model.context is not 1 .. 1048576");
    REFUSE_IF(!within(m->vocab, 2, 1048576), "model.vocab is not 2 .. 1048576");
    REFUSE_IF(m->tied > 1, "model.tied is not 0 or 1");
    REFUSE_IF(!isfinite(m->rope_theta) || m->rope_theta <= 0, "model.rope_theta is not above 0");
    REFUSE_IF(!(m->norm_eps >= 0 && m->norm_eps < 1), "model.norm_eps is not in [0, 1)");
    REFUSE_IF(m->inputs != 0 || m->classes != 0 || m->width_count != 0,
              "model.inputs, .classes and .widths are not for llama");
    return check_rope(m);
}

static const char *check_classifier(const struct brg_msg_model *m) {
    REFUSE_IF(!within(m->inputs, 1, 16777216), "model.inputs is not 1 .. 16777216");
    REFUSE_IF(!within(m->classes, 2, 65536), "model.classes is not 2 .. 65536");
    REFUSE_IF(m->type == 3 && m->width_count != 0, "model.widths are not for softmax");
    REFUSE_IF(m->type == 2 && m->width_count == 0, "model.widths is empty: use softmax");
    REFUSE_IF(m->width_count > BRG_WIDTHS_MAX, "model.widths has more than 8 layers");
    for (uint32_t i = 0; i < m->width_count; i++) {
        REFUSE_IF(!within(m->widths[i], 1, 1048576), "model.widths: one is not 1 .. 1048576");
    }
    REFUSE_IF(m->dim != 0 || m->layers != 0 || m->heads != 0 || m->kv_heads != 0 ||
                  m->hidden != 0 || m->context != 0 || m->vocab != 0 || m->tied != 0 ||
                  m->rope_theta != 0 || m->norm_eps != 0 || m->rope_type != 0,
              "model has fields of llama and is another type");
    return check_rope(m);
}

static const char *check_run(const struct brg_msg_run *m) {
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(!is_name(m->name), "Run.name is empty or not a clean text");
    REFUSE_IF(!within(m->steps, 1, BRG_STEPS_MAX), "Run.steps out of range");
    REFUSE_IF(!within(m->data.format, 1, 4), "data.format is unknown");
    REFUSE_IF(is_zero(&m->data.digest), "data.digest is missing");
    REFUSE_IF(!within(m->data.size_bytes, 1, BRG_OBJECT_BYTES_MAX), "data.size_bytes out of range");
    REFUSE_IF(!within(m->data.split, 1, BRG_OBJECT_BYTES_MAX), "data.split out of range");
    REFUSE_IF(!within(m->batch.chunks, 1, BRG_CHUNKS_MAX), "batch.chunks is not 1 .. 1024");
    REFUSE_IF(!within(m->batch.samples, m->batch.chunks, 16777216),
              "batch.samples is not chunks .. 16777216");
    REFUSE_IF(!within(m->batch.microbatch, 1, m->batch.samples),
              "batch.microbatch is not 1 .. samples");
    REFUSE_IF(!within(m->models, 1, BRG_RUN_MODELS_MAX), "Run has no or more than 8 models");
    for (uint32_t i = m->models; i < BRG_RUN_MODELS_MAX; i++) {
        REFUSE_IF(m->data_seeds[i] != 0, "Run has a data seed for a model it has not");
    }
    REFUSE_IF(!within(m->model.type, 1, 3), "model.type is unknown");
    TRY(brg_wire_check_run_line(m));
    return m->model.type == 1 ? check_llama(&m->model) : check_classifier(&m->model);
}

static const char *check_task(const struct brg_msg_task *m) {
    REFUSE_UNLESS_RUN(m->run);
    REFUSE_IF(!within(m->step, 1, BRG_STEPS_MAX), "Task.step out of range");
    REFUSE_IF(!within(m->round, 1, BRG_ROUNDS_MAX), "Task.round out of range");
    REFUSE_IF(!within(m->since, 1, m->round), "Task.since is not 1 .. its round");
    REFUSE_IF(!within(m->params_bytes, 1, BRG_OBJECT_BYTES_MAX), "Task.params_bytes out of range");
    REFUSE_IF(!within(m->chunk_count, 1, BRG_CHUNKS_MAX), "Task has no or more than 1024 chunks");
    REFUSE_IF(!are_chunks(m->chunks, 1, m->chunk_count),
              "Task has a chunk twice, or one of 1024 and above");
    REFUSE_IF(m->coefficient_count != 0 && m->coefficient_count != m->chunk_count,
              "Task has another number of coefficients than of chunks");
    for (uint32_t i = 0; i < m->coefficient_count; i++) {
        REFUSE_IF(!isfinite(m->coefficients[i]), "Task has a coefficient that is no number");
    }
    return NULL;
}

static const char *check_operate(const struct brg_msg_operate *m) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t size_bytes = strnlen(m->verb, BRG_VERB_BYTES_MAX + 1);
    REFUSE_IF(!within(size_bytes, 1, BRG_VERB_BYTES_MAX), "Operate.verb is empty or too long");
    REFUSE_IF(strspn(m->verb, allowed) != size_bytes, "Operate.verb is not of [a-z0-9._-]");
    REFUSE_IF(m->body_bytes > BRG_OPERATE_BYTES_MAX, "Operate.body is more than 512 KiB");
    return NULL;
}

static const char *check_body(const struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_HELLO: return check_hello(&m->hello);
    case BRG_MSG_BEAT: return check_beat(&m->beat);
    case BRG_MSG_DONE: return check_done(&m->done);
    case BRG_MSG_DRAIN: return is_text(m->drain.reason) ? NULL : "Drain.reason is no clean text";
    case BRG_MSG_AT_RISK: return is_text(m->at_risk.text) ? NULL : "AtRisk.text is no clean text";
    case BRG_MSG_BYE: return is_text(m->bye.reason) ? NULL : "Bye.reason is not a clean text";
    case BRG_MSG_FAULT: return check_fault(&m->fault);
    case BRG_MSG_ATTACH: return m->attach.session != 0 ? NULL : "Attach.session is 0";
    case BRG_MSG_GET: return check_get(&m->get);
    case BRG_MSG_PART: return check_part(&m->part, &m->tensors[0]);
    case BRG_MSG_GONE: return check_gone(&m->gone);
    case BRG_MSG_WELCOME: return check_welcome(&m->welcome);
    case BRG_MSG_REFUSED: return check_refused(&m->refused);
    case BRG_MSG_REHELLO: return NULL;
    case BRG_MSG_RUN: return check_run(&m->run);
    case BRG_MSG_TASK: return check_task(&m->task);
    case BRG_MSG_COMMIT: REFUSE_UNLESS_RUN(m->commit.proof.run); return NULL;
    case BRG_MSG_RELEASE: REFUSE_UNLESS_RUN(m->release.run); return NULL;
    case BRG_MSG_DRAIN_ACK:
    case BRG_MSG_DRAIN_CANCEL: return NULL;
    case BRG_MSG_OPERATE: return check_operate(&m->operate);
    case BRG_MSG_OPERATE_REPLY:
        REFUSE_IF(m->operate_reply.body_bytes > BRG_REPLY_BYTES_MAX,
                  "OperateReply.body is more than 900 KiB");
        return NULL;
    default: return brg_wire_check_line(m);
    }
}

const char *brg_wire_check(const struct brg_msg *msg) {
    const uint32_t wanted = msg->type == BRG_MSG_PART ? 1 : 0;
    REFUSE_IF(msg->tensor_count != wanted, "the envelope declares frames its message has not");
    for (uint32_t i = 0; i < msg->tensor_count; i++) {
        const struct brg_tensor *t = &msg->tensors[i];
        const uint32_t element_bytes = brg_dtype_bytes(t->dtype);
        REFUSE_IF(element_bytes == 0, "a frame's dtype is unknown");
        REFUSE_IF(!within(t->elements, 1, BRG_PART_BYTES_MAX / element_bytes),
                  "a frame is declared as empty or as more than 4 MiB");
    }
    return check_body(msg);
}
