/* runfile_line.c - `kind: pipeline`: what follows from other keys, and the rules between keys. */
#include "coordinator/shell/runfile_private.h"

#include "model/stage.h"

#include <inttypes.h>
#include <string.h>

#define MICROBATCHES_DEFAULT 8u
#define MICROBATCHES_A_STAGE 4u /* then a worker idles for a fifth of a step at most */
#define MICROBATCHES_MAX 256u
#define EVAL_MICROBATCHES_MAX 64u /* objects of held-out ones that the wire has numbers for */
#define EVAL_SAMPLES_DEFAULT 256u

static int has_rung(const struct brg_run_config *c, uint32_t rung) {
    const struct brg_ladder_config *ladder = &c->recovery.ladder;
    for (uint32_t i = 0; i < ladder->count && i < BRG_LADDER_RUNGS_MAX; i++) {
        if (ladder->rungs[i] == rung) return 1;
    }
    return 0;
}

/* --- what follows from other keys ----------------------------------------------------------- */

/* As many as keep the line busy, where the batch and the lanes can be cut so. */
static uint32_t microbatches_wanted(const struct brg_run_config *c) {
    const uint32_t lanes = c->pipeline.lanes, samples = c->batch.samples;
    uint32_t want = c->pipeline.stages * MICROBATCHES_A_STAGE;
    if (want < MICROBATCHES_DEFAULT) want = MICROBATCHES_DEFAULT;
    if (want > MICROBATCHES_MAX) want = MICROBATCHES_MAX;
    if (want > samples) want = samples;
    if (want < lanes) return lanes; /* which the rules then refuse */
    for (uint32_t m = want; m >= lanes && m >= want / 2; m--) {
        if (samples % m == 0 && m % lanes == 0) return m;
    }
    return want / lanes * lanes;
}

/* batch.chunks and pipeline.microbatches are one number with two names. */
static void derive_microbatches(struct reader *r) {
    struct brg_run_config *c = r->config;
    const int cut = brg_key_valid(r, "batch.chunks"), named = brg_key_given(r, "batch.chunks");
    const int has = brg_key_valid(r, "pipeline.microbatches");
    if (brg_key_wants(r, "batch.chunks", "pipeline.microbatches") && has) {
        c->batch.chunks = c->pipeline.microbatches;
        brg_key_derived(r, "batch.chunks");
    } else if (brg_key_wants(r, "pipeline.microbatches", NULL) && named) {
        if (!cut) return;
        c->pipeline.microbatches = c->batch.chunks;
        brg_key_derived(r, "pipeline.microbatches");
    } else if (brg_key_wants(r, "pipeline.microbatches", "pipeline.stages") &&
               brg_key_valid(r, "pipeline.replicas") && brg_key_valid(r, "batch.sequences")) {
        c->pipeline.microbatches = microbatches_wanted(c);
        brg_key_derived(r, "pipeline.microbatches");
        c->batch.chunks = c->pipeline.microbatches;
        brg_key_derived(r, "batch.chunks");
    }
}

void brg_run_line_derive(struct reader *r) {
    struct brg_run_config *c = r->config;
    if (!brg_key_valid(r, "kind") || !brg_run_is_line(c)) return;
    c->durability = BRG_DURABILITY_STEP; /* each commit is on disk before anybody is told of it */
    c->workers = c->pipeline.stages * c->pipeline.lanes;
    c->min_workers = c->pipeline.stages;
    derive_microbatches(r);
    if (brg_key_valid(r, "batch.chunks") && c->batch.samples > 0) {
        c->batch.microbatch = (c->batch.samples + c->batch.chunks - 1) / c->batch.chunks;
    }
    if (brg_key_wants(r, "eval.samples", "batch.chunks") && c->batch.microbatch > 0) {
        const uint64_t most = (uint64_t)EVAL_MICROBATCHES_MAX * c->batch.microbatch;
        c->eval.samples = most < EVAL_SAMPLES_DEFAULT ? most : EVAL_SAMPLES_DEFAULT;
        brg_key_derived(r, "eval.samples");
    }
    if (brg_key_wants(r, "recovery.shadow_int8", "recovery.shadow_moments")) {
        c->recovery.shadow_int8 = !c->recovery.shadow_moments;
        brg_key_derived(r, "recovery.shadow_int8");
    }
}

/* --- rules ---------------------------------------------------------------------------------- */

static void check_model(struct reader *r) {
    const struct brg_run_config *c = r->config;
    const uint32_t stages = c->pipeline.stages;
    if (brg_key_valid(r, "models") && c->models > 1) {
        brg_fault_add(r->faults, brg_key_line(r, "models", NULL), "", "models",
                      "%" PRIu32 " models cannot share a line of stages: remove it, or take "
                      "kind: coded",
                      c->models);
    }
    if (!brg_key_valid(r, "model.type")) return;
    if (c->model.type != BRG_MODEL_LLAMA) {
        brg_fault_add(r->faults, brg_key_line(r, "model.type", "kind"), "model", "type",
                      "only a llama can be cut into stages: use a llama, or kind: coded");
        return;
    }
    if (!brg_key_valid(r, "pipeline.stages")) return;
    if (brg_key_valid(r, "model.layers") && stages > c->model.layers) {
        brg_fault_add(r->faults, brg_key_line(r, "pipeline.stages", "model.layers"), "pipeline",
                      "stages",
                      "a model of %" PRIu32 " layers cannot be cut into %" PRIu32
                      " stages: set it to at most %" PRIu32,
                      c->model.layers, stages, c->model.layers);
    }
    if (brg_key_valid(r, "model.tied") && c->model.tied && stages > 1) {
        brg_fault_add(r->faults, brg_key_line(r, "model.tied", "model.from"), "model", "tied",
                      "the head shares the weights of the embedding, which lies in another stage: "
                      "set it to false, or pipeline.stages to 1");
    }
}

static void check_microbatches(struct reader *r) {
    const struct brg_run_config *c = r->config;
    const uint32_t m = c->pipeline.microbatches;
    const uint32_t line = brg_key_line(r, "pipeline.microbatches", "batch.chunks");
    if (!brg_key_valid(r, "pipeline.microbatches") || !brg_key_valid(r, "batch.chunks")) return;
    if (m != c->batch.chunks) {
        brg_fault_add(r->faults, line, "pipeline", "microbatches",
                      "%" PRIu32 " contradicts batch.chunks %" PRIu32
                      ", which is the same thing: keep one of them",
                      m, c->batch.chunks);
        return;
    }
    if (m > MICROBATCHES_MAX) {
        brg_fault_add(r->faults, line, "pipeline", "microbatches",
                      "%" PRIu32 " are more than the %u that a pipeline takes: set it to less", m,
                      MICROBATCHES_MAX);
    }
    if (brg_key_valid(r, "pipeline.replicas") && m < c->pipeline.lanes) {
        brg_fault_add(r->faults, line, "pipeline", "microbatches",
                      "%" PRIu32 " cannot be dealt to %" PRIu32 " replicas: set it to %" PRIu32
                      " or more, or replicas to less",
                      m, c->pipeline.lanes, c->pipeline.lanes);
    }
    if (brg_key_valid(r, "eval.samples") && c->batch.microbatch > 0 && c->eval.every_steps > 0 &&
        c->eval.samples > (uint64_t)EVAL_MICROBATCHES_MAX * c->batch.microbatch) {
        brg_fault_add(r->faults, brg_key_line(r, "eval.samples", NULL), "eval", "samples",
                      "%" PRIu64 " make more than %u microbatches of %" PRIu32
                      " sequences: set it to at most %" PRIu64,
                      c->eval.samples, EVAL_MICROBATCHES_MAX, c->batch.microbatch,
                      (uint64_t)EVAL_MICROBATCHES_MAX * c->batch.microbatch);
    }
}

/* What a later version is to do: accepting it now would promise what no worker does. */
static void check_unbuilt(struct reader *r) {
    const struct brg_run_config *c = r->config;
    const struct {
        const char *section, *name;
        int is_set;
        const char *sentence;
    } keys[] = {
        {"pipeline", "step_timeout", c->pipeline.step_timeout_ns != 0,
         "a worker that hangs is not replaced by time yet, only one that is silent for a lease: "
         "set it to auto or remove it"},
        {"recovery", "parity_group", c->recovery.parity_group != 0,
         "workers keep no parity yet, and the rung is passed over: set it to 0 or remove it, and "
         "take the shadow rung"},
        {"recovery", "probe", c->recovery.probe != 0,
         "workers do not try other candidates than the mix yet: set it to false or remove it"},
        {"recovery", "distil", c->recovery.distil_steps != 0,
         "workers do not fit a mix yet (bench_recovery trains with it): set it to 0 or remove it"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s.%s", keys[i].section, keys[i].name);
        if (!keys[i].is_set || !brg_key_valid(r, path)) continue;
        brg_fault_add(r->faults, brg_key_line(r, path, NULL), keys[i].section, keys[i].name, "%s",
                      keys[i].sentence);
    }
}

/* 1 where some rung of the ladder can ever be taken. */
static int cures(const struct brg_run_config *c) {
    const int others = c->pipeline.stages > 1;
    return has_rung(c, BRG_RUNG_CHECKPOINT) || has_rung(c, BRG_RUNG_RANDOM) ||
           (has_rung(c, BRG_RUNG_REPLICA) && c->pipeline.lanes > 1) ||
           (has_rung(c, BRG_RUNG_SHADOW) && others) || (has_rung(c, BRG_RUNG_NEIGHBOURS) && others);
}

static void check_recovery(struct reader *r) {
    const struct brg_run_config *c = r->config;
    const struct brg_run_recovery *rec = &c->recovery;
    if (!brg_key_valid(r, "recovery.ladder")) return;
    if (brg_key_valid(r, "recovery.swap") && rec->swap > 0) {
        brg_fault_add(r->faults, brg_key_line(r, "recovery.swap", NULL), "recovery", "swap",
                      "a run passes all microbatches in order, since swapping was measured to buy "
                      "nothing (bench_recovery trains with it): set it to 0%% or remove it");
    }
    if (brg_key_valid(r, "recovery.shadow_int8") && brg_key_valid(r, "recovery.shadow_moments") &&
        rec->shadow_int8 && rec->shadow_moments) {
        brg_fault_add(
            r->faults, brg_key_line(r, "recovery.shadow_int8", "recovery.shadow_moments"),
            "recovery", "shadow_int8",
            "cannot carry moments, whose sizes differ too much for one scale a block: set "
            "it to false, or shadow_moments to false");
    }
    if (brg_key_valid(r, "recovery.stale_max") && brg_key_valid(r, "recovery.shadow_every") &&
        rec->ladder.stale_max > 0 && rec->ladder.stale_max + 1 < rec->shadow_every) {
        brg_fault_add(
            r->faults, brg_key_line(r, "recovery.stale_max", NULL), "recovery", "stale_max",
            "%" PRIu64 " is less than the %" PRIu32 " steps that a copy renewed in %" PRIu32
            " is behind, so none would ever be used: set it to that or more, or "
            "shadow_every to less",
            rec->ladder.stale_max, rec->shadow_every - 1, rec->shadow_every);
    }
    if (!brg_key_valid(r, "pipeline.stages") || !brg_key_valid(r, "pipeline.replicas")) return;
    if (!cures(c)) {
        brg_fault_add(r->faults, brg_key_line(r, "recovery.ladder", NULL), "recovery", "ladder",
                      "has no rung that could bring a stage back with %" PRIu32
                      " stages and %" PRIu32 " replicas: add checkpoint",
                      c->pipeline.stages, c->pipeline.lanes);
    }
}

void brg_run_line_check(struct reader *r) {
    if (!brg_key_valid(r, "kind") || !brg_run_is_line(r->config)) return;
    check_model(r);
    check_microbatches(r);
    check_unbuilt(r);
    check_recovery(r);
}

/* A copy with the new number is written as a run file and read: all rules, and one of them only. */
int brg_run_config_restage(struct brg_run_config *config, uint32_t stages, struct brg_why *why) {
    int rc = BRG_OK;
    struct brg_run_config *again = NULL;
    if (!brg_run_is_line(config)) {
        return brg_why_set(why, BRG_EINVAL, "this run is no pipeline: it has no stages to set");
    }
    again = malloc(sizeof *again);
    if (again == NULL) return brg_why_set(why, BRG_ENOMEM, "not enough memory to cut the run anew");
    *again = *config;
    again->pipeline.stages = stages;
    again->workers = stages * again->pipeline.lanes;
    again->min_workers = stages;
    rc = stages == 0 || stages > BRG_STAGES_MAX
             ? brg_why_set(why, BRG_EINVAL, "a pipeline has 1 to %u stages", BRG_STAGES_MAX)
             : brg_run_config_check(again, why);
    if (rc == BRG_OK) *config = *again;
    free(again);
    return rc;
}

void brg_run_line_whole(struct reader *r) {
    const struct brg_run_config *c = r->config;
    struct brg_stage stage;
    struct brg_why why;
    if (r->faults->count > 0 || !brg_run_is_line(c)) return;
    for (uint32_t i = 0; i < c->pipeline.stages; i++) {
        if (brg_stage_cut(&c->model, c->pipeline.stages, i, &stage, &why) != BRG_OK) {
            brg_fault_add(r->faults, brg_key_line(r, "pipeline.stages", NULL), "pipeline", "stages",
                          "%s", why.text);
            return;
        }
        /* A worker keeps what the backward pass needs of all microbatches that are under way. */
        const uint32_t slots = brg_run_line_slots(c, i);
        if (slots * stage.layers > BRG_MODEL_LAYERS_MAX) {
            brg_fault_add(r->faults, brg_key_line(r, "pipeline.stages", NULL), "pipeline", "stages",
                          "stage %" PRIu32 " would keep %" PRIu32 " layers of %" PRIu32
                          " microbatches, and %u in all is the most: set it to another number",
                          i, stage.layers, slots, BRG_MODEL_LAYERS_MAX);
            return;
        }
    }
}
