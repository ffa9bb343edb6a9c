/* What the store keeps of a pipeline run: commit records as of any run, and one record of the line.
 *
 * Family META, key "line/" and the run's number in big-endian order; the value is little-endian:
 *   u8 version 1 | u64 generation, committed_generation, checkpoint, checkpoint_generation, rolled
 * | f64 clip, norm | u32 stages | stages x (u64 lineage, f64 norm2, u8 held) */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "coordinator/shell/line_private.h"

#define PREFIX "line/"
#define KEY_BYTES (sizeof PREFIX - 1 + 8)
#define VERSION 1u
#define HEAD_BYTES (1u + 7u * 8u + 4u)
#define STAGE_BYTES 17u
#define VALUE_BYTES_MAX (HEAD_BYTES + BRG_PIPE_STAGES_MAX * STAGE_BYTES)

static void must(int rc) {
    BRG_ASSERT(rc == BRG_OK); /* a turn's records fit into a batch */
}

static void make_key(uint64_t run, uint8_t *key) {
    memcpy(key, PREFIX, sizeof PREFIX - 1);
    brg_record_key_u64(run, key + sizeof PREFIX - 1);
}

/* The record as it lies in the store. */
struct record {
    uint64_t generation, committed_generation, checkpoint, checkpoint_generation, rolled;
    double clip, norm;
    uint32_t stages;
    uint64_t lineage[BRG_PIPE_STAGES_MAX];
    double norm2[BRG_PIPE_STAGES_MAX];
    uint8_t held[BRG_PIPE_STAGES_MAX];
};

static uint8_t *put(uint8_t *at, const void *value, size_t size) {
    memcpy(at, value, size); /* little-endian, as checkpoint_tensor.c makes sure of */
    return at + size;
}

static const uint8_t *get(const uint8_t *at, void *value, size_t size) {
    memcpy(value, at, size);
    return at + size;
}

static size_t pack(const struct record *r, uint8_t *value) {
    uint8_t *at = value;
    *at++ = VERSION;
    at = put(at, &r->generation, 40);
    at = put(at, &r->clip, 16);
    at = put(at, &r->stages, 4);
    for (uint32_t i = 0; i < r->stages; i++) {
        at = put(at, &r->lineage[i], 8);
        at = put(at, &r->norm2[i], 8);
        at = put(at, &r->held[i], 1);
    }
    return (size_t)(at - value);
}

static int unpack(const uint8_t *value, size_t size, struct record *r) {
    memset(r, 0, sizeof *r);
    if (size < HEAD_BYTES || value[0] != VERSION) return BRG_ECORRUPT;
    const uint8_t *at = get(value + 1, &r->generation, 40);
    at = get(at, &r->clip, 16);
    at = get(at, &r->stages, 4);
    if (r->stages == 0 || r->stages > BRG_PIPE_STAGES_MAX) return BRG_ECORRUPT;
    if (size != HEAD_BYTES + r->stages * STAGE_BYTES) return BRG_ECORRUPT;
    for (uint32_t i = 0; i < r->stages; i++) {
        at = get(at, &r->lineage[i], 8);
        at = get(at, &r->norm2[i], 8);
        at = get(at, &r->held[i], 1);
    }
    return BRG_OK;
}

static int read_record(struct brg_service *s, uint64_t run, struct record *r) {
    uint8_t key[KEY_BYTES];
    struct brg_store_value stored;
    make_key(run, key);
    int rc = brg_store_get(s->store, BRG_STORE_META, key, sizeof key, &stored);
    if (rc == BRG_OK) rc = unpack(stored.data, stored.size_bytes, r);
    brg_store_value_free(&stored);
    return rc;
}

uint64_t brg_line_recorded(struct brg_service *s, uint64_t run) {
    struct record r;
    return read_record(s, run, &r) == BRG_OK ? r.checkpoint : 0;
}

void brg_line_keep_record(struct brg_service *s) {
    struct brg_line *line = s->line;
    const struct brg_pipeline *p = &line->machine;
    uint8_t key[KEY_BYTES], value[VALUE_BYTES_MAX];
    struct record r = {.generation = p->generation,
                       .committed_generation = p->committed_generation,
                       .checkpoint = p->checkpoint,
                       .checkpoint_generation = p->checkpoint_generation,
                       .rolled = p->rolled,
                       .clip = line->clip,
                       .norm = line->norm,
                       .stages = p->plan.stages};
    for (uint32_t i = 0; i < r.stages; i++) {
        r.lineage[i] = p->stages[i].lineage;
        r.norm2[i] = line->norm2[i];
        r.held[i] = p->stages[i].count > 0 || p->stages[i].stored;
    }
    line->is_dirty = 0;
    make_key(p->plan.run, key);
    must(brg_store_batch_put(s->batch, BRG_STORE_META, key, sizeof key, value, pack(&r, value)));
}

/* ---- commits and rollbacks ---- */

/* Steps after `step` are of no history any more. */
static void cut(struct brg_service *s, uint64_t step) {
    struct brg_record_step last;
    const uint64_t run = s->run->config.id;
    int rc = brg_store_cut_steps(s->batch, run, step);
    if (rc == BRG_EINVAL) { /* this turn has committed a step before: that is written first */
        must(brg_store_write_synced(s->store, s->batch));
        rc = brg_store_cut_steps(s->batch, run, step);
    }
    must(rc);
    memset(&s->chain, 0, sizeof s->chain);
    if (step > 0 && brg_store_step(s->store, run, step, &last) == BRG_OK) s->chain = last.digest;
    while (s->point_count > 0 &&
           s->points[(s->point_count - 1) % BRG_CURVE_POINTS_MAX].step > step) {
        s->point_count--;
    }
}

static void tell_core(struct brg_service *s, uint64_t step) {
    struct brg_coord_event ev = {.type = BRG_EV_LINE, .run = s->run->config.id, .step = step};
    (void)!brg_service_feed(s, &ev);
}

/* Norm, loss and digest of the step, over all stages and lanes in their order. */
static void sum_up(struct brg_service *s, struct brg_record_step *r) {
    struct brg_line *line = s->line;
    const struct brg_pipeline *p = &line->machine;
    struct brg_hasher hasher;
    double norm2 = 0;
    brg_hasher_init(&hasher);
    for (uint32_t i = 0; i < p->plan.stages; i++) {
        const struct brg_line_member *m = &line->members[p->stages[i].holders[0]];
        brg_hasher_update(&hasher, &m->digest, sizeof m->digest);
        line->norm2[i] = m->norm2;
        norm2 += m->norm2;
        r->used_count += p->stages[i].count;
    }
    brg_hasher_final(&hasher, &r->gradient);
    r->norm = sqrt(norm2) / (double)s->run->targets;
    const struct brg_pipe_stage *last = &p->stages[p->plan.stages - 1];
    for (uint32_t lane = 0; lane < p->plan.lanes; lane++) {
        for (uint32_t i = 0; i < last->count; i++) {
            const struct brg_line_member *m = &line->members[last->holders[i]];
            if (!(m->lanes & (1u << lane))) continue;
            const uint32_t at = (uint32_t)__builtin_popcount(m->lanes & ((1u << lane) - 1));
            r->loss_sum += m->loss_sums[at];
            r->count += m->loss_counts[at];
        }
    }
}

static void add_point(struct brg_service *s, const struct brg_record_step *r, double clip) {
    struct brg_service_run *run = &s->runs[s->run_index];
    struct brg_service_point *p = &s->points[s->point_count++ % BRG_CURVE_POINTS_MAX];
    run->models[0].loss = r->loss_sum / (double)r->count;
    *p = (struct brg_service_point){.step = r->step,
                                    .at_ns = s->now_ns,
                                    .loss = run->models[0].loss,
                                    .lr = r->lr,
                                    .norm = r->norm,
                                    .seconds = (double)r->round_ns / 1e9};
    s->report = (struct brg_optimizer_report){.lr = r->lr, .grad_norm = r->norm, .clip = clip};
    brg_log_info("round",
                 BRG_FIELDS(BRG_U64("run", r->run), BRG_U64("step", r->step),
                            BRG_F64("loss", p->loss), BRG_F64("lr", p->lr),
                            BRG_F64("norm", p->norm), BRG_F64("seconds", p->seconds)),
                 "step");
}

static void keep_commit(struct brg_service *s, const struct brg_pipe_action *a) {
    struct brg_line *line = s->line;
    const struct brg_optimizer_spec *optimizer = &s->run->config.run.optimizer;
    struct brg_record_step r = {.run = s->run->config.id,
                                .step = a->step,
                                .epoch = s->core.epoch,
                                .lr = brg_optimizer_lr(optimizer, a->step),
                                .committed_ns = brg_service_wall_ns(),
                                .round_ns = s->now_ns - line->step_began_ns,
                                .attempt = 1};
    sum_up(s, &r);
    line->norm = r.norm;
    line->clip = brg_optimizer_clip(optimizer, r.norm);
    line->step_ns = r.round_ns;
    line->step_began_ns = s->now_ns;
    must(brg_store_put_step(s->batch, &r));
    s->chain = r.digest;
    s->run->applied = a->step;
    add_point(s, &r, line->clip);
    tell_core(s, a->step);
}

static void keep_rollback(struct brg_service *s, const struct brg_pipe_action *a) {
    cut(s, a->step);
    s->run->applied = a->step;
    s->line->losses++;
    s->line->clip = 1; /* nobody has a gradient of that step in hand */
    brg_line_save_drop(s);
    brg_line_give(s, brg_line_work_new(s, BRG_LINE_WORK_DROP, a->step));
    tell_core(s, a->step);
}

static void keep_checkpoint(struct brg_service *s, const struct brg_pipe_action *a) {
    s->runs[s->run_index].checkpoint = a->step;
    brg_log_info("run", BRG_FIELDS(BRG_U64("run", s->run->config.id), BRG_U64("step", a->step)),
                 "checkpoint");
}

void brg_line_keep(struct brg_service *s, const struct brg_pipe_action *a) {
    s->line->is_dirty = 1;
    switch (a->type) {
    case BRG_PACT_PERSIST_COMMIT: keep_commit(s, a); break;
    case BRG_PACT_PERSIST_ROLLBACK: keep_rollback(s, a); break;
    case BRG_PACT_PERSIST_CHECKPOINT: keep_checkpoint(s, a); break;
    default: s->line->step_began_ns = s->now_ns; break; /* a placement: its first step begins */
    }
}

/* ---- opening ---- */

int brg_line_restore(struct brg_service *s, struct brg_why *why) {
    struct brg_line *line = s->line;
    struct brg_pipeline *p = &line->machine;
    struct record r;
    const uint64_t committed = s->run->config.committed, files = s->run->checkpoint;
    int rc = read_record(s, p->plan.run, &r);
    if (rc == BRG_ENOENT) {
        memset(&r, 0, sizeof r);
        r.stages = p->plan.stages;
        r.clip = 1;
        rc = committed == 0 ? BRG_OK : BRG_ECORRUPT;
    }
    if (rc != BRG_OK)
        return brg_why_set(why, rc,
                           "the store's record of its stages is missing or damaged: put "
                           "the newest backup of the state folder back");
    line->open = (struct brg_pipe_event){.type = BRG_PEV_OPEN,
                                         .generation = r.generation,
                                         .step = committed,
                                         .commit_generation = r.committed_generation,
                                         .checkpoint = files,
                                         .checkpoint_generation = r.checkpoint_generation,
                                         .rolled = r.rolled};
    if (files < r.checkpoint) line->open.checkpoint_generation = s->run->checkpoint_generation;
    line->clip = r.clip;
    line->norm = r.norm;
    memcpy(line->norm2, r.norm2, sizeof line->norm2);
    const int is_cut_anew = r.stages != p->plan.stages;
    if (is_cut_anew) { /* what is held is of no use: the run goes on from its files */
        line->open.generation = line->open.rolled = r.generation + 1;
        line->open.step = files;
        line->open.commit_generation = 0;
        line->clip = 1;
        if (files < committed) cut(s, files);
        line->is_dirty = 1;
    }
    for (uint32_t i = 0; i < p->plan.stages; i++) {
        brg_pipeline_restore(p, i, is_cut_anew ? line->open.rolled : r.lineage[i],
                             !is_cut_anew && r.held[i]);
    }
    s->run->applied = line->open.step;
    s->runs[s->run_index].checkpoint = files;
    return BRG_OK;
}
