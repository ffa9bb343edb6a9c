/* verb_sim.c - brigade sim rounds: what a code and a policy would take, in virtual time. */
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/sim_profile.h"
#include "coding/policy.h"
#include "coding/replay_auto.h"

#include <inttypes.h>
#include <string.h>

#define STEPS_MAX 1000000u

static const struct brg_cli_flag flags[] = {
    {.name = "n", .value = "COUNT", .fallback = "16", .text = "Workers; a recording has its own."},
    {.name = "rounds", .value = "COUNT", .fallback = "480", .text = "Steps to commit, all models."},
    {.name = "profile",
     .value = "DELAYS",
     .fallback = "gilbert-elliott",
     .text = "A process, gilbert-elliott:KEY=VALUE,.., or the name of a CSV file."},
    {.name = "scheme",
     .value = "NAME",
     .fallback = "auto",
     .text = "none, frc, cyclic, sr-sgc, m-sgc, speculative, or auto: the tuner, probe included."},
    {.name = "policy",
     .value = "NAME",
     .text = "early, minwait or paper. Default: early, and minwait for codes that decode late."},
    {.name = "mu",
     .value = "NUMBER",
     .fallback = "1",
     .text = "The policy waits for (1 + mu) times the fastest answer; speculative: then a share is "
             "late."},
    {.name = "s", .value = "COUNT", .fallback = "1", .text = "frc, cyclic: stragglers tolerated."},
    {.name = "parts",
     .value = "COUNT",
     .fallback = "1",
     .text = "frc, none, speculative: parts of a share that count by themselves."},
    {.name = "delay",
     .value = "ROUNDS",
     .fallback = "0",
     .text = "frc: 0, or 1 to attempt late shares in the next round."},
    {.name = "b", .value = "ROUNDS", .fallback = "1", .text = "sr-sgc, m-sgc: longest burst."},
    {.name = "w", .value = "ROUNDS", .fallback = "2", .text = "sr-sgc, m-sgc: window."},
    {.name = "lambda",
     .value = "COUNT",
     .text =
         "sr-sgc, m-sgc: stragglers in a window. Default: all workers for m-sgc, 2 for sr-sgc."},
    {.name = "base",
     .value = "NAME",
     .fallback = "repetition",
     .text = "sr-sgc, m-sgc: repetition or cyclic."},
    {.name = "rule",
     .value = "NAME",
     .fallback = "weakest",
     .text =
         "weakest, or model: end a round only where stragglers conform to the published model."},
    {.name = "models",
     .value = "COUNT",
     .text = "Models trained in turn. Default: as few as the code allows; auto: 4."},
    {.name = "alpha",
     .value = "DURATION",
     .text = "Time to compute a whole batch on one worker, where the profile does not tell."},
    {.name = "vector",
     .value = "DURATION",
     .fallback = "0s",
     .text = "Time of one share over the coordinator's link."},
    {.name = "patience",
     .value = "DURATION",
     .text = "When a share is late. Default: twice the round's fastest answer."},
    {.name = "late",
     .value = "HOW",
     .fallback = "cancelled",
     .text = "cancelled: who is late drops its work at the round's end; starts-late: it ends its "
             "minitask first."},
    {.name = "all-or-nothing",
     .text = "The shares of a late worker count for nothing, as published."},
    {.name = "no-reattempt", .text = "Late shares are not given to idle workers."},
    {.name = "no-regroup", .text = "Workers keep their groups."},
    {.name = "minimise",
     .value = "WHAT",
     .fallback = "time",
     .text = "auto: time, or cost (worker-seconds paid for)."},
    {.name = "seed",
     .value = "NUMBER",
     .fallback = "1",
     .text = "Of the process and of the tuner."},
    {.name = "json", .text = "As JSON."},
};

static const struct brg_cli_verb verb = {
    .name = "sim rounds",
    .arguments = "",
    .summary = "what a code and a policy would take on given delays",
    .about =
        "Runs the plan of a gradient code in virtual time on workers' delays and says what the\n"
        "run would take: seconds, worker-seconds paid for, rounds that had to wait. Nothing is\n"
        "computed, so 480 rounds of 256 workers take some 20 ms; the code's own scheduling is\n"
        "what runs. --scheme auto probes, chooses and re-chooses as a live run does.\n"
        "\n"
        "Delays come from a file, worker,round,seconds[,load[,censored]] with that heading, as\n"
        "'brigade run export-delays' writes it, or from a process with fast and slow workers:\n"
        "p and q (fast to slow, slow to fast, per round), shape (of the gamma distribution of p\n"
        "over workers; 0: all alike), base, body, sigma (a fast answer: base + lognormal body),\n"
        "slow, tail (a slow one takes slow + Exp(tail) more), straggle (add, or multiply: slow in\n"
        "computing, too), stall, stall-length, jitter, alpha (computing a whole batch), speed\n"
        "(machines differ by a lognormal factor of this sigma), seed.\n",
    .examples =
        "$ brigade sim rounds --n 256 --scheme frc --s 3 --parts 4\n"
        "$ brigade sim rounds --n 256 --profile gilbert-elliott:p=0.0416,q=0.845,alpha=50s\n"
        "$ brigade sim rounds --profile delays.csv --scheme m-sgc --b 2 --w 3 --mu 0.25\n",
    .flag_count = sizeof flags / sizeof flags[0],
    .flags = flags,
};

struct word {
    const char *text;
    uint32_t value;
};

static const struct word schemes[] = {{"auto", 0},
                                      {"none", BRG_CODE_NONE},
                                      {"frc", BRG_CODE_FRC},
                                      {"cyclic", BRG_CODE_CYCLIC},
                                      {"sr-sgc", BRG_CODE_SR_SGC},
                                      {"m-sgc", BRG_CODE_M_SGC},
                                      {"speculative", BRG_CODE_SPECULATIVE}};
static const struct word policies[] = {
    {"early", BRG_POLICY_EARLY}, {"minwait", BRG_POLICY_MINWAIT}, {"paper", BRG_POLICY_PAPER}};
static const struct word bases[] = {{"repetition", BRG_BASE_REPETITION},
                                    {"cyclic", BRG_BASE_CYCLIC}};
static const struct word rules[] = {{"weakest", BRG_RULE_WEAKEST}, {"model", BRG_RULE_MODEL}};
static const struct word lates[] = {{"cancelled", BRG_LATE_CANCELLED},
                                    {"starts-late", BRG_LATE_STARTS}};
static const struct word aims[] = {{"time", BRG_MINIMISE_TIME}, {"cost", BRG_MINIMISE_COST}};
#define COUNT(list) ((uint32_t)(sizeof(list) / sizeof *(list)))

/* The number of the word behind a flag; BRG_CLI_GO, or 64 after a sentence. */
static int take_word(const struct brg_cli_args *args, const char *flag, const struct word *words,
                     uint32_t count, uint32_t *out) {
    const char *value = brg_cli_value(args, flag);
    char list[128] = "";
    size_t used = 0;
    if (value == NULL) return BRG_CLI_GO;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(value, words[i].text) == 0) {
            *out = words[i].value;
            return BRG_CLI_GO;
        }
        const char *before = i == 0 ? "" : i + 1 < count ? ", " : " or ";
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", before, words[i].text);
        BRG_ASSERT(used < sizeof list);
    }
    return brg_cli_wrong(&verb, "--%s is '%s'; it has to be %s", flag, value, list);
}

struct numbers {
    const char *flag;
    uint64_t low, high;
    uint32_t *out;
};

static int take_numbers(const struct brg_cli_args *args, const struct numbers *all,
                        uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t value = *all[i].out;
        const int rc = brg_cli_number(args, all[i].flag, all[i].low, all[i].high, &value);
        if (rc != BRG_CLI_GO) return rc;
        *all[i].out = (uint32_t)value;
    }
    return BRG_CLI_GO;
}

/* What the command line asks for. */
struct request {
    struct brg_code_spec spec; /* kind 0: auto */
    struct brg_replay_options options;
    uint32_t n, steps, minimise, as_json;
    uint64_t seed, alpha_ns;
};

static int take_mu(const struct brg_cli_args *args, uint32_t *ppm) {
    const char *text = brg_cli_value(args, "mu");
    char *end = NULL;
    const double mu = strtod(text, &end);
    if (end == text || *end != '\0' || !(mu >= 0.0 && mu <= 1000.0)) {
        return brg_cli_wrong(&verb, "--mu is '%s'; it has to be a number from 0 to 1000", text);
    }
    *ppm = (uint32_t)(mu * 1e6 + 0.5);
    return BRG_CLI_GO;
}

static int take_spec(const struct brg_cli_args *args, struct request *q) {
    struct brg_code_spec all = {.seed = 1}, *spec = &q->spec;
    const struct numbers numbers[] = {
        {"s", 0, BRG_CODE_WORKERS_MAX, &all.s},
        {"parts", 1, BRG_CODE_PARTS_MAX, &all.parts},
        {"delay", 0, 1, &all.delay},
        {"b", 1, 64, &all.b},
        {"w", 2, 64, &all.w},
        {"lambda", 1, BRG_CODE_WORKERS_MAX, &all.lambda},
        {"n", 1, BRG_CODE_WORKERS_MAX, &q->n},
        {"rounds", 1, STEPS_MAX, &q->steps},
        {"models", 1, BRG_MODELS_MAX, &q->options.models},
    };
    int rc = take_numbers(args, numbers, COUNT(numbers));
    if (rc == BRG_CLI_GO) rc = take_word(args, "scheme", schemes, COUNT(schemes), &all.kind);
    if (rc == BRG_CLI_GO) rc = take_word(args, "policy", policies, COUNT(policies), &all.policy);
    if (rc == BRG_CLI_GO) rc = take_word(args, "base", bases, COUNT(bases), &all.base);
    if (rc == BRG_CLI_GO) rc = take_word(args, "rule", rules, COUNT(rules), &all.rule);
    if (rc == BRG_CLI_GO) rc = take_mu(args, &all.mu_ppm);
    if (rc != BRG_CLI_GO) return rc;
    const uint32_t kind = all.kind;
    const int sequential = kind == BRG_CODE_SR_SGC || kind == BRG_CODE_M_SGC;
    /* Only what the kind has; the rest of a spec has to be 0. */
    *spec = (struct brg_code_spec){.kind = kind, .mu_ppm = all.mu_ppm, .rule = all.rule, .seed = 1};
    if (kind == BRG_CODE_FRC || kind == BRG_CODE_CYCLIC) spec->s = all.s;
    if (kind == BRG_CODE_FRC) spec->delay = all.delay;
    if (!sequential && kind != BRG_CODE_CYCLIC) spec->parts = all.parts;
    if (sequential) {
        spec->b = all.b, spec->w = all.w, spec->lambda = all.lambda, spec->base = all.base;
    }
    spec->policy = all.policy;
    if (spec->policy == 0) {
        spec->policy = sequential || spec->delay ? BRG_POLICY_MINWAIT : BRG_POLICY_EARLY;
    }
    return BRG_CLI_GO;
}

static int take_options(const struct brg_cli_args *args, struct request *q) {
    int rc = take_word(args, "late", lates, COUNT(lates), &q->options.late);
    if (rc == BRG_CLI_GO) rc = take_word(args, "minimise", aims, COUNT(aims), &q->minimise);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(args, "vector", &q->options.vector_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(args, "patience", &q->options.patience_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_duration(args, "alpha", &q->alpha_ns);
    if (rc == BRG_CLI_GO) rc = brg_cli_number(args, "seed", 0, UINT64_MAX, &q->seed);
    q->options.whole = (uint32_t)brg_cli_given(args, "all-or-nothing");
    q->options.reattempt = !brg_cli_given(args, "no-reattempt");
    q->options.regroup = !brg_cli_given(args, "no-regroup");
    q->as_json = (uint32_t)brg_cli_given(args, "json");
    return rc;
}

static void add_totals(cJSON *root, const struct brg_replay_totals *t) {
    (void)cJSON_AddNumberToObject(root, "seconds", (double)t->elapsed_ns * 1e-9);
    (void)cJSON_AddNumberToObject(root, "worker_seconds", (double)t->busy_ns * 1e-9);
    (void)cJSON_AddNumberToObject(root, "steps", (double)t->steps);
    (void)cJSON_AddNumberToObject(root, "rounds", (double)t->rounds);
    (void)cJSON_AddNumberToObject(root, "waited_rounds", (double)t->waited);
    (void)cJSON_AddNumberToObject(root, "late", (double)t->late);
    (void)cJSON_AddNumberToObject(root, "reattempts", (double)t->reattempts);
    (void)cJSON_AddNumberToObject(root, "shares", (double)t->shares);
}

static int print(const struct request *q, const struct brg_sim_profile *p, const char *name,
                 const struct brg_replay_totals *t, const struct brg_auto_result *tuned) {
    char text[BRG_TUNER_TEXT_BYTES];
    if (!q->as_json) {
        printf("%s on %u workers\n"
               "time            %.2f s for %" PRIu64 " steps in %" PRIu64 " rounds\n"
               "worker-seconds  %.1f paid for\n"
               "waited          %" PRIu64 " rounds longer than (1 + mu) times the fastest answer\n"
               "attempted again %" PRIu64 " units; %" PRIu64 " shares fetched\n",
               name, p->profile.n, (double)t->elapsed_ns * 1e-9, t->steps, t->rounds,
               (double)t->busy_ns * 1e-9, t->waited, t->reattempts, t->shares);
        for (uint32_t i = 0; tuned != NULL && i < tuned->count; i++) {
            const struct brg_auto_decision *d = &tuned->decisions[i];
            printf("after round %-4" PRIu64 " %s, predicted %.3f s a step\n", d->round,
                   brg_tuner_spec_text(&d->spec, text), (double)d->step_ns * 1e-9);
        }
        return BRG_EXIT_OK;
    }
    cJSON *root = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(root, "scheme", name);
    (void)cJSON_AddNumberToObject(root, "workers", p->profile.n);
    add_totals(root, t);
    cJSON *list = tuned != NULL ? cJSON_AddArrayToObject(root, "decisions") : NULL;
    for (uint32_t i = 0; tuned != NULL && i < tuned->count; i++) {
        const struct brg_auto_decision *d = &tuned->decisions[i];
        cJSON *item = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(item, "round", (double)d->round);
        (void)cJSON_AddStringToObject(item, "code", brg_tuner_spec_text(&d->spec, text));
        (void)cJSON_AddNumberToObject(item, "predicted_seconds", (double)d->step_ns * 1e-9);
        (void)cJSON_AddItemToArray(list, item);
    }
    const int rc = brg_json_print(root, stdout);
    cJSON_Delete(root);
    return rc == BRG_OK ? BRG_EXIT_OK : BRG_EXIT_FAILED;
}

static int run_auto(const struct request *q, const struct brg_sim_profile *p) {
    const struct brg_auto_config config = {
        .tuner = {.n = p->profile.n,
                  .models = q->options.models > 0 ? q->options.models : 4,
                  .minimise = q->minimise,
                  .seed = q->seed,
                  .alpha_s = (double)q->alpha_ns * 1e-9,
                  .options = q->options}};
    static struct brg_auto_result result;
    struct brg_why why;
    const size_t bytes = brg_auto_size_bytes(&config);
    struct brg_auto *block = malloc(bytes);
    if (block == NULL) return brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
    int rc = brg_auto_run(block, bytes, &config, &p->profile, q->steps, &result, &why);
    free(block);
    if (rc != BRG_OK) return brg_cli_wrong(&verb, "%s", why.text);
    return print(q, p, "auto", &result.totals, &result);
}

static int run_fixed(struct request *q, const struct brg_sim_profile *p) {
    struct brg_code_spec *spec = &q->spec;
    struct brg_replay_totals totals;
    struct brg_why why;
    char text[BRG_TUNER_TEXT_BYTES];
    spec->n = p->profile.n;
    if (spec->lambda == 0 && spec->kind == BRG_CODE_M_SGC) spec->lambda = spec->n;
    if (spec->lambda == 0 && spec->kind == BRG_CODE_SR_SGC) spec->lambda = spec->n < 2 ? 1 : 2;
    if (spec->kind == BRG_CODE_M_SGC && spec->lambda == spec->n) spec->base = 0;
    spec->chunks = brg_tuner_chunks(spec);
    if (brg_scheme_check(spec, &why) != BRG_OK || brg_policy_check(spec, &why) != BRG_OK) {
        return brg_cli_wrong(&verb, "%s", why.text);
    }
    const size_t bytes = brg_replay_size_bytes(spec);
    struct brg_replay *block = malloc(bytes);
    if (block == NULL) return brg_cli_fail(&verb, BRG_EXIT_FAILED, "out of memory");
    int rc = brg_replay_run(block, bytes, spec, &q->options, &p->profile, q->steps, &totals, &why);
    free(block);
    if (rc != BRG_OK) return brg_cli_wrong(&verb, "%s", why.text);
    return print(q, p, brg_tuner_spec_text(spec, text), &totals, NULL);
}

static int sim_rounds(int argc, char **argv) {
    struct brg_cli_args args;
    struct request q = {.n = 16};
    struct brg_sim_profile profile;
    struct brg_why why;

    int rc = brg_cli_parse(&verb, argc, argv, &args);
    if (rc == BRG_CLI_GO) rc = take_spec(&args, &q);
    if (rc == BRG_CLI_GO) rc = take_options(&args, &q);
    if (rc != BRG_CLI_GO) return rc;
    /* Enough for the rounds that finish, and for the jobs that a switch does again. */
    const uint32_t rounds = q.steps + 16 * BRG_MODELS_MAX;
    rc = brg_sim_profile_load(brg_cli_value(&args, "profile"), q.n, rounds, q.seed,
                              (double)q.alpha_ns * 1e-9, &profile, &why);
    if (rc != BRG_OK) return brg_cli_fail(&verb, brg_cli_exit_of(rc), "%s", why.text);
    if (profile.summary.cells > 0 && brg_cli_given(&args, "n") && q.n != profile.profile.n) {
        rc = brg_cli_wrong(&verb, "the recording has %u workers, but --n is %u: leave --n out",
                           profile.profile.n, q.n);
    } else {
        rc = q.spec.kind == 0 ? run_auto(&q, &profile) : run_fixed(&q, &profile);
    }
    free(profile.profile.cells);
    return rc;
}

int brg_cli_sim(int argc, char **argv) {
    static const struct brg_cli_word words[] = {
        {"rounds", "what a code and a policy would take on given delays", sim_rounds}};
    return brg_cli_words("sim", "Virtual time: plans without machines.\n", words, 1, argc, argv);
}
