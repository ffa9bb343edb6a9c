/* slow_wal.c - preloaded into a coordinator by test_announce.sh: each write to the store's
 * write-ahead log waits before it begins. What the coordinator says in that time, it says before
 * the record is on disk, and a kill in that time shows it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_NS 25000000

ssize_t write(int fd, const void *bytes, size_t count) {
    char link[64], path[512] = "";
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    const char *end = n > 0 ? strrchr(path, '.') : NULL;
    if (end != NULL && strcmp(end, ".log") == 0 && strstr(path, "/store/") != NULL) {
        const struct timespec wait = {.tv_nsec = WAIT_NS};
        (void)nanosleep(&wait, NULL);
    }
    return syscall(SYS_write, fd, bytes, count);
}
