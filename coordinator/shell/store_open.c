/* Opening: what is in the folder decides what may be created and what must be there.
 *
 *   nothing of RocksDB's       first start: create
 *   logs or tables, no CURRENT damaged: creating would bury what is there
 *   no family "meta"           a first start that was cut off: create the rest (meta comes last)
 *   "meta", another missing    damaged
 *   a family we do not know    somebody else's, or a newer version's: refuse */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/shell/store_private.h"

#define WAL_TOLERATE_CORRUPTED_TAIL                                                                \
    0 /* the default, 2, drops synced writes behind a flipped bit                                  \
       */
#define INFO_LOG_WARN 2
#define INFO_LOG_FILES 2u
#define INFO_LOG_BYTES (1u << 20)
#define WAL_BYTES_MAX (64u << 20)
#define WRITE_BUFFER_BYTES (8u << 20)
#define RECORDS_MANIFEST_BYTES_MAX (4u << 20)
#define OPEN_FILES_MAX 128
#define FOLDER_ENTRIES_MAX 100000u

/* In the order in which RocksDB creates them: where meta is, all are. */
static const char *const family_names[BRG_STORE_HANDLES] = {
    [BRG_STORE_MEMBERS] = "members",      [BRG_STORE_TOKENS] = "tokens", [BRG_STORE_RUNS] = "runs",
    [BRG_STORE_STEPS] = "steps",          [BRG_STORE_EVENTS] = "events", [BRG_STORE_META] = "meta",
    [BRG_STORE_FAMILY_COUNT] = "default",
};

static const char format_key[] = "format";

int brg_store_why_rocksdb(const char *path, const char *doing, char *err, struct brg_why *why) {
    int rc = BRG_EIO;
    const char *next = "look at the disk and at the system's log, then start again";

    if (strstr(err, "No space left") != NULL || strstr(err, "quota exceeded") != NULL ||
        strstr(err, "File too large") != NULL) {
        rc = BRG_ENOSPC;
        next = "make room on this disk, then start again: nothing committed is lost";
    } else if (strncmp(err, "Corruption", strlen("Corruption")) == 0) {
        rc = BRG_ECORRUPT;
        next = "stored records are damaged and nothing was started: restore this folder from a "
               "backup, or move it away and submit the runs again";
    } else if (strstr(err, "Permission denied") != NULL) {
        rc = BRG_EPERM;
        next = "start as the user who owns this folder";
    } else if (strstr(err, "lock hold by") != NULL || strstr(err, "While lock file") != NULL) {
        (void)brg_why_set(why, BRG_OK,
                          "store %s: another coordinator uses this store: stop it first, or give "
                          "this one a state folder of its own",
                          path);
        rocksdb_free(err);
        return BRG_EEXIST;
    }
    (void)brg_why_set(why, rc, "store %s: %s failed (%.200s): %s", path, doing, err, next);
    rocksdb_free(err);
    return rc;
}

/* Logs or tables without the file that says which count: something was lost here. */
static int refuse_remains(const char *path, struct brg_why *why) {
    int rc = BRG_OK;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return brg_why_set(why, brg_file_error(errno), "store %s: cannot be listed: %s", path,
                           strerror(errno));
    }
    const struct dirent *entry = readdir(folder);
    for (uint32_t i = 0; entry != NULL && i < FOLDER_ENTRIES_MAX; i++, entry = readdir(folder)) {
        const char *end = strrchr(entry->d_name, '.');
        if (end == NULL || (strcmp(end, ".log") != 0 && strcmp(end, ".sst") != 0)) continue;
        rc = brg_why_set(why, BRG_ECORRUPT,
                         "store %s: holds %s but no file CURRENT, so part of it was lost: restore "
                         "the folder from a backup, or move it away and submit the runs again",
                         path, entry->d_name);
        break;
    }
    (void)closedir(folder);
    return rc;
}

static int index_of_family(const char *name) {
    for (uint32_t i = 0; i < BRG_STORE_HANDLES; i++) {
        if (strcmp(name, family_names[i]) == 0) return (int)i;
    }
    return -1;
}

/* Consumes the iterator. One that cannot be read is not empty. */
static int iterates_over_nothing(rocksdb_iterator_t *it) {
    char *err = NULL;
    rocksdb_iter_seek_to_first(it);
    const int valid = rocksdb_iter_valid(it) != 0;
    rocksdb_iter_get_error(it, &err);
    rocksdb_iter_destroy(it);
    if (err == NULL) return !valid;
    rocksdb_free(err);
    return 0;
}

/* A database with nothing but "default" may be ours, cut off, or another program's: look first. */
static int refuse_foreign(const struct brg_store *s, struct brg_why *why) {
    char *err = NULL;
    rocksdb_t *db = rocksdb_open_for_read_only(s->options, s->path, 0, &err);
    if (err != NULL) return brg_store_why_rocksdb(s->path, "reading it", err, why);

    rocksdb_iterator_t *it = rocksdb_create_iterator(db, s->reading);
    const int empty = iterates_over_nothing(it);
    rocksdb_close(db);
    if (empty) return BRG_OK;
    return brg_why_set(why, BRG_EINVAL,
                       "store %s: holds another program's database: give the coordinator a state "
                       "folder of its own",
                       s->path);
}

/* Which families are there; *create is set where the rest may be created. */
static int check_families(const struct brg_store *s, unsigned char *create, struct brg_why *why) {
    int rc = BRG_OK;
    char *err = NULL;
    size_t count = 0;
    uint8_t present[BRG_STORE_HANDLES] = {0};
    char **names = rocksdb_list_column_families(s->options, s->path, &count, &err);
    if (err != NULL) return brg_store_why_rocksdb(s->path, "listing its families", err, why);

    for (size_t i = 0; i < count && rc == BRG_OK; i++) {
        const int index = index_of_family(names[i]);
        if (index >= 0) present[index] = 1;
        if (index < 0) {
            rc = brg_why_set(why, BRG_EINVAL,
                             "store %s: has a column family \"%.40s\" that this version does not "
                             "know: use the version that wrote it",
                             s->path, names[i]);
        }
    }
    rocksdb_list_column_families_destroy(names, count);
    if (rc != BRG_OK) return rc;

    *create = present[BRG_STORE_META] == 0;
    if (*create) return refuse_foreign(s, why);
    for (uint32_t i = 0; i < BRG_STORE_HANDLES; i++) {
        if (present[i]) continue;
        return brg_why_set(why, BRG_ECORRUPT,
                           "store %s: its column family \"%s\" is gone: restore the folder from a "
                           "backup, or move it away and submit the runs again",
                           s->path, family_names[i]);
    }
    return BRG_OK;
}

static int create_options(struct brg_store *s) {
    s->options = rocksdb_options_create();
    s->reading = rocksdb_readoptions_create();
    s->writing = rocksdb_writeoptions_create();
    if (s->options == NULL || s->reading == NULL || s->writing == NULL) return BRG_ENOMEM;

    rocksdb_options_set_wal_recovery_mode(s->options, WAL_TOLERATE_CORRUPTED_TAIL);
    rocksdb_options_set_paranoid_checks(s->options, 1);
    rocksdb_options_set_info_log_level(s->options, INFO_LOG_WARN);
    rocksdb_options_set_keep_log_file_num(s->options, INFO_LOG_FILES);
    rocksdb_options_set_max_log_file_size(s->options, INFO_LOG_BYTES);
    rocksdb_options_set_stats_dump_period_sec(s->options, 0);
    rocksdb_options_set_stats_persist_period_sec(s->options, 0);
    rocksdb_options_set_max_total_wal_size(s->options, WAL_BYTES_MAX);
    rocksdb_options_set_write_buffer_size(s->options, WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_manifest_file_size(s->options, RECORDS_MANIFEST_BYTES_MAX);
    rocksdb_options_set_max_open_files(s->options, OPEN_FILES_MAX);
    rocksdb_options_set_max_file_opening_threads(s->options, 1); /* 16 a family is its default */
    rocksdb_readoptions_set_verify_checksums(s->reading, 1);
    rocksdb_writeoptions_set_sync(s->writing, 1);
    return BRG_OK;
}

static int open_database(struct brg_store *s, struct brg_why *why) {
    char current[BRG_FILE_PATH_BYTES + 16];
    char *err = NULL;
    unsigned char create = 1;
    const rocksdb_options_t *options[BRG_STORE_HANDLES];

    (void)snprintf(current, sizeof current, "%s/CURRENT", s->path);
    if (access(current, F_OK) == 0) {
        const int rc = check_families(s, &create, why);
        if (rc != BRG_OK) return rc;
    } else if (errno == ENOENT) {
        const int rc = refuse_remains(s->path, why);
        if (rc != BRG_OK) return rc;
        rocksdb_options_set_create_if_missing(s->options, 1);
    } else {
        return brg_why_set(why, brg_file_error(errno), "store %s: cannot be looked into: %s",
                           s->path, strerror(errno));
    }
    rocksdb_options_set_create_missing_column_families(s->options, create);
    for (uint32_t i = 0; i < BRG_STORE_HANDLES; i++) options[i] = s->options;
    s->db = rocksdb_open_column_families(s->options, s->path, (int)BRG_STORE_HANDLES, family_names,
                                         options, s->families, &err);
    if (err != NULL) return brg_store_why_rocksdb(s->path, "opening it", err, why);
    return BRG_OK;
}

static int all_empty(struct brg_store *s) {
    for (uint32_t i = 0; i < BRG_STORE_HANDLES; i++) {
        if (!iterates_over_nothing(rocksdb_create_iterator_cf(s->db, s->reading, s->families[i])))
            return 0;
    }
    return 1;
}

static int write_format(struct brg_store *s, struct brg_why *why) {
    const uint8_t format[4] = {BRG_STORE_FORMAT};
    struct brg_store_batch *batch = NULL;
    int rc = BRG_OK;

    if (!all_empty(s)) {
        return brg_why_set(why, BRG_ECORRUPT,
                           "store %s: has records but no format version: restore the folder from a "
                           "backup, or move it away and submit the runs again",
                           s->path);
    }
    rc = brg_store_batch_create(s, &batch);
    if (rc != BRG_OK) return rc;
    rc = brg_store_batch_put(batch, BRG_STORE_META, format_key, sizeof format_key - 1, format,
                             sizeof format);
    if (rc == BRG_OK) rc = brg_store_write_synced(s, batch);
    if (rc != BRG_OK) *why = s->why;
    brg_store_batch_destroy(&batch);
    return rc;
}

static int check_format(struct brg_store *s, struct brg_why *why) {
    struct brg_store_value v;
    int rc = brg_store_get(s, BRG_STORE_META, format_key, sizeof format_key - 1, &v);
    if (rc == BRG_ENOENT) return write_format(s, why);
    if (rc != BRG_OK) {
        *why = s->why;
        return rc;
    }
    uint32_t format = 0;
    for (size_t i = 0; i < v.size_bytes && i < 4; i++) format |= (uint32_t)v.data[i] << (8 * i);
    if (v.size_bytes != 4 || format != BRG_STORE_FORMAT) {
        rc = brg_why_set(why, BRG_EINVAL,
                         "store %s: has format version %u and this program reads %u: use the "
                         "version that wrote it",
                         s->path, format, BRG_STORE_FORMAT);
    }
    brg_store_value_free(&v);
    return rc;
}

static int visit_last_event(void *context, const uint8_t *key, size_t key_bytes,
                            const uint8_t *value, size_t value_bytes) {
    struct brg_store *s = context;
    (void)value, (void)value_bytes;
    if (key_bytes != 8) return BRG_ECORRUPT;
    s->last_event = brg_record_key_read_u64(key);
    return BRG_OK;
}

static int read_state(struct brg_store *s, struct brg_why *why) {
    const struct brg_store_range last = {.family = BRG_STORE_EVENTS, .limit = 1, .newest = 1};
    int rc = brg_store_witness_open(s); /* before anything is written */
    if (rc != BRG_OK) {
        *why = s->why;
        return rc;
    }
    rc = check_format(s, why);
    if (rc != BRG_OK) return rc;
    rc = brg_store_scan(s, &last, visit_last_event, s);
    if (rc == BRG_OK) rc = brg_store_verify_chain(s);
    if (rc != BRG_OK) {
        *why = s->why;
        if (why->text[0] == '\0') (void)brg_why_set(why, rc, "store %s: an event's key", s->path);
    }
    return rc;
}

int brg_store_open(const char *path, struct brg_store **out, struct brg_why *why) {
    int rc = BRG_OK;
    struct brg_store *s = NULL;
    struct brg_why local;
    if (why == NULL) why = &local;

    *out = NULL;
    if (path[0] == '\0' || strlen(path) >= sizeof s->path) {
        return brg_why_set(why, BRG_EINVAL, "the store's folder needs a name of 1 to %zu bytes",
                           sizeof s->path - 1);
    }
    rc = brg_dir_make(path, 0700);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc, "store %s: the folder cannot be created: %s", path,
                           strerror(errno));
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) return brg_why_set(why, BRG_ENOMEM, "store %s: no memory left", path);
    s->witness = -1;
    memcpy(s->path, path, strlen(path) + 1);
    rc = create_options(s);
    if (rc != BRG_OK) {
        (void)brg_why_set(why, rc, "store %s: no memory left", path);
        goto out;
    }
    rc = open_database(s, why);
    if (rc != BRG_OK) goto out;
    rc = read_state(s, why);
    if (rc != BRG_OK) goto out;
    *out = s; /* ownership moves to the caller */
    s = NULL;
out:
    brg_store_close(&s);
    return rc;
}

void brg_store_close(struct brg_store **store) {
    struct brg_store *s = *store;
    if (s == NULL) return;
    for (uint32_t i = 0; i < BRG_STORE_HANDLES; i++) {
        if (s->families[i] != NULL) rocksdb_column_family_handle_destroy(s->families[i]);
    }
    if (s->db != NULL) rocksdb_close(s->db); /* after the handles: RocksDB's order */
    if (s->writing != NULL) rocksdb_writeoptions_destroy(s->writing);
    if (s->reading != NULL) rocksdb_readoptions_destroy(s->reading);
    if (s->options != NULL) rocksdb_options_destroy(s->options);
    if (s->witness >= 0) (void)close(s->witness);
    free(s->heads);
    free(s);
    *store = NULL;
}
