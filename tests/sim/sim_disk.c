/* What survives the coordinator: small records written in one synced batch a turn, gradient logs
 * and checkpoint files that may be torn. */
#include "tests/sim/sim.h"

#include <string.h>

enum { LOG_MAX = 128, CKPT_MAX = 128, BATCH_MAX = 4096 };
enum { GOOD_USES = SIM_WORKERS_MAX + 4 };

struct sim_disk sim_disk;

static struct {
    struct log_entry {
        uint64_t step;
        int64_t gradient[SIM_DIM];
        int torn;
    } log[LOG_MAX];
    struct checkpoint {
        uint64_t step;
        struct sim_params params[SIM_MODELS_MAX];
        int complete;
    } checkpoints[CKPT_MAX];
    uint32_t log_count, checkpoint_count;
} files[SIM_RUNS_MAX + 1];

/* One record of a turn's batch, as it was when the machine asked for it. */
static struct record {
    struct brg_coord_action action;
    uint8_t key[BRG_KEY_BYTES];
    uint32_t state, code;
    struct brg_token token;
} batch[BATCH_MAX];
static uint32_t batch_count;

void sim_disk_reset(void) {
    memset(&sim_disk, 0, sizeof sim_disk);
    memset(files, 0, sizeof files);
    batch_count = 0;
}

/* ---- files ---- */

void sim_log_append(uint64_t run, uint64_t step, const int64_t *gradient, int torn) {
    BRG_ASSERT(files[run].log_count < LOG_MAX);
    struct log_entry *entry = &files[run].log[files[run].log_count++];
    entry->step = step;
    entry->torn = torn;
    memcpy(entry->gradient, gradient, sizeof entry->gradient);
}

void sim_log_truncate(uint64_t run, uint64_t step) {
    BRG_ASSERT(sim_disk.runs[run].checkpoint >= step); /* its record came first */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < files[run].log_count; i++) {
        if (files[run].log[i].step > step) files[run].log[kept++] = files[run].log[i];
    }
    files[run].log_count = kept;
}

void sim_checkpoint_write(uint64_t run, uint64_t step, const struct sim_params *p, int complete) {
    BRG_ASSERT(files[run].checkpoint_count < CKPT_MAX);
    struct checkpoint *c = &files[run].checkpoints[files[run].checkpoint_count++];
    *c = (struct checkpoint){.step = step, .complete = complete};
    memcpy(c->params, p, sim_opt.models * sizeof *p);
}

/* The last checkpoint that has a record, then the log; whatever lies behind the last commit was
 * under way when the process died. */
void sim_restore(uint64_t run, struct sim_params *out) {
    for (uint32_t k = 0; k < sim_opt.models; k++) out[k] = sim_initial(run, k);
    const uint64_t from = sim_disk.runs[run].checkpoint, to = sim_disk.runs[run].committed;
    int found = from == 0;
    for (uint32_t i = 0; i < files[run].checkpoint_count; i++) {
        const struct checkpoint *c = &files[run].checkpoints[i];
        if (c->step != from || !c->complete) continue;
        memcpy(out, c->params, sim_opt.models * sizeof *out);
        found = 1;
    }
    BRG_ASSERT(found);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < files[run].log_count; i++) {
        if (files[run].log[i].step <= to && !files[run].log[i].torn)
            files[run].log[kept++] = files[run].log[i];
    }
    files[run].log_count = kept;
    for (uint64_t step = from + 1; step <= to; step++) {
        uint32_t i = 0;
        while (i < kept && files[run].log[i].step != step) i++;
        BRG_ASSERT(i < kept); /* a committed step has its gradient */
        struct sim_params *p = &out[brg_model_of_step(step, sim_opt.models)];
        *p = sim_apply(p, files[run].log[i].gradient);
    }
}

/* ---- records ---- */

void sim_disk_keep(const struct brg_coord *machine, const struct brg_coord_action *a) {
    struct record r = {.action = *a};
    if (a->type == BRG_ACT_PERSIST_MEMBER) {
        memcpy(r.key, machine->members.items[a->member].key, BRG_KEY_BYTES);
        r.state = machine->members.items[a->member].state;
    } else if (a->type == BRG_ACT_PERSIST_TOKEN) {
        r.token = machine->members.tokens[a->token];
    } else if (a->type == BRG_ACT_PERSIST_RUN) {
        r.state = machine->runs[brg_coord_run(machine, a->run)].plan.state;
    } else if (a->type == BRG_ACT_PERSIST_CODE) {
        r.code = sim_code_of(machine->rounds.scheme);
    }
    BRG_ASSERT(batch_count < BATCH_MAX);
    batch[batch_count++] = r;
}

int sim_disk_pending(void) {
    return batch_count > 0;
}

void sim_disk_drop(void) {
    batch_count = 0;
}

static void write_commit(uint64_t run, uint64_t step) {
    if (sim_opt.durability_checkpoint) return; /* its record comes with the checkpoint */
    BRG_ASSERT(step == sim_disk.runs[run].committed + 1);
    uint32_t found = 0;
    for (uint32_t i = 0; i < files[run].log_count; i++) {
        found += files[run].log[i].step == step && !files[run].log[i].torn;
    }
    BRG_ASSERT(found >= 1); /* the gradient is durable before its record */
    sim_disk.runs[run].committed = step;
    sim_say("committed", COORDINATOR, step);
}

static void write_member(const struct record *r) {
    const uint32_t slot = r->action.member;
    BRG_ASSERT(slot <= sim_disk.member_count && slot < SIM_NODES_MAX);
    if (slot == sim_disk.member_count) sim_disk.member_count++;
    memcpy(sim_disk.members[slot].key, r->key, BRG_KEY_BYTES);
    sim_disk.members[slot].state = r->state;
}

void sim_disk_write(void) {
    for (uint32_t i = 0; i < batch_count; i++) {
        const struct record *r = &batch[i];
        const uint64_t run = r->action.run;
        switch (r->action.type) {
        case BRG_ACT_PERSIST_MEMBER: write_member(r); break;
        case BRG_ACT_PERSIST_TOKEN:
            BRG_ASSERT(r->action.token < TOKEN_KINDS);
            sim_disk.tokens[r->action.token] = r->token;
            if (r->action.token >= sim_disk.token_count) {
                sim_disk.token_count = r->action.token + 1;
            }
            break;
        case BRG_ACT_PERSIST_RUN:
            sim_disk.runs[run].exists = 1;
            sim_disk.runs[run].state = r->state;
            break;
        case BRG_ACT_PERSIST_CODE:
            if (!sim_opt.durability_checkpoint) {
                BRG_ASSERT(r->action.step == sim_disk.runs[run].committed); /* nothing in flight */
            }
            sim_disk.runs[run].code = r->code;
            sim_disk.switched++;
            sim_say("another code from here on", COORDINATOR, r->action.step);
            break;
        case BRG_ACT_PERSIST_COMMIT: write_commit(run, r->action.step); break;
        case BRG_ACT_PERSIST_CHECKPOINT:
            sim_disk.runs[run].checkpoint = r->action.step;
            if (sim_opt.durability_checkpoint) sim_disk.runs[run].committed = r->action.step;
            break;
        default: BRG_ASSERT(0 && "not a record");
        }
    }
    batch_count = 0;
}

void sim_disk_forget(void) {
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        const uint64_t behind = sim_disk.runs[run].committed - sim_disk.runs[run].checkpoint;
        if (sim_disk.runs[run].state != BRG_RUN_ACTIVE || behind == 0) continue;
        sim_disk.runs[run].committed -= 1 + sim_below(behind);
        sim_disk.forgot = 1;
        sim_say("the store forgets", COORDINATOR, sim_disk.runs[run].committed);
    }
}

void sim_plan(uint64_t run, struct brg_run_plan *plan) {
    *plan = (struct brg_run_plan){.run = run,
                                  .steps = sim_opt.steps,
                                  .checkpoint_every = sim_opt.checkpoint_every,
                                  .task_timeout_ns = 2000 * MS,
                                  .pull_timeout_ns = 400 * MS,
                                  .min_workers = sim_opt.min_workers,
                                  .models = sim_opt.models,
                                  .state = sim_disk.runs[run].state,
                                  .code = sim_opt.codes[0]};
}

void sim_disk_load(struct brg_coord *machine) {
    sim_disk.epoch++; /* synced before anything else happens */
    for (uint32_t i = 0; i < sim_disk.member_count; i++) {
        uint32_t slot = BRG_NOBODY;
        const int rc = brg_members_add(&machine->members, sim_disk.members[i].key,
                                       sim_disk.members[i].state, &slot);
        BRG_ASSERT(rc == BRG_OK && slot == i);
    }
    for (uint32_t i = 0; i < sim_disk.token_count; i++) {
        uint32_t index = BRG_NOBODY;
        const int rc = brg_members_add_token(&machine->members, &sim_disk.tokens[i], &index);
        BRG_ASSERT(rc == BRG_OK && index == i);
    }
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        if (!sim_disk.runs[run].exists) continue;
        if (!sim_disk.forgot) { /* what was told, survives */
            BRG_ASSERT(sim_disk.runs[run].committed >= sim_disk.announced[run]);
        }
        struct brg_run_plan plan;
        sim_plan(run, &plan);
        const int rc = brg_coord_add_run(machine, &plan, sim_disk.runs[run].committed,
                                         !sim_opt.durability_checkpoint);
        BRG_ASSERT(rc == BRG_OK);
    }
}

/* ---- the end ---- */

int sim_all_ended(void) {
    for (uint32_t r = 1; r <= sim_opt.runs; r++) {
        const uint32_t state = sim_disk.runs[r].state;
        if (state == BRG_RUN_FINISHED || state == BRG_RUN_STOPPED) continue;
        if (state == BRG_RUN_FAILED && r == sim_opt.broken_run) continue;
        return 0;
    }
    return 1;
}

uint64_t sim_steps_made(void) {
    uint64_t sum = 0;
    for (uint64_t r = 1; r <= sim_opt.runs; r++) sum += sim_disk.runs[r].committed;
    return sum;
}

/* No crash spends a token without enrolling, or enrols without spending; no bad token enrols. */
static void check_tokens(void) {
    static const uint32_t uses[TOKEN_KINDS + 1] = {0, GOOD_USES, 5, 5, 1};
    uint32_t enrolled[TOKEN_KINDS + 1] = {0};
    for (uint32_t i = 0; i < sim_disk.member_count; i++) {
        const uint32_t token = sim_token_of(sim_disk.members[i].key[0]);
        BRG_ASSERT(token == TOKEN_GOOD || token == TOKEN_SCARCE);
        enrolled[token]++;
    }
    for (uint32_t i = 0; i < sim_disk.token_count; i++) {
        uint32_t kind = 1;
        struct brg_digest hash;
        for (; kind <= TOKEN_KINDS; kind++) {
            sim_token_hash(kind, &hash);
            if (brg_digest_equal(&hash, &sim_disk.tokens[i].hash)) break;
        }
        BRG_ASSERT(kind <= TOKEN_KINDS);
        BRG_ASSERT(enrolled[kind] + sim_disk.tokens[i].uses_left == uses[kind]);
    }
}

void sim_disk_check_end(void) {
    check_tokens();
    for (uint64_t run = 1; run <= sim_opt.runs; run++) {
        if (sim_disk.runs[run].state == BRG_RUN_FINISHED) {
            BRG_ASSERT(sim_disk.runs[run].committed == sim_opt.steps);
        }
        struct sim_params got[SIM_MODELS_MAX];
        sim_restore(run, got);
        for (uint32_t k = 0; k < sim_opt.models; k++) { /* every model, and none a step ahead */
            const uint64_t version = sim_disk.runs[run].committed + k;
            const struct sim_params want = sim_version(run, version);
            BRG_ASSERT(memcmp(&got[version % sim_opt.models], &want, sizeof want) == 0);
        }
    }
}
