#include "coding/policy.h"

#define PPM UINT64_C(1000000)

int brg_policy_check(const struct brg_code_spec *spec, struct brg_why *why) {
    if (spec->policy < BRG_POLICY_EARLY || spec->policy > BRG_POLICY_PAPER) {
        return brg_why_set(why, BRG_EINVAL,
                           "the policy has number %u, which this version does not know: use early, "
                           "minwait or paper",
                           spec->policy);
    }
    if (spec->rule > BRG_RULE_MODEL) {
        return brg_why_set(why, BRG_EINVAL,
                           "the rule has number %u, which this version does not know: use weakest "
                           "or model",
                           spec->rule);
    }
    const uint32_t delay = brg_code_delay(spec);
    if (spec->policy == BRG_POLICY_EARLY && delay > 0) {
        return brg_why_set(why, BRG_EINVAL,
                           "the policy early would end every round at once with a code whose steps "
                           "have %u more rounds to finish: use minwait with a mu",
                           delay);
    }
    return BRG_OK;
}

/* time * mu / 1e6, or BRG_POLICY_NEVER where it passes 64 bits; in two parts, since the product may
 * pass them long before. */
static uint64_t times_mu(const struct brg_code_spec *spec, uint64_t time_ns) {
    const uint64_t whole = time_ns / PPM, rest = time_ns % PPM;
    uint64_t product_ns;
    if (__builtin_mul_overflow(whole, (uint64_t)spec->mu_ppm, &product_ns) ||
        __builtin_add_overflow(product_ns, rest * spec->mu_ppm / PPM, &product_ns)) {
        return BRG_POLICY_NEVER;
    }
    return product_ns;
}

uint64_t brg_policy_bound_ns(const struct brg_code_spec *spec,
                             const struct brg_policy_round *round) {
    if (round->first_ns == BRG_POLICY_NEVER) return BRG_POLICY_NEVER;
    BRG_ASSERT(round->started_ns <= round->first_ns);
    const uint64_t extra_ns = times_mu(spec, round->first_ns - round->started_ns);
    uint64_t bound_ns;
    if (__builtin_add_overflow(round->first_ns, extra_ns, &bound_ns)) return BRG_POLICY_NEVER;
    return bound_ns;
}

int brg_policy_may_end(const struct brg_code_spec *spec, const struct brg_policy_round *round,
                       uint64_t *wake_ns) {
    const uint64_t now_ns = round->now_ns;
    const uint64_t bound_ns = brg_policy_bound_ns(spec, round);
    const int decodable = round->decodable_ns <= now_ns;
    const int everybody = round->answered >= round->expected;
    BRG_ASSERT(round->started_ns <= now_ns);
    BRG_ASSERT(round->first_ns <= now_ns || round->first_ns == BRG_POLICY_NEVER);
    BRG_ASSERT(decodable || round->decodable_ns == BRG_POLICY_NEVER);

    *wake_ns = BRG_POLICY_NEVER;
    if (!decodable) return 0;
    if (spec->policy == BRG_POLICY_EARLY || everybody) return 1;
    if (now_ns < bound_ns) {
        *wake_ns = bound_ns;
        return 0;
    }
    if (spec->policy == BRG_POLICY_MINWAIT) return 1;
    BRG_ASSERT(spec->policy == BRG_POLICY_PAPER);
    return round->decodable_ns <= bound_ns;
}

uint64_t brg_policy_patience_ns(const struct brg_code_spec *spec,
                                const struct brg_policy_round *round,
                                const struct brg_policy_patience *patience, uint32_t attempts) {
    uint64_t wait_ns = patience->given_ns;
    if (spec->policy == BRG_POLICY_PAPER) return patience->timeout_ns;
    if (wait_ns == 0) {
        if (round->first_ns == BRG_POLICY_NEVER) return patience->timeout_ns;
        BRG_ASSERT(round->started_ns <= round->first_ns);
        const uint64_t fastest_ns = round->first_ns - round->started_ns;
        const uint64_t extra_ns =
            spec->kind == BRG_CODE_SPECULATIVE ? times_mu(spec, fastest_ns) : fastest_ns;
        if (__builtin_add_overflow(fastest_ns, extra_ns, &wait_ns)) return patience->timeout_ns;
        if (wait_ns < patience->least_ns) wait_ns = patience->least_ns;
    }
    const uint32_t doublings =
        attempts < BRG_POLICY_DOUBLINGS_MAX ? attempts : BRG_POLICY_DOUBLINGS_MAX;
    if (wait_ns >= patience->timeout_ns >> doublings) return patience->timeout_ns;
    return wait_ns << doublings;
}
