#include "model/hf_config.h"

#include "base/file.h"
#include "model/dtype.h"
#include "model/import_json.h"
#include "model/model.h"

#include <errno.h>
#include <string.h>

#define COUNT_MAX UINT32_MAX

static int refused(const struct brg_import_json *j, const char *key, const char *what) {
    return brg_why_set(j->why, BRG_EINVAL, "%s: %s %s", j->name, key, what);
}

/* A text that must be `want` where it is given at all. */
static int must_be(const struct brg_import_json *j, const cJSON *o, const char *key,
                   const char *want) {
    const cJSON *item = brg_import_json_get(o, key);
    if (item == NULL || (cJSON_IsString(item) && strcmp(item->valuestring, want) == 0))
        return BRG_OK;
    return brg_why_set(j->why, BRG_EINVAL,
                       "%s: %s is '%.40s', but only '%s' can be computed; choose a model of the "
                       "LLaMA family",
                       j->name, key, cJSON_IsString(item) ? item->valuestring : "no text", want);
}

static int must_be_off(const struct brg_import_json *j, const cJSON *o, const char *key) {
    uint32_t flag = 0;
    const int rc = brg_import_json_flag(j, o, key, &flag);
    if (rc != BRG_OK || flag == 0) return rc;
    return refused(j, key, "is true, but projections with a bias cannot be computed");
}

static int check_kind(const struct brg_import_json *j, const cJSON *o) {
    if (brg_import_json_get(o, "model_type") == NULL)
        return refused(j, "model_type", "is missing; is this the config.json of a model?");
    int rc = must_be(j, o, "model_type", "llama");
    if (rc == BRG_OK) rc = must_be(j, o, "hidden_act", "silu");
    if (rc == BRG_OK) rc = must_be_off(j, o, "attention_bias");
    if (rc == BRG_OK) rc = must_be_off(j, o, "mlp_bias");
    if (rc == BRG_OK && brg_import_json_get(o, "quantization_config") != NULL)
        rc = refused(j, "quantization_config",
                     "is set: take the model in F32, F16 or BF16, not a quantized one");
    return rc;
}

static int read_sizes(const struct brg_import_json *j, const cJSON *o, struct brg_model_spec *s) {
    uint32_t head_dim = 0;
    const struct {
        const char *key;
        uint32_t *out;
        uint32_t is_needed;
    } sizes[] = {
        {"hidden_size", &s->dim, 1},
        {"num_hidden_layers", &s->layers, 1},
        {"num_attention_heads", &s->heads, 1},
        {"num_key_value_heads", &s->kv_heads, 0},
        {"intermediate_size", &s->hidden, 1},
        {"vocab_size", &s->vocab, 1},
        {"max_position_embeddings", &s->context, 0},
        {"head_dim", &head_dim, 0},
    };
    s->context = 2048;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].is_needed && brg_import_json_get(o, sizes[i].key) == NULL)
            return refused(j, sizes[i].key, "is missing");
        const int rc = brg_import_json_count(j, o, sizes[i].key, COUNT_MAX, sizes[i].out);
        if (rc != BRG_OK) return rc;
    }
    if (s->kv_heads == 0) s->kv_heads = s->heads;
    if (s->context > BRG_MODEL_DIM_MAX) s->context = BRG_MODEL_DIM_MAX;
    if (head_dim != 0 && (s->heads == 0 || (uint64_t)head_dim * s->heads != s->dim))
        return refused(j, "head_dim",
                       "times num_attention_heads is not hidden_size, which cannot be computed");
    return BRG_OK;
}

/* rope_scaling, or rope_parameters as newer files have it. */
static int read_scaling(const struct brg_import_json *j, const cJSON *o, struct brg_model_spec *s) {
    struct brg_rope_scaling *r = &s->rope_scaling;
    const cJSON *type = brg_import_json_get(o, "rope_type");
    if (type == NULL) type = brg_import_json_get(o, "type");
    const char *name = cJSON_IsString(type) ? type->valuestring : "default";
    int rc = brg_import_json_float(j, o, "rope_theta", &s->rope_theta);
    if (rc != BRG_OK || strcmp(name, "default") == 0) return rc;
    r->type = strcmp(name, "linear") == 0   ? BRG_ROPE_LINEAR
              : strcmp(name, "llama3") == 0 ? BRG_ROPE_LLAMA3
                                            : BRG_ROPE_PLAIN;
    if (r->type == BRG_ROPE_PLAIN)
        return brg_why_set(j->why, BRG_EINVAL,
                           "%s: rope_scaling is of type '%.40s', but only linear and llama3 can be "
                           "computed",
                           j->name, name);
    rc = brg_import_json_float(j, o, "factor", &r->factor);
    if (r->type == BRG_ROPE_LINEAR || rc != BRG_OK) return rc;
    rc = brg_import_json_float(j, o, "low_freq_factor", &r->low_freq);
    if (rc == BRG_OK) rc = brg_import_json_float(j, o, "high_freq_factor", &r->high_freq);
    if (rc == BRG_OK)
        rc = brg_import_json_count(j, o, "original_max_position_embeddings", COUNT_MAX,
                                   &r->original_context);
    return rc;
}

static int read_numbers(const struct brg_import_json *j, const cJSON *o, struct brg_model_spec *s) {
    s->norm_eps = 1e-6f;
    s->rope_theta = 10000.0f;
    int rc = brg_import_json_float(j, o, "rms_norm_eps", &s->norm_eps);
    if (rc == BRG_OK) rc = brg_import_json_float(j, o, "rope_theta", &s->rope_theta);
    if (rc == BRG_OK) rc = brg_import_json_flag(j, o, "tie_word_embeddings", &s->tied);
    if (rc != BRG_OK) return rc;
    const cJSON *rope = brg_import_json_get(o, "rope_parameters");
    if (rope == NULL) rope = brg_import_json_get(o, "rope_scaling");
    if (rope == NULL) return BRG_OK;
    if (!cJSON_IsObject(rope)) return refused(j, "rope_scaling", "is not an object");
    return read_scaling(j, rope, s);
}

static int read_token(const struct brg_import_json *j, const cJSON *o, const char *key,
                      uint32_t *out) {
    const cJSON *item = brg_import_json_get(o, key);
    uint64_t id = 0;
    *out = BRG_HF_NO_TOKEN;
    if (cJSON_IsArray(item)) item = item->child;
    if (item == NULL) return BRG_OK;
    if (!brg_import_json_whole(item, &id) || id >= BRG_HF_NO_TOKEN)
        return brg_why_set(j->why, BRG_ECORRUPT, "%s: %s is not a token's number", j->name, key);
    *out = (uint32_t)id;
    return BRG_OK;
}

static uint32_t read_dtype(const cJSON *o) {
    const cJSON *item = brg_import_json_get(o, "torch_dtype");
    if (item == NULL) item = brg_import_json_get(o, "dtype");
    if (!cJSON_IsString(item)) return BRG_WEIGHT_OTHER;
    const char *name = item->valuestring;
    return strcmp(name, "float32") == 0    ? BRG_WEIGHT_F32
           : strcmp(name, "float16") == 0  ? BRG_WEIGHT_F16
           : strcmp(name, "bfloat16") == 0 ? BRG_WEIGHT_BF16
                                           : BRG_WEIGHT_OTHER;
}

int brg_hf_config_parse(const char *name, const uint8_t *text, size_t size_bytes,
                        struct brg_hf_config *out, struct brg_why *why) {
    const struct brg_import_json j = {name, why};
    struct brg_why inner = {.text = ""};
    cJSON *o = NULL;
    memset(out, 0, sizeof *out);
    out->spec.type = BRG_MODEL_LLAMA;
    int rc = brg_import_json_parse(&j, text, size_bytes, BRG_HF_CONFIG_BYTES_MAX, &o);
    if (rc != BRG_OK) return rc;
    rc = brg_import_json_unique(&j, o);
    if (rc == BRG_OK) rc = check_kind(&j, o);
    if (rc == BRG_OK) rc = read_sizes(&j, o, &out->spec);
    if (rc == BRG_OK) rc = read_numbers(&j, o, &out->spec);
    if (rc == BRG_OK) rc = read_token(&j, o, "bos_token_id", &out->bos);
    if (rc == BRG_OK) rc = read_token(&j, o, "eos_token_id", &out->eos);
    out->dtype = read_dtype(o);
    cJSON_Delete(o);
    if (rc != BRG_OK) return rc;
    rc = brg_model_check(&out->spec, 1, &inner);
    return rc == BRG_OK ? BRG_OK : brg_why_set(why, rc, "%s: %s", name, inner.text);
}

int brg_hf_config_read(const char *path, struct brg_hf_config *out, struct brg_why *why) {
    uint8_t *text = NULL;
    size_t size = 0;
    int rc = brg_file_read(path, BRG_HF_CONFIG_BYTES_MAX, &text, &size);
    if (rc != BRG_OK)
        return brg_why_set(why, rc, "%s: cannot be read (%s); check the path", path,
                           strerror(errno));
    rc = brg_hf_config_parse(path, text, size, out, why);
    free(text);
    return rc;
}

const char *brg_hf_float_text(float x, char *out) {
    if (x >= 1 && x < 1e7f && x == (float)(uint32_t)x) {
        (void)snprintf(out, 32, "%u.0", (uint32_t)x);
        return out;
    }
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(out, 32, "%.*g", digits, (double)x);
        if ((float)strtod(out, NULL) == x) break;
    }
    if (strpbrk(out, ".en") == NULL) (void)strcat(out, ".0");
    return out;
}

static void print_token(FILE *f, const char *key, uint32_t id) {
    if (id == BRG_HF_NO_TOKEN)
        (void)fprintf(f, "  \"%s\": null,\n", key);
    else
        (void)fprintf(f, "  \"%s\": %u,\n", key, id);
}

static void print_scaling(FILE *f, const struct brg_rope_scaling *r) {
    char text[32];
    if (r->type == BRG_ROPE_PLAIN) {
        (void)fputs("  \"rope_scaling\": null,\n", f);
        return;
    }
    (void)fprintf(f, "  \"rope_scaling\": {\n    \"factor\": %s,\n",
                  brg_hf_float_text(r->factor, text));
    if (r->type == BRG_ROPE_LLAMA3) {
        (void)fprintf(f, "    \"high_freq_factor\": %s,\n", brg_hf_float_text(r->high_freq, text));
        (void)fprintf(f, "    \"low_freq_factor\": %s,\n", brg_hf_float_text(r->low_freq, text));
        (void)fprintf(f, "    \"original_max_position_embeddings\": %u,\n", r->original_context);
    }
    (void)fprintf(f, "    \"rope_type\": \"%s\"\n  },\n",
                  r->type == BRG_ROPE_LINEAR ? "linear" : "llama3");
}

static void print_config(FILE *f, const struct brg_hf_config *c) {
    static const char *const dtypes[] = {"float32", "float32", "float16", "bfloat16"};
    const struct brg_model_spec *s = &c->spec;
    char text[32];
    (void)fputs("{\n  \"architectures\": [\n    \"LlamaForCausalLM\"\n  ],\n"
                "  \"attention_bias\": false,\n  \"attention_dropout\": 0.0,\n",
                f);
    print_token(f, "bos_token_id", c->bos);
    print_token(f, "eos_token_id", c->eos);
    (void)fprintf(f,
                  "  \"head_dim\": %u,\n  \"hidden_act\": \"silu\",\n  \"hidden_size\": %u,\n"
                  "  \"initializer_range\": 0.02,\n  \"intermediate_size\": %u,\n"
                  "  \"max_position_embeddings\": %u,\n  \"mlp_bias\": false,\n"
                  "  \"model_type\": \"llama\",\n  \"num_attention_heads\": %u,\n"
                  "  \"num_hidden_layers\": %u,\n  \"num_key_value_heads\": %u,\n"
                  "  \"pretraining_tp\": 1,\n",
                  s->dim / s->heads, s->dim, s->hidden, s->context, s->heads, s->layers,
                  s->kv_heads);
    (void)fprintf(f, "  \"rms_norm_eps\": %s,\n", brg_hf_float_text(s->norm_eps, text));
    print_scaling(f, &s->rope_scaling);
    (void)fprintf(f, "  \"rope_theta\": %s,\n", brg_hf_float_text(s->rope_theta, text));
    (void)fprintf(f,
                  "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n"
                  "  \"use_cache\": true,\n  \"vocab_size\": %u\n}\n",
                  s->tied ? "true" : "false", dtypes[c->dtype <= BRG_WEIGHT_BF16 ? c->dtype : 0],
                  s->vocab);
}

int brg_hf_config_text(const struct brg_hf_config *config, char **out) {
    size_t size = 0;
    *out = NULL;
    FILE *f = open_memstream(out, &size);
    if (f == NULL) return BRG_ENOMEM;
    print_config(f, config);
    const int lost = ferror(f);
    if (fclose(f) == 0 && !lost && *out != NULL) return BRG_OK;
    free(*out);
    *out = NULL;
    return BRG_ENOMEM;
}
