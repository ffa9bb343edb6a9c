/* store.h - the coordinator's small records: RocksDB, one column family a kind, every write synced.
 *
 * Thread rule: a store and its batches belong to the reactor thread. RocksDB has threads of its
 * own behind it. One process only: the second one that opens a store is refused by its lock.
 *
 *   turn of the reactor:  batch <- put, put_step, delete ...   write_synced(batch)   send
 *                                                               |  one fsync, all or nothing
 *   open:  families known? -> format known? -> chain of commit records whole? -> heads
 *
 * A store that failed one write refuses every further one with the same error: after a failed
 * fsync the page cache may lie, so the process has to stop and open the store again.
 *
 * What opening proves: no acknowledged write is gone (file WITNESS, see store_witness.c), and every
 * run's commit records are there from step 1 on, each with the digest of the one before. After a
 * power cut the witness may be older than the last writes, and a damaged end of the write-ahead
 * log looks like a torn one; workers therefore report the last step they saw, and a coordinator
 * whose brg_store_head is behind that must stop (BRG_EBEHIND). */
#ifndef BRG_STORE_H
#define BRG_STORE_H

#include "base/why.h"
#include "coordinator/shell/records.h"

#define BRG_STORE_FORMAT 1u
#define BRG_STORE_KEY_BYTES_MAX 256u
#define BRG_STORE_VALUE_BYTES_MAX (1u << 20) /* larger things are files */
#define BRG_STORE_BATCH_COUNT_MAX 65536u
#define BRG_STORE_BATCH_BYTES_MAX (16u << 20)
#define BRG_STORE_RUNS_MAX 4096u    /* runs with committed steps */
#define BRG_STORE_EVENTS_MAX 65536u /* the oldest go when more are put */

enum brg_store_family {
    BRG_STORE_MEMBERS,
    BRG_STORE_TOKENS,
    BRG_STORE_RUNS,
    BRG_STORE_STEPS,
    BRG_STORE_EVENTS,
    BRG_STORE_META,
    BRG_STORE_FAMILY_COUNT,
};

struct brg_store;
struct brg_store_batch;

/* A value read; free it with brg_store_value_free. */
struct brg_store_value {
    uint8_t *data;
    size_t size_bytes;
};

/* The last committed step of a run. */
struct brg_store_head {
    uint64_t run, step; /* step 0: none, digest zeros */
    struct brg_digest digest;
};

/* Which records a scan visits: those whose key starts with `prefix`. */
struct brg_store_range {
    uint32_t family; /* enum brg_store_family */
    const void *prefix;
    size_t prefix_bytes; /* 0: the whole family */
    uint64_t limit;      /* at most so many, > 0; UINT64_MAX for all */
    uint32_t newest;     /* 1: from the last key backwards */
};

/* brg_store_open - opens the store in folder `path`, and creates it at the first start.
 *
 * own:    *out is the caller's, brg_store_close; NULL after an error
 * errors: all with a sentence in `why`
 *         BRG_EEXIST   another coordinator has it open
 *         BRG_EINVAL   written by another format version, or not a store of ours
 *         BRG_ECORRUPT damaged: a hole in the write-ahead log or in a run's commit records
 *         BRG_ENOSPC, BRG_EPERM, BRG_EIO, BRG_ENOMEM as the disk says
 * cost:   reads the commit records of every run */
BRG_CHECK int brg_store_open(const char *path, struct brg_store **out, struct brg_why *why);

/* brg_store_close - closes and frees; *store may be NULL. Batches must be gone before. */
void brg_store_close(struct brg_store **store);

/* brg_store_why - the sentence of the last error; "" where there was none. */
const char *brg_store_why(const struct brg_store *store);

/* brg_store_batch_create - an empty batch. own: brg_store_batch_destroy. errors: BRG_ENOMEM */
BRG_CHECK int brg_store_batch_create(struct brg_store *store, struct brg_store_batch **out);
void brg_store_batch_destroy(struct brg_store_batch **batch);

/* brg_store_batch_clear - forgets what was put. */
void brg_store_batch_clear(struct brg_store_batch *batch);

/* brg_store_batch_count - puts and deletes in it. */
uint32_t brg_store_batch_count(const struct brg_store_batch *batch);

/* brg_store_batch_put, brg_store_batch_delete - one record into the batch; bytes are copied.
 *
 * errors:  BRG_EFULL beyond BATCH_COUNT_MAX or BATCH_BYTES_MAX; the batch is as before
 * asserts: a value that is empty (it could not be told from a missing one) or over VALUE_BYTES_MAX;
 *          a key over KEY_BYTES_MAX; family STEPS, which only brg_store_put_step writes */
BRG_CHECK int brg_store_batch_put(struct brg_store_batch *batch, uint32_t family, const void *key,
                                  size_t key_bytes, const void *value, size_t value_bytes);
BRG_CHECK int brg_store_batch_delete(struct brg_store_batch *batch, uint32_t family,
                                     const void *key, size_t key_bytes);

/* brg_store_put_step - a commit record into the batch, linked to the one before it.
 *
 * step->previous and step->digest are filled in here. The run's own record must be in the store or
 * in this batch, else the next open refuses.
 * errors: BRG_EINVAL not the step after the run's last (the last one in this batch, else in the
 *         store): a step must not be committed twice and none left out; BRG_EFULL */
BRG_CHECK int brg_store_put_step(struct brg_store_batch *batch, struct brg_record_step *step);

/* brg_store_cut_steps - takes the commit records after `step` back, for runs whose steps are
 * durable only with a checkpoint. step 0 takes all.
 *
 * errors: BRG_EINVAL `step` is beyond the run's head, or this batch holds steps of the run;
 *         BRG_ECORRUPT, BRG_EIO the record of `step` cannot be read; BRG_EFULL */
BRG_CHECK int brg_store_cut_steps(struct brg_store_batch *batch, uint64_t run, uint64_t step);

/* brg_store_put_event - an event into the batch; event->sequence is given here. The event
 * BRG_STORE_EVENTS_MAX before it is deleted. errors: BRG_EFULL */
BRG_CHECK int brg_store_put_event(struct brg_store_batch *batch, struct brg_record_event *event);

/* brg_store_put_member, _token, _run - such a record, under its key. errors: BRG_EFULL */
BRG_CHECK int brg_store_put_member(struct brg_store_batch *batch,
                                   const struct brg_record_member *member);
BRG_CHECK int brg_store_put_token(struct brg_store_batch *batch,
                                  const struct brg_record_token *token);
BRG_CHECK int brg_store_put_run(struct brg_store_batch *batch, const struct brg_record_run *run);

/* brg_store_write_synced - all of the batch on disk, or nothing; clears it. Empty: no I/O.
 *
 * errors: BRG_ENOSPC, BRG_EIO, BRG_ECORRUPT: stop the process; why in brg_store_why.
 * cost:   one fsync */
BRG_CHECK int brg_store_write_synced(struct brg_store *store, struct brg_store_batch *batch);

/* brg_store_get - the value under a key. errors: BRG_ENOENT none; BRG_EIO, BRG_ECORRUPT, BRG_ENOMEM
 * own: value->data is the caller's, brg_store_value_free; {NULL, 0} after an error */
BRG_CHECK int brg_store_get(struct brg_store *store, uint32_t family, const void *key,
                            size_t key_bytes, struct brg_store_value *value);
void brg_store_value_free(struct brg_store_value *value);

/* brg_store_scan - calls visit for each record of the range in key order (or backwards).
 *
 * visit returns BRG_OK to go on, BRG_ECANCELED to end the scan well, or an error that ends it and
 * is returned. Key and value are borrowed until it returns. It must not write to the store.
 * errors: what visit returned; BRG_EIO, BRG_ECORRUPT the store could not be read */
BRG_CHECK int brg_store_scan(struct brg_store *store, const struct brg_store_range *range,
                             int (*visit)(void *context, const uint8_t *key, size_t key_bytes,
                                          const uint8_t *value, size_t value_bytes),
                             void *context);

/* brg_store_step - the commit record of one step. errors: BRG_ENOENT, BRG_ECORRUPT, BRG_EIO */
BRG_CHECK int brg_store_step(struct brg_store *store, uint64_t run, uint64_t step,
                             struct brg_record_step *out);

/* brg_store_head - the last committed and synced step of a run; step 0 where there is none. */
void brg_store_head(const struct brg_store *store, uint64_t run, struct brg_store_head *out);

/* brg_store_next_epoch - a number no coordinator on this store had before; synced before return.
 * errors: as brg_store_write_synced and brg_store_get; *epoch is 0 then */
BRG_CHECK int brg_store_next_epoch(struct brg_store *store, uint64_t *epoch);

#endif
