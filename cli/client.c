#include "cli/client.h"

#include "base/file.h"
#include "base/units.h"
#include "proto/transport.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define ENDPOINT_FILE_BYTES 1024u
#define FOREIGN_MIN 3u
#define TIMEOUT_MIN_NS (BRG_NS_PER_S / 10)
#define SLICE_MS 50u /* between looks at what the connection tells */

struct brg_client {
    const struct brg_cli_verb *verb;
    struct brg_transport *transport;
    struct brg_socket *socket;
    struct brg_keypair key;
    struct brg_join join;
    uint64_t timeout_ns, next_id;
    uint64_t absent_since_ns; /* nobody has listened there since; 0: not so */
    uint32_t is_ready, is_refused;
    uint32_t foreign; /* handshakes that failed; one alone may have been cut off by a restart */
    char endpoint[BRG_ENDPOINT_BYTES];
    char state_dir[BRG_CLI_PATH_BYTES]; /* empty: --coordinator was given */
    char body[BRG_OPERATE_BYTES_MAX];
    struct brg_inbound in;
    struct brg_msg request, msg;
};

uint64_t brg_client_now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

static int read_endpoint(struct brg_client *c) {
    char path[BRG_FILE_PATH_BYTES];
    uint8_t *text = NULL;
    size_t size = 0;
    struct brg_why why;

    (void)snprintf(path, sizeof path, "%s/endpoint", c->state_dir);
    int rc = brg_file_read(path, ENDPOINT_FILE_BYTES, &text, &size);
    if (rc == BRG_ENOENT) {
        return brg_cli_fail(c->verb, BRG_EXIT_CONFIG,
                            "no coordinator has run with the state folder %s. Start one there with "
                            "'brigade coordinator', name its folder with --state DIR, or one "
                            "elsewhere with --coordinator URL --operator-key FILE.",
                            c->state_dir);
    }
    if (rc != BRG_OK) {
        return brg_cli_fail(c->verb, BRG_EXIT_CONFIG, "%s cannot be read: %s", path,
                            strerror(errno));
    }
    text[strcspn((char *)text, "\r\n")] = 0;
    rc = brg_join_parse((char *)text, &c->join, &why);
    free(text);
    if (rc == BRG_OK) return BRG_CLI_GO;
    return brg_cli_fail(c->verb, BRG_EXIT_CONFIG,
                        "%s is damaged (%s): restart the coordinator, which writes it anew.", path,
                        why.text);
}

static int find_coordinator(struct brg_client *c, const struct brg_cli_args *args) {
    const char *url = brg_cli_value(args, "coordinator");
    const char *key_file = brg_cli_value(args, "operator-key");
    char path[BRG_FILE_PATH_BYTES];
    struct brg_why why;
    int rc;

    if (url != NULL) {
        if (key_file == NULL) {
            return brg_cli_wrong(c->verb, "--coordinator needs --operator-key FILE.");
        }
        if (brg_join_parse(url, &c->join, &why) != BRG_OK) {
            return brg_cli_wrong(c->verb, "--coordinator: %s.", why.text);
        }
    } else {
        rc = brg_cli_state_dir(args, c->state_dir);
        if (rc != BRG_CLI_GO) return rc;
        rc = read_endpoint(c);
        if (rc != BRG_CLI_GO) return rc;
    }
    (void)snprintf(path, sizeof path, "%s/operator.key", c->state_dir);
    if (key_file == NULL) key_file = path;
    rc = brg_keyfile_load(key_file, &c->key, &why);
    if (rc != BRG_OK) return brg_cli_fail(c->verb, BRG_EXIT_CONFIG, "%s", why.text);
    return BRG_CLI_GO;
}

/* Begins to connect to where c->join says. */
static int dial(struct brg_client *c) {
    struct brg_socket_config config;
    struct brg_why why;
    (void)brg_endpoint_format(c->join.host, c->join.port, c->endpoint);
    brg_socket_config_init(&config);
    config.reconnect_min_ms = 100;
    config.reconnect_max_ms = 1000;
    if (brg_transport_create(&c->transport, &why) == BRG_OK &&
        brg_socket_dial(c->transport, &config, &c->key, &c->join.server, c->endpoint, &c->socket,
                        &why) == BRG_OK) {
        return BRG_CLI_GO;
    }
    return brg_cli_fail(c->verb, BRG_EXIT_FAILED, "%s", why.text);
}

int brg_client_open_state(const struct brg_cli_args *args, const char *state_dir,
                          uint64_t timeout_ns, struct brg_client **out) {
    char path[BRG_FILE_PATH_BYTES];
    struct brg_client *c = calloc(1, sizeof *c);
    struct brg_why why;
    *out = NULL;
    if (c == NULL) return brg_cli_fail(args->verb, BRG_EXIT_FAILED, "out of memory.");
    c->verb = args->verb;
    c->next_id = 1;
    c->timeout_ns = timeout_ns;
    (void)snprintf(c->state_dir, sizeof c->state_dir, "%s", state_dir);
    (void)snprintf(path, sizeof path, "%s/operator.key", state_dir);
    int rc = read_endpoint(c);
    if (rc == BRG_CLI_GO && brg_keyfile_load(path, &c->key, &why) != BRG_OK)
        rc = brg_cli_fail(c->verb, BRG_EXIT_CONFIG, "%s", why.text);
    if (rc == BRG_CLI_GO) rc = dial(c);
    if (rc != BRG_CLI_GO) brg_client_close(&c);
    *out = c;
    return rc;
}

int brg_client_open(const struct brg_cli_args *args, struct brg_client **out) {
    struct brg_client *c = calloc(1, sizeof *c);
    int rc = BRG_EXIT_FAILED;

    *out = NULL;
    if (c == NULL) return brg_cli_fail(args->verb, BRG_EXIT_FAILED, "out of memory.");
    c->verb = args->verb;
    c->next_id = 1;
    rc = brg_cli_duration(args, "timeout", &c->timeout_ns);
    if (rc != BRG_CLI_GO) goto out;
    if (c->timeout_ns < TIMEOUT_MIN_NS) {
        rc = brg_cli_wrong(args->verb, "--timeout must be 100ms at least");
        goto out;
    }
    rc = find_coordinator(c, args);
    if (rc == BRG_CLI_GO) rc = dial(c);
    if (rc != BRG_CLI_GO) goto out;
    *out = c;
    c = NULL;
out:
    brg_client_close(&c);
    return rc;
}

void brg_client_close(struct brg_client **c) {
    if (*c == NULL) return;
    brg_socket_close(&(*c)->socket);
    brg_transport_destroy(&(*c)->transport);
    brg_keypair_wipe(&(*c)->key);
    free(*c);
    *c = NULL;
}

/* What the connection told meanwhile. Diagnostics: they word the sentence, and shorten a wait that
 * has no prospect. */
static void read_events(struct brg_client *c) {
    struct brg_socket_event event;
    for (uint32_t i = 0; i < 64 && brg_socket_event(c->socket, &event) == BRG_OK; i++) {
        switch (event.type) {
        case BRG_SOCKET_CONNECTED: c->absent_since_ns = 0; break;
        case BRG_SOCKET_READY:
            c->is_ready = 1;
            c->is_refused = c->foreign = 0;
            c->absent_since_ns = 0;
            break;
        case BRG_SOCKET_UNREACHABLE:
            if (c->absent_since_ns == 0) c->absent_since_ns = brg_client_now_ns();
            break;
        case BRG_SOCKET_KEY_REFUSED: c->is_refused = 1; break;
        case BRG_SOCKET_BAD_HANDSHAKE: c->foreign++; break;
        case BRG_SOCKET_DISCONNECTED: c->is_ready = 0; break;
        default: break;
        }
    }
}

/* Why there was no answer, and what to do. */
static int no_answer(struct brg_client *c, const char *verb, int was_sent, struct brg_why *why) {
    char bound[BRG_UNITS_TEXT_BYTES];
    if (c->is_refused) {
        (void)brg_why_set(why, 0,
                          "the coordinator at %s:%u refuses this key: use --operator-key with the "
                          "operator.key of its state folder.",
                          c->join.host, c->join.port);
        return BRG_EXIT_REFUSED;
    }
    if (c->foreign >= FOREIGN_MIN) {
        (void)brg_why_set(why, 0,
                          "who listens at %s:%u is not the coordinator that was asked for: it has "
                          "another key, or is another program. Check the join URL and the port.",
                          c->join.host, c->join.port);
        return BRG_EXIT_REFUSED;
    }
    if (!c->is_ready && c->absent_since_ns != 0) {
        (void)brg_why_set(why, 0,
                          "nobody listens at %s:%u: start the coordinator with 'brigade "
                          "coordinator%s%s', or look into its log to see why it ended.",
                          c->join.host, c->join.port, c->state_dir[0] != 0 ? " --state " : "",
                          c->state_dir);
        return BRG_EXIT_TEMPORARY;
    }
    (void)brg_why_set(why, 0,
                      "the coordinator at %s:%u gave no answer to '%s' within %s%s. Try again "
                      "with a longer --timeout, or look into its log%s.",
                      c->join.host, c->join.port, verb, brg_duration_text(c->timeout_ns, bound),
                      was_sent ? "; it may have done it nevertheless" : "",
                      c->state_dir[0] == 0 ? "; it answers its operator's key and no other" : "");
    return BRG_EXIT_TEMPORARY;
}

/* The reply that c->msg holds, if it is the one to c->request; *is_done 1 then. */
static int take_reply(struct brg_client *c, int *is_done, cJSON **reply, struct brg_why *why) {
    const struct brg_msg_operate_reply *r = &c->msg.operate_reply;
    if (c->msg.type == BRG_MSG_REFUSED) {
        *is_done = 1;
        (void)brg_why_set(why, 0, "the coordinator refused: %s", c->msg.refused.text);
        return BRG_EXIT_REFUSED;
    }
    if (c->msg.type != BRG_MSG_OPERATE_REPLY || r->id != c->request.operate.id) {
        return BRG_CLI_GO; /* to an earlier request, given up meanwhile */
    }
    *is_done = 1;
    cJSON *body = cJSON_ParseWithLength((const char *)r->body, r->body_bytes);
    if (r->code != 0) {
        (void)brg_why_set(why, 0, "%s", brg_json_text(body, "error", brg_strerror(r->code)));
        cJSON_Delete(body);
        return r->code == BRG_EPERM ? BRG_EXIT_REFUSED : BRG_EXIT_FAILED;
    }
    if (!cJSON_IsObject(body)) {
        cJSON_Delete(body);
        (void)brg_why_set(why, 0,
                          "the coordinator's answer is not understood: is this program of "
                          "the same version as the coordinator?");
        return BRG_EXIT_FAILED;
    }
    *reply = body;
    return BRG_CLI_GO;
}

static int broken(struct brg_client *c, struct brg_why *why) {
    (void)brg_why_set(why, 0, "the socket to %s is broken.", c->endpoint);
    return BRG_EXIT_IO;
}

/* Reads what is there. */
static int receive(struct brg_client *c, int *is_done, cJSON **reply, struct brg_why *why) {
    for (uint32_t i = 0; i < 64 && !*is_done; i++) {
        int rc = brg_socket_receive_msg(c->socket, &c->in, &c->msg, NULL);
        if (rc == BRG_ENOENT) return BRG_CLI_GO;
        if (rc == BRG_EIO) return broken(c, why);
        if (rc != BRG_OK) continue; /* dropped: nothing that answers */
        rc = take_reply(c, is_done, reply, why);
        brg_inbound_release(&c->in);
        if (rc != BRG_CLI_GO) return rc;
    }
    return BRG_CLI_GO;
}

static int pack_request(struct brg_client *c, const char *verb, cJSON *request,
                        struct brg_why *why) {
    struct brg_msg *msg = &c->request;
    if (request != NULL && !cJSON_PrintPreallocated(request, c->body, sizeof c->body, 0)) {
        (void)brg_why_set(why, 0, "the request is over the bound of %u bytes.",
                          BRG_OPERATE_BYTES_MAX);
        return BRG_EXIT_CONFIG;
    }
    if (request == NULL) (void)snprintf(c->body, sizeof c->body, "{}");
    memset(msg, 0, sizeof *msg);
    msg->type = BRG_MSG_OPERATE;
    msg->operate.id = c->next_id++;
    (void)snprintf(msg->operate.verb, sizeof msg->operate.verb, "%s", verb);
    msg->operate.body = (const uint8_t *)c->body;
    msg->operate.body_bytes = (uint32_t)strlen(c->body);
    return BRG_CLI_GO;
}

static int exchange(struct brg_client *c, const char *verb, cJSON **reply, struct brg_why *why) {
    uint64_t begin_ns = brg_client_now_ns(), now_ns = begin_ns;
    int was_sent = 0, is_done = 0, rc;

    if (c->absent_since_ns != 0) c->absent_since_ns = begin_ns; /* of an earlier call: count anew */
    while (now_ns - begin_ns < c->timeout_ns) {
        read_events(c);
        if (c->is_refused || c->foreign >= FOREIGN_MIN) break;
        if (c->absent_since_ns != 0 && now_ns > c->absent_since_ns + BRG_CLIENT_ABSENT_NS) break;
        if (!was_sent) {
            rc = brg_socket_send_msg(c->socket, NULL, &c->request, NULL);
            was_sent = rc == BRG_OK;
            if (rc != BRG_OK && rc != BRG_EFULL) {
                (void)brg_why_set(why, 0, "the request cannot be sent: %s.", brg_strerror(rc));
                return BRG_EXIT_FAILED;
            }
        }
        struct brg_wait item = {.socket = c->socket, .fd = -1};
        if (brg_transport_wait(&item, 1, SLICE_MS) != BRG_OK) return broken(c, why);
        rc = receive(c, &is_done, reply, why);
        if (rc != BRG_CLI_GO || is_done) return rc;
        now_ns = brg_client_now_ns();
    }
    return no_answer(c, verb, was_sent, why);
}

int brg_client_call(struct brg_client *c, const char *verb, cJSON *request, cJSON **reply,
                    struct brg_why *why) {
    *reply = NULL;
    why->text[0] = 0;
    int rc = pack_request(c, verb, request, why);
    cJSON_Delete(request);
    return rc == BRG_CLI_GO ? exchange(c, verb, reply, why) : rc;
}

int brg_client_ask(const struct brg_cli_args *args, const char *verb, cJSON *request,
                   cJSON **reply) {
    struct brg_client *c = NULL;
    struct brg_why why;
    *reply = NULL;
    int rc = brg_client_open(args, &c);
    if (rc != BRG_CLI_GO) {
        cJSON_Delete(request);
        return rc;
    }
    rc = brg_client_call(c, verb, request, reply, &why);
    if (rc != BRG_CLI_GO) (void)brg_cli_fail(args->verb, rc, "%s", why.text);
    brg_client_close(&c);
    return rc;
}

cJSON *brg_client_run(const char *text) {
    cJSON *request = cJSON_CreateObject();
    size_t digits = strspn(text, "0123456789");
    if (text[digits] == 0 && digits > 0 && digits < 16) {
        (void)cJSON_AddNumberToObject(request, "run", strtod(text, NULL));
    } else {
        (void)cJSON_AddStringToObject(request, "run", text);
    }
    return request;
}
