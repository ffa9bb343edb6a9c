/* gradlog.h - the append-only log of a run's decoded gradients: what a restart replays.
 *
 * Thread rule: a log belongs to one thread at a time, in the coordinator a compute thread: append
 * writes and syncs, which takes as long as the disk does.
 *
 *   folder/segment-0000000001.grad   steps 1 .. 50      one segment a checkpoint interval
 *   folder/segment-0000000051.grad   steps 51 .. now
 *
 *   segment:  header (4096 bytes: magic, version, run, elements, first step, digest of these)
 *             then records of equal size, steps without a hole, then preallocated zeros
 *   record:   header (128 bytes: run, step, count, elements, place, digest of the data, digest of
 *             these), then `elements` float32, little-endian
 *
 *   append(51) -> fdatasync -> commit record synced in the store -> step 51 is announced
 *   checkpoint of 50 taken -> roll;   its manifest durable -> drop_through(50)
 *
 * A record counts only once its commit record is in the store. Opening cuts off whatever lies
 * behind the last committed one, so that neither a torn write nor an unannounced step survives.
 * A record of step s proves that step s-1 was committed: where the log is further than that ahead
 * of the store, the store has lost steps and opening refuses (BRG_EBEHIND). */
#ifndef BRG_GRADLOG_H
#define BRG_GRADLOG_H

#include "base/digest.h"
#include "base/why.h"

#define BRG_GRADLOG_ELEMENTS_MAX (UINT64_C(1) << 31)
#define BRG_GRADLOG_SEGMENTS_MAX 1024u

struct brg_gradlog;

/* Where a record is; kept in the step's commit record. */
struct brg_gradlog_place {
    uint64_t segment; /* first step of its segment, from 1 */
    uint64_t offset, size_bytes;
};

/* A record as its commit record describes it. */
struct brg_gradlog_entry {
    uint64_t step, count; /* count: samples or tokens in the sum */
    struct brg_digest gradient;
    struct brg_gradlog_place place;
};

/* What the store and the checkpoints say about the log that is being opened. */
struct brg_gradlog_config {
    const char *folder;            /* created where it is missing */
    uint64_t run;                  /* from 1 */
    uint64_t elements;             /* of every gradient, 1 .. BRG_GRADLOG_ELEMENTS_MAX */
    uint64_t committed;            /* last step in the store, 0: none */
    uint64_t checkpoint;           /* step of the checkpoint to start from, <= committed; 0: none */
    struct brg_gradlog_place last; /* of the committed step; ignored where it is the checkpoint's */
};

/* brg_gradlog_open - opens the log, cuts it off behind the last committed record and deletes
 * segments that the checkpoint makes needless.
 *
 * own:    *out is the caller's, brg_gradlog_close; NULL after an error
 * errors: all with a sentence in `why` (NULL allowed)
 *         BRG_ECORRUPT a segment is missing, short, or not of this run
 *         BRG_EBEHIND  the log proves steps that the store does not have; nothing was changed
 *         BRG_EINVAL   elements out of range, checkpoint beyond committed
 *         BRG_EFULL    more than BRG_GRADLOG_SEGMENTS_MAX segments
 *         BRG_ENOSPC, BRG_EPERM, BRG_EIO, BRG_ENOMEM as the disk says
 * cost:   reads the headers of the newest segment, no gradients */
BRG_CHECK int brg_gradlog_open(const struct brg_gradlog_config *config, struct brg_gradlog **out,
                               struct brg_why *why);

/* brg_gradlog_close - closes; nothing is written. *log may be NULL. */
void brg_gradlog_close(struct brg_gradlog **log);

/* brg_gradlog_append - one gradient at the end, durable on return.
 *
 * shape:  data [elements]; entry: out, for the commit record
 * errors: BRG_EINVAL `step` is not the one after the last; BRG_ENOSPC, BRG_EIO: stop the process.
 *         After a failed write every further append gives the same error.
 * cost:   one BLAKE2b pass over the data, one write, one fdatasync */
BRG_CHECK int brg_gradlog_append(struct brg_gradlog *log, uint64_t step, uint64_t count,
                                 const float *data, struct brg_gradlog_entry *entry,
                                 struct brg_why *why);

/* brg_gradlog_read - the gradient that a commit record points at.
 *
 * shape:  out [elements]; its content is undefined after an error
 * errors: BRG_ECORRUPT not the record described, or a digest does not fit: the sentence names the
 *         file; BRG_EIO */
BRG_CHECK int brg_gradlog_read(struct brg_gradlog *log, const struct brg_gradlog_entry *entry,
                               float *out, struct brg_why *why);

/* brg_gradlog_roll - lets the next append start a segment. For the moment a checkpoint is taken. */
void brg_gradlog_roll(struct brg_gradlog *log);

/* brg_gradlog_drop_through - deletes the segments that hold no step after `step`. Only once the
 * manifest of the checkpoint of `step` is durable. errors: BRG_EIO, BRG_EPERM */
BRG_CHECK int brg_gradlog_drop_through(struct brg_gradlog *log, uint64_t step, struct brg_why *why);

/* brg_gradlog_first - the first step the log holds; the next one to be appended where it is empty.
 */
uint64_t brg_gradlog_first(const struct brg_gradlog *log);

#endif
