/* zap.h - decides which CURVE keys may connect, on a small thread of its own (ZAP, RFC 27).
 *
 *   handshake ──key──► ZAP thread ──lookup under a mutex──► 200 and User-Id = the key (Z85), or 400
 *                                        ▲
 *                        deny / undeny / allow, from any thread
 *
 * Normally every key gets through and only those denied do not: unknown keys may say Hello, and the
 * coordinator's core decides what they may do. With allow_only nobody gets through but those
 * allowed. A key that is denied while connected is cut off as well: receiving asks here
 * (transport.h). The thread never waits for anything but requests, so handshakes never stall. */
#ifndef BRG_PROTO_ZAP_H
#define BRG_PROTO_ZAP_H

#include "proto/keys.h"

struct brg_transport;
struct brg_zap;

struct brg_zap_config {
    uint32_t keys_max;   /* keys with a rule, 1 .. 1048576 */
    uint32_t allow_only; /* 1: keys without a rule are refused */
};

struct brg_zap_stats {
    uint64_t accepted;
    uint64_t refused;   /* by the table */
    uint64_t malformed; /* requests that were none; refused too */
    uint32_t keys;      /* with a rule */
};

/* brg_zap_create - binds the handler in the context of `t` and starts its thread. Before any bind.
 *
 * own:    end with brg_zap_destroy after the sockets and before the transport; NULL on error
 * errors: BRG_EEXIST the context has a handler already; BRG_EIO, BRG_ENOMEM */
BRG_CHECK int brg_zap_create(struct brg_transport *t, const struct brg_zap_config *config,
                             struct brg_zap **out, struct brg_why *why);

/* brg_zap_destroy - stops the thread and waits for it; *zap may be NULL and is NULL then. */
void brg_zap_destroy(struct brg_zap **zap);

/* brg_zap_deny - from now on `key` is refused, also where it is connected. Repeating is fine.
 * errors: BRG_EFULL keys_max keys have a rule. cost: O(keys) */
BRG_CHECK int brg_zap_deny(struct brg_zap *zap, const struct brg_key *key);

/* brg_zap_allow - from now on `key` is let in, whatever allow_only says. errors: BRG_EFULL */
BRG_CHECK int brg_zap_allow(struct brg_zap *zap, const struct brg_key *key);

/* brg_zap_forget - no rule for `key` any more; undoes deny and allow. */
void brg_zap_forget(struct brg_zap *zap, const struct brg_key *key);

/* brg_zap_replace - all rules go, and from the same instant exactly `count` keys are allowed; who
 * is connected under another key is cut off if allow_only says so. Repeats among keys are fine.
 * errors: BRG_EFULL more than keys_max; nothing has changed. cost: O(count log count) */
BRG_CHECK int brg_zap_replace(struct brg_zap *zap, const struct brg_key *keys, uint32_t count);

/* brg_zap_permits - 1 where `key` may talk to us now, else 0. cost: O(log keys) */
int brg_zap_permits(struct brg_zap *zap, const struct brg_key *key);

/* brg_zap_stats_read - figures of one instant. */
void brg_zap_stats_read(struct brg_zap *zap, struct brg_zap_stats *out);

#endif
