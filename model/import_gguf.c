/* import_gguf.c - a GGUF file of architecture llama that is not quantized. */
#include "model/import_private.h"

#include "model/infer_rope.h"
#include "model/tokenizer_private.h"
#include "model/unicode.h"

#include <math.h>
#include <string.h>

#define VOCAB_MAX BRG_TOKENIZER_VOCAB_MAX

static int is_text(const struct brg_gguf_key *k, const char *want) {
    return k != NULL && k->type == BRG_GGUF_TEXT && k->size_bytes == 8 + strlen(want) &&
           memcmp(k->data + 8, want, strlen(want)) == 0;
}

static int read_spec(const struct brg_gguf *g, struct brg_model_spec *s, struct brg_why *why) {
    uint32_t turned = 0;
    const struct {
        const char *key;
        uint32_t *out;
    } numbers[] = {
        {"llama.context_length", &s->context},     {"llama.embedding_length", &s->dim},
        {"llama.block_count", &s->layers},         {"llama.feed_forward_length", &s->hidden},
        {"llama.attention.head_count", &s->heads}, {"llama.attention.head_count_kv", &s->kv_heads},
        {"llama.rope.dimension_count", &turned},
    };
    s->type = BRG_MODEL_LLAMA;
    s->norm_eps = 1e-5f;
    s->rope_theta = 10000.0f;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const int rc = brg_gguf_u32(g, numbers[i].key, numbers[i].out, why);
        if (rc != BRG_OK) return rc;
    }
    if (s->kv_heads == 0) s->kv_heads = s->heads;
    if (s->context > BRG_MODEL_DIM_MAX) s->context = BRG_MODEL_DIM_MAX;
    int rc = brg_gguf_f32(g, "llama.attention.layer_norm_rms_epsilon", &s->norm_eps, why);
    if (rc == BRG_OK) rc = brg_gguf_f32(g, "llama.rope.freq_base", &s->rope_theta, why);
    if (rc == BRG_OK && s->heads > 0 && turned != 0 && turned != s->dim / s->heads)
        rc = brg_why_set(why, BRG_EINVAL,
                         "%s: only a part of each head is turned (rope.dimension_count), which "
                         "cannot be computed",
                         g->name);
    return rc;
}

static int read_scaling(const struct brg_gguf *g, struct brg_model_spec *s, struct brg_why *why) {
    const struct brg_gguf_key *type = brg_gguf_find(g, "llama.rope.scaling.type");
    if (brg_gguf_tensor_find(g, "rope_freqs.weight") != NULL) {
        struct brg_rope_scaling *r = &s->rope_scaling;
        r->type = BRG_ROPE_LLAMA3;
        int rc = brg_gguf_f32(g, "brigade.rope.factor", &r->factor, why);
        if (rc == BRG_OK) rc = brg_gguf_f32(g, "brigade.rope.low_freq", &r->low_freq, why);
        if (rc == BRG_OK) rc = brg_gguf_f32(g, "brigade.rope.high_freq", &r->high_freq, why);
        if (rc == BRG_OK)
            rc = brg_gguf_u32(g, "brigade.rope.original_context", &r->original_context, why);
        if (rc == BRG_OK && r->original_context == 0)
            rc = brg_why_set(why, BRG_EINVAL,
                             "%s: its angles are scaled by a table (rope_freqs), which does not "
                             "say by what rule; import the Hugging Face folder it was made from",
                             g->name);
        return rc;
    }
    if (type == NULL || is_text(type, "none")) return BRG_OK;
    if (!is_text(type, "linear"))
        return brg_why_set(why, BRG_EINVAL,
                           "%s: its rope scaling is neither none nor linear, which cannot be "
                           "computed",
                           g->name);
    s->rope_scaling.type = BRG_ROPE_LINEAR;
    return brg_gguf_f32(g, "llama.rope.scaling.factor", &s->rope_scaling.factor, why);
}

/* The vocabulary is as long as the embedding; without a head of its own the model is tied. */
static int read_tables(const struct brg_gguf *g, struct brg_model_spec *s, struct brg_why *why) {
    const struct brg_gguf_tensor *t = brg_gguf_tensor_find(g, "token_embd.weight");
    if (t == NULL || t->dims != 2 || t->shape[1] > UINT32_MAX)
        return brg_why_set(why, BRG_ECORRUPT, "%s: tensor token_embd.weight is missing", g->name);
    s->vocab = (uint32_t)t->shape[1];
    s->tied = brg_gguf_tensor_find(g, "output.weight") == NULL;
    return BRG_OK;
}

static int place_tensor(struct brg_import *m, uint32_t index, struct brg_why *why) {
    const struct brg_llama_place place = brg_llama_place_of(&m->info.spec, index);
    struct brg_model_tensor want;
    char name[BRG_TENSOR_NAME_BYTES];
    brg_model_tensor(&m->info.spec, index, &want);
    brg_llama_gguf_name(&place, name);
    const struct brg_gguf_tensor *t = brg_gguf_tensor_find(&m->gguf, name);
    if (t == NULL) return brg_why_set(why, BRG_ECORRUPT, "%s: tensor %s is missing", m->path, name);
    if (t->dtype == BRG_WEIGHT_OTHER)
        return brg_why_set(why, BRG_EINVAL,
                           "%s: tensor %s is quantized; take the model in F32, F16 or BF16",
                           m->path, name);
    if (t->dims != want.dims || t->shape[0] != want.cols ||
        (want.dims == 2 && t->shape[1] != want.rows))
        return brg_why_set(why, BRG_ECORRUPT, "%s: tensor %s is not [%u, %u] as its keys make it",
                           m->path, name, want.rows, want.cols);
    m->places[index] =
        (struct brg_import_place){.data = t->data, .dtype = t->dtype, .turning = place.heads};
    return BRG_OK;
}

int brg_import_open_gguf(struct brg_import *m, struct brg_why *why) {
    struct brg_why inner = {.text = ""};
    struct brg_model_spec *s = &m->info.spec;
    int rc = brg_gguf_open(m->path, &m->gguf, why);
    if (rc != BRG_OK) return rc;
    m->info.format = BRG_FILE_GGUF;
    if (!is_text(brg_gguf_find(&m->gguf, "general.architecture"), "llama"))
        return brg_why_set(why, BRG_EINVAL,
                           "%s: its architecture is not llama, which is all that can be computed",
                           m->path);
    rc = read_spec(&m->gguf, s, why);
    if (rc == BRG_OK) rc = read_scaling(&m->gguf, s, why);
    if (rc == BRG_OK) rc = read_tables(&m->gguf, s, why);
    if (rc == BRG_OK) rc = brg_gguf_u32(&m->gguf, "tokenizer.ggml.bos_token_id", &m->info.bos, why);
    if (rc == BRG_OK) rc = brg_gguf_u32(&m->gguf, "tokenizer.ggml.eos_token_id", &m->info.eos, why);
    if (rc != BRG_OK) return rc;
    rc = brg_model_check(s, 1, &inner);
    if (rc != BRG_OK) return brg_why_set(why, rc, "%s: %s", m->path, inner.text);
    rc = brg_import_size(m, why);
    for (uint32_t i = 0; rc == BRG_OK && i < m->count; i++) rc = place_tensor(m, i, why);
    if (rc == BRG_OK) m->info.dtype = m->places[0].dtype;
    const uint32_t extra = s->rope_scaling.type == BRG_ROPE_LLAMA3;
    if (rc == BRG_OK && m->gguf.tensor_count != m->count + extra)
        rc = brg_why_set(why, BRG_EINVAL,
                         "%s: it has %u tensors, a LLaMA of its sizes has %u; models with biases "
                         "or further parts cannot be computed",
                         m->path, m->gguf.tensor_count, m->count + extra);
    return rc;
}

/* A list of `count` items of a type, or NULL. */
static const struct brg_gguf_key *list_of(const struct brg_gguf *g, const char *key, uint32_t type,
                                          uint64_t count) {
    const struct brg_gguf_key *k = brg_gguf_find(g, key);
    if (k == NULL || k->type != BRG_GGUF_LIST || k->item_type != type) return NULL;
    return count == UINT64_MAX || k->count == count ? k : NULL;
}

/* A piece in GPT-2's symbols, or as SentencePiece writes it; returns its bytes, -1 if neither.
 * shape: out [text.size], never longer than the symbols */
static long piece_of(const struct brg_gguf_text *text, int is_scores, uint8_t *out) {
    long count = 0;
    for (uint64_t at = 0; at < text->size;) {
        uint32_t taken = 1;
        const uint32_t point = brg_unicode_take(text->bytes + at, text->size - at, &taken);
        if (is_scores && point == 0x2581) {
            out[count++] = ' ';
        } else if (is_scores) {
            memcpy(out + count, text->bytes + at, taken);
            count += taken;
        } else {
            const int byte = brg_tokenizer_byte_of(point);
            if (byte < 0) return -1;
            out[count++] = (uint8_t)byte;
        }
        at += taken;
    }
    return count;
}

static int put_tokens(const struct brg_gguf *g, const struct brg_gguf_key *tokens,
                      struct brg_tokenizer *t, struct brg_why *why) {
    const int is_scores = t->info.kind == BRG_TOKENIZER_SCORES;
    const struct brg_gguf_key *types =
        list_of(g, "tokenizer.ggml.token_type", BRG_GGUF_I32, tokens->count);
    const struct brg_gguf_key *scores =
        list_of(g, "tokenizer.ggml.scores", BRG_GGUF_F32, tokens->count);
    uint64_t at = 0;
    uint8_t *piece = malloc(tokens->size_bytes + 1);
    int rc = piece == NULL ? BRG_ENOMEM : BRG_OK;
    for (uint32_t id = 0; rc == BRG_OK && id < tokens->count; id++) {
        const struct brg_gguf_text text = brg_gguf_next(tokens, &at);
        uint32_t type = BRG_TOKEN_NORMAL;
        float score = 0;
        if (types != NULL) memcpy(&type, types->data + (size_t)id * 4, sizeof type);
        if (scores != NULL) memcpy(&score, scores->data + (size_t)id * 4, sizeof score);
        if (type == BRG_TOKEN_BYTE && text.size == 6) {
            char hex[3] = {(char)text.bytes[3], (char)text.bytes[4], '\0'};
            piece[0] = (uint8_t)strtoul(hex, NULL, 16);
            rc = brg_tokenizer_put(t, id, piece, 1, type, score);
            continue;
        }
        const long size = type == BRG_TOKEN_NORMAL ? piece_of(&text, is_scores, piece) : -1;
        if (size >= 0)
            rc = brg_tokenizer_put(t, id, piece, (size_t)size, type, score);
        else
            rc = brg_tokenizer_put(
                t, id, text.bytes, text.size,
                type == BRG_TOKEN_CONTROL || type == BRG_TOKEN_ADDED ? type : BRG_TOKEN_UNUSED,
                score);
    }
    free(piece);
    return rc == BRG_ENOMEM ? brg_why_set(why, rc, "%s: out of memory", g->name) : rc;
}

static int put_merges(const struct brg_gguf *g, struct brg_tokenizer *t, struct brg_why *why) {
    const struct brg_gguf_key *merges =
        list_of(g, "tokenizer.ggml.merges", BRG_GGUF_TEXT, UINT64_MAX);
    uint64_t at = 0;
    int rc = BRG_OK;
    uint8_t *joined = malloc(merges == NULL ? 1 : merges->size_bytes + 1);
    if (joined == NULL) return BRG_ENOMEM;
    for (uint64_t i = 0; merges != NULL && rc == BRG_OK && i < merges->count; i++) {
        const struct brg_gguf_text text = brg_gguf_next(merges, &at);
        const uint8_t *blank = memchr(text.bytes, ' ', text.size);
        const uint64_t cut = blank == NULL ? text.size : (uint64_t)(blank - text.bytes);
        const struct brg_gguf_text left = {text.bytes, cut};
        const struct brg_gguf_text right = {text.bytes + cut + 1,
                                            cut < text.size ? text.size - cut - 1 : 0};
        const long a = piece_of(&left, 0, joined);
        const long b = a > 0 && right.size > 0 ? piece_of(&right, 0, joined + a) : -1;
        struct brg_merge m = {.result = BRG_TOKEN_NONE};
        if (b > 0) {
            m.left = brg_tokenizer_find(t, joined, (size_t)a);
            m.right = brg_tokenizer_find(t, joined + a, (size_t)b);
            m.result = brg_tokenizer_find(t, joined, (size_t)(a + b));
        }
        if (b <= 0 || m.left == BRG_TOKEN_NONE || m.right == BRG_TOKEN_NONE ||
            m.result == BRG_TOKEN_NONE)
            rc = brg_why_set(why, BRG_ECORRUPT, "%s: a merge names a token that is not there",
                             g->name);
        else
            rc = brg_tokenizer_join(t, m);
    }
    free(joined);
    return rc;
}

static uint32_t kind_of(const struct brg_gguf *g) {
    const struct brg_gguf_key *model = brg_gguf_find(g, "tokenizer.ggml.model");
    const struct brg_gguf_key *pre = brg_gguf_find(g, "tokenizer.ggml.pre");
    if (is_text(model, "llama")) return BRG_TOKENIZER_SCORES;
    if (!is_text(model, "gpt2")) return 0;
    if (pre == NULL || is_text(pre, "gpt-2") || is_text(pre, "default")) return BRG_TOKENIZER_GPT2;
    if (is_text(pre, "llama-bpe") || is_text(pre, "llama3")) return BRG_TOKENIZER_LLAMA3;
    return is_text(pre, "qwen2") ? BRG_TOKENIZER_QWEN2 : 0;
}

/* A vocabulary of bytes has no marks, yet the keys have to name something: a plain token is none.
 */
static uint32_t only_mark(const struct brg_tokenizer *t, uint32_t id) {
    return id < t->info.vocab && t->tokens[id].type != BRG_TOKEN_NORMAL ? id : BRG_TOKEN_NONE;
}

static int read_marks(const struct brg_gguf *g, struct brg_tokenizer *t, struct brg_why *why) {
    struct brg_tokenizer_info *i = &t->info;
    int rc = brg_gguf_u32(g, "tokenizer.ggml.bos_token_id", &i->bos, why);
    if (rc == BRG_OK) rc = brg_gguf_u32(g, "tokenizer.ggml.eos_token_id", &i->eos, why);
    if (rc == BRG_OK) rc = brg_gguf_u32(g, "tokenizer.ggml.unknown_token_id", &i->unk, why);
    i->add_bos = i->kind == BRG_TOKENIZER_SCORES || i->kind == BRG_TOKENIZER_LLAMA3;
    if (rc == BRG_OK) rc = brg_gguf_u32(g, "tokenizer.ggml.add_bos_token", &i->add_bos, why);
    i->bos = only_mark(t, i->bos);
    i->eos = only_mark(t, i->eos);
    i->unk = only_mark(t, i->unk);
    if (i->bos == BRG_TOKEN_NONE) i->add_bos = 0;
    return rc;
}

int brg_import_gguf_tokenizer(const struct brg_gguf *g, struct brg_tokenizer **out,
                              struct brg_why *why) {
    const struct brg_gguf_key *tokens =
        list_of(g, "tokenizer.ggml.tokens", BRG_GGUF_TEXT, UINT64_MAX);
    const uint32_t kind = kind_of(g);
    struct brg_tokenizer *t = NULL;
    *out = NULL;
    if (tokens == NULL)
        return brg_why_set(why, BRG_ENOENT, "%s: it holds no tokenizer; give one", g->name);
    if (kind == 0)
        return brg_why_set(why, BRG_EINVAL,
                           "%s: its tokenizer is of a kind that is not known; only gpt-2, "
                           "llama-bpe, qwen2 and llama are",
                           g->name);
    if (tokens->count == 0 || tokens->count > VOCAB_MAX)
        return brg_why_set(why, BRG_ECORRUPT, "%s: its tokenizer has no tokens, or too many",
                           g->name);
    int rc = brg_tokenizer_new(kind, (uint32_t)tokens->count, &t);
    if (rc == BRG_OK) t->ignore_merges = kind == BRG_TOKENIZER_LLAMA3;
    if (rc == BRG_OK) rc = put_tokens(g, tokens, t, why);
    if (rc == BRG_OK) rc = read_marks(g, t, why);
    if (rc == BRG_OK && kind != BRG_TOKENIZER_SCORES) {
        rc = brg_tokenizer_index(t);
        if (rc == BRG_OK) rc = put_merges(g, t, why);
    }
    if (rc == BRG_OK) rc = brg_tokenizer_finish(t, g->name, why);
    if (rc != BRG_OK) {
        brg_tokenizer_destroy(t);
        return rc == BRG_ENOMEM ? brg_why_set(why, rc, "%s: out of memory", g->name) : rc;
    }
    *out = t;
    return BRG_OK;
}
