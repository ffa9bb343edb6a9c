/* peer_serve.c - what others fetch from here: offered objects, Gets that wait for them, Gone. */
#include "worker/shell/peer_private.h"

#include <string.h>

#include "base/log.h"

static struct brg_source *find_object(struct brg_peers *p, const struct brg_object *object) {
    for (uint32_t i = 0; i < BRG_PEER_OBJECTS_MAX; i++) {
        struct brg_source *s = &p->objects[i];
        if (s->buffer != NULL && brg_object_equal(&s->object, object)) return s;
    }
    return NULL;
}

static void drop_object(struct brg_peers *p, struct brg_source *s) {
    BRG_ASSERT(p->object_bytes >= s->size_bytes);
    p->object_bytes -= s->size_bytes;
    brg_source_fini(s);
}

/* Why `object` will never be held here, or NULL where it may be some day. */
static const char *never(const struct brg_peers *p, const struct brg_object *object) {
    if (object->run != p->run) return "this worker does not work on that run";
    if (object->kind == BRG_OBJECT_STATE) return NULL; /* a version may be made yet */
    if (object->generation < p->generation) return "that placement is over";
    if (object->generation == p->generation && object->step < p->floor) return "that step is over";
    return NULL; /* of a placement that has not reached us yet, perhaps */
}

/* p->out goes to who asked. errors: as brg_socket_send_msg */
static int answer(struct brg_peers *p, const struct brg_peer_parked *k, struct brg_frame *frame) {
    p->out.epoch = p->epoch;
    if (!k->is_relayed) return brg_socket_send_msg(p->server, &k->to, &p->out, frame);
    if (p->relay == NULL) return BRG_ENOENT;
    const int rc = brg_socket_send_msg(p->relay, NULL, &p->out, frame);
    if (rc == BRG_OK) p->stats.relayed++;
    return rc;
}

static uint32_t peer_field(const struct brg_peers *p, const struct brg_peer_parked *k) {
    return k->is_relayed ? p->links[k->link].at.member + 1 : 0;
}

static void say_gone(struct brg_peers *p, const struct brg_peer_parked *k, const char *text) {
    p->out.type = BRG_MSG_GONE;
    p->out.tensor_count = 0;
    memset(&p->out.gone, 0, sizeof p->out.gone);
    p->out.gone.object = k->get.object;
    p->out.gone.peer = peer_field(p, k);
    brg_text_set(p->out.gone.text, "%s", text);
    /* One that is lost is asked for again, and then answered again. */
    if (answer(p, k, NULL) == BRG_OK) p->stats.gone++;
}

/* Sends the part. errors: BRG_EFULL the queue is full: later; others: it is of no use any more */
static int send_part(struct brg_peers *p, struct brg_source *source,
                     const struct brg_peer_parked *k) {
    struct brg_bytes bytes;
    struct brg_frame frame;
    int rc = brg_source_part(source, &k->get, &p->out, &bytes);
    if (rc != BRG_OK) {
        brg_peer_fault(p, k->link, "a Get past the end of its object");
        return rc;
    }
    p->out.part.peer = peer_field(p, k);
    struct brg_buffer *hold = brg_buffer_hold(source->buffer);
    rc = brg_frame_wrap(&frame, (uint8_t *)source->buffer->data + k->get.offset, bytes.size_bytes,
                        brg_buffer_release_sent, hold);
    if (rc != BRG_OK) {
        brg_buffer_release(hold);
        return rc;
    }
    rc = answer(p, k, &frame);
    brg_frame_close(&frame);
    if (rc == BRG_OK) p->stats.sent_bytes += bytes.size_bytes;
    return rc;
}

/* The place of the same Get that came before, or a free one within the bounds, or NULL. */
static struct brg_peer_parked *place_for(struct brg_peers *p, uint32_t link,
                                         const struct brg_msg_get *get) {
    struct brg_peer_parked *free_place = NULL;
    uint32_t of_link = 0;
    for (uint32_t i = 0; i < BRG_PEER_PARKED_MAX; i++) {
        struct brg_peer_parked *k = &p->parked[i];
        if (!k->is_used) {
            free_place = free_place == NULL ? k : free_place;
            continue;
        }
        if (k->link != link) continue;
        if (k->get.offset == get->offset && brg_object_equal(&k->get.object, &get->object))
            return k; /* asked again: the newer connection and length count */
        of_link++;
    }
    return of_link < BRG_PEER_PARKED_EACH_MAX ? free_place : NULL;
}

void brg_peer_on_get(struct brg_peers *p, uint32_t link, const struct brg_peer *to,
                     const struct brg_msg_get *get) {
    struct brg_peer_parked k = {.is_used = 1, .link = link, .is_relayed = to == NULL, .get = *get};
    if (to != NULL) k.to = *to;
    if (get->object.kind < BRG_OBJECT_ACT) {
        brg_peer_fault(p, link, "a Get of what workers do not fetch from each other");
        say_gone(p, &k, "workers do not hold this for each other");
        return;
    }
    struct brg_source *source = find_object(p, &get->object);
    if (source == NULL && never(p, &get->object) != NULL) {
        say_gone(p, &k, never(p, &get->object));
        return;
    }
    if (source != NULL && send_part(p, source, &k) != BRG_EFULL) return;
    struct brg_peer_parked *place = place_for(p, link, get);
    if (place == NULL) {
        p->stats.parked_full++;
        return;
    }
    k.until_ns = p->now_ns + p->config.park_ns;
    if (source != NULL) p->is_blocked = 1;
    if (source == NULL && !place->is_used) p->stats.parked++;
    *place = k;
}

void brg_peer_serve_parked(struct brg_peers *p) {
    p->is_blocked = 0;
    for (uint32_t i = 0; i < BRG_PEER_PARKED_MAX; i++) {
        struct brg_peer_parked *k = &p->parked[i];
        if (!k->is_used) continue;
        struct brg_source *source = find_object(p, &k->get.object);
        if (source != NULL) {
            if (send_part(p, source, k) == BRG_EFULL && p->now_ns < k->until_ns)
                p->is_blocked = 1;
            else
                k->is_used = 0; /* sent, or who asked is gone and asks again when it is back */
        } else if (p->now_ns >= k->until_ns) {
            p->stats.expired++;
            k->is_used = 0;
        }
    }
}

void brg_peer_sweep(struct brg_peers *p) {
    for (uint32_t i = 0; i < BRG_PEER_OBJECTS_MAX; i++) {
        struct brg_source *s = &p->objects[i];
        if (s->buffer != NULL && never(p, &s->object) != NULL) drop_object(p, s);
    }
    for (uint32_t i = 0; i < BRG_PEER_PARKED_MAX; i++) {
        struct brg_peer_parked *k = &p->parked[i];
        const char *text = k->is_used ? never(p, &k->get.object) : NULL;
        if (text == NULL) continue;
        say_gone(p, k, text);
        k->is_used = 0;
    }
}

int brg_peers_offer(struct brg_peers *p, struct brg_source *source, uint64_t now_ns) {
    struct brg_source *place = NULL;
    BRG_ASSERT(source->buffer != NULL);
    BRG_ASSERT(source->object.kind >= BRG_OBJECT_ACT);
    if (!brg_peer_is_ours(p, &source->object)) return BRG_ENOENT;
    if (find_object(p, &source->object) != NULL) return BRG_EEXIST;
    for (uint32_t i = 0; i < BRG_PEER_OBJECTS_MAX && place == NULL; i++)
        if (p->objects[i].buffer == NULL) place = &p->objects[i];
    if (place == NULL || source->size_bytes > p->config.bytes_max - p->object_bytes)
        return BRG_EFULL;
    *place = *source;
    memset(source, 0, sizeof *source);
    p->object_bytes += place->size_bytes;
    p->now_ns = now_ns;
    brg_peer_serve_parked(p);
    return BRG_OK;
}

void brg_peers_retract(struct brg_peers *p, const struct brg_object *object) {
    struct brg_source *s = find_object(p, object);
    if (s != NULL) drop_object(p, s);
}

void brg_peers_withdraw(struct brg_peers *p, const struct brg_object *object, const char *text) {
    struct brg_source *s = find_object(p, object);
    if (s != NULL) drop_object(p, s);
    for (uint32_t i = 0; i < BRG_PEER_PARKED_MAX; i++) {
        struct brg_peer_parked *k = &p->parked[i];
        if (!k->is_used || !brg_object_equal(&k->get.object, object)) continue;
        say_gone(p, k, text);
        k->is_used = 0;
    }
}

void brg_peers_floor(struct brg_peers *p, uint64_t step) {
    BRG_ASSERT(step >= p->floor);
    p->floor = step;
    brg_peer_sweep(p);
}
