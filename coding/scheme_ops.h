/* scheme_ops.h - inside coding/ only: the layout of a scheme, the functions that one code must
 * bring to stand behind scheme.h, and the two gradient codes as parts of others.  Add a code: its
 * file, its row in scheme.c's table. */
#ifndef BRG_SCHEME_OPS_H
#define BRG_SCHEME_OPS_H

#include "coding/scheme.h"

struct brg_scheme {
    struct brg_code_spec spec;
    uint32_t units;
    uint32_t load_chunks;
    uint32_t groups;    /* of positions */
    uint32_t parts;     /* units of a group's share, >= 1; 1 where the code has none */
    uint32_t plan_only; /* 1: from init_plan, the table is empty */
    uint32_t padding;
    double table[]; /* the code's own; scheme_ops.table_count of them */
};

/* All are called with arguments that scheme.c has checked. */
struct brg_scheme_ops {
    int (*check)(const struct brg_code_spec *spec, struct brg_why *why);
    size_t (*table_count)(const struct brg_code_spec *spec);
    void (*plan)(struct brg_scheme *s); /* units, load, groups, parts; spec is set, the rest 0 */
    int (*init)(struct brg_scheme *s, struct brg_why *why); /* the table; after plan */
    uint32_t (*group_of)(const struct brg_scheme *s, uint32_t position);
    uint32_t (*unit_chunks)(const struct brg_scheme *s, uint32_t unit);
    void (*recipe)(const struct brg_scheme *s, uint32_t unit, struct brg_recipe *out);
    uint32_t (*assign)(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                       uint32_t position, struct brg_minitask *out);
    int (*may_end)(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have);
    uint32_t (*missing)(const struct brg_scheme *s, uint64_t round, const struct brg_bits *have,
                        struct brg_bits *out); /* out [jobs] is empty at first */
    int (*decode)(const struct brg_scheme *s, const struct brg_bits *available, double *weights);
};

extern const struct brg_scheme_ops brg_frc_ops;    /* NONE and SPECULATIVE too: groups of one */
extern const struct brg_scheme_ops brg_cyclic_ops; /* DCT too: another matrix */
extern const struct brg_scheme_ops brg_sr_sgc_ops;
extern const struct brg_scheme_ops brg_m_sgc_ops;

/* ---- balanced ranges (frc.c) ---- */

/* First element of range g where `total` elements are cut into `parts`. asserts: g <= parts */
uint32_t brg_cut(uint32_t total, uint32_t parts, uint32_t g);
/* The g with cut(total, parts, g) <= element < cut(total, parts, g + 1). */
uint32_t brg_cut_of(uint32_t total, uint32_t parts, uint32_t element);
/* The most elements of a range. */
uint32_t brg_cut_most(uint32_t total, uint32_t parts);
/* The share that is the plain sum of `count` chunks from `first` on. */
void brg_recipe_sum(struct brg_recipe *out, uint32_t first, uint32_t count);

/* ---- the cyclic code over n blocks (cyclic.c) ---- */

/* One matrix and what decoding needs, at `table` in a scheme. */
struct brg_cyclic {
    uint32_t n;
    uint32_t s;
    const double *table; /* brg_cyclic_table_count(n, s) of them; NULL: only counts are asked for */
};

/* errors: BRG_EINVAL s is too large to decode well. `code` and `setting` are for the sentence */
BRG_CHECK int brg_cyclic_check(uint32_t s, const char *code, const char *setting,
                               struct brg_why *why);
size_t brg_cyclic_table_count(uint32_t n, uint32_t s);
/* Fills the table: draws matrices from `seed` until one is good. Tests ask for an impossible bound
 * to see it refused. errors: BRG_ERANK */
BRG_CHECK int brg_cyclic_build(uint32_t n, uint32_t s, double *table, uint64_t seed,
                               double amplification_max, struct brg_why *why);
/* Row `unit` of the matrix over blocks of `block` chunks, the first at chunk `first`. */
void brg_cyclic_recipe(const struct brg_cyclic *c, uint32_t unit, uint32_t first, uint32_t block,
                       struct brg_recipe *out);
/* errors: BRG_ERANK, weights [n] untouched; weights may be NULL to ask only whether. */
BRG_CHECK int brg_cyclic_decode(const struct brg_cyclic *c, const struct brg_bits *available,
                                double *weights);
/* The fewest units that make `have` decodable, lowest first, into out; table NULL: n - s units are
 * enough. */
uint32_t brg_cyclic_missing(const struct brg_cyclic *c, const struct brg_bits *have,
                            struct brg_bits *out);
/* N [n, s]: column k is row k of the left null space of the matrix, which is orthonormal. */
const double *brg_cyclic_null(const struct brg_cyclic *c);
/* 1 where `have` is decodable; table NULL: as for missing. */
int brg_cyclic_enough(const struct brg_cyclic *c, const struct brg_bits *have);

/* decode of every code whose gradient is the plain sum of its units: all of them are needed, each
 * counts once. errors: BRG_ERANK one is missing */
BRG_CHECK int brg_scheme_sum_all(const struct brg_scheme *s, const struct brg_bits *available,
                                 double *weights);

/* 1 where all units 0 .. count-1 are in `have`. */
static inline int brg_bits_full(const struct brg_bits *have, uint32_t count) {
    struct brg_bits all;
    brg_bits_fill(&all, count);
    return brg_bits_within(&all, have);
}

/* What of units 0 .. count-1 is not in `have`, into out; returns how many. */
static inline uint32_t brg_bits_lacking(const struct brg_bits *have, uint32_t count,
                                        struct brg_bits *out) {
    brg_bits_fill(out, count);
    brg_bits_subtract(out, have);
    return brg_bits_count(out);
}

#endif
