#include "coordinator/shell/relay.h"

#include <string.h>

#include "proto/bulk.h"

/* What a member has asked for and not got. length 0: a free place. */
struct asked {
    struct brg_object object;
    uint64_t offset, length;
    uint64_t until_ns;
    uint32_t holder;
};

struct seat {
    uint32_t member;
    uint64_t bytes;      /* sum of the lengths below */
    struct asked *asked; /* [BRG_RELAY_GETS_MAX], made with the first Get; NULL before */
};

struct brg_relay {
    uint64_t expire_ns;
    uint64_t run;
    uint32_t count;
    struct seat seats[BRG_RELAY_MEMBERS_MAX]; /* [count] */
    struct brg_relay_stats stats;
};

int brg_relay_create(uint64_t expire_ns, struct brg_relay **out) {
    BRG_ASSERT(expire_ns > 0);
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return BRG_ENOMEM;
    (*out)->expire_ns = expire_ns;
    return BRG_OK;
}

void brg_relay_destroy(struct brg_relay **relay) {
    struct brg_relay *r = *relay;
    if (r == NULL) return;
    for (uint32_t i = 0; i < r->count; i++) free(r->seats[i].asked);
    free(r);
    *relay = NULL;
}

static struct seat *seat_of(struct brg_relay *r, uint32_t member) {
    for (uint32_t i = 0; i < r->count; i++)
        if (r->seats[i].member == member) return &r->seats[i];
    return NULL;
}

int brg_relay_place(struct brg_relay *r, uint64_t run, const uint32_t *members, uint32_t count) {
    if (count > BRG_RELAY_MEMBERS_MAX) return BRG_EFULL;
    BRG_ASSERT(run != 0 || count == 0);
    /* All that was asked for is of the old placement: who still wants it asks again. */
    for (uint32_t i = 0; i < r->count; i++) free(r->seats[i].asked);
    memset(r->seats, 0, sizeof r->seats);
    r->count = 0;
    r->run = run;
    for (uint32_t i = 0; i < count; i++) {
        BRG_ASSERT(seat_of(r, members[i]) == NULL);
        r->seats[r->count++].member = members[i];
    }
    return BRG_OK;
}

static void forget(struct seat *s, struct asked *a) {
    BRG_ASSERT(s->bytes >= a->length);
    s->bytes -= a->length;
    memset(a, 0, sizeof *a);
}

/* The place for a Get: that of the same one before, or a free one; what is too old makes room. */
static struct asked *place_for(struct seat *s, const struct brg_msg_get *get, uint32_t holder,
                               uint64_t now_ns) {
    struct asked *free_place = NULL;
    for (uint32_t i = 0; i < BRG_RELAY_GETS_MAX; i++) {
        struct asked *a = &s->asked[i];
        const int is_same = a->length != 0 && a->holder == holder && a->offset == get->offset &&
                            brg_object_equal(&a->object, &get->object);
        if (a->length != 0 && (is_same || now_ns >= a->until_ns)) forget(s, a);
        if (a->length == 0 && free_place == NULL) free_place = a;
    }
    return free_place;
}

static int pass_get(struct brg_relay *r, uint32_t from, struct brg_msg_get *get, uint64_t now_ns,
                    uint32_t *to) {
    struct seat *s = seat_of(r, from);
    const uint32_t holder = get->peer - 1;
    if (s == NULL || get->object.run != r->run || get->object.kind < BRG_OBJECT_ACT ||
        holder == from || seat_of(r, holder) == NULL) {
        r->stats.refused_outside++;
        return BRG_EPERM;
    }
    if (s->asked == NULL) s->asked = calloc(BRG_RELAY_GETS_MAX, sizeof *s->asked);
    struct asked *a = s->asked != NULL ? place_for(s, get, holder, now_ns) : NULL;
    if (a == NULL || get->length > BRG_RELAY_BYTES_MAX - s->bytes) {
        r->stats.refused_full++;
        return BRG_EFULL;
    }
    *a = (struct asked){.object = get->object,
                        .offset = get->offset,
                        .length = get->length,
                        .until_ns = now_ns + r->expire_ns,
                        .holder = holder};
    s->bytes += a->length;
    r->stats.gets++;
    get->peer = from + 1;
    *to = holder;
    return BRG_OK;
}

/* Takes away what `s` has asked `holder` for: this part of the object, or (is_gone) all parts.
 * out: 1 where there was such */
static int settle(struct seat *s, uint32_t holder, const struct brg_object *object, int is_gone,
                  uint64_t offset, uint64_t length) {
    int was_asked = 0;
    for (uint32_t i = 0; i < BRG_RELAY_GETS_MAX && s->asked != NULL; i++) {
        struct asked *a = &s->asked[i];
        if (a->length == 0 || a->holder != holder || !brg_object_equal(&a->object, object))
            continue;
        if (!is_gone && (a->offset != offset || length > a->length)) continue;
        forget(s, a);
        was_asked = 1;
    }
    return was_asked;
}

static int pass_answer(struct brg_relay *r, uint32_t from, struct brg_msg *msg, uint32_t *to) {
    const int is_gone = msg->type == BRG_MSG_GONE;
    const struct brg_object *object = is_gone ? &msg->gone.object : &msg->part.object;
    const uint32_t asker = (is_gone ? msg->gone.peer : msg->part.peer) - 1;
    const uint64_t length = is_gone ? 0 : msg->tensors[0].elements;
    struct seat *s = seat_of(r, asker);
    if (s == NULL || seat_of(r, from) == NULL) {
        r->stats.refused_outside++;
        return BRG_EPERM;
    }
    if (!settle(s, from, object, is_gone, is_gone ? 0 : msg->part.offset, length)) {
        r->stats.refused_unasked++;
        return BRG_EPERM;
    }
    if (is_gone) {
        msg->gone.peer = from + 1;
        r->stats.gones++;
    } else {
        msg->part.peer = from + 1;
        r->stats.parts++;
        r->stats.bytes += length;
    }
    *to = asker;
    return BRG_OK;
}

int brg_relay_pass(struct brg_relay *r, uint32_t from, struct brg_msg *msg, uint64_t now_ns,
                   uint32_t *to) {
    BRG_ASSERT(msg->type == BRG_MSG_GET || msg->type == BRG_MSG_PART || msg->type == BRG_MSG_GONE);
    if (msg->type == BRG_MSG_GET) return pass_get(r, from, &msg->get, now_ns, to);
    return pass_answer(r, from, msg, to);
}

void brg_relay_stats_read(const struct brg_relay *r, struct brg_relay_stats *out) {
    *out = r->stats;
}
