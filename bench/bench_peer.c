/* bench_peer - what it costs to hand activations from one worker to the next.
 *
 *   bench_peer [--json]
 *
 * An object is the activations of 8 x 256 x 256 floats, 2 MiB. Both ends run in this process, each
 * on a thread and a context of its own. cpu_s_per_gb counts all threads of both ends.
 * Rows:
 *   copy             memcpy, what moving the bytes within one process would cost
 *   plain tcp        ZeroMQ without CURVE: frames of 1 MiB over loopback, answered one by one
 *   link             a peer link as it is used: CURVE, Get and Part, two objects asked for ahead,
 *                    digests made by the producer and not checked again
 *   link verified    the same with each part's digest checked by the consumer
 *   link bf16, int8  the same objects in 16 or 8 bits, with the conversion at both ends; bytes
 *                    counts what was meant, so mb_per_s compares with "link"
 *   parked get       from the offer of 4 KiB to its arrival at who has waited for it: p50, p99
 * Wall times want an idle machine. */
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "kernels/kernels.h"
#include "worker/shell/peer.h"

#define FLOATS (8u * 256u * 256u)
#define OBJECT_BYTES ((uint64_t)FLOATS * sizeof(float))
#define OBJECTS 150u
#define AHEAD 2u
#define PARKED_BYTES 4096u
#define PARKED_ROUNDS 500u
#define FRAME_BYTES (1u << 20)
#define FRAMES ((uint32_t)(OBJECTS * OBJECT_BYTES / FRAME_BYTES))
#define BLOCK 128u
#define RUN 1u
#define PATIENCE_NS (20 * BRG_NS_PER_S)

enum form { FORM_F32, FORM_BF16, FORM_INT8 };

struct end {
    struct brg_keypair key;
    struct brg_transport *transport;
    struct brg_peers *peers;
    char endpoint[BRG_ENDPOINT_BYTES];
};

struct bench {
    int json;
    struct end producer, consumer;
    struct brg_pool *pool;
    struct brg_why why;
    float *activations, *back; /* [FLOATS] */
    const struct brg_kernels *kernels;
    enum form form;
    uint32_t count;              /* objects to be made */
    _Atomic uint32_t taken;      /* of them, by the consumer */
    _Atomic uint64_t offered_ns; /* when the last small object was */
    _Atomic int failed;
    double us[PARKED_ROUNDS];
};

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    const int rc = clock_gettime(id, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

struct span {
    uint64_t wall_ns, cpu_ns;
};

static struct span span_begin(void) {
    return (struct span){.wall_ns = now_ns(), .cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
}

static void report_bytes(const struct bench *b, const char *what, uint64_t bytes,
                         struct span begin) {
    const double wall_s = 1e-9 * (double)(now_ns() - begin.wall_ns);
    const double cpu_s = 1e-9 * (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - begin.cpu_ns);
    const double mb_per_s = 1e-6 * (double)bytes / wall_s;
    const double cpu_s_per_gb = cpu_s / (1e-9 * (double)bytes);
    if (b->json)
        printf("{\"bench\":\"peer\",\"what\":\"%s\",\"bytes\":%llu,\"mb_per_s\":%.1f,"
               "\"cpu_s_per_gb\":%.3f}\n",
               what, (unsigned long long)bytes, mb_per_s, cpu_s_per_gb);
    else
        printf("%-16s %12llu bytes %10.1f MB/s %8.3f CPU s/GB\n", what, (unsigned long long)bytes,
               mb_per_s, cpu_s_per_gb);
    (void)fflush(stdout);
}

/* ---- copies ---- */

static void bench_copy(struct bench *b) {
    const struct span begin = span_begin();
    for (uint32_t i = 0; i < OBJECTS; i++) {
        memcpy(b->back, b->activations, OBJECT_BYTES);
        __asm__ volatile("" : : "r"(b->back) : "memory"); /* the copy is wanted each time */
    }
    report_bytes(b, "copy", OBJECTS * OBJECT_BYTES, begin);
}

struct plain {
    void *context;
    const uint8_t *bytes;
    char endpoint[64];
};

static void *plain_send(void *arg) {
    struct plain *p = arg;
    void *s = zmq_socket(p->context, ZMQ_PAIR);
    BRG_ASSERT(s != NULL);
    const int bound_ms = 5000, queue = 4;
    int rc = zmq_setsockopt(s, ZMQ_SNDTIMEO, &bound_ms, sizeof bound_ms);
    if (rc == 0) rc = zmq_setsockopt(s, ZMQ_LINGER, &bound_ms, sizeof bound_ms);
    if (rc == 0) rc = zmq_setsockopt(s, ZMQ_SNDHWM, &queue, sizeof queue);
    if (rc == 0) rc = zmq_connect(s, p->endpoint);
    for (uint32_t i = 0; i < FRAMES && rc >= 0; i++) {
        zmq_msg_t frame; /* not copied here, as a link does it */
        rc = zmq_msg_init_data(&frame, (void *)(uintptr_t)p->bytes, FRAME_BYTES, NULL, NULL);
        if (rc == 0) rc = zmq_msg_send(&frame, s, 0);
    }
    (void)zmq_close(s);
    return NULL;
}

static int bench_plain(struct bench *b) {
    struct plain p = {.context = zmq_ctx_new(), .bytes = (const uint8_t *)b->activations};
    size_t size_bytes = sizeof p.endpoint;
    const int bound_ms = 5000;
    int rc = BRG_OK;
    pthread_t thread;
    BRG_ASSERT(p.context != NULL);
    void *s = zmq_socket(p.context, ZMQ_PAIR);
    BRG_ASSERT(s != NULL);
    if (zmq_setsockopt(s, ZMQ_RCVTIMEO, &bound_ms, sizeof bound_ms) != 0 ||
        zmq_bind(s, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, p.endpoint, &size_bytes) != 0 ||
        pthread_create(&thread, NULL, plain_send, &p) != 0) {
        rc = BRG_EIO;
        goto out;
    }
    struct span begin = span_begin();
    for (uint32_t i = 0; i < FRAMES && rc == BRG_OK; i++) {
        zmq_msg_t frame;
        (void)zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, s, 0) != (int)FRAME_BYTES) rc = BRG_ETIMEDOUT;
        /* As a link does: out of the network's memory to where it is wanted. */
        if (rc == BRG_OK)
            memcpy((uint8_t *)b->back + (i % 2) * FRAME_BYTES, zmq_msg_data(&frame), FRAME_BYTES);
        (void)zmq_msg_close(&frame);
    }
    if (rc == BRG_OK) report_bytes(b, "plain tcp", (uint64_t)FRAMES * FRAME_BYTES, begin);
    (void)pthread_join(thread, NULL);
out:
    (void)zmq_close(s);
    (void)zmq_ctx_term(p.context);
    return rc;
}

/* ---- links ---- */

static uint64_t wire_bytes(enum form form) {
    if (form == FORM_BF16) return OBJECT_BYTES / 2;
    if (form == FORM_INT8) return FLOATS + FLOATS / BLOCK * sizeof(float);
    return OBJECT_BYTES;
}

static void to_wire(const struct bench *b, uint8_t *out) {
    if (b->form == FORM_F32) memcpy(out, b->activations, OBJECT_BYTES);
    if (b->form == FORM_BF16) b->kernels->to_bf16(FLOATS, b->activations, (uint16_t *)(void *)out);
    if (b->form == FORM_INT8)
        b->kernels->to_int8(FLOATS, BLOCK, b->activations, (int8_t *)out,
                            (float *)(void *)(out + FLOATS));
}

static void from_wire(struct bench *b, const uint8_t *in) {
    if (b->form == FORM_BF16)
        b->kernels->from_bf16(FLOATS, (const uint16_t *)(const void *)in, b->back);
    if (b->form == FORM_INT8)
        b->kernels->from_int8(FLOATS, BLOCK, (const int8_t *)in,
                              (const float *)(const void *)(in + FLOATS), b->back);
}

static struct brg_object object_of(uint32_t index) {
    return (struct brg_object){
        .kind = BRG_OBJECT_ACT, .run = RUN, .generation = 1, .step = index + 1, .unit = 1};
}

/* Offers object `index`, made as a stage would make it. */
static int offer(struct bench *b, uint32_t index, uint64_t size_bytes) {
    const struct brg_object object = object_of(index);
    struct brg_buffer *buffer = NULL;
    struct brg_source source = {0};
    int rc = brg_pool_get(b->pool, size_bytes, &buffer);
    if (rc != BRG_OK) return rc;
    if (size_bytes == PARKED_BYTES)
        memset(buffer->data, 1, size_bytes);
    else
        to_wire(b, buffer->data);
    rc = brg_source_init(&source, b->pool, &object, buffer, size_bytes);
    brg_buffer_release(buffer);
    if (rc != BRG_OK) return rc;
    brg_source_digest(&source);
    atomic_store(&b->offered_ns, now_ns());
    rc = brg_peers_offer(b->producer.peers, &source, now_ns());
    brg_source_fini(&source);
    return rc;
}

static void turn(struct end *e, uint32_t wait_ms) {
    struct brg_wait items[BRG_WAIT_MAX];
    const uint32_t count = brg_peers_sockets(e->peers, items, BRG_WAIT_MAX);
    const uint64_t wake_ns = brg_peers_wake_ns(e->peers), at_ns = now_ns();
    const uint64_t left_ms = wake_ns > at_ns ? (wake_ns - at_ns) / BRG_NS_PER_MS : 0;
    const uint32_t most_ms = left_ms < wait_ms ? (uint32_t)left_ms : wait_ms;
    if (brg_transport_wait(items, count, most_ms) != BRG_OK) return;
    brg_peers_turn(e->peers, now_ns());
}

/* The producer's thread: at most 2 * AHEAD objects lie ready. */
static void *produce(void *arg) {
    struct bench *b = arg;
    const uint64_t until_ns = now_ns() + PATIENCE_NS;
    uint32_t made = 0;
    while (atomic_load(&b->taken) < b->count && now_ns() < until_ns && !atomic_load(&b->failed)) {
        const uint32_t taken = atomic_load(&b->taken);
        if (taken > 0) brg_peers_floor(b->producer.peers, taken);
        if (made < b->count && made < taken + 2 * AHEAD) {
            if (offer(b, made, wire_bytes(b->form)) != BRG_OK) atomic_store(&b->failed, 1);
            made++;
        }
        turn(&b->producer, made < taken + 2 * AHEAD ? 0 : 1);
    }
    return NULL;
}

/* Begins to fetch object `index`. */
static int ask(struct bench *b, uint32_t index, uint64_t size_bytes) {
    const struct brg_object object = object_of(index);
    struct brg_buffer *buffer = NULL;
    int rc = brg_pool_get(b->pool, size_bytes, &buffer);
    if (rc != BRG_OK) return rc;
    rc = brg_peers_fetch(b->consumer.peers, 0, &object, buffer, size_bytes, PATIENCE_NS, now_ns(),
                         &b->why);
    if (rc != BRG_OK) brg_buffer_release(buffer);
    return rc;
}

/* The next object that has come, through `r`. */
static int await(struct bench *b, struct brg_peer_result *r) {
    const uint64_t until_ns = now_ns() + PATIENCE_NS;
    while (now_ns() < until_ns && !atomic_load(&b->failed)) {
        if (brg_peers_next(b->consumer.peers, r) == BRG_OK) {
            if (r->code != BRG_OK) b->why = r->why;
            return r->code;
        }
        turn(&b->consumer, 10);
    }
    return BRG_ETIMEDOUT;
}

static int consume(struct bench *b) {
    struct brg_peer_result r;
    int rc = BRG_OK;
    for (uint32_t i = 0; i < AHEAD && rc == BRG_OK; i++) rc = ask(b, i, wire_bytes(b->form));
    for (uint32_t i = 0; i < b->count && rc == BRG_OK; i++) {
        rc = await(b, &r);
        if (rc != BRG_OK) break;
        from_wire(b, r.buffer->data);
        brg_buffer_release(r.buffer);
        atomic_store(&b->taken, i + 1);
        if (i + AHEAD < b->count) rc = ask(b, i + AHEAD, wire_bytes(b->form));
    }
    if (rc != BRG_OK) atomic_store(&b->failed, 1);
    return rc;
}

static int open_end(struct bench *b, struct end *e, const struct brg_peers_config *config,
                    const char *listen) {
    int rc = brg_keypair_create(&e->key, &b->why);
    if (rc == BRG_OK) rc = brg_transport_create(&e->transport, &b->why);
    if (rc == BRG_OK)
        rc = brg_peers_create(e->transport, config, &e->key, listen, &e->peers, &b->why);
    if (rc == BRG_OK && listen != NULL) rc = brg_peers_endpoint(e->peers, e->endpoint);
    return rc;
}

static void close_end(struct end *e) {
    brg_peers_destroy(&e->peers);
    brg_transport_destroy(&e->transport);
    brg_keypair_wipe(&e->key);
    memset(e, 0, sizeof *e);
}

/* The producer is member 0, the consumer member 1. */
static int place(const struct end *of, const struct end *other, uint32_t member) {
    struct brg_peer_place place = {.epoch = 1, .run = RUN, .generation = 1, .count = 1};
    place.members[0].member = member;
    place.members[0].key = other->key.public_key;
    memcpy(place.members[0].endpoint, other->endpoint, sizeof other->endpoint);
    return brg_peers_place(of->peers, &place, now_ns());
}

static int open_both(struct bench *b, uint32_t verify) {
    struct brg_peers_config config;
    brg_peers_config_init(&config);
    config.verify_parts = verify;
    atomic_store(&b->taken, 0);
    int rc = open_end(b, &b->producer, &config, "tcp://127.0.0.1:*");
    if (rc == BRG_OK) rc = open_end(b, &b->consumer, &config, NULL);
    if (rc == BRG_OK) rc = place(&b->producer, &b->consumer, 1);
    if (rc == BRG_OK) rc = place(&b->consumer, &b->producer, 0);
    return rc;
}

static int bench_link(struct bench *b, const char *what, enum form form, uint32_t verify) {
    pthread_t thread;
    b->form = form;
    b->count = OBJECTS;
    int rc = open_both(b, verify);
    if (rc == BRG_OK && pthread_create(&thread, NULL, produce, b) != 0) rc = BRG_EIO;
    if (rc == BRG_OK) {
        const struct span begin = span_begin();
        rc = consume(b);
        if (rc == BRG_OK) report_bytes(b, what, OBJECTS * OBJECT_BYTES, begin);
        (void)pthread_join(thread, NULL);
    }
    close_end(&b->consumer);
    close_end(&b->producer);
    if (rc != BRG_OK || form == FORM_F32) return rc;
    const struct brg_narrow_error e = brg_narrow_error_of(FLOATS, b->activations, b->back);
    if (b->json)
        printf(
            "{\"bench\":\"peer\",\"what\":\"error %s\",\"wire_bytes\":%llu,\"max_relative\":%.3g,"
            "\"rms_relative\":%.3g}\n",
            what, (unsigned long long)wire_bytes(form), e.max_relative, e.rms_relative);
    else
        printf("  error of %s: %.3g of the largest, %.3g rms\n", what, e.max_relative,
               e.rms_relative);
    return rc;
}

/* Offers one small object each time the consumer has waited for it a while. */
static void *produce_small(void *arg) {
    struct bench *b = arg;
    const uint64_t until_ns = now_ns() + PATIENCE_NS;
    uint32_t made = 0;
    while (made < PARKED_ROUNDS && now_ns() < until_ns && !atomic_load(&b->failed)) {
        struct brg_peers_stats stats;
        brg_peers_stats_read(b->producer.peers, &stats);
        brg_peers_floor(b->producer.peers, atomic_load(&b->taken));
        if (stats.parked > made) { /* its Get lies here */
            if (offer(b, made, PARKED_BYTES) != BRG_OK) atomic_store(&b->failed, 1);
            made++;
        }
        turn(&b->producer, 1);
    }
    while (atomic_load(&b->taken) < PARKED_ROUNDS && now_ns() < until_ns &&
           !atomic_load(&b->failed)) {
        turn(&b->producer, 1);
    }
    return NULL;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int consume_small(struct bench *b) {
    struct brg_peer_result r;
    int rc = BRG_OK;
    for (uint32_t i = 0; i < PARKED_ROUNDS && rc == BRG_OK; i++) {
        rc = ask(b, i, PARKED_BYTES);
        turn(&b->consumer, 0);
        if (rc == BRG_OK) rc = await(b, &r);
        if (rc != BRG_OK) break;
        b->us[i] = 1e-3 * (double)(now_ns() - atomic_load(&b->offered_ns));
        brg_buffer_release(r.buffer);
        atomic_store(&b->taken, i + 1);
    }
    if (rc != BRG_OK) atomic_store(&b->failed, 1);
    return rc;
}

static int bench_parked(struct bench *b) {
    pthread_t thread;
    int rc = open_both(b, 0);
    if (rc == BRG_OK && pthread_create(&thread, NULL, produce_small, b) != 0) rc = BRG_EIO;
    if (rc == BRG_OK) {
        rc = consume_small(b);
        (void)pthread_join(thread, NULL);
    }
    close_end(&b->consumer);
    close_end(&b->producer);
    if (rc != BRG_OK) return rc;
    qsort(b->us, PARKED_ROUNDS, sizeof b->us[0], by_size);
    const double p50 = b->us[PARKED_ROUNDS / 2], p99 = b->us[PARKED_ROUNDS * 99 / 100];
    if (b->json)
        printf("{\"bench\":\"peer\",\"what\":\"parked get\",\"bytes\":%u,\"p50_us\":%.1f,"
               "\"p99_us\":%.1f,\"repeats\":%u}\n",
               PARKED_BYTES, p50, p99, PARKED_ROUNDS);
    else
        printf("%-16s p50 %.1f us, p99 %.1f us\n", "parked get", p50, p99);
    return rc;
}

int main(int argc, char **argv) {
    static struct bench bench;
    struct bench *b = &bench;
    b->json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 2 || (argc == 2 && !b->json) || sodium_init() < 0) {
        (void)fprintf(stderr, "usage: bench_peer [--json]\n");
        return 2;
    }
    b->kernels = brg_kernels_pick();
    b->activations = malloc(OBJECT_BYTES);
    b->back = malloc(OBJECT_BYTES);
    BRG_ASSERT(b->activations != NULL);
    BRG_ASSERT(b->back != NULL);
    for (uint32_t i = 0; i < FLOATS; i++)
        b->activations[i] = (float)randombytes_uniform(2000001) * 1e-6f - 1.0f;
    int rc = brg_pool_create(&b->pool, UINT64_C(256) << 20);
    if (rc == BRG_OK) bench_copy(b);
    if (rc == BRG_OK) rc = bench_plain(b);
    if (rc == BRG_OK) rc = bench_link(b, "link", FORM_F32, 0);
    if (rc == BRG_OK) rc = bench_link(b, "link verified", FORM_F32, 1);
    if (rc == BRG_OK) rc = bench_link(b, "link bf16", FORM_BF16, 0);
    if (rc == BRG_OK) rc = bench_link(b, "link int8", FORM_INT8, 0);
    if (rc == BRG_OK) rc = bench_parked(b);
    if (rc != BRG_OK)
        (void)fprintf(stderr, "bench_peer: %s\n",
                      b->why.text[0] != '\0' ? b->why.text : brg_strerror(rc));
    brg_pool_destroy(&b->pool);
    free(b->activations);
    free(b->back);
    return rc == BRG_OK ? 0 : 1;
}
