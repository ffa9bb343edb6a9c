/* test_objects - the names of what workers of a pipeline fetch from each other, over the wire; and
 * the list of keys that a placement lets in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdalign.h>
#include <string.h>

#include "proto/bulk.h"
#include "proto/transport.h"
#include "proto/wire.h"

static struct brg_msg sent, got;
static uint8_t packed[BRG_ENVELOPE_BYTES_MAX];
static alignas(16) uint8_t scratch[BRG_WIRE_SCRATCH_BYTES];

/* How many indices each kind has. */
static const uint32_t index_max[] = {[BRG_OBJECT_ACT] = BRG_LINE_ACTS_MAX,
                                     [BRG_OBJECT_GRAD] = BRG_LINE_MICROBATCHES_MAX,
                                     [BRG_OBJECT_LANE] = BRG_LINE_LANES_MAX,
                                     [BRG_OBJECT_STATE] = BRG_STATE_PARTS_MAX};

/* A Get of such an object in `sent`, with its highest index. */
static struct brg_object *get_of(uint32_t kind) {
    memset(&sent, 0, sizeof sent);
    sent.type = BRG_MSG_GET;
    sent.get.length = 1;
    sent.get.object = (struct brg_object){.kind = kind, .run = 7, .step = 12, .unit = 5};
    if (kind >= BRG_OBJECT_ACT) {
        sent.get.object.microbatch = index_max[kind] - 1;
        sent.get.object.generation = kind == BRG_OBJECT_STATE ? 0 : 9;
    }
    return &sent.get.object;
}

/* Packs what no checks were made of, and unpacks it. */
static int through(void) {
    size_t size_bytes = 0;
    const int rc = brg_wire_pack(&sent, packed, sizeof packed, &size_bytes);
    if (rc != BRG_OK) return rc;
    return brg_wire_unpack(packed, size_bytes, scratch, sizeof scratch, &got, NULL);
}

static void objects_of_a_pipeline__come_back_as_they_were(void **state) {
    (void)state;
    for (uint32_t kind = BRG_OBJECT_ACT; kind <= BRG_OBJECT_STATE; kind++) {
        (void)get_of(kind);
        sent.get.peer = 4;
        assert_int_equal(through(), BRG_OK);
        assert_true(brg_object_equal(&got.get.object, &sent.get.object));
        assert_int_equal(got.get.peer, 4);
        const struct brg_object object = sent.get.object;
        sent.type = BRG_MSG_GONE;
        sent.gone = (struct brg_msg_gone){.object = object, .text = "over", .peer = 5};
        assert_int_equal(through(), BRG_OK);
        assert_true(brg_object_equal(&got.gone.object, &object));
        assert_int_equal(got.gone.peer, 5);
        sent.type = BRG_MSG_PART;
        sent.tensor_count = 1;
        sent.tensors[0] = (struct brg_tensor){.dtype = BRG_DTYPE_BYTES, .elements = 3};
        sent.part = (struct brg_msg_part){.object = object, .total = 3, .peer = 6};
        assert_int_equal(through(), BRG_OK);
        assert_true(brg_object_equal(&got.part.object, &object));
        assert_int_equal(got.part.peer, 6);
    }
}

static void objects_of_held_out_microbatches__do_not_meet_those_of_the_step(void **state) {
    (void)state;
    assert_int_equal(brg_line_eval_index(0, 0), BRG_LINE_MICROBATCHES_MAX);
    assert_int_equal(brg_line_eval_index(1, 0), brg_line_eval_index(0, BRG_LINE_EVAL_MAX - 1) + 1);
    assert_int_equal(brg_line_eval_index(BRG_LINE_CANDIDATES_MAX - 1, BRG_LINE_EVAL_MAX - 1),
                     BRG_LINE_ACTS_MAX - 1);
    assert_int_equal(BRG_STATE_PART_SLICE_INT8 - BRG_STATE_PART_SLICE, BRG_LINE_EVERY_MAX);
    assert_int_equal(BRG_STATE_PARTS_MAX, BRG_STATE_PART_SLICE_INT8 + BRG_LINE_EVERY_MAX);
}

static void objects_of_any_version__are_states(void **state) {
    (void)state;
    get_of(BRG_OBJECT_STATE)->step = BRG_VERSION_ANY;
    assert_int_equal(through(), BRG_OK);
    assert_true(got.get.object.step == BRG_VERSION_ANY);
}

static void objects_that_differ_in_any_field__are_not_equal(void **state) {
    (void)state;
    const struct brg_object a = *get_of(BRG_OBJECT_ACT);
    struct brg_object b = a;
    assert_true(brg_object_equal(&a, &b));
    b.microbatch--;
    assert_false(brg_object_equal(&a, &b));
    b = a;
    b.generation++;
    assert_false(brg_object_equal(&a, &b));
}

static void objects_out_of_their_ranges__are_refused(void **state) {
    (void)state;
    get_of(BRG_OBJECT_ACT)->generation = 0;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_GRAD)->generation = BRG_GENERATIONS_MAX + 1;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_STATE)->generation = 1;
    assert_int_equal(through(), BRG_EINVAL);
    for (uint32_t kind = BRG_OBJECT_ACT; kind <= BRG_OBJECT_STATE; kind++) {
        get_of(kind)->microbatch = index_max[kind];
        assert_int_equal(through(), BRG_EINVAL);
    }
    get_of(BRG_OBJECT_ACT)->step = BRG_VERSION_ANY; /* a step is never just any */
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_LANE)->unit = BRG_OBJECT_STAGES_MAX;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_LANE)->run = 0;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_STATE)->step = BRG_STEPS_MAX + 1;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_STATE)->kind = BRG_OBJECT_STATE + 1;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_SHARE)->generation = 1;
    assert_int_equal(through(), BRG_EINVAL);
    get_of(BRG_OBJECT_SHARE)->microbatch = 1;
    assert_int_equal(through(), BRG_EINVAL);
    (void)get_of(BRG_OBJECT_SHARE);
    assert_int_equal(through(), BRG_OK);
}

static void zap_replaced_list__lets_in_its_keys_and_no_other(void **state) {
    (void)state;
    const struct brg_zap_config config = {.keys_max = 3, .allow_only = 1};
    struct brg_transport *t = NULL;
    struct brg_zap *zap = NULL;
    struct brg_key keys[4];
    struct brg_zap_stats stats;
    assert_true(sodium_init() >= 0);
    randombytes_buf(keys, sizeof keys);
    assert_int_equal(brg_transport_create(&t, NULL), BRG_OK);
    assert_int_equal(brg_zap_create(t, &config, &zap, NULL), BRG_OK);
    const struct brg_key first[3] = {keys[2], keys[0], keys[2]}; /* one of them twice */
    assert_int_equal(brg_zap_replace(zap, first, 3), BRG_OK);
    brg_zap_stats_read(zap, &stats);
    assert_int_equal(stats.keys, 2);
    assert_true(brg_zap_permits(zap, &keys[0]) && brg_zap_permits(zap, &keys[2]));
    assert_false(brg_zap_permits(zap, &keys[1]) || brg_zap_permits(zap, &keys[3]));
    assert_int_equal(brg_zap_replace(zap, keys, 4), BRG_EFULL);
    assert_true(brg_zap_permits(zap, &keys[2])); /* as before */
    assert_int_equal(brg_zap_deny(zap, &keys[2]), BRG_OK);
    assert_int_equal(brg_zap_replace(zap, keys + 1, 2), BRG_OK);
    assert_true(brg_zap_permits(zap, &keys[1]) && brg_zap_permits(zap, &keys[2]));
    assert_false(brg_zap_permits(zap, &keys[0]));
    assert_int_equal(brg_zap_replace(zap, NULL, 0), BRG_OK);
    assert_false(brg_zap_permits(zap, &keys[1]));
    brg_zap_destroy(&zap);
    brg_transport_destroy(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_of_a_pipeline__come_back_as_they_were),
        cmocka_unit_test(objects_of_held_out_microbatches__do_not_meet_those_of_the_step),
        cmocka_unit_test(objects_of_any_version__are_states),
        cmocka_unit_test(objects_that_differ_in_any_field__are_not_equal),
        cmocka_unit_test(objects_out_of_their_ranges__are_refused),
        cmocka_unit_test(zap_replaced_list__lets_in_its_keys_and_no_other),
    };
    return cmocka_run_group_tests_name("objects", tests, NULL, NULL) != 0;
}
