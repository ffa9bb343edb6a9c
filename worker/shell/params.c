/* params.c - parameters at hand and on their way here, each by its version.
 *
 *   free --FETCH_PARAMS--> fetching --all parts--> here --DROP_PARAMS--> free
 *                             '-- the core wants another version --> free
 *
 * One version of each model may be here, and one is on its way: while a task computes, the
 * parameters of the next are fetched. The core's state says which; the bytes are the pool's. */
#include "base/log.h"
#include "worker/shell/shell.h"

struct brg_shell_params *brg_shell_params_find(struct brg_shell *s, uint64_t version) {
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++) {
        struct brg_shell_params *p = &s->params[i];
        if (p->state != BRG_SHELL_PARAMS_FREE && p->version == version) return p;
    }
    return NULL;
}

static void let_go(struct brg_shell_params *p) {
    brg_fetch_drop(&p->fetch);
    brg_buffer_release(p->buffer);
    p->buffer = NULL;
    p->state = BRG_SHELL_PARAMS_FREE;
}

void brg_shell_drop_params(struct brg_shell *s, uint64_t version) {
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++)
        if (version == UINT64_MAX || s->params[i].version == version) let_go(&s->params[i]);
}

/* The task of the queue that starts from `version`. */
static const struct brg_msg_task *task_of_version(const struct brg_shell *s, uint64_t version) {
    for (uint32_t i = 0; i < BRG_WORKER_TASKS_MAX; i++)
        if (s->tasks[i].run == s->core.run && s->tasks[i].version == version) return &s->tasks[i];
    return NULL;
}

/* No memory for them now. What is held makes room once it is committed, and the core asks again;
 * with nothing held there will never be more. */
static void no_room(struct brg_shell *s, const struct brg_msg_task *task) {
    struct brg_why why;
    if (s->job_busy || brg_shell_holds_shares(s)) return;
    (void)brg_why_set(&why, BRG_ENOMEM,
                      "its parameters have %llu bytes, and this worker may not hold those of %u "
                      "models in memory; give it more with --memory",
                      (unsigned long long)task->params_bytes, s->run.setup.models);
    brg_shell_become_unfit(s, BRG_ENOMEM, &why);
}

void brg_shell_fetch_params(struct brg_shell *s, uint64_t version) {
    struct brg_shell_params *place = brg_shell_params_find(s, version);
    const struct brg_msg_task *task = task_of_version(s, version);
    struct brg_buffer *buffer = NULL;
    BRG_ASSERT(task != NULL);   /* the core asks for what its tasks need */
    if (place != NULL) return;  /* it asks again by itself */
    brg_shell_follow_params(s); /* the fetch that this one replaces */
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX && place == NULL; i++)
        if (s->params[i].state == BRG_SHELL_PARAMS_FREE) place = &s->params[i];
    BRG_ASSERT(place != NULL); /* one of each model is held, and nothing else is on its way */
    if (brg_pool_get(s->pool, task->params_bytes, &buffer) != BRG_OK) {
        no_room(s, task);
        return;
    }
    const struct brg_object object = {
        .kind = BRG_OBJECT_PARAMS, .run = s->core.run, .step = version};
    struct brg_fetch_config config = brg_shell_fetch_config;
    config.verify_parts = 1; /* no digest of the whole is known beforehand */
    place->state = BRG_SHELL_PARAMS_FETCHING;
    place->version = version;
    brg_fetch_start(&place->fetch, &object, buffer, task->params_bytes, &config, s->now_ns);
}

int brg_shell_params_gone(struct brg_shell *s, const struct brg_object *object) {
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++) {
        if (!brg_fetch_is_about(&s->params[i].fetch, object)) continue;
        let_go(&s->params[i]); /* the core asks again while it needs them */
        return 1;
    }
    return 0;
}

struct brg_fetch *brg_shell_params_fetch(struct brg_shell *s, const struct brg_object *object) {
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++)
        if (brg_fetch_is_about(&s->params[i].fetch, object)) return &s->params[i].fetch;
    return NULL;
}

void brg_shell_params_done(struct brg_shell *s, struct brg_fetch *fetch) {
    const struct brg_object object = fetch->object;
    struct brg_shell_params *p = brg_shell_params_find(s, object.step);
    BRG_ASSERT(p != NULL && fetch == &p->fetch);
    p->buffer = brg_fetch_take(fetch);
    p->state = BRG_SHELL_PARAMS_HERE;
    brg_shell_feed(s, (struct brg_worker_event){
                          .type = BRG_WEV_PARAMS, .run = object.run, .step = object.step});
}

static int is_held(const struct brg_worker *core, uint64_t version) {
    return core->models != 0 && core->params[version % core->models] == version;
}

void brg_shell_follow_params(struct brg_shell *s) {
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++) {
        struct brg_shell_params *p = &s->params[i];
        if (p->state == BRG_SHELL_PARAMS_FETCHING &&
            (p->fetch.object.run != s->core.run || p->version != s->core.fetching))
            let_go(p);
        if (p->state == BRG_SHELL_PARAMS_HERE && !is_held(&s->core, p->version)) let_go(p);
    }
}
