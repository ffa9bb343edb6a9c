#include "coding/pattern.h"

#define KEPT BRG_PATTERN_WINDOW_MAX

/* The late positions `ago` rounds before the one at hand: 1 for the last that is over. */
static const struct brg_bits *late_ago(const struct brg_pattern *p, uint32_t ago) {
    BRG_ASSERT(ago >= 1);
    BRG_ASSERT(ago <= p->rounds);
    return &p->late[(p->rounds - ago) % KEPT];
}

/* Whoever was late from `from` to `to` rounds ago, as far as there were such rounds. */
static struct brg_bits late_between(const struct brg_pattern *p, uint32_t from, uint32_t to) {
    struct brg_bits some;
    brg_bits_clear(&some);
    for (uint32_t ago = from; ago <= to && ago <= p->rounds; ago++) {
        brg_bits_join(&some, late_ago(p, ago));
    }
    return some;
}

/* 1 where no number is in both. */
static int apart(const struct brg_bits *a, const struct brg_bits *b) {
    uint64_t both = 0;
    for (uint32_t i = 0; i < BRG_BITS_WORDS; i++) both |= a->words[i] & b->words[i];
    return both == 0;
}

/* 1 where no position of `late` was late in `b` or more of the `rounds` before. */
static int seldom(const struct brg_pattern *p, const struct brg_bits *late, uint32_t rounds,
                  uint32_t b) {
    for (uint32_t i = brg_bits_next(late, 0); i < BRG_BITS_MAX; i = brg_bits_next(late, i + 1)) {
        uint32_t times = 0;
        for (uint32_t ago = 1; ago <= rounds && ago <= p->rounds; ago++) {
            times += (uint32_t)brg_bits_has(late_ago(p, ago), i);
        }
        if (times >= b) return 0;
    }
    return 1;
}

int brg_pattern_allows(const struct brg_pattern_model *model, const struct brg_pattern *p,
                       const struct brg_bits *late) {
    if (model->kind == BRG_PATTERN_PER_ROUND) return brg_bits_count(late) <= model->lambda;
    BRG_ASSERT(model->b >= 1);
    BRG_ASSERT(model->b <= model->w);
    BRG_ASSERT(model->w <= KEPT);

    struct brg_bits window = late_between(p, 1, model->w - 1);
    brg_bits_join(&window, late);
    if (brg_bits_count(&window) > model->lambda) return 0;
    if (model->kind == BRG_PATTERN_ARBITRARY) return seldom(p, late, model->w - 1, model->b);
    BRG_ASSERT(model->kind == BRG_PATTERN_BURSTY);
    const struct brg_bits before = late_between(p, model->b, model->w - 1);
    return apart(&before, late);
}

void brg_pattern_push(struct brg_pattern *p, const struct brg_bits *late) {
    p->late[p->rounds % KEPT] = *late;
    p->rounds++;
}

struct brg_pattern_model brg_pattern_model_of(const struct brg_code_spec *spec) {
    if (spec->kind == BRG_CODE_SR_SGC || spec->kind == BRG_CODE_M_SGC) {
        return (struct brg_pattern_model){
            .kind = BRG_PATTERN_BURSTY, .b = spec->b, .w = spec->w, .lambda = spec->lambda};
    }
    return (struct brg_pattern_model){.kind = BRG_PATTERN_PER_ROUND, .lambda = spec->s};
}

int brg_pattern_conforms(const struct brg_code_spec *spec, const struct brg_pattern *p,
                         const struct brg_bits *late) {
    const struct brg_pattern_model model = brg_pattern_model_of(spec);
    return brg_pattern_allows(&model, p, late);
}

void brg_pattern_commit(const struct brg_code_spec *spec, struct brg_pattern *p,
                        const struct brg_bits *late, uint32_t reattempts) {
    struct brg_bits pushed = *late;
    const int is_clean = spec->kind == BRG_CODE_SR_SGC && reattempts == 0 &&
                         brg_bits_count(late) <= brg_code_s(spec);
    if (is_clean) brg_bits_clear(&pushed);
    brg_pattern_push(p, &pushed);
}
