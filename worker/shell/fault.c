#include "worker/shell/fault.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/prng.h"
#include "base/units.h"

#define FAULT_TEXT_BYTES 256u
#define ROTA_MAX 1024u
#define FACTOR_MAX 1e6
#define STALL_MAX_NS (UINT64_C(86400) * BRG_NS_PER_S)
/* Apart from the seeds of the other kinds: one seed for all must not tie their dice together. */
#define STREAM_DICE 0x6661756c74ULL
#define STREAM_ROTA 0x726f7461ULL
#define STREAM_LIE 0x6c6965ULL
#define STREAM_GE 0x6765ULL
#define STREAM_GE_START 0x67653030ULL

static const char kinds_hint[] =
    "known are slow, stall, die, lie and ge, such as stall:for=2s,share=0.2";

/* ---- reading ---- */

/* One fault being read; which keys were given is remembered, to refuse a second one. */
struct reading {
    struct brg_fault fault;
    const char *text; /* the whole, for sentences */
    uint32_t keys;    /* bits of enum key */
    struct brg_why *why;
};

enum key {
    KEY_FACTOR = 1,
    KEY_FOR = 2,
    KEY_STEP = 4,
    KEY_SHARE = 8,
    KEY_SEED = 16,
    KEY_PICK = 32,
    KEY_INDEX = 64,
    KEY_SCALE = 128,
    KEY_SIGN = 256,
    KEY_RANDOM = 512,
    KEY_P = 1024,
    KEY_Q = 2048,
    KEY_ADD = 4096,
};

static const struct key_name {
    const char *name;
    uint32_t bit;
    uint32_t has_value;
} key_names[] = {
    {"factor", KEY_FACTOR, 1}, {"for", KEY_FOR, 1},     {"step", KEY_STEP, 1},
    {"share", KEY_SHARE, 1},   {"seed", KEY_SEED, 1},   {"pick", KEY_PICK, 1},
    {"index", KEY_INDEX, 1},   {"scale", KEY_SCALE, 1}, {"sign", KEY_SIGN, 0},
    {"random", KEY_RANDOM, 0}, {"p", KEY_P, 1},         {"q", KEY_Q, 1},
    {"add", KEY_ADD, 1},
};

#define KEYS_COMMON ((uint32_t)(KEY_SHARE | KEY_SEED | KEY_PICK | KEY_INDEX))

#define KEYS_LIE ((uint32_t)(KEY_SCALE | KEY_SIGN | KEY_RANDOM))
#define KEYS_LATE ((uint32_t)(KEY_FACTOR | KEY_ADD))
#define HINT_COMMON "share, seed, pick=K/N with index"

static const struct kind_name {
    const char *name;
    uint32_t kind;
    uint32_t allowed, one_of, all_of; /* keys it knows, one of which and all of which it needs */
    const char *hint, *besides;
} kind_names[] = {
    {"slow", BRG_FAULT_SLOW, KEYS_COMMON | KEY_FACTOR, KEY_FACTOR, 0,
     "factor=NUMBER, such as slow:factor=3", HINT_COMMON},
    {"stall", BRG_FAULT_STALL, KEYS_COMMON | KEY_FOR, KEY_FOR, 0,
     "for=DURATION, such as stall:for=2s,share=0.2", HINT_COMMON},
    {"die", BRG_FAULT_DIE, KEYS_COMMON | KEY_STEP, KEY_STEP | KEY_SHARE | KEY_PICK, 0,
     "step=NUMBER or share=NUMBER, such as die:step=17", HINT_COMMON},
    {"lie", BRG_FAULT_LIE, KEYS_COMMON | KEYS_LIE, KEYS_LIE, 0,
     "scale=NUMBER, sign or random, such as lie:scale=1.5,share=0.1", HINT_COMMON},
    {"ge", BRG_FAULT_GE, KEY_P | KEY_Q | KEYS_LATE | KEY_SEED, KEYS_LATE, KEY_P | KEY_Q,
     "p=NUMBER, q=NUMBER and one of factor=NUMBER and add=DURATION, such as "
     "ge:p=0.04,q=0.8,factor=3",
     "seed"},
};

/* A whole number in decimal, at most `max`. */
static int read_u64(const char *text, uint64_t max, uint64_t *out) {
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') return BRG_EINVAL;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || v > max) return BRG_EINVAL;
    *out = v;
    return BRG_OK;
}

static int read_number(const char *text, double *out) {
    char *end = NULL;
    const double v = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(v)) return BRG_EINVAL;
    *out = v;
    return BRG_OK;
}

/* "0.2" or "20%" */
static int read_share(const char *text, uint32_t *ppm) {
    double v = 0;
    if (strchr(text, '%') != NULL) return brg_share_parse(text, ppm);
    if (read_number(text, &v) != BRG_OK || v < 0 || v > 1) return BRG_EINVAL;
    *ppm = (uint32_t)lround(v * 1e6);
    return BRG_OK;
}

/* A probability. */
static int read_chance(const char *text, double *out) {
    double v = 0;
    if (read_number(text, &v) != BRG_OK || v < 0 || v > 1) return BRG_EINVAL;
    *out = v;
    return BRG_OK;
}

/* "2/8" */
static int read_pick(char *text, struct brg_fault *f) {
    uint64_t pick = 0, among = 0;
    char *slash = strchr(text, '/');
    if (slash == NULL) return BRG_EINVAL;
    *slash = '\0';
    const int rc = read_u64(text, ROTA_MAX, &pick);
    const int rc2 = read_u64(slash + 1, ROTA_MAX, &among);
    *slash = '/';
    if (rc != BRG_OK || rc2 != BRG_OK || among == 0 || pick > among) return BRG_EINVAL;
    f->pick = (uint32_t)pick;
    f->among = (uint32_t)among;
    return BRG_OK;
}

static int bad_value(const struct reading *r, const char *key, const char *value,
                     const char *wanted) {
    return brg_why_set(r->why, BRG_EINVAL, "fault \"%s\": %s=%s is not %s", r->text, key, value,
                       wanted);
}

static int read_value(struct reading *r, uint32_t key, const char *name, char *value) {
    struct brg_fault *f = &r->fault;
    uint64_t number = 0;
    switch ((enum key)key) {
    case KEY_FACTOR:
        if (read_number(value, &f->factor) == BRG_OK && f->factor >= 1 && f->factor <= FACTOR_MAX)
            return BRG_OK;
        return bad_value(r, name, value, "a number from 1 to 1000000");
    case KEY_SCALE:
        f->lie = BRG_LIE_SCALE;
        if (read_number(value, &f->factor) == BRG_OK && fabs(f->factor) <= FACTOR_MAX)
            return BRG_OK;
        return bad_value(r, name, value, "a number from -1000000 to 1000000");
    case KEY_FOR:
    case KEY_ADD:
        if (brg_duration_parse(value, &f->for_ns) == BRG_OK && f->for_ns <= STALL_MAX_NS)
            return BRG_OK;
        return bad_value(r, name, value, "a duration of at most a day, such as 2s or 300ms");
    case KEY_STEP:
        if (read_u64(value, UINT64_MAX, &f->step) == BRG_OK && f->step > 0) return BRG_OK;
        return bad_value(r, name, value, "a step; the first step is 1");
    case KEY_SHARE:
        if (read_share(value, &f->share_ppm) == BRG_OK) return BRG_OK;
        return bad_value(r, name, value, "a part of the steps, from 0 to 1 or 0% to 100%");
    case KEY_SEED:
        if (read_u64(value, UINT64_MAX, &f->seed) == BRG_OK) return BRG_OK;
        return bad_value(r, name, value, "a whole number");
    case KEY_PICK:
        if (read_pick(value, f) == BRG_OK) return BRG_OK;
        return bad_value(r, name, value, "K/N with K <= N <= 1024, such as 2/8");
    case KEY_INDEX:
        if (read_u64(value, ROTA_MAX - 1, &number) != BRG_OK)
            return bad_value(r, name, value, "a worker's number; the first is 0");
        f->position = (uint32_t)number;
        return BRG_OK;
    case KEY_P:
    case KEY_Q:
        if (read_chance(value, key == KEY_P ? &f->p : &f->q) == BRG_OK) return BRG_OK;
        return bad_value(r, name, value, "a probability from 0 to 1");
    case KEY_SIGN: f->lie = BRG_LIE_SIGN; return BRG_OK;
    case KEY_RANDOM: f->lie = BRG_LIE_RANDOM; return BRG_OK;
    default: break;
    }
    BRG_ASSERT(0 && "a key without a value to read");
    return BRG_EINVAL;
}

/* One "key=value" or bare word. */
static int read_item(struct reading *r, const struct kind_name *kind, char *item) {
    char *value = strchr(item, '=');
    if (value != NULL) *value++ = '\0';
    for (size_t i = 0; i < sizeof key_names / sizeof *key_names; i++) {
        const struct key_name *key = &key_names[i];
        if (strcmp(item, key->name) != 0) continue;
        if ((key->bit & kind->allowed) == 0) break;
        if ((key->bit & r->keys) != 0)
            return brg_why_set(r->why, BRG_EINVAL, "fault \"%s\": %s is given twice", r->text,
                               item);
        if (key->has_value != (value != NULL))
            return brg_why_set(r->why, BRG_EINVAL, "fault \"%s\": %s %s", r->text, item,
                               key->has_value ? "needs a value behind a '='" : "takes no value");
        r->keys |= key->bit;
        return read_value(r, key->bit, item, value);
    }
    return brg_why_set(r->why, BRG_EINVAL,
                       "fault \"%s\": %s does not know \"%s\"; it takes %s, and %s", r->text,
                       kind->name, item, kind->hint, kind->besides);
}

/* What the keys must be together. */
static int check_whole(const struct reading *r, const struct kind_name *kind) {
    const uint32_t lies = r->keys & KEYS_LIE;
    if ((r->keys & kind->one_of) == 0 || (r->keys & kind->all_of) != kind->all_of)
        return brg_why_set(r->why, BRG_EINVAL, "fault \"%s\": %s needs %s", r->text, kind->name,
                           kind->hint);
    if ((lies & (lies - 1)) != 0)
        return brg_why_set(r->why, BRG_EINVAL, "fault \"%s\": one of scale, sign and random",
                           r->text);
    if ((r->keys & KEYS_LATE) == KEYS_LATE)
        return brg_why_set(r->why, BRG_EINVAL, "fault \"%s\": one of factor and add", r->text);
    if (((r->keys & KEY_PICK) != 0) != ((r->keys & KEY_INDEX) != 0))
        return brg_why_set(r->why, BRG_EINVAL,
                           "fault \"%s\": a rota needs both, such as pick=2/8,index=3", r->text);
    if ((r->keys & KEY_PICK) != 0 && (r->keys & (uint32_t)(KEY_SHARE | KEY_STEP)) != 0)
        return brg_why_set(r->why, BRG_EINVAL,
                           "fault \"%s\": pick chooses the steps already, leave share and step out",
                           r->text);
    if (r->fault.among != 0 && r->fault.position >= r->fault.among)
        return brg_why_set(r->why, BRG_EINVAL,
                           "fault \"%s\": index=%u, but the workers of this rota are 0 to %u",
                           r->text, r->fault.position, r->fault.among - 1);
    return BRG_OK;
}

/* One fault; cuts `text` up. `whole` stays as it was given. */
static int read_fault(const char *whole, char *text, struct brg_fault *out, struct brg_why *why) {
    struct reading r = {.text = whole, .why = why, .fault = {.share_ppm = BRG_SHARE_ONE_PPM}};
    char *save = NULL;
    char *items = strchr(text, ':');
    const struct kind_name *kind = NULL;

    if (items != NULL) *items++ = '\0';
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++)
        if (strcmp(text, kind_names[i].name) == 0) kind = &kind_names[i];
    if (kind == NULL)
        return brg_why_set(why, BRG_EINVAL, "fault \"%s\": there is no fault \"%s\"; %s", whole,
                           text, kinds_hint);
    r.fault.kind = kind->kind;
    r.fault.factor = 1;
    if (items != NULL) {
        for (char *item = strtok_r(items, ",", &save); item != NULL;
             item = strtok_r(NULL, ",", &save)) {
            const int rc = read_item(&r, kind, item);
            if (rc != BRG_OK) return rc;
        }
    }
    const int rc = check_whole(&r, kind);
    if (rc == BRG_OK) *out = r.fault;
    return rc;
}

int brg_faults_parse(const char *text, struct brg_faults *faults, struct brg_why *why) {
    char copy[FAULT_TEXT_BYTES], part[FAULT_TEXT_BYTES];
    struct brg_faults all = *faults;
    char *save = NULL;

    if (strlen(text) >= sizeof copy)
        return brg_why_set(why, BRG_EINVAL, "the fault is longer than %u characters",
                           FAULT_TEXT_BYTES - 1);
    memcpy(copy, text, strlen(text) + 1);
    for (char *one = strtok_r(copy, ";", &save); one != NULL; one = strtok_r(NULL, ";", &save)) {
        if (all.count == BRG_WORKER_FAULTS_MAX)
            return brg_why_set(why, BRG_EFULL, "more than %u faults at once",
                               BRG_WORKER_FAULTS_MAX);
        memcpy(part, one, strlen(one) + 1);
        const int rc = read_fault(one, part, &all.items[all.count], why);
        if (rc != BRG_OK) return rc;
        all.count++;
    }
    if (all.count == faults->count)
        return brg_why_set(why, BRG_EINVAL, "the fault is empty; %s", kinds_hint);
    *faults = all;
    return BRG_OK;
}

/* ---- deciding ---- */

/* Draws `pick` of `among` without repeats; everybody with this seed draws the same. */
static int chosen_by_rota(const struct brg_fault *f, uint64_t step) {
    struct brg_prng g = {.state = brg_prng_mix(f->seed, step, STREAM_ROTA, f->among)};
    uint16_t order[ROTA_MAX];
    BRG_ASSERT(f->among <= ROTA_MAX && f->pick <= f->among);
    for (uint32_t i = 0; i < f->among; i++) order[i] = (uint16_t)i;
    for (uint32_t i = 0; i < f->pick; i++) {
        const uint32_t j = i + (uint32_t)brg_prng_below(&g, f->among - i);
        const uint16_t drawn = order[j];
        order[j] = order[i];
        order[i] = drawn;
        if (drawn == f->position) return 1;
    }
    return 0;
}

/* A number in [0, 1) of this round alone. */
static double ge_draw(const struct brg_fault *f, uint64_t stream, uint64_t round) {
    struct brg_prng g = {.state = brg_prng_mix(f->seed, round, stream, 0)};
    return brg_prng_unit(&g);
}

/* 1 where the machine of this chain is slow in `round`; see the head of fault.h. */
static int ge_is_slow(const struct brg_fault *f, uint64_t round) {
    const uint64_t start = round - round % BRG_FAULT_WALK_MAX; /* here the state is drawn afresh */
    const double stay = 1 - f->q;
    const double low = f->p < stay ? f->p : stay, high = f->p < stay ? stay : f->p;
    uint64_t at = round;
    double u = 0;
    for (; at > start; at--) { /* back to the last round that forgets */
        u = ge_draw(f, STREAM_GE, at);
        if (u < low || u >= high) break;
    }
    int slow = u < low;
    if (at == start) slow = f->p > 0 && ge_draw(f, STREAM_GE_START, start) < f->p / (f->p + f->q);
    while (at < round) { /* and on again: u < p or u < 1 - q decides */
        at++;
        u = ge_draw(f, STREAM_GE, at);
        slow = u < (slow ? stay : f->p);
    }
    return slow;
}

static int happens(const struct brg_fault *f, struct brg_fault_at at) {
    const uint64_t step = at.step;
    if (f->kind == BRG_FAULT_GE) return ge_is_slow(f, at.round);
    if (f->step != 0) return f->step == step;
    if (f->among != 0) return chosen_by_rota(f, step);
    struct brg_prng g = {.state = brg_prng_mix(f->seed, step, STREAM_DICE, f->kind)};
    return brg_prng_below(&g, BRG_SHARE_ONE_PPM) < f->share_ppm;
}

void brg_faults_plan(const struct brg_faults *faults, struct brg_fault_at at,
                     struct brg_fault_plan *out) {
    *out = (struct brg_fault_plan){.slow_factor = 1, .lie_factor = 1};
    for (uint32_t i = 0; i < faults->count; i++) {
        const struct brg_fault *f = &faults->items[i];
        if (!happens(f, at)) continue;
        switch ((enum brg_fault_kind)f->kind) {
        case BRG_FAULT_SLOW: out->slow_factor *= f->factor; break;
        case BRG_FAULT_GE: /* by factor: no wait; by add: factor 1 */
            out->slow_factor *= f->factor;
            if (f->for_ns > out->stall_ns) out->stall_ns = f->for_ns;
            break;
        case BRG_FAULT_STALL:
            if (f->for_ns > out->stall_ns) out->stall_ns = f->for_ns;
            break;
        case BRG_FAULT_DIE: out->die = 1; break;
        case BRG_FAULT_LIE:
            if (out->lie != BRG_LIE_NONE) break;
            out->lie = f->lie;
            out->lie_factor = f->lie == BRG_LIE_SIGN ? -1 : f->factor;
            out->lie_seed = brg_prng_mix(f->seed, at.step, STREAM_LIE, 0);
            break;
        default: BRG_ASSERT(0 && "a fault that does not exist");
        }
    }
}

void brg_fault_lie(const struct brg_fault_plan *plan, float *share, uint64_t count) {
    struct brg_prng g = {.state = plan->lie_seed};
    double squares = 0;
    if (plan->lie == BRG_LIE_NONE) return;
    if (plan->lie != BRG_LIE_RANDOM) {
        for (uint64_t i = 0; i < count; i++) share[i] = (float)(share[i] * plan->lie_factor);
        return;
    }
    /* As long as the true share, so that its norm does not give it away. */
    for (uint64_t i = 0; i < count; i++) squares += (double)share[i] * share[i];
    const double deviation = count > 0 ? sqrt(squares / (double)count) : 0;
    for (uint64_t i = 0; i < count; i++) share[i] = (float)(deviation * brg_prng_normal(&g));
}
