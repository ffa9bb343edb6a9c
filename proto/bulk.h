/* bulk.h - moves one large object over the bulk connection in parts, whatever gets lost on the way.
 *
 *   who wants it: struct brg_fetch                          who has it: struct brg_source
 *
 *     next_get ──────────── Get{object, offset, length} ──────────────► brg_source_part
 *     on_part  ◄─────────── Part{object, offset, total} + bytes ─────── (zero-copy, see below)
 *              ◄─────────── Gone{object} ────────────────────────────── (does not hold it)
 *
 *   parts:   | here | here | asked | here | asked | asked |  not asked yet ...
 *              below `first`  '------- window -------'
 *
 * The one who wants decides everything: what does not come is asked for again, so a part may be
 * lost, late, twice or out of order. The size is known beforehand (Run, Task or Done
 * says it), so a peer cannot make anybody allocate. After a reconnect only what was under way is
 * asked for again.
 *
 * Pure bookkeeping: no sockets, no clock. One thread at a time for each fetch; a source may be
 * read by several once all its digests are made (brg_source_digest). */
#ifndef BRG_PROTO_BULK_H
#define BRG_PROTO_BULK_H

#include "base/pool.h"
#include "proto/wire.h"

#define BRG_BULK_PART_BYTES 1048576u /* 1 MiB: what one Get asks for if nobody says otherwise */
#define BRG_BULK_WINDOW_MAX 16u      /* parts asked for at once */
#define BRG_BULK_WINDOW 4u           /* what hides a round trip and does not flood the receiver */

struct brg_fetch_config {
    uint64_t retry_ns;     /* with nothing new for this long, parts are asked for again, > 0 */
    uint64_t idle_ns;      /* with nothing heard for this long the fetch counts as stuck, > 0 */
    uint32_t part_bytes;   /* 1 .. BRG_PART_BYTES_MAX */
    uint32_t window;       /* 1 .. BRG_BULK_WINDOW_MAX */
    uint32_t verify_parts; /* 1: check each part's digest as it comes, about 1 GB/s; 0: the caller
                              checks the digest of the whole afterwards */
};

enum brg_part_state { BRG_PART_WANTED = 0, BRG_PART_ASKED = 1, BRG_PART_HERE = 2 };

/* One object on its way here; all zero: none. Part p lies in slot p % window while it is in the
 * window [first, first + window). */
struct brg_fetch {
    struct brg_fetch_config config;
    struct brg_object object;
    struct brg_buffer *buffer; /* NULL: nothing under way; else one hold is the fetch's */
    uint64_t size_bytes;       /* of the object, <= buffer->size_bytes */
    uint64_t first;            /* every part below it is here */
    uint64_t part_count;
    uint64_t here_bytes; /* for progress; repeats do not count */
    uint64_t heard_ns;   /* when the last new part came, or the start */
    uint64_t asked_ns[BRG_BULK_WINDOW_MAX];
    uint32_t state[BRG_BULK_WINDOW_MAX]; /* enum brg_part_state */
};

/* brg_fetch_start - begins to fetch `size_bytes` bytes of `object` into `buffer`.
 *
 * own:     takes over one hold on `buffer`; ends with brg_fetch_take or brg_fetch_drop
 * asserts: nothing is under way in `f`, the buffer is large enough, the config is in its ranges */
void brg_fetch_start(struct brg_fetch *f, const struct brg_object *object,
                     struct brg_buffer *buffer, uint64_t size_bytes,
                     const struct brg_fetch_config *config, uint64_t now_ns);

/* brg_fetch_is_active - 1 while an object is under way or complete and not taken. */
int brg_fetch_is_active(const struct brg_fetch *f);

/* brg_fetch_is_about - 1 where `f` is active and fetches `object`, else 0. */
int brg_fetch_is_about(const struct brg_fetch *f, const struct brg_object *object);

/* brg_fetch_next_get - the next Get to send now: call and send until it returns 0.
 *
 * out:  1 and *get, which then counts as asked for at `now_ns` whether it can be sent or not; 0 if
 *       there is nothing to ask for now
 * cost: O(window) */
int brg_fetch_next_get(struct brg_fetch *f, uint64_t now_ns, struct brg_msg_get *get);

/* brg_fetch_wake_ns - when brg_fetch_next_get or brg_fetch_is_stuck has news; UINT64_MAX: never. */
uint64_t brg_fetch_wake_ns(const struct brg_fetch *f);

/* brg_fetch_on_part - takes in one part; `msg` is a Part, `bytes` its only frame.
 *
 * own:    borrows both, copies the bytes
 * errors: BRG_ENOENT of another object, or nothing is under way: a part of a fetch given up
 *         BRG_EPROTO an offset or length that was not asked for, another total than the object has,
 *         or (verify_parts) a wrong digest; nothing changed
 * notes:  a part that is here already is fine and changes nothing */
BRG_CHECK int brg_fetch_on_part(struct brg_fetch *f, const struct brg_msg *msg,
                                struct brg_bytes bytes, uint64_t now_ns);

/* brg_fetch_is_done - 1 once every byte is here. */
int brg_fetch_is_done(const struct brg_fetch *f);

/* brg_fetch_is_stuck - 1 where nothing new has come for idle_ns. */
int brg_fetch_is_stuck(const struct brg_fetch *f, uint64_t now_ns);

/* brg_fetch_reconnected - what was under way is lost: it is asked for at once, and the time until
 * stuck begins anew. What is here stays. */
void brg_fetch_reconnected(struct brg_fetch *f, uint64_t now_ns);

/* brg_fetch_take - the complete object; `f` is empty then.
 * own: the hold moves to the caller. asserts: brg_fetch_is_done */
struct brg_buffer *brg_fetch_take(struct brg_fetch *f);

/* brg_fetch_drop - gives the fetch up and its buffer back; also when none is active. */
void brg_fetch_drop(struct brg_fetch *f);

/* An object that others may fetch from here. */
struct brg_source {
    struct brg_object object;
    struct brg_buffer *buffer; /* NULL: none; else one hold is the source's */
    struct brg_buffer *table;  /* digests [parts], then one byte a part: 1 it is made */
    uint64_t size_bytes;
    uint64_t part_count; /* of BRG_BULK_PART_BYTES */
};

/* brg_source_init - offers `size_bytes` bytes of `buffer` as `object`.
 *
 * own:    takes one hold of its own (the caller keeps his) until brg_source_fini; the bytes must
 *         not change until then, nor while a part of them is being sent
 * errors: BRG_ENOMEM the pool has no room for the digests (33 bytes a MiB); *s is empty */
BRG_CHECK int brg_source_init(struct brg_source *s, struct brg_pool *pool,
                              const struct brg_object *object, struct brg_buffer *buffer,
                              uint64_t size_bytes);

/* brg_source_digest - makes the digests of all parts, so that brg_source_part costs nothing. For a
 * compute thread, before others see the source. cost: one BLAKE2b pass, about 1 GB/s */
void brg_source_digest(struct brg_source *s);

/* brg_source_part - the answer to `get`: a Part and the bytes that go with it.
 *
 * out:    *msg (type, tensors and part; the caller sets the epoch) and *bytes, which point into
 *         s->buffer. Zero-copy: brg_buffer_hold(s->buffer) for the message, and
 *         brg_buffer_release_sent with the buffer as hint as its free function
 * errors: BRG_ENOENT it is about another object: answer Gone
 *         BRG_EPROTO the offset lies past the end
 * cost:   nothing where the digest is made and the Get asks for whole parts of
 *         BRG_BULK_PART_BYTES; else one BLAKE2b pass over the part */
BRG_CHECK int brg_source_part(struct brg_source *s, const struct brg_msg_get *get,
                              struct brg_msg *msg, struct brg_bytes *bytes);

/* brg_source_fini - lets go of the buffer; an empty source is allowed. */
void brg_source_fini(struct brg_source *s);

/* brg_object_equal - 1 where all fields are the same, else 0. */
int brg_object_equal(const struct brg_object *a, const struct brg_object *b);

#endif
