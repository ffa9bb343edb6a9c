/* profile_csv.c - recordings of delays, read strictly: what is not understood is refused with its
 * line, since a figure that was read wrongly looks like any other. */
#include "coding/profile.h"

#include <math.h>
#include <string.h>

#define DIGITS_MAX 15u /* exact in a double */
#define SECONDS_MAX 65536.0

/* A piece of the text: of the line at hand, and where it has been read to. */
struct cursor {
    const char *at, *end;
    uint64_t line;
};

uint32_t brg_points_count_lines(const char *text, size_t length) {
    uint32_t lines = 1;
    for (size_t i = 0; i < length && lines < BRG_POINTS_MAX; i++) lines += text[i] == '\n';
    return lines;
}

/* The next line without its end; 0 where there is none. */
static int next_line(struct cursor *text, struct cursor *line) {
    if (text->at == text->end) return 0;
    const char *end = text->at;
    while (end < text->end && *end != '\n') end++;
    *line = (struct cursor){.at = text->at, .end = end, .line = ++text->line};
    text->at = end < text->end ? end + 1 : end;
    if (line->end > line->at && line->end[-1] == '\r') line->end--;
    return 1;
}

/* Digits with at most one point, no sign, no exponent; 0 where it is something else. */
static int take_number(struct cursor *line, int decimals, double *out) {
    double value = 0.0, unit = 1.0;
    uint32_t digits = 0, after = 0;
    int point = 0;
    for (; line->at < line->end && *line->at != ','; line->at++) {
        if (*line->at == '.' && decimals && !point && digits > 0) {
            point = 1;
            continue;
        }
        if (*line->at < '0' || *line->at > '9') return 0;
        if (++digits > DIGITS_MAX + 3) return 0;
        if (digits > DIGITS_MAX) {
            if (!point) return 0;
            continue; /* what is behind the fifteenth digit counts for nothing */
        }
        value = value * 10.0 + (double)(*line->at - '0');
        after += (uint32_t)point;
    }
    for (uint32_t i = 0; i < after; i++) unit *= 10.0;
    *out = value / unit; /* one division: as exact as a double can be */
    return digits > 0 && (!point || after > 0);
}

static int take_comma(struct cursor *line) {
    if (line->at == line->end || *line->at != ',') return 0;
    line->at++;
    return 1;
}

static int is_text(const struct cursor *line, const char *text) {
    const size_t length = (size_t)(line->end - line->at);
    return length == strlen(text) && memcmp(line->at, text, length) == 0;
}

/* The number of columns that the heading announces; 0 for another heading. */
static uint32_t columns_of(const struct cursor *line) {
    if (is_text(line, "worker,round,seconds")) return 3;
    if (is_text(line, "worker,round,seconds,load")) return 4;
    if (is_text(line, "worker,round,seconds,load,censored")) return 5;
    return 0;
}

static int take_point(struct cursor *line, uint32_t columns, struct brg_point *out,
                      struct brg_why *why) {
    static const char *const names[] = {"worker", "round", "seconds", "load", "censored"};
    const double limits[] = {BRG_PROFILE_WORKERS_MAX - 1.0, 4294967294.0, SECONDS_MAX, 1.0, 1.0};
    double value[5] = {0};
    for (uint32_t c = 0; c < columns; c++) {
        const int decimals = c == 2 || c == 3;
        if ((c > 0 && !take_comma(line)) || !take_number(line, decimals, &value[c])) {
            return brg_why_set(why, BRG_EINVAL,
                               "line %llu: column %u (%s) is no plain %snumber; a line has %u "
                               "numbers with commas between",
                               (unsigned long long)line->line, c + 1, names[c],
                               decimals ? "" : "whole ", columns);
        }
        if (value[c] > limits[c]) {
            return brg_why_set(why, BRG_EINVAL, "line %llu: %s is above %.0f",
                               (unsigned long long)line->line, names[c], limits[c]);
        }
    }
    if (line->at != line->end) {
        return brg_why_set(why, BRG_EINVAL, "line %llu: there is more than %u columns",
                           (unsigned long long)line->line, columns);
    }
    if (value[2] <= 0.0) {
        return brg_why_set(why, BRG_EINVAL, "line %llu: seconds must be above 0",
                           (unsigned long long)line->line);
    }
    *out = (struct brg_point){.worker = (uint32_t)value[0],
                              .round = (uint32_t)value[1],
                              .seconds = value[2],
                              .load = value[3],
                              .censored = (uint32_t)value[4]};
    return BRG_OK;
}

/* Counts one more; the window of rounds has to stay one that a profile can hold. */
static int add(struct brg_points *out, const struct brg_point *point, uint32_t *low, uint32_t *high,
               uint64_t line, struct brg_why *why) {
    if (out->count == 0 || point->round < *low) *low = point->round;
    if (out->count == 0 || point->round > *high) *high = point->round;
    if (*high - *low >= BRG_PROFILE_ROUNDS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "line %llu: round %u is more than %u rounds from another one of the "
                           "file",
                           (unsigned long long)line, point->round, BRG_PROFILE_ROUNDS_MAX);
    }
    if (point->worker >= out->workers) out->workers = point->worker + 1;
    out->rounds = *high - *low + 1;
    if ((uint64_t)out->rounds * out->workers > BRG_PROFILE_CELLS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "line %llu: %u rounds of %u workers are more than the %u cells that a "
                           "profile holds",
                           (unsigned long long)line, out->rounds, out->workers,
                           BRG_PROFILE_CELLS_MAX);
    }
    out->items[out->count++] = *point;
    return BRG_OK;
}

int brg_points_parse(const char *text, size_t length, struct brg_point *items, uint32_t room,
                     struct brg_points *out, struct brg_why *why) {
    struct cursor all = {.at = text, .end = text + length}, line;
    uint32_t low = 0, high = 0;

    *out = (struct brg_points){.items = items};
    const uint32_t columns = next_line(&all, &line) ? columns_of(&line) : 0;
    if (columns == 0) {
        return brg_why_set(why, BRG_EINVAL,
                           "line 1: the heading has to be worker,round,seconds or "
                           "worker,round,seconds,load or worker,round,seconds,load,censored");
    }
    out->has_load = columns > 3;
    while (next_line(&all, &line)) {
        struct brg_point point;
        int rc = take_point(&line, columns, &point, why);
        if (rc != BRG_OK) return rc;
        if (out->count == room) {
            return brg_why_set(why, BRG_EFULL, "line %llu: there is room for %u points only",
                               (unsigned long long)line.line, room);
        }
        rc = add(out, &point, &low, &high, line.line, why);
        if (rc != BRG_OK) return rc;
    }
    if (out->count == 0) {
        return brg_why_set(why, BRG_EINVAL, "line 2: there is no point below the heading");
    }
    return BRG_OK;
}
