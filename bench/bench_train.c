/* bench_train.c - how many tokens of a llama one core trains in a second of CPU time.
 *
 *   bench_train [--json] [--dim N] [--layers N] [--heads N] [--kv-heads N] [--hidden N]
 *               [--context N] [--vocab N] [--microbatch N] [--repeats N] [--kernels NAME]
 *
 * A repeat is one forward and backward pass over one microbatch; figures are the median of the
 * repeats' CPU seconds (CLOCK_THREAD_CPUTIME_ID), so that other jobs on the machine disturb little.
 * `operations` are 6 per parameter of the products and token, and the attention's. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/prng.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/optimizer.h"

#define REPEATS_MAX 1000u

struct settings {
    struct brg_model_spec spec;
    uint32_t microbatch, repeats, json;
    const char *kernels; /* NULL: the fastest */
};

struct figures {
    double tokens_per_s, loss_tokens_per_s, optimizer_ns; /* the last one per parameter */
};

static double cpu_seconds(void) {
    struct timespec t;
    const int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    BRG_ASSERT(rc == 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, uint32_t count) {
    qsort(x, count, sizeof *x, by_size);
    return x[count / 2];
}

static int read_arguments(int argc, char **argv, struct settings *s) {
    const struct {
        const char *flag;
        uint32_t *value;
    } numbers[] = {
        {"--dim", &s->spec.dim},       {"--layers", &s->spec.layers},
        {"--heads", &s->spec.heads},   {"--kv-heads", &s->spec.kv_heads},
        {"--hidden", &s->spec.hidden}, {"--context", &s->spec.context},
        {"--vocab", &s->spec.vocab},   {"--microbatch", &s->microbatch},
        {"--repeats", &s->repeats},
    };
    for (int i = 1; i < argc; i++) {
        size_t n = 0;
        if (strcmp(argv[i], "--json") == 0) {
            s->json = 1;
            continue;
        }
        if (i + 1 == argc) return BRG_EINVAL;
        if (strcmp(argv[i], "--kernels") == 0) {
            s->kernels = argv[++i];
            continue;
        }
        while (n < sizeof numbers / sizeof *numbers && strcmp(argv[i], numbers[n].flag) != 0) n++;
        if (n == sizeof numbers / sizeof *numbers) return BRG_EINVAL;
        *numbers[n].value = (uint32_t)strtoul(argv[++i], NULL, 10);
    }
    return s->repeats > 0 && s->repeats <= REPEATS_MAX ? BRG_OK : BRG_EINVAL;
}

static const struct brg_kernels *find_kernels(const char *name) {
    const struct brg_kernels *tables[BRG_KERNELS_MAX];
    const uint32_t count = brg_kernels_list(tables);
    if (name == NULL) return brg_kernels_pick();
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(tables[i]->name, name) == 0) return tables[i];
    return NULL;
}

static void *allocate(size_t size_bytes) {
    void *p = aligned_alloc(BRG_MODEL_ALIGN, (size_bytes + 63) / 64 * 64);
    BRG_ASSERT(p != NULL);
    memset(p, 0, size_bytes);
    return p;
}

static void measure(const struct settings *s, const struct brg_kernels *k, struct figures *f) {
    const uint64_t count = brg_model_param_count(&s->spec);
    const size_t tokens = (size_t)s->microbatch * s->spec.context;
    const struct brg_optimizer_spec adamw = {.type = BRG_OPTIMIZER_ADAMW,
                                             .schedule = BRG_SCHEDULE_CONSTANT,
                                             .lr = 1e-3f,
                                             .beta1 = 0.9f,
                                             .beta2 = 0.95f,
                                             .eps = 1e-8f,
                                             .clip = 1.0f};
    float *params = allocate(count * sizeof(float)), *grad = allocate(count * sizeof(float));
    float *moments = allocate(2 * count * sizeof(float));
    uint16_t *ids = allocate((tokens + s->microbatch) * sizeof *ids);
    void *memory = allocate(brg_model_workspace_bytes(&s->spec, s->microbatch));
    struct brg_model_workspace *w = brg_model_workspace_init(memory, &s->spec, s->microbatch, k);
    struct brg_prng g = {.state = 1};
    for (size_t i = 0; i < tokens + s->microbatch; i++)
        ids[i] = (uint16_t)brg_prng_below(&g, s->spec.vocab);
    brg_model_init(&s->spec, 1, params);

    const struct brg_batch batch = {.samples = s->microbatch, .tokens = ids};
    double train[REPEATS_MAX], evaluate[REPEATS_MAX], apply[REPEATS_MAX];
    for (uint32_t i = 0; i < s->repeats + 1; i++) { /* the first one warms up and is overwritten */
        struct brg_model_sums sums = {.loss = 0};
        struct brg_optimizer_report report;
        const uint32_t at = i == 0 ? 0 : i - 1;
        const double t0 = cpu_seconds();
        int rc = brg_model_grad(w, params, &batch, grad, &sums);
        BRG_ASSERT(rc == BRG_OK);
        const double t1 = cpu_seconds();
        rc =
            brg_optimizer_step(&adamw, &s->spec, i + 1, sums.count, grad, moments, params, &report);
        BRG_ASSERT(rc == BRG_OK);
        const double t2 = cpu_seconds();
        rc = brg_model_loss(w, params, &batch, &sums);
        BRG_ASSERT(rc == BRG_OK);
        train[at] = t1 - t0;
        apply[at] = t2 - t1;
        evaluate[at] = cpu_seconds() - t2;
        memset(grad, 0, count * sizeof *grad);
    }
    f->tokens_per_s = (double)tokens / median(train, s->repeats);
    f->loss_tokens_per_s = (double)tokens / median(evaluate, s->repeats);
    f->optimizer_ns = 1e9 * median(apply, s->repeats) / (double)count;
    free(params);
    free(grad);
    free(moments);
    free(ids);
    free(memory);
}

static double operations_per_token(const struct brg_model_spec *s) {
    const double products =
        (double)brg_model_param_count(s) -
        (s->tied ? 0.0 : (double)s->vocab * s->dim); /* picked, not multiplied */
    return 6.0 * products + 6.0 * s->layers * s->dim * s->context;
}

static void print(const struct settings *s, const struct brg_kernels *k, const struct figures *f) {
    const double gf = f->tokens_per_s * operations_per_token(&s->spec) * 1e-9;
    const unsigned long long params = (unsigned long long)brg_model_param_count(&s->spec);
    if (s->json) {
        printf("{\"kernels\":\"%s\",\"params\":%llu,\"context\":%u,\"microbatch\":%u,"
               "\"tokens_per_cpu_s\":%.0f,\"gf_per_cpu_s\":%.1f,\"loss_tokens_per_cpu_s\":%.0f,"
               "\"adamw_ns_per_param\":%.3f}\n",
               k->name, params, s->spec.context, s->microbatch, f->tokens_per_s, gf,
               f->loss_tokens_per_s, f->optimizer_ns);
        return;
    }
    printf("llama of %llu parameters, context %u, microbatch %u, kernels %s\n", params,
           s->spec.context, s->microbatch, k->name);
    printf("  training    %10.0f tokens per CPU second  (%.1f GF/s)\n", f->tokens_per_s, gf);
    printf("  evaluation  %10.0f tokens per CPU second\n", f->loss_tokens_per_s);
    printf("  AdamW       %10.3f ns per parameter and step\n", f->optimizer_ns);
}

int main(int argc, char **argv) {
    struct settings s = {.spec = {.type = BRG_MODEL_LLAMA,
                                  .dim = 128,
                                  .layers = 5,
                                  .heads = 4,
                                  .kv_heads = 4,
                                  .hidden = 352,
                                  .context = 128,
                                  .vocab = 256,
                                  .tied = 1,
                                  .rope_theta = 10000.0f,
                                  .norm_eps = 1e-5f},
                         .microbatch = 4,
                         .repeats = 41};
    struct brg_why why = {.text = ""};
    struct figures f;
    if (read_arguments(argc, argv, &s) != BRG_OK) {
        fprintf(stderr,
                "bench_train: wrong arguments; the head of bench/bench_train.c lists them, "
                "repeats go up to %u\n",
                REPEATS_MAX);
        return 2;
    }
    const struct brg_kernels *k = find_kernels(s.kernels);
    if (k == NULL) {
        fprintf(stderr, "bench_train: this CPU has no kernels '%s'; try reference, base, v3, v4\n",
                s.kernels);
        return 2;
    }
    if (brg_model_check(&s.spec, s.microbatch, &why) != BRG_OK) {
        fprintf(stderr, "bench_train: %s\n", why.text);
        return 2;
    }
    measure(&s, k, &f);
    print(&s, k, &f);
    return 0;
}
