#include "coding/profile.h"

#include "base/prng.h"

#include <math.h>

#define SALT_WORKER 1u
#define SALT_ROUND 2u
#define SALT_ENTER 3u
#define ENTER_MAX                                                                                  \
    0.45 /* a worker that is slow most of the time is no straggler but a slow worker */

const struct brg_profile_cell *brg_profile_cell(const struct brg_profile *p, uint64_t round,
                                                uint32_t worker) {
    BRG_ASSERT(worker < p->n);
    return &p->cells[(size_t)(round % p->rounds) * p->n + worker];
}

uint64_t brg_profile_cell_ns(const struct brg_profile_cell *cell, uint32_t chunks, uint32_t total) {
    BRG_ASSERT(chunks <= total);
    BRG_ASSERT(total > 0 && total <= 1u << 17);
    return cell->fixed_ns + cell->rate_ns * chunks / total;
}

struct brg_profile_ge brg_profile_ge_default(void) {
    return (struct brg_profile_ge){
        .enter = 0.0416,
        .leave = 0.845,
        .base_s = 0.5,
        .body_s = 0.085,
        .body_sigma = 0.45,
        .slow_s = 0.55,
        .tail_s = 0.22,
        .jitter_s = 0.012,
        .stall = 1e-4,
        .stall_s = 22.0,
        .alpha_s = 2.2,
        .seed = 1,
    };
}

static int check(const struct brg_profile_ge *ge, uint32_t n, uint32_t rounds,
                 struct brg_why *why) {
    const struct {
        const char *name;
        double value, low, high;
    } all[] = {
        {"p (fast to slow)", ge->enter, 0.0, ENTER_MAX},
        {"q (slow to fast)", ge->leave, 1e-6, 1.0},
        {"shape", ge->shape, 0.0, 1e6},
        {"base", ge->base_s, 1e-6, 3600.0},
        {"body", ge->body_s, 0.0, 3600.0},
        {"sigma", ge->body_sigma, 0.0, 3.0},
        {"slow", ge->slow_s, 1e-6, 3600.0},
        {"tail", ge->tail_s, 0.0, 3600.0},
        {"jitter", ge->jitter_s, 0.0, 60.0},
        {"stall (probability)", ge->stall, 0.0, 1.0},
        {"stall-length", ge->stall_s, 0.0, 3600.0},
        {"alpha", ge->alpha_s, 0.0, 36000.0},
        {"speed", ge->speed_sigma, 0.0, 2.0},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value >= all[i].low && all[i].value <= all[i].high) continue;
        return brg_why_set(why, BRG_EINVAL,
                           "the setting %s of the delay profile is %g; set it between %g and %g",
                           all[i].name, all[i].value, all[i].low, all[i].high);
    }
    if (n < 1 || n > BRG_PROFILE_WORKERS_MAX || rounds < 1 || rounds > BRG_PROFILE_ROUNDS_MAX ||
        (uint64_t)n * rounds > BRG_PROFILE_CELLS_MAX) {
        return brg_why_set(why, BRG_EINVAL,
                           "a profile of %u workers and %u rounds is out of range: at most %u "
                           "workers, %u rounds and %u of their product",
                           n, rounds, BRG_PROFILE_WORKERS_MAX, BRG_PROFILE_ROUNDS_MAX,
                           BRG_PROFILE_CELLS_MAX);
    }
    return BRG_OK;
}

static double exponential(struct brg_prng *g) {
    return -log(1.0 - brg_prng_unit(g));
}

/* Gamma with mean 1 (Marsaglia, Tsang, "A simple method for generating gamma variables", 2000;
 * below shape 1 by their power of a uniform). A draw is accepted with more than 95 %. */
static double gamma_of(struct brg_prng *g, double shape) {
    const double lift = shape < 1.0 ? 1.0 : 0.0, d = shape + lift - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    double value = d;
    for (int tries = 0; tries < 64; tries++) {
        const double x = brg_prng_normal(g), v = 1.0 + c * x;
        if (v <= 0.0) continue;
        const double cube = v * v * v;
        if (log(1.0 - brg_prng_unit(g)) >= 0.5 * x * x + d - d * cube + d * log(cube)) continue;
        value = d * cube;
        break;
    }
    if (lift > 0.0) value *= pow(1.0 - brg_prng_unit(g), 1.0 / shape);
    return value / shape;
}

static uint64_t to_ns(double seconds) {
    const double ns = seconds * 1e9;
    if (ns <= 0.0) return 0;
    return ns >= (double)BRG_PROFILE_NS_MAX ? BRG_PROFILE_NS_MAX : (uint64_t)ns;
}

/* One cell; `slow` is the state of the worker in this round. */
static struct brg_profile_cell draw_cell(const struct brg_profile_ge *ge, struct brg_prng *g,
                                         int slow, double alpha_s, double common_s) {
    const double body_max_s = ge->base_s > 0.5 ? ge->base_s : 0.5;
    double body_s = ge->body_s * exp(ge->body_sigma * brg_prng_normal(g));
    if (body_s > body_max_s) body_s = body_max_s;
    double fixed_s = ge->base_s + body_s + common_s, rate_s = alpha_s;
    const double more_s = ge->slow_s + ge->tail_s * exponential(g);
    const double ripple = 1.0 + 0.02 * brg_prng_normal(g);
    if (ge->multiply) {
        double factor = slow ? 1.0 + more_s / ge->slow_s : 1.0;
        factor *= ripple < 0.94 ? 0.94 : ripple > 1.06 ? 1.06 : ripple;
        fixed_s *= factor;
        rate_s *= factor;
    } else if (slow) {
        fixed_s += more_s;
    }
    const double stalls = brg_prng_unit(g), length = 0.8 + 0.4 * brg_prng_unit(g);
    if (stalls < ge->stall) fixed_s += ge->stall_s * length;
    if (fixed_s < 0.1 * ge->base_s) fixed_s = 0.1 * ge->base_s; /* the tail of the jitter */
    return (struct brg_profile_cell){.fixed_ns = to_ns(fixed_s), .rate_ns = to_ns(rate_s)};
}

int brg_profile_make(const struct brg_profile_ge *ge, uint32_t n, uint32_t rounds,
                     struct brg_profile_cell *cells, struct brg_profile *out, struct brg_why *why) {
    const int rc = check(ge, n, rounds, why);
    if (rc != BRG_OK) return rc;
    for (uint32_t worker = 0; worker < n; worker++) {
        /* A generator of its own for each worker: more rounds or more workers change no cell. */
        struct brg_prng w = {brg_prng_mix(ge->seed, SALT_ENTER, worker, 0)};
        struct brg_prng g = {brg_prng_mix(ge->seed, SALT_WORKER, worker, 0)};
        double enter = ge->enter;
        if (ge->shape > 0.0) enter *= gamma_of(&w, ge->shape);
        if (enter > ENTER_MAX) enter = ENTER_MAX;
        const double alpha_s = ge->alpha_s * exp(ge->speed_sigma * brg_prng_normal(&w));
        int slow = brg_prng_unit(&w) < enter / (enter + ge->leave);
        for (uint32_t round = 0; round < rounds; round++) {
            struct brg_prng c = {brg_prng_mix(ge->seed, SALT_ROUND, round, 0)};
            const double u = brg_prng_unit(&g), common_s = ge->jitter_s * brg_prng_normal(&c);
            slow = slow ? u >= ge->leave : u < enter;
            cells[(size_t)round * n + worker] = draw_cell(ge, &g, slow, alpha_s, common_s);
        }
    }
    *out = (struct brg_profile){.n = n, .rounds = rounds, .cells = cells};
    return BRG_OK;
}
