/* The heavy half of a pipeline's checkpoints: carried out on the compute thread, in order. */
#include "coordinator/shell/line.h"

#include "recovery/state.h"

void brg_line_work_free(struct brg_line_work *w) {
    if (w == NULL) return;
    brg_shards_abort(&w->writer);
    brg_buffer_release(w->blob);
    brg_source_fini(&w->source);
    free(w);
}

static int put(struct brg_line_work *w, struct brg_why *why) {
    int rc = BRG_OK;
    if (w->writer == NULL) rc = brg_shards_begin(w->folder, &w->model, &w->about, &w->writer, why);
    if (rc == BRG_EEXIST) {
        w->is_there = 1;
        return BRG_OK;
    }
    return rc == BRG_OK ? brg_shards_put(w->writer, w->stage, w->blob->data, w->size_bytes, why)
                        : rc;
}

static int finish(struct brg_line_work *w, struct brg_why *why) {
    int rc = BRG_OK;
    if (w->writer != NULL) rc = brg_shards_finish(w->writer, NULL, why);
    brg_shards_abort(&w->writer);
    return rc == BRG_OK ? brg_shards_tidy(w->folder, w->run, w->keep, w->committed, w->step, why)
                        : rc;
}

static int load(struct brg_line_work *w, struct brg_why *why) {
    struct brg_shards *s = NULL;
    struct brg_stage stage;
    struct brg_buffer *buffer = NULL;
    const uint32_t kinds = BRG_STATE_WEIGHTS | (w->moments > 0 ? BRG_STATE_MOMENTS : 0u);
    const struct brg_object object = {
        .kind = BRG_OBJECT_STATE, .run = w->run, .step = w->step, .unit = w->stage};
    int rc = brg_stage_cut(&w->model, w->stages, w->stage, &stage, why);
    if (rc == BRG_OK) rc = brg_shards_open(w->folder, &w->model, w->run, w->step, &s, why);
    const struct brg_shards_wish wish = {
        .stage = &stage, .lineage = w->lineage, .kinds = kinds, .moments = w->moments};
    if (rc == BRG_OK) rc = brg_pool_get(w->pool, brg_shards_state_bytes(&wish), &buffer);
    if (rc == BRG_OK) rc = brg_shards_state(s, &wish, buffer->data, why);
    if (rc == BRG_OK)
        rc = brg_source_init(&w->source, w->pool, &object, buffer, brg_shards_state_bytes(&wish));
    if (rc == BRG_OK) brg_source_digest(&w->source);
    brg_buffer_release(buffer);
    brg_shards_close(&s);
    return rc;
}

int brg_line_work_run(struct brg_line_work *w, struct brg_why *why) {
    switch ((enum brg_line_work_type)w->type) {
    case BRG_LINE_WORK_PUT: return put(w, why);
    case BRG_LINE_WORK_FINISH: return finish(w, why);
    case BRG_LINE_WORK_LOAD: return load(w, why);
    case BRG_LINE_WORK_DROP: return brg_shards_drop_after(w->folder, w->run, w->step, why);
    case BRG_LINE_WORK_ABORT: brg_shards_abort(&w->writer); return BRG_OK;
    }
    BRG_ASSERT(0 && "work that does not exist");
    return BRG_EINVAL;
}
