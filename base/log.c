#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RESERVE_BYTES                                                                              \
    96u /* kept free for what must still follow a cut: quotes, cut, drops, end                     \
         */
#define MESSAGE_BYTES 2048u

static _Atomic int log_level = BRG_LOG_INFO;
static _Atomic int log_format = BRG_LOG_TEXT;
static _Atomic int log_fd = STDERR_FILENO;
static _Atomic uint64_t dropped_total;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped_unsaid; /* under write_lock */
static int stalled;             /* under write_lock: the last line found no room */

struct line {
    char bytes[BRG_LOG_LINE_BYTES];
    size_t len;
    int cut;
};

static const char *const level_names[] = {[BRG_LOG_ERROR] = "error",
                                          [BRG_LOG_WARN] = "warn",
                                          [BRG_LOG_INFO] = "info",
                                          [BRG_LOG_DEBUG] = "debug"};

void brg_log_configure(enum brg_log_level level, enum brg_log_format format) {
    BRG_ASSERT(level >= BRG_LOG_ERROR && level <= BRG_LOG_DEBUG);
    BRG_ASSERT(format == BRG_LOG_TEXT || format == BRG_LOG_JSON);
    atomic_store(&log_level, (int)level);
    atomic_store(&log_format, (int)format);
}

void brg_log_to(int fd) {
    atomic_store(&log_fd, fd);
}

int brg_log_level_parse(const char *text, enum brg_log_level *out) {
    for (int i = BRG_LOG_ERROR; i <= BRG_LOG_DEBUG; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum brg_log_level)i;
            return BRG_OK;
        }
    }
    return BRG_EINVAL;
}

int brg_log_format_parse(const char *text, enum brg_log_format *out) {
    if (strcmp(text, "text") == 0) {
        *out = BRG_LOG_TEXT;
    } else if (strcmp(text, "json") == 0) {
        *out = BRG_LOG_JSON;
    } else {
        return BRG_EINVAL;
    }
    return BRG_OK;
}

int brg_log_enabled(enum brg_log_level level) {
    return (int)level <= atomic_load(&log_level);
}

uint64_t brg_log_dropped(void) {
    return atomic_load(&dropped_total);
}

/* Appends where `reserve` bytes stay free behind it; all or nothing. */
static int put(struct line *l, const char *bytes, size_t n, size_t reserve) {
    if (n + reserve > sizeof l->bytes - l->len) {
        l->cut = 1;
        return 0;
    }
    memcpy(l->bytes + l->len, bytes, n);
    l->len += n;
    return 1;
}

static void put_text(struct line *l, const char *text, size_t reserve) {
    (void)put(l, text, strlen(text), reserve);
}

/* Bytes of the UTF-8 character at s, 0 where it is none (overlong, surrogate, too large, torn). */
static size_t utf8_bytes(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0; /* the closing NUL ends it here, too */
    }
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    return n;
}

/* The contents of a string with whatever could break the line made visible instead. `quoted` says
 * that it stands in quotes. C1 controls are spelled out, too: terminals obey them. */
static void put_escaped(struct line *l, const char *text, int quoted, int json) {
    const unsigned char *s = (const unsigned char *)text;
    while (*s != 0) {
        char out[8];
        size_t n = utf8_bytes(s), len;
        if (n == 0) {
            len = (size_t)snprintf(out, sizeof out, json ? "\\ufffd" : "\\x%02x", *s);
            n = 1;
        } else if (quoted && (*s == '"' || *s == '\\')) {
            len = (size_t)snprintf(out, sizeof out, "\\%c", *s);
        } else if (*s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0)) {
            len = (size_t)snprintf(out, sizeof out, json ? "\\u%04x" : "\\x%02x",
                                   (unsigned)(n == 2 ? s[1] : s[0]));
        } else {
            memcpy(out, s, n);
            len = n;
        }
        if (!put(l, out, len, RESERVE_BYTES)) return;
        s += n;
    }
}

static void put_value_string(struct line *l, const char *text, int json) {
    if (text == NULL) text = "";
    int quoted = json || *text == 0;
    for (const char *s = text; !quoted && *s != 0; s++) {
        quoted = *s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || *s == 0x7f;
    }
    if (quoted) put_text(l, "\"", 0);
    put_escaped(l, text, quoted, json);
    if (quoted) put_text(l, "\"", 0);
}

static void put_key(struct line *l, const char *key, int json, size_t reserve) {
    char text[96];
    (void)snprintf(text, sizeof text, json ? ",\"%.80s\":" : " %.80s=", key);
    put_text(l, text, reserve);
}

static void put_u64(struct line *l, const char *key, uint64_t value, int json, size_t reserve) {
    char text[24];
    put_key(l, key, json, reserve);
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    put_text(l, text, reserve);
}

static void put_field(struct line *l, const struct brg_log_field *f, int json) {
    char text[40];
    size_t before = l->len;
    /* A field that does not fit as a whole is left out, strings excepted: they are cut. */
    if (sizeof l->bytes - l->len < RESERVE_BYTES + 128) {
        l->cut = 1;
        return;
    }
    put_key(l, f->key, json, RESERVE_BYTES);
    if (f->type == BRG_LOG_FIELD_STR) {
        put_value_string(l, f->value.str, json);
        return;
    }
    if (f->type == BRG_LOG_FIELD_U64) {
        (void)snprintf(text, sizeof text, "%" PRIu64, f->value.u64);
    } else if (f->type == BRG_LOG_FIELD_I64) {
        (void)snprintf(text, sizeof text, "%" PRId64, f->value.i64);
    } else if (json && !isfinite(f->value.f64)) {
        (void)snprintf(text, sizeof text, "null");
    } else {
        (void)snprintf(text, sizeof text, "%.9g", f->value.f64);
    }
    if (!put(l, text, strlen(text), RESERVE_BYTES)) l->len = before;
}

/* RFC 3339 in UTC with microseconds. */
static void format_time(char out[40]) {
    struct timespec now = {0};
    struct tm tm = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, 40 - n, ".%06ldZ", now.tv_nsec / 1000);
}

static void put_head(struct line *l, enum brg_log_level level, const char *component, int json) {
    char time_text[40];
    format_time(time_text);
    if (json) put_text(l, "{\"time\":\"", 0);
    put_text(l, time_text, 0);
    put_text(l, json ? "\",\"level\":\"" : " ", 0);
    put_text(l, level_names[level], 0);
    put_text(l, json ? "\",\"component\":\"" : " ", 0);
    put_escaped(l, component, json, json);
    put_text(l, json ? "\",\"message\":\"" : ": ", 0);
}

/* 1 when a line can be written without blocking. Waits only for the first line of a stall. */
static int has_room(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int rc = poll(&p, 1, stalled ? 0 : BRG_LOG_WAIT_MS);
    return rc > 0 && (p.revents & POLLOUT) != 0;
}

/* Ends the line and writes it, or counts it as dropped. */
static void write_line(struct line *l, int json) {
    int rc = pthread_mutex_lock(&write_lock);
    BRG_ASSERT(rc == 0);
    int fd = atomic_load(&log_fd);
    int room = has_room(fd);
    if (room) {
        if (dropped_unsaid > 0) put_u64(l, "lines_dropped", dropped_unsaid, json, 0);
        if (l->cut) put_text(l, json ? ",\"cut\":true" : " cut=true", 0);
        put_text(l, json ? "}\n" : "\n", 0);
        ssize_t n = -1;
        do {
            n = write(fd, l->bytes, l->len);
        } while (n < 0 && errno == EINTR);
        room = n == (ssize_t)l->len;
    }
    if (room) {
        dropped_unsaid = 0;
    } else {
        dropped_unsaid++;
        atomic_fetch_add(&dropped_total, 1);
    }
    stalled = !room;
    rc = pthread_mutex_unlock(&write_lock);
    BRG_ASSERT(rc == 0);
}

void brg_log(enum brg_log_level level, const char *component, const struct brg_log_field *fields,
             const char *format, ...) {
    BRG_ASSERT(level >= BRG_LOG_ERROR && level <= BRG_LOG_DEBUG);
    BRG_ASSERT(component != NULL);
    if (!brg_log_enabled(level)) return;

    int saved_errno = errno;
    int json = atomic_load(&log_format) == BRG_LOG_JSON;
    char message[MESSAGE_BYTES];
    struct line l; /* the buffer is filled as far as len says, and no further */
    l.len = 0;
    l.cut = 0;

    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (wanted < 0) message[0] = 0;
    if (wanted >= (int)sizeof message) l.cut = 1;

    put_head(&l, level, component, json);
    put_escaped(&l, message, json, json);
    if (json) put_text(&l, "\"", 0);
    for (const struct brg_log_field *f = fields; f != NULL && f->type != BRG_LOG_FIELD_END; f++) {
        put_field(&l, f, json);
    }
    write_line(&l, json);
    errno = saved_errno;
}
