#include "base/units.h"

#include <inttypes.h>
#include <string.h>

#define DECIMALS_MAX 18u

struct unit {
    const char *name;
    uint64_t factor;
};

/* Smallest first; the writers use those before `exact_count`. */
static const struct unit durations[] = {
    {"ns", 1},
    {"us", BRG_NS_PER_US},
    {"ms", BRG_NS_PER_MS},
    {"s", BRG_NS_PER_S},
    {"min", 60 * BRG_NS_PER_S},
    {"h", 3600 * BRG_NS_PER_S},
    {"d", 86400 * BRG_NS_PER_S},
};
static const struct unit sizes[] = {
    {"B", 1},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
    {"kB", UINT64_C(1000)},
    {"MB", UINT64_C(1000000)},
    {"GB", UINT64_C(1000000000)},
    {"TB", UINT64_C(1000000000000)},
};
/* 1% is 10 000 millionths. */
static const struct unit shares[] = {{"%", 10000}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BINARY_SIZES 5u /* B .. TiB */

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* digits ['.' digits] into a whole number and a power of ten to divide it by. */
static int parse_number(const char **text, uint64_t *number, uint64_t *divisor) {
    const char *p = *text;
    uint64_t n = 0, d = 1;
    if (!is_digit(*p)) return BRG_EINVAL;
    int in_decimals = 0;
    for (unsigned decimals = 0; is_digit(*p) || (*p == '.' && !in_decimals); p++) {
        if (*p == '.') {
            if (!is_digit(p[1])) return BRG_EINVAL;
            in_decimals = 1;
            continue;
        }
        if (in_decimals && ++decimals > DECIMALS_MAX) return BRG_EINVAL;
        if (in_decimals) d *= 10; /* at most 10^18 */
        if (__builtin_mul_overflow(n, UINT64_C(10), &n)) return BRG_EINVAL;
        if (__builtin_add_overflow(n, (uint64_t)(*p - '0'), &n)) return BRG_EINVAL;
    }
    *text = p;
    *number = n;
    *divisor = d;
    return BRG_OK;
}

/* Euclid; both > 0. */
static uint64_t greatest_common(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int parse(const char *text, const struct unit *units, size_t count, uint64_t *out) {
    uint64_t number, divisor, product;
    int rc = parse_number(&text, &number, &divisor);
    if (rc != BRG_OK) return rc;
    if (*text == ' ') text++;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, units[i].name) != 0) continue;
        /* Shortened first, so that 0.000000001s neither overflows nor loses anything. */
        uint64_t common = greatest_common(units[i].factor, divisor);
        divisor /= common;
        if (number % divisor != 0) return BRG_EINVAL;
        if (__builtin_mul_overflow(number / divisor, units[i].factor / common, &product)) break;
        *out = product;
        return BRG_OK;
    }
    return BRG_EINVAL;
}

int brg_duration_parse(const char *text, uint64_t *out_ns) {
    return parse(text, durations, COUNT(durations), out_ns);
}

int brg_size_parse(const char *text, uint64_t *out_bytes) {
    return parse(text, sizes, COUNT(sizes), out_bytes);
}

int brg_share_parse(const char *text, uint32_t *out_ppm) {
    uint64_t ppm;
    int rc = parse(text, shares, COUNT(shares), &ppm);
    if (rc != BRG_OK || ppm > BRG_SHARE_ONE_PPM) return BRG_EINVAL;
    *out_ppm = (uint32_t)ppm;
    return BRG_OK;
}

/* The largest unit that divides the value, which must hold `least` of those above a second: 60s
 * reads better than 1min, 2h better than 7200s. */
static const char *write_exact(uint64_t value, const struct unit *units, size_t count,
                               uint64_t least, char *out) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        uint64_t wanted = units[i].factor > BRG_NS_PER_S ? least : 1;
        if (value / units[i].factor >= wanted && value % units[i].factor == 0) best = i;
    }
    (void)snprintf(out, BRG_UNITS_TEXT_BYTES, "%" PRIu64 "%s", value / units[best].factor,
                   units[best].name);
    return out;
}

const char *brg_duration_text(uint64_t ns, char *out) {
    if (ns == 0) return strcpy(out, "0s");
    return write_exact(ns, durations, COUNT(durations), 2, out);
}

const char *brg_size_text(uint64_t bytes, char *out) {
    return write_exact(bytes, sizes, BINARY_SIZES, 1, out);
}

const char *brg_share_text(uint32_t ppm, char *out) {
    uint32_t whole = ppm / 10000, rest = ppm % 10000;
    int n = snprintf(out, BRG_UNITS_TEXT_BYTES, "%" PRIu32, whole);
    if (rest > 0) {
        n += snprintf(out + n, BRG_UNITS_TEXT_BYTES - (size_t)n, ".%04" PRIu32, rest);
        while (out[n - 1] == '0') out[--n] = 0;
    }
    (void)snprintf(out + n, BRG_UNITS_TEXT_BYTES - (size_t)n, "%%");
    return out;
}

const char *brg_size_about(uint64_t bytes, char *out) {
    size_t i = 0;
    while (i + 1 < BINARY_SIZES && bytes >= sizes[i + 1].factor) i++;
    double value = (double)bytes / (double)sizes[i].factor;
    int decimals = i == 0 || value >= 100.0 ? 0 : value >= 10.0 ? 1 : 2;
    (void)snprintf(out, BRG_UNITS_TEXT_BYTES, "%.*f %s", decimals, value, sizes[i].name);
    return out;
}
