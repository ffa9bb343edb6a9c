/* tokenizer.c - the tokenizer as tables: tokens by number, by text, by pair. */
#include "model/tokenizer_private.h"

#include "model/unicode.h"

#include <string.h>

#define BYTES_FIRST 4096u /* room for the bytes of tokens; it doubles as needed */

uint32_t brg_tokenizer_symbol_of(uint8_t byte) {
    const int is_itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    if (is_itself) return byte;
    /* The others follow from U+0100 on, in their own order. */
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    return 0x143u;
}

int brg_tokenizer_byte_of(uint32_t symbol) {
    if (symbol <= 0xff)
        return brg_tokenizer_symbol_of((uint8_t)symbol) == symbol ? (int)symbol : -1;
    if (symbol >= 0x100 && symbol <= 0x120) return (int)(symbol - 0x100);
    if (symbol >= 0x121 && symbol <= 0x142) return (int)(symbol - 0x121 + 0x7f);
    return symbol == 0x143 ? 0xad : -1;
}

int brg_tokenizer_new(uint32_t kind, uint32_t vocab, struct brg_tokenizer **out) {
    BRG_ASSERT(vocab > 0 && vocab <= BRG_TOKENIZER_VOCAB_MAX);
    struct brg_tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (t == NULL) return BRG_ENOMEM;
    t->info = (struct brg_tokenizer_info){.kind = kind,
                                          .vocab = vocab,
                                          .bos = BRG_TOKEN_NONE,
                                          .eos = BRG_TOKEN_NONE,
                                          .unk = BRG_TOKEN_NONE};
    t->tokens = calloc(vocab, sizeof *t->tokens);
    t->bytes = malloc(BYTES_FIRST);
    if (t->tokens == NULL || t->bytes == NULL) {
        brg_tokenizer_destroy(t);
        return BRG_ENOMEM;
    }
    t->byte_capacity = BYTES_FIRST;
    for (uint32_t i = 0; i < vocab; i++) t->tokens[i].type = BRG_TOKEN_UNUSED;
    for (uint32_t i = 0; i < 256; i++) t->byte_ids[i] = BRG_TOKEN_NONE;
    *out = t;
    return BRG_OK;
}

void brg_tokenizer_destroy(struct brg_tokenizer *t) {
    if (t == NULL) return;
    free(t->tokens);
    free(t->bytes);
    free(t->merges);
    free(t->pairs);
    free(t->by_text);
    free(t->ranks);
    free(t->specials);
    free(t);
}

int brg_tokenizer_put(struct brg_tokenizer *t, uint32_t id, const uint8_t *bytes, size_t size,
                      uint32_t type, float score) {
    BRG_ASSERT(id < t->info.vocab && size <= UINT32_MAX);
    if (size > t->byte_capacity - t->byte_count) {
        const size_t wanted = 2 * (t->byte_capacity + size) + 4096;
        uint8_t *grown = realloc(t->bytes, wanted);
        if (grown == NULL) return BRG_ENOMEM;
        t->bytes = grown;
        t->byte_capacity = wanted;
    }
    if (size > 0) memcpy(t->bytes + t->byte_count, bytes, size);
    t->tokens[id] = (struct brg_token_slot){
        .offset = t->byte_count, .size = (uint32_t)size, .type = type, .score = score};
    t->byte_count += size;
    if (size > t->info.longest) t->info.longest = (uint32_t)size;
    return BRG_OK;
}

int brg_tokenizer_join(struct brg_tokenizer *t, struct brg_merge merge) {
    if (t->info.merge_count == t->merge_capacity) {
        const uint32_t wanted = 2 * t->merge_capacity + 1024;
        struct brg_merge *grown = realloc(t->merges, wanted * sizeof *grown);
        if (grown == NULL) return BRG_ENOMEM;
        t->merges = grown;
        t->merge_capacity = wanted;
    }
    t->merges[t->info.merge_count++] = merge;
    return BRG_OK;
}

/* A power of two that leaves at least half of the slots free. */
static uint32_t slots_for(uint32_t count) {
    uint32_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    return slots;
}

static int can_be_made(const struct brg_token_slot *s) {
    return s->size > 0 && s->type == BRG_TOKEN_NORMAL;
}

int brg_tokenizer_index(struct brg_tokenizer *t) {
    const uint32_t slots = slots_for(t->info.vocab);
    free(t->by_text);
    t->by_text = malloc(slots * sizeof *t->by_text);
    if (t->by_text == NULL) return BRG_ENOMEM;
    t->text_mask = slots - 1;
    for (uint32_t i = 0; i < slots; i++) t->by_text[i] = BRG_TOKEN_NONE;
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        if (!can_be_made(s)) continue;
        const uint8_t *bytes = t->bytes + s->offset;
        if (brg_tokenizer_find(t, bytes, s->size) != BRG_TOKEN_NONE) continue;
        uint32_t at = (uint32_t)brg_tokenizer_hash(bytes, s->size) & t->text_mask;
        while (t->by_text[at] != BRG_TOKEN_NONE) at = (at + 1) & t->text_mask;
        t->by_text[at] = id;
    }
    return BRG_OK;
}

uint32_t brg_tokenizer_find(const struct brg_tokenizer *t, const uint8_t *bytes, size_t size) {
    uint32_t at = (uint32_t)brg_tokenizer_hash(bytes, size) & t->text_mask;
    for (;; at = (at + 1) & t->text_mask) { /* ends: half of the slots are free */
        const uint32_t id = t->by_text[at];
        if (id == BRG_TOKEN_NONE) return BRG_TOKEN_NONE;
        const struct brg_token_slot *s = &t->tokens[id];
        if (s->size == size && memcmp(t->bytes + s->offset, bytes, size) == 0) return id;
    }
}

static uint32_t pair_at(const struct brg_tokenizer *t, uint64_t key) {
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32) & t->pair_mask;
}

/* Two tokens of SCORES join where the joined text is a token. */
static struct brg_pair_slot pair_by_text(const struct brg_tokenizer *t, uint32_t left,
                                         uint32_t right) {
    uint8_t joined[512];
    const struct brg_token_slot *a = &t->tokens[left], *b = &t->tokens[right];
    struct brg_pair_slot none = {.rank = BRG_TOKEN_NONE};
    if (a->size + b->size > t->info.longest || a->size + b->size > sizeof joined) return none;
    memcpy(joined, t->bytes + a->offset, a->size);
    memcpy(joined + a->size, t->bytes + b->offset, b->size);
    const uint32_t id = brg_tokenizer_find(t, joined, a->size + b->size);
    if (id == BRG_TOKEN_NONE) return none;
    return (struct brg_pair_slot){.rank = t->ranks[id], .result = id};
}

struct brg_pair_slot brg_tokenizer_pair(const struct brg_tokenizer *t, uint32_t left,
                                        uint32_t right) {
    if (t->info.kind == BRG_TOKENIZER_SCORES) return pair_by_text(t, left, right);
    const uint64_t key = (uint64_t)left << 32 | right;
    uint32_t at = pair_at(t, key);
    while (t->pairs[at].rank != BRG_TOKEN_NONE && t->pairs[at].key != key)
        at = (at + 1) & t->pair_mask;
    return t->pairs[at];
}

/* A pair that comes twice keeps its first rank. */
static int index_pairs(struct brg_tokenizer *t) {
    const uint32_t slots = slots_for(t->info.merge_count);
    t->pairs = malloc(slots * sizeof *t->pairs);
    if (t->pairs == NULL) return BRG_ENOMEM;
    t->pair_mask = slots - 1;
    for (uint32_t i = 0; i < slots; i++) t->pairs[i].rank = BRG_TOKEN_NONE;
    for (uint32_t i = 0; i < t->info.merge_count; i++) {
        const struct brg_merge *m = &t->merges[i];
        const uint64_t key = (uint64_t)m->left << 32 | m->right;
        uint32_t at = pair_at(t, key);
        while (t->pairs[at].rank != BRG_TOKEN_NONE && t->pairs[at].key != key)
            at = (at + 1) & t->pair_mask;
        if (t->pairs[at].rank != BRG_TOKEN_NONE) continue;
        t->pairs[at] = (struct brg_pair_slot){.key = key, .rank = i, .result = m->result};
    }
    return BRG_OK;
}

struct ranked {
    float score;
    uint32_t id;
};

static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Equal scores have equal ranks, so that the leftmost pair wins among them. */
static int rank_scores(struct brg_tokenizer *t) {
    const uint32_t vocab = t->info.vocab;
    struct ranked *order = malloc(vocab * sizeof *order);
    t->ranks = malloc(vocab * sizeof *t->ranks);
    if (order == NULL || t->ranks == NULL) {
        free(order);
        return BRG_ENOMEM;
    }
    for (uint32_t i = 0; i < vocab; i++) order[i] = (struct ranked){t->tokens[i].score, i};
    qsort(order, vocab, sizeof *order, by_score);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank = i;
        t->ranks[order[i].id] = rank;
    }
    free(order);
    return BRG_OK;
}

/* Marks and added tokens, longest first so that of two that fit the longer is taken. */
static int list_specials(struct brg_tokenizer *t, const char *name, struct brg_why *why) {
    uint32_t count = 0;
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        count += s->size > 0 && (s->type == BRG_TOKEN_CONTROL || s->type == BRG_TOKEN_ADDED);
    }
    if (count > BRG_TOKENIZER_SPECIALS_MAX)
        return brg_why_set(why, BRG_EINVAL, "%s: %u added tokens, at most %u can be used", name,
                           count, BRG_TOKENIZER_SPECIALS_MAX);
    t->specials = malloc((count + 1) * sizeof *t->specials);
    if (t->specials == NULL) return BRG_ENOMEM;
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        if (s->size == 0 || (s->type != BRG_TOKEN_CONTROL && s->type != BRG_TOKEN_ADDED)) continue;
        uint32_t at = t->special_count++;
        for (; at > 0 && t->tokens[t->specials[at - 1]].size < s->size; at--)
            t->specials[at] = t->specials[at - 1];
        t->specials[at] = id;
        t->special_first[t->bytes[s->offset]] = 1;
    }
    return BRG_OK;
}

/* Every byte has a token: what BYTE tokens say in SCORES, single bytes elsewhere. */
static int find_bytes(struct brg_tokenizer *t, const char *name, struct brg_why *why) {
    const int has_fallback = t->info.kind == BRG_TOKENIZER_SCORES;
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        if (s->type == BRG_TOKEN_BYTE) t->byte_ids[t->bytes[s->offset]] = id;
    }
    for (uint32_t b = 0; b < 256; b++) {
        const uint8_t byte = (uint8_t)b;
        if (t->byte_ids[b] == BRG_TOKEN_NONE) t->byte_ids[b] = brg_tokenizer_find(t, &byte, 1);
        if (t->byte_ids[b] == BRG_TOKEN_NONE && has_fallback) t->byte_ids[b] = t->info.unk;
        if (t->byte_ids[b] == BRG_TOKEN_NONE)
            return brg_why_set(why, BRG_ECORRUPT,
                               "%s: byte 0x%02x has no token, so not every text can be encoded; "
                               "this is no byte-level vocabulary",
                               name, b);
    }
    return BRG_OK;
}

int brg_tokenizer_finish(struct brg_tokenizer *t, const char *name, struct brg_why *why) {
    int rc = brg_tokenizer_index(t);
    if (rc == BRG_OK) rc = find_bytes(t, name, why);
    if (rc == BRG_OK) rc = index_pairs(t);
    if (rc == BRG_OK && t->info.kind == BRG_TOKENIZER_SCORES) rc = rank_scores(t);
    if (rc == BRG_OK) rc = list_specials(t, name, why);
    if (rc == BRG_ENOMEM) return brg_why_set(why, rc, "%s: out of memory", name);
    return rc;
}

int brg_tokenizer_bytes(struct brg_tokenizer **out, struct brg_why *why) {
    struct brg_tokenizer *t = NULL;
    int rc = brg_tokenizer_new(BRG_TOKENIZER_BYTES, 256, &t);
    for (uint32_t b = 0; rc == BRG_OK && b < 256; b++) {
        const uint8_t byte = (uint8_t)b;
        rc = brg_tokenizer_put(t, b, &byte, 1, BRG_TOKEN_NORMAL, 0);
    }
    if (rc == BRG_OK) rc = brg_tokenizer_finish(t, "bytes", why);
    if (rc != BRG_OK) {
        brg_tokenizer_destroy(t);
        t = NULL;
        rc = brg_why_set(why, rc, "out of memory for a tokenizer");
    }
    *out = t;
    return rc;
}

void brg_tokenizer_info_of(const struct brg_tokenizer *t, struct brg_tokenizer_info *out) {
    *out = t->info;
}

struct brg_token brg_tokenizer_token(const struct brg_tokenizer *t, uint32_t id) {
    BRG_ASSERT(id < t->info.vocab);
    const struct brg_token_slot *s = &t->tokens[id];
    return (struct brg_token){
        .bytes = t->bytes + s->offset, .size = s->size, .type = s->type, .score = s->score};
}

const struct brg_merge *brg_tokenizer_merges(const struct brg_tokenizer *t) {
    return t->merges;
}

uint32_t brg_tokenizer_byte(const struct brg_tokenizer *t, uint8_t byte) {
    return t->byte_ids[byte];
}

char *brg_tokenizer_symbols(const struct brg_tokenizer *t, uint32_t id) {
    const struct brg_token token = brg_tokenizer_token(t, id);
    char *out = malloc((size_t)token.size * 2 + 1);
    size_t at = 0;
    if (out == NULL) return NULL;
    if (token.type == BRG_TOKEN_CONTROL || token.type == BRG_TOKEN_ADDED) {
        memcpy(out, token.bytes, token.size);
        at = token.size;
    } else {
        for (uint32_t i = 0; i < token.size; i++)
            at += brg_unicode_put(brg_tokenizer_symbol_of(token.bytes[i]), (uint8_t *)out + at);
    }
    out[at] = '\0';
    return out;
}

void brg_tokenizer_digest(const struct brg_tokenizer *t, struct brg_digest *out) {
    struct brg_hasher h;
    const uint32_t head[] = {t->info.kind, t->info.vocab,   t->info.bos,        t->info.eos,
                             t->info.unk,  t->info.add_bos, t->info.merge_count};
    brg_hasher_init(&h);
    brg_hasher_update(&h, head, sizeof head);
    for (uint32_t id = 0; id < t->info.vocab; id++) {
        const struct brg_token_slot *s = &t->tokens[id];
        const uint32_t numbers[] = {s->size, s->type};
        brg_hasher_update(&h, numbers, sizeof numbers);
        brg_hasher_update(&h, &s->score, sizeof s->score);
        if (s->size > 0) brg_hasher_update(&h, t->bytes + s->offset, s->size);
    }
    if (t->info.merge_count > 0)
        brg_hasher_update(&h, t->merges, t->info.merge_count * sizeof *t->merges);
    brg_hasher_final(&h, out);
}
