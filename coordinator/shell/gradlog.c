#include "coordinator/shell/gradlog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coordinator/shell/gradlog_private.h"

/* Room taken at once: large enough that most appends change no metadata, small beside a disk. */
#define AHEAD_RECORDS 8u
#define AHEAD_BYTES_MAX (UINT64_C(256) << 20)
#define WRITE_CALLS_MAX 4096u /* the kernel writes up to 2 GiB at once */

const char brg_gradlog_segment_magic[8] = {'B', 'R', 'G', 'G', 'L', 'O', 'G', '1'};
static const char record_magic[4] = {'G', 'R', 'A', 'D'};

const char *brg_gradlog_path(const struct brg_gradlog *log, uint64_t segment, char *out) {
    (void)snprintf(out, BRG_GRADLOG_PATH_BYTES, "%s/segment-%010llu.grad", log->folder,
                   (unsigned long long)segment);
    return out;
}

void brg_gradlog_segment_digest(const struct brg_gradlog_segment_header *h,
                                struct brg_digest *out) {
    brg_digest_of(h, offsetof(struct brg_gradlog_segment_header, digest), out);
}

void brg_gradlog_record_digest(const struct brg_gradlog_record_header *h, struct brg_digest *out) {
    brg_digest_of(h, offsetof(struct brg_gradlog_record_header, digest), out);
}

int brg_gradlog_read_exactly(int fd, void *out, size_t size, uint64_t offset) {
    size_t got = 0;
    for (uint32_t i = 0; i < WRITE_CALLS_MAX && got < size; i++) {
        const ssize_t r = pread(fd, (uint8_t *)out + got, size - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return BRG_EIO;
        if (r == 0) return BRG_ECORRUPT;
        got += (size_t)r;
    }
    return got == size ? BRG_OK : BRG_EIO;
}

int brg_gradlog_check_record(const struct brg_gradlog *log, int fd, uint64_t segment,
                             uint64_t offset, struct brg_gradlog_record_header *out) {
    struct brg_digest own;
    const int rc = brg_gradlog_read_exactly(fd, out, sizeof *out, offset);
    if (rc != BRG_OK) return rc;
    brg_gradlog_record_digest(out, &own);
    if (memcmp(out->magic, record_magic, sizeof record_magic) != 0 ||
        !brg_digest_equal(&own, &out->digest) || out->version != BRG_GRADLOG_VERSION ||
        out->run != log->run || out->elements != log->elements || out->segment != segment ||
        out->offset != offset) {
        return BRG_ECORRUPT;
    }
    return BRG_OK;
}

/* The sentence for the operating system's errno. */
static int disk_error(const struct brg_gradlog *log, const char *doing, struct brg_why *why) {
    const int rc = brg_file_error(errno);
    return brg_why_set(
        why, rc, "gradient log %s: %s failed: %s; %s", log->folder, doing, strerror(errno),
        rc == BRG_ENOSPC ? "make room on this disk, then start again: nothing committed is lost"
                         : "look at the disk and at the system's log, then start again");
}

/* Writes all parts at `offset`; short writes are gone on with. errno is set where it fails. */
static int write_parts(int fd, struct iovec *parts, int count, uint64_t offset) {
    for (uint32_t i = 0; i < WRITE_CALLS_MAX && count > 0; i++) {
        const ssize_t w = pwritev(fd, parts, count, (off_t)offset);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return -1;
        size_t left = (size_t)w;
        offset += left;
        while (count > 0 && left >= parts->iov_len) { /* at most `count` turns */
            left -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    if (count == 0) return 0;
    errno = EIO;
    return -1;
}

static int allocate(int fd, uint64_t from, uint64_t to) {
    int rc = -1;
    errno = EINTR;
    for (uint32_t i = 0; i < WRITE_CALLS_MAX && rc != 0 && errno == EINTR; i++) {
        rc = fallocate(fd, 0, (off_t)from, (off_t)(to - from));
    }
    return rc;
}

/* Makes the newest segment's file reach to `needed` at least. A file system that cannot
 * preallocate gets the bytes as they are written. errno is set where it fails. */
static int make_room(struct brg_gradlog *log, uint64_t needed) {
    if (needed <= log->allocated) return 0;
    uint64_t ahead = log->record_bytes * AHEAD_RECORDS;
    if (ahead > AHEAD_BYTES_MAX) ahead = AHEAD_BYTES_MAX;
    uint64_t size = needed + ahead;
    int rc = allocate(log->fd, log->allocated, size);
    if (rc != 0 && brg_file_error(errno) == BRG_ENOSPC) { /* then only what this record needs */
        size = needed;
        rc = allocate(log->fd, log->allocated, size);
    }
    if (rc == 0) log->allocated = size;
    return rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -1;
}

static int start_segment(struct brg_gradlog *log, uint64_t first_step, struct brg_why *why) {
    char path[BRG_GRADLOG_PATH_BYTES];
    uint8_t header[BRG_GRADLOG_HEADER_BYTES] = {0};
    struct brg_gradlog_segment_header h = {.version = BRG_GRADLOG_VERSION,
                                           .header_bytes = BRG_GRADLOG_HEADER_BYTES,
                                           .run = log->run,
                                           .elements = log->elements,
                                           .first_step = first_step};
    struct iovec part = {header, sizeof header};

    if (log->segment_count == BRG_GRADLOG_SEGMENTS_MAX) {
        return brg_why_set(why, BRG_EFULL,
                           "gradient log %s: %u segments wait for a checkpoint: look why none was "
                           "written",
                           log->folder, log->segment_count);
    }
    memcpy(h.magic, brg_gradlog_segment_magic, sizeof h.magic);
    brg_gradlog_segment_digest(&h, &h.digest);
    memcpy(header, &h, sizeof h);
    if (log->fd >= 0) (void)close(log->fd);
    log->fd =
        open(brg_gradlog_path(log, first_step, path), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (log->fd < 0) return disk_error(log, "creating a segment", why);
    log->segments[log->segment_count++] = first_step;
    log->end = BRG_GRADLOG_HEADER_BYTES;
    log->allocated = 0;
    log->rolled = 0;
    if (make_room(log, log->end + log->record_bytes) != 0 ||
        write_parts(log->fd, &part, 1, 0) != 0 || brg_dir_sync(log->folder) != BRG_OK) {
        return disk_error(log, "starting a segment", why);
    }
    return BRG_OK; /* the header is synced with the first record */
}

static int write_record(struct brg_gradlog *log, const struct brg_gradlog_record_header *h,
                        const float *data, struct brg_why *why) {
    struct brg_gradlog_record_header header = *h;
    struct iovec parts[2] = {{&header, sizeof header},
                             {(void *)(uintptr_t)data, log->elements * sizeof *data}};
    if (make_room(log, log->end + log->record_bytes) != 0) {
        return disk_error(log, "making room for a gradient", why);
    }
    if (write_parts(log->fd, parts, 2, log->end) != 0) {
        return disk_error(log, "writing a gradient", why);
    }
    if (fdatasync(log->fd) != 0) return disk_error(log, "syncing a gradient", why);
    return BRG_OK;
}

int brg_gradlog_append(struct brg_gradlog *log, uint64_t step, uint64_t count, const float *data,
                       struct brg_gradlog_entry *entry, struct brg_why *why) {
    int rc = BRG_OK;
    struct brg_gradlog_record_header h = {
        .version = BRG_GRADLOG_VERSION, .run = log->run, .step = step, .count = count};

    if (log->failed != BRG_OK) return brg_why_set(why, log->failed, "%s", log->why.text);
    if (step != log->next_step) {
        return brg_why_set(why, BRG_EINVAL, "gradient log %s: step %llu is next, not step %llu",
                           log->folder, (unsigned long long)log->next_step,
                           (unsigned long long)step);
    }
    if (log->fd < 0 || log->rolled) rc = start_segment(log, step, &log->why);
    if (rc == BRG_OK) {
        memcpy(h.magic, record_magic, sizeof h.magic);
        h.elements = log->elements;
        h.segment = log->segments[log->segment_count - 1];
        h.offset = log->end;
        brg_digest_of(data, log->elements * sizeof *data, &h.gradient);
        brg_gradlog_record_digest(&h, &h.digest);
        rc = write_record(log, &h, data, &log->why);
    }
    if (rc != BRG_OK) {
        /* What was written is behind the last commit, so the next start cuts it off; here it
         * only gives the room back. */
        const int given_back = log->fd < 0 || ftruncate(log->fd, (off_t)log->end) == 0;
        (void)given_back; /* best effort: the first error is the one to report */
        log->failed = rc;
        return brg_why_set(why, rc, "%s", log->why.text);
    }
    *entry = (struct brg_gradlog_entry){
        .step = step,
        .count = count,
        .gradient = h.gradient,
        .place = {.segment = h.segment, .offset = log->end, .size_bytes = log->record_bytes}};
    log->end += log->record_bytes;
    if (log->allocated < log->end) log->allocated = log->end;
    log->next_step++;
    return BRG_OK;
}

static int unreadable(const char *path, uint64_t step, struct brg_why *why) {
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: the gradient of step %llu is missing or does not verify, so that step "
                       "cannot be replayed: restore the file from a backup, or submit the run "
                       "again",
                       path, (unsigned long long)step);
}

int brg_gradlog_read(struct brg_gradlog *log, const struct brg_gradlog_entry *entry, float *out,
                     struct brg_why *why) {
    int rc = BRG_OK;
    char path[BRG_GRADLOG_PATH_BYTES];
    struct brg_gradlog_record_header h;
    struct brg_digest own;
    const size_t data_bytes = log->elements * sizeof *out;
    const int fd =
        open(brg_gradlog_path(log, entry->place.segment, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT) return unreadable(path, entry->step, why);
    if (fd < 0) return disk_error(log, "opening a segment for reading", why);
    rc = brg_gradlog_check_record(log, fd, entry->place.segment, entry->place.offset, &h);
    if (rc == BRG_OK && (h.step != entry->step || h.count != entry->count ||
                         !brg_digest_equal(&h.gradient, &entry->gradient))) {
        rc = BRG_ECORRUPT;
    }
    if (rc == BRG_OK) {
        rc = brg_gradlog_read_exactly(fd, out, data_bytes, entry->place.offset + sizeof h);
    }
    if (rc == BRG_OK) {
        brg_digest_of(out, data_bytes, &own);
        if (!brg_digest_equal(&own, &h.gradient)) rc = BRG_ECORRUPT;
    }
    if (rc == BRG_ECORRUPT) {
        (void)unreadable(path, entry->step, why);
    } else if (rc != BRG_OK) {
        (void)disk_error(log, "reading a gradient", why);
    }
    (void)close(fd);
    return rc;
}

void brg_gradlog_roll(struct brg_gradlog *log) {
    log->rolled = 1;
}

int brg_gradlog_drop_through(struct brg_gradlog *log, uint64_t step, struct brg_why *why) {
    char path[BRG_GRADLOG_PATH_BYTES];
    uint32_t dropped = 0;

    while (dropped < log->segment_count) { /* a segment ends where the next one starts */
        const int newest = dropped + 1 == log->segment_count;
        const uint64_t after = newest ? log->next_step : log->segments[dropped + 1];
        if (after > step + 1) break;
        if (unlink(brg_gradlog_path(log, log->segments[dropped], path)) != 0 && errno != ENOENT) {
            return disk_error(log, "deleting an old segment", why);
        }
        if (newest && log->fd >= 0) {
            (void)close(log->fd);
            log->fd = -1;
        }
        dropped++;
    }
    if (dropped == 0) return BRG_OK;
    log->segment_count -= dropped;
    memmove(log->segments, log->segments + dropped, log->segment_count * sizeof *log->segments);
    if (brg_dir_sync(log->folder) == BRG_OK) return BRG_OK;
    return disk_error(log, "syncing the folder", why);
}

uint64_t brg_gradlog_first(const struct brg_gradlog *log) {
    return log->segment_count > 0 ? log->segments[0] : log->next_step;
}

void brg_gradlog_close(struct brg_gradlog **log) {
    if (*log == NULL) return;
    if ((*log)->fd >= 0) (void)close((*log)->fd);
    free(*log);
    *log = NULL;
}
