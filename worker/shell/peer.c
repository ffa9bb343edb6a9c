/* peer.c - who is placed, which links are up, and the turn; see peer.h. */
#include "worker/shell/peer_private.h"

#include <string.h>

#include "base/log.h"

void brg_peers_config_init(struct brg_peers_config *config) {
    *config = (struct brg_peers_config){
        .park_ns = 10 * BRG_NS_PER_S,
        .retry_ns = 2 * BRG_NS_PER_S,
        .direct_ns = 3 * BRG_NS_PER_S,
        .bytes_max = UINT64_C(1) << 30,
        .send_queue = 8,
        .verify_parts = 0,
    };
}

static int listen_at(struct brg_peers *p, const char *endpoint, struct brg_why *why) {
    /* Every key that may be in two placements at once, and none besides. */
    const struct brg_zap_config zap = {.keys_max = BRG_PEERS_MAX, .allow_only = 1};
    struct brg_socket_config config;
    const int rc = brg_zap_create(p->transport, &zap, &p->zap, why);
    if (rc != BRG_OK) return rc;
    brg_socket_config_init(&config);
    config.send_queue = p->config.send_queue;
    config.backlog = 4 * BRG_PEERS_MAX;
    return brg_socket_listen(p->transport, &config, p->own_key, p->zap, endpoint, &p->server, why);
}

int brg_peers_create(struct brg_transport *t, const struct brg_peers_config *config,
                     const struct brg_keypair *own_key, const char *listen, struct brg_peers **out,
                     struct brg_why *why) {
    BRG_ASSERT(config->park_ns > 0 && config->retry_ns > 0 && config->direct_ns > 0);
    BRG_ASSERT(config->send_queue >= 1);
    *out = NULL;
    struct brg_peers *p = calloc(1, sizeof *p);
    if (p == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory for links to other workers");
    p->config = *config;
    p->transport = t;
    p->own_key = own_key;
    const int rc = listen != NULL ? listen_at(p, listen, why) : BRG_OK;
    if (rc != BRG_OK) brg_peers_destroy(&p);
    *out = p;
    return rc;
}

void brg_peers_destroy(struct brg_peers **peers) {
    struct brg_peers *p = *peers;
    if (p == NULL) return;
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) brg_peer_forget(&p->fetches[i]);
    for (uint32_t i = 0; i < BRG_PEER_OBJECTS_MAX; i++) brg_source_fini(&p->objects[i]);
    for (uint32_t i = 0; i < p->link_count; i++) brg_socket_close(&p->links[i].socket);
    brg_socket_close(&p->server);
    brg_zap_destroy(&p->zap);
    free(p);
    *peers = NULL;
}

int brg_peers_endpoint(struct brg_peers *p, char *out) {
    if (p->server == NULL) return BRG_ENOENT;
    return brg_socket_endpoint(p->server, out);
}

void brg_peers_relay(struct brg_peers *p, struct brg_socket *bulk) {
    p->relay = bulk;
}

uint32_t brg_peer_link_of(const struct brg_peers *p, uint32_t member) {
    for (uint32_t i = 0; i < p->link_count; i++)
        if (p->links[i].at.member == member) return i;
    return BRG_PEER_NONE;
}

int brg_peer_is_ours(const struct brg_peers *p, const struct brg_object *object) {
    if (object->run != p->run) return 0;
    return object->kind == BRG_OBJECT_STATE || object->generation == p->generation;
}

void brg_peer_fault(struct brg_peers *p, uint32_t link, const char *what) {
    struct brg_peer_link *l = &p->links[link];
    BRG_ASSERT(link < p->link_count);
    p->stats.faults++;
    l->faults++;
    if (l->faults < BRG_PEER_FAULTS_MAX || l->is_shut_out) return;
    l->is_shut_out = 1;
    p->stats.shut_out++;
    brg_socket_close(&l->socket);
    l->is_up = 0;
    /* Its rule is in the table already, so there is room for the change of it. */
    if (p->zap != NULL && brg_zap_deny(p->zap, &l->at.key) != BRG_OK) p->stats.faults++;
    brg_log_warn("peer", BRG_FIELDS(BRG_U64("member", l->at.member), BRG_U64("faults", l->faults)),
                 "a worker broke the protocol of links too often and is shut out until the next "
                 "placement; last: %s",
                 what);
}

/* ---- placement ---- */

/* The state of the old link to the same key at the same address, if there was one. */
static void take_over(struct brg_peers *p, struct brg_peer_link *link) {
    for (uint32_t i = 0; i < p->link_count; i++) {
        struct brg_peer_link *old = &p->links[i];
        if (!brg_key_equal(&old->at.key, &link->at.key)) continue;
        if (strcmp(old->at.endpoint, link->at.endpoint) != 0) continue;
        link->socket = old->socket;
        link->is_up = old->is_up;
        link->trouble = old->trouble;
        link->down_ns = old->down_ns;
        link->dial_ns = old->dial_ns;
        old->socket = NULL;
        return;
    }
}

/* Where the key of old link `link` is in the new list, or BRG_PEER_NONE. */
static uint32_t moved_to(const struct brg_peers *p, const struct brg_peer_place *place,
                         uint32_t link) {
    for (uint32_t i = 0; i < place->count; i++)
        if (brg_key_equal(&place->members[i].key, &p->links[link].at.key)) return i;
    return BRG_PEER_NONE;
}

static void replace_links(struct brg_peers *p, const struct brg_peer_place *place,
                          uint64_t now_ns) {
    struct brg_peer_link links[BRG_PEERS_MAX];
    memset(links, 0, sizeof links);
    for (uint32_t i = 0; i < BRG_PEER_PARKED_MAX; i++) {
        struct brg_peer_parked *k = &p->parked[i];
        if (!k->is_used) continue;
        k->link = moved_to(p, place, k->link);
        if (k->link == BRG_PEER_NONE) k->is_used = 0; /* it is cut off, there is nobody to tell */
    }
    for (uint32_t i = 0; i < place->count; i++) {
        links[i].at = place->members[i];
        links[i].down_ns = now_ns;
        take_over(p, &links[i]);
    }
    for (uint32_t i = 0; i < p->link_count; i++) brg_socket_close(&p->links[i].socket);
    memcpy(p->links, links, sizeof links);
    p->link_count = place->count;
}

static void end_fetches(struct brg_peers *p) {
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) {
        struct brg_peer_fetch *f = &p->fetches[i];
        if (!f->is_used) continue;
        if (brg_peer_is_ours(p, &f->object) && brg_peer_link_of(p, f->member) != BRG_PEER_NONE)
            continue;
        brg_peer_forget(f);
    }
}

int brg_peers_place(struct brg_peers *p, const struct brg_peer_place *place, uint64_t now_ns) {
    struct brg_key keys[BRG_PEERS_MAX];
    BRG_ASSERT(place->run != 0 && place->generation >= 1);
    BRG_ASSERT(place->count <= BRG_PEERS_MAX);
    if (place->run == p->run && place->generation < p->generation) return BRG_EBEHIND;
    const int is_new = place->run != p->run || place->generation != p->generation;
    for (uint32_t i = 0; i < place->count; i++) keys[i] = place->members[i].key;
    if (p->zap != NULL) {
        const int rc = brg_zap_replace(p->zap, keys, place->count);
        BRG_ASSERT(rc == BRG_OK); /* the table has room for as many as a placement may have */
    }
    p->now_ns = now_ns;
    replace_links(p, place, now_ns);
    p->epoch = place->epoch;
    p->run = place->run;
    p->generation = place->generation;
    if (is_new) p->floor = 0;
    end_fetches(p);
    brg_peer_sweep(p);
    return BRG_OK;
}

/* ---- the turn ---- */

/* What became of the link, for the sentence of a fetch that fails and the choice of the path. That
 * these may come late harms nothing: what was lost is asked for again in any case. */
static void watch(struct brg_peers *p, uint32_t link) {
    struct brg_peer_link *l = &p->links[link];
    struct brg_socket_event e;
    while (l->socket != NULL && brg_socket_event(l->socket, &e) == BRG_OK) {
        const uint32_t was_up = l->is_up;
        if (e.type == BRG_SOCKET_READY) {
            l->is_up = 1;
            l->trouble = 0;
            brg_peer_reconnected(p, link);
        } else if (e.type != BRG_SOCKET_CONNECTED) {
            l->is_up = 0;
            /* What was wrong with the keys says more than the hanging up that follows it. */
            if (l->trouble != BRG_SOCKET_KEY_REFUSED && l->trouble != BRG_SOCKET_BAD_HANDSHAKE)
                l->trouble = e.type;
        }
        if (was_up && !l->is_up) l->down_ns = p->now_ns;
        /* libzmq dials never again where a handshake was refused. But the other worker may only not
         * have heard of this placement yet. */
        if (e.type != BRG_SOCKET_KEY_REFUSED && e.type != BRG_SOCKET_BAD_HANDSHAKE) continue;
        brg_socket_close(&l->socket);
        l->dial_ns = p->now_ns + BRG_PEER_REDIAL_NS;
    }
}

static void hear_link(struct brg_peers *p, uint32_t link) {
    for (uint32_t i = 0; i < BRG_PEER_RECEIVE_MAX; i++) {
        struct brg_inbound in;
        const char *why = NULL;
        if (p->links[link].socket == NULL) return; /* shut out by what it said */
        const int rc = brg_socket_receive_msg(p->links[link].socket, &in, &p->in, &why);
        if (rc == BRG_ENOENT || rc == BRG_EIO) return;
        if (rc != BRG_OK) {
            brg_peer_fault(p, link, why != NULL ? why : brg_strerror(rc));
            continue;
        }
        const struct brg_bytes bytes =
            in.frame_count > 1 ? brg_frame_bytes(&in.frames[1]) : (struct brg_bytes){NULL, 0};
        brg_peer_on_answer(p, link, &p->in, bytes);
        brg_inbound_release(&in);
    }
}

static uint32_t link_of_key(const struct brg_peers *p, const struct brg_key *key) {
    for (uint32_t i = 0; i < p->link_count; i++)
        if (brg_key_equal(&p->links[i].at.key, key)) return i;
    return BRG_PEER_NONE;
}

static void hear_server(struct brg_peers *p) {
    for (uint32_t i = 0; i < BRG_PEER_RECEIVE_MAX * BRG_PEERS_MAX && p->server != NULL; i++) {
        struct brg_inbound in;
        const char *why = NULL;
        const int rc = brg_socket_receive_msg(p->server, &in, &p->in, &why);
        if (rc == BRG_ENOENT || rc == BRG_EIO) return;
        const uint32_t link = rc != BRG_EPERM ? link_of_key(p, &in.key) : BRG_PEER_NONE;
        if (link == BRG_PEER_NONE) { /* its key has left the placement since it connected */
            if (rc == BRG_OK) brg_inbound_release(&in);
            p->stats.faults++;
        } else if (rc != BRG_OK) {
            brg_peer_fault(p, link, why != NULL ? why : brg_strerror(rc));
        } else {
            if (p->in.type == BRG_MSG_GET && p->in.get.peer == 0)
                brg_peer_on_get(p, link, &in.peer, &p->in.get);
            else
                brg_peer_fault(p, link, "only Gets are taken from who dials");
            brg_inbound_release(&in);
        }
    }
}

void brg_peers_turn(struct brg_peers *p, uint64_t now_ns) {
    p->now_ns = now_ns;
    hear_server(p);
    for (uint32_t i = 0; i < p->link_count; i++) {
        hear_link(p, i);
        watch(p, i);
    }
    brg_peer_serve_parked(p);
    brg_peer_ask(p);
}

void brg_peers_on_relayed(struct brg_peers *p, const struct brg_msg *msg, struct brg_bytes bytes,
                          uint64_t now_ns) {
    p->now_ns = now_ns;
    uint32_t from = 0;
    if (msg->type == BRG_MSG_GET) from = msg->get.peer;
    if (msg->type == BRG_MSG_PART) from = msg->part.peer;
    if (msg->type == BRG_MSG_GONE) from = msg->gone.peer;
    const uint32_t link = from != 0 ? brg_peer_link_of(p, from - 1) : BRG_PEER_NONE;
    if (link == BRG_PEER_NONE || p->links[link].is_shut_out) {
        p->stats.faults++;
        return;
    }
    if (msg->type == BRG_MSG_GET)
        brg_peer_on_get(p, link, NULL, &msg->get);
    else
        brg_peer_on_answer(p, link, msg, bytes);
}

uint32_t brg_peers_sockets(struct brg_peers *p, struct brg_wait *items, uint32_t max) {
    uint32_t count = 0;
    if (p->server != NULL && count < max) items[count++] = (struct brg_wait){.socket = p->server};
    for (uint32_t i = 0; i < p->link_count && count < max; i++)
        if (p->links[i].socket != NULL)
            items[count++] = (struct brg_wait){.socket = p->links[i].socket};
    return count;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t brg_peers_wake_ns(const struct brg_peers *p) {
    uint64_t wake_ns = p->is_blocked ? p->now_ns + BRG_PEER_BLOCKED_NS : UINT64_MAX;
    for (uint32_t i = 0; i < BRG_PEER_PARKED_MAX; i++)
        if (p->parked[i].is_used) wake_ns = earlier(wake_ns, p->parked[i].until_ns);
    for (uint32_t i = 0; i < BRG_PEER_FETCHES_MAX; i++) {
        const struct brg_peer_fetch *f = &p->fetches[i];
        if (!f->is_used) continue;
        if (f->is_over) return 0; /* the caller has not taken it yet */
        wake_ns = earlier(wake_ns, earlier(f->until_ns, brg_fetch_wake_ns(&f->fetch)));
        const uint32_t link = brg_peer_link_of(p, f->member);
        if (link != BRG_PEER_NONE && !p->links[link].is_up && p->links[link].at.endpoint[0] != '\0')
            wake_ns = earlier(wake_ns, p->now_ns + BRG_PEER_WATCH_NS); /* no message tells of it */
    }
    return wake_ns;
}

void brg_peers_stats_read(const struct brg_peers *p, struct brg_peers_stats *out) {
    *out = p->stats;
}
