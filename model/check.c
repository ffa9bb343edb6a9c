/* check.c - may this model be built? One sentence for the first thing that forbids it. */
#include <math.h>

#include "model/model.h"

/* One setting and its range. */
struct range {
    const char *name;
    uint32_t value, low, high;
};

static int check_ranges(const struct range *r, size_t count, struct brg_why *why) {
    for (size_t i = 0; i < count; i++)
        if (r[i].value < r[i].low || r[i].value > r[i].high)
            return brg_why_set(why, BRG_EINVAL, "model: %s is %u; it must be between %u and %u",
                               r[i].name, r[i].value, r[i].low, r[i].high);
    return BRG_OK;
}

static int check_scaling(const struct brg_rope_scaling *r, struct brg_why *why) {
    if (r->type == BRG_ROPE_PLAIN) return BRG_OK;
    if (r->type > BRG_ROPE_LLAMA3)
        return brg_why_set(why, BRG_EINVAL, "model: rope_scaling of type %u is not known", r->type);
    if (!(r->factor >= 1) || !(r->factor <= 1e6f))
        return brg_why_set(why, BRG_EINVAL,
                           "model: rope_scaling's factor is %g; it must be between 1 and 1000000",
                           (double)r->factor);
    if (r->type == BRG_ROPE_LLAMA3 && (!(r->low_freq > 0) || !(r->high_freq > r->low_freq) ||
                                       !(r->high_freq <= 1e6f) || r->original_context == 0))
        return brg_why_set(why, BRG_EINVAL,
                           "model: rope_scaling llama3 needs 0 < low_freq_factor < "
                           "high_freq_factor and original_max_position_embeddings above 0");
    return BRG_OK;
}

static int check_llama(const struct brg_model_spec *s, struct brg_why *why) {
    const struct range ranges[] = {
        {"dim", s->dim, 2, BRG_MODEL_DIM_MAX},
        {"layers", s->layers, 1, BRG_MODEL_LAYERS_MAX},
        {"heads", s->heads, 1, BRG_MODEL_DIM_MAX},
        {"kv_heads", s->kv_heads, 1, BRG_MODEL_DIM_MAX},
        {"hidden", s->hidden, 1, BRG_MODEL_WIDTH_MAX},
        {"context", s->context, 1, BRG_MODEL_DIM_MAX},
        {"vocab", s->vocab, 2, BRG_MODEL_DIM_MAX},
        {"tied", s->tied, 0, 1},
    };
    const int rc = check_ranges(ranges, sizeof ranges / sizeof *ranges, why);
    if (rc != BRG_OK) return rc;
    if (s->heads % s->kv_heads != 0)
        return brg_why_set(why, BRG_EINVAL,
                           "model: heads (%u) is not a multiple of kv_heads (%u): every key/value "
                           "head serves the same number of heads; change one of them",
                           s->heads, s->kv_heads);
    if (s->dim % s->heads != 0 || s->dim / s->heads % 2 != 0 ||
        s->dim / s->heads > BRG_HEAD_DIM_MAX)
        return brg_why_set(why, BRG_EINVAL,
                           "model: dim / heads (%u / %u) must be an even whole number up to %u, "
                           "since rotary positions turn pairs inside a head; change dim or heads",
                           s->dim, s->heads, BRG_HEAD_DIM_MAX);
    if (!(s->rope_theta > 0) || !isfinite(s->rope_theta))
        return brg_why_set(why, BRG_EINVAL,
                           "model: rope_theta is %g; it must be above 0, usually 10000",
                           (double)s->rope_theta);
    if (!(s->norm_eps > 0) || !(s->norm_eps <= 0.1f))
        return brg_why_set(
            why, BRG_EINVAL,
            "model: norm_eps is %g; it must be above 0 and at most 0.1, usually 1e-5",
            (double)s->norm_eps);
    return check_scaling(&s->rope_scaling, why);
}

static int check_classifier(const struct brg_model_spec *s, struct brg_why *why) {
    const struct range ranges[] = {
        {"inputs", s->inputs, 1, BRG_MODEL_WIDTH_MAX},
        {"classes", s->classes, 2, BRG_MODEL_DIM_MAX},
        {"number of hidden layers", s->width_count, s->type == BRG_MODEL_MLP,
         s->type == BRG_MODEL_MLP ? BRG_MLP_HIDDEN_MAX : 0},
    };
    const int rc = check_ranges(ranges, sizeof ranges / sizeof *ranges, why);
    if (rc != BRG_OK) return rc;
    for (uint32_t i = 0; i < s->width_count; i++) {
        const struct range width = {"width of a hidden layer", s->widths[i], 1,
                                    BRG_MODEL_WIDTH_MAX};
        if (check_ranges(&width, 1, why) != BRG_OK) return BRG_EINVAL;
    }
    return BRG_OK;
}

int brg_model_check(const struct brg_model_spec *spec, uint32_t microbatch, struct brg_why *why) {
    BRG_ASSERT(spec != NULL);
    int rc;
    switch (spec->type) {
    case BRG_MODEL_LLAMA: rc = check_llama(spec, why); break;
    case BRG_MODEL_MLP:
    case BRG_MODEL_SOFTMAX: rc = check_classifier(spec, why); break;
    default:
        return brg_why_set(why, BRG_EINVAL, "model: type %u is none of llama, mlp and softmax",
                           spec->type);
    }
    if (rc != BRG_OK) return rc;
    const uint64_t params = brg_model_param_count(spec);
    if (params > BRG_MODEL_PARAMS_MAX)
        return brg_why_set(why, BRG_EINVAL,
                           "model: it would have %llu parameters, more than the %llu that fit; "
                           "make it smaller",
                           (unsigned long long)params, (unsigned long long)BRG_MODEL_PARAMS_MAX);
    const uint64_t rows =
        (uint64_t)microbatch * (spec->type == BRG_MODEL_LLAMA ? spec->context : 1);
    if (rows == 0 || rows > BRG_MODEL_ROWS_MAX)
        return brg_why_set(why, BRG_EINVAL,
                           "batch: a microbatch of %u makes %llu rows of activations; it must be "
                           "between 1 and %u: change microbatch or context",
                           microbatch, (unsigned long long)rows, BRG_MODEL_ROWS_MAX);
    return BRG_OK;
}
