/* replay.c - runs a fuzz target without libFuzzer: over every file of a corpus folder, and over a
 * fixed number of mutations of each. The mutations come from a generator with a fixed seed, so
 * that the same build always tries the same bytes.
 *
 * Usage: fuzz_NAME CORPUS. Needs at least one corpus file; a crash is the failure. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/base.h"

#define FILES_MAX 1024
#define INPUT_BYTES_MAX (64u * 1024u)
#define MUTATIONS_PER_FILE 2000
#define EDITS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

/* xorshift64*: small, and good enough to choose places and bytes. */
static uint64_t draw(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static size_t below(uint64_t *state, size_t bound) {
    return bound == 0 ? 0 : (size_t)(draw(state) % bound);
}

/* Lengths and counts live at the edges of their types: these bytes find them sooner. */
static uint8_t odd_byte(uint64_t *state) {
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x22, 0x2d};
    uint64_t r = draw(state);

    return (r & 1) != 0 ? edges[(r >> 8) % sizeof edges] : (uint8_t)(r >> 16);
}

/* mutate - edits `data` in place, up to EDITS_MAX times: overwrite, flip, cut, insert, repeat.
 *
 * shape:  data [INPUT_BYTES_MAX], the first `size_bytes` of it in use; returns the new size */
static size_t mutate(uint8_t *data, size_t size_bytes, uint64_t *state) {
    size_t edits = 1 + below(state, EDITS_MAX);

    for (size_t i = 0; i < edits; i++) {
        size_t at = below(state, size_bytes);
        size_t span = 1 + below(state, 8);

        if (span > size_bytes - at) span = size_bytes - at;
        switch (below(state, 5)) {
        case 0:
            if (size_bytes > 0) data[at] = odd_byte(state);
            break;
        case 1:
            if (size_bytes > 0) data[at] = (uint8_t)(data[at] ^ (1u << below(state, 8)));
            break;
        case 2: /* cut a span out */
            memmove(data + at, data + at + span, size_bytes - at - span);
            size_bytes -= span;
            break;
        case 3: /* make room for one byte */
            if (size_bytes == INPUT_BYTES_MAX) break;
            memmove(data + at + 1, data + at, size_bytes - at);
            data[at] = odd_byte(state);
            size_bytes++;
            break;
        default: /* repeat a span at the end */
            if (span > INPUT_BYTES_MAX - size_bytes) break;
            memcpy(data + size_bytes, data + at, span);
            size_bytes += span;
            break;
        }
    }
    return size_bytes;
}

/* A copy of exactly the right size, so that a sanitizer sees every byte read past the end. */
static void run_one(const uint8_t *data, size_t size_bytes) {
    uint8_t *copy = malloc(size_bytes > 0 ? size_bytes : 1);

    BRG_ASSERT(copy != NULL);
    memcpy(copy, data, size_bytes);
    (void)LLVMFuzzerTestOneInput(copy, size_bytes);
    free(copy);
}

static void run_file(const char *folder, const char *name) {
    static uint8_t original[INPUT_BYTES_MAX], edited[INPUT_BYTES_MAX];
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    size_t size_bytes = 0;
    char path[4096];
    FILE *file = NULL;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(1);
    }
    size_bytes = fread(original, 1, sizeof original, file);
    (void)fclose(file);
    run_one(original, size_bytes);
    for (uint32_t i = 0; i < MUTATIONS_PER_FILE; i++) {
        memcpy(edited, original, size_bytes);
        run_one(edited, mutate(edited, size_bytes, &state));
    }
}

int main(int argc, char **argv) {
    struct dirent **entries = NULL;
    uint32_t files = 0;
    int count = argc == 2 ? scandir(argv[1], &entries, NULL, alphasort) : -1;

    if (count < 0 || count > FILES_MAX) {
        fprintf(stderr, "usage: %s CORPUS, a folder of at most %d files\n", argv[0], FILES_MAX);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            run_file(argv[1], entries[i]->d_name);
            files++;
        }
        free(entries[i]);
    }
    free((void *)entries);
    if (files == 0) {
        fprintf(stderr, "%s holds no input: add at least one\n", argv[1]);
        return 1;
    }
    printf("%" PRIu32 " inputs, %d mutations of each\n", files, MUTATIONS_PER_FILE);
    return 0;
}
