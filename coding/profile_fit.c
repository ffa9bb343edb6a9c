/* profile_fit.c - from what was measured to what each worker would have taken under any load.
 *
 *   points ──► sums a cell ──► slope of all ──► line a cell ──┬─────────────► cells
 *                                                             └─ late ones, longest first:
 *                                                                redistributed to the right */
#include "coding/profile.h"

#include "base/prng.h"

#include <math.h>

/* The scatter of loads, as a part of their squares, from which on a line through points of
 * different cells says more about load than about who was given which. */
#define LOADS_DIFFER 0.02

enum cell_state { CELL_ABSENT = 0, CELL_CENSORED = 1, CELL_SEEN = 2 };

struct cell {
    double l, t, ll, lt, tt; /* sums over the points that were seen, then the line: */
    double fixed_s, rate_s;
    double at_ref_s;        /* time at the reference load; censored: so long at least */
    double cut_s, cut_load; /* the latest instant at which it was known not to be done */
    uint32_t count, state;
};

struct fit {
    const struct brg_profile_fit *in;
    struct cell *cells; /* [cell_count] */
    uint32_t *order;    /* [cell_count]: cells that are not absent, the longest first */
    uint32_t cell_count, ordered;
    double alpha_s, ref_load;
    double slope_zero_s, slope_by_time; /* slope of a cell, from its time at ref_load */
    double excess_s;
    struct brg_prng prng;
};

size_t brg_profile_fit_bytes(uint32_t n, uint32_t rounds) {
    const size_t cells = (size_t)n * rounds;
    return cells * (sizeof(struct cell) + sizeof(uint32_t)) + 256;
}

int brg_line_fit(uint32_t count, const double *x, const double *y, double *slope, double *at_zero) {
    double mean_x = 0.0, mean_y = 0.0, xx = 0.0, xy = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        mean_x += x[i] / count;
        mean_y += y[i] / count;
    }
    for (uint32_t i = 0; i < count; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    if (count < 2 || xx <= 1e-18) return BRG_ERANK;
    *slope = xy / xx;
    *at_zero = mean_y - *slope * mean_x;
    return BRG_OK;
}

/* Sums of squares about a cell's own means. */
static double load_scatter(const struct cell *c) {
    const double v = c->ll - c->l * c->l / c->count;
    return v > 1e-18 ? v : 0.0;
}

static double cross_scatter(const struct cell *c) {
    return c->lt - c->l * c->t / c->count;
}

static int has_line(const struct cell *c) {
    return c->count >= 2 && load_scatter(c) > 0.0;
}

static void add_point(struct fit *f, const struct brg_point *p) {
    const struct brg_profile_fit *in = f->in;
    if (p->worker >= in->n || p->round < in->first_round) return;
    const uint32_t round = p->round - in->first_round;
    if (round >= in->rounds) return;
    struct cell *c = &f->cells[(size_t)round * in->n + p->worker];
    if (p->censored) {
        if (c->state == CELL_ABSENT) c->state = CELL_CENSORED;
        if (p->seconds >= c->cut_s) {
            c->cut_s = p->seconds;
            c->cut_load = p->load;
        }
        return;
    }
    c->state = CELL_SEEN;
    c->count++;
    c->l += p->load;
    c->t += p->seconds;
    c->ll += p->load * p->load;
    c->lt += p->load * p->seconds;
    c->tt += p->seconds * p->seconds;
}

/* One slope for everybody, with an intercept for each cell, so that who was late does not look
 * like load; where no cell has two loads, what the caller knows, or else one line through all. */
static void fit_slope(struct fit *f, struct brg_profile_summary *out) {
    double ll = 0.0, lt = 0.0, tt = 0.0, spare = 0.0, loads = 0.0, points = 0.0;
    struct cell all = {0};
    for (uint32_t i = 0; i < f->cell_count; i++) {
        const struct cell *c = &f->cells[i];
        if (c->state != CELL_SEEN) continue;
        loads += c->l;
        points += c->count;
        all.l += c->l, all.t += c->t, all.ll += c->ll, all.lt += c->lt, all.count += c->count;
        if (!has_line(c)) continue;
        ll += load_scatter(c);
        lt += cross_scatter(c);
        tt += c->tt - c->t * c->t / c->count;
        spare += c->count - 1.0;
    }
    f->ref_load = loads / points;
    f->alpha_s = f->in->alpha_s;
    if (ll > 0.0) {
        f->alpha_s = lt / ll;
        out->has_slope = 1;
    } else if (f->alpha_s <= 0.0 && load_scatter(&all) > LOADS_DIFFER * all.ll) {
        f->alpha_s = cross_scatter(&all) / load_scatter(&all);
        out->has_slope = 2;
    }
    if (f->alpha_s < 0.0) f->alpha_s = 0.0;
    const double rest = tt - f->alpha_s * lt;
    out->noise_s = spare > 0.0 && rest > 0.0 ? sqrt(rest / spare) : 0.0;
    out->alpha_s = f->alpha_s;
}

/* A slope of its own for each cell that has two loads, and how slopes go with times. */
static void fit_lines(struct fit *f) {
    double scatter = 0.0, noise = 0.0, count = 0.0;
    for (uint32_t i = 0; i < f->cell_count; i++) {
        const struct cell *c = &f->cells[i];
        if (c->state != CELL_SEEN || !has_line(c)) continue;
        const double off = cross_scatter(c) / load_scatter(c) - f->alpha_s;
        scatter += off * off;
        noise += f->in->resolution_s * f->in->resolution_s / load_scatter(c);
        count += 1.0;
    }
    const double trust = scatter > noise ? (scatter - noise) / scatter : 0.0;
    double x = 0.0, y = 0.0, xx = 0.0, xy = 0.0;
    for (uint32_t i = 0; i < f->cell_count; i++) {
        struct cell *c = &f->cells[i];
        if (c->state != CELL_SEEN || !has_line(c)) continue;
        const double own = cross_scatter(c) / load_scatter(c);
        c->rate_s = f->alpha_s + trust * (own - f->alpha_s);
        if (c->rate_s < 0.1 * f->alpha_s) c->rate_s = 0.1 * f->alpha_s;
        c->fixed_s = (c->t - c->rate_s * c->l) / c->count;
        c->at_ref_s = c->fixed_s + c->rate_s * f->ref_load;
        x += c->at_ref_s, xx += c->at_ref_s * c->at_ref_s;
        y += c->rate_s, xy += c->at_ref_s * c->rate_s;
    }
    f->slope_zero_s = f->alpha_s;
    const double xs = count > 0.0 ? xx - x * x / count : 0.0;
    if (count < 3.0 || xs <= 1e-12) return;
    f->slope_by_time = (xy - x * y / count) / xs;
    if (f->slope_by_time < 0.0) f->slope_by_time = 0.0;
    f->slope_zero_s = (y - f->slope_by_time * x) / count;
}

/* The slope that goes with `seconds` at `load`. */
static double slope_at(const struct fit *f, double seconds, double load) {
    /* at_ref = seconds - slope (load - ref), slope = zero + by_time at_ref, solved for slope. */
    const double away = load - f->ref_load, below = 1.0 + f->slope_by_time * away;
    double slope = f->slope_zero_s + f->slope_by_time * seconds;
    if (below > 0.2) slope /= below;
    return slope < 0.1 * f->alpha_s ? 0.1 * f->alpha_s : slope;
}

/* Cells with one load get their line, and a part that never came makes a line steeper. */
static void complete_lines(struct fit *f) {
    for (uint32_t i = 0; i < f->cell_count; i++) {
        struct cell *c = &f->cells[i];
        if (c->state == CELL_CENSORED) {
            c->rate_s = slope_at(f, c->cut_s, c->cut_load);
            c->at_ref_s = c->cut_s - c->rate_s * (c->cut_load - f->ref_load);
            if (c->at_ref_s < 0.0) c->at_ref_s = 0.0;
        }
        if (c->state != CELL_SEEN) continue;
        const double load = c->l / c->count, seconds = c->t / c->count;
        if (!has_line(c)) {
            c->rate_s = slope_at(f, seconds, load);
            c->fixed_s = seconds - c->rate_s * load;
        }
        if (c->cut_s > 0.0 && c->cut_load > load && c->cut_s > seconds) {
            const double least = (c->cut_s - seconds) / (c->cut_load - load);
            if (c->rate_s < least) c->rate_s = least;
            c->fixed_s = seconds - c->rate_s * load;
        }
        if (c->fixed_s < 0.0) {
            c->fixed_s = 0.0;
            if (load > 0.0) c->rate_s = seconds / load;
        }
        c->at_ref_s = c->fixed_s + c->rate_s * f->ref_load;
    }
}

/* a before b: longer, and of equal ones the earlier cell, so that the order is one. */
static int before(const struct fit *f, uint32_t a, uint32_t b) {
    const double x = f->cells[a].at_ref_s, y = f->cells[b].at_ref_s;
    return x > y || (x == y && a < b);
}

static void sift(struct fit *f, uint32_t root, uint32_t count) {
    for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && before(f, f->order[child], f->order[child + 1])) child++;
        if (!before(f, f->order[root], f->order[child])) return;
        const uint32_t swap = f->order[root];
        f->order[root] = f->order[child];
        f->order[child] = swap;
    }
}

/* Heapsort: no library call, no worst case. The heap's top is the one that comes last. */
static void sort_cells(struct fit *f) {
    for (uint32_t i = 0; i < f->cell_count; i++) {
        if (f->cells[i].state != CELL_ABSENT) f->order[f->ordered++] = i;
    }
    for (uint32_t i = f->ordered / 2; i-- > 0;) sift(f, i, f->ordered);
    for (uint32_t left = f->ordered; left > 1; left--) {
        const uint32_t swap = f->order[0];
        f->order[0] = f->order[left - 1];
        f->order[left - 1] = swap;
        sift(f, 0, left - 1);
    }
}

/* Mean excess of the longest tenth over where that tenth begins, censored ones by what is known of
 * them: the estimate of an exponential tail. */
static double mean_excess(const struct fit *f) {
    const uint32_t tenth = f->ordered / 10 + 1;
    const double from_s = f->cells[f->order[tenth < f->ordered ? tenth : f->ordered - 1]].at_ref_s;
    double over_s = 0.0, seen = 0.0;
    for (uint32_t i = 0; i < tenth && i < f->ordered; i++) {
        const struct cell *c = &f->cells[f->order[i]];
        over_s += c->at_ref_s - from_s;
        seen += c->state == CELL_SEEN;
    }
    return seen > 0.0 ? over_s / seen : from_s + over_s;
}

/* Redistribution to the right: each censored cell becomes one of those that lasted longer; as if
 * there were one more of those, the exponential tail. */
static void complete_censored(struct fit *f) {
    f->excess_s = mean_excess(f);
    for (uint32_t i = 0; i < f->ordered; i++) {
        struct cell *c = &f->cells[f->order[i]];
        if (c->state != CELL_CENSORED) continue;
        const uint32_t pick = (uint32_t)brg_prng_below(&f->prng, (uint64_t)i + 1);
        if (pick < i) {
            c->fixed_s = f->cells[f->order[pick]].fixed_s;
            c->rate_s = f->cells[f->order[pick]].rate_s;
        } else {
            const double more_s = -f->excess_s * log(1.0 - brg_prng_unit(&f->prng));
            c->rate_s = slope_at(f, c->cut_s + more_s, c->cut_load);
            c->fixed_s = c->cut_s + more_s - c->rate_s * c->cut_load;
        }
        /* It had not answered by then, at its own load. */
        const double short_s = c->cut_s - c->fixed_s - c->rate_s * c->cut_load;
        if (short_s > 0.0) c->fixed_s += short_s;
        if (c->fixed_s < 0.0) c->fixed_s = 0.0;
    }
}

/* Another cell of the same worker, or of anybody. */
static void complete_absent(struct fit *f) {
    const uint32_t n = f->in->n;
    for (uint32_t i = 0; i < f->cell_count; i++) {
        struct cell *c = &f->cells[i];
        if (c->state != CELL_ABSENT) continue;
        uint32_t from = f->order[brg_prng_below(&f->prng, f->ordered)];
        for (uint32_t tries = 0; tries < 8; tries++) {
            const uint32_t round = (uint32_t)brg_prng_below(&f->prng, f->in->rounds);
            const uint32_t own = round * n + i % n;
            if (f->cells[own].state == CELL_ABSENT) continue;
            from = own;
            break;
        }
        c->fixed_s = f->cells[from].fixed_s;
        c->rate_s = f->cells[from].rate_s;
    }
}

static uint64_t to_ns(double seconds) {
    const double ns = seconds * 1e9;
    if (!(ns > 0.0)) return 0;
    return ns >= (double)BRG_PROFILE_NS_MAX ? BRG_PROFILE_NS_MAX : (uint64_t)ns;
}

static void count_cells(const struct fit *f, struct brg_profile_summary *out) {
    out->cells = f->cell_count;
    for (uint32_t i = 0; i < f->cell_count; i++) {
        const struct cell *c = &f->cells[i];
        out->observed += c->state == CELL_SEEN;
        out->censored += c->state == CELL_CENSORED;
        out->absent += c->state == CELL_ABSENT;
        if (c->state == CELL_SEEN && c->at_ref_s > out->seconds_max) out->seconds_max = c->at_ref_s;
    }
    out->fixed_s = f->cells[f->order[f->ordered / 2]].fixed_s;
}

int brg_profile_fit(const struct brg_profile_fit *fit, struct brg_arena *scratch,
                    struct brg_profile_cell *cells, struct brg_profile *out,
                    struct brg_profile_summary *summary) {
    BRG_ASSERT(fit->n > 0 && fit->rounds > 0);
    BRG_ASSERT((uint64_t)fit->n * fit->rounds <= BRG_PROFILE_CELLS_MAX);
    const size_t mark = brg_arena_mark(scratch);
    struct fit f = {.in = fit, .cell_count = fit->n * fit->rounds};
    f.prng.state = brg_prng_mix(fit->seed, fit->n, fit->rounds, 0);
    f.cells = brg_arena_array(scratch, f.cell_count, sizeof *f.cells);
    f.order = brg_arena_array(scratch, f.cell_count, sizeof *f.order);
    int rc = BRG_ENOMEM;
    if (f.cells == NULL || f.order == NULL) goto out;
    *summary = (struct brg_profile_summary){0};
    uint32_t seen = 0;
    for (uint32_t i = 0; i < fit->count; i++) add_point(&f, &fit->points[i]);
    for (uint32_t i = 0; i < f.cell_count; i++) seen += f.cells[i].state == CELL_SEEN;
    rc = BRG_ENOENT;
    if (seen == 0) goto out;
    fit_slope(&f, summary);
    fit_lines(&f);
    complete_lines(&f);
    sort_cells(&f);
    count_cells(&f, summary);
    complete_censored(&f);
    complete_absent(&f);
    for (uint32_t i = 0; i < f.cell_count; i++) {
        cells[i] = (struct brg_profile_cell){.fixed_ns = to_ns(f.cells[i].fixed_s),
                                             .rate_ns = to_ns(f.cells[i].rate_s)};
    }
    *out = (struct brg_profile){.n = fit->n, .rounds = fit->rounds, .cells = cells};
    rc = BRG_OK;
out:
    brg_arena_reset(scratch, mark);
    return rc;
}
