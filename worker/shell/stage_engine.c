#include "worker/shell/stage_engine.h"

#include "base/ring.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define IDLE_WAIT_NS (UINT64_C(3600) * BRG_NS_PER_S)

struct item {
    struct brg_engine_command command;
    struct brg_stage_setup setup; /* OPEN */
    uint32_t has_setup;
    char path[BRG_FILE_PATH_BYTES];
};

struct brg_engine {
    struct brg_pool *pool;
    struct brg_ring *commands, *answers;
    pthread_t thread;
    _Atomic uint32_t stop;
    uint32_t unanswered;           /* the reactor's */
    struct brg_stage_state *state; /* the thread's own, NULL: none */
    struct item item;
};

/* ---- on the engine's thread ---- */

static int do_open(struct brg_engine *e, struct brg_why *why) {
    brg_stage_close(&e->state);
    if (!e->item.has_setup) return BRG_OK;
    return brg_stage_open(&e->item.setup, e->pool, e->item.path, &e->state, why);
}

static int do_mix(struct brg_engine *e, const struct brg_engine_command *c) {
    struct brg_stage_mix mix = {.count = c->donor_count,
                                .edges = c->in[0],
                                .version = c->version,
                                .lineage = c->lineage,
                                .raise = c->raise};
    for (uint32_t i = 0; i < c->donor_count; i++) {
        mix.stages[i] = c->donors[i];
        mix.weights[i] = c->weights[i];
        mix.blobs[i] = c->in[1 + i];
    }
    return brg_stage_mix_in(e->state, &mix);
}

static int do_reduce(struct brg_engine *e, struct brg_engine_answer *a) {
    brg_stage_reduce(e->state, &a->sums);
    return brg_stage_gradient(e->state, &a->out[0]);
}

static int do_freeze(struct brg_engine *e, const struct brg_engine_command *c,
                     struct brg_engine_answer *a) {
    a->version = brg_stage_version(e->state);
    return c->kinds == 0 ? brg_stage_freeze_edges(e->state, &a->out[0])
                         : brg_stage_freeze(e->state, c->kinds, &a->out[0]);
}

/* What leaves the state changed, and with which weights. */
static void tell_weights(struct brg_engine *e, struct brg_engine_answer *a) {
    brg_stage_weights_digest(e->state, &a->digest);
    a->version = brg_stage_version(e->state);
}

static int carry_out(struct brg_engine *e, const struct brg_engine_command *c,
                     struct brg_engine_answer *a) {
    struct brg_stage_state *s = e->state;
    int rc = BRG_OK;
    switch ((enum brg_engine_what)c->what) {
    case BRG_ENGINE_LOAD:
        rc = brg_stage_load(s, c->in[0], c->version, c->lineage);
        if (rc == BRG_OK) tell_weights(e, a);
        return rc;
    case BRG_ENGINE_MIX:
        rc = do_mix(e, c);
        if (rc == BRG_OK) tell_weights(e, a);
        return rc;
    case BRG_ENGINE_BEGIN: brg_stage_begin(s, c->step, c->lanes); return BRG_OK;
    case BRG_ENGINE_FORWARD: return brg_stage_pass_forward(s, c->index, c->in[0], &a->out[0]);
    case BRG_ENGINE_BACKWARD: return brg_stage_pass_backward(s, c->index, c->in[0], &a->out[0]);
    case BRG_ENGINE_LANE: return brg_stage_lane(s, c->index, &a->out[0]);
    case BRG_ENGINE_TAKE_LANE: return brg_stage_take_lane(s, c->index, c->in[0]);
    case BRG_ENGINE_REDUCE: return do_reduce(e, a);
    case BRG_ENGINE_TAIL: return brg_stage_take_gradient(s, c->in[0]);
    case BRG_ENGINE_APPLY:
        brg_stage_apply(s, c->step, c->clip);
        tell_weights(e, a);
        return BRG_OK;
    case BRG_ENGINE_FREEZE: return do_freeze(e, c, a);
    case BRG_ENGINE_SLICE: return brg_stage_slice(s, &a->index, &a->out[0], &a->out[1]);
    case BRG_ENGINE_KEEP:
        return brg_stage_keep(s, c->stage, c->index, (int)c->packed, c->version, c->in[0],
                              &a->version);
    case BRG_ENGINE_SHADOW: return brg_stage_shadow_blob(s, c->stage, &a->out[0], &a->version);
    case BRG_ENGINE_FORGET: brg_stage_forget_shadow(s, c->stage); return BRG_OK;
    default: BRG_ASSERT(0 && "a command that does not exist"); return BRG_EINVAL;
    }
}

static void *thread_main(void *argument) {
    struct brg_engine *e = argument;
    int rc = BRG_OK;
    while (rc != BRG_ECANCELED) {
        rc = brg_ring_pop_wait(e->commands, &e->item, IDLE_WAIT_NS);
        if (rc != BRG_OK) continue;
        const struct brg_engine_command *c = &e->item.command;
        struct brg_engine_answer a = {.what = c->what,
                                      .index = c->index,
                                      .stage = c->stage,
                                      .packed = c->packed,
                                      .tag = c->tag,
                                      .generation = c->generation,
                                      .step = c->step,
                                      .code = BRG_ECANCELED};
        if (!atomic_load(&e->stop)) {
            if (c->what == BRG_ENGINE_OPEN)
                a.code = do_open(e, &a.why);
            else if (e->state == NULL)
                a.code = BRG_ENOENT;
            else
                a.code = carry_out(e, c, &a);
        }
        for (uint32_t i = 0; i <= BRG_STAGE_DONORS_MAX; i++) brg_buffer_release(c->in[i]);
        rc = brg_ring_push(e->answers, &a);
        BRG_ASSERT(rc == BRG_OK); /* as many as there are commands */
    }
    brg_stage_close(&e->state);
    return NULL;
}

/* ---- on the reactor ---- */

int brg_engine_create(struct brg_pool *pool, struct brg_engine **out, struct brg_why *why) {
    *out = NULL;
    struct brg_engine *e = calloc(1, sizeof *e);
    if (e == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    e->pool = pool;
    int rc = brg_ring_create(&e->commands, BRG_ENGINE_COMMANDS_MAX, sizeof(struct item));
    if (rc == BRG_OK)
        rc =
            brg_ring_create(&e->answers, BRG_ENGINE_COMMANDS_MAX, sizeof(struct brg_engine_answer));
    if (rc == BRG_OK && pthread_create(&e->thread, NULL, thread_main, e) != 0) rc = BRG_ENOMEM;
    if (rc != BRG_OK) {
        brg_ring_destroy(&e->commands);
        brg_ring_destroy(&e->answers);
        free(e);
        return brg_why_set(why, rc, "the thread of a stage cannot be started: %s",
                           brg_strerror(rc));
    }
    *out = e;
    return BRG_OK;
}

void brg_engine_destroy(struct brg_engine **engine) {
    struct brg_engine *e = *engine;
    struct brg_engine_answer a;
    if (e == NULL) return;
    atomic_store(&e->stop, 1);
    brg_ring_close(e->commands);
    const int rc = pthread_join(e->thread, NULL);
    BRG_ASSERT(rc == 0);
    while (brg_ring_pop(e->answers, &a) == BRG_OK) {
        brg_buffer_release(a.out[0]);
        brg_buffer_release(a.out[1]);
    }
    brg_ring_destroy(&e->commands);
    brg_ring_destroy(&e->answers);
    free(e);
    *engine = NULL;
}

int brg_engine_fd(const struct brg_engine *e) {
    return brg_ring_fd(e->answers);
}

static void push(struct brg_engine *e, const struct item *item) {
    BRG_ASSERT(e->unanswered < BRG_ENGINE_COMMANDS_MAX);
    e->unanswered++;
    const int rc = brg_ring_push(e->commands, item);
    BRG_ASSERT(rc == BRG_OK);
}

void brg_engine_open(struct brg_engine *e, const struct brg_stage_setup *setup, const char *path) {
    struct item item = {.command = {.what = BRG_ENGINE_OPEN}, .has_setup = setup != NULL};
    if (setup != NULL) {
        item.setup = *setup;
        item.command.stage = setup->stage;
        BRG_ASSERT(strlen(path) < sizeof item.path);
        memcpy(item.path, path, strlen(path) + 1);
    }
    push(e, &item);
}

void brg_engine_do(struct brg_engine *e, const struct brg_engine_command *command) {
    struct item item = {.command = *command};
    push(e, &item);
}

int brg_engine_next(struct brg_engine *e, struct brg_engine_answer *out) {
    const int rc = brg_ring_pop(e->answers, out);
    if (rc == BRG_OK) e->unanswered--;
    return rc;
}
