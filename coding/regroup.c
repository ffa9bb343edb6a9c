#include "coding/regroup.h"

#include <string.h>

/* Badness is counted in eighths: of a late score of 1, and of the time of the fastest. Less than
 * one is forgiven: who is as good as equal keeps its seat instead of moving at every breath of
 * noise. Lateness comes first: a group whose members are all late costs a round each time, while
 * measured times go up and down by more than that with whatever else the machines do. */
#define STEP_PPM (BRG_REGROUP_PPM / 8)
#define LATE_MAX (BRG_REGROUP_PPM / STEP_PPM)
#define SLOW_MAX 32u   /* five times the time of the fastest is as bad as it gets */
#define VACANT_BAD 64u /* worse than late in each round and as slow as can be */
#define RANKS_MAX ((LATE_MAX + 1) * (SLOW_MAX + 1) + 1) /* the vacant are the worst */
#define NO_SEAT UINT32_MAX

uint32_t brg_regroup_decay_ppm(uint32_t late_ppm, int was_late) {
    BRG_ASSERT(late_ppm <= BRG_REGROUP_PPM);
    return late_ppm / 4 * 3 + (was_late ? BRG_REGROUP_PPM / 4 : 0);
}

static uint64_t fastest_ns(const struct brg_regroup_seat *seats, uint32_t n) {
    uint64_t best_ns = 0;
    for (uint32_t p = 0; p < n; p++) {
        if (seats[p].vacant || seats[p].chunk_ns == 0) continue;
        if (best_ns == 0 || seats[p].chunk_ns < best_ns) best_ns = seats[p].chunk_ns;
    }
    return best_ns;
}

/* What is bad about a member, or about all of a group: 0 for the good ones. */
struct bad {
    uint64_t late;  /* its late score */
    uint64_t total; /* .. and how slow it is */
};

static struct bad badness(const struct brg_regroup_seat *seat, uint64_t best_ns) {
    BRG_ASSERT(seat->late_ppm <= BRG_REGROUP_PPM);
    if (seat->vacant) return (struct bad){VACANT_BAD, VACANT_BAD};
    const uint64_t late = seat->late_ppm / STEP_PPM;
    if (seat->chunk_ns <= best_ns) return (struct bad){late, late};
    const uint64_t slow = (seat->chunk_ns - best_ns) / (best_ns / 8 + 1);
    return (struct bad){late, late + (slow < SLOW_MAX ? slow : SLOW_MAX)};
}

/* By lateness and then by slowness, below RANKS_MAX; 0 for the good ones. */
static uint32_t rank_of(struct bad bad) {
    if (bad.late > LATE_MAX) return RANKS_MAX - 1;
    return (uint32_t)(bad.late * (SLOW_MAX + 1) + (bad.total - bad.late));
}

static int is_less(struct bad a, struct bad b) {
    return a.late != b.late ? a.late < b.late : a.total < b.total;
}

static void add(struct bad *sum, struct bad more) {
    sum->late += more.late;
    sum->total += more.total;
}

struct deal {
    uint32_t n, groups;
    uint32_t own[BRG_CODE_WORKERS_MAX];   /* the group of each position */
    uint32_t group[BRG_CODE_WORKERS_MAX]; /* of whoever sits at a position now: its next group */
    uint32_t free_seats[BRG_CODE_WORKERS_MAX]; /* of each group */
    struct bad bad[BRG_CODE_WORKERS_MAX];      /* dealt to each group so far */
};

static void give(struct deal *d, uint32_t who, uint32_t g, struct bad bad) {
    BRG_ASSERT(d->free_seats[g] > 0);
    d->free_seats[g]--;
    add(&d->bad[g], bad);
    d->group[who] = g;
}

/* The group with a seat and the least badness; of equals `own`, else the lowest. Whoever is only
 * slow goes where the sum is least: it is no harm to those who are late, nor they to it. */
static uint32_t best_group(const struct deal *d, uint32_t own, struct bad who) {
    uint32_t best = NO_SEAT;
    struct bad least = {0, 0};
    for (uint32_t g = 0; g < d->groups; g++) {
        if (d->free_seats[g] == 0) continue;
        const struct bad here = {who.late > 0 ? d->bad[g].late : 0, d->bad[g].total};
        if (best != NO_SEAT && !is_less(here, least) && (g != own || is_less(least, here)))
            continue;
        best = g;
        least = here;
    }
    BRG_ASSERT(best != NO_SEAT);
    return best;
}

/* The bad ones, worst first and the lowest position of equals, by counting. */
static uint32_t rank(const struct bad *bad, uint32_t n, uint32_t *order) {
    uint32_t worse[RANKS_MAX + 1] = {0}; /* how many are at least so bad, then: where they begin */
    for (uint32_t p = 0; p < n; p++) worse[rank_of(bad[p])]++;
    for (uint32_t k = RANKS_MAX; k-- > 0;) worse[k] += worse[k + 1];
    const uint32_t count = worse[1];
    for (uint32_t p = 0; p < n; p++) {
        const uint32_t k = rank_of(bad[p]);
        if (k > 0) order[worse[k + 1]++] = p;
    }
    return count;
}

/* How unevenly the badness lies on the groups: the sums of its squares. */
static struct bad unevenness(const struct bad *bad, uint32_t groups) {
    struct bad sum = {0, 0};
    for (uint32_t g = 0; g < groups; g++) {
        add(&sum, (struct bad){bad[g].late * bad[g].late, bad[g].total * bad[g].total});
    }
    return sum;
}

/* The same as everybody sits now. */
static struct bad present_unevenness(const struct deal *d, const struct bad *bad) {
    struct bad on[BRG_CODE_WORKERS_MAX];
    memset(on, 0, d->groups * sizeof *on);
    for (uint32_t p = 0; p < d->n; p++) add(&on[d->own[p]], bad[p]);
    return unevenness(on, d->groups);
}

/* Positions for the groups dealt: who stays in its group keeps its own, the others fill up. */
static void seat(const struct deal *d, uint32_t *out) {
    uint32_t next[BRG_CODE_WORKERS_MAX]; /* the first position of a group that may be free */
    for (uint32_t p = 0; p < d->n; p++) out[p] = NO_SEAT;
    for (uint32_t p = d->n; p-- > 0;) {
        const uint32_t g = d->own[p];
        next[g] = p;
        if (d->group[p] == g) out[p] = p;
    }
    for (uint32_t who = 0; who < d->n; who++) {
        const uint32_t g = d->group[who];
        if (out[who] == who) continue;
        while (out[next[g]] != NO_SEAT) next[g]++; /* a group's positions are neighbours */
        BRG_ASSERT(d->own[next[g]] == g);
        out[next[g]] = who;
    }
}

void brg_regroup_deal(const struct brg_scheme *s, const struct brg_regroup_seat *seats,
                      uint32_t *out) {
    const uint32_t n = brg_scheme_spec(s)->n, groups = brg_scheme_group_count(s);
    uint32_t order[BRG_CODE_WORKERS_MAX];
    struct bad bad[BRG_CODE_WORKERS_MAX];
    struct deal d;
    for (uint32_t p = 0; p < n; p++) out[p] = p;
    if (brg_scheme_spec(s)->kind != BRG_CODE_FRC || groups == 1 || groups == n) return;

    const uint64_t best_ns = fastest_ns(seats, n);
    for (uint32_t p = 0; p < n; p++) bad[p] = badness(&seats[p], best_ns);
    const uint32_t bad_count = rank(bad, n, order);
    if (bad_count == 0) return;

    d.n = n;
    d.groups = groups;
    memset(d.free_seats, 0, groups * sizeof *d.free_seats);
    memset(d.bad, 0, groups * sizeof *d.bad);
    for (uint32_t p = 0; p < n; p++) {
        d.own[p] = brg_scheme_group_of(s, p);
        d.free_seats[d.own[p]]++;
        d.group[p] = NO_SEAT;
    }
    for (uint32_t k = 0; k < bad_count; k++) {
        const uint32_t who = order[k];
        give(&d, who, best_group(&d, d.own[who], bad[who]), bad[who]);
    }
    if (!is_less(unevenness(d.bad, groups), present_unevenness(&d, bad))) return; /* no better */
    for (uint32_t p = 0; p < n; p++) { /* the good ones stay where there is a seat .. */
        const uint32_t own = d.own[p];
        if (bad[p].total == 0 && d.free_seats[own] > 0) give(&d, p, own, bad[p]);
    }
    for (uint32_t p = 0, g = 0; p < n; p++) { /* .. and the rest fills up */
        if (d.group[p] != NO_SEAT) continue;
        while (d.free_seats[g] == 0) g++;
        give(&d, p, g, bad[p]);
    }
    seat(&d, out);
}
