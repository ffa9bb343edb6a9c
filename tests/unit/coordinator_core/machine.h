/* machine.h - a coordinator's machine for its unit tests, and short words for what happens to it.
 *
 * Key k is 32 bytes of k; its process has session k; the members attach in the order of the calls,
 * so that key k of the first calls is member k - 1. Time stands still unless a test moves it. */
#ifndef MACHINE_H
#define MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/core/coord.h"

#define LEASE_NS (1000 * BRG_NS_PER_MS)
#define TASK_TIMEOUT_NS (800 * BRG_NS_PER_MS)
#define PULL_TIMEOUT_NS (300 * BRG_NS_PER_MS)
#define TOKEN_BYTE 0x77

static struct machine {
    struct brg_coord c;
    struct brg_coord_actions out;
    uint64_t now_ns, epoch;
    union scheme_memory {
        double align;
        uint8_t bytes[1 << 16];
    } scheme, other; /* of opened(); of switch_to() */
} machine;

static inline int step(struct brg_coord_event ev) {
    ev.now_ns = machine.now_ns;
    const int rc = brg_coord_step(&machine.c, &ev, &machine.out);
    brg_coord_check(&machine.c);
    return rc;
}

/* A step that must work. */
static inline void must(struct brg_coord_event ev) {
    assert_int_equal(step(ev), BRG_OK);
}

static inline void wait_ns(uint64_t ns) {
    machine.now_ns += ns;
    must((struct brg_coord_event){.type = BRG_EV_TICK});
}

/* ---- what came out of the last step ---- */

static inline uint32_t count(uint32_t type) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < machine.out.count; i++) n += machine.out.items[i].type == type;
    return n;
}

static inline uint32_t count_notes(enum brg_note code) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < machine.out.count; i++) {
        const struct brg_coord_action *a = &machine.out.items[i];
        n += a->type == BRG_ACT_NOTE && a->code == (int32_t)code;
    }
    return n;
}

/* The nth of its type; fails where there is none. */
static inline const struct brg_coord_action *find(uint32_t type, uint32_t nth) {
    for (uint32_t i = 0; i < machine.out.count; i++) {
        if (machine.out.items[i].type == type && nth-- == 0) return &machine.out.items[i];
    }
    fail_msg("action %u is not there", type);
    return NULL;
}

/* ---- members ---- */

static inline const struct brg_member *member(uint32_t slot) {
    return &machine.c.members.items[slot];
}

static inline struct brg_coord_event hello_event(uint32_t key, uint64_t session) {
    struct brg_coord_event ev = {
        .type = BRG_EV_HELLO, .session = session, .peer = 1, .wall_s = 1000};
    memset(ev.key, (int)key, sizeof ev.key);
    ev.key[30] = (uint8_t)(key >> 8);
    return ev;
}

static inline void hello(uint32_t key, uint64_t session) {
    must(hello_event(key, session));
}

static inline void allow(uint32_t key) {
    struct brg_coord_event ev = hello_event(key, 1);
    ev.type = BRG_EV_ALLOW;
    must(ev);
}

/* Enrols and attaches the keys 1 .. n; the actions of the last HELLO are in `out`. */
static inline void attach(uint32_t n) {
    for (uint32_t key = 1; key <= n; key++) {
        allow(key);
        hello(key, key);
    }
}

/* Says something as the attached process of the member. */
static inline int say(uint32_t slot, struct brg_coord_event ev) {
    ev.member = slot;
    ev.epoch = machine.c.epoch;
    ev.session = member(slot)->session;
    return step(ev);
}

/* The unit of the task that the member has, the first of several; BRG_NO_UNIT for none. */
static inline uint32_t task_of(uint32_t slot) {
    return member(slot)->task_count > 0 ? member(slot)->tasks[0].unit : BRG_NO_UNIT;
}

/* How far a unit of a step has come. */
static inline const struct brg_progress *unit_of(uint64_t step_number, uint32_t unit) {
    const struct brg_job *job = brg_rounds_job(&machine.c.rounds, step_number);
    assert_non_null(job);
    return &job->units[unit];
}

static inline void beat(uint32_t slot) {
    const struct brg_coord_event ev = {.type = BRG_EV_BEAT,
                                       .run = machine.c.rounds.plan.run,
                                       .step = member(slot)->tasks[0].step,
                                       .unit = task_of(slot)};
    assert_int_equal(say(slot, ev), BRG_OK);
}

static inline struct brg_coord_event about(uint32_t type, uint64_t step_number, uint32_t unit) {
    struct brg_coord_event ev = {
        .type = type, .run = 1, .since = machine.c.rounds.since, .step = step_number, .unit = unit};
    memset(ev.digest.bytes, (int)(unit + 1), sizeof ev.digest.bytes);
    return ev;
}

static inline void done(uint32_t slot, uint64_t step_number, uint32_t unit) {
    assert_int_equal(say(slot, about(BRG_EV_DONE, step_number, unit)), BRG_OK);
}

static inline void share(uint32_t slot, uint64_t step_number, uint32_t unit, int32_t code) {
    struct brg_coord_event ev = about(BRG_EV_SHARE, step_number, unit);
    ev.code = code;
    assert_int_equal(say(slot, ev), BRG_OK);
}

/* ---- runs ---- */

static inline struct brg_run_plan plan_of(uint64_t run, uint32_t kind, uint32_t n, uint32_t s) {
    return (struct brg_run_plan){.run = run,
                                 .steps = 10,
                                 .checkpoint_every = 4,
                                 .task_timeout_ns = TASK_TIMEOUT_NS,
                                 .pull_timeout_ns = PULL_TIMEOUT_NS,
                                 .min_workers = 1,
                                 .models = 1,
                                 .code = {.kind = kind,
                                          .n = n,
                                          .s = s,
                                          .chunks = n,
                                          .policy = BRG_POLICY_EARLY,
                                          .mu_ppm = 1000000,
                                          .seed = 1}};
}

static inline int submit(const struct brg_run_plan *plan) {
    return step((struct brg_coord_event){.type = BRG_EV_SUBMIT, .plan = plan, .has_proof = 1});
}

static inline uint32_t run_state(uint64_t run) {
    return machine.c.runs[brg_coord_run(&machine.c, run)].plan.state;
}

static inline const struct brg_scheme *build(union scheme_memory *memory,
                                             const struct brg_code_spec *code) {
    struct brg_scheme *scheme = (struct brg_scheme *)(void *)memory->bytes;
    assert_int_equal(brg_scheme_init(scheme, sizeof *memory, code, NULL), BRG_OK);
    return scheme;
}

static inline void opened(uint64_t run, uint64_t committed, const struct brg_code_spec *code) {
    const struct brg_scheme *scheme = build(&machine.scheme, code);
    must((struct brg_coord_event){
        .type = BRG_EV_OPENED, .run = run, .step = committed, .scheme = scheme});
}

static inline void open_run(const struct brg_run_plan *plan) {
    assert_int_equal(submit(plan), BRG_OK);
    opened(plan->run, 0, &plan->code);
}

/* Another code for run 1; what comes of it. */
static inline int switch_to(const struct brg_code_spec *code) {
    return step((struct brg_coord_event){
        .type = BRG_EV_SWITCH, .run = 1, .scheme = build(&machine.other, code)});
}

static inline void wish(uint32_t type, uint64_t run, int rc) {
    assert_int_equal(step((struct brg_coord_event){.type = type, .run = run}), rc);
}

static inline void answer(uint32_t type, uint64_t step_number) {
    must((struct brg_coord_event){.type = type, .run = 1, .step = step_number});
}

/* A unit is done and pulled. */
static inline void deliver(uint32_t slot, uint64_t step_number, uint32_t unit) {
    done(slot, step_number, unit);
    share(slot, step_number, unit, BRG_OK);
}

/* Decoding and the optimizer are done: the next step begins. */
static inline void commit(uint64_t step_number) {
    answer(BRG_EV_DECODED, step_number);
    answer(BRG_EV_APPLIED, step_number);
}

/* ---- set-up ---- */

static int setup(void **state) {
    memset(&machine, 0, sizeof machine);
    machine.now_ns = 5 * BRG_NS_PER_S;
    brg_coord_init(&machine.c, LEASE_NS);
    *state = &machine;
    return step((struct brg_coord_event){.type = BRG_EV_START, .epoch = 7});
}

#endif
