/* test_parity - one stage of a group out of the XOR and the others, to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "recovery/parity.h"

#define G 3u
#define LONGEST 1003u

static const uint64_t sizes[G] = {517, LONGEST, 64};

struct group {
    uint8_t bytes[G][LONGEST], parity[LONGEST];
    struct brg_parity_part parts[G], whole;
};

static void fill(uint8_t *out, uint64_t size_bytes, uint64_t seed) {
    struct brg_prng g = {.state = seed};
    for (uint64_t i = 0; i < size_bytes; i++) out[i] = (uint8_t)brg_prng_next(&g);
}

static void group_new(struct group *g) {
    memset(g, 0, sizeof *g);
    for (uint32_t i = 0; i < G; i++) {
        fill(g->bytes[i], sizes[i], i + 1);
        brg_parity_add(g->parity, LONGEST, g->bytes[i], sizes[i]);
        g->parts[i] = (struct brg_parity_part){g->bytes[i], sizes[i], 30};
    }
    g->whole = (struct brg_parity_part){g->parity, LONGEST, 30};
}

static void rebuild_each(const struct group *g) {
    for (uint32_t lost = 0; lost < G; lost++) {
        struct brg_parity_part parts[G];
        uint8_t out[LONGEST];
        memcpy(parts, g->parts, sizeof parts);
        memset(out, 0xee, sizeof out);
        parts[lost].bytes = NULL;
        assert_int_equal(brg_parity_rebuild(&g->whole, parts, G, out), BRG_OK);
        assert_memory_equal(out, g->bytes[lost], sizes[lost]);
        for (uint64_t i = sizes[lost]; i < LONGEST; i++) assert_int_equal(out[i], 0xee);
    }
}

static void parity_rebuild__gives_back_any_member_of_unequal_size_to_the_bit(void **state) {
    (void)state;
    struct group g;
    group_new(&g);
    rebuild_each(&g);
}

static void parity_deltas__move_the_parity_to_the_next_version(void **state) {
    (void)state;
    struct group g;
    group_new(&g);
    for (uint32_t i = 0; i < G; i++) {
        uint8_t next[LONGEST], delta[LONGEST];
        fill(next, sizes[i], 100 + i);
        brg_parity_delta(g.bytes[i], next, sizes[i], delta);
        brg_parity_add(g.parity, LONGEST, delta, sizes[i]);
        memcpy(g.bytes[i], next, sizes[i]);
        g.parts[i].version = 31;
    }
    g.whole.version = 31;
    rebuild_each(&g);
    for (uint32_t i = 0; i < G; i++) brg_parity_add(g.parity, LONGEST, g.bytes[i], sizes[i]);
    for (uint32_t i = 0; i < LONGEST; i++) assert_int_equal(g.parity[i], 0);
}

static void parity_rebuild__refuses_two_losses_none_and_mixed_versions(void **state) {
    (void)state;
    struct group g;
    uint8_t out[LONGEST], untouched[LONGEST];
    group_new(&g);
    memset(out, 0xee, sizeof out);
    memcpy(untouched, out, sizeof out);
    assert_int_equal(brg_parity_rebuild(&g.whole, g.parts, G, out), BRG_ERANK);
    g.parts[0].bytes = NULL;
    g.parts[1].bytes = NULL;
    assert_int_equal(brg_parity_rebuild(&g.whole, g.parts, G, out), BRG_ERANK);
    g.parts[1].bytes = g.bytes[1];
    g.parts[1].version = 29;
    assert_int_equal(brg_parity_rebuild(&g.whole, g.parts, G, out), BRG_EINVAL);
    g.parts[1].version = 30;
    g.parts[0].size_bytes = LONGEST + 1;
    assert_int_equal(brg_parity_rebuild(&g.whole, g.parts, G, out), BRG_EINVAL);
    assert_memory_equal(out, untouched, sizeof out);
}

static void parity_groups__hold_no_neighbours_and_are_kept_outside(void **state) {
    (void)state;
    for (uint32_t stages = 2; stages <= BRG_PARITY_STAGES_MAX; stages++) {
        for (uint32_t size = 1; size <= stages; size++) {
            const uint32_t groups = brg_parity_groups(stages, size);
            uint32_t members[BRG_PARITY_STAGES_MAX] = {0};
            for (uint32_t s = 0; s < stages; s++) members[s % groups]++;
            for (uint32_t q = 0; q < groups; q++) {
                assert_in_range(members[q], 1, size);
                const uint32_t holder = brg_parity_holder(stages, size, q);
                if (groups == 1)
                    assert_int_equal(holder, stages);
                else
                    assert_int_not_equal(holder % groups, q);
                assert_true(groups == 1 || holder < stages);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parity_rebuild__gives_back_any_member_of_unequal_size_to_the_bit),
        cmocka_unit_test(parity_deltas__move_the_parity_to_the_next_version),
        cmocka_unit_test(parity_rebuild__refuses_two_losses_none_and_mixed_versions),
        cmocka_unit_test(parity_groups__hold_no_neighbours_and_are_kept_outside),
    };
    return cmocka_run_group_tests_name("parity", tests, NULL, NULL) != 0;
}
