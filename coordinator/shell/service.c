#include "coordinator/shell/service.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium/utils.h>

#include "base/file.h"
#include "coordinator/shell/line.h"
#include "coordinator/shell/service_private.h"

#define TOKEN_OUT_LIFETIME_S (24u * 3600u)
#define TOKEN_OUT_USES 4096u
/* Workers ping every second, and leases tell who is gone: our own pings only find connections that
 * are dead on the other side. libzmq looks through the timers of all connections for each one it
 * stops, so pings from here would cost the square of the workers. */
#define PING_MS 10000u

static int path_in_state(const struct brg_service *s, const char *name, char *out,
                         struct brg_why *why) {
    const int n = snprintf(out, BRG_PATH_BYTES, "%s/%s", s->options->state_dir, name);
    if (n > 0 && (size_t)n < BRG_PATH_BYTES) return BRG_OK;
    return brg_why_set(why, BRG_EINVAL, "%s: the path of the state folder is too long",
                       s->options->state_dir);
}

static int load_key(const struct brg_service *s, const char *name, struct brg_keypair *pair,
                    struct brg_why *why) {
    char path[BRG_PATH_BYTES];
    const int rc = path_in_state(s, name, path, why);
    return rc == BRG_OK ? brg_keyfile_ensure(path, pair, NULL, why) : rc;
}

/* The key of the marks on commits comes from the coordinator's secret key: one secret to keep. */
static void derive_mac_key(struct brg_service *s) {
    struct brg_digest d;
    brg_mac(s->key.secret, "brigade/v1/mac-key", NULL, 0, &d);
    memcpy(s->mac_key, d.bytes, sizeof s->mac_key);
    sodium_memzero(&d, sizeof d);
}

static int prepare_state(struct brg_service *s, struct brg_why *why) {
    char path[BRG_PATH_BYTES];
    int rc = brg_dir_make(s->options->state_dir, 0700);
    if (rc != BRG_OK) {
        return brg_why_set(why, rc,
                           "%s: the state folder cannot be made (%s): choose another by "
                           "--state",
                           s->options->state_dir, strerror(errno));
    }
    rc = path_in_state(s, "store", path, why);
    if (rc == BRG_OK) rc = brg_store_open(path, &s->store, why);
    if (rc == BRG_OK) rc = brg_store_batch_create(s->store, &s->batch);
    if (rc == BRG_OK) rc = load_key(s, "coordinator.key", &s->key, why);
    if (rc == BRG_OK) rc = load_key(s, "operator.key", &s->operator_key, why);
    if (rc != BRG_OK) return rc;
    derive_mac_key(s);
    return BRG_OK;
}

static int listen_for_workers(struct brg_service *s, struct brg_why *why) {
    char host[BRG_HOST_BYTES], endpoint[BRG_ENDPOINT_BYTES];
    uint16_t port = 0;
    struct brg_socket_config config;
    const struct brg_zap_config zap = {.keys_max = 4 * BRG_MEMBERS_MAX};
    int rc = brg_address_parse(s->options->listen, host, &port, why);
    if (rc != BRG_OK) return rc;
    rc = brg_transport_create(&s->transport, why);
    if (rc == BRG_OK) rc = brg_zap_create(s->transport, &zap, &s->zap, why);
    if (rc != BRG_OK) return rc;
    brg_socket_config_init(&config);
    config.heartbeat_ms = PING_MS;
    (void)brg_endpoint_format(host, port, endpoint);
    return brg_socket_listen(s->transport, &config, &s->key, s->zap, endpoint, &s->socket, why);
}

/* What others can reach this host by, into out [BRG_HOST_BYTES]: the address it listens on, or its
 * name where that is all of them. */
static void name_this_host(const struct brg_service *s, char *out) {
    uint16_t port = 0;
    const int rc = brg_address_parse(s->options->listen, out, &port, NULL);
    BRG_ASSERT(rc == BRG_OK); /* it was listened on */
    const int is_any = out[0] == '\0' || strcmp(out, "*") == 0 || strcmp(out, "0.0.0.0") == 0 ||
                       strcmp(out, "::") == 0;
    if (!is_any) return;
    if (gethostname(out, BRG_HOST_BYTES - 1) != 0) (void)snprintf(out, BRG_HOST_BYTES, "127.0.0.1");
}

/* What a worker is told to dial: the announced address, else this host's. */
static int announce(struct brg_service *s, struct brg_why *why) {
    struct brg_join join = {.server = s->key.public_key};
    char bound[BRG_ENDPOINT_BYTES], path[BRG_PATH_BYTES], text[BRG_JOIN_URL_BYTES + 1];
    int rc = brg_socket_endpoint(s->socket, bound);
    if (rc != BRG_OK) return brg_why_set(why, rc, "the bound address cannot be read");
    const char *colon = strrchr(bound, ':');
    const uint16_t port = (uint16_t)strtoul(colon + 1, NULL, 10);
    /* The operator's verbs on this machine come over loopback. */
    (void)snprintf(join.host, sizeof join.host, "127.0.0.1");
    join.port = port;
    (void)snprintf(text, sizeof text, "%s\n", brg_join_format(&join, s->join_url));
    rc = path_in_state(s, "endpoint", path, why);
    if (rc == BRG_OK) rc = brg_file_write_atomic(path, 0600, text, strlen(text));
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s cannot be written: %s", path, strerror(errno));
    if (s->options->announce != NULL) {
        rc = brg_address_parse(s->options->announce, join.host, &join.port, why);
        if (rc != BRG_OK) return rc;
    } else {
        name_this_host(s, join.host);
    }
    (void)brg_join_format(&join, s->join_url);
    return BRG_OK;
}

static int watch_signals(struct brg_service *s, struct brg_why *why) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    /* Before any thread is started, so that they all inherit the mask. */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return BRG_EIO;
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->signal_fd >= 0
               ? BRG_OK
               : brg_why_set(why, BRG_EIO, "signals cannot be watched: %s", strerror(errno));
}

static int has_run_named(const struct brg_service *s, const char *name) {
    for (uint32_t i = 0; i < s->core.run_count; i++) {
        if (strcmp(s->runs[i].config.name, name) == 0) return 1;
    }
    return 0;
}

/* A run that was submitted already needs neither its file's data nor another submission: the same
 * command starts the coordinator again. */
static int submit_config(struct brg_service *s, struct brg_why *why) {
    struct brg_run_config config;
    struct brg_run_faults faults;
    uint64_t id = 0;
    const char *path = s->options->config_path;
    int rc = brg_runfile_read(path, BRG_RUNFILE_OFFLINE, &config, &faults);
    if (rc == BRG_OK && has_run_named(s, config.name)) {
        brg_log_info("coordinator", BRG_FIELDS(BRG_STR("run", config.name)),
                     "a run of this name exists and goes on");
        return BRG_OK;
    }
    if (rc == BRG_OK) rc = brg_runfile_read(path, BRG_RUNFILE_CHECK_FILES, &config, &faults);
    if (rc != BRG_OK) {
        brg_run_faults_print(&faults, path, stderr);
        return brg_why_set(why, BRG_EINVAL, "%s has %u fault(s): mend them and start again", path,
                           faults.count + faults.left_out);
    }
    return brg_service_submit(s, &config, &id, why);
}

/* 1 where the file holds a token that still lets workers in: a restart needs no other one. */
static int has_good_token(const struct brg_service *s) {
    char text[BRG_TOKEN_TEXT_BYTES];
    struct brg_digest hash;
    if (brg_token_read(s->options->token_out, text, NULL, NULL) != BRG_OK) return 0;
    brg_token_hash(text, strlen(text), &hash);
    sodium_memzero(text, sizeof text);
    for (uint32_t i = 0; i < s->core.members.token_count; i++) {
        const struct brg_token *token = &s->core.members.tokens[i];
        if (!brg_digest_equal(&token->hash, &hash)) continue;
        return !token->revoked && token->uses_left > 0 &&
               token->expires_s > brg_service_wall_ns() / BRG_NS_PER_S;
    }
    return 0;
}

static int write_token(struct brg_service *s, struct brg_why *why) {
    char text[BRG_TOKEN_TEXT_BYTES], line[BRG_TOKEN_TEXT_BYTES + 1];
    uint64_t id = 0;
    if (has_good_token(s)) return BRG_OK;
    int rc =
        brg_service_make_token(s, TOKEN_OUT_LIFETIME_S, TOKEN_OUT_USES, "token-out", text, &id);
    if (rc != BRG_OK) return brg_why_set(why, rc, "no token could be made: revoke old ones");
    /* Only a token that will be remembered is given away. */
    rc = brg_store_write_synced(s->store, s->batch);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s", brg_store_why(s->store));
    (void)snprintf(line, sizeof line, "%s\n", text);
    rc = brg_file_write_atomic(s->options->token_out, 0600, line, strlen(line));
    sodium_memzero(text, sizeof text);
    sodium_memzero(line, sizeof line);
    if (rc == BRG_OK) return rc;
    return brg_why_set(why, rc, "%s cannot be written: %s", s->options->token_out, strerror(errno));
}

static int begin(struct brg_service *s, struct brg_why *why) {
    struct brg_coord_event start = {.type = BRG_EV_START};
    int rc = brg_service_restore(s, why);
    if (rc == BRG_OK) {
        rc = brg_store_next_epoch(s->store, &start.epoch);
        if (rc != BRG_OK) return brg_why_set(why, rc, "%s", brg_store_why(s->store));
    }
    if (rc != BRG_OK) return rc;
    s->now_ns = s->started_ns = brg_service_clock_ns();
    s->timer_ns = UINT64_MAX;
    rc = brg_service_feed(s, &start);
    BRG_ASSERT(rc == BRG_OK);
    if (s->options->config_path != NULL) rc = submit_config(s, why);
    if (rc == BRG_OK && s->options->token_out != NULL) rc = write_token(s, why);
    return rc;
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* one a connection; fewer workers if it fails */
}

static int start(struct brg_service *s, struct brg_why *why) {
    int rc = s->deferred == NULL || s->points == NULL
                 ? brg_why_set(why, BRG_ENOMEM, "no memory to start")
                 : BRG_OK;
    raise_file_limit();
    if (rc == BRG_OK) rc = watch_signals(s, why);
    if (rc == BRG_OK) rc = brg_service_http_start(s, why);
    if (rc == BRG_OK) rc = prepare_state(s, why);
    if (rc == BRG_OK) rc = brg_pool_create(&s->pool, s->options->memory_bytes);
    if (rc == BRG_OK) rc = brg_jobs_create(&s->jobs);
    if (rc == BRG_OK) rc = listen_for_workers(s, why);
    if (rc == BRG_OK) rc = announce(s, why);
    if (rc == BRG_OK) rc = begin(s, why);
    return rc;
}

/* With durability checkpoint an orderly end costs no step: what is not saved yet is saved now. */
static void save_unsaved(struct brg_service *s) {
    struct brg_why why = {{0}};
    if (s->run == NULL || s->unsaved_count == 0) return;
    if (s->run->applied != s->core.rounds.committed) return; /* the last step is not applied yet */
    const struct brg_coord_action act = {
        .type = BRG_ACT_PERSIST_CHECKPOINT, .run = s->run->config.id, .step = s->run->applied};
    struct brg_digest params[BRG_MODELS_MAX];
    const int rc = brg_openrun_checkpoint(s->run, params, &why);
    if (rc == BRG_OK) {
        for (uint32_t m = 0; m < s->run->config.run.models; m++) {
            s->runs[s->run_index].models[m].params = params[m];
        }
        brg_service_keep(s, &act);
    } else {
        brg_log_warn("run", NULL, "the steps since the last checkpoint are lost: %s", why.text);
    }
}

/* Records of the last turn, such as events, that wait for the next one. */
static void write_rest(struct brg_service *s) {
    if (s->exit_code != BRG_EXIT_OK || s->batch == NULL) return;
    if (brg_store_write_synced(s->store, s->batch) != BRG_OK) {
        brg_log_warn("coordinator", NULL, "the last events are lost: %s", brg_store_why(s->store));
    }
}

static void stop(struct brg_service *s) {
    brg_service_http_stopping(s);
    brg_service_drop_all_shares(s);
    brg_jobs_destroy(&s->jobs);
    brg_line_close(s);
    if (s->exit_code == BRG_EXIT_OK) save_unsaved(s);
    write_rest(s);
    brg_tuning_close(s);
    brg_delays_close(&s->delays);
    brg_openrun_close(&s->run);
    for (uint32_t m = 0; m < BRG_MODELS_MAX; m++) brg_source_fini(&s->params[m]);
    brg_socket_close(&s->socket);
    brg_zap_destroy(&s->zap);
    brg_transport_destroy(&s->transport);
    brg_store_batch_destroy(&s->batch);
    brg_store_close(&s->store);
    brg_service_http_stop(s);
    brg_pool_destroy(&s->pool);
    brg_keypair_wipe(&s->key);
    brg_keypair_wipe(&s->operator_key);
    sodium_memzero(s->mac_key, sizeof s->mac_key);
    for (uint32_t i = 0; i < BRG_RUNS_MAX; i++) free((void *)(uintptr_t)s->runs[i].record.yaml);
    free(s->unsaved);
    free(s->points);
    free(s->deferred);
    if (s->signal_fd >= 0) (void)close(s->signal_fd);
    free(s);
}

static int exit_code_of(int rc) {
    switch (rc) {
    case BRG_ECORRUPT:
    case BRG_EBEHIND: return BRG_EXIT_DATA;
    case BRG_ENOSPC:
    case BRG_EIO: return BRG_EXIT_IO;
    case BRG_ENOMEM: return BRG_EXIT_TEMPORARY;
    default: return BRG_EXIT_CONFIG;
    }
}

int brg_service_run(const struct brg_service_options *options) {
    struct brg_why why = {{0}};
    struct brg_service *s = calloc(1, sizeof *s);
    if (s == NULL) return BRG_EXIT_TEMPORARY;
    s->options = options;
    s->exit_code = s->signal_fd = -1;
    s->deferred = calloc(BRG_DEFERRED_MAX, sizeof *s->deferred);
    s->points = calloc(BRG_CURVE_POINTS_MAX, sizeof *s->points);
    brg_coord_init(&s->core, options->lease_ns);
    const int rc = start(s, &why);
    if (rc == BRG_OK) {
        brg_log_info(
            "coordinator",
            BRG_FIELDS(BRG_U64("epoch", s->core.epoch), BRG_U64("runs", s->core.run_count)),
            "listening; a worker joins with: brigade worker --join '%s' --token-file FILE",
            s->join_url);
        brg_service_http_serving(s);
        while (s->exit_code < 0) brg_service_turn(s);
    } else {
        brg_service_fail(s, exit_code_of(rc), "%s",
                         why.text[0] != '\0' ? why.text : brg_strerror(rc));
    }
    const int code = s->exit_code;
    stop(s);
    return code;
}
