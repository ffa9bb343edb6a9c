/* tuner_candidates.c - the grid: for each code the parameters that papers and measurements found
 * worth it, in steps coarse enough that neighbours differ by a few percent. */
#include "coding/policy.h"
#include "coding/tuner.h"

#include <stdio.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof *(array)))
#define FINE 8u /* chunks a worker where the choice is free: parts and odd groups come out even */

struct list {
    uint32_t n, models, chunks, count, room;
    struct brg_code_spec *items;
};

uint32_t brg_tuner_chunks(const struct brg_code_spec *spec) {
    uint64_t chunks = (uint64_t)spec->n * FINE;
    if (spec->kind == BRG_CODE_CYCLIC) chunks = spec->n;
    if (spec->kind == BRG_CODE_SR_SGC && spec->base == BRG_BASE_CYCLIC) chunks = spec->n;
    if (spec->kind == BRG_CODE_M_SGC) {
        const uint64_t w1 = (uint64_t)spec->w - 1;
        chunks = spec->n * w1;
        if (spec->lambda < spec->n) chunks = spec->n * (spec->b + w1 * (spec->lambda + 1));
    }
    return chunks > BRG_CODE_CHUNKS_MAX ? 0 : (uint32_t)chunks;
}

static void add(struct list *l, struct brg_code_spec spec) {
    spec.n = l->n;
    spec.seed = 1;
    spec.chunks = l->chunks > 0 ? l->chunks : brg_tuner_chunks(&spec);
    if (l->count == l->room || brg_scheme_check(&spec, NULL) != BRG_OK) return;
    if (brg_policy_check(&spec, NULL) != BRG_OK || brg_code_delay(&spec) >= l->models) return;
    l->items[l->count++] = spec;
}

static void add_repetition(struct list *l) {
    static const uint32_t s[] = {1, 2, 3, 5, 7, 11, 15}, parts[] = {1, 2, 4};
    static const uint32_t mu[] = {100000, 250000, 500000, 1000000};
    for (uint32_t i = 0; i < COUNT(s); i++) {
        for (uint32_t p = 0; p < COUNT(parts); p++) {
            add(l, (struct brg_code_spec){.kind = BRG_CODE_FRC,
                                          .s = s[i],
                                          .parts = parts[p],
                                          .policy = BRG_POLICY_EARLY,
                                          .mu_ppm = 1000000});
        }
        for (uint32_t m = 0; m < COUNT(mu) && (s[i] & (s[i] + 1)) == 0 && s[i] < 8; m++) {
            add(l, (struct brg_code_spec){.kind = BRG_CODE_FRC,
                                          .s = s[i],
                                          .delay = 1,
                                          .policy = BRG_POLICY_MINWAIT,
                                          .mu_ppm = mu[m]});
        }
    }
}

static void add_plain(struct list *l) {
    static const uint32_t parts[] = {1, 2, 4}, mu[] = {250000, 500000, 1000000, 2000000};
    static const uint32_t s[] = {1, 3, 7, 11, 15, 23, 31};
    for (uint32_t p = 0; p < COUNT(parts); p++) {
        for (uint32_t m = 0; m < COUNT(mu); m++) {
            add(l, (struct brg_code_spec){.kind = BRG_CODE_SPECULATIVE,
                                          .parts = parts[p],
                                          .policy = BRG_POLICY_EARLY,
                                          .mu_ppm = mu[m]});
        }
    }
    for (uint32_t i = 0; i < COUNT(s) && s[i] < l->n / 2; i++) {
        add(l,
            (struct brg_code_spec){
                .kind = BRG_CODE_CYCLIC, .s = s[i], .policy = BRG_POLICY_EARLY, .mu_ppm = 1000000});
    }
}

static void add_selective(struct list *l) {
    static const uint32_t s[] = {1, 3, 7}, mu[] = {250000, 500000, 1000000};
    for (uint32_t base = BRG_BASE_REPETITION; base <= BRG_BASE_CYCLIC; base++) {
        for (uint32_t i = 0; i < COUNT(s); i++) {
            for (uint32_t x = 1; x <= 2; x++) {
                /* lambda = (x + 1) s is the most that this s stands for. */
                const uint32_t lambda = (x + 1) * s[i];
                for (uint32_t m = 0; m < COUNT(mu) && lambda <= l->n; m++) {
                    add(l, (struct brg_code_spec){.kind = BRG_CODE_SR_SGC,
                                                  .base = base,
                                                  .b = 1,
                                                  .w = x + 1,
                                                  .lambda = lambda,
                                                  .policy = BRG_POLICY_MINWAIT,
                                                  .mu_ppm = mu[m]});
                }
            }
        }
    }
}

static void add_multiplexed(struct list *l) {
    static const uint32_t bw[][2] = {{1, 2}, {1, 3}, {2, 3}, {1, 4}, {2, 4}, {1, 5}};
    static const uint32_t mu[] = {100000, 250000, 500000, 1000000}, coded[] = {15, 31};
    for (uint32_t i = 0; i < COUNT(bw); i++) {
        struct brg_code_spec spec = {
            .kind = BRG_CODE_M_SGC, .b = bw[i][0], .w = bw[i][1], .policy = BRG_POLICY_MINWAIT};
        for (uint32_t m = 0; m < COUNT(mu); m++) {
            spec.lambda = l->n;
            spec.mu_ppm = mu[m];
            add(l, spec);
            for (uint32_t c = 0; c < COUNT(coded) && m % 2 == 1 && i < 2; c++) {
                spec.lambda = coded[c];
                spec.base = BRG_BASE_REPETITION;
                if (spec.lambda < l->n / 2) add(l, spec);
                spec.base = 0;
            }
        }
    }
}

uint32_t brg_tuner_candidates(uint32_t n, uint32_t models, uint32_t chunks,
                              struct brg_code_spec *out, uint32_t room) {
    if (n < 1 || n > BRG_CODE_WORKERS_MAX) return 0;
    struct list l = {.n = n, .models = models, .chunks = chunks, .items = out, .room = room};
    if (l.room > BRG_TUNER_ROWS_MAX) l.room = BRG_TUNER_ROWS_MAX;
    add_plain(&l);
    add_repetition(&l);
    add_selective(&l);
    add_multiplexed(&l);
    return l.count;
}

struct brg_code_spec brg_tuner_probe_spec(uint32_t n, uint32_t chunks) {
    struct brg_code_spec spec = {.kind = BRG_CODE_FRC,
                                 .n = n,
                                 .s = n > 1,
                                 .parts = 2,
                                 .policy = BRG_POLICY_MINWAIT,
                                 .mu_ppm = 1000000,
                                 .seed = 1};
    spec.chunks = chunks > 0 ? chunks : brg_tuner_chunks(&spec);
    if (brg_scheme_check(&spec, NULL) != BRG_OK) spec.parts = 1; /* few chunks */
    return spec;
}

uint32_t brg_tuner_probe_rounds(uint32_t n) {
    const uint32_t rounds = 2048 / (n > 0 ? n : 1);
    return rounds < 8 ? 8 : rounds > 16 ? 16 : rounds;
}

const char *brg_tuner_spec_text(const struct brg_code_spec *spec, char *out) {
    static const char *const kinds[] = {"?",      "none",  "frc",        "cyclic",
                                        "sr-sgc", "m-sgc", "speculative"};
    static const char *const policies[] = {"?", "early", "minwait", "paper"};
    const uint32_t kind = spec->kind < COUNT(kinds) ? spec->kind : 0;
    const uint32_t policy = spec->policy < COUNT(policies) ? spec->policy : 0;
    char params[80] = "";
    const char *base = spec->base == BRG_BASE_CYCLIC ? " cyclic" : "";
    if (kind == BRG_CODE_SR_SGC || kind == BRG_CODE_M_SGC) {
        (void)snprintf(params, sizeof params, " b=%u w=%u lambda=%u%s", spec->b, spec->w,
                       spec->lambda, base);
    } else if (kind == BRG_CODE_FRC || kind == BRG_CODE_CYCLIC) {
        (void)snprintf(params, sizeof params, " s=%u%s", spec->s, spec->delay ? " delay=1" : "");
    }
    char parts[24] = "", mu[32] = "";
    if (spec->parts > 1) (void)snprintf(parts, sizeof parts, " parts=%u", spec->parts);
    if (spec->policy != BRG_POLICY_EARLY || kind == BRG_CODE_SPECULATIVE) {
        (void)snprintf(mu, sizeof mu, " mu=%u.%02u", spec->mu_ppm / 1000000,
                       spec->mu_ppm / 10000 % 100);
    }
    (void)snprintf(out, BRG_TUNER_TEXT_BYTES, "%s%s%s %s%s%s", kinds[kind], params, parts,
                   policies[policy], mu, spec->rule == BRG_RULE_MODEL ? " model" : "");
    return out;
}
