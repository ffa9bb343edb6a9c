#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "coordinator/shell/api.h"
#include "coordinator/shell/http_guard.h"
#include "coordinator/shell/notify.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void guard_host__addresses_and_names_nobody_else_can_own(void **state) {
    static const char *const good[] = {"127.0.0.1",
                                       "127.0.0.1:7421",
                                       "[::1]:7421",
                                       "10.1.2.3:80",
                                       "localhost",
                                       "coordinator:7421",
                                       "train.example.org:7421",
                                       "TRAIN.example.ORG",
                                       "host.internal"};
    static const char *const bad[] = {"",
                                      ":7421",
                                      "evil.example.com",
                                      "evil.example.com:7421",
                                      "127.0.0.1.evil.com",
                                      "[::1",
                                      "[::1]x",
                                      "a b",
                                      "train.example.orgx",
                                      "localhost.evil.com"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(brg_http_host_ok(good[i], "train.example.org", "host.internal"), 1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(brg_http_host_ok(bad[i], "train.example.org", "host.internal"), 0);
    }
    assert_int_equal(brg_http_host_ok(NULL, NULL, NULL), 0);
    char longest[600];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(brg_http_host_ok(longest, NULL, NULL), 0);
}

static void guard_origin__only_our_own_page(void **state) {
    (void)state;
    assert_int_equal(brg_http_origin_ok(NULL, "127.0.0.1:7421"), 1);
    assert_int_equal(brg_http_origin_ok("http://127.0.0.1:7421", "127.0.0.1:7421"), 1);
    assert_int_equal(brg_http_origin_ok("https://train.example.org", "train.example.org"), 1);
    assert_int_equal(brg_http_origin_ok("http://127.0.0.1:8080", "127.0.0.1:7421"), 0);
    assert_int_equal(brg_http_origin_ok("http://evil.example.com", "127.0.0.1:7421"), 0);
    assert_int_equal(brg_http_origin_ok("null", "127.0.0.1:7421"), 0);
    assert_int_equal(brg_http_origin_ok("http://127.0.0.1:7421", NULL), 0);
}

static void guard_bearer__only_the_whole_secret(void **state) {
    (void)state;
    assert_int_equal(brg_http_bearer_ok("Bearer " HEX64, HEX64), 1);
    assert_int_equal(brg_http_bearer_ok("bearer " HEX64, HEX64), 1);
    assert_int_equal(brg_http_bearer_ok(NULL, HEX64), 0);
    assert_int_equal(brg_http_bearer_ok("Bearer ", HEX64), 0);
    assert_int_equal(brg_http_bearer_ok(HEX64, HEX64), 0);
    assert_int_equal(brg_http_bearer_ok("Bearer " HEX64 "0", HEX64), 0);
    char other[] = "Bearer " HEX64;
    other[sizeof other - 2] ^= 1;
    assert_int_equal(brg_http_bearer_ok(other, HEX64), 0);
}

static void guard_bucket__lets_a_burst_and_then_the_rate_through(void **state) {
    struct brg_http_bucket b = {.tokens = 0};
    uint32_t passed = 0;
    (void)state;
    for (uint32_t i = 0; i < 100; i++) passed += (uint32_t)brg_http_bucket_take(&b, 1000, 5, 10);
    assert_int_equal(passed, 10);
    passed = 0;
    for (uint64_t ms = 1; ms <= 2000; ms++) {
        passed += (uint32_t)brg_http_bucket_take(&b, 1000 + ms * BRG_NS_PER_MS, 5, 10);
    }
    assert_in_range(passed, 9, 10);
}

static void api_routes__changes_need_their_own_kind(void **state) {
    static const char *const changes[] = {"pause", "resume", "stop", "drain", "revoke"};
    struct brg_api_call call;
    char path[64];
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        (void)snprintf(path, sizeof path, "/api/v1/%s", changes[i]);
        brg_api_route(path, &call);
        assert_int_equal(call.kind, BRG_API_CHANGE);
    }
    brg_api_route("/api/v1/curve", &call);
    assert_int_equal(call.kind, BRG_API_READ);
    brg_api_route("/api/v1/token.create", &call);
    assert_int_equal(call.kind, BRG_API_NONE);
    brg_api_route("/metrics/", &call);
    assert_int_equal(call.kind, BRG_API_NONE);
}

static int give(const char *path, const char *name, const char *value, cJSON *request,
                struct brg_why *why) {
    struct brg_api_call call;
    brg_api_route(path, &call);
    return brg_api_argument(&call, name, value, request, why);
}

static void api_arguments__wrong_ones_are_named(void **state) {
    struct brg_why why;
    cJSON *r = cJSON_CreateObject();
    (void)state;
    assert_int_equal(give("/api/v1/curve", "run", "3", r, &why), BRG_OK);
    assert_int_equal(give("/api/v1/curve", "run", "3", r, &why), BRG_EINVAL);
    assert_non_null(strstr(why.text, "twice"));
    assert_int_equal(give("/api/v1/curve", "from", "-1", r, &why), BRG_EINVAL);
    assert_int_equal(give("/api/v1/curve", "from", "1e9", r, &why), BRG_EINVAL);
    assert_int_equal(give("/api/v1/curve", "from", "", r, &why), BRG_EINVAL);
    assert_int_equal(give("/api/v1/curve", "limit", "1001", r, &why), BRG_EINVAL);
    assert_int_equal(give("/api/v1/curve", "limit", "99999999999999999999999", r, &why),
                     BRG_EINVAL);
    assert_int_equal(give("/api/v1/curve", "limit", "1000", r, &why), BRG_OK);
    assert_int_equal(give("/api/v1/curve", "format", "xml", r, &why), BRG_EINVAL);
    assert_int_equal(give("/api/v1/events", "run", "3", r, &why), BRG_EINVAL);
    cJSON_Delete(r);
}

static void api_csv__holds_the_look_at_held_out_data_beside_its_step(void **state) {
    static const char json[] =
        "{\"points\":[{\"step\":1,\"model\":0,\"model_step\":1,\"loss\":2.5,\"lr\":0.1,\"grad_"
        "norm\":1,"
        "\"seconds\":0.5,\"waited\":false},{\"step\":2,\"model\":0,\"model_step\":2,\"loss\":null,"
        "\"lr\":0.1,\"grad_norm\":1,\"seconds\":0.25,\"waited\":true}],"
        "\"held_out\":[{\"step\":2,\"model\":0,\"loss\":2,\"accuracy\":0.75}]}";
    char *text = NULL;
    size_t size = 0;
    (void)state;
    assert_int_equal(brg_api_curve_csv(json, &text, &size), BRG_OK);
    assert_string_equal(text,
                        "step,loss,held_out_loss,held_out_accuracy,lr,grad_norm,seconds,model,"
                        "model_step,waited\n1,2.5,,,0.1,1,0.5,0,1,0\n2,,2,0.75,0.1,1,0.25,0,2,1\n");
    assert_int_equal(size, strlen(text));
    free(text);
    assert_int_equal(brg_api_curve_csv("{\"error\":\"x\"}", &text, &size), BRG_EINVAL);
    assert_int_equal(brg_api_curve_csv("garbage", &text, &size), BRG_EINVAL);
}

static void notify_socket__gets_the_state_as_one_datagram(void **state) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char got[64] = {0}, name[64];
    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    assert_int_equal(brg_notify("READY=1"), 0);
    (void)snprintf(name, sizeof name, "@brigade-test-%ld", (long)getpid());
    const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    memcpy(at.sun_path + 1, name + 1, strlen(name) - 1);
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, size), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    assert_int_equal(brg_notify("READY=1"), 1);
    assert_int_equal(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");

    assert_int_equal(setenv("WATCHDOG_USEC", "3000000", 1), 0);
    assert_int_equal(brg_notify_watchdog_ns(), UINT64_C(1500000000));
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* of another process */
    assert_int_equal(brg_notify_watchdog_ns(), 0);
    (void)unsetenv("WATCHDOG_PID");
    assert_int_equal(setenv("WATCHDOG_USEC", "soon", 1), 0);
    assert_int_equal(brg_notify_watchdog_ns(), 0);
    (void)unsetenv("NOTIFY_SOCKET");
    (void)close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guard_host__addresses_and_names_nobody_else_can_own),
        cmocka_unit_test(guard_origin__only_our_own_page),
        cmocka_unit_test(guard_bearer__only_the_whole_secret),
        cmocka_unit_test(guard_bucket__lets_a_burst_and_then_the_rate_through),
        cmocka_unit_test(api_routes__changes_need_their_own_kind),
        cmocka_unit_test(api_arguments__wrong_ones_are_named),
        cmocka_unit_test(api_csv__holds_the_look_at_held_out_data_beside_its_step),
        cmocka_unit_test(notify_socket__gets_the_state_as_one_datagram),
    };
    return cmocka_run_group_tests_name("http_guard", tests, NULL, NULL) != 0;
}
