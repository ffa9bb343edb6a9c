/* outbox.c - actions of the machine become messages, jobs and timers. Only called once the records
 * of the turn are on disk. */
#include <inttypes.h>
#include <string.h>

#include "coordinator/shell/line.h"
#include "coordinator/shell/service_private.h"

/* Who has nothing to do hears of every so many commits. */
#define COMMITS_BETWEEN 16u

void brg_service_send(struct brg_service *s, const struct brg_peer *to, struct brg_msg *msg) {
    if (to->size_bytes == 0) return;
    msg->epoch = s->core.epoch;
    const int rc = brg_socket_send_msg(s->socket, to, msg, NULL);
    /* A full queue or a line that is gone: every message is said again when it is missed. */
    BRG_ASSERT(rc != BRG_EINVAL);
}

struct brg_msg *brg_service_blank(struct brg_service *s, uint32_t type) {
    memset(&s->reply, 0, sizeof s->reply);
    s->reply.type = type;
    return &s->reply;
}

/* ---- to one member ---- */

static void send_welcome(struct brg_service *s, const struct brg_coord_action *a) {
    BRG_ASSERT(a->peer >= 1 && a->peer <= s->hello_count);
    const struct brg_service_hello *hello = &s->hellos[a->peer - 1];
    struct brg_service_member *member = &s->members[a->member];
    member->control = hello->route;
    if (member->session != hello->session) member->bulk.size_bytes = 0;
    member->session = hello->session;
    member->cores = hello->cores;
    member->memory_bytes = hello->memory_bytes;
    member->heard_ns = s->now_ns;
    memcpy(member->isa, hello->isa, sizeof member->isa);
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_WELCOME);
    m->welcome.member = a->member;
    m->welcome.lease_ms = (uint32_t)(s->options->lease_ns / BRG_NS_PER_MS);
    m->welcome.beat_ms = (uint32_t)(s->options->beat_ns / BRG_NS_PER_MS);
    brg_text_set(m->welcome.name, "%s", member->record.name);
    brg_service_send(s, &member->control, m);
}

static const char *refusal_text(int32_t code) {
    switch ((enum brg_refusal)code) {
    case BRG_REFUSED_UNKNOWN_KEY:
        return "the coordinator does not know this worker's key: give it a join token (brigade "
               "token create), or let the operator allow the key (brigade workers allow)";
    case BRG_REFUSED_TOKEN_UNKNOWN:
        return "the coordinator does not know this join token: make a new one with brigade token "
               "create";
    case BRG_REFUSED_TOKEN_EXPIRED:
        return "the join token has expired or has been used up: make a new one with brigade token "
               "create";
    case BRG_REFUSED_TOKEN_REVOKED:
        return "the join token was revoked by the operator: ask for a new one";
    case BRG_REFUSED_KEY_REVOKED:
        return "this worker's key was revoked by the operator: ask to be allowed again (brigade "
               "workers allow)";
    case BRG_REFUSED_FULL: return "the coordinator's table of workers is full";
    case BRG_REFUSED_SAME_KEY:
        return "another process has joined with the same key later than this one: give every "
               "worker "
               "a state folder (--state) of its own";
    }
    return "refused";
}

static void send_refused(struct brg_service *s, const struct brg_coord_action *a) {
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_REFUSED);
    m->refused.code = a->code == BRG_REFUSED_FULL ? BRG_EFULL : BRG_EPERM;
    m->refused.retry = a->code == BRG_REFUSED_FULL;
    brg_text_set(m->refused.text, "%s", refusal_text(a->code));
    if (a->peer != 0) {
        brg_service_send(s, &s->hellos[a->peer - 1].route, m);
        return;
    }
    struct brg_service_member *member = &s->members[a->member];
    brg_service_send(s, &member->control, m);
    if (a->code != BRG_REFUSED_KEY_REVOKED) return;
    struct brg_key key;
    memcpy(key.bytes, member->record.key, sizeof key.bytes);
    if (brg_zap_deny(s->zap, &key) != BRG_OK) {
        brg_log_warn("coordinator", NULL,
                     "the table of refused keys is full; the revoked worker can "
                     "still connect, and is refused then");
    }
}

/* What makes the run a pipeline. */
static void describe_line(const struct brg_run_config *config, struct brg_msg_run *m) {
    const struct brg_optimizer_spec *o = &config->optimizer;
    const struct brg_run_recovery *r = &config->recovery;
    m->has_line = 1;
    m->line = (struct brg_msg_line){.stages = config->pipeline.stages,
                                    .lanes = config->pipeline.lanes,
                                    .microbatches = config->pipeline.microbatches,
                                    .wire = config->pipeline.wire,
                                    .optimizer = {.type = o->type,
                                                  .schedule = o->schedule,
                                                  .warmup_steps = o->warmup_steps,
                                                  .total_steps = o->total_steps,
                                                  .lr = o->lr,
                                                  .lr_min_ratio = o->lr_min_ratio,
                                                  .beta1 = o->beta1,
                                                  .beta2 = o->beta2,
                                                  .eps = o->eps,
                                                  .weight_decay = o->weight_decay,
                                                  .momentum = o->momentum,
                                                  .clip = o->clip},
                                    .shadow_every = r->shadow_every,
                                    .shadow_moments = r->shadow_moments,
                                    .shadow_int8 = r->shadow_int8,
                                    .parity_group = r->parity_group,
                                    .exponent = r->exponent,
                                    .distil_steps = r->distil_steps,
                                    .eval_samples = (uint32_t)config->eval.samples};
}

static void send_run(struct brg_service *s, const struct brg_coord_action *a) {
    if (s->run == NULL || s->run->config.id != a->run) return;
    const struct brg_run_config *config = &s->run->config.run;
    const struct brg_model_spec *model = &config->model;
    const struct brg_rope_scaling *scaling = &model->rope_scaling;
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_RUN);
    m->run.run = a->run;
    brg_text_set(m->run.name, "%s", config->name);
    m->run.seed = config->seed;
    m->run.steps = brg_run_config_steps(config);
    m->run.models = config->models;
    memcpy(m->run.data_seeds, config->sweep.data_seed, sizeof m->run.data_seeds);
    m->run.model = (struct brg_msg_model){.type = model->type,
                                          .dim = model->dim,
                                          .layers = model->layers,
                                          .heads = model->heads,
                                          .kv_heads = model->kv_heads,
                                          .hidden = model->hidden,
                                          .context = model->context,
                                          .vocab = model->vocab,
                                          .tied = model->tied,
                                          .rope_theta = model->rope_theta,
                                          .norm_eps = model->norm_eps,
                                          .rope_type = scaling->type,
                                          .rope_factor = scaling->factor,
                                          .rope_low_freq = scaling->low_freq,
                                          .rope_high_freq = scaling->high_freq,
                                          .rope_original_context = scaling->original_context,
                                          .inputs = model->inputs,
                                          .classes = model->classes,
                                          .width_count = model->width_count};
    memcpy(m->run.model.widths, model->widths, sizeof m->run.model.widths);
    m->run.data = (struct brg_msg_data){.format = config->data.format,
                                        .digest = s->run->data.digest,
                                        .size_bytes = s->run->blob.size_bytes,
                                        .split = s->run->data.train.count};
    m->run.batch = (struct brg_msg_batch){.samples = config->batch.samples,
                                          .chunks = config->batch.chunks,
                                          .microbatch = config->batch.microbatch};
    if (config->kind == BRG_RUN_KIND_PIPELINE) describe_line(config, &m->run);
    brg_service_send(s, &s->members[a->member].control, m);
}

static void send_task(struct brg_service *s, const struct brg_coord_action *a) {
    static struct brg_recipe recipe; /* too large for the stack; the reactor is one thread */
    if (s->run == NULL || s->run->config.id != a->run) return;
    brg_scheme_recipe(s->run->scheme, a->unit, &recipe);
    BRG_ASSERT(recipe.count <= BRG_CHUNKS_MAX);
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_TASK);
    m->task.run = a->run;
    m->task.step = a->step;
    m->task.unit = a->unit;
    m->task.attempt = a->attempt;
    m->task.round = a->round;
    m->task.since = a->since;
    m->task.version = a->step - 1;
    m->task.params_bytes = s->run->param_count * sizeof(float);
    m->task.chunk_count = recipe.count;
    int plain = 1;
    for (uint32_t k = 0; k < recipe.count; k++) {
        m->task.chunks[k] = recipe.chunk[k];
        m->task.coefficients[k] = recipe.coefficient[k];
        if (recipe.coefficient[k] != 1.0) plain = 0;
    }
    m->task.coefficient_count = plain ? 0 : recipe.count;
    s->members[a->member].has_task = 1;
    brg_service_send(s, &s->members[a->member].control, m);
}

/* ---- to one or all ---- */

static void send_to(struct brg_service *s, uint32_t member, struct brg_msg *m) {
    const uint32_t first = member != BRG_NOBODY ? member : 0;
    const uint32_t end = member != BRG_NOBODY ? member + 1 : s->core.members.count;
    for (uint32_t i = first; i < end; i++) {
        if (!brg_members_is_here(&s->core.members.items[i])) continue;
        brg_service_send(s, &s->members[i].control, m);
    }
}

/* 1 for whom a commit ends something: whoever has a place in the code or was given a task since the
 * last one. The others need it only as proof, and of that an old one does. */
static int is_concerned(struct brg_service *s, uint32_t member, uint64_t step) {
    const int had_task = s->members[member].has_task;
    s->members[member].has_task = 0;
    return had_task || s->core.members.items[member].position != BRG_NOBODY ||
           step % COMMITS_BETWEEN == 0;
}

static void send_commit(struct brg_service *s, const struct brg_coord_action *a) {
    if (a->member == BRG_NOBODY) brg_service_drop_shares(s, a->step);
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_COMMIT);
    m->commit.proof.run = a->run;
    m->commit.proof.step = a->step;
    m->commit.proof.chain = s->chain;
    /* With durability checkpoint a step may be lost again by intent: nobody is to hold us to it,
     * and the proof is left without a mark. */
    if (s->unsaved == NULL) brg_proof_sign(s->mac_key, &m->commit.proof);
    if (a->member != BRG_NOBODY) {
        send_to(s, a->member, m);
        return;
    }
    for (uint32_t i = 0; i < s->core.members.count; i++) {
        if (is_concerned(s, i, a->step)) send_to(s, i, m);
    }
}

static void send_release(struct brg_service *s, const struct brg_coord_action *a) {
    brg_service_drop_all_shares(s);
    struct brg_msg *m = brg_service_blank(s, BRG_MSG_RELEASE);
    m->release.run = a->run;
    send_to(s, a->member, m);
}

/* ---- jobs ---- */

/* Commit records from which the run can be restored, read before it is opened. */
static struct brg_record_step *read_records(struct brg_service *s, uint64_t run, uint64_t first,
                                            uint64_t last) {
    const uint64_t count = last >= first ? last - first + 1 : 0;
    struct brg_record_step *records = calloc(count > 0 ? count : 1, sizeof *records);
    BRG_ASSERT(records != NULL);
    for (uint64_t i = 0; i < count; i++) {
        if (brg_store_step(s->store, run, first + i, &records[i]) == BRG_OK) continue;
        brg_service_fail(s, BRG_EXIT_DATA, "the store lost step %" PRIu64 " of run %" PRIu64 ": %s",
                         first + i, run, brg_store_why(s->store));
        break;
    }
    return records;
}

static void give_open(struct brg_service *s, const struct brg_coord_action *a) {
    const uint32_t index = brg_coord_run(&s->core, a->run);
    BRG_ASSERT(index != BRG_NOBODY);
    struct brg_service_run *run = &s->runs[index];
    static char folders[BRG_RUNS_MAX][BRG_PATH_BYTES]; /* borrowed by the open run */
    (void)snprintf(folders[index], sizeof folders[index], "%s/runs/%" PRIu64, s->options->state_dir,
                   a->run);
    struct brg_shell_job *job = brg_job_new(BRG_JOB_OPEN);
    const uint64_t reach = 4 * run->config.checkpoint.every_steps * run->config.models;
    job->run_id = a->run;
    job->open.run = run->config;
    job->open.code = run->code;
    job->open.id = a->run;
    job->open.folder = folders[index];
    job->open.pool = s->pool;
    job->open.committed = a->step;
    job->open.start = run->start;
    if (run->config.kind == BRG_RUN_KIND_PIPELINE) {
        job->open.checkpoint = brg_line_recorded(s, a->run);
        job->open.first_record = a->step + 1; /* there is no log to be read by them */
        job->open.records = NULL;
        brg_jobs_give(s->jobs, job);
        return;
    }
    job->open.first_record = run->checkpoint > reach ? run->checkpoint - reach : 1;
    job->open.records = read_records(s, a->run, job->open.first_record, a->step);
    brg_jobs_give(s->jobs, job);
}

/* The shares that the machine holds of the step, each with its hold. */
static void fill_decode(struct brg_service *s, struct brg_shell_job *to) {
    const struct brg_job *job = brg_rounds_job(&s->core.rounds, to->step);
    BRG_ASSERT(job != NULL);
    to->decode.scheme = s->run->scheme;
    to->decode.shares.held = job->held;
    for (uint32_t u = brg_bits_next(&job->held, 0); u < BRG_BITS_MAX;
         u = brg_bits_next(&job->held, u + 1)) {
        struct brg_service_share *share = brg_service_share(s, to->step, u);
        BRG_ASSERT(share->here != NULL && share->step == to->step);
        to->decode.shares.buffers[u] = share->here;
        share->here = NULL;
        s->members[share->member].shares_used++;
    }
}

/* The run is the compute thread's to close. */
static void forget_run(struct brg_service *s) {
    brg_service_drop_all_shares(s);
    brg_line_close(s);
    for (uint32_t m = 0; m < BRG_MODELS_MAX; m++) brg_source_fini(&s->params[m]);
    brg_tuning_close(s);
    brg_delays_close(&s->delays);
    s->run = NULL;
    s->closing++;
}

static void give(struct brg_service *s, const struct brg_coord_action *a, uint32_t type) {
    if (s->run == NULL) return; /* it could not be opened */
    struct brg_shell_job *job = brg_job_new(type);
    job->run = s->run;
    job->run_id = a->run;
    job->step = a->step;
    if (type == BRG_JOB_DECODE) fill_decode(s, job);
    if (type == BRG_JOB_CLOSE) forget_run(s);
    brg_jobs_give(s->jobs, job);
}

/* ---- notes ---- */

static void note(struct brg_service *s, const struct brg_coord_action *a) {
    const uint32_t kind = (uint32_t)a->code;
    switch ((enum brg_note)a->code) {
    case BRG_NOTE_ENROLLED: brg_service_event(s, kind, 0, a->member, "enrolled by a token"); break;
    case BRG_NOTE_JOINED: brg_service_event(s, kind, 0, a->member, "joined"); break;
    case BRG_NOTE_LOST: brg_service_event(s, kind, 0, a->member, "lost: its lease ran out"); break;
    case BRG_NOTE_LEFT: brg_service_event(s, kind, 0, a->member, "left"); break;
    case BRG_NOTE_DRAINING: brg_service_event(s, kind, 0, a->member, "is leaving"); break;
    case BRG_NOTE_SAME_KEY:
        brg_service_event(s, kind, 0, a->member, "a newer process took over its key");
        break;
    case BRG_NOTE_REATTEMPT:
        brg_log_debug("round",
                      BRG_FIELDS(BRG_U64("run", a->run), BRG_U64("step", a->step),
                                 BRG_U64("unit", a->unit), BRG_U64("attempt", a->attempt),
                                 BRG_STR("worker", s->members[a->member].record.name)),
                      "a late unit is attempted again");
        break;
    case BRG_NOTE_STARVED:
        brg_service_event(s, kind, a->run, BRG_NOBODY,
                          "step %" PRIu64 " waits: nobody is free to compute unit %u", a->step,
                          a->unit);
        break;
    case BRG_NOTE_BAD_SHARE:
        brg_service_event(s, kind, a->run, a->member,
                          "sent a share of step %" PRIu64 " that is not the one it announced",
                          a->step);
        break;
    case BRG_NOTE_DIGESTS_DIFFER:
        brg_service_event(s, kind, a->run, a->member,
                          "reports another result for unit %u of step %" PRIu64
                          " than the worker before it",
                          a->unit, a->step);
        break;
    case BRG_NOTE_UNFIT:
        brg_service_event(s, kind, a->run, a->member, "cannot do tasks of this run");
        break;
    case BRG_NOTE_RUN_STATE:
        brg_service_event(s, kind, a->run, BRG_NOBODY, "run %" PRIu64 " is %s", a->run,
                          brg_service_run_state_name(a->attempt));
        break;
    case BRG_NOTE_CHECKPOINT:
        brg_log_info("run", BRG_FIELDS(BRG_U64("run", a->run), BRG_U64("step", a->step)),
                     "checkpoint");
        break;
    }
}

/* 1 for work given to a member whose key was revoked later in the same turn. */
static int is_overtaken(const struct brg_service *s, const struct brg_coord_action *a) {
    if (a->type != BRG_ACT_SEND_RUN && a->type != BRG_ACT_SEND_TASK && a->type != BRG_ACT_PULL) {
        return 0;
    }
    return s->core.members.items[a->member].state == BRG_MEMBER_REVOKED;
}

void brg_service_perform(struct brg_service *s, const struct brg_coord_action *a) {
    if (is_overtaken(s, a)) return;
    switch ((enum brg_coord_action_type)a->type) {
    case BRG_ACT_SEND_WELCOME: send_welcome(s, a); break;
    case BRG_ACT_SEND_REFUSED: send_refused(s, a); break;
    case BRG_ACT_SEND_REHELLO:
        brg_service_send(s, &s->members[a->member].control, brg_service_blank(s, BRG_MSG_REHELLO));
        break;
    case BRG_ACT_SEND_RUN: send_run(s, a); break;
    case BRG_ACT_SEND_TASK: send_task(s, a); break;
    case BRG_ACT_SEND_COMMIT: send_commit(s, a); break;
    case BRG_ACT_SEND_RELEASE: send_release(s, a); break;
    case BRG_ACT_SEND_DRAIN_ACK:
        brg_service_send(s, &s->members[a->member].control,
                         brg_service_blank(s, BRG_MSG_DRAIN_ACK));
        break;
    case BRG_ACT_PULL: brg_service_start_pull(s, a); break;
    case BRG_ACT_SWITCHED: brg_tuning_switched(s); break;
    case BRG_ACT_OPEN: give_open(s, a); break;
    case BRG_ACT_CLOSE: give(s, a, BRG_JOB_CLOSE); break;
    case BRG_ACT_DECODE: give(s, a, BRG_JOB_DECODE); break;
    case BRG_ACT_APPLY: give(s, a, BRG_JOB_APPLY); break;
    case BRG_ACT_CHECKPOINT: give(s, a, BRG_JOB_CHECKPOINT); break;
    case BRG_ACT_TRUNCATE_LOG: give(s, a, BRG_JOB_TRUNCATE); break;
    case BRG_ACT_LINE_STOP: brg_line_stop(s); break;
    case BRG_ACT_ARM: s->timer_ns = a->at_ns; break;
    case BRG_ACT_NOTE: note(s, a); break;
    case BRG_ACT_PERSIST_MEMBER:
    case BRG_ACT_PERSIST_TOKEN:
    case BRG_ACT_PERSIST_RUN:
    case BRG_ACT_PERSIST_COMMIT:
    case BRG_ACT_PERSIST_CODE:
    case BRG_ACT_PERSIST_CHECKPOINT:
    case BRG_ACT_ROUND:
    case BRG_ACT_HALT: BRG_ASSERT(0 && "done before the turn's end");
    }
}
