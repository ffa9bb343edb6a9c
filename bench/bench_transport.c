/* bench_transport.c - what a message costs: packing, checking, and the way over loopback under
 * CURVE.
 *
 *   bench_transport [--json]
 *
 * Rows:
 *   pack, unpack    one message of the kind named, on one core; p50/p99 of 1000 at a time
 *   round trip      a Beat there and back, both ends in this process on two threads
 *   bulk            Parts of 1 MiB, zero-copy, 4 asked for at a time; mb_per_s by the wall, and
 *                   cpu_s_per_gb of the whole process: both ends, cipher, copies and one digest
 *   beat in bulk    the round trip of a Beat on its own connection while bulk is busy, and
 *   beat behind     the same over the connection that bulk uses: why a worker holds two
 * Wall times want an idle machine; cpu_s_per_gb does not. */
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/transport.h"

#define ROUNDS 2000u
#define BATCH 1000u
#define PARTS 256u
#define PART_BYTES (1u << 20)
#define WINDOW 4u
#define WAIT_MS 1000u
#define SILENCE_MAX 20u /* waits in a row without an answer until we give up */

struct bench {
    int json;
    struct brg_transport *transport, *outside; /* the server's and the worker's, as two processes */
    struct brg_tensor tensor;                  /* of data; a source makes its digests once, too */
    struct brg_zap *zap;
    struct brg_keypair server_key, worker_key;
    struct brg_socket *server, *control, *bulk;
    struct brg_msg msg, answer;
    uint8_t *data; /* [PART_BYTES], what the server sends */
    double us[ROUNDS];
    struct brg_why why;
    pthread_t thread;
    _Atomic int is_over;
};

static double clock_us(clockid_t id) {
    struct timespec t;
    const int rc = clock_gettime(id, &t);
    BRG_ASSERT(rc == 0);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct bench *b, const char *what, uint64_t bytes, uint32_t count,
                   double mb_per_s, double cpu_s_per_gb) {
    qsort(b->us, count, sizeof *b->us, by_size);
    const double p50 = b->us[count / 2], p99 = b->us[(uint64_t)count * 99 / 100];
    if (b->json) {
        printf("{\"bench\":\"transport\",\"what\":\"%s\",\"bytes\":%llu,\"p50_us\":%.3f,"
               "\"p99_us\":%.3f,\"mb_per_s\":%.1f,\"cpu_s_per_gb\":%.2f,\"repeats\":%u}\n",
               what, (unsigned long long)bytes, p50, p99, mb_per_s, cpu_s_per_gb, count);
    } else {
        printf("%-18s %10llu %12.3f %12.3f %10.1f %13.2f %8u\n", what, (unsigned long long)bytes,
               p50, p99, mb_per_s, cpu_s_per_gb, count);
    }
    (void)fflush(stdout);
}

/* ---- one message, no network ---- */

static void fill(struct brg_msg *m, uint32_t type, uint32_t chunks) {
    memset(m, 0, sizeof *m);
    m->type = type;
    m->epoch = 3;
    if (type == BRG_MSG_BEAT) {
        m->beat = (struct brg_msg_beat){.seq = 9, .run = 1, .step = 70, .unit = 2};
    } else if (type == BRG_MSG_DONE) {
        m->done.run = 1;
        m->done.step = 70;
        m->done.share_bytes = 4000000;
        m->done.loss_count = chunks;
        for (uint32_t i = 0; i < chunks; i++) {
            m->done.losses[i] = (struct brg_chunk_loss){.chunk = i, .loss = 2.5, .count = 512};
        }
    } else {
        m->task.run = 1;
        m->task.step = 70;
        m->task.version = 69;
        m->task.params_bytes = 4000000;
        m->task.chunk_count = chunks;
        for (uint32_t i = 0; i < chunks; i++) m->task.chunks[i] = i;
    }
}

static int bench_wire(struct bench *b, const char *kind, uint32_t type, uint32_t chunks) {
    char name[32];
    size_t size_bytes = 0;
    int rc = BRG_OK;
    uint8_t *packed = malloc(BRG_ENVELOPE_BYTES_MAX);
    uint8_t *scratch = malloc(BRG_WIRE_SCRATCH_BYTES);
    BRG_ASSERT(packed != NULL);
    BRG_ASSERT(scratch != NULL);

    fill(&b->msg, type, chunks);
    for (uint32_t i = 0; i < 101 && rc == BRG_OK; i++) {
        const double start_us = clock_us(CLOCK_MONOTONIC);
        for (uint32_t k = 0; k < BATCH && rc == BRG_OK; k++) {
            rc = brg_wire_pack(&b->msg, packed, BRG_ENVELOPE_BYTES_MAX, &size_bytes);
        }
        b->us[i] = (clock_us(CLOCK_MONOTONIC) - start_us) / BATCH;
    }
    (void)snprintf(name, sizeof name, "pack %s", kind);
    if (rc == BRG_OK) report(b, name, size_bytes, 101, 0, 0);
    for (uint32_t i = 0; i < 101 && rc == BRG_OK; i++) {
        const double start_us = clock_us(CLOCK_MONOTONIC);
        for (uint32_t k = 0; k < BATCH && rc == BRG_OK; k++) {
            rc = brg_wire_unpack(packed, size_bytes, scratch, BRG_WIRE_SCRATCH_BYTES, &b->answer,
                                 NULL);
        }
        b->us[i] = (clock_us(CLOCK_MONOTONIC) - start_us) / BATCH;
    }
    (void)snprintf(name, sizeof name, "unpack %s", kind);
    if (rc == BRG_OK) report(b, name, size_bytes, 101, 0, 0);
    free(packed);
    free(scratch);
    return rc;
}

/* ---- the server's thread: a Beat is sent back, a Get answered by a Part ---- */

static void release_nothing(void *data, void *hint) {
    (void)data;
    (void)hint;
}

static void serve_one(struct bench *b, struct brg_msg *m, const struct brg_peer *to) {
    struct brg_frame frame;
    brg_frame_init(&frame);
    if (m->type == BRG_MSG_GET) {
        const struct brg_msg_get get = m->get;
        m->type = BRG_MSG_PART;
        m->tensor_count = 1;
        m->part = (struct brg_msg_part){.object = get.object, .total = PART_BYTES};
        m->tensors[0] = b->tensor;
        const int rc = brg_frame_wrap(&frame, b->data, PART_BYTES, release_nothing, NULL);
        BRG_ASSERT(rc == BRG_OK);
    }
    const int rc = brg_socket_send_msg(b->server, to, m, &frame);
    BRG_ASSERT(rc == BRG_OK || rc == BRG_EFULL || rc == BRG_ENOENT);
    brg_frame_close(&frame);
}

static void *serve(void *arg) {
    struct bench *b = arg;
    struct brg_msg *m = malloc(sizeof *m);
    BRG_ASSERT(m != NULL);
    while (!atomic_load(&b->is_over)) {
        struct brg_wait item = {.socket = b->server};
        struct brg_inbound in;
        if (brg_transport_wait(&item, 1, 20) != BRG_OK) break;
        while (brg_socket_receive_msg(b->server, &in, m, NULL) == BRG_OK) {
            brg_inbound_release(&in);
            serve_one(b, m, &in.peer);
        }
    }
    free(m);
    return NULL;
}

/* ---- the worker's side ---- */

/* Sends b->msg, waiting for the connection where there is none yet. */
static int ask(struct bench *b, struct brg_socket *s) {
    for (uint32_t i = 0; i < SILENCE_MAX * 20; i++) {
        const int rc = brg_socket_send_msg(s, NULL, &b->msg, NULL);
        if (rc != BRG_EFULL) return rc;
        struct brg_wait item = {.socket = s};
        if (brg_transport_wait(&item, 1, WAIT_MS / 20) != BRG_OK) return BRG_EIO;
    }
    return BRG_ETIMEDOUT;
}

/* The next message, into b->answer; a Part is verified as a fetch would. */
static int hear(struct bench *b, struct brg_socket *s) {
    struct brg_inbound in;
    for (uint32_t i = 0; i < SILENCE_MAX; i++) {
        int rc = brg_socket_receive_msg(s, &in, &b->answer, NULL);
        if (rc == BRG_OK && b->answer.type == BRG_MSG_PART) {
            rc = brg_wire_verify_tensor(&b->answer.tensors[0], brg_frame_bytes(&in.frames[1]));
        }
        if (rc == BRG_OK) brg_inbound_release(&in);
        if (rc != BRG_ENOENT) return rc;
        struct brg_wait item = {.socket = s};
        if (brg_transport_wait(&item, 1, WAIT_MS) != BRG_OK) return BRG_EIO;
    }
    return BRG_ETIMEDOUT;
}

static int send_get(struct bench *b) {
    memset(&b->msg, 0, sizeof b->msg);
    b->msg.type = BRG_MSG_GET;
    b->msg.get.object = (struct brg_object){.kind = BRG_OBJECT_PARAMS, .run = 1, .step = 1};
    b->msg.get.length = PART_BYTES;
    return ask(b, b->bulk);
}

static int send_beat(struct bench *b, struct brg_socket *s) {
    fill(&b->msg, BRG_MSG_BEAT, 0);
    return ask(b, s);
}

static int bench_round_trip(struct bench *b) {
    int rc = BRG_OK;
    for (uint32_t i = 0; i < ROUNDS + 100 && rc == BRG_OK; i++) { /* 100 to warm up */
        const double start_us = clock_us(CLOCK_MONOTONIC);
        rc = send_beat(b, b->control);
        if (rc == BRG_OK) rc = hear(b, b->control);
        if (i >= 100) b->us[i - 100] = clock_us(CLOCK_MONOTONIC) - start_us;
    }
    if (rc == BRG_OK) report(b, "round trip", 0, ROUNDS, 0, 0);
    return rc;
}

static int bench_bulk(struct bench *b) {
    int rc = BRG_OK;
    const double wall_us = clock_us(CLOCK_MONOTONIC), cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < WINDOW && rc == BRG_OK; i++) rc = send_get(b);
    for (uint32_t i = 0; i < PARTS && rc == BRG_OK; i++) {
        const double start_us = clock_us(CLOCK_MONOTONIC);
        rc = hear(b, b->bulk);
        if (rc == BRG_OK && i + WINDOW < PARTS) rc = send_get(b);
        b->us[i] = clock_us(CLOCK_MONOTONIC) - start_us;
    }
    const double took_us = clock_us(CLOCK_MONOTONIC) - wall_us;
    const double used_us = clock_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_us;
    const double bytes = (double)PARTS * PART_BYTES;
    if (rc == BRG_OK) {
        report(b, "bulk", PART_BYTES, PARTS, bytes / took_us, used_us / 1e6 / (bytes / 1e9));
    }
    return rc;
}

/* The time of a Beat over `s` while WINDOW parts are always under way on the bulk connection. */
static int bench_beat(struct bench *b, const char *name, struct brg_socket *s) {
    int rc = BRG_OK;
    const uint32_t rounds = 50;
    for (uint32_t i = 0; i < rounds && rc == BRG_OK; i++) {
        for (uint32_t k = 0; k < WINDOW && rc == BRG_OK; k++) rc = send_get(b);
        const double start_us = clock_us(CLOCK_MONOTONIC);
        uint32_t parts = 0;
        if (rc == BRG_OK) rc = send_beat(b, s);
        for (b->answer.type = 0; rc == BRG_OK && b->answer.type != BRG_MSG_BEAT;) {
            rc = hear(b, s);
            parts += b->answer.type == BRG_MSG_PART;
        }
        b->us[i] = clock_us(CLOCK_MONOTONIC) - start_us;
        while (rc == BRG_OK && parts < WINDOW) {
            rc = hear(b, b->bulk);
            parts++;
        }
    }
    if (rc == BRG_OK) report(b, name, 0, rounds, 0, 0);
    return rc;
}

static int set_up(struct bench *b) {
    const struct brg_zap_config zap = {.keys_max = 16};
    struct brg_socket_config config;
    char endpoint[BRG_ENDPOINT_BYTES];
    brg_socket_config_init(&config);
    b->data = malloc(PART_BYTES);
    BRG_ASSERT(b->data != NULL);
    randombytes_buf(b->data, PART_BYTES);
    brg_wire_describe_tensor(BRG_DTYPE_BYTES, b->data, PART_BYTES, &b->tensor);
    int rc = brg_keypair_create(&b->server_key, &b->why);
    if (rc == BRG_OK) rc = brg_keypair_create(&b->worker_key, &b->why);
    if (rc == BRG_OK) rc = brg_transport_create(&b->transport, &b->why);
    if (rc == BRG_OK) rc = brg_transport_create(&b->outside, &b->why);
    if (rc == BRG_OK) rc = brg_zap_create(b->transport, &zap, &b->zap, &b->why);
    if (rc == BRG_OK) {
        rc = brg_socket_listen(b->transport, &config, &b->server_key, b->zap, "tcp://127.0.0.1:*",
                               &b->server, &b->why);
    }
    if (rc == BRG_OK) rc = brg_socket_endpoint(b->server, endpoint);
    struct brg_socket **const dialled[] = {&b->control, &b->bulk};
    for (uint32_t i = 0; i < 2 && rc == BRG_OK; i++) {
        rc = brg_socket_dial(b->outside, &config, &b->worker_key, &b->server_key.public_key,
                             endpoint, dialled[i], &b->why);
    }
    return rc;
}

static int run_all(struct bench *b) {
    if (!b->json) {
        printf("%-18s %10s %12s %12s %10s %13s %8s\n", "what", "bytes", "p50_us", "p99_us",
               "mb_per_s", "cpu_s_per_gb", "repeats");
    }
    int rc = bench_wire(b, "Beat", BRG_MSG_BEAT, 0);
    if (rc == BRG_OK) rc = bench_wire(b, "Task 16", BRG_MSG_TASK, 16);
    if (rc == BRG_OK) rc = bench_wire(b, "Done 16", BRG_MSG_DONE, 16);
    if (rc == BRG_OK) rc = bench_wire(b, "Done 1024", BRG_MSG_DONE, 1024);
    if (rc != BRG_OK) return rc;
    if (pthread_create(&b->thread, NULL, serve, b) != 0) return BRG_EIO;
    rc = bench_round_trip(b);
    if (rc == BRG_OK) rc = bench_bulk(b);
    if (rc == BRG_OK) rc = bench_beat(b, "beat in bulk", b->control);
    if (rc == BRG_OK) rc = bench_beat(b, "beat behind bulk", b->bulk);
    atomic_store(&b->is_over, 1);
    (void)pthread_join(b->thread, NULL);
    return rc;
}

int main(int argc, char **argv) {
    struct bench *b = calloc(1, sizeof *b);
    BRG_ASSERT(b != NULL);
    b->json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 2 || (argc == 2 && !b->json) || sodium_init() < 0) {
        (void)fprintf(stderr, "usage: bench_transport [--json]\n");
        free(b);
        return 2;
    }
    int rc = set_up(b);
    if (rc == BRG_OK) rc = run_all(b);
    if (rc != BRG_OK) {
        (void)fprintf(stderr, "bench_transport: %s\n",
                      b->why.text[0] != '\0' ? b->why.text : brg_strerror(rc));
    }
    brg_socket_close(&b->control);
    brg_socket_close(&b->bulk);
    brg_socket_close(&b->server);
    brg_zap_destroy(&b->zap);
    brg_transport_destroy(&b->transport);
    brg_transport_destroy(&b->outside);
    brg_keypair_wipe(&b->server_key);
    brg_keypair_wipe(&b->worker_key);
    free(b->data);
    free(b);
    return rc == BRG_OK ? 0 : 1;
}
