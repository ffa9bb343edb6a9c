/* keep.c - the machine's members, tokens, runs and commits as records, and back at a start. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "coordinator/shell/service_private.h"

/* Besides the records of records.h: where a run's newest checkpoint is, in family META under
 * "checkpoint/" and the run's number in big-endian order: step u64 little-endian, digests of the
 * parameters [models][32]. And which code it has come to, under "code/" and the run's number:
 * struct brg_record_code, packed. And what it began with, under "start/" and the run's number: the
 * digests of start.bin and of the tokenizer, zeros where there is none. */
#define CHECKPOINT_PREFIX "checkpoint/"
#define CHECKPOINT_KEY_BYTES (sizeof CHECKPOINT_PREFIX - 1 + 8)
#define CHECKPOINT_VALUE_BYTES_MAX (8u + BRG_MODELS_MAX * BRG_DIGEST_BYTES)
#define CODE_PREFIX "code/"
#define CODE_KEY_BYTES (sizeof CODE_PREFIX - 1 + 8)
#define START_PREFIX "start/"
#define START_KEY_BYTES (sizeof START_PREFIX - 1 + 8)
#define START_VALUE_BYTES (2u * BRG_DIGEST_BYTES)

static void checkpoint_key(uint64_t run, uint8_t *out) {
    memcpy(out, CHECKPOINT_PREFIX, sizeof CHECKPOINT_PREFIX - 1);
    brg_record_key_u64(run, out + sizeof CHECKPOINT_PREFIX - 1);
}

static void code_key(uint64_t run, uint8_t *out) {
    memcpy(out, CODE_PREFIX, sizeof CODE_PREFIX - 1);
    brg_record_key_u64(run, out + sizeof CODE_PREFIX - 1);
}

static void start_key(uint64_t run, uint8_t *out) {
    memcpy(out, START_PREFIX, sizeof START_PREFIX - 1);
    brg_record_key_u64(run, out + sizeof START_PREFIX - 1);
}

static uint32_t run_record_state(uint32_t state) {
    switch ((enum brg_run_state)state) {
    case BRG_RUN_OPENING:
    case BRG_RUN_ACTIVE: return BRG_RUN_RECORD_RUNNING;
    case BRG_RUN_PAUSED: return BRG_RUN_RECORD_PAUSED;
    case BRG_RUN_FINISHED: return BRG_RUN_RECORD_DONE;
    case BRG_RUN_STOPPED: return BRG_RUN_RECORD_STOPPED;
    case BRG_RUN_FAILED: return BRG_RUN_RECORD_FAILED;
    case BRG_RUN_NONE:
    case BRG_RUN_QUEUED: break;
    }
    return BRG_RUN_RECORD_QUEUED;
}

static uint32_t run_state_of_record(uint32_t state) {
    switch ((enum brg_record_run_state)state) {
    case BRG_RUN_RECORD_RUNNING: return BRG_RUN_ACTIVE;
    case BRG_RUN_RECORD_PAUSED: return BRG_RUN_PAUSED;
    case BRG_RUN_RECORD_DONE: return BRG_RUN_FINISHED;
    case BRG_RUN_RECORD_STOPPED: return BRG_RUN_STOPPED;
    case BRG_RUN_RECORD_FAILED: return BRG_RUN_FAILED;
    case BRG_RUN_RECORD_QUEUED: break;
    }
    return BRG_RUN_QUEUED;
}

/* ---- machine -> records ---- */

/* A batch that is full is a bound of ours that does not hold. */
static void must(int rc) {
    BRG_ASSERT(rc == BRG_OK);
}

static void name_member(struct brg_service *s, uint32_t slot) {
    struct brg_service_member *member = &s->members[slot];
    const char *wish = "";
    for (uint32_t i = 0; i < s->hello_count; i++) { /* the HELLO that enrols comes last */
        wish = s->hellos[i].name;
    }
    uint32_t taken = wish[0] == '\0';
    for (uint32_t i = 0; i < slot && !taken; i++) {
        taken = strcmp(s->members[i].record.name, wish) == 0;
    }
    if (!taken) {
        (void)snprintf(member->record.name, sizeof member->record.name, "%s", wish);
    } else {
        (void)snprintf(member->record.name, sizeof member->record.name, "%.40s-%" PRIu32,
                       wish[0] == '\0' ? "worker" : wish, slot);
    }
}

static void keep_member(struct brg_service *s, uint32_t slot) {
    struct brg_service_member *member = &s->members[slot];
    const struct brg_member *core = &s->core.members.items[slot];
    if (member->record.state == 0) { /* new */
        memcpy(member->record.key, core->key, sizeof member->record.key);
        member->record.first_seen_ns = brg_service_wall_ns();
        if (member->record.name[0] == '\0') name_member(s, slot);
    }
    member->record.last_seen_ns = brg_service_wall_ns();
    member->record.shares_used = member->shares_used;
    member->record.state =
        core->state == BRG_MEMBER_REVOKED ? BRG_MEMBER_RECORD_REVOKED : BRG_MEMBER_RECORD_ALLOWED;
    must(brg_store_put_member(s->batch, &member->record));
}

static void keep_token(struct brg_service *s, uint32_t index) {
    struct brg_record_token *record = &s->tokens[index];
    const struct brg_token *core = &s->core.members.tokens[index];
    if (record->id == 0) record->id = index + 1;
    memcpy(record->hash, core->hash.bytes, sizeof record->hash);
    record->expires_ns = core->expires_s * BRG_NS_PER_S;
    record->uses_left = core->uses_left;
    record->revoked = core->revoked;
    must(brg_store_put_token(s->batch, record));
}

static void keep_run(struct brg_service *s, uint64_t id) {
    const uint32_t index = brg_coord_run(&s->core, id);
    BRG_ASSERT(index != BRG_NOBODY);
    struct brg_service_run *run = &s->runs[index];
    const uint32_t state = s->core.runs[index].plan.state;
    run->record.state = run_record_state(state);
    if (state >= BRG_RUN_FINISHED) run->record.ended_ns = brg_service_wall_ns();
    must(brg_store_put_run(s->batch, &run->record));
}

static void put_step(struct brg_service *s, struct brg_record_step *record) {
    must(brg_store_put_step(s->batch, record));
    s->chain = record->digest;
}

static void keep_commit(struct brg_service *s, const struct brg_coord_action *a) {
    const struct brg_job *job = brg_rounds_job(&s->core.rounds, a->step);
    const struct brg_run_config *config = &s->run->config.run;
    const uint32_t model = brg_model_of_step(a->step, config->models);
    const struct brg_optimizer_spec optimizer = brg_run_config_optimizer(config, model);
    const double loss = brg_service_step_loss(s, a->step);
    BRG_ASSERT(job != NULL);
    struct brg_record_step record = {
        .run = a->run,
        .step = a->step,
        .epoch = s->core.epoch,
        .log_segment = s->decoded.place.segment,
        .log_offset = s->decoded.place.offset,
        .log_bytes = s->decoded.place.size_bytes,
        .gradient = s->decoded.gradient,
        .count = s->decoded.count,
        .loss_sum = loss * (double)s->decoded.count,
        .lr = brg_optimizer_lr(&optimizer, brg_model_step(a->step, config->models)),
        .norm = s->decoded_norm,
        .committed_ns = brg_service_wall_ns(),
        .round_ns = s->now_ns - job->started_ns,
        .attempt = 1,
        .waited = job->waited};
    BRG_ASSERT(s->decoded.step == a->step);
    for (uint32_t u = brg_bits_next(&job->held, 0); u < BRG_BITS_MAX;
         u = brg_bits_next(&job->held, u + 1)) {
        const uint32_t attempt = job->units[u].attempts + 1;
        record.used_count++;
        record.used[u / 8] = (uint8_t)(record.used[u / 8] | 1u << (u % 8));
        if (attempt > record.attempt) record.attempt = attempt;
    }
    s->runs[s->run_index].models[model].loss = loss;
    if (s->unsaved == NULL) {
        put_step(s, &record);
        return;
    }
    if (s->unsaved_count == s->unsaved_capacity) {
        s->unsaved_capacity *= 2;
        s->unsaved = realloc(s->unsaved, s->unsaved_capacity * sizeof *s->unsaved);
        BRG_ASSERT(s->unsaved != NULL);
    }
    s->unsaved[s->unsaved_count++] = record;
}

/* From here on a restart builds this code again. */
static void keep_code(struct brg_service *s, const struct brg_coord_action *a) {
    const uint32_t index = brg_coord_run(&s->core, a->run);
    BRG_ASSERT(index != BRG_NOBODY);
    struct brg_service_run *run = &s->runs[index];
    uint8_t key[CODE_KEY_BYTES], value[BRG_RECORD_CODE_BYTES];
    run->code = s->core.rounds.plan.code;
    run->code_base = a->step;
    const struct brg_record_code record = {.run = a->run, .step = a->step, .code = run->code};
    const size_t size = brg_record_code_pack(&record, value);
    code_key(a->run, key);
    must(brg_store_batch_put(s->batch, BRG_STORE_META, key, sizeof key, value, size));
}

void brg_service_keep_start(struct brg_service *s, uint32_t run_index) {
    struct brg_service_run *run = &s->runs[run_index];
    const struct brg_start *start = &s->run->start;
    uint8_t key[START_KEY_BYTES], value[START_VALUE_BYTES];
    if (brg_digest_equal(&run->start.params, &start->params) &&
        brg_digest_equal(&run->start.tokenizer, &start->tokenizer)) {
        return;
    }
    run->start = *start;
    start_key(run->record.id, key);
    memcpy(value, start->params.bytes, BRG_DIGEST_BYTES);
    memcpy(value + BRG_DIGEST_BYTES, start->tokenizer.bytes, BRG_DIGEST_BYTES);
    must(brg_store_batch_put(s->batch, BRG_STORE_META, key, sizeof key, value, sizeof value));
}

static void keep_checkpoint(struct brg_service *s, const struct brg_coord_action *a) {
    struct brg_service_run *run = &s->runs[s->run_index];
    uint8_t key[CHECKPOINT_KEY_BYTES], value[CHECKPOINT_VALUE_BYTES_MAX];
    uint32_t saved = 0;
    while (saved < s->unsaved_count && s->unsaved[saved].step <= a->step) {
        put_step(s, &s->unsaved[saved++]);
    }
    if (saved > 0) {
        s->unsaved_count -= saved;
        memmove(s->unsaved, s->unsaved + saved, s->unsaved_count * sizeof *s->unsaved);
    }
    run->checkpoint = a->step;
    checkpoint_key(a->run, key);
    for (uint32_t i = 0; i < 8; i++) value[i] = (uint8_t)(a->step >> (8 * i));
    size_t size = 8;
    for (uint32_t m = 0; m < run->config.models; m++, size += BRG_DIGEST_BYTES) {
        memcpy(value + size, run->models[m].params.bytes, BRG_DIGEST_BYTES);
    }
    must(brg_store_batch_put(s->batch, BRG_STORE_META, key, sizeof key, value, size));
}

void brg_service_keep(struct brg_service *s, const struct brg_coord_action *a) {
    switch (a->type) {
    case BRG_ACT_PERSIST_MEMBER: keep_member(s, a->member); break;
    case BRG_ACT_PERSIST_TOKEN: keep_token(s, a->token); break;
    case BRG_ACT_PERSIST_RUN: keep_run(s, a->run); break;
    case BRG_ACT_PERSIST_COMMIT: keep_commit(s, a); break;
    case BRG_ACT_PERSIST_CODE: keep_code(s, a); break;
    case BRG_ACT_PERSIST_CHECKPOINT: keep_checkpoint(s, a); break;
    default: BRG_ASSERT(0 && "not a record");
    }
}

void brg_service_event(struct brg_service *s, uint32_t kind, uint64_t run, uint32_t member,
                       const char *format, ...) {
    char text[BRG_RECORD_TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct brg_record_event event = {.time_ns = brg_service_wall_ns(), .run = run, .kind = kind};
    event.text = text;
    event.text_bytes =
        n < 0 ? 0 : (uint32_t)((size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    const char *name = "";
    if (member != BRG_NOBODY) {
        memcpy(event.key, s->core.members.items[member].key, sizeof event.key);
        name = s->members[member].record.name;
    }
    brg_log_info("event", BRG_FIELDS(BRG_STR("worker", name)), "%s", text);
    brg_service_http_event(s, kind);
    must(brg_store_put_event(s->batch, &event)); /* on disk with the next turn's records */
}

/* ---- records -> machine ---- */

void brg_service_run_plan(const struct brg_service_run *run, struct brg_run_plan *plan) {
    const struct brg_run_config *c = &run->config;
    *plan = (struct brg_run_plan){.run = run->record.id,
                                  .steps = brg_run_config_steps(c),
                                  .checkpoint_every = c->checkpoint.every_steps * c->models,
                                  .patience_ns = c->timeouts.round_patience_ns,
                                  .task_timeout_ns = c->timeouts.task_ns,
                                  .pull_timeout_ns = c->timeouts.pull_ns,
                                  .min_workers = c->min_workers,
                                  .state = run_state_of_record(run->record.state),
                                  .models = c->models,
                                  .kind = c->kind == BRG_RUN_KIND_PIPELINE ? BRG_PLAN_PIPELINE
                                                                           : BRG_PLAN_CODED,
                                  .code = run->code};
}

/* The step and the digests of the newest checkpoint, where there is one. */
static int take_checkpoint(struct brg_service *s, struct brg_service_run *run) {
    uint8_t meta[CHECKPOINT_KEY_BYTES];
    struct brg_store_value stored;
    checkpoint_key(run->record.id, meta);
    const int rc = brg_store_get(s->store, BRG_STORE_META, meta, sizeof meta, &stored);
    if (rc == BRG_OK && stored.size_bytes == 8 + run->config.models * (size_t)BRG_DIGEST_BYTES) {
        for (uint32_t i = 0; i < 8; i++) run->checkpoint |= (uint64_t)stored.data[i] << (8 * i);
        for (uint32_t m = 0; m < run->config.models; m++) {
            memcpy(run->models[m].params.bytes, stored.data + 8 + m * BRG_DIGEST_BYTES,
                   BRG_DIGEST_BYTES);
        }
    }
    brg_store_value_free(&stored);
    return rc == BRG_ENOENT ? BRG_OK : rc;
}

/* What the run began with, if it was opened ever. */
static int take_start(struct brg_service *s, struct brg_service_run *run) {
    uint8_t meta[START_KEY_BYTES];
    struct brg_store_value stored;
    start_key(run->record.id, meta);
    const int rc = brg_store_get(s->store, BRG_STORE_META, meta, sizeof meta, &stored);
    if (rc == BRG_OK && stored.size_bytes == START_VALUE_BYTES) {
        memcpy(run->start.params.bytes, stored.data, BRG_DIGEST_BYTES);
        memcpy(run->start.tokenizer.bytes, stored.data + BRG_DIGEST_BYTES, BRG_DIGEST_BYTES);
    }
    brg_store_value_free(&stored);
    return rc == BRG_ENOENT ? BRG_OK : rc;
}

/* The code that the run has come to, where it was switched. */
static int take_code(struct brg_service *s, struct brg_service_run *run) {
    uint8_t meta[CODE_KEY_BYTES];
    struct brg_store_value stored;
    struct brg_record_code record;
    code_key(run->record.id, meta);
    int rc = brg_store_get(s->store, BRG_STORE_META, meta, sizeof meta, &stored);
    if (rc == BRG_ENOENT) return BRG_OK;
    if (rc == BRG_OK) rc = brg_record_code_unpack(stored.data, stored.size_bytes, &record);
    brg_store_value_free(&stored);
    if (rc != BRG_OK) return rc;
    const struct brg_code_spec *code = &record.code;
    if (record.run != run->record.id || code->n != run->config.workers ||
        code->chunks != run->config.batch.chunks || brg_scheme_check(code, NULL) != BRG_OK ||
        brg_code_delay(code) >= run->config.models) {
        return BRG_ECORRUPT;
    }
    run->code = *code;
    run->code_base = record.step;
    return BRG_OK;
}

/* The last loss of each model: steps before the head, one for each. */
static int take_losses(struct brg_service *s, struct brg_service_run *run, uint64_t head) {
    struct brg_record_step last;
    for (uint64_t back = 0; back < run->config.models && back < head; back++) {
        const int rc = brg_store_step(s->store, run->record.id, head - back, &last);
        if (rc != BRG_OK) return rc;
        run->models[brg_model_of_step(head - back, run->config.models)].loss =
            last.loss_sum / (double)last.count;
    }
    return BRG_OK;
}

int brg_service_is_fenced(const struct brg_run_config *config) {
    return config->kind != BRG_RUN_KIND_PIPELINE && config->durability == BRG_DURABILITY_STEP;
}

void brg_service_run_init(struct brg_service_run *run) {
    run->code = run->config.code;
    for (uint32_t m = 0; m < BRG_MODELS_MAX; m++) {
        struct brg_service_model *model = &run->models[m];
        model->loss = model->held_out_loss = model->held_out_accuracy = NAN;
    }
}

static int take_member(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                       size_t value_bytes) {
    struct brg_service *s = context;
    struct brg_record_member record;
    uint32_t slot = 0;
    (void)key;
    (void)key_bytes;
    int rc = brg_record_member_unpack(value, value_bytes, &record);
    if (rc != BRG_OK) return rc;
    rc = brg_members_add(
        &s->core.members, record.key,
        record.state == BRG_MEMBER_RECORD_REVOKED ? BRG_MEMBER_REVOKED : BRG_MEMBER_AWAY, &slot);
    if (rc != BRG_OK) return rc;
    s->members[slot].record = record;
    s->members[slot].shares_used = record.shares_used;
    if (record.state != BRG_MEMBER_RECORD_REVOKED) return BRG_OK;
    struct brg_key denied;
    memcpy(denied.bytes, record.key, sizeof denied.bytes);
    return brg_zap_deny(s->zap, &denied);
}

static int take_token(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                      size_t value_bytes) {
    struct brg_service *s = context;
    struct brg_record_token record;
    uint32_t index = 0;
    (void)key;
    (void)key_bytes;
    int rc = brg_record_token_unpack(value, value_bytes, &record);
    if (rc != BRG_OK) return rc;
    struct brg_token token = {.expires_s = record.expires_ns / BRG_NS_PER_S,
                              .uses_left = record.uses_left,
                              .revoked = record.revoked};
    memcpy(token.hash.bytes, record.hash, sizeof token.hash.bytes);
    rc = brg_members_add_token(&s->core.members, &token, &index);
    if (rc == BRG_OK) s->tokens[index] = record;
    return rc;
}

static int take_run(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                    size_t value_bytes) {
    struct brg_service *s = context;
    struct brg_run_faults faults;
    (void)key;
    (void)key_bytes;
    if (s->core.run_count == BRG_RUNS_MAX) return BRG_EFULL;
    struct brg_service_run *run = &s->runs[s->core.run_count];
    int rc = brg_record_run_unpack(value, value_bytes, &run->record);
    if (rc != BRG_OK) return rc;
    run->record.yaml = strndup(run->record.yaml, run->record.yaml_bytes);
    BRG_ASSERT(run->record.yaml != NULL);
    rc = brg_runfile_parse(run->record.yaml, run->record.yaml_bytes, NULL, BRG_RUNFILE_OFFLINE,
                           &run->config, &faults);
    if (rc != BRG_OK) return BRG_ECORRUPT;
    brg_service_run_init(run);
    struct brg_store_head head;
    brg_store_head(s->store, run->record.id, &head);
    rc = take_checkpoint(s, run);
    if (rc == BRG_OK) rc = take_code(s, run);
    if (rc == BRG_OK) rc = take_start(s, run);
    if (rc == BRG_OK) rc = take_losses(s, run, head.step);
    if (rc != BRG_OK) return rc;
    struct brg_run_plan plan;
    brg_service_run_plan(run, &plan);
    return brg_coord_add_run(&s->core, &plan, head.step, brg_service_is_fenced(&run->config));
}

int brg_service_restore(struct brg_service *s, struct brg_why *why) {
    static const struct {
        uint32_t family;
        const char *name;
        int (*visit)(void *, const uint8_t *, size_t, const uint8_t *, size_t);
    } kinds[] = {{BRG_STORE_MEMBERS, "members", take_member},
                 {BRG_STORE_TOKENS, "tokens", take_token},
                 {BRG_STORE_RUNS, "runs", take_run}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct brg_store_range range = {.family = kinds[i].family, .limit = UINT64_MAX};
        const int rc = brg_store_scan(s->store, &range, kinds[i].visit, s);
        if (rc != BRG_OK) {
            return brg_why_set(why, rc,
                               "the store's %s cannot be read (%s): put the newest backup of the "
                               "state folder back",
                               kinds[i].name, brg_strerror(rc));
        }
    }
    return BRG_OK;
}
