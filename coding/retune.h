/* retune.h - when a run that chooses its code by itself asks the tuner, and what it has learned by
 * then. The live coordinator and a run in virtual time (replay_auto.h) keep the same book.
 *
 *   begin ─► round ─► round ─► ... is_due? ─► prepare ─► brg_tuner_init ─► must_probe?
 *     ▲                                                                    │ no     │ yes
 *     │                                       stay ◄── the same code ── tuner       │
 *     └──── another code comes into force ◄─────────────────────────────┘           │
 *     └──── the probe comes into force ◄────────────────────────────────────────────┘
 *
 * Due: when a probe is long enough; after 8, 16, 32, 64, 96 .. rounds of a choice if they are not
 * what was promised; and after 32 and 128 in any case, since more is known by then, for nothing.
 * Outside the promise the workers are not what they were: what was measured before the later half
 * of the rounds since the last check is forgotten. A code without parts does not show what load
 * costs; where that is all there is, the run probes anew.
 *
 * Pure; flat but for the borrowed points; one thread. */
#ifndef BRG_CODING_RETUNE_H
#define BRG_CODING_RETUNE_H

#include "coding/tuner.h"

#define BRG_RETUNE_KEEP_PPM 20000u /* another choice has to be better by 2 % */
#define BRG_RETUNE_POINTS_A_CELL 4u

/* A point in the life of the code in force: rounds, and their time and workers' time. */
struct brg_retune_mark {
    uint64_t rounds, ns, busy_ns;
};

struct brg_retune {
    struct brg_tuner_config config; /* for brg_tuner_init; slope and tried codes are kept here */
    struct brg_code_spec spec;      /* in force */
    struct brg_tuner_row promise;   /* of it; deals 0: none, it is the probe */
    struct brg_retune_mark now, checked, from; /* what it did counts from `from` on */
    uint64_t round;                            /* of the run: that of the next points */
    uint32_t probe_rounds;
    uint32_t outside; /* the last check found the rounds outside the promise */
    uint32_t point_count, point_room;
    struct brg_point *points; /* [point_room], borrowed */
};

/* brg_retune_point_room - points that are enough for n workers. */
uint32_t brg_retune_point_room(uint32_t n);

/* brg_retune_init - an empty book. own: borrows points. asserts: point_room > 0 */
void brg_retune_init(struct brg_retune *r, const struct brg_tuner_config *config,
                     struct brg_point *points, uint32_t point_room);

/* brg_retune_begin - `spec` is in force from the next round on; promise NULL: it is the probe, or
 * nothing is known of it. A probe that is not the first forgets all points. */
void brg_retune_begin(struct brg_retune *r, const struct brg_code_spec *spec,
                      const struct brg_tuner_row *promise);

/* brg_retune_make_room - forgets the older half of the rounds where `count` more points may not
 * fit. */
void brg_retune_make_room(struct brg_retune *r, uint32_t count);

/* brg_retune_round - a round of the code in force took so long. */
void brg_retune_round(struct brg_retune *r, uint64_t ns, uint64_t busy_ns);

/* brg_retune_mean_ns - time of a round of the code in force, 0 where none was. */
uint64_t brg_retune_mean_ns(const struct brg_retune *r);

/* brg_retune_is_due - 1 where the tuner is to be asked now; once after each round. */
int brg_retune_is_due(struct brg_retune *r);

/* brg_retune_prepare - completes r->config: what codes in force took, and the one that is. */
void brg_retune_prepare(struct brg_retune *r, uint64_t steps_left);

/* brg_retune_must_probe - takes the slope that brg_tuner_init found; 1 where the probe must come
 * into force before anything can be chosen. */
int brg_retune_must_probe(struct brg_retune *r, const struct brg_profile_summary *found);

/* brg_retune_stay - the code in force was chosen again. */
void brg_retune_stay(struct brg_retune *r, const struct brg_tuner_row *promise);

/* brg_retune_failed - no choice came of it: asks again as late as a probe would. */
void brg_retune_failed(struct brg_retune *r);

#endif
