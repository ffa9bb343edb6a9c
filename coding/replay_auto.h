/* replay_auto.h - a run in virtual time that tunes itself, as a live one does: probe, choose, go
 * on, choose again when the rounds are not what was predicted.
 *
 *   probe rounds ─► tune ─► rounds of the choice ── checks after 8, 16, 32, 64, 96 .. ─┐
 *                    ▲                                 │ outside the band, or the check  │ inside
 *                    └─────────────────────────────────┘ after 32 or 128 rounds          └─► go on
 *
 * A code that was in force is judged by what it did. What a late worker would have taken is not
 * known to the tuner here either: it sees what a coordinator sees. A switch loses the jobs in
 * flight, which are done again: T rounds. Pure; the caller's block; one thread. */
#ifndef BRG_CODING_REPLAY_AUTO_H
#define BRG_CODING_REPLAY_AUTO_H

#include "coding/tuner.h"

#define BRG_AUTO_DECISIONS_MAX 16u

struct brg_auto_config {
    struct brg_tuner_config tuner; /* keep_ppm, current and steps_left are set here */
    uint32_t probe_rounds;         /* 0: brg_tuner_probe_rounds */
};

struct brg_auto_decision {
    uint64_t round;                   /* rounds before it */
    uint64_t step_ns, before_step_ns; /* predicted; measured of the code before, or 0 */
    struct brg_code_spec spec;
};

struct brg_auto_result {
    struct brg_replay_totals totals;
    uint32_t count;
    struct brg_auto_decision decisions[BRG_AUTO_DECISIONS_MAX];
};

struct brg_auto; /* the block */

size_t brg_auto_size_bytes(const struct brg_auto_config *config);

/* brg_auto_run - `steps` steps, probe included.
 *
 * shape:  profile->n == config->tuner.n
 * errors: BRG_EINVAL as brg_tuner_init and brg_replay_init, with the sentence in why
 * cost:   the tuner's for each decision (at most BRG_AUTO_DECISIONS_MAX), and the replay's */
BRG_CHECK int brg_auto_run(struct brg_auto *a, size_t size_bytes,
                           const struct brg_auto_config *config, const struct brg_profile *profile,
                           uint64_t steps, struct brg_auto_result *out, struct brg_why *why);

#endif
