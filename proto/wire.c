#include "proto/wire_private.h"

#include "base/arena.h"

#include <string.h>

#define SCRATCH_ALIGN 16u

/* Unpacking takes its memory from here and nowhere else. */
struct budget {
    struct brg_arena arena;
    int is_spent; /* 1 once a request did not fit */
};

static void *budget_alloc(void *data, size_t size_bytes) {
    struct budget *budget = data;
    void *p = brg_arena_alloc(&budget->arena, size_bytes, SCRATCH_ALIGN);
    if (p == NULL) budget->is_spent = 1;
    return p;
}

/* The arena goes as a whole: memory freed in between still counts, which only makes it stricter. */
static void budget_free(void *data, void *p) {
    (void)data;
    (void)p;
}

int brg_wire_pack(const struct brg_msg *msg, void *buffer, size_t cap_bytes, size_t *size_bytes) {
    struct brg_wire_filled filled; /* 28 KiB; fill sets what is used */

    if (brg_wire_check(msg) != NULL) return BRG_EINVAL;
    brg_wire_fill(msg, &filled);
    /* pack writes without a bound: the size comes first. */
    const size_t need_bytes = brg__pb__envelope__get_packed_size(&filled.envelope);
    if (need_bytes > cap_bytes || need_bytes > BRG_ENVELOPE_BYTES_MAX) return BRG_ENOMEM;
    const size_t written_bytes = brg__pb__envelope__pack(&filled.envelope, buffer);
    BRG_ASSERT(written_bytes == need_bytes);
    *size_bytes = written_bytes;
    return BRG_OK;
}

int brg_wire_unpack(const void *frame, size_t size_bytes, void *scratch, size_t scratch_bytes,
                    struct brg_msg *out, const char **why) {
    const char *unused;
    const char **reason = why != NULL ? why : &unused;
    struct budget budget = {.is_spent = 0};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};

    BRG_ASSERT(scratch_bytes >= BRG_WIRE_SCRATCH_BYTES);
    BRG_ASSERT((uintptr_t)scratch % SCRATCH_ALIGN == 0);
    if (size_bytes == 0 || size_bytes > BRG_ENVELOPE_BYTES_MAX) {
        *reason = "the envelope is empty or longer than 1 MiB";
        return BRG_EPROTO;
    }
    /* The message is built beside `out`, so that a refused one leaves `out` as it was. */
    struct brg_msg *taken = scratch;
    const size_t taken_bytes = (sizeof *taken + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    brg_arena_init(&budget.arena, (uint8_t *)scratch + taken_bytes,
                   size_bytes * BRG_WIRE_BUDGET_FACTOR + BRG_WIRE_BUDGET_BASE);

    const Brg__Pb__Envelope *envelope =
        brg__pb__envelope__unpack(&allocator, size_bytes, (const uint8_t *)frame);
    if (envelope == NULL) {
        *reason = budget.is_spent ? "the message unpacks to more than its budget"
                                  : "the bytes are no envelope of this protocol";
        return budget.is_spent ? BRG_ENOMEM : BRG_EPROTO;
    }
    memset(taken, 0, sizeof *taken);
    const char *refused = brg_wire_take(envelope, taken);
    if (refused == NULL) refused = brg_wire_check(taken);
    if (refused != NULL) {
        *reason = refused;
        return BRG_EPROTO;
    }
    memcpy(out, taken, sizeof *out); /* padding too: messages compare by memcmp */
    return BRG_OK;
}

int brg_wire_check_frames(const struct brg_msg *msg, const struct brg_bytes *frames,
                          uint32_t count) {
    BRG_ASSERT(msg->tensor_count <= BRG_TENSORS_MAX);
    if (count != msg->tensor_count) return BRG_EPROTO;
    for (uint32_t i = 0; i < count; i++) {
        const struct brg_tensor *t = &msg->tensors[i];
        if (frames[i].size_bytes != t->elements * brg_dtype_bytes(t->dtype)) return BRG_EPROTO;
    }
    return BRG_OK;
}

void brg_wire_describe_tensor(uint32_t dtype, const void *data, uint64_t elements,
                              struct brg_tensor *out) {
    const uint32_t element_bytes = brg_dtype_bytes(dtype);
    BRG_ASSERT(element_bytes != 0);
    BRG_ASSERT(elements >= 1 && elements <= BRG_PART_BYTES_MAX / element_bytes);
    out->dtype = dtype;
    out->elements = elements;
    brg_digest_of(data, elements * element_bytes, &out->digest);
}

int brg_wire_verify_tensor(const struct brg_tensor *tensor, struct brg_bytes frame) {
    struct brg_digest digest;
    if (frame.size_bytes != tensor->elements * brg_dtype_bytes(tensor->dtype)) return BRG_EPROTO;
    brg_digest_of(frame.data, frame.size_bytes, &digest);
    return brg_digest_equal(&digest, &tensor->digest) ? BRG_OK : BRG_EPROTO;
}

uint32_t brg_dtype_bytes(uint32_t dtype) {
    switch (dtype) {
    case BRG_DTYPE_F32: return 4;
    case BRG_DTYPE_U16: return 2;
    case BRG_DTYPE_BYTES: return 1;
    default: return 0;
    }
}

/* 1 where `d`, reached through the `depth` messages in `path`, can hold one of them again. */
static int recurs(const ProtobufCMessageDescriptor *d, const ProtobufCMessageDescriptor **path,
                  uint32_t depth) {
    enum { DEPTH_MAX = 8 };
    for (uint32_t i = 0; i < depth; i++) {
        if (path[i] == d) return 1;
    }
    if (depth == DEPTH_MAX) return 1; /* deeper than any message of ours has a reason to be */
    path[depth] = d;
    for (unsigned i = 0; i < d->n_fields; i++) {
        if (d->fields[i].type != PROTOBUF_C_TYPE_MESSAGE) continue;
        if (recurs(d->fields[i].descriptor, path, depth + 1)) return 1;
    }
    return 0;
}

int brg_wire_has_recursion(void) {
    const ProtobufCMessageDescriptor *path[8];
    return recurs(&brg__pb__envelope__descriptor, path, 0);
}
