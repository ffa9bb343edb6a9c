/* notify.h - telling systemd how the service is (Type=notify), by one datagram to its socket.
 *
 * Where $NOTIFY_SOCKET is not set, nothing happens. Any thread; nothing blocks. */
#ifndef BRG_NOTIFY_H
#define BRG_NOTIFY_H

#include "base/base.h"

/* brg_notify - sends `state`, such as "READY=1\nSTATUS=serving". returns: 1 where it was sent
 * source: sd_notify(3), "Description" and "Environment" */
int brg_notify(const char *state);

/* brg_notify_watchdog_ns - how often "WATCHDOG=1" is due: half of what the unit's WatchdogSec asks
 * for; 0: never. */
uint64_t brg_notify_watchdog_ns(void);

#endif
