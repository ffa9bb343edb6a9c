#include "worker/shell/statedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Joins two parts; what does not fit is refused, never cut. */
static int set_path(struct brg_statedir *d, const char *first, const char *second,
                    struct brg_why *why) {
    const int n = snprintf(d->path, sizeof d->path, "%s%s", first, second);
    if (n > 0 && (size_t)n < sizeof d->path) return BRG_OK;
    return brg_why_set(why, BRG_EINVAL, "the path of the state directory is longer than %u bytes",
                       BRG_STATEDIR_BYTES - 1);
}

static int find_path(struct brg_statedir *d, const char *path, struct brg_why *why) {
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (path != NULL && *path != '\0') return set_path(d, path, "", why);
    if (xdg != NULL && *xdg == '/') return set_path(d, xdg, "/brigade", why);
    if (home != NULL && *home == '/') return set_path(d, home, "/.local/state/brigade", why);
    return brg_why_set(why, BRG_EINVAL,
                       "neither XDG_STATE_HOME nor HOME is set, so there is no place for the "
                       "worker's key; name one with --state DIR");
}

/* Reads the number of the start before, writes this one's. Clocks go back at times, sessions must
 * not: the coordinator takes the higher one for the newer process. */
static int next_session(struct brg_statedir *d, uint64_t wall_ns, struct brg_why *why) {
    char text[32] = {0};
    const ssize_t n = pread(d->lock_fd, text, sizeof text - 1, 0);
    const uint64_t last = n > 0 ? strtoull(text, NULL, 10) : 0;
    d->session = last < UINT64_MAX && last >= wall_ns ? last + 1 : wall_ns;
    if (d->session == 0) d->session = 1;
    const int length = snprintf(text, sizeof text, "%" PRIu64 "\n", d->session);
    BRG_ASSERT(length > 0 && (size_t)length < sizeof text);
    if (ftruncate(d->lock_fd, 0) == 0 && pwrite(d->lock_fd, text, (size_t)length, 0) == length)
        return BRG_OK;
    return brg_why_set(why, brg_file_error(errno), "%s/lock cannot be written: %s; make room there",
                       d->path, strerror(errno));
}

static int take_lock(struct brg_statedir *d, struct brg_why *why) {
    char path[BRG_FILE_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/lock", d->path);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0)
        return brg_why_set(why, brg_file_error(errno),
                           "%s cannot be opened: %s; give this user the folder, or name another "
                           "with --state DIR",
                           path, strerror(errno));
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0) return BRG_OK;
    if (errno == EWOULDBLOCK)
        return brg_why_set(why, BRG_EEXIST,
                           "another worker runs with the state directory %s; stop it, or give this "
                           "one a folder of its own with --state DIR",
                           d->path);
    return brg_why_set(why, brg_file_error(errno), "%s cannot be locked: %s", path,
                       strerror(errno));
}

int brg_statedir_open(struct brg_statedir *d, const char *path, uint64_t wall_ns,
                      struct brg_why *why) {
    char key_path[BRG_FILE_PATH_BYTES];
    memset(d, 0, sizeof *d);
    d->lock_fd = -1;
    int rc = find_path(d, path, why);
    if (rc != BRG_OK) goto out;
    rc = brg_dir_make(d->path, 0700);
    if (rc != BRG_OK) {
        (void)brg_why_set(
            why, rc, "the state directory %s cannot be made: %s; name another with --state DIR",
            d->path, strerror(errno));
        goto out;
    }
    rc = take_lock(d, why);
    if (rc == BRG_OK) rc = next_session(d, wall_ns, why);
    if (rc != BRG_OK) goto out;
    (void)snprintf(key_path, sizeof key_path, "%s/worker.key", d->path);
    rc = brg_keyfile_ensure(key_path, &d->key, &d->is_new, why);
out:
    if (rc != BRG_OK) brg_statedir_close(d);
    return rc;
}

void brg_statedir_close(struct brg_statedir *d) {
    brg_keypair_wipe(&d->key);
    if (d->lock_fd >= 0) (void)close(d->lock_fd);
    d->lock_fd = -1;
}

const char *brg_statedir_data_path(const struct brg_statedir *d, const struct brg_digest *digest,
                                   char *out) {
    char hex[BRG_DIGEST_HEX_BYTES];
    const int n =
        snprintf(out, BRG_FILE_PATH_BYTES, "%s/data-%s", d->path, brg_digest_hex(digest, hex));
    BRG_ASSERT(n > 0 && (size_t)n < BRG_FILE_PATH_BYTES);
    return out;
}

/* 1 for the name of a data set: data- and the digest in hex, nothing else. */
static int is_data_name(const char *name) {
    static const size_t prefix = sizeof "data-" - 1;
    if (strncmp(name, "data-", prefix) != 0) return 0;
    return strlen(name) == prefix + BRG_DIGEST_HEX_BYTES - 1 &&
           strspn(name + prefix, "0123456789abcdef") == BRG_DIGEST_HEX_BYTES - 1;
}

/* Finds the data set used longest ago, its path into out [BRG_FILE_PATH_BYTES]; returns how many
 * there are beside `keep_path`. */
static uint32_t oldest_data(const struct brg_statedir *d, const char *keep_path, char *out) {
    char path[BRG_FILE_PATH_BYTES];
    struct stat st, oldest = {0};
    uint32_t count = 0;
    DIR *folder = opendir(d->path);
    if (folder == NULL) return 0;
    for (const struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        if (!is_data_name(e->d_name)) continue;
        const int n = snprintf(path, sizeof path, "%s/%s", d->path, e->d_name);
        if (n < 0 || (size_t)n >= sizeof path || strcmp(path, keep_path) == 0) continue;
        if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) continue;
        if (count++ > 0 && (st.st_mtim.tv_sec > oldest.st_mtim.tv_sec ||
                            (st.st_mtim.tv_sec == oldest.st_mtim.tv_sec &&
                             st.st_mtim.tv_nsec >= oldest.st_mtim.tv_nsec)))
            continue;
        oldest = st;
        memcpy(out, path, sizeof path);
    }
    (void)closedir(folder);
    return count;
}

void brg_statedir_prune(const struct brg_statedir *d, const struct brg_digest *keep) {
    char keep_path[BRG_FILE_PATH_BYTES], oldest[BRG_FILE_PATH_BYTES];
    const char *kept = brg_statedir_data_path(d, keep, keep_path);
    (void)utimensat(AT_FDCWD, kept, NULL, 0); /* used now; a file not there is fine */
    while (oldest_data(d, kept, oldest) > BRG_STATEDIR_DATA_MAX - 1)
        if (unlink(oldest) != 0) return;
}
