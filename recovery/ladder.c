#include "recovery/ladder.h"

#include <string.h>

static const char *const rung_names[] = {
    [BRG_RUNG_REPLICA] = "replica",       [BRG_RUNG_SHADOW] = "shadow",
    [BRG_RUNG_PARITY] = "parity",         [BRG_RUNG_NEIGHBOURS] = "neighbours",
    [BRG_RUNG_CHECKPOINT] = "checkpoint", [BRG_RUNG_RANDOM] = "random",
};

static const char *const reason_texts[] = {
    [BRG_LADDER_TAKEN] = "taken",
    [BRG_LADDER_NO_SIBLING] = "no replica of the stage is alive",
    [BRG_LADDER_NO_SHADOW] = "no shadow is kept",
    [BRG_LADDER_SHADOW_LOST] = "the holder of the shadow is lost, too",
    [BRG_LADDER_SHADOW_INCOMPLETE] = "the shadow is not whole yet",
    [BRG_LADDER_SHADOW_STALE] = "the shadow is older than allowed",
    [BRG_LADDER_NO_PARITY] = "no parity is kept",
    [BRG_LADDER_PARITY_LOST] = "the holder of the parity is lost, too",
    [BRG_LADDER_PARITY_TWO] = "another stage of the parity group is lost, too",
    [BRG_LADDER_PARITY_STALE] = "the parity is older than allowed, or not whole yet",
    [BRG_LADDER_NO_NEIGHBOUR] = "no other stage is alive",
    [BRG_LADDER_NEIGHBOUR_UNEVEN] = "embedding or head are lost and no copy of them is kept",
    [BRG_LADDER_NO_CHECKPOINT] = "there is no checkpoint",
    [BRG_LADDER_ALL_ROLL_BACK] = "another stage needs the checkpoint, so all go back",
};

#define NAMES (sizeof rung_names / sizeof *rung_names)
#define REASONS (sizeof reason_texts / sizeof *reason_texts)

struct brg_ladder_config brg_ladder_default(void) {
    return (struct brg_ladder_config){.count = 5,
                                      .rungs = {BRG_RUNG_REPLICA, BRG_RUNG_SHADOW, BRG_RUNG_PARITY,
                                                BRG_RUNG_NEIGHBOURS, BRG_RUNG_CHECKPOINT}};
}

int brg_ladder_check(const struct brg_ladder_config *config) {
    uint32_t seen = 0;
    if (config->count == 0 || config->count > BRG_LADDER_RUNGS_MAX) return BRG_EINVAL;
    for (uint32_t i = 0; i < config->count; i++) {
        const uint32_t rung = config->rungs[i];
        if (rung < BRG_RUNG_REPLICA || rung > BRG_RUNG_RANDOM) return BRG_EINVAL;
        if (seen & (1u << rung)) return BRG_EINVAL;
        seen |= 1u << rung;
    }
    return BRG_OK;
}

/* Does the state of `version` serve? A version ahead of the run is of steps that were undone. */
static int serves(const struct brg_ladder_config *c, const struct brg_ladder_view *v,
                  uint64_t version) {
    return version <= v->version && (c->stale_max == 0 || v->version - version <= c->stale_max);
}

static uint32_t try_shadow(const struct brg_ladder_config *c, const struct brg_ladder_view *v,
                           const struct brg_ladder_stage *s) {
    if (!s->shadow_kept) return BRG_LADDER_NO_SHADOW;
    if (!s->shadow_alive) return BRG_LADDER_SHADOW_LOST;
    if (s->shadow_version == 0) return BRG_LADDER_SHADOW_INCOMPLETE;
    return serves(c, v, s->shadow_version) ? BRG_LADDER_TAKEN : BRG_LADDER_SHADOW_STALE;
}

static uint32_t try_parity(const struct brg_ladder_config *c, const struct brg_ladder_view *v,
                           const struct brg_ladder_stage *s) {
    if (!s->parity_kept) return BRG_LADDER_NO_PARITY;
    if (!s->parity_alive) return BRG_LADDER_PARITY_LOST;
    if (s->parity_version == 0) return BRG_LADDER_PARITY_STALE;
    for (uint32_t i = 0; i < v->stages; i++) {
        const struct brg_ladder_stage *other = &v->stage[i];
        /* A member with a live sibling still has its snapshot there. */
        if (other != s && other->parity_kept && other->parity_group == s->parity_group &&
            other->lost && other->siblings == 0)
            return BRG_LADDER_PARITY_TWO;
    }
    return serves(c, v, s->parity_version) ? BRG_LADDER_TAKEN : BRG_LADDER_PARITY_STALE;
}

static uint32_t try_neighbours(const struct brg_ladder_view *v, const struct brg_ladder_stage *s) {
    int donors = 0;
    for (uint32_t i = 0; i < v->stages; i++)
        donors += &v->stage[i] != s && (!v->stage[i].lost || v->stage[i].siblings > 0);
    if (donors == 0) return BRG_LADDER_NO_NEIGHBOUR;
    return s->edges && !s->edges_copied ? BRG_LADDER_NEIGHBOUR_UNEVEN : BRG_LADDER_TAKEN;
}

static uint32_t try_rung(const struct brg_ladder_config *c, const struct brg_ladder_view *v,
                         const struct brg_ladder_stage *s, uint32_t rung) {
    switch (rung) {
    case BRG_RUNG_REPLICA: return s->siblings > 0 ? BRG_LADDER_TAKEN : BRG_LADDER_NO_SIBLING;
    case BRG_RUNG_SHADOW: return try_shadow(c, v, s);
    case BRG_RUNG_PARITY: return try_parity(c, v, s);
    case BRG_RUNG_NEIGHBOURS: return try_neighbours(v, s);
    case BRG_RUNG_CHECKPOINT:
        return v->checkpointed && v->checkpoint <= v->version ? BRG_LADDER_TAKEN
                                                              : BRG_LADDER_NO_CHECKPOINT;
    default: return BRG_LADDER_TAKEN; /* random: always possible */
    }
}

static void note(struct brg_ladder_choice *choice, uint32_t rung, uint32_t reason) {
    BRG_ASSERT(choice->tried_count <= BRG_LADDER_RUNGS_MAX);
    choice->tried[choice->tried_count++] = (struct brg_ladder_tried){rung, reason};
}

static uint64_t staleness_of(const struct brg_ladder_view *v, const struct brg_ladder_stage *s,
                             uint32_t rung) {
    if (rung == BRG_RUNG_SHADOW) return v->version - s->shadow_version;
    if (rung == BRG_RUNG_PARITY) return v->version - s->parity_version;
    return rung == BRG_RUNG_CHECKPOINT ? v->version - v->checkpoint : 0;
}

static void choose_one(const struct brg_ladder_config *c, const struct brg_ladder_view *v,
                       uint32_t stage, struct brg_ladder_choice *choice) {
    const struct brg_ladder_stage *s = &v->stage[stage];
    for (uint32_t i = 0; i < c->count && choice->rung == 0; i++) {
        const uint32_t reason = try_rung(c, v, s, c->rungs[i]);
        note(choice, c->rungs[i], reason);
        if (reason != BRG_LADDER_TAKEN) continue;
        choice->rung = c->rungs[i];
        choice->staleness = staleness_of(v, s, choice->rung);
    }
}

/* The whole run goes back: what the other lost stages would have taken no longer fits. */
static void all_roll_back(const struct brg_ladder_view *v, struct brg_ladder_choice *choices) {
    for (uint32_t i = 0; i < v->stages; i++) {
        struct brg_ladder_choice *choice = &choices[i];
        if (choice->rung == 0 || choice->rung == BRG_RUNG_CHECKPOINT) continue;
        choice->tried[choice->tried_count - 1].reason = BRG_LADDER_ALL_ROLL_BACK;
        note(choice, BRG_RUNG_CHECKPOINT, BRG_LADDER_TAKEN);
        choice->rung = BRG_RUNG_CHECKPOINT;
        choice->staleness = v->version - v->checkpoint;
    }
}

int brg_ladder_choose(const struct brg_ladder_config *config, const struct brg_ladder_view *view,
                      struct brg_ladder_choice *choices, uint32_t *stuck) {
    int back = 0, rc = BRG_OK;
    BRG_ASSERT(brg_ladder_check(config) == BRG_OK);
    BRG_ASSERT(view->stages <= BRG_LADDER_STAGES_MAX);
    for (uint32_t i = 0; i < view->stages; i++) {
        choices[i] = (struct brg_ladder_choice){.rung = 0};
        if (!view->stage[i].lost) continue;
        choose_one(config, view, i, &choices[i]);
        back |= choices[i].rung == BRG_RUNG_CHECKPOINT;
        if (choices[i].rung == 0 && rc == BRG_OK) {
            *stuck = i;
            rc = BRG_ENOENT;
        }
    }
    if (back && rc == BRG_OK) all_roll_back(view, choices);
    return rc;
}

const char *brg_rung_name(uint32_t rung) {
    return rung > 0 && rung < NAMES ? rung_names[rung] : "unknown";
}

uint32_t brg_rung_parse(const char *name) {
    for (uint32_t i = 1; i < NAMES; i++)
        if (strcmp(name, rung_names[i]) == 0) return i;
    return 0;
}

const char *brg_ladder_reason_text(uint32_t reason) {
    return reason < REASONS ? reason_texts[reason] : "unknown";
}
