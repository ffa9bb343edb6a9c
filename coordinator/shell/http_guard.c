#include "coordinator/shell/http_guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <sodium/utils.h>

/* The name of a Host header, without its port and the brackets of IPv6; 0 where it is none. */
static int name_of(const char *host, char *out) {
    size_t size = 0;
    if (host[0] == '[') {
        host++;
        size = strcspn(host, "]");
        if (host[size] != ']') return 0;
        if (host[size + 1] != '\0' && host[size + 1] != ':') return 0;
    } else {
        size = strcspn(host, ":");
    }
    if (size == 0 || size >= BRG_HTTP_NAME_BYTES) return 0;
    memcpy(out, host, size);
    out[size] = '\0';
    return 1;
}

static int is_address(const char *name) {
    struct in6_addr any;
    return inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1;
}

static int is_plain(const char *name) {
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
           strlen(name);
}

int brg_http_host_ok(const char *host, const char *name, const char *other) {
    char wish[BRG_HTTP_NAME_BYTES];
    if (host == NULL || !name_of(host, wish)) return 0;
    if (is_address(wish) || is_plain(wish)) return 1; /* no public name is without a dot */
    if (name != NULL && strcasecmp(wish, name) == 0) return 1;
    return other != NULL && strcasecmp(wish, other) == 0;
}

int brg_http_origin_ok(const char *origin, const char *host) {
    if (origin == NULL) return 1;
    if (host == NULL) return 0;
    if (strncasecmp(origin, "http://", 7) == 0) return strcasecmp(origin + 7, host) == 0;
    if (strncasecmp(origin, "https://", 8) == 0) return strcasecmp(origin + 8, host) == 0;
    return 0;
}

int brg_http_bearer_ok(const char *authorization, const char *secret) {
    static const char scheme[] = "Bearer ";
    char given[BRG_HTTP_SECRET_BYTES] = {0};
    BRG_ASSERT(strlen(secret) == BRG_HTTP_SECRET_BYTES - 1);
    if (authorization == NULL || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) {
        return 0;
    }
    const char *text = authorization + sizeof scheme - 1;
    if (strlen(text) != sizeof given - 1) return 0;
    memcpy(given, text, sizeof given);
    const int is_same = sodium_memcmp(given, secret, sizeof given) == 0;
    sodium_memzero(given, sizeof given);
    return is_same;
}

int brg_http_bucket_take(struct brg_http_bucket *b, uint64_t now_ns, double rate, double burst) {
    BRG_ASSERT(now_ns >= b->at_ns);
    if (b->at_ns == 0) b->tokens = burst;
    b->tokens += (double)(now_ns - b->at_ns) / 1e9 * rate;
    if (b->tokens > burst) b->tokens = burst;
    b->at_ns = now_ns;
    if (b->tokens < 1) return 0;
    b->tokens -= 1;
    return 1;
}
