#include "coding/policy.h"

#define PPM UINT64_C(1000000)

int brg_policy_check(const struct brg_code_spec *spec, struct brg_why *why) {
    if (spec->policy < BRG_POLICY_EARLY || spec->policy > BRG_POLICY_PAPER) {
        return brg_why_set(why, BRG_EINVAL,
                           "the policy has number %u, which this version does not know: use early, "
                           "minwait or paper",
                           spec->policy);
    }
    return BRG_OK;
}

uint64_t brg_policy_bound_ns(const struct brg_code_spec *spec,
                             const struct brg_policy_round *round) {
    if (round->first_ns == BRG_POLICY_NEVER) return BRG_POLICY_NEVER;
    BRG_ASSERT(round->started_ns <= round->first_ns);
    const uint64_t fastest_ns = round->first_ns - round->started_ns;
    /* fastest * mu / 1e6 in two parts, since the product may pass 64 bits; mu_ppm has 32. */
    const uint64_t whole = fastest_ns / PPM, rest = fastest_ns % PPM;
    uint64_t extra_ns;
    if (__builtin_mul_overflow(whole, (uint64_t)spec->mu_ppm, &extra_ns)) return BRG_POLICY_NEVER;
    uint64_t bound_ns;
    if (__builtin_add_overflow(extra_ns, rest * spec->mu_ppm / PPM, &extra_ns) ||
        __builtin_add_overflow(round->first_ns, extra_ns, &bound_ns)) {
        return BRG_POLICY_NEVER;
    }
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
