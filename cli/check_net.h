/* check_net.h - can a coordinator be reached: the name, the port, the keys, each within a bound.
 * One thread; brg_check_name may leave one of libc's behind, which ends with the process. */
#ifndef BRG_CLI_CHECK_NET_H
#define BRG_CLI_CHECK_NET_H

#include "proto/keys.h"

#include <sys/socket.h>

#define BRG_CHECK_ADDRESSES_MAX 8u
#define BRG_CHECK_BOUND_NS (UINT64_C(5) * BRG_NS_PER_S) /* of each of the three */

struct brg_check_address {
    struct sockaddr_storage address;
    socklen_t size;
    char text[BRG_ENDPOINT_BYTES]; /* host:port in numbers */
};

/* brg_check_name - the addresses of join->host. Once in a process.
 *
 * shape:  out [BRG_CHECK_ADDRESSES_MAX]; *count >= 1 on success
 * errors: BRG_ENOENT no such name; BRG_ETIMEDOUT the name server does not answer; *why in each */
BRG_CHECK int brg_check_name(const struct brg_join *join, struct brg_check_address *out,
                             uint32_t *count, struct brg_why *why);

/* brg_check_tcp - connects to one address after the other until one takes the connection.
 *
 * out:    *reached: which
 * errors: BRG_ENOENT nobody listens there; BRG_ETIMEDOUT no answer at all; BRG_EIO no way there */
BRG_CHECK int brg_check_tcp(const struct brg_check_address *addresses, uint32_t count,
                            uint32_t *reached, struct brg_why *why);

/* What a coordinator said to a Hello without a token. */
struct brg_check_said {
    uint32_t is_asked; /* 0: not asked, since `own` may be a worker's that runs now */
    uint32_t is_other; /* 1: it speaks another version of the protocol; text says which */
    uint64_t took_ns;  /* there and back */
    struct brg_why text;
};

/* brg_check_handshake - proves keys with the coordinator, as `own` or (NULL) with a key made for
 * it, and with that asks whether both speak the same protocol. Joins nothing, uses no token up.
 *
 * errors: BRG_EPERM the coordinator refuses this key; BRG_EPROTO another key or another program is
 *         there; BRG_ETIMEDOUT; BRG_EIO, BRG_ENOMEM */
BRG_CHECK int brg_check_handshake(const struct brg_join *join, const struct brg_keypair *own,
                                  struct brg_check_said *said, struct brg_why *why);

#endif
