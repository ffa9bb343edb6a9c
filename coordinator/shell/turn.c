#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/shell/line.h"
#include "coordinator/shell/service_private.h"

/* A turn that has nothing to wait for still comes round this often. */
#define IDLE_NS (BRG_NS_PER_S)

static uint64_t read_clock(clockid_t id) {
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}
uint64_t brg_service_clock_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}
uint64_t brg_service_wall_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

void brg_service_fail(struct brg_service *s, int exit_code, const char *format, ...) {
    char text[BRG_WHY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    brg_log_error("coordinator", NULL, "%s", text);
    if (s->exit_code < 0) s->exit_code = exit_code;
}

int brg_service_feed(struct brg_service *s, struct brg_coord_event *ev) {
    ev->now_ns = s->now_ns;
    const int rc = brg_coord_step(&s->core, ev, &s->actions);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < s->actions.count; i++) {
        const struct brg_coord_action *a = &s->actions.items[i];
        if (a->type <= BRG_ACT_PERSIST_CHECKPOINT) {
            brg_service_keep(s, a);
        } else if (a->type == BRG_ACT_ROUND) {
            brg_service_round(s, &s->core.rounds.log); /* which the next step may overwrite */
        } else {
            BRG_ASSERT(s->deferred_count < BRG_DEFERRED_MAX);
            s->deferred[s->deferred_count++] = *a;
        }
    }
    return BRG_OK;
}

static void take_signals(struct brg_service *s) {
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        brg_log_info("coordinator", BRG_FIELDS(BRG_U64("signal", info.ssi_signo)),
                     "told to leave: everything committed is on disk; workers wait for the next "
                     "start");
        s->exit_code = BRG_EXIT_OK;
    }
}

/* The turn's records, all or nothing; nothing else of the turn happens before it returned. */
static int write_records(struct brg_service *s) {
    const int rc = brg_store_write_synced(s->store, s->batch);
    if (rc == BRG_OK) return rc;
    brg_service_fail(
        s, BRG_EXIT_IO,
        "the store cannot be written: %s; nothing that was promised is lost: make room "
        "or mend the disk, then start the coordinator again",
        brg_store_why(s->store));
    return rc;
}

static void perform_deferred(struct brg_service *s) {
    for (uint32_t i = 0; i < s->deferred_count && s->exit_code < 0; i++) {
        brg_service_perform(s, &s->deferred[i]);
    }
    s->deferred_count = 0;
    s->hello_count = 0;
    brg_line_perform(s);
    brg_service_send_replies(s);
}

/* A worker's proof shows that the store has lost steps. */
static void halt(struct brg_service *s) {
    for (uint32_t i = 0; i < s->deferred_count; i++) {
        const struct brg_coord_action *a = &s->deferred[i];
        if (a->type != BRG_ACT_HALT) continue;
        brg_service_fail(s, BRG_EXIT_DATA,
                         "a worker holds proof of step %" PRIu64 " of run %" PRIu64
                         ", which this store does not have: the store is an old copy. Put the "
                         "newest one back; going on would train steps twice",
                         a->step, a->run);
    }
    BRG_ASSERT(s->exit_code >= 0);
}

static void leave_when_done(struct brg_service *s) {
    int waiting = 0;
    for (uint32_t i = 0; i < s->core.run_count; i++) {
        const uint32_t state = s->core.runs[i].plan.state;
        waiting |= state == BRG_RUN_QUEUED || state == BRG_RUN_OPENING || state == BRG_RUN_ACTIVE ||
                   state == BRG_RUN_PAUSED;
        s->had_runs = 1;
    }
    /* Leaving earlier would leave files of a run behind that nobody opens again. */
    const int is_idle = !waiting && s->run == NULL && s->closing == 0;
    if (s->options->exit_when_done && s->had_runs && is_idle) {
        brg_log_info("coordinator", NULL, "all runs have ended");
        s->exit_code = BRG_EXIT_OK;
    }
}

static void sleep_until_due(struct brg_service *s) {
    uint64_t due_ns = s->now_ns + IDLE_NS;
    const uint64_t fetch_ns = brg_service_fetch_wake_ns(s);
    if (s->timer_ns < due_ns) due_ns = s->timer_ns;
    if (fetch_ns < due_ns) due_ns = fetch_ns;
    if (brg_line_wake_ns(s) < due_ns) due_ns = brg_line_wake_ns(s);
    const uint64_t now_ns = brg_service_clock_ns();
    const uint64_t wait_ms =
        due_ns > now_ns ? (due_ns - now_ns + BRG_NS_PER_MS - 1) / BRG_NS_PER_MS : 0;
    struct brg_wait items[] = {{.socket = s->socket, .fd = -1},
                               {.fd = brg_jobs_fd(s->jobs)},
                               {.fd = s->signal_fd},
                               {.fd = brg_service_http_fd(s)}};
    const uint32_t count = items[3].fd >= 0 ? 4 : 3;
    if (brg_transport_wait(items, count, (uint32_t)wait_ms) != BRG_OK) {
        brg_service_fail(s, BRG_EXIT_TEMPORARY, "waiting for messages failed (%s): start it again",
                         strerror(errno));
    }
}

void brg_service_turn(struct brg_service *s) {
    s->now_ns = brg_service_clock_ns();
    brg_service_receive(s);
    brg_service_answers(s);
    brg_service_http_take(s);
    if (s->now_ns >= s->timer_ns) {
        s->timer_ns = UINT64_MAX;
        struct brg_coord_event tick = {.type = BRG_EV_TICK};
        const int rc = brg_service_feed(s, &tick);
        BRG_ASSERT(rc == BRG_OK);
    }
    brg_line_watch(s);
    if (s->core.halted) { /* of this turn nothing is written and nothing is sent */
        halt(s);
        return;
    }
    if (s->exit_code >= 0 || write_records(s) != BRG_OK) return;
    perform_deferred(s);
    brg_service_http_give(s);
    brg_service_pump(s);
    brg_service_forgive(s);
    leave_when_done(s);
    take_signals(s);
    if (s->exit_code < 0) sleep_until_due(s);
}
