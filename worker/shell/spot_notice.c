#include "worker/shell/spot_notice.h"

#include <string.h>

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void say(const struct brg_spot_notice *n, struct brg_spot_said *out,
                enum brg_spot_advice_type type, uint64_t at_ns) {
    BRG_ASSERT(out->count < BRG_SPOT_SAID_MAX);
    struct brg_spot_advice *advice = &out->items[out->count++];
    memset(advice, 0, sizeof *advice);
    advice->type = type;
    advice->at_ns = at_ns;
    memcpy(advice->reason, n->reason, sizeof advice->reason);
}

static void keep_reason(struct brg_spot_notice *n, const struct brg_spot_seen *seen) {
    memcpy(n->reason, seen->reason, sizeof n->reason);
    n->reason[sizeof n->reason - 1] = '\0';
}

/* When to be gone, for a machine that goes at `deadline_ns`. */
static uint64_t be_gone_by(const struct brg_spot_notice *n, uint64_t deadline_ns) {
    const uint64_t soonest_ns = n->now_ns + BRG_SPOT_MARGIN_NS;
    const uint64_t safe_ns =
        deadline_ns > soonest_ns ? deadline_ns - BRG_SPOT_MARGIN_NS : n->now_ns;
    return earlier(safe_ns, n->now_ns + n->drain_ns);
}

static void begin_to_leave(struct brg_spot_notice *n, struct brg_spot_said *out) {
    n->state = BRG_SPOT_LEAVING;
    n->drain_at_ns = be_gone_by(n, n->deadline_ns);
    say(n, out, BRG_SPOT_DRAIN, n->drain_at_ns);
}

static void on_leave(struct brg_spot_notice *n, const struct brg_spot_seen *seen,
                     struct brg_spot_said *out) {
    if (n->state == BRG_SPOT_LEAVING) {
        /* The earlier of two counts, but no drain can be told another time: it is cut short. */
        n->deadline_ns = earlier(n->deadline_ns, seen->deadline_ns);
        n->is_cancelled = 0;
        return;
    }
    const int is_new = n->state != BRG_SPOT_HELD;
    n->deadline_ns = seen->deadline_ns;
    keep_reason(n, seen);
    const int is_far = seen->deadline_ns > n->now_ns + n->hold_ns;
    if (seen->is_final || !is_far) {
        begin_to_leave(n, out);
        return;
    }
    n->state = BRG_SPOT_HELD;
    if (is_new) say(n, out, BRG_SPOT_HOLD, n->deadline_ns - n->hold_ns);
}

static void on_nothing(struct brg_spot_notice *n, struct brg_spot_said *out) {
    switch ((enum brg_spot_state)n->state) {
    case BRG_SPOT_CALM: return;
    case BRG_SPOT_LEAVING:
        if (!n->is_cancelled) say(n, out, BRG_SPOT_CANCELLED, 0);
        n->is_cancelled = 1;
        return;
    case BRG_SPOT_AT_RISK:
    case BRG_SPOT_HELD: break;
    }
    n->state = BRG_SPOT_CALM;
    say(n, out, BRG_SPOT_WITHDRAWN, 0);
}

static void on_risk(struct brg_spot_notice *n, const struct brg_spot_seen *seen,
                    struct brg_spot_said *out) {
    if (n->state == BRG_SPOT_AT_RISK) return;
    if (n->state == BRG_SPOT_LEAVING) { /* the notice itself is gone, the risk is not */
        on_nothing(n, out);
        return;
    }
    n->state = BRG_SPOT_AT_RISK;
    keep_reason(n, seen);
    say(n, out, BRG_SPOT_RISK, 0);
}

/* What follows from the time alone. */
static void on_time(struct brg_spot_notice *n, struct brg_spot_said *out) {
    if (n->now_ns < brg_spot_notice_wake_ns(n)) return;
    if (n->state == BRG_SPOT_HELD) {
        begin_to_leave(n, out);
        return;
    }
    n->is_cut = 1;
    say(n, out, BRG_SPOT_LEAVE_NOW, n->now_ns);
}

void brg_spot_notice_init(struct brg_spot_notice *n, uint64_t drain_ns, uint64_t hold_ns) {
    BRG_ASSERT(drain_ns > 0);
    BRG_ASSERT(hold_ns >= drain_ns + BRG_SPOT_MARGIN_NS);
    memset(n, 0, sizeof *n);
    n->drain_ns = drain_ns;
    n->hold_ns = hold_ns;
    n->state = BRG_SPOT_CALM;
    n->deadline_ns = n->drain_at_ns = UINT64_MAX;
}

void brg_spot_notice_step(struct brg_spot_notice *n, uint64_t now_ns,
                          const struct brg_spot_seen *seen, struct brg_spot_said *out) {
    BRG_ASSERT(now_ns >= n->now_ns);
    out->count = 0;
    n->now_ns = now_ns;
    if (seen != NULL) {
        if (seen->is_leave)
            on_leave(n, seen, out);
        else if (seen->is_risk)
            on_risk(n, seen, out);
        else
            on_nothing(n, out);
    }
    if (out->count == 0) on_time(n, out);
}

uint64_t brg_spot_notice_wake_ns(const struct brg_spot_notice *n) {
    if (n->state == BRG_SPOT_HELD) return n->deadline_ns - n->hold_ns;
    if (n->state != BRG_SPOT_LEAVING || n->is_cut || n->is_cancelled) return UINT64_MAX;
    if (n->deadline_ns >= n->drain_at_ns) return UINT64_MAX; /* the drain ends in time anyway */
    return n->deadline_ns > BRG_SPOT_MARGIN_NS ? n->deadline_ns - BRG_SPOT_MARGIN_NS : 0;
}
