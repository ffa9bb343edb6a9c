/* The operator: makes tokens, submits runs, changes his mind. */
#include "tests/sim/sim.h"

#include <string.h>

void sim_token_hash(uint32_t token, struct brg_digest *hash) {
    memset(hash->bytes, (int)token, sizeof hash->bytes);
}

/* A worker that lacks a right token is never to get in: of many, the last has one that nobody made,
 * and those before it one that has expired, one that was revoked, and one use between two. */
uint32_t sim_token_of(uint32_t node) {
    const uint32_t from_end = sim_opt.workers - sim_key_of(node);
    if (from_end == 0 && sim_opt.workers > 4) return TOKEN_UNKNOWN;
    if (from_end == 1 && sim_opt.workers > 5) return TOKEN_EXPIRED;
    if (from_end == 2 && sim_opt.workers > 6) return TOKEN_REVOKED;
    if ((from_end == 3 || from_end == 4) && sim_opt.workers > 7) return TOKEN_SCARCE;
    return TOKEN_GOOD;
}

static void add_token(uint32_t token, uint64_t expires_s, uint32_t uses) {
    struct brg_coord_event ev = {.type = BRG_EV_TOKEN_ADD, .wall_s = expires_s, .uses = uses};
    sim_token_hash(token, &ev.token_hash);
    sim_coordinator_feed(ev);
}

/* All in one turn, so that no crash leaves the one that is revoked good for a moment. */
static void make_tokens(void) {
    add_token(TOKEN_GOOD, UINT64_MAX, SIM_WORKERS_MAX + 4);
    add_token(TOKEN_EXPIRED, 500, 5);
    add_token(TOKEN_REVOKED, UINT64_MAX, 5);
    struct brg_coord_event revoke = {.type = BRG_EV_TOKEN_REVOKE};
    sim_token_hash(TOKEN_REVOKED, &revoke.token_hash);
    sim_coordinator_feed(revoke);
    add_token(TOKEN_SCARCE, UINT64_MAX, 1);
}

static void wish(uint32_t type, uint64_t run) {
    sim_coordinator_feed((struct brg_coord_event){.type = type, .run = run});
}

/* Submits what is not there, resumes what stands still. 1: that was enough for now. */
static int tend_runs(void) {
    static struct brg_run_plan plans[SIM_RUNS_MAX + 1]; /* borrowed until the turn is over */
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        const uint32_t state = sim_disk.runs[run].state;
        if (!sim_disk.runs[run].exists) {
            sim_plan(run, &plans[run]);
            sim_coordinator_feed(
                (struct brg_coord_event){.type = BRG_EV_SUBMIT,
                                         .plan = &plans[run],
                                         .has_proof = !sim_opt.durability_checkpoint});
            return 1;
        }
        const int stands =
            state == BRG_RUN_PAUSED || (state == BRG_RUN_FAILED && run != sim_opt.broken_run);
        if (stands && (sim_healed || sim_chance(500))) {
            wish(BRG_EV_RESUME, run);
            return 1;
        }
    }
    return 0;
}

/* Takes back revocations, all of them once the world is healed; revokes somebody now and then. */
static void tend_keys(const struct brg_coord *machine) {
    for (uint32_t i = 0; i < machine->members.count; i++) {
        if (machine->members.items[i].state != BRG_MEMBER_REVOKED) continue;
        if (!sim_healed && !sim_chance(200)) continue;
        struct brg_coord_event ev = {.type = BRG_EV_ALLOW};
        memcpy(ev.key, machine->members.items[i].key, sizeof ev.key);
        sim_coordinator_feed(ev);
    }
    if (sim_healed || machine->members.count == 0 || !sim_chance(sim_opt.revokes)) return;
    const uint32_t member = (uint32_t)sim_below(machine->members.count);
    sim_say("revokes", machine->members.items[member].key[0], 0);
    sim_coordinator_feed((struct brg_coord_event){.type = BRG_EV_REVOKE, .member = member});
}

/* Another code for the run under way, now and then: what a tuner would find out. */
static void tend_codes(const struct brg_coord *machine) {
    if (sim_healed || sim_opt.code_count < 2 || !sim_chance(sim_opt.switches)) return;
    if (machine->rounds.phase == BRG_PHASE_IDLE) return;
    sim_coordinator_feed(
        (struct brg_coord_event){.type = BRG_EV_SWITCH,
                                 .run = machine->rounds.plan.run,
                                 .scheme = sim_scheme((uint32_t)sim_below(sim_opt.code_count))});
}

void sim_operate(const struct brg_coord *machine) {
    if (sim_disk.token_count == 0) {
        make_tokens();
        return;
    }
    tend_keys(machine);
    tend_codes(machine);
    if (tend_runs() || sim_healed) return;
    if (!sim_chance(sim_opt.pauses)) return;
    const uint64_t run = 1 + sim_below(sim_opt.runs), what = sim_below(10);
    if (what < 5) wish(BRG_EV_PAUSE, run);
    if (what == 4) wish(BRG_EV_STOP, run); /* both in one turn: the stop must win */
    if (what == 5) wish(BRG_EV_STOP, run);
    if (what == 5) wish(BRG_EV_PAUSE, run);
    if (what > 6 && machine->members.count > 0) {
        const uint32_t member = (uint32_t)sim_below(machine->members.count);
        sim_coordinator_feed((struct brg_coord_event){.type = BRG_EV_ASK_DRAIN, .member = member});
    }
}
