#include "coordinator/shell/notify.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WATCHDOG_MAX_US (UINT64_C(86400) * 1000000)

int brg_notify(const char *state) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || (path[0] != '/' && path[0] != '@')) return 0;
    const size_t size = strlen(path);
    if (size >= sizeof to.sun_path) return 0;
    memcpy(to.sun_path, path, size);
    if (path[0] == '@') to.sun_path[0] = '\0'; /* a name in the abstract namespace */
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return 0;
    const socklen_t address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    const ssize_t sent =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to, address_bytes);
    (void)close(fd);
    return sent == (ssize_t)strlen(state);
}

uint64_t brg_notify_watchdog_ns(void) {
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end = NULL;
    if (text == NULL || getenv("NOTIFY_SOCKET") == NULL) return 0;
    if (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid()) return 0;
    errno = 0;
    const unsigned long long us = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || us == 0 || us > WATCHDOG_MAX_US) return 0;
    return us * BRG_NS_PER_US / 2;
}
