#include "worker/shell/spot.h"

#include "base/log.h"
#include "base/ring.h"
#include "base/units.h"
#include "worker/shell/spot_source.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define ADVICE_MAX 16u
/* A notice that may be taken back is waited out until this long before the machine goes. */
#define HOLD_SPARE_NS (35 * BRG_NS_PER_S)
#define FAILED_PAUSE_MAX_NS (10 * BRG_NS_PER_S)
#define FIND_TRIES_MAX 5u /* a service may come up later than this program */
#define FAILED_AGAIN_NS (600 * BRG_NS_PER_S)

struct brg_spot {
    struct brg_ring *advice;
    struct brg_spot_http *http;
    pthread_t thread;
    uint32_t has_thread;
    char url[BRG_SPOT_URL_BYTES];
    /* Of the thread from here on. */
    struct brg_spot_source source;
    struct brg_spot_notice notice;
    uint64_t failed_ns; /* when a look failed first; 0: the last one did not */
    uint64_t said_ns;   /* when that was said last */
    int said_rc;
};

static uint64_t now_ns(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

const char *brg_spot_kind_name(uint32_t kind) {
    static const char *const names[] = {"none", "auto", "aws", "gcp", "azure", "file"};
    BRG_ASSERT(kind < sizeof names / sizeof names[0]);
    return names[kind];
}

int brg_spot_parse(const char *text, struct brg_spot_config *out, struct brg_why *why) {
    static const char file[] = "file:";
    for (uint32_t kind = BRG_SPOT_KIND_NONE; kind <= BRG_SPOT_KIND_AZURE; kind++) {
        if (strcmp(text, brg_spot_kind_name(kind)) != 0) continue;
        out->kind = kind;
        return BRG_OK;
    }
    if (strncmp(text, file, sizeof file - 1) == 0 && text[sizeof file - 1] != '\0') {
        out->kind = BRG_SPOT_KIND_FILE;
        out->path = text + sizeof file - 1;
        return BRG_OK;
    }
    return brg_why_set(why, BRG_EINVAL,
                       "'%.40s' is no source of notices; it must be auto, aws, gcp, azure, "
                       "file:PATH or none",
                       text);
}

/* ---- the thread ---- */

static void tell(struct brg_spot *s, const struct brg_spot_advice *advice) {
    const struct brg_log_field *source =
        BRG_FIELDS(BRG_STR("source", brg_spot_kind_name(s->source.kind)));
    switch ((enum brg_spot_advice_type)advice->type) {
    case BRG_SPOT_RISK:
        brg_log_warn("spot", source, "at risk: %s; it goes on working", advice->reason);
        return;
    case BRG_SPOT_HOLD:
        brg_log_warn(
            "spot", source,
            "%s, in %llu s; since that may be called off, it goes on working until "
            "shortly before",
            advice->reason,
            (unsigned long long)((s->notice.deadline_ns - s->notice.now_ns) / BRG_NS_PER_S));
        return;
    case BRG_SPOT_WITHDRAWN:
        brg_log_info("spot", source, "the notice was withdrawn, and nothing has happened");
        return;
    case BRG_SPOT_DRAIN:
    case BRG_SPOT_LEAVE_NOW:
    case BRG_SPOT_CANCELLED: break;
    }
    /* There are at most three of these in the life of a machine. */
    const int rc = brg_ring_push(s->advice, advice);
    if (rc != BRG_OK) brg_log_warn("spot", source, "a notice is lost: %s", brg_strerror(rc));
}

static void step(struct brg_spot *s, const struct brg_spot_seen *seen) {
    struct brg_spot_said said;
    brg_spot_notice_step(&s->notice, now_ns(), seen, &said);
    for (uint32_t i = 0; i < said.count; i++) tell(s, &said.items[i]);
}

/* Says what went wrong when it begins, when it becomes something else, and every ten minutes. */
static void on_failure(struct brg_spot *s, int rc, const struct brg_why *why) {
    const uint64_t at_ns = now_ns();
    const int is_new = s->failed_ns == 0 || rc != s->said_rc;
    if (s->failed_ns == 0) s->failed_ns = at_ns;
    s->source.pause_ns = 2 * s->source.pause_ns;
    if (s->source.pause_ns < BRG_NS_PER_S) s->source.pause_ns = BRG_NS_PER_S;
    if (s->source.pause_ns > FAILED_PAUSE_MAX_NS) s->source.pause_ns = FAILED_PAUSE_MAX_NS;
    if (!is_new && at_ns - s->said_ns < FAILED_AGAIN_NS) return;
    s->said_ns = at_ns;
    s->said_rc = rc;
    brg_log_warn("spot", BRG_FIELDS(BRG_STR("source", brg_spot_kind_name(s->source.kind))),
                 "notices of preemption are not heard: %s; it is tried again", why->text);
}

static void on_success(struct brg_spot *s) {
    if (s->failed_ns == 0) return;
    s->failed_ns = 0;
    brg_log_info("spot", BRG_FIELDS(BRG_STR("source", brg_spot_kind_name(s->source.kind))),
                 "notices of preemption are heard again");
}

/* Finds the cloud. returns: 1 go on, 0 there is nothing to listen to */
static int find(struct brg_spot *s) {
    struct brg_why why = {{0}};
    int rc = BRG_OK;
    for (uint32_t attempt = 1; s->source.kind == BRG_SPOT_KIND_AUTO; attempt++) {
        rc = brg_spot_source_find(&s->source, &why);
        if (rc == BRG_OK || rc == BRG_ECANCELED) break;
        if (attempt == FIND_TRIES_MAX) {
            brg_log_warn("spot", NULL, "%s: only signals will announce the end of this machine",
                         why.text);
            return 0;
        }
        if (brg_spot_http_sleep(s->http, attempt * BRG_NS_PER_S) != BRG_OK) return 0;
    }
    if (rc != BRG_OK) return 0;
    if (s->source.kind == BRG_SPOT_KIND_NONE) {
        brg_log_debug("spot", NULL, "no cloud: only signals will announce the end of this machine");
        return 0;
    }
    return 1;
}

static void *thread_main(void *argument) {
    struct brg_spot *s = argument;
    struct brg_spot_seen seen;
    struct brg_why why = {{0}};
    if (!find(s)) return NULL;
    brg_log_info("spot", BRG_FIELDS(BRG_STR("source", brg_spot_kind_name(s->source.kind))),
                 "listening for notices of preemption");
    for (;;) { /* until stopped; each look and each sleep has a bound */
        const uint64_t last_pause_ns = s->source.pause_ns;
        const int rc = brg_spot_source_look(&s->source, &seen, &why);
        if (rc == BRG_ECANCELED) return NULL;
        if (rc == BRG_OK) {
            on_success(s);
        } else {
            if (s->failed_ns != 0 && last_pause_ns > s->source.pause_ns)
                s->source.pause_ns = last_pause_ns;
            on_failure(s, rc, &why);
        }
        step(s, rc == BRG_OK ? &seen : NULL);
        uint64_t pause_ns = s->source.pause_ns;
        const uint64_t wake_ns = brg_spot_notice_wake_ns(&s->notice), at_ns = now_ns();
        if (wake_ns != UINT64_MAX && wake_ns < at_ns + pause_ns)
            pause_ns = wake_ns > at_ns ? wake_ns - at_ns : 0;
        if (brg_spot_http_sleep(s->http, pause_ns) != BRG_OK) return NULL;
        step(s, NULL);
    }
}

/* ---- on the reactor ---- */

int brg_spot_start(struct brg_spot **out, const struct brg_spot_config *config,
                   struct brg_why *why) {
    BRG_ASSERT(config->drain_ns > 0);
    BRG_ASSERT(config->kind <= BRG_SPOT_KIND_FILE);
    int rc = BRG_OK;
    struct brg_spot_config own = *config;

    *out = NULL;
    if (config->url != NULL && strlen(config->url) >= BRG_SPOT_URL_BYTES)
        return brg_why_set(why, BRG_EINVAL, "the URL of the metadata service is too long");
    struct brg_spot *s = calloc(1, sizeof *s);
    if (s == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    rc = brg_ring_create(&s->advice, ADVICE_MAX, sizeof(struct brg_spot_advice));
    if (rc != BRG_OK) (void)brg_why_set(why, rc, "no queue for notices: %s", brg_strerror(rc));
    if (rc != BRG_OK || config->kind == BRG_SPOT_KIND_NONE) goto out;
    if (config->url != NULL) {
        size_t size = strlen(config->url);
        while (size > 0 && config->url[size - 1] == '/') size--;
        memcpy(s->url, config->url, size);
        own.url = s->url;
    }
    rc = brg_spot_http_create(&s->http, why);
    if (rc != BRG_OK) goto out;
    brg_spot_source_init(&s->source, &own, s->http);
    brg_spot_notice_init(&s->notice, config->drain_ns, config->drain_ns + HOLD_SPARE_NS);
    s->has_thread = pthread_create(&s->thread, NULL, thread_main, s) == 0;
    if (!s->has_thread)
        rc = brg_why_set(why, BRG_ENOMEM, "the thread that listens for notices cannot be started");
out:
    if (rc != BRG_OK) brg_spot_stop(&s);
    *out = s;
    return rc;
}

void brg_spot_stop(struct brg_spot **spot) {
    struct brg_spot *s = *spot;
    if (s == NULL) return;
    if (s->has_thread) {
        brg_spot_http_stop(s->http);
        const int rc = pthread_join(s->thread, NULL);
        BRG_ASSERT(rc == 0);
    }
    brg_spot_http_destroy(&s->http);
    brg_ring_destroy(&s->advice);
    free(s);
    *spot = NULL;
}

int brg_spot_fd(const struct brg_spot *spot) {
    return brg_ring_fd(spot->advice);
}

int brg_spot_take(struct brg_spot *spot, struct brg_spot_advice *out) {
    return brg_ring_pop(spot->advice, out);
}
