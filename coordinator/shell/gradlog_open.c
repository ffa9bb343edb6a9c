/* Opening a gradient log: look at everything first, change something only when all is well. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/shell/gradlog_private.h"

#define FOLDER_ENTRIES_MAX 100000u

static int cannot(const struct brg_gradlog *log, const char *doing, struct brg_why *why) {
    return brg_why_set(why, brg_file_error(errno), "gradient log %s: %s failed: %s", log->folder,
                       doing, strerror(errno));
}

/* Keeps the first steps in ascending order. */
static int insert_segment(struct brg_gradlog *log, uint64_t first_step, struct brg_why *why) {
    uint32_t at = log->segment_count;
    if (at == BRG_GRADLOG_SEGMENTS_MAX) {
        return brg_why_set(why, BRG_EFULL, "gradient log %s: more than %u segments", log->folder,
                           BRG_GRADLOG_SEGMENTS_MAX);
    }
    for (; at > 0 && log->segments[at - 1] > first_step; at--) {
        log->segments[at] = log->segments[at - 1];
    }
    log->segments[at] = first_step;
    log->segment_count++;
    return BRG_OK;
}

static int list_segments(struct brg_gradlog *log, struct brg_why *why) {
    int rc = BRG_OK;
    DIR *folder = opendir(log->folder);
    if (folder == NULL) return cannot(log, "listing it", why);
    const struct dirent *entry = readdir(folder);
    for (uint32_t i = 0; entry != NULL && rc == BRG_OK && i < FOLDER_ENTRIES_MAX; i++) {
        char path[BRG_GRADLOG_PATH_BYTES];
        unsigned long long first = 0;
        if (sscanf(entry->d_name, "segment-%20llu.grad", &first) == 1) {
            /* Only a name that this program would give; anything else is not ours to touch. */
            const char *name = strrchr(brg_gradlog_path(log, first, path), '/') + 1;
            if (strcmp(name, entry->d_name) == 0) rc = insert_segment(log, first, why);
        }
        entry = readdir(folder);
    }
    (void)closedir(folder);
    return rc;
}

/* Opens a segment and verifies its header. BRG_ECORRUPT without a sentence: not a valid one. */
static int open_segment(const struct brg_gradlog *log, uint64_t segment, int *fd,
                        struct brg_why *why) {
    char path[BRG_GRADLOG_PATH_BYTES];
    struct brg_gradlog_segment_header h;
    struct brg_digest own;

    *fd = open(brg_gradlog_path(log, segment, path), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0) return cannot(log, "opening a segment", why);
    int rc = brg_gradlog_read_exactly(*fd, &h, sizeof h, 0);
    if (rc == BRG_EIO) (void)cannot(log, "reading a segment", why);
    if (rc != BRG_OK) goto out;
    brg_gradlog_segment_digest(&h, &own);
    if (memcmp(h.magic, brg_gradlog_segment_magic, sizeof h.magic) != 0 ||
        !brg_digest_equal(&own, &h.digest) || h.version != BRG_GRADLOG_VERSION ||
        h.run != log->run || h.elements != log->elements || h.first_step != segment) {
        rc = BRG_ECORRUPT;
    }
out:
    if (rc != BRG_OK) {
        (void)close(*fd);
        *fd = -1;
    }
    return rc;
}

static int behind(const struct brg_gradlog *log, uint64_t committed, uint64_t proved,
                  struct brg_why *why) {
    return brg_why_set(why, BRG_EBEHIND,
                       "gradient log %s: it proves that step %llu of run %llu was committed, but "
                       "the store ends with step %llu: the store has lost steps, so nothing was "
                       "started: restore the whole state folder from one backup",
                       log->folder, (unsigned long long)proved, (unsigned long long)log->run,
                       (unsigned long long)committed);
}

/* The newest segment shows how far the coordinator came: a record of step s is written only after
 * step s-1 was committed. A torn or damaged end shows less, which is no reason to refuse. */
static int check_not_ahead(const struct brg_gradlog *log, uint64_t committed, struct brg_why *why) {
    int fd = -1;
    struct brg_gradlog_record_header h;
    if (log->segment_count == 0) return BRG_OK;
    const uint64_t segment = log->segments[log->segment_count - 1];
    int rc = open_segment(log, segment, &fd, why);
    if (rc == BRG_ECORRUPT) return BRG_OK; /* cut off while it was started */
    if (rc != BRG_OK) return rc;
    if (segment > committed + 1) rc = behind(log, committed, segment - 1, why);

    uint64_t offset = BRG_GRADLOG_HEADER_BYTES;
    while (rc == BRG_OK) { /* ends with the file */
        rc = brg_gradlog_check_record(log, fd, segment, offset, &h);
        if (rc == BRG_EIO) (void)cannot(log, "reading a segment", why);
        if (rc == BRG_OK && h.step > committed + 1) rc = behind(log, committed, h.step - 1, why);
        offset += log->record_bytes;
    }
    (void)close(fd);
    return rc == BRG_ECORRUPT ? BRG_OK : rc;
}

static int damaged(const struct brg_gradlog *log, const struct brg_gradlog_config *config,
                   uint64_t segment, const char *what, struct brg_why *why) {
    char path[BRG_GRADLOG_PATH_BYTES];
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: %s, but steps %llu to %llu have to be replayed from the log: restore "
                       "the file from a backup, or submit the run again",
                       brg_gradlog_path(log, segment, path), what,
                       (unsigned long long)config->checkpoint + 1,
                       (unsigned long long)config->committed);
}

/* Every step after the checkpoint must be in a segment that is there. */
static int check_reach(const struct brg_gradlog *log, const struct brg_gradlog_config *config,
                       struct brg_why *why) {
    const struct brg_gradlog_place *last = &config->last;
    struct brg_gradlog_record_header h;
    uint32_t at = 0;
    int fd = -1;

    if (log->segment_count == 0 || log->segments[0] > config->checkpoint + 1) {
        return damaged(log, config, config->checkpoint + 1, "the segment is missing", why);
    }
    while (at < log->segment_count && log->segments[at] != last->segment) at++;
    if (at == log->segment_count) {
        return damaged(log, config, last->segment, "the segment is missing", why);
    }
    int rc = open_segment(log, last->segment, &fd, why);
    if (rc == BRG_ECORRUPT) {
        return damaged(log, config, last->segment, "its header does not verify", why);
    }
    if (rc != BRG_OK) return rc;
    if (last->size_bytes != log->record_bytes) rc = BRG_ECORRUPT;
    if (rc == BRG_OK) rc = brg_gradlog_check_record(log, fd, last->segment, last->offset, &h);
    if (rc == BRG_OK && h.step != config->committed) rc = BRG_ECORRUPT;
    if (rc == BRG_ECORRUPT) {
        (void)damaged(log, config, last->segment, "its last committed record does not verify", why);
    } else if (rc != BRG_OK) {
        (void)cannot(log, "reading a segment", why);
    }
    (void)close(fd);
    return rc;
}

/* Deletes the segments [from, count) of the list. */
static int delete_from(struct brg_gradlog *log, uint32_t from, struct brg_why *why) {
    char path[BRG_GRADLOG_PATH_BYTES];
    if (from == log->segment_count) return BRG_OK;
    for (uint32_t i = from; i < log->segment_count; i++) {
        if (unlink(brg_gradlog_path(log, log->segments[i], path)) != 0) {
            return cannot(log, "deleting a segment", why);
        }
    }
    log->segment_count = from;
    return brg_dir_sync(log->folder) == BRG_OK ? BRG_OK : cannot(log, "syncing the folder", why);
}

/* Cuts the log off behind the last committed record; appending goes on there. */
static int cut(struct brg_gradlog *log, const struct brg_gradlog_place *last, struct brg_why *why) {
    uint32_t keep = 0;
    while (keep < log->segment_count && log->segments[keep] <= last->segment) keep++;
    int rc = delete_from(log, keep, why);
    if (rc != BRG_OK) return rc;
    rc = open_segment(log, last->segment, &log->fd, why);
    if (rc != BRG_OK) return rc;
    log->end = last->offset + last->size_bytes;
    log->allocated = log->end;
    if (ftruncate(log->fd, (off_t)log->end) != 0 || fsync(log->fd) != 0) {
        return cannot(log, "cutting off a segment", why);
    }
    return BRG_OK;
}

static int settle(struct brg_gradlog *log, const struct brg_gradlog_config *config,
                  struct brg_why *why) {
    int rc = list_segments(log, why);
    if (rc == BRG_OK) rc = check_not_ahead(log, config->committed, why);
    if (rc != BRG_OK) return rc;
    if (config->checkpoint == config->committed) return delete_from(log, 0, why);
    rc = check_reach(log, config, why);
    if (rc == BRG_OK) rc = cut(log, &config->last, why);
    if (rc == BRG_OK) rc = brg_gradlog_drop_through(log, config->checkpoint, why);
    return rc;
}

int brg_gradlog_open(const struct brg_gradlog_config *config, struct brg_gradlog **out,
                     struct brg_why *why) {
    struct brg_gradlog *log = NULL;
    *out = NULL;
    if (config->elements == 0 || config->elements > BRG_GRADLOG_ELEMENTS_MAX || config->run == 0 ||
        config->checkpoint > config->committed || config->folder[0] == '\0' ||
        strlen(config->folder) >= sizeof log->folder) {
        return brg_why_set(
            why, BRG_EINVAL,
            "gradient log %.200s: run %llu, %llu elements, checkpoint of step %llu, "
            "committed step %llu do not go together",
            config->folder, (unsigned long long)config->run, (unsigned long long)config->elements,
            (unsigned long long)config->checkpoint, (unsigned long long)config->committed);
    }
    log = calloc(1, sizeof *log);
    if (log == NULL) return brg_why_set(why, BRG_ENOMEM, "no memory left for a gradient log");
    log->fd = -1;
    log->run = config->run;
    log->elements = config->elements;
    log->record_bytes = BRG_GRADLOG_RECORD_BYTES + config->elements * sizeof(float);
    log->next_step = config->committed + 1;
    memcpy(log->folder, config->folder, strlen(config->folder) + 1);

    int rc = brg_dir_make(log->folder, 0700);
    if (rc != BRG_OK) (void)cannot(log, "creating the folder", why);
    if (rc == BRG_OK) rc = settle(log, config, why);
    if (rc != BRG_OK) brg_gradlog_close(&log);
    *out = log;
    return rc;
}
