/* bench_coordinator.c - what the coordinator costs: rounds a second, CPU a round, memory, and how
 * long a thousand workers take to enrol.
 *
 *   bench_coordinator [--json] [--folder DIR] [--seconds N]
 *
 * DIR is on the disk to be measured (default: the current folder); each step is durable, as a run's
 * is by default. The coordinator is the service itself in a process of its own, and nothing of it
 * is left out. Whoever stands on the other side of the loopback:
 *
 *   processes   workers as they are: the shell, its compute thread, its state folder
 *   light       one thread for eight workers, each with a key and two CURVE connections of its own,
 *               that say all a worker says, fetch parameters, and send shares of zeros
 *
 *   main ── fork ──► coordinator                    CPU by its process clock, VmRSS
 *        ── fork ──► workers, or a crowd of light ones
 *        ── a light spectator, which hears of every 16th commit and measures from one to another
 *
 * Rows: workers that have a place in the code, others that are idle, rounds_per_s and
 * coordinator_cpu_ms_per_round over N seconds (default 3), rss_mb; and enrol_1000_s, from the first
 * connection to the last Welcome. All share this machine's cores: rounds_per_s is what they do
 * together, and the CPU of a round is the coordinator's own. The model is a softmax of 18 numbers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "coordinator/shell/service.h"
#include "proto/transport.h"
#include "worker/shell/process.h"

#define PATH_BYTES 3000u
#define CHILDREN_MAX 66u
#define PEERS_MAX 1024u
#define GROUP_PEERS 8u /* peers of one thread and one context */
#define GROUPS_MAX (PEERS_MAX / GROUP_PEERS)
#define WORKERS_MAX 1024u
#define SAMPLES_A_CHUNK 2u
#define PARAMS 18u /* 8 inputs x 2 classes, and 2 biases */
#define WARM_STEPS 10u
#define PATIENCE_S 40.0 /* nothing here takes that long, unless it is broken */
#define CALL_AGAIN_S 0.05
#define TURN_MS 20u

/* What the processes tell each other. */
struct shared {
    _Atomic uint64_t committed; /* highest step announced */
    _Atomic uint32_t enrolled;  /* light peers that were welcomed */
    _Atomic uint32_t refused;
};

/* A light worker. */
struct peer {
    struct brg_keypair key;
    struct brg_socket *control, *bulk;
    uint64_t session, epoch, run, step, since;
    double called_s, beat_s, beat_every_s;
    uint32_t unit, attempt, chunk_count;
    uint32_t chunks[BRG_CHUNKS_MAX];
    int is_welcome, has_task;
};

/* The peers of one thread. */
struct group {
    struct crowd *crowd;
    struct brg_transport *transport;
    pthread_t thread;
    uint32_t count;
    struct peer peers[GROUP_PEERS];
    struct brg_msg in, out;
};

struct crowd {
    struct brg_join join;
    char token[BRG_TOKEN_TEXT_BYTES];
    uint32_t count, groups;
    int only_enrol;   /* no bulk connections */
    int is_spectator; /* refuses to compute, so that it only listens */
    struct group *group[GROUPS_MAX];
};

struct bench {
    int json;
    double seconds;
    char folder[PATH_BYTES], path[PATH_BYTES + 64];
    uint32_t cases;
    struct shared *shared;
    pid_t coordinator, children[CHILDREN_MAX];
    uint32_t child_count;
};

static double now_s(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sleep_s(double s) {
    const struct timespec t = {.tv_sec = (time_t)s,
                               .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
    (void)nanosleep(&t, NULL);
}

static struct shared *the_shared; /* set before any fork and any thread */

/* ---- a light worker ---- */

static void say(struct group *g, struct peer *p, struct brg_socket *socket,
                struct brg_frame *frames) {
    g->out.epoch = p->epoch;
    const int rc = brg_socket_send_msg(socket, NULL, &g->out, frames);
    BRG_ASSERT(rc != BRG_EINVAL); /* what is not sent now is asked for again */
}

static struct brg_msg *blank(struct group *g, uint32_t type) {
    g->out.type = type;
    g->out.tensor_count = 0;
    return &g->out;
}

static void say_hello(struct group *g, struct peer *p) {
    struct brg_msg_hello *hello = &blank(g, BRG_MSG_HELLO)->hello;
    memset(hello, 0, sizeof *hello);
    hello->protocol = BRG_PROTOCOL;
    hello->session = p->session;
    hello->cores = 1;
    (void)snprintf(hello->name, sizeof hello->name, "light");
    (void)snprintf(hello->version, sizeof hello->version, "bench");
    (void)snprintf(hello->isa, sizeof hello->isa, "none");
    hello->token_bytes = (uint32_t)strlen(g->crowd->token);
    memcpy(hello->token, g->crowd->token, hello->token_bytes);
    say(g, p, p->control, NULL);
}

static void say_beat(struct group *g, struct peer *p) {
    struct brg_msg_beat *beat = &blank(g, BRG_MSG_BEAT)->beat;
    memset(beat, 0, sizeof *beat);
    beat->seq = 1;
    if (p->has_task) *beat = (struct brg_msg_beat){1, p->run, p->step, p->unit, 0};
    say(g, p, p->control, NULL);
    if (p->bulk == NULL) return;
    blank(g, BRG_MSG_ATTACH)->attach.session = p->session;
    say(g, p, p->bulk, NULL);
}

/* The gradient that a light worker always finds. */
static const float zeros[PARAMS];

static void say_done(struct group *g, struct peer *p) {
    struct brg_msg_done *done = &blank(g, BRG_MSG_DONE)->done;
    memset(done, 0, offsetof(struct brg_msg_done, losses));
    done->run = p->run;
    done->step = p->step;
    done->unit = p->unit;
    done->attempt = p->attempt;
    done->since = p->since;
    done->share_bytes = sizeof zeros;
    brg_digest_of(zeros, sizeof zeros, &done->digest);
    done->loss_count = p->chunk_count;
    for (uint32_t i = 0; i < p->chunk_count; i++) {
        done->losses[i] = (struct brg_chunk_loss){p->chunks[i], 1.0, SAMPLES_A_CHUNK};
    }
    say(g, p, p->control, NULL);
}

static void say_share(struct group *g, struct peer *p, const struct brg_msg_get *get) {
    struct brg_frame frame;
    struct brg_msg *m = blank(g, BRG_MSG_PART);
    m->part = (struct brg_msg_part){.object = get->object, .total = sizeof zeros};
    m->tensor_count = 1;
    m->tensors[0] = (struct brg_tensor){.dtype = BRG_DTYPE_BYTES, .elements = sizeof zeros};
    brg_digest_of(zeros, sizeof zeros, &m->tensors[0].digest);
    if (brg_frame_copy(&frame, zeros, sizeof zeros) != BRG_OK) return;
    say(g, p, p->bulk, &frame);
    brg_frame_close(&frame);
}

static void on_task(struct group *g, struct peer *p) {
    const struct brg_msg_task *task = &g->in.task;
    if (g->crowd->is_spectator) {
        struct brg_msg_fault *fault = &blank(g, BRG_MSG_FAULT)->fault;
        memset(fault, 0, sizeof *fault);
        *fault = (struct brg_msg_fault){task->run, task->step, task->unit, BRG_EINVAL, "watches"};
        say(g, p, p->control, NULL);
        return;
    }
    p->run = task->run;
    p->step = task->step;
    p->since = task->since;
    p->unit = task->unit;
    p->attempt = task->attempt;
    p->chunk_count = task->chunk_count;
    memcpy(p->chunks, task->chunks, task->chunk_count * sizeof p->chunks[0]);
    p->has_task = 1;
    blank(g, BRG_MSG_GET)->get = (struct brg_msg_get){
        .object = {.kind = BRG_OBJECT_PARAMS, .run = task->run, .step = task->version},
        .length = task->params_bytes};
    say(g, p, p->bulk, NULL);
}

static void on_welcome(struct group *g, struct peer *p) {
    p->epoch = g->in.epoch;
    p->beat_every_s = 1e-3 * (double)g->in.welcome.beat_ms;
    if (p->is_welcome) return;
    p->is_welcome = 1;
    p->beat_s = now_s() + p->beat_every_s;
    atomic_fetch_add(&the_shared->enrolled, 1);
    say_beat(g, p);
}

static void on_commit(struct group *g, struct peer *p) {
    const uint64_t step = g->in.commit.proof.step;
    if (p->has_task && p->step <= step) p->has_task = 0;
    if (g->crowd->is_spectator) atomic_store(&the_shared->committed, step);
}

static void on_message(struct group *g, struct peer *p) {
    switch (g->in.type) {
    case BRG_MSG_WELCOME: on_welcome(g, p); break;
    case BRG_MSG_REHELLO: p->is_welcome = 0; break;
    case BRG_MSG_REFUSED: atomic_fetch_add(&the_shared->refused, 1); break;
    case BRG_MSG_TASK: on_task(g, p); break;
    case BRG_MSG_COMMIT: on_commit(g, p); break;
    case BRG_MSG_PART:
        if (p->has_task && g->in.part.object.step + 1 == p->step) say_done(g, p);
        break;
    case BRG_MSG_GET: say_share(g, p, &g->in.get); break;
    default: break; /* nothing that a worker without a share must answer */
    }
}

static void hear(struct group *g, struct peer *p, struct brg_socket *socket) {
    struct brg_inbound in;
    if (socket == NULL) return;
    while (brg_socket_receive_msg(socket, &in, &g->in, NULL) == BRG_OK) {
        on_message(g, p);
        brg_inbound_release(&in);
    }
}

static void *live(void *argument) {
    struct group *g = argument;
    struct brg_wait items[2 * GROUP_PEERS];
    for (;;) { /* until the process is killed */
        uint32_t count = 0;
        for (uint32_t i = 0; i < g->count; i++) {
            struct peer *p = &g->peers[i];
            hear(g, p, p->control);
            hear(g, p, p->bulk);
            const double t = now_s();
            if (!p->is_welcome && t > p->called_s + CALL_AGAIN_S) {
                p->called_s = t;
                say_hello(g, p);
            }
            if (p->is_welcome && t > p->beat_s) {
                p->beat_s = t + p->beat_every_s;
                say_beat(g, p);
            }
            items[count++] = (struct brg_wait){.socket = p->control};
            if (p->bulk != NULL) items[count++] = (struct brg_wait){.socket = p->bulk};
        }
        if (brg_transport_wait(items, count, TURN_MS) != BRG_OK) return NULL;
    }
}

static int open_group(struct crowd *c, struct group *g, uint32_t count, struct brg_why *why) {
    char endpoint[BRG_ENDPOINT_BYTES];
    struct brg_socket_config config;
    brg_socket_config_init(&config);
    (void)brg_endpoint_format(c->join.host, c->join.port, endpoint);
    g->crowd = c;
    g->count = count;
    int rc = brg_transport_create(&g->transport, why);
    for (uint32_t i = 0; i < count && rc == BRG_OK; i++) {
        struct peer *p = &g->peers[i];
        p->session = 1;
        rc = brg_keypair_create(&p->key, why);
        if (rc != BRG_OK) break;
        rc = brg_socket_dial(g->transport, &config, &p->key, &c->join.server, endpoint, &p->control,
                             why);
        if (rc != BRG_OK || c->only_enrol) continue;
        rc = brg_socket_dial(g->transport, &config, &p->key, &c->join.server, endpoint, &p->bulk,
                             why);
    }
    if (rc == BRG_OK && pthread_create(&g->thread, NULL, live, g) != 0) rc = BRG_ENOMEM;
    return rc;
}

/* Lives on until the process ends. */
static int open_crowd(struct crowd *c, struct brg_why *why) {
    int rc = BRG_OK;
    BRG_ASSERT(c->count <= PEERS_MAX);
    for (uint32_t first = 0; first < c->count && rc == BRG_OK; first += GROUP_PEERS) {
        const uint32_t left = c->count - first;
        struct group *g = calloc(1, sizeof *g);
        if (g == NULL) return BRG_ENOMEM;
        c->group[c->groups++] = g;
        rc = open_group(c, g, left < GROUP_PEERS ? left : GROUP_PEERS, why);
    }
    return rc;
}

/* ---- processes ---- */

static const char *in_folder(struct bench *b, const char *name) {
    (void)snprintf(b->path, sizeof b->path, "%s/%u-%s", b->folder, b->cases, name);
    return b->path;
}

/* 0 in the child, which ends with this process. */
static pid_t child(struct bench *b) {
    const pid_t parent = getpid(), pid = fork();
    BRG_ASSERT(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        brg_log_configure(BRG_LOG_ERROR, BRG_LOG_TEXT);
        return 0;
    }
    BRG_ASSERT(b->child_count < CHILDREN_MAX);
    b->children[b->child_count++] = pid;
    return pid;
}

static void end_children(struct bench *b) {
    for (uint32_t i = b->child_count; i-- > 0;) {
        (void)kill(b->children[i], SIGKILL);
        (void)waitpid(b->children[i], NULL, 0);
    }
    b->child_count = 0;
}

/* A port that is free now; nobody else is expected to take it meanwhile. */
static uint16_t free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof a);
    if (rc == 0) rc = getsockname(fd, (struct sockaddr *)&a, &size);
    BRG_ASSERT(rc == 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

/* Two groups of points that a line parts; what they are does not matter here. */
static int write_data(struct bench *b) {
    static char text[65536];
    size_t n = 0;
    for (uint32_t row = 0; row < 2048; row++) {
        for (uint32_t i = 0; i < 8; i++) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%u,", (row >> i & 1) + row % 3);
        }
        n += (size_t)snprintf(text + n, sizeof text - n, "%u\n", row & 1);
        BRG_ASSERT(n < sizeof text - 64);
    }
    return brg_file_write_atomic(in_folder(b, "rows.csv"), 0600, text, n);
}

static int write_run(struct bench *b, uint32_t workers) {
    char text[2048];
    int rc = write_data(b);
    const int n = snprintf(text, sizeof text,
                           "run: bench\nmodel: {type: softmax, inputs: 8, classes: 2}\n"
                           "data: {train: %u-rows.csv, held_out: 0%%}\n"
                           "batch: {samples: %u, chunks: %u}\noptimizer: {type: sgd, lr: 0.1}\n"
                           "steps: 1000000\nworkers: %u\nmin_workers: %u\n"
                           "code: {scheme: frc, s: 1}\neval: {every: 0}\n",
                           b->cases, workers / 2 * SAMPLES_A_CHUNK, workers / 2, workers, workers);
    if (rc == BRG_OK) rc = brg_file_write_atomic(in_folder(b, "run.yaml"), 0600, text, (size_t)n);
    return rc;
}

static void start_coordinator(struct bench *b, int with_run) {
    static char state[PATH_BYTES + 64], run[PATH_BYTES + 64], token[PATH_BYTES + 64], listen[64];
    (void)snprintf(state, sizeof state, "%s", in_folder(b, "state"));
    (void)snprintf(run, sizeof run, "%s", in_folder(b, "run.yaml"));
    (void)snprintf(token, sizeof token, "%s", in_folder(b, "token"));
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", free_port());
    b->coordinator = child(b);
    if (b->coordinator != 0) return;
    const struct brg_service_options options = {.state_dir = state,
                                                .listen = listen,
                                                .announce = listen,
                                                .config_path = with_run ? run : NULL,
                                                .token_out = token,
                                                .lease_ns = 10 * BRG_NS_PER_S,
                                                .beat_ns = BRG_NS_PER_S,
                                                .memory_bytes = UINT64_C(1) << 30};
    _exit(brg_service_run(&options));
}

/* Waits until the coordinator has written how to join it. */
static int find_coordinator(struct bench *b, struct crowd *c, struct brg_why *why) {
    uint8_t *url = NULL;
    size_t size = 0;
    const double end_s = now_s() + PATIENCE_S;
    while (brg_token_read(in_folder(b, "token"), c->token, NULL, why) != BRG_OK) {
        if (now_s() > end_s)
            return brg_why_set(why, BRG_ETIMEDOUT, "the coordinator has not begun");
        sleep_s(0.01);
    }
    (void)snprintf(b->path, sizeof b->path, "%s/%u-state/endpoint", b->folder, b->cases);
    int rc = brg_file_read(b->path, BRG_JOIN_URL_BYTES, &url, &size);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s cannot be read", b->path);
    if (size > 0 && url[size - 1] == '\n') url[size - 1] = '\0';
    rc = brg_join_parse((const char *)url, &c->join, why);
    free(url);
    return rc;
}

static void start_worker(struct bench *b, const struct crowd *c, uint32_t index) {
    char state[PATH_BYTES + 64], name[32];
    if (child(b) != 0) return;
    (void)snprintf(name, sizeof name, "w%u", index);
    (void)snprintf(state, sizeof state, "%s", in_folder(b, name));
    struct brg_worker_options options = {.join = c->join,
                                         .state_dir = state,
                                         .name = name,
                                         .version = "bench",
                                         .drain_timeout_ns = BRG_NS_PER_S,
                                         .memory_bytes = 64u << 20,
                                         .threads = 1};
    struct brg_why why;
    memcpy(options.token, c->token, sizeof options.token);
    _exit((int)brg_worker_process_run(&options, &why));
}

static void start_light(struct bench *b, const struct crowd *like, uint32_t count) {
    struct brg_why why = {{0}};
    if (child(b) != 0) return;
    struct crowd *c = calloc(1, sizeof *c);
    BRG_ASSERT(c != NULL);
    *c = *like;
    c->count = count;
    if (open_crowd(c, &why) != BRG_OK) {
        (void)fprintf(stderr, "bench_coordinator: %s\n", why.text);
        _exit(1);
    }
    for (;;) (void)pause();
}

/* ---- measuring ---- */

static double cpu_s(pid_t pid) {
    clockid_t id;
    struct timespec t = {0};
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &t) != 0) return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double rss_mb(pid_t pid) {
    char path[64], line[256];
    double kib = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) kib = strtod(line + 6, NULL);
    }
    if (f != NULL) (void)fclose(f);
    return kib * 1024 / 1e6;
}

static int wait_for(const _Atomic uint64_t *what, uint64_t at_least, struct brg_why *why) {
    const double end_s = now_s() + PATIENCE_S;
    while (atomic_load(what) < at_least) {
        if (now_s() > end_s) {
            return brg_why_set(why, BRG_ETIMEDOUT, "step %" PRIu64 " of %" PRIu64 " after %.0f s",
                               atomic_load(what), at_least, PATIENCE_S);
        }
        sleep_s(0.002);
    }
    return BRG_OK;
}

static int wait_for_enrolled(uint32_t at_least, struct brg_why *why) {
    const double end_s = now_s() + PATIENCE_S;
    while (atomic_load(&the_shared->enrolled) < at_least) {
        if (now_s() > end_s || atomic_load(&the_shared->refused) > 0) {
            return brg_why_set(why, BRG_ETIMEDOUT, "%u of %u workers enrolled, %u refused",
                               atomic_load(&the_shared->enrolled), at_least,
                               atomic_load(&the_shared->refused));
        }
        sleep_s(0.002);
    }
    return BRG_OK;
}

struct rounds_case {
    uint32_t workers, idle;
    int is_light;
};

/* A round that has just been announced, and what the coordinator had used by then. */
struct instant {
    uint64_t step;
    double s, cpu_s;
};

static int catch_round(const struct bench *b, struct instant *out, struct brg_why *why) {
    const uint64_t before = atomic_load(&the_shared->committed);
    const int rc = wait_for(&the_shared->committed, before + 1, why);
    *out = (struct instant){atomic_load(&the_shared->committed), now_s(), cpu_s(b->coordinator)};
    return rc;
}

static int measure_rounds(struct bench *b, const struct rounds_case *x, struct brg_why *why) {
    struct instant from, to;
    int rc = catch_round(b, &from, why);
    if (rc == BRG_OK) sleep_s(b->seconds);
    if (rc == BRG_OK) rc = catch_round(b, &to, why);
    if (rc != BRG_OK) return rc;
    const uint64_t rounds = to.step - from.step;
    const double s = to.s - from.s, cpu = to.cpu_s - from.cpu_s;
    const double per_s = (double)rounds / s, cpu_ms = 1e3 * cpu / (double)rounds;
    const char *peers = x->is_light ? "light" : "processes";
    if (b->json) {
        printf("{\"bench\":\"coordinator\",\"what\":\"rounds\",\"peers\":\"%s\",\"workers\":%u,"
               "\"idle\":%u,\"rounds_per_s\":%.1f,\"coordinator_cpu_ms_per_round\":%.3f,"
               "\"rss_mb\":%.1f,\"rounds\":%" PRIu64 "}\n",
               peers, x->workers, x->idle, per_s, cpu_ms, rss_mb(b->coordinator), rounds);
    } else {
        printf("%-10s %8u %6u %12.1f %14.3f %8.1f\n", peers, x->workers, x->idle, per_s, cpu_ms,
               rss_mb(b->coordinator));
    }
    (void)fflush(stdout);
    return BRG_OK;
}

/* A case is a process: sockets must not exist where one forks. */
static int run_rounds(struct bench *b, const struct rounds_case *x, struct brg_why *why) {
    struct crowd *spectator = calloc(1, sizeof *spectator), *like = calloc(1, sizeof *like);
    BRG_ASSERT(spectator != NULL);
    BRG_ASSERT(like != NULL);
    int rc = write_run(b, x->workers);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s cannot be written", b->path);
    start_coordinator(b, 1);
    rc = find_coordinator(b, like, why);
    if (rc != BRG_OK) return rc;
    *spectator = *like;
    spectator->is_spectator = 1;
    spectator->count = 1;
    for (uint32_t i = 0; i < x->workers && !x->is_light; i++) start_worker(b, like, i);
    const uint32_t light = x->is_light ? x->workers : 0;
    if (light > 0) start_light(b, like, light);
    if (x->idle > 0) { /* who comes later finds no place left */
        rc = wait_for_enrolled(light, why);
        if (rc == BRG_OK) start_light(b, like, x->idle);
    }
    if (rc == BRG_OK) rc = open_crowd(spectator, why);
    if (rc == BRG_OK) rc = wait_for_enrolled(light + x->idle + 1, why);
    if (rc == BRG_OK) rc = wait_for(&the_shared->committed, WARM_STEPS, why);
    return rc == BRG_OK ? measure_rounds(b, x, why) : rc;
}

static int run_enrol(struct bench *b, uint32_t count, struct brg_why *why) {
    struct crowd *like = calloc(1, sizeof *like);
    BRG_ASSERT(like != NULL);
    start_coordinator(b, 0);
    int rc = find_coordinator(b, like, why);
    if (rc != BRG_OK) return rc;
    like->only_enrol = 1;
    const double from_s = now_s(), from_cpu_s = cpu_s(b->coordinator);
    start_light(b, like, count);
    rc = wait_for_enrolled(count, why);
    if (rc != BRG_OK) return rc;
    const double s = now_s() - from_s, cpu = cpu_s(b->coordinator) - from_cpu_s;
    const double rss = rss_mb(b->coordinator), idle_from_s = now_s();
    const double idle_from_cpu_s = cpu_s(b->coordinator);
    sleep_s(b->seconds); /* they beat once a second now, and nothing else happens */
    const double idle = 100 * (cpu_s(b->coordinator) - idle_from_cpu_s) / (now_s() - idle_from_s);
    if (b->json) {
        printf("{\"bench\":\"coordinator\",\"what\":\"enrol\",\"peers\":\"light\",\"workers\":%u,"
               "\"enrol_%u_s\":%.3f,\"coordinator_cpu_s\":%.3f,\"rss_mb\":%.1f,"
               "\"idle_cpu_percent\":%.2f}\n",
               count, count, s, cpu, rss, idle);
    } else {
        printf("%u workers enrol in %.2f s (coordinator: %.2f s CPU, %.1f MB); then their beats "
               "take %.2f %% of a core\n",
               count, s, cpu, rss, idle);
    }
    (void)fflush(stdout);
    return BRG_OK;
}

/* ---- main ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Runs a case in a process of its own. */
static int in_process(struct bench *b, const struct rounds_case *x) {
    int status = 0;
    b->cases++;
    atomic_store(&the_shared->committed, 0);
    atomic_store(&the_shared->enrolled, 0);
    const pid_t pid = fork();
    BRG_ASSERT(pid >= 0);
    if (pid == 0) {
        struct brg_why why = {{0}};
        brg_log_configure(BRG_LOG_ERROR, BRG_LOG_TEXT);
        const int rc = x != NULL ? run_rounds(b, x, &why) : run_enrol(b, 1000, &why);
        if (rc != BRG_OK) (void)fprintf(stderr, "bench_coordinator: %s\n", why.text);
        end_children(b);
        _exit(rc == BRG_OK ? 0 : 1);
    }
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run_all(struct bench *b) {
    static const struct rounds_case cases[] = {{16, 0, 0},   {64, 0, 0}, {16, 0, 1},
                                               {16, 240, 1}, {64, 0, 1}, {256, 0, 1}};
    int failed = 0;
    if (!b->json) {
        printf("%-10s %8s %6s %12s %14s %8s\n", "peers", "workers", "idle", "rounds/s",
               "CPU ms/round", "RSS MB");
        (void)fflush(stdout); /* or every child prints it as well */
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0] && !failed; i++) {
        failed = in_process(b, &cases[i]);
    }
    return failed ? failed : in_process(b, NULL);
}

static int read_options(struct bench *b, int argc, char **argv) {
    const char *where = ".";
    b->seconds = 3;
    for (int i = 1; i < argc; i++) {
        const int has_value = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0) {
            b->json = 1;
        } else if (strcmp(argv[i], "--folder") == 0 && has_value) {
            where = argv[++i];
        } else if (strcmp(argv[i], "--seconds") == 0 && has_value) {
            b->seconds = strtod(argv[++i], NULL);
        } else {
            return -1;
        }
    }
    if (!(b->seconds >= 0.1) || b->seconds > 60) return -1;
    const int n = snprintf(b->folder, sizeof b->folder, "%s/bench-coordinator-XXXXXX", where);
    return n > 0 && (size_t)n < sizeof b->folder ? 0 : -1;
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* a thousand workers hold several each */
}

int main(int argc, char **argv) {
    static struct bench b;
    if (read_options(&b, argc, argv) != 0 || sodium_init() < 0) {
        (void)fprintf(stderr, "usage: bench_coordinator [--json] [--folder DIR] [--seconds N]\n");
        return 2;
    }
    if (mkdtemp(b.folder) == NULL) {
        (void)fprintf(stderr, "bench_coordinator: %s: %s: name a folder with --folder\n", b.folder,
                      strerror(errno));
        return 1;
    }
    raise_file_limit();
    b.shared =
        mmap(NULL, sizeof *b.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BRG_ASSERT(b.shared != MAP_FAILED);
    the_shared = b.shared;
    const int rc = run_all(&b);
    (void)nftw(b.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}
