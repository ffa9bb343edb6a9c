#include "coordinator/shell/api.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define STEP_MAX (UINT64_C(1) << 40)
#define POINTS_MAX 1000u /* of one answer: the reactor reads them in one turn */
#define EVENTS_MAX 1000u

static const struct route {
    const char *path;
    uint32_t kind;
    const char *verb, *part;
} routes[] = {
    {"/healthz", BRG_API_HEALTH, NULL, NULL},
    {"/readyz", BRG_API_READY, NULL, NULL},
    {"/metrics", BRG_API_METRICS, NULL, NULL},
    {"/api/v1/status", BRG_API_STATUS, NULL, NULL},
    {"/api/v1/runs", BRG_API_STATUS, NULL, "runs"},
    {"/api/v1/workers", BRG_API_STATUS, NULL, "workers"},
    {"/api/v1/stream", BRG_API_STREAM, NULL, NULL},
    {"/api/v1/events", BRG_API_READ, "events", NULL},
    {"/api/v1/curve", BRG_API_READ, "curve", NULL},
    {"/api/v1/pause", BRG_API_CHANGE, "pause", NULL},
    {"/api/v1/resume", BRG_API_CHANGE, "resume", NULL},
    {"/api/v1/stop", BRG_API_CHANGE, "stop", NULL},
    {"/api/v1/drain", BRG_API_CHANGE, "workers.drain", NULL},
    {"/api/v1/revoke", BRG_API_CHANGE, "workers.revoke", NULL},
};

void brg_api_route(const char *path, struct brg_api_call *out) {
    *out = (struct brg_api_call){.kind = BRG_API_NONE};
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(path, routes[i].path) != 0) continue;
        out->kind = routes[i].kind;
        out->verb = routes[i].verb;
        out->part = routes[i].part;
    }
}

static int number(const char *name, const char *value, uint64_t max, cJSON *request,
                  struct brg_why *why) {
    char *end = NULL;
    errno = 0;
    const unsigned long long n = strtoull(value, &end, 10);
    const int is_digits = value[0] >= '0' && value[0] <= '9';
    if (!is_digits || *end != '\0' || errno != 0 || n > max) {
        return brg_why_set(why, BRG_EINVAL, "%s is a whole number up to %" PRIu64, name, max);
    }
    (void)cJSON_AddNumberToObject(request, name, (double)n);
    return BRG_OK;
}

/* A run's number or its name. */
static int run_of(const char *value, cJSON *request, struct brg_why *why) {
    if (value[0] == '\0' || strlen(value) > 64) {
        return brg_why_set(why, BRG_EINVAL, "run is a run's number or its name");
    }
    if (strspn(value, "0123456789") == strlen(value)) {
        (void)cJSON_AddNumberToObject(request, "run", strtod(value, NULL));
    } else {
        (void)cJSON_AddStringToObject(request, "run", value);
    }
    return BRG_OK;
}

int brg_api_argument(struct brg_api_call *call, const char *name, const char *value, cJSON *request,
                     struct brg_why *why) {
    const int is_curve = call->verb != NULL && strcmp(call->verb, "curve") == 0;
    const int is_events = call->verb != NULL && strcmp(call->verb, "events") == 0;
    if (cJSON_HasObjectItem(request, name)) {
        return brg_why_set(why, BRG_EINVAL, "%.32s is given twice", name);
    }
    if (is_curve && strcmp(name, "run") == 0) return run_of(value, request, why);
    if (is_curve && strcmp(name, "from") == 0) return number(name, value, STEP_MAX, request, why);
    if (is_curve && strcmp(name, "limit") == 0) {
        return number(name, value, POINTS_MAX, request, why);
    }
    if (is_curve && strcmp(name, "format") == 0) {
        call->is_csv = strcmp(value, "csv") == 0;
        if (call->is_csv || strcmp(value, "json") == 0) return BRG_OK;
        return brg_why_set(why, BRG_EINVAL, "format is json or csv");
    }
    if (is_events && strcmp(name, "after") == 0) return number(name, value, STEP_MAX, request, why);
    if (is_events && strcmp(name, "limit") == 0) {
        return number(name, value, EVENTS_MAX, request, why);
    }
    return brg_why_set(why, BRG_EINVAL, "there is no argument %.32s here", name);
}

/* ---- CSV ---- */

static void put(FILE *out, const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (cJSON_IsNumber(item) && isfinite(item->valuedouble)) {
        (void)fprintf(out, "%.9g", item->valuedouble);
    } else if (cJSON_IsBool(item)) {
        (void)fputc(cJSON_IsTrue(item) ? '1' : '0', out);
    }
}

static double step_of(const cJSON *item) {
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, "step"));
}

int brg_api_curve_csv(const char *json, char **text, size_t *size_bytes) {
    static const char *const columns[] = {"lr",    "grad_norm",  "seconds",
                                          "model", "model_step", "waited"};
    cJSON *all = cJSON_Parse(json);
    const cJSON *points = cJSON_GetObjectItemCaseSensitive(all, "points"), *p = NULL;
    const cJSON *held_out = cJSON_GetObjectItemCaseSensitive(all, "held_out");
    *text = NULL;
    FILE *out = cJSON_IsArray(points) ? open_memstream(text, size_bytes) : NULL;
    if (out == NULL) {
        cJSON_Delete(all);
        return cJSON_IsArray(points) ? BRG_ENOMEM : BRG_EINVAL;
    }
    const cJSON *held = held_out != NULL ? held_out->child : NULL;
    (void)fputs("step,loss,held_out_loss,held_out_accuracy,lr,grad_norm,seconds,model,model_step,"
                "waited\n",
                out);
    cJSON_ArrayForEach(p, points) { /* both lists rise with the step */
        while (held != NULL && step_of(held) < step_of(p)) held = held->next;
        const cJSON *here = held != NULL && !(step_of(held) > step_of(p)) ? held : NULL;
        (void)fprintf(out, "%.0f,", step_of(p));
        put(out, p, "loss");
        (void)fputc(',', out);
        put(out, here, "loss");
        (void)fputc(',', out);
        put(out, here, "accuracy");
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
            (void)fputc(',', out);
            put(out, p, columns[i]);
        }
        (void)fputc('\n', out);
    }
    cJSON_Delete(all);
    if (fclose(out) == 0) return BRG_OK;
    free(*text);
    *text = NULL;
    return BRG_ENOMEM;
}
