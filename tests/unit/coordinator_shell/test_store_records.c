#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/shell/records.h"

/* Every byte another one, so that two fields that change places show. */
static void number_bytes(void *at, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)at)[i] = (uint8_t)(i * 7 + 1);
}

static struct brg_record_step step_record(void) {
    struct brg_record_step r = {.run = 1, .step = 2, .epoch = 3, .log_segment = 4, .log_offset = 5};
    r.log_bytes = 6;
    number_bytes(r.gradient.bytes, sizeof r.gradient.bytes);
    r.loss_sum = -0.0;
    r.count = UINT64_MAX;
    r.lr = 3e-3;
    r.norm = 1e300;
    r.committed_ns = UINT64_C(0x0123456789abcdef);
    r.round_ns = 7;
    r.attempt = 8;
    r.used_count = 9;
    r.waited = 1;
    number_bytes(r.used, sizeof r.used);
    number_bytes(r.previous.bytes, sizeof r.previous.bytes);
    brg_record_step_digest(&r, &r.digest);
    return r;
}

static void records_step__comes_back_and_is_little_endian(void **state) {
    (void)state;
    uint8_t packed[BRG_RECORD_STEP_BYTES], again[BRG_RECORD_STEP_BYTES];
    struct brg_record_step r = step_record(), back;
    assert_int_equal(brg_record_step_pack(&r, packed), sizeof packed);
    assert_int_equal(packed[0], BRG_RECORD_VERSION);
    assert_int_equal(packed[1], 1); /* run, lowest byte first */
    assert_int_equal(packed[9], 2);
    assert_int_equal(brg_record_step_unpack(packed, sizeof packed, &back), BRG_OK);
    assert_true(back.loss_sum == 0 && back.norm == r.norm && back.lr == r.lr);
    assert_true(back.count == r.count && back.committed_ns == r.committed_ns);
    assert_memory_equal(back.used, r.used, sizeof r.used);
    assert_int_equal(brg_record_step_pack(&back, again), sizeof again);
    assert_memory_equal(packed, again, sizeof packed);
}

static void records_step_digest__covers_every_byte_but_its_own(void **state) {
    (void)state;
    uint8_t packed[BRG_RECORD_STEP_BYTES];
    const struct brg_record_step r = step_record();
    (void)brg_record_step_pack(&r, packed);
    for (size_t i = 1; i < sizeof packed; i++) {
        struct brg_record_step back;
        struct brg_digest digest;
        packed[i] ^= 1;
        assert_int_equal(brg_record_step_unpack(packed, sizeof packed, &back), BRG_OK);
        packed[i] ^= 1;
        brg_record_step_digest(&back, &digest);
        assert_false(brg_digest_equal(&digest, &back.digest));
    }
}

static void records_member_and_token__come_back(void **state) {
    (void)state;
    uint8_t packed[BRG_RECORD_MEMBER_BYTES], again[BRG_RECORD_MEMBER_BYTES];
    struct brg_record_member m = {.first_seen_ns = 1, .last_seen_ns = 2, .token_id = 3}, member;
    struct brg_record_token t = {.id = 1, .created_ns = 2, .expires_ns = 3}, token;
    number_bytes(m.key, sizeof m.key);
    memset(m.name, 'n', sizeof m.name - 1); /* as long as it may be */
    m.shares_used = 4;
    m.shares_rejected = 5;
    m.state = BRG_MEMBER_RECORD_QUARANTINED;
    assert_int_equal(brg_record_member_pack(&m, packed), BRG_RECORD_MEMBER_BYTES);
    assert_int_equal(brg_record_member_unpack(packed, sizeof packed, &member), BRG_OK);
    assert_string_equal(member.name, m.name);
    assert_int_equal(member.state, m.state);
    assert_int_equal(member.shares_rejected, 5);
    assert_int_equal(brg_record_member_pack(&member, again), sizeof again);
    assert_memory_equal(packed, again, sizeof packed);

    number_bytes(t.hash, sizeof t.hash);
    strcpy(t.label, "garage");
    t.uses_left = 4;
    t.revoked = 1;
    assert_int_equal(brg_record_token_pack(&t, packed), BRG_RECORD_TOKEN_BYTES);
    assert_int_equal(brg_record_token_unpack(packed, BRG_RECORD_TOKEN_BYTES, &token), BRG_OK);
    assert_memory_equal(token.hash, t.hash, sizeof t.hash);
    assert_string_equal(token.label, "garage");
    assert_true(token.expires_ns == 3 && token.uses_left == 4 && token.revoked == 1);
}

static void records_run_and_event__come_back_with_their_texts(void **state) {
    (void)state;
    static uint8_t packed[BRG_RECORD_RUN_BYTES_MAX];
    static char yaml[BRG_RECORD_YAML_BYTES_MAX];
    struct brg_record_run r = {.id = 1, .submitted_ns = 2, .ended_ns = 3, .steps = 4}, run;
    struct brg_record_event e = {.sequence = 1, .time_ns = 2, .run = 3, .kind = 4}, event;
    memset(yaml, '#', sizeof yaml);
    r.yaml = yaml;
    r.yaml_bytes = sizeof yaml;
    strcpy(r.name, "kjv");
    strcpy(r.reason, "the disk is full");
    assert_int_equal(brg_record_run_pack(&r, packed), BRG_RECORD_RUN_BYTES_MAX);
    assert_int_equal(brg_record_run_unpack(packed, BRG_RECORD_RUN_BYTES_MAX, &run), BRG_OK);
    assert_int_equal(run.yaml_bytes, sizeof yaml);
    assert_memory_equal(run.yaml, yaml, sizeof yaml);
    assert_string_equal(run.reason, r.reason);
    assert_true(run.id == 1 && run.submitted_ns == 2 && run.ended_ns == 3 && run.steps == 4);

    const size_t size = brg_record_event_pack(&e, packed); /* without a text */
    assert_int_equal(size, BRG_RECORD_EVENT_BYTES_MAX - BRG_RECORD_TEXT_BYTES_MAX);
    assert_int_equal(brg_record_event_unpack(packed, size, &event), BRG_OK);
    assert_int_equal(event.text_bytes, 0);
    assert_true(event.sequence == 1 && event.time_ns == 2 && event.run == 3 && event.kind == 4);
}

/* Damage that RocksDB's checksums let through must not become a record. */
static void records_code__comes_back_whole(void **state) {
    (void)state;
    uint8_t packed[BRG_RECORD_CODE_BYTES], again[BRG_RECORD_CODE_BYTES];
    struct brg_record_code r = {.run = 3, .step = UINT64_C(1) << 40}, back;
    uint32_t *number = &r.code.kind; /* every number of the spec another one */
    for (uint32_t i = 0; i < sizeof r.code / sizeof *number; i++) number[i] = 1000 + i;
    r.code.padding = 0;
    assert_int_equal(brg_record_code_pack(&r, packed), sizeof packed);
    assert_int_equal(brg_record_code_unpack(packed, sizeof packed, &back), BRG_OK);
    assert_memory_equal(&back, &r, sizeof r);
    assert_int_equal(brg_record_code_pack(&back, again), sizeof again);
    assert_memory_equal(again, packed, sizeof packed);
    assert_int_equal(brg_record_code_unpack(packed, sizeof packed - 1, &back), BRG_ECORRUPT);
}

static void records_short_long_or_strange__are_refused(void **state) {
    (void)state;
    uint8_t packed[BRG_RECORD_EVENT_BYTES_MAX + 1] = {0};
    struct brg_record_member m = {.state = 1}, member;
    struct brg_record_event e = {.sequence = 1, .text = "left", .text_bytes = 4}, event;
    size_t size = brg_record_event_pack(&e, packed);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(brg_record_event_unpack(packed, cut, &event), BRG_ECORRUPT);
    }
    assert_int_equal(brg_record_event_unpack(packed, size + 1, &event), BRG_ECORRUPT);
    assert_int_equal(brg_record_event_unpack(packed, size, &event), BRG_OK);
    packed[size - 5] = 0xff; /* the length of the text, upper byte */
    assert_int_equal(brg_record_event_unpack(packed, size, &event), BRG_ECORRUPT);
    assert_null(event.text);

    size = brg_record_member_pack(&m, packed);
    memset(packed + 37, 'x', BRG_RECORD_NAME_BYTES); /* a name without its NUL */
    assert_int_equal(brg_record_member_unpack(packed, size, &member), BRG_ECORRUPT);
    packed[37 + BRG_RECORD_NAME_BYTES - 1] = 0;
    assert_int_equal(brg_record_member_unpack(packed, size, &member), BRG_OK);
    packed[0] = BRG_RECORD_VERSION + 1;
    assert_int_equal(brg_record_member_unpack(packed, size, &member), BRG_ECORRUPT);
}

static void records_keys__sort_like_their_numbers(void **state) {
    (void)state;
    static const uint64_t ids[] = {0, 1, 255, 256, UINT64_C(1) << 32, UINT64_MAX};
    uint8_t before[16], after[16];
    for (uint32_t i = 1; i < 6; i++) {
        brg_record_key_step(7, ids[i - 1], before);
        brg_record_key_step(7, ids[i], after);
        assert_true(memcmp(before, after, sizeof before) < 0);
        assert_true(brg_record_key_read_u64(after + 8) == ids[i]);
        brg_record_key_step(8, 0, before);
        assert_true(memcmp(after, before, sizeof before) < 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_step__comes_back_and_is_little_endian),
        cmocka_unit_test(records_step_digest__covers_every_byte_but_its_own),
        cmocka_unit_test(records_member_and_token__come_back),
        cmocka_unit_test(records_run_and_event__come_back_with_their_texts),
        cmocka_unit_test(records_code__comes_back_whole),
        cmocka_unit_test(records_short_long_or_strange__are_refused),
        cmocka_unit_test(records_keys__sort_like_their_numbers),
    };
    return cmocka_run_group_tests_name("records", tests, NULL, NULL) != 0;
}
