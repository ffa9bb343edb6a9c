/* The chain of commit records: read whole at every open, and its ends kept in memory. */
#include <string.h>

#include "coordinator/shell/store_private.h"

struct walk {
    struct brg_store *store;
    struct brg_store_head head; /* of the run under the cursor; run 0: none yet */
};

static struct brg_store_head *find_head(const struct brg_store *store, uint64_t run) {
    for (uint32_t i = 0; i < store->head_count; i++) {
        if (store->heads[i].run == run) return &store->heads[i];
    }
    return NULL;
}

void brg_store_head(const struct brg_store *store, uint64_t run, struct brg_store_head *out) {
    const struct brg_store_head *found = find_head(store, run);
    *out = found != NULL ? *found : (struct brg_store_head){.run = run};
}

static int grow_heads(struct brg_store *s) {
    if (s->head_room == BRG_STORE_RUNS_MAX) {
        return brg_why_set(&s->why, BRG_EFULL,
                           "store %s: %u runs have steps, no more fit: start a new state folder",
                           s->path, BRG_STORE_RUNS_MAX);
    }
    const uint32_t room = s->head_room == 0 ? 64u : s->head_room * 2u;
    struct brg_store_head *heads = realloc(s->heads, room * sizeof *heads);
    if (heads == NULL) return brg_why_set(&s->why, BRG_ENOMEM, "no memory left for %u runs", room);
    s->heads = heads;
    s->head_room = room;
    return BRG_OK;
}

int brg_store_set_head(struct brg_store *store, const struct brg_store_head *head) {
    struct brg_store_head *found = find_head(store, head->run);
    if (head->step == 0) { /* nothing is left of the run: the last one takes its place */
        if (found != NULL) *found = store->heads[--store->head_count];
        return BRG_OK;
    }
    if (found == NULL) {
        if (store->head_count == store->head_room) {
            const int rc = grow_heads(store);
            if (rc != BRG_OK) return rc;
        }
        found = &store->heads[store->head_count++];
    }
    *found = *head;
    return BRG_OK;
}

static int broken(struct brg_store *s, uint64_t run, uint64_t step, const char *what) {
    return brg_why_set(&s->why, BRG_ECORRUPT,
                       "store %s: run %llu, step %llu: %s; committed steps were lost or altered, "
                       "so nothing was started: restore the state folder from a backup, or move "
                       "it away and submit the run again",
                       s->path, (unsigned long long)run, (unsigned long long)step, what);
}

/* The first step of a run: the run itself must be known. */
static int enter_run(struct walk *w, uint64_t run) {
    struct brg_store_value v;
    uint8_t key[8];
    if (w->head.run != 0) {
        const int rc = brg_store_set_head(w->store, &w->head);
        if (rc != BRG_OK) return rc;
    }
    brg_record_key_u64(run, key);
    const int rc = brg_store_get(w->store, BRG_STORE_RUNS, key, sizeof key, &v);
    brg_store_value_free(&v);
    if (rc == BRG_ENOENT) return broken(w->store, run, 1, "the record of the run itself is gone");
    w->head = (struct brg_store_head){.run = run};
    return rc;
}

static int visit_step(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                      size_t value_bytes) {
    struct walk *w = context;
    struct brg_record_step r;
    struct brg_digest own;
    int rc = BRG_OK;

    if (key_bytes != 16)
        return broken(w->store, 0, 0, "the key of a commit record has no 16 bytes");
    const uint64_t run = brg_record_key_read_u64(key), step = brg_record_key_read_u64(key + 8);
    if (run == 0) return broken(w->store, run, step, "there is no run 0");
    if (run != w->head.run) {
        rc = enter_run(w, run);
        if (rc != BRG_OK) return rc;
    }
    if (step != w->head.step + 1) {
        return broken(w->store, run, w->head.step + 1, "the commit record is missing");
    }
    if (brg_record_step_unpack(value, value_bytes, &r) != BRG_OK) {
        return broken(w->store, run, step, "the commit record cannot be read");
    }
    if (r.run != run || r.step != step) {
        return broken(w->store, run, step, "the commit record belongs to another step");
    }
    brg_record_step_digest(&r, &own);
    if (!brg_digest_equal(&own, &r.digest)) {
        return broken(w->store, run, step, "the commit record does not have its digest");
    }
    if (!brg_digest_equal(&w->head.digest, &r.previous)) {
        return broken(w->store, run, step, "the commit record does not follow the one before it");
    }
    w->head.step = step;
    w->head.digest = r.digest;
    return BRG_OK;
}

int brg_store_verify_chain(struct brg_store *store) {
    const struct brg_store_range all = {.family = BRG_STORE_STEPS, .limit = UINT64_MAX};
    struct walk w = {.store = store};
    const int rc = brg_store_scan(store, &all, visit_step, &w);
    if (rc != BRG_OK || w.head.run == 0) return rc;
    return brg_store_set_head(store, &w.head);
}

int brg_store_step(struct brg_store *store, uint64_t run, uint64_t step,
                   struct brg_record_step *out) {
    struct brg_store_value v;
    struct brg_digest own;
    uint8_t key[16];

    brg_record_key_step(run, step, key);
    int rc = brg_store_get(store, BRG_STORE_STEPS, key, sizeof key, &v);
    if (rc != BRG_OK) return rc;
    rc = brg_record_step_unpack(v.data, v.size_bytes, out);
    brg_store_value_free(&v);
    if (rc != BRG_OK) return broken(store, run, step, "the commit record cannot be read");
    brg_record_step_digest(out, &own);
    if (!brg_digest_equal(&own, &out->digest)) {
        return broken(store, run, step, "the commit record does not have its digest");
    }
    return BRG_OK;
}
