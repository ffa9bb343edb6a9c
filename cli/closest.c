#include "cli/cli.h"

#include <string.h>

#define WORD_BYTES_MAX 32u

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Edits that turn a into b: insert, delete, replace, swap neighbours.
 * source: Damerau, "A technique for computer detection and correction of spelling errors", CACM
 * 1964, restricted to swaps that nothing else touches */
static uint32_t distance(const char *a, size_t a_size, const char *b, size_t b_size) {
    uint32_t d[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];
    for (uint32_t i = 0; i <= a_size; i++) d[i][0] = i;
    for (uint32_t j = 0; j <= b_size; j++) d[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        for (size_t j = 1; j <= b_size; j++) {
            uint32_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u);
            d[i][j] = smaller(smaller(d[i - 1][j] + 1, d[i][j - 1] + 1), replace);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
            }
        }
    }
    return d[a_size][b_size];
}

const char *brg_cli_closest(const char *typed, const char *const *names, uint32_t count) {
    size_t typed_size = strlen(typed);
    const char *best = NULL;
    uint32_t best_distance = UINT32_MAX;

    if (typed_size < 2 || typed_size > WORD_BYTES_MAX) return NULL;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strlen(names[i]);
        if (size > WORD_BYTES_MAX) continue;
        /* A third of the word may be wrong; the beginning of a word counts as near, too. */
        uint32_t limit = smaller(3, (uint32_t)(size > typed_size ? size : typed_size) / 3);
        uint32_t edits = distance(typed, typed_size, names[i], size);
        if (edits > limit && typed_size >= 3 && size > typed_size &&
            memcmp(typed, names[i], typed_size) == 0) {
            edits = limit;
        }
        if (edits <= limit && edits < best_distance) {
            best = names[i];
            best_distance = edits;
        }
    }
    return best;
}
