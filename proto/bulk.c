#include "proto/bulk.h"

#include <string.h>

int brg_object_equal(const struct brg_object *a, const struct brg_object *b) {
    return a->kind == b->kind && a->run == b->run && a->step == b->step && a->unit == b->unit &&
           a->microbatch == b->microbatch && a->generation == b->generation &&
           brg_digest_equal(&a->digest, &b->digest);
}

static uint64_t parts_of(uint64_t size_bytes, uint64_t part_bytes) {
    return (size_bytes + part_bytes - 1) / part_bytes;
}

/* ---- who wants it ---- */

static uint32_t slot_of(const struct brg_fetch *f, uint64_t part) {
    return (uint32_t)(part % f->config.window);
}

/* The first part behind the window. */
static uint64_t window_end(const struct brg_fetch *f) {
    const uint64_t left = f->part_count - f->first;
    return f->first + (left < f->config.window ? left : f->config.window);
}

static uint64_t length_of(const struct brg_fetch *f, uint64_t part) {
    const uint64_t left = f->size_bytes - part * f->config.part_bytes;
    return left < f->config.part_bytes ? left : f->config.part_bytes;
}

void brg_fetch_start(struct brg_fetch *f, const struct brg_object *object,
                     struct brg_buffer *buffer, uint64_t size_bytes,
                     const struct brg_fetch_config *config, uint64_t now_ns) {
    BRG_ASSERT(!brg_fetch_is_active(f));
    BRG_ASSERT(size_bytes > 0 && size_bytes <= buffer->size_bytes);
    BRG_ASSERT(config->retry_ns > 0 && config->idle_ns > 0);
    BRG_ASSERT(config->part_bytes > 0 && config->part_bytes <= BRG_PART_BYTES_MAX);
    BRG_ASSERT(config->window > 0 && config->window <= BRG_BULK_WINDOW_MAX);
    memset(f, 0, sizeof *f);
    f->config = *config;
    f->object = *object;
    f->buffer = buffer;
    f->size_bytes = size_bytes;
    f->part_count = parts_of(size_bytes, config->part_bytes);
    f->heard_ns = now_ns;
}

int brg_fetch_is_active(const struct brg_fetch *f) {
    return f->buffer != NULL;
}

int brg_fetch_is_about(const struct brg_fetch *f, const struct brg_object *object) {
    return brg_fetch_is_active(f) && brg_object_equal(&f->object, object);
}

/* When a part asked for counts as lost. As long as others come the link is only slow: the
 * connection keeps the order, so a lost part shows by the window standing still. */
static uint64_t lost_ns(const struct brg_fetch *f, uint32_t slot) {
    const uint64_t from_ns = f->asked_ns[slot] > f->heard_ns ? f->asked_ns[slot] : f->heard_ns;
    return from_ns + f->config.retry_ns;
}

int brg_fetch_next_get(struct brg_fetch *f, uint64_t now_ns, struct brg_msg_get *get) {
    if (!brg_fetch_is_active(f)) return 0;
    for (uint64_t part = f->first; part < window_end(f); part++) {
        const uint32_t slot = slot_of(f, part);
        if (f->state[slot] == BRG_PART_HERE) continue;
        if (f->state[slot] == BRG_PART_ASKED && now_ns < lost_ns(f, slot)) continue;
        f->state[slot] = BRG_PART_ASKED;
        f->asked_ns[slot] = now_ns;
        *get = (struct brg_msg_get){.object = f->object,
                                    .offset = part * f->config.part_bytes,
                                    .length = length_of(f, part)};
        return 1;
    }
    return 0;
}

uint64_t brg_fetch_wake_ns(const struct brg_fetch *f) {
    if (!brg_fetch_is_active(f) || brg_fetch_is_done(f)) return UINT64_MAX;
    uint64_t wake_ns = f->heard_ns + f->config.idle_ns;
    for (uint64_t part = f->first; part < window_end(f); part++) {
        const uint32_t slot = slot_of(f, part);
        if (f->state[slot] == BRG_PART_WANTED) return 0; /* at once */
        if (f->state[slot] != BRG_PART_ASKED) continue;
        if (lost_ns(f, slot) < wake_ns) wake_ns = lost_ns(f, slot);
    }
    return wake_ns;
}

/* Moves the window over what is here. */
static void slide(struct brg_fetch *f) {
    while (f->first < f->part_count && f->state[slot_of(f, f->first)] == BRG_PART_HERE) {
        f->state[slot_of(f, f->first)] = BRG_PART_WANTED; /* of the part that comes in behind */
        f->first++;
    }
}

int brg_fetch_on_part(struct brg_fetch *f, const struct brg_msg *msg, struct brg_bytes bytes,
                      uint64_t now_ns) {
    const struct brg_msg_part *part = &msg->part;
    BRG_ASSERT(msg->type == BRG_MSG_PART);
    if (!brg_fetch_is_about(f, &part->object)) return BRG_ENOENT;
    if (msg->tensor_count != 1 || part->total != f->size_bytes) return BRG_EPROTO;
    if (part->offset >= f->size_bytes || part->offset % f->config.part_bytes != 0) {
        return BRG_EPROTO;
    }
    const uint64_t index = part->offset / f->config.part_bytes;
    if (bytes.size_bytes != length_of(f, index)) return BRG_EPROTO;
    if (index >= window_end(f)) return BRG_EPROTO; /* nobody asked for it */
    if (index < f->first || f->state[slot_of(f, index)] == BRG_PART_HERE) return BRG_OK;
    if (f->config.verify_parts && brg_wire_verify_tensor(&msg->tensors[0], bytes) != BRG_OK) {
        return BRG_EPROTO;
    }
    memcpy((uint8_t *)f->buffer->data + part->offset, bytes.data, bytes.size_bytes);
    f->state[slot_of(f, index)] = BRG_PART_HERE;
    f->here_bytes += bytes.size_bytes;
    f->heard_ns = now_ns;
    slide(f);
    BRG_ASSERT(f->here_bytes <= f->size_bytes);
    return BRG_OK;
}

int brg_fetch_is_done(const struct brg_fetch *f) {
    return brg_fetch_is_active(f) && f->first == f->part_count;
}

int brg_fetch_is_stuck(const struct brg_fetch *f, uint64_t now_ns) {
    if (!brg_fetch_is_active(f) || brg_fetch_is_done(f)) return 0;
    return now_ns >= f->heard_ns + f->config.idle_ns;
}

void brg_fetch_reconnected(struct brg_fetch *f, uint64_t now_ns) {
    if (!brg_fetch_is_active(f)) return;
    f->heard_ns = now_ns;
    for (uint32_t i = 0; i < f->config.window; i++) {
        if (f->state[i] == BRG_PART_ASKED) f->state[i] = BRG_PART_WANTED;
    }
}

struct brg_buffer *brg_fetch_take(struct brg_fetch *f) {
    BRG_ASSERT(brg_fetch_is_done(f));
    BRG_ASSERT(f->here_bytes == f->size_bytes);
    struct brg_buffer *buffer = f->buffer;
    memset(f, 0, sizeof *f);
    return buffer;
}

void brg_fetch_drop(struct brg_fetch *f) {
    brg_buffer_release(f->buffer);
    memset(f, 0, sizeof *f);
}

/* ---- who has it ---- */

static struct brg_digest *digests_of(const struct brg_source *s) {
    return s->table->data;
}

static uint8_t *made_of(const struct brg_source *s) {
    return (uint8_t *)s->table->data + s->part_count * sizeof(struct brg_digest);
}

int brg_source_init(struct brg_source *s, struct brg_pool *pool, const struct brg_object *object,
                    struct brg_buffer *buffer, uint64_t size_bytes) {
    BRG_ASSERT(size_bytes > 0 && size_bytes <= buffer->size_bytes);
    memset(s, 0, sizeof *s);
    const uint64_t parts = parts_of(size_bytes, BRG_BULK_PART_BYTES);
    const int rc = brg_pool_get(pool, parts * (sizeof(struct brg_digest) + 1), &s->table);
    if (rc != BRG_OK) return rc;
    s->object = *object;
    s->buffer = brg_buffer_hold(buffer);
    s->size_bytes = size_bytes;
    s->part_count = parts;
    memset(made_of(s), 0, parts);
    return BRG_OK;
}

static uint64_t source_length(const struct brg_source *s, uint64_t offset, uint64_t length) {
    return length < s->size_bytes - offset ? length : s->size_bytes - offset;
}

/* The digest of part `part`, made if it is not yet. */
static const struct brg_digest *digest_at(struct brg_source *s, uint64_t part) {
    BRG_ASSERT(part < s->part_count);
    if (!made_of(s)[part]) {
        const uint64_t offset = part * BRG_BULK_PART_BYTES;
        brg_digest_of((const uint8_t *)s->buffer->data + offset,
                      source_length(s, offset, BRG_BULK_PART_BYTES), &digests_of(s)[part]);
        made_of(s)[part] = 1;
    }
    return &digests_of(s)[part];
}

void brg_source_digest(struct brg_source *s) {
    for (uint64_t part = 0; part < s->part_count; part++) (void)digest_at(s, part);
}

int brg_source_part(struct brg_source *s, const struct brg_msg_get *get, struct brg_msg *msg,
                    struct brg_bytes *bytes) {
    BRG_ASSERT(get->length > 0 && get->length <= BRG_PART_BYTES_MAX);
    if (s->buffer == NULL || !brg_object_equal(&s->object, &get->object)) return BRG_ENOENT;
    if (get->offset >= s->size_bytes) return BRG_EPROTO;
    const uint64_t length = source_length(s, get->offset, get->length);
    const uint64_t part = get->offset / BRG_BULK_PART_BYTES;

    bytes->data = (const uint8_t *)s->buffer->data + get->offset;
    bytes->size_bytes = length;
    msg->type = BRG_MSG_PART;
    msg->tensor_count = 1;
    msg->tensors[0].dtype = BRG_DTYPE_BYTES;
    msg->tensors[0].elements = length;
    if (get->offset % BRG_BULK_PART_BYTES == 0 &&
        length == source_length(s, get->offset, BRG_BULK_PART_BYTES)) {
        msg->tensors[0].digest = *digest_at(s, part);
    } else {
        brg_digest_of(bytes->data, length, &msg->tensors[0].digest);
    }
    msg->part =
        (struct brg_msg_part){.object = s->object, .offset = get->offset, .total = s->size_bytes};
    return BRG_OK;
}

void brg_source_fini(struct brg_source *s) {
    brg_buffer_release(s->buffer);
    brg_buffer_release(s->table);
    memset(s, 0, sizeof *s);
}
