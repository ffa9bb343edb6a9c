#include "model/line.h"

#include <math.h>
#include <string.h>

#include "model/network.h"

struct brg_line {
    struct brg_line_settings set;
    uint64_t param_count;
    float *params, *grads, *moments;
    float *boundary[BRG_STAGES_MAX + 1]; /* [microbatch * context, dim], of the last microbatch */
    float *d;                            /* the same, running backward */
    uint32_t boundary_valid;
    struct brg_line_stage at[BRG_STAGES_MAX];
    struct brg_stage_workspace *w[BRG_STAGES_MAX];
    void *memory[BRG_STAGES_MAX];
    uint32_t all[BRG_STAGES_MAX]; /* 0, 1, 2, ... */
};

static void *allocate(size_t size_bytes) {
    const size_t rounded = (size_bytes + BRG_MODEL_ALIGN - 1) / BRG_MODEL_ALIGN * BRG_MODEL_ALIGN;
    void *p = aligned_alloc(BRG_MODEL_ALIGN, rounded + BRG_MODEL_ALIGN);
    if (p != NULL) memset(p, 0, rounded + BRG_MODEL_ALIGN);
    return p;
}

/* Memory and views of stage `i`, whose cut is in l->at[i].stage. */
static int stage_new(struct brg_line *l, uint32_t i) {
    struct brg_line_stage *s = &l->at[i];
    const uint64_t states = brg_optimizer_state_count(&l->set.optimizer, 1);
    s->params = l->params + s->stage.offset;
    s->grad = l->grads + s->stage.offset;
    s->moments = l->moments + states * s->stage.offset;
    s->lr_factor = 1.0;
    l->memory[i] = allocate(brg_stage_workspace_bytes(&s->stage, l->set.microbatch, 1));
    if (l->memory[i] == NULL) return BRG_ENOMEM;
    l->w[i] = brg_stage_workspace_init(l->memory[i], &s->stage, l->set.microbatch, 1, NULL);
    return BRG_OK;
}

int brg_line_create(const struct brg_line_settings *settings, uint64_t seed, struct brg_line **out,
                    struct brg_why *why) {
    int rc = BRG_OK;
    struct brg_line *l = allocate(sizeof *l);
    *out = NULL;
    if (l == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory for a line of stages");
    l->set = *settings;
    for (uint32_t i = 0; i < settings->stages || i == 0; i++) {
        rc = brg_stage_cut(&settings->model, settings->stages, i, &l->at[i].stage, why);
        if (rc != BRG_OK) goto out;
        l->all[i] = i;
    }
    const uint64_t n = brg_model_param_count(&settings->model);
    const uint64_t row = brg_stage_boundary_count(&l->at[0].stage, settings->microbatch);
    l->param_count = n;
    l->params = allocate(n * sizeof(float));
    l->grads = allocate(n * sizeof(float));
    l->moments = allocate(brg_optimizer_state_count(&settings->optimizer, n) * sizeof(float));
    l->d = allocate(row * sizeof(float));
    rc = l->params && l->grads && l->moments && l->d ? BRG_OK : BRG_ENOMEM;
    for (uint32_t i = 0; i <= settings->stages && rc == BRG_OK; i++) {
        l->boundary[i] = allocate(row * sizeof(float));
        if (l->boundary[i] == NULL) rc = BRG_ENOMEM;
        if (rc == BRG_OK && i < settings->stages) rc = stage_new(l, i);
    }
    if (rc != BRG_OK) {
        rc = brg_why_set(why, rc, "no memory for %llu parameters", (unsigned long long)n);
        goto out;
    }
    brg_model_init(&settings->model, seed, l->params);
    *out = l;
    l = NULL;
out:
    brg_line_destroy(&l);
    return rc;
}

void brg_line_destroy(struct brg_line **line) {
    struct brg_line *l = *line;
    if (l == NULL) return;
    for (uint32_t i = 0; i <= BRG_STAGES_MAX; i++) free(l->boundary[i]);
    for (uint32_t i = 0; i < BRG_STAGES_MAX; i++) free(l->memory[i]);
    free(l->params);
    free(l->grads);
    free(l->moments);
    free(l->d);
    free(l);
    *line = NULL;
}

float *brg_line_params(struct brg_line *l) {
    return l->params;
}

struct brg_line_stage *brg_line_at(struct brg_line *l, uint32_t stage) {
    BRG_ASSERT(stage < l->set.stages);
    return &l->at[stage];
}

struct brg_line_layers brg_line_layers_of(const struct brg_stage *stage) {
    const uint64_t begin = brg_llama_offsets_of(&stage->model, stage->first_layer).norm1;
    return (struct brg_line_layers){.first = begin - stage->offset,
                                    .size = brg_llama_parts_of(&stage->model).size,
                                    .count = stage->layers};
}

void brg_line_begin(struct brg_line *l) {
    memset(l->grads, 0, l->param_count * sizeof *l->grads);
}

static struct brg_line_path path_of(const struct brg_line *l, struct brg_line_path path) {
    if (path.stage == NULL) return (struct brg_line_path){l->set.stages, l->all};
    BRG_ASSERT(path.count <= l->set.stages);
    return path;
}

/* From tokens to what the head reads, which is returned. */
static int forward(struct brg_line *l, const struct brg_batch *batch, struct brg_line_path path) {
    const int rc = brg_stage_embed(l->w[0], l->at[0].params, batch, l->boundary[0]);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < path.count; i++) {
        const uint32_t s = path.stage[i];
        BRG_ASSERT(s < l->set.stages);
        brg_stage_forward(l->w[s], 0, l->at[s].params, batch->samples, l->boundary[i],
                          l->boundary[i + 1]);
    }
    l->boundary_valid = path.stage == l->all;
    return BRG_OK;
}

int brg_line_microbatch(struct brg_line *l, const struct brg_batch *batch,
                        struct brg_line_path path, struct brg_model_sums *sums) {
    const uint32_t last = l->set.stages - 1;
    path = path_of(l, path);
    int rc = forward(l, batch, path);
    if (rc != BRG_OK) return rc;
    rc = brg_stage_head(l->w[last], l->at[last].params, batch, l->boundary[path.count],
                        l->at[last].grad, l->d, sums);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = path.count; i-- > 0;) {
        const uint32_t s = path.stage[i];
        brg_stage_backward(l->w[s], 0, l->at[s].params, batch->samples, l->d, l->at[s].grad);
    }
    return brg_stage_embed_grad(l->w[0], batch, l->d, l->at[0].grad);
}

int brg_line_loss(struct brg_line *l, const struct brg_batch *batch, struct brg_line_path path,
                  struct brg_model_sums *sums) {
    const uint32_t last = l->set.stages - 1;
    path = path_of(l, path);
    const int rc = forward(l, batch, path);
    if (rc != BRG_OK) return rc;
    return brg_stage_head(l->w[last], l->at[last].params, batch, l->boundary[path.count], NULL,
                          NULL, sums);
}

const float *brg_line_boundary(const struct brg_line *l, uint32_t stage) {
    BRG_ASSERT(stage <= l->set.stages);
    BRG_ASSERT(l->boundary_valid);
    return l->boundary[stage];
}

int brg_line_apply(struct brg_line *l, uint64_t step, uint64_t targets,
                   struct brg_optimizer_report *report) {
    const double count = (double)targets;
    double norm2 = 0;
    BRG_ASSERT(targets > 0);
    for (uint32_t i = 0; i < l->set.stages; i++) {
        struct brg_line_stage *s = &l->at[i];
        const double sum = brg_optimizer_norm2(s->stage.param_count, s->grad);
        norm2 += sum;
        s->norm2 = sum / (count * count);
    }
    report->lr = brg_optimizer_lr(&l->set.optimizer, step);
    report->grad_norm = sqrt(norm2) / count;
    report->clip = 1.0;
    if (!isfinite(report->grad_norm)) return BRG_EINVAL;
    report->clip = brg_optimizer_clip(&l->set.optimizer, report->grad_norm);
    for (uint32_t i = 0; i < l->set.stages; i++) {
        struct brg_line_stage *s = &l->at[i];
        s->own_step++;
        const struct brg_optimizer_part part = {.offset = s->stage.offset,
                                                .count = s->stage.param_count,
                                                .step = step,
                                                .own_step = s->own_step,
                                                .targets = targets,
                                                .clip = report->clip,
                                                .lr_factor = s->lr_factor};
        brg_optimizer_step_part(&l->set.optimizer, &l->set.model, &part, s->grad, s->moments,
                                s->params);
    }
    return BRG_OK;
}

void brg_line_forget(struct brg_line *l, uint32_t stage) {
    struct brg_line_stage *s = brg_line_at(l, stage);
    const uint64_t n = brg_optimizer_state_count(&l->set.optimizer, s->stage.param_count);
    if (n > 0) memset(s->moments, 0, n * sizeof *s->moments);
    s->own_step = 0;
}

/* One pass of the stage over x: sets l->d to the gradient of the mean squared distance from y, and
 * returns the distance. */
static double distance(struct brg_line *l, uint32_t stage, uint32_t samples, const float *x,
                       const float *y) {
    const struct brg_line_stage *s = &l->at[stage];
    const uint64_t n = brg_stage_boundary_count(&s->stage, samples);
    double sum = 0;
    brg_stage_forward(l->w[stage], 0, s->params, samples, x, l->d);
    for (uint64_t i = 0; i < n; i++) {
        const double e = (double)l->d[i] - (double)y[i];
        sum += e * e;
        l->d[i] = (float)(2.0 * e / (double)n);
    }
    return sum / (double)n;
}

void brg_line_distil(struct brg_line *l, uint32_t stage, uint32_t samples, const float *x,
                     const float *y, struct brg_line_fit fit, double *error) {
    struct brg_line_stage *s = brg_line_at(l, stage);
    const struct brg_optimizer_spec adamw = {.type = BRG_OPTIMIZER_ADAMW,
                                             .schedule = BRG_SCHEDULE_CONSTANT,
                                             .lr = fit.lr,
                                             .beta1 = 0.9f,
                                             .beta2 = 0.999f,
                                             .eps = 1e-8f};
    BRG_ASSERT(l->set.optimizer.type == BRG_OPTIMIZER_ADAMW); /* its moments are used here */
    BRG_ASSERT(samples <= l->set.microbatch);
    brg_line_forget(l, stage);
    error[0] = error[1] = 0;
    for (uint32_t i = 0; i < fit.steps; i++) {
        const struct brg_optimizer_part part = {.offset = s->stage.offset,
                                                .count = s->stage.param_count,
                                                .step = 1,
                                                .own_step = i + 1,
                                                .targets = 1,
                                                .clip = 1.0,
                                                .lr_factor = 1.0};
        memset(s->grad, 0, s->stage.param_count * sizeof *s->grad);
        error[i > 0] = distance(l, stage, samples, x, y);
        brg_stage_backward(l->w[stage], 0, s->params, samples, l->d, s->grad);
        brg_optimizer_step_part(&adamw, &l->set.model, &part, s->grad, s->moments, s->params);
    }
    brg_line_forget(l, stage);
}
