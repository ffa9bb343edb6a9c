#include "coordinator/shell/delays.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

#define FILE_NEW "delays.bin"
#define FILE_OLD "delays.old.bin"

static const char delays_magic[8] = {'B', 'R', 'G', 'D', 'L', 'A', 'Y', '1'};

struct header {
    char magic[8];
    uint64_t first; /* number of the first record in this file */
    uint64_t zero[2];
};

_Static_assert(sizeof(struct header) == 32 && sizeof(struct brg_delay) == 32, "no padding on disk");

struct brg_delays {
    char folder[BRG_FILE_PATH_BYTES];
    int fd;           /* -1: not recorded (any more) */
    uint64_t first;   /* of the file */
    uint64_t written; /* records in it */
    uint64_t rounds;  /* of the run, before this process */
    uint64_t since;   /* the round of the process that is the next one of the run; 0: none yet */
    uint32_t pending_count;
    struct brg_delay pending[BRG_DELAYS_PENDING_MAX];
};

static const char *path_of(const char *folder, const char *name, char *out) {
    (void)snprintf(out, BRG_FILE_PATH_BYTES + 32, "%s/%s", folder, name);
    return out;
}

static void give_up(struct brg_delays *d, const char *doing) {
    brg_log_warn(
        "run", NULL,
        "%s/%s: %s failed (%s): what workers take is not recorded any more; the run goes on",
        d->folder, FILE_NEW, doing, strerror(errno));
    if (d->fd >= 0) (void)close(d->fd);
    d->fd = -1;
}

/* All of it, or -1 with errno. */
static int write_all(int fd, const void *data, size_t size) {
    const uint8_t *at = data;
    while (size > 0) {
        const ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The header, or an error. A file that is shorter than one holds nothing: BRG_ENOENT. */
static int read_header(int fd, struct header *h, uint64_t *records) {
    struct stat st;
    if (fstat(fd, &st) != 0) return BRG_EIO;
    const ssize_t n = pread(fd, h, sizeof *h, 0);
    if (n < 0) return BRG_EIO;
    if ((size_t)n < sizeof *h) return BRG_ENOENT;
    if (memcmp(h->magic, delays_magic, sizeof h->magic) != 0) return BRG_ECORRUPT;
    *records = ((uint64_t)st.st_size - sizeof *h) / sizeof(struct brg_delay);
    return BRG_OK;
}

/* A new file whose first record has the number d->first. */
static int begin_file(struct brg_delays *d) {
    char path[BRG_FILE_PATH_BYTES + 32];
    struct header h = {.first = d->first};
    memcpy(h.magic, delays_magic, sizeof h.magic);
    d->written = 0;
    d->fd = open(path_of(d->folder, FILE_NEW, path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return d->fd >= 0 && write_all(d->fd, &h, sizeof h) == 0 ? 0 : -1;
}

/* Goes on behind the last whole record. 0; -1 with errno; 1: there is no file to go on with. */
static int continue_file(struct brg_delays *d) {
    char path[BRG_FILE_PATH_BYTES + 32];
    struct header h;
    struct brg_delay last;
    d->fd = open(path_of(d->folder, FILE_NEW, path), O_RDWR | O_CLOEXEC);
    if (d->fd < 0) return errno == ENOENT ? 1 : -1;
    if (read_header(d->fd, &h, &d->written) != BRG_OK) {
        (void)close(d->fd);
        return 1;
    }
    d->first = h.first;
    const off_t end = (off_t)(sizeof h + d->written * sizeof last);
    if (d->written > 0) {
        if (pread(d->fd, &last, sizeof last, end - (off_t)sizeof last) != (ssize_t)sizeof last) {
            return -1;
        }
        d->rounds = last.round;
    }
    if (ftruncate(d->fd, end) != 0 || lseek(d->fd, end, SEEK_SET) != end) return -1;
    return 0;
}

void brg_delays_open(const char *folder, struct brg_delays **out) {
    struct brg_delays *d = calloc(1, sizeof *d);
    BRG_ASSERT(d != NULL); /* a coordinator without memory must stop */
    (void)snprintf(d->folder, sizeof d->folder, "%s", folder);
    int rc = continue_file(d);
    if (rc > 0) rc = begin_file(d);
    if (rc < 0) give_up(d, "opening it");
    *out = d;
}

/* The file is full: it becomes the old one. */
static void turn_over(struct brg_delays *d) {
    char from[BRG_FILE_PATH_BYTES + 32], to[BRG_FILE_PATH_BYTES + 32];
    (void)close(d->fd);
    d->fd = -1;
    d->first += d->written;
    if (rename(path_of(d->folder, FILE_NEW, from), path_of(d->folder, FILE_OLD, to)) != 0 ||
        begin_file(d) != 0) {
        give_up(d, "starting a new one");
    }
}

void brg_delays_flush(struct brg_delays *d) {
    const uint32_t count = d->pending_count;
    d->pending_count = 0;
    if (d->fd < 0 || count == 0) return;
    if (write_all(d->fd, d->pending, count * sizeof d->pending[0]) != 0) {
        give_up(d, "writing it");
        return;
    }
    d->written += count;
    if (d->written >= BRG_DELAYS_FILE_RECORDS) turn_over(d);
}

void brg_delays_add(struct brg_delays *d, const struct brg_delay *delay) {
    if (d->since == 0) d->since = delay->round;
    struct brg_delay *slot = &d->pending[d->pending_count++];
    *slot = *delay;
    slot->round = d->rounds + 1 + (delay->round - d->since);
    if (d->pending_count == BRG_DELAYS_PENDING_MAX) brg_delays_flush(d);
}

void brg_delays_close(struct brg_delays **delays) {
    struct brg_delays *d = *delays;
    if (d == NULL) return;
    brg_delays_flush(d);
    if (d->fd >= 0) (void)close(d->fd);
    free(d);
    *delays = NULL;
}

/* Appends what `name` holds from number *next on; *next moves on. */
static int read_file(const char *folder, const char *name, struct brg_delay *out, uint32_t room,
                     uint32_t *count, uint64_t *next) {
    char path[BRG_FILE_PATH_BYTES + 32];
    struct header h;
    uint64_t records = 0;
    int rc = BRG_OK;
    if (*count == room) return BRG_OK; /* and *next stays: it is in the file before */
    const int fd = open(path_of(folder, name, path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? BRG_OK : brg_file_error(errno);
    rc = read_header(fd, &h, &records);
    if (rc == BRG_ENOENT) rc = BRG_OK;
    if (rc != BRG_OK || records == 0) goto out;
    if (*next < h.first) *next = h.first;
    const uint64_t skip = *next - h.first;
    if (skip >= records) goto out;
    const uint64_t left = records - skip;
    const uint32_t want = left < room - *count ? (uint32_t)left : room - *count;
    const ssize_t n =
        pread(fd, out + *count, want * sizeof *out, (off_t)(sizeof h + skip * sizeof *out));
    if (n < 0) rc = BRG_EIO;
    if (n > 0) {
        const uint32_t got = (uint32_t)((size_t)n / sizeof *out);
        *count += got;
        *next += got;
    }
out:
    (void)close(fd);
    return rc;
}

int brg_delays_read(const char *folder, uint64_t from, struct brg_delay *out, uint32_t room,
                    uint32_t *count, uint64_t *next) {
    *count = 0;
    *next = from;
    int rc = read_file(folder, FILE_OLD, out, room, count, next);
    if (rc == BRG_OK) rc = read_file(folder, FILE_NEW, out, room, count, next);
    return rc;
}
