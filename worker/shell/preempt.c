/* preempt.c - what the reactor makes of a notice of preemption: the same drain as a signal brings,
 * with the notice's reason and deadline. */
#include "base/log.h"
#include "worker/shell/shell.h"

int brg_shell_spot_start(struct brg_shell *s, struct brg_why *why) {
    struct brg_spot_config config = s->options->spot;
    config.drain_ns = s->options->drain_timeout_ns;
    return brg_spot_start(&s->spot, &config, why);
}

static void on_drain(struct brg_shell *s, const struct brg_spot_advice *advice) {
    if (s->core.drain_deadline_ns != UINT64_MAX) return; /* a signal has come first */
    brg_text_set(s->drain_reason, "%s", advice->reason);
    s->is_preempted = 1;
    const uint64_t left_ns = advice->at_ns > s->now_ns ? advice->at_ns - s->now_ns : 0;
    brg_log_warn("spot", BRG_FIELDS(BRG_F64("within_s", (double)left_ns / 1e9)), "leaving: %s",
                 advice->reason);
    brg_shell_feed(s, (struct brg_worker_event){.type = BRG_WEV_TERMINATE, .at_ns = advice->at_ns});
}

void brg_shell_spot_take(struct brg_shell *s) {
    struct brg_spot_advice advice;
    while (!s->is_over && brg_spot_take(s->spot, &advice) == BRG_OK) {
        switch ((enum brg_spot_advice_type)advice.type) {
        case BRG_SPOT_DRAIN: on_drain(s, &advice); break;
        case BRG_SPOT_LEAVE_NOW:
            brg_log_warn("spot", NULL, "a second notice leaves less time: leaving at once");
            brg_shell_feed(
                s, (struct brg_worker_event){.type = BRG_WEV_TERMINATE, .at_ns = advice.at_ns});
            break;
        case BRG_SPOT_CANCELLED:
            s->is_spot_cancelled = s->is_preempted;
            brg_log_info("spot", NULL,
                         "the notice was withdrawn, but the coordinator knows of it: leaving, to "
                         "be started again");
            break;
        default: break;
        }
    }
}

int brg_shell_spot_took_signal(struct brg_shell *s) {
    if (!s->is_preempted) return 0;
    s->is_preempted = s->is_spot_cancelled = 0; /* whoever stops it now does not want it back */
    brg_log_info("signal", NULL, "told to stop, as the notice said: still handing over");
    return 1;
}

enum brg_exit brg_shell_spot_exit(struct brg_shell *s, enum brg_exit code) {
    if (code != BRG_EXIT_OK || !s->is_spot_cancelled) return code;
    (void)brg_why_set(s->why, BRG_ECANCELED,
                      "it left because of a notice that was then withdrawn: start it again");
    return BRG_EXIT_TEMPORARY;
}
