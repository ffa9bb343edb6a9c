/* tokenizer_write.c - tokenizer.json and tokenizer.bin. */
#include "model/tokenizer_private.h"

#include "model/prepare_json.h"

#include <inttypes.h>
#include <string.h>

#define PIECE_MAX 65536u /* bytes of a piece in a tokenizer.bin that is read */

static const char *pattern_of(uint32_t kind) {
    return kind == BRG_TOKENIZER_LLAMA3  ? BRG_TOKENIZER_LLAMA3_PATTERN
           : kind == BRG_TOKENIZER_QWEN2 ? BRG_TOKENIZER_QWEN2_PATTERN
                                         : BRG_TOKENIZER_GPT2_PATTERN;
}

static int is_mark(const struct brg_token_slot *s) {
    return s->type == BRG_TOKEN_CONTROL || s->type == BRG_TOKEN_ADDED;
}

static void print_symbols(FILE *f, const struct brg_tokenizer *t, uint32_t id) {
    char *text = brg_tokenizer_symbols(t, id);
    brg_prepare_json_string(f, text == NULL ? "" : text);
    free(text);
}

static void print_added(FILE *f, const struct brg_tokenizer *t) {
    const char *before = "";
    (void)fputs("  \"added_tokens\": [", f);
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        if (!is_mark(s) || s->size == 0) continue;
        (void)fprintf(f, "%s\n    {\"id\": %u, \"content\": ", before, id);
        print_symbols(f, t, id);
        (void)fprintf(f,
                      ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                      "\"normalized\": false, \"special\": %s}",
                      s->type == BRG_TOKEN_CONTROL ? "true" : "false");
        before = ",";
    }
    (void)fprintf(f, "%s],\n", before[0] != '\0' ? "\n  " : "");
}

static void print_processors(FILE *f, const struct brg_tokenizer *t) {
    (void)fputs("  \"normalizer\": null,\n  \"pre_tokenizer\": {\n    \"type\": \"Sequence\",\n"
                "    \"pretokenizers\": [\n      {\"type\": \"Split\", \"pattern\": {\"Regex\": ",
                f);
    brg_prepare_json_string(f, pattern_of(t->info.kind));
    (void)fputs("}, \"behavior\": \"Isolated\", \"invert\": false},\n"
                "      {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                "\"trim_offsets\": true, \"use_regex\": false}\n    ]\n  },\n"
                "  \"post_processor\": ",
                f);
    if (t->info.add_bos && t->info.bos != BRG_TOKEN_NONE) {
        (void)fputs("{\n    \"type\": \"TemplateProcessing\",\n    \"single\": ["
                    "{\"SpecialToken\": {\"id\": ",
                    f);
        print_symbols(f, t, t->info.bos);
        (void)fputs(", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],\n"
                    "    \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
                    "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n"
                    "    \"special_tokens\": {",
                    f);
        print_symbols(f, t, t->info.bos);
        (void)fputs(": {\"id\": ", f);
        print_symbols(f, t, t->info.bos);
        (void)fprintf(f, ", \"ids\": [%u], \"tokens\": [", t->info.bos);
        print_symbols(f, t, t->info.bos);
        (void)fputs("]}}\n  },\n", f);
    } else {
        (void)fputs("{\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                    "\"trim_offsets\": false, \"use_regex\": true},\n",
                    f);
    }
    (void)fputs("  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                "\"trim_offsets\": true, \"use_regex\": true},\n",
                f);
}

static void print_model(FILE *f, const struct brg_tokenizer *t) {
    const char *before = "";
    (void)fprintf(f,
                  "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
                  "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
                  "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
                  "    \"byte_fallback\": false,\n    \"ignore_merges\": %s,\n    \"vocab\": {",
                  t->ignore_merges ? "true" : "false");
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        if (s->size == 0 || s->type != BRG_TOKEN_NORMAL) continue;
        (void)fprintf(f, "%s\n      ", before);
        print_symbols(f, t, id);
        (void)fprintf(f, ": %u", id);
        before = ",";
    }
    (void)fputs("\n    },\n    \"merges\": [", f);
    for (uint32_t i = 0; i < t->info.merge_count; i++) {
        (void)fputs(i == 0 ? "\n      [" : ",\n      [", f);
        print_symbols(f, t, t->merges[i].left);
        (void)fputs(", ", f);
        print_symbols(f, t, t->merges[i].right);
        (void)fputc(']', f);
    }
    (void)fputs(t->info.merge_count > 0 ? "\n    ]\n  }\n}\n" : "]\n  }\n}\n", f);
}

int brg_tokenizer_json(const struct brg_tokenizer *t, char **out, size_t *size,
                       struct brg_why *why) {
    *out = NULL;
    if (t->info.kind == BRG_TOKENIZER_SCORES)
        return brg_why_set(why, BRG_EINVAL,
                           "a tokenizer.bin of llama2.c cannot be written as tokenizer.json: its "
                           "pieces are chosen by score and not by merges; export as llama2c");
    FILE *f = open_memstream(out, size);
    if (f == NULL) return brg_why_set(why, BRG_ENOMEM, "out of memory for tokenizer.json");
    (void)fputs("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n", f);
    print_added(f, t);
    print_processors(f, t);
    print_model(f, t);
    const int lost = ferror(f);
    if (fclose(f) == 0 && !lost && *out != NULL) return BRG_OK;
    free(*out);
    *out = NULL;
    return brg_why_set(why, BRG_ENOMEM, "out of memory for tokenizer.json");
}

/* A piece as tokenizer.bin has it: marks and bytes of SCORES by name, all else as it is. */
static size_t piece_of(const struct brg_tokenizer *t, uint32_t id, uint8_t *out, size_t room) {
    const struct brg_token token = brg_tokenizer_token(t, id);
    if (token.type == BRG_TOKEN_BYTE)
        return (size_t)snprintf((char *)out, room, "<0x%02X>", token.bytes[0]);
    if (t->info.kind == BRG_TOKENIZER_SCORES || token.type == BRG_TOKEN_NORMAL) {
        BRG_ASSERT(token.size <= room);
        if (token.size > 0) memcpy(out, token.bytes, token.size);
        return token.size;
    }
    if (id == t->info.bos) return (size_t)snprintf((char *)out, room, "\n<s>\n");
    if (id == t->info.eos) return (size_t)snprintf((char *)out, room, "\n</s>\n");
    return (size_t)snprintf((char *)out, room, "<unk %u>", id);
}

/* Writes all pieces behind room for the longest length; returns that, or UINT32_MAX. */
static uint32_t print_pieces(FILE *f, const struct brg_tokenizer *t, uint32_t vocab, uint8_t *piece,
                             size_t room) {
    float *scores = calloc(t->info.vocab, sizeof *scores);
    uint32_t longest = 0;
    if (scores == NULL) return UINT32_MAX;
    for (uint32_t i = 0; i < t->info.merge_count; i++)
        scores[t->merges[i].result] = -(float)(i + 1); /* earlier merges go first */
    (void)fwrite(&longest, sizeof longest, 1, f);
    for (uint32_t id = 0; id < vocab; id++) {
        const int is_known = id < t->info.vocab;
        const uint32_t size = is_known ? (uint32_t)piece_of(t, id, piece, room)
                                       : (uint32_t)snprintf((char *)piece, room, "<pad %u>", id);
        float score = is_known ? scores[id] : 0;
        if (is_known && t->info.kind == BRG_TOKENIZER_SCORES) score = t->tokens[id].score;
        if (size > longest) longest = size;
        (void)fwrite(&score, sizeof score, 1, f);
        (void)fwrite(&size, sizeof size, 1, f);
        (void)fwrite(piece, 1, size, f);
    }
    free(scores);
    return longest;
}

int brg_tokenizer_bin(const struct brg_tokenizer *t, uint32_t vocab, uint8_t **out, size_t *size,
                      struct brg_why *why) {
    const size_t room = (size_t)t->info.longest + 64;
    uint32_t longest = UINT32_MAX;
    char *text = NULL;
    *out = NULL;
    if (vocab < t->info.vocab)
        return brg_why_set(why, BRG_EINVAL,
                           "the tokenizer has %u tokens, the model only %u; give the tokenizer "
                           "that the model was trained with",
                           t->info.vocab, vocab);
    uint8_t *piece = malloc(room);
    FILE *f = piece == NULL ? NULL : open_memstream(&text, size);
    if (f != NULL) {
        longest = print_pieces(f, t, vocab, piece, room);
        const int lost = ferror(f);
        if (fclose(f) != 0 || lost || text == NULL) longest = UINT32_MAX;
    }
    free(piece);
    if (longest == UINT32_MAX) {
        free(text);
        return brg_why_set(why, BRG_ENOMEM, "out of memory for tokenizer.bin");
    }
    memcpy(text, &longest, sizeof longest);
    *out = (uint8_t *)text;
    return BRG_OK;
}

static int damaged(const char *name, const char *what, struct brg_why *why) {
    return brg_why_set(why, BRG_ECORRUPT,
                       "%s: %s; a tokenizer is a tokenizer.json, or a tokenizer.bin of llama2.c",
                       name, what);
}

/* Counts the pieces, so that every byte belongs to one. */
static int count_pieces(const char *name, const uint8_t *bytes, size_t size, uint32_t *count,
                        struct brg_why *why) {
    uint32_t length = 0;
    *count = 0;
    if (size < 12) return damaged(name, "it is too short", why);
    for (size_t at = 4; at < size; at += 8 + (size_t)length) {
        if (size - at < 8) return damaged(name, "it ends inside a piece", why);
        memcpy(&length, bytes + at + 4, sizeof length);
        if (length > PIECE_MAX || length > size - at - 8)
            return damaged(name, "a piece is longer than the file", why);
        if (*count == BRG_TOKENIZER_VOCAB_MAX) return damaged(name, "it has too many pieces", why);
        (*count)++;
    }
    return BRG_OK;
}

static int put_piece(struct brg_tokenizer *t, uint32_t id, const uint8_t *piece, uint32_t size,
                     float score) {
    char text[8] = "";
    unsigned byte = 0;
    if (size == 6) memcpy(text, piece, 6);
    if (size == 6 && sscanf(text, "<0x%2X>", &byte) == 1 && text[5] == '>') {
        const uint8_t b = (uint8_t)byte;
        return brg_tokenizer_put(t, id, &b, 1, BRG_TOKEN_BYTE, score);
    }
    /* 0, 1 and 2 are unknown, begin and end by convention, whatever their text is. */
    const uint32_t type = id == 0    ? BRG_TOKEN_UNKNOWN
                          : id <= 2  ? BRG_TOKEN_CONTROL
                          : size > 0 ? BRG_TOKEN_NORMAL
                                     : BRG_TOKEN_UNUSED;
    return brg_tokenizer_put(t, id, piece, size, type, score);
}

/* 256 pieces that are the bytes themselves: written of a vocabulary of bytes, which has no marks.
 */
static int is_bytes(const uint8_t *bytes, size_t size, uint32_t count) {
    uint32_t length = 0;
    if (count != 256 || size != 4 + 256 * 9) return 0;
    for (uint32_t id = 0; id < 256; id++) {
        memcpy(&length, bytes + 4 + (size_t)id * 9 + 4, sizeof length);
        if (length != 1 || bytes[4 + (size_t)id * 9 + 8] != id) return 0;
    }
    return 1;
}

int brg_tokenizer_parse_bin(const char *name, const uint8_t *bytes, size_t size_bytes,
                            struct brg_tokenizer **out, struct brg_why *why) {
    struct brg_tokenizer *t = NULL;
    uint32_t count = 0, id = 0;
    *out = NULL;
    int rc = count_pieces(name, bytes, size_bytes, &count, why);
    if (rc != BRG_OK) return rc;
    if (count < 4) return damaged(name, "it has fewer than 4 pieces", why);
    if (is_bytes(bytes, size_bytes, count)) return brg_tokenizer_bytes(out, why);
    rc = brg_tokenizer_new(BRG_TOKENIZER_SCORES, count, &t);
    for (size_t at = 4; rc == BRG_OK && at < size_bytes;) {
        uint32_t length = 0;
        float score = 0;
        memcpy(&score, bytes + at, sizeof score);
        memcpy(&length, bytes + at + 4, sizeof length);
        if (!(score >= -1e30f && score <= 1e30f)) {
            rc = damaged(name, "a score is not a number", why);
            break;
        }
        rc = put_piece(t, id++, bytes + at + 8, length, score);
        at += 8 + (size_t)length;
    }
    if (rc == BRG_OK) {
        t->info.unk = 0;
        t->info.bos = 1;
        t->info.eos = 2;
        t->info.add_bos = 1;
        rc = brg_tokenizer_finish(t, name, why);
    }
    if (rc != BRG_OK) {
        brg_tokenizer_destroy(t);
        return rc == BRG_ENOMEM ? brg_why_set(why, rc, "%s: out of memory", name) : rc;
    }
    *out = t;
    return BRG_OK;
}
