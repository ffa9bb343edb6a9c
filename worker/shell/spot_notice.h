/* spot_notice.h - what a worker makes of the notices of its cloud: the machine that decides.
 *
 *            risk                     leave, near or final
 *   CALM <----------> AT RISK --------------------------------> LEAVING --again, earlier--> (said
 *     |  \                \                                       |  once its time is nearly up)
 *     |   '---- leave, cancellable and far off ---> HELD ---------'
 *     |                                              |  near enough, or made final
 *     '<----------------- withdrawn -----------------'
 *
 * Each look at the metadata service ends in one observation: all that stands there now. A look that
 * failed is no observation, so a service that breaks neither gives nor takes back a notice.
 *
 * A notice that may still be taken back and leaves more than `hold_ns` is only a risk until then:
 * Azure announces a reboot a quarter of an hour ahead, and many are called off. One that is final
 * (AWS, GCP) is obeyed at once, however much time it leaves: what is left over is a bonus.
 *
 * Where a notice is withdrawn after the worker has begun to leave, it leaves all the same, since
 * the coordinator has given its work to others; the caller is told, to come back afterwards.
 *
 * Pure: no clock, no allocation, no input or output. Flat, no pointers. One thread. */
#ifndef BRG_WORKER_SHELL_SPOT_NOTICE_H
#define BRG_WORKER_SHELL_SPOT_NOTICE_H

#include "base/base.h"

#define BRG_SPOT_REASON_BYTES 160u
#define BRG_SPOT_SAID_MAX 2u /* advices of one step */

enum brg_spot_state {
    BRG_SPOT_CALM = 1,
    BRG_SPOT_AT_RISK,
    BRG_SPOT_HELD,
    BRG_SPOT_LEAVING,
};

/* What stands at the source now. All 0: nothing. */
struct brg_spot_seen {
    uint32_t is_risk;                   /* 1: the machine may be taken away before long */
    uint32_t is_leave;                  /* 1: it will be */
    uint32_t is_final;                  /* 1: and nobody can take that back */
    uint64_t deadline_ns;               /* of a leave: monotonic, when the machine goes */
    char reason[BRG_SPOT_REASON_BYTES]; /* for people: "AWS will terminate this instance" */
};

enum brg_spot_advice_type {
    BRG_SPOT_RISK = 1,  /* prefer others; keep working */
    BRG_SPOT_HOLD,      /* a leave that may be taken back; at_ns is when leaving begins */
    BRG_SPOT_WITHDRAWN, /* no risk and no notice any more, and it has not begun to leave */
    BRG_SPOT_DRAIN,     /* leave in order, by at_ns at the latest */
    BRG_SPOT_LEAVE_NOW, /* the time is up earlier than the drain was told */
    BRG_SPOT_CANCELLED, /* withdrawn while leaving: go on leaving, then come back */
};

struct brg_spot_advice {
    uint32_t type; /* enum brg_spot_advice_type */
    uint64_t at_ns;
    char reason[BRG_SPOT_REASON_BYTES];
};

struct brg_spot_said {
    uint32_t count;
    struct brg_spot_advice items[BRG_SPOT_SAID_MAX];
};

struct brg_spot_notice {
    uint64_t drain_ns; /* the most that leaving takes */
    uint64_t hold_ns;  /* a notice farther off that may be taken back is only a risk */
    uint64_t now_ns;
    uint64_t deadline_ns; /* while HELD or LEAVING: when the machine goes */
    uint64_t drain_at_ns; /* while LEAVING: what the drain was told */
    uint32_t state;       /* enum brg_spot_state */
    uint32_t is_cancelled, is_cut;
    char reason[BRG_SPOT_REASON_BYTES];
};

/* The machine must be gone from the coordinator's view before it goes from the cloud's. */
#define BRG_SPOT_MARGIN_NS (2 * BRG_NS_PER_S)

/* brg_spot_notice_init - asserts: drain_ns > 0; hold_ns >= drain_ns + BRG_SPOT_MARGIN_NS */
void brg_spot_notice_init(struct brg_spot_notice *n, uint64_t drain_ns, uint64_t hold_ns);

/* brg_spot_notice_step - what stands at the source (seen), or only that time went on (NULL).
 *
 * out:     what to do about it, in order; usually nothing
 * asserts: time that goes back */
void brg_spot_notice_step(struct brg_spot_notice *n, uint64_t now_ns,
                          const struct brg_spot_seen *seen, struct brg_spot_said *out);

/* brg_spot_notice_wake_ns - when a step without an observation may have something to say;
 * UINT64_MAX: never. */
uint64_t brg_spot_notice_wake_ns(const struct brg_spot_notice *n);

#endif
