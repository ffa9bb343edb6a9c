#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdalign.h>
#include <stdlib.h>

#include "proto/wire_private.h"
#include "samples.h"

/* Large, so not on the stack. */
static struct brg_msg sent, got, before;
static uint8_t packed[BRG_ENVELOPE_BYTES_MAX];
static alignas(16) uint8_t scratch[BRG_WIRE_SCRATCH_BYTES];

static int unpack(size_t size_bytes) {
    return brg_wire_unpack(packed, size_bytes, scratch, sizeof scratch, &got, NULL);
}

/* Fills `got` with a pattern, so that a write to it is seen. */
static void watch_got(void) {
    memset(&got, 0xa5, sizeof got);
    before = got;
}

static void assert_refused(int rc, const char *what) {
    if (rc != BRG_EPROTO || memcmp(&got, &before, sizeof got) != 0) {
        fail_msg("%s: rc %d, out %s", what, rc,
                 memcmp(&got, &before, sizeof got) == 0 ? "untouched" : "changed");
    }
}

/* Bodies are compared as bytes, and their pointers, which must differ, made equal. */
static void assert_same_messages(void) {
    if (sent.type == BRG_MSG_OPERATE) {
        assert_int_equal(sent.operate.body_bytes, got.operate.body_bytes);
        assert_memory_equal(sent.operate.body, got.operate.body, sent.operate.body_bytes);
        got.operate.body = sent.operate.body;
    }
    if (sent.type == BRG_MSG_OPERATE_REPLY) {
        assert_int_equal(sent.operate_reply.body_bytes, got.operate_reply.body_bytes);
        assert_memory_equal(sent.operate_reply.body, got.operate_reply.body,
                            sent.operate_reply.body_bytes);
        got.operate_reply.body = sent.operate_reply.body;
    }
    assert_memory_equal(&sent, &got, sizeof sent);
}

static void wire_every_message__comes_back_as_it_was(void **state) {
    (void)state;
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        size_t size_bytes = 0;
        sample(sample_types[i], &sent);
        assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
        memset(&got, 0xa5, sizeof got);
        memset(scratch, 0x5a, 4096);
        assert_int_equal(unpack(size_bytes), BRG_OK);
        assert_same_messages();
        assert_string_not_equal(brg_msg_name(sent.type), "unknown");
    }
    assert_string_equal(brg_msg_name(9), "unknown");
}

static void wire_largest_messages__fit(void **state) {
    (void)state;
    size_t size_bytes = 0;
    uint8_t *body = malloc(BRG_REPLY_BYTES_MAX + 1);
    assert_non_null(body);
    memset(body, 'x', BRG_REPLY_BYTES_MAX + 1);

    sample(BRG_MSG_DONE, &sent);
    sent.done.loss_count = BRG_CHUNKS_MAX;
    for (uint32_t i = 0; i < BRG_CHUNKS_MAX; i++) {
        sent.done.losses[i] = (struct brg_chunk_loss){1023 - i, (double)i, UINT64_MAX - i};
    }
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    assert_int_equal(unpack(size_bytes), BRG_OK);
    assert_same_messages();

    sample(BRG_MSG_TASK, &sent);
    sent.task.chunk_count = sent.task.coefficient_count = BRG_CHUNKS_MAX;
    for (uint32_t i = 0; i < BRG_CHUNKS_MAX; i++) {
        sent.task.chunks[i] = i;
        sent.task.coefficients[i] = -(double)i;
    }
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    assert_int_equal(unpack(size_bytes), BRG_OK);
    assert_same_messages();

    sample(BRG_MSG_OPERATE, &sent);
    sent.operate.body = body;
    sent.operate.body_bytes = BRG_OPERATE_BYTES_MAX;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    assert_int_equal(unpack(size_bytes), BRG_OK);
    assert_same_messages();
    sent.operate.body_bytes++;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_EINVAL);

    sample(BRG_MSG_OPERATE_REPLY, &sent);
    sent.operate_reply.body = body;
    sent.operate_reply.body_bytes = BRG_REPLY_BYTES_MAX;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    assert_int_equal(unpack(size_bytes), BRG_OK);
    assert_same_messages();
    sent.operate_reply.body_bytes++;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_EINVAL);
    free(body);
}

static void wire_buffer_too_small__is_refused_and_not_overrun(void **state) {
    (void)state;
    size_t need_bytes = 0, size_bytes = 77;
    sample(BRG_MSG_HELLO, &sent);
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &need_bytes), BRG_OK);
    memset(packed, 0xa5, need_bytes + 1);
    assert_int_equal(brg_wire_pack(&sent, packed, need_bytes - 1, &size_bytes), BRG_ENOMEM);
    assert_int_equal(size_bytes, 77);
    assert_int_equal(packed[0], 0xa5);
    assert_int_equal(brg_wire_pack(&sent, packed, need_bytes, &size_bytes), BRG_OK);
    assert_int_equal(size_bytes, need_bytes);
    assert_int_equal(packed[need_bytes], 0xa5);
}

static void wire_not_finite_loss__comes_through_since_a_diverged_model_has_one(void **state) {
    (void)state;
    size_t size_bytes = 0;
    sample(BRG_MSG_DONE, &sent);
    sent.done.losses[0].loss = NAN;
    sent.done.losses[1].loss = INFINITY;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    assert_int_equal(unpack(size_bytes), BRG_OK);
    assert_true(isnan(got.done.losses[0].loss));
    assert_true(isinf(got.done.losses[1].loss));
}

/* One way to spoil a valid message of `type`, in the generated structs that an attacker fills. */
struct spoiler {
    const char *what;
    uint32_t type;
    void (*spoil)(Brg__Pb__Envelope *e);
};

static uint8_t long_text[1024];   /* filled with 'x' */
static uint32_t many_u32[1025];   /* 0 .. 1024 */
static double many_doubles[1025]; /* all 1 */
static uint64_t many_u64[1025];   /* all 1 */
static const Brg__Pb__Tensor *one_tensor[5];

static ProtobufCBinaryData text(const char *s) {
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static ProtobufCBinaryData xs(size_t size_bytes) {
    return (ProtobufCBinaryData){size_bytes, long_text};
}

/* The empty declaration at the end takes the semicolon. */
#define SPOIL(name, statement)                                                                     \
    static void name(Brg__Pb__Envelope *e) {                                                       \
        statement;                                                                                 \
    }                                                                                              \
    struct spoil_end

SPOIL(no_body, e->body_case = BRG__PB__ENVELOPE__BODY__NOT_SET);
SPOIL(other_protocol, e->protocol = BRG_PROTOCOL + 1);
SPOIL(older_protocol, e->protocol = BRG_PROTOCOL - 1);
SPOIL(protocol_0, e->protocol = 0);
SPOIL(surplus_tensor, (e->n_tensors = 1, e->tensors = (Brg__Pb__Tensor **)(uintptr_t)one_tensor));

SPOIL(hello_session, e->hello->session = 0);
SPOIL(hello_name_empty, e->hello->name.len = 0);
SPOIL(hello_name_long, e->hello->name = xs(257));
SPOIL(hello_name_nul,
      (e->hello->name.data = (uint8_t *)(uintptr_t) "a\0b", e->hello->name.len = 3));
SPOIL(hello_name_newline, e->hello->name = text("a\nlog line of its own"));
SPOIL(hello_name_utf8, e->hello->name = text("\xc0\xaf"));
SPOIL(hello_name_surrogate, e->hello->name = text("\xed\xa0\x80"));
SPOIL(hello_name_cut, e->hello->name = text("abc\xe2\x82"));
SPOIL(hello_name_c1, e->hello->name = text("\xc2\x9b"));
SPOIL(hello_version_long, e->hello->version = xs(257));
SPOIL(hello_isa_long, e->hello->isa = xs(257));
SPOIL(hello_cores_0, e->hello->cores = 0);
SPOIL(hello_cores_many, e->hello->cores = 65537);
SPOIL(hello_token_long, e->hello->token = xs(65));
SPOIL(hello_seen_run_0, e->hello->seen->run = 0);
SPOIL(hello_seen_chain_short, e->hello->seen->chain.len = 31);
SPOIL(hello_seen_mac_none, e->hello->seen->mac.len = 0);

SPOIL(beat_chunks, e->beat->chunks_done = 1025);
SPOIL(beat_no_run_step, e->beat->run = 0);
SPOIL(beat_no_run_chunks, (e->beat->run = 0, e->beat->step = 0));

SPOIL(done_run_0, e->done->run = 0);
SPOIL(done_digest_none, e->done->digest.len = 0);
SPOIL(done_digest_long, e->done->digest = xs(33));
SPOIL(done_bytes_0, e->done->share_bytes = 0);
SPOIL(done_bytes_huge, e->done->share_bytes = BRG_OBJECT_BYTES_MAX + 1);
SPOIL(done_since_0, e->done->since = 0);
SPOIL(done_since_high, e->done->since = BRG_ROUNDS_MAX + 1);
SPOIL(done_chunk_twice, e->done->loss_chunks[2] = 0);
SPOIL(done_chunk_high, e->done->loss_chunks[2] = 1024);
SPOIL(done_lists_differ, e->done->n_loss_sums = 2);
SPOIL(done_counts_none, e->done->n_loss_counts = 0);
SPOIL(done_too_many, (e->done->n_loss_chunks = e->done->n_loss_sums = e->done->n_loss_counts = 1025,
                      e->done->loss_chunks = many_u32, e->done->loss_sums = many_doubles,
                      e->done->loss_counts = many_u64));

SPOIL(drain_reason_long, e->drain->reason = xs(257));
SPOIL(drain_reason_dirty, e->drain->reason = text("\x1b[2J"));
SPOIL(bye_reason_long, e->bye->reason = xs(257));
SPOIL(bye_reason_dirty, e->bye->reason = text("\x7f"));
SPOIL(fault_run_0, e->fault->run = 0);
SPOIL(fault_code_0, e->fault->code = 0);
SPOIL(fault_text_long, e->fault->text = xs(257));
SPOIL(fault_text_dirty, e->fault->text = text("\t"));

SPOIL(attach_session, e->attach->session = 0);
SPOIL(get_no_object, e->get->object = NULL);
SPOIL(get_kind_0, e->get->object->kind = 0);
SPOIL(get_kind_4, e->get->object->kind = 4);
SPOIL(get_digest_none, e->get->object->digest.len = 0);
SPOIL(get_digest_short, e->get->object->digest.len = 31);
SPOIL(get_data_run, e->get->object->run = 1);
SPOIL(get_data_step, e->get->object->step = 1);
SPOIL(get_data_unit, e->get->object->unit = 1);
SPOIL(get_length_0, e->get->length = 0);
SPOIL(get_length_long, e->get->length = BRG_PART_BYTES_MAX + 1);
SPOIL(get_offset, e->get->offset = BRG_OBJECT_BYTES_MAX);
SPOIL(part_no_object, e->part->object = NULL);
SPOIL(part_run_0, e->part->object->run = 0);
SPOIL(part_no_tensor, e->n_tensors = 0);
SPOIL(part_two_tensors, (one_tensor[0] = one_tensor[1] = e->tensors[0], e->n_tensors = 2,
                         e->tensors = (Brg__Pb__Tensor **)(uintptr_t)one_tensor));
SPOIL(
    part_five_tensors,
    (one_tensor[0] = one_tensor[1] = one_tensor[2] = one_tensor[3] = one_tensor[4] = e->tensors[0],
     e->n_tensors = 5, e->tensors = (Brg__Pb__Tensor **)(uintptr_t)one_tensor));
SPOIL(part_dtype_f32, (e->tensors[0]->dtype = BRG_DTYPE_F32, e->tensors[0]->elements = 1));
SPOIL(part_dtype_0, e->tensors[0]->dtype = 0);
SPOIL(part_dtype_4, e->tensors[0]->dtype = 4);
SPOIL(part_elements_0, e->tensors[0]->elements = 0);
SPOIL(part_elements_many,
      (e->part->total = BRG_OBJECT_BYTES_MAX, e->tensors[0]->elements = BRG_PART_BYTES_MAX + 1));
SPOIL(part_tensor_digest, e->tensors[0]->digest.len = 16);
SPOIL(part_total_0, e->part->total = 0);
SPOIL(part_total_huge, e->part->total = BRG_OBJECT_BYTES_MAX + 1);
SPOIL(part_offset_past, e->part->offset = e->part->total);
SPOIL(part_reaches_past, e->part->offset = e->part->offset + 1);
SPOIL(part_offset_wraps, e->part->offset = UINT64_MAX);
SPOIL(gone_no_object, e->gone->object = NULL);
SPOIL(gone_unit_of_params, e->gone->object->unit = 1);
SPOIL(gone_text_long, e->gone->text = xs(257));
SPOIL(gone_text_dirty, e->gone->text = text("\r"));

SPOIL(welcome_lease_0, e->welcome->lease_ms = 0);
SPOIL(welcome_lease_long, e->welcome->lease_ms = BRG_LEASE_MS_MAX + 1);
SPOIL(welcome_beat_0, e->welcome->beat_ms = 0);
SPOIL(welcome_beat_long, e->welcome->beat_ms = e->welcome->lease_ms);
SPOIL(welcome_name_empty, e->welcome->name.len = 0);
SPOIL(welcome_name_long, e->welcome->name = xs(257));
SPOIL(refused_code_0, e->refused->code = 0);
SPOIL(refused_retry, e->refused->retry = 2);
SPOIL(refused_text_long, e->refused->text = xs(257));
SPOIL(refused_text_dirty, e->refused->text = text("\x01"));

SPOIL(run_0, e->run->run = 0);
SPOIL(run_name_empty, e->run->name.len = 0);
SPOIL(run_name_long, e->run->name = xs(257));
SPOIL(run_steps_0, e->run->steps = 0);
SPOIL(run_steps_many, e->run->steps = BRG_STEPS_MAX + 1);
SPOIL(run_no_model, e->run->model = NULL);
SPOIL(run_no_data, e->run->data = NULL);
SPOIL(run_no_batch, e->run->batch = NULL);
SPOIL(run_type_0, e->run->model->type = 0);
SPOIL(run_type_4, e->run->model->type = 4);
SPOIL(run_dim_0, e->run->model->dim = 0);
SPOIL(run_dim_large, e->run->model->dim = 65540);
SPOIL(run_dim_uneven, e->run->model->dim = 130);
SPOIL(run_dim_odd_head, e->run->model->dim = 132);
SPOIL(run_layers_0, e->run->model->layers = 0);
SPOIL(run_layers_many, e->run->model->layers = 1025);
SPOIL(run_heads_0, e->run->model->heads = 0);
SPOIL(run_heads_many, (e->run->model->heads = 2048, e->run->model->dim = 4096));
SPOIL(run_kv_0, e->run->model->kv_heads = 0);
SPOIL(run_kv_many, e->run->model->kv_heads = 8);
SPOIL(run_kv_uneven, e->run->model->kv_heads = 3);
SPOIL(run_hidden_0, e->run->model->hidden = 0);
SPOIL(run_hidden_large, e->run->model->hidden = 1048577);
SPOIL(run_context_0, e->run->model->context = 0);
SPOIL(run_context_large, e->run->model->context = 1048577);
SPOIL(run_vocab_1, e->run->model->vocab = 1);
SPOIL(run_vocab_large, e->run->model->vocab = 1048577);
SPOIL(run_tied, e->run->model->tied = 2);
SPOIL(run_theta_0, e->run->model->rope_theta = 0);
SPOIL(run_theta_negative, e->run->model->rope_theta = -1);
SPOIL(run_theta_nan, e->run->model->rope_theta = NAN);
SPOIL(run_theta_inf, e->run->model->rope_theta = INFINITY);
SPOIL(run_rope_type, e->run->model->rope_type = 3);
SPOIL(run_rope_factor_nan, e->run->model->rope_factor = NAN);
SPOIL(run_rope_factor_small, e->run->model->rope_factor = 0.5f);
SPOIL(run_rope_low_0, e->run->model->rope_low_freq = 0);
SPOIL(run_rope_high_below_low, e->run->model->rope_high_freq = 1);
SPOIL(run_rope_context_0, e->run->model->rope_original_context = 0);
SPOIL(run_rope_linear_with_freqs, e->run->model->rope_type = 1);
SPOIL(run_rope_none_with_factor, e->run->model->rope_type = 0);
SPOIL(run_eps_1, e->run->model->norm_eps = 1);
SPOIL(run_eps_negative, e->run->model->norm_eps = -1e-9f);
SPOIL(run_eps_nan, e->run->model->norm_eps = NAN);
SPOIL(run_llama_inputs, e->run->model->inputs = 1);
SPOIL(run_llama_classes, e->run->model->classes = 2);
SPOIL(run_llama_widths, (e->run->model->n_widths = 1, e->run->model->widths = many_u32 + 1));
SPOIL(run_widths_many, (e->run->model->n_widths = 9, e->run->model->widths = many_u32 + 1));
SPOIL(run_mlp_with_llama, e->run->model->type = 2);
SPOIL(run_format_0, e->run->data->format = 0);
SPOIL(run_format_5, e->run->data->format = 5);
SPOIL(run_data_digest, e->run->data->digest.len = 0);
SPOIL(run_data_0, e->run->data->size_bytes = 0);
SPOIL(run_data_huge, e->run->data->size_bytes = BRG_OBJECT_BYTES_MAX + 1);
SPOIL(run_split_0, e->run->data->split = 0);
SPOIL(run_split_huge, e->run->data->split = BRG_OBJECT_BYTES_MAX + 1);
SPOIL(run_chunks_0, e->run->batch->chunks = 0);
SPOIL(run_chunks_many, (e->run->batch->chunks = 1025, e->run->batch->samples = 2000));
SPOIL(run_samples_few, e->run->batch->samples = 15);
SPOIL(run_samples_many, e->run->batch->samples = 16777217);
SPOIL(run_microbatch_0, e->run->batch->microbatch = 0);
SPOIL(run_microbatch_large, e->run->batch->microbatch = 65);
SPOIL(run_models_0, e->run->n_data_seeds = 0);
SPOIL(run_models_many, (e->run->n_data_seeds = 9, e->run->data_seeds = many_u64));

SPOIL(task_run_0, e->task->run = 0);
SPOIL(task_step_0, e->task->step = 0);
SPOIL(task_step_high, e->task->step = BRG_STEPS_MAX + 1);
SPOIL(task_round_0, (e->task->round = 0, e->task->since = 0));
SPOIL(task_since_0, e->task->since = 0);
SPOIL(task_round_high, e->task->round = BRG_ROUNDS_MAX + 1);
SPOIL(task_since_later, e->task->since = e->task->round + 1);
SPOIL(task_params_0, e->task->params_bytes = 0);
SPOIL(task_params_huge, e->task->params_bytes = BRG_OBJECT_BYTES_MAX + 1);
SPOIL(task_no_chunks, (e->task->n_chunks = 0, e->task->n_coefficients = 0));
SPOIL(task_many_chunks,
      (e->task->n_chunks = 1025, e->task->chunks = many_u32, e->task->n_coefficients = 0));
SPOIL(task_many_coefficients,
      (e->task->n_coefficients = 1025, e->task->coefficients = many_doubles));
SPOIL(task_chunk_high, e->task->chunks[1] = 1024);
SPOIL(task_chunk_twice, e->task->chunks[1] = 15);
SPOIL(task_coefficients_differ, e->task->n_coefficients = 2);
SPOIL(task_coefficient_nan, e->task->coefficients[1] = NAN);
SPOIL(task_coefficient_inf, e->task->coefficients[1] = -INFINITY);
SPOIL(commit_no_proof, e->commit->proof = NULL);
SPOIL(commit_run_0, e->commit->proof->run = 0);
SPOIL(commit_chain, e->commit->proof->chain.len = 0);
SPOIL(release_run_0, e->release->run = 0);

SPOIL(operate_verb_empty, e->operate->verb.len = 0);
SPOIL(operate_verb_long, e->operate->verb = xs(33));
SPOIL(operate_verb_upper, e->operate->verb = text("Pause"));
SPOIL(operate_verb_nul,
      (e->operate->verb.data = (uint8_t *)(uintptr_t) "a\0b", e->operate->verb.len = 3));

#define CASE(type, name)                                                                           \
    { #name, BRG_MSG_##type, name }

static const struct spoiler spoilers[] = {
    CASE(BEAT, no_body),
    CASE(BEAT, other_protocol),
    CASE(BEAT, older_protocol),
    CASE(BEAT, protocol_0),
    CASE(BEAT, surplus_tensor),
    CASE(HELLO, surplus_tensor),
    CASE(HELLO, hello_session),
    CASE(HELLO, hello_name_empty),
    CASE(HELLO, hello_name_long),
    CASE(HELLO, hello_name_nul),
    CASE(HELLO, hello_name_newline),
    CASE(HELLO, hello_name_utf8),
    CASE(HELLO, hello_name_surrogate),
    CASE(HELLO, hello_name_cut),
    CASE(HELLO, hello_name_c1),
    CASE(HELLO, hello_version_long),
    CASE(HELLO, hello_isa_long),
    CASE(HELLO, hello_cores_0),
    CASE(HELLO, hello_cores_many),
    CASE(HELLO, hello_token_long),
    CASE(HELLO, hello_seen_run_0),
    CASE(HELLO, hello_seen_chain_short),
    CASE(HELLO, hello_seen_mac_none),
    CASE(BEAT, beat_chunks),
    CASE(BEAT, beat_no_run_step),
    CASE(BEAT, beat_no_run_chunks),
    CASE(DONE, done_run_0),
    CASE(DONE, done_digest_none),
    CASE(DONE, done_digest_long),
    CASE(DONE, done_bytes_0),
    CASE(DONE, done_bytes_huge),
    CASE(DONE, done_since_0),
    CASE(DONE, done_since_high),
    CASE(DONE, done_chunk_twice),
    CASE(DONE, done_chunk_high),
    CASE(DONE, done_lists_differ),
    CASE(DONE, done_counts_none),
    CASE(DONE, done_too_many),
    CASE(DRAIN, drain_reason_long),
    CASE(DRAIN, drain_reason_dirty),
    CASE(BYE, bye_reason_long),
    CASE(BYE, bye_reason_dirty),
    CASE(FAULT, fault_run_0),
    CASE(FAULT, fault_code_0),
    CASE(FAULT, fault_text_long),
    CASE(FAULT, fault_text_dirty),
    CASE(ATTACH, attach_session),
    CASE(GET, get_no_object),
    CASE(GET, get_kind_0),
    CASE(GET, get_kind_4),
    CASE(GET, get_digest_none),
    CASE(GET, get_digest_short),
    CASE(GET, get_data_run),
    CASE(GET, get_data_step),
    CASE(GET, get_data_unit),
    CASE(GET, get_length_0),
    CASE(GET, get_length_long),
    CASE(GET, get_offset),
    CASE(PART, part_no_object),
    CASE(PART, part_run_0),
    CASE(PART, part_no_tensor),
    CASE(PART, part_two_tensors),
    CASE(PART, part_five_tensors),
    CASE(PART, part_dtype_f32),
    CASE(PART, part_dtype_0),
    CASE(PART, part_dtype_4),
    CASE(PART, part_elements_0),
    CASE(PART, part_elements_many),
    CASE(PART, part_tensor_digest),
    CASE(PART, part_total_0),
    CASE(PART, part_total_huge),
    CASE(PART, part_offset_past),
    CASE(PART, part_reaches_past),
    CASE(PART, part_offset_wraps),
    CASE(GONE, gone_no_object),
    CASE(GONE, gone_unit_of_params),
    CASE(GONE, gone_text_long),
    CASE(GONE, gone_text_dirty),
    CASE(WELCOME, welcome_lease_0),
    CASE(WELCOME, welcome_lease_long),
    CASE(WELCOME, welcome_beat_0),
    CASE(WELCOME, welcome_beat_long),
    CASE(WELCOME, welcome_name_empty),
    CASE(WELCOME, welcome_name_long),
    CASE(REFUSED, refused_code_0),
    CASE(REFUSED, refused_retry),
    CASE(REFUSED, refused_text_long),
    CASE(REFUSED, refused_text_dirty),
    CASE(RUN, run_0),
    CASE(RUN, run_name_empty),
    CASE(RUN, run_name_long),
    CASE(RUN, run_steps_0),
    CASE(RUN, run_steps_many),
    CASE(RUN, run_no_model),
    CASE(RUN, run_no_data),
    CASE(RUN, run_no_batch),
    CASE(RUN, run_type_0),
    CASE(RUN, run_type_4),
    CASE(RUN, run_dim_0),
    CASE(RUN, run_dim_large),
    CASE(RUN, run_dim_uneven),
    CASE(RUN, run_dim_odd_head),
    CASE(RUN, run_layers_0),
    CASE(RUN, run_layers_many),
    CASE(RUN, run_heads_0),
    CASE(RUN, run_heads_many),
    CASE(RUN, run_kv_0),
    CASE(RUN, run_kv_many),
    CASE(RUN, run_kv_uneven),
    CASE(RUN, run_hidden_0),
    CASE(RUN, run_hidden_large),
    CASE(RUN, run_context_0),
    CASE(RUN, run_context_large),
    CASE(RUN, run_vocab_1),
    CASE(RUN, run_vocab_large),
    CASE(RUN, run_tied),
    CASE(RUN, run_theta_0),
    CASE(RUN, run_theta_negative),
    CASE(RUN, run_theta_nan),
    CASE(RUN, run_theta_inf),
    CASE(RUN, run_rope_type),
    CASE(RUN, run_rope_factor_nan),
    CASE(RUN, run_rope_factor_small),
    CASE(RUN, run_rope_low_0),
    CASE(RUN, run_rope_high_below_low),
    CASE(RUN, run_rope_context_0),
    CASE(RUN, run_rope_linear_with_freqs),
    CASE(RUN, run_rope_none_with_factor),
    CASE(RUN, run_eps_1),
    CASE(RUN, run_eps_negative),
    CASE(RUN, run_eps_nan),
    CASE(RUN, run_llama_inputs),
    CASE(RUN, run_llama_classes),
    CASE(RUN, run_llama_widths),
    CASE(RUN, run_widths_many),
    CASE(RUN, run_mlp_with_llama),
    CASE(RUN, run_format_0),
    CASE(RUN, run_format_5),
    CASE(RUN, run_data_digest),
    CASE(RUN, run_data_0),
    CASE(RUN, run_data_huge),
    CASE(RUN, run_split_0),
    CASE(RUN, run_split_huge),
    CASE(RUN, run_chunks_0),
    CASE(RUN, run_chunks_many),
    CASE(RUN, run_samples_few),
    CASE(RUN, run_samples_many),
    CASE(RUN, run_microbatch_0),
    CASE(RUN, run_microbatch_large),
    CASE(RUN, run_models_0),
    CASE(RUN, run_models_many),
    CASE(TASK, task_run_0),
    CASE(TASK, task_step_0),
    CASE(TASK, task_step_high),
    CASE(TASK, task_round_0),
    CASE(TASK, task_since_0),
    CASE(TASK, task_round_high),
    CASE(TASK, task_since_later),
    CASE(TASK, task_params_0),
    CASE(TASK, task_params_huge),
    CASE(TASK, task_no_chunks),
    CASE(TASK, task_many_chunks),
    CASE(TASK, task_many_coefficients),
    CASE(TASK, task_chunk_high),
    CASE(TASK, task_chunk_twice),
    CASE(TASK, task_coefficients_differ),
    CASE(TASK, task_coefficient_nan),
    CASE(TASK, task_coefficient_inf),
    CASE(COMMIT, commit_no_proof),
    CASE(COMMIT, commit_run_0),
    CASE(COMMIT, commit_chain),
    CASE(RELEASE, release_run_0),
    CASE(OPERATE, operate_verb_empty),
    CASE(OPERATE, operate_verb_long),
    CASE(OPERATE, operate_verb_upper),
    CASE(OPERATE, operate_verb_nul),
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

/* What `sent` packs to, as generated structs that may be written to until the next call. */
static Brg__Pb__Envelope *generated_copy(void) {
    static ProtobufCAllocator allocator = {copy_alloc, copy_free, NULL};
    size_t size_bytes = 0;
    copy_used = 0;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    Brg__Pb__Envelope *e = brg__pb__envelope__unpack(&allocator, size_bytes, packed);
    assert_non_null(e);
    return e;
}

static void wire_each_invalid_value__is_refused_and_out_untouched(void **state) {
    (void)state;
    static Brg__Pb__Tensor tensor = BRG__PB__TENSOR__INIT;
    memset(long_text, 'x', sizeof long_text);
    for (uint32_t i = 0; i < 1025; i++) {
        many_u32[i] = i;
        many_doubles[i] = 1;
        many_u64[i] = 1;
    }
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
        const struct spoiler *s = &spoilers[i];
        tensor.dtype = BRG_DTYPE_BYTES;
        tensor.elements = 1;
        tensor.digest = xs(32);
        one_tensor[0] = &tensor;
        sample(s->type, &sent);
        Brg__Pb__Envelope *spoilt = generated_copy();
        s->spoil(spoilt);
        const size_t size_bytes = brg__pb__envelope__pack(spoilt, packed);
        watch_got();
        const char *why = NULL;
        assert_refused(brg_wire_unpack(packed, size_bytes, scratch, sizeof scratch, &got, &why),
                       s->what);
        assert_non_null(why);
    }
    print_message("%zu invalid values refused\n", sizeof spoilers / sizeof spoilers[0]);
}

static void wire_classifiers__are_checked_by_their_own_ranges(void **state) {
    (void)state;
    size_t size_bytes = 0;
    const struct brg_msg_model mlp = {
        .type = 2, .inputs = 784, .classes = 10, .width_count = 2, .widths = {128, 64}};
    sample(BRG_MSG_RUN, &sent);
    sent.run.model = mlp;
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    assert_int_equal(unpack(size_bytes), BRG_OK);
    assert_same_messages();
    const struct brg_msg_model wrong[] = {
        {.type = 2, .inputs = 784, .classes = 10},
        {.type = 2, .inputs = 0, .classes = 10, .width_count = 1, .widths = {1}},
        {.type = 2, .inputs = 16777217, .classes = 10, .width_count = 1, .widths = {1}},
        {.type = 2, .inputs = 784, .classes = 1, .width_count = 1, .widths = {1}},
        {.type = 2, .inputs = 784, .classes = 65537, .width_count = 1, .widths = {1}},
        {.type = 2, .inputs = 784, .classes = 10, .width_count = 2, .widths = {128, 0}},
        {.type = 2, .inputs = 784, .classes = 10, .width_count = 2, .widths = {128, 1048577}},
        {.type = 2, .inputs = 784, .classes = 10, .width_count = 1, .widths = {1}, .tied = 1},
        {.type = 3, .inputs = 784, .classes = 10, .width_count = 1, .widths = {1}},
        {.type = 3, .inputs = 784, .classes = 10, .norm_eps = 1e-5f},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sent.run.model = wrong[i];
        assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_EINVAL);
    }
    sent.run.model = (struct brg_msg_model){.type = 3, .inputs = 784, .classes = 10};
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
}

/* A field with number 77 behind the packed bytes, in every message but two. */
static void wire_unknown_field__is_refused_except_in_hello_and_refused(void **state) {
    (void)state;
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        size_t size_bytes = 0;
        sample(sample_types[i], &sent);
        assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
        packed[size_bytes++] = 0xe8; /* 77 << 3, varint */
        packed[size_bytes++] = 0x04;
        packed[size_bytes++] = 0x01;
        watch_got();
        const int rc = unpack(size_bytes);
        if (sent.type == BRG_MSG_HELLO || sent.type == BRG_MSG_REFUSED) {
            assert_int_equal(rc, BRG_OK);
        } else {
            assert_refused(rc, brg_msg_name(sent.type));
        }
    }
}

static void wire_other_protocol_version__can_still_say_hello_and_refused(void **state) {
    (void)state;
    static const uint32_t types[] = {BRG_MSG_HELLO, BRG_MSG_REFUSED};
    for (size_t i = 0; i < 2; i++) {
        sample(types[i], &sent);
        Brg__Pb__Envelope *e = generated_copy();
        e->protocol = BRG_PROTOCOL + 6;
        if (types[i] == BRG_MSG_HELLO) e->hello->protocol = BRG_PROTOCOL + 6;
        const size_t size_bytes = brg__pb__envelope__pack(e, packed);
        assert_int_equal(unpack(size_bytes), BRG_OK);
        assert_int_equal(got.protocol, BRG_PROTOCOL + 6);
    }
}

static void wire_unknown_body_type__is_refused(void **state) {
    (void)state;
    /* the protocol, then field 90 (no message of ours) holding an empty message */
    static const uint8_t bytes[] = {0x08, BRG_PROTOCOL, 0xd2, 0x05, 0x00};
    memcpy(packed, bytes, sizeof bytes);
    watch_got();
    assert_refused(unpack(sizeof bytes), "field 90");
}

static void wire_cut_or_foreign_bytes__are_refused(void **state) {
    (void)state;
    size_t size_bytes = 0;
    sample(BRG_MSG_RUN, &sent);
    assert_int_equal(brg_wire_pack(&sent, packed, sizeof packed, &size_bytes), BRG_OK);
    for (size_t i = 0; i < size_bytes; i++) {
        watch_got();
        assert_refused(unpack(i), "a cut message");
    }
    memset(packed, 0xff, 64);
    watch_got();
    assert_refused(unpack(64), "all ones");
    memset(packed, 0, sizeof packed);
    assert_refused(
        brg_wire_unpack(packed, BRG_ENVELOPE_BYTES_MAX + 1, scratch, sizeof scratch, &got, NULL),
        "longer than 1 MiB");
}

/* The three ways to make unpacking cost many times the bytes received. */
static void wire_amplifying_messages__stop_at_the_budget(void **state) {
    (void)state;
    const struct {
        const char *what;
        uint8_t bytes[2];
    } cases[] = {
        {"empty tensors", {0x1a, 0x00}},
        {"unknown fields", {0x28, 0x01}},
        {"one body again and again", {0x52, 0x00}},
    };
    for (size_t i = 0; i < 3; i++) {
        for (size_t at = 0; at < BRG_ENVELOPE_BYTES_MAX; at += 2) {
            memcpy(packed + at, cases[i].bytes, 2);
        }
        watch_got();
        const char *why = NULL;
        const int rc =
            brg_wire_unpack(packed, BRG_ENVELOPE_BYTES_MAX, scratch, sizeof scratch, &got, &why);
        assert_true(rc == BRG_ENOMEM || rc == BRG_EPROTO);
        assert_memory_equal(&got, &before, sizeof got);
        if (i != 0) continue;
        assert_int_equal(rc, BRG_ENOMEM);
        assert_non_null(strstr(why, "budget"));
        /* The budget goes with the bytes received, not with the memory there is. */
        assert_int_equal(brg_wire_unpack(packed, 65536, scratch, sizeof scratch, &got, &why),
                         BRG_ENOMEM);
    }
}

static void wire_schema__has_no_message_that_holds_itself(void **state) {
    (void)state;
    assert_int_equal(brg_wire_has_recursion(), 0);
}

static void wire_frames__must_be_those_declared(void **state) {
    (void)state;
    sample(BRG_MSG_PART, &sent);
    struct brg_bytes frames[2] = {{sample_data, sizeof sample_data}, {sample_data, 1}};
    assert_int_equal(brg_wire_check_frames(&sent, frames, 1), BRG_OK);
    assert_int_equal(brg_wire_check_frames(&sent, frames, 0), BRG_EPROTO);
    assert_int_equal(brg_wire_check_frames(&sent, frames, 2), BRG_EPROTO);
    assert_int_equal(brg_wire_verify_tensor(&sent.tensors[0], frames[0]), BRG_OK);
    frames[0].size_bytes--;
    assert_int_equal(brg_wire_check_frames(&sent, frames, 1), BRG_EPROTO);
    assert_int_equal(brg_wire_verify_tensor(&sent.tensors[0], frames[0]), BRG_EPROTO);
    char other[sizeof sample_data];
    memcpy(other, sample_data, sizeof other);
    other[3] ^= 1;
    frames[0] = (struct brg_bytes){other, sizeof other};
    assert_int_equal(brg_wire_verify_tensor(&sent.tensors[0], frames[0]), BRG_EPROTO);

    struct brg_tensor t;
    static const float values[3] = {1, 2, 3};
    brg_wire_describe_tensor(BRG_DTYPE_F32, values, 3, &t);
    assert_int_equal(brg_wire_verify_tensor(&t, (struct brg_bytes){values, 12}), BRG_OK);
    assert_int_equal(brg_dtype_bytes(BRG_DTYPE_F32), 4);
    assert_int_equal(brg_dtype_bytes(BRG_DTYPE_U16), 2);
    assert_int_equal(brg_dtype_bytes(BRG_DTYPE_BYTES), 1);
    assert_int_equal(brg_dtype_bytes(0), 0);
}

static void text_set__makes_anything_fit_to_send(void **state) {
    (void)state;
    char out[BRG_TEXT_BYTES_MAX + 1];
    char many[1200];
    brg_text_set(out, "%s", "plain");
    assert_string_equal(out, "plain");
    brg_text_set(out, "a\nb\x1b[2J%s\xc3\xa9", "\xff");
    assert_string_equal(out, "a?b?[2J?\xc3\xa9");
    /* 255 bytes and then a character of two: it is left out whole. */
    memset(many, 'x', sizeof many);
    memcpy(many + 255, "\xc3\xa9yyy", 6);
    brg_text_set(out, "%s", many);
    assert_int_equal(strlen(out), 255);
    memset(many, 'x', sizeof many);
    many[sizeof many - 1] = '\0';
    brg_text_set(out, "%s", many);
    assert_int_equal(strlen(out), BRG_TEXT_BYTES_MAX);
    assert_true(brg_text_valid((const uint8_t *)out, strlen(out)));
    assert_true(brg_text_valid((const uint8_t *)"\xf4\x8f\xbf\xbf", 4));
    assert_false(brg_text_valid((const uint8_t *)"\xf4\x90\x80\x80", 4));
    assert_false(brg_text_valid((const uint8_t *)"\xe0\x9f\x80", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_every_message__comes_back_as_it_was),
        cmocka_unit_test(wire_largest_messages__fit),
        cmocka_unit_test(wire_buffer_too_small__is_refused_and_not_overrun),
        cmocka_unit_test(wire_not_finite_loss__comes_through_since_a_diverged_model_has_one),
        cmocka_unit_test(wire_each_invalid_value__is_refused_and_out_untouched),
        cmocka_unit_test(wire_classifiers__are_checked_by_their_own_ranges),
        cmocka_unit_test(wire_unknown_field__is_refused_except_in_hello_and_refused),
        cmocka_unit_test(wire_other_protocol_version__can_still_say_hello_and_refused),
        cmocka_unit_test(wire_unknown_body_type__is_refused),
        cmocka_unit_test(wire_cut_or_foreign_bytes__are_refused),
        cmocka_unit_test(wire_amplifying_messages__stop_at_the_budget),
        cmocka_unit_test(wire_schema__has_no_message_that_holds_itself),
        cmocka_unit_test(wire_frames__must_be_those_declared),
        cmocka_unit_test(text_set__makes_anything_fit_to_send),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL) != 0;
}
