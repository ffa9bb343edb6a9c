#include "coordinator/shell/openrun.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/shards.h"
#include "kernels/kernels.h"

/* Held-out samples computed at once in an evaluation. */
#define EVAL_SAMPLES 8u
/* Checkpoints that the log reaches back over: one damaged checkpoint costs time and no step. */
#define LOG_REACH 2u

static uint64_t targets_of(const struct brg_openrun *run, uint32_t samples) {
    const struct brg_model_spec *model = &run->config.run.model;
    return model->type == BRG_MODEL_LLAMA ? (uint64_t)samples * model->context : samples;
}

uint64_t brg_openrun_chunk_targets(const struct brg_openrun *run, uint32_t chunk) {
    return targets_of(run, brg_sample_chunk_count(&run->sampler, chunk));
}

/* ---- open ---- */

/* The packed data set lies in the run's folder from the first opening on: a restart does not depend
 * on the operator's files any more, and what workers fetch is what was submitted. */
static int open_data(struct brg_openrun *run, struct brg_why *why) {
    char path[BRG_PATH_BYTES];
    struct brg_data_error error = {{0}};
    const int length = snprintf(path, sizeof path, "%s/data.brgdata", run->config.folder);
    if (length < 0 || (size_t)length >= sizeof path) {
        return brg_why_set(why, BRG_EINVAL, "%s: the path is too long", run->config.folder);
    }
    struct brg_data_spec packed = {.format = run->config.run.data.format};
    struct stat st;
    if (stat(path, &st) != 0) {
        struct brg_data source;
        int rc = brg_data_open(&run->config.run.data, &source, &error);
        /* The operator's file, not ours: a damaged one is no reason to stop everything. */
        if (rc != BRG_OK && rc != BRG_ENOMEM) rc = BRG_EINVAL;
        if (rc != BRG_OK) return brg_why_set(why, rc, "%s", error.text);
        rc = brg_data_pack_file(&source, path);
        brg_data_close(&source);
        if (rc != BRG_OK) {
            return brg_why_set(why, rc,
                               "%s: the packed data set cannot be written (%s): make room there, "
                               "then resume the run",
                               path, strerror(errno));
        }
    }
    memcpy(packed.train, path, sizeof packed.train);
    int rc = brg_data_open(&packed, &run->data, &error);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s", error.text);
    rc = brg_sampler_init(&run->sampler, &run->data, &run->config.run.model, &run->config.run.batch,
                          run->config.run.seed, &error);
    return rc == BRG_OK ? rc : brg_why_set(why, rc, "%s", error.text);
}

static int offer_data(struct brg_openrun *run, struct brg_why *why) {
    const uint64_t size = brg_data_pack_bytes(&run->data);
    struct brg_buffer *buffer = NULL;
    int rc = brg_pool_get(run->config.pool, size, &buffer);
    if (rc == BRG_OK) rc = brg_data_pack(&run->data, buffer->data, size);
    const struct brg_object object = {.kind = BRG_OBJECT_DATA, .digest = run->data.digest};
    if (rc == BRG_OK) rc = brg_source_init(&run->blob, run->config.pool, &object, buffer, size);
    if (rc == BRG_OK) brg_source_digest(&run->blob);
    brg_buffer_release(buffer);
    return rc == BRG_OK ? rc
                        : brg_why_set(why, rc, "the data set of %llu bytes does not fit in memory",
                                      (unsigned long long)size);
}

int brg_scheme_new(const struct brg_code_spec *code, struct brg_scheme **out, struct brg_why *why) {
    const size_t size = brg_scheme_size_bytes(code);
    *out = NULL;
    if (size == 0) return brg_scheme_check(code, why);
    struct brg_scheme *scheme = calloc(1, size);
    if (scheme == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory for the code");
    const int rc = brg_scheme_init(scheme, size, code, why);
    if (rc == BRG_OK) *out = scheme;
    if (rc != BRG_OK) free(scheme);
    return rc;
}

static uint32_t model_count(const struct brg_openrun *run) {
    return run->config.run.models;
}

static uint64_t moment_count(const struct brg_openrun *run) {
    return brg_optimizer_state_count(&run->config.run.optimizer, run->param_count);
}

static int allocate(struct brg_openrun *run, struct brg_why *why) {
    const size_t bytes = run->param_count * sizeof(float);
    const uint64_t state = moment_count(run);
    int rc = BRG_OK, is_short = 0;
    run->gradient = calloc(1, bytes);
    for (uint32_t m = 0; m < model_count(run) && rc == BRG_OK; m++) {
        struct brg_openrun_model *model = &run->models[m];
        model->optimizer = brg_run_config_optimizer(&run->config.run, m);
        model->moments = calloc(state > 0 ? state : 1, sizeof(float));
        is_short |= model->moments == NULL;
        rc = brg_pool_get(run->config.pool, bytes, &model->params);
    }
    if (run->gradient == NULL || is_short || rc != BRG_OK) {
        return brg_why_set(why, BRG_ENOMEM, "no memory for %u model%s of %llu parameters",
                           model_count(run), model_count(run) == 1 ? "" : "s",
                           (unsigned long long)run->param_count);
    }
    return BRG_OK;
}

static int load_from(struct brg_openrun *run, uint64_t step, struct brg_why *why) {
    struct brg_checkpoint c;
    int rc = brg_checkpoint_read(run->checkpoint_dir, run->config.id, step, &c, why);
    if (rc != BRG_OK) return rc;
    if (c.params_elements != run->param_count || c.optimizer_elements != moment_count(run) ||
        c.models != model_count(run)) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "%s: the checkpoint of step %llu is of another model than the run's",
                           run->checkpoint_dir, (unsigned long long)c.step);
    }
    for (uint32_t m = 0; m < model_count(run) && rc == BRG_OK; m++) {
        struct brg_openrun_model *model = &run->models[m];
        rc = brg_checkpoint_load_model(run->checkpoint_dir, &c, m, model->params->data,
                                       model->moments, why);
    }
    return rc;
}

/* As before the first step, whatever a damaged checkpoint has left there. */
static int start_anew(struct brg_openrun *run, struct brg_why *why) {
    const struct brg_start_place place = {.folder = run->config.folder, .run = run->config.id};
    float *first = run->models[0].params->data;
    const int is_import = run->config.run.model_from[0] != '\0';
    if (is_import) {
        const int rc = brg_start_params(&place, &run->config.run, &run->start, first, why);
        if (rc != BRG_OK) return rc;
    }
    for (uint32_t m = 0; m < model_count(run); m++) {
        struct brg_openrun_model *model = &run->models[m];
        if (!is_import) {
            brg_model_init(&run->config.run.model, run->config.run.sweep.seed[m],
                           model->params->data);
        } else if (m > 0) {
            memcpy(model->params->data, first, run->param_count * sizeof(float));
        }
        memset(model->moments, 0, moment_count(run) * sizeof(float));
    }
    return BRG_OK;
}

static uint32_t log_reach(const struct brg_openrun *run) {
    const uint32_t keep = run->config.run.checkpoint.keep;
    return keep < LOG_REACH ? keep : LOG_REACH;
}

/* The checkpoint that the log reaches back to: of those up to `committed` the LOG_REACH-th newest,
 * or 0 where there are fewer; brg_openrun_truncate keeps it so. items: oldest first. */
static uint64_t log_start(const struct brg_openrun *run, const struct brg_checkpoint_item *items,
                          uint32_t count) {
    uint32_t left = log_reach(run);
    for (uint32_t i = count; i-- > 0;) {
        if (items[i].state == BRG_CHECKPOINT_UNFINISHED) continue;
        if (items[i].step > run->config.committed) continue;
        if (--left == 0) return items[i].step;
    }
    return 0;
}

/* The newest checkpoint that verifies and that the log reaches back to, or the start. */
static int load_checkpoint(struct brg_openrun *run, struct brg_checkpoint_item *items,
                           uint32_t count, struct brg_why *why) {
    struct brg_checkpoint_choice choice;
    const uint64_t log_first = run->log != NULL ? brg_gradlog_first(run->log) : 0;
    int rc = BRG_OK;
    const struct brg_checkpoint_standing standing = {.committed = run->config.committed,
                                                     .log_first = log_first};
    for (;;) { /* each turn marks one damaged */
        rc = brg_checkpoint_plan_load(&standing, items, count, &choice);
        if (rc != BRG_OK) {
            return brg_why_set(why, rc,
                               "%s: step %llu is committed, but %s; put the newest backup of this "
                               "folder and of the store back",
                               run->checkpoint_dir, (unsigned long long)run->config.committed,
                               rc == BRG_EBEHIND ? "a checkpoint is of a later step"
                                                 : "no whole checkpoint reaches the gradient log");
        }
        if (choice.step == 0) {
            rc = start_anew(run, why);
            if (rc != BRG_OK) return rc;
            break;
        }
        rc = load_from(run, choice.step, why);
        if (rc == BRG_OK) break;
        if (rc != BRG_ECORRUPT) return rc;
        brg_log_warn("run", BRG_FIELDS(BRG_U64("step", choice.step)),
                     "a checkpoint is damaged, the one before it is taken: %s",
                     why != NULL ? why->text : "");
        items[choice.index].state = BRG_CHECKPOINT_DAMAGED;
    }
    run->applied = run->checkpoint = choice.step;
    return BRG_OK;
}

static const struct brg_record_step *record_of(const struct brg_openrun *run, uint64_t step) {
    BRG_ASSERT(step >= run->config.first_record && step <= run->config.committed);
    return &run->config.records[step - run->config.first_record];
}

static int open_log(struct brg_openrun *run, uint64_t reaches_back_to, struct brg_why *why) {
    if (run->config.run.durability != BRG_DURABILITY_STEP) return BRG_OK;
    char folder[BRG_PATH_BYTES + 32];
    (void)snprintf(folder, sizeof folder, "%s/log", run->config.folder);
    struct brg_gradlog_config config = {.folder = folder,
                                        .run = run->config.id,
                                        .elements = run->param_count,
                                        .committed = run->config.committed,
                                        .checkpoint = reaches_back_to};
    if (run->config.committed > reaches_back_to) {
        const struct brg_record_step *last = record_of(run, run->config.committed);
        config.last = (struct brg_gradlog_place){.segment = last->log_segment,
                                                 .offset = last->log_offset,
                                                 .size_bytes = last->log_bytes};
    }
    return brg_gradlog_open(&config, &run->log, why);
}

static struct brg_openrun_model *model_of(struct brg_openrun *run, uint64_t step) {
    return &run->models[brg_model_of_step(step, model_count(run))];
}

static int step_optimizer(struct brg_openrun *run, float *params, uint64_t step,
                          struct brg_why *why) {
    struct brg_openrun_model *model = model_of(run, step);
    const int rc = brg_optimizer_step(&model->optimizer, &run->config.run.model,
                                      brg_model_step(step, model_count(run)), run->targets,
                                      run->gradient, model->moments, params, &run->report);
    return rc == BRG_OK ? rc
                        : brg_why_set(why, rc, "the gradient of step %llu is not finite",
                                      (unsigned long long)step);
}

/* Steps that were committed after the checkpoint, once more: the same gradients through the same
 * arithmetic end in the same bits. */
static int replay(struct brg_openrun *run, struct brg_why *why) {
    if (run->applied < run->config.committed && run->applied + 1 < run->config.first_record) {
        return brg_why_set(
            why, BRG_ECORRUPT,
            "%s: the newest whole checkpoint is of step %llu, too old for the store; "
            "put the newest backup of this folder back",
            run->checkpoint_dir, (unsigned long long)run->applied);
    }
    for (uint64_t step = run->applied + 1; step <= run->config.committed; step++) {
        const struct brg_record_step *r = record_of(run, step);
        const struct brg_gradlog_entry entry = {.step = step,
                                                .count = r->count,
                                                .gradient = r->gradient,
                                                .place = {.segment = r->log_segment,
                                                          .offset = r->log_offset,
                                                          .size_bytes = r->log_bytes}};
        int rc = brg_gradlog_read(run->log, &entry, run->gradient, why);
        if (rc == BRG_OK) rc = step_optimizer(run, model_of(run, step)->params->data, step, why);
        if (rc != BRG_OK) return rc;
        run->applied = step;
    }
    return BRG_OK;
}

static int restore(struct brg_openrun *run, struct brg_why *why) {
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint32_t count = 0;
    int rc = brg_checkpoint_list(run->checkpoint_dir, run->config.id, items, &count, why);
    if (rc != BRG_OK) return rc;
    const uint64_t reaches_back_to = log_start(run, items, count);
    rc = open_log(run, reaches_back_to, why);
    if (rc == BRG_OK) rc = load_checkpoint(run, items, count, why);
    return rc == BRG_OK ? replay(run, why) : rc;
}

/* A pipeline: what it begins with is in files, and the newest checkpoint that is whole is known. */
static int restore_shards(struct brg_openrun *run, struct brg_why *why) {
    const struct brg_openrun_config *c = &run->config;
    const struct brg_shards_about about =
        brg_shards_describe(&c->run, c->id, 0, c->run.pipeline.stages);
    struct brg_shards_about first = about;
    struct brg_shards *newest = NULL;
    first.data = run->data.digest;
    int rc = brg_dir_make(run->checkpoint_dir, 0700);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc, "%s cannot be made (%s): make room or mend it",
                           run->checkpoint_dir, strerror(errno));
    }
    rc = brg_shards_start(run->checkpoint_dir, &c->run, &first, &run->start, why);
    if (rc == BRG_OK) rc = brg_shards_drop_after(run->checkpoint_dir, c->id, c->checkpoint, why);
    if (rc == BRG_OK)
        rc = brg_shards_newest(run->checkpoint_dir, &c->run.model, c->id, c->checkpoint, &newest,
                               why);
    if (rc != BRG_OK) return rc == BRG_ENOENT ? BRG_ECORRUPT : rc;
    run->checkpoint = brg_shards_about_of(newest)->step;
    run->checkpoint_generation = brg_shards_about_of(newest)->generation;
    brg_shards_close(&newest);
    run->applied = c->committed;
    return BRG_OK;
}

int brg_openrun_open(const struct brg_openrun_config *config, struct brg_openrun **out,
                     struct brg_why *why) {
    *out = NULL;
    struct brg_openrun *run = calloc(1, sizeof *run);
    if (run == NULL) {
        free(config->records);
        return brg_why_set(why, BRG_ENOMEM, "no memory to open a run");
    }
    run->config = *config;
    run->start = config->start;
    int rc = brg_model_check(&config->run.model, config->run.batch.microbatch, why);
    if (rc != BRG_OK) goto out;
    run->param_count = brg_model_param_count(&config->run.model);
    run->targets = targets_of(run, config->run.batch.samples);
    if (config->run.checkpoint.dir[0] != '\0') {
        const int n = snprintf(run->checkpoint_dir, sizeof run->checkpoint_dir, "%s/run-%llu",
                               config->run.checkpoint.dir, (unsigned long long)config->id);
        if (n < 0 || (size_t)n >= sizeof run->checkpoint_dir) {
            rc = brg_why_set(why, BRG_EINVAL, "checkpoint.dir: the path is too long");
            goto out;
        }
    } else {
        (void)snprintf(run->checkpoint_dir, sizeof run->checkpoint_dir, "%s/checkpoints",
                       config->folder);
    }
    const struct brg_start_place place = {.folder = config->folder, .run = config->id};
    rc = open_data(run, why);
    if (rc == BRG_OK) rc = brg_start_tokenizer(&place, &config->run, &run->start, why);
    if (rc == BRG_OK) rc = offer_data(run, why);
    if (rc == BRG_OK && config->run.kind == BRG_RUN_KIND_PIPELINE) {
        rc = restore_shards(run, why);
        goto done;
    }
    if (rc == BRG_OK) rc = brg_scheme_new(&config->code, &run->scheme, why);
    if (rc == BRG_OK) rc = allocate(run, why);
    if (rc == BRG_OK) rc = restore(run, why);
done:
    if (rc != BRG_OK) goto out;
    BRG_ASSERT(run->applied == config->committed);
    *out = run;
    run = NULL;
out:
    brg_openrun_close(&run);
    return rc;
}

void brg_openrun_close(struct brg_openrun **run) {
    struct brg_openrun *r = *run;
    if (r == NULL) return;
    brg_gradlog_close(&r->log);
    brg_source_fini(&r->blob);
    brg_data_close(&r->data);
    for (uint32_t m = 0; m < BRG_MODELS_MAX; m++) {
        brg_buffer_release(r->models[m].params);
        free(r->models[m].moments);
    }
    free(r->gradient);
    free(r->scheme);
    free(r->config.records);
    free(r);
    *run = NULL;
}

/* ---- steps ---- */

int brg_openrun_decode(struct brg_openrun *run, const struct brg_scheme *scheme, uint64_t step,
                       const struct brg_openrun_shares *shares, struct brg_gradlog_entry *entry,
                       struct brg_why *why) {
    double weights[BRG_SCHEME_UNITS_MAX];
    double used_weights[BRG_SCHEME_UNITS_MAX];
    const float *vectors[BRG_SCHEME_UNITS_MAX];
    uint32_t used = 0;
    const int rc = brg_scheme_decode(scheme, &shares->held, weights);
    BRG_ASSERT(rc == BRG_OK); /* the machine asked may_end before, which promises this */
    const uint32_t units = brg_scheme_unit_count(scheme);
    for (uint32_t u = 0; u < units; u++) { /* rising: the same sum whoever answered first */
        if (!brg_bits_has(&shares->held, u) || weights[u] == 0.0) continue;
        used_weights[used] = weights[u];
        vectors[used++] = shares->buffers[u]->data;
    }
    BRG_ASSERT(used > 0);
    brg_combine(run->param_count, used, used_weights, vectors, run->gradient);
    run->norm =
        sqrt(brg_kernels_pick()->norm2(run->param_count, run->gradient)) / (double)run->targets;
    if (!isfinite(run->norm)) {
        return brg_why_set(why, BRG_EINVAL,
                           "the gradient of step %llu is not finite: the run has diverged; lower "
                           "optimizer.lr or set optimizer.clip, and submit it again",
                           (unsigned long long)step);
    }
    memset(entry, 0, sizeof *entry);
    entry->step = step;
    entry->count = run->targets;
    if (run->log != NULL) {
        return brg_gradlog_append(run->log, step, run->targets, run->gradient, entry, why);
    }
    brg_digest_of(run->gradient, run->param_count * sizeof(float), &entry->gradient);
    return BRG_OK;
}

int brg_openrun_apply(struct brg_openrun *run, uint64_t step, struct brg_why *why) {
    BRG_ASSERT(run->applied == step - 1);
    struct brg_openrun_model *model = model_of(run, step);
    struct brg_buffer *next = NULL;
    const size_t bytes = run->param_count * sizeof(float);
    int rc = brg_pool_get(run->config.pool, bytes, &next);
    if (rc != BRG_OK) return brg_why_set(why, rc, "no memory for the parameters of a step");
    /* The old version stays as it is: parts of it may still be on their way to workers. */
    memcpy(next->data, model->params->data, bytes);
    rc = step_optimizer(run, next->data, step, why);
    if (rc != BRG_OK) {
        brg_buffer_release(next);
        return rc;
    }
    brg_buffer_release(model->params);
    model->params = next;
    run->applied = step;
    return BRG_OK;
}

int brg_openrun_params_source(struct brg_openrun *run, uint64_t version, struct brg_source *out) {
    BRG_ASSERT(version >= run->applied && version < run->applied + model_count(run));
    const struct brg_object object = {
        .kind = BRG_OBJECT_PARAMS, .run = run->config.id, .step = version};
    const int rc =
        brg_source_init(out, run->config.pool, &object, model_of(run, version + 1)->params,
                        run->param_count * sizeof(float));
    if (rc == BRG_OK) brg_source_digest(out);
    return rc;
}

int brg_openrun_checkpoint(struct brg_openrun *run, struct brg_digest *digests,
                           struct brg_why *why) {
    struct brg_checkpoint_set sets[BRG_MODELS_MAX];
    for (uint32_t m = 0; m < model_count(run); m++) {
        const struct brg_openrun_model *model = &run->models[m];
        sets[m] = (struct brg_checkpoint_set){model->params->data, model->moments};
        brg_digest_of(model->params->data, run->param_count * sizeof(float), &digests[m]);
    }
    if (run->applied == 0) return BRG_OK; /* the start gives it back */
    const struct brg_run_config *config = &run->config.run;
    struct brg_checkpoint c = {.run = run->config.id,
                               .step = run->applied,
                               .optimizer_step = run->applied,
                               .data_position = run->applied * config->batch.samples,
                               .seed = config->seed,
                               .params_elements = run->param_count,
                               .optimizer_elements = moment_count(run),
                               .models = model_count(run),
                               .data = run->data.digest};
    (void)snprintf(c.name, sizeof c.name, "%s", config->name);
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    c.created_ns = (uint64_t)now.tv_sec * BRG_NS_PER_S + (uint64_t)now.tv_nsec;
    const int rc = brg_checkpoint_save_models(run->checkpoint_dir, &c, sets, why);
    /* One that a crash kept from being recorded is as good as new: the same bits. */
    if (rc != BRG_OK && rc != BRG_EEXIST) return rc;
    if (run->log != NULL) brg_gradlog_roll(run->log);
    return BRG_OK;
}

int brg_openrun_truncate(struct brg_openrun *run, uint64_t step, struct brg_why *why) {
    struct brg_checkpoint_item items[BRG_CHECKPOINT_LIST_MAX];
    uint8_t delete_it[BRG_CHECKPOINT_LIST_MAX] = {0};
    uint32_t count = 0;
    uint64_t drop_through = 0;
    const struct brg_run_checkpoint *wish = &run->config.run.checkpoint;
    const struct brg_checkpoint_policy policy = {.every = wish->every_steps * model_count(run),
                                                 .keep = wish->keep,
                                                 .log_reach = log_reach(run)};
    int rc = brg_checkpoint_list(run->checkpoint_dir, run->config.id, items, &count, why);
    if (rc != BRG_OK) return rc;
    const struct brg_checkpoint_standing standing = {
        .committed = run->applied, .log_first = run->log != NULL ? brg_gradlog_first(run->log) : 0};
    brg_checkpoint_plan_tidy(&policy, &standing, items, count, delete_it, &drop_through);
    if (drop_through > step)
        drop_through = step; /* its checkpoint is on record, a later one's may not be */
    if (run->log != NULL && drop_through > 0) {
        rc = brg_gradlog_drop_through(run->log, drop_through, why);
    }
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++) {
        if (delete_it[i]) rc = brg_checkpoint_delete(run->checkpoint_dir, items[i].step, why);
    }
    return rc;
}

/* ---- evaluation ---- */

static int eval_on(const struct brg_openrun *run, const float *params, uint64_t samples,
                   struct brg_model_sums *sums) {
    const struct brg_model_spec *model = &run->config.run.model;
    const struct brg_sampler *s = &run->sampler;
    const size_t bytes = brg_model_workspace_bytes(model, EVAL_SAMPLES);
    struct brg_buffer *memory = NULL, *inputs = NULL;
    const int is_tokens = model->type == BRG_MODEL_LLAMA;
    const size_t sample_bytes = is_tokens ? (size_t)(model->context + 1) * sizeof(uint16_t)
                                          : (size_t)model->inputs * sizeof(float);
    uint32_t labels[EVAL_SAMPLES];
    int rc = brg_pool_get(run->config.pool, bytes, &memory);
    if (rc == BRG_OK) rc = brg_pool_get(run->config.pool, EVAL_SAMPLES * sample_bytes, &inputs);
    if (rc != BRG_OK) goto out;
    struct brg_model_workspace *w =
        brg_model_workspace_init(memory->data, model, EVAL_SAMPLES, NULL);
    const struct brg_sample_buffer buffer = {.capacity = EVAL_SAMPLES,
                                             .tokens = is_tokens ? inputs->data : NULL,
                                             .x = is_tokens ? NULL : inputs->data,
                                             .labels = is_tokens ? NULL : labels};
    if (samples > s->held_samples) samples = s->held_samples;
    memset(sums, 0, sizeof *sums);
    for (uint64_t first = 0; first < samples && rc == BRG_OK; first += EVAL_SAMPLES) {
        struct brg_batch batch;
        const uint64_t left = samples - first;
        const uint32_t count = left < EVAL_SAMPLES ? (uint32_t)left : EVAL_SAMPLES;
        brg_sample_held(s, first, count, &buffer, &batch);
        rc = brg_model_loss(w, params, &batch, sums);
    }
out:
    brg_buffer_release(inputs);
    brg_buffer_release(memory);
    return rc;
}

int brg_openrun_eval(const struct brg_openrun *run, uint32_t index, uint64_t samples,
                     struct brg_model_sums *sums) {
    BRG_ASSERT(index < model_count(run));
    return eval_on(run, run->models[index].params->data, samples, sums);
}

int brg_openrun_eval_files(const struct brg_openrun *run, uint64_t step, uint64_t samples,
                           struct brg_model_sums *sums) {
    struct brg_shards *s = NULL;
    struct brg_buffer *params = NULL;
    int rc = brg_shards_open(run->checkpoint_dir, &run->config.run.model, run->config.id, step, &s,
                             NULL);
    if (rc == BRG_OK)
        rc = brg_pool_get(run->config.pool, run->param_count * sizeof(float), &params);
    if (rc == BRG_OK) {
        brg_shards_params(s, params->data);
        rc = eval_on(run, params->data, samples, sums);
    }
    brg_buffer_release(params);
    brg_shards_close(&s);
    return rc;
}
