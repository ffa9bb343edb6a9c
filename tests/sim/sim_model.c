/* The "model": three integers. A chunk's gradient depends on every bit of the parameters, so that a
 * share computed from wrong, stale or doubly updated parameters cannot come out right by chance. */
#include "tests/sim/sim.h"

#include <string.h>

enum { SCHEME_BYTES = 1 << 16 };

static union {
    double align;
    uint8_t bytes[SCHEME_BYTES];
} scheme_memory[SIM_CODES_MAX];
static int scheme_ready[SIM_CODES_MAX];
static struct sim_params reference[SIM_RUNS_MAX + 1][SIM_STEPS_MAX + 1];
static uint64_t reference_count[SIM_RUNS_MAX + 1]; /* entries 1 .. this are known */

const struct brg_scheme *sim_scheme(uint32_t code) {
    BRG_ASSERT(code < sim_opt.code_count);
    struct brg_scheme *scheme = (struct brg_scheme *)(void *)scheme_memory[code].bytes;
    if (!scheme_ready[code]) {
        BRG_ASSERT(brg_scheme_size_bytes(&sim_opt.codes[code]) <= SCHEME_BYTES);
        const int rc = brg_scheme_init(scheme, SCHEME_BYTES, &sim_opt.codes[code], NULL);
        BRG_ASSERT(rc == BRG_OK);
        BRG_ASSERT(brg_scheme_unit_count(scheme) <= SIM_UNITS_MAX);
        scheme_ready[code] = 1;
    }
    return scheme;
}

uint32_t sim_code_of(const struct brg_scheme *scheme) {
    uint32_t code = 0;
    while (code < sim_opt.code_count && sim_scheme(code) != scheme) code++;
    BRG_ASSERT(code < sim_opt.code_count);
    return code;
}

void sim_model_reset(void) {
    memset(scheme_ready, 0, sizeof scheme_ready);
    memset(reference_count, 0, sizeof reference_count);
}

struct sim_params sim_initial(uint64_t run, uint32_t model) {
    struct sim_params p;
    for (uint32_t i = 0; i < SIM_DIM; i++) p.values[i] = (int64_t)(run * 1000 + model * 100 + i);
    return p;
}

/* The gradient sum of one chunk at these parameters. */
static void chunk_gradient(uint64_t run, uint64_t step, uint32_t chunk, const struct sim_params *p,
                           double *g) {
    uint64_t h = brg_prng_mix(run, step, chunk, 7);
    for (uint32_t i = 0; i < SIM_DIM; i++) h = brg_prng_mix(h, (uint64_t)p->values[i], i, 1);
    for (uint32_t i = 0; i < SIM_DIM; i++) {
        g[i] = (double)(brg_prng_mix(h, i, 3, 5) % 2001) - 1000.0;
    }
}

void sim_share(const struct brg_scheme *scheme, uint64_t run, uint64_t step, uint32_t unit,
               const struct sim_params *p, double *share) {
    static struct brg_recipe recipe;
    brg_scheme_recipe(scheme, unit, &recipe);
    memset(share, 0, SIM_DIM * sizeof share[0]);
    for (uint32_t k = 0; k < recipe.count; k++) {
        double g[SIM_DIM];
        chunk_gradient(run, step, recipe.chunk[k], p, g);
        for (uint32_t i = 0; i < SIM_DIM; i++) share[i] += recipe.coefficient[k] * g[i];
    }
}

struct sim_params sim_apply(const struct sim_params *p, const int64_t *gradient) {
    struct sim_params out;
    for (uint32_t i = 0; i < SIM_DIM; i++) {
        out.values[i] = (int64_t)((uint64_t)p->values[i] * 3 + (uint64_t)gradient[i]);
    }
    return out;
}

struct sim_params sim_version(uint64_t run, uint64_t version) {
    const uint64_t after = version + 1; /* the step before of the same model is models earlier */
    if (after <= sim_opt.models) return sim_initial(run, (uint32_t)(version % sim_opt.models));
    return sim_reference(run, after - sim_opt.models);
}

struct sim_params sim_reference(uint64_t run, uint64_t step) {
    BRG_ASSERT(run >= 1 && run <= SIM_RUNS_MAX && step >= 1 && step <= SIM_STEPS_MAX);
    while (reference_count[run] < step) {
        const uint64_t next = reference_count[run] + 1;
        const struct sim_params before =
            next <= sim_opt.models ? sim_initial(run, brg_model_of_step(next, sim_opt.models))
                                   : reference[run][next - sim_opt.models];
        int64_t sum[SIM_DIM] = {0};
        for (uint32_t c = 0; c < sim_opt.codes[0].chunks; c++) {
            double g[SIM_DIM];
            chunk_gradient(run, next, c, &before, g);
            for (uint32_t i = 0; i < SIM_DIM; i++) sum[i] += (int64_t)g[i];
        }
        reference[run][next] = sim_apply(&before, sum);
        reference_count[run]++;
    }
    return reference[run][step];
}

struct brg_digest sim_share_digest(const double *share) {
    struct brg_digest d;
    brg_digest_of(share, SIM_DIM * sizeof share[0], &d);
    return d;
}
