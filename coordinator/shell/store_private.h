/* store_private.h - what the files of the store share; nobody else includes it. */
#ifndef BRG_STORE_PRIVATE_H
#define BRG_STORE_PRIVATE_H

#include <rocksdb/c.h>

#include "base/file.h"
#include "coordinator/shell/store.h"

/* RocksDB opens its "default" family whether one wants it or not; it stays empty. */
#define BRG_STORE_HANDLES (BRG_STORE_FAMILY_COUNT + 1u)

struct brg_store {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_readoptions_t *reading;
    rocksdb_writeoptions_t *writing;
    rocksdb_column_family_handle_t *families[BRG_STORE_HANDLES]; /* the last one is "default" */
    struct brg_store_head *heads; /* of runs with committed steps, in no order */
    uint32_t head_count, head_room;
    uint64_t last_event; /* sequence given last, in a batch or in the store */
    int witness;         /* descriptor of the file WITNESS; -1: not open */
    int failed;          /* BRG_OK, or the error of the write that failed */
    struct brg_why why;
    char path[BRG_FILE_PATH_BYTES];
};

/* brg_store_why_rocksdb - turns RocksDB's text into a sentence and a code, and frees the text. */
int brg_store_why_rocksdb(const char *path, const char *doing, char *err, struct brg_why *why);

/* brg_store_set_head - remembers a run's last step; step 0 forgets the run.
 * errors: BRG_EFULL BRG_STORE_RUNS_MAX runs have steps; BRG_ENOMEM */
BRG_CHECK int brg_store_set_head(struct brg_store *store, const struct brg_store_head *head);

/* brg_store_verify_chain - reads all commit records and fills the heads; sentence in store->why.
 * errors: BRG_ECORRUPT a hole or a digest that does not fit; BRG_EIO; BRG_EFULL; BRG_ENOMEM */
BRG_CHECK int brg_store_verify_chain(struct brg_store *store);

/* brg_store_witness_open - refuses a store that is behind its witness; sentence in store->why.
 * errors: BRG_ECORRUPT synced writes are gone; BRG_EIO and others of brg_file_error */
BRG_CHECK int brg_store_witness_open(struct brg_store *store);

/* brg_store_witness_note - after an acknowledged write; not synced. errors: BRG_EIO, BRG_ENOSPC */
BRG_CHECK int brg_store_witness_note(struct brg_store *store);

#endif
