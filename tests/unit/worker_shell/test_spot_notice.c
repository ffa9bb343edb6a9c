/* The machine that decides what a notice means; time is told, so nothing here waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/shell/spot_notice.h"

#include <string.h>

#define S(seconds) ((uint64_t)(seconds)*BRG_NS_PER_S)
#define DRAIN_S 25u
#define HOLD_S 60u

struct fixture {
    struct brg_spot_notice n;
    struct brg_spot_said said;
};

static int setup(void **state) {
    static struct fixture f;
    memset(&f, 0, sizeof f);
    brg_spot_notice_init(&f.n, S(DRAIN_S), S(HOLD_S));
    *state = &f;
    return 0;
}

static void nothing(struct fixture *f, uint32_t at_s) {
    const struct brg_spot_seen seen = {0};
    brg_spot_notice_step(&f->n, S(at_s), &seen, &f->said);
}

static void risk(struct fixture *f, uint32_t at_s) {
    const struct brg_spot_seen seen = {.is_risk = 1, .reason = "moved soon"};
    brg_spot_notice_step(&f->n, S(at_s), &seen, &f->said);
}

static void leave(struct fixture *f, uint32_t at_s, uint32_t deadline_s, uint32_t is_final) {
    const struct brg_spot_seen seen = {
        .is_leave = 1, .is_final = is_final, .deadline_ns = S(deadline_s), .reason = "goes"};
    brg_spot_notice_step(&f->n, S(at_s), &seen, &f->said);
}

static void time_goes(struct fixture *f, uint32_t at_s) {
    brg_spot_notice_step(&f->n, S(at_s), NULL, &f->said);
}

static void expect(const struct fixture *f, uint32_t type, uint32_t at_s) {
    assert_int_equal(f->said.count, 1);
    assert_int_equal(f->said.items[0].type, type);
    assert_true(f->said.items[0].at_ns == S(at_s));
}

static void expect_silence(const struct fixture *f) {
    assert_int_equal(f->said.count, 0);
}

static void notice_final__is_obeyed_at_once_within_the_drain_time(void **state) {
    struct fixture *f = *state;
    nothing(f, 10);
    expect_silence(f);
    leave(f, 20, 140, 1); /* two minutes: 25 s are all that is planned for */
    expect(f, BRG_SPOT_DRAIN, 45);
    assert_string_equal(f->said.items[0].reason, "goes");
    leave(f, 25, 140, 1); /* the same again at the next look */
    expect_silence(f);
    assert_true(brg_spot_notice_wake_ns(&f->n) == UINT64_MAX);
}

static void notice_short__leaves_before_the_machine_goes(void **state) {
    struct fixture *f = *state;
    leave(f, 20, 30, 1);
    expect(f, BRG_SPOT_DRAIN, 28);
}

static void notice_whose_time_has_passed__leaves_now(void **state) {
    struct fixture *f = *state;
    leave(f, 20, 19, 1);
    expect(f, BRG_SPOT_DRAIN, 20);
}

static void notice_far_off_that_may_be_withdrawn__is_waited_out(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 1000, 0);
    expect(f, BRG_SPOT_HOLD, 940);
    leave(f, 101, 1000, 0);
    expect_silence(f);
    assert_true(brg_spot_notice_wake_ns(&f->n) == S(940));
    time_goes(f, 939);
    expect_silence(f);
    time_goes(f, 940);
    expect(f, BRG_SPOT_DRAIN, 965);
}

static void notice_held__is_obeyed_when_it_becomes_final(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 1000, 0);
    leave(f, 105, 500, 1);
    expect(f, BRG_SPOT_DRAIN, 130);
}

static void notice_held_and_withdrawn__changes_nothing(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 1000, 0);
    nothing(f, 110);
    expect(f, BRG_SPOT_WITHDRAWN, 0);
    time_goes(f, 940);
    expect_silence(f);
    leave(f, 950, 960, 0); /* and the next one counts again */
    expect(f, BRG_SPOT_DRAIN, 958);
}

static void notice_withdrawn_while_leaving__is_told_once(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 130, 0);
    expect(f, BRG_SPOT_DRAIN, 125);
    nothing(f, 105);
    expect(f, BRG_SPOT_CANCELLED, 0);
    nothing(f, 106);
    expect_silence(f);
}

static void notice_second_and_earlier__cuts_the_drain_short(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 400, 1);
    expect(f, BRG_SPOT_DRAIN, 125);
    leave(f, 103, 110, 1);
    expect_silence(f);
    assert_true(brg_spot_notice_wake_ns(&f->n) == S(108));
    time_goes(f, 107);
    expect_silence(f);
    time_goes(f, 108);
    expect(f, BRG_SPOT_LEAVE_NOW, 108);
    time_goes(f, 109);
    expect_silence(f);
}

static void notice_second_and_later__changes_nothing(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 120, 1);
    expect(f, BRG_SPOT_DRAIN, 118);
    leave(f, 101, 400, 1);
    expect_silence(f);
    time_goes(f, 117);
    expect_silence(f);
}

static void notice_of_risk__is_told_once_and_withdrawn_once(void **state) {
    struct fixture *f = *state;
    risk(f, 10);
    expect(f, BRG_SPOT_RISK, 0);
    risk(f, 11);
    expect_silence(f);
    nothing(f, 12);
    expect(f, BRG_SPOT_WITHDRAWN, 0);
    nothing(f, 13);
    expect_silence(f);
}

static void notice_after_a_risk__is_obeyed(void **state) {
    struct fixture *f = *state;
    risk(f, 10);
    leave(f, 11, 131, 1);
    expect(f, BRG_SPOT_DRAIN, 36);
    risk(f, 12); /* the notice is gone, the recommendation stands */
    expect(f, BRG_SPOT_CANCELLED, 0);
}

/* A look that failed is no observation: it neither gives nor takes back. */
static void notice_looks_that_fail__change_nothing(void **state) {
    struct fixture *f = *state;
    leave(f, 100, 1000, 0);
    for (uint32_t at_s = 101; at_s < 940; at_s++) {
        time_goes(f, at_s);
        expect_silence(f);
    }
    time_goes(f, 940);
    expect(f, BRG_SPOT_DRAIN, 965);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(notice_final__is_obeyed_at_once_within_the_drain_time, setup),
        cmocka_unit_test_setup(notice_short__leaves_before_the_machine_goes, setup),
        cmocka_unit_test_setup(notice_whose_time_has_passed__leaves_now, setup),
        cmocka_unit_test_setup(notice_far_off_that_may_be_withdrawn__is_waited_out, setup),
        cmocka_unit_test_setup(notice_held__is_obeyed_when_it_becomes_final, setup),
        cmocka_unit_test_setup(notice_held_and_withdrawn__changes_nothing, setup),
        cmocka_unit_test_setup(notice_withdrawn_while_leaving__is_told_once, setup),
        cmocka_unit_test_setup(notice_second_and_earlier__cuts_the_drain_short, setup),
        cmocka_unit_test_setup(notice_second_and_later__changes_nothing, setup),
        cmocka_unit_test_setup(notice_of_risk__is_told_once_and_withdrawn_once, setup),
        cmocka_unit_test_setup(notice_after_a_risk__is_obeyed, setup),
        cmocka_unit_test_setup(notice_looks_that_fail__change_nothing, setup),
    };
    return cmocka_run_group_tests_name("spot_notice", tests, NULL, NULL) != 0;
}
