/* stage_private.h - what stage_state.c (a step), stage_form.c (states as bytes) and stage_keep.c
 * (shadows) share. */
#ifndef BRG_WORKER_SHELL_STAGE_PRIVATE_H
#define BRG_WORKER_SHELL_STAGE_PRIVATE_H

#include "kernels/kernels.h"
#include "model/line.h"
#include "recovery/neighbours.h"
#include "worker/shell/stage_state.h"

#define BRG_STAGE_WIRE_BLOCK 64u

struct brg_stage_state {
    struct brg_stage_setup setup;
    struct brg_stage cut;
    struct brg_optimizer_spec optimizer;
    struct brg_pool *pool;
    const struct brg_kernels *kernels;
    struct brg_file_map map;
    struct brg_data data;
    struct brg_sampler sampler;
    struct brg_sample_buffer samples;
    struct brg_stage_workspace *workspace;
    uint64_t moments_count;
    uint32_t microbatch, slots; /* samples at once, microbatches in flight */

    struct brg_buffer *memory, *sample_memory, *params_buffer, *moments_buffer, *reduced_buffer;
    struct brg_buffer *x_buffer, *y_buffer, *dy_buffer;
    struct brg_buffer *lane_buffers[BRG_LINE_LANES_MAX]; /* NULL: not in use yet */
    float *params, *moments, *reduced, *x, *y;

    /* the state */
    uint32_t has_state, has_gradient;
    uint64_t version, lineage, own_step, lr_version;
    double lr_factor;

    /* the step */
    uint64_t step;
    uint32_t lanes, lanes_here;
    uint32_t slot_of[BRG_LINE_MICROBATCHES_MAX]; /* BRG_STAGE_NONE: not in flight */
    uint32_t slot_used[BRG_STAGE_SLOTS_MAX];
    struct brg_stage_step sums;

    /* shadows */
    struct brg_buffer *mirror; /* what the keeper of ours has; NULL: nothing yet */
    uint64_t mirror_version[BRG_SHADOW_EVERY_MAX];
    uint64_t mirror_lineage;
    struct brg_stage_shadow shadows[BRG_LINE_STAGES_MAX]; /* by stage */
};

#endif
