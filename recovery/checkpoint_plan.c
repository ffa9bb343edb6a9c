#include "recovery/checkpoint_plan.h"

int brg_checkpoint_policy_check(const struct brg_checkpoint_policy *policy) {
    if (policy->every == 0 || policy->keep == 0 || policy->keep > BRG_CHECKPOINT_KEEP_MAX ||
        policy->log_reach == 0 || policy->log_reach > policy->keep) {
        return BRG_EINVAL;
    }
    return BRG_OK;
}

int brg_checkpoint_due(const struct brg_checkpoint_policy *policy, uint64_t step, uint64_t saved,
                       int last) {
    BRG_ASSERT(policy->every > 0);
    if (step <= saved) return 0; /* step 0, and steps that are replayed */
    return last || step % policy->every == 0 || step - saved >= policy->every;
}

/* How many valid checkpoints are newer than `step`. */
static uint32_t newer_than(const struct brg_checkpoint_item *items, uint32_t count, uint64_t step) {
    uint32_t newer = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].state == BRG_CHECKPOINT_VALID && items[i].step > step) newer++;
    }
    return newer;
}

/* The newest valid step that is at most `limit`; 0 where there is none. */
static uint64_t newest_valid(const struct brg_checkpoint_item *items, uint32_t count,
                             uint64_t limit, uint32_t *index) {
    uint64_t best = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].state != BRG_CHECKPOINT_VALID) continue;
        if (items[i].step > limit || items[i].step <= best) continue;
        best = items[i].step;
        *index = i;
    }
    return best;
}

void brg_checkpoint_plan_tidy(const struct brg_checkpoint_policy *policy,
                              const struct brg_checkpoint_standing *standing,
                              const struct brg_checkpoint_item *items, uint32_t count,
                              uint8_t *delete_it, uint64_t *log_drop_through) {
    uint64_t anchor = 0; /* the log as it is now starts from this one */
    uint32_t ignored = 0;
    BRG_ASSERT(brg_checkpoint_policy_check(policy) == BRG_OK);
    BRG_ASSERT(count <= BRG_CHECKPOINT_LIST_MAX);

    *log_drop_through = 0;
    for (uint32_t i = 0; i < count; i++) delete_it[i] = 0;
    if (newer_than(items, count, standing->committed) > 0) return;
    if (standing->log_first > 0) {
        anchor = newest_valid(items, count, standing->log_first - 1, &ignored);
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t newer = newer_than(items, count, items[i].step);
        const int valid = items[i].state == BRG_CHECKPOINT_VALID;
        /* Two folders cannot be of one step, so `newer` is the rank among the valid ones. */
        if (valid && newer == policy->log_reach - 1) *log_drop_through = items[i].step;
        if (items[i].step == standing->writing) continue;
        if (valid && items[i].step == anchor) continue;
        delete_it[i] = newer >= (valid ? policy->keep : 1u);
    }
    if (standing->log_first == 0) *log_drop_through = 0;
}

int brg_checkpoint_plan_load(const struct brg_checkpoint_standing *standing,
                             const struct brg_checkpoint_item *items, uint32_t count,
                             struct brg_checkpoint_choice *choice) {
    BRG_ASSERT(count <= BRG_CHECKPOINT_LIST_MAX);
    *choice = (struct brg_checkpoint_choice){0, 0};
    choice->step = newest_valid(items, count, UINT64_MAX, &choice->index);
    if (choice->step > standing->committed) return BRG_EBEHIND;
    if (standing->log_first == 0) return BRG_OK;
    /* From the checkpoint on, or from the seed at step 0, every step must be in the log. */
    if (choice->step == standing->committed || standing->log_first <= choice->step + 1) {
        return BRG_OK;
    }
    return BRG_ECORRUPT;
}
