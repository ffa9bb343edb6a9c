/* wire.h - messages to bytes and back: one protobuf envelope of at most 1 MiB, then raw tensor
 * frames as the envelope declares them.
 *
 * No state, no threads, no sockets: any thread may call with its own memory.
 *
 *   frame 0            length -> unpack under a budget -> validate -> struct brg_msg
 *   frames 1 .. n      count, sizes -> (any thread) digests
 *
 * Receiving, in this order: the transport checks sizes and the sender's key, then
 *   brg_wire_unpack(frame 0) -> brg_wire_check_frames -> brg_wire_verify_tensor on use. */
#ifndef BRG_PROTO_WIRE_H
#define BRG_PROTO_WIRE_H

#include "proto/messages.h"

#define BRG_ENVELOPE_BYTES_MAX 1048576u /* 1 MiB */

/* Unpacking may take 8 bytes of memory for each byte received, and 64 KiB besides. */
#define BRG_WIRE_BUDGET_FACTOR 8u
#define BRG_WIRE_BUDGET_BASE 65536u

/* Enough scratch for any envelope; only as much of it is touched as a message needs. */
#define BRG_WIRE_SCRATCH_BYTES                                                                     \
    (BRG_WIRE_BUDGET_FACTOR * BRG_ENVELOPE_BYTES_MAX + BRG_WIRE_BUDGET_BASE +                      \
     (uint32_t)sizeof(struct brg_msg) + 64u)

/* A borrowed run of bytes. */
struct brg_bytes {
    const void *data;
    size_t size_bytes;
};

/* brg_wire_pack - the envelope of `msg` in the current protocol version.
 *
 * own:    borrows all; *size is set on success only
 * errors: BRG_EINVAL `msg` breaks a range of messages.h that this side may not know beforehand:
 *                    type, counts, sizes, a text that is not clean (see brg_text_set)
 *         BRG_ENOMEM more than `cap_bytes`; BRG_ENVELOPE_BYTES_MAX is always enough
 * cost:   one pass; Done and Task use about 28 KiB of stack */
BRG_CHECK int brg_wire_pack(const struct brg_msg *msg, void *buffer, size_t cap_bytes,
                            size_t *size_bytes);

/* brg_wire_unpack - one received envelope frame as a validated message.
 *
 * own:    borrows `frame`; `scratch` (at least BRG_WIRE_SCRATCH_BYTES, 16-byte aligned) is
 *         overwritten, and bodies of operator messages point into it until it is used again
 * out:    *out only on success; *why (may be NULL) on failure: a static sentence for the log
 * errors: BRG_EPROTO too long, not an envelope, unknown type or field, wrong version, a value out
 * of the range given in messages.h BRG_ENOMEM the bytes would unpack to more than the budget: treat
 * like BRG_EPROTO notes:  Hello and Refused are understood from any protocol version, and with
 * fields added later, so that two versions can tell each other why they part. */
BRG_CHECK int brg_wire_unpack(const void *frame, size_t size_bytes, void *scratch,
                              size_t scratch_bytes, struct brg_msg *out, const char **why);

/* brg_wire_check_frames - the frames behind the envelope are as many and as long as it declares.
 *
 * shape:  frames [count], the first raw frame is frames[0]
 * errors: BRG_EPROTO they are not */
BRG_CHECK int brg_wire_check_frames(const struct brg_msg *msg, const struct brg_bytes *frames,
                                    uint32_t count);

/* brg_wire_describe_tensor - fills `out` for `elements` of `dtype` at `data`, digest included.
 *
 * cost: one BLAKE2b pass, about 1 GB/s; keep the result for data that is sent again */
void brg_wire_describe_tensor(uint32_t dtype, const void *data, uint64_t elements,
                              struct brg_tensor *out);

/* brg_wire_verify_tensor - the bytes have the declared digest. May run on a compute thread.
 *
 * errors: BRG_EPROTO wrong size or digest */
BRG_CHECK int brg_wire_verify_tensor(const struct brg_tensor *tensor, struct brg_bytes frame);

/* brg_dtype_bytes - size of one element: 4, 2 or 1; 0 for an unknown dtype. */
uint32_t brg_dtype_bytes(uint32_t dtype);

/* brg_msg_name - the type's name as in PROTOCOL.md, such as "Done"; "unknown" else. Static. */
const char *brg_msg_name(uint32_t type);

/* brg_text_set - prints into a text field: cut to BRG_TEXT_BYTES_MAX bytes between characters, and
 * whatever a receiver would refuse (control characters, broken UTF-8) replaced by '?'.
 *
 * shape: out [BRG_TEXT_BYTES_MAX + 1] */
void brg_text_set(char *out, const char *format, ...) BRG_PRINTF(2, 3);

/* brg_text_valid - 1 where `size_bytes` bytes are UTF-8 (RFC 3629) without control characters. */
int brg_text_valid(const uint8_t *bytes, size_t size_bytes);

/* brg_wire_has_recursion - 1 where a message of the schema can contain itself: must never be. */
int brg_wire_has_recursion(void);

#endif
