/* actions.c - carries out what the core decided. A message that cannot be sent now is not kept: the
 * core, or the coordinator, asks for everything again that does not come. */
#include "base/log.h"
#include "kernels/kernels.h"
#include "worker/shell/shell.h"

#include <string.h>
#include <unistd.h>

#define HELLO_AGAIN_NS (100 * BRG_NS_PER_MS)

static struct brg_msg *begin(struct brg_shell *s, enum brg_msg_type type) {
    s->out.type = type;
    s->out.epoch = s->core.epoch;
    s->out.tensor_count = 0;
    return &s->out;
}

/* out: BRG_OK or BRG_EFULL. Anything else is a mistake of ours, which the log must show. */
static int send(struct brg_shell *s, struct brg_socket *socket, struct brg_frame *frames) {
    const int rc = brg_socket_send_msg(socket, NULL, &s->out, frames);
    if (rc == BRG_OK || rc == BRG_EFULL) return rc;
    brg_log_error("protocol", BRG_FIELDS(BRG_STR("message", brg_msg_name(s->out.type))),
                  "a message could not be sent: %s", brg_strerror(rc));
    return rc;
}

void brg_shell_send_hello(struct brg_shell *s) {
    struct brg_msg_hello *hello = &begin(s, BRG_MSG_HELLO)->hello;
    const struct brg_worker_options *options = s->options;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    memset(hello, 0, sizeof *hello);
    hello->protocol = BRG_PROTOCOL;
    hello->session = s->state.session;
    brg_text_set(hello->name, "%s", s->own_name);
    brg_text_set(hello->version, "%s", options->version);
    brg_text_set(hello->isa, "%s", brg_kernels_pick()->name);
    hello->cores = cores < 1 ? 1 : cores > 65536 ? 65536 : (uint32_t)cores;
    hello->memory_bytes = s->memory_bytes;
    hello->token_bytes = (uint32_t)strlen(options->token);
    BRG_ASSERT(hello->token_bytes <= BRG_TOKEN_BYTES_MAX);
    memcpy(hello->token, options->token, hello->token_bytes);
    hello->has_seen = s->has_seen;
    if (s->has_seen) hello->seen = s->seen;
    const int rc = send(s, s->control, NULL);
    s->hello_again_ns = rc == BRG_EFULL ? s->now_ns + HELLO_AGAIN_NS : UINT64_MAX;
}

static void send_beat(struct brg_shell *s, const struct brg_worker_action *a) {
    struct brg_msg_beat *beat = &begin(s, BRG_MSG_BEAT)->beat;
    memset(beat, 0, sizeof *beat);
    beat->seq = ++s->beat_seq;
    if (a->step != 0) {
        beat->run = a->run;
        beat->step = a->step;
        beat->unit = a->unit;
        beat->chunks_done = a->attempt;
    }
    (void)send(s, s->control, NULL);
    /* The bulk connection may have been made anew: say whose it is. */
    begin(s, BRG_MSG_ATTACH)->attach.session = s->state.session;
    (void)send(s, s->bulk, NULL);
}

static void send_done(struct brg_shell *s, const struct brg_worker_action *a) {
    const struct brg_shell_share *share = brg_shell_share_find(s, a->run, a->step, a->unit);
    BRG_ASSERT(share != NULL); /* the core knows what is held */
    struct brg_msg_done *done = &begin(s, BRG_MSG_DONE)->done;
    *done = share->done;
    done->attempt = a->attempt;
    done->since = a->since;
    (void)send(s, s->control, NULL);
    brg_log_debug("task",
                  BRG_FIELDS(BRG_U64("step", a->step), BRG_U64("unit", a->unit),
                             BRG_U64("compute_ms", done->compute_ns / BRG_NS_PER_MS)),
                  "done");
}

static void send_fault(struct brg_shell *s, const struct brg_worker_action *a) {
    struct brg_msg_fault *fault = &begin(s, BRG_MSG_FAULT)->fault;
    const char *text = brg_strerror(a->code);
    if (s->fault_why.text[0] != '\0')
        text = s->fault_why.text;
    else if (a->code == BRG_ENOENT)
        text = "this run was not described to this worker";
    else if (s->run.stage == BRG_RUN_STAGE_UNFIT)
        text = s->run.why.text;
    memset(fault, 0, sizeof *fault);
    fault->run = a->run;
    fault->step = a->step;
    fault->unit = a->unit;
    fault->code = a->code;
    brg_text_set(fault->text, "%s", text);
    (void)send(s, s->control, NULL);
    if (a->code != BRG_ENOENT)
        brg_log_error("task", BRG_FIELDS(BRG_U64("step", a->step), BRG_U64("unit", a->unit)),
                      "cannot be done here: %s", text);
    s->fault_why.text[0] = '\0';
}

static void send_gone(struct brg_shell *s) {
    struct brg_msg_gone *gone = &begin(s, BRG_MSG_GONE)->gone;
    gone->object = s->want.object;
    brg_text_set(gone->text, "this worker does not hold that share");
    (void)send(s, s->bulk, NULL);
}

/* The part of the share that is wanted, without a copy: the buffer is held until ZeroMQ has sent
 * it, also if the share is dropped meanwhile. */
static void send_share(struct brg_shell *s, const struct brg_worker_action *a) {
    struct brg_shell_share *share = brg_shell_share_find(s, a->run, a->step, a->unit);
    BRG_ASSERT(share != NULL);
    struct brg_bytes bytes;
    struct brg_frame frame;
    int rc = brg_source_part(&share->source, &s->want, begin(s, BRG_MSG_PART), &bytes);
    if (rc != BRG_OK) { /* past its end */
        send_gone(s);
        return;
    }
    struct brg_buffer *held = brg_buffer_hold(share->source.buffer);
    rc = brg_frame_wrap(&frame, (uint8_t *)held->data + s->want.offset, bytes.size_bytes,
                        brg_buffer_release_sent, held);
    if (rc != BRG_OK) {
        brg_buffer_release(held);
        return;
    }
    (void)send(s, s->bulk, &frame); /* lost: it is asked for again */
    brg_frame_close(&frame);
}

static void send_gets_of(struct brg_shell *s, struct brg_fetch *fetch) {
    struct brg_msg_get get;
    while (brg_fetch_next_get(fetch, s->now_ns, &get)) {
        begin(s, BRG_MSG_GET)->get = get;
        (void)send(s, s->bulk, NULL);
    }
}

void brg_shell_send_gets(struct brg_shell *s) {
    if (s->core.phase == BRG_WORKER_CALLING) return; /* nobody would answer */
    send_gets_of(s, &s->data_fetch);
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++) send_gets_of(s, &s->params[i].fetch);
}

static void send_drain(struct brg_shell *s, const struct brg_worker_action *a) {
    struct brg_msg_drain *drain = &begin(s, BRG_MSG_DRAIN)->drain;
    const uint64_t left_ns = a->at_ns > s->now_ns ? a->at_ns - s->now_ns : 0;
    memset(drain, 0, sizeof *drain);
    brg_text_set(drain->reason, "%s",
                 *s->drain_reason != '\0' ? s->drain_reason : "told to stop by a signal");
    drain->deadline_ms = left_ns / BRG_NS_PER_MS + 1;
    (void)send(s, s->control, NULL);
}

static void send_bye(struct brg_shell *s) {
    struct brg_msg_bye *bye = &begin(s, BRG_MSG_BYE)->bye;
    memset(bye, 0, sizeof *bye);
    brg_text_set(bye->reason, "%s",
                 *s->drain_reason != '\0' ? s->drain_reason : "told to stop by a signal");
    (void)send(s, s->control, NULL);
}

void brg_shell_act(struct brg_shell *s, const struct brg_worker_action *a) {
    switch ((enum brg_worker_action_type)a->type) {
    case BRG_WACT_SEND_HELLO: brg_shell_send_hello(s); break;
    case BRG_WACT_SEND_BEAT: send_beat(s, a); break;
    case BRG_WACT_SEND_DONE: send_done(s, a); break;
    case BRG_WACT_SEND_FAULT: send_fault(s, a); break;
    case BRG_WACT_SEND_SHARE: send_share(s, a); break;
    case BRG_WACT_SEND_GONE: send_gone(s); break;
    case BRG_WACT_SEND_DRAIN: send_drain(s, a); break;
    case BRG_WACT_SEND_BYE: send_bye(s); break;
    case BRG_WACT_FETCH_DATA: brg_shell_fetch_data(s); break;
    case BRG_WACT_FETCH_PARAMS: brg_shell_fetch_params(s, a->step); break;
    case BRG_WACT_COMPUTE: brg_shell_compute(s, a->step, a->unit); break;
    case BRG_WACT_CANCEL: brg_shell_cancel(s); break;
    case BRG_WACT_DROP_SHARES: brg_shell_drop_shares(s, a->step); break;
    case BRG_WACT_DROP_SHARE: brg_shell_drop_share(s, a->step, a->unit); break;
    case BRG_WACT_DROP_PARAMS: brg_shell_drop_params(s, a->step); break;
    case BRG_WACT_EXIT:
        brg_shell_leave(s, a->code == BRG_OK ? BRG_EXIT_OK : BRG_EXIT_REFUSED);
        break;
    case BRG_WACT_ARM: s->arm_ns = a->at_ns; break;
    default: BRG_ASSERT(0 && "an action that does not exist");
    }
}
