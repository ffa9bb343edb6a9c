/* bench_recovery.h - what the parts of bench_recovery share.
 *
 *   bench_recovery.c   the strategies, the losses, the whole, the rows
 *     curve.c          one training run; and what its curve says beside the no-failure run's
 *     recover.c        one loss: which rung, what it does to the line, what it costs */
#ifndef BENCH_RECOVERY_H
#define BENCH_RECOVERY_H

#include "model/line.h"
#include "model/sample.h"
#include "recovery/shadow.h"

#define S 6u
#define CONTEXT 64u
#define DIM 48u
#define MICROBATCH 4u
#define MICROBATCHES 2u
#define BATCH (MICROBATCH * MICROBATCHES)
#define STEPS_MAX 4000u
#define SEEDS_MAX 100u
#define RATES 4u
#define TARGETS 11u
#define BEHIND_MAX 6u /* steps that a rollback run may take, in no-failure runs */
#define PARITY_GROUP 3u
#define PARITY_PARTS (S + 2) /* snapshots, and the parities of the groups */
#define BOUNDARY (MICROBATCH * CONTEXT * DIM)
#define DISTIL_STEPS 20u
#define DISTIL_LR 1e-3f
#define SMOOTH 30u /* steps either side, for the no-failure curve */
#define PAIRED 12u /* steps either side, for differences on the same batches */

/* The paper's model of 500 M: seconds, and megabytes in float32. */
#define STEP_S 91.32
#define REDUNDANT_S 151.04
#define RECOVERY_S 30.0 /* measured for two neighbours' weights */
#define LINK_MB_S (229.0 / 8.0)
#define STAGE_MB 268.0
#define EDGE_MB 131.0      /* embedding, or head */
#define PACKED (17.0 / 64) /* of float32: an int8 each, and a scale for 64 */
#define MOMENTS 3.0        /* weights and both moments, in weights */
#define RESTART_S (RECOVERY_S - 2 * STAGE_MB / LINK_MB_S)
#define MICROBATCH_S (STEP_S / 9) /* 4 microbatches and 6 stages make 9 turns of a step */

enum kind { NONE, CONTROL, REPLICA, REDUNDANT, ROLLBACK, SHADOW, PARITY, MIX, COPY, RANDOM, PROBE };

struct strategy {
    const char *name, *alias; /* alias: its rows are printed under this name as well */
    enum kind kind;
    uint32_t every; /* steps: shadow, parity, rollback (0: Young's) */
    uint32_t moments, exponent, plus, distil, packed;
};

struct settings {
    uint32_t json, quick, percent, seeds, first_seed, steps, warm, interior;
    float lr;
    const char *corpus, *only;
};

/* One training curve. */
struct curve {
    double loss[STEPS_MAX];                 /* of the step's batch, in order of the stages */
    double spent_s[STEPS_MAX * BEHIND_MAX]; /* modelled seconds until the step is done */
    double held_out, jump, stale;
    uint32_t losses, fallen; /* fallen: losses that the first rung could not cure */
};

struct bench {
    struct settings set;
    struct brg_model_spec model;
    struct brg_optimizer_spec optimizer;
    struct brg_data data;
    struct brg_sampler sampler;
    uint64_t seed;
    double rate;
    uint64_t param_count;
    float *shadow, *fresh; /* parameters and moments of the stale copies; a fresh start */
    uint8_t *snapshot;     /* what parity's members hold, and the parities behind it */
    uint8_t *lost[STEPS_MAX * BEHIND_MAX]; /* per step: [S] */
    uint8_t lost_memory[STEPS_MAX * BEHIND_MAX][S];
    struct curve none, now;
    uint32_t progress[STEPS_MAX * BEHIND_MAX]; /* of a rollback run, in no-failure steps */
    double base[STEPS_MAX];                    /* the no-failure curve, smoothed and falling */
};

/* A line under way, with what its strategy keeps. */
struct run {
    struct bench *b;
    const struct strategy *how;
    struct brg_line *line;
    struct brg_shadow_copy copies[S];
    uint64_t parity_version[2]; /* the whole one; the one under way. 0: none */
    double raised[S];
    uint64_t raised_at[S];
    double recover_s;
    float *boundary[S + 1]; /* of the last microbatch of the last step */
};

struct figures {
    double extra_loss, steps, hours, vs_none, held_out, jump, stale;
    uint32_t losses, fallen, reached;
};

_Noreturn void bench_fail(const char *sentence);
void *bench_alloc(size_t size_bytes); /* zeroed */

/* Weights of a stage in megabytes, embedding and head included where they can be lost. */
double bench_stage_mb(const struct bench *b, uint32_t stage);
/* What a strategy's streams add to every step: the slowest link, that of the largest stage. */
double bench_stream_s(const struct run *r);
/* Mean loss of `count` held-out samples. */
double bench_held_out(struct run *r, uint32_t count);
/* Brings back the stages lost [S] before `step`; adds to r->recover_s and b->now. */
void bench_recover(struct run *r, const uint8_t *lost, uint64_t step);
/* After step `version`: streams, and what distillation wants. */
void bench_keep(struct run *r, uint64_t version);

/* One run with the losses in b->lost; fills b->now. */
void bench_run_for_real(struct bench *b, const struct strategy *how);
void bench_run_exact(struct bench *b, const struct strategy *how);
void bench_run_rollback(struct bench *b, const struct strategy *how);
/* b->base out of b->none. */
void bench_smooth(struct bench *b);
struct figures bench_figures_of(struct bench *b, const struct strategy *how);

#endif
