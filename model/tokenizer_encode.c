/* tokenizer_encode.c - merging the symbols of a word, and the cache of words.
 *
 *   word ──in the cache?──► its tokens
 *     └─► symbols ──up to 64: look for the lowest rank, merge, repeat
 *               └──more: the same order by a heap of pairs and a linked list of symbols
 *
 * Both ways merge the pair of lowest rank, of equals the leftmost. */
#include "model/tokenizer_private.h"

#include "model/unicode.h"

#include <string.h>

#define CACHE_SLOTS 16384u /* a power of two; 1 MiB */
#define CACHE_TEXT 30u
#define CACHE_IDS 8u
#define SHORT_WORD 64u /* symbols: longer words use the heap */

struct cached {
    uint8_t size, count; /* size 0: empty */
    uint8_t text[CACHE_TEXT];
    uint32_t ids[CACHE_IDS];
};

/* A pair that may be merged: by rank, then by place. */
struct candidate {
    uint32_t rank, at, left, right;
};

/* A long word: symbol i with its neighbours; id BRG_TOKEN_NONE: merged away. */
struct symbol {
    uint32_t id, previous, next;
};

struct brg_encoder {
    const struct brg_tokenizer *t;
    struct cached *cache; /* [CACHE_SLOTS] */
    struct symbol *symbols;
    size_t symbol_capacity;
    struct candidate *heap;
    size_t heap_count, heap_capacity;
};

int brg_encoder_create(const struct brg_tokenizer *t, struct brg_encoder **out) {
    struct brg_encoder *e = calloc(1, sizeof *e);
    *out = NULL;
    if (e == NULL) return BRG_ENOMEM;
    e->t = t;
    e->cache = calloc(CACHE_SLOTS, sizeof *e->cache);
    if (e->cache == NULL) {
        free(e);
        return BRG_ENOMEM;
    }
    *out = e;
    return BRG_OK;
}

void brg_encoder_destroy(struct brg_encoder *e) {
    if (e == NULL) return;
    free(e->cache);
    free(e->symbols);
    free(e->heap);
    free(e);
}

static int reserve(struct brg_token_list *list, size_t more) {
    if (more <= list->capacity - list->count) return BRG_OK;
    const size_t wanted = list->capacity + list->capacity / 2 + more + 64;
    uint32_t *grown = realloc(list->ids, wanted * sizeof *grown);
    if (grown == NULL) return BRG_ENOMEM;
    list->ids = grown;
    list->capacity = wanted;
    return BRG_OK;
}

int brg_token_list_add(struct brg_token_list *list, uint32_t id) {
    const int rc = reserve(list, 1);
    if (rc == BRG_OK) list->ids[list->count++] = id;
    return rc;
}

/* Merges ids [n] in place; returns how many are left. n <= SHORT_WORD. */
static uint32_t merge_short(const struct brg_tokenizer *t, uint32_t *ids, uint32_t n) {
    struct brg_pair_slot pairs[SHORT_WORD];
    for (uint32_t i = 0; i + 1 < n; i++) pairs[i] = brg_tokenizer_pair(t, ids[i], ids[i + 1]);
    while (n > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < n; i++)
            if (pairs[i].rank < pairs[best].rank) best = i;
        if (pairs[best].rank == BRG_TOKEN_NONE) return n;
        ids[best] = pairs[best].result;
        n--;
        memmove(&ids[best + 1], &ids[best + 2], (n - best - 1) * sizeof *ids);
        memmove(&pairs[best], &pairs[best + 1], (n - best) * sizeof *pairs);
        if (best + 1 < n) pairs[best] = brg_tokenizer_pair(t, ids[best], ids[best + 1]);
        if (best > 0) pairs[best - 1] = brg_tokenizer_pair(t, ids[best - 1], ids[best]);
    }
    return n;
}

static int is_before(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static int push(struct brg_encoder *e, uint32_t at) {
    const uint32_t next = e->symbols[at].next;
    if (next == BRG_TOKEN_NONE) return BRG_OK;
    const uint32_t left = e->symbols[at].id, right = e->symbols[next].id;
    const struct brg_pair_slot pair = brg_tokenizer_pair(e->t, left, right);
    if (pair.rank == BRG_TOKEN_NONE) return BRG_OK;
    if (e->heap_count == e->heap_capacity) {
        const size_t wanted = 2 * e->heap_capacity + 256;
        struct candidate *grown = realloc(e->heap, wanted * sizeof *grown);
        if (grown == NULL) return BRG_ENOMEM;
        e->heap = grown;
        e->heap_capacity = wanted;
    }
    const struct candidate c = {.rank = pair.rank, .at = at, .left = left, .right = right};
    size_t i = e->heap_count++;
    for (; i > 0 && is_before(&c, &e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = c;
    return BRG_OK;
}

static struct candidate pop(struct brg_encoder *e) {
    BRG_ASSERT(e->heap_count > 0);
    const struct candidate top = e->heap[0], last = e->heap[--e->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= e->heap_count) break;
        if (child + 1 < e->heap_count && is_before(&e->heap[child + 1], &e->heap[child])) child++;
        if (!is_before(&e->heap[child], &last)) break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

static int merge_long(struct brg_encoder *e, uint32_t *ids, size_t n, size_t *left_over) {
    int rc = BRG_OK;
    if (n > e->symbol_capacity) {
        struct symbol *grown = realloc(e->symbols, n * sizeof *grown);
        if (grown == NULL) return BRG_ENOMEM;
        e->symbols = grown;
        e->symbol_capacity = n;
    }
    for (size_t i = 0; i < n; i++)
        e->symbols[i] = (struct symbol){.id = ids[i],
                                        .previous = i == 0 ? BRG_TOKEN_NONE : (uint32_t)(i - 1),
                                        .next = i + 1 == n ? BRG_TOKEN_NONE : (uint32_t)(i + 1)};
    e->heap_count = 0;
    for (size_t i = 0; i < n && rc == BRG_OK; i++) rc = push(e, (uint32_t)i);
    while (rc == BRG_OK && e->heap_count > 0) { /* each turn drops a candidate or a symbol */
        const struct candidate c = pop(e);
        struct symbol *left = &e->symbols[c.at];
        if (left->id != c.left || left->next == BRG_TOKEN_NONE) continue;
        struct symbol *right = &e->symbols[left->next];
        if (right->id != c.right) continue;
        left->id = brg_tokenizer_pair(e->t, c.left, c.right).result;
        left->next = right->next;
        right->id = BRG_TOKEN_NONE;
        if (left->next != BRG_TOKEN_NONE) e->symbols[left->next].previous = c.at;
        rc = push(e, c.at);
        if (rc == BRG_OK && left->previous != BRG_TOKEN_NONE) rc = push(e, left->previous);
    }
    size_t count = 0;
    for (uint32_t i = 0; rc == BRG_OK && i != BRG_TOKEN_NONE; i = e->symbols[i].next)
        ids[count++] = e->symbols[i].id;
    *left_over = count;
    return rc;
}

/* Merges the last `n` tokens of the list. */
static int merge_tail(struct brg_encoder *e, size_t n, struct brg_token_list *list) {
    uint32_t *ids = list->ids + list->count - n;
    size_t left = n;
    if (n <= SHORT_WORD) {
        left = merge_short(e->t, ids, (uint32_t)n);
    } else {
        const int rc = merge_long(e, ids, n, &left);
        if (rc != BRG_OK) return rc;
    }
    list->count -= n - left;
    return BRG_OK;
}

/* One word that is not in the cache. */
static int encode_word(struct brg_encoder *e, const uint8_t *word, size_t size,
                       struct brg_token_list *list) {
    const struct brg_tokenizer *t = e->t;
    if (t->ignore_merges) {
        const uint32_t id = brg_tokenizer_find(t, word, size);
        if (id != BRG_TOKEN_NONE) return brg_token_list_add(list, id);
    }
    const int rc = reserve(list, size);
    if (rc != BRG_OK) return rc;
    for (size_t i = 0; i < size; i++) list->ids[list->count++] = t->byte_ids[word[i]];
    return t->info.merge_count == 0 ? BRG_OK : merge_tail(e, size, list);
}

static int add_word(struct brg_encoder *e, const uint8_t *word, size_t size,
                    struct brg_token_list *list) {
    if (size > CACHE_TEXT) return encode_word(e, word, size, list);
    struct cached *c = &e->cache[brg_tokenizer_hash(word, size) & (CACHE_SLOTS - 1)];
    if (c->size == size && memcmp(c->text, word, size) == 0) {
        const int rc = reserve(list, CACHE_IDS);
        if (rc != BRG_OK) return rc;
        memcpy(list->ids + list->count, c->ids, sizeof c->ids);
        list->count += c->count;
        return BRG_OK;
    }
    const size_t before = list->count;
    const int rc = encode_word(e, word, size, list);
    const size_t count = list->count - before;
    if (rc != BRG_OK || count > CACHE_IDS) return rc;
    c->size = (uint8_t)size;
    c->count = (uint8_t)count;
    memcpy(c->text, word, size);
    memcpy(c->ids, list->ids + before, count * sizeof c->ids[0]);
    return BRG_OK;
}

/* SCORES: a blank before the text, then code points, or their bytes where there is no piece. */
static int add_scored(struct brg_encoder *e, const uint8_t *text, size_t size,
                      struct brg_token_list *list) {
    const struct brg_tokenizer *t = e->t;
    const size_t before = list->count;
    const uint8_t blank = ' ';
    int rc = brg_token_list_add(list, t->byte_ids[blank]);
    for (size_t at = 0; rc == BRG_OK && at < size;) {
        uint32_t bytes = 1;
        (void)brg_unicode_take(text + at, size - at, &bytes);
        const uint32_t id = brg_tokenizer_find(t, text + at, bytes);
        if (id != BRG_TOKEN_NONE) {
            rc = brg_token_list_add(list, id);
        } else {
            for (uint32_t i = 0; rc == BRG_OK && i < bytes; i++)
                rc = brg_token_list_add(list, t->byte_ids[text[at + i]]);
        }
        at += bytes;
    }
    return rc == BRG_OK ? merge_tail(e, list->count - before, list) : rc;
}

/* A stretch of text without marks. */
static int add_plain(struct brg_encoder *e, const uint8_t *text, size_t size,
                     struct brg_token_list *list) {
    int rc = BRG_OK;
    if (size == 0) return BRG_OK;
    if (e->t->info.kind == BRG_TOKENIZER_SCORES) return add_scored(e, text, size, list);
    if (e->t->info.kind == BRG_TOKENIZER_BYTES) {
        rc = reserve(list, size);
        for (size_t i = 0; rc == BRG_OK && i < size; i++) list->ids[list->count++] = text[i];
        return rc;
    }
    for (size_t at = 0; rc == BRG_OK && at < size;) {
        const size_t word = brg_tokenizer_split(e->t->info.kind, text + at, size - at);
        rc = add_word(e, text + at, word, list);
        at += word;
    }
    return rc;
}

/* The mark that begins at text, or BRG_TOKEN_NONE. */
static uint32_t mark_at(const struct brg_tokenizer *t, const uint8_t *text, size_t size) {
    for (uint32_t i = 0; i < t->special_count; i++) {
        const struct brg_token_slot *s = &t->tokens[t->specials[i]];
        if (s->size <= size && memcmp(t->bytes + s->offset, text, s->size) == 0)
            return t->specials[i];
    }
    return BRG_TOKEN_NONE;
}

int brg_encoder_add(struct brg_encoder *e, const uint8_t *text, size_t size_bytes, uint32_t flags,
                    struct brg_token_list *list) {
    const struct brg_tokenizer *t = e->t;
    size_t start = 0, at = 0;
    int rc = BRG_OK;
    if (size_bytes > BRG_TOKENIZER_TEXT_MAX) return BRG_EINVAL;
    if ((flags & BRG_ENCODE_MARKS) == 0 || t->special_count == 0)
        return add_plain(e, text, size_bytes, list);
    while (rc == BRG_OK && at < size_bytes) {
        const uint32_t id =
            t->special_first[text[at]] ? mark_at(t, text + at, size_bytes - at) : BRG_TOKEN_NONE;
        if (id == BRG_TOKEN_NONE) {
            at++;
            continue;
        }
        rc = add_plain(e, text + start, at - start, list);
        if (rc == BRG_OK) rc = brg_token_list_add(list, id);
        at += t->tokens[id].size;
        start = at;
    }
    return rc == BRG_OK ? add_plain(e, text + start, size_bytes - start, list) : rc;
}
