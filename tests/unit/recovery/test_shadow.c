/* test_shadow - slices, what a holder has of a stage, and how old it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "recovery/shadow.h"

static void shadow_slices__cover_the_stage_once_in_every_k_steps(void **state) {
    (void)state;
    const uint64_t sizes[] = {0, 1, 15, 16, 17, 1000, 47233};
    const uint32_t everies[] = {1, 2, 7, 50, BRG_SHADOW_EVERY_MAX};
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (uint32_t k = 0; k < sizeof everies / sizeof *everies; k++) {
            const uint32_t every = everies[k];
            uint64_t at = 0, most = 0;
            for (uint32_t step = 1; step <= every; step++) {
                const struct brg_shadow_slice s = brg_shadow_due(sizes[i], every, step);
                assert_int_equal(s.index, step - 1);
                assert_int_equal(s.begin, at);
                if (s.end < sizes[i]) assert_int_equal(s.end % BRG_SHADOW_ALIGN, 0);
                if (s.end - s.begin > most) most = s.end - s.begin;
                at = s.end;
            }
            assert_int_equal(at, sizes[i]);
            assert_true(most <= sizes[i] / every + 2 * BRG_SHADOW_ALIGN); /* constant traffic */
            assert_int_equal(brg_shadow_due(sizes[i], every, every + 1).index, 0);
        }
    }
}

static void shadow_copy__is_whole_after_k_steps_and_never_older_than_that(void **state) {
    (void)state;
    struct brg_shadow_copy c;
    brg_shadow_begin(&c, 10);
    assert_false(brg_shadow_complete(&c));
    assert_true(brg_shadow_staleness(&c, 5) == UINT64_MAX);
    for (uint64_t v = 4; v < 60; v++) { /* begun in mid-run */
        assert_int_equal(brg_shadow_take(&c, brg_shadow_due(1000, 10, v).index, v), 1);
        assert_int_equal(brg_shadow_complete(&c), v >= 13);
        if (v < 13) continue;
        assert_int_equal(brg_shadow_oldest(&c), v - 9);
        assert_int_equal(brg_shadow_staleness(&c, v), 9);
    }
}

static void shadow_slice_again_late_or_wrong__changes_nothing(void **state) {
    (void)state;
    struct brg_shadow_copy c;
    brg_shadow_begin(&c, 2);
    assert_int_equal(brg_shadow_take(&c, 0, 7), 1);
    assert_int_equal(brg_shadow_take(&c, 0, 7), 0);
    assert_int_equal(brg_shadow_take(&c, 0, 5), 0);
    assert_int_equal(c.version[0], 7);
    assert_int_equal(brg_shadow_take(&c, 2, 8), BRG_EPROTO);
    assert_int_equal(brg_shadow_take(&c, 1, 0), BRG_EPROTO);
    assert_int_equal(brg_shadow_take(&c, 1, 8), 1);
    assert_int_equal(brg_shadow_staleness(&c, 8), 1);
    assert_true(brg_shadow_staleness(&c, 7) == UINT64_MAX); /* of a step that was undone */
}

static void shadow_holder__is_not_adjacent_from_four_stages_on(void **state) {
    (void)state;
    for (uint32_t stages = 1; stages <= 64; stages++) {
        for (uint32_t s = 0; s < stages; s++) {
            const uint32_t h = brg_shadow_holder(stages, s);
            assert_true(h < stages);
            if (stages > 1) assert_int_not_equal(h, s);
            if (stages >= 4) assert_true(h > s + 1 || h + 1 < s);
        }
    }
}

#define N 1000u

/* Weights that wander, as under training; large and tiny ones side by side. */
static void wander(float *x, uint64_t round) {
    struct brg_prng g = {.state = round};
    for (uint32_t i = 0; i < N; i++)
        x[i] += (float)(brg_prng_unit(&g) - 0.5) * (i % 100 == 0 ? 0.1f : 0.001f);
}

static void shadow_packed_changes__keep_both_ends_alike_and_near_the_weights(void **state) {
    (void)state;
    float now[N] = {0}, mirror[N] = {0}, copy[N] = {0}, before[N];
    uint8_t packed[4 * ((N + 63) / 64) + N];
    assert_int_equal(brg_shadow_packed_bytes(N), sizeof packed);
    for (uint64_t round = 1; round <= 200; round++) {
        wander(now, round);
        memcpy(before, mirror, sizeof before);
        assert_int_equal(brg_shadow_pack(now, mirror, N, packed), BRG_OK);
        assert_int_equal(brg_shadow_unpack(packed, sizeof packed, copy, N), BRG_OK);
        assert_memory_equal(copy, mirror, sizeof copy);
        for (uint32_t b = 0; b < N; b += BRG_SHADOW_BLOCK) {
            const uint32_t end = b + BRG_SHADOW_BLOCK < N ? b + BRG_SHADOW_BLOCK : N;
            double most = 0;
            for (uint32_t i = b; i < end; i++) {
                const double d = (double)now[i] - (double)before[i];
                if (d > most || -d > most) most = d < 0 ? -d : d;
            }
            for (uint32_t i = b; i < end; i++) {
                const double error = (double)now[i] - (double)copy[i];
                assert_true(error <= most / 254 * 1.001 + 1e-7);
                assert_true(-error <= most / 254 * 1.001 + 1e-7);
            }
        }
    }
    for (uint32_t round = 0; round < 4; round++) /* standing still, what is left over follows */
        assert_int_equal(brg_shadow_pack(now, mirror, N, packed), BRG_OK);
    for (uint32_t i = 0; i < N; i++) assert_float_equal(mirror[i], now[i], 1e-8f);
}

static void shadow_packed_garbage__is_refused_whole(void **state) {
    (void)state;
    float now[N] = {0}, mirror[N] = {0}, copy[N] = {0};
    const float zero[N] = {0};
    uint8_t packed[4 * ((N + 63) / 64) + N];
    wander(now, 1);
    assert_int_equal(brg_shadow_pack(now, mirror, N, packed), BRG_OK);
    assert_int_equal(brg_shadow_unpack(packed, sizeof packed - 1, copy, N), BRG_EPROTO);
    assert_int_equal(brg_shadow_unpack(packed, sizeof packed, copy, N - 1), BRG_EPROTO);
    const uint8_t nan[4] = {0, 0, 0xc0, 0x7f}, negative[4] = {0, 0, 0x80, 0xbf};
    memcpy(packed + 15 * (4 + BRG_SHADOW_BLOCK), nan, 4); /* in the last block */
    assert_int_equal(brg_shadow_unpack(packed, sizeof packed, copy, N), BRG_EPROTO);
    memcpy(packed + 15 * (4 + BRG_SHADOW_BLOCK), negative, 4);
    assert_int_equal(brg_shadow_unpack(packed, sizeof packed, copy, N), BRG_EPROTO);
    assert_memory_equal(copy, zero, sizeof copy);
    memcpy(&now[77], nan, 4);
    assert_int_equal(brg_shadow_pack(now, mirror, N, packed), BRG_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shadow_slices__cover_the_stage_once_in_every_k_steps),
        cmocka_unit_test(shadow_copy__is_whole_after_k_steps_and_never_older_than_that),
        cmocka_unit_test(shadow_slice_again_late_or_wrong__changes_nothing),
        cmocka_unit_test(shadow_packed_changes__keep_both_ends_alike_and_near_the_weights),
        cmocka_unit_test(shadow_packed_garbage__is_refused_whole),
        cmocka_unit_test(shadow_holder__is_not_adjacent_from_four_stages_on),
    };
    return cmocka_run_group_tests_name("shadow", tests, NULL, NULL) != 0;
}
