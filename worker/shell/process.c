/* process.c - a worker's start, its turns and its end. One turn, always in this order:
 *
 *   clock -> receive -> compute thread's answers -> signals -> timers -> Gets -> sentences -> sleep
 *
 * There is no store: what a worker holds can be computed again, and its key is on disk already. */
#include "worker/shell/process.h"

#include "base/log.h"
#include "base/prng.h"
#include "base/units.h"
#include "worker/shell/shell.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define HELLO_EVERY_NS (2 * BRG_NS_PER_S)
#define FETCH_RETRY_NS (1 * BRG_NS_PER_S)
/* Dialling a coordinator that is away costs nobody anything, so it is done often. */
#define RECONNECT_MAX_MS 2000u
#define SLEEP_MAX_MS 1000u
/* A worker told to stop waits this long for a coordinator that went away. */
#define ALONE_NS (2 * BRG_NS_PER_S)
/* What was queued last must get out before the sockets close. */
#define FAREWELL_NS (100 * BRG_NS_PER_MS)
/* An action may lead to an event, which leads to actions; no chain is longer. */
#define FEEDS_MAX 64u
#define OWN_WAITS 5u /* sockets and descriptors that are not the seat's */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    const int rc = clock_gettime(clock, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- the core ---- */

static void step(struct brg_shell *s, struct brg_worker_event *event) {
    struct brg_worker_actions actions;
    event->now_ns = s->now_ns;
    const int rc = brg_worker_step(&s->core, event, &actions);
    if (rc != BRG_OK) {
        brg_log_warn("protocol", BRG_FIELDS(BRG_STR("message", brg_msg_name(s->in.type))),
                     "the coordinator sent what makes no sense; it is not looked at");
        return;
    }
    brg_worker_check(&s->core);
    brg_shell_admit(s);
    for (uint32_t i = 0; i < actions.count; i++) brg_shell_act(s, &actions.items[i]);
    brg_shell_follow(s);
}

/* Events that arose while the core or the compute thread was being followed, in their order. */
static void work_off(struct brg_shell *s) {
    for (uint32_t i = 0; s->deferred_count > 0; i++) {
        BRG_ASSERT(i < FEEDS_MAX);
        struct brg_worker_event event = s->deferred[0];
        s->deferred_count--;
        memmove(s->deferred, s->deferred + 1, s->deferred_count * sizeof *s->deferred);
        step(s, &event);
    }
}

void brg_shell_feed(struct brg_shell *s, struct brg_worker_event event) {
    step(s, &event);
    work_off(s);
}

void brg_shell_defer(struct brg_shell *s, struct brg_worker_event event) {
    BRG_ASSERT(s->deferred_count < BRG_SHELL_DEFERRED_MAX);
    s->deferred[s->deferred_count++] = event;
}

void brg_shell_leave(struct brg_shell *s, enum brg_exit code) {
    s->is_over = 1;
    s->exit_code = code;
}

/* ---- the turn ---- */

static void take_signals(struct brg_shell *s) {
    struct signalfd_siginfo info;
    while (!s->is_over && read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (brg_shell_spot_took_signal(s)) continue; /* the cloud's own, after its notice */
        const int first = s->core.drain_deadline_ns == UINT64_MAX;
        brg_log_info("signal", BRG_FIELDS(BRG_U64("signal", info.ssi_signo)),
                     first ? "told to stop" : "told to stop again: leaving at once");
        brg_shell_feed(
            s, (struct brg_worker_event){.type = BRG_WEV_TERMINATE,
                                         .at_ns = s->now_ns + s->options->drain_timeout_ns});
    }
}

static void fire_timers(struct brg_shell *s) {
    const uint32_t chunks = brg_compute_chunks_done(s->compute);
    if (s->core.task_state == BRG_WTASK_COMPUTING && !s->job_cancelled && s->job_busy &&
        s->core.chunks_done != chunks) {
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_PROGRESS, .unit = chunks});
    }
    if (!s->is_over && s->now_ns >= s->arm_ns)
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_TICK});
    if (!s->is_over && s->now_ns >= s->hello_again_ns) {
        s->hello_again_ns = UINT64_MAX;
        if (s->core.phase == BRG_WORKER_CALLING) brg_shell_send_hello(s);
    }
}

/* Leaving, and nobody is there to hand anything over to: what is held can be computed again. */
static uint64_t leave_alone(struct brg_shell *s) {
    if (s->core.phase != BRG_WORKER_DRAINING || s->is_connected) {
        s->alone_ns = s->now_ns;
        return UINT64_MAX;
    }
    if (s->now_ns - s->alone_ns >= ALONE_NS) {
        brg_log_info("attach", NULL, "leaving: the coordinator is away");
        brg_shell_leave(s, BRG_EXIT_OK);
    }
    return s->alone_ns + ALONE_NS;
}

/* Leaves where there was no coordinator for longer than the operator wants to wait. */
static uint64_t lose_patience(struct brg_shell *s) {
    if (s->is_connected && s->core.phase != BRG_WORKER_CALLING) s->well_ns = s->now_ns;
    const uint64_t give_up_ns = s->options->give_up_ns;
    char text[BRG_UNITS_TEXT_BYTES];
    if (give_up_ns == 0) return UINT64_MAX;
    if (s->now_ns - s->well_ns >= give_up_ns) {
        const char *trouble = s->notice.trouble.text;
        (void)brg_why_set(s->why, BRG_ETIMEDOUT, "gave up after %s without a coordinator: %s",
                          brg_duration_text(give_up_ns, text),
                          *trouble != '\0' ? trouble : "it does not let this worker in");
        brg_shell_leave(s, s->key_refused ? BRG_EXIT_REFUSED : BRG_EXIT_TEMPORARY);
    }
    return s->well_ns + give_up_ns;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void sleep_until(struct brg_shell *s, uint64_t at_ns) {
    struct brg_wait items[OWN_WAITS + BRG_SEAT_SOCKETS_MAX] = {
        {.socket = s->control}, {.socket = s->bulk},          {.fd = brg_compute_fd(s->compute)},
        {.fd = s->signal_fd},   {.fd = brg_spot_fd(s->spot)},
    };
    const uint32_t count = OWN_WAITS + brg_seat_sockets(s, items + OWN_WAITS, BRG_SEAT_SOCKETS_MAX);
    const uint64_t left_ns = at_ns > s->now_ns ? at_ns - s->now_ns : 0;
    /* Rounded up: a timer that is not quite due would spin the loop. */
    uint64_t left_ms = (left_ns + BRG_NS_PER_MS - 1) / BRG_NS_PER_MS;
    if (left_ms > SLEEP_MAX_MS) left_ms = SLEEP_MAX_MS; /* the sockets' events have no descriptor */
    if (brg_transport_wait(items, count, (uint32_t)left_ms) != BRG_OK) {
        (void)brg_why_set(s->why, BRG_EIO, "a socket or descriptor broke: %s; start again",
                          strerror(errno));
        brg_shell_leave(s, BRG_EXIT_TEMPORARY);
    }
}

/* When a Get is due again. What lies in the past is a fetch that is stuck, which is no reason not
 * to sleep: its Gets go on at their own pace. */
static uint64_t fetch_ns(const struct brg_shell *s) {
    const uint64_t data_ns = brg_fetch_wake_ns(&s->data_fetch);
    uint64_t at_ns = data_ns > s->now_ns ? data_ns : UINT64_MAX;
    for (uint32_t i = 0; i < BRG_SHELL_PARAMS_MAX; i++) {
        const uint64_t params_ns = brg_fetch_wake_ns(&s->params[i].fetch);
        if (params_ns > s->now_ns) at_ns = earlier(at_ns, params_ns);
    }
    return at_ns;
}

static void turn(struct brg_shell *s) {
    s->now_ns = clock_ns(CLOCK_MONOTONIC);
    brg_shell_receive(s);
    brg_shell_on_answers(s);
    work_off(s);
    if (!s->is_over) brg_seat_turn(s);
    if (!s->is_over) take_signals(s);
    if (!s->is_over) brg_shell_spot_take(s);
    brg_shell_watch_sockets(s);
    if (!s->is_over) fire_timers(s);
    if (s->is_over) return;
    brg_shell_send_gets(s);
    const uint64_t notice_ns = brg_shell_notice(s);
    const uint64_t patience_ns = earlier(lose_patience(s), leave_alone(s));
    if (s->is_over) return;
    uint64_t at_ns =
        earlier(earlier(s->arm_ns, s->hello_again_ns), earlier(notice_ns, patience_ns));
    sleep_until(s, earlier(earlier(at_ns, brg_seat_wake_ns(s)), fetch_ns(s)));
}

/* ---- start and end ---- */

static int open_signals(struct brg_shell *s, struct brg_why *why) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    /* Before any thread starts: they inherit the mask, and only the descriptor sees the signals. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) == 0)
        s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    /* Whoever read our log may be gone; that is no reason to die. */
    if (s->signal_fd >= 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR) return BRG_OK;
    return brg_why_set(why, BRG_EIO, "signals cannot be received: %s", strerror(errno));
}

static void measure_machine(struct brg_shell *s) {
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    char host[BRG_TEXT_BYTES_MAX + 1] = "worker";
    s->memory_bytes =
        pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_C(1) << 30;
    (void)gethostname(host, sizeof host - 1);
    const char *name = s->options->name;
    brg_text_set(s->own_name, "%s", name != NULL && *name != '\0' ? name : host);
}

static int open_compute(struct brg_shell *s, struct brg_why *why) {
    const uint64_t asked = s->options->memory_bytes;
    const int rc = brg_pool_create(&s->pool, asked != 0 ? asked : s->memory_bytes / 4 * 3);
    if (rc != BRG_OK) return brg_why_set(why, rc, "out of memory");
    const struct brg_compute_config config = {
        .pool = s->pool, .faults = s->options->faults, .threads = s->options->threads};
    return brg_compute_create(&s->compute, &config, why);
}

static int open_sockets(struct brg_shell *s, struct brg_why *why) {
    const struct brg_join *join = &s->options->join;
    struct brg_socket_config config;
    brg_socket_config_init(&config);
    config.reconnect_max_ms = RECONNECT_MAX_MS;
    (void)brg_endpoint_format(join->host, join->port, s->endpoint);
    int rc = brg_transport_create(&s->transport, why);
    if (rc == BRG_OK)
        rc = brg_socket_dial(s->transport, &config, &s->state.key, &join->server, s->endpoint,
                             &s->control, why);
    if (rc == BRG_OK)
        rc = brg_socket_dial(s->transport, &config, &s->state.key, &join->server, s->endpoint,
                             &s->bulk, why);
    return rc;
}

/* 64, 65, 69, ... by the error that kept the worker from starting. */
static enum brg_exit exit_of(int rc) {
    switch (rc) {
    case BRG_ENOSPC:
    case BRG_EIO: return BRG_EXIT_IO;
    case BRG_ENOMEM: return BRG_EXIT_TEMPORARY;
    default: return BRG_EXIT_CONFIG;
    }
}

static int open_shell(struct brg_shell *s, struct brg_why *why) {
    if (sodium_init() < 0) return brg_why_set(why, BRG_EIO, "libsodium cannot start");
    measure_machine(s);
    int rc = open_signals(s, why);
    if (rc == BRG_OK)
        rc = brg_statedir_open(&s->state, s->options->state_dir, clock_ns(CLOCK_REALTIME), why);
    if (rc == BRG_OK)
        rc = brg_shell_spot_start(s, why); /* its thread has the signals blocked, too */
    if (rc == BRG_OK) rc = open_compute(s, why);
    if (rc == BRG_OK) rc = open_sockets(s, why);
    if (rc == BRG_OK) rc = brg_seat_open(s, why);
    if (rc != BRG_OK) return rc;
    /* Up to half a period apart, so that workers that lost the same coordinator do not call in
     * step; the session is different for each. */
    struct brg_prng g = {.state = s->state.session};
    const struct brg_worker_config config = {
        .hello_every_ns = HELLO_EVERY_NS + brg_prng_below(&g, HELLO_EVERY_NS / 2),
        .fetch_retry_ns = FETCH_RETRY_NS,
        .session = s->state.session,
    };
    return brg_worker_init(&s->core, &config);
}

static void close_shell(struct brg_shell *s) {
    brg_spot_stop(&s->spot);
    brg_compute_destroy(&s->compute); /* first: it works on the buffers below */
    brg_seat_close(s);
    brg_fetch_drop(&s->data_fetch);
    brg_shell_drop_shares(s, UINT64_MAX);
    brg_shell_drop_params(s, UINT64_MAX);
    brg_buffer_release(s->job_share);
    brg_buffer_release(s->job_params);
    brg_socket_close(&s->bulk);
    brg_socket_close(&s->control);
    brg_transport_destroy(&s->transport);
    brg_pool_destroy(&s->pool);
    brg_statedir_close(&s->state);
    if (s->signal_fd >= 0) (void)close(s->signal_fd);
}

static void say_start(const struct brg_shell *s) {
    char key[BRG_KEY_TEXT_BYTES];
    brg_log_info("worker",
                 BRG_FIELDS(BRG_STR("name", s->own_name), BRG_STR("state", s->state.path),
                            BRG_STR("key", brg_key_format(&s->state.key.public_key, key)),
                            BRG_U64("threads", s->options->threads)),
                 "worker %s starts%s", s->options->version,
                 s->state.is_new ? " with a new key" : "");
    if (s->options->faults.count > 0)
        brg_log_warn("worker", NULL, "faults are switched on: this worker misbehaves on purpose");
}

enum brg_exit brg_worker_process_run(const struct brg_worker_options *options,
                                     struct brg_why *why) {
    BRG_ASSERT(options->threads >= 1 && options->threads <= BRG_LANES_MAX);
    BRG_ASSERT(options->drain_timeout_ns > 0);
    struct brg_shell *s = calloc(1, sizeof *s);
    if (s == NULL) {
        (void)brg_why_set(why, BRG_ENOMEM, "out of memory");
        return BRG_EXIT_TEMPORARY;
    }
    s->options = options;
    s->why = why;
    s->signal_fd = s->state.lock_fd = -1;
    s->arm_ns = s->hello_again_ns = UINT64_MAX;
    s->now_ns = s->well_ns = s->alone_ns = clock_ns(CLOCK_MONOTONIC);
    const int rc = open_shell(s, why);
    if (rc == BRG_OK) {
        say_start(s);
        brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_START});
        while (!s->is_over) turn(s);
        if (s->is_connected) {
            const struct timespec farewell = {.tv_nsec = (long)FAREWELL_NS};
            (void)nanosleep(&farewell, NULL);
        }
        brg_log_info("worker", NULL, "worker ends");
    } else {
        s->exit_code = exit_of(rc);
    }
    const enum brg_exit code = brg_shell_spot_exit(s, s->exit_code);
    close_shell(s);
    free(s);
    return code;
}
