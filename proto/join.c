/* join.c - addresses and join URLs as text; part of keys.h. */
#include "proto/keys.h"

#include <string.h>

#define SCHEME "brigade://"

/* Digits only, 1 .. 65535; 0 for anything else. */
static uint16_t port_of(const char *text, size_t size_bytes) {
    uint32_t port = 0;
    if (size_bytes == 0 || size_bytes > 5) return 0;
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] < '0' || text[i] > '9') return 0;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* What host names and addresses are made of; ZeroMQ would read anything else as its own syntax. */
static int is_host(const char *text, size_t size_bytes, int is_v6) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    static const char v6[] = "0123456789abcdefABCDEF:.";
    if (size_bytes == 0 || size_bytes >= BRG_HOST_BYTES) return 0;
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] == '\0' || strchr(is_v6 ? v6 : name, text[i]) == NULL) return 0;
    }
    return 1;
}

/* A piece of text [size_bytes] that has no NUL of its own. */
struct span {
    const char *text;
    size_t size_bytes;
};

/* Cuts "host:port" or "[v6]:port" into its two parts; no colon: an empty port. 0: not so written */
static int split_address(const char *text, struct span *host, struct span *port) {
    const char *rest;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (end == NULL) return 0;
        *host = (struct span){text + 1, (size_t)(end - text) - 1};
        rest = end + 1;
        if (!is_host(host->text, host->size_bytes, 1)) return 0;
    } else {
        const size_t size_bytes = strcspn(text, ":");
        *host = (struct span){text, size_bytes};
        rest = text + size_bytes;
        if (!is_host(host->text, host->size_bytes, 0)) return 0;
    }
    if (rest[0] == '\0') {
        *port = (struct span){rest, 0};
        return 1;
    }
    if (rest[0] != ':') return 0;
    *port = (struct span){rest + 1, strlen(rest + 1)};
    return port->size_bytes > 0 && strchr(port->text, ':') == NULL; /* IPv6 wants its brackets */
}

int brg_address_parse(const char *text, char *host, uint16_t *port, struct brg_why *why) {
    struct span host_part, port_part;
    uint16_t number = BRG_PORT_DEFAULT;

    if (strlen(text) >= BRG_ENDPOINT_BYTES) {
        return brg_why_set(why, BRG_EINVAL, "the address is longer than any address is");
    }
    const size_t all_bytes = strlen(text);
    if (strspn(text, "0123456789") == all_bytes && all_bytes > 0) {
        host_part = (struct span){"0.0.0.0", 7};
        port_part = (struct span){text, all_bytes};
    } else if (!split_address(text, &host_part, &port_part)) {
        return brg_why_set(why, BRG_EINVAL,
                           "'%s' is no address: write host:port, or [address]:port for IPv6", text);
    }
    if (port_part.size_bytes > 0) number = port_of(port_part.text, port_part.size_bytes);
    if (number == 0) {
        return brg_why_set(why, BRG_EINVAL, "'%s': the port is not a number of 1 to 65535", text);
    }
    memcpy(host, host_part.text, host_part.size_bytes);
    host[host_part.size_bytes] = '\0';
    *port = number;
    return BRG_OK;
}

const char *brg_endpoint_format(const char *host, uint16_t port, char *out) {
    const int is_v6 = strchr(host, ':') != NULL;
    const int size = snprintf(out, BRG_ENDPOINT_BYTES, is_v6 ? "tcp://[%s]:%u" : "tcp://%s:%u",
                              host, (unsigned)port);
    BRG_ASSERT(size > 0 && size < (int)BRG_ENDPOINT_BYTES);
    return out;
}

const char *brg_join_format(const struct brg_join *join, char *out) {
    char key[BRG_KEY_TEXT_BYTES];
    const int is_v6 = strchr(join->host, ':') != NULL;
    const int size =
        snprintf(out, BRG_JOIN_URL_BYTES, is_v6 ? SCHEME "%s@[%s]:%u" : SCHEME "%s@%s:%u",
                 brg_key_format(&join->server, key), join->host, (unsigned)join->port);
    BRG_ASSERT(size > 0 && size < (int)BRG_JOIN_URL_BYTES);
    return out;
}

int brg_join_parse(const char *url, struct brg_join *out, struct brg_why *why) {
    const size_t key_bytes = BRG_KEY_TEXT_BYTES - 1;
    char key_text[BRG_KEY_TEXT_BYTES];
    struct brg_join join;

    memset(&join, 0, sizeof join);
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0) {
        return brg_why_set(why, BRG_EINVAL,
                           "a join URL begins with brigade:// - copy the line that the coordinator "
                           "printed, in single quotes");
    }
    /* The key may hold '@', '/' and ':' itself: its length says where it ends. */
    const char *key = url + strlen(SCHEME);
    if (strnlen(key, key_bytes + 1) <= key_bytes || key[key_bytes] != '@') {
        return brg_why_set(
            why, BRG_EINVAL,
            "the join URL has no key of 40 characters before its @: the shell may have "
            "eaten some, put the URL in single quotes");
    }
    memcpy(key_text, key, key_bytes);
    key_text[key_bytes] = '\0';
    int rc = brg_key_parse(key_text, &join.server, why);
    if (rc != BRG_OK) return rc;
    const char *address = key + key_bytes + 1;
    if (address[0] == '\0' || strspn(address, "0123456789") == strlen(address)) {
        return brg_why_set(why, BRG_EINVAL, "the join URL names no host behind its @");
    }
    rc = brg_address_parse(address, join.host, &join.port, why);
    if (rc != BRG_OK) return rc;
    *out = join;
    return BRG_OK;
}
