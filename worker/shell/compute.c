#include "worker/shell/compute.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/ring.h"
#include "proto/wire.h"

#define COMMANDS_MAX 16u
#define IDLE_WAIT_NS (UINT64_C(3600) * BRG_NS_PER_S)

enum command_type { COMMAND_OPEN = 1, COMMAND_START = 2, COMMAND_CLOSE = 3 };

struct command {
    uint32_t type; /* enum command_type */
    struct brg_job *job;
    struct brg_buffer *blob; /* OPEN: NULL, or one hold that moves with the command */
    uint64_t blob_bytes;
    struct brg_run_setup setup;
    char path[BRG_FILE_PATH_BYTES];
};

struct brg_compute {
    struct brg_compute_config config;
    struct brg_ring *commands, *answers;
    pthread_t thread;
    struct brg_interrupt interrupt;
    _Atomic uint32_t chunks_done;
    uint32_t opening, computing; /* the reactor's: 1 while unanswered */
    uint32_t has_run;            /* the reactor's: an open was sent and no close after it */

    /* The compute thread's own: the run that is open. */
    struct brg_gradient *gradient;
    struct brg_data data;
    struct brg_file_map map;
    struct brg_buffer *blob; /* serves as the data where no file could be written */
    struct command current;
};

/* ---- on the compute thread ---- */

static void close_run(struct brg_compute *c) {
    brg_gradient_close(&c->gradient);
    brg_data_close(&c->data);
    brg_file_map_close(&c->map);
    brg_buffer_release(c->blob);
    c->blob = NULL;
}

/* Checks packed bytes and opens them as the data of `setup`. */
static int open_bytes(struct brg_compute *c, const struct brg_run_setup *setup, const char *name,
                      struct brg_bytes bytes, struct brg_why *why) {
    struct brg_data_error error;
    int rc = brg_data_open_blob(name, bytes.data, bytes.size_bytes, &c->data, &error);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s", error.text);
    if (!brg_digest_equal(&c->data.digest, &setup->data_digest)) {
        brg_data_close(&c->data);
        return brg_why_set(why, BRG_ECORRUPT, "%s: it is another data set than the run's", name);
    }
    return BRG_OK;
}

/* The data set from the state directory. A damaged file is as good as none: it is fetched anew. */
static int open_file(struct brg_compute *c, const struct command *command, struct brg_why *why) {
    int rc = brg_file_map_open(command->path, BRG_DATA_FILE_MAX, &c->map);
    if (rc == BRG_ENOENT) return rc;
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: %s; make it readable or remove it", command->path,
                           strerror(errno));
    const struct brg_bytes bytes = {.data = c->map.data, .size_bytes = c->map.size_bytes};
    rc = open_bytes(c, &command->setup, command->path, bytes, why);
    if (rc == BRG_OK) return BRG_OK;
    brg_file_map_close(&c->map);
    if (rc != BRG_ECORRUPT) return rc;
    brg_log_warn("data", NULL, "%s It is fetched again.", why->text);
    return BRG_ENOENT;
}

/* Checks what came from the coordinator, keeps it as a file, opens that. */
static int open_blob(struct brg_compute *c, const struct command *command, struct brg_why *why) {
    const struct brg_bytes bytes = {.data = command->blob->data, .size_bytes = command->blob_bytes};
    int rc = open_bytes(c, &command->setup, "the data set as received", bytes, why);
    if (rc != BRG_OK) return rc;
    rc = brg_file_write_atomic(command->path, 0600, bytes.data, bytes.size_bytes);
    if (rc != BRG_OK) {
        brg_log_warn("data", BRG_FIELDS(BRG_STR("file", command->path)),
                     "the data set cannot be kept (%s): this run uses it from memory, and the next "
                     "start will fetch it again; make room in the state directory",
                     strerror(errno));
        c->blob = brg_buffer_hold(command->blob);
        return BRG_OK;
    }
    brg_data_close(&c->data);
    rc = open_file(c, command, why);
    if (rc == BRG_ENOENT) /* it was written a moment ago */
        return brg_why_set(why, BRG_EIO,
                           "%s: what was written there does not come back the same; "
                           "check the disk",
                           command->path);
    return rc;
}

static void answer(struct brg_compute *c, const struct brg_compute_answer *a) {
    const int rc = brg_ring_push(c->answers, a);
    BRG_ASSERT(rc == BRG_OK); /* at most one of each type is unanswered */
}

static void do_open(struct brg_compute *c, struct command *command) {
    struct brg_compute_answer a = {.type = BRG_ANSWER_OPENED, .run = command->setup.run};
    close_run(c);
    a.code = brg_gradient_check(&command->setup, &a.why);
    if (a.code == BRG_OK) {
        a.code =
            command->blob != NULL ? open_blob(c, command, &a.why) : open_file(c, command, &a.why);
    }
    if (a.code == BRG_OK) {
        const struct brg_gradient_config config = {.pool = c->config.pool,
                                                   .data = &c->data,
                                                   .faults = &c->config.faults,
                                                   .interrupt = &c->interrupt,
                                                   .chunks_done = &c->chunks_done,
                                                   .lanes = c->config.threads};
        a.code = brg_gradient_open(&command->setup, &config, &c->gradient, &a.why);
        if (a.code != BRG_OK) close_run(c);
    }
    brg_buffer_release(command->blob);
    answer(c, &a);
}

static void do_start(struct brg_compute *c, struct brg_job *job) {
    struct brg_compute_answer a = {
        .type = BRG_ANSWER_COMPUTED, .run = job->task.run, .job = job, .code = BRG_ECANCELED};
    if (c->gradient == NULL)
        a.code = brg_why_set(&a.why, BRG_ENOENT, "the run is not open here");
    else if (!brg_interrupt_is_raised(&c->interrupt))
        a.code = brg_gradient_compute(c->gradient, job, &a.why);
    answer(c, &a);
}

static void *thread_main(void *argument) {
    struct brg_compute *c = argument;
    struct command *command = &c->current;
    int rc = BRG_OK;
    while (rc != BRG_ECANCELED) {
        rc = brg_ring_pop_wait(c->commands, command, IDLE_WAIT_NS);
        if (rc != BRG_OK) continue;
        switch ((enum command_type)command->type) {
        case COMMAND_OPEN: do_open(c, command); break;
        case COMMAND_START: do_start(c, command->job); break;
        case COMMAND_CLOSE: close_run(c); break;
        default: BRG_ASSERT(0 && "a command that does not exist");
        }
    }
    close_run(c);
    return NULL;
}

/* ---- on the reactor ---- */

int brg_compute_create(struct brg_compute **out, const struct brg_compute_config *config,
                       struct brg_why *why) {
    BRG_ASSERT(config->threads >= 1 && config->threads <= BRG_LANES_MAX);
    *out = NULL;
    struct brg_compute *c = calloc(1, sizeof *c);
    if (c == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory");
    c->config = *config;
    int rc = brg_interrupt_init(&c->interrupt);
    if (rc != BRG_OK) {
        free(c);
        return brg_why_set(why, rc, "out of memory");
    }
    rc = brg_ring_create(&c->commands, COMMANDS_MAX, sizeof(struct command));
    if (rc == BRG_OK)
        rc = brg_ring_create(&c->answers, COMMANDS_MAX, sizeof(struct brg_compute_answer));
    if (rc == BRG_OK && pthread_create(&c->thread, NULL, thread_main, c) != 0) rc = BRG_ENOMEM;
    if (rc != BRG_OK) {
        brg_ring_destroy(&c->commands);
        brg_ring_destroy(&c->answers);
        brg_interrupt_fini(&c->interrupt);
        free(c);
        return brg_why_set(why, rc, "the compute thread cannot be started: %s", brg_strerror(rc));
    }
    *out = c;
    return BRG_OK;
}

void brg_compute_destroy(struct brg_compute **compute) {
    struct brg_compute *c = *compute;
    if (c == NULL) return;
    brg_interrupt_raise(&c->interrupt);
    brg_ring_close(c->commands); /* what is inside is still carried out, cancelled */
    const int rc = pthread_join(c->thread, NULL);
    BRG_ASSERT(rc == 0);
    brg_ring_destroy(&c->commands);
    brg_ring_destroy(&c->answers);
    brg_interrupt_fini(&c->interrupt);
    free(c);
    *compute = NULL;
}

int brg_compute_fd(const struct brg_compute *c) {
    return brg_ring_fd(c->answers);
}

int brg_compute_answer(struct brg_compute *c, struct brg_compute_answer *out) {
    const int rc = brg_ring_pop(c->answers, out);
    if (rc != BRG_OK) return rc;
    if (out->type == BRG_ANSWER_OPENED) c->opening = 0;
    if (out->type == BRG_ANSWER_COMPUTED) c->computing = 0;
    return BRG_OK;
}

static void command(struct brg_compute *c, const struct command *what) {
    const int rc = brg_ring_push(c->commands, what);
    BRG_ASSERT(rc == BRG_OK); /* one open and one job at a time, a close only after an open */
}

void brg_compute_open(struct brg_compute *c, const struct brg_run_setup *setup, const char *path,
                      struct brg_buffer *blob, uint64_t blob_bytes) {
    struct command what = {
        .type = COMMAND_OPEN, .setup = *setup, .blob = blob, .blob_bytes = blob_bytes};
    BRG_ASSERT(!c->opening);
    BRG_ASSERT(strlen(path) < sizeof what.path);
    memcpy(what.path, path, strlen(path) + 1);
    c->opening = c->has_run = 1;
    command(c, &what);
}

void brg_compute_start(struct brg_compute *c, struct brg_job *job) {
    const struct command what = {.type = COMMAND_START, .job = job};
    BRG_ASSERT(!c->computing);
    brg_interrupt_lower(&c->interrupt);
    atomic_store(&c->chunks_done, 0);
    c->computing = 1;
    command(c, &what);
}

void brg_compute_cancel(struct brg_compute *c) {
    brg_interrupt_raise(&c->interrupt);
}

void brg_compute_close(struct brg_compute *c) {
    const struct command what = {.type = COMMAND_CLOSE};
    if (!c->has_run) return;
    c->has_run = 0;
    command(c, &what);
}

uint32_t brg_compute_chunks_done(const struct brg_compute *c) {
    return atomic_load(&c->chunks_done);
}
