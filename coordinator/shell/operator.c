/* operator.c - the verbs of the operator (docs/OPERATOR.md): JSON in, JSON out. Each is answered
 * once what it changed is on disk. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "base/file.h"
#include "coordinator/shell/service_private.h"

#define TOKEN_LIFETIME_MAX_S (10u * 366u * 24u * 3600u)

/* ---- requests ---- */

static const char *text_of(const cJSON *body, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, key);
    return cJSON_IsString(item) && item->valuestring != NULL ? item->valuestring : "";
}

/* A whole number in [0, max], or `otherwise` where there is none. */
static uint64_t number_of(const cJSON *body, const char *key, uint64_t max, uint64_t otherwise) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0)) return otherwise;
    return item->valuedouble >= (double)max ? max : (uint64_t)item->valuedouble;
}

/* The run that "run" names, by number or by name (the newest of that name). */
static uint32_t run_of(const struct brg_service *s, const cJSON *body) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, "run");
    uint32_t found = BRG_NOBODY;
    for (uint32_t i = 0; i < s->core.run_count; i++) {
        if (cJSON_IsNumber(item) && item->valuedouble == (double)s->runs[i].record.id) return i;
        if (!cJSON_IsString(item) || item->valuestring == NULL) continue;
        if (strcmp(item->valuestring, s->runs[i].config.name) == 0) found = i;
    }
    return found;
}

static uint32_t worker_of(const struct brg_service *s, const cJSON *body) {
    const char *wish = text_of(body, "worker");
    for (uint32_t i = 0; i < s->core.members.count; i++) {
        char text[BRG_KEY_TEXT_BYTES];
        struct brg_key key;
        memcpy(key.bytes, s->core.members.items[i].key, sizeof key.bytes);
        if (strcmp(wish, s->members[i].record.name) == 0) return i;
        if (strcmp(wish, brg_key_format(&key, text)) == 0) return i;
    }
    return BRG_NOBODY;
}

/* ---- what verbs do ---- */

int brg_service_submit(struct brg_service *s, const struct brg_run_config *config, uint64_t *id,
                       struct brg_why *why) {
    char path[BRG_PATH_BYTES];
    const uint32_t index = s->core.run_count;
    if (index == BRG_RUNS_MAX) {
        return brg_why_set(
            why, BRG_EFULL,
            "this coordinator keeps at most %u runs: start another one on a new state "
            "folder",
            BRG_RUNS_MAX);
    }
    struct brg_service_run *run = &s->runs[index];
    memset(run, 0, sizeof *run);
    run->config = *config;
    brg_service_run_init(run);
    run->record = (struct brg_record_run){.id = index + 1u,
                                          .submitted_ns = brg_service_wall_ns(),
                                          .steps = brg_run_config_steps(config),
                                          .seed = config->seed,
                                          .kind = config->kind};
    (void)snprintf(run->record.name, sizeof run->record.name, "%s", config->name);
    char *yaml = NULL;
    int rc = brg_run_config_text(config, &yaml);
    if (rc != BRG_OK) return brg_why_set(why, rc, "no memory to keep the run");
    run->record.yaml = yaml;
    run->record.yaml_bytes = (uint32_t)strlen(yaml);
    (void)snprintf(path, sizeof path, "%s/runs/%" PRIu64, s->options->state_dir, run->record.id);
    rc = brg_dir_make(path, 0700);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s cannot be made: make room or mend it", path);
    struct brg_run_plan plan;
    brg_service_run_plan(run, &plan);
    struct brg_coord_event ev = {
        .type = BRG_EV_SUBMIT, .plan = &plan, .has_proof = (uint32_t)brg_service_is_fenced(config)};
    rc = brg_service_feed(s, &ev);
    if (rc != BRG_OK) return brg_why_set(why, rc, "the run cannot be queued: %s", brg_strerror(rc));
    *id = run->record.id;
    return BRG_OK;
}

int brg_service_make_token(struct brg_service *s, uint64_t lifetime_s, uint32_t uses,
                           const char *label, char *text, uint64_t *id) {
    struct brg_coord_event ev = {.type = BRG_EV_TOKEN_ADD, .uses = uses};
    const uint64_t now_s = brg_service_wall_ns() / BRG_NS_PER_S;
    if (lifetime_s == 0 || lifetime_s > TOKEN_LIFETIME_MAX_S || uses == 0) return BRG_EINVAL;
    const uint32_t index = s->core.members.token_count;
    if (index == BRG_TOKENS_MAX) return BRG_EFULL;
    brg_token_create(text);
    brg_token_hash(text, strlen(text), &ev.token_hash);
    ev.wall_s = now_s + lifetime_s;
    memset(&s->tokens[index], 0, sizeof s->tokens[index]);
    s->tokens[index].created_ns = now_s * BRG_NS_PER_S;
    (void)snprintf(s->tokens[index].label, sizeof s->tokens[index].label, "%.63s", label);
    const int rc = brg_service_feed(s, &ev);
    *id = index + 1u;
    return rc;
}

static int submit(struct brg_service *s, const cJSON *body, cJSON *reply, struct brg_why *why) {
    struct brg_run_config config;
    struct brg_run_faults faults;
    const char *yaml = text_of(body, "yaml");
    uint64_t id = 0;
    int rc = brg_runfile_parse(yaml, strlen(yaml), NULL, BRG_RUNFILE_CHECK_FILES, &config, &faults);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc, "the coordinator refuses the run: line %u: %s: %s",
                           faults.items[0].line, faults.items[0].key, faults.items[0].text);
    }
    rc = brg_service_submit(s, &config, &id, why);
    if (rc != BRG_OK) return rc;
    (void)cJSON_AddNumberToObject(reply, "run", (double)id);
    (void)cJSON_AddStringToObject(reply, "name", config.name);
    return BRG_OK;
}

/* A paused pipeline goes on in another number of stages: its run file says so from now on. What was
 * asked for is kept where the machine refuses to resume the run, too: it holds for the next time.
 */
static int restage(struct brg_service *s, uint32_t index, uint32_t stages, struct brg_why *why) {
    struct brg_service_run *run = &s->runs[index];
    struct brg_run_config config = run->config;
    char *yaml = NULL;
    if (s->core.runs[index].plan.state != BRG_RUN_PAUSED) {
        return brg_why_set(why, BRG_EINVAL,
                           "run %" PRIu64 " is %s: the number of stages can be changed while it is "
                           "paused, so that all of it is in files",
                           run->record.id,
                           brg_service_run_state_name(s->core.runs[index].plan.state));
    }
    int rc = brg_run_config_restage(&config, stages, why);
    if (rc == BRG_OK) rc = brg_run_config_text(&config, &yaml);
    if (rc != BRG_OK) return rc;
    free((void *)(uintptr_t)run->record.yaml);
    run->record.yaml = yaml;
    run->record.yaml_bytes = (uint32_t)strlen(yaml);
    run->config = config;
    return BRG_OK;
}

static int run_wish(struct brg_service *s, uint32_t type, const cJSON *body, cJSON *reply,
                    struct brg_why *why) {
    const uint32_t index = run_of(s, body);
    const cJSON *stages = cJSON_GetObjectItemCaseSensitive(body, "stages");
    if (index == BRG_NOBODY) {
        return brg_why_set(why, BRG_ENOENT, "there is no such run: brigade runs lists them");
    }
    int rc = BRG_OK;
    if (stages != NULL && type == BRG_EV_RESUME) {
        rc = restage(s, index, (uint32_t)number_of(body, "stages", UINT32_MAX, 0), why);
        if (rc != BRG_OK) return rc;
    }
    struct brg_coord_event ev = {.type = type, .run = s->runs[index].record.id};
    rc = brg_service_feed(s, &ev);
    const char *state = brg_service_run_state_name(s->core.runs[index].plan.state);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc, "run %" PRIu64 " is %s: that cannot be done to it now",
                           s->runs[index].record.id, state);
    }
    (void)cJSON_AddNumberToObject(reply, "run", (double)s->runs[index].record.id);
    (void)cJSON_AddStringToObject(reply, "state", state);
    return BRG_OK;
}

static int token_create(struct brg_service *s, const cJSON *body, cJSON *reply,
                        struct brg_why *why) {
    char text[BRG_TOKEN_TEXT_BYTES], when[32];
    uint64_t id = 0;
    const uint64_t lifetime_s = number_of(body, "expires_s", UINT32_MAX, 24 * 3600);
    const uint64_t uses = number_of(body, "uses", UINT32_MAX, 1);
    const int rc =
        brg_service_make_token(s, lifetime_s, (uint32_t)uses, text_of(body, "label"), text, &id);
    if (rc == BRG_EFULL) {
        return brg_why_set(why, rc, "there are %u tokens already, as many as can be kept",
                           BRG_TOKENS_MAX);
    }
    if (rc != BRG_OK) return brg_why_set(why, rc, "a token needs a lifetime and at least one use");
    const time_t end = (time_t)(brg_service_wall_ns() / BRG_NS_PER_S + lifetime_s);
    struct tm utc;
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&end, &utc));
    (void)cJSON_AddNumberToObject(reply, "id", (double)id);
    (void)cJSON_AddStringToObject(reply, "token", text);
    (void)cJSON_AddStringToObject(reply, "join", s->join_url);
    (void)cJSON_AddStringToObject(reply, "expires", when);
    return BRG_OK;
}

static int token_revoke(struct brg_service *s, const cJSON *body, struct brg_why *why) {
    const uint64_t id = number_of(body, "id", UINT32_MAX, 0);
    struct brg_coord_event ev = {.type = BRG_EV_TOKEN_REVOKE};
    if (id == 0 || id > s->core.members.token_count) {
        return brg_why_set(why, BRG_ENOENT,
                           "there is no such token: brigade token list shows them");
    }
    ev.token_hash = s->core.members.tokens[id - 1].hash;
    return brg_service_feed(s, &ev);
}

static int allow(struct brg_service *s, const cJSON *body, struct brg_why *why) {
    struct brg_coord_event ev = {.type = BRG_EV_ALLOW};
    struct brg_key key;
    int rc = brg_key_parse(text_of(body, "key"), &key, why);
    if (rc != BRG_OK) return rc;
    const uint32_t known = brg_members_find(&s->core.members, key.bytes);
    if (known == BRG_NOBODY && s->core.members.count < BRG_MEMBERS_MAX) {
        struct brg_service_member *member = &s->members[s->core.members.count];
        memset(member, 0, sizeof *member);
        (void)snprintf(member->record.name, sizeof member->record.name, "%.63s",
                       text_of(body, "name"));
    }
    memcpy(ev.key, key.bytes, sizeof ev.key);
    rc = brg_service_feed(s, &ev);
    if (rc != BRG_OK) return brg_why_set(why, rc, "the table of workers is full");
    brg_zap_forget(s->zap, &key);
    return BRG_OK;
}

static int worker_wish(struct brg_service *s, uint32_t type, const cJSON *body,
                       struct brg_why *why) {
    struct brg_coord_event ev = {.type = type, .member = worker_of(s, body)};
    const int rc = ev.member == BRG_NOBODY ? BRG_ENOENT : brg_service_feed(s, &ev);
    if (rc == BRG_ENOENT) {
        return brg_why_set(why, rc, "there is no such worker: brigade workers list shows them");
    }
    return rc == BRG_OK ? rc : brg_why_set(why, rc, "this worker is not attached now");
}

static int curve(struct brg_service *s, const cJSON *body, cJSON **reply, struct brg_why *why) {
    const uint32_t index = run_of(s, body);
    if (index == BRG_NOBODY) {
        return brg_why_set(why, BRG_ENOENT, "there is no such run: brigade runs lists them");
    }
    cJSON_Delete(*reply);
    *reply = brg_service_curve(s, index, number_of(body, "from", UINT32_MAX, 0),
                               number_of(body, "limit", 4096, 1000));
    return BRG_OK;
}

#define DELAYS_PAGE_MAX 4000u

/* A page of what workers took: [round, worker, chunks, chunks of the batch, ns, censored] each. */
static int delays(struct brg_service *s, const cJSON *body, cJSON *reply, struct brg_why *why) {
    static struct brg_delay items[DELAYS_PAGE_MAX]; /* too large for the stack; one thread */
    char folder[BRG_PATH_BYTES];
    const uint32_t index = run_of(s, body);
    uint32_t count = 0;
    uint64_t next = 0;
    if (index == BRG_NOBODY) {
        return brg_why_set(why, BRG_ENOENT, "there is no such run: brigade runs lists them");
    }
    (void)snprintf(folder, sizeof folder, "%s/runs/%" PRIu64, s->options->state_dir,
                   s->runs[index].record.id);
    if (s->delays != NULL && s->run != NULL && index == s->run_index) brg_delays_flush(s->delays);
    const uint64_t from = number_of(body, "from", UINT64_C(1) << 53, 0);
    const uint32_t limit = (uint32_t)number_of(body, "limit", DELAYS_PAGE_MAX, DELAYS_PAGE_MAX);
    const int rc = brg_delays_read(folder, from, items, limit, &count, &next);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc, "%s: the record of delays cannot be read: %s", folder,
                           brg_strerror(rc));
    }
    cJSON *rows = cJSON_AddArrayToObject(reply, "delays");
    for (uint32_t i = 0; i < count; i++) {
        const struct brg_delay *d = &items[i];
        const double row[] = {(double)d->round, d->member,     d->chunks,
                              d->total,         (double)d->ns, d->censored};
        (void)cJSON_AddItemToArray(rows, cJSON_CreateDoubleArray(row, 6));
    }
    (void)cJSON_AddNumberToObject(reply, "next", (double)next);
    return BRG_OK;
}

int brg_service_carry_out(struct brg_service *s, const char *verb, const cJSON *body, cJSON **reply,
                          struct brg_why *why) {
    cJSON *(*show)(struct brg_service *) = NULL;
    if (strcmp(verb, "status") == 0) show = brg_service_status;
    if (strcmp(verb, "runs") == 0) show = brg_service_runs;
    if (strcmp(verb, "workers.list") == 0) show = brg_service_workers;
    if (strcmp(verb, "token.list") == 0) show = brg_service_tokens;
    if (show != NULL) {
        cJSON_Delete(*reply);
        *reply = show(s);
        return BRG_OK;
    }
    if (strcmp(verb, "submit") == 0) return submit(s, body, *reply, why);
    if (strcmp(verb, "pause") == 0) return run_wish(s, BRG_EV_PAUSE, body, *reply, why);
    if (strcmp(verb, "resume") == 0) return run_wish(s, BRG_EV_RESUME, body, *reply, why);
    if (strcmp(verb, "stop") == 0) return run_wish(s, BRG_EV_STOP, body, *reply, why);
    if (strcmp(verb, "token.create") == 0) return token_create(s, body, *reply, why);
    if (strcmp(verb, "token.revoke") == 0) return token_revoke(s, body, why);
    if (strcmp(verb, "workers.allow") == 0) return allow(s, body, why);
    if (strcmp(verb, "workers.revoke") == 0) return worker_wish(s, BRG_EV_REVOKE, body, why);
    if (strcmp(verb, "workers.drain") == 0) return worker_wish(s, BRG_EV_ASK_DRAIN, body, why);
    if (strcmp(verb, "curve") == 0) return curve(s, body, reply, why);
    if (strcmp(verb, "delays") == 0) return delays(s, body, *reply, why);
    if (strcmp(verb, "events") == 0) {
        cJSON_Delete(*reply);
        *reply = brg_service_events(s, number_of(body, "after", UINT64_MAX, 0),
                                    number_of(body, "limit", 1000, 100));
        return BRG_OK;
    }
    return brg_why_set(why, BRG_EINVAL,
                       "the coordinator does not know the verb %.32s: is the "
                       "command of another version?",
                       verb);
}

static int snapshot(struct brg_service *s, const struct brg_peer *to, const cJSON *body,
                    cJSON **reply, struct brg_why *why) {
    const struct brg_snapshot_wish wish = {
        .to = to,
        .request = s->msg.operate.id,
        .run_index = run_of(s, body),
        .model = (uint32_t)number_of(body, "model", UINT32_MAX, 0),
        .is_asked_to_write = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "write"))};
    if (wish.run_index == BRG_NOBODY) {
        return brg_why_set(why, BRG_ENOENT, "there is no such run: brigade runs lists them");
    }
    return brg_service_snapshot(s, &wish, reply, why);
}

/* Answers with what the verb did, or why it did not; *reply NULL: the answer follows. */
static int answer(struct brg_service *s, const struct brg_inbound *in, cJSON **reply,
                  struct brg_why *why) {
    const struct brg_msg_operate *m = &s->msg.operate;
    if (!brg_key_equal(&in->key, &s->operator_key.public_key)) {
        return brg_why_set(
            why, BRG_EPERM,
            "this key may not operate the coordinator: use operator.key of its state "
            "folder");
    }
    cJSON *body = m->body_bytes > 0 ? cJSON_ParseWithLength((const char *)m->body, m->body_bytes)
                                    : cJSON_CreateObject();
    if (body == NULL) return brg_why_set(why, BRG_EINVAL, "the request is not JSON");
    const int rc = strcmp(m->verb, "snapshot") == 0
                       ? snapshot(s, &in->peer, body, reply, why)
                       : brg_service_carry_out(s, m->verb, body, reply, why);
    cJSON_Delete(body);
    return rc;
}

void brg_service_reply_later(struct brg_service *s, const struct brg_peer *to, uint64_t request,
                             int code, cJSON *reply) {
    BRG_ASSERT(s->reply_count < sizeof s->replies / sizeof s->replies[0]);
    struct brg_service_reply *slot = &s->replies[s->reply_count++];
    *slot = (struct brg_service_reply){.to = *to, .id = request, .code = code};
    slot->body = cJSON_PrintUnformatted(reply);
    BRG_ASSERT(slot->body != NULL);
    cJSON_Delete(reply);
}

void brg_service_operate(struct brg_service *s, const struct brg_inbound *in) {
    struct brg_why why = {{0}};
    BRG_ASSERT(s->reply_count < BRG_TURN_MESSAGES_MAX); /* one a message of the turn */
    cJSON *reply = cJSON_CreateObject();
    BRG_ASSERT(reply != NULL);
    const int rc = answer(s, in, &reply, &why);
    if (rc == BRG_OK && reply == NULL) return;
    if (rc != BRG_OK) {
        cJSON_Delete(reply);
        reply = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(reply, "error",
                                      why.text[0] != '\0' ? why.text : brg_strerror(rc));
    }
    brg_service_reply_later(s, &in->peer, s->msg.operate.id, rc, reply);
}

void brg_service_send_replies(struct brg_service *s) {
    for (uint32_t i = 0; i < s->reply_count; i++) {
        struct brg_service_reply *r = &s->replies[i];
        struct brg_msg *m = &s->reply;
        const char *body = r->body;
        size_t size = strlen(body);
        if (size > BRG_REPLY_BYTES_MAX) {
            body = "{\"error\":\"the answer is too long: ask for less (limit)\"}";
            size = strlen(body);
            r->code = BRG_EFULL;
        }
        memset(m, 0, sizeof *m);
        m->type = BRG_MSG_OPERATE_REPLY;
        m->operate_reply.id = r->id;
        m->operate_reply.code = r->code;
        m->operate_reply.body = (const uint8_t *)body;
        m->operate_reply.body_bytes = (uint32_t)size;
        brg_service_send(s, &r->to, m);
        free(r->body);
    }
    s->reply_count = 0;
}
