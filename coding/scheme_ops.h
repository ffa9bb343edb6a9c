/* scheme_ops.h - inside coding/ only: the layout of a scheme, and the functions that one code must
 * bring to stand behind scheme.h.  Add a code: its file, its row in scheme.c's table. */
#ifndef BRG_SCHEME_OPS_H
#define BRG_SCHEME_OPS_H

#include "coding/scheme.h"

struct brg_scheme {
    struct brg_code_spec spec;
    uint32_t units;
    uint32_t load_chunks;
    double table[]; /* the code's own; scheme_ops.table_count of them */
};

/* All are called with arguments that scheme.c has checked. */
struct brg_scheme_ops {
    int (*check)(const struct brg_code_spec *spec, struct brg_why *why);
    size_t (*table_count)(const struct brg_code_spec *spec);
    int (*init)(struct brg_scheme *s, struct brg_why *why); /* spec is set, the rest is 0 */
    uint32_t (*group_of)(const struct brg_scheme *s, uint32_t position);
    void (*recipe)(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out);
    uint32_t (*assign)(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                       uint32_t position, struct brg_minitask *out);
    int (*may_end)(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have);
    uint32_t (*missing)(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out);
    int (*decode)(const struct brg_scheme *s, const struct brg_bits *available, double *weights);
};

extern const struct brg_scheme_ops brg_frc_ops; /* NONE too: groups of one */
extern const struct brg_scheme_ops brg_cyclic_ops;

/* init of cyclic with another bound than BRG_CYCLIC_AMPLIFICATION_MAX: tests ask for the impossible
 * to see it refused. errors: BRG_ERANK */
BRG_CHECK int brg_cyclic_build(struct brg_scheme *s, double amplification_max, struct brg_why *why);

/* assign of every code with delay 0: a position computes the unit of its group, nothing else. */
uint32_t brg_scheme_assign_own(const struct brg_scheme *s, uint64_t round,
                               const struct brg_bits *have, uint32_t position,
                               struct brg_minitask *out);

#endif
