/* fuzz_wire.c - unpacks hostile bytes. What is accepted must keep its promises: it packs again,
 * that unpacks to the same message, and what is refused leaves `out` as it was. */
#include <stdalign.h>
#include <string.h>

#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static alignas(16) uint8_t scratch[BRG_WIRE_SCRATCH_BYTES], scratch_again[BRG_WIRE_SCRATCH_BYTES];
static uint8_t packed[BRG_ENVELOPE_BYTES_MAX];
static struct brg_msg msg, again;

/* Bodies point into two different memories: compare what they point at, then forget them. */
static void compare_bodies(void) {
    if (msg.type == BRG_MSG_OPERATE) {
        BRG_ASSERT(msg.operate.body_bytes == again.operate.body_bytes);
        if (msg.operate.body_bytes != 0) {
            BRG_ASSERT(memcmp(msg.operate.body, again.operate.body, msg.operate.body_bytes) == 0);
        }
        again.operate.body = msg.operate.body;
    } else if (msg.type == BRG_MSG_OPERATE_REPLY) {
        const struct brg_msg_operate_reply *a = &msg.operate_reply;
        BRG_ASSERT(a->body_bytes == again.operate_reply.body_bytes);
        if (a->body_bytes != 0) {
            BRG_ASSERT(memcmp(a->body, again.operate_reply.body, a->body_bytes) == 0);
        }
        again.operate_reply.body = a->body;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    const char *why = NULL;
    size_t packed_bytes = 0;

    memset(&msg, 0xa5, sizeof msg);
    int rc = brg_wire_unpack(data, size_bytes, scratch, sizeof scratch, &msg, &why);
    if (rc != BRG_OK) {
        const uint8_t *bytes = (const uint8_t *)&msg;
        BRG_ASSERT(rc == BRG_EPROTO || rc == BRG_ENOMEM);
        BRG_ASSERT(why != NULL);
        for (size_t i = 0; i < sizeof msg; i++) BRG_ASSERT(bytes[i] == 0xa5);
        return 0;
    }
    rc = brg_wire_pack(&msg, packed, sizeof packed, &packed_bytes);
    BRG_ASSERT(rc == BRG_OK);
    rc = brg_wire_unpack(packed, packed_bytes, scratch_again, sizeof scratch_again, &again, &why);
    BRG_ASSERT(rc == BRG_OK);
    again.protocol = msg.protocol; /* Hello and Refused may have another; ours is sent */
    compare_bodies();
    BRG_ASSERT(memcmp(&msg, &again, sizeof msg) == 0);
    return 0;
}
