/* runfile_stages.c - what a pipeline will take: memory of each holder, bytes on each link. */
#include "coordinator/shell/runfile_private.h"

#include "base/units.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/stage.h"
#include "recovery/parity.h"
#include "recovery/shadow.h"
#include "recovery/state.h"

#include <inttypes.h>
#include <string.h>

/* Numbers of parameters are bounded by model.h and factors by the table, so that no sum of a stage
 * overflows 64 bits. */

uint32_t brg_run_line_slots(const struct brg_run_config *config, uint32_t stage) {
    const uint32_t behind = config->pipeline.stages - stage; /* worker/core/holder.h */
    const uint32_t most = config->pipeline.microbatches;
    return behind < most ? behind : most;
}

static int has_rung(const struct brg_run_config *c, uint32_t rung) {
    for (uint32_t i = 0; i < c->recovery.ladder.count && i < BRG_LADDER_RUNGS_MAX; i++) {
        if (c->recovery.ladder.rungs[i] == rung) return 1;
    }
    return 0;
}

int brg_run_config_keeps_shadows(const struct brg_run_config *config) {
    return config->kind == BRG_RUN_KIND_PIPELINE && config->pipeline.stages > 1 &&
           config->recovery.shadow_every > 0 && has_rung(config, BRG_RUNG_SHADOW);
}

int brg_run_config_keeps_parity(const struct brg_run_config *config) {
    return config->kind == BRG_RUN_KIND_PIPELINE && config->pipeline.stages > 1 &&
           config->recovery.parity_group > 0 && has_rung(config, BRG_RUNG_PARITY);
}

static uint64_t wire_bytes(uint32_t wire, uint64_t floats) {
    if (wire == BRG_RUN_WIRE_BF16) return 2 * floats;
    if (wire == BRG_RUN_WIRE_INT8) return brg_shadow_packed_bytes(floats); /* the same blocks */
    return sizeof(float) * floats;
}

/* Bytes of slices a step: a K-th of the weights, and of the moments if they are kept. */
static uint64_t shadow_bytes(const struct brg_run_config *c, const struct brg_stage *s,
                             uint64_t moments) {
    const uint64_t kept = s->param_count + (c->recovery.shadow_moments ? moments : 0);
    const uint64_t slice = (kept + c->recovery.shadow_every - 1) / c->recovery.shadow_every;
    return c->recovery.shadow_int8 ? brg_shadow_packed_bytes(slice) : sizeof(float) * slice;
}

void brg_run_config_predict_stage(const struct brg_run_config *config, uint32_t stage,
                                  struct brg_stage_prediction *out) {
    struct brg_stage s, other;
    const uint32_t stages = config->pipeline.stages;
    BRG_ASSERT(config->kind == BRG_RUN_KIND_PIPELINE);
    BRG_ASSERT(stage < stages);
    memset(out, 0, sizeof *out);
    int rc = brg_stage_cut(&config->model, stages, stage, &s, NULL);
    BRG_ASSERT(rc == BRG_OK);
    const uint64_t moments = brg_optimizer_state_count(&config->optimizer, s.param_count);
    const uint32_t slots = brg_run_line_slots(config, stage);
    const uint64_t boundary = brg_stage_boundary_count(&s, config->batch.microbatch);
    const uint64_t floats = sizeof(float);
    out->parameters = s.param_count;
    out->layers = s.layers;
    out->first_layer = s.first_layer;
    out->checkpoint_bytes = floats * (s.param_count + moments);
    /* Weights, the sum of each lane and of all, moments; what the passes need; activations and
     * their gradients on both sides, one of each microbatch under way. */
    out->memory_bytes = floats * (s.param_count * (2 + config->pipeline.lanes) + moments) +
                        brg_stage_workspace_bytes(&s, config->batch.microbatch, slots) +
                        4 * floats * boundary * slots;
    const uint64_t crossing = wire_bytes(config->pipeline.wire, boundary);
    out->boundary_bytes = stage + 1 < stages ? crossing : 0;
    out->link_bytes = 2 * config->pipeline.microbatches * out->boundary_bytes;
    const uint64_t tokens = (uint64_t)config->batch.microbatch * config->model.context;
    out->bytes_per_token = (double)(2 * out->boundary_bytes) / (double)tokens;
    const uint64_t blob = brg_state_bytes(s.param_count, moments, 3);
    if (brg_run_config_keeps_shadows(config)) {
        out->shadow_bytes = shadow_bytes(config, &s, moments);
        /* The mirror of what the keeper has, and the shadow of the stage that this one keeps. */
        rc = brg_stage_cut(&config->model, stages, (stage + 2 * stages - 2) % stages, &other, NULL);
        BRG_ASSERT(rc == BRG_OK);
        const uint64_t kinds = config->recovery.shadow_moments ? 1 : 0;
        const uint64_t theirs = brg_optimizer_state_count(&config->optimizer, other.param_count);
        out->memory_bytes += floats * (s.param_count + kinds * moments) +
                             floats * (other.param_count + kinds * theirs);
    }
    if (brg_run_config_keeps_parity(config)) {
        const uint32_t groups = brg_parity_groups(stages, config->recovery.parity_group);
        out->parity_bytes = blob / config->recovery.shadow_every;
        out->memory_bytes +=
            2 * blob + 2 * blob / stages * groups; /* own, old and new; a group's */
    }
}

static void print_stage(const struct brg_run_config *c, uint32_t stage, FILE *out) {
    struct brg_stage_prediction p;
    char mem[BRG_UNITS_TEXT_BYTES], link[BRG_UNITS_TEXT_BYTES], kept[BRG_UNITS_TEXT_BYTES];
    char checkpoint[BRG_UNITS_TEXT_BYTES];
    brg_run_config_predict_stage(c, stage, &p);
    fprintf(out, "  %5" PRIu32 "  %4" PRIu32 "-%-4" PRIu32 "  %11" PRIu64 "  %9s  %9s  %9s  %9s\n",
            stage, p.first_layer, p.first_layer + p.layers - 1, p.parameters,
            brg_size_about(p.memory_bytes, mem),
            p.link_bytes > 0 ? brg_size_about(p.link_bytes, link) : "-",
            p.shadow_bytes + p.parity_bytes > 0
                ? brg_size_about(p.shadow_bytes + p.parity_bytes, kept)
                : "-",
            brg_size_about(p.checkpoint_bytes, checkpoint));
}

void brg_run_line_print(const struct brg_run_config *config, FILE *out) {
    static const char *const wires[] = {"f32", "bf16", "int8"};
    struct brg_stage_prediction p;
    char text[BRG_UNITS_TEXT_BYTES];
    const uint32_t stages = config->pipeline.stages, lanes = config->pipeline.lanes;
    const uint32_t m = config->pipeline.microbatches / lanes;
    uint64_t checkpoint = 0;
    fprintf(out, "What this run takes (estimates; data not counted)\n");
    fprintf(out, "  parameters             %" PRIu64 "\n", brg_model_param_count(&config->model));
    fprintf(out,
            "  workers                %" PRIu32 " stages x %" PRIu32 " replicas; %" PRIu32
            " at least, more are spares\n",
            stages, lanes, stages);
    fprintf(out,
            "  microbatches           %" PRIu32 " of up to %" PRIu32
            " sequences; a worker idles for %.0f %% of a step at least\n",
            config->pipeline.microbatches, config->batch.microbatch,
            100.0 * (stages - 1) / (m + stages - 1));
    fprintf(out,
            "\n  stage  layers      parameters     memory  to next*  kept for**  checkpoint\n");
    for (uint32_t i = 0; i < stages; i++) {
        print_stage(config, i, out);
        brg_run_config_predict_stage(config, i, &p);
        checkpoint += p.checkpoint_bytes;
    }
    brg_run_config_predict_stage(config, 0, &p);
    fprintf(out, "   * both ways a step, all microbatches: %.1f bytes a token as %s\n",
            p.bytes_per_token, wires[config->pipeline.wire % 3]);
    fprintf(out, "  ** sent a step to whoever keeps shadow or parity of the stage\n");
    fprintf(out, "  checkpoints on disk    %" PRIu32 " of %s, %s\n", config->checkpoint.keep,
            brg_size_about(checkpoint, text),
            config->checkpoint.every_steps > 0 ? "at the steps that checkpoint.every says"
                                               : "as often as Young's formula says");
}
