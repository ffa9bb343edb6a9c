/* What clouds write, as their documents show it, and what is none of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/shell/spot_parse.h"

#include <string.h>

#define S(seconds) ((uint64_t)(seconds)*BRG_NS_PER_S)
#define NOON_S INT64_C(1769860800) /* 2026-01-31T12:00:00Z */

static const struct brg_spot_clocks noon = {.now_ns = S(1000), .wall_s = NOON_S};
static struct brg_spot_seen seen;
static struct brg_why why;

static void time_texts__are_understood_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t at_s; /* 0: refused */
    } cases[] = {
        {"2026-01-31T12:00:00Z", NOON_S},
        {"2026-01-31T12:00:00.250Z", NOON_S},
        {"2026-01-31T14:00:00+02:00", NOON_S},
        {"2026-01-31T06:30:00-05:30", NOON_S},
        {"Sat, 31 Jan 2026 12:00:00 GMT", NOON_S},
        {"Sat, 31 Jan 2026 12:00:00 GMT\r\n", NOON_S},
        {"2026-01-31T12:00:00", 0}, /* whose noon? */
        {"2026-01-31 12:00", 0},
        {"2026-01-31T12:00:00Zand more", 0},
        {"2026-13-31T12:00:00Z", 0},
        {"2026-01-31T12:00:00+2", 0},
        {"soon", 0},
        {"", 0},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t at_s = 0;
        const int rc = brg_spot_parse_time(cases[i].text, &at_s);
        if (rc != (cases[i].at_s != 0 ? BRG_OK : BRG_EINVAL) || at_s != cases[i].at_s)
            fail_msg("'%s': %d, %lld", cases[i].text, rc, (long long)at_s);
    }
}

static void aws_notice__is_final_and_has_its_time(void **state) {
    (void)state;
    const char *body = "{\"action\": \"terminate\", \"time\": \"2026-01-31T12:01:50Z\"}";
    assert_int_equal(brg_spot_parse_aws(body, &noon, &seen, &why), BRG_OK);
    assert_true(seen.is_leave && seen.is_final);
    assert_true(seen.deadline_ns == S(1110));
    assert_string_equal(seen.reason, "AWS will terminate this instance");
    body = "{\"action\": \"hibernate\", \"time\": \"2026-01-31T12:01:50Z\"}";
    assert_int_equal(brg_spot_parse_aws(body, &noon, &seen, &why), BRG_OK);
    assert_true(seen.deadline_ns == S(1000)); /* no lead at all */
}

/* A clock that is wrong must not take away the time there is, nor invent any. */
static void aws_notice_under_a_wrong_clock__has_the_documented_lead(void **state) {
    (void)state;
    static const char *const times[] = {"2026-01-31T11:00:00Z", "2026-01-31T13:00:00Z",
                                        "2036-01-31T13:00:00Z", "1970-01-01T00:00:00Z"};
    for (uint32_t i = 0; i < 4; i++) {
        char body[128];
        (void)snprintf(body, sizeof body, "{\"action\":\"stop\",\"time\":\"%s\"}", times[i]);
        assert_int_equal(brg_spot_parse_aws(body, &noon, &seen, &why), BRG_OK);
        assert_true(seen.deadline_ns == S(1115));
    }
    assert_int_equal(brg_spot_parse_aws("{\"action\":\"stop\"}", &noon, &seen, &why), BRG_OK);
    assert_true(seen.deadline_ns == S(1115));
}

static void aws_garbage__is_no_notice(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "",     "<html>sign in</html>",      "{\"action\":\"dance\"}", "{\"action\":7}", "[]",
        "null", "{\"action\":\"terminate\"",
    };
    for (uint32_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        why.text[0] = '\0';
        assert_int_equal(brg_spot_parse_aws(bodies[i], &noon, &seen, &why), BRG_EPROTO);
        assert_true(why.text[0] != '\0' && !seen.is_leave);
        assert_int_equal(brg_spot_parse_aws_risk(bodies[i], &seen, &why), BRG_EPROTO);
        assert_int_equal(seen.is_risk, 0);
    }
    const char *body = "{\"noticeTime\":\"2026-01-31T12:00:00Z\"}";
    assert_int_equal(brg_spot_parse_aws_risk(body, &seen, &why), BRG_OK);
    assert_true(seen.is_risk && !seen.is_leave);
}

static void gcp_values__are_told_apart(void **state) {
    (void)state;
    assert_int_equal(brg_spot_parse_gcp("FALSE\n", "NONE\n", &noon, &seen, &why), BRG_OK);
    assert_true(!seen.is_leave && !seen.is_risk);
    assert_int_equal(brg_spot_parse_gcp("TRUE", NULL, &noon, &seen, &why), BRG_OK);
    assert_true(seen.is_leave && seen.is_final && seen.deadline_ns == S(1027));
    assert_int_equal(
        brg_spot_parse_gcp("FALSE", "TERMINATE_ON_HOST_MAINTENANCE", &noon, &seen, &why), BRG_OK);
    assert_true(seen.is_leave && !seen.is_final && seen.deadline_ns == S(1055));
    assert_int_equal(brg_spot_parse_gcp(NULL, "MIGRATE_ON_HOST_MAINTENANCE", &noon, &seen, &why),
                     BRG_OK);
    assert_true(seen.is_risk && !seen.is_leave);
    assert_int_equal(brg_spot_parse_gcp("TRUEISH", NULL, &noon, &seen, &why), BRG_EPROTO);
    assert_int_equal(brg_spot_parse_gcp("", NULL, &noon, &seen, &why), BRG_EPROTO);
    assert_int_equal(brg_spot_parse_gcp(NULL, "PERHAPS", &noon, &seen, &why), BRG_EPROTO);
}

#define AZURE_EVENT(type, status, resource, not_before)                                            \
    "{\"EventId\":\"A1\",\"EventType\":\"" type                                                    \
    "\",\"ResourceType\":\"VirtualMachine\",\"Resources\":[\"other_2\",\"" resource                \
    "\"],\"EventStatus\":\"" status "\",\"NotBefore\":\"" not_before                               \
    "\",\"EventSource\":\"Platform\",\"DurationInSeconds\":-1}"
#define AZURE(events) "{\"DocumentIncarnation\":3,\"Events\":[" events "]}"
#define IN_40_S "Sat, 31 Jan 2026 12:00:40 GMT"
#define IN_15_MIN "Sat, 31 Jan 2026 12:15:00 GMT"

static void azure(const char *body, const char *name, int expected) {
    assert_int_equal(brg_spot_parse_azure(body, name, &noon, &seen, &why), expected);
}

static void azure_events__count_for_the_machine_they_name(void **state) {
    (void)state;
    azure(AZURE(""), "vm_1", BRG_OK);
    assert_true(!seen.is_leave && !seen.is_risk);
    azure(AZURE(AZURE_EVENT("Preempt", "Scheduled", "vm_1", IN_40_S)), "vm_1", BRG_OK);
    assert_true(seen.is_leave && !seen.is_final && seen.deadline_ns == S(1040));
    azure(AZURE(AZURE_EVENT("Preempt", "Scheduled", "vm_1", IN_40_S)), "vm_10", BRG_OK);
    assert_true(!seen.is_leave && !seen.is_risk);
    /* Who does not know its own name obeys every notice. */
    azure(AZURE(AZURE_EVENT("Preempt", "Scheduled", "vm_1", IN_40_S)), "", BRG_OK);
    assert_true(seen.is_leave);
    azure(AZURE(AZURE_EVENT("Reboot", "Started", "VM_1", "")), "vm_1", BRG_OK);
    assert_true(seen.is_leave && seen.is_final && seen.deadline_ns == S(1027));
    azure(AZURE(AZURE_EVENT("Freeze", "Scheduled", "vm_1", IN_15_MIN)), "vm_1", BRG_OK);
    assert_true(seen.is_risk && !seen.is_leave);
}

static void azure_two_events__the_earlier_counts(void **state) {
    (void)state;
    azure(AZURE(AZURE_EVENT("Freeze", "Scheduled", "vm_1", IN_40_S) "," AZURE_EVENT(
              "Redeploy", "Scheduled", "vm_1", IN_15_MIN) "," AZURE_EVENT("Preempt", "Scheduled",
                                                                          "vm_1", IN_40_S)),
          "vm_1", BRG_OK);
    assert_true(seen.is_leave && seen.deadline_ns == S(1040));
    /* One that is not understood does not hide one that is. */
    azure(AZURE("{\"EventType\":3,\"Resources\":[\"vm_1\"]}," AZURE_EVENT("Preempt", "Scheduled",
                                                                          "vm_1", IN_40_S)),
          "vm_1", BRG_OK);
    assert_true(seen.is_leave);
}

static void azure_garbage__is_no_notice(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "", "[]", "{}", "{\"Events\":{}}", "<html></html>", AZURE("{\"Resources\":[\"vm_1\"]}")};
    for (uint32_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        azure(bodies[i], "vm_1", BRG_EPROTO);
        assert_true(!seen.is_leave && !seen.is_risk);
    }
}

static void file_contents__are_understood(void **state) {
    (void)state;
    assert_int_equal(brg_spot_parse_file("", &noon, &seen, &why), BRG_OK);
    assert_true(seen.is_leave && !seen.is_final && seen.deadline_ns == S(1027));
    assert_int_equal(brg_spot_parse_file("instance_status: 'STATUS_PREEMPTING'\n"
                                         "end_time: \"2026-01-31T12:05:00Z\"\n",
                                         &noon, &seen, &why),
                     BRG_OK);
    assert_true(seen.is_leave && seen.deadline_ns == S(1300));
    assert_int_equal(brg_spot_parse_file("{\"action\":\"stop\",\"time\":\"2026-01-31T12:00:30Z\"}",
                                         &noon, &seen, &why),
                     BRG_OK);
    assert_true(seen.is_leave && seen.deadline_ns == S(1030));
    assert_int_equal(brg_spot_parse_file("action: risk\n", &noon, &seen, &why), BRG_OK);
    assert_true(seen.is_risk && !seen.is_leave);
    assert_int_equal(brg_spot_parse_file("time: tomorrow\n", &noon, &seen, &why), BRG_EPROTO);
    assert_non_null(strstr(why.text, "tomorrow"));
    assert_int_equal(brg_spot_parse_file("action: go\x1b[2Jaway\n", &noon, &seen, &why), BRG_OK);
    assert_null(strchr(seen.reason, '\x1b'));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_texts__are_understood_or_refused),
        cmocka_unit_test(aws_notice__is_final_and_has_its_time),
        cmocka_unit_test(aws_notice_under_a_wrong_clock__has_the_documented_lead),
        cmocka_unit_test(aws_garbage__is_no_notice),
        cmocka_unit_test(gcp_values__are_told_apart),
        cmocka_unit_test(azure_events__count_for_the_machine_they_name),
        cmocka_unit_test(azure_two_events__the_earlier_counts),
        cmocka_unit_test(azure_garbage__is_no_notice),
        cmocka_unit_test(file_contents__are_understood),
    };
    return cmocka_run_group_tests_name("spot_parse", tests, NULL, NULL) != 0;
}
