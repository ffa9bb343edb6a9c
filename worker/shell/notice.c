/* notice.c - what the person who watches is told: each state once, when it begins, and while there
 * is no coordinator, every 10 seconds what was tried and what to do. A worker never hangs in
 * silence. */
#include "base/log.h"
#include "base/units.h"
#include "worker/shell/shell.h"

#include <string.h>

#define AGAIN_NS (10 * BRG_NS_PER_S)
#define PERCENT_AGAIN_NS (5 * BRG_NS_PER_S)

enum state {
    STATE_NONE = 0,
    STATE_CONNECTING, /* no connection */
    STATE_CALLING,    /* connected, not welcomed */
    STATE_IDLE,       /* no run */
    STATE_OPENING,    /* the data set is being checked */
    STATE_FETCHING,   /* the data set is on its way */
    STATE_READY,      /* nothing to do in this run yet */
    STATE_WORKING,
    STATE_UNFIT,
    STATE_DRAINING,
};

/* ---- what the sockets say ---- */

static void on_control_event(struct brg_shell *s, const struct brg_socket_event *event) {
    switch (event->type) {
    case BRG_SOCKET_READY:
        s->is_connected = 1;
        s->key_refused = 0;
        s->notice.trouble.text[0] = '\0';
        return;
    case BRG_SOCKET_CONNECTED: return;
    case BRG_SOCKET_UNREACHABLE:
        /* It follows every failure; what went wrong before says more. */
        if (s->notice.trouble.text[0] != '\0') return;
        break;
    default: break;
    }
    s->is_connected = 0;
    if (event->type != BRG_SOCKET_DISCONNECTED || s->notice.trouble.text[0] == '\0')
        brg_socket_event_text(event, &s->notice.trouble);
    s->key_refused = event->type == BRG_SOCKET_KEY_REFUSED ||
                     (s->key_refused && event->type == BRG_SOCKET_DISCONNECTED);
}

void brg_shell_watch_sockets(struct brg_shell *s) {
    struct brg_socket_event event;
    while (brg_socket_event(s->control, &event) == BRG_OK) on_control_event(s, &event);
    while (brg_socket_event(s->bulk, &event) == BRG_OK) {
        if (event.type != BRG_SOCKET_READY) continue;
        brg_fetch_reconnected(&s->data_fetch, s->now_ns);
        brg_fetch_reconnected(&s->seat.files, s->now_ns);
        for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++)
            brg_fetch_reconnected(&s->params[i].fetch, s->now_ns);
    }
}

/* ---- sentences ---- */

static enum state state_of(const struct brg_shell *s) {
    const int same_run = s->notice.run == s->core.run;
    if (s->core.phase == BRG_WORKER_DRAINING) return STATE_DRAINING;
    if (!s->is_connected) return STATE_CONNECTING;
    if (s->core.phase == BRG_WORKER_CALLING) return STATE_CALLING;
    if (s->core.run == 0) return STATE_IDLE;
    switch ((enum brg_run_stage)s->run.stage) {
    case BRG_RUN_STAGE_UNFIT: return STATE_UNFIT;
    case BRG_RUN_STAGE_FETCHING: return STATE_FETCHING;
    case BRG_RUN_STAGE_READY: break;
    default: return STATE_OPENING;
    }
    if (s->core.task_count != 0) return STATE_WORKING;
    return same_run && s->notice.state == STATE_WORKING ? STATE_WORKING : STATE_READY;
}

static uint32_t percent_of(const struct brg_fetch *f) {
    if (!brg_fetch_is_active(f)) return 100;
    return (uint32_t)((double)f->here_bytes / (double)f->size_bytes * 100);
}

static void say_fetching(struct brg_shell *s) {
    char size[BRG_UNITS_TEXT_BYTES];
    const uint32_t percent = percent_of(&s->data_fetch);
    s->notice.percent = percent;
    s->notice.again_ns = s->now_ns + PERCENT_AGAIN_NS;
    if (brg_fetch_is_stuck(&s->data_fetch, s->now_ns)) {
        brg_log_warn("run", BRG_FIELDS(BRG_STR("run", s->run.name), BRG_U64("percent", percent)),
                     "the data set does not come any further; it is asked for again and again");
        return;
    }
    brg_log_info("run", BRG_FIELDS(BRG_STR("run", s->run.name), BRG_U64("percent", percent)),
                 "fetching the data set of %s", brg_size_about(s->run.data_bytes, size));
}

static void say_new(struct brg_shell *s) {
    const struct brg_log_field *run = BRG_FIELDS(BRG_STR("run", s->run.name));
    switch ((enum state)s->notice.state) {
    case STATE_CONNECTING:
        if (s->core.epoch == 0)
            brg_log_info("attach", NULL, "connecting to the coordinator at %s", s->endpoint);
        else
            brg_log_warn("attach", NULL, "lost the coordinator at %s, calling it until it is back",
                         s->endpoint);
        break;
    case STATE_CALLING:
        brg_log_info("attach", NULL, "connected to %s, asking to be let in", s->endpoint);
        break;
    case STATE_IDLE:
        brg_log_info("attach", BRG_FIELDS(BRG_STR("name", s->member_name)),
                     "attached, waiting for a run");
        break;
    case STATE_OPENING: brg_log_info("run", run, "looking at the data set of the run"); break;
    case STATE_FETCHING: say_fetching(s); break;
    case STATE_READY: brg_log_info("run", run, "ready, waiting for work"); break;
    case STATE_WORKING:
        brg_log_info(
            "run", BRG_FIELDS(BRG_STR("run", s->run.name), BRG_U64("step", s->core.tasks[0].step)),
            "working");
        break;
    case STATE_UNFIT: brg_log_info("run", run, "idle until there is another run"); break;
    case STATE_DRAINING:
        brg_log_info("attach", NULL,
                     "leaving: waiting for the coordinator to let go; a second "
                     "signal leaves at once");
        break;
    default: break;
    }
}

/* The same state still: what was tried and what to do. */
static void say_again(struct brg_shell *s) {
    const uint64_t for_s = (s->now_ns - s->notice.since_ns) / BRG_NS_PER_S;
    s->notice.again_ns = s->now_ns + AGAIN_NS;
    switch ((enum state)s->notice.state) {
    case STATE_CONNECTING:
        if (s->notice.trouble.text[0] != '\0')
            brg_log_warn("attach", BRG_FIELDS(BRG_U64("for_s", for_s)), "not connected: %s",
                         s->notice.trouble.text);
        else
            brg_log_warn("attach", BRG_FIELDS(BRG_U64("for_s", for_s)),
                         "not connected: %s does not answer at all; check the address, the port "
                         "and firewalls",
                         s->endpoint);
        break;
    case STATE_CALLING:
        brg_log_warn("attach", BRG_FIELDS(BRG_U64("for_s", for_s)),
                     "connected to %s, but it does not answer; look at the coordinator's log",
                     s->endpoint);
        break;
    case STATE_FETCHING:
        if (s->notice.percent != percent_of(&s->data_fetch) ||
            brg_fetch_is_stuck(&s->data_fetch, s->now_ns))
            say_fetching(s);
        else
            s->notice.again_ns = s->now_ns + PERCENT_AGAIN_NS;
        break;
    default: break;
    }
}

uint64_t brg_shell_notice(struct brg_shell *s) {
    struct brg_shell_notice *n = &s->notice;
    const enum state state = state_of(s);
    if (state != (enum state)n->state || n->run != s->core.run) {
        const int says = state != (enum state)n->state || state > STATE_IDLE;
        n->state = state;
        n->run = s->core.run;
        n->since_ns = s->now_ns;
        n->again_ns = s->now_ns + AGAIN_NS;
        if (says) say_new(s);
    } else if (s->now_ns >= n->again_ns) {
        say_again(s);
    }
    return n->again_ns;
}
