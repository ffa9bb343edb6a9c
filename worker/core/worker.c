#include "worker/core/worker.h"

#include <string.h>

#define NOT_YET UINT64_MAX

static void act(struct brg_worker_actions *out, struct brg_worker_action action) {
    BRG_ASSERT(out->count < BRG_WORKER_ACTIONS_MAX);
    out->items[out->count++] = action;
}

static void say(struct brg_worker_actions *out, enum brg_worker_action_type type) {
    act(out, (struct brg_worker_action){.type = type});
}

/* An action about the unit of a message. */
static void about(const struct brg_worker *w, struct brg_worker_actions *out,
                  enum brg_worker_action_type type, const struct brg_worker_event *ev,
                  int32_t code) {
    act(out, (struct brg_worker_action){.type = type,
                                        .run = ev->run,
                                        .since = w->since,
                                        .step = ev->step,
                                        .unit = ev->unit,
                                        .attempt = ev->attempt,
                                        .code = code});
}

/* An action about one of our tasks. */
static struct brg_worker_action about_task(const struct brg_worker *w, uint32_t index,
                                           enum brg_worker_action_type type) {
    BRG_ASSERT(index < w->task_count);
    const struct brg_worker_task *task = &w->tasks[index];
    return (struct brg_worker_action){.type = type,
                                      .run = w->run,
                                      .round = w->round,
                                      .since = w->since,
                                      .step = task->step,
                                      .unit = task->unit,
                                      .attempt = task->attempt};
}

/* ---- what is held ---- */

static int holds(const struct brg_worker *w, uint64_t step, uint32_t unit) {
    for (uint32_t i = 0; i < w->share_count; i++) {
        if (w->shares[i].step == step && w->shares[i].unit == unit) return 1;
    }
    return 0;
}

/* The shares of steps up to `step`. */
static void drop_shares(struct brg_worker *w, uint64_t step, struct brg_worker_actions *out) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->share_count; i++) {
        if (w->shares[i].step > step) w->shares[kept++] = w->shares[i];
    }
    if (kept == w->share_count) return;
    memset(&w->shares[kept], 0, (w->share_count - kept) * sizeof w->shares[0]);
    w->share_count = kept;
    act(out, (struct brg_worker_action){.type = BRG_WACT_DROP_SHARES, .step = step});
}

/* Room for one more: the oldest goes, which was pulled long ago if it was wanted at all. */
static void make_room(struct brg_worker *w, struct brg_worker_actions *out) {
    if (w->share_count < w->config.shares_max) return;
    const struct brg_worker_share oldest = w->shares[0];
    w->share_count--;
    memmove(&w->shares[0], &w->shares[1], w->share_count * sizeof w->shares[0]);
    memset(&w->shares[w->share_count], 0, sizeof w->shares[0]);
    act(out, (struct brg_worker_action){
                 .type = BRG_WACT_DROP_SHARE, .step = oldest.step, .unit = oldest.unit});
}

static void stop_fetching(struct brg_worker *w) {
    w->fetching = BRG_WORKER_NO_PARAMS;
    w->fetch_again_ns = NOT_YET;
}

static void drop_params(struct brg_worker *w, struct brg_worker_actions *out) {
    int any = w->fetching != BRG_WORKER_NO_PARAMS;
    for (uint32_t i = 0; i < BRG_WORKER_MODELS_MAX; i++) {
        any |= w->params[i] != BRG_WORKER_NO_PARAMS;
        w->params[i] = BRG_WORKER_NO_PARAMS;
    }
    stop_fetching(w);
    if (any) act(out, (struct brg_worker_action){.type = BRG_WACT_DROP_PARAMS, .step = UINT64_MAX});
}

/* 1 where the parameters that `step` starts from are at hand. */
static int has_params(const struct brg_worker *w, uint64_t step) {
    return w->params[(step - 1) % w->models] == step - 1;
}

/* ---- the queue of tasks ---- */

/* Takes task `index` out; it is cancelled where it is being computed. */
static void drop_task(struct brg_worker *w, uint32_t index, struct brg_worker_actions *out) {
    BRG_ASSERT(index < w->task_count);
    if (index == 0) {
        if (w->task_state == BRG_WTASK_COMPUTING) say(out, BRG_WACT_CANCEL);
        w->task_state = w->task_count > 1 ? BRG_WTASK_FETCHING : BRG_WTASK_NONE;
        w->chunks_done = 0;
    }
    w->task_count--;
    memmove(&w->tasks[index], &w->tasks[index + 1], (w->task_count - index) * sizeof w->tasks[0]);
    memset(&w->tasks[w->task_count], 0, sizeof w->tasks[0]);
}

/* Drops every task but the one given, if it is the one under way. */
static void drop_tasks_but(struct brg_worker *w, uint64_t step, uint32_t unit,
                           struct brg_worker_actions *out) {
    while (w->task_count > 1) drop_task(w, w->task_count - 1, out);
    if (w->task_count == 0) return;
    if (w->tasks[0].step != step || w->tasks[0].unit != unit) drop_task(w, 0, out);
}

static void drop_tasks(struct brg_worker *w, struct brg_worker_actions *out) {
    drop_tasks_but(w, 0, BRG_WORKER_NO_UNIT, out);
    stop_fetching(w);
    w->data_again_ns = NOT_YET;
}

/* Everything that belongs to one run in one epoch. */
static void drop_run(struct brg_worker *w, struct brg_worker_actions *out) {
    drop_tasks(w, out);
    drop_shares(w, UINT64_MAX, out);
    drop_params(w, out);
    w->run = w->committed = 0;
    w->data_ready = w->models = 0;
}

static void call(struct brg_worker *w, struct brg_worker_actions *out) {
    w->phase = BRG_WORKER_CALLING;
    w->next_hello_ns = w->now_ns + w->config.hello_every_ns;
    w->next_beat_ns = UINT64_MAX;
    say(out, BRG_WACT_SEND_HELLO);
}

static void leave(struct brg_worker *w, int32_t code, struct brg_worker_actions *out) {
    drop_run(w, out);
    w->phase = BRG_WORKER_GONE;
    act(out, (struct brg_worker_action){.type = BRG_WACT_EXIT, .code = code});
}

/* ---- the tasks ---- */

/* The parameters that are wanted next: of the task under way, or while that is computed of the
 * first after it that lacks them. */
static uint64_t wanted_params(const struct brg_worker *w) {
    for (uint32_t i = 0; i < w->task_count; i++) {
        if (!has_params(w, w->tasks[i].step)) return w->tasks[i].step - 1;
    }
    return BRG_WORKER_NO_PARAMS;
}

static void fetch(struct brg_worker *w, struct brg_worker_actions *out) {
    const uint64_t wanted = wanted_params(w);
    if (wanted == BRG_WORKER_NO_PARAMS) {
        stop_fetching(w); /* one that comes all the same is taken as well */
        return;
    }
    if (wanted == w->fetching && w->now_ns < w->fetch_again_ns) return;
    w->fetching = wanted;
    w->fetch_again_ns = w->now_ns + w->config.fetch_retry_ns;
    act(out,
        (struct brg_worker_action){.type = BRG_WACT_FETCH_PARAMS, .run = w->run, .step = wanted});
}

/* Takes the task under way one stage on as soon as what it needs is there, and sees to what the
 * tasks after it need. */
static void go_on(struct brg_worker *w, struct brg_worker_actions *out) {
    if (w->task_state == BRG_WTASK_FETCHING && w->data_ready && has_params(w, w->tasks[0].step)) {
        w->task_state = BRG_WTASK_COMPUTING;
        act(out, about_task(w, 0, BRG_WACT_COMPUTE));
    }
    if (w->task_count > 0 && !w->data_ready && w->now_ns >= w->data_again_ns) {
        w->data_again_ns = w->now_ns + w->config.fetch_retry_ns;
        act(out, (struct brg_worker_action){.type = BRG_WACT_FETCH_DATA, .run = w->run});
    }
    if (w->data_ready || w->task_count == 0) w->data_again_ns = NOT_YET;
    fetch(w, out);
}

/* What the round and the code of a task say about everything else here. 0: the task is an old one.
 */
static int take_round(struct brg_worker *w, const struct brg_worker_event *ev,
                      struct brg_worker_actions *out) {
    if (ev->since < w->since || ev->round < w->round) return 0;
    if (ev->since > w->since) { /* another code, or the run was opened once more: all is void */
        drop_tasks(w, out);
        drop_shares(w, UINT64_MAX, out);
        drop_params(w, out);
        w->committed = 0; /* it may begin at an earlier step than before */
        w->since = ev->since;
    }
    if (ev->step <= w->committed) return 0;
    if (ev->round > w->round) drop_tasks_but(w, ev->step, ev->unit, out);
    w->round = ev->round;
    return 1;
}

static int on_task(struct brg_worker *w, const struct brg_worker_event *ev,
                   struct brg_worker_actions *out) {
    if (ev->step == 0 || ev->run == 0 || ev->unit == BRG_WORKER_NO_UNIT) return BRG_EPROTO;
    if (ev->since == 0 || ev->round < ev->since) return BRG_EPROTO;
    if (w->phase == BRG_WORKER_DRAINING) return BRG_OK;
    if (ev->run != w->run) { /* its description was lost on the way */
        about(w, out, BRG_WACT_SEND_FAULT, ev, BRG_ENOENT);
        return BRG_OK;
    }
    if (!take_round(w, ev, out)) return BRG_OK;
    if (holds(w, ev->step, ev->unit)) { /* our DONE was lost */
        about(w, out, BRG_WACT_SEND_DONE, ev, BRG_OK);
        return BRG_OK;
    }
    for (uint32_t i = 0; i < w->task_count; i++) { /* the same once more */
        if (w->tasks[i].step != ev->step || w->tasks[i].unit != ev->unit) continue;
        w->tasks[i].attempt = ev->attempt;
        return BRG_OK;
    }
    /* Too many at once come from words that crossed; what is lacking is sent once more. */
    if (w->task_count == BRG_WORKER_TASKS_MAX) return BRG_OK;
    w->tasks[w->task_count++] =
        (struct brg_worker_task){.step = ev->step, .unit = ev->unit, .attempt = ev->attempt};
    if (w->task_count == 1) {
        w->task_state = BRG_WTASK_FETCHING;
        w->data_again_ns = 0; /* at once */
    }
    go_on(w, out);
    return BRG_OK;
}

/* The data set is here; or the run cannot be worked on here at all, and whoever waits for the tasks
 * is told instead of finding out by the clock. */
static void on_data(struct brg_worker *w, const struct brg_worker_event *ev,
                    struct brg_worker_actions *out) {
    if (ev->code == BRG_OK) {
        w->data_ready = 1;
        go_on(w, out);
        return;
    }
    if (w->task_state != BRG_WTASK_FETCHING) return; /* the next task asks again */
    struct brg_worker_action fault = about_task(w, 0, BRG_WACT_SEND_FAULT);
    fault.code = ev->code;
    drop_tasks(w, out);
    act(out, fault);
}

/* 1 where a task starts from these parameters. */
static int wants(const struct brg_worker *w, uint64_t version) {
    for (uint32_t i = 0; i < w->task_count; i++) {
        if (w->tasks[i].step - 1 == version) return 1;
    }
    return 0;
}

/* Of each model one version is kept: what a task needs, else the newest. A newer one than is needed
 * may be from before the run went back to an earlier step. */
static void on_params(struct brg_worker *w, const struct brg_worker_event *ev,
                      struct brg_worker_actions *out) {
    uint64_t *held = &w->params[ev->step % w->models];
    const uint64_t before = *held;
    const int is_newer = before == BRG_WORKER_NO_PARAMS || before < ev->step;
    const int is_kept = wants(w, ev->step) || (is_newer && !wants(w, before));
    if (is_kept) *held = ev->step;
    const uint64_t goes = is_kept ? before : ev->step;
    if (goes != BRG_WORKER_NO_PARAMS && goes != *held) {
        act(out, (struct brg_worker_action){.type = BRG_WACT_DROP_PARAMS, .step = goes});
    }
    if (ev->step == w->fetching) stop_fetching(w);
    go_on(w, out);
}

static void on_computed(struct brg_worker *w, const struct brg_worker_event *ev,
                        struct brg_worker_actions *out) {
    if (w->task_state != BRG_WTASK_COMPUTING || ev->run != w->run || ev->step != w->tasks[0].step ||
        ev->unit != w->tasks[0].unit) {
        return; /* it was cancelled while the answer was on its way */
    }
    struct brg_worker_action answer = about_task(w, 0, BRG_WACT_SEND_DONE);
    w->task_state = BRG_WTASK_FETCHING; /* nothing to cancel */
    if (ev->code != BRG_OK) {           /* it is not asked for anything else of the run any more */
        answer.type = BRG_WACT_SEND_FAULT;
        answer.code = ev->code;
        drop_tasks(w, out);
        act(out, answer);
        return;
    }
    make_room(w, out);
    w->shares[w->share_count++] =
        (struct brg_worker_share){.step = w->tasks[0].step, .unit = w->tasks[0].unit};
    drop_task(w, 0, out);
    act(out, answer);
    go_on(w, out);
}

/* ---- what the coordinator says ---- */

static void on_welcome(struct brg_worker *w, const struct brg_worker_event *ev,
                       struct brg_worker_actions *out) {
    if (ev->epoch != w->epoch) { /* another incarnation: nothing held counts, rounds begin anew */
        drop_run(w, out);
        w->round = w->since = 0;
    }
    w->epoch = ev->epoch;
    w->beat_every_ns = ev->beat_ns;
    w->next_hello_ns = UINT64_MAX;
    w->next_beat_ns = w->now_ns + ev->beat_ns;
    if (w->phase == BRG_WORKER_CALLING) {
        w->phase = BRG_WORKER_ATTACHED;
        if (w->drain_deadline_ns != UINT64_MAX) { /* told to leave while it was calling */
            w->phase = BRG_WORKER_DRAINING;
            act(out, (struct brg_worker_action){.type = BRG_WACT_SEND_DRAIN,
                                                .at_ns = w->drain_deadline_ns});
        }
    }
}

static void on_run(struct brg_worker *w, const struct brg_worker_event *ev,
                   struct brg_worker_actions *out) {
    if (ev->run != w->run) {
        drop_run(w, out);
        w->run = ev->run;
    }
    w->models = ev->models;
    /* Opened once more in the same epoch, it may begin at an earlier step than before, and a commit
     * of before may have come late. */
    w->committed = 0;
    w->data_ready |= ev->has_data;
    if (!w->data_ready && w->task_count == 0) {
        act(out, (struct brg_worker_action){.type = BRG_WACT_FETCH_DATA, .run = w->run});
    }
    go_on(w, out);
}

static void on_commit(struct brg_worker *w, const struct brg_worker_event *ev,
                      struct brg_worker_actions *out) {
    if (ev->run != w->run || ev->step <= w->committed) return;
    w->committed = ev->step;
    for (uint32_t i = w->task_count; i-- > 0;) {
        if (w->tasks[i].step <= ev->step) drop_task(w, i, out);
    }
    drop_shares(w, ev->step, out);
    go_on(w, out);
}

/* 1 for what comes from the coordinator under an epoch of its own. */
static int is_fenced(uint32_t type) {
    return type == BRG_WEV_RUN || type == BRG_WEV_TASK || type == BRG_WEV_COMMIT ||
           type == BRG_WEV_RELEASE || type == BRG_WEV_WANT || type == BRG_WEV_DRAIN_ACK;
}

static int on_fenced(struct brg_worker *w, const struct brg_worker_event *ev,
                     struct brg_worker_actions *out) {
    if (ev->epoch < w->epoch) return BRG_OK; /* of an incarnation that is dead */
    if (ev->epoch > w->epoch) {              /* we do not belong to this one yet */
        if (w->phase != BRG_WORKER_CALLING) call(w, out);
        return BRG_OK;
    }
    switch (ev->type) {
    case BRG_WEV_RUN:
        if (ev->run == 0 || ev->models == 0 || ev->models > BRG_WORKER_MODELS_MAX) {
            return BRG_EPROTO;
        }
        if (ev->run == w->run && ev->models != w->models) return BRG_EPROTO;
        on_run(w, ev, out);
        break;
    case BRG_WEV_TASK: return on_task(w, ev, out);
    case BRG_WEV_COMMIT: on_commit(w, ev, out); break;
    case BRG_WEV_RELEASE:
        if (ev->run == w->run) drop_run(w, out);
        break;
    case BRG_WEV_WANT:
        if (ev->run == w->run && holds(w, ev->step, ev->unit))
            about(w, out, BRG_WACT_SEND_SHARE, ev, BRG_OK);
        else
            about(w, out, BRG_WACT_SEND_GONE, ev, BRG_ENOENT);
        break;
    case BRG_WEV_DRAIN_ACK:
        /* Whoever did not ask for it is sent away by the operator. */
        if (w->phase == BRG_WORKER_CALLING) break;
        say(out, BRG_WACT_SEND_BYE);
        leave(w, BRG_OK, out);
        break;
    default: break;
    }
    return BRG_OK;
}

static void on_terminate(struct brg_worker *w, const struct brg_worker_event *ev,
                         struct brg_worker_actions *out) {
    if (w->drain_deadline_ns != UINT64_MAX) { /* the second time: at once */
        if (w->phase != BRG_WORKER_CALLING) say(out, BRG_WACT_SEND_BYE);
        leave(w, BRG_OK, out);
        return;
    }
    if (w->phase == BRG_WORKER_CALLING && w->epoch == 0) { /* never attached: nobody to tell */
        leave(w, BRG_OK, out);
        return;
    }
    w->drain_deadline_ns = ev->at_ns > w->now_ns ? ev->at_ns : w->now_ns;
    drop_tasks(w, out);
    if (w->phase == BRG_WORKER_CALLING) return; /* WELCOME brings the drain */
    w->phase = BRG_WORKER_DRAINING;
    act(out,
        (struct brg_worker_action){.type = BRG_WACT_SEND_DRAIN, .at_ns = w->drain_deadline_ns});
}

static void on_tick(struct brg_worker *w, struct brg_worker_actions *out) {
    if (w->now_ns >= w->drain_deadline_ns) {
        if (w->phase != BRG_WORKER_CALLING) say(out, BRG_WACT_SEND_BYE);
        leave(w, BRG_OK, out);
        return;
    }
    if (w->phase == BRG_WORKER_CALLING && w->now_ns >= w->next_hello_ns) call(w, out);
    if (w->now_ns >= w->next_beat_ns) {
        w->next_beat_ns = w->now_ns + w->beat_every_ns;
        act(out, (struct brg_worker_action){.type = BRG_WACT_SEND_BEAT,
                                            .run = w->run,
                                            .step = w->tasks[0].step,
                                            .unit = w->task_count > 0 ? w->tasks[0].unit
                                                                      : BRG_WORKER_NO_UNIT,
                                            .attempt = w->chunks_done});
        if (w->phase == BRG_WORKER_DRAINING) { /* the first word of it may have been lost */
            act(out, (struct brg_worker_action){.type = BRG_WACT_SEND_DRAIN,
                                                .at_ns = w->drain_deadline_ns});
        }
    }
    go_on(w, out);
}

/* ---- the step ---- */

int brg_worker_init(struct brg_worker *w, const struct brg_worker_config *config) {
    if (config->hello_every_ns == 0 || config->fetch_retry_ns == 0 || config->session == 0) {
        return BRG_EINVAL;
    }
    if (config->shares_max > BRG_WORKER_SHARES_MAX) return BRG_EINVAL;
    memset(w, 0, sizeof *w);
    w->config = *config;
    w->phase = BRG_WORKER_CALLING;
    if (w->config.shares_max == 0) w->config.shares_max = BRG_WORKER_SHARES_MAX;
    w->next_hello_ns = w->next_beat_ns = w->drain_deadline_ns = NOT_YET;
    w->data_again_ns = NOT_YET;
    stop_fetching(w);
    for (uint32_t i = 0; i < BRG_WORKER_MODELS_MAX; i++) w->params[i] = BRG_WORKER_NO_PARAMS;
    return BRG_OK;
}

static int dispatch(struct brg_worker *w, const struct brg_worker_event *ev,
                    struct brg_worker_actions *out) {
    if (is_fenced(ev->type)) return on_fenced(w, ev, out);
    switch ((enum brg_worker_event_type)ev->type) {
    case BRG_WEV_START: call(w, out); break;
    case BRG_WEV_TICK: on_tick(w, out); break;
    case BRG_WEV_WELCOME:
        if (ev->epoch == 0 || ev->beat_ns == 0) return BRG_EPROTO;
        if (ev->epoch >= w->epoch) on_welcome(w, ev, out);
        break;
    case BRG_WEV_REFUSED:
        if (!ev->retry) leave(w, BRG_EPERM, out);
        break;
    case BRG_WEV_REHELLO:
        /* Of a lower epoch too: that coordinator has lost its last start, and must be shown our
         * proof of what it committed then. Its WELCOME is not believed. */
        if (w->phase != BRG_WORKER_CALLING) call(w, out);
        break;
    case BRG_WEV_DATA:
        if (ev->run == w->run) on_data(w, ev, out);
        break;
    case BRG_WEV_PARAMS:
        if (ev->run == w->run) on_params(w, ev, out);
        break;
    case BRG_WEV_PROGRESS: w->chunks_done = ev->unit; break;
    case BRG_WEV_COMPUTED: on_computed(w, ev, out); break;
    case BRG_WEV_TERMINATE: on_terminate(w, ev, out); break;
    default: BRG_ASSERT(0 && "an event type that does not exist");
    }
    return BRG_OK;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

int brg_worker_step(struct brg_worker *w, const struct brg_worker_event *ev,
                    struct brg_worker_actions *out) {
    BRG_ASSERT(ev->now_ns >= w->now_ns);
    out->count = 0;
    if (w->phase == BRG_WORKER_GONE) return BRG_OK;
    w->now_ns = ev->now_ns;
    const int rc = dispatch(w, ev, out);
    if (rc != BRG_OK || w->phase == BRG_WORKER_GONE) return rc;
    uint64_t at_ns = earlier(w->next_beat_ns, w->drain_deadline_ns);
    if (w->phase == BRG_WORKER_CALLING) at_ns = earlier(at_ns, w->next_hello_ns);
    at_ns = earlier(at_ns, earlier(w->fetch_again_ns, w->data_again_ns));
    act(out, (struct brg_worker_action){.type = BRG_WACT_ARM, .at_ns = at_ns});
    return BRG_OK;
}

void brg_worker_check(const struct brg_worker *w) {
    BRG_ASSERT(w->phase >= BRG_WORKER_CALLING && w->phase <= BRG_WORKER_GONE);
    BRG_ASSERT(w->task_state <= BRG_WTASK_COMPUTING);
    BRG_ASSERT((w->task_state == BRG_WTASK_NONE) == (w->task_count == 0));
    BRG_ASSERT(w->task_count <= BRG_WORKER_TASKS_MAX);
    BRG_ASSERT((w->run == 0) == (w->models == 0));
    for (uint32_t i = 0; i < w->task_count; i++) {
        BRG_ASSERT(w->run != 0 && w->tasks[i].step > w->committed);
        BRG_ASSERT(!holds(w, w->tasks[i].step, w->tasks[i].unit));
    }
    BRG_ASSERT(w->share_count <= w->config.shares_max);
    for (uint32_t i = 0; i < w->share_count; i++) BRG_ASSERT(w->shares[i].step > w->committed);
    for (uint32_t i = 0; i < BRG_WORKER_MODELS_MAX; i++) {
        if (w->params[i] == BRG_WORKER_NO_PARAMS) continue;
        BRG_ASSERT(i < w->models && w->params[i] % w->models == i);
    }
    BRG_ASSERT((w->fetching == BRG_WORKER_NO_PARAMS) == (w->fetch_again_ns == NOT_YET));
    if (w->phase == BRG_WORKER_ATTACHED) BRG_ASSERT(w->epoch > 0);
}
