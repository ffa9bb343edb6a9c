/* bench_encode.c - how near the fused combination of k vectors comes to the speed of memory.
 *
 *   bench_encode [--json] [--floats N] [--repeats N]
 *
 * For k = 8, 16, 32 vectors of 10 M floats: brg_combine, and a pure read of the same buffers in
 * the same run, taken in turns so that both see the same machine. Figures are medians of CPU
 * seconds of this thread (CLOCK_THREAD_CPUTIME_ID). Useful bytes are k reads and one write for the
 * combination, k reads for a limit; a ratio is the median of the ratios of neighbours.
 * of_read_limit compares with a plain loop of loads; of_prefetched_read with the same loop asking
 * 2 KiB ahead, as the combination does too: the fastest read we know. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/kernels.h"

#define VECTORS 32u
#define REPEATS_MAX 1000u

typedef uint32_t words __attribute__((vector_size(64), aligned(4), may_alias));

struct row {
    uint32_t k;
    double gb_per_s, read_gb_per_s, of_read_limit, of_prefetched_read;
};

static double cpu_seconds(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    BRG_ASSERT(rc == 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, uint32_t count) {
    qsort(x, count, sizeof *x, by_size);
    return x[count / 2];
}

/* Reads every byte once, with as little arithmetic as keeps the compiler from leaving it out;
 * `ahead` is a constant at each call. */
static inline __attribute__((always_inline)) uint32_t read_words(size_t count, const float *x,
                                                                 uintptr_t ahead) {
    words sum[4] = {{0}};
    size_t i = 0;
    for (; i + 64 <= count; i += 64)
        for (uint32_t l = 0; l < 4; l++) {
            const float *at = x + i + (size_t)l * 16;
            if (ahead > 0) __builtin_prefetch((const void *)((uintptr_t)at + ahead));
            sum[l] += *(const words *)at;
        }
    sum[0] += sum[1] + sum[2] + sum[3];
    uint32_t total = 0;
    for (uint32_t l = 0; l < 16; l++) total += sum[0][l];
    return total;
}

#if defined(__x86_64__)
#define WIDE_LOADS __attribute__((target("avx2"), noinline))
#else
#define WIDE_LOADS __attribute__((noinline))
#endif

WIDE_LOADS static uint32_t read_plainly(size_t count, const float *x) {
    return read_words(count, x, 0);
}

WIDE_LOADS static uint32_t read_ahead(size_t count, const float *x) {
    return read_words(count, x, 2048);
}

static float *allocate(size_t count) {
    const size_t bytes = count * sizeof(float);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BRG_ASSERT(p != MAP_FAILED);
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* as the buffers of a run are */
    float *x = p;
    for (size_t i = 0; i < count; i++) x[i] = (float)(i % 1000) * 0.001f;
    return x;
}

static struct row measure(uint32_t k, size_t count, uint32_t repeats, const float *const *x,
                          float *out) {
    double w[VECTORS], combine[REPEATS_MAX], plain[REPEATS_MAX], of_plain[REPEATS_MAX];
    double of_ahead[REPEATS_MAX];
    const double gb = (double)count * 4e-9;
    volatile uint32_t sink = 0; /* somebody has to want the sums */
    for (uint32_t j = 0; j < k; j++) w[j] = 1.0 / (j + 1.0);
    brg_combine(count, k, w, x, out);
    for (uint32_t r = 0; r < repeats; r++) {
        const double t0 = cpu_seconds();
        for (uint32_t j = 0; j < k; j++) sink = sink + read_plainly(count, x[j]);
        const double t1 = cpu_seconds();
        brg_combine(count, k, w, x, out);
        const double t2 = cpu_seconds();
        for (uint32_t j = 0; j < k; j++) sink = sink + read_ahead(count, x[j]);
        const double t3 = cpu_seconds();
        plain[r] = k * gb / (t1 - t0);
        combine[r] = (k + 1.0) * gb / (t2 - t1);
        of_plain[r] = combine[r] / plain[r];
        of_ahead[r] = combine[r] / (k * gb / (t3 - t2));
    }
    return (struct row){.k = k,
                        .gb_per_s = median(combine, repeats),
                        .read_gb_per_s = median(plain, repeats),
                        .of_read_limit = median(of_plain, repeats),
                        .of_prefetched_read = median(of_ahead, repeats)};
}

/* The value behind `flag`, or `otherwise`; *bad is set for anything that is not a number. */
static size_t argument(int argc, char **argv, const char *flag, size_t otherwise, int *bad) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], flag) != 0) continue;
        char *end = NULL;
        const unsigned long long value = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        if (value == 0 || *end != '\0') *bad = 1;
        return (size_t)value;
    }
    return otherwise;
}

int main(int argc, char **argv) {
    const uint32_t ks[] = {8, 16, VECTORS};
    int bad = 0, json = 0;
    const size_t count = argument(argc, argv, "--floats", 10000000, &bad);
    const size_t repeats = argument(argc, argv, "--repeats", 21, &bad);
    for (int i = 1; i < argc; i++) json |= strcmp(argv[i], "--json") == 0;
    if (bad || repeats > REPEATS_MAX || count > 1000000000) {
        fprintf(stderr, "usage: bench_encode [--json] [--floats N, to 1e9] [--repeats N, to %u]\n",
                REPEATS_MAX);
        return 2;
    }
    const float *x[VECTORS];
    for (uint32_t j = 0; j < VECTORS; j++) x[j] = allocate(count);
    float *out = allocate(count);
    if (!json)
        printf("%4s %10s %10s %14s %19s\n", "k", "GB/s", "read GB/s", "of read limit",
               "of prefetched read");
    for (uint32_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const struct row r = measure(ks[i], count, (uint32_t)repeats, x, out);
        if (json) {
            printf("{\"k\":%u,\"gb_per_s\":%.3f,\"of_read_limit\":%.4f,\"read_gb_per_s\":%.3f,"
                   "\"of_prefetched_read\":%.4f,\"floats\":%zu,\"kernels\":\"%s\"}\n",
                   r.k, r.gb_per_s, r.of_read_limit, r.read_gb_per_s, r.of_prefetched_read, count,
                   brg_kernels_pick()->name);
        } else {
            printf("%4u %10.2f %10.2f %14.3f %19.3f\n", r.k, r.gb_per_s, r.read_gb_per_s,
                   r.of_read_limit, r.of_prefetched_read);
        }
    }
    return 0;
}
