/* bench_store.c - what durability costs: commits, group commits, gradients, checkpoints.
 *
 *   bench_store [--json] [--folder DIR] [--repeats N]
 *
 * DIR is on the disk to be measured (default: the current folder); a folder of our own is made in
 * it and removed again. Wall time, since waiting for the disk is the point; a disk that others use
 * too shows in p99. Rows: what, n (records or floats in one operation), p50/p99 in microseconds of
 * one operation, per_s (records a second at p50) or mb_per_s (data, at p50). Beside each kind
 * stands the bare system call it cannot beat: an append and fdatasync of as many bytes,
 * preallocated. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/shell/checkpoint.h"
#include "coordinator/shell/gradlog.h"
#include "coordinator/shell/store.h"

#define REPEATS_MAX 100000u
#define PATH_BYTES 4000u
#define FLOATS_MAX (16u << 20)

struct bench {
    int json;
    uint32_t repeats;
    char folder[PATH_BYTES], path[PATH_BYTES + 64];
    double *us;  /* [repeats] */
    float *data; /* [FLOATS_MAX] */
    struct brg_why why;
};

static double now_us(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct bench *b, const char *what, uint64_t n, uint64_t data_bytes,
                   uint32_t count) {
    qsort(b->us, count, sizeof *b->us, by_size);
    const double p50 = b->us[count / 2], p99 = b->us[(uint64_t)count * 99 / 100];
    const double per_s = (double)n / p50 * 1e6, mb_per_s = (double)data_bytes / p50;
    if (b->json) {
        printf("{\"bench\":\"store\",\"what\":\"%s\",\"n\":%llu,\"bytes\":%llu,\"p50_us\":%.1f,"
               "\"p99_us\":%.1f,\"per_s\":%.0f,\"mb_per_s\":%.1f,\"repeats\":%u}\n",
               what, (unsigned long long)n, (unsigned long long)data_bytes, p50, p99, per_s,
               mb_per_s, count);
    } else {
        printf("%-22s %9llu %12llu %11.1f %11.1f %12.0f %10.1f %8u\n", what, (unsigned long long)n,
               (unsigned long long)data_bytes, p50, p99, per_s, mb_per_s, count);
    }
    (void)fflush(stdout);
}

static const char *in_folder(struct bench *b, const char *name) {
    (void)snprintf(b->path, sizeof b->path, "%s/%s", b->folder, name);
    return b->path;
}

/* The limit: `size` bytes appended and synced, in a file that has its room already. */
static int bench_raw(struct bench *b, const char *what, uint64_t n, size_t size, uint32_t count) {
    int rc = BRG_OK;
    const int fd = open(in_folder(b, "raw"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, (off_t)(size * (count + 1u))) != 0) {
        rc = brg_why_set(&b->why, BRG_EIO, "%s: %s", b->path, strerror(errno));
        goto out;
    }
    for (uint32_t i = 0; i <= count && rc == BRG_OK; i++) { /* the first one is not counted */
        const double start = now_us();
        if (pwrite(fd, b->data, size, (off_t)(i * size)) != (ssize_t)size || fdatasync(fd) != 0) {
            rc = brg_why_set(&b->why, BRG_EIO, "%s: %s", b->path, strerror(errno));
        }
        if (i > 0) b->us[i - 1] = now_us() - start;
    }
    if (rc == BRG_OK) report(b, what, n, size, count);
out:
    if (fd >= 0) (void)close(fd);
    (void)unlink(b->path);
    return rc;
}

/* `group` commit records in one synced write, `count` times. */
static int bench_commits(struct bench *b, struct brg_store *s, uint32_t group, uint32_t count) {
    struct brg_store_batch *batch = NULL;
    struct brg_record_run run = {.id = group, .steps = 1, .yaml = "x", .yaml_bytes = 1};
    struct brg_record_step step = {.run = group, .epoch = 1, .count = 64, .used_count = 8};
    int rc = brg_store_batch_create(s, &batch);
    if (rc == BRG_OK) rc = brg_store_put_run(batch, &run);
    for (uint32_t i = 0; i <= count && rc == BRG_OK; i++) {
        const double start = now_us();
        for (uint32_t j = 0; j < group && rc == BRG_OK; j++) {
            step.step++;
            rc = brg_store_put_step(batch, &step);
        }
        if (rc == BRG_OK) rc = brg_store_write_synced(s, batch);
        if (i > 0) b->us[i - 1] = now_us() - start;
    }
    if (rc == BRG_OK) {
        report(b, "commit", group, (uint64_t)group * BRG_RECORD_STEP_BYTES, count);
    } else {
        (void)brg_why_set(&b->why, rc, "%s", brg_store_why(s));
    }
    brg_store_batch_destroy(&batch);
    return rc;
}

static int bench_store(struct bench *b) {
    static const uint32_t groups[] = {1, 10, 100, 1000};
    struct brg_store *s = NULL;
    int rc = brg_store_open(in_folder(b, "store"), &s, &b->why);
    uint64_t written = 0;
    for (uint32_t i = 0; i < 4 && rc == BRG_OK; i++) {
        const uint32_t count = groups[i] < 1000 ? b->repeats : b->repeats / 10 + 1;
        rc = bench_raw(b, "raw append", groups[i], groups[i] * BRG_RECORD_STEP_BYTES, count);
        if (rc == BRG_OK) rc = bench_commits(b, s, groups[i], count);
        written += (uint64_t)groups[i] * (count + 1u);
    }
    brg_store_close(&s);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < 5 && rc == BRG_OK; i++) { /* reads and verifies every commit record */
        const double start = now_us();
        rc = brg_store_open(in_folder(b, "store"), &s, &b->why);
        b->us[i] = now_us() - start;
        brg_store_close(&s);
    }
    if (rc == BRG_OK) report(b, "open, verify chain", written, written * BRG_RECORD_STEP_BYTES, 5);
    return rc;
}

static int bench_gradients(struct bench *b, uint64_t elements, uint32_t count) {
    struct brg_gradlog *log = NULL;
    struct brg_gradlog_entry e;
    char path[PATH_BYTES + 64];
    (void)snprintf(path, sizeof path, "%s/log-%llu", b->folder, (unsigned long long)elements);
    const struct brg_gradlog_config c = {.folder = path, .run = 1, .elements = elements};
    int rc = brg_gradlog_open(&c, &log, &b->why);
    for (uint32_t i = 0; i <= count && rc == BRG_OK; i++) {
        const double start = now_us();
        rc = brg_gradlog_append(log, i + 1u, 64, b->data, &e, &b->why);
        if (i > 0) b->us[i - 1] = now_us() - start;
    }
    if (rc == BRG_OK) report(b, "gradient append", elements, elements * sizeof(float), count);
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++) {
        const double start = now_us();
        rc = brg_gradlog_read(log, &e, b->data, &b->why);
        b->us[i] = now_us() - start;
    }
    if (rc == BRG_OK) report(b, "gradient read", elements, elements * sizeof(float), count);
    if (rc == BRG_OK) rc = brg_gradlog_drop_through(log, count + 1u, &b->why);
    brg_gradlog_close(&log);
    return rc;
}

/* Parameters and two moments of as many elements, the shape of AdamW; data is used for all. */
static int bench_checkpoint(struct bench *b, uint64_t elements, uint32_t count) {
    struct brg_checkpoint *c = calloc(1, sizeof *c);
    int rc = BRG_OK;
    char path[PATH_BYTES + 64];
    BRG_ASSERT(c != NULL);
    BRG_ASSERT(2 * elements <= FLOATS_MAX);
    (void)snprintf(path, sizeof path, "%s/ckpt", b->folder);
    c->run = 1;
    c->params_elements = elements;
    c->optimizer_elements = 2 * elements;
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++) {
        c->step = i + 1u;
        const double start = now_us();
        rc = brg_checkpoint_save(path, c, b->data, b->data, &b->why);
        b->us[i] = now_us() - start;
        if (rc == BRG_OK) rc = brg_checkpoint_delete(path, c->step, &b->why);
    }
    if (rc == BRG_OK) {
        report(b, "checkpoint save", elements, 3 * elements * sizeof(float), count);
    }
    free(c);
    return rc;
}

static int run_all(struct bench *b) {
    static const uint64_t sizes[] = {10000, 1000000, 8000000};
    if (!b->json) {
        printf("%-22s %9s %12s %11s %11s %12s %10s %8s\n", "what", "n", "bytes", "p50_us", "p99_us",
               "per_s", "mb_per_s", "repeats");
    }
    int rc = bench_store(b);
    for (uint32_t i = 0; i < 3 && rc == BRG_OK; i++) {
        const uint32_t count = i == 0 ? b->repeats / 2 + 1 : i == 1 ? b->repeats / 20 + 3 : 7;
        rc = bench_raw(b, "raw append", sizes[i], sizes[i] * sizeof(float), count);
        if (rc == BRG_OK) rc = bench_gradients(b, sizes[i], count);
        if (rc == BRG_OK) rc = bench_checkpoint(b, sizes[i], i == 2 ? 5 : 11);
    }
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static int parse(struct bench *b, int argc, char **argv) {
    const char *folder = ".";
    b->repeats = 400;
    for (int i = 1; i < argc; i++) {
        char *end = NULL;
        if (strcmp(argv[i], "--json") == 0) {
            b->json = 1;
        } else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc) {
            folder = argv[++i];
        } else if (strcmp(argv[i], "--repeats") == 0 && i + 1 < argc) {
            const unsigned long n = strtoul(argv[++i], &end, 10);
            if (*end != '\0' || n < 10 || n > REPEATS_MAX) return -1;
            b->repeats = (uint32_t)n;
        } else {
            return -1;
        }
    }
    const int length = snprintf(b->folder, sizeof b->folder, "%s/bench-store-XXXXXX", folder);
    return length > 0 && (size_t)length < sizeof b->folder ? 0 : -1;
}

int main(int argc, char **argv) {
    struct bench b = {0};
    if (parse(&b, argc, argv) != 0) {
        fprintf(stderr, "usage: bench_store [--json] [--folder DIR] [--repeats 10..%u]\n",
                REPEATS_MAX);
        return 2;
    }
    if (mkdtemp(b.folder) == NULL) {
        fprintf(stderr, "bench_store: %s: %s: name a folder that may be written with --folder\n",
                b.folder, strerror(errno));
        return 1;
    }
    b.us = calloc(b.repeats + 16u, sizeof *b.us);
    b.data = malloc(FLOATS_MAX * sizeof *b.data);
    BRG_ASSERT(b.us != NULL);
    BRG_ASSERT(b.data != NULL);
    for (uint32_t i = 0; i < FLOATS_MAX; i++) b.data[i] = (float)(i % 8191u) / 8191.0f;
    const int rc = run_all(&b);
    if (rc != BRG_OK) fprintf(stderr, "bench_store: %s\n", b.why.text);
    (void)nftw(b.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(b.data);
    free(b.us);
    return rc == BRG_OK ? 0 : 1;
}
