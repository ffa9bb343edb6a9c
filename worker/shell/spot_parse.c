#include "worker/shell/spot_parse.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Useful time after a notice, where it names none or a time that cannot be: less than each cloud
 * documents (AWS two minutes, GCP and Azure thirty seconds), for the look that was too early. */
#define AWS_LEAD_S 115
#define SHORT_LEAD_S 27
#define HOST_EVENT_LEAD_S 55 /* GCP, before it stops a machine for maintenance */
#define FAR_S INT64_C(86400)
#define EVENTS_MAX 100
#define TEXT_BYTES 128u

/* ---- times ---- */

static int is_done(const char *rest) {
    while (*rest == ' ' || *rest == '\r' || *rest == '\n') rest++;
    return *rest == '\0';
}

static int rfc_3339(const char *text, int64_t *out_s) {
    struct tm t;
    int hours = 0, minutes = 0, used = 0;
    memset(&t, 0, sizeof t);
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    if (rest == NULL) return BRG_EINVAL;
    if (*rest == '.') rest += 1 + strspn(rest + 1, "0123456789");
    int64_t offset_s = 0;
    if (*rest == 'Z' || *rest == 'z') {
        rest++;
    } else if (*rest == '+' || *rest == '-') {
        if (sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5)
            return BRG_EINVAL;
        offset_s = (int64_t)(hours * 60 + minutes) * (*rest == '-' ? -60 : 60);
        rest += 1 + used;
    } else {
        return BRG_EINVAL; /* without a zone nobody knows when that is */
    }
    if (!is_done(rest)) return BRG_EINVAL;
    *out_s = (int64_t)timegm(&t) - offset_s;
    return BRG_OK;
}

static int rfc_1123(const char *text, int64_t *out_s) {
    struct tm t;
    memset(&t, 0, sizeof t);
    const char *rest = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &t);
    if (rest == NULL || !is_done(rest)) return BRG_EINVAL;
    *out_s = (int64_t)timegm(&t);
    return BRG_OK;
}

int brg_spot_parse_time(const char *text, int64_t *out_s) {
    return rfc_3339(text, out_s) == BRG_OK ? BRG_OK : rfc_1123(text, out_s);
}

/* The monotonic time of a cloud's time. One that has passed, or is absurdly far off, says that a
 * clock is wrong and not that there is no time, or all the time of the world: the documented lead
 * counts then. */
static uint64_t deadline_of(int64_t at_s, int64_t lead_s, int64_t most_s,
                            const struct brg_spot_clocks *clocks) {
    int64_t left_s = at_s - clocks->wall_s;
    if (left_s <= 0 || left_s > FAR_S) left_s = lead_s;
    if (left_s > most_s) left_s = most_s;
    return clocks->now_ns + (uint64_t)left_s * BRG_NS_PER_S;
}

static uint64_t after(int64_t lead_s, const struct brg_spot_clocks *clocks) {
    return clocks->now_ns + (uint64_t)lead_s * BRG_NS_PER_S;
}

BRG_PRINTF(2, 3) static void reason(struct brg_spot_seen *out, const char *format, ...);

static void reason(struct brg_spot_seen *out, const char *format, ...) {
    va_list list;
    va_start(list, format);
    (void)vsnprintf(out->reason, sizeof out->reason, format, list);
    va_end(list);
    /* It goes into logs and to the coordinator, and parts of it come from outside. */
    for (char *c = out->reason; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~') *c = '?';
    }
}

/* ---- AWS ---- */

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

int brg_spot_parse_aws(const char *body, const struct brg_spot_clocks *clocks,
                       struct brg_spot_seen *out, struct brg_why *why) {
    int rc = BRG_OK;
    cJSON *root = cJSON_Parse(body);
    const char *action = text_of(root, "action"), *at = text_of(root, "time");
    int64_t at_s = 0;

    memset(out, 0, sizeof *out);
    if (action == NULL || (strcmp(action, "terminate") != 0 && strcmp(action, "stop") != 0 &&
                           strcmp(action, "hibernate") != 0)) {
        rc = brg_why_set(why, BRG_EPROTO, "its interruption notice names no action that is known");
        goto out;
    }
    out->is_leave = out->is_final = 1;
    if (strcmp(action, "hibernate") == 0) { /* it begins as soon as it is announced */
        out->deadline_ns = clocks->now_ns;
    } else if (at != NULL && brg_spot_parse_time(at, &at_s) == BRG_OK) {
        out->deadline_ns = deadline_of(at_s, AWS_LEAD_S, AWS_LEAD_S, clocks);
    } else {
        out->deadline_ns = after(AWS_LEAD_S, clocks);
    }
    reason(out, "AWS will %s this instance", action);
out:
    cJSON_Delete(root);
    return rc;
}

int brg_spot_parse_aws_risk(const char *body, struct brg_spot_seen *out, struct brg_why *why) {
    cJSON *root = cJSON_Parse(body);
    const int is_good = text_of(root, "noticeTime") != NULL;
    cJSON_Delete(root);
    memset(out, 0, sizeof *out);
    if (!is_good)
        return brg_why_set(why, BRG_EPROTO, "its rebalance recommendation has no noticeTime");
    out->is_risk = 1;
    reason(out, "AWS recommends to move away from this instance");
    return BRG_OK;
}

/* ---- GCP ---- */

/* One word, whatever blanks and line ends stand behind it. */
static int is_word(const char *text, const char *word) {
    const size_t size = strlen(word);
    return strncmp(text, word, size) == 0 && is_done(text + size);
}

int brg_spot_parse_gcp(const char *preempted, const char *maintenance,
                       const struct brg_spot_clocks *clocks, struct brg_spot_seen *out,
                       struct brg_why *why) {
    memset(out, 0, sizeof *out);
    if (preempted != NULL && is_word(preempted, "TRUE")) {
        out->is_leave = out->is_final = 1;
        out->deadline_ns = after(SHORT_LEAD_S, clocks);
        reason(out, "GCP preempts this instance");
        return BRG_OK;
    }
    if (preempted != NULL && !is_word(preempted, "FALSE"))
        return brg_why_set(why, BRG_EPROTO, "instance/preempted is neither TRUE nor FALSE");
    if (maintenance == NULL || is_word(maintenance, "NONE")) return BRG_OK;
    if (is_word(maintenance, "TERMINATE_ON_HOST_MAINTENANCE")) {
        out->is_leave = 1;
        out->deadline_ns = after(HOST_EVENT_LEAD_S, clocks);
        reason(out, "GCP stops this instance for maintenance of its host");
        return BRG_OK;
    }
    if (is_word(maintenance, "MIGRATE_ON_HOST_MAINTENANCE")) {
        out->is_risk = 1;
        reason(out, "GCP is about to move this instance to another host");
        return BRG_OK;
    }
    return brg_why_set(why, BRG_EPROTO, "instance/maintenance-event has a value that is not known");
}

/* ---- Azure ---- */

static int names(const cJSON *resources, const char *own_name) {
    const cJSON *item = NULL;
    if (own_name[0] == '\0') return 1;
    cJSON_ArrayForEach(item, resources) {
        if (cJSON_IsString(item) && strcasecmp(item->valuestring, own_name) == 0) return 1;
    }
    return 0;
}

/* One event as an observation of its own. errors: BRG_EPROTO */
static int azure_event(const cJSON *event, const struct brg_spot_clocks *clocks,
                       struct brg_spot_seen *out) {
    const char *type = text_of(event, "EventType"), *status = text_of(event, "EventStatus");
    const char *not_before = text_of(event, "NotBefore");
    int64_t at_s = 0;

    memset(out, 0, sizeof *out);
    if (type == NULL || status == NULL) return BRG_EPROTO;
    reason(out, "Azure has announced %.40s for this machine", type);
    if (strcmp(type, "Freeze") == 0) { /* it stands still for seconds and goes on */
        out->is_risk = 1;
        return BRG_OK;
    }
    out->is_leave = 1;
    out->is_final = strcmp(status, "Started") == 0;
    out->deadline_ns = after(SHORT_LEAD_S, clocks);
    if (out->is_final || not_before == NULL || not_before[0] == '\0') return BRG_OK;
    if (brg_spot_parse_time(not_before, &at_s) != BRG_OK) return BRG_EPROTO;
    out->deadline_ns = deadline_of(at_s, SHORT_LEAD_S, FAR_S, clocks);
    return BRG_OK;
}

/* What of two observations weighs more: leaving, then the earlier, then a risk. */
static int weighs_more(const struct brg_spot_seen *a, const struct brg_spot_seen *b) {
    if (a->is_leave != b->is_leave) return a->is_leave > b->is_leave;
    if (a->is_leave) return a->deadline_ns < b->deadline_ns;
    return a->is_risk > b->is_risk;
}

int brg_spot_parse_azure(const char *body, const char *own_name,
                         const struct brg_spot_clocks *clocks, struct brg_spot_seen *out,
                         struct brg_why *why) {
    int rc = BRG_OK, count = 0;
    struct brg_spot_seen seen;
    const cJSON *event = NULL;
    cJSON *root = cJSON_Parse(body);
    const cJSON *events = cJSON_GetObjectItemCaseSensitive(root, "Events");

    memset(out, 0, sizeof *out);
    if (!cJSON_IsArray(events)) {
        rc = brg_why_set(why, BRG_EPROTO, "its document of scheduled events has no list Events");
        goto out;
    }
    cJSON_ArrayForEach(event, events) {
        if (++count > EVENTS_MAX) break;
        if (!names(cJSON_GetObjectItemCaseSensitive(event, "Resources"), own_name)) continue;
        if (azure_event(event, clocks, &seen) != BRG_OK) {
            rc =
                brg_why_set(why, BRG_EPROTO, "a scheduled event of this machine is not understood");
            continue; /* another one may be */
        }
        if (weighs_more(&seen, out)) *out = seen;
    }
    if (out->is_leave || out->is_risk) rc = BRG_OK;
out:
    cJSON_Delete(root);
    return rc;
}

/* ---- a file ---- */

/* The value of "key: value" at the start of a line, without quotes; empty: there is none. */
static void value_of(const char *body, const char *key, char *out) {
    const size_t size = strlen(key);
    out[0] = '\0';
    for (const char *line = body; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, size) != 0 || line[size] != ':') continue;
        line += size + 1;
        line += strspn(line, " \t\"'");
        const size_t length = strcspn(line, "\"'\r\n");
        if (length >= TEXT_BYTES) return;
        memcpy(out, line, length);
        out[length] = '\0';
        while (*out != '\0' && out[strlen(out) - 1] == ' ') out[strlen(out) - 1] = '\0';
        return;
    }
}

static void json_values(const cJSON *root, char *action, char *at) {
    static const char *const time_keys[] = {"time", "end_time", "deadline"};
    const char *text = text_of(root, "action");
    if (text != NULL) (void)snprintf(action, TEXT_BYTES, "%s", text);
    for (uint32_t i = 0; i < 3 && at[0] == '\0'; i++) {
        text = text_of(root, time_keys[i]);
        if (text != NULL) (void)snprintf(at, TEXT_BYTES, "%s", text);
    }
}

int brg_spot_parse_file(const char *body, const struct brg_spot_clocks *clocks,
                        struct brg_spot_seen *out, struct brg_why *why) {
    char action[TEXT_BYTES] = "", at[TEXT_BYTES] = "";
    int64_t at_s = 0;
    cJSON *root = cJSON_Parse(body);

    memset(out, 0, sizeof *out);
    if (cJSON_IsObject(root)) {
        json_values(root, action, at);
    } else {
        value_of(body, "action", action);
        value_of(body, "time", at);
        if (at[0] == '\0') value_of(body, "end_time", at);
        if (at[0] == '\0') value_of(body, "deadline", at);
    }
    cJSON_Delete(root);
    if (strcmp(action, "risk") == 0) {
        out->is_risk = 1;
        reason(out, "the notice file says that this machine is at risk");
        return BRG_OK;
    }
    out->is_leave = 1;
    out->deadline_ns = after(SHORT_LEAD_S, clocks);
    reason(out, "the notice file says that this machine goes%s%s", action[0] != '\0' ? ": " : "",
           action);
    if (at[0] == '\0') return BRG_OK;
    if (brg_spot_parse_time(at, &at_s) != BRG_OK) {
        return brg_why_set(why, BRG_EPROTO, "its time is '%.60s'; write it as 2026-01-31T12:00:00Z",
                           at);
    }
    out->deadline_ns = deadline_of(at_s, SHORT_LEAD_S, FAR_S, clocks);
    return BRG_OK;
}
