#include "coordinator/shell/runfile_private.h"

#include <stdarg.h>
#include <string.h>

#define WORD_BYTES 32u /* longer words are not compared */

/* What the file holds may be anything; a fault must stay one line that a terminal shows as is. */
static void clean(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p != 0; p++) {
        if (*p < 0x20 || *p >= 0x7f) *p = '?';
    }
}

void brg_fault_add(struct brg_run_faults *faults, uint32_t line, const char *section,
                   const char *name, const char *format, ...) {
    va_list args;
    if (faults->count == BRG_FAULTS_MAX) {
        faults->left_out++;
        return;
    }
    struct brg_run_fault *f = &faults->items[faults->count++];
    *f = (struct brg_run_fault){.line = line};
    const char *dot = section != NULL && *section != 0 && name != NULL ? "." : "";
    (void)snprintf(f->key, sizeof f->key, "%s%s%s", section != NULL ? section : "", dot,
                   name != NULL ? name : "");
    va_start(args, format);
    (void)vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    clean(f->key);
    clean(f->text);
}

void brg_faults_sort(struct brg_run_faults *faults) {
    /* By insertion: stable, and there are 64 at most. */
    for (uint32_t i = 1; i < faults->count; i++) {
        struct brg_run_fault moved = faults->items[i];
        uint32_t at = i;
        for (; at > 0 && faults->items[at - 1].line > moved.line; at--) {
            faults->items[at] = faults->items[at - 1];
        }
        faults->items[at] = moved;
    }
}

void brg_run_faults_print(const struct brg_run_faults *faults, const char *file, FILE *out) {
    for (uint32_t i = 0; i < faults->count; i++) {
        const struct brg_run_fault *f = &faults->items[i];
        fprintf(out, "%s:", file);
        if (f->line > 0) fprintf(out, "%u:", (unsigned)f->line);
        if (f->key[0] != 0) fprintf(out, " %s:", f->key);
        fprintf(out, " %s\n", f->text);
    }
    if (faults->left_out > 0) {
        fprintf(out, "%s: and %u faults more\n", file, (unsigned)faults->left_out);
    }
}

static uint32_t min3(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b (the optimal
 * string alignment distance). */
static uint32_t distance(const char *a, size_t na, const char *b, size_t nb) {
    uint32_t d[WORD_BYTES + 1][WORD_BYTES + 1];
    for (uint32_t i = 0; i <= na; i++) d[i][0] = i;
    for (uint32_t j = 0; j <= nb; j++) d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        for (size_t j = 1; j <= nb; j++) {
            uint32_t change = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < d[i][j]) {
                d[i][j] = d[i - 2][j - 2] + 1;
            }
        }
    }
    return d[na][nb];
}

const char *brg_suggest(const char *text, const char *const *words, size_t count) {
    size_t length = strlen(text);
    const char *best = NULL;
    uint32_t best_distance = UINT32_MAX;
    if (length == 0 || length > WORD_BYTES) return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(words[i]);
        if (n == 0 || n > WORD_BYTES) continue;
        uint32_t d = distance(text, length, words[i], n);
        /* A third of the letters may be wrong, or one word is the beginning of the other. */
        size_t shorter = n < length ? n : length;
        int near = d <= 1 + shorter / 4 && d < shorter;
        if (!near && shorter >= 3 && strncmp(text, words[i], shorter) == 0) near = 1;
        if (near && d < best_distance) {
            best = words[i];
            best_distance = d;
        }
    }
    return best;
}
