/* shares.c - shares on their way from workers: fetched in parts, held until their step is decoded.
 *
 *   PULL --> fetch under way --last part--> verified on the compute thread --SHARE--> here
 * --DECODE-->
 *
 * Shares of several steps are under way at once: unit u of step s is shares[s % BRG_JOBS_MAX][u],
 * as the machine keeps its own. A slot is empty again before its next step begins, since a commit
 * drops what its step has left. */
#include <string.h>

#include "coordinator/shell/service_private.h"

/* A share with nothing new for so long is asked for again; the machine's own bound is longer. */
#define FETCH_RETRY_NS (2 * BRG_NS_PER_S)
#define FETCH_IDLE_NS (3600 * BRG_NS_PER_S)

struct brg_service_share *brg_service_share(struct brg_service *s, uint64_t step, uint32_t unit) {
    BRG_ASSERT(unit < BRG_SCHEME_UNITS_MAX);
    return &s->shares[step % BRG_JOBS_MAX][unit];
}

static void drop(struct brg_service_share *share) {
    brg_fetch_drop(&share->fetch);
    brg_buffer_release(share->here);
    share->here = NULL;
}

void brg_service_drop_shares(struct brg_service *s, uint64_t step) {
    for (uint32_t u = 0; u < BRG_SCHEME_UNITS_MAX; u++) {
        struct brg_service_share *share = brg_service_share(s, step, u);
        if (share->step <= step) drop(share);
    }
}

void brg_service_drop_all_shares(struct brg_service *s) {
    for (uint32_t slot = 0; slot < BRG_JOBS_MAX; slot++) {
        for (uint32_t u = 0; u < BRG_SCHEME_UNITS_MAX; u++) drop(&s->shares[slot][u]);
    }
}

/* The next fetch under way after *step and *unit, which begin at 0; NULL: there are no more.
 * Only what the machine has as PULLING is fetched, so only that is looked at. */
static struct brg_service_share *next_fetch(struct brg_service *s, uint64_t *step, uint32_t *unit) {
    const struct brg_rounds *r = &s->core.rounds;
    if (*step == 0) {
        *step = r->ended + 1;
        *unit = 0;
    } else {
        (*unit)++;
    }
    for (; *step <= r->newest; (*step)++, *unit = 0) {
        const struct brg_job *job = brg_rounds_job(r, *step);
        if (job == NULL) continue;
        for (*unit = brg_bits_next(&job->pulling, *unit); *unit < BRG_BITS_MAX;
             *unit = brg_bits_next(&job->pulling, *unit + 1)) {
            struct brg_service_share *share = brg_service_share(s, *step, *unit);
            if (share->step == *step && brg_fetch_is_active(&share->fetch)) return share;
        }
    }
    return NULL;
}

void brg_service_start_pull(struct brg_service *s, const struct brg_coord_action *a) {
    const struct brg_job *job = brg_rounds_job(&s->core.rounds, a->step);
    if (s->run == NULL || job == NULL || !brg_rounds_is_open(&s->core.rounds, a->step)) return;
    const struct brg_progress *u = &job->units[a->unit];
    struct brg_service_share *share = brg_service_share(s, a->step, a->unit);
    uint32_t k = 0;
    while (k < u->holder_count && u->holders[k] != a->member) k++;
    if (k == u->holder_count) return; /* it left in the same turn */
    const struct brg_object object = {
        .kind = BRG_OBJECT_SHARE, .run = a->run, .step = a->step, .unit = a->unit};
    if (share->member == a->member && brg_fetch_is_about(&share->fetch, &object)) {
        brg_fetch_reconnected(&share->fetch, s->now_ns); /* the same once more: go on from there */
        return;
    }
    brg_fetch_drop(&share->fetch);
    struct brg_buffer *buffer = NULL;
    const uint64_t size = s->run->param_count * sizeof(float);
    if (brg_pool_get(s->pool, size, &buffer) != BRG_OK) {
        brg_log_warn("coordinator", NULL, "no memory for a share now; raise --memory");
        return; /* asked for again after the pull's bound */
    }
    const struct brg_fetch_config config = {.retry_ns = FETCH_RETRY_NS,
                                            .idle_ns = FETCH_IDLE_NS,
                                            .part_bytes = BRG_BULK_PART_BYTES,
                                            .window = BRG_BULK_WINDOW};
    share->member = a->member;
    share->step = a->step;
    share->digest = u->digests[k];
    brg_fetch_start(&share->fetch, &object, buffer, size, &config, s->now_ns);
}

void brg_service_pump(struct brg_service *s) {
    struct brg_service_share *share;
    uint64_t step = 0;
    uint32_t unit = 0;
    int under_way = 0;
    if (s->run == NULL) return;
    while ((share = next_fetch(s, &step, &unit)) != NULL) {
        under_way = 1;
        if (brg_fetch_is_done(&share->fetch)) continue;
        const struct brg_peer *bulk = &s->members[share->member].bulk;
        if (bulk->size_bytes == 0) continue; /* Attach starts it */
        struct brg_msg *m = brg_service_blank(s, BRG_MSG_GET);
        while (brg_fetch_next_get(&share->fetch, s->now_ns, &m->get)) {
            brg_service_send(s, bulk, m);
        }
    }
    /* The time that the line was in use, for the cost of a share on it. */
    if (s->link.since_ns != 0) s->link.busy_ns += s->now_ns - s->link.since_ns;
    s->link.since_ns = under_way ? s->now_ns : 0;
}

uint64_t brg_service_fetch_wake_ns(struct brg_service *s) {
    struct brg_service_share *share;
    uint64_t wake_ns = UINT64_MAX, step = 0;
    uint32_t unit = 0;
    if (s->run == NULL) return wake_ns;
    while ((share = next_fetch(s, &step, &unit)) != NULL) {
        if (s->members[share->member].bulk.size_bytes == 0) continue;
        const uint64_t at_ns = brg_fetch_wake_ns(&share->fetch);
        if (at_ns < wake_ns) wake_ns = at_ns;
    }
    return wake_ns;
}

void brg_service_shares_reconnected(struct brg_service *s, uint32_t member) {
    struct brg_service_share *share;
    uint64_t step = 0;
    uint32_t unit = 0;
    while (s->run != NULL && (share = next_fetch(s, &step, &unit)) != NULL) {
        if (share->member == member) brg_fetch_reconnected(&share->fetch, s->now_ns);
    }
}

void brg_service_verify_share(struct brg_service *s, struct brg_service_share *share) {
    struct brg_shell_job *job = brg_job_new(BRG_JOB_VERIFY);
    job->run_id = s->run->config.id;
    job->step = share->step;
    job->unit = share->fetch.object.unit;
    job->member = share->member;
    job->verify.size_bytes = share->fetch.size_bytes;
    job->verify.digest = share->digest;
    job->verify.buffer = brg_fetch_take(&share->fetch);
    s->link.shares++;
    brg_jobs_give(s->jobs, job);
}
