/* stage_engine.h - the thread that computes one stage: commands in order, one answer for each.
 *
 *   reactor ── command ──► ring ──► engine thread (stage_state.h) ──► ring, descriptor ──► answer
 *
 * What is computed for a generation that is over is answered all the same; generation and step come
 * back as they were given, so that the reactor can tell. Buffers that go in are held by the engine
 * until the answer; buffers that come out are the reader's.
 *
 * Thread rule: one reactor; one thread inside. */
#ifndef BRG_WORKER_SHELL_STAGE_ENGINE_H
#define BRG_WORKER_SHELL_STAGE_ENGINE_H

#include "worker/shell/stage_state.h"

#define BRG_ENGINE_COMMANDS_MAX 512u

/* What is done, with what of a command it reads and what of the answer it fills. */
enum brg_engine_what {
    BRG_ENGINE_OPEN = 1,  /* brg_engine_open */
    BRG_ENGINE_LOAD,      /* in[0], version, lineage          digest, version */
    BRG_ENGINE_MIX,       /* mix                              digest, version */
    BRG_ENGINE_BEGIN,     /* step, lanes */
    BRG_ENGINE_FORWARD,   /* index, in[0] (NULL: stage 0)     out[0] (NULL: last stage) */
    BRG_ENGINE_BACKWARD,  /* index, in[0] (NULL: last stage)  out[0] (NULL: stage 0) */
    BRG_ENGINE_LANE,      /* index = own lane                 out[0] */
    BRG_ENGINE_TAKE_LANE, /* index, in[0] */
    BRG_ENGINE_REDUCE,    /*                                  sums; out[0]: the gradient */
    BRG_ENGINE_TAIL,      /* in[0]: a gradient to apply */
    BRG_ENGINE_APPLY,     /* step, clip                       digest, version */
    BRG_ENGINE_FREEZE,    /* kinds (0: the edges)             out[0], version */
    BRG_ENGINE_SLICE,     /*                                  index, out[0], out[1] packed */
    BRG_ENGINE_KEEP,      /* stage, index, packed, version, in[0]   version: oldest */
    BRG_ENGINE_SHADOW,    /* stage                            out[0], version: oldest */
    BRG_ENGINE_FORGET,    /* stage: what is kept of it */
};

struct brg_engine_command {
    uint32_t what; /* enum brg_engine_what */
    uint32_t index, stage, lanes, kinds, packed;
    uint32_t tag; /* comes back */
    uint32_t padding;
    uint64_t generation, step; /* come back */
    uint64_t version, lineage;
    double clip;
    struct brg_buffer *in[1 + BRG_STAGE_DONORS_MAX]; /* holds move in; MIX: edges, then donors */
    uint32_t donors[BRG_STAGE_DONORS_MAX], donor_count, raise;
    double weights[BRG_STAGE_DONORS_MAX];
};

struct brg_engine_answer {
    uint32_t what, index, stage, packed, tag;
    int32_t code;
    uint64_t generation, step, version;
    struct brg_buffer *out[2]; /* the reader's */
    struct brg_digest digest;
    struct brg_stage_step sums;
    struct brg_why why;
};

struct brg_engine;

/* brg_engine_create - a thread without a stage. errors: BRG_ENOMEM with a sentence
 * own: borrows pool; *out is the caller's */
BRG_CHECK int brg_engine_create(struct brg_pool *pool, struct brg_engine **out,
                                struct brg_why *why);

/* brg_engine_destroy - ends the thread after the command under way; drops what is unanswered. */
void brg_engine_destroy(struct brg_engine **e);

/* brg_engine_fd - readable while there is an answer. */
int brg_engine_fd(const struct brg_engine *e);

/* brg_engine_open - another stage, or none (setup NULL); the state before is gone. Answered OPEN.
 * asserts: path fits */
void brg_engine_open(struct brg_engine *e, const struct brg_stage_setup *setup, const char *path);

/* brg_engine_do - asserts: fewer than BRG_ENGINE_COMMANDS_MAX are unanswered */
void brg_engine_do(struct brg_engine *e, const struct brg_engine_command *command);

/* brg_engine_next - an answer. errors: BRG_ENOENT none */
BRG_CHECK int brg_engine_next(struct brg_engine *e, struct brg_engine_answer *out);

#endif
