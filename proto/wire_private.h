/* wire_private.h - the three steps of wire.c: to the generated structs, from them, and the ranges.
 *
 *   brg_msg --check--> --fill--> generated --pack--> bytes
 *   bytes --unpack under a budget--> generated --take--> brg_msg --check--> out */
#ifndef BRG_PROTO_WIRE_PRIVATE_H
#define BRG_PROTO_WIRE_PRIVATE_H

#include "proto/brigade.pb-c.h"
#include "proto/wire.h"

/* A check reads as a list of what is refused and why; NULL is success. */
#define REFUSE_IF(condition, sentence)                                                             \
    do {                                                                                           \
        if (condition) return (sentence);                                                          \
    } while (0)
#define TRY(call)                                                                                  \
    do {                                                                                           \
        const char *refused = (call);                                                              \
        if (refused != NULL) return refused;                                                       \
    } while (0)
#define REFUSE_UNLESS_RUN(run) REFUSE_IF((run) == 0, "run is 0: runs count from 1")
/* A field that a version added and this one does not know could change what the message means. */
#define REFUSE_UNKNOWN(m)                                                                          \
    REFUSE_IF((m)->base.n_unknown_fields != 0, "the message has fields this version does not "     \
                                               "know")

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
        Brg__Pb__AtRisk at_risk;
        Brg__Pb__DrainCancel drain_cancel;
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
        Brg__Pb__Holding holding;
        Brg__Pb__Placed placed;
        Brg__Pb__Ready ready;
        Brg__Pb__LostPeer lost_peer;
        Brg__Pb__FetchFailed fetch_failed;
        Brg__Pb__Learned learned;
        Brg__Pb__Kept kept;
        Brg__Pb__Evaluated evaluated;
        Brg__Pb__Place place;
        Brg__Pb__Start start;
        Brg__Pb__StepCommit step_commit;
        Brg__Pb__Unseat unseat;
        Brg__Pb__Learn learn;
        Brg__Pb__RelayTo relay_to;
        Brg__Pb__Choose choose;
        Brg__Pb__Save save;
    } body;
    Brg__Pb__Line line;
    Brg__Pb__Optimizer optimizer;
    Brg__Pb__Eval eval;
    Brg__Pb__Peer peers[BRG_LINE_PEERS_MAX];
    Brg__Pb__Peer *peer_list[BRG_LINE_PEERS_MAX];
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

/* ---- shared by the files of one direction ---- */

/* Of messages_line.h; asserts: msg->type is one of its messages. */
void brg_wire_fill_line(const struct brg_msg *msg, struct brg_wire_filled *out);
BRG_CHECK const char *brg_wire_take_line(const Brg__Pb__Envelope *envelope, struct brg_msg *out);
BRG_CHECK const char *brg_wire_check_line(const struct brg_msg *msg);

/* The part of a Run that makes it a pipeline. */
Brg__Pb__Line *brg_wire_fill_run_line(const struct brg_msg_line *m, struct brg_wire_filled *out);
BRG_CHECK const char *brg_wire_take_run_line(struct brg_msg_line *out, const Brg__Pb__Line *p);
BRG_CHECK const char *brg_wire_check_run_line(const struct brg_msg_run *m);

/* Borrowed bytes without const, which protobuf-c does not know; packing only reads. */
ProtobufCBinaryData brg_wire_bytes_of(const void *data, size_t size_bytes);
Brg__Pb__Proof *brg_wire_fill_proof(const struct brg_proof *p, Brg__Pb__Proof *out);

/* take: into a zeroed text of `cap_bytes` and its NUL; a digest; a proof that must be there. */
BRG_CHECK const char *brg_wire_take_text(char *out, size_t cap_bytes,
                                         const ProtobufCBinaryData *from);
BRG_CHECK const char *brg_wire_take_digest(struct brg_digest *out, const ProtobufCBinaryData *from);
BRG_CHECK const char *brg_wire_take_proof(struct brg_proof *out, const Brg__Pb__Proof *p);

#endif
