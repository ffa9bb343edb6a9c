#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/shell/line.h"
#include "coordinator/shell/metrics.h"
#include "coordinator/shell/service_private.h"

static char *text_of(const cJSON *status, const struct brg_metrics *m) {
    const struct brg_metrics_http http = {.snapshot_age_s = 0.5};
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(brg_metrics_text(status, m, &http, &text, &size), BRG_OK);
    assert_int_equal(strlen(text), size);
    return text;
}

static uint32_t count_of(const char *text, const char *word) {
    uint32_t count = 0;
    for (const char *p = strstr(text, word); p != NULL; p = strstr(p + 1, word)) count++;
    return count;
}

static void metrics_nothing_known__the_program_is_named(void **state) {
    char *text = text_of(NULL, NULL);
    (void)state;
    assert_non_null(strstr(text, "brigade_build_info{version=\""));
    assert_null(strstr(text, "brigade_run_open"));
    free(text);
}

static void metrics_status__becomes_figures(void **state) {
    cJSON *status = cJSON_Parse(
        "{\"epoch\":3,\"uptime_s\":12.5,\"runs\":[{\"state\":\"active\"},{\"state\":\"failed\"}],"
        "\"open\":{\"run\":2,\"name\":\"a\\\"b\\\\c\\nd\",\"code\":\"frc "
        "s=1\",\"step\":7,\"steps\":9,"
        "\"loss\":null,\"models\":[{\"model\":0,\"loss\":1.5},{\"model\":1,\"loss\":2.5}]},"
        "\"workers\":[{\"worker\":\"w\",\"key\":\"0123456789\",\"state\":\"active\",\"chunk_s\":0."
        "25,"
        "\"tasks_done\":4}]}");
    const struct brg_metrics m = {.commit_age_s = 2, .events = {[3] = 5}};
    char *text = text_of(status, &m);
    (void)state;
    assert_non_null(strstr(text, "\nbrigade_coordinator_epoch 3\n"));
    assert_non_null(strstr(text, "\nbrigade_runs{state=\"failed\"} 1\n"));
    assert_non_null(strstr(text, "\nbrigade_workers{state=\"active\"} 1\n"));
    assert_non_null(
        strstr(text, "name=\"a\\\"b\\\\c\\nd\"")); /* what would end the label is escaped */
    assert_non_null(strstr(text, "\nbrigade_run_loss NaN\n"));
    assert_non_null(strstr(text, "\nbrigade_model_loss{model=\"1\"} 2.5\n"));
    assert_non_null(
        strstr(text, "brigade_worker_chunk_seconds{worker=\"w\",key=\"01234567\"} 0.25\n"));
    assert_non_null(strstr(text, "\nbrigade_events_total{kind=\"lost\"} 5\n"));
    free(text);
    cJSON_Delete(status);
}

static void metrics_histogram__is_cumulative_and_complete(void **state) {
    struct brg_metrics m = {.commit_age_s = NAN};
    (void)state;
    brg_metrics_step(&m, 0.001);
    brg_metrics_step(&m, 0.2);
    brg_metrics_step(&m, 1e9);
    brg_metrics_step(&m, NAN); /* not a time */
    char *text = text_of(NULL, &m);
    assert_non_null(strstr(text, "_bucket{le=\"0.001\"} 1\n"));
    assert_non_null(strstr(text, "_bucket{le=\"0.1\"} 1\n"));
    assert_non_null(strstr(text, "_bucket{le=\"0.25\"} 2\n"));
    assert_non_null(strstr(text, "_bucket{le=\"300\"} 2\n"));
    assert_non_null(strstr(text, "_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "_duration_seconds_count 3\n"));
    free(text);
}

static void metrics_many_workers__series_are_bounded(void **state) {
    cJSON *status = cJSON_CreateObject(), *workers = cJSON_AddArrayToObject(status, "workers");
    (void)state;
    for (uint32_t i = 0; i < 2000; i++) {
        cJSON *w = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(w, "worker", "same-name");
        (void)cJSON_AddStringToObject(w, "state", "active");
        (void)cJSON_AddItemToArray(workers, w);
    }
    char *text = text_of(status, NULL);
    assert_int_equal(count_of(text, "\nbrigade_worker_chunk_seconds{"), BRG_METRICS_WORKERS_MAX);
    assert_non_null(strstr(text, "\nbrigade_worker_series_omitted 1872\n"));
    free(text);
    cJSON_Delete(status);
}

static void metrics_kinds__all_notes_have_a_name(void **state) {
    (void)state;
    for (uint32_t k = BRG_NOTE_ENROLLED; k <= BRG_NOTE_CHECKPOINT; k++) {
        assert_true(brg_metrics_kind(k)[0] != '\0');
    }
    assert_string_equal(brg_metrics_kind(BRG_EVENT_CODE), "code");
    assert_string_equal(brg_metrics_kind(BRG_EVENT_RECOVERED), "recovered");
    assert_string_equal(brg_metrics_kind(BRG_EVENT_LINE), "line");
    assert_string_equal(brg_metrics_kind(127), "");
}

static void metrics_of_a_pipeline__have_its_stages(void **state) {
    (void)state;
    const struct brg_metrics m = {.commit_age_s = 2, .events = {[BRG_EVENT_RECOVERED] = 3}};
    cJSON *status = cJSON_Parse(
        "{\"open\":{\"run\":1,\"line\":{\"generation\":4,\"committed\":30,\"checkpoint\":20,"
        "\"recoveries\":{\"shadow\":2,\"checkpoint\":0},\"stages\":["
        "{\"stage\":0,\"holders\":[{\"worker\":\"a\"}],\"compute_s\":0.5,\"wait_s\":0.25,"
        "\"bytes_per_token\":512,\"shadow\":{\"worker\":\"b\",\"version\":24},\"parity\":null},"
        "{\"stage\":1,\"holders\":[],\"compute_s\":0,\"wait_s\":0,\"bytes_per_token\":0,"
        "\"shadow\":null,\"parity\":{\"worker\":\"a\",\"version\":20}}]}}}");
    assert_non_null(status);
    char *text = text_of(status, &m);
    assert_non_null(strstr(text, "\nbrigade_line_generation 4\n"));
    assert_non_null(strstr(text, "\nbrigade_recoveries_total{rung=\"shadow\"} 2\n"));
    assert_non_null(strstr(text, "\nbrigade_recoveries_total{rung=\"checkpoint\"} 0\n"));
    assert_non_null(strstr(text, "\nbrigade_stage_holders{stage=\"1\"} 0\n"));
    assert_non_null(strstr(text, "\nbrigade_stage_compute_seconds{stage=\"0\"} 0.5\n"));
    assert_non_null(strstr(text, "\nbrigade_stage_sent_bytes_per_token{stage=\"0\"} 512\n"));
    assert_non_null(strstr(text, "\nbrigade_stage_shadow_age_steps{stage=\"0\"} 6\n"));
    assert_non_null(strstr(text, "\nbrigade_stage_shadow_age_steps{stage=\"1\"} NaN\n"));
    assert_non_null(strstr(text, "\nbrigade_stage_parity_age_steps{stage=\"1\"} 10\n"));
    assert_non_null(strstr(text, "brigade_events_total{kind=\"recovered\"} 3\n"));
    free(text);
    cJSON_Delete(status);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_nothing_known__the_program_is_named),
        cmocka_unit_test(metrics_status__becomes_figures),
        cmocka_unit_test(metrics_histogram__is_cumulative_and_complete),
        cmocka_unit_test(metrics_many_workers__series_are_bounded),
        cmocka_unit_test(metrics_of_a_pipeline__have_its_stages),
        cmocka_unit_test(metrics_kinds__all_notes_have_a_name),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL) != 0;
}
