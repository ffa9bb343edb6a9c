/* folder.h - what the tests of durable files share: a folder of their own, damage, small disks. */
#ifndef BRG_TEST_FOLDER_H
#define BRG_TEST_FOLDER_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

#define FOLDER_PATH_BYTES 512u
#define FOLDER_MAY_NOT 77 /* exit status of a child that may not do what its test needs */

static inline int folder_remove_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static inline void folder_remove(const char *path) {
    (void)nftw(path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new folder under /tmp; its name into out [FOLDER_PATH_BYTES]. */
static inline void folder_make(char *out) {
    (void)snprintf(out, FOLDER_PATH_BYTES, "/tmp/brg-test-XXXXXX");
    BRG_ASSERT(mkdtemp(out) != NULL);
}

static inline void folder_copy(const char *from, const char *to) {
    char command[3 * FOLDER_PATH_BYTES];
    (void)snprintf(command, sizeof command, "cp -a '%s' '%s'", from, to);
    BRG_ASSERT(system(command) == 0);
}

/* The largest file in `folder` whose name ends in `end`; its path into out [FOLDER_PATH_BYTES],
 * its size is returned, -1 where there is none. */
static inline int64_t folder_find(const char *folder, const char *end, char *out) {
    int64_t best = -1;
    DIR *d = opendir(folder);
    BRG_ASSERT(d != NULL);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[2 * FOLDER_PATH_BYTES];
        struct stat st;
        const size_t length = strlen(e->d_name), wanted = strlen(end);
        if (length < wanted || strcmp(e->d_name + length - wanted, end) != 0) continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= best) continue;
        best = st.st_size;
        BRG_ASSERT(strlen(path) < FOLDER_PATH_BYTES);
        memcpy(out, path, strlen(path) + 1);
    }
    (void)closedir(d);
    return best;
}

static inline void folder_flip_bit(const char *path, int64_t offset) {
    uint8_t byte = 0;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    BRG_ASSERT(fd >= 0);
    BRG_ASSERT(pread(fd, &byte, 1, offset) == 1);
    byte ^= 0x10;
    BRG_ASSERT(pwrite(fd, &byte, 1, offset) == 1);
    (void)close(fd);
}

/* Runs `body` in a process of its own and returns its exit status; -1 where a signal ended it. */
static inline int folder_in_child(int (*body)(const char *folder), const char *folder) {
    int status = 0;
    (void)fflush(NULL);
    const pid_t pid = fork();
    BRG_ASSERT(pid >= 0);
    if (pid == 0) _exit(body(folder));
    BRG_ASSERT(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum folder_fate { FOLDER_FINISHED, FOLDER_KILLED, FOLDER_FAILED, FOLDER_NOT_ALLOWED };

/* Runs `body` in a process of its own and kills it, as by kill -9, where its main thread enters
 * system call number `call` (from 1). Between two system calls the disk does not change, so that
 * a loop over `call` until FOLDER_FINISHED tries every point there is. */
static inline enum folder_fate folder_kill_at_call(int (*body)(const char *folder),
                                                   const char *folder, uint32_t call) {
    int status = 0;
    (void)fflush(NULL);
    const pid_t pid = fork();
    BRG_ASSERT(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(FOLDER_MAY_NOT);
        (void)raise(SIGSTOP);
        _exit(body(folder));
    }
    BRG_ASSERT(waitpid(pid, &status, 0) == pid);
    for (uint32_t stops = 0; WIFSTOPPED(status) && stops < 2 * call - 1; stops++) {
        BRG_ASSERT(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0); /* to an entry or an exit */
        BRG_ASSERT(waitpid(pid, &status, 0) == pid);
    }
    if (WIFSTOPPED(status)) {
        BRG_ASSERT(kill(pid, SIGKILL) == 0);
        while (WIFSTOPPED(status)) BRG_ASSERT(waitpid(pid, &status, 0) == pid);
        return FOLDER_KILLED;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == FOLDER_MAY_NOT) return FOLDER_NOT_ALLOWED;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? FOLDER_FINISHED : FOLDER_FAILED;
}

/* Mounts a disk of `size_bytes` over `folder`, seen by this process only; call it in a child.
 * Returns 0, or -1 where the machine does not allow that. */
static inline int folder_small_disk(const char *folder, uint64_t size_bytes) {
    char options[64];
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return -1;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return -1;
    (void)snprintf(options, sizeof options, "size=%llu,mode=0700", (unsigned long long)size_bytes);
    return mount("tmpfs", folder, "tmpfs", 0, options);
}

/* From now on no file of this process may grow beyond `size_bytes`. */
static inline void folder_limit_files(uint64_t size_bytes) {
    const struct rlimit limit = {size_bytes, size_bytes};
    (void)signal(SIGXFSZ, SIG_IGN);
    BRG_ASSERT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

#endif
