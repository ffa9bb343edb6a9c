#include "worker/shell/spot_source.h"

#include "base/file.h"
#include "worker/shell/spot_parse.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINK_LOCAL_URL "http://169.254.169.254"
#define AWS_PAUSE_NS (5 * BRG_NS_PER_S) /* as AWS advises */
#define GCP_PAUSE_NS (1 * BRG_NS_PER_S)
#define GCP_HANG_S 5u /* the answer comes earlier where the value changes */
#define AZURE_PAUSE_NS (1 * BRG_NS_PER_S)
#define FILE_PAUSE_NS (BRG_NS_PER_S / 2)
#define TIMEOUT_MS 2000u
#define PROBE_TIMEOUT_MS 1000u
/* The first call switches scheduled events on, which may take two minutes. */
#define AZURE_FIRST_TIMEOUT_MS 130000u
#define AZURE_TIMEOUT_MS 5000u
#define AWS_TOKEN_TTL_S 21600u
#define AWS_TOKEN_SPARE_NS (15 * BRG_NS_PER_S)
#define FILE_BYTES_MAX 65536u

#define AWS_TOKEN "/latest/api/token"
#define AWS_ACTION "/latest/meta-data/spot/instance-action"
#define AWS_RISK "/latest/meta-data/events/recommendations/rebalance"
#define GCP_PREEMPTED "/computeMetadata/v1/instance/preempted"
#define GCP_MAINTENANCE "/computeMetadata/v1/instance/maintenance-event"
#define AZURE_NAME "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
#define AZURE_EVENTS "/metadata/scheduledevents?api-version=2020-07-01"

static uint64_t now_ns(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    BRG_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * BRG_NS_PER_S + (uint64_t)t.tv_nsec;
}

static struct brg_spot_clocks clocks_of(const struct brg_spot_source *s) {
    struct brg_spot_clocks clocks = {.now_ns = now_ns(), .wall_s = s->answer.date_s};
    if (s->kind == BRG_SPOT_KIND_FILE || clocks.wall_s == 0) clocks.wall_s = (int64_t)time(NULL);
    return clocks;
}

void brg_spot_source_init(struct brg_spot_source *s, const struct brg_spot_config *config,
                          struct brg_spot_http *http) {
    memset(s, 0, sizeof *s);
    s->kind = config->kind;
    s->http = http;
    s->url = config->url != NULL ? config->url : LINK_LOCAL_URL;
    s->path = config->path;
    s->pause_ns = AZURE_PAUSE_NS;
}

/* One request below the service's URL, with the headers that this cloud wants. */
static int ask(struct brg_spot_source *s, const char *path, const char *header, uint32_t timeout_ms,
               struct brg_why *why) {
    char url[2 * BRG_SPOT_URL_BYTES];
    (void)snprintf(url, sizeof url, "%s%s", s->url, path);
    const struct brg_spot_request request = {
        .url = url,
        .headers = {header != NULL && *header != '\0' ? header : NULL, NULL},
        .timeout_ms = timeout_ms};
    return brg_spot_http_ask(s->http, &request, &s->answer, why);
}

static int odd_status(const struct brg_spot_source *s, const char *path, struct brg_why *why) {
    return brg_why_set(why, BRG_EPROTO, "%s%s answers with the status %u", s->url, path,
                       s->answer.status);
}

/* ---- AWS ---- */

/* A session token, which version 2 of the service wants with each request. */
static int aws_token(struct brg_spot_source *s, uint32_t timeout_ms, struct brg_why *why) {
    char url[2 * BRG_SPOT_URL_BYTES], ttl[80];
    (void)snprintf(url, sizeof url, "%s" AWS_TOKEN, s->url);
    (void)snprintf(ttl, sizeof ttl, "X-aws-ec2-metadata-token-ttl-seconds: %u", AWS_TOKEN_TTL_S);
    const struct brg_spot_request request = {
        .url = url, .headers = {ttl, NULL}, .is_put = 1, .timeout_ms = timeout_ms};
    s->token[0] = '\0';
    int rc = brg_spot_http_ask(s->http, &request, &s->answer, why);
    if (rc == BRG_ETIMEDOUT) {
        return brg_why_set(why, rc,
                           "%s does not answer; in a container, let the instance have a hop limit "
                           "of 2, or use the host's network",
                           url);
    }
    if (rc != BRG_OK) return rc;
    if (s->answer.status != 200) return odd_status(s, AWS_TOKEN, why);
    const size_t size =
        strspn(s->answer.body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                               "0123456789+/=_-.");
    if (size == 0 || size > 200 || s->answer.body[size] != '\0')
        return brg_why_set(why, BRG_EPROTO, "%s answers with something that is no token", url);
    (void)snprintf(s->token, sizeof s->token, "X-aws-ec2-metadata-token: %.*s", (int)size,
                   s->answer.body);
    s->token_until_ns = now_ns() + AWS_TOKEN_TTL_S * BRG_NS_PER_S - AWS_TOKEN_SPARE_NS;
    return BRG_OK;
}

/* With a token that holds; one that was refused is replaced once. */
static int aws_get(struct brg_spot_source *s, const char *path, struct brg_why *why) {
    int rc = BRG_OK;
    for (uint32_t attempt = 0; attempt < 2; attempt++) {
        if (s->token[0] == '\0' || now_ns() >= s->token_until_ns)
            rc = aws_token(s, TIMEOUT_MS, why);
        if (rc == BRG_OK) rc = ask(s, path, s->token, TIMEOUT_MS, why);
        if (rc != BRG_OK || s->answer.status != 401) break;
        s->token[0] = '\0';
    }
    if (rc != BRG_OK) return rc;
    if (s->answer.status == 401)
        return brg_why_set(why, BRG_EPERM, "%s%s refuses the token it has just given out", s->url,
                           path);
    if (s->answer.status != 200 && s->answer.status != 404) return odd_status(s, path, why);
    return BRG_OK;
}

static int aws_look(struct brg_spot_source *s, struct brg_spot_seen *out, struct brg_why *why) {
    s->pause_ns = AWS_PAUSE_NS;
    int rc = aws_get(s, AWS_ACTION, why);
    if (rc != BRG_OK) return rc;
    if (s->answer.status == 200) {
        const struct brg_spot_clocks clocks = clocks_of(s);
        return brg_spot_parse_aws(s->answer.body, &clocks, out, why);
    }
    rc = aws_get(s, AWS_RISK, why);
    if (rc != BRG_OK || s->answer.status == 404) return rc;
    return brg_spot_parse_aws_risk(s->answer.body, out, why);
}

/* ---- GCP ---- */

static int gcp_get(struct brg_spot_source *s, const char *path, uint32_t timeout_ms,
                   struct brg_why *why) {
    const int rc = ask(s, path, "Metadata-Flavor: Google", timeout_ms, why);
    if (rc != BRG_OK) return rc;
    if (s->answer.status == 200 && strcmp(s->answer.flavor, "Google") != 0)
        return brg_why_set(why, BRG_EPROTO, "what answers at %s is not the metadata service of GCP",
                           s->url);
    return BRG_OK;
}

static int gcp_look(struct brg_spot_source *s, struct brg_spot_seen *out, struct brg_why *why) {
    char path[sizeof GCP_PREEMPTED + BRG_SPOT_HEADER_BYTES + 64];
    const uint64_t begin_ns = now_ns();
    /* Plain the first time: the hanging form would miss a flag that is set already. */
    (void)snprintf(path, sizeof path, GCP_PREEMPTED);
    if (s->etag[0] != '\0')
        (void)snprintf(path, sizeof path,
                       GCP_PREEMPTED "?wait_for_change=true&timeout_sec=%u&last_etag=%s",
                       GCP_HANG_S, s->etag);
    s->pause_ns = GCP_PAUSE_NS;
    int rc = gcp_get(s, path, TIMEOUT_MS + (s->etag[0] != '\0' ? GCP_HANG_S * 1000 : 0), why);
    s->etag[0] = '\0';
    if (rc != BRG_OK) return rc;
    if (s->answer.status != 200) return odd_status(s, GCP_PREEMPTED, why);
    struct brg_spot_clocks clocks = clocks_of(s);
    rc = brg_spot_parse_gcp(s->answer.body, NULL, &clocks, out, why);
    if (rc != BRG_OK || out->is_leave) return rc;
    /* An etag is hexadecimal; anything else must not get into the next URL. */
    const size_t size = strspn(s->answer.etag, "0123456789abcdefABCDEF");
    if (s->answer.etag[size] == '\0') memcpy(s->etag, s->answer.etag, size + 1);
    rc = gcp_get(s, GCP_MAINTENANCE, TIMEOUT_MS, why);
    if (rc != BRG_OK) return rc;
    if (s->answer.status != 200 && s->answer.status != 404)
        return odd_status(s, GCP_MAINTENANCE, why);
    /* A service that holds the question open has been the pause already. */
    if (s->etag[0] != '\0' && now_ns() - begin_ns > GCP_PAUSE_NS) s->pause_ns = 0;
    if (s->etag[0] != '\0' && !s->looked) s->pause_ns = 0;
    clocks = clocks_of(s);
    return brg_spot_parse_gcp(NULL, s->answer.status == 200 ? s->answer.body : NULL, &clocks, out,
                              why);
}

/* ---- Azure ---- */

static void azure_name(struct brg_spot_source *s) {
    struct brg_why why;
    if (ask(s, AZURE_NAME, "Metadata: true", TIMEOUT_MS, &why) != BRG_OK) return;
    if (s->answer.status != 200 || s->answer.body_bytes >= sizeof s->own_name) return;
    (void)snprintf(s->own_name, sizeof s->own_name, "%.*s",
                   (int)strcspn(s->answer.body, " \r\n\t{<"), s->answer.body);
}

static int azure_look(struct brg_spot_source *s, struct brg_spot_seen *out, struct brg_why *why) {
    s->pause_ns = AZURE_PAUSE_NS;
    if (s->own_name[0] == '\0') azure_name(s);
    const int rc = ask(s, AZURE_EVENTS, "Metadata: true",
                       s->looked ? AZURE_TIMEOUT_MS : AZURE_FIRST_TIMEOUT_MS, why);
    if (rc != BRG_OK) return rc;
    if (s->answer.status != 200) return odd_status(s, AZURE_EVENTS, why);
    const struct brg_spot_clocks clocks = clocks_of(s);
    return brg_spot_parse_azure(s->answer.body, s->own_name, &clocks, out, why);
}

/* ---- a file ---- */

static int file_look(struct brg_spot_source *s, struct brg_spot_seen *out, struct brg_why *why) {
    uint8_t *body = NULL;
    size_t size = 0;
    s->pause_ns = FILE_PAUSE_NS;
    int rc = brg_file_read(s->path, FILE_BYTES_MAX, &body, &size);
    if (rc == BRG_ENOENT) return BRG_OK;
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "the notice file %s cannot be read: %s", s->path,
                           strerror(errno));
    const struct brg_spot_clocks clocks = clocks_of(s);
    rc = brg_spot_parse_file((const char *)body, &clocks, out, why);
    free(body);
    return rc;
}

/* ---- which one ---- */

/* The first line of a file of the kernel, "" where there is none. */
static void first_line(const char *path, char *out, size_t size) {
    out[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    if (fgets(out, (int)size, file) == NULL) out[0] = '\0';
    (void)fclose(file);
}

/* What the firmware says; AUTO where it says nothing. Nothing is sent for that: a computer at home
 * asks nobody. */
static uint32_t kind_of_firmware(void) {
    static const struct {
        const char *words;
        uint32_t kind;
    } known[] = {
        {"Amazon EC2", BRG_SPOT_KIND_AWS},
        {"Google", BRG_SPOT_KIND_GCP},
        {"Microsoft Corporation", BRG_SPOT_KIND_AZURE},
    };
    char vendor[128];
    first_line("/sys/class/dmi/id/sys_vendor", vendor, sizeof vendor);
    for (uint32_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strncmp(vendor, known[i].words, strlen(known[i].words)) == 0) return known[i].kind;
    }
    if (vendor[0] != '\0') return BRG_SPOT_KIND_NONE;
    return access("/sys/class/dmi/id", F_OK) == 0 ? BRG_SPOT_KIND_NONE : BRG_SPOT_KIND_AUTO;
}

/* 1 where the metadata service of that cloud answers as only it does. */
static int answers_as(struct brg_spot_source *s, uint32_t kind, int *rc) {
    struct brg_why why;
    switch (kind) {
    case BRG_SPOT_KIND_AWS: *rc = aws_token(s, PROBE_TIMEOUT_MS, &why); return *rc == BRG_OK;
    case BRG_SPOT_KIND_GCP:
        *rc = gcp_get(s, GCP_PREEMPTED, PROBE_TIMEOUT_MS, &why);
        return *rc == BRG_OK && s->answer.status == 200;
    default:
        *rc = ask(s, AZURE_NAME, "Metadata: true", PROBE_TIMEOUT_MS, &why);
        return *rc == BRG_OK && s->answer.status == 200;
    }
}

int brg_spot_source_find(struct brg_spot_source *s, struct brg_why *why) {
    const int is_given = strcmp(s->url, LINK_LOCAL_URL) != 0;
    const uint32_t firmware = is_given ? (uint32_t)BRG_SPOT_KIND_AUTO : kind_of_firmware();
    int rc = BRG_OK;
    BRG_ASSERT(s->kind == BRG_SPOT_KIND_AUTO);
    if (firmware == BRG_SPOT_KIND_NONE) {
        s->kind = BRG_SPOT_KIND_NONE;
        return BRG_OK;
    }
    for (uint32_t kind = BRG_SPOT_KIND_AWS; kind <= BRG_SPOT_KIND_AZURE; kind++) {
        if (firmware != BRG_SPOT_KIND_AUTO && firmware != kind) continue;
        const int is_it = answers_as(s, kind, &rc);
        if (rc == BRG_ECANCELED) return rc;
        if (!is_it) continue;
        s->kind = kind;
        return BRG_OK;
    }
    if (firmware == BRG_SPOT_KIND_AUTO && !is_given) {
        s->kind = BRG_SPOT_KIND_NONE;
        return BRG_OK;
    }
    return brg_why_set(why, BRG_ETIMEDOUT, "no metadata service of a cloud answers at %s", s->url);
}

int brg_spot_source_look(struct brg_spot_source *s, struct brg_spot_seen *out,
                         struct brg_why *why) {
    int rc = BRG_OK;
    memset(out, 0, sizeof *out);
    switch ((enum brg_spot_kind)s->kind) {
    case BRG_SPOT_KIND_AWS: rc = aws_look(s, out, why); break;
    case BRG_SPOT_KIND_GCP: rc = gcp_look(s, out, why); break;
    case BRG_SPOT_KIND_AZURE: rc = azure_look(s, out, why); break;
    case BRG_SPOT_KIND_FILE: rc = file_look(s, out, why); break;
    default: BRG_ASSERT(0 && "there is nothing to look at");
    }
    if (rc == BRG_OK) s->looked = 1;
    return rc;
}
