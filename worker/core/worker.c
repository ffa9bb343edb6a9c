#include "worker/core/worker.h"

#include <string.h>

#define NO_PARAMS UINT64_MAX

static void act(struct brg_worker_actions *out, struct brg_worker_action action) {
    BRG_ASSERT(out->count < BRG_WORKER_ACTIONS_MAX);
    out->items[out->count++] = action;
}

static void say(struct brg_worker_actions *out, enum brg_worker_action_type type) {
    act(out, (struct brg_worker_action){.type = type});
}

/* An action about a unit of the run. */
static void about(struct brg_worker_actions *out, enum brg_worker_action_type type,
                  const struct brg_worker_event *ev, int32_t code) {
    act(out, (struct brg_worker_action){.type = type,
                                        .run = ev->run,
                                        .step = ev->step,
                                        .unit = ev->unit,
                                        .attempt = ev->attempt,
                                        .code = code});
}

static int holds(const struct brg_worker *w, uint64_t step, uint32_t unit) {
    if (w->share_step != step) return 0;
    for (uint32_t i = 0; i < w->share_count; i++) {
        if (w->share_units[i] == unit) return 1;
    }
    return 0;
}

static void drop_shares(struct brg_worker *w, struct brg_worker_actions *out) {
    if (w->share_count > 0) say(out, BRG_WACT_DROP_SHARES);
    w->share_count = 0;
    w->share_step = 0;
    memset(w->share_units, 0, sizeof w->share_units);
}

static void drop_task(struct brg_worker *w, struct brg_worker_actions *out) {
    if (w->task_state == BRG_WTASK_COMPUTING) say(out, BRG_WACT_CANCEL);
    w->task_state = BRG_WTASK_NONE;
    w->task_step = 0;
    w->task_unit = BRG_WORKER_NO_UNIT;
    w->task_attempt = w->chunks_done = 0;
    w->fetch_again_ns = UINT64_MAX;
}

/* Everything that belongs to one run in one epoch. */
static void drop_run(struct brg_worker *w, struct brg_worker_actions *out) {
    drop_task(w, out);
    drop_shares(w, out);
    if (w->params_version != NO_PARAMS) say(out, BRG_WACT_DROP_PARAMS);
    w->params_version = NO_PARAMS;
    w->run = w->committed = 0;
    w->data_ready = w->described = 0;
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

/* ---- the task ---- */

/* Takes the task one stage on as soon as what it needs is there. */
static void go_on(struct brg_worker *w, struct brg_worker_actions *out) {
    if (w->task_state != BRG_WTASK_FETCHING) return;
    if (w->data_ready && w->params_version == w->task_step - 1) {
        w->task_state = BRG_WTASK_COMPUTING;
        w->fetch_again_ns = UINT64_MAX;
        act(out, (struct brg_worker_action){.type = BRG_WACT_COMPUTE,
                                            .run = w->run,
                                            .step = w->task_step,
                                            .unit = w->task_unit,
                                            .attempt = w->task_attempt});
        return;
    }
    if (w->now_ns < w->fetch_again_ns) return;
    w->fetch_again_ns = w->now_ns + w->config.fetch_retry_ns;
    if (!w->data_ready) {
        act(out, (struct brg_worker_action){.type = BRG_WACT_FETCH_DATA, .run = w->run});
    }
    if (w->params_version != w->task_step - 1) {
        act(out, (struct brg_worker_action){
                     .type = BRG_WACT_FETCH_PARAMS, .run = w->run, .step = w->task_step - 1});
    }
}

static int on_task(struct brg_worker *w, const struct brg_worker_event *ev,
                   struct brg_worker_actions *out) {
    if (ev->step == 0 || ev->run == 0 || ev->unit == BRG_WORKER_NO_UNIT) return BRG_EPROTO;
    if (w->phase == BRG_WORKER_DRAINING) return BRG_OK;
    if (ev->run != w->run) { /* its description was lost on the way */
        about(out, BRG_WACT_SEND_FAULT, ev, BRG_ENOENT);
        return BRG_OK;
    }
    const int late =
        ev->step <= w->committed || ev->step < w->task_step || ev->step < w->share_step;
    if (late && !w->described) return BRG_OK;      /* on the way */
    if (w->described) w->committed = ev->step - 1; /* whatever we had heard before */
    w->described = 0;
    if (holds(w, ev->step, ev->unit)) { /* our DONE was lost */
        about(out, BRG_WACT_SEND_DONE, ev, BRG_OK);
        return BRG_OK;
    }
    if (w->task_step == ev->step && w->task_unit == ev->unit) { /* the same once more */
        w->task_attempt = ev->attempt;
        return BRG_OK;
    }
    if (ev->step != w->share_step) drop_shares(w, out);
    if (w->share_count == BRG_WORKER_SHARES_MAX) drop_shares(w, out);
    drop_task(w, out);
    w->task_step = ev->step;
    w->task_unit = ev->unit;
    w->task_attempt = ev->attempt;
    w->task_state = BRG_WTASK_FETCHING;
    w->fetch_again_ns = 0; /* at once */
    go_on(w, out);
    return BRG_OK;
}

/* The data set is here; or the run cannot be worked on here at all, and whoever waits for the task
 * is told instead of finding out by the clock. */
static void on_data(struct brg_worker *w, const struct brg_worker_event *ev,
                    struct brg_worker_actions *out) {
    if (ev->code == BRG_OK) {
        w->data_ready = 1;
        go_on(w, out);
        return;
    }
    if (w->task_state != BRG_WTASK_FETCHING) return; /* the next task asks again */
    const struct brg_worker_action fault = {.type = BRG_WACT_SEND_FAULT,
                                            .run = w->run,
                                            .step = w->task_step,
                                            .unit = w->task_unit,
                                            .attempt = w->task_attempt,
                                            .code = ev->code};
    drop_task(w, out);
    act(out, fault);
}

static void on_computed(struct brg_worker *w, const struct brg_worker_event *ev,
                        struct brg_worker_actions *out) {
    if (w->task_state != BRG_WTASK_COMPUTING || ev->run != w->run || ev->step != w->task_step ||
        ev->unit != w->task_unit) {
        return; /* it was cancelled while the answer was on its way */
    }
    const struct brg_worker_action task = {.run = w->run,
                                           .step = w->task_step,
                                           .unit = w->task_unit,
                                           .attempt = w->task_attempt,
                                           .code = ev->code};
    struct brg_worker_action answer = task;
    w->task_state = BRG_WTASK_NONE; /* nothing to cancel */
    if (ev->code == BRG_OK) {
        answer.type = BRG_WACT_SEND_DONE;
        w->share_step = w->task_step;
        w->share_units[w->share_count++] = w->task_unit;
    } else {
        answer.type = BRG_WACT_SEND_FAULT;
    }
    drop_task(w, out);
    act(out, answer);
}

/* ---- what the coordinator says ---- */

static void on_welcome(struct brg_worker *w, const struct brg_worker_event *ev,
                       struct brg_worker_actions *out) {
    if (ev->epoch != w->epoch) drop_run(w, out); /* another incarnation: nothing held counts */
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
    if (ev->run == w->run) {
        /* Opened once more in the same epoch, it may begin at an earlier step than before. */
        w->committed = 0;
        w->described = 1;
        w->data_ready |= ev->has_data;
        go_on(w, out);
        return;
    }
    drop_run(w, out);
    w->run = ev->run;
    w->data_ready = ev->has_data;
    if (!w->data_ready) {
        act(out, (struct brg_worker_action){.type = BRG_WACT_FETCH_DATA, .run = w->run});
    }
}

static void on_commit(struct brg_worker *w, const struct brg_worker_event *ev,
                      struct brg_worker_actions *out) {
    if (ev->run != w->run || ev->step <= w->committed) return;
    w->committed = ev->step;
    if (w->task_step != 0 && w->task_step <= ev->step) drop_task(w, out);
    if (w->share_step <= ev->step) drop_shares(w, out);
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
    case BRG_WEV_RUN: on_run(w, ev, out); break;
    case BRG_WEV_TASK: return on_task(w, ev, out);
    case BRG_WEV_COMMIT: on_commit(w, ev, out); break;
    case BRG_WEV_RELEASE:
        if (ev->run == w->run) drop_run(w, out);
        break;
    case BRG_WEV_WANT:
        if (ev->run == w->run && holds(w, ev->step, ev->unit))
            about(out, BRG_WACT_SEND_SHARE, ev, BRG_OK);
        else
            about(out, BRG_WACT_SEND_GONE, ev, BRG_ENOENT);
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
    drop_task(w, out);
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
                                            .step = w->task_step,
                                            .unit = w->task_unit,
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
    memset(w, 0, sizeof *w);
    w->config = *config;
    w->phase = BRG_WORKER_CALLING;
    w->next_hello_ns = w->next_beat_ns = w->fetch_again_ns = w->drain_deadline_ns = UINT64_MAX;
    w->params_version = NO_PARAMS;
    w->task_unit = BRG_WORKER_NO_UNIT;
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
        if (ev->run != w->run) break;
        w->params_version = ev->step;
        go_on(w, out);
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
    if (w->task_state == BRG_WTASK_FETCHING) at_ns = earlier(at_ns, w->fetch_again_ns);
    act(out, (struct brg_worker_action){.type = BRG_WACT_ARM, .at_ns = at_ns});
    return BRG_OK;
}

void brg_worker_check(const struct brg_worker *w) {
    BRG_ASSERT(w->phase >= BRG_WORKER_CALLING && w->phase <= BRG_WORKER_GONE);
    BRG_ASSERT(w->task_state <= BRG_WTASK_COMPUTING);
    BRG_ASSERT((w->task_state == BRG_WTASK_NONE) == (w->task_step == 0));
    BRG_ASSERT((w->task_unit == BRG_WORKER_NO_UNIT) == (w->task_step == 0));
    if (w->task_step != 0) BRG_ASSERT(w->run != 0 && w->task_step > w->committed);
    BRG_ASSERT(w->share_count <= BRG_WORKER_SHARES_MAX);
    if (w->share_count > 0) BRG_ASSERT(w->share_step > w->committed);
    if (w->phase == BRG_WORKER_ATTACHED) BRG_ASSERT(w->epoch > 0);
}
