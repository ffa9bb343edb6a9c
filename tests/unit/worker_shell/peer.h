/* peer.h - a coordinator played by a test over real sockets, and the worker process it plays with.
 *
 *   test ── peer (ROUTER, CURVE, ZAP) ◄── loopback ──► worker process (fork)
 *
 * The worker is started before the first socket exists, since a ZeroMQ context does not survive a
 * fork; it waits at a pipe for the address. Every wait has a bound. */
#ifndef TESTS_WORKER_SHELL_PEER_H
#define TESTS_WORKER_SHELL_PEER_H

#include "base/log.h"
#include "proto/bulk.h"
#include "proto/transport.h"
#include "tests/unit/worker_shell/run.h"
#include "worker/shell/process.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sodium.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PEER_PATIENCE_MS 20000u
#define PEER_VERSIONS_MAX 32u

struct peer {
    char folder[64]; /* the worker's state directory */
    struct brg_worker_options options;
    pid_t pid; /* 0: no worker */
    int pipe_fd;

    struct brg_transport *transport;
    struct brg_zap *zap;
    struct brg_keypair key;
    struct brg_socket *socket;
    char endpoint[BRG_ENDPOINT_BYTES];
    struct brg_peer control, bulk;
    struct brg_key worker_key;
    uint64_t epoch, session;

    struct test_run run;
    struct brg_pool *pool;
    struct brg_source data;
    struct brg_source params;  /* the same bytes in every version that is asked for */
    uint64_t version_withheld; /* nothing is answered about it; 0: none */
    uint32_t version_gets[PEER_VERSIONS_MAX];
    uint32_t data_gets, params_gets;
    struct brg_inbound in;
    struct brg_msg msg, out;
};

static inline uint64_t peer_now_ms(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the worker ---- */

static inline void peer_child(const struct peer *p, int read_fd) {
    struct brg_worker_options options = p->options;
    struct brg_why why = {{0}};
    if (read(read_fd, &options.join, sizeof options.join) != (ssize_t)sizeof options.join)
        _exit(99);
    (void)close(read_fd);
    options.state_dir = p->folder;
    if (getenv("BRG_TEST_LOG") == NULL) brg_log_configure(BRG_LOG_ERROR, BRG_LOG_TEXT);
    const enum brg_exit code = brg_worker_process_run(&options, &why);
    if (code != BRG_EXIT_OK) fprintf(stderr, "worker ends with %d: %s\n", (int)code, why.text);
    _exit((int)code);
}

/* Forks a worker that waits for an address. No context may be open. */
static inline void peer_fork(struct peer *p) {
    int fds[2];
    assert_null(p->transport);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        (void)close(fds[1]);
        peer_child(p, fds[0]);
    }
    (void)close(fds[0]);
    p->pipe_fd = fds[1];
}

/* Lets the worker go to the peer's address, with the key `server`. */
static inline void peer_let_go(struct peer *p, const struct brg_key *server) {
    struct brg_join join = {.server = *server, .host = "127.0.0.1"};
    join.port = (uint16_t)strtoul(strrchr(p->endpoint, ':') + 1, NULL, 10);
    assert_int_equal(write(p->pipe_fd, &join, sizeof join), (int)sizeof join);
    (void)close(p->pipe_fd);
}

/* The exit status of the worker, as waitpid has it. */
static inline int peer_wait_worker(struct peer *p) {
    const struct timespec pause = {.tv_nsec = 10000000};
    const uint64_t until_ms = peer_now_ms() + PEER_PATIENCE_MS;
    int status = 0;
    while (peer_now_ms() < until_ms) {
        if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
            p->pid = 0;
            return status;
        }
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("the worker does not end");
    return -1;
}

/* ---- the coordinator ---- */

static inline void peer_listen(struct peer *p, const char *endpoint) {
    const struct brg_zap_config zap = {.keys_max = 16};
    struct brg_socket_config config;
    struct brg_why why;
    brg_socket_config_init(&config);
    assert_int_equal(brg_transport_create(&p->transport, &why), BRG_OK);
    assert_int_equal(brg_zap_create(p->transport, &zap, &p->zap, &why), BRG_OK);
    assert_int_equal(
        brg_socket_listen(p->transport, &config, &p->key, p->zap, endpoint, &p->socket, &why),
        BRG_OK);
    assert_int_equal(brg_socket_endpoint(p->socket, p->endpoint), BRG_OK);
}

static inline void peer_shut(struct peer *p) {
    brg_socket_close(&p->socket);
    brg_zap_destroy(&p->zap);
    brg_transport_destroy(&p->transport);
}

static inline void peer_send(struct peer *p, enum brg_msg_type type) {
    p->out.type = type;
    p->out.epoch = p->epoch;
    p->out.tensor_count = 0;
    assert_int_equal(brg_socket_send_msg(p->socket, &p->control, &p->out, NULL), BRG_OK);
}

static inline void peer_serve(struct peer *p) {
    struct brg_source *source = &p->params;
    struct brg_bytes bytes;
    struct brg_frame frame;
    if (p->msg.get.object.kind == BRG_OBJECT_DATA) {
        source = &p->data;
        p->data_gets++;
    } else {
        const uint64_t version = p->msg.get.object.step;
        assert_true(version < PEER_VERSIONS_MAX);
        if (p->version_withheld != 0 && p->version_withheld == version) return;
        p->version_gets[version]++;
        p->params_gets++;
        p->params.object.step = version;
    }
    p->bulk = p->in.peer;
    p->out.epoch = p->epoch;
    if (brg_source_part(source, &p->msg.get, &p->out, &bytes) != BRG_OK) {
        p->out.type = BRG_MSG_GONE;
        p->out.tensor_count = 0;
        p->out.gone = (struct brg_msg_gone){.object = p->msg.get.object, .text = "not here"};
        assert_int_equal(brg_socket_send_msg(p->socket, &p->bulk, &p->out, NULL), BRG_OK);
        return;
    }
    assert_int_equal(brg_frame_copy(&frame, bytes.data, bytes.size_bytes), BRG_OK);
    assert_int_equal(brg_socket_send_msg(p->socket, &p->bulk, &p->out, &frame), BRG_OK);
    brg_frame_close(&frame);
}

/* One message into p->msg; 0 where none came by `until_ms`. What it serves by itself counts. */
static inline int peer_receive(struct peer *p, uint64_t until_ms) {
    for (;;) {
        const char *why = NULL;
        brg_inbound_release(&p->in);
        const int rc = brg_socket_receive_msg(p->socket, &p->in, &p->msg, &why);
        if (rc == BRG_OK) {
            p->worker_key = p->in.key;
            return 1;
        }
        assert_int_equal(rc, BRG_ENOENT);
        const uint64_t now_ms = peer_now_ms();
        if (now_ms >= until_ms) return 0;
        struct brg_wait wait = {.socket = p->socket};
        assert_int_equal(brg_transport_wait(&wait, 1, (uint32_t)(until_ms - now_ms)), BRG_OK);
    }
}

/* Answers Gets, lets Beats and Attaches pass, until a message of `type` is there. */
static inline void peer_expect(struct peer *p, enum brg_msg_type type) {
    const uint64_t until_ms = peer_now_ms() + PEER_PATIENCE_MS;
    while (peer_receive(p, until_ms)) {
        if (p->msg.type == BRG_MSG_GET && type != BRG_MSG_GET) peer_serve(p);
        if (p->msg.type == BRG_MSG_ATTACH) p->bulk = p->in.peer;
        if (p->msg.type == type) return;
        if (p->msg.type == BRG_MSG_HELLO) continue; /* its first copy was answered late */
        if (p->msg.type == BRG_MSG_GET || p->msg.type == BRG_MSG_ATTACH) continue;
        if (p->msg.type == BRG_MSG_BEAT || p->msg.type == BRG_MSG_DRAIN) continue; /* repeated */
        fail_msg("%s came where %s was expected", brg_msg_name(p->msg.type), brg_msg_name(type));
    }
    fail_msg("no %s came", brg_msg_name(type));
}

/* Hello -> Welcome -> Attach. */
static inline void peer_welcome(struct peer *p) {
    peer_expect(p, BRG_MSG_HELLO);
    p->control = p->in.peer;
    p->session = p->msg.hello.session;
    p->out.welcome =
        (struct brg_msg_welcome){.member = 3, .lease_ms = 2000, .beat_ms = 100, .name = "worker-3"};
    peer_send(p, BRG_MSG_WELCOME);
    peer_expect(p, BRG_MSG_ATTACH);
    assert_int_equal(p->msg.attach.session, p->session);
}

static inline void peer_send_run(struct peer *p) {
    const struct brg_run_setup *s = &p->run.setup;
    struct brg_msg_run *run = &p->out.run;
    *run = (struct brg_msg_run){
        .run = s->run,
        .name = "test",
        .seed = 1,
        .steps = 100,
        .model = {.type = s->model.type,
                  .dim = s->model.dim,
                  .layers = s->model.layers,
                  .heads = s->model.heads,
                  .kv_heads = s->model.kv_heads,
                  .hidden = s->model.hidden,
                  .context = s->model.context,
                  .vocab = s->model.vocab,
                  .rope_theta = s->model.rope_theta,
                  .norm_eps = s->model.norm_eps},
        .data = {.format = BRG_DATA_TEXT,
                 .digest = s->data_digest,
                 .size_bytes = p->run.blob_bytes,
                 .split = p->run.data.train.count},
        .batch = {.samples = s->batch.samples,
                  .chunks = s->batch.chunks,
                  .microbatch = s->batch.microbatch},
        .models = s->models,
    };
    memcpy(run->data_seeds, s->data_seeds, sizeof run->data_seeds);
    peer_send(p, BRG_MSG_RUN);
}

/* Sends a task of `step`, in the round of the same number. */
static inline void peer_send_task(struct peer *p, uint64_t step, uint32_t count) {
    p->out.task = test_run_task(&p->run, step, 0, count);
    peer_send(p, BRG_MSG_TASK);
}

/* Sends a task of two chunks, of a round of its own. */
static inline void peer_send_round_task(struct peer *p, uint64_t round, uint64_t step,
                                        uint32_t unit) {
    p->out.task = test_run_task(&p->run, step, unit, 2);
    p->out.task.round = round;
    p->out.task.unit = unit;
    peer_send(p, BRG_MSG_TASK);
}

static inline void peer_send_commit(struct peer *p, uint64_t step) {
    p->out.commit.proof = (struct brg_proof){.run = RUN_ID, .step = step};
    memset(p->out.commit.proof.mac.bytes, (int)step, BRG_DIGEST_BYTES);
    peer_send(p, BRG_MSG_COMMIT);
}

/* Asks for the share that the last Done is about. */
static inline void peer_get_share(struct peer *p, uint64_t step, uint32_t unit) {
    p->out.type = BRG_MSG_GET;
    p->out.epoch = p->epoch;
    p->out.tensor_count = 0;
    p->out.get = (struct brg_msg_get){
        .object = {.kind = BRG_OBJECT_SHARE, .run = RUN_ID, .step = step, .unit = unit},
        .length = BRG_BULK_PART_BYTES};
    assert_int_equal(brg_socket_send_msg(p->socket, &p->bulk, &p->out, NULL), BRG_OK);
}

/* ---- of a test ---- */

static inline int peer_setup(void **state) {
    struct peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    assert_true(sodium_init() >= 0);
    (void)snprintf(p->folder, sizeof p->folder, "/tmp/brg-worker-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->epoch = 5;
    p->options = (struct brg_worker_options){.name = "somebody",
                                             .version = "test",
                                             .threads = 1,
                                             .drain_timeout_ns = 5 * BRG_NS_PER_S,
                                             .memory_bytes = 64u << 20};
    brg_token_create(p->options.token);
    test_run_open(&p->run);
    struct brg_why why;
    assert_int_equal(brg_keypair_create(&p->key, &why), BRG_OK);
    assert_int_equal(brg_pool_create(&p->pool, 64u << 20), BRG_OK);
    struct brg_buffer *blob = NULL, *params = NULL;
    const size_t params_bytes = p->run.param_count * sizeof(float);
    assert_int_equal(brg_pool_get(p->pool, p->run.blob_bytes, &blob), BRG_OK);
    memcpy(blob->data, p->run.blob, p->run.blob_bytes);
    assert_int_equal(brg_pool_get(p->pool, params_bytes, &params), BRG_OK);
    memcpy(params->data, p->run.params, params_bytes);
    const struct brg_object data = {.kind = BRG_OBJECT_DATA, .digest = p->run.data.digest};
    const struct brg_object version = {.kind = BRG_OBJECT_PARAMS, .run = RUN_ID};
    assert_int_equal(brg_source_init(&p->data, p->pool, &data, blob, p->run.blob_bytes), BRG_OK);
    assert_int_equal(brg_source_init(&p->params, p->pool, &version, params, params_bytes), BRG_OK);
    brg_buffer_release(blob);
    brg_buffer_release(params);
    *state = p;
    return 0;
}

static inline int peer_remove_one(const char *path, const struct stat *st, int kind,
                                  struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static inline int peer_teardown(void **state) {
    struct peer *p = *state;
    if (p->pid > 0) { /* the test failed before its end */
        (void)kill(p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, 0);
    }
    brg_inbound_release(&p->in);
    peer_shut(p);
    brg_source_fini(&p->data);
    brg_source_fini(&p->params);
    brg_pool_destroy(&p->pool);
    brg_keypair_wipe(&p->key);
    test_run_close(&p->run);
    (void)nftw(p->folder, peer_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

/* Starts worker and coordinator. */
static inline void peer_start(struct peer *p) {
    peer_fork(p);
    peer_listen(p, "tcp://127.0.0.1:*");
    peer_let_go(p, &p->key.public_key);
}

/* SIGTERM -> Drain -> DrainAck -> Bye -> exit code 0. */
static inline void peer_drain(struct peer *p) {
    assert_int_equal(kill(p->pid, SIGTERM), 0);
    peer_expect(p, BRG_MSG_DRAIN);
    peer_send(p, BRG_MSG_DRAIN_ACK);
    peer_expect(p, BRG_MSG_BYE);
    const int status = peer_wait_worker(p);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), BRG_EXIT_OK);
}

#endif
