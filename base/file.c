#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* One write or read call moves at most this much, so that a signal is seen within a second. */
#define IO_BYTES_MAX (UINT64_C(64) << 20)

static const uint8_t empty_file[1];

int brg_file_error(int os_errno) {
    switch (os_errno) {
    case 0: return BRG_OK;
    case ENOENT:
    case ENOTDIR: return BRG_ENOENT;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: return BRG_EPERM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return BRG_ENOSPC;
    case ENOMEM: return BRG_ENOMEM;
    case EEXIST: return BRG_EEXIST;
    case EISDIR:
    case ENAMETOOLONG: return BRG_EINVAL;
    default: return BRG_EIO;
    }
}

/* The error of the call that just failed. */
static int last_error(void) {
    const int rc = brg_file_error(errno);
    return rc == BRG_OK ? BRG_EIO : rc;
}

/* Opens a regular file of at most max_bytes. O_NONBLOCK: a pipe in its place cannot hang us. */
static int open_regular(const char *path, uint64_t max_bytes, int *fd, size_t *size) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return last_error();
    if (fstat(*fd, &st) != 0) return last_error();
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : ENODEV;
        return BRG_EINVAL;
    }
    if (st.st_size < 0 || (uint64_t)st.st_size > max_bytes || (uint64_t)st.st_size >= SIZE_MAX) {
        errno = EFBIG;
        return BRG_ENOMEM;
    }
    *size = (size_t)st.st_size;
    return BRG_OK;
}

/* Closes without losing the errno that the caller is about to report. */
static void close_quietly(int fd) {
    const int kept = errno;
    if (fd >= 0) (void)close(fd);
    errno = kept;
}

static int read_all(int fd, uint8_t *out, size_t size) {
    size_t got = 0;
    while (got < size) {
        const size_t left = size - got;
        const ssize_t r = read(fd, out + got, left < IO_BYTES_MAX ? left : (size_t)IO_BYTES_MAX);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return last_error();
        if (r == 0) {
            errno = EAGAIN; /* it shrank while we read it */
            return BRG_EIO;
        }
        got += (size_t)r;
    }
    return BRG_OK;
}

int brg_file_read(const char *path, uint64_t max_bytes, uint8_t **data, size_t *size) {
    int rc = BRG_OK, fd = -1;
    uint8_t *bytes = NULL;
    size_t n = 0;

    BRG_ASSERT(path != NULL && data != NULL);
    *data = NULL;
    *size = 0;
    rc = open_regular(path, max_bytes, &fd, &n);
    if (rc != BRG_OK) goto out;
    bytes = malloc(n + 1);
    if (bytes == NULL) {
        rc = BRG_ENOMEM;
        goto out;
    }
    rc = read_all(fd, bytes, n);
    if (rc != BRG_OK) goto out;
    bytes[n] = 0;
    *data = bytes; /* ownership moves to the caller */
    *size = n;
    bytes = NULL;
out:
    if (bytes != NULL) {
        const int kept = errno;
        free(bytes);
        errno = kept;
    }
    close_quietly(fd);
    return rc;
}

int brg_file_map_open(const char *path, uint64_t max_bytes, struct brg_file_map *map) {
    int rc = BRG_OK, fd = -1;
    size_t n = 0;

    BRG_ASSERT(path != NULL && map != NULL);
    *map = (struct brg_file_map){.data = NULL, .size_bytes = 0};
    rc = open_regular(path, max_bytes, &fd, &n);
    if (rc != BRG_OK) goto out;
    if (n == 0) { /* mmap refuses a length of 0 */
        map->data = empty_file;
        goto out;
    }
    void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        rc = last_error();
        goto out;
    }
    *map = (struct brg_file_map){.data = p, .size_bytes = n};
out:
    close_quietly(fd);
    return rc;
}

void brg_file_map_close(struct brg_file_map *map) {
    if (map->size_bytes > 0) {
        const int rc = munmap((void *)(uintptr_t)map->data, map->size_bytes);
        BRG_ASSERT(rc == 0);
    }
    *map = (struct brg_file_map){.data = NULL, .size_bytes = 0};
}

static int write_all(int fd, const uint8_t *data, size_t size) {
    size_t put = 0;
    while (put < size) {
        const size_t left = size - put;
        const ssize_t r = write(fd, data + put, left < IO_BYTES_MAX ? left : (size_t)IO_BYTES_MAX);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return last_error();
        if (r == 0) {
            errno = EIO; /* a regular file never takes nothing */
            return BRG_EIO;
        }
        put += (size_t)r;
    }
    return BRG_OK;
}

int brg_file_writer_open(struct brg_file_writer *w, const char *path, mode_t mode) {
    BRG_ASSERT(w != NULL && path != NULL);
    w->fd = -1;
    w->size_bytes = 0;
    w->path[0] = w->tmp_path[0] = '\0';
    static const char suffix[] = ".tmpXXXXXX";
    const size_t n = strlen(path);
    if (n == 0) {
        errno = ENOENT;
        return BRG_ENOENT;
    }
    if (n + sizeof suffix > sizeof w->tmp_path) {
        errno = ENAMETOOLONG;
        return BRG_EINVAL;
    }
    memcpy(w->path, path, n + 1);
    memcpy(w->tmp_path, path, n);
    memcpy(w->tmp_path + n, suffix, sizeof suffix);
    w->fd = mkostemp(w->tmp_path, O_CLOEXEC);
    if (w->fd < 0) {
        w->tmp_path[0] = '\0'; /* nothing of ours to remove */
        return last_error();
    }
    if (fchmod(w->fd, mode) != 0) {
        const int rc = last_error();
        brg_file_writer_abort(w);
        return rc;
    }
    return BRG_OK;
}

int brg_file_writer_append(struct brg_file_writer *w, const void *data, size_t size) {
    BRG_ASSERT(w->fd >= 0);
    BRG_ASSERT(data != NULL || size == 0);
    const int rc = write_all(w->fd, data, size);
    if (rc == BRG_OK) w->size_bytes += size;
    return rc;
}

int brg_file_writer_rewrite(struct brg_file_writer *w, uint64_t offset, const void *data,
                            size_t size) {
    BRG_ASSERT(w->fd >= 0);
    BRG_ASSERT(offset <= w->size_bytes && size <= w->size_bytes - offset);
    if (lseek(w->fd, (off_t)offset, SEEK_SET) < 0) return last_error();
    const int rc = write_all(w->fd, data, size);
    if (rc != BRG_OK) return rc;
    return lseek(w->fd, (off_t)w->size_bytes, SEEK_SET) < 0 ? last_error() : BRG_OK;
}

int brg_file_writer_commit(struct brg_file_writer *w) {
    int rc = BRG_OK;
    BRG_ASSERT(w->fd >= 0);
    if (fdatasync(w->fd) != 0) {
        rc = last_error();
        goto out;
    }
    const int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0) { /* network file systems report a late write error here */
        rc = last_error();
        goto out;
    }
    if (rename(w->tmp_path, w->path) != 0) {
        rc = last_error();
        goto out;
    }
    w->tmp_path[0] = '\0'; /* it has its name: nothing to remove */
    rc = brg_dir_sync_parent(w->path);
out:
    brg_file_writer_abort(w);
    return rc;
}

void brg_file_writer_abort(struct brg_file_writer *w) {
    const int kept = errno;
    if (w->fd >= 0) (void)close(w->fd);
    w->fd = -1;
    if (w->tmp_path[0] != '\0') (void)unlink(w->tmp_path);
    w->tmp_path[0] = '\0';
    errno = kept;
}

int brg_file_write_atomic(const char *path, mode_t mode, const void *data, size_t size) {
    struct brg_file_writer w;
    int rc = brg_file_writer_open(&w, path, mode);
    if (rc != BRG_OK) return rc;
    rc = brg_file_writer_append(&w, data, size);
    if (rc == BRG_OK) return brg_file_writer_commit(&w);
    brg_file_writer_abort(&w);
    return rc;
}

int brg_dir_sync(const char *path) {
    BRG_ASSERT(path != NULL);
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return last_error();
    const int rc = fsync(fd) == 0 ? BRG_OK : last_error();
    close_quietly(fd);
    return rc;
}

int brg_dir_sync_parent(const char *path) {
    char parent[BRG_FILE_PATH_BYTES];
    const size_t n = strlen(path);
    if (n >= sizeof parent) {
        errno = ENAMETOOLONG;
        return BRG_EINVAL;
    }
    memcpy(parent, path, n + 1);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) return brg_dir_sync(".");
    slash[slash == parent ? 1 : 0] = '\0'; /* keep the slash of the root */
    return brg_dir_sync(parent);
}

/* One folder; that it is there already is success. */
static int make_one(const char *path, mode_t mode) {
    struct stat st;
    if (mkdir(path, mode) == 0) return BRG_OK;
    const int kept = errno;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) return BRG_OK;
        errno = kept == EEXIST ? EEXIST : ENOTDIR;
        return brg_file_error(errno);
    }
    errno = kept;
    return last_error();
}

int brg_dir_make(const char *path, mode_t mode) {
    char at[BRG_FILE_PATH_BYTES];
    BRG_ASSERT(path != NULL);
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof at) {
        errno = n == 0 ? ENOENT : ENAMETOOLONG;
        return brg_file_error(errno);
    }
    memcpy(at, path, n + 1);
    for (size_t i = 1; i < n; i++) {
        if (at[i] != '/' || at[i - 1] == '/') continue;
        at[i] = '\0';
        const int rc = make_one(at, mode);
        if (rc != BRG_OK) return rc;
        at[i] = '/';
    }
    return make_one(at, mode);
}
