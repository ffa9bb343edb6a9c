/* inbox.c - messages become events of the core. The transport has checked sender and form; what
 * remains is whether the message belongs on its connection. */
#include "base/log.h"
#include "worker/shell/shell.h"

#include <string.h>

static void refuse(const struct brg_shell *s, const char *connection) {
    brg_log_warn("protocol", BRG_FIELDS(BRG_STR("message", brg_msg_name(s->in.type))),
                 "dropped a message that does not belong on the %s connection", connection);
}

static void on_refused(struct brg_shell *s) {
    const struct brg_msg_refused *refused = &s->in.refused;
    if (refused->retry) {
        brg_log_warn("attach", NULL, "the coordinator says: %s (trying again)", refused->text);
    } else {
        (void)brg_why_set(s->why, BRG_EPERM, "the coordinator refused this worker: %s",
                          refused->text);
    }
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_REFUSED, .retry = refused->retry});
}

static void on_welcome(struct brg_shell *s) {
    const struct brg_msg_welcome *welcome = &s->in.welcome;
    memcpy(s->member_name, welcome->name, sizeof s->member_name);
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_WELCOME,
                                                .epoch = s->in.epoch,
                                                .beat_ns = welcome->beat_ms * BRG_NS_PER_MS});
    struct brg_msg *attach = &s->out; /* so that the bulk connection is known from the start */
    attach->type = BRG_MSG_ATTACH;
    attach->epoch = s->core.epoch;
    attach->tensor_count = 0;
    attach->attach = (struct brg_msg_attach){.session = s->state.session};
    if (brg_socket_send_msg(s->bulk, NULL, attach, NULL) != BRG_OK)
        brg_log_debug("attach", NULL, "the bulk connection is not there yet");
}

/* The recipe of a task must be at hand before the core decides to compute it. */
static void on_task(struct brg_shell *s) {
    if (s->in.task.version != s->in.task.step - 1) {
        brg_log_warn("protocol", BRG_FIELDS(BRG_U64("step", s->in.task.step)),
                     "dropped a task with parameters of another version than that before its step");
        return;
    }
    s->offered = s->in.task;
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_TASK,
                                                .epoch = s->in.epoch,
                                                .run = s->offered.run,
                                                .step = s->offered.step,
                                                .round = s->offered.round,
                                                .since = s->offered.since,
                                                .unit = s->offered.unit,
                                                .attempt = s->offered.attempt});
    s->offered.run = 0; /* what the core took is in s->tasks now */
}

static void on_commit(struct brg_shell *s) {
    const struct brg_proof *proof = &s->in.commit.proof;
    if (!s->has_seen || proof->run != s->seen.run || proof->step > s->seen.step) {
        s->has_seen = 1;
        s->seen = *proof;
    }
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_COMMIT,
                                                .epoch = s->in.epoch,
                                                .run = proof->run,
                                                .step = proof->step});
}

static void on_run(struct brg_shell *s) {
    const uint32_t has_data = brg_shell_take_run(s, &s->in.run);
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_RUN,
                                                .epoch = s->in.epoch,
                                                .run = s->in.run.run,
                                                .models = s->run.setup.models,
                                                .has_data = has_data});
    brg_seat_take_run(s, &s->in.run);
}

static void on_control(struct brg_shell *s) {
    const uint64_t epoch = s->in.epoch;
    switch (s->in.type) {
    case BRG_MSG_WELCOME: on_welcome(s); break;
    case BRG_MSG_REFUSED: on_refused(s); break;
    case BRG_MSG_REHELLO:
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_REHELLO, .epoch = epoch});
        break;
    case BRG_MSG_RUN:
        if (epoch < s->core.epoch) break; /* of an incarnation that is dead */
        on_run(s);
        break;
    case BRG_MSG_TASK: on_task(s); break;
    case BRG_MSG_COMMIT: on_commit(s); break;
    case BRG_MSG_RELEASE:
        brg_shell_feed(s, (struct brg_worker_event){
                              .type = BRG_WEV_RELEASE, .epoch = epoch, .run = s->in.release.run});
        if (s->core.run == 0) brg_shell_close_run(s);
        brg_seat_release(s, s->in.release.run);
        break;
    case BRG_MSG_DRAIN_ACK:
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_DRAIN_ACK, .epoch = epoch});
        break;
    default:
        if (!brg_seat_on_message(s)) refuse(s, "control");
        break;
    }
}

/* The coordinator fetches a share, or asks for something that only it can have. */
static void on_get(struct brg_shell *s) {
    s->want = s->in.get;
    const struct brg_object *object = &s->want.object;
    if (object->kind != BRG_OBJECT_SHARE) {
        refuse(s, "bulk");
        return;
    }
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_WANT,
                                                .epoch = s->in.epoch,
                                                .run = object->run,
                                                .step = object->step,
                                                .unit = object->unit});
}

static void on_gone(struct brg_shell *s) {
    const struct brg_msg_gone *gone = &s->in.gone;
    if (brg_shell_params_gone(s, &gone->object)) {
        brg_log_debug("fetch", BRG_FIELDS(BRG_U64("version", gone->object.step)),
                      "the coordinator does not have these parameters any more: %s", gone->text);
    } else if (brg_fetch_is_about(&s->data_fetch, &gone->object)) {
        brg_log_debug("fetch", NULL, "the coordinator does not have the data set now: %s",
                      gone->text); /* it is asked for again; what has come stays */
    }
}

static void on_bulk(struct brg_shell *s, const struct brg_inbound *in) {
    const struct brg_bytes none = {.data = NULL};
    const int is_part = s->in.type == BRG_MSG_PART && s->in.tensor_count == 1;
    if (brg_seat_on_bulk(s, is_part ? brg_frame_bytes(&in->frames[1]) : none)) return;
    switch (s->in.type) {
    case BRG_MSG_GET: on_get(s); break;
    case BRG_MSG_PART:
        if (s->in.tensor_count == 1) brg_shell_on_part(s, brg_frame_bytes(&in->frames[1]));
        break;
    case BRG_MSG_GONE: on_gone(s); break;
    default: refuse(s, "bulk"); break;
    }
}

/* One message of a connection. out: 0 where none is waiting */
static int receive_one(struct brg_shell *s, struct brg_socket *socket) {
    struct brg_inbound in;
    const char *why = NULL;
    const int rc = brg_socket_receive_msg(socket, &in, &s->in, &why);
    if (rc == BRG_ENOENT) return 0;
    if (rc == BRG_EIO) {
        (void)brg_why_set(s->why, rc, "the connection to %s is broken for good; start again",
                          s->endpoint);
        brg_shell_leave(s, BRG_EXIT_TEMPORARY);
        return 0;
    }
    if (rc != BRG_OK) {
        brg_log_warn("protocol", NULL, "dropped a message: %s",
                     why != NULL ? why : brg_strerror(rc));
        return 1;
    }
    if (socket == s->control)
        on_control(s);
    else
        on_bulk(s, &in);
    brg_inbound_release(&in);
    return 1;
}

void brg_shell_receive(struct brg_shell *s) {
    for (uint32_t i = 0; i < BRG_SHELL_RECEIVE_MAX && !s->is_over; i++)
        if (!receive_one(s, s->control)) break;
    for (uint32_t i = 0; i < BRG_SHELL_PARTS_MAX && !s->is_over; i++)
        if (!receive_one(s, s->bulk)) break;
}
