/* log.h - one line to standard error for each thing worth telling, as text or as JSON.
 *
 *   2026-01-31T12:00:00.123456Z info round: step committed step=7 waited="31 ms"
 *   {"time":"2026-01-31T12:00:00.123456Z","level":"info","component":"round",
 *    "message":"step committed","step":7,"waited":"31 ms"}                        (on one line)
 *
 * Any thread may log. A line is one write(2) of at most BRG_LOG_LINE_BYTES, so lines never mix.
 * What comes from outside is made harmless: control bytes and broken UTF-8 cannot start a line of
 * their own or confuse a terminal. Where nobody reads the other end of the pipe, a line waits at
 * most BRG_LOG_WAIT_MS once, then lines are dropped and counted until there is room; the next line
 * carries the count as field `lines_dropped`. A log must never stop a run. */
#ifndef BRG_LOG_H
#define BRG_LOG_H

#include "base/base.h"

#define BRG_LOG_LINE_BYTES 4096u /* what a pipe takes without blocking once it is writable */
#define BRG_LOG_WAIT_MS 100

enum brg_log_level { BRG_LOG_ERROR = 1, BRG_LOG_WARN = 2, BRG_LOG_INFO = 3, BRG_LOG_DEBUG = 4 };
enum brg_log_format { BRG_LOG_TEXT = 1, BRG_LOG_JSON = 2 };

enum brg_log_field_type {
    BRG_LOG_FIELD_END = 0,
    BRG_LOG_FIELD_U64 = 1,
    BRG_LOG_FIELD_I64 = 2,
    BRG_LOG_FIELD_F64 = 3, /* not finite: null in JSON */
    BRG_LOG_FIELD_STR = 4, /* NULL is written as an empty string */
};

struct brg_log_field {
    enum brg_log_field_type type;
    const char *key; /* a name of our own, [a-z0-9_] */
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        const char *str;
    } value;
};

#define BRG_U64(k, v)                                                                              \
    { .type = BRG_LOG_FIELD_U64, .key = (k), .value.u64 = (v) }
#define BRG_I64(k, v)                                                                              \
    { .type = BRG_LOG_FIELD_I64, .key = (k), .value.i64 = (v) }
#define BRG_F64(k, v)                                                                              \
    { .type = BRG_LOG_FIELD_F64, .key = (k), .value.f64 = (v) }
#define BRG_STR(k, v)                                                                              \
    { .type = BRG_LOG_FIELD_STR, .key = (k), .value.str = (v) }
/* The fields of one line: brg_log_info("round", BRG_FIELDS(BRG_U64("step", 7)), "committed"). */
#define BRG_FIELDS(...)                                                                            \
    ((const struct brg_log_field[]){__VA_ARGS__, {.type = BRG_LOG_FIELD_END, .key = NULL}})

/* brg_log_configure - lines above `level` are left out, the others are written in `format`.
 * Before the first call: info and text. */
void brg_log_configure(enum brg_log_level level, enum brg_log_format format);

/* brg_log_to - writes to the descriptor `fd` instead of standard error; `fd` stays the caller's. */
void brg_log_to(int fd);

/* brg_log_level_parse - error, warn, info or debug. errors: BRG_EINVAL another word */
BRG_CHECK int brg_log_level_parse(const char *text, enum brg_log_level *out);

/* brg_log_format_parse - text or json. errors: BRG_EINVAL another word */
BRG_CHECK int brg_log_format_parse(const char *text, enum brg_log_format *out);

/* brg_log_enabled - 1 where a line of `level` would be written: to skip costly arguments. */
int brg_log_enabled(enum brg_log_level level);

/* brg_log_dropped - lines dropped since the process began because nobody took them. */
uint64_t brg_log_dropped(void);

/* brg_log - writes one line; errno is kept.
 *
 * shape:  component: a name such as "round"; fields: BRG_FIELDS(...) or NULL;
 *         format and what follows: as printf. No newline at the end.
 * own:    borrows everything until return
 * errors: none to the caller: what cannot be written is counted. A line too long is cut and says
 *         so with a field `cut` */
void brg_log(enum brg_log_level level, const char *component, const struct brg_log_field *fields,
             const char *format, ...) BRG_PRINTF(4, 5);

#define brg_log_error(component, fields, ...) brg_log(BRG_LOG_ERROR, component, fields, __VA_ARGS__)
#define brg_log_warn(component, fields, ...) brg_log(BRG_LOG_WARN, component, fields, __VA_ARGS__)
#define brg_log_info(component, fields, ...) brg_log(BRG_LOG_INFO, component, fields, __VA_ARGS__)
#define brg_log_debug(component, fields, ...) brg_log(BRG_LOG_DEBUG, component, fields, __VA_ARGS__)

#endif
