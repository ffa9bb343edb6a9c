/* peer_fetch.c - what is fetched from others: over which path, how often asked, when given up. */
#include "worker/shell/peer_private.h"

#include <string.h>

#include "base/log.h"

void brg_peer_forget(struct brg_peer_fetch *f) {
    brg_fetch_drop(&f->fetch);
    memset(f, 0, sizeof *f);
}

void brg_peer_fail(struct brg_peer_fetch *f, int code) {
    BRG_ASSERT(code != BRG_OK);
    brg_fetch_drop(&f->fetch);
    f->code = code;
    f->is_over = 1;
}

static struct brg_peer_fetch *find_fetch(struct brg_peers *p, const struct brg_object *object) {
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++)
        if (p->fetches[i].is_used && brg_object_equal(&p->fetches[i].object, object))
            return &p->fetches[i];
    return NULL;
}

void brg_peer_dial(struct brg_peers *p, struct brg_peer_link *link) {
    struct brg_socket_config config;
    struct brg_why why;
    if (link->socket != NULL || link->at.endpoint[0] == '\0' || link->is_shut_out) return;
    if (p->now_ns < link->dial_ns) return;
    brg_socket_config_init(&config);
    config.send_queue = BRG_PEER_PARKED_EACH_MAX;
    config.recv_queue = p->config.send_queue;
    config.reconnect_min_ms = 100;
    config.reconnect_max_ms = 2000;
    if (link->trouble == 0) link->down_ns = p->now_ns;
    if (brg_socket_dial(p->transport, &config, p->own_key, &link->at.key, link->at.endpoint,
                        &link->socket, &why) != BRG_OK) {
        brg_log_warn("peer", BRG_FIELDS(BRG_U64("member", link->at.member)),
                     "cannot dial another worker: %s", why.text);
        link->dial_ns = p->now_ns + BRG_NS_PER_S;
    }
}

/* 1: over the relay. Where both ways are open, the worker itself is asked. */
static int takes_relay(const struct brg_peers *p, const struct brg_peer_link *link) {
    if (p->relay == NULL || link->is_up) return 0;
    if (link->at.endpoint[0] == '\0' || link->socket == NULL) return 1;
    return p->now_ns >= link->down_ns + p->config.direct_ns;
}

static void send_gets(struct brg_peers *p, struct brg_peer_link *link, struct brg_peer_fetch *f) {
    const int is_relayed = takes_relay(p, link);
    struct brg_socket *socket = is_relayed ? p->relay : link->socket;
    for (uint32_t i = 0; i < BRG_BULK_WINDOW_MAX && socket != NULL; i++) {
        memset(&p->out.get, 0, sizeof p->out.get);
        if (!brg_fetch_next_get(&f->fetch, p->now_ns, &p->out.get)) return;
        p->out.type = BRG_MSG_GET;
        p->out.epoch = p->epoch;
        p->out.tensor_count = 0;
        if (is_relayed) p->out.get.peer = link->at.member + 1;
        /* A Get that cannot be sent counts as lost: it is repeated, at once after a reconnect. */
        if (brg_socket_send_msg(socket, NULL, &p->out, NULL) != BRG_OK) return;
        if (is_relayed) p->stats.relayed++;
    }
}

int brg_peers_fetch(struct brg_peers *p, uint32_t member, const struct brg_object *object,
                    struct brg_buffer *buffer, uint64_t size_bytes, uint64_t timeout_ns,
                    uint64_t now_ns, struct brg_why *why) {
    struct brg_peer_fetch *f = NULL;
    BRG_ASSERT(timeout_ns > 0);
    BRG_ASSERT(object->kind >= BRG_OBJECT_ACT);
    const uint32_t link = brg_peer_link_of(p, member);
    if (link == BRG_PEER_NONE || !brg_peer_is_ours(p, object))
        return brg_why_set(why, BRG_ENOENT,
                           "worker %u or what it is asked for is not of this placement", member);
    if (p->links[link].at.endpoint[0] == '\0' && p->relay == NULL)
        return brg_why_set(why, BRG_EINVAL,
                           "worker %u does not listen and there is no relay: start it with "
                           "--listen and --announce",
                           member);
    if (find_fetch(p, object) != NULL) return brg_why_set(why, BRG_EEXIST, "it is fetched already");
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX && f == NULL; i++)
        if (!p->fetches[i].is_used) f = &p->fetches[i];
    if (f == NULL)
        return brg_why_set(why, BRG_EFULL, "%u objects are fetched at once: no more",
                           BRG_PEER_FETCHES_MAX);
    const struct brg_fetch_config config = {.retry_ns = p->config.retry_ns,
                                            .idle_ns = timeout_ns,
                                            .part_bytes = BRG_BULK_PART_BYTES,
                                            .window = BRG_BULK_WINDOW,
                                            .verify_parts = p->config.verify_parts};
    *f = (struct brg_peer_fetch){
        .object = *object, .is_used = 1, .member = member, .until_ns = now_ns + timeout_ns};
    p->now_ns = now_ns;
    brg_fetch_start(&f->fetch, object, buffer, size_bytes, &config, now_ns);
    brg_peer_dial(p, &p->links[link]);
    send_gets(p, &p->links[link], f); /* not in the next turn only: that would cost a wait */
    return BRG_OK;
}

void brg_peers_cancel(struct brg_peers *p, const struct brg_object *object) {
    struct brg_peer_fetch *f = find_fetch(p, object);
    if (f != NULL) brg_peer_forget(f);
}

int brg_peers_next(struct brg_peers *p, struct brg_peer_result *out) {
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) {
        struct brg_peer_fetch *f = &p->fetches[i];
        if (!f->is_used || !f->is_over) continue;
        out->object = f->object;
        out->member = f->member;
        out->code = f->code;
        out->buffer = f->code == BRG_OK ? brg_fetch_take(&f->fetch) : NULL;
        out->why = f->why;
        brg_peer_forget(f);
        return BRG_OK;
    }
    return BRG_ENOENT;
}

static void on_part(struct brg_peers *p, uint32_t link, struct brg_peer_fetch *f,
                    const struct brg_msg *msg, struct brg_bytes bytes) {
    const uint64_t before = f->fetch.here_bytes;
    if (msg->part.total != f->fetch.size_bytes) {
        (void)brg_why_set(&f->why, BRG_EPROTO,
                          "worker %u holds %llu bytes where %llu are wanted: the two have "
                          "different models or versions of the program",
                          f->member, (unsigned long long)msg->part.total,
                          (unsigned long long)f->fetch.size_bytes);
        brg_peer_fail(f, BRG_EPROTO);
        return;
    }
    if (brg_fetch_on_part(&f->fetch, msg, bytes, p->now_ns) != BRG_OK) {
        brg_peer_fault(p, link, "a part that was not asked for, or with a wrong digest");
        return;
    }
    p->stats.received_bytes += f->fetch.here_bytes - before;
    if (brg_fetch_is_done(&f->fetch)) f->is_over = 1;
}

void brg_peer_on_answer(struct brg_peers *p, uint32_t link, const struct brg_msg *msg,
                        struct brg_bytes bytes) {
    if (msg->type != BRG_MSG_PART && msg->type != BRG_MSG_GONE) {
        brg_peer_fault(p, link, "only Part and Gone answer a Get");
        return;
    }
    const int is_part = msg->type == BRG_MSG_PART;
    struct brg_peer_fetch *f = find_fetch(p, is_part ? &msg->part.object : &msg->gone.object);
    /* Of a fetch that was given up, or has come by the other path. */
    if (f == NULL || f->is_over) return;
    if (f->member != p->links[link].at.member) {
        brg_peer_fault(p, link, "an answer to what another worker was asked");
    } else if (is_part) {
        on_part(p, link, f, msg, bytes);
    } else {
        (void)brg_why_set(&f->why, BRG_ENOENT, "worker %u will not have it: %s", f->member,
                          msg->gone.text);
        brg_peer_fail(f, BRG_ENOENT);
    }
}

void brg_peer_reconnected(struct brg_peers *p, uint32_t link) {
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) {
        struct brg_peer_fetch *f = &p->fetches[i];
        if (f->is_used && !f->is_over && f->member == p->links[link].at.member)
            brg_fetch_reconnected(&f->fetch, p->now_ns);
    }
}

static const char *trouble_of(const struct brg_peer_link *link) {
    if (link->at.endpoint[0] == '\0') return "it is reached through the coordinator only";
    if (link->is_up) return "the link is up, and it has not answered";
    switch (link->trouble) {
    case BRG_SOCKET_UNREACHABLE: return "nobody answers there: check --announce and the firewall";
    case BRG_SOCKET_KEY_REFUSED: return "it refuses this worker's key: it knows another placement";
    case BRG_SOCKET_BAD_HANDSHAKE: return "another program or another key is at that address";
    case BRG_SOCKET_DISCONNECTED: return "the connection broke";
    default: return "no connection came about: check --announce and the firewall";
    }
}

static void give_up(const struct brg_peer_link *link, struct brg_peer_fetch *f) {
    const int code = link->is_shut_out ? BRG_EPROTO : BRG_ETIMEDOUT;
    const char *trouble = link->is_shut_out ? "it broke the protocol" : trouble_of(link);
    (void)brg_why_set(&f->why, code, "%llu of %llu bytes came from worker %u at %s in time; %s",
                      (unsigned long long)f->fetch.here_bytes,
                      (unsigned long long)f->fetch.size_bytes, f->member,
                      link->at.endpoint[0] != '\0' ? link->at.endpoint : "no address", trouble);
    brg_peer_fail(f, code);
}

void brg_peer_ask(struct brg_peers *p) {
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) {
        struct brg_peer_fetch *f = &p->fetches[i];
        if (!f->is_used || f->is_over) continue;
        const uint32_t at = brg_peer_link_of(p, f->member);
        BRG_ASSERT(at != BRG_PEER_NONE); /* a placement without it would have ended the fetch */
        struct brg_peer_link *link = &p->links[at];
        if (p->now_ns >= f->until_ns || link->is_shut_out) {
            give_up(link, f);
            continue;
        }
        brg_peer_dial(p, link);
        send_gets(p, link, f);
    }
}
