#include "cli/check_net.h"

#include "cli/client.h"
#include "proto/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define FOREIGN_MIN 2u /* failed handshakes before it is not just one that was cut off */

static void take_addresses(const struct addrinfo *list, struct brg_check_address *out,
                           uint32_t *count) {
    char host[256], port[16];
    for (; list != NULL && *count < BRG_CHECK_ADDRESSES_MAX; list = list->ai_next) {
        struct brg_check_address *a = &out[*count];
        if (list->ai_addrlen > sizeof a->address) continue;
        if (getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
            continue;
        }
        memset(a, 0, sizeof *a);
        memcpy(&a->address, list->ai_addr, list->ai_addrlen);
        a->size = list->ai_addrlen;
        (void)snprintf(a->text, sizeof a->text, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s",
                       host, port);
        (*count)++;
    }
}

int brg_check_name(const struct brg_join *join, struct brg_check_address *out, uint32_t *count,
                   struct brg_why *why) {
    /* Where the bound is reached, libc's thread still reads these: they outlive this call. */
    static struct addrinfo hints;
    static struct gaicb request;
    static char host[BRG_HOST_BYTES], port[16];
    static struct gaicb *list[1] = {&request};
    const struct timespec bound = {.tv_sec = (time_t)(BRG_CHECK_BOUND_NS / BRG_NS_PER_S)};

    *count = 0;
    hints.ai_socktype = SOCK_STREAM;
    (void)snprintf(host, sizeof host, "%s", join->host);
    (void)snprintf(port, sizeof port, "%u", (unsigned)join->port);
    request.ar_name = host;
    request.ar_service = port;
    request.ar_request = &hints;
    int rc = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (rc == 0) (void)gai_suspend((const struct gaicb *const *)list, 1, &bound);
    if (rc == 0) rc = gai_error(&request);
    if (rc == EAI_INPROGRESS) {
        return brg_why_set(why, BRG_ETIMEDOUT,
                           "the name server gave no answer about '%s' within 5 s: look at this "
                           "machine's network and /etc/resolv.conf",
                           host);
    }
    if (rc != 0) {
        return brg_why_set(why, BRG_ENOENT,
                           "the name '%s' cannot be resolved (%s): check its spelling, or give the "
                           "address in numbers",
                           host, gai_strerror(rc));
    }
    take_addresses(request.ar_result, out, count);
    freeaddrinfo(request.ar_result);
    if (*count > 0) return BRG_OK;
    return brg_why_set(why, BRG_ENOENT, "the name '%s' has no address", host);
}

/* 0 once connected, else an errno value. */
static int connect_within(const struct brg_check_address *a, int timeout_ms) {
    int error = 0, fd = -1;
    socklen_t size = sizeof error;
    struct pollfd item = {.events = POLLOUT};

    fd = socket(a->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    if (connect(fd, (const struct sockaddr *)&a->address, a->size) == 0) goto out;
    if (errno != EINPROGRESS) {
        error = errno;
        goto out;
    }
    item.fd = fd;
    if (poll(&item, 1, timeout_ms) != 1) {
        error = ETIMEDOUT;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
out:
    (void)close(fd);
    return error;
}

int brg_check_tcp(const struct brg_check_address *addresses, uint32_t count, uint32_t *reached,
                  struct brg_why *why) {
    uint64_t begin_ns = brg_client_now_ns();
    int error = ETIMEDOUT;
    uint32_t at = 0;

    BRG_ASSERT(count >= 1 && count <= BRG_CHECK_ADDRESSES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t used_ns = brg_client_now_ns() - begin_ns;
        if (used_ns >= BRG_CHECK_BOUND_NS) break;
        /* What is left is shared among the addresses left. */
        uint64_t part_ns = (BRG_CHECK_BOUND_NS - used_ns) / (count - i);
        at = i;
        error = connect_within(&addresses[i], (int)(part_ns / BRG_NS_PER_MS) + 1);
        if (error != 0) continue;
        *reached = i;
        return BRG_OK;
    }
    const char *text = addresses[at].text;
    if (error == ECONNREFUSED) {
        return brg_why_set(why, BRG_ENOENT,
                           "nobody listens at %s: is the coordinator running, and is this the port "
                           "it listens on or announces?",
                           text);
    }
    if (error == ETIMEDOUT) {
        return brg_why_set(why, BRG_ETIMEDOUT,
                           "no answer from %s within 5 s: the machine is off, or a firewall in "
                           "between drops the port",
                           text);
    }
    return brg_why_set(why, BRG_EIO, "there is no way to %s: %s", text, strerror(error));
}

/* Waits until the keys are proved, or it is clear that they will not be. */
static int await_ready(struct brg_socket *socket, struct brg_why *why) {
    uint64_t begin_ns = brg_client_now_ns();
    struct brg_socket_event event;
    uint32_t foreign = 0;

    while (brg_client_now_ns() - begin_ns < BRG_CHECK_BOUND_NS) {
        while (brg_socket_event(socket, &event) == BRG_OK) {
            if (event.type == BRG_SOCKET_READY) return BRG_OK;
            if (event.type == BRG_SOCKET_KEY_REFUSED) {
                return brg_why_set(why, BRG_EPERM,
                                   "the coordinator refuses this machine's key: ask its operator "
                                   "for 'brigade workers allow', or join with a new key");
            }
            foreign += event.type == BRG_SOCKET_BAD_HANDSHAKE;
            if (foreign < FOREIGN_MIN) continue;
            return brg_why_set(why, BRG_EPROTO,
                               "who listens there does not hold the key of the join URL: copy the "
                               "URL from this coordinator's log, or check the port");
        }
        (void)poll(NULL, 0, 20);
    }
    return brg_why_set(why, BRG_ETIMEDOUT,
                       "the port is open, but nobody proved the key of the join URL within 5 s: "
                       "another program is there, or the coordinator hangs");
}

/* Asks to be let in without a token, which a key that nobody knows cannot be: the refusal says
 * what there is to know. */
static int ask_version(struct brg_socket *socket, struct brg_check_said *said,
                       struct brg_why *why) {
    struct brg_msg *msg = calloc(1, sizeof *msg);
    struct brg_inbound in;
    const uint64_t begin_ns = brg_client_now_ns();
    int rc = BRG_ETIMEDOUT;

    if (msg == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    msg->type = BRG_MSG_HELLO;
    msg->hello.protocol = BRG_PROTOCOL;
    msg->hello.session = 1;
    (void)snprintf(msg->hello.name, sizeof msg->hello.name, "check");
    (void)snprintf(msg->hello.version, sizeof msg->hello.version, "%s", BRG_VERSION);
    (void)snprintf(msg->hello.isa, sizeof msg->hello.isa, "any");
    msg->hello.cores = 1;
    msg->hello.memory_bytes = 1;
    int is_sent = 0;
    while (rc == BRG_ETIMEDOUT && brg_client_now_ns() - begin_ns < BRG_CHECK_BOUND_NS) {
        if (!is_sent) is_sent = brg_socket_send_msg(socket, NULL, msg, NULL) == BRG_OK;
        if (is_sent && brg_socket_receive_msg(socket, &in, msg, NULL) == BRG_OK) {
            brg_inbound_release(&in);
            if (msg->type == BRG_MSG_REFUSED) rc = BRG_OK;
        } else {
            (void)poll(NULL, 0, 5);
        }
    }
    said->took_ns = brg_client_now_ns() - begin_ns;
    if (rc == BRG_OK) {
        said->is_asked = 1;
        said->is_other = msg->refused.code == BRG_EPROTO;
        (void)snprintf(said->text.text, sizeof said->text.text, "%s", msg->refused.text);
    } else {
        rc = brg_why_set(why, rc,
                         "the keys are right, but the coordinator says nothing within 5 s: look at "
                         "its log");
    }
    free(msg);
    return rc;
}

int brg_check_handshake(const struct brg_join *join, const struct brg_keypair *own,
                        struct brg_check_said *said, struct brg_why *why) {
    struct brg_transport *transport = NULL;
    struct brg_socket *socket = NULL;
    struct brg_socket_config config;
    struct brg_keypair made = {.secret = NULL};
    const int is_own = own != NULL;
    char endpoint[BRG_ENDPOINT_BYTES];
    int rc = BRG_OK;

    memset(said, 0, sizeof *said);
    if (own == NULL) {
        rc = brg_keypair_create(&made, why);
        own = &made;
    }
    if (rc != BRG_OK) goto out;
    brg_socket_config_init(&config);
    config.reconnect_min_ms = 100;
    rc = brg_transport_create(&transport, why);
    if (rc != BRG_OK) goto out;
    rc = brg_socket_dial(transport, &config, own, &join->server,
                         brg_endpoint_format(join->host, join->port, endpoint), &socket, why);
    if (rc == BRG_OK) rc = await_ready(socket, why);
    if (rc == BRG_OK && !is_own) rc = ask_version(socket, said, why);
out:
    brg_socket_close(&socket);
    brg_transport_destroy(&transport);
    brg_keypair_wipe(&made);
    return rc;
}
