/* wire_private.h - the three steps of wire.c: to the generated structs, from them, and the ranges.
 *
 *   brg_msg --check--> --fill--> generated --pack--> bytes
 *   bytes --unpack under a budget--> generated --take--> brg_msg --check--> out */
#ifndef BRG_PROTO_WIRE_PRIVATE_H
#define BRG_PROTO_WIRE_PRIVATE_H

#include "proto/brigade.pb-c.h"
#include "proto/wire.h"

/* The generated structs of one outgoing message; they point into the brg_msg that fills them. */
struct brg_wire_filled {
    Brg__Pb__Envelope envelope;
    Brg__Pb__Tensor tensors[BRG_TENSORS_MAX];
    Brg__Pb__Tensor *tensor_list[BRG_TENSORS_MAX];
    Brg__Pb__Proof proof;
    Brg__Pb__Object object;
    Brg__Pb__Model model;
    Brg__Pb__Data data;
    Brg__Pb__Batch batch;
    union {
        Brg__Pb__Hello hello;
        Brg__Pb__Beat beat;
        Brg__Pb__Done done;
        Brg__Pb__Drain drain;
        Brg__Pb__Bye bye;
        Brg__Pb__Fault fault;
        Brg__Pb__Attach attach;
        Brg__Pb__Get get;
        Brg__Pb__Part part;
        Brg__Pb__Gone gone;
        Brg__Pb__Welcome welcome;
        Brg__Pb__Refused refused;
        Brg__Pb__Rehello rehello;
        Brg__Pb__Run run;
        Brg__Pb__Task task;
        Brg__Pb__Commit commit;
        Brg__Pb__Release release;
        Brg__Pb__DrainAck drain_ack;
        Brg__Pb__Operate operate;
        Brg__Pb__OperateReply operate_reply;
    } body;
    uint32_t loss_chunks[BRG_CHUNKS_MAX];
    double loss_sums[BRG_CHUNKS_MAX];
    uint64_t loss_counts[BRG_CHUNKS_MAX];
};

/* brg_wire_fill - a checked message as generated structs; cannot fail. own: borrows msg */
void brg_wire_fill(const struct brg_msg *msg, struct brg_wire_filled *out);

/* brg_wire_take - generated structs as our own: presence, counts, lengths and widths.
 *
 * shape:  *out is zeroed by the caller, and half filled after an error
 * errors: NULL is success, else a static sentence */
BRG_CHECK const char *brg_wire_take(const Brg__Pb__Envelope *envelope, struct brg_msg *out);

/* brg_wire_check - every range of messages.h. errors: NULL is success, else a static sentence */
BRG_CHECK const char *brg_wire_check(const struct brg_msg *msg);

#endif
