/* tokenizer_private.h - what the files of the tokenizer share; nobody else includes it.
 *
 * Building: brg_tokenizer_new, brg_tokenizer_put for every token, brg_tokenizer_join for every
 * merge, then brg_tokenizer_finish, which checks the whole and makes the tables. */
#ifndef BRG_MODEL_TOKENIZER_PRIVATE_H
#define BRG_MODEL_TOKENIZER_PRIVATE_H

#include "model/tokenizer.h"

struct brg_token_slot {
    uint64_t offset; /* in bytes */
    uint32_t size, type;
    float score;
};

/* A merge by its pair; empty where rank is BRG_TOKEN_NONE. */
struct brg_pair_slot {
    uint64_t key; /* left << 32 | right */
    uint32_t rank, result;
};

struct brg_tokenizer {
    struct brg_tokenizer_info info;
    uint32_t ignore_merges;        /* 1: a word that is a token is one, whatever the merges say */
    struct brg_token_slot *tokens; /* [vocab] */
    uint8_t *bytes;
    size_t byte_count, byte_capacity;
    struct brg_merge *merges; /* [merge_capacity], merge_count in use */
    uint32_t merge_capacity;
    uint32_t byte_ids[256];
    struct brg_pair_slot *pairs; /* [pair_mask + 1], open addressing */
    uint32_t pair_mask;
    uint32_t *by_text; /* [text_mask + 1] token numbers, open addressing */
    uint32_t text_mask;
    uint32_t *ranks;    /* SCORES: [vocab], 0 for the best score */
    uint32_t *specials; /* what BRG_ENCODE_MARKS looks for, longest first */
    uint32_t special_count;
    uint8_t special_first[256]; /* 1: one begins with this byte */
};

BRG_CHECK int brg_tokenizer_new(uint32_t kind, uint32_t vocab, struct brg_tokenizer **out);
/* Overwrites what was put at `id` before. errors: BRG_ENOMEM. asserts: id < vocab */
BRG_CHECK int brg_tokenizer_put(struct brg_tokenizer *t, uint32_t id, const uint8_t *bytes,
                                size_t size, uint32_t type, float score);
BRG_CHECK int brg_tokenizer_join(struct brg_tokenizer *t, struct brg_merge merge);
/* errors: BRG_ENOMEM; BRG_ECORRUPT a byte without a token */
BRG_CHECK int brg_tokenizer_finish(struct brg_tokenizer *t, const char *name, struct brg_why *why);

/* brg_tokenizer_index - the table from texts to tokens, which readers need before the merges. */
BRG_CHECK int brg_tokenizer_index(struct brg_tokenizer *t);

/* brg_tokenizer_find - the token with exactly these bytes that text can make, or BRG_TOKEN_NONE. */
uint32_t brg_tokenizer_find(const struct brg_tokenizer *t, const uint8_t *bytes, size_t size);

/* brg_tokenizer_pair - what a pair becomes and at which rank; rank BRG_TOKEN_NONE: nothing. */
struct brg_pair_slot brg_tokenizer_pair(const struct brg_tokenizer *t, uint32_t left,
                                        uint32_t right);

/* brg_tokenizer_hash - of some bytes; never 0 in all bits for different lengths by design. */
static inline uint64_t brg_tokenizer_hash(const uint8_t *bytes, size_t size) {
    uint64_t h = size * UINT64_C(0x9e3779b97f4a7c15);
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t x;
        __builtin_memcpy(&x, bytes, 8);
        h = (h ^ x) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    uint64_t x = 0;
    __builtin_memcpy(&x, bytes, size);
    h = (h ^ x) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 29;
}

/* GPT-2's table: the code point that stands for a byte, and back (-1: none). */
uint32_t brg_tokenizer_symbol_of(uint8_t byte);
int brg_tokenizer_byte_of(uint32_t symbol);

#define BRG_TOKENIZER_GPT2_PATTERN                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define BRG_TOKENIZER_LLAMA3_PATTERN                                                               \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"                      \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define BRG_TOKENIZER_QWEN2_PATTERN                                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"                           \
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#endif
