/* A whole worker process against a coordinator played over real sockets. BRG_TEST_LOG=1 in the
 * environment shows what the worker says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker_shell/peer.h"

/* Done of `step` arrives, and the share behind it has the plain sum's bits. */
static void expect_done(struct peer *p, uint64_t step, uint32_t count) {
    struct brg_chunk_loss losses[BRG_CHUNKS_MAX];
    const struct brg_msg_task task = test_run_task(&p->run, step, 0, count);
    float *expected = calloc(p->run.param_count, sizeof(float));
    struct brg_digest digest;
    peer_expect(p, BRG_MSG_DONE);
    const struct brg_msg_done done = p->msg.done;
    assert_true(done.run == RUN_ID && done.step == step && done.unit == task.unit);
    test_run_share(&p->run, &task, expected, losses);
    brg_digest_of(expected, p->run.param_count * sizeof(float), &digest);
    assert_true(brg_digest_equal(&digest, &done.digest));
    assert_int_equal(done.loss_count, count);
    for (uint32_t i = 0; i < count; i++) assert_true(done.losses[i].loss == losses[i].loss);

    peer_get_share(p, step, task.unit);
    peer_expect(p, BRG_MSG_PART);
    const struct brg_bytes bytes = brg_frame_bytes(&p->in.frames[1]);
    assert_int_equal(brg_wire_verify_tensor(&p->msg.tensors[0], bytes), BRG_OK);
    assert_int_equal(p->msg.part.total, done.share_bytes);
    assert_int_equal(bytes.size_bytes, done.share_bytes);
    assert_memory_equal(bytes.data, expected, bytes.size_bytes);
    free(expected);
}

static void process_task__yields_the_share_of_its_chunks(void **state) {
    struct peer *p = *state;
    peer_start(p);
    peer_expect(p, BRG_MSG_HELLO);
    assert_string_equal(p->msg.hello.name, "somebody");
    assert_int_equal(p->msg.hello.token_bytes, BRG_TOKEN_TEXT_BYTES - 1);
    assert_memory_equal(p->msg.hello.token, p->options.token, BRG_TOKEN_TEXT_BYTES - 1);
    assert_int_equal(p->msg.hello.has_seen, 0);
    assert_int_equal(p->msg.epoch, 0);
    p->control = p->in.peer;
    p->out.welcome =
        (struct brg_msg_welcome){.member = 3, .lease_ms = 2000, .beat_ms = 100, .name = "worker-3"};
    peer_send(p, BRG_MSG_WELCOME);
    peer_expect(p, BRG_MSG_ATTACH);
    peer_send_run(p);
    peer_send_task(p, 1, 4);
    expect_done(p, 1, 4);
    assert_true(p->data_gets > 0);
    assert_int_equal(p->params_gets, 1);

    /* The same task once more is answered from what is held; after the commit it is gone. */
    peer_send_task(p, 1, 4);
    expect_done(p, 1, 4);
    peer_send_commit(p, 1);
    peer_get_share(p, 1, 4);
    peer_expect(p, BRG_MSG_GONE);
    assert_int_equal(p->msg.gone.object.step, 1);
    peer_send_task(p, 2, 3);
    expect_done(p, 2, 3);
    assert_int_equal(p->params_gets, 2);
    peer_drain(p);
}

static void process_restart__is_the_same_worker_and_keeps_its_data(void **state) {
    struct peer *p = *state;
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_task(p, 1, 2);
    expect_done(p, 1, 2);
    const struct brg_key key = p->worker_key;
    const uint64_t session = p->session;
    assert_int_equal(kill(p->pid, SIGKILL), 0);
    assert_true(WIFSIGNALED(peer_wait_worker(p)));
    brg_inbound_release(&p->in);
    peer_shut(p);

    p->data_gets = 0;
    peer_start(p);
    peer_welcome(p);
    assert_true(brg_key_equal(&key, &p->worker_key));
    assert_true(p->session > session);
    peer_send_run(p);
    peer_send_task(p, 2, 2);
    expect_done(p, 2, 2);
    assert_int_equal(p->data_gets, 0);
    peer_drain(p);
}

static void process_damaged_data_file__is_fetched_again(void **state) {
    struct peer *p = *state;
    char path[256], hex[BRG_DIGEST_HEX_BYTES];
    (void)snprintf(path, sizeof path, "%s/data-%s", p->folder,
                   brg_digest_hex(&p->run.data.digest, hex));
    p->run.blob[2000] ^= 1;
    assert_int_equal(brg_file_write_atomic(path, 0600, p->run.blob, p->run.blob_bytes), BRG_OK);
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_task(p, 1, 2);
    expect_done(p, 1, 2);
    assert_true(p->data_gets > 0);
    peer_drain(p);
}

static void process_coordinator_restart__reattaches_with_proof_of_the_last_commit(void **state) {
    struct peer *p = *state;
    char endpoint[BRG_ENDPOINT_BYTES];
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_task(p, 1, 2);
    expect_done(p, 1, 2);
    peer_send_commit(p, 1);
    peer_send_task(p, 2, 2);
    expect_done(p, 2, 2);
    const uint64_t session = p->session;
    const struct brg_key key = p->worker_key;
    brg_inbound_release(&p->in);
    memcpy(endpoint, p->endpoint, sizeof endpoint);
    peer_shut(p);

    p->epoch = 6;
    p->data_gets = 0;
    peer_listen(p, endpoint);
    peer_expect(p, BRG_MSG_BEAT); /* it finds us again by itself */
    assert_int_equal(p->msg.epoch, 5);
    p->control = p->in.peer;
    peer_send(p, BRG_MSG_REHELLO);
    peer_welcome(p);
    assert_int_equal(p->session, session);
    assert_true(brg_key_equal(&key, &p->worker_key));
    peer_send_run(p);
    peer_send_task(p, 2, 2); /* the step in flight is done once more in the new epoch */
    expect_done(p, 2, 2);
    assert_int_equal(p->data_gets, 0);
    peer_drain(p);
}

static void process_hello__carries_the_highest_proof(void **state) {
    struct peer *p = *state;
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_commit(p, 7);
    peer_send_commit(p, 6); /* late on the way */
    p->epoch = 6;
    peer_send(p, BRG_MSG_REHELLO);
    peer_expect(p, BRG_MSG_HELLO);
    assert_int_equal(p->msg.hello.has_seen, 1);
    assert_int_equal(p->msg.hello.seen.run, RUN_ID);
    assert_int_equal(p->msg.hello.seen.step, 7);
    assert_int_equal(p->msg.hello.seen.mac.bytes[3], 7);
    assert_int_equal(p->msg.epoch, 5);
    /* A dead incarnation's word counts for nothing. */
    p->out.welcome =
        (struct brg_msg_welcome){.member = 3, .lease_ms = 2000, .beat_ms = 100, .name = "worker-3"};
    peer_send(p, BRG_MSG_WELCOME);
    p->epoch = 5;
    p->out.release.run = RUN_ID;
    peer_send(p, BRG_MSG_RELEASE);
    peer_send_task(p, 8, 1);
    p->epoch = 6;
    peer_send_run(p);
    peer_send_task(p, 8, 2);
    expect_done(p, 8, 2);
    peer_drain(p);
}

static void process_superseded_task__is_cancelled_in_a_stall(void **state) {
    struct peer *p = *state;
    struct brg_why why;
    assert_int_equal(brg_faults_parse("stall:for=1h,pick=1/1,index=0", &p->options.faults, &why),
                     BRG_OK);
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_task(p, 1, 4);
    do peer_expect(p, BRG_MSG_BEAT);
    while (p->msg.beat.step != 1); /* it is in its stall */
    assert_int_equal(p->msg.beat.unit, 4);
    assert_int_equal(p->msg.beat.chunks_done, 0);
    peer_send_commit(p, 1);
    do peer_expect(p, BRG_MSG_BEAT);
    while (p->msg.beat.step != 0);
    peer_send_task(p, 2, 4);
    do peer_expect(p, BRG_MSG_BEAT);
    while (p->msg.beat.step != 2);
    /* A second signal does not wait for anybody. */
    assert_int_equal(kill(p->pid, SIGTERM), 0);
    peer_expect(p, BRG_MSG_DRAIN);
    assert_true(p->msg.drain.deadline_ms > 0 && p->msg.drain.deadline_ms <= 5001);
    assert_int_equal(kill(p->pid, SIGTERM), 0);
    peer_expect(p, BRG_MSG_BYE);
    const int status = peer_wait_worker(p);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == BRG_EXIT_OK);
}

static void process_run_that_cannot_be_built__is_answered_with_a_fault(void **state) {
    struct peer *p = *state;
    p->run.setup.model.vocab = 20;
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_task(p, 1, 2);
    peer_expect(p, BRG_MSG_FAULT);
    assert_int_equal(p->msg.fault.code, BRG_EINVAL);
    assert_true(p->msg.fault.step == 1 && p->msg.fault.unit == 4);
    assert_non_null(strstr(p->msg.fault.text, "vocab"));
    peer_drain(p);
}

static void process_task_of_an_unknown_run__asks_for_its_description(void **state) {
    struct peer *p = *state;
    peer_start(p);
    peer_welcome(p);
    peer_send_task(p, 1, 2);
    peer_expect(p, BRG_MSG_FAULT);
    assert_int_equal(p->msg.fault.code, BRG_ENOENT);
    peer_send_run(p);
    peer_send_task(p, 1, 2);
    expect_done(p, 1, 2);
    peer_drain(p);
}

static void process_refused_for_good__ends_and_is_not_to_be_restarted(void **state) {
    struct peer *p = *state;
    peer_start(p);
    peer_expect(p, BRG_MSG_HELLO);
    p->control = p->in.peer;
    p->out.refused = (struct brg_msg_refused){.code = -6, .text = "try later", .retry = 1};
    peer_send(p, BRG_MSG_REFUSED);
    peer_expect(p, BRG_MSG_HELLO); /* it does */
    p->out.refused = (struct brg_msg_refused){.code = -6, .text = "the token expired."};
    peer_send(p, BRG_MSG_REFUSED);
    const int status = peer_wait_worker(p);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), BRG_EXIT_REFUSED);
}

static void process_wrong_server_key__gives_up_and_may_be_restarted(void **state) {
    struct peer *p = *state;
    struct brg_keypair other;
    struct brg_why why;
    p->options.give_up_ns = 700 * BRG_NS_PER_MS;
    peer_fork(p);
    peer_listen(p, "tcp://127.0.0.1:*");
    assert_int_equal(brg_keypair_create(&other, &why), BRG_OK);
    peer_let_go(p, &other.public_key);
    brg_keypair_wipe(&other);
    const int status = peer_wait_worker(p);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), BRG_EXIT_TEMPORARY);
    assert_false(peer_receive(p, peer_now_ms()));
}

static void process_second_worker_on_one_state_directory__is_refused(void **state) {
    struct peer *p = *state;
    peer_fork(p);
    const pid_t first = p->pid;
    const int first_fd = p->pipe_fd;
    peer_fork(p);
    const pid_t second = p->pid;
    const int second_fd = p->pipe_fd;
    p->pid = first;
    p->pipe_fd = first_fd;
    peer_listen(p, "tcp://127.0.0.1:*");
    peer_let_go(p, &p->key.public_key);
    peer_welcome(p);
    p->pid = second;
    p->pipe_fd = second_fd;
    peer_let_go(p, &p->key.public_key);
    const int status = peer_wait_worker(p);
    p->pid = first;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), BRG_EXIT_CONFIG);
    peer_drain(p);
}

static void process_ordered_death__is_a_kill(void **state) {
    struct peer *p = *state;
    struct brg_why why;
    assert_int_equal(brg_faults_parse("die:step=2", &p->options.faults, &why), BRG_OK);
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
    peer_send_task(p, 1, 2);
    expect_done(p, 1, 2);
    peer_send_commit(p, 1);
    peer_send_task(p, 2, 2);
    const uint64_t until_ms = peer_now_ms() + PEER_PATIENCE_MS;
    int status = 0;
    while (waitpid(p->pid, &status, WNOHANG) == 0 && peer_now_ms() < until_ms)
        if (peer_receive(p, peer_now_ms() + 20) && p->msg.type == BRG_MSG_GET) peer_serve(p);
    p->pid = 0;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void process_pause_and_resume__begins_anew_without_the_data(void **state) {
    struct peer *p = *state;
    peer_start(p);
    peer_welcome(p);
    for (uint64_t step = 1; step <= 3; step++) {
        peer_send_run(p);
        peer_send_task(p, step, 2);
        expect_done(p, step, 2);
        if (step == 1) assert_true(p->data_gets > 0);
        p->out.release.run = RUN_ID;
        peer_send(p, BRG_MSG_RELEASE);
        p->data_gets = step == 1 ? 0 : p->data_gets;
        peer_get_share(p, step, 4);
        peer_expect(p, BRG_MSG_GONE);
    }
    assert_int_equal(p->data_gets, 0);
    peer_drain(p);
}

/* Done of (step, unit) as peer_send_round_task ordered it, and its share. */
static void expect_round_done(struct peer *p, uint64_t step, uint32_t unit) {
    struct brg_chunk_loss losses[BRG_CHUNKS_MAX];
    struct brg_msg_task task = test_run_task(&p->run, step, unit, 2);
    float *expected = calloc(p->run.param_count, sizeof(float));
    struct brg_digest digest;
    peer_expect(p, BRG_MSG_DONE);
    assert_int_equal(p->msg.done.step, step);
    assert_int_equal(p->msg.done.unit, unit);
    assert_int_equal(p->msg.done.since, 1);
    test_run_share(&p->run, &task, expected, losses);
    brg_digest_of(expected, p->run.param_count * sizeof(float), &digest);
    assert_true(brg_digest_equal(&digest, &p->msg.done.digest));
    free(expected);
}

static void expect_held(struct peer *p, uint64_t step, uint32_t unit, int is_held) {
    peer_get_share(p, step, unit);
    peer_expect(p, is_held ? BRG_MSG_PART : BRG_MSG_GONE);
    const struct brg_object *object = is_held ? &p->msg.part.object : &p->msg.gone.object;
    assert_true(object->step == step && object->unit == unit);
}

static void start_with_models(struct peer *p, uint32_t models) {
    p->run.setup.models = models;
    for (uint32_t m = 0; m < models; m++) p->run.setup.data_seeds[m] = 100 + m;
    peer_start(p);
    peer_welcome(p);
    peer_send_run(p);
}

/* Four models, and a round with tasks of all of them. */
static void process_tasks_of_a_round__are_done_in_order_each_with_its_model(void **state) {
    struct peer *p = *state;
    start_with_models(p, 4);
    for (uint64_t step = 1; step <= 4; step++) {
        peer_send_round_task(p, 4, step, 0);
        peer_send_round_task(p, 4, step, 1);
    }
    for (uint64_t step = 1; step <= 4; step++) {
        expect_round_done(p, step, 0);
        expect_round_done(p, step, 1);
    }
    assert_int_equal(p->params_gets, 4); /* a version is fetched once, whatever it is used for */
    for (uint64_t step = 1; step <= 4; step++) expect_held(p, step, 1, 1);
    peer_send_commit(p, 2);
    expect_held(p, 2, 1, 0);
    expect_held(p, 3, 0, 1); /* of an older round, and not committed: it counts still */
    peer_send_round_task(p, 5, 5, 0);
    peer_send_round_task(p, 5, 3, 0); /* done before: Done again, at once or in its turn */
    uint32_t again = 0, fresh = 0;
    for (uint32_t i = 0; i < 2; i++) {
        peer_expect(p, BRG_MSG_DONE);
        again += p->msg.done.step == 3;
        fresh += p->msg.done.step == 5;
    }
    assert_true(again == 1 && fresh == 1);
    assert_int_equal(p->params_gets, 5);
    peer_drain(p);
}

/* The next parameters come while a task computes: it is in its wait all the time. */
static void process_next_parameters__are_fetched_while_a_task_computes(void **state) {
    struct peer *p = *state;
    struct brg_why why;
    assert_int_equal(brg_faults_parse("ge:p=1,q=0,add=1h", &p->options.faults, &why), BRG_OK);
    start_with_models(p, 2);
    peer_send_round_task(p, 1, 1, 0);
    peer_send_round_task(p, 1, 2, 0);
    do peer_expect(p, BRG_MSG_BEAT);
    while (p->version_gets[1] == 0 || p->msg.beat.step != 1);
    assert_int_equal(p->msg.beat.chunks_done, 0);
    assert_int_equal(kill(p->pid, SIGKILL), 0);
    assert_true(WIFSIGNALED(peer_wait_worker(p)));
}

/* Parameters that do not come keep nobody from the next round. */
static void process_newer_round__leaves_the_older_one_behind(void **state) {
    struct peer *p = *state;
    start_with_models(p, 4);
    p->version_withheld = 1;
    peer_send_round_task(p, 2, 1, 0);
    peer_send_round_task(p, 2, 2, 0);
    expect_round_done(p, 1, 0);
    do peer_expect(p, BRG_MSG_BEAT);
    while (p->msg.beat.step != 2); /* it waits for version 1 */
    peer_send_round_task(p, 3, 3, 0);
    expect_round_done(p, 3, 0);
    p->version_withheld = 0;
    peer_send_round_task(p, 2, 2, 1); /* late on the way: of a round that is over */
    peer_send_round_task(p, 3, 2, 0);
    expect_round_done(p, 2, 0);
    expect_held(p, 1, 0, 1);
    peer_drain(p);
}

static void process_other_code__makes_the_shares_of_before_void(void **state) {
    struct peer *p = *state;
    start_with_models(p, 2);
    peer_send_round_task(p, 1, 1, 0);
    expect_round_done(p, 1, 0);
    p->out.task = test_run_task(&p->run, 1, 5, 3); /* the same unit, other chunks */
    p->out.task.round = p->out.task.since = 2;
    p->out.task.unit = 0;
    peer_send(p, BRG_MSG_TASK);
    peer_expect(p, BRG_MSG_DONE);
    assert_int_equal(p->msg.done.loss_count, 3);
    assert_int_equal(p->msg.done.since, 2);
    expect_held(p, 1, 0, 1);
    peer_drain(p);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)
    const struct CMUnitTest tests[] = {
        TEST(process_task__yields_the_share_of_its_chunks),
        TEST(process_restart__is_the_same_worker_and_keeps_its_data),
        TEST(process_damaged_data_file__is_fetched_again),
        TEST(process_coordinator_restart__reattaches_with_proof_of_the_last_commit),
        TEST(process_hello__carries_the_highest_proof),
        TEST(process_superseded_task__is_cancelled_in_a_stall),
        TEST(process_run_that_cannot_be_built__is_answered_with_a_fault),
        TEST(process_task_of_an_unknown_run__asks_for_its_description),
        TEST(process_refused_for_good__ends_and_is_not_to_be_restarted),
        TEST(process_wrong_server_key__gives_up_and_may_be_restarted),
        TEST(process_second_worker_on_one_state_directory__is_refused),
        TEST(process_ordered_death__is_a_kill),
        TEST(process_pause_and_resume__begins_anew_without_the_data),
        TEST(process_tasks_of_a_round__are_done_in_order_each_with_its_model),
        TEST(process_next_parameters__are_fetched_while_a_task_computes),
        TEST(process_newer_round__leaves_the_older_one_behind),
        TEST(process_other_code__makes_the_shares_of_before_void),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL) != 0;
}
