#include "coordinator/shell/store.h"

#include <string.h>

#include "coordinator/shell/store_private.h"

#define BATCH_HEADS_MAX 64u /* runs that commit steps in one turn */

static const char epoch_key[] = "epoch";

struct brg_store_batch {
    struct brg_store *store;
    rocksdb_writebatch_t *writes;
    uint32_t count;
    uint64_t size_bytes; /* keys and values */
    uint32_t head_count;
    struct brg_store_head heads[BATCH_HEADS_MAX]; /* that the store has once this is written */
};

const char *brg_store_why(const struct brg_store *store) {
    return store->why.text;
}

int brg_store_batch_create(struct brg_store *store, struct brg_store_batch **out) {
    struct brg_store_batch *b = calloc(1, sizeof *b);
    *out = NULL;
    if (b == NULL) return brg_why_set(&store->why, BRG_ENOMEM, "no memory left for a batch");
    b->store = store;
    b->writes = rocksdb_writebatch_create();
    *out = b;
    return BRG_OK;
}

void brg_store_batch_destroy(struct brg_store_batch **batch) {
    if (*batch == NULL) return;
    rocksdb_writebatch_destroy((*batch)->writes);
    free(*batch);
    *batch = NULL;
}

void brg_store_batch_clear(struct brg_store_batch *batch) {
    rocksdb_writebatch_clear(batch->writes);
    batch->count = 0;
    batch->size_bytes = 0;
    batch->head_count = 0;
}

uint32_t brg_store_batch_count(const struct brg_store_batch *batch) {
    return batch->count;
}

/* Takes room for one more write; both bounds are looked at before anything changes. */
static int reserve(struct brg_store_batch *b, size_t size_bytes) {
    if (b->count == BRG_STORE_BATCH_COUNT_MAX ||
        size_bytes > BRG_STORE_BATCH_BYTES_MAX - b->size_bytes) {
        return brg_why_set(&b->store->why, BRG_EFULL,
                           "a batch is full with %u records and %llu bytes: write it first",
                           b->count, (unsigned long long)b->size_bytes);
    }
    b->count++;
    b->size_bytes += size_bytes;
    return BRG_OK;
}

static int put_any(struct brg_store_batch *b, uint32_t family, const void *key, size_t key_bytes,
                   const void *value, size_t value_bytes) {
    BRG_ASSERT(family < BRG_STORE_FAMILY_COUNT);
    BRG_ASSERT(key_bytes > 0);
    BRG_ASSERT(key_bytes <= BRG_STORE_KEY_BYTES_MAX);
    BRG_ASSERT(value_bytes > 0); /* RocksDB's C API gives "not found" for an empty one */
    BRG_ASSERT(value_bytes <= BRG_STORE_VALUE_BYTES_MAX);
    const int rc = reserve(b, key_bytes + value_bytes);
    if (rc != BRG_OK) return rc;
    rocksdb_writebatch_put_cf(b->writes, b->store->families[family], key, key_bytes, value,
                              value_bytes);
    return BRG_OK;
}

int brg_store_batch_put(struct brg_store_batch *batch, uint32_t family, const void *key,
                        size_t key_bytes, const void *value, size_t value_bytes) {
    BRG_ASSERT(family != BRG_STORE_STEPS);
    return put_any(batch, family, key, key_bytes, value, value_bytes);
}

int brg_store_batch_delete(struct brg_store_batch *batch, uint32_t family, const void *key,
                           size_t key_bytes) {
    BRG_ASSERT(family < BRG_STORE_FAMILY_COUNT);
    BRG_ASSERT(family != BRG_STORE_STEPS);
    BRG_ASSERT(key_bytes > 0);
    BRG_ASSERT(key_bytes <= BRG_STORE_KEY_BYTES_MAX);
    const int rc = reserve(batch, key_bytes);
    if (rc != BRG_OK) return rc;
    rocksdb_writebatch_delete_cf(batch->writes, batch->store->families[family], key, key_bytes);
    return BRG_OK;
}

/* The head that `run` has once the batch is written; NULL where the batch has none of it. */
static struct brg_store_head *find_pending(struct brg_store_batch *b, uint64_t run) {
    for (uint32_t i = 0; i < b->head_count; i++) {
        if (b->heads[i].run == run) return &b->heads[i];
    }
    return NULL;
}

/* Says so where the batch, or the store once this is written, has no place for the run's head:
 * a store with more than it can open must not come to be. */
static int check_head_room(const struct brg_store_batch *b, const struct brg_store_head *head) {
    const uint64_t runs = (uint64_t)b->store->head_count + b->head_count;
    if (b->head_count < BATCH_HEADS_MAX && (head->step > 0 || runs < BRG_STORE_RUNS_MAX)) {
        return BRG_OK;
    }
    return brg_why_set(&b->store->why, BRG_EFULL,
                       "run %llu: steps of %u runs are in the batch and of %u in the store, no "
                       "more fit",
                       (unsigned long long)head->run, b->head_count, b->store->head_count);
}

static void set_pending(struct brg_store_batch *b, const struct brg_store_head *head) {
    struct brg_store_head *pending = find_pending(b, head->run);
    if (pending == NULL) pending = &b->heads[b->head_count++];
    *pending = *head;
}

int brg_store_put_step(struct brg_store_batch *batch, struct brg_record_step *step) {
    uint8_t key[16], value[BRG_RECORD_STEP_BYTES];
    struct brg_store_head head;
    const struct brg_store_head *pending = find_pending(batch, step->run);

    if (pending != NULL)
        head = *pending;
    else
        brg_store_head(batch->store, step->run, &head);
    if (step->step != head.step + 1) {
        return brg_why_set(&batch->store->why, BRG_EINVAL,
                           "run %llu: step %llu cannot be committed after step %llu",
                           (unsigned long long)step->run, (unsigned long long)step->step,
                           (unsigned long long)head.step);
    }
    int rc = pending == NULL ? check_head_room(batch, &head) : BRG_OK;
    if (rc != BRG_OK) return rc;
    step->previous = head.digest;
    brg_record_step_digest(step, &step->digest);
    brg_record_key_step(step->run, step->step, key);
    (void)brg_record_step_pack(step, value);

    rc = put_any(batch, BRG_STORE_STEPS, key, sizeof key, value, sizeof value);
    if (rc != BRG_OK) return rc;
    head.step = step->step;
    head.digest = step->digest;
    set_pending(batch, &head);
    return BRG_OK;
}

int brg_store_cut_steps(struct brg_store_batch *batch, uint64_t run, uint64_t step) {
    struct brg_store *s = batch->store;
    struct brg_store_head head;
    struct brg_record_step last = {0};
    uint8_t from[16], to[16];

    brg_store_head(s, run, &head);
    if (step > head.step || find_pending(batch, run) != NULL) {
        return brg_why_set(
            &s->why, BRG_EINVAL, "run %llu: its %llu steps cannot be cut back to step %llu",
            (unsigned long long)run, (unsigned long long)head.step, (unsigned long long)step);
    }
    if (step > 0) {
        const int rc = brg_store_step(s, run, step, &last);
        if (rc != BRG_OK) return rc;
    }
    brg_record_key_step(run, step + 1, from);
    brg_record_key_step(run, UINT64_MAX, to); /* exclusive; no run has that many */
    head = (struct brg_store_head){.run = run, .step = step, .digest = last.digest};
    int rc = check_head_room(batch, &head);
    if (rc == BRG_OK) rc = reserve(batch, sizeof from + sizeof to);
    if (rc != BRG_OK) return rc;
    set_pending(batch, &head);
    rocksdb_writebatch_delete_range_cf(batch->writes, s->families[BRG_STORE_STEPS],
                                       (const char *)from, sizeof from, (const char *)to,
                                       sizeof to);
    return BRG_OK;
}

int brg_store_put_event(struct brg_store_batch *batch, struct brg_record_event *event) {
    struct brg_store *s = batch->store;
    uint8_t key[8], value[BRG_RECORD_EVENT_BYTES_MAX];

    event->sequence = s->last_event + 1;
    if (event->sequence > BRG_STORE_EVENTS_MAX) {
        brg_record_key_u64(event->sequence - BRG_STORE_EVENTS_MAX, key);
        const int rc = brg_store_batch_delete(batch, BRG_STORE_EVENTS, key, sizeof key);
        if (rc != BRG_OK) return rc;
    }
    brg_record_key_u64(event->sequence, key);
    const size_t size = brg_record_event_pack(event, value);
    const int rc = put_any(batch, BRG_STORE_EVENTS, key, sizeof key, value, size);
    if (rc != BRG_OK) return rc;
    s->last_event = event->sequence; /* a batch that is dropped leaves a gap, which is harmless */
    return BRG_OK;
}

int brg_store_put_member(struct brg_store_batch *batch, const struct brg_record_member *member) {
    uint8_t value[BRG_RECORD_MEMBER_BYTES];
    const size_t size = brg_record_member_pack(member, value);
    return put_any(batch, BRG_STORE_MEMBERS, member->key, sizeof member->key, value, size);
}

int brg_store_put_token(struct brg_store_batch *batch, const struct brg_record_token *token) {
    uint8_t key[8], value[BRG_RECORD_TOKEN_BYTES];
    brg_record_key_u64(token->id, key);
    const size_t size = brg_record_token_pack(token, value);
    return put_any(batch, BRG_STORE_TOKENS, key, sizeof key, value, size);
}

int brg_store_put_run(struct brg_store_batch *batch, const struct brg_record_run *run) {
    uint8_t key[8];
    uint8_t *value = malloc(BRG_RECORD_RUN_BYTES_MAX);
    if (value == NULL) {
        return brg_why_set(&batch->store->why, BRG_ENOMEM, "no memory left for a run's record");
    }
    brg_record_key_u64(run->id, key);
    const size_t size = brg_record_run_pack(run, value);
    const int rc = put_any(batch, BRG_STORE_RUNS, key, sizeof key, value, size);
    free(value);
    return rc;
}

int brg_store_write_synced(struct brg_store *store, struct brg_store_batch *batch) {
    char *err = NULL;
    BRG_ASSERT(batch->store == store);
    if (store->failed != BRG_OK) return store->failed;
    if (batch->count == 0) return BRG_OK;

    rocksdb_write(store->db, store->writing, batch->writes, &err);
    if (err != NULL) {
        store->failed = brg_store_why_rocksdb(store->path, "a synced write", err, &store->why);
        return store->failed;
    }
    store->failed = brg_store_witness_note(store);
    if (store->failed != BRG_OK) return store->failed;
    for (uint32_t i = 0; i < batch->head_count; i++) {
        const int rc = brg_store_set_head(store, &batch->heads[i]);
        if (rc != BRG_OK) {
            store->failed = rc; /* on disk but not in memory: only opening again mends that */
            return rc;
        }
    }
    brg_store_batch_clear(batch);
    return BRG_OK;
}

int brg_store_get(struct brg_store *store, uint32_t family, const void *key, size_t key_bytes,
                  struct brg_store_value *value) {
    char *err = NULL;
    BRG_ASSERT(family < BRG_STORE_FAMILY_COUNT);
    *value = (struct brg_store_value){NULL, 0};
    char *found = rocksdb_get_cf(store->db, store->reading, store->families[family], key, key_bytes,
                                 &value->size_bytes, &err);
    if (err != NULL) return brg_store_why_rocksdb(store->path, "a read", err, &store->why);
    if (found == NULL) {
        value->size_bytes = 0;
        return BRG_ENOENT;
    }
    value->data = (uint8_t *)found;
    return BRG_OK;
}

void brg_store_value_free(struct brg_store_value *value) {
    if (value->data != NULL) rocksdb_free(value->data);
    *value = (struct brg_store_value){NULL, 0};
}

/* The first record of the range, or for `newest` the last one. */
static void seek(rocksdb_iterator_t *it, const struct brg_store_range *range) {
    uint8_t past[BRG_STORE_KEY_BYTES_MAX];
    size_t size = range->prefix_bytes;
    if (!range->newest) {
        if (size == 0)
            rocksdb_iter_seek_to_first(it);
        else
            rocksdb_iter_seek(it, range->prefix, size);
        return;
    }
    /* The first key behind all with this prefix: the prefix plus one, less trailing 0xff. */
    if (size > 0) memcpy(past, range->prefix, size);
    while (size > 0 && past[size - 1] == UINT8_MAX) size--;
    if (size == 0) {
        rocksdb_iter_seek_to_last(it);
        return;
    }
    past[size - 1]++;
    rocksdb_iter_seek_for_prev(it, (const char *)past, size);
    size_t key_bytes = 0;
    if (rocksdb_iter_valid(it) == 0) return;
    const char *key = rocksdb_iter_key(it, &key_bytes);
    if (key_bytes == size && memcmp(key, past, size) == 0) rocksdb_iter_prev(it);
}

int brg_store_scan(struct brg_store *store, const struct brg_store_range *range,
                   int (*visit)(void *context, const uint8_t *key, size_t key_bytes,
                                const uint8_t *value, size_t value_bytes),
                   void *context) {
    int rc = BRG_OK;
    char *err = NULL;
    BRG_ASSERT(range->family < BRG_STORE_FAMILY_COUNT);
    BRG_ASSERT(range->prefix_bytes <= BRG_STORE_KEY_BYTES_MAX);
    BRG_ASSERT(range->limit > 0);

    rocksdb_iterator_t *it =
        rocksdb_create_iterator_cf(store->db, store->reading, store->families[range->family]);
    seek(it, range);
    for (uint64_t i = 0; i < range->limit && rocksdb_iter_valid(it) != 0; i++) {
        size_t key_bytes = 0, value_bytes = 0;
        const char *key = rocksdb_iter_key(it, &key_bytes);
        const char *value = rocksdb_iter_value(it, &value_bytes);
        if (key_bytes < range->prefix_bytes) break;
        if (range->prefix_bytes > 0 && memcmp(key, range->prefix, range->prefix_bytes) != 0) break;
        rc = visit(context, (const uint8_t *)key, key_bytes, (const uint8_t *)value, value_bytes);
        if (rc != BRG_OK) break;
        if (range->newest)
            rocksdb_iter_prev(it);
        else
            rocksdb_iter_next(it);
    }
    rocksdb_iter_get_error(it, &err); /* an iterator that hits a bad block just ends */
    rocksdb_iter_destroy(it);
    if (err != NULL) return brg_store_why_rocksdb(store->path, "a scan", err, &store->why);
    return rc == BRG_ECANCELED ? BRG_OK : rc;
}

int brg_store_next_epoch(struct brg_store *store, uint64_t *epoch) {
    int rc = BRG_OK;
    uint64_t last = 0;
    uint8_t packed[8];
    struct brg_store_value v;
    struct brg_store_batch *batch = NULL;

    *epoch = 0;
    rc = brg_store_get(store, BRG_STORE_META, epoch_key, sizeof epoch_key - 1, &v);
    if (rc != BRG_OK && rc != BRG_ENOENT) return rc;
    if (rc == BRG_OK && v.size_bytes != sizeof packed) {
        rc = brg_why_set(&store->why, BRG_ECORRUPT,
                         "store %s: the epoch has %zu bytes instead of 8: restore the folder from "
                         "a backup",
                         store->path, v.size_bytes);
        goto out;
    }
    if (v.data != NULL) last = brg_record_key_read_u64(v.data);
    rc = brg_store_batch_create(store, &batch);
    if (rc != BRG_OK) goto out;
    brg_record_key_u64(last + 1, packed);
    rc = brg_store_batch_put(batch, BRG_STORE_META, epoch_key, sizeof epoch_key - 1, packed,
                             sizeof packed);
    if (rc == BRG_OK) rc = brg_store_write_synced(store, batch);
    if (rc == BRG_OK) *epoch = last + 1;
out:
    brg_store_value_free(&v);
    brg_store_batch_destroy(&batch);
    return rc;
}
