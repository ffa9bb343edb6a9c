#include "coordinator/core/members.h"

#include <string.h>

_Static_assert(sizeof(struct brg_task) == 16, "no padding: memcmp compares");
_Static_assert(sizeof(struct brg_member) == 32 + 8 * 16 + 6 * 8 + 10 * 4,
               "no padding: memcmp compares");
_Static_assert(sizeof(struct brg_token) == 32 + 8 + 2 * 4, "no padding: memcmp compares");

void brg_coord_act(struct brg_coord_actions *out, struct brg_coord_action action) {
    BRG_ASSERT(out->count < BRG_COORD_ACTIONS_MAX);
    out->items[out->count++] = action;
}

void brg_members_init(struct brg_members *m, uint64_t lease_ns) {
    BRG_ASSERT(lease_ns > 0);
    memset(m, 0, sizeof *m);
    m->lease_ns = lease_ns;
}

uint32_t brg_members_find(const struct brg_members *m, const uint8_t *key) {
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->items[i].state == BRG_MEMBER_NONE) continue;
        if (memcmp(m->items[i].key, key, BRG_KEY_BYTES) == 0) return i;
    }
    return BRG_NOBODY;
}

int brg_members_add(struct brg_members *m, const uint8_t *key, uint32_t state, uint32_t *slot) {
    BRG_ASSERT(state > BRG_MEMBER_NONE && state <= BRG_MEMBER_REVOKED);
    if (brg_members_find(m, key) != BRG_NOBODY) return BRG_EEXIST;
    if (m->count == BRG_MEMBERS_MAX) return BRG_EFULL;
    *slot = m->count++;
    struct brg_member *member = &m->items[*slot];
    memset(member, 0, sizeof *member);
    memcpy(member->key, key, BRG_KEY_BYTES);
    member->state = state == BRG_MEMBER_REVOKED ? BRG_MEMBER_REVOKED : BRG_MEMBER_AWAY;
    member->position = BRG_NOBODY;
    return BRG_OK;
}

static uint32_t find_token(const struct brg_members *m, const struct brg_digest *hash) {
    for (uint32_t i = 0; i < m->token_count; i++) {
        if (m->tokens[i].expires_s != 0 && brg_digest_equal(&m->tokens[i].hash, hash)) return i;
    }
    return BRG_NOBODY;
}

int brg_members_add_token(struct brg_members *m, const struct brg_token *token, uint32_t *index) {
    BRG_ASSERT(token->expires_s != 0);
    if (find_token(m, &token->hash) != BRG_NOBODY) return BRG_EEXIST;
    uint32_t i = 0;
    while (i < m->token_count && m->tokens[i].expires_s != 0) i++;
    if (i == BRG_TOKENS_MAX) return BRG_EFULL;
    m->tokens[i] = *token;
    if (i == m->token_count) m->token_count++;
    *index = i;
    return BRG_OK;
}

/* The token that lets `ev` in, or the reason why none does; changes nothing. */
static enum brg_refusal look_at_token(const struct brg_members *m, const struct brg_coord_event *ev,
                                      uint32_t *index) {
    if (!ev->has_token) return BRG_REFUSED_UNKNOWN_KEY;
    *index = find_token(m, &ev->token_hash);
    if (*index == BRG_NOBODY) return BRG_REFUSED_TOKEN_UNKNOWN;
    const struct brg_token *token = &m->tokens[*index];
    if (token->revoked) return BRG_REFUSED_TOKEN_REVOKED;
    if (ev->wall_s >= token->expires_s || token->uses_left == 0) return BRG_REFUSED_TOKEN_EXPIRED;
    return 0;
}

static void refuse(struct brg_coord_actions *out, uint64_t peer, uint32_t member,
                   enum brg_refusal why) {
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_SEND_REFUSED,
                                                 .peer = peer,
                                                 .member = member,
                                                 .code = (int32_t)why});
}

/* Enrols the key of `ev` by its token: both records change in the same synced write, so that no
 * crash can spend the token without enrolling the key or the other way round. */
static enum brg_refusal enrol(struct brg_members *m, const struct brg_coord_event *ev,
                              uint32_t *slot, struct brg_coord_actions *out) {
    uint32_t token = BRG_NOBODY;
    const enum brg_refusal why = look_at_token(m, ev, &token);
    if (why != 0) return why;
    if (brg_members_add(m, ev->key, BRG_MEMBER_AWAY, slot) != BRG_OK) return BRG_REFUSED_FULL;
    m->tokens[token].uses_left--;
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_PERSIST_TOKEN, .token = token});
    brg_coord_act(out, (struct brg_coord_action){.type = BRG_ACT_PERSIST_MEMBER, .member = *slot});
    brg_coord_act(out, (struct brg_coord_action){
                           .type = BRG_ACT_NOTE, .code = BRG_NOTE_ENROLLED, .member = *slot});
    return 0;
}

enum brg_hello_result brg_members_hello(struct brg_members *m, const struct brg_coord_event *ev,
                                        uint32_t *slot, struct brg_coord_actions *out) {
    BRG_ASSERT(ev->type == BRG_EV_HELLO);
    BRG_ASSERT(ev->session != 0);
    *slot = brg_members_find(m, ev->key);
    if (*slot == BRG_NOBODY) {
        const enum brg_refusal why = enrol(m, ev, slot, out);
        if (why != 0) {
            refuse(out, ev->peer, BRG_NOBODY, why);
            return BRG_HELLO_REFUSED;
        }
    }
    struct brg_member *member = &m->items[*slot];
    if (member->state == BRG_MEMBER_REVOKED) {
        refuse(out, ev->peer, BRG_NOBODY, BRG_REFUSED_KEY_REVOKED);
        return BRG_HELLO_REFUSED;
    }
    const int here = brg_members_is_here(member);
    if (here && member->session == ev->session) {
        brg_members_heard(m, *slot, ev->now_ns);
        return BRG_HELLO_AGAIN;
    }
    if (here && ev->session < member->session) { /* an older process, or an old copy of its HELLO */
        refuse(out, ev->peer, BRG_NOBODY, BRG_REFUSED_SAME_KEY);
        return BRG_HELLO_REFUSED;
    }
    if (here) { /* goes to the older process: the newer one's WELCOME comes after it */
        refuse(out, 0, *slot, BRG_REFUSED_SAME_KEY);
        brg_coord_act(out, (struct brg_coord_action){
                               .type = BRG_ACT_NOTE, .code = BRG_NOTE_SAME_KEY, .member = *slot});
    }
    member->session = ev->session;
    member->state = BRG_MEMBER_ACTIVE;
    member->deadline_ns = ev->now_ns + m->lease_ns;
    m->look_ns = 0; /* its lease may be the first to run out */
    member->unfit = 0;
    member->drain_acked = 0;
    member->broken = 0;
    member->hold_ns = 0;
    return BRG_HELLO_ATTACHED;
}

int brg_members_is_here(const struct brg_member *member) {
    return member->state == BRG_MEMBER_ACTIVE || member->state == BRG_MEMBER_SUSPECT ||
           member->state == BRG_MEMBER_DRAINING;
}

void brg_members_heard(struct brg_members *m, uint32_t slot, uint64_t now_ns) {
    BRG_ASSERT(slot < m->count);
    struct brg_member *member = &m->items[slot];
    BRG_ASSERT(brg_members_is_here(member));
    member->deadline_ns = now_ns + m->lease_ns;
    if (member->state == BRG_MEMBER_SUSPECT) member->state = BRG_MEMBER_ACTIVE;
}

int brg_members_may_note(struct brg_members *m, uint32_t slot, uint64_t now_ns) {
    BRG_ASSERT(slot < m->count);
    struct brg_member *member = &m->items[slot];
    if (now_ns >= member->notes_end_ns) {
        member->notes_end_ns = now_ns + m->lease_ns;
        member->notes = 0;
    }
    if (member->notes == BRG_MEMBER_NOTES_MAX) return 0;
    member->notes++;
    return 1;
}

void brg_members_check(const struct brg_members *m) {
    BRG_ASSERT(m->count <= BRG_MEMBERS_MAX);
    BRG_ASSERT(m->token_count <= BRG_TOKENS_MAX);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct brg_member *member = &m->items[i];
        BRG_ASSERT(member->state <= BRG_MEMBER_REVOKED);
        BRG_ASSERT(brg_members_is_here(member) == (member->session != 0));
        BRG_ASSERT(member->task_count <= BRG_TASKS_MAX);
        if (member->state == BRG_MEMBER_DRAINING) BRG_ASSERT(member->drain_acked || m->leaving);
        if (brg_members_is_here(member)) continue;
        BRG_ASSERT(member->position == BRG_NOBODY); /* who is not here holds no position */
        BRG_ASSERT(member->task_count == 0);
    }
}
