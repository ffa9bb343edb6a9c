/* export_gguf.c - a GGUF file of architecture llama with its tokenizer inside. */
#include "model/export_private.h"

#include "model/gguf.h"
#include "model/infer_rope.h"

#include <string.h>

#define FILE_TYPE_F32 0u
#define FILE_TYPE_F16 1u
#define FILE_TYPE_BF16 32u
#define PAD_BYTES 32u

static void put_sizes(struct brg_gguf_writer *w, const struct brg_export *e) {
    const struct brg_model_spec *s = e->spec;
    const uint32_t type = e->dtype == BRG_WEIGHT_F32   ? FILE_TYPE_F32
                          : e->dtype == BRG_WEIGHT_F16 ? FILE_TYPE_F16
                                                       : FILE_TYPE_BF16;
    brg_gguf_put_text(w, "general.architecture", "llama");
    brg_gguf_put_text(w, "general.type", "model");
    brg_gguf_put_text(w, "general.name",
                      e->notes.run != NULL && e->notes.run[0] != '\0' ? e->notes.run : "brigade");
    brg_gguf_put_u32(w, "general.file_type", type);
    brg_gguf_put_u32(w, "general.alignment", BRG_GGUF_ALIGNMENT);
    brg_gguf_put_u32(w, "llama.vocab_size", s->vocab);
    brg_gguf_put_u32(w, "llama.context_length", s->context);
    brg_gguf_put_u32(w, "llama.embedding_length", s->dim);
    brg_gguf_put_u32(w, "llama.block_count", s->layers);
    brg_gguf_put_u32(w, "llama.feed_forward_length", s->hidden);
    brg_gguf_put_u32(w, "llama.attention.head_count", s->heads);
    brg_gguf_put_u32(w, "llama.attention.head_count_kv", s->kv_heads);
    brg_gguf_put_u32(w, "llama.rope.dimension_count", s->dim / s->heads);
    brg_gguf_put_f32(w, "llama.rope.freq_base", s->rope_theta);
    brg_gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", s->norm_eps);
}

/* A scaling by llama3's rule travels as the table rope_freqs, and its numbers as notes. */
static void put_scaling(struct brg_gguf_writer *w, const struct brg_rope_scaling *r) {
    if (r->type == BRG_ROPE_LINEAR) {
        brg_gguf_put_text(w, "llama.rope.scaling.type", "linear");
        brg_gguf_put_f32(w, "llama.rope.scaling.factor", r->factor);
    }
    if (r->type != BRG_ROPE_LLAMA3) return;
    brg_gguf_put_f32(w, "brigade.rope.factor", r->factor);
    brg_gguf_put_f32(w, "brigade.rope.low_freq", r->low_freq);
    brg_gguf_put_f32(w, "brigade.rope.high_freq", r->high_freq);
    brg_gguf_put_u32(w, "brigade.rope.original_context", r->original_context);
}

/* A piece as SentencePiece writes it: U+2581 for blanks, <0xNN> for bytes. */
static void put_scored_piece(struct brg_gguf_writer *w, const struct brg_token *token, char *out) {
    size_t size = 0;
    if (token->type == BRG_TOKEN_BYTE) {
        size = (size_t)snprintf(out, PAD_BYTES, "<0x%02X>", token->bytes[0]);
    } else {
        for (uint32_t i = 0; i < token->size; i++) {
            const int is_blank = token->bytes[i] == ' ';
            memcpy(out + size, is_blank ? "\xe2\x96\x81" : (const char *)&token->bytes[i],
                   is_blank ? 3 : 1);
            size += is_blank ? 3 : 1;
        }
    }
    brg_gguf_item_text(w, out, size);
}

/* Token `id`, or a filler where the model has more rows than the tokenizer has tokens. */
static int put_piece(struct brg_gguf_writer *w, const struct brg_export *e,
                     const struct brg_tokenizer_info *info, uint32_t id) {
    char pad[PAD_BYTES];
    const struct brg_token none = {.size = 0};
    const struct brg_token token = id < info->vocab ? brg_tokenizer_token(e->tokenizer, id) : none;
    if (token.size == 0) {
        const int n = snprintf(pad, sizeof pad, "[PAD%u]", id);
        brg_gguf_item_text(w, pad, (size_t)n);
        return BRG_OK;
    }
    char *text = info->kind == BRG_TOKENIZER_SCORES ? malloc(3 * (size_t)token.size + PAD_BYTES)
                                                    : brg_tokenizer_symbols(e->tokenizer, id);
    if (text == NULL) return BRG_ENOMEM;
    if (info->kind == BRG_TOKENIZER_SCORES)
        put_scored_piece(w, &token, text);
    else
        brg_gguf_item_text(w, text, strlen(text));
    free(text);
    return BRG_OK;
}

static int put_merges(struct brg_gguf_writer *w, const struct brg_export *e,
                      const struct brg_tokenizer_info *info) {
    const struct brg_merge *merges = brg_tokenizer_merges(e->tokenizer);
    int rc = BRG_OK;
    brg_gguf_put_list(w, "tokenizer.ggml.merges", BRG_GGUF_TEXT, info->merge_count);
    for (uint32_t i = 0; rc == BRG_OK && i < info->merge_count; i++) {
        char *left = brg_tokenizer_symbols(e->tokenizer, merges[i].left);
        char *right = brg_tokenizer_symbols(e->tokenizer, merges[i].right);
        char *both = NULL;
        if (left == NULL || right == NULL || asprintf(&both, "%s %s", left, right) < 0) {
            both = NULL;
            rc = BRG_ENOMEM;
        } else {
            brg_gguf_item_text(w, both, strlen(both));
        }
        free(left);
        free(right);
        free(both);
    }
    return rc;
}

static void put_marks(struct brg_gguf_writer *w, const struct brg_tokenizer_info *info) {
    /* A vocabulary of bytes has no marks; without these keys llama.cpp takes token 11 for them. */
    brg_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", info->bos != BRG_TOKEN_NONE ? info->bos : 0);
    brg_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", info->eos != BRG_TOKEN_NONE ? info->eos : 0);
    if (info->unk != BRG_TOKEN_NONE)
        brg_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", info->unk);
    brg_gguf_put_flag(w, "tokenizer.ggml.add_bos_token", info->add_bos);
    brg_gguf_put_flag(w, "tokenizer.ggml.add_eos_token", 0);
}

static int put_tokenizer(struct brg_gguf_writer *w, const struct brg_export *e) {
    struct brg_tokenizer_info info;
    const uint32_t vocab = e->spec->vocab;
    int rc = BRG_OK;
    brg_tokenizer_info_of(e->tokenizer, &info);
    const int is_scores = info.kind == BRG_TOKENIZER_SCORES;
    brg_gguf_put_text(w, "tokenizer.ggml.model", is_scores ? "llama" : "gpt2");
    brg_gguf_put_text(w, "tokenizer.ggml.pre",
                      is_scores                           ? "default"
                      : info.kind == BRG_TOKENIZER_LLAMA3 ? "llama-bpe"
                      : info.kind == BRG_TOKENIZER_QWEN2  ? "qwen2"
                                                          : "gpt-2");
    brg_gguf_put_list(w, "tokenizer.ggml.tokens", BRG_GGUF_TEXT, vocab);
    for (uint32_t id = 0; rc == BRG_OK && id < vocab; id++) rc = put_piece(w, e, &info, id);
    brg_gguf_put_list(w, "tokenizer.ggml.token_type", BRG_GGUF_I32, vocab);
    for (uint32_t id = 0; id < vocab; id++) {
        const struct brg_token none = {.type = BRG_TOKEN_UNUSED};
        const struct brg_token t = id < info.vocab ? brg_tokenizer_token(e->tokenizer, id) : none;
        const uint32_t type = t.size == 0 ? (uint32_t)BRG_TOKEN_UNUSED : t.type;
        brg_gguf_item(w, &type, sizeof type);
    }
    if (is_scores) {
        brg_gguf_put_list(w, "tokenizer.ggml.scores", BRG_GGUF_F32, vocab);
        for (uint32_t id = 0; id < vocab; id++) {
            const float score = id < info.vocab ? brg_tokenizer_token(e->tokenizer, id).score : 0;
            brg_gguf_item(w, &score, sizeof score);
        }
        brg_gguf_put_flag(w, "tokenizer.ggml.add_space_prefix", 1);
    } else if (rc == BRG_OK) {
        rc = put_merges(w, e, &info);
    }
    put_marks(w, &info);
    return rc;
}

/* Names and types of all tensors; the table of angles comes first where there is one. */
static uint32_t list_tensors(const struct brg_export_job *j, struct brg_gguf_entry *entries,
                             char (*names)[BRG_TENSOR_NAME_BYTES]) {
    const struct brg_model_spec *s = j->e->spec;
    uint32_t count = 0;
    if (s->rope_scaling.type == BRG_ROPE_LLAMA3)
        entries[count++] = (struct brg_gguf_entry){.name = "rope_freqs.weight",
                                                   .dtype = BRG_WEIGHT_F32,
                                                   .dims = 1,
                                                   .cols = s->dim / s->heads / 2};
    for (uint32_t i = 0; i < j->count; i++) {
        struct brg_model_tensor t;
        const struct brg_llama_place place = brg_llama_place_of(s, i);
        brg_model_tensor(s, i, &t);
        brg_llama_gguf_name(&place, names[i]);
        entries[count++] =
            (struct brg_gguf_entry){.name = names[i],
                                    .dtype = t.dims == 1 ? (uint32_t)BRG_WEIGHT_F32 : j->e->dtype,
                                    .dims = t.dims,
                                    .rows = t.rows,
                                    .cols = t.cols};
    }
    return count;
}

static int make_header(struct brg_export_job *j, char **header, size_t *size) {
    struct brg_export_note notes[BRG_EXPORT_NOTES_MAX];
    const uint32_t note_count = brg_export_notes_of(j->e, notes);
    struct brg_gguf_entry *entries = calloc((size_t)j->count + 1, sizeof *entries);
    char(*names)[BRG_TENSOR_NAME_BYTES] = calloc(j->count, sizeof *names);
    struct brg_gguf_writer w = {.f = NULL};
    int rc = entries == NULL || names == NULL ? BRG_ENOMEM : brg_gguf_begin(&w);
    if (rc == BRG_OK) {
        put_sizes(&w, j->e);
        put_scaling(&w, &j->e->spec->rope_scaling);
        rc = put_tokenizer(&w, j->e);
        for (uint32_t i = 0; i < note_count; i++)
            brg_gguf_put_text(&w, notes[i].key, notes[i].text);
    }
    if (rc == BRG_OK)
        rc = brg_gguf_finish(&w, entries, list_tensors(j, entries, names), header, size);
    else
        brg_gguf_drop(&w);
    free(entries);
    free(names);
    return rc == BRG_OK ? BRG_OK : brg_why_set(j->why, rc, "%s: out of memory", j->e->path);
}

static int pad(struct brg_export_job *j) {
    static const uint8_t zeroes[BRG_GGUF_ALIGNMENT];
    const uint64_t past = j->writer.size_bytes % BRG_GGUF_ALIGNMENT;
    return past == 0 ? BRG_OK : brg_export_bytes(j, zeroes, BRG_GGUF_ALIGNMENT - past);
}

static int put_angles(struct brg_export_job *j) {
    const struct brg_model_spec *s = j->e->spec;
    int rc = BRG_OK;
    if (s->rope_scaling.type != BRG_ROPE_LLAMA3) return BRG_OK;
    for (uint32_t i = 0; rc == BRG_OK && i < s->dim / s->heads / 2; i++) {
        const float divisor = (float)brg_infer_rope_divisor(s, i);
        rc = brg_export_bytes(j, &divisor, sizeof divisor);
    }
    return rc == BRG_OK ? pad(j) : rc;
}

int brg_export_gguf(struct brg_export_job *j) {
    char *header = NULL;
    size_t size = 0;
    int rc = make_header(j, &header, &size);
    if (rc == BRG_OK) rc = brg_export_open(j, j->e->path);
    if (rc == BRG_OK) rc = brg_export_bytes(j, header, size);
    free(header);
    if (rc == BRG_OK) rc = put_angles(j);
    for (uint32_t i = 0; rc == BRG_OK && i < j->count; i++) {
        struct brg_model_tensor t;
        brg_model_tensor(j->e->spec, i, &t);
        rc = brg_export_append(j, i, t.dims == 1 ? (uint32_t)BRG_WEIGHT_F32 : j->e->dtype, 1);
        if (rc == BRG_OK) rc = pad(j);
    }
    return rc == BRG_OK ? brg_export_commit(j) : rc;
}
