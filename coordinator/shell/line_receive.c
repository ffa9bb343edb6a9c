/* What members say of a pipeline, as events of its machine. */
#include <math.h>
#include <string.h>

#include "coordinator/shell/line_private.h"

static int on_holding(struct brg_service *s, uint32_t member) {
    const struct brg_msg_holding *h = &s->msg.holding;
    struct brg_line_member *m = &s->line->members[member];
    struct brg_pipe_event ev = {.type = BRG_PEV_JOINED,
                                .member = member,
                                .memory_bytes = h->memory_bytes,
                                .microbatch_ns = h->microbatch_ns,
                                .stage = h->has ? h->stage : BRG_NOBODY,
                                .lineage = h->lineage,
                                .version = h->version,
                                .step = h->pending_step,
                                .commit_generation = h->pending_generation};
    m->session = s->members[member].session;
    m->is_draining = 0;
    (void)snprintf(m->address, sizeof m->address, "%s", h->address);
    return brg_line_feed(s, &ev);
}

/* Losses that only its last stage tells are taken as they are: they steer nothing. */
static int on_ready(struct brg_service *s, uint32_t member) {
    const struct brg_msg_ready *r = &s->msg.ready;
    struct brg_line_member *m = &s->line->members[member];
    const struct brg_pipeline *p = &s->line->machine;
    const int is_next = r->generation == p->generation && r->step == p->committed + 1;
    if (is_next && p->members[member].stage != BRG_NOBODY) {
        if (!isfinite(r->norm2)) {
            brg_line_fail(s,
                          "the gradient of step %llu is not finite: the run has diverged; lower "
                          "optimizer.lr or set optimizer.clip, and submit it again",
                          (unsigned long long)r->step);
            return BRG_OK;
        }
        m->digest = r->digest;
        m->norm2 = r->norm2;
        m->lanes = r->lanes;
        memcpy(m->loss_sums, r->loss_sums, sizeof m->loss_sums);
        memcpy(m->loss_counts, r->loss_counts, sizeof m->loss_counts);
        m->compute_ns = r->compute_ns;
        m->wait_ns = r->wait_ns;
        m->sent_bytes = r->sent_bytes;
        m->received_bytes = r->received_bytes;
        m->wire_error = r->wire_error;
        m->ready_step = r->step;
        m->ready_generation = r->generation;
    }
    struct brg_pipe_event ev = {.type = BRG_PEV_READY,
                                .member = member,
                                .generation = r->generation,
                                .step = r->step,
                                .digest = r->digest};
    return brg_line_feed(s, &ev);
}

static int on_evaluated(struct brg_service *s) {
    const struct brg_msg_evaluated *e = &s->msg.evaluated;
    struct brg_service_model *model = &s->runs[s->run_index].models[0];
    if (e->candidate != 0 || e->count == 0 || e->generation != s->line->machine.generation)
        return BRG_OK;
    const double loss = e->loss_sum / (double)e->count;
    if (e->id == (BRG_LINE_PROBE | e->generation)) {
        char before[64] = "";
        if (!isnan(model->held_out_loss))
            (void)snprintf(before, sizeof before, ", %.4f at step %llu", model->held_out_loss,
                           (unsigned long long)model->held_out_step);
        brg_service_event(s, BRG_EVENT_LINE, e->run, BRG_NOBODY,
                          "held-out loss after the recovery at step %llu: %.4f%s",
                          (unsigned long long)e->version, loss, before);
        return BRG_OK;
    }
    struct brg_service_held_out *p = &s->held_out[s->held_out_count++ % BRG_HELD_OUT_POINTS_MAX];
    *p = (struct brg_service_held_out){.step = e->version, .loss = loss, .accuracy = (double)NAN};
    model->held_out_loss = loss;
    model->held_out_step = e->version;
    brg_log_info(
        "run",
        BRG_FIELDS(BRG_U64("run", e->run), BRG_U64("step", e->version), BRG_F64("loss", loss)),
        "held-out samples");
    return BRG_OK;
}

/* The run that the message is about; every one of ours begins with it. */
static uint64_t run_of(const struct brg_msg *m) {
    switch (m->type) {
    case BRG_MSG_HOLDING: return m->holding.run;
    case BRG_MSG_PLACED: return m->placed.run;
    case BRG_MSG_READY: return m->ready.run;
    case BRG_MSG_LOST_PEER: return m->lost_peer.run;
    case BRG_MSG_FETCH_FAILED: return m->fetch_failed.run;
    case BRG_MSG_LEARNED: return m->learned.run;
    case BRG_MSG_KEPT: return m->kept.run;
    case BRG_MSG_EVALUATED: return m->evaluated.run;
    default: return 0;
    }
}

int brg_line_control(struct brg_service *s, uint32_t member) {
    const struct brg_msg *m = &s->msg;
    struct brg_pipe_event ev = {.member = member};
    if (s->line == NULL || run_of(m) != s->run->config.id || m->epoch != s->core.epoch)
        return BRG_OK; /* of a run that has ended, or of an incarnation before this one */
    if (m->type != BRG_MSG_HOLDING &&
        s->line->members[member].session != s->members[member].session)
        return BRG_OK; /* a new process, which has not said yet what it holds */
    switch (m->type) {
    case BRG_MSG_HOLDING: return on_holding(s, member);
    case BRG_MSG_READY: return on_ready(s, member);
    case BRG_MSG_EVALUATED: return on_evaluated(s);
    case BRG_MSG_PLACED:
        ev.type = BRG_PEV_PLACED;
        ev.generation = m->placed.generation;
        ev.digest = m->placed.digest;
        break;
    case BRG_MSG_LOST_PEER:
        ev.type = BRG_PEV_LOST_PEER;
        ev.generation = m->lost_peer.generation;
        ev.peer = m->lost_peer.peer;
        break;
    case BRG_MSG_FETCH_FAILED:
        ev.type = BRG_PEV_FETCH_FAILED;
        ev.generation = m->fetch_failed.generation;
        break;
    case BRG_MSG_LEARNED:
        ev.type = BRG_PEV_LEARNED;
        ev.stage = m->learned.stage;
        ev.lineage = m->learned.lineage;
        ev.version = m->learned.version;
        break;
    default: /* KEPT: the only one left */
        ev.type = m->kept.what == 2 ? BRG_PEV_PARITY_AT : BRG_PEV_SHADOW_AT;
        ev.stage = m->kept.stage;
        ev.lineage = m->kept.lineage;
        ev.version = m->kept.version;
        break;
    }
    return brg_line_feed(s, &ev);
}

/* ---- bulk ---- */

/* From one member to another: readdressed, and sent on with its frames unread. */
static void relay(struct brg_service *s, const struct brg_inbound *in, uint32_t member) {
    uint32_t to = 0;
    if (brg_relay_pass(s->line->relay, member, &s->msg, s->now_ns, &to) != BRG_OK) return;
    const struct brg_peer *bulk = &s->members[to].bulk;
    if (bulk->size_bytes == 0) return;
    struct brg_frame frame;
    brg_frame_init(&frame);
    struct brg_frame *frames = NULL;
    s->msg.epoch = s->core.epoch;
    if (s->msg.type == BRG_MSG_PART) {
        const struct brg_bytes bytes = brg_frame_bytes(&in->frames[1]);
        if (brg_frame_copy(&frame, bytes.data, bytes.size_bytes) != BRG_OK) return;
        frames = &frame;
    }
    (void)!brg_socket_send_msg(s->socket, bulk, &s->msg, frames);
    brg_frame_close(&frame);
}

static void serve(struct brg_service *s, const struct brg_inbound *in) {
    struct brg_bytes bytes;
    const struct brg_object object = s->msg.get.object;
    struct brg_source *source = brg_line_file_source(s, &object);
    if (source == NULL) return; /* being read from its file: it is asked for again */
    const int rc = brg_source_part(source, &s->msg.get, &s->reply, &bytes);
    if (rc != BRG_OK) {
        struct brg_msg *m = brg_service_blank(s, BRG_MSG_GONE);
        m->gone.object = object;
        (void)snprintf(m->gone.text, sizeof m->gone.text, "this state is in no file here");
        brg_service_send(s, &in->peer, m);
        return;
    }
    brg_service_send_part(s, &in->peer, source, bytes);
}

int brg_line_bulk(struct brg_service *s, const struct brg_inbound *in, uint32_t member,
                  int *is_mine) {
    const struct brg_msg *m = &s->msg;
    const struct brg_object *object = m->type == BRG_MSG_GET    ? &m->get.object
                                      : m->type == BRG_MSG_PART ? &m->part.object
                                                                : &m->gone.object;
    const uint32_t peer = m->type == BRG_MSG_GET    ? m->get.peer
                          : m->type == BRG_MSG_PART ? m->part.peer
                                                    : m->gone.peer;
    *is_mine = object->kind >= BRG_OBJECT_ACT || peer != 0;
    if (!*is_mine || s->line == NULL) return BRG_OK;
    if (peer != 0) {
        relay(s, in, member);
        return BRG_OK;
    }
    if (object->kind != BRG_OBJECT_STATE) return BRG_EPROTO;
    if (m->type == BRG_MSG_GET) {
        serve(s, in);
        return BRG_OK;
    }
    return brg_line_save_part(s, in, member);
}
