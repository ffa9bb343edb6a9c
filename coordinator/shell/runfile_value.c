#include "coordinator/shell/runfile_private.h"

#include "base/units.h"
#include "proto/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define SHOWN_CHARS 40 /* of a bad value in a sentence */
#define NUMBER_CHARS_MAX 40u

static void *field(const struct key *key, struct brg_run_config *config) {
    return (uint8_t *)config + key->offset;
}

static const void *field_const(const struct key *key, const struct brg_run_config *config) {
    return (const uint8_t *)config + key->offset;
}

uint32_t brg_key_number(const struct brg_run_config *config, const struct key *key) {
    uint32_t number;
    BRG_ASSERT(key->type == KEY_CHOICE || key->type == KEY_COUNT || key->type == KEY_BOOL ||
               key->type == KEY_VOCAB);
    memcpy(&number, field_const(key, config), sizeof number);
    return number;
}

static int bad(const struct key *key, const char *text, struct brg_why *why) {
    char kind[VALUE_BYTES];
    return brg_why_set(why, BRG_EINVAL, "is \"%.*s\", but must be %s", SHOWN_CHARS, text,
                       brg_value_kind(key, kind));
}

/* Decimal digits without a leading zero: YAML readers disagree whether 010 is eight or ten. */
static int parse_whole(const char *text, uint64_t *out) {
    uint64_t n = 0;
    if (*text == 0 || (text[0] == '0' && text[1] != 0)) return BRG_EINVAL;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9') return BRG_EINVAL;
        if (__builtin_mul_overflow(n, UINT64_C(10), &n)) return BRG_EINVAL;
        if (__builtin_add_overflow(n, (uint64_t)(*text - '0'), &n)) return BRG_EINVAL;
    }
    *out = n;
    return BRG_OK;
}

/* A decimal number with optional exponent; strtod alone would also take nan, inf and hexadecimal,
 * and would read 1,5 as 1. */
static int parse_real(const char *text, double *out) {
    char *end;
    if (strlen(text) > NUMBER_CHARS_MAX) return BRG_EINVAL;
    if (strspn(text, "0123456789.eE+-") != strlen(text) || *text == 0) return BRG_EINVAL;
    errno = 0;
    double value = strtod(text, &end);
    if (*end != 0 || end == text || !isfinite(value)) return BRG_EINVAL;
    *out = value;
    return BRG_OK;
}

static int in_range(const struct key *key, double value) {
    return value >= key->min && value <= key->max;
}

static int parse_u64(const struct key *key, const char *text, uint64_t *out) {
    int rc;
    if (key->type == KEY_TIMEOUT && strcmp(text, "auto") == 0) {
        *out = 0;
        return BRG_OK;
    }
    if (key->type == KEY_DURATION || key->type == KEY_TIMEOUT) {
        rc = brg_duration_parse(text, out);
    } else {
        rc = parse_whole(text, out);
    }
    if (rc != BRG_OK) return rc;
    if (key->type == KEY_NUMBER && key->max == 0) return BRG_OK; /* any 64 bits */
    return in_range(key, (double)*out) ? BRG_OK : BRG_EINVAL;
}

static int parse_u32(const struct key *key, const char *text, uint32_t *out) {
    uint64_t number = 0;
    double real = 0;
    if (key->type == KEY_BOOL) {
        int yes = strcmp(text, "true") == 0;
        if (!yes && strcmp(text, "false") != 0) return BRG_EINVAL;
        *out = (uint32_t)yes;
        return BRG_OK;
    }
    if (key->type == KEY_VOCAB && strcmp(text, "bytes") == 0) {
        *out = 256;
        return BRG_OK;
    }
    if (key->type == KEY_MILLIONTH) {
        if (parse_real(text, &real) != BRG_OK || !in_range(key, real)) return BRG_EINVAL;
        *out = (uint32_t)lround(real * 1e6);
        return BRG_OK;
    }
    if (parse_whole(text, &number) != BRG_OK || !in_range(key, (double)number)) return BRG_EINVAL;
    *out = (uint32_t)number;
    return BRG_OK;
}

static int parse_choice(const struct key *key, const char *text, uint32_t *out,
                        struct brg_why *why) {
    const char *words[16];
    size_t count = 0;
    for (const struct choice *c = key->choices; c->word != NULL; c++) {
        if (strcmp(c->word, text) == 0) {
            if (c->reason != NULL) {
                return brg_why_set(why, BRG_EINVAL, "%s %s", c->word, c->reason);
            }
            *out = c->number;
            return BRG_OK;
        }
        BRG_ASSERT(count < sizeof words / sizeof words[0]);
        if (c->reason == NULL) words[count++] = c->word;
    }
    const char *near = brg_suggest(text, words, count);
    if (near == NULL) return bad(key, text, why);
    char kind[VALUE_BYTES];
    return brg_why_set(why, BRG_EINVAL, "is \"%.*s\", but must be %s; did you mean %s?",
                       SHOWN_CHARS, text, brg_value_kind(key, kind), near);
}

/* A real into float or double. A share is kept as the nearest float of its millionths, so that
 * writing and reading gives the same bits. */
static int parse_float(const struct key *key, const char *text, struct brg_run_config *config,
                       struct brg_why *why) {
    double value = 0;
    uint32_t ppm = 0;
    if (key->type == KEY_REAL) {
        if (parse_real(text, &value) != BRG_OK) return bad(key, text, why);
    } else {
        if (brg_share_parse(text, &ppm) != BRG_OK) return bad(key, text, why);
        value = (double)ppm / 1e6;
    }
    if (!in_range(key, value)) return bad(key, text, why);
    if (key->type == KEY_SHARE_F64) {
        memcpy(field(key, config), &value, sizeof value);
    } else {
        float narrow = (float)value;
        memcpy(field(key, config), &narrow, sizeof narrow);
    }
    return BRG_OK;
}

static int is_name_char(char c, int first) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return 1;
    return !first && (c == '.' || c == '_' || c == '-');
}

static int parse_string(const struct key *key, const char *text, struct brg_run_config *config,
                        struct brg_why *why) {
    size_t size = key->type == KEY_NAME ? BRG_RUN_NAME_BYTES : BRG_PATH_BYTES;
    size_t n = strlen(text);
    if (n == 0) return brg_why_set(why, BRG_EINVAL, "is empty: give it a value or remove the key");
    if (n >= size) {
        return brg_why_set(why, BRG_EINVAL, "is %zu bytes long: at most %zu are allowed", n,
                           size - 1);
    }
    if (!brg_text_valid((const uint8_t *)text, n)) {
        return brg_why_set(why, BRG_EINVAL,
                           "holds control characters or broken UTF-8: remove them");
    }
    for (size_t i = 0; key->type == KEY_NAME && i < n; i++) {
        if (!is_name_char(text[i], i == 0)) return bad(key, text, why);
    }
    char *out = field(key, config);
    memset(out, 0, size);
    memcpy(out, text, n);
    return BRG_OK;
}

static int append_width(const struct key *key, const char *text, struct brg_run_config *config,
                        struct brg_why *why) {
    uint64_t width;
    if (parse_whole(text, &width) != BRG_OK || !in_range(key, (double)width)) {
        return bad(key, text, why);
    }
    if (config->model.width_count == BRG_MLP_HIDDEN_MAX) {
        return brg_why_set(why, BRG_EINVAL, "has more than %u layers: leave some out",
                           BRG_MLP_HIDDEN_MAX);
    }
    config->model.widths[config->model.width_count++] = (uint32_t)width;
    return BRG_OK;
}

static int append_rung(const struct key *key, const char *text, struct brg_run_config *config,
                       struct brg_why *why) {
    struct brg_ladder_config *ladder = field(key, config);
    uint32_t rung = 0;
    const int rc = parse_choice(key, text, &rung, why);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < ladder->count; i++) {
        if (ladder->rungs[i] != rung) continue;
        return brg_why_set(why, BRG_EINVAL, "names %s twice: remove one of them", text);
    }
    BRG_ASSERT(ladder->count < BRG_LADDER_RUNGS_MAX); /* there are no more different ones */
    ladder->rungs[ladder->count++] = rung;
    return BRG_OK;
}

int brg_value_parse_item(const struct key *key, uint32_t index, const char *text,
                         struct brg_run_config *config, struct brg_why *why) {
    uint64_t seed = 0;
    double value = 0;
    BRG_ASSERT(index < BRG_MODELS_MAX);
    if (key->type == KEY_SEEDS) {
        if (parse_whole(text, &seed) != BRG_OK) return bad(key, text, why);
        memcpy((uint8_t *)field(key, config) + index * sizeof seed, &seed, sizeof seed);
        return BRG_OK;
    }
    BRG_ASSERT(key->type == KEY_RATES);
    if (parse_real(text, &value) != BRG_OK || !in_range(key, value)) return bad(key, text, why);
    const float rate = (float)value;
    memcpy((uint8_t *)field(key, config) + index * sizeof rate, &rate, sizeof rate);
    return BRG_OK;
}

int brg_value_parse(const struct key *key, const char *text, struct brg_run_config *config,
                    struct brg_why *why) {
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    int rc = BRG_OK;
    switch (key->type) {
    case KEY_NAME:
    case KEY_PATH: return parse_string(key, text, config, why);
    case KEY_WIDTHS: return append_width(key, text, config, why);
    case KEY_LADDER: return append_rung(key, text, config, why);
    case KEY_SEEDS:
    case KEY_RATES: BRG_ASSERT(0 && "read item by item"); break;
    case KEY_REAL:
    case KEY_SHARE:
    case KEY_SHARE_F64: return parse_float(key, text, config, why);
    case KEY_NUMBER:
    case KEY_DURATION:
    case KEY_TIMEOUT:
        if (parse_u64(key, text, &u64) != BRG_OK) return bad(key, text, why);
        memcpy(field(key, config), &u64, sizeof u64);
        return BRG_OK;
    case KEY_CHOICE:
        rc = parse_choice(key, text, &u32, why);
        if (rc == BRG_OK) memcpy(field(key, config), &u32, sizeof u32);
        return rc;
    case KEY_COUNT:
    case KEY_MILLIONTH:
    case KEY_BOOL:
    case KEY_VOCAB: break;
    }
    if (parse_u32(key, text, &u32) != BRG_OK) return bad(key, text, why);
    memcpy(field(key, config), &u32, sizeof u32);
    return BRG_OK;
}

/* Fewest digits that give the same float back. */
static void real_text(float value, char *out) {
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(out, VALUE_BYTES, "%.*g", digits, (double)value);
        if (strtof(out, NULL) == value) return;
    }
}

/* 1 for characters that readers of YAML fold, drop or refuse unless they are escaped. */
static int needs_escape(uint32_t character) {
    return character == 0x2028 || character == 0x2029 || character == 0xfeff ||
           character == 0xfffe || character == 0xffff;
}

/* Always in double quotes: no name or path can then be read as something else. */
static void string_text(const char *text, char *out) {
    size_t n = 0;
    out[n++] = '"';
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++) {
        BRG_ASSERT(n + 8 < VALUE_BYTES);
        int three = (*p & 0xf0) == 0xe0 && p[1] != 0 && p[2] != 0;
        uint32_t c = three ? (*p & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u) : 0;
        if (needs_escape(c)) {
            n += (size_t)snprintf(out + n, VALUE_BYTES - n, "\\u%04X", (unsigned)c);
            p += 2;
            continue;
        }
        if (*p == '"' || *p == '\\') out[n++] = '\\';
        out[n++] = (char)*p;
    }
    out[n++] = '"';
    out[n] = 0;
}

static void widths_text(const struct brg_run_config *config, char *out) {
    size_t n = (size_t)snprintf(out, VALUE_BYTES, "[");
    for (uint32_t i = 0; i < config->model.width_count && i < BRG_MLP_HIDDEN_MAX; i++) {
        n += (size_t)snprintf(out + n, VALUE_BYTES - n, "%s%" PRIu32, i > 0 ? ", " : "",
                              config->model.widths[i]);
    }
    (void)snprintf(out + n, VALUE_BYTES - n, "]");
}

static void choice_text(const struct key *key, uint32_t number, char *out) {
    for (const struct choice *c = key->choices; c->word != NULL; c++) {
        if (c->number == number && c->reason == NULL) {
            (void)snprintf(out, VALUE_BYTES, "%s", c->word);
            return;
        }
    }
    (void)snprintf(out, VALUE_BYTES, "%" PRIu32, number); /* no word has it: check refuses it */
}

static void ladder_text(const struct key *key, const struct brg_ladder_config *ladder, char *out) {
    size_t n = (size_t)snprintf(out, VALUE_BYTES, "[");
    char word[VALUE_BYTES];
    for (uint32_t i = 0; i < ladder->count && i < BRG_LADDER_RUNGS_MAX; i++) {
        choice_text(key, ladder->rungs[i], word);
        n += (size_t)snprintf(out + n, VALUE_BYTES - n, "%s%.40s", i > 0 ? ", " : "", word);
    }
    (void)snprintf(out + n, VALUE_BYTES - n, "]");
}

static void seeds_text(const uint64_t *seeds, uint32_t count, char *out) {
    size_t n = (size_t)snprintf(out, VALUE_BYTES, "[");
    for (uint32_t i = 0; i < count && i < BRG_MODELS_MAX; i++) {
        n += (size_t)snprintf(out + n, VALUE_BYTES - n, "%s%" PRIu64, i > 0 ? ", " : "", seeds[i]);
    }
    (void)snprintf(out + n, VALUE_BYTES - n, "]");
}

static void rates_text(const float *rates, uint32_t count, char *out) {
    char text[VALUE_BYTES];
    size_t n = (size_t)snprintf(out, VALUE_BYTES, "[");
    for (uint32_t i = 0; i < count && i < BRG_MODELS_MAX; i++) {
        real_text(rates[i], text);
        n += (size_t)snprintf(out + n, VALUE_BYTES - n, "%s%.40s", i > 0 ? ", " : "", text);
    }
    (void)snprintf(out + n, VALUE_BYTES - n, "]");
}

static void u32_text(const struct key *key, uint32_t number, char *out) {
    if (key->type == KEY_CHOICE) {
        choice_text(key, number, out);
    } else if (key->type == KEY_BOOL && number <= 1) {
        (void)snprintf(out, VALUE_BYTES, "%s", number ? "true" : "false");
    } else if (key->type == KEY_VOCAB && number == 256) {
        (void)snprintf(out, VALUE_BYTES, "bytes");
    } else if (key->type == KEY_MILLIONTH) {
        (void)snprintf(out, VALUE_BYTES, "%.10g", (double)number / 1e6);
    } else {
        (void)snprintf(out, VALUE_BYTES, "%" PRIu32, number);
    }
}

static void u64_text(const struct key *key, uint64_t number, char *out) {
    if (key->type == KEY_TIMEOUT && number == 0) {
        (void)snprintf(out, VALUE_BYTES, "auto");
    } else if (key->type == KEY_DURATION || key->type == KEY_TIMEOUT) {
        (void)brg_duration_text(number, out);
    } else {
        (void)snprintf(out, VALUE_BYTES, "%" PRIu64, number);
    }
}

const char *brg_value_text(const struct key *key, const struct brg_run_config *config, char *out) {
    const void *at = field_const(key, config);
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    double f64 = 0;
    float f32 = 0;
    switch (key->type) {
    case KEY_NAME:
    case KEY_PATH: string_text(at, out); break;
    case KEY_WIDTHS: widths_text(config, out); break;
    case KEY_LADDER: ladder_text(key, at, out); break;
    case KEY_SEEDS: seeds_text(at, config->models, out); break;
    case KEY_RATES: rates_text(at, config->models, out); break;
    case KEY_REAL:
        memcpy(&f32, at, sizeof f32);
        real_text(f32, out);
        break;
    case KEY_SHARE:
        memcpy(&f32, at, sizeof f32);
        (void)brg_share_text((uint32_t)lround((double)f32 * 1e6), out);
        break;
    case KEY_SHARE_F64:
        memcpy(&f64, at, sizeof f64);
        (void)brg_share_text((uint32_t)lround(f64 * 1e6), out);
        break;
    case KEY_NUMBER:
    case KEY_DURATION:
    case KEY_TIMEOUT:
        memcpy(&u64, at, sizeof u64);
        u64_text(key, u64, out);
        break;
    case KEY_COUNT:
    case KEY_MILLIONTH:
    case KEY_CHOICE:
    case KEY_BOOL:
    case KEY_VOCAB:
        memcpy(&u32, at, sizeof u32);
        u32_text(key, u32, out);
        break;
    }
    return out;
}

static void choice_kind(const struct key *key, char *out) {
    size_t n = 0;
    uint32_t left = 0;
    for (const struct choice *c = key->choices; c->word != NULL; c++) left += c->reason == NULL;
    out[0] = 0;
    for (const struct choice *c = key->choices; c->word != NULL; c++) {
        if (c->reason != NULL) continue;
        left--;
        n += (size_t)snprintf(out + n, VALUE_BYTES - n, "%s%s", c->word,
                              left > 1    ? ", "
                              : left == 1 ? " or "
                                          : "");
    }
}

static void duration_kind(const struct key *key, char *out) {
    char min[BRG_UNITS_TEXT_BYTES], max[BRG_UNITS_TEXT_BYTES];
    (void)snprintf(out, VALUE_BYTES, "%sa duration from %s to %s: " BRG_UNITS_DURATION_HINT,
                   key->type == KEY_TIMEOUT ? "auto, or " : "",
                   brg_duration_text((uint64_t)key->min, min),
                   brg_duration_text((uint64_t)key->max, max));
}

static void ladder_kind(const struct key *key, char *out) {
    char words[VALUE_BYTES];
    choice_kind(key, words);
    (void)snprintf(out, VALUE_BYTES, "a list of %.400s, in the order they are tried", words);
}

const char *brg_value_kind(const struct key *key, char *out) {
    switch (key->type) {
    case KEY_CHOICE: choice_kind(key, out); break;
    case KEY_DURATION:
    case KEY_TIMEOUT: duration_kind(key, out); break;
    case KEY_LADDER: ladder_kind(key, out); break;
    case KEY_BOOL: (void)snprintf(out, VALUE_BYTES, "true or false"); break;
    case KEY_PATH:
        (void)snprintf(out, VALUE_BYTES, "a path of at most %u bytes", BRG_PATH_BYTES - 1);
        break;
    case KEY_NAME:
        (void)snprintf(out, VALUE_BYTES,
                       "a name of at most %u letters, digits, '.', '_' and '-', "
                       "that begins with a letter or digit",
                       BRG_RUN_NAME_BYTES - 1);
        break;
    case KEY_WIDTHS:
        (void)snprintf(out, VALUE_BYTES, "a list of 1 to %u whole numbers from %.0f to %.0f",
                       BRG_MLP_HIDDEN_MAX, key->min, key->max);
        break;
    case KEY_SEEDS:
        (void)snprintf(out, VALUE_BYTES, "a list of whole numbers, one for each model");
        break;
    case KEY_RATES:
        (void)snprintf(out, VALUE_BYTES, "a list of numbers from %.7g to %.7g, one for each model",
                       key->min, key->max);
        break;
    case KEY_VOCAB:
        (void)snprintf(out, VALUE_BYTES, "bytes or a whole number from %.0f to %.0f", key->min,
                       key->max);
        break;
    case KEY_SHARE:
    case KEY_SHARE_F64:
        (void)snprintf(out, VALUE_BYTES, "a percentage from %.0f%% to %.0f%%, such as 5%%",
                       100 * key->min, 100 * key->max);
        break;
    case KEY_REAL:
    case KEY_MILLIONTH:
        (void)snprintf(out, VALUE_BYTES, "a number from %.7g to %.7g", key->min, key->max);
        break;
    case KEY_COUNT:
    case KEY_NUMBER:
        if (key->max == 0) {
            (void)snprintf(out, VALUE_BYTES, "a whole number from 0 to %" PRIu64, UINT64_MAX);
        } else {
            (void)snprintf(out, VALUE_BYTES, "a whole number from %.0f to %.0f", key->min,
                           key->max);
        }
        break;
    }
    return out;
}
