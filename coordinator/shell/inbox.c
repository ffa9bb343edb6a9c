/* inbox.c - received messages become events of the machine. Order of checks: proved key
 * (transport), sizes and ranges (wire), who may say this over which connection (here), then the
 * machine. */
#include <math.h>
#include <string.h>

#include "coordinator/shell/line.h"
#include "coordinator/shell/service_private.h"

/* ---- peers that break the protocol ---- */

static void penalise(struct brg_service *s, const struct brg_key *key, const char *why) {
    char text[BRG_KEY_TEXT_BYTES];
    uint32_t i = 0;
    while (i < BRG_PENALTIES_MAX && s->penalties[i].until_ns != 0) i++;
    brg_log_warn("coordinator", BRG_FIELDS(BRG_STR("key", brg_key_format(key, text))),
                 "dropped a peer for a minute: %s", why != NULL ? why : "broken message");
    if (i == BRG_PENALTIES_MAX) return; /* its message was dropped in any case */
    if (brg_zap_deny(s->zap, key) != BRG_OK) return;
    s->penalties[i].key = *key;
    s->penalties[i].until_ns = s->now_ns + BRG_PENALTY_NS;
}

void brg_service_forgive(struct brg_service *s) {
    for (uint32_t i = 0; i < BRG_PENALTIES_MAX; i++) {
        if (s->penalties[i].until_ns == 0 || s->now_ns < s->penalties[i].until_ns) continue;
        const uint32_t slot = brg_members_find(&s->core.members, s->penalties[i].key.bytes);
        s->penalties[i].until_ns = 0;
        if (slot != BRG_NOBODY && s->core.members.items[slot].state == BRG_MEMBER_REVOKED) continue;
        brg_zap_forget(s->zap, &s->penalties[i].key);
    }
}

/* ---- enrolment ---- */

static void on_hello(struct brg_service *s, const struct brg_inbound *in) {
    const struct brg_msg_hello *m = &s->msg.hello;
    struct brg_msg *refusal = &s->reply;
    if (m->protocol != BRG_PROTOCOL) {
        memset(refusal, 0, sizeof *refusal);
        refusal->type = BRG_MSG_REFUSED;
        refusal->refused.code = BRG_EPROTO;
        brg_text_set(refusal->refused.text,
                     "the coordinator speaks protocol %u and this worker %u: install the same "
                     "version of brigade on both",
                     BRG_PROTOCOL, m->protocol);
        brg_service_send(s, &in->peer, refusal);
        return;
    }
    BRG_ASSERT(s->hello_count < BRG_TURN_MESSAGES_MAX);
    struct brg_service_hello *hello = &s->hellos[s->hello_count++];
    memset(hello, 0, sizeof *hello);
    hello->route = in->peer;
    hello->session = m->session;
    hello->cores = m->cores;
    hello->memory_bytes = m->memory_bytes;
    (void)snprintf(hello->isa, sizeof hello->isa, "%.31s", m->isa);
    (void)snprintf(hello->name, sizeof hello->name, "%.63s", m->name);
    struct brg_coord_event ev = {.type = BRG_EV_HELLO,
                                 .session = m->session,
                                 .peer = s->hello_count,
                                 .has_token = m->token_bytes > 0,
                                 .wall_s = brg_service_wall_ns() / BRG_NS_PER_S};
    memcpy(ev.key, in->key.bytes, sizeof ev.key);
    if (ev.has_token) brg_token_hash(m->token, m->token_bytes, &ev.token_hash);
    if (m->has_seen && brg_proof_verify(s->mac_key, &m->seen) == BRG_OK) {
        ev.has_proof = 1;
        ev.run = m->seen.run;
        ev.step = m->seen.step;
    }
    (void)!brg_service_feed(s, &ev);
}

/* ---- what members say ---- */

/* An event from the worker that has this connection; 0 where it is not the member's present one. */
static int member_event(struct brg_service *s, const struct brg_inbound *in,
                        struct brg_coord_event *ev) {
    const uint32_t slot = brg_members_find(&s->core.members, in->key.bytes);
    if (slot == BRG_NOBODY) return 0; /* a key that nobody knows may say only Hello */
    struct brg_service_member *member = &s->members[slot];
    member->heard_ns = s->now_ns;
    ev->member = slot;
    ev->epoch = s->msg.epoch;
    const int known =
        brg_peer_equal(&in->peer, &member->control) || brg_peer_equal(&in->peer, &member->bulk);
    if (known) {
        ev->session = member->session;
        return 1;
    }
    /* Its line broke and came back, or we are a new incarnation: it has to attach again. */
    struct brg_msg *m = &s->reply;
    memset(m, 0, sizeof *m);
    m->type = BRG_MSG_REHELLO;
    if (s->core.members.items[slot].state != BRG_MEMBER_REVOKED) brg_service_send(s, &in->peer, m);
    return 0;
}

/* The losses of a Done, once for each chunk: whoever reports first is believed, as the shares of a
 * chunk are the same bits. errors: BRG_EPROTO a chunk or count that cannot be */
static int take_losses(struct brg_service *s, const struct brg_msg_done *m) {
    if (s->run == NULL || m->run != s->core.rounds.plan.run ||
        !brg_rounds_is_open(&s->core.rounds, m->step)) {
        return BRG_OK;
    }
    const uint64_t slot = m->step % BRG_JOBS_MAX;
    const uint32_t chunks = s->run->config.run.batch.chunks;
    for (uint32_t i = 0; i < m->loss_count; i++) {
        if (m->losses[i].chunk >= chunks) return BRG_EPROTO;
        if (m->losses[i].count != brg_openrun_chunk_targets(s->run, m->losses[i].chunk)) {
            return BRG_EPROTO;
        }
    }
    for (uint32_t i = 0; i < m->loss_count; i++) {
        const uint32_t chunk = m->losses[i].chunk;
        if (s->chunk_losses[slot][chunk].step == m->step) continue;
        s->chunk_losses[slot][chunk].step = m->step;
        s->chunk_losses[slot][chunk].loss = m->losses[i].loss;
    }
    return BRG_OK;
}

static int on_done(struct brg_service *s, struct brg_coord_event *ev) {
    const struct brg_msg_done *m = &s->msg.done;
    ev->type = BRG_EV_DONE;
    ev->run = m->run;
    ev->step = m->step;
    ev->unit = m->unit;
    ev->since = m->since;
    ev->digest = m->digest;
    ev->bytes = m->share_bytes;
    if (s->run != NULL && m->run == s->run->config.id &&
        m->share_bytes != s->run->param_count * sizeof(float)) {
        return BRG_EPROTO;
    }
    s->members[ev->member].tasks_done++;
    const int rc = take_losses(s, m);
    return rc == BRG_OK ? brg_service_feed(s, ev) : rc;
}

static int on_control(struct brg_service *s, struct brg_coord_event *ev) {
    switch (s->msg.type) {
    case BRG_MSG_BEAT:
        ev->type = BRG_EV_BEAT;
        ev->run = s->msg.beat.run;
        ev->step = s->msg.beat.step;
        ev->unit = s->msg.beat.run != 0 && s->msg.beat.step != 0 ? s->msg.beat.unit : BRG_NO_UNIT;
        break;
    case BRG_MSG_DONE: return on_done(s, ev);
    case BRG_MSG_FAULT:
        ev->type = BRG_EV_FAULT;
        ev->run = s->msg.fault.run;
        ev->step = s->msg.fault.step;
        ev->unit = s->msg.fault.unit;
        ev->code = s->msg.fault.code;
        if (ev->code != BRG_ENOENT) {
            brg_log_warn("worker",
                         BRG_FIELDS(BRG_STR("worker", s->members[ev->member].record.name)),
                         "cannot do its task: %s", s->msg.fault.text);
        }
        break;
    case BRG_MSG_DRAIN: ev->type = BRG_EV_DRAIN; break;
    case BRG_MSG_BYE: ev->type = BRG_EV_BYE; break;
    default: return BRG_EPROTO;
    }
    return brg_service_feed(s, ev);
}

/* ---- bulk ---- */

static void on_attach(struct brg_service *s, const struct brg_inbound *in) {
    const uint32_t slot = brg_members_find(&s->core.members, in->key.bytes);
    if (slot == BRG_NOBODY || s->members[slot].session != s->msg.attach.session) return;
    s->members[slot].bulk = in->peer;
    s->members[slot].heard_ns = s->now_ns;
    brg_service_shares_reconnected(s, slot);
    brg_line_reconnected(s, slot);
}

static void say_gone(struct brg_service *s, const struct brg_peer *to, const char *text) {
    struct brg_msg *m = &s->reply;
    memset(m, 0, sizeof *m);
    m->type = BRG_MSG_GONE;
    m->gone.object = s->msg.get.object;
    brg_text_set(m->gone.text, "%s", text);
    brg_service_send(s, to, m);
}

void brg_service_send_part(struct brg_service *s, const struct brg_peer *to,
                           const struct brg_source *source, struct brg_bytes bytes) {
    struct brg_frame frame;
    brg_frame_init(&frame);
    s->reply.epoch = s->core.epoch;
    struct brg_buffer *hold = brg_buffer_hold(source->buffer);
    /* ZeroMQ takes a pointer to bytes that it may change; it does not. */
    union {
        const void *constant;
        void *plain;
    } data = {.constant = bytes.data};
    if (brg_frame_wrap(&frame, data.plain, bytes.size_bytes, brg_buffer_release_sent, hold) !=
        BRG_OK) {
        brg_buffer_release(hold);
        return; /* out of memory for now: the worker asks again */
    }
    /* A full queue or a broken line: the part is dropped, and the worker asks again. */
    (void)!brg_socket_send_msg(s->socket, to, &s->reply, &frame);
    brg_frame_close(&frame);
}

/* Sends one part, straight from the buffer; one hold goes with the message. */
static int on_get(struct brg_service *s, const struct brg_inbound *in) {
    const struct brg_msg_get *get = &s->msg.get;
    struct brg_bytes bytes;
    struct brg_source *source = NULL;
    if (s->run != NULL && get->object.kind == BRG_OBJECT_PARAMS) {
        source = &s->params[get->object.step % s->run->config.run.models];
    }
    if (s->run != NULL && get->object.kind == BRG_OBJECT_DATA) source = &s->run->blob;
    int rc = source == NULL ? BRG_ENOENT : brg_source_part(source, get, &s->reply, &bytes);
    if (rc == BRG_ENOENT) {
        say_gone(s, &in->peer, "the coordinator does not hold this now");
        return BRG_OK;
    }
    if (rc != BRG_OK) return rc;
    brg_service_send_part(s, &in->peer, source, bytes);
    return BRG_OK;
}

static int on_part(struct brg_service *s, const struct brg_inbound *in, uint32_t member) {
    const struct brg_object *object = &s->msg.part.object;
    if (object->kind != BRG_OBJECT_SHARE || object->unit >= BRG_SCHEME_UNITS_MAX) {
        return BRG_EPROTO;
    }
    struct brg_service_share *share = brg_service_share(s, object->step, object->unit);
    if (s->run == NULL || share->member != member) return BRG_OK; /* of a fetch given up */
    const int rc =
        brg_fetch_on_part(&share->fetch, &s->msg, brg_frame_bytes(&in->frames[1]), s->now_ns);
    if (rc == BRG_ENOENT) return BRG_OK;
    if (rc == BRG_OK && brg_fetch_is_done(&share->fetch)) brg_service_verify_share(s, share);
    return rc;
}

static int on_gone(struct brg_service *s, struct brg_coord_event *ev) {
    const struct brg_object *object = &s->msg.gone.object;
    if (object->kind != BRG_OBJECT_SHARE || object->unit >= BRG_SCHEME_UNITS_MAX) return BRG_EPROTO;
    struct brg_service_share *share = brg_service_share(s, object->step, object->unit);
    if (share->member != ev->member || !brg_fetch_is_about(&share->fetch, object)) return BRG_OK;
    brg_fetch_drop(&share->fetch);
    ev->type = BRG_EV_SHARE;
    ev->run = object->run;
    ev->step = object->step;
    ev->unit = object->unit;
    ev->code = BRG_ENOENT;
    return brg_service_feed(s, ev);
}

static int on_bulk(struct brg_service *s, const struct brg_inbound *in,
                   struct brg_coord_event *ev) {
    int is_mine = 0;
    if (s->msg.epoch != s->core.epoch) return BRG_OK; /* its next beat brings it here */
    const int rc = brg_line_bulk(s, in, ev->member, &is_mine);
    if (is_mine) return rc;
    switch (s->msg.type) {
    case BRG_MSG_GET: return on_get(s, in);
    case BRG_MSG_PART: return on_part(s, in, ev->member);
    case BRG_MSG_GONE: return on_gone(s, ev);
    default: return BRG_EPROTO;
    }
}

/* ---- all ---- */

static int dispatch(struct brg_service *s, const struct brg_inbound *in) {
    struct brg_coord_event ev = {.type = 0};
    switch (s->msg.type) {
    case BRG_MSG_HELLO: on_hello(s, in); return BRG_OK;
    case BRG_MSG_ATTACH: on_attach(s, in); return BRG_OK;
    case BRG_MSG_OPERATE: brg_service_operate(s, in); return BRG_OK;
    case BRG_MSG_GET:
    case BRG_MSG_PART:
    case BRG_MSG_GONE: return member_event(s, in, &ev) ? on_bulk(s, in, &ev) : BRG_OK;
    case BRG_MSG_BEAT:
    case BRG_MSG_DONE:
    case BRG_MSG_DRAIN:
    case BRG_MSG_BYE:
    case BRG_MSG_FAULT: return member_event(s, in, &ev) ? on_control(s, &ev) : BRG_OK;
    case BRG_MSG_HOLDING:
    case BRG_MSG_PLACED:
    case BRG_MSG_READY:
    case BRG_MSG_LOST_PEER:
    case BRG_MSG_FETCH_FAILED:
    case BRG_MSG_LEARNED:
    case BRG_MSG_KEPT:
    case BRG_MSG_EVALUATED:
        return member_event(s, in, &ev) ? brg_line_control(s, ev.member) : BRG_OK;
    default: return BRG_EPROTO; /* what only a coordinator says */
    }
}

void brg_service_receive(struct brg_service *s) {
    for (uint32_t i = 0; i < BRG_TURN_MESSAGES_MAX; i++) {
        struct brg_inbound in;
        const char *why = NULL;
        int rc = brg_socket_receive_msg(s->socket, &in, &s->msg, &why);
        if (rc == BRG_ENOENT) return;
        if (rc == BRG_EIO) {
            brg_service_fail(s, BRG_EXIT_TEMPORARY, "the listening socket broke: start it again");
            return;
        }
        if (rc == BRG_OK) {
            rc = dispatch(s, &in);
            brg_inbound_release(&in);
            if (rc == BRG_EPROTO) penalise(s, &in.key, brg_msg_name(s->msg.type));
        } else if (rc == BRG_EPROTO || rc == BRG_ENOMEM) {
            penalise(s, &in.key, why);
        } /* BRG_EPERM: dropped below already */
    }
}
