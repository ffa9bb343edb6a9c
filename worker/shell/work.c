/* work.c - the run that was described to us, its data set, and what comes for it.
 *
 *   NONE --open file--> OPENING --> READY
 *                         |  '----> UNFIT (the model cannot be built here, ...)
 *                         '- no file -> FETCHING --all parts--> OPENING */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

#define RETRY_NS (2 * BRG_NS_PER_S)
#define STUCK_NS (30 * BRG_NS_PER_S)

const struct brg_fetch_config brg_shell_fetch_config = {
    .retry_ns = RETRY_NS,
    .idle_ns = STUCK_NS,
    .part_bytes = BRG_BULK_PART_BYTES,
    .window = BRG_BULK_WINDOW,
    .verify_parts = 0, /* a data set is checked as a whole */
};

/* ---- the run ---- */

static struct brg_model_spec model_of(const struct brg_msg_model *m) {
    struct brg_model_spec spec = {
        .type = m->type,
        .dim = m->dim,
        .layers = m->layers,
        .heads = m->heads,
        .kv_heads = m->kv_heads,
        .hidden = m->hidden,
        .context = m->context,
        .vocab = m->vocab,
        .tied = m->tied,
        .rope_theta = m->rope_theta,
        .norm_eps = m->norm_eps,
        .rope_scaling = {.type = m->rope_type,
                         .factor = m->rope_factor,
                         .low_freq = m->rope_low_freq,
                         .high_freq = m->rope_high_freq,
                         .original_context = m->rope_original_context},
        .inputs = m->inputs,
        .classes = m->classes,
        .width_count = m->width_count,
    };
    _Static_assert(sizeof spec.widths == sizeof m->widths, "as many hidden layers as the wire has");
    memcpy(spec.widths, m->widths, sizeof spec.widths);
    return spec;
}

uint32_t brg_shell_take_run(struct brg_shell *s, const struct brg_msg_run *run) {
    struct brg_shell_run *mine = &s->run;
    struct brg_run_setup setup = {
        .run = run->run,
        .models = run->models,
        .model = model_of(&run->model),
        .batch = {.samples = run->batch.samples,
                  .chunks = run->batch.chunks,
                  .microbatch = run->batch.microbatch},
        .data_digest = run->data.digest,
    };
    memcpy(setup.data_seeds, run->data_seeds, sizeof setup.data_seeds);
    if (mine->setup.run == setup.run && mine->stage != BRG_RUN_STAGE_UNFIT)
        return mine->stage == BRG_RUN_STAGE_READY; /* said again */
    brg_fetch_drop(&s->data_fetch);
    memset(mine, 0, sizeof *mine);
    mine->setup = setup;
    mine->data_bytes = run->data.size_bytes;
    memcpy(mine->name, run->name, sizeof mine->name);
    return 0;
}

void brg_shell_close_run(struct brg_shell *s) {
    if (s->run.stage != BRG_RUN_STAGE_READY) return; /* an open under way is closed by its answer */
    brg_compute_close(s->compute);
    s->run.stage = BRG_RUN_STAGE_NONE;
}

static void tell_data(struct brg_shell *s) {
    brg_shell_defer(s, (struct brg_worker_event){
                           .type = BRG_WEV_DATA, .run = s->run.setup.run, .code = s->run.code});
}

void brg_shell_become_unfit(struct brg_shell *s, int code, const struct brg_why *why) {
    s->run.stage = BRG_RUN_STAGE_UNFIT;
    s->run.code = code;
    s->run.why = *why;
    brg_log_error("run", BRG_FIELDS(BRG_STR("run", s->run.name)),
                  "this worker cannot work on the run: %s", why->text);
    tell_data(s);
}

/* ---- its data set ---- */

static void open_run(struct brg_shell *s, struct brg_buffer *blob) {
    char path[BRG_FILE_PATH_BYTES];
    BRG_ASSERT(!s->opening);
    s->opening = 1;
    s->run.stage = BRG_RUN_STAGE_OPENING;
    brg_compute_open(s->compute, &s->run.setup,
                     brg_statedir_data_path(&s->state, &s->run.setup.data_digest, path), blob,
                     s->run.data_bytes);
}

static void start_data_fetch(struct brg_shell *s) {
    struct brg_why why;
    struct brg_buffer *buffer = NULL;
    const struct brg_object object = {.kind = BRG_OBJECT_DATA, .digest = s->run.setup.data_digest};
    const int rc = brg_pool_get(s->pool, s->run.data_bytes, &buffer);
    if (rc != BRG_OK) {
        brg_shell_become_unfit(
            s,
            brg_why_set(&why, rc,
                        "its data set has %llu bytes, more than this worker may hold "
                        "in memory",
                        (unsigned long long)s->run.data_bytes),
            &why);
        return;
    }
    s->run.stage = BRG_RUN_STAGE_FETCHING;
    brg_fetch_start(&s->data_fetch, &object, buffer, s->run.data_bytes, &brg_shell_fetch_config,
                    s->now_ns);
}

void brg_shell_fetch_data(struct brg_shell *s) {
    switch ((enum brg_run_stage)s->run.stage) {
    case BRG_RUN_STAGE_NONE:
        if (!s->opening) open_run(s, NULL); /* else the answer to the other run comes first */
        break;
    case BRG_RUN_STAGE_READY:
    case BRG_RUN_STAGE_UNFIT: tell_data(s); break;
    case BRG_RUN_STAGE_OPENING:
    case BRG_RUN_STAGE_FETCHING: break; /* under way */
    default: BRG_ASSERT(0 && "a stage that does not exist");
    }
}

static void on_opened(struct brg_shell *s, const struct brg_compute_answer *a) {
    struct brg_shell_run *run = &s->run;
    s->opening = 0;
    if (a->run != run->setup.run || run->stage != BRG_RUN_STAGE_OPENING) {
        brg_compute_close(s->compute); /* another run was described meanwhile */
        if (s->core.run != 0 && s->core.run == run->setup.run) brg_shell_fetch_data(s);
        return;
    }
    switch (a->code) {
    case BRG_OK:
        run->stage = BRG_RUN_STAGE_READY;
        run->code = BRG_OK;
        brg_statedir_prune(&s->state, &run->setup.data_digest);
        if (s->core.run != run->setup.run) { /* released meanwhile */
            brg_shell_close_run(s);
            break;
        }
        tell_data(s);
        break;
    case BRG_ENOENT: start_data_fetch(s); break;
    case BRG_ECORRUPT:
        if (++run->data_tries < BRG_SHELL_DATA_TRIES_MAX) {
            brg_log_warn("data", NULL, "%s; fetching it again", a->why.text);
            start_data_fetch(s);
            break;
        }
        brg_shell_become_unfit(s, a->code, &a->why);
        break;
    default: brg_shell_become_unfit(s, a->code, &a->why); break;
    }
}

/* ---- what comes ---- */

void brg_shell_on_part(struct brg_shell *s, struct brg_bytes bytes) {
    struct brg_fetch *fetch = brg_shell_params_fetch(s, &s->in.part.object);
    if (brg_fetch_is_about(&s->data_fetch, &s->in.part.object)) fetch = &s->data_fetch;
    if (fetch == NULL) return; /* of a fetch given up */
    const int rc = brg_fetch_on_part(fetch, &s->in, bytes, s->now_ns);
    if (rc != BRG_OK) {
        brg_log_warn("fetch", BRG_FIELDS(BRG_U64("offset", s->in.part.offset)),
                     "dropped a part that was not asked for like this, or came damaged");
        return;
    }
    if (!brg_fetch_is_done(fetch)) return;
    if (fetch == &s->data_fetch)
        open_run(s, brg_fetch_take(fetch));
    else
        brg_shell_params_done(s, fetch);
}

void brg_shell_on_answers(struct brg_shell *s) {
    struct brg_compute_answer a;
    while (!s->is_over && brg_compute_answer(s->compute, &a) == BRG_OK) {
        if (a.type == BRG_ANSWER_OPENED)
            on_opened(s, &a);
        else
            brg_shell_on_computed(s, &a);
    }
}
