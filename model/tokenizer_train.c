/* tokenizer_train.c - learns merges: every distinct word once, with how often it occurs.
 *
 *   words ──► pairs with their counts ──► heap, most frequent first
 *                 ▲                          │ the count may be out of date: pushed again
 *                 └── words that hold it ◄───┘ merged in each, neighbours counted anew
 */
#include "model/tokenizer_private.h"

#include <string.h>

#define VOCAB_MAX 65536u
#define MARKS 3u

struct word {
    uint64_t first; /* of its symbols */
    uint32_t count; /* symbols left */
    uint32_t size;  /* bytes */
    uint64_t times;
    const uint8_t *text;
};

/* One pair: how often it occurs, and the words that (at some time) held it. */
struct pair {
    uint64_t key; /* left << 32 | right; EMPTY: free */
    int64_t times;
    uint32_t *words;
    uint32_t word_count, word_capacity;
};

struct entry {
    int64_t times;
    uint64_t key;
};

#define EMPTY UINT64_MAX

struct trainer {
    const struct brg_tokenizer_train *how;
    struct word *words;
    uint32_t word_count, word_mask;
    uint32_t *by_text; /* [word_mask + 1] */
    uint32_t word_capacity;
    uint32_t *symbols;
    struct pair *pairs; /* [pair_mask + 1] */
    uint32_t pair_mask, pair_count;
    struct entry *heap;
    size_t heap_count, heap_capacity;
};

static void trainer_clear(struct trainer *r) {
    for (uint32_t i = 0; r->pairs != NULL && i <= r->pair_mask; i++) free(r->pairs[i].words);
    free(r->pairs);
    free(r->words);
    free(r->by_text);
    free(r->symbols);
    free(r->heap);
}

/* Doubles the table of words once it is half full. */
static int grow_words(struct trainer *r) {
    const uint32_t slots = r->by_text == NULL ? 4096 : 2 * (r->word_mask + 1);
    uint32_t *table = malloc(slots * sizeof *table);
    if (table == NULL) return BRG_ENOMEM;
    memset(table, 0xff, slots * sizeof *table);
    free(r->by_text);
    r->by_text = table;
    r->word_mask = slots - 1;
    for (uint32_t i = 0; i < r->word_count; i++) {
        uint32_t at =
            (uint32_t)brg_tokenizer_hash(r->words[i].text, r->words[i].size) & r->word_mask;
        while (table[at] != BRG_TOKEN_NONE) at = (at + 1) & r->word_mask;
        table[at] = i;
    }
    struct word *words = realloc(r->words, slots / 2 * sizeof *words);
    if (words == NULL) return BRG_ENOMEM;
    r->words = words;
    r->word_capacity = slots / 2;
    return BRG_OK;
}

static int count_word(struct trainer *r, const uint8_t *text, uint32_t size) {
    if (r->word_count == r->word_capacity) {
        const int rc = grow_words(r);
        if (rc != BRG_OK) return rc;
    }
    uint32_t at = (uint32_t)brg_tokenizer_hash(text, size) & r->word_mask;
    for (; r->by_text[at] != BRG_TOKEN_NONE; at = (at + 1) & r->word_mask) {
        struct word *w = &r->words[r->by_text[at]];
        if (w->size != size || memcmp(w->text, text, size) != 0) continue;
        w->times++;
        return BRG_OK;
    }
    r->by_text[at] = r->word_count;
    r->words[r->word_count++] = (struct word){.size = size, .times = 1, .text = text};
    return BRG_OK;
}

static uint32_t pair_slot(const struct trainer *r, uint64_t key) {
    uint32_t at = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & r->pair_mask;
    while (r->pairs[at].key != EMPTY && r->pairs[at].key != key) at = (at + 1) & r->pair_mask;
    return at;
}

static int grow_pairs(struct trainer *r) {
    const uint32_t slots = r->pairs == NULL ? 16384 : 2 * (r->pair_mask + 1);
    struct pair *old = r->pairs;
    const uint32_t old_slots = old == NULL ? 0 : r->pair_mask + 1;
    struct pair *table = malloc(slots * sizeof *table);
    if (table == NULL) return BRG_ENOMEM;
    for (uint32_t i = 0; i < slots; i++) table[i] = (struct pair){.key = EMPTY};
    r->pairs = table;
    r->pair_mask = slots - 1;
    for (uint32_t i = 0; i < old_slots; i++)
        if (old[i].key != EMPTY) table[pair_slot(r, old[i].key)] = old[i];
    free(old);
    return BRG_OK;
}

static int add_pair(struct trainer *r, uint64_t key, int64_t times, uint32_t word) {
    if (r->pairs == NULL || r->pair_count > r->pair_mask / 2) {
        const int rc = grow_pairs(r);
        if (rc != BRG_OK) return rc;
    }
    struct pair *p = &r->pairs[pair_slot(r, key)];
    if (p->key == EMPTY) {
        p->key = key;
        r->pair_count++;
    }
    p->times += times;
    if (times < 0 || (p->word_count > 0 && p->words[p->word_count - 1] == word)) return BRG_OK;
    if (p->word_count == p->word_capacity) {
        const uint32_t wanted = 2 * p->word_capacity + 4;
        uint32_t *grown = realloc(p->words, wanted * sizeof *grown);
        if (grown == NULL) return BRG_ENOMEM;
        p->words = grown;
        p->word_capacity = wanted;
    }
    p->words[p->word_count++] = word;
    return BRG_OK;
}

/* More often first; of equals the lower numbers. */
static int is_before(const struct entry *a, const struct entry *b) {
    return a->times != b->times ? a->times > b->times : a->key < b->key;
}

static int push(struct trainer *r, struct entry entry) {
    if (entry.times < 2) return BRG_OK;
    if (r->heap_count == r->heap_capacity) {
        const size_t wanted = 2 * r->heap_capacity + 4096;
        struct entry *grown = realloc(r->heap, wanted * sizeof *grown);
        if (grown == NULL) return BRG_ENOMEM;
        r->heap = grown;
        r->heap_capacity = wanted;
    }
    size_t i = r->heap_count++;
    for (; i > 0 && is_before(&entry, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = entry;
    return BRG_OK;
}

static struct entry pop(struct trainer *r) {
    const struct entry top = r->heap[0], last = r->heap[--r->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= r->heap_count) break;
        if (child + 1 < r->heap_count && is_before(&r->heap[child + 1], &r->heap[child])) child++;
        if (!is_before(&r->heap[child], &last)) break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = last;
    return top;
}

static int count_words(struct trainer *r, const uint8_t *text, size_t size) {
    int rc = BRG_OK;
    for (size_t at = 0; rc == BRG_OK && at < size;) {
        const size_t word = brg_tokenizer_split(r->how->kind, text + at, size - at);
        rc = count_word(r, text + at, (uint32_t)word);
        at += word;
    }
    return rc;
}

static uint64_t key_of(uint32_t left, uint32_t right) {
    return (uint64_t)left << 32 | right;
}

/* Symbols of all words, their pairs, and the heap of these. */
static int count_pairs(struct trainer *r) {
    const uint32_t first_byte = r->how->is_without_marks ? 0 : MARKS;
    uint64_t total = 0;
    int rc = BRG_OK;
    for (uint32_t i = 0; i < r->word_count; i++) total += r->words[i].size;
    r->symbols = malloc(total * sizeof *r->symbols);
    if (r->symbols == NULL) return BRG_ENOMEM;
    total = 0;
    for (uint32_t i = 0; i < r->word_count && rc == BRG_OK; i++) {
        struct word *w = &r->words[i];
        w->first = total;
        w->count = w->size;
        for (uint32_t j = 0; j < w->size; j++) r->symbols[total++] = first_byte + w->text[j];
        const uint32_t *s = r->symbols + w->first;
        for (uint32_t j = 0; j + 1 < w->count && rc == BRG_OK; j++)
            rc = add_pair(r, key_of(s[j], s[j + 1]), (int64_t)w->times, i);
    }
    for (uint32_t i = 0; r->pairs != NULL && i <= r->pair_mask && rc == BRG_OK; i++)
        if (r->pairs[i].key != EMPTY)
            rc = push(r, (struct entry){.times = r->pairs[i].times, .key = r->pairs[i].key});
    return rc;
}

/* A neighbour `key` is there `times` times more, or less; more goes onto the heap. */
static int recount(struct trainer *r, uint64_t key, int64_t times, uint32_t word) {
    const int rc = add_pair(r, key, times, word);
    if (rc != BRG_OK || times < 0) return rc;
    return push(r, (struct entry){.times = r->pairs[pair_slot(r, key)].times, .key = key});
}

static int merge_in_word(struct trainer *r, uint32_t index, uint64_t key, uint32_t result) {
    struct word *w = &r->words[index];
    uint32_t *s = r->symbols + w->first;
    const int64_t times = (int64_t)w->times;
    uint32_t out = 0;
    int rc = BRG_OK;
    for (uint32_t i = 0; i < w->count && rc == BRG_OK; i++) {
        if (i + 1 == w->count || key_of(s[i], s[i + 1]) != key) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0) {
            rc = recount(r, key_of(s[out - 1], s[i]), -times, index);
            if (rc == BRG_OK) rc = recount(r, key_of(s[out - 1], result), times, index);
        }
        if (i + 2 < w->count && rc == BRG_OK) {
            rc = recount(r, key_of(s[i + 1], s[i + 2]), -times, index);
            if (rc == BRG_OK) rc = recount(r, key_of(result, s[i + 2]), times, index);
        }
        s[out++] = result;
        i++;
    }
    w->count = out;
    return rc;
}

/* The pair that occurs most often now; EMPTY where none occurs twice. */
static uint64_t most_frequent(struct trainer *r, int *rc) {
    while (r->heap_count > 0 && *rc == BRG_OK) {
        const struct entry top = pop(r);
        const int64_t now = r->pairs[pair_slot(r, top.key)].times;
        if (now == top.times) return top.key;
        if (now < top.times) *rc = push(r, (struct entry){.times = now, .key = top.key});
    }
    return EMPTY;
}

static int learn(struct trainer *r, struct brg_tokenizer *t, uint32_t *vocab) {
    uint8_t *joined = NULL;
    int rc = BRG_OK;
    for (; *vocab < r->how->vocab && rc == BRG_OK; (*vocab)++) {
        const uint64_t key = most_frequent(r, &rc);
        if (rc != BRG_OK || key == EMPTY) break;
        const struct brg_merge m = {
            .left = (uint32_t)(key >> 32), .right = (uint32_t)key, .result = *vocab};
        const struct brg_token_slot a = t->tokens[m.left], b = t->tokens[m.right];
        uint8_t *grown = realloc(joined, (size_t)a.size + b.size);
        if (grown == NULL) {
            rc = BRG_ENOMEM;
            break;
        }
        joined = grown;
        memcpy(joined, t->bytes + a.offset, a.size);
        memcpy(joined + a.size, t->bytes + b.offset, b.size);
        rc = brg_tokenizer_put(t, *vocab, joined, (size_t)a.size + b.size, BRG_TOKEN_NORMAL, 0);
        if (rc == BRG_OK) rc = brg_tokenizer_join(t, m);
        /* Its list is taken away first: the table may move while words change. */
        struct pair taken = r->pairs[pair_slot(r, key)];
        r->pairs[pair_slot(r, key)].words = NULL;
        r->pairs[pair_slot(r, key)].word_count = r->pairs[pair_slot(r, key)].word_capacity = 0;
        for (uint32_t i = 0; i < taken.word_count && rc == BRG_OK; i++)
            rc = merge_in_word(r, taken.words[i], key, m.result);
        r->pairs[pair_slot(r, key)].times = 0;
        free(taken.words);
    }
    free(joined);
    return rc;
}

static int put_base(struct brg_tokenizer *t, int has_marks, uint32_t *vocab) {
    static const char *const marks[MARKS] = {"<|unk|>", "<|startoftext|>", "<|endoftext|>"};
    int rc = BRG_OK;
    *vocab = 0;
    for (uint32_t i = 0; has_marks && i < MARKS && rc == BRG_OK; i++)
        rc = brg_tokenizer_put(t, (*vocab)++, (const uint8_t *)marks[i], strlen(marks[i]),
                               BRG_TOKEN_CONTROL, 0);
    if (has_marks) {
        t->info.unk = 0;
        t->info.bos = 1;
        t->info.eos = 2;
    }
    for (uint32_t b = 0; b < 256 && rc == BRG_OK; b++) {
        const uint8_t byte = (uint8_t)b;
        rc = brg_tokenizer_put(t, (*vocab)++, &byte, 1, BRG_TOKEN_NORMAL, 0);
    }
    return rc;
}

int brg_tokenizer_train_on(const struct brg_tokenizer_train *how, const uint8_t *text,
                           size_t size_bytes, struct brg_tokenizer **out, struct brg_why *why) {
    struct trainer r = {.how = how};
    struct brg_tokenizer *t = NULL;
    const uint32_t base = 256 + (how->is_without_marks ? 0 : MARKS);
    uint32_t vocab = 0;
    *out = NULL;
    if (how->vocab < base || how->vocab > VOCAB_MAX)
        return brg_why_set(why, BRG_EINVAL, "vocab is %u; it must be between %u and %u", how->vocab,
                           base, VOCAB_MAX);
    if (how->kind < BRG_TOKENIZER_GPT2 || how->kind > BRG_TOKENIZER_QWEN2)
        return brg_why_set(why, BRG_EINVAL, "words must be cut as gpt2, llama3 or qwen2 does");
    if (size_bytes == 0 || size_bytes > UINT32_MAX)
        return brg_why_set(why, BRG_EINVAL,
                           "%zu bytes of text; give between 1 byte and 4 GiB to learn from",
                           size_bytes);
    int rc = brg_tokenizer_new(how->kind, how->vocab, &t);
    if (rc == BRG_OK) rc = put_base(t, !how->is_without_marks, &vocab);
    if (rc == BRG_OK) rc = count_words(&r, text, size_bytes);
    if (rc == BRG_OK) rc = count_pairs(&r);
    if (rc == BRG_OK) rc = learn(&r, t, &vocab);
    if (rc == BRG_OK) {
        t->info.vocab = vocab; /* fewer where the text is too small */
        rc = brg_tokenizer_finish(t, "tokenizer", why);
    }
    trainer_clear(&r);
    if (rc != BRG_OK) {
        brg_tokenizer_destroy(t);
        return rc == BRG_ENOMEM ? brg_why_set(why, rc, "out of memory for the tokenizer") : rc;
    }
    *out = t;
    return BRG_OK;
}
