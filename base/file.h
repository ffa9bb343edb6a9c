/* file.h - whole files: read, map, write so that a crash leaves the old file or the new one.
 *
 * Thread-safe as long as no two threads write one path. Every function that fails leaves the
 * operating system's reason in errno, for the caller's sentence (strerror(errno)):
 *
 *   ENOENT, ENOTDIR                -> BRG_ENOENT      EACCES, EPERM, EROFS, ELOOP -> BRG_EPERM
 *   ENOSPC, EDQUOT, EFBIG          -> BRG_ENOSPC      ENOMEM                      -> BRG_ENOMEM
 *   EEXIST                         -> BRG_EEXIST      EISDIR, ENAMETOOLONG        -> BRG_EINVAL
 *   anything else                  -> BRG_EIO
 *
 * How a file is replaced:  NAME.tmpXXXXXX --write, fdatasync--> rename to NAME --> fsync of the
 * folder. A crash before the rename leaves NAME as it was and a NAME.tmpXXXXXX that nobody reads.
 */
#ifndef BRG_FILE_H
#define BRG_FILE_H

#include "base/base.h"

#include <sys/types.h>

#define BRG_FILE_PATH_BYTES 4096u /* the longest path these functions take, with its NUL */

/* A file mapped read-only. data is never NULL once mapped, also where size_bytes is 0. */
struct brg_file_map {
    const uint8_t *data;
    size_t size_bytes;
};

/* A file being written beside its final name; zero it, or let brg_file_writer_open do so. */
struct brg_file_writer {
    int fd; /* -1: closed */
    uint64_t size_bytes;
    char path[BRG_FILE_PATH_BYTES];
    char tmp_path[BRG_FILE_PATH_BYTES];
};

/* brg_file_error - the BRG_E code for an errno value, by the table above. */
int brg_file_error(int os_errno);

/* brg_file_read - the whole regular file `path`, with one NUL byte behind its end.
 *
 * units:  max_bytes the largest size accepted; *size without the NUL
 * own:    *data is the caller's, free() it; NULL after an error
 * errors: the table above; BRG_ENOMEM (errno EFBIG) larger than max_bytes; BRG_EINVAL (errno
 *         EISDIR or ENODEV) not a regular file; BRG_EIO (errno EAGAIN) it shrank meanwhile */
BRG_CHECK int brg_file_read(const char *path, uint64_t max_bytes, uint8_t **data, size_t *size);

/* brg_file_map_open - maps the whole regular file `path` read-only.
 *
 * own:    unmap with brg_file_map_close; map is {NULL, 0} after an error
 * errors: as brg_file_read
 * Whoever shortens the file while it is mapped makes readers die of SIGBUS: map only what
 * is replaced by rename, as these functions do. */
BRG_CHECK int brg_file_map_open(const char *path, uint64_t max_bytes, struct brg_file_map *map);

/* brg_file_map_close - unmaps; {NULL, 0} is allowed and stays so. */
void brg_file_map_close(struct brg_file_map *map);

/* brg_file_write_atomic - replaces or creates `path` with `size` bytes, durable on return.
 *
 * mode:   exactly these permission bits, whatever the umask says
 * errors: the table above; `path` is then as it was, except that BRG_EIO of the folder's own
 *         fsync leaves the new file in place, not known to be durable */
BRG_CHECK int brg_file_write_atomic(const char *path, mode_t mode, const void *data, size_t size);

/* brg_file_writer_open - starts a file beside `path`; nothing appears there before commit.
 *
 * own:    end with commit or abort, also after a failed append
 * errors: the table above; w->fd is -1 then */
BRG_CHECK int brg_file_writer_open(struct brg_file_writer *w, const char *path, mode_t mode);

/* brg_file_writer_append - adds `size` bytes. errors: the table above */
BRG_CHECK int brg_file_writer_append(struct brg_file_writer *w, const void *data, size_t size);

/* brg_file_writer_rewrite - writes over bytes already appended, such as a count in the header.
 * asserts: offset + size <= w->size_bytes. errors: the table above */
BRG_CHECK int brg_file_writer_rewrite(struct brg_file_writer *w, uint64_t offset, const void *data,
                                      size_t size);

/* brg_file_writer_commit - fdatasync, rename, fsync of the folder. The writer is closed on
 * return, also after an error. errors: as brg_file_write_atomic */
BRG_CHECK int brg_file_writer_commit(struct brg_file_writer *w);

/* brg_file_writer_abort - closes and removes what was written; a closed writer is allowed. */
void brg_file_writer_abort(struct brg_file_writer *w);

/* brg_dir_sync - makes the entries of folder `path` durable (fsync). errors: the table above */
BRG_CHECK int brg_dir_sync(const char *path);

/* brg_dir_sync_parent - brg_dir_sync of the folder that holds `path`. */
BRG_CHECK int brg_dir_sync_parent(const char *path);

/* brg_dir_make - creates folder `path` and its missing parents; one that exists is success.
 *
 * mode:   of the folders it creates, less the umask
 * errors: the table above; BRG_EEXIST where `path` is something other than a folder */
BRG_CHECK int brg_dir_make(const char *path, mode_t mode);

#endif
