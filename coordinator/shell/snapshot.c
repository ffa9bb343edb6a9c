/* snapshot.c - the operator's verb `snapshot`: what is known of a run, and the parameters of one of
 * its models as they are now.
 *
 *   the run is open    job ──► compute thread writes runs/N/snapshot-EPOCH-COUNT.bin ──► answer
 *   it is not          answer at once: its newest checkpoint, or its start.bin, is all there is
 *   of kind pipeline   as well: its stages lie with the workers, its newest checkpoint here
 *
 * Whoever asked reads the file and deletes it. */
#include <inttypes.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "coordinator/shell/service_private.h"

/* What the answer says of the run in any case. */
static cJSON *describe(const struct brg_service *s, uint32_t index) {
    char folder[64], hex[BRG_DIGEST_HEX_BYTES];
    const struct brg_service_run *run = &s->runs[index];
    cJSON *reply = cJSON_CreateObject();
    BRG_ASSERT(reply != NULL);
    (void)snprintf(folder, sizeof folder, "runs/%" PRIu64, run->record.id);
    (void)cJSON_AddNumberToObject(reply, "run", (double)run->record.id);
    (void)cJSON_AddStringToObject(reply, "name", run->config.name);
    (void)cJSON_AddStringToObject(reply, "folder", folder);
    char *yaml = strndup(run->record.yaml, run->record.yaml_bytes);
    BRG_ASSERT(yaml != NULL);
    (void)cJSON_AddStringToObject(reply, "yaml", yaml);
    free(yaml);
    if (s->run != NULL && s->run_index == index) {
        (void)cJSON_AddStringToObject(reply, "data_digest",
                                      brg_digest_hex(&s->run->data.digest, hex));
    }
    return reply;
}

static int give(struct brg_service *s, const struct brg_snapshot_wish *wish, struct brg_why *why) {
    struct brg_shell_job *job = brg_job_new(BRG_JOB_SNAPSHOT);
    job->run = s->run;
    job->run_id = s->run->config.id;
    job->snapshot.model = wish->model;
    job->snapshot.to = *wish->to;
    job->snapshot.request = wish->request;
    const int n = snprintf(job->snapshot.path, sizeof job->snapshot.path,
                           "%s/snapshot-%" PRIu64 "-%" PRIu64 ".bin", s->run->config.folder,
                           s->core.epoch, ++s->snapshots.ever);
    if (n < 0 || (size_t)n >= sizeof job->snapshot.path) {
        brg_job_free(job);
        return brg_why_set(why, BRG_EINVAL, "the path of the state folder is too long");
    }
    s->snapshots.under_way++;
    brg_jobs_give(s->jobs, job);
    return BRG_OK;
}

int brg_service_snapshot(struct brg_service *s, const struct brg_snapshot_wish *wish,
                         struct cJSON **reply, struct brg_why *why) {
    const struct brg_service_run *run = &s->runs[wish->run_index];
    if (wish->model >= run->config.models) {
        return brg_why_set(why, BRG_EINVAL,
                           "run %" PRIu64 " has %u model%s, numbered from 0: there is no model %u",
                           run->record.id, run->config.models, run->config.models == 1 ? "" : "s",
                           wish->model);
    }
    cJSON_Delete(*reply);
    *reply = NULL;
    if (!wish->is_asked_to_write || s->run == NULL || s->run_index != wish->run_index ||
        run->config.kind == BRG_RUN_KIND_PIPELINE) {
        *reply = describe(s, wish->run_index);
        return BRG_OK;
    }
    if (s->snapshots.under_way == BRG_SNAPSHOTS_MAX) {
        *reply = cJSON_CreateObject();
        return brg_why_set(why, BRG_EFULL, "%u snapshots are being written: try again",
                           BRG_SNAPSHOTS_MAX);
    }
    const int rc = give(s, wish, why);
    if (rc != BRG_OK) *reply = cJSON_CreateObject();
    return rc;
}

void brg_service_snapshot_answer(struct brg_service *s, struct brg_shell_job *job) {
    const uint32_t index = brg_coord_run(&s->core, job->run_id);
    BRG_ASSERT(index != BRG_NOBODY && s->snapshots.under_way > 0);
    s->snapshots.under_way--;
    cJSON *reply = NULL;
    if (job->rc == BRG_OK) {
        reply = describe(s, index);
        const char *name = strrchr(job->snapshot.path, '/');
        BRG_ASSERT(name != NULL);
        (void)cJSON_AddStringToObject(reply, "file", name + 1);
        (void)cJSON_AddNumberToObject(reply, "step", (double)job->snapshot.step);
    } else {
        reply = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(reply, "error", job->why.text);
    }
    brg_service_reply_later(s, &job->snapshot.to, job->snapshot.request, job->rc, reply);
}
